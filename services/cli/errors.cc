#include "services/cli/errors.h"

namespace concordat::cli {
namespace {
constexpr char kNextPayload[] = "concordat.cli/next";
}

Exit ExitOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return Exit::kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return Exit::kUsage;
    case absl::StatusCode::kNotFound:
      return Exit::kNotFound;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return Exit::kRefused;
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kAborted:
      return Exit::kConflict;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
      return Exit::kUnavailable;
    case absl::StatusCode::kDataLoss:
      return Exit::kDifferent;
    case absl::StatusCode::kDeadlineExceeded:
      return Exit::kTimeout;
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kInternal:
      return Exit::kError;
    default:
      return Exit::kError;  // Abseil reserves values that no status of ours has.
  }
}

absl::Status WithNext(absl::Status status, std::string_view next) {
  status.SetPayload(kNextPayload, absl::Cord(std::string(next)));
  return status;
}

std::string NextOf(const absl::Status& status) {
  const auto next = status.GetPayload(kNextPayload);
  return next ? std::string(*next) : "--help";
}

}  // namespace concordat::cli
