#include <fmt/format.h>

#include "services/inventory/service.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

using test::EqualsText;
using test::HasText;
using testing::HasSubstr;

using Scenario = test::Scenario<Service>;

constexpr char kModel[] = R"(register_model {
  name: "models/nvl144" vendor: "Nvidia" accelerators: 144 it_power_watts: 190000 cooling_watts: 180000
  criteria { figure: "gemm" minimum: 100 maximum: 200 unit: "tflops" }
  criteria { figure: "gpu_temperature" minimum: 0 maximum: 85 unit: "celsius" }
})";
constexpr char kOrder[] = R"(order_server {
  name: "sites/paris/servers/a01-01" model: "models/nvl144" supplier: "Dell"
  promised_time { seconds: 1800000000 }
})";
constexpr char kGoodTest[] = R"(test_server {
  name: "sites/paris/servers/a01-01"
  figures { name: "gemm" value: 150 unit: "tflops" } figures { name: "gpu_temperature" value: 85 unit: "celsius" }
})";
constexpr char kEnter[] = R"(enter_service { name: "sites/paris/servers/a01-01" })";
constexpr char kLeave[] =
    R"(leave_service { name: "sites/paris/servers/a01-01" reason: "failed" })";
constexpr char kCordon[] =
    R"(cordon_server { name: "sites/paris/servers/a01-01" reason: "noisy fan" })";
constexpr char kUncordon[] = R"(uncordon_server { name: "sites/paris/servers/a01-01" })";

struct OpenParis : Scenario {
  OpenParis() {
    At("2026-11-23T12:00:00Z").Given(R"(site_opened {
      name: "sites/paris" country: "FR" time_zone: "Europe/Paris" certifications: "HDS" })");
  }
};

void Order(Scenario& scenario) {
  scenario.When(kModel);
  scenario.When(kOrder);
}
void Install(Scenario& scenario) {
  Order(scenario);
  scenario.When(R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "SN1" })");
  scenario.When(
      R"(install_server { name: "sites/paris/servers/a01-01" room: "r1" rack: "a01" position: 1 })");
}
void PutIntoService(Scenario& scenario) {
  Install(scenario);
  scenario.When(kGoodTest);
  scenario.When(kEnter);
}

v1::Server ServerOf(Scenario& scenario, const std::string& id = "a01-01") {
  return scenario.state().rows.servers.Get("sites/paris/servers/" + id).value_or(v1::Server());
}

std::string RefusalFor(v1::Reason reason) {
  return fmt::format("command_refused {{ reason: {} }}", v1::Reason_Name(reason));
}

TEST(Inventory, OpensItsOwnSiteOnce) {
  Scenario scenario;
  const std::string open = R"(open_site {
    name: "sites/paris" country: "FR" time_zone: "Europe/Paris" certifications: "HDS" })";
  EXPECT_THAT(scenario.When(open), EqualsText(R"(site_opened {
    name: "sites/paris" country: "FR" time_zone: "Europe/Paris" certifications: "HDS" })"));
  EXPECT_THAT(scenario.When(open), EqualsText(R"(command_refused {
    command: "concordat.inventory.v1.OpenSiteRequest" reason: REASON_ALREADY_EXISTS
    detail: "sites/paris is open already." })"));
  EXPECT_THAT(
      scenario.When(
          R"(open_site { name: "sites/borlange" country: "SE" time_zone: "Europe/Stockholm" })"),
      HasText(RefusalFor(v1::REASON_NOT_HOME)));
}

TEST(Inventory, BeginsWithItsSite) {
  Scenario scenario;
  for (const char* command :
       {kModel, kOrder, kGoodTest, kEnter,
        R"(set_envelope { site: "sites/paris" effective_from { seconds: 1 } })"}) {
    EXPECT_THAT(scenario.When(command), HasText(RefusalFor(v1::REASON_NOT_FOUND))) << command;
  }
}

