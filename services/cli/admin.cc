#include "services/cli/admin.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <google/protobuf/struct.pb.h>

#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/errors.h"
#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/release.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"
#include "services/cli/yaml.h"

namespace concordat::cli {
namespace {

struct SiteAnswer {
  const Site* site;
  std::string address;
  absl::Status asked;
  node::v1::GetStatusResponse status;
};

absl::StatusOr<std::vector<SiteAnswer>> AskAll(Session& session) {
  const auto context = session.context();
  if (!context.ok()) return context.status();
  std::vector<SiteAnswer> answers;
  for (const Site& site : (*context)->sites) {
    for (const std::string& address : site.Addresses()) {
      SiteAnswer answer{.site = &site, .address = address, .asked = {}, .status = {}};
      answer.asked =
          session.Node(address, "GetStatus", node::v1::GetStatusRequest(), answer.status);
      answers.push_back(std::move(answer));
    }
  }
  return answers;
}

void PrintSites(Session& session, const std::vector<SiteAnswer>& answers) {
  Table table({"SITE", "ADDRESS", "RELEASE", "PROFILE", "LOG", "CLOCK", "SERVICES", "LINKS"});
  for (const SiteAnswer& answer : answers) {
    if (!answer.asked.ok()) {
      table.Add({answer.site->name, answer.address, "-", "-", "-", "-", "-", "no answer"});
      continue;
    }
    std::vector<std::string> links;
    for (const auto& link : answer.status.links()) {
      links.push_back(fmt::format("{} {}", link.origin(), LinkText(link)));
    }
    table.Add({answer.site->name, answer.address, answer.status.release(), answer.status.profile(),
               answer.status.log(), TimeText(answer.status.now()),
               Join(answer.status.services(), ","), links.empty() ? "-" : Join(links, "; ")});
  }
  table.Print(session.console().out, !session.globals.no_headers);
}

// `writing`; `starting (18% at 52000/s)` while the log is folded; `starting (unknown)` while the
// writer may not start.
std::string WriterText(const node::v1::StreamStatus& stream) {
  if (!stream.home()) return "-";
  if (stream.records_to_fold() > 0) {
    return fmt::format("{} ({}% at {:.0f}/s)", stream.writer_state(),
                       100 * stream.folded_records() / stream.records_to_fold(),
                       stream.records_per_second());
  }
  if (stream.writer_state() != "writing" && !stream.home_check().empty() &&
      stream.home_check() != "whole") {
    return fmt::format("{} ({})", stream.writer_state(), stream.home_check());
  }
  return stream.writer_state();
}

void PrintStreams(Session& session, const std::vector<SiteAnswer>& answers) {
  Table table({"AT", "STREAM", "HEAD", "LINK", "LAG", "CONDITION", "WRITER", "VOID", "ALARM"});
  for (const SiteAnswer& answer : answers) {
    for (const auto& stream : answer.status.streams()) {
      uint64_t voids = 0;
      for (const auto& [reason, count] : stream.void_records()) voids += count;
      table.Add({answer.site->name, stream.stream(), std::to_string(stream.sequence()),
                 stream.link().substr(0, 12), std::to_string(stream.lag_records()),
                 stream.condition(), WriterText(stream), std::to_string(voids),
                 stream.alarm().empty() ? "-" : stream.alarm()});
    }
  }
  if (table.empty()) return;
  session.console().out << "\n";
  table.Print(session.console().out, !session.globals.no_headers);
}

// Parts of bundles that wait for another site to decide: nothing but that site, or an operator,
// ends them.
void PrintPromises(Session& session, const std::vector<SiteAnswer>& answers) {
  const Kind* kind = KindOfCollection("promises");
  for (const SiteAnswer& answer : answers) {
    if (!answer.asked.ok() || !absl::c_linear_search(answer.status.services(), "reservations"))
      continue;
    const auto promises = FetchResources(session, *answer.site, *kind, answer.site->name, "");
    if (!promises.ok()) continue;  // it was asked how it is, and has answered
    for (const auto& packed : promises->resources()) {
      reservations::v1::Promise promise;
      if (!packed.UnpackTo(&promise)) continue;
      fmt::print(session.console().out,
                 "{} is promised since {} and waits for {} to decide on {}\n", promise.name(),
                 TimeText(promise.promised_time()), SiteOfName(promise.bundle()), promise.bundle());
    }
  }
}

// What a site's clock says, for people and as part of a document.
struct ClockLine {
  std::string site;
  std::string time;
  std::string profile;  // empty where it was not asked
};
void PrintClocks(Session& session, Format format, const std::vector<ClockLine>& lines) {
  google::protobuf::Struct document;
  google::protobuf::ListValue& clocks =
      *(*document.mutable_fields())["clocks"].mutable_list_value();
  for (const ClockLine& line : lines) {
    auto& clock = *clocks.add_values()->mutable_struct_value()->mutable_fields();
    clock["site"].set_string_value(line.site);
    clock["time"].set_string_value(line.time);
    if (!line.profile.empty()) clock["profile"].set_string_value(line.profile);
    if (IsDocument(format)) continue;
    fmt::print(session.console().out, "{}  {}{}{}\n", line.site, line.time,
               line.profile.empty() ? "" : "  ", line.profile);
  }
  if (IsDocument(format)) PrintMessage(session.console().out, format, document);
}

absl::Status SetClocks(Session& session, absl::Time time) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto context = session.context();
  if (!context.ok()) return context.status();
  node::v1::SetClockRequest request;
  *request.mutable_time() = ToTimestamp(time);
  std::vector<ClockLine> lines;
  for (const Site& site : (*context)->sites) {
    for (const std::string& address : site.Addresses()) {
      node::v1::SetClockResponse response;
      const absl::Status set = session.Node(address, "SetClock", request, response);
      if (!set.ok()) {
        return WithNext(absl::Status(set.code(), fmt::format("{}: {}", site.name, MessageOf(set))),
                        "clock show");
      }
      lines.push_back({site.name, TimeText(response.now()), ""});
    }
  }
  PrintClocks(session, *format, lines);
  return absl::OkStatus();
}

}  // namespace

