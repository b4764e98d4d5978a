#include <fmt/format.h>

#include "services/inventory/decider.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

// Clocks of those who test differ a little from the site's.
constexpr absl::Duration kTestClockSkew = absl::Minutes(5);

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// The version that holds for a server's burn-in: the one that it began with, else the latest.
std::optional<v1::PlanRegistered> PlanFor(const State& state, const v1::Server& server) {
  const bool running = server.state() == v1::SERVER_STATE_UNDER_TEST;
  const std::string name = running ? server.test_plan() : ModelOf(state, server).plan();
  const auto plan = state.rows.plans.Get(name);
  if (!plan || plan->versions().empty()) return std::nullopt;
  const int latest = plan->versions_size();
  const int version = running ? server.test_plan_version() : latest;
  if (version < 1 || version > latest) return std::nullopt;
  return plan->versions(version - 1);
}

v1::Event NoPlan(const google::protobuf::Message& command, const v1::Server& server) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} of {} has no burn-in plan; expected RegisterPlan first.",
                             server.model(), server.name()));
}

// What a passed and a failed burn-in have in common.
template <typename Event>
void Describe(Event& event, const v1::TestServerRequest& request, const v1::PlanRegistered& plan,
              const runtime::Facts& facts) {
  event.set_name(request.name());
  *event.mutable_figures() = request.figures();
  *event.mutable_criteria() = plan.criteria();
  event.set_plan(plan.name());
  event.set_plan_version(plan.version());
  event.set_tool_digest(request.tool_digest());
  event.set_operator_(request.operator_().empty() ? facts.actor : request.operator_());
  if (request.has_started_time()) *event.mutable_started_time() = request.started_time();
  *event.mutable_ended_time() =
      request.has_ended_time() ? request.ended_time() : runtime::ToTimestamp(facts.now);
}

}  // namespace

v1::Event RegisterPlan(const State& state, const v1::RegisterPlanRequest& request,
                       const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, Here(facts), facts)) return *refusal;
  const v1::Plan plan = state.rows.plans.Get(request.name()).value_or(v1::Plan());
  if (request.version() != plan.versions_size() + 1) {
    return Refused(request, v1::REASON_WRONG_VERSION,
                   fmt::format("version is {}, expected {}: {} has {} so far.", request.version(),
                               plan.versions_size() + 1, request.name(), plan.versions_size()));
  }
  v1::Event event;
  v1::PlanRegistered& registered = *event.mutable_plan_registered();
  registered.set_name(request.name());
  registered.set_version(request.version());
  *registered.mutable_criteria() = request.criteria();
  if (request.has_validity()) *registered.mutable_validity() = request.validity();
  registered.set_retest_after_tenant(request.retest_after_tenant());
  if (request.has_retest_margin()) *registered.mutable_retest_margin() = request.retest_margin();
  return event;
}

v1::Event StartTest(const State& state, const v1::StartTestRequest& request,
                    const v1::Server& server, const runtime::Facts& facts) {
  if (!After(server.state(), Step::kStartTest))
    return WrongState(request, server, Step::kStartTest);
  const auto plan = PlanFor(state, server);
  if (!plan) return NoPlan(request, server);
  v1::Event event;
  v1::TestStarted& started = *event.mutable_test_started();
  started.set_name(request.name());
  started.set_plan(plan->name());
  started.set_plan_version(plan->version());
  started.set_operator_(request.operator_().empty() ? facts.actor : request.operator_());
  return event;
}

