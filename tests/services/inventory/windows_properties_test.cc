// Random histories of a site under maintenance against an oracle that keeps its own books of who
// consented to what, and of whose servers are whose.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <vector>

#include "tests/services/inventory/maintained_site.h"

namespace concordat::inventory {
namespace {

constexpr int kServers = 4;
constexpr int kWindows = 3;
const absl::Time kDawn = test::Time("2027-01-01T09:00:00Z");

struct Step {
  int what;
  int a;
  int b;
  int c;
};
void showValue(const Step& step, std::ostream& out) {
  out << '{' << step.what << ',' << step.a << ',' << step.b << ',' << step.c << '}';
}

rc::Gen<std::vector<Step>> Steps() {
  const auto number = rc::gen::resize(100, rc::gen::inRange(0, 1000));
  return rc::gen::container<std::vector<Step>>(
      60,
      rc::gen::map(rc::gen::tuple(number, number, number, number),
                   [](const std::tuple<int, int, int, int>& n) {
                     return Step{std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n)};
                   }));
}

class World {
 public:
  // With margins, servers are another's for ten minutes before a use and after it.
  explicit World(bool margins) : site_(kServers) {
    if (margins) {
      site_.Reservations(R"(set_margins { site: "sites/paris" model: "models/m"
                                before { seconds: 600 } after { seconds: 600 } })");
    }
    // What is told of a world that breaks the law: all that was decided in it.
    site_.on_inventory = [this](const v1::Event& event) {
      RC_LOG() << "inventory " << event.ShortDebugString() << '\n';
      Judge(event);
    };
    site_.on_reservations = [this](const reservations::v1::Event& event) {
      RC_LOG() << "reservations " << event.ShortDebugString() << '\n';
      Judge(event);
    };
  }

  void Do(const Step& step) {
    RC_LOG() << absl::FormatTime(absl::RFC3339_full, now_, absl::UTCTimeZone()) << '\n';
    const std::string window = fmt::format("sites/paris/windows/w{}", step.a % kWindows);
    const std::string customer = fmt::format("customer: \"{}\"", CustomerFor(window, step.b));
    const auto about = [&](const std::string& command, const std::string& more) {
      site_.Inventory(fmt::format("{} {{ name: \"{}\" {} }}", command, window, more));
    };
    switch (step.what % 14) {
      case 0:
      case 1:
        Propose(window, step);
        if (step.b % 3 == 0) return;
        [[fallthrough]];
      case 2:
        return about("announce_window", "");
      case 3:
      case 4:
        return about("consent_to_window", customer + (step.c % 4 == 0 ? "" : " relocation: true"));
      case 5:
        return step.c % 2 == 0 ? about("refuse_window", customer + R"( reason: "no")")
                               : about("add_work", R"(text: "more")");
      case 6:
        return about("open_window", "");
      case 7:
        return step.c % 2 == 0 ? about("close_window", "")
                               : about("cancel_window", R"(reason: "later")");
      case 8:
      case 9:
        return Reserve(step);
      case 10:
        return Cancel(step);
      default:
        now_ += absl::Minutes(10) * (1 + step.a % 2);
        site_.Cut(step.b % 5 == 0);
        return site_.At(absl::FormatTime(absl::RFC3339_full, now_, absl::UTCTimeZone()));
    }
  }

  int reassigned = 0;
  int moved = 0;
  int opened = 0;  // with somebody affected, to see that the histories are worth it

 private:
  // What the oracle knows of a reservation.
  struct Promise {
    std::string customer;
    std::set<std::string> servers;
    absl::Time start;
    absl::Time end;
  };

  // Mostly one of those whom the window affects.
  std::string CustomerFor(const std::string& window, int which) {
    const auto record = site_.ReservationRows().window_records.Get(window);
    const int affected = record ? record->window().affected_size() : 0;
    if (affected == 0 || which % 5 == 0)
      return which % 2 == 0 ? "customers/hsbc" : "customers/volvo";
    return record->window().affected(which % affected).customer();
  }

