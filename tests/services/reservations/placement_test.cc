// Which servers a reservation is given, why others are ruled out, and when it would fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

const std::string kServers = "sites/paris/servers/";

// A site with servers that stand somewhere, and room for all of them.
struct Hall : test::Scenario<Service> {
  Hall() {
    At("2027-01-01T09:00:00Z");
    Given(R"(site_recorded { name: "sites/paris" country: "FR" })");
    Envelope("2026-01-01T00:00:00Z", 100000, 100000);
    for (const std::string customer : {"hsbc", "sap"}) {
      Given(fmt::format(
          R"(contract_signed {{ name: "customers/{0}/contracts/frame" customer: "customers/{0}"
          country: "GB" sector: "FINANCE" sites: "sites/paris" max_servers_per_site: 50 start_time {{ {1} }}
          end_time {{ {2} }} data_classes: "PUBLIC" }})",
          customer, Seconds("2027-01-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z")));
    }
  }
  void Envelope(const std::string& from, int64_t power, int64_t cooling) {
    Given(fmt::format(R"(envelope_recorded {{ site: "sites/paris" effective_from {{ {} }}
                          it_power_watts: {} cooling_watts: {} }})",
                      Seconds(from), power, cooling));
  }
  void Server(const std::string& id, const std::string& rack, const std::string& domain = "",
              const std::string& feed = "", const std::string& more = "bookable: true",
              const std::string& model = "models/m") {
    Given(fmt::format(R"(server_recorded {{ name: "{}{}" model: "{}" it_power_watts: 100
                          cooling_watts: 90 room: "r" rack: "{}" nvlink_domain: "{}" power_feed: "{}" {} }})",
                      kServers, id, model, rack, domain, feed, more));
  }
  struct Asked {
    int count = 1;
    std::string customer = "hsbc";
    std::string placement = "";
    std::string start = "2027-01-01T10:00:00Z";
    std::string end = "2027-01-01T12:00:00Z";
    std::string more = "";
  };
  v1::Event Reserve(const Asked& asked) {
    return When(
        fmt::format(R"(reserve {{ site: "sites/paris" contract: "customers/{}/contracts/frame"
        model: "models/m" count: {} start_time {{ {} }} end_time {{ {} }} purpose: PURPOSE_TRAINING
        data_classes: "PUBLIC" {} {} }})",
                    asked.customer, asked.count, Seconds(asked.start), Seconds(asked.end),
                    asked.placement.empty() ? "" : "placement { " + asked.placement + " }",
                    asked.more),
        fmt::format("reserve-{}", ++reserved_));
  }
  // The servers that are held, without the site.
  std::vector<std::string> Held(const Asked& asked) {
    const v1::Event event = Reserve(asked);
    EXPECT_TRUE(event.has_reservation_held()) << event.ShortDebugString();
    std::vector<std::string> servers;
    for (const std::string& server : event.reservation_held().servers())
      servers.push_back(server.substr(kServers.size()));
    return servers;
  }
  v1::CommandRefused Refused(const Asked& asked) {
    const v1::Event event = Reserve(asked);
    EXPECT_TRUE(event.has_command_refused()) << event.ShortDebugString();
    return event.command_refused();
  }
  v1::Event Separate(const std::string& name, const std::string& a, const std::string& b) {
    return When(fmt::format(R"(separate_parties {{ name: "sites/paris/separations/{}" parties: "{}"
                                                   parties: "{}" reason: "why" }})",
                            name, a, b),
                fmt::format("separate-{}", ++reserved_));
  }

 private:
  int reserved_ = 0;
};

TEST(Placement, PacksIntoOneNvlinkDomainThoughNamesComeFirstElsewhere) {
  Hall hall;
  for (const auto& [id, domain] : {std::pair("a1", "x"), std::pair("a2", "y"), std::pair("b1", "z"),
                                   std::pair("b2", "z"), std::pair("b3", "z")})
    hall.Server(id, "1", domain);
  EXPECT_THAT(hall.Held({.count = 2}), ElementsAre("b1", "b2"));
  EXPECT_THAT(hall.Held({.count = 1}), ElementsAre("a1")) << "the smallest domain that holds it";
  EXPECT_THAT(hall.Held({.count = 2, .placement = "policy: PLACEMENT_POLICY_PACK"}),
              ElementsAre("a2", "b3"));
}

