// What a process is told when it starts: which sites there are, which of them it runs, and where
// its data and logs are. Law: an unknown or missing key is an error, never a silent default.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <optional>
#include <string>
#include <vector>

namespace concordat::node {

struct SiteConfig {
  std::string name;  // `paris`
  // Where this site's gRPC listens, `127.0.0.1:7101`; port 0: any. Of a site elsewhere: where its
  // archive is asked before a writer starts; empty: it is not asked.
  std::string grpc;
  std::string http;   // where /metrics, /livez and /readyz listen; port 0: any
  std::string kafka;  // bootstrap servers; only with `log: kafka`
};

struct Config {
  bool demo = false;   // `profile: demo` allows the manual clock
  bool kafka = false;  // `log: kafka`, or `log: embedded`
  std::string data_dir;
  std::optional<absl::Time> manual_clock_start;
  std::vector<SiteConfig> sites;      // every site there is
  std::vector<std::string> here;      // those that this process runs
  std::vector<std::string> services;  // those that this process runs; all where the key is absent
  int replication = 1;                // demanded of topics; only with `log: kafka`
  int min_insync_replicas = 1;
  std::string run_dir;  // a folder that a reboot empties, for marks; empty: no marks
  uint64_t attest_every_events = 10000;
  absl::Duration attest_every = absl::Hours(1);  // of the log's time
};

// Every service there is, in the order in which they build on each other.
const std::vector<std::string>& AllServices();

// INVALID_ARGUMENT, naming the key, what was found and what is expected.
absl::StatusOr<Config> ParseConfig(const std::string& yaml);
// The same of a file; NOT_FOUND where there is none.
absl::StatusOr<Config> ReadConfig(const std::string& path);

}  // namespace concordat::node
