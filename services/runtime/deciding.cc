// A writer decides: from a command to an event that is linked, evolved and on its way to the log.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "services/runtime/writer.h"

namespace concordat::runtime {
namespace {

// A record of this size with its attributes is taken by every log and every mirror.
constexpr size_t kMaxEventBytes = 900'000;

// In the unit of ce_time, so that what is decided is what is read back.
absl::Time Micros(absl::Time time) { return absl::FromUnixMicros(absl::ToUnixMicros(time)); }

}  // namespace

void Writer::FireTimers() {
  now_ = std::max(now_, Micros(clock_.Now()));
  const absl::Time wall = machine_.Now();
  if (wall < next_timers_ || !clock_.Alarm().empty()) return;
  next_timers_ = wall + options_.timer_interval;
  for (AnyIntent& intent : engine_.Due(std::max(now_, speculative_.time), options_.max_waiting)) {
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
  return !attest_waits_ && in_flight_.size() < options_.max_in_flight &&
         appender_->Waiting() < options_.max_waiting;
}

void Writer::DecideGroup() {
  if (queue_.empty() || !MayDecide()) return;
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
  // First: what was sent before may have been decided then.
  if (AnswerFromMemory(submission)) return;
  if (submission.deadline < decided_at_) {
    answers_.Add(std::move(submission.done),
                 absl::DeadlineExceededError(
                     "the deadline passed before the command was decided; nothing was appended"));
    return;
  }
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
    // A caller is told; nobody hears what a service's command is answered.
    if (IsService(facts_.actor)) Alarm(fmt::format("{}: {}: {}", stream_, facts_.command_id, what));
    answers_.Add(std::move(submission.done), absl::InvalidArgumentError(what));
    return;
  }

  fold_.Evolve(decision.event.get(), attributes);
  speculative_ = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};
  InFlight& in_flight = in_flight_.emplace_back();
  in_flight.cookie = next_cookie_++;
  in_flight.appended = decided_at_;
  in_flight.submission = std::move(submission);
  in_flight.link = attributes.id;
  in_flight.parent = attributes.parent;
  in_flight.sequence = speculative_.sequence;
  in_flight.time = attributes.time;
  in_flight.event = std::move(decision.event);
  in_flight.event_type = std::move(decision.type);
  in_flight.subject = std::move(facts_.subject);
  in_flight.reason = std::move(decision.reason);
  in_flight.detail = std::move(decision.detail);
  in_flight.reactions = fold_.TakePending();
  by_command_.emplace(KeyOf(in_flight.submission), &in_flight);
  appender_->Append(std::move(record), in_flight.cookie);
  storage::Failpoint(machine_, "after_append");
  if (events::Has(events::Flaw::kAnswersBeforeAcceptance))
    answers_.Add(std::exchange(in_flight.submission.done, nullptr),
                 OutcomeOf(in_flight, stream_, options_.site));
}

}  // namespace concordat::runtime
