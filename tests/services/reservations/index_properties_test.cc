// The index against a look through all rows, after whatever was written and undone.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "services/reservations/index.h"
#include "services/runtime/check.h"
#include "storage/projection/table.h"

namespace concordat::reservations {
namespace {

constexpr int kServers = 7;
constexpr int kReservations = 12;

// Half minutes, so that some spans end inside of the smallest node.
absl::Time At(int half_minutes) { return absl::UnixEpoch() + absl::Seconds(30) * half_minutes; }
std::string ServerName(int i) { return "sites/paris/servers/s" + std::to_string(i); }

using Numbers = std::tuple<int, int, int, int, int>;
auto Steps() {
  const auto number = [] { return rc::gen::inRange(0, 1000); };
  return rc::gen::container<std::vector<Numbers>>(
      rc::gen::tuple(number(), number(), number(), number(), number()));
}

class World {
 public:
  World()
      : journal_(rows_),
        servers_("server_records", journal_, &journal_),
        reservations_("reservations", journal_, &journal_),
        separations_("separations", journal_, &journal_),
        sites_("site_records", journal_, &journal_) {
    journal_.Observe([this](const storage::Change& change) { index_.Apply(change); });
    journal_.Begin(++sequence_);
    v1::SiteRecord site;
    for (const auto& [feed, from, watts] :
         {std::tuple("f0", 0, 9), std::tuple("f0", 60, 2), std::tuple("f1", 90, 4)}) {
      if (site.feeds().empty() || site.feeds().rbegin()->feed() != feed)
        site.add_feeds()->set_feed(feed);
      v1::EnvelopeRecorded& step = *site.mutable_feeds()->rbegin()->add_envelope();
      *step.mutable_effective_from() = runtime::ToTimestamp(At(from));
      step.set_it_power_watts(watts);
    }
    sites_.Put("sites/paris", site);
  }

  void Do(const Numbers& numbers) {
    const auto [kind, a, b, c, d] = numbers;
    if (kind % 20 == 0) return Rollback(static_cast<uint64_t>(a % 8));
    if (kind % 20 == 1) return Commit();
    journal_.Begin(++sequence_);
    if (kind % 20 < 6) return PutServer(a % kServers, b, c);
    if (kind % 20 < 8) return reservations_.Delete("r" + std::to_string(a % kReservations));
    if (kind % 20 == 8) return servers_.Delete(ServerName(a % kServers));
    if (kind % 20 == 9) return PutSeparation(a % 3, b, c);
    PutReservation(a % kReservations, b, c, d);
  }

  // Each decision that the index helps with, as the rows alone would have it.
  void Check(const Numbers& numbers) {
    const auto [a, b, c, d, e] = numbers;
    std::vector<Span> wanted;
    for (const int start : {a, b, c}) {
      wanted.push_back({At(start % 200), At(start % 200 + d % 40)});
      if (static_cast<int>(wanted.size()) > e % 3) break;
    }
    const absl::Time now = At(e % 250);
    const std::vector<std::string> expected = Free(wanted, now);
    const std::vector<std::string> found = index_.FindFree("m", wanted, now, 100);
    RC_ASSERT(found == expected);
    RC_ASSERT(std::set<std::string>(found.begin(), found.end()).size() == found.size());
    for (int server = 0; server < kServers; ++server) {
      const std::string name = ServerName(server);
      const auto record = servers_.Get(name);
      const bool is_m = record && record->server().model() == "m";
      const std::vector<std::string> alone = Free({wanted[0]}, now);
      const bool free = std::find(alone.begin(), alone.end(), name) != alone.end();
      if (is_m) RC_ASSERT(index_.IsFree(name, wanted[0], now) == free);
    }
    std::vector<std::string> selected;
    if (const Pool* pool = index_.FindPool("m"))
      selected = pool->Names(pool->FindFree(wanted, now), 100);
    RC_ASSERT(selected == expected);
    for (const int customer : {0, 1}) CheckPlaces(Customer(customer), wanted[0], now);
    for (const char* feed : {"f0", "f1"}) CheckFeed(feed, wanted[0], now);
    const std::vector<std::string> some = index_.FindFree("m", wanted, now, 2);
    RC_ASSERT(std::equal(some.begin(), some.end(), expected.begin()));
    RC_ASSERT(some.size() == std::min<size_t>(2, expected.size()));
    Index rebuilt;
    journal_.Scan("", [&](std::string_view key, std::string_view value) {
      rebuilt.Apply({key, std::nullopt, value});
      return true;
    });
    RC_ASSERT(rebuilt == index_);
    for (const std::string& name : found) ++seen[name];
  }

  std::map<std::string, int> seen;

 private:
  static std::string Customer(int i) { return "customers/c" + std::to_string(i % 2); }

