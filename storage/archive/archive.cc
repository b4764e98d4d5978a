#include "storage/archive/archive.h"

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <filesystem>

#include "storage/rocksdb.h"

namespace concordat::storage {
namespace {

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
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error)
    return absl::UnavailableError(fmt::format("cannot create {}: {}", dir, error.message()));
  rocksdb::Options options;
  options.create_if_missing = true;
  options.max_open_files = 64;
  options.info_log = RocksDbLogger();
  options.compression = rocksdb::kLZ4Compression;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocksdb::DB* raw = nullptr;
  const absl::Status status = FromRocksDb(rocksdb::DB::Open(options, dir, &raw),
                                          fmt::format("cannot open the archive in {}", dir));
  if (!status.ok()) return status;
  return std::unique_ptr<Archive>(new Archive(std::unique_ptr<rocksdb::DB>(raw)));
}

Archive::Archive(std::unique_ptr<rocksdb::DB> db)
    : db_(std::move(db)), batch_(std::make_unique<rocksdb::WriteBatch>()) {
  std::string value;
  if (db_->Get({}, "n", &value).ok()) next_arrival_ = NumberOf(value);
}

Archive::~Archive() { db_->Flush({}).PermitUncheckedError(); }

absl::StatusOr<events::Chain> Archive::ChainOf(const std::string& stream,
                                               events::Chain::Origin origin) const {
  std::string value;
  const rocksdb::Status found = db_->Get({}, Prefix('h', stream), &value);
  if (found.IsNotFound()) return events::Chain(stream, origin);
  const absl::Status status = FromRocksDb(found, "cannot read the archive");
  if (!status.ok()) return status;
  return events::Chain::Decode(stream, value, origin);
}

void Archive::Add(const std::string& stream, const events::Attributes& attributes,
                  const events::Record& record) {
  const std::string key = EventKey(stream, attributes.sequence);
  const std::string arrival = Number(next_arrival_++);
  batch_->Put(key, events::EncodeRecord(record)).PermitUncheckedError();
  batch_->Put(Prefix('s', attributes.subject) + arrival, key).PermitUncheckedError();
  if (!attributes.correlation_id.empty()) {
    batch_->Put(Prefix('c', attributes.correlation_id) + arrival, key).PermitUncheckedError();
  }
}

absl::Status Archive::Commit(const events::Chain& chain) {
  batch_->Put(Prefix('h', chain.stream()), chain.Encode()).PermitUncheckedError();
  batch_->Put("n", Number(next_arrival_)).PermitUncheckedError();
  rocksdb::WriteOptions options;
  options.disableWAL = true;
  rocksdb::Status written = db_->Write(options, batch_.get());
  if (!written.ok() && db_->Resume().ok()) written = db_->Write(options, batch_.get());
  const absl::Status status = FromRocksDb(written, "cannot write the archive");
  if (!status.ok()) return status;
  batch_->Clear();
  absl::MutexLock lock(&mutex_);
  committed_.SignalAll();
  return absl::OkStatus();
}

void Archive::Flush() {
  rocksdb::FlushOptions options;
  options.wait = false;
  options.allow_write_stall = true;
  db_->Flush(options).PermitUncheckedError();
}

absl::StatusOr<std::optional<ArchivedEvent>> Archive::At(const std::string& stream,
                                                         uint64_t sequence) const {
  const std::string key = EventKey(stream, sequence);
  std::string value;
  const rocksdb::Status found = db_->Get({}, key, &value);
  if (found.IsNotFound()) return std::optional<ArchivedEvent>();
  const absl::Status status = FromRocksDb(found, "cannot read the archive");
  if (!status.ok()) return status;
  auto event = EventOf(key, value);
  if (!event.ok()) return event.status();
  return std::optional<ArchivedEvent>(*std::move(event));
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
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
  for (it->Seek(prefix); it->Valid() && it->key().starts_with(prefix) && events.size() < limit;
       it->Next()) {
    const std::string key = it->value().ToString();
    std::string value;
    const absl::Status status = FromRocksDb(db_->Get({}, key, &value), "cannot read the archive");
    if (!status.ok()) return status;
    auto event = EventOf(key, value);
    if (!event.ok()) return event.status();
    events.push_back(*std::move(event));
  }
  const absl::Status status = FromRocksDb(it->status(), "cannot read the archive");
  if (!status.ok()) return status;
  return events;
}

bool Archive::WaitFor(const std::string& stream, uint64_t sequence, absl::Duration wait) const {
  const absl::Time deadline = absl::Now() + wait;
  for (;;) {
    std::string value;
    if (db_->Get({}, EventKey(stream, sequence), &value).ok()) return true;
    if (absl::Now() >= deadline) return false;
    absl::MutexLock lock(&mutex_);
    committed_.WaitWithTimeout(&mutex_, std::min(deadline - absl::Now(), absl::Milliseconds(50)));
  }
}

}  // namespace concordat::storage
