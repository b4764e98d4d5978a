#include "storage/log/kafka.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <utility>

#include "storage/log/group_appender.h"

namespace concordat::storage {
namespace {

constexpr int32_t kPartition = 0;
constexpr int kMetadataTimeoutMs = 5000;
// The largest event with its attributes fits.
constexpr int kLeastMessageBytes = 1'000'000;

// The one place where librdkafka's errors become ours.
absl::Status FromKafka(rd_kafka_resp_err_t error, std::string_view doing) {
  const std::string message =
      fmt::format("{}: {} ({})", doing, rd_kafka_err2str(error), rd_kafka_err2name(error));
  switch (static_cast<int>(error)) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return absl::OkStatus();
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
      return absl::OutOfRangeError(message);
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
      return absl::NotFoundError(message);
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      return absl::PermissionDeniedError(message);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
      return absl::InvalidArgumentError(message);
    // Among them _UNKNOWN_PARTITION: not what a broker says, but that none has told this client
    // yet.
    default:
      return absl::UnavailableError(message);
  }
}

struct Destroy {
  void operator()(rd_kafka_t* client) const { rd_kafka_destroy(client); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
};
template <typename T>
using Handle = std::unique_ptr<T, Destroy>;

void LogLine(const rd_kafka_t*, int level, const char* facility, const char* text) {
  if (level <= 3) {
    spdlog::warn("kafka {}: {}", facility, text);
  } else {
    spdlog::debug("kafka {}: {}", facility, text);
  }
}

using Settings = std::map<std::string, std::string>;

// A setting that librdkafka does not take is a programmer's error: stop at once.
Handle<rd_kafka_t> NewClient(rd_kafka_type_t type, const KafkaOptions& options,
                             const Settings& settings, void* opaque = nullptr,
                             void (*on_report)(rd_kafka_t*, const rd_kafka_message_t*,
                                               void*) = nullptr) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char error[512];
  Settings all = settings;
  all["bootstrap.servers"] = options.bootstrap_servers;
  all["client.id"] = options.client_id;
  all["socket.nagle.disable"] = "true";
  all["log.connection.close"] = "false";
  all["topic.metadata.refresh.interval.ms"] = "60000";
  all["reconnect.backoff.ms"] = "50";
  all["reconnect.backoff.max.ms"] = "1000";
  for (const auto& [name, value] : all) {
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error, sizeof(error)) !=
        RD_KAFKA_CONF_OK) {
      spdlog::critical("librdkafka does not take {}={}: {}", name, value, error);
      std::abort();
    }
  }
  rd_kafka_conf_set_log_cb(conf, LogLine);
  rd_kafka_conf_set_opaque(conf, opaque);
  // Without a delivery report callback, flushing waits in steps of 10 ms.
  if (on_report != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, on_report);
  rd_kafka_t* client = rd_kafka_new(type, conf, error, sizeof(error));
  if (client == nullptr) {
    spdlog::critical("librdkafka cannot start: {}", error);
    std::abort();
  }
  return Handle<rd_kafka_t>(client);
}

events::Record RecordOf(const rd_kafka_message_t& message) {
  events::Record record;
  if (message.key != nullptr)
    record.key.assign(static_cast<const char*>(message.key), message.key_len);
  if (message.payload != nullptr)
    record.data.assign(static_cast<const char*>(message.payload), message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* name = nullptr;
    const void* value = nullptr;
    size_t size = 0;
    for (size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
         ++i) {
      record.headers.Add(name, value == nullptr
                                   ? std::string_view()
                                   : std::string_view(static_cast<const char*>(value), size));
    }
  }
  return record;
}

// What came in place of a record.
absl::Status ErrorOf(const rd_kafka_message_t& message) {
  const char* found = rd_kafka_message_errstr(&message);
  if (message.err == RD_KAFKA_RESP_ERR__BAD_MSG && message.rkt != nullptr) {
    return absl::DataLossError(fmt::format(
        "{}: the records from offset {} on cannot be read, because bits have changed on the "
        "broker's disk ({}); see docs/runbooks/ConcordatLogLost.md",
        rd_kafka_topic_name(message.rkt), message.offset, found));
  }
  return FromKafka(message.err, fmt::format("cannot read: {}", found));
}