TEST(Placement, PacksServersWithoutADomainByRack) {
  Hall hall;
  hall.Server("a1", "1");
  hall.Server("a2", "2");
  hall.Server("b1", "3");
  hall.Server("b2", "3");
  EXPECT_THAT(hall.Held({.count = 2}), ElementsAre("b1", "b2"));
}

TEST(Placement, TellsADomainFromARackOfTheSameName) {
  Hall hall;
  hall.Server("a1", "1");
  hall.Server("b1", "9", "1");
  hall.Server("c1", "8", "7");
  hall.Server("c2", "8", "7");
  EXPECT_THAT(hall.Held({.count = 2}), ElementsAre("c1", "c2"));
}

TEST(Placement, SpreadsOverRacksAndOverFeeds) {
  Hall hall;
  for (const auto& [id, rack, feed] :
       {std::tuple("a1", "1", "A"), std::tuple("a2", "1", "A"), std::tuple("a3", "1", "A"),
        std::tuple("b1", "2", "A"), std::tuple("c1", "3", "B")})
    hall.Server(id, rack, "d", feed);
  EXPECT_THAT(hall.Held({.count = 3, .placement = "policy: PLACEMENT_POLICY_SPREAD_RACKS"}),
              ElementsAre("a1", "b1", "c1"));
  EXPECT_THAT(hall.Held({.count = 2,
                         .placement = "policy: PLACEMENT_POLICY_SPREAD_FEEDS",
                         .start = "2027-01-02T10:00:00Z",
                         .end = "2027-01-02T12:00:00Z"}),
              ElementsAre("a1", "c1"));
  EXPECT_THAT(hall.Held({.count = 4,
                         .placement = "policy: PLACEMENT_POLICY_SPREAD_RACKS",
                         .start = "2027-01-03T10:00:00Z",
                         .end = "2027-01-03T12:00:00Z"}),
              ElementsAre("a1", "a2", "b1", "c1"))
      << "the rack that has some left gives the fourth";
}

TEST(Placement, GivesTheNamedServersOrNone) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3"}) hall.Server(id, "1");
  const std::string named = fmt::format(R"(servers: "{0}s3" servers: "{0}s1")", kServers);
  EXPECT_THAT(hall.Held({.count = 0, .placement = named}), ElementsAre("s1", "s3"));
  const v1::CommandRefused refused = hall.Refused({.count = 2, .placement = named});
  EXPECT_THAT(refused, HasText(fmt::format(R"(reason: REASON_NO_CAPACITY shortage {{
      exclusions {{ reason: EXCLUSION_REASON_NOT_NAMED count: 1 examples: "{0}s2" }}
      exclusions {{ reason: EXCLUSION_REASON_TAKEN count: 2 examples: "{0}s1" examples: "{0}s3" }}
      earliest_start {{ {1} }} }})",
                                           kServers, Seconds("2027-01-01T12:00:00Z"))));
}

TEST(Placement, SaysOfNamedServersWhatIsWrongWithThem) {
  Hall hall;
  hall.Server("s1", "1");
  hall.Server("s2", "1");
  hall.Server("s3", "1", "", "", "bookable: false");
  hall.Server("s4", "1", "", "", "bookable: true", "models/other");
  hall.Server("s5", "1");
  hall.Given(fmt::format(R"(wave_planned {{ name: "sites/paris/waves/w" model: "models/m"
      servers: "{}s5" customers: "customers/sap" start_time {{ {} }} }})",
                         kServers, Seconds("2027-06-01T00:00:00Z")));
  hall.Held({.count = 0, .placement = fmt::format(R"(servers: "{}s1")", kServers)});
  const auto detail = [&](const std::string& id) {
    return hall.Refused({.count = 0, .placement = fmt::format(R"(servers: "{}{}")", kServers, id)})
        .detail();
  };
  EXPECT_THAT(detail("s1"), HasSubstr(kServers + "s1 is taken."));
  EXPECT_THAT(detail("s3"), HasSubstr(kServers + "s3 is not in service, or cordoned."));
  EXPECT_THAT(detail("s4"), HasSubstr(kServers + "s4 is a models/other."));
  EXPECT_THAT(detail("s9"), HasSubstr(kServers + "s9 is not known."));
  EXPECT_THAT(hall.Refused({.count = 0, .placement = fmt::format(R"(servers: "{}s5")", kServers)}),
              HasText("reason: REASON_WAVE"))
      << "of a wave's servers it is the wave";
}

