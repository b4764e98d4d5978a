#include "services/inventory/windows.h"

#include <set>

#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

// The only writer of the `windows` table: it keeps the deadlines and the missing consents in step.
void Put(Rows& rows, v1::Window after) {
  const std::string& name = after.name();
  if (const auto before = rows.windows.Get(name)) {
    if (const auto deadline = DeadlineOf(*before))
      rows.window_deadlines.Delete(WindowDeadlineKey(*deadline, name));
  }
  if (const auto deadline = DeadlineOf(after)) {
    google::protobuf::StringValue value;
    value.set_value(name);
    rows.window_deadlines.Put(WindowDeadlineKey(*deadline, name), value);
  }
  after.clear_missing_consents();
  if (IsAnnounced(after) && !IsOpen(after)) {
    for (std::string& customer : MissingConsents(after))
      after.add_missing_consents(std::move(customer));
  }
  rows.windows.Put(name, after);
}

// The window with `change` applied; one that is not known is ignored.
template <typename Change>
void ChangeWindow(Rows& rows, const std::string& name, Change change) {
  std::optional<v1::Window> window = rows.windows.Get(name);
  if (!window) return;
  change(*window);
  Put(rows, *std::move(window));
}

void Propose(Rows& rows, const v1::WindowProposed& proposed) {
  v1::Window window;
  window.set_name(proposed.name());
  window.set_state(v1::WINDOW_STATE_PROPOSED);
  *window.mutable_plan() = proposed;
  window.set_revision(1);
  Put(rows, std::move(window));
}

// Where its customers were told and it is not open yet: whether it still waits for consent.
void SetConsented(v1::Window& window, bool consented) {
  if (!IsAnnounced(window) || IsOpen(window)) return;
  window.set_state(consented ? v1::WINDOW_STATE_CONSENTED : v1::WINDOW_STATE_ANNOUNCED);
}

// The latest word of a customer replaces its earlier one.
void SetConsent(v1::Window& window, v1::Consent consent,
                const runtime::Accepted<v1::Event>& accepted) {
  *consent.mutable_recorded_time() = runtime::ToTimestamp(accepted.time);
  consent.set_actor(accepted.attributes.actor);
  for (v1::Consent& known : *window.mutable_consents()) {
    if (known.customer() != consent.customer()) continue;
    known = consent;
    return;
  }
  *window.add_consents() = consent;
}

void Consent(Rows& rows, const v1::WindowConsentGiven& given,
             const runtime::Accepted<v1::Event>& accepted) {
  ChangeWindow(rows, given.name(), [&](v1::Window& window) {
    v1::Consent consent;
    consent.set_customer(given.customer());
    consent.set_given(true);
    consent.set_revision(given.revision());
    consent.set_relocation(given.relocation());
    SetConsent(window, consent, accepted);
    SetConsented(window, given.consented());
  });
}

void Refuse(Rows& rows, const v1::WindowConsentRefused& refused,
            const runtime::Accepted<v1::Event>& accepted) {
  ChangeWindow(rows, refused.name(), [&](v1::Window& window) {
    v1::Consent consent;
    consent.set_customer(refused.customer());
    consent.set_revision(refused.revision());
    consent.set_reason(refused.reason());
    SetConsent(window, consent, accepted);
    SetConsented(window, refused.consented());
  });
}

void AddWork(Rows& rows, const v1::WindowWorkAdded& added) {
  ChangeWindow(rows, added.name(), [&](v1::Window& window) {
    *window.mutable_plan()->add_work() = added.item();
    window.set_revision(added.revision());
    SetConsented(window, added.consented());
  });
}

void RecordAffected(Rows& rows, const v1::WindowAffectedRecorded& recorded) {
  ChangeWindow(rows, recorded.name(), [&](v1::Window& window) {
    *window.mutable_affected() = recorded.affected();
    window.set_affected_known(true);
    window.set_reviews(window.reviews() + 1);
    SetConsented(window, recorded.consented());
  });
}

template <typename Over>
void End(Rows& rows, const Over& over, v1::WindowState state, const std::string& detail) {
  ChangeWindow(rows, over.name(), [&](v1::Window& window) {
    window.set_state(state);
    *window.mutable_done() = over.done();
    window.set_detail(detail);
  });
}

void SetState(Rows& rows, const std::string& name, v1::WindowState state,
              const std::string& detail = {}) {
  ChangeWindow(rows, name, [&](v1::Window& window) {
    window.set_state(state);
    window.set_detail(detail);
  });
}

}  // namespace

