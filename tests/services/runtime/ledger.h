// The service of the runtime's tests. Law: it is as small as a service can be and still use all
// that the runtime offers: refusals, reactions, deadlines, orders of other sites, and an index.
#pragma once

#include <absl/status/status.h>

#include <map>
#include <string>
#include <vector>

#include "services/runtime/service.h"
#include "storage/projection/table.h"
#include "tests/services/runtime/ledger.pb.h"

namespace concordat::ledger {

namespace v1 = test::v1;

struct Rows {
  explicit Rows(storage::Journal& journal) : items("items", journal, &journal) {}
  storage::Table<v1::Item> items;
};

// How often each amount is there.
struct Index {
  void Apply(const storage::Change& change);
  std::map<int64_t, int> amounts;
};

struct Service {
  static constexpr std::string_view kName = "ledger";
  static constexpr bool kFollowsPeers = true;
  using Command = v1::Command;
  using Event = v1::Event;
  using Rows = ledger::Rows;
  using Index = ledger::Index;
  using State = runtime::StateOf<Rows, Index>;
  using Inputs = runtime::Follows<>;
  using Intents = std::vector<runtime::Intent<Command>>;

  static Event Decide(const State& state, const Command& command, const runtime::Facts& facts);
  static void Evolve(Rows& rows, const runtime::Accepted<Event>& accepted);
  static Intents React(const Rows& rows, const runtime::Accepted<Event>& accepted);
  static Intents React(const runtime::Accepted<Event>& accepted);
  static Intents Due(const Rows& rows, absl::Time now, size_t limit);
  static absl::Status Validate(const Command& command);
  static std::string Subject(const Command& command, const runtime::Facts& facts);
  static std::vector<runtime::TableInfo> Tables();
};

}  // namespace concordat::ledger
