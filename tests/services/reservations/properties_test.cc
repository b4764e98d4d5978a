// Random histories of one site against an oracle that reads nothing but rows, and decides again by
// looking at every reservation and every instant.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "services/reservations/margins.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

const absl::Time kStart = test::Time("2027-01-01T00:00:00Z");
constexpr char kSite[] = "sites/paris";
constexpr int kServers = 5;

using Snapshot = std::map<std::string, std::string>;

Snapshot RowsOf(const storage::RowSource& source) {
  Snapshot rows;
  source.Scan("", [&](std::string_view key, std::string_view value) {
    rows.emplace(key, value);
    return true;
  });
  return rows;
}

bool IsTerminal(v1::ReservationState state) {
  return state == v1::RESERVATION_STATE_ENDED || state == v1::RESERVATION_STATE_CANCELLED ||
         state == v1::RESERVATION_STATE_DECLINED || state == v1::RESERVATION_STATE_LAPSED ||
         state == v1::RESERVATION_STATE_REVOKED;
}
bool Runs(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_ACTIVE ||
         reservation.state() == v1::RESERVATION_STATE_ENDING ||
         reservation.state() == v1::RESERVATION_STATE_CLEANING;
}
// What counts against the contract.
Span SpanOf(const v1::Reservation& reservation) {
  Span span{runtime::ToTime(reservation.terms().start_time()),
            runtime::ToTime(reservation.terms().end_time())};
  if (reservation.ending().has_released_time())
    span.end = std::min(span.end, runtime::ToTime(reservation.ending().released_time()));
  return span;
}
Span Widened(const v1::Terms& terms, const v1::Margins& margins) {
  return {runtime::ToTime(terms.start_time()) - absl::Seconds(margins.before().seconds()),
          runtime::ToTime(terms.end_time()) +
              absl::Seconds(terms.grace().seconds() + margins.after().seconds())};
}
// What was planned with its margins; servers that are clean sooner are free sooner.
Span PlannedOf(const v1::Reservation& reservation) {
  Span span = Widened(reservation.terms(), reservation.margins());
  if (reservation.state() == v1::RESERVATION_STATE_CLEANING)
    span.end = std::min(span.end, runtime::ToTime(reservation.ending().cleaning_until()));
  return span;
}
// What its servers are taken for.
Span BlockedOf(const v1::Reservation& reservation) {
  Span span = Widened(reservation.terms(), reservation.margins());
  if (reservation.state() == v1::RESERVATION_STATE_CLEANING)
    span.end = runtime::ToTime(reservation.ending().cleaning_until());
  return span;
}
// Whether it runs though its time has passed.
bool IsLate(const v1::Reservation& reservation, absl::Time now) {
  if (reservation.state() == v1::RESERVATION_STATE_ENDING &&
      !reservation.ending().has_grace_until())
    return true;
  return Runs(reservation) && BlockedOf(reservation).end <= now;
}
bool Uses(const v1::Reservation& reservation, const std::string& server) {
  const auto& servers = reservation.servers();
  return std::find(servers.begin(), servers.end(), server) != servers.end();
}

// What a pending amendment wants: its block, and what counts against the contract, from when on it
// was proposed.
Span ProposedOf(const v1::Reservation& reservation) {
  const v1::Amendment& amendment = reservation.amendment();
  Span span = Widened(amendment.terms(), amendment.margins());
  if (amendment.has_effective_time())
    span.start = std::max(span.start, runtime::ToTime(amendment.effective_time()));
  return span;
}
Span ProposedUseOf(const v1::Reservation& reservation) {
  const v1::Amendment& amendment = reservation.amendment();
  Span span = Widened(amendment.terms(), {});
  span.end -= absl::Seconds(amendment.terms().grace().seconds());
  if (amendment.has_effective_time())
    span.start = std::max(span.start, runtime::ToTime(amendment.effective_time()));
  return span;
}
bool Proposes(const v1::Reservation& reservation, const std::string& server) {
  const auto& servers = reservation.amendment().servers();
  return std::find(servers.begin(), servers.end(), server) != servers.end();
}
bool Contains(const Span& span, absl::Time at) { return span.start <= at && at < span.end; }
absl::Time StartOf(const v1::Terms& terms) { return runtime::ToTime(terms.start_time()); }

// One step of a history: what to do, and numbers to do it with.
struct Step {
  int what;
  int a;
  int b;
  int c;
};
void showValue(const Step& step, std::ostream& out) {
  out << '{' << step.what << ',' << step.a << ',' << step.b << ',' << step.c << '}';
}

rc::Gen<std::vector<Step>> Steps() {
  // resize(): numbers do not depend on RapidCheck's size, so that short histories are as varied as
  // long ones.
  const auto number = rc::gen::resize(100, rc::gen::inRange(0, 1000));
  return rc::gen::scale(
      2.0, rc::gen::container<std::vector<Step>>(rc::gen::map(
               rc::gen::tuple(number, number, number, number),
               [](const std::tuple<int, int, int, int>& n) {
                 return Step{std::get<0>(n), std::get<1>(n), std::get<2>(n), std::get<3>(n)};
               })));
}

