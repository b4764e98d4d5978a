#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>
#include <utility>

#include "events/flaw.h"
#include "services/reservations/amendments.h"
#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/reservations/quotas.h"
#include "services/reservations/waves.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

using Proposed = std::variant<v1::Amendment, Obstacle>;

bool IsActive(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_ACTIVE;
}

// Whether anything of the reservation may be changed now.
Checked CheckAmendable(const v1::Reservation& reservation, absl::Time now) {
  if (reservation.has_amendment()) {
    return Obstacle{v1::REASON_WRONG_STATE,
                    fmt::format("{} is being judged; expected WithdrawAmendment, or its outcome.",
                                reservation.amendment().name())};
  }
  const Span use = UseOf(reservation.terms());
  if (IsActive(reservation) ? now >= use.end : now >= use.start) {
    return Obstacle{v1::REASON_TIME,
                    fmt::format("{} is to {}, expected a request before it.", reservation.name(),
                                IsActive(reservation) ? "end" : "start")};
  }
  return std::nullopt;
}

// While it is in use, the servers that it has and what they are used for stay.
Checked CheckInUse(const v1::Reservation& reservation, const v1::Terms& terms,
                   const runtime::Facts& facts) {
  if (!IsActive(reservation)) return std::nullopt;
  const v1::Terms& old = reservation.terms();
  if (UseOf(terms).start != UseOf(old).start || terms.model() != old.model() ||
      terms.count() < old.count()) {
    return Obstacle{
        v1::REASON_RUNNING,
        fmt::format("{} is in use, expected the same start and model, and {} servers or more.",
                    reservation.name(), old.count())};
  }
  if (UseOf(terms).end <= facts.now) {
    return Obstacle{v1::REASON_TIME,
                    fmt::format("The end is {}, expected after {}; or ReleaseReservation.",
                                runtime::ToText(UseOf(terms).end), runtime::ToText(facts.now))};
  }
  const absl::Duration before = ToDuration(reservation.margins().before());
  if (terms.count() > old.count() && before > absl::ZeroDuration()) {
    return Obstacle{v1::REASON_MARGIN,
                    fmt::format("Servers are re-tested for {} before a use and cannot join one; "
                                "expected a reservation of their own.",
                                absl::FormatDuration(before))};
  }
  return std::nullopt;
}

// Whether everything that the amendment takes beside the confirmed terms can be had.
Checked CheckParts(const State& state, const Frame& frame, const v1::Reservation& reservation,
                   const v1::Amendment& amendment, const runtime::Facts& facts) {
  const Index& index = state.index;
  const std::vector<Part> parts = PartsOf(reservation, amendment);
  for (const Part& part : parts) {
    if (part.count == 0) continue;
    if (auto obstacle = CheckUse(state, frame, part.count, part.span)) return obstacle;
  }
  int64_t seconds = 0;
  for (const Part& part : parts) seconds += AcceleratorSeconds(part.accelerators, part.span);
  for (const Part& part : parts) {
    if (part.accelerators == 0) continue;
    if (auto obstacle = CheckAllotment(state, frame, part.accelerators, seconds, part.span))
      return obstacle;
  }
  for (const Part& part : parts) {
    for (const std::string& server : part.servers) {
      const bool free = IsLost(reservation, server) ? !index.IsPromised(server, part.span)
                                                    : index.IsFree(server, part.span, facts.now);
      if (free) continue;
      return Obstacle{v1::REASON_NO_CAPACITY,
                      fmt::format("{} is not free within {}.", server, ToText(part.span))};
    }
    const Wanted wanted{amendment.terms(), reservation.name()};
    const google::protobuf::RepeatedPtrField<std::string> servers(part.servers.begin(),
                                                                  part.servers.end());
    if (auto obstacle = CheckApart(state, wanted, servers, part.span, facts.now)) return obstacle;
    if (part.watts != Watts() && !events::Has(events::Flaw::kAmendsBeyondPower)) {
      if (auto obstacle = CheckPower(state, frame, part.span, part.watts, facts)) return obstacle;
    }
    if (auto obstacle = CheckFeeds(state, part.servers, part.span, facts.now)) return obstacle;
  }
  return std::nullopt;
}

