// The executor with a folder of manifests, as it runs beside the service.
#include "services/deployment/executor.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "events/link.h"
#include "services/deployment/manifest_target.h"
#include "tests/services/deployment/histories.h"

namespace concordat::deployment {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A folder that is gone after the test.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "concordat-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string Read(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

v1::Deployment Example(v1::DeploymentState state = v1::DEPLOYMENT_STATE_PLACING) {
  auto deployment = test::Parse<v1::Deployment>(R"(
      name: "sites/paris/deployments/d-1" artefact: "artefacts/open-70b" digest: "ab"
      reservation: "sites/paris/reservations/r-1"
      servers: "sites/paris/servers/a01" servers: "sites/paris/servers/a02")");
  deployment.set_state(state);
  return deployment;
}

constexpr char kManifest[] = R"({
  "deployment": "sites/paris/deployments/d-1",
  "artefact": "artefacts/open-70b",
  "digest": "ab",
  "reservation": "sites/paris/reservations/r-1",
  "servers": [
    "sites/paris/servers/a01",
    "sites/paris/servers/a02"
  ]
}
)";

// Plans and executes what is due, once; returns how many steps there were.
size_t Turn(Scenario& scenario, Target& target, const std::string& at) {
  scenario.At(at);
  const std::vector<Step> steps = Work(scenario.state().rows, test::Time(at), 10);
  for (const Step& step : steps) {
    const v1::Command command = Execute(target, step.deployment);
    EXPECT_EQ(Validate(command), absl::OkStatus());
    scenario.When(command, step.command_id);
  }
  return steps.size();
}

TEST(ManifestTarget, WritesAManifestAndReturnsItsDigest) {
  Folder folder;
  ManifestTarget target(folder / "deep/er");
  const absl::StatusOr<std::string> digest = target.Place(Example());
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(Read(folder / "deep/er/paris/d-1.json"), kManifest);
  EXPECT_EQ(*digest, events::Sha256(kManifest).ToHex());
}

TEST(ManifestTarget, WritesNothingButTheManifest) {
  Folder folder;
  ManifestTarget target(folder.path());
  ASSERT_TRUE(target.Place(Example()).ok());
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder / "paris")) {
    files.push_back(entry.path().filename());
  }
  EXPECT_THAT(files, ElementsAre("d-1.json"));
}

