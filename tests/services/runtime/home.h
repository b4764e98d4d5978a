// The tests' service at its home: projection, engine and writer over a log. Law: nothing of it is a
// mock; it is put together as a site does it, and stepped by the test or run on a thread of its
// own.
#pragma once

#include <absl/synchronization/mutex.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/runtime/clock.h"
#include "services/runtime/engine.h"
#include "services/runtime/writer.h"
#include "storage/log/log.h"
#include "storage/projection/projection.h"
#include "tests/services/runtime/ledger.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace concordat::test {

// A command that was asked, and its answer once it has come.
class Asked {
 public:
  bool answered() const;
  // REQUIRES: answered.
  absl::StatusOr<type::v1::Outcome> outcome() const;
  // How often it was answered; more than once is a defect.
  int answers() const;
  runtime::AnswerCallback Callback() const;

 private:
  struct State {
    absl::Mutex mutex;
    std::optional<absl::StatusOr<type::v1::Outcome>> outcome;
    int answers = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

v1::Command Put(const std::string& name, int64_t amount = 1);
// One that is confirmed by a reaction.
v1::Command PutConfirmed(const std::string& name);

class Home {
 public:
  Home(storage::Log& log, runtime::Clock& clock, const std::string& site = "paris");
  ~Home();

  // Opens the projection and makes a writer; nothing happens yet.
  void Open();
  // Opens it and steps until the writer writes or has stopped.
  void Start();
  // Opens it and runs the writer on its own thread until it writes.
  void Run();
  void Stop();
  void Restart() {
    Stop();
    Start();
  }
  // Deletes the projection. REQUIRES: stopped.
  void Wipe();
  // Keeps a copy of the projection, or puts it back, as a crash does that lost what came since.
  // REQUIRES: stopped.
  void Keep();
  void PutBack();

  Asked Ask(const v1::Command& command, const std::string& id, const std::string& actor = "alice",
            const std::function<void(runtime::Submission&)>& change = nullptr);
  // Asks and steps until the answer has come.
  absl::StatusOr<type::v1::Outcome> Answer(
      const v1::Command& command, const std::string& id, const std::string& actor = "alice",
      const std::function<void(runtime::Submission&)>& change = nullptr);
  absl::StatusOr<type::v1::Outcome> Answer(const Asked& asked);
  // Steps, unless the writer runs by itself, until it holds.
  bool StepUntil(const std::function<bool()>& done);
  void Step(int count);

  runtime::Writer& writer() { return *writer_; }
  runtime::Engine& engine() { return *engine_; }
  storage::Projection& projection() { return *projection_; }
  runtime::WriterState state() { return writer_->View().state; }
  std::string alarm() { return writer_->View().alarm; }
  std::optional<v1::Item> Item(const std::string& name);
  // Over the rows as they are stored; the kept one must equal it.
  std::string Digest();
  const std::string& stream() const { return stream_; }

  runtime::WriterOptions options;

 private:
  storage::Log& log_;
  runtime::Clock& clock_;
  const std::string stream_;
  TempDir dir_;
  bool running_ = false;
  std::unique_ptr<storage::Projection> projection_;
  std::unique_ptr<runtime::Engine> engine_;
  std::unique_ptr<runtime::Writer> writer_;
};

// An accepted event of a log.
struct Fact {
  events::Attributes attributes;
  events::Record record;
  int64_t offset = -1;
  std::optional<v1::Event> event;  // nothing for a system event
};
// The history in a log's records, whose offsets count from 0.
std::vector<Fact> History(const std::vector<events::Record>& records, const std::string& stream);
// How many of them are of a type, `ItemPut`.
int CountOf(const std::vector<Fact>& history, const std::string& type);
// How many were caused by a caller's command.
int CountOfCommand(const std::vector<Fact>& history, const std::string& id,
                   const std::string& actor = "alice");
// The head that follows from a history, for forging what comes after it.
events::Head HeadOf(const std::vector<Fact>& history);
// A record that holds an event and follows `head`, as another writer would have written it.
events::Record Foreign(events::Head& head, const std::string& type, const std::string& data,
                       const std::string& writer = std::string(32, 'f') + ".1",
                       const std::string& stream = "paris.ledger.events");
events::Record ForeignPut(events::Head& head, const std::string& name,
                          const std::string& stream = "paris.ledger.events");

}  // namespace concordat::test
