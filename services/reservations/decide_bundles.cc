// Bundles: what the coordinator decides, and what a part's site decides.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "services/reservations/bundles.h"
#include "services/reservations/decider.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// Only the site that a bundle belongs to is believed about it.
std::optional<v1::Event> NotItsSite(const google::protobuf::Message& command,
                                    const std::string& name, const std::string& site) {
  if (site == fmt::format("sites/{}", runtime::SiteOfName(name))) return std::nullopt;
  return Refused(command, v1::REASON_NOT_HOME,
                 fmt::format("{} speaks of {}, expected the site that it belongs to.", site, name));
}

v1::Event NoBundle(const google::protobuf::Message& command, const std::string& name,
                   const runtime::Facts& facts) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} is not known, expected a bundle of {}.", name, Here(facts)));
}

v1::Event WrongState(const google::protobuf::Message& command, const v1::Bundle& bundle,
                     std::string_view expected) {
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{} is {}, expected {}.", bundle.name(),
                             v1::BundleState_Name(bundle.state()), expected));
}

// A part that its site still holds, as a part of that bundle; or the refusal.
struct FoundPart {
  std::optional<v1::Reservation> part;
  v1::Event refusal;
};
FoundPart FindPart(const State& state, const google::protobuf::Message& command,
                   const std::string& name, const std::string& bundle, const std::string& site,
                   const runtime::Facts& facts) {
  if (auto refusal = NotItsSite(command, bundle, site)) return {std::nullopt, *refusal};
  std::optional<v1::Reservation> part = state.rows.reservations.Get(name);
  if (!part || part->bundle() != bundle) {
    return {std::nullopt, Refused(command, v1::REASON_NOT_FOUND,
                                  fmt::format("{} is not known at {} as a part of {}.", name,
                                              Here(facts), bundle))};
  }
  if (part->state() == v1::RESERVATION_STATE_HELD) return {std::move(part), {}};
  return {
      std::nullopt,
      Refused(command, v1::REASON_WRONG_STATE,
              fmt::format("{} is {}, expected {}.", name, v1::ReservationState_Name(part->state()),
                          v1::ReservationState_Name(v1::RESERVATION_STATE_HELD)))};
}

bool HasFailed(const v1::PartRecord& part) {
  return part.state() == v1::PART_STATE_DECLINED || part.state() == v1::PART_STATE_LAPSED ||
         part.state() == v1::PART_STATE_CANCELLED || part.state() == v1::PART_STATE_BROKEN;
}

// What a part may be said to be after it was said to be something.
bool MayFollow(v1::PartState before, v1::PartState after) {
  switch (before) {
    case v1::PART_STATE_PENDING:
      return after == v1::PART_STATE_HELD || after == v1::PART_STATE_DECLINED ||
             after == v1::PART_STATE_LAPSED || after == v1::PART_STATE_CANCELLED;
    case v1::PART_STATE_HELD:
      return after == v1::PART_STATE_PROMISED || after == v1::PART_STATE_DECLINED ||
             after == v1::PART_STATE_LAPSED || after == v1::PART_STATE_CANCELLED;
    case v1::PART_STATE_PROMISED:
      return after == v1::PART_STATE_CONFIRMED || after == v1::PART_STATE_DECLINED ||
             after == v1::PART_STATE_BROKEN;
    case v1::PART_STATE_CONFIRMED:  // it may be given back, or never be handed over
      return after == v1::PART_STATE_DECLINED || after == v1::PART_STATE_CANCELLED;
    case v1::PART_STATE_DECLINED:
    case v1::PART_STATE_LAPSED:
    case v1::PART_STATE_CANCELLED:
    case v1::PART_STATE_BROKEN:
    case v1::PART_STATE_UNSPECIFIED:
    case v1::PartState_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::PartState_INT_MAX_SENTINEL_DO_NOT_USE_:
      return false;
  }
  return false;
}

v1::Event Aborted(const v1::Bundle& bundle, v1::Reason reason, std::string detail) {
  v1::Event event;
  v1::BundleAborted& aborted = *event.mutable_bundle_aborted();
  aborted.set_name(bundle.name());
  aborted.set_reason(reason);
  aborted.set_detail(std::move(detail));
  for (const v1::PartRecord& part : bundle.parts()) {
    if (!HasFailed(part)) aborted.add_parts(part.reservation());
  }
  return event;
}

}  // namespace

