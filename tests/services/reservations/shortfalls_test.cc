// What is reserved beyond what there is: found, told, and cleared.
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// s1 and s2 hang on feed a, s3 and s4 on feed b, of 100 W and 90 W of heat each.
struct Derated : Paris {
  Derated() {
    for (const auto& [id, feed] :
         {std::pair("s1", "a"), std::pair("s2", "a"), std::pair("s3", "b"), std::pair("s4", "b")}) {
      Given(fmt::format(
          R"(server_recorded {{ name: "sites/paris/servers/{}" model: "models/m" it_power_watts: 100
              cooling_watts: 90 bookable: true power_feed: "{}" room: "r" rack: "{}" }})",
          id, feed, id));
    }
    for (const char* feed : {"a", "b"}) {
      Given(fmt::format(
          R"(feed_recorded {{ feed: "{}" step {{ site: "sites/paris" it_power_watts: 200 }} }})",
          feed));
    }
  }
  // Decides, and whatever follows from it; what was decided, in order.
  std::vector<v1::Event> Settle(const std::string& command, const std::string& id) {
    std::vector<v1::Event> events{When(command, id)};
    for (const auto& intent : Reactions())
      events.push_back(When(intent.command, id + intent.kind + intent.subject, "system:test"));
    return events;
  }
  std::vector<v1::Event> Derate(const std::string& feed, int64_t power, int64_t cooling,
                                const std::string& from = "2027-01-01T11:00:00Z",
                                const std::string& until = "2027-01-01T11:30:00Z") {
    const std::string step = fmt::format(
        R"(site: "sites/paris" effective_from {{ {} }} until {{ {} }} it_power_watts: {}
            cooling_watts: {} cause: "equipment: chiller 2 failed")",
        Seconds(from), Seconds(until), power, cooling);
    return Settle(
        feed.empty()
            ? fmt::format("record_envelope {{ envelope {{ {} }} }}", step)
            : fmt::format(R"(record_feed {{ feed {{ feed: "{}" step {{ {} }} }} }})", feed, step),
        fmt::format("derate-{}", ++derated_));
  }
  std::vector<v1::Shortfall> Known() {
    std::vector<v1::Shortfall> known;
    state().rows.shortfalls.Scan("", [&](std::string_view, const v1::Shortfall& shortfall) {
      known.push_back(shortfall);
      return true;
    });
    return known;
  }

 private:
  int derated_ = 0;
};

TEST(Shortfalls, AReductionBelowWhatIsReservedIsFoundWithWhatCouldBeDone) {
  Derated paris;
  const std::string name = paris.Confirmed({.count = 3});
  const auto events = paris.Derate("", 210, 360);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_TRUE(events[0].envelope_recorded().cuts());
  EXPECT_THAT(events[1],
              HasText(fmt::format(
                  R"(shortfall_found {{ start_time {{ {0} }} end_time {{ {1} }} span_count: 1
      spans {{ start_time {{ {0} }} end_time {{ {1} }} missing_it_power_watts: 90 }}
      missing_it_power_watts: 90 cause: "equipment: chiller 2 failed" reservation_count: 1
      reservations {{ reservation: "{2}" customer: "customers/hsbc" it_power_watts: 300
        cooling_watts: 270 shorten_to {{ {0} }} revocable: true }} }})",
                  Seconds("2027-01-01T11:00:00Z"), Seconds("2027-01-01T11:30:00Z"), name)));
  EXPECT_THAT(events[1].shortfall_found().reservations(0).move_to(), IsEmpty());
  EXPECT_TRUE(runtime::MatchesName(events[1].shortfall_found().name(), "sites/*/shortfalls/*"));
  ASSERT_THAT(paris.Known(), SizeIs(1));
  EXPECT_THAT(paris.Known()[0],
              HasText(fmt::format("found_time {{ {} }}", Seconds("2027-01-01T09:00:00Z"))));
  // It is told, and nothing is taken away.
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_CONFIRMED);
}

