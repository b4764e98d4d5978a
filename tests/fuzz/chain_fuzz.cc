// The acceptance rule over any sequence of records, against a naive reader that follows the steps
// of docs/subscribing.md and forgets nothing; and stored between any two records.
//
// An input is one byte for the log's origin and two for each record: which earlier record is its
// parent, and what is done with it.
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "events/chain.h"
#include "events/record.h"
#include "tests/fuzz/expect.h"
#include "tests/support/records.h"

namespace concordat::events {
namespace {

constexpr char kStream[] = "paris.reservations.events";
constexpr size_t kMaxRecords = 200;

// The rule by its words. It remembers every void link for ever.
struct Naive {
  bool mirrored = false;
  Link head;
  int64_t sequence = -1;
  std::map<Link, int64_t> void_links;
  std::set<Link> corrupt;
  int64_t suspect = -1;
  bool damaged = false;

  Outcome Offer(const Record& record) {
    if (damaged) return Outcome::kDamaged;
    const Reading reading = Read(record, SourceOf(kStream));
    if (!reading.status.ok()) {
      if (reading.parent == head) {
        for (const Link& claim : reading.claims) {
          if (claim != head) corrupt.insert(claim);
        }
      }
      return Outcome::kCorrupt;
    }
    const Attributes& event = reading.attributes;
    const auto at = static_cast<int64_t>(event.sequence);
    if (at <= sequence) {
      if (at == sequence && event.id != head) void_links[event.id] = at;
      return Outcome::kStale;
    }
    if (corrupt.contains(event.parent)) {
      damaged = true;
      return Outcome::kDamaged;
    }
    if (Ahead(event.id)) return Outcome::kRepeated;
    if (event.parent == head && at == sequence + 1) {
      head = event.id;
      sequence = at;
      corrupt.clear();
      if (sequence >= suspect) suspect = -1;
      return Outcome::kAccepted;
    }
    if (mirrored && event.parent != head && !Ahead(event.parent)) suspect = std::max(suspect, at);
    void_links[event.id] = at;
    return Outcome::kStranger;
  }
  bool Ahead(const Link& link) const {
    const auto found = void_links.find(link);
    return found != void_links.end() && found->second >= sequence;
  }
  Condition condition() const {
    if (damaged) return Condition::kDamaged;
    return suspect >= 0 ? Condition::kSuspect : Condition::kOk;
  }
};

struct Made {
  Record record;
  Attributes attributes;
};

Made Make(const Made* parent, uint8_t kind, size_t number) {
  Made made;
  Attributes& attributes = made.attributes;
  attributes.source = SourceOf(kStream);
  attributes.type = kind % 8 == 1 ? "concordat.system.v1.WriterStarted" : "t";
  attributes.subject = std::to_string(number);
  attributes.time = absl::UnixEpoch();
  attributes.writer = "0123456789abcdef0123456789abcdef.0";
  if (parent != nullptr) {
    attributes.parent = parent->attributes.id;
    attributes.sequence = parent->attributes.sequence + 1;
  }
  // Forged: the parent's link with another sequence.
  if (kind % 8 == 2) attributes.sequence += kind / 8;
  if (kind % 8 == 3) attributes.sequence -= std::min<uint64_t>(attributes.sequence, kind / 8);
  made.record = Seal(attributes, "");
  return made;
}

// Damages a record: its content, its id, or what its id claims.
void Damage(Record& record, uint8_t kind, const Link& claim) {
  test::HeaderList headers = test::HeadersOf(record);
  for (auto& [name, value] : headers) {
    if (kind % 8 == 5 && kind < 128 && name == "ce_subject") value += "x";
    if (kind % 8 == 5 && kind >= 128 && name == "ce_sequence") value = "\xff";
    if (kind % 8 == 6 && name == "ce_id") value = claim.ToHex();
  }
  if (kind % 8 == 7) headers.emplace_back("ce_actor", "twice");
  record = test::WithHeaders(std::move(record), headers);
}

}  // namespace
}  // namespace concordat::events

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat::events;
  if (size == 0) return 0;
  const bool mirrored = data[0] % 2 == 1;
  const auto origin = mirrored ? Chain::Origin::kMirrored : Chain::Origin::kHome;
  Chain chain(kStream, origin);
  Naive naive{.mirrored = mirrored, .head = {}, .void_links = {}, .corrupt = {}};
  std::vector<Made> made;
  for (size_t i = 1; i + 1 < size && made.size() < kMaxRecords; i += 2) {
    const uint8_t choice = data[i];
    const uint8_t kind = data[i + 1];
    // 0 is the beginning, 1 the record made last, 2 the one before, ...
    const Made* parent =
        choice == 0 || choice > made.size() ? nullptr : &made[made.size() - choice];
    Record record;
    if (kind % 8 == 4 && parent != nullptr) {
      record = parent->record;  // delivered again
    } else {
      made.push_back(Make(parent, kind, made.size()));
      record = made.back().record;
      Damage(record, kind, naive.head);
    }
    const int64_t offset = chain.next_offset();
    const Condition before = chain.condition();
    Attributes attributes;
    const bool accepts = chain.Accepts(Read(record, SourceOf(kStream)));
    const Outcome outcome = chain.Offer(record, offset, &attributes);
    FUZZ_EXPECT(accepts == (outcome == Outcome::kAccepted));
    const Outcome expected = naive.Offer(record);
    FUZZ_EXPECT(outcome == expected);
    FUZZ_EXPECT(chain.head().link == naive.head);
    FUZZ_EXPECT(chain.head().sequence == naive.sequence);
    FUZZ_EXPECT(chain.condition() == naive.condition());
    FUZZ_EXPECT(before != Condition::kDamaged || outcome == Outcome::kDamaged);
    FUZZ_EXPECT(outcome != Outcome::kAccepted || chain.head().offset == offset);
    for (const char c : chain.alarm())
      FUZZ_EXPECT(c >= ' ' && c <= '~');  // whatever a record holds
    if (choice % 16 == 15) {
      auto stored = Chain::Decode(kStream, chain.Encode(), origin);
      FUZZ_EXPECT(stored.ok());
      FUZZ_EXPECT(stored->condition() == chain.condition());
      FUZZ_EXPECT(stored->forked() == chain.forked());
      FUZZ_EXPECT(stored->next_offset() == chain.next_offset());
      chain = *std::move(stored);
    }
  }
  return 0;
}