TEST(Inventory, DecidesOnlyAboutItsOwnSite) {
  OpenParis scenario;
  Order(scenario);
  for (
      const char* command :
      {R"(order_server { name: "sites/borlange/servers/a" model: "models/nvl144" promised_time { seconds:
          1800000000 } })",
       R"(deliver_server { name: "sites/borlange/servers/a" serial: "1" })",
       R"(set_envelope { site: "sites/borlange" effective_from { seconds: 1800000000 } })",
       R"(enter_service { name: "sites/borlange/servers/a" })"}) {
    EXPECT_THAT(scenario.When(command), HasText(RefusalFor(v1::REASON_NOT_HOME))) << command;
  }
}

TEST(Inventory, SetsTheEnvelopeFromADayAgoOnAndNotBefore) {
  OpenParis scenario;
  // 2026-11-22T12:00:00Z is exactly a day ago.
  EXPECT_THAT(scenario.When(R"(set_envelope {
      site: "sites/paris" effective_from { seconds: 1795348800 } it_power_watts: 10 cooling_watts: 9 })"),
              EqualsText(R"(envelope_set {
      site: "sites/paris" effective_from { seconds: 1795348800 } it_power_watts: 10 cooling_watts: 9 })"));
  EXPECT_THAT(scenario.When(R"(set_envelope {
      site: "sites/paris" effective_from { seconds: 1795348799 } it_power_watts: 10 cooling_watts: 9 })"),
              HasText(RefusalFor(v1::REASON_TIME)));
}

TEST(Inventory, KeepsEnvelopeStepsInOrderAndReplacesEqualOnes) {
  OpenParis scenario;
  for (const int64_t day : {3, 1, 2, 1}) {
    scenario.When(fmt::format(
        R"(set_envelope {{ site: "sites/paris" effective_from {{ seconds: {} }}
                                 it_power_watts: {} }})",
        1800000000 + day * 86400, scenario.state().rows.sites.Get("sites/paris")->envelope_size()));
  }
  EXPECT_THAT(*scenario.state().rows.sites.Get("sites/paris"), HasText(R"(
    envelope { effective_from { seconds: 1800086400 } it_power_watts: 3 }
    envelope { effective_from { seconds: 1800172800 } it_power_watts: 2 }
    envelope { effective_from { seconds: 1800259200 } it_power_watts: 0 })"));
  EXPECT_EQ(scenario.state().rows.sites.Get("sites/paris")->envelope_size(), 3);
}

