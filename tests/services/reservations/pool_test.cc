#include "services/reservations/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace concordat::reservations {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Use = Schedule::Use;

absl::Time At(int64_t minute) { return absl::UnixEpoch() + absl::Minutes(minute); }

Schedule Taken(const std::vector<Span>& spans) {
  Schedule schedule;
  for (const Span& span : spans) schedule.Insert(span);
  return schedule;
}

std::vector<std::string> FreeIn(const Pool& pool, std::vector<Span> spans, absl::Time now = At(0)) {
  std::vector<std::string> free;
  pool.FindFree(std::move(spans), now, [&](const std::string& name) {
    free.push_back(name);
    return true;
  });
  return free;
}

TEST(Schedule, KnowsAFreeAPartlyAndAFullyTakenSpan) {
  const Schedule schedule = Taken({{At(10), At(20)}, {At(20), At(30)}, {At(31), At(40)}});
  EXPECT_EQ(schedule.UseOf({At(0), At(10)}), Use::kFree);
  EXPECT_EQ(schedule.UseOf({At(30), At(31)}), Use::kFree);
  EXPECT_EQ(schedule.UseOf({At(40), At(50)}), Use::kFree);
  EXPECT_EQ(schedule.UseOf({At(9), At(11)}), Use::kPartly);
  EXPECT_EQ(schedule.UseOf({At(10), At(31)}), Use::kPartly);
  EXPECT_EQ(schedule.UseOf({At(10), At(30)}), Use::kFull) << "two together, without a gap";
  EXPECT_EQ(schedule.UseOf({At(15), At(16)}), Use::kFull);
}

TEST(Schedule, IsRightAboutSpansThatOverlap) {
  Schedule schedule = Taken({{At(0), At(100)}, {At(10), At(20)}, {At(30), At(40)}});
  EXPECT_EQ(schedule.UseOf({At(50), At(60)}), Use::kFull);
  schedule.Erase({At(0), At(100)});
  EXPECT_EQ(schedule.UseOf({At(50), At(60)}), Use::kFree);
  EXPECT_EQ(schedule, Taken({{At(30), At(40)}, {At(10), At(20)}}));
}

TEST(Schedule, IgnoresAnEmptySpanAndOneThatIsNotThere) {
  Schedule schedule;
  schedule.Insert({At(5), At(5)});
  schedule.Insert({At(6), At(5)});
  schedule.Erase({At(1), At(2)});
  EXPECT_TRUE(schedule.empty());
  EXPECT_EQ(schedule.UseOf({At(0), At(9)}), Use::kFree);
}

TEST(Pool, GivesServersInTheOrderOfTheirNamesWhateverOrderTheyCameIn) {
  const Schedule free;
  Pool pool;
  const std::string b = "b", c = "c", a = "a";
  pool.Join(b, free);
  pool.Join(c, free);
  pool.Join(a, free);
  EXPECT_THAT(FreeIn(pool, {{At(1), At(2)}}), ElementsAre("a", "b", "c"));
  pool.Leave(b);
  EXPECT_THAT(FreeIn(pool, {{At(1), At(2)}}), ElementsAre("a", "c"));
}

TEST(Pool, TakesSpansThatOverlapTouchOrAreEmpty) {
  const Schedule taken = Taken({{At(10), At(20)}});
  Pool pool;
  const std::string a = "a";
  pool.Join(a, taken);
  EXPECT_THAT(FreeIn(pool, {}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{At(15), At(15)}, {At(19), At(11)}}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{At(5), At(10)}, {At(0), At(7)}, {At(20), At(21)}}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{At(20), At(21)}, {At(0), At(7)}, {At(6), At(11)}}), IsEmpty());
}

