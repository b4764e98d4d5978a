// Replicas and feeds over a mirrored stream: what a mirror may do to it, and what becomes of it.
#include "services/runtime/follower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/runtime/writer.h"
#include "storage/log/embedded.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using testing::HasSubstr;

constexpr char kBorlange[] = "borlange.ledger.events";

// A replica at paris of borlange's stream.
struct TheReplica {
  explicit TheReplica(storage::Log& log, bool started = true) : log(log) {
    if (started) Open();
  }
  void Open() {
    projection =
        *storage::Projection::Open(dir.path(), kBorlange, events::Chain::Origin::kMirrored, "test");
    engine = std::make_unique<runtime::EngineOf<ledger::Service>>(projection->journal());
    replica = std::make_unique<runtime::Replica>(*engine, *projection, "paris");
    follower = std::make_unique<runtime::Follower>(log, std::vector<runtime::Sink*>{replica.get()});
  }
  void Close() {
    follower.reset();
    replica.reset();
    engine.reset();
    projection.reset();
  }
  // Reads to the end of the log, and once more to find that it is the end.
  void Read() {
    for (int quiet = 0; quiet < 2;)
      quiet = follower->Step(absl::ZeroDuration()) == 0 ? quiet + 1 : 0;
  }
  std::string Digest() {
    EXPECT_TRUE(storage::Digests::Of(*projection->View()) == projection->digests());
    return projection->digests().Total().ToHex();
  }

  storage::Log& log;
  TempDir dir;
  std::unique_ptr<storage::Projection> projection;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::Replica> replica;
  std::unique_ptr<runtime::Follower> follower;
};

class FollowerTest : public testing::Test {
 protected:
  FollowerTest() { borlange_.Start(); }
  // An item that borlange orders paris to record.
  static v1::Command Order(const std::string& name) {
    v1::Command command = Put(name);
    command.mutable_put_item()->set_order_to("paris");
    return command;
  }
  // Events at borlange, of all kinds.
  void Work(int count) {
    for (int i = 0; i < count; ++i, ++worked_) {
      const std::string name = std::to_string(worked_ % 9);
      ASSERT_TRUE(borlange_
                      .Answer(worked_ % 2 == 0 ? PutConfirmed(name) : Order(name),
                              "c-" + std::to_string(worked_))
                      .ok());
    }
    borlange_.Step(10);
  }
  std::vector<events::Record> Origin() { return origin_.Records(kBorlange); }
  // The mirror copies these records to paris.
  void Mirror(size_t from, size_t until) {
    const auto records = Origin();
    for (size_t i = from; i < std::min(until, records.size()); ++i)
      mirror_.Put(kBorlange, records[i]);
  }
  void MirrorAll() { Mirror(0, Origin().size()); }

  ScriptedLog origin_;
  ScriptedLog mirror_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  Home borlange_{origin_, clock_, "borlange"};
  int worked_ = 0;
};

TEST_F(FollowerTest, AReplicaComesToTheHomesDigest) {
  Work(40);
  borlange_.Restart();
  Work(20);
  MirrorAll();
  TheReplica paris(mirror_);
  paris.Read();
  EXPECT_EQ(paris.Digest(), borlange_.Digest());
  EXPECT_EQ(paris.replica->View().head.link, borlange_.projection().chain().head().link);
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kOk);
  EXPECT_EQ(paris.replica->View().alarm, "");
  EXPECT_TRUE(
      paris.replica->WaitFor(borlange_.projection().chain().head().sequence, absl::ZeroDuration()));
  EXPECT_FALSE(paris.replica->WaitFor(borlange_.projection().chain().head().sequence + 1,
                                      absl::ZeroDuration()));
}

