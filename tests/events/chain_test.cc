#include "events/chain.h"

#include <gtest/gtest.h>

#include <string>

#include "concordat/system/v1/events.pb.h"
#include "tests/support/records.h"

namespace concordat::events {
namespace {

using test::kStream;

Outcome Offer(Chain& chain, const Record& record) {
  Attributes attributes;
  return chain.Offer(record, chain.next_offset(), &attributes);
}

Record WriterStarted(Head& head, const std::string& writer) {
  Attributes attributes = test::AttributesAfter(head, kStream, writer);
  attributes.type = system::v1::WriterStarted::descriptor()->full_name();
  attributes.data_type = attributes.type;
  system::v1::WriterStarted event;
  event.set_writer_id(writer);
  Record record = Seal(attributes, event.SerializeAsString());
  head = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};
  return record;
}

TEST(Chain, AdvancingByAnOwnReportEqualsReadingTheRecord) {
  Chain read(kStream);
  Chain reported(kStream);
  Head head;
  Head other;
  Attributes attributes;
  ASSERT_EQ(Offer(read, test::Next(head)), Outcome::kAccepted);
  ASSERT_EQ(Offer(reported, test::Next(other)), Outcome::kAccepted);
  const Record stranger = [] {
    Head elsewhere{Sha256("elsewhere"), 0, -1, {}};
    return test::Next(elsewhere);
  }();
  for (int i = 0; i < 5; ++i) {
    if (i == 2) {
      ASSERT_EQ(Offer(read, stranger), Outcome::kStale);
      ASSERT_EQ(Offer(reported, stranger), Outcome::kStale);
    }
    const Record record = test::Next(head);
    const int64_t offset = read.next_offset();
    ASSERT_EQ(read.Offer(record, offset, &attributes), Outcome::kAccepted);
    test::Advance(reported, attributes, offset);
  }
  EXPECT_EQ(read.Encode(), reported.Encode());
  EXPECT_EQ(reported.head().sequence, 5);
  EXPECT_EQ(reported.head().link, head.link);
  EXPECT_EQ(reported.head().time, head.time);
}

TEST(ChainDeathTest, AdvancingByWhatIsNotTheHeadsChildStopsTheProcess) {
  Chain chain(kStream);
  Head head;
  ASSERT_EQ(Offer(chain, test::Next(head)), Outcome::kAccepted);
  Head elsewhere{Sha256("elsewhere"), 0, -1, {}};
  const Attributes stranger = test::AttributesAfter(elsewhere);
  EXPECT_DEATH(test::Advance(chain, stranger, 1), "is not the head's child");
  const Attributes child = test::AttributesAfter(head);
  EXPECT_DEATH(test::Advance(chain, child, 2), "is not the head's child");
}

TEST(Chain, AChildOfAVoidWriterStartedShowsThatTheOriginsHistorySplit) {
  Chain chain(kStream, Chain::Origin::kMirrored);
  Head head;
  ASSERT_EQ(Offer(chain, WriterStarted(head, "a")), Outcome::kAccepted);
  Head fork = head;
  ASSERT_EQ(Offer(chain, WriterStarted(head, "b")), Outcome::kAccepted);
  EXPECT_EQ(Offer(chain, WriterStarted(fork, "c")), Outcome::kStale);
  EXPECT_FALSE(chain.forked()) << "a writer that lost the race is no fork";
  EXPECT_EQ(Offer(chain, test::Next(fork)), Outcome::kStranger);
  EXPECT_TRUE(chain.forked());
  EXPECT_NE(chain.alarm().find("has split"), std::string::npos) << chain.alarm();
  EXPECT_TRUE(Chain::Decode(kStream, chain.Encode(), Chain::Origin::kMirrored)->forked());
}

// A log lost its end, which held the history, and was filled again behind what lost the race for
// it.
TEST(Chain, WhatWasVoidBehindTheHeadMayBeHistoryOnceReadingBeginsAgain) {
  Chain chain(kStream, Chain::Origin::kMirrored);
  Head head;
  ASSERT_EQ(Offer(chain, test::Next(head)), Outcome::kAccepted);
  Head later = head;
  test::Next(later);
  const Record early = test::Next(later);  // a stranger in front of the head: void for ever
  ASSERT_EQ(Offer(chain, early), Outcome::kStranger);
  ASSERT_EQ(Offer(chain, WriterStarted(head, "a")), Outcome::kAccepted);
  const int64_t behind = chain.next_offset();
  Head rival = head;
  const Record started = WriterStarted(rival, "b");
  Head lost = rival;
  ASSERT_EQ(Offer(chain, test::Next(lost)), Outcome::kStranger);
  ASSERT_EQ(Offer(chain, WriterStarted(lost, "c")), Outcome::kStranger);
  const auto stored = Chain::Decode(kStream, chain.Encode(), Chain::Origin::kMirrored);
  ASSERT_TRUE(stored.ok());
  chain = *stored;
  EXPECT_EQ(Offer(chain, started), Outcome::kAccepted);
  EXPECT_EQ(Offer(chain, test::Next(rival)), Outcome::kRepeated) << "without a new beginning";
  chain = *stored;
  chain.Rewind();
  EXPECT_EQ(chain.next_offset(), behind);
  EXPECT_EQ(Offer(chain, early), Outcome::kRepeated) << "it stood in front of the head";
  EXPECT_EQ(Offer(chain, started), Outcome::kAccepted);
  Head next = chain.head();
  EXPECT_EQ(Offer(chain, test::Next(next)), Outcome::kAccepted);
  EXPECT_EQ(Offer(chain, WriterStarted(next, "c")), Outcome::kAccepted);
  EXPECT_EQ(Offer(chain, test::Next(next)), Outcome::kAccepted) << "a child of what was void";
  EXPECT_FALSE(chain.forked()) << chain.alarm();
}

TEST(Chain, AMirrorThatDeliversAnAcceptedWriterStartedAgainShowsNoFork) {
  Chain chain(kStream, Chain::Origin::kMirrored);
  Head head;
  std::vector<Record> log;
  for (int i = 0; i < 40; ++i) {
    log.push_back(i % 2 == 0 ? WriterStarted(head, std::to_string(i)) : test::Next(head));
    ASSERT_EQ(Offer(chain, log.back()), Outcome::kAccepted);
  }
  for (const Record& record : log) EXPECT_EQ(Offer(chain, record), Outcome::kStale);
  EXPECT_FALSE(chain.forked()) << chain.alarm();
}

TEST(Chain, VoidRecordsAreCountedByReason) {
  Chain chain(kStream);
  Head head;
  const Record first = test::Next(head);
  ASSERT_EQ(Offer(chain, first), Outcome::kAccepted);
  EXPECT_EQ(Offer(chain, first), Outcome::kStale);
  Head elsewhere{Sha256("elsewhere"), 5, -1, {}};
  const Record stranger = test::Next(elsewhere);
  EXPECT_EQ(Offer(chain, stranger), Outcome::kStranger);
  EXPECT_EQ(Offer(chain, stranger), Outcome::kRepeated);
  EXPECT_EQ(Offer(chain, stranger), Outcome::kRepeated);
  Record corrupt = first;
  corrupt.data += "!";
  EXPECT_EQ(Offer(chain, corrupt), Outcome::kCorrupt);
  EXPECT_NE(chain.alarm().find("offset 5"), std::string::npos) << chain.alarm();
  EXPECT_EQ(chain.voids().at(Outcome::kStale), 1u);
  EXPECT_EQ(chain.voids().at(Outcome::kStranger), 1u);
  EXPECT_EQ(chain.voids().at(Outcome::kRepeated), 2u);
  EXPECT_EQ(chain.voids().at(Outcome::kCorrupt), 1u);
  EXPECT_FALSE(chain.voids().contains(Outcome::kAccepted));
}

TEST(Chain, TheLimitOfPendingVoidLinksIsPartOfTheRule) {
  Chain chain(kStream);
  Head head;
  ASSERT_EQ(Offer(chain, test::Next(head)), Outcome::kAccepted);
  Head elsewhere{Sha256("elsewhere"), 1, -1, {}};
  for (size_t i = 0; i < Chain::kMaxVoidLinks; ++i) {
    ASSERT_EQ(Offer(chain, test::Next(elsewhere)), Outcome::kStranger) << i;
  }
  EXPECT_EQ(Chain::kMaxVoidLinks, 65536u)
      << "docs/subscribing.md states it, and all readers hold it";
  EXPECT_EQ(chain.condition(), Condition::kOk);
  EXPECT_EQ(Offer(chain, test::Next(elsewhere)), Outcome::kDamaged);
  EXPECT_EQ(chain.condition(), Condition::kDamaged);
  EXPECT_EQ(Offer(chain, test::Next(head)), Outcome::kDamaged)
      << "nothing is accepted after damage";
}

TEST(Chain, WhatItDidNotEncodeItDoesNotDecode) {
  for (const std::string& bytes :
       {std::string(), std::string("nonsense"), std::string(100, '\xff')}) {
    EXPECT_TRUE(absl::IsDataLoss(Chain::Decode(kStream, bytes).status()));
  }
}

}  // namespace
}  // namespace concordat::events
