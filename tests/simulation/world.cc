#include "tests/simulation/world.h"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "events/flaw.h"
#include "services/node/site.h"
#include "services/runtime/clock.h"
#include "storage/log/simulated.h"
#include "storage/projection/memory_store.h"
#include "storage/projection/rocksdb_store.h"
#include "tests/simulation/referee.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/workload.h"

namespace concordat::simulation {
namespace {

using storage::SimulatedCluster;
using storage::SimulatedFate;

constexpr int kNodes = 2;  // machines a site
// Long enough that a world is mostly about what happens, and not about threads that look in vain.
constexpr absl::Duration kIdle = absl::Seconds(1);
constexpr int kMostOpen = 24;  // operations of callers at one site
constexpr absl::Duration kQuietWithin = absl::Minutes(10);

const char* const kFailpoints[] = {
    "after_append", "after_decide", "before_reports",  "after_reports",  "before_commit",
    "after_commit", "after_react",  "before_flush",    "after_flush",    "before_recovery",
    "before_claim", "after_claim",  "before_readback", "after_readback", "before_resolve",
    "after_start",  "after_issue",  "before_batch",    "after_batch",    "before_note",
    "before_answer"};

// Puts models nowhere; repeats itself, and fails now and then.
class Target final : public deployment::Target {
 public:
  explicit Target(uint64_t seed) : random_(seed) {}
  absl::StatusOr<std::string> Place(const deployment::v1::Deployment& deployment) override {
    if (random_.OneIn(6)) return absl::UnavailableError("the target does not answer");
    if (removed_.contains(deployment.name()))
      return absl::FailedPreconditionError("it was removed");
    return std::string(64, 'c');
  }
  absl::Status Remove(const deployment::v1::Deployment& deployment) override {
    if (random_.OneIn(6)) return absl::UnavailableError("the target does not answer");
    removed_.insert(deployment.name());
    return absl::OkStatus();
  }

 private:
  Chance random_;
  std::set<std::string> removed_;
};

// One of a site's machines. Its disk outlives the processes that run on it.
struct Node {
  std::string name;
  int site = 0;
  int number = 0;  // over all sites
  storage::MemoryDisk disk;
  storage::MemoryDisk::Image old;  // a copy from some time ago
  // Of the process that runs, if one does. Processes that ended are kept until the world's end,
  // for what they sent may refer to them.
  std::unique_ptr<Process> process;
  std::unique_ptr<storage::SimulatedLog> log;
  std::unique_ptr<runtime::SystemClock> clock;
  std::unique_ptr<node::Site> running;
  std::vector<int64_t> heads;  // of running->folded(), as last seen
  bool stopping = false;
  int unanswered = 0;    // submissions to this process
  std::string crash_at;  // the failpoint at which it ends, or stops for a while
  std::string pause_at;

  bool up() const { return running != nullptr && !stopping; }
  bool responds() const { return up() && !process->paused() && !process->dead(); }
};

// What one caller asked for.
struct Operation {
  Request request;
  std::string id;
  std::string digest;
  int site = 0;
  int attempt = 0;
  bool setup = false;
  bool over = false;
  bool validate_only = false;
  bool alone = true;  // its caller goes on after it
};

struct SiteWorld {
  int index = 0;
  std::string name;
  std::unique_ptr<SimulatedCluster> cluster;
  std::vector<std::unique_ptr<Node>> nodes;
  std::unique_ptr<Target> target;
  std::unique_ptr<Workload> workload;
  absl::Duration skew;
  int preferred = 0;  // the machine that callers ask
  int open = 0;       // operations without an end
  int setup_open = 0;
  int asked = 0;
};

// Carries one site's streams to another, as MirrorMaker does: in order, at least once.
struct Mirror {
  int from = 0;
  int to = 0;
  bool cut = false;
  bool down = false;
  bool scheduled = false;
  std::map<std::string, int64_t> position;
  std::map<std::string, int64_t> saved;
};

enum class Fault {
  kCrash,
  kCrashAtFailpoint,
  kPauseAtFailpoint,
  kPause,
  kRestart,
  kSecondWriter,
  kCutFromBrokers,
  kMirrorKilled,
  kMirrorStopped,
  kLinkCut,
  kClockStep,
  kClockSkew,
  kDiskFull,
  kDiskFails,
  kOldSnapshot,
  kDiskLost,
  kBrokerTrouble,
  kCount,
};

const char* NameOf(Fault fault) {
  switch (fault) {
    case Fault::kCrash:
      return "crash";
    case Fault::kCrashAtFailpoint:
      return "crash-at-failpoint";
    case Fault::kPauseAtFailpoint:
      return "pause-at-failpoint";
    case Fault::kPause:
      return "pause";
    case Fault::kRestart:
      return "restart";
    case Fault::kSecondWriter:
      return "second-writer";
    case Fault::kCutFromBrokers:
      return "cut-from-brokers";
    case Fault::kMirrorKilled:
      return "mirror-killed";
    case Fault::kMirrorStopped:
      return "mirror-stopped";
    case Fault::kLinkCut:
      return "link-cut";
    case Fault::kClockStep:
      return "clock-step";
    case Fault::kClockSkew:
      return "clock-skew";
    case Fault::kDiskFull:
      return "disk-full";
    case Fault::kDiskFails:
      return "disk-fails";
    case Fault::kOldSnapshot:
      return "old-snapshot";
    case Fault::kDiskLost:
      return "disk-lost";
    case Fault::kBrokerTrouble:
      return "broker-trouble";
    case Fault::kCount:
      break;
  }
  return "";
}

// What the services log, for the transcript.
class Sink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit Sink(std::function<void(std::string_view)> tell) : tell_(std::move(tell)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    tell_({message.payload.data(), message.payload.size()});
  }
  void flush_() override {}
  std::function<void(std::string_view)> tell_;
};

class World {
 public:
  explicit World(const WorldOptions& options)
      : options_(options), scheduler_(options.seed), random_(scheduler_.random()) {}
  ~World();

