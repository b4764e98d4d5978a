#include "tests/simulation/world.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/simulation/inside.h"

namespace concordat::simulation {

using storage::SimulatedCluster;
using storage::SimulatedFate;

namespace {

constexpr absl::Duration kQuietWithin = absl::Minutes(10);

// What the services log, for the transcript.
class Sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit Sink(std::function<void(std::string_view)> tell) : tell_(std::move(tell)) {}

 private:
  // RocksDB has threads of its own, and real time says when they do what.
  void sink_it_(const spdlog::details::log_msg& message) override {
    const std::string_view line(message.payload.data(), message.payload.size());
    if (std::this_thread::get_id() == world_ && line.substr(0, 9) != "rocksdb: ") tell_(line);
  }
  void flush_() override {}
  const std::thread::id world_ = std::this_thread::get_id();
  std::function<void(std::string_view)> tell_;
};

}  // namespace

World::~World() {
  spdlog::set_level(spdlog::level::off);
  storm_ = false;
  runtime::release_knows = nullptr;
  for (Node* node : nodes_) {
    for (int i = 0; node->stopping && i < 1'000'000; ++i) scheduler_.Step();
    if (node->running != nullptr) Crash(*node, "the world ends");
  }
}

void World::TellLine(std::string line) {
  // The folder has another name each time.
  const std::string& folder = options_.rocksdb_dir;
  for (size_t at; !folder.empty() && (at = line.find(folder)) != std::string::npos;)
    line.erase(at, folder.size());
  options_.transcript(
      fmt::format("{:10.6f} {}\n", absl::ToDoubleSeconds(scheduler_.Steady()), line));
}

void World::Violation(const std::string& invariant, const std::string& found) {
  Tell("VIOLATION {}: {}", invariant, found);
  if (result_.violations.size() < 20) result_.violations.push_back(invariant + ": " + found);
}

void World::Build() {
  static const char* const kNames[] = {"paris",  "borlange", "lyon", "oslo",
                                       "madrid", "hobart",   "quito"};
  int count = options_.sites;
  // Mostly two or three: what two sites can do wrong, seven do not do more often.
  if (count == 0) {
    const uint64_t one = random_.Below(12);
    count = one < 8 ? 2 : one < 11 ? 3 : 4 + static_cast<int>(random_.Below(4));
  }
  result_.sites = count;
  config_.services = node::AllServices();
  config_.kafka = true;
  // Attested so often that replicas compare in a short life too.
  config_.attest_every_events = 20 + random_.Below(60);
  for (int i = 0; i < count; ++i) {
    names_.emplace_back(kNames[i]);
    config_.sites.push_back({kNames[i], "", "", ""});
  }
  referee_ = std::make_unique<Referee>(
      names_, config_.services, [this](const std::string& invariant, const std::string& found) {
        Violation(invariant, found);
      });
  for (int i = 0; i < count; ++i) {
    auto site = std::make_unique<SiteWorld>();
    site->index = i;
    site->name = names_[static_cast<size_t>(i)];
    site->cluster = std::make_unique<SimulatedCluster>(scheduler_);
    site->cluster->fate = [this, raw = site.get()](const std::string& stream, size_t records) {
      referee_->Sends(raw->name, stream);
      return FateOf(stream, records);
    };
    site->cluster->later = [this](absl::Duration wait, absl::AnyInvocable<void()> what) {
      After(wait, std::move(what));
    };
    site->cluster->landed = [this, raw = site.get()](const std::string& stream, int64_t offset,
                                                     const SimulatedCluster::Stored& record) {
      Landed(*raw, stream, offset, record);
    };
    site->cluster->touched = [this](int number) {
      Node& node = *nodes_[static_cast<size_t>(number)];
      if (node.process != nullptr) node.process->Touch();
    };
    site->target = std::make_unique<Target>(random_.Next());
    site->workload = std::make_unique<Workload>(site->name, names_, random_);
    for (int n = 0; n < kNodes; ++n) {
      auto node = std::make_unique<Node>();
      node->name = fmt::format("{}-{}", site->name, n);
      node->site = i;
      node->number = static_cast<int>(nodes_.size());
      nodes_.push_back(node.get());
      site->nodes.push_back(std::move(node));
    }
    sites_.push_back(std::move(site));
  }
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      if (from == to) continue;
      mirrors_.push_back(std::make_unique<Mirror>());
      mirrors_.back()->from = from;
      mirrors_.back()->to = to;
    }
  }
  // Each world has its own few troubles, so that none of them hides the others.
  for (int i = 0; i < static_cast<int>(Fault::kCount); ++i) {
    if (random_.OneIn(2)) enabled_.push_back(static_cast<Fault>(i));
  }
  if (Enabled(Fault::kReleaseChanged)) {
    for (Node* node : nodes_) node->old_release = random_.OneIn(2);
    runtime::release_knows = [this](const auto& event) { return KnowsNow(event); };
  }
  requests_ = options_.requests > 0 ? options_.requests
                                    : (300 + static_cast<int>(random_.Below(500))) / count;
}

