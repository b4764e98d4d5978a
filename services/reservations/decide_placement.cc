// Which servers a request is given, why the others were not, and when it would fit.
#include <absl/functional/function_ref.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "services/reservations/decider.h"
#include "services/reservations/margins.h"
#include "services/reservations/waves.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

constexpr size_t kMostExamples = 3;
// How far a later start is looked for, and in how many steps: a step costs a look at each server of
// the model.
constexpr absl::Duration kSearchHorizon = absl::Hours(24 * 400);
constexpr int kMostSearchSteps = 32;
// Where nothing tells how long an obstacle lasts, the search goes on by this, then by twice as
// long.
constexpr absl::Duration kBlindStep = absl::Hours(1);

// What is not to be shared with others, over a span.
struct Neighbours {
  std::set<std::string> racks;
  std::set<std::string> domains;
  void Add(const ServerPlace& place) {
    racks.insert(place.rack);
    domains.insert(place.domain);
  }
};

// Enters where a reservation of this site has servers within the span, or late.
void AddPlaces(const State& state, const v1::Reservation& reservation, const Span& span,
               absl::Time now, Neighbours& neighbours) {
  const Occupancy occupancy = OccupancyOf(reservation);
  using Phase = Occupancy::Phase;
  if (occupancy.phase == Phase::kNone) return;
  const auto add = [&](const std::vector<std::string>& servers) {
    for (const std::string& server : servers) {
      if (const ServerPlace* place = state.index.PlaceOf(server)) neighbours.Add(*place);
    }
  };
  const bool late = occupancy.phase == Phase::kEnding ||
                    (occupancy.phase == Phase::kActive && occupancy.span.end <= now);
  if (late || occupancy.span.Overlaps(span)) add(occupancy.servers);
  for (const Part& part : occupancy.parts) {
    if (part.span.Overlaps(span)) add(part.servers);
  }
}

// Where those have servers that a customer, or a reservation of it, is kept apart from.
Neighbours NeighboursOf(const State& state, const std::string& customer,
                        const std::string& reservation, const Span& span, absl::Time now) {
  std::set<std::string> others = state.index.ApartFrom(customer);
  if (!reservation.empty()) others.merge(state.index.ApartFrom(reservation));
  Neighbours neighbours;
  if (others.empty()) return neighbours;
  std::set<std::string> customers;
  for (const std::string& other : others) {
    const auto row = state.rows.reservations.Get(other);
    if (!row) {
      customers.insert(other);
      continue;
    }
    AddPlaces(state, *row, span, now, neighbours);
    for (int number = 1; number <= row->occurrences(); ++number) {
      if (const auto one = state.rows.reservations.Get(OccurrenceName(other, number)))
        AddPlaces(state, *one, span, now, neighbours);
    }
  }
  state.index.VisitPlaces(customers, span, now,
                          [&](const ServerPlace& place) { neighbours.Add(place); });
  return neighbours;
}

using Note = absl::FunctionRef<void(v1::ExclusionReason reason, const Selection& ruled_out)>;

// Those of a selection that no feed is too weak for: of each feed no more than there is room for
// over the block, those that draw least, and by name. What is left could all be given at once, or
// is more than is wanted.
Selection Powered(const State& state, const Pool& pool, const Wanted& wanted,
                  const Selection& selection, const Span& block, absl::Time now) {
  const Index& index = state.index;
  const int64_t most = index.MostPower(wanted.terms.model());
  const int64_t count = wanted.terms.count();
  const std::map<std::string, int64_t> given_up = index.FeedDraws(wanted.gives_up);
  std::vector<std::string> unpowered;
  for (const std::string& feed : pool.Feeds()) {
    if (!index.feeds().HasLimit(feed) || block.start >= block.end) continue;
    int64_t left = index.feeds().Left(feed, block, now);
    if (left == INT64_MAX) continue;  // its limit begins later
    if (const auto more = given_up.find(feed); more != given_up.end()) left += more->second;
    if (most == 0 || left / most >= count) continue;
    std::vector<std::string> names = pool.Names(pool.OnFeed(selection, feed), SIZE_MAX);
    std::stable_sort(names.begin(), names.end(), [&](const auto& a, const auto& b) {
      return index.WattsOf(a).it_power < index.WattsOf(b).it_power;
    });
    for (const std::string& name : names) {
      left -= index.WattsOf(name).it_power;
      if (left < 0) unpowered.push_back(name);
    }
  }
  return unpowered.empty() ? selection : Pool::Without(selection, pool.Named(unpowered));
}

