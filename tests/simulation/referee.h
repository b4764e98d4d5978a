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
#include "tests/simulation/books.h"
#include "tests/simulation/endings.h"
#include "tests/simulation/quotas.h"
#include "tests/simulation/shortages.h"

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
  absl::flat_hash_set<events::Link> stood;  // whatever has ever stood in its home's log
  bool lost = false;                        // the log holds some of this no more
  // By actor and command id, the sequence.
  absl::flat_hash_map<std::pair<std::string, std::string>, uint64_t> commands;
};

class Referee {
 public:
  // `violation` is told the name of the invariant and what was found.
  using Violation = std::function<void(const std::string& invariant, const std::string& found)>;
  Referee(const std::vector<std::string>& sites, const std::vector<std::string>& services,
          Violation violation);

  // A process of a site sends records to a stream.
  void Sends(const std::string& site, const std::string& stream);
  // A record stands in another site's copy of a stream.
  void Copied(const std::string& site, const std::string& stream, const events::Record& record);
  // A record stands in its home's log, whether or not that has lost something.
  void Stood(const std::string& stream, const events::Record& record);
  // The same, of a log that has lost nothing.
  void Landed(const std::string& stream, int64_t offset,
              const storage::SimulatedCluster::Stored& record);
  // The log no longer holds all that it accepted. From now on Whole() is asked in place of
  // Landed().
  void Lost(const std::string& stream);
  // Whether this very record is accepted already.
  bool Accepted(const std::string& stream, const events::Record& record) const;
  // Whether a record of this link stands in the home's log and is not part of the history.
  bool IsVoid(const std::string& stream, const events::Link& link) const;
  // Whether a log that lost something holds all of it again, as it was, and its home goes on.
  bool Whole(const std::string& stream, const std::vector<storage::SimulatedCluster::Stored>& log);
  // What a writer appended before it saw the loss counts if another site had it in its place: the
  // branch that others saw wins.
  void SeenElsewhere(const std::string& stream,
                     const std::vector<storage::SimulatedCluster::Stored>& copy);
  // A caller asks with this id what a command would lead to, and nothing more.
  void Tries(const std::string& command_id) { trials_.insert(command_id); }
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
  // Attestations that were accepted.
  uint64_t attested() const { return attested_; }
  // Occurrences of what recurs that were held.
  uint64_t occurrences() const { return occurrences_; }
  // Once everything was delivered, by a site's wall clock: shortfalls that should have been
  // cleared.
  void CheckShortfalls(const std::string& site, absl::Time now);

 private:
  // What the books of a site's reservations say of an event.
  struct Books {
    Allocations allocations;
    Endings endings;
    Agreed agreed;
    Waves waves;
    Hours hours;
    Shortfalls shortfalls;
  };
  void Accept(History& history, Fact fact);
  // A violation where something is wrong with an event.
  void Find(const char* invariant, const std::string& wrong, const History& history,
            const events::Attributes& attributes, const google::protobuf::Message& event);
  void Judge(const History& history, const events::Attributes& attributes,
             const inventory::v1::Event& event);
  void Judge(const History& history, const events::Attributes& attributes,
             const reservations::v1::Event& event);

  Violation violation_;
  std::map<std::string, History> histories_;
  std::map<std::string, Books> books_;              // by stream
  std::map<std::string, Offers> offers_;            // by stream
  std::map<std::string, Maintenance> maintenance_;  // by stream
  std::set<std::string> trials_;                    // ids of what is only tried
  Bundles bundles_;
  Quotas quotas_;
  uint64_t accepted_ = 0;
  uint64_t voids_ = 0;
  uint64_t attested_ = 0;
  uint64_t occurrences_ = 0;
};

}  // namespace concordat::simulation
