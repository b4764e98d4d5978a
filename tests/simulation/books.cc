#include "tests/simulation/books.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

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

namespace {
absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds());
}

std::vector<std::string> Strings(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::count(names.begin(), names.end(), name) > 0;
}

void Put(Limits& limits, const reservations::v1::EnvelopeRecorded& step) {
  limits.Put(
      step.has_effective_from() ? runtime::ToTime(step.effective_from()) : absl::InfinitePast(),
      step.has_until() ? std::optional(runtime::ToTime(step.until())) : std::nullopt,
      {step.it_power_watts(), step.cooling_watts()});
}

// A feed has no limit before its first step.
Limits Unlimited() { return Limits({INT64_MAX, INT64_MAX}); }
}  // namespace

std::string Allocations::Take(const reservations::v1::Event& event, const std::string& site,
                              absl::Time at) {
  using Event = reservations::v1::Event;
  switch (event.event_case()) {
    case Event::kEnvelopeRecorded:
      Put(site_, event.envelope_recorded());
      return "";
    case Event::kFeedRecorded:
      Put(feeds_.try_emplace(event.feed_recorded().feed(), Unlimited()).first->second,
          event.feed_recorded().step());
      return "";
    case Event::kReservationHeld:
      return Hold(event.reservation_held(), site);
    case Event::kServersReassigned:
      return Reassign(event.servers_reassigned(), at);
    case Event::kReservationStarted:
      return Start(event.reservation_started());
    case Event::kScheduleExtended:
      return Extend(event.schedule_extended());
    case Event::kPromiseBroken:
      End(event.promise_broken().name());
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
      const Own before = OwnOf(held.reservation());
      Held amended = HeldOf(held.amendment());
      const Held* had = before.confirmed ? &*before.confirmed : nullptr;
      std::string wrong = CheckServers(held.reservation(), amended, had);
      if (wrong.empty()) wrong = CheckApart(held.reservation(), amended, had);
      pending_[held.reservation()] = std::move(amended);
      return wrong.empty() ? CheckLoad(held.reservation(), before, absl::InfinitePast()) : wrong;
    }
    case Event::kAmendmentDropped:
      pending_.erase(event.amendment_dropped().reservation());
      return "";
    case Event::kAmendmentConfirmed:
      return Confirm(event.amendment_confirmed(), at);
    case Event::kReservationDeclined:
      End(event.reservation_declined().name());
      return "";
    case Event::kHoldLapsed:
      End(event.hold_lapsed().name());
      return "";
    case Event::kReservationCleaning:
      // Sooner where it was released, later where it was vacated late.
      live_[event.reservation_cleaning().name()].end =
          runtime::ToTime(event.reservation_cleaning().cleaning_until());
      live_[event.reservation_cleaning().name()].vacated = true;
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
        End(event.reservation_revoked().name());
      }
      return "";
    case Event::kReservationCancelled:
      End(event.reservation_cancelled().name());
      return "";
    case Event::kReservationEnded:
      // What recurs is over once its time is; an occurrence that runs late ends by itself.
      if (series_.erase(event.reservation_ended().name()) == 0)
        End(event.reservation_ended().name());
      for (const std::string& server : event.reservation_ended().retest_servers())
        servers_[server].set_untested(true);
      return "";
    // A window claims nothing that is promised; what it does is judged where it opens.
    case Event::kWindowAffects: {
      const auto& window = event.window_affects();
      if (window.drained()) {
        drained_[window.window()] = {window.relocation_customers().begin(),
                                     window.relocation_customers().end()};
      }
      return "";
    }
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
    case Event::kProjectRegistered:
    // See Waves and Shortfalls.
    case Event::kWavePlanned:
    case Event::kShortfallFound:
    case Event::kShortfallCleared:
    // The data of the time zones stay as they are while a world lasts.
    case Event::kOccurrencesShifted:
    case Event::kOccurrencesKept:
    case Event::kWindowReleased:
    case Event::kReplacementOffered:
    case Event::kServersMissing:
    case Event::EVENT_NOT_SET:
      return "";
  }
  return "";
}

