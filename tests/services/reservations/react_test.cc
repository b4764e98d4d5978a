#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::IsEmpty;
using testing::SizeIs;

// What follows at Paris from an event of another service of Paris.
template <typename Event>
Intents After(const std::string& event_text) {
  const test::Scenario<Service> paris;
  return paris.ReactionsTo(test::Parse<Event>(event_text));
}

// What follows at Paris from an event of reservations at another site.
Intents AfterPeer(const std::string& event_text, const std::string& site = "borlange") {
  const test::Scenario<Service> paris;
  return paris.ReactionsTo(test::Parse<v1::Event>(event_text), site);
}

MATCHER_P3(IsOne, kind, subject, command, "") {
  if (arg.size() != 1) return false;
  *result_listener << arg[0].kind << " " << arg[0].subject << " "
                   << arg[0].command.ShortDebugString();
  return arg[0].kind == kind && arg[0].subject == subject &&
         testing::Value(arg[0].command, EqualsText(std::string(command)));
}

TEST(ReservationReactions, NoteWhatTheInventorySays) {
  using inventory::v1::Event;
  EXPECT_THAT(
      After<Event>(
          R"(site_opened { name: "sites/paris" country: "FR" time_zone: "Europe/Paris" certifications: "HDS" })"),
      IsOne("site", "sites/paris",
            R"(record_site { site { name: "sites/paris" country: "FR" certifications: "HDS" } })"));
  EXPECT_THAT(
      After<Event>(
          R"(envelope_set { site: "sites/paris" effective_from { seconds: 5 } it_power_watts: 2 cooling_watts: 1 })"),
      IsOne("envelope", "sites/paris", R"(record_envelope { envelope {
                site: "sites/paris" effective_from { seconds: 5 } it_power_watts: 2 cooling_watts: 1 } })"));
  EXPECT_THAT(
      After<Event>(
          R"(server_entered_service { name: "sites/paris/servers/a" model: "models/m" it_power_watts: 2
              cooling_watts: 1 room: "r" rack: "k" position: 3 nvlink_domain: "d" power_feed: "f"
              accelerators: 8 })"),
      IsOne("server", "sites/paris/servers/a", R"(record_server { server {
                name: "sites/paris/servers/a" model: "models/m" it_power_watts: 2 cooling_watts: 1 bookable: true
                room: "r" rack: "k" position: 3 nvlink_domain: "d" power_feed: "f" accelerators: 8 } })"));
  EXPECT_THAT(After<Event>(R"(server_cordoned { name: "sites/paris/servers/a" })"),
              IsOne("server", "sites/paris/servers/a",
                    R"(record_server { server { name: "sites/paris/servers/a" } })"));
  EXPECT_THAT(
      After<Event>(R"(server_uncordoned { name: "sites/paris/servers/a" })"),
      IsOne("server", "sites/paris/servers/a",
            R"(record_server { server { name: "sites/paris/servers/a" bookable: true } })"));
  EXPECT_THAT(After<Event>(R"(server_left_service { name: "sites/paris/servers/a" })"),
              IsOne("server", "sites/paris/servers/a",
                    R"(record_server { server { name: "sites/paris/servers/a" lost: true } })"));
  for (const char* event :
       {"model_registered {}", "server_ordered {}", "server_delivered {}", "server_installed {}",
        "burn_in_passed {}", "burn_in_failed {}", "command_refused {}", ""}) {
    EXPECT_THAT(After<Event>(event), IsEmpty()) << event;
  }
}

TEST(ReservationReactions, ConfirmWhatComplianceCleared) {
  EXPECT_THAT(After<compliance::v1::Event>(
                  R"(reservation_judged { reservation: "r" verdict: VERDICT_CLEARED })"),
              IsOne("confirm", "r", R"(confirm_reservation { name: "r" })"));
}

