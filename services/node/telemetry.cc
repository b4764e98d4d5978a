#include "services/node/telemetry.h"

#include <fmt/format.h>
#include <httplib.h>
#include <prometheus/counter.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <cstdlib>
#include <map>

#include "services/inventory/state.h"
#include "services/reservations/state.h"
#include "services/runtime/check.h"

namespace concordat::node {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

ClientMetric Metric(const std::vector<std::pair<std::string, std::string>>& labels, double value,
                    MetricType type) {
  ClientMetric metric;
  for (const auto& [name, text] : labels) metric.label.push_back({name, text});
  if (type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  return metric;
}

// How many shortfalls the site's reservations know of; few, so that they are counted one by one.
double CountShortfalls(const storage::Projection& projection) {
  const auto view = projection.View();
  const reservations::Rows rows(*view);
  double count = 0;
  rows.shortfalls.Scan("", [&](std::string_view, const reservations::v1::Shortfall&) {
    ++count;
    return true;
  });
  return count;
}

// How many maintenance windows go on after their end; windows are few.
double CountOverrunning(const storage::Projection& projection) {
  const auto view = projection.View();
  const inventory::Rows rows(*view);
  double count = 0;
  rows.windows.Scan("", [&](std::string_view, const inventory::v1::Window& window) {
    if (window.state() == inventory::v1::WINDOW_STATE_OVERRUNNING) ++count;
    return true;
  });
  return count;
}

// How many servers are in a state for longer than the site's limit for it, by state. Where there is
// a limit each server is looked at, some microseconds each.
std::map<inventory::v1::ServerState, double> CountOverdue(const storage::Projection& projection,
                                                          const std::string& site, absl::Time now) {
  const auto view = projection.View();
  const inventory::Rows rows(*view);
  const auto row = rows.sites.Get(fmt::format("sites/{}", site));
  std::map<inventory::v1::ServerState, double> overdue;
  std::map<inventory::v1::ServerState, absl::Duration> limits;
  if (!row) return overdue;
  for (const inventory::v1::StageLimitSet& limit : row->stage_limits()) {
    limits[limit.state()] = absl::Seconds(limit.most().seconds());
    overdue[limit.state()] = 0;
  }
  if (limits.empty()) return overdue;
  rows.servers.Scan("", [&](std::string_view, const inventory::v1::Server& server) {
    const auto limit = limits.find(server.state());
    if (limit != limits.end() && server.has_state_time() &&
        now - runtime::ToTime(server.state_time()) > limit->second) {
      ++overdue[server.state()];
    }
    return true;
  });
  return overdue;
}

}  // namespace

Telemetry::Telemetry(const Site& site)
    : site_(site),
      commands_(prometheus::BuildCounter()
                    .Name("concordat_commands_total")
                    .Help("Commands of callers by what they came to")
                    .Labels({{"site", site.name()}})
                    .Register(registry_)),
      durations_(prometheus::BuildHistogram()
                     .Name("concordat_command_duration_seconds")
                     .Help("Time from a command's arrival to its answer")
                     .Labels({{"site", site.name()}})
                     .Register(registry_)) {}

Telemetry::~Telemetry() { Stop(); }

void Telemetry::Observe(const std::string& service, const std::string& command,
                        const std::string& outcome, absl::Duration took) {
  static const prometheus::Histogram::BucketBoundaries kBounds{
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};
  commands_.Add({{"service", service}, {"command", command}, {"outcome", outcome}}).Increment();
  durations_.Add({{"service", service}}, kBounds).Observe(absl::ToDoubleSeconds(took));
}

std::string Telemetry::Metrics() const {
  std::vector<MetricFamily> families = registry_.Collect();
  const auto family = [&](const char* name, const char* help, MetricType type) -> MetricFamily& {
    families.push_back({name, help, type, {}});
    return families.back();
  };
  const std::vector<StreamState> states = site_.States();
  const auto per_stream = [&](const char* name, const char* help, auto value) {
    MetricFamily& metrics = family(name, help, MetricType::Gauge);
    for (const StreamState& state : states) {
      metrics.metric.push_back(Metric({{"site", site_.name()}, {"stream", state.stream}},
                                      value(state), MetricType::Gauge));
    }
  };
  per_stream("concordat_projection_sequence", "Sequence of the head that is folded",
             [](const StreamState& s) { return static_cast<double>(s.head.sequence); });
  per_stream("concordat_projection_lag_records",
             "Records at the end of the log that were not read yet",
             [](const StreamState& s) { return static_cast<double>(s.lag); });
  per_stream(
      "concordat_projection_last_event_timestamp_seconds", "Time of the head's event",
      [](const StreamState& s) { return absl::ToDoubleSeconds(s.head.time - absl::UnixEpoch()); });
  per_stream("concordat_stream_alarm",
             "1 while something is wrong with the stream; `concordat status` says what",
             [](const StreamState& s) { return s.alarm.empty() ? 0.0 : 1.0; });
  per_stream("concordat_stream_suspect", "1 while a mirror has a gap",
             [](const StreamState& s) { return s.condition == "suspect" ? 1.0 : 0.0; });
  per_stream("concordat_stream_damaged", "1 once a log is damaged or its history has split",
             [](const StreamState& s) {
               return s.condition == "damaged" || s.condition == "forked" ? 1.0 : 0.0;
             });
  per_stream("concordat_state_diverged",
             "1 once the stream's writer attested another state than was folded here",
             [](const StreamState& s) { return s.condition == "diverged" ? 1.0 : 0.0; });
  MetricFamily& voids =
      family("concordat_void_records_total", "Records that are not part of the history, by reason",
             MetricType::Counter);
  for (const StreamState& state : states) {
    for (const auto& [outcome, count] : state.voids) {
      voids.metric.push_back(Metric({{"site", site_.name()},
                                     {"stream", state.stream},
                                     {"reason", std::string(Name(outcome))}},
                                    static_cast<double>(count), MetricType::Counter));
    }
  }
  const auto per_writer = [&](const char* name, const char* help, auto value, MetricType type) {
    MetricFamily& metrics = family(name, help, type);
    for (const auto& folded : site_.folded()) {
      if (!folded->home()) continue;
      metrics.metric.push_back(Metric({{"site", site_.name()}, {"stream", folded->stream}},
                                      value(*folded->writer), type));
    }
  };
  per_writer(
      "concordat_writer_ready", "1 while the writer decides commands",
      [](const runtime::Writer& w) {
        return w.View().state == runtime::WriterState::kWriting ? 1.0 : 0.0;
      },
      MetricType::Gauge);
  per_writer(
      "concordat_home_check_refused",
      "1 while the writer may not start, because the log lost events or peers did not answer",
      [](const runtime::Writer& w) {
        const std::string check = w.View().home_check;
        return check == "behind" || check == "unknown" || check == "lost" || check == "forked"
                   ? 1.0
                   : 0.0;
      },
      MetricType::Gauge);
  per_writer(
      "concordat_home_forked", "1 once others have accepted another history than the home's log",
      [](const runtime::Writer& w) { return w.View().home_check == "forked" ? 1.0 : 0.0; },
      MetricType::Gauge);
  per_writer(
      "concordat_events_repaired_total",
      "Events that the log had lost, fetched from a peer and appended again",
      [](const runtime::Writer& w) { return static_cast<double>(w.counters().repaired); },
      MetricType::Counter);
  per_writer(
      "concordat_fold_records_pending", "Records of the log still to be folded before writing",
      [](const runtime::Writer& w) {
        const runtime::StreamView view = w.View();
        return static_cast<double>(view.records_to_fold - view.folded_records);
      },
      MetricType::Gauge);
  per_writer(
      "concordat_fold_records_per_second", "How fast the log is being folded; 0 once it is",
      [](const runtime::Writer& w) { return w.View().records_per_second; }, MetricType::Gauge);
  per_writer(
      "concordat_events_accepted_total", "Own events accepted since the process started",
      [](const runtime::Writer& w) { return static_cast<double>(w.counters().accepted); },
      MetricType::Counter);
  per_writer(
      "concordat_events_refused_total", "Refusals among the accepted events",
      [](const runtime::Writer& w) { return static_cast<double>(w.counters().refused); },
      MetricType::Counter);
  per_writer(
      "concordat_writer_recoveries_total",
      "How often the writer had to read the log to know what became of its appends",
      [](const runtime::Writer& w) { return static_cast<double>(w.counters().recoveries); },
      MetricType::Counter);
  per_writer(
      "concordat_writer_stale_reports_total",
      "Delivery reports that came after a recovery and were ignored",
      [](const runtime::Writer& w) { return static_cast<double>(w.counters().stale_reports); },
      MetricType::Counter);
  if (const Folded* folded = site_.Home("reservations")) {
    MetricFamily& shortfalls =
        family("concordat_shortfalls",
               "Limits of power or cooling, the site's or a feed's, below what is reserved",
               MetricType::Gauge);
    shortfalls.metric.push_back(
        Metric({{"site", site_.name()}}, CountShortfalls(*folded->projection), MetricType::Gauge));
  }
  if (const Folded* folded = site_.Home("inventory")) {
    MetricFamily& overrunning =
        family("concordat_windows_overrunning", "Maintenance windows that go on after their end",
               MetricType::Gauge);
    overrunning.metric.push_back(
        Metric({{"site", site_.name()}}, CountOverrunning(*folded->projection), MetricType::Gauge));
    MetricFamily& overdue = family(
        "concordat_servers_overdue",
        "Servers that are in a state for longer than the site's limit for it", MetricType::Gauge);
    for (const auto& [state, count] :
         CountOverdue(*folded->projection, site_.name(), site_.clock().Now())) {
      overdue.metric.push_back(
          Metric({{"site", site_.name()}, {"state", inventory::v1::ServerState_Name(state)}}, count,
                 MetricType::Gauge));
    }
  }
  MetricFamily& build =
      family("concordat_build_info", "The release, as a label", MetricType::Gauge);
  build.metric.push_back(Metric({{"version", CONCORDAT_VERSION}}, 1, MetricType::Gauge));
  return prometheus::TextSerializer().Serialize(families);
}

absl::StatusOr<int> Telemetry::Start(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  int port = colon == address.npos ? 0 : std::atoi(address.c_str() + colon + 1);
  http_ = std::make_unique<httplib::Server>();
  http_->new_task_queue = [] { return new httplib::ThreadPool(2); };
  // Two processes must not share an address by accident, as the library's own options allow.
  http_->set_socket_options([](socket_t socket) {
    const int yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  http_->Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
    response.set_content(Metrics(), "text/plain; version=0.0.4; charset=utf-8");
  });
  http_->Get("/livez", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ok\n", "text/plain");
  });
  http_->Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
    std::string text;
    for (const StreamState& state : site_.States()) {
      if (!state.home || state.writer_state == "writing") continue;
      text += fmt::format("{} is {}: {}\n", state.stream, state.writer_state,
                          state.alarm.empty() ? "reading the log" : state.alarm);
    }
    response.status = text.empty() ? 200 : 503;
    response.set_content(text.empty() ? "ok\n" : text, "text/plain; charset=utf-8");
  });
  if (port == 0) {
    port = http_->bind_to_any_port(host);
  } else if (!http_->bind_to_port(host, port)) {
    port = -1;
  }
  if (port <= 0) {
    return absl::UnavailableError(
        fmt::format("cannot listen on {}: is another process there? Choose another http address "
                    "in the configuration",
                    address));
  }
  thread_ = std::thread([this] { http_->listen_after_bind(); });
  return port;
}

void Telemetry::Stop() {
  if (http_ != nullptr) http_->stop();
  if (thread_.joinable()) thread_.join();
  http_.reset();
}

}  // namespace concordat::node