// The hours are asked for what is new alone: those of the past may not be known any more.
Checked CheckNewHours(const Frame& frame, const v1::Reservation& reservation,
                      const v1::Terms& terms) {
  const Span before = UseOf(reservation.terms());
  const Span after = UseOf(terms);
  if (after.start == before.start) {
    return after.end > before.end ? CheckHours(frame, {before.end, after.end}) : std::nullopt;
  }
  return CheckHours(frame, after);
}

// The servers that the reservation has and may keep, and as many others as are missing.
std::vector<std::string> ServersFor(const State& state, const v1::Reservation& reservation,
                                    const v1::Amendment& amendment, const runtime::Facts& facts) {
  const size_t count = static_cast<size_t>(amendment.terms().count());
  const Span block = BlockOf(amendment.terms(), amendment.margins());
  const Span old = BlockOf(reservation.terms(), reservation.margins());
  // An earlier start may be one at which a wave has not opened them yet.
  const absl::Time start = UseOf(amendment.terms()).start;
  const std::set<std::string> closed =
      start < UseOf(reservation.terms()).start
          ? ClosedServers(state, amendment.terms().model(), amendment.terms().customer(), start)
          : std::set<std::string>();
  std::vector<std::string> servers;
  std::set<std::string> known;
  if (amendment.terms().model() == reservation.terms().model()) {
    for (const std::string& server : reservation.servers()) {
      const bool free_before =
          block.start >= old.start ||
          state.index.IsFree(server, {block.start, std::min(block.end, old.start)}, facts.now);
      const bool free_after =
          block.end <= old.end ||
          state.index.IsFree(server, {std::max(block.start, old.end), block.end}, facts.now);
      const bool usable =
          !IsLost(reservation, server) && !closed.contains(server) && free_before && free_after;
      if (servers.size() < count && (usable || IsActive(reservation))) {
        servers.push_back(server);
        known.insert(server);
      }
    }
  }
  const Span use{IsActive(reservation) ? facts.now : UseOf(amendment.terms()).start,
                 UseOf(amendment.terms()).end};
  const Span span{IsActive(reservation) ? facts.now : block.start, block.end};
  v1::Terms missing = amendment.terms();
  missing.set_count(static_cast<int>(count - servers.size()));
  if (missing.count() == 0) return servers;
  Wanted wanted{missing, reservation.name()};
  wanted.excluded = known;
  for (const std::string& server : ChooseServers(state, wanted, use, span, facts.now))
    servers.push_back(server);
  std::sort(servers.begin(), servers.end());
  return servers;
}

// The amendment that these terms come to, or why there is none.
Proposed Propose(const State& state, const v1::Reservation& reservation, v1::Terms terms,
                 const runtime::Facts& facts) {
  const auto found = FrameOf(state, terms.contract(), facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&found)) return *obstacle;
  const Frame& frame = std::get<Frame>(found);
  if (auto obstacle = CheckInUse(reservation, terms, facts)) return *obstacle;
  if (!IsActive(reservation)) {
    if (auto obstacle = CheckTerms(terms, facts.now)) return *obstacle;
  }
  if (auto obstacle = CheckContract(frame.contract, terms, Here(facts))) return *obstacle;
  if (terms.project() != reservation.terms().project()) {
    if (auto obstacle = CheckProject(state, frame.contract, terms, Here(facts))) return *obstacle;
  }
  if (auto obstacle = CheckNewHours(frame, reservation, terms)) return *obstacle;
  v1::Amendment amendment;
  amendment.set_name(
      fmt::format("{}/amendments/a-{}", reservation.name(), runtime::DerivedId(facts)));
  *amendment.mutable_terms() = std::move(terms);
  const v1::Margins margins =
      IsActive(reservation) ? reservation.margins() : MarginsIn(frame, amendment.terms());
  if (margins.ByteSizeLong() > 0) *amendment.mutable_margins() = margins;
  if (!IsActive(reservation)) {
    if (auto obstacle = CheckRetest(margins, UseOf(amendment.terms()), facts.now)) return *obstacle;
  }
  const std::vector<std::string> servers = ServersFor(state, reservation, amendment, facts);
  if (servers.size() < static_cast<size_t>(amendment.terms().count())) {
    return Obstacle{
        v1::REASON_NO_CAPACITY,
        fmt::format("{} servers of {} could be had within {}, expected {}.", servers.size(),
                    amendment.terms().model(), ToText(BlockOf(amendment.terms(), margins)),
                    amendment.terms().count())};
  }
  amendment.mutable_servers()->Assign(servers.begin(), servers.end());
  Watts watts;
  int64_t accelerators = IsActive(reservation) ? reservation.accelerators() : 0;
  const auto& had = reservation.servers();
  for (const std::string& server : servers) {
    watts += state.index.WattsOf(server);
    const bool joins = !absl::c_linear_search(had, server);
    if (joins || !IsActive(reservation)) accelerators += state.index.AcceleratorsOf(server);
  }
  amendment.set_accelerators(accelerators);
  amendment.set_it_power_watts(watts.it_power);
  amendment.set_cooling_watts(watts.cooling);
  if (IsActive(reservation)) *amendment.mutable_effective_time() = runtime::ToTimestamp(facts.now);
  if (auto obstacle = CheckParts(state, frame, reservation, amendment, facts)) return *obstacle;
  return amendment;
}

