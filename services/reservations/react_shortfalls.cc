#include <fmt/format.h>

#include <utility>

#include "services/reservations/margins.h"
#include "services/reservations/shortfalls.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

Intent Review(const std::string& site, const std::string& feed, const std::string& name) {
  v1::Command command;
  v1::ReviewShortfall& review = *command.mutable_review_shortfall();
  review.set_site(site);
  review.set_feed(feed);
  review.set_name(name);
  std::string subject = name;
  if (subject.empty()) subject = feed.empty() ? site : fmt::format("{}/feeds/{}", site, feed);
  return {.kind = "shortfall", .subject = std::move(subject), .command = std::move(command)};
}

Intent Review(const v1::Shortfall& shortfall) {
  const std::string site = fmt::format("sites/{}", runtime::SiteOfName(shortfall.name()));
  return Review(site, shortfall.found().feed(), shortfall.name());
}

absl::Time EndOf(const v1::Shortfall& shortfall) {
  return shortfall.found().has_end_time() ? runtime::ToTime(shortfall.found().end_time())
                                          : absl::InfiniteFuture();
}

bool MayTakePart(const Rows& rows, const v1::Reservation& reservation,
                 const v1::Shortfall& shortfall) {
  // A series takes the time of its occurrences, whose servers are theirs.
  const bool series = reservation.terms().has_access();
  const Span span{runtime::ToTime(shortfall.found().start_time()), EndOf(shortfall)};
  const Span block = BlockOf(reservation.terms(), reservation.margins());
  if (!block.Overlaps(span)) return false;
  if (series || shortfall.found().feed().empty()) return true;
  for (const std::string& server : reservation.servers()) {
    const auto record = rows.server_records.Get(server);
    if (record && record->server().power_feed() == shortfall.found().feed()) return true;
  }
  return false;
}

}  // namespace

Intents ReviewLimit(const Rows& rows, const std::string& feed, const v1::EnvelopeRecorded& step) {
  Intents intents;
  rows.shortfalls.Scan("", [&](std::string_view, const v1::Shortfall& shortfall) {
    if (shortfall.found().feed() == feed) intents.push_back(Review(shortfall));
    return true;
  });
  if (intents.empty() && step.cuts()) intents.push_back(Review(step.site(), feed, ""));
  return intents;
}

Intents ReviewShortfalls(const Rows& rows) {
  Intents intents;
  rows.shortfalls.Scan("", [&](std::string_view, const v1::Shortfall& shortfall) {
    intents.push_back(Review(shortfall));
    return true;
  });
  return intents;
}

Intents ReviewShortfallsOf(const Rows& rows, const std::string& name) {
  Intents intents;
  const auto reservation = rows.reservations.Get(name);
  // What is being vacated still draws; it is looked at once that is over.
  if (!reservation || reservation->state() == v1::RESERVATION_STATE_ENDING) return intents;
  rows.shortfalls.Scan("", [&](std::string_view, const v1::Shortfall& shortfall) {
    if (MayTakePart(rows, *reservation, shortfall)) intents.push_back(Review(shortfall));
    return true;
  });
  return intents;
}

void DueShortfalls(const Rows& rows, absl::Time now, size_t limit, Intents& intents) {
  if (intents.size() >= limit) return;
  rows.shortfalls.Scan("", [&](std::string_view, const v1::Shortfall& shortfall) {
    if (EndOf(shortfall) > now) return true;
    Intent intent = Review(shortfall);
    intent.deadline = DeadlineKey(EndOf(shortfall), shortfall.name());
    intents.push_back(std::move(intent));
    return intents.size() < limit;
  });
}

}  // namespace concordat::reservations
