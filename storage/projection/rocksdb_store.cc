#include "storage/projection/rocksdb_store.h"

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/perf_level.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "storage/rocksdb.h"

namespace concordat::storage {
namespace {

// Nobody reads the counters that RocksDB keeps for each thread, and they cost a write a level.
void CountNothing() { rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable); }

rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ViewOf(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::StatusOr<std::optional<std::string>> GetRow(rocksdb::DB& db,
                                                  const rocksdb::ReadOptions& options,
                                                  std::string_view key) {
  CountNothing();
  std::string value;
  const rocksdb::Status found = db.Get(options, SliceOf(key), &value);
  if (found.IsNotFound()) return std::nullopt;
  if (!found.ok()) return FromRocksDb(found, "cannot read");
  return value;
}

absl::Status ScanRows(rocksdb::DB& db, rocksdb::ReadOptions options, std::string_view from,
                      absl::FunctionRef<bool(std::string_view, std::string_view)> row) {
  options.total_order_seek = true;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  for (it->Seek(SliceOf(from)); it->Valid(); it->Next()) {
    if (!row(ViewOf(it->key()), ViewOf(it->value()))) return absl::OkStatus();
  }
  return FromRocksDb(it->status(), "cannot read");
}

// One cache for all projections of a process, so that its memory has one bound.
std::shared_ptr<rocksdb::Cache> SharedCache() {
  static const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(256 << 20);
  return cache;
}

rocksdb::Options OptionsFor(StoreUse use, size_t gathered_bytes) {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.max_open_files = 64;
  options.info_log = RocksDbLogger();
  // Few and large files: each that a name is looked for in vain in costs a look at its filter.
  options.write_buffer_size = gathered_bytes;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  switch (use) {
    case StoreUse::kRows:
      options.max_background_jobs = 2;
      options.max_write_buffer_number = 4;
      // The young levels are soon merged, so only the old ones are worth compressing.
      options.compression_per_level = {rocksdb::kNoCompression, rocksdb::kNoCompression,
                                       rocksdb::kLZ4Compression};
      options.paranoid_checks = true;
      table.block_cache = SharedCache();
      // Filters and indexes stay in memory, some 3 bytes a row: most names that are looked for are
      // new, and each table says so by its filter alone, without a look into a cache.
      options.max_open_files = -1;
      table.cache_index_and_filter_blocks = false;
      options.memtable_whole_key_filtering = true;
      options.memtable_prefix_bloom_size_ratio = 0.05;
      break;
    case StoreUse::kRecords:
      options.compression = rocksdb::kLZ4Compression;
      break;
  }
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

class RocksDbBatch final : public StoreBatch {
 public:
  void Put(std::string_view key, std::string_view value) override {
    batch_.Put(SliceOf(key), SliceOf(value)).PermitUncheckedError();
  }
  void Delete(std::string_view key) override { batch_.Delete(SliceOf(key)).PermitUncheckedError(); }
  rocksdb::WriteBatch& batch() { return batch_; }

 private:
  rocksdb::WriteBatch batch_;
};

class SnapshotReader final : public StoreReader {
 public:
  explicit SnapshotReader(rocksdb::DB& db) : db_(db), snapshot_(db.GetSnapshot()) {}
  ~SnapshotReader() override { db_.ReleaseSnapshot(snapshot_); }
  SnapshotReader(const SnapshotReader&) = delete;
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    return GetRow(db_, Options(), key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    return ScanRows(db_, Options(), from, row);
  }

 private:
  rocksdb::ReadOptions Options() const {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_;
    return options;
  }
  rocksdb::DB& db_;
  const rocksdb::Snapshot* snapshot_;
};

class RocksDbStore final : public Store {
 public:
  RocksDbStore(std::unique_ptr<rocksdb::DB> db, std::string place)
      : db_(std::move(db)), place_(std::move(place)) {}

  const std::string& place() const override { return place_; }
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    return GetRow(*db_, {}, key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    return ScanRows(*db_, {}, from, row);
  }
  std::unique_ptr<StoreBatch> NewBatch() override { return std::make_unique<RocksDbBatch>(); }
  absl::Status Write(StoreBatch& batch) override {
    CountNothing();
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    return FromRocksDb(db_->Write(options, &static_cast<RocksDbBatch&>(batch).batch()),
                       "cannot write");
  }
  absl::Status Resume() override { return FromRocksDb(db_->Resume(), "cannot go on"); }
  absl::Status Flush(bool wait) override {
    rocksdb::FlushOptions options;
    options.wait = wait;
    options.allow_write_stall = !wait;
    uint64_t errors = Count(rocksdb::DB::Properties::kBackgroundErrors);
    rocksdb::Status status = db_->Flush(options);
    // After a full disk RocksDB (7.8.3, DBImpl::WaitForFlushMemTables) does not wait any more: its
    // ErrorHandler never takes back that the database was stopped. So we look for ourselves.
    while (wait && status.ok() && Count(rocksdb::DB::Properties::kNumImmutableMemTable) > 0) {
      absl::SleepFor(absl::Milliseconds(1));
      const uint64_t now = Count(rocksdb::DB::Properties::kBackgroundErrors);
      if (std::exchange(errors, now) != now) status = db_->Flush(options);
    }
    return FromRocksDb(status, "cannot flush");
  }
  absl::Status CopyTo(const std::string& dir) override {
    // There is no write-ahead log, so what is in memory is flushed first, however little it is.
    const absl::Status flushed = Flush(true);
    if (!flushed.ok()) return flushed;
    rocksdb::Checkpoint* raw = nullptr;
    rocksdb::Status status = rocksdb::Checkpoint::Create(db_.get(), &raw);
    const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
    if (status.ok()) status = checkpoint->CreateCheckpoint(dir, 0);
    return FromRocksDb(status, fmt::format("cannot copy {} to {}", place_, dir));
  }
  std::unique_ptr<StoreReader> Snapshot() override {
    return std::make_unique<SnapshotReader>(*db_);
  }

 private:
  // One of RocksDB's own numbers.
  uint64_t Count(const std::string& property) const {
    uint64_t value = 0;
    db_->GetIntProperty(property, &value);
    return value;
  }

  const std::unique_ptr<rocksdb::DB> db_;
  const std::string place_;
};

}  // namespace

size_t RowCacheBytes() { return SharedCache()->GetUsage(); }

absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& dir, StoreUse use,
                                                        size_t gathered_bytes) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) {
    return absl::UnavailableError(fmt::format("cannot create {}: {}", dir, error.message()));
  }
  rocksdb::DB* raw = nullptr;
  const absl::Status status =
      FromRocksDb(rocksdb::DB::Open(OptionsFor(use, gathered_bytes), dir, &raw),
                  fmt::format("cannot open the store in {}", dir));
  if (absl::IsDataLoss(status)) {
    return absl::DataLossError(
        fmt::format("{}; stop the process, delete {} and start again: it is made anew from the log",
                    std::string(status.message()), dir));
  }
  if (!status.ok()) return status;
  return std::make_unique<RocksDbStore>(std::unique_ptr<rocksdb::DB>(raw), dir);
}

}  // namespace concordat::storage
