#include "services/reservations/pool.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace concordat::reservations {
namespace {

using Use = Schedule::Use;

// Children of a node, level by level from the leaves: minutes, 5, 15, hours, 4 hours, days (UTC),
// then four times as long each. Whatever begins at a full minute, hour or day begins at a node's
// border, where no server has to be looked at.
constexpr std::array<int64_t, 17> kFanOut = {1, 5, 3, 4, 4, 6, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4};
constexpr size_t kTop = kFanOut.size() - 1;

constexpr std::array<int64_t, kFanOut.size()> MakeMinutes() {
  std::array<int64_t, kFanOut.size()> minutes{};
  int64_t width = 1;
  for (size_t level = 0; level < minutes.size(); ++level) minutes[level] = width *= kFanOut[level];
  return minutes;
}
constexpr std::array<int64_t, kFanOut.size()> kMinutes = MakeMinutes();

// The root spans all times that a Timestamp can hold, the years 1 to 9999.
constexpr int64_t kMinutesADay = 24 * 60;
constexpr int64_t kRootBegin = -1048576 * kMinutesADay;  // since the Unix epoch
static_assert(kMinutes[kTop] == 4 * -kRootBegin);

// Rows grow by so many words, so that a pool that grows does not copy them for each server.
constexpr size_t kWordsAtOnce = 16;

void Set(std::vector<uint64_t>& bits, uint32_t position, bool value) {
  const size_t word = position / 64;
  const uint64_t bit = uint64_t{1} << (position % 64);
  if (!value) {
    if (word < bits.size()) bits[word] &= ~bit;
    return;
  }
  if (word >= bits.size()) {
    const size_t words = (word / kWordsAtOnce + 1) * kWordsAtOnce;
    bits.reserve(words);
    bits.resize(words);
  }
  bits[word] |= bit;
}

bool ByStart(const Span& a, const Span& b) {
  return a.start < b.start || (a.start == b.start && a.end < b.end);
}

// Whether the server is free over all of the spans; a guess for each.
bool IsFree(const Schedule& schedule, const std::vector<Span>& spans,
            std::vector<Schedule::Guess>& guesses) {
  for (size_t i = 0; i < spans.size(); ++i) {
    if (schedule.UseOf(spans[i], guesses[i]) != Use::kFree) return false;
  }
  return true;
}

// The same instants as spans that neither overlap nor touch, by time.
std::vector<Span> Merged(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end(), ByStart);
  std::vector<Span> merged;
  for (const Span& span : spans) {
    if (span.start >= span.end) continue;
    if (!merged.empty() && span.start <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, span.end);
    } else {
      merged.push_back(span);
    }
  }
  return merged;
}

}  // namespace

size_t Selection::count() const {
  size_t count = 0;
  for (const uint64_t word : bits) count += static_cast<size_t>(std::popcount(word));
  return count;
}

bool Schedule::Before(const Taken& a, const Taken& b) {
  if (ByStart(a, b) || ByStart(b, a)) return ByStart(a, b);
  if (a.holder == nullptr || b.holder == nullptr) return a.holder == nullptr && b.holder != nullptr;
  return *a.holder < *b.holder;
}

bool operator==(const Schedule& a, const Schedule& b) {
  return a.overlaps_ == b.overlaps_ && a.overdue_from_ == b.overdue_from_ &&
         std::equal(a.spans_.begin(), a.spans_.end(), b.spans_.begin(), b.spans_.end(),
                    [](const Schedule::Taken& x, const Schedule::Taken& y) {
                      return !Schedule::Before(x, y) && !Schedule::Before(y, x);
                    });
}

void Schedule::Insert(const Span& span, Holder holder) {
  if (span.start >= span.end) return;
  const Taken taken{span, holder};
  // By an eighth, for there are many schedules and each grows slowly.
  if (spans_.size() == spans_.capacity()) spans_.reserve(spans_.size() + spans_.size() / 8 + 1);
  const auto at =
      spans_.insert(std::upper_bound(spans_.begin(), spans_.end(), taken, Before), taken);
  const bool has_before = at != spans_.begin();
  const bool has_after = std::next(at) != spans_.end();
  if (has_before && std::prev(at)->Overlaps(*at)) ++overlaps_;
  if (has_after && std::next(at)->Overlaps(*at)) ++overlaps_;
  if (has_before && has_after && std::prev(at)->Overlaps(*std::next(at))) --overlaps_;
}

