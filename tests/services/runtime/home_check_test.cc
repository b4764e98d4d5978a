// A home whose log lost its end, was replaced or split: it is filled from a peer, or not written.
#include "services/runtime/home_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/services/runtime/home.h"
#include "tests/support/records.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using runtime::WriterState;
using testing::AllOf;
using testing::HasSubstr;

// What another site has accepted.
struct Site {
  std::vector<Fact> history;
  bool answers = true;
  bool required = true;
  bool gives = true;
  size_t at_once = 1000;
  int asked_for_records = 0;
};

class SitePeer final : public runtime::Peer {
 public:
  explicit SitePeer(Site& site) : site_(site) {}
  std::string name() const override { return "borlange"; }
  bool required() const override { return site_.required; }
  absl::StatusOr<events::Head> HeadOf(const std::string&) override {
    if (!site_.answers) return absl::UnavailableError("the link is cut");
    return HeadOf();
  }
  absl::StatusOr<std::vector<events::Record>> Records(const std::string&, uint64_t from,
                                                      size_t limit) override {
    ++site_.asked_for_records;
    if (!site_.answers || !site_.gives) return absl::UnavailableError("the link is cut");
    std::vector<events::Record> records;
    for (; from < site_.history.size() && records.size() < std::min(limit, site_.at_once); ++from)
      records.push_back(site_.history[from].record);
    return records;
  }

 private:
  events::Head HeadOf() const { return test::HeadOf(site_.history); }
  Site& site_;
};

class HomeCheckTest : public testing::Test {
 protected:
  HomeCheckTest() { Begin(); }
  // A home with a check of its own, as each start of a process has it.
  void Begin() {
    check_ = std::make_unique<runtime::HomeCheck>(kStream, mark_);
    check_->Add(std::make_unique<SitePeer>(borlange_));
    home_.options.home_check = check_.get();
  }
  void Restart() {
    home_.Stop();
    Begin();
    home_.Start();
  }
  // Opens it and steps it some hundred times: enough for whatever it is going to do.
  void RestartAndWait() {
    home_.Stop();
    Begin();
    home_.Open();
    home_.StepUntil(
        [&] { return !home_.alarm().empty() || home_.state() != WriterState::kStarting; });
  }
  void Work(int count) {
    for (int i = 0; i < count; ++i, ++worked_) {
      const std::string id = std::to_string(worked_);
      ASSERT_TRUE(home_.Answer(Put(id), "c-" + id).ok());
    }
  }
  void Mirror() { borlange_.history = TheHistory(); }
  std::vector<Fact> TheHistory() { return History(log_.Records(kStream), kStream); }
  // What borlange has seen is part of the home's history, byte for byte, and every answered command
  // is there once.
  void ExpectNothingLost() {
    const std::vector<Fact> history = TheHistory();
    ASSERT_GE(history.size(), borlange_.history.size());
    for (size_t i = 0; i < borlange_.history.size(); ++i)
      ASSERT_TRUE(SameBytes(history[i].record, borlange_.history[i].record)) << "at sequence " << i;
    for (int i = 0; i < worked_; ++i)
      ASSERT_EQ(CountOfCommand(history, "c-" + std::to_string(i)), 1) << "c-" << i;
  }
  void ExpectNothingWritten() {
    const int64_t end = log_.End(kStream);
    const Asked asked = home_.Ask(Put("new"), "c-new");
    home_.Step(20);
    EXPECT_EQ(log_.End(kStream), end);
    EXPECT_NE(home_.state(), WriterState::kWriting);
  }

  ScriptedLog log_;
  TempDir dir_;
  std::string mark_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  Site borlange_;
  std::unique_ptr<runtime::HomeCheck> check_;
  Home home_{log_, clock_};
  int worked_ = 0;
};

TEST_F(HomeCheckTest, AWholeLogIsWrittenWhetherThePeerHasAllOfItOrLess) {
  home_.Start();
  EXPECT_EQ(home_.writer().View().home_check, "whole");
  Work(300);
  Mirror();
  Restart();
  EXPECT_EQ(home_.state(), WriterState::kWriting);
  Work(300);  // the peer's head lies far back now
  Restart();
  EXPECT_EQ(home_.state(), WriterState::kWriting);
  ExpectNothingLost();
  EXPECT_EQ(borlange_.asked_for_records, 0);
  EXPECT_EQ(home_.writer().counters().repaired, 0u);
}

