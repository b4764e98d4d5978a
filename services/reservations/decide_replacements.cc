#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>
#include <variant>

#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/reservations/quotas.h"
#include "services/reservations/replacements.h"
#include "services/reservations/windows.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

using Servers = std::vector<std::string>;
using Reassigned = std::variant<v1::Event, Obstacle>;

bool IsOver(const v1::Reservation& reservation, absl::Time now) {
  return now >= UseOf(reservation.terms()).end;
}

bool IsPlanned(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_HELD ||
         reservation.state() == v1::RESERVATION_STATE_CONFIRMED;
}

// What servers draw and give off together.
Watts SumOf(const State& state, const Servers& servers) {
  Watts sum;
  for (const std::string& server : servers) sum += state.index.WattsOf(server);
  return sum;
}

Checked CheckNoAmendment(const v1::Reservation& reservation) {
  if (!reservation.has_amendment()) return std::nullopt;
  return Obstacle{v1::REASON_WRONG_STATE,
                  fmt::format("{} has the amendment {} that is not decided, expected none.",
                              reservation.name(), reservation.amendment().name())};
}

// Whether a server of what is in use counts for it: it was handed over, though it may be lost by
// now. What was lost before the start was not, and has no outage.
bool Counts(const v1::Reservation& reservation, const std::string& server) {
  return !IsLost(reservation, server) ||
         absl::c_any_of(reservation.outages(), [&](const v1::Outage& outage) {
           return outage.server() == server && !outage.has_end_time();
         });
}

// What the reservation in use gets beside what counts for it: the accelerators of those of `added`
// that stand in for a server that its start went without.
int64_t JoiningAccelerators(const State& state, const v1::Reservation& reservation,
                            const Servers& removed, const Servers& added) {
  int64_t joining = 0;
  for (size_t i = 0; IsInUse(reservation) && i < added.size(); ++i) {
    if (!Counts(reservation, removed[i])) joining += state.index.AcceleratorsOf(added[i]);
  }
  return joining;
}

// Whether the quota suffices for so many accelerators more, for what is left of the reservation.
Checked CheckJoining(const State& state, const v1::Reservation& reservation, int64_t joining,
                     const runtime::Facts& facts) {
  if (joining == 0) return std::nullopt;
  const auto found = FrameOf(state, reservation.terms().contract(), facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&found)) return *obstacle;
  const Span left = LeftOf(reservation, facts.now);
  return CheckAllotment(state, std::get<Frame>(found), joining, AcceleratorSeconds(joining, left),
                        left);
}

// `added` instead of `removed`, one for one. REASON_POWER_ENVELOPE where they draw more: the
// envelope was found to suffice for what the reservation had. REASON_QUOTA_EXHAUSTED where more
// would be in use than the quota allows.
Reassigned Reassign(const State& state, const v1::Reservation& reservation, const Servers& removed,
                    const Servers& added, const std::string& window, const runtime::Facts& facts) {
  const Watts before = SumOf(state, removed);
  const Watts after = SumOf(state, added);
  if (after.it_power > before.it_power || after.cooling > before.cooling) {
    return Obstacle{
        v1::REASON_POWER_ENVELOPE,
        fmt::format(
            "The other servers would draw {} W and give off {} W, expected at most the {} W "
            "and {} W of those that it has.",
            after.it_power, after.cooling, before.it_power, before.cooling)};
  }
  const int64_t joining = JoiningAccelerators(state, reservation, removed, added);
  if (Checked obstacle = CheckJoining(state, reservation, joining, facts)) return *obstacle;
  v1::Event event;
  v1::ServersReassigned& reassigned = *event.mutable_servers_reassigned();
  reassigned.set_reservation(reservation.name());
  reassigned.set_window(window);
  reassigned.set_in_use(IsInUse(reservation));
  for (const std::string& server : reservation.servers()) {
    if (!absl::c_linear_search(removed, server)) reassigned.add_servers(server);
  }
  for (const std::string& server : added) reassigned.add_servers(server);
  reassigned.mutable_removed()->Assign(removed.begin(), removed.end());
  reassigned.mutable_added()->Assign(added.begin(), added.end());
  reassigned.set_it_power_watts(reservation.it_power_watts() - before.it_power + after.it_power);
  reassigned.set_cooling_watts(reservation.cooling_watts() - before.cooling + after.cooling);
  for (const std::string& server : reservation.lost_servers()) {
    if (!absl::c_linear_search(removed, server))
      *reassigned.mutable_retry_time() = runtime::ToTimestamp(facts.now + kFirstRetry);
  }
  if (joining == 0) return event;
  reassigned.set_accelerators(reservation.accelerators() + joining);
  for (const v1::Segment& segment : SegmentsFrom(reservation, reassigned.accelerators(), facts.now))
    *reassigned.add_segments() = segment;
  return event;
}

