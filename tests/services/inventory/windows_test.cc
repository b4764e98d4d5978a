#include "services/inventory/windows.h"

#include <fmt/format.h>

#include <map>

#include "services/inventory/service.h"
#include "services/runtime/check.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kWindow[] = "sites/paris/windows/w";
constexpr char kDawn[] = "2027-01-01T09:00:00Z";   // when it is planned
constexpr char kStart[] = "2027-01-02T10:00:00Z";  // when it begins; consent is due by then
constexpr char kEnd[] = "2027-01-02T12:00:00Z";

std::string Seconds(const std::string& rfc3339) {
  return fmt::format("seconds: {}", absl::ToUnixSeconds(test::Time(rfc3339)));
}

std::string Refusal(v1::Reason reason) {
  return fmt::format("command_refused {{ reason: {} }}", v1::Reason_Name(reason));
}

struct Plan {
  std::string name = kWindow;
  std::string servers = R"(servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2")";
  std::string window_class = "WINDOW_CLASS_PLANNED";
  std::string overrun = "OVERRUN_POLICY_FINISH";
  std::string work = R"(work: "look at the manifold" retest_work: "replace tray 3")";
  std::string more;
  std::string start = kStart;
  std::string end = kEnd;
};

std::string Propose(const Plan& plan) {
  return fmt::format(
      R"(propose_window {{ name: "{}" {} start_time {{ {} }} end_time {{ {} }} window_class: {} {}
                           overrun: {} {} }})",
      plan.name, plan.servers, Seconds(plan.start), Seconds(plan.end), plan.window_class, plan.work,
      plan.overrun, plan.more);
}

const Plan kEmergency{.window_class = "WINDOW_CLASS_EMERGENCY",
                      .more = R"(basis_kind: BASIS_KIND_OPERATIONAL basis: "coolant leak")"};

// Paris at dawn, with servers s1 to s3 in service.
struct Paris : test::Scenario<Service> {
  Paris() {
    At(kDawn).Given(R"(site_opened { name: "sites/paris" country: "FR" })");
    for (int i = 1; i <= 3; ++i) {
      Given(fmt::format(
          R"(server_entered_service {{ name: "sites/paris/servers/s{}" model: "models/m" }})", i));
    }
  }

  Paris& At(const std::string& rfc3339) {
    Scenario::At(rfc3339);
    return *this;
  }
  // A command that has the window's name, and maybe more.
  v1::Event Do(const std::string& command, const std::string& more = {},
               const std::string& window = kWindow) {
    return When(fmt::format("{} {{ name: \"{}\" {} }}", command, window, more),
                fmt::format("{}-{}", command, ++sent_));
  }
  v1::Event Affects(const std::string& affected = R"(
      affected { reservation: "sites/paris/reservations/r-1" customer: "customers/hsbc" needs_consent: true }
      affected { reservation: "sites/paris/reservations/r-2" customer: "customers/volvo" needs_consent: true })") {
    return When(
        fmt::format("record_affected {{ affected {{ name: \"{}\" {} }} }}", kWindow, affected),
        fmt::format("affected-{}", ++sent_));
  }
  v1::Event Consents(const std::string& customer, const std::string& more = {}) {
    return Do("consent_to_window", fmt::format("customer: \"customers/{}\" {}", customer, more));
  }
  v1::Window Row() { return state().rows.windows.Get(kWindow).value_or(v1::Window()); }
  std::string Case(const v1::Event& event) {
    if (event.has_command_refused())
      return v1::Reason_Name(event.command_refused().reason()).substr(7);
    return event.GetDescriptor()->FindFieldByNumber(event.event_case())->name();
  }

 private:
  int sent_ = 0;
};

