// The referee's book of what is over and of the terms that hold: told of the events of one site's
// reservations. Law: as the other books, it knows no service's code.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "concordat/reservations/v1/events.pb.h"

namespace concordat::simulation {

// Whether what is over stays over.
class Endings {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event);

 private:
  std::set<std::string> ended_;
  std::set<std::string> begun_;  // occurrences that go on whatever becomes of what recurs
  std::map<std::string, std::vector<std::string>> occurrences_;
};

// Whether the terms that were confirmed hold until others are: whatever became of an amendment that
// was dropped, lapsed or withdrawn.
class Agreed {
 public:
  // What is wrong after the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event, absl::Time at);

 private:
  struct Terms {
    std::string customer;
    absl::Time start;
    absl::Time end;
    absl::Duration grace;
  };
  static Terms TermsOf(const reservations::v1::Terms& terms);
  std::string CheckEnd(const std::string& name, absl::Time end, absl::Duration more = {}) const;

  std::map<std::string, Terms> terms_;
  std::map<std::string, reservations::v1::Amendment> pending_;  // by reservation
};

}  // namespace concordat::simulation
