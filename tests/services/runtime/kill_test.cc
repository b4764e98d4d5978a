// kill -9, hundreds of times: a process that decides commands is killed at a chosen step, again and
// again on the same disk, while what it answered is kept by its parent. Law: the parent's memory is
// the only witness; log and projection have to agree with it after every death.
//
// `kill_test --kills N` is the parent. The steps are the calls of the log, and, where failpoints
// are compiled in (CONCORDAT_SIMULATION), every one of those.
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

#include "services/runtime/clock.h"
#include "services/runtime/fold.h"
#include "services/runtime/home_check.h"
#include "services/runtime/writer.h"
#include "storage/log/embedded.h"
#include "tests/services/runtime/home.h"
#include "tests/support/wait.h"

namespace concordat::test {
namespace {

constexpr char kStream[] = "paris.ledger.events";
constexpr char kCode[] = "kill/1";
// Failpoints of the runtime and the stores, and the calls of the log.
constexpr std::array kPlaces = {
    "log_append",     "log_poll",        "log_reported",   "log_read",        "before_claim",
    "after_claim",    "before_readback", "after_readback", "after_decide",    "after_append",
    "before_commit",  "after_commit",    "after_react",    "before_reports",  "after_reports",
    "before_resolve", "after_start",     "before_answer",  "before_recovery", "before_note"};

// The first of them; the others are reached in builds for tests only.
constexpr size_t kLogPlaces = 4;

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

// The process that is killed: asks for commands `first` to `last` until it dies.
int Child(const std::string& dir, const std::string& place, int64_t countdown, int first, int last,
          int pipe) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  spdlog::set_level(spdlog::level::off);
  KillingMachine machine(place, countdown);
  auto stored = storage::EmbeddedLog::Open(dir + "/log");
  auto projection =
      storage::Projection::Open(dir + "/projection", kStream, events::Chain::Origin::kHome, "test");
  if (!stored.ok() || !projection.ok()) {
    Tell(pipe,
         fmt::format("failed {} {}\n", stored.status().ToString(), projection.status().ToString()));
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
  writer.Run();
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
    // Several groups, not one.
    if (i % 16 == 15) WaitUntil([&] { return settled(i - first - 16); }, absl::Seconds(20));
  }
  // Whoever is not killed by then ends by itself, which is no kill.
  WaitUntil([&] { return settled(last - first); }, absl::Seconds(20));
  if (writer.View().state == runtime::WriterState::kStopped)
    Tell(pipe, fmt::format("failed {}\n", writer.View().alarm));
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

// Log and projection against what was answered.
bool Check(const std::string& dir, int kill, const std::map<std::string, Answer>& answers) {
  auto log = storage::EmbeddedLog::Open(dir + "/log");
  REQUIRE(log.ok(), "{}", log.status().ToString());
  const auto stored = (*log)->ReadFrom(kStream, 0, 10'000'000);
  REQUIRE(stored.ok(), "{}", stored.status().ToString());
  std::filesystem::remove_all(dir + "/anew");
  auto anew =
      storage::Projection::Open(dir + "/anew", kStream, events::Chain::Origin::kHome, "test");
  REQUIRE(anew.ok(), "{}", anew.status().ToString());
  runtime::EngineOf<ledger::Service> engine((*anew)->journal());
  runtime::Fold fold(engine, **anew, "paris");
  std::map<std::string, int> seen;
  std::map<std::string, std::string> digest_at;  // by link
  auto kept =
      storage::Projection::Open(dir + "/projection", kStream, events::Chain::Origin::kHome, "test");
  REQUIRE(kept.ok(), "{}", kept.status().ToString());
  const events::Head head = (*kept)->chain().head();
  bool passed_head = head.sequence < 0;
  for (const storage::StoredRecord& record : *stored) {
    const runtime::Delivery delivery(record);
    const auto outcome = fold.Offer(delivery);
    REQUIRE(outcome.ok(), "{}", outcome.status().ToString());
    if (*outcome != events::Outcome::kAccepted) continue;
    const events::Attributes& attributes = delivery.attributes();
    if (attributes.actor == "alice") {
      const std::string& id = attributes.command_id;
      REQUIRE(++seen[id] == 1, "{} is in the log {} times", id, seen[id]);
      const auto answer = answers.find(id);
      if (answer != answers.end()) {
        REQUIRE(answer->second.link == attributes.id.ToHex() &&
                    answer->second.sequence == attributes.sequence,
                "{} was answered {} {} and stands at {} {}", id, answer->second.sequence,
                answer->second.link, attributes.sequence, attributes.id.ToHex());
      }
    }
    if (attributes.id == head.link) {
      REQUIRE(fold.Commit().ok(), "the disk");
      passed_head = true;
      REQUIRE((*anew)->digests().Total().ToHex() == (*kept)->digests().Total().ToHex(),
              "the projection at sequence {} is not what its events fold to", head.sequence);
    }
  }
  REQUIRE(passed_head, "the projection's head {} is not in the log", head.sequence);
  for (const auto& [id, answer] : answers)
    REQUIRE(seen.count(id) == 1, "{} was answered at {} and is not in the log", id,
            answer.sequence);
  REQUIRE(storage::Digests::Of(**kept) == (*kept)->digests(), "rows and digest at {}",
          head.sequence);
  return true;
}

int Parent(int kills, uint64_t seed) {
  TempDir folder;
  const std::string dir = folder.path();
  std::mt19937_64 random(seed);
  std::map<std::string, Answer> answers;
  std::map<std::string, int> by_place;
  int killed = 0;
  int ended = 0;
  int first = 0;
  for (int run = 0; killed < kills; ++run) {
    if (run > 6 * kills) {
      fmt::print(stderr, "only {} of {} runs were killed\n", killed, run);
      return 1;
    }
    const std::string place =
        kPlaces[random() % (events::kSimulation ? kPlaces.size() : kLogPlaces)];
    // Appends are many, everything else comes once a group.
    const int64_t countdown = 1 + static_cast<int64_t>(random() % (place == "log_append" ? 30 : 4));
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
    } else {
      ++ended;
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
      for (const char* part : {"/log", "/projection", "/run"})
        std::filesystem::remove_all(dir + part);
      answers.clear();
      first = 0;
    }
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
