#include <fmt/format.h>

#include "services/inventory/service.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

using test::HasText;

constexpr char kPlan[] = R"(register_plan { name: "plans/p" version: 1
  criteria { figure: "x" minimum: 1 maximum: 2 unit: "u" }
  validity { seconds: 864000 } retest_after_tenant: true retest_margin { seconds: 3600 } })";
constexpr char kModel[] = R"(register_model { name: "models/m" vendor: "v" accelerators: 8
  it_power_watts: 100 cooling_watts: 90 plan: "plans/p" height_units: 4 })";
constexpr char kGood[] = R"(test_server { name: "sites/paris/servers/a"
  figures { name: "x" value: 1 unit: "u" } })";
constexpr char kEnter[] = R"(enter_service { name: "sites/paris/servers/a" })";

MATCHER_P(IsRefused, reason, "") {
  *result_listener << arg.ShortDebugString();
  return arg.command_refused().reason() == reason;
}

struct Paris : test::Scenario<Service> {
  Paris() {
    At("2026-11-23T12:00:00Z").Given(R"(site_opened { name: "sites/paris" country: "FR"
      time_zone: "Europe/Paris" opening_time { seconds: 1800000000 } })");  // 2027-01-15T08:00:00Z
    When(kPlan);
    When(kModel);
  }
  v1::Server Server(const std::string& id = "a") {
    return state().rows.servers.Get("sites/paris/servers/" + id).value_or(v1::Server());
  }
  v1::Event Order(const std::string& id, const std::string& more = "") {
    return When(fmt::format(R"(order_server {{ name: "sites/paris/servers/{}" model: "models/m"
      supplier: "s" promised_time {{ seconds: 1800000000 }} {} }})",
                            id, more));
  }
  v1::Event Deliver(const std::string& id, const std::string& serial) {
    return When(fmt::format(R"(deliver_server {{ name: "sites/paris/servers/{}" serial: "{}" }})",
                            id, serial));
  }
  v1::Event Install(const std::string& id, int position, const std::string& feed = "") {
    return When(fmt::format(R"(install_server {{ name: "sites/paris/servers/{}" room: "r" rack: "01"
      position: {} power_feed: "{}" }})",
                            id, position, feed));
  }
  void Build(const std::string& id = "a", int position = 1) {
    Order(id);
    Deliver(id, "SN-" + id);
    Install(id, position);
  }
  void Serve() {
    Build();
    When(kGood);
    When(kEnter);
  }
};

TEST(Supply, ASlippedDeliveryKeepsWhatWasPromisedBeforeAndWhy) {
  Paris paris;
  paris.Order("a");
  EXPECT_THAT(paris.When(R"(slip_delivery { name: "sites/paris/servers/a"
                promised_time { seconds: 1800086400 } cause: SLIP_CAUSE_CUSTOMS detail: "licence" })"),
              HasText(R"(delivery_slipped { before { seconds: 1800000000 }
                promised_time { seconds: 1800086400 } cause: SLIP_CAUSE_CUSTOMS detail: "licence" })"));
  EXPECT_THAT(paris.Server(), HasText(R"(promised_time { seconds: 1800086400 } slips: 1)"));
}

TEST(Supply, DeliversAgainstTheManifestThatCameBefore) {
  Paris paris;
  paris.Order("a", R"(order_number: "po-1")");
  paris.Order("b", R"(order_number: "po-2")");
  EXPECT_THAT(paris.Deliver("a", "S1"), IsRefused(v1::REASON_NOT_IN_MANIFEST));
  const char manifest[] = R"(record_manifest { name: "sites/paris/manifests/po-1-1"
      order_number: "po-1" supplier: "s" serials: "S1" serials: "S2" })";
  EXPECT_TRUE(paris.When(manifest).has_manifest_received());
  EXPECT_THAT(paris.When(manifest), IsRefused(v1::REASON_ALREADY_EXISTS));
  EXPECT_THAT(paris.Deliver("a", "S3"), IsRefused(v1::REASON_NOT_IN_MANIFEST));
  EXPECT_THAT(paris.Deliver("b", "S1"), IsRefused(v1::REASON_NOT_IN_MANIFEST));
  EXPECT_TRUE(paris.Deliver("a", "S1").has_server_delivered());
}

