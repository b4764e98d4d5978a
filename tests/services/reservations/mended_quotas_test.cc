// What counts against a quota where a reservation starts without some of its servers, and what
// counts once it gets others for them.
#include <gmock/gmock.h>

#include <random>
#include <set>
#include <string>

#include "services/reservations/quotas.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kEscrow[] = "customers/hsbc/contracts/escrow";
constexpr int64_t kHour = 3600;

// Servers of 8 accelerators each, and a contract with all of Paris' quota.
struct SixServers : Paris {
  explicit SixServers(int servers = 6, int accelerators = 48) {
    Envelope("2026-01-01T00:00:00Z", 2000, 2000);
    for (int i = 1; i <= servers; ++i) Record(fmt::format("s{}", i), false);
    Given(fmt::format(R"(contract_signed {{ {} quota {{ accelerators: {} accelerator_hours: 1000
        allotments {{ site: "sites/paris" accelerators: {} accelerator_hours: 1000 }} }} }})",
                      ContractText("sites/paris", 10, "escrow"), accelerators, accelerators));
  }
  void Record(const std::string& id, bool lost) {
    Given(fmt::format(R"(server_recorded {{ name: "sites/paris/servers/{}" model: "models/m"
        it_power_watts: 100 cooling_watts: 90 bookable: {} lost: {} accelerators: 8 }})",
                      id, !lost, lost));
  }
  std::string Asked(const std::string& more = "min_count: 4") {
    return Confirmed({.count = 6, .contract = kEscrow, .more = more});
  }
  // In use from 10:00 to 12:00, without s1 and s2.
  std::string Started() {
    const std::string name = Asked();
    Record("s1", true);
    Record("s2", true);
    At("2027-01-01T10:00:00Z");
    EXPECT_THAT(About("start_reservation", name),
                HasText("reservation_started { accelerators: 32 }"));
    return name;
  }
  v1::Event Accept(const std::string& name) {
    return When(fmt::format(R"(accept_replacement {{ name: "{}" }})", name),
                fmt::format("accept-{}", ++accepted_));
  }
  int64_t Used() {
    return state()
        .rows.quotas.Get(QuotaName("paris", kEscrow))
        .value_or(v1::Quota())
        .used_accelerator_seconds();
  }
  int64_t Peak() {
    return state().index.AcceleratorPeak(
        kEscrow, {test::Time("2027-01-01T11:00:00Z"), test::Time("2027-01-01T12:00:00Z")});
  }

 private:
  int accepted_ = 0;
};

TEST(JoiningServers, OfWhatStartedWithoutThemCountFromThenOn) {
  SixServers paris;
  const std::string name = paris.Started();
  EXPECT_EQ(paris.Used(), 32 * 2 * kHour);
  EXPECT_EQ(paris.Peak(), 32);
  paris.At("2027-01-01T11:00:00Z");
  paris.Record("s1", false);
  paris.Record("s2", false);
  EXPECT_THAT(paris.Accept(name),
              HasText(fmt::format(R"(servers_reassigned {{ accelerators: 48
                  segments {{ start_time {{ {0} }} end_time {{ {1} }} accelerators: 32
                              count: 6 model: "models/m" }}
                  segments {{ start_time {{ {1} }} end_time {{ {2} }} accelerators: 48
                              count: 6 model: "models/m" }} }})",
                                  Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T11:00:00Z"),
                                  Seconds("2027-01-01T12:00:00Z"))));
  EXPECT_EQ(paris.Row(name).accelerators(), 48);
  EXPECT_THAT(paris.Row(name).lost_servers(), IsEmpty());
  EXPECT_EQ(paris.Peak(), 48);
  EXPECT_EQ(paris.Used(), (32 + 48) * kHour);
  // What is given back counts up to then, by its segments.
  paris.At("2027-01-01T11:30:00Z");
  EXPECT_TRUE(
      paris.When(fmt::format(R"(release_reservation {{ name: "{}" reason: "done" }})", name), "r")
          .has_reservation_released());
  EXPECT_EQ(paris.Used(), 32 * kHour + 48 * kHour / 2);
}

