// Commands from the words that were typed to what the site is sent and the person is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <atomic>

#include "concordat/compliance/v1/api.pb.h"
#include "concordat/inventory/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/request.h"
#include "services/cli/submit.h"
#include "tests/services/cli/fake_site.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using type::v1::Outcome;

constexpr char kReserve[] = "/concordat.reservations.v1.ReservationsService/Reserve";
constexpr char kCommission[] = "/concordat.inventory.v1.InventoryService/EnterService";
constexpr char kRegisterModel[] = "/concordat.inventory.v1.InventoryService/RegisterModel";
constexpr char kAdoptRule[] = "/concordat.compliance.v1.ComplianceService/AdoptRule";
constexpr char kGetResource[] = "/concordat.node.v1.NodeService/GetResource";

Outcome Accepted(const std::string& subject, const std::string& event) {
  Outcome outcome;
  outcome.set_stream("paris.reservations.events");
  outcome.set_sequence(12);
  outcome.set_event_type("concordat.reservations.v1." + event);
  outcome.set_subject(subject);
  return outcome;
}

// A site that refuses to commission servers, as the status and reason say.
void Refuse(FakeSite& site, absl::StatusCode code, const std::string& reason,
            const std::string& detail = "the server is not qualified, expected a passed burn-in") {
  site.server().AddUnary(
      kCommission, inventory::v1::EnterServiceRequest::descriptor(),
      [=](const runtime::Call&, runtime::MessagePtr, runtime::ReplyCallback reply) {
        runtime::Reply out;
        out.status = absl::Status(code, "the server is not qualified");
        out.outcome.set_reason(reason);
        out.outcome.set_detail(detail);
        reply(std::move(out));
      });
  site.Start();
}

// A site that commissions whatever is asked for.
void Commission(FakeSite& site) {
  site.Answer<inventory::v1::EnterServiceRequest, Outcome>(kCommission, [](const auto& request) {
    return Accepted(request.name(), "ServerEnteredService");
  });
  site.Start();
}

