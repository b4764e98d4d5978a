#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "services/inventory/decider.h"
#include "services/inventory/windows.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

using google::protobuf::Message;

// How far a start may lie in the past: callers' clocks differ.
constexpr absl::Duration kClockSkew = absl::Seconds(60);
// One event names them all.
constexpr int kMostWorkInAll = 200;

// `a, b and 3 more`, so that a sentence stays one.
std::string Names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  const size_t shown = std::min(names.size(), kShown);
  std::string text = fmt::format("{}", fmt::join(names.begin(), names.begin() + shown, ", "));
  if (names.size() > shown) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

absl::Time StartOf(const v1::Window& window) { return runtime::ToTime(window.plan().start_time()); }
absl::Time EndOf(const v1::Window& window) { return runtime::ToTime(window.plan().end_time()); }
absl::Time ConsentByOf(const v1::Window& window) {
  return runtime::ToTime(window.plan().consent_by());
}

v1::Event WrongState(const Message& command, const v1::Window& window, std::string_view expected) {
  return Refused(command, v1::REASON_WRONG_STATE,
                 fmt::format("{} is {}, expected {}.", window.name(),
                             v1::WindowState_Name(window.state()), expected));
}

// A window of this site in one of the states, or the refusal. Commands of timers and reactions that
// come late, or twice, end here.
struct Found {
  std::optional<v1::Window> window;
  v1::Event refusal;
};

Found Find(const State& state, const Message& command, const std::string& name,
           const runtime::Facts& facts, std::initializer_list<v1::WindowState> expected) {
  if (auto refusal = NotHere(state, command, name, facts)) return {std::nullopt, *refusal};
  std::optional<v1::Window> window = state.rows.windows.Get(name);
  if (!window) {
    return {std::nullopt,
            Refused(command, v1::REASON_NOT_FOUND,
                    fmt::format("{} is not known; expected ProposeWindow first.", name))};
  }
  if (absl::c_linear_search(expected, window->state())) return {std::move(window), {}};
  std::string names;
  for (const v1::WindowState each : expected)
    names += fmt::format("{}{}", names.empty() ? "" : " or ", v1::WindowState_Name(each));
  return {std::nullopt, WrongState(command, *window, names)};
}

// Every server is known at this site; else the refusal.
std::optional<v1::Event> CheckServers(const State& state, const v1::ProposeWindowRequest& request,
                                      const runtime::Facts& facts) {
  for (const std::string& server : request.servers()) {
    if (auto refusal = NotHere(state, request, server, facts)) return refusal;
    if (state.rows.servers.Contains(server)) continue;
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known; expected OrderServer first.", server));
  }
  return std::nullopt;
}

void AddItems(const google::protobuf::RepeatedPtrField<std::string>& texts, bool retest,
              v1::WindowProposed& proposed) {
  for (const std::string& text : texts) {
    v1::WorkItem& item = *proposed.add_work();
    item.set_number(proposed.work_size());
    item.set_text(text);
    item.set_retest(retest);
  }
}

v1::Event Propose(const State& state, const v1::ProposeWindowRequest& request,
                  const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (state.rows.windows.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} was proposed already.", request.name()));
  }
  if (auto refusal = CheckServers(state, request, facts)) return *refusal;
  const absl::Time start = runtime::ToTime(request.start_time());
  if (start < facts.now - kClockSkew) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("start_time is {}, expected {} or later.", runtime::ToText(start),
                               runtime::ToText(facts.now)));
  }
  v1::Event event;
  v1::WindowProposed& proposed = *event.mutable_window_proposed();
  proposed.set_name(request.name());
  *proposed.mutable_servers() = request.servers();
  *proposed.mutable_start_time() = request.start_time();
  *proposed.mutable_end_time() = request.end_time();
  proposed.set_window_class(request.window_class());
  AddItems(request.work(), false, proposed);
  AddItems(request.retest_work(), true, proposed);
  proposed.set_notice_days(request.notice_days());
  *proposed.mutable_consent_by() =
      request.has_consent_by() ? request.consent_by() : request.start_time();
  proposed.set_overrun(request.overrun());
  proposed.set_basis_kind(request.basis_kind());
  proposed.set_basis(request.basis());
  return event;
}

// The time for consent, which nobody has for an emergency.
std::optional<v1::Event> CheckConsentTime(const Message& command, const v1::Window& window,
                                          absl::Time now) {
  if (IsEmergency(window) || now < ConsentByOf(window)) return std::nullopt;
  return Refused(command, v1::REASON_TIME,
                 fmt::format("The customers of {} could consent until {}, expected it before.",
                             window.name(), runtime::ToText(ConsentByOf(window))));
}

