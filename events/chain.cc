#include "events/chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "concordat/system/v1/events.pb.h"
#include "events/chain_state.pb.h"

namespace concordat::events {
namespace {

// WriterStarted events, accepted and void, that are remembered for the detection of forks. A stream
// sees one for each start of a writer; the oldest may be forgotten, for a fork shows itself at once.
constexpr size_t kMaxWriters = 16;

void Remember(std::vector<WriterMark>& writers, WriterMark writer) {
  if (writers.size() == kMaxWriters) writers.erase(writers.begin());
  writers.push_back(writer);
}

bool Contains(const std::vector<WriterMark>& writers, const Link& link) {
  return std::any_of(writers.begin(), writers.end(),
                     [&](const WriterMark& writer) { return writer.link == link; });
}

const std::string& WriterStartedType() {
  static const std::string type(system::v1::WriterStarted::descriptor()->full_name());
  return type;
}

Link LinkOfBytes(const std::string& bytes) {
  Link link;
  if (bytes.size() == link.bytes.size()) std::copy(bytes.begin(), bytes.end(), link.bytes.begin());
  return link;
}

std::string BytesOf(const Link& link) { return {link.bytes.begin(), link.bytes.end()}; }

void Put(const WriterMark& mark, ChainState::Mark* to) {
  to->set_link(BytesOf(mark.link));
  to->set_sequence(mark.sequence);
}

}  // namespace

std::string_view Name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted: return "accepted";
    case Outcome::kStale: return "stale";
    case Outcome::kRepeated: return "repeated";
    case Outcome::kStranger: return "stranger";
    case Outcome::kCorrupt: return "corrupt";
    case Outcome::kDamaged: return "damaged";
  }
  return "";
}

std::string_view Name(Condition condition) {
  switch (condition) {
    case Condition::kOk: return "ok";
    case Condition::kSuspect: return "suspect";
    case Condition::kDamaged: return "damaged";
    case Condition::kForked: return "forked";
  }
  return "";
}

Chain::Chain(std::string stream) : stream_(std::move(stream)), source_(SourceOf(stream_)) {}

Outcome Chain::Offer(const Record& record, int64_t offset, Attributes* attributes) {
  const Outcome outcome = Judge(record, offset, attributes);
  next_offset_ = offset + 1;
  if (outcome != Outcome::kAccepted) ++voids_[outcome];
  return outcome;
}

Outcome Chain::Judge(const Record& record, int64_t offset, Attributes* attributes) {
  if (condition_ == Condition::kDamaged) return Outcome::kDamaged;
  absl::StatusOr<Attributes> opened = Open(record);
  if (opened.ok() && opened->source != source_) {
    opened = absl::InvalidArgumentError(
        fmt::format("ce_source is {}, expected {}", opened->source, source_));
  }
  if (!opened.ok()) {
    alarm_ = fmt::format("{}: the record at offset {} is void: {}", stream_, offset,
                         std::string(opened.status().message()));
    // Its own word for its parent: a child of the head that was damaged leaves no valid successor.
    const auto id = Link::FromHex(HeaderValue(record, "ce_id"));
    const auto parent = Link::FromHex(HeaderValue(record, "ce_parent"));
    if (id && parent == head_.link) corrupt_.insert(*id);
    return Outcome::kCorrupt;
  }
  *attributes = *std::move(opened);
  if (corrupt_.contains(attributes->parent)) {
    condition_ = Condition::kDamaged;
    alarm_ = fmt::format("{}: the record at offset {} is the child of a corrupt record: the log is "
                         "damaged; rebuild this replica from another site", stream_, offset);
    return Outcome::kDamaged;
  }
  if (Contains(void_writers_, attributes->parent)) {
    condition_ = Condition::kForked;
    alarm_ = fmt::format("{}: the record at offset {} follows a WriterStarted that is void here: the "
                         "history of its origin has split", stream_, offset);
  }
  const auto sequence = static_cast<int64_t>(attributes->sequence);
  if (sequence <= head_.sequence) {
    NoteVoidWriter(*attributes);
    return Outcome::kStale;
  }
  if (ahead_.contains(attributes->id)) return Outcome::kRepeated;
  if (attributes->parent == head_.link && sequence == head_.sequence + 1) {
    Accept(*attributes, offset);
    return Outcome::kAccepted;
  }
  if (ahead_.size() >= kMaxAhead) {
    condition_ = Condition::kDamaged;
    alarm_ = fmt::format("{}: more than {} records ahead of the head at sequence {} have no accepted "
                         "parent; rebuild this replica from another site", stream_, kMaxAhead,
                         head_.sequence);
    return Outcome::kDamaged;
  }
  if (condition_ == Condition::kOk && !ahead_.contains(attributes->parent)) {
    condition_ = Condition::kSuspect;
  }
  ahead_.emplace(attributes->id, attributes->sequence);
  NoteVoidWriter(*attributes);
  return Outcome::kStranger;
}

