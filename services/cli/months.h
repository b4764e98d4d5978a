// What was planned and what came of it, month by month, and where servers stay too long: computed
// from the inventory's rows. Law: both computations are pure and ask nobody.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "concordat/inventory/v1/api.pb.h"
#include "services/cli/session.h"

namespace concordat::cli {

// What is in service, or was to be.
struct Capacity {
  int64_t servers = 0;
  int64_t it_power_watts = 0;
  int64_t racks = 0;  // of the plan those that servers are planned for
  int64_t accelerators = 0;
  bool operator==(const Capacity&) const = default;
};

struct Month {
  std::string month;  // `2027-03`, of UTC
  // At its end, with everything planned for it and for the months before.
  Capacity planned;
  // At its end, or now in the month that is running; nothing in those to come.
  std::optional<Capacity> actual;
  // Planned by its end, or by now, and never in service until then.
  int64_t late = 0;
  // Of these, by the cause of the latest slip: `customs`; `none recorded` where none slipped.
  std::map<std::string, int64_t> causes;
  bool operator==(const Month&) const = default;
};

// From the first month of which anything is known up to the present one or the last planned one,
// at most 240. A server without a planned time was planned for what its supplier promised first.
std::vector<Month> MonthsOf(const std::vector<inventory::v1::Server>& servers,
                            const std::vector<inventory::v1::Model>& models, absl::Time now);

// How long servers are in a state.
struct Stage {
  std::string state;  // `delivered`
  int64_t servers = 0;
  std::optional<absl::Duration> limit;
  int64_t over = 0;  // servers that are in it for longer than the limit
  absl::Duration longest;
  std::string oldest;  // the server that is in it for the longest, by its short name
  // How long those that have left it were in it, on average; nothing where none has.
  std::optional<absl::Duration> average;
};

// Those states that a server is or was in, in the order of a server's life.
std::vector<Stage> StagesOf(const inventory::v1::Site& site,
                            const std::vector<inventory::v1::Server>& servers, absl::Time now);

// `get months` and `get stages` of the site asked.
absl::Status RunMonths(Session& session);
absl::Status RunStages(Session& session);

}  // namespace concordat::cli
