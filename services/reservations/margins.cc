#include "services/reservations/margins.h"

#include <algorithm>

#include "services/runtime/check.h"

namespace concordat::reservations {

absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return std::max(absl::ZeroDuration(),
                  absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos()));
}

Span UseOf(const v1::Terms& terms) {
  return {runtime::ToTime(terms.start_time()), runtime::ToTime(terms.end_time())};
}

Span BlockOf(const Span& use, const v1::Terms& terms, const v1::Margins& margins) {
  return {use.start - ToDuration(margins.before()),
          use.end + ToDuration(terms.grace()) + ToDuration(margins.after())};
}

Span BlockOf(const v1::Terms& terms, const v1::Margins& margins) {
  return BlockOf(UseOf(terms), terms, margins);
}

v1::Margins MarginsOf(const v1::SiteRecord& site, const std::string& model) {
  for (const v1::MarginsSet& set : site.margins()) {
    if (set.model() == model) return set.margins();
  }
  return {};
}

int LeastOf(const v1::Terms& terms) {
  return terms.min_count() > 0 ? std::min(terms.min_count(), terms.count()) : terms.count();
}

bool IsInGrace(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_ENDING &&
         reservation.ending().has_grace_until();
}

bool IsInUse(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_ACTIVE || IsInGrace(reservation);
}

}  // namespace concordat::reservations