TEST_F(HomeCheckTest, ALogAndAProjectionFromYesterdayAreFilledFromThePeer) {
  home_.Start();
  Work(20);
  home_.Stop();
  home_.Keep();
  const size_t yesterday = log_.Records(kStream).size();
  Begin();
  home_.Start();
  Work(30);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, yesterday);
  home_.PutBack();
  borlange_.at_once = 7;
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  EXPECT_EQ(home_.writer().View().home_check, "whole");
  EXPECT_EQ(home_.writer().counters().repaired, borlange_.history.size() - yesterday);
  ExpectNothingLost();
  EXPECT_EQ(home_.Answer(Put("20"), "c-20")->repeated(), true) << "the first answer still holds";
  Work(1);
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, AnEmptyDiskIsFilledFromThePeer) {
  home_.Start();
  Work(30);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 0);
  home_.Wipe();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, ALogCutShortUnderAWholeProjectionIsFilledInPlace) {
  home_.Start();
  Work(30);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, log_.Records(kStream).size() - 10);
  Restart();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  EXPECT_EQ(home_.writer().counters().repaired, 10u);
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, ALogCutShortUnderAWholeProjectionWaitsForWhoMayHaveWhatIsMissing) {
  for (const bool answers : {false, true}) {
    SCOPED_TRACE(answers);
    home_.Start();
    Work(30);
    Mirror();
    home_.Stop();
    log_.Truncate(kStream, log_.Records(kStream).size() - 10);
    // It does not answer at all, or it gives nothing now.
    borlange_.answers = answers;
    borlange_.gives = false;
    RestartAndWait();
    EXPECT_EQ(home_.state(), WriterState::kStarting);
    EXPECT_THAT(home_.alarm(), HasSubstr("borlange"));
    ExpectNothingWritten();
    borlange_.answers = true;
    borlange_.gives = true;
    ASSERT_TRUE(home_.StepUntil([&] { return home_.state() == WriterState::kWriting; }))
        << home_.alarm();
    ExpectNothingLost();
    home_.Stop();
  }
}

TEST_F(HomeCheckTest, WhereTheEventsComeToStandElsewhereTheOperatorIsToldToRebuild) {
  home_.Start();
  Work(10);
  log_.Put(kStream, log_.Records(kStream).front());  // void: it takes an offset and no sequence
  Work(10);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 5);
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(), AllOf(HasSubstr("filled again"), HasSubstr("delete"),
                                   HasSubstr(home_.projection().dir())));
  home_.Stop();
  home_.Wipe();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, WhatWasVoidWhenTheProjectionReadItAndIsHistoryNowIsReadAgain) {
  home_.Start();
  Work(5);
  const size_t end = log_.Records(kStream).size();
  log_.Put(kStream, log_.Records(kStream)[2]);
  ASSERT_TRUE(home_.StepUntil([&] { return !home_.writer().View().voids.empty(); }));
  home_.Stop();
  home_.Keep();
  log_.Truncate(kStream, end);
  home_.Wipe();
  home_.Start();
  Mirror();
  home_.Stop();
  home_.PutBack();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  ExpectNothingLost();
  const std::string digest = home_.Digest();
  home_.Stop();
  home_.Wipe();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.Digest(), digest) << "of a projection that is folded anew";
}

TEST_F(HomeCheckTest, WhereAnotherProcessHasFilledTheLogTheOperatorIsToldToRebuildToo) {
  home_.Start();
  Work(10);
  log_.Put(kStream, log_.Records(kStream).front());
  Work(10);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 0);
  for (const Fact& fact : borlange_.history) log_.Put(kStream, fact.record);
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(), AllOf(HasSubstr("filled again"), HasSubstr("delete"),
                                   HasSubstr(home_.projection().dir())));
  home_.Stop();
  home_.Wipe();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, ALogThatWasFilledAgainUnderARunningWriterIsNotReadFromItsMiddle) {
  home_.Start();
  Work(10);
  log_.Put(kStream, log_.Records(kStream).front());
  Work(10);
  Mirror();
  log_.Truncate(kStream, 0);
  for (const Fact& fact : borlange_.history) log_.Put(kStream, fact.record);
  for (int i = 0; i < 5; ++i) log_.Put(kStream, borlange_.history.front().record);
  const Asked asked = home_.Ask(Put("new"), "c-new");
  EXPECT_TRUE(home_.StepUntil([&] { return home_.state() == WriterState::kStopped; }));
  EXPECT_THAT(home_.alarm(), HasSubstr("ConcordatLogLost"));
  EXPECT_FALSE(asked.answered() && asked.outcome().ok());
}

// A copy that never lost anything would take from this log what the home then calls void.
TEST_F(HomeCheckTest, WhatALivingWriterAppendedToTheLossIsNotBuriedUnderWhatIsFilled) {
  home_.Start();
  Work(20);
  Mirror();
  home_.Stop();
  home_.Keep();
  Begin();
  home_.Start();
  const size_t before = log_.Records(kStream).size();
  ASSERT_TRUE(home_.Answer(Put("last"), "c-last").ok());
  const events::Record last = log_.Records(kStream).at(before);
  home_.Stop();
  home_.PutBack();
  borlange_.history = TheHistory();
  borlange_.history.pop_back();  // the mirror had not brought it yet
  log_.Truncate(kStream, 10);
  log_.Put(kStream, last);
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(), HasSubstr("make the stream anew"));
  EXPECT_EQ(log_.Records(kStream).size(), 11u) << "nothing was filled in";
  home_.Stop();
  log_.Truncate(kStream, 0);
  home_.Wipe();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  ExpectNothingLost();
}

