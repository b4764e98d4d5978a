#include "services/reservations/state.h"
#include "events/flaw.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "services/reservations/amendments.h"
#include "services/reservations/bundles.h"
#include "services/reservations/envelopes.h"
#include "services/reservations/margins.h"
#include "services/reservations/notices.h"
#include "services/reservations/quotas.h"
#include "services/reservations/replacements.h"
#include "services/reservations/schedules.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// An amendment of what has another state now, or is over, is pending no more; others are looked for
// that it kept waiting.
void EndAmendment(v1::Reservation& after, const std::optional<v1::Reservation>& before) {
  if (after.has_amendment() && before && before->state() != after.state()) after.clear_amendment();
  const bool ended = before && before->has_amendment() && !after.has_amendment();
  if (ended && after.has_heal_time()) after.set_heal_occasions(after.heal_occasions() + 1);
}

// The only writer of the `reservations` table: it keeps the deadlines, what is delayed and what is
// promised and what is booked of quotas in step.
void Put(Rows& rows, v1::Reservation after) {
  const std::string name = after.name();
  const auto before = rows.reservations.Get(name);
  EndHealing(after);
  EndAmendment(after, before);
  BookUse(rows, before, after);
  if (before) {
    if (const auto deadline = DeadlineOf(*before))
      rows.deadlines.Delete(DeadlineKey(*deadline, name));
    if (const auto time = NoticeTimeOf(*before)) rows.notice_times.Delete(DeadlineKey(*time, name));
    if (before->has_retry_time() && !after.has_retry_time()) rows.delayed.Delete(name);
    if (IsPromised(*before) && !IsPromised(after)) rows.promises.Delete(name);
  }
  if (const auto deadline = DeadlineOf(after)) {
    google::protobuf::StringValue value;
    value.set_value(name);
    rows.deadlines.Put(DeadlineKey(*deadline, name), value);
  }
  if (const auto time = NoticeTimeOf(after)) {
    google::protobuf::StringValue value;
    value.set_value(name);
    rows.notice_times.Put(DeadlineKey(*time, name), value);
  }
  rows.reservations.Put(name, after);
}

// The reservation with `change` applied; one that is not known is ignored.
template <typename Change>
void ChangeReservation(Rows& rows, const std::string& name, Change change) {
  std::optional<v1::Reservation> reservation = rows.reservations.Get(name);
  if (!reservation) return;
  change(*reservation);
  Put(rows, *reservation);
}

google::protobuf::StringValue ValueOf(const std::string& name) {
  google::protobuf::StringValue value;
  value.set_value(name);
  return value;
}

std::string ZoneVersionKey(const v1::Schedule& schedule) {
  return fmt::format("{}/{}", schedule.zone_data_version(), schedule.name());
}

// The only writers of the `schedules` table: they keep horizons and versions in step.
void DeleteSchedule(Rows& rows, const std::string& name) {
  const auto before = rows.schedules.Get(name);
  if (!before) return;
  if (const auto due = ExtensionTimeOf(*before)) rows.horizons.Delete(DeadlineKey(*due, name));
  rows.zone_versions.Delete(ZoneVersionKey(*before));
  rows.schedules.Delete(name);
}

void PutSchedule(Rows& rows, const v1::Schedule& after) {
  const std::string& name = after.name();
  DeleteSchedule(rows, name);
  if (const auto due = ExtensionTimeOf(after))
    rows.horizons.Put(DeadlineKey(*due, name), ValueOf(name));
  rows.zone_versions.Put(ZoneVersionKey(after), ValueOf(name));
  rows.schedules.Put(name, after);
}

// The times alone: servers stand in the reservation.
v1::Occurrence TimesOf(const v1::Occurrence& occurrence) {
  v1::Occurrence times;
  times.set_name(occurrence.name());
  *times.mutable_start_time() = occurrence.start_time();
  *times.mutable_end_time() = occurrence.end_time();
  return times;
}

// The reservation that an occurrence is.
void PutOccurrence(Rows& rows, const v1::Reservation& series, const v1::Occurrence& occurrence) {
  if (occurrence.reason() != v1::REASON_UNSPECIFIED) return;
  v1::Reservation reservation;
  reservation.set_name(occurrence.name());
  reservation.set_state(series.state());
  *reservation.mutable_terms() = series.terms();
  reservation.mutable_terms()->clear_access();
  *reservation.mutable_terms()->mutable_start_time() = occurrence.start_time();
  *reservation.mutable_terms()->mutable_end_time() = occurrence.end_time();
  *reservation.mutable_servers() = occurrence.servers();
  reservation.set_it_power_watts(occurrence.it_power_watts());
  reservation.set_cooling_watts(occurrence.cooling_watts());
  reservation.set_accelerators(occurrence.accelerators());
  *reservation.mutable_notices() = series.notices();
  reservation.set_correlation_id(series.correlation_id());
  reservation.set_series(series.name());
  if (series.has_margins()) *reservation.mutable_margins() = series.margins();
  Put(rows, reservation);
}

