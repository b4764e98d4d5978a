#include "services/runtime/writer.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "concordat/system/v1/events.pb.h"

namespace concordat::runtime {
namespace {

using google::protobuf::Message;

// A record of this size with its attributes is taken by every log and every mirror.
constexpr size_t kMaxEventBytes = 900'000;
constexpr absl::Duration kRetry = absl::Milliseconds(200);
constexpr absl::Duration kNoteInterval = absl::Seconds(1);
// How often a writer with nothing to do looks whether somebody else wrote.
constexpr absl::Duration kLookInterval = absl::Seconds(5);
// Longer than this, and operators are told that the log does not answer.
constexpr absl::Duration kPatience = absl::Seconds(5);

// In the unit of ce_time, so that what is decided is what is read back.
absl::Time Micros(absl::Time time) { return absl::FromUnixMicros(absl::ToUnixMicros(time)); }

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

}  // namespace

std::string_view Name(WriterState state) {
  switch (state) {
    case WriterState::kStarting:
      return "starting";
    case WriterState::kWriting:
      return "writing";
    case WriterState::kRecovering:
      return "recovering";
    case WriterState::kStopped:
      return "stopped";
  }
  return "";
}

std::string RandomId(storage::Machine& machine) {
  return fmt::format("{:016x}{:016x}", machine.Random(), machine.Random());
}

void ClearSubmit(Message& command) {
  const auto* reflection = command.GetReflection();
  const auto* set =
      reflection->GetOneofFieldDescriptor(command, command.GetDescriptor()->oneof_decl(0));
  if (set == nullptr) return;
  Message* request = reflection->MutableMessage(&command, set);
  const auto* submit = request->GetDescriptor()->FindFieldByName("submit");
  if (submit != nullptr) request->GetReflection()->ClearField(request, submit);
}

std::string CommandDigest(const Message& command) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream out(&stream);
    out.SetSerializationDeterministic(true);
    command.SerializeToCodedStream(&out);
  }
  return events::Sha256(bytes).ToHex();
}

Writer::Writer(Engine& engine, storage::Projection& projection, storage::Log& log, Clock& clock,
               WriterOptions options)
    : engine_(engine),
      projection_(projection),
      log_(log),
      clock_(clock),
      options_(std::move(options)),
      machine_(*options_.machine),
      stream_(projection.chain().stream()),
      source_(events::SourceOf(stream_)),
      writer_id_(RandomId(machine_)),
      fold_(engine, projection, options_.site),
      answers_(machine_) {
  Publish();
}

Writer::~Writer() { Stop(); }

void Writer::Run() {
  thread_ = machine_.Start("writer", [this] {
    while (!stopping_) Step(options_.timer_interval);
  });
}

void Writer::Stop() {
  if (stopping_.exchange(true)) return;
  {
    absl::MutexLock lock(&mutex_);
    if (appender_ != nullptr) appender_->Wake();
  }
  if (thread_ != nullptr) thread_->Join();
  // What is on its way gets a moment to be reported; its callers would have to ask again otherwise.
  const absl::Time deadline = machine_.Now() + absl::Seconds(2);
  while (started_ && !recover_ && !in_flight_.empty() && machine_.Now() < deadline) {
    TakeReports(appender_->Poll(absl::Milliseconds(50)));
    CommitAccepted();
  }
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  RejectEverything(
      absl::UnavailableError("the service is stopping; whether the command was decided is unknown: "
                             "ask again with the same request id"));
  if (started_ && accepted_.empty()) Commit();
  answers_.Send();
}

bool Writer::IsService(const std::string& actor) {
  return actor.compare(0, kSystemActor.size(), kSystemActor) == 0;
}

void Writer::Submit(Submission submission) {
  ClearSubmit(*submission.command);
  submission.digest = CommandDigest(*submission.command);
  if (submission.correlation_id.empty()) submission.correlation_id = submission.command_id;
  absl::Status refused;
  {
    absl::MutexLock lock(&mutex_);
    const bool service = IsService(submission.actor);
    if (closed_) {
      refused =
          absl::UnavailableError("the service is stopping; nothing was appended: ask again later");
    } else if (!service && queued_ >= options_.max_queued) {
      refused = absl::ResourceExhaustedError(
          fmt::format("{} commands are waiting already; nothing was appended: ask again later",
                      options_.max_queued));
    } else {
      if (!service) ++queued_;
      incoming_.push_back(std::move(submission));
    }
  }
  if (!refused.ok() && submission.done) submission.done(refused);
  // While an append is under way the writer waits for its report, and not for this command: those
  // that come meanwhile make the next group, and are decided, appended and stored together.
}

