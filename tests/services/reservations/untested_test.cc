// Servers whose burn-in is stale, as reservations knows of them.
#include "concordat/inventory/v1/events.pb.h"
#include "services/reservations/service.h"
#include "tests/support/scenario.h"

namespace concordat::reservations {
namespace {

using test::HasText;

constexpr char kUntested[] = "sites/paris/servers/a";

struct Paris : test::Scenario<Service> {
  Paris() {
    At("2027-01-01T00:00:00Z")
        .Given(
            R"(server_recorded { name: "sites/paris/servers/a" model: "models/m" it_power_watts: 1
                    bookable: true retest_after_tenant: true })")
        .Given(
            R"(reservation_held { name: "sites/paris/reservations/r-1" servers: "sites/paris/servers/a"
                    terms { model: "models/m" count: 1 start_time { seconds: 1798761600 }
                            end_time { seconds: 1798765200 } } })")
        .Given(R"(reservation_confirmed { name: "sites/paris/reservations/r-1" })")
        .Given(R"(reservation_started { name: "sites/paris/reservations/r-1" })")
        .Given(R"(reservation_ending { name: "sites/paris/reservations/r-1" })");
  }
  v1::ServerRecorded Record() { return state().rows.server_records.Get(kUntested)->server(); }
  bool IsFree() {
    const absl::Time from = test::Time("2027-06-01T00:00:00Z");
    return state().index.IsFree(kUntested, {from, from + absl::Hours(1)}, from);
  }
};

TEST(Untested, AServerIsNobodysFromTheTenantsEndUntilItsTestPassed) {
  Paris paris;
  EXPECT_THAT(paris.When(R"(end_reservation { name: "sites/paris/reservations/r-1" })"),
              HasText(R"(reservation_ended { retest_servers: "sites/paris/servers/a" })"));
  EXPECT_TRUE(paris.Record().untested());
  EXPECT_FALSE(paris.IsFree());
  inventory::v1::Event passed;
  passed.mutable_burn_in_passed()->set_name(kUntested);
  EXPECT_TRUE(paris.ReactionsTo(passed).empty()) << "of a server that is not in service";
  passed.mutable_burn_in_passed()->set_in_service(true);
  const auto intents = paris.ReactionsTo(passed);
  ASSERT_EQ(intents.size(), 1);
  EXPECT_THAT(paris.When(intents[0].command),
              HasText(R"(server_recorded { model: "models/m" bookable: true })"));
  EXPECT_FALSE(paris.Record().untested());
  EXPECT_TRUE(paris.IsFree());
}

TEST(Untested, ANewerPlanMayDemandATestAfterEachTenant) {
  Paris paris;
  paris.Given(
      R"(server_recorded { name: "sites/paris/servers/a" model: "models/m" it_power_watts: 1
                           bookable: true untested: true })");
  inventory::v1::Event passed;
  passed.mutable_burn_in_passed()->set_name(kUntested);
  passed.mutable_burn_in_passed()->set_in_service(true);
  passed.mutable_burn_in_passed()->set_retest_after_tenant(true);
  passed.mutable_burn_in_passed()->mutable_retest_margin()->set_seconds(60);
  paris.When(paris.ReactionsTo(passed).at(0).command);
  EXPECT_THAT(paris.Record(),
              HasText("bookable: true retest_after_tenant: true retest_margin { seconds: 60 }"));
  EXPECT_THAT(paris.When(R"(end_reservation { name: "sites/paris/reservations/r-1" })"),
              HasText(R"(reservation_ended { retest_servers: "sites/paris/servers/a" })"));
}

TEST(Untested, ATestThatPassedBeforeTheTenantsEndWasKnownIsNoneOfWhatCameAfterIt) {
  Paris paris;
  paris.When(R"(end_reservation { name: "sites/paris/reservations/r-1" })");
  inventory::v1::Event passed;
  passed.mutable_burn_in_passed()->set_name(kUntested);
  passed.mutable_burn_in_passed()->set_in_service(true);
  paris.When(paris.ReactionsTo(passed).at(0).command, "passed");
  EXPECT_FALSE(paris.Record().untested());
  inventory::v1::Event ended;
  ended.mutable_tenancy_ended()->set_reservation("sites/paris/reservations/r-1");
  EXPECT_TRUE(paris.ReactionsTo(ended).empty()) << "none of its servers is in service";
  ended.mutable_tenancy_ended()->add_servers(kUntested);
  const auto intents = paris.ReactionsTo(ended);
  ASSERT_EQ(intents.size(), 1);
  paris.When(intents[0].command, "ended");
  EXPECT_TRUE(paris.Record().untested());
  EXPECT_TRUE(paris.Record().bookable());
  EXPECT_FALSE(paris.IsFree());
  paris.When(paris.ReactionsTo(passed).at(0).command, "passed-again");
  EXPECT_FALSE(paris.Record().untested());
  EXPECT_TRUE(paris.IsFree());
}

TEST(Untested, NoReservationStartsOnAServerWhoseBurnInIsStale) {
  Paris paris;
  paris.When(R"(end_reservation { name: "sites/paris/reservations/r-1" })");
  paris.At("2027-01-01T02:00:00Z")
      .Given(R"(envelope_recorded { site: "sites/paris" effective_from { seconds: 1 }
                  it_power_watts: 100 cooling_watts: 100 })")
      .Given(
          R"(reservation_held { name: "sites/paris/reservations/r-2" servers: "sites/paris/servers/a"
                  terms { model: "models/m" count: 1 start_time { seconds: 1798768800 }
                          end_time { seconds: 1798780000 } } })")
      .Given(R"(reservation_confirmed { name: "sites/paris/reservations/r-2" })");
  const v1::Event delayed =
      paris.When(R"(start_reservation { name: "sites/paris/reservations/r-2" })");
  EXPECT_THAT(delayed.reservation_delayed().detail(), testing::HasSubstr("burn-in"));
  paris.When(R"(record_server { server { name: "sites/paris/servers/a" } test_only: true })");
  EXPECT_TRUE(paris.When(R"(start_reservation { name: "sites/paris/reservations/r-2" })")
                  .has_reservation_started());
}

TEST(Untested, WhatBecomesTooOldIsOfferedToNobody) {
  Paris paris;
  inventory::v1::Event expired;
  expired.mutable_evidence_expired()->set_name(kUntested);
  EXPECT_TRUE(paris.ReactionsTo(expired).empty());
  expired.mutable_evidence_expired()->set_in_service(true);
  paris.When(paris.ReactionsTo(expired).at(0).command);
  EXPECT_TRUE(paris.Record().untested());
  EXPECT_TRUE(paris.Record().bookable()) << "what operators want of it is another question";
}

}  // namespace
}  // namespace concordat::reservations