// The servers of a pool that could be given over a block; of those that could not, the use within
// it tells the taken from those that only a margin rules out. `note` hears what each reason ruled
// out, in the order of the reasons' numbers, but that the feeds come last.
Selection Narrow(const State& state, const Pool& pool, const Wanted& wanted, const Span& use,
                 const Span& block, absl::Time now, Note note) {
  Selection left = pool.All();
  const auto keep = [&](v1::ExclusionReason reason, const Selection& kept) {
    note(reason, Pool::Without(left, kept));
    left = Pool::Both(left, kept);
  };
  if (IsExact(wanted.terms)) {
    keep(v1::EXCLUSION_REASON_NOT_NAMED, pool.Named(wanted.terms.placement().servers()));
  }
  const std::set<std::string> closed =
      ClosedServers(state, wanted.terms.model(), wanted.terms.customer(), use.start);
  if (!closed.empty()) keep(v1::EXCLUSION_REASON_NOT_OPEN, Pool::Without(left, pool.Named(closed)));
  const Neighbours neighbours =
      NeighboursOf(state, wanted.terms.customer(), wanted.reservation, block, now);
  if (!neighbours.racks.empty()) {
    keep(v1::EXCLUSION_REASON_APART,
         Pool::Without(left, pool.Standing(neighbours.racks, neighbours.domains)));
  }
  if (!wanted.excluded.empty()) {
    keep(v1::EXCLUSION_REASON_TAKEN, Pool::Without(left, pool.Named(wanted.excluded)));
  }
  if (!(use == block)) {
    const Selection free = pool.FindFree({block}, now);
    keep(v1::EXCLUSION_REASON_TAKEN, pool.FindFree({use}, now));
    keep(v1::EXCLUSION_REASON_MARGIN, free);
  } else {
    keep(v1::EXCLUSION_REASON_TAKEN, pool.FindFree({block}, now));
  }
  keep(v1::EXCLUSION_REASON_FEED, Powered(state, pool, wanted, left, block, now));
  return left;
}

