#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "events/flaw.h"
#include "services/reservations/bundles.h"
#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/reservations/quotas.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

v1::Event Declined(const v1::Reservation& reservation, v1::Reason reason,
                   const std::string& detail) {
  v1::Event event;
  v1::ReservationDeclined& declined = *event.mutable_reservation_declined();
  declined.set_name(reservation.name());
  declined.set_reason(reason);
  declined.set_detail(detail);
  declined.set_order(reservation.order());
  declined.set_bundle(reservation.bundle());
  return event;
}

// A promise ends by the bundle's coordinator, or by an operator, and by nothing else.
std::optional<v1::Event> Promised(const google::protobuf::Message& command,
                                  const v1::Reservation& reservation) {
  if (!IsPromised(reservation)) return std::nullopt;
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{} is promised to {}, expected that its coordinator decides, or "
                             "BreakPromise.",
                             reservation.name(), reservation.bundle()));
}

// The servers that the reservation can be given: those that were not lost since.
std::vector<std::string> UsableServers(const v1::Reservation& reservation) {
  std::vector<std::string> usable;
  const auto& lost = reservation.lost_servers();
  for (const std::string& server : reservation.servers()) {
    if (!absl::c_linear_search(lost, server)) usable.push_back(server);
  }
  return usable;
}

// Those of its servers whose burn-in is stale.
std::vector<std::string> UntestedServers(const State& state, const v1::Reservation& reservation) {
  std::vector<std::string> untested;
  for (const std::string& name : UsableServers(reservation)) {
    const auto record = state.rows.server_records.Get(name);
    if (record && record->server().untested()) untested.push_back(name);
  }
  return untested;
}

// What a start waits for, in one sentence; empty where nothing is in its way.
std::string ObstacleOf(const State& state, const v1::Reservation& reservation,
                       const std::vector<std::string>& taken, const runtime::Facts& facts) {
  if (!taken.empty()) {
    return fmt::format("{} of its servers are still taken, {} first; expected all of them free.",
                       taken.size(), taken[0]);
  }
  const auto usable = static_cast<int>(UsableServers(reservation).size());
  if (usable < std::max(1, LeastOf(reservation.terms()))) {
    return fmt::format("{} of its {} servers are lost; expected at least {} to start with.",
                       reservation.servers_size() - usable, reservation.servers_size(),
                       std::max(1, LeastOf(reservation.terms())));
  }
  if (const auto untested = UntestedServers(state, reservation); !untested.empty()) {
    return fmt::format(
        "The burn-in of {} of its servers is stale, {} first; expected a test that "
        "passed.",
        untested.size(), untested[0]);
  }
  const v1::SiteRecord site = state.rows.site_records.Get(Here(facts)).value_or(v1::SiteRecord());
  const Watts envelope = EnvelopeAt(site, facts.now);
  Watts after = state.index.running();
  after += {reservation.it_power_watts(), reservation.cooling_watts()};
  if (after.it_power > envelope.it_power) {
    return fmt::format("The site would draw {} W now, expected at most {} W.", after.it_power,
                       envelope.it_power);
  }
  if (after.cooling > envelope.cooling) {
    return fmt::format("The site would give off {} W now, expected at most {} W.", after.cooling,
                       envelope.cooling);
  }
  if (const auto feed = CheckFeedsNow(state, UsableServers(reservation), facts.now))
    return feed->detail;
  return {};
}

// The fact that moves the deadline, so that the timer does not fire for ever: to a time after now,
// and at last to the end of the time span, when Start() closes it.
v1::Event Delayed(const v1::Reservation& reservation, const std::vector<std::string>& taken,
                  const std::string& detail, absl::Time now) {
  const absl::Duration wait = RetryAfter(reservation.delays());
  v1::Event event;
  v1::ReservationDelayed& delayed = *event.mutable_reservation_delayed();
  delayed.set_name(reservation.name());
  delayed.mutable_taken_servers()->Assign(taken.begin(), taken.end());
  *delayed.mutable_retry_time() =
      runtime::ToTimestamp(std::min(now + wait, runtime::ToTime(reservation.terms().end_time())));
  delayed.set_detail(detail);
  return event;
}

}  // namespace

