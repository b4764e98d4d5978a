#include "services/inventory/decider.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::inventory {

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::CommandRefused& refused = *event.mutable_command_refused();
  refused.set_command(command.GetDescriptor()->full_name());
  refused.set_reason(reason);
  refused.set_detail(std::move(detail));
  return event;
}

std::string Here(const runtime::Facts& facts) { return fmt::format("sites/{}", facts.site); }

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

v1::Event WrongState(const google::protobuf::Message& command, const v1::Server& server,
                     std::string_view expected) {
  return Refused(
      command, v1::REASON_WRONG_STATE,
      fmt::format("{} is {}{}, expected {}.", server.name(), v1::ServerState_Name(server.state()),
                  server.cordoned() ? " and cordoned" : "", expected));
}

v1::Event WrongState(const google::protobuf::Message& command, const v1::Server& server,
                     Step step) {
  std::vector<std::string> names;
  for (const v1::ServerState state : StatesBefore(step))
    names.push_back(v1::ServerState_Name(state));
  return WrongState(command, server, fmt::format("{}", fmt::join(names, ", ")));
}

std::optional<v1::Event> BeforeOpening(const State& state, const google::protobuf::Message& command,
                                       std::string_view field, absl::Time time,
                                       const runtime::Facts& facts) {
  const v1::Site site = state.rows.sites.Get(Here(facts)).value_or(v1::Site());
  if (!site.has_opening_time() || time >= runtime::ToTime(site.opening_time())) return std::nullopt;
  return Refused(
      command, v1::REASON_BEFORE_OPENING,
      fmt::format("{} is {}, expected {} or later, when {} opens.", field, runtime::ToText(time),
                  runtime::ToText(runtime::ToTime(site.opening_time())), site.name()));
}

std::optional<v1::Event> NotInFuture(const google::protobuf::Message& command,
                                     std::string_view field, absl::Time time,
                                     const runtime::Facts& facts) {
  if (time >= facts.now) return std::nullopt;
  return Refused(command, v1::REASON_TIME,
                 fmt::format("{} is {}, expected {} or later.", field, runtime::ToText(time),
                             runtime::ToText(facts.now)));
}

std::optional<v1::Event> OverAlready(const google::protobuf::Message& command,
                                     const google::protobuf::Timestamp& until,
                                     const runtime::Facts& facts) {
  const absl::Time end = runtime::ToTime(until);
  if (end > facts.now) return std::nullopt;
  return Refused(command, v1::REASON_TIME,
                 fmt::format("until is {}, expected after {}.", runtime::ToText(end),
                             runtime::ToText(facts.now)));
}

v1::Model ModelOf(const State& state, const v1::Server& server) {
  return state.rows.models.Get(server.model()).value_or(v1::Model());
}

namespace {

v1::Event NoServer(const google::protobuf::Message& command, const std::string& name) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} is not known; expected PlanServer or OrderServer first.", name));
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
  if (request.has_opening_time()) *opened.mutable_opening_time() = request.opening_time();
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
  const std::string plan = request.plan().empty() ? PlanOfModel(request.name()) : request.plan();
  if (request.plan().empty() && state.rows.plans.Contains(plan)) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is registered already, expected that the model names it and "
                               "brings no criteria.",
                               plan));
  }
  if (!request.plan().empty() && !state.rows.plans.Contains(plan)) {
    return Refused(
        request, v1::REASON_NOT_FOUND,
        fmt::format("{} is not known at {}; expected RegisterPlan first.", plan, Here(facts)));
  }
  v1::Event event;
  v1::ModelRegistered& registered = *event.mutable_model_registered();
  registered.set_name(request.name());
  registered.set_vendor(request.vendor());
  registered.set_accelerators(request.accelerators());
  registered.set_it_power_watts(request.it_power_watts());
  registered.set_cooling_watts(request.cooling_watts());
  *registered.mutable_criteria() = request.criteria();
  registered.set_plan(plan);
  registered.set_height_units(request.height_units());
  registered.set_memory_gigabytes(request.memory_gigabytes());
  registered.set_idle_power_watts(request.idle_power_watts());
  registered.set_cooling(request.cooling());
  *registered.mutable_links() = request.links();
  *registered.mutable_sources() = request.sources();
  *registered.mutable_not_published() = request.not_published();
  return event;
}