  // Where a customer has servers, as the rows alone have it.
  void CheckPlaces(const std::string& customer, const Span& wanted, absl::Time now) {
    std::multiset<std::string> expected, found;
    std::set<std::string> held;
    reservations_.Scan("", [&](std::string_view, const v1::Reservation& reservation) {
      const Occupancy occupancy = OccupancyOf(reservation);
      using Phase = Occupancy::Phase;
      const bool late = occupancy.phase == Phase::kEnding ||
                        (occupancy.phase == Phase::kActive && occupancy.span.end <= now);
      const bool overlaps = occupancy.phase != Phase::kNone && occupancy.phase != Phase::kEnding &&
                            occupancy.span.start < occupancy.span.end &&
                            occupancy.span.Overlaps(wanted);
      if (occupancy.customer != customer || !(late || overlaps)) return true;
      held.insert(occupancy.servers.begin(), occupancy.servers.end());
      return true;
    });
    for (const std::string& server : held) {
      const auto record = servers_.Get(server);
      expected.insert(record ? record->server().rack() : "");
    }
    index_.VisitPlaces({customer}, wanted, now, [&](const ServerPlace& place) {
      found.insert(place.rack.substr(std::min(place.rack.size(), place.rack.rfind('\x1f') + 1)));
    });
    RC_ASSERT(found == expected);
  }

  // What is left of a feed at the scarcest instant, as the rows alone have it.
  void CheckFeed(const std::string& feed, const Span& wanted, absl::Time now) {
    if (wanted.start >= wanted.end) return;
    int64_t left = INT64_MAX;
    const auto site = sites_.Get("sites/paris");
    for (absl::Time at = wanted.start; site && at < wanted.end; at += absl::Seconds(30)) {
      std::optional<int64_t> limit;
      for (const v1::FeedRecord& record : site->feeds()) {
        for (const v1::EnvelopeRecorded& step : record.envelope()) {
          if (record.feed() == feed && runtime::ToTime(step.effective_from()) <= at)
            limit = step.it_power_watts();
        }
      }
      if (limit) left = std::min(left, *limit - FeedUse(feed, at, now));
    }
    RC_ASSERT(index_.feeds().Left(feed, wanted, now) == left);
  }
  int64_t FeedUse(const std::string& feed, absl::Time at, absl::Time now) {
    int64_t use = 0;
    reservations_.Scan("", [&](std::string_view, const v1::Reservation& reservation) {
      const Occupancy occupancy = OccupancyOf(reservation);
      using Phase = Occupancy::Phase;
      if (occupancy.phase == Phase::kNone) return true;
      const bool endless = occupancy.phase == Phase::kEnding && occupancy.span.start <= at;
      const bool late = occupancy.phase == Phase::kActive && occupancy.span.end <= now;
      const bool within = occupancy.phase != Phase::kEnding && occupancy.span.start <= at &&
                          at < occupancy.span.end;
      // What is late counts at every instant, and within its time twice: that time has passed.
      const int times = (endless || within ? 1 : 0) + (late ? 1 : 0);
      for (const std::string& name : occupancy.servers) {
        const auto server = servers_.Get(name);
        if (server && server->server().power_feed() == feed)
          use += times * server->server().it_power_watts();
      }
      return true;
    });
    return use;
  }

  void PutSeparation(int i, int a, int b) {
    v1::Separation separation;
    separation.set_name("x" + std::to_string(i));
    separation.add_parties("p" + std::to_string(a % 3));
    separation.add_parties("p" + std::to_string(b % 3));
    separation.set_ended(a % 4 == 0);
    separations_.Put(separation.name(), separation);
  }
  void PutServer(int i, int flags, int model) {
    v1::ServerRecord record;
    record.set_name(ServerName(i));
    record.mutable_server()->set_model(model % 8 == 0 ? "other" : "m");
    record.mutable_server()->set_bookable(flags % 5 != 0);
    record.mutable_server()->set_lost(flags % 7 == 0);
    // No server moves today; the index bears one that does.
    record.mutable_server()->set_rack("k" + std::to_string(flags % 3));
    record.mutable_server()->set_nvlink_domain(flags % 4 == 0 ? "" : "d" + std::to_string(i % 2));
    record.mutable_server()->set_power_feed("f" + std::to_string(model % 2));
    record.mutable_server()->set_it_power_watts(flags % 2);
    servers_.Put(ServerName(i), record);
  }
  void PutReservation(int i, int state, int start, int length) {
    constexpr v1::ReservationState kStates[] = {
        v1::RESERVATION_STATE_HELD,   v1::RESERVATION_STATE_CONFIRMED, v1::RESERVATION_STATE_ACTIVE,
        v1::RESERVATION_STATE_ENDING, v1::RESERVATION_STATE_ENDED,
    };
    v1::Reservation reservation;
    reservation.set_name("r" + std::to_string(i));
    reservation.set_state(kStates[state % 5]);
    reservation.mutable_terms()->set_contract("c");
    reservation.mutable_terms()->set_customer(Customer(length));
    *reservation.mutable_terms()->mutable_start_time() = runtime::ToTimestamp(At(start % 200));
    // No decider writes an empty span, one that ends before it starts, or one that overlaps
    // another of its server; the index bears all of them.
    *reservation.mutable_terms()->mutable_end_time() =
        runtime::ToTimestamp(At(start % 200 + length % 60 - 2));
    for (int server = 0; server < kServers; ++server) {
      if ((length >> (server % 5)) % 4 == 1) reservation.add_servers(ServerName(server));
    }
    reservations_.Put(reservation.name(), reservation);
  }
  void Rollback(uint64_t events) {
    const uint64_t from = sequence_ - std::min(events, sequence_ - committed_) + 1;
    journal_.Rollback(from);
  }
  void Commit() {
    committed_ = sequence_ - std::min<uint64_t>(3, sequence_ - committed_);
    journal_.Commit(committed_,
                    [&](const storage::Change& change) { rows_.Set(change.key, change.after); });
  }

