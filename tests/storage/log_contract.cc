#include "tests/storage/log_contract.h"

#include <gmock/gmock.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/records.h"
#include "tests/support/wait.h"

namespace concordat::storage {

using test::kPatience;
using test::SameBytes;
using test::WaitUntil;

std::vector<AppendReport> AwaitReports(LogAppender& appender, size_t count) {
  std::vector<AppendReport> all;
  EXPECT_TRUE(WaitUntil([&] {
    for (AppendReport& report : appender.Poll(absl::Milliseconds(50)))
      all.push_back(std::move(report));
    return all.size() >= count;
  })) << all.size()
      << " reports came, expected " << count;
  return all;
}

std::vector<int64_t> AppendAll(LogAppender& appender, const std::vector<events::Record>& records) {
  for (size_t i = 0; i < records.size(); ++i) appender.Append(records[i], 1000 + i);
  const std::vector<AppendReport> reports = AwaitReports(appender, records.size());
  EXPECT_EQ(reports.size(), records.size());
  std::vector<int64_t> offsets;
  for (size_t i = 0; i < reports.size(); ++i) {
    EXPECT_TRUE(reports[i].status.ok()) << reports[i].status;
    EXPECT_EQ(reports[i].cookie, 1000 + i);
    offsets.push_back(reports[i].offset);
  }
  return offsets;
}

std::vector<StoredRecord> AwaitRecords(LogReader& reader, size_t count) {
  std::vector<StoredRecord> all;
  EXPECT_TRUE(WaitUntil([&] {
    auto records = reader.Read(count - all.size(), absl::Milliseconds(50));
    if (records.ok()) {
      for (StoredRecord& record : *records) all.push_back(std::move(record));
    } else {
      EXPECT_TRUE(absl::IsUnavailable(records.status())) << records.status();
    }
    return all.size() >= count;
  })) << all.size()
      << " records came, expected " << count;
  return all;
}

absl::Status AwaitError(LogReader& reader, const std::string& stream, int64_t offset) {
  absl::Status found = reader.Assign(stream, offset);
  if (!found.ok()) return found;
  EXPECT_TRUE(WaitUntil([&] {
    const auto records = reader.Read(1, absl::Milliseconds(50));
    found = records.status();
    return absl::IsUnavailable(found) ? false : !found.ok() || !records->empty();
  })) << "neither a record nor an error came";
  return found;
}

events::Record Numbered(int number, const std::string& of) {
  return {of + "key", {{"number", std::to_string(number)}}, of + std::to_string(number)};
}

namespace {

TEST_P(LogContract, AppendedRecordsAreReadBackByteForByte) {
  std::string every_byte;
  for (int byte = 0; byte < 256; ++byte) every_byte.push_back(static_cast<char>(byte));
  const std::vector<events::Record> records{
      {"key", {{"name", "value"}}, "data"},
      {"", {}, ""},
      {"", {{"empty", ""}}, every_byte},
      {every_byte, {{"bytes", every_byte}, {"zeros", std::string(5, '\0')}}, std::string(3, '\0')},
      {"key", {{"twice", "1"}, {"twice", "2"}, {"once", "x"}, {"twice", ""}}, "data"},
      {"key", {{"n\xc3\xa9", "\xff"}, {"\xff\xfe", "y"}, {"", "no name"}}, "data"},
      {"key", {{"big", std::string(20'000, 'h')}}, std::string(900'000, 'd')},
  };
  const auto appender = log().NewAppender(stream_);
  const std::vector<int64_t> offsets = AppendAll(*appender, records);
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  const std::vector<StoredRecord> read = AwaitRecords(*reader, records.size());
  ASSERT_EQ(read.size(), records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(read[i].stream, stream_);
    EXPECT_EQ(read[i].offset, static_cast<int64_t>(i)) << "offsets are contiguous from 0";
    EXPECT_EQ(offsets[i], read[i].offset);
    EXPECT_TRUE(SameBytes(read[i].record, records[i])) << i;
  }
  EXPECT_EQ(*reader->End(stream_), static_cast<int64_t>(records.size()));
}

TEST_P(LogContract, SealedEventsKeepTheirLink) {
  events::Head head;
  std::vector<events::Record> records;
  for (int i = 0; i < 20; ++i)
    records.push_back(test::Next(head, std::string(static_cast<size_t>(i), '\0'), stream_));
  AppendAll(*log().NewAppender(stream_), records);
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  events::Chain chain(stream_);
  for (const StoredRecord& stored : AwaitRecords(*reader, records.size())) {
    events::Attributes attributes;
    EXPECT_EQ(chain.Offer(stored.record, stored.offset, &attributes), events::Outcome::kAccepted)
        << chain.alarm();
  }
  EXPECT_EQ(chain.head().link, head.link);
}

TEST_P(LogContract, ThousandsOfAppendsKeepTheirOrderAndAreReportedInIt) {
  constexpr int kMany = 5000;
  std::vector<events::Record> records;
  for (int i = 0; i < kMany; ++i) records.push_back(Numbered(i));
  const std::vector<int64_t> offsets = AppendAll(*log().NewAppender(stream_), records);
  ASSERT_EQ(offsets.size(), static_cast<size_t>(kMany));
  for (int i = 0; i < kMany; ++i) ASSERT_EQ(offsets[static_cast<size_t>(i)], i);
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  const std::vector<StoredRecord> read = AwaitRecords(*reader, kMany);
  for (int i = 0; i < kMany; ++i)
    ASSERT_EQ(read[static_cast<size_t>(i)].record.data, std::to_string(i));
}

TEST_P(LogContract, GroupsThatWereReportedMeanwhileAreReportedInTheirOrder) {
  constexpr uint64_t kGroup = 500;
  const auto appender = log().NewAppender(stream_);
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  std::vector<uint64_t> reported;
  const auto poll = [&](absl::Duration wait) {
    for (const AppendReport& report : appender->Poll(wait)) {
      ASSERT_TRUE(report.status.ok()) << report.status;
      reported.push_back(report.cookie);
    }
  };
  for (uint64_t appended = 0; appended < 10 * kGroup;) {
    for (int group = 0; group < 2; ++group) {
      for (uint64_t i = 0; i < kGroup; ++i)
        appender->Append(Numbered(static_cast<int>(appended + i), ""), appended + i);
      appended += kGroup;
      poll(absl::ZeroDuration());
    }
    ASSERT_TRUE(WaitUntil(
        [&] { return reader->End(stream_).value_or(0) >= static_cast<int64_t>(appended); }));
    ASSERT_TRUE(WaitUntil([&] {
      poll(absl::Milliseconds(50));
      return reported.size() >= appended;
    }));
  }
  for (uint64_t i = 0; i < reported.size(); ++i) ASSERT_EQ(reported[i], i);
}

TEST_P(LogContract, TwoAppendersInterleaveAndEveryOffsetIsGivenOnce) {
  constexpr int kEach = 500;
  std::vector<std::vector<int64_t>> offsets(2);
  std::vector<std::thread> threads;
  for (size_t who = 0; who < 2; ++who) {
    threads.emplace_back([&, who] {
      const auto appender = log().NewAppender(stream_);
      for (int i = 0; i < kEach; i += 10) {
        std::vector<events::Record> group;
        for (int j = 0; j < 10; ++j) group.push_back(Numbered(i + j, who == 0 ? "a" : "b"));
        for (const int64_t offset : AppendAll(*appender, group)) offsets[who].push_back(offset);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  const std::vector<StoredRecord> read = AwaitRecords(*reader, 2 * kEach);
  ASSERT_EQ(read.size(), 2u * kEach);
  for (size_t i = 0; i < read.size(); ++i) ASSERT_EQ(read[i].offset, static_cast<int64_t>(i));
  for (size_t who = 0; who < 2; ++who) {
    ASSERT_EQ(offsets[who].size(), static_cast<size_t>(kEach));
    EXPECT_TRUE(std::is_sorted(offsets[who].begin(), offsets[who].end())) << "each keeps its order";
    for (int i = 0; i < kEach; ++i) {
      const auto at = static_cast<size_t>(offsets[who][static_cast<size_t>(i)]);
      ASSERT_EQ(read[at].record.data, (who == 0 ? "a" : "b") + std::to_string(i))
          << "offset " << at;
    }
  }
  std::set<int64_t> unique(offsets[0].begin(), offsets[0].end());
  unique.insert(offsets[1].begin(), offsets[1].end());
  EXPECT_EQ(unique.size(), 2u * kEach);
}

TEST_P(LogContract, AReaderStartsWhereItIsAssignedAndGoesBackWhenAssignedAgain) {
  AppendAll(*log().NewAppender(stream_), {Numbered(0), Numbered(1), Numbered(2), Numbered(3)});
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 2).ok());
  std::vector<StoredRecord> read = AwaitRecords(*reader, 2);
  EXPECT_EQ(read[0].offset, 2);
  EXPECT_EQ(read[1].record.data, "3");
  ASSERT_TRUE(reader->Assign(stream_, 1).ok());
  read = AwaitRecords(*reader, 3);
  EXPECT_EQ(read[0].offset, 1);
  EXPECT_EQ(read[0].record.data, "1");
}

TEST_P(LogContract, ReadHandsOutAtMostItsLimitAndGoesOnThere) {
  AppendAll(*log().NewAppender(stream_),
            {Numbered(0), Numbered(1), Numbered(2), Numbered(3), Numbered(4)});
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  std::vector<std::string> data;
  ASSERT_TRUE(WaitUntil([&] {
    const auto records = reader->Read(2, absl::Milliseconds(50));
    EXPECT_TRUE(records.ok() && records->size() <= 2u);
    for (const StoredRecord& record : *records) data.push_back(record.record.data);
    return data.size() >= 5;
  }));
  EXPECT_THAT(data, testing::ElementsAre("0", "1", "2", "3", "4"));
}

TEST_P(LogContract, OneReaderReadsManyStreamsEachInItsOrder) {
  const std::string other = under_test_->FreshStream();
  std::vector<events::Record> records;
  for (int i = 0; i < 50; ++i) records.push_back(Numbered(i));
  AppendAll(*log().NewAppender(stream_), records);
  AppendAll(*log().NewAppender(other), records);
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  ASSERT_TRUE(reader->Assign(other, 25).ok());
  int next = 0;
  int next_other = 25;
  for (const StoredRecord& stored : AwaitRecords(*reader, 75)) {
    int& expected = stored.stream == stream_ ? next : next_other;
    EXPECT_EQ(stored.offset, expected);
    EXPECT_EQ(stored.record.data, std::to_string(expected++));
  }
  EXPECT_EQ(next, 50);
  EXPECT_EQ(next_other, 50);
}

TEST_P(LogContract, ReadWaitsForARecordThatComesMeanwhile) {
  const auto reader = log().NewReader();
  AppendAll(*log().NewAppender(stream_), {Numbered(0)});
  ASSERT_TRUE(reader->Assign(stream_, 1).ok());
  std::thread appending([&] { AppendAll(*log().NewAppender(stream_), {Numbered(1)}); });
  const std::vector<StoredRecord> read = AwaitRecords(*reader, 1);
  appending.join();
  ASSERT_EQ(read.size(), 1u);
  EXPECT_EQ(read[0].record.data, "1");
}

TEST_P(LogContract, NothingIsReadOrReportedWhereNothingWasAppended) {
  const auto appender = log().NewAppender(stream_);
  EXPECT_TRUE(appender->Poll(absl::Milliseconds(1)).empty());
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  const auto records = reader->Read(10, absl::Milliseconds(50));
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_TRUE(records->empty());
  EXPECT_EQ(*reader->End(stream_), 0);
}

TEST_P(LogContract, AskingForWhatLiesBeyondTheEndIsOutOfRange) {
  AppendAll(*log().NewAppender(stream_), {Numbered(0), Numbered(1)});
  const auto reader = log().NewReader();
  const absl::Status status = AwaitError(*reader, stream_, 7);
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  // The end itself is where the next record will be.
  ASSERT_TRUE(reader->Assign(stream_, 2).ok());
  AppendAll(*log().NewAppender(stream_), {Numbered(2)});
  EXPECT_EQ(AwaitRecords(*reader, 1).at(0).record.data, "2");
}

TEST_P(LogContract, ResetDisownsWhatHasNoReport) {
  const auto appender = log().NewAppender(stream_);
  std::vector<events::Record> disowned;
  for (int i = 0; i < 20; ++i) appender->Append(Numbered(i, "disowned "), static_cast<uint64_t>(i));
  appender->Reset();
  appender->Append(Numbered(0, "mine "), 100);
  const std::vector<AppendReport> reports = AwaitReports(*appender, 1);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_EQ(reports[0].cookie, 100u) << "only what was appended since is reported";
  EXPECT_TRUE(reports[0].status.ok()) << reports[0].status;
  EXPECT_TRUE(appender->Poll(absl::Milliseconds(50)).empty());
  // The disowned may have come to stand in the log, but what was reported stands where it was
  // reported.
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, reports[0].offset).ok());
  EXPECT_EQ(AwaitRecords(*reader, 1).at(0).record.data, "mine 0");
}

TEST_P(LogContract, WakeEndsAWaitForReports) {
  const auto appender = log().NewAppender(stream_);
  std::atomic<bool> over = false;
  std::thread waiting([&] {
    appender->Poll(2 * kPatience);
    over = true;
  });
  EXPECT_TRUE(WaitUntil([&] {
    appender->Wake();
    return over.load();
  }));
  waiting.join();
}

TEST_P(LogContract, WakeEndsAWaitForRecords) {
  AppendAll(*log().NewAppender(stream_), {Numbered(0)});
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 1).ok());
  std::atomic<bool> over = false;
  std::thread waiting([&] {
    const auto records = reader->Read(1, 2 * kPatience);
    EXPECT_TRUE(records.ok() && records->empty());
    over = true;
  });
  EXPECT_TRUE(WaitUntil([&] {
    reader->Wake();
    return over.load();
  }));
  waiting.join();
}

TEST_P(LogContract, WhatWasReportedIsThereAfterARestartAndOffsetsGoOn) {
  std::vector<int64_t> offsets = AppendAll(*log().NewAppender(stream_), {Numbered(0), Numbered(1)});
  under_test_->Restart();
  for (const int64_t offset : AppendAll(*log().NewAppender(stream_), {Numbered(2)}))
    offsets.push_back(offset);
  EXPECT_THAT(offsets, testing::ElementsAre(0, 1, 2));
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  const std::vector<StoredRecord> read = AwaitRecords(*reader, 3);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(read[static_cast<size_t>(i)].record.data, std::to_string(i));
}

TEST_P(LogContract, ReleasedStreamsAreNotReadAnyMore) {
  const std::string other = under_test_->FreshStream();
  AppendAll(*log().NewAppender(stream_), {Numbered(0)});
  AppendAll(*log().NewAppender(other), {Numbered(0, "other ")});
  const auto reader = log().NewReader();
  ASSERT_TRUE(reader->Assign(stream_, 0).ok());
  ASSERT_EQ(AwaitRecords(*reader, 1).at(0).stream, stream_);
  reader->Release();
  AppendAll(*log().NewAppender(stream_), {Numbered(1)});
  ASSERT_TRUE(reader->Assign(other, 0).ok());
  EXPECT_EQ(AwaitRecords(*reader, 1).at(0).record.data, "other 0");
  const auto more = reader->Read(10, absl::Milliseconds(200));
  ASSERT_TRUE(more.ok());
  EXPECT_TRUE(more->empty());
}

TEST_P(LogContract, AStreamOfGoodSettingsPassesTheCheck) {
  AppendAll(*log().NewAppender(stream_), {Numbered(0)});
  const absl::Status status =
      log().Check(stream_, {.replication = 1, .min_insync_replicas = 1, .home = true});
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace concordat::storage
