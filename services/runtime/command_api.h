// The door for commands: every method of a service whose request is one of the cases of its
// Command.
#pragma once

#include <functional>
#include <string>

#include "services/runtime/engine.h"
#include "services/runtime/server.h"
#include "services/runtime/writer.h"

namespace concordat::runtime {

// What a call came to: `accepted`, `refused`, `repeated`, `validated`, or the status code's name.
using CallObserver = std::function<void(const std::string& command, const std::string& outcome,
                                        absl::Duration took)>;

// Adds `/concordat.<service>.v1.<Service>Service/<Method>` for every method of the service. Neither
// engine nor writer is owned; both must outlive the server.
void AddCommands(Server& server, const Engine& engine, Writer& writer, CallObserver observe);

}  // namespace concordat::runtime