TEST_F(FollowerTest, AReplicaGoesOnWhereItStoppedAndAfterAMirrorsDuplicates) {
  Work(20);
  Mirror(0, 15);
  TheReplica paris(mirror_);
  paris.Read();
  paris.Close();
  Mirror(5, 100);  // it starts again further back
  Work(20);
  MirrorAll();  // and from the beginning
  paris.Open();
  EXPECT_EQ(paris.replica->next_offset(), 15);
  paris.Read();
  EXPECT_EQ(paris.Digest(), borlange_.Digest());
  EXPECT_GT(paris.replica->View().voids.at(events::Outcome::kStale), 30u);
}

TEST_F(FollowerTest, AGapIsToldAndHealedByANewReplicaAlone) {
  Work(20);
  const size_t end = Origin().size();
  Mirror(0, 10);
  Mirror(12, end);
  TheReplica paris(mirror_);
  paris.Read();
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kSuspect);
  EXPECT_THAT(paris.replica->View().alarm, testing::AllOf(HasSubstr("the mirror has a gap"),
                                                          HasSubstr("ConcordatMirrorGap.md")));
  EXPECT_EQ(paris.replica->View().head.sequence, 9) << "what was accepted stays";
  // Filled too late: those after the gap were void when they came first.
  Mirror(10, end);
  paris.Read();
  EXPECT_EQ(paris.replica->View().head.sequence, 11);
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kSuspect);
  EXPECT_NE(paris.replica->View().alarm, "");
  paris.Close();
  paris.Open();
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kSuspect)
      << "a restart does not forget it";

  ScriptedLog again;
  for (const events::Record& record : Origin()) again.Put(kBorlange, record);
  TheReplica anew(again);
  anew.Read();
  EXPECT_EQ(anew.replica->View().condition, events::Condition::kOk);
  EXPECT_EQ(anew.Digest(), borlange_.Digest());
}

TEST_F(FollowerTest, ASuspicionEndsWhenTheHeadHasPassedWhatRaisedIt) {
  Work(5);
  const size_t half = Origin().size();
  Mirror(0, half);
  events::Head elsewhere{events::Sha256("elsewhere"), static_cast<int64_t>(half) + 1, -1, {}};
  mirror_.Put(kBorlange, ForeignPut(elsewhere, "stranger", kBorlange));
  TheReplica paris(mirror_);
  paris.Read();
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kSuspect);
  Work(10);
  Mirror(half, Origin().size());
  paris.Read();
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kOk);
  EXPECT_EQ(paris.replica->View().alarm, "");
  EXPECT_EQ(paris.Digest(), borlange_.Digest());
}

TEST_F(FollowerTest, AChildThatCameBeforeItsParentStaysVoidWhenTheMirrorDeliversItAgain) {
  Work(1);
  events::Head head = HeadOf(History(Origin(), kBorlange));
  const events::Record parent = ForeignPut(head, "parent", kBorlange);
  const events::Record child = ForeignPut(head, "child", kBorlange);
  MirrorAll();
  mirror_.Put(kBorlange, child);
  mirror_.Put(kBorlange, parent);
  mirror_.Put(kBorlange, parent);
  mirror_.Put(kBorlange, child);
  TheReplica paris(mirror_);
  paris.Read();
  storage::Table<v1::Item> items("items", *paris.projection);
  EXPECT_TRUE(items.Contains("parent"));
  EXPECT_FALSE(items.Contains("child"));
  EXPECT_EQ(paris.replica->View().voids.at(events::Outcome::kRepeated), 1u);
}

TEST_F(FollowerTest, AReplicaStopsBeforeAnEventItCannotReadAndSaysSo) {
  Work(5);
  events::Head head = HeadOf(History(Origin(), kBorlange));
  const int64_t readable = head.sequence;
  v1::NewerEvent newer;
  newer.mutable_item_renamed()->set_name("x");
  MirrorAll();
  mirror_.Put(kBorlange, Foreign(head, "Renamed", newer.SerializeAsString(),
                                 std::string(32, 'f') + ".1", kBorlange));
  mirror_.Put(kBorlange, ForeignPut(head, "after", kBorlange));
  TheReplica paris(mirror_);
  paris.Read();
  EXPECT_THAT(paris.replica->View().alarm, HasSubstr("install the release that wrote it"));
  EXPECT_EQ(paris.replica->View().head.sequence, readable);
  EXPECT_EQ(paris.Digest(), borlange_.Digest()) << "it serves what it has";
}

