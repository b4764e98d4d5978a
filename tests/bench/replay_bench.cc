// Measures how fast a stream is folded again: reading alone, RocksDB alone taking the same rows
// from memory, and the fold with every link verified and the digest kept, over one embedded log in
// one run. Then how long a process takes to serve after kill -9, and what a row costs.
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "concordat/inventory/v1/api.pb.h"
#include "services/inventory/service.h"
#include "services/runtime/clock.h"
#include "services/runtime/engine.h"
#include "services/runtime/fold.h"
#include "services/runtime/writer.h"
#include "storage/log/embedded.h"
#include "storage/projection/projection.h"
#include "storage/projection/rocksdb_store.h"

namespace concordat::bench {
namespace {

namespace fs = std::filesystem;

constexpr char kStream[] = "paris.inventory.events";
constexpr size_t kChunk = 1000;

[[noreturn]] void Fail(const std::string& what) {
  fmt::print(stderr, "replay_bench: {}\n", what);
  std::exit(1);
}
void Must(const absl::Status& status) {
  if (!status.ok()) Fail(status.ToString());
}
template <typename T>
T Must(absl::StatusOr<T> value) {
  Must(value.status());
  return *std::move(value);
}

// One write of a projection.
using Row = std::pair<std::string, std::optional<std::string>>;
using Rows = std::vector<std::vector<Row>>;

// A store that keeps what was written to it, for RocksDB alone to take again.
class KeepingStore final : public storage::Store {
 public:
  KeepingStore(std::unique_ptr<storage::Store> store, Rows* rows)
      : store_(std::move(store)), rows_(rows) {}
  const std::string& place() const override { return store_->place(); }
  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const override {
    return store_->Get(key);
  }
  absl::Status Scan(
      std::string_view from,
      absl::FunctionRef<bool(std::string_view, std::string_view)> row) const override {
    return store_->Scan(from, row);
  }
  std::unique_ptr<storage::StoreBatch> NewBatch() override {
    return std::make_unique<Batch>(store_->NewBatch());
  }
  absl::Status Write(storage::StoreBatch& batch) override {
    auto& kept = static_cast<Batch&>(batch);
    rows_->push_back(kept.rows);
    return store_->Write(*kept.batch);
  }
  absl::Status Resume() override { return store_->Resume(); }
  absl::Status Flush(bool wait) override { return store_->Flush(wait); }
  std::unique_ptr<storage::StoreReader> Snapshot() override { return store_->Snapshot(); }

