#include "services/reservations/quotas.h"

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using test::EqualsText;
using test::HasText;

constexpr char kFrame[] = "customers/hsbc/contracts/frame";

// At Paris, whose contract it is, or at Borlänge, where it was recorded: four servers of 8
// accelerators each; of 32 accelerators and 101 hours each of the two sites begins with a part.
struct WithQuota : test::Scenario<Service> {
  explicit WithQuota(const std::string& site = "paris") : Scenario(site), site_(site) {
    At("2027-01-01T09:00:00Z");
    Given(fmt::format(R"(site_recorded {{ name: "sites/{}" country: "FR" }})", site));
    Given(fmt::format(R"(envelope_recorded {{ site: "sites/{}" effective_from {{ {} }}
                         it_power_watts: 400 cooling_watts: 400 }})",
                      site, Seconds("2026-01-01T00:00:00Z")));
    for (int i = 1; i <= 4; ++i) {
      Given(fmt::format(R"(server_recorded {{ name: "sites/{}/servers/s{}" model: "models/m"
                           it_power_watts: 100 cooling_watts: 90 bookable: true accelerators: 8 }})",
                        site, i));
    }
    if (site == "paris") {
      Given(R"(customer_registered { name: "customers/hsbc" country: "GB" sector: "FINANCE" })");
      const v1::Event contract =
          When(SignText(R"(quota { accelerators: 33 accelerator_hours: 101 })"));
      EXPECT_TRUE(contract.has_contract_signed()) << contract.ShortDebugString();
    } else {
      Given(fmt::format(
          R"(contract_recorded {{ home_site: "sites/paris" contract {{ {} quota {{ accelerators: 33
             accelerator_hours: 101
             allotments {{ site: "sites/paris" accelerators: 17 accelerator_hours: 51 }}
             allotments {{ site: "sites/borlange" accelerators: 16 accelerator_hours: 50 }} }} }} }})",
          ContractText("sites/paris", 0)));
    }
  }
  static std::string SignText(const std::string& more) {
    return fmt::format(
        R"(sign_contract {{ name: "{}" sites: "sites/paris" sites: "sites/borlange"
           start_time {{ {} }} end_time {{ {} }} data_classes: "PUBLIC" {} }})",
        kFrame, Seconds("2027-01-01T00:00:00Z"), Seconds("2028-01-01T00:00:00Z"), more);
  }
  v1::Event Reserve(Wish wish) {
    return When(fmt::format(R"(reserve {{ site: "sites/{}" {} }})", site_, TermsText(wish)),
                fmt::format("r-{}", ++reserved_));
  }
  v1::Event About(const std::string& command, const std::string& name) {
    return When(fmt::format("{} {{ name: \"{}\" }}", command, name),
                fmt::format("{}-{}", command, ++reserved_));
  }
  v1::Quota Quota() {
    return state().rows.quotas.Get(QuotaName(site_, kFrame)).value_or(v1::Quota());
  }
  int64_t Used() { return Quota().used_accelerator_seconds(); }

 private:
  std::string site_;
  int reserved_ = 0;
};

