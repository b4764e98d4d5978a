#include "storage/projection/rows.h"

#include <absl/container/flat_hash_map.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace concordat::storage {

std::optional<std::string> MemoryRows::Get(std::string_view key) const {
  const auto row = rows_.find(key);
  if (row == rows_.end()) return std::nullopt;
  return row->second;
}

void MemoryRows::Scan(std::string_view from,
                      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  for (auto it = rows_.lower_bound(from); it != rows_.end(); ++it) {
    if (!row(it->first, it->second)) return;
  }
}

void MemoryRows::Set(const std::string& key, const std::optional<std::string>& value) {
  if (value) {
    rows_[key] = *value;
  } else {
    rows_.erase(key);
  }
}

Journal::Journal(const RowSource& base, Observer observe)
    : base_(base), observe_(std::move(observe)) {}

void Journal::Begin(uint64_t sequence) {
  if (sequence < sequence_ && !changes_.empty()) {
    std::fprintf(stderr, "Journal::Begin: sequence %llu after %llu\n",
                 static_cast<unsigned long long>(sequence),
                 static_cast<unsigned long long>(sequence_));
    std::abort();
  }
  sequence_ = sequence;
}

void Journal::Write(std::string key, std::optional<std::string> value) {
  std::optional<std::string> before = Get(key);
  if (!before && !value && !overlay_.contains(key)) return;
  Record(std::move(key), std::move(before), std::move(value));
}

void Journal::WriteNew(std::string key, std::string value) {
  Record(std::move(key), std::nullopt, std::move(value));
}

void Journal::Record(std::string key, std::optional<std::string> before,
                     std::optional<std::string> after) {
  Entry& entry = overlay_[key];
  entry.value = after;
  ++entry.writes;
  changes_.push_back({sequence_, {std::move(key), std::move(before), std::move(after)}});
  if (observe_) observe_(changes_.back().change);
}

std::optional<std::string> Journal::Get(std::string_view key) const {
  const auto entry = overlay_.find(key);
  return entry == overlay_.end() ? base_.Get(key) : entry->second.value;
}

void Journal::Scan(std::string_view from,
                   absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  auto over = overlay_.lower_bound(from);
  bool wanted = true;
  const auto emit_before = [&](const std::string_view* key) {
    for (; wanted && over != overlay_.end() && (key == nullptr || over->first < *key); ++over) {
      if (over->second.value) wanted = row(over->first, *over->second.value);
    }
    return wanted;
  };
  base_.Scan(from, [&](std::string_view key, std::string_view value) {
    if (!emit_before(&key)) return false;
    if (over != overlay_.end() && over->first == key) {
      if (over->second.value) wanted = row(key, *over->second.value);
      ++over;
    } else {
      wanted = row(key, value);
    }
    return wanted;
  });
  emit_before(nullptr);
}

std::vector<Change> Journal::Commit(uint64_t sequence) {
  std::vector<Change> committed;
  absl::flat_hash_map<std::string, size_t> at;
  while (!changes_.empty() && changes_.front().sequence <= sequence) {
    Change change = std::move(changes_.front().change);
    changes_.pop_front();
    const auto entry = overlay_.find(change.key);
    if (--entry->second.writes == 0) overlay_.erase(entry);
    const auto [known, inserted] = at.try_emplace(change.key, committed.size());
    if (inserted) {
      committed.push_back(std::move(change));
    } else {
      committed[known->second].after = std::move(change.after);
    }
  }
  return committed;
}

void Journal::Rollback(uint64_t sequence) {
  while (!changes_.empty() && changes_.back().sequence >= sequence) {
    Change change = std::move(changes_.back().change);
    changes_.pop_back();
    const auto entry = overlay_.find(change.key);
    if (--entry->second.writes == 0) {
      overlay_.erase(entry);
    } else {
      entry->second.value = change.before;
    }
    std::swap(change.before, change.after);
    if (observe_) observe_(change);
  }
  sequence_ = changes_.empty() ? 0 : changes_.back().sequence;
}

std::string RowKey(std::string_view table, std::string_view key) {
  std::string row_key;
  row_key.reserve(table.size() + 1 + key.size());
  row_key.append(table).push_back('\0');
  row_key.append(key);
  return row_key;
}

std::string_view TableOf(std::string_view row_key) { return row_key.substr(0, row_key.find('\0')); }

std::string_view KeyOf(std::string_view row_key) {
  const size_t separator = row_key.find('\0');
  return separator == row_key.npos ? std::string_view() : row_key.substr(separator + 1);
}

}  // namespace concordat::storage
