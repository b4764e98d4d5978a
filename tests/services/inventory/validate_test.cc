#include <string>

#include "services/inventory/service.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

std::string Message(const std::string& command_text) {
  const absl::Status status = Validate(test::Parse<v1::Command>(command_text));
  EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

MATCHER_P(Names, field, "") {
  return arg.substr(0, std::string(field).size() + 1) == std::string(field) + ":";
}

TEST(InventoryRequests, OfGoodFormPass) {
  EXPECT_EQ(
      Message(
          R"(open_site { name: "sites/paris" country: "FR" time_zone: "Europe/Paris" certifications: "HDS" })"),
      "");
  EXPECT_EQ(Message(R"(set_envelope { site: "sites/paris" effective_from { seconds: 0 }
                         it_power_watts: 0 cooling_watts: 0 })"),
            "");
  EXPECT_EQ(
      Message(
          R"(register_model { name: "models/m" vendor: "Nvidia" accelerators: 1 it_power_watts: 1 cooling_watts: 1
    criteria { figure: "x" minimum: -5 maximum: -5 unit: "u" } })"),
      "");
  EXPECT_EQ(
      Message(
          R"(order_server { name: "sites/paris/servers/a" model: "models/m" supplier: "Dell" promised_time {
              seconds: 1 } })"),
      "");
  EXPECT_EQ(Message(R"(deliver_server { name: "sites/paris/servers/a" serial: "SN 1/2" })"), "");
  EXPECT_EQ(
      Message(
          R"(install_server { name: "sites/paris/servers/a" room: "r" rack: "a" position: 60 })"),
      "");
  EXPECT_EQ(
      Message(
          R"(test_server { name: "sites/paris/servers/a" figures { name: "x" value: -1 unit: "u" } })"),
      "");
  EXPECT_EQ(Message(R"(enter_service { name: "sites/paris/servers/a" })"), "");
  EXPECT_EQ(Message(R"(cordon_server { name: "sites/paris/servers/a" reason: "why" })"), "");
  EXPECT_EQ(Message(R"(uncordon_server { name: "sites/paris/servers/a" })"), "");
  EXPECT_EQ(Message(R"(leave_service { name: "sites/paris/servers/a" reason: "why" })"), "");
}

TEST(InventoryRequests, OfBadFormAreRefusedByField) {
  EXPECT_THAT(Message(""), Names("command"));
  EXPECT_THAT(Message(R"(open_site { name: "paris" country: "FR" time_zone: "x" })"),
              Names("name"));
  EXPECT_THAT(Message(R"(open_site { name: "sites/paris" country: "France" time_zone: "x" })"),
              Names("country"));
  EXPECT_THAT(Message(R"(open_site { name: "sites/paris" country: "FR" })"), Names("time_zone"));
  EXPECT_THAT(
      Message(
          R"(open_site { name: "sites/paris" country: "FR" time_zone: "x" certifications: "HDS" certifications: "" })"),
      Names("certifications[1]"));
  EXPECT_THAT(Message(R"(set_envelope { site: "sites/paris" })"), Names("effective_from"));
  EXPECT_EQ(Message(R"(set_envelope { site: "sites/paris" effective_from { seconds: 0 }
                         it_power_watts: 1 })"),
            "cooling_watts: found nothing, expected a number of watts, 0 or more");
  EXPECT_THAT(Message(R"(set_envelope { site: "sites/paris" effective_from { seconds: 0 }
                           cooling_watts: 1 })"),
              Names("it_power_watts"));
  EXPECT_THAT(
      Message(R"(set_feed_envelope { name: "sites/paris/feeds/a" effective_from { seconds: 0 } })"),
      Names("it_power_watts"));
  EXPECT_THAT(
      Message(R"(set_envelope { site: "sites/paris" effective_from {} it_power_watts: -1 })"),
      Names("it_power_watts"));
  EXPECT_THAT(Message(
                  R"(set_envelope { site: "sites/paris" effective_from {}
          it_power_watts: 1 cooling_watts: 2000000000000 })"),
              Names("cooling_watts"));
  EXPECT_THAT(
      Message(
          R"(order_server { name: "sites/paris/servers/a" model: "m" supplier: "x" promised_time {} })"),
      Names("model"));
  EXPECT_THAT(Message(R"(deliver_server { name: "sites/paris/servers/a" })"), Names("serial"));
  EXPECT_THAT(Message(R"(install_server { name: "sites/paris/servers/a" room: "r" rack: "a" })"),
              Names("position"));
  EXPECT_THAT(
      Message(
          R"(install_server { name: "sites/paris/servers/a" room: "r" rack: "a" position: 61 })"),
      Names("position"));
  const std::string installed =
      R"(install_server { name: "sites/paris/servers/a" room: "r" rack: "a" position: 1 )";
  EXPECT_EQ(Message(installed + R"(nvlink_domain: "d" power_feed: "f" })"), "");
  EXPECT_THAT(Message(installed + "nvlink_domain: \"" + std::string(101, 'a') + "\" }"),
              Names("nvlink_domain"));
  EXPECT_THAT(Message(installed + R"(power_feed: "a\nb" })"), Names("power_feed"));
  EXPECT_THAT(Message(R"(cordon_server { name: "sites/paris/servers/a" })"), Names("reason"));
  EXPECT_THAT(Message(R"(leave_service { name: "sites/paris/servers/a" })"), Names("reason"));
  EXPECT_THAT(
      Message("enter_service { name: \"sites/paris/servers/" + std::string(64, 'a') + "\" }"),
      Names("name"));
}

TEST(InventoryRequests, NeedCriteriaThatCanBeMet) {
  const std::string head =
      R"(register_model { name: "models/m" vendor: "v" accelerators: 1 it_power_watts: 1 cooling_watts: 1 )";
  EXPECT_THAT(Message(head + "}"), Names("criteria"));
  EXPECT_THAT(Message(head + R"(criteria { figure: "x" minimum: 2 maximum: 1 unit: "u" } })"),
              Names("criteria[0].maximum"));
  EXPECT_THAT(Message(head + R"(criteria { figure: "x" unit: "" } })"), Names("criteria[0].unit"));
  EXPECT_THAT(
      Message(head + R"(criteria { figure: "x" unit: "u" } criteria { figure: "x" unit: "u" } })"),
      Names("criteria[1].figure"));
  EXPECT_THAT(
      Message(
          R"(register_model { name: "models/m" vendor: "v" accelerators: 0 it_power_watts: 1 cooling_watts: 1 })"),
      Names("accelerators"));
  EXPECT_THAT(
      Message(
          R"(register_model { name: "models/m" vendor: "v" accelerators: 1 cooling_watts: 1 })"),
      Names("it_power_watts"));
}

TEST(InventoryRequests, NeedEachFigureOnce) {
  EXPECT_THAT(Message(R"(test_server { name: "sites/paris/servers/a" })"), Names("figures"));
  EXPECT_THAT(
      Message(
          R"(test_server { name: "sites/paris/servers/a" figures { name: "x" unit: "u" } figures { name: "x"
              unit: "u" } })"),
      Names("figures[1].name"));
}

}  // namespace
}  // namespace concordat::inventory
