// Power feeds where servers change: what heals, what leaves a window before its start, and what is
// moved out of one while it is in use.
#include <gmock/gmock.h>

#include <vector>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kUnderFeeds[] = "sites/paris/windows/w";

// s1 and s2 hang on feed a, s3 and s4 on feed b, of 100 W each. What is confirmed gets the first
// that is free and runs from 10:00 to 12:00.
struct PoweredParis : Paris {
  PoweredParis(int64_t a, int64_t b) {
    for (const char* id : {"s1", "s2", "s3", "s4"}) Hang(id, "bookable: true");
    Limit("a", a);
    Limit("b", b);
  }
  void Hang(const std::string& id, const std::string& more) {
    Given(fmt::format(
        R"(server_recorded {{ name: "sites/paris/servers/{0}" model: "models/m" it_power_watts: 100
            cooling_watts: 90 power_feed: "{1}" room: "r" rack: "{0}" {2} }})",
        id, id < "s3" ? "a" : "b", more));
  }
  void Cordon(const std::string& id) { Hang(id, ""); }
  void Lose(const std::string& id) { Hang(id, "lost: true"); }
  // What the feed gives from a time on; without one what it gives at first.
  void Limit(const std::string& feed, int64_t watts, const std::string& from = {}) {
    const v1::Event event = When(
        fmt::format(R"(record_feed {{ feed {{ feed: "{}" step {{ site: "sites/paris" {}
                        it_power_watts: {} }} }} }})",
                    feed, from.empty() ? "" : fmt::format("effective_from {{ {} }}", Seconds(from)),
                    watts),
        fmt::format("limit-{}", ++commands_));
    EXPECT_TRUE(event.has_feed_recorded()) << event.ShortDebugString();
  }
  // What is left of a feed within the two hours of what is confirmed.
  int64_t Left(const std::string& feed) {
    return state().index.feeds().Left(
        feed, {test::Time("2027-01-01T10:00:00Z"), test::Time("2027-01-01T12:00:00Z")},
        test::Time("2027-01-01T09:00:00Z"));
  }
  // One server, which is this one.
  std::string On(const std::string& server, const std::string& start = "2027-01-01T10:00:00Z") {
    const std::string name = Confirmed({.start = start});
    EXPECT_THAT(Row(name).servers(), ElementsAre("sites/paris/servers/" + server));
    return name;
  }
  // On s1; the first free servers of the others are taken from 10:30 on.
  std::string Active(std::vector<const char*> others = {}) {
    const std::string name = On("s1");
    for (const char* other : others) On(other, "2027-01-01T10:30:00Z");
    At("2027-01-01T10:00:00Z");
    EXPECT_TRUE(About("start_reservation", name).has_reservation_started());
    return name;
  }
  // Decides the only command that is due.
  v1::Event Due(const std::string& rfc3339) {
    At(rfc3339);
    const auto due = DueAt(rfc3339);
    EXPECT_THAT(due, SizeIs(1)) << rfc3339;
    return due.empty() ? v1::Event() : When(due[0].command, fmt::format("due-{}", ++commands_));
  }
  // Decides what the inventory's event leads to, and nothing that follows.
  v1::Event Hear(const std::string& inventory_event) {
    const auto intents = ReactionsTo(test::Parse<inventory::v1::Event>(inventory_event), "paris");
    EXPECT_THAT(intents, SizeIs(1)) << inventory_event;
    return intents.empty() ? v1::Event()
                           : When(intents[0].command, fmt::format("hear-{}", ++commands_));
  }
  // A window on s1 from 11:00 to 13:00.
  v1::Event Announce() {
    return Hear(fmt::format(R"(window_announced {{ name: "{}" window_class: WINDOW_CLASS_PLANNED
        servers: "sites/paris/servers/s1" start_time {{ {} }} end_time {{ {} }} }})",
                            kUnderFeeds, Seconds("2027-01-01T11:00:00Z"),
                            Seconds("2027-01-01T13:00:00Z")));
  }
  v1::Event Consent() {
    return Hear(fmt::format(R"(window_consent_given {{ name: "{}" customer: "customers/hsbc"
                                                       relocation: true consented: true }})",
                            kUnderFeeds));
  }
  v1::Event Drain() { return Hear(fmt::format(R"(window_drained {{ name: "{}" }})", kUnderFeeds)); }
  // Decides the only command that follows.
  v1::Event Follow() {
    const auto intents = Reactions();
    EXPECT_THAT(intents, SizeIs(1));
    return intents.empty() ? v1::Event()
                           : When(intents[0].command, fmt::format("follow-{}", ++commands_));
  }
  v1::Event Reassign(const std::string& name) {
    return When(
        fmt::format(R"(reassign_servers {{ reservation: "{}" window: "{}" }})", name, kUnderFeeds),
        fmt::format("reassign-{}", ++commands_));
  }

 private:
  int commands_ = 0;
};

