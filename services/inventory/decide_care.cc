#include <fmt/format.h>

#include "services/inventory/decider.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

bool InService(const v1::Server& server) { return server.state() == v1::SERVER_STATE_IN_SERVICE; }

bool IsLeaving(const v1::Server& server) {
  return server.state() == v1::SERVER_STATE_RETIRING ||
         server.state() == v1::SERVER_STATE_SANITISED || server.state() == v1::SERVER_STATE_RETIRED;
}

v1::Event Withdrawn(const google::protobuf::Message& command, const v1::Server& server) {
  return Refused(command, v1::REASON_WITHDRAWN,
                 fmt::format("{} is withdrawn for good: {}; expected a server that is to stay.",
                             server.name(), server.intent_reason()));
}

// Why a change inside of the server may not be made now; or nothing.
std::optional<v1::Event> MayNotChange(const google::protobuf::Message& command,
                                      const v1::Server& server, Step step) {
  if (After(server.state(), step)) return std::nullopt;
  return WrongState(command, server, step);
}

}  // namespace

v1::Event CordonServer(const v1::CordonServerRequest& request, const v1::Server& server,
                       const runtime::Facts& facts) {
  if (server.intent() == v1::SERVER_INTENT_WITHDRAWN || IsLeaving(server))
    return Withdrawn(request, server);
  if (server.cordoned()) return WrongState(request, server, "a server that is not cordoned");
  if (request.has_until()) {
    // At its end the timer lifts it: one that is over when it begins would stay.
    if (auto refusal = OverAlready(request, request.until(), facts)) return *refusal;
  }
  v1::Event event;
  v1::ServerCordoned& cordoned = *event.mutable_server_cordoned();
  cordoned.set_name(request.name());
  cordoned.set_reason(request.reason());
  if (request.has_until()) *cordoned.mutable_until() = request.until();
  cordoned.set_not_in_service(!InService(server));
  return event;
}

v1::Event UncordonServer(const v1::UncordonServerRequest& request, const v1::Server& server,
                         const runtime::Facts& facts) {
  if (!server.cordoned()) return WrongState(request, server, "a server that is cordoned");
  // What a timer wants is decided a little later: by then there may be another cordon.
  const bool is_timer = facts.actor.starts_with(runtime::kSystemActor) && !facts.cause;
  const absl::Time until =
      server.has_intent_until() ? runtime::ToTime(server.intent_until()) : absl::InfiniteFuture();
  if (is_timer && until > facts.now) {
    return Refused(
        request, v1::REASON_TIME,
        fmt::format("{} is cordoned {}, expected a cordon that is over.", server.name(),
                    server.has_intent_until() ? fmt::format("until {}", runtime::ToText(until))
                                              : "without end"));
  }
  v1::Event event;
  event.mutable_server_uncordoned()->set_name(request.name());
  event.mutable_server_uncordoned()->set_not_in_service(!InService(server));
  return event;
}

v1::Event WithdrawServer(const v1::WithdrawServerRequest& request, const v1::Server& server) {
  if (server.intent() == v1::SERVER_INTENT_WITHDRAWN) return Withdrawn(request, server);
  v1::Event event;
  event.mutable_server_withdrawn()->set_name(request.name());
  event.mutable_server_withdrawn()->set_reason(request.reason());
  event.mutable_server_withdrawn()->set_in_service(InService(server));
  return event;
}

v1::Event LeaveService(const v1::LeaveServiceRequest& request, const v1::Server& server) {
  if (!After(server.state(), Step::kLeave)) return WrongState(request, server, Step::kLeave);
  v1::Event event;
  event.mutable_server_left_service()->set_name(request.name());
  event.mutable_server_left_service()->set_reason(request.reason());
  return event;
}

