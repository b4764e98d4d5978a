// The writer of one stream: decides commands, appends what was decided, and answers once it is
// accepted. Law: a caller is answered from the log, never from speculation.
//
// It runs in steps on one thread of its own:
//   1. Decide some commands on the speculative state, link each event to the one before, append
//      all of them without waiting.
//   2. Take reports. While each offset is the last one plus one, nobody else wrote: accepted.
//   3. At a jump, an unknown offset or an error: recover. Settle or disown what is outstanding,
//      undo the speculation, read the log to its end; after an unknown outcome append
//      WriterStarted first, which voids whatever is still on its way. Answer what was accepted,
//      decide the rest again.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "concordat/system/v1/events.pb.h"
#include "concordat/type/v1/command.pb.h"
#include "services/runtime/answers.h"
#include "services/runtime/attest.h"
#include "services/runtime/clock.h"
#include "services/runtime/engine.h"
#include "services/runtime/fold.h"
#include "services/runtime/home_check.h"
#include "services/runtime/in_flight.h"
#include "storage/log/log.h"
#include "storage/machine.h"
#include "storage/projection/projection.h"

namespace concordat::runtime {

enum class WriterState { kStarting, kWriting, kRecovering, kStopped };
std::string_view Name(WriterState state);

// Whether what failed may work when it is tried again.
bool IsPassing(const absl::Status& status);

// What a writer counts, since the process started.
struct WriterCounters {
  std::atomic<uint64_t> accepted = 0;
  std::atomic<uint64_t> refused = 0;   // of the accepted
  std::atomic<uint64_t> repeated = 0;  // answered from memory
  std::atomic<uint64_t> recoveries = 0;
  std::atomic<uint64_t> stale_reports = 0;
  std::atomic<uint64_t> voids = 0;
  std::atomic<uint64_t> commits = 0;
  std::atomic<uint64_t> repaired = 0;  // events that the log had lost, appended again
};

struct WriterOptions {
  std::string site;
  std::string release;
  storage::LogDemands demands;
  size_t max_group = 64;        // commands decided in one step
  size_t max_waiting = 512;     // events that wait for the log to take what came before them
  size_t max_in_flight = 8192;  // events without a report
  size_t max_queued = 16384;    // commands of callers that wait; more are RESOURCE_EXHAUSTED
  absl::Duration timer_interval = absl::Milliseconds(100);
  absl::Duration flush_interval = absl::Seconds(10);
  absl::Duration report_timeout = absl::Seconds(30);      // then outstanding appends are disowned
  storage::Machine* machine = &storage::Machine::Real();  // not owned; must outlive the writer
  AttestOptions attest;
  // Not owned; nothing: the log is not compared with anybody's.
  HomeCheck* home_check = nullptr;
  absl::Duration home_check_interval = absl::Seconds(1);  // between two questions to silent peers
};

// A copy of what others may see of the writer's chain.
struct StreamView {
  events::Head head;
  events::Condition condition = events::Condition::kOk;
  WriterState state = WriterState::kStarting;
  std::string alarm;
  absl::flat_hash_map<events::Outcome, uint64_t> voids;
  // `whole`, `behind`, `unknown`, `lost`, `forked` or `allowed`; empty where nothing was compared
  // yet.
  std::string home_check;
  bool diverged = false;  // another state was attested for the same events
  // Of the log that is being read at the start; both 0 otherwise.
  int64_t folded_records = 0;
  int64_t records_to_fold = 0;
  double records_per_second = 0;
};

class Writer {
 public:
  // Nothing is owned; all must outlive the writer. The engine is over the projection's journal, the
  // projection over the stream.
  Writer(Engine& engine, storage::Projection& projection, storage::Log& log, Clock& clock,
         WriterOptions options);
  ~Writer();
  Writer(const Writer&) = delete;

  // Starts the thread. Steps are then taken there.
  void Run();
  // Ends the thread: nothing more is decided; appended events are waited for, briefly; all others
  // are answered UNAVAILABLE.
  void Stop();

  // Any thread. Never waits.
  void Submit(Submission submission);
  // Stores a row of the runtime's own with the next commit. Any thread.
  void Note(std::string key, std::string value);
  // Lets a writer start that waits for an answer of its peers. FAILED_PRECONDITION where it does
  // not wait, or its head is not the one named. Any thread.
  absl::Status AllowStart(AllowedStart allowed);

  // One step, waiting at most `wait` for something to do; for tests and the simulator, instead of
  // Run().
  void Step(absl::Duration wait);

  // Any thread.
  StreamView View() const;
  const WriterCounters& counters() const { return counters_; }
  const std::string& stream() const { return stream_; }
  // Waits until the writer writes or has stopped; its alarm as FAILED_PRECONDITION if it stopped.
  absl::Status WaitUntilWriting(absl::Duration wait) const;
  // Waits until the events up to `sequence` are folded. Any thread.
  bool WaitFor(int64_t sequence, absl::Duration wait) const;

 private:
  // Actor and command id; points into the submission.
  using CommandKey = std::pair<absl::string_view, absl::string_view>;
  static CommandKey KeyOf(const Submission& submission) {
    return {submission.actor, submission.command_id};
  }

  void TakeSubmissions(absl::Duration wait);
  // Without an append of its own a writer hears of another one only by looking: what that one left
  // undone is for this one to do.
  void LookForOthers();
  // deciding.cc
  void FireTimers();
  // Whether another group may be decided before a report comes.
  bool MayDecide() const;
  void DecideGroup();
  void Decide(Submission submission);
  bool AnswerFromMemory(Submission& submission);
  void Append(Submission submission, Decision decision);
  void TakeReports(std::vector<storage::AppendReport> reports);
  void Accept(InFlight& in_flight, int64_t offset);
  void CommitAccepted();
  // An append that nobody answers is no error, for the log may come back; but it must be seen.
  void WatchPatience();
  // Retries until the disk takes it; false where the writer stops meanwhile.
  bool Commit();
  void Issue(Pending pending);

