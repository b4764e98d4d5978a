// The rules that are shipped as files, and the YAML that they are written in.
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "services/runtime/yaml.h"
#include "tests/services/compliance/rules.h"
#include "tests/support/source_dir.h"

namespace concordat::compliance {
namespace {

using ::testing::HasSubstr;
using Scenario = test::Scenario<Service>;

std::map<std::string, v1::Rule> Shipped() {
  std::map<std::string, v1::Rule> rules;
  for (const auto& entry :
       std::filesystem::directory_iterator(SOURCE_DIR "/services/compliance/rules")) {
    std::stringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const absl::StatusOr<std::string> json = runtime::JsonOfYaml(text.str());
    EXPECT_TRUE(json.ok()) << entry.path() << ": " << json.status();
    v1::Rule rule;
    const auto parsed = google::protobuf::util::JsonStringToMessage(json.value_or(""), &rule);
    EXPECT_TRUE(parsed.ok()) << entry.path() << ": " << parsed.ToString();
    EXPECT_EQ(entry.path().filename().string(),
              rule.name().substr(rule.name().find('/') + 1) + ".yaml");
    rules[rule.name()] = rule;
  }
  return rules;
}

// All shipped rules hold at the site.
void AdoptAll(Scenario& scenario, const std::string& site) {
  scenario.At("2027-03-01T00:00:00Z");
  for (const auto& [name, rule] : Shipped()) {
    EXPECT_TRUE(scenario.When(Adopt(rule)).has_rule_adopted()) << name;
  }
  scenario.When(
      site == "paris"
          ? R"(record_site { site { name: "sites/paris" country: "FR" certifications: "HDS" } })"
          : R"(record_site { site { name: "sites/borlange" country: "SE" certifications: "ISO27001" } })");
}

// The judgement of a hold at the site; the site's facts come from its record.
v1::ReservationJudged Judged(
    const std::string& site, const std::string& terms,
    const std::string& customer = R"(customer_country: "FR" customer_sector: "HEALTHCARE")") {
  Scenario scenario(site);
  AdoptAll(scenario, site);
  const auto held = test::Parse<reservations::v1::Event>(
      "reservation_held { name: \"sites/" + site +
      "/reservations/r-1\" terms { customer: \"customers/c\" count: 1 "
      "model: \"models/m\" " +
      terms + "} " + customer + "}");
  return scenario.When(scenario.ReactionsTo(held, site).at(0).command).reservation_judged();
}

v1::ArtefactJudged JudgedArtefact(const std::string& artefact) {
  Scenario scenario("paris");
  AdoptAll(scenario, "paris");
  const auto requested = test::Parse<deployment::v1::Event>(
      "deployment_requested { name: \"sites/paris/deployments/d-1\" customer: \"customers/c\" "
      "artefact { "
      "name: \"artefacts/a\" digest: \"ab\" trained_in: \"FR\" " +
      artefact + "} }");
  return scenario.When(scenario.ReactionsTo(requested).at(0).command).artefact_judged();
}

// The names of the rules that a verdict comes from.
template <typename Findings>
std::vector<std::string> Prohibiting(const Findings& findings) {
  std::vector<std::string> rules;
  for (const v1::Finding& finding : findings) {
    if (finding.effect() == v1::EFFECT_DENY &&
        (finding.outcome() == v1::FINDING_OUTCOME_VIOLATED ||
         finding.outcome() == v1::FINDING_OUTCOME_UNEVALUABLE)) {
      rules.push_back(finding.rule());
    }
  }
  return rules;
}

using Rules = std::vector<std::string>;

TEST(ShippedRules, AreWellFormed) {
  const auto rules = Shipped();
  EXPECT_GE(rules.size(), 6u);
  for (const auto& [name, rule] : rules) EXPECT_EQ(Validate(Adopt(rule)), absl::OkStatus()) << name;
}

// Nobody has compared one of them with the text itself; who does may say so, in a new version.
TEST(ShippedRules, DoNotClaimToHaveBeenComparedWithTheLaw) {
  for (const auto& [name, rule] : Shipped()) {
    EXPECT_NE(rule.verification(), v1::VERIFICATION_PRIMARY) << name;
  }
}

TEST(ShippedRules, MakeOneRequestLawfulAtParisAndProhibitedAtBorlange) {
  const std::string request = R"(purpose: PURPOSE_INFERENCE data_classes: "HEALTH")";
  EXPECT_EQ(Judged("paris", request).verdict(), v1::VERDICT_CLEARED);
  const v1::ReservationJudged borlange = Judged("borlange", request);
  EXPECT_EQ(borlange.verdict(), v1::VERDICT_PROHIBITED);
  EXPECT_EQ(Prohibiting(borlange.findings()), Rules{"rules/hds-hosting"});
}

TEST(ShippedRules, LetOtherDataBeProcessedAnywhere) {
  const std::string request = R"(purpose: PURPOSE_INFERENCE data_classes: "PUBLIC")";
  EXPECT_EQ(Judged("paris", request).verdict(), v1::VERDICT_CLEARED);
  EXPECT_EQ(Judged("borlange", request).verdict(), v1::VERDICT_CLEARED);
}

TEST(ShippedRules, PlaceTrainingInFranceAndRentalInSweden) {
  const std::string training = R"(purpose: PURPOSE_TRAINING data_classes: "PUBLIC")";
  const std::string rental = R"(purpose: PURPOSE_RENTAL data_classes: "PUBLIC")";
  EXPECT_EQ(Judged("paris", training).verdict(), v1::VERDICT_CLEARED);
  EXPECT_EQ(Prohibiting(Judged("borlange", training).findings()),
            Rules{"rules/placement-training"});
  EXPECT_EQ(Prohibiting(Judged("paris", rental).findings()), Rules{"rules/placement-rental"});
  EXPECT_EQ(Judged("borlange", rental).verdict(), v1::VERDICT_CLEARED);
}

TEST(ShippedRules, WarnOfFrenchPublicBodiesAndProhibitNothing) {
  const v1::ReservationJudged judged =
      Judged("paris", R"(purpose: PURPOSE_INFERENCE data_classes: "PUBLIC")",
             R"(customer_country: "FR" customer_sector: "PUBLIC")");
  EXPECT_EQ(judged.verdict(), v1::VERDICT_CLEARED);
  const auto finding =
      std::find_if(judged.findings().begin(), judged.findings().end(),
                   [](const auto& f) { return f.rule() == "rules/sren-trusted-cloud"; });
  ASSERT_NE(finding, judged.findings().end());
  EXPECT_EQ(finding->outcome(), v1::FINDING_OUTCOME_VIOLATED);
}

TEST(ShippedRules, LetAnArtefactRunOnlyWithLicenceAndProvenance) {
  EXPECT_EQ(
      JudgedArtefact(R"(licence: "Apache-2.0" provenance: "signed by its publisher")").verdict(),
      v1::VERDICT_CLEARED);
  EXPECT_EQ(
      Prohibiting(JudgedArtefact(R"(licence: "LicenseRef-secret" provenance: "p")").findings()),
      Rules{"rules/artefact-licence"});
  EXPECT_EQ(Prohibiting(JudgedArtefact(R"(licence: "MIT")").findings()),
            Rules{"rules/artefact-provenance"});
  EXPECT_EQ(Prohibiting(JudgedArtefact(R"(provenance: "p")").findings()),
            Rules{"rules/artefact-licence"});
}

TEST(Yaml, IsReadAsJson) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a: 1\nb: [x, \"y\"]", R"({"a":1,"b":["x","y"]})"},
      {"{\"a\": {\"b\": null}}", R"({"a":{"b":null}})"},
      {"a:\nb: ~\nc: null", R"({"a":null,"b":null,"c":null})"},
      {"[true, false, True, yes, NO]", R"([true,false,"True","yes","NO"])"},
      {"['1', \"true\", '', \"null\", !!str 5]", R"(["1","true","","null","5"])"},
      {"[0, -7, 1.5, 1e9, -0.25E-3]", R"([0,-7,1.5,1e9,-0.25E-3])"},
      {"[007, 1., .5, +1, 0x10, .inf, 1_000, 2024-04-26, '-', 1e]",
       R"(["007","1.",".5","+1","0x10",".inf","1_000","2024-04-26","-","1e"])"},
      {"a: \"quote \\\" slash \\\\ line \\n\"", "{\"a\":\"quote \\\" slash \\\\ line \\u000a\"}"},
      {"a: &x {k: v}\nb: *x", R"({"a":{"k":"v"},"b":{"k":"v"}})"},
      {"a: é", "{\"a\":\"é\"}"},
      {"[]", "[]"},
      {"{}", "{}"},
  };
  for (const auto& [yaml, json] : cases) {
    const absl::StatusOr<std::string> found = runtime::JsonOfYaml(yaml);
    ASSERT_TRUE(found.ok()) << yaml << found.status();
    EXPECT_EQ(*found, json) << yaml;
  }
}

