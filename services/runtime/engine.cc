#include "services/runtime/engine.h"

#include <fmt/format.h>

namespace concordat::runtime {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status CheckValue(const FieldDescriptor* field, int value) {
  if (field->enum_type()->FindValueByNumber(value) != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} is {}, which this release does not know as a {}", field->full_name(), value,
                  field->enum_type()->name()));
}

const FieldDescriptor* CaseOf(const Message& event) {
  if (event.GetDescriptor()->oneof_decl_count() == 0) return nullptr;
  return event.GetReflection()->GetOneofFieldDescriptor(event,
                                                        event.GetDescriptor()->oneof_decl(0));
}

}  // namespace

absl::Status CheckKnown(const Message& message) {
  const Reflection* reflection = message.GetReflection();
  if (!reflection->GetUnknownFields(message).empty()) {
    return absl::InvalidArgumentError(
        fmt::format("field {} of {} is not known to this release",
                    reflection->GetUnknownFields(message).field(0).number(),
                    message.GetDescriptor()->full_name()));
  }
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      absl::Status status;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        status = CheckKnown(field->is_repeated() ? reflection->GetRepeatedMessage(message, field, i)
                                                 : reflection->GetMessage(message, field));
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        status = CheckValue(field, field->is_repeated()
                                       ? reflection->GetRepeatedEnumValue(message, field, i)
                                       : reflection->GetEnumValue(message, field));
      } else {
        break;
      }
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

bool IsSystemType(std::string_view type) { return type.substr(0, 20) == "concordat.system.v1."; }

#ifdef CONCORDAT_SIMULATION
bool ReleaseKnows(const Message& message) {
  const FieldDescriptor* field = CaseOf(message);
  return !release_knows || field == nullptr || release_knows(*field);
}
#endif

namespace {
// As CheckKnown() says it of a release that has no such field.
absl::Status CheckRelease([[maybe_unused]] const Message& event) {
#ifdef CONCORDAT_SIMULATION
  if (const FieldDescriptor* field = CaseOf(event); !ReleaseKnows(event)) {
    return absl::InvalidArgumentError(fmt::format("field {} of {} is not known to this release",
                                                  field->number(),
                                                  event.GetDescriptor()->full_name()));
  }
#endif
  return absl::OkStatus();
}
}  // namespace

absl::StatusOr<MessagePtr> ParseEvent(const Descriptor* type, std::string_view data) {
  MessagePtr event(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (!event->ParseFromArray(data.data(), static_cast<int>(data.size()))) {
    return absl::InvalidArgumentError(fmt::format("the data is not a {}", type->full_name()));
  }
  // The runtime's own events are messages of their own, without a service's `oneof` around them.
  if (!IsSystemType(type->full_name()) && CaseOf(*event) == nullptr &&
      event->GetReflection()->GetUnknownFields(*event).empty()) {
    return absl::InvalidArgumentError(fmt::format("the {} holds no event", type->full_name()));
  }
  absl::Status status = CheckKnown(*event);
  if (status.ok()) status = CheckRelease(*event);
  if (!status.ok()) return status;
  return event;
}

std::string EventTypeOf(const Message& event) {
  const FieldDescriptor* field = CaseOf(event);
  return field == nullptr ? std::string() : std::string(field->message_type()->full_name());
}

std::optional<Refusal> RefusalOf(const Message& event) {
  const FieldDescriptor* field = CaseOf(event);
  if (field == nullptr || field->name() != "command_refused") return std::nullopt;
  const Message& refused = event.GetReflection()->GetMessage(event, field);
  const Descriptor* type = refused.GetDescriptor();
  const Reflection* reflection = refused.GetReflection();
  return Refusal{std::string(reflection->GetEnum(refused, type->FindFieldByName("reason"))->name()),
                 reflection->GetString(refused, type->FindFieldByName("detail"))};
}

}  // namespace concordat::runtime