// What is not begun yet shares the fate of its series: it is confirmed, or given up, with it.
void ShareState(Rows& rows, const v1::Reservation& series, const std::string& detail) {
  const v1::ReservationState state = series.state();
  const bool confirmed = state == v1::RESERVATION_STATE_CONFIRMED;
  const bool given_up =
      state == v1::RESERVATION_STATE_CANCELLED || state == v1::RESERVATION_STATE_DECLINED ||
      state == v1::RESERVATION_STATE_LAPSED || state == v1::RESERVATION_STATE_REVOKED;
  if (confirmed || given_up) {
    for (int number = 1; number <= series.occurrences(); ++number) {
      ChangeReservation(rows, OccurrenceName(series.name(), number), [&](v1::Reservation& one) {
        const bool held = one.state() == v1::RESERVATION_STATE_HELD;
        if (!held && !(given_up && one.state() == v1::RESERVATION_STATE_CONFIRMED)) return;
        one.set_state(state);
        one.clear_retry_time();
        // What is revoked has used nothing from then on.
        if (state == v1::RESERVATION_STATE_REVOKED) *one.mutable_ending() = series.ending();
        if (!detail.empty()) one.set_detail(detail);
      });
    }
  }
  if (!confirmed) DeleteSchedule(rows, series.name());
}

void SetState(Rows& rows, const std::string& name, v1::ReservationState state,
              const std::string& detail = {}) {
  ChangeReservation(rows, name, [&](v1::Reservation& reservation) {
    reservation.set_state(state);
    reservation.clear_retry_time();
    reservation.clear_part_state();
    if (!detail.empty()) reservation.set_detail(detail);
    if (reservation.terms().has_access()) ShareState(rows, reservation, detail);
  });
}

void MakeUntested(Rows& rows, const std::string& server) {
  auto record = rows.server_records.Get(server);
  if (!record) return;
  record->mutable_server()->set_untested(true);
  rows.server_records.Put(server, *record);
}

void Register(Rows& rows, const v1::CustomerRegistered& registered) {
  v1::Customer customer;
  customer.set_name(registered.name());
  customer.set_display_name(registered.display_name());
  customer.set_country(registered.country());
  customer.set_sector(registered.sector());
  rows.customers.Put(registered.name(), customer);
}

void Start(Rows& rows, const v1::ReservationStarted& started, absl::Time at) {
  ChangeReservation(rows, started.name(), [&](v1::Reservation& reservation) {
    reservation.set_state(v1::RESERVATION_STATE_ACTIVE);
    reservation.clear_retry_time();
    // Lost servers were not handed over, and count no more.
    reservation.set_accelerators(started.accelerators());
    if (!started.segments().empty()) *reservation.mutable_segments() = started.segments();
    *reservation.mutable_started_time() = runtime::ToTimestamp(at);
  });
}

void GiveNotice(Rows& rows, const v1::NoticeGiven& given, absl::Time at) {
  ChangeReservation(rows, given.name(), [&](v1::Reservation& reservation) {
    v1::Notice& notice = *reservation.add_given_notices();
    *notice.mutable_before_end() = given.before_end();
    *notice.mutable_end_time() = given.end_time();
    *notice.mutable_given_time() = runtime::ToTimestamp(at);
  });
}

void DeliverNotice(Rows& rows, const v1::NoticeDelivered& delivered) {
  ChangeReservation(rows, delivered.name(), [&](v1::Reservation& reservation) {
    for (v1::Notice& notice : *reservation.mutable_given_notices()) {
      if (notice.before_end().seconds() != delivered.before_end().seconds() ||
          runtime::ToTime(notice.end_time()) != runtime::ToTime(delivered.end_time()))
        continue;
      *notice.mutable_delivered_time() = delivered.delivered_time();
      notice.set_channel(delivered.channel());
      notice.set_evidence(delivered.evidence());
    }
  });
}

void PlanWave(Rows& rows, const v1::WavePlanned& planned) {
  v1::Wave wave;
  wave.set_name(planned.name());
  *wave.mutable_plan() = planned;
  rows.waves.Put(planned.name(), wave);
}

