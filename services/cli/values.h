// What people type and what messages hold: times, durations, figures, criteria, enums, watts.
// Law: a value that is not exactly understood is refused, with an example of what is.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <functional>
#include <string>
#include <string_view>

#include "concordat/inventory/v1/events.pb.h"

namespace concordat::cli {

// Says what `now` is: the clock of the site that is asked, which the demo profile moves by hand.
using Clock = std::function<absl::StatusOr<absl::Time>()>;

// RFC 3339, `2027-01-05`, `2027-01-05T09:00` (both UTC), `now`, `+2h`, `+30d`, `-1h`. The clock is
// read for the relative ones only. INVALID_ARGUMENT for anything else.
absl::StatusOr<absl::Time> ParseTime(std::string_view text, const Clock& clock);

// Whether ParseTime() would read the clock.
bool IsRelativeTime(std::string_view text);

// `90s`, `2h30m`, `30d`, `2w`; not negative. INVALID_ARGUMENT for anything else.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// As ParseDuration() reads it, in its largest whole unit up to days: `36h`, `14d`.
std::string DurationText(const google::protobuf::Duration& duration);

// UTC, seconds; microseconds where there are any.
std::string TimeText(absl::Time time);
std::string TimeText(const google::protobuf::Timestamp& time);

absl::Time FromTimestamp(const google::protobuf::Timestamp& time);
google::protobuf::Timestamp ToTimestamp(absl::Time time);

// `gpu_gemm_tflops=2500:tflops`.
absl::StatusOr<inventory::v1::Figure> ParseFigure(std::string_view text);

// `gpu_gemm_tflops=2400..2600:tflops`; a bound that is left out does not bind.
absl::StatusOr<inventory::v1::Criterion> ParseCriterion(std::string_view text);

// `inference` or `PURPOSE_INFERENCE` of the enum Purpose; never the zero value.
absl::StatusOr<const google::protobuf::EnumValueDescriptor*> ParseEnum(
    const google::protobuf::EnumDescriptor& type, std::string_view text);

// `PURPOSE_INFERENCE` → `inference`; `unspecified` for the zero value.
std::string ShortEnum(const google::protobuf::EnumValueDescriptor& value);

// `28800000000`, `28.8GWh`, `120MWh`, `40kWh`, in watt-hours.
absl::StatusOr<int64_t> ParseWattHours(std::string_view text);

// `40000000`, `40MW`, `120kW`, `950W`, in watts.
absl::StatusOr<int64_t> ParseWatts(std::string_view text);

// `40 MW`, `120.5 kW`, `950 W`.
std::string FormatWatts(int64_t watts);

// `30h` or `90m` of one accelerator, or a whole number of seconds.
absl::StatusOr<int64_t> ParseAcceleratorSeconds(std::string_view text);

// Accelerator-hours with two digits, rounded down: `12.50 h`.
std::string FormatAcceleratorSeconds(int64_t seconds);

// `vera_rubin` → `vera-rubin`, and back.
std::string FlagName(std::string_view field);

// 32 hexadecimal digits in UUID version 4 form, from the system's random source.
std::string RandomRequestId();

}  // namespace concordat::cli
