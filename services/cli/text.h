// Small things about text. Debian's Abseil has a string view of its own, which the standard's does
// not turn into; these take the standard's.
#pragma once

#include <absl/status/status.h>

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::cli {

inline std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

template <typename... Parts>
void Append(std::string* text, const Parts&... parts) {
  ((*text += std::string_view(parts)), ...);
}

template <typename Words>
std::string Join(const Words& words, std::string_view separator) {
  std::string text;
  bool first = true;
  for (const auto& word : words) {
    Append(&text, first ? "" : separator, word);
    first = false;
  }
  return text;
}

// Every part, also empty ones; of an empty text, one empty part.
std::vector<std::string> Split(std::string_view text, char separator);

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to);
std::string Lower(std::string_view text);
std::string Upper(std::string_view text);
// Without blanks and line feeds at both ends.
std::string_view Strip(std::string_view text);

inline bool ConsumePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

inline bool ConsumeSuffix(std::string_view* text, std::string_view suffix) {
  if (!text->ends_with(suffix)) return false;
  text->remove_suffix(suffix.size());
  return true;
}

// The whole text as a number.
template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace concordat::cli