TEST(JoiningServers, CountOneByOneAndStayCountedWhileLost) {
  SixServers paris;
  const std::string name = paris.Started();
  paris.At("2027-01-01T10:30:00Z");
  paris.Record("s1", false);
  EXPECT_THAT(paris.Accept(name), HasText("servers_reassigned { accelerators: 40 }"));
  EXPECT_EQ(paris.Used(), 32 * kHour / 2 + 40 * kHour * 3 / 2);
  // Lost in use, it counts on, and so does what replaces it.
  paris.At("2027-01-01T11:00:00Z");
  paris.Record("s1", true);
  EXPECT_EQ(paris.Used(), 32 * kHour / 2 + 40 * kHour * 3 / 2);
  paris.Record("s7", false);
  const v1::Event replaced = paris.Accept(name);
  ASSERT_TRUE(replaced.has_servers_reassigned()) << replaced.ShortDebugString();
  // It stands in for the first that was lost: s2, with which it never started.
  EXPECT_THAT(replaced.servers_reassigned().removed(), ElementsAre("sites/paris/servers/s2"));
  EXPECT_EQ(paris.Row(name).accelerators(), 48);
  paris.At("2027-01-01T11:30:00Z");
  paris.Record("s1", false);
  const v1::Event returned = paris.Accept(name);
  EXPECT_THAT(returned.servers_reassigned().removed(), ElementsAre("sites/paris/servers/s1"));
  EXPECT_EQ(returned.servers_reassigned().accelerators(), 0) << "it was counted all the time";
  EXPECT_THAT(returned.servers_reassigned().segments(), IsEmpty());
  EXPECT_EQ(paris.Row(name).accelerators(), 48);
  EXPECT_EQ(paris.Used(), 32 * kHour / 2 + 40 * kHour / 2 + 48 * kHour);
}

TEST(JoiningServers, OfWhatHadThemAllAreCountedAlready) {
  SixServers paris;
  const std::string name = paris.Asked();
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  paris.At("2027-01-01T11:00:00Z");
  paris.Record("s1", true);
  paris.Record("s1", false);
  const v1::Event accepted = paris.Accept(name);
  ASSERT_TRUE(accepted.has_servers_reassigned()) << accepted.ShortDebugString();
  EXPECT_EQ(accepted.servers_reassigned().accelerators(), 0);
  EXPECT_EQ(paris.Used(), 48 * 2 * kHour);
}

TEST(JoiningServers, AreNotHadBeyondTheQuotaAndWhatCountsIsReplacedAllTheSame) {
  SixServers paris(8);
  const std::string name = paris.Asked();
  for (const char* id : {"s1", "s2", "s7", "s8"}) paris.Record(id, true);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_started());
  // Others use what it does not.
  for (const char* id : {"s7", "s8"}) paris.Record(id, false);
  const std::string other =
      paris.Confirmed({.start = "2027-01-01T11:00:00Z", .count = 2, .contract = kEscrow});
  EXPECT_EQ(paris.Peak(), 48);
  for (const char* id : {"s1", "s2"}) paris.Record(id, false);
  const std::string before = Dump(paris.journal());
  EXPECT_THAT(paris.Accept(name),
              HasText(fmt::format(R"(command_refused {{ reason: REASON_QUOTA_EXHAUSTED
                  shortfall {{ contract: "{}" missing {{ accelerators: 16 }} }} }})",
                                  kEscrow)));
  EXPECT_EQ(Dump(paris.journal()), before);
  EXPECT_THAT(paris.Reactions(), SizeIs(1)) << "more is asked for";
  const auto due = paris.DueAt("2027-01-01T10:00:00Z");
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_TRUE(paris.When(due[0].command, "heal").has_servers_missing()) << "nor offered";
  // One that it had in use is another matter.
  paris.Record("s3", true);
  paris.Record("s3", false);
  const v1::Event accepted = paris.Accept(name);
  EXPECT_THAT(accepted.servers_reassigned().added(), ElementsAre("sites/paris/servers/s3"));
  EXPECT_EQ(paris.Row(name).accelerators(), 32);
  EXPECT_EQ(paris.Peak(), 48);
  paris.About("cancel_reservation", other);
  EXPECT_THAT(paris.Accept(name), HasText("servers_reassigned { accelerators: 48 }"));
}

TEST(JoiningServers, CountForWhatItIsExtendedByToo) {
  SixServers paris;
  const std::string name = paris.Started();
  paris.At("2027-01-01T11:00:00Z");
  for (const char* id : {"s1", "s2"}) paris.Record(id, false);
  EXPECT_TRUE(paris.Accept(name).has_servers_reassigned());
  const v1::Event held =
      paris.When(fmt::format(R"(extend_reservation {{ name: "{}" end_time {{ {} }} }})", name,
                             Seconds("2027-01-01T13:00:00Z")),
                 "extend");
  EXPECT_TRUE(paris
                  .When(fmt::format(R"(confirm_amendment {{ reservation: "{}" amendment: "{}" }})",
                                    name, held.amendment_held().amendment().name()),
                        "confirm")
                  .has_amendment_confirmed())
      << held.ShortDebugString();
  EXPECT_EQ(paris.Used(), (32 + 48 + 48) * kHour);
  EXPECT_THAT(paris.Row(name).segments(), SizeIs(3));
}

