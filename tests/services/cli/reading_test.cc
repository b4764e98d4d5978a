// Commands that read, and those that operate sites.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "concordat/inventory/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/admin.h"
#include "tests/services/cli/fake_site.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace node::v1;  // NOLINT: the messages of one service

constexpr char kNode[] = "/concordat.node.v1.NodeService/";

// Servers a01-01 to a01-03, two a page.
void AddServers(FakeSite& site, std::vector<ListResourcesRequest>* requests = nullptr) {
  site.Answer<ListResourcesRequest, ListResourcesResponse>(
      std::string(kNode) + "ListResources", [requests](const ListResourcesRequest& request) {
        if (requests != nullptr) requests->push_back(request);
        ListResourcesResponse response;
        const int first = request.page_token().empty() ? 1 : 3;
        for (int i = first; i < first + 2 && i <= 3; ++i) {
          inventory::v1::Server server;
          server.set_name(fmt::format("sites/paris/servers/a01-0{}", i));
          server.set_state(inventory::v1::SERVER_STATE_QUALIFIED);
          if (server.name().starts_with(request.prefix()))
            response.add_resources()->PackFrom(server);
        }
        if (first == 1) response.set_next_page_token("paris|a01-03");
        return response;
      });
  site.Answer<GetResourceRequest, GetResourceResponse>(
      std::string(kNode) + "GetResource",
      [](const GetResourceRequest& request) -> absl::StatusOr<GetResourceResponse> {
        if (request.name() != "sites/paris/servers/a01-01") return absl::NotFoundError("none");
        inventory::v1::Server server;
        server.set_name(request.name());
        GetResourceResponse response;
        response.mutable_resource()->PackFrom(server);
        response.mutable_freshness()->set_stream("paris.inventory.events");
        response.mutable_freshness()->set_sequence(9);
        return response;
      });
}

TEST(Get, FollowsThePagesOfAList) {
  FakeSite site;
  std::vector<ListResourcesRequest> requests;
  AddServers(site, &requests);
  site.Start();
  const Ran ran = Concordat({"get", "srv", "-o", "name", "--server", site.address()});
  EXPECT_EQ(ran.out,
            "sites/paris/servers/a01-01\nsites/paris/servers/a01-02\nsites/paris/servers/a01-03\n");
  ASSERT_EQ(requests.size(), 2);
  EXPECT_EQ(requests[0].site(), "paris");
  EXPECT_EQ(requests[1].page_token(), "paris|a01-03");
  Concordat({"get", "servers", "-A", "--server", site.address()});
  EXPECT_EQ(requests.back().site(), "");
}

