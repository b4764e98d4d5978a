// The referee's own books of contracts' quotas, over all sites at once: told of every reservations
// event in the order in which they come to stand in their homes' logs.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "concordat/reservations/v1/events.pb.h"

namespace concordat::simulation {

class Quotas {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event, const std::string& site, absl::Time at);

 private:
  struct Total {
    int64_t accelerators = 0;
    int64_t seconds = 0;
  };
  struct Use {
    std::string contract;
    int64_t accelerators = 0;
    absl::Time start;
    absl::Time end;
    bool started = false;
  };
  // Contract, site that gets or gives, number.
  using Key = std::tuple<std::string, std::string, int64_t>;

  using Segments = google::protobuf::RepeatedPtrField<reservations::v1::Segment>;
  // What the reservation uses from now on, over all of its time.
  std::string Divide(const std::string& reservation, const Segments& segments);
  void EndUse(const std::string& reservation, absl::Time at);
  std::string CheckUse(const std::string& contract) const;
  std::string CheckAnswer(const reservations::v1::QuotaAnswered& answered, const std::string& site);
  std::string CheckReclaim(const reservations::v1::QuotaReclaimed& reclaimed);

  std::map<std::string, Total> totals_;
  // What was not given up before it began, over or not: the sites' clocks differ.
  std::map<std::string, Use> uses_;
  std::map<std::string, std::vector<std::string>> occurrences_;  // of what recurs
  std::map<Key, std::string> granted_;  // amounts as bytes, until they arrive
  std::map<Key, std::string> returned_;
};

}  // namespace concordat::simulation
