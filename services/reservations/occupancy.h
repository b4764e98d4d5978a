// What a reservation takes of a site, as its row says: the one place that reads it from a row.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/amendments.h"
#include "services/reservations/timeline.h"

namespace concordat::reservations {

// An amount of an event, within 0 and 10^15: whatever one says, sums stay far from overflow.
int64_t Bounded(int64_t amount);

// What a reservation's row takes; nothing of anything once the reservation is over.
struct Occupancy {
  enum class Phase { kNone, kPlanned, kActive, kEnding };
  Phase phase = Phase::kNone;
  std::string reservation;
  std::string contract;
  std::string customer;
  int64_t count = 0;
  int64_t accelerators = 0;
  Span span;                // the block; of what is cleaned until it is clean
  Span use;                 // what counts against the contract
  std::vector<Part> parts;  // what a held amendment takes beside
  // Servers that it has left and that are cleaned: their time, and nothing else.
  std::vector<std::pair<std::string, Span>> left;
  Watts watts;
  std::vector<std::string> servers;
  bool operator==(const Occupancy&) const = default;
};
Occupancy OccupancyOf(const v1::Reservation& reservation);

}  // namespace concordat::reservations
