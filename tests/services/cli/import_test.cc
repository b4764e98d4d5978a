// Import of servers from CSV: what a line comes to, what is wrong with it, and the same file twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <set>

#include "services/cli/import.h"
#include "tests/services/cli/fake_site.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using type::v1::Outcome;

constexpr char kTitles[] =
    "name,model,planned_time,planned_rack,supplier,promised_time,order_number,serial,room,rack,"
    "position,nvlink_domain,power_feed\n";

ImportSite Paris() {
  ImportSite site{.name = "paris", .models = {}, .racks = {}, .feeds = {}};
  site.models["models/m"] =
      test::Parse<inventory::v1::Model>(R"(name: "models/m" height_units: 4)");
  site.racks["sites/paris/racks/k1"] = test::Parse<inventory::v1::Rack>(
      R"(name: "sites/paris/racks/k1" room: "r" rack: "01" height_units: 8)");
  site.feeds["sites/paris/feeds/a"] =
      test::Parse<inventory::v1::Feed>(R"(name: "sites/paris/feeds/a")");
  return site;
}

ImportPlan PlanOf(const std::string& lines) {
  const auto parsed = ParseCsv(kTitles + lines, ImportTitles());
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return PlanImport(*parsed, Paris());
}

TEST(Csv, HasQuotesAndEmptyLines) {
  const auto lines = ParseCsv(
      "\xef\xbb\xbf"
      "a,b\r\n\"x, \"\"y\"\"\nz\",1\n\n,2",
      {"a", "b"});
  ASSERT_TRUE(lines.ok()) << lines.status();
  ASSERT_THAT(*lines, SizeIs(2));
  EXPECT_EQ((*lines)[0].fields.at("a"), "x, \"y\"\nz");
  EXPECT_EQ((*lines)[0].number, 2);
  EXPECT_EQ((*lines)[1].number, 5);
  EXPECT_EQ((*lines)[1].fields.at("b"), "2");
}

TEST(Csv, SaysWhichLineIsNone) {
  const std::vector<std::string> known = {"a", "b"};
  const auto lines = ParseCsv("a,b\n1\n1,2\n", known);
  ASSERT_TRUE(lines.ok()) << lines.status();
  ASSERT_THAT(*lines, SizeIs(2));
  EXPECT_EQ((*lines)[0].wrong, "found 1 fields, expected 2");
  EXPECT_EQ((*lines)[1].wrong, "");
  EXPECT_EQ((*lines)[1].fields.at("b"), "2");
  EXPECT_EQ(std::string(ParseCsv("a,b\n1,2\n\"3,4\n", known).status().message()),
            "line 3: found a quote that does not end, expected one more");
  EXPECT_EQ(std::string(ParseCsv("a,a\n", known).status().message()),
            "line 1: found the title 'a' twice, expected it once");
  EXPECT_EQ(std::string(ParseCsv("a;b\n1;2\n", known).status().message()),
            "line 1: found the title 'a;b', expected a, b");
}

