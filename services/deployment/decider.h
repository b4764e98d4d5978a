// Decides what may be put on a reservation's servers, and when a reservation is free of everything.
// Law: pure; every command gets exactly one event, the fact or its refusal. Nothing is placed on a
// reservation that is vacating, and none is vacated while something may run on it.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "services/deployment/state.h"

namespace concordat::deployment {

// Placement is tried this often; then it is given up. Removal is never given up.
inline constexpr int kMaxPlacementAttempts = 3;

// INVALID_ARGUMENT, naming the field: what the bytes of the command alone can tell.
absl::Status Validate(const v1::Command& command);

// The artefact, deployment or reservation that the command is about; for Deploy the deployment to
// be.
std::string Subject(const v1::Command& command, const runtime::Facts& facts);

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts);

}  // namespace concordat::deployment