TEST(Get, LeavesWhatMeetsTheConditions) {
  FakeSite site;
  site.Answer<ListResourcesRequest, ListResourcesResponse>(
      std::string(kNode) + "ListResources", [](const ListResourcesRequest&) {
        ListResourcesResponse response;
        for (const auto& [name, customer, count] :
             {std::tuple("r-1", "hsbc", 2), std::tuple("r-2", "sap", 2),
              std::tuple("r-3", "sap", 4), std::tuple("r-3", "sap", 4)}) {
          reservations::v1::Reservation reservation;
          reservation.set_name(fmt::format("sites/paris/reservations/{}", name));
          reservation.set_state(reservations::v1::RESERVATION_STATE_HELD);
          reservation.mutable_terms()->set_customer(fmt::format("customers/{}", customer));
          reservation.mutable_terms()->set_count(count);
          response.add_resources()->PackFrom(reservation);
        }
        return response;
      });
  site.Start();
  const auto names = [&](const std::vector<std::string>& where) {
    std::vector<std::string> words = {"get",  "reservations", "-o",
                                      "name", "--server",     site.address()};
    for (const std::string& condition : where) words.insert(words.end(), {"--where", condition});
    return Concordat(words);
  };
  EXPECT_EQ(names({"customer=sap"}).out,
            "sites/paris/reservations/r-2\nsites/paris/reservations/r-3\n")
      << "what two sites say alike stands once";
  EXPECT_EQ(names({"customer=customers/sap", "terms.count=4", "state=HELD"}).out,
            "sites/paris/reservations/r-3\n");
  EXPECT_EQ(names({"state=RESERVATION_STATE_HELD", "name=r-1"}).out,
            "sites/paris/reservations/r-1\n")
      << "as -o json shows it";
  EXPECT_EQ(names({"state=active"}).out, "");
  const Ran misspelt = names({"state=heldd"});
  EXPECT_EQ(misspelt.exit, Exit::kUsage);
  EXPECT_THAT(misspelt.err, HasSubstr("--where: state: found 'heldd', expected one of held, "));
  const Ran unknown = names({"colour=red"});
  EXPECT_EQ(unknown.exit, Exit::kUsage);
  EXPECT_THAT(unknown.err, HasSubstr("--where: found 'colour', expected a column of reservations"));
  EXPECT_THAT(names({"state"}).err, HasSubstr("--where: found 'state', expected COLUMN=VALUE"));
  // A condition that would not be looked at is refused.
  const Ran one = Concordat(
      {"get", "reservation", "r-1", "--where", "state=active", "--server", site.address()});
  EXPECT_EQ(one.exit, Exit::kUsage);
  EXPECT_THAT(one.err, HasSubstr("found --where with 'r-1', expected it with all reservations"));
  for (const char* computed : {"months", "stages", "energy"}) {
    EXPECT_EQ(Concordat({"get", computed, "--where", "a=b", "--server", site.address()}).exit,
              Exit::kUsage);
    EXPECT_EQ(Concordat({"get", computed, "-A", "--server", site.address()}).exit, Exit::kUsage);
  }
}

TEST(Get, TakesTypeAndNameInEveryForm) {
  FakeSite site;
  AddServers(site);
  site.Start();
  for (const std::vector<std::string>& words : {std::vector<std::string>{"server", "a01-01"},
                                                {"servers/a01-01"},
                                                {"sites/paris/servers/a01-01"}}) {
    std::vector<std::string> arguments = {"get", "-o", "name", "--server", site.address()};
    arguments.insert(arguments.end(), words.begin(), words.end());
    EXPECT_EQ(Concordat(arguments).out, "sites/paris/servers/a01-01\n") << words[0];
  }
}

TEST(Get, TakesTheBeginningOfAName) {
  FakeSite site;
  AddServers(site);
  site.Start();
  EXPECT_EQ(Concordat({"get", "server", "a01-02*", "-o", "name", "--server", site.address()}).out,
            "sites/paris/servers/a01-02\n");
  const Ran none = Concordat({"get", "server", "b", "--server", site.address()});
  EXPECT_EQ(none.exit, Exit::kNotFound);
  EXPECT_THAT(none.err, EndsWith("try: concordat get servers\n"));
}

TEST(Get, TellsAReplicasAnswerFromItsHomes) {
  FakeSite site;
  AddServers(site);
  site.Start();
  const Ran ran = Concordat({"get", "server", "a01-01", "--server", site.address()});
  EXPECT_THAT(ran.err, HasSubstr("as of paris.inventory.events:9"));
  EXPECT_THAT(ran.out, Not(HasSubstr("as of")));
  EXPECT_EQ(Concordat({"get", "server", "a01-01", "--server", site.address(), "-q"}).err, "");
}

TEST(Get, TakesATypeThatIsAlsoACommand) {
  FakeSite site;
  std::string collection;
  site.Answer<ListResourcesRequest, ListResourcesResponse>(
      std::string(kNode) + "ListResources", [&](const ListResourcesRequest& request) {
        collection = request.collection();
        return ListResourcesResponse();
      });
  site.Start();
  EXPECT_EQ(Concordat({"get", "order", "--server", site.address()}).exit, Exit::kOk);
  EXPECT_EQ(collection, "orders");
}