// Whether the customer's word on the present work list allows a move.
bool ConsentsToMove(const v1::Window& window, const std::string& customer) {
  return std::any_of(window.consents().begin(), window.consents().end(), [&](const auto& one) {
    return one.customer() == customer && one.given() && one.relocation() &&
           one.revision() == window.revision();
  });
}

v1::Event AddWork(const State& state, const v1::AddWorkRequest& request,
                  const runtime::Facts& facts) {
  Found found =
      Find(state, request, request.name(), facts,
           {v1::WINDOW_STATE_PROPOSED, v1::WINDOW_STATE_ANNOUNCED, v1::WINDOW_STATE_CONSENTED});
  if (!found.window) return found.refusal;
  v1::Window& window = *found.window;
  if (window.state() != v1::WINDOW_STATE_PROPOSED) {
    if (auto refusal = CheckConsentTime(request, window, facts.now)) return *refusal;
  }
  if (window.plan().work_size() >= kMostWorkInAll) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} has {} pieces of work, expected at most {}.", window.name(),
                               window.plan().work_size(), kMostWorkInAll));
  }
  v1::Event event;
  v1::WindowWorkAdded& added = *event.mutable_window_work_added();
  for (std::string& customer : ConsentedCustomers(window)) {
    if (ConsentsToMove(window, customer)) added.add_voided_relocations(customer);
    added.add_voided_customers(std::move(customer));
  }
  window.set_revision(window.revision() + 1);
  added.set_name(request.name());
  added.mutable_item()->set_number(window.plan().work_size() + 1);
  added.mutable_item()->set_text(request.text());
  added.mutable_item()->set_retest(request.retest());
  added.set_revision(window.revision());
  added.set_consented(window.state() != v1::WINDOW_STATE_PROPOSED && IsConsented(window));
  return event;
}

bool Overlap(const v1::Window& a, const v1::Window& b) {
  // What overruns is not over at its end.
  const absl::Time end =
      b.state() == v1::WINDOW_STATE_OVERRUNNING ? absl::InfiniteFuture() : EndOf(b);
  return StartOf(a) < end && StartOf(b) < EndOf(a);
}

// Another window that was announced for one of the servers within the span; else nothing.
std::optional<v1::Event> CheckOverlap(const State& state, const Message& command,
                                      const v1::Window& window) {
  std::optional<v1::Event> refusal;
  const auto& servers = window.plan().servers();
  state.rows.windows.Scan("", [&](std::string_view name, const v1::Window& other) {
    if (name == window.name() || !IsAnnounced(other) || !Overlap(window, other)) return true;
    for (const std::string& server : other.plan().servers()) {
      if (!absl::c_linear_search(servers, server)) continue;
      refusal = Refused(
          command, v1::REASON_WINDOW_OVERLAP,
          fmt::format("{} is in {} from {} to {} too, expected it in one window.", server, name,
                      runtime::ToText(StartOf(other)), runtime::ToText(EndOf(other))));
      return false;
    }
    return true;
  });
  return refusal;
}

v1::Event Announce(const State& state, const v1::AnnounceWindowRequest& request,
                   const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts, {v1::WINDOW_STATE_PROPOSED});
  if (!found.window) return found.refusal;
  const v1::Window& window = *found.window;
  const v1::WindowProposed& plan = window.plan();
  if (facts.now >= EndOf(window)) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("{} would have ended at {}, expected an end that is to come.",
                               window.name(), runtime::ToText(EndOf(window))));
  }
  if (auto refusal = CheckConsentTime(request, window, facts.now)) return *refusal;
  const absl::Time earliest = facts.now + absl::Hours(24) * plan.notice_days();
  if (plan.window_class() == v1::WINDOW_CLASS_PLANNED && StartOf(window) < earliest) {
    return Refused(request, v1::REASON_NOTICE,
                   fmt::format("{} begins at {}, expected {} or later: it has {} days of notice.",
                               window.name(), runtime::ToText(StartOf(window)),
                               runtime::ToText(earliest), plan.notice_days()));
  }
  if (!IsEmergency(window)) {
    if (auto refusal = CheckOverlap(state, request, window)) return *refusal;
  }
  v1::Event event;
  v1::WindowAnnounced& announced = *event.mutable_window_announced();
  announced.set_name(request.name());
  *announced.mutable_servers() = plan.servers();
  *announced.mutable_start_time() = plan.start_time();
  *announced.mutable_end_time() = plan.end_time();
  announced.set_window_class(plan.window_class());
  return event;
}

