// The one place where RocksDB's errors become ours.
#pragma once

#include <absl/status/status.h>
#include <rocksdb/env.h>
#include <rocksdb/status.h>

#include <memory>
#include <string_view>

namespace concordat::storage {

// OK, or the status with `doing` before its message. No space: RESOURCE_EXHAUSTED. Locked by
// another process: FAILED_PRECONDITION. Corruption: DATA_LOSS. Anything else of the disk:
// UNAVAILABLE.
absl::Status FromRocksDb(const rocksdb::Status& status, std::string_view doing);

// Where RocksDB tells its warnings and errors: our own log. Its default, a file beside the data,
// stops the process once the disk has been full.
std::shared_ptr<rocksdb::Logger> RocksDbLogger();

}  // namespace concordat::storage