std::string LinkText(const node::v1::LinkStatus& link) {
  if (link.pending_records() < 0 && !link.cut()) return "carried elsewhere";
  const std::string state = link.cut() ? "cut" : "open";
  return link.pending_records() > 0 ? fmt::format("{}, {} waiting", state, link.pending_records())
                                    : state;
}

absl::Status RunStatus(Session& session) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  // Wrong for all of them alike.
  if (const auto timeout = session.Timeout(absl::InfiniteDuration()); !timeout.ok())
    return timeout.status();
  const auto answers = AskAll(session);
  if (!answers.ok()) return answers.status();
  if (IsDocument(*format)) {
    std::vector<std::string> sites;
    for (const SiteAnswer& answer : *answers) {
      if (answer.asked.ok()) sites.push_back(ToJsonText(answer.status));
    }
    PrintDocument(session.console().out, *format,
                  fmt::format("{{\"sites\": [{}]}}\n", Join(sites, ",")));
  } else {
    PrintSites(session, *answers);
    PrintStreams(session, *answers);
    PrintPromises(session, *answers);
  }
  for (const SiteAnswer& answer : *answers) {
    if (!answer.asked.ok()) {
      return WithNext(
          absl::Status(answer.asked.code(),
                       fmt::format("site {} did not answer, expected it at {}: {}",
                                   answer.site->name, answer.address, MessageOf(answer.asked))),
          "config contexts");
    }
  }
  return absl::OkStatus();
}

absl::Status RunLink(Session& session, bool cut, const std::string& origin) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto context = session.context();
  if (!context.ok()) return context.status();
  const auto far = session.site(origin);
  if (!far.ok()) return far.status();
  std::vector<std::pair<const Site*, std::string>> links;  // where, and whose streams it carries
  if (!session.globals.site.empty()) {
    const auto at = session.site();
    if (!at.ok()) return at.status();
    links.emplace_back(*at, (*far)->name);
  } else {
    for (const Site& site : (*context)->sites) {
      if (site.name == (*far)->name) continue;
      links.emplace_back(&site, (*far)->name);
      links.emplace_back(*far, site.name);
    }
  }
  std::vector<std::string> set_links;
  for (const auto& [at, from] : links) {
    node::v1::SetLinkRequest request;
    request.set_origin(from);
    request.set_cut(cut);
    node::v1::SetLinkResponse response;
    const absl::Status set = session.Node(at->address, "SetLink", request, response);
    if (!set.ok()) {
      return WithNext(absl::Status(set.code(), fmt::format("link {} to {}: {}", from, at->name,
                                                           MessageOf(set))),
                      "status");
    }
    set_links.push_back(IsDocument(*format) ? fmt::format("{{\"site\": \"{}\", \"link\": {}}}",
                                                          at->name, ToJsonText(response.link()))
                                            : fmt::format("link {} to {}  {}", from, at->name,
                                                          response.link().cut() ? "cut" : "open"));
  }
  if (IsDocument(*format)) {
    PrintDocument(session.console().out, *format,
                  fmt::format("{{\"links\": [{}]}}\n", Join(set_links, ",")));
  } else {
    for (const std::string& line : set_links) fmt::print(session.console().out, "{}\n", line);
  }
  return absl::OkStatus();
}

absl::Status RunHomeAllow(Session& session, const std::string& stream, int64_t sequence,
                          const std::string& reason) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  node::v1::AllowStartRequest request;
  request.set_stream(stream);
  request.set_sequence(sequence);
  request.set_reason(reason);
  absl::Status allowed;
  // Of several processes, one writes the stream.
  for (const std::string& address : (*site)->Addresses()) {
    node::v1::AllowStartResponse response;
    allowed = session.Node(address, "AllowStart", request, response);
    if (!absl::IsNotFound(allowed)) break;
  }
  if (!allowed.ok()) return WithNext(allowed, "status");
  session.Say(fmt::format("{} goes on from sequence {}; the stream records who allowed it and why",
                          stream, sequence));
  return absl::OkStatus();
}