TEST(Quotas, AreDividedAmongTheSitesAndTheHomeHasTheRest) {
  WithQuota paris;
  EXPECT_THAT(paris.Quota(), HasText(R"(name: "sites/paris/quotas/hsbc/frame"
    total { accelerators: 33 accelerator_seconds: 363600 }
    accelerator_seconds: 183600 levels { accelerators: 17 }
    shares { site: "sites/borlange" granted { accelerators: 16 accelerator_seconds: 180000 } })"));
  WithQuota borlange("borlange");
  EXPECT_THAT(borlange.Quota(), HasText(R"(name: "sites/borlange/quotas/hsbc/frame"
    home_site: "sites/paris" accelerator_seconds: 180000 levels { accelerators: 16 })"));
}

TEST(Quotas, AreBookedByAHoldAndGivenBackByWhatNeverStarts) {
  for (const char* way : {"cancel_reservation", "decline_reservation", "lapse_hold"}) {
    WithQuota paris;
    const v1::Event held = paris.Reserve({.count = 2});
    EXPECT_THAT(held, HasText("reservation_held { accelerators: 16 }"));
    EXPECT_EQ(paris.Used(), 16 * 2 * 3600);
    paris.About(way, held.reservation_held().name());
    EXPECT_EQ(paris.Used(), 0) << way;
    EXPECT_TRUE(paris.Reserve({.count = 2}).has_reservation_held()) << way;
  }
}

TEST(Quotas, CountOnlyWhatTheCustomerHadWhereTheStartIsLate) {
  WithQuota paris;
  const std::string name = paris.Reserve({}).reservation_held().name();
  paris.About("confirm_reservation", name);
  paris.At("2027-01-01T10:30:00Z");
  EXPECT_THAT(paris.About("start_reservation", name),
              HasText("reservation_started { accelerators: 8 }"));
  EXPECT_EQ(paris.Used(), 8 * 90 * 60);
  paris.At("2027-01-01T12:00:00Z");
  paris.About("begin_end_reservation", name);
  paris.About("end_reservation", name);
  EXPECT_EQ(paris.Used(), 8 * 90 * 60) << "what was used stays used";
}

TEST(Quotas, CountWhatIsReleasedOrRevokedUpToThen) {
  for (const char* way : {R"(release_reservation { name: "$" reason: "done" })",
                          R"(revoke_reservation { name: "$" cause: "an order"
                             legal_basis { instrument: "Code" article: "1" } })"}) {
    WithQuota paris;
    const std::string name = paris.Reserve({.count = 2}).reservation_held().name();
    paris.About("confirm_reservation", name);
    paris.At("2027-01-01T10:00:00Z");
    paris.About("start_reservation", name);
    paris.At("2027-01-01T10:30:00Z");
    std::string command = way;
    command.replace(command.find('$'), 1, name);
    EXPECT_FALSE(paris.When(command, "end").has_command_refused());
    EXPECT_EQ(paris.Used(), 16 * 30 * 60) << way;
  }
}

TEST(Quotas, CountNothingOfWhatIsRevokedWhileItsStartIsDelayed) {
  WithQuota paris;
  const std::string name = paris.Reserve({}).reservation_held().name();
  paris.About("confirm_reservation", name);
  EXPECT_EQ(paris.Used(), 8 * 2 * 3600);
  paris.Given(fmt::format(R"(envelope_recorded {{ site: "sites/paris" effective_from {{ {} }}
                             it_power_watts: 1 cooling_watts: 1 }})",
                          Seconds("2027-01-01T10:00:00Z")));
  paris.At("2027-01-01T10:00:00Z");
  EXPECT_TRUE(paris.About("start_reservation", name).has_reservation_delayed());
  paris.At("2027-01-01T10:30:00Z");
  EXPECT_TRUE(paris
                  .When(fmt::format(R"(revoke_reservation {{ name: "{}" cause: "an order"
                                       legal_basis {{ instrument: "Code" article: "1" }} }})",
                                    name),
                        "revoke")
                  .has_reservation_revoked());
  EXPECT_EQ(paris.Used(), 0) << "the customer never had it";
}

TEST(Quotas, RefuseMoreAcceleratorsAtOnceThanAreAllottedHereAndSayWhatIsLeft) {
  WithQuota paris;
  EXPECT_TRUE(paris.Reserve({}).has_reservation_held());
  const v1::Event refused = paris.Reserve({.count = 2});
  EXPECT_THAT(refused, HasText(R"(command_refused {
        command: "concordat.reservations.v1.ReserveRequest" reason: REASON_QUOTA_EXHAUSTED
        shortfall { contract: "customers/hsbc/contracts/frame" missing { accelerators: 7 } } })"));
  EXPECT_THAT(
      refused.command_refused().detail(),
      testing::StartsWith(
          "Of the quota of customers/hsbc/contracts/frame at sites/paris, 17 accelerators at once "
          "are allotted, 9 of them are left within 2027-01-01T10:00:00Z to 2027-01-01T12:00:00Z, "
          "and 16 are asked for. More is requested from the other sites."));
  EXPECT_TRUE(
      paris.Reserve({.start = "2027-01-01T12:00:00Z", .end = "2027-01-01T13:00:00Z", .count = 2})
          .has_reservation_held())
      << "at another time they are left";
}

