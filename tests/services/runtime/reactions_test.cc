// Follow-up commands and timers: neither lost nor doubled.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/runtime/fold.h"
#include "services/runtime/writer.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);

// A clock whose alarm the test sets.
class WatchedClock final : public runtime::Clock {
 public:
  absl::Time Now() override { return now; }
  std::string Alarm() override { return alarm; }
  absl::Time now = kStart;
  std::string alarm;
};

class ReactionsTest : public testing::Test {
 protected:
  ReactionsTest() { home_.Start(); }
  std::vector<Fact> TheHistory() { return History(log_.Records(home_.stream()), home_.stream()); }
  int Count(const std::string& type) { return CountOf(TheHistory(), type); }
  bool AwaitCount(const std::string& type, int count) {
    return home_.StepUntil([&] { return Count(type) >= count; });
  }
  // Long enough for whatever would be done twice to show.
  void Settle() { home_.Step(20); }
  static v1::Command Expiring(const std::string& name, absl::Time time) {
    v1::Command command = Put(name);
    command.mutable_put_item()->mutable_expire_time()->set_seconds(absl::ToUnixSeconds(time));
    return command;
  }

  ScriptedLog log_;
  WatchedClock clock_;
  Home home_{log_, clock_};
};

TEST_F(ReactionsTest, AReactionIsDecidedOnceAndNamesItsCause) {
  ASSERT_TRUE(home_
                  .Answer(PutConfirmed("a"), "c-1", "alice",
                          [](runtime::Submission& s) { s.correlation_id = "story"; })
                  .ok());
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 1));
  Settle();
  const std::vector<Fact> history = TheHistory();
  ASSERT_EQ(history.size(), 4u);
  const events::Attributes& cause = history[2].attributes;
  const events::Attributes& reaction = history[3].attributes;
  EXPECT_EQ(reaction.causation_id, home_.stream() + ":2:" + cause.id.ToHex());
  EXPECT_EQ(reaction.command_id, home_.stream() + ":2/confirm/a");
  EXPECT_EQ(reaction.correlation_id, "story");
  EXPECT_EQ(reaction.actor, "system:ledger");
  EXPECT_EQ(home_.Item("a")->confirmed(), 1);
}

TEST_F(ReactionsTest, ACrashBetweenTheBatchAndItsReactionsLosesAndDoublesNone) {
  for (int round = 0; round < 3; ++round) {
    const std::string name = std::to_string(round);
    home_.Ask(PutConfirmed(name), "c-" + name);
    // In one step the batch is stored; the reaction waits in the queue, which is lost with the
    // process.
    ASSERT_TRUE(home_.StepUntil([&] { return home_.Item(name).has_value(); }));
    EXPECT_EQ(Count("ItemConfirmed"), round);
    home_.Restart();
    ASSERT_TRUE(AwaitCount("ItemConfirmed", round + 1));
    Settle();
    EXPECT_EQ(Count("ItemConfirmed"), round + 1);
    EXPECT_EQ(home_.Item(name)->confirmed(), 1);
  }
}

TEST_F(ReactionsTest, ACrashThatLosesTheRowsLosesAndDoublesNone) {
  home_.Stop();
  home_.Keep();
  home_.Start();
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(home_.Answer(PutConfirmed(std::to_string(i)), "c-" + std::to_string(i)).ok());
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 3));
  const int done = Count("ItemConfirmed");
  home_.Stop();
  home_.PutBack();
  home_.Start();
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 5));
  Settle();
  EXPECT_GE(done, 3);
  EXPECT_EQ(Count("ItemConfirmed"), 5);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(home_.Item(std::to_string(i))->confirmed(), 1);
}

TEST_F(ReactionsTest, ACrashWhileAReactionIsOnItsWayLosesAndDoublesNone) {
  log_.fate = [](const std::string&, const events::Record& record) {
    return events::HeaderValue(record, "ce_type") == "concordat.test.v1.ItemConfirmed"
               ? Fate::kHold
               : Fate::kLand;
  };
  ASSERT_TRUE(home_.Answer(PutConfirmed("a"), "c-1").ok());
  ASSERT_TRUE(home_.StepUntil([&] { return log_.held() == 1; }));
  home_.Stop();
  log_.fate = nullptr;
  home_.Start();
  log_.Release();  // too late: another writer has started
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 1));
  Settle();
  EXPECT_EQ(Count("ItemConfirmed"), 1);
  EXPECT_EQ(home_.Item("a")->confirmed(), 1);
}

TEST_F(ReactionsTest, AReactionToAnEventThatWasReadAfterAnUnknownOutcomeIsDecidedOnce) {
  bool met = false;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (met || events::HeaderValue(record, "ce_type") != "concordat.test.v1.ItemPut")
      return Fate::kLand;
    met = true;
    return Fate::kLandWithError;
  };
  ASSERT_TRUE(home_.Answer(PutConfirmed("a"), "c-1").ok());
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 1));
  Settle();
  EXPECT_EQ(Count("ItemConfirmed"), 1);
}