std::vector<std::string> Choose(const Pool& pool, const Selection& selection,
                                const v1::Terms& terms) {
  const size_t count = static_cast<size_t>(terms.count());
  switch (terms.placement().policy()) {
    case v1::PLACEMENT_POLICY_SPREAD_RACKS:
      return pool.SpreadRacks(selection, count);
    case v1::PLACEMENT_POLICY_SPREAD_FEEDS:
      return pool.SpreadFeeds(selection, count);
    case v1::PLACEMENT_POLICY_EXACT:
      return pool.Names(selection, count);
    case v1::PLACEMENT_POLICY_PACK:
    case v1::PLACEMENT_POLICY_UNSPECIFIED:
    case v1::PlacementPolicy_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::PlacementPolicy_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  return pool.Pack(selection, count);
}

// What release waves have not opened to the customer, of every model.
std::set<std::string> HiddenFrom(const State& state, const std::string& customer,
                                 absl::Time start) {
  std::set<std::string> hidden;
  for (const auto& [model, unused] : state.index.models())
    hidden.merge(ClosedServers(state, model, customer, start));
  return hidden;
}

// Counts servers that are ruled out, and names some of them. Those that are hidden are counted:
// they are for those to see whom a wave opens them to.
class Exclusions {
 public:
  explicit Exclusions(v1::Shortage& shortage, std::set<std::string> hidden)
      : shortage_(shortage), hidden_(std::move(hidden)) {}
  // All of them, none hidden.
  explicit Exclusions(v1::Shortage& shortage) : most_examples_(SIZE_MAX), shortage_(shortage) {}

  // How many names are enough to take examples from.
  size_t enough() const {
    return most_examples_ == SIZE_MAX ? SIZE_MAX : most_examples_ + hidden_.size();
  }

  template <typename Names>
  void Add(v1::ExclusionReason reason, size_t count, const Names& examples) {
    if (count == 0) return;
    v1::Exclusion& exclusion = *shortage_.add_exclusions();
    exclusion.set_reason(reason);
    exclusion.set_count(static_cast<int32_t>(count));
    for (const std::string& name : examples) {
      if (static_cast<size_t>(exclusion.examples_size()) == most_examples_) break;
      if (!hidden_.contains(name)) exclusion.add_examples(name);
    }
  }

 private:
  const size_t most_examples_ = kMostExamples;
  v1::Shortage& shortage_;
  const std::set<std::string> hidden_;
};

void AddOtherModels(const Index& index, const std::string& model, Exclusions& exclusions) {
  const size_t most = exclusions.enough();
  size_t count = 0;
  std::set<std::string> names;
  for (const auto& [name, other] : index.models()) {
    if (name == model) continue;
    count += other.known;
    if (const Pool* pool = index.FindPool(name)) {
      for (std::string& server : pool->Names(pool->All(), most)) names.insert(std::move(server));
    }
    for (const auto* servers : {&other.lost, &other.cordoned}) {
      size_t taken = 0;
      for (auto at = servers->begin(); at != servers->end() && taken < most; ++at, ++taken)
        names.insert(*at);
    }
  }
  exclusions.Add(v1::EXCLUSION_REASON_OTHER_MODEL, count, names);
}

// For how many servers of so much each there is room.
size_t RoomFor(int64_t left, int64_t each) {
  if (left < 0) return 0;
  return each == 0 ? SIZE_MAX : static_cast<size_t>(left / each);
}

// What the envelope leaves at its scarcest instant of the span.
Watts LeftOf(const Index& index, const v1::SiteRecord& site, const Span& span, absl::Time now) {
  Watts left{INT64_MAX, INT64_MAX};
  ForEachStep(site, span, [&](const Span& part, const Watts& limit) {
    const Watts used = index.Peak(part, now);
    left.it_power = std::min(left.it_power, limit.it_power - used.it_power);
    left.cooling = std::min(left.cooling, limit.cooling - used.cooling);
    return true;
  });
  return left;
}

// The servers of a model, one reason after the other.
void AddOfModel(const State& state, const Frame& frame, const Wanted& wanted, const Span& span,
                absl::Time now, Exclusions& exclusions) {
  const size_t most = exclusions.enough();
  const std::string& model = wanted.terms.model();
  const auto known = state.index.models().find(model);
  if (known == state.index.models().end()) return;
  exclusions.Add(v1::EXCLUSION_REASON_LOST, known->second.lost.size(), known->second.lost);
  exclusions.Add(v1::EXCLUSION_REASON_CORDONED, known->second.cordoned.size(),
                 known->second.cordoned);
  const Pool* pool = state.index.FindPool(model);
  if (pool == nullptr) return;
  const Span block = BlockOf(span, wanted.terms, MarginsIn(frame, wanted.terms));
  const Selection free =
      Narrow(state, *pool, wanted, span, block, now,
             [&](v1::ExclusionReason reason, const Selection& ruled_out) {
               exclusions.Add(reason, ruled_out.count(), pool->Names(ruled_out, most));
             });
  size_t left = free.count();
  const auto limit = [&](v1::ExclusionReason reason, size_t room) {
    if (room >= left) return;
    exclusions.Add(reason, left - room, pool->Names(free, most, room));
    left = room;
  };
  if (CheckHours(frame, span)) limit(v1::EXCLUSION_REASON_ACCESS_HOURS, 0);
  size_t allowed = left;
  if (frame.contract.max_servers_per_site() > 0) {
    allowed = std::min(allowed, RoomFor(frame.contract.max_servers_per_site() -
                                            state.index.ContractPeak(frame.contract.name(), span),
                                        1));
  }
  if (const auto accelerators = AcceleratorsLeft(state, frame, span); accelerators && left > 0) {
    const int64_t each = state.index.AcceleratorsOf(pool->Names(free, 1).front());
    allowed = std::min(allowed, RoomFor(*accelerators, each));
  }
  limit(v1::EXCLUSION_REASON_CONTRACT, allowed);
  const Watts each = state.index.LeastWatts(model, 1);
  const Watts watts = LeftOf(state.index, frame.site, block, now);
  limit(v1::EXCLUSION_REASON_POWER, RoomFor(watts.it_power, each.it_power));
  limit(v1::EXCLUSION_REASON_COOLING, RoomFor(watts.cooling, each.cooling));
}

// The first time from `start` on at which the hours hold so much at once.
absl::Time NextWithinHours(const Frame& frame, absl::Time start, absl::Duration length) {
  if (!frame.hours) return start;
  absl::Time begins = absl::InfinitePast(), reached = absl::InfinitePast();
  for (const v1::Occurrence& known : frame.hours->occurrences()) {
    const Occurrence hours = OccurrenceOf(known);
    if (hours.start > reached) begins = hours.start;
    reached = std::max(reached, hours.end);
    const absl::Time from = std::max(begins, start);
    if (from + length <= reached) return from;
  }
  return absl::InfiniteFuture();
}

// From when on the envelope suffices up to the span's end.
absl::Time EnvelopeKeptFrom(const Index& index, const v1::SiteRecord& site, const Span& span,
                            const Watts& wanted, absl::Time now) {
  absl::Time kept = span.start;
  ForEachStep(site, span, [&](const Span& part, Watts limit) {
    const absl::Time from = index.KeptFrom(part, limit -= wanted, now);
    if (from > part.start) kept = from;
    return true;
  });
  return kept;
}

// A time before which the request cannot be granted, as each of its needs says; `span.start` where
// none says anything.
absl::Time NotBefore(const State& state, const Frame& frame, const v1::Terms& terms,
                     const Span& span, absl::Time now) {
  const Span block = BlockOf(span, terms, MarginsIn(frame, terms));
  const absl::Duration lead = span.start - block.start;
  absl::Time bound =
      std::max(NextWithinHours(frame, span.start, span.end - span.start), now + lead);
  if (frame.contract.max_servers_per_site() > 0) {
    bound = std::max(
        bound, state.index.ContractKeptFrom(frame.contract.name(), span,
                                            frame.contract.max_servers_per_site() - terms.count()));
  }
  bound = std::max(
      bound, lead + EnvelopeKeptFrom(state.index, frame.site, block,
                                     state.index.LeastWatts(terms.model(), terms.count()), now));
  const Pool* pool = state.index.FindPool(terms.model());
  if (pool == nullptr) return absl::InfiniteFuture();
  const Selection named = IsExact(terms) ? pool->Named(terms.placement().servers()) : pool->All();
  const Selection open = Pool::Without(
      named, pool->Named(ClosedServers(state, terms.model(), terms.customer(), span.start)));
  absl::Time gap = lead + pool->EarliestGap(open, block.start, block.end - block.start,
                                            static_cast<size_t>(terms.count()), now);
  // A wave may open others before.
  if (const auto opens = NextOpening(state, terms.model(), terms.customer(), span.start))
    gap = std::min(gap, *opens);
  return std::max(bound, gap);
}

// From when on a feed can give so much more up to the span's end, to the second; the end where it
// cannot. What it can give over a span it can give over the rest of it too.
absl::Time FeedKeptFrom(const Index& index, const std::string& feed, const Span& span, int64_t more,
                        absl::Time now) {
  int64_t cannot = -1, can = absl::ToInt64Seconds(span.end - span.start) + 1;
  while (cannot + 1 < can) {
    const int64_t middle = cannot + (can - cannot) / 2;
    const Span rest{span.start + absl::Seconds(middle), span.end};
    const bool gives = rest.start >= rest.end || index.feeds().Left(feed, rest, now) >= more;
    (gives ? can : cannot) = middle;
  }
  return std::min(span.end, span.start + absl::Seconds(can));
}

// A start before which, compared with the span, no server becomes free and no feed has power for
// one more; never where no feed has a limit.
absl::Time NextChange(const State& state, const Frame& frame, const v1::Terms& terms,
                      const Span& span, absl::Time now) {
  const Span block = BlockOf(span, terms, MarginsIn(frame, terms));
  const Pool* pool = state.index.FindPool(terms.model());
  if (pool == nullptr || block.start >= block.end) return absl::InfiniteFuture();
  const Selection taken = Pool::Without(pool->All(), pool->FindFree({block}, now));
  absl::Time next = pool->EarliestGap(taken, block.start, block.end - block.start, 1, now);
  const int64_t each = state.index.LeastWatts(terms.model(), 1).it_power;
  bool limited = false;
  for (const std::string& feed : pool->Feeds()) {
    if (!state.index.feeds().HasLimit(feed) || each == 0) continue;
    const int64_t left = std::max<int64_t>(0, state.index.feeds().Left(feed, block, now));
    if (left == INT64_MAX) continue;
    limited = true;
    const int64_t one_more = (left / each + 1) * each;
    const absl::Time from = FeedKeptFrom(state.index, feed, block, one_more, now);
    if (from > block.start) next = std::min(next, from);
  }
  return limited ? next + (span.start - block.start) : absl::InfiniteFuture();
}

// The earliest start at which the request would be granted. Each step goes on to a time before
// which it cannot be, so that nothing is passed over. Only where servers are ruled out by
// neighbours, or feeds lack power, the steps are blind; of feeds they stop where one has power for
// one more.
std::optional<absl::Time> EarliestStart(const State& state, const Frame& frame,
                                        const Wanted& wanted, Span span,
                                        const runtime::Facts& facts) {
  const absl::Duration length = span.end - span.start;
  const absl::Time latest =
      std::min(span.start + kSearchHorizon, runtime::ToTime(frame.contract.end_time()) - length);
  absl::Duration blind = kBlindStep;
  for (int step = 0; step < kMostSearchSteps; ++step) {
    absl::Time start = NotBefore(state, frame, wanted.terms, span, facts.now);
    if (start == span.start) {
      const absl::Time change = NextChange(state, frame, wanted.terms, span, facts.now);
      if (change > start && change < start + blind) {
        start = change;
      } else {
        start += blind;
        blind *= 2;
      }
    }
    if (start > latest) return std::nullopt;
    span = {start, start + length};
    if (std::holds_alternative<Grant>(FindGrant(state, frame, wanted, span, facts))) return start;
  }
  return std::nullopt;
}

std::string_view Words(v1::ExclusionReason reason) {
  switch (reason) {
    case v1::EXCLUSION_REASON_OTHER_MODEL:
      return "of other models";
    case v1::EXCLUSION_REASON_LOST:
      return "lost";
    case v1::EXCLUSION_REASON_CORDONED:
      return "cordoned";
    case v1::EXCLUSION_REASON_NOT_NAMED:
      return "not named";
    case v1::EXCLUSION_REASON_NOT_OPEN:
      return "not open to the customer";
    case v1::EXCLUSION_REASON_APART:
      return "beside one to be kept apart from";
    case v1::EXCLUSION_REASON_TAKEN:
      return "taken";
    case v1::EXCLUSION_REASON_MARGIN:
      return "within a margin";
    case v1::EXCLUSION_REASON_ACCESS_HOURS:
      return "outside of the access hours";
    case v1::EXCLUSION_REASON_CONTRACT:
      return "more than the contract allows";
    case v1::EXCLUSION_REASON_POWER:
      return "without power";
    case v1::EXCLUSION_REASON_COOLING:
      return "without cooling";
    case v1::EXCLUSION_REASON_FEED:
      return "without power on their feed";
    case v1::EXCLUSION_REASON_UNSPECIFIED:
    case v1::ExclusionReason_INT_MIN_SENTINEL_DO_NOT_USE_:
    case v1::ExclusionReason_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  return "ruled out";
}

std::string Describe(const v1::Shortage& shortage) {
  std::string text;
  for (const v1::Exclusion& exclusion : shortage.exclusions()) {
    std::string examples;
    for (const std::string& name : exclusion.examples()) {
      examples +=
          fmt::format("{}{}", examples.empty() ? "" : ", ", name.substr(name.rfind('/') + 1));
    }
    text += fmt::format("{}{} {} ({}{})", text.empty() ? " Ruled out: " : ", ", exclusion.count(),
                        Words(exclusion.reason()), examples,
                        exclusion.count() > exclusion.examples_size() ? ", …" : "");
  }
  if (!text.empty()) text += ".";
  if (shortage.has_earliest_start()) {
    text += fmt::format(" It would fit from {} on.",
                        runtime::ToText(runtime::ToTime(shortage.earliest_start())));
  }
  return text;
}

// The feed of the first server that a shortage says has no power, and when it lacks that of one.
std::optional<Feeds::Short> ShortFeed(const State& state, const Wanted& wanted,
                                      const v1::Shortage& shortage, const Span& block,
                                      absl::Time now) {
  for (const v1::Exclusion& exclusion : shortage.exclusions()) {
    if (exclusion.reason() != v1::EXCLUSION_REASON_FEED || exclusion.examples().empty()) continue;
    const ServerPlace* place = state.index.PlaceOf(exclusion.examples(0));
    if (place == nullptr) return std::nullopt;
    const std::map<std::string, int64_t> draws = {
        {place->feed, std::max(state.index.MostPower(wanted.terms.model()),
                               state.index.feeds().Left(place->feed, block, now) + 1)}};
    return state.index.feeds().FirstShort(draws, block, now);
  }
  return std::nullopt;
}

// What can be short at one time and not at another.
bool IsShortage(v1::Reason reason) {
  return reason == v1::REASON_NO_CAPACITY || reason == v1::REASON_POWER_ENVELOPE ||
         reason == v1::REASON_COOLING_ENVELOPE || reason == v1::REASON_CONTRACT ||
         reason == v1::REASON_ACCESS_HOURS || reason == v1::REASON_MARGIN ||
         reason == v1::REASON_WAVE || reason == v1::REASON_QUOTA_EXHAUSTED;
}

}  // namespace

std::vector<std::string> ChooseServers(const State& state, const Wanted& wanted, const Span& use,
                                       const Span& block, absl::Time now) {
  const Pool* pool = state.index.FindPool(wanted.terms.model());
  if (pool == nullptr) return {};
  const Selection free =
      Narrow(state, *pool, wanted, use, block, now, [](v1::ExclusionReason, const Selection&) {});
  return Choose(*pool, free, wanted.terms);
}

Checked CheckPowered(const State& state, const Wanted& wanted, const Span& use, const Span& block,
                     size_t found, absl::Time now) {
  const Pool* pool = state.index.FindPool(wanted.terms.model());
  if (pool == nullptr) return std::nullopt;
  Selection unpowered{{}};
  Narrow(state, *pool, wanted, use, block, now,
         [&](v1::ExclusionReason reason, const Selection& ruled_out) {
           if (reason == v1::EXCLUSION_REASON_FEED) unpowered = ruled_out;
         });
  const size_t free = found + unpowered.count();
  if (free < static_cast<size_t>(wanted.terms.count())) return std::nullopt;
  const std::vector<std::string> first = pool->Names(unpowered, 1);
  // Of the feed of the first that it cannot power: one more than it has room for is too much.
  const std::string& feed = state.index.PlaceOf(first.at(0))->feed;
  const std::map<std::string, int64_t> draws = {
      {feed, state.index.feeds().Left(feed, block, now) + 1}};
  const auto at = state.index.feeds().FirstShort(draws, block, now);
  return Obstacle{
      v1::REASON_POWER_ENVELOPE,
      fmt::format("{} servers of {} are free within {} and there is power for {} of them, expected "
                  "{}. At {} feed {} gives {} W of {} W already.",
                  free, wanted.terms.model(), ToText(block), found, wanted.terms.count(),
                  runtime::ToText(at->at), feed, at->used, at->limit)};
}

Checked CheckApart(const State& state, const Wanted& wanted,
                   const google::protobuf::RepeatedPtrField<std::string>& servers, const Span& span,
                   absl::Time now) {
  const Neighbours neighbours =
      NeighboursOf(state, wanted.terms.customer(), wanted.reservation, span, now);
  for (const std::string& server : servers) {
    const ServerPlace* place = state.index.PlaceOf(server);
    if (place == nullptr ||
        (!neighbours.racks.contains(place->rack) && !neighbours.domains.contains(place->domain)))
      continue;
    return Obstacle{v1::REASON_NO_CAPACITY,
                    fmt::format("Within {} {} stands beside one that {} is kept apart from.",
                                ToText(span), server, wanted.terms.customer())};
  }
  return std::nullopt;
}

Obstacle Explained(const State& state, const Frame& frame, const Wanted& wanted, const Span& span,
                   const runtime::Facts& facts, Obstacle obstacle) {
  if (!IsShortage(obstacle.reason)) return obstacle;
  v1::Shortage& shortage = obstacle.shortage.emplace();
  Exclusions exclusions(shortage, HiddenFrom(state, wanted.terms.customer(), span.start));
  AddOtherModels(state.index, wanted.terms.model(), exclusions);
  AddOfModel(state, frame, wanted, span, facts.now, exclusions);
  const Watts least = state.index.LeastWatts(wanted.terms.model(), wanted.terms.count());
  const Span block = BlockOf(span, wanted.terms, MarginsIn(frame, wanted.terms));
  if (const auto found = FindShort(frame.site, state.index, block, least, facts.now)) {
    *shortage.mutable_short_from() = runtime::ToTimestamp(found->at);
    shortage.set_short_it_power_watts(std::max<int64_t>(0, found->missing.it_power));
    shortage.set_short_cooling_watts(std::max<int64_t>(0, found->missing.cooling));
  } else if (const auto feed = ShortFeed(state, wanted, shortage, block, facts.now)) {
    *shortage.mutable_short_from() = runtime::ToTimestamp(feed->at);
    shortage.set_short_feed(feed->feed);
    // What it lacks for one more than it has room for.
    const int64_t left = std::max<int64_t>(0, feed->limit - feed->used);
    const int64_t each = std::max<int64_t>(1, state.index.MostPower(wanted.terms.model()));
    shortage.set_short_it_power_watts((left / each + 1) * each - left);
  }
  *shortage.mutable_terms() = wanted.terms;
  *shortage.mutable_start_time() = runtime::ToTimestamp(span.start);
  *shortage.mutable_end_time() = runtime::ToTimestamp(span.end);
  // Another start of one occurrence would be another schedule; and hours of which too few are
  // allotted are too few at any time.
  const bool lacks_hours = obstacle.shortfall.missing().accelerator_seconds() > 0;
  if (!wanted.terms.has_access() && !lacks_hours) {
    if (const auto start = EarliestStart(state, frame, wanted, span, facts))
      *shortage.mutable_earliest_start() = runtime::ToTimestamp(*start);
  }
  obstacle.detail += Describe(shortage);
  return obstacle;
}

std::vector<std::pair<std::string, v1::ExclusionReason>> VerdictsOf(const State& state,
                                                                    const v1::Shortage& shortage,
                                                                    const runtime::Facts& facts) {
  std::map<std::string, v1::ExclusionReason> verdicts;
  for (const auto& [name, model] : state.index.models()) {
    if (const Pool* pool = state.index.FindPool(name)) {
      for (const std::string& server : pool->Names(pool->All(), SIZE_MAX))
        verdicts[server] = v1::EXCLUSION_REASON_UNSPECIFIED;
    }
  }
  const auto frame = FrameOf(state, shortage.terms().contract(), facts);
  v1::Shortage all;
  Exclusions exclusions(all);
  const Span span{runtime::ToTime(shortage.start_time()), runtime::ToTime(shortage.end_time())};
  AddOtherModels(state.index, shortage.terms().model(), exclusions);
  if (const auto* known = std::get_if<Frame>(&frame))
    AddOfModel(state, *known, {shortage.terms()}, span, facts.now, exclusions);
  for (const v1::Exclusion& exclusion : all.exclusions()) {
    for (const std::string& server : exclusion.examples()) verdicts[server] = exclusion.reason();
  }
  return {verdicts.begin(), verdicts.end()};
}

v1::Event SeparateParties(const State& state, const v1::SeparatePartiesRequest& request,
                          const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.name()) != facts.site) {
    return NotHome(request, request.name(), facts);
  }
  if (const auto known = state.rows.separations.Get(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} exists already{}; expected a new name.", request.name(),
                               known->ended() ? " and has ended" : ""));
  }
  for (const std::string& party : request.parties()) {
    const bool customer = runtime::MatchesName(party, "customers/*");
    // A contract of another site brings its customer along, who is not registered here.
    const bool known = customer || state.rows.reservations.Contains(party);
    if (known) continue;
    return Refused(
        request, v1::REASON_NOT_FOUND,
        fmt::format("{} is not known, expected a reservation of {}.", party, Here(facts)));
  }
  v1::Event event;
  v1::PartiesSeparated& separated = *event.mutable_parties_separated();
  separated.set_name(request.name());
  *separated.mutable_parties() = request.parties();
  separated.set_reason(request.reason());
  return event;
}

v1::Event EndSeparation(const State& state, const v1::EndSeparationRequest& request,
                        const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.name()) != facts.site) {
    return NotHome(request, request.name(), facts);
  }
  const auto known = state.rows.separations.Get(request.name());
  if (!known) {
    return Refused(
        request, v1::REASON_NOT_FOUND,
        fmt::format("{} is not known, expected a separation of {}.", request.name(), Here(facts)));
  }
  if (known->ended()) {
    return Refused(request, v1::REASON_WRONG_STATE,
                   fmt::format("{} has ended already, expected one that holds.", request.name()));
  }
  v1::Event event;
  event.mutable_separation_ended()->set_name(request.name());
  event.mutable_separation_ended()->set_reason(request.reason());
  return event;
}

}  // namespace concordat::reservations
