// A timer's command has an id of its kind, its subject and its deadline, and an id that was decided
// is never decided again. So whatever is due must not have been due before.
#include <gmock/gmock.h>

#include <array>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "services/runtime/zones.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr char kLadder[] = "customers/hsbc/contracts/ladder";

// Decides what is due as a writer does, and sees whether it would have been answered from memory.
struct OncePlace : Paris {
  explicit OncePlace(
      const std::string& ladder = "notices { seconds: 172800 } notices { seconds: 86400 }") {
    Given(fmt::format("contract_signed {{ {} {} }}", ContractText("sites/paris", 10, "ladder"),
                      ladder));
  }
  v1::Event Decide(const Intent& intent) {
    const std::string id =
        fmt::format("due/{}/{}/{}", intent.kind, intent.subject, intent.deadline);
    EXPECT_TRUE(decided.insert(id).second) << id << " was decided before";
    return When(intent.command, id);
  }
  // Until nothing is due; what was decided, in order.
  std::vector<v1::Event> Fire(const std::string& rfc3339) {
    At(rfc3339);
    std::vector<v1::Event> events;
    for (int round = 0; round < 30; ++round) {
      const auto due = DueAt(rfc3339);
      if (due.empty()) return events;
      for (const Intent& intent : due) events.push_back(Decide(intent));
    }
    ADD_FAILURE() << "what is due at " << rfc3339 << " never comes to rest";
    return events;
  }
  std::string Active(const Wish& wish) {
    const std::string name = Confirmed(wish);
    At(wish.start);
    EXPECT_TRUE(About("start_reservation", name).has_reservation_started());
    return name;
  }
  // Asks for another end; the amendment's name, or nothing where it was refused.
  std::string MoveEnd(const std::string& name, absl::Time end) {
    const v1::Event held =
        When(fmt::format(R"(amend_reservation {{ name: "{}" end_time {{ seconds: {} }} }})", name,
                         absl::ToUnixSeconds(end)),
             fmt::format("amend-{}", ++amended));
    return held.amendment_held().amendment().name();
  }
  v1::Event Judge(const std::string& name, const std::string& amendment, bool cleared) {
    return When(fmt::format(R"({} {{ reservation: "{}" amendment: "{}" {} }})",
                            cleared ? "confirm_amendment" : "drop_amendment", name, amendment,
                            cleared ? "" : R"(detail: "rules/x")"),
                fmt::format("judge-{}", amended));
  }
  void EndAt(const std::string& name, const std::string& rfc3339) {
    const std::string amendment = MoveEnd(name, test::Time(rfc3339));
    EXPECT_TRUE(Judge(name, amendment, true).has_amendment_confirmed());
  }

  std::set<std::string> decided;
  int amended = 0;
};

TEST(TimersOnce, ANoticeOfANewEndThatFallsOnOneOfTheOldEndIsGiven) {
  OncePlace paris;
  const std::string name = paris.Active(
      {.start = "2027-01-01T10:00:00Z", .end = "2027-01-05T10:00:00Z", .contract = kLadder});
  EXPECT_THAT(paris.Fire("2027-01-03T10:00:00Z"),
              ElementsAre(HasText("notice_given { before_end { seconds: 172800 } }")));
  EXPECT_THAT(paris.Fire("2027-01-04T10:00:00Z"),
              ElementsAre(HasText("notice_given { before_end { seconds: 86400 } }")));
  // Two days before the new end is the instant of one day before the old one.
  paris.EndAt(name, "2027-01-06T10:00:00Z");
  EXPECT_THAT(paris.Fire("2027-01-04T10:00:00Z"),
              ElementsAre(HasText(fmt::format(
                  R"(notice_given {{ before_end {{ seconds: 172800 }} end_time {{ {} }} }})",
                  Seconds("2027-01-06T10:00:00Z")))));
  EXPECT_THAT(paris.Fire("2027-01-05T10:00:00Z"), SizeIs(1));
}

TEST(TimersOnce, ANoticeThatCameTooLateForItsEndIsGivenOnceTheEndIsBack) {
  OncePlace paris("notices { seconds: 86400 }");
  const std::string name = paris.Active(
      {.start = "2027-01-01T10:00:00Z", .end = "2027-01-05T10:00:00Z", .contract = kLadder});
  paris.At("2027-01-04T10:00:00Z");
  const auto due = paris.DueAt("2027-01-04T10:00:00Z");
  ASSERT_THAT(due, SizeIs(1));
  paris.EndAt(name, "2027-01-06T10:00:00Z");
  EXPECT_THAT(paris.Decide(due[0]), HasText(RefusalFor(v1::REASON_TIME)));
  paris.EndAt(name, "2027-01-05T10:00:00Z");
  EXPECT_THAT(paris.Fire("2027-01-04T10:00:00Z"),
              ElementsAre(HasText("notice_given { before_end { seconds: 86400 } }")));
}

