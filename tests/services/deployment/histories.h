// Histories of deployment that several tests begin with.
#pragma once

#include <string>

#include "services/deployment/service.h"
#include "tests/support/scenario.h"

namespace concordat::deployment {

using Scenario = test::Scenario<Service>;

inline constexpr char kReservation[] = "sites/paris/reservations/r-1";

// An artefact and an active reservation.
inline void GivenAReservation(Scenario& scenario) {
  scenario.At("2027-03-01T00:00:00Z")
      .Given(
          R"(artefact_registered { name: "artefacts/open-70b" digest: "ab" licence: "MIT" trained_in: "FR" })")
      .Given(
          R"(reservation_recorded { reservation: "sites/paris/reservations/r-1" customer: "customers/sap"
                                       servers: "sites/paris/servers/a01" servers: "sites/paris/servers/a02" })");
}

// A deployment `d-<id>` on it that waits for compliance.
inline void GivenARequest(Scenario& scenario, const std::string& id = "1") {
  scenario.Given("deployment_requested { name: \"sites/paris/deployments/d-" + id + R"("
      artefact { name: "artefacts/open-70b" digest: "ab" } reservation: "sites/paris/reservations/r-1"
      servers: "sites/paris/servers/a01" servers: "sites/paris/servers/a02" customer: "customers/sap" })");
}

// One that compliance has cleared: it is being placed.
inline void GivenAPlacement(Scenario& scenario, const std::string& id = "1") {
  GivenARequest(scenario, id);
  scenario.Given("deployment_cleared { name: \"sites/paris/deployments/d-" + id + "\" }");
}

// One that runs.
inline void GivenARunning(Scenario& scenario, const std::string& id = "1") {
  GivenAPlacement(scenario, id);
  scenario.Given("model_placed { name: \"sites/paris/deployments/d-" + id +
                 "\" manifest_digest: \"cd\" }");
}

inline v1::Deployment DeploymentOf(Scenario& scenario, const std::string& id = "1") {
  return scenario.state()
      .rows.deployments.Get("sites/paris/deployments/d-" + id)
      .value_or(v1::Deployment());
}

inline std::string StateOf(Scenario& scenario, const std::string& id = "1") {
  return v1::DeploymentState_Name(DeploymentOf(scenario, id).state())
      .substr(std::string("DEPLOYMENT_STATE_").size());
}

}  // namespace concordat::deployment
