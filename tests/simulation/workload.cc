#include "tests/simulation/workload.h"

#include <fmt/format.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "concordat/compliance/v1/api.pb.h"
#include "concordat/deployment/v1/api.pb.h"
#include "concordat/inventory/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"

namespace concordat::simulation {
namespace {

constexpr int kServers = 6;

const google::protobuf::Message& PrototypeOf(const std::string& service) {
  if (service == "inventory") return inventory::v1::Command::default_instance();
  if (service == "reservations") return reservations::v1::Command::default_instance();
  if (service == "compliance") return compliance::v1::Command::default_instance();
  return deployment::v1::Command::default_instance();
}

std::string Seconds(absl::Time time) {
  return fmt::format("seconds: {}", absl::ToUnixSeconds(time));
}

std::string Rule(int version, bool strict) {
  return fmt::format(
      R"(adopt_rule {{ rule {{ name: "rules/hds" version: {} title: "Health data needs HDS."
           subject_kind: SUBJECT_KIND_RESERVATION effect: EFFECT_DENY
           applies_when {{ fact: "data_classes" comparison: COMPARISON_ANY_IN values: "{}" }}
           required {{ fact: "site.certifications" comparison: COMPARISON_ANY_IN values: "HDS" }}
           citation {{ instrument: "Code" article: "L1111-8" wording_date: "2024-04-26" }}
           effective_from {{ seconds: 1000 }} verification: VERIFICATION_SECONDARY }} }})",
      version, strict ? "HEALTH" : "NONE");
}

}  // namespace

Workload::Workload(std::string site, std::vector<std::string> sites, Chance& random)
    : site_(std::move(site)), sites_(std::move(sites)), random_(random) {
  Add("inventory",
      fmt::format(R"(open_site {{ name: "sites/{}" country: "FR" time_zone: "Europe/Paris"
                                    certifications: "{}" }})",
                  site_, random_.OneIn(2) ? "HDS" : "ISO27001"));
  // A narrow one now and then, so that power is what runs out.
  Add("inventory",
      fmt::format(R"(set_envelope {{ site: "sites/{}" effective_from {{ seconds: 1798761600 }}
                                    it_power_watts: {} cooling_watts: 1000 }})",
                  site_, random_.OneIn(3) ? 250 : 1000));
  Add("inventory",
      R"(register_model { name: "models/m" vendor: "v" accelerators: 8 it_power_watts: 100
                        cooling_watts: 90 criteria { figure: "gemm" minimum: 1 maximum: 9 unit: "tflops" } })");
  if (random_.OneIn(2)) {
    for (const char* feed : {"f0", "f1"}) {
      Add("inventory", fmt::format(R"(define_feed {{ name: "sites/{}/feeds/{}" it_power_watts: {}
                                        redundancy: REDUNDANCY_N_PLUS_1 }})",
                                   site_, feed, 200 + 100 * random_.Below(2)));
    }
  }
  for (int i = 0; i < kServers; ++i) {
    const std::string name = fmt::format("sites/{}/servers/s{}", site_, i);
    Add("inventory", fmt::format(R"(order_server {{ name: "{}" model: "models/m" supplier: "s"
                                      promised_time {{ seconds: 1900000000 }} }})",
                                 name));
    Add("inventory", fmt::format(R"(deliver_server {{ name: "{}" serial: "n{}" }})", name, i));
    Add("inventory", fmt::format(R"(install_server {{ name: "{}" room: "r" rack: "a{}" position: {}
                                       nvlink_domain: "d{}" power_feed: "f{}" }})",
                                 name, i / 2, i + 1, i / 2, i % 2));
    Add("inventory",
        fmt::format(
            R"(test_server {{ name: "{}" figures {{ name: "gemm" value: 5 unit: "tflops" }} }})",
            name));
    Add("inventory", fmt::format(R"(enter_service {{ name: "{}" }})", name));
  }
  std::string everywhere;
  for (const std::string& other : sites_) everywhere += fmt::format("sites: \"sites/{}\" ", other);
  // One has a quota over all sites, of a half of their servers, and now and then of few hours.
  const std::string quota =
      fmt::format("quota {{ accelerators: {} accelerator_hours: {} }}", 24 * sites_.size(),
                  random_.OneIn(2) ? 2 * sites_.size() : 1000) +
      " notices { seconds: 30 } notices { seconds: 5 }";
  // One has hours: the first ten minutes, and ten more after a break, by the clock of Paris.
  const std::string timed = R"(max_servers_per_site: 3
      access { rule: "FREQ=DAILY;COUNT=3" time_zone: "Europe/Paris" start: "2027-01-01T01:00:00"
               duration { seconds: 600 } additions: "2027-01-01T01:15:00" })";
  for (const auto& [id, most] : {std::pair<std::string, std::string>("wide", quota),
                                 {"narrow", "max_servers_per_site: 2"},
                                 {"timed", timed}}) {
    const std::string customer = fmt::format("customers/{}-{}", site_, id);
    Add("reservations",
        fmt::format(
            R"(register_customer {{ name: "{}" display_name: "C" country: "FR" sector: "BANK" }})",
            customer));
    Add("reservations", fmt::format(R"(sign_contract {{ name: "{}/contracts/c" {} {}
                                         start_time {{ seconds: 1790000000 }} end_time {{ seconds: 1900000000 }}
                                         data_classes: "PUBLIC" data_classes: "HEALTH"
                                         max_grace {{ seconds: 20 }} lock_time {{ seconds: 3 }} }})",
                                    customer, everywhere, most));
  }
  Add("compliance", Rule(1, true));
  Add("deployment",
      fmt::format(R"(register_artefact {{ name: "artefacts/a" digest: "{}" licence: "MIT"
                                     trained_in: "FR" provenance: "p" }})",
                  std::string(64, 'a')));
}

