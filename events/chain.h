// The acceptance rule: which records of a log are its history. Law: every reader of the same log,
// in any language, accepts the same records, without decoding one of them. docs/subscribing.md has
// the rule in words and the test vectors.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "events/link.h"
#include "events/record.h"

namespace concordat::events {

enum class Outcome {
  kAccepted,
  kStale,     // at or below the head: a duplicate, a loser, a stale writer
  kRepeated,  // this link was void before: only its first occurrence could have been accepted
  kStranger,  // its parent is not the head
  kCorrupt,   // its content does not match its id, or it is of another stream: alarm
  kDamaged,   // names a corrupt record as its parent, or the log was flooded: nothing after is
              // accepted
};
std::string_view Name(Outcome outcome);

enum class Condition {
  kOk,
  kSuspect,  // records arrived whose ancestors did not; at the end of a mirrored log this is a gap
  kDamaged,  // nothing is accepted any more
};
std::string_view Name(Condition condition);

// The last accepted event. `sequence` is -1 and `link` zeros before the first.
struct Head {
  Link link;
  int64_t sequence = -1;
  int64_t offset = -1;
  absl::Time time = absl::UnixEpoch();
};

// A record that is remembered by its link.
struct Mark {
  Link link;
  uint64_t sequence = 0;
  int64_t offset = -1;
};

// What one reader knows of one stream: its head and the void links that could still matter. Not
// thread-safe. Memory: at most kMaxVoidLinks links.
class Chain {
 public:
  // Part of the rule: readers with different limits could come to different ends.
  static constexpr size_t kMaxVoidLinks = 1 << 16;
  // Whether the log is the home's own, where contiguous offsets prove that nothing is missing, or
  // was carried here by a mirror, which may have left records out.
  enum class Origin { kHome, kMirrored };

  explicit Chain(std::string stream, Origin origin = Origin::kHome, size_t limit = kMaxVoidLinks);

  // Judges the next record of the log, of which this is the reading for the stream's source.
  // Records must come in the order of their offsets; an offset below the last one is a programmer's
  // error.
  Outcome Offer(const Reading& reading, int64_t offset);
  // The same of a record that is not read yet. `attributes` is filled unless the record is corrupt.
  Outcome Offer(const Record& record, int64_t offset, Attributes* attributes);
  // Whether Offer() would accept the record, for who has to know before anything moves.
  bool Accepts(const Reading& reading) const;

  // Accepts an event that this process appended itself and that was reported at `head.offset`,
  // without reading it back: it becomes the head. REQUIRES: every offset below is judged already,
  // and the event is the head's child and no WriterStarted.
  void Advance(const Link& parent, const Head& head);

  const Head& head() const { return head_; }
  Condition condition() const;
  // A record follows a WriterStarted that is void here: the origin accepted it, so its history
  // split.
  bool forked() const { return forked_; }
  const std::string& stream() const { return stream_; }
  // Whether a void record of one of these sequences stands in the log, which lost a race or came
  // before what it follows. Known of sequences from the head's on.
  bool HoldsVoid(uint64_t first, uint64_t last) const;
  // Offset of the record to be offered next, if the log has no holes.
  int64_t next_offset() const { return next_offset_; }
  // What is wrong, in a sentence; empty where nothing is.
  const std::string& alarm() const { return alarm_; }
  const absl::flat_hash_map<Outcome, uint64_t>& voids() const { return voids_; }

  // All of this as bytes, to be stored in one batch with whatever was folded from the events.
  std::string Encode() const;
  // DATA_LOSS where the bytes are not what Encode() gives.
  static absl::StatusOr<Chain> Decode(std::string stream, std::string_view bytes,
                                      Origin origin = Origin::kHome);
  // Forgets what came after the head, so that it is offered again, for who begins to read: the log
  // may have lost its end and have been filled again since, and what was void there be history now.
  // That the log is damaged, suspect or forked stays.
  void Rewind();

 private:
  Outcome Judge(const Reading& reading, int64_t offset);
  void Accept(const Head& head);
  void NoteVoidWriter(const Attributes& attributes, int64_t offset);

  std::string stream_;
  std::string source_;
  Head head_;
  int64_t next_offset_ = 0;
  Origin origin_;
  size_t limit_;
  bool damaged_ = false;
  bool forked_ = false;
  int64_t suspect_ = -1;  // the head has to reach this sequence before a mirror is trusted again
  std::string alarm_;
  struct Ahead {
    uint64_t sequence;
    int64_t offset;
  };
  absl::flat_hash_map<Link, Ahead> ahead_;  // void links, none of a sequence below the head's
  absl::flat_hash_set<Link> corrupt_;   // what corrupt children of the head may have been called
  std::vector<Mark> accepted_writers_;  // the latest WriterStarted events, oldest first
  std::vector<Mark> void_writers_;
  absl::flat_hash_map<Outcome, uint64_t> voids_;  // counted since the process started
};

}  // namespace concordat::events