v1::Event RecordAffected(const State& state, const v1::RecordAffected& command,
                         const runtime::Facts& facts) {
  Found found = Find(state, command, command.affected().name(), facts,
                     {v1::WINDOW_STATE_ANNOUNCED, v1::WINDOW_STATE_CONSENTED, v1::WINDOW_STATE_OPEN,
                      v1::WINDOW_STATE_OVERRUNNING});
  if (!found.window) return found.refusal;
  *found.window->mutable_affected() = command.affected().affected();
  found.window->set_affected_known(true);
  v1::Event event;
  *event.mutable_window_affected_recorded() = command.affected();
  event.mutable_window_affected_recorded()->set_consented(IsConsented(*found.window));
  return event;
}

// A window whose customers may speak, and the customer is one of them; or the refusal.
template <typename Request>
Found FindAsked(const State& state, const Request& request, const runtime::Facts& facts) {
  Found found = Find(state, request, request.name(), facts,
                     {v1::WINDOW_STATE_ANNOUNCED, v1::WINDOW_STATE_CONSENTED});
  if (!found.window) return found;
  if (auto refusal = CheckConsentTime(request, *found.window, facts.now))
    return {std::nullopt, *refusal};
  const auto& affected = found.window->affected();
  if (std::any_of(affected.begin(), affected.end(),
                  [&](const auto& one) { return one.customer() == request.customer(); }))
    return found;
  return {std::nullopt,
          Refused(request, v1::REASON_NOT_AFFECTED,
                  fmt::format("{} affects {} reservations and none of {}, expected one.{}",
                              request.name(), affected.size(), request.customer(),
                              found.window->affected_known()
                                  ? ""
                                  : " Reservations has not said yet whom it affects."))};
}

// The window after a customer's word.
v1::Window With(v1::Window window, const std::string& customer, bool given) {
  v1::Consent consent;
  consent.set_customer(customer);
  consent.set_given(given);
  consent.set_revision(window.revision());
  auto& consents = *window.mutable_consents();
  consents.erase(std::remove_if(consents.begin(), consents.end(),
                                [&](const auto& known) { return known.customer() == customer; }),
                 consents.end());
  *consents.Add() = consent;
  return window;
}

// Whether the window affects something of the customer's that may be moved; what has not started is
// moved without asking.
bool MayMove(const v1::Window& window, const std::string& customer) {
  return std::any_of(window.affected().begin(), window.affected().end(), [&](const auto& one) {
    return one.customer() == customer && !one.never_moved();
  });
}

v1::Event ConsentTo(const State& state, const v1::ConsentToWindowRequest& request,
                    const runtime::Facts& facts) {
  const Found found = FindAsked(state, request, facts);
  if (!found.window) return found.refusal;
  if (request.relocation() && !MayMove(*found.window, request.customer())) {
    return Refused(request, v1::REASON_NEVER_MOVED,
                   fmt::format("The contract of {} never allows what it uses to be moved, expected "
                               "its consent without relocation.",
                               request.customer()));
  }
  v1::Event event;
  v1::WindowConsentGiven& given = *event.mutable_window_consent_given();
  given.set_name(request.name());
  given.set_customer(request.customer());
  given.set_revision(found.window->revision());
  given.set_relocation(request.relocation());
  given.set_relocation_withdrawn(!request.relocation() &&
                                 ConsentsToMove(*found.window, request.customer()));
  given.set_consented(IsConsented(With(*found.window, request.customer(), true)));
  return event;
}

v1::Event Refuse(const State& state, const v1::RefuseWindowRequest& request,
                 const runtime::Facts& facts) {
  const Found found = FindAsked(state, request, facts);
  if (!found.window) return found.refusal;
  v1::Event event;
  v1::WindowConsentRefused& refused = *event.mutable_window_consent_refused();
  refused.set_name(request.name());
  refused.set_customer(request.customer());
  refused.set_revision(found.window->revision());
  refused.set_reason(request.reason());
  refused.set_relocation_withdrawn(ConsentsToMove(*found.window, request.customer()));
  refused.set_consented(IsConsented(With(*found.window, request.customer(), false)));
  return event;
}

// Who stands in the way of a window that waits for consent.
struct Missing {
  v1::Reason reason;
  std::string detail;
};

