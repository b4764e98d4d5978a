#include <absl/time/civil_time.h>
#include <fmt/format.h>

#include "services/compliance/decider.h"
#include "services/compliance/evaluate.h"
#include "services/runtime/check.h"

namespace concordat::compliance {
namespace {

using runtime::Presence;

// One rule is one event, and every judgement repeats its predicates: so they are bounded.
constexpr int kMostPredicates = 20;
constexpr int kMostValues = 100;
constexpr int kMostPlaces = 100;

absl::Status CheckDate(const std::string& field, const std::string& value) {
  absl::CivilDay day;
  // ParseCivilTime is lenient about `2024-4-26`; a date is written in one way only.
  if (value.size() == 10 && absl::ParseCivilTime(value, &day) &&
      absl::FormatCivilTime(day) == value) {
    return absl::OkStatus();
  }
  if (absl::Status text = runtime::CheckText(field, value); !text.ok()) return text;
  return absl::InvalidArgumentError(
      fmt::format("{}: found \"{}\", expected a date such as 2024-04-26", field, value));
}

// A fact that exists, and whether it is a number. A rule over a misspelt fact would prohibit
// everything.
absl::Status CheckFact(const std::string& field, v1::SubjectKind kind, const std::string& name,
                       bool* is_number) {
  if (absl::Status text = runtime::CheckText(field, name); !text.ok()) return text;
  std::string known;
  for (const KnownFact& fact : KnownFacts(kind)) {
    if (fact.name == name) {
      *is_number = fact.is_number;
      return absl::OkStatus();
    }
    known += fmt::format("{}{}", known.empty() ? "" : ", ", fact.name);
  }
  return absl::InvalidArgumentError(
      fmt::format("{}: found \"{}\", expected one of {}", field, name, known));
}

absl::Status CheckPredicate(const std::string& field, v1::SubjectKind kind,
                            const v1::Predicate& predicate) {
  bool is_number = false;
  if (absl::Status fact = CheckFact(field + ".fact", kind, predicate.fact(), &is_number);
      !fact.ok())
    return fact;
  const std::string comparison = field + ".comparison";
  if (absl::Status known = runtime::CheckEnum(comparison, predicate.comparison()); !known.ok()) {
    return known;
  }
  const bool compares_numbers = predicate.comparison() == v1::COMPARISON_AT_MOST ||
                                predicate.comparison() == v1::COMPARISON_AT_LEAST;
  if (compares_numbers != is_number) {
    return absl::InvalidArgumentError(
        fmt::format("{}: found {}, expected one for {} since {} is one", comparison,
                    v1::Comparison_Name(predicate.comparison()), is_number ? "numbers" : "words",
                    predicate.fact()));
  }
  const std::string values = field + ".values";
  if (is_number) return runtime::CheckRange(values, predicate.values_size(), 0, 0);
  if (absl::Status count = runtime::CheckRange(values, predicate.values_size(), 1, kMostValues);
      !count.ok()) {
    return count;
  }
  for (const std::string& value : predicate.values()) {
    if (absl::Status text = runtime::CheckText(values, value); !text.ok()) return text;
  }
  return runtime::CheckRange(field + ".number", predicate.number(), 0, 0);
}

absl::Status CheckPredicates(const std::string& field, v1::SubjectKind kind, int least,
                             const google::protobuf::RepeatedPtrField<v1::Predicate>& predicates) {
  if (absl::Status count = runtime::CheckRange(field, predicates.size(), least, kMostPredicates);
      !count.ok()) {
    return count;
  }
  for (int i = 0; i < predicates.size(); ++i) {
    const absl::Status predicate =
        CheckPredicate(fmt::format("{}[{}]", field, i), kind, predicates[i]);
    if (!predicate.ok()) return predicate;
  }
  return absl::OkStatus();
}

absl::Status CheckScope(const v1::Rule& rule) {
  absl::Status counts = runtime::FirstError(
      {runtime::CheckRange("rule.countries", rule.countries_size(), 0, kMostPlaces),
       runtime::CheckRange("rule.sites", rule.sites_size(), 0, kMostPlaces)});
  if (!counts.ok()) return counts;
  for (const std::string& country : rule.countries()) {
    if (absl::Status status = runtime::CheckCountry("rule.countries", country); !status.ok()) {
      return status;
    }
  }
  for (const std::string& site : rule.sites()) {
    if (absl::Status status = runtime::CheckName("rule.sites", site, "sites/*"); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEffective(const v1::Rule& rule) {
  if (!rule.has_effective_to()) {
    return runtime::CheckTime("rule.effective_from", rule.has_effective_from(),
                              rule.effective_from());
  }
  return runtime::CheckSpan("rule.effective_from", rule.has_effective_from(), rule.effective_from(),
                            "rule.effective_to", true, rule.effective_to());
}

absl::Status CheckRule(const v1::Rule& rule) {
  const absl::Status fields = runtime::FirstError({
      runtime::CheckName("rule.name", rule.name(), "rules/*"),
      runtime::CheckRange("rule.version", rule.version(), 1, 1'000'000),
      runtime::CheckText("rule.title", rule.title()),
      CheckScope(rule),
      runtime::CheckEnum("rule.subject_kind", rule.subject_kind()),
      runtime::CheckEnum("rule.effect", rule.effect()),
      runtime::CheckText("rule.citation.instrument", rule.citation().instrument()),
      runtime::CheckText("rule.citation.article", rule.citation().article()),
      runtime::CheckText("rule.citation.url", rule.citation().url(), Presence::kOptional),
      CheckDate("rule.citation.wording_date", rule.citation().wording_date()),
      CheckEffective(rule),
      runtime::CheckEnum("rule.verification", rule.verification()),
      runtime::CheckText("rule.approver", rule.approver(), Presence::kOptional),
  });
  if (!fields.ok()) return fields;
  return runtime::FirstError(
      {CheckPredicates("rule.applies_when", rule.subject_kind(), 0, rule.applies_when()),
       CheckPredicates("rule.required", rule.subject_kind(), 1, rule.required())});
}

}  // namespace

absl::Status Validate(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kAdoptRule:
      return CheckRule(command.adopt_rule().rule());
    case v1::Command::kRepealRule:
      return runtime::FirstError(
          {runtime::CheckName("name", command.repeal_rule().name(), "rules/*"),
           runtime::CheckText("reason", command.repeal_rule().reason())});
    case v1::Command::kJudgeReservation:
      return runtime::CheckText("reservation", command.judge_reservation().reservation());
    case v1::Command::kJudgeArtefact:
      return runtime::FirstError(
          {runtime::CheckText("deployment", command.judge_artefact().deployment()),
           runtime::CheckText("artefact", command.judge_artefact().artefact())});
    case v1::Command::kRecordSite:
      return runtime::CheckText("site.name", command.record_site().site().name());
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "command: found nothing, expected one of the commands of compliance");
}

}  // namespace concordat::compliance
