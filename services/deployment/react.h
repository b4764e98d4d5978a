// What follows, for deployment, from its own events and from those of the services it follows.
// Law: pure; others' events lead only to commands that note them, all judgement sits in Decide.
#pragma once

#include <vector>

#include "concordat/compliance/v1/events.pb.h"
#include "concordat/inventory/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "services/deployment/state.h"

namespace concordat::deployment {

using Intents = std::vector<runtime::Intent<v1::Command>>;

// A reservation that is vacating is confirmed vacated once its last deployment has ended, and
// servers that are drained likewise. What was removed for a maintenance window that is over is put
// back.
Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted);
// A started reservation is noted, an ending one vacated.
Intents React(const runtime::Accepted<reservations::v1::Event>& accepted);
// An opened maintenance window's servers are drained, and returned when it is over.
Intents React(const runtime::Accepted<inventory::v1::Event>& accepted);
// A judged artefact is cleared or prohibited.
Intents React(const runtime::Accepted<compliance::v1::Event>& accepted);

// Nothing: what waits for its next attempt is the executor's.
Intents Due(const Rows& rows, absl::Time now, size_t limit);

}  // namespace concordat::deployment
