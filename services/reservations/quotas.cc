#include "services/reservations/quotas.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "services/reservations/amendments.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

constexpr int64_t kSecondsPerHour = 3600;
// No reservation begins further in the past than callers' clocks differ: what was allotted before
// that need not be told apart any more.
constexpr absl::Duration kKept = absl::Hours(1);

// Whatever an event says, sums stay far from overflow.
int64_t BoundedAmount(int64_t amount) {
  constexpr int64_t kMost = 1'000'000'000'000'000'000;
  return std::clamp<int64_t>(amount, 0, kMost);
}

int64_t SecondsOf(int64_t hours) {
  constexpr int64_t kMostHours = 1'000'000'000'000;
  return std::clamp<int64_t>(hours, 0, kMostHours) * kSecondsPerHour;
}

absl::Time BeginOf(const v1::QuotaLevel& level) {
  return level.has_effective_from() ? runtime::ToTime(level.effective_from())
                                    : absl::InfinitePast();
}

// Raises or lowers the levels from an instant on, and forgets steps that are long past.
void AddLevel(v1::Quota& quota, int64_t accelerators, const google::protobuf::Timestamp& from,
              absl::Time now) {
  std::vector<v1::QuotaLevel> levels(quota.levels().begin(), quota.levels().end());
  const absl::Time at = runtime::ToTime(from);
  size_t step = 0;
  while (step < levels.size() && BeginOf(levels[step]) < at) ++step;
  if (step == levels.size() || BeginOf(levels[step]) > at) {
    v1::QuotaLevel begins;
    *begins.mutable_effective_from() = from;
    begins.set_accelerators(step == 0 ? 0 : levels[step - 1].accelerators());
    levels.insert(levels.begin() + static_cast<std::ptrdiff_t>(step), begins);
  }
  for (; step < levels.size(); ++step)
    levels[step].set_accelerators(levels[step].accelerators() + accelerators);
  while (levels.size() > 1 && BeginOf(levels[1]) <= now - kKept) levels.erase(levels.begin());
  levels.front().clear_effective_from();
  quota.mutable_levels()->Assign(levels.begin(), levels.end());
}

void Add(v1::Quota& quota, const v1::QuotaAmount& amount, int64_t sign,
         const google::protobuf::Timestamp& from, absl::Time now) {
  if (amount.accelerators() != 0) AddLevel(quota, sign * amount.accelerators(), from, now);
  quota.set_accelerator_seconds(quota.accelerator_seconds() + sign * amount.accelerator_seconds());
}

void Add(v1::QuotaAmount& to, const v1::QuotaAmount& amount, int64_t sign) {
  to.set_accelerators(to.accelerators() + sign * amount.accelerators());
  to.set_accelerator_seconds(to.accelerator_seconds() + sign * amount.accelerator_seconds());
}

void See(v1::SeenNumbers& seen, int64_t number) {
  if (IsSeen(seen, number)) return;
  std::vector<int64_t> beyond(seen.beyond().begin(), seen.beyond().end());
  beyond.insert(std::upper_bound(beyond.begin(), beyond.end(), number), number);
  size_t next = 0;
  for (; next < beyond.size() && beyond[next] == seen.through() + 1; ++next)
    seen.set_through(beyond[next]);
  seen.mutable_beyond()->Assign(beyond.begin() + static_cast<std::ptrdiff_t>(next), beyond.end());
}

v1::QuotaShare* MutableShare(v1::Quota& quota, const std::string& site) {
  for (v1::QuotaShare& share : *quota.mutable_shares()) {
    if (share.site() == site) return &share;
  }
  return nullptr;
}

// This site's row with `change` applied; one that is not known is ignored.
template <typename Change>
void ChangeQuota(Rows& rows, const std::string& contract, std::string_view here, Change change) {
  const std::string name = QuotaName(here, contract);
  std::optional<v1::Quota> quota = rows.quotas.Get(name);
  if (!quota) return;
  change(*quota);
  rows.quotas.Put(name, *quota);
}

v1::QuotaAmount AmountOf(const v1::Allotment& allotment) {
  v1::QuotaAmount amount;
  amount.set_accelerators(BoundedAmount(allotment.accelerators()));
  amount.set_accelerator_seconds(SecondsOf(allotment.accelerator_hours()));
  return amount;
}

}  // namespace

std::string QuotaName(std::string_view site, const std::string& contract) {
  const std::string_view customer = runtime::ParentOfName(contract);
  const auto last = [](std::string_view name) { return name.substr(name.rfind('/') + 1); };
  return fmt::format("sites/{}/quotas/{}/{}", site, last(customer), last(contract));
}

bool HasQuota(const v1::ContractSigned& contract) {
  return contract.quota().accelerators() > 0 || contract.quota().accelerator_hours() > 0;
}

int64_t AcceleratorSeconds(int64_t accelerators, const Span& span) {
  if (accelerators <= 0 || span.end <= span.start) return 0;
  const absl::Duration length = span.end - span.start;
  int64_t seconds = absl::ToInt64Seconds(length);
  if (absl::Seconds(seconds) < length) ++seconds;
  if (seconds > std::numeric_limits<int64_t>::max() / accelerators / 4)
    return std::numeric_limits<int64_t>::max() / 4;
  return accelerators * seconds;
}

