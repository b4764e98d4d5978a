// What the bytes of a request alone can tell, for the services' Validate().
// Law: every failure is INVALID_ARGUMENT and names the field, what was found and what is expected.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <google/protobuf/generated_enum_reflection.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace concordat::runtime {

constexpr size_t kMaxNameBytes = 200;
constexpr size_t kMaxTextBytes = 500;

enum class Presence { kOptional, kRequired };

// The first that is not OK. All of them are evaluated: a check that is safe only after another one
// belongs into a statement of its own.
absl::Status FirstError(std::initializer_list<absl::Status> checks);

// Whether a text is HOST:PORT, with a host and a port of 0 to 65535.
bool IsAddress(std::string_view text);

// Whether the name follows the pattern: `sites/*/servers/*`, each `*` an id
// [a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?, the whole at most 200 bytes.
bool MatchesName(std::string_view name, std::string_view pattern);
absl::Status CheckName(std::string_view field, std::string_view value, std::string_view pattern);

// UTF-8 (RFC 3629) without control characters.
bool IsPrintable(std::string_view text);

// Valid UTF-8 of at most `max` bytes, without control characters; not empty where it is required.
absl::Status CheckText(std::string_view field, std::string_view value,
                       Presence presence = Presence::kRequired, size_t max = kMaxTextBytes);

// `least` ≤ value ≤ `most`. For counts of repeated fields too.
absl::Status CheckRange(std::string_view field, int64_t value, int64_t least, int64_t most);
// From 1 to 10^12: sums over a site's servers stay far from overflow.
absl::Status CheckPositive(std::string_view field, int64_t value);
// From 0 to 10^12.
absl::Status CheckNotNegative(std::string_view field, int64_t value);

// Present, in the years 1970 to 9999, nanoseconds in range.
absl::Status CheckTime(std::string_view field, bool has, const google::protobuf::Timestamp& value);
// Both present and in range, and the start before the end.
absl::Status CheckSpan(std::string_view start_field, bool has_start,
                       const google::protobuf::Timestamp& start, std::string_view end_field,
                       bool has_end, const google::protobuf::Timestamp& end);

// ISO 3166-1 alpha-2 in form: two capital letters.
absl::Status CheckCountry(std::string_view field, std::string_view value);
// A word such as `HEALTH` or `ISO27001`: [A-Z0-9][A-Z0-9_-]{0,62}.
absl::Status CheckWord(std::string_view field, std::string_view value);
// `count` hexadecimal digits in lower case.
absl::Status CheckHex(std::string_view field, std::string_view value, size_t count);

absl::Status CheckEnumNumber(std::string_view field, const google::protobuf::EnumDescriptor& type,
                             int number);
// A value that the enum names, and not its zero.
template <typename Enum>
absl::Status CheckEnum(std::string_view field, Enum value) {
  return CheckEnumNumber(field, *google::protobuf::GetEnumDescriptor<Enum>(),
                         static_cast<int>(value));
}

// Names and times as deciders need them.

// `paris` of `sites/paris` and of `sites/paris/servers/a01-01`; empty for anything else.
std::string_view SiteOfName(std::string_view name);
// `customers/hsbc` of `customers/hsbc/contracts/2027`; empty where there is no such parent.
std::string_view ParentOfName(std::string_view name);

// Exact to the nanosecond; survives any bytes.
absl::Time ToTime(const google::protobuf::Timestamp& timestamp);
// Clamped to the years that a timestamp may hold.
google::protobuf::Timestamp ToTimestamp(absl::Time time);
// RFC 3339 in UTC, for the details of refusals: `2027-01-31T00:00:00Z`.
std::string ToText(absl::Time time);

}  // namespace concordat::runtime
