// Two and three sites with one contract between them: mirrors are late, deliver twice and out of
// order, links are cut for as long as they like, clocks differ. An oracle adds up the logs.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "services/reservations/quotas.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

const absl::Time kStart = test::Time("2027-01-01T00:00:00Z");
constexpr char kContract[] = "customers/hsbc/contracts/frame";
constexpr int kServers = 6;
constexpr int64_t kPerServer = 8;
const char* const kNames[] = {"paris", "borlange", "lyon"};

struct Step {
  int what, a, b, c;
};
void showValue(const Step& step, std::ostream& out) {
  out << '{' << step.what << ',' << step.a << ',' << step.b << ',' << step.c << '}';
}
rc::Gen<std::vector<Step>> Steps() {
  const auto number = rc::gen::resize(100, rc::gen::inRange(0, 1000));
  return rc::gen::scale(
      3.0, rc::gen::container<std::vector<Step>>(rc::gen::map(
               rc::gen::tuple(number, number, number, number),
               [](const std::tuple<int, int, int, int>& n) {
                 return Step{std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n)};
               })));
}

struct Amount {
  int64_t accelerators = 0;
  int64_t seconds = 0;
};

class Site {
 public:
  Site(std::string name, absl::Duration skew)
      : name_(std::move(name)), skew_(skew), scenario_(name_) {
    Given(fmt::format(R"(site_recorded {{ name: "sites/{}" country: "FR" }})", name_));
    Given(fmt::format(R"(envelope_recorded {{ site: "sites/{}" effective_from {{ {} }}
                         it_power_watts: 100000 cooling_watts: 100000 }})",
                      name_, Seconds("2026-01-01T00:00:00Z")));
    for (int i = 0; i < kServers; ++i) {
      Given(fmt::format(R"(server_recorded {{ name: "sites/{}/servers/s{}" model: "models/m"
                           it_power_watts: 1 cooling_watts: 1 bookable: true accelerators: {} }})",
                        name_, i, kPerServer));
    }
  }

  const std::string& name() const { return name_; }
  const std::vector<v1::Event>& log() const { return log_; }
  Service::State& state() { return scenario_.state(); }
  absl::Time now() const { return now_ + skew_; }
  void SetTime(absl::Time now) { now_ = now; }

  // Decides, and whatever follows from it here.
  v1::Event Do(const v1::Command& command) {
    RC_ASSERT(reservations::Validate(command).ok());
    scenario_.At(absl::FormatTime(absl::RFC3339_full, now(), absl::UTCTimeZone()));
    const v1::Event event = scenario_.When(command, fmt::format("c-{}", ++commands_));
    log_.push_back(event);
    for (const auto& intent : scenario_.Reactions()) Do(intent.command);
    return event;
  }
  v1::Event Do(const std::string& text) { return Do(test::Parse<v1::Command>(text)); }
  void Deliver(const v1::Event& event, const std::string& from) {
    for (const auto& intent : scenario_.ReactionsTo(event, from)) Do(intent.command);
  }
  void FireTimers() {
    for (int round = 0; round < 20; ++round) {
      const Intents due = Due(state().rows, now(), 10);
      if (due.empty()) return;
      for (const auto& intent : due) Do(intent.command);
    }
  }
  v1::Quota Quota() {
    return state().rows.quotas.Get(QuotaName(name_, kContract)).value_or(v1::Quota());
  }
  std::vector<v1::Reservation> Reservations() {
    std::vector<v1::Reservation> all;
    state().rows.reservations.Scan("", [&](std::string_view, const v1::Reservation& row) {
      all.push_back(row);
      return true;
    });
    return all;
  }
  int64_t LevelAt(absl::Time at) {
    int64_t level = 0;
    const v1::Quota quota = Quota();
    for (const v1::QuotaLevel& step : quota.levels()) {
      if (!step.has_effective_from() || runtime::ToTime(step.effective_from()) <= at)
        level = step.accelerators();
    }
    return level;
  }

 private:
  void Given(const std::string& text) {
    scenario_.Given(text);
    log_.push_back(test::Parse<v1::Event>(text));
  }

  const std::string name_;
  const absl::Duration skew_;
  absl::Time now_ = kStart;
  test::Scenario<Service> scenario_;
  std::vector<v1::Event> log_;
  int commands_ = 0;
};

