// Notices that a reservation ends: the steps of its contract's ladder, one event each.
// Law: each step is given once for an end; where the end moves, the steps before the new end begin
// again, and those of the old one that were not given never are.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>

#include "concordat/reservations/v1/api.pb.h"

namespace concordat::reservations {

// When a notice is to be given next; nothing where none is. Steps before the start are left out.
std::optional<absl::Time> NoticeTimeOf(const v1::Reservation& reservation);

// The step that is due: of several that were missed the one nearest to the end. Nothing before its
// time.
std::optional<absl::Duration> NoticeDue(const v1::Reservation& reservation, absl::Time now);

// What tells the next notice from all that were due before: a step of one end may fall on the
// instant of another step of another end. How many were given, and the amendment that the end comes
// from.
std::string NoticeOccasion(const v1::Reservation& reservation);

}  // namespace concordat::reservations
