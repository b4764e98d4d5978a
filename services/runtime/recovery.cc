// The half of the writer that reads: start, recovery after a lost race or an unknown outcome, and
// the claim that voids whatever an earlier writer still has on its way.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "concordat/system/v1/events.pb.h"
#include "services/runtime/writer.h"

namespace concordat::runtime {
namespace {

constexpr absl::Duration kProgressInterval = absl::Seconds(2);
// How often a log is asked for its end before it is said to have lost its events.
constexpr int kAskedForTheEnd = 3;
// Two live writers back off from each other, up to this.
constexpr int kMaxBackoffMillis = 50;

absl::Status LogLost(const std::string& stream, const events::Head& head, std::string_view found) {
  return absl::DataLossError(fmt::format(
      "{}: the projection holds the event at sequence {} (offset {}, link {}), which the log no "
      "longer holds: {}. "
      "The log has lost acknowledged history; nothing is written until it is repaired: see "
      "docs/runbooks/ConcordatLogLost.md",
      stream, head.sequence, head.offset, head.link.ToHex(), found));
}

}  // namespace

bool IsPassing(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) ||
         absl::IsDeadlineExceeded(status);
}

bool Writer::Start() {
  if (appender_ == nullptr) {
    auto appender = log_.NewAppender(stream_);
    reader_ = log_.NewReader();
    absl::MutexLock lock(&mutex_);
    appender_ = std::move(appender);
  }
  const auto passing = [this](const absl::Status& status) {
    if (IsPassing(status)) {
      absl::MutexLock lock(&mutex_);
      view_.alarm = std::string(status.message());
    } else {
      StopWith(status);
    }
    Pause(kRetry);
    return false;
  };
  const absl::Status checked = log_.Check(stream_, options_.demands);
  if (!checked.ok()) return passing(checked);
  const absl::Status agreed = Diverged(projection_);
  if (!agreed.ok()) {
    {
      absl::MutexLock lock(&mutex_);
      view_.diverged = true;
    }
    return passing(agreed);
  }
  absl::Status held = CheckHead();
  if (absl::IsDataLoss(held) && options_.home_check != nullptr) held = RepairLog(held);
  if (!held.ok()) return passing(held);
  attest_.Load(projection_);
  if (!index_loaded_) engine_.LoadIndex(projection_);
  index_loaded_ = true;
  if (!Recover(true)) return false;
  started_ = true;
  {
    absl::MutexLock lock(&mutex_);
    allowed_start_.reset();  // held for one start
  }
  if (events::Has(events::Flaw::kLosesReactions)) return true;
  for (Pending& pending : fold_.StoredPending()) Issue(std::move(pending));
  storage::Failpoint(machine_, "after_start");
  return true;
}

absl::Status Writer::CheckHead() {
  const events::Chain& chain = projection_.chain();
  if (chain.head().sequence < 0) return absl::OkStatus();
  absl::Status assigned = reader_->Assign(stream_, chain.head().offset);
  if (absl::IsOutOfRange(assigned))
    return LogLost(stream_, chain.head(), std::string(assigned.message()));
  absl::StatusOr<int64_t> end = reader_->End(stream_);
  // A broker that leads a topic, or has made it anew, only just now may tell less for a moment.
  for (int asked = 1; asked < kAskedForTheEnd && end.ok() && *end < chain.next_offset(); ++asked) {
    if (!Pause(kRetry)) break;
    end = reader_->End(stream_);
  }
  if (!end.ok()) return end.status();
  if (*end < chain.next_offset()) {
    return LogLost(
        stream_, chain.head(),
        fmt::format("it ends at offset {}, expected at least {}", *end, chain.next_offset()));
  }
  const absl::Time deadline = machine_.Now() + absl::Seconds(10);
  while (machine_.Now() < deadline && !stopping_) {
    const auto records = reader_->Read(1, absl::Milliseconds(100));
    if (absl::IsOutOfRange(records.status()))
      return LogLost(stream_, chain.head(), "its offset is out of range");
    if (!records.ok()) return records.status();
    if (records->empty()) continue;
    const std::string_view found = events::HeaderValue(records->front().record, "ce_id");
    if (records->front().offset != chain.head().offset || found != chain.head().link.ToHex()) {
      return LogLost(stream_, chain.head(),
                     fmt::format("at offset {} stands {}", records->front().offset, found));
    }
    return absl::OkStatus();
  }
  return absl::UnavailableError(fmt::format("{}: the log does not answer", stream_));
}

