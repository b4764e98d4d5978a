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
    feeds_.SetLimits(Parse<v1::SiteRecord>(change, change.before),
                     Parse<v1::SiteRecord>(change, change.after));
  } else if (table == "server_records") {
    const auto record = Parse<v1::ServerRecord>(change, change.after);
    SetServer(std::string(storage::KeyOf(change.key)), record ? &record->server() : nullptr);
  } else if (table == "separations") {
    SetSeparation(Parse<v1::Separation>(change, change.before),
                  Parse<v1::Separation>(change, change.after));
  } else if (table == "waves") {
    SetWave(std::string(storage::KeyOf(change.key)), Parse<v1::Wave>(change, change.before),
            Parse<v1::Wave>(change, change.after));
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

void Index::SetWave(const std::string& name, const std::optional<v1::Wave>& before,
                    const std::optional<v1::Wave>& after) {
  if (before) {
    const auto waves = waves_.find(before->plan().model());
    waves->second.erase(name);
    if (waves->second.empty()) waves_.erase(waves);
  }
  if (after) waves_[after->plan().model()].insert(name);
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

// Whatever reservations have a server, as its feed sees it.
void Index::DrawAll(const Server& server, int64_t sign) {
  const int64_t watts = sign * server.watts.it_power;
  server.schedule.VisitHeld([&](const Span& span) {
    feeds_.Draw(server.place.feed, Occupancy::Phase::kPlanned, span, watts);
  });
  // What is ACTIVE is in the schedule already, as what is planned is.
  for (const Run& run : server.running) {
    const bool ending = run.overdue_from == absl::InfinitePast();
    if (!ending) {
      const Span span{run.start, run.overdue_from};
      feeds_.Draw(server.place.feed, Occupancy::Phase::kPlanned, span, -watts);
      feeds_.Draw(server.place.feed, Occupancy::Phase::kActive, span, watts);
    } else {
      feeds_.Draw(server.place.feed, Occupancy::Phase::kEnding, {run.start, run.start}, watts);
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
  for (const auto& [feed, watts] : draws) feeds_.Draw(feed, phase, span, sign * watts);
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
  planned.customer = occupancy.customer;
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

std::map<std::string, int64_t> Index::FeedDraws(const std::vector<std::string>& servers) const {
  std::map<std::string, int64_t> draws;
  for (const std::string& name : servers) {
    const auto server = servers_.find(name);
    if (server != servers_.end() && feeds_.HasLimit(server->second.place.feed))
      draws[server->second.place.feed] += server->second.watts.it_power;
  }
  return draws;
}

std::vector<std::pair<absl::Time, Watts>> Index::Levels(const Span& span) const {
  return watts_.Levels(span);
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
