#include "services/reservations/feeds.h"

#include <algorithm>

#include "events/flaw.h"
#include "services/runtime/check.h"

namespace concordat::reservations {

int64_t Feeds::Feed::Late(absl::Time now) const {
  int64_t late = 0;
  for (const auto& [end, watts] : active) {
    if (end > now) break;
    late += watts;
  }
  return late;
}

void Feeds::Draw(const std::string& name, Occupancy::Phase phase, const Span& span, int64_t watts) {
  if (name.empty() || watts == 0) return;
  const bool ending = phase == Occupancy::Phase::kEnding;
  const auto at = feeds_.try_emplace(name).first;
  Feed& feed = at->second;
  feed.watts.Add({span.start, ending ? absl::InfiniteFuture() : span.end}, watts);
  if (phase != Occupancy::Phase::kPlanned) feed.running += watts;
  if (ending) feed.ending += watts;
  if (phase == Occupancy::Phase::kActive) {
    int64_t& active = feed.active[span.end];
    active += watts;
    if (active == 0) feed.active.erase(span.end);
  }
  if (feed.empty()) feeds_.erase(at);
}

void Feeds::SetLimits(const std::optional<v1::SiteRecord>& before,
                      const std::optional<v1::SiteRecord>& after) {
  for (const auto* site : {&before, &after}) {
    if (!*site) continue;
    for (const v1::FeedRecord& record : (*site)->feeds()) {
      const auto at = feeds_.try_emplace(record.feed()).first;
      at->second.limits.clear();
      for (const v1::EnvelopeRecorded& step : record.envelope()) {
        if (site == &before) break;
        at->second.limits.push_back(
            {runtime::ToTime(step.effective_from()), Bounded(step.it_power_watts())});
      }
      if (at->second.empty()) feeds_.erase(at);
    }
  }
}

bool Feeds::HasLimit(const std::string& feed) const {
  if (events::Has(events::Flaw::kForgetsFeeds)) return false;
  const auto found = feeds_.find(feed);
  return found != feeds_.end() && !found->second.limits.empty();
}

int64_t Feeds::Left(const std::string& name, const Span& span, absl::Time now) const {
  int64_t left = INT64_MAX;
  const auto found = feeds_.find(name);
  if (found == feeds_.end()) return left;
  const Feed& feed = found->second;
  const int64_t late = feed.Late(now);
  for (size_t step = 0; step < feed.limits.size(); ++step) {
    const absl::Time next = step + 1 < feed.limits.size() ? feed.limits[step + 1].from : span.end;
    const Span part{std::max(span.start, feed.limits[step].from), std::min(span.end, next)};
    if (part.start < part.end)
      left = std::min(left, feed.limits[step].watts - late - feed.watts.Peak(part));
  }
  return left;
}

std::optional<Feeds::Short> Feeds::FirstShort(const std::map<std::string, int64_t>& draws,
                                              const Span& span, absl::Time now) const {
  std::optional<Short> first;
  for (const auto& [name, watts] : draws) {
    const auto found = feeds_.find(name);
    if (found == feeds_.end()) continue;
    const Feed& feed = found->second;
    const int64_t late = feed.Late(now);
    for (size_t step = 0; step < feed.limits.size(); ++step) {
      const absl::Time next = step + 1 < feed.limits.size() ? feed.limits[step + 1].from : span.end;
      const Span part{std::max(span.start, feed.limits[step].from), std::min(span.end, next)};
      if (part.start >= part.end) continue;
      const auto above = feed.watts.FirstAbove(part, feed.limits[step].watts - late - watts);
      if (!above) continue;
      if (!first || above->first < first->at)
        first = Short{name, above->first, above->second + late, feed.limits[step].watts};
      break;
    }
  }
  return first;
}

int64_t Feeds::Running(const std::string& feed) const {
  const auto found = feeds_.find(feed);
  return found == feeds_.end() ? 0 : found->second.running;
}

int64_t Feeds::Ending(const std::string& feed) const {
  const auto found = feeds_.find(feed);
  return found == feeds_.end() ? 0 : found->second.ending;
}

std::optional<int64_t> Feeds::LimitAt(const std::string& feed, absl::Time at) const {
  const auto found = feeds_.find(feed);
  std::optional<int64_t> limit;
  if (found == feeds_.end()) return limit;
  for (const Limit& step : found->second.limits) {
    if (step.from > at) break;
    limit = step.watts;
  }
  return limit;
}

std::vector<std::pair<absl::Time, int64_t>> Feeds::Levels(const std::string& feed,
                                                          const Span& span) const {
  const auto found = feeds_.find(feed);
  if (found == feeds_.end()) return {{span.start, 0}};
  return found->second.watts.Levels(span);
}

}  // namespace concordat::reservations
