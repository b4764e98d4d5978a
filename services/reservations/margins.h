// The spans of a reservation: its use, and what its servers are taken for around it.
// Law: pure; what was granted is judged by the margins and the grace that its own event carries,
// never by those that are set now.
#pragma once

#include <absl/time/time.h>
#include <google/protobuf/duration.pb.h>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/timeline.h"

namespace concordat::reservations {

// Exact to the nanosecond; never negative.
absl::Duration ToDuration(const google::protobuf::Duration& duration);

// [start, end): what counts against the contract.
Span UseOf(const v1::Terms& terms);

// The use with the margin before it, and with the grace and the margin after it: what servers,
// power and cooling are taken for. A re-test draws what a use draws.
Span BlockOf(const Span& use, const v1::Terms& terms, const v1::Margins& margins);
Span BlockOf(const v1::Terms& terms, const v1::Margins& margins);

// Those that are set for the model; none where none are.
v1::Margins MarginsOf(const v1::SiteRecord& site, const std::string& model);

// With how many servers it may start.
int LeastOf(const v1::Terms& terms);

// Whether its grace is running: it is ENDING, and nobody vacates it yet.
bool IsInGrace(const v1::Reservation& reservation);
// Whether a customer may be using it.
bool IsInUse(const v1::Reservation& reservation);

}  // namespace concordat::reservations