class World {
 public:
  // Where envelopes only grow, use never exceeds them at all; otherwise no decision makes it
  // exceed.
  explicit World(bool envelopes_only_grow) : only_grow_(envelopes_only_grow) {
    Fact(R"(site_recorded { name: "sites/paris" country: "FR" })");
    for (const auto& [id, most] : {std::pair("wide", 9), std::pair("narrow", 2)}) {
      Fact(fmt::format("contract_signed {{ {} max_grace {{ seconds: 1800 }} {} }}",
                       ContractText(kSite, most, id),
                       most == 2 ? "lock_time { seconds: 1200 }" : ""));
    }
    for (int i = 0; i < kServers; ++i) RecordServer(i, true, false);
    SetEnvelope(kStart, 350, 400);
  }

  void Do(const Step& step) {
    // Reservations are what it is about; the rest is there to disturb them.
    switch (step.what % 32) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        return Reserve(step, step.what % 40 < 20 ? "" : "order");
      case 5:
      case 6:
      case 7:
        return Advance(step);
      case 8:
      case 9:
        return FireTimers();
      case 10:
        return About(step, [](v1::Command& c, const std::string& n) {
          c.mutable_confirm_reservation()->set_name(n);
        });
      case 12:
        return About(step, [](v1::Command& c, const std::string& n) {
          c.mutable_cancel_reservation()->set_name(n);
        });
      case 13:
        return About(step, [](v1::Command& c, const std::string& n) {
          c.mutable_decline_reservation()->set_name(n);
        });
      case 11:
      case 14:
      case 15:
        return About(step, [](v1::Command& c, const std::string& n) {
          c.mutable_end_reservation()->set_name(n);
        });
      case 16:
        return RecordServer(step.a % kServers, step.b % 2 == 0, step.c % 3 == 0);
      case 17:
        return ChangeEnvelope(step);
      case 18:
        return Rollback(step.a % 6);
      case 19:
        return About(step, [&](v1::Command& c, const std::string& n) {
          // Timers' commands at times when no timer would give them.
          if (step.b % 3 == 0) c.mutable_lapse_hold()->set_name(n);
          if (step.b % 3 == 1) c.mutable_start_reservation()->set_name(n);
          if (step.b % 3 == 2) c.mutable_begin_end_reservation()->set_name(n);
        });
      case 20:
      case 21:
        return About(step, [](v1::Command& c, const std::string& n) {
          c.mutable_release_reservation()->set_name(n);
        });
      case 22:
        return About(step, [](v1::Command& c, const std::string& n) {
          c.mutable_revoke_reservation()->set_name(n);
          c.mutable_revoke_reservation()->mutable_legal_basis()->set_instrument("an order");
        });
      case 23:
        return SetMargins(step);
      case 24:
        return Advance(step);
      case 25:
      case 26:
        return Extend(step);
      case 27:
      case 28:
        return Amend(step);
      case 30:
        if (step.b % 3 == 0) return Lose(step);
        return Accept(step);
      case 31:
        return PlanWave(step);
      case 29:
        return About(step, [&](v1::Command& c, const std::string& n) {
          const std::string pending = Rows().reservations.Get(n)->amendment().name();
          if (step.b % 3 == 0) c.mutable_withdraw_amendment()->set_name(n);
          if (step.b % 3 == 1) {
            c.mutable_confirm_amendment()->set_reservation(n);
            c.mutable_confirm_amendment()->set_amendment(pending);
          }
          if (step.b % 3 == 2) {
            c.mutable_drop_amendment()->set_reservation(n);
            c.mutable_drop_amendment()->set_amendment(pending);
            if (step.a % 2 == 0) c.mutable_drop_amendment()->set_detail("prohibited");
          }
        });
    }
  }

  void FireTimers() {
    for (int round = 0; round < 50; ++round) {
      const Intents due = Due(Rows(), now_, 3);
      if (due.empty()) return;
      for (const auto& intent : due) {
        const v1::Event event =
            Decide(intent.command, intent.kind + intent.subject + intent.deadline);
        RC_ASSERT(!event.has_command_refused());
        RC_ASSERT(!event.servers_reassigned().in_use());
        RC_ASSERT(!IsDue(intent));
      }
    }
    RC_FAIL("timers never come to rest");
  }

  std::map<std::string, int>
      seen;  // which events there were, to see that the histories are worth it

 private:
  Service::Rows& Rows() { return scenario_.state().rows; }

  // Whether the same is still to be done. Something else may be, at the same time: what is held for
  // an amendment lapses with the start or the end at the latest, and these come after it.
  bool IsDue(const runtime::Intent<v1::Command>& intent) {
    for (const auto& other : Due(Rows(), now_, 1000)) {
      if (other.deadline == intent.deadline && other.kind == intent.kind) return true;
    }
    return false;
  }

  // Read anew after a change only: a step asks for them many times. Valid until the next change.
  const std::vector<v1::Reservation>& Reservations() {
    if (all_) return *all_;
    all_.emplace();
    live_.clear();
    Rows().reservations.Scan("", [&](std::string_view, const v1::Reservation& row) {
      all_->push_back(row);
      if (!IsTerminal(row.state())) live_.push_back(row);
      return true;
    });
    return *all_;
  }
  const std::vector<v1::Reservation>& Live() {
    Reservations();
    return live_;
  }

  v1::Event Decide(const v1::Command& command, const std::string& id) {
    scenario_.At(absl::FormatTime(absl::RFC3339_full, now_, absl::UTCTimeZone()));
    const Snapshot before = RowsOf(scenario_.journal());
    const v1::Event event = scenario_.When(command, id);
    all_.reset();
    ++sequence_;
    ++seen[event.GetDescriptor()->FindFieldByNumber(event.event_case())->name()];
    if (event.has_command_refused()) RC_ASSERT(RowsOf(scenario_.journal()) == before);
    Check(event);
    return event;
  }
  void Fact(const std::string& text) {
    scenario_.Given(text);
    all_.reset();
    ++sequence_;
  }
  std::string NextId() { return fmt::format("c-{}", ++commands_); }

  void Advance(const Step& step) {
    now_ += step.a % 4 == 0 ? absl::Minutes(7) : absl::Minutes(30) * (step.a % 3);
    // Mostly the timers are in time.
    if (step.b % 3 != 0) FireTimers();
  }

  // What is confirmed is not touched by what is proposed, nor by what becomes of a proposal.
  static std::string WithoutAmendment(std::optional<v1::Reservation> reservation) {
    if (reservation) reservation->clear_amendment();
    return reservation ? reservation->SerializeAsString() : "";
  }
  void Propose(const v1::Command& command, const std::string& name, bool confirm) {
    const std::string before = WithoutAmendment(Rows().reservations.Get(name));
    const v1::Event event = Decide(command, NextId());
    RC_ASSERT(WithoutAmendment(Rows().reservations.Get(name)) == before);
    if (!event.has_amendment_held()) return;
    if (!confirm) return ComeToNothing(event.amendment_held());
    v1::Command judged;
    judged.mutable_confirm_amendment()->set_reservation(name);
    judged.mutable_confirm_amendment()->set_amendment(event.amendment_held().amendment().name());
    const v1::Event confirmed = Decide(judged, NextId());
    if (!confirmed.has_amendment_confirmed()) return;
    const auto row = Rows().reservations.Get(name);
    RC_ASSERT(row->terms().SerializeAsString() ==
              confirmed.amendment_confirmed().amendment().terms().SerializeAsString());
    RC_ASSERT(row->servers_size() == row->terms().count());
    absl::Time until = runtime::ToTime(row->segments(0).start_time());
    for (const v1::Segment& segment : row->segments()) {
      RC_ASSERT(runtime::ToTime(segment.start_time()) == until);
      until = runtime::ToTime(segment.end_time());
    }
    RC_ASSERT(until == runtime::ToTime(row->terms().end_time()));
  }

  // Withdrawn or prohibited at once; the rest lapses, or something else becomes of it.
  void ComeToNothing(const v1::AmendmentHeld& held) {
    v1::Command command;
    switch (commands_ % 4) {
      case 0:
        command.mutable_withdraw_amendment()->set_name(held.reservation());
        break;
      case 1:
        command.mutable_drop_amendment()->set_reservation(held.reservation());
        command.mutable_drop_amendment()->set_amendment(held.amendment().name());
        command.mutable_drop_amendment()->set_detail("prohibited");
        break;
      default:
        return;
    }
    Decide(command, NextId());
  }

  void Extend(const Step& step) {
    const std::vector<v1::Reservation> all = Live();
    if (all.empty()) return;
    const v1::Reservation& one = all[step.a % all.size()];
    v1::Command command;
    v1::ExtendReservationRequest& request = *command.mutable_extend_reservation();
    request.set_name(one.name());
    *request.mutable_end_time() = runtime::ToTimestamp(runtime::ToTime(one.terms().end_time()) +
                                                       absl::Minutes(25) * (1 + step.b % 4));
    request.set_longest_feasible(step.c % 2 == 0);
    Propose(command, one.name(), step.c % 3 != 0);
  }

  void Amend(const Step& step) {
    const std::vector<v1::Reservation> all = Live();
    if (all.empty()) return;
    const v1::Reservation& one = all[step.a % all.size()];
    v1::Command command;
    v1::AmendReservationRequest& request = *command.mutable_amend_reservation();
    request.set_name(one.name());
    request.set_count(1 + step.b % 3);
    const auto moved = [&](const google::protobuf::Timestamp& time, int by) {
      return runtime::ToTimestamp(runtime::ToTime(time) + absl::Minutes(20) * by);
    };
    if (step.b % 4 == 0)
      *request.mutable_start_time() = moved(one.terms().start_time(), step.c % 4 - 1);
    if (step.b % 5 < 3) *request.mutable_end_time() = moved(one.terms().end_time(), step.c % 5 - 1);
    if (step.b % 7 == 0) request.set_model(step.c % 2 == 0 ? "models/other" : "models/m");
    Propose(command, one.name(), step.c % 3 != 0);
  }

  // What runs gives up nothing but what it has lost.
  void Accept(const Step& step) {
    const std::vector<v1::Reservation> all = Live();
    if (all.empty()) return;
    const v1::Reservation& one = all[step.a % all.size()];
    v1::Command command;
    command.mutable_accept_replacement()->set_name(one.name());
    const v1::Event event = Decide(command, NextId());
    if (!event.has_servers_reassigned()) return;
    const auto& reassigned = event.servers_reassigned();
    RC_ASSERT(one.state() == v1::RESERVATION_STATE_ACTIVE);
    RC_ASSERT(reassigned.servers_size() == one.servers_size());
    RC_ASSERT(reassigned.added_size() == reassigned.removed_size());
    const std::set<std::string> lost(one.lost_servers().begin(), one.lost_servers().end());
    for (const std::string& server : reassigned.removed()) RC_ASSERT(lost.contains(server));
  }

  // None at all, or less than an hour on each side.
  void SetMargins(const Step& step) {
    const bool none = step.a % 3 == 0;
    v1::Command command;
    v1::SetMarginsRequest& request = *command.mutable_set_margins();
    request.set_site(kSite);
    request.set_model(step.b % 4 == 0 ? "models/other" : "models/m");
    request.mutable_before()->set_seconds(none ? 0 : 600 * (step.b % 3));
    request.mutable_after()->set_seconds(none ? 0 : 600 * (step.c % 5));
    Decide(command, NextId());
  }

  // One that is about other customers alone is about one server: it is closed for good, unless a
  // later wave opens it. The others open within hours.
  void PlanWave(const Step& step) {
    v1::Command command;
    v1::PlanWaveRequest& request = *command.mutable_plan_wave();
    const std::string id = NextId();
    request.set_name(fmt::format("sites/paris/waves/{}", id));
    request.set_model("models/m");
    *request.mutable_start_time() = runtime::ToTimestamp(now_ + absl::Minutes(30) * (step.a % 6));
    if (step.b % 4 == 0) request.add_customers("customers/sap");
    if (step.b % 4 == 1) request.add_customers("customers/hsbc");
    if (step.b % 4 == 0 || step.c % 3 == 0) {
      request.add_servers(fmt::format("sites/paris/servers/s{}", step.c % 4));
    } else if (step.c % 3 == 1) {
      request.set_share_percent(25 * (1 + step.c % 4));
    }
    Decide(command, id);
  }

  void RecordServer(int i, bool bookable, bool lost) {
    Fact(fmt::format(
        R"(server_recorded {{ name: "sites/paris/servers/s{}" model: "models/{}" it_power_watts: 100 cooling_watts: 90
                        bookable: {} lost: {} }})",
        i, i < 4 ? "m" : "other", bookable && !lost, lost));
    Check({});
  }

  // A server that somebody has: somebody who uses it, where there is one.
  void Lose(const Step& step) {
    std::vector<v1::Reservation> all = Live();
    const auto others = std::stable_partition(all.begin(), all.end(), [](const auto& reservation) {
      return reservation.state() == v1::RESERVATION_STATE_ACTIVE;
    });
    if (others != all.begin()) all.erase(others, all.end());
    if (all.empty()) return;
    const auto& servers = all[step.a % all.size()].servers();
    if (servers.empty()) return;
    const std::string& server = servers[step.c % servers.size()];
    RecordServer(std::stoi(server.substr(server.rfind('s') + 1)), false, true);
    FireTimers();
  }

  void SetEnvelope(absl::Time from, int64_t power, int64_t cooling) {
    Fact(fmt::format(
        R"(envelope_recorded {{ site: "sites/paris" effective_from {{ seconds: {} }} it_power_watts: {}
            cooling_watts: {} }})",
        absl::ToUnixSeconds(from), power, cooling));
    history_.push_back({from, {power, cooling}});
  }
  void ChangeEnvelope(const Step& step) {
    const absl::Time from =
        kStart + absl::Hours(1) * (absl::ToInt64Hours(now_ - kStart) + step.a % 6);
    if (!only_grow_) return SetEnvelope(from, 100 + step.b % 400, 100 + step.c % 400);
    // A step that is lower than no later one and higher than every earlier one.
    const Watts last = EnvelopeOf(absl::InfiniteFuture());
    for (const auto& [begin, watts] : history_)
      if (begin > from) return;
    SetEnvelope(from, last.it_power + step.b % 60, last.cooling + step.c % 60);
  }
  // What the history says, without the rows: the latest beginning wins, and of equal ones the last
  // said.
  Watts EnvelopeOf(absl::Time at) const {
    Watts found;
    absl::Time since = absl::InfinitePast();
    for (const auto& [from, watts] : history_) {
      if (from <= at && from >= since) {
        found = watts;
        since = from;
      }
    }
    return found;
  }

  void Rollback(int events) {
    const uint64_t keep =
        sequence_ > static_cast<uint64_t>(events) + 20 ? sequence_ - events : sequence_;
    scenario_.journal().Rollback(keep + 1);
    all_.reset();
    // What was rolled back never happened; the oracle reads the envelope from the rows again.
    history_.clear();
    const auto site = Rows().site_records.Get(kSite);
    for (const auto& step : site->envelope()) {
      history_.push_back(
          {runtime::ToTime(step.effective_from()), {step.it_power_watts(), step.cooling_watts()}});
    }
    states_.clear();
    clean_from_.clear();
    proposed_.clear();
    Check({});
  }

  template <typename Fill>
  void About(const Step& step, Fill fill) {
    // Mostly to what lives.
    const std::vector<v1::Reservation> all = step.c % 4 == 0 ? Reservations() : Live();
    if (all.empty()) return;
    v1::Command command;
    fill(command, all[step.a % all.size()].name());
    Decide(command, NextId());
  }

  void Reserve(const Step& step, const std::string& order) {
    const absl::Time hour = kStart + absl::Hours(absl::ToInt64Hours(now_ - kStart) + 1);
    const absl::Time start = hour + absl::Minutes(30) * (step.a % 5);
    const Wish wish{
        .start = runtime::ToText(start),
        .end = runtime::ToText(start + absl::Minutes(30) * (1 + step.b % 5)),
        .count = 1 + step.c % 3,
        .contract = fmt::format("customers/hsbc/contracts/{}", step.c % 7 == 0 ? "narrow" : "wide"),
        .model = step.c % 5 == 0 ? "models/other" : "models/m"};
    const std::string id = NextId();
    const std::string wanted =
        fmt::format("{} {} {}", TermsText(wish), step.a % 8 != 0 ? "grace { seconds: 1200 }" : "",
                    step.b % 2 == 0 ? "min_count: 1" : "");
    const std::string text =
        order.empty()
            ? fmt::format(R"(reserve {{ site: "sites/paris" {} }})", wanted)
            : fmt::format(
                  R"(fulfil_order {{ order {{ name: "sites/borlange/orders/{}" site: "sites/paris"
                                       reservation: "sites/paris/reservations/{}" terms {{ {} }} }} }})",
                  id, id, wanted);
    const v1::Command command = test::Parse<v1::Command>(text);
    const v1::Terms terms =
        order.empty() ? test::Parse<v1::Terms>(wanted) : command.fulfil_order().order().terms();
    const std::set<v1::Reason> expected = Obstacles(terms);
    const std::vector<std::string> free = Free(terms, Closed(terms.model(), StartOf(terms)));
    const v1::Event event = Decide(command, id);
    if (expected.empty()) {
      RC_ASSERT(event.has_reservation_held());
      const auto& servers = event.reservation_held().servers();
      RC_ASSERT(std::vector<std::string>(servers.begin(), servers.end()) ==
                std::vector<std::string>(free.begin(), free.begin() + terms.count()));
      v1::Command confirm;
      confirm.mutable_confirm_reservation()->set_name(event.reservation_held().name());
      // Most are confirmed at once: what happens later is more interesting.
      if (step.c % 4 != 0) Decide(confirm, NextId());
    } else if (order.empty()) {
      RC_ASSERT(expected.count(event.command_refused().reason()) == 1);
      ++seen[v1::Reason_Name(event.command_refused().reason())];
    } else {
      RC_ASSERT(expected.count(event.order_declined().reason()) == 1);
    }
  }

  // The oracle's own decision.

  v1::Margins MarginsNow(const std::string& model) {
    v1::Margins found;
    const auto site = Rows().site_records.Get(kSite);
    for (const v1::MarginsSet& set : site->margins()) {
      if (set.model() == model) found = set.margins();
    }
    return found;
  }

  // What waves are about and none opens to the one customer, of what starts then.
  std::set<std::string> Closed(const std::string& model, absl::Time start) {
    std::vector<std::string> bookable;
    Rows().server_records.Scan("", [&](std::string_view name, const v1::ServerRecord& row) {
      if (row.server().bookable() && !row.server().lost() && row.server().model() == model)
        bookable.emplace_back(name);
      return true;
    });
    std::set<std::string> closed, open;
    Rows().waves.Scan("", [&](std::string_view, const v1::Wave& row) {
      const v1::WavePlanned& wave = row.plan();
      if (wave.model() != model) return true;
      std::vector<std::string> servers(wave.servers().begin(), wave.servers().end());
      if (servers.empty()) servers = bookable;
      closed.insert(servers.begin(), servers.end());
      const bool opens = wave.customers().empty() || wave.customers(0) == "customers/hsbc";
      if (!opens || start < runtime::ToTime(wave.start_time())) return true;
      if (wave.share_percent() > 0)
        servers.resize(servers.size() * static_cast<size_t>(wave.share_percent()) / 100);
      open.insert(servers.begin(), servers.end());
      return true;
    });
    for (const std::string& server : open) closed.erase(server);
    return closed;
  }

  std::vector<std::string> Free(const v1::Terms& terms, const std::set<std::string>& closed) {
    const Span span = Widened(terms, MarginsNow(terms.model()));
    std::vector<std::string> free;
    Rows().server_records.Scan("", [&](std::string_view name, const v1::ServerRecord& row) {
      bool is_free = row.server().bookable() && !row.server().lost() &&
                     row.server().model() == terms.model() && !closed.contains(std::string(name));
      for (const v1::Reservation& other : Live()) {
        if (Uses(other, std::string(name)) &&
            (IsLate(other, now_) || BlockedOf(other).Overlaps(span)))
          is_free = false;
        if (Proposes(other, std::string(name)) && ProposedOf(other).Overlaps(span)) is_free = false;
      }
      if (is_free) free.emplace_back(name);
      return true;
    });
    return free;
  }

  // Every instant at which use or envelope may be highest or lowest within the span.
  std::vector<absl::Time> Instants(const Span& span) {
    std::vector<absl::Time> instants{span.start};
    for (const v1::Reservation& other : Live()) {
      instants.push_back(SpanOf(other).start);
      instants.push_back(BlockedOf(other).start);
      if (!other.has_amendment()) continue;
      // Where one of the two begins or is over, more or less of the other counts.
      instants.push_back(ProposedOf(other).start);
      instants.push_back(ProposedUseOf(other).start);
      instants.push_back(BlockedOf(other).end);
      instants.push_back(SpanOf(other).end);
    }
    for (const auto& [from, watts] : history_) instants.push_back(from);
    instants.erase(std::remove_if(instants.begin(), instants.end(),
                                  [&](absl::Time at) { return at < span.start || at >= span.end; }),
                   instants.end());
    return instants;
  }

  // What is promised at an instant; with `late`, what runs beyond its end stays for ever.
  Watts UseAt(absl::Time at, bool late) {
    Watts use;
    for (const v1::Reservation& other : Live()) {
      const Span span = late ? BlockedOf(other) : PlannedOf(other);
      const bool in_use = span.start <= at && (at < span.end || (late && IsLate(other, now_)));
      if (in_use) use += {other.it_power_watts(), other.cooling_watts()};
      if (!other.has_amendment() || !Contains(ProposedOf(other), at)) continue;
      const v1::Amendment& amendment = other.amendment();
      const bool both = Contains(BlockedOf(other), at);
      use +=
          {std::max<int64_t>(0, amendment.it_power_watts() - (both ? other.it_power_watts() : 0)),
           std::max<int64_t>(0, amendment.cooling_watts() - (both ? other.cooling_watts() : 0))};
    }
    return use;
  }
  int64_t ContractUseAt(absl::Time at, const std::string& contract) {
    int64_t use = 0;
    for (const v1::Reservation& other : Live()) {
      const Span span = SpanOf(other);
      if (other.terms().contract() != contract) continue;
      const bool in_use = span.start <= at && at < span.end;
      if (in_use) use += other.terms().count();
      if (other.has_amendment() && Contains(ProposedUseOf(other), at))
        use +=
            std::max(0, other.amendment().terms().count() - (in_use ? other.terms().count() : 0));
    }
    return use;
  }

  // Every reason for which it may be refused; empty: it must be held.
  std::set<v1::Reason> Obstacles(const v1::Terms& terms) {
    const Span span{runtime::ToTime(terms.start_time()), runtime::ToTime(terms.end_time())};
    const int64_t most = terms.contract() == "customers/hsbc/contracts/narrow" ? 2 : 9;
    std::set<v1::Reason> obstacles;
    const v1::Margins margins = MarginsNow(terms.model());
    if (span.start - absl::Seconds(margins.before().seconds()) < now_ - absl::Seconds(60) &&
        margins.before().seconds() > 0)
      obstacles.insert(v1::REASON_MARGIN);
    const size_t count = static_cast<size_t>(terms.count());
    if (Free(terms, Closed(terms.model(), span.start)).size() < count) {
      const bool opened = Free(terms, {}).size() >= count;
      obstacles.insert(opened ? v1::REASON_WAVE : v1::REASON_NO_CAPACITY);
    }
    for (const absl::Time at : Instants(span)) {
      if (ContractUseAt(at, terms.contract()) + terms.count() > most)
        obstacles.insert(v1::REASON_CONTRACT);
    }
    for (const absl::Time at : Instants(Widened(terms, margins))) {
      const Watts use = UseAt(at, true);
      const Watts limit = EnvelopeOf(at);
      if (use.it_power + 100 * terms.count() > limit.it_power)
        obstacles.insert(v1::REASON_POWER_ENVELOPE);
      if (use.cooling + 90 * terms.count() > limit.cooling)
        obstacles.insert(v1::REASON_COOLING_ENVELOPE);
    }
    return obstacles;
  }

  // What must hold after every event.

  void Check(const v1::Event& event) {
    CheckServers();
    CheckCleaned(event);
    CheckWaves(event);
    CheckProposals(event);
    CheckContracts();
    CheckEnvelope(event);
    CheckStates();
    CheckDeadlines();
    CheckIndex();
  }

  Span AheadOf(const Span& span) const {
    return {std::max(span.start, now_), std::max(span.end, now_)};
  }

  void CheckServers() {
    const std::vector<v1::Reservation>& live = Live();
    for (size_t i = 0; i < live.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        // What has not begun uses nothing before now, though its time has come: a hold whose timer
        // is late is over.
        const Span one = AheadOf(PlannedOf(live[i]));
        const Span other = AheadOf(PlannedOf(live[j]));
        const bool at_once = one.Overlaps(other) || (Runs(live[i]) && Runs(live[j]));
        for (const std::string& server : live[i].servers())
          RC_ASSERT(!at_once || !Uses(live[j], server));
      }
      if (!live[i].has_amendment()) continue;
      for (size_t j = 0; j < live.size(); ++j) {
        if (j == i) continue;
        const bool overlaps = ProposedOf(live[i]).Overlaps(PlannedOf(live[j]));
        const bool both =
            live[j].has_amendment() && ProposedOf(live[i]).Overlaps(ProposedOf(live[j]));
        for (const std::string& server : live[i].amendment().servers()) {
          RC_ASSERT(!overlaps || !Uses(live[j], server));
          RC_ASSERT(!both || !Proposes(live[j], server));
        }
      }
    }
  }

  // No use begins before what was used before it is clean, however late that was vacated.
  void CheckCleaned(const v1::Event& event) {
    if (event.has_reservation_cleaning()) {
      const auto row = Rows().reservations.Get(event.reservation_cleaning().name());
      for (const std::string& server : row->servers())
        clean_from_[server] = now_ + absl::Seconds(row->margins().after().seconds());
    }
    for (const std::string& server : event.reservation_started().servers()) {
      const auto clean = clean_from_.find(server);
      const bool is_clean = clean == clean_from_.end() || clean->second <= now_;
      RC_ASSERT(is_clean);
    }
  }

  // Nobody is given what no wave opens to its customer. What was granted before a wave was planned
  // stays, unless it is to start sooner.
  void CheckWaves(const v1::Event& event) {
    if (event.has_reservation_held()) {
      const v1::ReservationHeld& held = event.reservation_held();
      const auto closed = Closed(held.terms().model(), StartOf(held.terms()));
      for (const std::string& server : held.servers()) RC_ASSERT(!closed.contains(server));
    }
    if (event.has_amendment_held()) {
      const v1::Amendment& amendment = event.amendment_held().amendment();
      const auto row = Rows().reservations.Get(event.amendment_held().reservation());
      const absl::Time start = amendment.has_effective_time()
                                   ? runtime::ToTime(amendment.effective_time())
                                   : StartOf(amendment.terms());
      const auto closed = Closed(amendment.terms().model(), start);
      for (const std::string& server : amendment.servers()) {
        const bool stays = Uses(*row, server) && start >= StartOf(row->terms());
        RC_ASSERT(stays || !closed.contains(server));
      }
    }
    if (event.has_servers_reassigned()) {
      const v1::ServersReassigned& reassigned = event.servers_reassigned();
      const auto row = Rows().reservations.Get(reassigned.reservation());
      const auto closed = Closed(row->terms().model(), std::max(StartOf(row->terms()), now_));
      const std::set<std::string> own(reassigned.removed().begin(), reassigned.removed().end());
      for (const std::string& server : reassigned.added())
        RC_ASSERT(own.contains(server) || !closed.contains(server));
    }
  }

  // Without what befalls servers that are lost or come back, and a start that has to wait.
  static std::string WithoutMishaps(v1::Reservation row) {
    row.clear_lost_servers();
    row.clear_outages();
    row.clear_heal_time();
    row.clear_heals();
    row.clear_heal_occasions();
    row.clear_offered_servers();
    row.clear_retry_time();
    row.clear_delays();
    row.clear_detail();
    return row.SerializeAsString();
  }
  // A proposal that is dropped, lapses or is withdrawn leaves the reservation as it was before it;
  // but for mishaps, nothing changes it meanwhile.
  void CheckProposals(const v1::Event& event) {
    for (auto known = proposed_.begin(); known != proposed_.end();) {
      auto& [name, before] = *known;
      v1::Reservation row = Rows().reservations.Get(name).value_or(v1::Reservation());
      const bool pending = row.has_amendment();
      const bool dropped = event.amendment_dropped().reservation() == name;
      row.clear_amendment();
      if (!pending && !dropped) {  // it was confirmed, or the reservation is over
        known = proposed_.erase(known);
        continue;
      }
      const bool mishap = event.event_case() == v1::Event::EVENT_NOT_SET ||
                          event.reservation_delayed().name() == name;
      // Others are looked for now that it kept waiting: the one thing that differs.
      if (dropped && row.has_heal_time()) before.set_heal_occasions(before.heal_occasions() + 1);
      RC_ASSERT(WithoutMishaps(row) == WithoutMishaps(before));
      RC_ASSERT(mishap || row.SerializeAsString() == before.SerializeAsString());
      before = std::move(row);
      if (dropped) ++seen[v1::Reason_Name(event.amendment_dropped().reason())];
      known = dropped ? proposed_.erase(known) : std::next(known);
    }
    if (!event.has_amendment_held()) return;
    const std::string& name = event.amendment_held().reservation();
    proposed_[name] = Rows().reservations.Get(name).value_or(v1::Reservation());
    proposed_[name].clear_amendment();
  }

  void CheckContracts() {
    for (const v1::Reservation& reservation : Live()) {
      const std::string& contract = reservation.terms().contract();
      const int64_t most = contract == "customers/hsbc/contracts/narrow" ? 2 : 9;
      for (const absl::Time at : Instants(SpanOf(reservation)))
        RC_ASSERT(ContractUseAt(at, contract) <= most);
    }
  }

  void CheckEnvelope(const v1::Event& event) {
    if (only_grow_) {
      for (const absl::Time at : Instants({kStart, absl::InfiniteFuture()})) {
        RC_ASSERT(UseAt(at, false).it_power <= EnvelopeOf(at).it_power);
        RC_ASSERT(UseAt(at, false).cooling <= EnvelopeOf(at).cooling);
      }
    }
    if (event.has_reservation_held()) {
      const Span span = BlockedOf(*Rows().reservations.Get(event.reservation_held().name()));
      for (const absl::Time at : Instants(span)) {
        RC_ASSERT(UseAt(at, true).it_power <= EnvelopeOf(at).it_power);
        RC_ASSERT(UseAt(at, true).cooling <= EnvelopeOf(at).cooling);
      }
    }
    if (event.has_reservation_started()) {
      Watts use;
      for (const v1::Reservation& other : Live()) {
        if (Runs(other)) use += {other.it_power_watts(), other.cooling_watts()};
      }
      RC_ASSERT(use.it_power <= EnvelopeOf(now_).it_power);
      RC_ASSERT(use.cooling <= EnvelopeOf(now_).cooling);
    }
  }

  void CheckStates() {
    for (const v1::Reservation& reservation : Reservations()) {
      const auto before = states_.find(reservation.name());
      if (before != states_.end() && IsTerminal(before->second))
        RC_ASSERT(reservation.state() == before->second);
      states_[reservation.name()] = reservation.state();
    }
  }

  void CheckDeadlines() {
    std::set<std::string> expected;
    std::set<std::string> delayed;
    for (const v1::Reservation& reservation : Reservations()) {
      if (const auto deadline = DeadlineOf(reservation))
        expected.insert(DeadlineKey(*deadline, reservation.name()));
      if (reservation.has_retry_time()) delayed.insert(reservation.name());
    }
    const auto keys = [](const auto& table) {
      std::set<std::string> keys;
      table.Scan("", [&](std::string_view key, const auto&) {
        keys.emplace(key);
        return true;
      });
      return keys;
    };
    RC_ASSERT(keys(Rows().deadlines) == expected);
    RC_ASSERT(keys(Rows().delayed) == delayed);
  }

  void CheckIndex() {
    Index rebuilt;
    scenario_.journal().Scan("", [&](std::string_view key, std::string_view value) {
      rebuilt.Apply({std::string(key), std::nullopt, std::string(value)});
      return true;
    });
    RC_ASSERT(rebuilt == scenario_.state().index);
  }

  const bool only_grow_;
  test::Scenario<Service> scenario_;
  std::optional<std::vector<v1::Reservation>> all_;  // the rows, where they have been read
  std::vector<v1::Reservation> live_;                // of those, what is not over
  absl::Time now_ = kStart;
  uint64_t sequence_ = 0;
  int commands_ = 0;
  std::vector<std::pair<absl::Time, Watts>> history_;
  std::map<std::string, v1::ReservationState> states_;
  std::map<std::string, absl::Time> clean_from_;
  std::map<std::string, v1::Reservation> proposed_;  // as it was before its pending amendment
};

