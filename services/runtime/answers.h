// Answers run off the writer's thread, in batches and in order, so that a slow caller delays no
// decision.
#pragma once

#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "concordat/type/v1/command.pb.h"
#include "services/runtime/in_flight.h"
#include "storage/machine.h"

namespace concordat::runtime {

class Answers {
 public:
  // Of the writer of `stream` at `site`. The machine must outlive it.
  Answers(storage::Machine& machine, std::string stream, std::string site);
  // Runs whatever was given before.
  ~Answers();

  // The writer's thread; they run after Send().
  void Add(AnswerCallback done, absl::StatusOr<type::v1::Outcome> outcome);
  // Tells all who asked for these that they are accepted. What they hold is freed here too, off
  // the writer's thread.
  void Add(std::deque<InFlight> accepted);
  void Send();

 private:
  struct Answer {
    AnswerCallback done;
    absl::StatusOr<type::v1::Outcome> outcome;
    std::deque<InFlight> accepted;  // in place of the two above
  };
  void Loop();
  void Tell(InFlight& accepted) const;

  storage::Machine& machine_;
  const std::string stream_;
  const std::string site_;
  std::vector<Answer> batch_;
  absl::Mutex mutex_;
  std::vector<Answer> ready_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<storage::Thread> thread_;
};

}  // namespace concordat::runtime
