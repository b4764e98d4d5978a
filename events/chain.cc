#include "events/chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "concordat/system/v1/events.pb.h"
#include "events/chain_state.pb.h"
#include "events/flaw.h"

namespace concordat::events {
namespace {

// WriterStarted events, accepted and void, that are remembered for the detection of forks. A stream
// sees one for each start of a writer; the oldest may be forgotten, for a fork shows itself at
// once.
constexpr size_t kMaxWriters = 16;

void Remember(std::vector<Mark>& writers, Mark writer) {
  if (writers.size() == kMaxWriters) writers.erase(writers.begin());
  writers.push_back(writer);
}

bool Contains(const std::vector<Mark>& writers, const Link& link) {
  return std::any_of(writers.begin(), writers.end(),
                     [&](const Mark& writer) { return writer.link == link; });
}

const std::string& WriterStartedType() {
  static const std::string type(system::v1::WriterStarted::descriptor()->full_name());
  return type;
}

bool Follows(const Attributes& attributes, const Head& head) {
  return attributes.parent == head.link &&
         static_cast<int64_t>(attributes.sequence) == head.sequence + 1;
}

void Put(const Mark& mark, ChainState::Mark* to) {
  to->set_link(mark.link.ToBytes());
  to->set_sequence(mark.sequence);
  to->set_offset(mark.offset);
}

Mark Get(const ChainState::Mark& mark) {
  return {Link::FromBytes(mark.link()), mark.sequence(), mark.offset()};
}

}  // namespace

std::string_view Name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted:
      return "accepted";
    case Outcome::kStale:
      return "stale";
    case Outcome::kRepeated:
      return "repeated";
    case Outcome::kStranger:
      return "stranger";
    case Outcome::kCorrupt:
      return "corrupt";
    case Outcome::kDamaged:
      return "damaged";
  }
  return "";
}

std::string_view Name(Condition condition) {
  switch (condition) {
    case Condition::kOk:
      return "ok";
    case Condition::kSuspect:
      return "suspect";
    case Condition::kDamaged:
      return "damaged";
  }
  return "";
}

Chain::Chain(std::string stream, Origin origin, size_t limit)
    : stream_(std::move(stream)), source_(SourceOf(stream_)), origin_(origin), limit_(limit) {}

Condition Chain::condition() const {
  if (damaged_) return Condition::kDamaged;
  return suspect_ >= 0 ? Condition::kSuspect : Condition::kOk;
}

Outcome Chain::Offer(const Record& record, int64_t offset, Attributes* attributes) {
  Reading reading = Read(record, source_, std::move(*attributes));
  const Outcome outcome = Offer(reading, offset);
  *attributes = std::move(reading.attributes);
  return outcome;
}

Outcome Chain::Offer(const Reading& reading, int64_t offset) {
  Outcome outcome = damaged_ ? Outcome::kDamaged : Judge(reading, offset);
  if (!damaged_ && ahead_.size() + corrupt_.size() > limit_) {
    damaged_ = true;
    alarm_ = fmt::format(
        "{}: more than {} void links are pending at offset {}: the log was flooded; rebuild this "
        "replica from another site",
        stream_, limit_, offset);
    outcome = Outcome::kDamaged;
  }
  next_offset_ = offset + 1;
  if (outcome != Outcome::kAccepted) ++voids_[outcome];
  return outcome;
}

bool Chain::Accepts(const Reading& reading) const {
  const Attributes& attributes = reading.attributes;
  return !damaged_ && reading.status.ok() && Follows(attributes, head_) &&
         !corrupt_.contains(attributes.parent) && !ahead_.contains(attributes.id);
}

// The steps and their numbers are those of docs/subscribing.md.
Outcome Chain::Judge(const Reading& reading, int64_t offset) {
  const Attributes& attributes = reading.attributes;
  if (!reading.status.ok()) {  // 1
    alarm_ = fmt::format("{}: the record at offset {} is void: {}", stream_, offset,
                         std::string(reading.status.message()));
    if (reading.parent == head_.link) {
      for (const Link& claim : reading.claims) {
        // The head is never corrupt, or one forged ce_id would end the stream.
        if (claim != head_.link) corrupt_.insert(claim);
      }
    }
    return Outcome::kCorrupt;
  }
  if (Contains(void_writers_, attributes.parent)) {
    forked_ = true;
    alarm_ = fmt::format(
        "{}: the record at offset {} follows a WriterStarted that is void here: the history of its "
        "origin has split",
        stream_, offset);
  }
  const auto sequence = static_cast<int64_t>(attributes.sequence);
  if (sequence <= head_.sequence) {  // 2
    // A rival of the head may have children, and knowing it tells them from a gap.
    if (sequence == head_.sequence && attributes.id != head_.link)
      ahead_.emplace(attributes.id, Ahead{attributes.sequence, offset});
    NoteVoidWriter(attributes, offset);
    return Outcome::kStale;
  }
  if (corrupt_.contains(attributes.parent)) {  // 3
    damaged_ = true;
    alarm_ = fmt::format(
        "{}: the record at offset {} is the child of a corrupt record: the log is damaged; rebuild "
        "this replica from another site",
        stream_, offset);
    return Outcome::kDamaged;
  }
  if (ahead_.contains(attributes.id)) return Outcome::kRepeated;  // 4
  if (Follows(attributes, head_)) {                               // 5
    Accept({attributes.id, sequence, offset, attributes.time});
    if (attributes.type == WriterStartedType())
      Remember(accepted_writers_, {attributes.id, attributes.sequence, offset});
    return Outcome::kAccepted;
  }
  if (origin_ == Origin::kMirrored && attributes.parent != head_.link &&
      !ahead_.contains(attributes.parent) && !Has(Flaw::kIgnoresGaps)) {
    suspect_ = std::max(suspect_, sequence);
  }
  if (!Has(Flaw::kForgetsVoidLinks))
    ahead_.emplace(attributes.id, Ahead{attributes.sequence, offset});  // 6
  NoteVoidWriter(attributes, offset);
  return Outcome::kStranger;
}

