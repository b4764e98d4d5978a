#include "services/inventory/decider.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

// An envelope may be written down a little late, but history is not changed.
constexpr absl::Duration kEnvelopeGrace = absl::Hours(24);

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::CommandRefused& refused = *event.mutable_command_refused();
  refused.set_command(command.GetDescriptor()->full_name());
  refused.set_reason(reason);
  refused.set_detail(std::move(detail));
  return event;
}

std::string Here(const runtime::Facts& facts) { return fmt::format("sites/{}", facts.site); }

// The refusal of a command about another site, or about one that is not open yet; or nothing.
std::optional<v1::Event> NotHere(const State& state, const google::protobuf::Message& command,
                                 const std::string& name, const runtime::Facts& facts) {
  if (runtime::SiteOfName(name) != facts.site) {
    return Refused(command, v1::REASON_NOT_HOME,
                   fmt::format("{} belongs to another site; {} decides only about its own.", name,
                               Here(facts)));
  }
  if (!state.rows.sites.Contains(Here(facts))) {
    return Refused(command, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not open; expected OpenSite first.", Here(facts)));
  }
  return std::nullopt;
}

v1::Event NoServer(const google::protobuf::Message& command, const std::string& name) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} is not known; expected OrderServer first.", name));
}

v1::Event WrongState(const google::protobuf::Message& command, const v1::Server& server,
                     std::string_view expected) {
  return Refused(
      command, v1::REASON_WRONG_STATE,
      fmt::format("{} is {}{}, expected {}.", server.name(), v1::ServerState_Name(server.state()),
                  server.cordoned() ? " and cordoned" : "", expected));
}

v1::Event OpenSite(const State& state, const v1::OpenSiteRequest& request,
                   const runtime::Facts& facts) {
  if (request.name() != Here(facts)) {
    return Refused(request, v1::REASON_NOT_HOME,
                   fmt::format("{} is another site, expected {}.", request.name(), Here(facts)));
  }
  if (state.rows.sites.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is open already.", request.name()));
  }
  v1::Event event;
  v1::SiteOpened& opened = *event.mutable_site_opened();
  opened.set_name(request.name());
  opened.set_country(request.country());
  opened.set_time_zone(request.time_zone());
  *opened.mutable_certifications() = request.certifications();
  return event;
}

v1::Event SetEnvelope(const State& state, const v1::SetEnvelopeRequest& request,
                      const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.site(), facts)) return *refusal;
  const absl::Time from = runtime::ToTime(request.effective_from());
  if (from < facts.now - kEnvelopeGrace) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("effective_from is {}, expected {} or later.", runtime::ToText(from),
                               runtime::ToText(facts.now - kEnvelopeGrace)));
  }
  v1::Event event;
  v1::EnvelopeSet& set = *event.mutable_envelope_set();
  set.set_site(request.site());
  *set.mutable_effective_from() = request.effective_from();
  set.set_it_power_watts(request.it_power_watts());
  set.set_cooling_watts(request.cooling_watts());
  return event;
}

// Models are registered for the deciding site; their names say nothing of a site.
v1::Event RegisterModel(const State& state, const v1::RegisterModelRequest& request,
                        const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, Here(facts), facts)) return *refusal;
  if (state.rows.models.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is registered at {} already.", request.name(), Here(facts)));
  }
  v1::Event event;
  v1::ModelRegistered& registered = *event.mutable_model_registered();
  registered.set_name(request.name());
  registered.set_vendor(request.vendor());
  registered.set_accelerators(request.accelerators());
  registered.set_it_power_watts(request.it_power_watts());
  registered.set_cooling_watts(request.cooling_watts());
  *registered.mutable_criteria() = request.criteria();
  return event;
}

v1::Event OrderServer(const State& state, const v1::OrderServerRequest& request,
                      const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (!state.rows.models.Contains(request.model())) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known at {}; expected RegisterModel first.",
                               request.model(), Here(facts)));
  }
  if (state.rows.servers.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} was ordered already.", request.name()));
  }
  const absl::Time promised = runtime::ToTime(request.promised_time());
  if (promised < facts.now) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("promised_time is {}, expected {} or later.",
                               runtime::ToText(promised), runtime::ToText(facts.now)));
  }
  v1::Event event;
  v1::ServerOrdered& ordered = *event.mutable_server_ordered();
  ordered.set_name(request.name());
  ordered.set_model(request.model());
  ordered.set_supplier(request.supplier());
  *ordered.mutable_promised_time() = request.promised_time();
  return event;
}

