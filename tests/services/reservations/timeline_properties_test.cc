#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "services/reservations/timeline.h"

namespace concordat::reservations {
namespace {

absl::Time At(int hour) { return absl::UnixEpoch() + absl::Hours(hour); }

using Use = std::tuple<int, int, int>;  // start, length, amount

constexpr int kHours = 4000;

// Few that meet often, or so many that the tree has three layers.
std::vector<Use> Uses() {
  const auto of = [](int hours) {
    return rc::gen::tuple(rc::gen::inRange(0, hours), rc::gen::inRange(0, 8),
                          rc::gen::inRange(-5, 9));
  };
  if (*rc::gen::arbitrary<bool>()) return *rc::gen::container<std::vector<Use>>(of(20));
  return *rc::gen::container<std::vector<Use>>(1500, rc::gen::resize(100, of(kHours)));
}

// Half of the time where all is that is few.
Span AnySpan() {
  const int from = *rc::gen::resize(100, rc::gen::inRange(0, *rc::gen::element(30, kHours)));
  const int length = *rc::gen::resize(100, rc::gen::inRange(1, *rc::gen::element(10, kHours)));
  return {At(from), At(from + length)};
}
int HourOf(absl::Time at) { return static_cast<int>(absl::ToInt64Hours(at - absl::UnixEpoch())); }

int64_t Plus(int64_t a, int64_t b) { return a + b; }
Watts Plus(Watts a, const Watts& b) { return a += b; }
Usage Plus(const Usage& a, const Usage& b) {
  return {a.servers + b.servers, a.accelerators + b.accelerators};
}

template <typename Amount>
std::vector<Amount> LevelsOf(const std::vector<std::pair<Span, Amount>>& uses) {
  std::vector<Amount> levels(2 * kHours + 10);
  for (const auto& [span, amount] : uses) {
    for (int hour = HourOf(span.start); hour < HourOf(span.end); ++hour)
      levels[hour] = Plus(levels[hour], amount);
  }
  return levels;
}

// The timeline of all uses, of which most were taken back meanwhile, or the earlier ones.
template <typename Amount>
Timeline<Amount> TimelineOf(const std::vector<std::pair<Span, Amount>>& uses) {
  Timeline<Amount> timeline;
  const int cut = *rc::gen::resize(100, rc::gen::inRange(0, kHours));
  auto taken_back = *rc::gen::container<std::vector<bool>>(
      uses.size(), rc::gen::weightedElement<bool>({{9, true}, {1, false}}));
  if (*rc::gen::arbitrary<bool>()) {
    for (size_t i = 0; i < uses.size(); ++i) taken_back[i] = HourOf(uses[i].first.start) < cut;
  }
  for (const auto& [span, amount] : uses) timeline.Add(span, amount);
  for (size_t i = uses.size(); i-- > 0;) {
    if (taken_back[i]) timeline.Add(uses[i].first, -uses[i].second);
  }
  for (size_t i = uses.size(); i-- > 0;) {
    if (taken_back[i]) timeline.Add(uses[i].first, uses[i].second);
  }
  return timeline;
}

RC_GTEST_PROP(TimelineProperties, ThePeakIsTheHighestSumOverAllInstants, ()) {
  std::vector<std::pair<Span, int64_t>> uses;
  for (const auto& [start, length, amount] : Uses())
    uses.push_back({{At(start), At(start + length)}, amount});
  const Timeline<int64_t> timeline = TimelineOf(uses);
  const std::vector<int64_t> levels = LevelsOf(uses);
  for (int i = 0; i < 30; ++i) {
    const Span span = AnySpan();
    RC_ASSERT(timeline.Peak(span) == *std::max_element(levels.begin() + HourOf(span.start),
                                                       levels.begin() + HourOf(span.end)));
    int64_t level = levels[HourOf(span.start)];
    std::vector<std::pair<absl::Time, int64_t>> expected = {{span.start, level}};
    for (int hour = HourOf(span.start) + 1; hour < HourOf(span.end); ++hour) {
      if (levels[hour] != level) expected.emplace_back(At(hour), level = levels[hour]);
    }
    RC_ASSERT(timeline.Levels(span) == expected);
  }
}

// Of two quantities, each a member of the amount.
template <typename Amount>
void FindsTheFirstAndTheLastInstantAbove(int64_t Amount::*first_quantity,
                                         int64_t Amount::*second_quantity) {
  std::vector<std::pair<Span, Amount>> uses;
  for (const auto& [start, length, amount] : Uses())
    uses.push_back({{At(start), At(start + length)}, {amount, 3 - amount}});
  const Timeline<Amount> timeline = TimelineOf(uses);
  const std::vector<Amount> levels = LevelsOf(uses);
  bool both = false;
  for (int i = 0; i < 30; ++i) {
    const Span span = AnySpan();
    const int from = HourOf(span.start);
    const int to = HourOf(span.end);
    const auto number = rc::gen::resize(100, rc::gen::inRange(-3, 40));
    const Amount limit{*number, *number};
    const auto above = [&](int hour) {
      return levels[hour].*first_quantity > limit.*first_quantity ||
             levels[hour].*second_quantity > limit.*second_quantity;
    };
    int first = from;
    while (first < to && !above(first)) ++first;
    int kept = to;
    while (kept > from && !above(kept - 1)) --kept;
    const auto found = timeline.FirstAbove(span, limit);
    RC_ASSERT(found.has_value() == (first < to));
    if (found) RC_ASSERT(*found == std::pair(At(first), levels[first]));
    RC_ASSERT(timeline.KeptFrom(span, limit) == At(kept));
    Amount peak = levels[from];
    for (int hour = from; hour < to; ++hour) {
      for (const auto quantity : {first_quantity, second_quantity})
        peak.*quantity = std::max(peak.*quantity, levels[hour].*quantity);
    }
    RC_ASSERT(timeline.Peak(span) == peak);
    both |= found.has_value() && kept < to;
  }
  RC_CLASSIFY(both, "above, then kept");
}

RC_GTEST_PROP(TimelineProperties, TheFirstAndTheLastInstantAboveALimitAreFound, ()) {
  FindsTheFirstAndTheLastInstantAbove(&Watts::it_power, &Watts::cooling);
}

RC_GTEST_PROP(TimelineProperties, TheSameOfServersAndAccelerators, ()) {
  FindsTheFirstAndTheLastInstantAbove(&Usage::servers, &Usage::accelerators);
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
  // Some are taken back, and what is left is as if they had never been.
  Timeline<int64_t> rest;
  for (size_t i = 0; i < uses.size(); ++i) {
    const auto& [start, length, amount] = uses[i];
    const Span span{At(start), At(start + length)};
    if (i % 7 == 0) {
      rest.Add(span, amount);
    } else {
      forward.Add(span, -amount);
    }
  }
  RC_ASSERT(forward == rest);
  for (int i = 0; i < 30; ++i) {
    const Span span = AnySpan();
    RC_ASSERT(forward.Peak(span) == rest.Peak(span));
  }
  for (size_t i = 0; i < uses.size(); i += 7) {
    const auto& [start, length, amount] = uses[i];
    forward.Add({At(start), At(start + length)}, -amount);
  }
  RC_ASSERT(forward.empty());
}

}  // namespace
}  // namespace concordat::reservations
