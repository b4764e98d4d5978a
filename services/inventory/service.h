// The inventory as the runtime takes it.
#pragma once

#include "services/inventory/decider.h"
#include "services/inventory/react.h"

namespace concordat::inventory {

struct Service {
  using State = inventory::State;
  using Rows = inventory::Rows;
  using Index = inventory::Index;
  using Command = v1::Command;
  using Event = v1::Event;
  using Inputs = runtime::Follows<reservations::v1::Event, deployment::v1::Event>;
  static constexpr std::string_view kName = "inventory";
  static constexpr bool kFollowsPeers = false;

  static absl::Status Validate(const Command& command) { return inventory::Validate(command); }
  static std::string Subject(const Command& command, const runtime::Facts& facts) {
    return inventory::Subject(command, facts);
  }
  static Event Decide(const State& state, const Command& command, const runtime::Facts& facts) {
    return inventory::Decide(state, command, facts);
  }
  static void Evolve(Rows& rows, const runtime::Accepted<Event>& accepted) {
    inventory::Evolve(rows, accepted);
  }
  static Intents React(const Rows& rows, const runtime::Accepted<Event>& accepted) {
    return inventory::React(rows, accepted);
  }
  static Intents React(const runtime::Accepted<reservations::v1::Event>& accepted) {
    return inventory::React(accepted);
  }
  static Intents React(const runtime::Accepted<deployment::v1::Event>& accepted) {
    return inventory::React(accepted);
  }
  static Intents Due(const Rows& rows, absl::Time now, size_t limit) {
    return inventory::Due(rows, now, limit);
  }

  static std::vector<runtime::TableInfo> Tables() {
    return {{"sites", &v1::Site::default_instance()},
            {"models", &v1::Model::default_instance()},
            {"servers", &v1::Server::default_instance()},
            {"plans", &v1::Plan::default_instance()},
            {"racks", &v1::Rack::default_instance()},
            {"feeds", &v1::Feed::default_instance()},
            {"manifests", &v1::Manifest::default_instance()},
            {"parts", &v1::Part::default_instance()},
            {"windows", &v1::Window::default_instance()},
            {"readings", &v1::Reading::default_instance()}};
  }
};

static_assert(runtime::IsComplete<Service>());

}  // namespace concordat::inventory