  void Propose(const std::string& window, const Step& step) {
    const absl::Time start = now_ + absl::Minutes(10) * (1 + step.b % 3);
    std::string servers;
    for (int i = 1; i <= kServers; ++i) {
      if (i == 1 + step.c % kServers || step.a % 6 == i % 3)
        servers += fmt::format("servers: \"sites/paris/servers/s{}\" ", i);
    }
    const bool emergency = step.c % 7 == 0;
    site_.Inventory(fmt::format(
        R"(propose_window {{ name: "{}" {} work: "look" start_time {{ seconds: {} }} end_time {{ seconds: {} }}
            window_class: {} overrun: {} }})",
        window, servers, absl::ToUnixSeconds(start), absl::ToUnixSeconds(start + absl::Minutes(30)),
        emergency ? R"(WINDOW_CLASS_EMERGENCY basis_kind: BASIS_KIND_OPERATIONAL basis: "leak")"
                  : "WINDOW_CLASS_PLANNED",
        step.b % 2 == 0 ? "OVERRUN_POLICY_FINISH" : "OVERRUN_POLICY_ABORT"));
  }

  void Reserve(const Step& step) {
    const absl::Time start = now_ + absl::Minutes(10) * (step.a % 3);
    const absl::Time end = start + absl::Minutes(20) * (1 + step.b % 6);
    site_.Reserve(step.c % 2 == 0 ? "hsbc" : "volvo", 1 + step.c / 2 % 2,
                  absl::FormatTime(absl::RFC3339_full, start, absl::UTCTimeZone()),
                  absl::FormatTime(absl::RFC3339_full, end, absl::UTCTimeZone()));
  }

  void Cancel(const Step& step) {
    if (promises_.empty()) return;
    auto at = promises_.begin();
    std::advance(at, step.a % promises_.size());
    const std::string name = at->first;
    site_.Reservations(
        fmt::format(R"(cancel_reservation {{ name: "{}" reason: "changed" }})", name));
  }

  void Judge(const v1::Event& event) {
    if (event.has_window_proposed())
      plans_[event.window_proposed().name()] = event.window_proposed();
    if (event.has_window_work_added()) {
      consents_[event.window_work_added().name()].clear();
      relocations_[event.window_work_added().name()].clear();
    }
    if (event.has_window_consent_given()) {
      const auto& given = event.window_consent_given();
      consents_[given.name()].insert(given.customer());
      relocations_[given.name()].erase(given.customer());
      if (given.relocation()) relocations_[given.name()].insert(given.customer());
    }
    if (event.has_window_consent_refused()) {
      const auto& refused = event.window_consent_refused();
      consents_[refused.name()].erase(refused.customer());
      relocations_[refused.name()].erase(refused.customer());
    }
    if (event.has_window_drained()) drained_.insert(event.window_drained().name());
    if (event.has_window_opened()) JudgeOpening(event.window_opened().name());
  }

  void JudgeOpening(const std::string& name) {
    const v1::WindowProposed& plan = plans_.at(name);
    if (plan.window_class() == v1::WINDOW_CLASS_EMERGENCY) {
      RC_ASSERT(!plan.basis().empty());
      return;
    }
    const absl::Time start = runtime::ToTime(plan.start_time());
    const absl::Time end = runtime::ToTime(plan.end_time());
    for (const auto& [reservation, promise] : promises_) {
      if (promise.end <= start || end <= promise.start) continue;
      for (const std::string& server : plan.servers()) {
        if (!promise.servers.contains(server)) continue;
        ++opened;
        RC_ASSERT(consents_[name].contains(promise.customer));
      }
    }
  }

  void Judge(const reservations::v1::Event& event) {
    if (event.has_reservation_held()) {
      const auto& held = event.reservation_held();
      promises_[held.name()] = {held.terms().customer(),
                                {held.servers().begin(), held.servers().end()},
                                runtime::ToTime(held.terms().start_time()),
                                runtime::ToTime(held.terms().end_time())};
    }
    if (event.has_reservation_cancelled()) promises_.erase(event.reservation_cancelled().name());
    if (event.has_reservation_declined()) promises_.erase(event.reservation_declined().name());
    if (event.has_hold_lapsed()) promises_.erase(event.hold_lapsed().name());
    if (event.has_reservation_ending()) promises_.erase(event.reservation_ending().name());
    if (event.has_reservation_ended()) promises_.erase(event.reservation_ended().name());
    if (event.has_reservation_started()) running_.insert(event.reservation_started().name());
    if (event.has_servers_reassigned()) {
      const auto& reassigned = event.servers_reassigned();
      if (running_.contains(reassigned.reservation())) JudgeMove(reassigned);
      ++this->reassigned;
      promises_.at(reassigned.reservation()).servers = {reassigned.servers().begin(),
                                                        reassigned.servers().end()};
    }
    // Servers change by no other event than those that say so.
    for (const auto& [name, promise] : promises_) {
      const auto row = site_.Reservation(name);
      RC_ASSERT(promise.servers ==
                std::set<std::string>(row.servers().begin(), row.servers().end()));
    }
  }

  // What runs is moved out of a drained window, with its customer's word, and nothing is on what it
  // leaves or on what it gets.
  void JudgeMove(const reservations::v1::ServersReassigned& reassigned) {
    RC_ASSERT(drained_.contains(reassigned.window()));
    const auto& plan = plans_.at(reassigned.window());
    const std::set<std::string> worked_on(plan.servers().begin(), plan.servers().end());
    for (const std::string& server : reassigned.removed()) RC_ASSERT(worked_on.contains(server));
    for (const std::string& server : reassigned.added()) {
      for (const auto& [name, promise] : promises_) {
        const bool others = running_.contains(name) && promise.servers.contains(server);
        RC_ASSERT(!others);
      }
    }
    RC_ASSERT(relocations_[reassigned.window()].contains(
        promises_.at(reassigned.reservation()).customer));
    ++moved;
  }

  MaintainedSite site_;
  absl::Time now_ = kDawn;
  std::map<std::string, v1::WindowProposed> plans_;
  std::map<std::string, std::set<std::string>> consents_;
  std::map<std::string, std::set<std::string>> relocations_;
  std::set<std::string> drained_;
  std::map<std::string, Promise> promises_;
  std::set<std::string> running_;
};

