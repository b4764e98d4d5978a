// The embedded log: the common contract, and what only a log in this process can be asked.
#include "storage/log/embedded.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "tests/storage/full_disk.h"
#include "tests/storage/log_contract.h"
#include "tests/support/broker.h"
#include "tests/support/records.h"
#include "tests/support/temp_dir.h"

namespace {

// How often a write-ahead log was synced. The linker prefers what stands here to the library's own.
std::atomic<int64_t> log_syncs = 0;

int SyncCounted(const char* name, int file) {
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  if (::readlink(link.c_str(), path.data(), path.size() - 1) > 0 &&
      std::string_view(path.data()).ends_with(".log")) {
    ++log_syncs;
  }
  return reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, name))(file);
}

}  // namespace

extern "C" {
int fsync(int file) { return SyncCounted("fsync", file); }
int fdatasync(int file) { return SyncCounted("fdatasync", file); }
}

namespace concordat::storage {
namespace {

using test::kStream;
namespace fs = std::filesystem;

std::unique_ptr<EmbeddedLog> OpenLog(const std::string& dir) {
  auto log = EmbeddedLog::Open(dir);
  EXPECT_TRUE(log.ok()) << log.status();
  return *std::move(log);
}

class EmbeddedUnderTest final : public LogUnderTest {
 public:
  EmbeddedUnderTest() : log_(OpenLog(dir_.path())) {}
  Log& log() override { return *log_; }
  std::string FreshStream() override {
    return "paris.stream" + std::to_string(++streams_) + ".events";
  }
  void Restart() override {
    log_.reset();
    log_ = OpenLog(dir_.path());
  }

