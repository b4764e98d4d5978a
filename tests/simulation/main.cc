// `./dev sim`: worlds by the thousand, one a seed; one of them again, with its transcript; and the
// mutation check, which asks whether worlds find errors that were made on purpose.
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "events/flaw.h"
#include "tests/simulation/world.h"

namespace concordat::simulation {
namespace {

struct Arguments {
  uint64_t seed = 0;   // one world, told in full
  uint64_t from = 1;   // the first of many
  uint64_t seeds = 0;  // how many; 0: until the minutes are over
  double minutes = 0;  // 0: until the seeds are over
  int sites = 0;
  int jobs = 0;
  bool mutants = false;
  std::string mutant;
  uint64_t mutant_seeds = 400;
};

// In so many worlds of any seeds a process dies at every one of the failpoints, with a wide margin.
constexpr uint64_t kWorldsForFailpoints = 1000;

const std::pair<const char*, events::Flaw> kFlaws[] = {
    {"answers-before-acceptance", events::Flaw::kAnswersBeforeAcceptance},
    {"forgets-position", events::Flaw::kForgetsPosition},
    {"never-voids", events::Flaw::kNeverVoids},
    {"forgets-by-wall-clock", events::Flaw::kForgetsByWallClock},
    {"forgets-void-links", events::Flaw::kForgetsVoidLinks},
    {"loses-reactions", events::Flaw::kLosesReactions},
    {"trusts-any-offset", events::Flaw::kTrustsAnyOffset},
    {"keeps-speculation", events::Flaw::kKeepsSpeculation},
    {"moves-position-first", events::Flaw::kMovesPositionFirst},
    {"decides-repeated-again", events::Flaw::kDecidesRepeatedAgain},
    {"answers-lost-races", events::Flaw::kAnswersLostRaces},
    {"forgets-waiting", events::Flaw::kForgetsWaiting},
    {"stale-index", events::Flaw::kStaleIndex},
    {"ignores-gaps", events::Flaw::kIgnoresGaps},
    {"skips-home-check", events::Flaw::kSkipsHomeCheck},
    {"reads-past-unknown", events::Flaw::kReadsPastUnknown},
    {"forgets-feeds", events::Flaw::kForgetsFeeds},
    {"amends-beyond-power", events::Flaw::kAmendsBeyondPower},
    {"decides-for-others", events::Flaw::kDecidesForOthers},
    {"revives-ended", events::Flaw::kRevivesEnded},
    {"keeps-dropped-terms", events::Flaw::kKeepsDroppedTerms},
    {"ignores-waves", events::Flaw::kIgnoresWaves},
    {"forgets-shortfalls", events::Flaw::kForgetsShortfalls},
};
static_assert(std::size(kFlaws) + 1 == static_cast<size_t>(events::Flaw::kCount));

// What was seen in many worlds.
struct Tally {
  uint64_t worlds = 0;
  uint64_t commands = 0;
  uint64_t voids = 0;
  double simulated_seconds = 0;
  uint64_t attested = 0;
  uint64_t occurrences = 0;
  std::map<std::string, uint64_t> sites;
  std::map<std::string, uint64_t> faults;
  std::map<std::string, uint64_t> crashes;
  std::map<std::string, uint64_t> answers;
  std::vector<std::pair<uint64_t, std::string>> violations;  // by seed