TEST(TimersOnce, TwoAmendmentsThatLapseAtOneTimeAreBothDropped) {
  OncePlace paris;
  const std::string name = paris.Confirmed({});
  for (const char* amendment : {"a-1", "a-2"}) {
    paris.At("2027-01-01T09:00:00Z");
    paris.Given(fmt::format(
        R"(amendment_held {{ reservation: "{0}" amendment {{ name: "{0}/amendments/{1}"
           terms {{ {2} }} servers: "sites/paris/servers/s1" hold_expires_at {{ {3} }} }} }})",
        name, amendment, TermsText({.count = 1}), Seconds("2027-01-01T09:15:00Z")));
    EXPECT_THAT(paris.Fire("2027-01-01T09:15:00Z"), ElementsAre(HasText("amendment_dropped {}")));
  }
}

TEST(TimersOnce, WhatComesBackAtTheInstantAtWhichItWasLostIsOfferedAndTheEndComes) {
  OncePlace paris;
  const std::string name = paris.Active({.count = 4});
  for (int again = 0; again < 3; ++again) {
    paris.Server("s1", false, true);
    const auto lost = paris.Fire("2027-01-01T10:00:00Z");
    EXPECT_THAT(lost, SizeIs(again == 0 ? 1 : 0)) << "what it has lost stays lost";
    paris.Server("s1");
    EXPECT_THAT(paris.Fire("2027-01-01T10:00:00Z"), ElementsAre(HasText("replacement_offered {}")));
  }
  paris.Fire("2027-01-01T12:00:00Z");
  EXPECT_EQ(paris.Row(name).state(), v1::RESERVATION_STATE_ENDING);
}

TEST(TimersOnce, WhatIsReplacedAndLostAgainWithinAnInstantIsReplacedAgain) {
  OncePlace paris;
  paris.Confirmed({});
  for (const char* id : {"s1", "s2", "s3"}) {
    paris.Server(id, false, true);
    EXPECT_THAT(paris.Fire("2027-01-01T09:00:00Z"), ElementsAre(HasText("servers_reassigned {}")));
  }
}

TEST(TimersOnce, WhatAnAmendmentKeptWaitingIsHealedOnceThatIsDecided) {
  OncePlace paris;
  const std::string name = paris.Confirmed({});
  paris.Server("s1", false, true);
  const auto due = paris.DueAt("2027-01-01T09:00:00Z");
  ASSERT_THAT(due, SizeIs(1));
  // Somebody was faster.
  const std::string amendment = paris.MoveEnd(name, test::Time("2027-01-01T13:00:00Z"));
  EXPECT_THAT(paris.Decide(due[0]), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_THAT(paris.DueAt("2027-01-01T09:00:00Z"), IsEmpty());
  EXPECT_TRUE(paris.Judge(name, amendment, false).has_amendment_dropped());
  EXPECT_THAT(paris.Fire("2027-01-01T09:00:00Z"), ElementsAre(HasText("servers_reassigned {}")));
}

// A contract whose hours are known up to a time, as found with other data of the time zones.
std::string HoursFoundWith(const std::string& version, const std::string& known_until) {
  return fmt::format(R"(contract_signed {{ {} zone_data_version: "{}" occurrences_until {{ {} }}
      access {{ rule: "FREQ=WEEKLY;BYDAY=MO" time_zone: "Europe/Paris" start: "2027-01-04T08:00:00"
                duration {{ seconds: 36000 }} duration_kind: DURATION_KIND_WALL_CLOCK
                gap: GAP_POLICY_SHIFT_FORWARD fold: FOLD_POLICY_FIRST }} }})",
                     ContractText("sites/paris", 10, "hours"), version, Seconds(known_until));
}

// As a process would say that has other data.
std::string KeptWith(const std::string& version) {
  return fmt::format(
      R"(occurrences_kept {{ name: "customers/hsbc/contracts/hours" zone_data_version: "{}" }})",
      version);
}