TEST(Quotas, ThatAreUsedAtOneTimeSayFromWhenOnTheSameWouldFit) {
  WithQuota paris;
  paris.Reserve({.start = "2027-01-01T09:30:00Z", .end = "2027-01-01T11:00:00Z"});
  const v1::Event refused = paris.Reserve({.count = 2});
  EXPECT_THAT(refused, HasText(RefusalFor(v1::REASON_QUOTA_EXHAUSTED)));
  const v1::Shortage& shortage = refused.command_refused().shortage();
  EXPECT_EQ(runtime::ToText(runtime::ToTime(shortage.earliest_start())), "2027-01-01T11:00:00Z")
      << refused.ShortDebugString();
  EXPECT_THAT(shortage, HasText(R"(terms { count: 2 })"));
  EXPECT_THAT(refused.command_refused().detail(),
              testing::EndsWith("It would fit from 2027-01-01T11:00:00Z on."));
  EXPECT_TRUE(
      paris.Reserve({.start = "2027-01-01T11:00:00Z", .end = "2027-01-01T13:00:00Z", .count = 2})
          .has_reservation_held());
}

TEST(Quotas, ThatAnAmendmentLacksAreAskedForToo) {
  WithQuota paris;
  const std::string name = paris.Reserve({}).reservation_held().name();
  paris.About("confirm_reservation", name);
  EXPECT_THAT(
      paris.When(fmt::format(R"(amend_reservation {{ name: "{}" count: 3 }})", name), "amend"),
      HasText(R"(command_refused { reason: REASON_QUOTA_EXHAUSTED
                   shortfall { contract: "customers/hsbc/contracts/frame" } })"));
  EXPECT_FALSE(paris.Reactions().empty()) << "as it says, more is requested from the other sites";
}

TEST(Quotas, WithTooFewHoursLeftKnowNoStartAtWhichTheyWouldFit) {
  WithQuota borlange("borlange");
  const v1::Event refused =
      borlange.Reserve({.end = "2027-01-01T17:00:00Z", .count = 1, .site = "sites/borlange"});
  EXPECT_THAT(refused, HasText(R"(command_refused { reason: REASON_QUOTA_EXHAUSTED
                shortfall { missing { accelerator_seconds: 21600 } } })"));
  EXPECT_TRUE(refused.command_refused().has_shortage()) << refused.ShortDebugString();
  EXPECT_FALSE(refused.command_refused().shortage().has_earliest_start());
}

TEST(Quotas, RefuseMoreAcceleratorHoursThanAreAllottedHere) {
  WithQuota borlange("borlange");
  const v1::Event refused =
      borlange.Reserve({.end = "2027-01-01T16:15:00Z", .count = 1, .site = "sites/borlange"});
  EXPECT_THAT(refused, HasText("reservation_held { accelerators: 8 }")) << "8 times 6.25 is 50";
  EXPECT_THAT(borlange.Reserve({.start = "2027-01-01T17:00:00Z", .end = "2027-01-01T17:00:01Z"}),
              HasText(R"(command_refused { reason: REASON_QUOTA_EXHAUSTED
                shortfall { missing { accelerator_seconds: 8 } } })"));
}