void RegisterProject(Rows& rows, const v1::ProjectRegistered& registered) {
  v1::Project project;
  project.set_name(registered.name());
  project.set_display_name(registered.display_name());
  project.set_home_site(registered.home_site());
  rows.projects.Put(registered.name(), project);
}

void PutContract(Rows& rows, const v1::ContractSigned& terms, const std::string& home_site,
                 std::string_view here) {
  v1::Contract contract;
  contract.set_name(terms.name());
  *contract.mutable_terms() = terms;
  contract.set_home_site(home_site);
  rows.contracts.Put(terms.name(), contract);
  OpenQuota(rows, terms, home_site, here);
  if (!terms.has_access()) return;
  v1::Schedule schedule;
  schedule.set_name(terms.name());
  *schedule.mutable_access() = terms.access();
  *schedule.mutable_start_time() = terms.start_time();
  *schedule.mutable_end_time() = terms.end_time();
  *schedule.mutable_occurrences_until() = terms.occurrences_until();
  schedule.set_zone_data_version(terms.zone_data_version());
  *schedule.mutable_occurrences() = terms.occurrences();
  PutSchedule(rows, schedule);
}

void RecordSite(Rows& rows, const v1::SiteRecorded& recorded) {
  v1::SiteRecord site = rows.site_records.Get(recorded.name()).value_or(v1::SiteRecord());
  site.set_name(recorded.name());
  site.set_country(recorded.country());
  *site.mutable_certifications() = recorded.certifications();
  rows.site_records.Put(recorded.name(), site);
}

void RecordEnvelope(Rows& rows, const std::string& feed, const v1::EnvelopeRecorded& step,
                    absl::Time time) {
  v1::SiteRecord site = rows.site_records.Get(step.site()).value_or(v1::SiteRecord());
  site.set_name(step.site());
  PutStep(site, feed, step, time);
  rows.site_records.Put(step.site(), site);
}

void FindShortfall(Rows& rows, const v1::ShortfallFound& found, absl::Time time) {
  v1::Shortfall shortfall = rows.shortfalls.Get(found.name()).value_or(v1::Shortfall());
  shortfall.set_name(found.name());
  *shortfall.mutable_found() = found;
  if (!shortfall.has_found_time()) *shortfall.mutable_found_time() = runtime::ToTimestamp(time);
  rows.shortfalls.Put(found.name(), shortfall);
}

void RecordServer(Rows& rows, const v1::ServerRecorded& recorded, absl::Time time) {
  const auto before = rows.server_records.Get(recorded.name());
  v1::ServerRecord server;
  server.set_name(recorded.name());
  *server.mutable_server() = recorded;
  rows.server_records.Put(recorded.name(), server);
  if (recorded.lost() == (before && before->server().lost())) return;
  // Servers are seldom lost; so the reservations that are not over are looked through, instead of
  // keeping a row for every server of every reservation.
  for (const std::string& name : UnfinishedOf(rows)) {
    std::optional<v1::Reservation> reservation = rows.reservations.Get(name);
    if (reservation && ChangeServers(*reservation, recorded, time)) Put(rows, *reservation);
  }
}

void Hold(Rows& rows, const v1::ReservationHeld& held, const std::string& correlation_id) {
  v1::Reservation reservation;
  reservation.set_name(held.name());
  reservation.set_state(v1::RESERVATION_STATE_HELD);
  *reservation.mutable_terms() = held.terms();
  *reservation.mutable_servers() = held.servers();
  reservation.set_it_power_watts(held.it_power_watts());
  reservation.set_cooling_watts(held.cooling_watts());
  reservation.set_accelerators(held.accelerators());
  if (const auto contract = rows.contracts.Get(held.terms().contract()))
    *reservation.mutable_notices() = contract->terms().notices();
  *reservation.mutable_hold_expires_at() = held.hold_expires_at();
  reservation.set_order(held.order());
  reservation.set_correlation_id(correlation_id);
  reservation.set_occurrences(held.occurrences_size());
  reservation.set_bundle(held.bundle());
  if (held.has_margins()) *reservation.mutable_margins() = held.margins();
  Put(rows, reservation);
  if (!held.terms().has_access()) return;
  v1::Schedule schedule;
  schedule.set_name(held.name());
  *schedule.mutable_access() = held.terms().access();
  *schedule.mutable_start_time() = held.terms().start_time();
  *schedule.mutable_end_time() = held.terms().end_time();
  *schedule.mutable_occurrences_until() = held.occurrences_until();
  schedule.set_zone_data_version(held.zone_data_version());
  for (const v1::Occurrence& occurrence : held.occurrences()) {
    PutOccurrence(rows, reservation, occurrence);
    *schedule.add_occurrences() = TimesOf(occurrence);
  }
  PutSchedule(rows, schedule);
}