v1::Event DeliverServer(const State& state, const v1::DeliverServerRequest& request,
                        const v1::Server& server) {
  if (server.state() != v1::SERVER_STATE_ORDERED)
    return WrongState(request, server, "SERVER_STATE_ORDERED");
  if (const auto owner = state.rows.serials.Get(request.serial())) {
    return Refused(request, v1::REASON_SERIAL_TAKEN,
                   fmt::format("serial {} belongs to {}, expected one of no other server.",
                               request.serial(), owner->value()));
  }
  v1::Event event;
  event.mutable_server_delivered()->set_name(request.name());
  event.mutable_server_delivered()->set_serial(request.serial());
  return event;
}

v1::Event InstallServer(const State& state, const v1::InstallServerRequest& request,
                        const v1::Server& server) {
  if (server.state() != v1::SERVER_STATE_DELIVERED)
    return WrongState(request, server, "SERVER_STATE_DELIVERED");
  if (const auto owner = state.rows.positions.Get(
          PositionKey(request.room(), request.rack(), request.position()))) {
    return Refused(request, v1::REASON_POSITION_TAKEN,
                   fmt::format("room {}, rack {}, position {} holds {}, expected a free one.",
                               request.room(), request.rack(), request.position(), owner->value()));
  }
  v1::Event event;
  v1::ServerInstalled& installed = *event.mutable_server_installed();
  installed.set_name(request.name());
  installed.set_room(request.room());
  installed.set_rack(request.rack());
  installed.set_position(request.position());
  installed.set_nvlink_domain(request.nvlink_domain());
  installed.set_power_feed(request.power_feed());
  return event;
}

bool MayBeTested(v1::ServerState state) {
  return state == v1::SERVER_STATE_INSTALLED || state == v1::SERVER_STATE_TEST_FAILED ||
         state == v1::SERVER_STATE_QUALIFIED || state == v1::SERVER_STATE_OUT_OF_SERVICE;
}

v1::Event TestServer(const State& state, const v1::TestServerRequest& request,
                     const v1::Server& server) {
  if (!MayBeTested(server.state())) {
    return WrongState(request, server,
                      "SERVER_STATE_INSTALLED, SERVER_STATE_TEST_FAILED, SERVER_STATE_QUALIFIED or "
                      "SERVER_STATE_OUT_OF_SERVICE");
  }
  const v1::Model model = state.rows.models.Get(server.model()).value_or(v1::Model());
  const std::vector<std::string> shortfalls = Shortfalls(model.criteria(), request.figures());
  v1::Event event;
  if (shortfalls.empty()) {
    v1::BurnInPassed& passed = *event.mutable_burn_in_passed();
    passed.set_name(request.name());
    *passed.mutable_figures() = request.figures();
    *passed.mutable_criteria() = model.criteria();
  } else {
    v1::BurnInFailed& failed = *event.mutable_burn_in_failed();
    failed.set_name(request.name());
    *failed.mutable_figures() = request.figures();
    *failed.mutable_criteria() = model.criteria();
    for (const std::string& shortfall : shortfalls) failed.add_shortfalls(shortfall);
  }
  return event;
}

v1::Event EnterService(const State& state, const v1::EnterServiceRequest& request,
                       const v1::Server& server) {
  if (server.state() == v1::SERVER_STATE_IN_SERVICE)
    return WrongState(request, server, "SERVER_STATE_QUALIFIED");
  if (server.state() != v1::SERVER_STATE_QUALIFIED) {
    return Refused(
        request, v1::REASON_TEST_NOT_PASSED,
        fmt::format("{} is {}, expected SERVER_STATE_QUALIFIED by a burn-in that passed.",
                    server.name(), v1::ServerState_Name(server.state())));
  }
  const v1::Model model = state.rows.models.Get(server.model()).value_or(v1::Model());
  v1::Event event;
  v1::ServerEnteredService& entered = *event.mutable_server_entered_service();
  entered.set_name(request.name());
  entered.set_model(server.model());
  entered.set_it_power_watts(model.it_power_watts());
  entered.set_cooling_watts(model.cooling_watts());
  entered.set_accelerators(model.accelerators());
  entered.set_room(server.room());
  entered.set_rack(server.rack());
  entered.set_position(server.position());
  entered.set_nvlink_domain(server.nvlink_domain());
  entered.set_power_feed(server.power_feed());
  return event;
}