TEST(Quotas, OfASeriesCoverAllOfItsOccurrencesTogether) {
  WithQuota borlange("borlange");
  const auto series = [&](int days, const char* id) {
    return borlange.When(
        fmt::format(R"(reserve {{ site: "sites/borlange" {} access {{ rule: "FREQ=DAILY;COUNT={}"
                       time_zone: "Europe/Stockholm" start: "2027-01-02T10:00:00"
                       duration {{ seconds: 3600 }} }} }})",
                    TermsText({.end = "2027-02-01T00:00:00Z"}), days),
        id);
  };
  EXPECT_THAT(series(7, "a"), HasText(R"(command_refused { reason: REASON_QUOTA_EXHAUSTED
    shortfall { missing { accelerator_seconds: 21600 } } })"))
      << "7 times 8 is 56, and 50 are allotted";
  const v1::Event held = series(6, "b");
  EXPECT_TRUE(held.has_reservation_held()) << held.ShortDebugString();
  EXPECT_EQ(borlange.Used(), 6 * 8 * 3600);
  borlange.About("cancel_reservation", held.reservation_held().name());
  EXPECT_EQ(borlange.Used(), 0);
  const v1::Event other = series(6, "c");
  EXPECT_EQ(borlange.Used(), 6 * 8 * 3600);
  borlange.About("confirm_reservation", other.reservation_held().name());
  EXPECT_TRUE(borlange
                  .When(fmt::format(R"(revoke_reservation {{ name: "{}" cause: "an asset freeze"
                            legal_basis {{ instrument: "Regulation (EU) 269/2014" article: "2" }} }})",
                                    other.reservation_held().name()),
                        "revoke")
                  .has_reservation_revoked());
  EXPECT_EQ(borlange.Used(), 0) << "what is revoked before it begins uses nothing";
}

TEST(Quotas, ThatRunDryAreAskedForOnceUntilTheAnswer) {
  WithQuota borlange("borlange");
  borlange.Reserve({.count = 3});
  const auto asks = borlange.Reactions();
  ASSERT_EQ(asks.size(), 1u);
  EXPECT_EQ(asks[0].subject, "sites/borlange/quotas/hsbc/frame");
  EXPECT_THAT(borlange.When(asks[0].command, "ask"),
              EqualsText(R"(quota_requested { contract: "customers/hsbc/contracts/frame"
    site: "sites/borlange" number: 1 amount { accelerators: 8 } asked: "sites/paris" })"));
  borlange.Reserve({.count = 3});
  EXPECT_TRUE(borlange.Reactions().empty()) << "it is asked for already";
  EXPECT_THAT(borlange.When(asks[0].command, "again"), HasText(RefusalFor(v1::REASON_WRONG_STATE)));
  borlange.When(R"(record_quota_answer { site: "sites/paris" declined {
    contract: "customers/hsbc/contracts/frame" site: "sites/borlange" request: 1 detail: "none" } })",
                "answer");
  EXPECT_EQ(borlange.Quota().open_request(), 0);
  borlange.Reserve({.count = 3});
  EXPECT_TRUE(borlange.Reactions().empty()) << "not at every refusal";
  borlange.At("2027-01-01T09:00:10Z");
  borlange.Reserve({.count = 3});
  EXPECT_EQ(borlange.Reactions().size(), 1u);
}

TEST(Quotas, ThatRunDryForAPartOfABundleAreAskedForToo) {
  WithQuota borlange("borlange");
  const v1::Event declined = borlange.When(
      fmt::format(R"(fulfil_part {{ bundle: "sites/paris/bundles/b" site: "sites/paris"
          part {{ site: "sites/borlange" reservation: "sites/borlange/reservations/r-1"
                  terms {{ customer: "customers/hsbc" {} }} }} }})",
                  TermsText({.count = 3})),
      "part");
  EXPECT_THAT(declined, HasText(R"(reservation_declined { reason: REASON_QUOTA_EXHAUSTED
      shortfall { contract: "customers/hsbc/contracts/frame" missing { accelerators: 8 } } })"));
  std::vector<std::string> kinds;
  for (const auto& intent : borlange.Reactions()) kinds.push_back(intent.kind);
  EXPECT_THAT(kinds, testing::Contains("ask"));
}

