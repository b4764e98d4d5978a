// Which command leads a server from which state to which: the table of README.md as code.
// Law: a state changes by what stands here and by nothing else; intent is another axis.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "concordat/inventory/v1/api.pb.h"

namespace concordat::inventory {

// A step of a server's life; those of its intent are not among them.
enum class Step {
  kPlan,
  kOrder,
  kSlip,
  kDeliver,
  kInstall,
  kStartTest,
  kPass,
  kFail,
  kEnter,
  kLeave,
  kQuarantine,
  kRepair,
  kReplacePart,
  kChangeFirmware,
  kRetire,
  kSanitise,
  kRemove,
};

// The state after the step, or nothing where the state does not allow it. A server that is not
// known yet is SERVER_STATE_UNSPECIFIED. A burn-in of a server in service is allowed only while its
// burn-in is stale; that the caller checks.
std::optional<v1::ServerState> After(v1::ServerState state, Step step);

// The states that allow the step, in the order of a life.
std::vector<v1::ServerState> StatesBefore(Step step);

// The states in the order of a life, the unknown one first.
std::vector<v1::ServerState> StatesInOrder();

}  // namespace concordat::inventory