void Writer::Rename() { writer_name_ = fmt::format("{}.{}", writer_id_, ++recovery_); }

bool Writer::Recover(bool claim) {
  Rename();
  ++counters_.recoveries;
  {
    absl::MutexLock lock(&mutex_);
    if (view_.state != WriterState::kStarting) view_.state = WriterState::kRecovering;
  }
  storage::Failpoint(machine_, "before_recovery");
  if (!claim && !Settle()) claim = true;
  if (events::Has(events::Flaw::kNeverVoids) && started_) claim = false;
  if (claim) appender_->Reset();
  fold_.Rollback();
  // A start that is tried again may find the log filled anew.
  if (!started_) projection_.chain().Rewind();
  seen_.clear();
  own_.clear();
  for (const InFlight& in_flight : in_flight_) own_.insert(in_flight.link);

  recovered_.clear();
  storage::Failpoint(machine_, "before_readback");
  // A log that was cut short meanwhile, or filled again, is not read on from its middle.
  const absl::Status held = started_ ? CheckHead() : absl::OkStatus();
  if (!held.ok()) {
    if (IsPassing(held)) {
      Alarm(std::string(held.message()));
      Pause(kRetry);
    } else {
      StopWith(held);
    }
    return false;
  }
  bool read = ReadToEnd();
  storage::Failpoint(machine_, "after_readback");
  if (read && !started_ && options_.home_check != nullptr &&
      !events::Has(events::Flaw::kSkipsHomeCheck)) {
    read = CheckHome(projection_.chain(), [this] { return ReadToEnd(); });
  }
  if (read && claim) read = Claim();
  reader_->Release();
  if (!read) return false;
  fold_.TakePending();
  storage::Failpoint(machine_, "before_resolve");
  Resolve();
  if (started_) {
    for (Pending& pending : recovered_) Issue(std::move(pending));
  }
  recovered_.clear();
  recover_ = false;
  claim_ = false;
  speculative_ = projection_.chain().head();
  {
    absl::MutexLock lock(&mutex_);
    view_.state = WriterState::kWriting;
    view_.alarm.clear();
  }
  Publish();
  answers_.Send();
  if (!claim && started_) {
    // Somebody else writes too: give way for longer each time the race is lost.
    lost_races_ = std::min(lost_races_ + 1, 5);
    Pause(absl::Milliseconds(machine_.Random() %
                             static_cast<uint64_t>(std::min(1 << lost_races_, kMaxBackoffMillis))));
  }
  return true;
}

bool Writer::Settle() {
  const absl::Time deadline = machine_.Now() + options_.report_timeout;
  const auto unsettled = [this] {
    return std::any_of(in_flight_.begin(), in_flight_.end(),
                       [](const InFlight& f) { return !f.settled; });
  };
  while (unsettled()) {
    if (claim_ || stopping_ || machine_.Now() > deadline) return false;
    TakeReports(appender_->Poll(absl::Milliseconds(100)));
  }
  return !claim_;
}

bool Writer::ReadToEnd() {
  for (;;) {
    const absl::Status assigned = reader_->Assign(stream_, projection_.chain().next_offset());
    if (assigned.ok()) {
      const absl::StatusOr<int64_t> end = reader_->End(stream_);
      if (end.ok()) return ReadTo(*end);
      absl::MutexLock lock(&mutex_);
      view_.alarm = std::string(end.status().message());
    } else if (!IsPassing(assigned)) {
      StopWith(assigned);
      return false;
    }
    if (!Pause(kRetry)) return false;
  }
}