TEST(Supply, AnnouncesASerialOnce) {
  Paris paris;
  paris.When(
      R"(record_manifest { name: "sites/paris/manifests/x" order_number: "1" serials: "S" })");
  EXPECT_THAT(paris.When(R"(record_manifest { name: "sites/paris/manifests/y" order_number: "2"
                serials: "S" })"),
              IsRefused(v1::REASON_SERIAL_TAKEN));
}

TEST(BadInput, TwoServersInOneRackPosition) {
  Paris paris;
  paris.Build("a", 1);
  paris.Order("b");
  paris.Deliver("b", "SN-b");
  // Servers of the model are four units high.
  EXPECT_THAT(paris.Install("b", 4), IsRefused(v1::REASON_POSITION_TAKEN));
  EXPECT_TRUE(paris.Install("b", 5).has_server_installed());
}

TEST(BadInput, APositionBeyondTheRacksHeight) {
  Paris paris;
  paris.When(
      R"(define_rack { name: "sites/paris/racks/r-01" room: "r" rack: "01" height_units: 8 })");
  paris.Order("a");
  paris.Deliver("a", "SN-a");
  EXPECT_THAT(paris.Install("a", 6), IsRefused(v1::REASON_BEYOND_RACK));
  EXPECT_TRUE(paris.Install("a", 5).has_server_installed());
}

TEST(BadInput, APositionBeyondSixtyWhereTheRackIsNotDefined) {
  Paris paris;
  paris.Order("a");
  paris.Deliver("a", "SN-a");
  EXPECT_THAT(paris.Install("a", 58), IsRefused(v1::REASON_BEYOND_RACK));
}

TEST(BadInput, AFeedThatTheSiteDoesNotKnow) {
  Paris paris;
  paris.When(
      R"(define_feed { name: "sites/paris/feeds/a" it_power_watts: 1 redundancy: REDUNDANCY_2N })");
  paris.Order("a");
  paris.Deliver("a", "SN-a");
  EXPECT_THAT(paris.Install("a", 1, "b"), IsRefused(v1::REASON_UNKNOWN_FEED));
  EXPECT_THAT(paris.Install("a", 1, ""), IsRefused(v1::REASON_UNKNOWN_FEED));
  EXPECT_TRUE(paris.Install("a", 1, "a").has_server_installed());
}

TEST(BadInput, AServerInTwoPlaces) {
  Paris paris;
  paris.Build("a", 1);
  EXPECT_THAT(paris.Install("a", 20), IsRefused(v1::REASON_ALREADY_PLACED));
  EXPECT_EQ(paris.Server().position(), 1);
}

TEST(BadInput, DatesBeforeTheSiteOpens) {
  Paris paris;
  EXPECT_THAT(paris.When(R"(plan_server { name: "sites/paris/servers/a" model: "models/m"
                planned_time { seconds: 1799999999 } })"),
              IsRefused(v1::REASON_BEFORE_OPENING));
  EXPECT_THAT(paris.When(R"(order_server { name: "sites/paris/servers/a" model: "models/m"
                supplier: "s" promised_time { seconds: 1799999999 } })"),
              IsRefused(v1::REASON_BEFORE_OPENING));
  paris.Order("a");
  EXPECT_THAT(paris.When(R"(slip_delivery { name: "sites/paris/servers/a" cause: SLIP_CAUSE_SITE
                promised_time { seconds: 1799999999 } })"),
              IsRefused(v1::REASON_BEFORE_OPENING));
}

TEST(Plans, CountVersionsWithoutGaps) {
  Paris paris;
  EXPECT_THAT(paris.When(kPlan), IsRefused(v1::REASON_WRONG_VERSION));
  EXPECT_THAT(paris.When(R"(register_plan { name: "plans/p" version: 3 })"),
              IsRefused(v1::REASON_WRONG_VERSION));
  EXPECT_TRUE(paris
                  .When(R"(register_plan { name: "plans/p" version: 2
    criteria { figure: "x" minimum: 5 maximum: 5 unit: "u" } })")
                  .has_plan_registered());
}