TEST(Inventory, RegistersAModelOnce) {
  OpenParis scenario;
  EXPECT_THAT(scenario.When(kModel),
              HasText(R"(model_registered { name: "models/nvl144" accelerators: 144
    it_power_watts: 190000 cooling_watts: 180000 criteria { figure: "gemm" } criteria { figure:
        "gpu_temperature" } })"));
  EXPECT_THAT(scenario.When(kModel), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(Inventory, OrdersOnlyKnownModelsOnceAndForTheFuture) {
  OpenParis scenario;
  EXPECT_THAT(scenario.When(kOrder), HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  scenario.When(kModel);
  scenario.At("2028-01-01T00:00:00Z");
  EXPECT_THAT(scenario.When(kOrder), HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_EQ(ServerOf(scenario).name(), "");
  scenario.At("2026-11-23T12:00:00Z");
  EXPECT_THAT(scenario.When(kOrder),
              HasText(R"(server_ordered { name: "sites/paris/servers/a01-01" })"));
  EXPECT_THAT(scenario.When(kOrder), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(Inventory, RefusesServersItDoesNotKnow) {
  OpenParis scenario;
  for (
      const char* command :
      {kGoodTest, kEnter, kLeave, kCordon, kUncordon,
       R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "1" })",
       R"(install_server { name: "sites/paris/servers/a01-01" room: "r" rack: "a" position: 1 })"}) {
    EXPECT_THAT(scenario.When(command), HasText(RefusalFor(v1::REASON_NOT_FOUND))) << command;
  }
}

TEST(Inventory, GivesNoSerialNumberTwice) {
  OpenParis scenario;
  Install(scenario);
  scenario.When(
      R"(order_server { name: "sites/paris/servers/b" model: "models/nvl144" promised_time { seconds: 1800000000 } })");
  const auto refused =
      scenario.When(R"(deliver_server { name: "sites/paris/servers/b" serial: "SN1" })");
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_SERIAL_TAKEN)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("sites/paris/servers/a01-01"));
  EXPECT_EQ(ServerOf(scenario, "b").state(), v1::SERVER_STATE_ORDERED);
}

TEST(Inventory, GivesNoRackPositionTwice) {
  OpenParis scenario;
  Install(scenario);
  scenario.When(
      R"(order_server { name: "sites/paris/servers/b" model: "models/nvl144" promised_time { seconds: 1800000000 } })");
  scenario.When(R"(deliver_server { name: "sites/paris/servers/b" serial: "SN2" })");
  EXPECT_THAT(
      scenario.When(
          R"(install_server { name: "sites/paris/servers/b" room: "r1" rack: "a01" position: 1 })"),
      HasText(RefusalFor(v1::REASON_POSITION_TAKEN)));
  EXPECT_THAT(
      scenario.When(
          R"(install_server { name: "sites/paris/servers/b" room: "r2" rack: "a01" position: 1 })"),
      HasText(R"(server_installed { room: "r2" position: 1 })"));
}

TEST(Inventory, TellsRackPositionsApartWhateverTheirNames) {
  EXPECT_NE(PositionKey("r1", "1", 11), PositionKey("r1", "11", 1));
  EXPECT_NE(PositionKey("r1", "1", 1), PositionKey("r", "11", 1));
}

TEST(Inventory, LetsNoServerIntoServiceWithoutItsPassedTest) {
  OpenParis scenario;
  Order(scenario);
  EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_TEST_NOT_PASSED)));
  scenario.When(R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "SN1" })");
  EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_TEST_NOT_PASSED)));
  scenario.When(
      R"(install_server { name: "sites/paris/servers/a01-01" room: "r1" rack: "a01" position: 1 })");
  EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_TEST_NOT_PASSED)));
  scenario.When(
      R"(test_server { name: "sites/paris/servers/a01-01" figures { name: "gemm" value: 1 unit: "tflops" } })");
  EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_TEST_NOT_PASSED)));
  scenario.When(kGoodTest);
  EXPECT_THAT(scenario.When(kEnter), EqualsText(R"(server_entered_service {
    name: "sites/paris/servers/a01-01" model: "models/nvl144" it_power_watts: 190000 cooling_watts: 180000
    accelerators: 144 room: "r1" rack: "a01" position: 1 })"));
  EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(Inventory, KeepsAServersPlaceAndSaysItWhereItEntersService) {
  OpenParis scenario;
  Order(scenario);
  scenario.When(R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "SN1" })");
  EXPECT_THAT(
      scenario.When(R"(install_server { name: "sites/paris/servers/a01-01" room: "r1" rack: "a01"
      position: 7 nvlink_domain: "nvl-3" power_feed: "feed-a" })"),
      EqualsText(R"(server_installed { name: "sites/paris/servers/a01-01" room: "r1" rack: "a01"
      position: 7 nvlink_domain: "nvl-3" power_feed: "feed-a" })"));
  EXPECT_THAT(ServerOf(scenario),
              HasText(R"(room: "r1" rack: "a01" position: 7 nvlink_domain: "nvl-3"
      power_feed: "feed-a")"));
  scenario.When(kGoodTest);
  EXPECT_THAT(scenario.When(kEnter),
              HasText(R"(server_entered_service { room: "r1" rack: "a01" position: 7
      nvlink_domain: "nvl-3" power_feed: "feed-a" })"));
}

