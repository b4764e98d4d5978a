#include "tests/support/scripted_log.h"

#include <absl/time/clock.h>

#include <utility>

namespace concordat::test {

class ScriptedReader final : public storage::LogReader {
 public:
  explicit ScriptedReader(ScriptedLog& log) : log_(log) {}

  absl::Status Assign(const std::string& stream, int64_t offset) override {
    if (offset > log_.End(stream)) return absl::OutOfRangeError(stream + " has no such offset");
    positions_[stream] = offset;
    return absl::OkStatus();
  }
  void Release() override { positions_.clear(); }
  absl::StatusOr<std::vector<storage::StoredRecord>> Read(size_t limit,
                                                          absl::Duration wait) override {
    absl::MutexLock lock(&log_.mutex_);
    if (!log_.read_error_.ok()) return std::exchange(log_.read_error_, absl::OkStatus());
    const auto some = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(log_.mutex_) {
      if (woken_) return true;
      for (const auto& [stream, offset] : positions_) {
        if (log_.silent_.contains(stream)) continue;
        if (static_cast<size_t>(offset) < log_.streams_[stream].size()) return true;
      }
      return false;
    };
    log_.mutex_.AwaitWithTimeout(absl::Condition(&some), wait);
    woken_ = false;
    std::vector<storage::StoredRecord> records;
    for (auto& [stream, offset] : positions_) {
      if (log_.silent_.contains(stream)) continue;
      const auto& all = log_.streams_[stream];
      if (offset < log_.begins_[stream])
        return absl::OutOfRangeError(stream + ": the offset is out of range");
      for (; static_cast<size_t>(offset) < all.size() && records.size() < limit; ++offset) {
        if (log_.rotten_.contains({stream, offset})) {
          if (!records.empty()) return records;
          ++offset;
          return absl::DataLossError(stream + ": bits have changed");
        }
        if (all[static_cast<size_t>(offset)])
          records.push_back({stream, offset, *all[static_cast<size_t>(offset)]});
      }
    }
    return records;
  }
  absl::StatusOr<int64_t> End(const std::string& stream) override {
    {
      absl::MutexLock lock(&log_.mutex_);
      if (log_.silent_.contains(stream)) return absl::UnavailableError(stream + " has no leader");
    }
    return log_.End(stream);
  }
  absl::StatusOr<int64_t> Begin(const std::string& stream) override {
    absl::MutexLock lock(&log_.mutex_);
    return log_.begins_[stream];
  }
  void Wake() override {
    absl::MutexLock lock(&log_.mutex_);
    woken_ = true;
  }

 private:
  ScriptedLog& log_;
  std::map<std::string, int64_t> positions_;
  bool woken_ = false;
};

class ScriptedAppender final : public storage::LogAppender {
 public:
  ScriptedAppender(ScriptedLog& log, std::string stream) : log_(log), stream_(std::move(stream)) {}

  void Append(events::Record record, uint64_t cookie) override {
    const Fate fate = log_.fate ? log_.fate(stream_, record) : Fate::kLand;
    uint64_t generation = 0;
    {
      absl::MutexLock lock(&reports_->mutex);
      generation = reports_->generation;
    }
    const ScriptedLog::Held append{stream_, record, cookie, generation, reports_};
    switch (fate) {
      case Fate::kLand:
        log_.Report(append, absl::OkStatus(), log_.Put(stream_, record));
        return;
      case Fate::kLandUnknown:
        log_.Put(stream_, record);
        log_.Report(append, absl::OkStatus(), -1);
        return;
      case Fate::kLandWithError:
        log_.Put(stream_, record);
        log_.Report(append, absl::UnavailableError("the acknowledgement was lost"), -1);
        return;
      case Fate::kLandSilently:
        log_.Put(stream_, record);
        return;
      case Fate::kFail:
        log_.Report(append, absl::UnavailableError("the append failed"), -1);
        return;
      case Fate::kHold: {
        absl::MutexLock lock(&log_.mutex_);
        log_.held_.push_back(append);
        return;
      }
    }
  }
  std::vector<storage::AppendReport> Poll(absl::Duration wait) override {
    absl::MutexLock lock(&reports_->mutex);
    const auto some = [this] { return reports_->woken || !reports_->ready.empty(); };
    reports_->mutex.AwaitWithTimeout(absl::Condition(&some), wait);
    reports_->woken = false;
    std::vector<storage::AppendReport> reports(reports_->ready.begin(), reports_->ready.end());
    reports_->ready.clear();
    return reports;
  }
  size_t Waiting() const override { return 0; }
  void Reset() override {
    absl::MutexLock lock(&reports_->mutex);
    ++reports_->generation;
    if (!log_.reports_after_reset) reports_->ready.clear();
  }
  void Wake() override {
    absl::MutexLock lock(&reports_->mutex);
    reports_->woken = true;
  }

