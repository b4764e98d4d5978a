#include "tests/simulation/scheduler.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define CONCORDAT_FIBERS_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define CONCORDAT_FIBERS_TSAN 1
#endif

namespace concordat::simulation {
namespace {

constexpr size_t kStackBytes = 512 << 10;

// Thrown where a fiber waits, or reaches a failpoint, in a process that has been killed.
struct Killed {};

// Stacks are used again: mapping them anew would cost more than what runs on them.
struct Stacks {
  std::vector<void*> free;
  void* Take() {
    if (!free.empty()) {
      void* stack = free.back();
      free.pop_back();
      return stack;
    }
    void* stack = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED) std::abort();
    return stack;
  }
  ~Stacks() {
    for (void* stack : free) munmap(stack, kStackBytes);
  }
};
thread_local Stacks stacks;

uint64_t Rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

}  // namespace

struct Fiber : std::enable_shared_from_this<Fiber> {
  Process* process = nullptr;
  std::string name;
  absl::AnyInvocable<void()> body;
  void* stack = nullptr;
  ucontext_t context;
  ucontext_t* back = nullptr;
  uint64_t wait = 0;                           // counts its waits
  const absl::Condition* condition = nullptr;  // while it waits for one
  bool woken = false;                          // its condition held, and it is to go on
  bool started = false;
  bool done = false;
#ifdef CONCORDAT_FIBERS_ASAN
  void* fake_stack = nullptr;
  void* fake_back = nullptr;
  const void* back_bottom = nullptr;
  size_t back_size = 0;
#endif
#ifdef CONCORDAT_FIBERS_TSAN
  void* tsan = nullptr;
  void* tsan_back = nullptr;
#endif

  ~Fiber() {
    if (stack != nullptr) stacks.free.push_back(stack);
#ifdef CONCORDAT_FIBERS_TSAN
    if (tsan != nullptr) __tsan_destroy_fiber(tsan);
#endif
  }

  static void Run(unsigned low, unsigned high) {
    auto* self =
        reinterpret_cast<Fiber*>(static_cast<uintptr_t>(low) | static_cast<uintptr_t>(high) << 32);
#ifdef CONCORDAT_FIBERS_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &self->back_bottom, &self->back_size);
#endif
    try {
      if (!self->process->dead()) self->body();
    } catch (const Killed&) {
    }
    self->done = true;
    self->Leave(true);
  }

  void Enter() {
    ucontext_t here;
    back = &here;
    if (!started) {
      started = true;
      stack = stacks.Take();
      getcontext(&context);
      context.uc_stack.ss_sp = stack;
      context.uc_stack.ss_size = kStackBytes;
      context.uc_link = nullptr;
      const auto self = reinterpret_cast<uintptr_t>(this);
      makecontext(&context, reinterpret_cast<void (*)()>(&Fiber::Run), 2,
                  static_cast<unsigned>(self), static_cast<unsigned>(self >> 32));
#ifdef CONCORDAT_FIBERS_TSAN
      tsan = __tsan_create_fiber(0);
#endif
    }
#ifdef CONCORDAT_FIBERS_ASAN
    __sanitizer_start_switch_fiber(&fake_back, stack, kStackBytes);
#endif
#ifdef CONCORDAT_FIBERS_TSAN
    tsan_back = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan, 0);
#endif
    swapcontext(&here, &context);
#ifdef CONCORDAT_FIBERS_ASAN
    __sanitizer_finish_switch_fiber(fake_back, nullptr, nullptr);
#endif
  }

  void Leave(bool for_good) {
#ifdef CONCORDAT_FIBERS_ASAN
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack, back_bottom, back_size);
#endif
#ifdef CONCORDAT_FIBERS_TSAN
    __tsan_switch_to_fiber(tsan_back, 0);
#endif
    static_cast<void>(for_good);
    swapcontext(&context, back);
#ifdef CONCORDAT_FIBERS_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, &back_bottom, &back_size);
#endif
  }
};

