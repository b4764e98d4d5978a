#include "services/runtime/answers.h"

namespace concordat::runtime {

type::v1::Outcome OutcomeOf(InFlight& in_flight, const std::string& stream,
                            const std::string& site) {
  type::v1::Outcome outcome;
  outcome.set_stream(stream);
  outcome.set_site(site);
  outcome.set_sequence(static_cast<uint64_t>(in_flight.sequence));
  outcome.set_link(in_flight.link.ToHex());
  outcome.set_request_id(in_flight.submission.command_id);  // the writer may look at it
  outcome.set_event_type(std::move(in_flight.event_type));
  outcome.set_subject(std::move(in_flight.subject));
  outcome.set_reason(std::move(in_flight.reason));
  outcome.set_detail(std::move(in_flight.detail));
  return outcome;
}

Answers::Answers(storage::Machine& machine, std::string stream, std::string site)
    : machine_(machine),
      stream_(std::move(stream)),
      site_(std::move(site)),
      thread_(machine.Start("answers", [this] { Loop(); })) {}

Answers::~Answers() {
  Send();
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_->Join();
}

void Answers::Add(AnswerCallback done, absl::StatusOr<type::v1::Outcome> outcome) {
  if (done) batch_.push_back({std::move(done), std::move(outcome), {}});
}

void Answers::Add(std::deque<InFlight> accepted) {
  if (accepted.empty()) return;
  batch_.push_back({nullptr, type::v1::Outcome(), std::move(accepted)});
}

void Answers::Send() {
  if (batch_.empty()) return;
  absl::MutexLock lock(&mutex_);
  if (ready_.empty()) {
    ready_ = std::exchange(batch_, {});
    return;
  }
  for (Answer& answer : batch_) ready_.push_back(std::move(answer));
  batch_.clear();
}

void Answers::Loop() {
  for (;;) {
    std::vector<Answer> batch;
    {
      absl::MutexLock lock(&mutex_);
      const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || !ready_.empty();
      };
      machine_.Await(mutex_, absl::Condition(&something), absl::InfiniteDuration());
      if (ready_.empty()) return;
      batch.swap(ready_);
    }
    storage::Failpoint(machine_, "before_answer");
    for (Answer& answer : batch) {
      if (answer.done) answer.done(std::move(answer.outcome));
      for (InFlight& accepted : answer.accepted) Tell(accepted);
    }
  }
}

void Answers::Tell(InFlight& accepted) const {
  if (!accepted.submission.done && accepted.waiting.empty()) return;
  type::v1::Outcome outcome = OutcomeOf(accepted, stream_, site_);
  for (AnswerCallback& waiting : accepted.waiting) {
    type::v1::Outcome again = outcome;
    again.set_repeated(true);
    if (waiting) waiting(std::move(again));
  }
  if (accepted.submission.done) accepted.submission.done(std::move(outcome));
}

}  // namespace concordat::runtime