TEST(Inventory, JudgesABurnInByEveryCriterion) {
  OpenParis scenario;
  Install(scenario);
  EXPECT_THAT(scenario.When(R"(test_server { name: "sites/paris/servers/a01-01"
                figures { name: "gemm" value: 99 unit: "tflops" }
                figures { name: "gpu_temperature" value: 40 unit: "kelvin" } })"),
              HasText(R"(burn_in_failed { name: "sites/paris/servers/a01-01"
                criteria { figure: "gemm" } criteria { figure: "gpu_temperature" }
                shortfalls: "gemm: found 99 tflops, expected 100 to 200 tflops"
                shortfalls: "gpu_temperature: found 40 kelvin, expected 0 to 85 celsius" })"));
  EXPECT_THAT(
      ServerOf(scenario),
      HasText(R"(state: SERVER_STATE_TEST_FAILED figures { value: 99 } figures { value: 40 })"));
  EXPECT_EQ(ServerOf(scenario).shortfalls_size(), 2);
  EXPECT_THAT(scenario.When(kGoodTest),
              HasText(R"(burn_in_passed { figures { value: 150 } figures { value: 85 }
                criteria { figure: "gemm" } criteria { figure: "gpu_temperature" } })"));
  EXPECT_EQ(ServerOf(scenario).state(), v1::SERVER_STATE_QUALIFIED);
  EXPECT_EQ(ServerOf(scenario).shortfalls_size(), 0);
}

TEST(Inventory, TakesBoundsInclusively) {
  const auto model =
      test::Parse<v1::Model>(R"(criteria { figure: "x" minimum: 100 maximum: 200 unit: "u" })");
  const auto shortfalls = [&](int64_t value) {
    const auto test = test::Parse<v1::Server>(
        fmt::format(R"(figures {{ name: "x" value: {} unit: "u" }})", value));
    return Shortfalls(model.criteria(), test.figures());
  };
  EXPECT_THAT(shortfalls(99), testing::SizeIs(1));
  EXPECT_THAT(shortfalls(100), testing::IsEmpty());
  EXPECT_THAT(shortfalls(200), testing::IsEmpty());
  EXPECT_THAT(shortfalls(201), testing::SizeIs(1));
}

TEST(Inventory, AcceptsNeitherMissingNorDoubledFiguresNorWantOfCriteria) {
  const auto model =
      test::Parse<v1::Model>(R"(criteria { figure: "x" minimum: 1 maximum: 2 unit: "u" })");
  const auto doubled = test::Parse<v1::Server>(
      R"(figures { name: "x" value: 1 unit: "u" } figures { name: "x" value: 1 unit: "u" })");
  EXPECT_THAT(Shortfalls(model.criteria(), {}),
              testing::ElementsAre("x: found nothing, expected 1 to 2 u"));
  EXPECT_THAT(Shortfalls(model.criteria(), doubled.figures()),
              testing::ElementsAre("x: found 2 times, expected 1 to 2 u once"));
  EXPECT_THAT(Shortfalls({}, doubled.figures()), testing::SizeIs(1));
}

TEST(Inventory, TestsOnlyServersThatStandAndDoNotServe) {
  OpenParis scenario;
  Order(scenario);
  EXPECT_THAT(scenario.When(kGoodTest), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  scenario.When(R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "SN1" })");
  EXPECT_THAT(scenario.When(kGoodTest), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  scenario.When(
      R"(install_server { name: "sites/paris/servers/a01-01" room: "r1" rack: "a01" position: 1 })");
  EXPECT_TRUE(scenario.When(kGoodTest).has_burn_in_passed());
  EXPECT_TRUE(scenario.When(kGoodTest).has_burn_in_passed())
      << "a qualified server may be tested again";
  scenario.When(kEnter);
  EXPECT_THAT(scenario.When(kGoodTest), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(Inventory, ARequalifyingTestThatFailsTakesTheQualificationAway) {
  OpenParis scenario;
  Install(scenario);
  scenario.When(kGoodTest);
  scenario.When(
      R"(test_server { name: "sites/paris/servers/a01-01" figures { name: "gemm" value: 1 unit: "tflops" } })");
  EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_TEST_NOT_PASSED)));
}

