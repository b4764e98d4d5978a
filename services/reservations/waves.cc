#include "services/reservations/waves.h"
#include "events/flaw.h"

#include <absl/algorithm/container.h>
#include <algorithm>
#include <vector>

#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

bool OpensTo(const v1::WavePlanned& wave, const std::string& customer) {
  return wave.customers().empty() || absl::c_linear_search(wave.customers(), customer);
}

std::vector<v1::WavePlanned> WavesOf(const State& state, const std::string& model) {
  std::vector<v1::WavePlanned> waves;
  for (const std::string& name : state.index.WavesOf(model)) {
    if (const auto wave = state.rows.waves.Get(name)) waves.push_back(wave->plan());
  }
  return waves;
}

// How many of so many servers the wave opens.
size_t ShareOf(const v1::WavePlanned& wave, size_t servers) {
  if (wave.share_servers() > 0) return std::min(servers, static_cast<size_t>(wave.share_servers()));
  if (wave.share_percent() > 0) return servers * static_cast<size_t>(wave.share_percent()) / 100;
  return servers;
}

}  // namespace

std::set<std::string> ClosedServers(const State& state, const std::string& model,
                                    const std::string& customer, absl::Time start) {
  const std::vector<v1::WavePlanned> waves = WavesOf(state, model);
  if (waves.empty() || events::Has(events::Flaw::kIgnoresWaves)) return {};
  const std::vector<std::string> bookable = state.index.BookableServers(model);
  std::set<std::string> closed;
  std::set<std::string> open;
  for (const v1::WavePlanned& wave : waves) {
    std::vector<std::string> servers(wave.servers().begin(), wave.servers().end());
    if (servers.empty()) servers = bookable;
    std::sort(servers.begin(), servers.end());
    closed.insert(servers.begin(), servers.end());
    if (!OpensTo(wave, customer) || start < runtime::ToTime(wave.start_time())) continue;
    servers.resize(ShareOf(wave, servers.size()));
    open.insert(servers.begin(), servers.end());
  }
  for (const std::string& server : open) closed.erase(server);
  return closed;
}

std::optional<absl::Time> NextOpening(const State& state, const std::string& model,
                                      const std::string& customer, absl::Time start) {
  std::optional<absl::Time> next;
  for (const v1::WavePlanned& wave : WavesOf(state, model)) {
    const absl::Time opens = runtime::ToTime(wave.start_time());
    if (OpensTo(wave, customer) && opens > start) next = next ? std::min(*next, opens) : opens;
  }
  return next;
}

}  // namespace concordat::reservations