 private:
  struct Batch final : storage::StoreBatch {
    explicit Batch(std::unique_ptr<storage::StoreBatch> inner) : batch(std::move(inner)) {}
    void Put(std::string_view key, std::string_view value) override {
      rows.emplace_back(key, std::string(value));
      batch->Put(key, value);
    }
    void Delete(std::string_view key) override {
      rows.emplace_back(key, std::nullopt);
      batch->Delete(key);
    }
    std::unique_ptr<storage::StoreBatch> batch;
    std::vector<Row> rows;
  };
  std::unique_ptr<storage::Store> store_;
  Rows* rows_;
};

// A stream of servers that are ordered, delivered and installed: new rows and changed ones.
void WriteLog(storage::EmbeddedLog& log, int64_t events, const std::string& dir) {
  auto projection =
      Must(storage::Projection::Open(dir, kStream, events::Chain::Origin::kHome, "bench"));
  runtime::EngineOf<inventory::Service> engine(projection->journal());
  runtime::Fold fold(engine, *projection, "paris");
  events::Head head;
  const absl::Time begin = absl::FromUnixSeconds(1'800'000'000);
  std::vector<events::Record> group;
  for (int64_t i = 0; i < events; ++i) {
    inventory::v1::Command command;
    const std::string name = fmt::format("sites/paris/servers/s{}", (i - 2) / 3);
    if (i == 0) {
      command.mutable_open_site()->set_name("sites/paris");
      command.mutable_open_site()->set_country("FR");
      command.mutable_open_site()->set_time_zone("Europe/Paris");
    } else if (i == 1) {
      command.mutable_register_model()->set_name("models/m");
      command.mutable_register_model()->set_vendor("Example Systems");
      command.mutable_register_model()->set_accelerators(8);
      command.mutable_register_model()->set_it_power_watts(1000);
      command.mutable_register_model()->set_cooling_watts(1000);
    } else if (i % 3 == 2) {
      command.mutable_order_server()->set_name(name);
      command.mutable_order_server()->set_model("models/m");
      command.mutable_order_server()->set_supplier("Example Systems");
      command.mutable_order_server()->mutable_promised_time()->set_seconds(4102444800);
    } else if (i % 3 == 0) {
      command.mutable_deliver_server()->set_name(name);
      command.mutable_deliver_server()->set_serial(fmt::format("SN-{}", i));
    } else {
      command.mutable_install_server()->set_name(name);
      command.mutable_install_server()->set_room("a");
      command.mutable_install_server()->set_rack(fmt::format("{}", (i - 2) / 3));
      command.mutable_install_server()->set_position(1);
    }
    runtime::Facts facts{.now = begin + absl::Milliseconds(i),
                         .site = "paris",
                         .command_id = fmt::format("c-{}", i),
                         .subject = {},
                         .actor = "alice",
                         .correlation_id = fmt::format("c-{}", i),
                         .cause = std::nullopt};
    facts.subject = engine.Subject(command, facts);
    const runtime::Decision decision = engine.Decide(command, facts);
    if (!decision.reason.empty()) Fail(fmt::format("event {}: {}", i, decision.detail));
    events::Attributes attributes;
    attributes.source = events::SourceOf(kStream);
    attributes.type = decision.type;
    attributes.subject = facts.subject;
    attributes.time = facts.now;
    attributes.data_type = engine.event_type()->full_name();
    attributes.sequence = static_cast<uint64_t>(head.sequence + 1);
    attributes.parent = head.link;
    attributes.writer = std::string(32, 'a') + ".0";
    attributes.command_id = facts.command_id;
    attributes.correlation_id = facts.correlation_id;
    attributes.command_digest = runtime::CommandDigest(command);
    attributes.actor = facts.actor;
    group.push_back(events::Seal(attributes, decision.event->SerializeAsString()));
    Must(fold.Offer(runtime::Delivery({kStream, i, group.back()})).status());
    fold.TakePending();
    head = projection->chain().head();
    if (group.size() < kChunk && i + 1 < events) continue;
    Must(log.AppendNow(kStream, group).status());
    Must(fold.Commit());
    group.clear();
  }
}

struct Took {
  double seconds = 0;
  int64_t records = 0;
};

Took Consume(storage::EmbeddedLog& log) {
  const absl::Time begin = absl::Now();
  const auto reader = log.NewReader();
  Must(reader->Assign(kStream, 0));
  const int64_t end = log.End(kStream);
  Took took;
  while (took.records < end) {
    took.records += static_cast<int64_t>(Must(reader->Read(kChunk, absl::Seconds(1))).size());
  }
  took.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  return took;
}

Took Fold(storage::EmbeddedLog& log, std::unique_ptr<storage::Store> store, std::string* digest) {
  const absl::Time begin = absl::Now();
  auto projection = Must(
      storage::Projection::Open(std::move(store), kStream, events::Chain::Origin::kHome, "bench"));
  runtime::EngineOf<inventory::Service> engine(projection->journal());
  runtime::Fold fold(engine, *projection, "paris");
  const auto reader = log.NewReader();
  Must(reader->Assign(kStream, 0));
  const int64_t end = log.End(kStream);
  runtime::Deliveries deliveries(*reader, storage::Machine::Real());
  Took took;
  while (took.records < end) {
    const auto read = Must(deliveries.Next(absl::Seconds(1), end));
    for (const runtime::Delivery& delivery : read) {
      if (Must(fold.Offer(delivery)) != events::Outcome::kAccepted)
        Fail("a record of the bench's own log is void");
    }
    took.records += static_cast<int64_t>(read.size());
    fold.TakePending();
    Must(fold.Commit());
  }
  Must(projection->FlushAndWait());
  took.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  *digest = projection->digests().Total().ToHex();
  return took;
}

double Alone(const std::string& dir, const Rows& rows) {
  const absl::Time begin = absl::Now();
  const auto store = Must(storage::OpenRocksDbStore(dir, storage::StoreUse::kRows));
  for (const std::vector<Row>& group : rows) {
    const auto batch = store->NewBatch();
    for (const auto& [key, value] : group) {
      if (value) {
        batch->Put(key, *value);
      } else {
        batch->Delete(key);
      }
    }
    Must(store->Write(*batch));
  }
  Must(store->Flush(true));
  return absl::ToDoubleSeconds(absl::Now() - begin);
}

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident = 0;
  statm >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

uint64_t BytesIn(const std::string& dir) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(dir)) bytes += entry.file_size();
  return bytes;
}

// Serves until it is killed; tells once it decides commands.
int Serve(const std::string& dir) {
  auto log = Must(storage::EmbeddedLog::Open(dir + "/log"));
  auto projection = Must(
      storage::Projection::Open(dir + "/served", kStream, events::Chain::Origin::kHome, "bench"));
  runtime::EngineOf<inventory::Service> engine(projection->journal());
  runtime::SystemClock clock;
  runtime::WriterOptions options;
  options.site = "paris";
  runtime::Writer writer(engine, *projection, *log, clock, options);
  writer.Run();
  Must(writer.WaitUntilWriting(absl::InfiniteDuration()));
  fmt::print("serving {}\n", ResidentBytes());
  std::fflush(stdout);
  pause();
  return 0;
}

struct Served {
  double seconds = 0;
  int64_t resident = 0;
};

Served ServeAndKill(const std::string& dir) {
  int ends[2];
  if (pipe(ends) != 0) Fail("pipe");
  const absl::Time begin = absl::Now();
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    close(ends[0]);
    execl("/proc/self/exe", "replay_bench", "--serve", dir.c_str(), nullptr);
    _exit(1);
  }
  close(ends[1]);
  FILE* said = fdopen(ends[0], "r");
  Served served;
  long long resident = 0;
  if (std::fscanf(said, "serving %lld", &resident) != 1) Fail("the process that serves ended");
  served.resident = resident;
  served.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  std::fclose(said);
  return served;
}

