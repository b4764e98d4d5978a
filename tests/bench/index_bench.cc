// Measures the availability index over 10,000 servers as reservations grow in number, through the
// rows that it is derived from: Evolve over a projection on disk. Prints one JSON object a number
// of reservations and a table; docs/performance.md explains the columns. Nothing here is a test.
#include <absl/time/time.h>
#include <fmt/format.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "services/reservations/service.h"
#include "services/runtime/check.h"
#include "storage/projection/projection.h"
#include "storage/projection/rocksdb_store.h"

namespace concordat::bench {
namespace {

using reservations::Index;
using reservations::Service;
using reservations::Span;

constexpr int kServers = 10000;
constexpr int kServersOfDomain = 18;
constexpr size_t kWanted = 8;
const absl::Time kOpening = absl::FromUnixSeconds(1798761600);  // 2027-01-01T00:00:00Z, a Friday
constexpr absl::Duration kHorizon = absl::Hours(24 * 875);

struct Options {
  std::string dir;
  std::vector<int> reservations = {10000, 100000, 1000000};
  std::vector<std::string> loads = {"mixed", "office"};
  int queries = 2000;
};

// The memory of the process: indexes, caches and buffers of the rows on disk, and what the
// allocator keeps.
size_t ResidentBytes() {
  size_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * 4096;
}

// What was allocated and not given back; zero where the allocator does not tell.
extern "C" int mallctl(const char*, void*, size_t*, void*, size_t) __attribute__((weak));
size_t AllocatedBytes() {
  if (mallctl == nullptr) return 0;
  uint64_t epoch = 1;
  size_t size = sizeof(epoch);
  mallctl("epoch", &epoch, &size, &epoch, size);
  size_t allocated = 0;
  size = sizeof(allocated);
  mallctl("stats.allocated", &allocated, &size, nullptr, 0);
  return allocated;
}

// The processor's time of this thread: who else is on the machine counts as little as may be.
int64_t ThreadNanos() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

// What is measured, in microseconds.
struct Latency {
  std::vector<double> micros;
  void Time(const std::function<void()>& body) {
    const int64_t begin = ThreadNanos();
    body();
    micros.push_back(static_cast<double>(ThreadNanos() - begin) / 1000.0);
  }
  double At(double part) {
    std::sort(micros.begin(), micros.end());
    return micros.empty()
               ? 0
               : micros[static_cast<size_t>(part * static_cast<double>(micros.size() - 1))];
  }
};

std::string ServerName(int number) { return fmt::format("sites/paris/servers/s{:05}", number); }

// Until when a server's reservations reach: with `even` further the more there are, so that a
// server is taken as much of the time whatever their number.
absl::Duration HorizonOf(const std::string& load, int count) {
  constexpr int kFull = 100;
  return load == "even" ? kHorizon / kFull * count : kHorizon;
}

// Spans of one server that do not overlap. `mixed`: an hour to two weeks, a week and a little
// between them where the horizon is full, from any minute on. `even`: the same, always as full.
// `office`: 09:00 to 17:00 of working
// days, from the opening on, every server on the same days.
std::vector<Span> SpansOf(const std::string& load, int count, std::mt19937_64& random) {
  std::vector<Span> spans;
  if (load == "office") {
    for (int day = 0; static_cast<int>(spans.size()) < count; ++day) {
      if (day % 7 == 1 || day % 7 == 2) continue;
      const absl::Time midnight = kOpening + absl::Hours(24) * day;
      spans.push_back({midnight + absl::Hours(9), midnight + absl::Hours(17)});
    }
    return spans;
  }
  const int64_t slice = absl::ToInt64Minutes(HorizonOf(load, count)) / count;
  // Else all servers would be taken at the same times.
  const int64_t phase = std::uniform_int_distribution<int64_t>(0, slice)(random);
  for (int i = 0; i < count; ++i) {
    const int64_t longest = std::min<int64_t>(slice - 1, 14 * 24 * 60);
    const int64_t minutes =
        std::uniform_int_distribution<int64_t>(longest * 3 / 5, longest)(random);
    const int64_t offset = std::uniform_int_distribution<int64_t>(0, slice - minutes)(random);
    const absl::Time start = kOpening + absl::Minutes(phase + slice * i + offset);
    spans.push_back({start, start + absl::Minutes(minutes)});
  }
  return spans;
}

// Reservations' rows on disk and their index, as a writer has them.
class Site {
 public:
  explicit Site(const std::string& dir) {
    std::filesystem::remove_all(dir);
    auto opened = storage::Projection::Open(dir, "paris.reservations.events",
                                            events::Chain::Origin::kHome, "bench");
    if (!opened.ok()) {
      fmt::print(stderr, "index_bench: {}\n", opened.status().ToString());
      std::exit(1);
    }
    projection_ = *std::move(opened);
    state_ = std::make_unique<Service::State>(projection_->journal());
    projection_->journal().Observe([this](const storage::Change& change) {
      if (!storage::TableOf(change.key).empty()) state_->index.Apply(change);
    });
  }

