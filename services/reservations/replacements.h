// Which servers a reservation has, has lost, could have instead, and has left, as events change it.
// Law: pure; it changes one reservation, and whoever keeps the table puts it back.
#pragma once

#include <absl/time/time.h>

#include "concordat/reservations/v1/api.pb.h"

namespace concordat::reservations {

// Whether a reservation can get it: in service, there, and tested.
bool IsBookable(const v1::ServerRecorded& server);

// A server was lost, or came back; false where it is not about the reservation. What a running
// reservation has lost stays lost until its customer accepts another, or the same: a server that
// comes back was tested and wiped meanwhile. Either way it is looked at at once.
bool ChangeServers(v1::Reservation& reservation, const v1::ServerRecorded& recorded,
                   absl::Time time);
// It has others. What it gave up cannot be lost to it any more; what it was moved away from is its
// own until it is clean.
void ChangeServers(v1::Reservation& reservation, const v1::ServersReassigned& reassigned,
                   absl::Time time);
// None was found, or some are offered: when it is looked at again.
void ChangeServers(v1::Reservation& reservation, const v1::ServersMissing& missing,
                   absl::Time time);
void ChangeServers(v1::Reservation& reservation, const v1::ReplacementOffered& offered,
                   absl::Time time);

// Others are looked for as long as it has lost servers and is not over; after that, no more.
void EndHealing(v1::Reservation& reservation);

}  // namespace concordat::reservations
