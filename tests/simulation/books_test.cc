// That the referee's books can say no: each is told of what a site that errs would have written.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/simulation/books.h"
#include "tests/simulation/endings.h"
#include "tests/simulation/limits.h"
#include "tests/simulation/shortages.h"

namespace concordat::simulation {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

absl::Time At(int64_t second) { return absl::FromUnixSeconds(second); }

reservations::v1::Event Of(const std::string& text) {
  reservations::v1::Event event;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &event)) << text;
  return event;
}

// A site of 300 W with s0 and s1 on feed a and s2 on feed b, each of 100 W; feed b gives 100 W.
class BooksTest : public testing::Test {
 protected:
  BooksTest() {
    Take(R"(envelope_recorded { site: "sites/paris" effective_from { seconds: 1 }
              it_power_watts: 300 cooling_watts: 300 })");
    Take(R"(feed_recorded { feed: "b" step { site: "sites/paris" it_power_watts: 100 } })");
    for (const char* place : {"s0\" power_feed: \"a", "s1\" power_feed: \"a",
                              "s2\" power_feed: \"b", "s3\" power_feed: \"b"}) {
      Take(std::string(R"(server_recorded { bookable: true model: "models/m" it_power_watts: 100
                            cooling_watts: 100 name: "sites/paris/servers/)") +
           place + "\" }");
    }
  }

  std::string Take(const std::string& text) { return books.Take(Of(text), "paris", At(50)); }
  std::string Hold(const std::string& name, const std::string& server, int64_t from, int64_t to) {
    return Take("reservation_held { name: \"sites/paris/reservations/" + name +
                "\" servers: \"sites/paris/servers/" + server +
                "\" it_power_watts: 100 cooling_watts: 100 terms { customer: \"customers/" + name +
                "\" start_time { seconds: " + std::to_string(from) +
                " } end_time { seconds: " + std::to_string(to) + " } } }");
  }
  std::string Amend(const std::string& step, const std::string& servers, int64_t watts,
                    int64_t to) {
    return Take(
        step + R"( { reservation: "sites/paris/reservations/r" amendment { )" + servers +
        " it_power_watts: " + std::to_string(watts) + " cooling_watts: " + std::to_string(watts) +
        " terms { customer: \"customers/r\" start_time { seconds: 100 } end_time { seconds: " +
        std::to_string(to) + " } } } }");
  }

  Allocations books;
};

TEST(Limits, AnEndGivesBackWhatHeldThen) {
  Limits limits({9, 9});
  EXPECT_EQ(limits.At(At(5)).power, 9);
  limits.Put(At(10), std::nullopt, {5, 5});
  limits.Put(At(30), std::nullopt, {7, 7});
  limits.Put(At(20), At(40), {1, 1});
  for (const auto& [second, watts] :
       {std::pair(9, 9), {10, 5}, {19, 5}, {20, 1}, {39, 1}, {40, 7}, {50, 7}})
    EXPECT_EQ(limits.At(At(second)).power, watts) << second;
  limits.Put(At(35), std::nullopt, {2, 2});
  EXPECT_EQ(limits.At(At(36)).power, 2);
  EXPECT_EQ(limits.At(At(40)).power, 7);
}

TEST_F(BooksTest, AnAmendmentBeyondThePowerOfTheSiteIsFound) {
  EXPECT_THAT(Hold("r", "s0", 100, 200), IsEmpty());
  EXPECT_THAT(Hold("other", "s1", 200, 300), IsEmpty());
  const std::string one = R"(servers: "sites/paris/servers/s0")";
  EXPECT_THAT(Amend("amendment_held", one, 200, 250), IsEmpty());
  Take(R"(amendment_dropped { reservation: "sites/paris/reservations/r" })");
  // From 200 on there is the other one too.
  EXPECT_THAT(Amend("amendment_held", one, 250, 201), HasSubstr("350 W of 300 W"));
}

TEST_F(BooksTest, AnAmendmentThatIsConfirmedOtherwiseThanItWasHeldIsFound) {
  EXPECT_THAT(Hold("r", "s0", 100, 200), IsEmpty());
  const std::string one = R"(servers: "sites/paris/servers/s0")";
  EXPECT_THAT(Amend("amendment_held", one, 100, 250), IsEmpty());
  EXPECT_THAT(Amend("amendment_confirmed", one, 400, 250), HasSubstr("400 W of 300 W"));
}