// The same servers for longer: nothing else changes, not even what is set or found elsewhere now.
v1::Amendment Longer(const v1::Reservation& reservation, absl::Time end,
                     const runtime::Facts& facts) {
  v1::Amendment amendment;
  amendment.set_name(
      fmt::format("{}/amendments/a-{}", reservation.name(), runtime::DerivedId(facts)));
  *amendment.mutable_terms() = reservation.terms();
  *amendment.mutable_terms()->mutable_end_time() = runtime::ToTimestamp(end);
  *amendment.mutable_servers() = reservation.servers();
  amendment.set_it_power_watts(reservation.it_power_watts());
  amendment.set_cooling_watts(reservation.cooling_watts());
  amendment.set_accelerators(reservation.accelerators());
  if (reservation.has_margins()) *amendment.mutable_margins() = reservation.margins();
  if (IsActive(reservation)) *amendment.mutable_effective_time() = runtime::ToTimestamp(facts.now);
  amendment.set_extension(true);
  return amendment;
}

Checked CheckLonger(const State& state, const Frame& frame, const v1::Reservation& reservation,
                    const v1::Amendment& amendment, const runtime::Facts& facts) {
  if (auto obstacle = CheckContract(frame.contract, amendment.terms(), Here(facts)))
    return obstacle;
  if (auto obstacle = CheckNewHours(frame, reservation, amendment.terms())) return obstacle;
  return CheckParts(state, frame, reservation, amendment, facts);
}

// The last end, in whole seconds after the present one, that can be had; the present end where none
// can. What cannot be had for some time cannot be had for longer.
absl::Time LongestEnd(const State& state, const Frame& frame, const v1::Reservation& reservation,
                      absl::Time asked, const runtime::Facts& facts) {
  const absl::Time end = UseOf(reservation.terms()).end;
  int64_t had = 0;
  int64_t not_had = absl::ToInt64Seconds(asked - end) + 1;
  while (had + 1 < not_had) {
    const int64_t middle = had + (not_had - had) / 2;
    const v1::Amendment longer = Longer(reservation, end + absl::Seconds(middle), facts);
    (CheckLonger(state, frame, reservation, longer, facts) ? not_had : had) = middle;
  }
  return end + absl::Seconds(had);
}

absl::Time HoldUntil(const v1::Reservation& reservation, const v1::Amendment& amendment,
                     absl::Time now) {
  const Span before = UseOf(reservation.terms());
  const Span after = UseOf(amendment.terms());
  // A start that clocks which differ a little already call past begins once it is confirmed.
  const absl::Time start = after.start > now ? std::min(before.start, after.start) : before.start;
  const absl::Time latest = IsActive(reservation) ? std::min(before.end, after.end) : start;
  return std::min(now + kHoldTtl, std::max(latest, now));
}

v1::Event Held(const State& state, const v1::Reservation& reservation, v1::Amendment amendment,
               const runtime::Facts& facts) {
  v1::Event event;
  v1::AmendmentHeld& held = *event.mutable_amendment_held();
  held.set_reservation(reservation.name());
  *amendment.mutable_hold_expires_at() =
      runtime::ToTimestamp(HoldUntil(reservation, amendment, facts.now));
  *held.mutable_amendment() = std::move(amendment);
  const v1::SiteRecord site = state.rows.site_records.Get(Here(facts)).value_or(v1::SiteRecord());
  held.set_site_country(site.country());
  *held.mutable_site_certifications() = site.certifications();
  const auto contract = state.rows.contracts.Get(reservation.terms().contract());
  if (!contract) return event;
  held.set_customer_country(contract->terms().country());
  held.set_customer_sector(contract->terms().sector());
  return event;
}

