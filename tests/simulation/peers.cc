// What a writer is told before it starts: the other sites' archives, over lines that may be cut.
#include "services/runtime/home_check.h"
#include "tests/simulation/inside.h"

namespace concordat::simulation {

// Another site's door, as a process that keeps an archive opens it.
class World::Peer final : public runtime::Peer {
 public:
  Peer(World& world, Node& asks, int asked)
      : world_(world), process_(*asks.process), site_(asks.site), asked_(asked) {}

  std::string name() const override { return world_.names_[static_cast<size_t>(asked_)]; }
  bool required() const override { return true; }

  absl::StatusOr<events::Head> HeadOf(const std::string& stream) override {
    const auto node = Reach();
    if (!node.ok()) return node.status();
    const auto chain = (*node)->running->archive()->ChainOf(stream, Origin::kMirrored);
    if (!chain.ok()) return chain.status();
    const auto end = (*node)->log->NewReader()->End(stream);
    if (!end.ok()) return end.status();
    if (chain->next_offset() < *end) {
      return absl::UnavailableError(fmt::format(
          "it has archived {} of {} records of its copy so far", chain->next_offset(), *end));
    }
    return chain->head();
  }

  absl::StatusOr<std::vector<events::Record>> Records(const std::string& stream, uint64_t from,
                                                      size_t limit) override {
    const auto node = Reach();
    if (!node.ok()) return node.status();
    std::vector<events::Record> records;
    for (; records.size() < limit; ++from) {
      auto record = (*node)->running->archive()->RecordAt(stream, from);
      if (!record.ok()) return record.status();
      if (!record->has_value()) break;
      records.push_back(**std::move(record));
    }
    return records;
  }

 private:
  using Origin = events::Chain::Origin;

  // The machine that answers, after a while; it may have died meanwhile.
  absl::StatusOr<Node*> Reach() {
    process_.Sleep(world_.Between(absl::Milliseconds(1), absl::Milliseconds(200)));
    for (const auto& mirror : world_.mirrors_) {
      const bool there = mirror->from == site_ && mirror->to == asked_;
      const bool back = mirror->from == asked_ && mirror->to == site_;
      if ((there || back) && mirror->cut) return absl::UnavailableError("the link is cut");
    }
    const SiteWorld& asked = *world_.sites_[static_cast<size_t>(asked_)];
    for (int i = 0; i < kNodes; ++i) {
      Node& node = *asked.nodes[static_cast<size_t>((asked.preferred + i) % kNodes)];
      if (node.responds()) return &node;
    }
    return absl::UnavailableError("nobody answers");
  }

  World& world_;
  Process& process_;
  const int site_;
  const int asked_;
};

// Where logs lose what they held, writers ask the other sites; elsewhere none is configured.
void World::AddPeers(Node& node) {
  if (!Enabled(Fault::kLogLost)) return;
  for (const std::string& service : config_.services) {
    for (const auto& other : sites_) {
      if (other->index == node.site) continue;
      node.running->Home(service)->home_check->Add(
          std::make_unique<Peer>(*this, node, other->index));
    }
  }
}

}  // namespace concordat::simulation
