#include "services/reservations/timeline.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace concordat::reservations {
namespace {

constexpr absl::Duration kTick = absl::Nanoseconds(1);
// Nodes grow by so many, not to twice their size: most of a timeline's memory is in its leaves.
constexpr size_t kGrowth = 4;

int64_t Sum(int64_t a, int64_t b) { return a + b; }
int64_t Highest(int64_t a, int64_t b) { return std::max(a, b); }

Watts Sum(Watts a, const Watts& b) { return a += b; }
Watts Highest(const Watts& a, const Watts& b) {
  return {std::max(a.it_power, b.it_power), std::max(a.cooling, b.cooling)};
}

Usage Sum(const Usage& a, const Usage& b) {
  return {a.servers + b.servers, a.accelerators + b.accelerators};
}
Usage Highest(const Usage& a, const Usage& b) {
  return {std::max(a.servers, b.servers), std::max(a.accelerators, b.accelerators)};
}

}  // namespace

bool Exceeds(int64_t level, int64_t limit) { return level > limit; }
bool Exceeds(const Watts& level, const Watts& limit) {
  return level.it_power > limit.it_power || level.cooling > limit.cooling;
}
bool Exceeds(const Usage& level, const Usage& limit) {
  return level.servers > limit.servers || level.accelerators > limit.accelerators;
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
typename Timeline<Amount>::Total Timeline<Amount>::TotalOf(const Node& node) {
  Total total;
  for (const Change& change : node.changes) total = Join(total, TotalOf(change.delta));
  for (const Branch& branch : node.branches) total = Join(total, branch.total);
  return total;
}

// The total of the changes within [from, to).
template <typename Amount>
typename Timeline<Amount>::Total Timeline<Amount>::Fold(const Node& node, absl::Time from,
                                                        absl::Time to) {
  Total total;
  for (const Change& change : node.changes) {
    if (change.at >= to) return total;
    if (change.at >= from) total = Join(total, TotalOf(change.delta));
  }
  for (size_t i = 0; i < node.branches.size(); ++i) {
    const Branch& branch = node.branches[i];
    const bool last = i + 1 == node.branches.size();
    const absl::Time next = last ? absl::InfiniteFuture() : node.branches[i + 1].from;
    if (branch.from >= to) return total;
    if (next <= from) continue;
    const bool whole = branch.from >= from && next <= to;
    total = Join(total, whole ? branch.total : Fold(*branch.node, from, to));
  }
  return total;
}

// The second half of the branch becomes a branch of its own.
template <typename Amount>
void Timeline<Amount>::Split(Node& node, size_t branch) {
  Node& first = *node.branches[branch].node;
  auto second = std::make_unique<Node>();
  const auto move = [](auto& from, auto& to) {
    const auto middle = from.begin() + static_cast<std::ptrdiff_t>(from.size() / 2);
    to.assign(std::make_move_iterator(middle), std::make_move_iterator(from.end()));
    from.erase(middle, from.end());
    from.shrink_to_fit();
  };
  move(first.changes, second->changes);
  move(first.branches, second->branches);
  const absl::Time from =
      second->branches.empty() ? second->changes.front().at : second->branches.front().from;
  node.branches[branch].total = TotalOf(first);
  const Total total = TotalOf(*second);
  node.branches.insert(node.branches.begin() + static_cast<std::ptrdiff_t>(branch) + 1,
                       Branch{from, total, std::move(second)});
}

// The branch after this one joins it, where there is one and both are small.
template <typename Amount>
void Timeline<Amount>::Merge(Node& node, size_t branch) {
  if (branch + 1 >= node.branches.size()) return;
  Branch& first = node.branches[branch];
  Branch& second = node.branches[branch + 1];
  if (first.node->size() + second.node->size() > kMost / 2) return;
  const auto move = [](auto& from, auto& to) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  move(second.node->changes, first.node->changes);
  move(second.node->branches, first.node->branches);
  first.total = Join(first.total, second.total);
  node.branches.erase(node.branches.begin() + static_cast<std::ptrdiff_t>(branch) + 1);
}

// REQUIRES: the node has room for one more.
template <typename Amount>
void Timeline<Amount>::Apply(Node& node, absl::Time at, const Amount& delta) {
  if (node.branches.empty()) {
    const auto found = std::partition_point(node.changes.begin(), node.changes.end(),
                                            [&](const Change& change) { return change.at < at; });
    if (found == node.changes.end() || found->at != at) {
      const auto place = found - node.changes.begin();
      if (node.changes.size() == node.changes.capacity())
        node.changes.reserve(node.changes.size() + kGrowth);
      node.changes.insert(node.changes.begin() + place, {at, delta});
      return;
    }
    found->delta = Sum(found->delta, delta);
    // A change of nothing would make equal step functions differ.
    if (found->delta == Amount()) node.changes.erase(found);
    return;
  }
  const auto find = [&] {
    const auto after =
        std::partition_point(node.branches.begin(), node.branches.end(),
                             [&](const Branch& branch) { return branch.from <= at; });
    return after == node.branches.begin() ? 0
                                          : static_cast<size_t>(after - node.branches.begin()) - 1;
  };
  size_t i = find();
  if (node.branches[i].node->size() == kMost) {
    Split(node, i);
    i = find();
  }
  Branch& branch = node.branches[i];
  branch.from = std::min(branch.from, at);
  Apply(*branch.node, at, delta);
  branch.total = TotalOf(*branch.node);
  if (branch.node->size() == 0) {
    node.branches.erase(node.branches.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  }
  Merge(node, i);
  if (i > 0) Merge(node, i - 1);
}

template <typename Amount>
void Timeline<Amount>::Apply(absl::Time at, const Amount& delta) {
  if (root_.size() == kMost) {
    auto whole = std::make_unique<Node>(std::move(root_));
    root_ = Node();
    root_.branches.push_back(Branch{absl::InfinitePast(), TotalOf(*whole), std::move(whole)});
    Split(root_, 0);
  }
  Apply(root_, at, delta);
  if (root_.branches.size() == 1) {
    const std::unique_ptr<Node> only = std::move(root_.branches.front().node);
    root_ = std::move(*only);
  }
}

template <typename Amount>
void Timeline<Amount>::Add(const Span& span, const Amount& amount) {
  if (span.start >= span.end || amount == Amount()) return;
  Apply(span.start, amount);
  if (span.end != absl::InfiniteFuture()) Apply(span.end, -amount);
}

// What changes at a time holds from there on.
template <typename Amount>
Amount Timeline<Amount>::LevelAt(absl::Time at) const {
  return Fold(root_, absl::InfinitePast(), at + kTick).sum;
}

template <typename Amount>
Amount Timeline<Amount>::Peak(const Span& span) const {
  return Sum(LevelAt(span.start), Fold(root_, span.start + kTick, span.end).peak);
}

// Whether a change within the span leads above the limit: the first. Branches whose peak stays
// below are passed over, so that it costs a logarithm.
template <typename Amount>
bool Timeline<Amount>::FindFirst(const Node& node, Above& above) {
  for (const Change& change : node.changes) {
    if (change.at >= above.span.end) return false;
    above.level = Sum(above.level, change.delta);
    above.at = change.at;
    if (change.at > above.span.start && Exceeds(above.level, above.limit)) return true;
  }
  for (size_t i = 0; i < node.branches.size(); ++i) {
    const Branch& branch = node.branches[i];
    if (branch.from >= above.span.end) return false;
    // What is before the span counts for the level alone.
    const bool before =
        i + 1 < node.branches.size() && node.branches[i + 1].from <= above.span.start;
    if (before || !Exceeds(Sum(above.level, branch.total.peak), above.limit)) {
      above.level = Sum(above.level, branch.total.sum);
    } else if (FindFirst(*branch.node, above)) {
      return true;
    }
  }
  return false;
}

// The same for the last such change; `above.at` is then the change that follows on it.
template <typename Amount>
bool Timeline<Amount>::FindLast(const Node& node, const Amount& before, Above& above) {
  std::array<Amount, kMost> levels;  // before each branch, after each change
  Amount level = before;
  for (size_t i = 0; i < node.size(); ++i) {
    if (node.branches.empty()) level = Sum(level, node.changes[i].delta);
    levels[i] = level;
    if (!node.branches.empty()) level = Sum(level, node.branches[i].total.sum);
  }
  for (size_t i = node.changes.size(); i-- > 0;) {
    const Change& change = node.changes[i];
    if (change.at >= above.span.end) continue;
    if (change.at <= above.span.start) return false;
    if (Exceeds(levels[i], above.limit)) return true;
    above.at = change.at;
  }
  for (size_t i = node.branches.size(); i-- > 0;) {
    const Branch& branch = node.branches[i];
    if (branch.from >= above.span.end) continue;
    if (i + 1 < node.branches.size() && node.branches[i + 1].from <= above.span.start) return false;
    // A branch that is passed over keeps the limit from before its first change on: none ends
    // there.
    if (Exceeds(Sum(levels[i], branch.total.peak), above.limit) &&
        FindLast(*branch.node, levels[i], above))
      return true;
  }
  return false;
}

template <typename Amount>
std::optional<std::pair<absl::Time, Amount>> Timeline<Amount>::FirstAbove(
    const Span& span, const Amount& limit) const {
  const Amount level = LevelAt(span.start);
  if (Exceeds(level, limit)) return std::pair(span.start, level);
  Above above{span, limit, {}, span.end};
  if (!FindFirst(root_, above)) return std::nullopt;
  return std::pair(above.at, above.level);
}

template <typename Amount>
absl::Time Timeline<Amount>::KeptFrom(const Span& span, const Amount& limit) const {
  Above above{span, limit, {}, span.end};
  if (FindLast(root_, {}, above)) return above.at;
  return Exceeds(LevelAt(span.start), limit) ? above.at : span.start;
}

// The changes within the span.
template <typename Amount>
void Timeline<Amount>::Collect(const Node& node, const Span& span, std::vector<Change>& changes) {
  for (const Change& change : node.changes) {
    if (change.at >= span.start && change.at < span.end) changes.push_back(change);
  }
  for (size_t i = 0; i < node.branches.size(); ++i) {
    if (node.branches[i].from >= span.end) return;
    if (i + 1 < node.branches.size() && node.branches[i + 1].from <= span.start) continue;
    Collect(*node.branches[i].node, span, changes);
  }
}

template <typename Amount>
std::vector<std::pair<absl::Time, Amount>> Timeline<Amount>::Levels(const Span& span) const {
  std::vector<std::pair<absl::Time, Amount>> levels = {{span.start, LevelAt(span.start)}};
  std::vector<Change> changes;
  Collect(root_, {span.start + kTick, span.end}, changes);
  for (const Change& change : changes)
    levels.emplace_back(change.at, Sum(levels.back().second, change.delta));
  return levels;
}

template <typename Amount>
std::vector<std::pair<absl::Time, Amount>> Timeline<Amount>::Changes() const {
  std::vector<Change> changes;
  Collect(root_, {absl::InfinitePast(), absl::InfiniteFuture()}, changes);
  std::vector<std::pair<absl::Time, Amount>> pairs;
  for (const Change& change : changes) pairs.emplace_back(change.at, change.delta);
  return pairs;
}

template class Timeline<int64_t>;
template class Timeline<Watts>;
template class Timeline<Usage>;

}  // namespace concordat::reservations