TEST_F(FollowerTest, AReplicaOfADamagedLogSaysSo) {
  Work(2);
  MirrorAll();
  events::Head head = HeadOf(History(Origin(), kBorlange));
  events::Record corrupt = ForeignPut(head, "corrupt", kBorlange);
  corrupt.data += "!";
  mirror_.Put(kBorlange, corrupt);
  mirror_.Put(kBorlange, ForeignPut(head, "child", kBorlange));
  TheReplica paris(mirror_);
  paris.Read();
  EXPECT_EQ(paris.replica->View().condition, events::Condition::kDamaged);
  EXPECT_THAT(paris.replica->View().alarm, HasSubstr("the log is damaged"));
}

TEST_F(FollowerTest, AStreamThatLostItsRecordsStopsAloneAndSaysSo) {
  Work(10);
  MirrorAll();
  TheReplica paris(mirror_);
  paris.Read();
  paris.follower.reset();
  mirror_.Truncate(kBorlange, 3);
  // Another stream, which goes on.
  const std::string other = "stockholm.ledger.events";
  events::Head head;
  for (int i = 0; i < 3; ++i) mirror_.Put(other, ForeignPut(head, std::to_string(i), other));
  TempDir dir;
  auto projection =
      *storage::Projection::Open(dir.path(), other, events::Chain::Origin::kMirrored, "test");
  runtime::EngineOf<ledger::Service> engine(projection->journal());
  runtime::Replica stockholm(engine, *projection, "paris");
  runtime::Follower follower(mirror_, {paris.replica.get(), &stockholm});
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return stockholm.View().head.sequence == 2;
  }));
  EXPECT_THAT(paris.replica->View().alarm, testing::Not(testing::IsEmpty()));
}

TEST_F(FollowerTest, AStreamWithARecordThatCannotBeReadStopsAloneAndSaysSo) {
  Work(10);
  MirrorAll();
  const std::string other = "stockholm.ledger.events";
  events::Head head;
  for (int i = 0; i < 3; ++i) mirror_.Put(other, ForeignPut(head, std::to_string(i), other));
  mirror_.Rot(kBorlange, 4);
  TempDir dir;
  auto projection =
      *storage::Projection::Open(dir.path(), other, events::Chain::Origin::kMirrored, "test");
  runtime::EngineOf<ledger::Service> engine(projection->journal());
  runtime::Replica stockholm(engine, *projection, "paris");
  TheReplica paris(mirror_);
  runtime::Follower follower(mirror_, {paris.replica.get(), &stockholm});
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return stockholm.View().head.sequence == 2 && !paris.replica->View().alarm.empty();
  }));
  EXPECT_THAT(paris.replica->View().alarm, HasSubstr("bits have changed"));
  EXPECT_EQ(paris.replica->View().head.sequence, 3);
  // Started again, it says the same, whether its head or what follows cannot be read.
  for (const int64_t rotten : {4, 3}) {
    mirror_.Rot(kBorlange, rotten);
    paris.Close();
    paris.Open();
    EXPECT_TRUE(WaitUntil([&] {
      paris.follower->Step(absl::ZeroDuration());
      return !paris.replica->View().alarm.empty();
    }));
    EXPECT_THAT(paris.replica->View().alarm, HasSubstr("bits have changed"));
  }
}

// Of two sinks of one stream, the one that still has to read it.
TEST_F(FollowerTest, WhoStillHasToReadWhatCannotBeReadStopsAlone) {
  Work(10);
  MirrorAll();
  TheReplica whole(mirror_);
  whole.Read();
  mirror_.Rot(kBorlange, 4);
  TheReplica late(mirror_);
  runtime::Follower follower(mirror_, {whole.replica.get(), late.replica.get()});
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return !late.replica->View().alarm.empty();
  }));
  EXPECT_THAT(late.replica->View().alarm, HasSubstr("bits have changed"));
  Work(2);
  Mirror(static_cast<size_t>(mirror_.End(kBorlange)), Origin().size());
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return whole.replica->View().next_offset == mirror_.End(kBorlange);
  }));
  EXPECT_EQ(whole.replica->View().alarm, "");
}

