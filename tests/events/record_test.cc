#include "events/record.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

#include "tests/support/records.h"

namespace concordat::events {
namespace {

constexpr char kSource[] = "/sites/paris/ledger";

std::string AnyBytes() { return *rc::gen::container<std::string>(rc::gen::arbitrary<char>()); }

Attributes AnyAttributes() {
  Attributes attributes;
  attributes.source = kSource;
  attributes.type = AnyBytes();
  attributes.subject = AnyBytes();
  attributes.time = absl::FromUnixMicros(*rc::gen::inRange<int64_t>(0, 253402300799'000'000));
  attributes.data_type = AnyBytes();
  attributes.sequence = *rc::gen::inRange<uint64_t>(0, INT64_MAX);
  attributes.parent = Sha256(AnyBytes());
  attributes.writer = AnyBytes();
  attributes.command_id = AnyBytes();
  attributes.command_digest = AnyBytes();
  attributes.causation_id = AnyBytes();
  attributes.correlation_id = AnyBytes();
  attributes.actor = AnyBytes();
  attributes.trace_parent = AnyBytes();
  return attributes;
}

TEST(Record, WhatIsSealedIsReadBack) {
  EXPECT_TRUE(rc::check([] {
    Attributes sealed = AnyAttributes();
    const std::string data = AnyBytes();
    const Record record = Seal(sealed, data);
    const Reading reading = Read(record, kSource);
    RC_ASSERT(reading.status.ok());
    const Attributes& read = reading.attributes;
    RC_ASSERT(read.id == sealed.id);
    RC_ASSERT(read.parent == sealed.parent);
    RC_ASSERT(reading.parent == sealed.parent);
    RC_ASSERT(read.sequence == sealed.sequence);
    RC_ASSERT(read.time == sealed.time);
    RC_ASSERT(read.source == sealed.source);
    RC_ASSERT(read.type == sealed.type);
    RC_ASSERT(read.subject == sealed.subject);
    RC_ASSERT(read.data_type == sealed.data_type);
    RC_ASSERT(read.writer == sealed.writer);
    RC_ASSERT(read.command_id == sealed.command_id);
    RC_ASSERT(read.command_digest == sealed.command_digest);
    RC_ASSERT(read.causation_id == sealed.causation_id);
    RC_ASSERT(read.correlation_id == sealed.correlation_id);
    RC_ASSERT(read.actor == sealed.actor);
    RC_ASSERT(read.trace_parent == sealed.trace_parent);
    RC_ASSERT(record.data == data);
    RC_ASSERT(record.key == sealed.subject);
    RC_ASSERT(HeaderValue(record, "ce_id") == sealed.id.ToHex());
  }));
}

TEST(Record, AChangedByteOfAnyCoveredHeaderOrOfTheDataIsFound) {
  Head head;
  Record record = test::Next(head, "payload");
  ASSERT_TRUE(Read(record, kSource).status.ok());
  const test::HeaderList headers = test::HeadersOf(record);
  ASSERT_EQ(headers.size(), record.headers.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    for (size_t at = 0; at < headers[i].second.size(); ++at) {
      test::HeaderList changed = headers;
      changed[i].second[at] ^= 1;
      EXPECT_EQ(Read(test::WithHeaders(record, changed), kSource).status.code(),
                absl::StatusCode::kInvalidArgument)
          << headers[i].first << " at " << at;
    }
    test::HeaderList lost = headers;
    lost.erase(lost.begin() + static_cast<int64_t>(i));
    EXPECT_FALSE(Read(test::WithHeaders(record, lost), kSource).status.ok()) << headers[i].first;
    test::HeaderList twice = headers;
    twice.push_back(headers[i]);
    EXPECT_FALSE(Read(test::WithHeaders(record, twice), kSource).status.ok()) << headers[i].first;
  }
  for (size_t at = 0; at < record.data.size(); ++at) {
    Record changed = record;
    changed.data[at] ^= 1;
    EXPECT_FALSE(Read(changed, kSource).status.ok()) << at;
  }
  Record with_key = record;
  with_key.key = "another key";
  EXPECT_TRUE(Read(with_key, kSource).status.ok()) << "the key is not covered";
}

TEST(Record, ACorruptRecordSaysWhatWasFoundAndExpected) {
  Head head;
  const Record record = test::Next(head);
  const Reading elsewhere = Read(record, "/sites/borlange/ledger");
  EXPECT_EQ(elsewhere.status.message(),
            "ce_source is /sites/paris/ledger, expected /sites/borlange/ledger");
  EXPECT_EQ(elsewhere.parent, kNoLink);
  ASSERT_EQ(elsewhere.claims.size(), 2u);
  EXPECT_EQ(elsewhere.claims[0], head.link);
  EXPECT_EQ(elsewhere.claims[1], head.link);
}

TEST(Record, TheOrderOfHeadersDoesNotMatter) {
  EXPECT_TRUE(rc::check([] {
    Head head;
    Record record = test::Next(head, AnyBytes());
    const std::string canonical = CanonicalBytes(record);
    test::HeaderList headers = test::HeadersOf(record);
    for (size_t i = headers.size(); i-- > 1;)
      std::swap(headers[i], headers[*rc::gen::inRange<size_t>(0, i + 1)]);
    record = test::WithHeaders(std::move(record), headers);
    RC_ASSERT(CanonicalBytes(record) == canonical);
    RC_ASSERT(Read(record, kSource).status.ok());
  }));
}

TEST(Record, EncodedRecordsAreDecodedByteForByte) {
  EXPECT_TRUE(rc::check([] {
    Record record;
    record.key = AnyBytes();
    record.data = AnyBytes();
    for (int i = *rc::gen::inRange(0, 5); i > 0; --i) record.headers.Add(AnyBytes(), AnyBytes());
    const std::string bytes = EncodeRecord(record);
    const auto decoded = DecodeRecord(bytes);
    RC_ASSERT(decoded.ok());
    RC_ASSERT(test::SameBytes(*decoded, record));
    // Cut short it is refused, unless it was cut between two headers.
    const auto cut = std::string_view(bytes).substr(0, *rc::gen::inRange<size_t>(0, bytes.size()));
    const auto shorter = DecodeRecord(cut);
    if (shorter.ok()) {
      RC_ASSERT(EncodeRecord(*shorter) == cut);
    } else {
      RC_ASSERT(absl::IsDataLoss(shorter.status()));
    }
  }));
}

TEST(Record, StreamsSayTheirSiteServiceAndSource) {
  EXPECT_EQ(SourceOf("paris.reservations.events"), "/sites/paris/reservations");
  EXPECT_EQ(SiteOf("paris.reservations.events"), "paris");
  EXPECT_EQ(ServiceOf("paris.reservations.events"), "reservations");
  EXPECT_EQ(StreamName("paris", "reservations"), "paris.reservations.events");
  for (const char* other :
       {"", "paris", "paris.reservations", "paris.reservations.event", ".reservations.events",
        "paris..events", "a.paris.reservations.events", "paris.reservations.events."}) {
    EXPECT_EQ(SourceOf(other), "") << other;
    EXPECT_EQ(SiteOf(other), "") << other;
    EXPECT_EQ(ServiceOf(other), "") << other;
  }
}

TEST(Record, TimesHaveSixDigitsInUtc) {
  EXPECT_EQ(EventTime(absl::FromUnixMicros(1795460363'123456)), "2026-11-23T18:59:23.123456Z");
  EXPECT_EQ(EventTime(absl::FromUnixSeconds(0)), "1970-01-01T00:00:00.000000Z");
}

TEST(Link, IsSixtyFourLowerCaseHexadecimalDigits) {
  const Link link = Sha256("abc");
  EXPECT_EQ(link.ToHex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Link::FromHex(link.ToHex()), link);
  EXPECT_EQ(Link::FromHex(std::string(64, '0')), kNoLink);
  for (const std::string& other :
       {std::string(), std::string(63, '0'), std::string(65, '0'), std::string(64, 'A'),
        std::string(64, 'g'), " " + std::string(63, '0')}) {
    EXPECT_EQ(Link::FromHex(other), std::nullopt) << other;
  }
}

}  // namespace
}  // namespace concordat::events
