// Lost acknowledgements, other writers, and what a writer makes of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "services/runtime/writer.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using runtime::WriterState;

bool IsSystem(const events::Record& record) {
  return events::HeaderValue(record, "ce_type").substr(0, 20) == "concordat.system.v1.";
}

class RecoveryTest : public testing::Test {
 protected:
  RecoveryTest() { home_.Start(); }
  // The next append of a service's event meets this fate; those after it land.
  void Next(Fate fate) {
    log_.fate = [this, fate, met = false](const std::string&,
                                          const events::Record& record) mutable {
      if (met || IsSystem(record)) return Fate::kLand;
      met = true;
      return fate;
    };
  }
  void All(Fate fate) {
    log_.fate = [fate](const std::string&, const events::Record& record) {
      return IsSystem(record) ? Fate::kLand : fate;
    };
  }
  std::vector<Fact> TheHistory() { return History(log_.Records(home_.stream()), home_.stream()); }
  // The answer stands in the log, and once.
  void ExpectInTheLog(const absl::StatusOr<type::v1::Outcome>& outcome) {
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    const std::vector<Fact> history = TheHistory();
    ASSERT_LT(outcome->sequence(), history.size());
    const events::Attributes& event = history[outcome->sequence()].attributes;
    EXPECT_EQ(outcome->link(), event.id.ToHex());
    EXPECT_EQ(outcome->request_id(), event.command_id);
    EXPECT_EQ(CountOfCommand(history, event.command_id, event.actor), 1);
  }

  ScriptedLog log_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  Home home_{log_, clock_};
};

TEST_F(RecoveryTest, ACommandIsDecidedWhileOthersAreOnTheirWay) {
  home_.Stop();
  home_.options.timer_interval = absl::Hours(1);  // nothing but a command ends the writer's wait
  home_.Run();
  All(Fate::kHold);
  std::vector<Asked> asked;
  for (size_t i = 0; i < 8; ++i) {  // with more on their way it takes more than one to wake it
    const std::string name = std::to_string(i);
    asked.push_back(home_.Ask(Put(name), "c-" + name));
    ASSERT_TRUE(WaitUntil([&] { return log_.held() == i + 1; })) << name;
  }
  log_.Release();
  for (const Asked& each : asked) ExpectInTheLog(home_.Answer(each));
}

TEST_F(RecoveryTest, ACommandOfAServiceMayBeAskedAgainWhileItIsOnItsWay) {
  All(Fate::kHold);
  const auto unheard = [](runtime::Submission& submission) { submission.done = nullptr; };
  home_.Ask(Put("a"), "c-1", "system:other", unheard);
  home_.Ask(Put("a"), "c-1", "system:other", unheard);
  ASSERT_TRUE(home_.StepUntil([&] { return log_.held() == 1; }));
  log_.Release();
  ASSERT_TRUE(home_.StepUntil([&] { return home_.Item("a").has_value(); }));
  All(Fate::kLand);
  EXPECT_TRUE(home_.Answer(Put("b"), "c-2").ok()) << "answers go on";
}

TEST_F(RecoveryTest, NothingIsAnsweredBeforeTheLogHasReported) {
  All(Fate::kHold);
  const Asked asked = home_.Ask(Put("a"), "c-1");
  const Asked again = home_.Ask(Put("a"), "c-1");
  const Asked other = home_.Ask(Put("b"), "c-1");
  const Asked dependent = home_.Ask(Put("a"), "c-2");
  ASSERT_TRUE(home_.StepUntil([&] { return log_.held() == 2 && other.answered(); }));
  EXPECT_TRUE(absl::IsAlreadyExists(other.outcome().status()))
      << "an id in flight is used with another content";
  home_.Step(20);
  EXPECT_FALSE(asked.answered());
  EXPECT_FALSE(again.answered()) << "a repeated command waits for the first";
  EXPECT_FALSE(dependent.answered()) << "a refusal that rests on speculation waits too";
  EXPECT_FALSE(home_.Item("a").has_value()) << "no row is stored either";
  log_.Release();
  ExpectInTheLog(home_.Answer(asked));
  ASSERT_TRUE(home_.Answer(again).ok());
  EXPECT_TRUE(again.outcome()->repeated());
  EXPECT_EQ(again.outcome()->link(), asked.outcome()->link());
  EXPECT_EQ(home_.Answer(dependent)->reason(), "REASON_EXISTS");
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 1);
}