TEST(ReservationReactions, DeclineWhatComplianceProhibitedWithEveryRuleAndCitation) {
  EXPECT_THAT(After<compliance::v1::Event>(
                  R"(reservation_judged { reservation: "r" verdict: VERDICT_PROHIBITED
    findings { rule: "rules/hds" version: 2 title: "Health data needs HDS" outcome: FINDING_OUTCOME_VIOLATED
        effect: EFFECT_DENY
      citation { instrument: "Code de la santé publique" article: "L1111-8" } }
    findings { rule: "rules/ok" version: 1 outcome: FINDING_OUTCOME_SATISFIED effect: EFFECT_DENY }
    findings { rule: "rules/na" version: 1 outcome: FINDING_OUTCOME_NOT_APPLICABLE effect: EFFECT_DENY }
    findings { rule: "rules/warn" version: 1 outcome: FINDING_OUTCOME_VIOLATED effect: EFFECT_WARN }
    findings { rule: "rules/unsure" version: 1 outcome: FINDING_OUTCOME_UNEVALUABLE effect: EFFECT_WARN }
    findings { rule: "rules/seat" version: 1 title: "Seat in the EU" outcome: FINDING_OUTCOME_UNEVALUABLE
        effect: EFFECT_DENY
      citation { instrument: "Contract" article: "4" } } })"),
              IsOne("decline", "r", R"(decline_reservation { name: "r"
                detail:
                    "rules/hds version 2 \"Health data needs HDS\" is violated (Code de la santé publique, L1111-8); "
                        "rules/seat version 1 \"Seat in the EU\" could not be evaluated (Contract, 4)." })"));
}

TEST(ReservationReactions, ConfirmNothingWithoutAVerdict) {
  EXPECT_THAT(After<compliance::v1::Event>(R"(reservation_judged { reservation: "r" })"),
              IsEmpty());
  for (const char* event :
       {"rule_adopted {}", "rule_repealed {}", "artefact_judged { verdict: VERDICT_CLEARED }",
        "command_refused {}", ""}) {
    EXPECT_THAT(After<compliance::v1::Event>(event), IsEmpty()) << event;
  }
}

TEST(ReservationReactions, EndWhatIsVacated) {
  using deployment::v1::Event;
  EXPECT_THAT(After<Event>(R"(reservation_vacated { reservation: "r" })"),
              IsOne("end", "r", R"(end_reservation { name: "r" })"));
  for (const char* event :
       {"artefact_registered {}", "reservation_recorded {}", "deployment_requested {}",
        "deployment_cleared {}", "deployment_prohibited {}", "model_placed {}",
        "placement_failed {}", "reservation_vacating {}", "model_removed {}", "removal_failed {}",
        "command_refused {}", ""}) {
    EXPECT_THAT(After<Event>(event), IsEmpty()) << event;
  }
}

TEST(ReservationReactions, FulfilOrdersThatAskThisSite) {
  const char* ordered =
      R"(reservation_ordered { name: "sites/borlange/orders/r-1" site: "sites/paris" reservation:
          "sites/paris/reservations/r-1" })";
  EXPECT_THAT(AfterPeer(ordered),
              IsOne("fulfil", "sites/paris/reservations/r-1", R"(fulfil_order { order {
    name: "sites/borlange/orders/r-1" site: "sites/paris" reservation: "sites/paris/reservations/r-1" } })"));
  EXPECT_THAT(
      AfterPeer(R"(reservation_ordered { name: "sites/borlange/orders/r-1" site: "sites/lyon" })"),
      IsEmpty());
  EXPECT_THAT(AfterPeer(ordered, "paris"), IsEmpty()) << "its own stream is no peer";
}

TEST(ReservationReactions, NoteContractsThatNameThisSite) {
  EXPECT_THAT(
      AfterPeer(
          R"(contract_signed { name: "customers/a/contracts/b" sites: "sites/lyon" sites: "sites/paris" })"),
      IsOne("contract", "customers/a/contracts/b", R"(record_contract { home_site: "sites/borlange"
                contract { name: "customers/a/contracts/b" sites: "sites/lyon" sites: "sites/paris" } })"));
  EXPECT_THAT(
      AfterPeer(R"(contract_signed { name: "customers/a/contracts/b" sites: "sites/lyon" })"),
      IsEmpty());
}

