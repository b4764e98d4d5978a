// Random histories of reservations that recur, beside some that do not, over a night in which
// clocks change: the laws that hold for one reservation hold over all occurrences.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "services/reservations/margins.h"
#include "services/reservations/schedules.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

constexpr int kServers = 4;
const absl::Time kStart = test::Time("2027-03-26T00:00:00Z");

using Numbers = std::tuple<int, int, int, int>;
auto Steps() {
  const auto number = rc::gen::resize(100, rc::gen::inRange(0, 1000));
  return rc::gen::container<std::vector<Numbers>>(rc::gen::tuple(number, number, number, number));
}

bool IsOver(const v1::Reservation& row) {
  return row.state() == v1::RESERVATION_STATE_ENDED ||
         row.state() == v1::RESERVATION_STATE_CANCELLED ||
         row.state() == v1::RESERVATION_STATE_DECLINED ||
         row.state() == v1::RESERVATION_STATE_LAPSED ||
         row.state() == v1::RESERVATION_STATE_REVOKED;
}
bool IsPlanned(const v1::Reservation& row) {
  return row.state() == v1::RESERVATION_STATE_HELD ||
         row.state() == v1::RESERVATION_STATE_CONFIRMED;
}
bool Runs(const v1::Reservation& row) { return !IsOver(row) && !IsPlanned(row); }
// A series itself takes nothing.
bool Takes(const v1::Reservation& row) { return !IsOver(row) && !row.terms().has_access(); }

// What was planned, cleaning included.
Span PlannedOf(const v1::Reservation& row) {
  Span span = BlockOf(row.terms(), row.margins());
  if (row.state() == v1::RESERVATION_STATE_CLEANING)
    span.end = std::min(span.end, runtime::ToTime(row.ending().cleaning_until()));
  return span;
}
// What is taken as far as it is known: what runs too long is taken without end.
Span TakenOf(const v1::Reservation& row, absl::Time now) {
  Span span = BlockOf(row.terms(), row.margins());
  if (row.state() == v1::RESERVATION_STATE_CLEANING) {
    span.end = runtime::ToTime(row.ending().cleaning_until());
  } else if (row.state() == v1::RESERVATION_STATE_ENDING || (Runs(row) && span.end <= now)) {
    span.end = absl::InfiniteFuture();
  }
  return span;
}
bool IsOnFeed(const std::string& server) { return server.back() < '2'; }

