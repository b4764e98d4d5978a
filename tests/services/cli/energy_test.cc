// The indicators of a site's energy, of its readings.
#include "services/cli/energy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/services/cli/fake_site.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr double kClose = 1e-9;

inventory::v1::Reading Reading(const std::string& from, const std::string& to, int64_t total,
                               int64_t it, int64_t renewable = 0, int64_t reused = 0,
                               int64_t water = 0) {
  inventory::v1::Reading row;
  inventory::v1::ReadingRecorded& reading = *row.mutable_reading();
  reading.mutable_start_time()->set_seconds(absl::ToUnixSeconds(test::Time(from)));
  reading.mutable_end_time()->set_seconds(absl::ToUnixSeconds(test::Time(to)));
  reading.set_total_watt_hours(total);
  reading.set_it_watt_hours(it);
  reading.set_renewable_watt_hours(renewable);
  reading.set_reused_watt_hours(reused);
  reading.set_water_litres(water);
  return row;
}

absl::TimeZone ParisZone() {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone("Europe/Paris", &zone));
  return zone;
}

TEST(Energy, TheIndicatorsAreThoseOfTheRegulation) {
  // March of the site's clock, whose last day has 23 hours.
  const auto rows = EnergyOf({Reading("2027-02-28T23:00:00Z", "2027-03-31T22:00:00Z", 1'200'000,
                                      1'000'000, 600'000, 300'000, 2'000)},
                             ParisZone());
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].period, "2027-03");
  EXPECT_THAT(rows[0].covered, DoubleNear(1, kClose));
  EXPECT_THAT(rows[0].pue().value(), DoubleNear(1.2, kClose));
  EXPECT_THAT(rows[0].wue().value(), DoubleNear(2, kClose)) << "litres a kilowatt-hour";
  EXPECT_THAT(rows[0].erf(), DoubleNear(0.25, kClose));
  EXPECT_THAT(rows[0].ref(), DoubleNear(0.5, kClose));
  EXPECT_EQ(rows[1].period, "2027");
  EXPECT_LT(rows[1].covered, 0.1);
}

TEST(Energy, AReadingCountsInTheMonthAndTheYearThatItLiesWithin) {
  const auto rows = EnergyOf({Reading("2027-01-10T00:00:00Z", "2027-01-11T00:00:00Z", 10, 8),
                              Reading("2027-01-20T00:00:00Z", "2027-01-21T00:00:00Z", 30, 24),
                              Reading("2027-01-25T00:00:00Z", "2027-02-05T00:00:00Z", 100, 50),
                              Reading("2026-12-25T00:00:00Z", "2027-01-05T00:00:00Z", 1000, 500)},
                             absl::UTCTimeZone());
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].period, "2027-01");
  EXPECT_EQ(rows[0].total_watt_hours, 40);
  EXPECT_THAT(rows[0].covered, DoubleNear(2.0 / 31, kClose));
  EXPECT_EQ(rows[1].period, "2027");
  EXPECT_EQ(rows[1].total_watt_hours, 140);
}

TEST(Energy, OfServersThatTookNothingHasNoRatioToThem) {
  const auto rows = EnergyOf({Reading("2027-01-10T00:00:00Z", "2027-01-11T00:00:00Z", 10, 0)},
                             absl::UTCTimeZone());
  EXPECT_FALSE(rows[0].pue().has_value());
  EXPECT_FALSE(rows[0].wue().has_value());
  EXPECT_THAT(EnergyOf({}, absl::UTCTimeZone()), IsEmpty());
}

TEST(Energy, IsATableAndADocument) {
  FakeSite site;
  inventory::v1::Site row;
  row.set_name("sites/paris");
  row.set_time_zone("Europe/Paris");
  site.Answer<node::v1::GetResourceRequest, node::v1::GetResourceResponse>(
      "/concordat.node.v1.NodeService/GetResource", [&](const auto&) {
        node::v1::GetResourceResponse response;
        response.mutable_resource()->PackFrom(row);
        return response;
      });
  bool known = true;
  site.Answer<node::v1::ListResourcesRequest, node::v1::ListResourcesResponse>(
      "/concordat.node.v1.NodeService/ListResources", [&](const auto& request) {
        node::v1::ListResourcesResponse response;
        EXPECT_EQ(request.collection(), "readings");
        if (known) {
          response.add_resources()->PackFrom(Reading("2027-02-28T23:00:00Z", "2027-03-31T22:00:00Z",
                                                     12'000'000'000, 10'000'000'000, 6'000'000'000,
                                                     0, 9'000'000));
        }
        return response;
      });
  site.Start();
  const auto get = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"--server", site.address(), "get", "energy"};
    words.insert(words.end(), more.begin(), more.end());
    return Concordat(words);
  };
  EXPECT_THAT(get({}).out, HasSubstr("2027-03  100 %    12.000     10.000  9000      1.200"));
  const auto document = nlohmann::json::parse(get({"-o", "json"}).out);
  EXPECT_EQ(document["energy"][0]["pue"], 1.2);
  EXPECT_EQ(document["energy"][1]["period"], "2027");
  known = false;
  const Ran none = get({});
  EXPECT_EQ(none.exit, Exit::kOk);
  EXPECT_THAT(none.err, HasSubstr("no reading is recorded"));
  EXPECT_THAT(nlohmann::json::parse(get({"-o", "json"}).out)["energy"], IsEmpty());
}

}  // namespace
}  // namespace concordat::cli
