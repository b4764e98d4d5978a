#include "services/runtime/check.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>

namespace concordat::runtime {
namespace {

constexpr int64_t kMostUnits = 1'000'000'000'000;
constexpr int64_t kLastSecond = 253402300799;  // 9999-12-31T23:59:59Z
constexpr size_t kMaxIdBytes = 63;
constexpr size_t kQuotedBytes = 80;

bool IsIdByte(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool IsId(std::string_view id) {
  if (id.empty() || id.size() > kMaxIdBytes || !IsIdByte(id.front()) || !IsIdByte(id.back()))
    return false;
  return std::all_of(id.begin(), id.end(), [](char c) { return c == '-' || IsIdByte(c); });
}

// Takes what stands before the next slash off the front.
std::string_view TakeSegment(std::string_view& path) {
  const size_t slash = path.find('/');
  const std::string_view segment = path.substr(0, slash);
  path = slash == path.npos ? std::string_view() : path.substr(slash + 1);
  return segment;
}

// What was found, safe to print: a message may hold neither a megabyte nor bytes that are not
// UTF-8.
std::string Quoted(std::string_view value) {
  std::string shown;
  for (const char c : value.substr(0, kQuotedBytes)) shown += c >= ' ' && c <= '~' ? c : '?';
  if (value.size() > kQuotedBytes) shown += fmt::format("… ({} bytes)", value.size());
  return fmt::format("\"{}\"", shown);
}

absl::Status Wrong(std::string_view field, std::string_view found, std::string_view expected) {
  return absl::InvalidArgumentError(
      fmt::format("{}: found {}, expected {}", field, found, expected));
}

// The length of the character that starts here, or 0 where it is not UTF-8 (RFC 3629) or a control
// character.
size_t PrintableLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned char second = byte(1);
  if (first == 0xc2 && second < 0xa0) return 0;  // C1 controls
  if (first == 0xe0 && second < 0xa0) return 0;  // overlong
  if (first == 0xed && second > 0x9f) return 0;  // surrogates
  if (first == 0xf0 && second < 0x90) return 0;  // overlong
  if (first == 0xf4 && second > 0x8f) return 0;  // above U+10FFFF
  return length;
}

// The values that may be written, as protos and the command line name them.
std::string NamesOf(const google::protobuf::EnumDescriptor& type) {
  std::string names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() == 0) continue;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", type.value(i)->name());
  }
  return names;
}

}  // namespace

