#include "services/reservations/bundles.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

bool IsHere(const std::string& name, const runtime::Accepted<v1::Event>& accepted) {
  return runtime::SiteOfName(name) == accepted.here;
}

std::string SiteOf(const runtime::Accepted<v1::Event>& accepted) {
  return fmt::format("sites/{}", accepted.site);
}

// Each site asks for its own parts only.
Intents Fulfil(const v1::BundleRequested& requested, const runtime::Accepted<v1::Event>& accepted) {
  Intents intents;
  for (const v1::BundlePart& part : requested.parts()) {
    if (part.site() != fmt::format("sites/{}", accepted.here)) continue;
    v1::Command command;
    v1::FulfilPart& fulfil = *command.mutable_fulfil_part();
    *fulfil.mutable_part() = part;
    fulfil.set_bundle(requested.name());
    fulfil.set_site(SiteOf(accepted));
    intents.push_back(Intent{.kind = "part", .subject = part.reservation(), .command = command});
  }
  return intents;
}

Intents Promise(const v1::BundlePrepared& prepared, const runtime::Accepted<v1::Event>& accepted) {
  Intents intents;
  for (const std::string& part : prepared.parts()) {
    if (!IsHere(part, accepted)) continue;
    v1::Command command;
    v1::PromisePart& promise = *command.mutable_promise_part();
    promise.set_name(part);
    promise.set_bundle(prepared.name());
    promise.set_site(SiteOf(accepted));
    intents.push_back(Intent{.kind = "promise", .subject = part, .command = command});
  }
  return intents;
}

Intents Settle(const google::protobuf::RepeatedPtrField<std::string>& parts,
               const std::string& bundle, bool committed, const std::string& detail,
               const runtime::Accepted<v1::Event>& accepted) {
  Intents intents;
  for (const std::string& part : parts) {
    if (!IsHere(part, accepted)) continue;
    v1::Command command;
    v1::SettlePart& settle = *command.mutable_settle_part();
    settle.set_name(part);
    settle.set_bundle(bundle);
    settle.set_site(SiteOf(accepted));
    settle.set_committed(committed);
    settle.set_detail(detail);
    intents.push_back(Intent{.kind = "settle", .subject = part, .command = command});
  }
  return intents;
}

// What became of a part, for the coordinator; nothing where the bundle is another site's, or none.
Intents Tell(const std::string& bundle, const std::string& reservation, v1::PartState state,
             const runtime::Accepted<v1::Event>& accepted,
             v1::Reason reason = v1::REASON_UNSPECIFIED, const std::string& detail = {}) {
  if (bundle.empty() || !IsHere(bundle, accepted)) return {};
  v1::Command command;
  v1::RecordPart& record = *command.mutable_record_part();
  record.set_site(SiteOf(accepted));
  record.mutable_part()->set_bundle(bundle);
  record.mutable_part()->set_reservation(reservation);
  record.mutable_part()->set_state(state);
  record.mutable_part()->set_reason(reason);
  record.mutable_part()->set_detail(detail);
  return {Intent{.kind = "tell", .subject = bundle, .command = std::move(command)}};
}

bool HasFailed(v1::PartState state) {
  return state == v1::PART_STATE_DECLINED || state == v1::PART_STATE_LAPSED ||
         state == v1::PART_STATE_CANCELLED || state == v1::PART_STATE_BROKEN;
}

}  // namespace

bool IsPromised(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_HELD &&
         reservation.part_state() == v1::PART_STATE_PROMISED;
}

Intents ReactToBundle(const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  if (event.has_bundle_requested()) return Fulfil(event.bundle_requested(), accepted);
  if (event.has_bundle_prepared()) return Promise(event.bundle_prepared(), accepted);
  if (event.has_bundle_committed()) {
    const v1::BundleCommitted& committed = event.bundle_committed();
    return Settle(committed.parts(), committed.name(), true, "", accepted);
  }
  if (event.has_bundle_aborted()) {
    const v1::BundleAborted& aborted = event.bundle_aborted();
    return Settle(aborted.parts(), aborted.name(), false, aborted.detail(), accepted);
  }
  if (event.has_part_held()) {
    return Tell(event.part_held().bundle(), event.part_held().name(), v1::PART_STATE_HELD,
                accepted);
  }
  if (event.has_part_promised()) {
    return Tell(event.part_promised().bundle(), event.part_promised().name(),
                v1::PART_STATE_PROMISED, accepted);
  }
  if (event.has_promise_broken()) {
    const v1::PromiseBroken& broken = event.promise_broken();
    return Tell(broken.bundle(), broken.name(), v1::PART_STATE_BROKEN, accepted,
                v1::REASON_PROMISE_BROKEN, broken.reason());
  }
  if (event.has_reservation_confirmed()) {
    return Tell(event.reservation_confirmed().bundle(), event.reservation_confirmed().name(),
                v1::PART_STATE_CONFIRMED, accepted);
  }
  if (event.has_reservation_declined()) {
    const v1::ReservationDeclined& declined = event.reservation_declined();
    return Tell(declined.bundle(), declined.name(), v1::PART_STATE_DECLINED, accepted,
                declined.reason(), declined.detail());
  }
  if (event.has_hold_lapsed()) {
    return Tell(event.hold_lapsed().bundle(), event.hold_lapsed().name(), v1::PART_STATE_LAPSED,
                accepted, v1::REASON_HOLD_LAPSED, "The hold lapsed before it was promised.");
  }
  if (event.has_reservation_revoked()) {
    const v1::ReservationRevoked& revoked = event.reservation_revoked();
    return Tell(revoked.bundle(), revoked.name(), v1::PART_STATE_CANCELLED, accepted,
                v1::REASON_UNSPECIFIED, fmt::format("Revoked: {}", revoked.cause()));
  }
  if (event.has_reservation_cancelled()) {
    const v1::ReservationCancelled& cancelled = event.reservation_cancelled();
    return Tell(cancelled.bundle(), cancelled.name(), v1::PART_STATE_CANCELLED, accepted,
                v1::REASON_UNSPECIFIED, cancelled.reason());
  }
  return {};
}

