#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <map>
#include <utility>

#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/reservations/windows.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// Whose servers nobody may take without asking: promised, in use, or about to be promised.
bool IsAsked(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_HELD ||
         reservation.state() == v1::RESERVATION_STATE_CONFIRMED || IsInUse(reservation);
}

}  // namespace

std::map<std::string, v1::Reservation> LiveReservations(const Rows& rows) {
  std::map<std::string, v1::Reservation> live;
  for (const std::string& name : UnfinishedOf(rows)) {
    auto reservation = rows.reservations.Get(name);
    if (reservation && !reservation->terms().has_access() && IsAsked(*reservation))
      live[name] = *std::move(reservation);
  }
  return live;
}

namespace {

// When it has its servers, with its margins: who works on a server under its re-test keeps the
// customer from it too. Before an amendment is judged, by either of its terms.
Span WholeOf(const v1::Reservation& reservation) {
  Span span = BlockOf(reservation.terms(), reservation.margins());
  if (!reservation.has_amendment()) return span;
  const v1::Amendment& amendment = reservation.amendment();
  const Span amended = BlockOf(amendment.terms(), amendment.margins());
  return {std::min(span.start, amended.start), std::max(span.end, amended.end)};
}

// What the contract says of it; where it says nothing, and of what it never allows, the customer is
// asked. Where notice is enough, it has to be long enough.
bool NeedsConsent(const State& state, const v1::Reservation& reservation,
                  const v1::WindowAffects& window) {
  const v1::Contract contract =
      state.rows.contracts.Get(reservation.terms().contract()).value_or(v1::Contract());
  const v1::Interventions& allowed = contract.terms().interventions();
  if (allowed.maintenance() != v1::CONSENT_RULE_NOTICE) return true;
  const absl::Duration notice =
      runtime::ToTime(window.start_time()) - runtime::ToTime(window.announced_time());
  return notice < absl::Hours(24) * allowed.maintenance_notice_days();
}

// The window with what it overlaps now.
v1::WindowAffects Affects(const State& state, v1::WindowAffects window,
                          const runtime::Facts& facts) {
  window.clear_affected();
  const Span claimed = SpanOf(window);
  for (const auto& [name, reservation] : LiveReservations(state.rows)) {
    if (!WholeOf(reservation).Overlaps(claimed)) continue;
    const std::vector<std::string> shared = ClaimedOf(reservation, window);
    if (shared.empty()) continue;
    v1::AffectedReservation& affected = *window.add_affected();
    affected.set_reservation(name);
    affected.set_customer(reservation.terms().customer());
    affected.mutable_servers()->Assign(shared.begin(), shared.end());
    *affected.mutable_start_time() = reservation.terms().start_time();
    *affected.mutable_end_time() = reservation.terms().end_time();
    affected.set_active(IsInUse(reservation));
    affected.set_needs_consent(!window.emergency() && NeedsConsent(state, reservation, window));
    const std::vector<std::string> free = FindOthers(state, reservation, shared, facts.now);
    affected.mutable_free_servers()->Assign(free.begin(), free.end());
  }
  return window;
}

v1::Event NotKnown(const google::protobuf::Message& command, const std::string& window) {
  return Refused(
      command, v1::REASON_NOT_FOUND,
      fmt::format("{} claims nothing here, expected a window that was announced.", window));
}

}  // namespace

Span SpanOf(const v1::WindowAffects& window) {
  return {runtime::ToTime(window.start_time()),
          window.has_end_time() ? runtime::ToTime(window.end_time()) : absl::InfiniteFuture()};
}

std::vector<std::string> ClaimedOf(const v1::Reservation& reservation,
                                   const v1::WindowAffects& window) {
  std::vector<std::string> shared;
  const auto& claimed = window.servers();
  for (const auto* servers : {&reservation.servers(), &reservation.amendment().servers()}) {
    for (const std::string& server : *servers) {
      if (absl::c_linear_search(claimed, server) && !absl::c_linear_search(shared, server))
        shared.push_back(server);
    }
  }
  return shared;
}

v1::Event RecordWindow(const State& state, const v1::RecordWindow& command,
                       const runtime::Facts& facts) {
  const std::string& name = command.window().window();
  if (runtime::SiteOfName(name) != facts.site) {
    return Refused(command, v1::REASON_NOT_HOME,
                   fmt::format("\"{}\" belongs to another site, expected {}.", name, Here(facts)));
  }
  if (state.rows.window_records.Contains(name)) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} claims its servers already.", name));
  }
  v1::Event event;
  *event.mutable_window_affects() = Affects(state, command.window(), facts);
  return event;
}

v1::Event ReviewWindow(const State& state, const v1::ReviewWindow& command,
                       const runtime::Facts& facts) {
  const auto known = state.rows.window_records.Get(command.window());
  if (!known) return NotKnown(command, command.window());
  v1::Event event;
  *event.mutable_window_affects() = Affects(state, known->window(), facts);
  if (!google::protobuf::util::MessageDifferencer::Equals(event.window_affects(), known->window()))
    return event;
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{} affects the same {} reservations as before, expected a change.",
                             command.window(), known->window().affected_size()));
}

v1::Event ProlongWindow(const State& state, const v1::ProlongWindow& command,
                        const runtime::Facts& facts) {
  const auto known = state.rows.window_records.Get(command.window());
  if (!known) return NotKnown(command, command.window());
  v1::WindowAffects window = known->window();
  window.clear_end_time();
  v1::Event event;
  *event.mutable_window_affects() = Affects(state, std::move(window), facts);
  return event;
}

v1::Event ReleaseWindow(const State& state, const v1::ReleaseWindow& command) {
  if (!state.rows.window_records.Contains(command.window()))
    return NotKnown(command, command.window());
  v1::Event event;
  event.mutable_window_released()->set_window(command.window());
  return event;
}

}  // namespace concordat::reservations
