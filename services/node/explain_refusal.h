// Why a request was refused, server by server: the stream is folded again up to the refusal, and
// the search is made again on that state. Law: nothing of it was stored; it is the same answer
// whenever it is asked.
#pragma once

#include "concordat/node/v1/api.pb.h"
#include "services/node/site.h"
#include "services/runtime/server.h"

namespace concordat::node {

// NOT_FOUND where the stream is not followed here or has no such event, FAILED_PRECONDITION where
// the event is no refusal with a shortage.
absl::Status ExplainRefusal(const Site& site, const runtime::Call& call,
                            const v1::ExplainRefusalRequest& request,
                            v1::ExplainRefusalResponse& response);

}  // namespace concordat::node
