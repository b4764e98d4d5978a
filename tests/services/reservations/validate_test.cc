#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

std::string Message(const std::string& command_text) {
  const absl::Status status = Validate(test::Parse<v1::Command>(command_text));
  EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

MATCHER_P(Names, field, "") {
  return arg.substr(0, std::string(field).size() + 1) == std::string(field) + ":";
}

std::string ReserveText(const Wish& wish) {
  return fmt::format(R"(reserve {{ site: "{}" {} }})", wish.site, TermsText(wish));
}

TEST(ReservationRequests, OfGoodFormPass) {
  EXPECT_EQ(Message(ReserveText({})), "");
  EXPECT_EQ(Message(ReserveText({.count = 10'000})), "");
  EXPECT_EQ(Message(R"(cancel_reservation { name: "sites/paris/reservations/r-1" reason: "why" })"),
            "");
  EXPECT_EQ(
      Message(
          R"(register_customer { name: "customers/sap" display_name: "SAP SE" country: "DE" sector: "SOFTWARE" })"),
      "");
  EXPECT_EQ(
      Message(
          R"(sign_contract { name: "customers/sap/contracts/c" sites: "sites/paris" max_servers_per_site: 1
    start_time { seconds: 1 } end_time { seconds: 2 } data_classes: "PUBLIC" })"),
      "");
}

TEST(ReservationRequests, OfBadFormAreRefusedByField) {
  EXPECT_THAT(Message(""), Names("command"));
  EXPECT_THAT(Message(ReserveText({.count = 0})), Names("count"));
  EXPECT_THAT(Message(ReserveText({.count = -1})), Names("count"));
  EXPECT_THAT(Message(ReserveText({.count = 10'001})), Names("count"));
  EXPECT_THAT(Message(ReserveText({.start = "2027-01-01T12:00:00Z"})), Names("end_time"))
      << "an empty span";
  EXPECT_THAT(Message(ReserveText({.site = "paris"})), Names("site"));
  EXPECT_THAT(Message(ReserveText({.site = "sites/" + std::string(200, 'a')})), Names("site"));
  EXPECT_THAT(Message(ReserveText({.contract = "customers/hsbc"})), Names("contract"));
  EXPECT_THAT(Message(ReserveText({.model = ""})), Names("model"));
  EXPECT_THAT(Message(ReserveText({.data_class = "public"})), Names("data_classes[0]"));
  EXPECT_THAT(Message(R"(cancel_reservation { name: "sites/paris/orders/r-1" reason: "why" })"),
              Names("name"));
  EXPECT_THAT(Message(R"(cancel_reservation { name: "sites/paris/reservations/r-1" })"),
              Names("reason"));
  EXPECT_THAT(
      Message(
          R"(register_customer { name: "customers/sap" display_name: "" country: "DE" sector: "X" })"),
      Names("display_name"));
}

TEST(ReservationRequests, NeedAPurposeAndClassesOfData) {
  v1::Command command = test::Parse<v1::Command>(ReserveText({}));
  command.mutable_reserve()->set_purpose(v1::PURPOSE_UNSPECIFIED);
  EXPECT_THAT(std::string(Validate(command).message()), Names("purpose"));
  command.mutable_reserve()->set_purpose(static_cast<v1::Purpose>(77));
  EXPECT_THAT(std::string(Validate(command).message()), Names("purpose"));
  command.mutable_reserve()->set_purpose(v1::PURPOSE_RENTAL);
  command.mutable_reserve()->add_data_classes("PUBLIC");
  EXPECT_THAT(std::string(Validate(command).message()), Names("data_classes[1]"))
      << "twice the same";
  command.mutable_reserve()->clear_data_classes();
  EXPECT_THAT(std::string(Validate(command).message()), Names("data_classes"));
}

TEST(ReservationRequests, NeedTermsOfContractsInFull) {
  EXPECT_THAT(
      Message(R"(sign_contract { name: "customers/sap/contracts/c" max_servers_per_site: 1 })"),
      Names("sites"));
  EXPECT_THAT(
      Message(
          R"(sign_contract { name: "customers/sap/contracts/c" sites: "sites/a" sites: "sites/a" })"),
      Names("sites[1]"));
  EXPECT_THAT(Message(R"(sign_contract { name: "customers/sap/contracts/c" sites: "sites/a" })"),
              Names("quota"));
  EXPECT_THAT(
      Message(
          R"(sign_contract { name: "customers/sap/contracts/c" sites: "sites/a" max_servers_per_site: 1
    start_time { seconds: 2 } end_time { seconds: 1 } data_classes: "X" })"),
      Names("end_time"));
}

TEST(ReservationRequests, OfReactionsNeedASubject) {
  for (const char* command :
       {"fulfil_order {}", "record_order_answer {}", "record_contract {}", "record_site {}",
        "record_envelope {}", "record_server {}", "confirm_reservation {}",
        "decline_reservation {}", "lapse_hold {}", "start_reservation {}",
        "begin_end_reservation {}", "end_reservation {}"}) {
    EXPECT_NE(Message(command), "") << command;
  }
  EXPECT_EQ(Message(R"(lapse_hold { name: "sites/paris/reservations/r" })"), "");
}

}  // namespace
}  // namespace concordat::reservations
