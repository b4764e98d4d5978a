// What follows, for compliance, from its own events and from those of the services it follows.
// Law: pure; the facts that a rule may speak about are taken from the event itself.
#pragma once

#include <vector>

#include "concordat/deployment/v1/events.pb.h"
#include "concordat/inventory/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "services/compliance/state.h"

namespace concordat::compliance {

using Intents = std::vector<runtime::Intent<v1::Command>>;

// Nothing: a judgement is the last word.
Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted);
// The site is noted when it opens.
Intents React(const runtime::Accepted<inventory::v1::Event>& accepted);
// A reservation is judged when it is held.
Intents React(const runtime::Accepted<reservations::v1::Event>& accepted);
// An artefact is judged when its deployment is requested.
Intents React(const runtime::Accepted<deployment::v1::Event>& accepted);

// Nothing: a rule begins and ceases to hold by its dates, without an event.
Intents Due(const Rows& rows, absl::Time now, size_t limit);

}  // namespace concordat::compliance
