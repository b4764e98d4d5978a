// JSON as it is printed: its strings, and as YAML. The other way is services/runtime/yaml.h.
#pragma once

#include <string>

namespace concordat::cli {

// A string as JSON writes it, with its quotes.
std::string JsonString(const std::string& text);

// JSON as YAML, with its keys in the same order; words that YAML would read as numbers stay quoted.
std::string YamlOfJson(const std::string& json);

}  // namespace concordat::cli
