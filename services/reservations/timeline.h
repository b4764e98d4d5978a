// How much of something is in use over time: a step function, as the sum of amounts over half-open
// time spans. Law: equal sums compare equal, however they came about.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

namespace concordat::reservations {

// Half-open: what ends at a time and what starts then do not overlap.
struct Span {
  absl::Time start;
  absl::Time end;
  bool Overlaps(const Span& other) const { return start < other.end && other.start < end; }
  bool Contains(const Span& other) const { return start <= other.start && other.end <= end; }
  bool operator==(const Span&) const = default;
};

// Power drawn and heat given off.
struct Watts {
  int64_t it_power = 0;
  int64_t cooling = 0;
  bool operator==(const Watts&) const = default;
  Watts& operator+=(const Watts& other);
  Watts& operator-=(const Watts& other);
  Watts operator-() const { return {-it_power, -cooling}; }
};

// A treap of changes by time; each node knows the sum and the highest partial sum of its subtree,
// so that Add() and Peak() cost the logarithm of the number of changes. `Amount` is int64_t or
// Watts, whose two quantities are summed and compared each by itself. Not thread-safe.
template <typename Amount>
class Timeline {
 public:
  // Adds an amount, which may be negative, over [start, end); `end` may be absl::InfiniteFuture().
  // Does nothing where the span is empty. REQUIRES: whole nanoseconds.
  void Add(const Span& span, const Amount& amount);

  // The highest level within the span; of Watts the highest of each. REQUIRES: start < end.
  Amount Peak(const Span& span) const;

  // The first instant of the span at which the level exceeds the limit, of Watts in either
  // quantity, and the level then; nothing where it never does. REQUIRES: start < end.
  std::optional<std::pair<absl::Time, Amount>> FirstAbove(const Span& span,
                                                          const Amount& limit) const;
  // The first instant from which on the level keeps the limit up to the span's end: its start where
  // it is never exceeded, its end where it is exceeded up to there. REQUIRES: start < end.
  absl::Time KeptFrom(const Span& span, const Amount& limit) const;

  // The level from each change within the span on, the first from its start. REQUIRES: start < end.
  std::vector<std::pair<absl::Time, Amount>> Levels(const Span& span) const;

  // Nothing is in use at any time.
  bool empty() const { return root_ == kNone; }
  // Every change of the level, in the order of time.
  std::vector<std::pair<absl::Time, Amount>> Changes() const;
  friend bool operator==(const Timeline& a, const Timeline& b) {
    return a.Changes() == b.Changes();
  }

 private:
  // Nodes stand in one array and name each other by place: a site has millions of them.
  using Place = uint32_t;
  static constexpr Place kNone = ~Place{0};
  struct Total {
    Amount sum = {};
    Amount peak = {};  // the highest sum of the first so many changes, none among them
  };
  struct Node {
    absl::Time at;
    Place before = kNone;
    Place after = kNone;
    Amount delta = {};
    Total total;
  };

  static Total Join(const Total& before, const Total& after);
  static Total TotalOf(const Amount& delta);
  Total TotalOf(Place tree) const { return tree == kNone ? Total() : nodes_[tree].total; }
  Total Fold(Place tree, absl::Time from, absl::Time to) const;
  void Refresh(Place node);
  std::pair<Place, Place> Split(Place tree, absl::Time at);
  Place Merge(Place before, Place after);
  struct Above {  // where a search for a level stands
    Span span;    // of changes: after its start, before its end
    Amount limit;
    Amount level;   // before the subtree, then after it
    absl::Time at;  // what was found
  };
  bool FindFirst(Place tree, Above& above) const;
  bool FindLast(Place tree, const Amount& before, Above& above) const;
  void Collect(Place tree, std::vector<std::pair<absl::Time, Amount>>& changes) const;
  void CollectLevels(Place tree, const Span& span,
                     std::vector<std::pair<absl::Time, Amount>>& levels) const;
  void Change(absl::Time at, const Amount& delta);
  Place NewNode(absl::Time at);

  std::deque<Node> nodes_;
  Place unused_ = kNone;  // the first of the places that are free again, linked by `after`
  Place root_ = kNone;
};

extern template class Timeline<int64_t>;
extern template class Timeline<Watts>;

}  // namespace concordat::reservations
