#include "services/cli/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "concordat/compliance/v1/api.pb.h"
#include "concordat/inventory/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/values.h"
#include "services/cli/yaml.h"
#include "tests/support/scenario.h"

namespace concordat::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

reservations::v1::Reservation Reservation() {
  return test::Parse<reservations::v1::Reservation>(R"(
    name: "sites/paris/reservations/r-1" state: RESERVATION_STATE_HELD
    terms { customer: "customers/hsbc" contract: "customers/hsbc/contracts/frame" model: "models/vr" count: 2
            start_time { seconds: 1798804800 } purpose: PURPOSE_RENTAL
            data_classes: "PUBLIC" data_classes: "FINANCIAL" }
    servers: "sites/paris/servers/a01-01" servers: "sites/paris/servers/a01-02" it_power_watts: 380000)");
}

TEST(Fields, AreWrittenAsPeopleReadThem) {
  const auto reservation = Reservation();
  EXPECT_EQ(FieldText(reservation, "state"), "held");
  EXPECT_EQ(FieldText(reservation, "terms.customer"), "hsbc");
  EXPECT_EQ(FieldText(reservation, "terms.contract"), "hsbc/frame");
  EXPECT_EQ(FieldText(reservation, "terms.start_time"), "2027-01-01T12:00:00Z");
  EXPECT_EQ(FieldText(reservation, "terms.data_classes"), "PUBLIC,FINANCIAL");
  EXPECT_EQ(FieldText(reservation, "servers"), "a01-01,a01-02");
  EXPECT_EQ(FieldText(reservation, "it_power_watts"), "380 kW");
  EXPECT_EQ(FieldText(reservation, "terms.end_time"), "");
  EXPECT_EQ(FieldText(reservation, "no_such_field"), "");
}

TEST(Fields, OfSomeOfManyMessagesAreChosenByACondition) {
  const auto judgement = test::Parse<compliance::v1::Judgement>(R"(
    findings { rule: "rules/a" outcome: FINDING_OUTCOME_NOT_APPLICABLE }
    findings { rule: "rules/b" outcome: FINDING_OUTCOME_VIOLATED }
    findings { rule: "rules/c" outcome: FINDING_OUTCOME_SATISFIED }
    findings { rule: "rules/d" outcome: FINDING_OUTCOME_NOT_APPLICABLE })");
  EXPECT_EQ(FieldText(judgement, "findings[outcome=violated|satisfied].rule"), "b,c");
  EXPECT_EQ(FieldText(judgement, "findings[outcome=unevaluable].rule"), "");
  EXPECT_EQ(FieldText(judgement, "findings.rule"), "d") << "without one, the last";
}

TEST(Fields, OfDurationsAreWrittenAsTheyAreRead) {
  reservations::v1::ContractSigned contract;
  for (const int64_t seconds : {1209600, 129600, 90, 0}) {
    contract.mutable_lock_time()->set_seconds(seconds);
    const std::string text = FieldText(contract, "lock_time");
    EXPECT_EQ(absl::ToInt64Seconds(*ParseDuration(text)), seconds) << text;
  }
  contract.mutable_lock_time()->set_seconds(1209600);
  EXPECT_THAT(DescribeText(contract), HasSubstr("lock time:              14d\n"));
}

TEST(Fields, OfBytesAreHexadecimal) {
  compliance::v1::ReservationJudged judged;
  judged.set_facts_digest(std::string("\xff\0\n", 3));
  EXPECT_EQ(FieldText(judged, "facts_digest"), "ff000a");
}

TEST(Fields, OfSentencesAreNotShortened) {
  reservations::v1::Reservation reservation;
  reservation.set_detail("expected at most the 4 of customers/hsbc/contracts/frame.");
  EXPECT_EQ(FieldText(reservation, "detail"), reservation.detail());
}

TEST(Tables, AlignTheirColumnsByCharactersNotBytes) {
  Table table({"SITE", "HEAD"});
  table.Add({"Borlänge", "7"});
  table.Add({"Paris", "12"});
  std::ostringstream with, without;
  table.Print(with, true);
  table.Print(without, false);
  EXPECT_EQ(with.str(), "SITE      HEAD\nBorlänge  7\nParis     12\n");
  EXPECT_EQ(without.str(), "Borlänge  7\nParis     12\n");
}

TEST(Tables, OfAKindBeginWithTheFullName) {
  std::vector<std::unique_ptr<google::protobuf::Message>> resources;
  resources.push_back(std::make_unique<reservations::v1::Reservation>(Reservation()));
  std::ostringstream out;
  PrintTable(out, *KindOfCollection("reservations"), resources, true);
  EXPECT_THAT(out.str(), HasSubstr("NAME                          STATE  CUSTOMER  MODEL  COUNT"));
  EXPECT_THAT(out.str(), HasSubstr("sites/paris/reservations/r-1  held   hsbc      vr     2"));
}

TEST(Json, IsProtobufJson) {
  EXPECT_THAT(ToJsonText(Reservation()), HasSubstr("\"itPowerWatts\": \"380000\""));
  EXPECT_THAT(ToJsonText(Reservation()), HasSubstr("\"state\": \"RESERVATION_STATE_HELD\""));
}

TEST(Yaml, KeepsTheOrderAndWhatIsAString) {
  EXPECT_EQ(YamlOfJson(R"({"b": "12", "a": [1, {"c": "x: y"}], "d": [], "e": "true"})"),
            "b: \"12\"\na:\n  - 1\n  - c: \"x: y\"\nd: []\ne: \"true\"\n");
}

TEST(JsonStrings, EscapeWhatMustBe) {
  EXPECT_EQ(JsonString("a\"b\\c\nä"), "\"a\\\"b\\\\c\\u000aä\"");
}

TEST(Descriptions, ShowEveryFieldThatIsSet) {
  const std::string text = DescribeText(Reservation());
  EXPECT_THAT(text, HasSubstr("state:                  held\n"));
  EXPECT_THAT(text, HasSubstr("terms:\n  customer:             customers/hsbc\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "servers:                sites/paris/servers/a01-01, sites/paris/servers/a01-02\n"));
}

TEST(Descriptions, OfVeryManyMessagesShowTheFirst) {
  reservations::v1::ContractSigned contract;
  for (int i = 0; i < 20; ++i) contract.add_occurrences()->mutable_start_time()->set_seconds(i);
  EXPECT_THAT(DescribeText(contract), HasSubstr("occurrences 20:"));
  contract.add_occurrences();
  const std::string text = DescribeText(contract);
  EXPECT_THAT(text, HasSubstr("occurrences 10:"));
  EXPECT_THAT(text, Not(HasSubstr("occurrences 11:")));
  EXPECT_THAT(text, HasSubstr("occurrences: 11 more, which -o yaml shows\n"));
}

TEST(Anys, AreOpenedWhereTheirTypeIsKnown) {
  google::protobuf::Any any;
  any.PackFrom(Reservation());
  EXPECT_EQ(NameOf(*Unpack(any)), "sites/paris/reservations/r-1");
  any.set_type_url("type.googleapis.com/concordat.tomorrow.v1.Thing");
  EXPECT_EQ(Unpack(any), nullptr);
}

TEST(Colours, AreOnlyWhereTheConsoleHasThem) {
  std::stringstream text;
  EXPECT_EQ(Paint({text, text, text, false}, Hue::kBad, "no"), "no");
  EXPECT_EQ(Paint({text, text, text, true}, Hue::kBad, "no"), "\x1b[31mno\x1b[0m");
}

}  // namespace
}  // namespace concordat::cli
