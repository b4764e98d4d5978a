#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;

TEST(Orders, AreWrittenForAnotherSite) {
  Paris paris;
  const v1::Event ordered = paris.Reserve({.site = "sites/borlange"});
  const std::string name = ordered.reservation_ordered().name();
  const std::string id = name.substr(std::string("sites/paris/orders/").size());
  EXPECT_THAT(ordered,
              EqualsText(fmt::format(
                  R"(reservation_ordered {{ name: "sites/paris/orders/{}" site: "sites/borlange"
    reservation: "sites/borlange/reservations/{}" terms {{ customer: "customers/hsbc" {} }} }})",
                  id, id, TermsText({}))));
  EXPECT_THAT(*paris.state().rows.orders.Get(name),
              HasText(R"(state: ORDER_STATE_PENDING site: "sites/borlange")"));
}

TEST(Orders, NeedAContractThatCoversTheOtherSite) {
  Paris paris;
  EXPECT_THAT(paris.Reserve({.site = "sites/lyon"}), HasText(RefusalFor(v1::REASON_CONTRACT)));
  EXPECT_THAT(paris.Reserve({.site = "sites/borlange", .contract = "customers/x/contracts/y"}),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(paris.Reserve({.start = "2027-01-01T08:00:00Z", .site = "sites/borlange"}),
              HasText(RefusalFor(v1::REASON_TIME)));
  EXPECT_THAT(paris.Reserve({.count = 11, .site = "sites/borlange"}),
              HasText(RefusalFor(v1::REASON_CONTRACT)));
}

std::string FulfilText(const Wish& wish, const std::string& id = "r-1") {
  return fmt::format(
      R"(fulfil_order {{ order {{ name: "sites/borlange/orders/{}" site: "sites/paris"
                        reservation: "sites/paris/reservations/{}" terms {{ customer: "customers/hsbc" {} }} }} }})",
      id, id, TermsText(wish));
}

TEST(Orders, AreFulfilledUnderTheNameTheyGive) {
  Paris paris;
  EXPECT_THAT(
      paris.When(FulfilText({}), "f-1"),
      HasText(
          R"(reservation_held { name: "sites/paris/reservations/r-1" order: "sites/borlange/orders/r-1"
                         servers: "sites/paris/servers/s1" site_country: "FR" customer_country: "GB" })"));
  EXPECT_THAT(
      paris.About("confirm_reservation", "sites/paris/reservations/r-1"),
      EqualsText(
          R"(reservation_confirmed { name: "sites/paris/reservations/r-1" order: "sites/borlange/orders/r-1" })"));
}

TEST(Orders, AreAnsweredOnceHoweverOftenTheyArrive) {
  Paris paris;
  EXPECT_TRUE(paris.When(FulfilText({}), "f-1").has_reservation_held());
  const std::string before = Dump(paris.journal());
  EXPECT_THAT(paris.When(FulfilText({}), "f-2"), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_EQ(Dump(paris.journal()), before);
  EXPECT_TRUE(paris.When(FulfilText({.count = 9}, "r-2"), "f-3").has_order_declined());
  for (const char* server : {"s5", "s6", "s7", "s8", "s9", "t1"}) paris.Server(server);
  EXPECT_THAT(paris.When(FulfilText({.count = 9}, "r-2"), "f-4"),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)))
      << "what was declined is not held later";
}

TEST(Orders, AreDeclinedWhereAReservationWouldBeRefused) {
  Paris paris;
  const auto declined = [](v1::Reason reason, const std::string& id) {
    return fmt::format(R"(order_declined {{ order: "sites/borlange/orders/{}" reason: {} }})", id,
                       v1::Reason_Name(reason));
  };
  EXPECT_THAT(paris.When(FulfilText({.count = 5}, "a"), "1"),
              HasText(declined(v1::REASON_NO_CAPACITY, "a")));
  EXPECT_THAT(paris.When(FulfilText({.count = 0}, "b"), "2"),
              HasText(declined(v1::REASON_CONTRACT, "b")));
  EXPECT_THAT(paris.When(FulfilText({.start = "2027-01-01T01:00:00Z"}, "c"), "3"),
              HasText(declined(v1::REASON_TIME, "c")));
  EXPECT_THAT(paris.When(FulfilText({.contract = "customers/x/contracts/y"}, "d"), "4"),
              HasText(declined(v1::REASON_NOT_FOUND, "d")));
  EXPECT_THAT(paris.When(FulfilText({.end = "2027-01-01T09:30:00Z"}, "e"), "5"),
              HasText(declined(v1::REASON_TIME, "e")));
  const std::string taken = paris.Reserve({}).reservation_held().name();
  EXPECT_THAT(
      paris.When(fmt::format(
                     R"(fulfil_order {{ order {{ name: "sites/borlange/orders/f" site: "sites/paris"
                reservation: "{}" terms {{ {} }} }} }})",
                     taken, TermsText({})),
                 "6"),
      HasText(declined(v1::REASON_ALREADY_EXISTS, "f")));
  EXPECT_THAT(
      paris.When(fmt::format(
                     R"(fulfil_order {{ order {{ name: "sites/borlange/orders/g" site: "sites/paris"
                reservation: "sites/lyon/reservations/g" terms {{ {} }} }} }})",
                     TermsText({})),
                 "7"),
      HasText(declined(v1::REASON_NOT_HOME, "g")));
}

