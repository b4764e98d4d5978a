#include "tests/services/deployment/histories.h"

namespace concordat::deployment {
namespace {

using test::EqualsText;
using test::HasText;

constexpr char kWindow[] = "sites/paris/windows/w";
constexpr char kDrain[] =
    R"(drain_servers { window: "sites/paris/windows/w" servers: "sites/paris/servers/a02" })";
constexpr char kReturn[] = R"(return_servers { window: "sites/paris/windows/w" })";
constexpr char kDeployDrained[] =
    R"(deploy { artefact: "artefacts/open-70b" reservation: "sites/paris/reservations/r-1" })";
constexpr char kRemoved[] = R"(record_removal { name: "sites/paris/deployments/d-1" attempt: 1 })";

v1::Event Removed(Scenario& scenario) { return scenario.When(kRemoved, "removed"); }

// What ran on the reservation's servers, and was removed for the window.
void GivenDrained(Scenario& scenario) {
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kDrain);
  Removed(scenario);
}

// Decides the only command that follows.
v1::Event Follow(Scenario& scenario) {
  const auto intents = scenario.Reactions();
  EXPECT_EQ(intents.size(), 1u);
  return intents.empty() ? v1::Event() : scenario.When(intents[0].command, intents[0].kind);
}

TEST(Drains, WhatRunsOnAWindowsServersIsRemovedAsAWhole) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  EXPECT_THAT(scenario.When(kDrain),
              EqualsText(R"(servers_draining { window: "sites/paris/windows/w"
      servers: "sites/paris/servers/a02" deployments: "sites/paris/deployments/d-1" })"));
  EXPECT_EQ(StateOf(scenario), "REMOVING");
  EXPECT_TRUE(scenario.Reactions().empty());
  EXPECT_TRUE(Removed(scenario).has_model_removed());
  EXPECT_THAT(Follow(scenario), HasText(R"(servers_drained { window: "sites/paris/windows/w" })"));
}

TEST(Drains, ServersOnWhichNothingRunsAreDrainedAtOnce) {
  Scenario scenario;
  GivenAReservation(scenario);
  scenario.When(kDrain);
  EXPECT_TRUE(Follow(scenario).has_servers_drained());
}

TEST(Drains, OtherServersGoOn) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(
      R"(drain_servers { window: "sites/paris/windows/w" servers: "sites/paris/servers/a07" })");
  EXPECT_EQ(StateOf(scenario), "RUNNING");
}

TEST(Drains, WhatWaitsForComplianceIsTakenAlongAndClearedNoMore) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario);
  scenario.When(kDrain);
  EXPECT_EQ(StateOf(scenario), "REMOVING");
  EXPECT_THAT(scenario.When(R"(clear_deployment { name: "sites/paris/deployments/d-1" })", "clear"),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
}

TEST(Drains, NothingIsPutOnServersThatAreWorkedOn) {
  Scenario scenario;
  GivenAReservation(scenario);
  scenario.When(kDrain);
  EXPECT_THAT(scenario.When(kDeployDrained, "deploy"),
              HasText("command_refused { reason: REASON_MAINTENANCE }"));
  scenario.When(kReturn, "return");
  EXPECT_TRUE(scenario.When(kDeployDrained, "again").has_deployment_requested());
}

TEST(Drains, AfterTheWindowWhatRanIsAskedForAgain) {
  Scenario scenario;
  GivenDrained(scenario);
  Follow(scenario);
  EXPECT_THAT(scenario.When(kReturn, "return"), EqualsText(R"(servers_returned {
      window: "sites/paris/windows/w" deployments: "sites/paris/deployments/d-1" })"));
  EXPECT_THAT(Follow(scenario), HasText(R"(deployment_requested {
      artefact { name: "artefacts/open-70b" } reservation: "sites/paris/reservations/r-1"
      servers: "sites/paris/servers/a01" servers: "sites/paris/servers/a02" customer: "customers/sap"
      continues: "sites/paris/deployments/d-1" })"));
}