void Writer::Note(std::string key, std::string value) {
  absl::MutexLock lock(&mutex_);
  for (auto& note : notes_) {
    if (note.first == key) {
      note.second = std::move(value);
      return;
    }
  }
  notes_.emplace_back(std::move(key), std::move(value));
}

void Writer::Step(absl::Duration wait) {
  if (view_state() == WriterState::kStopped) {
    Pause(wait);
    RejectEverything(absl::UnavailableError(View().alarm));
    answers_.Send();
    return;
  }
  if (!started_ && !Start()) return;
  if (recover_ && !Recover(claim_)) return;
  TakeSubmissions(wait);
  LookForOthers();
  if (recover_) return;
  FireTimers();
  DecideGroup();
  storage::Failpoint(machine_, "after_decide");
  if (!in_flight_.empty()) {
    bool more = !queue_.empty();
    {
      absl::MutexLock lock(&mutex_);
      more = more || !incoming_.empty();
    }
    auto reports = appender_->Poll(more && MayDecide() ? absl::ZeroDuration() : wait);
    storage::Failpoint(machine_, "before_reports");
    TakeReports(std::move(reports));
    storage::Failpoint(machine_, "after_reports");
    CommitAccepted();
    WatchPatience();
  }
  const absl::Time now = machine_.Now();
  if (now >= next_flush_) {
    storage::Failpoint(machine_, "before_flush");
    if (next_flush_ != absl::InfinitePast()) projection_.Flush();
    storage::Failpoint(machine_, "after_flush");
    next_flush_ = now + options_.flush_interval;
  }
  answers_.Send();
}

void Writer::LookForOthers() {
  if (!queue_.empty() || !in_flight_.empty() || machine_.Steady() < next_look_) return;
  next_look_ = machine_.Steady() + kLookInterval;
  const int64_t next = projection_.chain().next_offset();
  if (!reader_->Assign(stream_, next).ok()) return;
  const absl::StatusOr<int64_t> end = reader_->End(stream_);
  reader_->Release();
  recover_ = end.ok() && *end > next;
}

WriterState Writer::view_state() const {
  absl::MutexLock lock(&mutex_);
  return view_.state;
}

void Writer::TakeSubmissions(absl::Duration wait) {
  absl::MutexLock lock(&mutex_);
  if (queue_.empty() && in_flight_.empty() && incoming_.empty()) {
    const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !incoming_.empty() || stopping_;
    };
    machine_.Await(mutex_, absl::Condition(&something), std::min(wait, options_.timer_interval));
  }
  for (Submission& submission : incoming_) queue_.push_back(std::move(submission));
  incoming_.clear();
}

void Writer::WatchPatience() {
  const bool late = !in_flight_.empty() && machine_.Now() - in_flight_.front().appended > kPatience;
  if (late == impatient_) return;
  impatient_ = late;
  absl::MutexLock lock(&mutex_);
  view_.alarm = late
                    ? fmt::format("{}: the log has not answered an append for more than {} seconds",
                                  stream_, absl::ToInt64Seconds(kPatience))
                    : "";
}

void Writer::FireTimers() {
  now_ = std::max(now_, Micros(clock_.Now()));
  const absl::Time wall = machine_.Now();
  if (wall < next_timers_ || !clock_.Alarm().empty()) return;
  next_timers_ = wall + options_.timer_interval;
  for (AnyIntent& intent : engine_.Due(std::max(now_, speculative_.time), options_.max_group)) {
    std::string id = fmt::format("due/{}/{}/{}", intent.kind, intent.subject, intent.deadline);
    if (!queued_timers_.insert(id).second) continue;
    Submission submission{.command = std::move(intent.command),
                          .command_id = std::move(id),
                          .actor = fmt::format("{}{}", kSystemActor, engine_.name()),
                          .correlation_id = std::move(intent.correlation_id),
                          .cause = std::nullopt,
                          .done = nullptr,
                          .digest = {}};
    submission.digest = CommandDigest(*submission.command);
    if (submission.correlation_id.empty()) submission.correlation_id = submission.command_id;
    queue_.push_back(std::move(submission));
  }
}

