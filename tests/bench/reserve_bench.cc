// Measures reservations through Concordat's commit path, without gRPC: closed loop, each of N
// clients asks for one server of a model over a random window and asks again when it is answered.
// Before that the site has 2,000 servers and 200,000 reservations; `--mode data` prints them for
// others to load. Prints one JSON object; tests/bench/reserve.py puts it beside PostgreSQL.
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "services/reservations/service.h"
#include "services/runtime/check.h"
#include "services/runtime/engine.h"
#include "services/runtime/writer.h"
#include "storage/log/embedded.h"
#include "storage/log/kafka.h"
#include "storage/projection/projection.h"

namespace concordat::bench {
namespace {

using reservations::Service;

struct Options {
  std::string mode;
  std::string bootstrap;
  std::string site = "paris";
  std::string dir;
  int servers = 2000;
  int reservations = 200000;
  int clients = 1;
  double seconds = 5;
  double warmup = 2;
};

constexpr int kContracts = 100;
constexpr int kHorizonMinutes = 365 * 24 * 60;
constexpr int kShortest = 60;  // of what the clients ask for, in minutes
constexpr int kLongest = 360;

[[noreturn]] void Fail(const std::string& what) {
  fmt::print(stderr, "reserve_bench: {}\n", what);
  std::exit(1);
}

// In minutes since the opening.
struct Booking {
  int server;
  int start;
  int end;
};

// Every server is booked over some 80% of a year: each slice of the year has one reservation, of
// 60% to 100% of it.
std::vector<Booking> Bookings(const Options& options) {
  std::mt19937_64 random(1);
  const auto between = [&](int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random);
  };
  const int each = options.reservations / options.servers;
  const int slice = kHorizonMinutes / each;
  std::vector<Booking> bookings;
  for (int server = 0; server < options.servers; ++server) {
    const int phase = between(0, slice);  // else all servers would be taken at the same times
    for (int i = 0; i < each; ++i) {
      const int minutes = between(slice * 6 / 10, slice);
      const int start = phase + i * slice + between(0, slice - minutes);
      bookings.push_back({server, start, start + minutes});
    }
  }
  std::shuffle(bookings.begin(), bookings.end(), random);
  return bookings;
}

void PrintData(const Options& options) {
  for (const Booking& booking : Bookings(options))
    fmt::print("{}\t{}\t{}\n", booking.server, booking.start, booking.end);
}

// Latencies of the commands that were answered between warm-up and end.
class Recorder {
 public:
  explicit Recorder(const Options& options)
      : begin_(absl::Now() + absl::Seconds(options.warmup)),
        end_(begin_ + absl::Seconds(options.seconds)) {
    micros_.reserve(4 << 20);
  }
  // One thread at a time. False once the time is over.
  bool Add(absl::Time sent, bool refused) {
    const absl::Time now = absl::Now();
    if (now >= end_) return false;
    if (now < begin_) return true;
    micros_.push_back(static_cast<uint32_t>(absl::ToInt64Microseconds(now - sent)));
    if (refused) ++refused_;
    return true;
  }
  void Print(const Options& options) {
    std::sort(micros_.begin(), micros_.end());
    const auto at = [&](double part) {
      return micros_.empty()
                 ? 0.0
                 : micros_[static_cast<size_t>(part * static_cast<double>(micros_.size() - 1))] /
                       1000.0;
    };
    const double held = static_cast<double>(micros_.size() - refused_);
    fmt::print(R"({{"mode": "{}", "clients": {}, "reservations": {:.0f}, "refused": {}, )"
               R"("throughput_per_second": {:.1f}, "latency_p50_ms": {:.3f}, )"
               R"("latency_p99_ms": {:.3f}}})"
               "\n",
               options.mode, options.clients, held, refused_, held / options.seconds, at(0.5),
               at(0.99));
  }

