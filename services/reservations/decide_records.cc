#include <fmt/format.h>

#include <algorithm>

#include "events/flaw.h"
#include "services/reservations/decider.h"
#include "services/reservations/envelopes.h"
#include "services/reservations/shortfalls.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// Reactions bring what the inventory of this site said; anything else was misled.
// Whether more is reserved than there is once the step holds. Where that was so before, a shortfall
// is known already.
bool Cuts(const State& state, const std::string& feed, const v1::EnvelopeRecorded& step,
          const runtime::Facts& facts) {
  if (events::Has(events::Flaw::kForgetsShortfalls)) return false;
  v1::SiteRecord site = state.rows.site_records.Get(Here(facts)).value_or(v1::SiteRecord());
  PutStep(site, feed, step, facts.now);
  const absl::Time from = std::max(facts.now, runtime::ToTime(step.effective_from()));
  return !ShortSpans(state.index, site, feed, {from, absl::InfiniteFuture()}).empty();
}

// Whether an order that stands at `before` may be answered so.
bool MayFollow(v1::OrderState before, v1::OrderState after) {
  if (before == v1::ORDER_STATE_PENDING) {
    return after == v1::ORDER_STATE_CONFIRMED || after == v1::ORDER_STATE_DECLINED ||
           after == v1::ORDER_STATE_CANCELLED || after == v1::ORDER_STATE_REVOKED;
  }
  return before == v1::ORDER_STATE_CONFIRMED &&
         (after == v1::ORDER_STATE_DECLINED || after == v1::ORDER_STATE_CANCELLED ||
          after == v1::ORDER_STATE_REVOKED);
}

}  // namespace

v1::Event RegisterCustomer(const State& state, const v1::RegisterCustomerRequest& request) {
  if (state.rows.customers.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is registered already.", request.name()));
  }
  v1::Event event;
  v1::CustomerRegistered& registered = *event.mutable_customer_registered();
  registered.set_name(request.name());
  registered.set_display_name(request.display_name());
  registered.set_country(request.country());
  registered.set_sector(request.sector());
  return event;
}

v1::Event SignContract(const State& state, const v1::SignContractRequest& request,
                       const runtime::Facts& facts) {
  const std::string customer_name(runtime::ParentOfName(request.name()));
  const auto customer = state.rows.customers.Get(customer_name);
  if (!customer) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known at {}; expected RegisterCustomer first.",
                               customer_name, Here(facts)));
  }
  if (const auto contract = state.rows.contracts.Get(request.name())) {
    return Refused(
        request, v1::REASON_ALREADY_EXISTS,
        fmt::format("{} was signed at {} already.", request.name(), contract->home_site()));
  }
  const absl::Time end = runtime::ToTime(request.end_time());
  if (end <= facts.now) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("end_time is {}, expected a time after {}.", runtime::ToText(end),
                               runtime::ToText(facts.now)));
  }
  v1::Event event;
  v1::ContractSigned& contract = *event.mutable_contract_signed();
  contract.set_name(request.name());
  contract.set_customer(customer_name);
  contract.set_country(customer->country());
  contract.set_sector(customer->sector());
  *contract.mutable_sites() = request.sites();
  contract.set_max_servers_per_site(request.max_servers_per_site());
  if (request.has_quota()) {
    *contract.mutable_quota() = request.quota();
    const std::vector<v1::Allotment> allotments = AllotmentsOf(request, Here(facts));
    contract.mutable_quota()->mutable_allotments()->Assign(allotments.begin(), allotments.end());
  }
  *contract.mutable_notices() = request.notices();
  if (request.has_interventions()) *contract.mutable_interventions() = request.interventions();
  *contract.mutable_prices() = request.prices();
  if (request.has_conditions()) *contract.mutable_conditions() = request.conditions();
  *contract.mutable_start_time() = request.start_time();
  *contract.mutable_end_time() = request.end_time();
  *contract.mutable_data_classes() = request.data_classes();
  if (request.has_lock_time()) *contract.mutable_lock_time() = request.lock_time();
  if (request.has_max_grace()) *contract.mutable_max_grace() = request.max_grace();
  if (!request.has_access()) return event;
  *contract.mutable_access() = WithPolicies(request.access());
  const Span term{runtime::ToTime(request.start_time()), end};
  auto hours = ExpandHours(contract.access(), term, facts.now);
  if (const auto* obstacle = std::get_if<Obstacle>(&hours))
    return Refused(request, obstacle->reason, obstacle->detail);
  const Expansion& expansion = std::get<Expansion>(hours);
  for (const Occurrence& occurrence : expansion.occurrences)
    *contract.add_occurrences() = ToMessage(occurrence);
  *contract.mutable_occurrences_until() =
      runtime::ToTimestamp(HorizonOf(term.start, term.end, facts.now));
  contract.set_zone_data_version(expansion.zone_data_version);
  return event;
}

