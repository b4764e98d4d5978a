// The home check: before a writer starts, its log is compared with what others have seen of the
// stream. Law: a log that lost its end is filled from a peer or not written; what somebody else
// accepted is never decided a second time.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "events/chain.h"
#include "events/record.h"

namespace concordat::runtime {

// Somebody who may hold more of a stream than its home: another site, or a copy at the home itself.
// Called on writers' threads, one call at a time for each stream.
class Peer {
 public:
  virtual ~Peer() = default;

  // For messages: `borlange at 10.2.0.5:7101`.
  virtual std::string name() const = 0;
  // Whether the stream may not be written before this one has answered. Of a copy at home, which is
  // a help and no witness, it is false.
  virtual bool required() const = 0;
  // The head of its copy of the stream, sequence -1 where it holds nothing. UNAVAILABLE where it
  // does not answer, or has not read to the end of what it holds yet.
  virtual absl::StatusOr<events::Head> HeadOf(const std::string& stream) = 0;
  // Accepted records from a sequence on, in order, byte for byte, at most `limit`, at least one
  // where it holds the first. UNIMPLEMENTED where it knows heads only.
  virtual absl::StatusOr<std::vector<events::Record>> Records(const std::string& stream,
                                                              uint64_t from, size_t limit) = 0;
};

// How a log stands to what others have seen.
struct Standing {
  enum class Kind {
    kWhole,   // nobody knows of more
    kBehind,  // somebody has accepted events that the log does not hold
    kForked,  // somebody has accepted another history
    kUnknown  // not everybody who has to answer did
  };
  Kind kind = Kind::kWhole;
  Peer* source = nullptr;  // kBehind: who can give what is missing; nothing where nobody can
  std::string detail;      // a sentence: what was found, what to do; empty for kWhole
  std::vector<std::string> unanswered;
};

// An operator's word that one writer may start without its peers' answer.
struct AllowedStart {
  int64_t sequence = -1;  // of the head that the writer may go on from
  std::string actor;
  std::string reason;
};

// One stream's check. Peers are added before the writer runs; then its thread only.
class HomeCheck {
 public:
  // `mark_path`: a file that survives a process and not a machine, such as one in /run; empty:
  // none. It holds the head that was acknowledged last, and so proves after a restart that nothing
  // was lost, without asking anybody.
  HomeCheck(std::string stream, std::string mark_path);
  ~HomeCheck();
  HomeCheck(const HomeCheck&) = delete;

  void Add(std::unique_ptr<Peer> peer) { peers_.push_back(std::move(peer)); }

  // Compares the log's head with all peers' and with the mark. `link_at` is the log's link at a
  // sequence of at most the head's; its error makes the standing unknown.
  using LinkAt = absl::FunctionRef<absl::StatusOr<events::Link>(int64_t sequence)>;
  Standing Compare(const events::Head& head, LinkAt link_at);

  // The head was acknowledged.
  void Mark(const events::Head& head);

 private:
  std::optional<events::Head> ReadMark() const;

  const std::string stream_;
  const std::string mark_path_;
  std::vector<std::unique_ptr<Peer>> peers_;
  int mark_file_ = -1;
};

}  // namespace concordat::runtime
