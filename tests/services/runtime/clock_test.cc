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

class JumpingMachine final : public storage::Machine {
 public:
  absl::Time Now() override { return wall; }
  absl::Duration Steady() override { return steady; }
  void Pass(absl::Duration duration) {
    wall += duration;
    steady += duration;
  }
  absl::Time wall = absl::FromUnixSeconds(1'800'000'000);
  absl::Duration steady = absl::Seconds(5);
};

// Whatever is decided after the jump, no event bears a time up to which all timers would fire.
TEST(SystemClock, AfterAJumpGoesOnByTheSteadyClockAndSaysSo) {
  for (const absl::Duration jump : {absl::Hours(24 * 365), -absl::Hours(24 * 365)}) {
    JumpingMachine machine;
    SystemClock clock(machine);
    const absl::Time begin = clock.Now();
    machine.Pass(absl::Seconds(10));
    EXPECT_EQ(clock.Now(), begin + absl::Seconds(10));
    machine.Pass(absl::Seconds(1));
    machine.wall += jump;
    EXPECT_EQ(clock.Now(), begin + absl::Seconds(11));
    EXPECT_NE(clock.Alarm().find("the clock jumped by"), std::string::npos) << clock.Alarm();
    machine.Pass(absl::Seconds(9));
    EXPECT_EQ(clock.Now(), begin + absl::Seconds(20));
    machine.wall -= jump;
    EXPECT_EQ(clock.Now(), begin + absl::Seconds(20));
    EXPECT_NE(clock.Alarm(), "") << "until the process has been started again";
  }
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
