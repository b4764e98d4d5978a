// A site with servers, an envelope and a contract, for the tests of reservations.
#pragma once

#include <fmt/format.h>

#include <string>

#include "services/reservations/service.h"
#include "services/runtime/check.h"
#include "tests/support/scenario.h"

namespace concordat::reservations {

// `seconds: …` of an RFC 3339 time, for text-format literals.
inline std::string Seconds(const std::string& rfc3339) {
  return fmt::format("seconds: {}", absl::ToUnixSeconds(test::Time(rfc3339)));
}

inline std::string RefusalFor(v1::Reason reason) {
  return fmt::format("command_refused {{ reason: {} }}", v1::Reason_Name(reason));
}

// All rows, to see whether anything changed.
inline std::string Dump(const storage::RowSource& source) {
  std::string dump;
  source.Scan("", [&](std::string_view key, std::string_view value) {
    dump += fmt::format("{}={}\n", key, value);
    return true;
  });
  return dump;
}

struct Wish {
  std::string start = "2027-01-01T10:00:00Z";
  std::string end = "2027-01-01T12:00:00Z";
  int count = 1;
  std::string site = "sites/paris";
  std::string contract = "customers/hsbc/contracts/frame";
  std::string model = "models/m";
  std::string data_class = "PUBLIC";
  std::string more = {};  // further fields, as text
};

inline std::string TermsText(const Wish& wish) {
  return fmt::format(R"(contract: "{}" model: "{}" count: {} start_time {{ {} }} end_time {{ {} }}
                        purpose: PURPOSE_TRAINING data_classes: "{}" {})",
                     wish.contract, wish.model, wish.count, Seconds(wish.start), Seconds(wish.end),
                     wish.data_class, wish.more);
}

inline std::string ContractText(const std::string& site, int max_servers,
                                const std::string& id = "frame") {
  return fmt::format(
      R"(name: "customers/hsbc/contracts/{}" customer: "customers/hsbc" country: "GB" sector: "FINANCE"
                        sites: "{}" sites: "sites/borlange" max_servers_per_site: {}
                        start_time {{ {} }} end_time {{ {} }} data_classes: "PUBLIC" data_classes: "HEALTH")",
      id, site, max_servers, Seconds("2027-01-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z"));
}

// At 2027-01-01T09:00: servers s1 to s4 of 100 W and 90 W heat each, an envelope that fits all of
// them, and a contract that covers all of them.
struct Paris : test::Scenario<Service> {
  explicit Paris(const std::string& site = "paris") : Scenario(site), site_("sites/" + site) {
    At("2027-01-01T09:00:00Z");
    Given(fmt::format(R"(site_recorded {{ name: "{}" country: "FR" certifications: "HDS" }})",
                      site_));
    Envelope("2026-01-01T00:00:00Z", 400, 360);
    for (int i = 1; i <= 4; ++i) Server(fmt::format("s{}", i));
    Given(fmt::format("contract_signed {{ {} }}", ContractText(site_, 10)));
  }

  Paris& At(const std::string& rfc3339) {
    Scenario::At(rfc3339);
    return *this;
  }
  void Envelope(const std::string& from, int64_t power, int64_t cooling) {
    Given(fmt::format(
        R"(envelope_recorded {{ site: "{}" effective_from {{ {} }} it_power_watts: {} cooling_watts: {} }})",
        site_, Seconds(from), power, cooling));
  }
  void Server(const std::string& id, bool bookable = true, bool lost = false) {
    Given(fmt::format(
        R"(server_recorded {{ name: "{}/servers/{}" model: "models/m" it_power_watts: 100 cooling_watts: 90
                          bookable: {} lost: {} }})",
        site_, id, bookable, lost));
  }

  v1::Event Reserve(const Wish& wish, const std::string& command_id = {}) {
    const std::string id = command_id.empty() ? fmt::format("reserve-{}", ++reserved_) : command_id;
    return When(fmt::format(R"(reserve {{ site: "{}" {} }})", wish.site, TermsText(wish)), id);
  }
  // A hold that was confirmed; its name.
  std::string Confirmed(const Wish& wish) {
    const v1::Event held = Reserve(wish);
    EXPECT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
    const std::string name = held.reservation_held().name();
    EXPECT_TRUE(About("confirm_reservation", name).has_reservation_confirmed());
    return name;
  }
  // A command that has a name only.
  v1::Event About(const std::string& command, const std::string& name) {
    return When(fmt::format("{} {{ name: \"{}\" }}", command, name),
                fmt::format("{}-{}", command, ++reserved_));
  }

  v1::Reservation Row(const std::string& name) {
    return state().rows.reservations.Get(name).value_or(v1::Reservation());
  }

 private:
  std::string site_;
  int reserved_ = 0;
};

}  // namespace concordat::reservations