class KafkaReader final : public LogReader {
 public:
  explicit KafkaReader(const KafkaOptions& options)
      : client_(NewClient(RD_KAFKA_CONSUMER, options,
                          {{"group.id", "unused-positions-are-ours"},
                           {"enable.auto.commit", "false"},
                           {"enable.auto.offset.store", "false"},
                           {"auto.offset.reset", "error"},
                           {"enable.partition.eof", "false"},
                           {"isolation.level", "read_uncommitted"},
                           {"check.crcs", "true"},
                           {"fetch.wait.max.ms", "50"},
                           {"fetch.error.backoff.ms", "50"},
                           {"queued.max.messages.kbytes", "16384"}})) {
    rd_kafka_poll_set_consumer(client_.get());
    queue_.reset(rd_kafka_queue_get_consumer(client_.get()));
  }
  ~KafkaReader() override {
    queue_.reset();
    rd_kafka_consumer_close(client_.get());
  }

  absl::Status Assign(const std::string& stream, int64_t offset) override {
    std::erase_if(positions_, [&](const auto& position) { return position.first == stream; });
    positions_.emplace_back(stream, offset);
    assigned_ = false;
    untold_ = absl::OkStatus();
    return absl::OkStatus();
  }

  void Release() override {
    positions_.clear();
    untold_ = absl::OkStatus();
    rd_kafka_assign(client_.get(), nullptr);
  }

  absl::StatusOr<std::vector<StoredRecord>> Read(size_t limit, absl::Duration wait) override {
    if (!assigned_) {
      const absl::Status status = AssignAll();
      if (!status.ok()) return status;
    }
    if (!untold_.ok()) return std::exchange(untold_, absl::OkStatus());
    std::vector<StoredRecord> records;
    int timeout = static_cast<int>(absl::ToInt64Milliseconds(wait));
    while (records.size() < limit) {
      const Handle<rd_kafka_message_t> message(rd_kafka_consumer_poll(client_.get(), timeout));
      timeout = 0;
      if (message == nullptr) break;
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const absl::Status status = ErrorOf(*message);
        if (absl::IsUnavailable(status)) break;  // librdkafka reconnects by itself
        if (records.empty()) return status;
        // What could be read before it is handed out first; librdkafka tells an error only once.
        untold_ = status;
        break;
      }
      const std::string stream = rd_kafka_topic_name(message->rkt);
      for (auto& position : positions_) {
        if (position.first == stream) position.second = message->offset + 1;
      }
      records.push_back({stream, message->offset, RecordOf(*message)});
    }
    return records;
  }

  absl::StatusOr<int64_t> End(const std::string& stream) override {
    return Bound(stream, RD_KAFKA_OFFSET_END, "end");
  }

  absl::StatusOr<int64_t> Begin(const std::string& stream) override {
    return Bound(stream, RD_KAFKA_OFFSET_BEGINNING, "beginning");
  }

  void Wake() override { rd_kafka_queue_yield(queue_.get()); }

 private:
  absl::StatusOr<int64_t> Bound(const std::string& stream, int64_t which, const char* name) {
    // rd_kafka_query_watermark_offsets() would do, but before librdkafka 2.3 it waits for a broker
    // that is gone for as long as that is so, whatever its time-out.
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t* bound =
        rd_kafka_topic_partition_list_add(list, stream.c_str(), kPartition);
    bound->offset = which;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(client_.get(), list, kMetadataTimeoutMs);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = bound->err;
    const int64_t offset = bound->offset;
    rd_kafka_topic_partition_list_destroy(list);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
      return FromKafka(error, fmt::format("cannot ask for the {} of {}", name, stream));
    if (offset < 0)
      return absl::UnavailableError(fmt::format("no broker told the {} of {}", name, stream));
    return offset;
  }

  absl::Status AssignAll() {
    rd_kafka_topic_partition_list_t* list =
        rd_kafka_topic_partition_list_new(static_cast<int>(positions_.size()));
    for (const auto& [stream, offset] : positions_) {
      rd_kafka_topic_partition_list_add(list, stream.c_str(), kPartition)->offset = offset;
    }
    const rd_kafka_resp_err_t error = rd_kafka_assign(client_.get(), list);
    rd_kafka_topic_partition_list_destroy(list);
    assigned_ = error == RD_KAFKA_RESP_ERR_NO_ERROR;
    return FromKafka(error, "cannot assign streams");
  }

  Handle<rd_kafka_t> client_;
  Handle<rd_kafka_queue_t> queue_;
  std::vector<std::pair<std::string, int64_t>> positions_;
  bool assigned_ = false;
  absl::Status untold_;  // came after records that were handed out first
};

// That groups come one at a time is what Kafka needs too: an idempotent librdkafka sends no second
// request while more than five records of a partition are without a report (it counts records where
// the protocol counts requests), and until it may its thread spins.
class KafkaTarget final : public GroupTarget {
 public:
  KafkaTarget(const KafkaOptions& options, std::string stream)
      : options_(options), stream_(std::move(stream)) {
    Start();
  }
  ~KafkaTarget() override { Stop(); }