// Whose clocks are so fast that nobody has to wait long for its patience to end.
class HastyMachine final : public storage::Machine {
 public:
  absl::Time Now() override { return begin_ + 50 * (Machine::Now() - begin_); }
  absl::Duration Steady() override { return 50 * Machine::Steady(); }

 private:
  const absl::Time begin_ = Machine::Now();
};

// A copy that keeps its records for a week, whether what was deleted had been read or not.
TEST_F(FollowerTest, AStreamWhoseBeginningWasDeletedStopsAloneAndSaysSo) {
  Work(10);
  MirrorAll();
  const std::string other = "stockholm.ledger.events";
  events::Head head;
  for (int i = 0; i < 3; ++i) mirror_.Put(other, ForeignPut(head, std::to_string(i), other));
  TheReplica read(mirror_);
  read.Read();
  Work(10);
  MirrorAll();
  mirror_.DeleteBefore(kBorlange, mirror_.End(kBorlange) - 2);
  HastyMachine machine;
  TheReplica unread(mirror_);
  for (TheReplica* paris : {&unread, &read}) {
    TempDir dir;
    auto projection =
        *storage::Projection::Open(dir.path(), other, events::Chain::Origin::kMirrored, "test");
    runtime::EngineOf<ledger::Service> engine(projection->journal());
    runtime::Replica stockholm(engine, *projection, "paris");
    runtime::Follower follower(mirror_, {paris->replica.get(), &stockholm}, machine);
    EXPECT_TRUE(WaitUntil([&] {
      follower.Step(absl::ZeroDuration());
      return stockholm.View().head.sequence == 2 && !paris->replica->View().alarm.empty();
    }));
  }
  EXPECT_THAT(unread.replica->View().alarm, HasSubstr("its beginning was deleted"));
  EXPECT_THAT(read.replica->View().alarm, HasSubstr("no longer stands at offset"));
}

TEST_F(FollowerTest, AStreamThatDoesNotAnswerHoldsUpNoOther) {
  Work(10);
  MirrorAll();
  TheReplica paris(mirror_);
  paris.Read();
  const std::string other = "stockholm.ledger.events";
  events::Head head;
  for (int i = 0; i < 3; ++i) mirror_.Put(other, ForeignPut(head, std::to_string(i), other));
  mirror_.Silence(kBorlange, true);
  TempDir dir;
  auto projection =
      *storage::Projection::Open(dir.path(), other, events::Chain::Origin::kMirrored, "test");
  runtime::EngineOf<ledger::Service> engine(projection->journal());
  runtime::Replica stockholm(engine, *projection, "paris");
  HastyMachine machine;
  runtime::Follower follower(mirror_, {paris.replica.get(), &stockholm}, machine);
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return stockholm.View().head.sequence == 2;
  }));
  EXPECT_THAT(paris.replica->View().alarm, HasSubstr("the log does not answer"));
  mirror_.Silence(kBorlange, false);
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return paris.replica->View().alarm.empty();
  }));
  Work(2);
  Mirror(static_cast<size_t>(mirror_.End(kBorlange)), Origin().size());
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return paris.replica->View().next_offset == mirror_.End(kBorlange);
  }));
}

