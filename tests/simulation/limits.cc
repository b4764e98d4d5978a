#include "tests/simulation/limits.h"

#include <iterator>

namespace concordat::simulation {

void Limits::Put(absl::Time from, std::optional<absl::Time> until, Load load) {
  const absl::Time last = until.value_or(from);
  const Load then = At(last);
  steps_.erase(steps_.lower_bound(from), steps_.upper_bound(last));
  steps_[from] = load;
  if (until) steps_[last] = then;
}

Load Limits::At(absl::Time at) const {
  const auto next = steps_.upper_bound(at);
  return next == steps_.begin() ? before_ : std::prev(next)->second;
}

std::vector<absl::Time> Limits::Changes() const {
  std::vector<absl::Time> changes;
  for (const auto& [at, load] : steps_) changes.push_back(at);
  return changes;
}

}  // namespace concordat::simulation