TEST_F(ReactionsTest, AReactionWhoseCauseWasVoidIsNotDecided) {
  bool met = false;
  log_.fate = [&](const std::string& stream, const events::Record& record) {
    if (met || events::HeaderValue(record, "ce_type") != "concordat.test.v1.ItemPut")
      return Fate::kLand;
    met = true;
    events::Head head = HeadOf(TheHistory());
    log_.Put(stream, ForeignPut(head, "a"));  // somebody else was faster
    return Fate::kLand;
  };
  const auto outcome = home_.Answer(PutConfirmed("a"), "c-1");
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->reason(), "REASON_EXISTS");
  Settle();
  EXPECT_EQ(Count("ItemConfirmed"), 0);
  home_.Restart();
  Settle();
  EXPECT_EQ(Count("ItemConfirmed"), 0);
}

TEST_F(ReactionsTest, ARebuildFromNothingIssuesNoNewCommand) {
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE(home_.Answer(PutConfirmed(std::to_string(i)), "c-" + std::to_string(i)).ok());
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 10));
  Settle();
  const std::string digest = home_.Digest();
  home_.Stop();
  home_.Wipe();
  home_.Start();
  Settle();
  EXPECT_EQ(home_.Digest(), digest);
  EXPECT_EQ(Count("ItemConfirmed"), 10);
  EXPECT_EQ(home_.writer().counters().accepted, 0u);
}

TEST_F(ReactionsTest, ARebuildIssuesWhatWasStillOpen) {
  home_.Ask(PutConfirmed("a"), "c-1");
  ASSERT_TRUE(home_.StepUntil([&] { return home_.Item("a").has_value(); }));
  EXPECT_EQ(Count("ItemConfirmed"), 0);
  home_.Stop();
  home_.Wipe();
  home_.Start();
  ASSERT_TRUE(AwaitCount("ItemConfirmed", 1));
  Settle();
  EXPECT_EQ(Count("ItemConfirmed"), 1);
}

TEST_F(ReactionsTest, ATimerFiresOnceWhenItIsDue) {
  ASSERT_TRUE(home_.Answer(Expiring("a", kStart + absl::Seconds(10)), "c-1").ok());
  Settle();
  EXPECT_EQ(Count("ItemExpired"), 0) << "it is not due";
  clock_.now = kStart + absl::Seconds(10);
  ASSERT_TRUE(AwaitCount("ItemExpired", 1));
  Settle();
  home_.Restart();
  Settle();
  home_.Stop();
  home_.Wipe();
  home_.Start();
  Settle();
  EXPECT_EQ(Count("ItemExpired"), 1);
  EXPECT_EQ(home_.Item("a")->expired(), 1);
  EXPECT_EQ(TheHistory()[3].attributes.command_id, "due/expire/a/2027-01-15T08:00:10Z");
}

TEST_F(ReactionsTest, ATimerWhoseEventIsOnItsWayIsNotFiredAgain) {
  ASSERT_TRUE(home_.Answer(Expiring("a", kStart), "c-1").ok());
  log_.fate = [](const std::string&, const events::Record&) { return Fate::kHold; };
  ASSERT_TRUE(home_.StepUntil([&] { return log_.held() >= 1 || Count("ItemExpired") == 1; }));
  Settle();
  EXPECT_LE(log_.held(), 1u);
  log_.Release();
  log_.fate = nullptr;
  ASSERT_TRUE(AwaitCount("ItemExpired", 1));
  Settle();
  EXPECT_EQ(Count("ItemExpired"), 1);
}

TEST_F(ReactionsTest, ATimerThatWasDueWhileTheProcessWasDownFiresAtItsStart) {
  ASSERT_TRUE(home_.Answer(Expiring("a", kStart + absl::Seconds(10)), "c-1").ok());
  home_.Stop();
  clock_.now = kStart + absl::Hours(5);
  home_.Start();
  ASSERT_TRUE(AwaitCount("ItemExpired", 1));
}

TEST_F(ReactionsTest, NoTimerFiresWhileTheClockIsNotTrusted) {
  ASSERT_TRUE(home_.Answer(Expiring("a", kStart + absl::Seconds(10)), "c-1").ok());
  clock_.alarm = "the clock jumped";
  clock_.now = kStart + absl::Hours(5);
  Settle();
  ASSERT_TRUE(home_.Answer(Put("b"), "c-2").ok()) << "commands are decided all the same";
  EXPECT_EQ(Count("ItemExpired"), 0);
  clock_.alarm = "";
  ASSERT_TRUE(AwaitCount("ItemExpired", 1));
}

TEST_F(ReactionsTest, ATimerAndALostRaceLeaveOneEvent) {
  ASSERT_TRUE(home_.Answer(Expiring("a", kStart + absl::Seconds(10)), "c-1").ok());
  Home other(log_, clock_);
  other.Start();
  clock_.now = kStart + absl::Seconds(10);
  ASSERT_TRUE(WaitUntil([&] {
    home_.Step(1);
    other.Step(1);
    return Count("ItemExpired") >= 1;
  }));
  for (int i = 0; i < 20; ++i) {
    home_.Step(1);
    other.Step(1);
  }
  EXPECT_EQ(Count("ItemExpired"), 1);
}

}  // namespace
}  // namespace concordat::test