void Workload::Add(const std::string& service, const std::string& text) {
  setup_.push_back(Make(service, text));
}

Request Workload::Make(const std::string& service, const std::string& text) const {
  std::shared_ptr<google::protobuf::Message> command(PrototypeOf(service).New());
  if (!google::protobuf::TextFormat::ParseFromString(text, command.get())) {
    std::fprintf(stderr, "the workload made no command of: %s\n", text.c_str());
    std::abort();
  }
  return {service, std::move(command)};
}

std::string Workload::Customer() {
  const char* kind = random_.OneIn(4) ? "narrow" : random_.OneIn(6) ? "timed" : "wide";
  return fmt::format("customers/{}-{}", site_, kind);
}

Request Workload::Reserve(absl::Time now) {
  // Most wishes meet: servers are few, and times are round.
  const absl::Time start = now + absl::Seconds(5 + 10 * random_.Below(12));
  const absl::Time end = start + absl::Seconds(10 * (1 + random_.Below(12)));
  const std::string& at = random_.OneIn(4) ? Pick(sites_) : site_;
  return Make("reservations",
              fmt::format(
                  R"(reserve {{ site: "sites/{}" contract: "{}/contracts/c" model: "models/m"
                               count: {} start_time {{ {} }} end_time {{ {} }} purpose: PURPOSE_TRAINING
                               data_classes: "{}" {} {} min_count: 1 }})",
                  at, Customer(), 1 + random_.Below(3), Seconds(start), Seconds(end),
                  random_.OneIn(4) ? "HEALTH" : "PUBLIC", Placement(),
                  random_.OneIn(4) ? "grace { seconds: 10 }" : ""));
}

// Two or three times within the next minutes: a rule knows no less than a day, and what is added to
// it any time.
Request Workload::Recur(absl::Time now) {
  const absl::Time start = now + absl::Seconds(10 + 10 * random_.Below(12));
  const absl::Duration every = absl::Seconds(20 + 10 * random_.Below(6));
  const absl::Duration lasts = absl::Seconds(5 * (1 + random_.Below(3)));
  const auto local = [](absl::Time time) {
    return absl::FormatTime("%Y-%m-%dT%H:%M:%S", time, absl::FixedTimeZone(3600));
  };
  std::string more = fmt::format("additions: \"{}\" ", local(start + every));
  if (random_.OneIn(2)) more += fmt::format("additions: \"{}\" ", local(start + 2 * every));
  return Make(
      "reservations",
      fmt::format(
          R"(reserve {{ site: "sites/{}" contract: "{}/contracts/c" model: "models/m" count: {}
               start_time {{ {} }} end_time {{ {} }} purpose: PURPOSE_RENTAL data_classes: "PUBLIC" {}
               access {{ rule: "FREQ=DAILY;COUNT=1" time_zone: "Europe/Paris" start: "{}"
                         duration {{ seconds: {} }} {} }} }})",
          random_.OneIn(4) ? Pick(sites_) : site_, Customer(), 1 + random_.Below(3), Seconds(start),
          Seconds(start + 3 * every), random_.OneIn(4) ? "grace { seconds: 5 }" : "", local(start),
          absl::ToInt64Seconds(lasts), more));
}

