// The servers of one model and who of them is free when. Law: derived; it answers as if every
// server's spans had been looked through, and never does so for more than some hundred of them.
//
// A tree divides time, from more than ten thousand years at the root over days and hours down to
// minutes. Each node has two bits a server: `full` where the server is taken over all of the node,
// `partly` where over some of it. What is inside of a window rules a server out by either bit, what
// only overlaps it by `full`. A node has children, which say more of the servers that are `partly`
// there, only where these are many; where they are few, each one's spans are looked at. So a
// question costs a logarithm of rows, each of one bit a server, and memory follows the number of
// reservations and not the length of time.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/functional/function_ref.h>
#include <absl/time/time.h>

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/reservations/timeline.h"

namespace concordat::reservations {

// The spans for which one server is taken, each by somebody or by nobody in particular. A value;
// the names of holders are not owned and must outlive it.
class Schedule {
 public:
  enum class Use { kFree, kPartly, kFull };
  using Holder = const std::string*;

  // Empty spans take nothing and are not kept.
  void Insert(const Span& span, Holder holder = nullptr);
  // Takes back one span that was inserted for that holder; ignores others.
  void Erase(const Span& span, Holder holder = nullptr);
  bool empty() const { return spans_.empty(); }

  // From this time on the server is taken without end: what runs on it is late, or is ending.
  void SetOverdueFrom(absl::Time at) { overdue_from_ = at; }
  bool IsOverdue(absl::Time now) const { return overdue_from_ <= now; }
  absl::Time overdue_from() const { return overdue_from_; }

  // How far into a schedule a time was found, as a part of it: a guess for others that are filled
  // alike.
  struct Guess {
    double part = 0.5;
  };
  // How far the server is taken over a span. Costs a logarithm of how far the guess is off, and a
  // step for each span that follows on another without a gap. Leaves a better guess.
  Use UseOf(const Span& span, Guess& guess) const;
  Use UseOf(const Span& span) const {
    Guess guess;
    return UseOf(span, guess);
  }
  // Has the processor fetch what UseOf() will look at first.
  void Prefetch(const Guess& guess) const;
  // Whether the holder has any of the span. Costs the same.
  bool IsHeldBy(Holder holder, const Span& span) const;
  // Calls `visit` with each span that was inserted for a holder.
  void VisitHeld(absl::FunctionRef<void(const Span& span)> visit) const;
  // The earliest time, `from` or later, from which the server is free for as long. Costs a step for
  // each span from there on.
  absl::Time NextGap(absl::Time from, absl::Duration length) const;

  // Holders are equal by name.
  friend bool operator==(const Schedule& a, const Schedule& b);

 private:
  struct Taken : Span {
    Holder holder;
  };
  static bool Before(const Taken& a, const Taken& b);
  using Place = std::vector<Taken>::const_iterator;
  Place FirstThatMayReach(absl::Time start, Guess& guess) const;
  Place FirstThatMayReach(absl::Time start) const {
    Guess guess;
    return FirstThatMayReach(start, guess);
  }
  Place PlaceOf(const Guess& guess) const {
    return spans_.begin() +
           static_cast<std::ptrdiff_t>(guess.part * static_cast<double>(spans_.size()));
  }

  std::vector<Taken> spans_;  // by start, then end, then holder
  // Neighbours in `spans_` that overlap. No decider books a server twice; a history that none
  // wrote may, and costs more to look through.
  size_t overlaps_ = 0;
  absl::Time overdue_from_ = absl::InfiniteFuture();
};

// Where a server stands, as placement sees it: servers with an equal word share the thing.
struct ServerPlace {
  std::string domain;  // the NVLink domain; where there is none, the rack in its stead
  std::string rack;    // with its room
  std::string feed;
  bool operator==(const ServerPlace&) const = default;
};

// Some servers of a pool, a bit each. A value, of use until the pool changes.
struct Selection {
  std::vector<uint64_t> bits;
  size_t count() const;
};

// Not thread-safe.
class Pool {
 public:
  // A node at which so many servers are partly taken has children. With fewer it costs less to look
  // at each of them, 20 to 50 ns, than it costs memory to keep rows for the children.
  explicit Pool(size_t most_undivided = 256) : most_undivided_(most_undivided) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A server enters, or leaves. The name and the schedule are not owned and must outlive its stay.
  // REQUIRES: no two servers have one name.
  void Join(const std::string& name, const Schedule& schedule, const ServerPlace& place);
  // The same for a server of which nobody knows where it stands.
  void Join(const std::string& name, const Schedule& schedule);
  void Leave(const std::string& name);
  // What a schedule says within a span may have changed. REQUIRES: `name` is in the pool.
  void Refresh(const std::string& name, const Span& changed);
  // From when on the schedule is overdue may have changed. REQUIRES: `name` is in the pool.
  void RefreshOverdue(const std::string& name);

  size_t size() const { return by_name_.size(); }
  bool empty() const { return by_name_.empty(); }

  // Calls `take` with each server that is free over all of the spans and not overdue, in the order
  // of names, until it returns false. Spans may overlap, touch, or come in any order; empty ones
  // ask for nothing.
  void FindFree(std::vector<Span> spans, absl::Time now,
                absl::FunctionRef<bool(const std::string& name)> take) const;

