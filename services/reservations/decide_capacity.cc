#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/reservations/quotas.h"
#include "services/reservations/waves.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// The parts of a span that lie before and after another one.
std::vector<Span> Beyond(const Span& span, const Span& other) {
  std::vector<Span> parts;
  for (const Span& part : {Span{span.start, std::min(span.end, other.start)},
                           Span{std::max(span.start, other.end), span.end}}) {
    if (part.start < part.end) parts.push_back(part);
  }
  return parts;
}

Checked CheckQuota(const Index& index, const v1::ContractSigned& contract, int64_t count,
                   const Span& span) {
  if (contract.max_servers_per_site() == 0) return std::nullopt;
  const int64_t used = index.ContractPeak(contract.name(), span);
  if (used + count <= contract.max_servers_per_site()) return std::nullopt;
  return Obstacle{
      v1::REASON_CONTRACT,
      fmt::format(
          "{} has up to {} servers reserved within {} and {} more are asked for, expected at most "
          "{} at once.",
          contract.name(), used, ToText(span), count, contract.max_servers_per_site())};
}

// In one sentence, for power or else for cooling.
Obstacle Describe(const Short& found, const Watts& wanted) {
  const bool power = found.missing.it_power > 0;
  const int64_t used = power ? found.used.it_power : found.used.cooling;
  const int64_t more = power ? wanted.it_power : wanted.cooling;
  return {
      power ? v1::REASON_POWER_ENVELOPE : v1::REASON_COOLING_ENVELOPE,
      fmt::format("At {} the site would {} {} W, {} W of them for this reservation; expected at "
                  "most {} W, {} W less.",
                  runtime::ToText(found.at), power ? "draw" : "give off", used + more, more,
                  power ? found.limit.it_power : found.limit.cooling,
                  power ? found.missing.it_power : found.missing.cooling)};
}

Checked CheckEnvelope(const v1::SiteRecord& site, const Index& index, const Span& span,
                      const Watts& wanted, absl::Time now) {
  const auto found = FindShort(site, index, span, wanted, now);
  if (!found) return std::nullopt;
  return Describe(*found, wanted);
}

bool IsNamed(const v1::Terms& terms, const std::string& server) {
  const auto& servers = terms.placement().servers();
  return std::find(servers.begin(), servers.end(), server) != servers.end();
}

// What is wrong with the exact servers that were asked for, each in a word or two.
std::string NamedInVain(const State& state, const v1::Terms& terms, const Span& span,
                        const Span& block, absl::Time now) {
  if (!IsExact(terms)) return "";
  const std::set<std::string> closed =
      ClosedServers(state, terms.model(), terms.customer(), span.start);
  std::vector<std::string> wrong;
  for (const std::string& server : terms.placement().servers()) {
    const auto record = state.rows.server_records.Get(server);
    if (!record) {
      wrong.push_back(fmt::format("{} is not known", server));
    } else if (record->server().model() != terms.model()) {
      wrong.push_back(fmt::format("{} is a {}", server, record->server().model()));
    } else if (!record->server().bookable()) {
      wrong.push_back(fmt::format("{} is not in service, or cordoned", server));
    } else if (closed.contains(server)) {
      wrong.push_back(fmt::format("{} is not open to {}", server, terms.customer()));
    } else if (!state.index.IsFree(server, block, now)) {
      wrong.push_back(fmt::format("{} is taken", server));
    }
  }
  return wrong.empty() ? "" : fmt::format(" {}.", fmt::join(wrong, ", "));
}

// Whether it is release waves that make servers too few, of which `found` could be given.
Checked CheckOpen(const State& state, const v1::Terms& terms, const Span& span, const Span& block,
                  size_t found, absl::Time now) {
  size_t free = found;
  for (const std::string& server :
       ClosedServers(state, terms.model(), terms.customer(), span.start)) {
    if (IsExact(terms) && !IsNamed(terms, server)) continue;
    free += state.index.IsFree(server, block, now) ? 1 : 0;
  }
  if (free == found || free < static_cast<size_t>(terms.count())) return std::nullopt;
  const auto opens = NextOpening(state, terms.model(), terms.customer(), span.start);
  return Obstacle{
      v1::REASON_WAVE,
      fmt::format("{} servers of {} are free within {} and {} of them are open to {}, expected {}. "
                  "{}",
                  free, terms.model(), ToText(span), found, terms.customer(), terms.count(),
                  opens ? fmt::format("The next wave opens at {}.", runtime::ToText(*opens))
                        : "No later wave is planned for it.")};
}

