#include "services/runtime/follower.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace concordat::runtime {
namespace {

constexpr absl::Duration kHeadPatience = absl::Seconds(5);
// How often streams whose log did not answer are asked for again, beside others that are read.
constexpr absl::Duration kAskInterval = absl::Seconds(30);
// How long one stream alone is read for what is wrong with it.
constexpr absl::Duration kProbe = absl::Seconds(2);
constexpr absl::Duration kLagInterval = absl::Seconds(1);
// So that a restart reads seconds of the log again, not everything since the process started.
constexpr absl::Duration kFlushInterval = absl::Seconds(10);
constexpr std::string_view kInputPrefix("\0input\0", 7);

std::string InputKey(std::string_view stream) {
  return std::string(kInputPrefix) + std::string(stream);
}

events::Chain::Origin OriginOf(const std::string& stream, const std::string& here) {
  return events::SiteOf(stream) == here ? events::Chain::Origin::kHome
                                        : events::Chain::Origin::kMirrored;
}

FollowedView ViewOf(const events::Chain& chain) {
  FollowedView view;
  view.head = chain.head();
  view.condition = chain.condition();
  view.forked = chain.forked();
  view.alarm = chain.alarm();
  view.voids = chain.voids();
  view.next_offset = chain.next_offset();
  return view;
}

// A waits in small steps, so that stopping is not held up.
void PauseUnless(storage::Machine& machine, const std::atomic<bool>& stopping,
                 absl::Duration wait) {
  for (const absl::Duration end = machine.Steady() + wait; !stopping && machine.Steady() < end;)
    machine.Sleep(absl::Milliseconds(20));
}

std::string SilentAlarm(const std::string& stream) {
  return fmt::format("{}: the log does not answer; it is asked again", stream);
}

// Where the first of a stream's sinks goes on; it has at least one.
int64_t NextOf(const std::vector<Sink*>& sinks) {
  int64_t next = sinks.front()->next_offset();
  for (const Sink* sink : sinks) next = std::min(next, sink->next_offset());
  return next;
}

std::string GapAlarm(const events::Chain& chain) {
  return fmt::format(
      "{}: records beyond sequence {} arrived whose ancestors did not: the mirror has a gap; see "
      "docs/runbooks/ConcordatMirrorGap.md",
      chain.stream(), chain.head().sequence);
}

}  // namespace

Follower::Follower(storage::Log& log, std::vector<Sink*> sinks, storage::Machine& machine)
    : machine_(machine),
      sinks_(std::move(sinks)),
      reader_(log.NewReader()),
      deliveries_(*reader_, machine),
      waiting_(sinks_) {}

Follower::~Follower() { Stop(); }

void Follower::Run(absl::Duration wait) {
  if (sinks_.empty()) return;
  thread_ = machine_.Start("follower", [this, wait] {
    while (!stopping_) Step(wait);
  });
}

void Follower::BeginToStop() { stopping_ = true; }

void Follower::Stop() {
  BeginToStop();
  if (thread_ != nullptr) thread_->Join();
  thread_.reset();
  deliveries_.Stop();
}

bool Follower::AssignAll() {
  deliveries_.Stop();
  reader_->Release();
  for (const auto& [stream, sinks] : by_stream_) {
    if (sinks.empty()) continue;
    const absl::Status status = reader_->Assign(stream, NextOf(sinks));
    if (!status.ok()) {
      if (absl::IsOutOfRange(status)) {
        for (Sink* sink : std::vector<Sink*>(sinks)) StopSink(sink, status);
      }
      return false;
    }
  }
  return true;
}

