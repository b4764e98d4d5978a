#include "services/compliance/evaluate.h"
#include "tests/services/compliance/rules.h"

namespace concordat::compliance {
namespace {

using test::EqualsText;
using test::HasText;
using ::testing::HasSubstr;
using Scenario = test::Scenario<Service>;

constexpr char kHealthAtBorlange[] = R"(judge_reservation {
  reservation: "sites/borlange/reservations/r-1"
  facts { name: "site.country" values: "SE" }
  facts { name: "site.certifications" values: "ISO27001" }
  facts { name: "data_classes" values: "HEALTH" } })";

TEST(Compliance, AdoptsANewRuleAsItWasWritten) {
  Scenario scenario;
  const v1::Event event = scenario.When(Adopt(RuleWith("")));
  EXPECT_EQ(event.rule_adopted().rule().SerializeAsString(), RuleWith("").SerializeAsString());
  const auto history = scenario.state().rows.rules.Get("rules/hds-hosting");
  ASSERT_TRUE(history);
  EXPECT_EQ(history->versions_size(), 1);
}

TEST(Compliance, AdoptsVersionsOnlyInTheirOrder) {
  Scenario scenario;
  EXPECT_THAT(scenario.When(Adopt(RuleWith("version: 2"))),
              HasText(R"(command_refused { command: "concordat.compliance.v1.AdoptRuleRequest"
                                           reason: REASON_WRONG_VERSION })"));
  EXPECT_TRUE(scenario.When(Adopt(RuleWith("version: 1"))).has_rule_adopted());
  EXPECT_THAT(scenario.When(Adopt(RuleWith("version: 1"))),
              HasText("command_refused { reason: REASON_ALREADY_EXISTS }"));
  EXPECT_THAT(scenario.When(Adopt(RuleWith("version: 3"))),
              HasText("command_refused { reason: REASON_WRONG_VERSION }"));
  EXPECT_TRUE(scenario.When(Adopt(RuleWith("version: 2"))).has_rule_adopted());
}

// The version that begins last holds: one of another kind, or one that is over, would only end it.
TEST(Compliance, ANewVersionMayNotEndTheOneBeforeInSilence) {
  Scenario scenario;
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("")));
  EXPECT_THAT(scenario.When(Adopt(RuleWith("version: 2 subject_kind: SUBJECT_KIND_ARTEFACT"))),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
  EXPECT_THAT(scenario.When(Adopt(RuleWith("version: 2 effective_to { seconds: 1700000000 }"))),
              HasText("command_refused { reason: REASON_WRONG_STATE }"));
  EXPECT_TRUE(scenario.When(Adopt(RuleWith("version: 2 effective_to { seconds: 1900000000 }")))
                  .has_rule_adopted());
}

TEST(Compliance, RefusalOfAVersionSaysWhichOneIsExpected) {
  Scenario scenario;
  const v1::Event event = scenario.When(Adopt(RuleWith("version: 7")));
  EXPECT_THAT(event.command_refused().detail(), HasSubstr("found version 7, expected 1"));
}

TEST(Compliance, RepealsARuleOnce) {
  Scenario scenario;
  const std::string repeal = R"(repeal_rule { name: "rules/hds-hosting" reason: "superseded" })";
  EXPECT_THAT(scenario.When(repeal), HasText("command_refused { reason: REASON_NOT_FOUND }"));
  scenario.When(Adopt(RuleWith("")));
  EXPECT_THAT(scenario.When(repeal),
              EqualsText(R"(rule_repealed { name: "rules/hds-hosting" reason: "superseded" })"));
  EXPECT_THAT(scenario.When(repeal), HasText("command_refused { reason: REASON_WRONG_STATE }"));
}

TEST(Compliance, ARepealedRuleNoLongerProhibits) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("")));
  scenario.When(R"(repeal_rule { name: "rules/hds-hosting" reason: "superseded" })");
  const v1::Event event = scenario.When(kHealthAtBorlange);
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_CLEARED);
  EXPECT_EQ(event.reservation_judged().findings_size(), 0);
}