void Extend(Rows& rows, const v1::ScheduleExtended& extended, absl::Time now) {
  auto schedule = rows.schedules.Get(extended.name());
  if (!schedule) return;
  auto& known = *schedule->mutable_occurrences();
  known.erase(std::remove_if(known.begin(), known.end(),
                             [&](const v1::Occurrence& occurrence) {
                               return runtime::ToTime(occurrence.end_time()) <= now;
                             }),
              known.end());
  auto series = rows.reservations.Get(extended.name());
  for (const v1::Occurrence& occurrence : extended.occurrences()) {
    if (series) PutOccurrence(rows, *series, occurrence);
    *known.Add() = TimesOf(occurrence);
  }
  if (series) {
    series->set_occurrences(series->occurrences() + extended.occurrences_size());
    Put(rows, *series);
  }
  *schedule->mutable_occurrences_until() = extended.occurrences_until();
  PutSchedule(rows, *schedule);
}

// Every known occurrence that `shift` is about, replaced or removed; a new one is added.
void Shift(std::vector<v1::Occurrence>& known, const v1::OccurrenceShift& shift) {
  const auto starts_as = [](const v1::Occurrence& occurrence, const v1::Occurrence& other) {
    return runtime::ToTime(occurrence.start_time()) == runtime::ToTime(other.start_time());
  };
  if (shift.has_before()) {
    std::erase_if(known, [&](const v1::Occurrence& one) { return starts_as(one, shift.before()); });
  }
  if (shift.has_after()) known.push_back(TimesOf(shift.after()));
}

void Shift(Rows& rows, const v1::OccurrencesShifted& shifted) {
  auto schedule = rows.schedules.Get(shifted.name());
  if (!schedule) return;
  std::vector<v1::Occurrence> known(schedule->occurrences().begin(), schedule->occurrences().end());
  for (const v1::OccurrenceShift& shift : shifted.shifts()) {
    if (shift.kept()) continue;
    Shift(known, shift);
    if (!shift.has_before() || !shift.has_after()) continue;
    ChangeReservation(rows, shift.before().name(), [&](v1::Reservation& reservation) {
      if (reservation.state() != v1::RESERVATION_STATE_HELD &&
          reservation.state() != v1::RESERVATION_STATE_CONFIRMED)
        return;
      *reservation.mutable_terms()->mutable_start_time() = shift.after().start_time();
      *reservation.mutable_terms()->mutable_end_time() = shift.after().end_time();
    });
  }
  std::sort(known.begin(), known.end(), [](const v1::Occurrence& a, const v1::Occurrence& b) {
    return runtime::ToTime(a.start_time()) < runtime::ToTime(b.start_time());
  });
  schedule->mutable_occurrences()->Assign(known.begin(), known.end());
  schedule->set_zone_data_version(shifted.zone_data_version());
  schedule->set_reviews(schedule->reviews() + 1);
  PutSchedule(rows, *schedule);
}

void Keep(Rows& rows, const v1::OccurrencesKept& kept) {
  auto schedule = rows.schedules.Get(kept.name());
  if (!schedule) return;
  schedule->set_zone_data_version(kept.zone_data_version());
  schedule->set_reviews(schedule->reviews() + 1);
  PutSchedule(rows, *schedule);
}

void RecordWindow(Rows& rows, const v1::WindowAffects& affects) {
  v1::WindowRecord record;
  record.set_name(affects.window());
  *record.mutable_window() = affects;
  rows.window_records.Put(affects.window(), record);
}

template <typename Change>
void ChangeServersOf(Rows& rows, const std::string& reservation, const Change& change,
                     absl::Time time) {
  ChangeReservation(rows, reservation,
                    [&](v1::Reservation& row) { ChangeServers(row, change, time); });
}

void Delay(Rows& rows, const v1::ReservationDelayed& delayed) {
  ChangeReservation(rows, delayed.name(), [&](v1::Reservation& reservation) {
    *reservation.mutable_retry_time() = delayed.retry_time();
    reservation.set_delays(reservation.delays() + 1);
    reservation.set_detail(delayed.detail());
    rows.delayed.Put(delayed.name(), delayed);
  });
}

void HoldAmendment(Rows& rows, const v1::AmendmentHeld& held) {
  ChangeReservation(rows, held.reservation(), [&](v1::Reservation& reservation) {
    *reservation.mutable_amendment() = held.amendment();
  });
}

