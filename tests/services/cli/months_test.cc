// Plan against actual, month by month, and how long servers stay in a state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/months.h"
#include "tests/services/cli/fake_site.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using inventory::v1::Model;
using inventory::v1::Server;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::string Seconds(const std::string& day) {
  return fmt::format("{{ seconds: {} }}", absl::ToUnixSeconds(test::Time(day + "T00:00:00Z")));
}

std::vector<Model> Models() {
  return {test::Parse<Model>(
      R"(name: "models/m" accelerators: 8 it_power_watts: 1000000 cooling_watts: 1)")};
}

// On time in January; late for February by customs, and there in March; planned for April.
std::vector<Server> Servers() {
  const auto server = [](const std::string& text) {
    return test::Parse<Server>(R"(model: "models/m" state: SERVER_STATE_IN_SERVICE )" + text);
  };
  return {
      server(fmt::format(
          R"(name: "sites/paris/servers/a" planned_time {} room: "r" rack: "1"
             planned_rack: "sites/paris/racks/k1" service {{ start_time {} }})",
          Seconds("2027-01-20"), Seconds("2027-01-18"))),
      server(fmt::format(
          R"(name: "sites/paris/servers/b" first_promised_time {} room: "r" rack: "1"
             slip_list {{ cause: SLIP_CAUSE_SUPPLIER recorded_time {} }}
             slip_list {{ cause: SLIP_CAUSE_CUSTOMS recorded_time {} }}
             service {{ start_time {} end_time {} }} service {{ start_time {} }})",
          Seconds("2027-02-10"), Seconds("2027-02-01"), Seconds("2027-02-05"),
          Seconds("2027-03-05"), Seconds("2027-03-06"), Seconds("2027-03-07"))),
      server(fmt::format(
          R"(name: "sites/paris/servers/c" planned_time {} planned_rack: "sites/paris/racks/k2")",
          Seconds("2027-04-10"))),
  };
}

TEST(Months, PlanAndActualAddUpUntilNow) {
  const auto months = MonthsOf(Servers(), Models(), test::Time("2027-03-06T12:00:00Z"));
  ASSERT_EQ(months.size(), 4u);
  const Capacity one{.servers = 1, .it_power_watts = 1000000, .racks = 1, .accelerators = 8};
  const Capacity two{.servers = 2, .it_power_watts = 2000000, .racks = 1, .accelerators = 16};
  const Capacity three{.servers = 3, .it_power_watts = 3000000, .racks = 2, .accelerators = 24};
  EXPECT_EQ(months[0], (Month{"2027-01", one, one, 0, {}}));
  EXPECT_EQ(months[1], (Month{"2027-02", two, one, 1, {{"customs", 1}}}));
  // On the sixth b was out of service for a day: it is not late, it was there.
  EXPECT_EQ(months[2], (Month{"2027-03", two, one, 0, {}}));
  EXPECT_EQ(months[3], (Month{"2027-04", three, std::nullopt, 0, {}}));
  EXPECT_EQ(MonthsOf(Servers(), Models(), test::Time("2027-03-08T00:00:00Z"))[2].actual, two);
}

TEST(Months, OfASiteWithoutPlansAreNone) {
  EXPECT_TRUE(MonthsOf({}, Models(), test::Time("2027-03-06T12:00:00Z")).empty());
}

TEST(Months, WhatIsLateWithoutASlipIsSaidToBeSo) {
  const auto months = MonthsOf(Servers(), Models(), test::Time("2027-05-01T00:00:00Z"));
  EXPECT_THAT(months.back().causes, ElementsAre(Pair("none recorded", 1)));
}