absl::Status RunSnapshot(Session& session, const std::string& stream) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  if (session.globals.timeout.empty()) session.globals.timeout = "300s";
  node::v1::TakeSnapshotRequest request;
  request.set_stream(stream);
  Table table({"STREAM", "HEAD", "LINK", "DIGEST", "FOLDER"});
  node::v1::TakeSnapshotResponse all;
  for (const std::string& address : (*site)->Addresses()) {
    node::v1::TakeSnapshotResponse response;
    const absl::Status taken = session.Node(address, "TakeSnapshot", request, response);
    if (absl::IsNotFound(taken) && (*site)->Addresses().size() > 1) continue;
    if (!taken.ok()) return WithNext(taken, "status");
    for (const auto& snapshot : response.snapshots()) {
      table.Add({snapshot.stream(), std::to_string(snapshot.sequence()),
                 snapshot.link().substr(0, 12), snapshot.digest().substr(0, 12),
                 snapshot.folder()});
    }
    all.MergeFrom(response);
  }
  if (table.empty()) {
    return WithNext(
        absl::NotFoundError(fmt::format("{} is not followed at {}", stream, (*site)->name)),
        "status");
  }
  if (IsDocument(*format)) {
    PrintMessage(session.console().out, *format, all);
  } else {
    table.Print(session.console().out, !session.globals.no_headers);
  }
  return absl::OkStatus();
}

absl::Status RunClockShow(Session& session) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto answers = AskAll(session);
  if (!answers.ok()) return answers.status();
  std::vector<ClockLine> lines;
  for (const SiteAnswer& answer : *answers) {
    if (!answer.asked.ok()) return answer.asked;
    lines.push_back({answer.site->name, TimeText(answer.status.now()), answer.status.profile()});
  }
  PrintClocks(session, *format, lines);
  return absl::OkStatus();
}

absl::Status RunClockSet(Session& session, const std::string& text) {
  const auto time = session.TimeOf(text);
  return time.ok() ? SetClocks(session, *time) : time.status();
}

absl::Status RunClockAdvance(Session& session, const std::string& text) {
  const auto span = ParseDuration(text);
  if (!span.ok()) return span.status();
  const auto answers = AskAll(session);
  if (!answers.ok()) return answers.status();
  // From the latest, so that no clock would have to go back.
  absl::Time latest = absl::InfinitePast();
  for (const SiteAnswer& answer : *answers) {
    if (!answer.asked.ok()) return answer.asked;
    latest = std::max(latest, FromTimestamp(answer.status.now()));
  }
  return SetClocks(session, latest + *span);
}

absl::Status RunConfigContexts(Session& session) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto config = session.LoadConfig();
  if (!config.ok()) return config.status();
  Table table({"CURRENT", "CONTEXT", "SITE", "SITES"});
  google::protobuf::Struct document;
  google::protobuf::ListValue& contexts =
      *(*document.mutable_fields())["contexts"].mutable_list_value();
  for (const Context& context : config->contexts) {
    std::vector<std::string> sites;
    for (const Site& site : context.sites)
      sites.push_back(fmt::format("{}={}", site.name, site.address));
    table.Add(
        {context.name == config->current ? "*" : "", context.name, context.site, Join(sites, ",")});
    auto& shown = *contexts.add_values()->mutable_struct_value()->mutable_fields();
    shown["name"].set_string_value(context.name);
    shown["current"].set_bool_value(context.name == config->current);
    shown["site"].set_string_value(context.site);
    auto& addresses = *shown["sites"].mutable_struct_value()->mutable_fields();
    for (const Site& site : context.sites) addresses[site.name].set_string_value(site.address);
  }
  if (IsDocument(*format)) {
    PrintMessage(session.console().out, *format, document);
  } else {
    table.Print(session.console().out, !session.globals.no_headers);
  }
  return absl::OkStatus();
}

absl::Status RunConfigUse(Session& session, const std::string& name) {
  const auto config = session.LoadConfig();
  if (!config.ok()) return config.status();
  const absl::Status used = UseContext(*config, name);
  if (used.ok()) session.Say(fmt::format("context {} from now on", name));
  return used;
}

absl::Status RunVersion(Session& session) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  if (IsDocument(*format)) {
    google::protobuf::Struct document;
    (*document.mutable_fields())["release"].set_string_value(kRelease);
    PrintMessage(session.console().out, *format, document);
  } else {
    fmt::print(session.console().out, "concordat {}\n", kRelease);
  }
  return absl::OkStatus();
}

}  // namespace concordat::cli
