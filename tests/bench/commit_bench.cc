// Measures one way to commit on one broker: `raw` librdkafka, Concordat's writer, or the writer
// behind gRPC; and `alone`, the writer over a log in memory that takes everything at once, which is
// what Concordat's own work costs. Closed loop: each of N clients sends its next command when its
// last is answered. Prints one JSON object; tests/bench/commit.py puts the ways side by side,
// docs/performance.md explains them.
#include <absl/synchronization/mutex.h>
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <librdkafka/rdkafka.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "concordat/inventory/v1/api.pb.h"
#include "services/inventory/service.h"
#include "services/runtime/command_api.h"
#include "services/runtime/engine.h"
#include "services/runtime/server.h"
#include "services/runtime/writer.h"
#include "storage/log/kafka.h"
#include "storage/projection/projection.h"

namespace concordat::bench {
namespace {

struct Options {
  std::string mode;
  std::string bootstrap;
  std::string site = "paris";  // the topic is `<site>.inventory.events`
  std::string dir;
  int clients = 1;
  double seconds = 5;
  double warmup = 2;
  runtime::WriterOptions writer;
};

// Latencies of the commands that were answered between warm-up and end.
class Recorder {
 public:
  explicit Recorder(const Options& options)
      : begin_(absl::Now() + absl::Seconds(options.warmup)),
        end_(begin_ + absl::Seconds(options.seconds)) {
    micros_.reserve(4 << 20);
  }
  // One thread at a time. False once the time is over.
  bool Add(absl::Time sent) {
    const absl::Time now = absl::Now();
    if (now >= end_) return false;
    if (now < begin_) return true;
    if (micros_.empty()) cpu_at_begin_ = CpuTime();
    micros_.push_back(static_cast<uint32_t>(absl::ToInt64Microseconds(now - sent)));
    return true;
  }
  absl::Time end() const { return end_; }
  void Print(const Options& options) {
    const absl::Duration cpu = CpuTime() - cpu_at_begin_;
    std::sort(micros_.begin(), micros_.end());
    const auto at = [&](double part) {
      return micros_.empty()
                 ? 0.0
                 : micros_[static_cast<size_t>(part * static_cast<double>(micros_.size() - 1))] /
                       1000.0;
    };
    fmt::print(
        R"({{"mode": "{}", "clients": {}, "commands": {}, "throughput_per_second": {:.1f}, )"
        R"("latency_p50_ms": {:.3f}, "latency_p99_ms": {:.3f}, "cpu_us": {:.1f}}})"
        "\n",
        options.mode, options.clients, micros_.size(),
        static_cast<double>(micros_.size()) / options.seconds, at(0.5), at(0.99),
        absl::ToDoubleMicroseconds(cpu) / static_cast<double>(std::max<size_t>(micros_.size(), 1)));
  }

 private:
  // Of all threads of this process, the clients' among them.
  static absl::Duration CpuTime() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  }

  const absl::Time begin_;
  const absl::Time end_;
  absl::Duration cpu_at_begin_;
  std::vector<uint32_t> micros_;
};

[[noreturn]] void Fail(const std::string& what) {
  fmt::print(stderr, "commit_bench: {}\n", what);
  std::exit(1);
}

// A name that no run before has used: the topic may hold their events.
inventory::v1::Command OrderServer(const Options& options, uint64_t number) {
  static const std::string run = runtime::RandomId().substr(0, 8);
  inventory::v1::Command command;
  auto* order = command.mutable_order_server();
  order->set_name(fmt::format("sites/{}/servers/{}-{}", options.site, run, number));
  order->set_model("models/vera-rubin-nvl144");
  order->set_supplier("Example Systems");
  order->mutable_promised_time()->set_seconds(4102444800);
  return command;
}

void WaitUntilZero(const std::atomic<int>& running) {
  while (running > 0) absl::SleepFor(absl::Milliseconds(10));
}

// A log in memory that takes everything at once and keeps only what a writer reads as it starts.
// One thread: the writer's.
class NoLog final : public storage::Log {
 public:
  std::unique_ptr<storage::LogReader> NewReader() override {
    return std::make_unique<Reader>(*this);
  }
  std::unique_ptr<storage::LogAppender> NewAppender(const std::string& stream) override {
    return std::make_unique<Appender>(*this, stream);
  }
  absl::Status Check(const std::string&, const storage::LogDemands&) override {
    return absl::OkStatus();
  }