TEST(ManifestTarget, EscapesWhatItWrites) {
  v1::Deployment deployment = Example();
  deployment.set_artefact("a\"b\\c\n");
  deployment.clear_servers();
  EXPECT_THAT(ManifestOf(deployment), HasSubstr(R"("artefact": "a\"b\\c\u000a",)"));
  EXPECT_THAT(ManifestOf(deployment), HasSubstr(R"("servers": [])"));
}

TEST(ManifestTarget, PlacesAndRemovesAsOftenAsItIsAsked) {
  Folder folder;
  ManifestTarget target(folder.path());
  const std::string first = target.Place(Example()).value_or("");
  // An earlier attempt was cut off in the middle.
  Write(folder / "paris/d-1.json.tmp", "half");
  EXPECT_EQ(target.Place(Example()).value_or("another"), first);
  EXPECT_EQ(target.Remove(Example()), absl::OkStatus());
  EXPECT_FALSE(fs::exists(folder / "paris/d-1.json"));
  EXPECT_EQ(target.Remove(Example()), absl::OkStatus());
}

TEST(ManifestTarget, RemovesWhatWasNeverPlaced) {
  Folder folder;
  EXPECT_EQ(ManifestTarget(folder.path()).Remove(Example()), absl::OkStatus());
}

TEST(ManifestTarget, NeverPlacesAgainWhatWasRemoved) {
  Folder folder;
  ManifestTarget(folder.path()).Place(Example()).IgnoreError();
  ASSERT_EQ(ManifestTarget(folder.path()).Remove(Example()), absl::OkStatus());
  EXPECT_EQ(ManifestTarget(folder.path()).Place(Example()).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(fs::exists(folder / "paris/d-1.json"));
}

TEST(ManifestTarget, KeepsDeploymentsAndSitesApart) {
  Folder folder;
  ManifestTarget target(folder.path());
  v1::Deployment second = Example(), elsewhere = Example();
  second.set_name("sites/paris/deployments/d-2");
  elsewhere.set_name("sites/borlange/deployments/d-1");
  for (const v1::Deployment& deployment : {Example(), second, elsewhere}) {
    ASSERT_TRUE(target.Place(deployment).ok());
  }
  ASSERT_TRUE(target.Remove(Example()).ok());
  EXPECT_TRUE(fs::exists(folder / "paris/d-2.json"));
  EXPECT_TRUE(fs::exists(folder / "borlange/d-1.json"));
}

TEST(ManifestTarget, FailsAsItIsTold) {
  Folder folder;
  ManifestTarget target(folder.path());
  Write(folder / "FAIL", "the rack has no power\nsecond line\n");
  EXPECT_EQ(target.Place(Example()).status(), absl::UnavailableError("the rack has no power"));
  EXPECT_EQ(target.Remove(Example()), absl::UnavailableError("the rack has no power"));
  EXPECT_FALSE(fs::exists(folder / "paris"));
  Write(folder / "FAIL", "");
  EXPECT_EQ(target.Remove(Example()).code(), absl::StatusCode::kUnavailable);
  fs::remove(folder / "FAIL");
  EXPECT_TRUE(target.Place(Example()).ok());
}

TEST(ManifestTarget, DoesNotWaitForAProcessThatIsAtWork) {
  Folder folder;
  ManifestTarget target(folder.path());
  ASSERT_TRUE(target.Place(Example()).ok());
  const int other = open((folder / "paris").c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(other, LOCK_EX), 0);
  EXPECT_EQ(target.Remove(Example()).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(fs::exists(folder / "paris/d-1.json"));
  close(other);
  EXPECT_EQ(target.Remove(Example()), absl::OkStatus());
}

TEST(ManifestTarget, TakesNoNameThatLeavesItsFolder) {
  Folder folder;
  ManifestTarget target(folder / "inner");
  for (const char* name : {"", "d-1", "sites/../deployments/d-1", "sites/paris/deployments/..",
                           "sites/paris/deployments/a/b", "sites/paris/reservations/r-1"}) {
    v1::Deployment deployment = Example();
    deployment.set_name(name);
    EXPECT_EQ(target.Place(deployment).status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(target.Remove(deployment).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(ManifestTarget, SaysWhichFileItCouldNotWrite) {
  Folder folder;
  Write(folder / "file", "");
  EXPECT_FALSE(ManifestTarget(folder / "file").Place(Example()).ok());
  // A folder stands where the manifest should be.
  fs::create_directories(folder / "paris/d-1.json/x");
  ManifestTarget target(folder.path());
  EXPECT_THAT(std::string(target.Place(Example()).status().message()), HasSubstr("paris/d-1.json"));
  EXPECT_THAT(std::string(target.Remove(Example()).message()), HasSubstr("paris/d-1.json"));
}

TEST(Work, IsWhatIsPlacedOrRemovedAndDue) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARequest(scenario, "requested");
  GivenAPlacement(scenario, "placing");
  GivenARunning(scenario, "running");
  GivenARunning(scenario, "removing");
  scenario.Given(
      R"(reservation_vacating { reservation: "r" deployments: "sites/paris/deployments/d-removing" })");
  const auto names = [&](const std::string& at, size_t limit) {
    std::vector<std::string> ids;
    for (const Step& step : Work(scenario.state().rows, test::Time(at), limit)) {
      ids.push_back(step.command_id);
    }
    return ids;
  };
  EXPECT_THAT(names("2027-03-01T00:00:00Z", 10),
              ElementsAre("sites/paris/deployments/d-placing:place:1:1",
                          "sites/paris/deployments/d-removing:remove:2:1"));
  EXPECT_THAT(names("2027-02-28T23:59:59Z", 10), ElementsAre());
  EXPECT_THAT(names("2027-03-01T00:00:00Z", 0), ElementsAre());
  // After a failed attempt another one goes first, and comes with the number of its attempt.
  scenario.Given(R"(placement_failed { name: "sites/paris/deployments/d-placing" attempt: 1 })");
  EXPECT_THAT(names("2027-03-01T00:00:00Z", 10),
              ElementsAre("sites/paris/deployments/d-removing:remove:2:1"));
  EXPECT_THAT(names("2027-03-01T00:00:01Z", 1),
              ElementsAre("sites/paris/deployments/d-removing:remove:2:1"));
  EXPECT_THAT(names("2027-03-01T00:00:01Z", 10),
              ElementsAre("sites/paris/deployments/d-removing:remove:2:1",
                          "sites/paris/deployments/d-placing:place:1:2"));
}

TEST(Work, ListsExactlyTheDeploymentsInThoseStates) {
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  EXPECT_TRUE(scenario.state().rows.deployment_work.Contains("sites/paris/deployments/d-1"));
  scenario.Given(R"(model_placed { name: "sites/paris/deployments/d-1" })");
  EXPECT_FALSE(scenario.state().rows.deployment_work.Contains("sites/paris/deployments/d-1"));
}

TEST(Executor, PlacesAModelAndRemovesItWhenTheReservationIsOver) {
  Folder folder;
  ManifestTarget target(folder.path());
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:01Z"), 1u);
  EXPECT_EQ(StateOf(scenario), "RUNNING");
  EXPECT_EQ(DeploymentOf(scenario).manifest_digest(),
            events::Sha256(Read(folder / "paris/d-1.json")).ToHex());
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:02Z"), 0u);
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })");
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:03Z"), 1u);
  EXPECT_EQ(StateOf(scenario), "REMOVED");
  EXPECT_FALSE(fs::exists(folder / "paris/d-1.json"));
  EXPECT_EQ(Turn(scenario, target, "2028-01-01T00:00:00Z"), 0u);
}

TEST(Executor, GivesUpPlacingButNeverRemoving) {
  Folder folder;
  ManifestTarget target(folder.path());
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  // The first attempt did place it, and the process stopped before it could say so.
  ASSERT_TRUE(target.Place(DeploymentOf(scenario)).ok());
  Write(folder / "FAIL", "told to");
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:00Z"), 1u);
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:00.999Z"), 0u);
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:01Z"), 1u);
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:03Z"), 1u);
  EXPECT_EQ(StateOf(scenario), "FAILED");
  EXPECT_EQ(DeploymentOf(scenario).detail(), "UNAVAILABLE: told to");
  EXPECT_EQ(Turn(scenario, target, "2027-03-02T00:00:00Z"), 0u);
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })");
  for (int hour = 10; hour < 20; ++hour) {
    EXPECT_EQ(Turn(scenario, target, "2027-03-02T" + std::to_string(hour) + ":00:00Z"), 1u);
  }
  EXPECT_EQ(StateOf(scenario), "REMOVING");
  EXPECT_TRUE(fs::exists(folder / "paris/d-1.json"));
  fs::remove(folder / "FAIL");
  EXPECT_EQ(Turn(scenario, target, "2027-03-02T21:00:00Z"), 1u);
  EXPECT_EQ(StateOf(scenario), "REMOVED");
  EXPECT_FALSE(fs::exists(folder / "paris/d-1.json"));
}

TEST(Executor, DoesAStepAgainThatItCouldNotReportBeforeARestart) {
  Folder folder;
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  const std::vector<Step> before =
      Work(scenario.state().rows, test::Time("2027-03-01T00:00:00Z"), 10);
  ASSERT_EQ(before.size(), 1u);
  const v1::Command lost =
      Execute(*std::make_unique<ManifestTarget>(folder.path()), before[0].deployment);
  const std::vector<Step> after =
      Work(scenario.state().rows, test::Time("2027-03-01T00:05:00Z"), 10);
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].command_id, before[0].command_id);
  ManifestTarget target(folder.path());
  const v1::Command again = Execute(target, after[0].deployment);
  EXPECT_EQ(again.SerializeAsString(), lost.SerializeAsString());
  EXPECT_TRUE(scenario.When(again, after[0].command_id).has_model_placed());
}

