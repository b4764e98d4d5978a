#include "services/cli/output.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <absl/algorithm/container.h>
#include <absl/strings/escaping.h>
#include <absl/strings/str_split.h>

#include <algorithm>

#include "services/cli/text.h"
#include "services/cli/values.h"
#include "services/cli/yaml.h"

namespace concordat::cli {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Of messages that come several times so many are described; of more, half as many.
constexpr int kMostDescribed = 20;

size_t Width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// One value of a field; `index` is -1 where the field is not repeated.
std::string ValueText(const Message& message, const FieldDescriptor& field, int index,
                      bool shorten) {
  const auto* reflection = message.GetReflection();
  const bool many = index >= 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string text = many ? reflection->GetRepeatedString(message, &field, index)
                                    : reflection->GetString(message, &field);
      if (field.type() == FieldDescriptor::TYPE_BYTES) return absl::BytesToHexString(text);
      // Deep names become short; names that need their parent, such as contracts, keep it.
      const Kind* kind = shorten ? KindOfName(text) : nullptr;
      if (kind == nullptr) return text;
      if (kind->collection == "contracts")
        return ReplaceAll(ReplaceAll(text, "customers/", ""), "contracts/", "");
      return std::string(ShortName(text));
    }
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* value = many ? reflection->GetRepeatedEnum(message, &field, index)
                               : reflection->GetEnum(message, &field);
      return value->number() == 0 ? "" : ShortEnum(*value);
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, &field) ? "yes" : "no";
    case FieldDescriptor::CPPTYPE_INT32:
      return std::to_string(reflection->GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64: {
      const int64_t number = reflection->GetInt64(message, &field);
      if (field.name().ends_with("accelerator_seconds")) return FormatAcceleratorSeconds(number);
      return field.name().ends_with("_watts") ? FormatWatts(number) : std::to_string(number);
    }
    case FieldDescriptor::CPPTYPE_UINT32:
      return std::to_string(reflection->GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return std::to_string(reflection->GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      const Message& part = many ? reflection->GetRepeatedMessage(message, &field, index)
                                 : reflection->GetMessage(message, &field);
      if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&part))
        return TimeText(*time);
      if (const auto* duration = dynamic_cast<const google::protobuf::Duration*>(&part))
        return DurationText(*duration);
      if (const auto* figure = dynamic_cast<const inventory::v1::Figure*>(&part)) {
        return fmt::format("{}={}:{}", figure->name(), figure->value(), figure->unit());
      }
      return part.ShortDebugString();
    }
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      break;  // No message of ours has fractions.
  }
  return "";
}

}  // namespace

bool IsScalar(const FieldDescriptor& field) {
  return field.message_type() == nullptr ||
         field.message_type()->full_name() == "google.protobuf.Timestamp" ||
         field.message_type()->full_name() == "google.protobuf.Duration" ||
         field.message_type()->full_name() == "concordat.inventory.v1.Figure";
}

void Table::Print(std::ostream& out, bool headers) const {
  std::vector<std::vector<std::string>> lines = rows_;
  if (headers) lines.insert(lines.begin(), titles_);
  std::vector<size_t> widths(titles_.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], Width(line[i]));
  }
  for (const auto& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      text += line[i] + std::string(i + 1 == line.size() ? 0 : widths[i] - Width(line[i]) + 2, ' ');
    }
    out << Strip(text) << "\n";
  }
}

std::unique_ptr<Message> Unpack(const google::protobuf::Any& any) {
  const std::string type = any.type_url().substr(any.type_url().rfind('/') + 1);
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  if (descriptor == nullptr) return nullptr;
  std::unique_ptr<Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  return message->ParseFromString(any.value()) ? std::move(message) : nullptr;
}

// Whether a field has one of the values of a condition such as `outcome=violated|satisfied`.
bool Meets(const Message& message, std::string_view condition) {
  const size_t equals = condition.find('=');
  const std::vector<std::string> values =
      absl::StrSplit(std::string(condition.substr(equals + 1)), '|');
  return absl::c_linear_search(values, FieldText(message, condition.substr(0, equals)));
}

