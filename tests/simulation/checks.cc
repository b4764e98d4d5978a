// What must hold at every step, and what at the end.
#include "tests/simulation/inside.h"

#include <algorithm>

namespace concordat::simulation {

void World::CheckHeads(Node& node) {
  const auto& folded = node.running->folded();
  for (size_t i = 0; i < folded.size(); ++i) {
    const events::Head& head = folded[i]->projection->chain().head();
    if (head.sequence == node.heads[i]) continue;
    if (head.sequence < node.heads[i]) {
      Violation("heads-go-on", fmt::format("{} went back from {} to {} in {}", node.name,
                                           node.heads[i], head.sequence, folded[i]->stream));
    }
    node.heads[i] = head.sequence;
    const int64_t first_new = referee_->Of(folded[i]->stream).first_new;
    if (node.old_release && first_new >= 0 && head.sequence >= first_new) {
      Violation("stops-at-unknown",
                fmt::format("{} has folded {} up to {}, and does not know the event at {}",
                            node.name, folded[i]->stream, head.sequence, first_new));
    }
    if (TookLoser(node.site, folded[i]->stream, head)) continue;
    referee_->Folded(node.name, folded[i]->stream, head.sequence, head.link);
  }
}

bool World::Quiet(std::string* why) {
  if (!lost_.empty()) {
    const std::string& stream = *lost_.begin();
    *why = stream + " has not got back what it lost";
    for (const auto& node : nodes_) {
      if (events::SiteOf(stream) != names_[static_cast<size_t>(node->site)] || !node->responds())
        continue;
      const auto view = node->running->Home(std::string(events::ServiceOf(stream)))->writer->View();
      *why += fmt::format(": {} stands at sequence {} of {}: {}", node->name, view.head.sequence,
                          referee_->Of(stream).facts.size(), view.alarm);
    }
    return false;
  }
  for (const auto& site : sites_) {
    Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
    if (!node.responds()) {
      *why = node.name + " is down";
      return false;
    }
    if (node.old_release) {
      *why = node.name + " runs the older release";
      return false;
    }
    if (node.unanswered > 0) {
      *why = fmt::format("{} has not answered {} submissions", node.name, node.unanswered);
      return false;
    }
    for (const auto& folded : node.running->folded()) {
      const History& history = referee_->Of(folded->stream);
      const events::Chain& chain = folded->projection->chain();
      if (chain.head().sequence + 1 != static_cast<int64_t>(history.facts.size())) {
        *why = fmt::format("{} has folded {} up to {} of {}", node.name, folded->stream,
                           chain.head().sequence, history.facts.size());
        return false;
      }
      if (folded->home() && folded->writer->View().state != runtime::WriterState::kWriting) {
        *why = fmt::format("{}: {}", folded->stream, folded->writer->View().alarm);
        return false;
      }
    }
    if (site->open > 0) {
      *why = fmt::format("{} callers wait at {}", site->open, site->name);
      return false;
    }
    for (const auto& feed : node.running->feeds()) {
      if (feed->View().next_offset == site->cluster->End(feed->stream())) continue;
      *why = fmt::format("{} has not reacted to all of {}", node.name, feed->stream());
      return false;
    }
  }
  return true;
}

void World::CheckFold(const History& history) {
  storage::MemoryDisk disk;
  auto projection = storage::Projection::Open(*disk.Open("fresh"), history.stream,
                                              events::Chain::Origin::kHome, "1");
  const auto engine = node::NewEngine(events::ServiceOf(history.stream), (*projection)->journal());
  runtime::Fold fold(*engine, **projection, events::SiteOf(history.stream));
  for (const Fact& fact : history.facts) {
    runtime::MessagePtr event;
    if (fact.attributes.data_type == engine->event_type()->full_name())
      event = *runtime::ParseEvent(engine->event_type(), fact.record->data);
    fold.Evolve(event.get(), fact.attributes);
    fold.TakePending();
  }
  (*projection)->Commit(history.facts.size()).IgnoreError();
  const std::vector<runtime::Pending> open = fold.StoredPending();
  if (!open.empty()) {
    Violation("reactions-kept",
              fmt::format("{}: {} follow-up commands were never decided, the first is {}",
                          history.stream, open.size(), open.front().command_id));
  }
  const auto rows_of = [](const storage::Projection& rows) {
    std::vector<std::pair<std::string, std::string>> all;
    rows.Scan(std::string_view("\x01", 1), [&](std::string_view key, std::string_view value) {
      all.emplace_back(key, value);
      return true;
    });
    return all;
  };
  const auto fresh = rows_of(**projection);
  for (const auto& site : sites_) {
    Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
    for (const auto& folded : node.running->folded()) {
      if (folded->stream != history.stream) continue;
      if (rows_of(*folded->projection) == fresh &&
          folded->projection->digests() == (*projection)->digests())
        continue;
      Violation("equals-a-fresh-fold",
                fmt::format("{}: the rows of {} differ", history.stream, node.name));
    }
  }
}

// Every event that somebody follows has led to its commands.
void World::CheckReactions() {
  for (const auto& site : sites_) {
    Node& node = *site->nodes[static_cast<size_t>(site->preferred)];
    for (const auto& service : config_.services) {
      const node::Folded& home = *node.running->Home(service);
      const auto followed = home.engine->followed();
      const History& own = referee_->Of(home.stream);
      for (const auto& [stream, history] : referee_->histories()) {
        const std::string origin = events::SiteOf(stream);
        for (const google::protobuf::Descriptor* type : followed) {
          const bool peers = type == home.engine->event_type();
          if (peers == (origin == site->name)) continue;
          for (const Fact& fact : history.facts) {
            if (fact.attributes.data_type != type->full_name()) continue;
            const auto event = runtime::ParseEvent(type, fact.record->data);
            for (const runtime::AnyIntent& intent : home.engine->ReactToOther(
                     **event, fact.attributes, {stream, origin, site->name})) {
              const std::string id =
                  runtime::ReactionId({stream, fact.attributes.sequence, fact.attributes.id},
                                      intent.kind, intent.subject);
              if (own.commands.contains({fmt::format("{}{}", runtime::kSystemActor, service), id}))
                continue;
              Violation("reactions-kept", fmt::format("{}: {} was never decided", home.stream, id));
            }
          }
        }
      }
    }
  }
}

void World::CheckAtTheEnd() {
  for (const auto& [stream, history] : referee_->histories()) CheckFold(history);
  CheckReactions();
  for (const auto& site : sites_)
    referee_->CheckShortfalls(site->name, scheduler_.Now() + site->skew);
  const std::string torn = referee_->bundles().Unsettled();
  if (!torn.empty()) Violation("all-or-none", torn);
}

}  // namespace concordat::simulation
