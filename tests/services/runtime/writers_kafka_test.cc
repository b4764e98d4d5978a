// Writers on a real broker: three that race on one stream, and one whose acknowledgements are lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <set>
#include <thread>

#include "services/runtime/writer.h"
#include "storage/log/kafka.h"
#include "tests/services/runtime/home.h"
#include "tests/support/broker.h"
#include "tests/support/proxy.h"

namespace concordat::test {
namespace {

constexpr char kStreamName[] = "paris.ledger.events";

// All records of the stream, and that their offsets have no holes.
std::vector<events::Record> RecordsOf(storage::Log& log) {
  const auto reader = log.NewReader();
  EXPECT_TRUE(reader->Assign(kStreamName, 0).ok());
  const auto end = reader->End(kStreamName);
  EXPECT_TRUE(end.ok()) << end.status();
  std::vector<events::Record> records;
  EXPECT_TRUE(WaitUntil([&] {
    auto read = reader->Read(10'000, absl::Milliseconds(100));
    EXPECT_TRUE(read.ok()) << read.status();
    if (!read.ok()) return true;
    for (auto& stored : *read) {
      EXPECT_EQ(stored.offset, static_cast<int64_t>(records.size()));
      records.push_back(std::move(stored.record));
    }
    return static_cast<int64_t>(records.size()) >= *end;
  }));
  return records;
}

// How many of them are void for who reads them once, from the first on.
size_t VoidsOf(const std::vector<events::Record>& records) {
  return records.size() - History(records, kStreamName).size();
}

// Asks a new command whenever the last was answered.
class Client {
 public:
  Client(runtime::Writer& writer, std::string name, const std::atomic<bool>& over)
      : writer_(writer), name_(std::move(name)), over_(over) {}

  void Ask() {
    const std::string id = name_ + "-" + std::to_string(number_++);
    runtime::Submission submission;
    submission.command =
        std::make_unique<v1::Command>(number_ % 10 == 0 ? PutConfirmed(id) : Put(id));
    submission.command_id = id;
    submission.actor = "racer";
    submission.done = [this, id](absl::StatusOr<type::v1::Outcome> outcome) {
      if (!outcome.ok()) {
        failure_ = std::string(outcome.status().message());
        idle_ = true;
        return;
      }
      acknowledged_.push_back(*std::move(outcome));
      if (over_) {
        idle_ = true;
      } else {
        Ask();
      }
    };
    writer_.Submit(std::move(submission));
  }
  bool idle() const { return idle_; }
  // REQUIRES: idle.
  const std::vector<type::v1::Outcome>& acknowledged() const { return acknowledged_; }
  const std::string& failure() const { return failure_; }

 private:
  runtime::Writer& writer_;
  const std::string name_;
  const std::atomic<bool>& over_;
  int number_ = 0;
  std::vector<type::v1::Outcome> acknowledged_;
  std::string failure_;
  std::atomic<bool> idle_ = false;
};

TEST(WritersOnKafka, ThreeThatRaceLoseAndDoubleNothing) {
  Broker broker({kStreamName});
  runtime::SystemClock clock;
  storage::KafkaLog log({broker.bootstrap(), "race"});
  std::vector<std::unique_ptr<Home>> homes;
  for (int i = 0; i < 3; ++i) {
    homes.push_back(std::make_unique<Home>(log, clock));
    homes.back()->options.report_timeout = absl::Seconds(30);
    homes.back()->Run();
  }
  std::atomic<bool> over = false;
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < 48; ++i) {
    clients.push_back(
        std::make_unique<Client>(homes[i % 3]->writer(), "c" + std::to_string(i), over));
    clients.back()->Ask();
  }
  const absl::Time end = absl::Now() + absl::Seconds(15);
  ASSERT_TRUE(WaitUntil([&] { return absl::Now() >= end; }));
  over = true;
  ASSERT_TRUE(WaitUntil([&] {
    return std::all_of(clients.begin(), clients.end(), [](auto& client) { return client->idle(); });
  }));
  for (auto& home : homes) {
    // Its last follow-ups may have lost a race just now; it ends with writing.
    EXPECT_TRUE(WaitUntil([&] { return home->state() == runtime::WriterState::kWriting; }))
        << runtime::Name(home->state()) << " " << home->alarm();
  }
  // Each has appended its last, and looked for what the others appended since.
  std::vector<events::Record> records;
  const auto voids_of = [](Home& home) { return home.writer().counters().voids.load(); };
  EXPECT_TRUE(WaitUntil([&] {
    records = RecordsOf(log);
    return std::all_of(homes.begin(), homes.end(),
                       [&](auto& home) { return voids_of(*home) == VoidsOf(records); });
  }));
  for (auto& home : homes) {
    EXPECT_EQ(voids_of(*home), VoidsOf(records)) << "a writer counts what every reader counts";
  }
  for (auto& home : homes) home->Stop();

  records = RecordsOf(log);
  const std::vector<Fact> history = History(records, kStreamName);
  std::set<std::pair<std::string, std::string>> ids;
  size_t by_racers = 0;
  for (const Fact& fact : history) {
    EXPECT_TRUE(ids.emplace(fact.attributes.actor, fact.attributes.command_id).second)
        << fact.attributes.command_id << " was accepted twice";
    by_racers += fact.attributes.actor == "racer";
  }
  size_t acknowledged = 0;
  for (const auto& client : clients) {
    EXPECT_EQ(client->failure(), "");
    acknowledged += client->acknowledged().size();
    for (const type::v1::Outcome& outcome : client->acknowledged()) {
      ASSERT_LT(outcome.sequence(), history.size());
      const events::Attributes& event = history[outcome.sequence()].attributes;
      ASSERT_EQ(event.id.ToHex(), outcome.link());
      ASSERT_EQ(event.command_id, outcome.request_id());
      ASSERT_EQ(outcome.reason(), "");
    }
  }
  EXPECT_EQ(acknowledged, by_racers) << "all who were accepted were told so";
  EXPECT_GT(acknowledged, 300u) << "the race went on";
  EXPECT_GT(VoidsOf(records), 0u) << "nobody lost a race: this was none";
  std::printf("%zu acknowledged, %zu accepted, %zu void in the log\n", acknowledged, history.size(),
              VoidsOf(records));

  // Whoever goes on alone has every item, each confirmed once where it wanted that.
  homes[0]->Run();
  size_t wanted = 0;
  for (const Fact& fact : history) wanted += fact.event && fact.event->item_put().confirm();
  size_t confirmed = 0;
  ASSERT_TRUE(WaitUntil([&] {
    confirmed = static_cast<size_t>(CountOf(History(RecordsOf(log), kStreamName), "ItemConfirmed"));
    return confirmed >= wanted;
  }));
  EXPECT_EQ(confirmed, wanted);
  homes[0]->Stop();
}

TEST(WritersOnKafka, AnAnswerEqualsTheLogThoughItsAcknowledgementWasLost) {
  Proxy proxy;
  Broker broker({kStreamName}, proxy.address());
  proxy.SetTarget(broker.direct());
  runtime::SystemClock clock;
  storage::KafkaLog log({broker.bootstrap(), "proxied"});
  Home home(log, clock);
  home.options.report_timeout = absl::Seconds(30);
  home.Run();
  ASSERT_TRUE(home.Answer(Put("before"), "c-0").ok());
  for (int round = 0; round < 3; ++round) {
    const std::string name = "lost " + std::to_string(round);
    proxy.DropAnswers();
    const int64_t dropped = proxy.dropped();
    const Asked asked = home.Ask(Put(name), name);
    // The broker has it, and said so in vain.
    ASSERT_TRUE(WaitUntil([&] { return proxy.dropped() > dropped; }));
    EXPECT_FALSE(asked.answered());
    proxy.Heal();
    const auto outcome = home.Answer(asked);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->reason(), "");
    const auto again = home.Answer(Put(name), name);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->repeated());
    EXPECT_EQ(again->link(), outcome->link());
    const std::vector<Fact> history = History(RecordsOf(log), kStreamName);
    ASSERT_LT(outcome->sequence(), history.size());
    EXPECT_EQ(history[outcome->sequence()].attributes.id.ToHex(), outcome->link());
    EXPECT_EQ(CountOfCommand(history, name), 1);
  }
}

