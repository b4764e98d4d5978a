#include "services/cli/explain.h"

#include <absl/time/time.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concordat/compliance/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "services/cli/values.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A record whose `event` is the text format of the stream's value.
template <typename Value>
node::v1::EventRecord Record(const std::string& stream, uint64_t sequence,
                             const std::string& subject, const std::string& event,
                             const std::string& cause, const std::string& actor = "system") {
  node::v1::EventRecord record;
  const Value value = test::Parse<Value>(event);
  record.set_stream(stream);
  record.set_sequence(sequence);
  record.set_subject(subject);
  record.set_actor(actor);
  record.set_command_id(fmt::format("c-{}", sequence));
  record.set_correlation_id("c-1");
  if (!cause.empty()) record.set_causation_id(cause + ":" + std::string(64, 'a'));
  *record.mutable_time() =
      ToTimestamp(absl::FromUnixSeconds(1798804800 + static_cast<int64_t>(sequence)));
  record.set_data_type(value.GetTypeName());
  record.set_data(value.SerializeAsString());
  const auto* reflection = value.GetReflection();
  const auto* which =
      reflection->GetOneofFieldDescriptor(value, value.GetDescriptor()->oneof_decl(0));
  record.set_type(which->message_type()->full_name());
  return record;
}

constexpr char kReservation[] = "sites/paris/reservations/r-1";

Events DeclinedReservation() {
  return {
      Record<reservations::v1::Event>("paris.reservations.events", 3, kReservation,
                                      R"(reservation_declined { name: "sites/paris/reservations/r-1"
                                         reason: REASON_COMPLIANCE detail: "hds-hosting is violated" })",
                                      "paris.compliance.events:2"),
      Record<compliance::v1::Event>("paris.compliance.events", 2, kReservation, R"(
          reservation_judged { reservation: "sites/paris/reservations/r-1" verdict: VERDICT_PROHIBITED
            findings { rule: "rules/hds-hosting" version: 4 outcome: FINDING_OUTCOME_VIOLATED effect: EFFECT_DENY
              title: "Health data stays with a certified host." citation { instrument: "Code de la santé publique"
              article: "L1111-8" url: "https://example.org" }
              predicates { held: true
                predicate { fact: "data_classes" comparison: COMPARISON_ANY_IN values: "HEALTH" } }
              predicates { predicate { fact: "site.certifications" comparison: COMPARISON_ANY_IN values: "HDS" } } }
            findings { rule: "rules/other" version: 1 outcome: FINDING_OUTCOME_NOT_APPLICABLE }
            facts { name: "site.certifications" values: "ISO27001" } })",
                                    "paris.reservations.events:1"),
      Record<reservations::v1::Event>("paris.reservations.events", 1, kReservation, R"(
          reservation_held { name: "sites/paris/reservations/r-1" terms { customer: "customers/hsbc" count: 2 }
          it_power_watts: 380000 })",
                                      "", "alice"),
  };
}

TEST(Explain, TellsWhoAskedAndWhatFollowedInTheOrderOfCauses) {
  EXPECT_EQ(CauseTree(DeclinedReservation()),
            R"(alice, 2027-01-01T12:00:01Z, request c-1
└─ ReservationHeld  sites/paris/reservations/r-1  paris.reservations.events:1  2027-01-01T12:00:01Z
   │    customer=hsbc count=2 it_power_watts=380 kW
   └─ ReservationJudged  sites/paris/reservations/r-1  paris.compliance.events:2  2027-01-01T12:00:02Z
      │    verdict prohibited
      │    violated: rules/hds-hosting version 4, Health data stays with a certified host.
      │      Code de la santé publique, L1111-8, https://example.org
      │      found site.certifications ISO27001, expected it to have one of HDS
      │    1 other rule does not apply
      └─ ReservationDeclined  sites/paris/reservations/r-1  paris.reservations.events:3  2027-01-01T12:00:03Z
              reason compliance
              hds-hosting is violated
)");
}

TEST(Explain, TellsWhyACommandWasRefused) {
  const Events events = {Record<reservations::v1::Event>(
      "paris.reservations.events", 1, kReservation,
      R"(command_refused { command: "concordat.reservations.v1.ReserveRequest" reason: REASON_NO_CAPACITY
                           detail: "found 1 server free, expected 2" })",
      "", "alice")};
  EXPECT_THAT(CauseTree(events),
              HasSubstr("     command ReserveRequest\n        reason no-capacity\n"));
  EXPECT_THAT(CauseTree(events), HasSubstr("found 1 server free, expected 2"));
}

