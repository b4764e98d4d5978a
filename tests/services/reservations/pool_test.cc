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

absl::Time Minute(int64_t minute) { return absl::UnixEpoch() + absl::Minutes(minute); }

Schedule Taken(const std::vector<Span>& spans) {
  Schedule schedule;
  for (const Span& span : spans) schedule.Insert(span);
  return schedule;
}

std::vector<std::string> FreeIn(const Pool& pool, std::vector<Span> spans,
                                absl::Time now = Minute(0)) {
  std::vector<std::string> free;
  pool.FindFree(std::move(spans), now, [&](const std::string& name) {
    free.push_back(name);
    return true;
  });
  return free;
}

TEST(Schedule, KnowsAFreeAPartlyAndAFullyTakenSpan) {
  const Schedule schedule =
      Taken({{Minute(10), Minute(20)}, {Minute(20), Minute(30)}, {Minute(31), Minute(40)}});
  EXPECT_EQ(schedule.UseOf({Minute(0), Minute(10)}), Use::kFree);
  EXPECT_EQ(schedule.UseOf({Minute(30), Minute(31)}), Use::kFree);
  EXPECT_EQ(schedule.UseOf({Minute(40), Minute(50)}), Use::kFree);
  EXPECT_EQ(schedule.UseOf({Minute(9), Minute(11)}), Use::kPartly);
  EXPECT_EQ(schedule.UseOf({Minute(10), Minute(31)}), Use::kPartly);
  EXPECT_EQ(schedule.UseOf({Minute(10), Minute(30)}), Use::kFull) << "two together, without a gap";
  EXPECT_EQ(schedule.UseOf({Minute(15), Minute(16)}), Use::kFull);
}

TEST(Schedule, IsRightAboutSpansThatOverlap) {
  Schedule schedule =
      Taken({{Minute(0), Minute(100)}, {Minute(10), Minute(20)}, {Minute(30), Minute(40)}});
  EXPECT_EQ(schedule.UseOf({Minute(50), Minute(60)}), Use::kFull);
  schedule.Erase({Minute(0), Minute(100)});
  EXPECT_EQ(schedule.UseOf({Minute(50), Minute(60)}), Use::kFree);
  EXPECT_EQ(schedule, Taken({{Minute(30), Minute(40)}, {Minute(10), Minute(20)}}));
}

TEST(Schedule, IgnoresAnEmptySpanAndOneThatIsNotThere) {
  Schedule schedule;
  schedule.Insert({Minute(5), Minute(5)});
  schedule.Insert({Minute(6), Minute(5)});
  schedule.Erase({Minute(1), Minute(2)});
  EXPECT_TRUE(schedule.empty());
  EXPECT_EQ(schedule.UseOf({Minute(0), Minute(9)}), Use::kFree);
}

TEST(Pool, GivesServersInTheOrderOfTheirNamesWhateverOrderTheyCameIn) {
  const Schedule free;
  Pool pool;
  const std::string b = "b", c = "c", a = "a";
  pool.Join(b, free);
  pool.Join(c, free);
  pool.Join(a, free);
  EXPECT_THAT(FreeIn(pool, {{Minute(1), Minute(2)}}), ElementsAre("a", "b", "c"));
  pool.Leave(b);
  EXPECT_THAT(FreeIn(pool, {{Minute(1), Minute(2)}}), ElementsAre("a", "c"));
}

TEST(Pool, TakesSpansThatOverlapTouchOrAreEmpty) {
  const Schedule taken = Taken({{Minute(10), Minute(20)}});
  Pool pool;
  const std::string a = "a";
  pool.Join(a, taken);
  EXPECT_THAT(FreeIn(pool, {}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{Minute(15), Minute(15)}, {Minute(19), Minute(11)}}), ElementsAre("a"));
  EXPECT_THAT(
      FreeIn(pool, {{Minute(5), Minute(10)}, {Minute(0), Minute(7)}, {Minute(20), Minute(21)}}),
      ElementsAre("a"));
  EXPECT_THAT(
      FreeIn(pool, {{Minute(20), Minute(21)}, {Minute(0), Minute(7)}, {Minute(6), Minute(11)}}),
      IsEmpty());
}

TEST(Pool, KnowsTheRestOfAnHourWhenOneOfTwoReservationsThatFilledItIsGivenBack) {
  Schedule taken = Taken({{Minute(0), Minute(30)}, {Minute(30), Minute(60)}});
  const Schedule other =
      Taken({{Minute(0), Minute(55)}});  // for its sake the hour is divided already
  Pool pool(1);
  const std::string a = "a", b = "b";
  pool.Join(a, taken);
  pool.Join(b, other);
  taken.Erase({Minute(0), Minute(30)});
  pool.Refresh(a, {Minute(0), Minute(30)});
  EXPECT_THAT(FreeIn(pool, {{Minute(0), Minute(30)}}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{Minute(40), Minute(50)}}), IsEmpty());
}

TEST(Pool, LeavesOutWhatIsOverdue) {
  Schedule schedule;
  schedule.SetOverdueFrom(Minute(10));
  Pool pool;
  const std::string a = "a";
  pool.Join(a, schedule);
  EXPECT_THAT(FreeIn(pool, {{Minute(50), Minute(60)}}, Minute(9)), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{Minute(50), Minute(60)}}, Minute(10)), IsEmpty());
}

TEST(Pool, IsRightBeyondAllTimesThatATimestampCanHold) {
  const absl::Time far = absl::FromUnixSeconds(int64_t{1} << 50);
  const Schedule taken = Taken({{far, absl::InfiniteFuture()}});
  Pool pool(1);
  const std::string a = "a";
  pool.Join(a, taken);
  EXPECT_THAT(FreeIn(pool, {{far - absl::Hours(1), far}}), ElementsAre("a"));
  EXPECT_THAT(FreeIn(pool, {{far, far + absl::Hours(1)}}), IsEmpty());
  EXPECT_THAT(FreeIn(pool, {{Minute(0), absl::InfiniteFuture()}}), IsEmpty());
  EXPECT_THAT(FreeIn(pool, {{absl::InfinitePast(), Minute(0)}}), ElementsAre("a"));
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
      const Span span{Minute(at) + absl::Seconds(below(3) * 20), Minute(at + 5 + below(900))};
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
      wanted.push_back(
          {Minute(start) + absl::Seconds(below(2) * 30), Minute(start + 1 + below(400))});
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
