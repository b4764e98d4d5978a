// How much of something is in use over time: a step function, as the sum of amounts over half-open
// time spans. Law: equal sums compare equal, however they came about.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <memory>
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

// What a contract has reserved.
struct Usage {
  int64_t servers = 0;
  int64_t accelerators = 0;
  bool operator==(const Usage&) const = default;
  Usage operator-() const { return {-servers, -accelerators}; }
};

// A B-tree of changes by time; of each branch it knows the sum and the highest partial sum, so that
// Add() and Peak() cost the logarithm of the number of changes, and few looks into memory. `Amount`
// is int64_t, Watts or Usage; the two quantities of the latter are summed and compared each by
// itself. Not thread-safe.
template <typename Amount>
class Timeline {
 public:
  // Adds an amount, which may be negative, over [start, end); `end` may be absl::InfiniteFuture().
  // Does nothing where the span is empty. REQUIRES: whole nanoseconds.
  void Add(const Span& span, const Amount& amount);

  // The highest level within the span; of two quantities the highest of each. REQUIRES: start <
  // end.
  Amount Peak(const Span& span) const;

  // The first instant of the span at which the level exceeds the limit, of two quantities in
  // either, and the level then; nothing where it never does. REQUIRES: start < end.
  std::optional<std::pair<absl::Time, Amount>> FirstAbove(const Span& span,
                                                          const Amount& limit) const;
  // The first instant from which on the level keeps the limit up to the span's end: its start where
  // it is never exceeded, its end where it is exceeded up to there. REQUIRES: start < end.
  absl::Time KeptFrom(const Span& span, const Amount& limit) const;

  // The level from each change within the span on, the first from its start. REQUIRES: start < end.
  std::vector<std::pair<absl::Time, Amount>> Levels(const Span& span) const;

  // Nothing is in use at any time.
  bool empty() const { return root_.changes.empty() && root_.branches.empty(); }
  // Every change of the level, in the order of time.
  std::vector<std::pair<absl::Time, Amount>> Changes() const;
  friend bool operator==(const Timeline& a, const Timeline& b) {
    return a.Changes() == b.Changes();
  }

 private:
  static constexpr size_t kMost = 32;  // of changes or branches in a node

  struct Total {
    Amount sum = {};
    Amount peak = {};  // the highest sum of the first so many changes, none among them
  };
  struct Change {
    absl::Time at;
    Amount delta;
  };
  struct Node;
  struct Branch {
    absl::Time from;  // no change of it is earlier, and none of the branch before is this late
    Total total;
    std::unique_ptr<Node> node;
  };
  // A leaf has changes, any other node branches; both in the order of time.
  struct Node {
    std::vector<Change> changes;
    std::vector<Branch> branches;
    size_t size() const { return changes.size() + branches.size(); }
  };
  struct Above {  // where a search for a level stands
    Span span;    // of changes: after its start, before its end
    Amount limit;
    Amount level;   // before the node, then after it
    absl::Time at;  // what was found
  };

  static Total Join(const Total& before, const Total& after);
  static Total TotalOf(const Amount& delta);
  static Total TotalOf(const Node& node);
  static Total Fold(const Node& node, absl::Time from, absl::Time to);
  static bool FindFirst(const Node& node, Above& above);
  static bool FindLast(const Node& node, const Amount& before, Above& above);
  static void Collect(const Node& node, const Span& span, std::vector<Change>& changes);
  static void Apply(Node& node, absl::Time at, const Amount& delta);
  static void Split(Node& node, size_t branch);
  static void Merge(Node& node, size_t branch);
  Amount LevelAt(absl::Time at) const;
  void Apply(absl::Time at, const Amount& delta);

  Node root_;
};

extern template class Timeline<int64_t>;
extern template class Timeline<Watts>;
extern template class Timeline<Usage>;

}  // namespace concordat::reservations
