#include "storage/archive/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

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

}  // namespace
}  // namespace concordat::storage