  void Begin(Group group) override {
    for (const auto& [record, cookie] : group) Produce(record, cookie);
    lingers_ = true;
  }

  std::vector<AppendReport> Await(absl::Duration wait) override {
    int timeout = reports_.empty() ? static_cast<int>(absl::ToInt64Milliseconds(wait)) : 0;
    if (timeout > 0 && std::exchange(lingers_, false)) {
      // Sends at once what lingers. Not for the whole wait: it returns with the last report, and
      // swallows what would interrupt it.
      constexpr int kFlush = 1;
      rd_kafka_flush(producer_.get(), kFlush);
      timeout = reports_.empty() && !interrupted_.exchange(false) ? timeout - kFlush : 0;
    }
    rd_kafka_poll(producer_.get(), timeout);
    interrupted_ = false;
    return std::exchange(reports_, {});
  }

  void Interrupt() override {
    interrupted_ = true;
    rd_kafka_queue_yield(queue_.get());
  }

  void Reset() override {
    Stop();
    Start();
  }

 private:
  void Produce(const events::Record& record, uint64_t cookie) {
    rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers.size());
    for (const auto& [name, value] : record.headers) {
      rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                          static_cast<ssize_t>(value.size()));
    }
    const rd_kafka_resp_err_t error = rd_kafka_producev(
        producer_.get(), RD_KAFKA_V_TOPIC(stream_.c_str()), RD_KAFKA_V_PARTITION(kPartition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(record.key.data(), record.key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(record.data.data()), record.data.size()),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(reinterpret_cast<void*>(cookie)),
        RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return;
    rd_kafka_headers_destroy(headers);
    reports_.push_back({cookie, FromKafka(error, fmt::format("cannot append to {}", stream_)), -1});
  }

  static void OnReport(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    auto* self = static_cast<KafkaTarget*>(opaque);
    const auto cookie = reinterpret_cast<uint64_t>(message->_private);
    // A status costs an allocation only where there is an error to describe.
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      self->reports_.push_back({cookie, absl::OkStatus(), message->offset});
    } else {
      self->reports_.push_back(
          {cookie, FromKafka(message->err, fmt::format("cannot append to {}", self->stream_)), -1});
    }
  }

  void Start() {
    producer_ = NewClient(RD_KAFKA_PRODUCER, options_,
                          {{"enable.idempotence", "true"},
                           {"acks", "all"},
                           {"enable.gapless.guarantee", "true"},
                           {"message.timeout.ms", "0"},  // no expiry: an outcome is never guessed
                           // Longer than it takes to hand over a group, which is to be one request.
                           {"linger.ms", "0.5"},
                           {"message.max.bytes", "1000000"},
                           {"queue.buffering.max.messages", "1000000"},
                           {"batch.num.messages", "10000"}},
                          this, &OnReport);
    queue_.reset(rd_kafka_queue_get_main(producer_.get()));
  }

  void Stop() {
    queue_.reset();
    // What is on its way to the broker may still come to stand in the log; nobody waits for it.
    rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                        RD_KAFKA_PURGE_F_NON_BLOCKING);
    rd_kafka_poll(producer_.get(), 0);
    producer_.reset();
    reports_.clear();
  }

  const KafkaOptions options_;
  const std::string stream_;
  Handle<rd_kafka_t> producer_;
  Handle<rd_kafka_queue_t> queue_;
  std::vector<AppendReport> reports_;
  bool lingers_ = false;  // librdkafka has not been told yet to send at once
  std::atomic<bool> interrupted_ = false;
};

absl::Status Wrong(const std::string& stream, std::string_view setting, std::string_view found,
                   std::string_view expected) {
  return absl::FailedPreconditionError(fmt::format(
      "topic {}: {} is {}, expected {}; change it with kafka-configs.sh --alter --topic {} and "
      "start again",
      stream, setting, found, expected, stream));
}

