// How a command fails: a status whose code is the exit code's meaning, with the next command to
// try. Law: every message says what was found and what was expected, and its last line is `try:
// concordat …`.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>

namespace concordat::cli {

// What the shell gets. The numbers are part of the command line's contract.
enum class Exit : int {
  kOk = 0,
  kError = 1,
  kUsage = 2,        // INVALID_ARGUMENT
  kNotFound = 3,     // NOT_FOUND
  kRefused = 4,      // FAILED_PRECONDITION, PERMISSION_DENIED, UNAUTHENTICATED
  kConflict = 5,     // ALREADY_EXISTS, ABORTED
  kUnavailable = 6,  // UNAVAILABLE, RESOURCE_EXHAUSTED; also a site that is behind
  kDifferent = 7,    // DATA_LOSS
  kTimeout = 124,    // DEADLINE_EXCEEDED
};

// The exit code that a status stands for.
Exit ExitOf(const absl::Status& status);

// The status with the command to try next, without the leading `concordat `. Replaces an earlier
// one.
absl::Status WithNext(absl::Status status, std::string_view next);

// The command to try next; `--help` where none was given.
std::string NextOf(const absl::Status& status);

}  // namespace concordat::cli
