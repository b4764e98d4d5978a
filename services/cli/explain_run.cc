// Gathers the events that explain something; explain.cc makes them into a tree.
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <cctype>
#include <map>
#include <set>

#include "events/record.h"
#include "services/cli/admin.h"
#include "services/cli/errors.h"
#include "services/cli/explain.h"
#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"

namespace concordat::cli {
namespace {

// How far back causes are followed that belong to other stories.
constexpr int kCauseRounds = 8;

using ByPosition = std::map<std::string, node::v1::EventRecord>;

void Keep(const Events& events, ByPosition& kept) {
  for (const auto& record : events) kept.emplace(Position(record), record);
}

absl::Status AddStories(Session& session, const Site& site, ByPosition& kept) {
  std::set<std::string> stories;
  for (const auto& [position, record] : kept) {
    if (!record.correlation_id().empty()) stories.insert(record.correlation_id());
  }
  for (const std::string& story : stories) {
    node::v1::ListEventsRequest request;
    request.set_correlation_id(story);
    const auto events = FetchEvents(session, site, request);
    if (!events.ok()) return events.status();
    Keep(*events, kept);
  }
  return absl::OkStatus();
}

// The causes that are named but not there yet; one event each.
absl::Status AddCauses(Session& session, const Site& site, ByPosition& kept) {
  std::set<std::string> tried;
  for (int round = 0; round < kCauseRounds; ++round) {
    std::set<std::pair<std::string, uint64_t>> missing;
    for (const auto& [position, record] : kept) {
      const std::string cause = record.causation_id().substr(0, record.causation_id().rfind(':'));
      const size_t colon = cause.rfind(':');
      uint64_t sequence = 0;
      if (colon == std::string::npos || kept.contains(cause) || !tried.insert(cause).second)
        continue;
      if (ParseNumber(cause.substr(colon + 1), &sequence))
        missing.emplace(cause.substr(0, colon), sequence);
    }
    if (missing.empty()) return absl::OkStatus();
    for (const auto& [stream, sequence] : missing) {
      node::v1::ListEventsRequest request;
      request.set_stream(stream);
      request.set_from_sequence(sequence);
      request.set_limit(1);
      node::v1::ListEventsResponse response;
      const absl::Status status = session.Node(EventAddress(site), "ListEvents", request, response);
      if (!status.ok()) return status;
      Keep({response.events().begin(), response.events().end()}, kept);
    }
  }
  return absl::OkStatus();
}

// Every event with a command id: there is no index by it, so the site's own streams are read.
absl::StatusOr<Events> EventsOfRequest(Session& session, const Site& site, const std::string& id) {
  Events found;
  std::set<std::string> streams;
  for (const std::string& address : site.Addresses()) {
    node::v1::GetStatusResponse status;
    const absl::Status asked =
        session.Node(address, "GetStatus", node::v1::GetStatusRequest(), status);
    if (!asked.ok()) return asked;
    for (const auto& stream : status.streams()) {
      if (stream.home()) streams.insert(stream.stream());
    }
  }
  for (const std::string& stream : streams) {
    node::v1::ListEventsRequest request;
    request.set_stream(stream);
    const auto events = FetchEvents(session, site, request);
    if (!events.ok()) return events.status();
    for (const auto& record : *events) {
      if (record.command_id() == id) found.push_back(record);
    }
  }
  return found;
}

absl::StatusOr<Events> Begin(Session& session, const Site& site, const ExplainOptions& options,
                             std::string* what) {
  node::v1::ListEventsRequest request;
  if (!options.correlation.empty()) {
    *what = fmt::format("story {}", options.correlation);
    request.set_correlation_id(options.correlation);
    return FetchEvents(session, site, request);
  }
  if (!options.request.empty()) {
    *what = fmt::format("request {}", options.request);
    // A caller's command begins a story of its own name, unless it joined another's.
    request.set_correlation_id(options.request);
    const auto story = FetchEvents(session, site, request);
    if (!story.ok() || !story->empty()) return story;
    return EventsOfRequest(session, site, options.request);
  }
  const auto name = ParseName(session, options.words);
  if (!name.ok()) return name.status();
  *what = *name;
  request.set_subject(*name);
  return FetchEvents(session, site, request);
}

// What a link is doing, in words.
std::string LinkWords(Session& session, const Site& at, std::string_view origin) {
  node::v1::GetStatusResponse status;
  const absl::Status asked =
      session.Node(at.address, "GetStatus", node::v1::GetStatusRequest(), status);
  if (!asked.ok())
    return fmt::format("link {} to {}: unknown, {} does not answer", origin, at.name, at.name);
  for (const auto& link : status.links()) {
    if (link.origin() != origin) continue;
    return fmt::format("link {} to {}: {}", origin, at.name, LinkText(link));
  }
  return fmt::format("link {} to {}: not carried by the process asked", origin, at.name);
}

void PrintPending(Session& session, const Site& site, const Events& events) {
  for (const PendingOrder& order : PendingOrders(events)) {
    std::string_view other = order.site;
    ConsumePrefix(&other, "sites/");
    fmt::print(session.console().out, "{} waits for {} to decide\n", order.order, order.site);
    const auto far = session.site(other);
    if (far.ok())
      fmt::print(session.console().out, "  {}\n",
                 LinkWords(session, **far, SiteOfName(order.order)));
    fmt::print(session.console().out, "  {}\n", LinkWords(session, site, other));
  }
}

// Whether the event carries a shortage: what was looked for, and what was found.
bool HasShortage(const node::v1::EventRecord& record) {
  const Fact opened = OpenFact(record);
  if (opened.fact == nullptr) return false;
  const auto* field = opened.fact->GetDescriptor()->FindFieldByName("shortage");
  return field != nullptr && opened.fact->GetReflection()->HasField(*opened.fact, field);
}

// Each server of each refusal among the events, with what ruled it out.
absl::Status PrintServers(Session& session, const Site& site, const Events& events) {
  for (const auto& record : events) {
    if (!HasShortage(record)) continue;
    node::v1::ExplainRefusalRequest request;
    request.set_stream(record.stream());
    request.set_sequence(record.sequence());
    node::v1::ExplainRefusalResponse response;
    const absl::Status asked =
        session.Node(EventAddress(site), "ExplainRefusal", request, response);
    if (!asked.ok()) return asked;
    Table table({"SERVER", fmt::format("AT {}", Position(record))});
    for (const auto& verdict : response.servers()) {
      std::string_view reason = verdict.reason();
      ConsumePrefix(&reason, "EXCLUSION_REASON_");
      std::string words(reason.empty() ? "could be given" : reason);
      for (char& c : words) c = c == '_' ? ' ' : static_cast<char>(std::tolower(c));
      table.Add({std::string(ShortName(verdict.server())), words});
    }
    session.console().out << "\n";
    table.Print(session.console().out, !session.globals.no_headers);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunExplain(Session& session, const ExplainOptions& options) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  std::string what;
  AwaitEvents(session, **site);
  const auto first = Begin(session, **site, options, &what);
  if (!first.ok()) return first.status();
  if (first->empty()) {
    return WithNext(absl::NotFoundError(fmt::format(
                        "found no events of {} at {}, expected at least one", what, (*site)->name)),
                    options.words.empty() ? "watch --until-head" : "get reservations -o name");
  }
  ByPosition kept;
  Keep(*first, kept);
  for (const absl::Status& status :
       {AddStories(session, **site, kept), AddCauses(session, **site, kept)}) {
    if (!status.ok()) return status;
  }
  Events events;
  for (auto& [position, record] : kept) events.push_back(std::move(record));
  if (IsDocument(*format)) {
    node::v1::ListEventsResponse response;
    response.mutable_events()->Assign(events.begin(), events.end());
    PrintMessage(session.console().out, *format, response);
    return absl::OkStatus();
  }
  fmt::print(session.console().out, "{}\n\n{}", Paint(session.console(), Hue::kBold, what),
             CauseTree(events));
  PrintPending(session, **site, events);
  return options.full ? PrintServers(session, **site, events) : absl::OkStatus();
}

}  // namespace concordat::cli
