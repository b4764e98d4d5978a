// Who a writer can ask what others have seen of its stream: archives in this process, sites behind
// gRPC, and what the other sites have attested in the logs that are mirrored here. Law: they are
// asked before a writer starts, and never for a decision.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "services/runtime/home_check.h"
#include "storage/archive/archive.h"
#include "storage/log/log.h"
#include "storage/projection/projection.h"

namespace concordat::node {

// An archive in this process, over the log that fills it. With `log` nothing, whatever the archive
// holds counts as all there is. Neither is owned. Any thread.
class ArchivePeer final : public runtime::Peer {
 public:
  ArchivePeer(std::string name, bool required, const storage::Archive& archive, storage::Log* log)
      : name_(std::move(name)), required_(required), archive_(archive), log_(log) {}

  std::string name() const override { return name_; }
  bool required() const override { return required_; }
  absl::StatusOr<events::Head> HeadOf(const std::string& stream) override;
  absl::StatusOr<std::vector<events::Record>> Records(const std::string& stream, uint64_t from,
                                                      size_t limit) override;

 private:
  const std::string name_;
  const bool required_;
  const storage::Archive& archive_;
  storage::Log* log_;
};

// Another site's process that keeps an archive, asked by gRPC at `address`.
std::unique_ptr<runtime::Peer> NewRemotePeer(std::string site, std::string address);

// What another site attested of the stream, in its own stream of which `replica` is the projection
// here. It knows heads only. Not owned.
std::unique_ptr<runtime::Peer> NewAttestedPeer(const std::string& peers_stream,
                                               const storage::Projection& replica);

}  // namespace concordat::node