 private:
  ScriptedLog& log_;
  const std::string stream_;
  std::shared_ptr<ScriptedLog::Reports> reports_ = std::make_shared<ScriptedLog::Reports>();
};

std::unique_ptr<storage::LogReader> ScriptedLog::NewReader() {
  return std::make_unique<ScriptedReader>(*this);
}
std::unique_ptr<storage::LogAppender> ScriptedLog::NewAppender(const std::string& stream) {
  return std::make_unique<ScriptedAppender>(*this, stream);
}

absl::Status ScriptedLog::Check(const std::string&, const storage::LogDemands&) {
  absl::MutexLock lock(&mutex_);
  return check_;
}
void ScriptedLog::SetCheck(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  check_ = std::move(status);
}
void ScriptedLog::FailNextRead(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  read_error_ = std::move(status);
}

int64_t ScriptedLog::Put(const std::string& stream, const events::Record& record) {
  absl::MutexLock lock(&mutex_);
  streams_[stream].push_back(record);
  return static_cast<int64_t>(streams_[stream].size()) - 1;
}

void ScriptedLog::Report(const Held& append, absl::Status status, int64_t offset) {
  absl::MutexLock lock(&append.reports->mutex);
  if (append.generation != append.reports->generation && !reports_after_reset) return;
  append.reports->ready.push_back({append.cookie, std::move(status), offset});
}

void ScriptedLog::Release() {
  std::vector<Held> held;
  {
    absl::MutexLock lock(&mutex_);
    held.swap(held_);
  }
  for (const Held& append : held)
    Report(append, absl::OkStatus(), Put(append.stream, append.record));
}

void ScriptedLog::DropHeld() {
  std::vector<Held> held;
  {
    absl::MutexLock lock(&mutex_);
    held.swap(held_);
  }
  for (const Held& append : held) Report(append, absl::UnavailableError("the append failed"), -1);
}

size_t ScriptedLog::held() const {
  absl::MutexLock lock(&mutex_);
  return held_.size();
}

std::vector<events::Record> ScriptedLog::Records(const std::string& stream) const {
  absl::MutexLock lock(&mutex_);
  std::vector<events::Record> records;
  const auto found = streams_.find(stream);
  if (found == streams_.end()) return records;
  for (const auto& record : found->second) {
    if (record) records.push_back(*record);
  }
  return records;
}

int64_t ScriptedLog::End(const std::string& stream) const {
  absl::MutexLock lock(&mutex_);
  const auto found = streams_.find(stream);
  return found == streams_.end() ? 0 : static_cast<int64_t>(found->second.size());
}

void ScriptedLog::Truncate(const std::string& stream, size_t size) {
  absl::MutexLock lock(&mutex_);
  streams_[stream].resize(size);
}

void ScriptedLog::Lose(const std::string& stream, size_t offset) {
  absl::MutexLock lock(&mutex_);
  streams_[stream][offset].reset();
}

void ScriptedLog::DeleteBefore(const std::string& stream, int64_t offset) {
  absl::MutexLock lock(&mutex_);
  begins_[stream] = offset;
}

void ScriptedLog::Silence(const std::string& stream, bool silent) {
  absl::MutexLock lock(&mutex_);
  if (silent) {
    silent_.insert(stream);
  } else {
    silent_.erase(stream);
  }
}

void ScriptedLog::Rot(const std::string& stream, int64_t offset) {
  absl::MutexLock lock(&mutex_);
  rotten_.emplace(stream, offset);
}

}  // namespace concordat::test
