// The referee sees every record that comes to stand in a home's log, and judges by a rule of its
// own, as naive as it is written. Law: it shares with the services the reading of a record's
// attributes and the messages, and nothing else.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/time/time.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "concordat/inventory/v1/events.pb.h"
#include "concordat/reservations/v1/events.pb.h"
#include "concordat/type/v1/command.pb.h"
#include "events/record.h"
#include "storage/log/simulated.h"
#include "tests/simulation/quotas.h"

namespace concordat::simulation {

// Of two releases the older has no maintenance windows, whose commands and events have numbers from
// here on in every service.
constexpr int kFirstNew = 70;

// An accepted event.
struct Fact {
  events::Attributes attributes;
  storage::SimulatedCluster::Stored record;
  int64_t offset = -1;
};

// The history of one stream.
struct History {
  std::string stream;
  std::string source;
  std::vector<Fact> facts;
  int64_t end = 0;  // offset after the last record, void or not
  uint64_t voids = 0;
  int64_t first_new =
      -1;  // the sequence of the first event that the older of two releases knows not
  absl::flat_hash_set<events::Link> seen;
  bool lost = false;  // the log holds some of this no more
  // By actor and command id, the sequence.
  absl::flat_hash_map<std::pair<std::string, std::string>, uint64_t> commands;
};

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
  std::string Take(const reservations::v1::Event& event, const std::string& site);
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
  std::string CheckServers(const std::string& name, const Held& held) const;
  static Held HeldOf(const reservations::v1::Amendment& amendment);
  std::string CheckApart(const std::string& name, const Held& held) const;
  std::string CheckEnvelope(const Held& held) const;

  std::map<std::string, reservations::v1::ServerRecorded> servers_;
  std::map<std::string, std::pair<std::string, std::string>> apart_;  // by separation
  std::map<std::string, Held> live_;
  std::map<std::string, Held> pending_;  // amendments, by their reservation
  std::vector<Envelope> envelopes_;      // in the order in which they were recorded
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

class Referee {
 public:
  // `violation` is told the name of the invariant and what was found.
  using Violation = std::function<void(const std::string& invariant, const std::string& found)>;
  Referee(const std::vector<std::string>& sites, const std::vector<std::string>& services,
          Violation violation);

  // A record stands in its home's log.
  void Landed(const std::string& stream, int64_t offset,
              const storage::SimulatedCluster::Stored& record);
  // The log no longer holds all that it accepted. From now on Whole() is asked in place of
  // Landed().
  void Lost(const std::string& stream);
  // Whether this very record is accepted already.
  bool Accepted(const std::string& stream, const events::Record& record) const;
  // Whether a log that lost something holds all of it again, as it was, and its home goes on.
  bool Whole(const std::string& stream, const std::vector<storage::SimulatedCluster::Stored>& log);
  // What a writer appended before it saw the loss counts if another site had it in its place: the
  // branch that others saw wins.
  void SeenElsewhere(const std::string& stream,
                     const std::vector<storage::SimulatedCluster::Stored>& copy);
  // A caller was told that its command came to this.
  void Acknowledged(const std::string& actor, const std::string& digest,
                    const type::v1::Outcome& outcome);
  // Somebody folded up to this head.
  void Folded(const std::string& who, const std::string& stream, int64_t sequence,
              const events::Link& link);

  const std::map<std::string, History>& histories() const { return histories_; }
  const History& Of(const std::string& stream) const { return histories_.at(stream); }
  uint64_t accepted() const { return accepted_; }
  uint64_t voids() const { return voids_; }
  const Bundles& bundles() const { return bundles_; }

 private:
  void Accept(History& history, Fact fact);

  Violation violation_;
  std::map<std::string, History> histories_;
  std::map<std::string, Allocations> allocations_;  // by stream
  std::map<std::string, Offers> offers_;            // by stream
  std::map<std::string, Maintenance> maintenance_;  // by stream
  Bundles bundles_;
  Quotas quotas_;
  uint64_t accepted_ = 0;
  uint64_t voids_ = 0;
};

}  // namespace concordat::simulation