class World {
 public:
  // s0 and s1 hang on a feed that powers one of them; the site powers three, and on the second day
  // two.
  explicit World(bool cleans) {
    scenario_.Given(R"(site_recorded { name: "sites/paris" country: "FR" })");
    scenario_.Given(fmt::format("contract_signed {{ {} }}", ContractText("sites/paris", 99)));
    for (int i = 0; i < kServers; ++i) {
      scenario_.Given(fmt::format(
          R"(server_recorded {{ name: "sites/paris/servers/s{}" model: "models/m"
              it_power_watts: 100 cooling_watts: 90 bookable: true power_feed: "{}" }})",
          i, i < 2 ? "a" : ""));
    }
    for (const auto& [day, watts] : {std::pair(0, 300), std::pair(1, 200), std::pair(2, 400)}) {
      scenario_.Given(fmt::format(
          R"(envelope_recorded {{ site: "sites/paris" effective_from {{ seconds: {} }}
              it_power_watts: {} cooling_watts: 9000 }})",
          absl::ToUnixSeconds(kStart + absl::Hours(24) * day), watts));
      limits_.push_back({kStart + absl::Hours(24) * day, watts});
    }
    scenario_.Given(
        R"(feed_recorded { feed: "a" step { site: "sites/paris" it_power_watts: 100 } })");
    if (cleans) {
      scenario_.Given(R"(margins_set { site: "sites/paris" model: "models/m"
                                       margins { after { seconds: 1800 } } })");
    }
  }

  void Do(const Numbers& numbers) {
    const auto [what, a, b, c] = numbers;
    switch (what % 12) {
      case 0:
      case 1:
        return Reserve(SeriesText(a, b, c), what % 24 < 12);
      case 2:
        return Reserve(SpanText(a, b, c), what % 24 < 12);
      case 3:
      case 4:
      case 5:
        now_ += absl::Hours(1 + a % 5);
        return FireTimers();
      case 6:
        return About(a, "", [](v1::Command& command, const std::string& name) {
          command.mutable_confirm_reservation()->set_name(name);
        });
      case 7:
        return About(a, "cancelled", [](v1::Command& command, const std::string& name) {
          command.mutable_cancel_reservation()->set_name(name);
        });
      case 8:
      case 9:
        return About(a, "", [](v1::Command& command, const std::string& name) {
          command.mutable_end_reservation()->set_name(name);
        });
      case 10:
        return About(a, "", [](v1::Command& command, const std::string& name) {
          command.mutable_release_reservation()->set_name(name);
        });
      default:
        if (b % 3 != 0) return Extend(a, b);
        return About(a, "revoked", [](v1::Command& command, const std::string& name) {
          command.mutable_revoke_reservation()->set_name(name);
          command.mutable_revoke_reservation()->mutable_legal_basis()->set_instrument("an order");
        });
    }
  }

  // Time goes on, and whatever ends is vacated.
  void ComeToAnEnd() {
    constexpr int kMostSteps = 100;
    const auto over = [&] {
      const std::vector<v1::Reservation> all = All();
      return std::all_of(all.begin(), all.end(), IsOver);
    };
    for (int step = 0; step < kMostSteps && !over(); ++step) {
      now_ += absl::Hours(6);
      FireTimers();
      for (const v1::Reservation& row : All()) {
        if (row.state() != v1::RESERVATION_STATE_ENDING || row.ending().has_grace_until()) continue;
        v1::Command command;
        command.mutable_end_reservation()->set_name(row.name());
        RC_ASSERT(!Decide(command).has_command_refused());
      }
    }
    RC_ASSERT(over());
    RC_ASSERT(Due(Rows(), kStart + absl::Hours(24 * 365), 1).empty());
  }

  std::map<std::string, int> seen;

 private:
  Service::Rows& Rows() { return scenario_.state().rows; }

  std::vector<v1::Reservation> All() {
    std::vector<v1::Reservation> all;
    Rows().reservations.Scan("", [&](std::string_view, const v1::Reservation& row) {
      all.push_back(row);
      return true;
    });
    return all;
  }

  v1::Event Decide(const v1::Command& command, const std::string& id) {
    scenario_.At(absl::FormatTime(absl::RFC3339_full, now_, absl::UTCTimeZone()));
    const v1::Event event = scenario_.When(command, id);
    const std::string kind = event.GetDescriptor()->FindFieldByNumber(event.event_case())->name();
    ++seen[kind];
    for (const std::string* name :
         {&event.reservation_started().name(), &event.reservation_ended().name()}) {
      const auto row = Rows().reservations.Get(*name);
      if (row && !row->series().empty()) ++seen[kind + " of an occurrence"];
      if (row && row->terms().has_access()) ++seen[kind + " of a series"];
    }
    // What waits for servers starts as soon as they are free.
    for (const auto& intent : scenario_.Reactions())
      Decide(intent.command, fmt::format("{}/{}{}", id, intent.kind, intent.subject));
    Check();
    return event;
  }
  v1::Event Decide(const v1::Command& command) {
    return Decide(command, fmt::format("c-{}", ++commands_));
  }

  void FireTimers() {
    for (int round = 0; round < 100; ++round) {
      const Intents due = Due(Rows(), now_, 3);
      if (due.empty()) return;
      for (const auto& intent : due) {
        const v1::Event event =
            Decide(intent.command, intent.kind + intent.subject + intent.deadline);
        RC_ASSERT(!event.has_command_refused());
      }
    }
    RC_FAIL("timers never come to rest");
  }

  absl::Time Hour() const { return kStart + absl::Hours(absl::ToInt64Hours(now_ - kStart) + 1); }

  std::string SpanText(int a, int b, int c) const {
    const absl::Time start = Hour() + absl::Hours(a % 30);
    return TermsText({.start = runtime::ToText(start),
                      .end = runtime::ToText(start + absl::Hours(1 + b % 6)),
                      .count = 1 + c % 2});
  }
  // Some days of some hours, of which the clock changes in one; of each zone on another day.
  std::string SeriesText(int a, int b, int c) const {
    constexpr const char* kRules[] = {"FREQ=DAILY", "FREQ=DAILY;COUNT=3",
                                      "FREQ=WEEKLY;BYDAY=FR,SU,MO", "FREQ=DAILY;INTERVAL=2"};
    constexpr const char* kZones[] = {"Europe/Paris", "America/St_Johns", "Asia/Kolkata"};
    const absl::Time start = Hour() + absl::Hours(a % 12);
    const std::string first = absl::FormatTime(
        "%Y-%m-%d", kStart + absl::Hours(24) * (absl::ToInt64Hours(now_ - kStart) / 24),
        absl::UTCTimeZone());
    const Wish wish{
        .start = runtime::ToText(start),
        .end = runtime::ToText(start + absl::Hours(24) * (1 + a % 4)),
        .count = 1 + c % 3,
        .more = fmt::format(R"(access {{ rule: "{}" time_zone: "{}" start: "{}T{:02}:30:00"
                                         duration {{ seconds: {} }} }})",
                            kRules[b % 4], kZones[c % 3], first, b % 24,
                            (c % 5 == 0 ? 24 : 1 + c % 11) * 3600)};
    return TermsText(wish);
  }

  void Reserve(const std::string& terms, bool confirm) {
    const auto command =
        test::Parse<v1::Command>(fmt::format(R"(reserve {{ site: "sites/paris" {} }})", terms));
    const v1::Terms wanted = test::Parse<v1::Terms>(terms);
    const std::vector<Span> spans = SpansOf(wanted);
    const bool fits = Fits(wanted, spans);
    const v1::Event event = Decide(command);
    RC_ASSERT(event.has_reservation_held() == fits);
    if (wanted.has_access()) ++seen[fits ? "series held" : "series refused"];
    if (!fits) return;
    const v1::ReservationHeld& held = event.reservation_held();
    if (wanted.has_access()) {
      std::vector<Span> granted;
      for (const v1::Occurrence& occurrence : held.occurrences()) {
        RC_ASSERT(occurrence.servers_size() == wanted.count());
        granted.push_back(
            {runtime::ToTime(occurrence.start_time()), runtime::ToTime(occurrence.end_time())});
      }
      RC_ASSERT(granted == spans);
    }
    v1::Command confirmation;
    confirmation.mutable_confirm_reservation()->set_name(held.name());
    if (confirm) Decide(confirmation);
  }

  template <typename Fill>
  void About(int a, const std::string& kind, Fill fill) {
    std::vector<v1::Reservation> live = All();
    std::erase_if(live, IsOver);
    if (live.empty()) return;
    const v1::Reservation& one = live[static_cast<size_t>(a) % live.size()];
    v1::Command command;
    fill(command, one.name());
    const v1::Event event = Decide(command);
    if (kind.empty() || event.has_command_refused()) return;
    if (one.terms().has_access()) ++seen["series " + kind];
    if (!one.series().empty()) ++seen["occurrence " + kind];
  }

  // An occurrence in use, or a reservation of its own.
  void Extend(int a, int b) {
    std::vector<v1::Reservation> live = All();
    std::erase_if(live, [](const v1::Reservation& row) { return !Takes(row); });
    if (live.empty()) return;
    const v1::Reservation& one = live[static_cast<size_t>(a) % live.size()];
    v1::Command command;
    v1::ExtendReservationRequest& request = *command.mutable_extend_reservation();
    request.set_name(one.name());
    request.set_longest_feasible(true);
    *request.mutable_end_time() =
        runtime::ToTimestamp(UseOf(one.terms()).end + absl::Hours(1 + b % 5));
    const v1::Event event = Decide(command);
    if (!event.has_amendment_held()) return;
    v1::Command judged;
    judged.mutable_confirm_amendment()->set_reservation(one.name());
    judged.mutable_confirm_amendment()->set_amendment(event.amendment_held().amendment().name());
    if (Decide(judged).has_amendment_confirmed() && !one.series().empty())
      ++seen["occurrence extended"];
  }

  // The oracle.

  // When it takes place; nothing where the schedule cannot. Expansion has an oracle of its own, in
  // recurrence_differential_test.py.
  static std::vector<Span> SpansOf(const v1::Terms& terms) {
    const Span whole = UseOf(terms);
    if (!terms.has_access()) return {whole};
    const auto expansion =
        ExpandWithin(WithPolicies(terms.access()), whole.start, whole.end, whole.end);
    std::vector<Span> spans;
    if (!expansion.ok()) return spans;
    for (const Occurrence& occurrence : expansion->occurrences)
      spans.push_back({occurrence.start, occurrence.end});
    return spans;
  }

  // Whether it can be had in all spans, with what is cleaned between them.
  bool Fits(const v1::Terms& terms, const std::vector<Span>& spans) {
    const v1::Margins margins = MarginsOf(*Rows().site_records.Get("sites/paris"), terms.model());
    for (size_t i = 0; i < spans.size(); ++i) {
      const Span block = BlockOf(spans[i], terms, margins);
      if (i + 1 < spans.size() && block.end > spans[i + 1].start) return false;
      if (MostThatFit(block) < terms.count()) return false;
    }
    return !spans.empty();
  }

  int64_t LimitAt(absl::Time at) const {
    int64_t watts = 0;
    for (const auto& [from, limit] : limits_) {
      if (from <= at) watts = limit;
    }
    return watts;
  }

  // What is taken over which span, in watts, of the site and of the feed.
  struct Draw {
    Span span;
    int64_t site = 0;
    int64_t feed = 0;
  };
  // As planned, or as far as it is known.
  std::vector<Draw> DrawsOf(const std::vector<v1::Reservation>& all, bool planned) const {
    std::vector<Draw> draws;
    for (const v1::Reservation& row : all) {
      if (!Takes(row)) continue;
      Draw& draw = draws.emplace_back(Draw{planned ? PlannedOf(row) : TakenOf(row, now_)});
      for (const std::string& server : row.servers()) {
        draw.site += 100;
        draw.feed += IsOnFeed(server) ? 100 : 0;
      }
    }
    return draws;
  }
  static int64_t DrawnAt(const std::vector<Draw>& draws, absl::Time at, int64_t Draw::*watts) {
    int64_t sum = 0;
    for (const Draw& draw : draws)
      sum += draw.span.start <= at && at < draw.span.end ? draw.*watts : 0;
    return sum;
  }
  // Where more may be drawn, or less there, than just before.
  std::set<absl::Time> Instants(const std::vector<Draw>& draws, const Span& span) const {
    std::set<absl::Time> instants{span.start};
    const auto add = [&](absl::Time at) {
      if (at > span.start && at < span.end) instants.insert(at);
    };
    for (const Draw& draw : draws) add(draw.span.start);
    for (const auto& [from, limit] : limits_) add(from);
    return instants;
  }

  // How many servers could be given over a span: free ones, and of those on the feed one.
  int64_t MostThatFit(const Span& span) {
    const std::vector<v1::Reservation> all = All();
    int64_t room = INT64_MAX, on_feed = 0, others = 0, room_of_feed = INT64_MAX;
    for (int i = 0; i < kServers; ++i) {
      const std::string name = fmt::format("sites/paris/servers/s{}", i);
      const bool taken = std::any_of(all.begin(), all.end(), [&](const v1::Reservation& row) {
        const auto& servers = row.servers();
        return Takes(row) && TakenOf(row, now_).Overlaps(span) &&
               std::find(servers.begin(), servers.end(), name) != servers.end();
      });
      if (!taken) ++(IsOnFeed(name) ? on_feed : others);
    }
    const std::vector<Draw> draws = DrawsOf(all, false);
    for (const absl::Time at : Instants(draws, span)) {
      room = std::min(room, (LimitAt(at) - DrawnAt(draws, at, &Draw::site)) / 100);
      room_of_feed = std::min(room_of_feed, (100 - DrawnAt(draws, at, &Draw::feed)) / 100);
    }
    return std::min(room, others + std::clamp<int64_t>(room_of_feed, 0, on_feed));
  }

  // What must hold after every event.

  void Check() {
    const std::vector<v1::Reservation> all = All();
    CheckServers(all);
    const std::vector<Draw> draws = DrawsOf(all, true);
    for (const absl::Time at : Instants(draws, {kStart, absl::InfiniteFuture()})) {
      RC_ASSERT(DrawnAt(draws, at, &Draw::site) <= LimitAt(at));
      RC_ASSERT(DrawnAt(draws, at, &Draw::feed) <= 100);
    }
    for (const v1::Reservation& row : all) {
      // What is over stays over.
      const auto before = over_.find(row.name());
      if (before != over_.end()) RC_ASSERT(row.state() == before->second);
      if (IsOver(row)) over_[row.name()] = row.state();
      // No occurrence waits for a series that is over; but on the instant at which both end either
      // may be the first.
      if (row.series().empty() || !IsPlanned(row)) continue;
      const auto series = Rows().reservations.Get(row.series());
      RC_ASSERT(series->state() == row.state() || UseOf(row.terms()).end <= now_);
    }
    Index rebuilt;
    scenario_.journal().Scan("", [&](std::string_view key, std::string_view value) {
      rebuilt.Apply({std::string(key), std::nullopt, std::string(value)});
      return true;
    });
    RC_ASSERT(rebuilt == scenario_.state().index);
  }

  static void CheckServers(const std::vector<v1::Reservation>& all) {
    std::map<std::string, std::vector<const v1::Reservation*>> users;
    for (const v1::Reservation& row : all) {
      if (!Takes(row)) continue;
      for (const std::string& server : row.servers()) {
        for (const v1::Reservation* other : users[server]) {
          const bool at_once = PlannedOf(row).Overlaps(PlannedOf(*other));
          const bool both_run = Runs(row) && Runs(*other);
          RC_ASSERT(!at_once && !both_run);
        }
        users[server].push_back(&row);
      }
    }
  }

  test::Scenario<Service> scenario_;
  absl::Time now_ = kStart;
  int commands_ = 0;
  std::vector<std::pair<absl::Time, int64_t>> limits_;
  std::map<std::string, v1::ReservationState> over_;
};

// Chance decides; worlds go on until everything has happened, ten times as many at most.
TEST(ScheduleProperties, NoServerIsGivenTwiceAndNoLimitExceededOverAllOccurrences) {
  std::map<std::string, int> seen;
  const auto seldom = [&] {
    for (const char* event :
         {"series held", "series refused", "series cancelled", "series revoked",
          "occurrence cancelled", "occurrence revoked", "occurrence extended",
          "reservation_started of an occurrence", "reservation_ended of an occurrence",
          "reservation_ended of a series", "hold_lapsed", "reservation_cleaning"}) {
      if (seen[event] < 5) return event;
    }
    return "";
  };
  for (int round = 0; round < 10 && *seldom() != '\0'; ++round) {
    ASSERT_TRUE(rc::check([&](bool cleans) {
      World world(cleans);
      // RapidCheck draws the same steps in every round, so they come to mean others.
      const auto steps = *Steps();
      for (const auto& [what, a, b, c] : steps) world.Do({what + round, a + 3 * round, b, c});
      world.ComeToAnEnd();
      for (const auto& [event, count] : world.seen) seen[event] += count;
    }));
  }
  EXPECT_STREQ(seldom(), "");
}

}  // namespace
}  // namespace concordat::reservations