void Chain::NoteVoidWriter(const Attributes& attributes, int64_t offset) {
  if (attributes.type != WriterStartedType()) return;
  // A mirror may deliver an accepted one again. Of those older than the ones remembered nothing can
  // be told, so they are left alone.
  if (Contains(accepted_writers_, attributes.id) || Contains(void_writers_, attributes.id)) return;
  if (!accepted_writers_.empty() && attributes.sequence < accepted_writers_.front().sequence)
    return;
  Remember(void_writers_, {attributes.id, attributes.sequence, offset});
}

void Chain::Advance(const Link& parent, const Head& head) {
  if (head.offset != next_offset_ || parent != head_.link || head.sequence != head_.sequence + 1) {
    std::fprintf(stderr, "Chain::Advance: %s at offset %lld is not the head's child\n",
                 stream_.c_str(), static_cast<long long>(head.offset));
    std::abort();
  }
  Accept(head);
  next_offset_ = head.offset + 1;
}

void Chain::Accept(const Head& head) {
  head_ = head;
  corrupt_.clear();
  if (!ahead_.empty())
    absl::erase_if(ahead_, [&](const auto& entry) {
      return static_cast<int64_t>(entry.second.sequence) < head_.sequence;
    });
  if (head_.sequence >= suspect_) suspect_ = -1;
}

bool Chain::HoldsVoid(uint64_t first, uint64_t last) const {
  return std::any_of(ahead_.begin(), ahead_.end(), [&](const auto& link) {
    return link.second.sequence >= first && link.second.sequence <= last;
  });
}

std::string Chain::Encode() const {
  ChainState state;
  state.set_link(head_.link.ToBytes());
  state.set_sequence(head_.sequence);
  state.set_offset(head_.offset);
  state.set_time_micros(absl::ToUnixMicros(head_.time));
  state.set_next_offset(next_offset_);
  state.set_damaged(damaged_);
  state.set_forked(forked_);
  state.set_suspect(suspect_);
  // One void record is told of once; a log that is damaged or forked stays so.
  if (damaged_ || forked_) state.set_alarm(alarm_);
  for (const auto& [link, ahead] : ahead_)
    Put({link, ahead.sequence, ahead.offset}, state.add_ahead());
  for (const Link& link : corrupt_) state.add_corrupt(link.ToBytes());
  for (const Mark& writer : accepted_writers_) Put(writer, state.add_accepted_writers());
  for (const Mark& writer : void_writers_) Put(writer, state.add_void_writers());
  return state.SerializeAsString();
}

absl::StatusOr<Chain> Chain::Decode(std::string stream, std::string_view bytes, Origin origin) {
  ChainState state;
  if (!state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      state.link().size() != 32) {
    return absl::DataLossError(fmt::format("the stored head of {} cannot be read", stream));
  }
  Chain chain(std::move(stream), origin);
  chain.head_ = {Link::FromBytes(state.link()), state.sequence(), state.offset(),
                 absl::FromUnixMicros(state.time_micros())};
  chain.next_offset_ = state.next_offset();
  chain.damaged_ = state.damaged();
  chain.forked_ = state.forked();
  chain.suspect_ = state.suspect();
  chain.alarm_ = state.alarm();
  for (const auto& ahead : state.ahead())
    chain.ahead_[Link::FromBytes(ahead.link())] = {ahead.sequence(), ahead.offset()};
  for (const auto& link : state.corrupt()) chain.corrupt_.insert(Link::FromBytes(link));
  for (const auto& mark : state.accepted_writers()) chain.accepted_writers_.push_back(Get(mark));
  for (const auto& mark : state.void_writers()) chain.void_writers_.push_back(Get(mark));
  return chain;
}

void Chain::Rewind() {
  next_offset_ = head_.offset + 1;
  absl::erase_if(ahead_, [&](const auto& entry) { return entry.second.offset > head_.offset; });
  std::erase_if(void_writers_, [&](const Mark& mark) { return mark.offset > head_.offset; });
  corrupt_.clear();
}

}  // namespace concordat::events
