#include "storage/log/embedded.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <utility>

#include "storage/log/group_appender.h"
#include "storage/rocksdb.h"

namespace concordat::storage {
namespace {

constexpr size_t kOffsetBytes = 8;

// Records: `r <stream> 0x00 <offset, 8 bytes, most significant first>`. Notes: `n <key>`.
std::string RecordKey(std::string_view stream, int64_t offset) {
  std::string key = "r";
  key.append(stream).push_back('\0');
  for (int shift = 56; shift >= 0; shift -= 8) {
    key.push_back(static_cast<char>(static_cast<uint64_t>(offset) >> shift));
  }
  return key;
}

int64_t OffsetOf(std::string_view key) {
  uint64_t offset = 0;
  for (const char c : key.substr(key.size() - kOffsetBytes))
    offset = offset << 8 | static_cast<uint8_t>(c);
  return static_cast<int64_t>(offset);
}

class EmbeddedReader final : public LogReader {
 public:
  explicit EmbeddedReader(EmbeddedLog& log) : log_(log) {}

  absl::Status Assign(const std::string& stream, int64_t offset) override {
    if (offset > log_.End(stream)) {
      return absl::OutOfRangeError(
          fmt::format("{} ends at offset {}, asked for {}: the log lost records", stream,
                      log_.End(stream), offset));
    }
    std::erase_if(positions_, [&](const auto& position) { return position.first == stream; });
    positions_.emplace_back(stream, offset);
    return absl::OkStatus();
  }

  void Release() override { positions_.clear(); }

  absl::StatusOr<std::vector<StoredRecord>> Read(size_t limit, absl::Duration wait) override {
    const auto some = [&] {
      if (woken_.exchange(false)) return true;
      for (const auto& [stream, offset] : positions_) {
        if (offset < log_.End(stream)) return true;
      }
      return false;
    };
    std::vector<StoredRecord> records;
    if (!log_.WaitUntil(some, wait)) return records;
    for (auto& [stream, offset] : positions_) {
      auto read = log_.ReadFrom(stream, offset, limit - records.size());
      if (!read.ok()) {
        // What could be read before it is handed out first; the next call tells the error.
        if (!records.empty()) break;
        return read.status();
      }
      if (read->empty()) continue;
      offset = read->back().offset + 1;
      if (records.empty()) {
        records = *std::move(read);
      } else {
        records.insert(records.end(), std::make_move_iterator(read->begin()),
                       std::make_move_iterator(read->end()));
      }
      if (records.size() >= limit) break;
    }
    return records;
  }

  absl::StatusOr<int64_t> End(const std::string& stream) override { return log_.End(stream); }

  void Wake() override {
    woken_ = true;
    log_.WakeAll();
  }

 private:
  EmbeddedLog& log_;
  std::vector<std::pair<std::string, int64_t>> positions_;
  std::atomic<bool> woken_ = false;
};

// A group is one write; the wait for its fsync is the next one's window.
class EmbeddedTarget final : public GroupTarget {
 public:
  EmbeddedTarget(EmbeddedLog& log, std::string stream) : log_(log), stream_(std::move(stream)) {}

  void Begin(Group group) override {
    std::vector<events::Record> records;
    records.reserve(group.size());
    for (auto& [record, cookie] : group) records.push_back(std::move(record));
    const absl::StatusOr<int64_t> first = log_.AppendNow(stream_, records);
    for (const auto& [record, cookie] : group) {
      const auto index = static_cast<int64_t>(reports_.size());
      reports_.push_back({cookie, first.status(), first.ok() ? *first + index : -1});
    }
  }
  std::vector<AppendReport> Await(absl::Duration) override { return std::exchange(reports_, {}); }
  void Interrupt() override {}
  void Reset() override { reports_.clear(); }