void Schedule::Erase(const Span& span, Holder holder) {
  const Taken taken{span, holder};
  const auto at = std::lower_bound(spans_.begin(), spans_.end(), taken, Before);
  if (at == spans_.end() || Before(taken, *at)) return;
  const bool has_before = at != spans_.begin();
  const bool has_after = std::next(at) != spans_.end();
  if (has_before && std::prev(at)->Overlaps(*at)) --overlaps_;
  if (has_after && std::next(at)->Overlaps(*at)) --overlaps_;
  if (has_before && has_after && std::prev(at)->Overlaps(*std::next(at))) ++overlaps_;
  spans_.erase(at);
}

// Of spans that do not overlap, only the last that starts no later can reach into it. It is looked
// for in steps, each twice as long, away from the guess.
Schedule::Place Schedule::FirstThatMayReach(absl::Time start, Guess& guess) const {
  if (overlaps_ != 0 || spans_.empty()) return spans_.begin();
  const auto starts_by = [&](const Taken& taken) { return taken.start <= start; };
  Place low = PlaceOf(guess);  // those before it start by then
  Place high = low;            // those from it on start later
  for (std::ptrdiff_t step = 1; low != spans_.begin() && !starts_by(*std::prev(low)); step *= 2) {
    high = std::prev(low);
    low -= std::min(step, low - spans_.begin());
  }
  for (std::ptrdiff_t step = 1; high != spans_.end() && starts_by(*high); step *= 2) {
    low = std::next(high);
    high += std::min(step, spans_.end() - high);
  }
  const Place next = std::partition_point(low, high, starts_by);
  guess.part = static_cast<double>(next - spans_.begin()) / static_cast<double>(spans_.size());
  return next == spans_.begin() ? next : std::prev(next);
}

void Schedule::Prefetch(const Guess& guess) const {
  // A guess is off by one or two, most of the time.
  constexpr std::ptrdiff_t kBefore = 3, kAfter = 2;
  const Place place = PlaceOf(guess);
  const Place from = place - std::min(kBefore, place - spans_.begin());
  const Place to = place + std::min(kAfter, spans_.end() - place);
  for (Place at = from; at < to; ++at) __builtin_prefetch(&*at);
}

void Schedule::VisitHeld(absl::FunctionRef<void(const Span& span)> visit) const {
  for (const Taken& taken : spans_) {
    if (taken.holder != nullptr) visit(taken);
  }
}

bool Schedule::IsHeldBy(Holder holder, const Span& span) const {
  for (auto next = FirstThatMayReach(span.start); next != spans_.end() && next->start < span.end;
       ++next) {
    if (next->holder == holder && next->Overlaps(span)) return true;
  }
  return false;
}

absl::Time Schedule::NextGap(absl::Time from, absl::Duration length) const {
  for (auto next = FirstThatMayReach(from); next != spans_.end(); ++next) {
    if (next->start >= from + length) break;
    from = std::max(from, next->end);
  }
  return from;
}

Schedule::Use Schedule::UseOf(const Span& span, Guess& guess) const {
  auto next = FirstThatMayReach(span.start, guess);
  absl::Time taken_until = span.start;
  bool any = false;
  for (; next != spans_.end() && next->start < span.end; ++next) {
    if (next->end <= span.start) continue;
    any = true;
    if (next->start > taken_until) return Use::kPartly;
    taken_until = std::max(taken_until, next->end);
    if (taken_until >= span.end) return Use::kFull;
  }
  return any ? Use::kPartly : Use::kFree;
}

Span Pool::SpanOf(const Place& place) {
  const int64_t begin = kRootBegin + place.minute;
  return {absl::FromUnixSeconds(begin * 60),
          absl::FromUnixSeconds((begin + kMinutes[place.level]) * 60)};
}

Pool::Place Pool::ChildOf(const Place& place, size_t child) {
  const size_t level = place.level - 1;
  return {level, place.minute + static_cast<int64_t>(child) * kMinutes[level]};
}

Schedule::Use Pool::UseIn(const Node& node, Position position) {
  if (Get(node.full, position)) return Use::kFull;
  return Get(node.partly, position) ? Use::kPartly : Use::kFree;
}

void Pool::Note(Node& node, Position position, Use use) {
  node.partly_count -= Get(node.partly, position) ? 1 : 0;
  node.partly_count += use == Use::kPartly ? 1 : 0;
  Set(node.partly, position, use == Use::kPartly);
  Set(node.full, position, use == Use::kFull);
}

// Children know only servers that are partly taken here.
void Pool::Refresh(Node& node, const Place& place, Position position, const Span& changed) {
  const Span here = SpanOf(place);
  const Use before = UseIn(node, position);
  const Schedule* schedule = members_[position].schedule;
  const Use after = schedule == nullptr ? Use::kFree : schedule->UseOf(here);
  Note(node, position, after);
  if (node.children.empty()) {
    if (node.partly_count >= most_undivided_ && place.level > 0) Divide(node, place);
  } else if (node.partly_count < most_undivided_) {
    node.children = {};
  } else if (after == Use::kPartly) {
    RefreshChildren(node, place, position, before == Use::kFull ? here : changed);
  } else if (before == Use::kPartly) {
    Forget(node, place, position);
  }
}