TEST(FeedMoves, WhatIsConfirmedIsNotHealedOnAFeedWithoutPower) {
  PoweredParis paris(200, 100);
  const std::string name = paris.On("s1");
  paris.On("s2");
  paris.On("s3");
  EXPECT_EQ(paris.Left("b"), 0);
  paris.Lose("s1");
  EXPECT_TRUE(paris.Due("2027-01-01T09:00:00Z").has_servers_missing())
      << "s4 is free, and its feed gives all that it has";
  paris.Limit("b", 200, "2027-01-01T09:00:30Z");
  EXPECT_THAT(paris.Due("2027-01-01T09:01:00Z"),
              HasText(R"(servers_reassigned { removed: "sites/paris/servers/s1"
                                              added: "sites/paris/servers/s4" })"));
  EXPECT_EQ(paris.Left("b"), 0);
  EXPECT_EQ(paris.Left("a"), 100) << "what it left draws nothing for it";
  EXPECT_EQ(paris.Row(name).lost_servers_size(), 0);
}

TEST(FeedMoves, WhatIsHealedGivesUpWhatItDrewOfTheSameFeed) {
  PoweredParis paris(100, 0);
  paris.On("s1");
  EXPECT_EQ(paris.Left("a"), 0);
  paris.Lose("s1");
  EXPECT_THAT(paris.Due("2027-01-01T09:00:00Z"),
              HasText(R"(servers_reassigned { removed: "sites/paris/servers/s1"
                                              added: "sites/paris/servers/s2" })"));
  EXPECT_EQ(paris.Left("a"), 0);
}