v1::Terms Amended(v1::Terms terms, const v1::AmendReservationRequest& request) {
  if (!request.model().empty()) terms.set_model(request.model());
  if (request.count() > 0) terms.set_count(request.count());
  if (request.has_start_time()) *terms.mutable_start_time() = request.start_time();
  if (request.has_end_time()) *terms.mutable_end_time() = request.end_time();
  if (request.purpose() != v1::PURPOSE_UNSPECIFIED) terms.set_purpose(request.purpose());
  if (!request.data_classes().empty()) *terms.mutable_data_classes() = request.data_classes();
  if (!request.project().empty()) terms.set_project(request.project());
  if (request.min_count() > 0) terms.set_min_count(request.min_count());
  if (terms.min_count() > terms.count()) terms.set_min_count(terms.count());
  // Named servers are as many as were asked for then; the others are chosen by the usual way.
  const bool exact = IsExact(terms);
  if (exact && (request.count() > 0 || !request.model().empty())) terms.clear_placement();
  return terms;
}

// The pending amendment of this name, or the refusal.
Found FindPending(const State& state, const google::protobuf::Message& command,
                  const std::string& reservation, const std::string& amendment,
                  const runtime::Facts& facts) {
  Found found = Find(state, command, reservation, facts,
                     {v1::RESERVATION_STATE_CONFIRMED, v1::RESERVATION_STATE_ACTIVE});
  if (!found.reservation) return found;
  const std::string& pending = found.reservation->amendment().name();
  if (found.reservation->has_amendment() && (amendment.empty() || pending == amendment))
    return found;
  return {std::nullopt, Refused(command, v1::REASON_WRONG_STATE,
                                fmt::format("{} has {} pending, expected {}.", reservation,
                                            pending.empty() ? "no amendment" : pending,
                                            amendment.empty() ? "one" : amendment))};
}

v1::Event Dropped(const v1::Reservation& reservation, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::AmendmentDropped& dropped = *event.mutable_amendment_dropped();
  dropped.set_reservation(reservation.name());
  dropped.set_amendment(reservation.amendment().name());
  dropped.set_reason(reason);
  dropped.set_detail(std::move(detail));
  return event;
}

// What joins a use now has to be there now, and the site has to bear it now.
std::optional<Obstacle> CheckJoin(const State& state, const v1::Reservation& reservation,
                                  const std::vector<std::string>& added,
                                  const runtime::Facts& facts) {
  const v1::Amendment& amendment = reservation.amendment();
  for (const std::string& server : amendment.servers()) {
    const auto record = state.rows.server_records.Get(server);
    if (IsLost(reservation, server) || (record && !record->server().lost())) continue;
    return Obstacle{v1::REASON_NO_CAPACITY, fmt::format("{} was lost meanwhile.", server)};
  }
  if (!IsActive(reservation)) return std::nullopt;
  for (const std::string& server : added) {
    const auto record = state.rows.server_records.Get(server);
    if (record && !record->server().untested()) continue;
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("{} needs another test before it is used, expected one that has "
                                "passed.",
                                server)};
  }
  google::protobuf::RepeatedPtrField<std::string> joining(added.begin(), added.end());
  const auto taken = state.index.TakenServers(joining, reservation.name());
  if (!taken.empty())
    return Obstacle{v1::REASON_NO_CAPACITY, fmt::format("{} is still taken.", taken[0])};
  if (auto obstacle = CheckFeedsNow(state, added, facts.now)) return obstacle;
  const v1::SiteRecord site = state.rows.site_records.Get(Here(facts)).value_or(v1::SiteRecord());
  const Watts envelope = EnvelopeAt(site, facts.now);
  Watts after = state.index.running();
  const Watts before = after;
  after += {amendment.it_power_watts() - reservation.it_power_watts(),
            amendment.cooling_watts() - reservation.cooling_watts()};
  if (after.it_power > std::max(envelope.it_power, before.it_power) ||
      after.cooling > std::max(envelope.cooling, before.cooling)) {
    return Obstacle{
        after.it_power > envelope.it_power ? v1::REASON_POWER_ENVELOPE
                                           : v1::REASON_COOLING_ENVELOPE,
        fmt::format("The site would draw {} W and give off {} W now, expected at most "
                    "{} W and {} W.",
                    after.it_power, after.cooling, envelope.it_power, envelope.cooling)};
  }
  return std::nullopt;
}

