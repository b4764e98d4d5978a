#include "storage/projection/projection.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "storage/rocksdb.h"

namespace concordat::storage {
namespace {

// Keys that begin with 0x00 are the runtime's own.
constexpr std::string_view kHeadKey("\0head", 5);
constexpr std::string_view kDigestsKey("\0digests", 8);
constexpr std::string_view kSchemaKey("\0schema", 7);

rocksdb::Slice SliceOf(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view ViewOf(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// A row that cannot be read would make a decision from a wrong state. The log still has everything.
[[noreturn]] void StopOnReadError(const rocksdb::Status& status) {
  std::fprintf(stderr,
               "a projection cannot be read: %s; delete it and start again, it is folded anew from "
               "the log\n",
               status.ToString().c_str());
  std::abort();
}

bool ReadRow(rocksdb::DB& db, const rocksdb::ReadOptions& options, std::string_view key,
             absl::FunctionRef<void(std::string_view)> value) {
  rocksdb::PinnableSlice slice;
  const rocksdb::Status status = db.Get(options, db.DefaultColumnFamily(), SliceOf(key), &slice);
  if (status.IsNotFound()) return false;
  if (!status.ok()) StopOnReadError(status);
  value(ViewOf(slice));
  return true;
}

std::optional<std::string> GetRow(rocksdb::DB& db, std::string_view key) {
  std::optional<std::string> row;
  ReadRow(db, {}, key, [&](std::string_view value) { row.emplace(value); });
  return row;
}

void ScanRows(rocksdb::DB& db, rocksdb::ReadOptions options, std::string_view from,
              absl::FunctionRef<bool(std::string_view, std::string_view)> row) {
  options.total_order_seek = true;
  const std::unique_ptr<rocksdb::Iterator> it(db.NewIterator(options));
  for (it->Seek(SliceOf(from)); it->Valid(); it->Next()) {
    if (!row(ViewOf(it->key()), ViewOf(it->value()))) return;
  }
  if (!it->status().ok()) StopOnReadError(it->status());
}

// One cache for all projections of a process, so that its memory has one bound.
std::shared_ptr<rocksdb::Cache> SharedCache() {
  static const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(256 << 20);
  return cache;
}

rocksdb::Options DatabaseOptions() {
  rocksdb::Options options;
  options.create_if_missing = true;
  options.max_open_files = 64;
  options.info_log = RocksDbLogger();
  options.max_background_jobs = 2;
  // Few and large tables: each that a name is looked for in vain in costs a look at its filter.
  options.write_buffer_size = 64 << 20;
  // The young levels are soon merged, so only the old ones are worth compressing.
  options.compression_per_level = {rocksdb::kNoCompression, rocksdb::kNoCompression,
                                   rocksdb::kLZ4Compression};
  options.paranoid_checks = true;
  // Rows are read by exact name far more often than they are scanned.
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = SharedCache();
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  options.memtable_whole_key_filtering = true;
  options.memtable_prefix_bloom_size_ratio = 0.05;
  return options;
}

}  // namespace

ProjectionView::ProjectionView(std::shared_ptr<rocksdb::DB> db, const rocksdb::Snapshot* snapshot)
    : db_(std::move(db)), snapshot_(snapshot) {}

ProjectionView::~ProjectionView() { db_->ReleaseSnapshot(snapshot_); }

bool ProjectionView::Read(std::string_view key,
                          absl::FunctionRef<void(std::string_view)> value) const {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot_;
  return ReadRow(*db_, options, key, value);
}

void ProjectionView::Scan(std::string_view from,
                          absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  rocksdb::ReadOptions options;
  options.snapshot = snapshot_;
  ScanRows(*db_, options, from, row);
}

absl::StatusOr<events::Chain> ProjectionView::Chain(const std::string& stream) const {
  const auto head = Get(kHeadKey);
  if (!head) return events::Chain(stream);
  return events::Chain::Decode(stream, *head);
}

absl::StatusOr<Digests> ProjectionView::FoldedDigests() const {
  return Digests::Decode(Get(kDigestsKey).value_or(""));
}

absl::StatusOr<std::unique_ptr<Projection>> Projection::Open(const std::string& dir,
                                                             std::string stream,
                                                             events::Chain::Origin origin,
                                                             std::string schema) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) {
    return absl::UnavailableError(fmt::format("cannot create {}: {}", dir, error.message()));
  }
  rocksdb::DB* raw = nullptr;
  absl::Status status = FromRocksDb(rocksdb::DB::Open(DatabaseOptions(), dir, &raw),
                                    fmt::format("cannot open the projection in {}", dir));
  if (!status.ok()) return status;
  std::shared_ptr<rocksdb::DB> db(raw);

