// A record's envelope and link: any bytes as a stored record, read, sealed and encoded again.
#include <cstdint>
#include <string>
#include <string_view>

#include "events/record.h"
#include "tests/fuzz/expect.h"
#include "tests/support/records.h"

namespace concordat::events {
namespace {

constexpr std::string_view kSource = "/sites/paris/reservations";

bool SameRecord(const Record& a, const Record& b) {
  return a.key == b.key && a.headers == b.headers && a.data == b.data;
}

// The bytes that are hashed, by the words of docs/subscribing.md: bounds are checked by walking
// them.
void WalkCanonicalBytes(std::string_view bytes) {
  const auto take = [&bytes] {
    FUZZ_EXPECT(bytes.size() >= 4);
    uint32_t size = 0;
    for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<uint8_t>(bytes[i]);
    bytes.remove_prefix(4);
    FUZZ_EXPECT(bytes.size() >= size);
    const std::string_view part = bytes.substr(0, size);
    bytes.remove_prefix(size);
    return part;
  };
  std::string_view last;
  while (true) {
    const std::string_view name = take();
    if (bytes.empty()) return;  // that was the data
    FUZZ_EXPECT(last <= name);
    last = name;
    take();
  }
}

// A good record, sealed anew from what was read of it, is read the same, and has the same link
// where nothing but the attributes that we know was in it.
void SealAgain(const Record& record, const Attributes& attributes) {
  Attributes copy = attributes;
  const Record sealed = Seal(copy, record.data);
  const Reading again = Read(sealed, kSource);
  FUZZ_EXPECT(again.status.ok());
  FUZZ_EXPECT(again.attributes.id == copy.id);
  FUZZ_EXPECT(again.attributes.sequence == attributes.sequence);
  FUZZ_EXPECT(again.attributes.parent == attributes.parent);
  FUZZ_EXPECT(again.attributes.command_id == attributes.command_id);
  FUZZ_EXPECT(again.attributes.actor == attributes.actor);
  if (CanonicalBytes(sealed) == CanonicalBytes(record)) FUZZ_EXPECT(copy.id == attributes.id);
}

// Whatever is asked of the writer's side can be read back.
void SealBytes(std::string_view bytes) {
  Attributes attributes;
  attributes.source = kSource;
  attributes.type = bytes.substr(0, bytes.size() / 4);
  attributes.subject = bytes.substr(bytes.size() / 4, bytes.size() / 4);
  attributes.command_id = bytes.substr(bytes.size() / 2, bytes.size() / 4);
  attributes.time = absl::UnixEpoch();
  attributes.writer = "0123456789abcdef0123456789abcdef.0";
  attributes.sequence = bytes.size();
  const Record record = Seal(attributes, std::string(bytes));
  const Reading reading = Read(record, kSource);
  FUZZ_EXPECT(reading.status.ok());
  FUZZ_EXPECT(reading.attributes.id == attributes.id);
  FUZZ_EXPECT(reading.attributes.subject == attributes.subject);
  const auto decoded = DecodeRecord(EncodeRecord(record));
  FUZZ_EXPECT(decoded.ok() && SameRecord(*decoded, record));
}

}  // namespace
}  // namespace concordat::events

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat::events;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  SealBytes(bytes);
  const auto record = DecodeRecord(bytes);
  if (!record.ok()) return 0;
  FUZZ_EXPECT(EncodeRecord(*record) == bytes);
  WalkCanonicalBytes(CanonicalBytes(*record));
  const Reading reading = Read(*record, kSource);
  if (reading.status.ok()) {
    FUZZ_EXPECT(Sha256(CanonicalBytes(*record)) == reading.attributes.id);
    SealAgain(*record, reading.attributes);
  }
  // A corrupt record whose link is right but for its ce_id: give it its link, and try once more.
  for (const Link& claim : reading.claims) {
    concordat::test::HeaderList headers = concordat::test::HeadersOf(*record);
    for (auto& [name, value] : headers) {
      if (name == "ce_id") value = claim.ToHex();
    }
    const Record mended = concordat::test::WithHeaders(*record, headers);
    const Reading again = Read(mended, kSource);
    if (again.status.ok()) SealAgain(mended, again.attributes);
  }
  return 0;
}