// A site whose window stands in the state, at a time at which it typically does.
void Bring(Paris& paris, v1::WindowState state) {
  if (state == v1::WINDOW_STATE_UNSPECIFIED) return;
  paris.When(Propose({}));
  if (state == v1::WINDOW_STATE_PROPOSED) return;
  if (state == v1::WINDOW_STATE_CANCELLED) {
    paris.Do("cancel_window", R"(reason: "later")");
    return;
  }
  paris.Do("announce_window");
  paris.Affects();
  if (state == v1::WINDOW_STATE_ANNOUNCED) return;
  paris.Consents("hsbc");
  paris.Consents("volvo");
  paris.At(kStart);
  if (state == v1::WINDOW_STATE_CONSENTED) return;
  paris.Do("open_window");
  if (state == v1::WINDOW_STATE_CLOSED) paris.Do("close_window");
  if (state == v1::WINDOW_STATE_ABORTED) paris.Do("abort_window", R"(reason: "no part")");
  if (state == v1::WINDOW_STATE_OVERRUNNING) paris.At(kEnd).Do("advance_window");
}

TEST(Windows, EveryCommandInEveryState) {
  const std::vector<std::pair<std::string, std::string>> commands = {
      {"propose_window", ""},
      {"add_work", R"(text: "more")"},
      {"announce_window", ""},
      {"record_affected", ""},
      {"consent_to_window", R"(customer: "customers/hsbc")"},
      {"refuse_window", R"(customer: "customers/hsbc" reason: "quarter end")"},
      {"open_window", ""},
      {"record_drained", ""},
      {"close_window", ""},
      {"abort_window", R"(reason: "no part")"},
      {"cancel_window", R"(reason: "later")"},
      {"advance_window", ""}};
  const std::string wrong = "WRONG_STATE";
  const std::string none = "NOT_FOUND";
  const std::string known = "ALREADY_EXISTS";
  // In the order of the commands.
  const std::map<v1::WindowState, std::vector<std::string>> expected = {
      {v1::WINDOW_STATE_UNSPECIFIED,
       {"window_proposed", none, none, none, none, none, none, none, none, none, none, none}},
      {v1::WINDOW_STATE_PROPOSED,
       {known, "window_work_added", "window_announced", wrong, wrong, wrong, wrong, wrong, wrong,
        wrong, "window_cancelled", "TIME"}},
      {v1::WINDOW_STATE_ANNOUNCED,
       {known, "window_work_added", wrong, "window_affected_recorded", "window_consent_given",
        "window_consent_refused", "CONSENT_MISSING", wrong, wrong, wrong, "window_cancelled",
        "TIME"}},
      // Its customers had their time.
      {v1::WINDOW_STATE_CONSENTED,
       {known, "TIME", wrong, "window_affected_recorded", "TIME", "TIME", "window_opened", wrong,
        wrong, wrong, "window_cancelled", "window_opened"}},
      {v1::WINDOW_STATE_OPEN,
       {known, wrong, wrong, "window_affected_recorded", wrong, wrong, wrong, "window_drained",
        "window_closed", "window_aborted", wrong, "TIME"}},
      {v1::WINDOW_STATE_OVERRUNNING,
       {known, wrong, wrong, "window_affected_recorded", wrong, wrong, wrong, "window_drained",
        "window_closed", "window_aborted", wrong, wrong}},
      {v1::WINDOW_STATE_CLOSED,
       {known, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong}},
      {v1::WINDOW_STATE_ABORTED,
       {known, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong}},
      {v1::WINDOW_STATE_CANCELLED,
       {known, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong, wrong}}};
  ASSERT_EQ(expected.size(), static_cast<size_t>(v1::WindowState_ARRAYSIZE));
  for (const auto& [state, outcomes] : expected) {
    ASSERT_EQ(outcomes.size(), commands.size());
    for (size_t i = 0; i < commands.size(); ++i) {
      Paris paris;
      Bring(paris, state);
      ASSERT_EQ(paris.Row().state(), state) << paris.Row().ShortDebugString();
      const auto& [command, more] = commands[i];
      const v1::Event event = command == "propose_window"    ? paris.When(Propose({}))
                              : command == "record_affected" ? paris.Affects()
                                                             : paris.Do(command, more);
      EXPECT_EQ(paris.Case(event), outcomes[i])
          << command << " while " << v1::WindowState_Name(state) << ": "
          << event.ShortDebugString();
    }
  }
}