Missing MissingOf(const v1::Window& window) {
  if (!window.affected_known()) {
    return {v1::REASON_CONSENT_MISSING,
            fmt::format("It is not known yet whom {} affects, expected what reservations says.",
                        window.name())};
  }
  const std::vector<std::string> missing = MissingConsents(window);
  for (const v1::Consent& consent : window.consents()) {
    const bool asked = absl::c_linear_search(missing, consent.customer());
    if (!asked || consent.given() || consent.revision() != window.revision()) continue;
    return {v1::REASON_CONSENT_REFUSED,
            fmt::format("{} refused: {}; expected its consent to work list {} of {}.",
                        consent.customer(), consent.reason(), window.revision(), window.name())};
  }
  return {v1::REASON_CONSENT_MISSING,
          fmt::format("{} lacks the consent of {} to work list {}.", window.name(), Names(missing),
                      window.revision())};
}

v1::Event Opened(const v1::Window& window) {
  v1::Event event;
  v1::WindowOpened& opened = *event.mutable_window_opened();
  opened.set_name(window.name());
  *opened.mutable_servers() = window.plan().servers();
  opened.set_window_class(window.plan().window_class());
  *opened.mutable_affected() = window.affected();
  for (std::string& customer : ConsentedCustomers(window))
    opened.add_consented_customers(std::move(customer));
  opened.set_basis_kind(window.plan().basis_kind());
  opened.set_basis(window.plan().basis());
  return event;
}

// Consented, or an emergency, which waits for nobody.
bool MayOpen(const v1::Window& window) {
  return window.state() == v1::WINDOW_STATE_CONSENTED ||
         (window.state() == v1::WINDOW_STATE_ANNOUNCED && IsEmergency(window));
}

v1::Event Open(const State& state, const v1::OpenWindowRequest& request,
               const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts,
                           {v1::WINDOW_STATE_CONSENTED, v1::WINDOW_STATE_ANNOUNCED});
  if (!found.window) return found.refusal;
  const v1::Window& window = *found.window;
  if (!MayOpen(window)) {
    const Missing missing = MissingOf(window);
    return Refused(request, missing.reason, missing.detail);
  }
  if (facts.now < StartOf(window) || facts.now >= EndOf(window)) {
    return Refused(
        request, v1::REASON_TIME,
        fmt::format("It is {}, expected a time from {} to {}.", runtime::ToText(facts.now),
                    runtime::ToText(StartOf(window)), runtime::ToText(EndOf(window))));
  }
  return Opened(window);
}

// Whether every number is one of the window's work; else the refusal.
std::optional<v1::Event> CheckDone(const Message& command, const v1::Window& window,
                                   const google::protobuf::RepeatedField<int32_t>& done) {
  for (const int32_t number : done) {
    if (number >= 1 && number <= window.plan().work_size()) continue;
    return Refused(command, v1::REASON_NOT_FOUND,
                   fmt::format("{} has no work {}, expected a number from 1 to {}.", window.name(),
                               number, window.plan().work_size()));
  }
  return std::nullopt;
}

// What was done, and whether the servers must pass their burn-in again.
template <typename Over>
void SetDone(const v1::Window& window, const google::protobuf::RepeatedField<int32_t>& done,
             Over& over) {
  over.set_name(window.name());
  *over.mutable_servers() = window.plan().servers();
  *over.mutable_done() = done;
  for (const int32_t number : done)
    over.set_retest(over.retest() || window.plan().work(number - 1).retest());
}

v1::Event Close(const State& state, const v1::CloseWindowRequest& request,
                const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts,
                           {v1::WINDOW_STATE_OPEN, v1::WINDOW_STATE_OVERRUNNING});
  if (!found.window) return found.refusal;
  if (auto refusal = CheckDone(request, *found.window, request.done())) return *refusal;
  google::protobuf::RepeatedField<int32_t> done = request.done();
  if (done.empty()) {
    for (const v1::WorkItem& item : found.window->plan().work()) done.Add(item.number());
  }
  v1::Event event;
  SetDone(*found.window, done, *event.mutable_window_closed());
  return event;
}

v1::Event Abort(const State& state, const v1::AbortWindowRequest& request,
                const runtime::Facts& facts) {
  const Found found = Find(state, request, request.name(), facts,
                           {v1::WINDOW_STATE_OPEN, v1::WINDOW_STATE_OVERRUNNING});
  if (!found.window) return found.refusal;
  if (auto refusal = CheckDone(request, *found.window, request.done())) return *refusal;
  v1::Event event;
  SetDone(*found.window, request.done(), *event.mutable_window_aborted());
  event.mutable_window_aborted()->set_reason(request.reason());
  return event;
}