// A window drains the servers, the host is dead for hours, and the reservation ends meanwhile: the
// removal that begins then is none that was recorded before.
TEST(Executor, ARemovalThatIsBegunAgainIsRecordedAnew) {
  Folder folder;
  ManifestTarget target(folder.path());
  Scenario scenario;
  GivenAReservation(scenario);
  GivenARunning(scenario);
  std::set<std::string> ids;
  const auto attempt = [&](const std::string& at, bool fails) {
    const std::vector<Step> steps = Work(scenario.state().rows, test::Time(at), 10);
    EXPECT_EQ(steps.size(), 1u);
    EXPECT_TRUE(ids.insert(steps[0].command_id).second) << steps[0].command_id;
    v1::Command command = Execute(target, steps[0].deployment);
    if (fails) command.mutable_record_removal()->set_error("the host is dead");
    return scenario.At(at).When(command, steps[0].command_id);
  };
  scenario.At("2027-03-02T00:00:00Z")
      .When(
          R"(drain_servers { window: "sites/paris/windows/w" servers: "sites/paris/servers/a01" })");
  ASSERT_EQ(StateOf(scenario), "REMOVING");
  EXPECT_TRUE(attempt("2027-03-02T00:00:00Z", true).has_removal_failed());
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })");
  EXPECT_TRUE(attempt("2027-03-02T00:00:00Z", true).has_removal_failed());
  EXPECT_TRUE(attempt("2027-03-02T00:00:01Z", false).has_model_removed());
  EXPECT_EQ(StateOf(scenario), "REMOVED");
}