TEST(ReservationReactions, NoteTheAnswersToTheirOwnOrders) {
  const auto answer = [](const std::string& rest) {
    return fmt::format(
        R"(record_order_answer {{ site: "sites/borlange" answer {{ order: "sites/paris/orders/o" {} }} }})",
        rest);
  };
  const std::string order = "sites/paris/orders/o";
  EXPECT_THAT(AfterPeer(R"(reservation_confirmed { name: "r" order: "sites/paris/orders/o" })"),
              IsOne("answer", order, answer("state: ORDER_STATE_CONFIRMED")));
  EXPECT_THAT(
      AfterPeer(
          R"(reservation_declined { name: "r" reason: REASON_COMPLIANCE detail: "d" order: "sites/paris/orders/o" })"),
      IsOne("answer", order,
            answer(R"(state: ORDER_STATE_DECLINED reason: REASON_COMPLIANCE detail: "d")")));
  EXPECT_THAT(
      AfterPeer(R"(hold_lapsed { name: "r" order: "sites/paris/orders/o" })"),
      IsOne("answer", order, answer(R"(state: ORDER_STATE_DECLINED reason: REASON_HOLD_LAPSED
                                               detail: "The hold lapsed before compliance had judged it.")")));
  EXPECT_THAT(
      AfterPeer(
          R"(reservation_cancelled { name: "r" reason: "why" order: "sites/paris/orders/o" })"),
      IsOne("answer", order, answer(R"(state: ORDER_STATE_CANCELLED detail: "why")")));
  EXPECT_THAT(
      AfterPeer(
          R"(order_declined { order: "sites/paris/orders/o" reason: REASON_NO_CAPACITY detail: "full" })"),
      IsOne("answer", order,
            answer(R"(state: ORDER_STATE_DECLINED reason: REASON_NO_CAPACITY detail: "full")")));
}

TEST(ReservationReactions, LeaveAlmostEverythingOfPeersAlone) {
  for (const char* event :
       {R"(reservation_confirmed { name: "r" })",
        R"(reservation_declined { order: "sites/lyon/orders/o" })", R"(hold_lapsed {})",
        R"(reservation_cancelled { order: "" })",
        R"(order_declined { order: "sites/lyon/orders/o" })", "customer_registered {}",
        "contract_recorded {}", "site_recorded {}", "envelope_recorded {}", "server_recorded {}",
        "reservation_held {}", "reservation_started {}", "reservation_delayed {}",
        "reservation_ending {}", "reservation_ended {}", "order_answered {}", "command_refused {}",
        ""}) {
    EXPECT_THAT(AfterPeer(event), IsEmpty()) << event;
  }
}

TEST(ReservationReactions, FollowFromOwnEventsOnlyWhenSomethingWaits) {
  Paris paris;
  const std::string name = paris.Reserve({.count = 4}).reservation_held().name();
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  paris.About("confirm_reservation", name);
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  const std::string next =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 2});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", name);
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  EXPECT_TRUE(paris.About("start_reservation", next).has_reservation_delayed());
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  paris.About("end_reservation", name);
  EXPECT_THAT(paris.Reactions(),
              IsOne("start", next, fmt::format("start_reservation {{ name: \"{}\" }}", next)));
  EXPECT_EQ(paris.Reactions()[0].correlation_id, paris.Row(next).correlation_id());
}

