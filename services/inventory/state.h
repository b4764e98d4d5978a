// What the inventory keeps: its site, the models registered there, and the servers.
// Law: a fold of its own stream and of nothing else.
#pragma once

#include <google/protobuf/wrappers.pb.h>

#include <string>

#include "concordat/inventory/v1/api.pb.h"
#include "services/runtime/service.h"
#include "storage/projection/table.h"

namespace concordat::inventory {

struct Rows {
  explicit Rows(storage::Journal& journal)
      : sites("sites", journal, &journal),
        models("models", journal, &journal),
        servers("servers", journal, &journal),
        serials("serials", journal, &journal),
        positions("positions", journal, &journal) {}
  explicit Rows(const storage::RowSource& source)
      : sites("sites", source),
        models("models", source),
        servers("servers", source),
        serials("serials", source),
        positions("positions", source) {}

  storage::Table<v1::Site> sites;
  storage::Table<v1::Model> models;
  storage::Table<v1::Server> servers;
  // Which server has a serial number or a rack position, so that neither is given twice.
  storage::Table<google::protobuf::StringValue> serials;
  storage::Table<google::protobuf::StringValue> positions;  // by PositionKey()
};

using Index = runtime::NoIndex;
using State = runtime::StateOf<Rows, Index>;

// The only way that rows change.
void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted);

// The key of a rack position. The separator cannot be in a room or rack: they have no control
// characters.
std::string PositionKey(const std::string& room, const std::string& rack, int position);

}  // namespace concordat::inventory