 private:
  const absl::Time begin_;
  const absl::Time end_;
  std::vector<uint32_t> micros_;
  size_t refused_ = 0;
};

// A writer of reservations over a projection that holds the bookings. They are folded into it
// without the log, which stays as short as the run: what a decision reads is the same.
class Site {
 public:
  explicit Site(const Options& options)
      : options_(options),
        opening_(absl::FromUnixSeconds((absl::ToUnixSeconds(absl::Now()) / 86400 + 1) * 86400)) {
    std::filesystem::remove_all(options.dir);
    OpenLog();
    auto opened = storage::Projection::Open(options.dir + "/projection",
                                            events::StreamName(options.site, "reservations"),
                                            events::Chain::Origin::kHome, "bench");
    if (!opened.ok()) Fail(std::string(opened.status().message()));
    projection_ = *std::move(opened);
    engine_ = std::make_unique<runtime::EngineOf<Service>>(projection_->journal());
    Load();
    // The writer builds the index from the rows; what was kept while they were written is dropped.
    engine_ = std::make_unique<runtime::EngineOf<Service>>(projection_->journal());
    runtime::WriterOptions writer_options;
    writer_options.site = options.site;
    writer_options.release = "bench";
    writer_options.max_queued = 100000;
    writer_options.demands.home = false;  // the topic's flush setting is one of the ways
    writer_ =
        std::make_unique<runtime::Writer>(*engine_, *projection_, *log_, clock_, writer_options);
    writer_->Run();
    const absl::Status ready = writer_->WaitUntilWriting(absl::Minutes(3));
    if (!ready.ok()) Fail(std::string(ready.message()));
  }
  ~Site() { writer_->Stop(); }

  void Submit(runtime::Submission submission) { writer_->Submit(std::move(submission)); }

  reservations::v1::Command Request(std::mt19937_64& random, uint64_t number) const {
    const auto between = [&](int least, int most) {
      return std::uniform_int_distribution<int>(least, most)(random);
    };
    const int start = between(0, kHorizonMinutes);
    reservations::v1::Command command;
    auto& request = *command.mutable_reserve();
    request.set_site(SiteName());
    request.set_contract(ContractName(number % kContracts));
    request.set_model("models/m");
    request.set_count(1);
    request.add_data_classes("public");
    *request.mutable_start_time() = At(start);
    *request.mutable_end_time() = At(start + between(kShortest, kLongest));
    return command;
  }

 private:
  std::string SiteName() const { return "sites/" + options_.site; }
  static std::string ContractName(uint64_t i) {
    return fmt::format("customers/c{}/contracts/main", i);
  }
  google::protobuf::Timestamp At(int minute) const {
    return runtime::ToTimestamp(opening_ + absl::Minutes(minute));
  }

  void OpenLog() {
    if (options_.mode == "kafka") {
      log_ =
          std::make_unique<storage::KafkaLog>(storage::KafkaOptions{options_.bootstrap, "bench"});
      return;
    }
    auto embedded = storage::EmbeddedLog::Open(options_.dir + "/log");
    if (!embedded.ok()) Fail(std::string(embedded.status().message()));
    log_ = *std::move(embedded);
  }

  void Evolve(const reservations::v1::Event& event) {
    const events::Attributes attributes;
    engine_->Evolve(event, attributes,
                    {projection_->chain().stream(), options_.site, options_.site});
  }
  void Store() {
    const absl::Status stored = projection_->Commit(0);
    if (!stored.ok()) Fail(std::string(stored.message()));
    projection_->journal().Begin(0);
  }

  void Load() {
    projection_->journal().Begin(0);
    LoadSite();
    reservations::v1::Event held, confirmed;
    const std::vector<Booking> bookings = Bookings(options_);
    for (size_t i = 0; i < bookings.size(); ++i) {
      Fill(bookings[i], i, *held.mutable_reservation_held());
      confirmed.mutable_reservation_confirmed()->set_name(held.reservation_held().name());
      Evolve(held);
      Evolve(confirmed);
      if (i % 512 == 0) Store();
    }
    Store();
    const absl::Status flushed = projection_->FlushAndWait();
    if (!flushed.ok()) Fail(std::string(flushed.message()));
  }

  void LoadSite() {
    constexpr int64_t kPlenty = int64_t{1} << 50;
    reservations::v1::Event event;
    event.mutable_site_recorded()->set_name(SiteName());
    event.mutable_site_recorded()->set_country("FR");
    Evolve(event);
    auto& envelope = *event.mutable_envelope_recorded();
    envelope.set_site(SiteName());
    envelope.set_it_power_watts(kPlenty);
    envelope.set_cooling_watts(kPlenty);
    Evolve(event);
    for (int i = 0; i < kContracts; ++i) {
      auto& contract = *event.mutable_contract_signed();
      contract.set_name(ContractName(static_cast<uint64_t>(i)));
      contract.set_customer(fmt::format("customers/c{}", i));
      contract.set_country("FR");
      contract.clear_sites();
      contract.add_sites(SiteName());
      contract.clear_data_classes();
      contract.add_data_classes("public");
      contract.set_max_servers_per_site(1 << 30);
      contract.mutable_end_time()->set_seconds(int64_t{1} << 34);
      Evolve(event);
    }
    for (int i = 0; i < options_.servers; ++i) {
      auto& server = *event.mutable_server_recorded();
      server.set_name(ServerName(i));
      server.set_model("models/m");
      server.set_it_power_watts(10000);
      server.set_cooling_watts(9000);
      server.set_bookable(true);
      Evolve(event);
    }
    Store();
  }

