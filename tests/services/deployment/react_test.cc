#include "tests/services/deployment/histories.h"

namespace concordat::deployment {
namespace {

using test::EqualsText;

TEST(DeploymentReactions, AStartedReservationIsRecorded) {
  const auto started = test::Parse<reservations::v1::Event>(R"(reservation_started {
      name: "sites/paris/reservations/r-1" customer: "customers/sap"
      servers: "s1" servers: "s2" end_time { seconds: 9 } })");
  const Intents intents = Scenario().ReactionsTo(started);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].kind, "record");
  EXPECT_EQ(intents[0].subject, kReservation);
  EXPECT_THAT(intents[0].command, EqualsText(R"(record_reservation { reservation {
      reservation: "sites/paris/reservations/r-1" customer: "customers/sap" servers: "s1" servers: "s2" } })"));
}

TEST(DeploymentReactions, WhatIsReleasedOrRevokedInUseIsVacatedAsAtAnEnd) {
  test::Scenario<Service> scenario;
  for (const char* text :
       {R"(reservation_released { name: "sites/paris/reservations/r-1" })",
        R"(reservation_revoked { name: "sites/paris/reservations/r-1" vacates: true })"}) {
    const auto intents = scenario.ReactionsTo(test::Parse<reservations::v1::Event>(text));
    ASSERT_EQ(intents.size(), 1u) << text;
    EXPECT_EQ(intents[0].command.vacate_reservation().reservation(),
              "sites/paris/reservations/r-1");
  }
  EXPECT_TRUE(scenario
                  .ReactionsTo(test::Parse<reservations::v1::Event>(
                      R"(reservation_revoked { name: "sites/paris/reservations/r-1" })"))
                  .empty())
      << "what never started carries nothing";
}

TEST(DeploymentReactions, ServersThatReplaceLostOnesJoinAUseThatRunsAndNoOther) {
  Scenario scenario;
  EXPECT_TRUE(scenario
                  .ReactionsTo(test::Parse<reservations::v1::Event>(
                      R"(servers_reassigned { reservation: "sites/paris/reservations/r-1"
                           removed: "s1" added: "s3" })"))
                  .empty());
  const Intents intents = scenario.ReactionsTo(test::Parse<reservations::v1::Event>(
      R"(servers_reassigned { reservation: "sites/paris/reservations/r-1" removed: "s1" added: "s3"
           in_use: true })"));
  ASSERT_EQ(intents.size(), 1u);
  scenario.Given(R"(reservation_recorded { reservation: "sites/paris/reservations/r-1"
                      customer: "customers/sap" servers: "s1" servers: "s2" })");
  EXPECT_THAT(scenario.When(intents[0].command),
              EqualsText(R"(servers_joined { reservation: "sites/paris/reservations/r-1"
                              servers: "s3" replaced_servers: "s1" })"));
  EXPECT_THAT(scenario.state().rows.deployment_reservations.Get(kReservation)->servers(),
              testing::ElementsAre("s2", "s3"));
}

TEST(DeploymentReactions, AnEndingReservationIsVacated) {
  const auto ending = test::Parse<reservations::v1::Event>(
      R"(reservation_ending { name: "sites/paris/reservations/r-1" })");
  const Intents intents = Scenario().ReactionsTo(ending);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_THAT(intents[0].command,
              EqualsText(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })"));
}

TEST(DeploymentReactions, AClearedArtefactIsPlaced) {
  const auto judged = test::Parse<compliance::v1::Event>(
      R"(artefact_judged { deployment: "sites/paris/deployments/d-1" artefact: "a" verdict: VERDICT_CLEARED })");
  const Intents intents = Scenario().ReactionsTo(judged);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].subject, "sites/paris/deployments/d-1");
  EXPECT_THAT(intents[0].command,
              EqualsText(R"(clear_deployment { name: "sites/paris/deployments/d-1" })"));
}

