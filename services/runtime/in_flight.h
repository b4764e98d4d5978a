// A command's way through a writer: submitted, then in flight, then answered.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "concordat/type/v1/command.pb.h"
#include "events/link.h"
#include "services/runtime/engine.h"
#include "services/runtime/fold.h"

namespace concordat::runtime {

using AnswerCallback = absl::AnyInvocable<void(absl::StatusOr<type::v1::Outcome>)>;

// A command on its way to a decision.
struct Submission {
  MessagePtr command;  // of the engine's command type
  std::string command_id;
  std::string actor;
  std::string correlation_id;  // empty: the command's id
  std::optional<Cause> cause;
  bool validate_only = false;
  // Past this time the command is not decided any more. Wall time.
  absl::Time deadline = absl::InfiniteFuture();
  // Called once, on the answering thread; by Submit() itself where nothing is taken. A refusal is
  // an OK outcome with a reason. DEADLINE_EXCEEDED: nothing was appended. ALREADY_EXISTS: the id
  // was used with another content. INVALID_ARGUMENT: its event would be too large; nothing was
  // appended. UNAVAILABLE: the outcome is unknown; the same id asked again gives it.
  AnswerCallback done;
  std::string digest;  // filled by Submit()
};

// A command whose event is on its way to the log, or there and not stored yet.
struct InFlight {
  uint64_t cookie = 0;
  bool settled = false;  // reported, or known not to be; of use in a recovery
  absl::Time appended;   // wall time
  Submission submission;
  events::Link link;
  events::Link parent;
  int64_t sequence = -1;
  absl::Time time;
  MessagePtr event;  // kept to be freed by the thread that answers; system events have none
  std::string event_type;
  std::string subject;
  std::string reason;  // of a refusal
  std::string detail;
  std::vector<Pending> reactions;
  std::vector<AnswerCallback> waiting;  // the same command, asked again meanwhile
};
// What its caller is told. Takes most strings out of it.
type::v1::Outcome OutcomeOf(InFlight& in_flight, const std::string& stream,
                            const std::string& site);

}  // namespace concordat::runtime
