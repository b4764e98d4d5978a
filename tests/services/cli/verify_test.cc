#include "services/cli/verify.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace concordat::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Kind = Disagreement::Kind;

constexpr char kStream[] = "paris.reservations.events";

// A replica of one stream with one table; `link` and `digest` are single letters, repeated.
Replica At(const std::string& site, int64_t sequence, char link, char digest) {
  Replica replica{.label = site, .site = site, .address = site + ":1", .response = {}};
  auto* stream = replica.response.add_streams();
  stream->set_stream(kStream);
  stream->set_sequence(sequence);
  stream->set_link(std::string(64, link));
  stream->set_condition("ok");
  auto* table = stream->add_tables();
  table->set_table("orders");
  table->set_rows(3);
  table->set_stored(std::string(64, digest));
  table->set_folded(std::string(64, digest));
  return replica;
}

LinkAt LinkIs(char link) {
  return [link](const Replica&, const std::string&, uint64_t) { return std::string(64, link); };
}

LinkAt NotAsked() {
  return [](const Replica&, const std::string&, uint64_t) -> absl::StatusOr<std::string> {
    return absl::InternalError("a link was asked for");
  };
}

std::vector<std::string> Texts(const Comparison& comparison, Kind kind) {
  std::vector<std::string> texts;
  for (const auto& d : comparison.disagreements) {
    if (d.kind == kind) texts.push_back(d.text);
  }
  return texts;
}

TEST(Verify, AgreesWhereHeadsLinksAndDigestsAreEqual) {
  const auto comparison =
      Compare({At("paris", 7, 'a', 'd'), At("borlange", 7, 'a', 'd')}, NotAsked());
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_THAT(comparison->disagreements, IsEmpty());
  EXPECT_EQ(Verdict(*comparison), "verify: 1 streams at 2 sites, heads equal, digests equal");
}

TEST(Verify, OfOneSiteDoesNotSayThatSitesAgree) {
  Replica second = At("paris", 7, 'a', 'd');
  second.label = "paris (paris:2)";
  for (const auto& replicas : {std::vector<Replica>{At("paris", 7, 'a', 'd')},
                               std::vector<Replica>{At("paris", 7, 'a', 'd'), second}}) {
    const auto comparison = Compare(replicas, NotAsked());
    ASSERT_TRUE(comparison.ok()) << comparison.status();
    EXPECT_EQ(Verdict(*comparison),
              "verify: 1 streams at one site, rows equal to their digests; no other site was "
              "asked");
  }
}

TEST(Verify, SaysBehindWhereTheLowerHeadIsPartOfTheHigherOnesHistory) {
  const auto comparison =
      Compare({At("borlange", 5, 'b', 'e'), At("paris", 7, 'a', 'd')}, LinkIs('b'));
  ASSERT_TRUE(comparison.ok());
  EXPECT_THAT(Texts(*comparison, Kind::kBehind),
              ElementsAre("paris.reservations.events: borlange is behind, at 5 of 7 at paris"));
  EXPECT_FALSE(comparison->Has(Kind::kDifferent));
  EXPECT_EQ(Verdict(*comparison), "verify: 1 streams at 2 sites, 0 different, 1 behind");
}

TEST(Verify, AsksTheSiteThatIsAheadForTheLinkAtTheLowerHead) {
  std::string asked;
  const auto link_at = [&](const Replica& replica, const std::string& stream, uint64_t sequence) {
    asked = fmt::format("{} {} {}", replica.site, stream, sequence);
    return std::string(64, 'b');
  };
  ASSERT_TRUE(Compare({At("borlange", 5, 'b', 'e'), At("paris", 7, 'a', 'd')}, link_at).ok());
  EXPECT_EQ(asked, "paris paris.reservations.events 5");
}

TEST(Verify, SaysDifferentWhereTheLowerHeadIsOfAnotherHistory) {
  const auto comparison =
      Compare({At("paris", 7, 'a', 'd'), At("borlange", 5, 'b', 'e')}, LinkIs('c'));
  ASSERT_TRUE(comparison.ok());
  EXPECT_THAT(Texts(*comparison, Kind::kDifferent),
              ElementsAre(HasSubstr("at 5: paris has link cccccccccccc")));
  EXPECT_FALSE(comparison->Has(Kind::kBehind));
}