constexpr char kMoved[] = R"(join_servers { reservation: "sites/paris/reservations/r-1"
    servers: "sites/paris/servers/a03" replaced_servers: "sites/paris/servers/a02" })";

TEST(Drains, WhatIsMovedGoesOnElsewhereAtOnceAndIsNotPutBack) {
  Scenario scenario;
  GivenDrained(scenario);
  Follow(scenario);
  EXPECT_TRUE(scenario.When(kMoved, "moved").has_servers_joined());
  const auto intents = scenario.Reactions();
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_THAT(scenario.When(intents[0].command, "redeploy"), HasText(R"(deployment_requested {
      servers: "sites/paris/servers/a01" servers: "sites/paris/servers/a03"
      continues: "sites/paris/deployments/d-1" })"));
  EXPECT_THAT(scenario.When(intents[0].command, "twice"),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
  EXPECT_THAT(scenario.When(kReturn, "return"),
              EqualsText(R"(servers_returned { window: "sites/paris/windows/w" })"));
}

TEST(Drains, WhatIsMovedIntoAnotherWindowWaits) {
  Scenario scenario;
  GivenDrained(scenario);
  scenario.When(
      R"(drain_servers { window: "sites/paris/windows/x" servers: "sites/paris/servers/a03" })",
      "x");
  scenario.When(kMoved, "moved");
  EXPECT_TRUE(scenario.Reactions().empty());
}

TEST(Drains, WhatWaitsForAnotherWindowIsPutBackOnceThatIsOverToo) {
  Scenario scenario;
  GivenDrained(scenario);
  EXPECT_THAT(
      scenario.When(
          R"(drain_servers { window: "sites/paris/windows/x" servers: "sites/paris/servers/a01" })",
          "x"),
      EqualsText(R"(servers_draining { window: "sites/paris/windows/x"
          servers: "sites/paris/servers/a01" })"))
      << "nothing runs there any more";
  scenario.When(kReturn, "return");
  EXPECT_THAT(Follow(scenario), HasText("command_refused { reason: REASON_MAINTENANCE }"));
  EXPECT_THAT(scenario.When(R"(return_servers { window: "sites/paris/windows/x" })", "return-x"),
              EqualsText(R"(servers_returned { window: "sites/paris/windows/x" })"));
  EXPECT_THAT(Follow(scenario), HasText(R"(deployment_requested {
      reservation: "sites/paris/reservations/r-1" continues: "sites/paris/deployments/d-1" })"));
}

TEST(Drains, WhatWaitsForAnotherWindowGoesOnWhereItIsMovedOutOfThatOne) {
  Scenario scenario;
  GivenDrained(scenario);
  scenario.When(
      R"(drain_servers { window: "sites/paris/windows/x" servers: "sites/paris/servers/a01" })",
      "x");
  scenario.When(kReturn, "return");
  scenario.When(R"(join_servers { reservation: "sites/paris/reservations/r-1"
    servers: "sites/paris/servers/a03" replaced_servers: "sites/paris/servers/a01" })",
                "moved");
  const auto intents = scenario.Reactions();
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_TRUE(scenario.When(intents[0].command, "redeploy").has_deployment_requested());
}

// Its reservation has another server in its place, and somebody else gets it.
TEST(Drains, WhatRunsIsOnNoServerThatWasReplacedMeanwhile) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kMoved, "replaced");
  EXPECT_THAT(*scenario.state().rows.deployments.Get("sites/paris/deployments/d-1"),
              HasText(R"(state: DEPLOYMENT_STATE_RUNNING servers: "sites/paris/servers/a01")"));
  EXPECT_THAT(scenario.When(kDrain), EqualsText(R"(servers_draining {
      window: "sites/paris/windows/w" servers: "sites/paris/servers/a02" })"));
  EXPECT_TRUE(Follow(scenario).has_servers_drained());
}

