// Waiting for conditions. Law: a test waits for something, never for time; the bound only turns a
// hang into a failure.
#pragma once

#include <absl/time/clock.h>
#include <absl/time/time.h>

namespace concordat::test {

// Longer than anything takes on the slowest machine that runs the tests.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Whether `done` came to hold.
template <typename Condition>
bool WaitUntil(Condition&& done, absl::Duration patience = kPatience) {
  for (const absl::Time end = absl::Now() + patience; !done();) {
    if (absl::Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace concordat::test
