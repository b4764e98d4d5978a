// What is free when: the time spans taken of every server, power and cooling in use at the site and
// on each of its feeds, and what each contract has reserved. Law: derived from the rows alone,
// change by change; rebuilt from the same rows it is equal. It knows no clock: what is late is told
// from `now`, which the caller brings.
//
// A reservation takes its servers, power and cooling over its block: [start, end) with its margins
// and its grace (margins.h). Once it is ENDING it takes them without end, until nothing runs any
// more: nobody knows how long a removal takes. What runs or is cleaned and whose block has passed
// counts as ENDING. A contract's use is what was reserved, [start, end), up to a release: that a
// removal is late is not held against the customer.
// A maintenance window claims its servers over its span, whether or not reservations have them, and
// those that it keeps for what it moves; it draws nothing.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/node_hash_map.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/feeds.h"
#include "services/reservations/occupancy.h"
#include "services/reservations/pool.h"
#include "services/reservations/timeline.h"
#include "storage/projection/rows.h"

namespace concordat::reservations {

// Not thread-safe.
class Index {
 public:
  Index() = default;
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  void Apply(const storage::Change& change);

  // The first `count` servers of the model, by name, that are bookable and free over the whole
  // span; fewer where there are not so many. Costs the logarithm of the number of reservations.
  std::vector<std::string> FindFree(const std::string& model, const Span& span, absl::Time now,
                                    size_t count) const;
  // The same servers in all of several spans: the windows of a recurrence. Spans may overlap or
  // touch; empty ones ask for nothing.
  std::vector<std::string> FindFree(const std::string& model, std::vector<Span> spans,
                                    absl::Time now, size_t count) const;
  // Whether FindFree() would name this server of its model.
  bool IsFree(const std::string& server, const Span& span, absl::Time now) const;
  // Whether any reservation has the server at some time of the span, bookable or not.
  bool IsPromised(const std::string& server, const Span& span) const;
  // How many servers of the model are bookable, free or not.
  size_t CountBookable(const std::string& model) const;
  // The bookable servers of a model; nothing where there are none. Until the next change.
  const Pool* FindPool(const std::string& model) const;

  // What is known of a model's servers beside those that are bookable.
  struct Model {
    size_t known = 0;  // bookable ones too
    std::set<std::string> lost;
    std::set<std::string> cordoned;  // neither bookable nor lost
    // How many of its servers draw and give off so much.
    std::map<std::pair<int64_t, int64_t>, size_t> watts;
    bool operator==(const Model&) const = default;
  };
  const std::map<std::string, Model>& models() const { return models_; }
  // The least that so many servers of the model draw and give off.
  Watts LeastWatts(const std::string& model, int64_t count) const;
  // The most power that one server of the model draws, in watts; zero where there is none.
  int64_t MostPower(const std::string& model) const;

  // The names of the release waves that are about the model.
  std::set<std::string> WavesOf(const std::string& model) const;

  // Those that a customer or reservation is kept apart from.
  std::set<std::string> ApartFrom(const std::string& party) const;
  // Calls `visit` with the place of each server that one of the customers has within the span, or
  // that runs late for it. Looks at every server.
  void VisitPlaces(const std::set<std::string>& customers, const Span& span, absl::Time now,
                   absl::FunctionRef<void(const ServerPlace&)> visit) const;
  // Where a server stands; nothing where it is not known. Until the next change.
  const ServerPlace* PlaceOf(const std::string& server) const;
  // Their names, in order.
  std::vector<std::string> BookableServers(const std::string& model) const;
  // What a server draws and gives off; zero where it is not known.
  Watts WattsOf(const std::string& server) const;

  // The most in use at any instant of the span.
  Watts Peak(const Span& span, absl::Time now) const;
  // The first instant of the span at which more than the limit is in use, of power or of cooling,
  // and what is; nothing where it never is.
  std::optional<std::pair<absl::Time, Watts>> FirstAbove(const Span& span, const Watts& limit,
                                                         absl::Time now) const;
  // From when on the limit is kept up to the span's end; the end where it is not.
  absl::Time KeptFrom(const Span& span, const Watts& limit, absl::Time now) const;
  // The most servers that the contract has reserved at any instant of the span.
  int64_t ContractPeak(const std::string& contract, const Span& span) const;
  // From when on it has at most so many up to the span's end; the end where it has more.
  absl::Time ContractKeptFrom(const std::string& contract, const Span& span, int64_t most) const;
  // The most accelerators that it has reserved at any instant of the span.
  int64_t AcceleratorPeak(const std::string& contract, const Span& span) const;
  // What a server has; zero where it is not known.
  int64_t AcceleratorsOf(const std::string& server) const;

