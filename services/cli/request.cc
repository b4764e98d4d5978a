#include "services/cli/request.h"

#include <absl/algorithm/container.h>
#include <absl/strings/escaping.h>
#include <fmt/format.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/kinds.h"
#include "services/cli/text.h"
#include "services/runtime/check.h"
#include "services/runtime/yaml.h"

namespace concordat::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::string_view kAccessSchedule = "concordat.reservations.v1.AccessSchedule";
constexpr std::string_view kReserveRequest = "concordat.reservations.v1.ReserveRequest";
constexpr std::string_view kPlacement = "concordat.reservations.v1.Placement";
constexpr std::string_view kLegalBasis = "concordat.reservations.v1.LegalBasis";

std::string MessageName(const FieldDescriptor& field) {
  return field.message_type() == nullptr ? "" : field.message_type()->full_name();
}

// Messages whose fields are flags of their own.
bool IsGroupType(std::string_view type) {
  return type == kAccessSchedule || type == kPlacement || type == kLegalBasis ||
         type == "concordat.reservations.v1.ContractQuota" ||
         type == "concordat.reservations.v1.Interventions" ||
         type == "concordat.reservations.v1.ContractConditions" ||
         type == "concordat.reservations.v1.QuotaAmount";
}

bool IsAcceleratorSeconds(const FieldDescriptor& field) {
  return field.name().ends_with("accelerator_seconds");
}

bool IsWatts(const FieldDescriptor& field) { return field.name().ends_with("_watts"); }
bool IsWattHours(const FieldDescriptor& field) { return field.name().ends_with("_watt_hours"); }

// The kind that a string field refers to; nullptr where it is plain text.
const Kind* KindOfField(const Verb& verb, const FieldDescriptor& field) {
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_STRING) return nullptr;
  // A schedule's `rule` is none of compliance.
  if (field.containing_type()->full_name() == kAccessSchedule) return nullptr;
  if (field.name() == "name") return KindOfCollection(verb.collection);
  // A rack beside a room is the room's word for it.
  if (field.name() == "rack" && field.containing_type()->FindFieldByName("room") != nullptr)
    return nullptr;
  for (const Kind& kind : Kinds()) {
    if (field.name() == kind.singular || field.name() == kind.collection) return &kind;
  }
  return nullptr;
}

template <typename T>
absl::Status SetMessage(const FieldDescriptor& field, absl::StatusOr<T> value, Message& request) {
  if (!value.ok()) return value.status();
  const auto* reflection = request.GetReflection();
  Message* target = field.is_repeated() ? reflection->AddMessage(&request, &field)
                                        : reflection->MutableMessage(&request, &field);
  target->CopyFrom(*value);
  return absl::OkStatus();
}

absl::Status SetNumber(const FieldDescriptor& field, const std::string& text, Message& request) {
  int64_t number = 0;
  if (IsWatts(field)) {
    const auto watts = ParseWatts(text);
    if (!watts.ok()) return watts.status();
    number = *watts;
  } else if (IsWattHours(field)) {
    const auto watt_hours = ParseWattHours(text);
    if (!watt_hours.ok()) return watt_hours.status();
    number = *watt_hours;
  } else if (IsAcceleratorSeconds(field)) {
    const auto seconds = ParseAcceleratorSeconds(text);
    if (!seconds.ok()) return seconds.status();
    number = *seconds;
  } else if (!ParseNumber(text, &number)) {
    return absl::InvalidArgumentError(fmt::format("found '{}', expected a whole number", text));
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
    if (number != static_cast<int32_t>(number)) {
      return absl::InvalidArgumentError(
          fmt::format("found {}, expected at most 2147483647", number));
    }
    const auto small = static_cast<int32_t>(number);
    field.is_repeated() ? request.GetReflection()->AddInt32(&request, &field, small)
                        : request.GetReflection()->SetInt32(&request, &field, small);
  } else {
    request.GetReflection()->SetInt64(&request, &field, number);
  }
  return absl::OkStatus();
}

// `2027-01-01=250:EUR`: from when on an accelerator-hour costs how many of the minor unit.
absl::StatusOr<reservations::v1::PriceSegment> ParsePrice(Session& session,
                                                          const std::string& text) {
  const size_t equals = text.find('=');
  const size_t colon = text.rfind(':');
  reservations::v1::PriceSegment price;
  int64_t minor_units = 0;
  if (equals == text.npos || colon == text.npos || colon < equals ||
      !ParseNumber(text.substr(equals + 1, colon - equals - 1), &minor_units)) {
    return absl::InvalidArgumentError(fmt::format(
        "found '{}', expected time=minor units:currency such as 2027-01-01=250:EUR", text));
  }
  const auto time = session.TimeOf(text.substr(0, equals));
  if (!time.ok()) return time.status();
  *price.mutable_effective_from() = ToTimestamp(*time);
  price.set_minor_units(minor_units);
  price.set_currency(text.substr(colon + 1));
  return price;
}

