// The referee's books of what is kept back: servers that no wave has opened, hours that a contract
// does not have, and what is promised beyond what there is. Law: as the other books, they are told
// of the events of one site's reservations, and know no service's code.
#pragma once

#include <absl/time/time.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "concordat/reservations/v1/events.pb.h"
#include "tests/simulation/books.h"

namespace concordat::simulation {

// Whether nobody gets servers that are not open to it.
class Waves {
 public:
  // What is wrong with the event, in a sentence; empty where nothing is. `before` is what was
  // promised before it.
  std::string Take(const reservations::v1::Event& event, const Allocations& before, absl::Time at);

 private:
  std::string CheckOpen(const std::string& name, const std::string& customer,
                        const std::vector<std::string>& servers, absl::Time start,
                        const Allocations& before) const;
  bool Opens(const reservations::v1::WavePlanned& wave, const std::string& server,
             const Allocations& before) const;

  std::map<std::string, reservations::v1::WavePlanned> waves_;
};

// Whether what is held keeps to its contract's access hours.
class Hours {
 public:
  // What is wrong with the event, in a sentence; empty where nothing is.
  std::string Take(const reservations::v1::Event& event);

 private:
  using Span = std::pair<absl::Time, absl::Time>;
  void Sign(const reservations::v1::ContractSigned& contract);
  std::string Check(const std::string& name, const std::string& contract, const Span& use) const;

  std::map<std::string, std::vector<Span>> hours_;  // in order, of contracts that have some
  std::map<std::string, std::string> series_;       // contracts by what recurs
};

// Whether a shortfall is told where more is promised than there is, and nowhere else.
class Shortfalls {
 public:
  // What is wrong with the event, in a sentence; empty where nothing is. `after` is what is
  // promised with it.
  std::string Take(const reservations::v1::Event& event, const Allocations& after, absl::Time at);
  // Once everything was delivered: what is told still and is so no more; empty where nothing is.
  std::string Uncleared(const Allocations& allocations, absl::Time at) const;

 private:
  std::map<std::string, reservations::v1::ShortfallFound> found_;
};

}  // namespace concordat::simulation