bool Writer::ReadTo(int64_t end) {
  Deliveries deliveries(*reader_, machine_);
  const bool read = FoldTo(deliveries, end);
  deliveries.Stop();
  return read;
}

bool Writer::FoldTo(Deliveries& deliveries, int64_t end) {
  const absl::Time begun = machine_.Now();
  const int64_t from = projection_.chain().next_offset();
  absl::Time told = begun;
  while (projection_.chain().next_offset() < end) {
    if (stopping_) return false;
    const auto read = deliveries.Next(absl::Milliseconds(100), end);
    if (!read.ok()) {
      if (IsPassing(read.status())) {
        if (!Pause(kRetry)) return false;
        continue;
      }
      StopWith(absl::IsOutOfRange(read.status())
                   ? LogLost(stream_, projection_.chain().head(), "its offset is out of range")
                   : read.status());
      return false;
    }
    if (read->empty()) continue;
    for (const Delivery& delivery : *read) {
      if (!Take(delivery)) return false;
    }
    for (Pending& pending : fold_.TakePending()) recovered_.push_back(std::move(pending));
    // Before the start is over, the rows tell which of these are still open.
    if (!started_) recovered_.clear();
    if (!Commit()) return false;
    Publish();
    if (machine_.Now() - told < kProgressInterval) continue;
    told = machine_.Now();
    const int64_t done = projection_.chain().next_offset() - from;
    const double rate = static_cast<double>(done) / absl::ToDoubleSeconds(told - begun);
    spdlog::info("{}: {} of {} records folded, {:.0f} a second", stream_, done, end - from, rate);
    ShowProgress(done, end - from, rate);
  }
  ShowProgress(0, 0, 0);
  return true;
}

bool Writer::Take(const Delivery& delivery) {
  const absl::StatusOr<events::Outcome> outcome = fold_.Offer(delivery);
  if (!outcome.ok()) {
    StopWith(outcome.status());
    return false;
  }
  if (*outcome == events::Outcome::kDamaged) {
    StopWith(absl::DataLossError(projection_.chain().alarm()));
    return false;
  }
  if (*outcome != events::Outcome::kAccepted) {
    ++counters_.voids;
    return true;
  }
  const events::Attributes& attributes = delivery.attributes();
  if (attributes.writer.compare(0, writer_id_.size(), writer_id_) == 0 &&
      !own_.contains(attributes.id)) {
    StopWith(absl::FailedPreconditionError(
        fmt::format("{}: the event at sequence {} is in this writer's name, which did not write "
                    "it: somebody else holds its "
                    "credentials",
                    stream_, attributes.sequence)));
    return false;
  }
  // Of the others nobody asks.
  if (own_.contains(attributes.id)) seen_.insert(attributes.id);
  return CheckAttested(attributes, delivery.record().data);
}

void Writer::ShowProgress(int64_t folded, int64_t of, double rate) {
  absl::MutexLock lock(&mutex_);
  view_.folded_records = folded;
  view_.records_to_fold = of;
  view_.records_per_second = rate;
}

bool Writer::Claim() {
  for (;;) {
    speculative_ = projection_.chain().head();
    events::Link link;
    int64_t offset = -1;
    bool appended = false;
    const bool fresh = speculative_.sequence < 0;
    if (fresh) {
      system::v1::StreamOpened opened;
      opened.set_stream(stream_);
      opened.set_site(options_.site);
      opened.set_service(std::string(engine_.name()));
      appended = AppendSystem(opened, &link, &offset);
    } else {
      system::v1::WriterStarted claim;
      claim.set_writer_id(writer_id_);
      claim.set_recovery(recovery_);
      claim.set_release(options_.release);
      if (unchecked_) *claim.mutable_unchecked() = *unchecked_;
      appended = AppendSystem(claim, &link, &offset);
    }
    if (stopping_) return false;
    if (!appended) {
      // Neither acknowledged nor refused for sure: whatever becomes of it, its link is never used
      // again.
      appender_->Reset();
      Rename();
      if (!Pause(kRetry)) return false;
    }
    if (!ReadToEnd() || !(offset < 0 || ReadTo(offset + 1))) return false;
    if (appended && !fresh && seen_.contains(link)) {
      unchecked_.reset();  // was said of this start
      return true;
    }
  }
}

