// The referee's books of what the services of the sites have promised: servers that were tested,
// what is allocated, bundles, maintenance windows. Law: they are told of events, and know no
// service's code.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "concordat/inventory/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "tests/simulation/limits.h"

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
  // A reservation that is not over, or an amendment of it: what it has, and for how long nobody
  // else. What recurs is its occurrences.
  struct Held {
    std::string customer;
    std::string series;  // that it is an occurrence of
    std::vector<std::string> servers;
    absl::Time start;
    absl::Time end;
    absl::Time use_start;  // without the margin before it
    absl::Duration after;  // grace and margin
    Load load;
    bool running = false;
    bool ending = false;
    bool vacated = false;          // nothing runs any more, and it is not clean yet
    std::set<std::string> handed;  // those of the servers that were handed over
    std::set<std::string> lost;    // servers of anybody that were lost since it was held
  };

  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event, const std::string& site, absl::Time at);
  // The customers whose reservations have one of the servers within the span and whose time is not
  // over.
  std::set<std::string> CustomersOf(const std::vector<std::string>& servers, absl::Time start,
                                    absl::Time end) const;
  // A reservation that is not over.
  const Held* Find(const std::string& name) const;
  const std::map<std::string, reservations::v1::ServerRecorded>& servers() const {
    return servers_;
  }
  // How much more is promised of a feed, or with an empty name of the site, than there is: the most
  // at any instant from `from` on. What is being vacated does not count, for it will not last, but
  // where it is asked for.
  Load Missing(const std::string& feed, absl::Time from, bool with_vacating = false) const;

 private:
  // A reservation beside an amendment that is not decided yet; either may be missing.
  struct Own {
    std::optional<Held> confirmed;
    std::optional<Held> pending;
  };
  std::string Hold(const reservations::v1::ReservationHeld& event, const std::string& site);
  std::string Reassign(const reservations::v1::ServersReassigned& reassigned, absl::Time at);
  std::string Start(const reservations::v1::ReservationStarted& started);
  std::string Confirm(const reservations::v1::AmendmentConfirmed& confirmed, absl::Time at);
  std::string Extend(const reservations::v1::ScheduleExtended& extended);
  // It is over, and with it those of its occurrences that have not begun.
  void End(const std::string& name);
  std::string CheckHeld(const std::string& name, const Held& held) const;
  std::string CheckServers(const std::string& name, const Held& held,
                           const Held* had = nullptr) const;
  static Held HeldOf(const reservations::v1::Terms& terms,
                     const reservations::v1::Margins& margins);
  static Held HeldOf(const reservations::v1::Amendment& amendment);
  static Held HeldOf(const reservations::v1::Occurrence& occurrence, const Held& series);
  // `had`: what it had before, where it is none that is new.
  std::string CheckApart(const std::string& name, const Held& held, const Held* had) const;
  Own OwnOf(const std::string& name) const;
  const Held* FindPending(const std::string& name) const;
  // What a reservation and its amendment take at an instant of a feed, or with an empty name of the
  // site. Either may be missing.
  Load LoadAt(const Held* confirmed, const Held* pending, const std::string& feed,
              absl::Time at) const;
  // What all of them take.
  Load Sum(const std::string& feed, absl::Time at, bool with_vacating) const;
  Load LoadOf(const Held& held, const std::string& feed) const;
  // Where the reservation takes more than it did, all together take no more than there is.
  std::string CheckLoad(const std::string& name, const Own& before, absl::Time from) const;
  std::string CheckLoad(const std::string& name, const Own& before, absl::Time from,
                        const std::string& feed, const Limits& limits) const;
  // Where what is promised, or what there is, may begin to be at its worst.
  std::vector<absl::Time> Instants(const Limits& limits) const;

  std::map<std::string, reservations::v1::ServerRecorded> servers_;
  std::map<std::string, std::pair<std::string, std::string>> apart_;  // by separation
  std::map<std::string, Held> live_;
  std::map<std::string, Held> series_;   // those that recur, without servers
  std::map<std::string, Held> pending_;  // amendments, by their reservation
  // Customers that consented to being moved, by window that is drained.
  std::map<std::string, std::set<std::string>> drained_;
  Limits site_;
  std::map<std::string, Limits> feeds_;
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
