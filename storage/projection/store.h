// The store port: what projections and the archive need of a database. Law: a batch is written as a
// whole or not at all; what was written but not flushed may be lost by a crash, the latest first.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace concordat::storage {

// An ordered map of bytes. Thread-safe. DATA_LOSS: what is stored cannot be read.
class StoreReader {
 public:
  virtual ~StoreReader() = default;
  // The value, or nothing.
  virtual absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const = 0;
  // Calls `row` for every row with a key of at least `from`, in the order of keys as unsigned
  // bytes, until it returns false.
  virtual absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> row) const = 0;
};

// Writes that belong together. Not thread-safe.
class StoreBatch {
 public:
  virtual ~StoreBatch() = default;
  virtual void Put(std::string_view key, std::string_view value) = 0;
  virtual void Delete(std::string_view key) = 0;
};

// One that can be written, by one thread.
class Store : public StoreReader {
 public:
  // Where it is: a folder that may be deleted while the process is stopped.
  virtual const std::string& place() const = 0;
  virtual std::unique_ptr<StoreBatch> NewBatch() = 0;
  // REQUIRES: the batch is of this store. On an error nothing was written, and after Resume() the
  // same batch may be written again. RESOURCE_EXHAUSTED: the disk is full.
  virtual absl::Status Write(StoreBatch& batch) = 0;
  // After a failed write a store refuses others until it is told to go on. An error where it
  // cannot yet; it may say so although it can, so the next Write() tells.
  virtual absl::Status Resume() = 0;
  // Makes durable what was written: in the background, or with `wait` before it returns.
  virtual absl::Status Flush(bool wait) = 0;
  // The rows as they stand now. The store must outlive it.
  virtual std::unique_ptr<StoreReader> Snapshot() = 0;
  // Copies what is written to a folder that does not exist yet, while writing goes on. Any thread.
  // UNIMPLEMENTED where the store is no folder.
  virtual absl::Status CopyTo(const std::string& dir) {
    return absl::UnimplementedError("cannot copy to " + dir + ": the store is no folder");
  }
  // Whether a read costs no more than one from a cache in front of the store would.
  virtual bool ReadsAreCheap() const { return false; }
};

// What a store is tuned for.
enum class StoreUse {
  kRows,     // read by exact name far more often than scanned
  kRecords,  // many and large, seldom read
};

}  // namespace concordat::storage
