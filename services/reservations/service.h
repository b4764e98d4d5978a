// Reservations as the runtime takes it.
#pragma once

#include "services/reservations/decider.h"
#include "services/reservations/react.h"

namespace concordat::reservations {

struct Service {
  using State = reservations::State;
  using Rows = reservations::Rows;
  using Index = reservations::Index;
  using Command = v1::Command;
  using Event = v1::Event;
  using Inputs =
      runtime::Follows<inventory::v1::Event, compliance::v1::Event, deployment::v1::Event>;
  static constexpr std::string_view kName = "reservations";
  static constexpr bool kFollowsPeers = true;

  static absl::Status Validate(const Command& command) { return reservations::Validate(command); }
  static std::string Subject(const Command& command, const runtime::Facts& facts) {
    return reservations::Subject(command, facts);
  }
  static Event Decide(const State& state, const Command& command, const runtime::Facts& facts) {
    return reservations::Decide(state, command, facts);
  }
  static void Evolve(Rows& rows, const runtime::Accepted<Event>& accepted) {
    reservations::Evolve(rows, accepted);
  }
  static Intents React(const Rows& rows, const runtime::Accepted<Event>& accepted) {
    return reservations::React(rows, accepted);
  }
  static Intents React(const runtime::Accepted<Event>& accepted) {
    return reservations::React(accepted);
  }
  static Intents React(const runtime::Accepted<inventory::v1::Event>& accepted) {
    return reservations::React(accepted);
  }
  static Intents React(const runtime::Accepted<compliance::v1::Event>& accepted) {
    return reservations::React(accepted);
  }
  static Intents React(const runtime::Accepted<deployment::v1::Event>& accepted) {
    return reservations::React(accepted);
  }
  static Intents Due(const Rows& rows, absl::Time now, size_t limit) {
    return reservations::Due(rows, now, limit);
  }

  static std::vector<runtime::TableInfo> Tables() {
    return {{"customers", &v1::Customer::default_instance()},
            {"contracts", &v1::Contract::default_instance()},
            {"reservations", &v1::Reservation::default_instance()},
            {"schedules", &v1::Schedule::default_instance()},
            {"orders", &v1::Order::default_instance()},
            {"quotas", &v1::Quota::default_instance()},
            {"projects", &v1::Project::default_instance()},
            {"waves", &v1::Wave::default_instance()},
            {"site_records", &v1::SiteRecord::default_instance()},
            {"server_records", &v1::ServerRecord::default_instance()},
            {"separations", &v1::Separation::default_instance()},
            {"bundles", &v1::Bundle::default_instance()},
            {"promises", &v1::Promise::default_instance()},
            {"window_records", &v1::WindowRecord::default_instance()},
            {"shortfalls", &v1::Shortfall::default_instance()}};
  }
};

static_assert(runtime::IsComplete<Service>());

}  // namespace concordat::reservations