  // What runs now, late or not: ACTIVE and ENDING.
  const Watts& running() const { return running_; }
  // What is being vacated now: it counts without end, though it will not last.
  const Watts& ending() const { return ending_; }

  // The site's power feeds, their limits and what is drawn of them.
  const Feeds& feeds() const { return feeds_; }
  // What the servers draw of each feed that has a limit, in watts. Servers that are not known, or
  // whose feed is not, draw nothing.
  std::map<std::string, int64_t> FeedDraws(const std::vector<std::string>& servers) const;

  // What is reserved of the site over the span: the level from each change on, the first from the
  // span's start. Costs a step for each change within the span.
  std::vector<std::pair<absl::Time, Watts>> Levels(const Span& span) const;

  // Those of the servers on which a reservation of another name runs.
  std::vector<std::string> TakenServers(
      const google::protobuf::RepeatedPtrField<std::string>& servers,
      std::string_view reservation) const;

  // For tests: an index kept through any history equals one rebuilt from its rows.
  friend bool operator==(const Index& a, const Index& b);

 private:
  // A reservation that is ACTIVE or ENDING on a server.
  struct Run {
    std::string reservation;
    absl::Time start;         // of its block
    absl::Time overdue_from;  // its end; the beginning of time once it is ENDING
    Schedule::Holder customer;
    bool operator==(const Run& other) const {
      return reservation == other.reservation && start == other.start &&
             overdue_from == other.overdue_from && *customer == *other.customer;
    }
  };
  struct Server {
    bool known = false;  // it has a row
    std::string model;
    bool bookable = false;
    bool lost = false;
    Watts watts;
    ServerPlace place;
    int64_t accelerators = 0;
    Schedule schedule;         // of what is HELD, CONFIRMED or ACTIVE
    std::vector<Run> running;  // one at most, but for histories that no decider wrote
    bool operator==(const Server&) const = default;
    bool empty() const { return !known && schedule.empty() && running.empty(); }
  };

  void SetServer(const std::string& name, const v1::ServerRecorded* recorded);
  void DrawAll(const Server& server, int64_t sign);
  void DrawFor(const std::vector<std::string>& servers, Occupancy::Phase phase, const Span& span,
               int64_t sign);
  void CountServer(const std::string& name, const Server& server, bool lost, bool enters);
  void SetWave(const std::string& name, const std::optional<v1::Wave>& before,
               const std::optional<v1::Wave>& after);
  void SetSeparation(const std::optional<v1::Separation>& before,
                     const std::optional<v1::Separation>& after);
  Schedule::Holder HolderOf(const std::string& customer);
  Watts Late(absl::Time now) const;
  void Take(const Occupancy& occupancy);
  void Release(const Occupancy& occupancy);
  void TakeUse(const Occupancy& occupancy, int64_t sign);
  void Reserve(const std::string& contract, const Span& use, const Usage& usage);
  void TakePart(const Occupancy& occupancy, const Part& part, int64_t sign);
  void Occupy(const std::string& name, const Occupancy& occupancy, bool take);
  void Claim(const v1::WindowAffects& window, bool take);
  void ClaimServer(const std::string& name, const Span& span, bool take);

  absl::node_hash_map<std::string, Server> servers_;
  std::map<std::string, Model> models_;
  std::map<std::string, std::set<std::string>> waves_;  // by model
  std::map<std::string, std::multiset<std::string>> apart_;
  std::set<std::string> customers_;  // every one that ever held anything; schedules point to them
  // Bookable servers by model. They point into servers_, whose nodes stay where they are.
  std::map<std::string, Pool> pools_;
  Timeline<Watts> watts_;
  std::map<std::string, Timeline<Usage>> contracts_;
  // What is ACTIVE, by end, to know what is late.
  absl::btree_map<std::pair<absl::Time, std::string>, Watts> active_;
  Watts running_;
  Watts ending_;
  Feeds feeds_;
};

}  // namespace concordat::reservations
