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

constexpr absl::Duration kNoteInterval = absl::Seconds(1);
// How often a writer with nothing to do looks whether somebody else wrote.
constexpr absl::Duration kLookInterval = absl::Seconds(5);
// Longer than this, and operators are told that the log does not answer.
constexpr absl::Duration kReportPatience = absl::Seconds(5);

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
      answers_(machine_, stream_, options_.site),
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
  while (started_ && !recover_ && accepted_.empty() && !in_flight_.empty() &&
         machine_.Now() < deadline) {
    TakeReports(appender_->Poll(absl::Milliseconds(50)));
    CommitAccepted();
  }
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }
  // What could not be stored is folded again from the log at the next start.
  const bool stored = accepted_.empty();
  RejectEverything(
      absl::UnavailableError("the service is stopping; whether the command was decided is unknown: "
                             "ask again with the same request id"));
  if (started_ && stored) Commit();
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
      refused = absl::UnavailableError(
          "the service is stopping, and appended nothing for this call: ask "
          "again later with the same request id");
    } else if (!service && queued_ >= options_.max_queued) {
      refused = absl::ResourceExhaustedError(
          fmt::format("{} commands are waiting already, and nothing was appended for this call: "
                      "ask again later with the same request id",
                      options_.max_queued));
    } else {
      if (!service) ++queued_;
      incoming_.push_back(std::move(submission));
      if (wake_at_ > 0 && incoming_.size() >= wake_at_) {
        wake_at_ = 0;
        appender_->Wake();
      }
    }
  }
  if (!refused.ok() && submission.done) submission.done(refused);
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
    const bool may_decide = MayDecide();
    bool more = !queue_.empty();
    {
      absl::MutexLock lock(&mutex_);
      more = more || !incoming_.empty();
      // A quarter of those that are on their way is worth it: each wait that is ended costs two
      // changes of threads, and a report ends it too.
      if (may_decide && !more) wake_at_ = std::max<size_t>(1, in_flight_.size() / 4);
    }
    auto reports = appender_->Poll(may_decide && more ? absl::ZeroDuration() : wait);
    {
      absl::MutexLock lock(&mutex_);
      wake_at_ = 0;  // or a wake would end the next wait, for nothing
    }
    storage::Failpoint(machine_, "before_reports");
    TakeReports(std::move(reports));
    storage::Failpoint(machine_, "after_reports");
  }
  // With nothing on its way there may be notes to store.
  CommitAccepted();
  WatchPatience();
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
  const bool late =
      !in_flight_.empty() && machine_.Now() - in_flight_.front().appended > kReportPatience;
  if (late == impatient_) return;
  impatient_ = late;
  absl::MutexLock lock(&mutex_);
  view_.alarm = late
                    ? fmt::format("{}: the log has not answered an append for more than {} seconds",
                                  stream_, absl::ToInt64Seconds(kReportPatience))
                    : "";
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
                             : std::string(report.status.message()),
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
    for (Pending& reaction : done.reactions) Issue(std::move(reaction));
  }
  answers_.Add(std::exchange(accepted_, {}));
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
  absl::Status status = fold_.Commit(std::move(notes));
  bool alarmed = false;
  while (!status.ok()) {
    if (!alarmed) spdlog::error("{}: {}", stream_, std::string(status.message()));
    alarmed = true;
    {
      absl::MutexLock lock(&mutex_);
      view_.alarm = std::string(status.message());
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
  spdlog::critical("{}: the writer stops: {}", stream_, std::string(status.message()));
  {
    absl::MutexLock lock(&mutex_);
    view_.state = WriterState::kStopped;
    view_.alarm = std::string(status.message());
  }
  RejectEverything(absl::UnavailableError(std::string(status.message())));
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
