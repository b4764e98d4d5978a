#include "tests/simulation/quotas.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::simulation {

std::string Quotas::Take(const reservations::v1::Event& event, const std::string& site,
                         absl::Time at) {
  using Event = reservations::v1::Event;
  switch (event.event_case()) {
    case Event::kContractSigned: {
      const auto& contract = event.contract_signed();
      totals_[contract.name()] = {contract.quota().accelerators(),
                                  contract.quota().accelerator_hours() * 3600};
      return "";
    }
    case Event::kReservationHeld: {
      const auto& held = event.reservation_held();
      // Nobody had it before it was asked for. What recurs is used when it takes place.
      if (!held.terms().has_access()) {
        uses_[held.name()] = {held.terms().contract(), held.accelerators(),
                              std::max(at, runtime::ToTime(held.terms().start_time())),
                              runtime::ToTime(held.terms().end_time())};
      }
      for (const auto& one : held.occurrences()) {
        uses_[one.name()] = {held.terms().contract(), one.accelerators(),
                             std::max(at, runtime::ToTime(one.start_time())),
                             runtime::ToTime(one.end_time())};
        occurrences_[held.name()].push_back(one.name());
      }
      return CheckUse(held.terms().contract());
    }
    case Event::kReservationStarted: {
      Use& use = uses_[event.reservation_started().name()];
      use.started = true;
      use.start = std::max(use.start, at);
      use.accelerators = event.reservation_started().accelerators();
      return CheckUse(use.contract);
    }
    case Event::kReservationDeclined:
      EndUse(event.reservation_declined().name(), absl::InfinitePast());
      return "";
    case Event::kHoldLapsed:
      EndUse(event.hold_lapsed().name(), absl::InfinitePast());
      return "";
    case Event::kReservationCancelled:
      EndUse(event.reservation_cancelled().name(), absl::InfinitePast());
      return "";
    case Event::kAmendmentConfirmed: {
      const auto& confirmed = event.amendment_confirmed();
      return Divide(confirmed.reservation(), confirmed.segments());
    }
    case Event::kServersReassigned: {
      const auto& reassigned = event.servers_reassigned();
      if (reassigned.accelerators() == 0) return "";
      if (!reassigned.segments().empty())
        return Divide(reassigned.reservation(), reassigned.segments());
      Use& use = uses_[reassigned.reservation()];
      use.accelerators = reassigned.accelerators();
      return CheckUse(use.contract);
    }
    // What is given back, or taken away, counts up to then.
    case Event::kPromiseBroken:
      EndUse(event.promise_broken().name(), absl::InfinitePast());
      return "";
    case Event::kReservationReleased:
      EndUse(event.reservation_released().name(), at);
      return "";
    case Event::kReservationRevoked:
      EndUse(event.reservation_revoked().name(), at);
      return "";
    case Event::kQuotaGranted: {
      const auto& granted = event.quota_granted();
      const Key key{granted.contract(), granted.site(), granted.number()};
      if (granted_.contains(key)) return fmt::format("grant {} was made twice", granted.number());
      granted_[key] = granted.amount().SerializeAsString();
      return "";
    }
    case Event::kQuotaAnswered:
      return CheckAnswer(event.quota_answered(), "sites/" + site);
    case Event::kQuotaReturned: {
      const auto& returned = event.quota_returned();
      const Key key{returned.contract(), "sites/" + site, returned.number()};
      if (returned_.contains(key))
        return fmt::format("return {} was made twice", returned.number());
      returned_[key] = returned.amount().SerializeAsString();
      return "";
    }
    case Event::kQuotaReclaimed:
      return CheckReclaim(event.quota_reclaimed());
    default:
      return "";
  }
}

std::string Quotas::Divide(const std::string& reservation, const Segments& segments) {
  const Use before = uses_[reservation];
  EndUse(reservation, absl::InfinitePast());
  for (int i = 0; i < segments.size(); ++i) {
    const Use use{before.contract, segments[i].accelerators(),
                  i == 0 ? std::max(before.start, runtime::ToTime(segments[i].start_time()))
                         : runtime::ToTime(segments[i].start_time()),
                  runtime::ToTime(segments[i].end_time()), before.started};
    if (use.start < use.end) uses_[reservation + (i == 0 ? "" : fmt::format("/{}", i))] = use;
  }
  return CheckUse(before.contract);
}

void Quotas::EndUse(const std::string& reservation, absl::Time at) {
  // What recurs takes those along that have not begun.
  if (const auto known = occurrences_.find(reservation); known != occurrences_.end()) {
    for (const std::string& one : std::exchange(known->second, {})) {
      if (const auto use = uses_.find(one); use != uses_.end() && !use->second.started)
        EndUse(one, absl::InfinitePast());
    }
  }
  // Its segments stand under its name and a number.
  for (auto use = uses_.begin(); use != uses_.end();) {
    const bool own = use->first == reservation ||
                     use->first.compare(0, reservation.size() + 1, reservation + "/") == 0;
    if (own) use->second.end = std::min(use->second.end, at);
    use = own && use->second.end <= use->second.start ? uses_.erase(use) : std::next(use);
  }
}

std::string Quotas::CheckUse(const std::string& contract) const {
  const auto found = totals_.find(contract);
  if (found == totals_.end()) return "";
  const Total& total = found->second;
  int64_t seconds = 0;
  for (const auto& [name, use] : uses_) {
    if (use.contract != contract) continue;
    seconds += use.accelerators * absl::ToInt64Seconds(use.end - use.start);
    int64_t at_once = 0;
    for (const auto& [other_name, other] : uses_) {
      if (other.contract == contract && other.start <= use.start && use.start < other.end)
        at_once += other.accelerators;
    }
    if (total.accelerators > 0 && at_once > total.accelerators) {
      return fmt::format("{} has {} of {} accelerators at {}, over all sites", contract, at_once,
                         total.accelerators, runtime::ToText(use.start));
    }
  }
  if (total.seconds == 0 || seconds <= total.seconds) return "";
  return fmt::format("{} has {} of {} accelerator-seconds, over all sites", contract, seconds,
                     total.seconds);
}

std::string Quotas::CheckAnswer(const reservations::v1::QuotaAnswered& answered,
                                const std::string& site) {
  if (answered.grant() == 0) return "";
  const auto found = granted_.find({answered.contract(), site, answered.grant()});
  if (found == granted_.end() || found->second.empty() ||
      found->second != answered.amount().SerializeAsString()) {
    return fmt::format("{} credits itself grant {} of {}, which was not made so, or twice", site,
                       answered.grant(), answered.contract());
  }
  found->second.clear();
  return "";
}

std::string Quotas::CheckReclaim(const reservations::v1::QuotaReclaimed& reclaimed) {
  const auto found = returned_.find({reclaimed.contract(), reclaimed.site(), reclaimed.number()});
  if (found == returned_.end() || found->second.empty() ||
      found->second != reclaimed.amount().SerializeAsString()) {
    return fmt::format("return {} of {} for {} is credited, which was not made so, or twice",
                       reclaimed.number(), reclaimed.site(), reclaimed.contract());
  }
  found->second.clear();
  return "";
}

}  // namespace concordat::simulation