std::string Allocations::Hold(const reservations::v1::ReservationHeld& event,
                              const std::string& site) {
  Held held = HeldOf(event.terms(), event.margins());
  held.servers = Strings(event.servers());
  held.load = {event.it_power_watts(), event.cooling_watts()};
  if (!IsOf(event.name(), site)) return fmt::format("{} was held by {}", event.name(), site);
  // By name; what recurs takes the times of its occurrences alone.
  std::vector<std::pair<std::string, Held>> parts;
  for (const auto& occurrence : event.occurrences()) {
    parts.emplace_back(occurrence.name(), HeldOf(occurrence, held));
    parts.back().second.series = event.name();
  }
  if (event.terms().has_access()) {
    series_[event.name()] = held;
  } else {
    parts.emplace_back(event.name(), held);
  }
  for (auto& [name, part] : parts) {
    for (const std::string& server : part.servers) {
      if (!IsOf(server, site)) return fmt::format("{} gave away {}", site, server);
    }
    std::string wrong = CheckHeld(name, part);
    if (wrong.empty()) wrong = CheckApart(name, part, nullptr);
    live_[name] = std::move(part);
    if (wrong.empty()) wrong = CheckLoad(name, {}, absl::InfinitePast());
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string Allocations::Extend(const reservations::v1::ScheduleExtended& extended) {
  const auto series = series_.find(extended.name());
  if (series == series_.end()) return "";
  for (const auto& occurrence : extended.occurrences()) {
    if (occurrence.reason() != reservations::v1::REASON_UNSPECIFIED) continue;
    Held part = HeldOf(occurrence, series->second);
    part.series = extended.name();
    std::string wrong = CheckHeld(occurrence.name(), part);
    if (wrong.empty()) wrong = CheckApart(occurrence.name(), part, nullptr);
    live_[occurrence.name()] = std::move(part);
    if (wrong.empty()) wrong = CheckLoad(occurrence.name(), {}, absl::InfinitePast());
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string Allocations::Reassign(const reservations::v1::ServersReassigned& reassigned,
                                  absl::Time at) {
  const std::string& name = reassigned.reservation();
  const Own before = OwnOf(name);
  Held held = before.confirmed.value_or(Held());
  live_.erase(name);
  const auto drained = drained_.find(reassigned.window());
  const bool moves = drained != drained_.end() && drained->second.contains(held.customer);
  for (const std::string& server : reassigned.removed()) {
    if (held.running && !held.lost.contains(server) && !moves)
      return fmt::format("{} was taken from {} in use", server, name);
  }
  held.servers = Strings(reassigned.servers());
  held.load = {reassigned.it_power_watts(), reassigned.cooling_watts()};
  for (const std::string& server : reassigned.removed()) held.handed.erase(server);
  if (held.running) held.handed.insert(reassigned.added().begin(), reassigned.added().end());
  for (const std::string& server : reassigned.retest_servers()) servers_[server].set_untested(true);
  // What others had before it was moved there is theirs.
  Held from_now = held;
  from_now.start = std::max(held.start, at);
  std::string wrong = CheckHeld(name, from_now);
  if (wrong.empty())
    wrong = CheckApart(name, from_now, before.confirmed ? &*before.confirmed : nullptr);
  live_[name] = std::move(held);
  return wrong.empty() ? CheckLoad(name, before, at) : wrong;
}

std::string Allocations::Start(const reservations::v1::ReservationStarted& started) {
  pending_.erase(started.name());
  Held& held = live_[started.name()];
  for (const std::string& server : started.servers()) {
    for (const auto& [name, other] : live_) {
      if (other.running && name != started.name() && other.handed.contains(server))
        return fmt::format("{} runs for {} and for {}", server, name, started.name());
    }
    if (!Contains(held.servers, server))
      return fmt::format("{} runs for {}, which was never promised it", server, started.name());
  }
  held.running = true;
  held.handed = {started.servers().begin(), started.servers().end()};
  return "";
}

std::string Allocations::Confirm(const reservations::v1::AmendmentConfirmed& confirmed,
                                 absl::Time at) {
  const std::string& name = confirmed.reservation();
  const Own before = OwnOf(name);
  const Held had = before.confirmed.value_or(Held());
  Held& held = live_[name];
  held = HeldOf(confirmed.amendment());
  held.series = had.series;
  held.running = had.running;
  held.lost = had.lost;
  held.handed = had.handed;
  held.handed.insert(confirmed.added_servers().begin(), confirmed.added_servers().end());
  pending_.erase(name);
  const std::string wrong = CheckServers(name, held, &had);
  // It takes what was held for it, whatever the limits are now, and nothing beside.
  return wrong.empty() ? CheckLoad(name, before, at) : wrong;
}

void Allocations::End(const std::string& name) {
  live_.erase(name);
  pending_.erase(name);
  if (series_.erase(name) == 0) return;
  std::erase_if(live_, [&](const auto& one) {
    return one.second.series == name && !one.second.running && !one.second.ending;
  });
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

Allocations::Held Allocations::HeldOf(const reservations::v1::Terms& terms,
                                      const reservations::v1::Margins& margins) {
  // Nobody else's over its margins and its grace either.
  Held held;
  held.customer = terms.customer();
  held.use_start = runtime::ToTime(terms.start_time());
  held.start = held.use_start - DurationOf(margins.before());
  held.after = DurationOf(terms.grace()) + DurationOf(margins.after());
  held.end = runtime::ToTime(terms.end_time()) + held.after;
  return held;
}

Allocations::Held Allocations::HeldOf(const reservations::v1::Amendment& amendment) {
  Held held = HeldOf(amendment.terms(), amendment.margins());
  held.servers = Strings(amendment.servers());
  held.load = {amendment.it_power_watts(), amendment.cooling_watts()};
  if (amendment.has_effective_time())
    held.start = std::max(held.start, runtime::ToTime(amendment.effective_time()));
  return held;
}

// With the margins and the grace of the whole.
Allocations::Held Allocations::HeldOf(const reservations::v1::Occurrence& occurrence,
                                      const Held& series) {
  Held held = series;
  held.use_start = runtime::ToTime(occurrence.start_time());
  held.start = held.use_start - (series.use_start - series.start);
  held.end = runtime::ToTime(occurrence.end_time()) + series.after;
  held.servers = Strings(occurrence.servers());
  held.load = {occurrence.it_power_watts(), occurrence.cooling_watts()};
  return held;
}

// What it gets beside what those have at the same time, or may get, that its customer is kept apart
// from.
std::string Allocations::CheckApart(const std::string& name, const Held& held,
                                    const Held* had) const {
  for (const auto& [separation, parties] : apart_) {
    for (const auto* book : {&live_, &pending_}) {
      for (const auto& [other_name, other] : *book) {
        const bool both = (held.customer == parties.first && other.customer == parties.second) ||
                          (held.customer == parties.second && other.customer == parties.first);
        if (!both || other.end <= held.start || held.end <= other.start) continue;
        for (const std::string& mine : held.servers) {
          if (had != nullptr && Contains(had->servers, mine)) continue;
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
  }
  return "";
}

const Allocations::Held* Allocations::Find(const std::string& name) const {
  const auto found = live_.find(name);
  return found == live_.end() ? nullptr : &found->second;
}

const Allocations::Held* Allocations::FindPending(const std::string& name) const {
  const auto found = pending_.find(name);
  return found == pending_.end() ? nullptr : &found->second;
}

Allocations::Own Allocations::OwnOf(const std::string& name) const {
  Own own;
  if (const Held* held = Find(name)) own.confirmed = *held;
  if (const Held* held = FindPending(name)) own.pending = *held;
  return own;
}

Load Allocations::LoadOf(const Held& held, const std::string& feed) const {
  if (feed.empty()) return held.load;
  Load load;
  for (const std::string& server : held.servers) {
    const auto found = servers_.find(server);
    if (found != servers_.end() && found->second.power_feed() == feed)
      load.power += found->second.it_power_watts();
  }
  return load;
}

Load Allocations::LoadAt(const Held* confirmed, const Held* pending, const std::string& feed,
                         absl::Time at) const {
  const auto there = [&](const Held* held) {
    return held != nullptr && held->start <= at && at < held->end;
  };
  if (!there(confirmed)) return there(pending) ? LoadOf(*pending, feed) : Load();
  if (!there(pending)) return LoadOf(*confirmed, feed);
  // Before it is decided both can come to be.
  if (feed.empty()) {
    return {std::max(confirmed->load.power, pending->load.power),
            std::max(confirmed->load.cooling, pending->load.cooling)};
  }
  Held both = *confirmed;
  for (const std::string& server : pending->servers) {
    if (!Contains(both.servers, server)) both.servers.push_back(server);
  }
  return LoadOf(both, feed);
}

Load Allocations::Sum(const std::string& feed, absl::Time at, bool with_vacating) const {
  Load all;
  for (const auto& [name, held] : live_) {
    if (held.ending && !held.vacated && !with_vacating) continue;
    const Load load = LoadAt(&held, FindPending(name), feed, at);
    all.power += load.power;
    all.cooling += load.cooling;
  }
  return all;
}

std::vector<absl::Time> Allocations::Instants(const Limits& limits) const {
  std::vector<absl::Time> instants = limits.Changes();
  for (const auto* all : {&live_, &pending_}) {
    for (const auto& [name, held] : *all) {
      instants.push_back(held.start);
      instants.push_back(held.end);
    }
  }
  return instants;
}

std::string Allocations::CheckLoad(const std::string& name, const Own& before,
                                   absl::Time from) const {
  std::string wrong = CheckLoad(name, before, from, "", site_);
  for (const auto& [feed, limits] : feeds_) {
    if (wrong.empty()) wrong = CheckLoad(name, before, from, feed, limits);
  }
  return wrong;
}

std::string Allocations::CheckLoad(const std::string& name, const Own& before, absl::Time from,
                                   const std::string& feed, const Limits& limits) const {
  std::vector<absl::Time> instants = Instants(limits);
  instants.push_back(from);
  // From here on it takes more, although nothing else changes.
  if (before.confirmed) instants.push_back(before.confirmed->end);
  for (const absl::Time at : instants) {
    if (at < from || at == absl::InfinitePast()) continue;
    const Load had = LoadAt(before.confirmed ? &*before.confirmed : nullptr,
                            before.pending ? &*before.pending : nullptr, feed, at);
    const Load has = LoadAt(Find(name), FindPending(name), feed, at);
    if (has.power <= had.power && has.cooling <= had.cooling) continue;
    const Load all = Sum(feed, at, true);
    const Load limit = limits.At(at);
    const bool too_much = (has.power > had.power && all.power > limit.power) ||
                          (has.cooling > had.cooling && all.cooling > limit.cooling);
    if (!too_much) continue;
    return fmt::format("with {} at {} {} W of {} W and {} W of {} W cooling of {} are promised",
                       name, runtime::ToText(at), all.power, limit.power, all.cooling,
                       limit.cooling, feed.empty() ? "the site" : "feed " + feed);
  }
  return "";
}

Load Allocations::Missing(const std::string& feed, absl::Time from, bool with_vacating) const {
  Load missing;
  const auto found = feeds_.find(feed);
  if (!feed.empty() && found == feeds_.end()) return missing;
  const Limits& limits = feed.empty() ? site_ : found->second;
  std::vector<absl::Time> instants = Instants(limits);
  instants.push_back(from);
  for (const absl::Time at : instants) {
    if (at < from) continue;
    const Load limit = limits.At(at);
    const Load all = Sum(feed, at, with_vacating);
    missing.power = std::max(missing.power, all.power - limit.power);
    missing.cooling = std::max(missing.cooling, all.cooling - limit.cooling);
  }
  return missing;
}

}  // namespace concordat::simulation