TEST(Compliance, ANewVersionAfterARepealHoldsFromItsOwnDateAndTheOldOneNeverAgain) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("")));
  scenario.When(R"(repeal_rule { name: "rules/hds-hosting" reason: "superseded" })");
  v1::Rule next = RuleWith("version: 2");
  *next.mutable_effective_from() =
      test::Parse<google::protobuf::Timestamp>("seconds: 1830000000");  // end of 2027
  ASSERT_TRUE(scenario.When(Adopt(next)).has_rule_adopted());
  EXPECT_EQ(scenario.When(kHealthAtBorlange).reservation_judged().verdict(), v1::VERDICT_CLEARED);
  scenario.At("2029-01-01T00:00:00Z");
  const v1::Event event =
      scenario.When(R"(judge_reservation { reservation: "sites/borlange/reservations/r-2"
      facts { name: "site.certifications" } })");
  ASSERT_EQ(event.reservation_judged().findings_size(), 1);
  EXPECT_EQ(event.reservation_judged().findings(0).version(), 2);
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_PROHIBITED);
  EXPECT_TRUE(scenario.When(R"(repeal_rule { name: "rules/hds-hosting" reason: "again" })")
                  .has_rule_repealed());
}

TEST(Compliance, WithoutRulesEverythingIsCleared) {
  Scenario scenario("borlange");
  const v1::Event event = scenario.When(kHealthAtBorlange);
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_CLEARED);
  EXPECT_EQ(event.reservation_judged().findings_size(), 0);
  EXPECT_EQ(event.reservation_judged().facts_size(), 3);
  EXPECT_EQ(event.reservation_judged().facts_digest(),
            FactsDigest(event.reservation_judged().facts()));
}

TEST(Compliance, AFindingCarriesRuleVersionCitationAndWhatEachPredicateCameTo) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z")
      .When(Adopt(RuleWith(
          R"(applies_when { fact: "data_classes" comparison: COMPARISON_ANY_IN values: "HEALTH" })")));
  EXPECT_THAT(scenario.When(kHealthAtBorlange), HasText(R"(reservation_judged {
      reservation: "sites/borlange/reservations/r-1"
      verdict: VERDICT_PROHIBITED
      findings {
        rule: "rules/hds-hosting" version: 1 outcome: FINDING_OUTCOME_VIOLATED effect: EFFECT_DENY
        citation { instrument: "Code" article: "L1111-8" wording_date: "2024-04-26" }
        title: "Health data needs HDS."
        predicates { predicate { fact: "data_classes" comparison: COMPARISON_ANY_IN values: "HEALTH" } held: true }
        predicates { predicate { fact: "site.certifications" comparison: COMPARISON_ANY_IN values: "HDS" } }
      } })"));
}

TEST(Compliance, AWarningLeavesAFindingAndProhibitsNothing) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("effect: EFFECT_WARN")));
  const v1::Event event = scenario.When(kHealthAtBorlange);
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_CLEARED);
  ASSERT_EQ(event.reservation_judged().findings_size(), 1);
  EXPECT_EQ(event.reservation_judged().findings(0).outcome(), v1::FINDING_OUTCOME_VIOLATED);
}

TEST(Compliance, ARuleThatCannotBeEvaluatedProhibits) {
  Scenario scenario;
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("")));
  const v1::Event event =
      scenario.When(R"(judge_reservation { reservation: "sites/paris/reservations/r-1" })");
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_PROHIBITED);
  EXPECT_EQ(event.reservation_judged().findings(0).outcome(), v1::FINDING_OUTCOME_UNEVALUABLE);
}

TEST(Compliance, ARuleOfAnotherCountryOrSiteLeavesNoFinding) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z");
  scenario.When(Adopt(RuleWith(R"(name: "rules/of-france" countries: "FR")")));
  scenario.When(Adopt(RuleWith(R"(name: "rules/of-paris" sites: "sites/paris")")));
  const v1::Event event = scenario.When(kHealthAtBorlange);
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_CLEARED);
  EXPECT_EQ(event.reservation_judged().findings_size(), 0);
}