void ConfirmAmendment(Rows& rows, const v1::AmendmentConfirmed& confirmed) {
  const v1::Amendment& amendment = confirmed.amendment();
  ChangeReservation(rows, confirmed.reservation(), [&](v1::Reservation& reservation) {
    *reservation.mutable_terms() = amendment.terms();
    *reservation.mutable_servers() = amendment.servers();
    reservation.set_it_power_watts(amendment.it_power_watts());
    reservation.set_cooling_watts(amendment.cooling_watts());
    reservation.set_accelerators(amendment.accelerators());
    reservation.clear_margins();
    if (amendment.has_margins()) *reservation.mutable_margins() = amendment.margins();
    *reservation.mutable_segments() = confirmed.segments();
    auto& lost = *reservation.mutable_lost_servers();
    lost.erase(std::remove_if(lost.begin(), lost.end(),
                              [&](const std::string& server) {
                                const auto& kept = amendment.servers();
                                return !absl::c_linear_search(kept, server);
                              }),
               lost.end());
    reservation.clear_amendment();
  });
}

void DropAmendment(Rows& rows, const v1::AmendmentDropped& dropped) {
  ChangeReservation(rows, dropped.reservation(), [](v1::Reservation& reservation) {
    if (events::Has(events::Flaw::kKeepsDroppedTerms))
      *reservation.mutable_terms() = reservation.amendment().terms();
    reservation.clear_amendment();
  });
}

// One entry a model, by model.
void SetMargins(Rows& rows, const v1::MarginsSet& set) {
  v1::SiteRecord site = rows.site_records.Get(set.site()).value_or(v1::SiteRecord());
  site.set_name(set.site());
  std::vector<v1::MarginsSet> margins(site.margins().begin(), site.margins().end());
  std::erase_if(margins, [&](const v1::MarginsSet& one) { return one.model() == set.model(); });
  const auto at = std::find_if(margins.begin(), margins.end(), [&](const v1::MarginsSet& one) {
    return one.model() > set.model();
  });
  margins.insert(at, set);
  site.mutable_margins()->Assign(margins.begin(), margins.end());
  rows.site_records.Put(set.site(), site);
}

void StartGrace(Rows& rows, const v1::ReservationGraceStarted& started) {
  ChangeReservation(rows, started.name(), [&](v1::Reservation& reservation) {
    reservation.set_state(v1::RESERVATION_STATE_ENDING);
    *reservation.mutable_ending()->mutable_grace_until() = started.grace_until();
  });
}

void BeginEnd(Rows& rows, const v1::ReservationEnding& ending) {
  ChangeReservation(rows, ending.name(), [&](v1::Reservation& reservation) {
    reservation.set_state(v1::RESERVATION_STATE_ENDING);
    if (reservation.has_ending()) reservation.mutable_ending()->clear_grace_until();
  });
}

void Release(Rows& rows, const v1::ReservationReleased& released, absl::Time time) {
  ChangeReservation(rows, released.name(), [&](v1::Reservation& reservation) {
    reservation.set_state(v1::RESERVATION_STATE_ENDING);
    reservation.mutable_ending()->clear_grace_until();
    *reservation.mutable_ending()->mutable_released_time() = runtime::ToTimestamp(time);
    reservation.mutable_ending()->set_cause(released.reason());
  });
}

void Revoke(Rows& rows, const v1::ReservationRevoked& revoked, absl::Time time) {
  ChangeReservation(rows, revoked.name(), [&](v1::Reservation& reservation) {
    reservation.set_state(revoked.vacates() ? v1::RESERVATION_STATE_ENDING
                                            : v1::RESERVATION_STATE_REVOKED);
    reservation.clear_retry_time();
    v1::Ending& ending = *reservation.mutable_ending();
    ending.clear_grace_until();
    *ending.mutable_released_time() = runtime::ToTimestamp(time);
    ending.set_cause(revoked.cause());
    *ending.mutable_legal_basis() = revoked.legal_basis();
    if (reservation.terms().has_access()) ShareState(rows, reservation, revoked.cause());
  });
}

void Clean(Rows& rows, const v1::ReservationCleaning& cleaning) {
  ChangeReservation(rows, cleaning.name(), [&](v1::Reservation& reservation) {
    reservation.set_state(v1::RESERVATION_STATE_CLEANING);
    *reservation.mutable_ending()->mutable_cleaning_until() = cleaning.cleaning_until();
  });
}

