// Completion: a script for each shell, which asks `concordat __complete` for the words.
#pragma once

#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "services/cli/session.h"

namespace concordat::cli {

// The script for bash, zsh or fish. INVALID_ARGUMENT for another shell.
absl::StatusOr<std::string> CompletionScript(const std::string& shell);

// The words that may stand where the last of `words` (which may be empty) stands. `tree` is what
// the command line knows: for each path of words, such as `order server`, what may follow it. Names
// of resources are asked of the site; nothing is said where it does not answer.
std::vector<std::string> Complete(Session& session,
                                  const std::map<std::string, std::vector<std::string>>& tree,
                                  std::vector<std::string> words);

}  // namespace concordat::cli