TEST(Compliance, ARuleForArtefactsSaysNothingOfReservations) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("subject_kind: SUBJECT_KIND_ARTEFACT")));
  EXPECT_EQ(scenario.When(kHealthAtBorlange).reservation_judged().findings_size(), 0);
  const v1::Event event = scenario.When(R"(judge_artefact {
      deployment: "sites/borlange/deployments/d-1" artefact: "artefacts/open-70b" })");
  EXPECT_EQ(event.artefact_judged().findings_size(), 1);
  EXPECT_EQ(event.artefact_judged().artefact(), "artefacts/open-70b");
}

TEST(Compliance, WhereTheCountryIsNotKnownACountrysRuleProhibits) {
  Scenario scenario;
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith(R"(countries: "SE"
      required { fact: "data_classes" comparison: COMPARISON_ANY_IN values: "PUBLIC" })")));
  const v1::Event event = scenario.When(R"(judge_reservation {
      reservation: "sites/paris/reservations/r-1" facts { name: "data_classes" values: "PUBLIC" } })");
  EXPECT_EQ(event.reservation_judged().verdict(), v1::VERDICT_PROHIBITED);
  EXPECT_EQ(event.reservation_judged().findings(0).outcome(), v1::FINDING_OUTCOME_UNEVALUABLE);
}

TEST(Compliance, FactsOfTheSiteComeFromItsOwnRecordWhereTheCommandHasNone) {
  Scenario scenario;
  scenario.Given(R"(site_recorded { name: "sites/paris" country: "FR" certifications: "HDS" })");
  scenario.Given(R"(site_recorded { name: "sites/borlange" country: "SE" })");
  const v1::Event event = scenario.When(R"(judge_artefact {
      deployment: "sites/paris/deployments/d-1" artefact: "artefacts/open-70b" })");
  EXPECT_THAT(event, HasText(R"(artefact_judged { facts { name: "site.country" values: "FR" }
                                                  facts { name: "site.certifications" values: "HDS" } })"));
  EXPECT_EQ(event.artefact_judged().facts_size(), 2);
}

TEST(Compliance, FactsOfTheCommandGoBeforeThoseOfTheRecord) {
  Scenario scenario;
  scenario.Given(R"(site_recorded { name: "sites/paris" country: "FR" certifications: "HDS" })");
  const v1::Event event = scenario.When(kHealthAtBorlange);
  EXPECT_EQ(event.reservation_judged().facts_size(), 3);
  EXPECT_EQ(event.reservation_judged().facts(0).values(0), "SE");
}

TEST(Compliance, JudgesASubjectOnce) {
  Scenario scenario("borlange");
  EXPECT_TRUE(scenario.When(kHealthAtBorlange).has_reservation_judged());
  EXPECT_THAT(scenario.When(kHealthAtBorlange),
              HasText("command_refused { reason: REASON_ALREADY_JUDGED }"));
  const std::string artefact =
      R"(judge_artefact { deployment: "sites/borlange/deployments/d-1" artefact: "artefacts/a" })";
  EXPECT_TRUE(scenario.When(artefact).has_artefact_judged());
  EXPECT_THAT(scenario.When(artefact),
              HasText("command_refused { reason: REASON_ALREADY_JUDGED }"));
}

TEST(Compliance, KeepsWhatWasJudged) {
  Scenario scenario("borlange");
  scenario.At("2027-01-01T00:00:00Z").When(Adopt(RuleWith("")));
  scenario.When(kHealthAtBorlange);
  const auto judgement = scenario.state().rows.judgements.Get("sites/borlange/reservations/r-1");
  ASSERT_TRUE(judgement);
  EXPECT_EQ(judgement->verdict(), v1::VERDICT_PROHIBITED);
  EXPECT_EQ(judgement->findings_size(), 1);
}