  // False where the writer was stopped, or has to try again; the view's alarm says why.
  bool Recover(bool claim);
  bool Start();
  bool Settle();
  bool ReadToEnd();
  bool ReadTo(int64_t end);
  bool FoldTo(Deliveries& deliveries, int64_t end);
  void ShowProgress(int64_t folded, int64_t of, double rate);
  bool Claim();
  // A new name for what is appended from here on, so that nothing decided again has the same link.
  void Rename();
  events::Record SealSystem(const google::protobuf::Message& event, absl::Time now,
                            events::Attributes* attributes) const;
  // attest.cc. True while an attestation is due and waits for what is in flight.
  bool AttestWhenDue();
  // False where the state attested is not the one folded here; then the writer has stopped.
  bool CheckAttested(const events::Attributes& attributes, std::string_view data);
  // home_check.cc. False where the writer may not go on.
  bool CheckHome(const events::Chain& log, const std::function<bool()>& read_to_end);
  absl::Status RepairLog(const absl::Status& lost);
  absl::Status ReadInto(events::Chain& chain);
  absl::Status FetchFrom(Peer& source, const events::Chain& log);
  bool AppendVerbatim(const std::vector<events::Record>& records);
  absl::StatusOr<events::Link> LinkAt(const events::Head& head, int64_t sequence);
  void ShowHomeCheck(std::string_view state, const std::string& detail);
  void Alarm(const std::string& text);
  bool AppendSystem(const google::protobuf::Message& event, events::Link* link, int64_t* offset);
  void Resolve();
  bool Pause(absl::Duration wait);
  void StopWith(const absl::Status& status);
  absl::Status CheckHead();
  bool Take(const Delivery& delivery);
  WriterState view_state() const;
  void RejectEverything(const absl::Status& status);
  void Publish();
  void SetPosition(events::Attributes& attributes, absl::Time now) const;
  // Whether the command comes from a service of this site and not from a caller.
  static bool IsService(const std::string& actor);

  Engine& engine_;
  storage::Projection& projection_;
  storage::Log& log_;
  Clock& clock_;
  const WriterOptions options_;
  storage::Machine& machine_;
  const std::string stream_;
  const std::string source_;
  const std::string writer_id_;
  Fold fold_;
  std::unique_ptr<storage::LogAppender> appender_;
  std::unique_ptr<storage::LogReader> reader_;
  Answers answers_;

  // The writer's thread only.
  std::deque<Submission> queue_;
  std::deque<InFlight> in_flight_;
  std::deque<InFlight> accepted_;  // accepted, not committed yet
  absl::flat_hash_map<CommandKey, InFlight*> by_command_;
  absl::flat_hash_set<std::string> queued_timers_;
  absl::flat_hash_set<events::Link> seen_;  // links accepted while recovering
  absl::flat_hash_set<events::Link>
      own_;                         // links that this writer may find accepted in its own name
  std::vector<Pending> recovered_;  // reactions to events accepted while recovering
  events::Head speculative_;
  // Of the command that is being decided; used again and again, to keep their memory.
  Facts facts_;
  events::Attributes attributes_;
  uint64_t recovery_ = 0;
  std::string writer_name_;  // `<writer id>.<recovery>`
  uint64_t next_cookie_ = 1;
  int lost_races_ = 0;
  bool started_ = false;
  bool recover_ = false;  // something happened that only reading the log can settle
  bool claim_ = true;     // the outcome of some append is unknown
  absl::Time next_timers_ = absl::InfinitePast();
  absl::Duration next_look_;  // of the steady clock
  absl::Time next_flush_ = absl::InfinitePast();
  absl::Time decided_at_ = absl::InfinitePast();  // wall time of the group that is being decided
  absl::Time now_ = absl::InfinitePast();         // the clock at that moment, in microseconds
  bool index_loaded_ = false;
  bool impatient_ = false;  // the alarm says that the log does not answer
  AttestSchedule attest_;
  bool attest_waits_ = false;
  std::optional<system::v1::WriterStarted::Unchecked> unchecked_;  // for the next WriterStarted

  WriterCounters counters_;
  std::unique_ptr<storage::Thread> thread_;
  std::atomic<bool> stopping_ = false;

  mutable absl::Mutex mutex_;
  std::deque<Submission> incoming_ ABSL_GUARDED_BY(mutex_);
  storage::Projection::Notes notes_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_notes_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  StreamView view_ ABSL_GUARDED_BY(mutex_);
  std::optional<AllowedStart> allowed_start_ ABSL_GUARDED_BY(mutex_);
  size_t queued_ ABSL_GUARDED_BY(mutex_) = 0;  // callers' commands that are not decided yet
  // So many commands wake a writer that waits for reports; 0: none does.
  size_t wake_at_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;  // stopped: whatever comes is answered at once
};

// 32 hexadecimal digits from the machine's random source.
std::string RandomId(storage::Machine& machine = storage::Machine::Real());

// Removes how a command is to be treated from what it asks for.
void ClearSubmit(google::protobuf::Message& command);

// SHA-256 of a command without its `submit` field, 64 hexadecimal digits. REQUIRES: ClearSubmit().
std::string CommandDigest(const google::protobuf::Message& command);

}  // namespace concordat::runtime
