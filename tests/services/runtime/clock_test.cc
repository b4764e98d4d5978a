#include "services/runtime/clock.h"

#include <gtest/gtest.h>

namespace concordat::runtime {
namespace {

TEST(ManualClock, MovesOnlyForwardAndOnlyWhenTold) {
  ManualClock clock(absl::FromUnixSeconds(100));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(100));
  EXPECT_TRUE(clock.Set(absl::FromUnixSeconds(200)));
  EXPECT_FALSE(clock.Set(absl::FromUnixSeconds(199)));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(200));
  EXPECT_EQ(clock.Alarm(), "");
}

TEST(SystemClock, RaisesNoAlarmWhereNothingJumps) {
  SystemClock clock;
  absl::Time last = clock.Now();
  for (int i = 0; i < 1000; ++i) {
    const absl::Time now = clock.Now();
    EXPECT_GE(now, last);
    last = now;
  }
  EXPECT_EQ(clock.Alarm(), "");
}

}  // namespace
}  // namespace concordat::runtime
