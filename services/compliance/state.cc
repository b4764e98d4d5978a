#include "services/compliance/state.h"

#include <algorithm>

#include "services/runtime/check.h"

namespace concordat::compliance {
namespace {

v1::RuleHistory HistoryOf(const Rows& rows, const std::string& name) {
  v1::RuleHistory history = rows.rules.Get(name).value_or(v1::RuleHistory());
  history.set_name(name);
  return history;
}

void Adopt(Rows& rows, const v1::Rule& rule) {
  v1::RuleHistory history = HistoryOf(rows, rule.name());
  *history.add_versions() = rule;
  history.clear_repealed_time();
  rows.rules.Put(rule.name(), history);
}

void Repeal(Rows& rows, const std::string& name, absl::Time time) {
  v1::RuleHistory history = HistoryOf(rows, name);
  for (const v1::Rule& rule : history.versions()) {
    history.set_repealed_version(std::max(history.repealed_version(), rule.version()));
  }
  *history.mutable_repealed_time() = runtime::ToTimestamp(time);
  rows.rules.Put(name, history);
}

// Of a ReservationJudged or an ArtefactJudged.
template <typename Judged>
void Judge(Rows& rows, const std::string& name, const Judged& judged) {
  v1::Judgement judgement;
  judgement.set_name(name);
  judgement.set_verdict(judged.verdict());
  *judgement.mutable_findings() = judged.findings();
  rows.judgements.Put(name, judgement);
}

void RecordSite(Rows& rows, const v1::SiteRecorded& recorded) {
  v1::SiteRecord site;
  site.set_name(recorded.name());
  site.set_country(recorded.country());
  *site.mutable_certifications() = recorded.certifications();
  rows.compliance_sites.Put(site.name(), site);
}

}  // namespace

void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kRuleAdopted:
      return Adopt(rows, event.rule_adopted().rule());
    case v1::Event::kRuleRepealed:
      return Repeal(rows, event.rule_repealed().name(), accepted.time);
    case v1::Event::kReservationJudged:
      return Judge(rows, event.reservation_judged().reservation(), event.reservation_judged());
    case v1::Event::kArtefactJudged:
      return Judge(rows, event.artefact_judged().deployment(), event.artefact_judged());
    case v1::Event::kSiteRecorded:
      return RecordSite(rows, event.site_recorded());
    case v1::Event::kCommandRefused:
    case v1::Event::EVENT_NOT_SET:
      return;
  }
}

}  // namespace concordat::compliance
