#include <gmock/gmock.h>

#include "tests/services/inventory/maintained_site.h"

namespace concordat::inventory {
namespace {

using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kWindow[] = "sites/paris/windows/w";

// Works on s1 from 11:00 to 13:00.
std::string Propose(const std::string& more) {
  return fmt::format(
      R"(propose_window {{ name: "{}" servers: "sites/paris/servers/s1" work: "replace a fan"
          start_time {{ seconds: {} }} end_time {{ seconds: {} }} overrun: OVERRUN_POLICY_FINISH {} }})",
      kWindow, absl::ToUnixSeconds(test::Time("2027-01-01T11:00:00Z")),
      absl::ToUnixSeconds(test::Time("2027-01-01T13:00:00Z")), more);
}
constexpr char kPlanned[] = "window_class: WINDOW_CLASS_PLANNED";
constexpr char kEmergency[] =
    R"(window_class: WINDOW_CLASS_EMERGENCY basis_kind: BASIS_KIND_LEGAL basis: "order of the court")";

std::string About(const std::string& command, const std::string& more = {}) {
  return fmt::format("{} {{ name: \"{}\" {} }}", command, kWindow, more);
}

// The deployments in a state, by their names.
std::vector<std::string> In(MaintainedSite& site, deployment::v1::DeploymentState state) {
  std::vector<std::string> names;
  site.DeploymentRows().deployments.Scan("", [&](std::string_view name, const auto& deployment) {
    if (deployment.state() == state) names.emplace_back(name);
    return true;
  });
  return names;
}

std::vector<std::string> Running(MaintainedSite& site) {
  return In(site, deployment::v1::DEPLOYMENT_STATE_RUNNING);
}

std::string Deploy(MaintainedSite& site, const std::string& reservation) {
  return site
      .Deployment(
          fmt::format(R"(deploy {{ artefact: "artefacts/a" reservation: "{}" }})", reservation))
      .deployment_requested()
      .name();
}

TEST(MaintenanceStory, AWindowPlannedAroundTheCustomerWhoUsesTheServer) {
  MaintainedSite site;
  const std::string reservation =
      site.Reserve("hsbc", 2, "2027-01-01T10:00:00Z", "2027-01-01T18:00:00Z");
  site.At("2027-01-01T10:00:00Z");
  const std::string model = Deploy(site, reservation);
  ASSERT_THAT(Running(site), ElementsAre(model));

  site.Inventory(Propose(kPlanned));
  site.Inventory(About("announce_window"));
  EXPECT_THAT(site.Window(kWindow), HasText(fmt::format(R"(state: WINDOW_STATE_ANNOUNCED
      missing_consents: "customers/hsbc" affected {{ reservation: "{}" active: true
      free_servers: "sites/paris/servers/s3" }})",
                                                        reservation)));
  EXPECT_THAT(site.Inventory(About("open_window")),
              HasText("command_refused { reason: REASON_CONSENT_MISSING }"));
  site.Inventory(About("consent_to_window", R"(customer: "customers/hsbc")"));
  EXPECT_EQ(site.Window(kWindow).state(), v1::WINDOW_STATE_CONSENTED);
  ASSERT_THAT(Running(site), ElementsAre(model)) << "nothing is touched before the window opens";

  site.At("2027-01-01T11:00:00Z");
  EXPECT_THAT(site.Window(kWindow), HasText("state: WINDOW_STATE_OPEN drained: true"));
  EXPECT_THAT(Running(site), IsEmpty());
  EXPECT_TRUE(site.InventoryRows().servers.Get("sites/paris/servers/s1")->cordoned());
  EXPECT_EQ(site.Reservation(reservation).state(), reservations::v1::RESERVATION_STATE_ACTIVE);
  EXPECT_EQ(site.Reservation(reservation).servers_size(), 2) << "its servers are its own";

  site.Inventory(About("close_window"));
  EXPECT_FALSE(site.InventoryRows().servers.Get("sites/paris/servers/s1")->cordoned());
  ASSERT_EQ(Running(site).size(), 1u);
  EXPECT_THAT(site.DeploymentRows().deployments.Get(Running(site)[0]).value(),
              HasText(fmt::format(R"(continues: "{}" reservation: "{}")", model, reservation)));
  EXPECT_FALSE(site.ReservationRows().window_records.Contains(kWindow));
}

