#include "services/inventory/facility.h"

#include <algorithm>

#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

struct Level {
  int64_t it_power = 0;
  int64_t cooling = 0;
  bool operator==(const Level&) const = default;
};

Level LevelOf(const v1::EnvelopeSet& step) { return {step.it_power_watts(), step.cooling_watts()}; }

Level PlanOf(const v1::EnvelopeSet& step) {
  return step.has_plan() ? Level{step.plan().it_power_watts(), step.plan().cooling_watts()}
                         : LevelOf(step);
}

}  // namespace

std::vector<v1::EnvelopeSet> StepsOf(const v1::Site& site, absl::Time now) {
  const v1::FacilityReported& report = site.facility();
  const absl::Time until = runtime::ToTime(report.until());
  const auto& envelope = site.envelope();
  const auto begin = [&](int i) {
    return i < envelope.size() ? runtime::ToTime(envelope[i].effective_from())
                               : absl::InfiniteFuture();
  };
  std::vector<v1::EnvelopeSet> steps;
  const auto set = [&](const v1::EnvelopeSet& old, absl::Time from, absl::Time to, bool reported) {
    if (from >= to) return;
    const Level plan = PlanOf(old);
    const Level level = reported ? Level{std::min(plan.it_power, report.it_power_watts()),
                                         std::min(plan.cooling, report.cooling_watts())}
                                 : plan;
    if (level == LevelOf(old)) return;
    v1::EnvelopeSet& step = steps.emplace_back();
    step.set_site(site.name());
    *step.mutable_effective_from() = runtime::ToTimestamp(from);
    *step.mutable_until() = runtime::ToTimestamp(to);
    step.set_it_power_watts(level.it_power);
    step.set_cooling_watts(level.cooling);
    const bool says_why = reported && report.cause() != v1::ENVELOPE_CAUSE_UNSPECIFIED;
    step.set_cause(says_why ? report.cause() : v1::ENVELOPE_CAUSE_OTHER);
    step.set_detail(report.detail());
    step.mutable_plan()->set_it_power_watts(plan.it_power);
    step.mutable_plan()->set_cooling_watts(plan.cooling);
  };
  for (int i = 0; i < envelope.size(); ++i) {
    const absl::Time from = std::max(begin(i), now);
    const absl::Time to = begin(i + 1);
    set(envelope[i], from, std::min(to, until), true);
    // What an earlier report made has an end, which is the next step's beginning.
    if (envelope[i].has_plan()) set(envelope[i], std::max(from, until), to, false);
  }
  return steps;
}

std::vector<absl::Time> BeginsAgain(const v1::Site& site, absl::Time from) {
  std::vector<absl::Time> again;
  const v1::EnvelopeSet* held = nullptr;
  bool after_report = false;
  for (const v1::EnvelopeSet& step : site.envelope()) {
    const absl::Time begin = runtime::ToTime(step.effective_from());
    if (begin > from) {
      const bool is_plan = held != nullptr && PlanOf(step) == PlanOf(*held);
      if (!is_plan || !(step.has_plan() || after_report)) break;
      again.push_back(begin);
    }
    held = &step;
    after_report = step.has_plan();
  }
  return again;
}

}  // namespace concordat::inventory
