// Where models are put: the port of the executor.
// Law: both calls may be made again with the same deployment at any time and come to the same; what
// was removed is never placed again, however late an earlier call arrives.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>

#include "concordat/deployment/v1/api.pb.h"

namespace concordat::deployment {

// Calls may come from several processes at once: a paused executor and the one that took over for
// it.
class Target {
 public:
  virtual ~Target() = default;

  // Puts the artefact on the servers. Returns the SHA-256 of the manifest, 64 hexadecimal digits.
  // After an error something may be there or not: Remove() is called before the servers are freed.
  // FAILED_PRECONDITION: the deployment was removed.
  virtual absl::StatusOr<std::string> Place(const v1::Deployment& deployment) = 0;

  // Takes whatever of the deployment is there off the servers, nothing too. OK: nothing of it is
  // there, and nothing will be.
  virtual absl::Status Remove(const v1::Deployment& deployment) = 0;
};

}  // namespace concordat::deployment
