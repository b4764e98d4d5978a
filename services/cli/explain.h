// Why something is as it is: the chain of causes, from the events themselves.
// Law: an explanation is a pure function of accepted events; nothing in it is guessed.
#pragma once

#include <absl/status/status.h>

#include <string>
#include <string_view>
#include <vector>

#include "services/cli/events.h"
#include "services/cli/session.h"

namespace concordat::cli {

// An order that no answer has come to.
struct PendingOrder {
  std::string order;  // `sites/paris/orders/r-7k2m9x4q1b`
  std::string site;   // `sites/borlange`, which is to decide
};

// The tree of causes in the order of time: who asked what and when, what followed from it and where
// it stands, refusals with their reasons, judgements with their findings. An event whose cause is
// not among the events begins a tree of its own.
std::string CauseTree(const Events& events);

// What a judgement found: a line a finding that applies, and how many do not.
std::vector<std::string> FindingLines(const google::protobuf::Message& fact);

// Orders without an answer among the events.
std::vector<PendingOrder> PendingOrders(const Events& events);

// What `explain` was told; one of them.
struct ExplainOptions {
  std::vector<std::string> words;  // NAME, TYPE/NAME or TYPE NAME
  std::string request;             // a request id
  std::string correlation;         // a story
  bool full = false;               // every server of a refusal, too
};
absl::Status RunExplain(Session& session, const ExplainOptions& options);

}  // namespace concordat::cli
