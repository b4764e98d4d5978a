// YAML as JSON, for what people write as files: rules, requests.
#pragma once

#include <absl/status/statusor.h>

#include <string>

namespace concordat::runtime {

// Exactly one YAML document (JSON is one), as JSON. Quoted scalars are strings; unquoted `true`,
// `false`, `null`, `~`, nothing and JSON's numbers are what they look like; every other scalar is a
// string, so that the country `NO` and the date 2024-04-26 need no quotes. INVALID_ARGUMENT with
// line and column: not YAML, a key that is no word or stands twice, more than 64 levels, or more
// than 4 MiB of JSON (aliases may multiply what a short text says).
absl::StatusOr<std::string> JsonOfYaml(const std::string& yaml);

}  // namespace concordat::runtime