v1::Event ReserveBundle(const State& state, const v1::ReserveBundleRequest& request,
                        const runtime::Facts& facts) {
  const std::string id = runtime::DerivedId(facts);
  v1::Event event;
  v1::BundleRequested& bundle = *event.mutable_bundle_requested();
  bundle.set_name(fmt::format("{}/bundles/b-{}", Here(facts), id));
  if (state.rows.bundles.Contains(bundle.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} exists already; expected a new id.", bundle.name()));
  }
  absl::Time expires = facts.now + kBundleTtl;
  for (const v1::ReserveRequest& asked : request.parts()) {
    v1::BundlePart& part = *bundle.add_parts();
    part.set_site(asked.site());
    part.set_reservation(
        fmt::format("{}/reservations/r-{}p{}", asked.site(), id, bundle.parts_size()));
    *part.mutable_terms() = TermsOf(asked);
    if (auto obstacle = CheckAsked(state, part.terms(), part.site(), facts)) {
      return Refused(request, obstacle->reason,
                     fmt::format("Part {}: {}", bundle.parts_size(), obstacle->detail));
    }
    const absl::Time start = runtime::ToTime(part.terms().start_time());
    if (start > facts.now) expires = std::min(expires, start);
  }
  *bundle.mutable_expires_at() = runtime::ToTimestamp(expires);
  return event;
}

v1::Event FulfilPart(const State& state, const v1::FulfilPart& command,
                     const runtime::Facts& facts) {
  if (auto refusal = NotItsSite(command, command.bundle(), command.site())) return *refusal;
  const v1::BundlePart& part = command.part();
  const bool ours = part.site() == Here(facts) &&
                    runtime::MatchesName(part.reservation(), "sites/*/reservations/*") &&
                    runtime::SiteOfName(part.reservation()) == facts.site;
  if (!ours) {
    return Refused(command, v1::REASON_NOT_HOME,
                   fmt::format("\"{}\" is asked of {}, expected a reservation of {}.",
                               part.reservation(), part.site(), Here(facts)));
  }
  const auto existing = state.rows.reservations.Get(part.reservation());
  if (existing && existing->bundle() == command.bundle()) {
    return Refused(command, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is answered already.", part.reservation()));
  }
  std::variant<v1::ReservationHeld, Obstacle> held =
      existing ? Obstacle{v1::REASON_ALREADY_EXISTS,
                          fmt::format("{} exists already; expected a new id.", part.reservation())}
               : Hold(state, part.reservation(), "", part.terms(), facts);
  v1::Event event;
  if (const auto* obstacle = std::get_if<Obstacle>(&held)) {
    v1::ReservationDeclined& declined = *event.mutable_reservation_declined();
    declined.set_name(part.reservation());
    declined.set_reason(obstacle->reason);
    declined.set_detail(obstacle->detail);
    declined.set_bundle(command.bundle());
    declined.set_name_taken(existing.has_value());
    if (obstacle->shortage) *declined.mutable_shortage() = *obstacle->shortage;
    if (!obstacle->shortfall.contract().empty())
      *declined.mutable_shortfall() = obstacle->shortfall;
    return event;
  }
  *event.mutable_reservation_held() = std::get<v1::ReservationHeld>(std::move(held));
  event.mutable_reservation_held()->set_bundle(command.bundle());
  return event;
}

v1::Event RecordPart(const State& state, const v1::RecordPart& command,
                     const runtime::Facts& facts) {
  const v1::PartRecorded& said = command.part();
  if (auto refusal = NotItsSite(command, said.reservation(), command.site())) return *refusal;
  const auto bundle = state.rows.bundles.Get(said.bundle());
  if (!bundle) return NoBundle(command, said.bundle(), facts);
  const auto part = std::find_if(
      bundle->parts().begin(), bundle->parts().end(),
      [&](const v1::PartRecord& known) { return known.reservation() == said.reservation(); });
  if (part == bundle->parts().end()) {
    return Refused(command, v1::REASON_NOT_FOUND,
                   fmt::format("{} is no part of {}.", said.reservation(), said.bundle()));
  }
  if (!MayFollow(part->state(), said.state())) {
    return Refused(
        command, v1::REASON_WRONG_STATE,
        fmt::format("{} is {} already; found {}.", said.reservation(),
                    v1::PartState_Name(part->state()), v1::PartState_Name(said.state())));
  }
  v1::Event event;
  *event.mutable_part_recorded() = said;
  return event;
}

v1::Event PrepareBundle(const State& state, const v1::PrepareBundle& command,
                        const runtime::Facts& facts) {
  const auto bundle = state.rows.bundles.Get(command.name());
  if (!bundle) return NoBundle(command, command.name(), facts);
  const bool held =
      std::all_of(bundle->parts().begin(), bundle->parts().end(),
                  [](const v1::PartRecord& part) { return part.state() == v1::PART_STATE_HELD; });
  if (bundle->state() != v1::BUNDLE_STATE_REQUESTED || !held)
    return WrongState(command, *bundle, "BUNDLE_STATE_REQUESTED with every part held");
  v1::Event event;
  event.mutable_bundle_prepared()->set_name(bundle->name());
  for (const v1::PartRecord& part : bundle->parts())
    event.mutable_bundle_prepared()->add_parts(part.reservation());
  return event;
}

v1::Event PromisePart(const State& state, const v1::PromisePart& command,
                      const runtime::Facts& facts) {
  const FoundPart found =
      FindPart(state, command, command.name(), command.bundle(), command.site(), facts);
  if (!found.part) return found.refusal;
  if (found.part->part_state() != v1::PART_STATE_HELD) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {}, expected {}.", command.name(),
                               v1::PartState_Name(found.part->part_state()),
                               v1::PartState_Name(v1::PART_STATE_HELD)));
  }
  const absl::Time expires = runtime::ToTime(found.part->hold_expires_at());
  if (facts.now > expires) {
    return Refused(command, v1::REASON_HOLD_LAPSED,
                   fmt::format("{} was held until {}, expected to be asked by then.",
                               command.name(), runtime::ToText(expires)));
  }
  v1::Event event;
  event.mutable_part_promised()->set_name(command.name());
  event.mutable_part_promised()->set_bundle(command.bundle());
  return event;
}