TEST_F(RecoveryTest, AnUnknownOutcomeThatLandedIsAnsweredFromTheLog) {
  for (const Fate fate : {Fate::kLandWithError, Fate::kLandUnknown}) {
    Next(fate);
    const std::string name = std::to_string(static_cast<int>(fate));
    const auto outcome = home_.Answer(Put(name), "c-" + name);
    ExpectInTheLog(outcome);
    EXPECT_FALSE(outcome->repeated());
    EXPECT_EQ(CountOf(TheHistory(), "WriterStarted"), fate == Fate::kLandWithError ? 2 : 3)
        << "it claimed the stream first";
  }
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 2) << "neither was decided twice";
}

TEST_F(RecoveryTest, AnUnknownOutcomeThatDidNotLandIsDecidedAgain) {
  Next(Fate::kFail);
  ExpectInTheLog(home_.Answer(Put("a"), "c-1"));
  EXPECT_EQ(CountOf(TheHistory(), "WriterStarted"), 2);
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 1);
}

TEST_F(RecoveryTest, ARepeatThatWaitedThroughARecoveryIsToldThatItIsOne) {
  for (const Fate fate : {Fate::kLandWithError, Fate::kFail}) {
    Next(fate);
    const std::string name = std::to_string(static_cast<int>(fate));
    const Asked first = home_.Ask(Put(name), "c-" + name);
    const Asked again = home_.Ask(Put(name), "c-" + name);
    ExpectInTheLog(home_.Answer(first));
    ExpectInTheLog(home_.Answer(again));
    EXPECT_FALSE(first.outcome()->repeated());
    EXPECT_TRUE(again.outcome()->repeated());
    EXPECT_EQ(again.outcome()->link(), first.outcome()->link());
  }
}

TEST_F(RecoveryTest, AnAppendThatLandsAfterTheClaimIsVoidAndItsCommandIsThereOnce) {
  int appends = 0;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (IsSystem(record)) return Fate::kLand;
    ++appends;
    return appends == 1 ? Fate::kHold : appends == 2 ? Fate::kFail : Fate::kLand;
  };
  const Asked first = home_.Ask(Put("a"), "c-1");
  const Asked second = home_.Ask(Put("b"), "c-2");
  ExpectInTheLog(home_.Answer(first));
  ExpectInTheLog(home_.Answer(second));
  const size_t before = TheHistory().size();
  ASSERT_EQ(log_.held(), 1u);
  log_.Release();
  EXPECT_EQ(TheHistory().size(), before) << "the late record is void";
  ExpectInTheLog(home_.Answer(Put("c"), "c-3"));
  ExpectInTheLog(first.outcome());
  EXPECT_EQ(home_.Item("a")->amount(), 1);
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 3);
}

TEST_F(RecoveryTest, AReportThatComesAfterItsRecoveryAcknowledgesNothing) {
  log_.reports_after_reset = true;  // the port forbids it; the writer holds all the same
  int appends = 0;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (IsSystem(record)) return Fate::kLand;
    ++appends;
    // The first is on its way while the second fails; after the recovery everything is held.
    return appends == 2 ? Fate::kFail : Fate::kHold;
  };
  const Asked first = home_.Ask(Put("a"), "c-1");
  const Asked second = home_.Ask(Put("b"), "c-2");
  ASSERT_TRUE(home_.StepUntil([&] { return appends >= 4; }));
  ASSERT_EQ(log_.held(), 3u);
  log_.DropHeld();  // reports of the stale append and of the two new ones, none of which landed
  log_.fate = nullptr;
  ExpectInTheLog(home_.Answer(first));
  ExpectInTheLog(home_.Answer(second));
  EXPECT_GE(home_.writer().counters().stale_reports, 1u);
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 2);
}