// Properties of histories in which nothing happens would prove nothing. A kind of event that was
// seen less than five times; empty where there is none.
std::string SeenSeldom(const std::map<std::string, int>& seen) {
  for (const char* event : {"reservation_held",
                            "reservation_confirmed",
                            "reservation_declined",
                            "hold_lapsed",
                            "reservation_started",
                            "reservation_delayed",
                            "reservation_ending",
                            "reservation_ended",
                            "reservation_cancelled",
                            "order_declined",
                            "command_refused",
                            "margins_set",
                            "reservation_cleaning",
                            "amendment_held",
                            "amendment_confirmed",
                            "amendment_dropped",
                            "reservation_grace_started",
                            "reservation_released",
                            "reservation_revoked",
                            "servers_missing",
                            "servers_reassigned",
                            "replacement_offered",
                            "wave_planned",
                            "REASON_WITHDRAWN",
                            "REASON_COMPLIANCE",
                            "REASON_HOLD_LAPSED",
                            "REASON_WAVE"}) {
    const auto found = seen.find(event);
    if (found == seen.end() || found->second < 5) return event;
  }
  return "";
}

// Chance decides what happens in a hundred worlds: they go on until everything has, ten times as
// many at most.
void LiveManyLives(bool envelopes_only_grow) {
  std::map<std::string, int> seen;
  for (int round = 0; round < 10 && !SeenSeldom(seen).empty(); ++round) {
    ASSERT_TRUE(rc::check([&] {
      World world(envelopes_only_grow);
      // RapidCheck draws the same steps in every round, so they come to mean others.
      const auto steps = *Steps();
      for (const Step& step : steps)
        world.Do({step.what + round, step.a + 3 * round, step.b + round, step.c});
      world.FireTimers();
      for (const auto& [event, count] : world.seen) seen[event] += count;
    }));
  }
  EXPECT_EQ(SeenSeldom(seen), "");
}

TEST(ReservationProperties, NothingIsEverGivenTwiceOrAboveAnyLimit) { LiveManyLives(true); }

TEST(ReservationProperties, NoDecisionExceedsAnEnvelopeThatShrinksMeanwhile) {
  LiveManyLives(false);
}

}  // namespace
}  // namespace concordat::reservations
