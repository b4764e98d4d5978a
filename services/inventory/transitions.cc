#include "services/inventory/transitions.h"

#include <algorithm>

namespace concordat::inventory {
namespace {

constexpr v1::ServerState kUnknown = v1::SERVER_STATE_UNSPECIFIED;
constexpr v1::ServerState kPlanned = v1::SERVER_STATE_PLANNED;
constexpr v1::ServerState kOrdered = v1::SERVER_STATE_ORDERED;
constexpr v1::ServerState kDelivered = v1::SERVER_STATE_DELIVERED;
constexpr v1::ServerState kInstalled = v1::SERVER_STATE_INSTALLED;
constexpr v1::ServerState kUnderTest = v1::SERVER_STATE_UNDER_TEST;
constexpr v1::ServerState kTestFailed = v1::SERVER_STATE_TEST_FAILED;
constexpr v1::ServerState kQualified = v1::SERVER_STATE_QUALIFIED;
constexpr v1::ServerState kInService = v1::SERVER_STATE_IN_SERVICE;
constexpr v1::ServerState kOutOfService = v1::SERVER_STATE_OUT_OF_SERVICE;
constexpr v1::ServerState kQuarantined = v1::SERVER_STATE_QUARANTINED;
constexpr v1::ServerState kRepaired = v1::SERVER_STATE_REPAIRED;
constexpr v1::ServerState kRetiring = v1::SERVER_STATE_RETIRING;
constexpr v1::ServerState kSanitised = v1::SERVER_STATE_SANITISED;
constexpr v1::ServerState kRetired = v1::SERVER_STATE_RETIRED;

constexpr v1::ServerState kOrder[] = {kUnknown,   kPlanned,      kOrdered,     kDelivered,
                                      kInstalled, kUnderTest,    kTestFailed,  kQualified,
                                      kInService, kOutOfService, kQuarantined, kRepaired,
                                      kRetiring,  kSanitised,    kRetired};

struct Transition {
  Step step;
  v1::ServerState before;
  v1::ServerState after;
};

constexpr Transition kTransitions[] = {
    {Step::kPlan, kUnknown, kPlanned},
    {Step::kOrder, kUnknown, kOrdered},
    {Step::kOrder, kPlanned, kOrdered},
    {Step::kSlip, kOrdered, kOrdered},
    {Step::kDeliver, kOrdered, kDelivered},
    {Step::kInstall, kDelivered, kInstalled},
    {Step::kStartTest, kInstalled, kUnderTest},
    {Step::kStartTest, kTestFailed, kUnderTest},
    {Step::kStartTest, kQualified, kUnderTest},
    {Step::kStartTest, kOutOfService, kUnderTest},
    {Step::kStartTest, kQuarantined, kUnderTest},
    {Step::kStartTest, kRepaired, kUnderTest},
    {Step::kPass, kInstalled, kQualified},
    {Step::kPass, kUnderTest, kQualified},
    {Step::kPass, kTestFailed, kQualified},
    {Step::kPass, kQualified, kQualified},
    {Step::kPass, kInService, kInService},
    {Step::kPass, kOutOfService, kQualified},
    {Step::kPass, kQuarantined, kQualified},
    {Step::kPass, kRepaired, kQualified},
    {Step::kFail, kInstalled, kTestFailed},
    {Step::kFail, kUnderTest, kTestFailed},
    {Step::kFail, kTestFailed, kTestFailed},
    {Step::kFail, kQualified, kTestFailed},
    {Step::kFail, kInService, kTestFailed},
    {Step::kFail, kOutOfService, kTestFailed},
    {Step::kFail, kQuarantined, kTestFailed},
    {Step::kFail, kRepaired, kTestFailed},
    {Step::kEnter, kQualified, kInService},
    {Step::kLeave, kInService, kOutOfService},
    {Step::kQuarantine, kInstalled, kQuarantined},
    {Step::kQuarantine, kUnderTest, kQuarantined},
    {Step::kQuarantine, kTestFailed, kQuarantined},
    {Step::kQuarantine, kQualified, kQuarantined},
    {Step::kQuarantine, kInService, kQuarantined},
    {Step::kQuarantine, kOutOfService, kQuarantined},
    {Step::kQuarantine, kRepaired, kQuarantined},
    {Step::kRepair, kTestFailed, kRepaired},
    {Step::kRepair, kOutOfService, kRepaired},
    {Step::kRepair, kQuarantined, kRepaired},
    // What changes inside of a qualified server takes its qualification away.
    {Step::kReplacePart, kInstalled, kInstalled},
    {Step::kReplacePart, kTestFailed, kTestFailed},
    {Step::kReplacePart, kQualified, kInstalled},
    {Step::kReplacePart, kOutOfService, kOutOfService},
    {Step::kReplacePart, kQuarantined, kQuarantined},
    {Step::kReplacePart, kRepaired, kRepaired},
    {Step::kChangeFirmware, kInstalled, kInstalled},
    {Step::kChangeFirmware, kTestFailed, kTestFailed},
    {Step::kChangeFirmware, kQualified, kInstalled},
    {Step::kChangeFirmware, kOutOfService, kOutOfService},
    {Step::kChangeFirmware, kQuarantined, kQuarantined},
    {Step::kChangeFirmware, kRepaired, kRepaired},
    {Step::kRetire, kPlanned, kRetiring},
    {Step::kRetire, kOrdered, kRetiring},
    {Step::kRetire, kDelivered, kRetiring},
    {Step::kRetire, kInstalled, kRetiring},
    {Step::kRetire, kTestFailed, kRetiring},
    {Step::kRetire, kQualified, kRetiring},
    {Step::kRetire, kOutOfService, kRetiring},
    {Step::kRetire, kQuarantined, kRetiring},
    {Step::kRetire, kRepaired, kRetiring},
    {Step::kSanitise, kRetiring, kSanitised},
    {Step::kRemove, kSanitised, kRetired},
};

}  // namespace

std::optional<v1::ServerState> After(v1::ServerState state, Step step) {
  for (const Transition& transition : kTransitions) {
    if (transition.step == step && transition.before == state) return transition.after;
  }
  return std::nullopt;
}

std::vector<v1::ServerState> StatesBefore(Step step) {
  std::vector<v1::ServerState> states;
  for (const v1::ServerState state : kOrder) {
    if (After(state, step)) states.push_back(state);
  }
  return states;
}

std::vector<v1::ServerState> StatesInOrder() { return {std::begin(kOrder), std::end(kOrder)}; }

}  // namespace concordat::inventory
