// Decides about the site, its envelope, models and servers.
// Law: pure; every command gets exactly one event, the fact or its refusal. No server enters
// service without its passed burn-in; no serial number and no rack position is given twice; what is
// retired stays so.
#pragma once

#include <absl/status/status.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/inventory/state.h"
#include "services/inventory/transitions.h"

namespace concordat::inventory {

// INVALID_ARGUMENT, naming the field: what the bytes of the command alone can tell.
absl::Status Validate(const v1::Command& command);

// The site, model or server that the command is about.
std::string Subject(const v1::Command& command, const runtime::Facts& facts);

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts);

// What the figures miss of the criteria, a sentence a criterion; empty where the burn-in passed. A
// figure that no criterion asks for is kept as evidence and judges nothing.
std::vector<std::string> Shortfalls(
    const google::protobuf::RepeatedPtrField<v1::Criterion>& criteria,
    const google::protobuf::RepeatedPtrField<v1::Figure>& figures);

// One file for each family of commands.

// decide_supply.cc: from the plan to the rack.
v1::Event PlanServer(const State& state, const v1::PlanServerRequest& request,
                     const runtime::Facts& facts);
v1::Event OrderServer(const State& state, const v1::OrderServerRequest& request,
                      const runtime::Facts& facts);
v1::Event SlipDelivery(const State& state, const v1::SlipDeliveryRequest& request,
                       const v1::Server& server, const runtime::Facts& facts);
v1::Event RecordManifest(const State& state, const v1::RecordManifestRequest& request,
                         const runtime::Facts& facts);
v1::Event DeliverServer(const State& state, const v1::DeliverServerRequest& request,
                        const v1::Server& server);
v1::Event DefineRack(const State& state, const v1::DefineRackRequest& request,
                     const runtime::Facts& facts);
v1::Event DefineFeed(const State& state, const v1::DefineFeedRequest& request,
                     const runtime::Facts& facts);
v1::Event InstallServer(const State& state, const v1::InstallServerRequest& request,
                        const v1::Server& server, const runtime::Facts& facts);

// decide_envelopes.cc: what may be drawn and cooled, and how long a stage may last.
v1::Event SetEnvelope(const State& state, const v1::SetEnvelopeRequest& request,
                      const runtime::Facts& facts);
v1::Event SetFeedEnvelope(const State& state, const v1::SetFeedEnvelopeRequest& request,
                          const runtime::Facts& facts);
v1::Event SetStageLimit(const State& state, const v1::SetStageLimitRequest& request,
                        const runtime::Facts& facts);
// decide_facility.cc: what the site's plant can give, and what its meters say.
v1::Event ReportFacility(const State& state, const v1::ReportFacilityRequest& request,
                         const runtime::Facts& facts);
v1::Event RecordReading(const State& state, const v1::RecordReadingRequest& request,
                        const runtime::Facts& facts);

// decide_tests.cc: plans, burn-ins, and what makes them stale.
v1::Event RegisterPlan(const State& state, const v1::RegisterPlanRequest& request,
                       const runtime::Facts& facts);
v1::Event StartTest(const State& state, const v1::StartTestRequest& request,
                    const v1::Server& server, const runtime::Facts& facts);
v1::Event TestServer(const State& state, const v1::TestServerRequest& request,
                     const v1::Server& server, const runtime::Facts& facts);
v1::Event ExpireEvidence(const v1::ExpireEvidence& command, const v1::Server& server,
                         const runtime::Facts& facts);
v1::Event RecordTenancyEnd(const State& state, const v1::RecordTenancyEnd& command);

// decide_care.cc: intent, quarantine, repair, and the way out.
v1::Event CordonServer(const v1::CordonServerRequest& request, const v1::Server& server,
                       const runtime::Facts& facts);
v1::Event UncordonServer(const v1::UncordonServerRequest& request, const v1::Server& server,
                         const runtime::Facts& facts);
v1::Event WithdrawServer(const v1::WithdrawServerRequest& request, const v1::Server& server);
v1::Event LeaveService(const v1::LeaveServiceRequest& request, const v1::Server& server);
v1::Event QuarantineServer(const v1::QuarantineServerRequest& request, const v1::Server& server);
v1::Event RepairServer(const v1::RepairServerRequest& request, const v1::Server& server);
v1::Event ReplacePart(const State& state, const v1::ReplacePartRequest& request,
                      const v1::Server& server, const runtime::Facts& facts);
v1::Event ChangeFirmware(const v1::ChangeFirmwareRequest& request, const v1::Server& server);
v1::Event RetireServer(const v1::RetireServerRequest& request, const v1::Server& server);
v1::Event SanitiseServer(const v1::SanitiseServerRequest& request, const v1::Server& server,
                         const runtime::Facts& facts);
v1::Event RemoveServer(const v1::RemoveServerRequest& request, const v1::Server& server);

// What all of them use.

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail);
// `sites/paris`.
std::string Here(const runtime::Facts& facts);
// The refusal of a command about another site, or about one that is not open yet; or nothing.
std::optional<v1::Event> NotHere(const State& state, const google::protobuf::Message& command,
                                 const std::string& name, const runtime::Facts& facts);
v1::Event WrongState(const google::protobuf::Message& command, const v1::Server& server,
                     std::string_view expected);
v1::Event WrongState(const google::protobuf::Message& command, const v1::Server& server, Step step);
// The refusal of a time before the site opens, or one that is past; or nothing.
std::optional<v1::Event> BeforeOpening(const State& state, const google::protobuf::Message& command,
                                       std::string_view field, absl::Time time,
                                       const runtime::Facts& facts);
std::optional<v1::Event> NotInFuture(const google::protobuf::Message& command,
                                     std::string_view field, absl::Time time,
                                     const runtime::Facts& facts);
// The refusal of what would be over as it begins.
std::optional<v1::Event> OverAlready(const google::protobuf::Message& command,
                                     const google::protobuf::Timestamp& until,
                                     const runtime::Facts& facts);
// The server's model; an empty one where it is not known.
v1::Model ModelOf(const State& state, const v1::Server& server);

// decide_windows.cc: maintenance windows. REQUIRES: a command about one.
v1::Event DecideWindow(const State& state, const v1::Command& command, const runtime::Facts& facts);
absl::Status ValidateWindow(const v1::Command& command);

}  // namespace concordat::inventory