 private:
  static constexpr int64_t kKept = 16;
  class Reader final : public storage::LogReader {
   public:
    explicit Reader(const NoLog& log) : log_(log) {}
    absl::Status Assign(const std::string&, int64_t offset) override {
      next_ = offset;
      return absl::OkStatus();
    }
    void Release() override {}
    absl::StatusOr<std::vector<storage::StoredRecord>> Read(size_t, absl::Duration) override {
      std::vector<storage::StoredRecord> records;
      while (next_ < static_cast<int64_t>(log_.first_.size()))
        records.push_back(log_.first_[static_cast<size_t>(next_++)]);
      return records;
    }
    absl::StatusOr<int64_t> End(const std::string&) override { return log_.end_; }
    void Wake() override {}

   private:
    const NoLog& log_;
    int64_t next_ = 0;
  };
  class Appender final : public storage::LogAppender {
   public:
    Appender(NoLog& log, std::string stream) : log_(log), stream_(std::move(stream)) {}
    void Append(events::Record record, uint64_t cookie) override {
      if (log_.end_ < kKept) log_.first_.push_back({stream_, log_.end_, std::move(record)});
      reports_.push_back({cookie, absl::OkStatus(), log_.end_++});
    }
    std::vector<storage::AppendReport> Poll(absl::Duration) override {
      return std::exchange(reports_, {});
    }
    size_t Waiting() const override { return 0; }
    void Reset() override {}
    void Wake() override {}

   private:
    NoLog& log_;
    const std::string stream_;
    std::vector<storage::AppendReport> reports_;
  };
  std::vector<storage::StoredRecord> first_;
  int64_t end_ = 0;
};

// The writer over a log with a projection of its own, and the site and model that the commands
// need.
struct Concordat {
  explicit Concordat(const Options& options) {
    if (options.mode == "alone") {
      log = std::make_unique<NoLog>();
    } else {
      log = std::make_unique<storage::KafkaLog>(storage::KafkaOptions{options.bootstrap, "bench"});
    }
    std::filesystem::remove_all(options.dir);
    auto opened =
        storage::Projection::Open(options.dir, events::StreamName(options.site, "inventory"),
                                  events::Chain::Origin::kHome, "bench");
    if (!opened.ok()) Fail(std::string(opened.status().message()));
    projection = *std::move(opened);
    engine = std::make_unique<runtime::EngineOf<inventory::Service>>(projection->journal());
    runtime::WriterOptions writer_options = options.writer;
    writer_options.site = options.site;
    writer_options.release = "bench";
    writer_options.max_queued = 100000;
    writer_options.demands.home =
        false;  // every way is measured with the broker's own flush settings
    writer = std::make_unique<runtime::Writer>(*engine, *projection, *log, clock, writer_options);
    writer->Run();
    const absl::Status ready = writer->WaitUntilWriting(absl::Seconds(30));
    if (!ready.ok()) Fail(std::string(ready.message()));
    inventory::v1::Command open;
    open.mutable_open_site()->set_name("sites/" + options.site);
    open.mutable_open_site()->set_country("FR");
    open.mutable_open_site()->set_time_zone("Europe/Paris");
    SubmitAndWait(open, runtime::RandomId());
    inventory::v1::Command model;
    auto* request = model.mutable_register_model();
    request->set_name("models/vera-rubin-nvl144");
    request->set_vendor("NVIDIA");
    request->set_accelerators(144);
    request->set_it_power_watts(190000);
    request->set_cooling_watts(190000);
    auto* criterion = request->add_criteria();
    criterion->set_figure("gpu_count");
    criterion->set_minimum(144);
    criterion->set_maximum(144);
    criterion->set_unit("count");
    SubmitAndWait(model, runtime::RandomId());
  }
  ~Concordat() { writer->Stop(); }