TEST(Placement, KeepsWhatWasAskedForInTheTerms) {
  Hall hall;
  hall.Server("s1", "1");
  EXPECT_THAT(
      hall.Reserve({.count = 1, .placement = " "}),
      HasText(R"(reservation_held { terms { placement { policy: PLACEMENT_POLICY_PACK } } })"));
  EXPECT_FALSE(
      hall.Reserve({.count = 1, .start = "2027-01-02T10:00:00Z", .end = "2027-01-02T12:00:00Z"})
          .reservation_held()
          .terms()
          .has_placement());
}

TEST(Placement, KeepsCustomersApartInRacksAndDomainsBothWays) {
  Hall hall;
  hall.Server("a1", "1", "x");
  hall.Server("a2", "1", "y");
  hall.Server("b1", "2", "y");
  hall.Server("c1", "3", "z");
  EXPECT_THAT(
      hall.Separate("hs", "customers/hsbc", "customers/sap"),
      HasText(R"(parties_separated { name: "sites/paris/separations/hs" parties: "customers/hsbc"
                         parties: "customers/sap" reason: "why" })"));
  EXPECT_THAT(
      hall.Held({.customer = "sap", .placement = fmt::format(R"(servers: "{}a1")", kServers)}),
      ElementsAre("a1"));
  // a2 shares the rack; b1 shares a domain only with a2, which is free.
  EXPECT_THAT(hall.Held({.count = 2}), ElementsAre("b1", "c1"));
  const v1::CommandRefused refused = hall.Refused(
      {.count = 1, .customer = "sap", .placement = fmt::format(R"(servers: "{}a2")", kServers)});
  EXPECT_THAT(refused,
              HasText(fmt::format(
                  R"(shortage {{ exclusions {{ reason: EXCLUSION_REASON_NOT_NAMED count: 3 }}
                     exclusions {{ reason: EXCLUSION_REASON_APART count: 1 examples: "{}a2" }} }})",
                  kServers)));
  EXPECT_THAT(refused.detail(), HasSubstr("1 beside one to be kept apart from (a2)"));
  // At another time they may have what they like.
  EXPECT_THAT(
      hall.Held({.count = 4, .start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z"}),
      ElementsAre("a1", "a2", "b1", "c1"));
}

TEST(Placement, FindsTheStartAtWhichANeighbourIsGone) {
  Hall hall;
  hall.Server("a1", "1");
  hall.Server("a2", "1");
  hall.Separate("hs", "customers/hsbc", "customers/sap");
  hall.Held({.customer = "sap"});
  const v1::CommandRefused refused = hall.Refused({});
  ASSERT_TRUE(refused.shortage().has_earliest_start()) << refused.ShortDebugString();
  const absl::Time start = runtime::ToTime(refused.shortage().earliest_start());
  EXPECT_GE(start, test::Time("2027-01-01T12:00:00Z"));
  EXPECT_LE(start, test::Time("2027-01-01T18:00:00Z"));
}

TEST(Placement, LetsAnEndedSeparationGoAndKeepsItsName) {
  Hall hall;
  hall.Server("a1", "1");
  hall.Server("a2", "1");
  hall.Separate("hs", "customers/hsbc", "customers/sap");
  hall.Held({.customer = "sap"});
  EXPECT_THAT(hall.Reserve({}), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  const std::string end =
      R"(end_separation { name: "sites/paris/separations/hs" reason: "lifted" })";
  EXPECT_THAT(
      hall.When(end, "e1"),
      HasText(R"(separation_ended { name: "sites/paris/separations/hs" reason: "lifted" })"));
  EXPECT_THAT(hall.Held({}), ElementsAre("a2"));
  EXPECT_THAT(hall.When(end, "e2"), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(hall.Separate("hs", "customers/hsbc", "customers/sap"),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(Placement, SeparatesOnlyWhatIsKnownHere) {
  Hall hall;
  EXPECT_THAT(hall.Separate("x", "customers/hsbc", "sites/paris/reservations/r-none"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(hall.When(R"(separate_parties { name: "sites/borlange/separations/x"
                            parties: "customers/a" parties: "customers/b" reason: "why" })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(hall.When(R"(end_separation { name: "sites/borlange/separations/x" reason: "why" })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(hall.When(R"(end_separation { name: "sites/paris/separations/x" reason: "why" })"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
}

TEST(Placement, KeepsANewReservationApartFromOneThatIsNamed) {
  Hall hall;
  hall.Server("a1", "1");
  hall.Server("a2", "1");
  hall.Server("b1", "2");
  const v1::Event first = hall.Reserve({});
  ASSERT_THAT(first, HasText(fmt::format(R"(reservation_held {{ servers: "{}b1" }})", kServers)));
  hall.Separate("rs", first.reservation_held().name(), "customers/sap");
  EXPECT_THAT(hall.Held({.count = 2, .customer = "sap"}), ElementsAre("a1", "a2"));
  EXPECT_THAT(hall.Reserve({.customer = "sap"}), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
}

TEST(Placement, KeepsApartFromWhatIsHeldForAnAmendmentToo) {
  for (const bool by_name : {false, true}) {
    SCOPED_TRACE(by_name);
    Hall hall;
    hall.Server("a1", "1");
    for (const char* id : {"b1", "b2", "b3"}) hall.Server(id, "2");
    hall.Server("c1", "3");
    const v1::Event first = hall.Reserve({.customer = "sap"});
    ASSERT_THAT(first, HasText(fmt::format(R"(reservation_held {{ servers: "{}a1" }})", kServers)));
    const std::string name = first.reservation_held().name();
    EXPECT_TRUE(hall.When(fmt::format(R"(confirm_reservation {{ name: "{}" }})", name), "confirm")
                    .has_reservation_confirmed());
    const v1::Event held =
        hall.When(fmt::format(R"(amend_reservation {{ name: "{}" count: 3 }})", name), "amend");
    ASSERT_THAT(held, HasText(fmt::format(
                          R"(amendment_held {{ amendment {{ servers: "{0}a1" servers: "{0}b1"
                                                            servers: "{0}b2" }} }})",
                          kServers)));
    hall.Separate("hs", "customers/hsbc", by_name ? name : "customers/sap");
    EXPECT_THAT(hall.Held({}), ElementsAre("c1")) << "b3 stands beside what is held";
    EXPECT_THAT(hall.Reserve({}), HasText(RefusalFor(v1::REASON_NO_CAPACITY)));
  }
}

TEST(Shortages, CountEveryServerOnceUnderTheFirstReasonThatHolds) {
  Hall hall;
  hall.Server("gone", "1", "", "", "lost: true");
  hall.Server("idle", "1", "", "", "");
  hall.Server("other-1", "1", "", "", "bookable: true", "models/other");
  hall.Server("other-2", "1", "", "", "", "models/other");
  for (const char* id : {"s1", "s2", "s3", "s4", "s5"}) hall.Server(id, "2");
  hall.Envelope("2027-01-01T11:00:00Z", 450, 100000);
  hall.Envelope("2027-01-01T11:30:00Z", 100000, 100000);
  EXPECT_THAT(hall.Held({.count = 2}), ElementsAre("s1", "s2"));
  const v1::CommandRefused refused = hall.Refused({.count = 3});
  EXPECT_THAT(refused,
              HasText(fmt::format(R"(reason: REASON_POWER_ENVELOPE shortage {{
      exclusions {{ reason: EXCLUSION_REASON_OTHER_MODEL count: 2 examples: "{0}other-1" examples: "{0}other-2" }}
      exclusions {{ reason: EXCLUSION_REASON_LOST count: 1 examples: "{0}gone" }}
      exclusions {{ reason: EXCLUSION_REASON_CORDONED count: 1 examples: "{0}idle" }}
      exclusions {{ reason: EXCLUSION_REASON_TAKEN count: 2 examples: "{0}s1" examples: "{0}s2" }}
      exclusions {{ reason: EXCLUSION_REASON_POWER count: 1 examples: "{0}s5" }}
      earliest_start {{ {1} }}
      short_from {{ {2} }} short_it_power_watts: 50
      terms {{ model: "models/m" count: 3 }} start_time {{ {3} }} end_time {{ {4} }} }})",
                                  kServers, Seconds("2027-01-01T11:30:00Z"),
                                  Seconds("2027-01-01T11:00:00Z"), Seconds("2027-01-01T10:00:00Z"),
                                  Seconds("2027-01-01T12:00:00Z"))));
  EXPECT_EQ(
      refused.detail(),
      "At 2027-01-01T11:00:00Z the site would draw 500 W, 300 W of them for this reservation; "
      "expected at most 450 W, 50 W less. Ruled out: 2 of other models (other-1, other-2), 1 "
      "lost (gone), 1 cordoned (idle), 2 taken (s1, s2), 1 without power (s5). It would fit "
      "from 2027-01-01T11:30:00Z on.");
}

TEST(Shortages, TellOfEachServerWhatRuledItOut) {
  Hall hall;
  hall.Server("gone", "1", "", "", "lost: true");
  hall.Server("idle", "1", "", "", "");
  hall.Server("other", "1", "", "", "", "models/other");
  for (const char* id : {"s1", "s2", "s3", "s4", "s5", "s6"}) hall.Server(id, "2");
  hall.Held({.count = 4});
  const v1::CommandRefused refused = hall.Refused({.count = 3});
  runtime::Facts facts;
  facts.now = test::Time("2027-01-01T09:00:00Z");
  facts.site = "paris";
  std::vector<std::string> verdicts;
  for (const auto& [server, reason] : VerdictsOf(hall.state(), refused.shortage(), facts))
    verdicts.push_back(server.substr(kServers.size()) + " " + v1::ExclusionReason_Name(reason));
  EXPECT_THAT(verdicts,
              ElementsAre("gone EXCLUSION_REASON_LOST", "idle EXCLUSION_REASON_CORDONED",
                          "other EXCLUSION_REASON_OTHER_MODEL", "s1 EXCLUSION_REASON_TAKEN",
                          "s2 EXCLUSION_REASON_TAKEN", "s3 EXCLUSION_REASON_TAKEN",
                          "s4 EXCLUSION_REASON_TAKEN", "s5 EXCLUSION_REASON_UNSPECIFIED",
                          "s6 EXCLUSION_REASON_UNSPECIFIED"));
}

TEST(Shortages, NameTheFirstInstantAtWhichCoolingIsShort) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3"}) hall.Server(id, "2");
  hall.Envelope("2027-01-01T10:30:00Z", 100000, 200);
  hall.Held({.count = 1, .start = "2027-01-01T10:45:00Z", .end = "2027-01-01T12:00:00Z"});
  const v1::CommandRefused refused = hall.Refused({.count = 2});
  EXPECT_THAT(refused, HasText(fmt::format(R"(reason: REASON_COOLING_ENVELOPE shortage {{
      short_from {{ {} }} short_cooling_watts: 70 }})",
                                           Seconds("2027-01-01T10:45:00Z"))));
}