Intents ReactToPart(const Rows& rows, const v1::PartRecorded& recorded) {
  const auto bundle = rows.bundles.Get(recorded.bundle());
  if (!bundle) return {};
  const auto all_are = [&](v1::PartState state) {
    return std::all_of(bundle->parts().begin(), bundle->parts().end(),
                       [&](const v1::PartRecord& part) { return part.state() == state; });
  };
  const bool requested = bundle->state() == v1::BUNDLE_STATE_REQUESTED;
  const bool prepared = bundle->state() == v1::BUNDLE_STATE_PREPARED;
  v1::Command command;
  if (requested && all_are(v1::PART_STATE_HELD)) {
    command.mutable_prepare_bundle()->set_name(bundle->name());
    return {Intent{.kind = "prepare", .subject = bundle->name(), .command = std::move(command)}};
  }
  if ((requested && HasFailed(recorded.state())) ||
      (prepared && (HasFailed(recorded.state()) || all_are(v1::PART_STATE_PROMISED)))) {
    command.mutable_settle_bundle()->set_name(bundle->name());
    return {Intent{.kind = "settle", .subject = bundle->name(), .command = std::move(command)}};
  }
  return {};
}

void DueBundles(const Rows& rows, const std::string& last, size_t limit, Intents& intents) {
  if (intents.size() >= limit) return;
  rows.bundle_deadlines.Scan(
      "", [&](std::string_view key, const google::protobuf::StringValue& name) {
        if (key.substr(0, last.size()) > last) return false;
        v1::Command command;
        command.mutable_settle_bundle()->set_name(name.value());
        const v1::Bundle bundle = rows.bundles.Get(name.value()).value_or(v1::Bundle());
        intents.push_back(Intent{.kind = "expire",
                                 .subject = name.value(),
                                 .command = std::move(command),
                                 .deadline = std::string(key),
                                 .correlation_id = bundle.correlation_id()});
        return intents.size() < limit;
      });
}

void EvolveBundle(Rows& rows, const v1::BundleRequested& requested,
                  const std::string& correlation_id) {
  v1::Bundle bundle;
  bundle.set_name(requested.name());
  bundle.set_state(v1::BUNDLE_STATE_REQUESTED);
  for (const v1::BundlePart& asked : requested.parts()) {
    v1::PartRecord& part = *bundle.add_parts();
    part.set_site(asked.site());
    part.set_reservation(asked.reservation());
    *part.mutable_terms() = asked.terms();
    part.set_state(v1::PART_STATE_PENDING);
  }
  *bundle.mutable_expires_at() = requested.expires_at();
  bundle.set_correlation_id(correlation_id);
  rows.bundles.Put(bundle.name(), bundle);
  google::protobuf::StringValue name;
  name.set_value(bundle.name());
  rows.bundle_deadlines.Put(DeadlineKey(runtime::ToTime(bundle.expires_at()), bundle.name()), name);
}

void EvolveBundle(Rows& rows, const v1::PartRecorded& recorded) {
  std::optional<v1::Bundle> bundle = rows.bundles.Get(recorded.bundle());
  if (!bundle) return;
  for (v1::PartRecord& part : *bundle->mutable_parts()) {
    if (part.reservation() != recorded.reservation()) continue;
    part.set_state(recorded.state());
    part.set_reason(recorded.reason());
    part.set_detail(recorded.detail());
  }
  rows.bundles.Put(bundle->name(), *bundle);
}

void SettleBundle(Rows& rows, const std::string& name, v1::BundleState state, v1::Reason reason,
                  const std::string& detail) {
  std::optional<v1::Bundle> bundle = rows.bundles.Get(name);
  if (!bundle) return;
  if (state != v1::BUNDLE_STATE_PREPARED)
    rows.bundle_deadlines.Delete(DeadlineKey(runtime::ToTime(bundle->expires_at()), name));
  bundle->set_state(state);
  bundle->set_reason(reason);
  bundle->set_detail(detail);
  rows.bundles.Put(name, *bundle);
}

}  // namespace concordat::reservations
