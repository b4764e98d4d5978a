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

}  // namespace

struct Timeline::Node {
  absl::Time at;
  int64_t delta;
  uint64_t priority;
  Total total;
  Tree before;
  Tree after;
};

Timeline::Timeline() = default;
Timeline::~Timeline() = default;
Timeline::Timeline(Timeline&&) noexcept = default;
Timeline& Timeline::operator=(Timeline&&) noexcept = default;

Timeline::Total Timeline::Join(Total before, Total after) {
  return {before.sum + after.sum, std::max(before.peak, before.sum + after.peak)};
}

Timeline::Total Timeline::TotalOf(const Tree& tree) {
  return tree == nullptr ? Total() : tree->total;
}

void Timeline::Refresh(Node& node) {
  const Total own{node.delta, std::max<int64_t>(0, node.delta)};
  node.total = Join(Join(TotalOf(node.before), own), TotalOf(node.after));
}

// The total of the changes within [from, to).
Timeline::Total Timeline::Fold(const Tree& tree, absl::Time from, absl::Time to) {
  if (tree == nullptr) return {};
  if (from == absl::InfinitePast() && to == absl::InfiniteFuture()) return tree->total;
  if (tree->at < from) return Fold(tree->after, from, to);
  if (tree->at >= to) return Fold(tree->before, from, to);
  const Total own{tree->delta, std::max<int64_t>(0, tree->delta)};
  return Join(Join(Fold(tree->before, from, absl::InfiniteFuture()), own),
              Fold(tree->after, absl::InfinitePast(), to));
}

// What changes before `at`, and from `at` on.
std::pair<Timeline::Tree, Timeline::Tree> Timeline::Split(Tree tree, absl::Time at) {
  if (tree == nullptr) return {};
  if (tree->at < at) {
    auto [before, after] = Split(std::move(tree->after), at);
    tree->after = std::move(before);
    Refresh(*tree);
    return {std::move(tree), std::move(after)};
  }
  auto [before, after] = Split(std::move(tree->before), at);
  tree->before = std::move(after);
  Refresh(*tree);
  return {std::move(before), std::move(tree)};
}

Timeline::Tree Timeline::Merge(Tree before, Tree after) {
  if (before == nullptr) return after;
  if (after == nullptr) return before;
  if (before->priority > after->priority) {
    before->after = Merge(std::move(before->after), std::move(after));
    Refresh(*before);
    return before;
  }
  after->before = Merge(std::move(before), std::move(after->before));
  Refresh(*after);
  return after;
}

void Timeline::Change(absl::Time at, int64_t delta) {
  auto [before, rest] = Split(std::move(root_), at);
  auto [here, after] = Split(std::move(rest), at + kTick);
  if (here == nullptr) {
    here = std::make_unique<Node>();
    here->at = at;
    here->delta = 0;
    here->priority = PriorityOf(at);
  }
  here->delta += delta;
  Refresh(*here);
  // A change of nothing would make equal step functions differ.
  if (here->delta == 0) here = nullptr;
  root_ = Merge(Merge(std::move(before), std::move(here)), std::move(after));
}

void Timeline::Add(absl::Time start, absl::Time end, int64_t amount) {
  if (start >= end || amount == 0) return;
  Change(start, amount);
  if (end != absl::InfiniteFuture()) Change(end, -amount);
}

int64_t Timeline::Peak(absl::Time start, absl::Time end) const {
  // What changes at `start` holds from there on: the level just before it does not count.
  const absl::Time after_start = start + kTick;
  const int64_t level = Fold(root_, absl::InfinitePast(), after_start).sum;
  return level + Fold(root_, after_start, end).peak;
}

void Timeline::Collect(const Tree& tree, std::vector<std::pair<absl::Time, int64_t>>& changes) {
  if (tree == nullptr) return;
  Collect(tree->before, changes);
  changes.emplace_back(tree->at, tree->delta);
  Collect(tree->after, changes);
}

std::vector<std::pair<absl::Time, int64_t>> Timeline::Changes() const {
  std::vector<std::pair<absl::Time, int64_t>> changes;
  Collect(root_, changes);
  return changes;
}

}  // namespace concordat::reservations
