#include "services/compliance/evaluate.h"
#include "tests/services/compliance/rules.h"

namespace concordat::compliance {
namespace {

using test::EqualsText;
using Scenario = test::Scenario<Service>;

TEST(ComplianceReactions, AHeldReservationIsJudgedByTheFactsOfItsEvent) {
  const auto held = test::Parse<reservations::v1::Event>(R"(reservation_held {
      name: "sites/borlange/reservations/r-1"
      terms { customer: "customers/hsbc" contract: "customers/hsbc/contracts/frame" model: "models/nvl144" count: 12
              purpose: PURPOSE_TRAINING data_classes: "HEALTH" data_classes: "PUBLIC" }
      site_country: "SE" site_certifications: "ISO27001" customer_country: "GB" customer_sector: "FINANCE" })");
  const Intents intents = Scenario("borlange").ReactionsTo(held, "borlange");
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].kind, "judge");
  EXPECT_EQ(intents[0].subject, "sites/borlange/reservations/r-1");
  EXPECT_THAT(intents[0].command, EqualsText(R"(judge_reservation {
      reservation: "sites/borlange/reservations/r-1"
      facts { name: "site.name" values: "sites/borlange" }
      facts { name: "site.country" values: "SE" }
      facts { name: "site.certifications" values: "ISO27001" }
      facts { name: "customer.name" values: "customers/hsbc" }
      facts { name: "customer.country" values: "GB" }
      facts { name: "customer.sector" values: "FINANCE" }
      facts { name: "purpose" values: "TRAINING" }
      facts { name: "data_classes" values: "HEALTH" values: "PUBLIC" }
      facts { name: "model" values: "models/nvl144" }
      facts { name: "server_count" number: 12 is_number: true } })"));
}

TEST(ComplianceReactions, WhatAnEventDoesNotSayIsNoFact) {
  const auto held = test::Parse<reservations::v1::Event>(
      R"(reservation_held { name: "sites/paris/reservations/r-1" terms { purpose: 99 } })");
  const Intents intents = Scenario().ReactionsTo(held);
  ASSERT_EQ(intents.size(), 1u);
  const Facts& facts = intents[0].command.judge_reservation().facts();
  for (const char* name : {"site.country", "site.certifications", "customer.name",
                           "customer.country", "customer.sector", "purpose", "model"}) {
    EXPECT_EQ(FindFact(facts, name), nullptr) << name;
  }
}

TEST(ComplianceReactions, ARequestedDeploymentIsJudgedByItsArtefact) {
  const auto requested = test::Parse<deployment::v1::Event>(R"(deployment_requested {
      name: "sites/paris/deployments/d-1" reservation: "sites/paris/reservations/r-1" customer: "customers/sap"
      artefact { name: "artefacts/open-70b" digest: "ab" licence: "MIT" trained_in: "FR" provenance: "signed" } })");
  const Intents intents = Scenario().ReactionsTo(requested);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].subject, "sites/paris/deployments/d-1");
  EXPECT_THAT(intents[0].command, EqualsText(R"(judge_artefact {
      deployment: "sites/paris/deployments/d-1" artefact: "artefacts/open-70b"
      facts { name: "site.name" values: "sites/paris" }
      facts { name: "customer.name" values: "customers/sap" }
      facts { name: "artefact.name" values: "artefacts/open-70b" }
      facts { name: "artefact.digest" values: "ab" }
      facts { name: "artefact.licence" values: "MIT" }
      facts { name: "artefact.trained_in" values: "FR" }
      facts { name: "artefact.provenance" values: "signed" }
      facts { name: "artefact.provenance_bytes" number: 6 is_number: true } })"));
}

TEST(ComplianceReactions, ProvenanceThatIsNotStatedIsAnEmptyFact) {
  const auto requested = test::Parse<deployment::v1::Event>(
      R"(deployment_requested { name: "d" artefact { name: "a" } })");
  const Intents intents = Scenario().ReactionsTo(requested);
  const Facts& facts = intents.at(0).command.judge_artefact().facts();
  ASSERT_NE(FindFact(facts, "artefact.provenance"), nullptr);
  EXPECT_EQ(FindFact(facts, "artefact.provenance")->values_size(), 0);
  EXPECT_EQ(FindFact(facts, "artefact.provenance_bytes")->number(), 0);
}

TEST(ComplianceReactions, AnOpenedSiteIsRecorded) {
  const auto opened = test::Parse<inventory::v1::Event>(
      R"(site_opened { name: "sites/paris" country: "FR" time_zone: "Europe/Paris" certifications: "HDS" })");
  const Intents intents = Scenario().ReactionsTo(opened);
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents[0].subject, "sites/paris");
  EXPECT_THAT(
      intents[0].command,
      EqualsText(
          R"(record_site { site { name: "sites/paris" country: "FR" certifications: "HDS" } })"));
}

TEST(ComplianceReactions, NothingElseLeadsToAnything) {
  Scenario scenario;
  EXPECT_TRUE(scenario.ReactionsTo(test::Parse<inventory::v1::Event>("server_ordered {}")).empty());
  EXPECT_TRUE(
      scenario.ReactionsTo(test::Parse<reservations::v1::Event>("reservation_started {}")).empty());
  EXPECT_TRUE(scenario.ReactionsTo(test::Parse<deployment::v1::Event>("model_placed {}")).empty());
  scenario.When(Adopt(RuleWith("")));
  EXPECT_TRUE(scenario.Reactions().empty());
  EXPECT_TRUE(scenario.DueAt("2099-01-01T00:00:00Z").empty());
}

// Every fact that a rule may be written over is one that the reactions give or the site's record
// adds.
TEST(ComplianceReactions, GiveEveryFactThatRulesMaySpeakAboutAndInItsKind) {
  Scenario scenario;
  scenario.Given(R"(site_recorded { name: "sites/paris" country: "FR" })");
  const auto held = test::Parse<reservations::v1::Event>(R"(reservation_held {
      name: "r" terms { customer: "c" model: "m" count: 1 purpose: PURPOSE_RENTAL data_classes: "PUBLIC" }
      customer_country: "GB" customer_sector: "FINANCE" })");
  const auto requested = test::Parse<deployment::v1::Event>(R"(deployment_requested {
      name: "d" customer: "c" artefact { name: "a" digest: "ab" licence: "MIT" trained_in: "FR" provenance: "p" } })");
  const v1::Event reservation = scenario.When(scenario.ReactionsTo(held).at(0).command);
  const v1::Event artefact = scenario.When(scenario.ReactionsTo(requested).at(0).command);
  const auto expect_all = [](v1::SubjectKind kind, const Facts& facts) {
    const std::vector<KnownFact> known = KnownFacts(kind);
    EXPECT_EQ(known.size(), static_cast<size_t>(facts.size()));
    for (const KnownFact& wanted : known) {
      const v1::Fact* fact = FindFact(facts, wanted.name);
      ASSERT_NE(fact, nullptr) << wanted.name;
      EXPECT_EQ(fact->is_number(), wanted.is_number) << wanted.name;
    }
  };
  expect_all(v1::SUBJECT_KIND_RESERVATION, reservation.reservation_judged().facts());
  expect_all(v1::SUBJECT_KIND_ARTEFACT, artefact.artefact_judged().facts());
}

}  // namespace
}  // namespace concordat::compliance
