// What comes to stand in the brokers' logs, and the mirrors that carry it to the other sites.
#include "tests/simulation/inside.h"

#include <algorithm>

namespace concordat::simulation {

using storage::SimulatedCluster;

void World::Landed(SiteWorld& site, const std::string& stream, int64_t offset,
                   const SimulatedCluster::Stored& record) {
  if (events::SiteOf(stream) == site.name) {
    const size_t before = referee_->Of(stream).facts.size();
    referee_->Stood(stream, *record);
    if (lost_.contains(stream)) {
      if (!referee_->Accepted(stream, *record)) LookWhetherWhole(site, stream);
    } else {
      referee_->Landed(stream, offset, record);
    }
    const History& history = referee_->Of(stream);
    const bool accepted = history.facts.size() > before;
    Mix(record->data.size() * 2 + (accepted ? 1 : 0));
    if (options_.transcript) {
      const std::string link(events::HeaderValue(*record, "ce_id").substr(0, 8));
      Tell("{}@{} {} {} {} of {} for {}", stream, offset, accepted ? "accepts" : "voids",
           events::HeaderValue(*record, "ce_sequence"), link,
           events::HeaderValue(*record, "ce_type"), events::HeaderValue(*record, "ce_commandid"));
    }
    for (const auto& mirror : mirrors_) {
      if (names_[static_cast<size_t>(mirror->from)] == site.name) CarryLater(*mirror);
    }
  }
  if (events::SiteOf(stream) != site.name) referee_->Copied(site.name, stream, *record);
  if (events::SiteOf(stream) != site.name && lost_.contains(stream) &&
      !referee_->Accepted(stream, *record))
    referee_->SeenElsewhere(stream, LogOf(site, stream));
  for (const auto& node : site.nodes) {
    if (node->process != nullptr && !node->process->dead()) node->process->Touch();
  }
}

void World::CarryLater(Mirror& mirror) {
  if (mirror.scheduled || mirror.cut || mirror.down) return;
  mirror.scheduled = true;
  After(Between(absl::Milliseconds(5),
                random_.OneIn(20) ? absl::Seconds(5) : absl::Milliseconds(300)),
        [this, &mirror] { Carry(mirror); });
}

void World::Carry(Mirror& mirror) {
  mirror.scheduled = false;
  if (mirror.cut || mirror.down) return;
  SimulatedCluster& from = *sites_[static_cast<size_t>(mirror.from)]->cluster;
  SimulatedCluster& to = *sites_[static_cast<size_t>(mirror.to)]->cluster;
  const std::string& to_name = names_[static_cast<size_t>(mirror.to)];
  bool more = false;
  for (const std::string& service : config_.services) {
    const std::string stream =
        events::StreamName(names_[static_cast<size_t>(mirror.from)], service);
    int64_t& position = mirror.position[stream];
    const int64_t end = from.End(stream);
    if (position > end) {  // what it was to read is gone: a consumer begins at the beginning
      position = 0;
      Count("mirror-began-again");
    }
    if (const auto skips = mirror.skips.find(stream);
        skips != mirror.skips.end() && position < end) {
      const int64_t skipped =
          std::min<int64_t>(static_cast<int64_t>(skips->second), end - position);
      Tell("the mirror to {} leaves out {} records of {} from offset {} on", to_name, skipped,
           stream, position);
      Count(NameOf(Fault::kMirrorGap));
      holes_.insert({mirror.to, stream});
      position += skipped;
      skips->second -= static_cast<uint64_t>(skipped);
      if (skips->second == 0) mirror.skips.erase(skips);
    }
    for (int n = 0; position < end && n < 100; ++n) {
      to.Land(stream, from.At(stream, position));
      // Sent twice, for its producer got no answer.
      if (storm_ && random_.OneIn(500)) {
        to.Land(stream, from.At(stream, position));
        Count("mirror-doubled");
      }
      ++position;
    }
    more = more || position < end;
    if (random_.OneIn(4)) mirror.saved[stream] = position;
  }
  if (more) CarryLater(mirror);
}

// To one site, or with -1 to all.
void World::CarryAnew(const std::string& stream, int to) {
  for (const auto& mirror : mirrors_) {
    if (names_[static_cast<size_t>(mirror->from)] != events::SiteOf(stream)) continue;
    if (to >= 0 && mirror->to != to) continue;
    mirror->position[stream] = 0;
    mirror->saved[stream] = 0;
    mirror->skips.erase(stream);
    CarryLater(*mirror);
  }
}

}  // namespace concordat::simulation
