// What goes wrong, and that it ends.
#include "tests/simulation/inside.h"

#include <algorithm>

namespace concordat::simulation {

using storage::SimulatedCluster;
using storage::SimulatedFate;

namespace {

const char* const kFailpoints[] = {
    "after_append", "after_decide", "before_reports",  "after_reports",  "before_commit",
    "after_commit", "after_react",  "before_flush",    "after_flush",    "before_recovery",
    "before_claim", "after_claim",  "before_readback", "after_readback", "before_resolve",
    "after_start",  "after_issue",  "before_batch",    "after_batch",    "before_note",
    "before_answer"};

}  // namespace

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
    case Fault::kReleaseChanged:
      return "release-changed";
    case Fault::kMirrorGap:
      return "mirror-gap";
    case Fault::kLogLost:
      return "log-lost";
    case Fault::kCount:
      break;
  }
  return "";
}

std::vector<std::string> FaultNames() {
  std::vector<std::string> names;
  for (int i = 0; i < static_cast<int>(Fault::kCount); ++i)
    names.emplace_back(NameOf(static_cast<Fault>(i)));
  return names;
}

std::vector<std::string> FailpointNames() {
  return {std::begin(kFailpoints), std::end(kFailpoints)};
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
  // These are faults of the disk in memory.
  const bool of_memory = fault == Fault::kDiskFull || fault == Fault::kDiskFails ||
                         fault == Fault::kOldSnapshot || fault == Fault::kDiskLost;
  if (of_memory && !options_.rocksdb_dir.empty()) return;
  const auto happens = [&] {
    Count(NameOf(fault));
    Tell("fault: {} at {}", NameOf(fault), node.name);
  };
  Process* process = node.process.get();
  switch (fault) {
    case Fault::kCrash:
      happens();
      Crash(node, "killed");
      return RestartLater(node);
    case Fault::kCrashAtFailpoint:
      // Most often where most is owed: commands that follow are issued, and not in the log yet. It
      // counts where it is reached.
      node.crash_at =
          random_.OneIn(4) ? "after_issue" : kFailpoints[random_.Below(std::size(kFailpoints))];
      if (!options_.dies_at.empty()) node.crash_at = options_.dies_at;
      return;
    case Fault::kPauseAtFailpoint:
      node.pause_at = kFailpoints[random_.Below(std::size(kFailpoints))];
      return;
    case Fault::kPause:
      happens();
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
      happens();
      return Stop(node, [this, &node] { Start(node); });
    case Fault::kSecondWriter: {
      Node& second = *site.nodes[static_cast<size_t>(other)];
      const bool was_up = second.running != nullptr;
      Start(second);
      if (!was_up && second.running != nullptr && node.up()) happens();
      if (random_.OneIn(2)) site.preferred = other;
      After(Between(absl::Seconds(1), absl::Minutes(1)), [this, &second, &node] {
        // One of them leaves.
        if (!storm_ || !second.up() || !node.up()) return;
        Crash(random_.OneIn(2) ? second : node, "one of two");
      });
      return;
    }
    case Fault::kCutFromBrokers: {
      happens();
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
      happens();
      mirror.position = mirror.saved;
      return CarryLater(mirror);
    case Fault::kMirrorStopped:
      if (!mirror.down) happens();
      mirror.down = true;
      After(Between(absl::Seconds(1), absl::Minutes(2)), [this, &mirror] {
        mirror.down = false;
        CarryLater(mirror);
      });
      return;
    case Fault::kLinkCut: {
      // One way, or both.
      const bool both = random_.OneIn(2);
      if (!mirror.cut) happens();
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
      happens();
      Tell("{}: the clock steps by {}", site.name, absl::FormatDuration(step));
      for (const auto& each : site.nodes) {
        if (each->process != nullptr) each->process->skew += step;
      }
      return;
    }
    case Fault::kClockSkew:
      happens();
      site.skew += Between(absl::ZeroDuration(), absl::Seconds(2)) * (random_.OneIn(2) ? 1 : -1);
      if (process != nullptr) process->skew = site.skew;
      return;
    case Fault::kDiskFull:
    case Fault::kDiskFails:
      happens();
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
      happens();
      PutBack(node);
      return RestartLater(node);
    case Fault::kDiskLost:
      if (node.responds()) Crash(node, "its disk is lost");
      if (node.running != nullptr) return;
      happens();
      node.disk.Restore({});
      return RestartLater(node);
    case Fault::kBrokerTrouble:
      happens();
      trouble_until_ = scheduler_.Steady() + Between(absl::Seconds(1), absl::Seconds(30));
      return;
    case Fault::kReleaseChanged:
      // Mostly forwards; now and then somebody goes back.
      if (ChangeRelease(node, !node.old_release && random_.OneIn(2))) happens();
      return;
    case Fault::kMirrorGap: {
      // It counts where something is left out.
      const auto& services = config_.services;
      const std::string stream = events::StreamName(names_[static_cast<size_t>(mirror.from)],
                                                    services[random_.Below(services.size())]);
      mirror.skips[stream] = 1 + random_.Below(20);
      // It starts again from an earlier offset, before or after somebody has seen the gap.
      After(Between(absl::Milliseconds(100), absl::Minutes(2)), [this, &mirror, stream] {
        mirror.skips.erase(stream);
        int64_t& position = mirror.position[stream];
        position -= static_cast<int64_t>(random_.Below(static_cast<uint64_t>(position) + 1));
        mirror.saved[stream] = position;
        CarryLater(mirror);
      });
      return;
    }
    case Fault::kLogLost:
      return LoseLog(site);
    case Fault::kCount:
      return;
  }
}

// All of a disk, or one store of it, as it was when it was copied.
void World::PutBack(Node& node) {
  storage::MemoryDisk::Image image = std::exchange(node.old, {});
  if (random_.OneIn(2)) {
    storage::MemoryDisk::Image now = node.disk.Durable();
    auto one = image.begin();
    std::advance(one, random_.Below(image.size()));
    Tell("{}: {} alone is put back", node.name, one->first);
    Count("one-store-put-back");
    now[one->first] = std::move(one->second);
    image = std::move(now);
  }
  node.disk.Restore(image);
}

// Behind the backs of two processes, or of one that knows less than its log held, a log that is cut
// may end where one of them expects it, which writes on: the check is made by who starts
// (docs/adr/0020-home-check.md).
bool World::AllKnowTheEnd(const SiteWorld& site, const std::string& stream) const {
  const auto accepted = static_cast<int64_t>(referee_->Of(stream).facts.size());
  int alive = 0;
  for (const auto& node : site.nodes) {
    if (node->running == nullptr) continue;
    const node::Folded* home = node->running->Home(std::string(events::ServiceOf(stream)));
    if (++alive > 1 || home->projection->chain().head().sequence + 1 != accepted) return false;
  }
  return true;
}

// Whether another site can give everything that the stream's home has accepted.
bool World::HeldElsewhere(const SiteWorld& site, const std::string& stream) const {
  const auto accepted = static_cast<int64_t>(referee_->Of(stream).facts.size());
  for (const auto& other : sites_) {
    if (other.get() == &site) continue;
    for (const auto& node : other->nodes) {
      if (!node->responds()) continue;
      const auto chain =
          node->running->archive()->ChainOf(stream, events::Chain::Origin::kMirrored);
      // What else came with them does not matter: a suspect or forked copy can give them too.
      if (chain.ok() && accepted > 0 && chain->head().sequence + 1 == accepted &&
          chain->head().link == referee_->Of(stream).facts.back().attributes.id)
        return true;
    }
  }
  return false;
}

bool World::TookLoser(int site, const std::string& stream, const events::Head& head) const {
  return holes_.contains({site, stream}) && head.sequence >= 0 &&
         referee_->IsVoid(stream, head.link);
}

bool World::SomeTookLoser(const std::string& stream) const {
  for (const auto& [site, copied] : holes_) {
    if (copied != stream) continue;
    for (const auto& node : sites_[static_cast<size_t>(site)]->nodes) {
      if (!node->responds()) continue;
      const auto chain =
          node->running->archive()->ChainOf(stream, events::Chain::Origin::kMirrored);
      if (chain.ok() && TookLoser(site, stream, chain->head())) return true;
    }
  }
  return false;
}

// The brokers' disks come from a backup, under whoever is writing. Only what another site has seen
// is lost: what nobody else has is gone, and no invariant could hold.
void World::LoseLog(SiteWorld& site) {
  for (const std::string& service : config_.services) {
    const std::string stream = events::StreamName(site.name, service);
    if (random_.OneIn(2) || lost_.contains(stream) || referee_->Of(stream).facts.empty() ||
        !HeldElsewhere(site, stream) || !AllKnowTheEnd(site, stream))
      continue;
    const int64_t end = site.cluster->End(stream);
    const int64_t keeps =
        random_.OneIn(4) ? 0
                         : std::max<int64_t>(0, end - 1 - static_cast<int64_t>(random_.Below(60)));
    Tell("{} loses what stood from offset {} on, of {}", stream, keeps, end);
    Count(NameOf(Fault::kLogLost));
    site.cluster->Lose(stream, keeps);
    lost_.insert(stream);
    referee_->Lost(stream);
  }
  for (const auto& node : site.nodes) {
    if (node->process != nullptr && !node->process->dead()) node->process->Touch();
  }
}

std::vector<SimulatedCluster::Stored> World::LogOf(const SiteWorld& site,
                                                   const std::string& stream) {
  std::vector<SimulatedCluster::Stored> log;
  for (int64_t offset = 0; offset < site.cluster->End(stream); ++offset)
    log.push_back(site.cluster->At(stream, offset));
  return log;
}

void World::LookWhetherWhole(SiteWorld& site, const std::string& stream) {
  if (!referee_->Whole(stream, LogOf(site, stream))) return;
  Tell("{} is whole again", stream);
  lost_.erase(stream);
  // Its events may stand at other offsets now, so its mirrors are told to begin again.
  CarryAnew(stream, -1);
}

// Everything works again; one machine a site goes on, with a clock that is trusted.
void World::Heal() {
  storm_ = false;
  Tell("everything is healed");
  for (const auto& mirror : mirrors_) {
    mirror->cut = false;
    mirror->down = false;
    mirror->skips.clear();
    CarryLater(*mirror);
  }
  for (const auto& site : sites_) {
    for (const auto& node : site->nodes) {
      node->disk.Fail(absl::OkStatus());
      node->crash_at.clear();
      node->pause_at.clear();
      if (node->running == nullptr) {
        node->old_release = false;
        continue;
      }
      node->log->SetReachable(true);
      node->process->Continue();
      // Who has not needed its log since then has not seen that it lost something.
      const bool lost = std::any_of(lost_.begin(), lost_.end(), [&](const std::string& stream) {
        return events::SiteOf(stream) == site->name;
      });
      if ((random_.OneIn(2) || lost) && !node->stopping) Crash(*node, "for the last time");
    }
    site->preferred = static_cast<int>(random_.Below(kNodes));
  }
}

}  // namespace concordat::simulation
