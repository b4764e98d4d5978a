// What may be drawn and cooled over time, by the steps that were recorded.
// Law: of two steps for the same instant the later recorded one holds, and one with an end gives
// back what had held then.
#pragma once

#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace concordat::simulation {

// What is drawn, and given off as heat.
struct Load {
  int64_t power = 0;
  int64_t cooling = 0;
};

class Limits {
 public:
  // `before`: what holds before the first step.
  explicit Limits(Load before = {}) : before_(before) {}

  void Put(absl::Time from, std::optional<absl::Time> until, Load load);
  Load At(absl::Time at) const;
  // The instants at which it changes.
  std::vector<absl::Time> Changes() const;

 private:
  Load before_;
  std::map<absl::Time, Load> steps_;
};

}  // namespace concordat::simulation