v1::Event RegisterProject(const State& state, const v1::RegisterProjectRequest& request,
                          const runtime::Facts& facts) {
  const std::string customer(runtime::ParentOfName(request.name()));
  if (!state.rows.customers.Contains(customer)) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known at {}; expected RegisterCustomer first.", customer,
                               Here(facts)));
  }
  if (state.rows.projects.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is registered already.", request.name()));
  }
  v1::Event event;
  v1::ProjectRegistered& registered = *event.mutable_project_registered();
  registered.set_name(request.name());
  registered.set_display_name(request.display_name());
  registered.set_home_site(Here(facts));
  return event;
}

v1::Event RecordProject(const State& state, const v1::RecordProject& command) {
  if (state.rows.projects.Contains(command.project().name())) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is known already.", command.project().name()));
  }
  v1::Event event;
  *event.mutable_project_registered() = command.project();
  return event;
}

v1::Event RecordContract(const State& state, const v1::RecordContract& command,
                         const runtime::Facts& facts) {
  const v1::ContractSigned& contract = command.contract();
  if (command.home_site() == Here(facts)) {
    return Refused(command, v1::REASON_NOT_HOME,
                   fmt::format("{} is said to be signed at {}, expected another site.",
                               contract.name(), Here(facts)));
  }
  // Contracts never change. The first that is known under a name stays, wherever it was signed.
  if (const auto known = state.rows.contracts.Get(contract.name())) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} as signed at {} is known already; found one signed at {}.",
                               contract.name(), known->home_site(), command.home_site()));
  }
  v1::Event event;
  *event.mutable_contract_recorded()->mutable_contract() = contract;
  event.mutable_contract_recorded()->set_home_site(command.home_site());
  return event;
}

v1::Event RecordOrderAnswer(const State& state, const v1::RecordOrderAnswer& command) {
  const v1::OrderAnswered& answer = command.answer();
  const auto order = state.rows.orders.Get(answer.order());
  if (!order) {
    return Refused(
        command, v1::REASON_NOT_FOUND,
        fmt::format("\"{}\" is not known, expected an order of this site.", answer.order()));
  }
  if (command.site() != order->site()) {
    return Refused(command, v1::REASON_NOT_HOME,
                   fmt::format("{} was answered by {}, expected {}, which was asked.",
                               answer.order(), command.site(), order->site()));
  }
  if (!MayFollow(order->state(), answer.state())) {
    return Refused(
        command, v1::REASON_WRONG_STATE,
        fmt::format("{} is {} already; found the answer {}.", answer.order(),
                    v1::OrderState_Name(order->state()), v1::OrderState_Name(answer.state())));
  }
  v1::Event event;
  *event.mutable_order_answered() = answer;
  return event;
}

v1::Event RecordSite(const v1::RecordSite& command, const runtime::Facts& facts) {
  if (command.site().name() != Here(facts)) return NotHome(command, command.site().name(), facts);
  v1::Event event;
  *event.mutable_site_recorded() = command.site();
  return event;
}

v1::Event RecordEnvelope(const State& state, const v1::RecordEnvelope& command,
                         const runtime::Facts& facts) {
  if (command.envelope().site() != Here(facts))
    return NotHome(command, command.envelope().site(), facts);
  v1::Event event;
  v1::EnvelopeRecorded& recorded = *event.mutable_envelope_recorded();
  recorded = command.envelope();
  recorded.set_cuts(Cuts(state, "", recorded, facts));
  return event;
}

v1::Event RecordFeed(const State& state, const v1::RecordFeed& command,
                     const runtime::Facts& facts) {
  const v1::FeedRecorded& feed = command.feed();
  if (feed.step().site() != Here(facts)) return NotHome(command, feed.step().site(), facts);
  v1::Event event;
  v1::FeedRecorded& recorded = *event.mutable_feed_recorded();
  recorded = feed;
  recorded.mutable_step()->set_cuts(Cuts(state, feed.feed(), feed.step(), facts));
  return event;
}

v1::Event RecordServer(const State& state, const v1::RecordServer& command,
                       const runtime::Facts& facts) {
  const v1::ServerRecorded& found = command.server();
  if (runtime::SiteOfName(found.name()) != facts.site) return NotHome(command, found.name(), facts);
  v1::Event event;
  v1::ServerRecorded& recorded = *event.mutable_server_recorded();
  recorded = found;
  if (!found.model().empty()) return event;
  // Only the entry into service says what a server is; the rest of the story is kept from there.
  const auto known = state.rows.server_records.Get(found.name());
  if (!known) {
    return Refused(
        command, v1::REASON_NOT_FOUND,
        fmt::format("{} is not known, expected that it entered service before.", found.name()));
  }
  recorded = known->server();
  if (command.test_only()) {
    recorded.set_untested(found.untested());
    if (found.untested()) return event;
    // Its plan may have a newer version than the one that it entered service under.
    recorded.set_retest_after_tenant(found.retest_after_tenant());
    recorded.clear_retest_margin();
    if (found.has_retest_margin()) *recorded.mutable_retest_margin() = found.retest_margin();
    return event;
  }
  recorded.set_bookable(found.bookable());
  recorded.set_lost(found.lost());
  return event;
}

}  // namespace concordat::reservations
