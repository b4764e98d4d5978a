#include "services/node/mirror.h"

#include <absl/time/time.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace concordat::node {
namespace {

constexpr size_t kChunk = 500;

std::string NoteKey(const std::string& stream) { return "mirror/" + stream; }

}  // namespace

Mirror::Mirror(std::string origin, storage::EmbeddedLog& from, storage::EmbeddedLog& to,
               std::vector<std::string> streams)
    : origin_(std::move(origin)), from_(from), to_(to), streams_(std::move(streams)) {}

Mirror::~Mirror() { Stop(); }

void Mirror::Run() {
  thread_ = std::thread([this] {
    while (!stopping_) {
      const bool carried = !cut_ && CarrySome();
      if (carried) continue;
      from_.WaitUntil([this] { return stopping_ || (!cut_ && Pending() > 0); },
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

bool Mirror::CarrySome() {
  bool carried = false;
  for (const std::string& stream : streams_) {
    const int64_t position = Position(stream);
    const auto read = from_.ReadFrom(stream, position, kChunk);
    if (!read.ok()) {
      spdlog::error("the link from {} cannot read {}: {}", origin_, stream,
                    std::string(read.status().message()));
      continue;
    }
    if (read->empty() || cut_) continue;
    std::vector<events::Record> records;
    for (const storage::StoredRecord& stored : *read) records.push_back(stored.record);
    const auto appended =
        to_.AppendNow(stream, records, NoteKey(stream),
                      std::to_string(position + static_cast<int64_t>(records.size())));
    if (!appended.ok()) {
      spdlog::error("the link from {} cannot write {}: {}", origin_, stream,
                    std::string(appended.status().message()));
      continue;
    }
    carried = true;
  }
  return carried;
}

void Mirror::Redeliver(const std::string& stream, int64_t records) {
  const int64_t position = std::max<int64_t>(Position(stream) - records, 0);
  to_.AppendNow(stream, {}, NoteKey(stream), std::to_string(position)).status().IgnoreError();
  from_.WakeAll();
}

}  // namespace concordat::node
