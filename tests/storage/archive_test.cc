#include "storage/archive/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "storage/projection/memory_store.h"
#include "tests/storage/full_disk.h"
#include "tests/support/records.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace concordat::storage {
namespace {

using testing::ElementsAre;

constexpr auto kHome = events::Chain::Origin::kHome;
constexpr char kParis[] = "paris.ledger.events";
constexpr char kBorlange[] = "borlange.ledger.events";

std::unique_ptr<Archive> Open(const std::string& dir) {
  auto archive = Archive::Open(dir);
  EXPECT_TRUE(archive.ok()) << archive.status();
  return *std::move(archive);
}

// Archives the next event of a stream.
void Add(Archive& archive, const std::string& stream, const std::string& subject,
         const std::string& story, const std::string& data) {
  events::Chain chain = *archive.ChainOf(stream, kHome);
  events::Attributes attributes = test::AttributesAfter(chain.head(), stream);
  attributes.subject = subject;
  attributes.correlation_id = story;
  const events::Record record = events::Seal(attributes, data);
  ASSERT_EQ(chain.Offer(record, chain.next_offset(), &attributes), events::Outcome::kAccepted);
  archive.Add(stream, attributes, record);
  ASSERT_TRUE(archive.Commit(chain).ok());
}

std::vector<std::string> DataOf(const absl::StatusOr<std::vector<ArchivedEvent>>& events) {
  EXPECT_TRUE(events.ok()) << events.status();
  std::vector<std::string> data;
  for (const ArchivedEvent& event : *events) data.push_back(event.data);
  return data;
}

TEST(Archive, EventsAreFoundBySubjectStoryAndPosition) {
  test::TempDir dir;
  auto archive = Open(dir.path());
  Add(*archive, kParis, "items/1", "story a", "one");
  Add(*archive, kBorlange, "items/1", "story a", "two");
  Add(*archive, kParis, "items/2", "story a", "three");
  Add(*archive, kParis, "items/1", "story b", "four");
  Add(*archive, kParis, "items/11", "", "five");
  for (int opened = 0; opened < 2; ++opened) {
    EXPECT_THAT(DataOf(archive->BySubject("items/1", 10)), ElementsAre("one", "two", "four"))
        << "in order of arrival";
    EXPECT_THAT(DataOf(archive->BySubject("items/1", 2)), ElementsAre("one", "two"));
    EXPECT_THAT(DataOf(archive->BySubject("items/", 10)), ElementsAre());
    EXPECT_THAT(DataOf(archive->ByCorrelation("story a", 10)), ElementsAre("one", "two", "three"));
    EXPECT_THAT(DataOf(archive->ByCorrelation("story", 10)), ElementsAre());
    const auto event = archive->At(kParis, 1);
    ASSERT_TRUE(event.ok() && event->has_value());
    EXPECT_EQ((*event)->data, "three");
    EXPECT_EQ((*event)->stream, kParis);
    EXPECT_EQ((*event)->attributes.subject, "items/2");
    EXPECT_EQ((*event)->attributes.sequence, 1u);
    EXPECT_EQ(archive->At(kParis, 4)->has_value(), false);
    EXPECT_EQ(archive->At("paris.ledger.event", 1)->has_value(), false);
    EXPECT_EQ(archive->ChainOf(kParis, kHome)->head().sequence, 3);
    EXPECT_EQ(archive->ChainOf(kBorlange, kHome)->head().sequence, 0);
    EXPECT_EQ(archive->ChainOf("stockholm.ledger.events", kHome)->head().sequence, -1);
    archive.reset();
    archive = Open(dir.path());
  }
  Add(*archive, kBorlange, "items/1", "story a", "six");
  EXPECT_THAT(DataOf(archive->BySubject("items/1", 10)), ElementsAre("one", "two", "four", "six"))
      << "after reopening";
}

TEST(Archive, WhatIsNotCommittedIsNotSeen) {
  test::TempDir dir;
  auto archive = Open(dir.path());
  events::Chain chain(kParis);
  events::Attributes attributes = test::AttributesAfter(chain.head(), kParis);
  const events::Record record = events::Seal(attributes, "one");
  test::Advance(chain, attributes, 0);
  archive->Add(kParis, attributes, record);
  EXPECT_EQ(archive->At(kParis, 0)->has_value(), false);
  ASSERT_TRUE(archive->Commit(chain).ok());
  EXPECT_EQ(archive->At(kParis, 0)->has_value(), true);
}

TEST(Archive, WaitingEndsWhenTheEventIsArchived) {
  test::TempDir dir;
  auto archive = Open(dir.path());
  EXPECT_FALSE(archive->WaitFor(kParis, 0, absl::Milliseconds(1)));
  std::thread adding([&] { Add(*archive, kParis, "items/1", "story", "one"); });
  EXPECT_TRUE(archive->WaitFor(kParis, 0, test::kPatience));
  adding.join();
}

TEST(Archive, ASecondOpenerIsRefused) {
  test::TempDir dir;
  auto archive = Open(dir.path());
  const auto second = Archive::Open(dir.path());
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
}

// A store in which one row cannot be read.
class DamagedStore final : public Store {
 public:
  DamagedStore(std::unique_ptr<Store> store, std::string key)
      : store_(std::move(store)), key_(std::move(key)) {}
  const std::string& place() const override { return store_->place(); }
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    if (key == key_) return absl::DataLossError("cannot read: block checksum mismatch");
    return store_->Get(key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    return store_->Scan(from, row);
  }
  std::unique_ptr<StoreBatch> NewBatch() override { return store_->NewBatch(); }
  absl::Status Write(StoreBatch& batch) override { return store_->Write(batch); }
  absl::Status Resume() override { return store_->Resume(); }
  absl::Status Flush(bool wait) override { return store_->Flush(wait); }
  std::unique_ptr<StoreReader> Snapshot() override { return store_->Snapshot(); }