class World {
 public:
  World(int count, int64_t accelerators, int64_t hours) : total_{accelerators, hours * 3600} {
    const absl::Duration skews[] = {absl::ZeroDuration(), absl::Minutes(4), -absl::Minutes(3)};
    std::string covered;
    for (int i = 0; i < count; ++i) {
      sites_.push_back(std::make_unique<Site>(kNames[i], skews[i]));
      covered += fmt::format("sites: \"sites/{}\" ", kNames[i]);
    }
    position_.resize(sites_.size(), std::vector<size_t>(sites_.size()));
    sites_[0]->Do(R"(register_customer { name: "customers/hsbc" display_name: "H" country: "GB"
                                         sector: "FINANCE" })");
    const v1::Event contract = sites_[0]->Do(fmt::format(
        R"(sign_contract {{ name: "{}" {} start_time {{ {} }} end_time {{ {} }} data_classes: "PUBLIC"
                            quota {{ accelerators: {} accelerator_hours: {} }} }})",
        kContract, covered, Seconds("2026-12-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z"),
        accelerators, hours));
    RC_ASSERT(contract.has_contract_signed());
    signed_ = contract.contract_signed();
  }

  void Do(const Step& step) {
    Site& site = *sites_[static_cast<size_t>(step.a) % sites_.size()];
    const size_t from = static_cast<size_t>(step.b) % sites_.size();
    const size_t to = static_cast<size_t>(step.a) % sites_.size();
    switch (step.what % 20) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
        Reserve(site, step);
        break;
      case 6:
      case 7:
      case 8:
      case 9:
        Deliver(from, to, static_cast<size_t>(step.c % 8));
        break;
      case 10:  // one record too early, or again
        if (from != to)
          sites_[to]->Deliver(
              sites_[from]->log()[static_cast<size_t>(step.c) % sites_[from]->log().size()],
              sites_[from]->name());
        break;
      case 11:  // a mirror begins again
        position_[from][to] -= std::min(position_[from][to], static_cast<size_t>(step.c % 10));
        break;
      case 12:
        now_ += absl::Minutes(10) * (step.c % 7);
        for (const auto& each : sites_) each->SetTime(now_);
        break;
      case 13:
        site.FireTimers();
        break;
      case 14:
        About(site, step, "cancel_reservation");
        break;
      case 15:
      case 16:
        About(site, step, "confirm_reservation");
        break;
      case 17:
        About(site, step, "end_reservation");
        break;
      case 18:
        Count(site.Do(fmt::format(
            R"(return_quota {{ contract: "{}" amount {{ accelerators: {} accelerator_seconds: {} }} }})",
            kContract, step.b % 20, step.c * 60)));
        break;
      case 19:
        Count(site.Do(fmt::format(R"(request_quota {{ contract: "{}" amount {{ accelerators: {}
                                       accelerator_seconds: {} }} }})",
                                  kContract, 1 + step.b % 20, step.c * 60)));
        break;
    }
    Check();
  }

  // The links are good again, and everything arrives in order.
  void Settle() {
    for (bool moved = true; moved;) {
      moved = false;
      for (size_t from = 0; from < sites_.size(); ++from) {
        for (size_t to = 0; to < sites_.size(); ++to) {
          if (from == to || position_[from][to] == sites_[from]->log().size()) continue;
          Deliver(from, to, 1);
          moved = true;
        }
      }
    }
    Check();
    const Amount under_way = UnderWay(absl::InfiniteFuture());
    RC_ASSERT(under_way.accelerators == 0);
    RC_ASSERT(under_way.seconds == 0);
    for (const auto& site : sites_) RC_ASSERT(site->Quota().open_request() == 0);
  }

  std::map<std::string, int> seen;

 private:
  void Count(const v1::Event& event) {
    ++seen[event.has_command_refused()
               ? v1::Reason_Name(event.command_refused().reason())
               : event.GetDescriptor()->FindFieldByNumber(event.event_case())->name()];
  }
  void Reserve(Site& site, const Step& step) {
    const absl::Time start = site.now() + absl::Minutes(30) * (step.b % 8);
    const absl::Time end = start + absl::Minutes(15) * (1 + step.c % 12);
    Count(site.Do(fmt::format(
        R"(reserve {{ site: "sites/{}" contract: "{}" model: "models/m" count: {}
                      start_time {{ seconds: {} }} end_time {{ seconds: {} }}
                      purpose: PURPOSE_TRAINING data_classes: "PUBLIC" }})",
        site.name(), kContract, 1 + step.c % 4, absl::ToUnixSeconds(start),
        absl::ToUnixSeconds(end))));
  }
  void About(Site& site, const Step& step, const std::string& command) {
    const std::vector<v1::Reservation> all = site.Reservations();
    if (all.empty()) return;
    const std::string& name = all[static_cast<size_t>(step.b) % all.size()].name();
    site.Do(fmt::format("{} {{ name: \"{}\" {} }}", command, name,
                        command == "cancel_reservation" ? "reason: \"r\"" : ""));
  }
  void Deliver(size_t from, size_t to, size_t count) {
    if (from == to) return;
    size_t& position = position_[from][to];
    for (; count > 0 && position < sites_[from]->log().size(); --count) {
      const v1::Event event = sites_[from]->log()[position++];
      sites_[to]->Deliver(event, sites_[from]->name());
    }
  }

  // What has left one site and not reached the other, as an instant sees it: by the logs alone.
  Amount UnderWay(absl::Time at) {
    Amount amount;
    const auto add = [&](const v1::QuotaAmount& of, const google::protobuf::Timestamp& from) {
      if (runtime::ToTime(from) <= at) amount.accelerators += of.accelerators();
      amount.seconds += of.accelerator_seconds();
    };
    for (size_t i = 1; i < sites_.size(); ++i) {
      std::set<int64_t> credited;
      bool recorded = false;
      for (const v1::Event& event : sites_[i]->log()) {
        recorded |= event.has_contract_recorded();
        if (event.has_quota_answered() && event.quota_answered().grant() > 0)
          RC_ASSERT(credited.insert(event.quota_answered().grant()).second);
      }
      if (!recorded) {
        for (const v1::Allotment& allotment : signed_.quota().allotments()) {
          if (allotment.site() != "sites/" + sites_[i]->name()) continue;
          amount.accelerators += allotment.accelerators();
          amount.seconds += allotment.accelerator_hours() * 3600;
        }
      }
      std::set<int64_t> reclaimed;
      for (const v1::Event& event : sites_[0]->log()) {
        const v1::QuotaGranted& granted = event.quota_granted();
        if (event.has_quota_granted() && granted.site() == "sites/" + sites_[i]->name() &&
            !credited.contains(granted.number()))
          add(granted.amount(), granted.effective_from());
        if (event.has_quota_reclaimed() &&
            event.quota_reclaimed().site() == "sites/" + sites_[i]->name())
          RC_ASSERT(reclaimed.insert(event.quota_reclaimed().number()).second);
      }
      for (const v1::Event& event : sites_[i]->log()) {
        if (event.has_quota_returned() && !reclaimed.contains(event.quota_returned().number()))
          add(event.quota_returned().amount(), event.quota_returned().effective_from());
      }
    }
    return amount;
  }

  // What reservations have of the contract at an instant: those that are over too, for the sites'
  // clocks differ.
  int64_t InUse(absl::Time at) {
    int64_t use = 0;
    for (const auto& site : sites_) {
      for (const v1::Reservation& row : site->Reservations()) {
        if (IsGivenUp(row) || at < runtime::ToTime(row.terms().start_time()) ||
            at >= runtime::ToTime(row.terms().end_time()))
          continue;
        use += row.terms().count() * kPerServer;
      }
    }
    return use;
  }

  static bool IsGivenUp(const v1::Reservation& row) {
    return row.state() == v1::RESERVATION_STATE_CANCELLED ||
           row.state() == v1::RESERVATION_STATE_DECLINED ||
           row.state() == v1::RESERVATION_STATE_LAPSED;
  }
  // A delay is not the customer's; every time here is a whole second.
  static int64_t Booked(const v1::Reservation& row) {
    if (IsGivenUp(row)) return 0;
    const int64_t start =
        std::max(row.terms().start_time().seconds(), row.started_time().seconds());
    return row.terms().count() * kPerServer * (row.terms().end_time().seconds() - start);
  }

  void Check() {
    int64_t allotted = 0;
    int64_t used = 0;
    std::set<absl::Time> instants{absl::InfiniteFuture()};
    for (const auto& site : sites_) {
      const v1::Quota quota = site->Quota();
      int64_t booked = 0;
      for (const v1::Reservation& row : site->Reservations()) {
        instants.insert(runtime::ToTime(row.terms().start_time()));
        booked += Booked(row);
      }
      RC_ASSERT(quota.used_accelerator_seconds() == booked);
      RC_ASSERT(quota.used_accelerator_seconds() <= quota.accelerator_seconds());
      for (const v1::QuotaLevel& level : quota.levels()) RC_ASSERT(level.accelerators() >= 0);
      allotted += quota.accelerator_seconds();
      used += booked;
    }
    RC_ASSERT(allotted + UnderWay(absl::InfiniteFuture()).seconds == total_.seconds);
    RC_ASSERT(used <= total_.seconds);
    for (const absl::Time at : instants) {
      if (at != absl::InfiniteFuture()) RC_ASSERT(InUse(at) <= total_.accelerators);
      // Long ago is forgotten.
      if (at < now_) continue;
      int64_t levels = UnderWay(at).accelerators;
      for (const auto& site : sites_) levels += site->LevelAt(at);
      RC_ASSERT(levels == total_.accelerators);
    }
  }

  const Amount total_;
  v1::ContractSigned signed_;
  absl::Time now_ = kStart;
  std::vector<std::unique_ptr<Site>> sites_;
  std::vector<std::vector<size_t>> position_;  // by from, to
};

// The seldom things have to happen, or the histories are not worth it.
void CheckWorldsOf(int sites) {
  std::map<std::string, int> seen;
  const bool good = rc::check([&] {
    World world(sites, *rc::gen::element(40, 41, 64), *rc::gen::element(30, 31, 100));
    for (const Step& step : *Steps()) world.Do(step);
    world.Settle();
    for (const auto& [name, count] : world.seen) seen[name] += count;
  });
  EXPECT_TRUE(good);
  for (const char* name :
       {"reservation_held", "REASON_QUOTA_EXHAUSTED", "quota_requested", "quota_returned"}) {
    EXPECT_GT(seen[name], 0) << name;
  }
}

TEST(QuotaProperties, TwoSitesNeverSpendMoreThanTheQuotaAndLoseNoneOfIt) { CheckWorldsOf(2); }

TEST(QuotaProperties, ThreeSitesNeverSpendMoreThanTheQuotaAndLoseNoneOfIt) { CheckWorldsOf(3); }

}  // namespace
}  // namespace concordat::reservations