  void Evolve(const reservations::v1::Event& event) {
    events::Attributes attributes;
    projection_->journal().Begin(++sequence_);
    Service::Evolve(state_->rows, {event, "paris.reservations.events", "paris", "paris", sequence_,
                                   kOpening, attributes.id, attributes});
    if (sequence_ % 512 == 0) Commit();
  }
  void Commit() {
    const absl::Status stored = projection_->Commit(sequence_);
    if (!stored.ok()) {
      fmt::print(stderr, "index_bench: {}\n", stored.ToString());
      std::exit(1);
    }
  }
  const Service::State& state() const { return *state_; }
  void Rebuild(Index& index) const {
    projection_->Scan("", [&](std::string_view key, std::string_view value) {
      if (!storage::TableOf(key).empty()) index.Apply({key, std::nullopt, value});
      return true;
    });
  }

  void Open() {
    reservations::v1::Event event;
    event.mutable_site_recorded()->set_name("sites/paris");
    event.mutable_site_recorded()->set_country("FR");
    Evolve(event);
    auto& envelope = *event.mutable_envelope_recorded();
    envelope.set_site("sites/paris");
    envelope.set_it_power_watts(int64_t{1} << 50);
    envelope.set_cooling_watts(int64_t{1} << 50);
    Evolve(event);
    auto& contract = *event.mutable_contract_signed();
    for (int i = 0; i < kContracts; ++i) {
      contract.set_name(ContractName(i));
      contract.set_customer(fmt::format("customers/c{:03}", i));
      contract.set_country("FR");
      contract.clear_sites();
      contract.add_sites("sites/paris");
      contract.clear_data_classes();
      contract.add_data_classes("public");
      contract.set_max_servers_per_site(1 << 30);
      contract.mutable_end_time()->set_seconds(int64_t{1} << 34);
      Evolve(event);
    }
    auto& server = *event.mutable_server_recorded();
    server.set_model("models/m");
    server.set_it_power_watts(10000);
    server.set_cooling_watts(9000);
    server.set_bookable(true);
    for (int i = 0; i < kServers; ++i) {
      server.set_name(ServerName(i));
      server.set_room("r");
      server.set_rack(fmt::format("{:04}", i / kServersOfDomain));
      server.set_nvlink_domain(fmt::format("{:04}", i / kServersOfDomain));
      server.set_power_feed(i % 2 == 0 ? "a" : "b");
      Evolve(event);
    }
    Commit();
  }

  // Holds and confirms it.
  void Reserve(int number, int server, const Span& span) {
    reservations::v1::Event event;
    auto& held = *event.mutable_reservation_held();
    const std::string name = fmt::format("sites/paris/reservations/r-{:032x}", number);
    held.set_name(name);
    held.set_it_power_watts(10000);
    held.set_cooling_watts(9000);
    held.add_servers(ServerName(server));
    auto& terms = *held.mutable_terms();
    terms.set_contract(ContractName(number % kContracts));
    terms.set_customer(fmt::format("customers/c{:03}", number % kContracts));
    terms.set_model("models/m");
    terms.set_count(1);
    terms.add_data_classes("public");
    *terms.mutable_start_time() = runtime::ToTimestamp(span.start);
    *terms.mutable_end_time() = runtime::ToTimestamp(span.end);
    *held.mutable_hold_expires_at() = runtime::ToTimestamp(span.start);
    Evolve(event);
    event.mutable_reservation_confirmed()->set_name(name);
    Evolve(event);
  }

  static std::string ContractName(int i) {
    return fmt::format("customers/c{:03}/contracts/main", i);
  }

