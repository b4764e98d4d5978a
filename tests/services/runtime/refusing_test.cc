// When a writer must not go on: it stops, says why, and changes nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/runtime/writer.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using runtime::WriterState;
using testing::AllOf;
using testing::HasSubstr;

class RefusingTest : public testing::Test {
 protected:
  RefusingTest() {
    home_.Start();
    EXPECT_TRUE(home_.Answer(Put("before"), "c-0").ok());
  }
  std::vector<Fact> TheHistory() { return History(log_.Records(home_.stream()), home_.stream()); }
  events::Head Head() { return HeadOf(TheHistory()); }
  // The writer stops, its callers are told so, and the log and the rows stay as they were.
  void ExpectStops(const testing::Matcher<std::string>& alarm) {
    const events::Link stored = home_.projection().View()->Chain(home_.stream())->head().link;
    const auto outcome = home_.Answer(Put("after"), "c-1");
    EXPECT_TRUE(absl::IsUnavailable(outcome.status())) << outcome.status();
    EXPECT_EQ(home_.state(), WriterState::kStopped);
    EXPECT_THAT(home_.alarm(), alarm);
    EXPECT_THAT(std::string(outcome.status().message()), alarm) << "the caller is told why";
    EXPECT_EQ(home_.projection().View()->Chain(home_.stream())->head().link, stored);
    EXPECT_TRUE(home_.Item("before").has_value());
    EXPECT_FALSE(home_.Item("after").has_value());
    const int64_t end = log_.End(home_.stream());
    const auto later = home_.Answer(Put("later"), "c-2");
    EXPECT_TRUE(absl::IsUnavailable(later.status())) << later.status();
    EXPECT_EQ(log_.End(home_.stream()), end) << "nothing more is appended";
  }
  // The same holds for every later start.
  void ExpectDoesNotStart(const testing::Matcher<std::string>& alarm) {
    const auto records = log_.Records(home_.stream());
    home_.Restart();
    EXPECT_EQ(home_.state(), WriterState::kStopped);
    EXPECT_THAT(home_.alarm(), alarm);
    EXPECT_EQ(log_.Records(home_.stream()).size(), records.size()) << "nothing is appended";
    EXPECT_TRUE(absl::IsFailedPrecondition(home_.writer().WaitUntilWriting(absl::ZeroDuration())));
  }

  ScriptedLog log_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  Home home_{log_, clock_};
};

TEST_F(RefusingTest, AnAcceptedEventOfATypeThatThisReleaseDoesNotKnow) {
  events::Head head = Head();
  v1::NewerEvent event;
  event.mutable_item_renamed()->set_name("x");
  log_.Put(home_.stream(), Foreign(head, "Renamed", event.SerializeAsString()));
  const auto alarm = AllOf(HasSubstr("sequence 3"), HasSubstr("concordat.test.v1.Renamed"),
                           HasSubstr("cannot be read by this release"),
                           HasSubstr("install the release that wrote it"));
  ExpectStops(alarm);
  ExpectDoesNotStart(alarm);
}

TEST_F(RefusingTest, AnAcceptedEventWhoseBytesCannotBeRead) {
  events::Head head = Head();
  log_.Put(home_.stream(), Foreign(head, "ItemPut", "\xff\xff"));
  ExpectStops(AllOf(HasSubstr("sequence 3"), HasSubstr("cannot be read")));
  ExpectDoesNotStart(HasSubstr("cannot be read"));
}

TEST_F(RefusingTest, AnAcceptedRefusalWithAReasonThatThisReleaseDoesNotKnow) {
  events::Head head = Head();
  v1::Event event;
  event.mutable_command_refused()->set_reason(static_cast<v1::Reason>(99));
  log_.Put(home_.stream(), Foreign(head, "CommandRefused", event.SerializeAsString()));
  ExpectStops(HasSubstr("reason is 99"));
}

