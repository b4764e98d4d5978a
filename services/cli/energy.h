// What a site's meters come to: the indicators of Annex III of Delegated Regulation (EU) 2024/1364,
// by month and by year of the site's clock. Law: computed of readings alone, and asks nobody.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concordat/inventory/v1/api.pb.h"
#include "services/cli/session.h"

namespace concordat::cli {

struct Energy {
  std::string period;  // `2027-03` or `2027`
  // How much of the period the readings are about, from 0 to 1.
  double covered = 0;
  int64_t total_watt_hours = 0;
  int64_t it_watt_hours = 0;
  int64_t renewable_watt_hours = 0;
  int64_t reused_watt_hours = 0;
  int64_t water_litres = 0;
  // Total energy over that of servers and network; nothing where the latter is zero.
  std::optional<double> pue() const;
  // Litres of water a kilowatt-hour of servers and network; nothing where the latter is zero.
  std::optional<double> wue() const;
  // Reused heat over total energy, and renewable energy over total energy.
  double erf() const;
  double ref() const;
};

// One a month of which readings are known, and after its months one a year, in order of time. A
// reading counts in the month and the year that it lies within; one that reaches over the end of a
// year counts in none.
std::vector<Energy> EnergyOf(const std::vector<inventory::v1::Reading>& readings,
                             absl::TimeZone zone);

// `get energy` of the site asked.
absl::Status RunEnergy(Session& session);

}  // namespace concordat::cli