google::protobuf::Timestamp HoldExpiry(const Span& span, absl::Time now) {
  absl::Time expires = std::min(now + kHoldTtl, span.end);
  if (span.start > now) expires = std::min(expires, span.start);
  return runtime::ToTimestamp(expires);
}

v1::ReservationHeld Held(const std::string& name, const std::string& order, const v1::Terms& terms,
                         const v1::ContractSigned& contract, const v1::SiteRecord& site) {
  v1::ReservationHeld held;
  held.set_name(name);
  held.set_order(order);
  *held.mutable_terms() = terms;
  held.mutable_terms()->set_customer(contract.customer());
  held.mutable_terms()->clear_lock_time();
  if (contract.has_lock_time()) *held.mutable_terms()->mutable_lock_time() = contract.lock_time();
  const v1::Margins margins = MarginsOf(site, terms.model());
  if (margins.ByteSizeLong() > 0) *held.mutable_margins() = margins;
  held.set_site_country(site.country());
  *held.mutable_site_certifications() = site.certifications();
  held.set_customer_country(contract.country());
  held.set_customer_sector(contract.sector());
  return held;
}

Obstacle NoContract(const std::string& contract, const runtime::Facts& facts) {
  return {v1::REASON_NOT_FOUND, fmt::format("{} is not known at {}; expected SignContract first.",
                                            contract, Here(facts))};
}

// One span is held as a whole.
std::variant<v1::ReservationHeld, Obstacle> HoldSpan(const State& state, const Frame& frame,
                                                     v1::ReservationHeld held,
                                                     const runtime::Facts& facts) {
  const Span span = UseOf(held.terms());
  const Wanted wanted{held.terms()};
  auto found = FindGrant(state, frame, wanted, span, facts);
  if (auto* obstacle = std::get_if<Obstacle>(&found))
    return Explained(state, frame, wanted, span, facts, std::move(*obstacle));
  const Grant& grant = std::get<Grant>(found);
  held.mutable_servers()->Assign(grant.servers.begin(), grant.servers.end());
  held.set_it_power_watts(grant.watts.it_power);
  held.set_cooling_watts(grant.watts.cooling);
  held.set_accelerators(grant.accelerators);
  *held.mutable_hold_expires_at() = HoldExpiry(span, facts.now);
  return held;
}