v1::Event OrRefused(const google::protobuf::Message& command, const Reassigned& reassigned) {
  const auto* obstacle = std::get_if<Obstacle>(&reassigned);
  return obstacle != nullptr ? Refused(command, *obstacle) : std::get<v1::Event>(reassigned);
}

// Those of its lost servers that are back in service, tested and wiped; they are still its own.
Servers ReturnedOf(const State& state, const Servers& lost) {
  Servers returned;
  for (const std::string& server : lost) {
    const auto record = state.rows.server_records.Get(server);
    if (record && IsBookable(record->server())) returned.push_back(server);
  }
  return returned;
}

// For lost servers of it, as many as there are: its own that came back, then others.
Servers FindReplacements(const State& state, const v1::Reservation& reservation,
                         const Servers& lost, absl::Time now) {
  Servers found = ReturnedOf(state, lost);
  Servers missing;
  for (const std::string& server : lost) {
    if (!absl::c_linear_search(found, server)) missing.push_back(server);
  }
  if (missing.empty()) return found;
  for (std::string& server : FindOthers(state, reservation, missing, LeftOf(reservation, now), now))
    found.push_back(std::move(server));
  return found;
}

// So many of the lost servers as are replaced, each by the one at its place in `added`; one that
// came back for itself.
Servers ReplacedBy(const Servers& lost, const Servers& added) {
  Servers replaced;
  for (const std::string& server : lost) {
    if (absl::c_linear_search(added, server)) replaced.push_back(server);
  }
  for (const std::string& server : lost) {
    if (replaced.size() < added.size() && !absl::c_linear_search(added, server))
      replaced.push_back(server);
  }
  return replaced;
}

Reassigned Replace(const State& state, const v1::Reservation& reservation, const Servers& lost,
                   const runtime::Facts& facts) {
  const Servers added = FindReplacements(state, reservation, lost, facts.now);
  if (added.empty()) {
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("No other server is free for {} now, expected at least one; "
                                "others are looked for until its end.",
                                reservation.name())};
  }
  return Reassign(state, reservation, ReplacedBy(lost, added), added, "", facts);
}

// Others for its lost servers, as many as there are. Where the quota does not suffice for those
// that its start went without, it gets others for those that count all the same.
Reassigned ReplaceLost(const State& state, const v1::Reservation& reservation,
                       const runtime::Facts& facts) {
  Servers lost(reservation.lost_servers().begin(), reservation.lost_servers().end());
  Reassigned all = Replace(state, reservation, lost, facts);
  const auto* obstacle = std::get_if<Obstacle>(&all);
  if (obstacle == nullptr || obstacle->reason != v1::REASON_QUOTA_EXHAUSTED) return all;
  std::erase_if(lost, [&](const std::string& server) { return !Counts(reservation, server); });
  Reassigned some = Replace(state, reservation, lost, facts);
  return std::holds_alternative<v1::Event>(some) ? some : all;
}

// The reservation where it has lost servers and can get others now.
Found FindShort(const State& state, const google::protobuf::Message& command,
                const std::string& name, const runtime::Facts& facts,
                std::initializer_list<v1::ReservationState> expected) {
  Found found = Find(state, command, name, facts, expected);
  if (!found.reservation) return found;
  Checked obstacle = CheckNoAmendment(*found.reservation);
  if (found.reservation->lost_servers().empty()) {
    obstacle =
        Obstacle{v1::REASON_WRONG_STATE,
                 fmt::format("{} has all of its servers, expected one that has lost some.", name)};
  }
  if (obstacle) return {std::nullopt, Refused(command, *obstacle)};
  return found;
}

v1::Event Missing(const v1::Reservation& reservation, absl::Time now) {
  v1::Event event;
  v1::ServersMissing& missing = *event.mutable_servers_missing();
  missing.set_reservation(reservation.name());
  missing.set_customer(reservation.terms().customer());
  *missing.mutable_lost_servers() = reservation.lost_servers();
  *missing.mutable_retry_time() = runtime::ToTimestamp(now + RetryAfter(reservation.heals()));
  return event;
}

