// A typed table: rows whose values are one Protobuf message, by resource name.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "storage/projection/rows.h"

namespace concordat::storage {

// Reads of a row that does not parse stop the process: rows are derived, so a restart after
// deleting the projection mends them, and going on would decide from a wrong state.
template <typename Message>
class Table {
 public:
  // Neither source nor journal is owned. A table without a journal can be read only.
  Table(std::string_view name, const RowSource& source, Journal* journal = nullptr)
      : name_(name), source_(source), journal_(journal) {}

  // The row, or nothing.
  std::optional<Message> Get(std::string_view key) const {
    std::optional<Message> message;
    source_.Read(RowKey(name_, key),
                 [&](std::string_view value) { ParseInto(key, value, message.emplace()); });
    return message;
  }
  bool Contains(std::string_view key) const { return source_.Contains(RowKey(name_, key)); }

  // REQUIRES: a journal. Only Evolve may call these.
  void Put(std::string_view key, const Message& message) {
    journal_->Write(RowKey(name_, key), message.SerializeAsString());
  }
  void Delete(std::string_view key) { journal_->Write(RowKey(name_, key), std::nullopt); }

  // Calls `row` for every row whose key begins with `prefix` and is at least `from`, in the order
  // of keys, until it returns false.
  void Scan(std::string_view prefix,
            absl::FunctionRef<bool(std::string_view key, const Message& message)> row,
            std::string_view from = {}) const {
    const std::string begin = RowKey(name_, from > prefix ? from : prefix);
    const std::string wanted = RowKey(name_, prefix);
    source_.Scan(begin, [&](std::string_view key, std::string_view value) {
      if (key.substr(0, wanted.size()) != wanted) return false;
      return row(KeyOf(key), Parse(key, value));
    });
  }

  std::string_view name() const { return name_; }

  // The message of a row's value, for indexes.
  static Message Parse(std::string_view key, std::string_view value) {
    Message message;
    ParseInto(key, value, message);
    return message;
  }

 private:
  static void ParseInto(std::string_view key, std::string_view value, Message& message) {
    if (message.ParseFromArray(value.data(), static_cast<int>(value.size()))) return;
    std::fprintf(stderr, "row %.*s cannot be read: delete the projection and start again\n",
                 static_cast<int>(key.size()), key.data());
    std::abort();
  }

  std::string_view name_;
  const RowSource& source_;
  Journal* journal_;
};

}  // namespace concordat::storage