TEST(Get, OfNothingIsAnEmptyListForPrograms) {
  FakeSite site;
  site.Answer<ListResourcesRequest, ListResourcesResponse>(
      std::string(kNode) + "ListResources", [](const ListResourcesRequest& request) {
        ListResourcesResponse response;
        if (request.collection() == "models") response.add_freshness()->set_sequence(9);
        return response;
      });
  site.Start();
  const auto get = [&](const std::string& type, const std::string& format) {
    const Ran ran = Concordat({"get", type, "-o", format, "--server", site.address()});
    EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
    return ran.out;
  };
  EXPECT_EQ(nlohmann::json::parse(get("servers", "json")),
            nlohmann::json::parse(R"({"resources": []})"));
  EXPECT_EQ(get("servers", "yaml"), "resources: []\n");
  EXPECT_EQ(nlohmann::json::parse(get("models", "json")),
            nlohmann::json::parse(R"({"resources": [], "freshness": [{"sequence": "9"}]})"));
  EXPECT_THAT(get("models", "yaml"), HasSubstr("\nresources: []\n"));
}

EventRecord Left(uint64_t sequence) {
  inventory::v1::Event event;
  event.mutable_server_left_service()->set_name("sites/paris/servers/a01-01");
  event.mutable_server_left_service()->set_reason("NVLink fault");
  EventRecord record;
  record.set_stream("paris.inventory.events");
  record.set_sequence(sequence);
  record.set_type("concordat.inventory.v1.ServerLeftService");
  record.set_subject("sites/paris/servers/a01-01");
  record.set_actor("alice");
  record.set_command_id("id-1");
  record.set_correlation_id("id-1");
  record.set_data_type(event.GetTypeName());
  record.set_data(event.SerializeAsString());
  return record;
}

void AddEvents(FakeSite& site) {
  site.Answer<ListEventsRequest, ListEventsResponse>(
      std::string(kNode) + "ListEvents", [](const ListEventsRequest& request) {
        ListEventsResponse response;
        if (request.subject() == "sites/paris/servers/a01-01" || request.correlation_id() == "id-1")
          *response.add_events() = Left(7);
        return response;
      });
}

TEST(History, IsATableOrTheTextThatTestsTake) {
  FakeSite site;
  AddEvents(site);
  site.Start();
  EXPECT_THAT(Concordat({"history", "server", "a01-01", "--server", site.address()}).out,
              HasSubstr("NVLink fault"));
  const Ran text =
      Concordat({"history", "server", "a01-01", "-o", "text", "--server", site.address()});
  EXPECT_EQ(test::Parse<inventory::v1::Event>(text.out).server_left_service().reason(),
            "NVLink fault");
  EXPECT_EQ(Concordat({"history", "server", "a01-09", "--server", site.address()}).exit,
            Exit::kNotFound);
  EXPECT_EQ(Concordat({"history", "a01-01", "--server", site.address()}).exit, Exit::kUsage);
}

TEST(History, IsAskedWhereComplianceRuns) {
  FakeSite front, compliance;
  AddEvents(compliance);
  front.Start();
  compliance.Start();
  const FakeConfig config({&front}, fmt::format("{{compliance: \"{}\"}}", compliance.address()));
  EXPECT_EQ(Concordat({"history", "server", "a01-01", "--config", config.path()}).exit, Exit::kOk);
}

TEST(Explain, FindsARefusedCommandByItsRequestId) {
  FakeSite site;
  AddEvents(site);
  site.Start();
  const Ran ran = Concordat({"explain", "--request", "id-1", "--server", site.address()});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("alice, "));
  EXPECT_THAT(ran.out,
              HasSubstr("ServerLeftService  sites/paris/servers/a01-01  paris.inventory.events:7"));
  EXPECT_EQ(Concordat({"explain", "--request", "id-2", "--server", site.address()}).exit,
            Exit::kNotFound);
}