void Pool::RefreshChildren(Node& node, const Place& place, Position position, const Span& changed) {
  for (size_t child = 0; child < node.children.size(); ++child) {
    const Place at = ChildOf(place, child);
    if (SpanOf(at).Overlaps(changed)) Refresh(node.children[child], at, position, changed);
  }
}

void Pool::Forget(Node& node, const Place& place, Position position) {
  for (size_t child = 0; child < node.children.size(); ++child) {
    Node& below = node.children[child];
    const Use use = UseIn(below, position);
    if (use == Use::kFree) continue;
    Note(below, position, Use::kFree);
    if (below.partly_count < most_undivided_) below.children = {};
    if (use == Use::kPartly) Forget(below, ChildOf(place, child), position);
  }
}

void Pool::Divide(Node& node, const Place& place) {
  node.children.resize(static_cast<size_t>(kFanOut[place.level]));
  for (Position position = 0; position < members_.size(); ++position) {
    if (Get(node.partly, position)) RefreshChildren(node, place, position, SpanOf(place));
  }
}

std::vector<Pool::Position>::const_iterator Pool::Find(const std::string& name) const {
  return std::lower_bound(by_name_.begin(), by_name_.end(), name,
                          [&](Position position, const std::string& wanted) {
                            return *members_[position].name < wanted;
                          });
}

void Pool::Enter(Groups& groups, const std::string& group, Position position) {
  std::vector<Position>& members = groups[group];
  members.insert(std::lower_bound(
                     members.begin(), members.end(), position,
                     [&](Position a, Position b) { return *members_[a].name < *members_[b].name; }),
                 position);
}

void Pool::Remove(Groups& groups, const std::string& group, Position position) {
  const auto found = groups.find(group);
  std::erase(found->second, position);
  if (found->second.empty()) groups.erase(found);
}

void Pool::Join(const std::string& name, const Schedule& schedule, const ServerPlace& place) {
  Position position = static_cast<Position>(members_.size());
  if (unused_.empty()) {
    members_.emplace_back();
  } else {
    position = unused_.back();
    unused_.pop_back();
  }
  by_name_.insert(Find(name), position);
  members_[position] = {&name, &schedule, &place};
  Set(joined_, position, true);
  Enter(domains_, place.domain, position);
  Enter(racks_, place.rack, position);
  Enter(feeds_, place.feed, position);
  RefreshOverdue(name);
  Refresh(root_, {kTop, 0}, position, SpanOf({kTop, 0}));
}

void Pool::Join(const std::string& name, const Schedule& schedule) {
  static const ServerPlace nowhere;
  Join(name, schedule, nowhere);
}

void Pool::Leave(const std::string& name) {
  const auto found = Find(name);
  const Position position = *found;
  by_name_.erase(found);
  Set(joined_, position, false);
  overdue_.erase({members_[position].overdue_from, position});
  Remove(domains_, members_[position].place->domain, position);
  Remove(racks_, members_[position].place->rack, position);
  Remove(feeds_, members_[position].place->feed, position);
  members_[position] = {};
  Refresh(root_, {kTop, 0}, position, SpanOf({kTop, 0}));
  unused_.push_back(position);
}

void Pool::Refresh(const std::string& name, const Span& changed) {
  Refresh(root_, {kTop, 0}, *Find(name), changed);
}

void Pool::RefreshOverdue(const std::string& name) {
  const Position position = *Find(name);
  Member& member = members_[position];
  overdue_.erase({member.overdue_from, position});
  member.overdue_from = member.schedule->overdue_from();
  if (member.overdue_from != absl::InfiniteFuture())
    overdue_.emplace(member.overdue_from, position);
}

// The spans of [begin, end) overlap the node.
void Pool::Gather(const Node& node, const Place& place, const Span* begin, const Span* end,
                  Rows& rows) {
  const Span here = SpanOf(place);
  if (!node.full.empty()) rows.taken.push_back(&node.full);
  if (node.partly_count == 0) return;
  if (begin->Contains(here)) return rows.taken.push_back(&node.partly);
  if (node.children.empty()) return rows.unsure.push_back(&node.partly);
  for (size_t child = 0; child < node.children.size(); ++child) {
    const Place at = ChildOf(place, child);
    const Span below = SpanOf(at);
    while (begin != end && begin->end <= below.start) ++begin;
    const Span* last = begin;
    while (last != end && last->start < below.end) ++last;
    if (begin != last) Gather(node.children[child], at, begin, last, rows);
  }
}