TEST(Verify, SaysDifferentWhereEqualHeadsHaveOtherLinks) {
  const auto comparison =
      Compare({At("paris", 7, 'a', 'd'), At("borlange", 7, 'b', 'd')}, NotAsked());
  ASSERT_TRUE(comparison.ok());
  EXPECT_THAT(Texts(*comparison, Kind::kDifferent),
              ElementsAre("paris.reservations.events at 7: paris has link aaaaaaaaaaaa, borlange "
                          "has bbbbbbbbbbbb"));
}

TEST(Verify, NamesStreamAndTableWhereSitesHaveOtherRows) {
  const auto comparison =
      Compare({At("paris", 7, 'a', 'd'), At("borlange", 7, 'a', 'e')}, NotAsked());
  ASSERT_TRUE(comparison.ok());
  ASSERT_EQ(comparison->disagreements.size(), 1);
  EXPECT_EQ(comparison->disagreements[0].stream, kStream);
  EXPECT_EQ(comparison->disagreements[0].table, "orders");
  EXPECT_EQ(comparison->disagreements[0].kind, Kind::kDifferent);
}

TEST(Verify, SaysDifferentWhereATableIsMissing) {
  Replica less = At("borlange", 7, 'a', 'd');
  less.response.mutable_streams(0)->mutable_tables(0)->set_table("reservations");
  const auto comparison = Compare({At("paris", 7, 'a', 'd'), less}, NotAsked());
  ASSERT_TRUE(comparison.ok());
  EXPECT_THAT(
      Texts(*comparison, Kind::kDifferent),
      ElementsAre(HasSubstr("borlange has no such table"), HasSubstr("paris has no such table")));
}

TEST(Verify, HasNothingToCompareWhereAProcessKeepsNoTables) {
  Replica follower = At("borlange", 7, 'a', 'd');
  follower.response.mutable_streams(0)->clear_tables();
  EXPECT_THAT(Compare({At("paris", 7, 'a', 'd'), follower}, NotAsked())->disagreements, IsEmpty());
}

TEST(Verify, FindsARowThatWasChangedOutsideOfTheFold) {
  Replica tampered = At("paris", 7, 'a', 'd');
  tampered.response.mutable_streams(0)->mutable_tables(0)->set_folded(std::string(64, 'f'));
  const auto comparison = Compare({tampered, At("borlange", 7, 'a', 'd')}, NotAsked());
  ASSERT_TRUE(comparison.ok());
  EXPECT_THAT(Texts(*comparison, Kind::kDifferent),
              ElementsAre(HasSubstr("table orders at paris: rows as stored")));
}

TEST(Verify, SaysDifferentWhereAStreamIsNotInOrder) {
  for (const char* condition : {"suspect", "damaged", "forked", ""}) {
    Replica forked = At("borlange", 7, 'a', 'd');
    forked.response.mutable_streams(0)->set_condition(condition);
    EXPECT_TRUE(Compare({At("paris", 7, 'a', 'd'), forked}, NotAsked())->Has(Kind::kDifferent))
        << condition;
  }
}

TEST(Verify, SaysBehindWhereASiteHasNothingOfAStreamYet) {
  const Replica nothing{.label = "borlange", .site = "borlange", .address = "", .response = {}};
  EXPECT_THAT(Texts(*Compare({At("paris", 7, 'a', 'd'), nothing}, NotAsked()), Kind::kBehind),
              ElementsAre(HasSubstr("borlange is behind, it has no such stream")));
  EXPECT_THAT(Texts(*Compare({At("paris", 7, 'a', 'd'), At("borlange", -1, '0', 'd')}, NotAsked()),
                    Kind::kBehind),
              ElementsAre(HasSubstr("borlange is behind, at -1 of 7")));
}

TEST(Verify, ComparesEveryProcessOfASiteButCountsTheSiteOnce) {
  Replica second = At("paris", 7, 'b', 'd');
  second.label = "paris (paris:2)";
  const auto comparison =
      Compare({At("paris", 7, 'a', 'd'), second, At("borlange", 7, 'a', 'd')}, NotAsked());
  ASSERT_TRUE(comparison.ok());
  EXPECT_EQ(comparison->sites, 2);
  EXPECT_THAT(Texts(*comparison, Kind::kDifferent),
              ElementsAre(HasSubstr("paris (paris:2) has bbbb")));
}

TEST(Verify, FailsWhereALinkCannotBeAsked) {
  const auto comparison =
      Compare({At("paris", 7, 'a', 'd'), At("borlange", 5, 'b', 'e')}, NotAsked());
  EXPECT_EQ(comparison.status().message(), "a link was asked for");
}

}  // namespace
}  // namespace concordat::cli
