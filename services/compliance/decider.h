// Decides about rules, and judges reservations and artefacts by the rules in force.
// Law: pure; every command gets exactly one event, the fact or its refusal.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "services/compliance/state.h"

namespace concordat::compliance {

// INVALID_ARGUMENT, naming the field: what the bytes of the command alone can tell.
absl::Status Validate(const v1::Command& command);

// The rule, reservation, deployment or site that the command is about.
std::string Subject(const v1::Command& command, const runtime::Facts& facts);

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts);

}  // namespace concordat::compliance
