// The time zones of the machine: the IANA data base in $TZDIR, or else in /usr/share/zoneinfo.
// Law: a zone is read once and stays what it was until the process ends, so that what is told
// apart by a version is told the same way throughout a run. Any thread may call these.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <string>
#include <string_view>

namespace concordat::runtime {

// A zone by its IANA name, `Europe/Paris`. INVALID_ARGUMENT, naming the field: no such zone, or a
// name that is not one of the data base's, such as `localtime` or a path.
absl::StatusOr<absl::TimeZone> LoadZone(std::string_view field, std::string_view name);

// The version of the data base, `2025b`, as its file tzdata.zi said when it was asked first.
// FAILED_PRECONDITION where it said none. Lives as long as the process.
const absl::StatusOr<std::string>& ZoneDataVersion();

}  // namespace concordat::runtime