TEST(Plans, AModelsOwnCriteriaAreVersionOneOfThePlanOfItsName) {
  Paris paris;
  EXPECT_THAT(paris.When(R"(register_model { name: "models/own" vendor: "v" accelerators: 1
                criteria { figure: "y" unit: "u" } })"),
              HasText(R"(model_registered { plan: "plans/own" })"));
  EXPECT_THAT(*paris.state().rows.plans.Get("plans/own"),
              HasText(R"(versions { version: 1 criteria { figure: "y" } })"));
  EXPECT_THAT(
      paris.When(R"(register_model { name: "models/p" criteria { figure: "y" unit: "u" } })"),
      IsRefused(v1::REASON_ALREADY_EXISTS));
  EXPECT_THAT(paris.When(R"(register_model { name: "models/x" plan: "plans/unknown" })"),
              IsRefused(v1::REASON_NOT_FOUND));
}

TEST(Plans, ABurnInKeepsTheVersionThatItBeganWith) {
  Paris paris;
  paris.Build();
  paris.When(R"(start_test { name: "sites/paris/servers/a" })");
  paris.When(R"(register_plan { name: "plans/p" version: 2
    criteria { figure: "x" minimum: 5 maximum: 5 unit: "u" } })");
  EXPECT_THAT(paris.When(kGood), HasText(R"(burn_in_passed { plan: "plans/p" plan_version: 1 })"));
  EXPECT_THAT(paris.When(kGood), HasText(R"(burn_in_failed { plan: "plans/p" plan_version: 2 })"));
}

TEST(Evidence, SaysWhoMeasuredWithWhatAndWhen) {
  Paris paris;
  paris.Build();
  EXPECT_THAT(paris.When(R"(test_server { name: "sites/paris/servers/a" tool_digest: "ab"
                operator: "bob" started_time { seconds: 1795430000 } ended_time { seconds: 1795434000 }
                figures { name: "x" value: 1 unit: "u" } })"),
              HasText(R"(burn_in_passed { tool_digest: "ab" operator: "bob"
                started_time { seconds: 1795430000 } ended_time { seconds: 1795434000 }
                valid_until { seconds: 1796298000 } })"));
  EXPECT_THAT(paris.When(R"(test_server { name: "sites/paris/servers/a"
                ended_time { seconds: 1795440000 } figures { name: "x" value: 1 unit: "u" } })"),
              IsRefused(v1::REASON_TIME));
  EXPECT_THAT(paris.When(R"(test_server { name: "sites/paris/servers/a"
                ended_time { seconds: 1790000000 } figures { name: "x" value: 1 unit: "u" } })"),
              IsRefused(v1::REASON_EVIDENCE_STALE));
}

TEST(Evidence, OfBeforeAChangeDoesNotCountHoweverLateItIsReported) {
  Paris paris;
  paris.Build();
  paris.When(R"(replace_part { name: "sites/paris/servers/a" slot: "gpu-1"
    part: "sites/paris/parts/p1" kind: "gpu" serial: "G1" reason: "ecc" })");
  const auto report = [&](const std::string& times) {
    return paris.When(fmt::format(
        R"(test_server {{ name: "sites/paris/servers/a" {} figures {{ name: "x" value: 1 unit: "u" }} }})",
        times));
  };
  const int64_t changed = paris.Server().changed_time().seconds();
  paris.At("2026-11-23T14:00:00Z");
  EXPECT_THAT(report(fmt::format("ended_time {{ seconds: {} }}", changed - 1)),
              IsRefused(v1::REASON_EVIDENCE_STALE));
  EXPECT_THAT(report(fmt::format("started_time {{ seconds: {} }} ended_time {{ seconds: {} }}",
                                 changed - 1, changed + 60)),
              IsRefused(v1::REASON_EVIDENCE_STALE))
      << "it was changed while it was tested";
  EXPECT_TRUE(report(fmt::format("started_time {{ seconds: {} }} ended_time {{ seconds: {} }}",
                                 changed + 1, changed + 60))
                  .has_burn_in_passed());
}

TEST(Evidence, OfATestThatWorkCameBetweenDoesNotCountThoughItsBeginningIsNotReported) {
  Paris paris;
  paris.Build();
  paris.When(R"(start_test { name: "sites/paris/servers/a" })");
  paris.At("2026-11-23T13:00:00Z");
  paris.Given(R"(window_closed { name: "sites/paris/windows/w" servers: "sites/paris/servers/a"
    done: 1 retest: true })");
  paris.At("2026-11-23T14:00:00Z");
  EXPECT_THAT(paris.When(kGood), IsRefused(v1::REASON_EVIDENCE_STALE));
  EXPECT_EQ(paris.Server().state(), v1::SERVER_STATE_UNDER_TEST);
  EXPECT_TRUE(paris
                  .When(fmt::format(
                      R"(test_server {{ name: "sites/paris/servers/a" started_time {{ seconds: {} }}
                                figures {{ name: "x" value: 1 unit: "u" }} }})",
                      absl::ToUnixSeconds(test::Time("2026-11-23T13:30:00Z"))))
                  .has_burn_in_passed());
}