TEST(Shortages, CountTheServersThatThereIsNoCoolingFor) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3", "s4"}) hall.Server(id, "2");
  hall.Envelope("2027-01-01T10:30:00Z", 100000, 200);
  const v1::CommandRefused refused = hall.Refused({.count = 3});
  EXPECT_THAT(refused, HasText(fmt::format(R"(reason: REASON_COOLING_ENVELOPE shortage {{
      exclusions {{ reason: EXCLUSION_REASON_COOLING count: 2 examples: "{0}s3" examples: "{0}s4" }}
      short_from {{ {1} }} short_cooling_watts: 70 }})",
                                           kServers, Seconds("2027-01-01T10:30:00Z"))));
  EXPECT_THAT(refused.shortage().exclusions(), SizeIs(1));
  EXPECT_THAT(refused.detail(), HasSubstr("Ruled out: 2 without cooling (s3, s4)."));
}

TEST(Shortages, TellWhatIsTakenFromWhatOnlyAMarginRulesOut) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3", "s4"}) hall.Server(id, "2");
  hall.When(R"(set_margins { site: "sites/paris" model: "models/m" before { seconds: 1800 }
                             after { seconds: 3600 } })",
            "margins");
  // Cleaned until 13:00, where s1 is re-tested from 12:30 on.
  EXPECT_THAT(hall.Held({.start = "2027-01-01T13:00:00Z", .end = "2027-01-01T14:00:00Z"}),
              ElementsAre("s1"));
  EXPECT_THAT(hall.Held({.placement = fmt::format(R"(servers: "{}s2")", kServers)}),
              ElementsAre("s2"));
  const v1::CommandRefused refused = hall.Refused({.count = 3});
  EXPECT_THAT(refused, HasText(fmt::format(R"(reason: REASON_NO_CAPACITY shortage {{
      exclusions {{ reason: EXCLUSION_REASON_TAKEN count: 1 examples: "{0}s2" }}
      exclusions {{ reason: EXCLUSION_REASON_MARGIN count: 1 examples: "{0}s1" }} }})",
                                           kServers)));
  EXPECT_THAT(refused.shortage().exclusions(), SizeIs(2));
  EXPECT_THAT(refused.detail(), HasSubstr("Ruled out: 1 taken (s2), 1 within a margin (s1)."));
}