// An earlier fill has put the projection's head where it stood, so that the writer goes on behind
// what the loss had buried.
TEST_F(HomeCheckTest, WhatAnEarlierFillLeftBehindTheHeadIsLookedForToo) {
  home_.Start();
  log_.Put(kStream, log_.Records(kStream).front());  // void: a sequence is one below its offset
  Work(20);
  home_.Stop();
  home_.Keep();
  const std::vector<Fact> until = TheHistory();
  Begin();
  home_.Start();
  ASSERT_TRUE(home_.Answer(Put("last"), "c-last").ok());
  home_.Stop();
  home_.PutBack();
  Mirror();
  const events::Record last = borlange_.history.back().record;
  log_.Truncate(kStream, 0);
  log_.Put(kStream, last);
  for (const Fact& fact : until) log_.Put(kStream, fact.record);
  const size_t end = log_.Records(kStream).size();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(), HasSubstr("make the stream anew"));
  EXPECT_EQ(log_.Records(kStream).size(), end) << "nothing was filled in";
}

TEST_F(HomeCheckTest, AnInterruptedRepairIsDoneAgain) {
  home_.Start();
  Work(30);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 10);
  home_.Wipe();
  int appends = 0;
  log_.fate = [&](const std::string&, const events::Record&) {
    ++appends;
    if (appends >= 5 && appends <= 22) return Fate::kFail;  // the rest of what was sent together
    if (appends == 23) return Fate::kLandWithError;
    return Fate::kLand;
  };
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, WhereWhatIsMissingIsVoidAlreadyItSaysSoAndDoesNotWrite) {
  home_.Start();
  Work(20);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 5);
  log_.Put(kStream,
           borlange_.history[8].record);  // its first occurrence, without what comes before
  home_.Wipe();
  Begin();
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(),
              AllOf(HasSubstr("void in this log"), HasSubstr("make the stream anew")));
  ExpectNothingWritten();
}

TEST_F(HomeCheckTest, WithoutItsPeersAnswerAWriterWaitsAndGoesOnOnceItComes) {
  home_.Start();
  Work(10);
  Mirror();
  borlange_.answers = false;
  RestartAndWait();
  EXPECT_EQ(home_.writer().View().home_check, "unknown");
  EXPECT_THAT(home_.alarm(), AllOf(HasSubstr("borlange (the link is cut)"),
                                   HasSubstr("concordat home allow paris.ledger.events")));
  ExpectNothingWritten();
  borlange_.answers = true;
  ASSERT_TRUE(home_.StepUntil([&] { return home_.state() == WriterState::kWriting; }));
  EXPECT_EQ(home_.alarm(), "");
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, AnOperatorsWordLetsItStartAndIsRecorded) {
  home_.Start();
  Work(10);
  borlange_.answers = false;
  RestartAndWait();
  const int64_t head = home_.writer().View().head.sequence;
  EXPECT_TRUE(absl::IsFailedPrecondition(home_.writer().AllowStart({head - 1, "eve", "why not"})))
      << "only for the head that was looked at";
  ASSERT_TRUE(home_.writer().AllowStart({head, "alice", "borlange burnt down"}).ok());
  ASSERT_TRUE(home_.StepUntil([&] { return home_.state() == WriterState::kWriting; }));
  const Fact last = TheHistory().back();
  system::v1::WriterStarted started;
  ASSERT_EQ(last.attributes.type, "concordat.system.v1.WriterStarted");
  ASSERT_TRUE(started.ParseFromString(last.record.data));
  EXPECT_EQ(started.unchecked().actor(), "alice");
  EXPECT_EQ(started.unchecked().reason(), "borlange burnt down");
  EXPECT_THAT(started.unchecked().unanswered(0), HasSubstr("borlange"));
  EXPECT_TRUE(absl::IsFailedPrecondition(home_.writer().AllowStart({head + 1, "eve", "again"})))
      << "a writer that writes needs no word";
  // What a later recovery claims is not said in her name.
  const size_t before = TheHistory().size();
  int failures = 1;
  log_.fate = [&failures](const std::string&, const events::Record&) {
    return failures-- > 0 ? Fate::kFail : Fate::kLand;
  };
  ASSERT_TRUE(home_.Answer(Put("later"), "c-later").ok());
  const std::vector<Fact> history = TheHistory();
  ASSERT_EQ(history[before].attributes.type, "concordat.system.v1.WriterStarted");
  ASSERT_TRUE(started.ParseFromString(history[before].record.data));
  EXPECT_FALSE(started.has_unchecked()) << started.ShortDebugString();
  RestartAndWait();
  EXPECT_NE(home_.state(), WriterState::kWriting) << "it was for one start";
}