// An executor planned a placement and was paused; the reservation ended meanwhile, and another
// executor has removed the model. What the first one does when it goes on must leave nothing on the
// servers.
TEST(Executor, APlacementThatIsCarriedOutAfterTheRemovalLeavesNothing) {
  Folder folder;
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  const std::vector<Step> paused =
      Work(scenario.state().rows, test::Time("2027-03-01T00:00:00Z"), 10);
  ASSERT_EQ(paused.size(), 1u);
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })");
  ManifestTarget second(folder.path());
  EXPECT_EQ(Turn(scenario, second, "2027-03-01T00:00:05Z"), 1u);
  EXPECT_EQ(StateOf(scenario), "REMOVED");
  ManifestTarget first(folder.path());
  const v1::Command late = Execute(first, paused[0].deployment);
  EXPECT_THAT(late.record_placement().error(), HasSubstr("was removed"));
  EXPECT_TRUE(scenario.When(late, paused[0].command_id).has_command_refused());
  EXPECT_EQ(StateOf(scenario), "REMOVED");
  EXPECT_FALSE(fs::exists(folder / "paris/d-1.json"));
}

TEST(Executor, APlacementThatIsCarriedOutBeforeTheRemovalIsRemoved) {
  Folder folder;
  ManifestTarget target(folder.path());
  Scenario scenario;
  GivenAReservation(scenario);
  GivenAPlacement(scenario);
  const std::vector<Step> steps =
      Work(scenario.state().rows, test::Time("2027-03-01T00:00:00Z"), 10);
  ASSERT_EQ(steps.size(), 1u);
  scenario.When(R"(vacate_reservation { reservation: "sites/paris/reservations/r-1" })");
  const v1::Command placed = Execute(target, steps[0].deployment);
  EXPECT_TRUE(fs::exists(folder / "paris/d-1.json"));
  EXPECT_TRUE(scenario.When(placed, steps[0].command_id).has_command_refused());
  EXPECT_EQ(Turn(scenario, target, "2027-03-01T00:00:01Z"), 1u);
  EXPECT_EQ(StateOf(scenario), "REMOVED");
  EXPECT_FALSE(fs::exists(folder / "paris/d-1.json"));
}

TEST(Executor, KeepsWhatATargetSaysPrintableAndShort) {
  Folder folder;
  ManifestTarget target(folder.path());
  Write(folder / "FAIL", "\xff\x01" + std::string(1000, 'x'));
  const v1::Command command = Execute(target, Example());
  EXPECT_EQ(command.record_placement().error(), "UNAVAILABLE: ??" + std::string(500 - 15, 'x'));
  EXPECT_EQ(command.record_placement().attempt(), 1);
  EXPECT_EQ(Execute(target, Example(v1::DEPLOYMENT_STATE_REMOVING)).record_removal().error(),
            command.record_placement().error());
}

}  // namespace
}  // namespace concordat::deployment
