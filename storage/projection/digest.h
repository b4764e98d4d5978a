// The state digest: two replicas that folded the same events with the same code have the same one.
// Law: it finds errors, not adversaries. It is the sum, modulo 2^256, of the SHA-256 of every row,
// so a change costs two hashes however many rows there are; whoever can choose rows freely could
// find two sets with the same sum. Proof against adversaries is the link's work.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "storage/projection/rows.h"

namespace concordat::storage {

// The digest of a set of rows. A value.
struct Digest {
  std::array<uint64_t, 4> words{};  // least significant first
  uint64_t rows = 0;

  friend bool operator==(const Digest&, const Digest&) = default;
  void Add(std::string_view row_key, std::string_view value);
  void Remove(std::string_view row_key, std::string_view value);
  // The 32 bytes of the sum, most significant first.
  std::string ToBytes() const;
  // The same in 64 lower-case hexadecimal digits.
  std::string ToHex() const;
};

// The digest of each table, by its name. The runtime's own rows are left out.
class Digests {
 public:
  using Tables = absl::btree_map<std::string, Digest, std::less<>>;

  void Apply(const Change& change);
  // Of every row that the source holds, read anew.
  static Digests Of(const RowSource& source);

  const Tables& tables() const { return tables_; }
  // Over all tables.
  Digest Total() const;

  std::string Encode() const;
  // DATA_LOSS where the bytes are not what Encode() gives.
  static absl::StatusOr<Digests> Decode(std::string_view bytes);

  friend bool operator==(const Digests& a, const Digests& b);

 private:
  Tables tables_;
};

}  // namespace concordat::storage
