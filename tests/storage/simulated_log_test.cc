// The simulated log: the common contract, and that it does what its fates say.
#include "storage/log/simulated.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/storage/log_contract.h"
#include "tests/support/records.h"

namespace concordat::storage {
namespace {

using test::kStream;

class SimulatedUnderTest final : public LogUnderTest {
 public:
  Log& log() override { return *log_; }
  std::string FreshStream() override {
    return "paris.stream" + std::to_string(++streams_) + ".events";
  }
  void Restart() override {
    log_->Kill();
    log_ = std::make_unique<SimulatedLog>(cluster_, 0);
  }

 private:
  SimulatedCluster cluster_{Machine::Real()};
  std::unique_ptr<SimulatedLog> log_ = std::make_unique<SimulatedLog>(cluster_, 0);
  int streams_ = 0;
};

std::unique_ptr<LogUnderTest> MakeSimulated() { return std::make_unique<SimulatedUnderTest>(); }
INSTANTIATE_TEST_SUITE_P(Simulated, LogContract, testing::Values(&MakeSimulated),
                         [](const auto&) { return "Log"; });

struct Sent {
  std::vector<AppendReport> reports;
  int64_t landed = 0;
};
// Three records in one request of this fate.
Sent Send(const SimulatedFate& fate) {
  SimulatedCluster cluster(Machine::Real());
  cluster.fate = [&](const std::string&, size_t) { return fate; };
  SimulatedLog log(cluster, 0);
  const auto appender = log.NewAppender(kStream);
  for (int i = 0; i < 3; ++i) appender->Append(Numbered(i), static_cast<uint64_t>(i));
  return {appender->Poll(absl::ZeroDuration()), cluster.End(kStream)};
}

TEST(SimulatedLog, FatesDoWhatTheySay) {
  using Report = SimulatedFate::Report;
  EXPECT_EQ(Send({.report = Report::kOffset}).reports.back().offset, 2);
  const Sent unknown = Send({.report = Report::kUnknown});
  EXPECT_TRUE(unknown.reports.back().status.ok());
  EXPECT_EQ(unknown.reports.back().offset, -1);
  const Sent error = Send({.report = Report::kError});
  EXPECT_FALSE(error.reports.front().status.ok());
  EXPECT_EQ(error.landed, 3);
  const Sent silent = Send({.report = Report::kNone});
  EXPECT_TRUE(silent.reports.empty());
  EXPECT_EQ(silent.landed, 3);
  const Sent lost = Send({.lost = true});
  EXPECT_FALSE(lost.reports.front().status.ok());
  EXPECT_EQ(lost.landed, 0);
  const Sent torn = Send({.torn_after = 2, .rest_arrives = absl::InfiniteDuration()});
  ASSERT_EQ(torn.reports.size(), 3u);
  EXPECT_TRUE(torn.reports[1].status.ok());
  EXPECT_FALSE(torn.reports[2].status.ok());
  EXPECT_EQ(torn.landed, 2);
  EXPECT_EQ(Send({.again = absl::ZeroDuration()}).landed, 6);
}

TEST(SimulatedLog, WhoIsCutOffReadsNothingAndSendsWhenHealed) {
  SimulatedCluster cluster(Machine::Real());
  SimulatedLog log(cluster, 0);
  const auto appender = log.NewAppender(kStream);
  const auto reader = log.NewReader();
  log.SetReachable(false);
  appender->Append(Numbered(0), 7);
  EXPECT_TRUE(appender->Poll(absl::ZeroDuration()).empty());
  EXPECT_TRUE(absl::IsUnavailable(reader->Assign(kStream, 0)));
  EXPECT_EQ(cluster.End(kStream), 0);
  log.SetReachable(true);
  EXPECT_EQ(cluster.End(kStream), 1);
  EXPECT_EQ(appender->Poll(absl::ZeroDuration()).at(0).cookie, 7u);
}

TEST(SimulatedLog, WhoReadsBeyondWhatItHasLostIsTold) {
  SimulatedCluster cluster(Machine::Real());
  SimulatedLog log(cluster, 0);
  const auto appender = log.NewAppender(kStream);
  for (int i = 0; i < 3; ++i) appender->Append(Numbered(i), static_cast<uint64_t>(i));
  EXPECT_EQ(appender->Poll(absl::ZeroDuration()).size(), 3u);
  const auto reader = log.NewReader();
  ASSERT_TRUE(reader->Assign(kStream, 3).ok());
  cluster.Lose(kStream, 1);
  EXPECT_TRUE(absl::IsOutOfRange(reader->Read(10, absl::ZeroDuration()).status()));
  EXPECT_TRUE(absl::IsOutOfRange(reader->Assign(kStream, 2)));
  EXPECT_EQ(reader->End(kStream).value(), 1);
  appender->Append(Numbered(3), 3);
  EXPECT_EQ(appender->Poll(absl::ZeroDuration()).at(0).offset, 1);
}

TEST(SimulatedLog, WhatADeadProcessSendsDoesNotArrive) {
  SimulatedCluster cluster(Machine::Real());
  SimulatedLog log(cluster, 0);
  const auto appender = log.NewAppender(kStream);
  appender->Append(Numbered(0), 7);
  log.Kill();
  EXPECT_TRUE(appender->Poll(absl::ZeroDuration()).empty());
  EXPECT_EQ(cluster.End(kStream), 0);
}

}  // namespace
}  // namespace concordat::storage
