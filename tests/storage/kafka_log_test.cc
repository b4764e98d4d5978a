// The log on a real Kafka broker: the common contract, the check of a topic's settings, and a
// broker that is killed.
#include "storage/log/kafka.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/storage/log_contract.h"
#include "tests/support/broker.h"
#include "tests/support/wait.h"

namespace concordat::storage {
namespace {

using testing::HasSubstr;

constexpr int kTopics = 40;

std::string TopicName(int number) { return "paris.stream" + std::to_string(number) + ".events"; }

// One broker for all tests of this binary.
test::Broker& TheBroker() {
  static auto* broker = [] {
    std::vector<std::string> topics;
    for (int i = 0; i < kTopics; ++i) topics.push_back(TopicName(i));
    return new test::Broker(topics);
  }();
  return *broker;
}

std::string FreshTopic() {
  static int used = 0;
  EXPECT_LT(used, kTopics) << "raise kTopics";
  return TopicName(used++);
}

class KafkaUnderTest final : public LogUnderTest {
 public:
  KafkaUnderTest() { Restart(); }
  Log& log() override { return *log_; }
  std::string FreshStream() override { return FreshTopic(); }
  void Restart() override {
    log_ = std::make_unique<KafkaLog>(KafkaOptions{TheBroker().bootstrap(), "contract"});
  }

