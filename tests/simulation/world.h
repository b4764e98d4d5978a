// A world: sites with two machines each, their brokers, the mirrors between them, callers, and
// whatever can go wrong, all decided by one seed. Law: what runs in it are the real sites, as
// concordatd puts them together.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::simulation {

struct WorldOptions {
  uint64_t seed = 1;
  int sites = 0;     // 2 to 7; 0: as the seed says
  int requests = 0;  // of callers at each site, beside those that set it up; 0: as usual
  // Told what happens, a line each, when it happens; the same for the same seed, byte for byte.
  std::function<void(std::string_view line)> transcript;
  std::string dies_at;      // a failpoint at which processes die time and again; empty: none
  std::string rocksdb_dir;  // projections in RocksDB below this folder; empty: in memory
};

struct WorldResult {
  std::vector<std::string> violations;  // each begins with the invariant's name; empty: none
  uint64_t fingerprint = 0;             // of everything that happened
  uint64_t commands = 0;                // events accepted at their homes
  uint64_t voids = 0;
  uint64_t switches = 0;
  double simulated_seconds = 0;
  int sites = 0;
  uint64_t attested = 0;                    // attestations that replicas compared with
  uint64_t occurrences = 0;                 // of reservations that recur
  std::map<std::string, uint64_t> faults;   // by kind; of those that took effect
  std::map<std::string, uint64_t> crashes;  // by failpoint
  std::map<std::string, uint64_t> answers;  // by what callers were told
};

// The kinds of faults that a world may have, as `faults` names them.
std::vector<std::string> FaultNames();

// The named points at which a process may die.
std::vector<std::string> FailpointNames();

// Runs a world to its end. One thread; another thread may run another world.
WorldResult RunWorld(const WorldOptions& options);

// One in this many worlds has its projections in RocksDB.
inline constexpr uint64_t kRocksDbEvery = 50;

// RunWorld(), and where the seed says so with projections in RocksDB, in a folder that is gone
// afterwards.
WorldResult RunSeed(WorldOptions options);

}  // namespace concordat::simulation
