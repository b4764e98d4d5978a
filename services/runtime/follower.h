// Followers read streams and hand each record to sinks: replicas fold, feeds react, the archive
// keeps. Law: each sink has its own chain and its own position, so that each can be deleted and
// filled anew.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "services/runtime/engine.h"
#include "services/runtime/fold.h"
#include "services/runtime/writer.h"
#include "storage/log/log.h"
#include "storage/machine.h"
#include "storage/projection/projection.h"

namespace concordat::runtime {

// What others may see of a followed stream.
struct FollowedView {
  events::Head head;
  events::Condition condition = events::Condition::kOk;
  bool forked = false;
  std::string alarm;
  absl::flat_hash_map<events::Outcome, uint64_t> voids;
  int64_t next_offset = 0;
  bool diverged = false;   // another state was attested for the same events
  int64_t last_fact = -1;  // sequence of the last event seen that is no system event
};

// One stream's consumer of records. All but stream() and View() on the follower's thread.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual const std::string& stream() const = 0;  // any thread
  virtual int64_t next_offset() const = 0;
  // Takes the next record. An error stops this sink, and it alone; its alarm says why.
  virtual absl::Status Offer(const Delivery& delivery) = 0;
  // The batch has to end here, before the next record is offered.
  virtual bool Full() const { return false; }
  // Stores what was taken since the last call. Waits where it must; returns early where `stopping`.
  virtual absl::Status EndBatch(const std::atomic<bool>& stopping) = 0;
  // The reader has reached the end of the log.
  virtual void AtEnd() {}
  // No more records come, or none for now: why, for the sink's alarm. OK: they do again, and
  // its alarm is what it was.
  virtual void Stopped(const absl::Status& status) = 0;
  virtual FollowedView View() const = 0;  // any thread
};

// Reads the streams of its sinks on one thread, with one reader.
class Follower {
 public:
  // Nothing is owned; all must outlive the follower.
  Follower(storage::Log& log, std::vector<Sink*> sinks,
           storage::Machine& machine = storage::Machine::Real());
  ~Follower();
  Follower(const Follower&) = delete;

  // `wait`: how long it waits for records before it looks whether it shall stop.
  void Run(absl::Duration wait = absl::Milliseconds(100));
  // Returns at once; several that are told to stop before each is waited for stop side by side.
  void BeginToStop();
  void Stop();
  // Reads and hands out what is there, waiting at most `wait`; for tests. The number of records.
  size_t Step(absl::Duration wait);
  // Records at the ends of the logs that were not read yet, by stream. Any thread; as of the last
  // look.
  absl::flat_hash_map<std::string, int64_t> Lag() const;

 private:
  bool AssignAll();
  void MeasureLag();
  void StopSink(Sink* sink, const absl::Status& status);
  void StopUnreadable(const absl::Status& found);
  // Whether the log holds the head where it was; nothing where it does not say for now.
  // Where the log has nothing there yet, it is given so much time to bring it.
  std::optional<absl::Status> LookForHead(const std::string& stream, const events::Head& head,
                                          absl::Duration patience);
  // Takes those of the waiting sinks whose heads the log holds where they were, and stops those
  // where it does not. The others wait on.
  void Admit();

  storage::Machine& machine_;
  std::vector<Sink*> sinks_;
  absl::flat_hash_map<std::string, std::vector<Sink*>> by_stream_;
  std::unique_ptr<storage::LogReader> reader_;
  Deliveries deliveries_;
  bool assigned_ = false;
  struct Found {
    std::string stream;
    events::Head head;
  };
  std::vector<Found> found_;    // heads that the log holds
  std::vector<Sink*> waiting_;  // whose heads are not looked for yet, or not found out about
  absl::Duration next_look_ = -absl::InfiniteDuration();  // by the steady clock
  absl::Time next_lag_ = absl::InfinitePast();
  std::unique_ptr<storage::Thread> thread_;
  std::atomic<bool> stopping_ = false;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, int64_t> lag_ ABSL_GUARDED_BY(mutex_);
};

// Folds another site's stream into a read-only projection.
class Replica final : public Sink {
 public:
  // Nothing is owned. `here` is the site that follows. `code` is the release and layout that fold,
  // as AttestOptions has it; empty: attested states are not compared.
  Replica(Engine& engine, storage::Projection& projection, std::string here,
          storage::Machine& machine = storage::Machine::Real(), std::string code = "");

  const std::string& stream() const override { return stream_; }
  int64_t next_offset() const override { return fold_.projection().chain().next_offset(); }
  absl::Status Offer(const Delivery& delivery) override;
  bool Full() const override { return attested_.has_value(); }
  absl::Status EndBatch(const std::atomic<bool>& stopping) override;
  void AtEnd() override;
  void Stopped(const absl::Status& status) override;
  FollowedView View() const override;
  // Waits until the events up to `sequence` are folded. Any thread.
  bool WaitFor(int64_t sequence, absl::Duration wait) const;

 private:
  void Publish();

  absl::Status Commit(const std::atomic<bool>& stopping, storage::Projection::Notes notes);

  const std::string stream_;
  storage::Machine& machine_;
  const std::string code_;
  mutable Fold fold_;
  absl::Status agreed_;  // DATA_LOSS once another state was attested
  std::optional<system::v1::StateAttested>
      attested_;  // at the head, to be compared when it is stored
  int64_t last_fact_ = -1;
  bool changed_ = false;
  absl::Time next_flush_ = absl::InfinitePast();
  mutable absl::Mutex mutex_;
  FollowedView view_ ABSL_GUARDED_BY(mutex_);
};

// Reacts to another stream's events by commands of its own service's stream. Its position is stored
// with the writer's rows, once every command that followed has been decided; what is read again
// after a crash is decided once all the same, because the commands' ids derive from their causes.
class Feed final : public Sink {
 public:
  // Nothing is owned. `projection` is the writer's, and is read by this constructor only.
  // REQUIRES: the writer does not run yet, for its thread reads the projection too.
  Feed(const Engine& engine, Writer& writer, const storage::Projection& projection,
       std::string stream, const google::protobuf::Descriptor* event_type, std::string here,
       storage::Machine& machine = storage::Machine::Real());

  const std::string& stream() const override { return stream_; }
  int64_t next_offset() const override { return chain_.next_offset(); }
  absl::Status Offer(const Delivery& delivery) override;
  absl::Status EndBatch(const std::atomic<bool>& stopping) override;
  void AtEnd() override;
  void Stopped(const absl::Status& status) override;
  FollowedView View() const override;

 private:
  // A command with what is needed to submit it again.
  struct Issued {
    AnyIntent intent;
    Cause cause;
    std::string correlation_id;
  };
  Submission SubmissionOf(const Issued& issued) const;
  void Publish();

  const Engine& engine_;
  Writer& writer_;
  const std::string stream_;
  const google::protobuf::Descriptor* event_type_;
  const std::string here_;
  storage::Machine& machine_;
  events::Chain chain_;
  std::vector<Issued> issued_;
  bool changed_ = false;
  mutable absl::Mutex mutex_;
  FollowedView view_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace concordat::runtime