bool Writer::MayDecide() const {
  return in_flight_.empty() ||
         (in_flight_.size() < options_.max_in_flight &&
          group_ - in_flight_.front().group + 1 < options_.max_groups_in_flight);
}

void Writer::DecideGroup() {
  if (queue_.empty() || !MayDecide()) return;
  ++group_;
  decided_at_ = machine_.Now();
  // Never before the time at which a timer was found due: decided earlier, its command would be
  // refused.
  now_ = std::max(now_, Micros(clock_.Now()));
  size_t callers = 0;
  for (size_t n = 0;
       n < options_.max_group && !queue_.empty() && in_flight_.size() < options_.max_in_flight;
       ++n) {
    Submission submission = std::move(queue_.front());
    queue_.pop_front();
    if (!IsService(submission.actor)) ++callers;
    Decide(std::move(submission));
  }
  absl::MutexLock lock(&mutex_);
  queued_ -= std::min(queued_, callers);
}

void Writer::Decide(Submission submission) {
  if (IsService(submission.actor)) queued_timers_.erase(submission.command_id);
  if (submission.deadline < decided_at_) {
    answers_.Add(std::move(submission.done),
                 absl::DeadlineExceededError(
                     "the deadline passed before the command was decided; nothing was appended"));
    return;
  }
  if (AnswerFromMemory(submission)) return;
  Facts facts{.now = std::max(now_, speculative_.time),
              .site = options_.site,
              .command_id = submission.command_id,
              .subject = {},
              .actor = submission.actor,
              .correlation_id = submission.correlation_id,
              .cause = submission.cause};
  facts.subject = engine_.Subject(*submission.command, facts);
  Decision decision = engine_.Decide(*submission.command, facts);
  if (submission.validate_only) {
    type::v1::Outcome outcome;
    outcome.set_stream(stream_);
    outcome.set_site(options_.site);
    outcome.set_request_id(submission.command_id);
    outcome.set_event_type(decision.type);
    outcome.set_subject(facts.subject);
    outcome.set_reason(decision.reason);
    outcome.set_detail(decision.detail);
    outcome.set_validated_only(true);
    answers_.Add(std::move(submission.done), std::move(outcome));
    return;
  }
  Append(std::move(submission), std::move(decision), facts);
}

bool Writer::AnswerFromMemory(Submission& submission) {
  const auto answer = [&](const std::string& digest, auto&& when_same) {
    if (digest == submission.digest) {
      when_same();
      return;
    }
    answers_.Add(
        std::move(submission.done),
        absl::AlreadyExistsError(fmt::format(
            "request id {} was used before with another content; use a new id for a new command",
            submission.command_id)));
  };
  const auto in_flight = by_command_.find(CommandKey(submission.actor, submission.command_id));
  if (in_flight != by_command_.end() && !events::Has(events::Flaw::kDecidesRepeatedAgain)) {
    answer(in_flight->second->submission.digest,
           [&] { in_flight->second->waiting.push_back(std::move(submission.done)); });
    return true;
  }
  std::optional<Answered> known = fold_.Find(submission.actor, submission.command_id);
  if (!known) return false;
  if (events::Has(events::Flaw::kForgetsByWallClock) && decided_at_ < speculative_.time)
    return false;
  answer(known->digest, [&] {
    ++counters_.repeated;
    known->outcome.set_repeated(true);
    answers_.Add(std::move(submission.done), std::move(known->outcome));
  });
  return true;
}

std::string Writer::WriterName() const { return fmt::format("{}.{}", writer_id_, recovery_); }

events::Attributes Writer::NextAttributes(absl::Time now) const {
  events::Attributes attributes;
  attributes.source = source_;
  attributes.time = std::max(Micros(now), speculative_.time);
  attributes.sequence = static_cast<uint64_t>(speculative_.sequence + 1);
  attributes.parent = speculative_.link;
  attributes.writer = WriterName();
  return attributes;
}

