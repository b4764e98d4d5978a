// How long a command's id is remembered: by the log's own time, so that all who fold it forget
// alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/runtime/fold.h"
#include "services/runtime/follower.h"
#include "services/runtime/writer.h"
#include "tests/services/runtime/home.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

// Noon, so that hours after it are the same day.
const absl::Time kNoon = absl::FromUnixSeconds(20'000LL * 86'400 + 43'200);

class MemoryTest : public testing::Test {
 protected:
  MemoryTest() { home_.Start(); }
  std::vector<Fact> TheHistory() { return History(log_.Records(home_.stream()), home_.stream()); }
  // What a follower on another site makes of the same log.
  std::string ReplicaDigest() {
    TempDir dir;
    auto projection = storage::Projection::Open(dir.path(), home_.stream(),
                                                events::Chain::Origin::kMirrored, "test");
    EXPECT_TRUE(projection.ok());
    runtime::EngineOf<ledger::Service> engine((*projection)->journal());
    runtime::Replica replica(engine, **projection, "borlange");
    runtime::Follower follower(log_, {&replica});
    EXPECT_TRUE(WaitUntil([&] {
      follower.Step(absl::ZeroDuration());
      return replica.View().next_offset == log_.End(home_.stream());
    }));
    return (*projection)->digests().Total().ToHex();
  }

  // The row that remembers a command of alice.
  static std::string CommandKeyOf(const std::string& id) {
    return storage::RowKey("commands", "alice") + std::string(1, '\0') + id;
  }
  static v1::Command Numbered(int i) {
    return i % 3 == 0 ? PutConfirmed(std::to_string(i)) : Put(std::to_string(i));
  }

  ScriptedLog log_;
  runtime::ManualClock clock_{kNoon};
  Home home_{log_, clock_};
};

TEST_F(MemoryTest, ACallersIdIsRememberedForItsTimeAndThenForgotten) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok());
  clock_.Set(kNoon + runtime::kCommandMemory);
  ASSERT_TRUE(home_.Answer(Put("b"), "c-2").ok());
  EXPECT_TRUE(home_.Answer(Put("a"), "c-1")->repeated())
      << "it is just old enough to be remembered";
  clock_.Set(kNoon + runtime::kCommandMemory + absl::Hours(24));
  EXPECT_TRUE(home_.Answer(Put("a"), "c-1")->repeated())
      << "only an event makes time pass in the log";
  ASSERT_TRUE(home_.Answer(Put("c"), "c-3").ok());
  const auto again = home_.Answer(Put("a"), "c-1");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->repeated());
  EXPECT_EQ(again->reason(), "REASON_EXISTS") << "it is a new command now";
  EXPECT_TRUE(home_.Answer(Put("b"), "c-2")->repeated()) << "the others are still remembered";
}

TEST_F(MemoryTest, AReactionsIdIsRememberedForEver) {
  ASSERT_TRUE(home_.Answer(PutConfirmed("a"), "c-1").ok());
  ASSERT_TRUE(home_.StepUntil([&] { return CountOf(TheHistory(), "ItemConfirmed") == 1; }));
  clock_.Set(kNoon + 50 * runtime::kCommandMemory);
  ASSERT_TRUE(home_.Answer(Put("b"), "c-2").ok());
  v1::Command confirm;
  confirm.mutable_confirm_item()->set_name("a");
  const auto again = home_.Answer(confirm, home_.stream() + ":2/confirm/a", "system:ledger");
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(again->repeated());
  EXPECT_EQ(home_.Item("a")->confirmed(), 1);
}

TEST_F(MemoryTest, AnIdThatIsUsedAgainAfterItWasForgottenIsRememberedAnew) {
  ASSERT_TRUE(home_.Answer(Put("a"), "c-1").ok());
  clock_.Set(kNoon + 2 * runtime::kCommandMemory);
  ASSERT_TRUE(home_.Answer(Put("b"), "c-2").ok());
  ASSERT_FALSE(home_.Answer(Put("a"), "c-1")->repeated());
  clock_.Set(kNoon + 3 * runtime::kCommandMemory);
  ASSERT_TRUE(home_.Answer(Put("c"), "c-3").ok());
  EXPECT_TRUE(home_.Answer(Put("a"), "c-1")->repeated());
}

TEST_F(MemoryTest, WriterRestartRebuildAndReplicaForgetTheSame) {
  absl::Time now = kNoon;
  for (int i = 0; i < 60; ++i) {
    now += absl::Hours(11);
    clock_.Set(now);
    if (i % 7 == 3) {
      // A lost race: what the writer had swept speculatively is undone.
      events::Head head = HeadOf(TheHistory());
      head.time = now;
      log_.Put(home_.stream(), ForeignPut(head, "foreign " + std::to_string(i)));
    }
    ASSERT_TRUE(home_.Answer(Numbered(i), "c-" + std::to_string(i)).ok());
    if (i % 13 == 5) home_.Restart();
    const auto again = home_.Answer(Numbered(i), "c-" + std::to_string(i));
    ASSERT_TRUE(again.ok()) << again.status();
    ASSERT_TRUE(again->repeated());
  }
  home_.Step(20);
  const std::string digest = home_.Digest();
  EXPECT_EQ(ReplicaDigest(), digest);
  int remembered = 0;
  home_.projection().Scan("commands", [&](std::string_view key, std::string_view) {
    remembered += storage::TableOf(key) == "commands" && key.find("alice") != key.npos;
    return storage::TableOf(key) == "commands";
  });
  EXPECT_LT(remembered, 25) << "ids were forgotten on the way";
  EXPECT_GT(remembered, 10);
  home_.Stop();
  home_.Wipe();
  home_.Start();
  EXPECT_EQ(home_.Digest(), digest);
}

TEST_F(MemoryTest, ABusyDaysIdsAreForgottenAFewAtEachEventAndByAllAlike) {
  constexpr int kBusy = 300;
  for (int i = 0; i < kBusy; ++i)
    ASSERT_TRUE(home_.Answer(Put(std::to_string(i)), "c-" + std::to_string(i)).ok());
  const auto remembered = [&] {
    int known = 0;
    for (int i = 0; i < kBusy; ++i)
      known += home_.projection().Contains(CommandKeyOf("c-" + std::to_string(i))) ? 1 : 0;
    return known;
  };
  ASSERT_EQ(remembered(), kBusy);
  clock_.Set(kNoon + runtime::kCommandMemory + absl::Hours(24));
  std::vector<int> left;
  for (int i = 0; left.empty() || left.back() > 0; ++i) {
    ASSERT_LT(i, 20);
    ASSERT_TRUE(home_.Answer(Put("later " + std::to_string(i)), "l-" + std::to_string(i)).ok());
    home_.Step(5);
    left.push_back(remembered());
    if (i == 1) home_.Restart();
  }
  EXPECT_GT(left.front(), kBusy - 100) << "the first event of the day bears a part of it";
  for (size_t i = 1; i < left.size(); ++i) EXPECT_LT(left[i], left[i - 1]);
  const std::string digest = home_.Digest();
  EXPECT_EQ(ReplicaDigest(), digest);
  home_.Stop();
  home_.Wipe();
  home_.Start();
  EXPECT_EQ(home_.Digest(), digest);
}

}  // namespace
}  // namespace concordat::test
