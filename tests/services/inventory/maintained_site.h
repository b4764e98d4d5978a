// Inventory, reservations and deployment of one site, wired as the runtime wires them: every event
// leads to the commands of those who follow it, in the order of the events. Compliance clears all
// that it is asked, and models are placed and removed at once.
#pragma once

#include <fmt/format.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "services/deployment/executor.h"
#include "services/deployment/service.h"
#include "services/inventory/service.h"
#include "services/reservations/service.h"
#include "services/runtime/check.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {

class MaintainedSite {
 public:
  explicit MaintainedSite(int servers = 4) {
    At("2027-01-01T09:00:00Z");
    Inventory(R"(open_site { name: "sites/paris" country: "FR" time_zone: "Europe/Paris" })");
    Inventory(R"(set_envelope { site: "sites/paris" effective_from { seconds: 1798793000 }
        it_power_watts: 100000 cooling_watts: 100000 })");
    Inventory(R"(register_model { name: "models/m" vendor: "v" accelerators: 8 it_power_watts: 100
        cooling_watts: 90 criteria { figure: "gemm" minimum: 1 maximum: 9 unit: "tflops" } })");
    for (int i = 1; i <= servers; ++i) {
      const std::string name = fmt::format("name: \"sites/paris/servers/s{}\"", i);
      Inventory("order_server { " + name +
                R"( model: "models/m" supplier: "s" promised_time { seconds: 1900000000 } })");
      Inventory(fmt::format("deliver_server {{ {} serial: \"n{}\" }}", name, i));
      Inventory(
          fmt::format(R"(install_server {{ {} room: "r" rack: "a" position: {} }})", name, i));
      Inventory("test_server { " + name + R"( figures { name: "gemm" value: 5 unit: "tflops" } })");
      Inventory("enter_service { " + name + " }");
    }
    for (const char* id : {"hsbc", "volvo"}) {
      Reservations(fmt::format(
          R"(register_customer {{ name: "customers/{}" display_name: "C" country: "FR" sector: "BANK" }})",
          id));
      Reservations(
          fmt::format(R"(sign_contract {{ name: "customers/{}/contracts/c" sites: "sites/paris"
          max_servers_per_site: 9 start_time {{ seconds: 1790000000 }} end_time {{ seconds: 1900000000 }}
          data_classes: "PUBLIC" }})",
                      id));
    }
    Deployment(R"(register_artefact { name: "artefacts/a" digest: "ab" licence: "MIT" })");
  }

  // A caller's commands, with all that follows at that time.
  v1::Event Inventory(const std::string& text) {
    return Settled([&] { return Inventory(test::Parse<v1::Command>(text)); });
  }
  reservations::v1::Event Reservations(const std::string& text) {
    return Settled([&] { return Reservations(test::Parse<reservations::v1::Command>(text)); });
  }
  deployment::v1::Event Deployment(const std::string& text) {
    return Settled([&] { return Deployment(test::Parse<deployment::v1::Command>(text)); });
  }
  // The time of whatever follows; what has become due by then is done.
  void At(const std::string& rfc3339) {
    now_ = rfc3339;
    inventory_.At(rfc3339);
    reservations_.At(rfc3339);
    deployment_.At(rfc3339);
    Settle();
  }
  // While cut, what the others say is not heard; it is afterwards.
  void Cut(bool cut) {
    cut_ = cut;
    if (!cut) Settle();
  }

  // A confirmed reservation; its name.
  std::string Reserve(const std::string& customer, int count, const std::string& start,
                      const std::string& end) {
    const auto held = Reservations(fmt::format(
        R"(reserve {{ site: "sites/paris" contract: "customers/{}/contracts/c" model: "models/m" count: {}
            start_time {{ seconds: {} }} end_time {{ seconds: {} }} purpose: PURPOSE_TRAINING
            data_classes: "PUBLIC" }})",
        customer, count, absl::ToUnixSeconds(test::Time(start)),
        absl::ToUnixSeconds(test::Time(end))));
    return held.reservation_held().name();
  }

  Rows& InventoryRows() { return inventory_.state().rows; }
  reservations::Rows& ReservationRows() { return reservations_.state().rows; }
  deployment::Rows& DeploymentRows() { return deployment_.state().rows; }
  v1::Window Window(const std::string& name) {
    return InventoryRows().windows.Get(name).value_or(v1::Window());
  }
  reservations::v1::Reservation Reservation(const std::string& name) {
    return ReservationRows().reservations.Get(name).value_or(reservations::v1::Reservation());
  }

  // Every event of the inventory and of reservations, in the order in which they were decided.
  std::function<void(const v1::Event&)> on_inventory = [](const v1::Event&) {};
  std::function<void(const reservations::v1::Event&)> on_reservations =
      [](const reservations::v1::Event&) {};

 private:
  template <typename Decide>
  std::invoke_result_t<Decide> Settled(Decide decide) {
    auto event = decide();
    Settle();
    return event;
  }
  std::string NextId() { return fmt::format("c-{}", ++commands_); }

  v1::Event Inventory(const v1::Command& command) {
    const v1::Event event = inventory_.When(command, NextId());
    Note(event);
    on_inventory(event);
    Owe(own_, inventory_.Reactions(), [this](const auto& c) { Inventory(c); });
    Owe(others_, reservations_.ReactionsTo(event), [this](const auto& c) { Reservations(c); });
    Owe(others_, deployment_.ReactionsTo(event), [this](const auto& c) { Deployment(c); });
    return event;
  }
  reservations::v1::Event Reservations(const reservations::v1::Command& command) {
    const reservations::v1::Event event = reservations_.When(command, NextId());
    Note(event);
    on_reservations(event);
    Owe(own_, reservations_.Reactions(), [this](const auto& c) { Reservations(c); });
    Owe(others_, inventory_.ReactionsTo(event), [this](const auto& c) { Inventory(c); });
    Owe(others_, deployment_.ReactionsTo(event), [this](const auto& c) { Deployment(c); });
    if (event.has_reservation_held()) {
      reservations::v1::Command confirm;
      confirm.mutable_confirm_reservation()->set_name(event.reservation_held().name());
      own_.push_back([this, confirm] { Reservations(confirm); });
    }
    return event;
  }
  deployment::v1::Event Deployment(const deployment::v1::Command& command) {
    const deployment::v1::Event event = deployment_.When(command, NextId());
    Note(event);
    Owe(own_, deployment_.Reactions(), [this](const auto& c) { Deployment(c); });
    Owe(others_, inventory_.ReactionsTo(event), [this](const auto& c) { Inventory(c); });
    Owe(others_, reservations_.ReactionsTo(event), [this](const auto& c) { Reservations(c); });
    if (event.has_deployment_requested()) {
      deployment::v1::Command clear;
      clear.mutable_clear_deployment()->set_name(event.deployment_requested().name());
      own_.push_back([this, clear] { Deployment(clear); });
    }
    return event;
  }

  template <typename Intents, typename Do>
  static void Owe(std::deque<std::function<void()>>& owed, const Intents& intents, Do decide) {
    for (const auto& intent : intents)
      owed.push_back([decide, command = intent.command] { decide(command); });
  }

  // Own follow-ups, then what others follow, then timers and the executor, until nothing is owed.
  void Settle() {
    for (int round = 0; round < 10'000; ++round) {
      if (TakeOne(own_) || (!cut_ && TakeOne(others_)) || FireTimer() || Execute()) continue;
      return;
    }
    std::string last;
    for (const std::string& event : last_) last += "\n  " + event;
    ADD_FAILURE() << "the site never comes to rest, and goes on with" << last;
  }
  template <typename Event>
  void Note(const Event& event) {
    last_.push_back(event.ShortDebugString());
    if (last_.size() > 8) last_.pop_front();
  }
  static bool TakeOne(std::deque<std::function<void()>>& owed) {
    if (owed.empty()) return false;
    const auto next = std::move(owed.front());
    owed.pop_front();
    next();
    return true;
  }
  bool FireTimer() {
    if (const auto due = inventory_.DueAt(now_); !due.empty()) {
      Inventory(due[0].command);
      return true;
    }
    if (const auto due = reservations_.DueAt(now_); !due.empty()) {
      Reservations(due[0].command);
      return true;
    }
    return false;
  }
  bool Execute() {
    const auto steps = deployment::Work(deployment_.state().rows, test::Time(now_), 1);
    if (steps.empty()) return false;
    const deployment::v1::Deployment& row = steps[0].deployment;
    deployment::v1::Command command;
    if (row.state() == deployment::v1::DEPLOYMENT_STATE_PLACING) {
      command.mutable_record_placement()->set_name(row.name());
      command.mutable_record_placement()->set_attempt(1);
      command.mutable_record_placement()->set_manifest_digest("cd");
    } else {
      command.mutable_record_removal()->set_name(row.name());
      command.mutable_record_removal()->set_attempt(1);
    }
    Deployment(command);
    return true;
  }

  test::Scenario<Service> inventory_;
  test::Scenario<concordat::reservations::Service> reservations_;
  test::Scenario<concordat::deployment::Service> deployment_;
  std::string now_ = "1970-01-01T00:00:00Z";
  std::deque<std::function<void()>> own_;
  std::deque<std::function<void()>> others_;
  bool cut_ = false;
  int commands_ = 0;
  std::deque<std::string> last_;  // what was decided last, to tell of what never ends
};

}  // namespace concordat::inventory
