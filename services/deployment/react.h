// What follows, for deployment, from its own events and from those of the services it follows.
// Law: pure; others' events lead only to commands that note them, all judgement sits in Decide.
#pragma once

#include <vector>

#include "concordat/compliance/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "services/deployment/state.h"

namespace concordat::deployment {

using Intents = std::vector<runtime::Intent<v1::Command>>;

// A reservation that is vacating is confirmed vacated once its last deployment has ended.
Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted);
// A started reservation is noted, an ending one vacated.
Intents React(const runtime::Accepted<reservations::v1::Event>& accepted);
// A judged artefact is cleared or prohibited.
Intents React(const runtime::Accepted<compliance::v1::Event>& accepted);

// Nothing: what waits for its next attempt is the executor's.
Intents Due(const Rows& rows, absl::Time now, size_t limit);

}  // namespace concordat::deployment