TEST(Evidence, OfBeforeAFailureAQuarantineOrARepairDoesNotCount) {
  const std::string fail = R"(test_server { name: "sites/paris/servers/a"
    figures { name: "x" value: 9 unit: "u" } })";
  const std::string quarantine =
      R"(quarantine_server { name: "sites/paris/servers/a" reason: "ecc" })";
  const std::string repair =
      R"(repair_server { name: "sites/paris/servers/a" detail: "reseated" })";
  const auto report = [](Paris& paris, const std::string& ended) {
    return paris.When(fmt::format(
        R"(test_server {{ name: "sites/paris/servers/a" ended_time {{ seconds: {} }}
                          figures {{ name: "x" value: 1 unit: "u" }} }})",
        absl::ToUnixSeconds(test::Time(ended))));
  };
  for (const auto& [first, then] : std::vector<std::pair<std::string, std::string>>{
           {"", fail}, {"", quarantine}, {quarantine, repair}}) {
    Paris paris;
    paris.Build();
    paris.At("2026-11-23T13:00:00Z");
    if (!first.empty()) {
      EXPECT_FALSE(paris.When(first).has_command_refused()) << first;
    }
    paris.At("2026-11-23T14:00:00Z");
    EXPECT_FALSE(paris.When(then).has_command_refused()) << then;
    paris.At("2026-11-23T15:00:00Z");
    EXPECT_THAT(report(paris, "2026-11-23T13:30:00Z"), IsRefused(v1::REASON_EVIDENCE_STALE))
        << then;
    paris.When(R"(start_test { name: "sites/paris/servers/a" })");
    EXPECT_THAT(report(paris, "2026-11-23T13:30:00Z"), IsRefused(v1::REASON_EVIDENCE_STALE))
        << then << ", and another test begun";
    EXPECT_TRUE(report(paris, "2026-11-23T14:30:00Z").has_burn_in_passed()) << then;
  }
}

TEST(Evidence, ExpiresByATimerAndAQualifiedServerIsOnlyInstalled) {
  Paris paris;
  paris.Build();
  paris.When(kGood);
  EXPECT_TRUE(paris.DueAt("2026-12-03T11:59:59Z").empty());
  const auto due = paris.DueAt("2026-12-03T12:00:00Z");
  ASSERT_EQ(due.size(), 1);
  EXPECT_THAT(paris.When(due[0].command), IsRefused(v1::REASON_TIME));
  paris.At("2026-12-03T12:00:00Z");
  EXPECT_THAT(paris.When(kEnter), IsRefused(v1::REASON_EVIDENCE_STALE));
  EXPECT_THAT(paris.When(due[0].command),
              HasText(R"(evidence_expired { name: "sites/paris/servers/a" in_service: false })"));
  EXPECT_THAT(paris.Server(),
              HasText(R"(state: SERVER_STATE_INSTALLED evidence { stale: STALE_CAUSE_AGE })"));
  EXPECT_TRUE(paris.DueAt("2027-12-03T12:00:00Z").empty());
  EXPECT_THAT(paris.When(kEnter), IsRefused(v1::REASON_TEST_NOT_PASSED));
}

TEST(Evidence, GoesStaleByAPartAndByFirmware) {
  for (const char* change :
       {R"(replace_part { name: "sites/paris/servers/a" slot: "gpu-1" part: "sites/paris/parts/p1"
             kind: "gpu" serial: "G1" reason: "ecc" })",
        R"(change_firmware { name: "sites/paris/servers/a" component: "bmc" version: "2" })"}) {
    Paris paris;
    paris.Serve();
    EXPECT_THAT(paris.When(change), IsRefused(v1::REASON_WRONG_STATE)) << "not while it serves";
    paris.When(R"(leave_service { name: "sites/paris/servers/a" reason: "repair" })");
    paris.When(kGood);
    EXPECT_FALSE(paris.When(change).has_command_refused());
    EXPECT_EQ(paris.Server().state(), v1::SERVER_STATE_INSTALLED);
    EXPECT_NE(paris.Server().evidence().stale(), v1::STALE_CAUSE_UNSPECIFIED);
    EXPECT_THAT(paris.When(kEnter), IsRefused(v1::REASON_TEST_NOT_PASSED));
  }
}