  void SubmitAndWait(const inventory::v1::Command& command, const std::string& id) {
    absl::Mutex mutex;
    bool done = false;
    std::string error;
    runtime::Submission submission;
    submission.command = std::make_unique<inventory::v1::Command>(command);
    submission.command_id = id;
    submission.actor = "bench";
    submission.done = [&](absl::StatusOr<type::v1::Outcome> outcome) {
      absl::MutexLock lock(&mutex);
      if (!outcome.ok()) error = std::string(outcome.status().message());
      done = true;
    };
    writer->Submit(std::move(submission));
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&done));
    if (!error.empty()) Fail(error);
  }

  std::unique_ptr<storage::Log> log;
  runtime::SystemClock clock;
  std::unique_ptr<storage::Projection> projection;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::Writer> writer;
};

void Writer(const Options& options) {
  Concordat concordat(options);
  Recorder recorder(options);
  std::atomic<uint64_t> next = 0;
  std::atomic<int> running = options.clients;
  const std::string run = runtime::RandomId();
  std::function<void()> send = [&] {
    const uint64_t number = next++;
    runtime::Submission submission;
    submission.command = std::make_unique<inventory::v1::Command>(OrderServer(options, number));
    submission.command_id = fmt::format("{}-{}", run, number);
    submission.actor = "bench";
    const absl::Time sent = absl::Now();
    submission.done = [&, sent](absl::StatusOr<type::v1::Outcome> outcome) {
      if (!outcome.ok() || !outcome->reason().empty()) Fail("a command was not accepted");
      if (recorder.Add(sent)) {
        send();
      } else {
        --running;
      }
    };
    concordat.writer->Submit(std::move(submission));
  };
  for (int i = 0; i < options.clients; ++i) send();
  WaitUntilZero(running);
  recorder.Print(options);
}

void Grpc(const Options& options) {
  Concordat concordat(options);
  runtime::Server server;
  runtime::AddCommands(server, *concordat.engine, *concordat.writer,
                       [](const std::string&, const std::string&, absl::Duration) {});
  const auto port = server.Start("127.0.0.1:0");
  if (!port.ok()) Fail(std::string(port.status().message()));
  const auto channel =
      grpc::CreateChannel(fmt::format("127.0.0.1:{}", *port), grpc::InsecureChannelCredentials());
  grpc::TemplatedGenericStub<inventory::v1::OrderServerRequest, type::v1::Outcome> stub(channel);
  Recorder recorder(options);
  absl::Mutex mutex;
  std::atomic<uint64_t> next = 0;
  std::atomic<int> running = options.clients;
  const std::string run = runtime::RandomId();
  struct Exchange {
    grpc::ClientContext context;
    inventory::v1::OrderServerRequest request;
    type::v1::Outcome outcome;
  };
  std::function<void()> send = [&] {
    const uint64_t number = next++;
    auto* exchange = new Exchange();
    exchange->request = OrderServer(options, number).order_server();
    exchange->request.mutable_submit()->set_request_id(fmt::format("{}-{}", run, number));
    exchange->context.AddMetadata("concordat-actor", "bench");
    const absl::Time sent = absl::Now();
    stub.UnaryCall(&exchange->context, "/concordat.inventory.v1.InventoryService/OrderServer", {},
                   &exchange->request, &exchange->outcome,
                   [&, exchange, sent](grpc::Status status) {
                     delete exchange;
                     if (!status.ok()) Fail(status.error_message());
                     bool more = false;
                     {
                       absl::MutexLock lock(&mutex);
                       more = recorder.Add(sent);
                     }
                     if (more) {
                       send();
                     } else {
                       --running;
                     }
                   });
  };
  for (int i = 0; i < options.clients; ++i) send();
  WaitUntilZero(running);
  recorder.Print(options);
  server.Stop();
}

