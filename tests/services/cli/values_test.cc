#include "services/cli/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "concordat/reservations/v1/events.pb.h"

namespace concordat::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

absl::StatusOr<absl::Time> Never() { return absl::InternalError("the clock was read"); }
absl::StatusOr<absl::Time> Noon() {
  return absl::FromUnixSeconds(1798804800);
}  // 2027-01-01T12:00:00Z

std::string Read(const std::string& text) {
  const auto time = ParseTime(text, Noon);
  return time.ok() ? TimeText(*time) : std::string(time.status().message());
}

TEST(Times, AreRfc3339OrDatesInUtc) {
  EXPECT_EQ(Read("2027-01-05T09:00:00+01:00"), "2027-01-05T08:00:00Z");
  EXPECT_EQ(Read("2027-01-05"), "2027-01-05T00:00:00Z");
  EXPECT_EQ(Read("2027-01-05T09:30"), "2027-01-05T09:30:00Z");
  EXPECT_EQ(Read("2027-01-05T09:30:00.25Z"), "2027-01-05T09:30:00.250000Z");
}

TEST(Times, AreRelativeToTheClockOfTheSite) {
  EXPECT_EQ(Read("now"), "2027-01-01T12:00:00Z");
  EXPECT_EQ(Read("+2h"), "2027-01-01T14:00:00Z");
  EXPECT_EQ(Read("+30d"), "2027-01-31T12:00:00Z");
  EXPECT_EQ(Read("+1w"), "2027-01-08T12:00:00Z");
  EXPECT_EQ(Read("-90m"), "2027-01-01T10:30:00Z");
}

TEST(Times, DoNotReadTheClockUnlessTheyAreRelative) {
  EXPECT_TRUE(ParseTime("2027-01-05", Never).ok());
  EXPECT_EQ(ParseTime("+1h", Never).status().message(), "the clock was read");
}

TEST(Times, SayWhatIsExpected) {
  for (const char* wrong :
       {"", "tomorrow", "+", "+-2h", "+2", "2027-13-01", "2027-1-5-3", "infinite-future"}) {
    EXPECT_THAT(Read(wrong), HasSubstr("expected RFC 3339")) << wrong;
  }
}

TEST(Durations, KnowDaysAndWeeks) {
  EXPECT_EQ(*ParseDuration("90s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("2h30m"), absl::Minutes(150));
  EXPECT_EQ(*ParseDuration("30d"), absl::Hours(720));
  for (const char* wrong : {"", "5", "-5s", "inf", "d", "1.5d"}) {
    EXPECT_FALSE(ParseDuration(wrong).ok()) << wrong;
  }
}

TEST(Figures, AreNameValueAndUnit) {
  const auto figure = ParseFigure("gpu_gemm_tflops=2510:tflops");
  ASSERT_TRUE(figure.ok());
  EXPECT_EQ(figure->ShortDebugString(), R"(name: "gpu_gemm_tflops" value: 2510 unit: "tflops")");
  for (const char* wrong : {"", "a", "a=1", "a:b", "=1:c", "a=:c", "a=1:", "a=1.5:c", "a=1x:c"}) {
    EXPECT_THAT(std::string(ParseFigure(wrong).status().message()), HasSubstr("name=value:unit"))
        << wrong;
  }
}

TEST(Criteria, HaveBoundsThatMayBeLeftOut) {
  EXPECT_EQ(ParseCriterion("ecc=0..0:count")->maximum(), 0);
  EXPECT_EQ(ParseCriterion("gemm=2400..:tflops")->maximum(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(ParseCriterion("gemm=2400..:tflops")->minimum(), 2400);
  EXPECT_EQ(ParseCriterion("hot=..85:celsius")->minimum(), std::numeric_limits<int64_t>::min());
  for (const char* wrong : {"a=1:b", "a=2..1:b", "a=..:b", "a=x..2:b", "a=1..2"}) {
    EXPECT_FALSE(ParseCriterion(wrong).ok()) << wrong;
  }
}

TEST(Enums, AreShortAndLowerCaseAndNeverUnspecified) {
  const auto& purpose = *reservations::v1::Purpose_descriptor();
  EXPECT_EQ((*ParseEnum(purpose, "inference"))->number(), reservations::v1::PURPOSE_INFERENCE);
  EXPECT_EQ((*ParseEnum(purpose, "PURPOSE_RENTAL"))->number(), reservations::v1::PURPOSE_RENTAL);
  EXPECT_THAT(std::string(ParseEnum(purpose, "unspecified").status().message()),
              HasSubstr("expected one of training, inference, rental"));
  EXPECT_EQ(
      ShortEnum(*reservations::v1::Reason_descriptor()->FindValueByName("REASON_NO_CAPACITY")),
      "no-capacity");
}

TEST(Watts, MayComeInKilowattsAndMegawatts) {
  EXPECT_EQ(*ParseWatts("40000000"), 40'000'000);
  EXPECT_EQ(*ParseWatts("23.5MW"), 23'500'000);
  EXPECT_EQ(*ParseWatts("190kW"), 190'000);
  EXPECT_EQ(*ParseWatts("0"), 0);
  EXPECT_FALSE(ParseWatts("40GW").ok());
  EXPECT_EQ(FormatWatts(190'000), "190 kW");
  EXPECT_EQ(FormatWatts(40'000'000), "40 MW");
}

TEST(WattHours, MayComeInUpToGigawattHours) {
  EXPECT_EQ(ParseWattHours("28.8GWh").value(), 28'800'000'000);
  EXPECT_EQ(ParseWattHours("120MWh").value(), 120'000'000);
  EXPECT_EQ(ParseWattHours("7").value(), 7);
  EXPECT_THAT(std::string(ParseWattHours("3MW").status().message()),
              testing::HasSubstr("found energy '3MW', expected watt-hours such as"));
}

TEST(AcceleratorHours, AreSecondsOrDurationsAndSaidWithTwoDigits) {
  EXPECT_EQ(*ParseAcceleratorSeconds("90"), 90);
  EXPECT_EQ(*ParseAcceleratorSeconds("30h"), 108000);
  EXPECT_FALSE(ParseAcceleratorSeconds("much").ok());
  EXPECT_EQ(FormatAcceleratorSeconds(45059), "12.51 h");
  EXPECT_EQ(FormatAcceleratorSeconds(-1800), "-0.50 h");
}

TEST(RequestIds, AreUuidsOfVersionFourAndFresh) {
  const std::string id = RandomRequestId();
  EXPECT_THAT(id,
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(id, RandomRequestId());
}

}  // namespace
}  // namespace concordat::cli