TEST(Import, ALineBecomesTheCommandsThatItHasColumnsFor) {
  const ImportPlan plan = PlanOf(
      "s1,m,2027-02-01,k1,,,,,,,,,\n"
      "s2,m,,,dell,2027-01-05,po-1,SN2,r,01,5,d1,a\n");
  EXPECT_THAT(plan.bad, IsEmpty());
  ASSERT_THAT(plan.lines, SizeIs(2));
  ASSERT_THAT(plan.lines[0].steps, SizeIs(1));
  EXPECT_THAT(
      dynamic_cast<const inventory::v1::PlanServerRequest&>(*plan.lines[0].steps[0].request),
      test::HasText(R"(name: "sites/paris/servers/s1" model: "models/m"
                planned_time { seconds: 1801440000 } rack: "sites/paris/racks/k1")"));
  ASSERT_THAT(plan.lines[1].steps, SizeIs(3));
  EXPECT_THAT(
      dynamic_cast<const inventory::v1::InstallServerRequest&>(*plan.lines[1].steps[2].request),
      test::HasText(R"(name: "sites/paris/servers/s2" room: "r" rack: "01" position: 5
        nvlink_domain: "d1" power_feed: "a")"));
}

TEST(Import, EveryBadLineSaysWhatWasFoundAndWhatIsExpected) {
  const ImportPlan plan = PlanOf(
      "s1,m,,,dell,2027-01-05,,SN1,r,01,1,,a\n"
      ",m,2027-02-01,,,,,,,,,,\n"
      "s3,x,2027-02-01,,,,,,,,,,\n"
      "s4,m,+30d,,,,,,,,,,\n"
      "s5,m,,,dell,2027-01-05,,SN1,,,,,\n"
      "s1,m,2027-02-01,,,,,,,,,,\n"
      "s7,m,,,dell,2027-01-05,,SN7,r,01,4,,a\n"
      "s8,m,,,dell,2027-01-05,,SN8,r,01,6,,a\n"
      "s9,m,,,dell,2027-01-05,,SN9,r,01,5,,b\n"
      "s10,m,,,,,,SN10,,,,,\n"
      "s11,m,,,,,,,,,,,\n"
      "s12,m,2027-02-01,k9,,,,,,,,,\n");
  EXPECT_THAT(plan.lines, SizeIs(1));
  EXPECT_THAT(
      plan.bad,
      ElementsAre(
          BadLine{3, "name: found nothing, expected a word"},
          BadLine{4, "model: found 'x', expected a model that is registered"},
          BadLine{5,
                  "planned_time: found '+30d', expected a time such as 2027-03-01 or "
                  "2027-03-01T09:00:00Z"},
          BadLine{6, "serial: found 'SN1' of line 2 again, expected another"},
          BadLine{7, "name: found 'sites/paris/servers/s1' of line 2 again, expected another"},
          BadLine{8, "position: found 'room r, rack 01, unit 4' of line 2 again, expected another"},
          BadLine{9, "position: found '6', expected a unit from 1 to 5, for the server takes 4"},
          BadLine{10, "power_feed: found 'b', expected a feed that is defined"},
          BadLine{11, "supplier: found nothing, expected one, for there is serial"},
          BadLine{12, "planned_time and supplier: found nothing, expected at least one of them"},
          BadLine{13, "planned_rack: found 'k9', expected a rack that is defined"}));
}

// What a line says of a server that is there is compared with it.
ImportSite WithServer(const std::string& server) {
  ImportSite site = Paris();
  site.servers["sites/paris/servers/s1"] = test::Parse<inventory::v1::Server>(
      R"(name: "sites/paris/servers/s1" model: "models/m" )" + server);
  return site;
}

TEST(Import, WhatAServerHasReachedIsNotAskedForAgain) {
  const auto lines = ParseCsv(
      std::string(kTitles) + "s1,m,2027-02-01,,dell,2027-01-05,,SN1,r,01,1,,a\n", ImportTitles());
  const auto steps = [&](const std::string& server) {
    const ImportPlan plan = PlanImport(*lines, WithServer(server));
    EXPECT_THAT(plan.bad, IsEmpty());
    std::vector<std::string> methods;
    for (const ImportStep& step : plan.lines.at(0).steps) methods.push_back(step.method);
    EXPECT_EQ(plan.lines[0].reached, 4 - methods.size());
    return methods;
  };
  EXPECT_THAT(steps("state: SERVER_STATE_PLANNED"),
              ElementsAre("OrderServer", "DeliverServer", "InstallServer"));
  EXPECT_THAT(steps("state: SERVER_STATE_ORDERED"), ElementsAre("DeliverServer", "InstallServer"));
  EXPECT_THAT(steps(R"(state: SERVER_STATE_DELIVERED serial: "SN1")"),
              ElementsAre("InstallServer"));
  EXPECT_THAT(
      steps(R"(state: SERVER_STATE_IN_SERVICE serial: "SN1" room: "r" rack: "01" position: 1)"),
      IsEmpty());
}

TEST(Import, AServerThatIsThereOtherwiseMakesItsLineBad) {
  const auto bad = [](const std::string& line, const std::string& server) {
    return PlanImport(*ParseCsv(kTitles + line, ImportTitles()), WithServer(server)).bad;
  };
  const std::string there =
      R"(state: SERVER_STATE_IN_SERVICE serial: "SN1" room: "r" rack: "01" position: 1)";
  EXPECT_THAT(
      bad("s1,m,,,dell,2027-01-05,,SN2,,,,,\n", there),
      ElementsAre(BadLine{2, "serial: found 'SN2', expected 'SN1', with which it was delivered"}));
  EXPECT_THAT(bad("s1,m,,,dell,2027-01-05,,SN1,r,01,2,,a\n", there),
              ElementsAre(BadLine{2,
                                  "position: found 'room r, rack 01, unit 2', expected 'room r, "
                                  "rack 01, unit 1', where it stands"}));
  EXPECT_THAT(bad("s2,m,,,dell,2027-01-05,,SN1,,,,,\n", there),
              ElementsAre(BadLine{
                  2, "serial: found 'SN1', which sites/paris/servers/s1 has, expected another"}));
  EXPECT_THAT(bad("s2,m,,,dell,2027-01-05,,SN2,r,01,4,,a\n", there),
              ElementsAre(BadLine{2,
                                  "position: found 'room r, rack 01, unit 4', which "
                                  "sites/paris/servers/s1 has, expected another"}));
  EXPECT_THAT(bad("s2,m,,,dell,2027-01-05,,SN2,r,01,4,,a\n",
                  R"(state: SERVER_STATE_RETIRED serial: "SN1" room: "r" rack: "01" position: 1)"),
              IsEmpty())
      << "a retired server has left its place";
}

TEST(Import, ALineWithTooFewFieldsKeepsNoOtherBack) {
  const ImportPlan plan = PlanOf("s1,m\ns2,m,2027-02-01,,,,,,,,,,\n");
  EXPECT_THAT(plan.lines, SizeIs(1));
  EXPECT_THAT(plan.bad, ElementsAre(BadLine{2, "found 2 fields, expected 13"}));
}

TEST(Import, TheSameLineHasTheSameIdsAndAnotherLineOthers) {
  const auto ids = [](const std::string& lines) {
    std::set<std::string> found;
    for (const ImportLine& line : PlanOf(lines).lines) {
      for (const ImportStep& step : line.steps) {
        const auto* field = step.request->GetDescriptor()->FindFieldByName("submit");
        found.insert(static_cast<const type::v1::Submit&>(
                         step.request->GetReflection()->GetMessage(*step.request, field))
                         .request_id());
      }
    }
    return found;
  };
  const std::string one = "s1,m,2027-02-01,,dell,2027-01-05,,SN1,,,,,\n";
  EXPECT_THAT(ids(one), SizeIs(3));
  EXPECT_EQ(ids(one), ids(one));
  EXPECT_EQ(ids(one + "s2,m,2027-02-01,,dell,2027-01-05,,SN2,,,,,\n").size(), 6u);
}

// A site that takes orders once each, and refuses those of `s2` while it is closed. It remembers
// both.
struct OrderingSite : FakeSite {
  OrderingSite() {
    Answer<node::v1::ListResourcesRequest, node::v1::ListResourcesResponse>(
        "/concordat.node.v1.NodeService/ListResources", [](const auto& request) {
          node::v1::ListResourcesResponse response;
          for (const auto& [name, model] : Paris().models) {
            if (request.collection() == "models") response.add_resources()->PackFrom(model);
          }
          return response;
        });
    server().AddUnary(
        "/concordat.inventory.v1.InventoryService/OrderServer",
        inventory::v1::OrderServerRequest::descriptor(),
        [this](const runtime::Call&, runtime::MessagePtr message, runtime::ReplyCallback reply) {
          const auto& request = static_cast<const inventory::v1::OrderServerRequest&>(*message);
          runtime::Reply out;
          const std::lock_guard lock(mutex);
          const std::string& id = request.submit().request_id();
          const bool refused_before = refused.contains(id);
          if (request.name().ends_with("/s2") && (closed || refused_before)) {
            if (!request.submit().validate_only()) refused.insert(id);
            out.outcome.set_repeated(refused_before);
            out.status = absl::FailedPreconditionError("refused");
            out.outcome.set_reason("REASON_BEFORE_OPENING");
            out.outcome.set_detail("promised_time is too early");
            return reply(std::move(out));
          }
          auto outcome = std::make_unique<Outcome>();
          tried += request.submit().validate_only() ? 1 : 0;
          if (!request.submit().validate_only()) outcome->set_repeated(!done.insert(id).second);
          out.message = std::move(outcome);
          reply(std::move(out));
        });
    Start();
  }
  std::mutex mutex;
  std::set<std::string> done;
  std::set<std::string> refused;
  bool closed = true;
  int tried = 0;
};

TEST(Import, OfTheSameFileTwiceDoesNothingTwice) {
  OrderingSite site;
  const std::string file =
      "name,model,supplier,promised_time\n"
      "s1,m,dell,2027-02-01\ns2,m,dell,2027-02-01\ns3,m,dell,2027-02-01\n";
  const auto import = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"--server", site.address(), "import", "servers", "-"};
    words.insert(words.end(), more.begin(), more.end());
    return Concordat(words, file);
  };
  const Ran dry = import({"--dry-run"});
  EXPECT_EQ(dry.exit, Exit::kRefused);
  EXPECT_EQ(dry.out,
            "line 3: OrderServer: REASON_BEFORE_OPENING: promised_time is too early\n"
            "3 lines: 2 good, 1 bad; 3 commands, 0 of them carried out before\n");
  EXPECT_EQ(site.tried, 2);
  EXPECT_THAT(site.done, IsEmpty());
  const auto document = nlohmann::json::parse(import({"--dry-run", "-o", "json"}).out);
  EXPECT_EQ(document, nlohmann::json::parse(R"({
      "dryRun": true, "lines": 3, "good": 2, "commands": 3, "carriedOutBefore": 0,
      "bad": [{"line": 3,
               "detail": "OrderServer: REASON_BEFORE_OPENING: promised_time is too early"}]})"));
  EXPECT_THAT(import({}).out, HasSubstr("3 lines: 2 imported, 1 bad; 3 commands, 0 of them"));
  EXPECT_THAT(import({}).out, HasSubstr("3 commands, 2 of them carried out before"));
  EXPECT_THAT(site.done, SizeIs(2));
  // What was in the way is gone, though the answer to that very command is remembered.
  site.closed = false;
  EXPECT_THAT(import({"--dry-run"}).out, HasSubstr("3 lines: 3 good, 0 bad"));
  EXPECT_THAT(import({}).out, HasSubstr("3 lines: 3 imported, 0 bad; 3 commands, 2 of them"));
  EXPECT_THAT(site.done, SizeIs(3));
}

