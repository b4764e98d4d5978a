#include "services/runtime/check.h"
#include "tests/services/deployment/histories.h"

namespace concordat::deployment {
namespace {

using test::EqualsText;
using test::HasText;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRegister[] = R"(register_artefact { name: "artefacts/open-70b"
    digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    licence: "MIT" trained_in: "FR" provenance: "signed" })";
constexpr char kDeploy[] =
    R"(deploy { artefact: "artefacts/open-70b" reservation: "sites/paris/reservations/r-1" })";
constexpr char kVacate[] = R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })";
constexpr char kConfirm[] = R"(confirm_vacated { reservation: "sites/paris/reservations/r-1" })";
constexpr char kVacated[] =
    R"(reservation_vacated { reservation: "sites/paris/reservations/r-1" })";
constexpr char kClear[] = R"(clear_deployment { name: "sites/paris/deployments/d-1" })";
constexpr char kProhibit[] =
    R"(prohibit_deployment { name: "sites/paris/deployments/d-1" detail: "rules/x version 1" })";

std::string Placed(int attempt) {
  return "record_placement { name: \"sites/paris/deployments/d-1\" manifest_digest: \"cd\" "
         "attempt: " +
         std::to_string(attempt) + " }";
}
std::string NotPlaced(int attempt) {
  return "record_placement { name: \"sites/paris/deployments/d-1\" error: \"disk full\" attempt: " +
         std::to_string(attempt) + " }";
}
std::string Removed(int attempt) {
  return "record_removal { name: \"sites/paris/deployments/d-1\" attempt: " +
         std::to_string(attempt) + " }";
}
std::string NotRemoved(int attempt) {
  return "record_removal { name: \"sites/paris/deployments/d-1\" error: \"cut\" attempt: " +
         std::to_string(attempt) + " }";
}

std::string RefusalOf(const v1::Event& event) {
  return event.has_command_refused() ? v1::Reason_Name(event.command_refused().reason())
                                     : "no refusal";
}

TEST(Deployment, RegistersAnArtefactOnce) {
  Scenario scenario;
  EXPECT_THAT(scenario.When(kRegister),
              EqualsText(R"(artefact_registered { name: "artefacts/open-70b"
      digest: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
      licence: "MIT" trained_in: "FR" provenance: "signed" })"));
  EXPECT_THAT(
      scenario.When(kRegister, "c-2"),
      HasText(R"(command_refused { command: "concordat.deployment.v1.RegisterArtefactRequest"
                                           reason: REASON_ALREADY_EXISTS })"));
}

TEST(Deployment, AsksForWhatWasRegisteredOnTheServersThatWereReserved) {
  Scenario scenario;
  GivenAReservation(scenario);
  const v1::Event event = scenario.When(kDeploy);
  EXPECT_THAT(event, HasText(R"(deployment_requested {
      artefact { name: "artefacts/open-70b" digest: "ab" licence: "MIT" trained_in: "FR" }
      reservation: "sites/paris/reservations/r-1" customer: "customers/sap"
      servers: "sites/paris/servers/a01" servers: "sites/paris/servers/a02" })"));
  const std::string name = event.deployment_requested().name();
  EXPECT_THAT(name, ::testing::StartsWith("sites/paris/deployments/d-"));
  EXPECT_TRUE(runtime::MatchesName(name, "sites/*/deployments/*")) << name;
  EXPECT_EQ(scenario.state().rows.deployments.Get(name)->state(), v1::DEPLOYMENT_STATE_REQUESTED);
  EXPECT_EQ(scenario.state().rows.deployments.Get(name)->correlation_id(), "c-1");
  EXPECT_THAT(scenario.state().rows.deployment_reservations.Get(kReservation)->deployments(),
              ElementsAre(name));
}

TEST(Deployment, NamesADeploymentAfterItsCommand) {
  Scenario scenario;
  GivenAReservation(scenario);
  const std::string first = scenario.When(kDeploy, "c-1").deployment_requested().name();
  const std::string second = scenario.When(kDeploy, "c-2").deployment_requested().name();
  EXPECT_NE(first, second);
  EXPECT_EQ(RefusalOf(scenario.When(kDeploy, "c-1")), "REASON_ALREADY_EXISTS");
  runtime::Facts facts;
  facts.site = "paris";
  facts.actor = "alice";
  facts.command_id = "c-1";
  EXPECT_EQ(Subject(test::Parse<v1::Command>(kDeploy), facts), first);
}

