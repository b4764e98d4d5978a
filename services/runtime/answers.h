// Answers run off the writer's thread, in batches and in order, so that a slow caller delays no
// decision.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>

#include <memory>
#include <utility>
#include <vector>

#include "concordat/type/v1/command.pb.h"
#include "storage/machine.h"

namespace concordat::runtime {

using AnswerCallback = absl::AnyInvocable<void(absl::StatusOr<type::v1::Outcome>)>;

class Answers {
 public:
  using Answer = std::pair<AnswerCallback, absl::StatusOr<type::v1::Outcome>>;

  // The machine must outlive it.
  explicit Answers(storage::Machine& machine);
  // Runs whatever was given before.
  ~Answers();

  // The writer's thread; they run after Send().
  void Add(AnswerCallback done, absl::StatusOr<type::v1::Outcome> outcome);
  void Send();

 private:
  void Loop();

  storage::Machine& machine_;
  std::vector<Answer> batch_;
  absl::Mutex mutex_;
  std::vector<Answer> ready_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<storage::Thread> thread_;
};

}  // namespace concordat::runtime
