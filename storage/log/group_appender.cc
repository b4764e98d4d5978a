#include "storage/log/group_appender.h"

#include <iterator>

namespace concordat::storage {

GroupAppender::GroupAppender(std::unique_ptr<GroupTarget> target)
    : target_(std::move(target)), thread_(Machine::Real().Start("appender", [this] { Send(); })) {}

GroupAppender::~GroupAppender() {
  {
    absl::MutexLock lock(&mutex_);
    next_.clear();
    stopping_ = true;
    GiveUp();
  }
  thread_->Join();
}

void GroupAppender::Append(events::Record record, uint64_t cookie) {
  queued_.emplace_back(std::move(record), cookie);
}

std::vector<AppendReport> GroupAppender::Poll(absl::Duration wait) {
  absl::MutexLock lock(&mutex_);
  if (next_.empty()) {
    next_.swap(queued_);
  } else {
    std::move(queued_.begin(), queued_.end(), std::back_inserter(next_));
    queued_.clear();
  }
  const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return woken_ || !reports_.empty();
  };
  mutex_.AwaitWithTimeout(absl::Condition(&something), wait);
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
    next_.clear();
    GiveUp();
    reports_.clear();
  }
  // Nothing is sent before the next Poll(), and whoever wakes must not wait for this.
  target_->Reset();
}

void GroupAppender::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void GroupAppender::GiveUp() {
  if (!sending_) return;
  mutex_.Unlock();  // the target may be reporting, with a lock of its own
  target_->Interrupt();
  mutex_.Lock();
  const auto idle = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !sending_; };
  mutex_.Await(absl::Condition(&idle));
}

void GroupAppender::Send() {
  GroupTarget::Group group;
  absl::MutexLock lock(&mutex_);
  for (;;) {
    const auto something = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stopping_ || !next_.empty();
    };
    mutex_.Await(absl::Condition(&something));
    if (next_.empty()) return;
    group.swap(next_);
    sending_ = true;
    mutex_.Unlock();
    target_->Append(group, [this](std::vector<AppendReport> reports) {
      absl::MutexLock reporting(&mutex_);
      if (reports_.empty()) {
        reports_ = std::move(reports);
      } else {
        std::move(reports.begin(), reports.end(), std::back_inserter(reports_));
      }
    });
    group.clear();
    mutex_.Lock();
    sending_ = false;
  }
}

}  // namespace concordat::storage
