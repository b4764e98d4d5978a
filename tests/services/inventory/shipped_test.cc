// The plans and models that are shipped can be registered as they are.
#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "services/inventory/service.h"
#include "services/runtime/yaml.h"
#include "tests/support/scenario.h"
#include "tests/support/source_dir.h"

namespace concordat::inventory {
namespace {

template <typename Request>
std::vector<Request> Shipped(const std::string& folder) {
  std::vector<Request> requests;
  for (const auto& entry :
       std::filesystem::directory_iterator(SOURCE_DIR "/services/inventory/" + folder)) {
    std::stringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const auto json = runtime::JsonOfYaml(text.str());
    EXPECT_TRUE(json.ok()) << entry.path() << json.status();
    if (!json.ok()) continue;
    Request request;
    const auto parsed = google::protobuf::util::JsonStringToMessage(*json, &request);
    EXPECT_TRUE(parsed.ok()) << entry.path() << " " << std::string(parsed.message());
    requests.push_back(request);
  }
  return requests;
}

TEST(Shipped, PlansAndModelsOfThreeVendorsCanBeRegistered) {
  test::Scenario<Service> paris;
  paris.At("2026-11-23T12:00:00Z").Given(R"(site_opened { name: "sites/paris" country: "FR" })");
  for (const auto& request : Shipped<v1::RegisterPlanRequest>("plans")) {
    v1::Command command;
    *command.mutable_register_plan() = request;
    EXPECT_TRUE(Validate(command).ok()) << Validate(command);
    EXPECT_TRUE(request.retest_after_tenant() && request.has_validity()) << request.name();
    EXPECT_TRUE(paris.When(command).has_plan_registered());
  }
  std::set<std::string> vendors;
  for (const auto& request : Shipped<v1::RegisterModelRequest>("models")) {
    v1::Command command;
    *command.mutable_register_model() = request;
    EXPECT_TRUE(Validate(command).ok()) << Validate(command);
    EXPECT_FALSE(request.sources().empty()) << request.name() << " names no source";
    EXPECT_TRUE(paris.When(command).has_model_registered()) << request.name();
    vendors.insert(request.vendor());
  }
  EXPECT_GE(vendors.size(), 3);
}

}  // namespace
}  // namespace concordat::inventory