// What was revoked in use is revoked once it has ended.
void End(Rows& rows, const std::string& name) {
  const v1::Reservation known = rows.reservations.Get(name).value_or(v1::Reservation());
  SetState(rows, name,
           known.ending().has_legal_basis() ? v1::RESERVATION_STATE_REVOKED
                                            : v1::RESERVATION_STATE_ENDED);
}

void Order(Rows& rows, const v1::ReservationOrdered& ordered) {
  v1::Order order;
  order.set_name(ordered.name());
  order.set_state(v1::ORDER_STATE_PENDING);
  order.set_site(ordered.site());
  order.set_reservation(ordered.reservation());
  *order.mutable_terms() = ordered.terms();
  rows.orders.Put(ordered.name(), order);
}

void Answer(Rows& rows, const v1::OrderAnswered& answered) {
  std::optional<v1::Order> order = rows.orders.Get(answered.order());
  if (!order) return;
  order->set_state(answered.state());
  order->set_reason(answered.reason());
  order->set_detail(answered.detail());
  rows.orders.Put(answered.order(), *order);
}

// A part that could never be held is known as declined, so that it is asked for once; one whose
// name is another reservation's leaves that as it is.
void Decline(Rows& rows, const v1::ReservationDeclined& declined) {
  if (declined.name_taken()) return;
  if (!declined.bundle().empty() && !rows.reservations.Contains(declined.name())) {
    v1::Reservation reservation;
    reservation.set_name(declined.name());
    reservation.set_bundle(declined.bundle());
    Put(rows, reservation);
  }
  SetState(rows, declined.name(), v1::RESERVATION_STATE_DECLINED, declined.detail());
}

void SetPart(Rows& rows, const std::string& name, v1::PartState state) {
  ChangeReservation(rows, name,
                    [&](v1::Reservation& reservation) { reservation.set_part_state(state); });
}

void Promise(Rows& rows, const v1::PartPromised& promised, absl::Time time) {
  SetPart(rows, promised.name(), v1::PART_STATE_PROMISED);
  v1::Promise promise;
  promise.set_name(promised.name());
  promise.set_bundle(promised.bundle());
  *promise.mutable_promised_time() = runtime::ToTimestamp(time);
  rows.promises.Put(promised.name(), promise);
}

void Break(Rows& rows, const v1::PromiseBroken& broken) {
  SetState(rows, broken.name(), v1::RESERVATION_STATE_CANCELLED, broken.reason());
  SetPart(rows, broken.name(), v1::PART_STATE_BROKEN);
}

void Separate(Rows& rows, const v1::PartiesSeparated& separated) {
  v1::Separation separation;
  separation.set_name(separated.name());
  *separation.mutable_parties() = separated.parties();
  separation.set_reason(separated.reason());
  rows.separations.Put(separated.name(), separation);
}

void EndSeparation(Rows& rows, const v1::SeparationEnded& ended) {
  std::optional<v1::Separation> separation = rows.separations.Get(ended.name());
  if (!separation) return;
  separation->set_ended(true);
  rows.separations.Put(ended.name(), *separation);
}

// When a timer has to act on the reservation itself.
std::optional<absl::Time> StepTimeOf(const v1::Reservation& reservation) {
  const v1::Terms& terms = reservation.terms();
  if (reservation.state() == v1::RESERVATION_STATE_HELD) {
    // An occurrence lapses with its series, and what is promised not at all.
    if (!reservation.series().empty() || IsPromised(reservation)) return std::nullopt;
    return runtime::ToTime(reservation.hold_expires_at());
  }
  if (reservation.state() == v1::RESERVATION_STATE_CONFIRMED && terms.has_access())
    return runtime::ToTime(terms.end_time());
  if (reservation.state() == v1::RESERVATION_STATE_CONFIRMED) {
    return runtime::ToTime(reservation.has_retry_time() ? reservation.retry_time()
                                                        : terms.start_time());
  }
  if (reservation.state() == v1::RESERVATION_STATE_ACTIVE) return runtime::ToTime(terms.end_time());
  if (IsInGrace(reservation)) return runtime::ToTime(reservation.ending().grace_until());
  if (reservation.state() == v1::RESERVATION_STATE_CLEANING)
    return runtime::ToTime(reservation.ending().cleaning_until());
  return std::nullopt;
}

}  // namespace