TEST(Shortages, CountTheServersThatTheirFeedHasNoPowerFor) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3"}) hall.Server(id, "2", "", "a");
  hall.Server("s4", "2", "", "b");
  hall.When(
      R"(record_feed { feed { feed: "a" step { site: "sites/paris" it_power_watts: 150 } } })",
      "feed");
  const v1::CommandRefused refused = hall.Refused({.count = 3});
  EXPECT_THAT(refused, HasText(fmt::format(R"(reason: REASON_POWER_ENVELOPE shortage {{
      exclusions {{ reason: EXCLUSION_REASON_FEED count: 2 examples: "{0}s2" examples: "{0}s3" }}
      short_from {{ {1} }} short_it_power_watts: 50 short_feed: "a" }})",
                                           kServers, Seconds("2027-01-01T10:00:00Z"))));
  EXPECT_THAT(refused.shortage().exclusions(), SizeIs(1));
  EXPECT_THAT(refused.detail(), HasSubstr("Ruled out: 2 without power on their feed (s2, s3)."));
}

// Whom a wave is not for is told how many servers it keeps, and not which.
TEST(Shortages, CountTheServersThatAWaveHasNotOpenedAndNameNone) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3"}) hall.Server(id, "2");
  hall.Given(fmt::format(R"(wave_planned {{ name: "sites/paris/waves/w" model: "models/m"
      servers: "{0}s2" servers: "{0}s3" customers: "customers/sap" start_time {{ {1} }} }})",
                         kServers, Seconds("2027-01-01T00:00:00Z")));
  const v1::CommandRefused refused = hall.Refused({.count = 2});
  EXPECT_THAT(refused, HasText(R"(reason: REASON_WAVE shortage {
      exclusions { reason: EXCLUSION_REASON_NOT_OPEN count: 2 } })"));
  ASSERT_THAT(refused.shortage().exclusions(), SizeIs(1));
  EXPECT_THAT(refused.shortage().exclusions(0).examples(), IsEmpty());
  EXPECT_THAT(refused.detail(), HasSubstr("Ruled out: 2 not open to the customer"));
  for (const char* id : {"s2", "s3"}) EXPECT_THAT(refused.ShortDebugString(), Not(HasSubstr(id)));
  EXPECT_THAT(hall.Held({.count = 3, .customer = "sap"}), ElementsAre("s1", "s2", "s3"));
}