absl::Status SetValue(Session& session, const Verb& verb, const FieldDescriptor& field,
                      const std::string& text, Message& request) {
  const auto* reflection = request.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      if (!runtime::IsPrintable(text)) {
        return absl::InvalidArgumentError(fmt::format(
            "found '{}', expected UTF-8 without control characters", absl::CHexEscape(text)));
      }
      std::string value = text;
      if (const Kind* kind = KindOfField(verb, field); kind != nullptr) {
        const auto site = session.site();
        if (!site.ok()) return site.status();
        value = FullName(*kind, text, (*site)->name);
      }
      field.is_repeated() ? reflection->AddString(&request, &field, value)
                          : reflection->SetString(&request, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return SetNumber(field, text, request);
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto value = ParseEnum(*field.enum_type(), text);
      if (!value.ok()) return value.status();
      reflection->SetEnum(&request, &field, *value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const std::string type = MessageName(field);
      if (type == "google.protobuf.Timestamp") {
        const auto time = session.TimeOf(text);
        if (!time.ok()) return time.status();
        return SetMessage<google::protobuf::Timestamp>(field, ToTimestamp(*time), request);
      }
      if (type == "google.protobuf.Duration") {
        const auto duration = ParseDuration(text);
        if (!duration.ok()) return duration.status();
        google::protobuf::Duration value;
        value.set_seconds(absl::ToInt64Seconds(*duration));
        value.set_nanos(static_cast<int32_t>(
            absl::ToInt64Nanoseconds(*duration - absl::Seconds(value.seconds()))));
        return SetMessage<google::protobuf::Duration>(field, value, request);
      }
      if (type == "concordat.inventory.v1.Figure")
        return SetMessage(field, ParseFigure(text), request);
      if (type == "concordat.inventory.v1.Criterion")
        return SetMessage(field, ParseCriterion(text), request);
      if (type == "concordat.reservations.v1.PriceSegment")
        return SetMessage(field, ParsePrice(session, text), request);
      break;
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") {
        return absl::InvalidArgumentError(fmt::format("found '{}', expected true or false", text));
      }
      reflection->SetBool(&request, &field, text == "true");
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      break;
  }
  return absl::InvalidArgumentError("found a flag that only a file can set, expected -f FILE");
}

