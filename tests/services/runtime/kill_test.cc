// kill -9, hundreds of times: a process that decides commands is killed at a chosen step, again and
// again on the same disk, while what it answered is kept by its parent. Law: the parent's memory is
// the only witness; log and projection have to agree with it after every death.
//
// `kill_test --kills N` is the parent. The steps are the calls of the log, and, where failpoints
// are compiled in (CONCORDAT_SIMULATION), every one of those: their turn comes one after the other,
// and a step that is never reached fails the test. Beside the writer run, as in a site, a replica
// of its stream and a feed, whose orders come from a second writer that dies with the first.
#include <absl/functional/function_ref.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <vector>

#include "services/runtime/clock.h"
#include "services/runtime/fold.h"
#include "services/runtime/follower.h"
#include "services/runtime/home_check.h"
#include "services/runtime/writer.h"
#include "storage/log/embedded.h"
#include "tests/services/runtime/home.h"
#include "tests/support/wait.h"

namespace concordat::test {
namespace {

constexpr char kStream[] = "paris.ledger.events";
constexpr char kOrders[] = "borlange.ledger.events";
constexpr char kCode[] = "kill/1";
// The calls of the log, and the failpoints of the runtime.
constexpr std::array kPlaces = {
    "log_append",    "log_poll",        "log_reported",   "log_read",      "before_claim",
    "after_claim",   "before_readback", "after_readback", "after_decide",  "after_append",
    "before_commit", "after_commit",    "after_react",    "after_issue",   "before_reports",
    "after_reports", "before_resolve",  "after_start",    "before_answer", "before_recovery",
    "before_flush",  "after_flush",     "before_batch",   "after_batch",   "before_note"};

// The first of them; the others are reached in builds for tests only.
constexpr size_t kLogPlaces = 4;
// How often a process may end by itself before its step counts as one that is never reached.
constexpr int kMaxEnds = 6;

// Ends the process, as the kernel does, at the n-th time that it comes to a place.
class KillingMachine final : public storage::Machine {
 public:
  KillingMachine(std::string place, int64_t countdown)
      : place_(std::move(place)), countdown_(countdown) {}
  void Reach(std::string_view place) override {
    if (place == place_ && --countdown_ == 0) kill(getpid(), SIGKILL);
  }

 private:
  const std::string place_;
  std::atomic<int64_t> countdown_;
};

class KillingAppender final : public storage::LogAppender {
 public:
  KillingAppender(std::unique_ptr<storage::LogAppender> log, storage::Machine& machine)
      : log_(std::move(log)), machine_(machine) {}
  void Append(events::Record record, uint64_t cookie) override {
    machine_.Reach("log_append");
    log_->Append(std::move(record), cookie);
  }
  std::vector<storage::AppendReport> Poll(absl::Duration wait) override {
    machine_.Reach("log_poll");
    auto reports = log_->Poll(wait);
    if (!reports.empty()) machine_.Reach("log_reported");
    return reports;
  }
  size_t Waiting() const override { return log_->Waiting(); }
  void Reset() override { log_->Reset(); }
  void Wake() override { log_->Wake(); }

 private:
  std::unique_ptr<storage::LogAppender> log_;
  storage::Machine& machine_;
};

class KillingReader final : public storage::LogReader {
 public:
  KillingReader(std::unique_ptr<storage::LogReader> log, storage::Machine& machine)
      : log_(std::move(log)), machine_(machine) {}
  absl::Status Assign(const std::string& stream, int64_t offset) override {
    return log_->Assign(stream, offset);
  }
  void Release() override { log_->Release(); }
  absl::StatusOr<std::vector<storage::StoredRecord>> Read(size_t limit,
                                                          absl::Duration wait) override {
    machine_.Reach("log_read");
    return log_->Read(std::min<size_t>(limit, 20), wait);
  }
  absl::StatusOr<int64_t> End(const std::string& stream) override { return log_->End(stream); }
  void Wake() override { log_->Wake(); }

 private:
  std::unique_ptr<storage::LogReader> log_;
  storage::Machine& machine_;
};

class KillingLog final : public storage::Log {
 public:
  KillingLog(storage::Log& log, storage::Machine& machine) : log_(log), machine_(machine) {}
  std::unique_ptr<storage::LogReader> NewReader() override {
    return std::make_unique<KillingReader>(log_.NewReader(), machine_);
  }
  std::unique_ptr<storage::LogAppender> NewAppender(const std::string& stream) override {
    return std::make_unique<KillingAppender>(log_.NewAppender(stream), machine_);
  }
  absl::Status Check(const std::string& stream, const storage::LogDemands& demands) override {
    return log_.Check(stream, demands);
  }