TEST(Quotas, OfMoreHoursThanThereAreSecondsToCountThemInAreBounded) {
  WithQuota borlange("borlange");
  const std::string hours = "accelerators: 8 accelerator_hours: 1000000000000000000";
  borlange.Given(fmt::format(
      R"(contract_recorded {{ home_site: "sites/paris" contract {{ {} quota {{ {}
         allotments {{ site: "sites/borlange" {} }} }} }} }})",
      ContractText("sites/paris", 0, "huge"), hours, hours));
  const auto quota =
      borlange.state().rows.quotas.Get(QuotaName("borlange", "customers/hsbc/contracts/huge"));
  ASSERT_TRUE(quota.has_value());
  constexpr int64_t kMost = 3'600'000'000'000'000;
  EXPECT_EQ(quota->total().accelerator_seconds(), kMost);
  EXPECT_EQ(quota->accelerator_seconds(), kMost);
}

constexpr char kRequest[] = R"(quota_requested { contract: "customers/hsbc/contracts/frame"
  site: "sites/borlange" number: 1 amount { accelerators: 8 accelerator_seconds: 3600 }
  asked: "sites/paris" })";

TEST(Quotas, AreGrantedByTheHomeFromWhatItDoesNotUse) {
  WithQuota paris;
  const auto intents = paris.ReactionsTo(test::Parse<v1::Event>(kRequest), "borlange");
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_THAT(paris.When(intents[0].command, "g-1"),
              EqualsText(fmt::format(
                  R"(quota_granted {{ contract: "{}" site: "sites/borlange" number: 1 request: 1
                     amount {{ accelerators: 8 accelerator_seconds: 3600 }}
                     effective_from {{ {} }} missing {{ }} }})",
                  kFrame, Seconds("2027-01-01T09:00:00Z"))));
  EXPECT_THAT(paris.Quota(), HasText(R"(accelerator_seconds: 180000
    levels { accelerators: 17 } levels { accelerators: 9 }
    shares { granted { accelerators: 24 accelerator_seconds: 183600 } })"));
  EXPECT_THAT(paris.When(intents[0].command, "g-2"), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)))
      << "a request is answered once";
}

TEST(Quotas, AreDeclinedWhereTheHomeUsesAllOfItAndTheOthersAreAsked) {
  WithQuota paris;
  EXPECT_TRUE(paris.Reserve({.count = 2}).has_reservation_held());
  const auto request = [](int number, int accelerators) {
    return test::Parse<v1::Command>(fmt::format(
        R"(grant_quota {{ contract: "{0}" site: "sites/borlange" request {{ contract: "{0}"
           site: "sites/borlange" number: {1} amount {{ accelerators: {2} }} }} }})",
        kFrame, number, accelerators));
  };
  EXPECT_THAT(
      paris.When(request(1, 8), "g-1"),
      HasText(R"(quota_granted { amount { accelerators: 1 } missing { accelerators: 7 } })"))
      << "one is left";
  EXPECT_THAT(
      paris.When(request(2, 8), "g-2"),
      HasText(
          R"(quota_declined { site: "sites/borlange" request: 2 missing { accelerators: 8 } })"));
  EXPECT_THAT(paris.Quota(), HasText("shares { missing { accelerators: 8 } }"));
  const auto asks = paris.Reactions();
  ASSERT_EQ(asks.size(), 1u);
  EXPECT_THAT(paris.When(asks[0].command, "ask"), HasText(RefusalFor(v1::REASON_QUOTA_EXHAUSTED)))
      << "there is no third site to ask";
}

