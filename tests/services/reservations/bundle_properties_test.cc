// Bundles over two and three sites, whatever is late, repeated, lapsed, refused or broken.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

const std::vector<std::string> kNames = {"paris", "borlange", "lulea"};

// A site: its state, its log, and the commands that wait. Every own event's reactions wait behind
// the others; other sites' events come when the world says so.
struct Site {
  explicit Site(const std::string& name) : name(name), scenario(name) {
    std::string sites;
    for (const std::string& each : kNames) sites += fmt::format("sites: \"sites/{}\" ", each);
    scenario.Given(fmt::format(
        R"(contract_signed {{ name: "customers/hsbc/contracts/all" customer: "customers/hsbc"
        country: "GB" sector: "FINANCE" {} max_servers_per_site: 10 start_time {{ {} }} end_time {{ {} }}
        data_classes: "PUBLIC" }})",
        sites, Seconds("2027-01-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z")));
  }
  void Decide(const v1::Command& command) {
    log.push_back(scenario.When(command, fmt::format("c-{}", ++commands)));
    for (auto& intent : scenario.Reactions()) waiting.push_back(intent.command);
  }

  const std::string name;
  Paris scenario;
  std::vector<v1::Event> log;
  std::deque<v1::Command> waiting;
  std::map<std::string, size_t> read;  // of the others' logs
  int commands = 0;
};

class World {
 public:
  explicit World(size_t sites) {
    for (size_t i = 0; i < sites; ++i) sites_.push_back(std::make_unique<Site>(kNames[i]));
  }

  void Step(int what, int a, int b) {
    Site& site = *sites_[static_cast<size_t>(a) % sites_.size()];
    Site& other = *sites_[static_cast<size_t>(b) % sites_.size()];
    if (what < 30) return Deliver(site, other);
    if (what < 55) return DecideNext(site);
    if (what < 60) return DeliverAgain(site, other, static_cast<size_t>(what + a + b));
    if (what < 75) return Judge(site, b % 8 != 0);
    if (what < 82) return Pass(absl::Minutes(b % 12));
    if (what < 84) return Cancel(site, b);
    if (what < 87) return Break(site, b);
    if (what < 95) Ask(site, a, b);
  }

  // Each site hears one event of each other and decides one command.
  void StepEverywhere() {
    for (auto& site : sites_) {
      for (auto& other : sites_) Deliver(*site, *other);
      DecideNext(*site);
      Judge(*site, true);
    }
  }
  void BreakAt(size_t site) { Break(*sites_[site], 0); }

  // Everything is delivered and decided, and time goes by.
  void Heal() {
    for (int round = 0; round < 6; ++round) {
      for (bool any = true; any;) {
        any = false;
        for (auto& site : sites_) {
          for (auto& other : sites_) {
            while (CanDeliver(*site, *other)) Deliver(*site, *other), any = true;
          }
          while (!site->waiting.empty()) DecideNext(*site), any = true;
          Judge(*site, true);
        }
      }
      Pass(absl::Minutes(20));
    }
  }

  void Check() {
    std::map<std::string, std::set<std::string>> parts, confirmed, broken;
    std::map<std::string, bool> committed;
    for (const auto& site : sites_) {
      std::set<std::string> promised;
      for (const v1::Event& event : site->log) {
        if (event.has_bundle_requested()) {
          for (const auto& part : event.bundle_requested().parts())
            parts[event.bundle_requested().name()].insert(part.reservation());
        }
        if (event.has_bundle_committed())
          RC_ASSERT(committed.emplace(event.bundle_committed().name(), true).second);
        if (event.has_bundle_aborted())
          RC_ASSERT(committed.emplace(event.bundle_aborted().name(), false).second);
        if (event.has_part_promised()) promised.insert(event.part_promised().name());
        if (event.has_hold_lapsed()) RC_ASSERT(!promised.contains(event.hold_lapsed().name()));
        if (event.has_promise_broken())
          broken[event.promise_broken().bundle()].insert(event.promise_broken().name());
        if (event.has_reservation_confirmed()) {
          const v1::ReservationConfirmed& one = event.reservation_confirmed();
          RC_ASSERT(promised.contains(one.name()));
          confirmed[one.bundle()].insert(one.name());
        }
      }
      int waits = 0;
      site->scenario.state().rows.promises.Scan("", [&](std::string_view, const v1::Promise&) {
        ++waits;
        return true;
      });
      RC_ASSERT(waits == 0);
    }
    for (const auto& [bundle, names] : parts) {
      RC_ASSERT(committed.contains(bundle));
      std::set<std::string> settled = confirmed[bundle];
      if (!committed[bundle]) {
        RC_ASSERT(settled.empty());
        ++aborted;
        continue;
      }
      settled.insert(broken[bundle].begin(), broken[bundle].end());
      RC_ASSERT(settled == names);
      ++(broken[bundle].empty() ? whole : halved);
      for (const std::string& name : broken[bundle]) CheckSaid(bundle, name);
    }
  }

  int aborted = 0, whole = 0, halved = 0;

 private:
  // A committed bundle without one of its parts says so at its coordinator.
  void CheckSaid(const std::string& bundle, const std::string& name) {
    const std::string home(runtime::SiteOfName(bundle));
    for (auto& site : sites_) {
      if (site->name != home) continue;
      for (const auto& part : site->scenario.state().rows.bundles.Get(bundle)->parts())
        RC_ASSERT(part.reservation() != name || part.state() == v1::PART_STATE_BROKEN);
    }
  }

