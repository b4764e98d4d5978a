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