absl::StatusOr<std::string> ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) {
    return absl::NotFoundError(
        fmt::format("cannot read {}, expected a YAML or JSON file", path.string()));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Every document of a file, of each YAML or JSON file of a folder, or of the input.
absl::StatusOr<std::vector<std::string>> ReadDocuments(Session& session, const std::string& file) {
  std::vector<std::string> documents;
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  if (file == "-") {
    std::stringstream text;
    text << session.console().in.rdbuf();
    documents = Documents(text.str());
  } else if (std::filesystem::is_directory(file, error)) {
    for (const auto& entry : std::filesystem::directory_iterator(file, error)) {
      const std::string extension = entry.path().extension();
      if (extension == ".yaml" || extension == ".yml" || extension == ".json")
        paths.push_back(entry.path());
    }
    absl::c_sort(paths);
  } else {
    paths.emplace_back(file);
  }
  for (const auto& path : paths) {
    const auto text = ReadAll(path);
    if (!text.ok()) return text.status();
    for (std::string& document : Documents(*text)) documents.push_back(std::move(document));
  }
  if (documents.empty()) {
    return absl::InvalidArgumentError(fmt::format("found no document in {}, expected YAML or JSON",
                                                  file == "-" ? "the input" : file));
  }
  return documents;
}

std::unique_ptr<Message> NewRequest(const Verb& verb) {
  const auto* prototype =
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(RequestOf(verb));
  return std::unique_ptr<Message>(prototype->New());
}

// A field of the request, or `group.field` of one of its groups, and the message that it is of.
std::pair<const FieldDescriptor*, Message*> FieldAt(const std::string& path, Message& request) {
  const size_t dot = path.find('.');
  const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName(path.substr(0, dot));
  if (dot == path.npos) return {field, &request};
  return FieldAt(path.substr(dot + 1), *request.GetReflection()->MutableMessage(&request, field));
}

// Short names in files mean what they mean as flags; `at` defaults to the asked site.
absl::Status CompleteNames(Session& session, const Verb& verb, Message& request) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto* reflection = request.GetReflection();
  const auto* type = request.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor& field = *type->field(i);
    if (field.is_repeated() && MessageName(field) == kReserveRequest) {
      for (int j = 0; j < reflection->FieldSize(request, &field); ++j) {
        const absl::Status part =
            CompleteNames(session, verb, *reflection->MutableRepeatedMessage(&request, &field, j));
        if (!part.ok()) return part;
      }
    }
    const Kind* kind = KindOfField(verb, field);
    if (kind == nullptr) continue;
    if (!field.is_repeated()) {
      const std::string name = reflection->GetString(request, &field);
      const bool fill = name.empty() && field.name() == "site";
      reflection->SetString(&request, &field,
                            FullName(*kind, fill ? (*site)->name : name, (*site)->name));
      continue;
    }
    for (int j = 0; j < reflection->FieldSize(request, &field); ++j) {
      const std::string name = reflection->GetRepeatedString(request, &field, j);
      reflection->SetRepeatedString(&request, &field, j, FullName(*kind, name, (*site)->name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsFlag(const FieldDescriptor& field) {
  const std::string type = MessageName(field);
  return type.empty() || type == "google.protobuf.Timestamp" ||
         type == "google.protobuf.Duration" || type == "concordat.inventory.v1.Figure" ||
         type == "concordat.inventory.v1.Criterion" ||
         type == "concordat.reservations.v1.PriceSegment";
}

bool IsGroup(const FieldDescriptor& field) {
  return !field.is_repeated() && IsGroupType(MessageName(field));
}

std::string Placeholder(const FieldDescriptor& field) {
  if (IsWatts(field)) return "WATTS";
  if (IsWattHours(field)) return "WATTHOURS";
  if (IsAcceleratorSeconds(field)) return "HOURS";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_ENUM: {
      std::vector<std::string> names;
      for (int i = 1; i < field.enum_type()->value_count(); ++i)
        names.push_back(ShortEnum(*field.enum_type()->value(i)));
      return Join(names, "|");
    }
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const std::string type = MessageName(field);
      if (type == "concordat.inventory.v1.Figure") return "NAME=VALUE:UNIT";
      if (type == "concordat.inventory.v1.Criterion") return "FIGURE=MIN..MAX:UNIT";
      if (type == "concordat.reservations.v1.PriceSegment") return "TIME=MINOR_UNITS:CURRENCY";
      if (type == "google.protobuf.Duration") return "DURATION";
      return "TIME";
    }
    case FieldDescriptor::CPPTYPE_STRING:
      return field.is_repeated() ? "A,B" : "TEXT";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true|false";
    default:
      return "N";
  }
}

absl::Status SetField(Session& session, const Verb& verb, const FieldDescriptor& field,
                      const std::string& text, Message& request) {
  const absl::Status set = SetValue(session, verb, field, text, request);
  if (set.ok() || !absl::IsInvalidArgument(set)) return set;
  return absl::InvalidArgumentError(fmt::format("--{}: {}", FlagOf(field), MessageOf(set)));
}

std::vector<std::string> Documents(const std::string& text) {
  std::vector<std::string> documents(1);
  std::vector<std::string> lines = Split(text, '\n');
  if (lines.back().empty()) lines.pop_back();  // What follows the last line feed is no line.
  for (const std::string& line : lines) {
    if (Strip(line) == "---") {
      documents.emplace_back();
    } else {
      Append(&documents.back(), line, "\n");
    }
  }
  std::erase_if(documents, [](const std::string& document) {
    return absl::c_all_of(Split(document, '\n'), [](const std::string& whole) {
      const std::string_view line = Strip(whole);
      return line.empty() || line[0] == '#';
    });
  });
  return documents;
}

absl::Status MergeDocument(const std::string& document, Message& request) {
  const auto json = runtime::JsonOfYaml(document);
  if (!json.ok()) return json.status();
  const auto whole = google::protobuf::util::JsonStringToMessage(*json, &request);
  if (whole.ok()) return absl::OkStatus();
  request.Clear();
  const auto* type = request.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor& field = *type->field(i);
    if (field.is_repeated() || field.message_type() == nullptr || field.name() == "submit" ||
        IsFlag(field) || IsGroup(field))
      continue;
    Message* part = request.GetReflection()->MutableMessage(&request, &field);
    const auto parsed = google::protobuf::util::JsonStringToMessage(*json, part);
    if (parsed.ok()) return absl::OkStatus();
    return absl::InvalidArgumentError(fmt::format(
        "the document is no {}: {}", field.message_type()->name(), std::string(parsed.message())));
  }
  return absl::InvalidArgumentError(
      fmt::format("the document is no {}: {}", type->name(), std::string(whole.message())));
}

absl::StatusOr<std::vector<std::unique_ptr<Message>>> BuildRequests(Session& session,
                                                                    const Verb& verb,
                                                                    const Typed& typed) {
  std::vector<std::unique_ptr<Message>> requests;
  if (typed.file.empty()) {
    requests.push_back(NewRequest(verb));
  } else {
    const auto documents = ReadDocuments(session, typed.file);
    if (!documents.ok()) return documents.status();
    for (const std::string& document : *documents) {
      requests.push_back(NewRequest(verb));
      const absl::Status merged = MergeDocument(document, *requests.back());
      if (!merged.ok())
        return absl::InvalidArgumentError(fmt::format("{}: {}", typed.file, MessageOf(merged)));
    }
  }
  for (const auto& request : requests) {
    for (const auto& [name, values] : typed.fields) {
      if (values.empty()) continue;
      const auto [field, message] = FieldAt(name, *request);
      message->GetReflection()->ClearField(message, field);
      for (const std::string& value : values) {
        const absl::Status set = SetField(session, verb, *field, value, *message);
        if (!set.ok()) return set;
      }
    }
    const absl::Status completed = CompleteNames(session, verb, *request);
    if (!completed.ok()) return completed;
  }
  return requests;
}

}  // namespace concordat::cli