Checked CheckFeedsNow(const State& state, const std::vector<std::string>& servers, absl::Time now) {
  for (const auto& [feed, watts] : state.index.FeedDraws(servers)) {
    const auto limit = state.index.feeds().LimitAt(feed, now);
    const int64_t after = state.index.feeds().Running(feed) + watts;
    if (!limit || after <= *limit) continue;
    return Obstacle{
        v1::REASON_POWER_ENVELOPE,
        fmt::format("Feed {} would give {} W now, expected at most {} W.", feed, after, *limit)};
  }
  return std::nullopt;
}

absl::Duration RetryAfter(int attempts) {
  constexpr int kMostDoublings = 6;
  return std::min(kFirstRetry * (1 << std::clamp(attempts, 0, kMostDoublings)), kLongestRetry);
}

Found Find(const State& state, const google::protobuf::Message& command, const std::string& name,
           const runtime::Facts& facts, std::initializer_list<v1::ReservationState> expected) {
  if (runtime::SiteOfName(name) != facts.site) {
    return {std::nullopt, NotHome(command, name, facts)};
  }
  std::optional<v1::Reservation> reservation = state.rows.reservations.Get(name);
  if (!reservation) {
    return {std::nullopt, Refused(command, v1::REASON_NOT_FOUND,
                                  fmt::format("{} is not known, expected a reservation of {}.",
                                              name, Here(facts)))};
  }
  if (absl::c_linear_search(expected, reservation->state())) {
    return {std::move(reservation), {}};
  }
  std::string names;
  for (const v1::ReservationState state_expected : expected) {
    names +=
        fmt::format("{}{}", names.empty() ? "" : " or ", v1::ReservationState_Name(state_expected));
  }
  return {std::nullopt,
          Refused(command, v1::REASON_WRONG_STATE,
                  fmt::format("{} is {}, expected {}.", name,
                              v1::ReservationState_Name(reservation->state()), names))};
}

v1::Event Cancel(const State& state, const v1::CancelReservationRequest& request,
                 const runtime::Facts& facts) {
  const auto known = state.rows.reservations.Get(request.name());
  if (known && runtime::SiteOfName(request.name()) == facts.site && IsInUse(*known)) {
    return Refused(request, v1::REASON_RUNNING,
                   fmt::format("{} is in use, expected ReleaseReservation by its customer, or "
                               "RevokeReservation with a legal basis.",
                               request.name()));
  }
  const bool revives = events::Has(events::Flaw::kRevivesEnded) && known &&
                       known->state() == v1::RESERVATION_STATE_ENDED;
  const Found found = revives ? Found{known, {}}
                              : Find(state, request, request.name(), facts,
                                     {v1::RESERVATION_STATE_HELD, v1::RESERVATION_STATE_CONFIRMED});
  if (!found.reservation) return found.refusal;
  if (auto refusal = Promised(request, *found.reservation)) return *refusal;
  if (const auto locked = CheckUnlocked(*found.reservation, facts.now))
    return Refused(request, locked->reason, locked->detail);
  v1::Event event;
  v1::ReservationCancelled& cancelled = *event.mutable_reservation_cancelled();
  cancelled.set_name(request.name());
  cancelled.set_reason(request.reason());
  cancelled.set_order(found.reservation->order());
  cancelled.set_bundle(found.reservation->bundle());
  return event;
}

