// The store on RocksDB, without write-ahead log: the stream that it is folded from is that log.
#pragma once

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "storage/projection/store.h"

namespace concordat::storage {

// Opens or creates the database in `dir`. FAILED_PRECONDITION where another process holds it;
// DATA_LOSS where it cannot be read; UNAVAILABLE for whatever else the disk says.
absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& dir, StoreUse use);

}  // namespace concordat::storage
