#include "storage/machine.h"

#include <absl/time/clock.h>
#include <openssl/rand.h>
#include <pthread.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

namespace concordat::storage {
namespace {

class RealThread final : public Thread {
 public:
  RealThread(const char* name, absl::AnyInvocable<void()> body)
      : thread_([name, body = std::move(body)]() mutable {
          pthread_setname_np(pthread_self(), name);
          body();
        }) {}
  void Join() override { thread_.join(); }

 private:
  std::thread thread_;
};

}  // namespace

absl::Time Machine::Now() { return absl::Now(); }

absl::Duration Machine::Steady() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

bool Machine::Await(absl::Mutex& mutex, const absl::Condition& condition, absl::Duration timeout) {
  return mutex.AwaitWithTimeout(condition, timeout);
}

void Machine::Sleep(absl::Duration duration) { absl::SleepFor(duration); }

std::unique_ptr<Thread> Machine::Start(const char* name, absl::AnyInvocable<void()> body) {
  return std::make_unique<RealThread>(name, std::move(body));
}

uint64_t Machine::Random() {
  uint64_t random = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&random), sizeof(random)) != 1) std::abort();
  return random;
}

void Machine::Reach(std::string_view) {}

Machine& Machine::Real() {
  static Machine machine;
  return machine;
}

}  // namespace concordat::storage
