// What it costs to expand schedules: one iteration is one year of occurrences.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "services/reservations/recurrence.h"
#include "services/runtime/zones.h"

namespace concordat::reservations {
namespace {

RecurringSchedule EveryWeek(const char* rule) {
  RecurringSchedule schedule;
  schedule.rule = rule;
  schedule.start = absl::CivilSecond(2027, 1, 4, 8, 0, 0);
  schedule.duration = absl::Hours(10);
  return schedule;
}

void ExpandYear(benchmark::State& state, const char* rule, int year) {
  const absl::TimeZone zone = *runtime::LoadZone("zone", "Europe/Paris");
  const auto recurrence = Recurrence::Create(EveryWeek(rule), zone);
  if (!recurrence.ok()) std::abort();
  const absl::Time from = absl::FromCivil(absl::CivilSecond(year, 1, 1, 0, 0, 0), zone);
  const absl::Time to = absl::FromCivil(absl::CivilSecond(year + 1, 1, 1, 0, 0, 0), zone);
  size_t occurrences = 0;
  for (auto _ : state) {
    const auto expanded = recurrence->Expand(from, to);
    occurrences = expanded.size();
    benchmark::DoNotOptimize(expanded.data());
  }
  state.counters["occurrences"] = static_cast<double>(occurrences);
}
BENCHMARK_CAPTURE(ExpandYear, Weekly, "FREQ=WEEKLY;BYDAY=MO", 2027);
BENCHMARK_CAPTURE(ExpandYear, Workdays, "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", 2027);
BENCHMARK_CAPTURE(ExpandYear, LastFridays, "FREQ=MONTHLY;BYDAY=-1FR", 2027);
BENCHMARK_CAPTURE(ExpandYear, WeeklyTenYearsOn, "FREQ=WEEKLY;BYDAY=MO", 2037);

void Create(benchmark::State& state) {
  const absl::TimeZone zone = *runtime::LoadZone("zone", "Europe/Paris");
  const RecurringSchedule schedule = EveryWeek("FREQ=WEEKLY;BYDAY=MO");
  for (auto _ : state) {
    const auto recurrence = Recurrence::Create(schedule, zone);
    benchmark::DoNotOptimize(recurrence.ok());
  }
}
BENCHMARK(Create);

}  // namespace
}  // namespace concordat::reservations

BENCHMARK_MAIN();