// Her word is about a log that nobody can say is whole, and not about one that is known not to be.
TEST_F(HomeCheckTest, NoWordHelpsWhereTheProjectionHoldsWhatTheLogHasLost) {
  home_.Start();
  Work(10);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 5);
  borlange_.answers = false;
  RestartAndWait();
  EXPECT_EQ(home_.writer().View().home_check, "lost");
  EXPECT_TRUE(absl::IsFailedPrecondition(
      home_.writer().AllowStart({home_.writer().View().head.sequence, "alice", "it is urgent"})));
  ExpectNothingWritten();
}

TEST_F(HomeCheckTest, WithAMarkARestartNeedsNobodyUnlessTheLogIsBehindIt) {
  mark_ = dir_ / "run/mark";
  Begin();
  home_.Start();
  Work(10);
  const size_t early = log_.Records(kStream).size();
  Work(10);
  Mirror();
  borlange_.answers = false;
  Restart();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << home_.alarm();
  Work(1);
  home_.Stop();
  log_.Truncate(kStream, early);
  home_.Wipe();
  RestartAndWait();
  EXPECT_EQ(home_.writer().View().home_check, "behind");
  EXPECT_THAT(home_.alarm(),
              AllOf(HasSubstr("the mark in"), HasSubstr("ConcordatHomeCheckRefused")));
  ExpectNothingWritten();
}

TEST_F(HomeCheckTest, AMarkThatCannotBeReadIsNoMark) {
  mark_ = dir_ / "mark";
  Begin();
  home_.Start();
  Work(3);
  borlange_.answers = false;
  home_.Stop();
  std::ofstream(mark_) << "nonsense";
  RestartAndWait();
  EXPECT_EQ(home_.writer().View().home_check, "unknown");
}

TEST_F(HomeCheckTest, AHistoryThatSplitIsNotWritten) {
  home_.Start();
  Work(10);
  home_.Stop();
  const size_t split = log_.Records(kStream).size();
  borlange_.answers = true;
  // The home goes on from a restored backup without asking anybody, while borlange has seen more.
  Begin();
  home_.Start();
  Work(5);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, split);
  home_.Wipe();
  for (const int more : {1, 20}) {  // less than borlange has seen, and more
    home_.options.home_check = nullptr;
    home_.Start();
    for (int i = 0; i < more; ++i) {
      const std::string id = "other-" + std::to_string(more) + "-" + std::to_string(i);
      ASSERT_TRUE(home_.Answer(Put(id), id).ok());
    }
    Restart();
    EXPECT_EQ(home_.state(), WriterState::kStopped);
    EXPECT_EQ(home_.writer().View().home_check, "forked");
    EXPECT_THAT(home_.alarm(), AllOf(HasSubstr("the history has split"), HasSubstr("borlange"),
                                     HasSubstr("ConcordatHomeForked")));
    ExpectNothingWritten();
    home_.Stop();
  }
}

TEST_F(HomeCheckTest, WhereNobodyCanGiveWhatIsMissingItSaysSoAndWaits) {
  home_.Start();
  Work(10);
  Mirror();
  home_.Stop();
  log_.Truncate(kStream, 5);
  home_.Wipe();
  borlange_.required = false;  // as an attestation in a mirrored log: a head and nothing else
  borlange_.gives = false;
  RestartAndWait();
  EXPECT_EQ(home_.writer().View().home_check, "behind");
  ExpectNothingWritten();
  borlange_.gives = true;
  ASSERT_TRUE(home_.StepUntil([&] { return home_.state() == WriterState::kWriting; }));
  ExpectNothingLost();
}

TEST_F(HomeCheckTest, WhatDoesNotFollowIsNotAppendedWhoeverGivesIt) {
  home_.Start();
  Work(20);
  Mirror();
  const std::vector<Fact> truth = borlange_.history;
  home_.Stop();
  log_.Truncate(kStream, 5);
  home_.Wipe();
  borlange_.history[8].record.data += "!";
  RestartAndWait();
  ASSERT_TRUE(
      home_.StepUntil([&] { return home_.alarm().find("does not follow") != std::string::npos; }));
  EXPECT_EQ(log_.Records(kStream).size(), 5u);
  borlange_.history = truth;
  ASSERT_TRUE(home_.StepUntil([&] { return home_.state() == WriterState::kWriting; }));
  ExpectNothingLost();
}

}  // namespace
}  // namespace concordat::test