TEST(Quotas, AreCreditedOnceHoweverOftenTheGrantArrives) {
  WithQuota borlange("borlange");
  const auto grant = [](int number, const char* from) {
    return fmt::format(R"(record_quota_answer {{ site: "{}" granted {{ contract: "{}"
      site: "sites/borlange" number: {} request: 1
      amount {{ accelerators: 8 accelerator_seconds: 3600 }} effective_from {{ {} }} }} }})",
                       from, kFrame, number, Seconds("2027-01-01T10:30:00Z"));
  };
  EXPECT_THAT(borlange.When(grant(2, "sites/paris"), "a"), HasText("quota_answered { grant: 2 }"));
  EXPECT_THAT(borlange.When(grant(2, "sites/paris"), "b"),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(borlange.When(grant(1, "sites/paris"), "c"), HasText("quota_answered { grant: 1 }"))
      << "one that was overtaken counts too";
  EXPECT_THAT(borlange.When(grant(1, "sites/paris"), "d"),
              HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_THAT(borlange.When(grant(3, "sites/lyon"), "e"), HasText(RefusalFor(v1::REASON_NOT_HOME)));
  EXPECT_THAT(borlange.Quota(), HasText(R"(accelerator_seconds: 187200 grants { through: 2 }
    levels { accelerators: 16 } levels { accelerators: 32 })"));
  EXPECT_THAT(borlange.Reserve({.count = 3}), HasText(RefusalFor(v1::REASON_QUOTA_EXHAUSTED)))
      << "what begins before the grant holds has no part in it";
  EXPECT_TRUE(
      borlange.Reserve({.start = "2027-01-01T10:30:00Z", .count = 3}).has_reservation_held());
}

TEST(Quotas, FlowBackAsFarAsTheyAreNotUsed) {
  WithQuota borlange("borlange");
  EXPECT_TRUE(borlange.Reserve({.count = 1}).has_reservation_held());
  EXPECT_THAT(borlange.When(fmt::format("return_quota {{ contract: \"{}\" }}", kFrame), "r-1"),
              EqualsText(fmt::format(
                  R"(quota_returned {{ contract: "{}" home_site: "sites/paris" number: 1
             amount {{ accelerators: 8 accelerator_seconds: 122400 }} effective_from {{ {} }} }})",
                  kFrame, Seconds("2027-01-01T09:00:00Z"))));
  EXPECT_THAT(borlange.When(fmt::format("return_quota {{ contract: \"{}\" }}", kFrame), "r-2"),
              HasText(RefusalFor(v1::REASON_QUOTA_EXHAUSTED)));
  WithQuota paris;
  const std::string reclaim = fmt::format(
      R"(reclaim_quota {{ site: "sites/borlange" returned {{ contract: "{}" home_site: "sites/paris"
         number: 1 amount {{ accelerators: 8 accelerator_seconds: 122400 }}
         effective_from {{ {} }} }} }})",
      kFrame, Seconds("2027-01-01T09:00:00Z"));
  EXPECT_TRUE(paris.When(reclaim, "a").has_quota_reclaimed());
  EXPECT_THAT(paris.Quota(), HasText(R"(accelerator_seconds: 306000
    shares { granted { accelerators: 8 accelerator_seconds: 57600 } returns { through: 1 } })"));
  EXPECT_THAT(paris.When(reclaim, "b"), HasText(RefusalFor(v1::REASON_CONTRACT)))
      << "more than it was granted";
  EXPECT_THAT(paris.When(fmt::format("return_quota {{ contract: \"{}\" }}", kFrame), "r"),
              HasText(RefusalFor(v1::REASON_WRONG_STATE)));
}

// Borlänge did not get what it asked for, and then a site gives something back.
void GiveBackWhereBorlangeMisses(WithQuota& paris, const char* site) {
  paris.Given(fmt::format(
      R"(quota_declined {{ contract: "{}" site: "sites/borlange" request: 1
                           missing {{ accelerators: 9 }} }})",
      kFrame));
  paris.Given(fmt::format(R"(quota_reclaimed {{ contract: "{}" site: "{}" number: 1
    amount {{ accelerators: 4 }} effective_from {{ {} }} }})",
                          kFrame, site, Seconds("2027-01-01T09:00:00Z")));
}