  void Take(const std::string& line);
};

// A worker tells its parent about a world in lines of tab-separated words.
std::string LinesOf(uint64_t seed, const WorldResult& result) {
  std::string lines =
      fmt::format("world\t{}\t{}\t{}\t{}\t{}\t{}\n", result.commands, result.voids,
                  result.simulated_seconds, result.sites, result.attested, result.occurrences);
  for (const auto& [name, count] : result.faults)
    lines += fmt::format("fault\t{}\t{}\n", name, count);
  for (const auto& [name, count] : result.crashes)
    lines += fmt::format("crash\t{}\t{}\n", name, count);
  for (const auto& [name, count] : result.answers)
    lines += fmt::format("answer\t{}\t{}\n", name, count);
  for (std::string violation : result.violations) {
    for (char& c : violation) c = c == '\t' || c == '\n' ? ' ' : c;
    lines += fmt::format("violation\t{}\t{}\n", seed, violation);
  }
  return lines;
}

void Tally::Take(const std::string& line) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    words.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  if (words[0] == "world") {
    ++worlds;
    commands += std::stoull(words[1]);
    voids += std::stoull(words[2]);
    simulated_seconds += std::stod(words[3]);
    ++sites[words[4]];
    attested += std::stoull(words[5]);
    occurrences += std::stoull(words[6]);
  } else if (words[0] == "fault") {
    faults[words[1]] += std::stoull(words[2]);
  } else if (words[0] == "crash") {
    crashes[words[1]] += std::stoull(words[2]);
  } else if (words[0] == "answer") {
    answers[words[1]] += std::stoull(words[2]);
  } else if (words[0] == "violation") {
    violations.emplace_back(std::stoull(words[1]), words[2]);
  }
}

// Processes, and not threads: a world that aborts is a finding, and the others go on.
class Workers {
 public:
  Workers(const Arguments& arguments,
          std::function<void(uint64_t, const std::string&)> on_violation)
      : arguments_(arguments),
        on_violation_(std::move(on_violation)),
        next_(static_cast<uint64_t*>(
            mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~Workers() { munmap(next_, 4096); }

  // Until the seeds or the minutes are over, or there was a violation with `stop_at_first`.
  Tally Run(bool stop_at_first);

 private:
  struct Worker {
    pid_t pid = -1;
    int pipe = -1;
    uint64_t seed = 0;  // the world that it runs
    std::string unread;
  };
  void Start(Worker& worker);
  void Read(Worker& worker, const std::string& bytes);

  const Arguments& arguments_;
  std::function<void(uint64_t, const std::string&)> on_violation_;
  uint64_t* next_;  // shared: the seed that nobody has taken yet
  absl::Time end_ = absl::InfiniteFuture();
  Tally tally_;
};

void Workers::Start(Worker& worker) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  worker.unread.clear();
  worker.seed = 0;
  std::fflush(stdout);
  worker.pid = fork();
  if (worker.pid == 0) {
    close(ends[0]);
    const uint64_t last = arguments_.seeds == 0 ? UINT64_MAX : arguments_.from + arguments_.seeds;
    for (;;) {
      const uint64_t seed = __atomic_fetch_add(next_, 1, __ATOMIC_RELAXED);
      if (seed >= last || absl::Now() > end_) break;
      std::string lines = fmt::format("seed\t{}\n", seed);
      if (write(ends[1], lines.data(), lines.size()) < 0) break;
      lines = LinesOf(seed, RunSeed({.seed = seed, .sites = arguments_.sites}));
      for (size_t done = 0; done < lines.size();) {
        const ssize_t written = write(ends[1], lines.data() + done, lines.size() - done);
        if (written < 0) _exit(2);
        done += static_cast<size_t>(written);
      }
    }
    _exit(0);
  }
  close(ends[1]);
  worker.pipe = ends[0];
}

void Workers::Read(Worker& worker, const std::string& bytes) {
  worker.unread += bytes;
  for (size_t end; (end = worker.unread.find('\n')) != std::string::npos;) {
    const std::string line = worker.unread.substr(0, end);
    worker.unread.erase(0, end + 1);
    if (line.compare(0, 5, "seed\t") == 0) {
      worker.seed = std::stoull(line.substr(5));
      continue;
    }
    const size_t before = tally_.violations.size();
    tally_.Take(line);
    if (tally_.violations.size() > before) {
      on_violation_(tally_.violations.back().first, tally_.violations.back().second);
    }
  }
}

Tally Workers::Run(bool stop_at_first) {
  *next_ = arguments_.from;
  if (arguments_.minutes > 0) end_ = absl::Now() + absl::Minutes(arguments_.minutes);
  const int jobs =
      arguments_.jobs > 0 ? arguments_.jobs : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  std::vector<Worker> workers(static_cast<size_t>(jobs));
  for (Worker& worker : workers) Start(worker);
  size_t running = workers.size();
  while (running > 0) {
    std::vector<pollfd> waiting;
    for (const Worker& worker : workers) waiting.push_back({worker.pipe, POLLIN, 0});
    poll(waiting.data(), waiting.size(), -1);
    for (size_t i = 0; i < workers.size(); ++i) {
      if (waiting[i].revents == 0) continue;
      Worker& worker = workers[i];
      char buffer[8192];
      const ssize_t size = read(worker.pipe, buffer, sizeof(buffer));
      if (size > 0) {
        Read(worker, std::string(buffer, static_cast<size_t>(size)));
        continue;
      }
      close(worker.pipe);
      worker.pipe = -1;
      int status = 0;
      waitpid(worker.pid, &status, 0);
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        --running;
        continue;
      }
      tally_.violations.emplace_back(worker.seed, "assertion: the process ended by itself");
      on_violation_(worker.seed, tally_.violations.back().second);
      Start(worker);
    }
    // The others end with the world that they are at.
    if (stop_at_first && !tally_.violations.empty())
      __atomic_store_n(next_, UINT64_MAX / 2, __ATOMIC_RELAXED);
  }
  return std::move(tally_);
}

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

std::string ReplayCommand(const Arguments& arguments, uint64_t seed) {
  std::string command = fmt::format("./dev sim --seed {}", seed);
  if (arguments.sites > 0) command += fmt::format(" --sites {}", arguments.sites);
  if (!arguments.mutant.empty()) command += fmt::format(" --mutant {}", arguments.mutant);
  return command;
}

void Print(const char* title, const std::map<std::string, uint64_t>& counts) {
  std::string line = title;
  for (const auto& [name, count] : counts) {
    const std::string word = fmt::format(" {} {},", name, count);
    if (line.size() + word.size() > 110) {
      std::puts(line.c_str());
      line = "          ";
    }
    line += word;
  }
  if (!line.empty() && line.back() == ',') line.pop_back();
  std::puts(line.c_str());
}

int RunMany(const Arguments& arguments) {
  const absl::Time begin = absl::Now();
  Workers workers(arguments, [&](uint64_t seed, const std::string& violation) {
    std::printf("VIOLATION at seed %llu: %s\n  %s\n", static_cast<unsigned long long>(seed),
                violation.c_str(), ReplayCommand(arguments, seed).c_str());
    std::fflush(stdout);
  });
  const Tally tally = workers.Run(false);
  const double minutes = absl::ToDoubleMinutes(absl::Now() - begin);
  const auto worlds = static_cast<double>(tally.worlds);
  const auto commands = static_cast<double>(tally.commands);
  Print("faults:   ", tally.faults);
  Print("deaths at:", tally.crashes);
  Print("answers:  ", tally.answers);
  Print("sites:    ", tally.sites);
  std::fputs(
      fmt::format(
          "{} worlds, {} commands ({:.0f} a world), {} void records, {} attestations, {} "
          "occurrences, "
          "{:.1f} simulated hours\n"
          "{:.0f} worlds and {:.0f} commands a minute, {:.0f} us of CPU a command; {} violations\n",
          tally.worlds, tally.commands, commands / std::max(worlds, 1.0), tally.voids,
          tally.attested, tally.occurrences, tally.simulated_seconds / 3600, worlds / minutes,
          commands / minutes, 1e6 * CpuSeconds() / std::max(commands, 1.0), tally.violations.size())
          .c_str(),
      stdout);
  if (tally.worlds == 0) std::puts("no world came to its end: the run says nothing");
  for (const std::string& name : FaultNames()) {
    if (!tally.faults.contains(name)) std::printf("%s never happened\n", name.c_str());
  }
  bool everywhere = true;
  for (const std::string& name : FailpointNames()) {
    if (tally.crashes.contains(name)) continue;
    std::printf("nobody died at %s\n", name.c_str());
    everywhere = tally.worlds < kWorldsForFailpoints;
  }
  return tally.violations.empty() && tally.worlds > 0 && everywhere ? 0 : 1;
}

// Whether the world that showed an error is in order without it: otherwise it showed another one.
bool IsGreenWithout(Arguments arguments, uint64_t seed) {
  arguments.mutant.clear();
  arguments.from = seed;
  arguments.seeds = 1;
  arguments.minutes = 0;
  const events::Flaw flaw = std::exchange(events::flaw, events::Flaw::kNone);
  Workers workers(arguments, [](uint64_t, const std::string&) {});
  const Tally tally = workers.Run(true);
  events::flaw = flaw;
  return tally.violations.empty() && tally.worlds == 1;
}

int RunMutants(Arguments arguments) {
  int missed = 0;
  int asked = 0;
  arguments.seeds = arguments.mutant_seeds;
  for (const auto& [name, flaw] : kFlaws) {
    if (!arguments.mutant.empty() && arguments.mutant != name) continue;
    events::flaw = flaw;
    ++asked;
    Arguments one = arguments;
    one.mutant = name;
    Workers workers(one, [](uint64_t, const std::string&) {});
    const Tally tally = workers.Run(true);
    if (tally.violations.empty()) {
      ++missed;
      std::printf("%-28s MISSED by %llu worlds\n", name,
                  static_cast<unsigned long long>(tally.worlds));
    } else {
      const auto& [seed, violation] = tally.violations.front();
      const bool green = IsGreenWithout(arguments, seed);
      if (!green) ++missed;
      std::printf("%-28s %s after %llu worlds, at seed %llu: %s\n", name,
                  green ? "found" : "NOT TOLD FROM WHAT IS THERE WITHOUT IT",
                  static_cast<unsigned long long>(tally.worlds),
                  static_cast<unsigned long long>(seed), violation.substr(0, 120).c_str());
    }
    std::fflush(stdout);
  }
  std::printf("%d of %d deliberate errors were missed within %llu worlds each\n", missed, asked,
              static_cast<unsigned long long>(arguments.mutant_seeds));
  return missed == 0 ? 0 : 1;
}

int Replay(const Arguments& arguments) {
  // A line at once: should a check of the product end the process, they show what led to it.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  const WorldResult result =
      RunSeed({.seed = arguments.seed, .sites = arguments.sites, .transcript = [](auto line) {
                 std::fwrite(line.data(), 1, line.size(), stdout);
               }});
  std::fputs(fmt::format("seed {}: {} sites, {} commands, {} violations, fingerprint {:016x}\n",
                         arguments.seed, result.sites, result.commands, result.violations.size(),
                         result.fingerprint)
                 .c_str(),
             stdout);
  return result.violations.empty() ? 0 : 1;
}

}  // namespace
}  // namespace concordat::simulation

