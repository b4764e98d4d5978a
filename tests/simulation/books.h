// The referee's books of what the services of the sites have promised: servers that were tested,
// what is allocated, bundles, maintenance windows. Law: they are told of events, and know no
// service's code.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "concordat/inventory/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"

namespace concordat::simulation {

// Whether nothing enters service without a burn-in that passed, and nothing that is retired comes
// back: told of the events of one site's inventory.
class Offers {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const inventory::v1::Event& event);

 private:
  std::set<std::string> passed_;  // the latest burn-in passed, and nothing happened to it since
  std::set<std::string> retired_;
};

// Whether servers, power and cooling of one site are promised once: told of the events of its
// reservations.
class Allocations {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event, const std::string& site, absl::Time at);
  // The customers whose reservations have one of the servers within the span and whose time is not
  // over.
  std::set<std::string> CustomersOf(const std::vector<std::string>& servers, absl::Time start,
                                    absl::Time end) const;

 private:
  struct Held {
    std::string customer;
    std::vector<std::string> servers;
    absl::Time start;
    absl::Time end;
    int64_t power = 0;
    int64_t cooling = 0;
    bool running = false;
    bool ending = false;
    std::set<std::string> lost;  // servers of anybody that were lost since it was held
  };
  struct Envelope {
    absl::Time from;
    int64_t power = 0;
    int64_t cooling = 0;
  };
  std::string CheckHeld(const std::string& name, const Held& held) const;
  std::string CheckServers(const std::string& name, const Held& held,
                           const Held* had = nullptr) const;
  static Held HeldOf(const reservations::v1::Amendment& amendment);
  std::string CheckApart(const std::string& name, const Held& held) const;
  std::string CheckEnvelope(const Held& held) const;
  std::string CheckFeeds(const Held& held) const;

  std::map<std::string, reservations::v1::ServerRecorded> servers_;
  std::map<std::string, std::pair<std::string, std::string>> apart_;  // by separation
  std::map<std::string, Held> live_;
  std::map<std::string, Held> pending_;  // amendments, by their reservation
  // Customers that consented to being moved, by window that is drained.
  std::map<std::string, std::set<std::string>> drained_;
  // In the order in which they were recorded.
  std::vector<Envelope> envelopes_;
  std::map<std::string, std::vector<Envelope>> feeds_;
};

// Whether bundles take place as a whole: told of the events of all sites' reservations.
class Bundles {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event);
  // Once everything was delivered: what takes place in part; empty where nothing does.
  std::string Unsettled() const;

 private:
  std::map<std::string, std::set<std::string>> parts_;
  std::map<std::string, bool> committed_;  // those that are decided
  std::set<std::string> promised_;
  std::set<std::string> settled_;  // confirmed, or broken by an operator
};

// Whether maintenance windows open as they may: told of the events of one site's inventory.
class Maintenance {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is. `allocations` are those
  // of the site, as far as its reservations have been accepted.
  std::string Take(const inventory::v1::Event& event, const Allocations& allocations);

 private:
  struct Window {
    inventory::v1::WindowProposed plan;
    std::set<std::string> consents;  // to the work list as it is
  };
  std::map<std::string, Window> windows_;
};

}  // namespace concordat::simulation
