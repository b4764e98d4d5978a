// The log of an installation without Kafka: one RocksDB database a site, opened by one process.
// Appends of all streams that wait at the same time share one fsync.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>

#include <functional>
#include <memory>
#include <string>

#include "storage/log/log.h"

namespace rocksdb {
class DB;
}

namespace concordat::storage {

class EmbeddedLog final : public Log {
 public:
  // Opens or creates the log in `dir`. FAILED_PRECONDITION where another process holds it;
  // DATA_LOSS where its files cannot be read, with what to do.
  static absl::StatusOr<std::unique_ptr<EmbeddedLog>> Open(const std::string& dir);
  ~EmbeddedLog() override;

  std::unique_ptr<LogReader> NewReader() override;
  std::unique_ptr<LogAppender> NewAppender(const std::string& stream) override;
  // Its streams exist once they are written, and never lose a record: always OK.
  absl::Status Check(const std::string& stream, const LogDemands& demands) override;

  // Appends the records and waits until they are durable; the first one's offset. With `meta_key`,
  // a note is stored in the same batch: the mirror's position.
  absl::StatusOr<int64_t> AppendNow(const std::string& stream,
                                    const std::vector<events::Record>& records,
                                    const std::string& meta_key = "",
                                    const std::string& meta_value = "");
  // A note stored by AppendNow(); empty where there is none.
  std::string Note(const std::string& meta_key);

  // The offset after the last durable record.
  int64_t End(const std::string& stream);
  // At most `limit` records from `offset` on.
  absl::StatusOr<std::vector<StoredRecord>> ReadFrom(const std::string& stream, int64_t offset,
                                                     size_t limit);
  // Waits until `ready` holds, looking again after every append, at most for `wait`.
  bool WaitUntil(const std::function<bool()>& ready, absl::Duration wait);
  // Makes waiting readers look again.
  void WakeAll();

 private:
  struct Stream {
    absl::Mutex appending;  // held while offsets are given and written, so that they have no holes
    int64_t end = 0;        // guarded by EmbeddedLog::mutex_
  };
  explicit EmbeddedLog(std::unique_ptr<rocksdb::DB> db);
  absl::Status Load();
  Stream& StreamOf(const std::string& stream);

  std::unique_ptr<rocksdb::DB> db_;
  absl::Mutex mutex_;
  absl::CondVar appended_;
  absl::flat_hash_map<std::string, std::unique_ptr<Stream>> streams_;
  absl::flat_hash_map<std::string, std::string> notes_;
};

}  // namespace concordat::storage
