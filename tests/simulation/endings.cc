#include "tests/simulation/endings.h"

#include <fmt/format.h>

#include "services/runtime/check.h"

namespace concordat::simulation {
namespace {

using reservations::v1::Event;

// What the event says something new about, and whether that is over with it.
struct About {
  std::string name;
  bool over = false;
};

About AboutOf(const Event& event) {
  switch (event.event_case()) {
    case Event::kReservationHeld:
      return {event.reservation_held().name()};
    case Event::kReservationConfirmed:
      return {event.reservation_confirmed().name()};
    case Event::kReservationDeclined:
      return {event.reservation_declined().name(), true};
    case Event::kHoldLapsed:
      return {event.hold_lapsed().name(), true};
    case Event::kReservationStarted:
      return {event.reservation_started().name()};
    case Event::kReservationDelayed:
      return {event.reservation_delayed().name()};
    case Event::kReservationEnding:
      return {event.reservation_ending().name()};
    case Event::kReservationEnded:
      return {event.reservation_ended().name(), true};
    case Event::kReservationGraceStarted:
      return {event.reservation_grace_started().name()};
    case Event::kReservationCleaning:
      return {event.reservation_cleaning().name()};
    case Event::kReservationReleased:
      return {event.reservation_released().name()};
    case Event::kReservationRevoked:
      return {event.reservation_revoked().name(), !event.reservation_revoked().vacates()};
    case Event::kReservationCancelled:
      return {event.reservation_cancelled().name(), true};
    case Event::kAmendmentHeld:
      return {event.amendment_held().reservation()};
    case Event::kAmendmentConfirmed:
      return {event.amendment_confirmed().reservation()};
    case Event::kAmendmentDropped:
      return {event.amendment_dropped().reservation()};
    case Event::kPromiseBroken:
      return {event.promise_broken().name(), true};
    case Event::kPartHeld:
      return {event.part_held().name()};
    case Event::kPartPromised:
      return {event.part_promised().name()};
    case Event::kServersReassigned:
      return {event.servers_reassigned().reservation()};
    case Event::kReplacementOffered:
      return {event.replacement_offered().reservation()};
    case Event::kServersMissing:
      return {event.servers_missing().reservation()};
    case Event::kNoticeGiven:
      return {event.notice_given().name()};
    case Event::kScheduleExtended:
      return {event.schedule_extended().name()};
    case Event::kOccurrencesShifted:
      return {event.occurrences_shifted().name()};
    case Event::kOccurrencesKept:
      return {event.occurrences_kept().name()};
    case Event::kOrderDeclined:
      return {event.order_declined().order(), true};
    case Event::kOrderAnswered:
      return {event.order_answered().order(),
              event.order_answered().state() != reservations::v1::ORDER_STATE_CONFIRMED};
    case Event::kBundlePrepared:
      return {event.bundle_prepared().name()};
    case Event::kBundleCommitted:
      return {event.bundle_committed().name(), true};
    case Event::kBundleAborted:
      return {event.bundle_aborted().name(), true};
    case Event::kPartiesSeparated:
      return {event.parties_separated().name()};
    case Event::kSeparationEnded:
      return {event.separation_ended().name(), true};
    case Event::kShortfallFound:
      return {event.shortfall_found().name()};
    case Event::kShortfallCleared:
      return {event.shortfall_cleared().name(), true};
    // What these tell of may be over: a part's site tells where it stands, and a letter arrives.
    case Event::kPartRecorded:
    case Event::kNoticeDelivered:
    case Event::kWindowAffects:
    case Event::kWindowReleased:
    // And these begin what has no end here.
    case Event::kBundleRequested:
    case Event::kReservationOrdered:
    case Event::kCustomerRegistered:
    case Event::kContractSigned:
    case Event::kContractRecorded:
    case Event::kSiteRecorded:
    case Event::kEnvelopeRecorded:
    case Event::kFeedRecorded:
    case Event::kServerRecorded:
    case Event::kMarginsSet:
    case Event::kQuotaRequested:
    case Event::kQuotaGranted:
    case Event::kQuotaDeclined:
    case Event::kQuotaAnswered:
    case Event::kQuotaReturned:
    case Event::kQuotaReclaimed:
    case Event::kWavePlanned:
    case Event::kProjectRegistered:
    case Event::kCommandRefused:
    case Event::EVENT_NOT_SET:
      return {};
  }
  return {};
}

}  // namespace

std::string Endings::Take(const Event& event) {
  const About about = AboutOf(event);
  if (about.name.empty()) return "";
  if (ended_.contains(about.name))
    return fmt::format("{} is over, and there is more of it", about.name);
  if (event.has_reservation_held()) {
    const auto& held = event.reservation_held();
    if (ended_.contains(held.order()))
      return fmt::format("{} was declined, and {} is held", held.order(), held.name());
    for (const auto& occurrence : held.occurrences())
      occurrences_[held.name()].push_back(occurrence.name());
  }
  if (event.has_schedule_extended()) {
    for (const auto& occurrence : event.schedule_extended().occurrences())
      occurrences_[about.name].push_back(occurrence.name());
  }
  if (event.has_reservation_started()) begun_.insert(about.name);
  if (!about.over) return "";
  ended_.insert(about.name);
  // What recurs ends with its time, and its occurrences by themselves; otherwise it takes those
  // along that have not begun.
  const auto occurrences = occurrences_.find(about.name);
  if (occurrences == occurrences_.end() || event.has_reservation_ended()) return "";
  for (const std::string& one : occurrences->second) {
    if (!begun_.contains(one)) ended_.insert(one);
  }
  return "";
}

Agreed::Terms Agreed::TermsOf(const reservations::v1::Terms& terms) {
  return {terms.customer(), runtime::ToTime(terms.start_time()), runtime::ToTime(terms.end_time()),
          absl::Seconds(terms.grace().seconds())};
}

// `more` than the end that was agreed.
std::string Agreed::CheckEnd(const std::string& name, absl::Time end, absl::Duration more) const {
  const auto found = terms_.find(name);
  if (found == terms_.end()) return fmt::format("{} has no terms", name);
  if (found->second.end + more == end) return "";
  return fmt::format("{} ends at {} by its terms, and at {} by what is done", name,
                     runtime::ToText(found->second.end + more), runtime::ToText(end));
}

std::string Agreed::Take(const Event& event, absl::Time at) {
  if (event.has_reservation_held()) {
    const auto& held = event.reservation_held();
    terms_[held.name()] = TermsOf(held.terms());
    for (const auto& occurrence : held.occurrences()) {
      Terms& terms = terms_[occurrence.name()] = TermsOf(held.terms());
      terms.start = runtime::ToTime(occurrence.start_time());
      terms.end = runtime::ToTime(occurrence.end_time());
    }
  } else if (event.has_amendment_held()) {
    const auto& held = event.amendment_held();
    const auto [known, fresh] = pending_.try_emplace(held.reservation(), held.amendment());
    if (!fresh)
      return fmt::format("{} is to be amended by {} and by {}", held.reservation(),
                         known->second.name(), held.amendment().name());
  } else if (event.has_amendment_dropped()) {
    pending_.erase(event.amendment_dropped().reservation());
  } else if (event.has_amendment_confirmed()) {
    const auto& confirmed = event.amendment_confirmed();
    const auto held = pending_.find(confirmed.reservation());
    if (held == pending_.end() ||
        held->second.SerializeAsString() != confirmed.amendment().SerializeAsString())
      return fmt::format("{} was confirmed and not held so", confirmed.amendment().name());
    terms_[confirmed.reservation()] = TermsOf(confirmed.amendment().terms());
    pending_.erase(held);
  } else if (event.has_reservation_started()) {
    const auto& started = event.reservation_started();
    const Terms& terms = terms_[started.name()];
    pending_.erase(started.name());
    if (at < terms.start || started.customer() != terms.customer)
      return fmt::format("{} is from {} on and of {}, and starts for {}", started.name(),
                         runtime::ToText(terms.start), terms.customer, started.customer());
    return CheckEnd(started.name(), runtime::ToTime(started.end_time()));
  } else if (event.has_notice_given()) {
    const auto& given = event.notice_given();
    return CheckEnd(given.name(), runtime::ToTime(given.end_time()));
  } else if (event.has_reservation_grace_started()) {
    const auto& started = event.reservation_grace_started();
    pending_.erase(started.name());
    return CheckEnd(started.name(), runtime::ToTime(started.grace_until()),
                    terms_[started.name()].grace);
  } else if (event.has_reservation_ending()) {
    const Terms& terms = terms_[event.reservation_ending().name()];
    pending_.erase(event.reservation_ending().name());
    if (at < terms.end + terms.grace)
      return fmt::format("{} is vacated before {}", event.reservation_ending().name(),
                         runtime::ToText(terms.end + terms.grace));
  } else if (event.has_reservation_released()) {
    pending_.erase(event.reservation_released().name());
  } else if (event.has_reservation_revoked()) {
    pending_.erase(event.reservation_revoked().name());
  } else if (event.has_reservation_cancelled()) {
    pending_.erase(event.reservation_cancelled().name());
  } else if (event.has_reservation_declined()) {
    pending_.erase(event.reservation_declined().name());
  }
  return "";
}

}  // namespace concordat::simulation
