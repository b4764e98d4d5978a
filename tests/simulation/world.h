// A world: sites with two machines each, their brokers, the mirrors between them, callers, and
// whatever can go wrong, all decided by one seed. Law: what runs in it are the real sites, as
// concordatd puts them together.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <cstdint>

namespace concordat::simulation {

struct WorldOptions {
  uint64_t seed = 1;
  int sites = 0;            // 2 to 7; 0: as the seed says
  int requests = 0;         // of callers at each site, beside those that set it up; 0: as usual
  bool transcript = false;  // keep what happened as text
  std::string rocksdb_dir;  // projections in RocksDB below this folder; empty: in memory
};

struct WorldResult {
  std::vector<std::string> violations;  // each begins with the invariant's name; empty: none
  std::string transcript;
  uint64_t fingerprint = 0;  // of everything that happened
  uint64_t commands = 0;     // events accepted at their homes
  uint64_t voids = 0;
  uint64_t switches = 0;
  double simulated_seconds = 0;
  int sites = 0;
  std::map<std::string, uint64_t> faults;   // by kind
  std::map<std::string, uint64_t> crashes;  // by failpoint
  std::map<std::string, uint64_t> answers;  // by what callers were told
};

// The kinds of faults that a world may have, as `faults` names them.
std::vector<std::string> FaultNames();

// Runs a world to its end. One thread; another thread may run another world.
WorldResult RunWorld(const WorldOptions& options);

}  // namespace concordat::simulation