// The servers that a request does not name are the others of the model, but not those of a wave.
TEST(Shortages, NameNoServerOfAWaveAmongThoseThatWereNotAskedForByName) {
  Hall hall;
  for (const char* id : {"s1", "s2", "s3"}) hall.Server(id, "2");
  hall.Given(fmt::format(R"(wave_planned {{ name: "sites/paris/waves/w" model: "models/m"
      servers: "{0}s2" customers: "customers/sap" start_time {{ {1} }} }})",
                         kServers, Seconds("2027-01-01T00:00:00Z")));
  const std::string named = fmt::format(R"(servers: "{}s1")", kServers);
  hall.Held({.placement = named});
  const v1::CommandRefused refused = hall.Refused({.placement = named});
  EXPECT_EQ(refused.reason(), v1::REASON_NO_CAPACITY);
  EXPECT_THAT(refused.ShortDebugString(), HasSubstr("s3"));
  EXPECT_THAT(refused.ShortDebugString(), Not(HasSubstr("s2")));
}

// Who only asks gets what the decider says on the state as it is, and nothing is folded: the next
// who asks the same gets the same.
TEST(Shortages, OfAQuestionAreThoseOfTheRequestAndTheQuestionLeavesNothing) {
  Hall hall;
  for (const char* id : {"s1", "s2"}) hall.Server(id, "2");
  hall.Held({.count = 1});
  const auto text = [](const char* more) {
    return test::Parse<v1::Command>(
        fmt::format(R"(reserve {{ site: "sites/paris" {} {} }})", TermsText({.count = 2}), more));
  };
  runtime::Facts facts;
  facts.now = test::Time("2027-01-01T09:00:00Z");
  facts.site = "paris";
  facts.command_id = "request-1";
  const std::string rows = Dump(hall.journal());
  const v1::Event asked =
      Service::Decide(hall.state(), text("submit { validate_only: true }"), facts);
  EXPECT_EQ(Dump(hall.journal()), rows);
  const v1::Event refused = hall.When(text(""), "request-1");
  EXPECT_EQ(asked.SerializeAsString(), refused.SerializeAsString());
  EXPECT_THAT(asked,
              HasText(fmt::format(R"(command_refused {{ reason: REASON_NO_CAPACITY shortage {{
      exclusions {{ reason: EXCLUSION_REASON_TAKEN count: 1 examples: "{}s1" }}
      earliest_start {{ {} }} }} }})",
                                  kServers, Seconds("2027-01-01T12:00:00Z"))));
  EXPECT_EQ(Dump(hall.journal()), rows) << "a refusal changes no row either";
  // What could be had is not held by a question.
  const auto one = test::Parse<v1::Command>(fmt::format(
      R"(reserve {{ site: "sites/paris" {} submit {{ validate_only: true }} }})", TermsText({})));
  for (int i = 0; i < 2; ++i)
    EXPECT_TRUE(Service::Decide(hall.state(), one, facts).has_reservation_held());
  EXPECT_EQ(Dump(hall.journal()), rows);
}

