#include "services/runtime/yaml.h"

#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>
#include <string_view>

namespace concordat::runtime {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxJsonBytes = 4 << 20;

void AppendString(std::string& json, std::string_view text) {
  json += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      json += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      json += c;
    }
  }
  json += '"';
}

size_t TakeDigits(std::string_view& text) {
  const size_t count = std::min(text.find_first_not_of("0123456789"), text.size());
  text.remove_prefix(count);
  return count;
}

// A number as RFC 8259 writes it; `007` and `1.` are words.
bool IsNumber(std::string_view text) {
  if (text.substr(0, 1) == "-") text.remove_prefix(1);
  const bool zero = text.substr(0, 1) == "0";
  const size_t whole = TakeDigits(text);
  if (whole == 0 || (zero && whole > 1)) return false;
  if (text.substr(0, 1) == ".") {
    text.remove_prefix(1);
    if (TakeDigits(text) == 0) return false;
  }
  if (text.substr(0, 1) == "e" || text.substr(0, 1) == "E") {
    text.remove_prefix(1);
    if (text.substr(0, 1) == "-" || text.substr(0, 1) == "+") text.remove_prefix(1);
    if (TakeDigits(text) == 0) return false;
  }
  return text.empty();
}

void AppendScalar(std::string& json, const YAML::Node& node) {
  const std::string& text = node.Scalar();
  // yaml-cpp tags a quoted scalar `!`.
  const bool quoted = node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str";
  if (!quoted && (text == "true" || text == "false" || IsNumber(text))) {
    json += text;
  } else {
    AppendString(json, text);
  }
}

absl::Status Wrong(const YAML::Node& node, std::string_view what) {
  return absl::InvalidArgumentError(
      fmt::format("line {}, column {}: {}", node.Mark().line + 1, node.Mark().column + 1, what));
}

absl::Status Append(std::string& json, const YAML::Node& node, int depth);

absl::Status AppendMap(std::string& json, const YAML::Node& node, int depth) {
  absl::flat_hash_set<std::string> keys;
  json += '{';
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      return Wrong(entry.first, "found a key that is no word, expected a word");
    }
    const std::string& key = entry.first.Scalar();
    if (!keys.insert(key).second) {
      return Wrong(entry.first, fmt::format("found the key {} twice, expected once", key));
    }
    if (keys.size() > 1) json += ',';
    AppendString(json, key);
    json += ':';
    if (absl::Status status = Append(json, entry.second, depth + 1); !status.ok()) return status;
  }
  json += '}';
  return absl::OkStatus();
}

absl::Status AppendSequence(std::string& json, const YAML::Node& node, int depth) {
  json += '[';
  bool first = true;
  for (const auto& item : node) {
    if (!first) json += ',';
    first = false;
    if (absl::Status status = Append(json, item, depth + 1); !status.ok()) return status;
  }
  json += ']';
  return absl::OkStatus();
}

absl::Status Append(std::string& json, const YAML::Node& node, int depth) {
  if (depth > kMaxDepth) return Wrong(node, fmt::format("found more than {} levels", kMaxDepth));
  if (json.size() > kMaxJsonBytes) {
    return Wrong(node, fmt::format("found more than {} bytes as JSON", kMaxJsonBytes));
  }
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      json += "null";
      return absl::OkStatus();
    case YAML::NodeType::Scalar:
      AppendScalar(json, node);
      return absl::OkStatus();
    case YAML::NodeType::Sequence:
      return AppendSequence(json, node, depth);
    case YAML::NodeType::Map:
      return AppendMap(json, node, depth);
  }
  return Wrong(node, "found a node of no kind");
}

// Reads and keeps nothing.
class Nothing final : public YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// How many documents there are, of which two are enough to know: of some texts that are no YAML,
// such as `, a`, yaml-cpp makes one empty document after the other, without end.
int DocumentsIn(const std::string& yaml) {
  std::istringstream text(yaml);
  YAML::Parser parser(text);
  Nothing nothing;
  int documents = 0;
  while (documents < 2 && parser.HandleNextDocument(nothing)) ++documents;
  return documents;
}

}  // namespace

absl::StatusOr<std::string> JsonOfYaml(const std::string& yaml) {
  try {
    const int documents = DocumentsIn(yaml);
    if (documents != 1) {
      return absl::InvalidArgumentError(fmt::format("found {}{} YAML documents, expected one",
                                                    documents == 0 ? "" : "at least ", documents));
    }
    std::string json;
    if (absl::Status status = Append(json, YAML::Load(yaml), 1); !status.ok()) return status;
    return json;
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(fmt::format("found no YAML: {}", e.what()));
  }
}

}  // namespace concordat::runtime
