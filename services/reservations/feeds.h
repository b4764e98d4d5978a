// The power feeds of a site: the limits of each over time, and what is drawn of it. Law: as the
// index that keeps it (index.h), derived from rows alone. Not thread-safe.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/time/time.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/occupancy.h"
#include "services/reservations/timeline.h"

namespace concordat::reservations {

// A feed is called as servers' places name it, `a`. One without a step has no limit; before its
// first step it has none either.
class Feeds {
 public:
  // The envelopes of the feeds of a site's row instead of those of the row before.
  void SetLimits(const std::optional<v1::SiteRecord>& before,
                 const std::optional<v1::SiteRecord>& after);
  // Enters what is drawn of a feed, in watts, or with a negative amount takes it out. Amounts add
  // up, so that it is the same whether a reservation comes after its servers' records or before
  // them.
  void Draw(const std::string& feed, Occupancy::Phase phase, const Span& span, int64_t watts);

  bool HasLimit(const std::string& feed) const;
  // A feed's limit at an instant, in watts; nothing where it has none.
  std::optional<int64_t> LimitAt(const std::string& feed, absl::Time at) const;
  // The least that is left of a feed at any instant of the span, in watts: negative where more is
  // promised than it gives, the greatest number where it has no limit. REQUIRES: start < end.
  int64_t Left(const std::string& feed, const Span& span, absl::Time now) const;
  // The first instant of the span at which a feed cannot give so much more.
  struct Short {
    std::string feed;
    absl::Time at;
    int64_t used;   // by others, at that instant, in watts
    int64_t limit;  // the feed's then, in watts
  };
  std::optional<Short> FirstShort(const std::map<std::string, int64_t>& draws, const Span& span,
                                  absl::Time now) const;
  // What runs now on a feed, late or not, in watts.
  int64_t Running(const std::string& feed) const;
  // What is being vacated now on a feed, in watts.
  int64_t Ending(const std::string& feed) const;
  // What is reserved of a feed over the span, in watts: the level from each change on, the first
  // from the span's start. Costs a step for each change within the span.
  std::vector<std::pair<absl::Time, int64_t>> Levels(const std::string& feed,
                                                     const Span& span) const;

  bool operator==(const Feeds& other) const { return feeds_ == other.feeds_; }

 private:
  struct Limit {
    absl::Time from;
    int64_t watts;
    bool operator==(const Limit&) const = default;
  };
  // What is known of a power feed.
  struct Feed {
    std::vector<Limit> limits;  // ordered by time
    Timeline<int64_t> watts;
    absl::btree_map<absl::Time, int64_t> active;  // what is ACTIVE, in watts, by end
    int64_t running = 0;
    int64_t ending = 0;
    bool operator==(const Feed& other) const {
      return limits == other.limits && watts == other.watts && active == other.active &&
             running == other.running && ending == other.ending;
    }
    bool empty() const {
      return limits.empty() && watts.empty() && active.empty() && running == 0 && ending == 0;
    }
    int64_t Late(absl::Time now) const;
  };

  std::map<std::string, Feed> feeds_;
};

}  // namespace concordat::reservations
