// Machines: processes that start, die, stop, and reach failpoints.
#include "tests/simulation/inside.h"

#include "storage/projection/rocksdb_store.h"

namespace concordat::simulation {
namespace {

// Long enough that a world is mostly about what happens, and not about threads that look in vain.
constexpr absl::Duration kIdle = absl::Seconds(1);

}  // namespace

void World::Start(Node& node) {
  if (node.running != nullptr) return;
  SiteWorld& site = *sites_[static_cast<size_t>(node.site)];
  if (!storm_ && site.nodes[static_cast<size_t>(site.preferred)].get() != &node) return;
  // Nobody fills a log under a process that may wake up and write on where it stopped
  // (docs/operations/recover.md).
  const bool lost = std::any_of(lost_.begin(), lost_.end(), [&](const std::string& stream) {
    return events::SiteOf(stream) == site.name;
  });
  for (const auto& other : site.nodes) {
    if (lost && other.get() != &node) Crash(*other, "its log is about to be filled");
  }
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
  if (node.old_release) parts.release = {"older", "0"};
  parts.open_store = [this, &node](
                         const std::string& dir,
                         storage::StoreUse use) -> absl::StatusOr<std::unique_ptr<storage::Store>> {
    if (options_.rocksdb_dir.empty()) return node.disk.Open(dir);
    // Small, so that files are written and merged in a short life too.
    return storage::OpenRocksDbStore(fmt::format("{}/{}{}", options_.rocksdb_dir, node.name, dir),
                                     use, 256 << 10);
  };
  auto opened = node::Site::Open(config_, site.name, *node.log, *node.clock, std::move(parts));
  if (!opened.ok()) {
    // A full disk, for instance: it is tried again.
    Tell("{} does not start: {}", node.name, opened.status().ToString());
    node.process->Kill();
    if (opened.status().message().find("has the layout") != std::string::npos) {
      Count("layout-changed");
      DiscardAll(node);
    }
    After(absl::Seconds(5), [this, &node] { Start(node); });
    return;
  }
  node.running = *std::move(opened);
  AddPeers(node);
  node.stopping = false;
  node.unanswered = 0;
  node.heads.assign(node.running->folded().size(), -1);
  if (!options_.dies_at.empty()) DieSoon(node);
  node.running->Run();
  Tell("{} starts as {}", node.name, node.process->name());
}

// At once, or where it may have to come further first, after a while.
void World::DieSoon(Node& node) {
  const auto arm = [this, process = node.process.get(), &node] {
    if (storm_ && node.process.get() == process) node.crash_at = options_.dies_at;
  };
  if (random_.OneIn(2)) return arm();
  After(Between(absl::Milliseconds(100), absl::Seconds(20)), arm);
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

// Asked while events are read, mostly by a fiber of some process; the referee knows everything.
bool World::KnowsNow(const google::protobuf::FieldDescriptor& event) const {
  const Process* process = scheduler_.running_process();
  if (process == nullptr || !nodes_[static_cast<size_t>(process->tag)]->old_release) return true;
  return event.number() < kFirstNew;
}

bool KnownToOld(const google::protobuf::Message& command) {
  const auto* field = command.GetReflection()->GetOneofFieldDescriptor(
      command, command.GetDescriptor()->oneof_decl(0));
  return field == nullptr || field->number() < kFirstNew;
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
  static const auto* const known = [] {
    const std::vector<std::string> names = FailpointNames();
    return new std::set<std::string, std::less<>>(names.begin(), names.end());
  }();
  if (!known->contains(failpoint))
    Violation("failpoints", fmt::format("{} is no place that is known", failpoint));
  if (!node.up()) return;
  if (node.crash_at == failpoint) {
    Count(NameOf(Fault::kCrashAtFailpoint));
    ++result_.crashes[std::string(failpoint)];
    Crash(node, fmt::format("at {}", failpoint));
    RestartLater(node);
    return;
  }
  if (node.pause_at != failpoint) return;
  Count(NameOf(Fault::kPauseAtFailpoint));
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

}  // namespace concordat::simulation
