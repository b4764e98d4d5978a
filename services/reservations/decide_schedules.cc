#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "services/reservations/decider.h"
#include "services/reservations/quotas.h"
#include "services/runtime/check.h"
#include "services/runtime/zones.h"

namespace concordat::reservations {
namespace {

// New data of a zone move occurrences by less than this, and rules are at least a day apart.
constexpr absl::Duration kMostShift = absl::Hours(12);

std::string Sentence(const absl::Status& status) {
  return fmt::format("The schedule cannot take place: {}.", std::string(status.message()));
}

v1::Event UnknownSchedule(const google::protobuf::Message& command, const std::string& name,
                          const runtime::Facts& facts) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} has no schedule at {}, expected a contract with access hours or a "
                             "reservation that recurs and is not over.",
                             name, Here(facts)));
}

// Servers for an occurrence that the horizon has reached, or why there are none.
void GrantServers(const State& state, Frame& frame, const Wanted& wanted,
                  v1::Occurrence& occurrence, const runtime::Facts& facts) {
  const Occurrence times = OccurrenceOf(occurrence);
  auto found = FindGrant(state, frame, wanted, {times.start, times.end}, facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&found)) {
    occurrence.set_reason(obstacle->reason);
    occurrence.set_detail(obstacle->detail);
    return;
  }
  const Grant& grant = std::get<Grant>(found);
  occurrence.mutable_servers()->Assign(grant.servers.begin(), grant.servers.end());
  occurrence.set_it_power_watts(grant.watts.it_power);
  occurrence.set_cooling_watts(grant.watts.cooling);
  occurrence.set_accelerators(grant.accelerators);
  frame.planned_accelerator_seconds +=
      AcceleratorSeconds(grant.accelerators, {times.start, times.end});
}

struct Pair {
  const v1::Occurrence* before = nullptr;
  std::optional<Occurrence> after;
};

// The occurrences that differ, by time; both lists are ordered.
std::vector<Pair> Differences(const std::vector<const v1::Occurrence*>& known,
                              const std::vector<Occurrence>& found) {
  std::vector<Pair> differences;
  size_t i = 0, j = 0;
  while (i < known.size() || j < found.size()) {
    const bool has_before = i < known.size();
    const bool has_after = j < found.size();
    const absl::Duration apart = has_before && has_after
                                     ? found[j].start - OccurrenceOf(*known[i]).start
                                 : has_before ? absl::InfiniteDuration()
                                              : -absl::InfiniteDuration();
    if (absl::AbsDuration(apart) <= kMostShift) {
      if (OccurrenceOf(*known[i]) != found[j]) differences.push_back({known[i], found[j]});
      ++i, ++j;
    } else if (apart > absl::ZeroDuration()) {
      differences.push_back({known[i++], std::nullopt});
    } else {
      differences.push_back({nullptr, found[j++]});
    }
  }
  return differences;
}

// A contract's hours follow the data. A reservation moves where its servers are free, and is
// promised as it was where they are not: no data take away what was promised.
v1::OccurrenceShift ShiftOf(const State& state, const Pair& pair, std::optional<Frame>& frame,
                            const runtime::Facts& facts) {
  v1::OccurrenceShift shift;
  if (pair.before != nullptr) *shift.mutable_before() = *pair.before;
  if (pair.after) {
    *shift.mutable_after() = ToMessage(*pair.after);
    if (pair.before != nullptr) shift.mutable_after()->set_name(pair.before->name());
  }
  if (!frame) return shift;
  const auto keep = [&](std::string detail) {
    shift.set_kept(true);
    shift.set_detail(std::move(detail));
    return shift;
  };
  if (pair.before == nullptr) return keep("It is new, and no servers are reserved for it.");
  const auto reservation = state.rows.reservations.Get(pair.before->name());
  const bool promised = reservation && (reservation->state() == v1::RESERVATION_STATE_HELD ||
                                        reservation->state() == v1::RESERVATION_STATE_CONFIRMED);
  if (!promised) return shift;
  if (!pair.after) return keep("The schedule has it no more; cancel it where it is not wanted.");
  const Checked obstacle =
      CheckMove(state, *frame, *reservation, {pair.after->start, pair.after->end}, facts);
  if (obstacle) return keep(obstacle->detail);
  v1::Reservation moved = *reservation;
  *moved.mutable_terms()->mutable_start_time() = shift.after().start_time();
  *moved.mutable_terms()->mutable_end_time() = shift.after().end_time();
  frame->planned_accelerator_seconds += BookedSeconds(moved) - BookedSeconds(*reservation);
  return shift;
}

// Where a series is granted; nothing for a contract's hours.
std::optional<Frame> FrameOfSeries(const State& state, const std::string& name,
                                   const runtime::Facts& facts) {
  const auto reservation = state.rows.reservations.Get(name);
  if (!reservation) return std::nullopt;
  auto found = FrameOf(state, reservation->terms().contract(), facts);
  if (auto* frame = std::get_if<Frame>(&found)) {
    frame->margins = reservation->margins();
    return std::move(*frame);
  }
  return Frame();
}

}  // namespace

std::variant<Expansion, Obstacle> ExpandHours(const v1::AccessSchedule& access, const Span& term,
                                              absl::Time now) {
  // What has begun and is not over counts too.
  const absl::Duration duration = absl::Seconds(access.duration().seconds()) + kMostShift;
  const absl::Time from = std::max(term.start, now);
  const absl::Time until = HorizonOf(term.start, term.end, now);
  absl::StatusOr<Expansion> expansion = ExpandWithin(access, from - duration, until, term.end);
  if (!expansion.ok()) return Obstacle{v1::REASON_SCHEDULE, Sentence(expansion.status())};
  std::erase_if(expansion->occurrences,
                [&](const Occurrence& occurrence) { return occurrence.end <= from; });
  if (!expansion->occurrences.empty()) return *std::move(expansion);
  return Obstacle{v1::REASON_SCHEDULE,
                  fmt::format("{} in {} has no occurrence within {}, expected one.", access.rule(),
                              access.time_zone(), ToText({from, until}))};
}

