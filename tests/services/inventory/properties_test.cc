// Over random histories: nothing is offered without a burn-in that passed and is not stale, retired
// is terminal, serial numbers and places are one server's.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <set>

#include "services/inventory/service.h"
#include "services/runtime/check.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

constexpr int kServers = 4;

// What a reader knows of a server from the events alone.
struct Known {
  bool valid = false;  // the latest burn-in passed, and nothing made it stale
  absl::Time valid_until = absl::InfiniteFuture();
  bool retired = false;
};

std::string RandomCommand(absl::Time now) {
  const std::string name = fmt::format("sites/paris/servers/s{}", *rc::gen::inRange(0, kServers));
  const int number = *rc::gen::inRange(0, 6);
  const int64_t later = absl::ToUnixSeconds(now) + 1000;
  switch (*rc::gen::inRange(0, 20)) {
    case 0:
      return fmt::format(
          R"(plan_server {{ name: "{}" model: "models/m" planned_time {{ seconds: {} }} }})", name,
          later);
    case 1:
    case 2:
      return fmt::format(
          R"(order_server {{ name: "{}" model: "models/m" promised_time {{ seconds: {} }} }})",
          name, later);
    case 3:
    case 4:
      return fmt::format(R"(deliver_server {{ name: "{}" serial: "{}" }})", name, number);
    case 5:
    case 6:
      return fmt::format(R"(install_server {{ name: "{}" room: "r" rack: "a" position: {} }})",
                         name, number + 1);
    case 7:
      return fmt::format(R"(start_test {{ name: "{}" }})", name);
    case 8:
    case 9:
    case 10:
      return fmt::format(
          R"(test_server {{ name: "{}" figures {{ name: "x" value: {} unit: "u" }} }})", name,
          number == 0 ? 9 : 1);
    case 11:
    case 12:
      return fmt::format(R"(enter_service {{ name: "{}" }})", name);
    case 13:
      return fmt::format(R"(leave_service {{ name: "{}" reason: "w" }})", name);
    case 14:
      return fmt::format(R"(quarantine_server {{ name: "{}" reason: "w" }})", name);
    case 15:
      return fmt::format(
          R"(replace_part {{ name: "{}" slot: "s" part: "sites/paris/parts/p{}" kind: "k" serial: "{}" }})",
          name, number, number);
    case 16:
      return fmt::format(R"(change_firmware {{ name: "{}" component: "b" version: "{}" }})", name,
                         number);
    case 17:
      return fmt::format(R"(retire_server {{ name: "{}" reason: "w" }})", name);
    case 18:
      return fmt::format(R"(sanitise_server {{ name: "{}" method: SANITISATION_METHOD_ERASED }})",
                         name);
    default:
      return fmt::format(R"(remove_server {{ name: "{}" }})", name);
  }
}

void Learn(const v1::Event& event, std::map<std::string, Known>& known) {
  if (event.has_burn_in_passed()) {
    Known& server = known[event.burn_in_passed().name()];
    server.valid = true;
    server.valid_until = runtime::ToTime(event.burn_in_passed().valid_until());
  }
  if (event.has_burn_in_failed()) known[event.burn_in_failed().name()].valid = false;
  if (event.has_server_left_service()) known[event.server_left_service().name()].valid = false;
  if (event.has_server_quarantined()) known[event.server_quarantined().name()].valid = false;
  if (event.has_part_replaced()) known[event.part_replaced().name()].valid = false;
  if (event.has_firmware_changed()) known[event.firmware_changed().name()].valid = false;
  if (event.has_evidence_expired()) known[event.evidence_expired().name()].valid = false;
  if (event.has_server_retired()) known[event.server_retired().name()].retired = true;
}

RC_GTEST_PROP(ServerHistories, OfferOnlyWhatPassedAndNeverGiveAnythingTwice, ()) {
  test::Scenario<Service> paris;
  absl::Time now = test::Time("2026-11-23T12:00:00Z");
  const auto at = [&] { paris.At(runtime::ToText(now)); };
  at();
  paris.Given(R"(site_opened { name: "sites/paris" country: "FR" time_zone: "Europe/Paris" })")
      .Given(R"(plan_registered { name: "plans/p" version: 1 validity { seconds: 600 }
                  criteria { figure: "x" minimum: 1 maximum: 1 unit: "u" } })")
      .Given(
          R"(model_registered { name: "models/m" plan: "plans/p" accelerators: 1 height_units: 2 })");
  std::map<std::string, Known> known;
  std::map<std::string, std::string> serials;
  const int steps = *rc::gen::inRange(1, 150);
  int entered = 0;
  for (int i = 0; i < steps; ++i) {
    now += absl::Seconds(*rc::gen::inRange(0, 60));
    at();
    // Now and then the timers come late.
    if (*rc::gen::inRange(0, 3) > 0) {
      for (const auto& due : paris.DueAt(runtime::ToText(now)))
        Learn(paris.When(due.command), known);
    }
    const v1::Event event = paris.When(RandomCommand(now));
    if (event.has_server_entered_service()) {
      const Known& server = known[event.server_entered_service().name()];
      RC_ASSERT(server.valid && now < server.valid_until);
      ++entered;
    }
    if (event.has_server_delivered()) {
      RC_ASSERT(serials.emplace(event.server_delivered().serial(), event.server_delivered().name())
                    .second);
    }
    if (event.has_part_replaced())
      RC_ASSERT(
          serials.emplace(event.part_replaced().serial(), event.part_replaced().part()).second);
    Learn(event, known);
    std::set<int> units;
    paris.state().rows.servers.Scan("", [&](std::string_view name, const v1::Server& server) {
      if (known[std::string(name)].retired) RC_ASSERT(server.state() == v1::SERVER_STATE_RETIRED);
      if (server.rack().empty()) return true;
      RC_ASSERT(units.insert(server.position()).second);
      RC_ASSERT(units.insert(server.position() + 1).second);
      return true;
    });
  }
  RC_CLASSIFY(entered > 0, "a server entered service");
}

}  // namespace
}  // namespace concordat::inventory
