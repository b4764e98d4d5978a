// Stores on a disk in memory, for simulated worlds. Law: it loses in a crash what a real disk may
// lose, namely what was not flushed, and refuses what a full or failing disk refuses.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/status/statusor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/projection/store.h"

namespace concordat::storage {

// The disk of one simulated machine. It and its stores are used by one thread, and it must outlive
// them.
class MemoryDisk {
 public:
  MemoryDisk() = default;
  MemoryDisk(const MemoryDisk&) = delete;

  // Opens or creates the store at a place. FAILED_PRECONDITION where it is open already.
  absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& place);

  // What every Write() and Resume() says from now on; OK: the disk works again.
  void Fail(absl::Status status) { failure_ = std::move(status); }

  // The process ends: what was not flushed is lost, and the stores that are open change nothing any
  // more.
  void Crash();

  // What is durable, to be put back later as an operator restores a copy. Restore() as Crash().
  using Image = std::map<std::string, absl::btree_map<std::string, std::string>>;
  Image Durable() const;
  void Restore(const Image& image);

  // Rows that are held.
  size_t rows() const;

 private:
  friend class MemoryStore;
  using Rows = absl::btree_map<std::string, std::string, std::less<>>;
  struct Place {
    std::shared_ptr<Rows> rows = std::make_shared<Rows>();  // shared with snapshots, then copied
    // What undoes the writes since the last flush, the oldest first.
    std::vector<std::pair<std::string, std::optional<std::string>>> undo;
    bool open = false;
  };
  std::map<std::string, Place> places_;
  uint64_t process_ = 0;
  absl::Status failure_;
};

}  // namespace concordat::storage