void Chain::NoteVoidWriter(const Attributes& attributes) {
  if (attributes.type != WriterStartedType()) return;
  // A mirror may deliver an accepted one again. Of those older than the ones remembered nothing can be
  // told, so they are left alone.
  if (Contains(accepted_writers_, attributes.id) || Contains(void_writers_, attributes.id)) return;
  if (!accepted_writers_.empty() && attributes.sequence < accepted_writers_.front().sequence) return;
  Remember(void_writers_, {attributes.id, attributes.sequence});
}

void Chain::Accept(const Attributes& attributes, int64_t offset) {
  head_ = {attributes.id, static_cast<int64_t>(attributes.sequence), offset, attributes.time};
  if (attributes.type == WriterStartedType()) {
    Remember(accepted_writers_, {attributes.id, attributes.sequence});
  }
  corrupt_.clear();
  absl::erase_if(ahead_, [&](const auto& entry) {
    return static_cast<int64_t>(entry.second) <= head_.sequence;
  });
  if (condition_ == Condition::kSuspect) condition_ = Condition::kOk;
}

std::string Chain::Encode() const {
  ChainState state;
  state.set_link(BytesOf(head_.link));
  state.set_sequence(head_.sequence);
  state.set_offset(head_.offset);
  state.set_time_micros(absl::ToUnixMicros(head_.time));
  state.set_next_offset(next_offset_);
  state.set_condition(static_cast<int32_t>(condition_));
  state.set_alarm(alarm_);
  for (const auto& [link, sequence] : ahead_) {
    Put({link, sequence}, state.add_ahead());
  }
  for (const Link& link : corrupt_) state.add_corrupt(BytesOf(link));
  for (const WriterMark& writer : accepted_writers_) Put(writer, state.add_accepted_writers());
  for (const WriterMark& writer : void_writers_) Put(writer, state.add_void_writers());
  return state.SerializeAsString();
}

absl::StatusOr<Chain> Chain::Decode(std::string stream, std::string_view bytes) {
  ChainState state;
  if (!state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) || state.link().size() != 32) {
    return absl::DataLossError(fmt::format("the stored head of {} cannot be read", stream));
  }
  Chain chain(std::move(stream));
  chain.head_ = {LinkOfBytes(state.link()), state.sequence(), state.offset(),
                 absl::FromUnixMicros(state.time_micros())};
  chain.next_offset_ = state.next_offset();
  chain.condition_ = static_cast<Condition>(state.condition());
  chain.alarm_ = state.alarm();
  for (const auto& ahead : state.ahead()) chain.ahead_[LinkOfBytes(ahead.link())] = ahead.sequence();
  for (const auto& link : state.corrupt()) chain.corrupt_.insert(LinkOfBytes(link));
  for (const auto& writer : state.accepted_writers()) {
    chain.accepted_writers_.push_back({LinkOfBytes(writer.link()), writer.sequence()});
  }
  for (const auto& writer : state.void_writers()) {
    chain.void_writers_.push_back({LinkOfBytes(writer.link()), writer.sequence()});
  }
  return chain;
}

}  // namespace concordat::events