TEST(Parts, HaveNamesOfTheirOwnAndTheServerKeepsIts) {
  Paris paris;
  paris.Build();
  const auto replace = [&](const std::string& part, const std::string& serial) {
    return paris.When(fmt::format(R"(replace_part {{ name: "sites/paris/servers/a" slot: "gpu-1"
      part: "sites/paris/parts/{}" kind: "gpu" serial: "{}" reason: "ecc" }})",
                                  part, serial));
  };
  EXPECT_THAT(replace("p1", "G1"), HasText(R"(part_replaced { part: "sites/paris/parts/p1" })"));
  EXPECT_THAT(replace("p1", "G2"), IsRefused(v1::REASON_ALREADY_EXISTS));
  EXPECT_THAT(replace("p2", "SN-a"), IsRefused(v1::REASON_SERIAL_TAKEN));
  EXPECT_THAT(replace("p2", "G2"),
              HasText(R"(part_replaced { removed_part: "sites/paris/parts/p1" })"));
  EXPECT_EQ(paris.state().rows.parts.Get("sites/paris/parts/p1")->server(), "");
  EXPECT_THAT(*paris.state().rows.parts.Get("sites/paris/parts/p2"),
              HasText(R"(server: "sites/paris/servers/a" slot: "gpu-1" serial: "G2")"));
  paris.Order("b");
  EXPECT_THAT(paris.Deliver("b", "G1"), IsRefused(v1::REASON_SERIAL_TAKEN));
}

TEST(Tenants, EachGetsAServerThatWasTestedAfterTheOneBefore) {
  Paris paris;
  paris.Serve();
  reservations::v1::Event ended;
  ended.mutable_reservation_ended()->set_name("sites/paris/reservations/r-1");
  EXPECT_TRUE(paris.ReactionsTo(ended).empty());
  ended.mutable_reservation_ended()->add_retest_servers("sites/paris/servers/a");
  const auto intents = paris.ReactionsTo(ended);
  ASSERT_EQ(intents.size(), 1);
  EXPECT_THAT(paris.When(intents[0].command),
              HasText(R"(tenancy_ended { reservation: "sites/paris/reservations/r-1"
                servers: "sites/paris/servers/a" })"));
  EXPECT_THAT(paris.Server(),
              HasText(R"(state: SERVER_STATE_IN_SERVICE evidence { stale: STALE_CAUSE_TENANT })"));
  EXPECT_THAT(paris.When(kGood), HasText(R"(burn_in_passed { in_service: true })"));
  EXPECT_EQ(paris.Server().evidence().stale(), v1::STALE_CAUSE_UNSPECIFIED);
  EXPECT_THAT(paris.When(kGood), IsRefused(v1::REASON_WRONG_STATE)) << "nobody is disturbed twice";
}

TEST(Intent, IsAnAxisOfItsOwn) {
  Paris paris;
  paris.Build();
  EXPECT_THAT(paris.When(R"(cordon_server { name: "sites/paris/servers/a" reason: "spare" })"),
              HasText(R"(server_cordoned { not_in_service: true })"));
  paris.When(kGood);
  EXPECT_THAT(paris.When(kEnter), HasText(R"(server_entered_service { cordoned: true })"));
  EXPECT_THAT(paris.Server(), HasText(R"(state: SERVER_STATE_IN_SERVICE
    intent: SERVER_INTENT_NON_PROVISIONABLE cordoned: true intent_reason: "spare")"));
}

TEST(Intent, ACordonMayEndByItself) {
  Paris paris;
  paris.Serve();
  EXPECT_THAT(paris.When(R"(cordon_server { name: "sites/paris/servers/a" reason: "w"
                until { seconds: 1 } })"),
              IsRefused(v1::REASON_TIME));
  paris.When(R"(cordon_server { name: "sites/paris/servers/a" reason: "w"
                until { seconds: 1795500000 } })");  // 2026-11-24T06:00:00Z
  EXPECT_TRUE(paris.DueAt("2026-11-24T05:59:59Z").empty());
  const auto due = paris.DueAt("2026-11-24T06:00:00Z");
  ASSERT_EQ(due.size(), 1);
  EXPECT_TRUE(paris.At("2026-11-24T06:00:00Z").When(due[0].command).has_server_uncordoned());
  EXPECT_EQ(paris.Server().intent(), v1::SERVER_INTENT_PROVISIONABLE);
}

