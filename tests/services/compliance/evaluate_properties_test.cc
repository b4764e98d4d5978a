// Properties of the evaluation over rules and facts made at random.
#include <gtest/gtest.h>
// After gtest, which it does not include.
#include <rapidcheck/gtest.h>

#include "services/compliance/evaluate.h"
#include "tests/services/compliance/rules.h"

namespace concordat::compliance {
namespace {

// From few names and values, so that facts and predicates meet.
std::string Name() { return *rc::gen::element<std::string>("f", "g", "h"); }
std::string Value() { return *rc::gen::element<std::string>("A", "B", "C"); }

v1::Predicate AnyPredicate() {
  v1::Predicate predicate;
  predicate.set_fact(Name());
  predicate.set_comparison(static_cast<v1::Comparison>(*rc::gen::inRange(0, 7)));
  for (int i = *rc::gen::inRange(0, 3); i > 0; --i) predicate.add_values(Value());
  predicate.set_number(*rc::gen::inRange(-2, 3));
  return predicate;
}

Facts AnyFacts() {
  Facts facts;
  for (int i = *rc::gen::inRange(0, 5); i > 0; --i) {
    v1::Fact& fact = *facts.Add();
    fact.set_name(Name());
    fact.set_is_number(*rc::gen::arbitrary<bool>());
    fact.set_number(*rc::gen::inRange(-2, 3));
    for (int values = *rc::gen::inRange(0, 3); values > 0; --values) fact.add_values(Value());
  }
  return facts;
}

v1::Rule AnyRule(int number) {
  v1::Rule rule;
  rule.set_name("rules/r-" + std::to_string(number));
  rule.set_version(1);
  rule.set_subject_kind(v1::SUBJECT_KIND_RESERVATION);
  rule.set_effect(*rc::gen::element(v1::EFFECT_DENY, v1::EFFECT_WARN));
  if (*rc::gen::inRange(0, 3) == 0) rule.add_countries(*rc::gen::element<std::string>("FR", "SE"));
  for (int i = *rc::gen::inRange(0, 3); i > 0; --i) *rule.add_applies_when() = AnyPredicate();
  for (int i = *rc::gen::inRange(1, 3); i > 0; --i) *rule.add_required() = AnyPredicate();
  return rule;
}

RC_GTEST_PROP(EvaluateProperties, ProhibitsIfAndOnlyIfADenyingRuleIsViolatedOrUnevaluable, ()) {
  test::Scenario<Service> scenario;
  for (int i = *rc::gen::inRange(0, 5); i > 0; --i) {
    v1::Event event;
    *event.mutable_rule_adopted()->mutable_rule() = AnyRule(i);
    scenario.Given(event.DebugString());
  }
  v1::Command command;
  command.mutable_judge_reservation()->set_reservation("sites/paris/reservations/r-1");
  *command.mutable_judge_reservation()->mutable_facts() = AnyFacts();
  if (*rc::gen::arbitrary<bool>()) {
    v1::Fact& country = *command.mutable_judge_reservation()->add_facts();
    country.set_name("site.country");
    country.add_values("FR");
  }
  const v1::Event event = scenario.When(command);
  bool denied = false;
  for (const v1::Finding& finding : event.reservation_judged().findings()) {
    const bool bad = finding.outcome() == v1::FINDING_OUTCOME_VIOLATED ||
                     finding.outcome() == v1::FINDING_OUTCOME_UNEVALUABLE;
    denied = denied || (bad && finding.effect() == v1::EFFECT_DENY);
  }
  RC_CLASSIFY(denied);
  RC_ASSERT(event.reservation_judged().verdict() ==
            (denied ? v1::VERDICT_PROHIBITED : v1::VERDICT_CLEARED));
}

RC_GTEST_PROP(EvaluateProperties, NothingIsSatisfiedOnceItsFactsAreGone, ()) {
  v1::Rule rule = AnyRule(1);
  rule.clear_countries();
  const std::optional<v1::Finding> finding = Evaluate(rule, {"sites/paris", "FR"}, Facts());
  RC_ASSERT(finding.has_value());
  RC_ASSERT(finding->outcome() == v1::FINDING_OUTCOME_UNEVALUABLE);
}

RC_GTEST_PROP(EvaluateProperties, WhatAPredicateHoldsOfIsKnown, ()) {
  const v1::PredicateOutcome outcome = Evaluate(AnyPredicate(), AnyFacts());
  RC_CLASSIFY(outcome.held());
  RC_ASSERT(!(outcome.held() && outcome.unevaluable()));
}

}  // namespace
}  // namespace concordat::compliance
