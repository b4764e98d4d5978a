#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <map>
#include <set>
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

v1::Interventions InterventionsOf(const State& state, const v1::Reservation& reservation) {
  return state.rows.contracts.Get(reservation.terms().contract())
      .value_or(v1::Contract())
      .terms()
      .interventions();
}

// How long before its start the customers were told.
absl::Duration NoticeOf(const v1::WindowAffects& window) {
  return runtime::ToTime(window.start_time()) - runtime::ToTime(window.announced_time());
}

// What the contract says of it; where it says nothing, and of what it never allows, the customer is
// asked. Where notice is enough, it has to be long enough.
bool NeedsConsent(const State& state, const v1::Reservation& reservation,
                  const v1::WindowAffects& window) {
  const v1::Interventions allowed = InterventionsOf(state, reservation);
  return allowed.maintenance() != v1::CONSENT_RULE_NOTICE ||
         NoticeOf(window) < absl::Hours(24) * allowed.maintenance_notice_days();
}

// Whether what runs may be moved: by its contract, after notice that was long enough, or by its
// customer's word.
bool MayMove(const State& state, const v1::Reservation& reservation,
             const v1::WindowAffects& window) {
  const v1::Interventions allowed = InterventionsOf(state, reservation);
  if (allowed.relocation() == v1::CONSENT_RULE_NEVER) return false;
  if (allowed.relocation() == v1::CONSENT_RULE_NOTICE &&
      NoticeOf(window) >= absl::Hours(24) * allowed.relocation_notice_days())
    return true;
  return absl::c_linear_search(window.relocation_customers(), reservation.terms().customer());
}

// Whether what was kept for it before does for the block too: servers that are bookable, in no
// other window, and free for as much longer as it is. The claim itself takes them, so that no other
// reservation has them.
bool IsStillKept(const State& state, const std::string& window,
                 const v1::AffectedReservation& before, int count, const Span& block,
                 absl::Time now) {
  if (!before.has_kept_from() || before.free_servers_size() != count) return false;
  const Span kept{runtime::ToTime(before.kept_from()), runtime::ToTime(before.kept_until())};
  const Span longer{kept.end, std::max(kept.end, block.end)};
  return block.start >= kept.start &&
         !ClaimantOf(state.rows, before.free_servers(), block, window) &&
         absl::c_all_of(before.free_servers(), [&](const std::string& server) {
           return state.index.IsFree(server, longer, now);
         });
}

// Where the reservation could go for the servers that the window takes, and whether that is kept;
// nowhere where the window is over before what is left of it. `taken` are the window's own servers,
// which are not in the index while it is new, and what others get whom it affects.
void FindPlace(const State& state, const v1::Reservation& reservation,
               const v1::WindowAffects& window, const v1::AffectedReservation& before,
               std::set<std::string>& taken, v1::AffectedReservation& affected, absl::Time now) {
  const bool active = affected.active();
  const Span left =
      LeftOf(reservation, active ? std::max(now, runtime::ToTime(window.start_time())) : now);
  const Span block = BlockOf(left, reservation.terms(), reservation.margins());
  if (!block.Overlaps(SpanOf(window))) return;
  // Others are looked for once what is pending is over, for then the window looks again.
  if (!active && reservation.has_amendment()) return;
  const bool moves = active && left.start < left.end && !reservation.has_amendment() &&
                     MayMove(state, reservation, window);
  const std::vector<std::string> shared(affected.servers().begin(), affected.servers().end());
  if (moves && IsStillKept(state, window.window(), before, affected.servers_size(), block, now)) {
    *affected.mutable_free_servers() = before.free_servers();
  } else {
    const std::vector<std::string> free = FindOthers(state, reservation, shared, left, now, taken);
    affected.mutable_free_servers()->Assign(free.begin(), free.end());
  }
  if (affected.free_servers_size() < affected.servers_size() || (active && !moves)) return;
  taken.insert(affected.free_servers().begin(), affected.free_servers().end());
  if (!active) return;
  *affected.mutable_kept_from() = runtime::ToTimestamp(block.start);
  *affected.mutable_kept_until() = runtime::ToTimestamp(block.end);
}

// What the window said of the reservation before.
v1::AffectedReservation BeforeOf(const v1::WindowAffects& window, const std::string& reservation) {
  for (const v1::AffectedReservation& affected : window.affected()) {
    if (affected.reservation() == reservation) return affected;
  }
  return {};
}