int Main(int argc, char** argv) {
  CLI::App app{"Replay: reading, RocksDB alone, and the fold, over one log in one run."};
  int64_t events = 100'000;
  std::string dir;
  std::string serve;
  app.add_option("--events", events, "events in the stream");
  app.add_option("--dir", dir, "a folder for the run; emptied");
  app.add_option("--serve", serve, "for the bench itself");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::warn);
  if (!serve.empty()) return Serve(serve);
  if (dir.empty()) Fail("--dir is absent, expected a folder that may be emptied");
  fs::remove_all(dir);
  fs::create_directories(dir);
  Served first;
  Served again;
  Took consumed;
  Took folded;
  double alone = 0;
  size_t writes = 0;
  int64_t resident = 0;
  std::string digest;
  {
    auto log = Must(storage::EmbeddedLog::Open(dir + "/log"));
    WriteLog(*log, events, dir + "/written");
    fs::remove_all(dir + "/written");
    Rows rows;
    std::string kept;
    // Keeps the rows, and warms what the three that are measured have in common: the log's files.
    Fold(*log,
         std::make_unique<KeepingStore>(
             Must(storage::OpenRocksDbStore(dir + "/kept", storage::StoreUse::kRows)), &rows),
         &kept);
    fs::remove_all(dir + "/kept");
    for (const auto& group : rows) writes += group.size();
    consumed = Consume(*log);
    alone = Alone(dir + "/alone", rows);
    rows = {};
    const int64_t before = ResidentBytes();
    folded = Fold(*log, Must(storage::OpenRocksDbStore(dir + "/served", storage::StoreUse::kRows)),
                  &digest);
    resident = ResidentBytes() - before;
    if (digest != kept) Fail("two folds of one log came to two digests");
  }
  first = ServeAndKill(dir);
  again = ServeAndKill(dir);
  const uint64_t disk = BytesIn(dir + "/served");
  const double count = static_cast<double>(events);
  fmt::print(
      R"({{"events": {}, "row_writes": {}, "consume_per_second": {:.0f}, )"
      R"("rocksdb_alone_per_second": {:.0f}, "replay_per_second": {:.0f}, )"
      R"("rate_vs_rocksdb": {:.3f}, "rate_vs_consume": {:.3f}, "disk_bytes_per_event": {:.1f}, )"
      R"("resident_growth_bytes": {}, "serving_resident_bytes": {}, "seconds_to_serve": {:.3f}, )"
      R"("seconds_to_serve_after_kill": {:.3f}}})"
      "\n",
      events, writes, count / consumed.seconds, count / alone, count / folded.seconds,
      alone / folded.seconds, consumed.seconds / folded.seconds, static_cast<double>(disk) / count,
      resident, again.resident, first.seconds, again.seconds);
  fs::remove_all(dir);
  return 0;
}

}  // namespace
}  // namespace concordat::bench

int main(int argc, char** argv) { return concordat::bench::Main(argc, argv); }
