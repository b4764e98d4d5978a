// How groups form, and what becomes of one that is given up, over a target that the test lets go.
#include "storage/log/group_appender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/wait.h"

namespace concordat::storage {
namespace {

using test::WaitUntil;
using testing::ElementsAre;

// Reports a group once it is let go.
class HeldTarget final : public GroupTarget {
 public:
  struct Seen {
    absl::Mutex mutex;
    std::vector<std::vector<uint64_t>> groups;  // the cookies of each
    std::vector<AppendReport> reports;
    int let_go = 0;
    bool interrupted = false;
    int resets = 0;
    bool waits = false;  // somebody does
  };
  explicit HeldTarget(Seen& seen) : seen_(seen) {}

  void Begin(Group group) override {
    absl::MutexLock lock(&seen_.mutex);
    EXPECT_TRUE(seen_.reports.empty()) << "a group before it is not reported";
    seen_.groups.emplace_back();
    for (const auto& [record, cookie] : group) {
      seen_.groups.back().push_back(cookie);
      seen_.reports.push_back({cookie, absl::OkStatus(), static_cast<int64_t>(cookie)});
    }
  }
  std::vector<AppendReport> Await(absl::Duration wait) override {
    absl::MutexLock lock(&seen_.mutex);
    const auto over = [this] { return seen_.let_go > 0 || seen_.interrupted; };
    seen_.waits = true;
    seen_.mutex.AwaitWithTimeout(absl::Condition(&over), wait);
    seen_.waits = false;
    if (std::exchange(seen_.interrupted, false) || seen_.let_go == 0) return {};
    --seen_.let_go;
    return std::exchange(seen_.reports, {});
  }
  void Interrupt() override {
    absl::MutexLock lock(&seen_.mutex);
    seen_.interrupted = true;
  }
  void Reset() override {
    absl::MutexLock lock(&seen_.mutex);
    seen_.reports.clear();
    ++seen_.resets;
  }

 private:
  Seen& seen_;
};

class GroupAppenderTest : public testing::Test {
 protected:
  void Append(uint64_t cookie) { appender_.Append({"key", {}, std::to_string(cookie)}, cookie); }
  std::vector<std::vector<uint64_t>> Groups() {
    absl::MutexLock lock(&seen_.mutex);
    return seen_.groups;
  }
  void LetGo() {
    absl::MutexLock lock(&seen_.mutex);
    ++seen_.let_go;
  }
  bool AwaitGroups(size_t count) {
    return WaitUntil([&] { return Groups().size() == count; });
  }
  std::vector<uint64_t> AwaitReported(size_t count) {
    std::vector<uint64_t> cookies;
    EXPECT_TRUE(WaitUntil([&] {
      for (const AppendReport& report : appender_.Poll(absl::Milliseconds(20)))
        cookies.push_back(report.cookie);
      return cookies.size() >= count;
    }));
    return cookies;
  }

  HeldTarget::Seen seen_;
  GroupAppender appender_{std::make_unique<HeldTarget>(seen_)};
};

TEST_F(GroupAppenderTest, WhatComesWhileAGroupIsOnItsWayMakesTheNext) {
  Append(1);
  Append(2);
  EXPECT_EQ(appender_.Waiting(), 2u) << "nothing is sent before the next Poll()";
  EXPECT_TRUE(appender_.Poll(absl::ZeroDuration()).empty());
  ASSERT_TRUE(AwaitGroups(1));
  EXPECT_EQ(appender_.Waiting(), 0u);
  for (uint64_t cookie = 3; cookie <= 5; ++cookie) {
    Append(cookie);
    EXPECT_TRUE(appender_.Poll(absl::ZeroDuration()).empty());
  }
  EXPECT_EQ(appender_.Waiting(), 3u);
  EXPECT_EQ(Groups().size(), 1u) << "one group at a time is on its way";
  LetGo();
  EXPECT_THAT(AwaitReported(2), ElementsAre(1, 2));
  ASSERT_TRUE(AwaitGroups(2));
  LetGo();
  EXPECT_THAT(AwaitReported(3), ElementsAre(3, 4, 5));
  EXPECT_THAT(Groups(), ElementsAre(ElementsAre(1, 2), ElementsAre(3, 4, 5)));
}

TEST_F(GroupAppenderTest, WhatIsGivenUpIsNotReportedAndWhatComesLaterIs) {
  Append(1);
  appender_.Poll(absl::ZeroDuration());
  ASSERT_TRUE(AwaitGroups(1));
  Append(2);
  appender_.Poll(absl::ZeroDuration());
  Append(3);
  appender_.Reset();
  EXPECT_EQ(appender_.Waiting(), 0u);
  EXPECT_EQ(seen_.resets, 1);
  LetGo();
  Append(4);
  EXPECT_THAT(AwaitReported(1), ElementsAre(4));
  EXPECT_THAT(Groups(), ElementsAre(ElementsAre(1), ElementsAre(4)));
}

TEST_F(GroupAppenderTest, AReportThatNobodyTookIsGivenUpToo) {
  LetGo();
  Append(1);
  appender_.Poll(absl::ZeroDuration());
  ASSERT_TRUE(WaitUntil([&] {
    absl::MutexLock lock(&seen_.mutex);
    return seen_.let_go == 0;
  }));
  appender_.Reset();
  LetGo();
  Append(2);
  EXPECT_THAT(AwaitReported(1), ElementsAre(2));
}

TEST_F(GroupAppenderTest, AWaitIsEndedByWhoWakes) {
  appender_.Wake();
  EXPECT_TRUE(appender_.Poll(absl::InfiniteDuration()).empty()) << "or this would never return";
}

TEST_F(GroupAppenderTest, ARecordThatIsAloneIsAwaitedByWhoAppendedIt) {
  LetGo();
  Append(1);
  const std::vector<AppendReport> reports = appender_.Poll(absl::InfiniteDuration());
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].cookie, 1u);
}

TEST_F(GroupAppenderTest, ThatWaitIsEndedByWhoWakesAndTheRecordIsReportedLater) {
  std::thread waker([this] {
    EXPECT_TRUE(WaitUntil([&] {
      absl::MutexLock lock(&seen_.mutex);
      return seen_.waits;
    }));
    appender_.Wake();
  });
  Append(1);
  EXPECT_TRUE(appender_.Poll(absl::InfiniteDuration()).empty());
  waker.join();
  Append(2);
  appender_.Poll(absl::ZeroDuration());
  EXPECT_EQ(Groups().size(), 1u) << "the first is still on its way";
  LetGo();
  EXPECT_THAT(AwaitReported(1), ElementsAre(1));
  LetGo();
  EXPECT_THAT(AwaitReported(1), ElementsAre(2));
}

TEST_F(GroupAppenderTest, AWaitForARecordThatIsAloneIsBounded) {
  Append(1);
  EXPECT_TRUE(appender_.Poll(absl::Milliseconds(1)).empty());
  LetGo();
  EXPECT_THAT(AwaitReported(1), ElementsAre(1));
}

TEST_F(GroupAppenderTest, AGroupThatIsNeverReportedDoesNotHoldTheEnd) {
  Append(1);
  appender_.Poll(absl::ZeroDuration());
  ASSERT_TRUE(AwaitGroups(1));
  // The destructor returns.
}

}  // namespace
}  // namespace concordat::storage