v1::Event CordonServer(const v1::CordonServerRequest& request, const v1::Server& server) {
  if (server.state() != v1::SERVER_STATE_IN_SERVICE || server.cordoned()) {
    return WrongState(request, server, "SERVER_STATE_IN_SERVICE and not cordoned");
  }
  v1::Event event;
  event.mutable_server_cordoned()->set_name(request.name());
  event.mutable_server_cordoned()->set_reason(request.reason());
  return event;
}

v1::Event UncordonServer(const v1::UncordonServerRequest& request, const v1::Server& server) {
  if (server.state() != v1::SERVER_STATE_IN_SERVICE || !server.cordoned()) {
    return WrongState(request, server, "SERVER_STATE_IN_SERVICE and cordoned");
  }
  v1::Event event;
  event.mutable_server_uncordoned()->set_name(request.name());
  return event;
}

v1::Event LeaveService(const v1::LeaveServiceRequest& request, const v1::Server& server) {
  if (server.state() != v1::SERVER_STATE_IN_SERVICE)
    return WrongState(request, server, "SERVER_STATE_IN_SERVICE");
  v1::Event event;
  event.mutable_server_left_service()->set_name(request.name());
  event.mutable_server_left_service()->set_reason(request.reason());
  return event;
}

// Decides about a server that is known at this open site, or refuses.
template <typename Request, typename DecideServer>
v1::Event AboutServer(const State& state, const Request& request, const runtime::Facts& facts,
                      DecideServer decide) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  const std::optional<v1::Server> server = state.rows.servers.Get(request.name());
  return server ? decide(*server) : NoServer(request, request.name());
}

}  // namespace

std::string Subject(const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kOpenSite:
      return command.open_site().name();
    case v1::Command::kSetEnvelope:
      return command.set_envelope().site();
    case v1::Command::kRegisterModel:
      return command.register_model().name();
    case v1::Command::kOrderServer:
      return command.order_server().name();
    case v1::Command::kDeliverServer:
      return command.deliver_server().name();
    case v1::Command::kInstallServer:
      return command.install_server().name();
    case v1::Command::kTestServer:
      return command.test_server().name();
    case v1::Command::kEnterService:
      return command.enter_service().name();
    case v1::Command::kCordonServer:
      return command.cordon_server().name();
    case v1::Command::kUncordonServer:
      return command.uncordon_server().name();
    case v1::Command::kLeaveService:
      return command.leave_service().name();
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Here(facts);
}

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts) {
  const auto about = [&](const auto& request, auto decide) {
    return AboutServer(state, request, facts, decide);
  };
  switch (command.command_case()) {
    case v1::Command::kOpenSite:
      return OpenSite(state, command.open_site(), facts);
    case v1::Command::kSetEnvelope:
      return SetEnvelope(state, command.set_envelope(), facts);
    case v1::Command::kRegisterModel:
      return RegisterModel(state, command.register_model(), facts);
    case v1::Command::kOrderServer:
      return OrderServer(state, command.order_server(), facts);
    case v1::Command::kDeliverServer:
      return about(command.deliver_server(), [&](const v1::Server& server) {
        return DeliverServer(state, command.deliver_server(), server);
      });
    case v1::Command::kInstallServer:
      return about(command.install_server(), [&](const v1::Server& server) {
        return InstallServer(state, command.install_server(), server);
      });
    case v1::Command::kTestServer:
      return about(command.test_server(), [&](const v1::Server& server) {
        return TestServer(state, command.test_server(), server);
      });
    case v1::Command::kEnterService:
      return about(command.enter_service(), [&](const v1::Server& server) {
        return EnterService(state, command.enter_service(), server);
      });
    case v1::Command::kCordonServer:
      return about(command.cordon_server(), [&](const v1::Server& server) {
        return CordonServer(command.cordon_server(), server);
      });
    case v1::Command::kUncordonServer:
      return about(command.uncordon_server(), [&](const v1::Server& server) {
        return UncordonServer(command.uncordon_server(), server);
      });
    case v1::Command::kLeaveService:
      return about(command.leave_service(), [&](const v1::Server& server) {
        return LeaveService(command.leave_service(), server);
      });
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Refused(command, v1::REASON_NOT_FOUND,
                 "The command is empty, expected one of the inventory's.");
}

}  // namespace concordat::inventory