TEST(Deployment, RefusesToDeployWhatItDoesNotKnow) {
  Scenario scenario;
  EXPECT_THAT(scenario.When(kDeploy), HasText("command_refused { reason: REASON_NOT_FOUND }"));
  GivenAReservation(scenario);
  const v1::Event artefact = scenario.When(
      R"(deploy { artefact: "artefacts/other" reservation: "sites/paris/reservations/r-1" })");
  EXPECT_EQ(RefusalOf(artefact), "REASON_NOT_FOUND");
  EXPECT_THAT(artefact.command_refused().detail(), HasSubstr("artefacts/other is not known"));
  const v1::Event reservation = scenario.When(
      R"(deploy { artefact: "artefacts/open-70b" reservation: "sites/paris/reservations/r-9" })");
  EXPECT_EQ(RefusalOf(reservation), "REASON_NOT_FOUND");
  EXPECT_THAT(reservation.command_refused().detail(),
              HasSubstr("expected a reservation that has started"));
}

TEST(Deployment, RefusesToDeployOnAnotherSitesReservation) {
  Scenario scenario;
  GivenAReservation(scenario);
  EXPECT_EQ(
      RefusalOf(scenario.When(
          R"(deploy { artefact: "artefacts/open-70b" reservation: "sites/borlange/reservations/r-1" })")),
      "REASON_NOT_HOME");
}

TEST(Deployment, RefusesToDeployOnAReservationThatIsOver) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kVacate);
  EXPECT_EQ(RefusalOf(scenario.When(kDeploy)), "REASON_RESERVATION_NOT_ACTIVE");
  scenario.When(Removed(1));
  scenario.When(kConfirm);
  EXPECT_EQ(RefusalOf(scenario.When(kDeploy)), "REASON_RESERVATION_NOT_ACTIVE");
}

TEST(Deployment, IsPlacedOnceComplianceHasClearedIt) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario);
  EXPECT_EQ(StateOf(scenario), "REQUESTED");
  EXPECT_THAT(scenario.When(kClear),
              EqualsText(R"(deployment_cleared { name: "sites/paris/deployments/d-1" })"));
  EXPECT_EQ(StateOf(scenario), "PLACING");
  EXPECT_EQ(RefusalOf(scenario.When(kClear)), "REASON_WRONG_STATE");
  EXPECT_EQ(RefusalOf(scenario.When(kProhibit)), "REASON_WRONG_STATE");
  EXPECT_THAT(
      scenario.When(Placed(1)),
      EqualsText(R"(model_placed { name: "sites/paris/deployments/d-1" manifest_digest: "cd" })"));
  EXPECT_EQ(StateOf(scenario), "RUNNING");
  EXPECT_EQ(DeploymentOf(scenario).manifest_digest(), "cd");
  EXPECT_FALSE(DeploymentOf(scenario).has_retry_time());
  EXPECT_EQ(RefusalOf(scenario.When(Placed(1))), "REASON_WRONG_STATE");
}

TEST(Deployment, EndsWhereComplianceProhibitsIt) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario);
  EXPECT_THAT(scenario.When(kProhibit), EqualsText(R"(deployment_prohibited {
      name: "sites/paris/deployments/d-1" detail: "rules/x version 1" })"));
  EXPECT_EQ(StateOf(scenario), "PROHIBITED");
  EXPECT_EQ(DeploymentOf(scenario).detail(), "rules/x version 1");
  EXPECT_EQ(RefusalOf(scenario.When(kClear)), "REASON_WRONG_STATE");
  EXPECT_EQ(RefusalOf(scenario.When(Placed(1))), "REASON_WRONG_STATE");
}

TEST(Deployment, GivesUpAfterThreeAttemptsToPlace) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  scenario.At("2027-03-01T00:00:10Z");
  EXPECT_THAT(scenario.When(NotPlaced(1)), EqualsText(R"(placement_failed {
      name: "sites/paris/deployments/d-1" attempt: 1 detail: "disk full" })"));
  EXPECT_EQ(DeploymentOf(scenario).failed_attempts(), 1);
  EXPECT_EQ(runtime::ToTime(DeploymentOf(scenario).retry_time()),
            test::Time("2027-03-01T00:00:11Z"));
  EXPECT_FALSE(scenario.When(NotPlaced(2)).placement_failed().given_up());
  EXPECT_EQ(runtime::ToTime(DeploymentOf(scenario).retry_time()),
            test::Time("2027-03-01T00:00:12Z"));
  EXPECT_TRUE(scenario.When(NotPlaced(3)).placement_failed().given_up());
  EXPECT_EQ(StateOf(scenario), "FAILED");
  EXPECT_EQ(DeploymentOf(scenario).detail(), "disk full");
  EXPECT_EQ(RefusalOf(scenario.When(NotPlaced(4))), "REASON_WRONG_STATE");
}

