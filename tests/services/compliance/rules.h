// Rules and facts as the tests of compliance write them.
#pragma once

#include <string>

#include "services/compliance/service.h"
#include "tests/support/scenario.h"

namespace concordat::compliance {

// A rule for reservations that passes Validate, changed by further text-format fields.
inline v1::Rule RuleWith(const std::string& text) {
  auto rule = test::Parse<v1::Rule>(R"(
      name: "rules/hds-hosting" version: 1 title: "Health data needs HDS."
      subject_kind: SUBJECT_KIND_RESERVATION
      effect: EFFECT_DENY
      citation { instrument: "Code" article: "L1111-8" wording_date: "2024-04-26" }
      effective_from { seconds: 1000 }
      verification: VERIFICATION_SECONDARY)");
  rule.MergeFrom(test::Parse<v1::Rule>(text));
  if (rule.required().empty()) {
    *rule.add_required() = test::Parse<v1::Predicate>(
        R"(fact: "site.certifications" comparison: COMPARISON_ANY_IN values: "HDS")");
  }
  return rule;
}

inline v1::Command Adopt(const v1::Rule& rule) {
  v1::Command command;
  *command.mutable_adopt_rule()->mutable_rule() = rule;
  return command;
}

}  // namespace concordat::compliance