// What the rows say of the spans. Of what lies outside of the root no row knows: all are unsure.
Pool::Rows Pool::RowsOf(const std::vector<Span>& merged) const {
  Rows rows;
  const Span root = SpanOf({kTop, 0});
  const bool known = std::all_of(merged.begin(), merged.end(),
                                 [&](const Span& span) { return root.Contains(span); });
  if (!known) {
    rows.unsure.push_back(&joined_);
  } else if (!merged.empty()) {
    Gather(root_, {kTop, 0}, merged.data(), merged.data() + merged.size(), rows);
  }
  return rows;
}

Pool::Bits Pool::AnyOf(const std::vector<const Bits*>& rows) const {
  Bits any(members_.size() / 64 + 1);
  for (const Bits* bits : rows) {
    const size_t common = std::min(any.size(), bits->size());
    for (size_t word = 0; word < common; ++word) any[word] |= (*bits)[word];
  }
  return any;
}

Selection Pool::FindFree(std::vector<Span> spans, absl::Time now) const {
  spans = Merged(std::move(spans));
  const Rows rows = RowsOf(spans);
  Selection free = Without({joined_}, {AnyOf(rows.taken)});
  for (const auto& [from, position] : overdue_) {
    if (from > now) break;
    Set(free.bits, position, false);
  }
  const Selection maybe = Both(free, {AnyOf(rows.unsure)});
  std::vector<Position> unsure;
  for (size_t word = 0; word < maybe.bits.size(); ++word) {
    for (uint64_t left = maybe.bits[word]; left != 0; left &= left - 1) {
      unsure.push_back(static_cast<Position>(word * 64) +
                       static_cast<Position>(std::countr_zero(left)));
    }
  }
  RuleOutTaken(unsure, spans, free.bits);
  return free;
}

// Their schedules lie all over the memory, so they are fetched ahead: first each one's own words,
// then where its spans probably are.
void Pool::RuleOutTaken(const std::vector<Position>& unsure, const std::vector<Span>& spans,
                        Bits& free) const {
  constexpr size_t kFar = 12, kNear = 6;
  std::vector<Schedule::Guess> guesses(spans.size());
  for (size_t i = 0; i < unsure.size(); ++i) {
    if (i + kFar < unsure.size()) {
      const Schedule* far = members_[unsure[i + kFar]].schedule;
      __builtin_prefetch(far);
      __builtin_prefetch(reinterpret_cast<const char*>(far + 1) - 1);
    }
    if (i + kNear < unsure.size() && !guesses.empty())
      members_[unsure[i + kNear]].schedule->Prefetch(guesses.front());
    if (!IsFree(*members_[unsure[i]].schedule, spans, guesses)) Set(free, unsure[i], false);
  }
}

void Pool::FindFree(std::vector<Span> spans, absl::Time now,
                    absl::FunctionRef<bool(const std::string& name)> take) const {
  spans = Merged(std::move(spans));
  const Rows rows = RowsOf(spans);
  const Bits taken = AnyOf(rows.taken);
  const Bits unsure = AnyOf(rows.unsure);
  std::vector<Schedule::Guess> guesses(spans.size());
  for (const Position position : by_name_) {
    if (Get(taken, position)) continue;
    const Member& member = members_[position];
    if (member.schedule->IsOverdue(now)) continue;
    if (Get(unsure, position) && !IsFree(*member.schedule, spans, guesses)) continue;
    if (!take(*member.name)) return;
  }
}

bool Pool::Equal(const Node& node, const Pool& other, const Node& others) const {
  if (node.partly_count != others.partly_count || node.children.size() != others.children.size())
    return false;
  for (size_t i = 0; i < by_name_.size(); ++i) {
    if (UseIn(node, by_name_[i]) != UseIn(others, other.by_name_[i])) return false;
  }
  for (size_t child = 0; child < node.children.size(); ++child) {
    if (!Equal(node.children[child], other, others.children[child])) return false;
  }
  return true;
}

bool operator==(const Pool& a, const Pool& b) {
  return std::equal(a.by_name_.begin(), a.by_name_.end(), b.by_name_.begin(), b.by_name_.end(),
                    [&](Pool::Position of_a, Pool::Position of_b) {
                      const Pool::Member& one = a.members_[of_a];
                      const Pool::Member& other = b.members_[of_b];
                      return *one.name == *other.name && *one.place == *other.place &&
                             one.overdue_from == other.overdue_from;
                    }) &&
         a.overdue_.size() == b.overdue_.size() && a.domains_.size() == b.domains_.size() &&
         a.racks_.size() == b.racks_.size() && a.feeds_.size() == b.feeds_.size() &&
         a.Equal(a.root_, b, b.root_);
}

}  // namespace concordat::reservations