int64_t BookedSeconds(const v1::Reservation& reservation) {
  if (reservation.terms().has_access()) return 0;
  switch (reservation.state()) {
    case v1::RESERVATION_STATE_CANCELLED:
    case v1::RESERVATION_STATE_DECLINED:
    case v1::RESERVATION_STATE_LAPSED:
    case v1::RESERVATION_STATE_UNSPECIFIED:
    case v1::ReservationState_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::ReservationState_INT_MAX_SENTINEL_DO_NOT_USE_:
      return 0;
    case v1::RESERVATION_STATE_HELD:
    case v1::RESERVATION_STATE_CONFIRMED:
    case v1::RESERVATION_STATE_ACTIVE:
    case v1::RESERVATION_STATE_ENDING:
    case v1::RESERVATION_STATE_CLEANING:
    case v1::RESERVATION_STATE_ENDED:
      break;
    case v1::RESERVATION_STATE_REVOKED:
      // Its start may have been delayed until then.
      if (!reservation.has_started_time()) return 0;
      break;
  }
  Span span{runtime::ToTime(reservation.terms().start_time()),
            runtime::ToTime(reservation.terms().end_time())};
  // A delay is not the customer's.
  if (reservation.has_started_time())
    span.start = std::max(span.start, runtime::ToTime(reservation.started_time()));
  // What was released or revoked counts up to then: nothing, where that was before it started.
  if (reservation.ending().has_released_time())
    span.end = std::min(span.end, runtime::ToTime(reservation.ending().released_time()));
  int64_t booked = 0;
  if (reservation.segments().empty()) booked = AcceleratorSeconds(reservation.accelerators(), span);
  for (const v1::Segment& segment : reservation.segments()) {
    booked += AcceleratorSeconds(segment.accelerators(),
                                 {std::max(span.start, runtime::ToTime(segment.start_time())),
                                  std::min(span.end, runtime::ToTime(segment.end_time()))});
  }
  // What a pending amendment would add is booked while it is held.
  if (reservation.has_amendment()) {
    for (const Part& part : PartsOf(reservation, reservation.amendment()))
      booked += AcceleratorSeconds(part.accelerators, part.span);
  }
  return booked;
}

std::vector<v1::Segment> SegmentsFrom(const v1::Reservation& reservation, int64_t accelerators,
                                      absl::Time from) {
  std::vector<v1::Segment> known(reservation.segments().begin(), reservation.segments().end());
  if (known.empty()) {
    const v1::Terms& terms = reservation.terms();
    v1::Segment& whole = known.emplace_back();
    *whole.mutable_start_time() = terms.start_time();
    *whole.mutable_end_time() = terms.end_time();
    whole.set_count(terms.count());
    whole.set_model(terms.model());
    whole.set_accelerators(reservation.accelerators());
  }
  std::vector<v1::Segment> segments;
  for (const v1::Segment& segment : known) {
    const Span span{runtime::ToTime(segment.start_time()), runtime::ToTime(segment.end_time())};
    if (span.start < from) {
      v1::Segment& before = segments.emplace_back(segment);
      *before.mutable_end_time() = runtime::ToTimestamp(std::min(span.end, from));
    }
    if (span.end <= from) continue;
    v1::Segment& after = segments.emplace_back(segment);
    *after.mutable_start_time() = runtime::ToTimestamp(std::max(span.start, from));
    after.set_accelerators(accelerators);
  }
  return segments;
}

Unused UnusedOf(const Index& index, const v1::Quota& quota, absl::Time now) {
  Unused unused;
  unused.accelerator_seconds =
      std::max<int64_t>(0, quota.accelerator_seconds() - quota.used_accelerator_seconds());
  std::optional<int64_t> least;
  for (int step = 0; step < quota.levels_size(); ++step) {
    const Span part{
        std::max(now, BeginOf(quota.levels(step))),
        step + 1 < quota.levels_size() ? BeginOf(quota.levels(step + 1)) : absl::InfiniteFuture()};
    if (part.start >= part.end) continue;
    const int64_t free =
        quota.levels(step).accelerators() - index.AcceleratorPeak(quota.contract(), part);
    least = least ? std::min(*least, free) : free;
  }
  unused.accelerators = std::max<int64_t>(0, least.value_or(0));
  return unused;
}

