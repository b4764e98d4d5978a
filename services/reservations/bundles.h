// Bundles: reservations at several sites that take place together or not at all.
// Law: a part lapses before it is promised and never after; a promise ends by its coordinator's
// decision, or by an operator's.
//
//   coordinator   BundleRequested ─► BundlePrepared ─► BundleCommitted, or BundleAborted at any
//   time
//                    │        ▲ held      │      ▲ promised     │ before
//   each part's      ▼        │           ▼      │              ▼
//   site          Held ─► PartHeld ──► PartPromised ──► Confirmed, or Declined
//
// What one site wants of another stands in its own log; whoever follows it reacts.
#pragma once

#include "services/reservations/react.h"

namespace concordat::reservations {

// A bundle is given up after this, or when its first part begins, unless all of it is promised.
inline constexpr absl::Duration kBundleTtl = absl::Hours(1);

// Whether the reservation is a part that its site has promised and its coordinator not decided.
bool IsPromised(const v1::Reservation& reservation);

// What an event about a bundle leads to at this site, wherever it was decided; nothing for others.
Intents ReactToBundle(const runtime::Accepted<v1::Event>& accepted);
// What follows at the coordinator once it has heard of a part.
Intents ReactToPart(const Rows& rows, const v1::PartRecorded& recorded);
// Bundles whose time is over.
void DueBundles(const Rows& rows, const std::string& last, size_t limit, Intents& intents);

// How rows of bundles change.
void EvolveBundle(Rows& rows, const v1::BundleRequested& requested,
                  const std::string& correlation_id);
void EvolveBundle(Rows& rows, const v1::PartRecorded& recorded);
void SettleBundle(Rows& rows, const std::string& name, v1::BundleState state,
                  v1::Reason reason = v1::REASON_UNSPECIFIED, const std::string& detail = {});

}  // namespace concordat::reservations