TEST(Shortfalls, AReductionThatLeavesEnoughIsNone) {
  Derated paris;
  paris.Confirmed({.count = 3});
  const auto events = paris.Derate("", 300, 270);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_FALSE(events[0].envelope_recorded().cuts());
  EXPECT_THAT(paris.Known(), IsEmpty());
}

TEST(Shortfalls, OfCoolingCountHeat) {
  Derated paris;
  paris.Confirmed({.count = 3});
  EXPECT_THAT(paris.Derate("", 400, 200)[1],
              HasText("shortfall_found { missing_cooling_watts: 70 }"));
}

TEST(Shortfalls, OfAFeedNameItsReservationsAndWhereTheyCouldGo) {
  Derated paris;
  const std::string on_a = paris.Confirmed({.count = 1});
  const std::string on_b = paris.Confirmed(
      {.count = 1,
       .more =
           R"(placement { policy: PLACEMENT_POLICY_EXACT servers: "sites/paris/servers/s3" })"});
  const auto events = paris.Derate("a", 0, 0);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_THAT(events[1], HasText(fmt::format(
                             R"(shortfall_found {{ feed: "a" missing_it_power_watts: 100
      reservation_count: 1 reservations {{ reservation: "{}" it_power_watts: 100
        move_to: "sites/paris/servers/s4" }} }})",
                             on_a)));
}

TEST(Shortfalls, AreClearedOnceThereIsRoomAgain) {
  Derated paris;
  const std::string first = paris.Confirmed({.count = 2});
  paris.Confirmed({.count = 1});
  const std::string name = paris.Derate("", 150, 360)[1].shortfall_found().name();
  // Less is missing: it is said again, under its name.
  auto events = paris.Settle(
      fmt::format(R"(cancel_reservation {{ name: "{}" reason: "moved" }})", first), "cancel");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_THAT(events[1], HasText(fmt::format(R"(shortfall_cleared {{ name: "{}" }})", name)));
  EXPECT_FALSE(events[1].shortfall_cleared().passed());
  EXPECT_THAT(paris.Known(), IsEmpty());
}

// Its servers are cleaned for a while yet, but not into the shortfall's time.
TEST(Shortfalls, AreClearedOnceWhatWasReleasedIsBeingCleaned) {
  Derated paris;
  paris.When(R"(set_margins { site: "sites/paris" model: "models/m" after { seconds: 600 } })",
             "margins");
  const std::string name = paris.Confirmed({.count = 3});
  const std::string shortfall = paris.Derate("", 210, 360)[1].shortfall_found().name();
  paris.At("2027-01-01T10:00:00Z");
  ASSERT_TRUE(paris.About("start_reservation", name).has_reservation_started());
  paris.At("2027-01-01T10:30:00Z");
  const auto released = paris.Settle(
      fmt::format(R"(release_reservation {{ name: "{}" reason: "done" }})", name), "release");
  EXPECT_THAT(released, SizeIs(1)) << "it is being vacated";
  const auto ended = paris.Settle(fmt::format(R"(end_reservation {{ name: "{}" }})", name), "end");
  ASSERT_THAT(ended, SizeIs(2));
  EXPECT_TRUE(ended[0].has_reservation_cleaning());
  EXPECT_THAT(ended[1], HasText(fmt::format(R"(shortfall_cleared {{ name: "{}" }})", shortfall)));
}

// With the new terms it takes part no more, so that it is not found among those that do.
TEST(Shortfalls, AreClearedByAnAmendmentThatLeavesTheirTime) {
  Derated paris;
  const std::string asked = paris.Confirmed({.count = 3});
  const std::string name = paris.Derate("", 210, 360)[1].shortfall_found().name();
  const v1::Event held =
      paris.When(fmt::format(R"(amend_reservation {{ name: "{}" end_time {{ {} }} }})", asked,
                             Seconds("2027-01-01T11:00:00Z")),
                 "amend");
  ASSERT_TRUE(held.has_amendment_held()) << held.ShortDebugString();
  const auto events =
      paris.Settle(fmt::format(R"(confirm_amendment {{ reservation: "{}" amendment: "{}" }})",
                               asked, held.amendment_held().amendment().name()),
                   "confirm");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_THAT(events[1], HasText(fmt::format(R"(shortfall_cleared {{ name: "{}" }})", name)));
}

