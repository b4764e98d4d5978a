// Decides what may be put on a reservation's servers, and when a reservation is free of everything.
// Law: pure; every command gets exactly one event, the fact or its refusal. Nothing is placed on a
// reservation that is vacating, and none is vacated while something may run on it.
#pragma once

#include <absl/status/status.h>

#include <optional>
#include <string>
#include <string_view>

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

// decide_drains.cc: servers that are worked on in a maintenance window.
v1::Event DrainServers(const Rows& rows, const v1::DrainServers& command);
v1::Event ConfirmDrained(const Rows& rows, const v1::ConfirmDrained& command);
v1::Event ReturnServers(const Rows& rows, const v1::ReturnServers& command);
v1::Event Redeploy(const Rows& rows, const v1::Redeploy& command, const runtime::Facts& facts);
// REASON_MAINTENANCE where one of the servers is worked on; else nothing.
std::optional<v1::Event> CheckMaintenance(
    const Rows& rows, const google::protobuf::Message& command,
    const google::protobuf::RepeatedPtrField<std::string>& servers);

// What all of them use.

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail);
v1::Event NotFound(const google::protobuf::Message& command, const std::string& name,
                   std::string_view expected);
// `sites/paris/deployments/d-7k2m9x4q1b`: the deployment that the command would create.
std::string NewName(const runtime::Facts& facts);

}  // namespace concordat::deployment