TEST(TimersOnce, DataOfTheTimeZonesThatComeAndGoAreComparedEachTime) {
  OncePlace paris;
  paris.Given(HoursFoundWith("1999a", "2028-01-01T00:00:00Z"));
  for (const char* next : {"1999a", "9999z", "1999a", "9999z"}) {
    const auto due = paris.DueAt("2027-01-01T09:00:00Z");
    ASSERT_THAT(due, SizeIs(1)) << next;
    EXPECT_EQ(due[0].kind, "review");
    EXPECT_FALSE(paris.Decide(due[0]).has_command_refused());
    EXPECT_THAT(paris.DueAt("2027-01-01T09:00:00Z"), IsEmpty());
    paris.Given(KeptWith(next));
  }
}

TEST(TimersOnce, HorizonsMoveOnBeforeSchedulesAreCompared) {
  OncePlace paris;
  paris.Given(HoursFoundWith("1999a", "2027-06-01T00:00:00Z"));
  const auto due = Due(paris.state().rows, test::Time("2027-12-01T00:00:00Z"), 1);
  ASSERT_THAT(due, SizeIs(1));
  EXPECT_EQ(due[0].kind, "extend") << "however many there are to compare";
}

// What callers and the inventory do, by chance, on a clock that often stands still; and timers that
// were found due before something else was decided.
class AnyHistory {
 public:
  explicit AnyHistory(unsigned seed) : chance_(seed) { paris_.At(Text()); }

  void Step() {
    std::vector<Intent> taken;
    if (Of(3) == 0) taken = Now();
    Act();
    for (const Intent& intent : taken) paris_.Decide(intent);
    if (Of(2) == 0) paris_.Fire(Text());
  }
  void Rest() {
    now_ = test::Time("2027-02-01T00:00:00Z");
    paris_.Fire(Text());
    for (const std::string& name : names_) {
      EXPECT_NE(paris_.Row(name).state(), v1::RESERVATION_STATE_CONFIRMED);
      EXPECT_NE(paris_.Row(name).state(), v1::RESERVATION_STATE_ACTIVE);
    }
  }

 private:
  unsigned Of(unsigned count) { return static_cast<unsigned>(chance_() % count); }
  std::string Text() const { return runtime::ToText(now_); }
  std::vector<Intent> Now() { return paris_.DueAt(Text()); }
  const std::string& Any() { return names_[Of(static_cast<unsigned>(names_.size()))]; }

  void Act() {
    switch (names_.empty() ? 0 : Of(8)) {
      case 0:
        return Reserve();
      case 1:
        now_ += std::array{absl::Minutes(1), absl::Hours(1), absl::Hours(24)}[Of(3)];
        paris_.At(Text());
        return;
      case 2:
      case 3:
        return Record(Of(2) == 0);
      case 4:
      case 5:
        return Amend(Any());
      case 6:
        paris_.When(fmt::format(R"(accept_replacement {{ name: "{}" }})", Any()),
                    fmt::format("accept-{}", ++count_));
        return;
      default:
        return Judge();
    }
  }
  void Reserve() {
    if (names_.size() == 4) return;
    Wish wish{.start = Text(), .count = 1 + static_cast<int>(Of(2)), .contract = kLadder};
    wish.end = runtime::ToText(now_ + absl::Hours(24) * (1 + Of(4)));
    const std::string name = paris_.Reserve(wish).reservation_held().name();
    if (name.empty()) return;
    paris_.About("confirm_reservation", name);
    names_.push_back(name);
  }
  void Record(bool lost) {
    const std::string id = fmt::format("s{}", 1 + Of(4));
    paris_.Server(id, !lost, lost);
  }
  void Amend(const std::string& name) {
    const absl::Time end = runtime::ToTime(paris_.Row(name).terms().end_time());
    const absl::Duration by = std::array{-absl::Hours(24), absl::Hours(24)}[Of(2)];
    const std::string amendment = paris_.MoveEnd(name, end + by);
    if (!amendment.empty() && Of(2) == 0) paris_.Judge(name, amendment, true);
  }
  void Judge() {
    const v1::Reservation row = paris_.Row(Any());
    if (row.has_amendment()) paris_.Judge(row.name(), row.amendment().name(), Of(2) == 0);
  }

  std::mt19937 chance_;
  OncePlace paris_;
  absl::Time now_ = test::Time("2027-01-01T10:00:00Z");
  std::vector<std::string> names_;
  int count_ = 0;
};

TEST(TimersOnce, WhateverHappensNothingIsDueThatWasDecidedBefore) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    AnyHistory history(seed);
    for (int step = 0; step < 60; ++step) history.Step();
    history.Rest();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace concordat::reservations