TEST_F(FollowerTest, AHeadThatStandsAtAnotherOffsetNowIsNotWhereItWasRead) {
  Work(5);
  Mirror(0, 3);
  mirror_.Put(kBorlange, Origin().front());  // void, and gone once the copy is made anew
  Mirror(3, Origin().size());
  TheReplica before(mirror_);
  before.Read();
  mirror_.Truncate(kBorlange, 0);
  MirrorAll();
  TheReplica anew(mirror_);
  anew.Read();
  ASSERT_EQ(anew.replica->View().head.link, before.replica->View().head.link);
  HastyMachine machine;
  runtime::Follower follower(mirror_, {anew.replica.get(), before.replica.get()}, machine);
  EXPECT_TRUE(WaitUntil([&] {
    follower.Step(absl::ZeroDuration());
    return !before.replica->View().alarm.empty();
  }));
  EXPECT_THAT(before.replica->View().alarm, HasSubstr("no longer stands at offset"));
  EXPECT_EQ(anew.replica->View().alarm, "");
}

// Paris follows borlange's orders and writes its own stream; both are in its log.
class FeedTest : public FollowerTest {
 protected:
  FeedTest() : paris_(mirror_, clock_) {}
  ~FeedTest() override { StopFeed(); }
  void StartFeed() {
    paris_.Open();
    feed_ = std::make_unique<runtime::Feed>(paris_.engine(), paris_.writer(), paris_.projection(),
                                            kBorlange, v1::Event::descriptor(), "paris");
    follower_ =
        std::make_unique<runtime::Follower>(mirror_, std::vector<runtime::Sink*>{feed_.get()});
    paris_.writer().Run();
    ASSERT_TRUE(paris_.writer().WaitUntilWriting(kPatience).ok());
  }
  void StopFeed() {
    follower_.reset();
    feed_.reset();
    paris_.Stop();
  }
  void Read() {
    for (int quiet = 0; quiet < 2;)
      quiet = follower_->Step(absl::ZeroDuration()) == 0 ? quiet + 1 : 0;
  }
  std::vector<Fact> TheHistory() {
    return History(mirror_.Records(paris_.stream()), paris_.stream());
  }

  Home paris_;
  std::unique_ptr<runtime::Feed> feed_;
  std::unique_ptr<runtime::Follower> follower_;
};

TEST_F(FeedTest, EveryOrderIsRecordedOnceAndNamesItsCause) {
  Work(16);
  MirrorAll();
  const int orders = [&] {
    int count = 0;
    for (const Fact& fact : History(Origin(), kBorlange))
      count += fact.event && fact.event->item_put().order_to() == "paris";
    return count;
  }();
  ASSERT_GT(orders, 2);
  StartFeed();
  Read();
  EXPECT_EQ(CountOf(TheHistory(), "OrderRecorded"), orders);
  for (const Fact& fact : TheHistory()) {
    if (!fact.event || !fact.event->has_order_recorded()) continue;
    EXPECT_EQ(fact.event->order_recorded().from_site(), "borlange");
    const std::string& cause = fact.attributes.causation_id;
    const auto sequence = static_cast<size_t>(std::stoi(cause.substr(cause.find(':') + 1)));
    EXPECT_EQ(cause, std::string(kBorlange) + ":" + std::to_string(sequence) + ":" +
                         History(Origin(), kBorlange)[sequence].attributes.id.ToHex());
  }
}

TEST_F(FeedTest, WhatIsDeliveredAgainIsDecidedOnce) {
  Work(16);
  MirrorAll();
  StartFeed();
  Read();
  const int orders = CountOf(TheHistory(), "OrderRecorded");
  MirrorAll();  // by the mirror
  Read();
  EXPECT_EQ(CountOf(TheHistory(), "OrderRecorded"), orders);
  EXPECT_EQ(paris_.writer().counters().repeated, 0u) << "the acceptance rule already knew them";
  // By a feed that forgot its position with the projection.
  StopFeed();
  paris_.Wipe();
  StartFeed();
  EXPECT_EQ(feed_->next_offset(), 0);
  Read();
  EXPECT_EQ(CountOf(TheHistory(), "OrderRecorded"), orders);
  EXPECT_EQ(paris_.writer().counters().repeated, static_cast<uint64_t>(orders));
  EXPECT_EQ(CountOf(TheHistory(), "CommandRefused"), 0);
}