TEST(WindowProperties, NoWindowOpensWithoutTheConsentsThatItNeedsAndNoServersMoveSilently) {
  int opened = 0;
  int reassigned = 0;
  std::array<int, 2> moved = {0, 0};  // without margins, with them
  // Chance decides what happens in a hundred worlds: they go on until all has, thirty times as many
  // at most.
  for (int round = 0;
       round < 30 && (opened == 0 || reassigned == 0 || moved[0] == 0 || moved[1] == 0); ++round) {
    ASSERT_TRUE(rc::check([&](bool margins) {
      const auto steps = *Steps();
      World world(margins);
      // RapidCheck draws the same steps in every round, so they come to mean others.
      for (const Step& step : steps)
        world.Do({step.what + round, step.a + 3 * round, step.b + round, step.c});
      opened += world.opened;
      reassigned += world.reassigned;
      moved[margins] += world.moved;
    }));
  }
  EXPECT_GT(opened, 0) << "no window was opened over a reservation: the histories prove nothing";
  EXPECT_GT(reassigned, 0);
  EXPECT_GT(moved[0], 0) << "nothing in use was moved: the histories prove nothing of it";
  EXPECT_GT(moved[1], 0) << "nothing in use was moved that has margins";
}

}  // namespace
}  // namespace concordat::inventory
