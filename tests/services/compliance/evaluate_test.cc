#include "services/compliance/evaluate.h"

#include <set>

#include "events/link.h"
#include "tests/services/compliance/rules.h"

namespace concordat::compliance {
namespace {

// The facts of a JudgeReservation in text format, without its other fields.
Facts FactsOf(const std::string& text) { return test::Parse<v1::JudgeReservation>(text).facts(); }

struct Case {
  std::string predicate;
  std::string facts;
  char expected;  // '+' held, '-' did not hold, '?' unevaluable
};

char Came(const v1::PredicateOutcome& outcome) {
  if (outcome.unevaluable()) return outcome.held() ? '!' : '?';
  return outcome.held() ? '+' : '-';
}

TEST(Evaluate, ComparesAFactWithTheValues) {
  const std::string all = R"(fact: "f" values: "A" values: "B" comparison: COMPARISON_ALL_IN)";
  const std::string any = R"(fact: "f" values: "A" values: "B" comparison: COMPARISON_ANY_IN)";
  const std::string none = R"(fact: "f" values: "A" values: "B" comparison: COMPARISON_NONE_IN)";
  const std::string most = R"(fact: "f" number: 5 comparison: COMPARISON_AT_MOST)";
  const std::string least = R"(fact: "f" number: 5 comparison: COMPARISON_AT_LEAST)";
  const auto words = [](const std::string& values) {
    return R"(facts { name: "f" )" + values + "}";
  };
  const auto number = [](const std::string& n) {
    return R"(facts { name: "f" is_number: true number: )" + n + "}";
  };
  const std::string inside = words(R"(values: "B" values: "A")"),
                    mixed = words(R"(values: "B" values: "C")"), outside = words(R"(values: "C")"),
                    empty = words("");
  const std::vector<Case> cases = {
      {all, inside, '+'},
      {all, mixed, '-'},
      {all, outside, '-'},
      {all, empty, '+'},
      {any, inside, '+'},
      {any, mixed, '+'},
      {any, outside, '-'},
      {any, empty, '-'},
      {none, inside, '-'},
      {none, mixed, '-'},
      {none, outside, '+'},
      {none, empty, '+'},
      {most, number("4"), '+'},
      {most, number("5"), '+'},
      {most, number("6"), '-'},
      {most, number("-9"), '+'},
      {least, number("4"), '-'},
      {least, number("5"), '+'},
      {least, number("6"), '+'},
      {least, number("-9"), '-'},
      // Absent, of another kind, stated twice, of a comparison that nobody knows.
      {all, "", '?'},
      {any, "", '?'},
      {none, "", '?'},
      {most, "", '?'},
      {all, number("5"), '?'},
      {any, number("5"), '?'},
      {none, number("5"), '?'},
      {least, "", '?'},
      {most, inside, '?'},
      {least, empty, '?'},
      {any, inside + inside, '?'},
      {most, number("1") + number("1"), '?'},
      {R"(fact: "f" values: "A")", inside, '?'},
      {R"(fact: "f" values: "A" comparison: 99)", inside, '?'},
      {any, R"(facts { name: "g" values: "A" })", '?'},
      {R"(fact: "f" values: "a" comparison: COMPARISON_ANY_IN)", inside, '-'},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Came(Evaluate(test::Parse<v1::Predicate>(c.predicate), FactsOf(c.facts))), c.expected)
        << c.predicate << " over " << c.facts;
  }
}

// A rule whose predicates hold ('+'), do not ('-') or cannot be evaluated ('?'), as
// `applies>required`.
v1::FindingOutcome OutcomeOf(const std::string& shape) {
  v1::Rule rule;
  Facts facts;
  bool applies = true;
  for (const char c : shape) {
    if (c == '>') {
      applies = false;
      continue;
    }
    v1::Predicate& predicate = applies ? *rule.add_applies_when() : *rule.add_required();
    predicate.set_fact("f" + std::to_string(facts.size()));
    predicate.set_comparison(v1::COMPARISON_ANY_IN);
    predicate.add_values("yes");
    v1::Fact& fact = *facts.Add();
    fact.set_name(c == '?' ? "other" + predicate.fact() : predicate.fact());
    fact.add_values(c == '+' ? "yes" : "no");
  }
  const std::optional<v1::Finding> finding = Evaluate(rule, {"sites/paris", "FR"}, facts);
  EXPECT_TRUE(finding) << shape;
  EXPECT_EQ(finding->predicates_size(), rule.applies_when_size() + rule.required_size()) << shape;
  return finding->outcome();
}

TEST(Evaluate, ARuleAppliesAndIsSatisfiedByAllOfItsPredicates) {
  const std::vector<std::pair<std::string, v1::FindingOutcome>> cases = {
      {">+", v1::FINDING_OUTCOME_SATISFIED},        {">-", v1::FINDING_OUTCOME_VIOLATED},
      {">?", v1::FINDING_OUTCOME_UNEVALUABLE},      {"+>++", v1::FINDING_OUTCOME_SATISFIED},
      {"++>+-", v1::FINDING_OUTCOME_VIOLATED},      {"+>+?", v1::FINDING_OUTCOME_UNEVALUABLE},
      {"+>?-", v1::FINDING_OUTCOME_VIOLATED},       {"->+", v1::FINDING_OUTCOME_NOT_APPLICABLE},
      {"+->-", v1::FINDING_OUTCOME_NOT_APPLICABLE}, {"->?", v1::FINDING_OUTCOME_NOT_APPLICABLE},
      {"?->+", v1::FINDING_OUTCOME_NOT_APPLICABLE}, {"-?>-", v1::FINDING_OUTCOME_NOT_APPLICABLE},
      {"?>+", v1::FINDING_OUTCOME_UNEVALUABLE},     {"+?>+", v1::FINDING_OUTCOME_UNEVALUABLE},
      {"?>-", v1::FINDING_OUTCOME_UNEVALUABLE},
  };
  for (const auto& [shape, expected] : cases) {
    EXPECT_EQ(v1::FindingOutcome_Name(OutcomeOf(shape)), v1::FindingOutcome_Name(expected))
        << shape;
  }
}

// What a rule of this scope says at Paris, or wherever: '.' nothing, otherwise the outcome's first
// letter.
char At(const std::string& scope, const Place& place) {
  v1::Rule rule = RuleWith(scope);
  const std::optional<v1::Finding> finding =
      Evaluate(rule, place, FactsOf(R"(facts { name: "site.certifications" values: "HDS" })"));
  if (!finding) return '.';
  return v1::FindingOutcome_Name(finding->outcome())[std::string("FINDING_OUTCOME_").size()];
}

TEST(Evaluate, ARuleHoldsInItsCountriesAndAtItsSites) {
  const Place paris{"sites/paris", "FR"}, unknown{"sites/paris", std::nullopt};
  EXPECT_EQ(At("", paris), 'S');
  EXPECT_EQ(At(R"(countries: "SE" countries: "FR")", paris), 'S');
  EXPECT_EQ(At(R"(countries: "SE")", paris), '.');
  EXPECT_EQ(At(R"(sites: "sites/paris")", paris), 'S');
  EXPECT_EQ(At(R"(sites: "sites/borlange")", paris), '.');
  EXPECT_EQ(At(R"(countries: "FR" sites: "sites/borlange")", paris), '.');
  EXPECT_EQ(At(R"(countries: "SE" sites: "sites/paris")", paris), '.');
  EXPECT_EQ(At(R"(countries: "FR" sites: "sites/paris")", paris), 'S');
  // Whether a country's rule holds cannot be said; that another site's rule does not, can.
  EXPECT_EQ(At("", unknown), 'S');
  EXPECT_EQ(At(R"(countries: "SE")", unknown), 'U');
  EXPECT_EQ(At(R"(sites: "sites/paris")", unknown), 'S');
  EXPECT_EQ(At(R"(countries: "FR" sites: "sites/borlange")", unknown), '.');
  // Nor is a rule taken not to apply where it is not known whether it holds.
  EXPECT_EQ(
      At(R"(countries: "SE" applies_when { fact: "site.certifications" comparison: COMPARISON_NONE_IN
                                                 values: "HDS" })",
         unknown),
      'U');
}

