// A small disk of a test's own that can be filled: a tmpfs, mounted by root, or by anybody in a
// user namespace of the test's own. Law: nothing is skipped; where it cannot be mounted the test
// fails and says so.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace concordat::test {

// Whoever is not root is it among himself.
inline bool EnterNamespaces() {
  if (::geteuid() == 0) return ::unshare(CLONE_NEWNS) == 0;
  const std::string uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
  return true;
}

// Mounts of this process are its own, so that none outlives it. Before any thread is there, for
// each thread has the mounts of the one that made it.
inline const bool kMountsAreOurs =
    EnterNamespaces() && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;

class FullDisk {
 public:
  // `size` as mount takes it, `48m`.
  explicit FullDisk(const std::string& size) {
    if (::mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) {
      ADD_FAILURE() << "cannot mount a tmpfs on " << dir_.path() << ": " << std::strerror(errno)
                    << "; this test needs a disk that it can fill: run it as root, or where users "
                       "may have namespaces";
      return;
    }
    mounted_ = true;
  }
  ~FullDisk() {
    if (mounted_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }
  std::string operator/(const std::string& name) const { return dir_ / name; }

  // Takes all space but `left` bytes.
  void Fill(size_t left) {
    struct statvfs space {};
    ASSERT_EQ(::statvfs(dir_.path().c_str(), &space), 0);
    const size_t available = space.f_bavail * space.f_frsize;
    ASSERT_GT(available, left);
    const int file = ::open((dir_ / "filler").c_str(), O_CREAT | O_WRONLY, 0600);
    ASSERT_EQ(::posix_fallocate(file, 0, static_cast<off_t>(available - left)), 0);
    ::close(file);
  }
  // Gives it back.
  void Free() { ASSERT_EQ(::unlink((dir_ / "filler").c_str()), 0); }

 private:
  TempDir dir_;
  bool mounted_ = false;
};

// Bytes that no compression makes smaller.
inline std::string Incompressible(size_t size, int seed) {
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  std::string bytes;
  while (bytes.size() < size) {
    const uint64_t word = random();
    bytes.append(reinterpret_cast<const char*>(&word), sizeof(word));
  }
  return bytes.substr(0, size);
}

}  // namespace concordat::test
