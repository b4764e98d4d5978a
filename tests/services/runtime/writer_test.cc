// What a caller of the writer sees, over the embedded log where nothing goes wrong.
#include "services/runtime/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "storage/log/embedded.h"
#include "storage/log/group_appender.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using runtime::WriterState;
using testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);

class WriterTest : public testing::Test {
 protected:
  WriterTest() : log_(*storage::EmbeddedLog::Open(dir_.path())) { home_.Start(); }
  std::vector<events::Record> Records() {
    std::vector<events::Record> records;
    auto read = log_->ReadFrom(home_.stream(), 0, 100'000);
    EXPECT_TRUE(read.ok()) << read.status();
    for (auto& stored : *read) records.push_back(std::move(stored.record));
    return records;
  }
  std::vector<Fact> TheHistory() { return History(Records(), home_.stream()); }

  TempDir dir_;
  std::unique_ptr<storage::EmbeddedLog> log_;
  runtime::ManualClock clock_{kStart};
  Home home_{*log_, clock_};
};

TEST_F(WriterTest, AStreamBeginsWithItsOpeningAndItsWriter) {
  const std::vector<Fact> history = TheHistory();
  ASSERT_EQ(history.size(), 2u);
  EXPECT_EQ(history[0].attributes.type, "concordat.system.v1.StreamOpened");
  EXPECT_EQ(history[1].attributes.type, "concordat.system.v1.WriterStarted");
  EXPECT_EQ(home_.state(), WriterState::kWriting);
  EXPECT_EQ(home_.writer().View().head.sequence, 1);
}

TEST_F(WriterTest, AnAcceptedCommandIsAnsweredWithWhereItsEventStands) {
  const auto outcome = home_.Answer(Put("a", 5), "c-1", "alice",
                                    [](runtime::Submission& s) { s.correlation_id = "story"; });
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  const std::vector<Fact> history = TheHistory();
  ASSERT_EQ(history.size(), 3u);
  const events::Attributes& event = history[2].attributes;
  EXPECT_EQ(outcome->stream(), "paris.ledger.events");
  EXPECT_EQ(outcome->site(), "paris");
  EXPECT_EQ(outcome->sequence(), 2u);
  EXPECT_EQ(outcome->link(), event.id.ToHex());
  EXPECT_EQ(outcome->request_id(), "c-1");
  EXPECT_EQ(outcome->event_type(), "concordat.test.v1.ItemPut");
  EXPECT_EQ(outcome->subject(), "items/a");
  EXPECT_EQ(outcome->reason(), "");
  EXPECT_FALSE(outcome->repeated());
  EXPECT_EQ(event.type, "concordat.test.v1.ItemPut");
  EXPECT_EQ(event.subject, "items/a");
  EXPECT_EQ(event.command_id, "c-1");
  EXPECT_EQ(event.correlation_id, "story");
  EXPECT_EQ(event.actor, "alice");
  EXPECT_EQ(event.time, kStart);
  EXPECT_EQ(home_.Item("a")->amount(), 5);
}

TEST_F(WriterTest, ARefusalIsAnEventTooAndAnsweredAsOne) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok());
  const auto outcome = home_.Answer(Put("a"), "c-2");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->reason(), "REASON_EXISTS");
  EXPECT_EQ(outcome->detail(), "a is there already");
  EXPECT_EQ(outcome->event_type(), "concordat.test.v1.CommandRefused");
  EXPECT_EQ(TheHistory().size(), 4u) << "one event";
  EXPECT_EQ(home_.writer().counters().refused, 1u);
}

TEST_F(WriterTest, ARepeatedCommandGetsTheFirstAnswerAndLeavesNothing) {
  const auto first = home_.Answer(Put("a"), "c-1");
  const auto refused = home_.Answer(Put("a"), "c-2");
  const auto expect_repeats = [&] {
    const size_t before = Records().size();
    for (const auto& [id, expected] : {std::pair{"c-1", *first}, std::pair{"c-2", *refused}}) {
      auto again = home_.Answer(Put("a"), id);
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_TRUE(again->repeated());
      again->set_repeated(false);
      EXPECT_EQ(again->SerializeAsString(), expected.SerializeAsString());
    }
    EXPECT_EQ(Records().size(), before);
  };
  expect_repeats();
  home_.Restart();
  expect_repeats();
  home_.Stop();
  home_.Wipe();
  home_.Start();
  expect_repeats();
}

// A feed's position, where nothing follows from what the feed reads.
TEST_F(WriterTest, ANoteIsStoredThoughNothingIsDecided) {
  home_.writer().Note(std::string("\0feed\0x", 7), "position");
  EXPECT_TRUE(home_.StepUntil(
      [&] { return home_.projection().View()->Get(std::string("\0feed\0x", 7)) == "position"; }));
  EXPECT_EQ(Records().size(), 2u);
}

TEST_F(WriterTest, AnIdIsItsActorsOwn) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1", "alice").ok());
  const auto bob = home_.Answer(Put("b"), "c-1", "bob");
  ASSERT_TRUE(bob.ok());
  EXPECT_FALSE(bob->repeated());
  EXPECT_TRUE(home_.Item("b").has_value());
}