std::vector<std::string> CommissionWords(const FakeSite& site,
                                         const std::vector<std::string>& more) {
  std::vector<std::string> words = {"commission", "server",   "a01-01",      "--site",
                                    "paris",      "--server", site.address()};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::vector<std::string> ReserveWords(const FakeSite& site,
                                      const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {"--server",
                                    site.address(),
                                    "reserve",
                                    "--contract",
                                    "hsbc/frame",
                                    "--model",
                                    "vr",
                                    "--count",
                                    "2",
                                    "--start-time",
                                    "+1d",
                                    "--end-time=+31d",
                                    "--purpose",
                                    "inference",
                                    "--data-classes",
                                    "PUBLIC,FINANCIAL",
                                    "--project",
                                    "risk"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(Commands, AreMadeOfTheRequestsFields) {
  FakeSite site;
  reservations::v1::ReserveRequest got;
  std::string actor;
  site.server().AddUnary(
      kReserve, got.GetDescriptor(),
      [&](const runtime::Call& call, runtime::MessagePtr request, runtime::ReplyCallback reply) {
        got.CopyFrom(*request);
        actor = call.actor;
        runtime::Reply out;
        out.message =
            std::make_unique<Outcome>(Accepted("sites/paris/reservations/r-1", "ReservationHeld"));
        reply(std::move(out));
      });
  site.Start();
  const Ran ran =
      Concordat(ReserveWords(site, {"--as", "alice", "--request-id", "id-1", "--validate-only"}));
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_EQ(actor, "alice");
  EXPECT_THAT(got, test::EqualsText(R"(
      submit { request_id: "id-1" validate_only: true } site: "sites/paris" contract: "customers/hsbc/contracts/frame"
      model: "models/vr" count: 2 start_time { seconds: 1798891200 } end_time { seconds: 1801483200 }
      purpose: PURPOSE_INFERENCE data_classes: "PUBLIC" data_classes: "FINANCIAL" project: "risk")"));
  EXPECT_EQ(ran.out,
            "sites/paris/reservations/r-1  ReservationHeld  paris.reservations.events:12\n");
}

TEST(Commands, ARackBesideARoomIsAWordAndElsewhereAName) {
  FakeSite site;
  inventory::v1::InstallServerRequest install;
  inventory::v1::PlanServerRequest plan;
  site.Answer<inventory::v1::InstallServerRequest, Outcome>(
      "/concordat.inventory.v1.InventoryService/InstallServer", [&](const auto& request) {
        install = request;
        return Accepted("sites/paris/servers/a", "ServerInstalled");
      });
  site.Answer<inventory::v1::PlanServerRequest, Outcome>(
      "/concordat.inventory.v1.InventoryService/PlanServer", [&](const auto& request) {
        plan = request;
        return Accepted("sites/paris/servers/a", "ServerPlanned");
      });
  site.Start();
  Concordat({"--server", site.address(), "install", "server", "a", "--room", "r", "--rack", "01",
             "--position", "1"});
  EXPECT_EQ(install.rack(), "01");
  Concordat({"--server", site.address(), "plan", "server", "a", "--model", "m", "--planned-time",
             "+1d", "--rack", "k1"});
  EXPECT_EQ(plan.rack(), "sites/paris/racks/k1");
}

TEST(Commands, SayWhatRecursInFlags) {
  FakeSite site;
  reservations::v1::ReserveRequest got;
  site.Answer<reservations::v1::ReserveRequest, Outcome>(kReserve, [&](const auto& request) {
    got = request;
    return Accepted("sites/paris/reservations/r-1", "ReservationHeld");
  });
  site.Start();
  const Ran ran = Concordat(
      ReserveWords(site, {"--repeat", "FREQ=WEEKLY;BYDAY=MO,TU", "--zone", "Europe/Paris",
                          "--repeat-from", "2027-01-04T08:00:00", "--for", "10h", "--gap", "skip",
                          "--except", "2027-02-01T08:00:00,2027-02-02T08:00:00"}));
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(got.access(), test::EqualsText(R"(
      rule: "FREQ=WEEKLY;BYDAY=MO,TU" time_zone: "Europe/Paris" start: "2027-01-04T08:00:00"
      duration { seconds: 36000 } gap: GAP_POLICY_SKIP
      exceptions: "2027-02-01T08:00:00" exceptions: "2027-02-02T08:00:00")"));
  EXPECT_EQ(got.contract(), "customers/hsbc/contracts/frame");
  EXPECT_THAT(Concordat(ReserveWords(site, {"--for", "long"})).err,
              HasSubstr("--for: found duration 'long', expected a duration"));
}

TEST(Commands, SayInFlagsWhichServersAreWanted) {
  FakeSite site;
  std::vector<reservations::v1::ReserveRequest> got;
  site.Answer<reservations::v1::ReserveRequest, Outcome>(kReserve, [&](const auto& request) {
    got.push_back(request);
    return Accepted("sites/paris/reservations/r-1", "ReservationHeld");
  });
  site.Start();
  ASSERT_EQ(Concordat(ReserveWords(site, {"--placement", "spread-racks"})).exit, Exit::kOk);
  ASSERT_EQ(Concordat(ReserveWords(site, {"--servers", "a01-01,a01-02"})).exit, Exit::kOk);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_THAT(got[0].placement(), test::EqualsText("policy: PLACEMENT_POLICY_SPREAD_RACKS"));
  EXPECT_THAT(got[1].placement(), test::EqualsText(R"(servers: "sites/paris/servers/a01-01"
                                                      servers: "sites/paris/servers/a01-02")"));
}

TEST(Commands, CompleteNamesInTheRequestsThatABundleHolds) {
  FakeSite site;
  reservations::v1::ReserveBundleRequest got;
  site.Answer<reservations::v1::ReserveBundleRequest, Outcome>(
      "/concordat.reservations.v1.ReservationsService/ReserveBundle", [&](const auto& request) {
        got = request;
        return Accepted("sites/paris/bundles/b-1", "BundleRequested");
      });
  site.Start();
  const Ran ran = Concordat({"--server", site.address(), "bundle", "-f", "-"},
                            "parts: [{contract: hsbc/frame, model: vr, count: 2}, {site: "
                            "sites/borlange, contract: hsbc/frame, model: vr, count: 1}]");
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  got.clear_submit();
  EXPECT_THAT(got, test::EqualsText(R"(
      parts { site: "sites/paris" contract: "customers/hsbc/contracts/frame" model: "models/vr" count: 2 }
      parts { site: "sites/borlange" contract: "customers/hsbc/contracts/frame" model: "models/vr" count: 1 })"));
}

TEST(Commands, SayWhatAContractGrantsInFlags) {
  FakeSite site;
  reservations::v1::SignContractRequest got;
  site.Answer<reservations::v1::SignContractRequest, Outcome>(
      "/concordat.reservations.v1.ReservationsService/SignContract", [&](const auto& request) {
        got = request;
        return Accepted(request.name(), "ContractSigned");
      });
  site.Start();
  const auto sign = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"sign", "contract", "hsbc/q", "--server", site.address()};
    words.insert(words.end(), more.begin(), more.end());
    return Concordat(words);
  };
  const Ran ran = sign({"--accelerators", "576", "--accelerator-hours", "400000", "--notices",
                        "30d,24h", "--price", "2027-01-01=250:EUR", "--maintenance", "consent",
                        "--maintenance-consent-by", "ops", "--relocation", "never", "--priority",
                        "10", "--registered-projects-only", "true"});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(got, test::HasText(R"(name: "customers/hsbc/contracts/q"
      quota { accelerators: 576 accelerator_hours: 400000 }
      notices { seconds: 2592000 } notices { seconds: 86400 }
      prices { effective_from { seconds: 1798761600 } minor_units: 250 currency: "EUR" }
      interventions { maintenance: CONSENT_RULE_CONSENT maintenance_consent_by: "ops"
                      relocation: CONSENT_RULE_NEVER }
      conditions { priority: 10 registered_projects_only: true })"));
  EXPECT_THAT(sign({"--price", "cheap"}).err, HasSubstr("--prices: found 'cheap', expected time="));
  EXPECT_THAT(sign({"--registered-projects-only", "yes"}).err, HasSubstr("expected true or false"));
}

TEST(Commands, TakeRepeatedAndNestedFlags) {
  FakeSite site;
  inventory::v1::RegisterModelRequest got;
  site.Answer<inventory::v1::RegisterModelRequest, Outcome>(
      kRegisterModel, [&](const auto& request) {
        got = request;
        return Accepted(request.name(), "ModelRegistered");
      });
  site.Start();
  const Ran ran = Concordat({"create", "model", "vr", "--vendor", "nvidia", "--it-power-watts",
                             "190kW", "--criteria", "gemm=2400..2600:tflops", "--criterion",
                             "ecc=0..0:count", "--server", site.address(), "-o", "name", "-q"});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_EQ(ran.out, "models/vr\n");
  EXPECT_EQ(ran.err, "");
  EXPECT_EQ(got.it_power_watts(), 190'000);
  ASSERT_EQ(got.criteria_size(), 2);
  EXPECT_EQ(got.criteria(0).minimum(), 2400);
  EXPECT_EQ(got.submit().request_id().size(), 36);
}

TEST(Commands, GoToTheProcessOfTheirService) {
  FakeSite front, inventory;
  inventory.Answer<inventory::v1::EnterServiceRequest, Outcome>(
      kCommission,
      [](const auto& request) { return Accepted(request.name(), "ServerEnteredService"); });
  front.Start();
  inventory.Start();
  const FakeConfig config({&front}, fmt::format("{{inventory: \"{}\"}}", inventory.address()));
  const Ran ran = Concordat({"commission", "server", "a01-01", "--config", config.path()});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(ran.out, StartsWith("sites/paris/servers/a01-01  ServerEnteredService"));
}

TEST(Commands, SendEachDocumentOfAFile) {
  FakeSite site;
  std::vector<std::string> adopted;
  site.Answer<compliance::v1::AdoptRuleRequest, Outcome>(kAdoptRule, [&](const auto& request) {
    adopted.push_back(request.rule().name());
    return Accepted(request.rule().name(), "RuleAdopted");
  });
  site.Start();
  const std::string rules = "name: rules/a\n---\nrule: {name: rules/b}\n";
  EXPECT_EQ(Concordat({"adopt", "rule", "-f", "-", "--server", site.address()}, rules).exit,
            Exit::kOk);
  EXPECT_THAT(adopted, ::testing::ElementsAre("rules/a", "rules/b"));
  const Ran one_id = Concordat(
      {"adopt", "rule", "-f", "-", "--server", site.address(), "--request-id", "x"}, rules);
  EXPECT_EQ(one_id.exit, Exit::kUsage);
  EXPECT_THAT(one_id.err, HasSubstr("every command has its own id"));
}

TEST(Commands, ADocumentThatIsRefusedKeepsNoOtherBack) {
  FakeSite site;
  std::vector<std::string> asked;
  site.Answer<compliance::v1::AdoptRuleRequest, Outcome>(
      kAdoptRule, [&](const auto& request) -> absl::StatusOr<Outcome> {
        asked.push_back(request.rule().name());
        if (asked.size() == 1) return absl::AlreadyExistsError("it has version 1 already");
        return Accepted(request.rule().name(), "RuleAdopted");
      });
  site.Start();
  const Ran ran = Concordat({"adopt", "rule", "-f", "-", "--server", site.address()},
                            "name: rules/a\n---\nname: rules/b\n");
  EXPECT_EQ(ran.exit, Exit::kConflict);
  EXPECT_THAT(asked, ::testing::ElementsAre("rules/a", "rules/b"));
  EXPECT_THAT(ran.err, HasSubstr("document 1 of 2: it has version 1 already"));
  EXPECT_THAT(ran.out, StartsWith("rules/b  RuleAdopted"));
}

TEST(Commands, ThatAreAllRefusedAreToldOfEachAlsoWhereTheyAreQuiet) {
  FakeSite site;
  site.Answer<compliance::v1::AdoptRuleRequest, Outcome>(
      kAdoptRule, [](const auto& request) -> absl::StatusOr<Outcome> {
        return absl::AlreadyExistsError(request.rule().name() + " has version 1 already");
      });
  site.Start();
  const Ran ran = Concordat({"adopt", "rule", "-f", "-", "--server", site.address(), "-q"},
                            "name: rules/a\n---\nname: rules/b\n");
  EXPECT_EQ(ran.exit, Exit::kConflict);
  EXPECT_THAT(ran.err, HasSubstr("document 1 of 2: rules/a has version 1 already\n"));
  EXPECT_THAT(ran.err, HasSubstr("document 2 of 2: rules/b has version 1 already\n"));
  EXPECT_THAT(ran.err, Not(HasSubstr("request id")));
}

TEST(Commands, OfSeveralDocumentsAreAnsweredWithAsManyOfYaml) {
  FakeSite site;
  site.Answer<compliance::v1::AdoptRuleRequest, Outcome>(kAdoptRule, [](const auto& request) {
    return Accepted(request.rule().name(), "RuleAdopted");
  });
  site.Start();
  const Ran ran = Concordat({"adopt", "rule", "-f", "-", "--server", site.address(), "-o", "yaml"},
                            "name: rules/a\n---\nname: rules/b\n");
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(Documents(ran.out), ::testing::ElementsAre(HasSubstr("subject: rules/a\n"),
                                                         HasSubstr("subject: rules/b\n")));
  EXPECT_THAT(ran.out, Not(StartsWith("---")));
  EXPECT_THAT(ran.out, Not(EndsWith("---\n")));
}

TEST(Commands, OfAnInputWithoutADocumentAreWrong) {
  FakeSite site;
  site.Start();
  for (const char* input : {"", "# nothing yet\n---\n"}) {
    const Ran ran = Concordat({"adopt", "rule", "-f", "-", "--server", site.address()}, input);
    EXPECT_EQ(ran.exit, Exit::kUsage) << input;
    EXPECT_THAT(ran.err, HasSubstr("found no document in the input, expected YAML or JSON"));
  }
}

TEST(Commands, ThatWaitSayInTheirDocumentWhatWasDecided) {
  FakeSite site;
  site.Answer<reservations::v1::ReserveRequest, Outcome>(kReserve, [](const auto&) {
    return Accepted("sites/paris/reservations/r-1", "ReservationHeld");
  });
  site.Answer<node::v1::GetResourceRequest, node::v1::GetResourceResponse>(
      "/concordat.node.v1.NodeService/GetResource", [](const auto& request) {
        reservations::v1::Reservation reservation;
        reservation.set_name(request.name());
        reservation.set_state(reservations::v1::RESERVATION_STATE_CONFIRMED);
        node::v1::GetResourceResponse response;
        response.mutable_resource()->PackFrom(reservation);
        return response;
      });
  site.Start();
  const Ran json = Concordat(ReserveWords(site, {"--wait", "-o", "json"}));
  EXPECT_EQ(json.exit, Exit::kOk) << json.err;
  const auto document = nlohmann::json::parse(json.out);  // one, or this fails
  EXPECT_THAT(document["eventType"].get<std::string>(), EndsWith("ReservationHeld"));
  EXPECT_EQ(document["resource"]["state"], "RESERVATION_STATE_CONFIRMED");
  EXPECT_THAT(Concordat(ReserveWords(site, {"--wait", "-o", "yaml"})).out,
              HasSubstr("\nresource:\n  name: sites/paris/reservations/r-1"));
  EXPECT_EQ(Concordat(ReserveWords(site, {"--wait", "-o", "name"})).out,
            "sites/paris/reservations/r-1\n");
}

TEST(Commands, WithRelativeTimesAreRepeatedWithTheSameOnes) {
  FakeSite site;
  site.Answer<inventory::v1::OrderServerRequest, Outcome>(
      "/concordat.inventory.v1.InventoryService/OrderServer",
      [](const auto& request) { return Accepted(request.name(), "ServerOrdered"); });
  site.Start();
  const Ran ran = Concordat({"--server", site.address(), "order", "server", "a", "--model", "m",
                             "--supplier", "dell", "--promised-time", "+30d"});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(ran.err, HasSubstr("; to retry safely: concordat --server "));
  EXPECT_THAT(ran.err, HasSubstr("--promised-time 2027-01-31T12:00:00Z --request-id "));
}

TEST(Commands, OfBytesThatAreNoTextNameTheFlag) {
  FakeSite site;
  site.Start();
  const Ran ran =
      Concordat({"--server", site.address(), "order", "server", "a\xff", "--model", "m"});
  EXPECT_EQ(ran.exit, Exit::kUsage);
  EXPECT_THAT(ran.err, HasSubstr("found 'a\\xff', expected UTF-8 without control characters"));
}

TEST(Refusals, SayReasonAndDetailAndHowToHaveThemExplained) {
  FakeSite site;
  Refuse(site, absl::StatusCode::kFailedPrecondition, "REASON_TEST_NOT_PASSED");
  const Ran ran = Concordat(
      {"commission", "server", "a01-01", "--server", site.address(), "--request-id", "id-1"});
  EXPECT_EQ(ran.exit, Exit::kRefused);
  EXPECT_EQ(ran.out, "");
  EXPECT_EQ(ran.err,
            "error: refused, REASON_TEST_NOT_PASSED: the server is not qualified, expected a "
            "passed burn-in\n"
            "try: concordat explain --request id-1\n");
}

TEST(Refusals, OfWhatIsNotKnownPointToItsList) {
  for (const auto& [detail, next] :
       {std::pair("models/x is not known; expected RegisterModel first.", "get models"),
        std::pair("\"customers/x\" is not known.", "get customers"),
        std::pair("It is not known.", "get servers")}) {
    FakeSite site;
    Refuse(site, absl::StatusCode::kNotFound, "REASON_NOT_FOUND", detail);
    EXPECT_THAT(Concordat({"commission", "server", "a", "--server", site.address()}).err,
                EndsWith(fmt::format("try: concordat {}\n", next)));
  }
}

TEST(Refusals, HaveTheExitCodeOfTheirStatus) {
  for (const auto& [code, exit] : {std::pair(absl::StatusCode::kNotFound, Exit::kNotFound),
                                   std::pair(absl::StatusCode::kAlreadyExists, Exit::kConflict)}) {
    FakeSite site;
    Refuse(site, code, "REASON_SOMETHING");
    EXPECT_EQ(Concordat({"commission", "server", "a01-01", "--server", site.address()}).exit, exit);
  }
}

TEST(Refusals, AreDataForPrograms) {
  FakeSite site;
  Refuse(site, absl::StatusCode::kFailedPrecondition, "REASON_TEST_NOT_PASSED");
  const Ran ran =
      Concordat({"commission", "server", "a01-01", "--server", site.address(), "-o", "json"});
  EXPECT_EQ(ran.exit, Exit::kRefused);
  EXPECT_THAT(ran.out, HasSubstr(R"("reason": "REASON_TEST_NOT_PASSED")"));
}

TEST(UnknownOutcomes, AreCalledThatWithACommandThatIsSafeToRepeat) {
  FakeSite site;
  std::mutex mutex;
  std::vector<runtime::ReplyCallback> unanswered;
  site.server().AddUnary(
      kReserve, reservations::v1::ReserveRequest::descriptor(),
      [&](const runtime::Call&, runtime::MessagePtr, runtime::ReplyCallback reply) {
        const std::lock_guard lock(mutex);
        unanswered.push_back(std::move(reply));
      });
  site.Start();
  const Ran ran = Concordat(ReserveWords(site, {"--timeout", "1s"}));
  EXPECT_EQ(ran.exit, Exit::kTimeout);
  EXPECT_THAT(ran.err, HasSubstr("outcome unknown"));
  // The repeated command says the same times, however much later it is sent.
  EXPECT_THAT(ran.err,
              HasSubstr("--start-time 2027-01-02T12:00:00Z --end-time=2027-02-01T12:00:00Z"));
  const std::string announced = ran.err.substr(sizeof "request id", 36);
  EXPECT_THAT(ran.err, EndsWith("--request-id " + announced + "\n"));
  for (auto& reply : unanswered)
    reply({.status = absl::CancelledError(), .message = nullptr, .outcome = {}});
}

TEST(Servers, ThatAreNotThereAreUnavailable) {
  const Ran ran = Concordat({"cordon", "server", "a01-01", "--reason", "fan tray", "--server",
                             "127.0.0.1:1", "--site", "paris", "--request-id", "id-1"});
  EXPECT_EQ(ran.exit, Exit::kUnavailable);
  EXPECT_THAT(ran.err, HasSubstr("no answer from 127.0.0.1:1"));
  EXPECT_THAT(
      ran.err,
      EndsWith(
          "try: concordat cordon server a01-01 --reason 'fan tray' --server 127.0.0.1:1 --site "
          "paris --request-id id-1\n"));
}

TEST(Servers, ThatAreNoAddressAreNotAsked) {
  for (const char* server : {"127.0.0.1:99999", "nowhere"}) {
    const Ran ran = Concordat({"status", "--server", server});
    EXPECT_EQ(ran.exit, Exit::kUsage);
    EXPECT_THAT(ran.err, HasSubstr(fmt::format("found --server '{}', expected HOST:PORT", server)));
  }
}

TEST(Servers, ThatAreUnavailableForAMomentAreAskedAgainWithTheSameId) {
  FakeSite site;
  std::vector<std::string> ids;
  site.Answer<inventory::v1::EnterServiceRequest, Outcome>(
      kCommission, [&](const auto& request) -> absl::StatusOr<Outcome> {
        ids.push_back(request.submit().request_id());
        if (ids.size() < 3) return absl::UnavailableError("the writer recovers");
        return Accepted(request.name(), "ServerEnteredService");
      });
  site.Start();
  EXPECT_EQ(Concordat({"commission", "server", "a01-01", "--server", site.address()}).exit,
            Exit::kOk);
  ASSERT_EQ(ids.size(), 3);
  EXPECT_EQ(ids[0], ids[2]);
}

TEST(Servers, ThatFindBadBytesPointToTheHelp) {
  FakeSite site;
  site.Answer<inventory::v1::EnterServiceRequest, Outcome>(
      kCommission, [](const auto&) -> absl::StatusOr<Outcome> {
        return absl::InvalidArgumentError("name is empty");
      });
  site.Start();
  const Ran ran = Concordat({"commission", "server", "--server", site.address()});
  EXPECT_EQ(ran.exit, Exit::kUsage);
  EXPECT_THAT(ran.err, HasSubstr("name is empty\ntry: concordat commission server --help\n"));
}

// A site whose reservations are in these states, one after the other, the last for good.
class Waiting : public ::testing::TestWithParam<
                    std::pair<std::vector<reservations::v1::ReservationState>, Exit>> {};

TEST_P(Waiting, EndsWithWhatBecameOfTheReservation) {
  const auto& [states, exit] = GetParam();
  FakeSite site;
  size_t asked = 0;
  site.Answer<reservations::v1::ReserveRequest, Outcome>(kReserve, [](const auto&) {
    return Accepted("sites/paris/reservations/r-1", "ReservationHeld");
  });
  site.Answer<node::v1::GetResourceRequest, node::v1::GetResourceResponse>(
      kGetResource, [&](const auto& request) {
        EXPECT_EQ(request.collection(), "reservations");
        EXPECT_EQ(request.min_stream(), "paris.reservations.events");
        EXPECT_EQ(request.min_sequence(), 12);
        reservations::v1::Reservation reservation;
        reservation.set_name(request.name());
        reservation.set_state(states[std::min(asked++, states.size() - 1)]);
        reservation.set_detail("the rule says no");
        node::v1::GetResourceResponse response;
        response.mutable_resource()->PackFrom(reservation);
        return response;
      });
  site.Start();
  const Ran ran = Concordat(ReserveWords(site, {"--wait", "--timeout", "1s"}));
  EXPECT_EQ(ran.exit, exit) << ran.err;
  const std::string said = exit == Exit::kOk ? "sites/paris/reservations/r-1  confirmed\n"
                           : exit == Exit::kRefused
                               ? "the rule says no\ntry: concordat explain sites/paris/"
                               : "is still held after 1s";
  EXPECT_THAT(ran.out + ran.err, HasSubstr(said));
}

TEST(Wait, EndsWellOnlyWhereWhatWasAskedForCameAbout) {
  for (const char* state : {"confirmed", "active", "running", "committed"})
    EXPECT_EQ(ProgressOf(state), Progress::kReached) << state;
  for (const char* state : {"declined", "lapsed", "revoked", "removing", "removed", "failed"})
    EXPECT_EQ(ProgressOf(state), Progress::kMissed) << state;
  for (const char* state : {"", "held", "requested", "placing"})
    EXPECT_EQ(ProgressOf(state), Progress::kWaiting) << state;
}

using reservations::v1::RESERVATION_STATE_CONFIRMED;
using reservations::v1::RESERVATION_STATE_DECLINED;
using reservations::v1::RESERVATION_STATE_HELD;
using reservations::v1::RESERVATION_STATE_LAPSED;
using States = std::vector<reservations::v1::ReservationState>;
INSTANTIATE_TEST_SUITE_P(
    Reserve, Waiting,
    ::testing::Values(std::pair(States{RESERVATION_STATE_HELD, RESERVATION_STATE_HELD,
                                       RESERVATION_STATE_CONFIRMED},
                                Exit::kOk),
                      std::pair(States{RESERVATION_STATE_HELD, RESERVATION_STATE_DECLINED},
                                Exit::kRefused),
                      std::pair(States{RESERVATION_STATE_LAPSED}, Exit::kRefused),
                      std::pair(States{RESERVATION_STATE_HELD}, Exit::kTimeout)));

TEST(Words, ThatAreMisspeltAreAnsweredWithTheNearest) {
  const Ran verb = Concordat({"comission", "server", "a01-01"});
  EXPECT_EQ(verb.exit, Exit::kUsage);
  EXPECT_THAT(verb.err, HasSubstr("found 'comission', expected one of"));
  EXPECT_THAT(verb.err, EndsWith("try: concordat commission --help\n"));
  const Ran noun = Concordat({"order", "sever", "a01-01"});
  EXPECT_EQ(noun.exit, Exit::kUsage);
  EXPECT_THAT(noun.err, EndsWith("try: concordat order server --help\n"));
}

TEST(Words, ThatAreWrongInAFlagNameTheFlag) {
  const Ran ran =
      Concordat({"reserve", "--count", "many", "--server", "127.0.0.1:1", "--site", "paris"});
  EXPECT_EQ(ran.exit, Exit::kUsage);
  EXPECT_THAT(
      ran.err,
      HasSubstr("--count: found 'many', expected a whole number\ntry: concordat reserve --help\n"));
  const Ran slip = Concordat({"reserve", "--cuont", "2"});
  EXPECT_EQ(slip.exit, Exit::kUsage);
  EXPECT_THAT(slip.err, HasSubstr("found 'reserve --cuont', expected --count\n"));
  EXPECT_THAT(Concordat({"snapshot", "--everything"}).err,
              HasSubstr("found 'snapshot --everything', expected one of --help"));
  EXPECT_EQ(Concordat({"status", "-o", "xml", "--server", "127.0.0.1:1"}).exit, Exit::kUsage);
}

TEST(Words, ThatACommandDoesNotHeedAreRefused) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"link", "cut", "borlange"},
        {"link", "heal", "borlange"},
        {"clock", "set", "2027-02-01T08:00:00Z"},
        {"clock", "advance", "1d"},
        {"snapshot"},
        {"home", "allow", "paris.inventory.events", "1", "--reason", "r"},
        {"get", "servers"},
        {"verify"}}) {
    for (const std::vector<std::string>& flag :
         {std::vector<std::string>{"--validate-only"}, {"--request-id", "id-1"}}) {
      std::vector<std::string> all = words;
      all.insert(all.end(), flag.begin(), flag.end());
      const Ran ran = Concordat(all);
      EXPECT_EQ(ran.exit, Exit::kUsage);
      EXPECT_THAT(ran.err, HasSubstr("found " + flag[0] + ", expected it with a command"));
    }
  }
  EXPECT_THAT(Concordat({"import", "servers", "-", "--request-id", "id-1"}).err,
              HasSubstr("found --request-id"));
}

TEST(Words, ThatAreWrongInAGlobalFlagAreRefusedBeforeACommandIsSent) {
  FakeSite site;
  Commission(site);
  for (const auto& [flag, value, found] :
       {std::tuple("-o", "foo", "found --output 'foo', expected table, json, yaml, name"),
        std::tuple("--timeout", "never", "found duration 'never', expected a duration")}) {
    const Ran ran = Concordat(CommissionWords(site, {flag, value}));
    EXPECT_EQ(ran.exit, Exit::kUsage) << flag;
    EXPECT_THAT(ran.err, HasSubstr(found));
    EXPECT_THAT(ran.err, Not(HasSubstr("request id"))) << "there is nothing to repeat";
  }
  EXPECT_EQ(site.asked(), 0);
}

TEST(Words, ThatAreEmptyBehindAGlobalFlagAreRefused) {
  FakeSite site;
  Commission(site);
  const auto empty = [](const std::string& flag, std::vector<std::string> words) {
    words.insert(words.end(), {flag, ""});
    const Ran ran = Concordat(words);
    EXPECT_EQ(ran.exit, Exit::kUsage) << flag;
    EXPECT_THAT(ran.err, HasSubstr(fmt::format("found {} without a value, expected one", flag)));
  };
  empty("--request-id", CommissionWords(site, {}));
  empty("--as", CommissionWords(site, {}));
  empty("--server", {"commission", "server", "a01-01"});
  EXPECT_EQ(site.asked(), 0);
}

TEST(Actors, ThatNoCallCanCarryAreRefused) {
  FakeSite site;
  Commission(site);
  for (const auto& [actor, found] : {std::pair(std::string("zoë"), "other characters"),
                                     std::pair(std::string("a\tb"), "other characters"),
                                     std::pair(std::string(201, 'a'), "201 bytes")}) {
    for (const auto& words :
         {CommissionWords(site, {"--as", actor}),
          std::vector<std::string>{"status", "--server", site.address(), "--as", actor}}) {
      const Ran ran = Concordat(words);
      EXPECT_EQ(ran.exit, Exit::kUsage) << words[0];
      EXPECT_THAT(ran.err, HasSubstr(fmt::format("found who asks (--as, or $USER) with {}, "
                                                 "expected at most 200 printable",
                                                 found)))
          << words[0];
    }
  }
  EXPECT_EQ(site.asked(), 0);
  EXPECT_EQ(Concordat(CommissionWords(site, {"--as", std::string(200, 'a')})).exit, Exit::kOk);
  EXPECT_EQ(site.asked(), 1);
}

TEST(Version, IsToldByAFlagToo) {
  const Ran flag = Concordat({"--version"});
  EXPECT_EQ(flag.exit, Exit::kOk) << flag.err;
  EXPECT_THAT(flag.out, StartsWith("concordat "));
  EXPECT_EQ(flag.out, Concordat({"version"}).out);
}

TEST(Help, BeginsWithTheSentenceAndExamples) {
  const Ran ran = Concordat({"reserve", "--help"});
  EXPECT_EQ(ran.exit, Exit::kOk);
  EXPECT_THAT(ran.out, StartsWith("Ask for servers"));
  EXPECT_LT(ran.out.find("Examples:"), ran.out.find("Flags:"));
  EXPECT_THAT(ran.out, HasSubstr("Servers asked for, from 1 to 10000."));
  EXPECT_THAT(Concordat({"--help"}).out, HasSubstr("commission"));
  EXPECT_THAT(Concordat({"snapshot", "--help"}).out, HasSubstr("snapshot [STREAM] [FLAGS]"));
  EXPECT_THAT(Concordat({"order", "server", "--help"}).out, HasSubstr("order server NAME [FLAGS]"));
}

}  // namespace
}  // namespace concordat::cli
