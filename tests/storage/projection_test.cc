#include "storage/projection/projection.h"

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "storage/projection/snapshot.h"
#include "tests/storage/full_disk.h"
#include "tests/support/records.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace concordat::storage {
namespace {

using test::kStream;
using Rows = std::map<std::string, std::string>;

constexpr auto kHome = events::Chain::Origin::kHome;

absl::StatusOr<std::unique_ptr<Projection>> TryOpen(const std::string& dir,
                                                    const std::string& schema = "1") {
  return Projection::Open(dir, kStream, kHome, schema);
}
std::unique_ptr<Projection> Open(const std::string& dir) {
  auto projection = TryOpen(dir);
  EXPECT_TRUE(projection.ok()) << projection.status();
  return *std::move(projection);
}

Rows RowsOf(const RowSource& source) {
  Rows rows;
  source.Scan(std::string_view("\x01", 1), [&](std::string_view key, std::string_view value) {
    rows.emplace(key, value);
    return true;
  });
  return rows;
}

// The next event of the stream, folded but not committed.
void Fold(Projection& projection, const Rows& set, const std::vector<std::string>& removed = {}) {
  events::Head head = projection.chain().head();
  const events::Record record = test::Next(head);
  events::Attributes attributes;
  ASSERT_EQ(projection.chain().Offer(record, projection.chain().next_offset(), &attributes),
            events::Outcome::kAccepted);
  projection.journal().Begin(attributes.sequence);
  for (const auto& [key, value] : set) projection.journal().Write(key, value);
  for (const std::string& key : removed) projection.journal().Write(key, std::nullopt);
}

absl::Status Commit(Projection& projection, const Projection::Notes& notes = {}) {
  return projection.Commit(static_cast<uint64_t>(projection.chain().head().sequence), notes);
}

TEST(Projection, SnapshotsTakenAtOnceAreEachWhole) {
  test::TempDir dir;
  const auto projection = Open(dir / "rows");
  for (int i = 0; i < 200; ++i) Fold(*projection, {{RowKey("t", std::to_string(i)), "value"}});
  ASSERT_TRUE(Commit(*projection).ok());
  const std::string folder = dir / "snapshots";
  absl::Mutex mutex;
  std::vector<Snapshot> taken;
  std::vector<std::thread> takers;
  for (int taker = 0; taker < 3; ++taker) {
    takers.emplace_back([&] {
      for (int i = 0; i < 5; ++i) {
        auto snapshot = TakeSnapshot(*projection, folder, "1");
        ASSERT_TRUE(snapshot.ok()) << snapshot.status();
        const absl::MutexLock lock(&mutex);
        taken.push_back(*std::move(snapshot));
      }
    });
  }
  for (std::thread& taker : takers) taker.join();
  ASSERT_EQ(taken.size(), 15u);
  for (const Snapshot& snapshot : taken) {
    const auto found = CheckSnapshot(snapshot.dir);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(found->head.sequence, 199);
  }
}

TEST(Projection, ASnapshotThatFailsLeavesNothing) {
  test::TempDir dir;
  const auto projection = Open(dir / "rows");
  Fold(*projection, {{RowKey("t", "a"), "value"}});
  ASSERT_TRUE(Commit(*projection).ok());
  const std::string folder = dir / "snapshots";
  EXPECT_FALSE(TakeSnapshot(*projection, folder, "another layout").ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder + "/" + kStream));
}