TEST(Inventory, CordonsAndUncordonsWhateverTheState) {
  OpenParis scenario;
  PutIntoService(scenario);
  EXPECT_THAT(scenario.When(kUncordon), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(
      scenario.When(kCordon),
      EqualsText(R"(server_cordoned { name: "sites/paris/servers/a01-01" reason: "noisy fan" })"));
  EXPECT_THAT(ServerOf(scenario),
              HasText(R"(state: SERVER_STATE_IN_SERVICE cordoned: true intent_reason: "noisy fan"
                intent: SERVER_INTENT_NON_PROVISIONABLE)"));
  EXPECT_THAT(scenario.When(kCordon), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(scenario.When(kUncordon),
              EqualsText(R"(server_uncordoned { name: "sites/paris/servers/a01-01" })"));
  EXPECT_FALSE(ServerOf(scenario).cordoned());
  EXPECT_EQ(ServerOf(scenario).intent_reason(), "");
}

TEST(Inventory, TestsAgainWhatLeftService) {
  for (const bool cordoned : {false, true}) {
    OpenParis scenario;
    PutIntoService(scenario);
    if (cordoned) scenario.When(kCordon);
    EXPECT_THAT(
        scenario.When(kLeave),
        EqualsText(
            R"(server_left_service { name: "sites/paris/servers/a01-01" reason: "failed" })"));
    EXPECT_THAT(ServerOf(scenario),
                HasText(R"(state: SERVER_STATE_OUT_OF_SERVICE reason: "failed")"));
    EXPECT_EQ(ServerOf(scenario).cordoned(), cordoned) << "intent is another axis";
    EXPECT_THAT(scenario.When(kLeave), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
    EXPECT_THAT(scenario.When(kEnter), HasText(RefusalFor(v1::REASON_TEST_NOT_PASSED)));
    EXPECT_TRUE(scenario.When(kGoodTest).has_burn_in_passed());
    EXPECT_EQ(scenario.When(kEnter).server_entered_service().cordoned(), cordoned);
    EXPECT_EQ(ServerOf(scenario).reason(), "");
  }
}

TEST(Inventory, DeliversAndInstallsOnce) {
  OpenParis scenario;
  Order(scenario);
  EXPECT_THAT(
      scenario.When(
          R"(install_server { name: "sites/paris/servers/a01-01" room: "r" rack: "a" position: 1 })"),
      HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_TRUE(scenario.When(R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "1" })")
                  .has_server_delivered());
  EXPECT_THAT(scenario.When(R"(deliver_server { name: "sites/paris/servers/a01-01" serial: "2" })"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

TEST(Inventory, ARefusedCommandChangesNothing) {
  OpenParis scenario;
  PutIntoService(scenario);
  scenario.journal().Commit(1000, [](const storage::Change&) {});
  EXPECT_TRUE(scenario.journal().empty());
  EXPECT_TRUE(scenario.When(kEnter).has_command_refused());
  EXPECT_TRUE(scenario.When(kModel).has_command_refused());
  EXPECT_TRUE(scenario.journal().empty());
}

TEST(Inventory, SurvivesEventsOfServersAndSitesItDoesNotKnow) {
  Scenario scenario;
  for (const char* event :
       {R"(server_cordoned { name: "sites/x/servers/y" })", R"(burn_in_failed { name: "" })",
        R"(envelope_set { site: "sites/x" })", R"(server_installed {})", "",
        R"(server_left_service { name: "sites/x/servers/z" })"}) {
    scenario.Given(event);
  }
  EXPECT_TRUE(scenario.state().rows.servers.Get("sites/x/servers/y")->cordoned());
}

}  // namespace
}  // namespace concordat::inventory