void EvolveWindow(Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  if (event.has_window_proposed()) return Propose(rows, event.window_proposed());
  if (event.has_window_work_added()) return AddWork(rows, event.window_work_added());
  if (event.has_window_announced())
    return SetState(rows, event.window_announced().name(), v1::WINDOW_STATE_ANNOUNCED);
  if (event.has_window_affected_recorded())
    return RecordAffected(rows, event.window_affected_recorded());
  if (event.has_window_consent_given())
    return Consent(rows, event.window_consent_given(), accepted);
  if (event.has_window_consent_refused())
    return Refuse(rows, event.window_consent_refused(), accepted);
  if (event.has_window_consent_lapsed())
    return SetState(rows, event.window_consent_lapsed().name(), v1::WINDOW_STATE_CANCELLED,
                    event.window_consent_lapsed().detail());
  if (event.has_window_opened())
    return SetState(rows, event.window_opened().name(), v1::WINDOW_STATE_OPEN);
  if (event.has_window_drained()) {
    return ChangeWindow(rows, event.window_drained().name(),
                        [](v1::Window& window) { window.set_drained(true); });
  }
  if (event.has_window_overrunning())
    return SetState(rows, event.window_overrunning().name(), v1::WINDOW_STATE_OVERRUNNING);
  if (event.has_window_closed())
    return End(rows, event.window_closed(), v1::WINDOW_STATE_CLOSED, "");
  if (event.has_window_aborted())
    return End(rows, event.window_aborted(), v1::WINDOW_STATE_ABORTED,
               event.window_aborted().reason());
  if (event.has_window_cancelled())
    return SetState(rows, event.window_cancelled().name(), v1::WINDOW_STATE_CANCELLED,
                    event.window_cancelled().reason());
}

std::optional<absl::Time> DeadlineOf(const v1::Window& window) {
  const v1::WindowProposed& plan = window.plan();
  switch (window.state()) {
    case v1::WINDOW_STATE_ANNOUNCED:
      return runtime::ToTime(IsEmergency(window) ? plan.start_time() : plan.consent_by());
    case v1::WINDOW_STATE_PROPOSED:
      // Who proposes an emergency for now needs a moment to announce it.
      return runtime::ToTime(IsEmergency(window) ? plan.end_time() : plan.start_time());
    case v1::WINDOW_STATE_CONSENTED:
      return runtime::ToTime(plan.start_time());
    case v1::WINDOW_STATE_OPEN:
      return runtime::ToTime(plan.end_time());
    case v1::WINDOW_STATE_OVERRUNNING:
    case v1::WINDOW_STATE_CLOSED:
    case v1::WINDOW_STATE_ABORTED:
    case v1::WINDOW_STATE_CANCELLED:
    case v1::WINDOW_STATE_UNSPECIFIED:
    case v1::WindowState_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::WindowState_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  return std::nullopt;
}

std::string WindowDeadlineKey(absl::Time time, const std::string& window) {
  return TimeKey(time) + window;
}

std::vector<std::string> ConsentedCustomers(const v1::Window& window) {
  std::set<std::string> customers;
  for (const v1::Consent& consent : window.consents()) {
    if (consent.given() && consent.revision() == window.revision())
      customers.insert(consent.customer());
  }
  return {customers.begin(), customers.end()};
}

std::vector<std::string> MissingConsents(const v1::Window& window) {
  std::set<std::string> missing;
  if (IsEmergency(window)) return {};
  for (const v1::AffectedReservation& affected : window.affected()) {
    if (affected.needs_consent()) missing.insert(affected.customer());
  }
  for (const std::string& customer : ConsentedCustomers(window)) missing.erase(customer);
  return {missing.begin(), missing.end()};
}

bool IsConsented(const v1::Window& window) {
  return window.affected_known() && MissingConsents(window).empty();
}

bool IsEmergency(const v1::Window& window) {
  return window.plan().window_class() == v1::WINDOW_CLASS_EMERGENCY;
}

bool IsOpen(const v1::Window& window) {
  return window.state() == v1::WINDOW_STATE_OPEN || window.state() == v1::WINDOW_STATE_OVERRUNNING;
}

bool IsAnnounced(const v1::Window& window) {
  return IsOpen(window) || window.state() == v1::WINDOW_STATE_ANNOUNCED ||
         window.state() == v1::WINDOW_STATE_CONSENTED;
}

}  // namespace concordat::inventory
