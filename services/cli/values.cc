#include "services/cli/values.h"

#include <fmt/format.h>

#include <initializer_list>
#include <limits>
#include <optional>
#include <random>

#include "services/cli/text.h"

namespace concordat::cli {
namespace {

constexpr std::string_view kTimeForms =
    "RFC 3339 such as 2027-01-05T09:00:00Z, a date such as 2027-01-05, now, +2h or +30d";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Abseil's durations have no days and weeks; a day here is 24 hours.
bool ParseSpan(std::string_view text, absl::Duration* span) {
  const auto whole_days = [&](std::string_view suffix, int64_t days) {
    std::string_view digits = text;
    int64_t count = 0;
    if (!ConsumeSuffix(&digits, suffix) || digits.empty() || !IsDigit(digits[0]) ||
        !ParseNumber(digits, &count)) {
      return false;
    }
    *span = absl::Hours(24) * days * count;
    return true;
  };
  if (whole_days("d", 1) || whole_days("w", 7)) return true;
  if (text.empty() || !IsDigit(text[0])) return false;
  return absl::ParseDuration(std::string(text), span) && *span >= absl::ZeroDuration();
}

absl::Status Expected(std::string_view what, std::string_view found, std::string_view forms) {
  return absl::InvalidArgumentError(fmt::format("found {} '{}', expected {}", what, found, forms));
}

// `name=rest:unit` into its three parts.
bool SplitFigure(std::string_view text, std::string* name, std::string* value, std::string* unit) {
  const size_t equals = text.find('=');
  const size_t colon = text.rfind(':');
  if (equals == std::string_view::npos || colon == std::string_view::npos || colon < equals)
    return false;
  *name = std::string(text.substr(0, equals));
  *value = std::string(text.substr(equals + 1, colon - equals - 1));
  *unit = std::string(text.substr(colon + 1));
  return !name->empty() && !value->empty() && !unit->empty();
}

// `SubjectKind` → `SUBJECT_KIND_`.
std::string EnumPrefix(const google::protobuf::EnumDescriptor& type) {
  std::string prefix;
  for (const char c : type.name()) {
    if ((c >= 'A' && c <= 'Z') && !prefix.empty()) prefix += '_';
    prefix += c;
  }
  return Upper(prefix) + "_";
}

}  // namespace

bool IsRelativeTime(std::string_view text) {
  return text == "now" || text.starts_with("+") || text.starts_with("-");
}

absl::StatusOr<absl::Time> ParseTime(std::string_view text, const Clock& clock) {
  absl::Duration span;
  if (IsRelativeTime(text)) {
    if (text != "now" && !ParseSpan(text.substr(1), &span))
      return Expected("time", text, kTimeForms);
    const auto now = clock();
    if (!now.ok()) return now.status();
    // Whole seconds: nobody means the microsecond at which the command was typed.
    const absl::Time second = absl::FromUnixSeconds(absl::ToUnixSeconds(*now));
    if (text == "now") return second;
    return text[0] == '+' ? second + span : second - span;
  }
  absl::Time time;
  std::string error;
  for (const char* format :
       {absl::RFC3339_full, "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%E*S"}) {
    if (absl::ParseTime(format, std::string(text), absl::UTCTimeZone(), &time, &error) &&
        time != absl::InfiniteFuture() && time != absl::InfinitePast()) {
      return time;
    }
  }
  return Expected("time", text, kTimeForms);
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  absl::Duration span;
  if (!ParseSpan(text, &span) || span == absl::InfiniteDuration()) {
    return Expected("duration", text, "a duration such as 90s, 2h30m or 30d");
  }
  return span;
}

std::string DurationText(const google::protobuf::Duration& duration) {
  if (duration.nanos() == 0 && duration.seconds() != 0) {
    for (const auto& [unit, seconds] : {std::pair("d", 86400), std::pair("h", 3600)}) {
      if (duration.seconds() % seconds == 0)
        return fmt::format("{}{}", duration.seconds() / seconds, unit);
    }
  }
  return absl::FormatDuration(absl::Seconds(duration.seconds()) +
                              absl::Nanoseconds(duration.nanos()));
}

std::string TimeText(absl::Time time) {
  const bool whole = time == absl::FromUnixSeconds(absl::ToUnixSeconds(time));
  return absl::FormatTime(whole ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%dT%H:%M:%E6SZ", time,
                          absl::UTCTimeZone());
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return cli::TimeText(FromTimestamp(time));
}

absl::Time FromTimestamp(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  google::protobuf::Timestamp result;
  const int64_t micros = absl::ToUnixMicros(time);
  const int64_t seconds = absl::ToUnixSeconds(time);
  result.set_seconds(seconds);
  result.set_nanos(static_cast<int32_t>((micros - seconds * 1'000'000) * 1000));
  return result;
}

absl::StatusOr<inventory::v1::Figure> ParseFigure(std::string_view text) {
  inventory::v1::Figure figure;
  std::string value;
  int64_t number = 0;
  if (!SplitFigure(text, figure.mutable_name(), &value, figure.mutable_unit()) ||
      !ParseNumber(value, &number)) {
    return Expected("figure", text, "name=value:unit such as gpu_gemm_tflops=2500:tflops");
  }
  figure.set_value(number);
  return figure;
}

absl::StatusOr<inventory::v1::Criterion> ParseCriterion(std::string_view text) {
  inventory::v1::Criterion criterion;
  std::string range;
  int64_t minimum = std::numeric_limits<int64_t>::min();
  int64_t maximum = std::numeric_limits<int64_t>::max();
  bool good = SplitFigure(text, criterion.mutable_figure(), &range, criterion.mutable_unit());
  const size_t dots = range.find("..");
  good = good && dots != std::string::npos && range.size() > 2;
  if (good) {
    const std::string low = range.substr(0, dots);
    const std::string high = range.substr(dots + 2);
    good = (low.empty() || ParseNumber(low, &minimum)) &&
           (high.empty() || ParseNumber(high, &maximum)) && minimum <= maximum;
  }
  if (!good) {
    return Expected("criterion", text,
                    "figure=min..max:unit such as gpu_gemm_tflops=2400..2600:tflops");
  }
  criterion.set_minimum(minimum);
  criterion.set_maximum(maximum);
  return criterion;
}

std::string ShortEnum(const google::protobuf::EnumValueDescriptor& value) {
  std::string_view name = value.name();
  ConsumePrefix(&name, EnumPrefix(*value.type()));
  return Lower(ReplaceAll(name, "_", "-"));
}

absl::StatusOr<const google::protobuf::EnumValueDescriptor*> ParseEnum(
    const google::protobuf::EnumDescriptor& type, std::string_view text) {
  std::string names;
  const std::string wanted = Lower(ReplaceAll(text, "_", "-"));
  for (int i = 0; i < type.value_count(); ++i) {
    const auto* value = type.value(i);
    if (value->number() == 0) continue;  // Unspecified is refused on write.
    if (wanted == ShortEnum(*value) || text == value->name()) return value;
    Append(&names, names.empty() ? "" : ", ", ShortEnum(*value));
  }
  return absl::InvalidArgumentError(fmt::format("found '{}', expected one of {}", text, names));
}

namespace {
struct Unit {
  std::string_view suffix;
  double factor;
};

// A whole number, or any with one of the units; nothing where it is neither, or out of range.
std::optional<int64_t> ParseAmount(std::string_view text, std::initializer_list<Unit> units) {
  for (const Unit& unit : units) {
    std::string_view digits = text;
    double number = 0;
    if (!ConsumeSuffix(&digits, unit.suffix)) continue;
    if (ParseNumber(digits, &number) && number >= 0 && number * unit.factor < 9e15)
      return static_cast<int64_t>(number * unit.factor + 0.5);
  }
  int64_t amount = 0;
  if (ParseNumber(text, &amount)) return amount;
  return std::nullopt;
}
}  // namespace

absl::StatusOr<int64_t> ParseWatts(std::string_view text) {
  const auto watts = ParseAmount(text, {{"MW", 1e6}, {"kW", 1e3}, {"W", 1}});
  if (watts) return *watts;
  return Expected("power", text, "watts such as 40000000, 40MW or 120kW");
}

absl::StatusOr<int64_t> ParseWattHours(std::string_view text) {
  const auto watt_hours = ParseAmount(text, {{"GWh", 1e9}, {"MWh", 1e6}, {"kWh", 1e3}, {"Wh", 1}});
  if (watt_hours) return *watt_hours;
  return Expected("energy", text, "watt-hours such as 28800000000, 28.8GWh or 120MWh");
}

std::string FormatWatts(int64_t watts) {
  if (watts >= 1'000'000) return fmt::format("{:g} MW", static_cast<double>(watts) / 1e6);
  if (watts >= 1000) return fmt::format("{:g} kW", static_cast<double>(watts) / 1e3);
  return fmt::format("{} W", watts);
}

absl::StatusOr<int64_t> ParseAcceleratorSeconds(std::string_view text) {
  int64_t seconds = 0;
  if (ParseNumber(text, &seconds)) return seconds;
  const auto duration = ParseDuration(text);
  if (duration.ok()) return absl::ToInt64Seconds(*duration);
  return Expected("accelerator-hours", text, "a number of seconds, or hours such as 30h");
}

std::string FormatAcceleratorSeconds(int64_t seconds) {
  constexpr int64_t kHour = 3600;
  const std::string_view sign = seconds < 0 ? "-" : "";
  const int64_t whole = seconds < 0 ? -seconds : seconds;
  return fmt::format("{}{}.{:02} h", sign, whole / kHour, whole % kHour * 100 / kHour);
}

std::string FlagName(std::string_view field) { return Lower(ReplaceAll(field, "_", "-")); }

std::string RandomRequestId() {
  std::random_device source;
  uint32_t words[4] = {source(), source(), source(), source()};
  words[1] = (words[1] & 0xffff0fff) | 0x00004000;  // RFC 4122, version 4
  words[2] = (words[2] & 0x3fffffff) | 0x80000000;  // and its variant
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:04x}{:08x}", words[0], words[1] >> 16,
                     words[1] & 0xffff, words[2] >> 16, words[2] & 0xffff, words[3]);
}

}  // namespace concordat::cli