v1::Event QuarantineServer(const v1::QuarantineServerRequest& request, const v1::Server& server) {
  if (!After(server.state(), Step::kQuarantine))
    return WrongState(request, server, Step::kQuarantine);
  v1::Event event;
  v1::ServerQuarantined& quarantined = *event.mutable_server_quarantined();
  quarantined.set_name(request.name());
  quarantined.set_reason(request.reason());
  quarantined.set_in_service(InService(server));
  return event;
}

v1::Event RepairServer(const v1::RepairServerRequest& request, const v1::Server& server) {
  if (!After(server.state(), Step::kRepair)) return WrongState(request, server, Step::kRepair);
  v1::Event event;
  event.mutable_server_repaired()->set_name(request.name());
  event.mutable_server_repaired()->set_detail(request.detail());
  return event;
}

v1::Event ReplacePart(const State& state, const v1::ReplacePartRequest& request,
                      const v1::Server& server, const runtime::Facts& facts) {
  if (auto refusal = MayNotChange(request, server, Step::kReplacePart)) return *refusal;
  if (auto refusal = NotHere(state, request, request.part(), facts)) return *refusal;
  if (const auto known = state.rows.parts.Get(request.part())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is known already with serial {}, expected a new name: names of "
                               "parts are never used again.",
                               request.part(), known->serial()));
  }
  if (const auto owner = state.rows.serials.Get(request.serial())) {
    return Refused(request, v1::REASON_SERIAL_TAKEN,
                   fmt::format("serial {} belongs to {}, expected one of no other server or part.",
                               request.serial(), owner->value()));
  }
  v1::Event event;
  v1::PartReplaced& replaced = *event.mutable_part_replaced();
  replaced.set_name(request.name());
  replaced.set_slot(request.slot());
  replaced.set_part(request.part());
  replaced.set_kind(request.kind());
  replaced.set_serial(request.serial());
  replaced.set_reason(request.reason());
  if (const auto before = state.rows.slots.Get(SlotKey(request.name(), request.slot())))
    replaced.set_removed_part(before->value());
  return event;
}

v1::Event ChangeFirmware(const v1::ChangeFirmwareRequest& request, const v1::Server& server) {
  if (auto refusal = MayNotChange(request, server, Step::kChangeFirmware)) return *refusal;
  for (const v1::Firmware& firmware : server.firmware()) {
    if (firmware.component() != request.component() || firmware.version() != request.version())
      continue;
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} has version {} of {} already, expected another.", server.name(),
                               request.version(), request.component()));
  }
  v1::Event event;
  v1::FirmwareChanged& changed = *event.mutable_firmware_changed();
  changed.set_name(request.name());
  changed.set_component(request.component());
  changed.set_version(request.version());
  return event;
}

v1::Event RetireServer(const v1::RetireServerRequest& request, const v1::Server& server) {
  if (!After(server.state(), Step::kRetire)) return WrongState(request, server, Step::kRetire);
  v1::Event event;
  event.mutable_server_retiring()->set_name(request.name());
  event.mutable_server_retiring()->set_reason(request.reason());
  return event;
}

v1::Event SanitiseServer(const v1::SanitiseServerRequest& request, const v1::Server& server,
                         const runtime::Facts& facts) {
  if (!After(server.state(), Step::kSanitise)) return WrongState(request, server, Step::kSanitise);
  v1::Event event;
  v1::ServerSanitised& sanitised = *event.mutable_server_sanitised();
  sanitised.set_name(request.name());
  sanitised.set_method(request.method());
  sanitised.set_evidence_digest(request.evidence_digest());
  sanitised.set_operator_(request.operator_().empty() ? facts.actor : request.operator_());
  return event;
}

v1::Event RemoveServer(const v1::RemoveServerRequest& request, const v1::Server& server) {
  if (!After(server.state(), Step::kRemove)) return WrongState(request, server, Step::kRemove);
  v1::Event event;
  event.mutable_server_retired()->set_name(request.name());
  return event;
}

}  // namespace concordat::inventory
