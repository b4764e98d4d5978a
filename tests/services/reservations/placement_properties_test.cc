// Placement and the search for a start against a look at every possibility.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

absl::Time At(int hour) { return absl::UnixEpoch() + absl::Hours(hour); }

struct Standing {
  std::string name;
  ServerPlace place;
  Schedule schedule;
  bool late = false;
};

// Some servers in some domains, racks and feeds, of which some are taken now and then.
struct Hall {
  Hall() {
    const int count = *rc::gen::inRange(1, 10);
    for (int i = 0; i < count; ++i) {
      auto& one = servers.emplace_back(std::make_unique<Standing>());
      one->name = "s" + std::to_string(i);
      one->place = {"d" + std::to_string(*rc::gen::inRange(0, 4)),
                    "r" + std::to_string(*rc::gen::inRange(0, 4)),
                    "f" + std::to_string(*rc::gen::inRange(0, 3))};
      for (int taken = *rc::gen::inRange(0, 3); taken > 0; --taken) {
        const int start = *rc::gen::inRange(0, 20);
        one->schedule.Insert({At(start), At(start + *rc::gen::inRange(1, 8))});
      }
      if (*rc::gen::inRange(0, 8) == 0) one->schedule.SetOverdueFrom(At(*rc::gen::inRange(-2, 2)));
      pool.Join(one->name, one->schedule, one->place);
    }
  }
  bool IsFree(const Standing& one, const Span& span) const {
    return !one.schedule.IsOverdue(At(0)) && one.schedule.UseOf(span) == Schedule::Use::kFree;
  }
  std::vector<const Standing*> Free(const Span& span) const {
    std::vector<const Standing*> free;
    for (const auto& one : servers) {
      if (IsFree(*one, span)) free.push_back(one.get());
    }
    return free;
  }
  const Standing& Get(const std::string& name) const {
    return **std::find_if(servers.begin(), servers.end(),
                          [&](const auto& one) { return one->name == name; });
  }

  std::vector<std::unique_ptr<Standing>> servers;
  Pool pool{1};
};

template <typename Of>
size_t Different(const std::vector<const Standing*>& servers, Of of) {
  std::set<std::string> different;
  for (const Standing* one : servers) different.insert(of(one->place));
  return different.size();
}

// The fewest, or most, different words among any `count` of the servers.
template <typename Of>
std::pair<size_t, size_t> Extremes(const std::vector<const Standing*>& servers, size_t count,
                                   Of of) {
  size_t fewest = SIZE_MAX, most = 0;
  for (uint32_t subset = 0; subset < (1u << servers.size()); ++subset) {
    if (static_cast<size_t>(std::popcount(subset)) != count) continue;
    std::vector<const Standing*> chosen;
    for (size_t i = 0; i < servers.size(); ++i) {
      if ((subset >> i & 1) != 0) chosen.push_back(servers[i]);
    }
    fewest = std::min(fewest, Different(chosen, of));
    most = std::max(most, Different(chosen, of));
  }
  return {fewest, most};
}

RC_GTEST_PROP(PlacementProperties, NoChoiceHasFewerDomainsThanAPackNorMoreRacksThanASpread, ()) {
  const Hall hall;
  const int start = *rc::gen::inRange(0, 20);
  const Span span{At(start), At(start + *rc::gen::inRange(1, 8))};
  const std::vector<const Standing*> free = hall.Free(span);
  const Selection selection = hall.pool.FindFree({span}, At(0));
  RC_ASSERT(selection.count() == free.size());
  RC_PRE(!free.empty());
  const size_t count = *rc::gen::inRange<size_t>(1, free.size() + 1);
  const auto look_up = [&](const std::vector<std::string>& names) {
    std::vector<const Standing*> found;
    for (const std::string& name : names) found.push_back(&hall.Get(name));
    RC_ASSERT(std::set<const Standing*>(found.begin(), found.end()).size() == count);
    RC_ASSERT(std::is_sorted(names.begin(), names.end()));
    for (const Standing* one : found) RC_ASSERT(hall.IsFree(*one, span));
    return found;
  };
  const auto domain = [](const ServerPlace& place) { return place.domain; };
  const auto rack = [](const ServerPlace& place) { return place.rack; };
  const auto feed = [](const ServerPlace& place) { return place.feed; };
  RC_ASSERT(Different(look_up(hall.pool.Pack(selection, count)), domain) ==
            Extremes(free, count, domain).first);
  RC_ASSERT(Different(look_up(hall.pool.SpreadRacks(selection, count)), rack) ==
            Extremes(free, count, rack).second);
  RC_ASSERT(Different(look_up(hall.pool.SpreadFeeds(selection, count)), feed) ==
            Extremes(free, count, feed).second);
  RC_ASSERT(hall.pool.Pack(selection, free.size() + 3).size() == free.size());
  RC_CLASSIFY(Extremes(free, count, domain).first > 1, "more than one domain is needed");
}

