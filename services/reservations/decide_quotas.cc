#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "services/reservations/decider.h"
#include "services/reservations/quotas.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

bool IsNothing(const v1::QuotaAmount& amount) {
  return amount.accelerators() <= 0 && amount.accelerator_seconds() <= 0;
}

// The amount less what the quota does not limit, and never below nothing.
v1::QuotaAmount Limited(const v1::Quota& quota, const v1::QuotaAmount& amount) {
  v1::QuotaAmount limited;
  if (quota.total().accelerators() > 0)
    limited.set_accelerators(
        std::clamp<int64_t>(amount.accelerators(), 0, quota.total().accelerators()));
  if (quota.total().accelerator_seconds() > 0)
    limited.set_accelerator_seconds(
        std::clamp<int64_t>(amount.accelerator_seconds(), 0, quota.total().accelerator_seconds()));
  return limited;
}

v1::QuotaAmount AtMost(const v1::QuotaAmount& amount, const Unused& unused) {
  v1::QuotaAmount most;
  most.set_accelerators(std::min(amount.accelerators(), unused.accelerators));
  most.set_accelerator_seconds(std::min(amount.accelerator_seconds(), unused.accelerator_seconds));
  return most;
}

v1::QuotaAmount Less(const v1::QuotaAmount& amount, const v1::QuotaAmount& given) {
  v1::QuotaAmount rest;
  rest.set_accelerators(amount.accelerators() - given.accelerators());
  rest.set_accelerator_seconds(amount.accelerator_seconds() - given.accelerator_seconds());
  return rest;
}

std::string ToText(const v1::QuotaAmount& amount) {
  return fmt::format("{} accelerators at once and {} accelerator-hours", amount.accelerators(),
                     HoursText(amount.accelerator_seconds()));
}

std::optional<v1::Quota> QuotaAt(const State& state, const std::string& contract,
                                 const runtime::Facts& facts) {
  return state.rows.quotas.Get(QuotaName(facts.site, contract));
}

v1::Event NoQuota(const google::protobuf::Message& command, const std::string& contract,
                  const runtime::Facts& facts) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("No quota of {} is known at {}, expected a contract that has one and "
                             "covers the site.",
                             contract, Here(facts)));
}

v1::Event NotItsHome(const google::protobuf::Message& command, const v1::Quota& quota,
                     const std::string& found) {
  return Refused(command, v1::REASON_NOT_HOME,
                 fmt::format("{} keeps the quota of {}; found {}.", quota.home_site(),
                             quota.contract(), found));
}

// The most that is missing of the accelerators at once at any instant of the span, and what is left
// where that is.
struct Level {
  int64_t missing = 0;
  int64_t allotted = 0;
  int64_t used = 0;
};
Level LevelWithin(const Index& index, const v1::Quota& quota, int64_t accelerators,
                  const Span& span) {
  std::optional<Level> worst;
  for (int step = 0; step < quota.levels_size(); ++step) {
    const auto begin = [&](int i) {
      return quota.levels(i).has_effective_from()
                 ? runtime::ToTime(quota.levels(i).effective_from())
                 : absl::InfinitePast();
    };
    const Span part{std::max(span.start, begin(step)),
                    std::min(span.end, step + 1 < quota.levels_size() ? begin(step + 1)
                                                                      : absl::InfiniteFuture())};
    if (part.start >= part.end) continue;
    Level level{0, quota.levels(step).accelerators(),
                index.AcceleratorPeak(quota.contract(), part)};
    level.missing = level.used + accelerators - level.allotted;
    if (!worst || level.missing > worst->missing) worst = level;
  }
  return worst.value_or(Level{accelerators, 0, 0});
}

}  // namespace

std::optional<int64_t> AcceleratorsLeft(const State& state, const Frame& frame, const Span& span) {
  if (!frame.quota || frame.quota->total().accelerators() == 0) return std::nullopt;
  const Level level = LevelWithin(state.index, *frame.quota, 0, span);
  return std::max<int64_t>(0, level.allotted - level.used);
}