TEST(Compliance, RecordingASiteAgainTakesWhatWasSaidLast) {
  Scenario scenario;
  scenario.When(R"(record_site { site { name: "sites/paris" country: "FR" } })");
  EXPECT_THAT(
      scenario.When(
          R"(record_site { site { name: "sites/paris" country: "FR" certifications: "HDS" } })"),
      EqualsText(R"(site_recorded { name: "sites/paris" country: "FR" certifications: "HDS" })"));
  EXPECT_EQ(scenario.state().rows.compliance_sites.Get("sites/paris")->certifications_size(), 1);
}

TEST(Compliance, SurvivesHistoriesThatNoDeciderWrites) {
  Scenario scenario;
  scenario.Given(R"(rule_repealed { name: "rules/unknown" })");
  scenario.Given("");
  scenario.Given("rule_adopted {}");
  scenario.Given("reservation_judged {}");
  EXPECT_TRUE(scenario.state().rows.rules.Get("rules/unknown")->has_repealed_time());
  EXPECT_TRUE(scenario.When("").has_command_refused());
}

TEST(Compliance, EveryCommandIsAboutItsResource) {
  const auto subject = [](const std::string& text) {
    runtime::Facts facts;
    facts.site = "paris";
    return Subject(test::Parse<v1::Command>(text), facts);
  };
  EXPECT_EQ(subject(R"(adopt_rule { rule { name: "rules/a" } })"), "rules/a");
  EXPECT_EQ(subject(R"(repeal_rule { name: "rules/a" })"), "rules/a");
  EXPECT_EQ(subject(R"(judge_reservation { reservation: "r" })"), "r");
  EXPECT_EQ(subject(R"(judge_artefact { deployment: "d" artefact: "a" })"), "d");
  EXPECT_EQ(subject(R"(record_site { site { name: "sites/x" } })"), "sites/x");
}

struct Malformed {
  std::string change;  // merged into a rule that is well-formed
  std::string field;   // what the message must name
};

// What Validate says of the rule; empty where it lets it through.
std::string Complaint(const v1::Rule& rule) { return std::string(Validate(Adopt(rule)).message()); }

