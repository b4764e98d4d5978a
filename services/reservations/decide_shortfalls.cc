// Whether more is reserved than there is, and what could be done about it.
#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "services/reservations/decider.h"
#include "services/reservations/envelopes.h"
#include "services/reservations/margins.h"
#include "services/reservations/shortfalls.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

constexpr size_t kMostSpans = 20;
constexpr size_t kMostReservations = 50;

Watts LimitOf(const v1::EnvelopeRecorded& step) {
  return {step.it_power_watts(), step.cooling_watts()};
}

// What is reserved of the site or a feed over a span, from each change on.
std::vector<std::pair<absl::Time, Watts>> LevelsOf(const Index& index, const std::string& feed,
                                                   const Span& span) {
  if (feed.empty()) return index.Levels(span);
  std::vector<std::pair<absl::Time, Watts>> levels;
  for (const auto& [at, watts] : index.feeds().Levels(feed, span))
    levels.push_back({at, {watts, 0}});
  return levels;
}

void SetEnd(const Span& span, google::protobuf::Timestamp* end) {
  *end = runtime::ToTimestamp(span.end);
}

v1::ShortSpan ToMessage(const Lack& lack) {
  v1::ShortSpan span;
  *span.mutable_start_time() = runtime::ToTimestamp(lack.span.start);
  if (lack.span.end != absl::InfiniteFuture()) SetEnd(lack.span, span.mutable_end_time());
  span.set_missing_it_power_watts(lack.missing.it_power);
  span.set_missing_cooling_watts(lack.missing.cooling);
  return span;
}

// A reservation that takes part, before anybody has asked what could be done.
struct Part {
  v1::Reservation reservation;
  Span block;
  std::vector<std::string> servers;  // those that draw on what is short
  Watts watts;
  v1::ContractSigned contract;
};

std::optional<Part> PartOf(const State& state, v1::Reservation reservation, const std::string& feed,
                           const std::vector<Lack>& lacks) {
  Part part;
  part.block = BlockOf(reservation.terms(), reservation.margins());
  const bool overlaps = std::any_of(
      lacks.begin(), lacks.end(), [&](const Lack& lack) { return lack.span.Overlaps(part.block); });
  if (!overlaps) return std::nullopt;
  for (const std::string& server : reservation.servers()) {
    const ServerPlace* place = state.index.PlaceOf(server);
    if (!feed.empty() && (place == nullptr || place->feed != feed)) continue;
    part.servers.push_back(server);
    if (!feed.empty()) part.watts.it_power += state.index.WattsOf(server).it_power;
  }
  if (feed.empty()) part.watts = {reservation.it_power_watts(), reservation.cooling_watts()};
  if (part.watts == Watts()) return std::nullopt;
  part.contract =
      state.rows.contracts.Get(reservation.terms().contract()).value_or(v1::Contract()).terms();
  part.reservation = std::move(reservation);
  return part;
}

std::vector<Part> PartsOf(const State& state, const std::string& feed,
                          const std::vector<Lack>& lacks) {
  std::vector<Part> parts;
  for (auto& [name, reservation] : LiveReservations(state.rows)) {
    if (auto part = PartOf(state, std::move(reservation), feed, lacks))
      parts.push_back(*std::move(part));
  }
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) {
    return a.contract.conditions().priority() < b.contract.conditions().priority();
  });
  return parts;
}

// With which end it would be over before the first lack that it takes part in; nothing where its
// start would not come before that.
std::optional<absl::Time> ShorterEnd(const Part& part, const std::vector<Lack>& lacks,
                                     absl::Time now) {
  const auto first = std::find_if(lacks.begin(), lacks.end(),
                                  [&](const Lack& lack) { return lack.span.Overlaps(part.block); });
  const Span use = UseOf(part.reservation.terms());
  const absl::Time end = first->span.start - (part.block.end - use.end);
  if (end <= std::max(use.start, now)) return std::nullopt;
  return end;
}

v1::ShortReservation Describe(const State& state, const Part& part, const std::string& feed,
                              const std::vector<Lack>& lacks, absl::Time now) {
  const v1::Reservation& reservation = part.reservation;
  v1::ShortReservation described;
  described.set_reservation(reservation.name());
  described.set_customer(reservation.terms().customer());
  described.set_active(IsInUse(reservation));
  *described.mutable_start_time() = reservation.terms().start_time();
  *described.mutable_end_time() = reservation.terms().end_time();
  described.set_it_power_watts(part.watts.it_power);
  described.set_cooling_watts(part.watts.cooling);
  described.set_priority(part.contract.conditions().priority());
  described.set_relocation(part.contract.interventions().relocation());
  // Within the site it helps a feed alone.
  if (!feed.empty()) {
    const std::vector<std::string> others =
        FindOthers(state, reservation, part.servers, LeftOf(reservation, now), now);
    if (others.size() == part.servers.size())
      described.mutable_move_to()->Assign(others.begin(), others.end());
  }
  if (const auto end = ShorterEnd(part, lacks, now))
    *described.mutable_shorten_to() = runtime::ToTimestamp(*end);
  described.set_revocable(reservation.state() == v1::RESERVATION_STATE_CONFIRMED ||
                          reservation.state() == v1::RESERVATION_STATE_ACTIVE);
  return described;
}

// Why the envelope is what it is at an instant.
std::string CauseAt(const EnvelopeSteps& steps, absl::Time at) {
  std::string cause;
  ForEachStep(steps, {at, at + absl::Nanoseconds(1)},
              [&](const Span&, const v1::EnvelopeRecorded* step) {
                if (step != nullptr) cause = step->cause();
                return true;
              });
  return cause;
}

