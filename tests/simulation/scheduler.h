// One thread in which many processes run: each of their threads is a fiber, and which goes on when
// is told by virtual time and a seed. Law: nothing here knows the real time, so a seed runs the
// same way every time.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "storage/machine.h"

namespace concordat::simulation {

// Numbers from a seed: the same on every machine and with every library (xoshiro256**).
class Chance {
 public:
  explicit Chance(uint64_t seed);
  uint64_t Next();
  // Below `end`, which must be positive.
  uint64_t Below(uint64_t end) { return Next() % end; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  // From `least` to `most`, short ones far more often than long ones.
  absl::Duration Between(absl::Duration least, absl::Duration most);

 private:
  uint64_t state_[4];
};

class Scheduler;
class Process;
struct Fiber;

// A simulated process: its fibers, and the machine that it runs on. It outlives what runs in it.
class Process final : public storage::Machine {
 public:
  Process(Scheduler& scheduler, std::string name, uint64_t seed);
  ~Process() override;

  absl::Time Now() override;
  absl::Duration Steady() override;
  bool Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Duration timeout) override;
  void Sleep(absl::Duration duration) override;
  std::unique_ptr<storage::Thread> Start(const char* name,
                                         absl::AnyInvocable<void()> body) override;
  uint64_t Random() override { return random_.Next(); }
  void Reach(std::string_view failpoint) override;

  // Ends all fibers where they are; at once, or from one of its own fibers as soon as that one has
  // unwound. Whatever its objects still ask of it on their way out is answered without waiting.
  void Kill();
  bool dead() const { return dead_; }
  // No fiber has work left.
  bool finished() const;
  // Stopped, no fiber of it runs until it goes on.
  void Pause();
  void Continue();
  bool paused() const { return paused_; }
  // Something that its fibers may wait for has changed.
  void Touch();

  // What its wall clock differs from the world's.
  absl::Duration skew;
  // Whose it is; as its owner likes.
  int tag = -1;
  // Asked at every failpoint while fibers run; may Kill() or Pause().
  absl::AnyInvocable<void(std::string_view)> at_failpoint;
  const std::string& name() const { return name_; }

 private:
  friend class Scheduler;
  void Wait(const absl::Condition* condition, absl::Duration timeout);
  void Look();

  Scheduler& scheduler_;
  const std::string name_;
  simulation::Chance random_;
  std::vector<std::shared_ptr<Fiber>> fibers_;
  std::vector<std::shared_ptr<Fiber>> deferred_;
  bool dead_ = false;
  bool paused_ = false;
  bool touched_ = false;
  absl::Duration dying_;  // time flies for who may not wait any more
};

class Scheduler final : public storage::Machine {
 public:
  explicit Scheduler(uint64_t seed);
  ~Scheduler() override;
  Scheduler(const Scheduler&) = delete;

  // As a machine it stands for whatever process runs: the log waits through it.
  absl::Time Now() override { return now_; }
  absl::Duration Steady() override { return now_ - begin_; }
  bool Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Duration timeout) override;

  void After(absl::Duration wait, absl::AnyInvocable<void()> what);
  // Does the next thing; false where there is none. Afterwards every process that changed is
  // handed to `ran`.
  bool Step();
  absl::AnyInvocable<void(Process&)> ran;

  Chance& random() { return random_; }
  // Whether a fiber runs at this moment.
  bool in_fiber() const { return running_ != nullptr; }
  // The process of that fiber; nothing where none runs.
  const Process* running_process() const;
  uint64_t switches() const { return switches_; }

 private:
  friend class Process;
  struct Entry {
    absl::Time when;
    uint64_t order;
    std::shared_ptr<Fiber> fiber;
    uint64_t wait = 0;  // which wait of the fiber it ends
    absl::AnyInvocable<void()> what;
  };
  void Push(Entry entry);
  void Resume(const std::shared_ptr<Fiber>& fiber);
  void LookAtTouched();

  Chance random_;
  const absl::Time begin_;
  absl::Time now_;
  uint64_t order_ = 0;
  uint64_t switches_ = 0;
  std::vector<Entry> heap_;
  std::vector<Process*> touched_;
  Fiber* running_ = nullptr;
};

}  // namespace concordat::simulation
