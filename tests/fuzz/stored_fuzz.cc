// What a process reads back of its own: any bytes as a stored chain or digests. They may
// be refused, and nothing else may happen; what is taken can be stored and read once more.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "events/chain.h"
#include "storage/projection/digest.h"
#include "tests/fuzz/expect.h"

namespace {

using concordat::events::Attributes;
using concordat::events::Chain;
using concordat::storage::Digests;

void ReadChain(std::string_view bytes) {
  constexpr char kStream[] = "paris.reservations.events";
  auto chain = Chain::Decode(kStream, bytes, Chain::Origin::kMirrored);
  if (!chain.ok()) return;
  const auto again = Chain::Decode(kStream, chain->Encode(), Chain::Origin::kMirrored);
  FUZZ_EXPECT(again.ok());
  FUZZ_EXPECT(again->head().link == chain->head().link);
  FUZZ_EXPECT(again->head().sequence == chain->head().sequence);
  FUZZ_EXPECT(again->next_offset() == chain->next_offset());
  FUZZ_EXPECT(again->condition() == chain->condition());
  // Whatever it says, a record can be judged.
  Attributes attributes;
  attributes.source = "/sites/paris/reservations";
  attributes.type = "t";
  attributes.time = absl::UnixEpoch();
  attributes.writer = "0123456789abcdef0123456789abcdef.0";
  attributes.parent = chain->head().link;
  attributes.sequence = static_cast<uint64_t>(chain->head().sequence) + 1;
  const concordat::events::Record record = Seal(attributes, "");
  chain->Offer(record, chain->next_offset(), &attributes);
}

void ReadDigests(std::string_view bytes) {
  const auto digests = Digests::Decode(bytes);
  if (!digests.ok()) return;
  const auto again = Digests::Decode(digests->Encode());
  FUZZ_EXPECT(again.ok() && *again == *digests);
  digests->Total().ToHex();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  google::protobuf::SetLogHandler(nullptr);
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ReadChain(bytes);
  ReadDigests(bytes);
  return 0;
}
