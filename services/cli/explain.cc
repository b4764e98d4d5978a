#include "services/cli/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "concordat/compliance/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "services/cli/output.h"
#include "services/cli/text.h"
#include "services/cli/values.h"

namespace concordat::cli {
namespace {

using compliance::v1::Comparison;
using compliance::v1::Finding;
using compliance::v1::PredicateOutcome;

std::string_view ComparisonWords(Comparison comparison) {
  switch (comparison) {
    case compliance::v1::COMPARISON_ALL_IN:
      return "to be all of";
    case compliance::v1::COMPARISON_ANY_IN:
      return "to have one of";
    case compliance::v1::COMPARISON_NONE_IN:
      return "to have none of";
    case compliance::v1::COMPARISON_AT_MOST:
      return "to be at most";
    case compliance::v1::COMPARISON_AT_LEAST:
      return "to be at least";
    case compliance::v1::COMPARISON_UNSPECIFIED:
    case compliance::v1::Comparison_INT_MIN_SENTINEL_DO_NOT_USE_:
    case compliance::v1::Comparison_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  return "to hold for";
}

// `found site.country SE, expected it to be all of FR`.
template <typename Judged>
std::string PredicateLine(const PredicateOutcome& outcome, const Judged& judged) {
  const auto& predicate = outcome.predicate();
  std::string found = "nothing";
  for (const auto& fact : judged.facts()) {
    if (fact.name() != predicate.fact()) continue;
    found = fact.is_number() ? std::to_string(fact.number()) : Join(fact.values(), ", ");
    if (found.empty()) found = "none";
  }
  const bool number = predicate.comparison() == compliance::v1::COMPARISON_AT_MOST ||
                      predicate.comparison() == compliance::v1::COMPARISON_AT_LEAST;
  return fmt::format("found {} {}, expected it {} {}", predicate.fact(), found,
                     ComparisonWords(predicate.comparison()),
                     number ? std::to_string(predicate.number()) : Join(predicate.values(), ", "));
}

template <typename Judged>
std::vector<std::string> LinesOf(const Judged& judged) {
  std::vector<std::string> lines;
  int not_applicable = 0;
  for (const Finding& finding : judged.findings()) {
    if (finding.outcome() == compliance::v1::FINDING_OUTCOME_NOT_APPLICABLE) {
      ++not_applicable;
      continue;
    }
    const auto* outcome =
        compliance::v1::FindingOutcome_descriptor()->FindValueByNumber(finding.outcome());
    const bool warns = finding.effect() == compliance::v1::EFFECT_WARN;
    lines.push_back(
        fmt::format("{}{}: {} version {}, {}", outcome == nullptr ? "unknown" : ShortEnum(*outcome),
                    warns ? " (warning)" : "", finding.rule(), finding.version(), finding.title()));
    const auto& citation = finding.citation();
    lines.push_back(fmt::format("  {}, {}{}{}", citation.instrument(), citation.article(),
                                citation.url().empty() ? "" : ", ", citation.url()));
    if (finding.outcome() == compliance::v1::FINDING_OUTCOME_SATISFIED) continue;
    for (const PredicateOutcome& predicate : finding.predicates()) {
      if (!predicate.held() || predicate.unevaluable())
        lines.push_back("  " + PredicateLine(predicate, judged));
    }
  }
  if (not_applicable > 0) {
    lines.push_back(fmt::format("{}{} {} not apply", not_applicable, lines.empty() ? "" : " other",
                                not_applicable == 1 ? "rule does" : "rules do"));
  }
  return lines;
}

// A refusal's or a declination's own words, and what else is worth a line of its own.
std::vector<std::string> Details(const node::v1::EventRecord& record) {
  const Fact opened = OpenFact(record);
  if (opened.fact == nullptr) return {};
  std::vector<std::string> lines = FindingLines(*opened.fact);
  if (!lines.empty()) return lines;
  const std::string command = FieldText(*opened.fact, "command");
  if (!command.empty())
    lines.push_back(fmt::format("command {}", command.substr(command.rfind('.') + 1)));
  const std::string reason = FieldText(*opened.fact, "reason");
  const std::string detail = FieldText(*opened.fact, "detail");
  if (!reason.empty()) lines.push_back(fmt::format("reason {}", reason));
  if (!detail.empty()) lines.push_back(detail);
  if (lines.empty() && !Gist(record).empty()) lines.push_back(Gist(record));
  return lines;
}

// `<stream>:<sequence>` of `<stream>:<sequence>:<link>`.
std::string CausePosition(const node::v1::EventRecord& record) {
  return record.causation_id().substr(0, record.causation_id().rfind(':'));
}

bool Earlier(const node::v1::EventRecord* a, const node::v1::EventRecord* b) {
  const auto key = [](const node::v1::EventRecord* r) {
    return std::tuple(FromTimestamp(r->time()), r->stream(), r->sequence());
  };
  // Within one stream the sequence says it; between streams only the time can.
  if (a->stream() == b->stream()) return a->sequence() < b->sequence();
  return key(a) < key(b);
}

class Tree {
 public:
  explicit Tree(const Events& events) {
    for (const auto& record : events) records_.emplace(Position(record), &record);
    for (const auto& [position, record] : records_) {
      const std::string cause = CausePosition(*record);
      const bool known = records_.contains(cause) && cause != position;
      known ? children_[cause].push_back(record) : roots_.push_back(record);
    }
    for (auto& [position, children] : children_)
      std::stable_sort(children.begin(), children.end(), Earlier);
    std::stable_sort(roots_.begin(), roots_.end(), Earlier);
  }

  std::string Print() {
    for (const auto* root : roots_) {
      const std::string why = root->causation_id().empty()
                                  ? fmt::format("request {}", root->command_id())
                                  : fmt::format("after {}", CausePosition(*root));
      Append(&text_, root->actor(), ", ", TimeText(root->time()), ", ", why, "\n");
      Add(*root, "", true);
    }
    return text_;
  }

 private:
  void Add(const node::v1::EventRecord& record, const std::string& margin, bool last) {
    const std::string position = Position(record);
    const auto found = children_.find(position);
    const bool parent = found != children_.end();
    Append(&text_, margin, last ? "└─ " : "├─ ", ShortType(record), "  ", record.subject(), "  ",
           position, "  ", TimeText(record.time()), "\n");
    const std::string inner = margin + (last ? "   " : "│  ");
    for (const std::string& line : Details(record)) {
      Append(&text_, inner, parent ? "│    " : "     ", line, "\n");
    }
    if (!parent) return;
    for (size_t i = 0; i < found->second.size(); ++i) {
      Add(*found->second[i], inner, i + 1 == found->second.size());
    }
  }

  std::map<std::string, const node::v1::EventRecord*> records_;
  std::map<std::string, std::vector<const node::v1::EventRecord*>> children_;
  std::vector<const node::v1::EventRecord*> roots_;
  std::string text_;
};

}  // namespace

std::vector<std::string> FindingLines(const google::protobuf::Message& fact) {
  if (const auto* judged = dynamic_cast<const compliance::v1::ReservationJudged*>(&fact)) {
    auto lines = LinesOf(*judged);
    lines.insert(lines.begin(), fmt::format("verdict {}", FieldText(fact, "verdict")));
    return lines;
  }
  if (const auto* judged = dynamic_cast<const compliance::v1::ArtefactJudged*>(&fact)) {
    auto lines = LinesOf(*judged);
    lines.insert(lines.begin(),
                 fmt::format("verdict {} for {}", FieldText(fact, "verdict"), judged->artefact()));
    return lines;
  }
  return {};
}

std::string CauseTree(const Events& events) { return Tree(events).Print(); }

std::vector<PendingOrder> PendingOrders(const Events& events) {
  std::map<std::string, std::string> pending;
  std::set<std::string> answered;
  for (const auto& record : events) {
    const Fact opened = OpenFact(record);
    if (const auto* ordered =
            dynamic_cast<const reservations::v1::ReservationOrdered*>(opened.fact)) {
      pending[ordered->name()] = ordered->site();
    } else if (const auto* answer =
                   dynamic_cast<const reservations::v1::OrderAnswered*>(opened.fact)) {
      answered.insert(answer->order());
    }
  }
  std::vector<PendingOrder> result;
  for (const auto& [order, site] : pending) {
    if (!answered.contains(order)) result.push_back({order, site});
  }
  return result;
}

}  // namespace concordat::cli
