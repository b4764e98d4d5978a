#include "services/deployment/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::deployment {
namespace {

// The error as the event keeps it: never empty, printable, bounded. What a target says is not ours.
std::string ErrorText(const absl::Status& status) {
  std::string text = status.ToString().substr(0, runtime::kMaxTextBytes);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

v1::Command Place(Target& target, const v1::Deployment& deployment) {
  v1::Command command;
  v1::RecordPlacement& placement = *command.mutable_record_placement();
  placement.set_name(deployment.name());
  placement.set_attempt(deployment.failed_attempts() + 1);
  const absl::StatusOr<std::string> digest = target.Place(deployment);
  if (digest.ok()) {
    placement.set_manifest_digest(*digest);
  } else {
    placement.set_error(ErrorText(digest.status()));
  }
  return command;
}

v1::Command Remove(Target& target, const v1::Deployment& deployment) {
  v1::Command command;
  v1::RecordRemoval& removal = *command.mutable_record_removal();
  removal.set_name(deployment.name());
  removal.set_attempt(deployment.failed_attempts() + 1);
  if (const absl::Status status = target.Remove(deployment); !status.ok()) {
    removal.set_error(ErrorText(status));
  }
  return command;
}

}  // namespace

std::vector<Step> Work(const Rows& rows, absl::Time now, size_t limit) {
  std::vector<std::pair<absl::Time, std::string>> due;
  rows.deployment_work.Scan(
      "", [&](std::string_view name, const google::protobuf::Timestamp& retry_time) {
        const absl::Time time = runtime::ToTime(retry_time);
        if (time <= now) due.emplace_back(time, name);
        return true;
      });
  std::sort(due.begin(), due.end());
  std::vector<Step> steps;
  for (const auto& [time, name] : due) {
    if (steps.size() >= limit) break;
    std::optional<v1::Deployment> deployment = rows.deployments.Get(name);
    if (!deployment) continue;
    const std::string_view step =
        deployment->state() == v1::DEPLOYMENT_STATE_PLACING ? "place" : "remove";
    std::string id = fmt::format("{}:{}:{}:{}", name, step, deployment->steps(),
                                 int64_t{deployment->failed_attempts()} + 1);
    steps.push_back({*std::move(deployment), std::move(id)});
  }
  return steps;
}

v1::Command Execute(Target& target, const v1::Deployment& deployment) {
  if (deployment.state() == v1::DEPLOYMENT_STATE_PLACING) return Place(target, deployment);
  if (deployment.state() == v1::DEPLOYMENT_STATE_REMOVING) return Remove(target, deployment);
  std::fprintf(stderr, "%s has no step to execute: take what Work() gives\n",
               deployment.name().c_str());
  std::abort();
}

}  // namespace concordat::deployment
