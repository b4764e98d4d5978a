// What follows, for the inventory: from maintenance windows cordons; from a reservation's end a
// test before the next tenant; from deadlines the end of a burn-in's validity and of a cordon, and
// what becomes of a window. Law: pure; reactions to others only note, and every judgement is the
// decider's.
#pragma once

#include <vector>

#include "concordat/deployment/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "services/inventory/state.h"

namespace concordat::inventory {

using Intents = std::vector<runtime::Intent<v1::Command>>;

// The servers of a maintenance window that opens are cordoned, and given back when it is over.
Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted);
// That a tenant has left, and whom a maintenance window affects, is noted.
Intents React(const runtime::Accepted<reservations::v1::Event>& accepted);
// That nothing runs on a maintenance window's servers any more is noted.
Intents React(const runtime::Accepted<deployment::v1::Event>& accepted);

// Burn-ins that become too old and cordons that end; windows that open, overrun, are broken off, or
// lack a consent whose time has passed. Each gets an event that closes or moves the deadline.
// REQUIRES of the caller: they are decided at `now` or later.
Intents Due(const Rows& rows, absl::Time now, size_t limit);

}  // namespace concordat::inventory
