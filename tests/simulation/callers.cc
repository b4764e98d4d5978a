// Callers: they ask, wait, ask again under the same id, and hear.
#include "tests/simulation/inside.h"

#include "services/runtime/check.h"

namespace concordat::simulation {
namespace {

constexpr int kMostOpen = 24;  // operations of callers at one site

}  // namespace

void World::Ask(SiteWorld& site, bool alone) {
  auto operation = std::make_shared<Operation>();
  operation->alone = alone;
  operation->site = site.index;
  std::deque<Request>& setup = site.workload->setup();
  if (!setup.empty()) {
    operation->request = std::move(setup.front());
    setup.pop_front();
    operation->setup = true;
    ++site.setup_open;
  } else {
    operation->request = site.workload->Next(scheduler_.Now() + site.skew);
    operation->validate_only = random_.OneIn(20);
    ++site.asked;
  }
  operation->id = fmt::format("op-{}", ++next_operation_);
  if (operation->validate_only) referee_->Tries(operation->id);
  auto command = std::unique_ptr<google::protobuf::Message>(operation->request.command->New());
  command->CopyFrom(*operation->request.command);
  runtime::ClearSubmit(*command);
  operation->digest = runtime::CommandDigest(*command);
  ++site.open;
  Send(operation);
}

void World::Send(const std::shared_ptr<Operation>& operation) {
  if (operation->over) return;
  SiteWorld& site = *sites_[static_cast<size_t>(operation->site)];
  const int attempt = ++operation->attempt;
  Node* node = site.nodes[static_cast<size_t>(site.preferred)].get();
  // Callers may still know the other machine, whether or not it has been replaced.
  if (!node->responds() || random_.OneIn(30)) {
    for (const auto& other : site.nodes) {
      if (other.get() != node && other->responds()) node = other.get();
    }
  }
  const absl::Duration patience = Between(absl::Seconds(1), absl::Seconds(20));
  const auto again = [this, operation, attempt] {
    if (!operation->over && operation->attempt == attempt) Send(operation);
  };
  After(patience, again);
  node::Folded* home = node->responds() ? node->running->Home(operation->request.service) : nullptr;
  if (home == nullptr) return;
  if (node->old_release && !KnownToOld(*operation->request.command)) {
    // Its door has no such method.
    ++result_.answers["UNIMPLEMENTED"];
    return End(operation, "of a newer release");
  }
  runtime::Submission submission;
  submission.command.reset(operation->request.command->New());
  submission.command->CopyFrom(*operation->request.command);
  const absl::Status valid = home->engine->Validate(*submission.command);
  if (!valid.ok()) {
    Violation("workload", std::string(valid.message()));
    return End(operation, "invalid");
  }
  submission.command_id = operation->id;
  submission.actor = "caller";
  submission.validate_only = operation->validate_only;
  if (random_.OneIn(4)) submission.deadline = node->process->Now() + patience;
  const auto callback = [&]() -> runtime::AnswerCallback {
    ++node->unanswered;
    auto answered = std::make_shared<bool>(false);
    return [this, operation, attempt, answered, node,
            process = node->process.get()](absl::StatusOr<type::v1::Outcome> outcome) {
      if (std::exchange(*answered, true)) Violation("answered-once", operation->id);
      if (node->process.get() == process) --node->unanswered;
      // On its way to the caller.
      After(Between(absl::Microseconds(50), absl::Milliseconds(5)),
            [this, operation, attempt, outcome = std::move(outcome)] {
              Answered(operation, attempt, outcome);
            });
    };
  };
  // The same sent twice, by a caller that does not wait.
  if (random_.OneIn(10) && !operation->validate_only) {
    runtime::Submission twin;
    twin.command.reset(submission.command->New());
    twin.command->CopyFrom(*submission.command);
    twin.command_id = submission.command_id;
    twin.actor = submission.actor;
    Count("request-doubled");
    After(Between(absl::ZeroDuration(), absl::Milliseconds(20)),
          [this, node, process = node->process.get(), callback = callback(), twin = std::move(twin),
           service = operation->request.service]() mutable {
            if (node->process.get() != process) return;
            if (!node->responds()) {
              --node->unanswered;
              return;
            }
            twin.done = std::move(callback);
            node->running->Home(service)->writer->Submit(std::move(twin));
            process->Touch();
          });
  }
  submission.done = callback();
  home->writer->Submit(std::move(submission));
  node->process->Touch();
}

void World::Answered(const std::shared_ptr<Operation>& operation, int attempt,
                     const absl::StatusOr<type::v1::Outcome>& outcome) {
  Mix(static_cast<uint64_t>(outcome.status().code()) * 31 + next_operation_);
  if (outcome.ok() && outcome->validated_only() != operation->validate_only) {
    Violation("tried-only", fmt::format("{} was {}, and its answer says otherwise", operation->id,
                                        operation->validate_only ? "a trial" : "a command"));
  }
  if (outcome.ok() && !outcome->validated_only()) {
    referee_->Acknowledged("caller", operation->digest, *outcome);
  }
  if (operation->over) return;
  if (!outcome.ok()) {
    ++result_.answers[absl::StatusCodeToString(outcome.status().code())];
    if (absl::IsAlreadyExists(outcome.status()) || absl::IsInvalidArgument(outcome.status())) {
      Violation("answers", outcome.status().ToString());
      return End(operation, "refused by the runtime");
    }
    // Nobody knows: the same is asked again.
    if (operation->attempt == attempt) {
      After(Between(absl::Milliseconds(10), absl::Seconds(5)), [this, operation, attempt] {
        if (operation->attempt == attempt) Send(operation);
      });
    }
    return;
  }
  ++result_.answers[outcome->reason().empty() ? "ok" : outcome->reason()];
  if (outcome->repeated()) ++result_.answers["repeated"];
  if (!outcome->validated_only())
    sites_[static_cast<size_t>(operation->site)]->workload->Learn(
        operation->request, outcome->event_type(), outcome->subject());
  End(operation, outcome->reason().empty() ? outcome->event_type() : outcome->reason());
}

void World::End(const std::shared_ptr<Operation>& operation, const std::string& how) {
  SiteWorld& site = *sites_[static_cast<size_t>(operation->site)];
  operation->over = true;
  --site.open;
  if (operation->setup) --site.setup_open;
  Tell("{} {} {}: {}", site.name, operation->id,
       operation->request.command->GetDescriptor()->full_name(), how);
  if (!site.workload->setup().empty()) {
    // One after the other: each builds on the last.
    if (site.setup_open == 0) Ask(site);
    return;
  }
  if (operation->setup && site.setup_open == 0) {
    for (int caller = 0; caller < 3 && site.asked < requests_; ++caller) Ask(site);
    return;
  }
  if (site.asked >= requests_ || !operation->alone) return;
  After(Between(absl::Milliseconds(1), absl::Seconds(14)), [this, &site] {
    // Now and then many at once, so that groups are large.
    const uint64_t burst = random_.OneIn(4) ? 1 + random_.Below(12) : 1;
    for (uint64_t i = 0; i < burst && site.asked < requests_ && (i == 0 || site.open < kMostOpen);
         ++i)
      Ask(site, i == 0);
  });
}

}  // namespace concordat::simulation
