// Maintenance windows as reservations knows them: what they claim, and what follows for them.
// Law: a claim keeps servers from new reservations and takes nothing from those that there are;
// whom it overlaps is told by an event.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "services/reservations/react.h"
#include "services/reservations/timeline.h"

namespace concordat::reservations {

// Over which time it claims its servers.
Span SpanOf(const v1::WindowAffects& window);

// Servers of the reservation that the window claims; lost ones too, for they may come back, and
// those that an amendment would add.
std::vector<std::string> ClaimedOf(const v1::Reservation& reservation,
                                   const v1::WindowAffects& window);
// The same of the servers that a window claims, where many reservations are looked at.
std::vector<std::string> ClaimedOf(const v1::Reservation& reservation,
                                   const std::set<std::string>& claimed);

// A window that claims one of the servers within the span, and is not `besides`; nothing where none
// does. Costs a look at each window.
std::optional<std::string> ClaimantOf(
    const Rows& rows, const google::protobuf::RepeatedPtrField<std::string>& servers,
    const Span& span, const std::string& besides);

// That the burn-in of a server in service is stale.
Intent RecordUntested(const std::string& server);
// That it passed, and what its plan says of the next tenant.
Intent RecordPassed(const inventory::v1::BurnInPassed& passed);

// What the inventory's event of a time comes to; nothing where it is not about a window.
Intents FollowWindow(const inventory::v1::Event& event, absl::Time time);

// What has not started and could have other servers instead gets them; what is in use gets those
// that are kept for it, once the window is drained. Windows that keep for somebody what this one
// claims have to look again.
Intents FollowAffects(const Rows& rows, const v1::WindowAffects& affects);

// The windows that keep the server for somebody have to look again where it cannot be used.
Intents ReviewWindowsFor(const Rows& rows, const v1::ServerRecorded& server);

// The windows that say that they affect the reservation, or an occurrence of it, have to look
// again.
Intents ReviewWindowsOf(const Rows& rows, const std::string& reservation);

}  // namespace concordat::reservations