std::string Workload::Placement() {
  switch (random_.Below(8)) {
    case 0:
      return "placement { policy: PLACEMENT_POLICY_SPREAD_RACKS }";
    case 1:
      return "placement { policy: PLACEMENT_POLICY_SPREAD_FEEDS }";
    default:
      return "";
  }
}

// Parts at this site and at another, or twice here, soon enough that some of them lapse.
Request Workload::Bundle(absl::Time now) {
  const absl::Time start = now + absl::Seconds(30 + 30 * random_.Below(20));
  std::string parts;
  for (const std::string& at : {site_, Pick(sites_)}) {
    parts += fmt::format(
        R"(parts {{ site: "sites/{}" contract: "customers/{}-wide/contracts/c" model: "models/m" count: {}
             start_time {{ {} }} end_time {{ {} }} purpose: PURPOSE_TRAINING data_classes: "{}" }})",
        at, site_, 1 + random_.Below(2), Seconds(start),
        Seconds(start + absl::Seconds(10 * (1 + random_.Below(12)))),
        random_.OneIn(8) ? "HEALTH" : "PUBLIC");
  }
  return Make("reservations", fmt::format("reserve_bundle {{ {} }}", parts));
}

// Two customers of the site are kept apart for a while, now and then.
Request Workload::Separate() {
  if (separations_ > 0 && random_.OneIn(2)) {
    return Make(
        "reservations",
        fmt::format(R"(end_separation {{ name: "sites/{}/separations/s{}" reason: "noise" }})",
                    site_, random_.Below(separations_)));
  }
  return Make("reservations",
              fmt::format(R"(separate_parties {{ name: "sites/{0}/separations/s{1}" reason: "noise"
                               parties: "customers/{0}-wide" parties: "customers/{0}-narrow" }})",
                          site_, separations_++));
}

Request Workload::Care(const std::string& server) {
  switch (random_.Below(8)) {
    case 0:
      return Make("inventory",
                  fmt::format(R"(quarantine_server {{ name: "{}" reason: "hot" }})", server));
    case 1:
      return Make("inventory",
                  fmt::format(R"(repair_server {{ name: "{}" detail: "pump" }})", server));
    case 2:
      return Make("inventory",
                  fmt::format(R"(change_firmware {{ name: "{}" component: "bmc" version: "{}" }})",
                              server, random_.Below(3)));
    case 3:
      return Make("inventory", fmt::format(R"(start_test {{ name: "{}" }})", server));
    default:
      return Make("inventory",
                  fmt::format(R"(leave_service {{ name: "{}" reason: "old" }})", server));
  }
}

// What the site, or a feed of it, may draw and cool from a time on: until then, or until it is said
// anew.
Request Workload::Derate(absl::Time now) {
  const absl::Time from = now + absl::Seconds(10 * random_.Below(20));
  std::string when = fmt::format("effective_from {{ {} }}", Seconds(from));
  if (random_.OneIn(2)) {
    when += fmt::format(" until {{ {} }} cause: ENVELOPE_CAUSE_EQUIPMENT",
                        Seconds(from + absl::Seconds(10 * (1 + random_.Below(12)))));
  }
  if (random_.OneIn(3)) {
    return Make(
        "inventory",
        fmt::format(R"(set_feed_envelope {{ name: "sites/{}/feeds/f{}" {} it_power_watts: {} }})",
                    site_, random_.Below(2), when, 100 * random_.Below(4)));
  }
  return Make("inventory",
              fmt::format(R"(set_envelope {{ site: "sites/{}" {} it_power_watts: {}
                                                cooling_watts: {} }})",
                          site_, when, 200 + 100 * random_.Below(6), 200 + 90 * random_.Below(6)));
}

