#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>

#include "services/reservations/decider.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// Why there is no hold.
struct Obstacle {
  v1::Reason reason;
  std::string detail;
};
using Checked = std::optional<Obstacle>;

Span SpanOf(const v1::Terms& terms) {
  return {runtime::ToTime(terms.start_time()), runtime::ToTime(terms.end_time())};
}

std::string ToText(const Span& span) {
  return fmt::format("{} to {}", runtime::ToText(span.start), runtime::ToText(span.end));
}

template <typename Values>
bool Contains(const Values& values, const std::string& value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

// An order of another site comes from its log, not from a caller: nobody has validated it here.
Checked CheckTerms(const v1::Terms& terms, absl::Time now) {
  const Span span = SpanOf(terms);
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
  return std::nullopt;
}

// What the contract alone says of the terms, at whichever site.
Checked CheckContract(const v1::ContractSigned& contract, const v1::Terms& terms,
                      const std::string& site) {
  if (!Contains(contract.sites(), site)) {
    return Obstacle{v1::REASON_CONTRACT,
                    fmt::format("{} does not cover {}, expected one of {}.", contract.name(), site,
                                fmt::join(contract.sites(), ", "))};
  }
  if (terms.data_classes().empty()) {
    return Obstacle{v1::REASON_CONTRACT, "No class of data is named, expected at least one."};
  }
  for (const std::string& data_class : terms.data_classes()) {
    if (Contains(contract.data_classes(), data_class)) continue;
    return Obstacle{
        v1::REASON_CONTRACT,
        fmt::format("{} does not allow data of class {}, expected of {}.", contract.name(),
                    data_class, fmt::join(contract.data_classes(), ", "))};
  }
  const Span term{runtime::ToTime(contract.start_time()), runtime::ToTime(contract.end_time())};
  const Span span = SpanOf(terms);
  if (span.start < term.start || span.end > term.end) {
    return Obstacle{v1::REASON_TIME,
                    fmt::format("The time span is {}, expected within the term of {}, {}.",
                                ToText(span), contract.name(), ToText(term))};
  }
  if (terms.count() > contract.max_servers_per_site()) {
    return Obstacle{v1::REASON_CONTRACT,
                    fmt::format("{} servers are asked for, expected at most the {} of {}.",
                                terms.count(), contract.max_servers_per_site(), contract.name())};
  }
  return std::nullopt;
}

Checked CheckQuota(const Index& index, const v1::ContractSigned& contract, const v1::Terms& terms) {
  const int64_t used = index.ContractPeak(contract.name(), SpanOf(terms));
  if (used + terms.count() <= contract.max_servers_per_site()) return std::nullopt;
  return Obstacle{
      v1::REASON_CONTRACT,
      fmt::format(
          "{} has up to {} servers reserved within {} and {} more are asked for, expected at most "
          "{} at once.",
          contract.name(), used, ToText(SpanOf(terms)), terms.count(),
          contract.max_servers_per_site())};
}

// One resource within one span in which its envelope does not change.
Checked CheckLimit(v1::Reason reason, std::string_view verb, const Span& span, int64_t used,
                   int64_t wanted, int64_t limit) {
  if (used + wanted <= limit) return std::nullopt;
  return Obstacle{
      reason,
      fmt::format("Within {} the site would {} {} W, {} W of them for this reservation; expected "
                  "at most {} W.",
                  ToText(span), verb, used + wanted, wanted, limit)};
}

// The envelope is a step function, and so is its use: each step is compared with the highest use
// within it.
Checked CheckEnvelope(const v1::SiteRecord& site, const Index& index, const Span& span,
                      const Watts& wanted, absl::Time now) {
  const auto begins = [&](int step) {
    return step < site.envelope_size() ? runtime::ToTime(site.envelope(step).effective_from())
                                       : absl::InfiniteFuture();
  };
  for (int step = -1; step < site.envelope_size(); ++step) {
    const Span part{step < 0 ? span.start : std::max(span.start, begins(step)),
                    std::min(span.end, begins(step + 1))};
    if (part.start >= part.end) continue;
    const Watts used = index.Peak(part, now);
    const Watts limit = EnvelopeAt(site, part.start);
    if (auto obstacle = CheckLimit(v1::REASON_POWER_ENVELOPE, "draw", part, used.it_power,
                                   wanted.it_power, limit.it_power)) {
      return obstacle;
    }
    if (auto obstacle = CheckLimit(v1::REASON_COOLING_ENVELOPE, "give off", part, used.cooling,
                                   wanted.cooling, limit.cooling)) {
      return obstacle;
    }
  }
  return std::nullopt;
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

// A hold at this site, or why there is none.
std::variant<v1::ReservationHeld, Obstacle> Hold(const State& state, const std::string& name,
                                                 const std::string& order, const v1::Terms& terms,
                                                 const runtime::Facts& facts) {
  const auto contract = state.rows.contracts.Get(terms.contract());
  if (!contract) return NoContract(terms.contract(), facts);
  if (auto obstacle = CheckTerms(terms, facts.now)) return *obstacle;
  if (auto obstacle = CheckContract(contract->terms(), terms, Here(facts))) return *obstacle;
  const auto site = state.rows.site_records.Get(Here(facts));
  // Without a country the rules could not be evaluated.
  if (!site || site->country().empty()) {
    return Obstacle{v1::REASON_NOT_FOUND,
                    fmt::format("{} is not known; expected OpenSite first.", Here(facts))};
  }
  if (auto obstacle = CheckQuota(state.index, contract->terms(), terms)) return *obstacle;
  const Span span = SpanOf(terms);
  const size_t count = static_cast<size_t>(terms.count());
  const std::vector<std::string> servers =
      state.index.FindFree(terms.model(), span, facts.now, count);
  if (servers.size() < count) {
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("{} of {} bookable servers of {} are free within {}, expected {}.",
                                servers.size(), state.index.CountBookable(terms.model()),
                                terms.model(), ToText(span), count)};
  }
  Watts wanted;
  for (const std::string& server : servers) wanted += state.index.WattsOf(server);
  if (auto obstacle = CheckEnvelope(*site, state.index, span, wanted, facts.now)) return *obstacle;
  v1::ReservationHeld held = Held(name, order, terms, contract->terms(), *site);
  held.mutable_servers()->Assign(servers.begin(), servers.end());
  held.set_it_power_watts(wanted.it_power);
  held.set_cooling_watts(wanted.cooling);
  *held.mutable_hold_expires_at() = HoldExpiry(span, facts.now);
  return held;
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
  return terms;
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
  const auto contract = state.rows.contracts.Get(request.contract());
  if (!contract) {
    const Obstacle obstacle = NoContract(request.contract(), facts);
    return Refused(request, obstacle.reason, obstacle.detail);
  }
  Checked obstacle = CheckTerms(terms, facts.now);
  if (!obstacle) obstacle = CheckContract(contract->terms(), terms, request.site());
  if (obstacle) return Refused(request, obstacle->reason, obstacle->detail);
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
  return event;
}

}  // namespace

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
  if (const auto* obstacle = std::get_if<Obstacle>(&decided))
    return Refused(request, obstacle->reason, obstacle->detail);
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
