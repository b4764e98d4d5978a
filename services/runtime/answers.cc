#include "services/runtime/answers.h"

namespace concordat::runtime {

Answers::Answers(storage::Machine& machine)
    : machine_(machine), thread_(machine.Start("answers", [this] { Loop(); })) {}

Answers::~Answers() {
  Send();
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_->Join();
}

void Answers::Add(AnswerCallback done, absl::StatusOr<type::v1::Outcome> outcome) {
  if (done) batch_.emplace_back(std::move(done), std::move(outcome));
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
    for (auto& [done, outcome] : batch) done(std::move(outcome));
  }
}

}  // namespace concordat::runtime