v1::Event TestServer(const State& state, const v1::TestServerRequest& request,
                     const v1::Server& server, const runtime::Facts& facts) {
  const bool in_service = server.state() == v1::SERVER_STATE_IN_SERVICE;
  // Who has a tenant is not disturbed for a test that is still valid.
  if (!After(server.state(), Step::kPass)) return WrongState(request, server, Step::kPass);
  if (in_service && server.evidence().stale() == v1::STALE_CAUSE_UNSPECIFIED) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} is in service and its burn-in still holds; expected one that is "
                               "stale, or LeaveService first.",
                               server.name()));
  }
  const auto plan = PlanFor(state, server);
  if (!plan) return NoPlan(request, server);
  const absl::Time ended =
      request.has_ended_time() ? runtime::ToTime(request.ended_time()) : facts.now;
  if (ended > facts.now + kTestClockSkew) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("ended_time is {}, expected {} or earlier.", runtime::ToText(ended),
                               runtime::ToText(facts.now)));
  }
  const bool running = server.state() == v1::SERVER_STATE_UNDER_TEST;
  const absl::Time began = request.has_started_time() ? runtime::ToTime(request.started_time())
                           : running ? std::min(ended, runtime::ToTime(server.state_time()))
                                     : ended;
  if (began > ended) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("started_time is {}, expected {} or earlier, when it ended.",
                               runtime::ToText(began), runtime::ToText(ended)));
  }
  v1::Event event;
  const std::vector<std::string> shortfalls = Shortfalls(plan->criteria(), request.figures());
  if (!shortfalls.empty()) {
    v1::BurnInFailed& failed = *event.mutable_burn_in_failed();
    Describe(failed, request, *plan, facts);
    for (const std::string& shortfall : shortfalls) failed.add_shortfalls(shortfall);
    failed.set_in_service(in_service);
    return event;
  }
  // What fails is a fact however old it is.
  const absl::Time changed = runtime::ToTime(server.changed_time());
  if (server.has_changed_time() && began < changed) {
    return Refused(
        request, v1::REASON_EVIDENCE_STALE,
        fmt::format(
            "The burn-in was under way at {}, and {} changed at {}: a part, its firmware, its "
            "tenant, work, a failure, a quarantine or a repair; expected one that began "
            "after that.",
            runtime::ToText(began), server.name(), runtime::ToText(changed)));
  }
  v1::BurnInPassed& passed = *event.mutable_burn_in_passed();
  Describe(passed, request, *plan, facts);
  passed.set_in_service(in_service);
  passed.set_retest_after_tenant(plan->retest_after_tenant());
  if (plan->has_retest_margin()) *passed.mutable_retest_margin() = plan->retest_margin();
  if (!plan->has_validity()) return event;
  const absl::Time valid_until = ended + ToDuration(plan->validity());
  if (valid_until <= facts.now) {
    return Refused(request, v1::REASON_EVIDENCE_STALE,
                   fmt::format("The burn-in ended at {} and was valid until {}, expected one that "
                               "is valid now.",
                               runtime::ToText(ended), runtime::ToText(valid_until)));
  }
  *passed.mutable_valid_until() = runtime::ToTimestamp(valid_until);
  return event;
}

v1::Event ExpireEvidence(const v1::ExpireEvidence& command, const v1::Server& server,
                         const runtime::Facts& facts) {
  const auto due = ExpiryOf(server);
  if (!due) {
    return Refused(
        command, v1::REASON_WRONG_STATE,
        fmt::format("{} has no burn-in that could expire, expected one.", server.name()));
  }
  if (facts.now < *due) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("The burn-in of {} is valid until {}, expected not before.",
                               server.name(), runtime::ToText(*due)));
  }
  v1::Event event;
  v1::EvidenceExpired& expired = *event.mutable_evidence_expired();
  expired.set_name(server.name());
  *expired.mutable_valid_until() = server.evidence().valid_until();
  expired.set_in_service(server.state() == v1::SERVER_STATE_IN_SERVICE);
  return event;
}

v1::Event RecordTenancyEnd(const State& state, const v1::RecordTenancyEnd& command) {
  v1::Event event;
  v1::TenancyEnded& ended = *event.mutable_tenancy_ended();
  ended.set_reservation(command.reservation());
  for (const std::string& name : command.servers()) {
    const v1::Server server = state.rows.servers.Get(name).value_or(v1::Server());
    if (server.state() == v1::SERVER_STATE_IN_SERVICE) ended.add_servers(name);
  }
  return event;
}

}  // namespace concordat::inventory
