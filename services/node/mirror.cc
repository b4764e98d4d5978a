#include "services/node/mirror.h"

#include <absl/time/time.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace concordat::node {
namespace {

constexpr size_t kChunk = 500;
constexpr absl::Duration kRetry = absl::Seconds(1);

std::string NoteKey(const std::string& stream) { return "mirror/" + stream; }

}  // namespace

Mirror::Mirror(std::string origin, storage::EmbeddedLog& from, storage::EmbeddedLog& to,
               std::vector<std::string> streams, std::function<bool(const std::string&)> is_home)
    : origin_(std::move(origin)),
      from_(from),
      to_(to),
      streams_(std::move(streams)),
      is_home_(std::move(is_home)) {}

Mirror::~Mirror() { Stop(); }

void Mirror::Run() {
  thread_ = std::thread([this] {
    while (!stopping_) {
      const bool carried = !cut_ && CarrySome();
      if (carried) continue;
      // What failed is not tried again at once: a full disk is full for some time.
      if (!failures_.empty()) {
        from_.WaitUntil([this] { return stopping_.load(); }, kRetry);
        continue;
      }
      from_.WaitUntil([this] { return stopping_ || (!cut_ && HasWork()); },
                      absl::Milliseconds(100));
    }
  });
}

void Mirror::Stop() {
  stopping_ = true;
  from_.WakeAll();
  if (thread_.joinable()) thread_.join();
}

int64_t Mirror::Position(const std::string& stream) {
  return std::atoll(to_.Note(NoteKey(stream)).c_str());
}

int64_t Mirror::Pending() {
  int64_t pending = 0;
  for (const std::string& stream : streams_)
    pending += std::max<int64_t>(from_.End(stream) - Position(stream), 0);
  return pending;
}

bool Mirror::Continues(const std::string& stream, int64_t position) {
  const std::string note = to_.Note(NoteKey(stream));
  const size_t space = note.find(' ');
  if (position == 0 || space == note.npos) return true;
  const auto last = from_.ReadFrom(stream, position - 1, 1);
  return last.ok() && !last->empty() &&
         events::HeaderValue(last->front().record, "ce_id") == note.substr(space + 1);
}

bool Mirror::MayCarry(const std::string& stream) {
  if (homes_.contains(stream)) return true;
  if (!is_home_(stream)) return false;
  homes_.insert(stream);
  return true;
}

bool Mirror::HasWork() {
  return std::any_of(streams_.begin(), streams_.end(), [this](const std::string& stream) {
    return MayCarry(stream) && from_.End(stream) > Position(stream);
  });
}

bool Mirror::CarrySome() {
  bool carried = false;
  for (const std::string& stream : streams_) {
    if (!MayCarry(stream)) continue;
    int64_t position = Position(stream);
    // A log that was restored, or filled again from a peer, has other records at these offsets.
    // From the beginning on nothing is left out, and what is delivered twice is void.
    if (continued_.insert(stream).second && !Continues(stream, position)) {
      spdlog::warn(
          "the link from {} carries {} from the beginning: its log is not the one that was "
          "carried up to offset {}",
          origin_, stream, position);
      position = 0;
    }
    const auto read = from_.ReadFrom(stream, position, kChunk);
    if (!read.ok()) {
      Fails(stream,
            fmt::format("cannot read {}: {}", stream, std::string(read.status().message())));
      continue;
    }
    if (read->empty()) failures_.erase(stream);
    if (read->empty() || cut_) continue;
    std::vector<events::Record> records;
    for (const storage::StoredRecord& stored : *read) records.push_back(stored.record);
    const auto appended =
        to_.AppendNow(stream, records, NoteKey(stream),
                      fmt::format("{} {}", position + static_cast<int64_t>(records.size()),
                                  events::HeaderValue(records.back(), "ce_id")));
    if (!appended.ok()) {
      Fails(stream,
            fmt::format("cannot write {}: {}", stream, std::string(appended.status().message())));
      continue;
    }
    failures_.erase(stream);
    carried = true;
  }
  return carried;
}

// Told once, until something is carried again or something else fails.
void Mirror::Fails(const std::string& stream, const std::string& failure) {
  std::string& told = failures_[stream];
  if (told == failure) return;
  spdlog::error("the link from {} {}", origin_, failure);
  told = failure;
}

void Mirror::Redeliver(const std::string& stream, int64_t records) {
  const int64_t position = std::max<int64_t>(Position(stream) - records, 0);
  to_.AppendNow(stream, {}, NoteKey(stream), std::to_string(position)).status().IgnoreError();
  from_.WakeAll();
}

}  // namespace concordat::node