void Writer::Append(Submission submission, Decision decision, const Facts& facts) {
  InFlight& in_flight = in_flight_.emplace_back();
  events::Attributes& attributes = in_flight.attributes;
  attributes = NextAttributes(facts.now);
  attributes.type = decision.type;
  attributes.subject = facts.subject;
  attributes.data_type = engine_.event_type()->full_name();
  attributes.command_id = facts.command_id;
  attributes.command_digest = submission.digest;
  attributes.correlation_id = facts.correlation_id;
  attributes.actor = facts.actor;
  if (facts.cause) attributes.causation_id = facts.cause->ToString();
  events::Record record = events::Seal(attributes, decision.event->SerializeAsString());
  if (record.data.size() > kMaxEventBytes) {
    // Appended, it would be refused by the log and decided again for ever.
    const std::string what = fmt::format(
        "the command's event would take {} bytes, expected at most {}; nothing was appended",
        record.data.size(), kMaxEventBytes);
    spdlog::warn("{}: {} of {}: {}", stream_, facts.command_id, facts.actor, what);
    answers_.Add(std::move(submission.done), absl::InvalidArgumentError(what));
    in_flight_.pop_back();
    return;
  }

  fold_.Evolve(decision.event.get(), attributes);
  in_flight.reactions = fold_.TakePending();
  speculative_ = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};

  type::v1::Outcome& outcome = in_flight.outcome;
  outcome.set_stream(stream_);
  outcome.set_site(options_.site);
  outcome.set_sequence(attributes.sequence);
  outcome.set_link(attributes.id.ToHex());
  outcome.set_request_id(facts.command_id);
  outcome.set_event_type(std::move(decision.type));
  outcome.set_subject(facts.subject);
  outcome.set_reason(std::move(decision.reason));
  outcome.set_detail(std::move(decision.detail));

  in_flight.cookie = next_cookie_++;
  in_flight.appended = decided_at_;
  in_flight.group = group_;
  in_flight.submission = std::move(submission);
  by_command_[CommandKey(facts.actor, facts.command_id)] = &in_flight;
  appender_->Append(std::move(record), in_flight.cookie);
  storage::Failpoint(machine_, "after_append");
  if (events::Has(events::Flaw::kAnswersBeforeAcceptance)) {
    answers_.Add(std::move(in_flight.submission.done), in_flight.outcome);
    in_flight.submission.done = nullptr;
  }
}

void Writer::TakeReports(std::vector<storage::AppendReport> reports) {
  for (storage::AppendReport& report : reports) {
    if (in_flight_.empty() || report.cookie < in_flight_.front().cookie) {
      // Of an append that a recovery has settled already: it says nothing about what is in flight
      // now.
      ++counters_.stale_reports;
      continue;
    }
    const int64_t next = projection_.chain().next_offset();
    if (!recover_ && report.status.ok() &&
        (report.offset == next || events::Has(events::Flaw::kTrustsAnyOffset)) &&
        report.cookie == in_flight_.front().cookie) {
      Accept(in_flight_.front(), next);
      in_flight_.pop_front();
      continue;
    }
    if (!recover_) {
      recover_ = true;
      spdlog::info(
          "{}: the append of sequence {} was reported {}, expected offset {}: reading the log",
          stream_, in_flight_.front().attributes.sequence,
          report.status.ok() ? fmt::format("at offset {}", report.offset)
                             : MessageOf(report.status),
          projection_.chain().next_offset());
    }
    if (!report.status.ok() || report.offset < 0) claim_ = true;
    const size_t index = report.cookie - in_flight_.front().cookie;
    if (index < in_flight_.size()) in_flight_[index].settled = true;
  }
}

void Writer::Accept(InFlight& in_flight, int64_t offset) {
  projection_.chain().Advance(in_flight.attributes, offset);
  by_command_.erase(CommandKey(in_flight.submission.actor, in_flight.submission.command_id));
  accepted_.push_back(std::move(in_flight));
  lost_races_ = 0;
}

void Writer::CommitAccepted() {
  bool notes = false;
  if (accepted_.empty()) {
    absl::MutexLock lock(&mutex_);
    notes = !notes_.empty() && machine_.Now() >= next_notes_;
    if (!notes) return;
  }
  storage::Failpoint(machine_, "before_commit");
  if (!Commit()) return;
  storage::Failpoint(machine_, "after_commit");
  for (InFlight& done : accepted_) {
    ++counters_.accepted;
    if (!done.outcome.reason().empty()) ++counters_.refused;
    for (AnswerCallback& waiting : done.waiting) {
      type::v1::Outcome again = done.outcome;
      again.set_repeated(true);
      answers_.Add(std::move(waiting), std::move(again));
    }
    answers_.Add(std::move(done.submission.done), std::move(done.outcome));
    for (Pending& reaction : done.reactions) Issue(std::move(reaction));
  }
  accepted_.clear();
  storage::Failpoint(machine_, "after_react");
  Publish();
}

