// What a disk has to keep when the power goes: LD_PRELOAD this library and name in CONCORDAT_SYNCED
// a table, a file of zeros. For each file that the process made or synced the table then says how
// many of its bytes were there when it was synced last. The table is mapped, so it outlives kill
// -9; whoever cuts each file to its length afterwards does to the process what a power loss may do.
//
// Law: only fsync() and fdatasync() make bytes safe; what was never synced counts nothing. A file
// is written at its end, as logs are: bytes that were written over others count as synced with
// them.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// A file is known by its inode, so a rename or a link changes nothing. Two words a file, key and
// length; a key of zero is free. tests/integration/powerloss_test.py reads it.
struct Slot {
  std::atomic<uint64_t> key;
  std::atomic<uint64_t> synced;
};
constexpr size_t kSlots = 1 << 16;

// Mapped before main() begins, and never unmapped.
Slot* table = nullptr;

[[noreturn]] void Fail(const char* why) {
  // A test that believed in an empty table would see no loss anywhere.
  std::fprintf(stderr, "synced: %s\n", why);
  std::abort();
}

__attribute__((constructor)) void MapTable() {
  const char* path = std::getenv("CONCORDAT_SYNCED");
  if (path == nullptr) return;
  const int file = open(path, O_RDWR | O_CLOEXEC);
  struct stat found {};
  if (file < 0 || fstat(file, &found) != 0) Fail("cannot open the table");
  if (found.st_size != static_cast<off_t>(kSlots * sizeof(Slot)))
    Fail("the table has another size");
  void* mapped = mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) Fail("cannot map the table");
  table = static_cast<Slot*>(mapped);
}

uint64_t KeyOf(const struct stat& file) {
  return static_cast<uint64_t>(file.st_dev) << 48 ^ static_cast<uint64_t>(file.st_ino);
}

std::atomic<uint64_t>& SyncedOf(const struct stat& file) {
  const uint64_t key = KeyOf(file);
  for (size_t i = 0; i < kSlots; ++i) {
    Slot& slot = table[(key * 0x9E3779B97F4A7C15 + i) % kSlots];
    uint64_t found = slot.key.load();
    if (found == 0 && slot.key.compare_exchange_strong(found, key)) found = key;
    if (found == key) return slot.synced;
  }
  Fail("the table is full");
}

bool IsFile(int file, struct stat& found) {
  return table != nullptr && fstat(file, &found) == 0 && S_ISREG(found.st_mode);
}

bool Exists(int folder, const char* path) {
  struct stat found {};
  return table != nullptr && fstatat(folder, path, &found, 0) == 0;
}

// An inode number that a deleted file had may come again: what is new has nothing synced.
void Opened(int file, bool existed, bool emptied) {
  struct stat found {};
  const int error = errno;
  if (file >= 0 && (!existed || emptied) && IsFile(file, found)) SyncedOf(found) = 0;
  errno = error;
}

template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

int OpenAt(int folder, const char* path, int flags, mode_t mode) {
  static const auto real = Real<int (*)(int, const char*, int, mode_t)>("openat");
  const bool existed = (flags & O_CREAT) == 0 || Exists(folder, path);
  const int file = real(folder, path, flags, mode);
  Opened(file, existed, (flags & O_TRUNC) != 0);
  return file;
}

std::FILE* OpenStream(const char* path, const char* mode) {
  static const auto real = Real<std::FILE* (*)(const char*, const char*)>("fopen");
  const bool existed = mode[0] == 'r' || Exists(AT_FDCWD, path);
  std::FILE* stream = real(path, mode);
  if (stream != nullptr) Opened(fileno(stream), existed, mode[0] == 'w');
  return stream;
}

// The length is taken before: what another thread appends meanwhile may not be on the disk.
template <typename Sync>
int Synced(int file, Sync sync) {
  struct stat before {};
  const bool counts = IsFile(file, before);
  const int result = sync(file);
  if (result != 0 || !counts) return result;
  std::atomic<uint64_t>& synced = SyncedOf(before);
  const auto length = static_cast<uint64_t>(before.st_size);
  for (uint64_t known = synced; known < length && !synced.compare_exchange_weak(known, length);) {
  }
  return result;
}

void Cut(const struct stat& file, off_t length) {
  std::atomic<uint64_t>& synced = SyncedOf(file);
  const auto most = static_cast<uint64_t>(length);
  for (uint64_t known = synced; known > most && !synced.compare_exchange_weak(known, most);) {
  }
}

int Truncate(int file, off_t length) {
  static const auto real = Real<int (*)(int, off_t)>("ftruncate");
  const int result = real(file, length);
  struct stat found {};
  if (result == 0 && IsFile(file, found)) Cut(found, length);
  return result;
}

int TruncatePath(const char* path, off_t length) {
  static const auto real = Real<int (*)(const char*, off_t)>("truncate");
  const int result = real(path, length);
  struct stat found {};
  if (result == 0 && table != nullptr && stat(path, &found) == 0) Cut(found, length);
  return result;
}

mode_t ModeOf(int flags, va_list list) {
  const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return makes ? va_arg(list, mode_t) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(flags, list);
  va_end(list);
  return OpenAt(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(flags, list);
  va_end(list);
  return OpenAt(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(flags, list);
  va_end(list);
  return OpenAt(folder, path, flags, mode);
}

int openat64(int folder, const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = ModeOf(flags, list);
  va_end(list);
  return OpenAt(folder, path, flags, mode);
}

int creat(const char* path, mode_t mode) {
  return OpenAt(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char* path, mode_t mode) { return creat(path, mode); }

std::FILE* fopen(const char* path, const char* mode) { return OpenStream(path, mode); }

std::FILE* fopen64(const char* path, const char* mode) { return OpenStream(path, mode); }

int fsync(int file) {
  static const auto real = Real<int (*)(int)>("fsync");
  return Synced(file, real);
}

int fdatasync(int file) {
  static const auto real = Real<int (*)(int)>("fdatasync");
  return Synced(file, real);
}

int ftruncate(int file, off_t length) noexcept { return Truncate(file, length); }

int ftruncate64(int file, off64_t length) noexcept { return Truncate(file, length); }

int truncate(const char* path, off_t length) noexcept { return TruncatePath(path, length); }

int truncate64(const char* path, off64_t length) noexcept { return TruncatePath(path, length); }

}  // extern "C"
