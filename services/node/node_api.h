// The door for queries and operations of one site: NodeService.
#pragma once

#include <functional>
#include <vector>

#include "services/node/config.h"
#include "services/node/mirror.h"
#include "services/node/site.h"
#include "services/runtime/clock.h"
#include "services/runtime/server.h"

namespace concordat::node {

struct NodeContext {
  const Config* config = nullptr;
  Site* site = nullptr;
  std::vector<Mirror*> mirrors;  // the links that end at this site; empty with Kafka
  runtime::ManualClock* manual_clock = nullptr;  // only in the demo's profile
};

// Adds NodeService's methods. What the context points to must outlive the server.
void AddNodeService(runtime::Server& server, const NodeContext& context);

}  // namespace concordat::node
