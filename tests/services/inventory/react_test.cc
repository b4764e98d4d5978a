#include "services/inventory/service.h"
#include "tests/support/scenario.h"

namespace concordat::inventory {
namespace {

TEST(InventoryReactions, OwnEventsLeadToNothingAndASiteAloneHasNoDeadlines) {
  test::Scenario<Service> scenario;
  scenario.At("2026-11-23T12:00:00Z").Given(R"(site_opened { name: "sites/paris" country: "FR" })");
  EXPECT_TRUE(scenario.Reactions().empty());
  EXPECT_TRUE(scenario.DueAt("9999-01-01T00:00:00Z").empty());
  EXPECT_TRUE(
      scenario
          .ReactionsTo(test::Parse<reservations::v1::Event>(R"(reservation_ended { name: "r" })"))
          .empty());
}

}  // namespace
}  // namespace concordat::inventory
