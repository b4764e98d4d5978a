// Every state with every command: what README.md's table says, and nothing else.
#include <fmt/format.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "services/inventory/service.h"
#include "tests/support/scenario.h"
#include "tests/support/source_dir.h"

namespace concordat::inventory {
namespace {

constexpr char kName[] = "sites/paris/servers/a";

// What a row of the table calls a command → the command, in text.
const std::map<std::string, std::string>& Commands() {
  static const auto& commands = *new std::map<std::string, std::string>{
      {"`PlanServer`",
       R"(plan_server { name: "$" model: "models/m" planned_time { seconds: 1800000000 } })"},
      {"`OrderServer`",
       R"(order_server { name: "$" model: "models/m" supplier: "s" promised_time { seconds: 1800000000 } })"},
      {"`SlipDelivery`",
       R"(slip_delivery { name: "$" promised_time { seconds: 1800000001 } cause: SLIP_CAUSE_CUSTOMS })"},
      {"`DeliverServer`", R"(deliver_server { name: "$" serial: "SN1" })"},
      {"`InstallServer`", R"(install_server { name: "$" room: "r" rack: "a" position: 1 })"},
      {"`StartTest`", R"(start_test { name: "$" })"},
      {"`TestServer`, passed",
       R"(test_server { name: "$" figures { name: "x" value: 1 unit: "u" } })"},
      {"`TestServer`, failed",
       R"(test_server { name: "$" figures { name: "x" value: 9 unit: "u" } })"},
      {"`EnterService`", R"(enter_service { name: "$" })"},
      {"`LeaveService`", R"(leave_service { name: "$" reason: "w" })"},
      {"`QuarantineServer`", R"(quarantine_server { name: "$" reason: "w" })"},
      {"`RepairServer`", R"(repair_server { name: "$" detail: "w" })"},
      {"`ReplacePart`",
       R"(replace_part { name: "$" slot: "gpu-1" part: "sites/paris/parts/p" kind: "gpu" serial: "G1" reason: "w" })"},
      {"`ChangeFirmware`", R"(change_firmware { name: "$" component: "bmc" version: "2" })"},
      {"`RetireServer`", R"(retire_server { name: "$" reason: "w" })"},
      {"`SanitiseServer`", R"(sanitise_server { name: "$" method: SANITISATION_METHOD_ERASED })"},
      {"`RemoveServer`", R"(remove_server { name: "$" })"}};
  return commands;
}

std::string TextOf(const std::string& command) {
  std::string text = Commands().at(command);
  text.replace(text.find('$'), 1, kName);
  return text;
}

// The commands that lead to a state from nothing.
const std::map<std::string, std::vector<std::string>>& Ways() {
  static const auto& ways = *new std::map<std::string, std::vector<std::string>>([] {
    std::map<std::string, std::vector<std::string>> all;
    all["unknown"] = {};
    all["PLANNED"] = {"`PlanServer`"};
    all["ORDERED"] = {"`OrderServer`"};
    const auto from = [&](const char* state, const char* before, const char* command) {
      all[state] = all.at(before);
      all[state].push_back(command);
    };
    from("DELIVERED", "ORDERED", "`DeliverServer`");
    from("INSTALLED", "DELIVERED", "`InstallServer`");
    from("UNDER_TEST", "INSTALLED", "`StartTest`");
    from("TEST_FAILED", "INSTALLED", "`TestServer`, failed");
    from("QUALIFIED", "INSTALLED", "`TestServer`, passed");
    from("IN_SERVICE", "QUALIFIED", "`EnterService`");
    from("OUT_OF_SERVICE", "IN_SERVICE", "`LeaveService`");
    from("QUARANTINED", "INSTALLED", "`QuarantineServer`");
    from("REPAIRED", "QUARANTINED", "`RepairServer`");
    from("RETIRING", "OUT_OF_SERVICE", "`RetireServer`");
    from("SANITISED", "RETIRING", "`SanitiseServer`");
    from("RETIRED", "SANITISED", "`RemoveServer`");
    return all;
  }());
  return ways;
}

struct Paris : test::Scenario<Service> {
  Paris() {
    At("2026-11-23T12:00:00Z")
        .Given(R"(site_opened { name: "sites/paris" country: "FR" time_zone: "Europe/Paris" })")
        .Given(R"(model_registered { name: "models/m" plan: "plans/m" accelerators: 1
                    criteria { figure: "x" minimum: 1 maximum: 2 unit: "u" } })");
  }
  std::string StateName() {
    const auto server = state().rows.servers.Get(kName);
    if (!server) return "unknown";
    return v1::ServerState_Name(server->state()).substr(sizeof("SERVER_STATE_") - 1);
  }
};

// (state, command) → state, as the table has it.
std::map<std::pair<std::string, std::string>, std::string> TableOfReadme() {
  std::map<std::pair<std::string, std::string>, std::string> table;
  std::ifstream file(SOURCE_DIR "/services/inventory/README.md");
  std::string line;
  while (std::getline(file, line)) {
    std::vector<std::string> cells;
    std::stringstream rest(line);
    for (std::string cell; std::getline(rest, cell, '|');) {
      const size_t begin = cell.find_first_not_of(' ');
      const size_t end = cell.find_last_not_of(' ');
      cells.push_back(begin == cell.npos ? "" : cell.substr(begin, end - begin + 1));
    }
    if (cells.size() != 4 || !Ways().contains(cells[1]) || cells[2] == "nothing") continue;
    std::stringstream commands(cells[2]);
    for (std::string command; std::getline(commands, command, ';');)
      table[{cells[1], command.substr(command.find('`'))}] = cells[3];
  }
  return table;
}

TEST(ServerStates, ChangeAsTheReadmeSaysEachStateWithEachCommand) {
  const auto table = TableOfReadme();
  ASSERT_EQ(table.size(), 63);
  ASSERT_EQ(Ways().size(), StatesInOrder().size());
  int walked = 0;
  for (const auto& [state, way] : Ways()) {
    for (const auto& [command, text] : Commands()) {
      Paris paris;
      for (const std::string& step : way) paris.When(TextOf(step));
      ASSERT_EQ(paris.StateName(), state);
      // In service a burn-in is only for who has a stale one: see the next test.
      const bool in_service = state == "IN_SERVICE" && command.find("TestServer") == 1;
      const v1::Event event = paris.When(TextOf(command));
      const auto expected = table.find({state, command});
      const bool allowed = expected != table.end() && !in_service;
      EXPECT_EQ(!event.has_command_refused(), allowed)
          << state << " " << command << " " << event.ShortDebugString();
      EXPECT_EQ(paris.StateName(), allowed ? expected->second : state) << state << " " << command;
      ++walked;
    }
  }
  EXPECT_EQ(walked, 15 * 17);
}

TEST(ServerStates, InServiceAStaleServerIsTestedWhereItStands) {
  for (const bool passes : {true, false}) {
    Paris paris;
    for (const std::string& step : Ways().at("IN_SERVICE")) paris.When(TextOf(step));
    paris.Given(R"(tenancy_ended { servers: "sites/paris/servers/a" })");
    const v1::Event event =
        paris.When(TextOf(passes ? "`TestServer`, passed" : "`TestServer`, failed"));
    EXPECT_EQ(event.has_burn_in_passed(), passes);
    EXPECT_EQ(paris.StateName(), passes ? "IN_SERVICE" : "TEST_FAILED");
  }
}

TEST(ServerStates, AreTheSameInTheReadmeAndInTheCode) {
  size_t steps = 0;
  for (int step = 0; step <= static_cast<int>(Step::kRemove); ++step)
    steps += StatesBefore(static_cast<Step>(step)).size();
  EXPECT_EQ(steps, TableOfReadme().size());
}

}  // namespace
}  // namespace concordat::inventory