// All occurrences up to the horizon, or none of them. They do not overlap, so each is found on
// what others have reserved alone.
std::variant<v1::ReservationHeld, Obstacle> HoldSeries(const State& state, Frame frame,
                                                       v1::ReservationHeld held,
                                                       const runtime::Facts& facts) {
  v1::Terms& terms = *held.mutable_terms();
  *terms.mutable_access() = WithPolicies(std::move(*terms.mutable_access()));
  const Span whole = UseOf(terms);
  const absl::Time horizon = HorizonOf(whole.start, whole.end, facts.now);
  const absl::Time until = HorizonIn(frame, horizon);
  const auto expansion = ExpandWithin(terms.access(), whole.start, until, whole.end);
  if (!expansion.ok()) {
    return Obstacle{v1::REASON_SCHEDULE, fmt::format("The schedule cannot take place: {}.",
                                                     std::string(expansion.status().message()))};
  }
  if (expansion->occurrences.empty()) {
    if (const Checked beyond = until < horizon ? CheckHours(frame, whole) : std::nullopt)
      return *beyond;
    return Obstacle{v1::REASON_SCHEDULE,
                    fmt::format("{} in {} has no occurrence that starts within {}, expected one.",
                                terms.access().rule(), terms.access().time_zone(),
                                ToText({whole.start, until}))};
  }
  const int64_t servers = terms.count() * static_cast<int64_t>(expansion->occurrences.size());
  if (servers > kMostServersOfSeries) {
    return Obstacle{
        v1::REASON_SCHEDULE,
        fmt::format("{} servers in each of {} occurrences are asked for, {} together; "
                    "expected at most {}.",
                    terms.count(), expansion->occurrences.size(), servers, kMostServersOfSeries)};
  }
  for (const Occurrence& occurrence : expansion->occurrences) {
    const Span span{occurrence.start, occurrence.end};
    if (held.occurrences_size() > 0) {
      const Occurrence last = OccurrenceOf(*held.occurrences().rbegin());
      if (auto obstacle = CheckGap(frame, terms, {last.start, last.end}, span)) return *obstacle;
    }
    auto found = FindGrant(state, frame, {terms}, span, facts);
    if (auto* obstacle = std::get_if<Obstacle>(&found)) {
      obstacle->detail = fmt::format("Occurrence {} of {}, {}: {}", held.occurrences_size() + 1,
                                     expansion->occurrences.size(), ToText(span), obstacle->detail);
      return Explained(state, frame, {terms}, span, facts, std::move(*obstacle));
    }
    const Grant& grant = std::get<Grant>(found);
    v1::Occurrence& granted = *held.add_occurrences();
    granted = ToMessage(occurrence);
    granted.set_name(OccurrenceName(held.name(), held.occurrences_size()));
    granted.mutable_servers()->Assign(grant.servers.begin(), grant.servers.end());
    granted.set_it_power_watts(grant.watts.it_power);
    granted.set_cooling_watts(grant.watts.cooling);
    granted.set_accelerators(grant.accelerators);
    frame.planned_accelerator_seconds += AcceleratorSeconds(grant.accelerators, span);
    held.set_accelerators(std::max(held.accelerators(), grant.accelerators));
    held.set_it_power_watts(std::max(held.it_power_watts(), grant.watts.it_power));
    held.set_cooling_watts(std::max(held.cooling_watts(), grant.watts.cooling));
  }
  const Occurrence& first = expansion->occurrences.front();
  *held.mutable_hold_expires_at() = HoldExpiry({first.start, first.end}, facts.now);
  *held.mutable_occurrences_until() = runtime::ToTimestamp(until);
  held.set_zone_data_version(expansion->zone_data_version);
  return held;
}

// A wish addressed to another site, which alone knows what is free there.
v1::Event Order(const State& state, const v1::ReserveRequest& request,
                const runtime::Facts& facts) {
  const std::string id = runtime::DerivedId(facts);
  const std::string name = fmt::format("{}/orders/r-{}", Here(facts), id);
  const v1::Terms terms = TermsOf(request);
  if (state.rows.orders.Contains(name)) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} exists already; expected a new id.", name));
  }
  if (const auto obstacle = CheckAsked(state, terms, request.site(), facts))
    return Refused(request, obstacle->reason, obstacle->detail);
  v1::Event event;
  v1::ReservationOrdered& ordered = *event.mutable_reservation_ordered();
  ordered.set_name(name);
  ordered.set_site(request.site());
  ordered.set_reservation(fmt::format("{}/reservations/r-{}", request.site(), id));
  *ordered.mutable_terms() = terms;
  return event;
}

v1::Event OrderDeclined(const std::string& order, const Obstacle& obstacle) {
  v1::Event event;
  v1::OrderDeclined& declined = *event.mutable_order_declined();
  declined.set_order(order);
  declined.set_reason(obstacle.reason);
  declined.set_detail(obstacle.detail);
  if (obstacle.shortage) *declined.mutable_shortage() = *obstacle.shortage;
  if (!obstacle.shortfall.contract().empty()) *declined.mutable_shortfall() = obstacle.shortfall;
  return event;
}

}  // namespace

// A server is re-tested before it is used, so what starts sooner than that cannot be had.
Checked CheckRetest(const v1::Margins& margins, const Span& span, absl::Time now) {
  const absl::Duration before = ToDuration(margins.before());
  if (before == absl::ZeroDuration() || span.start - before >= now - kClockSkew)
    return std::nullopt;
  return Obstacle{v1::REASON_MARGIN,
                  fmt::format("The start is {} and servers are re-tested for {} before it; "
                              "expected {} or later.",
                              runtime::ToText(span.start), absl::FormatDuration(before),
                              runtime::ToText(now + before))};
}