// Which of the streams it was is not told: each is looked at.
void Follower::StopUnreadable(const absl::Status& found) {
  if (!absl::IsDataLoss(found) && !absl::IsOutOfRange(found)) return;
  // In an order that is the same in every process: what is asked first is told first.
  std::vector<std::string> streams;
  for (const auto& [stream, sinks] : by_stream_) streams.push_back(stream);
  std::sort(streams.begin(), streams.end());
  for (const std::string& stream : streams) {
    const std::vector<Sink*>& sinks = by_stream_[stream];
    const absl::StatusOr<int64_t> end =
        sinks.empty() ? absl::StatusOr<int64_t>(0) : reader_->End(stream);
    for (Sink* sink : std::vector<Sink*>(sinks)) {
      if (!end.ok() || *end >= sink->next_offset()) continue;
      StopSink(sink, absl::OutOfRangeError(fmt::format(
                         "{}: the log ends at offset {}, expected at least {}: it lost records; "
                         "see docs/runbooks/ConcordatLogLost.md",
                         stream, *end, sink->next_offset())));
    }
    if (sinks.empty() || !end.ok() || *end <= NextOf(sinks)) continue;
    const int64_t next = NextOf(sinks);
    const absl::StatusOr<int64_t> begin = reader_->Begin(stream);
    const bool deleted = begin.ok() && *begin > next;
    absl::Status status = begin.status();
    if (deleted) {
      status = absl::OutOfRangeError(fmt::format(
          "{}: the log begins at offset {}, expected at most {}: its beginning was deleted. Set "
          "retention.ms and retention.bytes to -1, and have the copy made anew: "
          "docs/operations/recover.md",
          stream, *begin, next));
    } else if (begin.ok()) {
      reader_->Release();
      status = reader_->Assign(stream, next);
      // An error of before may be told first: librdkafka goes on behind what it could not read, to
      // where a flipped bit says.
      for (const absl::Duration until = machine_.Steady() + kProbe; !stopping_;) {
        const auto records = reader_->Read(1, absl::Milliseconds(200));
        status = records.status();
        if (absl::IsDataLoss(status) || (records.ok() && !records->empty()) ||
            machine_.Steady() > until)
          break;
      }
    }
    if (!deleted && !absl::IsDataLoss(status)) continue;
    for (Sink* sink : std::vector<Sink*>(sinks)) {
      if (sink->next_offset() == next) StopSink(sink, status);
    }
  }
}

void Follower::StopSink(Sink* sink, const absl::Status& status) {
  spdlog::error("{}: following stops: {}", sink->stream(), std::string(status.message()));
  sink->Stopped(status);
  auto& sinks = by_stream_[sink->stream()];
  sinks.erase(std::remove(sinks.begin(), sinks.end(), sink), sinks.end());
}

// A log that was replaced while nobody looked would be read from the middle of another one.
std::optional<absl::Status> Follower::LookForHead(const std::string& stream,
                                                  const events::Head& head,
                                                  absl::Duration patience) {
  absl::Status status;
  std::string there;
  // A mirror may be about to bring again what a restored log lacks.
  for (const absl::Time end = machine_.Now() + patience; there.empty() && !stopping_;) {
    reader_->Release();
    status = reader_->Assign(stream, head.offset);
    if (status.ok()) {
      const auto records = reader_->Read(1, absl::Milliseconds(200));
      status = records.status();
      if (records.ok() && !records->empty()) {
        there = std::string(events::HeaderValue(records->front().record, "ce_id"));
        if (there.empty() || records->front().offset != head.offset) there = "another record";
      }
    }
    if (!there.empty() || (!status.ok() && !absl::IsOutOfRange(status))) break;
    if (machine_.Now() > end) {
      if (status.ok() && patience <= absl::ZeroDuration()) return std::nullopt;
      const auto log_end = reader_->End(stream);
      const auto log_begin = reader_->Begin(stream);
      // A log whose beginning was deleted has gone on, and will never hold it again.
      if (!log_end.ok() || !log_begin.ok() || (*log_end > head.offset && *log_begin <= head.offset))
        return std::nullopt;
      break;
    }
    if (!status.ok()) PauseUnless(machine_, stopping_, kRetry);
  }
  if (stopping_) return std::nullopt;
  if (there == head.link.ToHex()) return absl::OkStatus();
  if (absl::IsDataLoss(status)) return status;
  if (!status.ok() && !absl::IsOutOfRange(status)) return std::nullopt;
  return absl::DataLossError(
      fmt::format("{}: the event at sequence {} (link {}) no longer stands at offset {} of the "
                  "log: the log was cut short, or is not the one that was read before. What "
                  "was made from it is kept and not brought up to date; stop the process, "
                  "delete it and start again, and it is made anew: docs/operations/rebuild.md",
                  stream, head.sequence, head.link.ToHex().substr(0, 12), head.offset));
}