  const auto found = GetRow(*db, kSchemaKey);
  if (found && *found != schema) {
    return absl::FailedPreconditionError(
        fmt::format("the projection in {} has the layout {}, this release reads {}; stop the "
                    "process, delete {} "
                    "and start again: it is folded anew from the log",
                    dir, *found, schema, dir));
  }
  if (!found) {
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    status =
        FromRocksDb(db->Put(options, SliceOf(kSchemaKey), schema), "cannot write the projection");
    if (!status.ok()) return status;
  }
  const auto head = GetRow(*db, kHeadKey);
  auto chain = head ? events::Chain::Decode(stream, *head, origin)
                    : absl::StatusOr<events::Chain>(events::Chain(stream, origin));
  if (!chain.ok()) return chain.status();
  auto digests = Digests::Decode(GetRow(*db, kDigestsKey).value_or(""));
  if (!digests.ok()) return digests.status();
  return std::unique_ptr<Projection>(
      new Projection(std::move(db), *std::move(chain), *std::move(digests)));
}

Projection::Projection(std::shared_ptr<rocksdb::DB> db, events::Chain chain, Digests digests)
    : db_(std::move(db)),
      chain_(std::move(chain)),
      digests_(std::move(digests)),
      journal_(*this),
      cache_(kCachedRows) {}

Projection::~Projection() {
  // A clean stop leaves nothing to replay; that it failed changes nothing but the next start's
  // length.
  FlushAndWait().IgnoreError();
}

Projection::Cached& Projection::PlaceOf(std::string_view key) const {
  return cache_[std::hash<std::string_view>()(key) % kCachedRows];
}

void Projection::Cache(std::string_view key, std::optional<std::string_view> value) const {
  Cached& place = PlaceOf(key);
  place.key = key;
  place.exists = value.has_value();
  place.value = value.value_or("");
}

bool Projection::Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const {
  const Cached& place = PlaceOf(key);
  if (place.key != key) {
    if (!ReadRow(*db_, {}, key, [&](std::string_view found) { Cache(key, found); }))
      Cache(key, std::nullopt);
  }
  if (place.exists) value(place.value);
  return place.exists;
}

void Projection::Scan(std::string_view from,
                      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  ScanRows(*db_, {}, from, row);
}

absl::Status Projection::Commit(uint64_t sequence, const Notes& notes) {
  unwritten_ = std::make_unique<rocksdb::WriteBatch>();
  journal_.Commit(sequence, [&](const Change& change) {
    digests_.Apply(change);
    if (change.after) {
      unwritten_->Put(SliceOf(change.key), SliceOf(*change.after)).PermitUncheckedError();
    } else {
      unwritten_->Delete(SliceOf(change.key)).PermitUncheckedError();
    }
    Cache(change.key, change.after);
  });
  for (const auto& [key, value] : notes) {
    unwritten_->Put(key, value).PermitUncheckedError();
    Cache(key, value);
  }
  unwritten_->Put(SliceOf(kHeadKey), chain_.Encode()).PermitUncheckedError();
  unwritten_->Put(SliceOf(kDigestsKey), digests_.Encode()).PermitUncheckedError();
  return WriteBatch();
}

absl::Status Projection::RetryCommit() {
  // After a full disk the database refuses writes until it is told to go on.
  // Where it cannot, the write says why; that another attempt to go on is under way would say
  // nothing.
  db_->Resume().PermitUncheckedError();
  return WriteBatch();
}

absl::Status Projection::WriteBatch() {
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  const absl::Status status =
      FromRocksDb(db_->Write(options, unwritten_.get()),
                  fmt::format("cannot write the projection of {}", chain_.stream()));
  if (status.ok()) unwritten_.reset();
  return status;
}

void Projection::Flush() {
  rocksdb::FlushOptions options;
  options.wait = false;
  options.allow_write_stall = true;
  db_->Flush(options).PermitUncheckedError();
}

absl::Status Projection::FlushAndWait() {
  return FromRocksDb(db_->Flush({}), "cannot flush the projection");
}

std::unique_ptr<ProjectionView> Projection::View() const {
  return std::make_unique<ProjectionView>(db_, db_->GetSnapshot());
}

}  // namespace concordat::storage
