// A target that is a folder of manifests, for agents on the servers to follow.
// Law: a manifest is there as a whole or not at all, and durable once Place() has returned.
#pragma once

#include <string>

#include "services/deployment/target.h"

namespace concordat::deployment {

// In the folder:
//     <site>/<deployment id>.json      what runs: artefact, digest, reservation, servers
//     <site>/<deployment id>.removed   it was removed and is not placed again; empty
//     FAIL                             while it is there, both calls fail with UNAVAILABLE and its
//     first
//                                      line, to rehearse failures
// Thread-safe, and safe between processes: calls for one site exclude each other by a lock on the
// site's folder; a call that finds it taken fails with UNAVAILABLE rather than wait for a paused
// process.
class ManifestTarget final : public Target {
 public:
  // Makes the folder and its parents on first use.
  explicit ManifestTarget(std::string dir);

  absl::StatusOr<std::string> Place(const v1::Deployment& deployment) override;
  absl::Status Remove(const v1::Deployment& deployment) override;

 private:
  std::string dir_;
};

// The bytes of the manifest: JSON, always the same for the same deployment.
std::string ManifestOf(const v1::Deployment& deployment);

}  // namespace concordat::deployment