TEST_F(BooksTest, AnAmendmentThatWasHeldIsConfirmedWhateverTheLimitIsNow) {
  EXPECT_THAT(Hold("r", "s0", 100, 200), IsEmpty());
  const std::string one = R"(servers: "sites/paris/servers/s0")";
  EXPECT_THAT(Amend("amendment_held", one, 100, 250), IsEmpty());
  Take(R"(envelope_recorded { site: "sites/paris" effective_from { seconds: 1 } })");
  EXPECT_THAT(Amend("amendment_confirmed", one, 100, 250), IsEmpty());
}

TEST_F(BooksTest, AMoveToAFeedThatGivesNoMoreIsFound) {
  EXPECT_THAT(Hold("r", "s0", 100, 200), IsEmpty());
  EXPECT_THAT(Hold("other", "s2", 150, 300), IsEmpty());
  const std::string move = R"(servers_reassigned { reservation: "sites/paris/reservations/r"
      removed: "sites/paris/servers/s0" it_power_watts: 100 cooling_watts: 100 )";
  EXPECT_THAT(Take(move + R"(servers: "sites/paris/servers/s1" added: "sites/paris/servers/s1" })"),
              IsEmpty());
  EXPECT_THAT(Take(move + R"(servers: "sites/paris/servers/s3" added: "sites/paris/servers/s3" })"),
              HasSubstr("200 W of 100 W"));
}

TEST_F(BooksTest, OccurrencesAreReservationsOfTheirTime) {
  const std::string series = R"(reservation_held { name: "sites/paris/reservations/w"
      it_power_watts: 100 terms { customer: "customers/w" access { rule: "FREQ=DAILY;COUNT=2" }
        start_time { seconds: 100 } end_time { seconds: 400 } }
      occurrences { name: "sites/paris/reservations/w-1" servers: "sites/paris/servers/s0"
                    start_time { seconds: 100 } end_time { seconds: 120 } it_power_watts: 100 }
      occurrences { name: "sites/paris/reservations/w-2" servers: "sites/paris/servers/s0"
                    start_time { seconds: 300 } end_time { seconds: 320 } it_power_watts: 100 } })";
  EXPECT_THAT(Take(series), IsEmpty());
  EXPECT_THAT(Hold("between", "s0", 120, 300), IsEmpty());
  EXPECT_THAT(Hold("over", "s0", 310, 330), HasSubstr("is promised to"));
  EXPECT_THAT(Take(R"(reservation_cancelled { name: "sites/paris/reservations/over" })"),
              IsEmpty());
  EXPECT_THAT(Take(R"(reservation_cancelled { name: "sites/paris/reservations/w" })"), IsEmpty());
  EXPECT_THAT(Hold("again", "s0", 310, 330), IsEmpty());
}

TEST(Endings, WhatIsOverTakesItsOccurrencesAlongThatHaveNotBegun) {
  Endings endings;
  EXPECT_THAT(endings.Take(Of(R"(reservation_held { name: "w" occurrences { name: "w-1" }
                                                   occurrences { name: "w-2" } })")),
              IsEmpty());
  EXPECT_THAT(endings.Take(Of(R"(reservation_started { name: "w-1" })")), IsEmpty());
  EXPECT_THAT(endings.Take(Of(R"(reservation_cancelled { name: "w" })")), IsEmpty());
  EXPECT_THAT(endings.Take(Of(R"(reservation_ending { name: "w-1" })")), IsEmpty());
  EXPECT_THAT(endings.Take(Of(R"(reservation_started { name: "w-2" })")), HasSubstr("is over"));
  EXPECT_THAT(endings.Take(Of(R"(reservation_confirmed { name: "w" })")), HasSubstr("is over"));
}

