#include "services/runtime/clock.h"

#include <absl/time/clock.h>
#include <fmt/format.h>

#include <chrono>

#include "events/record.h"

namespace concordat::runtime {
namespace {

int64_t SteadyNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

absl::Time SystemClock::Now() {
  absl::MutexLock lock(&mutex_);
  const absl::Time wall = absl::Now();
  const int64_t steady = SteadyNanos();
  if (wall_ != absl::InfinitePast() && alarm_.empty()) {
    const absl::Duration drift = (wall - wall_) - absl::Nanoseconds(steady - steady_nanos_);
    if (absl::AbsDuration(drift) > kMaxJump) {
      alarm_ = fmt::format(
          "the clock jumped by {} seconds at {}: no timer fires until the clock is right and "
          "the process has been started again",
          absl::ToInt64Seconds(drift), events::EventTime(wall));
    }
  }
  wall_ = wall;
  steady_nanos_ = steady;
  return wall;
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