v1::Event SettleBundle(const State& state, const v1::SettleBundle& command,
                       const runtime::Facts& facts) {
  const auto bundle = state.rows.bundles.Get(command.name());
  if (!bundle) return NoBundle(command, command.name(), facts);
  if (bundle->state() != v1::BUNDLE_STATE_REQUESTED && bundle->state() != v1::BUNDLE_STATE_PREPARED)
    return WrongState(command, *bundle, "one that is not decided yet");
  const auto& parts = bundle->parts();
  const auto failed = std::find_if(parts.begin(), parts.end(), HasFailed);
  if (failed != parts.end()) {
    const bool has_reason = failed->reason() != v1::REASON_UNSPECIFIED;
    return Aborted(*bundle, has_reason ? failed->reason() : v1::REASON_BUNDLE_ABORTED,
                   fmt::format("{} is {}: {}", failed->reservation(),
                               v1::PartState_Name(failed->state()), failed->detail()));
  }
  const bool promised = std::all_of(parts.begin(), parts.end(), [](const v1::PartRecord& part) {
    return part.state() == v1::PART_STATE_PROMISED;
  });
  if (promised && bundle->state() == v1::BUNDLE_STATE_PREPARED) {
    v1::Event event;
    event.mutable_bundle_committed()->set_name(bundle->name());
    for (const v1::PartRecord& part : parts)
      event.mutable_bundle_committed()->add_parts(part.reservation());
    return event;
  }
  const absl::Time expires = runtime::ToTime(bundle->expires_at());
  if (facts.now >= expires) {
    const auto waits = std::find_if(parts.begin(), parts.end(), [](const v1::PartRecord& part) {
      return part.state() != v1::PART_STATE_PROMISED;
    });
    // A site that promises before it is asked to keeps the bundle from being prepared.
    const std::string detail =
        waits == parts.end()
            ? fmt::format(
                  "Every part is promised and {} is {} at {}, expected promises that were "
                  "asked for by then.",
                  bundle->name(), v1::BundleState_Name(bundle->state()), runtime::ToText(expires))
            : fmt::format("{} is {} at {}, expected a promise by then.", waits->reservation(),
                          v1::PartState_Name(waits->state()), runtime::ToText(expires));
    return Aborted(*bundle, v1::REASON_HOLD_LAPSED, detail);
  }
  return WrongState(command, *bundle, "every part promised, one that failed, or its time over");
}

v1::Event SettlePart(const State& state, const v1::SettlePart& command,
                     const runtime::Facts& facts) {
  const FoundPart found =
      FindPart(state, command, command.name(), command.bundle(), command.site(), facts);
  if (!found.part) return found.refusal;
  v1::Event event;
  if (!command.committed()) {
    v1::ReservationDeclined& declined = *event.mutable_reservation_declined();
    declined.set_name(command.name());
    declined.set_reason(v1::REASON_BUNDLE_ABORTED);
    declined.set_detail(
        fmt::format("{} does not take place. {}", command.bundle(), command.detail()));
    declined.set_bundle(command.bundle());
    return event;
  }
  if (!IsPromised(*found.part)) {
    return Refused(command, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {}, expected {}.", command.name(),
                               v1::PartState_Name(found.part->part_state()),
                               v1::PartState_Name(v1::PART_STATE_PROMISED)));
  }
  event.mutable_reservation_confirmed()->set_name(command.name());
  event.mutable_reservation_confirmed()->set_bundle(command.bundle());
  return event;
}

v1::Event BreakPromise(const State& state, const v1::BreakPromiseRequest& request,
                       const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.name()) != facts.site) {
    return NotHome(request, request.name(), facts);
  }
  const auto part = state.rows.reservations.Get(request.name());
  if (!part) {
    return Refused(
        request, v1::REASON_NOT_FOUND,
        fmt::format("{} is not known, expected a reservation of {}.", request.name(), Here(facts)));
  }
  if (!IsPromised(*part)) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} is {} and {}, expected a part that is promised and not decided.",
                               request.name(), v1::ReservationState_Name(part->state()),
                               part->bundle().empty() ? "of no bundle"
                                                      : v1::PartState_Name(part->part_state())));
  }
  v1::Event event;
  v1::PromiseBroken& broken = *event.mutable_promise_broken();
  broken.set_name(request.name());
  broken.set_bundle(part->bundle());
  broken.set_reason(request.reason());
  return event;
}

}  // namespace concordat::reservations
