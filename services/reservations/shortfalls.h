// Shortfalls: what is reserved beyond what the site or a feed may draw or cool.
// Law: nothing is taken away by itself; what is short, by how much, whose reservations take part
// and what could be done is told by an event, and told again whenever that changes.
#pragma once

#include <string>
#include <vector>

#include "services/reservations/react.h"
#include "services/reservations/state.h"

namespace concordat::reservations {

// A time in which more is reserved than there is.
struct Lack {
  Span span;
  Watts missing;  // the most at an instant; at least one of both is above zero
};

// Every such time within a span, in order, of the site or of a feed; none touches another. What is
// being vacated does not count: it will not last. Costs a step for each change of the use.
std::vector<Lack> ShortSpans(const Index& index, const v1::SiteRecord& site,
                             const std::string& feed, const Span& span);

// What the shortfall is, or would be, called.
std::string ShortfallName(const v1::ReviewShortfall& command, const runtime::Facts& facts);

// What a step of an envelope comes to: a look, where it cuts into what is reserved, or where more
// was reserved before it.
Intents ReviewLimit(const Rows& rows, const std::string& feed, const v1::EnvelopeRecorded& step);

// All of them have to be looked at again: a reservation has other times or servers than it had.
Intents ReviewShortfalls(const Rows& rows);
// Those that a reservation may take part in have to be: it is given up, or has ended.
Intents ReviewShortfallsOf(const Rows& rows, const std::string& reservation);

// Those whose end has come.
void DueShortfalls(const Rows& rows, absl::Time now, size_t limit, Intents& intents);

}  // namespace concordat::reservations