// By its full name or the last part of it.
Checked CheckProject(const State& state, const v1::ContractSigned& contract, const v1::Terms& terms,
                     const std::string& site) {
  if (!contract.conditions().registered_projects_only()) return std::nullopt;
  const std::string prefix = contract.customer() + "/projects/";
  const std::string name = terms.project().compare(0, prefix.size(), prefix) == 0
                               ? terms.project()
                               : prefix + terms.project();
  if (state.rows.projects.Contains(name)) return std::nullopt;
  return Obstacle{v1::REASON_PROJECT,
                  fmt::format("{} demands a registered project and \"{}\" is none at {}; expected "
                              "RegisterProject first.",
                              contract.name(), terms.project(), site)};
}

// What the contract alone says of the terms, at whichever site.
Checked CheckContract(const v1::ContractSigned& contract, const v1::Terms& terms,
                      const std::string& site) {
  if (!absl::c_linear_search(contract.sites(), site)) {
    return Obstacle{v1::REASON_CONTRACT,
                    fmt::format("{} does not cover {}, expected one of {}.", contract.name(), site,
                                fmt::join(contract.sites(), ", "))};
  }
  if (terms.data_classes().empty()) {
    return Obstacle{v1::REASON_CONTRACT, "No class of data is named, expected at least one."};
  }
  for (const std::string& data_class : terms.data_classes()) {
    if (absl::c_linear_search(contract.data_classes(), data_class)) continue;
    return Obstacle{
        v1::REASON_CONTRACT,
        fmt::format("{} does not allow data of class {}, expected of {}.", contract.name(),
                    data_class, fmt::join(contract.data_classes(), ", "))};
  }
  const Span term{runtime::ToTime(contract.start_time()), runtime::ToTime(contract.end_time())};
  const Span span = UseOf(terms);
  if (span.start < term.start || span.end > term.end) {
    return Obstacle{v1::REASON_TIME,
                    fmt::format("The time span is {}, expected within the term of {}, {}.",
                                ToText(span), contract.name(), ToText(term))};
  }
  if (ToDuration(terms.grace()) > ToDuration(contract.max_grace())) {
    return Obstacle{
        v1::REASON_CONTRACT,
        fmt::format("A grace of {} is asked for, expected at most the {} of {}.",
                    absl::FormatDuration(ToDuration(terms.grace())),
                    absl::FormatDuration(ToDuration(contract.max_grace())), contract.name())};
  }
  if (contract.max_servers_per_site() > 0 && terms.count() > contract.max_servers_per_site()) {
    return Obstacle{v1::REASON_CONTRACT,
                    fmt::format("{} servers are asked for, expected at most the {} of {}.",
                                terms.count(), contract.max_servers_per_site(), contract.name())};
  }
  return std::nullopt;
}

// An order of another site comes from its log, not from a caller: nobody has validated it here.
Checked CheckTerms(const v1::Terms& terms, absl::Time now) {
  const Span span = UseOf(terms);
  if (terms.count() < 1) {
    return Obstacle{v1::REASON_CONTRACT,
                    fmt::format("count is {}, expected 1 or more.", terms.count())};
  }
  if (span.start >= span.end) {
    return Obstacle{
        v1::REASON_TIME,
        fmt::format("The time span is {}, expected an end after its start.", ToText(span))};
  }
  if (span.start < now - kClockSkew) {
    return Obstacle{v1::REASON_TIME,
                    fmt::format("start_time is {}, expected {} or later.",
                                runtime::ToText(span.start), runtime::ToText(now))};
  }
  if (terms.min_count() < 0 || terms.min_count() > terms.count()) {
    return Obstacle{v1::REASON_CONTRACT, fmt::format("min_count is {}, expected at most count, {}.",
                                                     terms.min_count(), terms.count())};
  }
  return std::nullopt;
}

// Occurrences that touch are as good as one.
Checked CheckHours(const Frame& frame, const Span& span) {
  if (!frame.hours) return std::nullopt;
  absl::Time reached = span.start;
  for (const v1::Occurrence& known : frame.hours->occurrences()) {
    const Occurrence hours = OccurrenceOf(known);
    if (hours.start <= reached && reached < hours.end) reached = hours.end;
    if (reached >= span.end) return std::nullopt;
  }
  return Obstacle{
      v1::REASON_ACCESS_HOURS,
      fmt::format("The time span is {}, expected within the access hours of {}, {} in {}, which "
                  "are known up to {}.",
                  ToText(span), frame.contract.name(), frame.hours->access().rule(),
                  frame.hours->access().time_zone(),
                  runtime::ToText(runtime::ToTime(frame.hours->occurrences_until())))};
}