// The version in force at that second; 0 where none is.
int InForceAt(const std::string& history, int64_t second) {
  const auto parsed = test::Parse<v1::RuleHistory>(history);
  const v1::Rule* rule = InForce(parsed, absl::FromUnixSeconds(second));
  return rule == nullptr ? 0 : rule->version();
}

TEST(Evaluate, AVersionHoldsFromItsFirstInstantUntilBeforeItsLast) {
  const std::string once =
      "versions { version: 1 effective_from { seconds: 100 } effective_to { seconds: 200 } }";
  EXPECT_EQ(InForceAt(once, 99), 0);
  EXPECT_EQ(InForceAt(once, 100), 1);
  EXPECT_EQ(InForceAt(once, 199), 1);
  EXPECT_EQ(InForceAt(once, 200), 0);
  EXPECT_EQ(InForceAt("", 100), 0);
}

TEST(Evaluate, ANewerVersionTakesOverWhenItsTimeHasCome) {
  const std::string two =
      "versions { version: 1 effective_from { seconds: 100 } }"
      "versions { version: 2 effective_from { seconds: 200 } effective_to { seconds: 300 } }";
  EXPECT_EQ(InForceAt(two, 199), 1);
  EXPECT_EQ(InForceAt(two, 200), 2);
  // The first one was replaced; it does not come back when its successor ends.
  EXPECT_EQ(InForceAt(two, 300), 0);
  const std::string backdated =
      "versions { version: 1 effective_from { seconds: 100 } } versions { version: 2 "
      "effective_from { seconds: 50 } }";
  EXPECT_EQ(InForceAt(backdated, 60), 2);
  EXPECT_EQ(InForceAt(backdated, 150), 2);
}