// A window is proposed and announced, and then whatever may happen to one of the latest happens.
Request Workload::Maintain(absl::Time now) {
  const auto name = [&](int number) { return fmt::format("sites/{}/windows/w{}", site_, number); };
  const int latest = windows_ - static_cast<int>(random_.Below(3));
  const std::string window = fmt::format("name: \"{}\"", name(std::max(latest, 0)));
  switch (random_.Below(10)) {
    case 0:
    case 1: {
      const absl::Time start = now + absl::Seconds(10 * random_.Below(8));
      const absl::Time end = start + absl::Seconds(10 * (1 + random_.Below(6)));
      const uint64_t server = random_.Below(kServers);
      return Make(
          "inventory",
          fmt::format(
              R"(propose_window {{ name: "{}" servers: "sites/{}/servers/s{}" servers: "sites/{}/servers/s{}"
                    start_time {{ {} }} end_time {{ {} }} work: "look" overrun: {} window_class: {} }})",
              name(++windows_), site_, server, site_, (server + 1) % kServers, Seconds(start),
              Seconds(end), random_.OneIn(2) ? "OVERRUN_POLICY_FINISH" : "OVERRUN_POLICY_ABORT",
              random_.OneIn(5)
                  ? R"(WINDOW_CLASS_EMERGENCY basis_kind: BASIS_KIND_OPERATIONAL basis: "leak")"
                  : "WINDOW_CLASS_PLANNED"));
    }
    case 2:
    case 3:
      return Make("inventory", fmt::format("announce_window {{ {} }}", window));
    case 4:
    case 5:
    case 6:
      return Make(
          "inventory",
          fmt::format(R"(consent_to_window {{ {} customer: "customers/{}-{}" {} }})", window,
                      random_.OneIn(3) ? Pick(sites_) : site_, random_.OneIn(4) ? "narrow" : "wide",
                      latest % 2 == 0 ? "relocation: true" : ""));
    case 7:
      if (random_.OneIn(2))
        return Make("inventory", fmt::format(R"(add_work {{ {} text: "more" }})", window));
      return Make(
          "inventory",
          fmt::format(R"(refuse_window {{ {} customer: "customers/{}-wide" reason: "no" }})",
                      window, site_));
    case 8:
      return Make("inventory", fmt::format("open_window {{ {} }}", window));
    default:
      if (random_.OneIn(4))
        return Make("inventory", fmt::format(R"(cancel_window {{ {} reason: "later" }})", window));
      return Make("inventory", fmt::format("close_window {{ {} }}", window));
  }
}

