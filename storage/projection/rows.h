// Rows are what a projection keeps: an ordered map from keys to values, both bytes, divided into
// tables. Law: only Evolve changes rows, and every change goes through a Journal.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/node_hash_map.h>
#include <absl/functional/function_ref.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::storage {

// Something rows can be read from: a database, a snapshot of one, memory, a journal over any of
// them.
class RowSource {
 public:
  virtual ~RowSource() = default;

  // Calls `value` with the row's value, where there is the row; it is valid during the call only,
  // and the call must not change the source. Returns whether there is the row.
  virtual bool Read(std::string_view key,
                    absl::FunctionRef<void(std::string_view)> value) const = 0;

  // A copy of the value, or nothing.
  std::optional<std::string> Get(std::string_view key) const;
  bool Contains(std::string_view key) const;

  // Calls `row` for every row with a key of at least `from`, in the order of keys as unsigned
  // bytes, until it returns false. `row` must not change the source.
  virtual void Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view key, std::string_view value)> row) const = 0;
};

// Rows in memory. Not thread-safe.
class MemoryRows final : public RowSource {
 public:
  bool Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const override;
  void Scan(std::string_view from,
            absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override;
  // Sets a row, or removes it where `value` is nothing.
  void Set(std::string_view key, std::optional<std::string_view> value);

 private:
  absl::btree_map<std::string, std::string, std::less<>> rows_;
};

// One change of one row; valid while whoever was given it looks at it.
struct Change {
  std::string_view key;
  std::optional<std::string_view> before;
  std::optional<std::string_view> after;
};

// Changes that are not committed yet, laid over a source. Every change belongs to an event's
// sequence; Commit() takes a prefix of the sequences, Rollback() undoes a suffix. Not thread-safe.
class Journal final : public RowSource {
 public:
  // Neither is owned; both must outlive the journal. `observe` is called with every change as it is
  // made, and with before and after swapped as it is undone: an index kept by it equals the rows.
  using Observer = std::function<void(const Change&)>;
  explicit Journal(const RowSource& base, Observer observe = nullptr);
  Journal(const Journal&) = delete;

  void Observe(Observer observe) { observe_ = std::move(observe); }

  // The changes that follow belong to this sequence; sequences must not go down.
  void Begin(uint64_t sequence);
  // Sets a row, or removes it where `value` is nothing.
  void Write(std::string key, std::optional<std::string> value);
  // Sets a row that the caller knows is not there, without looking for it.
  void WriteNew(std::string key, std::string value);

  bool Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const override;
  void Scan(std::string_view from,
            absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override;

  // Takes the changes up to and including `sequence` out of the journal, one for each row: its
  // value before the first and after the last of them. `store` puts each into the base; it must not
  // read the journal. They come in the order of keys, which is what databases take most quickly.
  void Commit(uint64_t sequence, absl::FunctionRef<void(const Change&)> store);

  // Undoes all changes of `sequence` and above, the latest first.
  void Rollback(uint64_t sequence);

  bool empty() const { return changes_.empty(); }

 private:
  struct Entry {
    std::optional<std::string> value;
    uint64_t writes = 0;   // changes of this row that are in `changes_`
    uint64_t taken = 0;    // of those, the ones that a Commit() under way takes
    bool ordered = false;  // it is in `order_`
  };
  using Overlay = absl::node_hash_map<std::string, Entry>;
  struct Numbered {
    uint64_t sequence;
    Overlay::value_type* row;
    std::optional<std::string> before;
  };

  void Record(Overlay::value_type& row, bool is_new, std::optional<std::string> before,
              std::optional<std::string> after);
  // Forgets a row that no change in `changes_` is of.
  void Forget(const Overlay::value_type& row);

  const RowSource& base_;
  Observer observe_;
  uint64_t sequence_ = 0;
  Overlay overlay_;
  // The rows of overlay_ by key, but for those that came since the last Scan(): most rows come and
  // go without one, and putting each in its place costs more than the change itself.
  mutable absl::btree_map<std::string_view, Overlay::value_type*> order_;
  mutable std::vector<Overlay::value_type*> unordered_;
  std::deque<Numbered> changes_;
};

// A table's rows have keys `<table> 0x00 <row key>`. Keys that begin with 0x00 are the runtime's
// own (positions, pending intents): they are neither indexed nor part of the digest.
std::string RowKey(std::string_view table, std::string_view key);
// The table of a row's key; empty for the runtime's own.
std::string_view TableOf(std::string_view row_key);
// What follows the table's name.
std::string_view KeyOf(std::string_view row_key);

}  // namespace concordat::storage