TEST(Windows, AProposalNumbersItsWorkAndAsksForConsentUntilItsStart) {
  Paris paris;
  EXPECT_THAT(paris.When(Propose({})), HasText(fmt::format(R"(window_proposed {{
      servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2"
      work {{ number: 1 text: "look at the manifold" }} work {{ number: 2 text: "replace tray 3" retest: true }}
      consent_by {{ {} }} }})",
                                                           Seconds(kStart))));
  EXPECT_EQ(paris.Row().revision(), 1);
}

TEST(Windows, AProposalNeedsServersOfThisSiteAndAStartToCome) {
  Paris paris;
  EXPECT_THAT(paris.When(Propose({.servers = R"(servers: "sites/paris/servers/s9")"})),
              HasText(Refusal(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(paris.When(Propose({.servers = R"(servers: "sites/lyon/servers/s1")"})),
              HasText(Refusal(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.When(Propose({.name = "sites/lyon/windows/w"})),
              HasText(Refusal(v1::REASON_NOT_HOME)));
  EXPECT_THAT(paris.When(Propose({.start = "2027-01-01T08:58:00Z"})),
              HasText(Refusal(v1::REASON_TIME)));
}

TEST(Windows, APlannedWindowKeepsItsNoticeAndOneThatCustomersAskedForNeedsNone) {
  Paris paris;
  paris.When(Propose({.more = "notice_days: 2"}));
  const v1::Event refused = paris.Do("announce_window");
  EXPECT_THAT(refused, HasText(Refusal(v1::REASON_NOTICE)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("expected 2027-01-03T09:00:00Z"));
  paris.When(Propose({.name = "sites/paris/windows/w2",
                      .window_class = "WINDOW_CLASS_CUSTOMER_AGREED",
                      .more = "notice_days: 2"}));
  EXPECT_TRUE(paris.Do("announce_window", "", "sites/paris/windows/w2").has_window_announced());
}

TEST(Windows, AServerIsInOneAnnouncedWindowAtATime) {
  Paris paris;
  paris.When(Propose({}));
  paris.Do("announce_window");
  const std::string other = "sites/paris/windows/w2";
  paris.When(Propose({.name = other, .servers = R"(servers: "sites/paris/servers/s2")"}));
  const v1::Event refused = paris.Do("announce_window", "", other);
  EXPECT_THAT(refused, HasText(Refusal(v1::REASON_WINDOW_OVERLAP)));
  EXPECT_THAT(refused.command_refused().detail(), HasSubstr("sites/paris/servers/s2 is in"));
  paris.Do("cancel_window", R"(reason: "later")");
  EXPECT_TRUE(paris.Do("announce_window", "", other).has_window_announced());
}

TEST(Windows, AnEmergencyMayOverlapAnotherWindow) {
  Paris paris;
  paris.When(Propose({}));
  paris.Do("announce_window");
  Plan leak = kEmergency;
  leak.name = "sites/paris/windows/leak";
  paris.When(Propose(leak));
  EXPECT_TRUE(paris.Do("announce_window", "", leak.name).has_window_announced());
}

TEST(Windows, NobodyAffectedMeansNobodyIsAsked) {
  Paris paris;
  paris.When(Propose({}));
  paris.Do("announce_window");
  EXPECT_THAT(paris.Affects(""), HasText("window_affected_recorded { consented: true }"));
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_CONSENTED);
}

TEST(Windows, TheLastConsentIsTheOneThatCompletesIt) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  EXPECT_THAT(paris.Row().missing_consents(), ElementsAre("customers/hsbc", "customers/volvo"));
  EXPECT_THAT(paris.Consents("hsbc"), EqualsText(fmt::format(R"(window_consent_given {{
      name: "{}" customer: "customers/hsbc" revision: 1 }})",
                                                             kWindow)));
  EXPECT_THAT(paris.Row().missing_consents(), ElementsAre("customers/volvo"));
  EXPECT_THAT(paris.Consents("volvo", "relocation: true"),
              HasText("window_consent_given { relocation: true consented: true }"));
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_CONSENTED);
  EXPECT_THAT(paris.Row(),
              HasText(R"(consents { customer: "customers/hsbc" given: true actor: "alice" }
                         consents { customer: "customers/volvo" given: true relocation: true })"));
}

TEST(Windows, OneWhoIsNotAffectedHasNothingToConsentTo) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  EXPECT_THAT(paris.Consents("ikea"), HasText(Refusal(v1::REASON_NOT_AFFECTED)));
}