  bool CanDeliver(Site& to, Site& from) {
    return &to != &from && to.read[from.name] < from.log.size();
  }
  void React(Site& to, Site& from, size_t at) {
    for (auto& intent : to.scenario.ReactionsTo(from.log[at], from.name))
      to.waiting.push_back(intent.command);
  }
  void Deliver(Site& to, Site& from) {
    if (CanDeliver(to, from)) React(to, from, to.read[from.name]++);
  }
  // As if neither the chain nor the command's id had told that it is the same again.
  void DeliverAgain(Site& to, Site& from, size_t at) {
    if (&to != &from && to.read[from.name] > 0) React(to, from, at % to.read[from.name]);
  }
  void DecideNext(Site& site) {
    if (site.waiting.empty()) return;
    const v1::Command command = site.waiting.front();
    site.waiting.pop_front();
    site.Decide(command);
  }
  // Compliance speaks of everything that it has not spoken of yet.
  void Judge(Site& site, bool clears) {
    std::vector<std::string> held;
    site.scenario.state().rows.reservations.Scan(
        "", [&](std::string_view name, const v1::Reservation& reservation) {
          if (reservation.state() == v1::RESERVATION_STATE_HELD &&
              reservation.part_state() == v1::PART_STATE_UNSPECIFIED)
            held.emplace_back(name);
          return true;
        });
    for (const std::string& name : held) {
      v1::Command command;
      if (clears) {
        command.mutable_confirm_reservation()->set_name(name);
      } else {
        command.mutable_decline_reservation()->set_name(name);
      }
      site.Decide(command);
    }
  }
  void Pass(absl::Duration time) {
    now_ += time;
    const std::string text = absl::FormatTime(now_, absl::UTCTimeZone());
    for (auto& site : sites_) {
      site->scenario.At(text);
      for (auto& intent : site->scenario.DueAt(text)) site->Decide(intent.command);
    }
  }
  void Operate(Site& site, const std::string& command, const std::vector<std::string>& names,
               int which) {
    if (names.empty()) return;
    site.Decide(
        test::Parse<v1::Command>(fmt::format(R"({} {{ name: "{}" reason: "why" }})", command,
                                             names[static_cast<size_t>(which) % names.size()])));
  }
  void Cancel(Site& site, int which) {
    std::vector<std::string> names;
    site.scenario.state().rows.reservations.Scan("", [&](std::string_view name, const auto&) {
      names.emplace_back(name);
      return true;
    });
    Operate(site, "cancel_reservation", names, which);
  }
  void Break(Site& site, int which) {
    std::vector<std::string> names;
    site.scenario.state().rows.promises.Scan("", [&](std::string_view name, const auto&) {
      names.emplace_back(name);
      return true;
    });
    Operate(site, "break_promise", names, which);
  }
  void Ask(Site& site, int a, int b) {
    std::string parts;
    for (size_t i = 0; i < sites_.size(); ++i) {
      if (sites_.size() > 2 && (a + b) % 4 == static_cast<int>(i)) continue;
      parts += fmt::format(R"(parts {{ site: "sites/{}" {} }})", sites_[i]->name,
                           TermsText({.start = "2027-01-01T16:00:00Z",
                                      .end = "2027-01-01T18:00:00Z",
                                      .count = 1 + b % 3,
                                      .contract = "customers/hsbc/contracts/all"}));
    }
    site.Decide(test::Parse<v1::Command>(fmt::format("reserve_bundle {{ {} }}", parts)));
  }

  std::vector<std::unique_ptr<Site>> sites_;
  absl::Time now_ = test::Time("2027-01-01T09:00:00Z");
};

TEST(BundleProperties, AllPartsAreConfirmedOrNoneAndNoPromiseLapses) {
  int aborted = 0, whole = 0;
  EXPECT_TRUE(rc::check([&] {
    World world(*rc::gen::inRange<size_t>(2, 4));
    const auto number = [] { return rc::gen::inRange(0, 100); };
    const auto steps =
        *rc::gen::resize(400, rc::gen::container<std::vector<std::tuple<int, int, int>>>(
                                  rc::gen::tuple(number(), number(), number())));
    for (const auto& [what, a, b] : steps) world.Step(what, a, b);
    world.Heal();
    world.Check();
    aborted += world.aborted;
    whole += world.whole;
  }));
  EXPECT_GT(aborted, 20);
  EXPECT_GT(whole, 20);
}

// Step by step everywhere at once, with the promises of one site broken after so many steps.
TEST(BundleProperties, APromiseBrokenWhileItsCommitIsOnItsWayIsSeenAtTheCoordinator) {
  int whole = 0, halved = 0;
  for (int after = 0; after < 30; ++after) {
    World world(2);
    world.Step(90, 0, 0);
    for (int step = 0; step < 30; ++step) {
      world.StepEverywhere();
      if (step == after) world.BreakAt(1);
    }
    world.Heal();
    world.Check();
    whole += world.whole;
    halved += world.halved;
  }
  EXPECT_GT(whole, 0);
  EXPECT_GT(halved, 0);
}

}  // namespace
}  // namespace concordat::reservations