TEST_F(FeedTest, ThePositionIsStoredWithTheRows) {
  Work(16);
  MirrorAll();
  StartFeed();
  Read();
  const int64_t position = feed_->next_offset();
  StopFeed();
  StartFeed();
  EXPECT_EQ(feed_->next_offset(), position);
  EXPECT_EQ(feed_->View().head.link, HeadOf(History(Origin(), kBorlange)).link);
  Work(4);
  Mirror(static_cast<size_t>(position), Origin().size());
  Read();
  EXPECT_EQ(feed_->next_offset(), mirror_.End(kBorlange));
  EXPECT_EQ(paris_.writer().counters().repeated, 0u);
}

TEST_F(FeedTest, AnOrderWhoseIdWasUsedWithAnotherContentDoesNotHoldTheFeedUp) {
  // As a newer release does that reacts to the same event with a command of another content.
  ASSERT_TRUE(borlange_.Answer(Order("a"), "c-1").ok());
  ASSERT_TRUE(borlange_.Answer(Order("b"), "c-2").ok());
  StartFeed();
  v1::Command earlier;
  earlier.mutable_record_order()->set_name("a");
  earlier.mutable_record_order()->set_from_site("as an earlier release said it");
  const Asked asked = paris_.Ask(earlier, std::string(kBorlange) + ":2/record/a", "system:ledger");
  ASSERT_TRUE(WaitUntil([&] { return asked.answered(); }));
  ASSERT_TRUE(asked.outcome().ok());
  MirrorAll();
  follower_->Run();
  EXPECT_TRUE(WaitUntil([&] { return feed_->View().next_offset == mirror_.End(kBorlange); },
                        absl::Seconds(10)));
  follower_->Stop();
  EXPECT_EQ(CountOf(TheHistory(), "OrderRecorded"), 2);
}

TEST_F(FeedTest, AHistoryThatSplitLeadsToNoMoreDecisions) {
  Work(4);
  const auto shared = Origin();
  borlange_.Restart();  // a WriterStarted that paris has seen
  MirrorAll();
  const auto fork_point = shared.size();
  // The origin lost its end and went on from before it.
  ScriptedLog other;
  for (const events::Record& record : shared) other.Put(kBorlange, record);
  Home forked(other, clock_, "borlange");
  forked.Start();
  ASSERT_TRUE(forked.Answer(Order("on the fork"), "c-fork").ok());
  StartFeed();
  Read();
  const int orders = CountOf(TheHistory(), "OrderRecorded");
  const auto branch = other.Records(kBorlange);
  for (size_t i = fork_point; i < branch.size(); ++i) mirror_.Put(kBorlange, branch[i]);
  ASSERT_TRUE(borlange_.Answer(Order("on the old branch"), "c-old").ok());
  Mirror(fork_point + 1, Origin().size());
  Read();
  EXPECT_TRUE(feed_->View().forked || feed_->View().alarm.find("has split") != std::string::npos);
  EXPECT_THAT(feed_->View().alarm, HasSubstr("has split"));
  EXPECT_EQ(CountOf(TheHistory(), "OrderRecorded"), orders);
}

TEST_F(FeedTest, AFeedStopsBeforeAnEventItCannotReadAndSaysSo) {
  ASSERT_TRUE(borlange_.Answer(Order("a"), "c-1").ok());
  MirrorAll();
  events::Head head = HeadOf(History(Origin(), kBorlange));
  mirror_.Put(kBorlange,
              Foreign(head, "ItemPut", "\xff\xff", std::string(32, 'f') + ".1", kBorlange));
  StartFeed();
  Read();
  EXPECT_EQ(CountOf(TheHistory(), "OrderRecorded"), 1);
  EXPECT_THAT(feed_->View().alarm, HasSubstr("install the release that wrote it"));
  EXPECT_EQ(feed_->next_offset(), static_cast<int64_t>(Origin().size()));
}

}  // namespace
}  // namespace concordat::test