// The terms one after the other, as they hold: what was agreed for a time is not rewritten.
std::vector<v1::Segment> SegmentsAfter(const v1::Reservation& reservation, absl::Time now) {
  const v1::Amendment& amendment = reservation.amendment();
  const auto segment = [](const std::string& name, const v1::Terms& terms, int64_t accelerators,
                          absl::Time start) {
    v1::Segment one;
    one.set_accelerators(accelerators);
    one.set_amendment(name);
    *one.mutable_start_time() = runtime::ToTimestamp(start);
    *one.mutable_end_time() = terms.end_time();
    one.set_count(terms.count());
    one.set_model(terms.model());
    return one;
  };
  const v1::Terms& old = reservation.terms();
  std::vector<v1::Segment> segments(reservation.segments().begin(), reservation.segments().end());
  if (segments.empty()) {
    segments.push_back(segment("", old, reservation.accelerators(), UseOf(old).start));
  }
  absl::Time from = UseOf(amendment.terms()).start;
  if (amendment.extension()) from = UseOf(old).end;
  if (!amendment.extension() && IsActive(reservation)) from = now;
  std::erase_if(segments,
                [&](const v1::Segment& one) { return runtime::ToTime(one.start_time()) >= from; });
  if (!amendment.extension() && !IsActive(reservation)) segments.clear();
  for (v1::Segment& one : segments) {
    if (runtime::ToTime(one.end_time()) > from)
      *one.mutable_end_time() = runtime::ToTimestamp(from);
  }
  segments.push_back(segment(amendment.name(), amendment.terms(), amendment.accelerators(), from));
  return segments;
}

Checked CheckNoSchedule(const v1::Reservation& reservation, bool extension) {
  const bool begun = extension && IsActive(reservation);
  if (!reservation.terms().has_access() && (reservation.series().empty() || begun))
    return std::nullopt;
  return Obstacle{v1::REASON_SCHEDULE,
                  fmt::format("{} follows a schedule, expected a reservation without one, or the "
                              "extension of an occurrence in use.",
                              reservation.name())};
}

}  // namespace

v1::Event Amend(const State& state, const v1::AmendReservationRequest& request,
                const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts,
                           {v1::RESERVATION_STATE_CONFIRMED, v1::RESERVATION_STATE_ACTIVE});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  if (auto obstacle = CheckNoSchedule(reservation, false)) return Refused(request, *obstacle);
  if (auto obstacle = CheckAmendable(reservation, facts.now)) return Refused(request, *obstacle);
  if (auto obstacle = CheckUnlocked(reservation, facts.now)) return Refused(request, *obstacle);
  const v1::Terms terms = Amended(reservation.terms(), request);
  if (google::protobuf::util::MessageDifferencer::Equals(terms, reservation.terms())) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} has these terms, expected others.", request.name()));
  }
  Proposed proposed = Propose(state, reservation, terms, facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&proposed)) return Refused(request, *obstacle);
  return Held(state, reservation, std::get<v1::Amendment>(std::move(proposed)), facts);
}

// To extend all parts or none would take promises of amendments, and there are none: an amendment
// that is held may lapse at one site while it is confirmed at another.
v1::Event RefuseBundle(const State& state, const v1::ExtendReservationRequest& request,
                       const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.name()) != facts.site) {
    return NotHome(request, request.name(), facts);
  }
  const auto bundle = state.rows.bundles.Get(request.name());
  if (!bundle) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known, expected a reservation.", request.name()));
  }
  std::string parts;
  for (const v1::PartRecord& part : bundle->parts())
    parts += fmt::format("{}{}", parts.empty() ? "" : ", ", part.reservation());
  return Refused(request, v1::REASON_BUNDLE,
                 fmt::format("{} is a bundle, expected one of its parts, each asked for at its "
                             "site: {}.",
                             request.name(), parts));
}

