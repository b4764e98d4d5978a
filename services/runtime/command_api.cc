#include "services/runtime/command_api.h"

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cctype>
#include <cstdlib>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::runtime {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

constexpr size_t kMaxIdBytes = 200;

// `concordat.inventory.v1.InventoryService` of the engine of `inventory`.
const ServiceDescriptor* ServiceOf(const Engine& engine) {
  std::string name(engine.name());
  name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
  const std::string full =
      fmt::format("{}.{}Service", engine.event_type()->file()->package(), name);
  const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(full);
  if (service == nullptr) {
    spdlog::critical("there is no service {}", full);
    std::abort();
  }
  return service;
}

// The case of the engine's Command that holds a request; nothing where there is none.
const FieldDescriptor* CaseFor(const Descriptor* command, const Descriptor* request) {
  for (int i = 0; i < command->field_count(); ++i) {
    if (command->field(i)->message_type() == request) return command->field(i);
  }
  return nullptr;
}

type::v1::Submit SubmitOf(const Message& request) {
  const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName("submit");
  type::v1::Submit submit;
  if (field != nullptr && request.GetReflection()->HasField(request, field)) {
    submit.CopyFrom(request.GetReflection()->GetMessage(request, field));
  }
  return submit;
}

absl::Status CheckCaller(const Call& call, const type::v1::Submit& submit) {
  if (call.actor.compare(0, kSystemActor.size(), kSystemActor) == 0) {
    return absl::PermissionDeniedError(
        fmt::format("concordat-actor is {}: names that begin with {} are the services' own",
                    call.actor, kSystemActor));
  }
  return FirstError({CheckText("concordat-actor", call.actor, Presence::kRequired, kMaxIdBytes),
                     CheckText("request_id", submit.request_id(), Presence::kOptional, kMaxIdBytes),
                     CheckText("concordat-correlation-id", call.correlation_id, Presence::kOptional,
                               kMaxIdBytes)});
}

Reply ReplyOf(absl::StatusOr<type::v1::Outcome> outcome) {
  Reply reply;
  if (!outcome.ok()) {
    reply.status = outcome.status();
  } else if (!outcome->reason().empty()) {
    reply.status = StatusOfRefusal(*outcome);
    reply.outcome = *std::move(outcome);
  } else {
    reply.message = std::make_unique<type::v1::Outcome>(*std::move(outcome));
  }
  return reply;
}

std::string OutcomeName(const absl::StatusOr<type::v1::Outcome>& outcome) {
  if (!outcome.ok()) return absl::StatusCodeToString(outcome.status().code());
  if (outcome->validated_only()) return "validated";
  if (outcome->repeated()) return "repeated";
  return outcome->reason().empty() ? "accepted" : "refused";
}

}  // namespace

void AddCommands(Server& server, const Engine& engine, Writer& writer, CallObserver observe) {
  const ServiceDescriptor* service = ServiceOf(engine);
  for (int i = 0; i < service->method_count(); ++i) {
    const MethodDescriptor* method = service->method(i);
    const FieldDescriptor* field =
        CaseFor(engine.command_prototype().GetDescriptor(), method->input_type());
    if (field == nullptr) {
      spdlog::critical("{} is no case of {}", method->input_type()->full_name(),
                       engine.command_prototype().GetDescriptor()->full_name());
      std::abort();
    }
    const std::string name = fmt::format("/{}/{}", service->full_name(), method->name());
    server.AddUnary(
        name, method->input_type(),
        [&engine, &writer, field, observe, command_name = std::string(method->name())](
            const Call& call, MessagePtr request, ReplyCallback reply) {
          const absl::Time begun = absl::Now();
          const type::v1::Submit submit = SubmitOf(*request);
          Submission submission;
          submission.command.reset(engine.command_prototype().New());
          submission.command->GetReflection()->SetAllocatedMessage(submission.command.get(),
                                                                   request.release(), field);
          absl::Status checked = CheckCaller(call, submit);
          if (checked.ok()) checked = engine.Validate(*submission.command);
          if (!checked.ok()) {
            observe(command_name, absl::StatusCodeToString(checked.code()), absl::Now() - begun);
            reply({.status = checked, .message = nullptr, .outcome = {}});
            return;
          }
          submission.command_id = submit.request_id().empty() ? RandomId() : submit.request_id();
          submission.actor = call.actor;
          submission.correlation_id = call.correlation_id;
          submission.validate_only = submit.validate_only();
          submission.deadline = call.deadline;
          submission.done = [reply = std::move(reply), observe, command_name,
                             begun](absl::StatusOr<type::v1::Outcome> outcome) mutable {
            observe(command_name, OutcomeName(outcome), absl::Now() - begun);
            reply(ReplyOf(std::move(outcome)));
          };
          writer.Submit(std::move(submission));
        });
  }
}

}  // namespace concordat::runtime
