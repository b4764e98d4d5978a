// Expands the schedules given on standard input, for comparison with another implementation. One
// a line, its fields parted by tabs; lists by commas:
//
//   zone rule start duration-seconds length gap fold exceptions additions from to
//
// `start`, exceptions and additions as 20270131T090000; `from` and `to` in Unix seconds. One line
// for each: the occurrences, `start/end` in Unix seconds, parted by spaces; or `error: …`.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "services/reservations/recurrence.h"
#include "services/runtime/zones.h"

namespace concordat::reservations {
namespace {

std::vector<std::string> Split(const std::string& text, char by) {
  std::vector<std::string> parts;
  size_t from = 0;
  while (true) {
    const size_t end = text.find(by, from);
    parts.push_back(text.substr(from, end - from));
    if (end == text.npos) return parts;
    from = end + 1;
  }
}

absl::CivilSecond Local(const std::string& text) {
  const auto number = [&](size_t from, size_t count) {
    return std::stoi(text.substr(from, count));
  };
  return absl::CivilSecond(number(0, 4), number(4, 2), number(6, 2), number(9, 2), number(11, 2),
                           number(13, 2));
}

std::vector<absl::CivilSecond> Locals(const std::string& text) {
  std::vector<absl::CivilSecond> times;
  if (text.empty()) return times;
  for (const std::string& item : Split(text, ',')) times.push_back(Local(item));
  return times;
}

std::string Expand(const std::vector<std::string>& fields) {
  const auto zone = runtime::LoadZone("zone", fields[0]);
  if (!zone.ok()) return fmt::format("error: {}", std::string(zone.status().message()));
  RecurringSchedule schedule;
  schedule.rule = fields[1];
  schedule.start = Local(fields[2]);
  schedule.duration = absl::Seconds(std::stoll(fields[3]));
  schedule.length = fields[4] == "elapsed" ? Length::kElapsed : Length::kWallClock;
  schedule.gap = fields[5] == "skip" ? Gap::kSkip : Gap::kShiftForward;
  schedule.fold = fields[6] == "first"    ? Fold::kFirst
                  : fields[6] == "second" ? Fold::kSecond
                                          : Fold::kBoth;
  schedule.exceptions = Locals(fields[7]);
  schedule.additions = Locals(fields[8]);
  const auto recurrence = Recurrence::Create(schedule, *zone);
  if (!recurrence.ok()) return fmt::format("error: {}", std::string(recurrence.status().message()));
  std::string line;
  for (const Occurrence& occurrence :
       recurrence->Expand(absl::FromUnixSeconds(std::stoll(fields[9])),
                          absl::FromUnixSeconds(std::stoll(fields[10])))) {
    line += fmt::format("{}{}/{}", line.empty() ? "" : " ", absl::ToUnixSeconds(occurrence.start),
                        absl::ToUnixSeconds(occurrence.end));
  }
  return line;
}

}  // namespace
}  // namespace concordat::reservations

int main() {
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::vector<std::string> fields = concordat::reservations::Split(line, '\t');
    if (fields.size() != 11) {
      fmt::print(stderr, "expand_schedules: found {} fields, expected 11\n", fields.size());
      return 1;
    }
    fmt::print("{}\n", concordat::reservations::Expand(fields));
  }
  return 0;
}
