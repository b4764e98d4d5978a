// What follows, for reservations, from its own events, from those of inventory, compliance and
// deployment of its site, and from those of reservations at other sites.
// Law: pure; reactions to others have no state, so they only note, and every judgement is the
// decider's.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "concordat/compliance/v1/events.pb.h"
#include "concordat/deployment/v1/events.pb.h"
#include "concordat/inventory/v1/events.pb.h"
#include "services/reservations/state.h"

namespace concordat::reservations {

using Intent = runtime::Intent<v1::Command>;
using Intents = std::vector<Intent>;

// A command alone.
inline Intents One(std::string kind, const std::string& subject, v1::Command command) {
  return {Intent{.kind = std::move(kind), .subject = subject, .command = std::move(command)}};
}

// When a reservation has ended, delayed ones that may have waited for it start.
Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted);
// The site, its envelope and its servers are noted.
Intents React(const runtime::Accepted<inventory::v1::Event>& accepted);
// A judged hold is confirmed or declined.
Intents React(const runtime::Accepted<compliance::v1::Event>& accepted);
// A vacated reservation ends.
Intents React(const runtime::Accepted<deployment::v1::Event>& accepted);
// Another site's orders are fulfilled or declined, its contracts noted, its answers too.
Intents React(const runtime::Accepted<v1::Event>& accepted);

// Holds that lapse, reservations that start or begin to end. Each of these commands gets an event
// that moves or closes the deadline: HoldLapsed; ReservationStarted, ReservationDelayed or
// ReservationDeclined; ReservationEnding. It is refused only where the reservation's state, and
// with it the deadline, has changed meanwhile. REQUIRES of the caller: they are decided at `now` or
// later.
Intents Due(const Rows& rows, absl::Time now, size_t limit);

}  // namespace concordat::reservations
