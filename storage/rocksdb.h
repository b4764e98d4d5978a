// The one place where RocksDB's errors become ours.
#pragma once

#include <absl/status/status.h>
#include <rocksdb/status.h>

#include <string_view>

namespace concordat::storage {

// OK, or the status with `doing` before its message. No space: RESOURCE_EXHAUSTED. Locked by
// another process: FAILED_PRECONDITION. Corruption: DATA_LOSS. Anything else of the disk:
// UNAVAILABLE.
absl::Status FromRocksDb(const rocksdb::Status& status, std::string_view doing);

}  // namespace concordat::storage
