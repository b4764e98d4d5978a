// A delivery is a record on its way from the log to those who fold it: read once and parsed once,
// however many take it.
#pragma once

#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>
#include <absl/types/span.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "events/record.h"
#include "services/runtime/engine.h"
#include "storage/log/log.h"
#include "storage/machine.h"

namespace concordat::runtime {

// Not thread-safe.
class Delivery {
 public:
  Delivery() = default;
  explicit Delivery(storage::StoredRecord stored) { Take(std::move(stored)); }

  // Reads another record, with the memory of the last one.
  void Take(storage::StoredRecord stored);

  const std::string& stream() const { return stored_.stream; }
  int64_t offset() const { return stored_.offset; }
  const events::Record& record() const { return stored_.record; }
  const events::Reading& reading() const { return reading_; }
  // What it says. REQUIRES: the reading's status is OK.
  const events::Attributes& attributes() const { return reading_.attributes; }
  // The event in its data, parsed when first asked for. INVALID_ARGUMENT where this release does
  // not know its type, or something in it. REQUIRES: the reading's status is OK.
  const absl::StatusOr<MessagePtr>& event() const;

 private:
  storage::StoredRecord stored_;
  std::string source_;  // of the stream
  events::Reading reading_;
  mutable std::optional<absl::StatusOr<MessagePtr>> event_;
};

// Deliveries of a reader, a chunk at a time. After a full chunk the next one is read, verified and
// parsed on a thread of its own, while the first is folded. Not thread-safe.
class Deliveries {
 public:
  // Neither is owned; both must outlive it. After Next() the reader is not the caller's to use
  // before Settle() or Stop(), but for Wake().
  Deliveries(storage::LogReader& reader, storage::Machine& machine);
  ~Deliveries();
  Deliveries(const Deliveries&) = delete;

  // At most kChunk of them; none where none came within `wait`. Valid until the next call of
  // anything. Errors are LogReader::Read()'s. No record at or beyond the offset `end` is read
  // ahead, so that whoever stops there has missed nothing.
  absl::StatusOr<absl::Span<const Delivery>> Next(absl::Duration wait, int64_t end = INT64_MAX);
  // Waits until nothing is being read ahead.
  void Settle();
  // Ends the thread and forgets what was read ahead: the reader is about to be assigned anew.
  void Stop();

  static constexpr size_t kChunk = 1000;

 private:
  struct Chunk {
    absl::Status status;
    size_t size = 0;
    std::vector<Delivery> deliveries;  // the first `size`; the others keep their memory
  };
  void Fill(Chunk& chunk, absl::Duration wait);
  // What passes between the two threads. The thread has a share in it, because one that is killed
  // in a simulated world may end after this is gone.
  struct Signal {
    absl::Mutex mutex;
    bool filling ABSL_GUARDED_BY(mutex) = false;
    bool stopping ABSL_GUARDED_BY(mutex) = false;
  };
  // What the thread does: it fills next_ whenever it is told to.
  void ReadAhead(Signal& signal);

  storage::LogReader& reader_;
  storage::Machine& machine_;
  Chunk now_;
  Chunk next_;
  bool ahead_ = false;  // next_ is filled, or is being filled by the thread
  const std::shared_ptr<Signal> signal_ = std::make_shared<Signal>();
  std::unique_ptr<storage::Thread> thread_;  // from the first full chunk on
};

}  // namespace concordat::runtime