void OpenQuota(Rows& rows, const v1::ContractSigned& terms, const std::string& home_site,
               std::string_view here) {
  if (!HasQuota(terms)) return;
  v1::Quota quota;
  quota.set_name(QuotaName(here, terms.name()));
  quota.set_contract(terms.name());
  quota.set_home_site(home_site);
  quota.mutable_total()->set_accelerators(BoundedAmount(terms.quota().accelerators()));
  quota.mutable_total()->set_accelerator_seconds(SecondsOf(terms.quota().accelerator_hours()));
  const std::string site = fmt::format("sites/{}", here);
  const bool home = site == home_site;
  // The home has what no other site begins with.
  v1::QuotaAmount own;
  if (home) own = quota.total();
  for (const std::string& other : terms.sites()) {
    if (!home || other == site) continue;
    quota.add_shares()->set_site(other);
  }
  for (const v1::Allotment& allotment : terms.quota().allotments()) {
    if (!home && allotment.site() == site) own = AmountOf(allotment);
    if (!home || allotment.site() == site) continue;
    if (v1::QuotaShare* share = MutableShare(quota, allotment.site())) {
      *share->mutable_granted() = AmountOf(allotment);
      Add(own, AmountOf(allotment), -1);
    }
  }
  quota.set_accelerator_seconds(own.accelerator_seconds());
  quota.add_levels()->set_accelerators(own.accelerators());
  rows.quotas.Put(quota.name(), quota);
}

void BookUse(Rows& rows, const std::optional<v1::Reservation>& before,
             const v1::Reservation& after) {
  const int64_t more = BookedSeconds(after) - (before ? BookedSeconds(*before) : 0);
  if (more == 0) return;
  ChangeQuota(rows, after.terms().contract(), runtime::SiteOfName(after.name()),
              [&](v1::Quota& quota) {
                quota.set_used_accelerator_seconds(quota.used_accelerator_seconds() + more);
              });
}

void EvolveQuota(Rows& rows, const v1::QuotaRequested& requested,
                 const runtime::Accepted<v1::Event>& accepted) {
  ChangeQuota(rows, requested.contract(), accepted.site, [&](v1::Quota& quota) {
    quota.set_requests(requested.number());
    *quota.mutable_requested_time() = runtime::ToTimestamp(accepted.time);
    if (quota.home_site() != requested.site()) quota.set_open_request(requested.number());
  });
}

void EvolveQuota(Rows& rows, const v1::QuotaGranted& granted,
                 const runtime::Accepted<v1::Event>& accepted) {
  ChangeQuota(rows, granted.contract(), accepted.site, [&](v1::Quota& quota) {
    Add(quota, granted.amount(), -1, granted.effective_from(), accepted.time);
    v1::QuotaShare* share = MutableShare(quota, granted.site());
    if (share == nullptr) return;
    Add(*share->mutable_granted(), granted.amount(), +1);
    share->set_grants(granted.number());
    share->set_last_request(granted.request());
    See(*share->mutable_requests(), granted.request());
    *share->mutable_missing() = granted.missing();
  });
}

void EvolveQuota(Rows& rows, const v1::QuotaDeclined& declined,
                 const runtime::Accepted<v1::Event>& accepted) {
  ChangeQuota(rows, declined.contract(), accepted.site, [&](v1::Quota& quota) {
    v1::QuotaShare* share = MutableShare(quota, declined.site());
    if (share == nullptr) return;
    share->set_last_request(declined.request());
    See(*share->mutable_requests(), declined.request());
    *share->mutable_missing() = declined.missing();
  });
}

void EvolveQuota(Rows& rows, const v1::QuotaAnswered& answered,
                 const runtime::Accepted<v1::Event>& accepted) {
  ChangeQuota(rows, answered.contract(), accepted.site, [&](v1::Quota& quota) {
    if (answered.grant() > 0) {
      Add(quota, answered.amount(), +1, answered.effective_from(), accepted.time);
      See(*quota.mutable_grants(), answered.grant());
    }
    if (quota.open_request() == answered.request()) quota.set_open_request(0);
  });
}

void EvolveQuota(Rows& rows, const v1::QuotaReturned& returned,
                 const runtime::Accepted<v1::Event>& accepted) {
  ChangeQuota(rows, returned.contract(), accepted.site, [&](v1::Quota& quota) {
    Add(quota, returned.amount(), -1, returned.effective_from(), accepted.time);
    quota.set_returns(returned.number());
  });
}

void EvolveQuota(Rows& rows, const v1::QuotaReclaimed& reclaimed,
                 const runtime::Accepted<v1::Event>& accepted) {
  ChangeQuota(rows, reclaimed.contract(), accepted.site, [&](v1::Quota& quota) {
    Add(quota, reclaimed.amount(), +1, reclaimed.effective_from(), accepted.time);
    v1::QuotaShare* share = MutableShare(quota, reclaimed.site());
    if (share == nullptr) return;
    Add(*share->mutable_granted(), reclaimed.amount(), -1);
    See(*share->mutable_returns(), reclaimed.number());
  });
}

bool IsSeen(const v1::SeenNumbers& seen, int64_t number) {
  return number <= seen.through() || absl::c_linear_search(seen.beyond(), number);
}

const v1::QuotaShare* ShareOf(const v1::Quota& quota, const std::string& site) {
  for (const v1::QuotaShare& share : quota.shares()) {
    if (share.site() == site) return &share;
  }
  return nullptr;
}

std::string HoursText(int64_t accelerator_seconds) {
  return fmt::format("{}.{:02}", accelerator_seconds / kSecondsPerHour,
                     accelerator_seconds % kSecondsPerHour * 100 / kSecondsPerHour);
}

}  // namespace concordat::reservations
