#include "storage/projection/memory_store.h"

#include <fmt/format.h>

namespace concordat::storage {
namespace {

using Rows = absl::btree_map<std::string, std::string, std::less<>>;

class MemoryBatch final : public StoreBatch {
 public:
  void Put(std::string_view key, std::string_view value) override {
    changes.emplace_back(key, value);
  }
  void Delete(std::string_view key) override { changes.emplace_back(key, std::nullopt); }
  std::vector<std::pair<std::string, std::optional<std::string>>> changes;
};

std::optional<std::string> GetRow(const Rows& rows, std::string_view key) {
  const auto row = rows.find(key);
  if (row == rows.end()) return std::nullopt;
  return row->second;
}

void ScanRows(const Rows& rows, std::string_view from,
              absl::FunctionRef<bool(std::string_view, std::string_view)> row) {
  for (auto it = rows.lower_bound(from); it != rows.end(); ++it) {
    if (!row(it->first, it->second)) return;
  }
}

class Snapshot final : public StoreReader {
 public:
  explicit Snapshot(std::shared_ptr<const Rows> rows) : rows_(std::move(rows)) {}
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    return GetRow(*rows_, key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    ScanRows(*rows_, from, row);
    return absl::OkStatus();
  }

 private:
  const std::shared_ptr<const Rows> rows_;
};

}  // namespace

class MemoryStore final : public Store {
 public:
  MemoryStore(MemoryDisk& disk, std::string name)
      : disk_(disk), name_(std::move(name)), process_(disk.process_) {
    at().open = true;
  }
  ~MemoryStore() override {
    if (alive()) at().open = false;
  }
  const std::string& place() const override { return name_; }

  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    return GetRow(*at().rows, key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    ScanRows(*at().rows, from, row);
    return absl::OkStatus();
  }
  std::unique_ptr<StoreBatch> NewBatch() override { return std::make_unique<MemoryBatch>(); }

  absl::Status Write(StoreBatch& batch) override {
    if (!alive()) return absl::OkStatus();
    if (!disk_.failure_.ok()) return disk_.failure_;
    MemoryDisk::Place& place = at();
    if (place.rows.use_count() > 1) place.rows = std::make_shared<Rows>(*place.rows);
    Rows& rows = *place.rows;
    for (const auto& [key, value] : static_cast<MemoryBatch&>(batch).changes) {
      const auto row = rows.find(key);
      if (row == rows.end()) {
        if (!value) continue;
        place.undo.emplace_back(key, std::nullopt);
        rows.emplace(key, *value);
      } else if (value) {
        place.undo.emplace_back(key, std::move(row->second));
        row->second = *value;
      } else {
        place.undo.emplace_back(key, std::move(row->second));
        rows.erase(row);
      }
    }
    return absl::OkStatus();
  }
  absl::Status Resume() override { return alive() ? disk_.failure_ : absl::OkStatus(); }
  absl::Status Flush(bool) override {
    if (!alive()) return absl::OkStatus();
    if (!disk_.failure_.ok()) return disk_.failure_;
    at().undo.clear();
    return absl::OkStatus();
  }
  std::unique_ptr<StoreReader> Snapshot() override {
    return std::make_unique<storage::Snapshot>(at().rows);
  }
  bool ReadsAreCheap() const override { return true; }

 private:
  bool alive() const { return process_ == disk_.process_; }
  MemoryDisk::Place& at() const { return *place_; }

  MemoryDisk& disk_;
  const std::string name_;
  const uint64_t process_;
  MemoryDisk::Place* const place_ = &disk_.places_[name_];
};

absl::StatusOr<std::unique_ptr<Store>> MemoryDisk::Open(const std::string& place) {
  if (places_[place].open) {
    return absl::FailedPreconditionError(fmt::format("another process holds {}", place));
  }
  return std::make_unique<MemoryStore>(*this, place);
}

void MemoryDisk::Crash() {
  ++process_;
  for (auto& [name, place] : places_) {
    place.open = false;
    if (place.undo.empty()) continue;

    if (place.rows.use_count() > 1) place.rows = std::make_shared<Rows>(*place.rows);
    for (; !place.undo.empty(); place.undo.pop_back()) {
      auto& [key, before] = place.undo.back();
      if (before) {
        (*place.rows)[key] = *std::move(before);
      } else {
        place.rows->erase(key);
      }
    }
  }
}

MemoryDisk::Image MemoryDisk::Durable() const {
  Image image;
  for (const auto& [name, place] : places_) {
    auto& rows = image[name];
    rows.insert(place.rows->begin(), place.rows->end());
    for (auto it = place.undo.rbegin(); it != place.undo.rend(); ++it) {
      if (it->second) {
        rows[it->first] = *it->second;
      } else {
        rows.erase(it->first);
      }
    }
  }
  return image;
}

void MemoryDisk::Restore(const Image& image) {
  Crash();
  for (auto& [name, place] : places_) {
    const auto kept = image.find(name);
    place.rows = std::make_shared<Rows>();
    if (kept != image.end()) place.rows->insert(kept->second.begin(), kept->second.end());
  }
}

size_t MemoryDisk::rows() const {
  size_t rows = 0;
  for (const auto& [name, place] : places_) rows += place.rows->size();
  return rows;
}

}  // namespace concordat::storage