TEST(Windows, AConsentToAMoveIsWithdrawnByWhateverIsSaidLater) {
  for (const char* later : {"consent", "refusal", "work"}) {
    Paris paris;
    Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
    EXPECT_FALSE(
        paris.Consents("hsbc", "relocation: true").window_consent_given().relocation_withdrawn());
    const std::string what = later;
    if (what == "consent") {
      EXPECT_TRUE(paris.Consents("hsbc").window_consent_given().relocation_withdrawn());
    }
    if (what == "refusal") {
      EXPECT_THAT(paris.Do("refuse_window", R"(customer: "customers/hsbc" reason: "late")"),
                  HasText("window_consent_refused { relocation_withdrawn: true }"));
    }
    if (what == "work") {
      EXPECT_THAT(paris.Do("add_work", R"(text: "more")"),
                  HasText(R"(window_work_added { voided_relocations: "customers/hsbc" })"));
    }
    EXPECT_FALSE(paris.Consents("hsbc").window_consent_given().relocation_withdrawn()) << later;
  }
}

TEST(Windows, NobodyConsentsToAMoveThatItsContractNeverAllows) {
  Paris paris;
  paris.When(Propose({}));
  paris.Do("announce_window");
  paris.Affects(R"(affected { reservation: "sites/paris/reservations/r-1" customer: "customers/hsbc"
                              needs_consent: true active: true never_moved: true })");
  EXPECT_THAT(paris.Consents("hsbc", "relocation: true"), HasText(Refusal(v1::REASON_NEVER_MOVED)));
  EXPECT_THAT(paris.Consents("hsbc"), HasText("window_consent_given { consented: true }"));
}

TEST(Windows, ARefusalKeepsItShutAndSaysByWhom) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  paris.Consents("hsbc");
  paris.Do("refuse_window", R"(customer: "customers/volvo" reason: "quarter end")");
  const v1::Event refused = paris.Do("open_window");
  EXPECT_THAT(refused, HasText(Refusal(v1::REASON_CONSENT_REFUSED)));
  EXPECT_THAT(refused.command_refused().detail(),
              HasSubstr("customers/volvo refused: quarter end"));
  EXPECT_THAT(paris.Consents("volvo"), HasText("window_consent_given { consented: true }"))
      << "it may consent after all";
}

TEST(Windows, AConsentMayBeWithdrawnWhileThereIsTime) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  paris.Consents("hsbc");
  paris.Consents("volvo");
  paris.Do("refuse_window", R"(customer: "customers/hsbc" reason: "a run is late")");
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_ANNOUNCED);
  EXPECT_THAT(paris.Row().missing_consents(), ElementsAre("customers/hsbc"));
}

TEST(Windows, MoreWorkNeedsConsentAgain) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  paris.Consents("hsbc");
  paris.Consents("volvo");
  EXPECT_THAT(paris.Do("add_work", R"(text: "new firmware" retest: true)"),
              EqualsText(fmt::format(R"(window_work_added {{
      name: "{}" item {{ number: 3 text: "new firmware" retest: true }} revision: 2
      voided_customers: "customers/hsbc" voided_customers: "customers/volvo" }})",
                                     kWindow)));
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_ANNOUNCED);
  EXPECT_THAT(paris.Row().missing_consents(), ElementsAre("customers/hsbc", "customers/volvo"));
  EXPECT_THAT(paris.At(kStart).Do("open_window"), HasText(Refusal(v1::REASON_CONSENT_MISSING)));
}

