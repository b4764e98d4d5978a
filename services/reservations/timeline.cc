#include "services/reservations/timeline.h"

#include <algorithm>

namespace concordat::reservations {
namespace {

constexpr absl::Duration kTick = absl::Nanoseconds(1);

// Spreads times evenly (splitmix64, Steele et al. 2014): the tree's shape follows from its content.
uint64_t PriorityOf(absl::Time at) {
  uint64_t x = static_cast<uint64_t>(absl::ToUnixMicros(at)) + 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

int64_t Sum(int64_t a, int64_t b) { return a + b; }
int64_t Highest(int64_t a, int64_t b) { return std::max(a, b); }

Watts Sum(Watts a, const Watts& b) { return a += b; }
Watts Highest(const Watts& a, const Watts& b) {
  return {std::max(a.it_power, b.it_power), std::max(a.cooling, b.cooling)};
}

}  // namespace

bool Exceeds(int64_t level, int64_t limit) { return level > limit; }
bool Exceeds(const Watts& level, const Watts& limit) {
  return level.it_power > limit.it_power || level.cooling > limit.cooling;
}

Watts& Watts::operator+=(const Watts& other) {
  it_power += other.it_power;
  cooling += other.cooling;
  return *this;
}

Watts& Watts::operator-=(const Watts& other) { return *this += -other; }

template <typename Amount>
typename Timeline<Amount>::Total Timeline<Amount>::Join(const Total& before, const Total& after) {
  return {Sum(before.sum, after.sum), Highest(before.peak, Sum(before.sum, after.peak))};
}

template <typename Amount>
typename Timeline<Amount>::Total Timeline<Amount>::TotalOf(const Amount& delta) {
  return {delta, Highest({}, delta)};
}

template <typename Amount>
void Timeline<Amount>::Refresh(Place place) {
  Node& node = nodes_[place];
  node.total = Join(Join(TotalOf(node.before), TotalOf(node.delta)), TotalOf(node.after));
}

// The total of the changes within [from, to).
template <typename Amount>
typename Timeline<Amount>::Total Timeline<Amount>::Fold(Place tree, absl::Time from,
                                                        absl::Time to) const {
  if (tree == kNone) return {};
  const Node& node = nodes_[tree];
  if (from == absl::InfinitePast() && to == absl::InfiniteFuture()) return node.total;
  if (node.at < from) return Fold(node.after, from, to);
  if (node.at >= to) return Fold(node.before, from, to);
  return Join(Join(Fold(node.before, from, absl::InfiniteFuture()), TotalOf(node.delta)),
              Fold(node.after, absl::InfinitePast(), to));
}

// What changes before `at`, and from `at` on.
template <typename Amount>
std::pair<typename Timeline<Amount>::Place, typename Timeline<Amount>::Place>
Timeline<Amount>::Split(Place tree, absl::Time at) {
  if (tree == kNone) return {kNone, kNone};
  Node& node = nodes_[tree];
  if (node.at < at) {
    const auto [before, after] = Split(node.after, at);
    node.after = before;
    Refresh(tree);
    return {tree, after};
  }
  const auto [before, after] = Split(node.before, at);
  node.before = after;
  Refresh(tree);
  return {before, tree};
}

template <typename Amount>
typename Timeline<Amount>::Place Timeline<Amount>::Merge(Place before, Place after) {
  if (before == kNone) return after;
  if (after == kNone) return before;
  if (PriorityOf(nodes_[before].at) > PriorityOf(nodes_[after].at)) {
    nodes_[before].after = Merge(nodes_[before].after, after);
    Refresh(before);
    return before;
  }
  nodes_[after].before = Merge(before, nodes_[after].before);
  Refresh(after);
  return after;
}

template <typename Amount>
typename Timeline<Amount>::Place Timeline<Amount>::NewNode(absl::Time at) {
  Place place = unused_;
  if (place == kNone) {
    place = static_cast<Place>(nodes_.size());
    nodes_.emplace_back();
  } else {
    unused_ = nodes_[place].after;
    nodes_[place] = Node();
  }
  nodes_[place].at = at;
  return place;
}

template <typename Amount>
void Timeline<Amount>::Change(absl::Time at, const Amount& delta) {
  const auto [before, rest] = Split(root_, at);
  auto [here, after] = Split(rest, at + kTick);
  if (here == kNone) here = NewNode(at);
  Node& node = nodes_[here];
  node.delta = Sum(node.delta, delta);
  Refresh(here);
  // A change of nothing would make equal step functions differ.
  if (node.delta == Amount()) {
    node.after = unused_;
    unused_ = here;
    here = kNone;
  }
  root_ = Merge(Merge(before, here), after);
}

template <typename Amount>
void Timeline<Amount>::Add(const Span& span, const Amount& amount) {
  if (span.start >= span.end || amount == Amount()) return;
  Change(span.start, amount);
  if (span.end != absl::InfiniteFuture()) Change(span.end, -amount);
  if (root_ == kNone) *this = Timeline();
}

template <typename Amount>
Amount Timeline<Amount>::Peak(const Span& span) const {
  // What changes at `start` holds from there on: the level just before it does not count.
  const absl::Time after_start = span.start + kTick;
  const Amount level = Fold(root_, absl::InfinitePast(), after_start).sum;
  return Sum(level, Fold(root_, after_start, span.end).peak);
}

// Whether a change within the span leads above the limit: the first. Subtrees whose peak stays
// below are passed over, so that it costs a logarithm.
template <typename Amount>
bool Timeline<Amount>::FindFirst(Place tree, Above& above) const {
  if (tree == kNone) return false;
  const Node& node = nodes_[tree];
  if (!Exceeds(Sum(above.level, node.total.peak), above.limit)) {
    above.level = Sum(above.level, node.total.sum);
    return false;
  }
  if (node.at <= above.span.start) {  // what is before it counts for the level alone
    above.level = Sum(above.level, Sum(TotalOf(node.before).sum, node.delta));
    return FindFirst(node.after, above);
  }
  if (FindFirst(node.before, above)) return true;
  if (node.at >= above.span.end) return false;
  above.level = Sum(above.level, node.delta);
  if (Exceeds(above.level, above.limit)) {
    above.at = node.at;
    return true;
  }
  return FindFirst(node.after, above);
}

// The same for the last such change; `above.at` is then the change that follows on it.
template <typename Amount>
bool Timeline<Amount>::FindLast(Place tree, const Amount& before, Above& above) const {
  if (tree == kNone) return false;
  const Node& node = nodes_[tree];
  const Amount here = Sum(Sum(before, TotalOf(node.before).sum), node.delta);
  if (node.at >= above.span.end) return FindLast(node.before, before, above);
  if (node.at > above.span.start && !Exceeds(Sum(before, node.total.peak), above.limit)) {
    // Nothing in this subtree; the change that follows on what comes before is its first.
    for (Place at = tree; at != kNone;) {
      const bool within = nodes_[at].at > above.span.start;
      if (within) above.at = nodes_[at].at;
      at = within ? nodes_[at].before : nodes_[at].after;
    }
    return false;
  }
  if (FindLast(node.after, here, above)) return true;
  if (node.at <= above.span.start) return false;
  if (Exceeds(here, above.limit)) return true;
  above.at = node.at;
  return FindLast(node.before, before, above);
}

template <typename Amount>
std::optional<std::pair<absl::Time, Amount>> Timeline<Amount>::FirstAbove(
    const Span& span, const Amount& limit) const {
  const Amount level = Fold(root_, absl::InfinitePast(), span.start + kTick).sum;
  if (Exceeds(level, limit)) return std::pair(span.start, level);
  Above above{span, limit, {}, span.end};
  if (!FindFirst(root_, above)) return std::nullopt;
  return std::pair(above.at, above.level);
}

template <typename Amount>
absl::Time Timeline<Amount>::KeptFrom(const Span& span, const Amount& limit) const {
  Above above{span, limit, {}, span.end};
  if (FindLast(root_, {}, above)) return above.at;
  const Amount level = Fold(root_, absl::InfinitePast(), span.start + kTick).sum;
  return Exceeds(level, limit) ? above.at : span.start;
}

template <typename Amount>
void Timeline<Amount>::CollectLevels(Place tree, const Span& span,
                                     std::vector<std::pair<absl::Time, Amount>>& levels) const {
  if (tree == kNone) return;
  const Node& node = nodes_[tree];
  if (node.at > span.start) CollectLevels(node.before, span, levels);
  if (node.at > span.start && node.at < span.end)
    levels.emplace_back(node.at, Sum(levels.back().second, node.delta));
  if (node.at < span.end) CollectLevels(node.after, span, levels);
}

template <typename Amount>
std::vector<std::pair<absl::Time, Amount>> Timeline<Amount>::Levels(const Span& span) const {
  std::vector<std::pair<absl::Time, Amount>> levels = {
      {span.start, Fold(root_, absl::InfinitePast(), span.start + kTick).sum}};
  CollectLevels(root_, span, levels);
  return levels;
}

template <typename Amount>
void Timeline<Amount>::Collect(Place tree,
                               std::vector<std::pair<absl::Time, Amount>>& changes) const {
  if (tree == kNone) return;
  const Node& node = nodes_[tree];
  Collect(node.before, changes);
  changes.emplace_back(node.at, node.delta);
  Collect(node.after, changes);
}

template <typename Amount>
std::vector<std::pair<absl::Time, Amount>> Timeline<Amount>::Changes() const {
  std::vector<std::pair<absl::Time, Amount>> changes;
  Collect(root_, changes);
  return changes;
}

template class Timeline<int64_t>;
template class Timeline<Watts>;

}  // namespace concordat::reservations
