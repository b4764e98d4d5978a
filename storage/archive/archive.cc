#include "storage/archive/archive.h"

#include <absl/time/clock.h>
#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "storage/projection/rocksdb_store.h"

namespace concordat::storage {
namespace {

constexpr std::string_view kNextArrivalKey = "n";

// Keys: `e <stream> 0x00 <sequence>` → record; `s <subject> 0x00 <arrival>` and `c <correlation>
// 0x00 <arrival>` → key of the record; `h <stream>` → chain; `n` → the next arrival. Numbers are 8
// bytes, most significant first.
std::string Number(uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

uint64_t NumberOf(std::string_view bytes) {
  uint64_t number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

std::string Prefix(char kind, std::string_view name) {
  std::string key(1, kind);
  key.append(name).push_back('\0');
  return key;
}

std::string EventKey(std::string_view stream, uint64_t sequence) {
  return Prefix('e', stream) + Number(sequence);
}

absl::Status ArchiveStatus(const absl::Status& status) {
  return {status.code(),
          fmt::format("the archive: {}{}", std::string(status.message()),
                      absl::IsDataLoss(status)
                          ? "; delete the archive and start again, it is filled anew from the log"
                          : "")};
}

absl::StatusOr<ArchivedEvent> EventOf(const std::string& key, std::string_view value) {
  auto record = events::DecodeRecord(value);
  if (!record.ok()) return record.status();
  ArchivedEvent event;
  event.stream = key.substr(1, key.size() - 10);
  events::Reading reading = events::Read(*record, events::SourceOf(event.stream));
  if (!reading.status.ok()) {
    return absl::DataLossError(
        fmt::format("the archive's copy of {} was changed: {}; delete the archive and start "
                    "again, it is filled anew from the log",
                    event.stream, std::string(reading.status.message())));
  }
  event.attributes = std::move(reading.attributes);
  event.data = std::move(record->data);
  return event;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Archive>> Archive::Open(const std::string& dir) {
  absl::StatusOr<std::unique_ptr<Store>> store = OpenRocksDbStore(dir, StoreUse::kRecords);
  if (!store.ok()) return store.status();
  return Open(*std::move(store));
}

absl::StatusOr<std::unique_ptr<Archive>> Archive::Open(std::unique_ptr<Store> store) {
  // Events that arrive must not take the places of those that are there.
  const auto next = store->Get(kNextArrivalKey);
  if (!next.ok()) return ArchiveStatus(next.status());
  return std::unique_ptr<Archive>(new Archive(std::move(store), *next ? NumberOf(**next) : 0));
}

Archive::Archive(std::unique_ptr<Store> store, uint64_t next_arrival)
    : store_(std::move(store)), next_arrival_(next_arrival) {}

Archive::~Archive() { store_->Flush(true).IgnoreError(); }

absl::StatusOr<events::Chain> Archive::ChainOf(const std::string& stream,
                                               events::Chain::Origin origin) const {
  const auto value = store_->Get(Prefix('h', stream));
  if (!value.ok()) return ArchiveStatus(value.status());
  if (!*value) return events::Chain(stream, origin);
  return events::Chain::Decode(stream, **value, origin);
}

void Archive::Add(const std::string& stream, const events::Attributes& attributes,
                  const events::Record& record) {
  const std::string key = EventKey(stream, attributes.sequence);
  const std::string arrival = Number(next_arrival_++);
  StoreBatch& batch = *BatchOf(stream).writes;
  batch.Put(key, events::EncodeRecord(record));
  batch.Put(Prefix('s', attributes.subject) + arrival, key);
  if (!attributes.correlation_id.empty()) {
    batch.Put(Prefix('c', attributes.correlation_id) + arrival, key);
  }
}

// One a stream: without its chain an event would be added once more after a crash.
Archive::Batch& Archive::BatchOf(const std::string& stream) {
  Batch& batch = batches_[stream];
  if (batch.writes == nullptr) batch = {store_->NewBatch(), false};
  return batch;
}

absl::Status Archive::Commit(const events::Chain& chain) {
  Batch& batch = BatchOf(chain.stream());
  if (!batch.complete) {
    batch.writes->Put(Prefix('h', chain.stream()), chain.Encode());
    batch.writes->Put(kNextArrivalKey, Number(next_arrival_));
    batch.complete = true;
  }
  absl::Status written = store_->Write(*batch.writes);
  if (!written.ok() && store_->Resume().ok()) written = store_->Write(*batch.writes);
  if (!written.ok()) return ArchiveStatus(written);
  batch.writes.reset();
  absl::MutexLock lock(&mutex_);
  committed_.SignalAll();
  return absl::OkStatus();
}

void Archive::Flush() { store_->Flush(false).IgnoreError(); }

absl::StatusOr<std::optional<ArchivedEvent>> Archive::At(const std::string& stream,
                                                         uint64_t sequence) const {
  const std::string key = EventKey(stream, sequence);
  const auto value = store_->Get(key);
  if (!value.ok()) return ArchiveStatus(value.status());
  if (!*value) return std::optional<ArchivedEvent>();
  auto event = EventOf(key, **value);
  if (!event.ok()) return event.status();
  return std::optional<ArchivedEvent>(*std::move(event));
}

absl::StatusOr<std::optional<events::Record>> Archive::RecordAt(const std::string& stream,
                                                                uint64_t sequence) const {
  const auto value = store_->Get(EventKey(stream, sequence));
  if (!value.ok()) return ArchiveStatus(value.status());
  if (!*value) return std::optional<events::Record>();
  auto record = events::DecodeRecord(**value);
  if (!record.ok()) return record.status();
  return std::optional<events::Record>(*std::move(record));
}

absl::StatusOr<std::vector<ArchivedEvent>> Archive::BySubject(const std::string& subject,
                                                              size_t limit) const {
  return ByIndex(Prefix('s', subject), limit);
}

absl::StatusOr<std::vector<ArchivedEvent>> Archive::ByCorrelation(const std::string& correlation_id,
                                                                  size_t limit) const {
  return ByIndex(Prefix('c', correlation_id), limit);
}

absl::StatusOr<std::vector<ArchivedEvent>> Archive::ByIndex(const std::string& prefix,
                                                            size_t limit) const {
  std::vector<ArchivedEvent> events;
  std::vector<std::string> keys;
  const absl::Status scanned =
      store_->Scan(prefix, [&](std::string_view key, std::string_view value) {
        if (keys.size() >= limit || key.substr(0, prefix.size()) != prefix) return false;
        keys.emplace_back(value);
        return true;
      });
  if (!scanned.ok()) return ArchiveStatus(scanned);
  for (const std::string& key : keys) {
    const auto value = store_->Get(key);
    if (!value.ok()) return ArchiveStatus(value.status());
    // The index and what it points to are written together.
    if (!*value) return absl::DataLossError("the archive's index names an event that it lacks");
    auto event = EventOf(key, **value);
    if (!event.ok()) return event.status();
    events.push_back(*std::move(event));
  }
  return events;
}

bool Archive::WaitFor(const std::string& stream, uint64_t sequence, absl::Duration wait) const {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(wait);
  for (;;) {
    const auto value = store_->Get(EventKey(stream, sequence));
    if (value.ok() && *value) return true;
    const absl::Duration left = absl::FromChrono(deadline - std::chrono::steady_clock::now());
    if (left <= absl::ZeroDuration()) return false;
    absl::MutexLock lock(&mutex_);
    committed_.WaitWithTimeout(&mutex_, std::min(left, absl::Milliseconds(50)));
  }
}

}  // namespace concordat::storage