TEST(Intent, ACordonThatWouldEndAsItBeginsIsRefused) {
  Paris paris;
  paris.Serve();
  paris.At("2026-11-24T06:00:00Z");
  EXPECT_THAT(paris.When(R"(cordon_server { name: "sites/paris/servers/a" reason: "w"
                until { seconds: 1795500000 } })"),
              IsRefused(v1::REASON_TIME));
}

// The command of a timer is decided a little later than it was due.
TEST(Intent, ATimerLiftsNoOtherCordonThanItsOwn) {
  Paris paris;
  paris.Serve();
  paris.When(R"(cordon_server { name: "sites/paris/servers/a" reason: "w"
                until { seconds: 1795500000 } })");
  const auto due = paris.At("2026-11-24T06:00:00Z").DueAt("2026-11-24T06:00:00Z");
  ASSERT_EQ(due.size(), 1);
  paris.When(R"(uncordon_server { name: "sites/paris/servers/a" })", "by-hand");
  for (const char* until : {"", "until { seconds: 1795600000 }"}) {
    paris.When(
        fmt::format(R"(cordon_server {{ name: "sites/paris/servers/a" reason: "x" {} }})", until),
        std::string("again") + until);
    EXPECT_THAT(paris.When(due[0].command, std::string("timer") + until, "system:inventory"),
                IsRefused(v1::REASON_TIME));
    EXPECT_TRUE(paris.Server().cordoned());
    EXPECT_TRUE(paris
                    .When(R"(uncordon_server { name: "sites/paris/servers/a" })",
                          std::string("lift") + until)
                    .has_server_uncordoned());
  }
}

TEST(Intent, WhatIsWithdrawnNeverEntersServiceAgain) {
  Paris paris;
  paris.Serve();
  const char withdraw[] = R"(withdraw_server { name: "sites/paris/servers/a" reason: "old" })";
  EXPECT_THAT(paris.When(withdraw), HasText(R"(server_withdrawn { in_service: true })"));
  EXPECT_THAT(paris.When(withdraw), IsRefused(v1::REASON_WITHDRAWN));
  EXPECT_THAT(paris.When(R"(cordon_server { name: "sites/paris/servers/a" reason: "w" })"),
              IsRefused(v1::REASON_WITHDRAWN));
  EXPECT_EQ(paris.Server().state(), v1::SERVER_STATE_IN_SERVICE) << "what runs goes on";
  paris.When(R"(leave_service { name: "sites/paris/servers/a" reason: "old" })");
  paris.When(kGood);
  EXPECT_THAT(paris.When(kEnter), IsRefused(v1::REASON_WITHDRAWN));
}

TEST(Retirement, FreesThePlaceAndKeepsNameAndSerialForEver) {
  Paris paris;
  paris.Build();
  paris.When(R"(retire_server { name: "sites/paris/servers/a" reason: "old" })");
  EXPECT_EQ(paris.Server().intent(), v1::SERVER_INTENT_WITHDRAWN);
  paris.When(R"(sanitise_server { name: "sites/paris/servers/a"
    method: SANITISATION_METHOD_NEVER_HELD_DATA })");
  EXPECT_TRUE(
      paris.When(R"(remove_server { name: "sites/paris/servers/a" })").has_server_retired());
  EXPECT_EQ(paris.Server().rack(), "");
  EXPECT_THAT(paris.Order("a"), IsRefused(v1::REASON_ALREADY_EXISTS));
  paris.Order("b");
  EXPECT_THAT(paris.Deliver("b", "SN-a"), IsRefused(v1::REASON_SERIAL_TAKEN));
  paris.Deliver("b", "SN-b");
  EXPECT_TRUE(paris.Install("b", 1).has_server_installed());
}

}  // namespace
}  // namespace concordat::inventory