 private:
  const std::unique_ptr<Store> store_;
  const std::string key_;
};

TEST(Archive, OneWhoseNextArrivalCannotBeReadIsNotOpenedAndSaysWhatToDo) {
  MemoryDisk disk;
  const auto opened =
      Archive::Open(std::make_unique<DamagedStore>(*disk.Open("archive"), /*key=*/"n"));
  EXPECT_TRUE(absl::IsDataLoss(opened.status())) << opened.status();
  EXPECT_THAT(std::string(opened.status().message()),
              testing::HasSubstr("delete the archive and start again"));
}

TEST(Archive, ABitFlippedAnywhereIsAnErrorOrChangesNothing) {
  namespace fs = std::filesystem;
  test::TempDir dir;
  std::vector<std::string> data;
  {
    auto archive = Open(dir / "whole");
    for (int i = 0; i < 40; ++i) {
      data.push_back(test::Incompressible(500, i));
      Add(*archive, kParis, "items/1", "story", data.back());
    }
  }
  fs::path file;
  for (const auto& entry : fs::directory_iterator(dir / "whole"))
    if (entry.path().extension() == ".sst") file = entry.path();
  ASSERT_NE(file, "");
  std::ifstream in(file, std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(in), {}};
  int refused = 0;
  int unread = 0;
  constexpr size_t kFlips = 60;
  for (size_t i = 0; i < kFlips; ++i) {
    // Half of them near the end: the indexes, and what the archive knows of itself.
    const size_t at = whole.size() - 1 - (i % 2 == 0 ? i * (whole.size() - 1) / kFlips : i * 60);
    SCOPED_TRACE(at);
    const std::string copy = dir / std::to_string(i);
    fs::copy(dir / "whole", copy);
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    std::ofstream(fs::path(copy) / file.filename(), std::ios::binary | std::ios::trunc) << bytes;
    auto archive = Archive::Open(copy);
    const absl::Status chain =
        archive.ok() ? (*archive)->ChainOf(kParis, kHome).status() : archive.status();
    if (!chain.ok()) {
      ++refused;
      EXPECT_TRUE(absl::IsDataLoss(chain)) << chain;
      EXPECT_THAT(std::string(chain.message()), testing::HasSubstr("delete"));
      continue;
    }
    // What arrives must not take the place of what is there.
    Add(**archive, kBorlange, "items/1", "story", "more");
    const auto events = (*archive)->BySubject("items/1", 100);
    if (!events.ok()) {
      ++unread;
      EXPECT_TRUE(absl::IsDataLoss(events.status())) << events.status();
      continue;
    }
    std::vector<std::string> expected = data;
    expected.push_back("more");
    EXPECT_TRUE(DataOf(events) == expected);
  }
  EXPECT_GT(refused, 0);
  EXPECT_GT(unread, 0);
}

// A store that is full, and counts what is put into its batches.
class FullStore final : public Store {
 public:
  FullStore(std::unique_ptr<Store> store, int* puts) : store_(std::move(store)), puts_(puts) {}
  const std::string& place() const override { return store_->place(); }
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    return store_->Get(key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    return store_->Scan(from, row);
  }
  std::unique_ptr<StoreBatch> NewBatch() override { return std::make_unique<Batch>(puts_); }
  absl::Status Write(StoreBatch&) override { return absl::ResourceExhaustedError("full"); }
  absl::Status Resume() override { return absl::OkStatus(); }
  absl::Status Flush(bool) override { return absl::OkStatus(); }
  std::unique_ptr<StoreReader> Snapshot() override { return store_->Snapshot(); }