  std::vector<std::string> Free(const std::vector<Span>& wanted, absl::Time now) {
    std::set<std::string> free;
    servers_.Scan("", [&](std::string_view name, const v1::ServerRecord& record) {
      const v1::ServerRecorded& server = record.server();
      if (server.model() == "m" && server.bookable() && !server.lost()) free.emplace(name);
      return true;
    });
    reservations_.Scan("", [&](std::string_view, const v1::Reservation& reservation) {
      const Occupancy occupancy = OccupancyOf(reservation);
      using Phase = Occupancy::Phase;
      const bool late = occupancy.phase == Phase::kEnding ||
                        (occupancy.phase == Phase::kActive && occupancy.span.end <= now);
      const bool overlaps =
          (occupancy.phase == Phase::kPlanned || occupancy.phase == Phase::kActive) &&
          occupancy.span.start < occupancy.span.end &&
          std::any_of(wanted.begin(), wanted.end(), [&](const Span& span) {
            return span.start < span.end && span.Overlaps(occupancy.span);
          });
      if (late || overlaps) {
        for (const std::string& server : occupancy.servers) free.erase(server);
      }
      return true;
    });
    return {free.begin(), free.end()};
  }

  storage::MemoryRows rows_;
  storage::Journal journal_;
  storage::Table<v1::ServerRecord> servers_;
  storage::Table<v1::Reservation> reservations_;
  storage::Table<v1::Separation> separations_;
  storage::Table<v1::SiteRecord> sites_;
  Index index_;
  uint64_t sequence_ = 0;
  uint64_t committed_ = 0;
};

TEST(IndexProperties, ItAnswersAsTheRowsDoAfterAnyHistoryOfChangesAndRollbacks) {
  size_t seen = 0;
  EXPECT_TRUE(rc::check([&] {
    World world;
    for (const Numbers& numbers : *Steps()) {
      world.Do(numbers);
      world.Check(numbers);
    }
    for (const Numbers& question : *Steps()) world.Check(question);
    seen += world.seen.size();
  }));
  EXPECT_GT(seen, 100u) << "worlds in which nothing is free would prove nothing";
}

// A pool that divides its nodes at once, so that the tree is deep though the servers are few.
RC_GTEST_PROP(PoolProperties, ADeepTreeSaysWhatTheSchedulesSay, ()) {
  std::map<std::string, Schedule> schedules;
  std::map<std::string, bool> member;
  Pool pool(1);
  const auto name_of = [](int i) { return ServerName(i % kServers); };
  for (int i = 0; i < kServers; ++i) schedules[name_of(i)];
  std::vector<std::pair<std::string, Span>> taken;
  for (const auto& [kind, a, b, c, d] : *Steps()) {
    const auto server = schedules.find(name_of(a));
    const bool is_member = member[server->first];
    if (kind % 8 == 0 && is_member) pool.Leave(server->first);
    if (kind % 8 < 3 && kind % 8 > 0 && !is_member) pool.Join(server->first, server->second);
    if (kind % 8 < 3) member[server->first] = kind % 8 > 0;
    if (kind % 8 >= 3 && kind % 8 < 7) {
      // From half a minute to some years.
      const Span span{At(b * (1 << (c % 15))), At(b * (1 << (c % 15)) + d * (1 << (a % 15)))};
      server->second.Insert(span);
      if (is_member) pool.Refresh(server->first, span);
      taken.emplace_back(server->first, span);
    }
    if (kind % 8 == 7 && !taken.empty()) {
      const auto [name, span] = taken[static_cast<size_t>(b) % taken.size()];
      taken.erase(taken.begin() + b % static_cast<int>(taken.size()));
      schedules[name].Erase(span);
      if (member[name]) pool.Refresh(name, span);
    }
    const Span wanted{At(c * (1 << (d % 15))), At(c * (1 << (d % 15)) + 1 + a * (1 << (b % 12)))};
    std::vector<std::string> expected, found;
    for (const auto& [name, schedule] : schedules) {
      const bool free = std::none_of(taken.begin(), taken.end(), [&, &name = name](const auto& t) {
        return t.first == name && t.second.start < t.second.end && t.second.Overlaps(wanted);
      });
      if (member[name] && free) expected.push_back(name);
    }
    pool.FindFree({wanted}, At(0), [&](const std::string& name) {
      found.push_back(name);
      return true;
    });
    RC_ASSERT(found == expected);
  }
  Pool rebuilt(1);
  for (const auto& [name, schedule] : schedules) {
    if (member[name]) rebuilt.Join(name, schedule);
  }
  RC_ASSERT(pool == rebuilt);
}

}  // namespace
}  // namespace concordat::reservations