std::set<std::string> UnfinishedOf(const Rows& rows) {
  std::set<std::string> names;
  const auto add = [&](const std::string& name) {
    names.insert(name);
    // While a series is held, its occurrences have no deadline of their own.
    const auto series = rows.reservations.Get(name);
    if (!series || series->state() != v1::RESERVATION_STATE_HELD) return true;
    for (int number = 1; number <= series->occurrences(); ++number)
      names.insert(OccurrenceName(name, number));
    return true;
  };
  rows.deadlines.Scan("", [&](std::string_view, const google::protobuf::StringValue& name) {
    return add(name.value());
  });
  // What is promised has no deadline.
  rows.promises.Scan(
      "", [&](std::string_view name, const v1::Promise&) { return add(std::string(name)); });
  return names;
}

bool IsToHeal(const v1::Reservation& reservation) {
  if (!reservation.has_heal_time() || reservation.has_amendment()) return false;
  const bool confirmed = reservation.state() == v1::RESERVATION_STATE_CONFIRMED;
  if (!confirmed && reservation.state() != v1::RESERVATION_STATE_ACTIVE) return false;
  const absl::Time time = runtime::ToTime(reservation.heal_time());
  return time < UseOf(reservation.terms()).end && time <= *StepTimeOf(reservation);
}

std::optional<absl::Time> DeadlineOf(const v1::Reservation& reservation) {
  if (IsToHeal(reservation)) return runtime::ToTime(reservation.heal_time());
  const std::optional<absl::Time> step = StepTimeOf(reservation);
  if (!reservation.has_amendment()) return step;
  const absl::Time lapses = runtime::ToTime(reservation.amendment().hold_expires_at());
  return step ? std::min(*step, lapses) : lapses;
}

std::string TimeKey(absl::Time time) {
  const absl::Time clamped = std::max(time, absl::UnixEpoch());
  const int64_t micros = absl::ToUnixMicros(clamped);
  return fmt::format("{:020}", micros + (absl::FromUnixMicros(micros) < clamped ? 1 : 0));
}

std::string DeadlineKey(absl::Time time, const std::string& reservation) {
  return TimeKey(time) + reservation;
}

