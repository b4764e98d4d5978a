// Parts of bundles beside what else a site has: a name that is taken, windows and shortfalls that a
// part takes part in, and peers that say what they were not asked.
#include <gmock/gmock.h>

#include <set>
#include <string>

#include "services/reservations/windows.h"
#include "storage/projection/table.h"
#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr char kAsked[] = "sites/paris/bundles/b-1";

// Asked by Paris, which may be the site itself.
struct AskedSite : Paris {
  explicit AskedSite(const std::string& site) : Paris(site), here("sites/" + site) {}
  v1::Event Fulfil(const std::string& name, const std::string& id = "fulfil") {
    return When(fmt::format(R"(fulfil_part {{ bundle: "{}" site: "sites/paris"
                       part {{ site: "{}" reservation: "{}"
                               terms {{ customer: "customers/hsbc" {} }} }} }})",
                            kAsked, here, name, TermsText({.site = here})),
                id);
  }
  v1::Event Promise(const std::string& name) {
    return When(fmt::format(R"(promise_part {{ name: "{}" bundle: "{}" site: "sites/paris" }})",
                            name, kAsked),
                "promise");
  }
  // A part that is held on s1, which a window affects, and that takes part in a shortfall.
  std::string Affected() {
    const std::string name = here + "/reservations/r-1p1";
    EXPECT_TRUE(Fulfil(name).has_reservation_held());
    Given(fmt::format(R"(window_affects {{ window: "{0}/windows/w" servers: "{0}/servers/s1"
        start_time {{ {1} }} end_time {{ {2} }} affected {{ reservation: "{3}" }} }})",
                      here, Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T11:00:00Z"),
                      name));
    Given(fmt::format(R"(shortfall_found {{ name: "{}/shortfalls/s" start_time {{ {} }}
        end_time {{ {} }} }})",
                      here, Seconds("2027-01-01T10:00:00Z"), Seconds("2027-01-01T11:00:00Z")));
    return name;
  }
  std::set<std::string> Following() {
    std::set<std::string> kinds;
    for (const auto& intent : Reactions()) EXPECT_TRUE(kinds.insert(intent.kind).second);
    return kinds;
  }

  const std::string here;
};

TEST(PartNames, OneThatIsTakenIsDeclinedAndWhatHasItGoesOn) {
  for (const char* site : {"borlange", "paris"}) {
    AskedSite asked(site);
    const std::string name = asked.Confirmed({.count = 2, .site = asked.here});
    asked.At("2027-01-01T10:00:00Z");
    EXPECT_TRUE(asked.About("start_reservation", name).has_reservation_started());
    const std::string before = Dump(asked.journal());
    const v1::Event declined = asked.Fulfil(name);
    EXPECT_THAT(declined, EqualsText(fmt::format(
                              R"(reservation_declined {{ name: "{0}" bundle: "{1}" name_taken: true
        reason: REASON_ALREADY_EXISTS detail: "{0} exists already; expected a new id." }})",
                              name, kAsked)));
    EXPECT_EQ(asked.Row(name).state(), v1::RESERVATION_STATE_ACTIVE);
    EXPECT_EQ(Dump(asked.journal()), before) << "no row is touched";
    const auto told =
        site == std::string("paris") ? asked.Reactions() : Paris().ReactionsTo(declined, site);
    ASSERT_EQ(told.size(), 1u) << "the coordinator hears of it, and nothing else follows";
    EXPECT_THAT(told[0].command.record_part(),
                HasText(fmt::format(
                    R"(site: "{}" part {{ bundle: "{}" reservation: "{}"
                       state: PART_STATE_DECLINED reason: REASON_ALREADY_EXISTS }})",
                    asked.here, kAsked, name)));
    EXPECT_THAT(asked.Fulfil(name, "again"), HasText("reservation_declined { name_taken: true }"));
  }
}

TEST(PartNames, APartOfAnotherBundleKeepsItsNameToo) {
  AskedSite asked("borlange");
  const std::string name = "sites/borlange/reservations/r-1p1";
  EXPECT_TRUE(asked.Fulfil(name).has_reservation_held());
  const v1::Event declined =
      asked.When(fmt::format(R"(fulfil_part {{ bundle: "sites/paris/bundles/b-2" site: "sites/paris"
          part {{ site: "sites/borlange" reservation: "{}"
                  terms {{ customer: "customers/hsbc" {} }} }} }})",
                             name, TermsText({.site = "sites/borlange"})),
                 "other");
  EXPECT_THAT(declined, HasText("reservation_declined { name_taken: true }"));
  EXPECT_EQ(asked.Row(name).state(), v1::RESERVATION_STATE_HELD);
  EXPECT_TRUE(asked.About("confirm_reservation", name).has_part_held());
  EXPECT_TRUE(asked.Promise(name).has_part_promised());
}

TEST(PartNames, OlderHistoriesMeanWhatTheyMeant) {
  AskedSite asked("borlange");
  const std::string name = asked.Confirmed({.site = asked.here});
  asked.Given(fmt::format(R"(reservation_declined {{ name: "{}" bundle: "{}" }})", name, kAsked));
  EXPECT_EQ(asked.Row(name).state(), v1::RESERVATION_STATE_DECLINED);
}

