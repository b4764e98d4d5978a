// Compliance as the runtime takes it.
#pragma once

#include "services/compliance/decider.h"
#include "services/compliance/react.h"

namespace concordat::compliance {

struct Service {
  using State = compliance::State;
  using Rows = compliance::Rows;
  using Index = compliance::Index;
  using Command = v1::Command;
  using Event = v1::Event;
  using Inputs =
      runtime::Follows<inventory::v1::Event, reservations::v1::Event, deployment::v1::Event>;
  static constexpr std::string_view kName = "compliance";
  static constexpr bool kFollowsPeers = false;

  static absl::Status Validate(const Command& command) { return compliance::Validate(command); }
  static std::string Subject(const Command& command, const runtime::Facts& facts) {
    return compliance::Subject(command, facts);
  }
  static Event Decide(const State& state, const Command& command, const runtime::Facts& facts) {
    return compliance::Decide(state, command, facts);
  }
  static void Evolve(Rows& rows, const runtime::Accepted<Event>& accepted) {
    compliance::Evolve(rows, accepted);
  }
  static Intents React(const Rows& rows, const runtime::Accepted<Event>& accepted) {
    return compliance::React(rows, accepted);
  }
  static Intents React(const runtime::Accepted<inventory::v1::Event>& accepted) {
    return compliance::React(accepted);
  }
  static Intents React(const runtime::Accepted<reservations::v1::Event>& accepted) {
    return compliance::React(accepted);
  }
  static Intents React(const runtime::Accepted<deployment::v1::Event>& accepted) {
    return compliance::React(accepted);
  }
  static Intents Due(const Rows& rows, absl::Time now, size_t limit) {
    return compliance::Due(rows, now, limit);
  }

  static std::vector<runtime::TableInfo> Tables() {
    return {{"rules", &v1::RuleHistory::default_instance()},
            {"judgements", &v1::Judgement::default_instance()},
            {"compliance_sites", &v1::SiteRecord::default_instance()}};
  }
};

static_assert(runtime::IsComplete<Service>());

}  // namespace concordat::compliance
