// Which servers of a pool are chosen: packed into few domains, or spread over racks and feeds.
#include <algorithm>

#include "services/reservations/pool.h"

namespace concordat::reservations {
Selection Pool::Both(const Selection& a, const Selection& b) {
  Selection both = a;
  both.bits.resize(std::min(a.bits.size(), b.bits.size()));
  for (size_t word = 0; word < both.bits.size(); ++word) both.bits[word] &= b.bits[word];
  return both;
}

Selection Pool::Without(const Selection& a, const Selection& b) {
  Selection without = a;
  const size_t common = std::min(a.bits.size(), b.bits.size());
  for (size_t word = 0; word < common; ++word) without.bits[word] &= ~b.bits[word];
  return without;
}

void Pool::Add(const std::string& name, Selection& selection) const {
  const auto found = Find(name);
  if (found == by_name_.end() || *members_[*found].name != name) return;
  if (*found / 64 >= selection.bits.size()) selection.bits.resize(joined_.size());
  selection.bits[*found / 64] |= uint64_t{1} << (*found % 64);
}

Selection Pool::Standing(const std::set<std::string>& racks,
                         const std::set<std::string>& domains) const {
  Selection standing{Bits(joined_.size())};
  const auto enter = [&](const Groups& groups, const std::set<std::string>& names) {
    for (const std::string& name : names) {
      const auto group = groups.find(name);
      if (group == groups.end()) continue;
      for (const Position position : group->second)
        standing.bits[position / 64] |= uint64_t{1} << (position % 64);
    }
  };
  enter(racks_, racks);
  enter(domains_, domains);
  return standing;
}

std::vector<std::string> Pool::Feeds() const {
  std::vector<std::string> feeds;
  for (const auto& [name, members] : feeds_) feeds.push_back(name);
  return feeds;
}

Selection Pool::OnFeed(const Selection& selection, const std::string& feed) const {
  Selection on{Bits(joined_.size())};
  const auto group = feeds_.find(feed);
  if (group == feeds_.end()) return on;
  for (const Position position : group->second)
    on.bits[position / 64] |= uint64_t{1} << (position % 64);
  return Both(selection, on);
}

absl::Time Pool::EarliestGap(const Selection& selection, absl::Time from, absl::Duration length,
                             size_t count, absl::Time now) const {
  std::vector<absl::Time> gaps;
  for (const Position position : by_name_) {
    if (!Get(selection.bits, position) || members_[position].overdue_from <= now) continue;
    gaps.push_back(members_[position].schedule->NextGap(from, length));
  }
  if (count == 0) return from;
  if (gaps.size() < count) return absl::InfiniteFuture();
  const auto wanted = gaps.begin() + static_cast<std::ptrdiff_t>(count) - 1;
  std::nth_element(gaps.begin(), wanted, gaps.end());
  return *wanted;
}

std::vector<std::string> Pool::Names(const Selection& selection, size_t most, size_t skip) const {
  std::vector<std::string> names;
  for (const Position position : by_name_) {
    if (names.size() == most) break;
    if (!Get(selection.bits, position)) continue;
    if (skip > 0) {
      --skip;
    } else {
      names.push_back(*members_[position].name);
    }
  }
  return names;
}

// The groups that have a selected server: those with the most first, then by name.
std::vector<Pool::Group> Pool::Selected(const Groups& groups, const Selection& selection) {
  std::vector<Group> selected;
  for (const auto& [name, members] : groups) {
    Group group{&members, 0};
    for (const Position position : members) group.count += Get(selection.bits, position) ? 1 : 0;
    if (group.count > 0) selected.push_back(group);
  }
  std::stable_sort(selected.begin(), selected.end(),
                   [](const Group& a, const Group& b) { return a.count > b.count; });
  return selected;
}

std::vector<std::string> Pool::Pack(const Selection& selection, size_t count) const {
  const std::vector<Group> groups = Selected(domains_, selection);
  std::vector<std::string> packed;
  for (auto group = groups.begin(); group != groups.end() && packed.size() < count; ++group) {
    const size_t rest = count - packed.size();
    const bool last = group->count >= rest;
    if (last) {
      // Of those that hold the rest the smallest, and of equal ones the first.
      const auto smaller = std::partition_point(
          group, groups.end(), [&](const Group& other) { return other.count >= rest; });
      const size_t fits = std::prev(smaller)->count;
      group = std::partition_point(group, smaller,
                                   [&](const Group& other) { return other.count > fits; });
    }
    for (const Position position : *group->members) {
      if (packed.size() == count) break;
      if (Get(selection.bits, position)) packed.push_back(*members_[position].name);
    }
    if (last) break;
  }
  std::sort(packed.begin(), packed.end());
  return packed;
}

std::vector<std::string> Pool::Spread(const Groups& groups, const Selection& selection,
                                      size_t count) const {
  const std::vector<Group> selected = Selected(groups, selection);
  std::vector<size_t> next(selected.size(), 0);  // the member to look at next, by group
  std::vector<std::string> spread;
  for (bool any = true; any && spread.size() < count;) {
    any = false;
    for (size_t i = 0; i < selected.size() && spread.size() < count; ++i) {
      const std::vector<Position>& members = *selected[i].members;
      while (next[i] < members.size() && !Get(selection.bits, members[next[i]])) ++next[i];
      if (next[i] == members.size()) continue;
      spread.push_back(*members_[members[next[i]++]].name);
      any = true;
    }
  }
  std::sort(spread.begin(), spread.end());
  return spread;
}

std::vector<std::string> Pool::SpreadRacks(const Selection& selection, size_t count) const {
  return Spread(racks_, selection, count);
}

std::vector<std::string> Pool::SpreadFeeds(const Selection& selection, size_t count) const {
  return Spread(feeds_, selection, count);
}

}  // namespace concordat::reservations
