// A wall clock that is wrong on demand, for one process: LD_PRELOAD this library and name a file in
// CONCORDAT_CLOCK_OFFSET whose first eight bytes are the nanoseconds to add to CLOCK_REALTIME. The
// file is mapped, so whoever writes it steps the clock while the process runs. The steady clock
// stays right, as it does where an operator or NTP steps the wall clock.
//
// Law: only what is told and what is awaited by the wall clock is moved; a wait until a wall time
// ends when the stepped clock shows it.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

constexpr int64_t kSecond = 1'000'000'000;

// Mapped before main() begins, and never unmapped.
const volatile int64_t* offset_nanos = nullptr;

__attribute__((constructor)) void MapOffset() {
  const char* path = std::getenv("CONCORDAT_CLOCK_OFFSET");
  if (path == nullptr) return;
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  void* mapped = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) offset_nanos = static_cast<const volatile int64_t*>(mapped);
}

int64_t Offset() { return offset_nanos == nullptr ? 0 : *offset_nanos; }

timespec Moved(timespec time, int64_t nanos) {
  const int64_t sum = int64_t{time.tv_sec} * kSecond + time.tv_nsec + nanos;
  time.tv_sec = sum / kSecond;
  time.tv_nsec = sum % kSecond;
  return time;
}

using Syscall = long (*)(long, ...);

Syscall RealSyscall() {
  static const auto real = reinterpret_cast<Syscall>(dlsym(RTLD_NEXT, "syscall"));
  return real;
}

// Some waits take a time of either clock, and do not say which; years lie between the two.
bool IsWallTime(const timespec& time) { return time.tv_sec > 1'000'000'000; }

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  using ClockGetTime = int (*)(clockid_t, timespec*);
  static const auto real = reinterpret_cast<ClockGetTime>(dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    *time = Moved(*time, Offset());
  }
  return result;
}

int gettimeofday(timeval* time, void*) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* result) noexcept {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (result != nullptr) *result = now.tv_sec;
  return now.tv_sec;
}

// Abseil waits by futex.
long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  timespec moved;
  if (number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) != 0 && a[3] != 0) {
    moved = Moved(*reinterpret_cast<const timespec*>(a[3]), -Offset());
    a[3] = reinterpret_cast<long>(&moved);
  }
  return RealSyscall()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const timespec* until) {
  using Wait = int (*)(pthread_cond_t*, pthread_mutex_t*, const timespec*);
  static const auto real = reinterpret_cast<Wait>(dlsym(RTLD_NEXT, "pthread_cond_timedwait"));
  const timespec moved = IsWallTime(*until) ? Moved(*until, -Offset()) : *until;
  return real(condition, mutex, &moved);
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                           const timespec* until) {
  using Wait = int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
  static const auto real = reinterpret_cast<Wait>(dlsym(RTLD_NEXT, "pthread_cond_clockwait"));
  const timespec moved = clock == CLOCK_REALTIME ? Moved(*until, -Offset()) : *until;
  return real(condition, mutex, clock, &moved);
}

}  // extern "C"