TEST(MaintenanceStory, ACustomerWhoAgreesIsMovedAndItsModelGoesOnDuringTheWork) {
  MaintainedSite site;
  const std::string reservation =
      site.Reserve("hsbc", 2, "2027-01-01T10:00:00Z", "2027-01-01T18:00:00Z");
  site.At("2027-01-01T10:00:00Z");
  const std::string model = Deploy(site, reservation);
  site.Inventory(Propose(kPlanned));
  site.Inventory(About("announce_window"));
  site.Inventory(About("consent_to_window", R"(customer: "customers/hsbc" relocation: true)"));
  EXPECT_THAT(site.Window(kWindow), HasText(R"(state: WINDOW_STATE_CONSENTED affected {
      moves: true free_servers: "sites/paris/servers/s3" })"));
  ASSERT_THAT(Running(site), ElementsAre(model)) << "nothing is touched before the window opens";
  std::vector<reservations::v1::Event> moved;
  site.on_reservations = [&](const reservations::v1::Event& event) {
    if (!event.has_servers_reassigned()) return;
    moved.push_back(event);
    EXPECT_THAT(Running(site), IsEmpty()) << "nothing is given up while something runs on it";
  };
  site.At("2027-01-01T11:00:00Z");
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_THAT(site.Reservation(reservation).servers(),
              ElementsAre("sites/paris/servers/s2", "sites/paris/servers/s3"));
  ASSERT_EQ(Running(site).size(), 1u);
  const std::string continued = Running(site)[0];
  EXPECT_THAT(site.DeploymentRows().deployments.Get(continued).value(),
              HasText(fmt::format(R"(continues: "{}" servers: "sites/paris/servers/s2"
                                     servers: "sites/paris/servers/s3")",
                                  model)));
  EXPECT_THAT(site.Window(kWindow).affected(), IsEmpty());
  site.Inventory(About("close_window"));
  EXPECT_THAT(Running(site), ElementsAre(continued)) << "it is not put back";
  EXPECT_EQ(site.Reservation(reservation).servers_size(), 2);
}

TEST(MaintenanceStory, AWindowWhoseCustomerRefusesDoesNotTakePlace) {
  MaintainedSite site;
  site.Reserve("hsbc", 4, "2027-01-01T12:00:00Z", "2027-01-01T18:00:00Z");
  site.Inventory(Propose(kPlanned));
  site.Inventory(About("announce_window"));
  site.Inventory(About("refuse_window", R"(customer: "customers/hsbc" reason: "quarter end")"));
  site.At("2027-01-01T11:00:00Z");
  EXPECT_EQ(site.Window(kWindow).state(), v1::WINDOW_STATE_CANCELLED);
  EXPECT_THAT(site.Window(kWindow).detail(), testing::HasSubstr("customers/hsbc refused"));
  EXPECT_FALSE(site.InventoryRows().servers.Get("sites/paris/servers/s1")->cordoned());
  EXPECT_FALSE(site.ReservationRows().window_records.Contains(kWindow)) << "it claims nothing more";
}

TEST(MaintenanceStory, AnEmergencyBypassesConsentAndNotTheRecord) {
  MaintainedSite site;
  const std::string reservation =
      site.Reserve("volvo", 1, "2027-01-01T10:00:00Z", "2027-01-01T18:00:00Z");
  site.At("2027-01-01T10:00:00Z");
  Deploy(site, reservation);
  site.Inventory(Propose(kEmergency));
  std::vector<v1::Event> opened;
  site.on_inventory = [&](const v1::Event& event) {
    if (event.has_window_opened()) opened.push_back(event);
  };
  site.Inventory(About("announce_window"));
  site.At("2027-01-01T11:00:00Z");
  ASSERT_EQ(opened.size(), 1u);
  EXPECT_THAT(opened[0], HasText(fmt::format(R"(window_opened {{ basis: "order of the court"
      affected {{ reservation: "{}" customer: "customers/volvo" }} }})",
                                             reservation)));
  EXPECT_THAT(Running(site), IsEmpty());
}

