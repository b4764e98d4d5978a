#include "services/reservations/occupancy.h"

#include <algorithm>

#include "services/reservations/margins.h"
#include "services/reservations/replacements.h"
#include "services/runtime/check.h"

namespace concordat::reservations {

int64_t Bounded(int64_t amount) {
  constexpr int64_t kMost = 1'000'000'000'000'000;
  return std::clamp<int64_t>(amount, 0, kMost);
}

namespace {

Occupancy::Phase PhaseOf(const v1::Reservation& reservation) {
  switch (reservation.state()) {
    case v1::RESERVATION_STATE_HELD:
    case v1::RESERVATION_STATE_CONFIRMED:
      return Occupancy::Phase::kPlanned;
    case v1::RESERVATION_STATE_ACTIVE:
    case v1::RESERVATION_STATE_CLEANING:
      return Occupancy::Phase::kActive;
    case v1::RESERVATION_STATE_ENDING:
      return IsInGrace(reservation) ? Occupancy::Phase::kActive : Occupancy::Phase::kEnding;
    case v1::RESERVATION_STATE_ENDED:
    case v1::RESERVATION_STATE_CANCELLED:
    case v1::RESERVATION_STATE_DECLINED:
    case v1::RESERVATION_STATE_LAPSED:
    case v1::RESERVATION_STATE_REVOKED:
    case v1::RESERVATION_STATE_UNSPECIFIED:
    case v1::ReservationState_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::ReservationState_INT_MAX_SENTINEL_DO_NOT_USE_:
      return Occupancy::Phase::kNone;
  }
  return Occupancy::Phase::kNone;
}

}  // namespace

Occupancy OccupancyOf(const v1::Reservation& reservation) {
  Occupancy occupancy;
  occupancy.phase = PhaseOf(reservation);
  const v1::Terms& terms = reservation.terms();
  // What has a schedule takes nothing itself; its occurrences do.
  if (terms.has_access()) occupancy.phase = Occupancy::Phase::kNone;
  if (occupancy.phase == Occupancy::Phase::kNone) return occupancy;
  occupancy.reservation = reservation.name();
  occupancy.contract = terms.contract();
  occupancy.customer = terms.customer();
  occupancy.count = terms.count();
  occupancy.accelerators = Bounded(reservation.accelerators());
  occupancy.use = UseOf(terms);
  occupancy.span = BlockOf(terms, reservation.margins());
  const v1::Ending& ending = reservation.ending();
  if (ending.has_released_time())
    occupancy.use.end = std::min(occupancy.use.end, runtime::ToTime(ending.released_time()));
  if (reservation.state() == v1::RESERVATION_STATE_CLEANING)
    occupancy.span.end = runtime::ToTime(ending.cleaning_until());
  if (reservation.has_amendment()) {
    occupancy.parts = PartsOf(reservation, reservation.amendment());
    for (Part& part : occupancy.parts) {
      part.watts = {Bounded(part.watts.it_power), Bounded(part.watts.cooling)};
      part.accelerators = Bounded(part.accelerators);
    }
  }
  for (const v1::LeftServer& left : reservation.left_servers()) {
    occupancy.left.emplace_back(
        left.server(), Span{runtime::ToTime(left.start_time()), runtime::ToTime(left.end_time())});
  }
  occupancy.watts = {Bounded(reservation.it_power_watts()), Bounded(reservation.cooling_watts())};
  occupancy.servers.assign(reservation.servers().begin(), reservation.servers().end());
  return occupancy;
}

}  // namespace concordat::reservations
