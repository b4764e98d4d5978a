// A contract's quota over all of its sites, held in escrow: every site has an allotment and spends
// nothing else. Law: what the sites are allotted and what is on its way between them is the quota,
// at every instant that will be; no site uses more than its allotment; each grant and each return
// counts once. Accelerators at once are allotted over time, from an instant on; accelerator-seconds
// in all. `docs/adr/0033-quotas-in-escrow.md` tells the protocol.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/reservations/state.h"

namespace concordat::reservations {

// `sites/paris/quotas/hsbc/2027` of `customers/hsbc/contracts/2027` at `paris`.
std::string QuotaName(std::string_view site, const std::string& contract);

// Whether the contract limits accelerators or accelerator-hours over all sites.
bool HasQuota(const v1::ContractSigned& contract);

// Accelerators over a span, in accelerator-seconds; a second that has begun counts.
int64_t AcceleratorSeconds(int64_t accelerators, const Span& span);

// What a reservation takes of its contract's quota: all that is promised to it; once it is over,
// what it had; nothing where it never started, and nothing of a series, whose occurrences take it.
int64_t BookedSeconds(const v1::Reservation& reservation);

// Its segments where it has so many accelerators from a time on: what was before stays.
std::vector<v1::Segment> SegmentsFrom(const v1::Reservation& reservation, int64_t accelerators,
                                      absl::Time from);

// What a site could still use.
struct Unused {
  int64_t accelerators = 0;         // at every instant from now on
  int64_t accelerator_seconds = 0;  // in all
};
Unused UnusedOf(const Index& index, const v1::Quota& quota, absl::Time now);

// Evolve, for quotas alone.

// A contract was signed or recorded here, and with it what this site begins with.
void OpenQuota(Rows& rows, const v1::ContractSigned& terms, const std::string& home_site,
               std::string_view here);
// The one place where use is booked: whatever changes a reservation changes what it takes.
void BookUse(Rows& rows, const std::optional<v1::Reservation>& before,
             const v1::Reservation& after);
void EvolveQuota(Rows& rows, const v1::QuotaRequested& requested,
                 const runtime::Accepted<v1::Event>& accepted);
void EvolveQuota(Rows& rows, const v1::QuotaGranted& granted,
                 const runtime::Accepted<v1::Event>& accepted);
void EvolveQuota(Rows& rows, const v1::QuotaDeclined& declined,
                 const runtime::Accepted<v1::Event>& accepted);
void EvolveQuota(Rows& rows, const v1::QuotaAnswered& answered,
                 const runtime::Accepted<v1::Event>& accepted);
void EvolveQuota(Rows& rows, const v1::QuotaReturned& returned,
                 const runtime::Accepted<v1::Event>& accepted);
void EvolveQuota(Rows& rows, const v1::QuotaReclaimed& reclaimed,
                 const runtime::Accepted<v1::Event>& accepted);

// Whether the number was seen.
bool IsSeen(const v1::SeenNumbers& seen, int64_t number);
// The other site's part; nothing where it has none.
const v1::QuotaShare* ShareOf(const v1::Quota& quota, const std::string& site);

// Accelerator-hours with two digits, rounded down: `12.50`.
std::string HoursText(int64_t accelerator_seconds);

}  // namespace concordat::reservations