 private:
  storage::Log& log_;
  storage::Machine& machine_;
};

// A line to the parent, in one write, before anything else happens.
void Tell(int pipe, const std::string& line) {
  if (write(pipe, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(3);
}

absl::StatusOr<std::unique_ptr<storage::Projection>> OpenProjection(const std::string& dir,
                                                                    const std::string& name) {
  const bool home = name != "copy";
  return storage::Projection::Open(
      fmt::format("{}/{}", dir, name), name == "orders" ? kOrders : kStream,
      home ? events::Chain::Origin::kHome : events::Chain::Origin::kMirrored, "test");
}

// Borlänge, whose events paris follows: a writer of its own on the same log.
class Orders {
 public:
  Orders(storage::Log& log, runtime::Clock& clock, storage::Projection& projection)
      : engine_(projection.journal()), writer_(engine_, projection, log, clock, Options()) {
    writer_.Run();
  }
  ~Orders() { writer_.Stop(); }
  // Orders an item from paris; asked again under the same number it is the same order.
  void Order(int number) {
    v1::Command command = Put(fmt::format("order-{}", number));
    command.mutable_put_item()->set_order_to("paris");
    runtime::Submission submission;
    submission.command = std::make_unique<v1::Command>(std::move(command));
    submission.command_id = fmt::format("o-{}", number);
    submission.actor = "bob";
    writer_.Submit(std::move(submission));
  }
  bool writing() { return writer_.View().state == runtime::WriterState::kWriting; }

 private:
  static runtime::WriterOptions Options() {
    runtime::WriterOptions options;
    options.site = "borlange";
    options.release = "test";
    return options;
  }
  runtime::EngineOf<ledger::Service> engine_;
  runtime::Writer writer_;
};

// The process that is killed: asks for commands `first` to `last` until it dies.
int Child(const std::string& dir, const std::string& place, int64_t countdown, int first, int last,
          int pipe) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  spdlog::set_level(spdlog::level::off);
  KillingMachine machine(place, countdown);
  auto stored = storage::EmbeddedLog::Open(dir + "/log");
  auto projection = OpenProjection(dir, "projection");
  auto copy = OpenProjection(dir, "copy");
  auto orders = OpenProjection(dir, "orders");
  for (const absl::Status& status :
       {stored.status(), projection.status(), copy.status(), orders.status()}) {
    if (status.ok()) continue;
    Tell(pipe, fmt::format("failed {}\n", status.ToString()));
    return 1;
  }
  KillingLog log(**stored, machine);
  runtime::SystemClock clock;
  runtime::EngineOf<ledger::Service> engine((*projection)->journal());
  runtime::HomeCheck check(kStream, dir + "/run/mark");
  runtime::WriterOptions options;
  options.site = "paris";
  options.release = "test";
  options.timer_interval = absl::Milliseconds(1);
  options.flush_interval = absl::Milliseconds(30);
  options.attest = {.every_events = 50, .every = absl::Hours(1), .code = kCode, .accepted = {}};
  options.home_check = &check;
  options.machine = &machine;
  runtime::Writer writer(engine, **projection, log, clock, options);
  runtime::EngineOf<ledger::Service> copying((*copy)->journal());
  runtime::Replica replica(copying, **copy, "borlange", machine, kCode);
  runtime::Feed feed(engine, writer, **projection, kOrders, v1::Event::descriptor(), "paris",
                     machine);
  runtime::Follower follower(**stored, {&replica, &feed}, machine);
  writer.Run();
  Orders borlange(**stored, clock, **orders);
  follower.Run(absl::Milliseconds(1));
  const auto settled = [&](int count) {
    return writer.View().state == runtime::WriterState::kStopped ||
           static_cast<int64_t>(writer.counters().accepted + writer.counters().repeated) >= count;
  };
  for (int i = first; i < last; ++i) {
    const std::string id = "c-" + std::to_string(i);
    runtime::Submission submission;
    // Some follow-ups, some refusals.
    submission.command = std::make_unique<v1::Command>(
        i % 3 == 0 ? PutConfirmed(std::to_string(i)) : Put(std::to_string(i % 5 == 4 ? 1 : i)));
    submission.command_id = id;
    submission.actor = "alice";
    submission.done = [pipe, id](absl::StatusOr<type::v1::Outcome> outcome) {
      if (!outcome.ok()) return;
      Tell(pipe, fmt::format("{} {} {} {}\n", id, outcome->sequence(), outcome->link(),
                             outcome->reason().empty() ? "-" : outcome->reason()));
    };
    writer.Submit(std::move(submission));
    if (i % 7 == 0) borlange.Order(i);
    // Several groups, not one.
    if (i % 16 == 15) WaitUntil([&] { return settled(i - first - 16); }, absl::Seconds(20));
  }
  // Whoever is not killed by then ends by itself, which is no kill.
  WaitUntil([&] { return settled(last - first); }, absl::Seconds(20));
  const auto at_end = [&] {
    return borlange.writing() && feed.View().next_offset >= (*stored)->End(kOrders) &&
           replica.View().head.sequence >= writer.View().head.sequence;
  };
  const bool followed = WaitUntil(at_end, absl::Seconds(20));
  const std::string alarms =
      fmt::format("{} {} {}", writer.View().alarm, replica.View().alarm, feed.View().alarm);
  if (writer.View().state == runtime::WriterState::kStopped || !followed || alarms != "  ")
    Tell(pipe, fmt::format("failed {} {}\n", followed ? "" : "to follow;", alarms));
  follower.Stop();
  writer.Stop();
  return 0;
}

struct Answer {
  uint64_t sequence = 0;
  std::string link;
  std::string reason;
};

#define REQUIRE(condition, ...)                                               \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fmt::print(stderr, "kill {}: {} does not hold: {}\n", kill, #condition, \
                 fmt::format(__VA_ARGS__));                                   \
      return false;                                                           \
    }                                                                         \
  } while (false)

