// Reading resources: `get`, `describe`, and what the other commands need of them.
#pragma once

#include <absl/status/statusor.h>
#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "concordat/node/v1/api.pb.h"
#include "services/cli/kinds.h"
#include "services/cli/session.h"

namespace concordat::cli {

using Resource = std::unique_ptr<google::protobuf::Message>;

// One resource by its full name, as a site has it. Waits until the site has folded `min_stream` up
// to `min_sequence`, where that is not empty. NOT_FOUND where the site has none of that name.
absl::StatusOr<Resource> FetchResource(Session& session, const Site& site, const Kind& kind,
                                       const std::string& name,
                                       node::v1::Freshness* freshness = nullptr,
                                       const std::string& min_stream = "",
                                       uint64_t min_sequence = 0);

// Every resource of a kind, all pages together. `home`: only that home site's; empty: every site's.
absl::StatusOr<node::v1::ListResourcesResponse> FetchResources(Session& session, const Site& site,
                                                               const Kind& kind,
                                                               const std::string& home,
                                                               const std::string& prefix);

// What `get` and `describe` were told.
struct GetOptions {
  std::vector<std::string> words;  // `TYPE`, `TYPE NAME` or `TYPE/NAME`
  bool all_sites = false;
  std::vector<std::string> where;  // `state=confirmed`; all of them are to hold
};

// A kind and perhaps a name, out of the words.
struct Target {
  const Kind* kind = nullptr;
  std::string name;  // as typed
};
absl::StatusOr<Target> ParseTarget(const std::vector<std::string>& words);

// A full name, out of `NAME`, `TYPE/NAME` or `TYPE NAME`. INVALID_ARGUMENT for a short name alone.
absl::StatusOr<std::string> ParseName(Session& session, const std::vector<std::string>& words);

absl::Status RunGet(Session& session, const GetOptions& options);
absl::Status RunDescribe(Session& session, const std::vector<std::string>& words);

// Every resource of a collection that is the site's own. INTERNAL where one is of another type.
template <typename Message>
absl::StatusOr<std::vector<Message>> FetchAll(Session& session, const Site& site,
                                              std::string_view collection) {
  const auto all = FetchResources(session, site, *KindOfCollection(collection), site.name, "");
  if (!all.ok()) return all.status();
  std::vector<Message> messages;
  for (const auto& any : all->resources()) {
    if (!any.UnpackTo(&messages.emplace_back())) {
      return absl::InternalError(fmt::format("found a resource of type {}, expected one of {}",
                                             any.type_url(), Message::descriptor()->full_name()));
    }
  }
  return messages;
}

}  // namespace concordat::cli
