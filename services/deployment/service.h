// Deployment as the runtime takes it. Its executor is run beside it, see executor.h.
#pragma once

#include "services/deployment/decider.h"
#include "services/deployment/react.h"

namespace concordat::deployment {

struct Service {
  using State = deployment::State;
  using Rows = deployment::Rows;
  using Index = deployment::Index;
  using Command = v1::Command;
  using Event = v1::Event;
  using Inputs =
      runtime::Follows<reservations::v1::Event, compliance::v1::Event, inventory::v1::Event>;
  static constexpr std::string_view kName = "deployment";
  static constexpr bool kFollowsPeers = false;

  static absl::Status Validate(const Command& command) { return deployment::Validate(command); }
  static std::string Subject(const Command& command, const runtime::Facts& facts) {
    return deployment::Subject(command, facts);
  }
  static Event Decide(const State& state, const Command& command, const runtime::Facts& facts) {
    return deployment::Decide(state, command, facts);
  }
  static void Evolve(Rows& rows, const runtime::Accepted<Event>& accepted) {
    deployment::Evolve(rows, accepted);
  }
  static Intents React(const Rows& rows, const runtime::Accepted<Event>& accepted) {
    return deployment::React(rows, accepted);
  }
  static Intents React(const runtime::Accepted<reservations::v1::Event>& accepted) {
    return deployment::React(accepted);
  }
  static Intents React(const runtime::Accepted<compliance::v1::Event>& accepted) {
    return deployment::React(accepted);
  }
  static Intents React(const runtime::Accepted<inventory::v1::Event>& accepted) {
    return deployment::React(accepted);
  }
  static Intents Due(const Rows& rows, absl::Time now, size_t limit) {
    return deployment::Due(rows, now, limit);
  }

  static std::vector<runtime::TableInfo> Tables() {
    return {{"artefacts", &v1::Artefact::default_instance()},
            {"deployment_reservations", &v1::ReservationRecord::default_instance()},
            {"deployments", &v1::Deployment::default_instance()},
            {"drains", &v1::Drain::default_instance()}};
  }
};

static_assert(runtime::IsComplete<Service>());

}  // namespace concordat::deployment