TEST(Quotas, ThatComeBackGoToWhomTheyWereMissing) {
  WithQuota paris;
  GiveBackWhereBorlangeMisses(paris, "sites/lyon");
  const auto intents = paris.Reactions();
  ASSERT_EQ(intents.size(), 1u);
  EXPECT_THAT(paris.When(intents[0].command, "g"),
              HasText(R"(quota_granted { site: "sites/borlange" request: 1
                amount { accelerators: 9 } })"));
}

TEST(Quotas, ThatASiteGivesBackDoNotComeBackToIt) {
  WithQuota paris;
  GiveBackWhereBorlangeMisses(paris, "sites/borlange");
  EXPECT_TRUE(paris.Reactions().empty());
}

TEST(Quotas, OfUnknownContractsAndOtherHomesAreNobodysHere) {
  WithQuota borlange("borlange");
  EXPECT_THAT(borlange.When(R"(return_quota { contract: "customers/x/contracts/y" })"),
              HasText(RefusalFor(v1::REASON_NOT_FOUND)));
  EXPECT_THAT(borlange.When(fmt::format(
                  R"(grant_quota {{ contract: "{}" site: "sites/lyon" request {{ number: 1 }} }})",
                  kFrame)),
              HasText(RefusalFor(v1::REASON_NOT_HOME)));
  WithQuota paris;
  EXPECT_THAT(paris.When(fmt::format(
                  R"(grant_quota {{ contract: "{}" site: "sites/lyon" request {{ number: 1 }} }})",
                  kFrame)),
              HasText(RefusalFor(v1::REASON_CONTRACT)));
}

