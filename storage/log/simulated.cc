#include "storage/log/simulated.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace concordat::storage {
namespace {

absl::Status Unreachable(const std::string& stream) {
  return absl::UnavailableError(fmt::format("{}: the brokers cannot be reached", stream));
}

}  // namespace

// What an appender has sent between two resets. Requests arrive in their order.
struct SimulatedCluster::Session {
  std::string stream;
  int client = 0;
  bool disowned = false;  // its reports go nowhere
  bool broken = false;    // a request failed, so those after it fail too
  absl::Duration busy_until;
  std::deque<AppendReport> ready;
};

int64_t SimulatedCluster::LandLocked(const std::string& stream, Stored record) {
  std::vector<Stored>& records = streams_[stream];
  records.push_back(std::move(record));
  return static_cast<int64_t>(records.size()) - 1;
}

int64_t SimulatedCluster::Land(const std::string& stream, Stored record) {
  int64_t offset = 0;
  {
    absl::MutexLock lock(&mutex_);
    offset = LandLocked(stream, record);
  }
  if (landed) landed(stream, offset, record);
  return offset;
}

int64_t SimulatedCluster::End(const std::string& stream) const {
  absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(stream);
  return found == streams_.end() ? 0 : static_cast<int64_t>(found->second.size());
}

void SimulatedCluster::Lose(const std::string& stream, int64_t end) {
  absl::MutexLock lock(&mutex_);
  std::vector<Stored>& records = streams_[stream];
  if (end < static_cast<int64_t>(records.size())) records.resize(static_cast<size_t>(end));
}

SimulatedCluster::Stored SimulatedCluster::At(const std::string& stream, int64_t offset) const {
  absl::MutexLock lock(&mutex_);
  return streams_.at(stream).at(static_cast<size_t>(offset));
}

void SimulatedCluster::Later(absl::Duration wait, absl::AnyInvocable<void()> what) {
  if (later) {
    later(wait, std::move(what));
  } else {
    what();
  }
}

void SimulatedCluster::LandPart(const std::shared_ptr<Session>& session,
                                const std::vector<Stored>& records,
                                const std::vector<uint64_t>& cookies, size_t from, size_t to,
                                const SimulatedFate& fate) {
  std::vector<AppendReport> reports;
  const bool lost = fate.lost || session->broken;
  const bool error = lost || fate.report == SimulatedFate::Report::kError;
  if (error) session->broken = true;
  for (size_t i = from; i < to; ++i) {
    AppendReport report{cookies[i], absl::OkStatus(), -1};
    if (!lost) report.offset = Land(session->stream, records[i]);
    if (error) {
      report.status = absl::UnavailableError(
          fmt::format("{}: whether the append arrived is unknown", session->stream));
    }
    if (error || fate.report == SimulatedFate::Report::kUnknown) report.offset = -1;
    reports.push_back(std::move(report));
  }
  if (fate.report == SimulatedFate::Report::kNone) return;
  Later(fate.reported, [this, session, reports = std::move(reports)] {
    {
      absl::MutexLock lock(&mutex_);
      if (session->disowned) return;
      for (const AppendReport& report : reports) session->ready.push_back(report);
    }
    if (touched) touched(session->client);
  });
}

class SimulatedReader final : public LogReader {
 public:
  explicit SimulatedReader(SimulatedLog& log) : log_(log), cluster_(log.cluster_) {}

  absl::Status Assign(const std::string& stream, int64_t offset) override {
    absl::MutexLock lock(&cluster_.mutex_);
    if (!Reachable()) return Unreachable(stream);
    const std::vector<SimulatedCluster::Stored>& records = cluster_.streams_[stream];
    const auto end = static_cast<int64_t>(records.size());
    if (offset > end) {
      return absl::OutOfRangeError(fmt::format(
          "{} ends at offset {}, asked for {}: the log lost records", stream, end, offset));
    }
    positions_[stream] = {&records, offset};
    return absl::OkStatus();
  }

  void Release() override { positions_.clear(); }

  absl::StatusOr<std::vector<StoredRecord>> Read(size_t limit, absl::Duration wait) override {
    absl::MutexLock lock(&cluster_.mutex_);
    if (!Reachable()) return Unreachable("the log");
    std::vector<StoredRecord> read;
    const auto ready = [this] {
      return woken_ || std::any_of(positions_.begin(), positions_.end(), [](const auto& entry) {
               return entry.second.offset != static_cast<int64_t>(entry.second.records->size());
             });
    };
    cluster_.machine_.Await(cluster_.mutex_, absl::Condition(&ready), wait);
    if (!Reachable()) return Unreachable("the log");
    if (std::exchange(woken_, false)) return read;
    for (auto& [stream, position] : positions_) {
      if (position.offset > static_cast<int64_t>(position.records->size())) {
        return absl::OutOfRangeError(
            fmt::format("{} ends at offset {}, asked for {}: the log lost records", stream,
                        position.records->size(), position.offset));
      }
    }
    for (auto& [stream, position] : positions_) {
      while (read.size() < limit &&
             position.offset < static_cast<int64_t>(position.records->size())) {
        read.push_back(
            {stream, position.offset, *(*position.records)[static_cast<size_t>(position.offset)]});
        ++position.offset;
      }
    }
    return read;
  }

  absl::StatusOr<int64_t> End(const std::string& stream) override {
    absl::MutexLock lock(&cluster_.mutex_);
    if (!Reachable()) return Unreachable(stream);
    return static_cast<int64_t>(cluster_.streams_[stream].size());
  }