 private:
  test::TempDir dir_;
  std::unique_ptr<EmbeddedLog> log_;
  int streams_ = 0;
};

std::unique_ptr<LogUnderTest> MakeEmbedded() { return std::make_unique<EmbeddedUnderTest>(); }
INSTANTIATE_TEST_SUITE_P(Embedded, LogContract, testing::Values(&MakeEmbedded),
                         [](const auto&) { return "Log"; });

constexpr char kOpens[] = "--open";
constexpr char kAppends[] = "--append";

// The second process of the tests below.
int Opens(const std::string& dir) {
  const auto log = EmbeddedLog::Open(dir);
  if (log.ok()) return 0;
  std::printf("%s\n", log.status().ToString().c_str());
  return 3;
}

int Appends(const std::string& dir) {
  auto log = OpenLog(dir);
  const auto appender = log->NewAppender(kStream);
  for (uint64_t number = 0;;) {
    for (int i = 0; i < 7; ++i, ++number)
      appender->Append(Numbered(static_cast<int>(number)), number);
    for (const AppendReport& report : appender->Poll(absl::Seconds(1))) {
      if (!report.status.ok()) return 4;
      std::printf("%lld\n", static_cast<long long>(report.offset));
    }
    std::fflush(stdout);
  }
}

TEST(EmbeddedLog, ASecondProcessOnTheSameStoreIsRefusedAndToldWhy) {
  test::TempDir dir;
  auto log = OpenLog(dir.path());
  test::Child second({"/proc/self/exe", kOpens, dir.path()});
  std::string said;  // the last line; before it comes what RocksDB told
  for (std::string line = second.ReadLine(); !line.empty(); line = second.ReadLine()) said = line;
  EXPECT_EQ(second.Wait(), 3);
  EXPECT_NE(said.find("FAILED_PRECONDITION"), std::string::npos) << said;
  EXPECT_NE(said.find("another process holds this store"), std::string::npos) << said;
  EXPECT_NE(said.find(dir.path()), std::string::npos) << said;
  log.reset();
  test::Child third({"/proc/self/exe", kOpens, dir.path()});
  EXPECT_EQ(third.Wait(), 0) << "the store is free again";
}

TEST(EmbeddedLog, WhatWasReportedIsThereAfterKillDashNine) {
  test::TempDir dir;
  int64_t reported = 0;
  {
    test::Child child({"/proc/self/exe", kAppends, dir.path()});
    for (; reported < 700; ++reported) ASSERT_EQ(child.ReadLine(), std::to_string(reported));
    child.Kill();
    for (std::string line = child.ReadLine(); !line.empty(); line = child.ReadLine()) {
      // The last line may be cut short by the kill.
      if (line == std::to_string(reported)) ++reported;
    }
    EXPECT_EQ(child.Wait(), 128 + 9);
  }
  auto log = OpenLog(dir.path());
  EXPECT_GE(log->End(kStream), reported);
  const auto records = log->ReadFrom(kStream, 0, static_cast<size_t>(log->End(kStream)));
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(static_cast<int64_t>(records->size()), log->End(kStream));
  for (size_t i = 0; i < records->size(); ++i) {
    ASSERT_EQ((*records)[i].offset, static_cast<int64_t>(i));
    ASSERT_EQ((*records)[i].record.data, std::to_string(i));
  }
}

// Of this process, from the kernel.
int64_t WriteCalls() {
  std::ifstream io("/proc/self/io");
  for (std::string name; io >> name;) {
    int64_t value = 0;
    io >> value;
    if (name == "syscw:") return value;
  }
  ADD_FAILURE() << "/proc/self/io does not tell";
  return 0;
}

TEST(EmbeddedLog, AGroupOfAppendsIsOneWrite) {
  test::TempDir dir;
  auto log = OpenLog(dir.path());
  const auto appender = log->NewAppender(kStream);
  AppendAll(*appender, {Numbered(0)});
  constexpr int kGroup = 2000;
  for (int i = 0; i < kGroup; ++i) appender->Append(Numbered(i), static_cast<uint64_t>(i));
  const int64_t before = WriteCalls();
  EXPECT_EQ(appender->Poll(absl::Seconds(1)).size(), static_cast<size_t>(kGroup));
  EXPECT_LT(WriteCalls() - before, kGroup / 20) << "each record was written by itself";
}

TEST(EmbeddedLog, WhatIsReportedWasSyncedAndAGroupSharesItsSyncs) {
  test::TempDir dir;
  auto log = OpenLog(dir.path());
  const auto appender = log->NewAppender(kStream);
  AppendAll(*appender, {Numbered(0)});
  constexpr int kGroup = 2000;
  int64_t before = log_syncs;
  for (int i = 0; i < kGroup; ++i) appender->Append(Numbered(i), static_cast<uint64_t>(i));
  ASSERT_EQ(appender->Poll(absl::Seconds(1)).size(), static_cast<size_t>(kGroup));
  EXPECT_GE(log_syncs - before, 1) << "a record was reported that a power loss takes back";
  EXPECT_LT(log_syncs - before, kGroup / 20) << "each record was synced by itself";
  for (int i = 0; i < 10; ++i) {
    before = log_syncs;
    ASSERT_TRUE(log->AppendNow(kStream, {Numbered(i)}).ok());
    EXPECT_GE(log_syncs - before, 1) << i;
    before = log_syncs;
    ASSERT_TRUE(log->AppendNow(kStream, {}, "mirror", std::to_string(i)).ok());
    EXPECT_GE(log_syncs - before, 1) << "a note, " << i;
  }
}

TEST(EmbeddedLog, ThreadsThatAppendAtTheSameTimeShareStreamsWithoutHoles) {
  test::TempDir dir;
  auto log = OpenLog(dir.path());
  constexpr int kThreads = 8;
  constexpr int kEach = 50;
  std::vector<std::set<int64_t>> given(2);
  absl::Mutex mutex;
  std::vector<std::thread> threads;
  for (int who = 0; who < kThreads; ++who) {
    threads.emplace_back([&, who] {
      const auto stream = static_cast<size_t>(who % 2);
      for (int i = 0; i < kEach; ++i) {
        const auto offset = log->AppendNow("paris.s" + std::to_string(stream) + ".events",
                                           {Numbered(i), Numbered(i)});
        ASSERT_TRUE(offset.ok()) << offset.status();
        absl::MutexLock lock(&mutex);
        EXPECT_TRUE(given[stream].insert(*offset).second);
        EXPECT_TRUE(given[stream].insert(*offset + 1).second);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t stream = 0; stream < 2; ++stream) {
    EXPECT_EQ(given[stream].size(), static_cast<size_t>(kThreads * kEach));
    EXPECT_EQ(*given[stream].rbegin(), kThreads * kEach - 1);
    EXPECT_EQ(log->End("paris.s" + std::to_string(stream) + ".events"), kThreads * kEach);
  }
}

TEST(EmbeddedLog, ANoteIsStoredWithTheRecordsItIsAbout) {
  test::TempDir dir;
  auto log = OpenLog(dir.path());
  EXPECT_EQ(log->Note("mirror"), "");
  ASSERT_EQ(*log->AppendNow(kStream, {Numbered(0)}, "mirror", "position 1"), 0);
  log.reset();
  log = OpenLog(dir.path());
  EXPECT_EQ(log->Note("mirror"), "position 1");
  EXPECT_EQ(log->End(kStream), 1);
}

TEST(EmbeddedLog, StreamsWhoseNamesBeginAlikeAreApart) {
  test::TempDir dir;
  auto log = OpenLog(dir.path());
  ASSERT_EQ(*log->AppendNow("paris.a.events", {Numbered(1)}), 0);
  ASSERT_EQ(*log->AppendNow("paris.a.eventsx", {Numbered(2), Numbered(3)}), 0);
  log.reset();
  log = OpenLog(dir.path());
  EXPECT_EQ(log->End("paris.a.events"), 1);
  EXPECT_EQ(log->End("paris.a.eventsx"), 2);
  EXPECT_EQ(log->End("paris.a.event"), 0);
  EXPECT_EQ(log->ReadFrom("paris.a.events", 0, 10)->size(), 1u);
}

TEST(EmbeddedLog, OnAFullDiskAppendsFailLoseNothingAndGoOnOnceThereIsSpace) {
  // RocksDB goes on once a write buffer, 64 MiB, would fit.
  test::FullDisk disk("160m");
  auto log = OpenLog(disk / "log");
  events::Record big = Numbered(0, std::string(100'000, 'x'));
  std::vector<std::string> acknowledged;
  const auto append = [&](int number) {
    big.data = test::Incompressible(100'000, number);
    const auto offset = log->AppendNow(kStream, {big});
    if (!offset.ok()) return offset.status();
    EXPECT_EQ(*offset, static_cast<int64_t>(acknowledged.size()));
    acknowledged.push_back(big.data);
    return absl::OkStatus();
  };
  ASSERT_TRUE(append(0).ok());
  disk.Fill(1 << 20);
  absl::Status status;
  int number = 1;
  for (; number < 1000 && status.ok(); ++number) status = append(number);
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_NE(std::string(status.message()).find("the disk is full"), std::string::npos) << status;
  EXPECT_FALSE(append(number++).ok()) << "there is still no space";
  const auto expect_all = [&] {
    ASSERT_EQ(log->End(kStream), static_cast<int64_t>(acknowledged.size()));
    const auto records = log->ReadFrom(kStream, 0, 10'000);
    ASSERT_TRUE(records.ok()) << records.status();
    ASSERT_EQ(records->size(), acknowledged.size());
    for (size_t i = 0; i < records->size(); ++i)
      ASSERT_TRUE((*records)[i].record.data == acknowledged[i]) << i;
  };
  expect_all();
  disk.Free();
  ASSERT_TRUE(test::WaitUntil([&] {
    status = append(number++);
    return status.ok();
  })) << status;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append(number++).ok());
  expect_all();
  log.reset();
  log = OpenLog(disk / "log");
  expect_all();
}

std::string BytesOf(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void PutBytes(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

// A log whose records stand in one sorted file, as they do after a restart, and that file. The
// records cannot be compressed, so each is found in the file as it is.
class SortedLog {
 public:
  static constexpr int kRecords = 60;

  SortedLog() {
    std::vector<events::Record> records;
    for (int i = 0; i < kRecords; ++i) {
      data_.push_back(test::Incompressible(1000, i));
      records.push_back(Numbered(i));
      records.back().data = data_.back();
    }
    EXPECT_TRUE(OpenLog(whole_)->AppendNow(kStream, records, "mirror", "position 60").ok());
    OpenLog(whole_);  // what the write-ahead log holds becomes a sorted file
    for (const auto& entry : fs::directory_iterator(whole_)) {
      if (entry.path().extension() != ".sst") continue;
      EXPECT_EQ(file_, "") << "one file";
      file_ = entry.path().filename();
    }
    bytes_ = BytesOf(fs::path(whole_) / file_);
    EXPECT_GT(bytes_.size(), 1000u * kRecords);
  }

  const std::string& bytes() const { return bytes_; }
  // Where a record's data stands in the file.
  size_t At(int record) const {
    const size_t at = bytes_.find(data_[static_cast<size_t>(record)]);
    EXPECT_NE(at, std::string::npos);
    return at;
  }
  std::string Flipped(size_t at) const {
    std::string bytes = bytes_;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    return bytes;
  }
  // Opens a copy of the log whose file holds other bytes.
  absl::StatusOr<std::unique_ptr<EmbeddedLog>> OpenWith(const std::string& bytes) {
    const std::string dir = dir_ / std::to_string(++copies_);
    fs::copy(whole_, dir);
    PutBytes(fs::path(dir) / file_, bytes);
    return EmbeddedLog::Open(dir);
  }
  // What became of reading everything: DATA_LOSS, or each record as it was appended.
  absl::Status ReadAll(EmbeddedLog& log) const {
    EXPECT_EQ(log.Note("mirror"), "position 60");
    for (size_t next = 0; next < data_.size();) {
      const auto records = log.ReadFrom(kStream, static_cast<int64_t>(next), kRecords + 1);
      if (!records.ok()) return records.status();
      EXPECT_FALSE(records->empty()) << "it seems to be shorter";
      if (records->empty()) break;
      for (const StoredRecord& stored : *records) {
        EXPECT_EQ(stored.offset, static_cast<int64_t>(next));
        EXPECT_TRUE(stored.record.data == data_[next]) << next;
        ++next;
      }
    }
    return absl::OkStatus();
  }

 private:
  test::TempDir dir_;
  const std::string whole_ = dir_ / "whole";
  std::vector<std::string> data_;
  std::string file_;
  std::string bytes_;
  int copies_ = 0;
};

void ExpectRefused(const absl::Status& status) {
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(testing::HasSubstr("aside"), testing::HasSubstr("recover.md")));
}

TEST(DamagedEmbeddedLog, OneWhoseLastRecordCannotBeReadIsNotTakenForAShorterOne) {
  SortedLog log;
  const auto opened = log.OpenWith(log.Flipped(log.At(SortedLog::kRecords - 1) + 500));
  ExpectRefused(opened.status());
}

TEST(DamagedEmbeddedLog, ARecordInTheMiddleThatCannotBeReadIsAnErrorForWhoeverReadsIt) {
  SortedLog log;
  const auto opened = log.OpenWith(log.Flipped(log.At(SortedLog::kRecords / 2) + 500));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->End(kStream), SortedLog::kRecords);
  const absl::Status read = log.ReadAll(**opened);
  EXPECT_TRUE(absl::IsDataLoss(read)) << read;
  const auto reader = (*opened)->NewReader();
  EXPECT_TRUE(absl::IsDataLoss(AwaitError(*reader, kStream, SortedLog::kRecords / 2)));
  // What comes before it is handed out, whoever asks for how much, and of other streams too.
  const std::string other = "borlange.stream.events";
  ASSERT_TRUE((*opened)->AppendNow(other, {Numbered(0)}).ok());
  ASSERT_TRUE(reader->Assign(other, 0).ok());
  ASSERT_TRUE(reader->Assign(kStream, 0).ok());
  const auto before = reader->Read(10'000, absl::Seconds(1));
  ASSERT_TRUE(before.ok()) << before.status();
  ASSERT_GT(before->size(), 1u);
  EXPECT_EQ(before->front().stream, other);
  EXPECT_EQ(before->back().stream, kStream);
  EXPECT_LE(before->back().offset, SortedLog::kRecords / 2);
  EXPECT_TRUE(absl::IsDataLoss(reader->Read(10'000, absl::Seconds(1)).status()));
  EXPECT_TRUE((*opened)->ReadFrom(kStream, SortedLog::kRecords - 1, 1).ok()) << "the others stand";
}

TEST(DamagedEmbeddedLog, ABitFlippedAnywhereIsAnErrorOrChangesNothing) {
  SortedLog log;
  int refused = 0;
  int unread = 0;
  constexpr size_t kFlips = 80;
  for (size_t i = 0; i < kFlips; ++i) {
    // Half of them among the last bytes, where the index and what else is not a record stand.
    const size_t from_end = i % 2 == 0 ? i * log.bytes().size() / kFlips : i * 40;
    const size_t at = log.bytes().size() - 1 - from_end % log.bytes().size();
    SCOPED_TRACE(at);
    const auto opened = log.OpenWith(log.Flipped(at));
    if (!opened.ok()) {
      ++refused;
      continue;
    }
    EXPECT_EQ((*opened)->End(kStream), SortedLog::kRecords);
    const absl::Status read = log.ReadAll(**opened);
    EXPECT_TRUE(read.ok() || absl::IsDataLoss(read)) << read;
    unread += read.ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(unread, 0);
}

TEST(DamagedEmbeddedLog, OneWhoseSortedFileIsCutShortIsNotOpened) {
  SortedLog log;
  for (const size_t left : {log.bytes().size() - 1, log.bytes().size() / 2, size_t{0}}) {
    SCOPED_TRACE(left);
    ExpectRefused(log.OpenWith(log.bytes().substr(0, left)).status());
  }
}

// That is what a torn write looks like; whoever knows that there was more has to say so.
TEST(DamagedEmbeddedLog, OneWhoseWriteAheadLogIsCutShortHoldsAPrefixWithItsNote) {
  test::TempDir dir;
  constexpr int kAppended = 40;
  {
    auto log = OpenLog(dir / "whole");
    for (int i = 0; i < kAppended; ++i)
      ASSERT_TRUE(log->AppendNow(kStream, {Numbered(i)}, "mirror", std::to_string(i)).ok());
  }
  fs::path file;
  for (const auto& entry : fs::directory_iterator(dir / "whole"))
    if (entry.path().extension() == ".log") file = entry.path();
  const std::string bytes = BytesOf(file);
  int64_t longest = 0;
  for (size_t left = 0; left < bytes.size(); left += 97) {
    SCOPED_TRACE(left);
    const std::string cut = dir / std::to_string(left);
    fs::copy(dir / "whole", cut);
    PutBytes(fs::path(cut) / file.filename(), bytes.substr(0, left));
    const auto log = OpenLog(cut);
    const int64_t end = log->End(kStream);
    EXPECT_GE(end, longest);
    EXPECT_LT(end, kAppended);
    longest = end;
    EXPECT_EQ(log->Note("mirror"), end == 0 ? "" : std::to_string(end - 1));
    const auto records = log->ReadFrom(kStream, 0, kAppended);
    ASSERT_TRUE(records.ok()) << records.status();
    ASSERT_EQ(static_cast<int64_t>(records->size()), end);
    for (const StoredRecord& stored : *records)
      EXPECT_EQ(stored.record.data, Numbered(static_cast<int>(stored.offset)).data);
    ASSERT_EQ(*log->AppendNow(kStream, {Numbered(0)}), end) << "it goes on";
    fs::remove_all(cut);
  }
  EXPECT_GT(longest, kAppended / 2);
}

}  // namespace
}  // namespace concordat::storage

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == concordat::storage::kOpens)
    return concordat::storage::Opens(argv[2]);
  if (argc == 3 && std::string(argv[1]) == concordat::storage::kAppends)
    return concordat::storage::Appends(argv[2]);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
