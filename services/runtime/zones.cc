#include "services/runtime/zones.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "services/runtime/check.h"

namespace concordat::runtime {
namespace {

constexpr size_t kMaxZoneBytes = 64;
constexpr std::string_view kVersionMark = "# version ";

// Paths, `localtime` and the copies with leap seconds are files that load too, and no names.
bool IsZoneName(std::string_view name) {
  if (name.empty() || name.size() > kMaxZoneBytes || name.front() == '/') return false;
  if (name.starts_with("right/") || name.starts_with("posix/") || name == "localtime") return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' ||
           c == '_' || c == '-' || c == '+';
  });
}

absl::StatusOr<std::string> ReadVersion() {
  const char* folder = std::getenv("TZDIR");
  const std::string path = fmt::format(
      "{}/tzdata.zi", folder != nullptr && *folder != '\0' ? folder : "/usr/share/zoneinfo");
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  if (line.starts_with(kVersionMark) && line.size() > kVersionMark.size())
    return line.substr(kVersionMark.size());
  return absl::FailedPreconditionError(fmt::format(
      "{}: found the first line \"{}\", expected \"{}\" and the version; install tzdata", path,
      line, kVersionMark));
}

}  // namespace

absl::StatusOr<absl::TimeZone> LoadZone(std::string_view field, std::string_view name) {
  if (absl::Status status = CheckText(field, name); !status.ok()) return status;
  absl::TimeZone zone;
  if (IsZoneName(name) && absl::LoadTimeZone(std::string(name), &zone)) return zone;
  return absl::InvalidArgumentError(
      fmt::format("{}: found \"{}\", expected a time zone of the IANA data base such as "
                  "Europe/Paris",
                  field, name));
}

const absl::StatusOr<std::string>& ZoneDataVersion() {
  static const absl::StatusOr<std::string>* const version =
      new absl::StatusOr<std::string>(ReadVersion());
  return *version;
}

}  // namespace concordat::runtime