TEST(Watch, PrintsEventsAsTheyCome) {
  FakeSite site;
  auto* stream = site.status.add_streams();
  stream->set_stream("paris.inventory.events");
  stream->set_home(true);
  stream->set_sequence(6);
  std::vector<uint64_t> from;
  site.server().AddStream(
      std::string(kNode) + "Watch", WatchRequest::descriptor(),
      [&](const runtime::Call&, const google::protobuf::Message& request, const auto& write) {
        from.push_back(static_cast<const WatchRequest&>(request).from_sequence());
        for (const uint64_t sequence : {7, 8}) {
          WatchResponse response;
          *response.mutable_event() = Left(sequence);
          write(response);
        }
        return absl::OkStatus();
      });
  site.Start();
  const Ran ran = Concordat({"watch", "inventory", "-o", "name", "--server", site.address()});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_EQ(ran.out, "paris.inventory.events:7\nparis.inventory.events:8\n");
  Concordat({"watch", "--until-head", "--server", site.address()});
  EXPECT_THAT(from, ElementsAre(7, 0));
  EXPECT_EQ(Concordat({"watch", "billing", "--server", site.address()}).exit, Exit::kNotFound);
  const Ran before = Concordat({"watch", "--from", "-1", "--server", site.address()});
  EXPECT_EQ(before.exit, Exit::kUsage);
  EXPECT_THAT(before.err, HasSubstr("--from: found -1, expected 0 or more"));
}

// Paris and Borlänge, which answer Verify with a head at `sequence`, and remember links and clocks.
struct TwoSites {
  explicit TwoSites(int64_t paris_head, int64_t borlange_head) {
    Prepare(paris, paris_head);
    Prepare(borlange, borlange_head);
    config = std::make_unique<FakeConfig>(std::vector<const FakeSite*>{&paris, &borlange});
  }
  void Prepare(FakeSite& site, int64_t head) {
    site.Answer<VerifyRequest, VerifyResponse>(
        std::string(kNode) + "Verify", [head](const VerifyRequest&) {
          VerifyResponse response;
          auto* stream = response.add_streams();
          stream->set_stream("paris.inventory.events");
          stream->set_sequence(head);
          stream->set_link(std::string(64, static_cast<char>('0' + head)));
          stream->set_condition("ok");
          return response;
        });
    site.Answer<GetLinkRequest, GetLinkResponse>(
        std::string(kNode) + "GetLink", [](const GetLinkRequest& request) {
          GetLinkResponse response;
          response.set_link(std::string(64, static_cast<char>('0' + request.sequence())));
          return response;
        });
    site.Answer<SetLinkRequest, SetLinkResponse>(
        std::string(kNode) + "SetLink", [](const SetLinkRequest& request) {
          SetLinkResponse response;
          response.mutable_link()->set_origin(request.origin());
          response.mutable_link()->set_cut(request.cut());
          return response;
        });
    site.Answer<SetClockRequest, SetClockResponse>(std::string(kNode) + "SetClock",
                                                   [](const SetClockRequest& request) {
                                                     SetClockResponse response;
                                                     *response.mutable_now() = request.time();
                                                     return response;
                                                   });
    site.Start();
  }
  Ran Run(std::vector<std::string> words) {
    words.insert(words.end(), {"--config", config->path()});
    return Concordat(words);
  }
  FakeSite paris{"paris"};
  FakeSite borlange{"borlange"};
  std::unique_ptr<FakeConfig> config;
};

TEST(Verify, EndsWithOneLineThatSaysItAll) {
  TwoSites sites(3, 3);
  const Ran ran = sites.Run({"verify"});
  EXPECT_EQ(ran.exit, Exit::kOk);
  EXPECT_EQ(ran.out, "verify: 1 streams at 2 sites, heads equal, digests equal\n");
}

