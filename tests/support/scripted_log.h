// A log in memory that does what a test tells it: it loses acknowledgements, holds appends back,
// lets others append between two of them. Law: what it does wrong a real log can do too, or its
// port forbids it and the test says so.
#pragma once

#include <absl/synchronization/mutex.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/log/log.h"

namespace concordat::test {

// What becomes of one append.
enum class Fate {
  kLand,           // stands in the log and is reported with its offset
  kLandUnknown,    // the same, but the offset is not known
  kLandWithError,  // stands in the log, and an error is reported
  kLandSilently,   // stands in the log, and no report ever comes
  kFail,           // does not stand in the log, and an error is reported
  kHold,           // is on its way until Release()
};

// Thread-safe, but hooks are set before the log is used.
class ScriptedLog final : public storage::Log {
 public:
  std::unique_ptr<storage::LogReader> NewReader() override;
  std::unique_ptr<storage::LogAppender> NewAppender(const std::string& stream) override;
  absl::Status Check(const std::string& stream, const storage::LogDemands& demands) override;

  // Asked for every append, before anything happens to it. May call Put().
  std::function<Fate(const std::string& stream, const events::Record& record)> fate;
  // Whether held appends are reported although their appender was reset meanwhile: the port forbids
  // it.
  bool reports_after_reset = false;

  // What Check() says.
  void SetCheck(absl::Status status);
  // What the next Read() says.
  void FailNextRead(absl::Status status);

  // Appends as somebody else; the offset.
  int64_t Put(const std::string& stream, const events::Record& record);
  // Lets the held appends land, in their order, and reports them.
  void Release();
  // Drops the held appends: they never land, and an error is reported.
  void DropHeld();
  size_t held() const;

  std::vector<events::Record> Records(const std::string& stream) const;
  int64_t End(const std::string& stream) const;
  // As a log that lost its tail, or was made anew.
  void Truncate(const std::string& stream, size_t size);
  // As a log that lost a record in the middle: its offset stays empty.
  void Lose(const std::string& stream, size_t offset);
  // As a log that keeps its records for a while only: OUT_OF_RANGE in the place of those before.
  void DeleteBefore(const std::string& stream, int64_t offset);
  // As a topic without a leader: nothing is read, and nobody knows its end.
  void Silence(const std::string& stream, bool silent);
  // As a log that holds a record and cannot read it: DATA_LOSS in its place, once.
  void Rot(const std::string& stream, int64_t offset);

 private:
  friend class ScriptedReader;
  friend class ScriptedAppender;
  struct Reports {
    absl::Mutex mutex;
    uint64_t generation = 0;  // counts the resets
    bool woken = false;
    std::deque<storage::AppendReport> ready;
  };
  struct Held {
    std::string stream;
    events::Record record;
    uint64_t cookie;
    uint64_t generation;
    std::shared_ptr<Reports> reports;
  };
  void Report(const Held& append, absl::Status status, int64_t offset);

  mutable absl::Mutex mutex_;
  // Nothing where a record was lost.
  std::map<std::string, std::vector<std::optional<events::Record>>> streams_;
  std::vector<Held> held_;
  std::set<std::pair<std::string, int64_t>> rotten_;
  std::map<std::string, int64_t> begins_;
  std::set<std::string> silent_;
  absl::Status check_;
  absl::Status read_error_;
};

}  // namespace concordat::test
