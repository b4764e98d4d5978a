#include "services/runtime/delivery.h"

#include <fmt/format.h>

#include <utility>

namespace concordat::runtime {

void Delivery::Take(storage::StoredRecord stored) {
  if (stored.stream != stored_.stream) source_ = events::SourceOf(stored.stream);
  stored_ = std::move(stored);
  event_.reset();
  reading_ = events::Read(stored_.record, source_, std::move(reading_.attributes));
}

namespace {
absl::StatusOr<MessagePtr> EventIn(const std::string& type, std::string_view data) {
  const auto* known =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(type);
  if (known != nullptr) return ParseEvent(known, data);
  return absl::InvalidArgumentError(
      fmt::format("its data is a {}, which this release does not know", type));
}
}  // namespace

const absl::StatusOr<MessagePtr>& Delivery::event() const {
  if (!event_) event_ = EventIn(reading_.attributes.data_type, stored_.record.data);
  return *event_;
}

Deliveries::Deliveries(storage::LogReader& reader, storage::Machine& machine)
    : reader_(reader), machine_(machine) {}

Deliveries::~Deliveries() { Stop(); }

void Deliveries::Fill(Chunk& chunk, absl::Duration wait) {
  absl::StatusOr<std::vector<storage::StoredRecord>> records = reader_.Read(kChunk, wait);
  chunk.status = records.status();
  chunk.size = records.ok() ? records->size() : 0;
  if (chunk.deliveries.size() < chunk.size) chunk.deliveries.resize(chunk.size);
  for (size_t i = 0; i < chunk.size; ++i) {
    chunk.deliveries[i].Take(std::move((*records)[i]));
  }
}

absl::StatusOr<absl::Span<const Delivery>> Deliveries::Next(absl::Duration wait, int64_t end) {
  Settle();
  if (std::exchange(ahead_, false)) {
    std::swap(now_, next_);
  } else {
    Fill(now_, wait);
  }
  if (!now_.status.ok()) return now_.status;
  const absl::Span<const Delivery> deliveries(now_.deliveries.data(), now_.size);
  if (deliveries.size() == kChunk && deliveries.back().offset() + 1 < end) {
    ahead_ = true;
    {
      absl::MutexLock lock(&signal_->mutex);
      signal_->filling = true;
    }
    if (thread_ == nullptr)
      thread_ = machine_.Start("read-ahead", [this, signal = signal_] { ReadAhead(*signal); });
  }
  return deliveries;
}

void Deliveries::ReadAhead(Signal& signal) {
  const auto told = [&signal]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(signal.mutex) {
    return signal.filling || signal.stopping;
  };
  for (;;) {
    {
      absl::MutexLock lock(&signal.mutex);
      machine_.Await(signal.mutex, absl::Condition(&told), absl::InfiniteDuration());
      if (signal.stopping) return;
    }
    Fill(next_, absl::ZeroDuration());
    for (size_t i = 0; i < next_.size; ++i) {
      if (next_.deliveries[i].reading().status.ok()) next_.deliveries[i].event();
    }
    absl::MutexLock lock(&signal.mutex);
    signal.filling = false;
  }
}

void Deliveries::Settle() {
  absl::MutexLock lock(&signal_->mutex);
  const auto filled = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(signal_->mutex) {
    return !signal_->filling;
  };
  machine_.Await(signal_->mutex, absl::Condition(&filled), absl::InfiniteDuration());
}

void Deliveries::Stop() {
  Settle();
  ahead_ = false;
  if (thread_ == nullptr) return;
  {
    absl::MutexLock lock(&signal_->mutex);
    signal_->stopping = true;
  }
  thread_->Join();
  thread_.reset();
  absl::MutexLock lock(&signal_->mutex);
  signal_->stopping = false;
}

}  // namespace concordat::runtime