TEST(JoiningServers, CountWhereWhatIsInUseIsMovedOutOfAWindowToo) {
  SixServers paris(8);
  paris.Given(fmt::format(
      R"(contract_signed {{ {} interventions {{ relocation: CONSENT_RULE_NOTICE }}
         quota {{ accelerators: 48 accelerator_hours: 1000
         allotments {{ site: "sites/paris" accelerators: 48 accelerator_hours: 1000 }} }} }})",
      ContractText("sites/paris", 10, "escrow")));
  const std::string name = paris.Asked();
  for (const char* id : {"s1", "s7", "s8"}) paris.Record(id, true);
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_THAT(paris.About("start_reservation", name),
              HasText("reservation_started { accelerators: 40 }"));
  for (const char* id : {"s7", "s8"}) paris.Record(id, false);
  // Of the two that the window claims it never had one.
  const v1::Event affects =
      paris.When(fmt::format(R"(record_window {{ window {{ window: "sites/paris/windows/w"
          servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
          start_time {{ {0} }} end_time {{ {1} }} announced_time {{ {0} }} drained: true }} }})",
                             Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T11:00:00Z")),
                 "window");
  const auto moves = paris.Reactions();
  ASSERT_THAT(moves, SizeIs(1)) << affects.ShortDebugString();
  const v1::Event moved = paris.When(moves[0].command, "move");
  EXPECT_THAT(moved, HasText("servers_reassigned { in_use: true accelerators: 48 }"));
  EXPECT_EQ(paris.Row(name).accelerators(), 48);
  EXPECT_EQ(paris.Peak(), 48);
}

// As an amendment leaves them.
std::string SegmentText(int accelerators) {
  return fmt::format(R"(segments {{ amendment: "a-1" count: 6 model: "models/m"
      start_time {{ {} }} end_time {{ {} }} accelerators: {} }})",
                     Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T12:00:00Z"),
                     accelerators);
}

// What was confirmed with new terms, and starts without two of its servers.
std::string StartedByTheHistory(SixServers& paris, const std::string& segments) {
  const std::string name = paris.Asked();
  const v1::Reservation row = paris.Row(name);
  v1::Event event;
  v1::AmendmentConfirmed& confirmed = *event.mutable_amendment_confirmed();
  confirmed.set_reservation(name);
  confirmed.mutable_amendment()->set_name("a-1");
  *confirmed.mutable_amendment()->mutable_terms() = row.terms();
  *confirmed.mutable_amendment()->mutable_servers() = row.servers();
  confirmed.mutable_amendment()->set_accelerators(48);
  *confirmed.add_segments() = test::Parse<v1::AmendmentConfirmed>(SegmentText(48)).segments(0);
  paris.Given(event.ShortDebugString());
  for (const char* id : {"s1", "s2"}) paris.Record(id, true);
  paris.At("2027-01-01T10:00:00Z");
  paris.Given(
      fmt::format(R"(reservation_started {{ name: "{}" accelerators: 32 {} }})", name, segments));
  return name;
}

TEST(Segments, CountFewerWhereTheStartSaysSo) {
  SixServers paris;
  const std::string name = StartedByTheHistory(paris, SegmentText(32));
  EXPECT_EQ(paris.Used(), 32 * 2 * kHour);
  paris.At("2027-01-01T11:00:00Z");
  for (const char* id : {"s1", "s2"}) paris.Record(id, false);
  EXPECT_TRUE(paris.Accept(name).has_servers_reassigned());
  EXPECT_EQ(paris.Used(), (32 + 48) * kHour);
}

TEST(Segments, OfOlderHistoriesStayAsTheyWere) {
  SixServers paris;
  const std::string name = StartedByTheHistory(paris, "");
  EXPECT_EQ(paris.Used(), 48 * 2 * kHour);
  EXPECT_EQ(paris.Row(name).accelerators(), 32);
}

// The servers that count for what is in use, by what became of each.
TEST(JoiningServers, CountAsManyAsWereHandedOverWhateverHappens) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    SixServers paris(8, 48);
    std::mt19937 chance(seed);
    const auto of = [&](unsigned count) { return static_cast<unsigned>(chance() % count); };
    const std::string name = paris.Asked("min_count: 1");
    for (unsigned i = of(5); i > 0; --i) paris.Record(fmt::format("s{}", 1 + of(8)), true);
    paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
    std::set<std::string> counted;
    const v1::Reservation started = paris.Row(name);
    for (const std::string& server : started.servers()) {
      if (!IsLost(started, server)) counted.insert(server);
    }
    int64_t used = 0;
    for (int minute = 1; minute <= 40; ++minute) {
      used += static_cast<int64_t>(counted.size()) * 8 * 60;
      paris.At(fmt::format("2027-01-01T10:{:02}:00Z", minute));
      paris.Record(fmt::format("s{}", 1 + of(8)), of(2) == 0);
      if (of(3) > 0) continue;
      const v1::Event event = paris.Accept(name);
      for (const std::string& server : event.servers_reassigned().removed()) counted.erase(server);
      for (const std::string& server : event.servers_reassigned().added()) counted.insert(server);
      ASSERT_EQ(paris.Row(name).accelerators(), static_cast<int64_t>(counted.size()) * 8)
          << seed << " " << event.ShortDebugString();
    }
    ASSERT_EQ(paris.Used(), used + static_cast<int64_t>(counted.size()) * 8 * 80 * 60) << seed;
  }
}

}  // namespace
}  // namespace concordat::reservations