bool World::RunFor(absl::Duration duration, const std::function<bool()>& until) {
  const absl::Time end = scheduler_.Now() + duration;
  absl::Time look = scheduler_.Now();
  uint64_t steps = 0;
  while (scheduler_.Now() < end) {
    if (!scheduler_.Step()) return false;
    if (!result_.violations.empty()) return false;
    // A world that does not come to an end is a finding too.
    if (++steps > 20'000'000) {
      Violation("liveness", "the world did twenty million steps");
      return false;
    }
    if (scheduler_.Now() < look) continue;
    look = scheduler_.Now() + absl::Seconds(1);
    if (until()) return true;
  }
  return until();
}

WorldResult World::Run() {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "world", std::make_shared<Sink>([this](std::string_view line) { Tell("  log: {}", line); })));
  spdlog::set_level(options_.transcript ? spdlog::level::info : spdlog::level::off);
  Build();
  scheduler_.ran = [this](Process& process) { Ran(process); };
  for (const auto& site : sites_) {
    Start(*site->nodes[0]);
    Ask(*site);
  }
  After(Between(absl::Seconds(1), absl::Seconds(60)), [this] { Strike(); });
  After(absl::Seconds(5), [this] { Oversee(); });
  const auto all_asked = [this] {
    return std::all_of(sites_.begin(), sites_.end(), [this](const auto& site) {
      return site->workload->setup().empty() && site->setup_open == 0 && site->asked >= requests_ &&
             site->open == 0;
    });
  };
  RunFor(absl::Minutes(12), all_asked);
  if (result_.violations.empty()) {
    Heal();
    // A process that still dies or stops does so now.
    RunFor(absl::Seconds(1), [] { return false; });
    for (const auto& site : sites_) {
      for (const auto& node : site->nodes) {
        if (node.get() != site->nodes[static_cast<size_t>(site->preferred)].get() &&
            node->running != nullptr)
          Crash(*node, "it is not needed");
      }
      // Trusted only after a start: its clock may have jumped.
      Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
      if (node.running != nullptr && !node.clock->Alarm().empty())
        Crash(node, "its clock has jumped");
      if (node.old_release) Crash(node, "it gets the newer release");
      if (node.running == nullptr) node.old_release = false;
      Start(node);
    }
    // A writer with nothing to do looks once a second for what is due.
    RunFor(absl::Seconds(2), [] { return false; });
    std::string why;
    // Callers that were still being served keep asking: each wants its answer.
    for (const auto& site : sites_) site->asked = requests_;
    if (!RunFor(kQuietWithin, [this, &why] { return Quiet(&why); }) && result_.violations.empty()) {
      Violation("quiet", fmt::format("{} after everything was healed: {}",
                                     absl::FormatDuration(kQuietWithin), why));
    }
    if (result_.violations.empty()) CheckAtTheEnd();
  }
  result_.commands = referee_->accepted();
  result_.voids = referee_->voids();
  result_.attested = referee_->attested();
  result_.occurrences = referee_->occurrences();
  result_.switches = scheduler_.switches();
  result_.simulated_seconds = absl::ToDoubleSeconds(scheduler_.Steady());
  for (const auto& [stream, history] : referee_->histories()) {
    Mix(history.facts.size());
    if (!history.facts.empty()) Mix(history.facts.back().attributes.id.bytes[0]);
  }
  return std::move(result_);
}

WorldResult RunWorld(const WorldOptions& options) {
  World world(options);
  return world.Run();
}

WorldResult RunSeed(WorldOptions options) {
  if (options.seed % kRocksDbEvery != 0) return RunWorld(options);
  char pattern[] = "/dev/shm/concordat-sim-XXXXXX";
  if (mkdtemp(pattern) == nullptr) std::abort();
  options.rocksdb_dir = pattern;
  WorldResult result = RunWorld(options);
  std::filesystem::remove_all(options.rocksdb_dir);
  return result;
}

}  // namespace concordat::simulation
