#include "services/reservations/notices.h"

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;

// A contract with notices a day, an hour and ten minutes before the end.
struct WithNotices : Paris {
  WithNotices() {
    Given(fmt::format(
        "contract_signed {{ {} notices {{ seconds: 86400 }} notices {{ seconds: 3600 }} "
        "notices {{ seconds: 600 }} }}",
        ContractText("sites/paris", 10, "told")));
  }
  std::string Held(const std::string& start, const std::string& end) {
    return Confirmed({.start = start, .end = end, .contract = "customers/hsbc/contracts/told"});
  }
  // What the timers of notices do at a time.
  std::vector<v1::Event> FireAt(const std::string& rfc3339) {
    At(rfc3339);
    std::vector<v1::Event> events;
    for (const auto& intent : DueAt(rfc3339)) {
      if (intent.kind == "notice") events.push_back(When(intent.command, intent.deadline));
    }
    return events;
  }
};

TEST(Notices, AreGivenStepByStepAndEachOnce) {
  WithNotices paris;
  const std::string name = paris.Held("2027-01-01T10:00:00Z", "2027-01-03T10:00:00Z");
  EXPECT_TRUE(paris.FireAt("2027-01-02T09:59:59Z").empty());
  const auto day = paris.FireAt("2027-01-02T10:00:00Z");
  ASSERT_EQ(day.size(), 1u);
  EXPECT_THAT(day[0], EqualsText(fmt::format(R"(notice_given {{ name: "{}"
    customer: "customers/hsbc" before_end {{ seconds: 86400 }} end_time {{ {} }} }})",
                                             name, Seconds("2027-01-03T10:00:00Z"))));
  EXPECT_TRUE(paris.FireAt("2027-01-02T10:00:00Z").empty());
  EXPECT_THAT(paris.FireAt("2027-01-03T09:00:00Z"),
              testing::ElementsAre(HasText("notice_given { before_end { seconds: 3600 } }")));
  EXPECT_THAT(paris.FireAt("2027-01-03T09:50:00Z"),
              testing::ElementsAre(HasText("notice_given { before_end { seconds: 600 } }")));
  EXPECT_TRUE(paris.FireAt("2027-01-03T09:59:59Z").empty());
  EXPECT_THAT(paris.About("give_notice", name), HasText(RefusalFor(v1::REASON_TIME)));
}

TEST(Notices, BeforeTheStartAreLeftOut) {
  WithNotices paris;
  paris.Held("2027-01-01T10:00:00Z", "2027-01-01T12:00:00Z");
  EXPECT_TRUE(paris.FireAt("2027-01-01T10:59:59Z").empty());
  EXPECT_THAT(paris.FireAt("2027-01-01T11:00:00Z"),
              testing::ElementsAre(HasText("notice_given { before_end { seconds: 3600 } }")));
}

TEST(Notices, ThatWereMissedAreGivenAsOneTheNearest) {
  WithNotices paris;
  paris.Held("2027-01-01T10:00:00Z", "2027-01-03T10:00:00Z");
  EXPECT_THAT(paris.FireAt("2027-01-03T09:55:00Z"),
              testing::ElementsAre(HasText("notice_given { before_end { seconds: 600 } }")));
  EXPECT_TRUE(paris.FireAt("2027-01-03T09:56:00Z").empty());
}

TEST(Notices, BeginAgainWhereTheEndMovesAndSayWhichEndTheyReplace) {
  WithNotices paris;
  const std::string name = paris.Held("2027-01-01T10:00:00Z", "2027-01-03T10:00:00Z");
  EXPECT_EQ(paris.FireAt("2027-01-02T10:00:00Z").size(), 1u);
  // The only event yet that moves an end, as new data of a time zone would.
  paris.Given(fmt::format("reservation_started {{ name: \"{}\" }}", name));
  v1::Reservation moved = paris.Row(name);
  *moved.mutable_terms()->mutable_end_time() =
      runtime::ToTimestamp(test::Time("2027-01-05T10:00:00Z"));
  EXPECT_EQ(NoticeTimeOf(moved), test::Time("2027-01-04T10:00:00Z")) << "the steps begin again";
  EXPECT_EQ(NoticeDue(moved, test::Time("2027-01-03T09:30:00Z")), std::nullopt)
      << "and those of the former end are given no more";
  *moved.mutable_terms()->mutable_end_time() =
      runtime::ToTimestamp(test::Time("2027-01-02T10:30:00Z"));
  EXPECT_EQ(NoticeDue(moved, test::Time("2027-01-02T10:00:01Z")), absl::Hours(1))
      << "an end that comes nearer is told at once";
}

TEST(Notices, StopWithTheReservation) {
  WithNotices paris;
  const std::string name = paris.Held("2027-01-01T10:00:00Z", "2027-01-03T10:00:00Z");
  paris.About("cancel_reservation", name);
  EXPECT_TRUE(paris.FireAt("2027-01-03T09:55:00Z").empty());
  bool any = false;
  paris.state().rows.notice_times.Scan("", [&](auto, const auto&) { return any = true; });
  EXPECT_FALSE(any);
}

TEST(Notices, AreNotOwedByAContractWithoutALadder) {
  Paris paris;
  paris.Confirmed({});
  for (const auto& intent : paris.DueAt("2027-01-01T11:59:59Z")) EXPECT_NE(intent.kind, "notice");
}

TEST(Notices, AreProvedByWhoDeliversThem) {
  WithNotices paris;
  const std::string name = paris.Held("2027-01-01T10:00:00Z", "2027-01-03T10:00:00Z");
  const auto deliver = [&](const char* at, int step) {
    return paris.When(
        fmt::format(R"(record_notice_delivery {{ name: "{}" before_end {{ seconds: {} }}
          delivered_time {{ {} }} channel: "e-mail" evidence: "message-1" }})",
                    name, step, Seconds(at)),
        fmt::format("d-{}-{}", at, step));
  };
  EXPECT_THAT(deliver("2027-01-02T10:00:00Z", 86400), HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_EQ(paris.FireAt("2027-01-02T10:00:00Z").size(), 1u);
  EXPECT_THAT(deliver("2027-01-02T11:00:00Z", 86400), HasText(RefusalFor(v1::REASON_TIME)))
      << "in the future";
  EXPECT_THAT(deliver("2027-01-02T09:00:00Z", 86400), HasText(RefusalFor(v1::REASON_TIME)))
      << "before it was given";
  EXPECT_THAT(deliver("2027-01-02T10:00:00Z", 86400),
              EqualsText(fmt::format(
                  R"(notice_delivered {{ name: "{}" before_end {{ seconds: 86400 }}
                     end_time {{ {} }} delivered_time {{ {} }} channel: "e-mail"
                     evidence: "message-1" }})",
                  name, Seconds("2027-01-03T10:00:00Z"), Seconds("2027-01-02T10:00:00Z"))));
  EXPECT_THAT(deliver("2027-01-02T10:00:30Z", 86400),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(paris.Row(name), HasText(R"(given_notices { channel: "e-mail"
    evidence: "message-1" before_end { seconds: 86400 } })"));
}

}  // namespace
}  // namespace concordat::reservations
