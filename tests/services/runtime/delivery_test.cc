// Deliveries: whatever is read ahead, every record comes once and in order, and nothing is read
// beyond the end that the caller has named.
#include "services/runtime/delivery.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/services/runtime/ledger.h"
#include "tests/support/records.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using testing::HasSubstr;

class DeliveriesTest : public testing::Test {
 protected:
  void Fill(int64_t records) {
    events::Head head;
    for (int64_t i = 0; i < records; ++i) log_.Put(kStream, Next(head));
    ASSERT_TRUE(reader_->Assign(kStream, 0).ok());
  }
  // The offset of the next record, which is the one expected; the number of records.
  size_t Take(int64_t end = INT64_MAX) {
    const auto read = deliveries_.Next(absl::ZeroDuration(), end);
    EXPECT_TRUE(read.ok()) << read.status();
    if (!read.ok()) return 0;
    for (const runtime::Delivery& delivery : *read) {
      EXPECT_EQ(delivery.stream(), kStream);
      EXPECT_EQ(delivery.offset(), next_++);
      EXPECT_TRUE(delivery.reading().status.ok()) << delivery.reading().status;
      EXPECT_EQ(delivery.attributes().sequence, static_cast<uint64_t>(delivery.offset()));
    }
    return read->size();
  }

  ScriptedLog log_;
  std::unique_ptr<storage::LogReader> reader_ = log_.NewReader();
  runtime::Deliveries deliveries_{*reader_, storage::Machine::Real()};
  int64_t next_ = 0;
};

constexpr auto kChunk = static_cast<int64_t>(runtime::Deliveries::kChunk);

TEST_F(DeliveriesTest, ComeOnceAndInOrder) {
  Fill(2 * kChunk + 7);
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);
  EXPECT_EQ(Take(), 7U);
  EXPECT_EQ(Take(), 0U);
  EXPECT_EQ(next_, 2 * kChunk + 7);
}

TEST_F(DeliveriesTest, AreNotReadAheadBeyondTheEnd) {
  Fill(2 * kChunk);
  EXPECT_EQ(Take(kChunk), runtime::Deliveries::kChunk);
  const auto rest = reader_->Read(1, absl::ZeroDuration());
  ASSERT_TRUE(rest.ok());
  ASSERT_EQ(rest->size(), 1U);
  EXPECT_EQ(rest->front().offset, kChunk);
}

TEST_F(DeliveriesTest, StartAnewWhereTheReaderIsAssigned) {
  Fill(3 * kChunk);
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);
  deliveries_.Stop();
  ASSERT_TRUE(reader_->Assign(kStream, 5).ok());
  next_ = 5;
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);
  deliveries_.Settle();  // keeps what was read ahead
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);
  EXPECT_EQ(next_, 2 * kChunk + 5);
}

TEST_F(DeliveriesTest, TellOfAnErrorWhereItStands) {
  Fill(2 * kChunk);
  log_.FailNextRead(absl::UnavailableError("no broker"));
  EXPECT_EQ(deliveries_.Next(absl::ZeroDuration()).status(), absl::UnavailableError("no broker"));
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);
  deliveries_.Settle();
  log_.FailNextRead(absl::UnavailableError("no broker"));
  EXPECT_EQ(Take(), runtime::Deliveries::kChunk);  // was read before
  EXPECT_EQ(deliveries_.Next(absl::ZeroDuration()).status(), absl::UnavailableError("no broker"));
}

// One a chunk would cost a sixth of what reading ahead costs.
TEST_F(DeliveriesTest, AreReadAheadByOneThread) {
  struct Counting final : storage::Machine {
    std::unique_ptr<storage::Thread> Start(const char* name,
                                           absl::AnyInvocable<void()> body) override {
      ++started;
      return Machine::Start(name, std::move(body));
    }
    int started = 0;
  } machine;
  Fill(5 * kChunk);
  {
    runtime::Deliveries deliveries(*reader_, machine);
    size_t records = 0;
    while (records < 5 * runtime::Deliveries::kChunk) {
      const auto read = deliveries.Next(absl::ZeroDuration(), 5 * kChunk);
      ASSERT_TRUE(read.ok());
      records += read->size();
    }
  }
  EXPECT_EQ(machine.started, 1);
}

TEST(Delivery, SaysWhatCannotBeRead) {
  events::Attributes attributes = AttributesAfter({});
  attributes.data_type = "concordat.ledger.v1.Unheard";
  runtime::Delivery delivery({kStream, 0, events::Seal(attributes, "data")});
  ASSERT_TRUE(delivery.reading().status.ok());
  EXPECT_THAT(delivery.event().status().message(), HasSubstr("concordat.ledger.v1.Unheard"));
  // The memory is used again, what was in it is not.
  v1::Event event;
  event.mutable_item_put()->set_name("items/one");
  attributes.data_type = v1::Event::descriptor()->full_name();
  delivery.Take({kStream, 0, events::Seal(attributes, event.SerializeAsString())});
  ASSERT_TRUE(delivery.event().ok()) << delivery.event().status();
  EXPECT_EQ((*delivery.event())->SerializeAsString(), event.SerializeAsString());
  // A record of another stream is not what its own stream would take.
  delivery.Take({"borlange.ledger.events", 0, events::Seal(attributes, event.SerializeAsString())});
  EXPECT_FALSE(delivery.reading().status.ok());
}

}  // namespace
}  // namespace concordat::test
