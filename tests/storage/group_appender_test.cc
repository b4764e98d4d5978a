// How groups form, and what becomes of one that is given up, over a target that the test lets go.
#include "storage/log/group_appender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/wait.h"

namespace concordat::storage {
namespace {

using test::WaitUntil;
using testing::ElementsAre;

// Holds each group until it is let go or interrupted.
class HeldTarget final : public GroupTarget {
 public:
  struct Seen {
    absl::Mutex mutex;
    std::vector<std::vector<uint64_t>> groups;  // the cookies of each
    int let_go = 0;
    bool interrupted = false;
    int resets = 0;
  };
  explicit HeldTarget(Seen& seen) : seen_(seen) {}

  void Append(const Group& group,
              absl::FunctionRef<void(std::vector<AppendReport>)> report) override {
    std::vector<AppendReport> reports;
    absl::MutexLock lock(&seen_.mutex);
    seen_.groups.emplace_back();
    for (const auto& [record, cookie] : group) {
      seen_.groups.back().push_back(cookie);
      reports.push_back({cookie, absl::OkStatus(), static_cast<int64_t>(cookie)});
    }
    const auto over = [this] { return seen_.let_go > 0 || seen_.interrupted; };
    seen_.mutex.Await(absl::Condition(&over));
    if (seen_.interrupted) return;
    --seen_.let_go;
    report(std::move(reports));
  }
  void Interrupt() override {
    absl::MutexLock lock(&seen_.mutex);
    seen_.interrupted = true;
  }
  void Reset() override {
    absl::MutexLock lock(&seen_.mutex);
    seen_.interrupted = false;
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

TEST_F(GroupAppenderTest, AGroupThatIsNeverReportedDoesNotHoldTheEnd) {
  Append(1);
  appender_.Poll(absl::ZeroDuration());
  ASSERT_TRUE(AwaitGroups(1));
  // The destructor returns.
}

}  // namespace
}  // namespace concordat::storage