 private:
  std::unique_ptr<KafkaLog> log_;
};

std::unique_ptr<LogUnderTest> MakeKafka() { return std::make_unique<KafkaUnderTest>(); }
INSTANTIATE_TEST_SUITE_P(Kafka, LogContract, testing::Values(&MakeKafka),
                         [](const auto&) { return "Log"; });

KafkaLog NewLog() { return KafkaLog({TheBroker().bootstrap(), "test"}); }

TEST(KafkaLog, RecordsThatRetentionDeletedAreOutOfRange) {
  KafkaLog log = NewLog();
  const std::string stream = FreshTopic();
  AppendAll(*log.NewAppender(stream), {Numbered(0), Numbered(1), Numbered(2)});
  test::DeleteRecords(TheBroker().bootstrap(), stream, 2);
  const auto reader = log.NewReader();
  const absl::Status lost = AwaitError(*reader, stream, 0);
  EXPECT_TRUE(absl::IsOutOfRange(lost)) << lost;
  const auto begin = reader->Begin(stream);
  ASSERT_TRUE(begin.ok()) << begin.status();
  EXPECT_EQ(*begin, 2);
  ASSERT_TRUE(reader->Assign(stream, 2).ok());
  EXPECT_EQ(AwaitRecords(*reader, 1).at(0).record.data, "2");
}

TEST(KafkaLog, ALostStreamIsToldEvenWhileAnotherHasRecords) {
  KafkaLog log = NewLog();
  std::vector<events::Record> many;
  for (int i = 0; i < 2000; ++i) many.push_back(Numbered(i));
  // In both orders, for the records of the one may be handed out together with the error of the
  // other.
  for (const bool lost_first : {true, false}) {
    std::vector<std::string> streams{FreshTopic(), FreshTopic()};
    const std::string& lost = streams[lost_first ? 0 : 1];
    const std::string& busy = streams[lost_first ? 1 : 0];
    AppendAll(*log.NewAppender(lost), {Numbered(0), Numbered(1)});
    AppendAll(*log.NewAppender(busy), many);
    const auto reader = log.NewReader();
    for (const std::string& stream : streams)
      ASSERT_TRUE(reader->Assign(stream, stream == lost ? 9 : 0).ok());
    absl::Status found;
    EXPECT_TRUE(test::WaitUntil(
        [&] {
          const auto records = reader->Read(10'000, absl::Milliseconds(100));
          if (!records.ok() && !absl::IsUnavailable(records.status())) found = records.status();
          return !found.ok();
        },
        absl::Seconds(20)))
        << "the lost stream was never told";
    EXPECT_TRUE(absl::IsOutOfRange(found)) << found;
  }
}

TEST(KafkaLog, ARecordTooLargeForTheTopicIsReportedAndTheNextGoesOn) {
  KafkaLog log = NewLog();
  const auto appender = log.NewAppender(FreshTopic());
  events::Record large = Numbered(0);
  large.data = std::string(1'100'000, 'x');
  appender->Append(large, 1);
  appender->Append(Numbered(1), 2);
  const std::vector<AppendReport> reports = AwaitReports(*appender, 2);
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].cookie, 1u);
  EXPECT_TRUE(absl::IsInvalidArgument(reports[0].status)) << reports[0].status;
  EXPECT_EQ(reports[1].cookie, 2u);
  EXPECT_EQ(reports[1].offset, 0);
}

struct WrongSetting {
  const char* name;     // of the test
  const char* setting;  // as the message names it
  const char* value;    // what was found
  int partitions = 1;
  std::map<std::string, std::string> settings;
};

class KafkaCheck : public testing::TestWithParam<WrongSetting> {};

std::map<std::string, std::string> GoodSettings() {
  return {{"retention.ms", "-1"},
          {"retention.bytes", "-1"},
          {"cleanup.policy", "delete"},
          {"flush.messages", "1"}};
}

TEST_P(KafkaCheck, NamesTheWrongSettingAndWhatWasFound) {
  KafkaLog log = NewLog();
  const std::string topic = std::string("check.") + GetParam().name + ".events";
  auto settings = GoodSettings();
  for (const auto& [name, value] : GetParam().settings) settings[name] = value;
  test::CreateTopic(TheBroker().bootstrap(), topic, GetParam().partitions, settings);
  absl::Status status;
  ASSERT_TRUE(test::WaitUntil([&] {  // the broker shows a new topic after a while
    status = log.Check(topic, {});
    return absl::IsFailedPrecondition(status);
  })) << status;
  const std::string message(status.message());
  EXPECT_THAT(message, HasSubstr(topic));
  EXPECT_THAT(message, HasSubstr(std::string(GetParam().setting) + " is " + GetParam().value +
                                 ", expected"));
}

INSTANTIATE_TEST_SUITE_P(
    Settings, KafkaCheck,
    testing::Values(
        WrongSetting{"time", "retention.ms", "86400000", 1, {{"retention.ms", "86400000"}}},
        WrongSetting{"bytes", "retention.bytes", "1000000", 1, {{"retention.bytes", "1000000"}}},
        WrongSetting{"compact", "cleanup.policy", "compact", 1, {{"cleanup.policy", "compact"}}},
        WrongSetting{
            "both", "cleanup.policy", "compact,delete", 1, {{"cleanup.policy", "compact,delete"}}},
        WrongSetting{"partitions", "the number of partitions", "2", 2, {}},
        WrongSetting{"size", "max.message.bytes", "999999", 1, {{"max.message.bytes", "999999"}}},
        WrongSetting{"unclean",
                     "unclean.leader.election.enable",
                     "true",
                     1,
                     {{"unclean.leader.election.enable", "true"}}},
        WrongSetting{"flush", "flush.messages", "1000", 1, {{"flush.messages", "1000"}}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(KafkaLog, TheCheckNamesReplicationAndInsyncReplicasThatAProfileDemands) {
  KafkaLog log = NewLog();
  const std::string topic = FreshTopic();
  const absl::Status replicas =
      log.Check(topic, {.replication = 3, .min_insync_replicas = 1, .home = true});
  EXPECT_TRUE(absl::IsFailedPrecondition(replicas)) << replicas;
  EXPECT_THAT(std::string(replicas.message()),
              HasSubstr("the replication factor is 1, expected at least 3"));
  const absl::Status insync =
      log.Check(topic, {.replication = 1, .min_insync_replicas = 2, .home = true});
  EXPECT_TRUE(absl::IsFailedPrecondition(insync)) << insync;
  EXPECT_THAT(std::string(insync.message()),
              HasSubstr("min.insync.replicas is 1, expected at least 2"));
}

TEST(KafkaLog, AMirroredTopicNeedNotBeFlushedByEveryRecord) {
  KafkaLog log = NewLog();
  auto settings = GoodSettings();
  settings.erase("flush.messages");
  test::CreateTopic(TheBroker().bootstrap(), "check.mirrored.events", 1, settings);
  absl::Status status;
  EXPECT_TRUE(test::WaitUntil([&] {
    status = log.Check("check.mirrored.events",
                       {.replication = 1, .min_insync_replicas = 1, .home = false});
    return status.ok();
  })) << status;
  EXPECT_TRUE(absl::IsFailedPrecondition(log.Check("check.mirrored.events", {})));
}

TEST(KafkaLog, AMissingTopicIsNotFoundAndNotCreated) {
  KafkaLog log = NewLog();
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = log.Check("check.missing.events", {});
    EXPECT_TRUE(absl::IsNotFound(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("check.missing.events"));
  }
}

// A broker that is starting, or too busy, leaves a client without the partitions that it asks
// about.
TEST(KafkaLog, APartitionThatNoBrokerHasToldOfIsUnavailable) {
  const auto reader = NewLog().NewReader();
  const absl::Status status = reader->End("untold.stream.events").status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST(KafkaLog, WithoutABrokerTheLogIsUnavailable) {
  KafkaLog log({"127.0.0.1:" + std::to_string(test::FreePort()), "test"});
  const absl::Status status = log.Check("paris.stream.events", {});
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::IsUnavailable(log.NewReader()->End("paris.stream.events").status()));
}

// Whoever asks must be able to go on, and to stop.
TEST(KafkaLog, TheEndIsUnavailableWhereABrokerThatWasThereIsGone) {
  const std::string stream = "gone.stream.events";
  test::Broker broker({stream});
  KafkaLog log({broker.bootstrap(), "test"});
  const auto reader = log.NewReader();
  ASSERT_TRUE(test::WaitUntil([&] { return reader->End(stream).value_or(-1) == 0; }));
  broker.Kill();
  const absl::StatusOr<int64_t> end = reader->End(stream);
  EXPECT_TRUE(absl::IsUnavailable(end.status())) << end.status();
}

TEST(KafkaLog, AppendsRideThroughABrokerThatIsKilledAndStartedAgain) {
  KafkaLog log = NewLog();
  const std::string stream = FreshTopic();
  const auto appender = log.NewAppender(stream);
  const auto reader = log.NewReader();
  ASSERT_TRUE(reader->Assign(stream, 0).ok());
  std::vector<AppendReport> reports;
  std::vector<StoredRecord> read;
  int appended = 0;
  const auto append = [&](int count) {
    for (int i = 0; i < count; ++i, ++appended)
      appender->Append(Numbered(appended), static_cast<uint64_t>(appended));
  };
  const auto poll = [&] {
    for (AppendReport& report : appender->Poll(absl::Milliseconds(20)))
      reports.push_back(std::move(report));
    auto records = reader->Read(10'000, absl::Milliseconds(1));
    if (!records.ok()) return;
    for (StoredRecord& record : *records) read.push_back(std::move(record));
  };
  append(3000);
  ASSERT_TRUE(test::WaitUntil([&] {
    poll();
    return !reports.empty();
  }));
  append(3000);  // some are on their way when the broker dies
  TheBroker().Kill();
  append(3000);
  poll();
  TheBroker().Restart();
  append(3000);
  ASSERT_TRUE(test::WaitUntil([&] {
    poll();
    return reports.size() >= static_cast<size_t>(appended) && read.size() >= reports.size();
  })) << reports.size()
      << " reports and " << read.size() << " records of " << appended;
  ASSERT_EQ(reports.size(), static_cast<size_t>(appended));
  for (int i = 0; i < appended; ++i) {
    const AppendReport& report = reports[static_cast<size_t>(i)];
    ASSERT_EQ(report.cookie, static_cast<uint64_t>(i));
    ASSERT_TRUE(report.status.ok()) << report.status;
    ASSERT_TRUE(report.offset == i || report.offset == -1) << report.offset;
    ASSERT_EQ(read[static_cast<size_t>(i)].offset, i);
    ASSERT_EQ(read[static_cast<size_t>(i)].record.data, std::to_string(i));
  }
}

}  // namespace
}  // namespace concordat::storage

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  delete &concordat::storage::TheBroker();
  return result;
}