v1::Event Extend(const State& state, const v1::ExtendSchedule& command,
                 const runtime::Facts& facts) {
  const auto schedule = state.rows.schedules.Get(command.name());
  if (!schedule) return UnknownSchedule(command, command.name(), facts);
  const std::optional<absl::Time> due = ExtensionTimeOf(*schedule);
  if (!due || facts.now < *due) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("The occurrences of {} are known up to {}, expected a horizon that "
                               "has to move on.",
                               command.name(),
                               runtime::ToText(runtime::ToTime(schedule->occurrences_until()))));
  }
  const absl::Time end = runtime::ToTime(schedule->end_time());
  absl::Time until = HorizonOf(runtime::ToTime(schedule->start_time()), end, facts.now);
  absl::Time from = runtime::ToTime(schedule->occurrences_until());
  const auto series = state.rows.reservations.Get(command.name());
  std::optional<Frame> frame = FrameOfSeries(state, command.name(), facts);
  // The hours' own timer is due no later, and comes first. Without progress this one would not come
  // again.
  if (frame && HorizonIn(*frame, until) > from) until = HorizonIn(*frame, until);
  // New data may have moved the last one beyond the horizon.
  if (!schedule->occurrences().empty())
    from = std::max(from, OccurrenceOf(*schedule->occurrences().rbegin()).end);
  v1::Event event;
  v1::ScheduleExtended& extended = *event.mutable_schedule_extended();
  extended.set_name(command.name());
  auto expansion = ExpandWithin(schedule->access(), from, until, end);
  if (!expansion.ok()) {
    *extended.mutable_occurrences_until() = runtime::ToTimestamp(until);
    extended.set_detail(Sentence(expansion.status()));
    return event;
  }
  // An event is as large as a log takes at most; the timer comes again for the rest.
  const size_t most = series ? static_cast<size_t>(std::max<int64_t>(
                                   1, kMostServersOfSeries / std::max(1, series->terms().count())))
                             : SIZE_MAX;
  if (expansion->occurrences.size() > most) {
    until = expansion->occurrences[most].start;
    expansion->occurrences.resize(most);
  }
  *extended.mutable_occurrences_until() = runtime::ToTimestamp(until);
  extended.set_zone_data_version(expansion->zone_data_version);
  std::optional<Occurrence> last;
  for (const Occurrence& occurrence : expansion->occurrences) {
    v1::Occurrence& added = *extended.add_occurrences();
    added = ToMessage(occurrence);
    if (!series) continue;
    added.set_name(
        OccurrenceName(command.name(), series->occurrences() + extended.occurrences_size()));
    const Checked close = last ? CheckGap(*frame, series->terms(), {last->start, last->end},
                                          {occurrence.start, occurrence.end})
                               : std::nullopt;
    if (close) {
      added.set_reason(close->reason);
      added.set_detail(close->detail);
      continue;
    }
    GrantServers(state, *frame, {series->terms(), series->name()}, added, facts);
    if (added.reason() == v1::REASON_UNSPECIFIED) last = occurrence;
  }
  return event;
}

v1::Event Review(const State& state, const v1::ReviewSchedule& command,
                 const runtime::Facts& facts) {
  const auto schedule = state.rows.schedules.Get(command.name());
  if (!schedule) return UnknownSchedule(command, command.name(), facts);
  const absl::Time start = runtime::ToTime(schedule->start_time());
  const absl::Time until = runtime::ToTime(schedule->occurrences_until());
  const absl::Time end = runtime::ToTime(schedule->end_time());
  // Further than the horizon, to see where its last occurrences go.
  const auto expansion = ExpandWithin(schedule->access(), std::max(start, facts.now - kMostShift),
                                      std::min(end, until + kMostShift), end);
  v1::Event event;
  v1::OccurrencesKept& kept = *event.mutable_occurrences_kept();
  kept.set_name(command.name());
  kept.set_zone_data_version_before(schedule->zone_data_version());
  kept.set_zone_data_version(runtime::ZoneDataVersion().value_or(""));
  if (!expansion.ok()) {
    kept.set_detail(Sentence(expansion.status()));
    return event;
  }
  std::vector<const v1::Occurrence*> known;
  for (const v1::Occurrence& occurrence : schedule->occurrences()) {
    if (OccurrenceOf(occurrence).start > facts.now) known.push_back(&occurrence);
  }
  std::vector<Pair> differences = Differences(known, expansion->occurrences);
  std::erase_if(differences, [&](const Pair& pair) {
    return pair.before == nullptr && (pair.after->start <= facts.now || pair.after->start >= until);
  });
  if (differences.empty()) return event;
  std::optional<Frame> frame = FrameOfSeries(state, command.name(), facts);
  v1::OccurrencesShifted shifted;
  shifted.set_name(command.name());
  shifted.set_zone_data_version_before(schedule->zone_data_version());
  shifted.set_zone_data_version(expansion->zone_data_version);
  for (const Pair& pair : differences) *shifted.add_shifts() = ShiftOf(state, pair, frame, facts);
  *event.mutable_occurrences_shifted() = std::move(shifted);
  return event;
}

}  // namespace concordat::reservations
