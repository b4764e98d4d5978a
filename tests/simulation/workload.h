// What callers of one site ask for: first what makes it a site, then whatever comes to their minds.
// Law: every request passes Validate(), as those do that come through the door.
#pragma once

#include <absl/time/time.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "services/runtime/engine.h"
#include "tests/simulation/scheduler.h"

namespace concordat::simulation {

struct Request {
  std::string service;
  std::shared_ptr<const google::protobuf::Message> command;
};

class Workload {
 public:
  // `sites` are all; `site` is the one that is asked. The random numbers are not owned.
  Workload(std::string site, std::vector<std::string> sites, Chance& random);

  // What must have come to an end, in this order, before anything else is asked.
  std::deque<Request>& setup() { return setup_; }
  // `now` is the site's wall clock.
  Request Next(absl::Time now);
  // Something that was created by a request may be asked about from now on.
  void Learn(const Request& request, const std::string& event_type, const std::string& subject);

 private:
  void Add(const std::string& service, const std::string& text);
  Request Make(const std::string& service, const std::string& text) const;
  // What is done to a server that is not well, or not wanted.
  Request Care(const std::string& server);
  std::string Customer();
  Request Reserve(absl::Time now);
  Request Recur(absl::Time now);
  Request Derate(absl::Time now);
  std::string Placement();
  Request Separate();
  Request Bundle(absl::Time now);
  Request Maintain(absl::Time now);
  const std::string& Pick(const std::vector<std::string>& names) {
    return names[random_.Below(names.size())];
  }

  const std::string site_;
  const std::vector<std::string> sites_;
  Chance& random_;
  std::deque<Request> setup_;
  std::vector<std::string> reservations_;
  int servers_ = 0;
  size_t separations_ = 0;
  int rule_version_ = 1;
  int windows_ = 0;
};

}  // namespace concordat::simulation
