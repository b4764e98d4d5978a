#include "services/reservations/pool.h"

#include <algorithm>
#include <array>
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

bool Get(const std::vector<uint64_t>& bits, uint32_t position) {
  return position / 64 < bits.size() && (bits[position / 64] >> (position % 64) & 1) != 0;
}

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

void Schedule::Insert(const Span& span) {
  if (span.start >= span.end) return;
  const auto at =
      spans_.insert(std::upper_bound(spans_.begin(), spans_.end(), span, ByStart), span);
  const bool has_before = at != spans_.begin();
  const bool has_after = std::next(at) != spans_.end();
  if (has_before && std::prev(at)->Overlaps(*at)) ++overlaps_;
  if (has_after && std::next(at)->Overlaps(*at)) ++overlaps_;
  if (has_before && has_after && std::prev(at)->Overlaps(*std::next(at))) --overlaps_;
}

void Schedule::Erase(const Span& span) {
  const auto at = std::lower_bound(spans_.begin(), spans_.end(), span, ByStart);
  if (at == spans_.end() || !(*at == span)) return;
  const bool has_before = at != spans_.begin();
  const bool has_after = std::next(at) != spans_.end();
  if (has_before && std::prev(at)->Overlaps(*at)) --overlaps_;
  if (has_after && std::next(at)->Overlaps(*at)) --overlaps_;
  if (has_before && has_after && std::prev(at)->Overlaps(*std::next(at))) ++overlaps_;
  spans_.erase(at);
}

Schedule::Use Schedule::UseOf(const Span& span) const {
  // Of spans that do not overlap, only the last that starts no later can reach into it.
  auto next = spans_.begin();
  if (overlaps_ == 0) {
    next = std::partition_point(spans_.begin(), spans_.end(),
                                [&](const Span& taken) { return taken.start <= span.start; });
    if (next != spans_.begin()) --next;
  }
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

void Pool::Join(const std::string& name, const Schedule& schedule) {
  Position position = static_cast<Position>(members_.size());
  if (unused_.empty()) {
    members_.emplace_back();
  } else {
    position = unused_.back();
    unused_.pop_back();
  }
  by_name_.insert(Find(name), position);
  members_[position] = {&name, &schedule};
  Refresh(root_, {kTop, 0}, position, SpanOf({kTop, 0}));
}

void Pool::Leave(const std::string& name) {
  const auto found = Find(name);
  const Position position = *found;
  by_name_.erase(found);
  members_[position] = {};
  Refresh(root_, {kTop, 0}, position, SpanOf({kTop, 0}));
  unused_.push_back(position);
}

void Pool::Refresh(const std::string& name, const Span& changed) {
  Refresh(root_, {kTop, 0}, *Find(name), changed);
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

void Pool::FindFree(std::vector<Span> spans, absl::Time now,
                    absl::FunctionRef<bool(const std::string& name)> take) const {
  spans = Merged(std::move(spans));
  Rows rows;
  const Span root = SpanOf({kTop, 0});
  const bool known = std::all_of(spans.begin(), spans.end(),
                                 [&](const Span& span) { return root.Contains(span); });
  if (known && !spans.empty())
    Gather(root_, {kTop, 0}, spans.data(), spans.data() + spans.size(), rows);
  const size_t words = members_.size() / 64 + 1;
  const auto any_of = [&](const std::vector<const Bits*>& all) {
    Bits any(words);
    for (const Bits* bits : all) {
      const size_t common = std::min(words, bits->size());
      for (size_t word = 0; word < common; ++word) any[word] |= (*bits)[word];
    }
    return any;
  };
  const Bits taken = any_of(rows.taken);
  const Bits unsure = any_of(rows.unsure);
  for (const Position position : by_name_) {
    if (Get(taken, position)) continue;
    const Member& member = members_[position];
    const auto is_free = [&](const Span& span) {
      return member.schedule->UseOf(span) == Use::kFree;
    };
    if (member.schedule->IsOverdue(now)) continue;
    // What lies outside of the root no row knows.
    if ((!known || Get(unsure, position)) && !std::all_of(spans.begin(), spans.end(), is_free))
      continue;
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
                      return *a.members_[of_a].name == *b.members_[of_b].name;
                    }) &&
         a.Equal(a.root_, b, b.root_);
}

}  // namespace concordat::reservations