TEST(Quotas, AreNeededByEveryContract) {
  const auto check = [](const std::string& more) {
    return Validate(test::Parse<v1::Command>(WithQuota::SignText(more)));
  };
  EXPECT_TRUE(check("max_servers_per_site: 1").ok());
  EXPECT_TRUE(check("quota { accelerators: 1 }").ok());
  EXPECT_TRUE(check("quota { accelerator_hours: 1 }").ok());
  EXPECT_EQ(check("").message(),
            "quota: found a contract without any, expected max_servers_per_site, "
            "quota.accelerators or quota.accelerator_hours");
  for (
      const char* bad :
      {"quota { accelerators: -1 }", "quota { accelerators: 1 accelerator_hours: -1 }",
       R"(quota { accelerators: 1 allotments { site: "sites/lyon" } })",
       R"(quota { accelerators: 1 allotments { site: "sites/paris" accelerators: 2 } })",
       R"(quota { accelerators: 1 allotments { site: "sites/paris" } allotments { site: "sites/paris" } })",
       "max_servers_per_site: 1 notices { seconds: 60 } notices { seconds: 60 }",
       "max_servers_per_site: 1 notices { seconds: 60 nanos: 1 }",
       "max_servers_per_site: 1 interventions { maintenance: CONSENT_RULE_CONSENT }",
       "max_servers_per_site: 1 conditions { priority: -1 }",
       R"(max_servers_per_site: 1 prices { effective_from { seconds: 1 } currency: "eur" })",
       R"(max_servers_per_site: 1 prices { currency: "EUR" })",
       R"(max_servers_per_site: 1 prices { effective_from { seconds: 1 } currency: "EUR" minor_units: -1 })",
       R"(max_servers_per_site: 1 prices { effective_from { seconds: 1 } currency: "EUR" }
             prices { effective_from { seconds: 2 } currency: "SEK" })",
       R"(max_servers_per_site: 1 prices { effective_from { seconds: 1 } currency: "EUR" }
             prices { effective_from { seconds: 1 } currency: "EUR" })"}) {
    EXPECT_EQ(check(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

// Nothing here multiplies prices; whoever bills reads them in the event.
TEST(Contracts, KeepTheirPricesInTheEventAndAtEverySite) {
  WithQuota paris;
  const std::string prices = fmt::format(
      R"(prices {{ effective_from {{ {} }} currency: "EUR" minor_units: 249 }}
         prices {{ effective_from {{ {} }} currency: "EUR" minor_units: 199 }})",
      Seconds("2027-01-01T00:00:00Z"), Seconds("2027-07-01T00:00:00Z"));
  v1::Command command =
      test::Parse<v1::Command>(WithQuota::SignText("max_servers_per_site: 4 " + prices));
  command.mutable_sign_contract()->set_name("customers/hsbc/contracts/priced");
  const v1::Event event = paris.When(command, "sign");
  EXPECT_THAT(event, HasText(fmt::format("contract_signed {{ {} }}", prices)));
  EXPECT_EQ(event.contract_signed().prices_size(), 2);
  const auto row = paris.state().rows.contracts.Get("customers/hsbc/contracts/priced");
  ASSERT_TRUE(row.has_value());
  EXPECT_THAT(*row, HasText(fmt::format("terms {{ {} }}", prices)));
  // The other site hears of them with the contract.
  WithQuota borlange("borlange");
  const auto heard = borlange.ReactionsTo(event, "paris");
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_THAT(borlange.When(heard[0].command, "record"),
              HasText(fmt::format("contract_recorded {{ contract {{ {} }} }}", prices)));
  EXPECT_THAT(*borlange.state().rows.contracts.Get("customers/hsbc/contracts/priced"),
              HasText(fmt::format("terms {{ {} }}", prices)));
}

TEST(Projects, AreDemandedWhereTheContractSaysSo) {
  WithQuota paris;
  paris.When(R"(sign_contract { name: "customers/hsbc/contracts/strict" sites: "sites/paris"
      max_servers_per_site: 4 start_time { seconds: 1798761600 } end_time { seconds: 1830297600 }
      data_classes: "PUBLIC" conditions { registered_projects_only: true } })",
             "sign");
  const auto reserve = [&](const char* project) {
    return paris.When(fmt::format(R"(reserve {{ site: "sites/paris" project: "{}" {} }})", project,
                                  TermsText({.contract = "customers/hsbc/contracts/strict"})),
                      project);
  };
  EXPECT_THAT(reserve("fraud-models"), HasText(RefusalFor(v1::REASON_PROJECT)));
  const char* project =
      R"(register_project { name: "customers/hsbc/projects/fraud-models" display_name: "Fraud" })";
  EXPECT_THAT(paris.When(project, "p-1"),
              EqualsText(R"(project_registered { name: "customers/hsbc/projects/fraud-models"
                display_name: "Fraud" home_site: "sites/paris" })"));
  EXPECT_THAT(paris.When(project, "p-2"), HasText(RefusalFor(v1::REASON_ALREADY_EXISTS)));
  EXPECT_TRUE(reserve("fraud-models").has_reservation_held());
  const v1::Event held = reserve("customers/hsbc/projects/fraud-models");
  ASSERT_TRUE(held.has_reservation_held());
  const std::string name = held.reservation_held().name();
  paris.About("confirm_reservation", name);
  const auto amend = [&](const char* changes, const char* id) {
    return paris.When(fmt::format(R"(amend_reservation {{ name: "{}" {} }})", name, changes), id);
  };
  EXPECT_THAT(amend(R"(project: "another")", "a-1"), HasText(RefusalFor(v1::REASON_PROJECT)));
  EXPECT_TRUE(amend(R"(project: "fraud-models")", "a-2").has_amendment_held());
  EXPECT_THAT(
      paris.When(R"(register_project { name: "customers/sap/projects/x" display_name: "X" })",
                 "p-3"),
      HasText(RefusalFor(v1::REASON_NOT_FOUND)));
}

}  // namespace
}  // namespace concordat::reservations
