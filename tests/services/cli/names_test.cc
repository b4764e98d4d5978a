#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "concordat/compliance/v1/api.pb.h"
#include "services/cli/catalogue.h"
#include "services/cli/config.h"
#include "services/cli/errors.h"
#include "services/cli/kinds.h"
#include "services/cli/request.h"

namespace concordat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Full(std::string_view collection, std::string_view name) {
  return FullName(*KindOfCollection(collection), name, "paris");
}

TEST(Names, AreCompletedWithTheAskedSite) {
  EXPECT_EQ(Full("servers", "a01-01"), "sites/paris/servers/a01-01");
  EXPECT_EQ(Full("servers", "servers/a01-01"), "sites/paris/servers/a01-01");
  EXPECT_EQ(Full("contracts", "hsbc/frame"), "customers/hsbc/contracts/frame");
  EXPECT_EQ(Full("sites", "paris"), "sites/paris");
  EXPECT_EQ(Full("rules", "hds-hosting"), "rules/hds-hosting");
}

TEST(Names, StayAsTheyAreWhenTheyAreFull) {
  EXPECT_EQ(Full("servers", "sites/borlange/servers/a01-01"), "sites/borlange/servers/a01-01");
  EXPECT_EQ(Full("contracts", "customers/hsbc/contracts/frame"), "customers/hsbc/contracts/frame");
  EXPECT_EQ(Full("servers", ""), "");
}

TEST(Names, SayTheirKind) {
  EXPECT_EQ(KindOfName("sites/paris/orders/r-1")->collection, "orders");
  EXPECT_EQ(KindOfName("sites/paris/reservations/r-1")->collection, "reservations");
  EXPECT_EQ(KindOfName("customers/hsbc/contracts/frame")->collection, "contracts");
  EXPECT_EQ(KindOfName("a01-01"), nullptr);
  EXPECT_EQ(KindOfName("expected at most the 4 of customers/hsbc/contracts/frame."), nullptr);
}

TEST(Kinds, HaveSingularPluralAndShortNames) {
  for (const char* word : {"server", "servers", "srv"})
    EXPECT_EQ((*FindKind(word))->collection, "servers");
  EXPECT_EQ((*FindKind("server-record"))->collection, "server_records");
  const auto wrong = FindKind("reservtions");
  EXPECT_EQ(ExitOf(wrong.status()), Exit::kUsage);
  EXPECT_EQ(NextOf(wrong.status()), "get reservations");
}

TEST(Kinds, SuggestNothingFarFetched) {
  EXPECT_EQ(Nearest("comission", {"commission", "cordon"}), "commission");
  EXPECT_EQ(Nearest("xyz", {"commission", "cordon"}), "");
}

TEST(Verbs, EachHaveARequestWithASubmitAndTheirPositionals) {
  for (const Verb& verb : Verbs()) {
    const auto* request = RequestOf(verb);
    ASSERT_NE(request, nullptr) << MethodPath(verb);
    EXPECT_NE(request->FindFieldByName("submit"), nullptr) << request->full_name();
    EXPECT_NE(KindOfCollection(verb.collection), nullptr) << verb.collection;
    for (std::string positional :
         std::vector<std::string>(verb.positionals.begin(), verb.positionals.end())) {
      if (positional.ends_with('?')) positional.pop_back();
      EXPECT_NE(request->FindFieldByName(positional), nullptr)
          << request->full_name() << "." << positional;
    }
  }
}

TEST(Verbs, CoverEveryCommandThatACallerMayGive) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  size_t methods = 0;
  for (const char* service :
       {"inventory.v1.InventoryService", "reservations.v1.ReservationsService",
        "compliance.v1.ComplianceService", "deployment.v1.DeploymentService"}) {
    methods += static_cast<size_t>(
        pool->FindServiceByName(std::string("concordat.") + service)->method_count());
  }
  EXPECT_EQ(Verbs().size(), methods);
}

TEST(Verbs, TakeTheirHelpFromTheProtosComments) {
  const auto* request = RequestOf(*CreateVerb("reservations"));
  EXPECT_EQ(CommentOf(*request->FindFieldByName("count")), "Servers asked for, from 1 to 10000.");
  EXPECT_EQ(FlagOf(*request->FindFieldByName("site")), "at");
  EXPECT_EQ(FlagOf(*request->FindFieldByName("start_time")), "start-time");
}

TEST(Documents, AreDividedAtThreeHyphens) {
  EXPECT_THAT(Documents("# only a comment\n---\na: 1\n---\n\n---\nb: 2\n"),
              ElementsAre("a: 1\n", "b: 2\n"));
  EXPECT_THAT(Documents(""), IsEmpty());
}

