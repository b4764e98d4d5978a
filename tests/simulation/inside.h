// The inside of a world: its machines, brokers, mirrors and callers, and the class that moves them.
// Law: one file for each of the things that happen: callers.cc, nodes.cc, peers.cc, mirrors.cc,
// faults.cc, operators.cc, checks.cc; world.cc builds it and runs it to its end.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/time/time.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "services/node/site.h"
#include "services/runtime/clock.h"
#include "storage/log/simulated.h"
#include "storage/projection/memory_store.h"
#include "tests/simulation/referee.h"
#include "tests/simulation/scheduler.h"
#include "tests/simulation/workload.h"
#include "tests/simulation/world.h"

namespace concordat::simulation {

constexpr int kNodes = 2;  // machines a site

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
  bool old_release = false;        // the program that is installed; see KnownToOld()
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
  std::unique_ptr<storage::SimulatedCluster> cluster;
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
  std::map<std::string, uint64_t> skips;  // how many records it is about to leave out
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
  kReleaseChanged,
  kMirrorGap,
  kLogLost,
  kCount,
};

const char* NameOf(Fault fault);

// Whether the older of two releases has such a command.
bool KnownToOld(const google::protobuf::Message& command);

class World {
 public:
  explicit World(const WorldOptions& options)
      : options_(options), scheduler_(options.seed), random_(scheduler_.random()) {}
  ~World();

  WorldResult Run();

 private:
  class Peer;

  template <typename... Args>
  void Tell(fmt::format_string<Args...> format, Args&&... args) {
    if (!options_.transcript) return;
    TellLine(fmt::format(format, std::forward<Args>(args)...));
  }
  void TellLine(std::string line);
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
  storage::SimulatedFate FateOf(const std::string& stream, size_t records);
  void Landed(SiteWorld& site, const std::string& stream, int64_t offset,
              const storage::SimulatedCluster::Stored& record);

  void Start(Node& node);
  void DieSoon(Node& node);
  void Crash(Node& node, const std::string& why);
  void CleanUp(Node& node);
  void Stop(Node& node, absl::AnyInvocable<void()> then);
  void RestartLater(Node& node);
  void Ran(Process& process);
  void AtFailpoint(Node& node, std::string_view failpoint);
  void CheckHeads(Node& node);
  void AddPeers(Node& node);
  bool KnowsNow(const google::protobuf::FieldDescriptor& event) const;

  void CarryLater(Mirror& mirror);
  void Carry(Mirror& mirror);
  void CarryAnew(const std::string& stream, int to);

  void Ask(SiteWorld& site, bool alone = true);
  void Send(const std::shared_ptr<Operation>& operation);
  void Answered(const std::shared_ptr<Operation>& operation, int attempt,
                const absl::StatusOr<type::v1::Outcome>& outcome);
  void End(const std::shared_ptr<Operation>& operation, const std::string& how);

  void Strike();
  // Counts what took effect.
  void Do(Fault fault);
  void PutBack(Node& node);
  void LoseLog(SiteWorld& site);
  bool AllKnowTheEnd(const SiteWorld& site, const std::string& stream) const;
  bool HeldElsewhere(const SiteWorld& site, const std::string& stream) const;
  // Whether a site's copy has taken a loser, as `concordat verify` shows.
  bool TookLoser(int site, const std::string& stream, const events::Head& head) const;
  bool SomeTookLoser(const std::string& stream) const;
  // What has landed may have made a log whole that had lost something.
  void LookWhetherWhole(SiteWorld& site, const std::string& stream);
  static std::vector<storage::SimulatedCluster::Stored> LogOf(const SiteWorld& site,
                                                              const std::string& stream);
  void Heal();

  void Oversee();
  bool Mend(SiteWorld& site, Node& node, const node::StreamState& state);
  void Discard(Node& node, const std::vector<std::string>& names);
  void DiscardAll(Node& node);
  void StopAll(SiteWorld& site);
  void StartAgain(SiteWorld& site);
  void MakeCopyAnew(SiteWorld& site, const std::string& stream);
  void MakeHomeAnew(SiteWorld& site, const std::string& stream);
  // Whether it has another one now, or will have.
  bool ChangeRelease(Node& node, bool to_old);

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
  // Logs that have lost what their homes accepted, until it stands in them again.
  std::set<std::string> lost_;
  // By site and stream, the copies that a mirror has left records out of. Such a copy may take a
  // loser for the winner that it was not given.
  std::set<std::pair<int, std::string>> holes_;
  // Streams whose home was held up by such a copy, which is being made anew.
  std::set<std::string> held_up_;
  // By site and stream, since when a copy has a gap.
  std::map<std::pair<int, std::string>, absl::Duration> gaps_;
  uint64_t next_operation_ = 0;
  uint64_t incarnations_ = 0;
  int requests_ = 0;
  // When a request arrives that the next one of its stream overtakes.
  std::map<std::string, absl::Duration> overtaken_;
  absl::Duration trouble_until_;
  bool storm_ = true;  // faults happen
  bool Enabled(Fault fault) const {
    return std::find(enabled_.begin(), enabled_.end(), fault) != enabled_.end();
  }
};

}  // namespace concordat::simulation