absl::Time HorizonIn(const Frame& frame, absl::Time horizon) {
  if (!frame.hours) return horizon;
  const absl::Time known = runtime::ToTime(frame.hours->occurrences_until());
  return known >= runtime::ToTime(frame.hours->end_time()) ? horizon : std::min(horizon, known);
}

// The envelope is a step function, and so is its use: each step is compared with the use within it.
std::optional<Short> FindShort(const v1::SiteRecord& site, const Index& index, const Span& span,
                               const Watts& wanted, absl::Time now) {
  std::optional<Short> found;
  ForEachStep(site, span, [&](const Span& part, const Watts& limit) {
    Watts left = limit;
    const auto first = index.FirstAbove(part, left -= wanted, now);
    if (first) {
      found = Short{first->first, first->second, limit, first->second};
      found->missing -= left;
    }
    return !found;
  });
  return found;
}

Checked CheckUse(const State& state, const Frame& frame, int64_t count, const Span& span) {
  return CheckQuota(state.index, frame.contract, count, span);
}

Checked CheckPower(const State& state, const Frame& frame, const Span& span, const Watts& watts,
                   const runtime::Facts& facts) {
  return CheckEnvelope(frame.site, state.index, span, watts, facts.now);
}

Checked CheckFeeds(const State& state, const std::vector<std::string>& servers, const Span& span,
                   absl::Time now) {
  const auto draws = state.index.FeedDraws(servers);
  const auto found = state.index.feeds().FirstShort(draws, span, now);
  if (!found) return std::nullopt;
  const int64_t more = draws.at(found->feed);
  return Obstacle{
      v1::REASON_POWER_ENVELOPE,
      fmt::format("At {} feed {} would give {} W, {} W of them for this reservation; expected at "
                  "most {} W, {} W less.",
                  runtime::ToText(found->at), found->feed, found->used + more, more, found->limit,
                  found->used + more - found->limit)};
}

std::string ToText(const Span& span) {
  return fmt::format("{} to {}", runtime::ToText(span.start), runtime::ToText(span.end));
}

std::variant<Frame, Obstacle> FrameOf(const State& state, const std::string& contract,
                                      const runtime::Facts& facts) {
  const auto known = state.rows.contracts.Get(contract);
  if (!known) return NoContract(contract, facts);
  Frame frame{known->terms(), std::nullopt,
              state.rows.site_records.Get(Here(facts)).value_or(v1::SiteRecord())};
  if (frame.contract.has_access())
    frame.hours = state.rows.schedules.Get(contract).value_or(v1::Schedule());
  if (HasQuota(frame.contract)) {
    frame.quota = state.rows.quotas.Get(QuotaName(facts.site, contract));
    if (!frame.quota) return NoContract(contract, facts);
  }
  return frame;
}

v1::Margins MarginsIn(const Frame& frame, const v1::Terms& terms) {
  return frame.margins.value_or(MarginsOf(frame.site, terms.model()));
}

Checked CheckGap(const Frame& frame, const v1::Terms& terms, const Span& first,
                 const Span& second) {
  const v1::Margins margins = MarginsIn(frame, terms);
  const Span before = BlockOf(first, terms, margins);
  const Span after = BlockOf(second, terms, margins);
  if (before.end <= after.start) return std::nullopt;
  return Obstacle{
      v1::REASON_MARGIN,
      fmt::format("The use from {} begins {} after the one before it; expected at least {}, for "
                  "grace, cleaning and re-test, or one reservation for both.",
                  runtime::ToText(second.start), absl::FormatDuration(second.start - first.end),
                  absl::FormatDuration((before.end - first.end) + (second.start - after.start)))};
}

