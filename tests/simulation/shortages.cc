#include "tests/simulation/shortages.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/runtime/check.h"

namespace concordat::simulation {
namespace {

using reservations::v1::Event;

bool Has(const google::protobuf::RepeatedPtrField<std::string>& names, const std::string& name) {
  return std::count(names.begin(), names.end(), name) > 0;
}

bool IsOffered(const reservations::v1::ServerRecorded& server) {
  return server.bookable() && !server.lost() && !server.untested();
}

}  // namespace

// Whether the wave is about the server, and if so whether it opens it: the first by name of those
// that it is about.
bool Waves::Opens(const reservations::v1::WavePlanned& wave, const std::string& server,
                  const Allocations& before) const {
  std::vector<std::string> servers(wave.servers().begin(), wave.servers().end());
  for (const auto& [name, known] : before.servers()) {
    if (wave.servers().empty() && known.model() == wave.model() && IsOffered(known))
      servers.push_back(name);
  }
  std::sort(servers.begin(), servers.end());
  size_t count = servers.size();
  if (wave.share_servers() > 0) {
    count = std::min(count, static_cast<size_t>(wave.share_servers()));
  } else if (wave.share_percent() > 0) {
    count = count * static_cast<size_t>(wave.share_percent()) / 100;
  }
  servers.resize(count);
  return std::count(servers.begin(), servers.end(), server) > 0;
}

std::string Waves::CheckOpen(const std::string& name, const std::string& customer,
                             const std::vector<std::string>& servers, absl::Time start,
                             const Allocations& before) const {
  for (const std::string& server : servers) {
    const auto known = before.servers().find(server);
    if (known == before.servers().end()) continue;
    bool closed = false;
    bool open = false;
    for (const auto& [wave_name, wave] : waves_) {
      if (wave.model() != known->second.model()) continue;
      const bool about =
          wave.servers().empty() ? IsOffered(known->second) : Has(wave.servers(), server);
      if (!about) continue;
      closed = true;
      const bool to_it = wave.customers().empty() || Has(wave.customers(), customer);
      open = open ||
             (to_it && start >= runtime::ToTime(wave.start_time()) && Opens(wave, server, before));
    }
    if (closed && !open)
      return fmt::format("{} has {}, which no wave has opened to {}", name, server, customer);
  }
  return "";
}

std::string Waves::Take(const Event& event, const Allocations& before, absl::Time at) {
  if (event.has_wave_planned()) {
    waves_[event.wave_planned().name()] = event.wave_planned();
  } else if (event.has_reservation_held()) {
    const auto& held = event.reservation_held();
    const std::string& customer = held.terms().customer();
    for (const auto& one : held.occurrences()) {
      std::string wrong =
          CheckOpen(one.name(), customer, {one.servers().begin(), one.servers().end()},
                    runtime::ToTime(one.start_time()), before);
      if (!wrong.empty()) return wrong;
    }
    return CheckOpen(held.name(), customer, {held.servers().begin(), held.servers().end()},
                     runtime::ToTime(held.terms().start_time()), before);
  } else if (event.has_amendment_held()) {
    const auto& held = event.amendment_held();
    const Allocations::Held* had = before.Find(held.reservation());
    if (had == nullptr) return "";
    const absl::Time start = runtime::ToTime(held.amendment().terms().start_time());
    std::vector<std::string> servers;
    for (const std::string& server : held.amendment().servers()) {
      // What it has it keeps, unless it is to begin sooner.
      if (std::count(had->servers.begin(), had->servers.end(), server) == 0 ||
          start < had->use_start)
        servers.push_back(server);
    }
    return CheckOpen(held.reservation(), had->customer, servers,
                     had->running ? std::max(at, start) : start, before);
  } else if (event.has_servers_reassigned()) {
    const auto& reassigned = event.servers_reassigned();
    const Allocations::Held* had = before.Find(reassigned.reservation());
    // What a window keeps for it was open when it was found.
    if (had == nullptr || (reassigned.in_use() && !reassigned.window().empty())) return "";
    std::vector<std::string> servers;
    for (const std::string& server : reassigned.added()) {
      if (std::count(had->servers.begin(), had->servers.end(), server) == 0)
        servers.push_back(server);
    }
    return CheckOpen(reassigned.reservation(), had->customer, servers, std::max(at, had->use_start),
                     before);
  }
  return "";
}

void Hours::Sign(const reservations::v1::ContractSigned& contract) {
  if (!contract.has_access()) return;
  std::vector<Span>& hours = hours_[contract.name()];
  for (const auto& one : contract.occurrences())
    hours.emplace_back(runtime::ToTime(one.start_time()), runtime::ToTime(one.end_time()));
}

std::string Hours::Check(const std::string& name, const std::string& contract,
                         const Span& use) const {
  const auto hours = hours_.find(contract);
  if (hours == hours_.end()) return "";
  // Hours that touch are as good as one.
  absl::Time reached = use.first;
  for (const Span& span : hours->second) {
    if (span.first <= reached) reached = std::max(reached, span.second);
  }
  if (reached >= use.second) return "";
  return fmt::format("{} is promised from {} to {}, outside of the hours of {}", name,
                     runtime::ToText(use.first), runtime::ToText(use.second), contract);
}

std::string Hours::Take(const Event& event) {
  const auto span = [](const auto& one) {
    return Span(runtime::ToTime(one.start_time()), runtime::ToTime(one.end_time()));
  };
  if (event.has_contract_signed()) Sign(event.contract_signed());
  if (event.has_contract_recorded()) Sign(event.contract_recorded().contract());
  if (event.has_schedule_extended()) {
    const auto& extended = event.schedule_extended();
    const auto known = hours_.find(extended.name());
    const auto series = series_.find(extended.name());
    for (const auto& one : extended.occurrences()) {
      if (known != hours_.end()) known->second.push_back(span(one));
      if (series == series_.end() || one.reason() != reservations::v1::REASON_UNSPECIFIED) continue;
      std::string wrong = Check(one.name(), series->second, span(one));
      if (!wrong.empty()) return wrong;
    }
  }
  if (!event.has_reservation_held()) return "";
  const auto& held = event.reservation_held();
  if (!held.terms().has_access())
    return Check(held.name(), held.terms().contract(), span(held.terms()));
  series_[held.name()] = held.terms().contract();
  for (const auto& one : held.occurrences()) {
    std::string wrong = Check(one.name(), held.terms().contract(), span(one));
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string Shortfalls::Take(const Event& event, const Allocations& after, absl::Time at) {
  const auto cuts = [&](const std::string& feed,
                        const reservations::v1::EnvelopeRecorded& step) -> std::string {
    const absl::Time from =
        step.has_effective_from() ? std::max(at, runtime::ToTime(step.effective_from())) : at;
    const Load missing = after.Missing(feed, from);
    if (step.cuts() == (missing.power > 0 || missing.cooling > 0)) return "";
    return fmt::format("a step {} into what is promised, which lacks {} W and {} W cooling",
                       step.cuts() ? "is said to cut" : "is not said to cut", missing.power,
                       missing.cooling);
  };
  if (event.has_envelope_recorded()) return cuts("", event.envelope_recorded());
  if (event.has_feed_recorded())
    return cuts(event.feed_recorded().feed(), event.feed_recorded().step());
  if (event.has_shortfall_found()) {
    const auto& found = event.shortfall_found();
    found_[found.name()] = found;
    const Load missing = after.Missing(found.feed(), at);
    if (missing.power == found.missing_it_power_watts() &&
        missing.cooling == found.missing_cooling_watts() &&
        (missing.power > 0 || missing.cooling > 0))
      return "";
    return fmt::format("{} tells of {} W and {} W cooling, there lack {} W and {} W", found.name(),
                       found.missing_it_power_watts(), found.missing_cooling_watts(), missing.power,
                       missing.cooling);
  }
  if (event.has_shortfall_cleared()) {
    const auto& cleared = event.shortfall_cleared();
    found_.erase(cleared.name());
    const Load missing = after.Missing(cleared.feed(), at);
    if (missing.power <= 0 && missing.cooling <= 0) return "";
    return fmt::format("{} is cleared, and there lack {} W and {} W cooling", cleared.name(),
                       missing.power, missing.cooling);
  }
  return "";
}

std::string Shortfalls::Uncleared(const Allocations& allocations, absl::Time at) const {
  for (const auto& [name, found] : found_) {
    // It is looked at again once what is being vacated is over; and a timer is up to a second late.
    const Load missing = allocations.Missing(found.feed(), at - absl::Seconds(2), true);
    if (missing.power > 0 || missing.cooling > 0) continue;
    return fmt::format("{} is told of still, and nothing lacks", name);
  }
  return "";
}

}  // namespace concordat::simulation