TEST(Windows, ConsentIsGivenToTheWholeWorkListAndWorkThatIsDoneUsesNoneOfItUp) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_OPEN);
  EXPECT_THAT(paris.Do("close_window"), EqualsText(fmt::format(R"(window_closed {{ name: "{}"
      servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s2" done: 1 done: 2 retest: true }})",
                                                               kWindow)));
}

TEST(Windows, OnlyWorkThatWasDoneDemandsABurnIn) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_OPEN);
  EXPECT_THAT(paris.Do("close_window", "done: 3"), HasText(Refusal(v1::REASON_NOT_FOUND)));
  const v1::Event closed = paris.Do("close_window", "done: 1");
  EXPECT_FALSE(closed.window_closed().retest()) << closed.ShortDebugString();
  EXPECT_THAT(paris.Row().done(), ElementsAre(1));
}

TEST(Windows, TheBurnInOfServersWhoseWorkAsksForItIsStale) {
  Paris paris;
  paris.Given(
      R"(burn_in_passed { name: "sites/paris/servers/s1" plan: "plans/p" in_service: true })");
  Bring(paris, v1::WINDOW_STATE_OPEN);
  paris.Do("close_window", "done: 2");
  EXPECT_THAT(*paris.state().rows.servers.Get("sites/paris/servers/s1"),
              HasText("state: SERVER_STATE_IN_SERVICE evidence { stale: STALE_CAUSE_WORK }"));
}

TEST(Windows, ConsentThatIsMissingAtItsTimeCancelsTheWindow) {
  Paris paris;
  paris.When(
      Propose({.more = fmt::format("consent_by {{ {} }}", Seconds("2027-01-02T00:00:00Z"))}));
  paris.Do("announce_window");
  paris.Affects();
  paris.Consents("volvo");
  ASSERT_EQ(paris.DueAt("2027-01-01T23:59:59Z").size(), 0u);
  const auto due = paris.DueAt("2027-01-02T00:00:00Z");
  ASSERT_EQ(due.size(), 1u);
  EXPECT_THAT(paris.At("2027-01-02T00:00:00Z").When(due[0].command, "timer"),
              HasText(R"(window_consent_lapsed { missing: "customers/hsbc" detail:
        "At 2027-01-02T00:00:00Z: sites/paris/windows/w lacks the consent of customers/hsbc to work list 1." })"));
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_CANCELLED);
  EXPECT_TRUE(paris.DueAt("9999-01-01T00:00:00Z").empty());
}

// What a timer asks for under an id is never decided again.
TEST(Windows, ATimerThatWasRefusedIsAnotherCommandOnceItIsKnownAnewWhoIsAffected) {
  const std::string at = "2027-01-02T00:00:00Z";
  Paris paris;
  paris.When(Propose({.more = fmt::format("consent_by {{ {} }}", Seconds(at))}));
  paris.Do("announce_window");
  paris.Affects();
  const auto due = paris.At(at).DueAt(at);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_THAT(paris.Affects(""), HasText("window_affected_recorded { consented: true }"));
  EXPECT_THAT(paris.When(due[0].command, "timer"), HasText(Refusal(v1::REASON_TIME)));
  paris.Affects();
  const auto again = paris.DueAt(at);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].kind, due[0].kind);
  EXPECT_EQ(again[0].subject, due[0].subject);
  EXPECT_NE(again[0].deadline, due[0].deadline);
  EXPECT_TRUE(paris.When(again[0].command, "again").has_window_consent_lapsed());
}