TEST(Import, OfAFileThatIsNotThereSaysWhatItWouldHold) {
  OrderingSite site;
  const Ran ran = Concordat({"--server", site.address(), "import", "servers", "/no/such/file.csv"});
  EXPECT_EQ(ran.exit, Exit::kNotFound);
  EXPECT_THAT(ran.err, HasSubstr("expected a CSV file with the titles name,model,"));
  EXPECT_EQ(Concordat({"--server", site.address(), "import", "servers", "/tmp"}).exit,
            Exit::kNotFound)
      << "a folder";
}

TEST(Import, OfNothingIsSaid) {
  OrderingSite site;
  for (const char* file : {"", "name,model\n"}) {
    const Ran ran = Concordat({"--server", site.address(), "import", "servers", "-"}, file);
    EXPECT_EQ(ran.exit, Exit::kUsage);
    EXPECT_THAT(ran.err, HasSubstr("found no server in '-'"));
  }
}

// What a person who looks at the terminal sees while the lines are sent.
TEST(Import, DrawsABarWhereSomebodyLooks) {
  OrderingSite site;
  const auto import = [&](bool terminal, std::vector<std::string> more) {
    std::istringstream in(
        "name,model,supplier,promised_time\ns1,m,dell,2027-02-01\n"
        "s3,m,dell,2027-02-01\ns4,m,dell,2027-02-01\n");
    std::ostringstream out, err;
    std::vector<std::string> words = {"--server", site.address(), "import", "servers", "-"};
    words.insert(words.end(), more.begin(), more.end());
    const Exit exit = cli::Run(
        words, Console{.in = in, .out = out, .err = err, .colour = false, .terminal = terminal});
    return Ran{exit, out.str(), err.str()};
  };
  const Ran seen = import(true, {});
  EXPECT_EQ(seen.exit, Exit::kOk) << seen.err;
  const std::string whole = "\r[" + std::string(40, '=') + "] 3/3 lines\n";
  EXPECT_THAT(seen.err, ::testing::EndsWith(whole)) << "it ends as a line of its own";
  // Each time the same line again, the bar never longer than the lines that are done, and never
  // shorter than before.
  size_t before = 0;
  for (size_t at = 0; at < seen.err.size();) {
    ASSERT_EQ(seen.err.substr(at, 2), "\r[") << seen.err;
    const std::string bar = seen.err.substr(at + 2, 40);
    const size_t drawn = bar.find_first_not_of('=') == std::string::npos ? 40 : bar.find(' ');
    EXPECT_EQ(bar, std::string(drawn, '=') + std::string(40 - drawn, ' '));
    const int done = std::stoi(seen.err.substr(at + 44));
    EXPECT_EQ(drawn, static_cast<size_t>(done) * 40 / 3);
    EXPECT_GE(drawn, before);
    before = drawn;
    at = std::min(seen.err.find('\r', at + 1), seen.err.find('\n', at + 1) + 1);
  }
  EXPECT_THAT(seen.out, HasSubstr("3 lines: 3 imported, 0 bad"));
  EXPECT_EQ(import(true, {"--quiet"}).err, "") << "who wants no words gets no bar";
  EXPECT_EQ(import(false, {}).err, "") << "nor does a file or another program";
  EXPECT_EQ(import(false, {}).out.find('\r'), std::string::npos);
}

}  // namespace
}  // namespace concordat::cli