  WorldResult Run();

 private:
  template <typename... Args>
  void Tell(fmt::format_string<Args...> format, Args&&... args) {
    if (!options_.transcript) return;
    result_.transcript += fmt::format("{:10.6f} ", absl::ToDoubleSeconds(scheduler_.Steady()));
    fmt::format_to(std::back_inserter(result_.transcript), format, std::forward<Args>(args)...);
    result_.transcript += '\n';
  }
  void Mix(uint64_t number) {
    result_.fingerprint = (result_.fingerprint ^ number) * 0x100000001b3;
  }
  void Violation(const std::string& invariant, const std::string& found);
  void After(absl::Duration wait, absl::AnyInvocable<void()> what) {
    scheduler_.After(wait, std::move(what));
  }
  absl::Duration Between(absl::Duration least, absl::Duration most) {
    return random_.Between(least, most);
  }
  void Count(const std::string& fault) { ++result_.faults[fault]; }

  void Build();
  SimulatedFate FateOf(const std::string& stream, size_t records);
  void Landed(SiteWorld& site, const std::string& stream, int64_t offset,
              const SimulatedCluster::Stored& record);

  void Start(Node& node);
  void Crash(Node& node, const std::string& why);
  void CleanUp(Node& node);
  void Stop(Node& node, absl::AnyInvocable<void()> then);
  void RestartLater(Node& node);
  void Ran(Process& process);
  void AtFailpoint(Node& node, std::string_view failpoint);
  void CheckHeads(Node& node);

  void CarryLater(Mirror& mirror);
  void Carry(Mirror& mirror);

  void Ask(SiteWorld& site, bool alone = true);
  void Send(const std::shared_ptr<Operation>& operation);
  void Answered(const std::shared_ptr<Operation>& operation, int attempt,
                const absl::StatusOr<type::v1::Outcome>& outcome);
  void End(const std::shared_ptr<Operation>& operation, const std::string& how);

  void Strike();
  void Do(Fault fault);
  void Heal();
  bool Quiet(std::string* why);
  void CheckAtTheEnd();
  void CheckFold(const History& history);
  void CheckReactions();
  bool RunFor(absl::Duration duration, const std::function<bool()>& until);