TEST(Yaml, IsRefusedWhereItIsNoneOrAmbiguousOrTooLarge) {
  const auto complaint = [](const std::string& yaml) {
    const absl::Status status = runtime::JsonOfYaml(yaml).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << yaml.substr(0, 80);
    return std::string(status.message());
  };
  EXPECT_THAT(complaint("a: [1"), HasSubstr("line"));
  EXPECT_THAT(complaint(""), HasSubstr("0 YAML documents"));
  EXPECT_THAT(complaint("a: 1\n---\nb: 2"), HasSubstr("2 YAML documents"));
  EXPECT_THAT(complaint(", a"), HasSubstr("2 YAML documents")) << "of which yaml-cpp sees no end";
  EXPECT_THAT(complaint("a: 1\na: 2"), HasSubstr("line 2, column 1: found the key a twice"));
  EXPECT_THAT(complaint("[1, 2]: x"), HasSubstr("a key that is no word"));
  EXPECT_THAT(complaint(std::string(100, '[') + std::string(100, ']')), HasSubstr("levels"));
  std::string bomb =
      "a0: &a0 [0123456789,0123456789,0123456789,0123456789,0123456789,0123456789,0123456789]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string alias = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + alias;
    for (int j = 0; j < 8; ++j) bomb += "," + alias;
    bomb += "]\n";
  }
  EXPECT_THAT(complaint(bomb), HasSubstr("bytes as JSON"));
}

}  // namespace
}  // namespace concordat::compliance
