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

Watts& Watts::operator+=(const Watts& other) {
  it_power += other.it_power;
  cooling += other.cooling;
  return *this;
}

Watts& Watts::operator-=(const Watts& other) {
  it_power -= other.it_power;
  cooling -= other.cooling;
  return *this;
}

Occupancy OccupancyOf(const v1::Reservation& reservation) {
  Occupancy occupancy;
  occupancy.phase = PhaseOf(reservation.state());
  if (occupancy.phase == Occupancy::Phase::kNone) return occupancy;
  const v1::Terms& terms = reservation.terms();
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
  Server& server = servers_[name];
  if (server.bookable) {
    auto& of_model = bookable_[server.model];
    of_model.erase(name);
    if (of_model.empty()) bookable_.erase(server.model);
  }
  server.known = recorded != nullptr;
  server.model = recorded == nullptr ? "" : recorded->model();
  server.bookable = recorded != nullptr && recorded->bookable() && !recorded->lost();
  server.watts = recorded == nullptr ? Watts()
                                     : Watts{Bounded(recorded->it_power_watts()),
                                             Bounded(recorded->cooling_watts())};
  if (server.bookable) bookable_[server.model][name] = &server;
  if (server.empty()) servers_.erase(name);
}

void Index::AddUse(const Occupancy& occupancy, int64_t sign) {
  const bool ending = occupancy.phase == Occupancy::Phase::kEnding;
  const absl::Time end = ending ? absl::InfiniteFuture() : occupancy.span.end;
  it_power_.Add(occupancy.span.start, end, sign * occupancy.watts.it_power);
  cooling_.Add(occupancy.span.start, end, sign * occupancy.watts.cooling);
  Timeline& contract = contracts_[occupancy.contract];
  contract.Add(occupancy.span.start, occupancy.span.end, sign * occupancy.count);
  if (contract.empty()) contracts_.erase(occupancy.contract);
}

void Index::Take(const Occupancy& occupancy) {
  if (occupancy.phase == Occupancy::Phase::kNone) return;
  AddUse(occupancy, +1);
  const bool planned = occupancy.phase == Occupancy::Phase::kPlanned;
  const Slot slot{occupancy.span, occupancy.reservation,
                  occupancy.phase == Occupancy::Phase::kEnding};
  for (const std::string& name : occupancy.servers) {
    Server& server = servers_[name];
    std::vector<Slot>& slots = planned ? server.planned : server.running;
    const auto order = [](const Slot& a, const Slot& b) {
      return std::tie(a.span.start, a.span.end, a.reservation) <
             std::tie(b.span.start, b.span.end, b.reservation);
    };
    slots.insert(std::upper_bound(slots.begin(), slots.end(), slot, order), slot);
  }
  if (!planned) running_ += occupancy.watts;
  if (occupancy.phase == Occupancy::Phase::kActive) {
    active_[{occupancy.span.end, occupancy.reservation}] = occupancy.watts;
  }
}

void Index::Release(const Occupancy& occupancy) {
  if (occupancy.phase == Occupancy::Phase::kNone) return;
  AddUse(occupancy, -1);
  const bool planned = occupancy.phase == Occupancy::Phase::kPlanned;
  const Slot slot{occupancy.span, occupancy.reservation,
                  occupancy.phase == Occupancy::Phase::kEnding};
  for (const std::string& name : occupancy.servers) {
    const auto server = servers_.find(name);
    if (server == servers_.end()) continue;
    std::vector<Slot>& slots = planned ? server->second.planned : server->second.running;
    const auto at = std::find(slots.begin(), slots.end(), slot);
    if (at != slots.end()) slots.erase(at);
    if (server->second.empty()) servers_.erase(server);
  }
  if (!planned) running_ -= occupancy.watts;
  if (occupancy.phase == Occupancy::Phase::kActive)
    active_.erase({occupancy.span.end, occupancy.reservation});
}

bool Index::Server::IsFree(const Span& wanted, absl::Time now) const {
  for (const Slot& slot : running) {
    if (slot.ending || slot.span.end <= now || slot.span.Overlaps(wanted)) return false;
  }
  // The last that starts before the end is wanted: those before it end even earlier.
  const auto next = std::partition_point(planned.begin(), planned.end(), [&](const Slot& slot) {
    return slot.span.start < wanted.end;
  });
  return next == planned.begin() || std::prev(next)->span.end <= wanted.start;
}

std::vector<std::string> Index::FindFree(const std::string& model, const Span& span, absl::Time now,
                                         size_t count) const {
  std::vector<std::string> free;
  const auto of_model = bookable_.find(model);
  if (of_model == bookable_.end()) return free;
  for (const auto& [name, server] : of_model->second) {
    if (free.size() >= count) break;
    if (server->IsFree(span, now)) free.push_back(name);
  }
  return free;
}

size_t Index::CountBookable(const std::string& model) const {
  const auto of_model = bookable_.find(model);
  return of_model == bookable_.end() ? 0 : of_model->second.size();
}

Watts Index::WattsOf(const std::string& server) const {
  const auto found = servers_.find(server);
  return found == servers_.end() ? Watts() : found->second.watts;
}

Watts Index::Peak(const Span& span, absl::Time now) const {
  Watts peak{it_power_.Peak(span.start, span.end), cooling_.Peak(span.start, span.end)};
  for (const auto& [key, watts] : active_) {
    if (key.first > now) break;
    peak += watts;
  }
  return peak;
}

int64_t Index::ContractPeak(const std::string& contract, const Span& span) const {
  const auto found = contracts_.find(contract);
  return found == contracts_.end() ? 0 : found->second.Peak(span.start, span.end);
}

std::vector<std::string> Index::TakenServers(
    const google::protobuf::RepeatedPtrField<std::string>& servers,
    std::string_view reservation) const {
  std::vector<std::string> taken;
  for (const std::string& name : servers) {
    const auto server = servers_.find(name);
    if (server == servers_.end()) continue;
    const std::vector<Slot>& running = server->second.running;
    if (std::any_of(running.begin(), running.end(),
                    [&](const Slot& slot) { return slot.reservation != reservation; })) {
      taken.push_back(name);
    }
  }
  return taken;
}

bool operator==(const Index& a, const Index& b) {
  const auto names = [](const Index& index) {
    std::vector<std::pair<std::string, std::string>> names;
    for (const auto& [model, servers] : index.bookable_) {
      for (const auto& [name, server] : servers) names.emplace_back(model, name);
    }
    return names;
  };
  return a.servers_ == b.servers_ && names(a) == names(b) && a.it_power_ == b.it_power_ &&
         a.cooling_ == b.cooling_ && a.contracts_ == b.contracts_ && a.active_ == b.active_ &&
         a.running_ == b.running_;
}

}  // namespace concordat::reservations