void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kCustomerRegistered:
      return Register(rows, event.customer_registered());
    case v1::Event::kContractSigned:
      return PutContract(rows, event.contract_signed(), fmt::format("sites/{}", accepted.site),
                         accepted.site);
    case v1::Event::kContractRecorded:
      return PutContract(rows, event.contract_recorded().contract(),
                         event.contract_recorded().home_site(), accepted.site);
    case v1::Event::kSiteRecorded:
      return RecordSite(rows, event.site_recorded());
    case v1::Event::kEnvelopeRecorded:
      return RecordEnvelope(rows, "", event.envelope_recorded(), accepted.time);
    case v1::Event::kFeedRecorded:
      return RecordEnvelope(rows, event.feed_recorded().feed(), event.feed_recorded().step(),
                            accepted.time);
    case v1::Event::kServerRecorded:
      return RecordServer(rows, event.server_recorded(), accepted.time);
    case v1::Event::kReservationHeld:
      return Hold(rows, event.reservation_held(), accepted.attributes.correlation_id);
    case v1::Event::kReservationConfirmed:
      return SetState(rows, event.reservation_confirmed().name(), v1::RESERVATION_STATE_CONFIRMED);
    case v1::Event::kReservationDeclined:
      return Decline(rows, event.reservation_declined());
    case v1::Event::kHoldLapsed:
      return SetState(rows, event.hold_lapsed().name(), v1::RESERVATION_STATE_LAPSED);
    case v1::Event::kReservationStarted:
      return Start(rows, event.reservation_started(), accepted.time);
    case v1::Event::kReservationDelayed:
      return Delay(rows, event.reservation_delayed());
    case v1::Event::kReservationEnding:
      return BeginEnd(rows, event.reservation_ending());
    case v1::Event::kReservationEnded:
      for (const std::string& server : event.reservation_ended().retest_servers())
        MakeUntested(rows, server);
      return End(rows, event.reservation_ended().name());
    case v1::Event::kReservationCancelled:
      return SetState(rows, event.reservation_cancelled().name(), v1::RESERVATION_STATE_CANCELLED,
                      event.reservation_cancelled().reason());
    case v1::Event::kReservationOrdered:
      return Order(rows, event.reservation_ordered());
    case v1::Event::kOrderDeclined:
      return rows.declined_orders.Put(event.order_declined().order(), event.order_declined());
    case v1::Event::kOrderAnswered:
      return Answer(rows, event.order_answered());
    case v1::Event::kScheduleExtended:
      return Extend(rows, event.schedule_extended(), accepted.time);
    case v1::Event::kOccurrencesShifted:
      return Shift(rows, event.occurrences_shifted());
    case v1::Event::kOccurrencesKept:
      return Keep(rows, event.occurrences_kept());
    case v1::Event::kPartiesSeparated:
      return Separate(rows, event.parties_separated());
    case v1::Event::kSeparationEnded:
      return EndSeparation(rows, event.separation_ended());
    case v1::Event::kBundleRequested:
      return EvolveBundle(rows, event.bundle_requested(), accepted.attributes.correlation_id);
    case v1::Event::kPartHeld:
      return SetPart(rows, event.part_held().name(), v1::PART_STATE_HELD);
    case v1::Event::kPartRecorded:
      return EvolveBundle(rows, event.part_recorded());
    case v1::Event::kBundlePrepared:
      return SettleBundle(rows, event.bundle_prepared().name(), v1::BUNDLE_STATE_PREPARED);
    case v1::Event::kPartPromised:
      return Promise(rows, event.part_promised(), accepted.time);
    case v1::Event::kBundleCommitted:
      return SettleBundle(rows, event.bundle_committed().name(), v1::BUNDLE_STATE_COMMITTED);
    case v1::Event::kBundleAborted:
      return SettleBundle(rows, event.bundle_aborted().name(), v1::BUNDLE_STATE_ABORTED,
                          event.bundle_aborted().reason(), event.bundle_aborted().detail());
    case v1::Event::kPromiseBroken:
      return Break(rows, event.promise_broken());
    case v1::Event::kQuotaRequested:
      return EvolveQuota(rows, event.quota_requested(), accepted);
    case v1::Event::kQuotaGranted:
      return EvolveQuota(rows, event.quota_granted(), accepted);
    case v1::Event::kQuotaDeclined:
      return EvolveQuota(rows, event.quota_declined(), accepted);
    case v1::Event::kQuotaAnswered:
      return EvolveQuota(rows, event.quota_answered(), accepted);
    case v1::Event::kQuotaReturned:
      return EvolveQuota(rows, event.quota_returned(), accepted);
    case v1::Event::kQuotaReclaimed:
      return EvolveQuota(rows, event.quota_reclaimed(), accepted);
    case v1::Event::kNoticeGiven:
      return GiveNotice(rows, event.notice_given(), accepted.time);
    case v1::Event::kNoticeDelivered:
      return DeliverNotice(rows, event.notice_delivered());
    case v1::Event::kWavePlanned:
      return PlanWave(rows, event.wave_planned());
    case v1::Event::kProjectRegistered:
      return RegisterProject(rows, event.project_registered());
    case v1::Event::kAmendmentHeld:
      return HoldAmendment(rows, event.amendment_held());
    case v1::Event::kAmendmentConfirmed:
      return ConfirmAmendment(rows, event.amendment_confirmed());
    case v1::Event::kAmendmentDropped:
      return DropAmendment(rows, event.amendment_dropped());
    case v1::Event::kMarginsSet:
      return SetMargins(rows, event.margins_set());
    case v1::Event::kReservationReleased:
      return Release(rows, event.reservation_released(), accepted.time);
    case v1::Event::kReservationRevoked:
      return Revoke(rows, event.reservation_revoked(), accepted.time);
    case v1::Event::kReservationGraceStarted:
      return StartGrace(rows, event.reservation_grace_started());
    case v1::Event::kReservationCleaning:
      return Clean(rows, event.reservation_cleaning());
    case v1::Event::kWindowAffects:
      return RecordWindow(rows, event.window_affects());
    case v1::Event::kWindowReleased:
      return rows.window_records.Delete(event.window_released().window());
    case v1::Event::kServersReassigned:
      for (const std::string& server : event.servers_reassigned().retest_servers())
        MakeUntested(rows, server);
      return ChangeServersOf(rows, event.servers_reassigned().reservation(),
                             event.servers_reassigned(), accepted.time);
    case v1::Event::kReplacementOffered:
      return ChangeServersOf(rows, event.replacement_offered().reservation(),
                             event.replacement_offered(), accepted.time);
    case v1::Event::kServersMissing:
      return ChangeServersOf(rows, event.servers_missing().reservation(), event.servers_missing(),
                             accepted.time);
    case v1::Event::kShortfallFound:
      return FindShortfall(rows, event.shortfall_found(), accepted.time);
    case v1::Event::kShortfallCleared:
      return rows.shortfalls.Delete(event.shortfall_cleared().name());
    case v1::Event::kCommandRefused:
      return;
    case v1::Event::EVENT_NOT_SET:
      return;
  }
}

}  // namespace concordat::reservations
