#include <fmt/format.h>

#include <utility>

#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

std::string StateName(const v1::Reservation& reservation) {
  return v1::ReservationState_Name(reservation.state());
}

// It is over, and cleaned where it has to be.
v1::Event Ended(const std::string& name) {
  v1::Event event;
  event.mutable_reservation_ended()->set_name(name);
  return event;
}

}  // namespace

bool MustRetest(const State& state, const std::string& server) {
  const auto record = state.rows.server_records.Get(server);
  return record && record->server().retest_after_tenant() && !record->server().lost();
}

namespace {

// So too, with those of its servers that the next tenant gets only after a test.
v1::Event Ended(const State& state, const v1::Reservation& reservation) {
  v1::Event event = Ended(reservation.name());
  for (const std::string& server : reservation.servers()) {
    if (MustRetest(state, server)) event.mutable_reservation_ended()->add_retest_servers(server);
  }
  return event;
}

// Once a customer's time is over it may finish, if it is to have a grace.
v1::Event Finish(const v1::Reservation& reservation) {
  v1::Event event;
  const absl::Duration grace = ToDuration(reservation.terms().grace());
  if (grace == absl::ZeroDuration() || IsInGrace(reservation)) {
    event.mutable_reservation_ending()->set_name(reservation.name());
    return event;
  }
  v1::ReservationGraceStarted& started = *event.mutable_reservation_grace_started();
  started.set_name(reservation.name());
  *started.mutable_grace_until() = runtime::ToTimestamp(UseOf(reservation.terms()).end + grace);
  return event;
}

}  // namespace

Checked CheckUnlocked(const v1::Reservation& reservation, absl::Time now) {
  const v1::Terms& terms = reservation.terms();
  const absl::Time locked = UseOf(terms).start - ToDuration(terms.lock_time());
  // What a delayed start has not given may be given back.
  if (!terms.has_lock_time() || now < locked || reservation.has_retry_time() ||
      reservation.state() != v1::RESERVATION_STATE_CONFIRMED) {
    return std::nullopt;
  }
  return Obstacle{v1::REASON_LOCKED,
                  fmt::format("The terms of {} are locked since {}, {} before the start; expected "
                              "the request before, or RevokeReservation with a legal basis.",
                              reservation.name(), runtime::ToText(locked),
                              absl::FormatDuration(ToDuration(terms.lock_time())))};
}

v1::Event SetMargins(const State& state, const v1::SetMarginsRequest& request,
                     const runtime::Facts& facts) {
  if (request.site() != Here(facts)) {
    return NotHome(request, request.site(), facts);
  }
  if (!state.rows.site_records.Contains(request.site())) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known; expected OpenSite first.", request.site()));
  }
  v1::Event event;
  v1::MarginsSet& set = *event.mutable_margins_set();
  set.set_site(request.site());
  set.set_model(request.model());
  *set.mutable_margins()->mutable_before() = request.before();
  *set.mutable_margins()->mutable_after() = request.after();
  return event;
}

v1::Event Release(const State& state, const v1::ReleaseReservationRequest& request,
                  const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts,
                           {v1::RESERVATION_STATE_ACTIVE, v1::RESERVATION_STATE_ENDING});
  if (!found.reservation) return found.refusal;
  if (!IsInUse(*found.reservation)) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} is vacated already, expected one in use.", request.name()));
  }
  v1::Event event;
  event.mutable_reservation_released()->set_name(request.name());
  event.mutable_reservation_released()->set_reason(request.reason());
  return event;
}

v1::Event Revoke(const State& state, const v1::RevokeReservationRequest& request,
                 const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts,
                           {v1::RESERVATION_STATE_CONFIRMED, v1::RESERVATION_STATE_ACTIVE,
                            v1::RESERVATION_STATE_ENDING});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  if (reservation.state() == v1::RESERVATION_STATE_ENDING && !IsInGrace(reservation)) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} is vacated already, expected one that is promised or in use.",
                               request.name()));
  }
  v1::Event event;
  v1::ReservationRevoked& revoked = *event.mutable_reservation_revoked();
  revoked.set_name(request.name());
  revoked.set_cause(request.cause());
  *revoked.mutable_legal_basis() = request.legal_basis();
  revoked.set_vacates(IsInUse(reservation));
  revoked.set_order(reservation.order());
  revoked.set_bundle(reservation.bundle());
  return event;
}

v1::Event BeginEnd(const State& state, const v1::BeginEndReservation& command,
                   const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts,
                           {v1::RESERVATION_STATE_ACTIVE, v1::RESERVATION_STATE_CONFIRMED,
                            v1::RESERVATION_STATE_ENDING});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  // What has a schedule never becomes active itself, its occurrences do.
  const bool series = reservation.terms().has_access();
  if (!series && !IsInUse(reservation)) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {}, expected {}.", command.name(), StateName(reservation),
                               v1::ReservationState_Name(v1::RESERVATION_STATE_ACTIVE)));
  }
  const absl::Time end = IsInGrace(reservation)
                             ? runtime::ToTime(reservation.ending().grace_until())
                             : UseOf(reservation.terms()).end;
  if (facts.now < end) {
    return Refused(
        command, v1::REASON_TIME,
        fmt::format("{} ends at {}, expected not before.", command.name(), runtime::ToText(end)));
  }
  return series ? Ended(command.name()) : Finish(reservation);
}

v1::Event End(const State& state, const v1::EndReservation& command, const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts,
                           {v1::RESERVATION_STATE_ENDING, v1::RESERVATION_STATE_CLEANING});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  if (IsInGrace(reservation)) {
    return Refused(
        command, v1::REASON_WRONG_STATE,
        fmt::format("The grace of {} is running, expected one that is vacated.", command.name()));
  }
  if (reservation.state() == v1::RESERVATION_STATE_CLEANING) {
    const absl::Time clean = runtime::ToTime(reservation.ending().cleaning_until());
    if (facts.now >= clean) return Ended(state, *found.reservation);
    return Refused(command, v1::REASON_TIME,
                   fmt::format("The servers of {} are cleaned until {}, expected not before.",
                               command.name(), runtime::ToText(clean)));
  }
  const absl::Duration after = ToDuration(reservation.margins().after());
  if (after == absl::ZeroDuration()) return Ended(state, *found.reservation);
  v1::Event event;
  v1::ReservationCleaning& cleaning = *event.mutable_reservation_cleaning();
  cleaning.set_name(command.name());
  *cleaning.mutable_cleaning_until() = runtime::ToTimestamp(facts.now + after);
  return event;
}

}  // namespace concordat::reservations