TEST(DeploymentReactions, AProhibitedArtefactEndsWithTheRulesThatProhibitIt) {
  const auto judged = test::Parse<compliance::v1::Event>(R"(artefact_judged {
      deployment: "sites/paris/deployments/d-1" verdict: VERDICT_PROHIBITED
      findings { rule: "rules/licence" version: 2 outcome: FINDING_OUTCOME_VIOLATED effect: EFFECT_DENY
                 title: "A listed licence." citation { instrument: "Policy" article: "Licences" } }
      findings { rule: "rules/warning" version: 1 outcome: FINDING_OUTCOME_VIOLATED effect: EFFECT_WARN }
      findings { rule: "rules/fine" version: 1 outcome: FINDING_OUTCOME_SATISFIED effect: EFFECT_DENY }
      findings { rule: "rules/origin" version: 1 outcome: FINDING_OUTCOME_UNEVALUABLE effect: EFFECT_DENY
                 title: "A known origin." citation { instrument: "Act" article: "5" } } })");
  const Intents intents = Scenario().ReactionsTo(judged);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].command.prohibit_deployment().detail(),
            "rules/licence version 2: A listed licence. (Policy, Licences); "
            "rules/origin version 1 could not be evaluated: A known origin. (Act, 5)");
}

TEST(DeploymentReactions, WhatIsNotClearedIsProhibited) {
  const auto judged =
      test::Parse<compliance::v1::Event>(R"(artefact_judged { deployment: "d" verdict: 77 })");
  const Intents intents = Scenario().ReactionsTo(judged);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_TRUE(intents[0].command.has_prohibit_deployment());
  EXPECT_NE(intents[0].command.prohibit_deployment().detail(), "");
}

TEST(DeploymentReactions, NothingElseLeadsToAnything) {
  Scenario scenario;
  EXPECT_TRUE(
      scenario.ReactionsTo(test::Parse<reservations::v1::Event>("reservation_held {}")).empty());
  EXPECT_TRUE(
      scenario.ReactionsTo(test::Parse<reservations::v1::Event>("reservation_ended {}")).empty());
  EXPECT_TRUE(
      scenario.ReactionsTo(test::Parse<compliance::v1::Event>("reservation_judged {}")).empty());
  GivenAReservation(scenario);
  EXPECT_TRUE(scenario.Reactions().empty());
  GivenARunning(scenario);
  EXPECT_TRUE(scenario.Reactions().empty());
  EXPECT_TRUE(scenario.DueAt("2099-01-01T00:00:00Z").empty());
}

constexpr char kRemoved1[] = R"(model_removed { name: "sites/paris/deployments/d-1" })";
constexpr char kRemoved2[] = R"(model_removed { name: "sites/paris/deployments/d-2" })";
constexpr char kVacating[] = R"(reservation_vacating { reservation: "sites/paris/reservations/r-1"
    deployments: "sites/paris/deployments/d-1" deployments: "sites/paris/deployments/d-2" })";

TEST(DeploymentReactions, AReservationIsConfirmedVacatedAfterItsLastRemoval) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario, "1");
  GivenARunning(scenario, "2");
  scenario.Given(kVacating);
  EXPECT_TRUE(scenario.Reactions().empty());
  scenario.Given(kRemoved1);
  EXPECT_TRUE(scenario.Reactions().empty());
  scenario.Given(kRemoved2);
  const Intents intents = scenario.Reactions();
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].kind, "confirm");
  EXPECT_THAT(intents[0].command,
              EqualsText(R"(confirm_vacated { reservation: "sites/paris/reservations/r-1" })"));
  EXPECT_TRUE(scenario.When(intents[0].command).has_reservation_vacated());
  EXPECT_TRUE(scenario.Reactions().empty());
}

TEST(DeploymentReactions, AnEndOnAnActiveReservationConfirmsNothing) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  scenario.Given(
      R"(placement_failed { name: "sites/paris/deployments/d-1" attempt: 3 given_up: true })");
  EXPECT_TRUE(scenario.Reactions().empty());
}

TEST(DeploymentReactions, AFailureOrAProhibitionMayBeTheLastEndToo) {
  for (const char* end :
       {R"(placement_failed { name: "sites/paris/deployments/d-1" given_up: true })",
        R"(deployment_prohibited { name: "sites/paris/deployments/d-1" })"}) {
    Scenario scenario;
    GivenAReservation(scenario);
    GivenARequest(scenario);
    scenario.Given(R"(reservation_vacating { reservation: "sites/paris/reservations/r-1" })");
    scenario.Given(end);
    EXPECT_EQ(scenario.Reactions().size(), 1u) << end;
  }
}

TEST(DeploymentReactions, AFailedRemovalConfirmsNothing) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.Given(kVacating);
  scenario.Given(R"(removal_failed { name: "sites/paris/deployments/d-1" attempt: 1 })");
  EXPECT_TRUE(scenario.Reactions().empty());
}

}  // namespace
}  // namespace concordat::deployment
