// The log port: what the runtime needs of a log, whatever it is stored in. A stream is an
// append-only sequence of records with offsets that go up. Law: an append that was reported with an
// offset is durable and is never changed. Everything else (who won, what is history) is the link's
// work.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "events/record.h"

namespace concordat::storage {

// A record as it stands in the log.
struct StoredRecord {
  std::string stream;
  int64_t offset = -1;
  events::Record record;
};

// Reads streams from given offsets on, in order. One thread at a time, but for Wake().
class LogReader {
 public:
  virtual ~LogReader() = default;

  // Reads `stream` from `offset` on; again for a stream that is assigned: goes to that offset.
  virtual absl::Status Assign(const std::string& stream, int64_t offset) = 0;

  // Assigns nothing any more, and fetches nothing.
  virtual void Release() = 0;

  // At most `limit` records, waiting at most `wait` for the first of them; none where none came.
  // OUT_OF_RANGE where the log does not hold the offset asked for: records were deleted or lost.
  // DATA_LOSS where it holds one that cannot be read. Either may be told only once: who wants to
  // read on assigns anew.
  // UNAVAILABLE while the log cannot be reached; calling again goes on.
  virtual absl::StatusOr<std::vector<StoredRecord>> Read(size_t limit, absl::Duration wait) = 0;

  // The offset after the last durable record of an assigned stream. UNAVAILABLE as above.
  virtual absl::StatusOr<int64_t> End(const std::string& stream) = 0;
  // The offset of the first record that is still there: 0 where nothing was deleted. Errors as
  // End().
  virtual absl::StatusOr<int64_t> Begin(const std::string&) { return 0; }

  // Ends a wait in Read() early. Any thread.
  virtual void Wake() = 0;
};

// What became of one append. `offset` is -1 where it is not known although the append succeeded.
struct AppendReport {
  uint64_t cookie = 0;
  absl::Status status;
  int64_t offset = -1;
};

// Appends to one stream. One thread at a time, but for Wake().
class LogAppender {
 public:
  virtual ~LogAppender() = default;

  // Queues the record; `cookie` comes back in its report. Never waits.
  // Records of one appender keep their order. A record that cannot be sent is reported with an
  // error.
  virtual void Append(events::Record record, uint64_t cookie) = 0;

  // Has what is queued sent, together, once the log has taken what came before it, and returns
  // reports of appends, in their order, waiting at most `wait` for the first of them.
  virtual std::vector<AppendReport> Poll(absl::Duration wait) = 0;

  // How many appends are queued and not on their way yet: what is appended now joins them.
  virtual size_t Waiting() const = 0;

  // Gives up all appends without a report: none of them is reported any more, although some may
  // still come to stand in the log.
  virtual void Reset() = 0;

  // Ends a wait in Poll() early. Any thread.
  virtual void Wake() = 0;
};

// What a profile demands of the log's settings.
struct LogDemands {
  int replication = 1;
  int min_insync_replicas = 1;
  bool home = true;  // this site writes the stream
};

// A log that holds streams. Thread-safe.
class Log {
 public:
  virtual ~Log() = default;

  virtual std::unique_ptr<LogReader> NewReader() = 0;
  virtual std::unique_ptr<LogAppender> NewAppender(const std::string& stream) = 0;

  // OK where the stream exists with settings under which nothing is lost: unlimited retention, no
  // compaction, one partition, the replication demanded. FAILED_PRECONDITION names the setting,
  // what was found and what is expected; NOT_FOUND where there is no such stream.
  virtual absl::Status Check(const std::string& stream, const LogDemands& demands) = 0;
};

}  // namespace concordat::storage
