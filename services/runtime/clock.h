// Time as the runtime knows it. Law: deciders get time only through Facts; a wall clock that jumps
// stops the timers, because a deadline decided by a wrong clock cannot be taken back.
#pragma once

#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <string>

#include "storage/machine.h"

namespace concordat::runtime {

// What the log or the disk refused is tried again after this.
inline constexpr absl::Duration kRetry = absl::Milliseconds(200);

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;
  // What is wrong with the clock, in a sentence; empty where nothing is. Timers stop while it is
  // set.
  virtual std::string Alarm() { return {}; }
};

// The wall clock, watched: once it departs from the steady clock by more than kMaxJump between two
// looks, it is not trusted until the process starts again. Until then time goes on from the last
// look by the steady clock: what is decided bears no time of the wrong clock, for a stream's time
// never goes back, and every timer up to it would fire.
class SystemClock final : public Clock {
 public:
  static constexpr absl::Duration kMaxJump = absl::Seconds(5);
  // The machine must outlive it.
  explicit SystemClock(storage::Machine& machine = storage::Machine::Real()) : machine_(machine) {}
  absl::Time Now() override;
  std::string Alarm() override;

 private:
  storage::Machine& machine_;
  absl::Mutex mutex_;
  absl::Time time_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // at the last look
  absl::Duration steady_ ABSL_GUARDED_BY(mutex_);
  std::string alarm_ ABSL_GUARDED_BY(mutex_);
};

// A clock that moves only when it is told to; for the demo's profile and tests.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(absl::Time now) : now_(now) {}
  absl::Time Now() override;
  // False, and nothing changes, where `now` lies before the present.
  bool Set(absl::Time now);

 private:
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace concordat::runtime