TEST(FeedMoves, WhatIsInUseIsOfferedNothingThatItsFeedCannotPower) {
  PoweredParis paris(200, 100);
  const std::string name = paris.Active({"s2", "s3"});
  paris.Lose("s1");
  const auto accept = [&](const char* id) {
    return paris.When(fmt::format(R"(accept_replacement {{ name: "{}" }})", name), id);
  };
  EXPECT_TRUE(paris.Due("2027-01-01T10:00:00Z").has_servers_missing());
  EXPECT_THAT(accept("a-1"), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  paris.Limit("b", 200, "2027-01-01T10:00:30Z");
  EXPECT_THAT(paris.Due("2027-01-01T10:01:00Z"),
              HasText(R"(replacement_offered { free_servers: "sites/paris/servers/s4" })"));
  // Nothing is kept for an offer, of a feed neither.
  paris.Limit("b", 100, "2027-01-01T10:01:00Z");
  EXPECT_THAT(accept("a-2"), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  paris.Limit("b", 200, "2027-01-01T10:01:00Z");
  EXPECT_THAT(accept("a-3"), HasText(R"(servers_reassigned { added: "sites/paris/servers/s4" })"));
}

TEST(FeedMoves, OfTwoThatAreLostOnlySoManyAreReplacedAsThereIsPowerFor) {
  PoweredParis paris(200, 100);
  const std::string name = paris.Confirmed({.count = 2});
  paris.Lose("s1");
  paris.Lose("s2");
  EXPECT_THAT(paris.Due("2027-01-01T09:00:00Z"),
              HasText(R"(servers_reassigned { added: "sites/paris/servers/s3" })"));
  EXPECT_THAT(paris.Row(name).servers(), SizeIs(2));
  EXPECT_THAT(paris.Row(name).lost_servers(), ElementsAre("sites/paris/servers/s2"));
  EXPECT_EQ(paris.Left("b"), 0);
}

TEST(FeedMoves, WhatHasNotStartedLeavesAWindowOnlyForServersWithPower) {
  PoweredParis paris(200, 100);
  const std::string name = paris.On("s1");
  paris.On("s2");
  paris.On("s3");
  EXPECT_THAT(paris.Announce().window_affects().affected(0).free_servers(), IsEmpty())
      << "s4 is free, and its feed gives all that it has";
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_THAT(paris.Reassign(name), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  paris.Limit("b", 200, "2027-01-01T09:00:00Z");
  EXPECT_THAT(paris.Reassign(name),
              HasText(R"(servers_reassigned { removed: "sites/paris/servers/s1"
                                              added: "sites/paris/servers/s4" })"));
  EXPECT_EQ(paris.Left("b"), 0);
}

TEST(FeedMoves, WhatLeavesAWindowGivesUpWhatItDrewOfTheSameFeed) {
  PoweredParis paris(100, 0);
  paris.On("s1");
  EXPECT_THAT(paris.Announce(),
              HasText(R"(window_affects { affected { free_servers: "sites/paris/servers/s2" } })"));
  EXPECT_THAT(paris.Follow(), HasText(R"(servers_reassigned { added: "sites/paris/servers/s2" })"));
  EXPECT_EQ(paris.Left("a"), 0);
}

TEST(FeedMoves, AReductionAfterTheAnnouncementKeepsWhatHasNotStartedWhereItIs) {
  PoweredParis paris(100, 100);
  const std::string name = paris.On("s1");
  for (const char* id : {"s2", "s4"}) paris.Cordon(id);
  EXPECT_THAT(paris.Announce(),
              HasText(R"(window_affects { affected { free_servers: "sites/paris/servers/s3" } })"));
  const auto move = paris.Reactions();
  ASSERT_THAT(move, SizeIs(1));
  paris.Limit("b", 99, "2027-01-01T11:30:00Z");
  EXPECT_THAT(paris.When(move[0].command, "move"), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  EXPECT_THAT(paris.Row(name).servers(), ElementsAre("sites/paris/servers/s1"));
}

TEST(FeedMoves, ARelocationKeepsOnlyServersWithPower) {
  PoweredParis paris(200, 100);
  paris.Active({"s2", "s3"});
  paris.Announce();
  EXPECT_FALSE(paris.Consent().window_affects().affected(0).has_kept_from())
      << "s4 is free, and its feed gives all that it has";
}

// What is kept holds time and no power of its feed: others may use that up until the move.
TEST(FeedMoves, ARelocationLooksAgainWhetherTheFeedHasPowerForWhatWasKept) {
  for (const bool more : {false, true}) {
    PoweredParis paris(200, 100);
    const std::string name = paris.Active();
    paris.Cordon("s2");
    paris.Announce();
    EXPECT_THAT(paris.Consent(), HasText(R"(window_affects { affected {
        free_servers: "sites/paris/servers/s3" kept_from { } } })"));
    const std::string other = paris.Confirmed({.start = "2027-01-01T11:30:00Z"});
    EXPECT_THAT(paris.Row(other).servers(), ElementsAre("sites/paris/servers/s4"));
    if (more) paris.Limit("b", 200, "2027-01-01T10:30:00Z");
    paris.At("2027-01-01T11:00:00Z");
    paris.Drain();
    const v1::Event moved = paris.Follow();
    if (more) {
      EXPECT_THAT(
          moved, HasText(R"(servers_reassigned { added: "sites/paris/servers/s3" in_use: true })"));
      continue;
    }
    EXPECT_THAT(moved, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
    EXPECT_THAT(moved.command_refused().detail(),
                HasSubstr("At 2027-01-01T11:30:00Z feed b gives 100 W of 100 W already"));
    EXPECT_THAT(paris.Row(name).servers(), ElementsAre("sites/paris/servers/s1"));
  }
}

TEST(FeedMoves, ARelocationNeedsThePowerForTheCleaningAfterTheUseToo) {
  PoweredParis paris(200, 100);
  paris.When(R"(set_margins { site: "sites/paris" model: "models/m" after { seconds: 3600 } })",
             "margins");
  const std::string name = paris.Active();
  paris.Cordon("s2");
  paris.Announce();
  EXPECT_THAT(paris.Consent(), HasText(fmt::format(R"(window_affects {{ affected {{
      free_servers: "sites/paris/servers/s3" kept_until {{ {} }} }} }})",
                                                   Seconds("2027-01-01T13:00:00Z"))));
  // The use ends as this one begins; the cleaning does not.
  const std::string other =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z"});
  EXPECT_THAT(paris.Row(other).servers(), ElementsAre("sites/paris/servers/s4"));
  paris.At("2027-01-01T11:00:00Z");
  paris.Drain();
  const v1::Event moved = paris.Follow();
  EXPECT_THAT(moved, HasText(RefusalFor(v1::REASON_POWER_ENVELOPE)));
  EXPECT_THAT(moved.command_refused().detail(),
              HasSubstr("At 2027-01-01T12:00:00Z feed b gives 100 W of 100 W already"));
  EXPECT_THAT(paris.Row(name).servers(), ElementsAre("sites/paris/servers/s1"));
}

TEST(FeedMoves, ARelocationGivesUpWhatItDrewOfTheSameFeed) {
  PoweredParis paris(100, 0);
  const std::string name = paris.Active();
  paris.Announce();
  EXPECT_THAT(paris.Consent(), HasText(R"(window_affects { affected {
      free_servers: "sites/paris/servers/s2" kept_from { } } })"));
  paris.At("2027-01-01T11:00:00Z");
  paris.Drain();
  EXPECT_THAT(paris.Follow(),
              HasText(R"(servers_reassigned { added: "sites/paris/servers/s2" in_use: true })"));
  EXPECT_THAT(paris.Row(name).servers(), ElementsAre("sites/paris/servers/s2"));
}

}  // namespace
}  // namespace concordat::reservations
