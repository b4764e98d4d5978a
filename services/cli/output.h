// How data is printed: tables for people, JSON and YAML for programs, names for pipes.
// Law: JSON is the protobuf JSON of the message, the same that the HTTP interface gives.
#pragma once

#include <absl/status/status.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/message.h>

#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "services/cli/kinds.h"
#include "services/cli/session.h"

namespace concordat::cli {

// Rows of text with aligned columns. Widths count Unicode code points.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) : titles_(std::move(titles)) {}
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  // Two blanks between columns, no trailing blanks; titles unless `headers` is false.
  void Print(std::ostream& out, bool headers) const;

 private:
  std::vector<std::string> titles_;
  std::vector<std::vector<std::string>> rows_;
};

// The message inside; nullptr where its type is not known here.
std::unique_ptr<google::protobuf::Message> Unpack(const google::protobuf::Any& any);

// Whether a field is written as one word: all but messages other than times, durations and figures.
bool IsScalar(const google::protobuf::FieldDescriptor& field);

// A field by its path, as people read it: enums by their short names, times in UTC, watts with
// units, lists joined by commas, resource names shortened. Of a repeated message, the last one's
// field.
std::string FieldText(const google::protobuf::Message& message, std::string_view path);

// The field `name`, or empty.
std::string NameOf(const google::protobuf::Message& resource);

// Protobuf JSON, indented, ending in a line feed.
std::string ToJsonText(const google::protobuf::Message& message);

// JSON text as JSON or YAML, as `format` says.
void PrintDocument(std::ostream& out, Format format, const std::string& json);

// A message as JSON or YAML, as `format` says.
void PrintMessage(std::ostream& out, Format format, const google::protobuf::Message& message);

// Every field that is set, one a line, nested ones indented.
std::string DescribeText(const google::protobuf::Message& message, int indent = 0);

// Resources as a table of their kind.
void PrintTable(std::ostream& out, const Kind& kind,
                const std::vector<std::unique_ptr<google::protobuf::Message>>& resources,
                bool headers);

// Colours, where the console has them.
enum class Hue { kGood, kBad, kDim, kBold };
std::string Paint(const Console& console, Hue hue, std::string_view text);

}  // namespace concordat::cli
