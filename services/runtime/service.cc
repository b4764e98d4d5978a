#include "services/runtime/service.h"

#include <fmt/format.h>

namespace concordat::runtime {

std::string Cause::ToString() const {
  return fmt::format("{}:{}:{}", stream, sequence, link.ToHex());
}

std::string DerivedId(const Facts& facts) {
  // Crockford's alphabet: no letter that reads like a digit.
  constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";
  const events::Link hash =
      events::Sha256(fmt::format("{}\n{}\n{}", facts.site, facts.actor, facts.command_id));
  std::string id(10, '0');
  for (size_t i = 0; i < id.size(); ++i) id[i] = kAlphabet[hash.bytes[i] % kAlphabet.size()];
  return id;
}

}  // namespace concordat::runtime