TEST_F(RecoveryTest, AStaleReportWithTheOffsetThatIsExpectedNextAcknowledgesNothing) {
  log_.reports_after_reset = true;
  int appends = 0;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (IsSystem(record)) return Fate::kLand;
    ++appends;
    return appends == 2 ? Fate::kFail : Fate::kHold;
  };
  const Asked first = home_.Ask(Put("a"), "c-1");
  const Asked second = home_.Ask(Put("b"), "c-2");
  ASSERT_TRUE(home_.StepUntil([&] { return appends >= 4; }));
  // The stale append lands first, at the very offset that the writer expects for its own next
  // event.
  log_.fate = nullptr;
  log_.Release();
  ExpectInTheLog(home_.Answer(first));
  ExpectInTheLog(home_.Answer(second));
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 2);
}

TEST_F(RecoveryTest, AnAppendThatIsNeverReportedIsDisownedOnceSomethingElseIsWrong) {
  int appends = 0;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (IsSystem(record)) return Fate::kLand;
    return ++appends == 1 ? Fate::kLandSilently : Fate::kLand;
  };
  const Asked silent = home_.Ask(Put("a"), "c-1");
  const Asked next = home_.Ask(Put("b"), "c-2");
  ExpectInTheLog(home_.Answer(silent));
  ExpectInTheLog(home_.Answer(next));
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 2);
}

TEST_F(RecoveryTest, ALostRaceIsDecidedAgainOnTheNewState) {
  events::Head head = HeadOf(TheHistory());
  log_.Put(home_.stream(), ForeignPut(head, "a"));
  const auto outcome = home_.Answer(Put("a"), "c-1");
  ExpectInTheLog(outcome);
  EXPECT_EQ(outcome->reason(), "REASON_EXISTS") << "the other writer was first";
  EXPECT_EQ(home_.Item("a")->amount(), 7);
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 1);
  EXPECT_EQ(CountOf(TheHistory(), "WriterStarted"), 1)
      << "every outcome was known: no claim is needed";
}

TEST_F(RecoveryTest, AForeignRecordInTheMiddleOfAGroupVoidsTheRestOfIt) {
  int appends = 0;
  log_.fate = [&](const std::string& stream, const events::Record& record) {
    if (!IsSystem(record) && ++appends == 3) {
      // It follows the second event of the group.
      events::Head second = HeadOf(TheHistory());
      log_.Put(stream, ForeignPut(second, "foreign"));
    }
    return Fate::kLand;
  };
  std::vector<Asked> asked;
  for (int i = 0; i < 6; ++i)
    asked.push_back(home_.Ask(Put(std::to_string(i)), "c-" + std::to_string(i)));
  for (const Asked& one : asked) ExpectInTheLog(home_.Answer(one));
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 7);
  EXPECT_GE(home_.writer().counters().voids, 4u) << "the rest of the group, as it stood first";
  EXPECT_EQ(home_.writer().counters().recoveries, 2u) << "its start and this";
}

TEST_F(RecoveryTest, ACommandDecidedAgainHasAnotherLinkThoughNothingElseDiffers) {
  // The first attempt is held; the writer claims, decides again; then the first attempt lands.
  int appends = 0;
  std::vector<std::string> links;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (IsSystem(record)) return Fate::kLand;
    links.emplace_back(events::HeaderValue(record, "ce_id"));
    return ++appends == 1 ? Fate::kFail : Fate::kLand;
  };
  ExpectInTheLog(home_.Answer(Put("a"), "c-1"));
  ASSERT_EQ(links.size(), 2u);
  EXPECT_NE(links[0], links[1]);
}

TEST_F(RecoveryTest, VoidRecordsOfStrangersAreCountedAndChangeNothing) {
  events::Head head = HeadOf(TheHistory());
  events::Head elsewhere{events::Sha256("elsewhere"), head.sequence, -1, head.time};
  log_.Put(home_.stream(), ForeignPut(elsewhere, "forged parent"));
  events::Record wrong_link = ForeignPut(head, "wrong link");
  wrong_link.data += "!";
  log_.Put(home_.stream(), wrong_link);
  log_.Put(home_.stream(), log_.Records(home_.stream()).front());  // a copy of what is there
  ExpectInTheLog(home_.Answer(Put("a"), "c-1"));
  const auto voids = home_.writer().View().voids;
  EXPECT_EQ(voids.at(events::Outcome::kCorrupt), 1u);
  EXPECT_GE(voids.at(events::Outcome::kStale), 1u);
  EXPECT_FALSE(home_.Item("forged parent").has_value());
  EXPECT_FALSE(home_.Item("wrong link").has_value());
  EXPECT_EQ(home_.state(), WriterState::kWriting);
}