void Follower::Admit() {
  deliveries_.Stop();
  assigned_ = false;
  std::vector<std::string> silent;
  // Once others are read, to look again must not hold them up.
  const absl::Duration patience =
      waiting_.size() == sinks_.size() ? kHeadPatience : absl::ZeroDuration();
  const std::vector<Sink*> waiting = std::exchange(waiting_, {});
  for (Sink* sink : waiting) {
    const std::string& stream = sink->stream();
    const events::Head head = sink->View().head;
    const auto same = [&](const Found& one) {
      return one.stream == stream && one.head.link == head.link && one.head.offset == head.offset;
    };
    if (head.sequence >= 0 && std::none_of(found_.begin(), found_.end(), same)) {
      std::optional<absl::Status> stands;
      if (std::find(silent.begin(), silent.end(), stream) == silent.end())
        stands = LookForHead(stream, head, patience);
      if (!stands) {
        silent.push_back(stream);
        waiting_.push_back(sink);
        sink->Stopped(absl::UnavailableError(SilentAlarm(stream)));
        continue;
      }
      if (!stands->ok()) {
        StopSink(sink, *stands);
        continue;
      }
      found_.push_back({stream, head});
    }
    if (sink->View().alarm == SilentAlarm(stream)) sink->Stopped(absl::OkStatus());
    by_stream_[stream].push_back(sink);
  }
  next_look_ = machine_.Steady() + (waiting_.size() == sinks_.size() ? kRetry : kAskInterval);
}

size_t Follower::Step(absl::Duration wait) {
  if (!waiting_.empty() && machine_.Steady() >= next_look_) Admit();
  if (waiting_.size() == sinks_.size() && !sinks_.empty()) {
    PauseUnless(machine_, stopping_, kRetry);
    return 0;
  }
  if (!assigned_) assigned_ = AssignAll();
  if (!assigned_) {
    PauseUnless(machine_, stopping_, kRetry);
    return 0;
  }
  const auto deliveries = deliveries_.Next(wait);
  if (!deliveries.ok()) {
    // Each stream is tried again from its own position.
    spdlog::warn("following: {}", std::string(deliveries.status().message()));
    StopUnreadable(deliveries.status());
    assigned_ = false;
    PauseUnless(machine_, stopping_, kRetry);
    return 0;
  }
  std::vector<Sink*> touched;
  std::vector<std::pair<Sink*, absl::Status>> stopped;
  for (const Delivery& delivery : *deliveries) {
    const auto found = by_stream_.find(delivery.stream());
    if (found == by_stream_.end()) continue;
    for (Sink* sink : std::vector<Sink*>(found->second)) {
      if (delivery.offset() < sink->next_offset()) continue;
      const absl::Status status = sink->Offer(delivery);
      if (!status.ok()) {
        StopSink(sink, status);
        stopped.emplace_back(sink, status);
      } else if (sink->Full()) {
        const absl::Status ended = sink->EndBatch(stopping_);
        if (!ended.ok() && !stopping_) StopSink(sink, ended);
      }
      if (std::find(touched.begin(), touched.end(), sink) == touched.end()) touched.push_back(sink);
    }
  }
  storage::Failpoint(machine_, "before_batch");
  for (Sink* sink : touched) {
    const absl::Status status = sink->EndBatch(stopping_);
    if (!status.ok() && !stopping_) StopSink(sink, status);
  }
  storage::Failpoint(machine_, "after_batch");
  // What came before the stop was stored and shown just now, without the alarm.
  for (const auto& [sink, status] : stopped) sink->Stopped(status);
  if (deliveries->empty()) {
    for (Sink* sink : sinks_) sink->AtEnd();
  }
  MeasureLag();
  return deliveries->size();
}

void Follower::MeasureLag() {
  if (machine_.Now() < next_lag_) return;
  next_lag_ = machine_.Now() + kLagInterval;
  deliveries_.Settle();
  absl::flat_hash_map<std::string, int64_t> lag;
  for (const auto& [stream, sinks] : by_stream_) {
    if (stopping_) return;
    if (sinks.empty()) continue;
    const absl::StatusOr<int64_t> end = reader_->End(stream);
    if (end.ok()) lag[stream] = std::max<int64_t>(*end - sinks.front()->next_offset(), 0);
  }
  absl::MutexLock lock(&mutex_);
  lag_ = std::move(lag);
}

absl::flat_hash_map<std::string, int64_t> Follower::Lag() const {
  absl::MutexLock lock(&mutex_);
  return lag_;
}

