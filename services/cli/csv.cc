#include "services/cli/csv.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/cli/text.h"

namespace concordat::cli {

absl::StatusOr<std::vector<CsvLine>> ParseCsv(std::string_view text,
                                              const std::vector<std::string>& known) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<std::string> titles;
  std::vector<CsvLine> lines;
  int number = 1;
  const auto bad = [&](int line, const std::string& detail) {
    return absl::InvalidArgumentError(fmt::format("line {}: {}", line, detail));
  };
  for (size_t at = 0; at < text.size();) {
    const int begins = number;
    std::vector<std::string> fields(1);
    bool quoted = false, was_quoted = false;
    for (; at < text.size(); ++at) {
      const char c = text[at];
      if (c == '\n') ++number;
      if (quoted && c == '"' && at + 1 < text.size() && text[at + 1] == '"') {
        fields.back() += text[++at];
      } else if (c == '"' && (quoted || fields.back().empty())) {
        quoted = !quoted;
        was_quoted = true;
      } else if (!quoted && c == ',') {
        fields.emplace_back();
      } else if (!quoted && c == '\n') {
        ++at;
        break;
      } else if (quoted || c != '\r') {
        fields.back() += c;
      }
    }
    if (quoted) return bad(begins, "found a quote that does not end, expected one more");
    if (fields.size() == 1 && fields[0].empty() && !was_quoted) continue;
    if (titles.empty()) {
      titles = fields;
      for (const std::string& title : titles) {
        if (std::find(known.begin(), known.end(), title) == known.end()) {
          return bad(begins,
                     fmt::format("found the title '{}', expected {}", title, Join(known, ", ")));
        }
        if (std::count(titles.begin(), titles.end(), title) > 1)
          return bad(begins, fmt::format("found the title '{}' twice, expected it once", title));
      }
      continue;
    }
    CsvLine& line = lines.emplace_back();
    line.number = begins;
    if (fields.size() != titles.size()) {
      line.wrong = fmt::format("found {} fields, expected {}", fields.size(), titles.size());
      continue;
    }
    for (size_t i = 0; i < titles.size(); ++i) line.fields[titles[i]] = fields[i];
  }
  return lines;
}

}  // namespace concordat::cli
