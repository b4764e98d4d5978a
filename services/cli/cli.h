// The command line `concordat`: from words to an exit code.
// Law: stdout carries data, stderr carries messages, and every failure ends with the command to
// try.
#pragma once

#include <string>
#include <vector>

#include "services/cli/errors.h"
#include "services/cli/session.h"

namespace concordat::cli {

// Runs one command. `arguments` are the words after the program's name.
Exit Run(const std::vector<std::string>& arguments, Console console);

}  // namespace concordat::cli
