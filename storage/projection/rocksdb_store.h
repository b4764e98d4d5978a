// The store on RocksDB, without write-ahead log: the stream that it is folded from is that log.
#pragma once

#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>
#include <string>

#include "storage/projection/store.h"

namespace concordat::storage {

// Opens or creates the database in `dir`. FAILED_PRECONDITION where another process holds it;
// DATA_LOSS where it cannot be read; UNAVAILABLE for whatever else the disk says. So many bytes of
// what was written are gathered in memory for one file; a twentieth of it is taken at once, for a
// filter.
absl::StatusOr<std::unique_ptr<Store>> OpenRocksDbStore(const std::string& dir, StoreUse use,
                                                        size_t gathered_bytes = 64 << 20);

// What the process's cache of rows holds now, in bytes, of at most 256 MB.
size_t RowCacheBytes();

}  // namespace concordat::storage
