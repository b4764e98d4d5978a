#include "storage/projection/projection.h"

#include <absl/hash/hash.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "events/flaw.h"
#include "storage/projection/rocksdb_store.h"

namespace concordat::storage {
namespace {

// Keys that begin with 0x00 are the runtime's own.
constexpr std::string_view kHeadKey("\0head", 5);
constexpr std::string_view kDigestsKey("\0digests", 8);
constexpr std::string_view kSchemaKey("\0schema", 7);

// A row that cannot be read would make a decision from a wrong state. The log still has everything.
[[noreturn]] void StopOnReadError(const absl::Status& status) {
  std::fprintf(stderr,
               "a projection cannot be read: %s; delete it and start again, it is folded anew from "
               "the log\n",
               status.ToString().c_str());
  std::abort();
}

bool ReadRow(const StoreReader& store, std::string_view key,
             absl::FunctionRef<void(std::string_view)> value) {
  const absl::StatusOr<std::optional<std::string>> row = store.Get(key);
  if (!row.ok()) StopOnReadError(row.status());
  if (*row) value(**row);
  return row->has_value();
}

std::optional<std::string> GetRow(const StoreReader& store, std::string_view key) {
  std::optional<std::string> row;
  ReadRow(store, key, [&](std::string_view value) { row.emplace(value); });
  return row;
}

void ScanRows(const StoreReader& store, std::string_view from,
              absl::FunctionRef<bool(std::string_view, std::string_view)> row) {
  const absl::Status status = store.Scan(from, row);
  if (!status.ok()) StopOnReadError(status);
}

}  // namespace

ProjectionView::ProjectionView(std::shared_ptr<Store> store)
    : store_(std::move(store)), snapshot_(store_->Snapshot()) {}

bool ProjectionView::Read(std::string_view key,
                          absl::FunctionRef<void(std::string_view)> value) const {
  return ReadRow(*snapshot_, key, value);
}

void ProjectionView::Scan(std::string_view from,
                          absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  ScanRows(*snapshot_, from, row);
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
  absl::StatusOr<std::unique_ptr<Store>> store = OpenRocksDbStore(dir, StoreUse::kRows);
  if (!store.ok()) return store.status();
  return Open(*std::move(store), std::move(stream), origin, std::move(schema));
}

absl::StatusOr<std::unique_ptr<Projection>> Projection::Open(std::unique_ptr<Store> opened,
                                                             std::string stream,
                                                             events::Chain::Origin origin,
                                                             std::string schema) {
  std::shared_ptr<Store> store = std::move(opened);
  const auto found = GetRow(*store, kSchemaKey);
  if (found && *found != schema) {
    return absl::FailedPreconditionError(
        fmt::format("the projection in {0} has the layout {1}, this release reads {2}; stop the "
                    "process, delete {0} and start again: it is folded anew from the log",
                    store->place(), *found, schema));
  }
  if (!found) {
    const std::unique_ptr<StoreBatch> batch = store->NewBatch();
    batch->Put(kSchemaKey, schema);
    const absl::Status status = store->Write(*batch);
    if (!status.ok()) return status;
  }
  const auto head = GetRow(*store, kHeadKey);
  auto chain = head ? events::Chain::Decode(stream, *head, origin)
                    : absl::StatusOr<events::Chain>(events::Chain(stream, origin));
  if (!chain.ok()) return chain.status();
  chain->Rewind();
  auto digests = Digests::Decode(GetRow(*store, kDigestsKey).value_or(""));
  if (!digests.ok()) return digests.status();
  return std::unique_ptr<Projection>(
      new Projection(std::move(store), *std::move(chain), *std::move(digests)));
}

Projection::Projection(std::shared_ptr<Store> store, events::Chain chain, Digests digests)
    : store_(std::move(store)),
      chain_(std::move(chain)),
      digests_(std::move(digests)),
      journal_(*this),
      cache_(store_->ReadsAreCheap() ? 0 : kCachedRows) {}

Projection::~Projection() {
  // A clean stop leaves nothing to replay; that it failed changes nothing but the next start's
  // length.
  FlushAndWait().IgnoreError();
}

Projection::Cached* Projection::PlaceOf(std::string_view key) const {
  if (cache_.empty() || (!uncached_.empty() && key.substr(0, uncached_.size()) == uncached_))
    return nullptr;
  return &cache_[absl::HashOf(absl::string_view(key.data(), key.size())) % kCachedRows];
}

void Projection::Cache(std::string_view key, std::optional<std::string_view> value) const {
  Cached* place = PlaceOf(key);
  if (place == nullptr) return;
  place->key = key;
  place->exists = value.has_value();
  place->value = value.value_or("");
}

bool Projection::Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const {
  Cached* place = PlaceOf(key);
  if (place == nullptr) return ReadRow(*store_, key, value);
  if (place->key != key) {
    place->exists = ReadRow(*store_, key, [&](std::string_view found) { place->value = found; });
    place->key = key;
  }
  if (place->exists) value(place->value);
  return place->exists;
}

void Projection::Scan(std::string_view from,
                      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  ScanRows(*store_, from, row);
}

absl::Status Projection::Commit(uint64_t sequence, const Notes& notes) {
  // Its rows are nowhere else, and the next head must not stand over their absence.
  if (unwritten_ != nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("the projection of {}: the last commit is not stored yet", chain_.stream()));
  }
  unwritten_ = store_->NewBatch();
  journal_.Commit(sequence, [&](const Change& change) {
    digests_.Apply(change);
    if (change.after) {
      unwritten_->Put(change.key, *change.after);
    } else {
      unwritten_->Delete(change.key);
    }
    Cache(change.key, change.after);
  });
  for (const auto& [key, value] : notes) {
    unwritten_->Put(key, value);
    Cached* place = PlaceOf(key);
    if (place != nullptr && place->key == key) place->key.clear();
  }
  if (!events::Has(events::Flaw::kForgetsPosition) || sequence % 8 == 0)
    unwritten_->Put(kHeadKey, chain_.Encode());
  unwritten_->Put(kDigestsKey, digests_.Encode());
  return WriteBatch();
}

absl::Status Projection::RetryCommit() {
  // After a full disk the database refuses writes until it is told to go on.
  // Where it cannot, the write says why; that another attempt to go on is under way would say
  // nothing.
  store_->Resume().IgnoreError();
  return WriteBatch();
}

absl::Status Projection::WriteBatch() {
  const absl::Status status = store_->Write(*unwritten_);
  if (!status.ok()) {
    return absl::Status(status.code(), fmt::format("the projection of {}: {}", chain_.stream(),
                                                   std::string(status.message())));
  }
  unwritten_.reset();
  return status;
}

// That it failed changes nothing but the length of the next start.
void Projection::Flush() { store_->Flush(false).IgnoreError(); }

absl::Status Projection::FlushAndWait() { return store_->Flush(true); }

absl::Status Projection::Checkpoint(const std::string& dir) const { return store_->CopyTo(dir); }

std::unique_ptr<ProjectionView> Projection::View() const {
  return std::make_unique<ProjectionView>(store_);
}

}  // namespace concordat::storage