TEST(Verify, OfAStreamThatNobodyKnowsDoesNotPass) {
  FakeSite site;
  site.Answer<VerifyRequest, VerifyResponse>(std::string(kNode) + "Verify",
                                             [](const VerifyRequest&) { return VerifyResponse(); });
  site.Start();
  const Ran ran = Concordat({"verify", "--stream", "nosuch", "--server", site.address()});
  EXPECT_EQ(ran.exit, Exit::kNotFound);
  EXPECT_THAT(ran.err, HasSubstr("found no stream 'nosuch' at any site"));
}

TEST(Verify, OfASiteThatIsBehindAndStaysSoIsUnavailable) {
  TwoSites sites(3, 1);
  const Ran ran = sites.Run({"verify", "--wait", "1s"});
  EXPECT_EQ(ran.exit, Exit::kUnavailable);
  EXPECT_THAT(ran.out, EndsWith("verify: 1 streams at 2 sites, 0 different, 1 behind\n"));
  EXPECT_THAT(sites.Run({"verify", "-o", "json"}).out, HasSubstr("\"kind\": \"behind\""));
}

TEST(Links, AreCutInBothDirectionsUnlessASiteIsNamed) {
  TwoSites sites(3, 3);
  EXPECT_EQ(sites.Run({"link", "cut", "borlange"}).out,
            "link borlange to paris  cut\nlink paris to borlange  cut\n");
  EXPECT_EQ(sites.Run({"link", "heal", "borlange", "--site", "paris"}).out,
            "link borlange to paris  open\n");
  EXPECT_EQ(sites.Run({"link", "cut", "rome"}).exit, Exit::kUsage);
}

TEST(Links, ThatAnotherProgramCarriesAreNotCalledOpen) {
  LinkStatus link;
  EXPECT_EQ(LinkText(link), "open");
  link.set_pending_records(6);
  link.set_cut(true);
  EXPECT_EQ(LinkText(link), "cut, 6 waiting");
  link.set_cut(false);
  link.set_pending_records(-1);
  EXPECT_EQ(LinkText(link), "carried elsewhere");
}

TEST(Clocks, AreAdvancedTogetherFromTheLatest) {
  TwoSites sites(3, 3);
  sites.borlange.status.mutable_now()->set_seconds(1798804860);
  EXPECT_EQ(sites.Run({"clock", "advance", "1d"}).out,
            "paris  2027-01-02T12:01:00Z\nborlange  2027-01-02T12:01:00Z\n");
}

TEST(Documents, AreWhatOperatorsCommandsAnswerToo) {
  TwoSites sites(3, 3);
  const auto json = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"-o", "json"});
    const Ran ran = sites.Run(words);
    EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
    return nlohmann::json::parse(ran.out);
  };
  EXPECT_EQ(json({"link", "cut", "borlange", "--site", "paris"}),
            nlohmann::json::parse(
                R"({"links": [{"site": "paris", "link": {"origin": "borlange", "cut": true}}]})"));
  EXPECT_EQ(json({"clock", "show"})["clocks"][1]["site"], "borlange");
  EXPECT_EQ(json({"clock", "advance", "1d"})["clocks"][0]["time"], "2027-01-02T12:00:00Z");
  EXPECT_EQ(json({"config", "contexts"})["contexts"][0]["site"], "paris");
  EXPECT_TRUE(json({"version"})["release"].is_string());
  EXPECT_EQ(sites.Run({"version", "-o", "xml"}).exit, Exit::kUsage);

  FakeSite rome("rome");
  rome.Answer<node::v1::TakeSnapshotRequest, node::v1::TakeSnapshotResponse>(
      "/concordat.node.v1.NodeService/TakeSnapshot", [](const auto& request) {
        node::v1::TakeSnapshotResponse response;
        response.add_snapshots()->set_stream(request.stream());
        return response;
      });
  rome.Start();
  const Ran snapshot =
      Concordat({"--server", rome.address(), "snapshot", "rome.inventory.events", "-o", "json"});
  EXPECT_EQ(nlohmann::json::parse(snapshot.out)["snapshots"][0]["stream"], "rome.inventory.events")
      << snapshot.err;
}

