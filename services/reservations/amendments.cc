#include "services/reservations/amendments.h"

#include <absl/algorithm/container.h>
#include <algorithm>

#include "services/reservations/margins.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

struct Both {
  std::vector<Span> new_only;
  Span common;
};

// The parts of `after` beyond and within `before`, from a time on.
Both Split(const Span& before, const Span& after, absl::Time from) {
  Both both;
  const Span wanted{std::max(after.start, from), after.end};
  const Span first{wanted.start, std::min(wanted.end, before.start)};
  const Span last{std::max(wanted.start, before.end), wanted.end};
  for (const Span& span : {first, last}) {
    if (span.start < span.end) both.new_only.push_back(span);
  }
  both.common = {std::max(wanted.start, before.start), std::min(wanted.end, before.end)};
  return both;
}

int64_t More(int64_t before, int64_t after) { return std::max<int64_t>(0, after - before); }

}  // namespace

std::vector<Part> PartsOf(const v1::Reservation& reservation, const v1::Amendment& amendment) {
  const v1::Terms& old_terms = reservation.terms();
  const v1::Terms& new_terms = amendment.terms();
  const absl::Time from = amendment.has_effective_time()
                              ? runtime::ToTime(amendment.effective_time())
                              : absl::InfinitePast();
  const Watts before{reservation.it_power_watts(), reservation.cooling_watts()};
  const Watts after{amendment.it_power_watts(), amendment.cooling_watts()};
  Part added;
  std::vector<std::string> all(amendment.servers().begin(), amendment.servers().end());
  std::copy_if(all.begin(), all.end(), std::back_inserter(added.servers),
               [&](const std::string& server) {
                 return !absl::c_linear_search(reservation.servers(), server);
               });
  std::vector<Part> parts;
  const Both blocks = Split(BlockOf(old_terms, reservation.margins()),
                            BlockOf(new_terms, amendment.margins()), from);
  for (const Span& span : blocks.new_only) parts.push_back({span, all, after});
  added.span = blocks.common;
  added.watts = {More(before.it_power, after.it_power), More(before.cooling, after.cooling)};
  if (added.span.start < added.span.end && (!added.servers.empty() || added.watts != Watts()))
    parts.push_back(added);
  const Both uses = Split(UseOf(old_terms), UseOf(new_terms), from);
  for (const Span& span : uses.new_only)
    parts.push_back({span, {}, {}, new_terms.count(), amendment.accelerators()});
  const int64_t more = More(old_terms.count(), new_terms.count());
  const int64_t accelerators = More(reservation.accelerators(), amendment.accelerators());
  if (uses.common.start < uses.common.end && (more > 0 || accelerators > 0))
    parts.push_back({uses.common, {}, {}, more, accelerators});
  return parts;
}

bool IsLost(const v1::Reservation& reservation, std::string_view server) {
  return absl::c_linear_search(reservation.lost_servers(), server);
}

std::string ReservationOfAmendment(const std::string& name) {
  if (!runtime::MatchesName(name, "sites/*/reservations/*/amendments/*")) return {};
  return name.substr(0, name.find("/amendments/"));
}

}  // namespace concordat::reservations
