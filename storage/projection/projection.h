// A projection is what one process folded from one stream: rows, head and digests. Law: all three
// are written in one batch, so they never disagree, and all of it can be deleted and folded again.
#pragma once

#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "events/chain.h"
#include "storage/projection/digest.h"
#include "storage/projection/rows.h"
#include "storage/projection/store.h"

namespace concordat::storage {

// A consistent state of a projection, read on any thread while the projection goes on.
class ProjectionView final : public RowSource {
 public:
  explicit ProjectionView(std::shared_ptr<Store> store);
  ProjectionView(const ProjectionView&) = delete;

  bool Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const override;
  void Scan(std::string_view from,
            absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override;
  // The head that the rows were folded up to.
  absl::StatusOr<events::Chain> Chain(const std::string& stream) const;
  // The digests that were kept up while folding.
  absl::StatusOr<Digests> FoldedDigests() const;

 private:
  const std::shared_ptr<Store> store_;
  const std::unique_ptr<StoreReader> snapshot_;
};

// One store without write-ahead log: the stream is that log. Not thread-safe but for
// View(), which any thread may call.
class Projection final : public RowSource {
 public:
  // Opens or creates the RocksDB database in `dir`. `schema` names the layout of its rows: another
  // one found there is FAILED_PRECONDITION, and deleting `dir` folds anew. FAILED_PRECONDITION
  // where another process holds it; DATA_LOSS where it cannot be read.
  static absl::StatusOr<std::unique_ptr<Projection>> Open(const std::string& dir,
                                                          std::string stream,
                                                          events::Chain::Origin origin,
                                                          std::string schema);
  // The same over a store that is open already.
  static absl::StatusOr<std::unique_ptr<Projection>> Open(std::unique_ptr<Store> store,
                                                          std::string stream,
                                                          events::Chain::Origin origin,
                                                          std::string schema);
  ~Projection() override;

  bool Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const override;
  void Scan(std::string_view from,
            absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override;

  events::Chain& chain() { return chain_; }
  const events::Chain& chain() const { return chain_; }
  Journal& journal() { return journal_; }
  const Digests& digests() const { return digests_; }
  // Where the store is: a folder.
  const std::string& dir() const { return store_->place(); }

  // Rows of this table, one at most, are looked for once: they take no place from others in memory.
  void LeaveUncached(std::string_view table) { uncached_ = RowKey(table, ""); }

  // Stores the journal's changes up to `sequence` together with the head, the digests and `notes`:
  // rows of the runtime's own. On an error (RESOURCE_EXHAUSTED: the disk is full) nothing is
  // stored; the caller must call RetryCommit() until it succeeds before it reads or commits
  // anything else, or stop, and the next start folds the rest again from the log. Before that
  // another Commit() is FAILED_PRECONDITION, and takes nothing.
  using Notes = std::vector<std::pair<std::string, std::string>>;
  absl::Status Commit(uint64_t sequence, const Notes& notes = {});
  absl::Status RetryCommit();

  // Writes what is in memory to disk, in the background.
  void Flush();
  // The same, and waits for it.
  absl::Status FlushAndWait();
  // A copy of what is committed, in a folder that does not exist yet, while writing goes on. Any
  // thread.
  absl::Status Checkpoint(const std::string& dir) const;

  std::unique_ptr<ProjectionView> View() const;

 private:
  Projection(std::shared_ptr<Store> store, events::Chain chain, Digests digests);
  absl::Status WriteBatch();

  std::shared_ptr<Store> store_;
  events::Chain chain_;
  Digests digests_;
  Journal journal_;
  // Rows that were read or written lately, and keys that are known to have none: a decision reads
  // the same few rows again and again, and looks for each new name in vain. A row has one place,
  // by its key's hash, and takes it from whatever was there.
  struct Cached {
    std::string key;  // empty: nothing is cached here
    bool exists = false;
    std::string value;
  };
  static constexpr size_t kCachedRows = 1 << 15;
  // Where the row is, or would be, in memory; nothing for one that is not kept there.
  Cached* PlaceOf(std::string_view key) const;
  // What was cached of this key, if anything was, is replaced.
  void Cache(std::string_view key, std::optional<std::string_view> value) const;

  mutable std::vector<Cached> cache_;      // empty over a store whose reads are cheap
  std::string uncached_;                   // what the keys begin with that are not in it
  std::unique_ptr<StoreBatch> unwritten_;  // the batch that Commit() could not write
};

}  // namespace concordat::storage
