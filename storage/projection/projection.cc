#include "storage/projection/projection.h"

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

std::optional<std::string> GetRow(const StoreReader& store, std::string_view key) {
  absl::StatusOr<std::optional<std::string>> value = store.Get(key);
  if (!value.ok()) StopOnReadError(value.status());
  return *std::move(value);
}

void ScanRows(const StoreReader& store, std::string_view from,
              absl::FunctionRef<bool(std::string_view, std::string_view)> row) {
  const absl::Status status = store.Scan(from, row);
  if (!status.ok()) StopOnReadError(status);
}

}  // namespace

ProjectionView::ProjectionView(std::shared_ptr<Store> store)
    : store_(std::move(store)), snapshot_(store_->Snapshot()) {}

std::optional<std::string> ProjectionView::Get(std::string_view key) const {
  return GetRow(*snapshot_, key);
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
  auto digests = Digests::Decode(GetRow(*store, kDigestsKey).value_or(""));
  if (!digests.ok()) return digests.status();
  return std::unique_ptr<Projection>(
      new Projection(std::move(store), *std::move(chain), *std::move(digests)));
}

Projection::Projection(std::shared_ptr<Store> store, events::Chain chain, Digests digests)
    : store_(std::move(store)),
      chain_(std::move(chain)),
      digests_(std::move(digests)),
      journal_(*this) {}

Projection::~Projection() {
  // A clean stop leaves nothing to replay; that it failed changes nothing but the next start's
  // length.
  FlushAndWait().IgnoreError();
}

std::optional<std::string> Projection::Get(std::string_view key) const {
  const auto cached = cache_.find(absl::string_view(key.data(), key.size()));
  if (cached != cache_.end()) return cached->second;
  if (cache_.size() >= kCachedRows) cache_.clear();
  return cache_.emplace(std::string(key), GetRow(*store_, key)).first->second;
}

void Projection::Scan(std::string_view from,
                      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  ScanRows(*store_, from, row);
}

absl::Status Projection::Commit(uint64_t sequence, const Notes& notes) {
  unwritten_ = store_->NewBatch();
  for (Change& change : journal_.Commit(sequence)) {
    digests_.Apply(change);
    if (change.after) {
      unwritten_->Put(change.key, *change.after);
    } else {
      unwritten_->Delete(change.key);
    }
    if (cache_.size() < kCachedRows || cache_.contains(change.key))
      cache_[change.key] = std::move(change.after);
  }
  for (const auto& [key, value] : notes) {
    unwritten_->Put(key, value);
    cache_.erase(key);
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

std::unique_ptr<ProjectionView> Projection::View() const {
  return std::make_unique<ProjectionView>(store_);
}

}  // namespace concordat::storage