v1::Event ExtendUse(const State& state, const v1::ExtendReservationRequest& request,
                    const runtime::Facts& facts) {
  if (runtime::MatchesName(request.name(), "sites/*/bundles/*"))
    return RefuseBundle(state, request, facts);
  const Found found = Find(state, request, request.name(), facts,
                           {v1::RESERVATION_STATE_CONFIRMED, v1::RESERVATION_STATE_ACTIVE});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  if (auto obstacle = CheckNoSchedule(reservation, true)) return Refused(request, *obstacle);
  if (auto obstacle = CheckAmendable(reservation, facts.now)) return Refused(request, *obstacle);
  const absl::Time end = UseOf(reservation.terms()).end;
  const absl::Time asked = runtime::ToTime(request.end_time());
  if (asked <= end) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("The end is to be {}, expected after the present end, {}.",
                               runtime::ToText(asked), runtime::ToText(end)));
  }
  const auto known = FrameOf(state, reservation.terms().contract(), facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&known)) return Refused(request, *obstacle);
  const Frame& frame = std::get<Frame>(known);
  v1::Amendment longer = Longer(reservation, asked, facts);
  const Checked obstacle = CheckLonger(state, frame, reservation, longer, facts);
  if (!obstacle) return Held(state, reservation, std::move(longer), facts);
  const absl::Time longest = LongestEnd(state, frame, reservation, asked, facts);
  if (longest > end && request.longest_feasible()) {
    longer = Longer(reservation, longest, facts);
    *longer.mutable_asked_end_time() = request.end_time();
    return Held(state, reservation, std::move(longer), facts);
  }
  v1::Event refused =
      Refused(request, obstacle->reason,
              fmt::format("{} The longest feasible end is {}{}.", obstacle->detail,
                          runtime::ToText(longest), longest == end ? ", the present one" : ""));
  *refused.mutable_command_refused()->mutable_longest_end_time() = runtime::ToTimestamp(longest);
  if (!obstacle->shortfall.contract().empty())
    *refused.mutable_command_refused()->mutable_shortfall() = obstacle->shortfall;
  return refused;
}

v1::Event WithdrawAmendment(const State& state, const v1::WithdrawAmendmentRequest& request,
                            const runtime::Facts& facts) {
  const Found found = FindPending(state, request, request.name(), "", facts);
  return found.reservation ? Dropped(*found.reservation, v1::REASON_WITHDRAWN, request.reason())
                           : found.refusal;
}

v1::Event DropAmendment(const State& state, const v1::DropAmendment& command,
                        const runtime::Facts& facts) {
  const Found found =
      FindPending(state, command, command.reservation(), command.amendment(), facts);
  if (!found.reservation) return found.refusal;
  if (!command.detail().empty())
    return Dropped(*found.reservation, v1::REASON_COMPLIANCE, command.detail());
  const absl::Time expires = runtime::ToTime(found.reservation->amendment().hold_expires_at());
  if (facts.now < expires) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("{} is held until {}, expected not before.", command.amendment(),
                               runtime::ToText(expires)));
  }
  return Dropped(*found.reservation, v1::REASON_HOLD_LAPSED,
                 "It lapsed before compliance had judged it.");
}

v1::Event ConfirmAmendment(const State& state, const v1::ConfirmAmendment& command,
                           const runtime::Facts& facts) {
  const Found found =
      FindPending(state, command, command.reservation(), command.amendment(), facts);
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  const v1::Amendment& amendment = reservation.amendment();
  const absl::Time expires = runtime::ToTime(amendment.hold_expires_at());
  if (facts.now > expires) {
    return Refused(command, v1::REASON_HOLD_LAPSED,
                   fmt::format("{} was held until {}, expected a confirmation by then.",
                               amendment.name(), runtime::ToText(expires)));
  }
  std::vector<std::string> added;
  for (const std::string& server : amendment.servers()) {
    const auto& had = reservation.servers();
    if (!absl::c_linear_search(had, server)) added.push_back(server);
  }
  if (const auto obstacle = CheckJoin(state, reservation, added, facts))
    return Dropped(reservation, obstacle->reason, obstacle->detail);
  v1::Event event;
  v1::AmendmentConfirmed& confirmed = *event.mutable_amendment_confirmed();
  confirmed.set_reservation(reservation.name());
  *confirmed.mutable_amendment() = amendment;
  if (IsActive(reservation)) {
    for (const std::string& server : added) confirmed.add_added_servers(server);
  }
  for (const v1::Segment& segment : SegmentsAfter(reservation, facts.now))
    *confirmed.add_segments() = segment;
  return event;
}

}  // namespace concordat::reservations
