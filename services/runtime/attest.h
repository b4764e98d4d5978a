// Attestations: a writer states in its own stream which state it holds, and what it has accepted of
// the other sites' streams. Law: whoever folds a stream with the same code to another digest stops,
// for one of the two is wrong and neither can know which.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "concordat/system/v1/events.pb.h"
#include "events/chain.h"
#include "storage/projection/projection.h"

namespace concordat::runtime {

// What a site has accepted of other sites' streams.
struct AcceptedHeads {
  struct One {
    std::string stream;
    events::Head head;
  };
  std::vector<One> heads;
  // Goes up with every event among them that is not itself an attestation or a start, so that two
  // idle sites do not attest each other's attestations for ever.
  uint64_t facts = 0;
};

// When a writer attests. It does so once `every_events` events were accepted since the last time,
// or `every` of the log's time has passed and something was accepted meanwhile, here or elsewhere.
struct AttestOptions {
  uint64_t every_events = 0;  // 0: never
  absl::Duration every = absl::InfiniteDuration();
  std::string code;                         // the release and layout that computes the digest
  std::function<AcceptedHeads()> accepted;  // any thread; may be empty
};

// Protobuf full name of StateAttested.
const std::string& StateAttestedType();

// When the next attestation is due. Not thread-safe.
class AttestSchedule {
 public:
  explicit AttestSchedule(const AttestOptions& options) : options_(options) {}

  // The last attestation in the log, from the projection that folded it.
  void Load(const storage::RowSource& rows);
  // The stream's own event was accepted.
  void Saw(std::string_view type, int64_t sequence, absl::Time time);
  bool Due(const events::Head& head, absl::Time now);
  // An attestation is on its way; the next one is due after it.
  void Begun(const events::Head& head, absl::Time now);
  // The row that Load() reads, to be stored with the attestation.
  std::pair<std::string, std::string> Row() const;

 private:
  const AttestOptions& options_;
  int64_t attested_ = -1;
  absl::Time at_ = absl::InfinitePast();
  int64_t last_fact_ = -1;
  std::optional<uint64_t> others_;  // their facts at the last attestation
};

// The attestation of a head and the digest of the rows folded up to it.
system::v1::StateAttested Attestation(const std::string& stream, const events::Head& head,
                                      const storage::Digests& digests,
                                      const AttestOptions& options);

// OK where the attestation's digest equals this one, or was computed by other code. DATA_LOSS: one
// of the two states is wrong.
absl::Status CompareState(const system::v1::StateAttested& attested,
                          const storage::Digests& digests, const std::string& code);

// The attestation in a record's data; nothing where it is none.
std::optional<system::v1::StateAttested> AttestationIn(const events::Attributes& attributes,
                                                       std::string_view data);

// The row that says that a projection diverged, and why. It stays until the projection is deleted.
std::pair<std::string, std::string> DivergedRow(const absl::Status& status);
// OK, or what DivergedRow() was given.
absl::Status Diverged(const storage::RowSource& rows);

// Rows that keep, with a replica, what its stream's writer attested of other streams.
storage::Projection::Notes AttestedHeadRows(const system::v1::StateAttested& attested);
// The head of `stream` that was attested last; nothing where none was.
std::optional<events::Head> AttestedHead(const storage::RowSource& rows, const std::string& stream);

}  // namespace concordat::runtime