TEST(Drains, WhatIsRemovedLateIsPutBackAfterItsRemoval) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kDrain);
  scenario.When(kReturn, "return");
  EXPECT_TRUE(scenario.Reactions().empty()) << "it may still be there";
  Removed(scenario);
  const auto intents = scenario.Reactions();
  ASSERT_EQ(intents.size(), 1u)
      << "that its servers are drained is nothing to a window that is over";
  EXPECT_TRUE(scenario.When(intents[0].command, "redeploy").has_deployment_requested());
}

TEST(Drains, WhatFailedBeforeIsRemovedAndNotPutBack) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  scenario.Given(
      R"(placement_failed { name: "sites/paris/deployments/d-1" attempt: 3 given_up: true })");
  EXPECT_THAT(scenario.When(kDrain),
              HasText(R"(servers_draining { remnants: "sites/paris/deployments/d-1" })"));
  Removed(scenario);
  EXPECT_TRUE(Follow(scenario).has_servers_drained());
  const v1::Event returned = scenario.When(kReturn, "return");
  EXPECT_EQ(returned.servers_returned().deployments_size(), 0) << returned.ShortDebugString();
}

TEST(Drains, WhereTheReservationIsOverItIsSaidThatNothingIsPutBack) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kDrain);
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })", "vacate");
  EXPECT_THAT(scenario.When(kReturn, "return"), EqualsText(R"(servers_returned {
      window: "sites/paris/windows/w" over: "sites/paris/deployments/d-1" })"));
  Removed(scenario);
  for (const auto& intent : scenario.Reactions()) EXPECT_NE(intent.kind, "redeploy");
}

TEST(Drains, AReservationThatEndedMeanwhileIsNotGivenItsModelBack) {
  Scenario scenario;
  GivenDrained(scenario);
  scenario.When(kReturn, "return");
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })", "vacate");
  EXPECT_THAT(scenario.When(R"(redeploy { deployment: "sites/paris/deployments/d-1" })", "late"),
              HasText("command_refused { reason: REASON_RESERVATION_NOT_ACTIVE }"));
}

TEST(Drains, CommandsThatComeTwiceOrTooEarlyAreRefused) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  const std::string confirm = R"(confirm_drained { window: "sites/paris/windows/w" })";
  EXPECT_THAT(scenario.When(kReturn, "a"), HasText("command_refused { reason: REASON_NOT_FOUND }"));
  EXPECT_THAT(scenario.When(confirm, "b"), HasText("command_refused { reason: REASON_NOT_FOUND }"));
  scenario.When(kDrain, "c");
  EXPECT_THAT(scenario.When(kDrain, "d"),
              HasText("command_refused { reason: REASON_ALREADY_EXISTS }"));
  EXPECT_THAT(scenario.When(confirm, "e"),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
  EXPECT_THAT(scenario.When(R"(redeploy { deployment: "sites/paris/deployments/d-1" })", "f"),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
  Removed(scenario);
  EXPECT_TRUE(scenario.When(confirm, "g").has_servers_drained());
  EXPECT_THAT(scenario.When(confirm, "h"),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
  scenario.When(kReturn, "i");
  EXPECT_THAT(scenario.When(kReturn, "j"),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
}

TEST(Drains, AnOpenedWindowDrainsAndOneThatIsOverReturns) {
  Scenario scenario;
  const auto react = [&](const std::string& text) {
    return scenario.ReactionsTo(test::Parse<inventory::v1::Event>(text));
  };
  const auto drain = react(
      R"(window_opened { name: "sites/paris/windows/w" servers: "sites/paris/servers/a02" })");
  ASSERT_EQ(drain.size(), 1u);
  EXPECT_THAT(drain[0].command, EqualsText(kDrain));
  for (const char* over : {"window_closed", "window_aborted"}) {
    const auto returned = react(std::string(over) + " { name: \"" + kWindow + "\" }");
    ASSERT_EQ(returned.size(), 1u) << over;
    EXPECT_THAT(returned[0].command, EqualsText(kReturn));
  }
  EXPECT_TRUE(react(R"(window_announced { name: "sites/paris/windows/w" })").empty());
}

}  // namespace
}  // namespace concordat::deployment
