// What a report of the facility makes of the envelope. Law: pure; what operators have set is kept
// beside what a report made of it, so that nothing is lost by either.
#pragma once

#include <absl/time/time.h>

#include <vector>

#include "concordat/inventory/v1/api.pb.h"

namespace concordat::inventory {

// The steps by which the site's envelope comes to the least of what operators have set and of what
// the facility reported, from `now` until the report's end; and behind that end, where an earlier
// report still counts, to what operators have set. Each has an end; none where nothing changes.
// REQUIRES: the site has a report.
std::vector<v1::EnvelopeSet> StepsOf(const v1::Site& site, absl::Time now);

// When a step of operators without an end, from `from` on, has to begin again so that it holds
// until their own next step: where a report's steps begin, and where what had been planned would
// begin again behind them. In order.
std::vector<absl::Time> BeginsAgain(const v1::Site& site, absl::Time from);

}  // namespace concordat::inventory