Checked CheckAllotment(const State& state, const Frame& frame, int64_t accelerators,
                       int64_t more_seconds, const Span& span) {
  if (!frame.quota) return std::nullopt;
  const v1::Quota& quota = *frame.quota;
  const std::string site = fmt::format("sites/{}", runtime::SiteOfName(quota.name()));
  std::string found;
  v1::QuotaAmount missing;
  if (quota.total().accelerators() > 0) {
    const Level level = LevelWithin(state.index, quota, accelerators, span);
    if (level.missing > 0) {
      missing.set_accelerators(level.missing);
      found = fmt::format(
          "{} accelerators at once are allotted, {} of them are left within {}, and {} are asked "
          "for",
          level.allotted, std::max<int64_t>(0, level.allotted - level.used),
          reservations::ToText(span), accelerators);
    }
  }
  const int64_t left = quota.accelerator_seconds() - quota.used_accelerator_seconds();
  const int64_t wanted = frame.planned_accelerator_seconds + more_seconds;
  if (quota.total().accelerator_seconds() > 0 && wanted > left && wanted > 0) {
    missing.set_accelerator_seconds(wanted - left);
    found += fmt::format(
        "{}{} accelerator-hours are allotted, {} of them are left, and {} are asked for",
        found.empty() ? "" : "; ", HoursText(quota.accelerator_seconds()),
        HoursText(std::max<int64_t>(0, left)), HoursText(wanted));
  }
  if (found.empty()) return std::nullopt;
  v1::QuotaShortfall shortfall;
  shortfall.set_contract(quota.contract());
  *shortfall.mutable_missing() = missing;
  return Obstacle{
      v1::REASON_QUOTA_EXHAUSTED,
      fmt::format("Of the quota of {} at {}, {}. More is requested from {}.", quota.contract(),
                  site, found, site == quota.home_site() ? "the other sites" : quota.home_site()),
      {},
      std::move(shortfall)};
}

std::vector<v1::Allotment> AllotmentsOf(const v1::SignContractRequest& request,
                                        const std::string& home) {
  const v1::ContractQuota& quota = request.quota();
  if (!quota.allotments().empty()) return {quota.allotments().begin(), quota.allotments().end()};
  // In equal parts; what does not divide stays at the home, or else at the first site.
  std::vector<v1::Allotment> allotments;
  const int64_t count = request.sites_size();
  const auto first = std::find(request.sites().begin(), request.sites().end(), home);
  const std::string& favoured = first == request.sites().end() ? request.sites(0) : *first;
  for (const std::string& site : request.sites()) {
    v1::Allotment& allotment = allotments.emplace_back();
    const bool most = site == favoured;
    allotment.set_site(site);
    allotment.set_accelerators(quota.accelerators() / count +
                               (most ? quota.accelerators() % count : 0));
    allotment.set_accelerator_hours(quota.accelerator_hours() / count +
                                    (most ? quota.accelerator_hours() % count : 0));
  }
  return allotments;
}

v1::Event RequestQuota(const State& state, const v1::RequestQuotaRequest& request,
                       const runtime::Facts& facts) {
  const auto quota = QuotaAt(state, request.contract(), facts);
  if (!quota) return NoQuota(request, request.contract(), facts);
  const v1::QuotaAmount amount = Limited(*quota, request.amount());
  if (IsNothing(amount)) {
    return Refused(request, v1::REASON_CONTRACT,
                   fmt::format("{} is asked for, expected something that {} limits.",
                               ToText(request.amount()), request.contract()));
  }
  v1::Event event;
  v1::QuotaRequested& requested = *event.mutable_quota_requested();
  requested.set_contract(request.contract());
  requested.set_site(Here(facts));
  requested.set_number(quota->requests() + 1);
  *requested.mutable_amount() = amount;
  if (quota->home_site() != Here(facts)) {
    if (quota->open_request() > 0) {
      return Refused(request, v1::REASON_WRONG_STATE,
                     fmt::format("{} has not answered request {} yet, expected its answer first.",
                                 quota->home_site(), quota->open_request()));
    }
    requested.add_asked(quota->home_site());
    return event;
  }
  requested.set_recall(true);
  requested.set_on_behalf_of(request.on_behalf_of());
  for (const v1::QuotaShare& share : quota->shares()) {
    if (share.site() != request.on_behalf_of() && !IsNothing(share.granted()))
      requested.add_asked(share.site());
  }
  if (requested.asked().empty()) {
    return Refused(request, v1::REASON_QUOTA_EXHAUSTED,
                   fmt::format("No other site has any of the quota of {}, expected one to ask.",
                               request.contract()));
  }
  return event;
}

v1::Event ReturnQuota(const State& state, const v1::ReturnQuotaRequest& request,
                      const runtime::Facts& facts) {
  const auto quota = QuotaAt(state, request.contract(), facts);
  if (!quota) return NoQuota(request, request.contract(), facts);
  if (quota->home_site() == Here(facts)) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} keeps the quota of {} itself, expected another site.",
                               Here(facts), request.contract()));
  }
  const v1::QuotaAmount most =
      Limited(*quota, request.has_amount() ? request.amount() : quota->total());
  const v1::QuotaAmount amount = AtMost(most, UnusedOf(state.index, *quota, facts.now));
  if (IsNothing(amount)) {
    return Refused(
        request, v1::REASON_QUOTA_EXHAUSTED,
        fmt::format("Nothing of what {} is allotted of {} is unused, expected something.",
                    Here(facts), request.contract()));
  }
  v1::Event event;
  v1::QuotaReturned& returned = *event.mutable_quota_returned();
  returned.set_contract(request.contract());
  returned.set_home_site(quota->home_site());
  returned.set_number(quota->returns() + 1);
  *returned.mutable_amount() = amount;
  *returned.mutable_effective_from() = runtime::ToTimestamp(facts.now);
  return event;
}

