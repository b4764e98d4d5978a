#include "services/reservations/index.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "services/runtime/check.h"
#include "storage/projection/table.h"

namespace concordat::reservations {
namespace {

// Whatever an event says, sums stay far from overflow.
constexpr int64_t kMostWatts = 1'000'000'000'000'000;

int64_t Bounded(int64_t amount) { return std::clamp<int64_t>(amount, 0, kMostWatts); }

Occupancy::Phase PhaseOf(v1::ReservationState state) {
  switch (state) {
    case v1::RESERVATION_STATE_HELD:
    case v1::RESERVATION_STATE_CONFIRMED:
      return Occupancy::Phase::kPlanned;
    case v1::RESERVATION_STATE_ACTIVE:
      return Occupancy::Phase::kActive;
    case v1::RESERVATION_STATE_ENDING:
      return Occupancy::Phase::kEnding;
    case v1::RESERVATION_STATE_ENDED:
    case v1::RESERVATION_STATE_CANCELLED:
    case v1::RESERVATION_STATE_DECLINED:
    case v1::RESERVATION_STATE_LAPSED:
    case v1::RESERVATION_STATE_UNSPECIFIED:
    case v1::ReservationState_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::ReservationState_INT_MAX_SENTINEL_DO_NOT_USE_:
      return Occupancy::Phase::kNone;
  }
  return Occupancy::Phase::kNone;
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
  occupancy.phase = PhaseOf(reservation.state());
  const v1::Terms& terms = reservation.terms();
  // What has a schedule takes nothing itself; its occurrences do.
  if (terms.has_access()) occupancy.phase = Occupancy::Phase::kNone;
  if (occupancy.phase == Occupancy::Phase::kNone) return occupancy;
  occupancy.reservation = reservation.name();
  occupancy.contract = terms.contract();
  occupancy.count = terms.count();
  occupancy.span = {runtime::ToTime(terms.start_time()), runtime::ToTime(terms.end_time())};
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
  } else if (table == "server_records") {
    const auto record = Parse<v1::ServerRecord>(change, change.after);
    SetServer(std::string(storage::KeyOf(change.key)), record ? &record->server() : nullptr);
  }
}

void Index::SetServer(const std::string& name, const v1::ServerRecorded* recorded) {
  const auto at = servers_.try_emplace(name).first;
  Server& server = at->second;
  if (server.bookable) {
    const auto pool = pools_.find(server.model);
    pool->second.Leave(name);
    if (pool->second.empty()) pools_.erase(pool);
  }
  server.known = recorded != nullptr;
  server.model = recorded == nullptr ? "" : recorded->model();
  server.bookable = recorded != nullptr && recorded->bookable() && !recorded->lost();
  server.watts = recorded == nullptr ? Watts()
                                     : Watts{Bounded(recorded->it_power_watts()),
                                             Bounded(recorded->cooling_watts())};
  if (server.bookable) pools_[server.model].Join(at->first, server.schedule);
  if (server.empty()) servers_.erase(at);
}

void Index::TakeUse(const Occupancy& occupancy, int64_t sign) {
  const bool ending = occupancy.phase == Occupancy::Phase::kEnding;
  const absl::Time end = ending ? absl::InfiniteFuture() : occupancy.span.end;
  const Watts watts = sign > 0 ? occupancy.watts : -occupancy.watts;
  watts_.Add({occupancy.span.start, end}, watts);
  if (occupancy.phase != Occupancy::Phase::kPlanned) running_ += watts;
  Timeline<int64_t>& contract = contracts_[occupancy.contract];
  contract.Add(occupancy.span, sign * occupancy.count);
  if (contract.empty()) contracts_.erase(occupancy.contract);
}

// Enters the reservation into one of its servers, or takes it out of it.
void Index::Occupy(const std::string& name, const Occupancy& occupancy, bool take) {
  const auto at = servers_.try_emplace(name).first;
  Server& server = at->second;
  const bool ending = occupancy.phase == Occupancy::Phase::kEnding;
  if (!ending) {
    if (take) {
      server.schedule.Insert(occupancy.span);
    } else {
      server.schedule.Erase(occupancy.span);
    }
    if (server.bookable) pools_.at(server.model).Refresh(name, occupancy.span);
  }
  if (occupancy.phase != Occupancy::Phase::kPlanned) {
    const Run run{occupancy.reservation, ending ? absl::InfinitePast() : occupancy.span.end};
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
  }
  if (server.empty()) servers_.erase(at);
}

void Index::Take(const Occupancy& occupancy) {
  if (occupancy.phase == Occupancy::Phase::kNone) return;
  TakeUse(occupancy, +1);
  for (const std::string& name : occupancy.servers) Occupy(name, occupancy, true);
  if (occupancy.phase == Occupancy::Phase::kActive) {
    active_[{occupancy.span.end, occupancy.reservation}] = occupancy.watts;
  }
}

void Index::Release(const Occupancy& occupancy) {
  if (occupancy.phase == Occupancy::Phase::kNone) return;
  TakeUse(occupancy, -1);
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

size_t Index::CountBookable(const std::string& model) const {
  const auto pool = pools_.find(model);
  return pool == pools_.end() ? 0 : pool->second.size();
}

Watts Index::WattsOf(const std::string& server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() ? Watts() : found->second.watts;
}

Watts Index::Peak(const Span& span, absl::Time now) const {
  Watts peak = watts_.Peak(span);
  for (const auto& [key, watts] : active_) {
    if (key.first > now) break;
    peak += watts;
  }
  return peak;
}

int64_t Index::ContractPeak(const std::string& contract, const Span& span) const {
  const auto found = contracts_.find(contract);
  return found == contracts_.end() ? 0 : found->second.Peak(span);
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
  return a.servers_ == b.servers_ && a.pools_ == b.pools_ && a.watts_ == b.watts_ &&
         a.contracts_ == b.contracts_ && a.active_ == b.active_ && a.running_ == b.running_;
}

}  // namespace concordat::reservations