v1::ShortfallFound Told(const State& state, const v1::SiteRecord& site, const std::string& feed,
                        const std::vector<Lack>& lacks, absl::Time now) {
  v1::ShortfallFound found;
  found.set_feed(feed);
  *found.mutable_start_time() = runtime::ToTimestamp(lacks.front().span.start);
  if (lacks.back().span.end != absl::InfiniteFuture())
    SetEnd(lacks.back().span, found.mutable_end_time());
  found.set_span_count(static_cast<int32_t>(lacks.size()));
  for (const Lack& lack : lacks) {
    if (static_cast<size_t>(found.spans_size()) < kMostSpans) *found.add_spans() = ToMessage(lack);
    found.set_missing_it_power_watts(
        std::max(found.missing_it_power_watts(), lack.missing.it_power));
    found.set_missing_cooling_watts(std::max(found.missing_cooling_watts(), lack.missing.cooling));
  }
  found.set_cause(CauseAt(StepsOf(site, feed), lacks.front().span.start));
  const std::vector<Part> parts = PartsOf(state, feed, lacks);
  found.set_reservation_count(static_cast<int32_t>(parts.size()));
  for (const Part& part : parts) {
    if (static_cast<size_t>(found.reservations_size()) == kMostReservations) break;
    *found.add_reservations() = Describe(state, part, feed, lacks, now);
  }
  return found;
}

std::optional<v1::Shortfall> KnownOf(const Rows& rows, const std::string& feed) {
  std::optional<v1::Shortfall> known;
  rows.shortfalls.Scan("", [&](std::string_view, const v1::Shortfall& shortfall) {
    if (shortfall.found().feed() == feed) known = shortfall;
    return !known;
  });
  return known;
}

}  // namespace

std::vector<Lack> ShortSpans(const Index& index, const v1::SiteRecord& site,
                             const std::string& feed, const Span& span) {
  std::vector<Lack> lacks;
  const Watts ending = feed.empty() ? index.ending() : Watts{index.feeds().Ending(feed), 0};
  ForEachStep(StepsOf(site, feed), span, [&](const Span& part, const v1::EnvelopeRecorded* step) {
    // Before its first step a site has nothing, a feed no limit.
    if (step == nullptr && !feed.empty()) return true;
    Watts limit = step == nullptr ? Watts() : LimitOf(*step);
    if (!feed.empty()) limit.cooling = 0;
    limit += ending;
    const auto levels = LevelsOf(index, feed, part);
    for (size_t i = 0; i < levels.size(); ++i) {
      const Span at{levels[i].first, i + 1 < levels.size() ? levels[i + 1].first : part.end};
      Watts missing = levels[i].second;
      missing -= limit;
      missing = {std::max<int64_t>(0, missing.it_power), std::max<int64_t>(0, missing.cooling)};
      if (missing == Watts()) continue;
      if (lacks.empty() || lacks.back().span.end != at.start) {
        lacks.push_back({at, missing});
        continue;
      }
      lacks.back().span.end = at.end;
      Watts& most = lacks.back().missing;
      most = {std::max(most.it_power, missing.it_power), std::max(most.cooling, missing.cooling)};
    }
    return true;
  });
  return lacks;
}

std::string ShortfallName(const v1::ReviewShortfall& command, const runtime::Facts& facts) {
  if (!command.name().empty()) return command.name();
  return fmt::format("{}/shortfalls/s-{}", Here(facts), runtime::DerivedId(facts));
}

v1::Event ReviewShortfall(const State& state, const v1::ReviewShortfall& command,
                          const runtime::Facts& facts) {
  if (command.site() != Here(facts)) {
    return NotHome(command, command.site(), facts);
  }
  const v1::SiteRecord site = state.rows.site_records.Get(Here(facts)).value_or(v1::SiteRecord());
  std::vector<Lack> lacks =
      ShortSpans(state.index, site, command.feed(), {facts.now, absl::InfiniteFuture()});
  const auto known = KnownOf(state.rows, command.feed());
  const std::string what =
      command.feed().empty() ? Here(facts) : fmt::format("feed {}", command.feed());
  v1::Event event;
  if (lacks.empty()) {
    if (!known) {
      return Refused(command, v1::REASON_WRONG_STATE,
                     fmt::format("{} suffices for what is reserved, expected too little.", what));
    }
    v1::ShortfallCleared& cleared = *event.mutable_shortfall_cleared();
    cleared.set_name(known->name());
    cleared.set_feed(command.feed());
    cleared.set_passed(known->found().has_end_time() &&
                       runtime::ToTime(known->found().end_time()) <= facts.now);
    return event;
  }
  // What has begun began when it did.
  if (known && lacks.front().span.start == facts.now)
    lacks.front().span.start = std::min(facts.now, runtime::ToTime(known->found().start_time()));
  v1::ShortfallFound& found = *event.mutable_shortfall_found();
  found = Told(state, site, command.feed(), lacks, facts.now);
  found.set_name(known ? known->name() : ShortfallName(command, facts));
  // The step with which it began may be forgotten.
  if (known && found.cause().empty()) found.set_cause(known->found().cause());
  if (!known || !google::protobuf::util::MessageDifferencer::Equals(found, known->found()))
    return event;
  return Refused(
      command, v1::REASON_WRONG_STATE,
      fmt::format("{} is as short of power and cooling as before, expected a change.", what));
}

}  // namespace concordat::reservations
