// `./dev sim`: worlds by the thousand, one a seed.
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "events/flaw.h"
#include "tests/simulation/world.h"

namespace concordat::simulation {
namespace {

int Replay(const WorldOptions& options) {
  WorldOptions told = options;
  told.transcript = true;
  const WorldResult result = RunWorld(told);
  std::fputs(result.transcript.c_str(), stdout);
  std::printf("seed %llu: %zu violations, fingerprint %016llx\n",
              static_cast<unsigned long long>(options.seed), result.violations.size(),
              static_cast<unsigned long long>(result.fingerprint));
  return result.violations.empty() ? 0 : 1;
}

}  // namespace
}  // namespace concordat::simulation

int main(int argc, char** argv) {
  using namespace concordat::simulation;
  spdlog::set_level(spdlog::level::off);
  WorldOptions options;
  uint64_t seeds = 1;
  CLI::App app("simulates worlds");
  app.add_option("--seed", options.seed);
  app.add_option("--seeds", seeds);
  app.add_option("--sites", options.sites);
  bool transcript = false;
  app.add_flag("--transcript", transcript);
  CLI11_PARSE(app, argc, argv);
  if (transcript) return Replay(options);
  const absl::Time begin = absl::Now();
  uint64_t commands = 0;
  int bad = 0;
  for (uint64_t i = 0; i < seeds; ++i) {
    const WorldResult result = RunWorld(options);
    commands += result.commands;
    if (!result.violations.empty()) {
      ++bad;
      std::printf("seed %llu: %s\n", (unsigned long long)options.seed,
                  result.violations[0].c_str());
    }
    if (seeds < 4) {
      std::printf(
          "seed %llu sites %d commands %llu voids %llu switches %llu sim %.0f s fp %016llx\n",
          (unsigned long long)options.seed, result.sites, (unsigned long long)result.commands,
          (unsigned long long)result.voids, (unsigned long long)result.switches,
          result.simulated_seconds, (unsigned long long)result.fingerprint);
      for (auto& [k, v] : result.faults)
        std::printf("  %s %llu\n", k.c_str(), (unsigned long long)v);
      for (auto& [k, v] : result.answers)
        std::printf("  answer %s %llu\n", k.c_str(), (unsigned long long)v);
    }
    ++options.seed;
  }
  std::printf("%llu worlds, %d bad, %llu commands, %.2f s\n", (unsigned long long)seeds, bad,
              (unsigned long long)commands, absl::ToDoubleSeconds(absl::Now() - begin));
  return bad ? 1 : 0;
}