TEST(Shortages, SayWhatAContractOrItsHoursWouldStillAllow) {
  Hall hall;
  for (int i = 0; i < 60; ++i) hall.Server(fmt::format("s{:02}", i), "1");
  hall.Held({.count = 48});
  EXPECT_THAT(hall.Refused({.count = 3}), HasText(R"(reason: REASON_CONTRACT shortage {
      exclusions { reason: EXCLUSION_REASON_TAKEN count: 48 }
      exclusions { reason: EXCLUSION_REASON_CONTRACT count: 10 } })"));
  hall.Given(fmt::format(
      R"(contract_signed {{ name: "customers/late/contracts/frame" customer: "customers/late"
      sites: "sites/paris" max_servers_per_site: 50 data_classes: "PUBLIC" start_time {{ {0} }} end_time {{ {2} }}
      access {{ rule: "FREQ=DAILY" time_zone: "UTC" start: "2027-01-01T20:00:00" duration {{ seconds: 7200 }} }}
      occurrences {{ start_time {{ {1} }} end_time {{ {2} }} }} occurrences_until {{ {2} }} }})",
      Seconds("2027-01-01T00:00:00Z"), Seconds("2027-01-01T20:00:00Z"),
      Seconds("2027-01-01T22:00:00Z")));
  EXPECT_THAT(
      hall.Refused({.count = 2, .customer = "late"}),
      HasText(fmt::format(
          R"(reason: REASON_ACCESS_HOURS shortage {{ exclusions {{ reason: EXCLUSION_REASON_TAKEN count: 48 }}
         exclusions {{ reason: EXCLUSION_REASON_ACCESS_HOURS count: 12 }} earliest_start {{ {} }} }})",
          Seconds("2027-01-01T20:00:00Z"))));
}

