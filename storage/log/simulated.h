// A log in memory as a seed wants it: requests arrive late, torn, twice or never, reports are lost,
// clients are cut off and die. Law: whatever it does, a Kafka cluster may do too (the last of it
// only without idempotence), and what it reported with an offset stays there for ever, unless it is
// told to lose it.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "storage/log/log.h"
#include "storage/machine.h"

namespace concordat::storage {

// What becomes of one request: the records that an appender sends together.
struct SimulatedFate {
  enum class Report {
    kOffset,   // where each record stands
    kUnknown,  // that they stand, but not where
    kError,    // an error, although they may stand
    kNone,     // nothing, ever
  };
  absl::Duration arrives;   // until the first part stands in the log
  absl::Duration reported;  // from then on, until the report
  // A torn request: what follows this many records arrives later, or never.
  size_t torn_after = SIZE_MAX;
  absl::Duration rest_arrives;  // after the first part; infinite: never, and an error is reported
  bool lost = false;            // nothing of it arrives, and an error is reported
  Report report = Report::kOffset;
  bool overtaken = false;                           // what is sent after it need not wait for it
  absl::Duration again = absl::InfiniteDuration();  // after the last part, it arrives once more
};

// The brokers of one site. Thread-safe, but the functions are set before it is used.
class SimulatedCluster {
 public:
  using Stored = std::shared_ptr<const events::Record>;

  // The machine must outlive it.
  explicit SimulatedCluster(Machine& machine) : machine_(machine) {}
  SimulatedCluster(const SimulatedCluster&) = delete;

  // Asked for every request. Unset: it arrives and is reported at once.
  std::function<SimulatedFate(const std::string& stream, size_t records)> fate;
  // Does something after a while. Unset: at once.
  std::function<void(absl::Duration, absl::AnyInvocable<void()>)> later;
  // Told of every record that has come to stand in the log, in order.
  std::function<void(const std::string& stream, int64_t offset, const Stored& record)> landed;
  // Told that a client of this number has something to look at.
  std::function<void(int client)> touched;

  // Appends as a mirror does; the offset.
  int64_t Land(const std::string& stream, Stored record);
  int64_t End(const std::string& stream) const;
  // Loses everything from this offset on, as a broker does whose disk was restored from a backup.
  // What is on its way still arrives, at the new end.
  void Lose(const std::string& stream, int64_t end);
  // REQUIRES: the offset is below the end.
  Stored At(const std::string& stream, int64_t offset) const;

 private:
  friend class SimulatedLog;
  friend class SimulatedReader;
  friend class SimulatedAppender;
  struct Session;
  int64_t LandLocked(const std::string& stream, Stored record);
  void LandPart(const std::shared_ptr<Session>& session, const std::vector<Stored>& records,
                const std::vector<uint64_t>& cookies, size_t from, size_t to,
                const SimulatedFate& fate);
  void Later(absl::Duration wait, absl::AnyInvocable<void()> what);

  Machine& machine_;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::vector<Stored>> streams_;
};

// One process's connection to the brokers of its site.
class SimulatedLog final : public Log {
 public:
  SimulatedLog(SimulatedCluster& cluster, int client) : cluster_(cluster), client_(client) {}
  SimulatedLog(const SimulatedLog&) = delete;

  std::unique_ptr<LogReader> NewReader() override;
  std::unique_ptr<LogAppender> NewAppender(const std::string& stream) override;
  absl::Status Check(const std::string& stream, const LogDemands& demands) override;

  // While it is cut off nothing is read, and what is appended waits.
  void SetReachable(bool reachable);
  // The process has ended: what it has sent may still arrive, what it sends now does not.
  void Kill();

 private:
  friend class SimulatedReader;
  friend class SimulatedAppender;
  SimulatedCluster& cluster_;
  const int client_;
  bool reachable_ = true;  // both guarded by the cluster's mutex
  bool dead_ = false;
  std::vector<class SimulatedAppender*> appenders_;
};

}  // namespace concordat::storage