std::variant<Grant, Obstacle> FindGrant(const State& state, const Frame& frame,
                                        const Wanted& wanted, const Span& span,
                                        const runtime::Facts& facts) {
  const v1::Terms& terms = wanted.terms;
  if (auto obstacle = CheckHours(frame, span)) return *obstacle;
  if (auto obstacle = CheckQuota(state.index, frame.contract, terms.count(), span))
    return *obstacle;
  const v1::Margins margins = MarginsIn(frame, terms);
  const Span block = BlockOf(span, terms, margins);
  if (auto obstacle = CheckRetest(margins, span, facts.now)) return *obstacle;
  const size_t count = static_cast<size_t>(terms.count());
  Grant grant{ChooseServers(state, wanted, span, block, facts.now), {}};
  if (grant.servers.size() < count) {
    if (auto obstacle = CheckOpen(state, terms, span, block, grant.servers.size(), facts.now))
      return *obstacle;
    if (auto obstacle = CheckPowered(state, wanted, span, block, grant.servers.size(), facts.now))
      return *obstacle;
    return Obstacle{
        v1::REASON_NO_CAPACITY,
        fmt::format("{} of {} bookable servers of {} can be given within {}, expected "
                    "{}.{}",
                    grant.servers.size(), state.index.CountBookable(terms.model()), terms.model(),
                    ToText(block), count, NamedInVain(state, terms, span, block, facts.now))};
  }
  for (const std::string& server : grant.servers) {
    grant.watts += state.index.WattsOf(server);
    grant.accelerators += state.index.AcceleratorsOf(server);
  }
  if (auto obstacle = CheckAllotment(state, frame, grant.accelerators,
                                     AcceleratorSeconds(grant.accelerators, span), span)) {
    return *obstacle;
  }
  if (auto obstacle = CheckEnvelope(frame.site, state.index, block, grant.watts, facts.now))
    return *obstacle;
  return grant;
}

Checked CheckMove(const State& state, const Frame& frame, const v1::Reservation& reservation,
                  const Span& span, const runtime::Facts& facts) {
  if (span.start <= facts.now) {
    return Obstacle{v1::REASON_TIME,
                    fmt::format("It would have begun at {}, expected after {}.",
                                runtime::ToText(span.start), runtime::ToText(facts.now))};
  }
  if (auto obstacle = CheckHours(frame, span)) return obstacle;
  const v1::Terms& terms = reservation.terms();
  const Span own = UseOf(terms);
  const int64_t longer = AcceleratorSeconds(reservation.accelerators(), span) -
                         AcceleratorSeconds(reservation.accelerators(), own);
  // What it has already it need not be given.
  for (const Span& part : Beyond(span, own)) {
    if (auto obstacle = CheckQuota(state.index, frame.contract, terms.count(), part))
      return obstacle;
    if (auto obstacle = CheckAllotment(state, frame, reservation.accelerators(), longer, part))
      return obstacle;
  }
  for (const Span& part :
       Beyond(BlockOf(span, terms, reservation.margins()), BlockOf(terms, reservation.margins()))) {
    for (const std::string& server : reservation.servers()) {
      if (state.index.IsFree(server, part, facts.now)) continue;
      return Obstacle{v1::REASON_NO_CAPACITY,
                      fmt::format("{} is not free within {}.", server, ToText(part))};
    }
    const Wanted wanted{terms,
                        reservation.series().empty() ? reservation.name() : reservation.series()};
    if (auto obstacle = CheckApart(state, wanted, reservation.servers(), part, facts.now))
      return obstacle;
    const Watts watts{reservation.it_power_watts(), reservation.cooling_watts()};
    if (auto obstacle = CheckEnvelope(frame.site, state.index, part, watts, facts.now))
      return obstacle;
    const std::vector<std::string> servers(reservation.servers().begin(),
                                           reservation.servers().end());
    if (auto obstacle = CheckFeeds(state, servers, part, facts.now)) return obstacle;
  }
  return std::nullopt;
}

v1::Terms TermsOf(const v1::ReserveRequest& request) {
  v1::Terms terms;
  terms.set_customer(std::string(runtime::ParentOfName(request.contract())));
  terms.set_contract(request.contract());
  terms.set_model(request.model());
  terms.set_count(request.count());
  *terms.mutable_start_time() = request.start_time();
  *terms.mutable_end_time() = request.end_time();
  terms.set_purpose(request.purpose());
  *terms.mutable_data_classes() = request.data_classes();
  terms.set_project(request.project());
  if (request.has_access()) *terms.mutable_access() = WithPolicies(request.access());
  terms.set_min_count(request.min_count());
  if (request.has_grace()) *terms.mutable_grace() = request.grace();
  if (!request.has_placement()) return terms;
  v1::Placement& placement = *terms.mutable_placement();
  placement = request.placement();
  if (!placement.servers().empty()) {
    placement.set_policy(v1::PLACEMENT_POLICY_EXACT);
    terms.set_count(placement.servers_size());
  } else if (placement.policy() == v1::PLACEMENT_POLICY_UNSPECIFIED) {
    placement.set_policy(v1::PLACEMENT_POLICY_PACK);
  }
  return terms;
}

