// Decides about customers, contracts, reservations and orders.
// Law: pure; every command gets exactly one event, the fact or its refusal. No server is promised
// to two reservations at one instant; no hold exceeds power, cooling or its contract at any
// instant; and what starts does so on servers, power and cooling that are really free.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "services/reservations/schedules.h"
#include "services/reservations/state.h"

namespace concordat::reservations {

// How long a hold lasts while compliance judges.
inline constexpr absl::Duration kHoldTtl = absl::Minutes(15);
// How far a start may lie in the past: callers' clocks differ.
inline constexpr absl::Duration kClockSkew = absl::Seconds(60);
// A delayed start is tried again after this, then after twice as long, up to kLongestRetry.
inline constexpr absl::Duration kFirstRetry = absl::Minutes(1);
inline constexpr absl::Duration kLongestRetry = absl::Hours(1);
// How long to wait after so many attempts in vain.
absl::Duration RetryAfter(int attempts);
// When servers that were offered for lost ones are looked at again.
inline constexpr absl::Duration kOfferTerm = absl::Hours(24);

// INVALID_ARGUMENT, naming the field: what the bytes of the command alone can tell.
absl::Status Validate(const v1::Command& command);

// The resource that the command is about; for Reserve the reservation or order that it would
// create.
std::string Subject(const v1::Command& command, const runtime::Facts& facts);

v1::Event Decide(const State& state, const v1::Command& command, const runtime::Facts& facts);

// One file for each family of commands.

// decide_capacity.cc: what takes capacity, here or at another site.
v1::Event Reserve(const State& state, const v1::ReserveRequest& request,
                  const runtime::Facts& facts);
v1::Event Fulfil(const State& state, const v1::FulfilOrder& command, const runtime::Facts& facts);

// What a request asks for, as an event is to carry it.
v1::Terms TermsOf(const v1::ReserveRequest& request);

// Why something is not granted.
struct Obstacle {
  v1::Reason reason;
  std::string detail;
  std::optional<v1::Shortage> shortage = {};  // what Explained() found
  v1::QuotaShortfall shortfall = {};          // of REASON_QUOTA_EXHAUSTED
};
using Checked = std::optional<Obstacle>;

// What can be said here of terms that are asked of a site, which may be another one.
Checked CheckAsked(const State& state, const v1::Terms& terms, const std::string& site,
                   const runtime::Facts& facts);
// A hold at this site, or why there is none. Nothing is changed.
std::variant<v1::ReservationHeld, Obstacle> Hold(const State& state, const std::string& name,
                                                 const std::string& order, const v1::Terms& terms,
                                                 const runtime::Facts& facts);

// What a reservation is granted within, as far as it is known at this site.
struct Frame {
  v1::ContractSigned contract;
  std::optional<v1::Schedule> hours;  // the contract's access hours; nothing where it has none
  v1::SiteRecord site;
  std::optional<v1::Quota> quota = {};  // this site's part; nothing where the contract has none
  // What occurrences that the same decision grants take of it, beside what is booked already.
  int64_t planned_accelerator_seconds = 0;
  // Those that hold for what is granted; absent: those that are set for its model.
  std::optional<v1::Margins> margins = {};
};
std::variant<Frame, Obstacle> FrameOf(const State& state, const std::string& contract,
                                      const runtime::Facts& facts);

// The margins around what is granted in the frame.
v1::Margins MarginsIn(const Frame& frame, const v1::Terms& terms);

// What servers are looked for.
struct Wanted {
  const v1::Terms& terms;
  // The reservation that they are for, as far as separations name it: a series, or what exists.
  std::string reservation = {};
  // Servers that it has over the block and gives up for them: what these draw of feeds is free.
  std::vector<std::string> gives_up = {};
  // Servers that are not for it, though they may be free.
  std::set<std::string> excluded = {};
};

// Servers that one event of a series may name, of all of its occurrences together.
inline constexpr int64_t kMostServersOfSeries = 20'000;

// Servers that are free over a span with its margins, and what they draw, within contract and
// envelope.
struct Grant {
  std::vector<std::string> servers;
  Watts watts;
  int64_t accelerators = 0;
};
std::variant<Grant, Obstacle> FindGrant(const State& state, const Frame& frame,
                                        const Wanted& wanted, const Span& span,
                                        const runtime::Facts& facts);

Checked CheckHours(const Frame& frame, const Span& span);
// The instant up to which occurrences are granted: the horizon, but not beyond that of the
// contract's access hours, for what lies there cannot be compared with them yet.
absl::Time HorizonIn(const Frame& frame, absl::Time horizon);

// The first instant of a span at which the site's power or cooling would not suffice.
struct Short {
  absl::Time at;
  Watts used;     // by others, at that instant
  Watts limit;    // the envelope then
  Watts missing;  // negative where something is left
};
std::optional<Short> FindShort(const v1::SiteRecord& site, const Index& index, const Span& span,
                               const Watts& wanted, absl::Time now);

// Whether each feed of the servers can give what they draw over the span, beside what is reserved.
Checked CheckFeeds(const State& state, const std::vector<std::string>& servers, const Span& span,
                   absl::Time now);

// What stands against the reservation taking its servers over `span` instead; nothing where they
// could be had. Counts what other occurrences of its series take now, not what they will.
Checked CheckMove(const State& state, const Frame& frame, const v1::Reservation& reservation,
                  const Span& span, const runtime::Facts& facts);

std::string ToText(const Span& span);

// decide_placement.cc: which servers are chosen, and why the others were not.
// Of the servers that could be given over the block, which is the use with its margins, those that
// the placement asks for; fewer than wanted where there are not so many. The same on the same
// state.
std::vector<std::string> ChooseServers(const State& state, const Wanted& wanted, const Span& use,
                                       const Span& block, absl::Time now);
// Whether it is feeds that make the servers too few of which `found` could be given; the obstacle
// names one and says when it is short.
Checked CheckPowered(const State& state, const Wanted& wanted, const Span& use, const Span& block,
                     size_t found, absl::Time now);
// Whether one of the servers stands in a rack or domain of somebody to be kept apart from.
Checked CheckApart(const State& state, const Wanted& wanted,
                   const google::protobuf::RepeatedPtrField<std::string>& servers, const Span& span,
                   absl::Time now);
// The obstacle with its shortage, in the event and in words, where something was short within the
// span. Costs a look at each server of the model a step of the search for an earlier start.
Obstacle Explained(const State& state, const Frame& frame, const Wanted& wanted, const Span& span,
                   const runtime::Facts& facts, Obstacle obstacle);
// Every server of the site, by name, and what ruled it out of the search that a shortage tells of;
// UNSPECIFIED where it could have been given. REQUIRES: the state and time that it was found on.
std::vector<std::pair<std::string, v1::ExclusionReason>> VerdictsOf(const State& state,
                                                                    const v1::Shortage& shortage,
                                                                    const runtime::Facts& facts);
v1::Event SeparateParties(const State& state, const v1::SeparatePartiesRequest& request,
                          const runtime::Facts& facts);
v1::Event EndSeparation(const State& state, const v1::EndSeparationRequest& request,
                        const runtime::Facts& facts);

// decide_quotas.cc: what sites may use of a contract over all of its sites.
// Whether so many accelerators more at once within the span, and so many accelerator-seconds more,
// are left of what this site is allotted. What changes a reservation asks for the difference.
Checked CheckAllotment(const State& state, const Frame& frame, int64_t accelerators,
                       int64_t more_seconds, const Span& span);
// How many accelerators at once are left of the site's allotment at any instant of the span;
// nothing where the contract sets no such limit.
std::optional<int64_t> AcceleratorsLeft(const State& state, const Frame& frame, const Span& span);
// What each site begins with.
std::vector<v1::Allotment> AllotmentsOf(const v1::SignContractRequest& request,
                                        const std::string& home);
v1::Event RequestQuota(const State& state, const v1::RequestQuotaRequest& request,
                       const runtime::Facts& facts);
v1::Event ReturnQuota(const State& state, const v1::ReturnQuotaRequest& request,
                      const runtime::Facts& facts);
v1::Event GrantQuota(const State& state, const v1::GrantQuota& command,
                     const runtime::Facts& facts);
v1::Event RecordQuotaAnswer(const State& state, const v1::RecordQuotaAnswer& command,
                            const runtime::Facts& facts);
v1::Event ReclaimQuota(const State& state, const v1::ReclaimQuota& command,
                       const runtime::Facts& facts);
// What stands against terms, each by itself: their span and count; the contract, at whichever site;
// the contract's access hours; the re-test before a start.
Checked CheckTerms(const v1::Terms& terms, absl::Time now);
Checked CheckContract(const v1::ContractSigned& contract, const v1::Terms& terms,
                      const std::string& site);
// REASON_PROJECT where the contract demands one of the customer's registered projects.
Checked CheckProject(const State& state, const v1::ContractSigned& contract, const v1::Terms& terms,
                     const std::string& site);
Checked CheckRetest(const v1::Margins& margins, const Span& span, absl::Time now);
// Whether the contract allows so many servers more over the span, and the envelope so many watts.
Checked CheckUse(const State& state, const Frame& frame, int64_t count, const Span& span);
Checked CheckPower(const State& state, const Frame& frame, const Span& span, const Watts& watts,
                   const runtime::Facts& facts);

// REASON_MARGIN where the second use would begin before the block of the first is over; the index
// does not know yet what one event grants.
Checked CheckGap(const Frame& frame, const v1::Terms& terms, const Span& first, const Span& second);

// decide_releases.cc: notices of an end, and what opens to whom from when on.
v1::Event GiveNotice(const State& state, const v1::GiveNotice& command,
                     const runtime::Facts& facts);
v1::Event RecordNoticeDelivery(const State& state, const v1::RecordNoticeDeliveryRequest& request,
                               const runtime::Facts& facts);
v1::Event PlanWave(const State& state, const v1::PlanWaveRequest& request,
                   const runtime::Facts& facts);

// decide_schedules.cc: when something with a schedule takes place.
// The schedule with its occurrences from now on, as an event is to carry it: an access schedule of
// a contract. REASON_SCHEDULE where it cannot be expanded.
std::variant<Expansion, Obstacle> ExpandHours(const v1::AccessSchedule& access, const Span& term,
                                              absl::Time now);
v1::Event Extend(const State& state, const v1::ExtendSchedule& command,
                 const runtime::Facts& facts);
v1::Event Review(const State& state, const v1::ReviewSchedule& command,
                 const runtime::Facts& facts);

// decide_lifecycle.cc: what becomes of a reservation.
v1::Event Cancel(const State& state, const v1::CancelReservationRequest& request,
                 const runtime::Facts& facts);
v1::Event Confirm(const State& state, const v1::ConfirmReservation& command,
                  const runtime::Facts& facts);
v1::Event Decline(const State& state, const v1::DeclineReservation& command,
                  const runtime::Facts& facts);
v1::Event Lapse(const State& state, const v1::LapseHold& command, const runtime::Facts& facts);
// Whether each feed of the servers can give what they draw now, beside what runs.
Checked CheckFeedsNow(const State& state, const std::vector<std::string>& servers, absl::Time now);
v1::Event Start(const State& state, const v1::StartReservation& command,
                const runtime::Facts& facts);
// A known reservation of this site in one of the states, or the refusal. Commands of timers and
// reactions that come late, or twice, end here: they are refused and change nothing.
struct Found {
  std::optional<v1::Reservation> reservation;
  v1::Event refusal;
};
Found Find(const State& state, const google::protobuf::Message& command, const std::string& name,
           const runtime::Facts& facts, std::initializer_list<v1::ReservationState> expected);

// decide_endings.cc: how a use ends, at its time or before, and the margins around it.
// Whether the next tenant gets the server only after a test.
bool MustRetest(const State& state, const std::string& server);
v1::Event BeginEnd(const State& state, const v1::BeginEndReservation& command,
                   const runtime::Facts& facts);
v1::Event End(const State& state, const v1::EndReservation& command, const runtime::Facts& facts);
v1::Event SetMargins(const State& state, const v1::SetMarginsRequest& request,
                     const runtime::Facts& facts);
v1::Event Release(const State& state, const v1::ReleaseReservationRequest& request,
                  const runtime::Facts& facts);
v1::Event Revoke(const State& state, const v1::RevokeReservationRequest& request,
                 const runtime::Facts& facts);
// decide_amendments.cc: new terms of what is confirmed, held beside it until compliance has judged.
v1::Event ExtendUse(const State& state, const v1::ExtendReservationRequest& request,
                    const runtime::Facts& facts);
v1::Event Amend(const State& state, const v1::AmendReservationRequest& request,
                const runtime::Facts& facts);
v1::Event WithdrawAmendment(const State& state, const v1::WithdrawAmendmentRequest& request,
                            const runtime::Facts& facts);
v1::Event ConfirmAmendment(const State& state, const v1::ConfirmAmendment& command,
                           const runtime::Facts& facts);
v1::Event DropAmendment(const State& state, const v1::DropAmendment& command,
                        const runtime::Facts& facts);

// REASON_LOCKED from the lock time before the start on, unless the start is delayed.
Checked CheckUnlocked(const v1::Reservation& reservation, absl::Time now);

// decide_bundles.cc: parts at several sites, all or none; bundles.h has the protocol.
v1::Event ReserveBundle(const State& state, const v1::ReserveBundleRequest& request,
                        const runtime::Facts& facts);
v1::Event FulfilPart(const State& state, const v1::FulfilPart& command,
                     const runtime::Facts& facts);
v1::Event RecordPart(const State& state, const v1::RecordPart& command,
                     const runtime::Facts& facts);
v1::Event PrepareBundle(const State& state, const v1::PrepareBundle& command,
                        const runtime::Facts& facts);
v1::Event PromisePart(const State& state, const v1::PromisePart& command,
                      const runtime::Facts& facts);
v1::Event SettleBundle(const State& state, const v1::SettleBundle& command,
                       const runtime::Facts& facts);
v1::Event SettlePart(const State& state, const v1::SettlePart& command,
                     const runtime::Facts& facts);
v1::Event BreakPromise(const State& state, const v1::BreakPromiseRequest& request,
                       const runtime::Facts& facts);

// decide_records.cc: customers, contracts, and what others said.
v1::Event RegisterCustomer(const State& state, const v1::RegisterCustomerRequest& request);
v1::Event SignContract(const State& state, const v1::SignContractRequest& request,
                       const runtime::Facts& facts);
v1::Event RegisterProject(const State& state, const v1::RegisterProjectRequest& request,
                          const runtime::Facts& facts);
v1::Event RecordProject(const State& state, const v1::RecordProject& command);
v1::Event RecordContract(const State& state, const v1::RecordContract& command,
                         const runtime::Facts& facts);
v1::Event RecordOrderAnswer(const State& state, const v1::RecordOrderAnswer& command);
v1::Event RecordSite(const v1::RecordSite& command, const runtime::Facts& facts);
v1::Event RecordEnvelope(const State& state, const v1::RecordEnvelope& command,
                         const runtime::Facts& facts);
v1::Event RecordFeed(const State& state, const v1::RecordFeed& command,
                     const runtime::Facts& facts);
v1::Event RecordServer(const State& state, const v1::RecordServer& command,
                       const runtime::Facts& facts);

// decide_windows.cc: what maintenance windows claim, and whom they affect.
v1::Event RecordWindow(const State& state, const v1::RecordWindow& command,
                       const runtime::Facts& facts);
v1::Event ReviewWindow(const State& state, const v1::ReviewWindow& command,
                       const runtime::Facts& facts);
v1::Event ProlongWindow(const State& state, const v1::ProlongWindow& command,
                        const runtime::Facts& facts);
v1::Event ReleaseWindow(const State& state, const v1::ReleaseWindow& command);
v1::Event RecordRelocationConsent(const State& state, const v1::RecordRelocationConsent& command,
                                  const runtime::Facts& facts);
v1::Event RecordWindowDrained(const State& state, const v1::RecordWindowDrained& command,
                              const runtime::Facts& facts);
// Every reservation of this site that is held, confirmed or in use and takes servers, by name.
// Costs a look at each.
std::map<std::string, v1::Reservation> LiveReservations(const Rows& rows);

// decide_replacements.cc: other servers for those that a window takes or that were lost. What has
// not started gets them; what is in use is offered them, and gets them once its customer accepts.
v1::Event ReassignServers(const State& state, const v1::ReassignServers& command,
                          const runtime::Facts& facts);
v1::Event Heal(const State& state, const v1::HealReservation& command, const runtime::Facts& facts);
v1::Event AcceptReplacement(const State& state, const v1::AcceptReplacementRequest& request,
                            const runtime::Facts& facts);
// What is left of its use from a time on; empty where nothing is.
Span LeftOf(const v1::Reservation& reservation, absl::Time from);
// As many servers as `instead_of`, some of its own, that the reservation could have over `left`, a
// part of its use, by its placement and with its margins, none of them excluded; fewer where there
// are not so many.
std::vector<std::string> FindOthers(const State& state, const v1::Reservation& reservation,
                                    const std::vector<std::string>& instead_of, const Span& left,
                                    absl::Time now, const std::set<std::string>& excluded = {});

// decide_shortfalls.cc: what is reserved beyond what there is.
v1::Event ReviewShortfall(const State& state, const v1::ReviewShortfall& command,
                          const runtime::Facts& facts);

// What all of them use.

v1::Event Refused(const google::protobuf::Message& command, v1::Reason reason, std::string detail);
v1::Event Refused(const google::protobuf::Message& command, const Obstacle& obstacle);
// Whether the terms name the servers that they want.
inline bool IsExact(const v1::Terms& terms) {
  return terms.placement().policy() == v1::PLACEMENT_POLICY_EXACT;
}
// `sites/paris`.
std::string Here(const runtime::Facts& facts);
// REASON_NOT_HOME: the command names what another site decides about.
v1::Event NotHome(const google::protobuf::Message& command, const std::string& name,
                  const runtime::Facts& facts);
// What the site may draw and cool at an instant; nothing before the envelope's first step.
Watts EnvelopeAt(const v1::SiteRecord& site, absl::Time at);
// Calls `visit` with the parts of a span, in order, over which the envelope stays as it is, and
// with the envelope, until it returns false.
void ForEachStep(const v1::SiteRecord& site, const Span& span,
                 absl::FunctionRef<bool(const Span& part, const Watts& limit)> visit);

}  // namespace concordat::reservations