events::Record Writer::SealSystem(const google::protobuf::Message& event, absl::Time now,
                                  events::Attributes* attributes) const {
  SetPosition(*attributes, now);
  attributes->type = event.GetDescriptor()->full_name();
  attributes->data_type = attributes->type;
  attributes->subject = stream_;
  attributes->command_id = fmt::format("{}/{}", writer_name_, attributes->sequence);
  attributes->correlation_id = attributes->command_id;
  attributes->actor = fmt::format("{}{}", kSystemActor, engine_.name());
  return events::Seal(*attributes, event.SerializeAsString());
}

bool Writer::AppendSystem(const google::protobuf::Message& event, events::Link* link,
                          int64_t* offset) {
  events::Attributes attributes;
  const events::Record record = SealSystem(event, clock_.Now(), &attributes);
  *link = attributes.id;
  own_.insert(attributes.id);
  const uint64_t cookie = next_cookie_++;
  storage::Failpoint(machine_, "before_claim");
  appender_->Append(record, cookie);
  const absl::Time patience = machine_.Now() + absl::Seconds(5);
  while (!stopping_) {
    for (const storage::AppendReport& report : appender_->Poll(absl::Milliseconds(100))) {
      if (report.cookie != cookie) {
        ++counters_.stale_reports;
        continue;
      }
      storage::Failpoint(machine_, "after_claim");
      *offset = report.offset;
      if (!report.status.ok()) {
        spdlog::warn("{}: {}", stream_, std::string(report.status.message()));
        absl::MutexLock lock(&mutex_);
        view_.alarm = std::string(report.status.message());
      }
      return report.status.ok();
    }
    if (machine_.Now() > patience) {
      absl::MutexLock lock(&mutex_);
      view_.alarm =
          fmt::format("{}: the log has not answered an append for more than 5 seconds", stream_);
    }
  }
  return false;
}

void Writer::Resolve() {
  std::deque<InFlight> unresolved;
  unresolved.swap(in_flight_);
  by_command_.clear();
  std::deque<InFlight> accepted;
  std::deque<Submission> to_decide;
  for (InFlight& in_flight : unresolved) {
    if (seen_.contains(in_flight.link) || events::Has(events::Flaw::kAnswersLostRaces)) {
      ++counters_.accepted;
      if (!in_flight.reason.empty()) ++counters_.refused;
      accepted.push_back(std::move(in_flight));
      continue;
    }
    // An attestation that was lost is made again when the next one is due.
    if (in_flight.submission.command == nullptr) continue;
    Submission submission = std::move(in_flight.submission);
    if (!in_flight.waiting.empty() && !events::Has(events::Flaw::kForgetsWaiting)) {
      submission.done = [first = std::move(submission.done), rest = std::move(in_flight.waiting)](
                            absl::StatusOr<type::v1::Outcome> outcome) mutable {
        if (first) first(outcome);
        if (outcome.ok()) outcome->set_repeated(true);
        for (AnswerCallback& waiting : rest) {
          if (waiting) waiting(outcome);
        }
      };
    }
    to_decide.push_back(std::move(submission));
  }
  answers_.Add(std::move(accepted));
  {
    absl::MutexLock lock(&mutex_);
    queued_ += static_cast<size_t>(
        std::count_if(to_decide.begin(), to_decide.end(),
                      [](const Submission& submission) { return !IsService(submission.actor); }));
  }
  queue_.insert(queue_.begin(), std::make_move_iterator(to_decide.begin()),
                std::make_move_iterator(to_decide.end()));
}

}  // namespace concordat::runtime
