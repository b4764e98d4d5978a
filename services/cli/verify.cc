#include "services/cli/verify.h"

#include <absl/algorithm/container.h>
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <map>
#include <set>

#include "events/record.h"
#include "services/cli/errors.h"
#include "services/cli/events.h"
#include "services/cli/output.h"
#include "services/cli/text.h"
#include "services/cli/yaml.h"

namespace concordat::cli {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(250);

using node::v1::StreamDigest;
using node::v1::TableDigest;

struct Held {
  const Replica* replica;
  const StreamDigest* digest;
};

std::string Short(const std::string& hex) { return hex.substr(0, 12); }

const TableDigest* FindTable(const StreamDigest& digest, const std::string& table) {
  const auto found =
      absl::c_find_if(digest.tables(), [&](const TableDigest& t) { return t.table() == table; });
  return found == digest.tables().end() ? nullptr : &*found;
}

// What one replica says against itself.
void CompareOwn(const Held& held, Comparison& comparison) {
  const auto& digest = *held.digest;
  if (digest.condition() != "ok") {
    comparison.disagreements.push_back(
        {Disagreement::Kind::kDifferent, digest.stream(), "",
         fmt::format("{} is {} at {}, expected ok", digest.stream(),
                     digest.condition().empty() ? "of unknown condition" : digest.condition(),
                     held.replica->label)});
  }
  for (const TableDigest& table : digest.tables()) {
    if (!table.refolded().empty() && table.refolded() != table.stored()) {
      comparison.disagreements.push_back(
          {Disagreement::Kind::kDifferent, digest.stream(), table.table(),
           fmt::format(
               "{} table {} at {}: rows as stored have digest {}, folded again from the log "
               "{}: the projection is wrong; delete it and start again",
               digest.stream(), table.table(), held.replica->label, Short(table.stored()),
               Short(table.refolded()))});
      continue;
    }
    if (table.stored() == table.folded()) continue;
    comparison.disagreements.push_back(
        {Disagreement::Kind::kDifferent, digest.stream(), table.table(),
         fmt::format("{} table {} at {}: rows as stored have digest {}, as folded {}: a row was "
                     "changed outside of "
                     "the fold",
                     digest.stream(), table.table(), held.replica->label, Short(table.stored()),
                     Short(table.folded()))});
  }
}

// Two replicas at the same head.
void CompareEqualHeads(const Held& a, const Held& b, Comparison& comparison) {
  const std::string& stream = a.digest->stream();
  if (a.digest->link() != b.digest->link()) {
    comparison.disagreements.push_back(
        {Disagreement::Kind::kDifferent, stream, "",
         fmt::format("{} at {}: {} has link {}, {} has {}", stream, a.digest->sequence(),
                     a.replica->label, Short(a.digest->link()), b.replica->label,
                     Short(b.digest->link()))});
    return;
  }
  // A process that follows a stream without keeping its tables has nothing to compare.
  if (a.digest->tables().empty() || b.digest->tables().empty()) return;
  std::set<std::string> tables;
  for (const auto* digest : {a.digest, b.digest}) {
    for (const TableDigest& table : digest->tables()) tables.insert(table.table());
  }
  for (const std::string& name : tables) {
    const TableDigest* ours = FindTable(*a.digest, name);
    const TableDigest* theirs = FindTable(*b.digest, name);
    if (ours != nullptr && theirs != nullptr && ours->stored() == theirs->stored() &&
        ours->rows() == theirs->rows()) {
      continue;
    }
    const auto words = [](const TableDigest* table) {
      return table == nullptr
                 ? std::string("no such table")
                 : fmt::format("{} rows with digest {}", table->rows(), Short(table->stored()));
    };
    comparison.disagreements.push_back(
        {Disagreement::Kind::kDifferent, stream, name,
         fmt::format("{} table {}: {} has {}, {} has {}", stream, name, a.replica->label,
                     words(ours), b.replica->label, words(theirs))});
  }
}

// A replica with a lower head than another.
absl::Status CompareBehind(const Held& ahead, const Held& behind, const LinkAt& link_at,
                           Comparison& comparison) {
  const std::string& stream = ahead.digest->stream();
  const int64_t sequence = behind.digest->sequence();
  if (sequence >= 0) {
    const auto link = link_at(*ahead.replica, stream, static_cast<uint64_t>(sequence));
    if (!link.ok()) return link.status();
    if (*link != behind.digest->link()) {
      comparison.disagreements.push_back(
          {Disagreement::Kind::kDifferent, stream, "",
           fmt::format("{} at {}: {} has link {}, {} has {}", stream, sequence,
                       ahead.replica->label, Short(*link), behind.replica->label,
                       Short(behind.digest->link()))});
      return absl::OkStatus();
    }
  }
  comparison.disagreements.push_back(
      {Disagreement::Kind::kBehind, stream, "",
       fmt::format("{}: {} is behind, at {} of {} at {}", stream, behind.replica->label, sequence,
                   ahead.digest->sequence(), ahead.replica->label)});
  return absl::OkStatus();
}

}  // namespace

