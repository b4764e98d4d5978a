// An appender that sends group by group on a thread of its own, so that its caller decides the next
// group meanwhile. What is appended while a group is on its way makes the next one, so groups grow
// with the time that one takes, and no timer forms them.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/synchronization/mutex.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "storage/log/log.h"
#include "storage/machine.h"

namespace concordat::storage {

// Where the groups of one stream go.
class GroupTarget {
 public:
  // Records with their cookies.
  using Group = std::vector<std::pair<events::Record, uint64_t>>;

  virtual ~GroupTarget() = default;

  // Appends a group and waits until all of it is reported, by one call of `report` or several; or
  // returns early once it is interrupted. One thread at a time.
  virtual void Append(const Group& group,
                      absl::FunctionRef<void(std::vector<AppendReport>)> report) = 0;
  // Has an Append() that waits for others return. Any thread.
  virtual void Interrupt() {}
  // Gives up what is not reported, and takes groups again. Not during an Append().
  virtual void Reset() {}
};

class GroupAppender final : public LogAppender {
 public:
  explicit GroupAppender(std::unique_ptr<GroupTarget> target);
  ~GroupAppender() override;
  GroupAppender(const GroupAppender&) = delete;

  void Append(events::Record record, uint64_t cookie) override;
  std::vector<AppendReport> Poll(absl::Duration wait) override;
  size_t Waiting() const override;
  void Reset() override;
  void Wake() override;

 private:
  void Send();
  // Has a group that is on its way given up, and waits until it is.
  void GiveUp() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::unique_ptr<GroupTarget> target_;
  GroupTarget::Group queued_;  // the caller's thread only
  mutable absl::Mutex mutex_;
  GroupTarget::Group next_ ABSL_GUARDED_BY(mutex_);  // what is to be sent once nothing is
  std::vector<AppendReport> reports_ ABSL_GUARDED_BY(mutex_);
  bool sending_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<Thread> thread_;
};

}  // namespace concordat::storage
