// Sending commands: the request id, the answer, the refusal, and waiting for what follows.
// Law: whoever has the request id can send the command again without doing it twice.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "concordat/type/v1/command.pb.h"
#include "services/cli/catalogue.h"
#include "services/cli/request.h"
#include "services/cli/session.h"

namespace concordat::cli {

// How a command is to be treated. REQUIRES: a request that has a field `submit`.
type::v1::Submit& SubmitOf(google::protobuf::Message& request);

// Sends the command, or one for each document of the file, in order until one fails. With `wait`,
// goes on until what the answer names is decided.
absl::Status RunVerb(Session& session, const Verb& verb, const Typed& typed, bool wait);

// What the person is told of a command that did not succeed.
absl::Status Explained(const Session& session, const Verb& verb, const absl::Status& status,
                       const type::v1::Outcome* refusal, const std::string& request_id);

// Whether a state, by its short name, is still on its way, has come to what was asked, or has not.
enum class Progress { kWaiting, kReached, kMissed };
Progress ProgressOf(const std::string& state);

}  // namespace concordat::cli
