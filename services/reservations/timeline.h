// How much of something is in use over time: a step function, as the sum of amounts over half-open
// time spans. Law: equal sums compare equal, however they came about.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace concordat::reservations {

// A treap of changes by time; each node knows the sum and the highest partial sum of its subtree,
// so that everything here costs the logarithm of the number of changes. Not thread-safe.
class Timeline {
 public:
  Timeline();
  ~Timeline();
  Timeline(Timeline&&) noexcept;
  Timeline& operator=(Timeline&&) noexcept;

  // Adds an amount, which may be negative, over [start, end); `end` may be absl::InfiniteFuture().
  // Does nothing where the span is empty. REQUIRES: whole nanoseconds.
  void Add(absl::Time start, absl::Time end, int64_t amount);

  // The highest level within [start, end). REQUIRES: start < end.
  int64_t Peak(absl::Time start, absl::Time end) const;

  // Nothing is in use at any time.
  bool empty() const { return root_ == nullptr; }
  // Every change of the level, in the order of time.
  std::vector<std::pair<absl::Time, int64_t>> Changes() const;
  friend bool operator==(const Timeline& a, const Timeline& b) {
    return a.Changes() == b.Changes();
  }

 private:
  struct Node;
  using Tree = std::unique_ptr<Node>;
  struct Total {
    int64_t sum = 0;
    int64_t peak = 0;  // the highest sum of the first so many changes, none among them
  };

  static Total Join(Total before, Total after);
  static Total TotalOf(const Tree& tree);
  static Total Fold(const Tree& tree, absl::Time from, absl::Time to);
  static void Refresh(Node& node);
  static std::pair<Tree, Tree> Split(Tree tree, absl::Time at);
  static Tree Merge(Tree before, Tree after);
  static void Collect(const Tree& tree, std::vector<std::pair<absl::Time, int64_t>>& changes);
  void Change(absl::Time at, int64_t delta);

  Tree root_;
};

}  // namespace concordat::reservations