bool Comparison::Has(Disagreement::Kind kind) const {
  return absl::c_any_of(disagreements, [&](const Disagreement& d) { return d.kind == kind; });
}

absl::StatusOr<Comparison> Compare(const std::vector<Replica>& replicas, const LinkAt& link_at) {
  Comparison comparison;
  std::map<std::string, std::vector<Held>> streams;
  std::set<std::string> sites;
  for (const Replica& replica : replicas) {
    sites.insert(replica.site);
    for (const StreamDigest& digest : replica.response.streams()) {
      streams[digest.stream()].push_back({&replica, &digest});
      CompareOwn(streams[digest.stream()].back(), comparison);
    }
  }
  comparison.streams = streams.size();
  comparison.sites = sites.size();
  for (auto& [stream, held] : streams) {
    // The highest head first; of equal ones the stream's home, whose word counts.
    absl::c_stable_sort(held, [home = events::SiteOf(stream)](const Held& a, const Held& b) {
      const auto rank = [&](const Held& h) {
        return std::pair(h.digest->sequence(), h.replica->site == home);
      };
      return rank(a) > rank(b);
    });
    for (size_t i = 1; i < held.size(); ++i) {
      if (held[i].digest->sequence() == held[0].digest->sequence()) {
        CompareEqualHeads(held[0], held[i], comparison);
      } else if (const absl::Status status = CompareBehind(held[0], held[i], link_at, comparison);
                 !status.ok()) {
        return status;
      }
    }
    for (const std::string& site : sites) {
      if (absl::c_any_of(held, [&](const Held& h) { return h.replica->site == site; })) continue;
      comparison.disagreements.push_back(
          {Disagreement::Kind::kBehind, stream, "",
           fmt::format("{}: {} is behind, it has no such stream, {} is at {}", stream, site,
                       held[0].replica->label, held[0].digest->sequence())});
    }
  }
  return comparison;
}

std::string Verdict(const Comparison& comparison) {
  const std::string over =
      fmt::format("verify: {} streams at {} sites", comparison.streams, comparison.sites);
  if (comparison.disagreements.empty()) {
    return comparison.sites > 1
               ? over + ", heads equal, digests equal"
               : fmt::format(
                     "verify: {} streams at one site, rows equal to their digests; no other "
                     "site was asked",
                     comparison.streams);
  }
  const auto count = [&](Disagreement::Kind kind) {
    return absl::c_count_if(comparison.disagreements,
                            [&](const Disagreement& d) { return d.kind == kind; });
  };
  return fmt::format("{}, {} different, {} behind", over, count(Disagreement::Kind::kDifferent),
                     count(Disagreement::Kind::kBehind));
}

