// What the inventory keeps: its site, the models registered there, and the servers.
// Law: a fold of its own stream and of nothing else.
#pragma once

#include <google/protobuf/wrappers.pb.h>

#include <optional>
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
        positions("positions", journal, &journal),
        plans("plans", journal, &journal),
        racks("racks", journal, &journal),
        feeds("feeds", journal, &journal),
        manifests("manifests", journal, &journal),
        parts("parts", journal, &journal),
        rack_places("rack_places", journal, &journal),
        expected_serials("expected_serials", journal, &journal),
        slots("slots", journal, &journal),
        deadlines("deadlines", journal, &journal),
        windows("windows", journal, &journal),
        window_deadlines("window_deadlines", journal, &journal),
        readings("readings", journal, &journal),
        reading_ends("reading_ends", journal, &journal) {}
  explicit Rows(const storage::RowSource& source)
      : sites("sites", source),
        models("models", source),
        servers("servers", source),
        serials("serials", source),
        positions("positions", source),
        plans("plans", source),
        racks("racks", source),
        feeds("feeds", source),
        manifests("manifests", source),
        parts("parts", source),
        rack_places("rack_places", source),
        expected_serials("expected_serials", source),
        slots("slots", source),
        deadlines("deadlines", source),
        windows("windows", source),
        window_deadlines("window_deadlines", source),
        readings("readings", source),
        reading_ends("reading_ends", source) {}

  storage::Table<v1::Site> sites;
  storage::Table<v1::Model> models;
  storage::Table<v1::Server> servers;
  // Which server has a serial number or a rack position, so that neither is given twice.
  storage::Table<google::protobuf::StringValue> serials;
  storage::Table<google::protobuf::StringValue> positions;  // by PositionKey(), one a rack unit
  storage::Table<v1::Plan> plans;
  storage::Table<v1::Rack> racks;
  storage::Table<v1::Feed> feeds;
  storage::Table<v1::Manifest> manifests;
  storage::Table<v1::Part> parts;
  // Which rack stands where, by RackKey().
  storage::Table<google::protobuf::StringValue> rack_places;
  // Which order each announced serial number belongs to.
  storage::Table<google::protobuf::StringValue> expected_serials;
  // Which part sits where, by SlotKey().
  storage::Table<google::protobuf::StringValue> slots;
  // Every server with a burn-in that will expire or a cordon that will end, by DeadlineKey(); the
  // value is its name.
  storage::Table<google::protobuf::StringValue> deadlines;
  storage::Table<v1::Window> windows;
  // Every window that waits for a time, by WindowDeadlineKey() of windows.h; the value is its name.
  storage::Table<google::protobuf::StringValue> window_deadlines;
  storage::Table<v1::Reading> readings;
  // Every reading by its end, `TimeKey()/name`; the value is its name.
  storage::Table<google::protobuf::StringValue> reading_ends;
};

using Index = runtime::NoIndex;
using State = runtime::StateOf<Rows, Index>;

// The only way that rows change.
void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted);

// The key of a rack position. The separator cannot be in a room or rack: they have no control
// characters.
std::string PositionKey(const std::string& room, const std::string& rack, int position);
std::string RackKey(const std::string& room, const std::string& rack);
std::string SlotKey(const std::string& server, const std::string& slot);

// `plans/x` of `models/x`: the plan that a model's own criteria are version 1 of.
std::string PlanOfModel(const std::string& model);

// When the server's burn-in stops to be evidence; nothing where it does not age, is stale already,
// or nobody counts on it.
std::optional<absl::Time> ExpiryOf(const v1::Server& server);
// When the server's cordon ends by itself.
std::optional<absl::Time> CordonEndOf(const v1::Server& server);

// The time in microseconds, 20 digits, rounded up so that nothing is due early.
std::string TimeKey(absl::Time time);
// Orders by time: TimeKey(), what is due, `expire` or `uncordon`, and the server.
std::string DeadlineKey(absl::Time time, const std::string& kind, const std::string& server);

}  // namespace concordat::inventory