TEST(Deployment, SucceedsAtALaterAttempt) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  scenario.When(NotPlaced(1));
  scenario.When(Placed(2));
  EXPECT_EQ(StateOf(scenario), "RUNNING");
  EXPECT_EQ(DeploymentOf(scenario).detail(), "");
  EXPECT_EQ(DeploymentOf(scenario).failed_attempts(), 0);
}

TEST(Deployment, CountsAnAttemptOnce) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  EXPECT_EQ(RefusalOf(scenario.When(NotPlaced(2))), "REASON_WRONG_STATE");
  scenario.When(NotPlaced(1));
  EXPECT_EQ(RefusalOf(scenario.When(NotPlaced(1))), "REASON_WRONG_STATE");
  EXPECT_EQ(RefusalOf(scenario.When(Placed(1))), "REASON_WRONG_STATE");
  EXPECT_EQ(DeploymentOf(scenario).failed_attempts(), 1);
}

TEST(Deployment, RemovesWhatRunsWhenTheReservationIsOver) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  EXPECT_THAT(scenario.When(kVacate), EqualsText(R"(reservation_vacating {
      reservation: "sites/paris/reservations/r-1" deployments: "sites/paris/deployments/d-1" })"));
  EXPECT_EQ(StateOf(scenario), "REMOVING");
  EXPECT_EQ(RefusalOf(scenario.When(kConfirm)), "REASON_WRONG_STATE");
  EXPECT_THAT(scenario.When(Removed(1)), EqualsText(R"(model_removed {
      name: "sites/paris/deployments/d-1" reservation: "sites/paris/reservations/r-1" })"));
  EXPECT_EQ(StateOf(scenario), "REMOVED");
  EXPECT_THAT(scenario.When(kConfirm), EqualsText(kVacated));
  EXPECT_EQ(RefusalOf(scenario.When(kConfirm)), "REASON_WRONG_STATE");
}

TEST(Deployment, VacatesAtOnceAReservationThatCarriesNothing) {
  Scenario scenario;
  GivenAReservation(scenario);
  EXPECT_THAT(scenario.When(kVacate), EqualsText(kVacated));
  EXPECT_EQ(RefusalOf(scenario.When(kVacate)), "REASON_WRONG_STATE");
  EXPECT_EQ(RefusalOf(scenario.When(kConfirm)), "REASON_WRONG_STATE");
}

TEST(Deployment, VacatesAtOnceWhereEverythingHasEnded) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario);
  scenario.When(kProhibit);
  EXPECT_THAT(scenario.When(kVacate), EqualsText(kVacated));
}

TEST(Deployment, VacatesAReservationThatItNeverHeardOfAndLetsNothingOntoItAfter) {
  Scenario scenario;
  EXPECT_THAT(scenario.When(kVacate), EqualsText(kVacated));
  EXPECT_EQ(RefusalOf(scenario.When(R"(record_reservation { reservation {
      reservation: "sites/paris/reservations/r-1" customer: "customers/sap" servers: "sites/paris/servers/a01" } })")),
            "REASON_ALREADY_EXISTS");
  scenario.When(kRegister);
  EXPECT_EQ(RefusalOf(scenario.When(kDeploy)), "REASON_RESERVATION_NOT_ACTIVE");
}

TEST(Deployment, ARepeatedRecordDoesNotBringBackAReservationThatIsOver) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kVacate);
  EXPECT_EQ(
      RefusalOf(scenario.When(
          R"(record_reservation { reservation { reservation: "sites/paris/reservations/r-1" } })")),
      "REASON_ALREADY_EXISTS");
  EXPECT_TRUE(scenario.state().rows.deployment_reservations.Get(kReservation)->vacating());
}

TEST(Deployment, RecordsAReservationAsItWasSaid) {
  Scenario scenario;
  EXPECT_THAT(scenario.When(
                  R"(record_reservation { reservation { reservation: "sites/paris/reservations/r-1"
                                customer: "customers/sap" servers: "sites/paris/servers/a01" } })"),
              EqualsText(R"(reservation_recorded { reservation: "sites/paris/reservations/r-1"
                            customer: "customers/sap" servers: "sites/paris/servers/a01" })"));
}

