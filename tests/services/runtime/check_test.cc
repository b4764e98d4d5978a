#include "services/runtime/check.h"

#include <gtest/gtest.h>

#include <string>

#include "concordat/reservations/v1/events.pb.h"

namespace concordat::runtime {
namespace {

google::protobuf::Timestamp At(int64_t seconds, int32_t nanos = 0) {
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(seconds);
  timestamp.set_nanos(nanos);
  return timestamp;
}

std::string MessageOf(const absl::Status& status) { return std::string(status.message()); }

TEST(Check, NamesFollowTheirPattern) {
  for (const char* name :
       {"sites/paris/servers/a01-01", "sites/p/servers/0", "sites/a-b/servers/x--y"}) {
    EXPECT_TRUE(CheckName("name", name, "sites/*/servers/*").ok()) << name;
  }
  for (const char* name :
       {"", "sites/paris", "sites/paris/servers/", "sites//servers/a", "sites/paris/servers/a/b",
        "sites/paris/servers/-a", "sites/paris/servers/a-", "sites/Paris/servers/a",
        "sites/paris/servers/a_b", "sites/paris/racks/a", "sites/paris/servers/*",
        "/sites/paris/servers/a", "sites/paris/servers/a/"}) {
    EXPECT_EQ(CheckName("name", name, "sites/*/servers/*").code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST(Check, NamesAreBounded) {
  EXPECT_TRUE(CheckName("name", "models/" + std::string(63, 'a'), "models/*").ok());
  EXPECT_FALSE(CheckName("name", "models/" + std::string(64, 'a'), "models/*").ok());
  const std::string id(63, 'a');
  EXPECT_FALSE(
      CheckName("name", "a/" + id + "/b/" + id + "/c/" + id + "/d/a", "a/*/b/*/c/*/d/*").ok());
}

TEST(Check, MessagesNameFieldFindingAndExpectationAndStayShort) {
  EXPECT_EQ(MessageOf(CheckRange("count", 0, 1, 10)), "count: found 0, expected 1 to 10");
  const std::string message =
      MessageOf(CheckName("name", std::string(100'000, '\xff'), "models/*"));
  EXPECT_LT(message.size(), 400u);
  EXPECT_NE(message.find("100000 bytes"), std::string::npos) << message;
}

TEST(Check, TextsAreUtf8WithoutControlCharacters) {
  for (const char* text : {"a", "Code de la santé publique", "日本", "🙂", "a b"}) {
    EXPECT_TRUE(CheckText("title", text).ok()) << text;
  }
  // A lone continuation, an overlong slash, a surrogate, above U+10FFFF, cut short, controls.
  for (const char* text :
       {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe6\x97", "a\nb", "\x7f",
        "\xc2\x85", "\xf0\x80\x80\x80", "\xe0\x80\x80", "\xf5\x80\x80\x80"}) {
    EXPECT_FALSE(CheckText("title", text).ok()) << testing::PrintToString(text);
  }
  EXPECT_FALSE(CheckText("title", std::string("a\0b", 3)).ok());
  // The byte behind a text that is cut short is not read, though it would fit.
  EXPECT_FALSE(CheckText("title", std::string_view("é").substr(0, 1)).ok());
  EXPECT_FALSE(CheckText("title", "").ok());
  EXPECT_TRUE(CheckText("title", "", Presence::kOptional).ok());
  EXPECT_TRUE(CheckText("title", std::string(500, 'a')).ok());
  EXPECT_FALSE(CheckText("title", std::string(501, 'a')).ok());
}

TEST(Check, TimesAreOfTheYears1970To9999) {
  EXPECT_TRUE(CheckTime("time", true, At(0)).ok());
  EXPECT_TRUE(CheckTime("time", true, At(253402300799, 999'999'999)).ok());
  EXPECT_FALSE(CheckTime("time", false, At(0)).ok());
  EXPECT_FALSE(CheckTime("time", true, At(-1)).ok());
  EXPECT_FALSE(CheckTime("time", true, At(253402300800)).ok());
  EXPECT_FALSE(CheckTime("time", true, At(1, -1)).ok());
  EXPECT_FALSE(CheckTime("time", true, At(1, 1'000'000'000)).ok());
}

TEST(Check, SpansEndAfterTheyStart) {
  EXPECT_TRUE(CheckSpan("start", true, At(1), "end", true, At(1, 1)).ok());
  EXPECT_FALSE(CheckSpan("start", true, At(1), "end", true, At(1)).ok());
  EXPECT_FALSE(CheckSpan("start", true, At(2), "end", true, At(1)).ok());
  EXPECT_FALSE(CheckSpan("start", true, At(2), "end", false, At(3)).ok());
}

TEST(Check, EnumsAreNamedAndNotZero) {
  using reservations::v1::Purpose;
  EXPECT_TRUE(CheckEnum("purpose", reservations::v1::PURPOSE_RENTAL).ok());
  EXPECT_FALSE(CheckEnum("purpose", reservations::v1::PURPOSE_UNSPECIFIED).ok());
  EXPECT_FALSE(CheckEnum("purpose", static_cast<Purpose>(99)).ok());
}

TEST(Check, AWrongEnumSaysWhichWordsAreAccepted) {
  using reservations::v1::ConsentRule;
  EXPECT_EQ(MessageOf(CheckEnum("relocation", reservations::v1::CONSENT_RULE_UNSPECIFIED)),
            "relocation: found nothing, expected one of CONSENT_RULE_NOTICE, CONSENT_RULE_CONSENT, "
            "CONSENT_RULE_NEVER");
  EXPECT_EQ(MessageOf(CheckEnum("relocation", static_cast<ConsentRule>(99))),
            "relocation: found 99, expected one of CONSENT_RULE_NOTICE, CONSENT_RULE_CONSENT, "
            "CONSENT_RULE_NEVER");
}

TEST(Check, WordsCountriesAndDigitsHaveOneForm) {
  EXPECT_TRUE(CheckWord("class", "HEALTH").ok());
  EXPECT_TRUE(CheckWord("class", "ISO-27001_X").ok());
  EXPECT_FALSE(CheckWord("class", "health").ok());
  EXPECT_FALSE(CheckWord("class", "").ok());
  EXPECT_FALSE(CheckWord("class", "-A").ok());
  EXPECT_FALSE(CheckWord("class", std::string(64, 'A')).ok());
  EXPECT_TRUE(CheckCountry("country", "FR").ok());
  EXPECT_FALSE(CheckCountry("country", "fr").ok());
  EXPECT_FALSE(CheckCountry("country", "FRA").ok());
  EXPECT_TRUE(CheckHex("digest", "09af", 4).ok());
  EXPECT_FALSE(CheckHex("digest", "09AF", 4).ok());
  EXPECT_FALSE(CheckHex("digest", "09a", 4).ok());
}

TEST(Check, TheFirstErrorIsGiven) {
  const absl::Status first =
      FirstError({absl::OkStatus(), CheckPositive("a", 0), CheckPositive("b", 0)});
  EXPECT_EQ(MessageOf(first).substr(0, 2), "a:");
  EXPECT_TRUE(FirstError({}).ok());
  EXPECT_TRUE(CheckNotNegative("a", 0).ok());
  EXPECT_FALSE(CheckNotNegative("a", -1).ok());
}

TEST(Check, NamesTellTheirSiteAndParent) {
  EXPECT_EQ(SiteOfName("sites/paris"), "paris");
  EXPECT_EQ(SiteOfName("sites/paris/servers/a"), "paris");
  EXPECT_EQ(SiteOfName("models/x"), "");
  EXPECT_EQ(SiteOfName(""), "");
  EXPECT_EQ(ParentOfName("customers/hsbc/contracts/2027"), "customers/hsbc");
  EXPECT_EQ(ParentOfName("customers/hsbc"), "");
  EXPECT_EQ(ParentOfName(""), "");
}

TEST(Check, TimesSurviveTheWayThereAndBack) {
  for (const auto& timestamp :
       {At(0), At(0, 1), At(1'800'000'000, 999'999'999), At(253402300799)}) {
    const auto back = ToTimestamp(ToTime(timestamp));
    EXPECT_EQ(back.seconds(), timestamp.seconds());
    EXPECT_EQ(back.nanos(), timestamp.nanos());
  }
  EXPECT_EQ(ToTimestamp(absl::InfiniteFuture()).seconds(), 253402300799);
  EXPECT_EQ(ToTimestamp(absl::InfinitePast()).seconds(), 0);
  EXPECT_EQ(ToText(ToTime(At(0, 500'000'000))), "1970-01-01T00:00:00.5Z");
}

}  // namespace
}  // namespace concordat::runtime