TEST(MaintenanceStory, WhereTheReservationEndsUnderTheWindowNothingComesBack) {
  MaintainedSite site;
  const std::string reservation =
      site.Reserve("hsbc", 1, "2027-01-01T10:00:00Z", "2027-01-01T12:00:00Z");
  site.At("2027-01-01T10:00:00Z");
  Deploy(site, reservation);
  site.Inventory(Propose(kPlanned));
  site.Inventory(About("announce_window"));
  site.Inventory(About("consent_to_window", R"(customer: "customers/hsbc")"));
  site.At("2027-01-01T11:00:00Z");
  site.At("2027-01-01T12:00:00Z");
  EXPECT_EQ(site.Reservation(reservation).state(), reservations::v1::RESERVATION_STATE_ENDED);
  EXPECT_THAT(site.Window(kWindow).affected(), IsEmpty());
  site.Inventory(About("close_window"));
  EXPECT_THAT(Running(site), IsEmpty());
}

TEST(MaintenanceStory, AReservationThatIsGivenBackNeedsNoConsentAnyMore) {
  MaintainedSite site;
  const std::string reservation =
      site.Reserve("hsbc", 4, "2027-01-01T12:00:00Z", "2027-01-01T18:00:00Z");
  site.Inventory(Propose(kPlanned));
  site.Inventory(About("announce_window"));
  EXPECT_EQ(site.Window(kWindow).state(), v1::WINDOW_STATE_ANNOUNCED);
  site.Reservations(
      fmt::format(R"(cancel_reservation {{ name: "{}" reason: "not needed" }})", reservation));
  EXPECT_EQ(site.Window(kWindow).state(), v1::WINDOW_STATE_CONSENTED);
}

TEST(MaintenanceStory, WhatHasNotStartedGetsOtherServersWhereThereAreSome) {
  MaintainedSite site;
  const std::string reservation =
      site.Reserve("hsbc", 2, "2027-01-01T12:00:00Z", "2027-01-01T18:00:00Z");
  ASSERT_THAT(site.Reservation(reservation).servers(),
              ElementsAre("sites/paris/servers/s1", "sites/paris/servers/s2"));
  site.Inventory(Propose(kPlanned));
  site.Inventory(About("announce_window"));
  EXPECT_THAT(site.Reservation(reservation).servers(),
              ElementsAre("sites/paris/servers/s2", "sites/paris/servers/s3"));
  EXPECT_EQ(site.Window(kWindow).state(), v1::WINDOW_STATE_CONSENTED) << "nobody is affected";
  EXPECT_THAT(site.Window(kWindow).affected(), IsEmpty());
}

TEST(MaintenanceStory, UntilReservationsHasAnsweredNoWindowOpens) {
  MaintainedSite site;
  site.Reserve("hsbc", 4, "2027-01-01T12:00:00Z", "2027-01-01T18:00:00Z");
  site.Inventory(Propose(kPlanned));
  site.Cut(true);
  site.Inventory(About("announce_window"));
  EXPECT_EQ(site.Window(kWindow).state(), v1::WINDOW_STATE_ANNOUNCED);
  EXPECT_THAT(site.Inventory(About("open_window")),
              HasText("command_refused { reason: REASON_CONSENT_MISSING }"));
  site.Cut(false);
  EXPECT_THAT(site.Window(kWindow).missing_consents(), ElementsAre("customers/hsbc"));
}

}  // namespace
}  // namespace concordat::inventory