TEST(Shortages, HaveNoStartWhereNoneIsFound) {
  Hall hall;
  hall.Server("s1", "1");
  const v1::CommandRefused refused = hall.Refused({.count = 2});
  EXPECT_EQ(refused.reason(), v1::REASON_NO_CAPACITY);
  EXPECT_FALSE(refused.shortage().has_earliest_start());
  EXPECT_THAT(refused.shortage().exclusions(), IsEmpty());
  EXPECT_THAT(refused.detail(), Not(HasSubstr("It would fit")));
}

TEST(Shortages, AreNotLookedForWhereTheTermsThemselvesAreWrong) {
  Hall hall;
  hall.Server("s1", "1");
  EXPECT_FALSE(hall.Refused({.end = "2030-01-01T00:00:00Z"}).has_shortage());
}

TEST(Shortages, OfASeriesAreThoseOfTheOccurrenceThatCannotBe) {
  Hall hall;
  hall.Server("s1", "1");
  hall.Held({.count = 1,
             .customer = "sap",
             .start = "2027-01-02T10:00:00Z",
             .end = "2027-01-02T12:00:00Z"});
  const v1::CommandRefused refused = hall.Refused(
      {.end = "2027-01-05T00:00:00Z",
       .more = R"(access { rule: "FREQ=DAILY" time_zone: "UTC" start: "2027-01-01T10:00:00"
                           duration { seconds: 3600 } })"});
  EXPECT_THAT(refused, HasText(fmt::format(R"(reason: REASON_NO_CAPACITY shortage {{
      exclusions {{ reason: EXCLUSION_REASON_TAKEN count: 1 }} start_time {{ {} }} end_time {{ {} }} }})",
                                           Seconds("2027-01-02T10:00:00Z"),
                                           Seconds("2027-01-02T11:00:00Z"))));
  EXPECT_FALSE(refused.shortage().has_earliest_start());
}

TEST(Shortages, OfAnOrderComeBackWithItsRefusal) {
  Hall hall;
  const v1::Event declined =
      hall.When(fmt::format(R"(fulfil_order {{ order {{ name: "sites/borlange/orders/o"
      site: "sites/paris" reservation: "sites/paris/reservations/r-o" terms {{
      contract: "customers/hsbc/contracts/frame" model: "models/m" count: 1 start_time {{ {} }} end_time {{ {} }}
      purpose: PURPOSE_TRAINING data_classes: "PUBLIC" }} }} }})",
                            Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T12:00:00Z")));
  EXPECT_THAT(
      declined,
      HasText(R"(order_declined { reason: REASON_NO_CAPACITY shortage { terms { count: 1 } } })"));
}

}  // namespace
}  // namespace concordat::reservations
