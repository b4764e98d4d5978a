#include "services/compliance/decider.h"

#include <fmt/format.h>

#include "services/compliance/evaluate.h"
#include "services/runtime/check.h"

namespace concordat::compliance {
namespace {

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

v1::Event AdoptRule(const Rows& rows, const v1::AdoptRuleRequest& request, absl::Time now) {
  const v1::Rule& rule = request.rule();
  const v1::RuleHistory history = rows.rules.Get(rule.name()).value_or(v1::RuleHistory());
  const int latest = LatestVersion(history);
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
  // The version that begins last holds. One that is about something else, or is over already, would
  // end the one before in silence.
  if (latest > 0 && history.versions().rbegin()->subject_kind() != rule.subject_kind()) {
    return Refused(
        request, v1::REASON_WRONG_STATE,
        fmt::format("{} is about {}, found {}; expected the same, or a rule of another "
                    "name.",
                    rule.name(), v1::SubjectKind_Name(history.versions().rbegin()->subject_kind()),
                    v1::SubjectKind_Name(rule.subject_kind())));
  }
  if (rule.has_effective_to() && runtime::ToTime(rule.effective_to()) <= now) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} version {} holds until {}, which is past; expected a later end, "
                               "or RepealRule with a reason.",
                               rule.name(), rule.version(),
                               runtime::ToText(runtime::ToTime(rule.effective_to()))));
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
  if (country == nullptr || country->is_number() || country->values_size() != 1) {
    return {site, std::nullopt};
  }
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
  if (rows.judgements.Contains(command.reservation())) {
    return AlreadyJudged(command, command.reservation());
  }
  v1::Event event;
  event.mutable_reservation_judged()->set_reservation(command.reservation());
  Judge(rows, v1::SUBJECT_KIND_RESERVATION, command.facts(), facts,
        *event.mutable_reservation_judged());
  return event;
}

v1::Event JudgeArtefact(const Rows& rows, const v1::JudgeArtefact& command,
                        const runtime::Facts& facts) {
  if (rows.judgements.Contains(command.deployment())) {
    return AlreadyJudged(command, command.deployment());
  }
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

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts) {
  const Rows& rows = state.rows;
  switch (command.command_case()) {
    case v1::Command::kAdoptRule:
      return AdoptRule(rows, command.adopt_rule(), facts.now);
    case v1::Command::kRepealRule:
      return RepealRule(rows, command.repeal_rule());
    case v1::Command::kJudgeReservation:
      return JudgeReservation(rows, command.judge_reservation(), facts);
    case v1::Command::kJudgeArtefact:
      return JudgeArtefact(rows, command.judge_artefact(), facts);
    case v1::Command::kRecordSite:
      return RecordSite(command.record_site());
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Refused(command, v1::REASON_NOT_FOUND,
                 "The command is empty; expected one of the commands of compliance.");
}

std::string Subject(const v1::Command& command, const runtime::Facts& facts) {
  switch (command.command_case()) {
    case v1::Command::kAdoptRule:
      return command.adopt_rule().rule().name();
    case v1::Command::kRepealRule:
      return command.repeal_rule().name();
    case v1::Command::kJudgeReservation:
      return command.judge_reservation().reservation();
    case v1::Command::kJudgeArtefact:
      return command.judge_artefact().deployment();
    case v1::Command::kRecordSite:
      return command.record_site().site().name();
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return "sites/" + facts.site;
}

}  // namespace concordat::compliance