TEST(PartsAtTheirCoordinator, TellItAndHaveWindowsAndShortfallsLookAgain) {
  for (const char* how : {"lapse_hold", "decline_reservation", "cancel_reservation"}) {
    AskedSite paris("paris");
    const std::string name = paris.Affected();
    EXPECT_FALSE(paris.About(how, name).has_command_refused());
    EXPECT_THAT(paris.Following(), UnorderedElementsAre("tell", "review", "shortfall")) << how;
  }
}

TEST(PartsAtTheirCoordinator, WhosePromiseIsBrokenHaveWindowsAndShortfallsLookAgain) {
  for (const char* site : {"paris", "borlange"}) {
    AskedSite asked(site);
    const std::string name = asked.Affected();
    EXPECT_TRUE(asked.About("confirm_reservation", name).has_part_held());
    EXPECT_TRUE(asked.Promise(name).has_part_promised());
    EXPECT_TRUE(asked.When(fmt::format(R"(break_promise {{ name: "{}" reason: "gone" }})", name))
                    .has_promise_broken());
    std::set<std::string> kinds = asked.Following();
    EXPECT_EQ(kinds.erase("tell"), site == std::string("paris") ? 1u : 0u);
    EXPECT_THAT(kinds, UnorderedElementsAre("review", "shortfall")) << site;
  }
}

TEST(BundleCoordinator, AbortsAtItsTimeWhereSitesHavePromisedUnasked) {
  Paris paris;
  const v1::Event event =
      paris.When(fmt::format(R"(reserve_bundle {{ parts {{ site: "sites/paris" {0} }}
                                       parts {{ site: "sites/borlange" {0} }} }})",
                             TermsText({})),
                 "bundle");
  const v1::BundleRequested& requested = event.bundle_requested();
  int heard = 0;
  for (const v1::BundlePart& part : requested.parts()) {
    for (const char* state : {"PART_STATE_HELD", "PART_STATE_PROMISED"}) {
      EXPECT_TRUE(paris
                      .When(fmt::format(R"(record_part {{ site: "{}" part {{ bundle: "{}"
                          reservation: "{}" state: {} }} }})",
                                        part.site(), requested.name(), part.reservation(), state),
                            fmt::format("hear-{}", ++heard))
                      .has_part_recorded());
    }
  }
  EXPECT_THAT(paris.Reactions(), IsEmpty()) << "it never was held as a whole";
  paris.At("2027-01-01T10:00:00Z");
  const auto due = paris.DueAt("2027-01-01T10:00:00Z");
  ASSERT_EQ(due.size(), 1u);
  const v1::Event aborted = paris.When(due[0].command, "due");
  EXPECT_EQ(aborted.bundle_aborted().reason(), v1::REASON_HOLD_LAPSED);
  EXPECT_EQ(aborted.bundle_aborted().detail(),
            fmt::format("Every part is promised and {} is BUNDLE_STATE_REQUESTED at "
                        "2027-01-01T10:00:00Z, expected promises that were asked for by then.",
                        requested.name()));
  EXPECT_EQ(aborted.bundle_aborted().parts_size(), 2) << "both are released";
  EXPECT_THAT(paris.DueAt("2027-01-02T10:00:00Z"), IsEmpty());
}

// Counts the reservations that are read.
struct CountingRows : storage::RowSource {
  explicit CountingRows(const storage::RowSource& base) : base(base) {}
  bool Read(std::string_view key, absl::FunctionRef<void(std::string_view)> value) const override {
    if (storage::TableOf(key) == "reservations") ++reservations;
    return base.Read(key, value);
  }
  void Scan(std::string_view from,
            absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    base.Scan(from, row);
  }
  const storage::RowSource& base;
  mutable int reservations = 0;
};

TEST(WindowReviews, ReadNoneOfTheReservationsThatOnlyOtherWindowsAffect) {
  Paris paris;
  const std::string name = paris.Confirmed({});
  std::string affected;
  for (int i = 0; i < 50; ++i)
    affected += fmt::format(R"(affected {{ reservation: "sites/paris/reservations/r-{}" }})", i);
  paris.Given(fmt::format(R"(window_affects {{ window: "sites/paris/windows/v" {} }})", affected));
  paris.Given(fmt::format(
      R"(window_affects {{ window: "sites/paris/windows/w" {} affected {{ reservation: "{}" }} }})",
      affected, name));
  const CountingRows counting(paris.journal());
  const auto reviews = ReviewWindowsOf(Rows(counting), name);
  ASSERT_EQ(reviews.size(), 1u);
  EXPECT_EQ(reviews[0].subject, "sites/paris/windows/w");
  EXPECT_EQ(counting.reservations, 0) << "their names say that they are others";
}

TEST(WindowReviews, KnowOccurrencesOfASeriesFromNamesThatOnlyBeginAlike) {
  AskedSite asked("borlange");
  const std::string series = "sites/borlange/reservations/r-1";
  const std::string other = series + "-2";
  EXPECT_TRUE(asked.Fulfil(other).has_reservation_held());
  asked.Given(fmt::format(
      R"(window_affects {{ window: "sites/borlange/windows/w" affected {{ reservation: "{}" }} }})",
      other));
  EXPECT_THAT(ReviewWindowsOf(asked.state().rows, series), IsEmpty());
  EXPECT_EQ(ReviewWindowsOf(asked.state().rows, other).size(), 1u);
}

}  // namespace
}  // namespace concordat::reservations
