// A contract's quota at each of its sites, as `describe contract` shows it.
// Law: it only reads, and says how old what it read is.
#pragma once

#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/session.h"

namespace concordat::cli {

// One line for each site that has a part in the quota, as the asked site knows it: what it is
// allotted, what is used and left, and as of when. Nothing where the contract has no quota.
void PrintQuotas(Session& session, const Site& site, const reservations::v1::Contract& contract);

}  // namespace concordat::cli
