// Snapshots of projections: copies that are named by their head and can be put back. Law: a
// snapshot is put back only if its rows, read anew, have the digest and the head that it was named
// with.
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "events/chain.h"
#include "storage/projection/projection.h"

namespace concordat::storage {

struct Snapshot {
  std::string dir;  // `<folder>/<stream>/000000004711-3f9ac0ffee12`: sequence and link
  std::string stream;
  events::Head head;
  std::string digest;  // of all tables, 64 hexadecimal digits
  std::string schema;  // the layout of its rows
};

// Takes a snapshot into `<folder>/<stream>`, while the projection goes on. Any thread. Costs disk
// only for what changes afterwards. Where there is one of the same head, it is left as it is.
absl::StatusOr<Snapshot> TakeSnapshot(const Projection& projection, const std::string& folder,
                                      const std::string& schema);

// Reads every row of the snapshot in `dir`. NOT_FOUND where there is none; DATA_LOSS where its rows
// have another digest or head than it was named with.
absl::StatusOr<Snapshot> CheckSnapshot(const std::string& dir);

// Checks the snapshot and copies it to `<folder>/<stream>`, wherever it lies itself. ALREADY_EXISTS
// where there is a projection already; errors of CheckSnapshot() besides.
absl::StatusOr<Snapshot> RestoreSnapshot(const std::string& dir, const std::string& folder);

}  // namespace concordat::storage
