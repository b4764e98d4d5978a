#include "services/runtime/clock.h"

#include <fmt/format.h>

#include "events/record.h"

namespace concordat::runtime {
absl::Time SystemClock::Now() {
  absl::MutexLock lock(&mutex_);
  const absl::Time wall = machine_.Now();
  const absl::Duration steady = machine_.Steady();
  const bool first = time_ == absl::InfinitePast();
  const absl::Time expected = first ? wall : time_ + (steady - steady_);
  if (alarm_.empty() && absl::AbsDuration(wall - expected) > kMaxJump) {
    alarm_ = fmt::format(
        "the clock jumped by {} seconds at {}: no timer fires until the clock is right and the "
        "process has been started again",
        absl::ToInt64Seconds(wall - expected), events::EventTime(wall));
  }
  time_ = alarm_.empty() ? wall : expected;
  steady_ = steady;
  return time_;
}

std::string SystemClock::Alarm() {
  absl::MutexLock lock(&mutex_);
  return alarm_;
}

absl::Time ManualClock::Now() {
  absl::MutexLock lock(&mutex_);
  return now_;
}

bool ManualClock::Set(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  if (now < now_) return false;
  now_ = now;
  return true;
}

}  // namespace concordat::runtime