TEST(Stages, SayWhoStaysTooLong) {
  const auto site = test::Parse<inventory::v1::Site>(
      R"(stage_limits { state: SERVER_STATE_DELIVERED most { seconds: 86400 } })");
  const auto server = [](const std::string& id, const std::string& since) {
    return test::Parse<Server>(fmt::format(
        R"(name: "sites/paris/servers/{}" state: SERVER_STATE_DELIVERED state_time {}
           stages {{ state: SERVER_STATE_ORDERED seconds: {} }})",
        id, Seconds(since), id == "a" ? 100 : 300));
  };
  const auto stages = StagesOf(site, {server("a", "2027-01-01"), server("b", "2027-01-03")},
                               test::Time("2027-01-03T12:00:00Z"));
  ASSERT_EQ(stages.size(), 2u);
  EXPECT_EQ(stages[0].state, "ordered");
  EXPECT_EQ(stages[0].average, absl::Seconds(200));
  EXPECT_EQ(stages[1].state, "delivered");
  EXPECT_EQ(stages[1].servers, 2);
  EXPECT_EQ(stages[1].over, 1);
  EXPECT_EQ(stages[1].oldest, "a");
  EXPECT_EQ(stages[1].longest, absl::Hours(60));
}

// A site that has these servers and models.
void Serve(FakeSite& site) {
  site.Answer<node::v1::ListResourcesRequest, node::v1::ListResourcesResponse>(
      "/concordat.node.v1.NodeService/ListResources", [](const auto& request) {
        node::v1::ListResourcesResponse response;
        for (const Server& server : Servers()) {
          if (request.collection() == "servers") response.add_resources()->PackFrom(server);
        }
        for (const Model& model : Models()) {
          if (request.collection() == "models") response.add_resources()->PackFrom(model);
        }
        return response;
      });
  // 2027-03-01T12:00:00Z
  site.status.mutable_now()->set_seconds(1803902400);
  site.Start();
}

TEST(Months, AreATableAndADocument) {
  FakeSite site;
  Serve(site);
  const Ran table = Concordat({"--server", site.address(), "get", "months"});
  ASSERT_EQ(table.exit, Exit::kOk) << table.err;
  EXPECT_THAT(table.out, HasSubstr("2027-02  1        2        1 MW   2 MW     1      1        8"));
  const Ran json = Concordat({"--server", site.address(), "get", "months", "-o", "json"});
  EXPECT_THAT(json.out, HasSubstr(R"("month": "2027-02")"));
  EXPECT_THAT(json.out, HasSubstr(R"("customs": 1)"));
  const Ran yaml = Concordat({"--server", site.address(), "get", "months", "-o", "yaml"});
  EXPECT_THAT(yaml.out, HasSubstr("month: 2027-02"));
}

// A site whose limit of three days on what is delivered one server has passed.
TEST(Stages, AreATableAndADocument) {
  using node::v1::GetResourceRequest;
  using node::v1::GetResourceResponse;
  using node::v1::ListResourcesRequest;
  using node::v1::ListResourcesResponse;
  FakeSite site;
  site.Answer<GetResourceRequest, GetResourceResponse>(
      "/concordat.node.v1.NodeService/GetResource", [](const auto&) {
        GetResourceResponse response;
        response.mutable_resource()->PackFrom(test::Parse<inventory::v1::Site>(
            R"(name: "sites/paris"
               stage_limits { state: SERVER_STATE_DELIVERED most { seconds: 259200 } })"));
        return response;
      });
  site.Answer<ListResourcesRequest, ListResourcesResponse>(
      "/concordat.node.v1.NodeService/ListResources", [](const auto&) {
        ListResourcesResponse response;
        for (const auto& [id, day] : {std::pair("a", "2026-12-22"), std::pair("b", "2026-12-31")}) {
          response.add_resources()->PackFrom(test::Parse<Server>(fmt::format(
              R"(name: "sites/paris/servers/{}" state: SERVER_STATE_DELIVERED state_time {})", id,
              Seconds(day))));
        }
        return response;
      });
  site.Start();
  const Ran table = Concordat({"--server", site.address(), "get", "stages"});
  ASSERT_EQ(table.exit, Exit::kOk) << table.err;
  EXPECT_THAT(table.out, HasSubstr("STATE"));
  EXPECT_THAT(table.out, ::testing::ContainsRegex("delivered +2 +3.0 d +1 +10.5 d +a"));
  const Ran json = Concordat({"--server", site.address(), "get", "stages", "-o", "json"});
  EXPECT_EQ(json.exit, Exit::kOk) << json.err;
  EXPECT_THAT(json.out, HasSubstr(R"("state": "delivered")"));
  EXPECT_THAT(json.out, HasSubstr(R"("over": 1)"));
}

}  // namespace
}  // namespace concordat::cli