// The window with what it overlaps now.
v1::WindowAffects Affects(const State& state, v1::WindowAffects window,
                          const runtime::Facts& facts) {
  const v1::WindowAffects before = window;
  window.clear_affected();
  const Span claimed = SpanOf(window);
  const std::set<std::string> servers(window.servers().begin(), window.servers().end());
  std::set<std::string> taken = servers;
  for (const auto& [name, reservation] : LiveReservations(state.rows)) {
    if (!WholeOf(reservation).Overlaps(claimed)) continue;
    const std::vector<std::string> shared = ClaimedOf(reservation, servers);
    if (shared.empty()) continue;
    v1::AffectedReservation& affected = *window.add_affected();
    affected.set_reservation(name);
    affected.set_customer(reservation.terms().customer());
    affected.mutable_servers()->Assign(shared.begin(), shared.end());
    *affected.mutable_start_time() = reservation.terms().start_time();
    *affected.mutable_end_time() = reservation.terms().end_time();
    affected.set_active(IsInUse(reservation));
    affected.set_needs_consent(!window.emergency() && NeedsConsent(state, reservation, window));
    const v1::Interventions allowed = InterventionsOf(state, reservation);
    affected.set_never_moved(allowed.relocation() == v1::CONSENT_RULE_NEVER);
    affected.set_consent_by(allowed.maintenance_consent_by());
    affected.set_relocation_consent_by(allowed.relocation_consent_by());
    FindPlace(state, reservation, window, BeforeOf(before, name), taken, affected, facts.now);
  }
  return window;
}

v1::Event NotKnown(const google::protobuf::Message& command, const std::string& window) {
  return Refused(
      command, v1::REASON_NOT_FOUND,
      fmt::format("{} claims nothing here, expected a window that was announced.", window));
}

// The window with what it overlaps now, where that or the window itself is not as it was known.
v1::Event AffectsAnew(const State& state, const google::protobuf::Message& command,
                      const v1::WindowRecord& known, v1::WindowAffects window,
                      const runtime::Facts& facts) {
  v1::Event event;
  *event.mutable_window_affects() = Affects(state, std::move(window), facts);
  if (!google::protobuf::util::MessageDifferencer::Equals(event.window_affects(), known.window()))
    return event;
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{} affects the same {} reservations as before, expected a change.",
                             known.name(), known.window().affected_size()));
}

}  // namespace

Span SpanOf(const v1::WindowAffects& window) {
  return {runtime::ToTime(window.start_time()),
          window.has_end_time() ? runtime::ToTime(window.end_time()) : absl::InfiniteFuture()};
}

std::vector<std::string> ClaimedOf(const v1::Reservation& reservation,
                                   const v1::WindowAffects& window) {
  return ClaimedOf(reservation,
                   std::set<std::string>(window.servers().begin(), window.servers().end()));
}

std::vector<std::string> ClaimedOf(const v1::Reservation& reservation,
                                   const std::set<std::string>& claimed) {
  std::vector<std::string> shared;
  for (const auto* servers : {&reservation.servers(), &reservation.amendment().servers()}) {
    for (const std::string& server : *servers) {
      if (claimed.contains(server) && !absl::c_linear_search(shared, server))
        shared.push_back(server);
    }
  }
  return shared;
}

std::optional<std::string> ClaimantOf(
    const Rows& rows, const google::protobuf::RepeatedPtrField<std::string>& servers,
    const Span& span, const std::string& besides) {
  const std::set<std::string_view> wanted(servers.begin(), servers.end());
  std::optional<std::string> claimant;
  rows.window_records.Scan("", [&](std::string_view name, const v1::WindowRecord& record) {
    const v1::WindowAffects& window = record.window();
    if (name != besides && SpanOf(window).Overlaps(span) &&
        absl::c_any_of(window.servers(),
                       [&](const std::string& server) { return wanted.contains(server); }))
      claimant = name;
    return !claimant;
  });
  return claimant;
}

v1::Event RecordWindow(const State& state, const v1::RecordWindow& command,
                       const runtime::Facts& facts) {
  const std::string& name = command.window().window();
  if (runtime::SiteOfName(name) != facts.site) {
    return NotHome(command, name, facts);
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
  return AffectsAnew(state, command, *known, known->window(), facts);
}

v1::Event RecordRelocationConsent(const State& state, const v1::RecordRelocationConsent& command,
                                  const runtime::Facts& facts) {
  const auto known = state.rows.window_records.Get(command.window());
  if (!known) return NotKnown(command, command.window());
  v1::WindowAffects window = known->window();
  std::set<std::string> customers(window.relocation_customers().begin(),
                                  window.relocation_customers().end());
  for (const std::string& customer : command.customers()) {
    if (command.given()) {
      customers.insert(customer);
    } else {
      customers.erase(customer);
    }
  }
  window.mutable_relocation_customers()->Assign(customers.begin(), customers.end());
  return AffectsAnew(state, command, *known, std::move(window), facts);
}

v1::Event RecordWindowDrained(const State& state, const v1::RecordWindowDrained& command,
                              const runtime::Facts& facts) {
  const auto known = state.rows.window_records.Get(command.window());
  if (!known) return NotKnown(command, command.window());
  v1::WindowAffects window = known->window();
  window.set_drained(true);
  return AffectsAnew(state, command, *known, std::move(window), facts);
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
