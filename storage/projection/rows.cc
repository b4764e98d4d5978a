#include "storage/projection/rows.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <utility>
#include <vector>

namespace concordat::storage {

std::optional<std::string> RowSource::Get(std::string_view key) const {
  std::optional<std::string> copy;
  Read(key, [&](std::string_view value) { copy.emplace(value); });
  return copy;
}

bool RowSource::Contains(std::string_view key) const {
  return Read(key, [](std::string_view) {});
}

bool MemoryRows::Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const {
  const auto row = rows_.find(key);
  if (row == rows_.end()) return false;
  value(row->second);
  return true;
}

void MemoryRows::Scan(std::string_view from,
                      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  for (auto it = rows_.lower_bound(from); it != rows_.end(); ++it) {
    if (!row(it->first, it->second)) return;
  }
}

void MemoryRows::Set(std::string_view key, std::optional<std::string_view> value) {
  const auto row = rows_.find(key);
  if (!value) {
    if (row != rows_.end()) rows_.erase(row);
  } else if (row != rows_.end()) {
    row->second = *value;
  } else {
    rows_.emplace(key, *value);
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
  const auto [row, is_new] = overlay_.try_emplace(std::move(key));
  std::optional<std::string> before = is_new ? base_.Get(row->first) : std::move(row->second.value);
  if (is_new && !before && !value) {
    overlay_.erase(row);
  } else {
    Record(*row, is_new, std::move(before), std::move(value));
  }
}

void Journal::WriteNew(std::string key, std::string value) {
  const auto [row, is_new] = overlay_.try_emplace(std::move(key));
  Record(*row, is_new, std::nullopt, std::move(value));
}

void Journal::Record(Overlay::value_type& row, bool is_new, std::optional<std::string> before,
                     std::optional<std::string> after) {
  if (is_new) unordered_.push_back(&row);
  row.second.value = std::move(after);
  ++row.second.writes;
  changes_.push_back({sequence_, &row, std::move(before)});
  if (observe_) observe_({row.first, changes_.back().before, row.second.value});
}

void Journal::Forget(const Overlay::value_type& row) {
  if (row.second.ordered) {
    order_.erase(row.first);
  } else {
    // The last that came is the first to go where changes are undone.
    unordered_.erase(std::next(std::find(unordered_.rbegin(), unordered_.rend(), &row)).base());
  }
  overlay_.erase(row.first);
}

bool Journal::Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const {
  const auto row = overlay_.find(absl::string_view(key.data(), key.size()));
  if (row == overlay_.end()) return base_.Read(key, value);
  if (!row->second.value) return false;
  value(*row->second.value);
  return true;
}

void Journal::Scan(std::string_view from,
                   absl::FunctionRef<bool(std::string_view, std::string_view)> row) const {
  for (Overlay::value_type* fresh : unordered_) {
    fresh->second.ordered = true;
    order_.emplace(fresh->first, fresh);
  }
  unordered_.clear();
  auto over = order_.lower_bound(from);
  bool wanted = true;
  const auto emit = [&] {
    const auto& value = over->second->second.value;
    if (value) wanted = row(over->first, *value);
  };
  const auto emit_before = [&](const std::string_view* key) {
    for (; wanted && over != order_.end() && (key == nullptr || over->first < *key); ++over) emit();
    return wanted;
  };
  base_.Scan(from, [&](std::string_view key, std::string_view value) {
    if (!emit_before(&key)) return false;
    if (over != order_.end() && over->first == key) {
      emit();
      ++over;
    } else {
      wanted = row(key, value);
    }
    return wanted;
  });
  emit_before(nullptr);
}

void Journal::Commit(uint64_t sequence, absl::FunctionRef<void(const Change&)> store) {
  const auto end = std::find_if(changes_.begin(), changes_.end(),
                                [&](const Numbered& change) { return change.sequence > sequence; });
  std::vector<Numbered*> firsts;  // the first change of each row
  for (auto change = changes_.begin(); change != end; ++change) {
    if (change->row->second.taken++ == 0) firsts.push_back(&*change);
  }
  // Of a row that changes again after `sequence`, the value in between is what that change was
  // from.
  absl::flat_hash_map<const Overlay::value_type*, const std::optional<std::string>*> between;
  for (auto change = end; change != changes_.end(); ++change) {
    if (change->row->second.taken > 0) between.try_emplace(change->row, &change->before);
  }
  std::sort(firsts.begin(), firsts.end(),
            [](const Numbered* a, const Numbered* b) { return a->row->first < b->row->first; });
  for (const Numbered* first : firsts) {
    const auto later = between.find(first->row);
    store({first->row->first, first->before,
           later == between.end() ? first->row->second.value : *later->second});
  }
  for (const Numbered* first : firsts) {
    Entry& entry = first->row->second;
    entry.writes -= std::exchange(entry.taken, 0);
  }
  unordered_.erase(std::remove_if(unordered_.begin(), unordered_.end(),
                                  [](const auto* row) { return row->second.writes == 0; }),
                   unordered_.end());
  for (const Numbered* first : firsts) {
    const Overlay::value_type& row = *first->row;
    if (row.second.writes > 0) continue;
    if (row.second.ordered) order_.erase(row.first);
    overlay_.erase(row.first);
  }
  changes_.erase(changes_.begin(), end);
}

void Journal::Rollback(uint64_t sequence) {
  while (!changes_.empty() && changes_.back().sequence >= sequence) {
    Numbered& change = changes_.back();
    Entry& entry = change.row->second;
    std::swap(entry.value, change.before);
    if (observe_) observe_({change.row->first, change.before, entry.value});
    if (--entry.writes == 0) Forget(*change.row);
    changes_.pop_back();
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