v1::Event Offered(const v1::Reservation& reservation,
                  const google::protobuf::RepeatedPtrField<std::string>& free, absl::Time now) {
  v1::Event event;
  v1::ReplacementOffered& offered = *event.mutable_replacement_offered();
  offered.set_reservation(reservation.name());
  offered.set_customer(reservation.terms().customer());
  *offered.mutable_lost_servers() = reservation.lost_servers();
  *offered.mutable_free_servers() = free;
  // Where they are too few, others are looked for as if there were none.
  const bool all = free.size() == reservation.lost_servers_size();
  *offered.mutable_retry_time() =
      runtime::ToTimestamp(all ? now + kOfferTerm : now + RetryAfter(reservation.heals()));
  return event;
}

// What stands against the reservation using the servers that the window has kept for it: they were
// free when they were kept, and have been nobody else's since.
Checked CheckKept(const State& state, const v1::Reservation& reservation, const Servers& removed,
                  const google::protobuf::RepeatedPtrField<std::string>& kept,
                  const std::string& window, absl::Time now) {
  for (const std::string& server : kept) {
    const auto record = state.rows.server_records.Get(server);
    if (record && IsBookable(record->server())) continue;
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("{} was kept for {} and is not bookable now, expected it to be.",
                                server, reservation.name())};
  }
  if (const Servers late = state.index.TakenServers(kept, reservation.name()); !late.empty()) {
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("{} was kept for {} and something runs on it still, expected "
                                "nothing.",
                                late[0], reservation.name())};
  }
  const Span left = LeftOf(reservation, now);
  const Span block = BlockOf(left, reservation.terms(), reservation.margins());
  if (const auto claimant = ClaimantOf(state.rows, kept, block, window)) {
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("{} claims what {} kept for {}, expected no other window to.",
                                *claimant, window, reservation.name())};
  }
  const Wanted wanted{reservation.terms(),
                      reservation.series().empty() ? reservation.name() : reservation.series()};
  // Until they are clean again, as where it is planned.
  const Span held{left.start, block.end};
  if (Checked obstacle = CheckApart(state, wanted, kept, held, now)) return obstacle;
  // Of what they draw of a feed the others give up a part.
  std::map<std::string, int64_t> draws = state.index.FeedDraws({kept.begin(), kept.end()});
  for (const auto& [feed, watts] : state.index.FeedDraws(removed)) {
    if (const auto drawn = draws.find(feed); drawn != draws.end()) drawn->second -= watts;
  }
  std::erase_if(draws, [](const auto& drawn) { return drawn.second <= 0; });
  const auto at = state.index.feeds().FirstShort(draws, held, now);
  if (!at) return std::nullopt;
  return Obstacle{v1::REASON_POWER_ENVELOPE,
                  fmt::format("At {} feed {} gives {} W of {} W already, expected {} W for {}.",
                              runtime::ToText(at->at), at->feed, at->used, at->limit,
                              draws.at(at->feed), reservation.name())};
}

// In use, and moved with its customer's word or its contract's, to the servers that are kept for
// it. Nothing runs on those that it leaves; they are its own until they are clean.
v1::Event Move(const State& state, const v1::ReassignServers& command,
               const v1::Reservation& reservation, const v1::WindowAffects& window,
               const runtime::Facts& facts) {
  const auto& all = window.affected();
  const auto affected = std::find_if(all.begin(), all.end(), [&](const auto& one) {
    return one.reservation() == reservation.name() && one.has_kept_from();
  });
  const Servers removed = ClaimedOf(reservation, window);
  if (affected == all.end() || !window.drained() || removed.empty() ||
      static_cast<int>(removed.size()) != affected->free_servers_size()) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is in use, expected servers that {} keeps for it and the "
                               "window's to be drained.",
                               reservation.name(), window.window()));
  }
  if (IsOver(reservation, facts.now)) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("{} is to end, expected a move before it.", reservation.name()));
  }
  if (const Checked obstacle = CheckNoAmendment(reservation)) return Refused(command, *obstacle);
  const auto& kept = affected->free_servers();
  if (const Checked obstacle =
          CheckKept(state, reservation, removed, kept, window.window(), facts.now))
    return Refused(command, *obstacle);
  Reassigned reassigned =
      Reassign(state, reservation, removed, {kept.begin(), kept.end()}, window.window(), facts);
  if (auto* event = std::get_if<v1::Event>(&reassigned)) {
    v1::ServersReassigned& moved = *event->mutable_servers_reassigned();
    const absl::Duration cleaning = ToDuration(reservation.margins().after());
    if (cleaning > absl::ZeroDuration())
      *moved.mutable_cleaning_until() = runtime::ToTimestamp(facts.now + cleaning);
    for (const std::string& server : removed) {
      if (MustRetest(state, server)) moved.add_retest_servers(server);
    }
  }
  return OrRefused(command, reassigned);
}

}  // namespace

