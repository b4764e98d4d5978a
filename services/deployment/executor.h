// Carries out what was decided: puts models on servers and takes them off.
// Law: planning is pure and reads rows only; executing touches the target only; what came of it
// goes back as a command, so that the log stays the truth. A crash in between repeats a step and
// harms nothing.
#pragma once

#include <absl/time/time.h>

#include <string>
#include <vector>

#include "services/deployment/state.h"
#include "services/deployment/target.h"

namespace concordat::deployment {

// One attempt to be made.
struct Step {
  v1::Deployment deployment;  // as it stands; its correlation id goes with the command
  // The id of the command that Execute() returns,
  // `sites/paris/deployments/d-7k2m9x4q1b:remove:2:1`: from deployment, step, which of its steps it
  // is, and attempt, so that an attempt is recorded once, and none of a later step is taken for it.
  std::string command_id;
};

// The deployments that are being placed or removed and whose next attempt may be made by now; the
// longest waiting first, at most `limit`.
std::vector<Step> Work(const Rows& rows, absl::Time now, size_t limit);

// Makes one attempt, and returns the RecordPlacement or RecordRemoval that says what came of it.
// May block. REQUIRES: the deployment is PLACING or REMOVING, as Work() gives it.
v1::Command Execute(Target& target, const v1::Deployment& deployment);

}  // namespace concordat::deployment