TEST(Agreed, TermsHoldWhateverBecameOfAnAmendment) {
  Agreed agreed;
  const std::string terms = R"(customer: "c" start_time { seconds: 100 } end_time { seconds: )";
  EXPECT_THAT(
      agreed.Take(Of("reservation_held { name: \"r\" terms { " + terms + "200 } } }"), At(1)),
      IsEmpty());
  EXPECT_THAT(
      agreed.Take(Of("amendment_held { reservation: \"r\" amendment { name: \"a\" terms { " +
                     terms + "300 } } } }"),
                  At(2)),
      IsEmpty());
  EXPECT_THAT(agreed.Take(Of("amendment_dropped { reservation: \"r\" amendment: \"a\" }"), At(3)),
              IsEmpty());
  const std::string started =
      R"(reservation_started { name: "r" customer: "c" end_time { seconds: )";
  EXPECT_THAT(agreed.Take(Of(started + "300 } }"), At(100)), HasSubstr("by its terms"));
  EXPECT_THAT(agreed.Take(Of(started + "200 } }"), At(99)), HasSubstr("starts for"));
  EXPECT_THAT(agreed.Take(Of(started + "200 } }"), At(100)), IsEmpty());
  EXPECT_THAT(agreed.Take(Of("reservation_ending { name: \"r\" }"), At(199)),
              HasSubstr("vacated before"));
}

TEST_F(BooksTest, WhatNoWaveHasOpenedIsFound) {
  Waves waves;
  const auto take = [&](const std::string& text) { return waves.Take(Of(text), books, At(50)); };
  EXPECT_THAT(take(R"(wave_planned { name: "w" model: "models/m" customers: "customers/a"
                                     start_time { seconds: 100 } share_percent: 50 })"),
              IsEmpty());
  const auto hold = [&](const char* customer, const char* server, int64_t from) {
    return take("reservation_held { name: \"r\" servers: \"sites/paris/servers/" +
                std::string(server) + "\" terms { customer: \"customers/" + customer +
                "\" start_time { seconds: " + std::to_string(from) + " } } }");
  };
  EXPECT_THAT(hold("a", "s1", 100), IsEmpty());
  EXPECT_THAT(hold("a", "s1", 99), HasSubstr("no wave has opened"));
  EXPECT_THAT(hold("a", "s2", 100), HasSubstr("no wave has opened"));
  EXPECT_THAT(hold("b", "s1", 100), HasSubstr("no wave has opened"));
}

TEST(Hours, WhatIsHeldOutsideOfThemIsFound) {
  Hours hours;
  hours.Take(Of(R"(contract_signed { name: "c" access { }
      occurrences { start_time { seconds: 100 } end_time { seconds: 200 } }
      occurrences { start_time { seconds: 200 } end_time { seconds: 300 } } })"));
  const auto hold = [&](int64_t from, int64_t to) {
    return hours.Take(
        Of("reservation_held { name: \"r\" terms { contract: \"c\" start_time { "
           "seconds: " +
           std::to_string(from) + " } end_time { seconds: " + std::to_string(to) + " } } }"));
  };
  EXPECT_THAT(hold(150, 300), IsEmpty());
  EXPECT_THAT(hold(99, 150), HasSubstr("outside of the hours"));
  EXPECT_THAT(hold(250, 301), HasSubstr("outside of the hours"));
}

TEST_F(BooksTest, AShortfallThatIsNoneAndOneThatIsNotToldAreFound) {
  EXPECT_THAT(Hold("r", "s0", 100, 200), IsEmpty());
  Shortfalls shortfalls;
  const auto take = [&](const std::string& text) {
    Take(text);
    return shortfalls.Take(Of(text), books, At(50));
  };
  const std::string found = R"(shortfall_found { name: "f" missing_it_power_watts: 40 })";
  EXPECT_THAT(take(found), HasSubstr("there lack"));
  const std::string step =
      R"(envelope_recorded { site: "sites/paris" effective_from { seconds: 110 }
                                until { seconds: 120 } it_power_watts: 60 cooling_watts: 300 )";
  EXPECT_THAT(take(step + "}"), HasSubstr("is not said to cut"));
  EXPECT_THAT(take(step + "cuts: true }"), IsEmpty());
  EXPECT_THAT(take(found), IsEmpty());
  EXPECT_THAT(shortfalls.Uncleared(books, At(110)), IsEmpty());
  EXPECT_THAT(shortfalls.Uncleared(books, At(121)), IsEmpty()) << "a timer is up to a second late";
  EXPECT_THAT(shortfalls.Uncleared(books, At(122)), HasSubstr("nothing lacks"));
  EXPECT_THAT(take(R"(shortfall_cleared { name: "f" })"), HasSubstr("is cleared"));
}

}  // namespace
}  // namespace concordat::simulation