// The attempt is under way while the reservation ends: whatever comes of it, the model is removed
// before the reservation is vacated.
TEST(Deployment, APlacementThatEndsAfterItsReservationIsRemovedAllTheSame) {
  for (const std::string& outcome : {Placed(1), NotPlaced(1)}) {
    Scenario scenario;
    GivenAReservation(scenario);
    GivenAPlacement(scenario);
    EXPECT_TRUE(scenario.When(kVacate).has_reservation_vacating());
    EXPECT_EQ(RefusalOf(scenario.When(outcome)), "REASON_WRONG_STATE");
    EXPECT_EQ(StateOf(scenario), "REMOVING");
    EXPECT_EQ(RefusalOf(scenario.When(kConfirm)), "REASON_WRONG_STATE");
    scenario.When(Removed(1));
    EXPECT_EQ(RefusalOf(scenario.When(outcome)), "REASON_WRONG_STATE");
    EXPECT_EQ(StateOf(scenario), "REMOVED");
    EXPECT_THAT(scenario.When(kConfirm), EqualsText(kVacated));
  }
}

TEST(Deployment, RemovalCountsItsOwnAttempts) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  scenario.When(NotPlaced(1));
  scenario.When(kVacate);
  EXPECT_EQ(DeploymentOf(scenario).failed_attempts(), 0);
  EXPECT_TRUE(scenario.When(Removed(1)).has_model_removed());
}

TEST(Deployment, ARequestEndsWithItsReservationAndIsPlacedNoMore) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario);
  EXPECT_THAT(scenario.When(kVacate).reservation_vacating().deployments(),
              ElementsAre("sites/paris/deployments/d-1"));
  EXPECT_EQ(RefusalOf(scenario.When(kClear)), "REASON_WRONG_STATE");
  EXPECT_EQ(RefusalOf(scenario.When(kProhibit)), "REASON_WRONG_STATE");
  scenario.When(Removed(1));
  EXPECT_THAT(scenario.When(kConfirm), EqualsText(kVacated));
}

TEST(Deployment, ARequestLeftBehindOnAnEndingReservationIsGivenUpRatherThanPlaced) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario);
  scenario.Given(R"(reservation_vacating { reservation: "sites/paris/reservations/r-1" })");
  EXPECT_EQ(RefusalOf(scenario.When(kConfirm)), "REASON_WRONG_STATE");
  EXPECT_TRUE(scenario.When(kClear).placement_failed().given_up());
  EXPECT_EQ(StateOf(scenario), "FAILED");
  EXPECT_THAT(scenario.When(kConfirm), EqualsText(kVacated));
}

// A failed attempt may have left something, and the servers go to somebody else.
TEST(Deployment, WhatWasGivenUpIsRemovedBeforeItsServersAreFreed) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  for (int attempt = 1; attempt <= kMaxPlacementAttempts; ++attempt) {
    scenario.When(NotPlaced(attempt));
  }
  EXPECT_EQ(StateOf(scenario), "FAILED");
  EXPECT_THAT(scenario.When(kVacate).reservation_vacating().deployments(),
              ElementsAre("sites/paris/deployments/d-1"));
  EXPECT_EQ(StateOf(scenario), "REMOVING");
}

TEST(Deployment, TriesToRemoveForEverAndWaitsLongerEachTimeUpToAMinute) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  scenario.When(kVacate);
  const std::vector<int> seconds = {1, 2, 4, 8, 16, 32, 60, 60, 60};
  scenario.At("2027-03-02T00:00:00Z");
  for (size_t i = 0; i < seconds.size(); ++i) {
    const int attempt = static_cast<int>(i) + 1;
    const v1::Event event = scenario.When(NotRemoved(attempt));
    EXPECT_EQ(event.removal_failed().attempt(), attempt);
    EXPECT_EQ(runtime::ToTime(DeploymentOf(scenario).retry_time()),
              test::Time("2027-03-02T00:00:00Z") + absl::Seconds(seconds[i]));
    EXPECT_EQ(StateOf(scenario), "REMOVING");
  }
  EXPECT_TRUE(scenario.When(Removed(10)).has_model_removed());
  EXPECT_EQ(RetryDelay(1'000'000), absl::Seconds(60));
  EXPECT_EQ(RetryDelay(-5), absl::Seconds(1));
}

