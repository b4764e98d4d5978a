// The archive keeps every accepted record of the streams a site follows, as bytes, with indexes by
// subject, story and position. Law: it needs no event's meaning, so it goes on when a newer release
// writes events that this one cannot read.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "events/chain.h"
#include "events/record.h"
#include "storage/projection/store.h"

namespace concordat::storage {

// An accepted event, from the archive.
struct ArchivedEvent {
  std::string stream;
  events::Attributes attributes;
  std::string data;
};

// One store a site, derived from the logs. Reads: any thread. Add() and Commit(): one
// thread.
class Archive {
 public:
  // On RocksDB in `dir`. FAILED_PRECONDITION where another process holds it.
  static absl::StatusOr<std::unique_ptr<Archive>> Open(const std::string& dir);
  // In any store. DATA_LOSS where it cannot be read, with what to do.
  static absl::StatusOr<std::unique_ptr<Archive>> Open(std::unique_ptr<Store> store);
  ~Archive();

  // Where the stream's chain stood at the last commit; a new one where it was never added.
  absl::StatusOr<events::Chain> ChainOf(const std::string& stream,
                                        events::Chain::Origin origin) const;

  // Adds an accepted event. Visible after Commit().
  void Add(const std::string& stream, const events::Attributes& attributes,
           const events::Record& record);
  // Stores what was added, together with the stream's chain.
  absl::Status Commit(const events::Chain& chain);

  // Writes what is in memory to disk, in the background, so that a restart reads little again.
  void Flush();

  // The event at a sequence; nothing where the archive does not hold it yet.
  absl::StatusOr<std::optional<ArchivedEvent>> At(const std::string& stream,
                                                  uint64_t sequence) const;
  // The same as the record that was accepted, byte for byte.
  absl::StatusOr<std::optional<events::Record>> RecordAt(const std::string& stream,
                                                         uint64_t sequence) const;
  // The events of a subject, or of a story (correlation id), in the order of their arrival, at most
  // `limit`.
  absl::StatusOr<std::vector<ArchivedEvent>> BySubject(const std::string& subject,
                                                       size_t limit) const;
  absl::StatusOr<std::vector<ArchivedEvent>> ByCorrelation(const std::string& correlation_id,
                                                           size_t limit) const;

  // Waits until the stream's archived head is at least `sequence`.
  bool WaitFor(const std::string& stream, uint64_t sequence, absl::Duration wait) const;

 private:
  Archive(std::unique_ptr<Store> store, uint64_t next_arrival);
  struct Batch {
    std::unique_ptr<StoreBatch> writes;
    bool complete = false;  // the chain is in it, and it was tried to be written
  };
  Batch& BatchOf(const std::string& stream);
  absl::StatusOr<std::vector<ArchivedEvent>> ByIndex(const std::string& prefix, size_t limit) const;

  const std::unique_ptr<Store> store_;
  absl::flat_hash_map<std::string, Batch> batches_;  // not committed yet
  uint64_t next_arrival_ = 0;
  mutable absl::Mutex mutex_;
  mutable absl::CondVar committed_;
};

}  // namespace concordat::storage