TEST(Evaluate, ARepealEndsTheVersionsBeforeItOnly) {
  const std::string repealed =
      "versions { version: 1 effective_from { seconds: 100 } } repealed_version: 1 ";
  EXPECT_EQ(InForceAt(repealed, 500), 0);
  EXPECT_EQ(InForceAt(repealed + "versions { version: 2 effective_from { seconds: 200 } }", 150),
            0);
  EXPECT_EQ(InForceAt(repealed + "versions { version: 2 effective_from { seconds: 200 } }", 200),
            2);
}

TEST(Evaluate, TheFactsDigestIsOfTheDocumentedBytes) {
  const Facts facts = FactsOf(
      R"(facts { name: "ab" values: "x" values: "" } facts { name: "n" is_number: true number: -2 })");
  using std::string_literals::operator""s;
  const std::string bytes =
      "\0\0\0\2ab\0\0\0\0\2\0\0\0\1x\0\0\0\0"s
      "\0\0\0\1n\1\xff\xff\xff\xff\xff\xff\xff\xfe"s;
  EXPECT_EQ(events::ToHex(FactsDigest(facts)), events::Sha256(bytes).ToHex());
  EXPECT_EQ(FactsDigest(facts).size(), 32u);
}

TEST(Evaluate, TheFactsDigestTellsApartWhatLooksAlike) {
  const std::vector<std::string> different = {
      "",
      R"(facts { name: "a" })",
      R"(facts { name: "a" values: "" })",
      R"(facts { name: "a" is_number: true })",
      R"(facts { name: "a" values: "bc" })",
      R"(facts { name: "a" values: "b" values: "c" })",
      R"(facts { name: "ab" values: "c" })",
      R"(facts { name: "a" values: "c" values: "b" })",
  };
  std::set<std::string> digests;
  for (const std::string& facts : different) digests.insert(FactsDigest(FactsOf(facts)));
  EXPECT_EQ(digests.size(), different.size());
}

}  // namespace
}  // namespace concordat::compliance
