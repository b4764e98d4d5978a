// What a site tells its operators: metrics for Prometheus, liveness and readiness, over HTTP.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <thread>

#include "services/node/site.h"

namespace httplib {
class Server;
}

namespace concordat::node {

// Thread-safe.
class Telemetry {
 public:
  // The site is not owned.
  explicit Telemetry(const Site& site);
  ~Telemetry();

  // Counts one call of a command and how long it took.
  void Observe(const std::string& service, const std::string& command, const std::string& outcome,
               absl::Duration took);

  // Serves /metrics, /livez and /readyz; port 0: any. The port. UNAVAILABLE where it is taken.
  absl::StatusOr<int> Start(const std::string& address);
  void Stop();

  // The metrics in Prometheus' text format.
  std::string Metrics() const;

 private:
  const Site& site_;
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& commands_;
  prometheus::Family<prometheus::Histogram>& durations_;
  std::unique_ptr<httplib::Server> http_;
  std::thread thread_;
};

}  // namespace concordat::node