// In a container the process after a restart has the number of the one before.
TEST(Projection, WhatAProcessThatDiedHadBegunAsASnapshotGoes) {
  test::TempDir dir;
  const auto projection = Open(dir / "rows");
  Fold(*projection, {{RowKey("t", "a"), "value"}});
  ASSERT_TRUE(Commit(*projection).ok());
  const std::string folder = dir / "snapshots";
  const std::string left = fmt::format("{}/{}/.taking-{}-1", folder, kStream, getpid());
  std::filesystem::create_directories(left);
  ASSERT_TRUE(TakeSnapshot(*projection, folder, "1").ok());
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST(Projection, RowsHeadDigestsAndNotesAreThereWhenOpenedAgain) {
  test::TempDir dir;
  const std::string note("\0note", 5);
  events::Link head;
  Digests digests;
  {
    auto projection = Open(dir.path());
    EXPECT_EQ(projection->chain().head().sequence, -1);
    Fold(*projection, {{RowKey("items", "a"), "1"}, {RowKey("items", "b"), "2"}});
    Fold(*projection, {{RowKey("items", "a"), "3"}}, {RowKey("items", "b")});
    ASSERT_TRUE(Commit(*projection, {{note, "position"}}).ok());
    EXPECT_EQ(projection->Get(note), "position");
    head = projection->chain().head().link;
    digests = projection->digests();
  }
  auto projection = Open(dir.path());
  EXPECT_EQ(RowsOf(*projection), (Rows{{RowKey("items", "a"), "3"}}));
  EXPECT_EQ(projection->chain().head().link, head);
  EXPECT_EQ(projection->chain().head().sequence, 1);
  EXPECT_EQ(projection->chain().next_offset(), 2);
  EXPECT_TRUE(projection->digests() == digests);
  EXPECT_TRUE(Digests::Of(*projection) == digests);
  EXPECT_EQ(projection->Get(note), "position");
}

TEST(Projection, EqualsAModelWhateverIsReadBetweenWrites) {
  test::TempDir dir;
  auto projection = Open(dir.path());
  Rows model;
  EXPECT_TRUE(rc::check([&] {
    for (const int number : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 1000))) {
      const std::string key = RowKey("items", std::to_string(number % 10));
      // A read first, so that what was read is remembered wrongly if it can be.
      const auto found = model.find(key);
      RC_ASSERT(projection->journal().Get(key) ==
                (found == model.end() ? std::nullopt : std::optional(found->second)));
      if (number % 3 == 0) {
        Fold(*projection, {}, {key});
        model.erase(key);
      } else {
        Fold(*projection, {{key, std::to_string(number)}});
        model[key] = std::to_string(number);
      }
      if (number % 2 == 0) RC_ASSERT(Commit(*projection).ok());
    }
    RC_ASSERT(Commit(*projection).ok());
    RC_ASSERT(RowsOf(*projection) == model);
    RC_ASSERT(projection->digests() == Digests::Of(*projection));
    for (int i = 0; i < 10; ++i) {
      const auto found = model.find(RowKey("items", std::to_string(i)));
      RC_ASSERT(projection->Get(RowKey("items", std::to_string(i))) ==
                (found == model.end() ? std::nullopt : std::optional(found->second)));
    }
  }));
}

TEST(Projection, AnotherLayoutIsRefusedAndSaysWhatToDo) {
  test::TempDir dir;
  ASSERT_TRUE(TryOpen(dir.path(), "items 1").ok());
  const auto other = TryOpen(dir.path(), "items 2");
  EXPECT_TRUE(absl::IsFailedPrecondition(other.status())) << other.status();
  const std::string message(other.status().message());
  EXPECT_THAT(message, testing::HasSubstr("items 1"));
  EXPECT_THAT(message, testing::HasSubstr("items 2"));
  EXPECT_THAT(message, testing::HasSubstr("delete " + dir.path()));
  EXPECT_TRUE(TryOpen(dir.path(), "items 1").ok()) << "nothing was changed";
}

TEST(Projection, ASecondOpenerIsRefused) {
  test::TempDir dir;
  auto projection = Open(dir.path());
  const auto second = TryOpen(dir.path());
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()),
              testing::HasSubstr("another process holds this store"));
}

TEST(Projection, AViewStaysAsItWasWhileTheProjectionGoesOn) {
  test::TempDir dir;
  auto projection = Open(dir.path());
  Fold(*projection, {{RowKey("items", "a"), "1"}});
  ASSERT_TRUE(Commit(*projection).ok());
  const auto view = projection->View();
  const Digests digests = projection->digests();
  Fold(*projection, {{RowKey("items", "a"), "2"}, {RowKey("items", "b"), "2"}});
  ASSERT_TRUE(Commit(*projection).ok());
  EXPECT_EQ(RowsOf(*view), (Rows{{RowKey("items", "a"), "1"}}));
  EXPECT_EQ(view->Get(RowKey("items", "b")), std::nullopt);
  EXPECT_EQ(view->Chain(kStream)->head().sequence, 0);
  EXPECT_TRUE(*view->FoldedDigests() == digests) << "head and digests belong to the view's rows";
  EXPECT_TRUE(Digests::Of(*view) == digests);
  EXPECT_EQ(projection->View()->Chain(kStream)->head().sequence, 1);
}

