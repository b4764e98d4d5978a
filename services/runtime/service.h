// What a service is to the runtime: pure functions and a struct that names its types.
//
//     Event   Decide(const State&, const Command&, const Facts&);   the fact, or its refusal
//     void    Evolve(Rows&, const Accepted<Event>&);                the only way that rows change
//     Intents React(const Rows&, const Accepted<Event>&);           to an own event, once evolved
//     Intents React(const Accepted<Other>&);                        to another's event; no state
//     Intents Due(const Rows&, absl::Time now, size_t limit);       deadlines that have passed
//     absl::Status Validate(const Command&);                        what bytes alone can tell
//     std::string Subject(const Command&, const Facts&);            what the command is about
//
// They are free functions of the service's namespace; its Service struct names them as static
// members, for the runtime cannot find an overload over another service's event by
// argument-dependent lookup. Law: none of them reads a clock, a file, the network or another
// thread's memory.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <google/protobuf/message.h>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "events/link.h"
#include "events/record.h"
#include "storage/projection/rows.h"

namespace concordat::runtime {

// Actors that begin with this are services; no caller may use it.
inline constexpr std::string_view kSystemActor = "system:";

// The event that led to a command.
struct Cause {
  std::string stream;
  uint64_t sequence = 0;
  events::Link link;

  // `<stream>:<sequence>:<link>`, the value of ce_causationid.
  std::string ToString() const;
};

// What a command brings along; the only time and identity that a decider knows.
struct Facts {
  absl::Time now;              // the stream's time: never before the last event's
  std::string site;            // the site that decides, `paris`
  std::string command_id;      // unique for each stream and actor
  std::string subject;         // as Subject() gave it
  std::string actor;           // a pseudonym
  std::string correlation_id;  // the story that the command belongs to
  std::optional<Cause> cause;  // nothing where a caller asked
};

// An event that was accepted, as Evolve and React see it.
template <typename Event>
struct Accepted {
  const Event& event;
  std::string_view stream;               // where it stands
  std::string_view site;                 // the stream's home, `borlange`
  std::string_view here;                 // the site that evolves or reacts, `paris`
  uint64_t sequence;                     // its position in the stream
  absl::Time time;                       // when it was decided
  const events::Link& link;              // its link
  const events::Attributes& attributes;  // subject, actor, correlation and the rest
};

// A command that follows from an event or a deadline. Its id is (cause, kind, subject), so that it
// is decided once however often it is issued.
template <typename Command>
struct Intent {
  std::string kind;     // what it is, `judge`; one word
  std::string subject;  // the resource it is about
  Command command;
  // For deadlines, which have no cause: the deadline itself, so that a moved one is a new command.
  std::string deadline = {};
  // The story it belongs to; empty: the cause's.
  std::string correlation_id = {};
};

// The events of other services of the same site that a service follows.
template <typename... Events>
struct Follows {};

// A table that answers queries: its name is the collection's.
struct TableInfo {
  std::string name;
  const google::protobuf::Message* prototype;
};

// What every service struct must have; a misspelt overload is a compile error here, never a silent
// omission.
template <typename S>
concept Service = requires(const typename S::State& state, typename S::Rows& rows,
                           const typename S::Rows& const_rows, const typename S::Command& command,
                           const Facts& facts, const Accepted<typename S::Event>& accepted,
                           const storage::Change& change, typename S::Index& index) {
  { S::kName } -> std::convertible_to<std::string_view>;
  // Whether it follows its own streams of other sites through React(Accepted<Event>).
  { S::kFollowsPeers } -> std::convertible_to<bool>;
  { S::Decide(state, command, facts) } -> std::same_as<typename S::Event>;
  { S::Evolve(rows, accepted) } -> std::same_as<void>;
  { S::React(const_rows, accepted) } -> std::same_as<std::vector<Intent<typename S::Command>>>;
  {
    S::Due(const_rows, absl::Time(), size_t())
    } -> std::same_as<std::vector<Intent<typename S::Command>>>;
  { S::Validate(command) } -> std::same_as<absl::Status>;
  { S::Subject(command, facts) } -> std::same_as<std::string>;
  { index.Apply(change) } -> std::same_as<void>;
  { S::Tables() } -> std::same_as<std::vector<TableInfo>>;
};

template <typename S, typename Other>
concept ReactsTo = requires(const Accepted<Other>& accepted) {
  { S::React(accepted) } -> std::same_as<std::vector<Intent<typename S::Command>>>;
};

template <typename S, typename... Events>
constexpr bool ReactsToAll(Follows<Events...>) {
  return (ReactsTo<S, Events> && ...);
}

// To be asserted beside every service struct.
template <typename S>
constexpr bool IsComplete() {
  static_assert(Service<S>, "the service lacks one of its functions, or one has another signature");
  static_assert(ReactsToAll<S>(typename S::Inputs{}), "a followed event has no React()");
  static_assert(!S::kFollowsPeers || ReactsTo<S, typename S::Event>,
                "peers are followed without React()");
  return true;
}

// Rows and the indexes derived from them, as a decider reads them. `Rows` is built over a journal.
template <typename Rows, typename Index>
struct StateOf {
  explicit StateOf(storage::Journal& journal) : rows(journal) {}
  Rows rows;
  Index index;
};

// The index of a service that needs none.
struct NoIndex {
  void Apply(const storage::Change&) {}
};

// A name for a created resource, derived from its command id, so that a command decided again
// creates the same: ten letters and digits.
std::string DerivedId(const Facts& facts);

}  // namespace concordat::runtime