bool Writer::Commit() {
  storage::Projection::Notes notes;
  {
    absl::MutexLock lock(&mutex_);
    notes.swap(notes_);
    next_notes_ = machine_.Now() + kNoteInterval;
  }
  ++counters_.commits;
  const int64_t head = projection_.chain().head().sequence;
  absl::Status status =
      projection_.Commit(static_cast<uint64_t>(std::max<int64_t>(head, 0)), notes);
  bool alarmed = false;
  while (!status.ok()) {
    if (!alarmed) spdlog::error("{}: {}", stream_, MessageOf(status));
    alarmed = true;
    {
      absl::MutexLock lock(&mutex_);
      view_.alarm = MessageOf(status);
    }
    if (!Pause(kRetry)) return false;
    status = projection_.RetryCommit();
  }
  if (alarmed) {
    absl::MutexLock lock(&mutex_);
    view_.alarm.clear();
  }
  return true;
}

void Writer::Issue(Pending pending) {
  Submission submission;
  submission.command.reset(engine_.command_prototype().New());
  if (!submission.command->ParseFromString(pending.row.command())) {
    StopWith(absl::DataLossError(
        fmt::format("the stored command {} cannot be read", pending.command_id)));
    return;
  }
  submission.command_id = std::move(pending.command_id);
  submission.actor = fmt::format("{}{}", kSystemActor, engine_.name());
  submission.correlation_id = pending.row.correlation_id();
  Cause cause{pending.row.cause_stream(), pending.row.cause_sequence(), {}};
  const std::string& link = pending.row.cause_link();
  if (link.size() == 32) std::copy(link.begin(), link.end(), cause.link.bytes.begin());
  submission.cause = std::move(cause);
  submission.digest = CommandDigest(*submission.command);
  queue_.push_back(std::move(submission));
  storage::Failpoint(machine_, "after_issue");
}

bool Writer::Pause(absl::Duration wait) {
  absl::MutexLock lock(&mutex_);
  const auto stop = [this] { return stopping_.load(); };
  machine_.Await(mutex_, absl::Condition(&stop), wait);
  return !stopping_;
}

void Writer::StopWith(const absl::Status& status) {
  spdlog::critical("{}: the writer stops: {}", stream_, MessageOf(status));
  {
    absl::MutexLock lock(&mutex_);
    view_.state = WriterState::kStopped;
    view_.alarm = MessageOf(status);
  }
  RejectEverything(absl::UnavailableError(MessageOf(status)));
  answers_.Send();
}

void Writer::RejectEverything(const absl::Status& status) {
  for (std::deque<InFlight>* flights : {&accepted_, &in_flight_}) {
    for (InFlight& in_flight : *flights) {
      answers_.Add(std::move(in_flight.submission.done), status);
      for (AnswerCallback& waiting : in_flight.waiting) answers_.Add(std::move(waiting), status);
    }
    flights->clear();
  }
  by_command_.clear();
  for (Submission& submission : queue_) answers_.Add(std::move(submission.done), status);
  queue_.clear();
  absl::MutexLock lock(&mutex_);
  for (Submission& submission : incoming_) answers_.Add(std::move(submission.done), status);
  incoming_.clear();
  queued_ = 0;
}

void Writer::Publish() {
  const events::Chain& chain = projection_.chain();
  absl::MutexLock lock(&mutex_);
  view_.head = chain.head();
  view_.condition = chain.condition();
  if (!chain.alarm().empty()) view_.alarm = chain.alarm();
  if (!chain.voids().empty()) view_.voids = chain.voids();
}

StreamView Writer::View() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

absl::Status Writer::WaitUntilWriting(absl::Duration wait) const {
  absl::MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return view_.state == WriterState::kWriting || view_.state == WriterState::kStopped;
  };
  if (!machine_.Await(mutex_, absl::Condition(&settled), wait)) {
    return absl::DeadlineExceededError(
        fmt::format("the writer of {} is not ready: {}", stream_, view_.alarm));
  }
  return view_.state == WriterState::kWriting ? absl::OkStatus()
                                              : absl::FailedPreconditionError(view_.alarm);
}

bool Writer::WaitFor(int64_t sequence, absl::Duration wait) const {
  absl::MutexLock lock(&mutex_);
  const auto folded = [this, sequence]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return view_.head.sequence >= sequence;
  };
  return machine_.Await(mutex_, absl::Condition(&folded), wait);
}

}  // namespace concordat::runtime
