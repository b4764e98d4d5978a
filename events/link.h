// A link is the SHA-256 that names an event and everything before it: each event's link covers its
// parent's link. Law: two histories with the same head link are the same history, byte for byte.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace concordat::events {

// 32 bytes. Thread-compatible value.
struct Link {
  std::array<uint8_t, 32> bytes{};

  friend bool operator==(const Link&, const Link&) = default;
  friend auto operator<=>(const Link&, const Link&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Link& link) {
    return H::combine(std::move(h), link.bytes);
  }

  // 64 lower-case hexadecimal digits.
  std::string ToHex() const;

  // Nothing unless `hex` is exactly 64 lower-case hexadecimal digits.
  static std::optional<Link> FromHex(std::string_view hex);

  // The 32 bytes, as stored values and messages hold them.
  std::string ToBytes() const;

  // Zeros unless there are exactly 32 bytes.
  static Link FromBytes(std::string_view bytes);
};

// The parent of a stream's first event.
inline constexpr Link kNoLink{};

// SHA-256 of `data`; of the parts one after the other.
Link Sha256(std::string_view data);
Link Sha256(std::initializer_list<std::string_view> parts);

// Lower-case hexadecimal of any bytes.
std::string ToHex(std::string_view bytes);

}  // namespace concordat::events