v1::Event Cancelled(const std::string& name, const std::string& reason) {
  v1::Event event;
  event.mutable_window_cancelled()->set_name(name);
  event.mutable_window_cancelled()->set_reason(reason);
  return event;
}

v1::Event Cancel(const State& state, const v1::CancelWindowRequest& request,
                 const runtime::Facts& facts) {
  const Found found =
      Find(state, request, request.name(), facts,
           {v1::WINDOW_STATE_PROPOSED, v1::WINDOW_STATE_ANNOUNCED, v1::WINDOW_STATE_CONSENTED});
  return found.window ? Cancelled(request.name(), request.reason()) : found.refusal;
}

v1::Event RecordDrained(const State& state, const v1::RecordDrained& command,
                        const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts,
                           {v1::WINDOW_STATE_OPEN, v1::WINDOW_STATE_OVERRUNNING});
  if (!found.window) return found.refusal;
  if (found.window->drained()) return WrongState(command, *found.window, "one that is not drained");
  v1::Event event;
  event.mutable_window_drained()->set_name(command.name());
  return event;
}

// An end that was reached with work left.
v1::Event Overrun(const v1::Window& window) {
  v1::Event event;
  if (window.plan().overrun() == v1::OVERRUN_POLICY_FINISH) {
    event.mutable_window_overrunning()->set_name(window.name());
    return event;
  }
  SetDone(window, {}, *event.mutable_window_aborted());
  // Nobody has said how far the work came, so that what may have been touched counts as touched.
  for (const v1::WorkItem& item : window.plan().work()) {
    if (item.retest()) event.mutable_window_aborted()->set_retest(true);
  }
  event.mutable_window_aborted()->set_reason(
      fmt::format("Its end has come, {}.", runtime::ToText(EndOf(window))));
  return event;
}

v1::Event ConsentLapsed(const v1::Window& window) {
  v1::Event event;
  v1::WindowConsentLapsed& lapsed = *event.mutable_window_consent_lapsed();
  lapsed.set_name(window.name());
  for (std::string& customer : MissingConsents(window)) lapsed.add_missing(std::move(customer));
  lapsed.set_detail(
      fmt::format("At {}: {}", runtime::ToText(ConsentByOf(window)), MissingOf(window).detail));
  return event;
}

// Each of these events closes or moves the window's deadline.
v1::Event Advance(const State& state, const v1::AdvanceWindow& command,
                  const runtime::Facts& facts) {
  const Found found = Find(state, command, command.name(), facts,
                           {v1::WINDOW_STATE_PROPOSED, v1::WINDOW_STATE_ANNOUNCED,
                            v1::WINDOW_STATE_CONSENTED, v1::WINDOW_STATE_OPEN});
  if (!found.window) return found.refusal;
  const v1::Window& window = *found.window;
  const absl::Time deadline = DeadlineOf(window).value_or(absl::InfiniteFuture());
  if (facts.now < deadline) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("{} waits until {}, expected not before.", window.name(),
                               runtime::ToText(deadline)));
  }
  if (IsOpen(window)) return Overrun(window);
  if (window.state() == v1::WINDOW_STATE_PROPOSED)
    return Cancelled(window.name(), IsEmergency(window) ? "It was not announced before its end."
                                                        : "It was not announced before its start.");
  if (!MayOpen(window)) return ConsentLapsed(window);
  if (facts.now >= EndOf(window))
    return Cancelled(window.name(), "Its time had passed before it could be opened.");
  return Opened(window);
}

}  // namespace

v1::Event DecideWindow(const State& state, const v1::Command& command,
                       const runtime::Facts& facts) {
  if (command.has_propose_window()) return Propose(state, command.propose_window(), facts);
  if (command.has_add_work()) return AddWork(state, command.add_work(), facts);
  if (command.has_announce_window()) return Announce(state, command.announce_window(), facts);
  if (command.has_consent_to_window()) return ConsentTo(state, command.consent_to_window(), facts);
  if (command.has_refuse_window()) return Refuse(state, command.refuse_window(), facts);
  if (command.has_open_window()) return Open(state, command.open_window(), facts);
  if (command.has_close_window()) return Close(state, command.close_window(), facts);
  if (command.has_abort_window()) return Abort(state, command.abort_window(), facts);
  if (command.has_cancel_window()) return Cancel(state, command.cancel_window(), facts);
  if (command.has_record_affected()) return RecordAffected(state, command.record_affected(), facts);
  if (command.has_record_drained()) return RecordDrained(state, command.record_drained(), facts);
  return Advance(state, command.advance_window(), facts);
}

}  // namespace concordat::inventory