TEST(Documents, MayBeTheRuleItselfOrTheWholeRequest) {
  compliance::v1::AdoptRuleRequest rule, whole;
  ASSERT_TRUE(MergeDocument("name: rules/r\nversion: 2\n", rule).ok());
  ASSERT_TRUE(MergeDocument("rule: {name: rules/r, version: 2}\n", whole).ok());
  EXPECT_EQ(rule.rule().version(), 2);
  EXPECT_EQ(rule.SerializeAsString(), whole.SerializeAsString());
  EXPECT_THAT(std::string(MergeDocument("nonsense: 1\n", rule).message()),
              HasSubstr("the document is no Rule"));
}

constexpr char kConfig[] = R"(
current-context: local
contexts:
  local:
    site: paris
    sites:
      paris: {address: "127.0.0.1:7101", services: {reservations: "127.0.0.1:7103"}}
      borlange: {address: "127.0.0.1:7102"}
)";

TEST(Configuration, SaysWhereEachServiceOfASiteIsAsked) {
  const auto config = ParseConfig(kConfig, "config.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  const Context& local = *config->Find("local");
  EXPECT_EQ(local.site, "paris");
  EXPECT_EQ(local.Find("paris")->AddressOf("reservations"), "127.0.0.1:7103");
  EXPECT_EQ(local.Find("paris")->AddressOf("inventory"), "127.0.0.1:7101");
  EXPECT_THAT(local.Find("paris")->Addresses(), ElementsAre("127.0.0.1:7101", "127.0.0.1:7103"));
  EXPECT_EQ(local.Find("rome"), nullptr);
}

TEST(Configuration, IsRefusedWithThePathWhereItIsWrong) {
  for (const char* wrong : {"", "contexts: {}", "contexts: {local: {sites: {}}}",
                            "contexts: {local: {sites: {paris: {}}}}",
                            "contexts: {local: {site: rome, sites: {paris: {address: \"a:1\"}}}}",
                            "contexts: [", "- a"}) {
    const auto config = ParseConfig(wrong, "config.yaml");
    EXPECT_EQ(ExitOf(config.status()), Exit::kUsage) << wrong;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("config.yaml")) << wrong;
  }
}

TEST(Configuration, IsRefusedWithTheAddressOrTheKeyThatIsWrong) {
  for (const auto& [wrong, found] :
       {std::pair("contexts: {local: {sites: {paris: {address: \"127.0.0.1:70000\"}}}}",
                  "context local: site paris has the address '127.0.0.1:70000', expected "
                  "HOST:PORT"),
        std::pair("contexts: {local: {sites: {paris: {address: \"127.0.0.1:7101\", "
                  "services: {inventory: nowhere}}}}}",
                  "context local: site paris has the address 'nowhere', expected HOST:PORT"),
        std::pair("contextz: {}", "found 'contextz', expected only current-context, contexts"),
        std::pair("contexts: {local: {sitez: {paris: {address: \"127.0.0.1:7101\"}}}}",
                  "context local: found 'sitez', expected only site, sites"),
        std::pair("contexts: {local: {sites: {paris: {adress: \"127.0.0.1:7101\"}}}}",
                  "context local, site paris: found 'adress', expected only address, services")}) {
    const auto config = ParseConfig(wrong, "config.yaml");
    EXPECT_EQ(ExitOf(config.status()), Exit::kUsage) << wrong;
    EXPECT_THAT(std::string(config.status().message()),
                HasSubstr(std::string("config.yaml: ") + found));
  }
}

TEST(ExitCodes, FollowFromTheStatus) {
  EXPECT_EQ(ExitOf(absl::OkStatus()), Exit::kOk);
  EXPECT_EQ(ExitOf(absl::InternalError("")), Exit::kError);
  EXPECT_EQ(ExitOf(absl::InvalidArgumentError("")), Exit::kUsage);
  EXPECT_EQ(ExitOf(absl::NotFoundError("")), Exit::kNotFound);
  EXPECT_EQ(ExitOf(absl::FailedPreconditionError("")), Exit::kRefused);
  EXPECT_EQ(ExitOf(absl::AlreadyExistsError("")), Exit::kConflict);
  EXPECT_EQ(ExitOf(absl::AbortedError("")), Exit::kConflict);
  EXPECT_EQ(ExitOf(absl::UnavailableError("")), Exit::kUnavailable);
  EXPECT_EQ(ExitOf(absl::ResourceExhaustedError("")), Exit::kUnavailable);
  EXPECT_EQ(ExitOf(absl::DataLossError("")), Exit::kDifferent);
  EXPECT_EQ(ExitOf(absl::DeadlineExceededError("")), Exit::kTimeout);
}

}  // namespace
}  // namespace concordat::cli