v1::Event EnterService(const State& state, const v1::EnterServiceRequest& request,
                       const v1::Server& server, const runtime::Facts& facts) {
  if (server.state() == v1::SERVER_STATE_IN_SERVICE)
    return WrongState(request, server, Step::kEnter);
  if (server.intent() == v1::SERVER_INTENT_WITHDRAWN) {
    return Refused(request, v1::REASON_WITHDRAWN,
                   fmt::format("{} is withdrawn: {}; expected a server that is to stay.",
                               server.name(), server.intent_reason()));
  }
  if (!After(server.state(), Step::kEnter)) {
    return Refused(
        request, v1::REASON_TEST_NOT_PASSED,
        fmt::format("{} is {}, expected SERVER_STATE_QUALIFIED by a burn-in that passed.",
                    server.name(), v1::ServerState_Name(server.state())));
  }
  const v1::Evidence& evidence = server.evidence();
  // The timer that says so may still be on its way.
  if (evidence.stale() != v1::STALE_CAUSE_UNSPECIFIED ||
      (evidence.has_valid_until() && runtime::ToTime(evidence.valid_until()) <= facts.now)) {
    return Refused(
        request, v1::REASON_EVIDENCE_STALE,
        fmt::format("The burn-in of {} was valid until {}, expected one that is valid.",
                    server.name(), runtime::ToText(runtime::ToTime(evidence.valid_until()))));
  }
  const v1::Model model = ModelOf(state, server);
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
  entered.set_cordoned(server.intent() == v1::SERVER_INTENT_NON_PROVISIONABLE);
  entered.set_retest_after_tenant(evidence.retest_after_tenant());
  if (evidence.has_retest_margin()) *entered.mutable_retest_margin() = evidence.retest_margin();
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

// What is about a server that has to be known.
v1::Event DecideServer(const State& state, const v1::Command& command,
                       const runtime::Facts& facts) {
  const auto about = [&](const auto& request, auto decide) {
    return AboutServer(state, request, facts, decide);
  };
  switch (command.command_case()) {
    case v1::Command::kDeliverServer:
      return about(command.deliver_server(), [&](const v1::Server& server) {
        return DeliverServer(state, command.deliver_server(), server);
      });
    case v1::Command::kInstallServer:
      return about(command.install_server(), [&](const v1::Server& server) {
        return InstallServer(state, command.install_server(), server, facts);
      });
    case v1::Command::kTestServer:
      return about(command.test_server(), [&](const v1::Server& server) {
        return TestServer(state, command.test_server(), server, facts);
      });
    case v1::Command::kEnterService:
      return about(command.enter_service(), [&](const v1::Server& server) {
        return EnterService(state, command.enter_service(), server, facts);
      });
    case v1::Command::kCordonServer:
      return about(command.cordon_server(), [&](const v1::Server& server) {
        return CordonServer(command.cordon_server(), server, facts);
      });
    case v1::Command::kUncordonServer:
      return about(command.uncordon_server(), [&](const v1::Server& server) {
        return UncordonServer(command.uncordon_server(), server, facts);
      });
    case v1::Command::kLeaveService:
      return about(command.leave_service(), [&](const v1::Server& server) {
        return LeaveService(command.leave_service(), server);
      });
    case v1::Command::kSanitiseServer:
      return about(command.sanitise_server(), [&](const v1::Server& server) {
        return SanitiseServer(command.sanitise_server(), server, facts);
      });
    case v1::Command::kRemoveServer:
      return about(command.remove_server(), [&](const v1::Server& server) {
        return RemoveServer(command.remove_server(), server);
      });
    case v1::Command::kWithdrawServer:
      return about(command.withdraw_server(), [&](const v1::Server& server) {
        return WithdrawServer(command.withdraw_server(), server);
      });
    case v1::Command::kSlipDelivery:
      return about(command.slip_delivery(), [&](const v1::Server& server) {
        return SlipDelivery(state, command.slip_delivery(), server, facts);
      });
    case v1::Command::kStartTest:
      return about(command.start_test(), [&](const v1::Server& server) {
        return StartTest(state, command.start_test(), server, facts);
      });
    case v1::Command::kExpireEvidence:
      return about(command.expire_evidence(), [&](const v1::Server& server) {
        return ExpireEvidence(command.expire_evidence(), server, facts);
      });
    case v1::Command::kQuarantineServer:
      return about(command.quarantine_server(), [&](const v1::Server& server) {
        return QuarantineServer(command.quarantine_server(), server);
      });
    case v1::Command::kRepairServer:
      return about(command.repair_server(), [&](const v1::Server& server) {
        return RepairServer(command.repair_server(), server);
      });
    case v1::Command::kReplacePart:
      return about(command.replace_part(), [&](const v1::Server& server) {
        return ReplacePart(state, command.replace_part(), server, facts);
      });
    case v1::Command::kChangeFirmware:
      return about(command.change_firmware(), [&](const v1::Server& server) {
        return ChangeFirmware(command.change_firmware(), server);
      });
    case v1::Command::kRetireServer:
      return about(command.retire_server(), [&](const v1::Server& server) {
        return RetireServer(command.retire_server(), server);
      });
    case v1::Command::kOpenSite:
    case v1::Command::kSetEnvelope:
    case v1::Command::kSetFeedEnvelope:
    case v1::Command::kSetStageLimit:
    case v1::Command::kReportFacility:
    case v1::Command::kRecordReading:
    case v1::Command::kRegisterModel:
    case v1::Command::kOrderServer:
    case v1::Command::kDefineRack:
    case v1::Command::kDefineFeed:
    case v1::Command::kRegisterPlan:
    case v1::Command::kRecordTenancyEnd:
    case v1::Command::kPlanServer:
    case v1::Command::kRecordManifest:
    case v1::Command::kProposeWindow:
    case v1::Command::kAddWork:
    case v1::Command::kAnnounceWindow:
    case v1::Command::kConsentToWindow:
    case v1::Command::kRefuseWindow:
    case v1::Command::kOpenWindow:
    case v1::Command::kCloseWindow:
    case v1::Command::kAbortWindow:
    case v1::Command::kCancelWindow:
    case v1::Command::kRecordAffected:
    case v1::Command::kRecordDrained:
    case v1::Command::kAdvanceWindow:
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Refused(command, v1::REASON_NOT_FOUND,
                 "The command is empty, expected one of the inventory's.");
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
    case v1::Command::kSanitiseServer:
      return command.sanitise_server().name();
    case v1::Command::kRemoveServer:
      return command.remove_server().name();
    case v1::Command::kWithdrawServer:
      return command.withdraw_server().name();
    case v1::Command::kDefineRack:
      return command.define_rack().name();
    case v1::Command::kDefineFeed:
      return command.define_feed().name();
    case v1::Command::kSetFeedEnvelope:
      return command.set_feed_envelope().name();
    case v1::Command::kSetStageLimit:
      return command.set_stage_limit().site();
    case v1::Command::kReportFacility:
      return command.report_facility().site();
    case v1::Command::kRecordReading:
      return command.record_reading().name();
    case v1::Command::kRegisterPlan:
      return command.register_plan().name();
    case v1::Command::kRecordTenancyEnd:
      return command.record_tenancy_end().reservation();
    case v1::Command::kPlanServer:
      return command.plan_server().name();
    case v1::Command::kSlipDelivery:
      return command.slip_delivery().name();
    case v1::Command::kRecordManifest:
      return command.record_manifest().name();
    case v1::Command::kStartTest:
      return command.start_test().name();
    case v1::Command::kExpireEvidence:
      return command.expire_evidence().name();
    case v1::Command::kQuarantineServer:
      return command.quarantine_server().name();
    case v1::Command::kRepairServer:
      return command.repair_server().name();
    case v1::Command::kReplacePart:
      return command.replace_part().name();
    case v1::Command::kChangeFirmware:
      return command.change_firmware().name();
    case v1::Command::kRetireServer:
      return command.retire_server().name();
    case v1::Command::kProposeWindow:
      return command.propose_window().name();
    case v1::Command::kAddWork:
      return command.add_work().name();
    case v1::Command::kAnnounceWindow:
      return command.announce_window().name();
    case v1::Command::kConsentToWindow:
      return command.consent_to_window().name();
    case v1::Command::kRefuseWindow:
      return command.refuse_window().name();
    case v1::Command::kOpenWindow:
      return command.open_window().name();
    case v1::Command::kCloseWindow:
      return command.close_window().name();
    case v1::Command::kAbortWindow:
      return command.abort_window().name();
    case v1::Command::kCancelWindow:
      return command.cancel_window().name();
    case v1::Command::kRecordAffected:
      return command.record_affected().affected().name();
    case v1::Command::kRecordDrained:
      return command.record_drained().name();
    case v1::Command::kAdvanceWindow:
      return command.advance_window().name();
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Here(facts);
}

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kOpenSite:
      return OpenSite(state, command.open_site(), facts);
    case v1::Command::kSetEnvelope:
      return SetEnvelope(state, command.set_envelope(), facts);
    case v1::Command::kSetFeedEnvelope:
      return SetFeedEnvelope(state, command.set_feed_envelope(), facts);
    case v1::Command::kSetStageLimit:
      return SetStageLimit(state, command.set_stage_limit(), facts);
    case v1::Command::kReportFacility:
      return ReportFacility(state, command.report_facility(), facts);
    case v1::Command::kRecordReading:
      return RecordReading(state, command.record_reading(), facts);
    case v1::Command::kRegisterModel:
      return RegisterModel(state, command.register_model(), facts);
    case v1::Command::kOrderServer:
      return OrderServer(state, command.order_server(), facts);
    case v1::Command::kDefineRack:
      return DefineRack(state, command.define_rack(), facts);
    case v1::Command::kDefineFeed:
      return DefineFeed(state, command.define_feed(), facts);
    case v1::Command::kRegisterPlan:
      return RegisterPlan(state, command.register_plan(), facts);
    case v1::Command::kRecordTenancyEnd:
      return RecordTenancyEnd(state, command.record_tenancy_end());
    case v1::Command::kPlanServer:
      return PlanServer(state, command.plan_server(), facts);
    case v1::Command::kRecordManifest:
      return RecordManifest(state, command.record_manifest(), facts);
    case v1::Command::kProposeWindow:
    case v1::Command::kAddWork:
    case v1::Command::kAnnounceWindow:
    case v1::Command::kConsentToWindow:
    case v1::Command::kRefuseWindow:
    case v1::Command::kOpenWindow:
    case v1::Command::kCloseWindow:
    case v1::Command::kAbortWindow:
    case v1::Command::kCancelWindow:
    case v1::Command::kRecordAffected:
    case v1::Command::kRecordDrained:
    case v1::Command::kAdvanceWindow:
      return DecideWindow(state, command, facts);
    case v1::Command::kDeliverServer:
    case v1::Command::kInstallServer:
    case v1::Command::kTestServer:
    case v1::Command::kEnterService:
    case v1::Command::kCordonServer:
    case v1::Command::kUncordonServer:
    case v1::Command::kLeaveService:
    case v1::Command::kSanitiseServer:
    case v1::Command::kRemoveServer:
    case v1::Command::kWithdrawServer:
    case v1::Command::kSlipDelivery:
    case v1::Command::kStartTest:
    case v1::Command::kExpireEvidence:
    case v1::Command::kQuarantineServer:
    case v1::Command::kRepairServer:
    case v1::Command::kReplacePart:
    case v1::Command::kChangeFirmware:
    case v1::Command::kRetireServer:
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return DecideServer(state, command, facts);
}

}  // namespace concordat::inventory