TEST(Projection, AViewOutlivesItsProjection) {
  test::TempDir dir;
  auto projection = Open(dir.path());
  Fold(*projection, {{RowKey("items", "a"), "1"}});
  ASSERT_TRUE(Commit(*projection).ok());
  const auto view = projection->View();
  projection.reset();
  EXPECT_EQ(view->Get(RowKey("items", "a")), "1");
}

TEST(Projection, ARolledBackChangeIsNeverStored) {
  test::TempDir dir;
  {
    auto projection = Open(dir.path());
    Fold(*projection, {{RowKey("items", "a"), "1"}});
    projection->journal().Begin(1);
    projection->journal().Write(RowKey("items", "speculative"), "x");
    ASSERT_TRUE(projection->Commit(0).ok());
    EXPECT_EQ(projection->journal().Get(RowKey("items", "speculative")), "x");
    EXPECT_EQ(projection->Get(RowKey("items", "speculative")), std::nullopt);
    projection->journal().Rollback(1);
  }
  EXPECT_EQ(RowsOf(*Open(dir.path())), (Rows{{RowKey("items", "a"), "1"}}));
}

TEST(Projection, OnAFullDiskACommitFailsAndIsRetriedUntilThereIsSpace) {
  test::FullDisk disk("96m");
  auto projection = Open(disk / "projection");
  Rows model;
  int number = 0;
  const auto fold = [&] {
    const std::string key = RowKey("items", std::to_string(number % 500));
    const std::string value = test::Incompressible(20'000, number++);
    Fold(*projection, {{key, value}});
    model[key] = value;
  };
  fold();
  ASSERT_TRUE(Commit(*projection).ok());
  ASSERT_TRUE(projection->FlushAndWait().ok());
  disk.Fill(2 << 20);
  absl::Status status;
  for (int i = 0; i < 5000 && status.ok(); ++i) {
    fold();
    status = Commit(*projection);
    // A full disk shows when memory is written out; the writer does this every few seconds.
    if (i % 100 == 99) projection->Flush();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("the disk is full"));
  EXPECT_FALSE(projection->RetryCommit().ok()) << "there is still no space";
  EXPECT_TRUE(absl::IsFailedPrecondition(Commit(*projection)))
      << "the last one's rows would be lost";
  disk.Free();
  ASSERT_TRUE(test::WaitUntil([&] {
    status = projection->RetryCommit();
    return status.ok();
  })) << status;
  EXPECT_TRUE(RowsOf(*projection) == model);
  EXPECT_TRUE(projection->digests() == Digests::Of(*projection));
  // So much that writing it out takes a while: RocksDB says after a full disk that it has flushed
  // before it has.
  for (int i = 0; i < 300; ++i) {
    fold();
    ASSERT_TRUE(Commit(*projection).ok());
  }
  const events::Link head = projection->chain().head().link;
  ASSERT_TRUE(test::WaitUntil([&] {
    status = projection->FlushAndWait();
    return status.ok();
  })) << status;
  projection.reset();
  projection = Open(disk / "projection");
  EXPECT_TRUE(RowsOf(*projection) == model);
  EXPECT_EQ(projection->chain().head().link, head);
  EXPECT_TRUE(projection->digests() == Digests::Of(*projection));
}

TEST(Projection, WhatTheDiskDidNotTakeBeforeAStopIsFoldedAgain) {
  test::FullDisk disk("64m");
  auto projection = Open(disk / "projection");
  Fold(*projection, {{RowKey("items", "kept"), "1"}});
  ASSERT_TRUE(Commit(*projection).ok());
  ASSERT_TRUE(projection->FlushAndWait().ok());
  disk.Fill(1 << 20);
  Fold(*projection, {{RowKey("items", "lost"), test::Incompressible(4 << 20, 1)}});
  Commit(*projection).IgnoreError();
  EXPECT_FALSE(projection->FlushAndWait().ok());
  projection.reset();
  disk.Free();
  projection = Open(disk / "projection");
  EXPECT_EQ(RowsOf(*projection), (Rows{{RowKey("items", "kept"), "1"}}));
  EXPECT_EQ(projection->chain().head().sequence, 0) << "rows and head went back together";
  EXPECT_TRUE(projection->digests() == Digests::Of(*projection));
}

}  // namespace
}  // namespace concordat::storage