TEST_F(WriterTest, AnIdWithAnotherContentIsRefusedAndLeavesNothing) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok());
  const size_t before = Records().size();
  const auto other = home_.Answer(Put("b"), "c-1");
  EXPECT_TRUE(absl::IsAlreadyExists(other.status())) << other.status();
  EXPECT_EQ(Records().size(), before);
  home_.Restart();
  const auto later = home_.Answer(Put("a", 2), "c-1");
  EXPECT_TRUE(absl::IsAlreadyExists(later.status())) << later.status();
  EXPECT_FALSE(home_.Item("b").has_value());
}

TEST_F(WriterTest, HowACommandIsSubmittedIsNotItsContent) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok());
  v1::Command again = Put("a");
  again.mutable_put_item()->mutable_submit()->set_request_id("c-1");
  const auto outcome = home_.Answer(again, "c-1");
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->repeated());
}

TEST_F(WriterTest, ValidateOnlyDecidesAndAppendsNothing) {
  const size_t before = Records().size();
  const std::string digest = home_.Digest();
  const auto validate = [](runtime::Submission& submission) { submission.validate_only = true; };
  const auto fact = home_.Answer(Put("a"), "c-1", "alice", validate);
  ASSERT_TRUE(fact.ok());
  EXPECT_TRUE(fact->validated_only());
  EXPECT_EQ(fact->event_type(), "concordat.test.v1.ItemPut");
  EXPECT_EQ(fact->link(), "");
  EXPECT_EQ(Records().size(), before);
  EXPECT_EQ(home_.Digest(), digest);
  EXPECT_TRUE(home_.projection().journal().empty());
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok()) << "its id is not used up";
  const auto refusal = home_.Answer(Put("a"), "c-2", "alice", validate);
  ASSERT_TRUE(refusal.ok());
  EXPECT_EQ(refusal->reason(), "REASON_EXISTS");
  EXPECT_EQ(Records().size(), before + 1);
}

TEST_F(WriterTest, APassedDeadlineIsToldAndNothingIsAppended) {
  const size_t before = Records().size();
  const auto late = home_.Answer(Put("a"), "c-1", "alice", [](runtime::Submission& submission) {
    submission.deadline = absl::InfinitePast();
  });
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.status())) << late.status();
  EXPECT_EQ(Records().size(), before);
  const auto again = home_.Answer(Put("a"), "c-1");
  ASSERT_TRUE(again.ok());
  EXPECT_FALSE(again->repeated());
  const auto once_more = home_.Answer(
      Put("a"), "c-1", "alice",
      [](runtime::Submission& submission) { submission.deadline = absl::InfinitePast(); });
  ASSERT_TRUE(once_more.ok()) << "what was decided before is told, however late: "
                              << once_more.status();
  EXPECT_TRUE(once_more->repeated());
}

TEST_F(WriterTest, TimeNeverGoesBackEvenIfTheClockDoes) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok());
  home_.Stop();
  runtime::ManualClock earlier(kStart - absl::Hours(1));
  Home again(*log_, earlier);
  again.Start();
  ASSERT_TRUE(again.Answer(Put("b"), "c-2").ok());
  absl::Time last = absl::InfinitePast();
  for (const Fact& fact : TheHistory()) {
    EXPECT_GE(fact.attributes.time, last);
    last = fact.attributes.time;
  }
}

TEST_F(WriterTest, ThousandsOfCommandsAreAnsweredInTheOrderTheyWereAsked) {
  std::vector<Asked> asked;
  for (int i = 0; i < 3000; ++i)
    asked.push_back(home_.Ask(Put(std::to_string(i)), "c-" + std::to_string(i)));
  ASSERT_TRUE(home_.StepUntil([&] { return asked.back().answered(); }));
  uint64_t sequence = 2;
  for (const Asked& one : asked) {
    ASSERT_TRUE(one.answered());
    ASSERT_EQ(one.answers(), 1);
    ASSERT_EQ(one.outcome()->sequence(), sequence++);
  }
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 3000);
}

TEST_F(WriterTest, ARestartAndARebuildComeToTheSameDigestAndDecideNothing) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(home_.Answer(PutConfirmed(std::to_string(i % 15)), "c-" + std::to_string(i)).ok());
  }
  ASSERT_TRUE(home_.StepUntil([&] { return CountOf(TheHistory(), "ItemConfirmed") == 15; }));
  home_.Step(5);
  const std::string digest = home_.Digest();
  const int64_t decided =
      static_cast<int64_t>(TheHistory().size()) - CountOf(TheHistory(), "WriterStarted");
  home_.Restart();
  home_.Step(5);
  EXPECT_EQ(home_.Digest(), digest);
  home_.Stop();
  home_.Wipe();
  home_.Start();
  home_.Step(5);
  EXPECT_EQ(home_.Digest(), digest);
  const std::vector<Fact> history = TheHistory();
  EXPECT_EQ(static_cast<int64_t>(history.size()) - CountOf(history, "WriterStarted"), decided);
  EXPECT_EQ(CountOf(history, "WriterStarted"), 3);
}

