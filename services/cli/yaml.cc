#include "services/cli/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "services/cli/text.h"

namespace concordat::cli {
std::string JsonString(const std::string& text) {
  std::string quoted = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += static_cast<char>(c);
    } else if (c < 0x20) {
      Append(&quoted, fmt::format("\\u{:04x}", c));
    } else {
      quoted += static_cast<char>(c);
    }
  }
  return quoted + "\"";
}

namespace {

// What YAML's core schema reads as something other than a string.
bool IsPlainValue(const std::string& text) {
  if (text == "true" || text == "false" || text == "null" || text == "~" || text.empty())
    return true;
  double number = 0;
  return text.find_first_not_of("+-.0123456789eE") == std::string::npos &&
         ParseNumber(text, &number);
}

void Emit(const YAML::Node& node, YAML::Emitter& out) {
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      out << YAML::Null;
      return;
    case YAML::NodeType::Scalar:
      if (node.Tag() == "!" && IsPlainValue(node.Scalar())) out << YAML::DoubleQuoted;
      out << node.Scalar();
      return;
    case YAML::NodeType::Sequence:
      if (node.size() == 0) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const auto& item : node) Emit(item, out);
      out << YAML::EndSeq;
      return;
    case YAML::NodeType::Map:
      if (node.size() == 0) out << YAML::Flow;
      out << YAML::BeginMap;
      for (const auto& item : node) {
        out << YAML::Key << item.first.Scalar() << YAML::Value;
        Emit(item.second, out);
      }
      out << YAML::EndMap;
      return;
  }
}

}  // namespace

std::string YamlOfJson(const std::string& json) {
  try {
    YAML::Emitter out;
    Emit(YAML::Load(json), out);
    return std::string(out.c_str()) + "\n";
  } catch (const YAML::Exception&) {
    return json;
  }
}

}  // namespace concordat::cli
