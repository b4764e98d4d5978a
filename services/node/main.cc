// concordatd: a site's four services, or some of them, in one process.
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "services/node/config.h"
#include "services/node/mirror.h"
#include "services/node/node_api.h"
#include "services/node/site.h"
#include "services/node/telemetry.h"
#include "services/runtime/command_api.h"
#include "storage/log/embedded.h"
#include "storage/log/kafka.h"
#include "storage/projection/snapshot.h"

namespace concordat::node {
namespace {

constexpr absl::Duration kHealthInterval = absl::Seconds(1);

// A log line is one JSON object, whatever its text holds: what is no UTF-8 becomes U+FFFD.
class JsonText final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const nlohmann::json text(std::string(message.payload.data(), message.payload.size()));
    const std::string quoted = text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(quoted.data(), quoted.data() + quoted.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonText>();
  }
};

void StartLogging(const std::string& level) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<JsonText>('*').set_pattern(
      R"({"time":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l","message":%*})");
  auto logger = spdlog::stderr_logger_mt("concordatd");
  logger->set_formatter(std::move(formatter));
  spdlog::set_default_logger(logger);
  spdlog::set_level(spdlog::level::from_str(level));
  // What gRPC says by itself is a line of the log as any other.
  gpr_set_log_function([](gpr_log_func_args* said) {
    const auto severity =
        said->severity == GPR_LOG_SEVERITY_ERROR ? spdlog::level::err : spdlog::level::debug;
    spdlog::log(severity, "grpc: {}", said->message);
  });
}

// The address that was configured, with the port that was bound.
std::string WithPort(const std::string& address, int port) {
  return fmt::format("{}:{}", address.substr(0, address.rfind(':')), port);
}

// One site with its doors.
struct Running {
  std::unique_ptr<storage::Log> log;
  std::unique_ptr<Site> site;
  std::unique_ptr<runtime::Server> server;
  std::unique_ptr<Telemetry> telemetry;
  std::string grpc_address;
  std::string http_address;
};

class Node {
 public:
  explicit Node(Config config) : config_(std::move(config)) {}

  absl::Status Start() {
    if (config_.manual_clock_start) {
      auto manual = std::make_unique<runtime::ManualClock>(*config_.manual_clock_start);
      manual_clock_ = manual.get();
      clock_ = std::move(manual);
    } else {
      clock_ = std::make_unique<runtime::SystemClock>();
    }
    for (const std::string& name : config_.here) {
      const absl::Status opened = OpenLog(name);
      if (!opened.ok()) return opened;
    }
    ConnectMirrors();
    for (const std::string& name : config_.here) {
      auto site = Site::Open(config_, name, *running_[name].log, *clock_);
      if (!site.ok()) return site.status();
      running_[name].site = *std::move(site);
    }
    for (auto& [name, running] : running_) {
      for (auto& [other, peer] : running_) {
        if (name != other) running.site->AddPeer(*peer.site);
      }
    }
    for (auto& [name, running] : running_) running.site->Run();
    for (auto& mirror : mirrors_) mirror->Run();
    for (const std::string& name : config_.here) {
      const absl::Status open = OpenDoors(name);
      if (!open.ok()) return open;
    }
    return absl::OkStatus();
  }

  // Until every writer of every site writes. The doors answer meanwhile, and say not ready.
  absl::Status WaitUntilWriting(const std::function<bool()>& stop) {
    for (auto& [name, running] : running_) {
      for (;;) {
        const absl::Status status = running.site->WaitUntilWriting(absl::Seconds(1));
        if (status.ok() || stop()) break;
        if (!absl::IsDeadlineExceeded(status)) return status;
        spdlog::warn("{}", std::string(status.message()));
      }
      TellHealth();
    }
    return absl::OkStatus();
  }

  // What the doors' health checks answer: whether every writer of the site writes now.
  void TellHealth() {
    for (auto& [name, running] : running_) running.server->SetServing(running.site->Ready());
  }

  std::string Addresses() const {
    std::string sites;
    for (const auto& [name, running] : running_) {
      sites += fmt::format(R"({}"{}": {{"grpc": "{}", "http": "{}"}})", sites.empty() ? "" : ", ",
                           name, running.grpc_address, running.http_address);
    }
    return fmt::format(R"({{"sites": {{{}}}}})", sites);
  }

  void Stop() {
    for (auto& [name, running] : running_) {
      if (running.server != nullptr) running.server->SetServing(false);
    }
    for (auto& [name, running] : running_) {
      // The writers answer everything they hold before the doors close behind them.
      if (running.site != nullptr) running.site->Stop();
      if (running.server != nullptr) running.server->Stop();
      if (running.telemetry != nullptr) running.telemetry->Stop();
    }
    for (auto& mirror : mirrors_) mirror->Stop();
    for (auto& [name, running] : running_) {
      running.server.reset();
      running.telemetry.reset();
      running.site.reset();
    }
    mirrors_.clear();
    running_.clear();
  }

 private:
  absl::Status OpenLog(const std::string& name) {
    for (const SiteConfig& site : config_.sites) {
      if (site.name != name) continue;
      if (config_.kafka) {
        running_[name].log = std::make_unique<storage::KafkaLog>(
            storage::KafkaOptions{site.kafka, fmt::format("concordat-{}", name)});
        return absl::OkStatus();
      }
      auto log = storage::EmbeddedLog::Open(fmt::format("{}/{}/log", config_.data_dir, name));
      if (!log.ok()) return log.status();
      embedded_[name] = log->get();
      running_[name].log = *std::move(log);
    }
    return absl::OkStatus();
  }

