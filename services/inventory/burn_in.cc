#include <fmt/format.h>

#include "services/inventory/decider.h"

namespace concordat::inventory {
namespace {

// What one criterion misses; empty where it is met.
std::string Shortfall(const v1::Criterion& criterion,
                      const google::protobuf::RepeatedPtrField<v1::Figure>& figures) {
  const v1::Figure* found = nullptr;
  int times = 0;
  for (const v1::Figure& figure : figures) {
    if (figure.name() != criterion.figure()) continue;
    found = &figure;
    ++times;
  }
  const std::string expected = fmt::format("expected {} to {} {}", criterion.minimum(),
                                           criterion.maximum(), criterion.unit());
  if (found == nullptr) return fmt::format("{}: found nothing, {}", criterion.figure(), expected);
  // Two values for one figure are no evidence for either.
  if (times > 1)
    return fmt::format("{}: found {} times, {} once", criterion.figure(), times, expected);
  const bool in_bounds =
      found->value() >= criterion.minimum() && found->value() <= criterion.maximum();
  if (found->unit() == criterion.unit() && in_bounds) return {};
  return fmt::format("{}: found {} {}, {}", criterion.figure(), found->value(), found->unit(),
                     expected);
}

}  // namespace

std::vector<std::string> Shortfalls(
    const google::protobuf::RepeatedPtrField<v1::Criterion>& criteria,
    const google::protobuf::RepeatedPtrField<v1::Figure>& figures) {
  std::vector<std::string> shortfalls;
  // Nothing may pass for want of criteria.
  if (criteria.empty()) shortfalls.push_back("criteria: found none, expected at least one");
  for (const v1::Criterion& criterion : criteria) {
    std::string shortfall = Shortfall(criterion, figures);
    if (!shortfall.empty()) shortfalls.push_back(std::move(shortfall));
  }
  return shortfalls;
}

}  // namespace concordat::inventory
