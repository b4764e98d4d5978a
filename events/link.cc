#include "events/link.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace concordat::events {
namespace {

constexpr char kDigits[] = "0123456789abcdef";

// The value of every character as a digit; -1 where it is none.
constexpr std::array<int8_t, 256> MakeDigits() {
  std::array<int8_t, 256> digits{};
  for (int8_t& digit : digits) digit = -1;
  for (int8_t digit = 0; digit < 16; ++digit) digits[static_cast<uint8_t>(kDigits[digit])] = digit;
  return digits;
}
constexpr std::array<int8_t, 256> kValues = MakeDigits();

int Digit(char c) { return kValues[static_cast<uint8_t>(c)]; }

// Fetching the algorithm and making a context cost more than hashing an event does, so each thread
// keeps its own.
struct Hasher {
  Hasher() : algorithm(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context(EVP_MD_CTX_new()) {
    if (algorithm == nullptr || context == nullptr) std::abort();
  }
  ~Hasher() {
    EVP_MD_CTX_free(context);
    EVP_MD_free(algorithm);
  }
  EVP_MD* algorithm;
  EVP_MD_CTX* context;
};

}  // namespace

std::string ToHex(std::string_view bytes) {
  std::string hex(bytes.size() * 2, '\0');
  char* to = hex.data();
  for (const char byte : bytes) {
    *to++ = kDigits[static_cast<uint8_t>(byte) >> 4];
    *to++ = kDigits[static_cast<uint8_t>(byte) & 15];
  }
  return hex;
}

std::string Link::ToHex() const {
  return events::ToHex({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::optional<Link> Link::FromHex(std::string_view hex) {
  if (hex.size() != 64) return std::nullopt;
  Link link;
  for (size_t i = 0; i < 32; ++i) {
    const int high = Digit(hex[2 * i]);
    const int low = Digit(hex[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    link.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return link;
}

std::string Link::ToBytes() const { return {bytes.begin(), bytes.end()}; }

Link Link::FromBytes(std::string_view bytes) {
  Link link;
  if (bytes.size() == link.bytes.size()) std::copy(bytes.begin(), bytes.end(), link.bytes.begin());
  return link;
}

Link Sha256(std::string_view data) { return Sha256(std::initializer_list<std::string_view>{data}); }

Link Sha256(std::initializer_list<std::string_view> parts) {
  thread_local Hasher hasher;
  Link link;
  unsigned int length = 0;
  bool ok = EVP_DigestInit_ex2(hasher.context, hasher.algorithm, nullptr) == 1;
  for (const std::string_view part : parts)
    ok = ok && EVP_DigestUpdate(hasher.context, part.data(), part.size()) == 1;
  ok = ok && EVP_DigestFinal_ex(hasher.context, link.bytes.data(), &length) == 1 && length == 32;
  if (!ok) std::abort();  // SHA-256 of memory cannot fail; going on would break every law.
  return link;
}

}  // namespace concordat::events
