// What a process takes of the machine that it runs on, beside log and disk: time, waiting, threads
// and chance. Law: what a simulated world runs of storage and the runtime takes them here, so that
// the world can stand in the machine's place, and one seed decides all of it.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "events/flaw.h"

namespace concordat::storage {

// A thread of a machine. It must be joined before it is destroyed.
class Thread {
 public:
  virtual ~Thread() = default;
  virtual void Join() = 0;
};

// Thread-safe. This class is the real machine.
class Machine {
 public:
  virtual ~Machine() = default;

  // The wall clock; it may jump.
  virtual absl::Time Now();
  // Time since some moment; it never jumps.
  virtual absl::Duration Steady();
  // Waits until the condition holds, at most for `timeout`; whether it holds. REQUIRES: `mutex` is
  // held, as it is again on return.
  virtual bool Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Duration timeout);
  virtual void Sleep(absl::Duration duration);
  // `name` has at most 15 characters.
  virtual std::unique_ptr<Thread> Start(const char* name, absl::AnyInvocable<void()> body);
  // From a source that nobody can foretell.
  virtual uint64_t Random();

  // A step after which a simulated process may end. Builds for tests only.
  virtual void Reach(std::string_view failpoint);

  static Machine& Real();
};

inline void Failpoint([[maybe_unused]] Machine& machine, [[maybe_unused]] std::string_view name) {
  if constexpr (events::kSimulation) machine.Reach(name);
}

}  // namespace concordat::storage