absl::StatusOr<Settings> TopicSettings(rd_kafka_t* client, const std::string& stream) {
  const Handle<rd_kafka_queue_t> queue(rd_kafka_queue_new(client));
  rd_kafka_ConfigResource_t* resource =
      rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, stream.c_str());
  rd_kafka_DescribeConfigs(client, &resource, 1, nullptr, queue.get());
  rd_kafka_ConfigResource_destroy(resource);
  const Handle<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), 2 * kMetadataTimeoutMs));
  if (event == nullptr)
    return absl::UnavailableError(fmt::format("no answer about the settings of {}", stream));
  const auto* result = rd_kafka_event_DescribeConfigs_result(event.get());
  if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR || result == nullptr) {
    return FromKafka(rd_kafka_event_error(event.get()),
                     fmt::format("cannot read the settings of {}", stream));
  }
  Settings settings;
  size_t resources = 0;
  const auto** found = rd_kafka_DescribeConfigs_result_resources(result, &resources);
  for (size_t i = 0; i < resources; ++i) {
    if (rd_kafka_ConfigResource_error(found[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return FromKafka(rd_kafka_ConfigResource_error(found[i]),
                       fmt::format("cannot read the settings of {}", stream));
    }
    size_t entries = 0;
    const auto** entry = rd_kafka_ConfigResource_configs(found[i], &entries);
    for (size_t j = 0; j < entries; ++j) {
      const char* value = rd_kafka_ConfigEntry_value(entry[j]);
      settings[rd_kafka_ConfigEntry_name(entry[j])] = value == nullptr ? "" : value;
    }
  }
  return settings;
}

}  // namespace

KafkaLog::KafkaLog(KafkaOptions options) : options_(std::move(options)) {}

std::unique_ptr<LogReader> KafkaLog::NewReader() { return std::make_unique<KafkaReader>(options_); }

std::unique_ptr<LogAppender> KafkaLog::NewAppender(const std::string& stream) {
  return std::make_unique<GroupAppender>(std::make_unique<KafkaTarget>(options_, stream));
}

absl::Status KafkaLog::Check(const std::string& stream, const LogDemands& demands) {
  const Handle<rd_kafka_t> client = NewClient(RD_KAFKA_PRODUCER, options_, {});
  const rd_kafka_metadata_t* metadata = nullptr;
  rd_kafka_topic_t* topic = rd_kafka_topic_new(client.get(), stream.c_str(), nullptr);
  rd_kafka_resp_err_t error =
      rd_kafka_metadata(client.get(), 0, topic, &metadata, kMetadataTimeoutMs);
  rd_kafka_topic_destroy(topic);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return FromKafka(error,
                     fmt::format("cannot reach the brokers at {}", options_.bootstrap_servers));
  }
  error = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
  const int partitions =
      error == RD_KAFKA_RESP_ERR_NO_ERROR ? metadata->topics[0].partition_cnt : 0;
  const int replicas = partitions > 0 ? metadata->topics[0].partitions[0].replica_cnt : 0;
  rd_kafka_metadata_destroy(metadata);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return FromKafka(error, fmt::format("topic {}: create it with one partition, retention.ms=-1, "
                                        "retention.bytes=-1 and cleanup.policy=delete",
                                        stream));
  }
  if (partitions != 1)
    return Wrong(stream, "the number of partitions", std::to_string(partitions), "1");
  if (replicas < demands.replication) {
    return Wrong(stream, "the replication factor", std::to_string(replicas),
                 fmt::format("at least {}", demands.replication));
  }
  const absl::StatusOr<Settings> settings = TopicSettings(client.get(), stream);
  if (!settings.ok()) return settings.status();
  const auto value = [&](const char* name) {
    const auto found = settings->find(name);
    return found == settings->end() ? std::string("absent") : found->second;
  };
  for (const auto& [name, expected] :
       Settings{{"retention.ms", "-1"}, {"retention.bytes", "-1"}, {"cleanup.policy", "delete"}}) {
    if (value(name.c_str()) != expected) return Wrong(stream, name, value(name.c_str()), expected);
  }
  if (std::atoi(value("min.insync.replicas").c_str()) < demands.min_insync_replicas) {
    return Wrong(stream, "min.insync.replicas", value("min.insync.replicas"),
                 fmt::format("at least {}", demands.min_insync_replicas));
  }
  if (std::atoll(value("max.message.bytes").c_str()) < kLeastMessageBytes) {
    return Wrong(stream, "max.message.bytes", value("max.message.bytes"),
                 fmt::format("at least {}", kLeastMessageBytes));
  }
  if (value("unclean.leader.election.enable") != "false") {
    return Wrong(stream, "unclean.leader.election.enable", value("unclean.leader.election.enable"),
                 "false, for a replica that was behind would lose what was acknowledged");
  }
  // Where one broker alone may acknowledge, it has no replica to recover from: what it acknowledged
  // must be on its disk.
  const bool alone = replicas == 1 || value("min.insync.replicas") == "1";
  if (demands.home && alone && value("flush.messages") != "1") {
    return Wrong(stream, "flush.messages", value("flush.messages"),
                 replicas == 1 ? "1, for the topic has a single replica"
                               : "1, for with min.insync.replicas 1 a single replica acknowledges");
  }
  return absl::OkStatus();
}

}  // namespace concordat::storage