  // The same servers as a selection; what it costs does not depend on how many are free.
  Selection FindFree(std::vector<Span> spans, absl::Time now) const;
  // All servers.
  Selection All() const { return {joined_}; }
  // Those of a selection that are in another too, or are not.
  static Selection Both(const Selection& a, const Selection& b);
  static Selection Without(const Selection& a, const Selection& b);
  // Those with these names, as far as they are in the pool.
  template <typename Names>
  Selection Named(const Names& names) const {
    Selection named;
    for (const std::string& name : names) Add(name, named);
    return named;
  }
  // Those that stand in one of the racks or domains.
  Selection Standing(const std::set<std::string>& racks,
                     const std::set<std::string>& domains) const;
  // The feeds that servers hang on, by name, and those of a selection that hang on one.
  std::vector<std::string> Feeds() const;
  Selection OnFeed(const Selection& selection, const std::string& feed) const;
  // A time, `from` or later, before which fewer than `count` of a selection are free for as long at
  // once; never where so many are not there or overdue. Looks at each of them.
  absl::Time EarliestGap(const Selection& selection, absl::Time from, absl::Duration length,
                         size_t count, absl::Time now) const;
  // The first of a selection by name, `skip` of them left out.
  std::vector<std::string> Names(const Selection& selection, size_t most, size_t skip = 0) const;

  // `count` of a selection, or all of it where there are fewer. Packed: in as few domains as can
  // be, the largest first and at last the smallest that holds the rest, so that large ones stay
  // whole. Spread: one after the other from each rack or feed, so that as many as can be give some
  // and none gives two more than another that has some left. Whatever is equal is taken by name.
  std::vector<std::string> Pack(const Selection& selection, size_t count) const;
  std::vector<std::string> SpreadRacks(const Selection& selection, size_t count) const;
  std::vector<std::string> SpreadFeeds(const Selection& selection, size_t count) const;

  // The servers and, bit by bit, the trees are the same: an index kept through any history has the
  // same one as an index rebuilt from the rows.
  friend bool operator==(const Pool& a, const Pool& b);

 private:
  using Position = uint32_t;  // of a server's bits
  using Bits = std::vector<uint64_t>;
  struct Member {
    const std::string* name = nullptr;  // nothing: the position is not taken
    const Schedule* schedule = nullptr;
    const ServerPlace* place = nullptr;
    absl::Time overdue_from = absl::InfiniteFuture();
  };
  // Servers by what they share, each by name.
  using Groups = absl::btree_map<std::string, std::vector<Position>>;
  struct Group {  // those of a group that are selected
    const std::vector<Position>* members;
    size_t count;
  };
  struct Node {
    Bits partly;
    Bits full;
    size_t partly_count = 0;
    std::vector<Node> children;  // none: the servers that are partly taken are looked at one by one
  };
  struct Place {  // of a node in time
    size_t level;
    int64_t minute;  // since the root's begin
  };
  struct Rows {  // what a question comes to
    std::vector<const Bits*> taken;
    std::vector<const Bits*> unsure;
  };

  static bool Get(const Bits& bits, Position position) {
    return position / 64 < bits.size() && (bits[position / 64] >> (position % 64) & 1) != 0;
  }
  static Span SpanOf(const Place& place);
  static Place ChildOf(const Place& place, size_t child);
  static Schedule::Use UseIn(const Node& node, Position position);
  static void Gather(const Node& node, const Place& place, const Span* begin, const Span* end,
                     Rows& rows);
  std::vector<Position>::const_iterator Find(const std::string& name) const;
  void Note(Node& node, Position position, Schedule::Use use);
  void Refresh(Node& node, const Place& place, Position position, const Span& changed);
  void RefreshChildren(Node& node, const Place& place, Position position, const Span& changed);
  void Forget(Node& node, const Place& place, Position position);
  void Divide(Node& node, const Place& place);
  bool Equal(const Node& node, const Pool& other, const Node& others) const;
  Rows RowsOf(const std::vector<Span>& merged) const;
  Bits AnyOf(const std::vector<const Bits*>& rows) const;
  void RuleOutTaken(const std::vector<Position>& unsure, const std::vector<Span>& spans,
                    Bits& free) const;
  void Add(const std::string& name, Selection& selection) const;
  void Enter(Groups& groups, const std::string& group, Position position);
  static void Remove(Groups& groups, const std::string& group, Position position);
  static std::vector<Group> Selected(const Groups& groups, const Selection& selection);
  std::vector<std::string> Spread(const Groups& groups, const Selection& selection,
                                  size_t count) const;

  const size_t most_undivided_;
  std::vector<Member> members_;  // by position
  std::vector<Position> unused_;
  std::vector<Position> by_name_;
  Bits joined_;                                               // positions that are taken
  absl::btree_set<std::pair<absl::Time, Position>> overdue_;  // by when they are
  Groups domains_;
  Groups racks_;
  Groups feeds_;
  Node root_;
};

}  // namespace concordat::reservations
