#include "services/node/explain_refusal.h"

#include <absl/time/clock.h>
#include <fmt/format.h>

#include "services/reservations/service.h"

namespace concordat::node {
namespace {

// The shortage that an event carries; nothing where it carries none.
const reservations::v1::Shortage* ShortageOf(const reservations::v1::Event& event) {
  if (event.command_refused().has_shortage()) return &event.command_refused().shortage();
  if (event.order_declined().has_shortage()) return &event.order_declined().shortage();
  if (event.reservation_declined().has_shortage()) return &event.reservation_declined().shortage();
  return nullptr;
}

// The search made again on rows that were folded apart.
absl::Status Search(storage::Projection& projection, const reservations::v1::Shortage& shortage,
                    const runtime::Facts& facts, v1::ExplainRefusalResponse& response) {
  reservations::State state(projection.journal());
  projection.Scan("", [&](std::string_view key, std::string_view value) {
    if (!storage::TableOf(key).empty()) state.index.Apply({key, std::nullopt, value});
    return true;
  });
  for (const auto& [server, reason] : reservations::VerdictsOf(state, shortage, facts)) {
    v1::ServerVerdict& verdict = *response.add_servers();
    verdict.set_server(server);
    if (reason != reservations::v1::EXCLUSION_REASON_UNSPECIFIED)
      verdict.set_reason(reservations::v1::ExclusionReason_Name(reason));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ExplainRefusal(const Site& site, const runtime::Call& call,
                            const v1::ExplainRefusalRequest& request,
                            v1::ExplainRefusalResponse& response) {
  const Folded* folded = nullptr;
  for (const auto& each : site.folded()) {
    if (each->stream == request.stream() && each->service == "reservations") folded = each.get();
  }
  if (folded == nullptr || site.archive() == nullptr) {
    return absl::NotFoundError(
        fmt::format("{} is not followed by this process with an archive; expected a stream of "
                    "reservations, asked of the process that runs the compliance service too",
                    request.stream()));
  }
  const auto archived = site.archive()->At(request.stream(), request.sequence());
  if (!archived.ok()) return archived.status();
  if (!archived->has_value()) {
    return absl::NotFoundError(
        fmt::format("{} has no event at sequence {} here", request.stream(), request.sequence()));
  }
  reservations::v1::Event event;
  event.ParseFromString((*archived)->data);
  const reservations::v1::Shortage* shortage = ShortageOf(event);
  if (shortage == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("{}:{} is {}, expected a refusal for want of servers, power, cooling, quota or "
                    "hours",
                    request.stream(), request.sequence(), (*archived)->attributes.type));
  }
  runtime::Facts facts;
  facts.now = (*archived)->attributes.time;
  facts.site = folded->site;
  const auto cancelled = [&] {
    return absl::Now() > call.deadline || (call.cancelled && call.cancelled());
  };
  return site.FoldApart(*folded, static_cast<int64_t>(request.sequence()) - 1, cancelled,
                        [&](storage::Projection& projection) {
                          return Search(projection, *shortage, facts, response);
                        });
}

}  // namespace concordat::node