Replica::Replica(Engine& engine, storage::Projection& projection, std::string here,
                 storage::Machine& machine, std::string code)
    : stream_(projection.chain().stream()),
      machine_(machine),
      code_(std::move(code)),
      fold_(engine, projection, std::move(here)),
      agreed_(Diverged(projection)) {
  engine.LoadIndex(projection);
  Publish();
}

absl::Status Replica::Offer(const Delivery& delivery) {
  if (!agreed_.ok()) return agreed_;
  const auto outcome = fold_.Offer(delivery);
  changed_ = true;
  if (!outcome.ok()) return outcome.status();
  if (*outcome == events::Outcome::kAccepted) {
    const events::Attributes& attributes = delivery.attributes();
    attested_ = AttestationIn(attributes, delivery.record().data);
    if (!IsSystemType(attributes.type)) last_fact_ = static_cast<int64_t>(attributes.sequence);
  }
  return absl::OkStatus();
}

void Replica::Stopped(const absl::Status& status) {
  if (status.ok()) return Publish();
  absl::MutexLock lock(&mutex_);
  view_.alarm = std::string(status.message());
}

absl::Status Replica::EndBatch(const std::atomic<bool>& stopping) {
  if (!changed_) return absl::OkStatus();
  changed_ = false;
  storage::Projection& projection = fold_.projection();
  const auto attested = std::exchange(attested_, std::nullopt);
  absl::Status status =
      Commit(stopping, attested ? AttestedHeadRows(*attested) : storage::Projection::Notes());
  if (!status.ok()) return status;
  if (attested && !code_.empty()) agreed_ = CompareState(*attested, projection.digests(), code_);
  if (!agreed_.ok()) {
    status = Commit(stopping, {DivergedRow(agreed_)});
    Publish();
    return status.ok() ? agreed_ : status;
  }
  Publish();
  if (machine_.Now() >= next_flush_) {
    projection.Flush();
    next_flush_ = machine_.Now() + kFlushInterval;
  }
  return absl::OkStatus();
}

absl::Status Replica::Commit(const std::atomic<bool>& stopping, storage::Projection::Notes notes) {
  storage::Projection& projection = fold_.projection();
  absl::Status status = fold_.Commit(std::move(notes));
  while (!status.ok()) {
    {
      absl::MutexLock lock(&mutex_);
      view_.alarm = std::string(status.message());
    }
    PauseUnless(machine_, stopping, kRetry);
    if (stopping) return status;
    status = projection.RetryCommit();
  }
  return absl::OkStatus();
}

void Replica::AtEnd() {
  if (fold_.projection().chain().condition() != events::Condition::kSuspect) return;
  absl::MutexLock lock(&mutex_);
  view_.alarm = GapAlarm(fold_.projection().chain());
}

void Replica::Publish() {
  absl::MutexLock lock(&mutex_);
  view_ = ViewOf(fold_.projection().chain());
  view_.last_fact = last_fact_;
  view_.diverged = !agreed_.ok();
  if (!agreed_.ok()) view_.alarm = std::string(agreed_.message());
}

FollowedView Replica::View() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

bool Replica::WaitFor(int64_t sequence, absl::Duration wait) const {
  absl::MutexLock lock(&mutex_);
  const auto folded = [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return view_.head.sequence >= sequence;
  };
  return machine_.Await(mutex_, absl::Condition(&folded), wait);
}

Feed::Feed(const Engine& engine, Writer& writer, const storage::Projection& projection,
           std::string stream, const google::protobuf::Descriptor* event_type, std::string here,
           storage::Machine& machine)
    : engine_(engine),
      writer_(writer),
      stream_(std::move(stream)),
      event_type_(event_type),
      here_(std::move(here)),
      machine_(machine),
      chain_(stream_, OriginOf(stream_, here_)) {
  const auto stored = projection.Get(InputKey(stream_));
  if (stored) {
    auto chain = events::Chain::Decode(stream_, *stored, OriginOf(stream_, here_));
    // A position that cannot be read only costs reading the stream again.
    if (chain.ok()) chain_ = *std::move(chain);
    chain_.Rewind();
  }
  Publish();
}