 private:
  static constexpr int kContracts = 500;
  std::unique_ptr<storage::Projection> projection_;
  std::unique_ptr<Service::State> state_;
  uint64_t sequence_ = 0;
};

Span QueryOf(const std::string& load, int count, std::mt19937_64& random) {
  if (load == "office") {
    const int week = std::uniform_int_distribution<int>(0, 10)(random);
    const absl::Time monday = kOpening + absl::Hours(24) * (3 + 7 * week);
    return {monday + absl::Hours(10), monday + absl::Hours(12)};
  }
  const int64_t start = std::uniform_int_distribution<int64_t>(
      0, absl::ToInt64Minutes(HorizonOf(load, count)))(random);
  const int64_t minutes = std::uniform_int_distribution<int64_t>(60, 3 * 24 * 60)(random);
  return {kOpening + absl::Minutes(start), kOpening + absl::Minutes(start + minutes)};
}

void Measure(const std::string& load, int count, const Options& options) {
  std::mt19937_64 random(42);
  Site site(options.dir);
  site.Open();
  const size_t opened = ResidentBytes();
  std::vector<std::pair<int, Span>> all;
  for (int server = 0; server < kServers; ++server) {
    for (const Span& span : SpansOf(load, count / kServers, random)) all.emplace_back(server, span);
  }
  std::shuffle(all.begin(), all.end(), random);
  const size_t list = all.capacity() * sizeof(all[0]);
  const int64_t begin = ThreadNanos();
  for (size_t i = 0; i < all.size(); ++i)
    site.Reserve(static_cast<int>(i), all[i].first, all[i].second);
  site.Commit();
  const double reserve =
      static_cast<double>(ThreadNanos() - begin) / 1000.0 / static_cast<double>(count);
  // Less than nothing where what an earlier load gave back sufficed.
  const double resident = static_cast<double>(ResidentBytes()) - static_cast<double>(list) -
                          static_cast<double>(opened);
  auto second = std::make_unique<Index>();
  Latency rebuild;
  const size_t allocated = AllocatedBytes() - storage::RowCacheBytes();
  rebuild.Time([&] { site.Rebuild(*second); });
  const size_t index_bytes = AllocatedBytes() - storage::RowCacheBytes() - allocated;
  second = nullptr;
  fmt::print(stderr, "{} reservations are there\n", count);
  const Index& index = site.state().index;

  Latency find, pack, weekly, peak, decide, due;
  size_t found = 0;
  for (int i = 0; i < options.queries; ++i) {
    const Span span = QueryOf(load, count / kServers, random);
    find.Time([&] { found += index.FindFree("models/m", span, kOpening, kWanted).size(); });
    pack.Time([&] {
      const reservations::Pool& pool = *index.FindPool("models/m");
      found += pool.Pack(pool.FindFree({span}, kOpening), kWanted).size();
    });
    peak.Time([&] { found += static_cast<size_t>(index.Peak(span, kOpening).it_power < 0); });
    Span first = span;
    while (first.start >= kOpening + absl::Hours(24 * 7)) {
      first = {first.start - absl::Hours(24 * 7), first.end - absl::Hours(24 * 7)};
    }

    std::vector<Span> weeks;
    for (int week = 0; week < 52; ++week) {
      weeks.push_back(
          {first.start + absl::Hours(24 * 7) * week,
           std::min(first.end, first.start + absl::Hours(24)) + absl::Hours(24 * 7) * week});
    }
    weekly.Time([&] { found += index.FindFree("models/m", weeks, kOpening, kWanted).size(); });

    reservations::v1::Command command;
    auto& request = *command.mutable_reserve();
    request.set_site("sites/paris");
    request.set_contract(Site::ContractName(i % 500));
    request.set_model("models/m");
    request.set_count(kWanted);
    *request.mutable_start_time() = runtime::ToTimestamp(span.start);
    *request.mutable_end_time() = runtime::ToTimestamp(span.end);
    request.add_data_classes("public");
    runtime::Facts facts{.now = kOpening,
                         .site = "paris",
                         .command_id = fmt::format("c-{}", i),
                         .subject = "",
                         .actor = "bench",
                         .correlation_id = "",
                         .cause = {}};
    decide.Time([&] { found += Service::Decide(site.state(), command, facts).ByteSizeLong(); });
    due.Time([&] { found += Service::Due(site.state().rows, kOpening, 512).size(); });
  }
  const double n = count;
  fmt::print(R"({{"load": "{}", "reservations": {}, "find_p50_us": {:.1f}, "find_p99_us": {:.1f}, )"
             R"("pack_p50_us": {:.1f}, "pack_p99_us": {:.1f}, )"
             R"("weekly_p50_us": {:.1f}, "weekly_p99_us": {:.1f}, "peak_p50_us": {:.1f}, )"
             R"("decide_p50_us": {:.1f}, "decide_p99_us": {:.1f}, "due_p50_us": {:.1f}, )"
             R"("hold_and_confirm_us": {:.1f}, "rebuild_us": {:.2f}, )"
             R"("resident_bytes": {:.0f}, "index_bytes": {:.0f}, "found": {}}})"
             "\n",
             load, count, find.At(0.5), find.At(0.99), pack.At(0.5), pack.At(0.99), weekly.At(0.5),
             weekly.At(0.99), peak.At(0.5), decide.At(0.5), decide.At(0.99), due.At(0.5), reserve,
             rebuild.At(0) / n, resident / n, static_cast<double>(index_bytes) / n, found);
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app{"Measures the availability index over 10,000 servers."};
  app.add_option("--dir", options.dir, "the projection's directory; it is emptied")->required();
  app.add_option("--reservations", options.reservations)->delimiter(',');
  app.add_option("--loads", options.loads)
      ->delimiter(',')
      ->check(CLI::IsMember({"mixed", "office", "even"}));
  app.add_option("--queries", options.queries)->check(CLI::Range(10, 1000000));
  CLI11_PARSE(app, argc, argv);
  for (const std::string& load : options.loads) {
    for (const int count : options.reservations) Measure(load, count, options);
  }
  return 0;
}

}  // namespace
}  // namespace concordat::bench

int main(int argc, char** argv) { return concordat::bench::Main(argc, argv); }
