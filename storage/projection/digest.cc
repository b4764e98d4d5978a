#include "storage/projection/digest.h"

#include <cstring>

#include "events/link.h"

namespace concordat::storage {
namespace {

std::array<uint64_t, 4> HashOf(std::string_view row_key, std::string_view value) {
  // Its memory is used again and again: a thread hashes many rows.
  thread_local std::string bytes;
  bytes.clear();
  const uint64_t size = row_key.size();
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(size >> shift));
  bytes.append(row_key).append(value);
  const events::Link hash = events::Sha256(bytes);
  std::array<uint64_t, 4> words{};
  for (size_t i = 0; i < 32; ++i) words[3 - i / 8] = words[3 - i / 8] << 8 | hash.bytes[i];
  return words;
}

}  // namespace

void Digest::Add(std::string_view row_key, std::string_view value) {
  const auto hash = HashOf(row_key, value);
  unsigned __int128 carry = 0;
  for (size_t i = 0; i < 4; ++i) {
    carry += static_cast<unsigned __int128>(words[i]) + hash[i];
    words[i] = static_cast<uint64_t>(carry);
    carry >>= 64;
  }
  ++rows;
}

void Digest::Remove(std::string_view row_key, std::string_view value) {
  const auto hash = HashOf(row_key, value);
  uint64_t borrow = 0;
  for (size_t i = 0; i < 4; ++i) {
    const unsigned __int128 take = static_cast<unsigned __int128>(hash[i]) + borrow;
    borrow = words[i] < take ? 1 : 0;
    words[i] -= static_cast<uint64_t>(take);
  }
  --rows;
}

std::string Digest::ToBytes() const {
  std::string bytes;
  for (size_t i = 4; i-- > 0;) {
    for (int shift = 56; shift >= 0; shift -= 8)
      bytes.push_back(static_cast<char>(words[i] >> shift));
  }
  return bytes;
}

std::string Digest::ToHex() const { return events::ToHex(ToBytes()); }

void Digests::Apply(const Change& change) {
  const std::string_view table = TableOf(change.key);
  if (table.empty()) return;
  auto found = tables_.find(table);
  if (found == tables_.end()) found = tables_.emplace(std::string(table), Digest()).first;
  if (change.before) found->second.Remove(change.key, *change.before);
  if (change.after) found->second.Add(change.key, *change.after);
  if (found->second.rows == 0) tables_.erase(found);
}

Digests Digests::Of(const RowSource& source) {
  Digests digests;
  // From 0x01 on: the runtime's own rows begin with 0x00.
  source.Scan(std::string_view("\x01", 1), [&](std::string_view key, std::string_view value) {
    digests.tables_[std::string(TableOf(key))].Add(key, value);
    return true;
  });
  return digests;
}

Digest Digests::Total() const {
  Digest total;
  for (const auto& [table, digest] : tables_) {
    unsigned __int128 carry = 0;
    for (size_t i = 0; i < 4; ++i) {
      carry += static_cast<unsigned __int128>(total.words[i]) + digest.words[i];
      total.words[i] = static_cast<uint64_t>(carry);
      carry >>= 64;
    }
    total.rows += digest.rows;
  }
  return total;
}

std::string Digests::Encode() const {
  std::string bytes;
  for (const auto& [table, digest] : tables_) {
    bytes.push_back(static_cast<char>(table.size()));
    bytes.append(table);
    bytes.append(reinterpret_cast<const char*>(digest.words.data()), sizeof(digest.words));
    bytes.append(reinterpret_cast<const char*>(&digest.rows), sizeof(digest.rows));
  }
  return bytes;
}

absl::StatusOr<Digests> Digests::Decode(std::string_view bytes) {
  Digests digests;
  while (!bytes.empty()) {
    const size_t size = static_cast<uint8_t>(bytes[0]);
    if (bytes.size() < 1 + size + 40)
      return absl::DataLossError("the stored digests are cut short");
    Digest digest;
    std::memcpy(digest.words.data(), bytes.data() + 1 + size, sizeof(digest.words));
    std::memcpy(&digest.rows, bytes.data() + 1 + size + 32, sizeof(digest.rows));
    digests.tables_.emplace(std::string(bytes.substr(1, size)), digest);
    bytes.remove_prefix(1 + size + 40);
  }
  return digests;
}

bool operator==(const Digests& a, const Digests& b) { return a.tables_ == b.tables_; }

}  // namespace concordat::storage