// Folds a stream anew and compares what was kept of it, projections by their names, with the fold
// at their heads. `see` is called with each accepted event.
bool CompareFolds(const std::string& dir, int kill, storage::EmbeddedLog& log, const char* stream,
                  const std::vector<std::string>& names,
                  absl::FunctionRef<bool(const events::Attributes&)> see) {
  const auto stored = log.ReadFrom(stream, 0, 10'000'000);
  REQUIRE(stored.ok(), "{}", stored.status().ToString());
  std::filesystem::remove_all(dir + "/anew");
  auto anew =
      storage::Projection::Open(dir + "/anew", stream, events::Chain::Origin::kHome, "test");
  REQUIRE(anew.ok(), "{}", anew.status().ToString());
  runtime::EngineOf<ledger::Service> engine((*anew)->journal());
  runtime::Fold fold(engine, **anew, events::SiteOf(stream));
  struct Kept {
    std::string name;
    std::unique_ptr<storage::Projection> projection;
    bool passed_head = false;
  };
  std::vector<Kept> all;
  for (const std::string& name : names) {
    auto projection = OpenProjection(dir, name);
    REQUIRE(projection.ok(), "{}", projection.status().ToString());
    const bool fresh = (*projection)->chain().head().sequence < 0;
    all.push_back({name, *std::move(projection), fresh});
  }
  for (const storage::StoredRecord& record : *stored) {
    const runtime::Delivery delivery(record);
    const auto outcome = fold.Offer(delivery);
    REQUIRE(outcome.ok(), "{}", outcome.status().ToString());
    if (*outcome != events::Outcome::kAccepted) continue;
    if (!see(delivery.attributes())) return false;
    for (Kept& kept : all) {
      const events::Head head = kept.projection->chain().head();
      if (delivery.attributes().id != head.link) continue;
      REQUIRE(fold.Commit().ok(), "the disk");
      kept.passed_head = true;
      REQUIRE((*anew)->digests().Total().ToHex() == kept.projection->digests().Total().ToHex(),
              "the {} at sequence {} is not what its events fold to", kept.name, head.sequence);
    }
  }
  for (const Kept& kept : all) {
    const int64_t at = kept.projection->chain().head().sequence;
    REQUIRE(kept.passed_head, "the head {} of the {} is not in the log", at, kept.name);
    REQUIRE(storage::Digests::Of(*kept.projection) == kept.projection->digests(),
            "rows and digest of the {} at {}", kept.name, at);
  }
  return true;
}

// Log and projections against what was answered.
bool Check(const std::string& dir, int kill, const std::map<std::string, Answer>& answers) {
  auto log = storage::EmbeddedLog::Open(dir + "/log");
  REQUIRE(log.ok(), "{}", log.status().ToString());
  std::map<std::string, int> seen;  // by who asked, and the command's id
  const auto once = [&](const events::Attributes& attributes) {
    const std::string id = attributes.actor + " " + attributes.command_id;
    REQUIRE(++seen[id] == 1, "{} is in the log {} times", id, seen[id]);
    return true;
  };
  const auto as_answered = [&](const events::Attributes& attributes) {
    if (!once(attributes)) return false;
    const auto answer = answers.find(attributes.command_id);
    if (attributes.actor != "alice" || answer == answers.end()) return true;
    REQUIRE(answer->second.link == attributes.id.ToHex() &&
                answer->second.sequence == attributes.sequence,
            "{} was answered {} {} and stands at {} {}", answer->first, answer->second.sequence,
            answer->second.link, attributes.sequence, attributes.id.ToHex());
    return true;
  };
  if (!CompareFolds(dir, kill, **log, kStream, {"projection", "copy"}, as_answered)) return false;
  for (const auto& [id, answer] : answers)
    REQUIRE(seen.count("alice " + id) == 1, "{} was answered at {} and is not in the log", id,
            answer.sequence);
  return CompareFolds(dir, kill, **log, kOrders, {"orders"}, once);
}