Span LeftOf(const v1::Reservation& reservation, absl::Time from) {
  const Span use = UseOf(reservation.terms());
  return {std::max(use.start, from), use.end};
}

std::vector<std::string> FindOthers(const State& state, const v1::Reservation& reservation,
                                    const std::vector<std::string>& instead_of, const Span& left,
                                    absl::Time now, const std::set<std::string>& excluded) {
  v1::Terms terms = reservation.terms();
  terms.set_count(static_cast<int32_t>(instead_of.size()));
  const Span block = BlockOf(left, terms, reservation.margins());
  // Nothing is left, or the margin before the use would lie in the past.
  if (left.start >= left.end || block.start < now) return {};
  const std::string& name = reservation.name();
  const std::string& party = reservation.series().empty() ? name : reservation.series();
  const Wanted wanted{
      .terms = terms, .reservation = party, .gives_up = instead_of, .excluded = excluded};
  return ChooseServers(state, wanted, left, block, now);
}

v1::Event ReassignServers(const State& state, const v1::ReassignServers& command,
                          const runtime::Facts& facts) {
  const std::string& name = command.reservation();
  const auto window = state.rows.window_records.Get(command.window());
  if (!window) {
    return Refused(command, v1::REASON_NOT_FOUND,
                   fmt::format("{} claims nothing here, expected a window that was announced.",
                               command.window()));
  }
  const auto reservation = state.rows.reservations.Get(name);
  if (!reservation) {
    return Refused(
        command, v1::REASON_NOT_FOUND,
        fmt::format("{} is not known, expected a reservation of {}.", name, Here(facts)));
  }
  const Servers removed = ClaimedOf(*reservation, window->window());
  if (IsInUse(*reservation)) return Move(state, command, *reservation, window->window(), facts);
  if (!IsPlanned(*reservation) || removed.empty()) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {} and has {} servers in {}, expected one that has not "
                               "started and has some.",
                               name, v1::ReservationState_Name(reservation->state()),
                               removed.size(), command.window()));
  }
  if (const Checked obstacle = CheckNoAmendment(*reservation)) return Refused(command, *obstacle);
  // The window's servers are free again after it, each for whoever has another of them.
  const Span left = LeftOf(*reservation, facts.now);
  if (!BlockOf(left, reservation->terms(), reservation->margins())
           .Overlaps(SpanOf(window->window()))) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} claims nothing of what is left of {}, expected a window that "
                               "does.",
                               command.window(), name));
  }
  const Servers added = FindOthers(state, *reservation, removed, left, facts.now);
  if (added.size() < removed.size()) {
    return Refused(command, v1::REASON_NO_CAPACITY,
                   fmt::format("{} servers are free for {}, expected {}.", added.size(), name,
                               removed.size()));
  }
  return OrRefused(command, Reassign(state, *reservation, removed, added, command.window(), facts));
}

v1::Event Heal(const State& state, const v1::HealReservation& command,
               const runtime::Facts& facts) {
  const Found found = FindShort(state, command, command.name(), facts,
                                {v1::RESERVATION_STATE_CONFIRMED, v1::RESERVATION_STATE_ACTIVE});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  // A timer that comes late looks for nothing, and must not keep the end waiting.
  if (IsOver(reservation, facts.now)) return Missing(reservation, facts.now);
  const Reassigned reassigned = ReplaceLost(state, reservation, facts);
  const auto* event = std::get_if<v1::Event>(&reassigned);
  if (event == nullptr) return Missing(reservation, facts.now);
  // What runs is not moved unasked.
  return IsInUse(reservation) ? Offered(reservation, event->servers_reassigned().added(), facts.now)
                              : *event;
}

v1::Event AcceptReplacement(const State& state, const v1::AcceptReplacementRequest& request,
                            const runtime::Facts& facts) {
  const Found found =
      FindShort(state, request, request.name(), facts, {v1::RESERVATION_STATE_ACTIVE});
  if (!found.reservation) return found.refusal;
  const v1::Reservation& reservation = *found.reservation;
  if (IsOver(reservation, facts.now)) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("{} is to end, expected a request before it.", reservation.name()));
  }
  return OrRefused(request, ReplaceLost(state, reservation, facts));
}

}  // namespace concordat::reservations
