#include <fmt/format.h>

#include "services/inventory/decider.h"
#include "services/inventory/facility.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

// An envelope may be written down a little late, but history is not changed.
constexpr absl::Duration kEnvelopeGrace = absl::Hours(24);

// The refusal of a step that begins too long ago, or that is over already; or nothing.
template <typename Request>
std::optional<v1::Event> WrongTime(const Request& request, const runtime::Facts& facts) {
  const absl::Time from = runtime::ToTime(request.effective_from());
  if (from < facts.now - kEnvelopeGrace) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("effective_from is {}, expected {} or later.", runtime::ToText(from),
                               runtime::ToText(facts.now - kEnvelopeGrace)));
  }
  if (!request.has_until()) return std::nullopt;
  return OverAlready(request, request.until(), facts);
}

template <typename Request>
v1::EnvelopeSet StepOf(const Request& request, const runtime::Facts& facts) {
  v1::EnvelopeSet step;
  step.set_site(Here(facts));
  *step.mutable_effective_from() = request.effective_from();
  step.set_it_power_watts(request.it_power_watts());
  if (request.has_until()) *step.mutable_until() = request.until();
  step.set_cause(request.cause());
  step.set_detail(request.detail());
  return step;
}

}  // namespace

v1::Event SetEnvelope(const State& state, const v1::SetEnvelopeRequest& request,
                      const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.site(), facts)) return *refusal;
  if (auto refusal = WrongTime(request, facts)) return *refusal;
  v1::Event event;
  *event.mutable_envelope_set() = StepOf(request, facts);
  event.mutable_envelope_set()->set_cooling_watts(request.cooling_watts());
  if (request.has_plan() && facts.actor.starts_with(runtime::kSystemActor)) {
    *event.mutable_envelope_set()->mutable_plan() = request.plan();
  } else if (!request.has_until()) {
    const v1::Site site = state.rows.sites.Get(request.site()).value_or(v1::Site());
    for (const absl::Time begin : BeginsAgain(site, runtime::ToTime(request.effective_from())))
      *event.mutable_envelope_set()->add_also_from() = runtime::ToTimestamp(begin);
  }
  return event;
}

v1::Event SetFeedEnvelope(const State& state, const v1::SetFeedEnvelopeRequest& request,
                          const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (!state.rows.feeds.Contains(request.name())) {
    return Refused(request, v1::REASON_UNKNOWN_FEED,
                   fmt::format("{} is not known; expected DefineFeed first.", request.name()));
  }
  if (auto refusal = WrongTime(request, facts)) return *refusal;
  v1::Event event;
  event.mutable_feed_envelope_set()->set_feed(request.name());
  *event.mutable_feed_envelope_set()->mutable_envelope() = StepOf(request, facts);
  return event;
}

v1::Event SetStageLimit(const State& state, const v1::SetStageLimitRequest& request,
                        const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.site(), facts)) return *refusal;
  v1::Event event;
  v1::StageLimitSet& limit = *event.mutable_stage_limit_set();
  limit.set_site(request.site());
  limit.set_state(request.state());
  if (request.has_most()) *limit.mutable_most() = request.most();
  return event;
}

}  // namespace concordat::inventory
