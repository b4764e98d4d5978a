#include "services/reservations/envelopes.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// Steps may be set to begin up to a day ago.
constexpr absl::Duration kPastSteps = absl::Hours(48);

absl::Time BeginOf(const v1::EnvelopeRecorded& step) {
  return runtime::ToTime(step.effective_from());
}

// `of_feed`: where nothing had held, nothing follows, for a feed has no limit before its first
// step.
void PutStep(EnvelopeSteps& ordered, const v1::EnvelopeRecorded& step, bool of_feed,
             absl::Time now) {
  const absl::Time from = BeginOf(step);
  const absl::Time last = step.has_until() ? runtime::ToTime(step.until()) : from;
  std::optional<v1::EnvelopeRecorded> resumed;
  if (!of_feed) resumed.emplace().set_site(step.site());
  std::vector<v1::EnvelopeRecorded> steps;
  for (const v1::EnvelopeRecorded& one : ordered) {
    if (BeginOf(one) <= last) resumed = one;
    if (BeginOf(one) < from || BeginOf(one) > last) steps.push_back(one);
  }
  const auto at = std::find_if(steps.begin(), steps.end(), [&](const v1::EnvelopeRecorded& one) {
    return BeginOf(one) > from;
  });
  const auto put = steps.insert(at, step);
  if (step.has_until() && resumed) {
    *resumed->mutable_effective_from() = step.until();
    steps.insert(std::next(put), *resumed);
  }
  auto kept = steps.begin();
  while (std::next(kept) != steps.end() && BeginOf(*std::next(kept)) <= now - kPastSteps) ++kept;
  ordered.Assign(kept, steps.end());
}

}  // namespace

void PutStep(v1::SiteRecord& site, const std::string& name, const v1::EnvelopeRecorded& step,
             absl::Time now) {
  if (name.empty()) return PutStep(*site.mutable_envelope(), step, false, now);
  for (v1::FeedRecord& feed : *site.mutable_feeds()) {
    if (feed.feed() == name) return PutStep(*feed.mutable_envelope(), step, true, now);
  }
  v1::FeedRecord feed;
  feed.set_feed(name);
  PutStep(*feed.mutable_envelope(), step, true, now);
  std::vector<v1::FeedRecord> feeds(site.feeds().begin(), site.feeds().end());
  feeds.insert(std::find_if(feeds.begin(), feeds.end(),
                            [&](const v1::FeedRecord& other) { return other.feed() > name; }),
               feed);
  site.mutable_feeds()->Assign(feeds.begin(), feeds.end());
}

const EnvelopeSteps& StepsOf(const v1::SiteRecord& site, const std::string& feed) {
  if (feed.empty()) return site.envelope();
  for (const v1::FeedRecord& known : site.feeds()) {
    if (known.feed() == feed) return known.envelope();
  }
  return v1::SiteRecord::default_instance().envelope();
}

void ForEachStep(
    const EnvelopeSteps& steps, const Span& span,
    absl::FunctionRef<bool(const Span& part, const v1::EnvelopeRecorded* step)> visit) {
  const auto begins = [&](int step) {
    return step < steps.size() ? BeginOf(steps[step]) : absl::InfiniteFuture();
  };
  for (int step = -1; step < steps.size(); ++step) {
    const Span part{step < 0 ? span.start : std::max(span.start, begins(step)),
                    std::min(span.end, begins(step + 1))};
    if (part.start < part.end && !visit(part, step < 0 ? nullptr : &steps[step])) return;
  }
}

}  // namespace concordat::reservations