Request Workload::Next(absl::Time now) {
  const std::string server =
      fmt::format("sites/{}/servers/s{}", site_, random_.Below(kServers + 1));
  const std::string contract =
      fmt::format("customers/{}-wide/contracts/c", random_.OneIn(3) ? Pick(sites_) : site_);
  switch (random_.Below(30)) {
    case 25:
      // Seldom, for what is closed is lost to the rest of the world's wishes; and now and then
      // somebody asks the wrong site.
      if (!random_.OneIn(3)) return Reserve(now);
      return Make(
          "reservations",
          fmt::format(
              R"(plan_wave {{ name: "sites/{}/waves/w{}" model: "models/m" {}
                                    start_time {{ {} }} share_percent: {} }})",
              random_.OneIn(4) ? Pick(sites_) : site_, random_.Below(3),
              random_.OneIn(2) ? fmt::format("customers: \"customers/{}-wide\"", Pick(sites_)) : "",
              Seconds(now + absl::Seconds(10 * random_.Below(10))), 50 + random_.Below(51)));
    case 23:
      return Make("reservations",
                  fmt::format(R"(request_quota {{ contract: "{}" amount {{ accelerators: {}
                                    accelerator_seconds: {} }} }})",
                              contract, 1 + random_.Below(16), 600 * random_.Below(6)));
    case 24:
      return Make("reservations",
                  fmt::format(R"(return_quota {{ contract: "{}" amount {{ accelerators: {}
                                    accelerator_seconds: {} }} }})",
                              contract, random_.Below(16), 600 * random_.Below(6)));
    case 26:
    case 27:
    case 28:
    case 29:
      return Maintain(now);
    case 0:
      return Make("inventory",
                  fmt::format(R"(cordon_server {{ name: "{}" reason: "noise" }})", server));
    case 1:
    case 2:
      return Make("inventory", fmt::format(R"(uncordon_server {{ name: "{}" }})", server));
    case 3:
      if (random_.OneIn(4)) return Care(server);
      if (random_.OneIn(3)) {
        return Make("inventory", fmt::format(R"(test_server {{ name: "{}" figures {{ name: "gemm"
                                                  value: {} unit: "tflops" }} }})",
                                             server, random_.OneIn(4) ? 0 : 5));
      }
      return Make("inventory", fmt::format(R"(enter_service {{ name: "{}" }})", server));
    case 4:
      return Derate(now);
    case 22:
      return Recur(now);
    case 20:
      return random_.OneIn(4) ? Separate() : Reserve(now);
    case 21:
      return random_.OneIn(2) ? Bundle(now) : Reserve(now);
    case 5:
      return Make("compliance", Rule(++rule_version_, random_.OneIn(2)));
    case 6:
    case 7:
      if (!reservations_.empty())
        return Make("deployment",
                    fmt::format(R"(deploy {{ artefact: "artefacts/a" reservation: "{}" }})",
                                Pick(reservations_)));
      return Reserve(now);
    case 8:
    case 9:
      if (!reservations_.empty() && random_.OneIn(8)) {
        return Make("reservations", fmt::format(R"(break_promise {{ name: "{}" reason: "noise" }})",
                                                Pick(reservations_)));
      }
      if (!reservations_.empty())
        return Make("reservations",
                    fmt::format(R"(cancel_reservation {{ name: "{}" reason: "changed" }})",
                                Pick(reservations_)));
      return Reserve(now);
    case 10:
      return Make("reservations", fmt::format(R"(set_margins {{ site: "sites/{}" model: "models/m"
                                   before {{ seconds: {} }} after {{ seconds: {} }} }})",
                                              site_, random_.Below(2) * 5, random_.Below(3) * 10));
    case 11:
      if (reservations_.empty()) return Reserve(now);
      if (random_.OneIn(3)) {
        return Make("reservations",
                    fmt::format(R"(accept_replacement {{ name: "{}" }})", Pick(reservations_)));
      }
      if (random_.OneIn(4)) {
        return Make("reservations",
                    fmt::format(R"(revoke_reservation {{ name: "{}" cause: "an order"
                                     legal_basis {{ instrument: "Law" article: "1" }} }})",
                                Pick(reservations_)));
      }
      return Make("reservations",
                  fmt::format(R"(release_reservation {{ name: "{}" reason: "done" }})",
                              Pick(reservations_)));
    case 12:
    case 13:
      if (reservations_.empty()) return Reserve(now);
      return Make(
          "reservations",
          fmt::format(
              R"(extend_reservation {{ name: "{}" end_time {{ {} }} longest_feasible: {} }})",
              Pick(reservations_), Seconds(now + absl::Seconds(10 * (1 + random_.Below(20)))),
              random_.OneIn(2)));
    case 14:
    case 15:
      if (reservations_.empty()) return Reserve(now);
      if (random_.OneIn(5)) {
        return Make("reservations",
                    fmt::format(R"(withdraw_amendment {{ name: "{}" reason: "changed" }})",
                                Pick(reservations_)));
      }
      return Make("reservations",
                  fmt::format(R"(amend_reservation {{ name: "{}" count: {} end_time {{ {} }} }})",
                              Pick(reservations_), 1 + random_.Below(4),
                              Seconds(now + absl::Seconds(10 * (2 + random_.Below(20))))));
    default:
      return Reserve(now);
  }
}

void Workload::Learn(const Request& request, const std::string& event_type,
                     const std::string& subject) {
  if (event_type == "concordat.reservations.v1.ReservationHeld") {
    reservations_.push_back(subject);
    const auto* command = dynamic_cast<const reservations::v1::Command*>(request.command.get());
    if (command->reserve().has_access()) {
      reservations_.push_back(subject + "-1");
      reservations_.push_back(subject + "-2");
    }
  }
  if (event_type == "concordat.reservations.v1.BundleRequested") {
    // Its first part is here, and named like it.
    reservations_.push_back(fmt::format("sites/{}/reservations/r-{}p1", site_,
                                        subject.substr(subject.rfind("/b-") + 3)));
  }
  while (reservations_.size() > 12) reservations_.erase(reservations_.begin());
}

}  // namespace concordat::simulation