TEST(WritersOnKafka, AWriterRidesThroughABrokerThatIsKilled) {
  Broker broker({kStreamName});
  runtime::SystemClock clock;
  storage::KafkaLog log({broker.bootstrap(), "killed"});
  Home home(log, clock);
  home.options.report_timeout = absl::Seconds(60);
  home.Run();
  std::vector<Asked> asked;
  for (int i = 0; i < 500; ++i)
    asked.push_back(home.Ask(Put(std::to_string(i)), "c-" + std::to_string(i)));
  ASSERT_TRUE(WaitUntil([&] { return asked[0].answered(); }));
  for (int i = 500; i < 1000; ++i)
    asked.push_back(home.Ask(Put(std::to_string(i)), "c-" + std::to_string(i)));
  broker.Kill();
  for (int i = 1000; i < 1500; ++i)
    asked.push_back(home.Ask(Put(std::to_string(i)), "c-" + std::to_string(i)));
  broker.Restart();
  ASSERT_TRUE(WaitUntil([&] {
    return std::all_of(asked.begin(), asked.end(), [](const Asked& one) { return one.answered(); });
  }));
  const std::vector<Fact> history = History(RecordsOf(log), kStreamName);
  EXPECT_EQ(CountOf(history, "ItemPut"), 1500);
  EXPECT_EQ(CountOf(history, "CommandRefused"), 0);
  for (const Asked& one : asked) {
    ASSERT_TRUE(one.outcome().ok()) << one.outcome().status();
    EXPECT_EQ(one.answers(), 1);
    EXPECT_EQ(history[one.outcome()->sequence()].attributes.id.ToHex(), one.outcome()->link());
  }
}

}  // namespace
}  // namespace concordat::test
