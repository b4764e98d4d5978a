#include "tests/simulation/books.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/runtime/check.h"

namespace concordat::simulation {
namespace {

bool IsOf(const std::string& name, const std::string& site) {
  const std::string prefix = "sites/" + site + "/";
  return name.compare(0, prefix.size(), prefix) == 0;
}

}  // namespace

std::string Offers::Take(const inventory::v1::Event& event) {
  if (event.has_burn_in_passed()) passed_.insert(event.burn_in_passed().name());
  if (event.has_burn_in_failed()) passed_.erase(event.burn_in_failed().name());
  if (event.has_server_left_service()) passed_.erase(event.server_left_service().name());
  if (event.has_server_quarantined()) passed_.erase(event.server_quarantined().name());
  if (event.has_firmware_changed()) passed_.erase(event.firmware_changed().name());
  if (event.has_server_retired()) retired_.insert(event.server_retired().name());
  if (event.has_server_ordered() && retired_.contains(event.server_ordered().name()))
    return fmt::format("{} was retired and is ordered", event.server_ordered().name());
  if (event.has_server_entered_service() &&
      !passed_.contains(event.server_entered_service().name())) {
    return fmt::format("{} entered service without its burn-in",
                       event.server_entered_service().name());
  }
  return "";
}

std::string Allocations::Take(const reservations::v1::Event& event, const std::string& site,
                              absl::Time at) {
  using Event = reservations::v1::Event;
  switch (event.event_case()) {
    case Event::kEnvelopeRecorded:
      envelopes_.push_back({runtime::ToTime(event.envelope_recorded().effective_from()),
                            event.envelope_recorded().it_power_watts(),
                            event.envelope_recorded().cooling_watts()});
      return "";
    case Event::kReservationHeld: {
      const auto& text = event.reservation_held();
      // Nobody else's over its margins and its grace either.
      const auto seconds = [](const auto& duration) { return absl::Seconds(duration.seconds()); };
      Held held{text.terms().customer(),
                {text.servers().begin(), text.servers().end()},
                runtime::ToTime(text.terms().start_time()) - seconds(text.margins().before()),
                runtime::ToTime(text.terms().end_time()) + seconds(text.terms().grace()) +
                    seconds(text.margins().after()),
                text.it_power_watts(),
                text.cooling_watts()};
      if (!IsOf(text.name(), site)) return fmt::format("{} was held by {}", text.name(), site);
      for (const std::string& server : held.servers) {
        if (!IsOf(server, site)) return fmt::format("{} gave away {}", site, server);
      }
      std::string wrong = CheckHeld(text.name(), held);
      if (wrong.empty()) wrong = CheckApart(text.name(), held);
      live_[text.name()] = std::move(held);
      if (wrong.empty()) wrong = CheckEnvelope(live_[text.name()]);
      return wrong.empty() ? CheckFeeds(live_[text.name()]) : wrong;
    }
    case Event::kFeedRecorded: {
      const auto& step = event.feed_recorded().step();
      feeds_[event.feed_recorded().feed()].push_back({step.has_effective_from()
                                                          ? runtime::ToTime(step.effective_from())
                                                          : absl::InfinitePast(),
                                                      step.it_power_watts(), 0});
      return "";
    }
    case Event::kServersReassigned: {
      const auto& reassigned = event.servers_reassigned();
      Held held = live_[reassigned.reservation()];
      live_.erase(reassigned.reservation());
      const auto drained = drained_.find(reassigned.window());
      const bool moves = drained != drained_.end() && drained->second.contains(held.customer);
      for (const std::string& server : reassigned.removed()) {
        if (held.running && !held.lost.contains(server) && !moves)
          return fmt::format("{} was taken from {} in use", server, reassigned.reservation());
      }
      held.servers.assign(reassigned.servers().begin(), reassigned.servers().end());
      held.power = reassigned.it_power_watts();
      held.cooling = reassigned.cooling_watts();
      // What others had before it was moved there is theirs.
      Held from_now = held;
      from_now.start = std::max(held.start, at);
      const std::string wrong = CheckHeld(reassigned.reservation(), from_now);
      live_[reassigned.reservation()] = std::move(held);
      return wrong;
    }
    case Event::kReservationStarted: {
      const auto& started = event.reservation_started();
      for (const auto& [name, other] : live_) {
        if (!other.running || name == started.name()) continue;
        for (const std::string& server : started.servers()) {
          if (std::count(other.servers.begin(), other.servers.end(), server) > 0) {
            return fmt::format("{} runs for {} and for {}", server, name, started.name());
          }
        }
      }
      pending_.erase(started.name());
      Held& held = live_[started.name()];
      held.running = true;
      held.servers.assign(started.servers().begin(), started.servers().end());
      return "";
    }
    case Event::kPromiseBroken:
      live_.erase(event.promise_broken().name());
      return "";
    // See Bundles.
    case Event::kBundleRequested:
    case Event::kPartHeld:
    case Event::kPartRecorded:
    case Event::kBundlePrepared:
    case Event::kPartPromised:
    case Event::kBundleCommitted:
    case Event::kBundleAborted:
      return "";
    case Event::kServerRecorded:
      servers_[event.server_recorded().name()] = event.server_recorded();
      for (auto& [name, held] : live_) {
        if (event.server_recorded().lost()) held.lost.insert(event.server_recorded().name());
      }
      return "";
    case Event::kPartiesSeparated:
      apart_[event.parties_separated().name()] = {event.parties_separated().parties(0),
                                                  event.parties_separated().parties(1)};
      return "";
    case Event::kSeparationEnded:
      apart_.erase(event.separation_ended().name());
      return "";
    case Event::kAmendmentHeld: {
      const auto& held = event.amendment_held();
      pending_[held.reservation()] = HeldOf(held.amendment());
      const auto had = live_.find(held.reservation());
      return CheckServers(held.reservation(), pending_[held.reservation()],
                          had == live_.end() ? nullptr : &had->second);
    }
    case Event::kAmendmentDropped:
      pending_.erase(event.amendment_dropped().reservation());
      return "";
    case Event::kAmendmentConfirmed: {
      const auto& confirmed = event.amendment_confirmed();
      Held& held = live_[confirmed.reservation()];
      const Held before = held;
      held = HeldOf(confirmed.amendment());
      held.running = before.running;
      held.lost = before.lost;
      pending_.erase(confirmed.reservation());
      return CheckServers(confirmed.reservation(), held, &before);
    }
    case Event::kReservationDeclined:
      live_.erase(event.reservation_declined().name());
      pending_.erase(event.reservation_declined().name());
      return "";
    case Event::kHoldLapsed:
      live_.erase(event.hold_lapsed().name());
      return "";
    case Event::kReservationCleaning:
      // Sooner where it was released, later where it was vacated late.
      live_[event.reservation_cleaning().name()].end =
          runtime::ToTime(event.reservation_cleaning().cleaning_until());
      return "";
    case Event::kReservationEnding:
      pending_.erase(event.reservation_ending().name());
      live_[event.reservation_ending().name()].ending = true;
      return "";
    case Event::kReservationReleased:
      pending_.erase(event.reservation_released().name());
      live_[event.reservation_released().name()].ending = true;
      return "";
    case Event::kReservationGraceStarted:
      pending_.erase(event.reservation_grace_started().name());
      return "";
    case Event::kReservationRevoked:
      pending_.erase(event.reservation_revoked().name());
      if (event.reservation_revoked().vacates()) {
        live_[event.reservation_revoked().name()].ending = true;
      } else {
        live_.erase(event.reservation_revoked().name());
      }
      return "";
    case Event::kReservationCancelled:
      live_.erase(event.reservation_cancelled().name());
      pending_.erase(event.reservation_cancelled().name());
      return "";
    case Event::kReservationEnded:
      live_.erase(event.reservation_ended().name());
      pending_.erase(event.reservation_ended().name());
      return "";
    case Event::kCustomerRegistered:
    case Event::kContractSigned:
    case Event::kContractRecorded:
    case Event::kSiteRecorded:
    case Event::kReservationConfirmed:
    case Event::kMarginsSet:
    case Event::kCommandRefused:
    case Event::kReservationOrdered:
    case Event::kOrderDeclined:
    case Event::kOrderAnswered:
    case Event::kReservationDelayed:
    // Quotas have a book of their own.
    case Event::kQuotaRequested:
    case Event::kQuotaGranted:
    case Event::kQuotaDeclined:
    case Event::kQuotaAnswered:
    case Event::kQuotaReturned:
    case Event::kQuotaReclaimed:
    case Event::kNoticeGiven:
    case Event::kNoticeDelivered:
    case Event::kWavePlanned:
    case Event::kProjectRegistered:
    // The workload has no schedules.
    case Event::kScheduleExtended:
    case Event::kOccurrencesShifted:
    case Event::kOccurrencesKept:
    // A window claims nothing that is promised; what it does is judged where it opens.
    case Event::kWindowAffects: {
      const auto& window = event.window_affects();
      if (window.drained()) {
        drained_[window.window()] = {window.relocation_customers().begin(),
                                     window.relocation_customers().end()};
      }
      return "";
    }
    case Event::kWindowReleased:
    case Event::kReplacementOffered:
    case Event::kServersMissing:
    case Event::kShortfallFound:
    case Event::kShortfallCleared:
    case Event::EVENT_NOT_SET:
      return "";
  }
  return "";
}

std::string Bundles::Take(const reservations::v1::Event& event) {
  const auto decide = [&](const std::string& bundle, bool committed) -> std::string {
    const auto [known, fresh] = committed_.try_emplace(bundle, committed);
    return fresh ? "" : fmt::format("{} was decided twice", bundle);
  };
  if (event.has_bundle_requested()) {
    for (const auto& part : event.bundle_requested().parts())
      parts_[event.bundle_requested().name()].insert(part.reservation());
  } else if (event.has_bundle_committed()) {
    const auto& committed = event.bundle_committed();
    for (const std::string& part : parts_[committed.name()]) {
      if (!promised_.contains(part))
        return fmt::format("{} takes place, and {} was never promised", committed.name(), part);
    }
    return decide(committed.name(), true);
  } else if (event.has_bundle_aborted()) {
    return decide(event.bundle_aborted().name(), false);
  } else if (event.has_part_promised()) {
    promised_.insert(event.part_promised().name());
  } else if (event.has_promise_broken()) {
    settled_.insert(event.promise_broken().name());
  } else if (event.has_hold_lapsed() && promised_.contains(event.hold_lapsed().name())) {
    return fmt::format("{} lapsed after it was promised", event.hold_lapsed().name());
  } else if (event.has_reservation_confirmed() && !event.reservation_confirmed().bundle().empty()) {
    const auto& confirmed = event.reservation_confirmed();
    settled_.insert(confirmed.name());
    const auto known = committed_.find(confirmed.bundle());
    if (known == committed_.end() || !known->second)
      return fmt::format("{} was confirmed, and {} not committed", confirmed.name(),
                         confirmed.bundle());
  } else if (event.has_reservation_cancelled() &&
             promised_.contains(event.reservation_cancelled().name()) &&
             !settled_.contains(event.reservation_cancelled().name())) {
    return fmt::format("{} was given back while it was promised",
                       event.reservation_cancelled().name());
  }
  return "";
}

std::string Bundles::Unsettled() const {
  for (const auto& [bundle, committed] : committed_) {
    if (!committed) continue;
    for (const std::string& part : parts_.at(bundle)) {
      if (!settled_.contains(part)) return fmt::format("{} takes place without {}", bundle, part);
    }
  }
  return "";
}

std::set<std::string> Allocations::CustomersOf(const std::vector<std::string>& servers,
                                               absl::Time start, absl::Time end) const {
  std::set<std::string> customers;
  for (const auto& [name, held] : live_) {
    if (held.ending || held.end <= start || end <= held.start) continue;
    for (const std::string& server : servers) {
      if (std::count(held.servers.begin(), held.servers.end(), server) > 0)
        customers.insert(held.customer);
    }
  }
  return customers;
}

std::string Maintenance::Take(const inventory::v1::Event& event, const Allocations& allocations) {
  if (event.has_window_proposed())
    windows_[event.window_proposed().name()] = {event.window_proposed(), {}};
  if (event.has_window_work_added()) windows_[event.window_work_added().name()].consents.clear();
  if (event.has_window_consent_given()) {
    const auto& given = event.window_consent_given();
    windows_[given.name()].consents.insert(given.customer());
  }
  if (event.has_window_consent_refused()) {
    const auto& refused = event.window_consent_refused();
    windows_[refused.name()].consents.erase(refused.customer());
  }
  if (!event.has_window_opened()) return "";
  const auto& [plan, consents] = windows_[event.window_opened().name()];
  if (plan.window_class() == inventory::v1::WINDOW_CLASS_EMERGENCY)
    return plan.basis().empty() ? fmt::format("{} opened without a basis", plan.name()) : "";
  for (const std::string& customer : allocations.CustomersOf(
           {plan.servers().begin(), plan.servers().end()}, runtime::ToTime(plan.start_time()),
           runtime::ToTime(plan.end_time()))) {
    if (!consents.contains(customer))
      return fmt::format("{} opened without the consent of {}", plan.name(), customer);
  }
  return "";
}

std::string Allocations::CheckHeld(const std::string& name, const Held& held) const {
  if (live_.contains(name)) return fmt::format("{} was held twice", name);
  return CheckServers(name, held);
}

// Promised to nobody else at one instant, and proposed to nobody else. What it had before it keeps:
// somebody who leaves late, and is cleaned up after late, runs into what comes next.
std::string Allocations::CheckServers(const std::string& name, const Held& held,
                                      const Held* had) const {
  for (const auto* others : {&live_, &pending_}) {
    for (const auto& [other_name, other] : *others) {
      if (other_name == name || other.end <= held.start || held.end <= other.start) continue;
      for (const std::string& server : held.servers) {
        if (had != nullptr && std::count(had->servers.begin(), had->servers.end(), server) > 0 &&
            had->start <= std::max(held.start, other.start) &&
            std::min(held.end, other.end) <= had->end)
          continue;
        if (std::count(other.servers.begin(), other.servers.end(), server) > 0) {
          return fmt::format("{} is promised to {} and to {}", server, other_name, name);
        }
      }
    }
  }
  return "";
}

Allocations::Held Allocations::HeldOf(const reservations::v1::Amendment& amendment) {
  const auto seconds = [](const auto& duration) { return absl::Seconds(duration.seconds()); };
  const auto& terms = amendment.terms();
  Held held{terms.customer(),
            {amendment.servers().begin(), amendment.servers().end()},
            runtime::ToTime(terms.start_time()) - seconds(amendment.margins().before()),
            runtime::ToTime(terms.end_time()) + seconds(terms.grace()) +
                seconds(amendment.margins().after()),
            amendment.it_power_watts(),
            amendment.cooling_watts()};
  if (amendment.has_effective_time())
    held.start = std::max(held.start, runtime::ToTime(amendment.effective_time()));
  return held;
}

// A new hold beside what those have at the same time that its customer is kept apart from.
std::string Allocations::CheckApart(const std::string& name, const Held& held) const {
  for (const auto& [separation, parties] : apart_) {
    for (const auto& [other_name, other] : live_) {
      const bool both = (held.customer == parties.first && other.customer == parties.second) ||
                        (held.customer == parties.second && other.customer == parties.first);
      if (!both || other.end <= held.start || held.end <= other.start) continue;
      for (const std::string& mine : held.servers) {
        for (const std::string& theirs : other.servers) {
          const auto& a = servers_.at(mine);
          const auto& b = servers_.at(theirs);
          const bool shared =
              (a.room() == b.room() && a.rack() == b.rack()) ||
              (!a.nvlink_domain().empty() && a.nvlink_domain() == b.nvlink_domain());
          if (shared)
            return fmt::format("{}: {} of {} stands beside {} of {}", separation, mine, name,
                               theirs, other_name);
        }
      }
    }
  }
  return "";
}

namespace {
// The step that holds at an instant: of those that have begun the one that began last, and of
// several the one that was recorded last.
template <typename Envelope>
Envelope At(const std::vector<Envelope>& steps, absl::Time at) {
  Envelope there;
  there.from = absl::InfinitePast();
  for (const Envelope& step : steps) {
    if (step.from <= at && step.from >= there.from) there = step;
  }
  return there;
}
}  // namespace

// What the servers on each of its feeds draw, over its whole time.
std::string Allocations::CheckFeeds(const Held& held) const {
  for (const auto& [feed, steps] : feeds_) {
    const auto draw = [&, &feed = feed](const Held& one) {
      int64_t watts = 0;
      for (const std::string& server : one.servers) {
        const auto found = servers_.find(server);
        if (found != servers_.end() && found->second.power_feed() == feed)
          watts += found->second.it_power_watts();
      }
      return watts;
    };
    if (draw(held) == 0) continue;
    std::vector<absl::Time> instants{held.start};
    for (const auto& [name, other] : live_) instants.push_back(other.start);
    for (const Envelope& step : steps) instants.push_back(step.from);
    for (const absl::Time at : instants) {
      if (at < held.start || at >= held.end) continue;
      int64_t watts = 0;
      for (const auto& [name, other] : live_) {
        if (at >= other.start && at < other.end) watts += draw(other);
      }
      const int64_t limit = At(steps, at).power;
      if (watts <= limit) continue;
      return fmt::format("at {} {} W of {} W of feed {} are promised", runtime::ToText(at), watts,
                         limit, feed);
    }
  }
  return "";
}

// At every instant at which what is promised, or what there is, may be at its worst.
std::string Allocations::CheckEnvelope(const Held& held) const {
  std::vector<absl::Time> instants{held.start};
  for (const auto& [name, other] : live_) instants.push_back(other.start);
  for (const Envelope& envelope : envelopes_) instants.push_back(envelope.from);
  for (const absl::Time at : instants) {
    if (at < held.start || at >= held.end) continue;
    const Envelope there = At(envelopes_, at);
    int64_t power = 0;
    int64_t cooling = 0;
    for (const auto& [name, other] : live_) {
      if (at < other.start || at >= other.end) continue;
      power += other.power;
      cooling += other.cooling;
    }
    if (power > there.power || cooling > there.cooling) {
      return fmt::format("at {} {} W of {} W and {} W of {} W cooling are promised",
                         runtime::ToText(at), power, there.power, cooling, there.cooling);
    }
  }
  return "";
}

}  // namespace concordat::simulation
