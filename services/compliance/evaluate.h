// What a rule says of a subject: typed predicates over the facts that a command carried.
// Law: nothing is looked up anywhere; what cannot be evaluated is never taken for lawful.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concordat/compliance/v1/api.pb.h"

namespace concordat::compliance {

using Facts = google::protobuf::RepeatedPtrField<v1::Fact>;
using Findings = google::protobuf::RepeatedPtrField<v1::Finding>;

// Where something is judged.
struct Place {
  std::string site;                    // `sites/paris`
  std::optional<std::string> country;  // nothing: not known, or stated more than once
};

// A fact that rules may speak about.
struct KnownFact {
  std::string_view name;
  bool is_number;
};

// The facts known of such a subject; empty for a kind that does not exist.
std::vector<KnownFact> KnownFacts(v1::SubjectKind kind);

// The fact of this name; null where it is absent or stated more than once.
const v1::Fact* FindFact(const Facts& facts, std::string_view name);

v1::PredicateOutcome Evaluate(const v1::Predicate& predicate, const Facts& facts);

// What the rule says of a subject there; nothing where the rule does not hold at that place.
//     an `applies_when` does not hold                             NOT_APPLICABLE
//     otherwise one of them, or the country, is not known         UNEVALUABLE
//     a `required` does not hold                                  VIOLATED
//     otherwise one of them is not known                          UNEVALUABLE
//     otherwise                                                   SATISFIED
// A rule for some countries is UNEVALUABLE wherever the country is not known, whatever else holds.
std::optional<v1::Finding> Evaluate(const v1::Rule& rule, const Place& place, const Facts& facts);

// PROHIBITED where a rule that denies is violated or could not be evaluated.
v1::Verdict VerdictOf(const Findings& findings);

// Whether this finding is why the verdict is PROHIBITED.
bool Prohibits(const v1::Finding& finding);

// The version in force: the newest whose `effective_from` has come, unless it was repealed or its
// `effective_to` has come too; an earlier version never comes back. Null where there is none.
const v1::Rule* InForce(const v1::RuleHistory& history, absl::Time now);

// SHA-256 over the facts in their order, 32 bytes; ReservationJudged.facts_digest says of which
// bytes.
std::string FactsDigest(const Facts& facts);

}  // namespace concordat::compliance