 private:
  struct Batch final : StoreBatch {
    explicit Batch(int* puts) : puts(puts) {}
    void Put(std::string_view, std::string_view) override { ++*puts; }
    void Delete(std::string_view) override {}
    int* puts;
  };
  const std::unique_ptr<Store> store_;
  int* const puts_;
};

TEST(Archive, ACommitThatIsTriedAgainAddsNothingToWhatIsWritten) {
  MemoryDisk disk;
  int puts = 0;
  auto archive = *Archive::Open(std::make_unique<FullStore>(*disk.Open("archive"), &puts));
  const events::Chain chain(kParis, kHome);
  EXPECT_TRUE(absl::IsResourceExhausted(archive->Commit(chain)));
  const int once = puts;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(absl::IsResourceExhausted(archive->Commit(chain)));
  EXPECT_EQ(puts, once);
}

TEST(Archive, OddSubjectsAreKeptApart) {
  test::TempDir dir;
  auto archive = Open(dir.path());
  Add(*archive, kParis, "", "", "none");
  Add(*archive, kParis, "a", "x", "a");
  Add(*archive, kParis, "ab", "xy", "ab");
  EXPECT_THAT(DataOf(archive->BySubject("", 10)), ElementsAre("none"));
  EXPECT_THAT(DataOf(archive->BySubject("a", 10)), ElementsAre("a"));
  EXPECT_THAT(DataOf(archive->ByCorrelation("x", 10)), ElementsAre("a"));
}

TEST(Archive, WhatACrashLeftUncommittedOfOneStreamIsInNoIndexTwice) {
  test::TempDir dir;
  const auto add = [](Archive& archive, const std::string& stream, events::Chain& chain) {
    events::Attributes attributes = test::AttributesAfter(chain.head(), stream);
    attributes.subject = "items/1";
    const events::Record record = events::Seal(attributes, stream);
    ASSERT_EQ(chain.Offer(record, chain.next_offset(), &attributes), events::Outcome::kAccepted);
    archive.Add(stream, attributes, record);
  };
  {
    auto archive = Open(dir.path());
    events::Chain paris(kParis, kHome), borlange(kBorlange, kHome);
    add(*archive, kParis, paris);
    add(*archive, kBorlange, borlange);
    ASSERT_TRUE(archive->Commit(paris).ok());
    // It ends here: what it had of the other stream is read again.
  }
  auto archive = Open(dir.path());
  events::Chain borlange = *archive->ChainOf(kBorlange, kHome);
  EXPECT_EQ(borlange.next_offset(), 0);
  EXPECT_THAT(DataOf(archive->BySubject("items/1", 10)), ElementsAre(kParis));
  add(*archive, kBorlange, borlange);
  ASSERT_TRUE(archive->Commit(borlange).ok());
  EXPECT_THAT(DataOf(archive->BySubject("items/1", 10)), ElementsAre(kParis, kBorlange));
}

}  // namespace
}  // namespace concordat::storage
