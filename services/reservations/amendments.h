// What an amendment takes beside the confirmed terms of its reservation while it is judged.
// Law: pure; the confirmed terms and these parts together take, at every instant, all that the new
// terms take. So a confirmation, one event, needs nothing that was not held before it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/timeline.h"

namespace concordat::reservations {

// Over one span.
struct Part {
  Span span;
  std::vector<std::string> servers;
  Watts watts;
  int64_t count = 0;         // against the contract
  int64_t accelerators = 0;  // and against its quota
  bool operator==(const Part&) const = default;
};

// Where the old terms and the new ones overlap, only what is new or more; elsewhere all that the
// new terms take. Of servers, watts and the contract's use, whichever there are.
std::vector<Part> PartsOf(const v1::Reservation& reservation, const v1::Amendment& amendment);

// The reservation's servers that are lost, or are not.
bool IsLost(const v1::Reservation& reservation, std::string_view server);

// `sites/paris/reservations/r-1` of `sites/paris/reservations/r-1/amendments/a-1`; empty for the
// name of anything else.
std::string ReservationOfAmendment(const std::string& name);

}  // namespace concordat::reservations
