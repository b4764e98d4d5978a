#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <tuple>
#include <vector>

#include "services/reservations/timeline.h"

namespace concordat::reservations {
namespace {

absl::Time At(int hour) { return absl::UnixEpoch() + absl::Hours(hour); }

using Use = std::tuple<int, int, int>;  // start, length, amount

auto Uses() {
  return *rc::gen::container<std::vector<Use>>(
      rc::gen::tuple(rc::gen::inRange(0, 20), rc::gen::inRange(0, 8), rc::gen::inRange(-5, 9)));
}

RC_GTEST_PROP(TimelineProperties, ThePeakIsTheHighestSumOverAllInstants, ()) {
  Timeline<int64_t> timeline;
  std::vector<int64_t> levels(40, 0);
  for (const auto& [start, length, amount] : Uses()) {
    timeline.Add({At(start), At(start + length)}, amount);
    for (int hour = start; hour < start + length; ++hour) levels[hour] += amount;
  }
  const int from = *rc::gen::inRange(0, 30);
  const int to = from + *rc::gen::inRange(1, 10);
  RC_ASSERT(timeline.Peak({At(from), At(to)}) ==
            *std::max_element(levels.begin() + from, levels.begin() + to));
}

RC_GTEST_PROP(TimelineProperties, TheFirstAndTheLastInstantAboveALimitAreFound, ()) {
  Timeline<Watts> timeline;
  std::vector<Watts> levels(40);
  for (const auto& [start, length, amount] : Uses()) {
    const Watts watts{amount, 3 - amount};
    timeline.Add({At(start), At(start + length)}, watts);
    for (int hour = start; hour < start + length; ++hour) levels[hour] += watts;
  }
  const int from = *rc::gen::inRange(0, 30);
  const int to = from + *rc::gen::inRange(1, 10);
  const Watts limit{*rc::gen::inRange(-3, 12), *rc::gen::inRange(-3, 12)};
  const auto above = [&](int hour) {
    return levels[hour].it_power > limit.it_power || levels[hour].cooling > limit.cooling;
  };
  int first = from;
  while (first < to && !above(first)) ++first;
  int kept = to;
  while (kept > from && !above(kept - 1)) --kept;
  const auto found = timeline.FirstAbove({At(from), At(to)}, limit);
  RC_ASSERT(found.has_value() == (first < to));
  if (found) RC_ASSERT(*found == std::pair(At(first), levels[first]));
  RC_ASSERT(timeline.KeptFrom({At(from), At(to)}, limit) == At(kept));
  RC_CLASSIFY(found.has_value() && kept < to, "above, then kept");
}

RC_GTEST_PROP(TimelineProperties, TheOrderOfAdditionsDoesNotMatterAndAllCanBeTakenBack, ()) {
  const std::vector<Use> uses = Uses();
  Timeline<int64_t> forward, backward;
  for (const auto& [start, length, amount] : uses)
    forward.Add({At(start), At(start + length)}, amount);
  for (auto use = uses.rbegin(); use != uses.rend(); ++use) {
    const auto& [start, length, amount] = *use;
    backward.Add({At(start), At(start + length)}, amount);
  }
  RC_ASSERT(forward == backward);
  for (const auto& [start, length, amount] : uses)
    forward.Add({At(start), At(start + length)}, -amount);
  RC_ASSERT(forward.empty());
}

}  // namespace
}  // namespace concordat::reservations
