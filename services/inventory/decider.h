// Decides about the site, its envelope, models and servers.
// Law: pure; every command gets exactly one event, the fact or its refusal. No server enters
// service without its passed burn-in; no serial number and no rack position is given twice.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <vector>

#include "services/inventory/state.h"

namespace concordat::inventory {

// INVALID_ARGUMENT, naming the field: what the bytes of the command alone can tell.
absl::Status Validate(const v1::Command& command);

// The site, model or server that the command is about.
std::string Subject(const v1::Command& command, const runtime::Facts& facts);

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts);

// What the figures miss of the criteria, a sentence a criterion; empty where the burn-in passed. A
// figure that no criterion asks for is kept as evidence and judges nothing.
std::vector<std::string> Shortfalls(
    const google::protobuf::RepeatedPtrField<v1::Criterion>& criteria,
    const google::protobuf::RepeatedPtrField<v1::Figure>& figures);

}  // namespace concordat::inventory