  void Wake() override {
    absl::MutexLock lock(&cluster_.mutex_);
    woken_ = true;
  }

 private:
  bool Reachable() const { return log_.reachable_ && !log_.dead_; }

  struct Position {
    const std::vector<SimulatedCluster::Stored>* records = nullptr;
    int64_t offset = 0;
  };
  SimulatedLog& log_;
  SimulatedCluster& cluster_;
  std::map<std::string, Position> positions_;  // by name, so that every run reads in one order
  bool woken_ = false;
};

class SimulatedAppender final : public LogAppender {
 public:
  SimulatedAppender(SimulatedLog& log, std::string stream)
      : log_(log), cluster_(log.cluster_), stream_(std::move(stream)) {
    NewSession();
    log_.appenders_.push_back(this);
  }
  ~SimulatedAppender() override {
    Reset();
    std::erase(log_.appenders_, this);
  }

  void Append(events::Record record, uint64_t cookie) override {
    records_.push_back(std::make_shared<const events::Record>(std::move(record)));
    cookies_.push_back(cookie);
  }

  std::vector<AppendReport> Poll(absl::Duration wait) override {
    Send();
    absl::MutexLock lock(&cluster_.mutex_);
    const auto ready = [this] { return woken_ || !session_->ready.empty() || log_.dead_; };
    cluster_.machine_.Await(cluster_.mutex_, absl::Condition(&ready), wait);
    woken_ = false;
    std::vector<AppendReport> reports(session_->ready.begin(), session_->ready.end());
    session_->ready.clear();
    return reports;
  }

  size_t Waiting() const override { return records_.size(); }

  void Reset() override {
    records_.clear();
    cookies_.clear();
    absl::MutexLock lock(&cluster_.mutex_);
    session_->disowned = true;
    NewSession();
  }

  void Wake() override {
    absl::MutexLock lock(&cluster_.mutex_);
    woken_ = true;
  }

  // Sends what waits, unless the brokers cannot be reached.
  void Send() {
    {
      absl::MutexLock lock(&cluster_.mutex_);
      if (records_.empty() || !log_.reachable_ || log_.dead_) return;
    }
    auto records =
        std::make_shared<std::vector<SimulatedCluster::Stored>>(std::exchange(records_, {}));
    auto cookies = std::make_shared<std::vector<uint64_t>>(std::exchange(cookies_, {}));
    SimulatedFate fate;
    if (cluster_.fate) fate = cluster_.fate(stream_, records->size());
    const size_t all = records->size();
    const size_t first = std::min(fate.torn_after, all);
    const absl::Duration now = cluster_.machine_.Steady();
    SimulatedCluster& cluster = cluster_;
    const std::shared_ptr<SimulatedCluster::Session> session = session_;
    // Not before what was sent before it.
    const absl::Duration arrives = std::max(now + fate.arrives, session->busy_until);
    if (!fate.overtaken) session->busy_until = arrives;
    cluster.Later(arrives - now, [&cluster, session, records, cookies, first, fate] {
      cluster.LandPart(session, *records, *cookies, 0, first, fate);
    });
    absl::Duration last = arrives;
    if (first < all) {
      SimulatedFate rest = fate;
      rest.lost = fate.lost || fate.rest_arrives == absl::InfiniteDuration();
      last = arrives + (rest.lost ? absl::ZeroDuration() : fate.rest_arrives);
      if (!fate.overtaken) session->busy_until = last;
      cluster.Later(last - now, [&cluster, session, records, cookies, first, all, rest] {
        cluster.LandPart(session, *records, *cookies, first, all, rest);
      });
    }
    if (fate.again == absl::InfiniteDuration()) return;
    cluster.Later(last + fate.again - now, [&cluster, session, records, lost = fate.lost] {
      if (lost) return;
      for (const SimulatedCluster::Stored& record : *records) cluster.Land(session->stream, record);
    });
  }

 private:
  void NewSession() {
    session_ = std::make_shared<SimulatedCluster::Session>();
    session_->stream = stream_;
    session_->client = log_.client_;
  }

  SimulatedLog& log_;
  SimulatedCluster& cluster_;
  const std::string stream_;
  std::vector<SimulatedCluster::Stored> records_;
  std::vector<uint64_t> cookies_;
  std::shared_ptr<SimulatedCluster::Session> session_;
  bool woken_ = false;
};

std::unique_ptr<LogReader> SimulatedLog::NewReader() {
  return std::make_unique<SimulatedReader>(*this);
}

std::unique_ptr<LogAppender> SimulatedLog::NewAppender(const std::string& stream) {
  return std::make_unique<SimulatedAppender>(*this, stream);
}

absl::Status SimulatedLog::Check(const std::string& stream, const LogDemands&) {
  absl::MutexLock lock(&cluster_.mutex_);
  return reachable_ && !dead_ ? absl::OkStatus() : Unreachable(stream);
}

void SimulatedLog::SetReachable(bool reachable) {
  {
    absl::MutexLock lock(&cluster_.mutex_);
    reachable_ = reachable;
  }
  if (!reachable) return;
  for (SimulatedAppender* appender : appenders_) appender->Send();
}

void SimulatedLog::Kill() {
  absl::MutexLock lock(&cluster_.mutex_);
  dead_ = true;
}

}  // namespace concordat::storage