  std::string ServerName(int i) const { return fmt::format("{}/servers/s{:04}", SiteName(), i); }

  void Fill(const Booking& booking, size_t number, reservations::v1::ReservationHeld& held) const {
    held.Clear();
    held.set_name(fmt::format("{}/reservations/r-{:032x}", SiteName(), number));
    held.set_it_power_watts(10000);
    held.set_cooling_watts(9000);
    held.add_servers(ServerName(booking.server));
    auto& terms = *held.mutable_terms();
    terms.set_contract(ContractName(number % kContracts));
    terms.set_customer(fmt::format("customers/c{}", number % kContracts));
    terms.set_model("models/m");
    terms.set_count(1);
    terms.add_data_classes("public");
    *terms.mutable_start_time() = At(booking.start);
    *terms.mutable_end_time() = At(booking.end);
    *held.mutable_hold_expires_at() = At(booking.start);
  }

  const Options& options_;
  const absl::Time opening_;
  std::unique_ptr<storage::Log> log_;
  runtime::SystemClock clock_;
  std::unique_ptr<storage::Projection> projection_;
  std::unique_ptr<runtime::EngineOf<Service>> engine_;
  std::unique_ptr<runtime::Writer> writer_;
};

void WaitUntilZero(const std::atomic<int>& running) {
  while (running > 0) absl::SleepFor(absl::Milliseconds(10));
}

void Measure(const Options& options) {
  Site site(options);
  Recorder recorder(options);
  std::atomic<uint64_t> next = 0;
  std::atomic<int> running = options.clients;
  const std::string run = runtime::RandomId();
  // Answers come on one thread, and the first requests are sent before any: one source is enough.
  std::mt19937_64 random(2);
  absl::Mutex mutex;
  std::function<void()> send = [&] {
    const uint64_t number = next++;
    runtime::Submission submission;
    {
      absl::MutexLock lock(&mutex);
      submission.command =
          std::make_unique<reservations::v1::Command>(site.Request(random, number));
    }
    submission.command_id = fmt::format("{}-{}", run, number);
    submission.actor = "bench";
    const absl::Time sent = absl::Now();
    submission.done = [&, sent](absl::StatusOr<type::v1::Outcome> outcome) {
      if (!outcome.ok()) Fail(std::string(outcome.status().message()));
      const bool refused = !outcome->reason().empty();
      if (refused && outcome->reason() != "REASON_NO_CAPACITY")
        Fail(fmt::format("a reservation was refused: {}", outcome->detail()));
      if (recorder.Add(sent, refused)) {
        send();
      } else {
        --running;
      }
    };
    site.Submit(std::move(submission));
  };
  for (int i = 0; i < options.clients; ++i) send();
  WaitUntilZero(running);
  recorder.Print(options);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"Measures reservations through the commit path; tests/bench/reserve.py runs it."};
  app.add_option("--mode", options.mode)
      ->required()
      ->check(CLI::IsMember({"data", "embedded", "kafka"}));
  app.add_option("--bootstrap", options.bootstrap);
  app.add_option("--site", options.site,
                 "the topic is <site>.reservations.events; it must be a new one");
  app.add_option("--dir", options.dir, "log and projection; it is emptied");
  app.add_option("--servers", options.servers)->check(CLI::Range(1, 1000000));
  app.add_option("--reservations", options.reservations)->check(CLI::Range(1, 100000000));
  app.add_option("--clients", options.clients)->check(CLI::Range(1, 100000));
  app.add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 600.0));
  app.add_option("--warmup", options.warmup)->check(CLI::Range(0.0, 600.0));
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::warn);
  if (options.reservations < options.servers) Fail("--reservations must be at least --servers");
  if (options.mode == "data") {
    PrintData(options);
  } else if (options.dir.empty()) {
    Fail("--dir is needed");
  } else {
    Measure(options);
  }
  return 0;
}

}  // namespace
}  // namespace concordat::bench

int main(int argc, char** argv) { return concordat::bench::Main(argc, argv); }