namespace {

absl::StatusOr<std::vector<Replica>> Ask(Session& session, const Context& context,
                                         const VerifyOptions& options) {
  std::vector<Replica> replicas;
  node::v1::VerifyRequest request;
  request.set_stream(options.stream);
  request.set_deep(options.deep);
  for (const Site& site : context.sites) {
    const auto addresses = site.Addresses();
    for (const std::string& address : addresses) {
      const std::string label =
          addresses.size() == 1 ? site.name : fmt::format("{} ({})", site.name, address);
      Replica replica{.label = label, .site = site.name, .address = address, .response = {}};
      const absl::Status status = session.Node(address, "Verify", request, replica.response);
      if (!status.ok()) {
        return WithNext(absl::Status(status.code(), fmt::format("site {} did not verify: {}", label,
                                                                MessageOf(status))),
                        "status");
      }
      replicas.push_back(std::move(replica));
    }
  }
  return replicas;
}

absl::StatusOr<Comparison> VerifyOnce(Session& session, const Context& context,
                                      const VerifyOptions& options) {
  const auto replicas = Ask(session, context, options);
  if (!replicas.ok()) return replicas.status();
  return Compare(*replicas,
                 [&](const Replica& replica, const std::string& name,
                     uint64_t sequence) -> absl::StatusOr<std::string> {
                   node::v1::GetLinkRequest request;
                   request.set_stream(name);
                   request.set_sequence(sequence);
                   node::v1::GetLinkResponse response;
                   const absl::Status status = session.Node(
                       EventAddress(*context.Find(replica.site)), "GetLink", request, response);
                   if (status.ok()) return response.link();
                   if (!absl::IsNotFound(status)) return status;
                   // The event is accepted there, but not yet among those that can be asked for.
                   return absl::UnavailableError(fmt::format(
                       "{} does not know its own link of {} at {} yet, expected it soon",
                       replica.label, name, sequence));
                 });
}

void PrintJson(Session& session, Format format, const Comparison& comparison) {
  std::string json = "[";
  for (const Disagreement& d : comparison.disagreements) {
    json += fmt::format(
        "{}\n  {{\"kind\": \"{}\", \"stream\": \"{}\", \"table\": \"{}\", \"text\": {}}}",
        json.size() > 1 ? "," : "", d.kind == Disagreement::Kind::kBehind ? "behind" : "different",
        d.stream, d.table, JsonString(d.text));
  }
  json = fmt::format("{{\"streams\": {}, \"sites\": {}, \"disagreements\": {}]}}\n",
                     comparison.streams, comparison.sites, json);
  PrintDocument(session.console().out, format, json);
}

}  // namespace

absl::Status RunVerify(Session& session, const VerifyOptions& options) {
  const auto context = session.context();
  if (!context.ok()) return context.status();
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  absl::Duration wait;
  if (!options.wait.empty()) {
    const auto parsed = ParseDuration(options.wait);
    if (!parsed.ok()) return parsed.status();
    wait = *parsed;
  }
  // Reading every row anew takes longer than other calls.
  if (session.globals.timeout.empty()) session.globals.timeout = options.deep ? "3600s" : "60s";
  const absl::Time deadline = absl::Now() + wait;
  absl::StatusOr<Comparison> comparison;
  while (true) {
    comparison = VerifyOnce(session, **context, options);
    // Whoever is behind, or starts just now, may agree the next time; whoever differs never will.
    const bool may_agree = comparison.ok() ? comparison->Has(Disagreement::Kind::kBehind) &&
                                                 !comparison->Has(Disagreement::Kind::kDifferent)
                                           : absl::IsUnavailable(comparison.status());
    if (!may_agree || absl::Now() + kPause >= deadline) break;
    absl::SleepFor(kPause);
  }
  if (!comparison.ok()) return WithNext(comparison.status(), "status");
  if (comparison->streams == 0 && !options.stream.empty()) {
    return WithNext(
        absl::NotFoundError(fmt::format(
            "found no stream '{}' at any site, expected one such as paris.inventory.events",
            options.stream)),
        "status");
  }
  if (IsDocument(*format)) {
    PrintJson(session, *format, *comparison);
  } else {
    for (const Disagreement& d : comparison->disagreements) {
      const bool behind = d.kind == Disagreement::Kind::kBehind;
      fmt::print(session.console().out, "{}: {}\n",
                 Paint(session.console(), Hue::kBad, behind ? "behind" : "different"), d.text);
    }
    fmt::print(session.console().out, "{}\n", Verdict(*comparison));
  }
  if (comparison->Has(Disagreement::Kind::kDifferent)) {
    const auto& first = *absl::c_find_if(comparison->disagreements, [](const Disagreement& d) {
      return d.kind == Disagreement::Kind::kDifferent;
    });
    return WithNext(
        absl::DataLossError(fmt::format(
            "found a difference in {}, expected one history at every site", first.stream)),
        fmt::format("verify --stream {} -o json", first.stream));
  }
  if (comparison->Has(Disagreement::Kind::kBehind)) {
    return WithNext(absl::UnavailableError("found a site behind, expected equal heads"),
                    "verify --wait 30s");
  }
  return absl::OkStatus();
}

}  // namespace concordat::cli
