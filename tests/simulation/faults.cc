// What goes wrong, and that it ends.
#include "tests/simulation/inside.h"

#include <algorithm>

namespace concordat::simulation {

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
    case Fault::kCount:
      break;
  }
  return "";
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

}  // namespace concordat::simulation