bool IsPrintable(std::string_view text) {
  while (!text.empty()) {
    const size_t length = PrintableLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

absl::Status FirstError(std::initializer_list<absl::Status> checks) {
  for (const absl::Status& check : checks) {
    if (!check.ok()) return check;
  }
  return absl::OkStatus();
}

bool IsAddress(std::string_view text) {
  constexpr int kMostPort = 65535;
  const size_t colon = text.rfind(':');
  if (colon == 0 || colon == text.npos || colon + 1 == text.size()) return false;
  const std::string_view host = text.substr(0, colon);
  // An address of IPv6 has colons of its own, and brackets around them.
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (host.find_first_of("/ \t") != host.npos || (!bracketed && host.find(':') != host.npos))
    return false;
  int port = 0;
  for (const char c : text.substr(colon + 1)) {
    if (c < '0' || c > '9') return false;
    port = port * 10 + (c - '0');
    if (port > kMostPort) return false;
  }
  return true;
}

bool MatchesName(std::string_view name, std::string_view pattern) {
  if (name.size() > kMaxNameBytes) return false;
  if (std::count(name.begin(), name.end(), '/') != std::count(pattern.begin(), pattern.end(), '/'))
    return false;
  while (!pattern.empty()) {
    const std::string_view wanted = TakeSegment(pattern);
    const std::string_view found = TakeSegment(name);
    if (wanted == "*" ? !IsId(found) : found != wanted) return false;
  }
  return true;
}

absl::Status CheckName(std::string_view field, std::string_view value, std::string_view pattern) {
  if (MatchesName(value, pattern)) return absl::OkStatus();
  return Wrong(
      field, Quoted(value),
      fmt::format("{} with ids of 1 to {} of a-z, 0-9 and inner -, at most {} bytes in all",
                  pattern, kMaxIdBytes, kMaxNameBytes));
}

absl::Status CheckText(std::string_view field, std::string_view value, Presence presence,
                       size_t max) {
  if (value.empty() && presence == Presence::kRequired) return Wrong(field, "nothing", "a text");
  if (value.size() > max) {
    return Wrong(field, fmt::format("{} bytes", value.size()),
                 fmt::format("at most {} bytes", max));
  }
  if (!IsPrintable(value)) return Wrong(field, Quoted(value), "UTF-8 without control characters");
  return absl::OkStatus();
}

absl::Status CheckRange(std::string_view field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Wrong(field, fmt::format("{}", value),
               least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most));
}

absl::Status CheckPositive(std::string_view field, int64_t value) {
  return CheckRange(field, value, 1, kMostUnits);
}

absl::Status CheckNotNegative(std::string_view field, int64_t value) {
  return CheckRange(field, value, 0, kMostUnits);
}

absl::Status CheckTime(std::string_view field, bool has, const google::protobuf::Timestamp& value) {
  if (!has) return Wrong(field, "nothing", "a time");
  if (value.seconds() < 0 || value.seconds() > kLastSecond) {
    return Wrong(field, fmt::format("{} s since 1970", value.seconds()),
                 "a time of the years 1970 to 9999");
  }
  return CheckRange(fmt::format("{}.nanos", field), value.nanos(), 0, 999'999'999);
}

absl::Status CheckSpan(std::string_view start_field, bool has_start,
                       const google::protobuf::Timestamp& start, std::string_view end_field,
                       bool has_end, const google::protobuf::Timestamp& end) {
  absl::Status status =
      FirstError({CheckTime(start_field, has_start, start), CheckTime(end_field, has_end, end)});
  if (!status.ok() || ToTime(start) < ToTime(end)) return status;
  return Wrong(end_field, ToText(ToTime(end)),
               fmt::format("a time after {} ({})", start_field, ToText(ToTime(start))));
}

absl::Status CheckCountry(std::string_view field, std::string_view value) {
  const bool letters =
      std::all_of(value.begin(), value.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  if (value.size() == 2 && letters) return absl::OkStatus();
  return Wrong(field, Quoted(value), "an ISO 3166-1 country code of two capital letters");
}

absl::Status CheckWord(std::string_view field, std::string_view value) {
  const auto capital = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  const bool word = !value.empty() && value.size() <= kMaxIdBytes && capital(value.front()) &&
                    std::all_of(value.begin(), value.end(),
                                [&](char c) { return capital(c) || c == '_' || c == '-'; });
  if (word) return absl::OkStatus();
  return Wrong(field, Quoted(value), "a word of 1 to 63 of A-Z, 0-9, _ and -");
}

absl::Status CheckHex(std::string_view field, std::string_view value, size_t count) {
  const bool digits = std::all_of(value.begin(), value.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (value.size() == count && digits) return absl::OkStatus();
  return Wrong(field, Quoted(value), fmt::format("{} hexadecimal digits in lower case", count));
}

absl::Status CheckEnumNumber(std::string_view field, const google::protobuf::EnumDescriptor& type,
                             int number) {
  if (number != 0 && type.FindValueByNumber(number) != nullptr) return absl::OkStatus();
  // Zero is the value of a field that nobody has set.
  const std::string found = number == 0 ? "nothing" : fmt::format("{}", number);
  return Wrong(field, found, fmt::format("one of {}", NamesOf(type)));
}

std::string_view SiteOfName(std::string_view name) {
  if (TakeSegment(name) != "sites") return {};
  return TakeSegment(name);
}

std::string_view ParentOfName(std::string_view name) {
  const size_t id = name.rfind('/');
  if (id == name.npos || id == 0) return {};
  const size_t collection = name.rfind('/', id - 1);
  return collection == name.npos ? std::string_view() : name.substr(0, collection);
}

absl::Time ToTime(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  const absl::Time clamped =
      std::clamp(time, absl::UnixEpoch(), absl::FromUnixSeconds(kLastSecond));
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(absl::ToUnixSeconds(clamped));
  timestamp.set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(clamped - absl::FromUnixSeconds(timestamp.seconds()))));
  return timestamp;
}

std::string ToText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", time, absl::UTCTimeZone());
}

}  // namespace concordat::runtime