TEST_F(RefusingTest, EventsBeforeTheOneThatCannotBeReadAreKept) {
  events::Head head = Head();
  log_.Put(home_.stream(), ForeignPut(head, "readable"));
  log_.Put(home_.stream(), Foreign(head, "ItemPut", "\xff\xff"));
  const auto outcome = home_.Answer(Put("after"), "c-1");
  EXPECT_TRUE(absl::IsUnavailable(outcome.status()));
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  home_.Restart();
  EXPECT_THAT(home_.alarm(), HasSubstr("sequence 4"));
  EXPECT_LE(home_.projection().chain().head().sequence, 3)
      << "it did not move past what it could not read";
  EXPECT_EQ(TheHistory().size(), 5u) << "and the log has it all";
}

TEST_F(RefusingTest, ButNotAnUnreadableRecordThatIsVoid) {
  events::Head elsewhere{events::Sha256("elsewhere"), 9, -1, {}};
  log_.Put(home_.stream(), Foreign(elsewhere, "ItemPut", "\xff\xff"));
  EXPECT_TRUE(home_.Answer(Put("after"), "c-1").ok());
  EXPECT_EQ(home_.state(), WriterState::kWriting);
}

TEST_F(RefusingTest, AnEventInItsOwnNameThatItDidNotWrite) {
  std::string own;
  for (const Fact& fact : TheHistory()) own = fact.attributes.writer;
  events::Head head = Head();
  v1::Event event;
  event.mutable_item_put()->set_name("forged");
  log_.Put(home_.stream(), Foreign(head, "ItemPut", event.SerializeAsString(), own));
  const auto outcome = home_.Answer(Put("after"), "c-1");
  EXPECT_TRUE(absl::IsUnavailable(outcome.status()));
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(), AllOf(HasSubstr("in this writer's name"),
                                   HasSubstr("somebody else holds its credentials")));
}

TEST_F(RefusingTest, AHeadThatTheLogNoLongerHolds) {
  home_.Stop();
  log_.Truncate(home_.stream(), 2);
  ExpectDoesNotStart(AllOf(HasSubstr("sequence 2"), HasSubstr("ConcordatLogLost.md"),
                           HasSubstr("lost acknowledged history")));
}

TEST_F(RefusingTest, ALogThatWasMadeAnew) {
  home_.Stop();
  const auto records = log_.Records(home_.stream());
  log_.Truncate(home_.stream(), 0);
  events::Head head;
  for (size_t i = 0; i < records.size(); ++i)
    log_.Put(home_.stream(), ForeignPut(head, std::to_string(i)));
  ExpectDoesNotStart(AllOf(HasSubstr("at offset 2 stands"), HasSubstr("ConcordatLogLost.md")));
}

TEST_F(RefusingTest, ALogThatLostARecordInTheMiddle) {
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(home_.Answer(Put(std::to_string(i)), "d-" + std::to_string(i)).ok());
  home_.Stop();
  home_.Wipe();
  log_.Lose(home_.stream(), 4);
  home_.Start();
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_THAT(home_.alarm(), AllOf(HasSubstr("the record after offset 3 is at offset 5"),
                                   HasSubstr("ConcordatLogLost.md")));
}

TEST_F(RefusingTest, ADamagedLog) {
  events::Head head = Head();
  events::Record corrupt = ForeignPut(head, "corrupt");
  corrupt.data += "!";
  log_.Put(home_.stream(), corrupt);
  log_.Put(home_.stream(), ForeignPut(head, "child of it"));
  ExpectStops(HasSubstr("the log is damaged"));
}

TEST_F(RefusingTest, ATopicWithWrongSettings) {
  log_.SetCheck(absl::FailedPreconditionError("retention.ms is 1, expected -1"));
  ExpectDoesNotStart(HasSubstr("retention.ms is 1, expected -1"));
}

TEST_F(RefusingTest, ButNotALogThatIsAway) {
  log_.SetCheck(absl::UnavailableError("the brokers are away"));
  home_.Stop();
  home_.Open();
  ASSERT_TRUE(home_.StepUntil([&] { return home_.alarm() == "the brokers are away"; }));
  EXPECT_EQ(home_.state(), WriterState::kStarting);
  log_.SetCheck(absl::OkStatus());
  EXPECT_TRUE(home_.Answer(Put("after"), "c-1").ok());
  EXPECT_EQ(home_.alarm(), "");
}

}  // namespace
}  // namespace concordat::test