Chance::Chance(uint64_t seed) {
  for (uint64_t& word : state_) {  // splitmix64
    seed += 0x9e3779b97f4a7c15;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

uint64_t Chance::Next() {
  const uint64_t result = Rotate(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = Rotate(state_[3], 45);
  return result;
}

absl::Duration Chance::Between(absl::Duration least, absl::Duration most) {
  // The cube of a number between 0 and 1.
  const double part = static_cast<double>(Next() >> 11) / static_cast<double>(uint64_t{1} << 53);
  const int64_t span = absl::ToInt64Nanoseconds(most - least);
  return least +
         absl::Nanoseconds(static_cast<int64_t>(part * part * part * static_cast<double>(span)));
}

Process::Process(Scheduler& scheduler, std::string name, uint64_t seed)
    : scheduler_(scheduler), name_(std::move(name)), random_(seed) {}

Process::~Process() {
  Kill();
  std::erase(scheduler_.touched_, this);
}

absl::Time Process::Now() {
  if (dead_) dying_ += absl::Seconds(1);
  return scheduler_.now_ + skew + dying_;
}
absl::Duration Process::Steady() {
  if (dead_) dying_ += absl::Seconds(1);
  return scheduler_.Steady() + dying_;
}

bool Process::Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Duration timeout) {
  if (condition.Eval()) return true;
  const bool unwinding = std::uncaught_exceptions() > 0;
  if (dead_ && !unwinding && scheduler_.running_ != nullptr) throw Killed();
  if (timeout <= absl::ZeroDuration() || unwinding || scheduler_.running_ == nullptr) return false;
  mutex.Unlock();
  Wait(&condition, timeout);
  mutex.Lock();
  if (dead_) throw Killed();
  return condition.Eval();
}

void Process::Sleep(absl::Duration duration) {
  const bool unwinding = std::uncaught_exceptions() > 0;
  if (unwinding || scheduler_.running_ == nullptr) return;
  if (!dead_) Wait(nullptr, duration);
  if (dead_) throw Killed();
}

void Process::Reach(std::string_view failpoint) {
  if (dead_ || scheduler_.running_ == nullptr || std::uncaught_exceptions() > 0) return;
  if (at_failpoint) at_failpoint(failpoint);
  if (paused_) Wait(nullptr, absl::ZeroDuration());
  if (dead_) throw Killed();
}

void Process::Wait(const absl::Condition* condition, absl::Duration timeout) {
  Fiber& fiber = *scheduler_.running_;
  fiber.condition = condition;
  fiber.woken = false;
  ++fiber.wait;
  if (timeout != absl::InfiniteDuration()) {
    scheduler_.Push({scheduler_.now_ + timeout, 0, fiber.shared_from_this(), fiber.wait, nullptr});
  }
  fiber.Leave(false);
}

namespace {
class FiberThread final : public storage::Thread {
 public:
  FiberThread(Process& process, std::shared_ptr<Fiber> fiber)
      : process_(process), fiber_(std::move(fiber)) {}
  void Join() override {
    absl::Mutex mutex;
    absl::MutexLock lock(&mutex);
    const auto done = [this] { return fiber_->done || process_.dead(); };
    process_.Await(mutex, absl::Condition(&done), absl::InfiniteDuration());
  }

 private:
  Process& process_;
  std::shared_ptr<Fiber> fiber_;
};
}  // namespace

std::unique_ptr<storage::Thread> Process::Start(const char* name, absl::AnyInvocable<void()> body) {
  auto fiber = std::make_shared<Fiber>();
  fiber->process = this;
  fiber->name = name;
  fiber->body = std::move(body);
  if (dead_) {
    fiber->done = true;
  } else {
    fibers_.push_back(fiber);
    scheduler_.Push({scheduler_.now_, 0, fiber, 0, nullptr});
  }
  return std::make_unique<FiberThread>(*this, std::move(fiber));
}

void Process::Kill() {
  if (dead_) return;
  dead_ = true;
  paused_ = false;
  deferred_.clear();
  const auto end_all = [this] {
    const std::vector<std::shared_ptr<Fiber>> fibers = std::exchange(fibers_, {});
    for (const std::shared_ptr<Fiber>& fiber : fibers) {
      if (!fiber->started) fiber->done = true;
      if (!fiber->done) scheduler_.Resume(fiber);
    }
  };
  if (scheduler_.running_ == nullptr) {
    end_all();
  } else {
    scheduler_.After(absl::ZeroDuration(), end_all);
  }
}

bool Process::finished() const {
  return std::all_of(fibers_.begin(), fibers_.end(), [](const auto& fiber) { return fiber->done; });
}

void Process::Pause() { paused_ = true; }

void Process::Continue() {
  if (!std::exchange(paused_, false)) return;
  for (const std::shared_ptr<Fiber>& fiber : std::exchange(deferred_, {})) {
    scheduler_.Push({scheduler_.now_, 0, fiber, fiber->wait, nullptr});
  }
  Touch();
}

void Process::Touch() {
  if (std::exchange(touched_, true)) return;
  scheduler_.touched_.push_back(this);
}

void Process::Look() {
  touched_ = false;
  if (dead_ || paused_) return;
  for (const std::shared_ptr<Fiber>& fiber : fibers_) {
    if (fiber->condition == nullptr || fiber->woken || !fiber->condition->Eval()) continue;
    fiber->woken = true;
    // Threads wake up when the machine likes: mostly at once, now and then much later.
    simulation::Chance& random = scheduler_.random_;
    const absl::Duration wait = random.OneIn(64)
                                    ? random.Between(absl::ZeroDuration(), absl::Milliseconds(20))
                                    : absl::Nanoseconds(2000 + random.Below(30'000));
    scheduler_.Push({scheduler_.now_ + wait, 0, fiber, fiber->wait, nullptr});
  }
}

Scheduler::Scheduler(uint64_t seed)
    : random_(seed), begin_(absl::FromUnixSeconds(1798761600)), now_(begin_) {}

Scheduler::~Scheduler() = default;

bool Scheduler::Await(absl::Mutex& mutex, const absl::Condition& condition,
                      absl::Duration timeout) {
  if (running_ == nullptr) return condition.Eval();
  return running_->process->Await(mutex, condition, timeout);
}

void Scheduler::After(absl::Duration wait, absl::AnyInvocable<void()> what) {
  Push({now_ + std::max(wait, absl::ZeroDuration()), 0, nullptr, 0, std::move(what)});
}

namespace {
constexpr auto kLater = [](const auto& a, const auto& b) {
  return a.when != b.when ? a.when > b.when : a.order > b.order;
};
}  // namespace

void Scheduler::Push(Entry entry) {
  entry.order = order_++;
  heap_.push_back(std::move(entry));
  std::push_heap(heap_.begin(), heap_.end(), kLater);
}

bool Scheduler::Step() {
  if (heap_.empty()) return false;
  std::pop_heap(heap_.begin(), heap_.end(), kLater);
  Entry entry = std::move(heap_.back());
  heap_.pop_back();
  now_ = std::max(now_, entry.when);
  if (entry.what) {
    entry.what();
  } else {
    Fiber& fiber = *entry.fiber;
    Process& process = *fiber.process;
    if (fiber.done || process.dead_ || entry.wait != fiber.wait) return true;
    if (process.paused_) {
      process.deferred_.push_back(entry.fiber);
      return true;
    }
    Resume(entry.fiber);
    if (ran) ran(process);
    if (!process.dead_) process.Touch();
  }
  LookAtTouched();
  return true;
}

void Scheduler::Resume(const std::shared_ptr<Fiber>& fiber) {
  ++switches_;
  fiber->condition = nullptr;
  ++fiber->wait;
  Fiber* const before = std::exchange(running_, fiber.get());
  fiber->Enter();
  running_ = before;
  if (!fiber->done) return;
  std::erase(fiber->process->fibers_, fiber);
}

const Process* Scheduler::running_process() const {
  return running_ == nullptr ? nullptr : running_->process;
}

void Scheduler::LookAtTouched() {
  for (size_t i = 0; i < touched_.size(); ++i) touched_[i]->Look();
  touched_.clear();
}

}  // namespace concordat::simulation