// The limit: the same bytes and headers, nothing decided, nothing stored, nothing linked anew.
void Raw(const Options& options) {
  events::Attributes attributes;
  const std::string topic = events::StreamName(options.site, "inventory");
  attributes.source = events::SourceOf(topic);
  attributes.type = "concordat.inventory.v1.ServerOrdered";
  attributes.subject = OrderServer(options, 1000000).order_server().name();
  attributes.time = absl::Now();
  attributes.data_type = "concordat.inventory.v1.Event";
  attributes.sequence = 1000000;
  attributes.writer = runtime::RandomId() + ".1";
  attributes.command_id = runtime::RandomId() + "-1000000";
  attributes.command_digest = runtime::CommandDigest(OrderServer(options, 1000000));
  attributes.correlation_id = attributes.command_id;
  attributes.actor = "bench";
  inventory::v1::Event event;
  event.mutable_server_ordered()->set_name(attributes.subject);
  event.mutable_server_ordered()->set_model("models/vera-rubin-nvl144");
  event.mutable_server_ordered()->set_supplier("Example Systems");
  event.mutable_server_ordered()->mutable_promised_time()->set_seconds(4102444800);
  const events::Record record = events::Seal(attributes, event.SerializeAsString());

  static std::vector<std::pair<uint64_t, bool>> reported;
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char error[256];
  for (const auto& [name, value] : std::vector<std::pair<std::string, std::string>>{
           {"bootstrap.servers", options.bootstrap},
           {"enable.idempotence", "true"},
           {"acks", "all"},
           {"linger.ms", "0"},
           {"socket.nagle.disable", "true"},
           {"queue.buffering.max.messages", "1000000"}}) {
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), error, sizeof(error)) !=
        RD_KAFKA_CONF_OK)
      Fail(error);
  }
  rd_kafka_conf_set_dr_msg_cb(conf, [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
    reported.emplace_back(reinterpret_cast<uint64_t>(message->_private),
                          message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
  });
  rd_kafka_t* producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
  if (producer == nullptr) Fail(error);
  std::vector<absl::Time> sent(static_cast<size_t>(options.clients));
  const auto send = [&](uint64_t client) {
    rd_kafka_headers_t* headers = rd_kafka_headers_new(record.headers.size());
    for (const auto& [name, value] : record.headers) {
      rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                          static_cast<ssize_t>(value.size()));
    }
    sent[client] = absl::Now();
    if (rd_kafka_producev(
            producer, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(0),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_KEY(record.key.data(), record.key.size()),
            RD_KAFKA_V_VALUE(const_cast<char*>(record.data.data()), record.data.size()),
            RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(reinterpret_cast<void*>(client)),
            RD_KAFKA_V_END) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      Fail("cannot produce");
    }
  };
  Recorder recorder(options);
  int running = options.clients;
  for (int i = 0; i < options.clients; ++i) send(static_cast<uint64_t>(i));
  while (running > 0) {
    rd_kafka_poll(producer, 100);
    for (const auto& [client, ok] : reported) {
      if (!ok) Fail("a record was not delivered");
      if (recorder.Add(sent[client])) {
        send(client);
      } else {
        --running;
      }
    }
    reported.clear();
  }
  recorder.Print(options);
  rd_kafka_destroy(producer);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"Measures one way to commit; tests/bench/commit.py runs them side by side."};
  app.add_option("--mode", options.mode)
      ->required()
      ->check(CLI::IsMember({"raw", "writer", "grpc", "alone"}));
  app.add_option("--bootstrap", options.bootstrap);
  app.add_option("--site", options.site,
                 "the topic is <site>.inventory.events; one that is new makes a short start");
  app.add_option("--dir", options.dir, "the projection's directory; it is emptied");
  app.add_option("--clients", options.clients)->check(CLI::Range(1, 100000));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 600.0));
  app.add_option("--warmup", options.warmup)->check(CLI::Range(0.0, 600.0));
  app.add_option("--max-group", options.writer.max_group, "commands decided in one step");
  app.add_option("--max-waiting", options.writer.max_waiting,
                 "events that wait until the log has taken what came before them");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::warn);
  if (options.mode == "raw") {
    Raw(options);
  } else if (options.dir.empty()) {
    Fail("--dir is needed");
  } else if (options.mode == "writer" || options.mode == "alone") {
    Writer(options);
  } else {
    Grpc(options);
  }
  return 0;
}

}  // namespace
}  // namespace concordat::bench

int main(int argc, char** argv) { return concordat::bench::Main(argc, argv); }
