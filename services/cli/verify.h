// Whether every site has the same history and the same state.
// Law: a lower head is *behind* only where the link at that sequence is the other site's link
// there; anything else is *different*, and different is never waited away.
#pragma once

#include <absl/status/statusor.h>

#include <functional>
#include <string>
#include <vector>

#include "concordat/node/v1/api.pb.h"
#include "services/cli/session.h"

namespace concordat::cli {

// One process's answer. `label` is the site, with the address where the site has several processes.
struct Replica {
  std::string label;
  std::string site;
  std::string address;
  node::v1::VerifyResponse response;
};

// The link that a replica has for a stream at a sequence.
using LinkAt =
    std::function<absl::StatusOr<std::string>(const Replica&, const std::string& stream, uint64_t)>;

struct Disagreement {
  enum class Kind { kBehind, kDifferent };
  Kind kind;
  std::string stream;
  std::string table;  // empty where it is not about a table
  std::string text;   // who has what
};

struct Comparison {
  size_t streams = 0;
  size_t sites = 0;
  std::vector<Disagreement> disagreements;
  bool Has(Disagreement::Kind kind) const;
};

// Compares conditions, heads, links and digests. Calls `link_at` for heads that differ; its error
// is returned.
absl::StatusOr<Comparison> Compare(const std::vector<Replica>& replicas, const LinkAt& link_at);

// The last line of `verify`.
std::string Verdict(const Comparison& comparison);

struct VerifyOptions {
  std::string stream;  // empty: every one
  std::string wait;    // a duration: how long behind is waited for
  bool deep = false;   // every stream is folded again from its log
};
absl::Status RunVerify(Session& session, const VerifyOptions& options);

}  // namespace concordat::cli