std::string FieldText(const Message& message, std::string_view path) {
  const size_t dot = path.find('.');
  const size_t bracket = path.substr(0, dot).find('[');
  const FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName(std::string(path.substr(0, std::min(dot, bracket))));
  if (field == nullptr) return "";
  const auto* reflection = message.GetReflection();
  const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 0;
  if (bracket != path.npos) {
    const std::string_view condition = path.substr(bracket + 1, dot - bracket - 2);
    std::vector<std::string> texts;
    for (int i = 0; i < count; ++i) {
      const Message& one = reflection->GetRepeatedMessage(message, field, i);
      if (Meets(one, condition)) texts.push_back(FieldText(one, path.substr(dot + 1)));
    }
    return Join(texts, ",");
  }
  if (dot != std::string_view::npos) {
    if (!field->is_repeated())
      return FieldText(reflection->GetMessage(message, field), path.substr(dot + 1));
    return count == 0 ? ""
                      : FieldText(reflection->GetRepeatedMessage(message, field, count - 1),
                                  path.substr(dot + 1));
  }
  if (!field->is_repeated()) {
    if (field->has_presence() && !reflection->HasField(message, field)) return "";
    return ValueText(message, *field, -1, true);
  }
  std::vector<std::string> values;
  for (int i = 0; i < count; ++i) values.push_back(ValueText(message, *field, i, true));
  return Join(values, ",");
}

std::string NameOf(const Message& resource) {
  const FieldDescriptor* field = resource.GetDescriptor()->FindFieldByName("name");
  return field == nullptr ? "" : resource.GetReflection()->GetString(resource, field);
}

std::string ToJsonText(const Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // Only an Any of a type that this release does not know cannot be printed.
  return status.ok() ? json : fmt::format("{{\"error\": \"{}\"}}\n", std::string(status.message()));
}

void PrintDocument(std::ostream& out, Format format, const std::string& json) {
  out << (format == Format::kYaml ? YamlOfJson(json) : json);
}

void PrintMessage(std::ostream& out, Format format, const Message& message) {
  PrintDocument(out, format, ToJsonText(message));
}

std::string DescribeText(const Message& message, int indent) {
  std::string text;
  std::vector<const FieldDescriptor*> fields;
  const auto* reflection = message.GetReflection();
  reflection->ListFields(message, &fields);
  const std::string margin(static_cast<size_t>(indent), ' ');
  for (const FieldDescriptor* field : fields) {
    const std::string title = ReplaceAll(field->name(), "_", " ");
    const int count = field->is_repeated() ? reflection->FieldSize(message, field) : 0;
    if (IsScalar(*field)) {
      std::vector<std::string> values;
      if (!field->is_repeated()) values.push_back(ValueText(message, *field, -1, false));
      for (int i = 0; i < count; ++i) values.push_back(ValueText(message, *field, i, false));
      Append(
          &text, margin,
          fmt::format("{:<{}}  {}\n", title + ":", std::max(0, 22 - indent), Join(values, ", ")));
    } else if (!field->is_repeated()) {
      Append(&text, margin, title, ":\n",
             DescribeText(reflection->GetMessage(message, field), indent + 2));
    } else {
      const int shown = count <= kMostDescribed ? count : kMostDescribed / 2;
      for (int i = 0; i < shown; ++i) {
        Append(&text, margin, title, fmt::format(" {}:\n", i + 1),
               DescribeText(reflection->GetRepeatedMessage(message, field, i), indent + 2));
      }
      if (shown < count) {
        Append(&text, margin, title,
               fmt::format(": {} more, which -o yaml shows\n", count - shown));
      }
    }
  }
  return text;
}

void PrintTable(std::ostream& out, const Kind& kind,
                const std::vector<std::unique_ptr<Message>>& resources, bool headers) {
  std::vector<std::string> titles;
  for (const Column& column : kind.columns) titles.emplace_back(column.title);
  Table table(titles);
  for (const auto& resource : resources) {
    std::vector<std::string> row;
    for (const Column& column : kind.columns) {
      // The first column is the resource's own name, in full: it can be pasted into the next
      // command.
      row.push_back(row.empty() ? NameOf(*resource) : FieldText(*resource, column.path));
      if (row.back().empty()) row.back() = "-";
    }
    table.Add(std::move(row));
  }
  table.Print(out, headers);
}

std::string Paint(const Console& console, Hue hue, std::string_view text) {
  if (!console.colour) return std::string(text);
  constexpr std::string_view kCodes[] = {"32", "31", "2", "1"};
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<size_t>(hue)], text);
}

}  // namespace concordat::cli
