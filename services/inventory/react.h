// What follows from the inventory's own events: nothing. It follows nobody and has no deadlines.
#pragma once

#include <vector>

#include "services/inventory/state.h"

namespace concordat::inventory {

using Intents = std::vector<runtime::Intent<v1::Command>>;

Intents React(const Rows& rows, const runtime::Accepted<v1::Event>& accepted);
Intents Due(const Rows& rows, absl::Time now, size_t limit);

}  // namespace concordat::inventory