Checked CheckAsked(const State& state, const v1::Terms& terms, const std::string& site,
                   const runtime::Facts& facts) {
  const auto contract = state.rows.contracts.Get(terms.contract());
  if (!contract) return NoContract(terms.contract(), facts);
  if (auto obstacle = CheckTerms(terms, facts.now)) return obstacle;
  if (auto obstacle = CheckContract(contract->terms(), terms, site)) return obstacle;
  return CheckProject(state, contract->terms(), terms, Here(facts));
}

std::variant<v1::ReservationHeld, Obstacle> Hold(const State& state, const std::string& name,
                                                 const std::string& order, const v1::Terms& terms,
                                                 const runtime::Facts& facts) {
  const auto found = FrameOf(state, terms.contract(), facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&found)) return *obstacle;
  const Frame& frame = std::get<Frame>(found);
  if (auto obstacle = CheckTerms(terms, facts.now)) return *obstacle;
  if (auto obstacle = CheckContract(frame.contract, terms, Here(facts))) return *obstacle;
  if (auto obstacle = CheckProject(state, frame.contract, terms, Here(facts))) return *obstacle;
  // Without a country the rules could not be evaluated.
  if (frame.site.country().empty()) {
    return Obstacle{v1::REASON_NOT_FOUND,
                    fmt::format("{} is not known; expected OpenSite first.", Here(facts))};
  }
  v1::ReservationHeld held = Held(name, order, terms, frame.contract, frame.site);
  return terms.has_access() ? HoldSeries(state, frame, std::move(held), facts)
                            : HoldSpan(state, frame, std::move(held), facts);
}

v1::Event Reserve(const State& state, const v1::ReserveRequest& request,
                  const runtime::Facts& facts) {
  if (request.site() != Here(facts)) return Order(state, request, facts);
  const std::string name =
      fmt::format("{}/reservations/r-{}", Here(facts), runtime::DerivedId(facts));
  if (state.rows.reservations.Contains(name)) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} exists already; expected a new id.", name));
  }
  auto decided = Hold(state, name, "", TermsOf(request), facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&decided)) return Refused(request, *obstacle);
  v1::Event event;
  *event.mutable_reservation_held() = std::get<v1::ReservationHeld>(std::move(decided));
  return event;
}

v1::Event Fulfil(const State& state, const v1::FulfilOrder& command, const runtime::Facts& facts) {
  const v1::ReservationOrdered& order = command.order();
  const bool to_here = order.site() == Here(facts) &&
                       runtime::MatchesName(order.name(), "sites/*/orders/*") &&
                       runtime::SiteOfName(order.name()) != facts.site;
  if (!to_here) {
    return Refused(command, v1::REASON_NOT_HOME,
                   fmt::format("\"{}\" asks {}, expected another site's order that asks {}.",
                               order.name(), order.site(), Here(facts)));
  }
  // An order gets one answer: asked again it may not be decided differently.
  const auto existing = state.rows.reservations.Get(order.reservation());
  if (state.rows.declined_orders.Contains(order.name()) ||
      (existing && existing->order() == order.name())) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is answered already.", order.name()));
  }
  if (!runtime::MatchesName(order.reservation(), "sites/*/reservations/*") ||
      runtime::SiteOfName(order.reservation()) != facts.site) {
    return OrderDeclined(
        order.name(), {v1::REASON_NOT_HOME, fmt::format("The reservation is to be \"{}\", expected "
                                                        "a name of {}.",
                                                        order.reservation(), Here(facts))});
  }
  if (existing) {
    return OrderDeclined(
        order.name(), {v1::REASON_ALREADY_EXISTS,
                       fmt::format("{} exists already; expected a new id.", order.reservation())});
  }
  auto decided = Hold(state, order.reservation(), order.name(), order.terms(), facts);
  if (const auto* obstacle = std::get_if<Obstacle>(&decided))
    return OrderDeclined(order.name(), *obstacle);
  v1::Event event;
  *event.mutable_reservation_held() = std::get<v1::ReservationHeld>(std::move(decided));
  return event;
}

}  // namespace concordat::reservations
