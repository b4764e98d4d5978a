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

#include <absl/functional/function_ref.h>
#include <absl/time/time.h>

#include <cstdint>
#include <string>
#include <vector>

#include "services/reservations/timeline.h"

namespace concordat::reservations {

// The spans for which one server is taken. A value.
class Schedule {
 public:
  enum class Use { kFree, kPartly, kFull };

  // Empty spans take nothing and are not kept.
  void Insert(const Span& span);
  // Takes back one span that was inserted; ignores others.
  void Erase(const Span& span);
  bool empty() const { return spans_.empty(); }

  // From this time on the server is taken without end: what runs on it is late, or is ending.
  void SetOverdueFrom(absl::Time at) { overdue_from_ = at; }
  bool IsOverdue(absl::Time now) const { return overdue_from_ <= now; }

  // How far the server is taken over a span. Costs a logarithm, and a step for each span that
  // follows on another without a gap.
  Use UseOf(const Span& span) const;

  bool operator==(const Schedule&) const = default;

 private:
  std::vector<Span> spans_;  // by start, then end
  // Neighbours in `spans_` that overlap. No decider books a server twice; a history that none
  // wrote may, and costs more to look through.
  size_t overlaps_ = 0;
  absl::Time overdue_from_ = absl::InfiniteFuture();
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
  void Join(const std::string& name, const Schedule& schedule);
  void Leave(const std::string& name);
  // What a schedule says within a span may have changed. REQUIRES: `name` is in the pool.
  void Refresh(const std::string& name, const Span& changed);

  size_t size() const { return by_name_.size(); }
  bool empty() const { return by_name_.empty(); }

  // Calls `take` with each server that is free over all of the spans and not overdue, in the order
  // of names, until it returns false. Spans may overlap, touch, or come in any order; empty ones
  // ask for nothing.
  void FindFree(std::vector<Span> spans, absl::Time now,
                absl::FunctionRef<bool(const std::string& name)> take) const;

  // The servers and, bit by bit, the trees are the same: an index kept through any history has the
  // same one as an index rebuilt from the rows.
  friend bool operator==(const Pool& a, const Pool& b);

 private:
  using Position = uint32_t;  // of a server's bits
  using Bits = std::vector<uint64_t>;
  struct Member {
    const std::string* name = nullptr;  // nothing: the position is not taken
    const Schedule* schedule = nullptr;
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

  const size_t most_undivided_;
  std::vector<Member> members_;  // by position
  std::vector<Position> unused_;
  std::vector<Position> by_name_;
  Node root_;
};

}  // namespace concordat::reservations
