// A fold takes a stream's records in order, accepts or voids each, and evolves the rows of what was
// accepted. Law: follower and writer fold by this same code, so that they cannot disagree.
#pragma once

#include <absl/status/statusor.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "concordat/type/v1/command.pb.h"
#include "events/chain.h"
#include "services/runtime/delivery.h"
#include "services/runtime/engine.h"
#include "services/runtime/rows.pb.h"
#include "storage/projection/projection.h"

namespace concordat::runtime {

// How long a caller's command id is remembered, in the stream's time. A reaction's is for ever.
// With a longer one old streams would hold ids that were used again too soon: see Fold::Remember().
inline constexpr absl::Duration kCommandMemory = absl::Hours(24 * 7);

// What a command was answered, with the digest of its content.
struct Answered {
  type::v1::Outcome outcome;
  std::string digest;
};

// A follow-up command that waits until its consequence is accepted.
struct Pending {
  std::string command_id;
  IntentRow row;
};

// Not thread-safe. Neither engine nor projection is owned; the engine is over the projection's
// journal.
class Fold {
 public:
  // `here` is the site that folds. At the stream's home, the reactions to every event are kept as
  // rows.
  Fold(Engine& engine, storage::Projection& projection, std::string here);

  // Judges the next record and, where it is accepted, evolves the journal.
  // FAILED_PRECONDITION, with nothing changed, where the record is accepted but holds an event that
  // this release cannot read. DATA_LOSS where an offset is missing on the home's own log.
  absl::StatusOr<events::Outcome> Offer(const Delivery& delivery);

  // Evolves the journal by an event, as Offer() does; for the writer's own events, before they are
  // accepted. `event` is nothing for a system event.
  void Evolve(const google::protobuf::Message* event, const events::Attributes& attributes);

  // Undoes whatever was evolved beyond the accepted head.
  void Rollback();

  // Stores what was accepted, with `notes`: see Projection::Commit().
  absl::Status Commit(storage::Projection::Notes notes = {});

  // The follow-up commands of the events evolved since the last call; nothing away from home.
  std::vector<Pending> TakePending();
  // Every follow-up command whose consequence is not in the log yet, from the rows.
  std::vector<Pending> StoredPending() const;

  // What the command was answered; nothing where its id is not remembered.
  std::optional<Answered> Find(const std::string& actor, const std::string& command_id) const;

  storage::Projection& projection() { return projection_; }

 private:
  // A caller's command, whose id is forgotten kCommandMemory after the day.
  struct Expiring {
    uint64_t sequence;
    int64_t day;
    std::string command_key;
  };

  void Remember(const google::protobuf::Message* event, const events::Attributes& attributes);
  // Forgets the oldest ids of before the day, a bounded number of them; whether none is left.
  bool Forget(int64_t day);
  void KeepReactions(const google::protobuf::Message& event, const events::Attributes& attributes);

  Engine& engine_;
  storage::Projection& projection_;
  const std::string stream_;
  const std::string site_;
  const std::string here_;
  std::vector<Pending> pending_;
  std::deque<Expiring> expiring_;  // of events that are not committed yet
  CommandRow row_;                 // used again and again, to keep its memory
  std::string forget_from_;        // no expiry is left before this key
  int64_t swept_day_ = -1;  // the day of the log's time up to which expired ids were forgotten
};

// The id of a command that follows from an event: the same however often it is issued.
std::string ReactionId(const Cause& cause, const std::string& kind, const std::string& subject);

}  // namespace concordat::runtime