TEST(Windows, AReservationThatAppearsLaterTakesTheConsentBack) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  paris.Consents("hsbc");
  paris.Consents("volvo");
  paris.Affects(R"(affected { customer: "customers/ikea" needs_consent: true })");
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_ANNOUNCED);
  paris.Affects(R"(affected { customer: "customers/volvo" needs_consent: true })");
  EXPECT_EQ(paris.Row().state(), v1::WINDOW_STATE_CONSENTED);
}

TEST(Windows, TheTimerOpensItAndItsServersAreCordonedAndGivenBack) {
  Paris paris;
  paris.Given(R"(server_cordoned { name: "sites/paris/servers/s1" reason: "noise" })");
  Bring(paris, v1::WINDOW_STATE_CONSENTED);
  const auto due = paris.DueAt(kStart);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_THAT(paris.When(due[0].command, "timer"), HasText(R"(window_opened {
      consented_customers: "customers/hsbc" consented_customers: "customers/volvo" })"));
  const auto cordons = paris.Reactions();
  ASSERT_EQ(cordons.size(), 1u) << "s1 is cordoned already";
  EXPECT_TRUE(paris.When(cordons[0].command, "cordon").has_server_cordoned());
  EXPECT_TRUE(paris.Do("close_window").has_window_closed());
  const auto uncordons = paris.Reactions();
  ASSERT_EQ(uncordons.size(), 1u) << "s1 stays cordoned, for another reason";
  EXPECT_EQ(uncordons[0].subject, "sites/paris/servers/s2");
  EXPECT_TRUE(paris.When(uncordons[0].command, "uncordon").has_server_uncordoned());
}

TEST(Windows, AServerThatAnotherWindowStillWorksOnStaysCordoned) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_OPEN);
  for (const auto& intent : paris.Reactions()) paris.When(intent.command, intent.subject);
  Plan leak = kEmergency;
  leak.name = "sites/paris/windows/leak";
  leak.servers = R"(servers: "sites/paris/servers/s2")";
  paris.When(Propose(leak));
  paris.Do("announce_window", "", leak.name);
  ASSERT_TRUE(paris.Do("open_window", "", leak.name).has_window_opened());
  paris.Do("close_window");
  const auto first = paris.Reactions();
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0].subject, "sites/paris/servers/s1");
  paris.Do("close_window", "", leak.name);
  const auto second = paris.Reactions();
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].subject, "sites/paris/servers/s2");
}

TEST(Windows, AtItsEndItOverrunsOrIsBrokenOffAsItWasPlanned) {
  for (const auto& [policy, expected] : {std::pair("OVERRUN_POLICY_FINISH", "window_overrunning"),
                                         std::pair("OVERRUN_POLICY_ABORT", "window_aborted")}) {
    Paris paris;
    paris.When(Propose({.overrun = policy}));
    paris.Do("announce_window");
    paris.Affects("");
    paris.At(kStart).Do("open_window");
    const auto due = paris.DueAt(kEnd);
    ASSERT_EQ(due.size(), 1u);
    const v1::Event event = paris.At(kEnd).When(due[0].command, "timer");
    EXPECT_EQ(paris.Case(event), expected);
    EXPECT_TRUE(paris.DueAt("9999-01-01T00:00:00Z").empty());
    if (event.has_window_aborted()) {
      EXPECT_TRUE(event.window_aborted().retest()) << "nobody knows how far the work came";
    }
  }
}

TEST(Windows, AnEmergencyOpensWithoutConsentAndItsBasisIsInTheRecord) {
  Paris paris;
  paris.When(Propose(kEmergency));
  paris.Do("announce_window");
  paris.At(kStart);
  EXPECT_THAT(paris.Do("open_window"),
              HasText(R"(window_opened { window_class: WINDOW_CLASS_EMERGENCY
                         basis_kind: BASIS_KIND_OPERATIONAL basis: "coolant leak" })"))
      << "reservations has not even said whom it affects";
  EXPECT_TRUE(paris.Affects().has_window_affected_recorded());
  EXPECT_EQ(paris.Row().affected_size(), 2);
}

