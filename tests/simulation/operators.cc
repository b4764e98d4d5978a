// The people who run the sites: they look at what `concordat status` shows, and do what the alarms
// and the runbooks say, and nothing else.
#include <filesystem>

#include "tests/simulation/inside.h"

namespace concordat::simulation {
namespace {

// An alert waits, for a gap may close by itself.
constexpr absl::Duration kGapPatience = absl::Seconds(20);

bool Says(const node::StreamState& state, std::string_view words) {
  return state.alarm.find(words) != std::string::npos;
}

}  // namespace

// One thing at a time at each site: the next look shows what came of it.
void World::Oversee() {
  for (const auto& site : sites_) {
    bool done = std::any_of(site->nodes.begin(), site->nodes.end(),
                            [](const auto& node) { return node->stopping; });
    for (const auto& node : site->nodes) {
      if (done || !node->responds()) continue;
      for (const node::StreamState& state : node->running->States()) {
        done = Mend(*site, *node, state);
        if (done) break;
      }
    }
  }
  After(Between(absl::Seconds(2), absl::Seconds(20)), [this] { Oversee(); });
}

// Whether something was done about what is shown.
bool World::Mend(SiteWorld& site, Node& node, const node::StreamState& state) {
  const bool loser = !state.home && TookLoser(site.index, state.stream, state.head);
  // What `concordat verify` says of one whose last records were left out: nothing else tells.
  const bool behind =
      !storm_ && !state.home &&
      state.head.sequence + 1 < static_cast<int64_t>(referee_->Of(state.stream).facts.size());
  const bool gap = loser || behind || state.condition == "suspect" || state.condition == "forked";
  if (!gap) gaps_.erase({site.index, state.stream});
  if (state.alarm.empty() && !gap) return false;
  // Whatever was done to it, who folds the same events by the same code comes to the same state.
  if (state.condition == "diverged") Violation("attested-is-folded", state.alarm);
  const auto act = [&](const char* what) {
    Tell("operator at {}: {}: {}", node.name, what, state.alarm);
    Count(std::string("operator-") + what);
  };
  if (Says(state, "install the release that wrote it")) {
    act("upgrades");
    ChangeRelease(node, false);
    return true;
  }
  // First it is asked whose fault it is. A copy with a loser in it is made anew, over there.
  if (Says(state, "ConcordatHomeForked") && SomeTookLoser(state.stream)) {
    held_up_.insert(state.stream);
    return false;
  }
  if (Says(state, "ConcordatHomeForked") && held_up_.erase(state.stream) > 0) {
    act("restarts-whole-home");
    Crash(node, "its log is whole");
    StartAgain(site);
    return true;
  }
  // The branch that others saw is put in its place, if they can give it.
  if (Says(state, "ConcordatHomeForked") && HeldElsewhere(site, state.stream)) {
    act("makes-home-anew");
    MakeHomeAnew(site, state.stream);
    return true;
  }
  if (Says(state, "delete") && Says(state, "start again")) {
    act("discards");
    Crash(node, "what it made of its logs is discarded");
    DiscardAll(node);
    StartAgain(site);
    return true;
  }
  if (Says(state, "ConcordatLogLost") || Says(state, "the log lost records")) {
    act("restarts");
    Crash(node, "its log lost records");
    StartAgain(site);
    return true;
  }
  // First the origin is looked at: a copy is the only one while its home's log is not whole.
  if (!gap || state.home || lost_.contains(state.stream)) return false;
  const auto since = gaps_.try_emplace({site.index, state.stream}, scheduler_.Steady()).first;
  if (scheduler_.Steady() - since->second < kGapPatience) return false;
  act(loser                         ? "makes-copy-with-a-loser-anew"
      : state.condition == "forked" ? "makes-forked-copy-anew"
                                    : "makes-copy-anew");
  gaps_.erase(since);
  MakeCopyAnew(site, state.stream);
  return true;
}

// Folders of projections, or the archive. REQUIRES: nothing runs there.
void World::Discard(Node& node, const std::vector<std::string>& names) {
  storage::MemoryDisk::Image image = node.disk.Durable();
  for (const std::string& name : names) {
    const std::string place =
        fmt::format("{}/{}/{}", config_.data_dir, names_[static_cast<size_t>(node.site)], name);
    image.erase(place);
    if (!options_.rocksdb_dir.empty())
      std::filesystem::remove_all(options_.rocksdb_dir + "/" + node.name + place);
  }
  node.disk.Restore(image);
}

void World::DiscardAll(Node& node) {
  std::vector<std::string> names{"archive"};
  for (const auto& [stream, history] : referee_->histories()) names.push_back(stream);
  Discard(node, names);
}

void World::StopAll(SiteWorld& site) {
  for (const auto& node : site.nodes) Crash(*node, "an operator stops it");
}

void World::StartAgain(SiteWorld& site) {
  After(Between(absl::Milliseconds(100), absl::Seconds(5)),
        [this, &site] { Start(*site.nodes[static_cast<size_t>(site.preferred)]); });
}

// As docs/runbooks/ConcordatMirrorGap.md says.
void World::MakeCopyAnew(SiteWorld& site, const std::string& stream) {
  StopAll(site);
  site.cluster->Lose(stream, 0);
  holes_.erase({site.index, stream});
  std::vector<std::string> made_from_it{stream, "archive"};
  const std::string own = events::StreamName(site.name, "reservations");
  if (events::ServiceOf(stream) == "reservations") made_from_it.push_back(own);
  for (const auto& node : site.nodes) Discard(*node, made_from_it);
  CarryAnew(stream, site.index);
  StartAgain(site);
}

// As docs/runbooks/ConcordatHomeForked.md says.
void World::MakeHomeAnew(SiteWorld& site, const std::string& stream) {
  StopAll(site);
  site.cluster->Lose(stream, 0);
  lost_.insert(stream);
  referee_->Lost(stream);
  for (const auto& node : site.nodes) DiscardAll(*node);
  CarryAnew(stream, -1);
  StartAgain(site);
}

bool World::ChangeRelease(Node& node, bool to_old) {
  if (node.old_release == to_old) return false;
  if (node.running == nullptr) {
    node.old_release = to_old;
    return true;
  }
  if (!node.responds()) return false;
  Stop(node, [this, &node, to_old] {
    Tell("{} gets the {} release", node.name, to_old ? "older" : "newer");
    node.old_release = to_old && storm_;
    Start(node);
  });
  return true;
}

}  // namespace concordat::simulation