RC_GTEST_PROP(PlacementProperties, TheSameServersAreChosenHoweverThePoolCameAbout, ()) {
  Hall hall;
  Pool other(1);
  std::vector<size_t> order(hall.servers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1], order[*rc::gen::inRange<size_t>(0, i)]);
  for (const size_t i : order)
    other.Join(hall.servers[i]->name, hall.servers[i]->schedule, hall.servers[i]->place);
  RC_ASSERT(other == hall.pool);
  const Span span{At(2), At(6)};
  const size_t count = *rc::gen::inRange<size_t>(0, 8);
  const Selection a = hall.pool.FindFree({span}, At(0));
  const Selection b = other.FindFree({span}, At(0));
  RC_ASSERT(hall.pool.Pack(a, count) == other.Pack(b, count));
  RC_ASSERT(hall.pool.SpreadRacks(a, count) == other.SpreadRacks(b, count));
  RC_ASSERT(hall.pool.SpreadFeeds(a, count) == other.SpreadFeeds(b, count));
}

RC_GTEST_PROP(PlacementProperties, BeforeTheEarliestGapThereAreNeverSoManyFreeAtOnce, ()) {
  const Hall hall;
  const int from = *rc::gen::inRange(0, 15);
  const absl::Duration length = absl::Hours(*rc::gen::inRange(1, 6));
  const size_t count = *rc::gen::inRange<size_t>(1, 6);
  const absl::Time gap = hall.pool.EarliestGap(hall.pool.All(), At(from), length, count, At(0));
  RC_ASSERT(gap >= At(from));
  for (int hour = from; hour < 40 && At(hour) < gap; ++hour)
    RC_ASSERT(hall.Free({At(hour), At(hour) + length}).size() < count);
  if (gap == At(from)) RC_ASSERT(hall.Free({gap, gap + length}).size() >= count);
}

// A whole site: what is promised over hours, a narrow envelope, a contract of a few servers.
struct Site : Paris {
  Site() {
    At("2027-01-01T00:00:00Z");
    for (int step = *rc::gen::inRange(0, 4); step > 0; --step) {
      Envelope(absl::FormatTime(Hour(*rc::gen::inRange(0, 24)), absl::UTCTimeZone()),
               *rc::gen::inRange(0, 5) * 100, 360);
    }
    Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 3, "small")));
    for (int i = *rc::gen::inRange(0, 12); i > 0; --i) {
      const int start = *rc::gen::inRange(0, 24);
      Reserve(Of(start, *rc::gen::inRange(1, 9), *rc::gen::inRange(1, 4)));
    }
  }
  static absl::Time Hour(int hour) {
    return test::Time("2027-01-01T00:00:00Z") + absl::Hours(hour);
  }
  static Wish Of(int start, int hours, int count) {
    return {.start = absl::FormatTime(Hour(start), absl::UTCTimeZone()),
            .end = absl::FormatTime(Hour(start + hours), absl::UTCTimeZone()),
            .count = count,
            .contract = "customers/hsbc/contracts/small"};
  }
};

TEST(PlacementProperties, TheEarliestStartIsTheFirstHourAtWhichTheRequestIsGranted) {
  int found = 0, none = 0;
  EXPECT_TRUE(rc::check([&] {
    Site site;
    const int start = *rc::gen::inRange(0, 24), hours = *rc::gen::inRange(1, 9);
    const int count = *rc::gen::inRange(1, 4);
    const v1::Event event = site.Reserve(Site::Of(start, hours, count), "first");
    if (!event.has_command_refused()) return;
    const v1::Shortage& shortage = event.command_refused().shortage();
    // Every change is at a full hour, so the first start is too.
    std::optional<int> first;
    for (int later = start; later < 60 && !first; ++later) {
      // Refusals change nothing; the grant ends the search.
      if (site.Reserve(Site::Of(later, hours, count)).has_reservation_held()) first = later;
    }
    RC_ASSERT(shortage.has_earliest_start() == first.has_value());
    if (first) RC_ASSERT(runtime::ToTime(shortage.earliest_start()) == Site::Hour(*first));
    ++(first ? found : none);
    int64_t counted = 0;
    for (const v1::Exclusion& exclusion : shortage.exclusions()) counted += exclusion.count();
    RC_ASSERT(counted <= 4);
    RC_ASSERT(counted > 4 - count);
  }));
  EXPECT_GT(found, 5);
  EXPECT_GT(none, 0);
}

}  // namespace
}  // namespace concordat::reservations
