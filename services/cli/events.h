// Events as people and tests read them: `history` and `watch`.
#pragma once

#include <absl/status/statusor.h>
#include <google/protobuf/message.h>

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "concordat/node/v1/api.pb.h"
#include "services/cli/session.h"

namespace concordat::cli {

using Events = std::vector<node::v1::EventRecord>;

// An event out of its record: the fact itself, such as a ReservationHeld, and the stream's value
// that holds it. Both nullptr where the type is not known here.
struct Fact {
  std::shared_ptr<google::protobuf::Message> value;
  const google::protobuf::Message* fact = nullptr;
};
Fact OpenFact(const node::v1::EventRecord& record);

// `paris.reservations.events:12`.
std::string Position(const node::v1::EventRecord& record);

// `ReservationHeld` of `concordat.reservations.v1.ReservationHeld`.
std::string ShortType(const node::v1::EventRecord& record);

// What an event says, in a few words: `state`, reasons and figures that matter to people.
std::string Gist(const node::v1::EventRecord& record);

// Waits, for two seconds a stream at most, until a site's events reach the heads that it reports,
// so that whoever asks about what was just answered finds it. Where that cannot be had, what there
// is must do.
void AwaitEvents(Session& session, const Site& site);

// Everything that a site knows for a request, all pages together where it names a stream.
// UNAVAILABLE where the site cut the answer short and names no stream to go on in.
absl::StatusOr<Events> FetchEvents(Session& session, const Site& site,
                                   node::v1::ListEventsRequest request);

// One line an event.
void PrintEvents(std::ostream& out, const Events& events, bool headers);

// One event as a comment and the text format of the stream's value, as the tests take it.
std::string EventText(const node::v1::EventRecord& record);

// Where a site's events are asked: the process that runs compliance keeps the archive of them all.
const std::string& EventAddress(const Site& site);

absl::Status RunHistory(Session& session, const std::vector<std::string>& words);

// What `watch` was told.
struct WatchOptions {
  std::string
      stream;  // `paris.reservations.events`, `reservations`, or empty: all of the site's own
  int64_t from = 0;
  bool has_from = false;
  bool until_head = false;
};
absl::Status RunWatch(Session& session, const WatchOptions& options);

}  // namespace concordat::cli