  void ConnectMirrors() {
    for (const auto& [origin, from] : embedded_) {
      std::vector<std::string> streams;
      for (const std::string& service : AllServices())
        streams.push_back(events::StreamName(origin, service));
      for (const auto& [target, to] : embedded_) {
        if (origin == target) continue;
        // Sites are open before mirrors run, and live longer.
        const auto is_home = [this, origin = origin](const std::string& stream) {
          const Folded& home = *running_.at(origin).site->Home(events::ServiceOf(stream));
          const std::string check = home.writer->View().home_check;
          return check == "whole" || check == "allowed";
        };
        mirrors_.push_back(std::make_unique<Mirror>(origin, *from, *to, streams, is_home));
        mirrors_to_[target].push_back(mirrors_.back().get());
      }
    }
  }

  absl::Status OpenDoors(const std::string& name) {
    Running& running = running_[name];
    SiteConfig addresses;
    for (const SiteConfig& site : config_.sites) {
      if (site.name == name) addresses = site;
    }
    running.telemetry = std::make_unique<Telemetry>(*running.site);
    running.server = std::make_unique<runtime::Server>();
    for (const std::string& service : running.site->services()) {
      Folded& home = *running.site->Home(service);
      runtime::AddCommands(
          *running.server, *home.engine, *home.writer,
          [telemetry = running.telemetry.get(), service](
              const std::string& command, const std::string& outcome, absl::Duration took) {
            telemetry->Observe(service, command, outcome, took);
          });
    }
    AddNodeService(*running.server,
                   {&config_, running.site.get(), mirrors_to_[name], manual_clock_});
    const auto grpc = running.server->Start(addresses.grpc);
    if (!grpc.ok()) return grpc.status();
    running.server->SetServing(false);
    const auto http = running.telemetry->Start(addresses.http);
    if (!http.ok()) return http.status();
    running.grpc_address = WithPort(addresses.grpc, *grpc);
    running.http_address = WithPort(addresses.http, *http);
    return absl::OkStatus();
  }

  const Config config_;
  std::unique_ptr<runtime::Clock> clock_;
  runtime::ManualClock* manual_clock_ = nullptr;
  std::map<std::string, storage::EmbeddedLog*> embedded_;
  std::map<std::string, Running> running_;
  std::vector<std::unique_ptr<Mirror>> mirrors_;
  std::map<std::string, std::vector<Mirror*>> mirrors_to_;
};

// The snapshot goes to `<data_dir>/<site>/<stream>`, wherever it lies itself. Where the process
// runs several sites, its path says of which it was taken: `<site>/snapshots/<stream>/<name>`.
int Restore(const Config& config, const std::string& snapshot) {
  const auto dir = std::filesystem::weakly_canonical(snapshot);
  std::string site = config.here.front();
  if (config.here.size() > 1) {
    site = dir.parent_path().parent_path().parent_path().filename().string();
    if (std::find(config.here.begin(), config.here.end(), site) == config.here.end()) {
      fmt::print(stderr,
                 "concordatd: {} does not say of which site it is, expected "
                 "SITE/snapshots/STREAM/NAME with one of {}\n",
                 dir.string(), fmt::join(config.here, ", "));
      return 1;
    }
  }
  const auto restored =
      storage::RestoreSnapshot(dir.string(), fmt::format("{}/{}", config.data_dir, site));
  if (!restored.ok()) {
    fmt::print(stderr, "concordatd: {}\n", std::string(restored.status().message()));
    return 1;
  }
  fmt::print("{} is at sequence {} (link {}, digest {}) again\n", restored->dir,
             restored->head.sequence, restored->head.link.ToHex(), restored->digest);
  return 0;
}

int Main(int argc, char** argv) {
  CLI::App app{
      "concordatd runs the services of one site, or of several with the embedded log.\n"
      "It prints a line READY with its addresses once commands are decided, and stops on SIGTERM."};
  std::string path;
  std::string level = "info";
  app.add_option("--config", path,
                 "the configuration, a YAML file; docs/operations/configure.md explains every key")
      ->required();
  app.add_option("--log-level", level, "debug, info, warning, error or critical")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "critical"}));
  std::string snapshot;
  app.add_option("--restore", snapshot,
                 "put this snapshot's folder back as the projection it was taken of, and end; no "
                 "process may run on the data");
  app.set_version_flag("--version", CONCORDAT_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  StartLogging(level);

  // Taken by this thread alone; all others inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  bool stop = false;
  const auto asked_to_stop = [&](absl::Duration wait) {
    const timespec most = absl::ToTimespec(wait);
    if (!stop && sigtimedwait(&signals, nullptr, &most) > 0) stop = true;
    return stop;
  };

  auto config = ReadConfig(path);
  if (!config.ok()) {
    fmt::print(stderr, "concordatd: {}\n", std::string(config.status().message()));
    return 2;
  }
  if (!snapshot.empty()) return Restore(*config, snapshot);
  Node node(*std::move(config));
  absl::Status status = node.Start();
  if (status.ok()) {
    status = node.WaitUntilWriting([&] { return asked_to_stop(absl::ZeroDuration()); });
  }
  if (!status.ok()) {
    spdlog::critical("{}", std::string(status.message()));
    node.Stop();
    return 1;
  }
  if (!stop) {
    fmt::print("READY {}\n", node.Addresses());
    std::fflush(stdout);
    spdlog::info("ready");
    while (!asked_to_stop(kHealthInterval)) node.TellHealth();
  }
  spdlog::info("stopping");
  node.Stop();
  return 0;
}

}  // namespace
}  // namespace concordat::node

int main(int argc, char** argv) { return concordat::node::Main(argc, argv); }
