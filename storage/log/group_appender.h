// An appender that sends group by group on a thread of its own, so that its caller decides the next
// group meanwhile. What is appended while a group is on its way makes the next one, so groups grow
// with the time that one takes, and no timer forms them.
#pragma once

#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "storage/log/log.h"
#include "storage/machine.h"

namespace concordat::storage {

// Where the groups of one stream go. One thread at a time, but for Interrupt(), which may come from
// any thread during Begin() and Await().
class GroupTarget {
 public:
  // Records with their cookies.
  using Group = std::vector<std::pair<events::Record, uint64_t>>;

  virtual ~GroupTarget() = default;

  // Appends a group. REQUIRES: every group before it is reported. Need not wait.
  virtual void Begin(Group group) = 0;
  // Reports of what was begun, in its order, waiting at most `wait` for the first of them.
  virtual std::vector<AppendReport> Await(absl::Duration wait) = 0;
  // Ends a wait in Await() early, this one or the next.
  virtual void Interrupt() = 0;
  // Gives up what is not reported.
  virtual void Reset() = 0;
};

class GroupAppender final : public LogAppender {
 public:
  explicit GroupAppender(std::unique_ptr<GroupTarget> target);
  ~GroupAppender() override;
  GroupAppender(const GroupAppender&) = delete;

  void Append(events::Record record, uint64_t cookie) override;
  // A record that is alone is sent and awaited here, without the other thread: who has nothing else
  // to do gets its report sooner so.
  std::vector<AppendReport> Poll(absl::Duration wait) override;
  size_t Waiting() const override;
  void Reset() override;
  void Wake() override;

 private:
  void Run();
  // Begins the next group if none is on its way, and takes reports. Unlocks meanwhile.
  void Drive(absl::Duration wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits until the target is nobody's, interrupting whoever has it; nobody takes it after that.
  void TakeTarget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<GroupTarget> target_;
  GroupTarget::Group queued_;  // the caller's thread only
  mutable absl::Mutex mutex_;
  GroupTarget::Group next_ ABSL_GUARDED_BY(mutex_);  // what is to be sent once nothing is
  size_t on_its_way_ ABSL_GUARDED_BY(mutex_) = 0;    // records begun and not reported
  bool driven_ ABSL_GUARDED_BY(mutex_) = false;      // a thread has the target
  bool by_caller_ ABSL_GUARDED_BY(mutex_) = false;   // the caller's, in Poll()
  bool claimed_ ABSL_GUARDED_BY(mutex_) = false;     // no thread takes the target any more
  std::vector<AppendReport> reports_ ABSL_GUARDED_BY(mutex_);
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Thread> thread_;
};

}  // namespace concordat::storage
