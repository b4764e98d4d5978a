#include "services/compliance/evaluate.h"

#include <algorithm>

#include "events/link.h"
#include "services/runtime/check.h"

namespace concordat::compliance {
namespace {

template <typename Values>
bool Contains(const Values& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

bool ComparesNumbers(v1::Comparison comparison) {
  return comparison == v1::COMPARISON_AT_MOST || comparison == v1::COMPARISON_AT_LEAST;
}

// Nothing where the comparison is none that this release knows.
std::optional<bool> Holds(const v1::Predicate& predicate, const v1::Fact& fact) {
  const auto listed = [&](const std::string& value) { return Contains(predicate.values(), value); };
  const auto& values = fact.values();
  switch (static_cast<int>(predicate.comparison())) {
    case v1::COMPARISON_ALL_IN:
      return std::all_of(values.begin(), values.end(), listed);
    case v1::COMPARISON_ANY_IN:
      return std::any_of(values.begin(), values.end(), listed);
    case v1::COMPARISON_NONE_IN:
      return std::none_of(values.begin(), values.end(), listed);
    case v1::COMPARISON_AT_MOST:
      return fact.number() <= predicate.number();
    case v1::COMPARISON_AT_LEAST:
      return fact.number() >= predicate.number();
  }
  return std::nullopt;
}

// What several predicates come to together: one that does not hold decides, whether or not the
// others are known.
struct Together {
  bool failed = false;
  bool unevaluable = false;
  void Add(const v1::PredicateOutcome& outcome) {
    unevaluable = unevaluable || outcome.unevaluable();
    failed = failed || (!outcome.held() && !outcome.unevaluable());
  }
};

Together EvaluateAll(const google::protobuf::RepeatedPtrField<v1::Predicate>& predicates,
                     const Facts& facts, v1::Finding& finding) {
  Together together;
  for (const v1::Predicate& predicate : predicates) {
    *finding.add_predicates() = Evaluate(predicate, facts);
    together.Add(*finding.predicates().rbegin());
  }
  return together;
}

v1::FindingOutcome OutcomeOf(const Together& applies, const Together& required) {
  if (applies.failed) return v1::FINDING_OUTCOME_NOT_APPLICABLE;
  if (applies.unevaluable) return v1::FINDING_OUTCOME_UNEVALUABLE;
  if (required.failed) return v1::FINDING_OUTCOME_VIOLATED;
  if (required.unevaluable) return v1::FINDING_OUTCOME_UNEVALUABLE;
  return v1::FINDING_OUTCOME_SATISFIED;
}

void Append(std::string& bytes, uint64_t number, int size) {
  for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) {
    bytes += static_cast<char>(number >> shift & 0xff);
  }
}

void AppendText(std::string& bytes, const std::string& text) {
  Append(bytes, text.size(), 4);
  bytes += text;
}

}  // namespace

std::vector<KnownFact> KnownFacts(v1::SubjectKind kind) {
  std::vector<KnownFact> facts = {{"site.name", false},
                                  {"site.country", false},
                                  {"site.certifications", false},
                                  {"customer.name", false}};
  if (kind == v1::SUBJECT_KIND_RESERVATION) {
    facts.insert(facts.end(), {{"customer.country", false},
                               {"customer.sector", false},
                               {"purpose", false},
                               {"data_classes", false},
                               {"model", false},
                               {"server_count", true}});
    return facts;
  }
  if (kind == v1::SUBJECT_KIND_ARTEFACT) {
    facts.insert(facts.end(), {{"artefact.name", false},
                               {"artefact.digest", false},
                               {"artefact.licence", false},
                               {"artefact.trained_in", false},
                               {"artefact.provenance", false},
                               {"artefact.provenance_bytes", true}});
    return facts;
  }
  return {};
}

const v1::Fact* FindFact(const Facts& facts, std::string_view name) {
  const v1::Fact* found = nullptr;
  for (const v1::Fact& fact : facts) {
    if (fact.name() != name) continue;
    if (found != nullptr) return nullptr;
    found = &fact;
  }
  return found;
}

v1::PredicateOutcome Evaluate(const v1::Predicate& predicate, const Facts& facts) {
  v1::PredicateOutcome outcome;
  *outcome.mutable_predicate() = predicate;
  const v1::Fact* fact = FindFact(facts, predicate.fact());
  std::optional<bool> held;
  if (fact != nullptr && fact->is_number() == ComparesNumbers(predicate.comparison())) {
    held = Holds(predicate, *fact);
  }
  outcome.set_held(held.value_or(false));
  outcome.set_unevaluable(!held.has_value());
  return outcome;
}

std::optional<v1::Finding> Evaluate(const v1::Rule& rule, const Place& place, const Facts& facts) {
  if (!rule.sites().empty() && !Contains(rule.sites(), place.site)) return std::nullopt;
  const bool everywhere = rule.countries().empty();
  if (!everywhere && place.country && !Contains(rule.countries(), *place.country)) {
    return std::nullopt;
  }
  v1::Finding finding;
  finding.set_rule(rule.name());
  finding.set_version(rule.version());
  finding.set_effect(rule.effect());
  *finding.mutable_citation() = rule.citation();
  finding.set_title(rule.title());
  const Together applies = EvaluateAll(rule.applies_when(), facts, finding);
  const Together required = EvaluateAll(rule.required(), facts, finding);
  const bool place_known = everywhere || place.country.has_value();
  finding.set_outcome(place_known ? OutcomeOf(applies, required) : v1::FINDING_OUTCOME_UNEVALUABLE);
  return finding;
}

bool Prohibits(const v1::Finding& finding) {
  const bool found = finding.outcome() == v1::FINDING_OUTCOME_VIOLATED ||
                     finding.outcome() == v1::FINDING_OUTCOME_UNEVALUABLE;
  return found && finding.effect() != v1::EFFECT_WARN;
}

v1::Verdict VerdictOf(const Findings& findings) {
  return std::any_of(findings.begin(), findings.end(), Prohibits) ? v1::VERDICT_PROHIBITED
                                                                  : v1::VERDICT_CLEARED;
}

const v1::Rule* InForce(const v1::RuleHistory& history, absl::Time now) {
  const v1::Rule* newest = nullptr;
  for (const v1::Rule& rule : history.versions()) {
    if (rule.version() <= history.repealed_version()) continue;
    if (runtime::ToTime(rule.effective_from()) <= now) newest = &rule;
  }
  if (newest == nullptr) return nullptr;
  const bool over = newest->has_effective_to() && runtime::ToTime(newest->effective_to()) <= now;
  return over ? nullptr : newest;
}

std::string FactsDigest(const Facts& facts) {
  std::string bytes;
  for (const v1::Fact& fact : facts) {
    AppendText(bytes, fact.name());
    Append(bytes, fact.is_number() ? 1 : 0, 1);
    if (fact.is_number()) {
      Append(bytes, static_cast<uint64_t>(fact.number()), 8);
      continue;
    }
    Append(bytes, static_cast<uint64_t>(fact.values_size()), 4);
    for (const std::string& value : fact.values()) AppendText(bytes, value);
  }
  const events::Link digest = events::Sha256(bytes);
  return std::string(digest.bytes.begin(), digest.bytes.end());
}

}  // namespace concordat::compliance