 private:
  EmbeddedLog& log_;
  const std::string stream_;
  std::vector<AppendReport> reports_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::Open(const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error)
    return absl::UnavailableError(fmt::format("cannot create {}: {}", dir, error.message()));
  rocksdb::Options options;
  options.create_if_missing = true;
  options.max_open_files = 64;
  options.info_log = RocksDbLogger();
  options.paranoid_checks = true;
  // A torn tail was never acknowledged; anything else that is broken must be seen.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  rocksdb::DB* raw = nullptr;
  absl::Status status = FromRocksDb(rocksdb::DB::Open(options, dir, &raw),
                                    fmt::format("cannot open the log in {}", dir));
  std::unique_ptr<EmbeddedLog> log;
  if (status.ok()) {
    log.reset(new EmbeddedLog(std::unique_ptr<rocksdb::DB>(raw)));
    status = log->Load();
  }
  if (absl::IsDataLoss(status)) {
    return absl::DataLossError(fmt::format(
        "{}; its disk has changed it: move the site's folder aside and start again, it is filled "
        "from the other sites; see docs/operations/recover.md",
        std::string(status.message())));
  }
  if (!status.ok()) return status;
  return log;
}

EmbeddedLog::EmbeddedLog(std::unique_ptr<rocksdb::DB> db) : db_(std::move(db)) {}
EmbeddedLog::~EmbeddedLog() = default;

// Where each stream ends, and the notes. Whatever cannot be read is told now: a stream that seems
// to end earlier would be written over.
absl::Status EmbeddedLog::Load() {
  constexpr std::string_view kReading = "cannot read the log";
  absl::MutexLock lock(&mutex_);
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
  for (it->Seek("n"); it->Valid() && it->key().starts_with("n"); it->Next())
    notes_.emplace(it->key().ToString().substr(1), it->value().ToString());
  if (!it->status().ok()) return FromRocksDb(it->status(), kReading);
  for (it->Seek("r"); it->Valid() && it->key().starts_with("r"); it->Next()) {
    const std::string_view key(it->key().data(), it->key().size());
    const std::string stream(key.substr(1, key.find('\0') - 1));
    it->SeekForPrev(RecordKey(stream, INT64_MAX));
    if (!it->Valid()) break;
    auto& known = streams_[stream];
    known = std::make_unique<Stream>();
    known->end = OffsetOf({it->key().data(), it->key().size()}) + 1;
  }
  return FromRocksDb(it->status(), kReading);
}

std::unique_ptr<LogReader> EmbeddedLog::NewReader() {
  return std::make_unique<EmbeddedReader>(*this);
}

std::unique_ptr<LogAppender> EmbeddedLog::NewAppender(const std::string& stream) {
  return std::make_unique<GroupAppender>(std::make_unique<EmbeddedTarget>(*this, stream));
}

absl::Status EmbeddedLog::Check(const std::string&, const LogDemands&) { return absl::OkStatus(); }

EmbeddedLog::Stream& EmbeddedLog::StreamOf(const std::string& stream) {
  absl::MutexLock lock(&mutex_);
  auto& known = streams_[stream];
  if (known == nullptr) known = std::make_unique<Stream>();
  return *known;
}

absl::StatusOr<int64_t> EmbeddedLog::AppendNow(const std::string& stream,
                                               const std::vector<events::Record>& records,
                                               const std::string& meta_key,
                                               const std::string& meta_value) {
  Stream& known = StreamOf(stream);
  absl::MutexLock appending(&known.appending);
  int64_t first = 0;
  {
    absl::MutexLock lock(&mutex_);
    first = known.end;
  }
  rocksdb::WriteBatch batch;
  for (size_t i = 0; i < records.size(); ++i) {
    batch.Put(RecordKey(stream, first + static_cast<int64_t>(i)), events::EncodeRecord(records[i]));
  }
  if (!meta_key.empty()) batch.Put("n" + meta_key, meta_value);
  rocksdb::WriteOptions options;
  options.sync = true;
  rocksdb::Status written = db_->Write(options, &batch);
  if (!written.ok()) {
    // After a full disk the database refuses writes until it is told to go on.
    if (db_->Resume().ok()) written = db_->Write(options, &batch);
  }
  const absl::Status status = FromRocksDb(written, fmt::format("cannot append to {}", stream));
  if (!status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  known.end = first + static_cast<int64_t>(records.size());
  if (!meta_key.empty()) notes_[meta_key] = meta_value;
  appended_.SignalAll();
  return first;
}

std::string EmbeddedLog::Note(const std::string& meta_key) {
  absl::MutexLock lock(&mutex_);
  const auto note = notes_.find(meta_key);
  return note == notes_.end() ? std::string() : note->second;
}

int64_t EmbeddedLog::End(const std::string& stream) {
  Stream& known = StreamOf(stream);
  absl::MutexLock lock(&mutex_);
  return known.end;
}

absl::StatusOr<std::vector<StoredRecord>> EmbeddedLog::ReadFrom(const std::string& stream,
                                                                int64_t offset, size_t limit) {
  std::vector<StoredRecord> records;
  const int64_t end = End(stream);
  if (offset >= end) return records;
  records.reserve(std::min(limit, static_cast<size_t>(end - offset)));
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
  const std::string from = RecordKey(stream, offset);
  const std::string_view of_stream = std::string_view(from).substr(0, from.size() - kOffsetBytes);
  absl::Status status;
  for (it->Seek(from); it->Valid() && offset < end && records.size() < limit; it->Next()) {
    const std::string_view key(it->key().data(), it->key().size());
    if (key.size() != from.size() || key.substr(0, of_stream.size()) != of_stream ||
        OffsetOf(key) != offset) {
      status = absl::OutOfRangeError(
          fmt::format("{} has no record at offset {}: the log lost it", stream, offset));
      break;
    }
    auto record = events::DecodeRecord({it->value().data(), it->value().size()});
    status = record.status();
    if (!status.ok()) break;
    records.push_back({stream, offset++, *std::move(record)});
  }
  if (status.ok()) status = FromRocksDb(it->status(), fmt::format("cannot read {}", stream));
  // What could be read before it is handed out first.
  if (!status.ok() && records.empty()) return status;
  return records;
}

bool EmbeddedLog::WaitUntil(const std::function<bool()>& ready, absl::Duration wait) {
  const auto deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(wait);
  for (;;) {
    if (ready()) return true;
    absl::MutexLock lock(&mutex_);
    // An append between the look and the lock would be missed for as long as the wait, so it is
    // short.
    const absl::Duration left = absl::FromChrono(deadline - std::chrono::steady_clock::now());
    if (left <= absl::ZeroDuration()) return false;
    appended_.WaitWithTimeout(&mutex_, std::min(left, absl::Milliseconds(20)));
  }
}

void EmbeddedLog::WakeAll() {
  absl::MutexLock lock(&mutex_);
  appended_.SignalAll();
}

}  // namespace concordat::storage