  const WorldOptions options_;
  Scheduler scheduler_;
  Chance& random_;
  WorldResult result_;
  node::Config config_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<SiteWorld>> sites_;
  std::vector<Node*> nodes_;
  std::vector<std::unique_ptr<Mirror>> mirrors_;
  std::unique_ptr<Referee> referee_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<std::unique_ptr<storage::SimulatedLog>> logs_;
  std::vector<std::unique_ptr<runtime::SystemClock>> clocks_;
  std::vector<Fault> enabled_;
  uint64_t next_operation_ = 0;
  uint64_t incarnations_ = 0;
  int requests_ = 0;
  // When a request arrives that the next one of its stream overtakes.
  std::map<std::string, absl::Duration> overtaken_;
  absl::Duration trouble_until_;
  bool storm_ = true;  // faults happen
};

World::~World() {
  spdlog::set_level(spdlog::level::off);
  storm_ = false;
  for (Node* node : nodes_) {
    for (int i = 0; node->stopping && i < 1'000'000; ++i) scheduler_.Step();
    if (node->running != nullptr) Crash(*node, "the world ends");
  }
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
  config_.data_dir = options_.rocksdb_dir;
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
    site->cluster->fate = [this](const std::string& stream, size_t records) {
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
  requests_ = options_.requests > 0 ? options_.requests
                                    : (300 + static_cast<int>(random_.Below(500))) / count;
}

SimulatedFate World::FateOf(const std::string& stream, size_t records) {
  using Report = SimulatedFate::Report;
  SimulatedFate fate;
  fate.arrives = Between(absl::Microseconds(200), absl::Milliseconds(10));
  fate.reported = Between(absl::Microseconds(100), absl::Milliseconds(10));
  if (!storm_) return fate;
  const auto overtaken = overtaken_.find(stream);
  if (overtaken != overtaken_.end()) {
    const absl::Duration left = overtaken->second - scheduler_.Steady() - fate.arrives;
    overtaken_.erase(overtaken);
    // It arrives too early, and again as soon as what it overtook has arrived.
    if (left > absl::ZeroDuration()) {
      fate.again = left + Between(absl::Microseconds(10), absl::Milliseconds(4));
      return fate;
    }
  }
  const bool trouble = scheduler_.Steady() < trouble_until_;
  if (!random_.OneIn(trouble ? 4 : 200)) return fate;
  switch (random_.Below(10)) {
    case 9:
      // The next request arrives before it, and once more afterwards.
      fate.overtaken = true;
      fate.arrives = Between(absl::Milliseconds(1200), absl::Seconds(6));
      overtaken_[stream] = scheduler_.Steady() + fate.arrives;
      Count("append-overtaken");
      break;
    case 0:
      fate.lost = true;
      Count("append-lost");
      break;
    case 1:
      fate.report = Report::kError;
      Count("report-lost");
      break;
    case 2:
      fate.report = Report::kUnknown;
      Count("offset-unknown");
      break;
    case 3:
      // A producer that repeats itself hears of it in the end.
      fate.reported = Between(absl::Seconds(20), absl::Minutes(4));
      Count("report-very-late");
      break;
    case 4:
      fate.reported = Between(absl::Seconds(1), absl::Seconds(20));
      Count("report-late");
      break;
    case 5:
      fate.arrives = Between(absl::Seconds(1), absl::Seconds(60));
      Count("append-late");
      break;
    case 6:
      if (records < 2) break;
      fate.torn_after = 1 + random_.Below(records - 1);
      fate.rest_arrives = random_.OneIn(2) ? absl::InfiniteDuration()
                                           : Between(absl::Milliseconds(1), absl::Seconds(5));
      Count("group-torn");
      break;
    case 7:
      fate.again = Between(absl::ZeroDuration(), absl::Seconds(30));
      Count("append-doubled");
      break;
    case 8:
      fate.report = Report::kError;
      fate.arrives = Between(absl::Seconds(1), absl::Minutes(3));
      fate.reported = absl::ZeroDuration();
      Count("append-stale");
      break;
  }
  Tell("{}: a request of {} meets trouble: arrives {} report {} lost {} torn {} again {}", stream,
       records, absl::FormatDuration(fate.arrives), static_cast<int>(fate.report), fate.lost,
       fate.torn_after < records, fate.again != absl::InfiniteDuration());
  return fate;
}

void World::Landed(SiteWorld& site, const std::string& stream, int64_t offset,
                   const SimulatedCluster::Stored& record) {
  if (events::SiteOf(stream) == site.name) {
    const size_t before = referee_->Of(stream).facts.size();
    referee_->Landed(stream, offset, record);
    const History& history = referee_->Of(stream);
    const bool accepted = history.facts.size() > before;
    Mix(record->data.size() * 2 + (accepted ? 1 : 0));
    if (options_.transcript) {
      const std::string link(events::HeaderValue(*record, "ce_id").substr(0, 8));
      Tell("{}@{} {} {} {} of {} for {}", stream, offset, accepted ? "accepts" : "voids",
           events::HeaderValue(*record, "ce_sequence"), link,
           events::HeaderValue(*record, "ce_type"), events::HeaderValue(*record, "ce_commandid"));
    }
    for (const auto& mirror : mirrors_) {
      if (names_[static_cast<size_t>(mirror->from)] == site.name) CarryLater(*mirror);
    }
  }
  for (const auto& node : site.nodes) {
    if (node->process != nullptr && !node->process->dead()) node->process->Touch();
  }
}

void World::Start(Node& node) {
  if (node.running != nullptr) return;
  SiteWorld& site = *sites_[static_cast<size_t>(node.site)];
  if (!storm_ && site.nodes[static_cast<size_t>(site.preferred)].get() != &node) return;
  if (node.process != nullptr) {
    processes_.push_back(std::move(node.process));
    logs_.push_back(std::move(node.log));
    clocks_.push_back(std::move(node.clock));
  }
  node.process = std::make_unique<Process>(
      scheduler_, fmt::format("{}.{}", node.name, ++incarnations_), random_.Next());
  node.process->skew = site.skew;
  node.process->tag = node.number;
  node.process->at_failpoint = [this, &node](std::string_view name) { AtFailpoint(node, name); };
  node.log = std::make_unique<storage::SimulatedLog>(*site.cluster, node.number);
  node.clock = std::make_unique<runtime::SystemClock>(*node.process);
  node::SiteParts parts;
  parts.machine = node.process.get();
  parts.target = site.target.get();
  parts.idle = kIdle;
  parts.open_store = [this, &node](
                         const std::string& dir,
                         storage::StoreUse use) -> absl::StatusOr<std::unique_ptr<storage::Store>> {
    if (options_.rocksdb_dir.empty()) return node.disk.Open(dir);
    return storage::OpenRocksDbStore(fmt::format("{}/{}{}", options_.rocksdb_dir, node.name, dir),
                                     use);
  };
  auto opened = node::Site::Open(config_, site.name, *node.log, *node.clock, std::move(parts));
  if (!opened.ok()) {
    // A full disk, for instance: it is tried again.
    Tell("{} does not start: {}", node.name, opened.status().ToString());
    node.process->Kill();
    After(absl::Seconds(5), [this, &node] { Start(node); });
    return;
  }
  node.running = *std::move(opened);
  node.stopping = false;
  node.unanswered = 0;
  node.heads.assign(node.running->folded().size(), -1);
  node.running->Run();
  Tell("{} starts as {}", node.name, node.process->name());
}

void World::Crash(Node& node, const std::string& why) {
  if (!node.up() || node.process->dead()) return;
  Tell("{} dies: {}", node.name, why);
  node.crash_at.clear();
  node.pause_at.clear();
  node.log->Kill();
  node.disk.Crash();
  const bool inside = scheduler_.in_fiber();
  node.process->Kill();
  // From inside, the fibers have to unwind first.
  if (inside) {
    After(absl::ZeroDuration(), [this, &node] { CleanUp(node); });
  } else {
    CleanUp(node);
  }
}

void World::CleanUp(Node& node) {
  node.running.reset();
  node.stopping = false;
}

void World::Stop(Node& node, absl::AnyInvocable<void()> then) {
  if (!node.responds()) return;
  Tell("{} is told to stop", node.name);
  node.stopping = true;
  Process* process = node.process.get();
  auto thread = process->Start("main", [this, &node, process, then = std::move(then)]() mutable {
    node.running->Stop();
    node.running.reset();
    node.log->Kill();
    node.stopping = false;
    Tell("{} has stopped", node.name);
    process->Kill();
    if (then) After(absl::ZeroDuration(), std::move(then));
  });
}

void World::RestartLater(Node& node) {
  SiteWorld& site = *sites_[static_cast<size_t>(node.site)];
  // The site's other machine takes over, or this one comes back.
  Node* next = &node;
  if (random_.OneIn(3)) {
    next = site.nodes[random_.Below(kNodes)].get();
    site.preferred = next == site.nodes[0].get() ? 0 : 1;
  }
  After(Between(absl::Milliseconds(50), absl::Seconds(20)), [this, next] { Start(*next); });
}

void World::AtFailpoint(Node& node, std::string_view failpoint) {
  if (!node.up()) return;
  if (node.crash_at == failpoint) {
    ++result_.crashes[std::string(failpoint)];
    Crash(node, fmt::format("at {}", failpoint));
    RestartLater(node);
    return;
  }
  if (node.pause_at != failpoint) return;
  ++result_.crashes["paused " + std::string(failpoint)];
  node.pause_at.clear();
  Tell("{} stops at {}", node.name, failpoint);
  Process* process = node.process.get();
  process->Pause();
  SiteWorld& site = *sites_[static_cast<size_t>(node.site)];
  Node& other = *site.nodes[node.name.back() == '0' ? 1 : 0];
  if (random_.OneIn(2)) {
    site.preferred = node.name.back() == '0' ? 1 : 0;
    After(Between(absl::Milliseconds(100), absl::Seconds(10)), [this, &other] { Start(other); });
  }
  After(Between(absl::Seconds(1), absl::Minutes(4)), [this, process, &node] {
    if (node.process.get() != process || process->dead()) return;
    Tell("{} wakes up", node.name);
    process->Continue();
  });
}

void World::Ran(Process& process) {
  Node& node = *nodes_[static_cast<size_t>(process.tag)];
  if (node.process.get() == &process && node.up() && !process.dead()) CheckHeads(node);
}

void World::CheckHeads(Node& node) {
  const auto& folded = node.running->folded();
  for (size_t i = 0; i < folded.size(); ++i) {
    const events::Head& head = folded[i]->projection->chain().head();
    if (head.sequence == node.heads[i]) continue;
    if (head.sequence < node.heads[i]) {
      Violation("heads-go-on", fmt::format("{} went back from {} to {} in {}", node.name,
                                           node.heads[i], head.sequence, folded[i]->stream));
    }
    node.heads[i] = head.sequence;
    referee_->Folded(node.name, folded[i]->stream, head.sequence, head.link);
  }
}

void World::CarryLater(Mirror& mirror) {
  if (mirror.scheduled || mirror.cut || mirror.down) return;
  mirror.scheduled = true;
  After(Between(absl::Milliseconds(5),
                random_.OneIn(20) ? absl::Seconds(5) : absl::Milliseconds(300)),
        [this, &mirror] { Carry(mirror); });
}

void World::Carry(Mirror& mirror) {
  mirror.scheduled = false;
  if (mirror.cut || mirror.down) return;
  SimulatedCluster& from = *sites_[static_cast<size_t>(mirror.from)]->cluster;
  SimulatedCluster& to = *sites_[static_cast<size_t>(mirror.to)]->cluster;
  bool more = false;
  for (const std::string& service : config_.services) {
    const std::string stream =
        events::StreamName(names_[static_cast<size_t>(mirror.from)], service);
    int64_t& position = mirror.position[stream];
    const int64_t end = from.End(stream);
    for (int n = 0; position < end && n < 100; ++n) {
      to.Land(stream, from.At(stream, position));
      // Sent twice, for its producer got no answer.
      if (storm_ && random_.OneIn(500)) {
        to.Land(stream, from.At(stream, position));
        Count("mirror-doubled");
      }
      ++position;
    }
    more = more || position < end;
    if (random_.OneIn(4)) mirror.saved[stream] = position;
  }
  if (more) CarryLater(mirror);
}

void World::Ask(SiteWorld& site, bool alone) {
  auto operation = std::make_shared<Operation>();
  operation->alone = alone;
  operation->site = site.index;
  std::deque<Request>& setup = site.workload->setup();
  if (!setup.empty()) {
    operation->request = std::move(setup.front());
    setup.pop_front();
    operation->setup = true;
    ++site.setup_open;
  } else {
    operation->request = site.workload->Next(scheduler_.Now() + site.skew);
    operation->validate_only = random_.OneIn(20);
    ++site.asked;
  }
  operation->id = fmt::format("op-{}", ++next_operation_);
  auto command = std::unique_ptr<google::protobuf::Message>(operation->request.command->New());
  command->CopyFrom(*operation->request.command);
  runtime::ClearSubmit(*command);
  operation->digest = runtime::CommandDigest(*command);
  ++site.open;
  Send(operation);
}

void World::Send(const std::shared_ptr<Operation>& operation) {
  if (operation->over) return;
  SiteWorld& site = *sites_[static_cast<size_t>(operation->site)];
  const int attempt = ++operation->attempt;
  Node* node = site.nodes[static_cast<size_t>(site.preferred)].get();
  // Callers may still know the other machine, whether or not it has been replaced.
  if (!node->responds() || random_.OneIn(30)) {
    for (const auto& other : site.nodes) {
      if (other.get() != node && other->responds()) node = other.get();
    }
  }
  const absl::Duration patience = Between(absl::Seconds(1), absl::Seconds(20));
  const auto again = [this, operation, attempt] {
    if (!operation->over && operation->attempt == attempt) Send(operation);
  };
  After(patience, again);
  node::Folded* home = node->responds() ? node->running->Home(operation->request.service) : nullptr;
  if (home == nullptr) return;
  runtime::Submission submission;
  submission.command.reset(operation->request.command->New());
  submission.command->CopyFrom(*operation->request.command);
  const absl::Status valid = home->engine->Validate(*submission.command);
  if (!valid.ok()) {
    Violation("workload", std::string(valid.message()));
    return End(operation, "invalid");
  }
  submission.command_id = operation->id;
  submission.actor = "caller";
  submission.validate_only = operation->validate_only;
  if (random_.OneIn(4)) submission.deadline = node->process->Now() + patience;
  const auto callback = [&]() -> runtime::AnswerCallback {
    ++node->unanswered;
    auto answered = std::make_shared<bool>(false);
    return [this, operation, attempt, answered, node,
            process = node->process.get()](absl::StatusOr<type::v1::Outcome> outcome) {
      if (std::exchange(*answered, true)) Violation("answered-once", operation->id);
      if (node->process.get() == process) --node->unanswered;
      // On its way to the caller.
      After(Between(absl::Microseconds(50), absl::Milliseconds(5)),
            [this, operation, attempt, outcome = std::move(outcome)] {
              Answered(operation, attempt, outcome);
            });
    };
  };
  // The same sent twice, by a caller that does not wait.
  if (random_.OneIn(10) && !operation->validate_only) {
    runtime::Submission twin;
    twin.command.reset(submission.command->New());
    twin.command->CopyFrom(*submission.command);
    twin.command_id = submission.command_id;
    twin.actor = submission.actor;
    Count("request-doubled");
    After(Between(absl::ZeroDuration(), absl::Milliseconds(20)),
          [this, node, process = node->process.get(), callback = callback(), twin = std::move(twin),
           service = operation->request.service]() mutable {
            if (node->process.get() != process) return;
            if (!node->responds()) {
              --node->unanswered;
              return;
            }
            twin.done = std::move(callback);
            node->running->Home(service)->writer->Submit(std::move(twin));
            process->Touch();
          });
  }
  submission.done = callback();
  home->writer->Submit(std::move(submission));
  node->process->Touch();
}

void World::Answered(const std::shared_ptr<Operation>& operation, int attempt,
                     const absl::StatusOr<type::v1::Outcome>& outcome) {
  Mix(static_cast<uint64_t>(outcome.status().code()) * 31 + next_operation_);
  if (outcome.ok() && !outcome->validated_only()) {
    referee_->Acknowledged("caller", operation->digest, *outcome);
  }
  if (operation->over) return;
  if (!outcome.ok()) {
    ++result_.answers[absl::StatusCodeToString(outcome.status().code())];
    if (absl::IsAlreadyExists(outcome.status()) || absl::IsInvalidArgument(outcome.status())) {
      Violation("answers", outcome.status().ToString());
      return End(operation, "refused by the runtime");
    }
    // Nobody knows: the same is asked again.
    if (operation->attempt == attempt) {
      After(Between(absl::Milliseconds(10), absl::Seconds(5)), [this, operation, attempt] {
        if (operation->attempt == attempt) Send(operation);
      });
    }
    return;
  }
  ++result_.answers[outcome->reason().empty() ? "ok" : outcome->reason()];
  if (outcome->repeated()) ++result_.answers["repeated"];
  if (!outcome->validated_only())
    sites_[static_cast<size_t>(operation->site)]->workload->Learn(outcome->event_type(),
                                                                  outcome->subject());
  End(operation, outcome->reason().empty() ? outcome->event_type() : outcome->reason());
}

void World::End(const std::shared_ptr<Operation>& operation, const std::string& how) {
  SiteWorld& site = *sites_[static_cast<size_t>(operation->site)];
  operation->over = true;
  --site.open;
  if (operation->setup) --site.setup_open;
  Tell("{} {} {}: {}", site.name, operation->id,
       operation->request.command->GetDescriptor()->full_name(), how);
  if (!site.workload->setup().empty()) {
    // One after the other: each builds on the last.
    if (site.setup_open == 0) Ask(site);
    return;
  }
  if (operation->setup && site.setup_open == 0) {
    for (int caller = 0; caller < 3 && site.asked < requests_; ++caller) Ask(site);
    return;
  }
  if (site.asked >= requests_ || !operation->alone) return;
  After(Between(absl::Milliseconds(1), absl::Seconds(14)), [this, &site] {
    // Now and then many at once, so that groups are large.
    const uint64_t burst = random_.OneIn(4) ? 1 + random_.Below(12) : 1;
    for (uint64_t i = 0; i < burst && site.asked < requests_ && (i == 0 || site.open < kMostOpen);
         ++i)
      Ask(site, i == 0);
  });
}

void World::Strike() {
  if (!storm_ || enabled_.empty()) return;
  Do(enabled_[random_.Below(enabled_.size())]);
  After(Between(absl::Milliseconds(100), absl::Seconds(25)), [this] { Strike(); });
}

void World::Do(Fault fault) {
  Node& node = *nodes_[random_.Below(nodes_.size())];
  SiteWorld& site = *sites_[static_cast<size_t>(node.site)];
  Mirror& mirror = *mirrors_[random_.Below(mirrors_.size())];
  const int other = node.name.back() == '0' ? 1 : 0;
  const bool of_node = fault == Fault::kCrash || fault == Fault::kCrashAtFailpoint ||
                       fault == Fault::kPauseAtFailpoint || fault == Fault::kPause ||
                       fault == Fault::kRestart || fault == Fault::kCutFromBrokers;
  if (of_node && !node.responds()) return;
  Count(NameOf(fault));
  Tell("fault: {} at {}", NameOf(fault), node.name);
  Process* process = node.process.get();
  switch (fault) {
    case Fault::kCrash:
      Crash(node, "killed");
      return RestartLater(node);
    case Fault::kCrashAtFailpoint:
      // Most often where most is owed: commands that follow are issued, and not in the log yet.
      node.crash_at =
          random_.OneIn(4) ? "after_issue" : kFailpoints[random_.Below(std::size(kFailpoints))];
      return;
    case Fault::kPauseAtFailpoint:
      node.pause_at = kFailpoints[random_.Below(std::size(kFailpoints))];
      return;
    case Fault::kPause:
      process->Pause();
      if (random_.OneIn(2)) {
        site.preferred = other;
        After(Between(absl::Milliseconds(100), absl::Seconds(10)),
              [this, &site, other] { Start(*site.nodes[static_cast<size_t>(other)]); });
      }
      After(Between(absl::Milliseconds(100), absl::Minutes(4)), [this, process, &node] {
        if (node.process.get() != process || process->dead()) return;
        Tell("{} goes on", node.name);
        process->Continue();
      });
      return;
    case Fault::kRestart:
      return Stop(node, [this, &node] { Start(node); });
    case Fault::kSecondWriter: {
      Node& second = *site.nodes[static_cast<size_t>(other)];
      Start(second);
      if (random_.OneIn(2)) site.preferred = other;
      After(Between(absl::Seconds(1), absl::Minutes(1)), [this, &second, &node] {
        // One of them leaves.
        if (!storm_ || !second.up() || !node.up()) return;
        Crash(random_.OneIn(2) ? second : node, "one of two");
      });
      return;
    }
    case Fault::kCutFromBrokers: {
      node.log->SetReachable(false);
      storage::SimulatedLog* log = node.log.get();
      After(Between(absl::Milliseconds(100), absl::Minutes(1)), [this, log, &node, process] {
        if (node.process.get() != process || process->dead()) return;
        Tell("{} reaches its brokers again", node.name);
        log->SetReachable(true);
        process->Touch();
      });
      return;
    }
    case Fault::kMirrorKilled:
      // It goes on where it last said that it was.
      mirror.position = mirror.saved;
      return CarryLater(mirror);
    case Fault::kMirrorStopped:
      mirror.down = true;
      After(Between(absl::Seconds(1), absl::Minutes(2)), [this, &mirror] {
        mirror.down = false;
        CarryLater(mirror);
      });
      return;
    case Fault::kLinkCut: {
      // One way, or both.
      const bool both = random_.OneIn(2);
      for (const auto& one : mirrors_) {
        const bool same = one.get() == &mirror;
        const bool reverse = one->from == mirror.to && one->to == mirror.from;
        if (!same && !(both && reverse)) continue;
        one->cut = true;
        After(Between(absl::Seconds(1), absl::Minutes(2)), [this, raw = one.get()] {
          raw->cut = false;
          CarryLater(*raw);
        });
      }
      return;
    }
    case Fault::kClockStep: {
      const absl::Duration step =
          Between(absl::Milliseconds(1), absl::Hours(2)) * (random_.OneIn(2) ? 1 : -1);
      site.skew += step;
      Tell("{}: the clock steps by {}", site.name, absl::FormatDuration(step));
      for (const auto& each : site.nodes) {
        if (each->process != nullptr) each->process->skew += step;
      }
      return;
    }
    case Fault::kClockSkew:
      site.skew += Between(absl::ZeroDuration(), absl::Seconds(2)) * (random_.OneIn(2) ? 1 : -1);
      if (process != nullptr) process->skew = site.skew;
      return;
    case Fault::kDiskFull:
    case Fault::kDiskFails:
      node.disk.Fail(fault == Fault::kDiskFull ? absl::ResourceExhaustedError("the disk is full")
                                               : absl::UnavailableError("the disk fails"));
      After(Between(absl::Seconds(1), absl::Seconds(40)),
            [&node] { node.disk.Fail(absl::OkStatus()); });
      return;
    case Fault::kOldSnapshot:
      // The first time a copy is made, the next time it is put back.
      if (node.old.empty()) {
        node.old = node.disk.Durable();
        return;
      }
      if (node.responds()) Crash(node, "its disk is put back");
      if (node.running != nullptr) return;
      node.disk.Restore(node.old);
      node.old.clear();
      return RestartLater(node);
    case Fault::kDiskLost:
      if (node.responds()) Crash(node, "its disk is lost");
      if (node.running != nullptr) return;
      node.disk.Restore({});
      return RestartLater(node);
    case Fault::kBrokerTrouble:
      trouble_until_ = scheduler_.Steady() + Between(absl::Seconds(1), absl::Seconds(30));
      return;
    case Fault::kCount:
      return;
  }
}

// Everything works again; one machine a site goes on, with a clock that is trusted.
void World::Heal() {
  storm_ = false;
  Tell("everything is healed");
  for (const auto& mirror : mirrors_) {
    mirror->cut = false;
    mirror->down = false;
    CarryLater(*mirror);
  }
  for (const auto& site : sites_) {
    for (const auto& node : site->nodes) {
      node->disk.Fail(absl::OkStatus());
      node->crash_at.clear();
      node->pause_at.clear();
      if (node->running == nullptr) continue;
      node->log->SetReachable(true);
      node->process->Continue();
      if (random_.OneIn(2) && !node->stopping) Crash(*node, "for the last time");
    }
    site->preferred = static_cast<int>(random_.Below(kNodes));
  }
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

bool World::Quiet(std::string* why) {
  for (const auto& site : sites_) {
    Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
    if (!node.responds()) {
      *why = node.name + " is down";
      return false;
    }
    if (node.unanswered > 0) {
      *why = fmt::format("{} has not answered {} submissions", node.name, node.unanswered);
      return false;
    }
    for (const auto& folded : node.running->folded()) {
      const History& history = referee_->Of(folded->stream);
      const events::Chain& chain = folded->projection->chain();
      if (chain.head().sequence + 1 != static_cast<int64_t>(history.facts.size())) {
        *why = fmt::format("{} has folded {} up to {} of {}", node.name, folded->stream,
                           chain.head().sequence, history.facts.size());
        return false;
      }
      if (folded->home() && folded->writer->View().state != runtime::WriterState::kWriting) {
        *why = fmt::format("{}: {}", folded->stream, folded->writer->View().alarm);
        return false;
      }
    }
    if (site->open > 0) {
      *why = fmt::format("{} callers wait at {}", site->open, site->name);
      return false;
    }
    for (const auto& feed : node.running->feeds()) {
      if (feed->View().next_offset == site->cluster->End(feed->stream())) continue;
      *why = fmt::format("{} has not reacted to all of {}", node.name, feed->stream());
      return false;
    }
  }
  return true;
}

void World::CheckFold(const History& history) {
  storage::MemoryDisk disk;
  auto projection = storage::Projection::Open(*disk.Open("fresh"), history.stream,
                                              events::Chain::Origin::kHome, "1");
  const auto engine = node::NewEngine(events::ServiceOf(history.stream), (*projection)->journal());
  runtime::Fold fold(*engine, **projection, events::SiteOf(history.stream));
  for (const Fact& fact : history.facts) {
    runtime::MessagePtr event;
    if (fact.attributes.data_type == engine->event_type()->full_name())
      event = *runtime::ParseEvent(engine->event_type(), fact.record->data);
    fold.Evolve(event.get(), fact.attributes);
    fold.TakePending();
  }
  (*projection)->Commit(history.facts.size()).IgnoreError();
  const std::vector<runtime::Pending> open = fold.StoredPending();
  if (!open.empty()) {
    Violation("reactions-kept",
              fmt::format("{}: {} follow-up commands were never decided, the first is {}",
                          history.stream, open.size(), open.front().command_id));
  }
  const auto rows_of = [](const storage::Projection& rows) {
    std::vector<std::pair<std::string, std::string>> all;
    rows.Scan(std::string_view("\x01", 1), [&](std::string_view key, std::string_view value) {
      all.emplace_back(key, value);
      return true;
    });
    return all;
  };
  const auto fresh = rows_of(**projection);
  for (const auto& site : sites_) {
    Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
    for (const auto& folded : node.running->folded()) {
      if (folded->stream != history.stream) continue;
      if (rows_of(*folded->projection) == fresh &&
          folded->projection->digests() == (*projection)->digests())
        continue;
      Violation("equals-a-fresh-fold",
                fmt::format("{}: the rows of {} differ", history.stream, node.name));
    }
  }
}

// Every event that somebody follows has led to its commands.
void World::CheckReactions() {
  for (const auto& site : sites_) {
    Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
    for (const auto& service : config_.services) {
      const node::Folded& home = *node.running->Home(service);
      const auto followed = home.engine->followed();
      const History& own = referee_->Of(home.stream);
      for (const auto& [stream, history] : referee_->histories()) {
        const std::string origin = events::SiteOf(stream);
        for (const google::protobuf::Descriptor* type : followed) {
          const bool peers = type == home.engine->event_type();
          if (peers == (origin == site->name)) continue;
          for (const Fact& fact : history.facts) {
            if (fact.attributes.data_type != type->full_name()) continue;
            const auto event = runtime::ParseEvent(type, fact.record->data);
            for (const runtime::AnyIntent& intent : home.engine->ReactToOther(
                     **event, fact.attributes, {stream, origin, site->name})) {
              const std::string id =
                  runtime::ReactionId({stream, fact.attributes.sequence, fact.attributes.id},
                                      intent.kind, intent.subject);
              if (own.commands.contains({fmt::format("{}{}", runtime::kSystemActor, service), id}))
                continue;
              Violation("reactions-kept", fmt::format("{}: {} was never decided", home.stream, id));
            }
          }
        }
      }
    }
  }
}

void World::CheckAtTheEnd() {
  for (const auto& [stream, history] : referee_->histories()) CheckFold(history);
  CheckReactions();
  const std::string torn = referee_->bundles().Unsettled();
  if (!torn.empty()) Violation("all-or-none", torn);
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
      Start(node);
    }
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
  result_.switches = scheduler_.switches();
  result_.simulated_seconds = absl::ToDoubleSeconds(scheduler_.Steady());
  for (const auto& [stream, history] : referee_->histories()) {
    Mix(history.facts.size());
    if (!history.facts.empty()) Mix(history.facts.back().attributes.id.bytes[0]);
  }
  return std::move(result_);
}

}  // namespace

WorldResult RunWorld(const WorldOptions& options) {
  World world(options);
  return world.Run();
}

}  // namespace concordat::simulation
