// Worlds by seed: two writers on one stream, a log that loses acknowledgements, holds records back
// and lets strangers in, and processes that stop and start. Whatever was answered stands in the
// log, and once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <set>

#include "services/runtime/writer.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

constexpr char kStreamName[] = "paris.ledger.events";

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    log_.fate = [this](const std::string& stream, const events::Record& record) {
      return Meet(stream, record);
    };
    for (auto& home : homes_) {
      home = std::make_unique<Home>(log_, clock_);
      home->options.report_timeout = absl::Milliseconds(5);
      home->Open();
    }
  }

  void Live(int steps) {
    for (int i = 0; i < steps; ++i) {
      Home& home = *homes_[Roll(2)];
      switch (Roll(20)) {
        case 0:
          home.Stop();
          if (Roll(3) == 0) home.Wipe();
          home.Open();
          break;
        case 1:
          log_.Release();
          break;
        case 2:
          log_.DropHeld();
          break;
        case 3:
          clock_.Set(clock_.Now() + absl::Hours(static_cast<int64_t>(Roll(30))));
          break;
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
          Ask(home);
          break;
        default:
          home.Step(1);
      }
    }
  }

  // Everything works again; all that was asked is answered or asked again until it is.
  void Calm() {
    log_.fate = nullptr;
    log_.Release();
    ASSERT_TRUE(WaitUntil([&] {
      for (auto& home : homes_) home->Step(2);
      for (One& one : asked_) {
        if (!one.asked.answered()) return false;
        if (one.asked.outcome().ok() || absl::IsAlreadyExists(one.asked.outcome().status()))
          continue;
        one.asked = homes_[0]->Ask(one.command, one.id, one.actor);
        return false;
      }
      return true;
    }));
    for (int i = 0; i < 10; ++i) {
      for (auto& home : homes_) home->Step(1);
    }
  }

  void Judge() {
    const std::vector<Fact> history = History(log_.Records(kStreamName), kStreamName);
    std::set<std::pair<std::string, std::string>> ids;
    absl::Time last = absl::InfinitePast();
    for (const Fact& fact : history) {
      EXPECT_TRUE(ids.emplace(fact.attributes.actor, fact.attributes.command_id).second)
          << fact.attributes.command_id << " left two events";
      EXPECT_GE(fact.attributes.time, last);
      last = fact.attributes.time;
    }
    for (const One& one : asked_) {
      const auto outcome = one.asked.outcome();
      EXPECT_EQ(one.asked.answers(), 1);
      if (!outcome.ok()) continue;  // its id was used by another content
      ASSERT_LT(outcome->sequence(), history.size());
      const events::Attributes& event = history[outcome->sequence()].attributes;
      EXPECT_EQ(outcome->link(), event.id.ToHex());
      EXPECT_EQ(event.command_id, one.id);
      EXPECT_EQ(event.actor, one.actor);
    }
    // Every item that wants it was confirmed once.
    std::map<std::string, int> confirmed;
    for (const Fact& fact : history) {
      if (fact.event && fact.event->has_item_confirmed())
        ++confirmed[fact.event->item_confirmed().name()];
    }
    for (const Fact& fact : history) {
      if (!fact.event || !fact.event->item_put().confirm()) continue;
      EXPECT_EQ(confirmed[fact.event->item_put().name()], 1) << fact.event->item_put().name();
    }
    // Both come to the same state, and so does one that folds all of it anew.
    std::set<std::string> digests;
    for (auto& home : homes_) {
      home->Restart();
      digests.insert(home->Digest());
      home->Stop();
    }
    homes_[0]->Wipe();
    homes_[0]->Start();
    digests.insert(homes_[0]->Digest());
    EXPECT_EQ(digests.size(), 1u);
    accepted += static_cast<int>(history.size());
    voids += static_cast<int>(log_.Records(kStreamName).size() - history.size());
  }

  static int accepted;
  static int voids;

 private:
  struct One {
    Asked asked;
    v1::Command command;
    std::string id;
    std::string actor;
  };

  size_t Roll(size_t sides) { return random_() % sides; }

  Fate Meet(const std::string& stream, const events::Record& record) {
    // A writer waits for the report of its claim, so that is never held back.
    const bool system =
        events::HeaderValue(record, "ce_type").substr(0, 19) == "concordat.system.v1";
    switch (Roll(30)) {
      case 0:
        return Fate::kFail;
      case 1:
        return Fate::kLandWithError;
      case 2:
        return Fate::kLandUnknown;
      case 3:
      case 4:
        return system ? Fate::kLand : Fate::kHold;
      case 5: {  // a copy of something old
        const auto records = log_.Records(stream);
        if (!records.empty()) log_.Put(stream, records[Roll(records.size())]);
        return Fate::kLand;
      }
      case 6: {  // somebody's child of an event that is not the head
        const auto history = History(log_.Records(stream), stream);
        if (history.size() < 2) return Fate::kLand;
        const auto& parent = history[Roll(history.size() - 1)].attributes;
        events::Head head{parent.id, static_cast<int64_t>(parent.sequence), -1, parent.time};
        log_.Put(stream, ForeignPut(head, "stranger", stream));
        return Fate::kLand;
      }
      default:
        return Fate::kLand;
    }
  }

  void Ask(Home& home) {
    // Few names and ids, so that they meet.
    One one;
    const auto number = Roll(40);
    one.id = "c-" + std::to_string(number);
    one.actor = Roll(3) == 0 ? "bob" : "alice";
    const std::string name = std::to_string(number % 25);
    one.command = number % 4 == 0 ? PutConfirmed(name) : Put(name, Roll(15) == 0 ? 2 : 1);
    one.asked = home.Ask(one.command, one.id, one.actor);
    asked_.push_back(std::move(one));
  }

  std::mt19937_64 random_;
  ScriptedLog log_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  std::unique_ptr<Home> homes_[2];
  std::vector<One> asked_;
};
int World::accepted = 0;
int World::voids = 0;

class WriterProperties : public testing::TestWithParam<uint64_t> {
 public:
  static void TearDownTestSuite() {
    std::printf("%d accepted, %d void\n", World::accepted, World::voids);
    EXPECT_GT(World::voids, 20) << "the worlds were not rough enough";
    EXPECT_GT(World::accepted, 200);
  }
};

TEST_P(WriterProperties, WhateverWasAnsweredStandsInTheLogOnce) {
  World world(GetParam());
  world.Live(120);
  world.Calm();
  world.Judge();
}

INSTANTIATE_TEST_SUITE_P(Seeds, WriterProperties, testing::Range<uint64_t>(1, 11));

}  // namespace
}  // namespace concordat::test