TEST(Status, ShowsTheSitesThatAnswerWhereOneDoesNot) {
  FakeSite paris;
  paris.Start();
  auto gone = std::make_unique<FakeSite>("borlange");
  gone->Start();
  const FakeConfig config({&paris, gone.get()});
  gone.reset();
  const Ran ran = Concordat({"status", "--config", config.path()});
  EXPECT_EQ(ran.exit, Exit::kUnavailable);
  EXPECT_THAT(ran.out, HasSubstr("2027-01-01T12:00:00Z"));
  EXPECT_THAT(ran.out, HasSubstr("no answer"));
}

TEST(Status, ShowsHowFarBehindAReplicaIsAndWhatIsPromised) {
  FakeSite paris;
  paris.status.add_services("reservations");
  auto& stream = *paris.status.add_streams();
  stream.set_stream("borlange.reservations.events");
  stream.set_lag_records(41);
  auto& home = *paris.status.add_streams();
  home.set_stream("paris.reservations.events");
  home.set_home(true);
  home.set_writer_state("starting");
  home.set_folded_records(180);
  home.set_records_to_fold(1000);
  home.set_records_per_second(52000);
  paris.Answer<node::v1::ListResourcesRequest, node::v1::ListResourcesResponse>(
      "/concordat.node.v1.NodeService/ListResources", [](const auto& request) {
        node::v1::ListResourcesResponse response;
        reservations::v1::Promise promise;
        promise.set_name("sites/paris/reservations/r-1");
        promise.set_bundle("sites/borlange/bundles/b-1");
        promise.mutable_promised_time()->set_seconds(1798804800);
        if (request.collection() == "promises") response.add_resources()->PackFrom(promise);
        return response;
      });
  paris.Start();
  const Ran ran = Concordat({"status", "--server", paris.address()});
  EXPECT_EQ(ran.exit, Exit::kOk) << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("starting (18% at 52000/s)"));
  EXPECT_THAT(ran.out, testing::ContainsRegex("borlange.reservations.events .* 41 "));
  EXPECT_THAT(ran.out, HasSubstr("sites/paris/reservations/r-1 is promised since "
                                 "2027-01-01T12:00:00Z and waits for borlange to decide on "
                                 "sites/borlange/bundles/b-1\n"));
}

TEST(Configuration, ChangesItsCurrentContextAndNothingElse) {
  FakeSite site;
  site.Start();
  const FakeConfig config({&site});
  EXPECT_EQ(Concordat({"config", "use", "test", "--config", config.path()}).exit, Exit::kOk);
  EXPECT_THAT(Concordat({"config", "contexts", "--config", config.path()}).out,
              HasSubstr("*        test     paris"));
  EXPECT_EQ(Concordat({"config", "use", "other", "--config", config.path()}).exit, Exit::kUsage);
  EXPECT_EQ(Concordat({"status", "--config", "/nowhere"}).exit, Exit::kUsage);
}

TEST(Completion, KnowsCommandsFlagsAndNames) {
  FakeSite site;
  AddServers(site);
  site.Start();
  const FakeConfig config({&site});
  setenv("CONCORDAT_CONFIG", config.path().c_str(), 1);
  EXPECT_EQ(Concordat({"__complete", "--", "withd"}).out, "withdraw\n");
  EXPECT_EQ(Concordat({"__complete", "--", "order", "server", "--prom"}).out, "--promised-time\n");
  EXPECT_EQ(Concordat({"__complete", "--", "withdraw", "server", "a01-03"}).out, "a01-03\n");
  EXPECT_EQ(Concordat({"__complete", "--", "get", "serv"}).out, "server_records\nservers\n");
  unsetenv("CONCORDAT_CONFIG");
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(Concordat({"completion", shell}).out, HasSubstr("concordat __complete"));
  }
}

}  // namespace
}  // namespace concordat::cli
