// What is free when: the time spans taken of every server, power and cooling in use, and what each
// contract has reserved. Law: derived from the rows alone, change by change; rebuilt from the same
// rows it is equal. It knows no clock: what is late is told from `now`, which the caller brings.
//
// A reservation takes its servers, power and cooling over [start, end). Once it is ENDING it takes
// them without end, until it has ended: nobody knows how long a removal takes. An ACTIVE one whose
// end has passed counts as ENDING. A contract's use is what was reserved, [start, end): that a
// removal is late is not held against the customer.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/timeline.h"
#include "storage/projection/rows.h"

namespace concordat::reservations {

// Half-open: what ends at a time and what starts then do not overlap.
struct Span {
  absl::Time start;
  absl::Time end;
  bool Overlaps(const Span& other) const { return start < other.end && other.start < end; }
  bool operator==(const Span&) const = default;
};

// Power drawn and heat given off.
struct Watts {
  int64_t it_power = 0;
  int64_t cooling = 0;
  bool operator==(const Watts&) const = default;
  Watts& operator+=(const Watts& other);
  Watts& operator-=(const Watts& other);
};

// What a reservation's row takes; nothing of anything once the reservation is over.
struct Occupancy {
  enum class Phase { kNone, kPlanned, kActive, kEnding };
  Phase phase = Phase::kNone;
  std::string reservation;
  std::string contract;
  int64_t count = 0;
  Span span;
  Watts watts;
  std::vector<std::string> servers;
  bool operator==(const Occupancy&) const = default;
};
Occupancy OccupancyOf(const v1::Reservation& reservation);

// Not thread-safe.
class Index {
 public:
  Index() = default;
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  void Apply(const storage::Change& change);

  // The first `count` servers of the model, by name, that are bookable and free over the whole
  // span; fewer where there are not so many. Looks at the model's servers, never at all
  // reservations.
  std::vector<std::string> FindFree(const std::string& model, const Span& span, absl::Time now,
                                    size_t count) const;
  // How many servers of the model are bookable, free or not.
  size_t CountBookable(const std::string& model) const;
  // What a server draws and gives off; zero where it is not known.
  Watts WattsOf(const std::string& server) const;

  // The most in use at any instant of the span.
  Watts Peak(const Span& span, absl::Time now) const;
  // The most servers that the contract has reserved at any instant of the span.
  int64_t ContractPeak(const std::string& contract, const Span& span) const;

  // What runs now, late or not: ACTIVE and ENDING.
  const Watts& running() const { return running_; }
  // Those of the servers on which a reservation of another name runs.
  std::vector<std::string> TakenServers(
      const google::protobuf::RepeatedPtrField<std::string>& servers,
      std::string_view reservation) const;

  // For tests: an index kept through any history equals one rebuilt from its rows.
  friend bool operator==(const Index& a, const Index& b);

 private:
  struct Slot {
    Span span;
    std::string reservation;
    bool ending = false;
    bool operator==(const Slot&) const = default;
  };
  struct Server {
    bool known = false;  // it has a row
    std::string model;
    bool bookable = false;
    Watts watts;
    std::vector<Slot> planned;  // by start; they do not overlap
    std::vector<Slot> running;  // one at most, but for histories that no decider wrote
    bool operator==(const Server&) const = default;
    bool IsFree(const Span& span, absl::Time now) const;
    bool empty() const { return !known && planned.empty() && running.empty(); }
  };

  void SetServer(const std::string& name, const v1::ServerRecorded* recorded);
  void Take(const Occupancy& occupancy);
  void Release(const Occupancy& occupancy);
  void AddUse(const Occupancy& occupancy, int64_t sign);

  std::map<std::string, Server> servers_;
  // Bookable servers by model and name. They point into servers_, whose nodes stay where they are.
  std::map<std::string, absl::btree_map<std::string, const Server*>> bookable_;
  Timeline it_power_;
  Timeline cooling_;
  std::map<std::string, Timeline> contracts_;
  // What is ACTIVE, by end, to know what is late.
  absl::btree_map<std::pair<absl::Time, std::string>, Watts> active_;
  Watts running_;
};

}  // namespace concordat::reservations