TEST(Deployment, RefusesStepsOfADeploymentThatItDoesNotKnow) {
  Scenario scenario;
  for (const std::string& command :
       {std::string(kClear), std::string(kProhibit), Placed(1), NotPlaced(1), Removed(1),
        NotRemoved(1), std::string(kConfirm)}) {
    EXPECT_EQ(RefusalOf(scenario.When(command)), "REASON_NOT_FOUND") << command;
  }
  EXPECT_TRUE(scenario.When("").has_command_refused());
}

TEST(Deployment, SurvivesHistoriesThatNoDeciderWrites) {
  Scenario scenario;
  for (const char* event :
       {"", "model_placed { name: \"x\" }", "model_removed { name: \"x\" }",
        "placement_failed { name: \"x\" given_up: true }", "removal_failed { name: \"x\" }",
        "deployment_cleared { name: \"x\" }", "deployment_prohibited { name: \"x\" }",
        "reservation_vacating { reservation: \"r\" deployments: \"x\" }",
        "reservation_vacated { reservation: \"s\" }", "deployment_requested { name: \"y\" }",
        "removal_failed { name: \"y\" attempt: -1 }"}) {
    scenario.Given(event);
  }
  EXPECT_FALSE(scenario.state().rows.deployments.Contains("x"));
  EXPECT_TRUE(scenario.state().rows.deployment_reservations.Get("s")->vacated());
}

TEST(Deployment, RefusesMalformedCommandsByTheirField) {
  const auto complaint = [](const std::string& text) {
    return std::string(Validate(test::Parse<v1::Command>(text)).message());
  };
  EXPECT_EQ(complaint(kRegister), "");
  EXPECT_EQ(complaint(kDeploy), "");
  EXPECT_EQ(complaint(Placed(1)), "");
  EXPECT_EQ(complaint(NotPlaced(1)), "");
  EXPECT_EQ(complaint(Removed(1)), "");
  EXPECT_EQ(complaint(NotRemoved(1)), "");
  EXPECT_EQ(complaint(kVacate), "");
  EXPECT_EQ(complaint(kConfirm), "");
  EXPECT_EQ(complaint(kClear), "");
  EXPECT_EQ(complaint(kProhibit), "");
  EXPECT_THAT(complaint(""), HasSubstr("command"));
  EXPECT_THAT(
      complaint(R"(deploy { artefact: "open" reservation: "sites/paris/reservations/r-1" })"),
      HasSubstr("artefact"));
  EXPECT_THAT(complaint(R"(deploy { artefact: "artefacts/a" reservation: "r-1" })"),
              HasSubstr("reservation"));
  EXPECT_THAT(complaint(R"(record_placement { name: "sites/paris/deployments/d-1" attempt: 1 })"),
              HasSubstr("neither"));
  EXPECT_THAT(
      complaint(R"(record_placement { name: "sites/paris/deployments/d-1" attempt: 1 error: "e"
                                              manifest_digest: "cd" })"),
      HasSubstr("both"));
  EXPECT_THAT(complaint(Placed(0)), HasSubstr("attempt"));
  EXPECT_THAT(complaint(Removed(-1)), HasSubstr("attempt"));
  EXPECT_THAT(complaint("vacate_reservation {}"), HasSubstr("reservation"));
  EXPECT_THAT(complaint("record_reservation {}"), HasSubstr("reservation"));
}

TEST(Deployment, RefusesAMalformedArtefactByItsField) {
  const std::vector<std::pair<std::string, void (*)(v1::RegisterArtefactRequest&)>> cases = {
      {"name", [](auto& request) { request.set_name("artefacts/Open"); }},
      {"digest", [](auto& request) { request.set_digest("abc"); }},
      {"digest", [](auto& request) { request.mutable_digest()->at(0) = 'F'; }},
      {"licence", [](auto& request) { request.clear_licence(); }},
      {"trained_in", [](auto& request) { request.set_trained_in("France"); }},
      {"provenance", [](auto& request) { request.set_provenance(std::string(501, 'x')); }},
  };
  for (const auto& [field, change] : cases) {
    auto command = test::Parse<v1::Command>(kRegister);
    change(*command.mutable_register_artefact());
    EXPECT_THAT(std::string(Validate(command).message()), HasSubstr(field));
  }
}

}  // namespace
}  // namespace concordat::deployment