TEST(Windows, NoWindowOpensBeforeItsStartOrAfterItsEnd) {
  Paris paris;
  paris.When(Propose({}));
  paris.Do("announce_window");
  paris.Affects("");
  EXPECT_THAT(paris.Do("open_window"), HasText(Refusal(v1::REASON_TIME)));
  paris.At(kEnd);
  EXPECT_THAT(paris.Do("open_window"), HasText(Refusal(v1::REASON_TIME)));
  EXPECT_THAT(paris.Do("advance_window"), HasText("window_cancelled {}"))
      << "a timer that comes too late ends the wait";
}

TEST(Windows, WhatWasNotAnnouncedBeforeItsStartIsCancelled) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_PROPOSED);
  const auto due = paris.DueAt(kStart);
  ASSERT_EQ(due.size(), 1u);
  EXPECT_TRUE(paris.At(kStart).When(due[0].command, "timer").has_window_cancelled());
}

TEST(Windows, WhatReservationsSaysIsNotedAsItIs) {
  Paris paris;
  Bring(paris, v1::WINDOW_STATE_ANNOUNCED);
  const auto noted = paris.ReactionsTo(test::Parse<reservations::v1::Event>(R"(window_affects {
      window: "sites/paris/windows/w" affected { reservation: "sites/paris/reservations/r-1"
      customer: "customers/hsbc" servers: "sites/paris/servers/s1" active: true needs_consent: true
      free_servers: "sites/paris/servers/s3" start_time { seconds: 7 } end_time { seconds: 9 } } })"));
  ASSERT_EQ(noted.size(), 1u);
  EXPECT_THAT(paris.When(noted[0].command, "noted"), EqualsText(R"(window_affected_recorded {
      name: "sites/paris/windows/w" affected { reservation: "sites/paris/reservations/r-1"
      customer: "customers/hsbc" servers: "sites/paris/servers/s1" active: true needs_consent: true
      free_servers: "sites/paris/servers/s3" start_time { seconds: 7 } end_time { seconds: 9 } } })"));
}

TEST(Windows, TheirCommandsAreCheckedByTheirBytes) {
  const auto check = [](const std::string& text) {
    return std::string(Validate(test::Parse<v1::Command>(text)).message());
  };
  EXPECT_EQ(check(Propose({})), "");
  EXPECT_EQ(check(Propose(kEmergency)), "");
  EXPECT_THAT(check(Propose({.window_class = "WINDOW_CLASS_EMERGENCY"})), HasSubstr("basis_kind"));
  EXPECT_THAT(check(Propose({.more = R"(basis: "x")"})), HasSubstr("basis"));
  EXPECT_THAT(check(Propose({.work = ""})), HasSubstr("work"));
  EXPECT_THAT(check(Propose({.servers = ""})), HasSubstr("servers"));
  EXPECT_THAT(
      check(Propose(
          {.servers = R"(servers: "sites/paris/servers/s1" servers: "sites/paris/servers/s1")"})),
      HasSubstr("servers[1]"));
  EXPECT_THAT(check(Propose({.start = kEnd, .end = kStart})), HasSubstr("end_time"));
  EXPECT_THAT(check(Propose({.more = fmt::format("consent_by {{ {} }}", Seconds(kEnd))})),
              HasSubstr("consent_by"));
  EXPECT_THAT(check(Propose({.more = "notice_days: 400"})), HasSubstr("notice_days"));
  EXPECT_THAT(check(R"(refuse_window { name: "sites/paris/windows/w" customer: "customers/c" })"),
              HasSubstr("reason"));
  EXPECT_THAT(check(R"(consent_to_window { name: "sites/paris/windows/w" customer: "hsbc" })"),
              HasSubstr("customer"));
  EXPECT_THAT(check(R"(add_work { name: "sites/paris/windows/w" })"), HasSubstr("text"));
  EXPECT_THAT(check(R"(open_window { name: "w" })"), HasSubstr("name"));
}

}  // namespace
}  // namespace concordat::inventory
