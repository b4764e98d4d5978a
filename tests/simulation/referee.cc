#include "tests/simulation/referee.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "concordat/system/v1/events.pb.h"

namespace concordat::simulation {
namespace {

// Longer than this, an id may be used again. A caller's id is remembered for seven days at least.
constexpr absl::Duration kMemory = absl::Hours(24 * 7);

// As much of it as one wants to read.
std::string TextOf(const google::protobuf::Message& event) {
  return event.ShortDebugString().substr(0, 2000);
}

bool IsService(const std::string& actor) { return actor.compare(0, 7, "system:") == 0; }

}  // namespace

Referee::Referee(const std::vector<std::string>& sites, const std::vector<std::string>& services,
                 Violation violation)
    : violation_(std::move(violation)) {
  for (const std::string& site : sites) {
    for (const std::string& service : services) {
      History history;
      history.stream = events::StreamName(site, service);
      history.source = events::SourceOf(history.stream);
      histories_.emplace(history.stream, std::move(history));
    }
  }
}

void Referee::Sends(const std::string& site, const std::string& stream) {
  if (events::SiteOf(stream) == site) return;
  violation_("decides-alone", fmt::format("{} appends to {}", site, stream));
}

void Referee::Copied(const std::string& site, const std::string& stream,
                     const events::Record& record) {
  const auto link = events::Link::FromHex(events::HeaderValue(record, "ce_id"));
  if (link && Of(stream).stood.contains(*link)) return;
  violation_("decides-alone",
             fmt::format("{} has a record in its copy of {} that never stood at "
                         "its home, of sequence {}",
                         site, stream, events::HeaderValue(record, "ce_sequence")));
}

void Referee::Stood(const std::string& stream, const events::Record& record) {
  const auto link = events::Link::FromHex(events::HeaderValue(record, "ce_id"));
  if (link) histories_.at(stream).stood.insert(*link);
}

void Referee::Landed(const std::string& stream, int64_t offset,
                     const storage::SimulatedCluster::Stored& record) {
  History& history = histories_.at(stream);
  history.end = offset + 1;
  events::Reading reading = events::Read(*record, history.source);
  if (!reading.status.ok()) {
    violation_("well-formed", fmt::format("{} at offset {}: {}", stream, offset,
                                          std::string(reading.status.message())));
    return;
  }
  Fact fact{std::move(reading.attributes), record, offset};
  const bool first = history.seen.insert(fact.attributes.id).second;
  const bool child = history.facts.empty()
                         ? fact.attributes.parent == events::Link()
                         : fact.attributes.parent == history.facts.back().attributes.id;
  if (!first || !child || fact.attributes.sequence != history.facts.size()) {
    ++history.voids;
    ++voids_;
    return;
  }
  Accept(history, std::move(fact));
}

void Referee::Lost(const std::string& stream) { histories_.at(stream).lost = true; }

namespace {
// As in Landed(), from a log's first record on.
std::vector<Fact> AcceptedIn(const std::vector<storage::SimulatedCluster::Stored>& log,
                             const std::string& source, absl::flat_hash_set<events::Link>* seen) {
  std::vector<Fact> facts;
  for (size_t offset = 0; offset < log.size(); ++offset) {
    events::Reading reading = events::Read(*log[offset], source);
    if (!reading.status.ok()) continue;
    Fact fact{std::move(reading.attributes), log[offset], static_cast<int64_t>(offset)};
    const bool first = seen->insert(fact.attributes.id).second;
    const bool child = facts.empty() ? fact.attributes.parent == events::Link()
                                     : fact.attributes.parent == facts.back().attributes.id;
    if (first && child && fact.attributes.sequence == facts.size())
      facts.push_back(std::move(fact));
  }
  return facts;
}
}  // namespace

bool Referee::Accepted(const std::string& stream, const events::Record& record) const {
  const History& history = Of(stream);
  const size_t sequence =
      std::strtoull(std::string(events::HeaderValue(record, "ce_sequence")).c_str(), nullptr, 10);
  return sequence < history.facts.size() &&
         history.facts[sequence].attributes.id.ToHex() == events::HeaderValue(record, "ce_id");
}

bool Referee::IsVoid(const std::string& stream, const events::Link& link) const {
  const History& history = Of(stream);
  return history.seen.contains(link) &&
         std::none_of(history.facts.begin(), history.facts.end(),
                      [&](const Fact& fact) { return fact.attributes.id == link; });
}

bool Referee::Whole(const std::string& stream,
                    const std::vector<storage::SimulatedCluster::Stored>& log) {
  History& history = histories_.at(stream);
  absl::flat_hash_set<events::Link> seen;
  std::vector<Fact> facts = AcceptedIn(log, history.source, &seen);
  for (size_t i = 0; i < std::min(facts.size(), history.facts.size()); ++i) {
    if (facts[i].attributes.id == history.facts[i].attributes.id) continue;
    violation_("lost-is-refilled",
               fmt::format("{}: after the log lost what others have seen, sequence {} was decided "
                           "a second time",
                           stream, i));
    return false;
  }
  // Its home says that it is whole by going on from there.
  if (facts.size() <= history.facts.size()) return false;
  history.lost = false;
  history.seen = std::move(seen);
  history.end = static_cast<int64_t>(log.size());
  for (size_t i = 0; i < facts.size(); ++i) {
    if (i < history.facts.size()) {
      history.facts[i].offset = facts[i].offset;
    } else {
      Accept(history, std::move(facts[i]));
    }
  }
  return true;
}

void Referee::SeenElsewhere(const std::string& stream,
                            const std::vector<storage::SimulatedCluster::Stored>& copy) {
  History& history = histories_.at(stream);
  absl::flat_hash_set<events::Link> seen;
  std::vector<Fact> facts = AcceptedIn(copy, history.source, &seen);
  for (size_t i = history.facts.size(); i < facts.size(); ++i) Accept(history, std::move(facts[i]));
}

namespace {
bool IsNew(const events::Attributes& attributes) {
  static const auto* const types = [] {
    auto* types = new std::set<std::string>;
    for (const char* name : {"concordat.inventory.v1.Event", "concordat.reservations.v1.Event",
                             "concordat.deployment.v1.Event", "concordat.compliance.v1.Event"}) {
      const auto* event =
          google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
      for (int i = 0; event != nullptr && i < event->field_count(); ++i) {
        if (event->field(i)->number() >= kFirstNew && event->field(i)->message_type() != nullptr)
          types->insert(std::string(event->field(i)->message_type()->full_name()));
      }
    }
    return types;
  }();
  return types->contains(attributes.type);
}
}  // namespace

void Referee::Accept(History& history, Fact fact) {
  ++accepted_;
  const events::Attributes& attributes = fact.attributes;
  if (history.first_new < 0 && IsNew(attributes))
    history.first_new = static_cast<int64_t>(attributes.sequence);
  if (!history.facts.empty() && attributes.time < history.facts.back().attributes.time) {
    violation_("time-goes-on",
               fmt::format("{}: sequence {} is of {}, before the one before it", history.stream,
                           attributes.sequence, events::EventTime(attributes.time)));
  }
  if (trials_.contains(attributes.command_id)) {
    violation_("tried-only",
               fmt::format("{}: sequence {} is of {}, which was a trial", history.stream,
                           attributes.sequence, attributes.command_id));
  }
  const auto [known, fresh] =
      history.commands.try_emplace({attributes.actor, attributes.command_id}, attributes.sequence);
  if (!fresh) {
    const absl::Time before = history.facts[known->second].attributes.time;
    if (IsService(attributes.actor) || attributes.time - before < kMemory) {
      violation_(
          "exactly-once",
          fmt::format("{}: command {} of {} was decided at sequence {} and at {}", history.stream,
                      attributes.command_id, attributes.actor, known->second, attributes.sequence));
    }
    known->second = attributes.sequence;
  }
  if (attributes.type == system::v1::StateAttested::descriptor()->full_name()) ++attested_;
  // What it is about is its own. A refusal says what somebody thought.
  const std::string site = events::SiteOf(history.stream);
  const bool refusal = attributes.type.find(".CommandRefused") != std::string::npos;
  if (!refusal && attributes.subject.compare(0, 6, "sites/") == 0 &&
      (attributes.subject + "/").compare(6, site.size() + 1, site + "/") != 0) {
    violation_("decides-alone",
               fmt::format("{}: sequence {}: {} of {}", history.stream, attributes.sequence,
                           attributes.type, attributes.subject));
  }
  if (attributes.data_type == "concordat.inventory.v1.Event") {
    inventory::v1::Event event;
    event.ParseFromString(fact.record->data);
    Judge(history, attributes, event);
  }
  if (attributes.data_type == "concordat.reservations.v1.Event") {
    reservations::v1::Event event;
    event.ParseFromString(fact.record->data);
    Judge(history, attributes, event);
  }
  history.facts.push_back(std::move(fact));
}

void Referee::Find(const char* invariant, const std::string& wrong, const History& history,
                   const events::Attributes& attributes, const google::protobuf::Message& event) {
  if (wrong.empty()) return;
  violation_(invariant, fmt::format("{}: sequence {}: {}, by {}", history.stream,
                                    attributes.sequence, wrong, TextOf(event)));
}

void Referee::Judge(const History& history, const events::Attributes& attributes,
                    const inventory::v1::Event& event) {
  const auto judge = [&](const char* invariant, const std::string& wrong) {
    Find(invariant, wrong, history, attributes, event);
  };
  judge("tested-before-offered", offers_[history.stream].Take(event));
  const Books& books = books_[events::StreamName(events::SiteOf(history.stream), "reservations")];
  judge("opened-with-consent", maintenance_[history.stream].Take(event, books.allocations));
}

void Referee::Judge(const History& history, const events::Attributes& attributes,
                    const reservations::v1::Event& event) {
  const auto judge = [&](const char* invariant, const std::string& wrong) {
    Find(invariant, wrong, history, attributes, event);
  };
  const std::string site = events::SiteOf(history.stream);
  occurrences_ += static_cast<uint64_t>(event.reservation_held().occurrences_size());
  Books& books = books_[history.stream];
  judge("over-is-over", books.endings.Take(event));
  judge("terms-hold", books.agreed.Take(event, attributes.time));
  judge("closed-is-closed", books.waves.Take(event, books.allocations, attributes.time));
  judge("hours-kept", books.hours.Take(event));
  judge("allocated-once", books.allocations.Take(event, site, attributes.time));
  judge("shortfalls-told", books.shortfalls.Take(event, books.allocations, attributes.time));
  judge("all-or-none", bundles_.Take(event));
  judge("quota-kept", quotas_.Take(event, site, attributes.time));
}

void Referee::CheckShortfalls(const std::string& site, absl::Time now) {
  const std::string stream = events::StreamName(site, "reservations");
  const Books& books = books_[stream];
  const std::string wrong = books.shortfalls.Uncleared(books.allocations, now);
  if (!wrong.empty()) violation_("shortfalls-told", fmt::format("{}: {}", stream, wrong));
}

void Referee::Acknowledged(const std::string& actor, const std::string& digest,
                           const type::v1::Outcome& outcome) {
  const History& history = Of(outcome.stream());
  if (outcome.sequence() >= history.facts.size()) {
    violation_("acknowledged-is-accepted",
               fmt::format("{}: {} was told sequence {} for {}, the history ends before it",
                           history.stream, actor, outcome.sequence(), outcome.request_id()));
    return;
  }
  const events::Attributes& found = history.facts[outcome.sequence()].attributes;
  if (found.id.ToHex() != outcome.link() || found.actor != actor ||
      found.command_id != outcome.request_id() || found.command_digest != digest ||
      found.type != outcome.event_type()) {
    violation_("acknowledged-is-accepted",
               fmt::format("{}: {} was told {} at sequence {} for {}, there stands {} for {} of {}",
                           history.stream, actor, outcome.event_type(), outcome.sequence(),
                           outcome.request_id(), found.type, found.command_id, found.actor));
  }
}

void Referee::Folded(const std::string& who, const std::string& stream, int64_t sequence,
                     const events::Link& link) {
  const History& history = Of(stream);
  if (sequence < static_cast<int64_t>(history.facts.size()) &&
      history.facts[static_cast<size_t>(sequence)].attributes.id == link) {
    return;
  }
  violation_("single-chain",
             fmt::format("{} folded {} up to sequence {} with a link that its history has not", who,
                         stream, sequence));
}

}  // namespace concordat::simulation