TEST(ReservationReactions, DoNotWakeWhatWaitsForOtherServers) {
  Paris paris;
  const std::string a = paris.Confirmed({.count = 2});
  const std::string b = paris.Confirmed({.count = 2});
  const std::string after_a =
      paris.Confirmed({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T14:00:00Z", .count = 2});
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", a);
  paris.About("start_reservation", b);
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", a);
  paris.About("begin_end_reservation", b);
  EXPECT_TRUE(paris.About("start_reservation", after_a).has_reservation_delayed());
  paris.About("end_reservation", b);
  EXPECT_THAT(paris.Reactions(), IsEmpty());
  paris.About("end_reservation", a);
  EXPECT_THAT(paris.Reactions(), SizeIs(1));
}

TEST(ReservationTimers, FireOnTheirInstantAndNotBefore) {
  Paris paris;
  const std::string name = paris.Reserve({}, "story").reservation_held().name();
  const auto due = [&](const std::string& at) { return paris.DueAt(at); };
  EXPECT_THAT(due("2027-01-01T09:14:59.999999Z"), IsEmpty());
  EXPECT_THAT(due("2027-01-01T09:15:00Z"),
              IsOne("lapse", name, fmt::format("lapse_hold {{ name: \"{}\" }}", name)));
  EXPECT_EQ(due("2027-01-01T09:15:00Z")[0].correlation_id, "story");
  paris.About("confirm_reservation", name);
  EXPECT_THAT(due("2027-01-01T09:59:59.999999Z"), IsEmpty());
  EXPECT_THAT(due("2027-01-01T10:00:00Z"),
              IsOne("start", name, fmt::format("start_reservation {{ name: \"{}\" }}", name)));
  paris.At("2027-01-01T10:00:00Z").About("start_reservation", name);
  EXPECT_THAT(due("2027-01-01T11:59:59.999999Z"), IsEmpty());
  EXPECT_THAT(due("2027-01-01T12:00:00Z"),
              IsOne("finish", name, fmt::format("begin_end_reservation {{ name: \"{}\" }}", name)));
  paris.At("2027-01-01T12:00:00Z").About("begin_end_reservation", name);
  EXPECT_THAT(due("9999-01-01T00:00:00Z"), IsEmpty());
}

TEST(ReservationTimers, FireInTheOrderOfDeadlinesUpToTheLimit) {
  Paris paris;
  const std::string later = paris.Confirmed({.start = "2027-01-01T11:00:00Z"});
  const std::string sooner = paris.Confirmed({.start = "2027-01-01T10:00:00Z"});
  const Intents all = Due(paris.state().rows, test::Time("2027-01-01T11:00:00Z"), 100);
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].subject, sooner);
  EXPECT_EQ(all[1].subject, later);
  EXPECT_LT(all[0].deadline, all[1].deadline);
  EXPECT_THAT(Due(paris.state().rows, test::Time("2027-01-01T11:00:00Z"), 1), SizeIs(1));
  EXPECT_THAT(Due(paris.state().rows, test::Time("2027-01-01T11:00:00Z"), 0), IsEmpty());
}

TEST(ReservationTimers, AreNotEarlyForTimesBetweenMicroseconds) {
  EXPECT_EQ(TimeKey(absl::FromUnixMicros(5)), "00000000000000000005");
  EXPECT_EQ(TimeKey(absl::FromUnixMicros(5) + absl::Nanoseconds(1)), "00000000000000000006");
  EXPECT_EQ(TimeKey(absl::UnixEpoch() - absl::Hours(1)), "00000000000000000000");
  EXPECT_EQ(TimeKey(absl::FromUnixSeconds(253402300799)).size(), 20u);
}

TEST(ReservationTimers, AreANewCommandWheneverADeadlineMoves) {
  Paris paris;
  paris.Envelope("2026-01-02T00:00:00Z", 400, 360);
  const std::string name = paris.Confirmed({});
  paris.Envelope("2027-01-01T10:00:00Z", 1, 1);
  paris.At("2027-01-01T10:00:00Z");
  const std::string first = paris.DueAt("2027-01-01T10:00:00Z")[0].deadline;
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_delayed());
  EXPECT_NE(paris.DueAt("2027-01-01T10:01:00Z")[0].deadline, first);
}

}  // namespace
}  // namespace concordat::reservations