absl::Status Feed::Offer(const Delivery& delivery) {
  // A history that split leads to no decisions here.
  if (chain_.forked()) return absl::DataLossError(chain_.alarm());
  changed_ = true;
  const bool accepted = chain_.Accepts(delivery.reading());
  const events::Attributes& attributes = delivery.attributes();
  const bool followed = accepted && attributes.data_type == event_type_->full_name();
  if (followed && !delivery.event().ok()) {
    return absl::FailedPreconditionError(fmt::format(
        "{}: the event at sequence {} cannot be read by this release: {}; install the "
        "release that wrote it",
        stream_, attributes.sequence, std::string(delivery.event().status().message())));
  }
  chain_.Offer(delivery.reading(), delivery.offset());
  if (!followed) return absl::OkStatus();
  const std::string site = events::SiteOf(stream_);
  for (AnyIntent& intent :
       engine_.ReactToOther(**delivery.event(), attributes, {stream_, site, here_})) {
    std::string correlation =
        intent.correlation_id.empty() ? attributes.correlation_id : intent.correlation_id;
    issued_.push_back(
        {std::move(intent), {stream_, attributes.sequence, attributes.id}, std::move(correlation)});
  }
  return absl::OkStatus();
}

Submission Feed::SubmissionOf(const Issued& issued) const {
  Submission submission;
  submission.command.reset(issued.intent.command->New());
  submission.command->CopyFrom(*issued.intent.command);
  submission.command_id = ReactionId(issued.cause, issued.intent.kind, issued.intent.subject);
  submission.actor = fmt::format("{}{}", kSystemActor, engine_.name());
  submission.correlation_id = issued.correlation_id;
  submission.cause = issued.cause;
  return submission;
}

absl::Status Feed::EndBatch(const std::atomic<bool>& stopping) {
  if (!changed_) return absl::OkStatus();
  // In order: an order that builds on a contract must come after it.
  struct Round {
    absl::Mutex mutex;
    size_t open ABSL_GUARDED_BY(mutex) = 0;
    std::vector<size_t> failed ABSL_GUARDED_BY(mutex);
  };
  std::vector<size_t> todo(issued_.size());
  for (size_t i = 0; i < todo.size(); ++i) todo[i] = i;
  while (!todo.empty()) {
    auto round = std::make_shared<Round>();
    {
      absl::MutexLock lock(&round->mutex);
      round->open = todo.size();
    }
    if (events::Has(events::Flaw::kMovesPositionFirst))
      writer_.Note(InputKey(stream_), chain_.Encode());
    for (const size_t index : todo) {
      Submission submission = SubmissionOf(issued_[index]);
      submission.done = [round, index](absl::StatusOr<type::v1::Outcome> outcome) {
        absl::MutexLock lock(&round->mutex);
        --round->open;
        // A command that another release worded otherwise was decided under this id, and one whose
        // event is too large never will be: neither changes by asking again.
        if (outcome.ok() || absl::IsAlreadyExists(outcome.status()) ||
            absl::IsInvalidArgument(outcome.status())) {
          return;
        }
        round->failed.push_back(index);
      };
      writer_.Submit(std::move(submission));
    }
    absl::MutexLock lock(&round->mutex);
    const auto over = [&round, &stopping]() { return round->open == 0 || stopping.load(); };
    while (!machine_.Await(round->mutex, absl::Condition(&over), absl::Milliseconds(100))) {
    }
    if (stopping) return absl::CancelledError("stopping");
    todo = round->failed;
    std::sort(todo.begin(), todo.end());
    if (!todo.empty()) PauseUnless(machine_, stopping, kRetry);
  }
  issued_.clear();
  changed_ = false;
  storage::Failpoint(machine_, "before_note");
  writer_.Note(InputKey(stream_), chain_.Encode());
  Publish();
  return absl::OkStatus();
}

void Feed::Stopped(const absl::Status& status) {
  if (status.ok()) return Publish();
  absl::MutexLock lock(&mutex_);
  view_.alarm = std::string(status.message());
}

void Feed::AtEnd() {
  if (chain_.condition() != events::Condition::kSuspect) return;
  absl::MutexLock lock(&mutex_);
  view_.alarm = GapAlarm(chain_);
}

void Feed::Publish() {
  absl::MutexLock lock(&mutex_);
  view_ = ViewOf(chain_);
}

FollowedView Feed::View() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

}  // namespace concordat::runtime
