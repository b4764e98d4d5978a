#include "services/runtime/engine.h"

#include <absl/base/thread_annotations.h>
#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>
#include <fmt/format.h>

namespace concordat::runtime {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

// What a check of a message has to look at, found once for each type: most fields are neither
// messages nor enums, and of the cases of an event one is set.
struct Shape {
  std::vector<const FieldDescriptor*> fields;  // messages and enums outside any `oneof`
  std::vector<const OneofDescriptor*> oneofs;
  std::vector<const Shape*> of_field;  // by the field's index; null where it is no message
};

// Shapes by type; they live as long as the process, as the types of its generated code do.
class Shapes {
 public:
  const Shape& Of(const Descriptor* type) {
    {
      absl::ReaderMutexLock lock(&mutex_);
      if (const auto found = shapes_.find(type); found != shapes_.end()) return *found->second;
    }
    absl::MutexLock lock(&mutex_);
    return *Make(type);
  }

 private:
  const Shape* Make(const Descriptor* type) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto [entry, is_new] = shapes_.try_emplace(type);
    if (!is_new) return entry->second.get();
    entry->second = std::make_unique<Shape>();
    Shape* shape = entry->second.get();  // `entry` does not outlive what is made below
    shape->of_field.resize(type->field_count());
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor* field = type->field(i);
      const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      if (is_message) shape->of_field[i] = Make(field->message_type());
      const bool is_told = is_message || field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM;
      if (is_told && field->real_containing_oneof() == nullptr) shape->fields.push_back(field);
    }
    for (int i = 0; i < type->real_oneof_decl_count(); ++i) {
      shape->oneofs.push_back(type->oneof_decl(i));
    }
    return shape;
  }

  absl::Mutex mutex_;
  absl::flat_hash_map<const Descriptor*, std::unique_ptr<Shape>> shapes_ ABSL_GUARDED_BY(mutex_);
};

absl::Status CheckValue(const FieldDescriptor* field, int value) {
  if (field->enum_type()->FindValueByNumber(value) != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{} is {}, which this release does not know as a {}", field->full_name(), value,
                  field->enum_type()->name()));
}

absl::Status CheckMessage(const Message& message, const Shape& shape);

// REQUIRES: a field that is not repeated is set, or an enum.
absl::Status CheckField(const Message& message, const FieldDescriptor* field, const Shape* shape) {
  const Reflection* reflection = message.GetReflection();
  if (!field->is_repeated()) {
    if (shape != nullptr) return CheckMessage(reflection->GetMessage(message, field), *shape);
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) return absl::OkStatus();
    return CheckValue(field, reflection->GetEnumValue(message, field));
  }
  const int count = reflection->FieldSize(message, field);
  for (int i = 0; i < count; ++i) {
    absl::Status status =
        shape != nullptr ? CheckMessage(reflection->GetRepeatedMessage(message, field, i), *shape)
                         : CheckValue(field, reflection->GetRepeatedEnumValue(message, field, i));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status CheckMessage(const Message& message, const Shape& shape) {
  const Reflection* reflection = message.GetReflection();
  if (!reflection->GetUnknownFields(message).empty()) {
    return absl::InvalidArgumentError(
        fmt::format("field {} of {} is not known to this release",
                    reflection->GetUnknownFields(message).field(0).number(),
                    message.GetDescriptor()->full_name()));
  }
  for (const FieldDescriptor* field : shape.fields) {
    const Shape* inner = shape.of_field[field->index()];
    if (inner != nullptr && !field->is_repeated() && !reflection->HasField(message, field))
      continue;
    absl::Status status = CheckField(message, field, inner);
    if (!status.ok()) return status;
  }
  for (const OneofDescriptor* oneof : shape.oneofs) {
    const FieldDescriptor* field = reflection->GetOneofFieldDescriptor(message, oneof);
    if (field == nullptr) continue;
    absl::Status status = CheckField(message, field, shape.of_field[field->index()]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

const FieldDescriptor* CaseOf(const Message& event) {
  if (event.GetDescriptor()->oneof_decl_count() == 0) return nullptr;
  return event.GetReflection()->GetOneofFieldDescriptor(event,
                                                        event.GetDescriptor()->oneof_decl(0));
}

}  // namespace

absl::Status CheckKnown(const Message& message) {
  static auto& shapes = *new Shapes();
  return CheckMessage(message, shapes.Of(message.GetDescriptor()));
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
