#include "services/compliance/decider.h"

#include <fmt/format.h>

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
  if (absl::Status known = runtime::CheckEnum(comparison, predicate.comparison()); !known.ok())
    return known;
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
    if (absl::Status status = runtime::CheckCountry("rule.countries", country); !status.ok())
      return status;
  }
  for (const std::string& site : rule.sites()) {
    if (absl::Status status = runtime::CheckName("rule.sites", site, "sites/*"); !status.ok())
      return status;
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

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::CommandRefused& refused = *event.mutable_command_refused();
  refused.set_command(command.GetDescriptor()->full_name());
  refused.set_reason(reason);
  refused.set_detail(std::move(detail));
  return event;
}

int LatestVersion(const v1::RuleHistory& history) {
  return history.versions().empty() ? 0 : history.versions().rbegin()->version();
}

v1::Event AdoptRule(const Rows& rows, const v1::AdoptRuleRequest& request) {
  const v1::Rule& rule = request.rule();
  const int latest = LatestVersion(rows.rules.Get(rule.name()).value_or(v1::RuleHistory()));
  if (rule.version() <= latest) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} has version {} already; expected version {}.", rule.name(),
                               rule.version(), latest + 1));
  }
  if (rule.version() > latest + 1) {
    return Refused(request, v1::REASON_WRONG_VERSION,
                   fmt::format("{} has versions up to {}; found version {}, expected {}.",
                               rule.name(), latest, rule.version(), latest + 1));
  }
  v1::Event event;
  *event.mutable_rule_adopted()->mutable_rule() = rule;
  return event;
}

v1::Event RepealRule(const Rows& rows, const v1::RepealRuleRequest& request) {
  const std::optional<v1::RuleHistory> history = rows.rules.Get(request.name());
  if (!history) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known at this site; expected a rule that was adopted.",
                               request.name()));
  }
  if (history->has_repealed_time()) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} was repealed at {}; expected a rule that holds.", request.name(),
                               runtime::ToText(runtime::ToTime(history->repealed_time()))));
  }
  v1::Event event;
  event.mutable_rule_repealed()->set_name(request.name());
  event.mutable_rule_repealed()->set_reason(request.reason());
  return event;
}

bool Has(const Facts& facts, std::string_view name) {
  for (const v1::Fact& fact : facts) {
    if (fact.name() == name) return true;
  }
  return false;
}

// The command's facts, and those of the site that it left out, as far as they are known here.
Facts Complete(const Rows& rows, const Facts& given, const std::string& site) {
  Facts facts = given;
  const std::optional<v1::SiteRecord> record = rows.compliance_sites.Get(site);
  if (!record) return facts;
  if (!record->country().empty() && !Has(facts, "site.country")) {
    v1::Fact& country = *facts.Add();
    country.set_name("site.country");
    country.add_values(record->country());
  }
  if (!Has(facts, "site.certifications")) {
    v1::Fact& certifications = *facts.Add();
    certifications.set_name("site.certifications");
    *certifications.mutable_values() = record->certifications();
  }
  return facts;
}

Place PlaceOf(const std::string& site, const Facts& facts) {
  const v1::Fact* country = FindFact(facts, "site.country");
  if (country == nullptr || country->is_number() || country->values_size() != 1)
    return {site, std::nullopt};
  return {site, country->values(0)};
}

// Fills verdict, findings, facts and digest of a ReservationJudged or an ArtefactJudged.
template <typename Judged>
void Judge(const Rows& rows, v1::SubjectKind kind, const Facts& given, const runtime::Facts& facts,
           Judged& judged) {
  const std::string site = "sites/" + facts.site;
  *judged.mutable_facts() = Complete(rows, given, site);
  const Place place = PlaceOf(site, judged.facts());
  rows.rules.Scan("", [&](std::string_view, const v1::RuleHistory& history) {
    const v1::Rule* rule = InForce(history, facts.now);
    if (rule == nullptr || rule->subject_kind() != kind) return true;
    if (std::optional<v1::Finding> finding = Evaluate(*rule, place, judged.facts())) {
      *judged.add_findings() = *std::move(finding);
    }
    return true;
  });
  judged.set_verdict(VerdictOf(judged.findings()));
  judged.set_facts_digest(FactsDigest(judged.facts()));
}

v1::Event AlreadyJudged(const google::protobuf::Message& command, const std::string& name) {
  return Refused(command, v1::REASON_ALREADY_JUDGED,
                 fmt::format("{} was judged already; expected one that was not.", name));
}

v1::Event JudgeReservation(const Rows& rows, const v1::JudgeReservation& command,
                           const runtime::Facts& facts) {
  if (rows.judgements.Contains(command.reservation()))
    return AlreadyJudged(command, command.reservation());
  v1::Event event;
  event.mutable_reservation_judged()->set_reservation(command.reservation());
  Judge(rows, v1::SUBJECT_KIND_RESERVATION, command.facts(), facts,
        *event.mutable_reservation_judged());
  return event;
}

v1::Event JudgeArtefact(const Rows& rows, const v1::JudgeArtefact& command,
                        const runtime::Facts& facts) {
  if (rows.judgements.Contains(command.deployment()))
    return AlreadyJudged(command, command.deployment());
  v1::Event event;
  event.mutable_artefact_judged()->set_deployment(command.deployment());
  event.mutable_artefact_judged()->set_artefact(command.artefact());
  Judge(rows, v1::SUBJECT_KIND_ARTEFACT, command.facts(), facts, *event.mutable_artefact_judged());
  return event;
}

v1::Event RecordSite(const v1::RecordSite& command) {
  v1::Event event;
  *event.mutable_site_recorded() = command.site();
  return event;
}

}  // namespace

absl::Status Validate(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kAdoptRule: return CheckRule(command.adopt_rule().rule());
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
    case v1::Command::COMMAND_NOT_SET: break;
  }
  return absl::InvalidArgumentError(
      "command: found nothing, expected one of the commands of compliance");
}

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts) {
  const Rows& rows = state.rows;
  switch (command.command_case()) {
    case v1::Command::kAdoptRule: return AdoptRule(rows, command.adopt_rule());
    case v1::Command::kRepealRule: return RepealRule(rows, command.repeal_rule());
    case v1::Command::kJudgeReservation:
      return JudgeReservation(rows, command.judge_reservation(), facts);
    case v1::Command::kJudgeArtefact: return JudgeArtefact(rows, command.judge_artefact(), facts);
    case v1::Command::kRecordSite: return RecordSite(command.record_site());
    case v1::Command::COMMAND_NOT_SET: break;
  }
  return Refused(command, v1::REASON_NOT_FOUND,
                 "The command is empty; expected one of the commands of compliance.");
}

std::string Subject(const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kAdoptRule: return command.adopt_rule().rule().name();
    case v1::Command::kRepealRule: return command.repeal_rule().name();
    case v1::Command::kJudgeReservation: return command.judge_reservation().reservation();
    case v1::Command::kJudgeArtefact: return command.judge_artefact().deployment();
    case v1::Command::kRecordSite: return command.record_site().site().name();
    case v1::Command::COMMAND_NOT_SET: break;
  }
  return "sites/" + facts.site;
}

}  // namespace concordat::compliance