TEST(Orders, ForOthersAreNotDecidedHere) {
  Paris paris;
  for (const char* order : {R"(name: "sites/borlange/orders/a" site: "sites/lyon")",
                            R"(name: "sites/paris/orders/a" site: "sites/paris")",
                            R"(name: "nonsense" site: "sites/paris")", ""}) {
    EXPECT_THAT(paris.When(fmt::format("fulfil_order {{ order {{ {} }} }}", order)),
                HasText(RefusalFor(v1::REASON_NOT_HOME)))
        << order;
  }
}

std::string AnswerText(const std::string& order, const char* state,
                       const char* site = "sites/borlange") {
  return fmt::format(
      R"(record_order_answer {{ site: "{}" answer {{ order: "{}" state: {} reason: REASON_NO_CAPACITY detail:
          "full" }} }})",
      site, order, state);
}

TEST(Orders, TakeTheAnswersOfTheSiteThatWasAsked) {
  Paris paris;
  const std::string order = paris.Reserve({.site = "sites/borlange"}).reservation_ordered().name();
  EXPECT_THAT(paris.When(AnswerText(order, "ORDER_STATE_CONFIRMED", "sites/lyon")),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.When(AnswerText("sites/paris/orders/none", "ORDER_STATE_CONFIRMED")),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(paris.When(AnswerText(order, "ORDER_STATE_PENDING")),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_TRUE(paris.When(AnswerText(order, "ORDER_STATE_CONFIRMED")).has_order_answered());
  EXPECT_THAT(paris.When(AnswerText(order, "ORDER_STATE_CONFIRMED")),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  EXPECT_TRUE(paris.When(AnswerText(order, "ORDER_STATE_CANCELLED")).has_order_answered());
  for (const char* state :
       {"ORDER_STATE_CONFIRMED", "ORDER_STATE_DECLINED", "ORDER_STATE_CANCELLED"}) {
    EXPECT_THAT(paris.When(AnswerText(order, state)), HasText(RefusalFor(v1::REASON_WRONG_STATE)))
        << state;
  }
  EXPECT_THAT(*paris.state().rows.orders.Get(order),
              HasText(R"(state: ORDER_STATE_CANCELLED detail: "full")"));
}

TEST(Contracts, NeedACustomerAndCarryItsCountryAndSector) {
  test::Scenario<Service> scenario;
  scenario.At("2027-01-01T09:00:00Z");
  const std::string sign =
      fmt::format(R"(sign_contract {{ name: "customers/sap/contracts/c" sites: "sites/paris"
    max_servers_per_site: 3 start_time {{ {} }} end_time {{ {} }} data_classes: "PUBLIC" }})",
                  Seconds("2026-01-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z"));
  EXPECT_THAT(scenario.When(sign), HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  const char* customer =
      R"(register_customer { name: "customers/sap" display_name: "SAP" country: "DE" sector: "SOFTWARE" })";
  EXPECT_THAT(scenario.When(customer), EqualsText(R"(customer_registered {
    name: "customers/sap" display_name: "SAP" country: "DE" sector: "SOFTWARE" })"));
  EXPECT_THAT(scenario.When(customer), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(
      scenario.When(sign),
      HasText(R"(contract_signed { name: "customers/sap/contracts/c" customer: "customers/sap"
    country: "DE" sector: "SOFTWARE" sites: "sites/paris" max_servers_per_site: 3 data_classes: "PUBLIC" })"));
  EXPECT_EQ(scenario.state().rows.contracts.Get("customers/sap/contracts/c")->home_site(),
            "sites/paris");
  EXPECT_THAT(scenario.When(sign), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  scenario.At("2028-01-01T00:00:00Z").Given(R"(customer_registered { name: "customers/hsbc" })");
  EXPECT_THAT(scenario.When(fmt::format(
                  R"(sign_contract {{ name: "customers/hsbc/contracts/c" end_time {{ {} }} }})",
                  Seconds("2028-01-01T00:00:00Z"))),
              HasText(RefusalFor(v1::REASON_TIME)));
}

TEST(Contracts, OfOtherSitesAreKnownOnceAndNeverReplaceAnother) {
  test::Scenario<Service> scenario;
  const auto record = [](const char* home) {
    return fmt::format(R"(record_contract {{ home_site: "{}" contract {{ {} }} }})", home,
                       ContractText("sites/paris", 3));
  };
  EXPECT_THAT(scenario.When(record("sites/paris")), HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(scenario.When(record("sites/borlange")),
              HasText(R"(contract_recorded { home_site: "sites/borlange" })"));
  EXPECT_EQ(scenario.state().rows.contracts.Get("customers/hsbc/contracts/frame")->home_site(),
            "sites/borlange");
  EXPECT_THAT(scenario.When(record("sites/borlange")),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(scenario.When(record("sites/lyon")), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
}

TEST(Records, KeepWhatIsKnownOfAServerWhereTheCommandSaysNothing) {
  Paris paris;
  EXPECT_THAT(
      paris.When(R"(record_server { server { name: "sites/paris/servers/s1" bookable: false } })"),
      EqualsText(
          R"(server_recorded { name: "sites/paris/servers/s1" model: "models/m" it_power_watts: 100
              cooling_watts: 90 })"));
  EXPECT_THAT(
      paris.When(R"(record_server { server { name: "sites/paris/servers/new" bookable: false } })"),
      HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(
      paris.When(R"(record_server { server { name: "sites/lyon/servers/s1" model: "models/m" } })"),
      HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.When(R"(record_site { site { name: "sites/lyon" } })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.When(R"(record_envelope { envelope { site: "sites/lyon" } })"),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
}

}  // namespace
}  // namespace concordat::reservations