v1::Event GrantQuota(const State& state, const v1::GrantQuota& command,
                     const runtime::Facts& facts) {
  const auto quota = QuotaAt(state, command.contract(), facts);
  if (!quota) return NoQuota(command, command.contract(), facts);
  if (quota->home_site() != Here(facts)) return NotItsHome(command, *quota, Here(facts));
  const v1::QuotaShare* share = ShareOf(*quota, command.site());
  if (share == nullptr) {
    return Refused(command, v1::REASON_CONTRACT,
                   fmt::format("{} asks, expected a site that {} covers.", command.site(),
                               command.contract()));
  }
  if (command.has_request() && IsSeen(share->requests(), command.request().number())) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("Request {} of {} for {} is answered already.",
                               command.request().number(), command.site(), command.contract()));
  }
  const v1::QuotaAmount wanted =
      Limited(*quota, command.has_request() ? command.request().amount() : share->missing());
  const v1::QuotaAmount given = AtMost(wanted, UnusedOf(state.index, *quota, facts.now));
  v1::Event event;
  if (!IsNothing(given)) {
    v1::QuotaGranted& granted = *event.mutable_quota_granted();
    granted.set_contract(command.contract());
    granted.set_site(command.site());
    granted.set_number(share->grants() + 1);
    granted.set_request(command.has_request() ? command.request().number() : share->last_request());
    *granted.mutable_amount() = given;
    *granted.mutable_effective_from() = runtime::ToTimestamp(facts.now);
    *granted.mutable_missing() = Less(wanted, given);
    return event;
  }
  const std::string detail = fmt::format("{} has nothing left of {}, of which {} asks for.",
                                         Here(facts), command.contract(), command.site()) +
                             fmt::format(" Asked for: {}.", ToText(wanted));
  if (!command.has_request()) return Refused(command, v1::REASON_QUOTA_EXHAUSTED, detail);
  v1::QuotaDeclined& declined = *event.mutable_quota_declined();
  declined.set_contract(command.contract());
  declined.set_site(command.site());
  declined.set_request(command.request().number());
  *declined.mutable_missing() = wanted;
  declined.set_detail(detail);
  return event;
}

v1::Event RecordQuotaAnswer(const State& state, const v1::RecordQuotaAnswer& command,
                            const runtime::Facts& facts) {
  const std::string& contract =
      command.has_granted() ? command.granted().contract() : command.declined().contract();
  const auto quota = QuotaAt(state, contract, facts);
  if (!quota) return NoQuota(command, contract, facts);
  if (quota->home_site() != command.site()) return NotItsHome(command, *quota, command.site());
  const bool known = command.has_granted() ? IsSeen(quota->grants(), command.granted().number())
                                           : quota->open_request() != command.declined().request();
  if (known) {
    return Refused(
        command, v1::REASON_ALREADY_EXISTS,
        fmt::format("That answer of {} about {} is recorded already.", command.site(), contract));
  }
  v1::Event event;
  v1::QuotaAnswered& answered = *event.mutable_quota_answered();
  answered.set_contract(contract);
  if (command.has_granted()) {
    answered.set_grant(command.granted().number());
    answered.set_request(command.granted().request());
    *answered.mutable_amount() = command.granted().amount();
    *answered.mutable_effective_from() = command.granted().effective_from();
  } else {
    answered.set_request(command.declined().request());
    answered.set_detail(command.declined().detail());
  }
  return event;
}

v1::Event ReclaimQuota(const State& state, const v1::ReclaimQuota& command,
                       const runtime::Facts& facts) {
  const v1::QuotaReturned& returned = command.returned();
  const auto quota = QuotaAt(state, returned.contract(), facts);
  if (!quota) return NoQuota(command, returned.contract(), facts);
  if (quota->home_site() != Here(facts)) return NotItsHome(command, *quota, Here(facts));
  const v1::QuotaShare* share = ShareOf(*quota, command.site());
  if (share == nullptr || returned.amount().accelerators() > share->granted().accelerators() ||
      returned.amount().accelerator_seconds() > share->granted().accelerator_seconds()) {
    return Refused(command, v1::REASON_CONTRACT,
                   fmt::format("{} gives back {} of {}, expected no more than it was granted.",
                               command.site(), ToText(returned.amount()), returned.contract()));
  }
  if (IsSeen(share->returns(), returned.number())) {
    return Refused(
        command, v1::REASON_ALREADY_EXISTS,
        fmt::format("Return {} of {} is recorded already.", returned.number(), command.site()));
  }
  v1::Event event;
  v1::QuotaReclaimed& reclaimed = *event.mutable_quota_reclaimed();
  reclaimed.set_contract(returned.contract());
  reclaimed.set_site(command.site());
  reclaimed.set_number(returned.number());
  *reclaimed.mutable_amount() = returned.amount();
  *reclaimed.mutable_effective_from() = returned.effective_from();
  return event;
}

}  // namespace concordat::reservations
