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
      answers_(machine_),
      attest_(options_.attest) {
  facts_.site = options_.site;
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
  attest_waits_ = AttestWhenDue();
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
  // Less than before says that the log was cut, which recovery finds out.
  const absl::Status assigned = reader_->Assign(stream_, next);
  const absl::StatusOr<int64_t> end =
      assigned.ok() ? reader_->End(stream_) : absl::StatusOr<int64_t>(assigned);
  reader_->Release();
  recover_ = absl::IsOutOfRange(assigned) || (end.ok() && *end != next);
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
  if (queue_.empty()) {
    queue_.swap(incoming_);
    return;
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
  if (attest_waits_) return false;
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
  facts_.now = std::max(now_, speculative_.time);
  facts_.command_id = submission.command_id;
  facts_.actor = submission.actor;
  facts_.correlation_id = submission.correlation_id;
  facts_.cause = submission.cause;
  facts_.subject.clear();
  facts_.subject = engine_.Subject(*submission.command, facts_);
  Decision decision = engine_.Decide(*submission.command, facts_);
  if (submission.validate_only) {
    type::v1::Outcome outcome;
    outcome.set_stream(stream_);
    outcome.set_site(options_.site);
    outcome.set_request_id(submission.command_id);
    outcome.set_event_type(decision.type);
    outcome.set_subject(facts_.subject);
    outcome.set_reason(decision.reason);
    outcome.set_detail(decision.detail);
    outcome.set_validated_only(true);
    answers_.Add(std::move(submission.done), std::move(outcome));
    return;
  }
  Append(std::move(submission), std::move(decision));
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
  const auto in_flight = by_command_.find(KeyOf(submission));
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

void Writer::SetPosition(events::Attributes& attributes, absl::Time now) const {
  attributes.source = source_;
  attributes.time = std::max(Micros(now), speculative_.time);
  attributes.sequence = static_cast<uint64_t>(speculative_.sequence + 1);
  attributes.parent = speculative_.link;
  attributes.writer = writer_name_;
}

void Writer::Append(Submission submission, Decision decision) {
  events::Attributes& attributes = attributes_;
  SetPosition(attributes, facts_.now);
  attributes.type = decision.type;
  attributes.subject = facts_.subject;
  attributes.data_type = engine_.event_type()->full_name();
  attributes.command_id = facts_.command_id;
  attributes.command_digest = submission.digest;
  attributes.correlation_id = facts_.correlation_id;
  attributes.actor = facts_.actor;
  attributes.causation_id.clear();
  if (facts_.cause) attributes.causation_id = facts_.cause->ToString();
  events::Record record = events::Seal(attributes, decision.event->SerializeAsString());
  if (record.data.size() > kMaxEventBytes) {
    // Appended, it would be refused by the log and decided again for ever.
    const std::string what = fmt::format(
        "the command's event would take {} bytes, expected at most {}; nothing was appended",
        record.data.size(), kMaxEventBytes);
    spdlog::warn("{}: {} of {}: {}", stream_, facts_.command_id, facts_.actor, what);
    answers_.Add(std::move(submission.done), absl::InvalidArgumentError(what));
    return;
  }

  fold_.Evolve(decision.event.get(), attributes);
  speculative_ = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};
  InFlight& in_flight = in_flight_.emplace_back();
  in_flight.cookie = next_cookie_++;
  in_flight.group = group_;
  in_flight.appended = decided_at_;
  in_flight.submission = std::move(submission);
  in_flight.link = attributes.id;
  in_flight.parent = attributes.parent;
  in_flight.sequence = speculative_.sequence;
  in_flight.time = attributes.time;
  in_flight.event_type = std::move(decision.type);
  in_flight.subject = std::move(facts_.subject);
  in_flight.reason = std::move(decision.reason);
  in_flight.detail = std::move(decision.detail);
  in_flight.reactions = fold_.TakePending();
  by_command_.emplace(KeyOf(in_flight.submission), &in_flight);
  appender_->Append(std::move(record), in_flight.cookie);
  storage::Failpoint(machine_, "after_append");
  if (events::Has(events::Flaw::kAnswersBeforeAcceptance))
    answers_.Add(std::exchange(in_flight.submission.done, nullptr), OutcomeOf(in_flight));
}

type::v1::Outcome Writer::OutcomeOf(InFlight& in_flight) const {
  type::v1::Outcome outcome;
  outcome.set_stream(stream_);
  outcome.set_site(options_.site);
  outcome.set_sequence(static_cast<uint64_t>(in_flight.sequence));
  outcome.set_link(in_flight.link.ToHex());
  outcome.set_request_id(in_flight.submission.command_id);  // by_command_ may look at it
  outcome.set_event_type(std::move(in_flight.event_type));
  outcome.set_subject(std::move(in_flight.subject));
  outcome.set_reason(std::move(in_flight.reason));
  outcome.set_detail(std::move(in_flight.detail));
  return outcome;
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
          stream_, in_flight_.front().sequence,
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
  projection_.chain().Advance(in_flight.parent,
                              {in_flight.link, in_flight.sequence, offset, in_flight.time});
  attest_.Saw(in_flight.event_type, in_flight.sequence, in_flight.time);
  by_command_.erase(KeyOf(in_flight.submission));
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
    if (!done.reason.empty()) ++counters_.refused;
    Answer(done);
    for (Pending& reaction : done.reactions) Issue(std::move(reaction));
  }
  accepted_.clear();
  storage::Failpoint(machine_, "after_react");
  Publish();
}

void Writer::Answer(InFlight& accepted) {
  type::v1::Outcome outcome = OutcomeOf(accepted);
  for (AnswerCallback& waiting : accepted.waiting) {
    type::v1::Outcome again = outcome;
    again.set_repeated(true);
    answers_.Add(std::move(waiting), std::move(again));
  }
  answers_.Add(std::move(accepted.submission.done), std::move(outcome));
}

bool Writer::Commit() {
  storage::Projection::Notes notes;
  {
    absl::MutexLock lock(&mutex_);
    notes.swap(notes_);
    next_notes_ = machine_.Now() + kNoteInterval;
  }
  ++counters_.commits;
  absl::Status status = fold_.Commit(std::move(notes));
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
  if (started_ && options_.home_check != nullptr)
    options_.home_check->Mark(projection_.chain().head());
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
  submission.cause = Cause{pending.row.cause_stream(), pending.row.cause_sequence(),
                           events::Link::FromBytes(pending.row.cause_link())};
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