TEST(Shortfalls, AreSaidAgainWhenTheyChangeAndKeepTheirName) {
  Derated paris;
  const std::string first = paris.Confirmed({.count = 1});
  paris.Confirmed({.count = 2});
  const std::string name = paris.Derate("", 150, 360)[1].shortfall_found().name();
  const auto events = paris.Settle(
      fmt::format(R"(cancel_reservation {{ name: "{}" reason: "moved" }})", first), "cancel");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_THAT(
      events[1],
      HasText(fmt::format(
          R"(shortfall_found {{ name: "{}" missing_it_power_watts: 50 reservation_count: 1 }})",
          name)));
  EXPECT_THAT(paris.Known(), SizeIs(1));
}

TEST(Shortfalls, AreClearedByARaisedEnvelope) {
  Derated paris;
  paris.Confirmed({.count = 3});
  paris.Derate("a", 100, 0);
  ASSERT_THAT(paris.Known(), SizeIs(1));
  const auto events = paris.Derate("a", 200, 0);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_TRUE(events[1].has_shortfall_cleared());
}

TEST(Shortfalls, AreClearedByATimerOnceTheyHavePassed) {
  Derated paris;
  paris.Confirmed({.count = 3});
  paris.Derate("", 210, 360);
  const auto shortfalls = [&](const std::string& at) {
    std::vector<v1::Command> due;
    for (const auto& intent : paris.DueAt(at)) {
      if (intent.kind == "shortfall") due.push_back(intent.command);
    }
    return due;
  };
  EXPECT_THAT(shortfalls("2027-01-01T11:29:59Z"), IsEmpty());
  const auto due = shortfalls("2027-01-01T11:30:00Z");
  ASSERT_THAT(due, SizeIs(1));
  paris.At("2027-01-01T11:30:00Z");
  EXPECT_THAT(paris.When(due[0], "due"), HasText("shortfall_cleared { passed: true }"));
  EXPECT_THAT(paris.Known(), IsEmpty());
}

TEST(Shortfalls, GoByPriorityTheLeastFirst) {
  Derated paris;
  paris.Given(fmt::format("contract_signed {{ {} conditions {{ priority: 9 }} }}",
                          ContractText("sites/paris", 10, "prime")));
  const std::string prime =
      paris.Confirmed({.count = 1, .contract = "customers/hsbc/contracts/prime"});
  const std::string other = paris.Confirmed({.count = 1});
  const v1::ShortfallFound found = paris.Derate("", 0, 0)[1].shortfall_found();
  ASSERT_EQ(found.reservations_size(), 2);
  EXPECT_EQ(found.reservations(0).reservation(), other);
  EXPECT_EQ(found.reservations(1).reservation(), prime);
}

TEST(Shortfalls, WhatIsBeingVacatedIsNoneAndWhatStillRunsIsNotClearedBefore) {
  Derated paris;
  const std::string name = paris.Confirmed({.count = 3});
  paris.At("2027-01-01T10:00:00Z");
  paris.About("start_reservation", name);
  paris.Derate("", 210, 360);
  ASSERT_THAT(paris.Known(), SizeIs(1));
  auto events =
      paris.Settle(fmt::format(R"(release_reservation {{ name: "{}" }})", name), "release");
  EXPECT_THAT(events, SizeIs(1));
  EXPECT_THAT(paris.Known(), SizeIs(1));
  events = paris.Settle(fmt::format(R"(end_reservation {{ name: "{}" }})", name), "end");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_TRUE(events[1].has_shortfall_cleared());
}

TEST(Shortfalls, WithoutOneAReviewChangesNothing) {
  Derated paris;
  paris.Confirmed({.count = 3});
  EXPECT_THAT(paris.When(R"(review_shortfall { site: "sites/paris" })"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.When(R"(review_shortfall { site: "sites/borlange" })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  paris.Derate("", 210, 360);
  EXPECT_THAT(paris.When(R"(review_shortfall { site: "sites/paris" })"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

}  // namespace
}  // namespace concordat::reservations
