#include "storage/log/group_appender.h"

#include <iterator>

namespace concordat::storage {
namespace {

template <typename T>
void MoveTo(std::vector<T>& to, std::vector<T>& from) {
  if (to.empty()) {
    to.swap(from);
  } else {
    std::move(from.begin(), from.end(), std::back_inserter(to));
    from.clear();
  }
}

}  // namespace

GroupAppender::GroupAppender(std::unique_ptr<GroupTarget> target)
    : target_(std::move(target)), thread_(Machine::Real().Start("appender", [this] { Run(); })) {}

GroupAppender::~GroupAppender() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    TakeTarget();
  }
  thread_->Join();
}

void GroupAppender::Append(events::Record record, uint64_t cookie) {
  queued_.emplace_back(std::move(record), cookie);
}

std::vector<AppendReport> GroupAppender::Poll(absl::Duration wait) {
  absl::MutexLock lock(&mutex_);
  MoveTo(next_, queued_);
  const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return woken_ || !reports_.empty();
  };
  const bool alone = next_.size() == 1 && on_its_way_ == 0 && !driven_;
  if (alone && wait > absl::ZeroDuration() && !something()) {
    by_caller_ = true;
    Drive(wait);
    by_caller_ = false;
  } else {
    mutex_.AwaitWithTimeout(absl::Condition(&something), wait);
  }
  woken_ = false;
  return std::exchange(reports_, {});
}

size_t GroupAppender::Waiting() const {
  absl::MutexLock lock(&mutex_);
  return queued_.size() + next_.size();
}

void GroupAppender::Reset() {
  queued_.clear();
  {
    absl::MutexLock lock(&mutex_);
    TakeTarget();
  }
  // Whoever wakes must not wait for this.
  target_->Reset();
  absl::MutexLock lock(&mutex_);
  next_.clear();
  on_its_way_ = 0;
  reports_.clear();
  claimed_ = false;
}

void GroupAppender::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
  if (by_caller_) target_->Interrupt();
}

void GroupAppender::TakeTarget() {
  claimed_ = true;
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !driven_; };
  if (driven_) target_->Interrupt();
  mutex_.Await(absl::Condition(&idle));
}

void GroupAppender::Drive(absl::Duration wait) {
  driven_ = true;
  GroupTarget::Group group;
  if (on_its_way_ == 0) group.swap(next_);
  on_its_way_ += group.size();
  mutex_.Unlock();
  if (!group.empty()) target_->Begin(std::move(group));
  std::vector<AppendReport> reports = target_->Await(wait);
  mutex_.Lock();
  on_its_way_ -= reports.size();
  MoveTo(reports_, reports);
  driven_ = false;
}

void GroupAppender::Run() {
  constexpr absl::Duration kWait = absl::Seconds(1);
  absl::MutexLock lock(&mutex_);
  const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || (!claimed_ && !driven_ && (on_its_way_ > 0 || !next_.empty()));
  };
  for (mutex_.Await(absl::Condition(&something)); !stopping_;
       mutex_.Await(absl::Condition(&something)))
    Drive(kWait);
}

}  // namespace concordat::storage