int Parent(int kills, uint64_t seed) {
  TempDir folder;
  const std::string dir = folder.path();
  std::mt19937_64 random(seed);
  std::map<std::string, Answer> answers;
  std::map<std::string, int> by_place;
  const size_t places = events::kSimulation ? kPlaces.size() : kLogPlaces;
  int killed = 0;
  int ended = 0;
  int ended_here = 0;
  int first = 0;
  for (int run = 0; killed < kills; ++run) {
    const std::string place = kPlaces[static_cast<size_t>(killed) % places];
    if (ended_here > kMaxEnds) {
      fmt::print(stderr, "{} runs ended without coming to {} once\n", ended_here, place);
      return 1;
    }
    // Appends are many, everything else comes once a group. Some steps come once a run.
    const int64_t countdown =
        ended_here > 0 ? 1 : 1 + static_cast<int64_t>(random() % (place == "log_append" ? 30 : 4));
    // Some of what was asked before is asked again; what is new follows.
    const int from = std::max(0, first - static_cast<int>(random() % 30));
    const int to = first + 20 + static_cast<int>(random() % 60);
    int pipe_ends[2];
    if (pipe2(pipe_ends, 0) != 0) return 1;
    const pid_t child = fork();
    if (child == 0) {
      // The parent's own databases have threads, which a fork does not copy: begin anew.
      const std::array<std::string, 6> words = {dir,
                                                place,
                                                std::to_string(countdown),
                                                std::to_string(from),
                                                std::to_string(to),
                                                std::to_string(pipe_ends[1])};
      execl("/proc/self/exe", "kill_test", "--child", words[0].c_str(), words[1].c_str(),
            words[2].c_str(), words[3].c_str(), words[4].c_str(), words[5].c_str(), nullptr);
      _exit(4);
    }
    close(pipe_ends[1]);
    std::string told;
    char buffer[65536];
    for (ssize_t got; (got = read(pipe_ends[0], buffer, sizeof(buffer))) > 0;)
      told.append(buffer, static_cast<size_t>(got));
    close(pipe_ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (was_killed) {
      ++killed;
      ++by_place[place];
      ended_here = 0;
    } else {
      ++ended;
      ++ended_here;
      if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fmt::print(stderr, "run {}, {} {}: ended with {}: {}\n", run, place, countdown, status,
                   told);
        return 1;
      }
    }
    std::istringstream lines(told);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string id;
      Answer answer;
      words >> id >> answer.sequence >> answer.link >> answer.reason;
      if (id == "failed") {
        fmt::print(stderr, "run {}: {}\n", run, line);
        return 1;
      }
      const auto [known, fresh] = answers.emplace(id, answer);
      if (!fresh && (known->second.link != answer.link || known->second.reason != answer.reason)) {
        fmt::print(stderr, "run {}: {} was answered {} and now {}\n", run, id, known->second.link,
                   answer.link);
        return 1;
      }
    }
    first = to;
    if (!Check(dir, run, answers)) {
      fmt::print(stderr, "after {} of {} at {} ({}); seed {}\n", was_killed ? "a kill" : "an end",
                 run, place, countdown, seed);
      return 1;
    }
    // A log that grows for ever would make the checks the longest part.
    if (first > 1000) {
      for (const char* part : {"/log", "/projection", "/copy", "/orders", "/run"})
        std::filesystem::remove_all(dir + part);
      answers.clear();
      first = 0;
    }
  }
  if (kills >= static_cast<int>(places) && by_place.size() != places) {
    fmt::print(stderr, "only {} of {} places were killed at\n", by_place.size(), places);
    return 1;
  }
  fmt::print("{} kills, {} ends;", killed, ended);
  for (const auto& [place, count] : by_place) fmt::print(" {} {}", place, count);
  fmt::print("; nothing lost, nothing doubled, every projection as its events fold; seed {}\n",
             seed);
  return 0;
}

}  // namespace
}  // namespace concordat::test

int main(int argc, char** argv) {
  if (argc == 8 && std::strcmp(argv[1], "--child") == 0) {
    return concordat::test::Child(argv[2], argv[3], std::atoll(argv[4]), std::atoi(argv[5]),
                                  std::atoi(argv[6]), std::atoi(argv[7]));
  }
  int kills = 500;
  uint64_t seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--kills") == 0) kills = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--seed") == 0) seed = std::strtoull(argv[i + 1], nullptr, 10);
  }
  return concordat::test::Parent(kills, seed);
}
