// Release waves: which servers are open to which customer from when on.
// Law: pure; a server that any wave is about is open to a customer from the earliest start of a
// wave that opens it to that customer; one that no wave is about is open to all.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <set>
#include <string>

#include "services/reservations/state.h"

namespace concordat::reservations {

// The servers of the model that are not open to the customer for a reservation that starts at
// `start`. Costs a look at each of the model's waves and, where there is one, at each of its
// servers.
std::set<std::string> ClosedServers(const State& state, const std::string& model,
                                    const std::string& customer, absl::Time start);

// When the next wave of the model opens to the customer, after `start`; nothing where none will.
std::optional<absl::Time> NextOpening(const State& state, const std::string& model,
                                      const std::string& customer, absl::Time start);

}  // namespace concordat::reservations
