#include "services/reservations/index.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "events/flaw.h"
#include "services/reservations/margins.h"
#include "services/reservations/replacements.h"
#include "services/reservations/windows.h"
#include "services/runtime/check.h"
#include "storage/projection/table.h"

namespace concordat::reservations {
namespace {

// Whatever an event says, sums stay far from overflow.
constexpr int64_t kMostWatts = 1'000'000'000'000'000;

int64_t Bounded(int64_t amount) { return std::clamp<int64_t>(amount, 0, kMostWatts); }

Occupancy::Phase PhaseOf(const v1::Reservation& reservation) {
  switch (reservation.state()) {
    case v1::RESERVATION_STATE_HELD:
    case v1::RESERVATION_STATE_CONFIRMED:
      return Occupancy::Phase::kPlanned;
    case v1::RESERVATION_STATE_ACTIVE:
    case v1::RESERVATION_STATE_CLEANING:
      return Occupancy::Phase::kActive;
    case v1::RESERVATION_STATE_ENDING:
      return IsInGrace(reservation) ? Occupancy::Phase::kActive : Occupancy::Phase::kEnding;
    case v1::RESERVATION_STATE_ENDED:
    case v1::RESERVATION_STATE_CANCELLED:
    case v1::RESERVATION_STATE_DECLINED:
    case v1::RESERVATION_STATE_LAPSED:
    case v1::RESERVATION_STATE_REVOKED:
    case v1::RESERVATION_STATE_UNSPECIFIED:
    case v1::ReservationState_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::ReservationState_INT_MAX_SENTINEL_DO_NOT_USE_:
      return Occupancy::Phase::kNone;
  }
  return Occupancy::Phase::kNone;
}

// Racks and domains have names of their own, so a word says which it is.
ServerPlace PlaceIn(const v1::ServerRecorded& recorded) {
  ServerPlace place;
  place.rack = fmt::format("rack\x1f{}\x1f{}", recorded.room(), recorded.rack());
  place.domain = recorded.nvlink_domain().empty()
                     ? place.rack
                     : fmt::format("domain\x1f{}", recorded.nvlink_domain());
  place.feed = recorded.power_feed();
  return place;
}

template <typename Message>
std::optional<Message> Parse(const storage::Change& change,
                             const std::optional<std::string_view>& value) {
  if (!value) return std::nullopt;
  return storage::Table<Message>::Parse(storage::KeyOf(change.key), *value);
}

}  // namespace

Occupancy OccupancyOf(const v1::Reservation& reservation) {
  Occupancy occupancy;
  occupancy.phase = PhaseOf(reservation);
  const v1::Terms& terms = reservation.terms();
  // What has a schedule takes nothing itself; its occurrences do.
  if (terms.has_access()) occupancy.phase = Occupancy::Phase::kNone;
  if (occupancy.phase == Occupancy::Phase::kNone) return occupancy;
  occupancy.reservation = reservation.name();
  occupancy.contract = terms.contract();
  occupancy.customer = terms.customer();
  occupancy.count = terms.count();
  occupancy.accelerators = Bounded(reservation.accelerators());
  occupancy.use = UseOf(terms);
  occupancy.span = BlockOf(terms, reservation.margins());
  const v1::Ending& ending = reservation.ending();
  if (ending.has_released_time())
    occupancy.use.end = std::min(occupancy.use.end, runtime::ToTime(ending.released_time()));
  if (reservation.state() == v1::RESERVATION_STATE_CLEANING)
    occupancy.span.end = runtime::ToTime(ending.cleaning_until());
  if (reservation.has_amendment()) {
    occupancy.parts = PartsOf(reservation, reservation.amendment());
    for (Part& part : occupancy.parts) {
      part.watts = {Bounded(part.watts.it_power), Bounded(part.watts.cooling)};
      part.accelerators = Bounded(part.accelerators);
    }
  }
  for (const v1::LeftServer& left : reservation.left_servers()) {
    occupancy.left.emplace_back(
        left.server(), Span{runtime::ToTime(left.start_time()), runtime::ToTime(left.end_time())});
  }
  occupancy.watts = {Bounded(reservation.it_power_watts()), Bounded(reservation.cooling_watts())};
  occupancy.servers.assign(reservation.servers().begin(), reservation.servers().end());
  return occupancy;
}

void Index::Apply(const storage::Change& change) {
  const std::string_view table = storage::TableOf(change.key);
  if (table == "reservations") {
    const auto occupancy = [&](const std::optional<std::string_view>& value) {
      return OccupancyOf(Parse<v1::Reservation>(change, value).value_or(v1::Reservation()));
    };
    const Occupancy before = occupancy(change.before);
    const Occupancy after = occupancy(change.after);
    // A confirmation takes nothing that the hold did not take.
    if (before == after) return;
    Release(before);
    Take(after);
  } else if (table == "site_records") {
    SetFeeds(Parse<v1::SiteRecord>(change, change.before),
             Parse<v1::SiteRecord>(change, change.after));
  } else if (table == "server_records") {
    const auto record = Parse<v1::ServerRecord>(change, change.after);
    SetServer(std::string(storage::KeyOf(change.key)), record ? &record->server() : nullptr);
  } else if (table == "separations") {
    SetSeparation(Parse<v1::Separation>(change, change.before),
                  Parse<v1::Separation>(change, change.after));
  } else if (table == "waves") {
    const std::string name(storage::KeyOf(change.key));
    if (const auto before = Parse<v1::Wave>(change, change.before)) {
      const auto waves = waves_.find(before->plan().model());
      waves->second.erase(name);
      if (waves->second.empty()) waves_.erase(waves);
    }
    if (const auto after = Parse<v1::Wave>(change, change.after))
      waves_[after->plan().model()].insert(name);
  } else if (table == "window_records") {
    if (const auto before = Parse<v1::WindowRecord>(change, change.before))
      Claim(before->window(), false);
    if (const auto after = Parse<v1::WindowRecord>(change, change.after))
      Claim(after->window(), true);
  }
}

// Enters a server into what is known of its model, or takes it out.
void Index::CountServer(const std::string& name, const Server& server, bool lost, bool enters) {
  Model& model = models_[server.model];
  const auto count = [&](size_t& number) { enters ? ++number : --number; };
  count(model.known);
  const std::pair watts(server.watts.it_power, server.watts.cooling);
  count(model.watts[watts]);
  if (model.watts[watts] == 0) model.watts.erase(watts);
  if (!server.bookable) {
    std::set<std::string>& others = lost ? model.lost : model.cordoned;
    enters ? static_cast<void>(others.insert(name)) : static_cast<void>(others.erase(name));
  }
  if (model.known == 0) models_.erase(server.model);
}

void Index::SetSeparation(const std::optional<v1::Separation>& before,
                          const std::optional<v1::Separation>& after) {
  for (const auto* separation : {&before, &after}) {
    if (!separation->has_value() || (*separation)->ended() || (*separation)->parties_size() != 2)
      continue;
    for (const int party : {0, 1}) {
      const auto at = apart_.try_emplace((*separation)->parties(party)).first;
      if (separation == &after) {
        at->second.insert((*separation)->parties(1 - party));
      } else if (const auto other = at->second.find((*separation)->parties(1 - party));
                 other != at->second.end()) {
        at->second.erase(other);
      }
      if (at->second.empty()) apart_.erase(at);
    }
  }
}

Schedule::Holder Index::HolderOf(const std::string& customer) {
  return &*customers_.insert(customer).first;
}

void Index::SetServer(const std::string& name, const v1::ServerRecorded* recorded) {
  const auto at = servers_.try_emplace(name).first;
  Server& server = at->second;
  if (server.bookable) {
    const auto pool = pools_.find(server.model);
    pool->second.Leave(name);
    if (pool->second.empty()) pools_.erase(pool);
  }
  if (server.known) CountServer(name, server, server.lost, false);
  DrawAll(server, -1);
  server.known = recorded != nullptr;
  server.model = recorded == nullptr ? "" : recorded->model();
  server.bookable = recorded != nullptr && IsBookable(*recorded);
  server.lost = recorded != nullptr && recorded->lost();
  server.place = recorded == nullptr ? ServerPlace() : PlaceIn(*recorded);
  server.watts = recorded == nullptr ? Watts()
                                     : Watts{Bounded(recorded->it_power_watts()),
                                             Bounded(recorded->cooling_watts())};
  server.accelerators = recorded == nullptr ? 0 : Bounded(recorded->accelerators());
  DrawAll(server, +1);
  if (server.known) CountServer(name, server, server.lost, true);
  if (server.bookable) pools_[server.model].Join(at->first, server.schedule, server.place);
  if (server.empty()) servers_.erase(at);
}

// Enters what is drawn of a feed, or takes it out. Amounts add up, so that it is the same whether a
// reservation comes after its servers' records or before them.
void Index::Draw(const std::string& name, Occupancy::Phase phase, const Span& span, int64_t watts) {
  if (name.empty() || watts == 0) return;
  const bool ending = phase == Occupancy::Phase::kEnding;
  const auto at = feeds_.try_emplace(name).first;
  Feed& feed = at->second;
  feed.watts.Add({span.start, ending ? absl::InfiniteFuture() : span.end}, watts);
  if (phase != Occupancy::Phase::kPlanned) feed.running += watts;
  if (ending) feed.ending += watts;
  if (phase == Occupancy::Phase::kActive) {
    int64_t& active = feed.active[span.end];
    active += watts;
    if (active == 0) feed.active.erase(span.end);
  }
  if (feed.empty()) feeds_.erase(at);
}

// Whatever reservations have a server, as its feed sees it.
void Index::DrawAll(const Server& server, int64_t sign) {
  const int64_t watts = sign * server.watts.it_power;
  server.schedule.VisitHeld(
      [&](const Span& span) { Draw(server.place.feed, Occupancy::Phase::kPlanned, span, watts); });
  // What is ACTIVE is in the schedule already, as what is planned is.
  for (const Run& run : server.running) {
    const bool ending = run.overdue_from == absl::InfinitePast();
    if (!ending) {
      const Span span{run.start, run.overdue_from};
      Draw(server.place.feed, Occupancy::Phase::kPlanned, span, -watts);
      Draw(server.place.feed, Occupancy::Phase::kActive, span, watts);
    } else {
      Draw(server.place.feed, Occupancy::Phase::kEnding, {run.start, run.start}, watts);
    }
  }
}

void Index::DrawFor(const std::vector<std::string>& servers, Occupancy::Phase phase,
                    const Span& span, int64_t sign) {
  std::map<std::string, int64_t> draws;
  for (const std::string& name : servers) {
    const auto server = servers_.find(name);
    if (server != servers_.end() && !server->second.place.feed.empty())
      draws[server->second.place.feed] += server->second.watts.it_power;
  }
  for (const auto& [feed, watts] : draws) Draw(feed, phase, span, sign * watts);
}

void Index::SetFeeds(const std::optional<v1::SiteRecord>& before,
                     const std::optional<v1::SiteRecord>& after) {
  for (const auto* site : {&before, &after}) {
    if (!*site) continue;
    for (const v1::FeedRecord& record : (*site)->feeds()) {
      const auto at = feeds_.try_emplace(record.feed()).first;
      at->second.limits.clear();
      for (const v1::EnvelopeRecorded& step : record.envelope()) {
        if (site == &before) break;
        at->second.limits.push_back(
            {runtime::ToTime(step.effective_from()), Bounded(step.it_power_watts())});
      }
      if (at->second.empty()) feeds_.erase(at);
    }
  }
}

void Index::TakeUse(const Occupancy& occupancy, int64_t sign) {
  const bool ending = occupancy.phase == Occupancy::Phase::kEnding;
  const absl::Time end = ending ? absl::InfiniteFuture() : occupancy.span.end;
  const Watts watts = sign > 0 ? occupancy.watts : -occupancy.watts;
  watts_.Add({occupancy.span.start, end}, watts);
  if (occupancy.phase != Occupancy::Phase::kPlanned) running_ += watts;
  if (ending) ending_ += watts;
  DrawFor(occupancy.servers, occupancy.phase, occupancy.span, sign);
  Reserve(occupancy.contract, occupancy.use,
          {sign * occupancy.count, sign * occupancy.accelerators});
}

void Index::Reserve(const std::string& contract, const Span& use, const Usage& usage) {
  const auto at = contracts_.try_emplace(contract).first;
  at->second.Add(use, usage);
  if (at->second.empty()) contracts_.erase(at);
}

// Parts are planned: they neither run nor come late.
void Index::TakePart(const Occupancy& occupancy, const Part& part, int64_t sign) {
  watts_.Add(part.span, sign > 0 ? part.watts : -part.watts);
  Reserve(occupancy.contract, part.span, {sign * part.count, sign * part.accelerators});
  Occupancy planned;
  planned.phase = Occupancy::Phase::kPlanned;
  planned.span = part.span;
  DrawFor(part.servers, planned.phase, planned.span, sign);
  for (const std::string& server : part.servers) Occupy(server, planned, sign > 0);
}

// Enters the reservation into one of its servers, or takes it out of it.
void Index::Occupy(const std::string& name, const Occupancy& occupancy, bool take) {
  const auto at = servers_.try_emplace(name).first;
  Server& server = at->second;
  const bool ending = occupancy.phase == Occupancy::Phase::kEnding;
  const Schedule::Holder holder = HolderOf(occupancy.customer);
  if (!ending) {
    if (take) {
      server.schedule.Insert(occupancy.span, holder);
    } else {
      server.schedule.Erase(occupancy.span, holder);
    }
    if (server.bookable) pools_.at(server.model).Refresh(name, occupancy.span);
  }
  if (occupancy.phase != Occupancy::Phase::kPlanned) {
    const Run run{occupancy.reservation, occupancy.span.start,
                  ending ? absl::InfinitePast() : occupancy.span.end, holder};
    const auto order = [](const Run& a, const Run& b) {
      return std::tie(a.overdue_from, a.reservation) < std::tie(b.overdue_from, b.reservation);
    };
    const auto [first, last] =
        std::equal_range(server.running.begin(), server.running.end(), run, order);
    if (take) {
      server.running.insert(first, run);
    } else if (first != last) {
      server.running.erase(first);
    }
    server.schedule.SetOverdueFrom(server.running.empty() ? absl::InfiniteFuture()
                                                          : server.running.front().overdue_from);
    if (server.bookable) pools_.at(server.model).RefreshOverdue(name);
  }
  if (server.empty()) servers_.erase(at);
}

void Index::ClaimServer(const std::string& name, const Span& span, bool take) {
  const auto at = servers_.try_emplace(name).first;
  Server& server = at->second;
  if (take) {
    server.schedule.Insert(span);
  } else {
    server.schedule.Erase(span);
  }
  if (server.bookable) pools_.at(server.model).Refresh(name, span);
  if (server.empty()) servers_.erase(at);
}

void Index::Claim(const v1::WindowAffects& window, bool take) {
  for (const std::string& name : window.servers()) ClaimServer(name, SpanOf(window), take);
  for (const v1::AffectedReservation& affected : window.affected()) {
    if (!affected.has_kept_from()) continue;
    const Span kept{runtime::ToTime(affected.kept_from()), runtime::ToTime(affected.kept_until())};
    for (const std::string& name : affected.free_servers()) ClaimServer(name, kept, take);
  }
}

void Index::Take(const Occupancy& occupancy) {
  if (occupancy.phase == Occupancy::Phase::kNone) return;
  TakeUse(occupancy, +1);
  for (const std::string& name : occupancy.servers) Occupy(name, occupancy, true);
  for (const Part& part : occupancy.parts) TakePart(occupancy, part, +1);
  for (const auto& [name, span] : occupancy.left) ClaimServer(name, span, true);
  if (occupancy.phase == Occupancy::Phase::kActive) {
    active_[{occupancy.span.end, occupancy.reservation}] = occupancy.watts;
  }
}

void Index::Release(const Occupancy& occupancy) {
  if (occupancy.phase == Occupancy::Phase::kNone) return;
  TakeUse(occupancy, -1);
  for (const Part& part : occupancy.parts) TakePart(occupancy, part, -1);
  for (const auto& [name, span] : occupancy.left) ClaimServer(name, span, false);
  for (const std::string& name : occupancy.servers) Occupy(name, occupancy, false);
  if (occupancy.phase == Occupancy::Phase::kActive)
    active_.erase({occupancy.span.end, occupancy.reservation});
}

std::vector<std::string> Index::FindFree(const std::string& model, const Span& span, absl::Time now,
                                         size_t count) const {
  return FindFree(model, std::vector<Span>{span}, now, count);
}

std::vector<std::string> Index::FindFree(const std::string& model, std::vector<Span> spans,
                                         absl::Time now, size_t count) const {
  std::vector<std::string> free;
  const auto pool = pools_.find(model);
  if (pool == pools_.end() || count == 0) return free;
  pool->second.FindFree(std::move(spans), now, [&](const std::string& name) {
    free.push_back(name);
    return free.size() < count;
  });
  return free;
}

bool Index::IsFree(const std::string& server, const Span& span, absl::Time now) const {
  const auto found = servers_.find(server);
  return found != servers_.end() && found->second.bookable &&
         !found->second.schedule.IsOverdue(now) &&
         (span.start >= span.end || found->second.schedule.UseOf(span) == Schedule::Use::kFree);
}

bool Index::IsPromised(const std::string& server, const Span& span) const {
  const auto found = servers_.find(server);
  return found != servers_.end() && span.start < span.end &&
         found->second.schedule.UseOf(span) != Schedule::Use::kFree;
}

size_t Index::CountBookable(const std::string& model) const {
  const auto pool = pools_.find(model);
  return pool == pools_.end() ? 0 : pool->second.size();
}

const Pool* Index::FindPool(const std::string& model) const {
  const auto pool = pools_.find(model);
  return pool == pools_.end() ? nullptr : &pool->second;
}

Watts Index::LeastWatts(const std::string& model, int64_t count) const {
  const auto found = models_.find(model);
  if (found == models_.end()) return {};
  // A model's servers draw alike, so that there is hardly ever more than one entry.
  Watts least{found->second.watts.begin()->first.first, found->second.watts.begin()->first.second};
  for (const auto& [watts, unused] : found->second.watts)
    least.cooling = std::min(least.cooling, watts.second);
  return {least.it_power * count, least.cooling * count};
}

int64_t Index::MostPower(const std::string& model) const {
  const auto found = models_.find(model);
  return found == models_.end() ? 0 : found->second.watts.rbegin()->first.first;
}

std::set<std::string> Index::WavesOf(const std::string& model) const {
  const auto found = waves_.find(model);
  return found == waves_.end() ? std::set<std::string>() : found->second;
}

std::set<std::string> Index::ApartFrom(const std::string& party) const {
  const auto found = apart_.find(party);
  if (found == apart_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

void Index::VisitPlaces(const std::set<std::string>& customers, const Span& span, absl::Time now,
                        absl::FunctionRef<void(const ServerPlace&)> visit) const {
  std::vector<Schedule::Holder> holders;
  for (const std::string& customer : customers) {
    const auto holder = customers_.find(customer);
    if (holder != customers_.end()) holders.push_back(&*holder);
  }
  if (holders.empty()) return;
  for (const auto& [name, server] : servers_) {
    const bool has =
        std::any_of(holders.begin(), holders.end(), [&, &server = server](auto holder) {
          return server.schedule.IsHeldBy(holder, span) ||
                 std::any_of(server.running.begin(), server.running.end(), [&](const Run& run) {
                   return run.customer == holder && run.overdue_from <= now;
                 });
        });
    if (has) visit(server.place);
  }
}

const ServerPlace* Index::PlaceOf(const std::string& server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() || !found->second.known ? nullptr : &found->second.place;
}

std::vector<std::string> Index::BookableServers(const std::string& model) const {
  const auto pool = pools_.find(model);
  return pool == pools_.end() ? std::vector<std::string>()
                              : pool->second.Names(pool->second.All(), pool->second.size());
}

Watts Index::WattsOf(const std::string& server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() ? Watts() : found->second.watts;
}

Watts Index::Peak(const Span& span, absl::Time now) const {
  Watts peak = watts_.Peak(span);
  return peak += Late(now);
}

// What counts without end because it should have ended by now.
Watts Index::Late(absl::Time now) const {
  Watts late;
  for (const auto& [key, watts] : active_) {
    if (key.first > now) break;
    late += watts;
  }
  return late;
}

std::optional<std::pair<absl::Time, Watts>> Index::FirstAbove(const Span& span, const Watts& limit,
                                                              absl::Time now) const {
  const Watts late = Late(now);
  Watts left = limit;
  auto first = watts_.FirstAbove(span, left -= late);
  if (first) first->second += late;
  return first;
}

absl::Time Index::KeptFrom(const Span& span, const Watts& limit, absl::Time now) const {
  Watts left = limit;
  return watts_.KeptFrom(span, left -= Late(now));
}

absl::Time Index::ContractKeptFrom(const std::string& contract, const Span& span,
                                   int64_t most) const {
  const auto found = contracts_.find(contract);
  if (found == contracts_.end()) return most < 0 ? span.end : span.start;
  return found->second.KeptFrom(span, {most, std::numeric_limits<int64_t>::max()});
}

int64_t Index::ContractPeak(const std::string& contract, const Span& span) const {
  const auto found = contracts_.find(contract);
  return found == contracts_.end() ? 0 : found->second.Peak(span).servers;
}

int64_t Index::Feed::Late(absl::Time now) const {
  int64_t late = 0;
  for (const auto& [end, watts] : active) {
    if (end > now) break;
    late += watts;
  }
  return late;
}

bool Index::HasLimit(const std::string& feed) const {
  if (events::Has(events::Flaw::kForgetsFeeds)) return false;
  const auto found = feeds_.find(feed);
  return found != feeds_.end() && !found->second.limits.empty();
}

std::map<std::string, int64_t> Index::FeedDraws(const std::vector<std::string>& servers) const {
  std::map<std::string, int64_t> draws;
  for (const std::string& name : servers) {
    const auto server = servers_.find(name);
    if (server != servers_.end() && HasLimit(server->second.place.feed))
      draws[server->second.place.feed] += server->second.watts.it_power;
  }
  return draws;
}

int64_t Index::FeedLeft(const std::string& name, const Span& span, absl::Time now) const {
  int64_t left = INT64_MAX;
  const auto found = feeds_.find(name);
  if (found == feeds_.end()) return left;
  const Feed& feed = found->second;
  const int64_t late = feed.Late(now);
  for (size_t step = 0; step < feed.limits.size(); ++step) {
    const absl::Time next = step + 1 < feed.limits.size() ? feed.limits[step + 1].from : span.end;
    const Span part{std::max(span.start, feed.limits[step].from), std::min(span.end, next)};
    if (part.start < part.end)
      left = std::min(left, feed.limits[step].watts - late - feed.watts.Peak(part));
  }
  return left;
}

std::optional<Index::FeedShort> Index::FirstFeedShort(const std::map<std::string, int64_t>& draws,
                                                      const Span& span, absl::Time now) const {
  std::optional<FeedShort> first;
  for (const auto& [name, watts] : draws) {
    const auto found = feeds_.find(name);
    if (found == feeds_.end()) continue;
    const Feed& feed = found->second;
    const int64_t late = feed.Late(now);
    for (size_t step = 0; step < feed.limits.size(); ++step) {
      const absl::Time next = step + 1 < feed.limits.size() ? feed.limits[step + 1].from : span.end;
      const Span part{std::max(span.start, feed.limits[step].from), std::min(span.end, next)};
      if (part.start >= part.end) continue;
      const auto above = feed.watts.FirstAbove(part, feed.limits[step].watts - late - watts);
      if (!above) continue;
      if (!first || above->first < first->at)
        first = FeedShort{name, above->first, above->second + late, feed.limits[step].watts};
      break;
    }
  }
  return first;
}

int64_t Index::FeedRunning(const std::string& feed) const {
  const auto found = feeds_.find(feed);
  return found == feeds_.end() ? 0 : found->second.running;
}

int64_t Index::FeedEnding(const std::string& feed) const {
  const auto found = feeds_.find(feed);
  return found == feeds_.end() ? 0 : found->second.ending;
}

std::optional<int64_t> Index::FeedLimitAt(const std::string& feed, absl::Time at) const {
  const auto found = feeds_.find(feed);
  std::optional<int64_t> limit;
  if (found == feeds_.end()) return limit;
  for (const FeedLimit& step : found->second.limits) {
    if (step.from > at) break;
    limit = step.watts;
  }
  return limit;
}

std::vector<std::pair<absl::Time, Watts>> Index::Levels(const Span& span) const {
  return watts_.Levels(span);
}

std::vector<std::pair<absl::Time, int64_t>> Index::FeedLevels(const std::string& feed,
                                                              const Span& span) const {
  const auto found = feeds_.find(feed);
  if (found == feeds_.end()) return {{span.start, 0}};
  return found->second.watts.Levels(span);
}

int64_t Index::AcceleratorPeak(const std::string& contract, const Span& span) const {
  const auto found = contracts_.find(contract);
  return found == contracts_.end() ? 0 : found->second.Peak(span).accelerators;
}

int64_t Index::AcceleratorsOf(const std::string& server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() ? 0 : found->second.accelerators;
}

std::vector<std::string> Index::TakenServers(
    const google::protobuf::RepeatedPtrField<std::string>& servers,
    std::string_view reservation) const {
  std::vector<std::string> taken;
  for (const std::string& name : servers) {
    const auto server = servers_.find(name);
    if (server == servers_.end()) continue;
    const std::vector<Run>& running = server->second.running;
    if (std::any_of(running.begin(), running.end(),
                    [&](const Run& run) { return run.reservation != reservation; })) {
      taken.push_back(name);
    }
  }
  return taken;
}

bool operator==(const Index& a, const Index& b) {
  return a.servers_ == b.servers_ && a.models_ == b.models_ && a.waves_ == b.waves_ &&
         a.apart_ == b.apart_ && a.pools_ == b.pools_ && a.watts_ == b.watts_ &&
         a.contracts_ == b.contracts_ && a.active_ == b.active_ && a.running_ == b.running_ &&
         a.ending_ == b.ending_ && a.feeds_ == b.feeds_;
}

}  // namespace concordat::reservations
