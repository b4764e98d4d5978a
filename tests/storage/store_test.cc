// The store port: one contract for every store, and what only the one in memory can be asked.
#include "storage/projection/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "storage/projection/memory_store.h"
#include "storage/projection/rocksdb_store.h"
#include "tests/support/temp_dir.h"

namespace concordat::storage {
namespace {

using Rows = std::map<std::string, std::string>;
using testing::Pair;
using testing::UnorderedElementsAre;

Rows RowsOf(const StoreReader& store, std::string_view from = "") {
  Rows rows;
  std::string last;
  EXPECT_TRUE(store
                  .Scan(from,
                        [&](std::string_view key, std::string_view value) {
                          EXPECT_TRUE(rows.empty() || std::string(key) > last) << "in order";
                          last = std::string(key);
                          rows.emplace(key, value);
                          return true;
                        })
                  .ok());
  return rows;
}

absl::Status Set(Store& store, const Rows& rows, const std::vector<std::string>& removed = {}) {
  const auto batch = store.NewBatch();
  for (const auto& [key, value] : rows) batch->Put(key, value);
  for (const std::string& key : removed) batch->Delete(key);
  return store.Write(*batch);
}

class StoreContract : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Store> Open(const std::string& name) {
    auto store = TryOpen(name);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  absl::StatusOr<std::unique_ptr<Store>> TryOpen(const std::string& name) {
    return GetParam() ? disk_.Open(name) : OpenRocksDbStore(dir_ / name, StoreUse::kRows);
  }

 private:
  test::TempDir dir_;
  MemoryDisk disk_;
};

TEST_P(StoreContract, ABatchIsWrittenAndReadInTheOrderOfKeysAsUnsignedBytes) {
  const auto store = Open("a");
  ASSERT_TRUE(
      Set(*store, {{"b", "2"}, {"a", "1"}, {"\xff", "3"}, {std::string(1, '\0'), "0"}}).ok());
  EXPECT_EQ(**store->Get("a"), "1");
  EXPECT_EQ(*store->Get("c"), std::nullopt);
  ASSERT_TRUE(Set(*store, {{"a", "one"}}, {"b"}).ok());
  EXPECT_THAT(RowsOf(*store, "a"), UnorderedElementsAre(Pair("a", "one"), Pair("\xff", "3")));
  EXPECT_EQ(RowsOf(*store).size(), 3u);
}

TEST_P(StoreContract, ASnapshotDoesNotMove) {
  const auto store = Open("a");
  ASSERT_TRUE(Set(*store, {{"a", "1"}, {"b", "2"}}).ok());
  const auto snapshot = store->Snapshot();
  ASSERT_TRUE(Set(*store, {{"a", "one"}}, {"b"}).ok());
  EXPECT_THAT(RowsOf(*snapshot), UnorderedElementsAre(Pair("a", "1"), Pair("b", "2")));
  EXPECT_EQ(**snapshot->Get("b"), "2");
}

TEST_P(StoreContract, WhatWasFlushedIsThereWhenOpenedAgain) {
  auto store = Open("a");
  ASSERT_TRUE(Set(*store, {{"a", "1"}}).ok());
  ASSERT_TRUE(store->Flush(true).ok());
  EXPECT_FALSE(TryOpen("a").ok()) << "it is open";
  store.reset();
  EXPECT_TRUE(RowsOf(*Open("b")).empty()) << "each place has a store of its own";
  EXPECT_THAT(RowsOf(*Open("a")), UnorderedElementsAre(Pair("a", "1")));
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreContract, testing::Bool(),
                         [](const auto& info) { return info.param ? "Memory" : "RocksDb"; });

TEST(MemoryDisk, ACrashLosesWhatWasNotFlushedAndEndsTheProcess) {
  MemoryDisk disk;
  const auto before = *disk.Open("a");
  ASSERT_TRUE(Set(*before, {{"a", "1"}, {"b", "2"}}).ok());
  ASSERT_TRUE(before->Flush(false).ok());
  const MemoryDisk::Image image = disk.Durable();
  ASSERT_TRUE(Set(*before, {{"a", "one"}, {"c", "3"}}, {"b"}).ok());
  EXPECT_EQ(disk.Durable(), image);
  disk.Crash();
  const auto after = *disk.Open("a");
  ASSERT_TRUE(Set(*before, {{"a", "of the dead"}}).ok());
  EXPECT_THAT(RowsOf(*after), UnorderedElementsAre(Pair("a", "1"), Pair("b", "2")));
  ASSERT_TRUE(Set(*after, {{"d", "4"}}).ok());
  ASSERT_TRUE(after->Flush(true).ok());
  disk.Restore(image);
  EXPECT_EQ(RowsOf(**disk.Open("a")).size(), 2u);
}

TEST(MemoryDisk, AFullDiskWritesNothingUntilThereIsSpaceAgain) {
  MemoryDisk disk;
  const auto store = *disk.Open("a");
  disk.Fail(absl::ResourceExhaustedError("full"));
  EXPECT_TRUE(absl::IsResourceExhausted(Set(*store, {{"a", "1"}})));
  EXPECT_FALSE(store->Resume().ok());
  EXPECT_FALSE(store->Flush(true).ok());
  EXPECT_TRUE(RowsOf(*store).empty());
  disk.Fail(absl::OkStatus());
  EXPECT_TRUE(store->Resume().ok());
  EXPECT_TRUE(Set(*store, {{"a", "1"}}).ok());
  EXPECT_EQ(RowsOf(*store).size(), 1u);
}

}  // namespace
}  // namespace concordat::storage