int main(int argc, char** argv) {
  using namespace concordat::simulation;
  Arguments arguments;
  CLI::App app(
      "Simulates worlds of sites and checks that history is never lost, doubled or changed.",
      "./dev sim");
  app.add_option("--seed", arguments.seed, "run this world alone and tell what happens in it");
  app.add_option("--seeds", arguments.seeds, "how many worlds");
  app.add_option("--from", arguments.from, "the first seed of many")->capture_default_str();
  app.add_option("--minutes", arguments.minutes, "stop after this time");
  app.add_option("--sites", arguments.sites, "sites in each world; without it the seed decides")
      ->check(CLI::Range(2, 7));
  app.add_option("--jobs", arguments.jobs, "processes; without it one a core");
  app.add_flag("--mutants", arguments.mutants, "check that errors made on purpose are found");
  app.add_option("--mutant", arguments.mutant, "make this error");
  app.add_option("--mutant-seeds", arguments.mutant_seeds,
                 "worlds in which each error must be found")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  for (const auto& [name, flaw] : kFlaws) {
    if (arguments.mutant == name) concordat::events::flaw = flaw;
  }
  if (!arguments.mutant.empty() && concordat::events::flaw == concordat::events::Flaw::kNone) {
    std::fprintf(stderr, "there is no error named %s; expected one of:", arguments.mutant.c_str());
    for (const auto& [name, flaw] : kFlaws) std::fprintf(stderr, " %s", name);
    std::fputs("\n", stderr);
    return 2;
  }
  if (arguments.mutants) return RunMutants(arguments);
  if (arguments.seed != 0) return Replay(arguments);
  if (arguments.seeds == 0 && arguments.minutes == 0) arguments.seeds = 1000;
  return RunMany(arguments);
}