TEST(Compliance, ReadsAWellFormedRule) {
  EXPECT_EQ(Complaint(RuleWith("")), "");
  EXPECT_EQ(
      Complaint(RuleWith(
          R"(countries: "FR" sites: "sites/paris" approver: "alice" effective_to { seconds: 1001 }
      applies_when { fact: "server_count" comparison: COMPARISON_AT_LEAST number: -5 })")),
      "");
}

TEST(Compliance, RefusesAMalformedRuleByItsField) {
  const std::vector<Malformed> cases = {
      {R"(name: "hds")", "rule.name"},
      {R"(name: "rules/Upper")", "rule.name"},
      {"version: -1", "rule.version"},
      {R"(title: "two\nlines")", "rule.title"},
      {R"(countries: "fr")", "rule.countries"},
      {R"(countries: "FRA")", "rule.countries"},
      {R"(sites: "paris")", "rule.sites"},
      {"subject_kind: 99", "rule.subject_kind"},
      {"effect: 99", "rule.effect"},
      {"verification: 99", "rule.verification"},
      {R"(citation { wording_date: "26.04.2024" })", "wording_date"},
      {R"(citation { wording_date: "2024-02-30" })", "wording_date"},
      {R"(citation { wording_date: "2024-4-26" })", "wording_date"},
      {R"(citation { wording_date: " 2024-4-26" })", "wording_date"},
      {"effective_from { nanos: -1 }", "rule.effective_from"},
      {"effective_to { seconds: 1000 }", "effective_to"},
      {R"(required { fact: "site.contry" comparison: COMPARISON_ANY_IN values: "FR" })",
       "rule.required[0].fact"},
      {R"(required { fact: "artefact.licence" comparison: COMPARISON_ANY_IN values: "MIT" })",
       "rule.required[0].fact"},
      {R"(required { fact: "purpose" values: "RENTAL" })", "rule.required[0].comparison"},
      {R"(required { fact: "purpose" comparison: 99 values: "RENTAL" })",
       "rule.required[0].comparison"},
      {R"(required { fact: "purpose" comparison: COMPARISON_ANY_IN })", "rule.required[0].values"},
      {R"(required { fact: "purpose" comparison: COMPARISON_ANY_IN values: "" })",
       "rule.required[0].values"},
      {R"(required { fact: "purpose" comparison: COMPARISON_ANY_IN values: "X" number: 1 })",
       "rule.required[0].number"},
      {R"(required { fact: "purpose" comparison: COMPARISON_AT_MOST number: 1 })",
       "rule.required[0].comparison"},
      {R"(required { fact: "server_count" comparison: COMPARISON_ALL_IN values: "1" })",
       "rule.required[0].comparison"},
      {R"(required { fact: "server_count" comparison: COMPARISON_AT_MOST values: "1" })",
       "rule.required[0].values"},
      {R"(applies_when { fact: "nonsense" comparison: COMPARISON_ANY_IN values: "x" })",
       "rule.applies_when[0].fact"},
  };
  for (const Malformed& malformed : cases) {
    v1::Rule rule = RuleWith(malformed.change);
    const absl::Status status = Validate(Adopt(rule));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << malformed.change;
    EXPECT_THAT(std::string(status.message()), HasSubstr(malformed.field)) << malformed.change;
  }
}

TEST(Compliance, RefusesARuleThatLacksAField) {
  const std::vector<std::pair<std::string, void (*)(v1::Rule&)>> cases = {
      {"rule.name", [](v1::Rule& rule) { rule.clear_name(); }},
      {"rule.version", [](v1::Rule& rule) { rule.clear_version(); }},
      {"rule.title", [](v1::Rule& rule) { rule.clear_title(); }},
      {"rule.subject_kind", [](v1::Rule& rule) { rule.clear_subject_kind(); }},
      {"rule.effect", [](v1::Rule& rule) { rule.clear_effect(); }},
      {"rule.verification", [](v1::Rule& rule) { rule.clear_verification(); }},
      {"rule.required", [](v1::Rule& rule) { rule.clear_required(); }},
      {"rule.citation.instrument",
       [](v1::Rule& rule) { rule.mutable_citation()->clear_instrument(); }},
      {"rule.citation.article", [](v1::Rule& rule) { rule.mutable_citation()->clear_article(); }},
      {"rule.citation.wording_date",
       [](v1::Rule& rule) { rule.mutable_citation()->clear_wording_date(); }},
      {"rule.effective_from", [](v1::Rule& rule) { rule.clear_effective_from(); }},
  };
  for (const auto& [field, clear] : cases) {
    v1::Rule rule = RuleWith("");
    clear(rule);
    EXPECT_THAT(Complaint(rule), HasSubstr(field));
  }
}

TEST(Compliance, RefusesMalformedCommandsOtherThanRules) {
  const auto complaint = [](const std::string& text) {
    return std::string(Validate(test::Parse<v1::Command>(text)).message());
  };
  EXPECT_THAT(complaint(""), HasSubstr("command"));
  EXPECT_THAT(complaint(R"(repeal_rule { name: "x" reason: "r" })"), HasSubstr("name"));
  EXPECT_THAT(complaint(R"(repeal_rule { name: "rules/x" })"), HasSubstr("reason"));
  EXPECT_EQ(complaint(R"(repeal_rule { name: "rules/x" reason: "r" })"), "");
  EXPECT_THAT(complaint("judge_reservation {}"), HasSubstr("reservation"));
  EXPECT_THAT(complaint("judge_artefact {}"), HasSubstr("deployment"));
  EXPECT_THAT(complaint("record_site {}"), HasSubstr("site"));
}

}  // namespace
}  // namespace concordat::compliance