TEST(Explain, BeginsATreeOfItsOwnWhereTheCauseIsNotKnownHere) {
  Events events = DeclinedReservation();
  events.pop_back();
  EXPECT_THAT(CauseTree(events),
              HasSubstr("system, 2027-01-01T12:00:02Z, after paris.reservations.events:1\n"));
}

TEST(Explain, ShowsEachEventOnceHoweverOftenItWasGathered) {
  Events twice = DeclinedReservation();
  for (const auto& record : DeclinedReservation()) twice.push_back(record);
  EXPECT_EQ(CauseTree(twice), CauseTree(DeclinedReservation()));
}

TEST(Explain, KeepsTheOrderOfAStreamWhereTimesAreEqual) {
  Events events;
  for (const uint64_t sequence : {10, 9}) {
    events.push_back(Record<reservations::v1::Event>("paris.reservations.events", sequence,
                                                     kReservation,
                                                     R"(reservation_ended { name: "r" })", ""));
    *events.back().mutable_time() = ToTimestamp(absl::FromUnixSeconds(1798804800));
  }
  const std::string tree = CauseTree(events);
  EXPECT_LT(tree.find("events:9"), tree.find("events:10"));
}

TEST(Explain, ShowsWhatItCannotRead) {
  Events events = DeclinedReservation();
  events.resize(1);
  events[0].set_data_type("concordat.tomorrow.v1.Event");
  EXPECT_THAT(CauseTree(events), HasSubstr("ReservationDeclined  sites/paris/reservations/r-1"));
  EXPECT_THAT(EventText(events[0]), HasSubstr("unknown type concordat.tomorrow.v1.Event"));
}

TEST(Explain, ShowsNoPredicatesOfASatisfiedRule) {
  const auto judged = test::Parse<compliance::v1::ArtefactJudged>(R"(
      artefact: "artefacts/open-70b" verdict: VERDICT_CLEARED
      findings { rule: "rules/licence" version: 1 outcome: FINDING_OUTCOME_SATISFIED title: "Examined."
                 citation { instrument: "Policy" article: "Licences" } predicates { held: false } })");
  EXPECT_THAT(FindingLines(judged),
              ElementsAre("verdict cleared for artefacts/open-70b",
                          "satisfied: rules/licence version 1, Examined.", "  Policy, Licences"));
}

TEST(Explain, CallsAWarningAWarning) {
  const auto judged = test::Parse<compliance::v1::ReservationJudged>(
      R"(verdict: VERDICT_CLEARED findings { rule: "rules/r" version: 1 outcome: FINDING_OUTCOME_VIOLATED
                                             effect: EFFECT_WARN title: "Careful." })");
  EXPECT_EQ(FindingLines(judged)[1], "violated (warning): rules/r version 1, Careful.");
}

TEST(Orders, ArePendingUntilTheirAnswerHasComeBack) {
  Events events = {Record<reservations::v1::Event>(
      "paris.reservations.events", 1, "sites/paris/orders/r-1",
      R"(reservation_ordered { name: "sites/paris/orders/r-1" site: "sites/borlange" })", "",
      "alice")};
  ASSERT_EQ(PendingOrders(events).size(), 1);
  EXPECT_EQ(PendingOrders(events)[0].order, "sites/paris/orders/r-1");
  EXPECT_EQ(PendingOrders(events)[0].site, "sites/borlange");
  events.push_back(Record<reservations::v1::Event>(
      "paris.reservations.events", 2, "sites/paris/orders/r-1",
      R"(order_answered { order: "sites/paris/orders/r-1" state: ORDER_STATE_CONFIRMED })", ""));
  EXPECT_THAT(PendingOrders(events), IsEmpty());
}

TEST(History, InTextFormatIsWhatTestsTake) {
  const std::string text = EventText(DeclinedReservation()[2]);
  EXPECT_THAT(text, HasSubstr("# paris.reservations.events:1 2027-01-01T12:00:01Z by alice\n"));
  const auto event = test::Parse<reservations::v1::Event>(text);
  EXPECT_EQ(event.reservation_held().terms().count(), 2);
}

TEST(History, SaysWhatAnEventIsAboutInAFewWords) {
  EXPECT_EQ(Gist(DeclinedReservation()[2]), "customer=hsbc count=2 it_power_watts=380 kW");
  EXPECT_EQ(Gist(DeclinedReservation()[0]), "compliance hds-hosting is violated");
  EXPECT_EQ(ShortType(DeclinedReservation()[0]), "ReservationDeclined");
}

}  // namespace
}  // namespace concordat::cli