v1::Event Confirm(const State& state, const v1::ConfirmReservation& command,
                  const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts, {v1::RESERVATION_STATE_HELD});
  if (!found.reservation) return found.refusal;
  const absl::Time expires = runtime::ToTime(found.reservation->hold_expires_at());
  if (facts.now > expires) {
    return Refused(command, v1::REASON_HOLD_LAPSED,
                   fmt::format("{} was held until {}, expected a confirmation by then.",
                               command.name(), runtime::ToText(expires)));
  }
  v1::Event event;
  // A part is confirmed by its bundle.
  if (!found.reservation->bundle().empty()) {
    if (found.reservation->part_state() != v1::PART_STATE_UNSPECIFIED) {
      return Refused(
          command, v1::REASON_WRONG_STATE,
          fmt::format("{} is {} already, expected a part that is not cleared yet.", command.name(),
                      v1::PartState_Name(found.reservation->part_state())));
    }
    event.mutable_part_held()->set_name(command.name());
    event.mutable_part_held()->set_bundle(found.reservation->bundle());
    return event;
  }
  event.mutable_reservation_confirmed()->set_name(command.name());
  event.mutable_reservation_confirmed()->set_order(found.reservation->order());
  return event;
}

v1::Event Decline(const State& state, const v1::DeclineReservation& command,
                  const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts, {v1::RESERVATION_STATE_HELD});
  return found.reservation ? Declined(*found.reservation, v1::REASON_COMPLIANCE, command.detail())
                           : found.refusal;
}

v1::Event Lapse(const State& state, const v1::LapseHold& command, const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts, {v1::RESERVATION_STATE_HELD});
  if (!found.reservation) return found.refusal;
  if (auto refusal = Promised(command, *found.reservation)) return *refusal;
  v1::Event event;
  event.mutable_hold_lapsed()->set_name(command.name());
  event.mutable_hold_lapsed()->set_order(found.reservation->order());
  event.mutable_hold_lapsed()->set_bundle(found.reservation->bundle());
  return event;
}

v1::Event Start(const State& state, const v1::StartReservation& command,
                const runtime::Facts& facts) {
  const Found found =
      Find(state, command, command.name(), facts, {v1::RESERVATION_STATE_CONFIRMED});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  const v1::Terms& terms = reservation.terms();
  if (terms.has_access()) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} has a schedule, expected one of its occurrences, {} and so on.",
                               command.name(), OccurrenceName(command.name(), 1)));
  }
  const Span span{runtime::ToTime(terms.start_time()), runtime::ToTime(terms.end_time())};
  if (facts.now < span.start) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("{} starts at {}, expected not before.", command.name(),
                               runtime::ToText(span.start)));
  }
  if (facts.now >= span.end) {
    const bool delayed = reservation.delays() > 0;
    return Declined(
        reservation, delayed ? v1::REASON_NO_CAPACITY : v1::REASON_TIME,
        fmt::format("It could not start before its end, {}.{}{}", runtime::ToText(span.end),
                    delayed ? " " : "", delayed ? reservation.detail() : ""));
  }
  const auto taken = state.index.TakenServers(reservation.servers(), reservation.name());
  const std::string obstacle = ObstacleOf(state, reservation, taken, facts);
  if (!obstacle.empty()) return Delayed(reservation, taken, obstacle, facts.now);
  v1::Event event;
  v1::ReservationStarted& started = *event.mutable_reservation_started();
  started.set_name(reservation.name());
  started.set_customer(terms.customer());
  for (const std::string& server : UsableServers(reservation)) {
    started.add_servers(server);
    started.set_accelerators(started.accelerators() + state.index.AcceleratorsOf(server));
  }
  // No more than was booked, whatever the inventory says of the servers meanwhile.
  started.set_accelerators(std::min(started.accelerators(), reservation.accelerators()));
  if (!reservation.segments().empty() && started.accelerators() < reservation.accelerators()) {
    for (const v1::Segment& segment :
         SegmentsFrom(reservation, started.accelerators(), absl::InfinitePast()))
      *started.add_segments() = segment;
  }
  *started.mutable_end_time() = terms.end_time();
  return event;
}

}  // namespace concordat::reservations
