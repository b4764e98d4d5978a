// Files of comma-separated values (RFC 4180).
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::cli {

// One line of a CSV file, by column.
struct CsvLine {
  int number = 0;  // in the file, from 1; the line that a quoted field ends on does not count
  std::map<std::string, std::string> fields;
  std::string wrong;  // what makes it none; it has no fields then
};

// By RFC 4180: fields in quotes may hold commas, quotes twice and line feeds; a first line of
// titles; empty lines are passed over. A line with more or fewer fields than titles is wrong.
// INVALID_ARGUMENT, with the line, where a title comes twice or is none of those that are known, or
// a quote does not end.
absl::StatusOr<std::vector<CsvLine>> ParseCsv(std::string_view text,
                                              const std::vector<std::string>& known);

}  // namespace concordat::cli