TEST(Pool, KnowsTheRestOfAnHourWhenOneOfTwoReservationsThatFilledItIsGivenBack) {
  Schedule taken = Taken({{At(0), At(30)}, {At(30), At(60)}});
  const Schedule other = Taken({{At(0), At(55)}});  // for its sake the hour is divided already
  Pool pool(1);
  const std::string a = "a", b = "b";
  pool.Join(a, taken);
  pool.Join(b, other);
  taken.Erase({At(0), At(30)});
  pool.Refresh(a, {At(0), At(30)});
  EXPECT_THAT(FreeIn(pool, {{At(0), At(30)}}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{At(40), At(50)}}), IsEmpty());
}

TEST(Pool, LeavesOutWhatIsOverdue) {
  Schedule schedule;
  schedule.SetOverdueFrom(At(10));
  Pool pool;
  const std::string a = "a";
  pool.Join(a, schedule);
  EXPECT_THAT(FreeIn(pool, {{At(50), At(60)}}, At(9)), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{At(50), At(60)}}, At(10)), IsEmpty());
}

TEST(Pool, IsRightBeyondAllTimesThatATimestampCanHold) {
  const absl::Time far = absl::FromUnixSeconds(int64_t{1} << 50);
  const Schedule taken = Taken({{far, absl::InfiniteFuture()}});
  Pool pool(1);
  const std::string a = "a";
  pool.Join(a, taken);
  EXPECT_THAT(FreeIn(pool, {{far - absl::Hours(1), far}}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{far, far + absl::Hours(1)}}), IsEmpty());
  EXPECT_THAT(FreeIn(pool, {{At(0), absl::InfiniteFuture()}}), IsEmpty());
  EXPECT_THAT(FreeIn(pool, {{absl::InfinitePast(), At(0)}}), ElementsAre("a"));
}

// So many servers that nodes are divided down to minutes, as at a real site.
TEST(Pool, AgreesWithALookAtEverySpanWhereAThousandServersChangeOften) {
  constexpr int kServers = 1000;
  std::mt19937 random(7);
  const auto below = [&](int most) { return static_cast<int>(random() % most); };
  std::map<std::string, std::vector<Span>> spans;
  std::map<std::string, Schedule> schedules;
  Pool pool, rebuilt;
  for (int i = 0; i < kServers; ++i) {
    const std::string name = "s" + std::to_string(below(1 << 30));
    pool.Join(schedules.try_emplace(name).first->first, schedules[name]);
  }
  for (auto& [name, schedule] : schedules) {
    for (int at = below(600); at < 20000;) {
      const Span span{At(at) + absl::Seconds(below(3) * 20), At(at + 5 + below(900))};
      schedule.Insert(span);
      pool.Refresh(name, span);
      spans[name].push_back(span);
      at += 906 + (below(2) == 0 ? 0 : below(900));
    }
  }
  // A third of it is given back.
  for (auto& [name, taken] : spans) {
    for (size_t i = 0; i < taken.size(); i += 3) {
      schedules[name].Erase(taken[i]);
      pool.Refresh(name, taken[i]);
      taken[i] = {};
    }
  }
  for (auto& [name, schedule] : schedules) rebuilt.Join(name, schedule);
  EXPECT_TRUE(pool == rebuilt);
  size_t found = 0;
  for (int query = 0; query < 300; ++query) {
    std::vector<Span> wanted;
    for (int i = 0; i <= query % 4; ++i) {
      const int start = below(22000) - 1000;
      wanted.push_back({At(start) + absl::Seconds(below(2) * 30), At(start + 1 + below(400))});
    }
    std::vector<std::string> expected;
    for (const auto& [name, taken] : spans) {
      bool free = true;
      for (const Span& span : taken) {
        for (const Span& want : wanted) free = free && (span == Span{} || !span.Overlaps(want));
      }
      if (free) expected.push_back(name);
    }
    ASSERT_EQ(FreeIn(pool, wanted), expected);
    found += expected.size();
  }
  EXPECT_GT(found, 1000u) << "agreement about nothing would prove nothing";
}

}  // namespace
}  // namespace concordat::reservations