TEST_F(RecoveryTest, TwoWritersOnOneStreamAnswerEachCommandOnce) {
  Home other(log_, clock_);
  other.Start();
  std::vector<std::pair<Home*, Asked>> asked;
  for (int round = 0; round < 20; ++round) {
    const std::string id = std::to_string(round);
    asked.emplace_back(&home_, home_.Ask(Put("a" + id), "a-" + id));
    asked.emplace_back(&other, other.Ask(Put("b" + id), "b-" + id));
    // Both are asked the same command: one decides, the other answers from the log.
    asked.emplace_back(&home_, home_.Ask(Put("c" + id), "c-" + id));
    asked.emplace_back(&other, other.Ask(Put("c" + id), "c-" + id));
    home_.Step(1);
    other.Step(1);
  }
  ASSERT_TRUE(WaitUntil([&] {
    home_.Step(1);
    other.Step(1);
    return std::all_of(asked.begin(), asked.end(),
                       [](const auto& one) { return one.second.answered(); });
  }));
  for (const auto& [where, one] : asked) {
    ExpectInTheLog(one.outcome());
    EXPECT_EQ(one.answers(), 1);
  }
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 60);
  EXPECT_EQ(CountOf(TheHistory(), "CommandRefused"), 0);
  home_.Restart();
  other.Restart();
  home_.Restart();
  other.Stop();
  EXPECT_EQ(home_.state(), WriterState::kWriting);
}

TEST_F(RecoveryTest, AStaleWriterThatWakesUpCannotChangeWhatTheNewOneWrote) {
  Home next(log_, clock_);
  next.Start();  // takes over while the first is idle
  ExpectInTheLog(next.Answer(Put("a"), "c-1"));
  const auto late = home_.Answer(Put("a"), "c-2");
  ExpectInTheLog(late);
  EXPECT_EQ(late->reason(), "REASON_EXISTS");
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 1);
}

// Its steady clock runs ahead, so that nobody has to wait for what happens now and then.
class HastyMachine final : public storage::Machine {
 public:
  absl::Duration Steady() override { return steady_ += absl::Seconds(1); }

 private:
  absl::Duration steady_;
};

TEST_F(RecoveryTest, AnIdleWriterHearsOfWhatAnotherOneWrote) {
  HastyMachine machine;
  Home idle(log_, clock_);
  idle.options.machine = &machine;
  idle.Start();
  ExpectInTheLog(home_.Answer(Put("a"), "c-1"));
  EXPECT_TRUE(idle.StepUntil([&] { return idle.Item("a").has_value(); }))
      << "it had nothing of its own to append";
  EXPECT_EQ(idle.state(), WriterState::kWriting);
}

TEST_F(RecoveryTest, AnIdleWriterSeesThatItsLogWasCut) {
  HastyMachine machine;
  Home idle(log_, clock_);
  idle.options.machine = &machine;
  idle.Start();
  ExpectInTheLog(idle.Answer(Put("a"), "c-1"));
  log_.Truncate(idle.stream(), 1);
  EXPECT_TRUE(idle.StepUntil([&] { return idle.state() == WriterState::kStopped; }))
      << "it had nothing of its own to append";
  EXPECT_THAT(idle.alarm(), testing::HasSubstr("ConcordatLogLost"));
}

TEST_F(RecoveryTest, ALogThatIsAwayForAWhileHoldsTheWriterUpAndNoMore) {
  log_.FailNextRead(absl::UnavailableError("the log is away"));
  Next(Fate::kFail);
  ExpectInTheLog(home_.Answer(Put("a"), "c-1"));
  EXPECT_EQ(home_.alarm(), "");
}

}  // namespace
}  // namespace concordat::test