TEST_F(WriterTest, TheQueueIsBoundedForCallers) {
  home_.Stop();
  home_.options.max_queued = 3;
  home_.Open();
  std::vector<Asked> asked;
  for (int i = 0; i < 5; ++i)
    asked.push_back(home_.Ask(Put(std::to_string(i)), "c-" + std::to_string(i)));
  EXPECT_FALSE(asked[2].answered());
  for (int i = 3; i < 5; ++i) {
    ASSERT_TRUE(asked[static_cast<size_t>(i)].answered());
    EXPECT_TRUE(absl::IsResourceExhausted(asked[static_cast<size_t>(i)].outcome().status()));
  }
  // What comes from the services of the site is never turned away.
  const Asked service = home_.Ask(Put("service"), "s-1", "system:other");
  EXPECT_TRUE(home_.Answer(service).ok());
  EXPECT_TRUE(home_.Answer(asked[0]).ok());
  EXPECT_TRUE(home_.Answer(asked[2]).ok());
  EXPECT_TRUE(home_.Answer(Put("3"), "c-3").ok()) << "there is room again";
  EXPECT_EQ(CountOf(TheHistory(), "ItemPut"), 5);
}

TEST_F(WriterTest, AnEventTooLargeForALogIsRefusedAndTheStreamGoesOn) {
  v1::Command large = Put("large");
  large.mutable_put_item()->set_ballast(std::string(1'500'000, 'x'));
  const size_t before = Records().size();
  const auto refused = home_.Answer(large, "c-1");
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status())) << refused.status();
  EXPECT_EQ(Records().size(), before);
  EXPECT_FALSE(home_.Item("large").has_value());
  EXPECT_TRUE(home_.Answer(Put("small"), "c-2").ok());
  EXPECT_EQ(home_.alarm(), "") << "its caller was told";
  // What a service asks for nobody hears of otherwise.
  EXPECT_FALSE(home_.Answer(large, "s-1", "system:other").ok());
  EXPECT_THAT(home_.alarm(), testing::HasSubstr("s-1: the command's event would take"));
}

// The embedded log, and which threads hand it groups.
class WatchedLog final : public storage::Log {
 public:
  explicit WatchedLog(storage::EmbeddedLog& log) : log_(log) {}
  std::unique_ptr<storage::LogReader> NewReader() override { return log_.NewReader(); }
  std::unique_ptr<storage::LogAppender> NewAppender(const std::string& stream) override {
    return std::make_unique<storage::GroupAppender>(std::make_unique<Target>(*this, stream));
  }
  absl::Status Check(const std::string& stream, const storage::LogDemands& demands) override {
    return log_.Check(stream, demands);
  }
  size_t threads() {
    absl::MutexLock lock(&mutex_);
    return threads_.size();
  }

 private:
  class Target final : public storage::GroupTarget {
   public:
    Target(WatchedLog& log, std::string stream) : log_(log), stream_(std::move(stream)) {}
    void Begin(Group group) override {
      {
        absl::MutexLock lock(&log_.mutex_);
        log_.threads_.insert(std::this_thread::get_id());
      }
      for (const auto& [record, cookie] : group) {
        const auto offset = log_.log_.AppendNow(stream_, {record});
        reports_.push_back({cookie, offset.status(), offset.value_or(-1)});
      }
    }
    std::vector<storage::AppendReport> Await(absl::Duration) override {
      return std::exchange(reports_, {});
    }
    void Interrupt() override {}
    void Reset() override { reports_.clear(); }

   private:
    WatchedLog& log_;
    const std::string stream_;
    std::vector<storage::AppendReport> reports_;
  };

  storage::EmbeddedLog& log_;
  absl::Mutex mutex_;
  std::set<std::thread::id> threads_;
};

TEST_F(WriterTest, TheCommandsOfOneCallerAreAppendedByTheWritersOwnThread) {
  home_.Stop();
  WatchedLog watched(*log_);
  Home home(watched, clock_);
  home.Run();
  for (int i = 0; i < 50; ++i) {
    const std::string name = std::to_string(i);
    ASSERT_TRUE(home.Answer(Put(name), "c-" + name).ok());
  }
  EXPECT_EQ(watched.threads(), 1u);
}

TEST_F(WriterTest, AStoppedWriterAnswersWhatWaitsAndWhatComesLater) {
  home_.Stop();
  home_.Open();
  const Asked waiting = home_.Ask(Put("a"), "c-1");
  home_.writer().Stop();
  ASSERT_TRUE(WaitUntil([&] { return waiting.answered(); }));
  EXPECT_TRUE(absl::IsUnavailable(waiting.outcome().status())) << waiting.outcome().status();
  const Asked late = home_.Ask(Put("b"), "c-2");
  ASSERT_TRUE(WaitUntil([&] { return late.answered(); }));
  EXPECT_TRUE(absl::IsUnavailable(late.outcome().status())) << late.outcome().status();
}

}  // namespace
}  // namespace concordat::test
