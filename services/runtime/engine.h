// An engine is a service as the writer and the followers see it: its four functions over one
// projection, with commands and events as Protobuf messages of whatever type the service has.
#pragma once

#include <absl/status/statusor.h>
#include <google/protobuf/message.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "events/flaw.h"
#include "events/record.h"
#include "services/runtime/service.h"
#include "storage/projection/rows.h"

namespace concordat::runtime {

using MessagePtr = std::unique_ptr<google::protobuf::Message>;

// What a command came to.
struct Decision {
  MessagePtr event;
  std::string type;    // Protobuf full name of the event inside
  std::string reason;  // the refusal's reason code; empty for a fact
  std::string detail;
};

// Where an event stands.
struct Place {
  std::string_view stream;
  std::string_view site;  // the stream's home
  std::string_view here;  // the site that evolves or reacts
};

// A follow-up command with its type erased.
struct AnyIntent {
  std::string kind;
  std::string subject;
  MessagePtr command;
  std::string deadline;
  std::string correlation_id;
};

// Not thread-safe but where it says so.
class Engine {
 public:
  virtual ~Engine() = default;

  virtual std::string_view name() const = 0;
  // `concordat.reservations.v1.Event`. Any thread.
  virtual const google::protobuf::Descriptor* event_type() const = 0;
  virtual const google::protobuf::Message& command_prototype() const = 0;
  virtual std::vector<TableInfo> tables() const = 0;

  // Any thread.
  virtual absl::Status Validate(const google::protobuf::Message& command) const = 0;
  virtual std::string Subject(const google::protobuf::Message& command,
                              const Facts& facts) const = 0;

  virtual Decision Decide(const google::protobuf::Message& command, const Facts& facts) const = 0;
  virtual void Evolve(const google::protobuf::Message& event, const events::Attributes& attributes,
                      const Place& place) = 0;
  virtual std::vector<AnyIntent> React(const google::protobuf::Message& event,
                                       const events::Attributes& attributes,
                                       const Place& place) const = 0;
  virtual std::vector<AnyIntent> Due(absl::Time now, size_t limit) const = 0;

  // The events of other streams that the service reacts to, by Protobuf full name; its own among
  // them where it follows its peers. Any thread.
  virtual std::vector<const google::protobuf::Descriptor*> followed() const = 0;
  // Any thread. REQUIRES: `event` is of a followed type.
  virtual std::vector<AnyIntent> ReactToOther(const google::protobuf::Message& event,
                                              const events::Attributes& attributes,
                                              const Place& place) const = 0;

  // Brings the index to the rows of a source: once, before anything else.
  virtual void LoadIndex(const storage::RowSource& rows) = 0;
};

// Whether a Protobuf full name is that of one of the runtime's own events.
bool IsSystemType(std::string_view type);

// The event in a record's data. INVALID_ARGUMENT where the bytes are no such message, or hold
// fields, values or events that this release does not know: they come from a newer one.
absl::StatusOr<MessagePtr> ParseEvent(const google::protobuf::Descriptor* type,
                                      std::string_view data);

#ifdef CONCORDAT_SIMULATION
// In worlds where releases run side by side: whether the release that asks at this moment knows an
// event or a command, by its field in the service's Event or Command. Unset: it knows all.
inline thread_local std::function<bool(const google::protobuf::FieldDescriptor&)> release_knows;

// The same of the one that is set in a message.
bool ReleaseKnows(const google::protobuf::Message& message);
#endif

// The event set in an event's `oneof`, as its Protobuf full name; empty where none is.
std::string EventTypeOf(const google::protobuf::Message& event);

// The refusal in an event; nothing where it is a fact.
struct Refusal {
  std::string reason;
  std::string detail;
};
std::optional<Refusal> RefusalOf(const google::protobuf::Message& event);

// INVALID_ARGUMENT naming the first field or enum value that this release does not know.
absl::Status CheckKnown(const google::protobuf::Message& message);

template <typename S>
class EngineOf final : public Engine {
 public:
  static_assert(IsComplete<S>());
  using Command = typename S::Command;
  using Event = typename S::Event;

  // The journal must outlive the engine; its observer becomes the service's index.
  explicit EngineOf(storage::Journal& journal) : state_(journal) {
    journal.Observe([this](const storage::Change& change) {
      if (events::Has(events::Flaw::kStaleIndex) && change.before) return;
      if (!storage::TableOf(change.key).empty()) state_.index.Apply(change);
    });
  }

  std::string_view name() const override { return S::kName; }
  const google::protobuf::Descriptor* event_type() const override { return Event::descriptor(); }
  const google::protobuf::Message& command_prototype() const override {
    return Command::default_instance();
  }
  std::vector<TableInfo> tables() const override { return S::Tables(); }

  absl::Status Validate(const google::protobuf::Message& command) const override {
    return S::Validate(AsCommand(command));
  }
  std::string Subject(const google::protobuf::Message& command, const Facts& facts) const override {
    return S::Subject(AsCommand(command), facts);
  }

  Decision Decide(const google::protobuf::Message& command, const Facts& facts) const override {
    auto event = std::make_unique<Event>(S::Decide(state_, AsCommand(command), facts));
    Decision decision{.event = nullptr, .type = EventTypeOf(*event), .reason = {}, .detail = {}};
    if (auto refusal = RefusalOf(*event)) {
      decision.reason = std::move(refusal->reason);
      decision.detail = std::move(refusal->detail);
    }
    decision.event = std::move(event);
    return decision;
  }

  void Evolve(const google::protobuf::Message& event, const events::Attributes& attributes,
              const Place& place) override {
    S::Evolve(state_.rows, AcceptedOf<Event>(event, attributes, place));
  }

  std::vector<AnyIntent> React(const google::protobuf::Message& event,
                               const events::Attributes& attributes,
                               const Place& place) const override {
    return Erase(S::React(state_.rows, AcceptedOf<Event>(event, attributes, place)));
  }

  std::vector<AnyIntent> Due(absl::Time now, size_t limit) const override {
    return Erase(S::Due(state_.rows, now, limit));
  }

  std::vector<const google::protobuf::Descriptor*> followed() const override {
    std::vector<const google::protobuf::Descriptor*> types = TypesOf(typename S::Inputs{});
    if constexpr (S::kFollowsPeers) types.push_back(Event::descriptor());
    return types;
  }

  std::vector<AnyIntent> ReactToOther(const google::protobuf::Message& event,
                                      const events::Attributes& attributes,
                                      const Place& place) const override {
    if constexpr (S::kFollowsPeers) {
      if (event.GetDescriptor() == Event::descriptor()) {
        return Erase(S::React(AcceptedOf<Event>(event, attributes, place)));
      }
    }
    return ReactToOneOf(event, attributes, place, typename S::Inputs{});
  }

  void LoadIndex(const storage::RowSource& rows) override {
    rows.Scan(std::string_view("\x01", 1), [&](std::string_view key, std::string_view value) {
      state_.index.Apply({key, std::nullopt, value});
      return true;
    });
  }

 private:
  static const Command& AsCommand(const google::protobuf::Message& command) {
    return static_cast<const Command&>(command);
  }
  template <typename Other>
  static Accepted<Other> AcceptedOf(const google::protobuf::Message& event,
                                    const events::Attributes& attributes, const Place& place) {
    return {static_cast<const Other&>(event),
            place.stream,
            place.site,
            place.here,
            attributes.sequence,
            attributes.time,
            attributes.id,
            attributes};
  }
  static std::vector<AnyIntent> Erase(std::vector<Intent<Command>> intents) {
    std::vector<AnyIntent> erased;
    for (Intent<Command>& intent : intents) {
#ifdef CONCORDAT_SIMULATION
      // An older release has neither the command nor what it follows from.
      if (!ReleaseKnows(intent.command)) continue;
#endif
      erased.push_back({std::move(intent.kind), std::move(intent.subject),
                        std::make_unique<Command>(std::move(intent.command)),
                        std::move(intent.deadline), std::move(intent.correlation_id)});
    }
    return erased;
  }
  template <typename... Others>
  static std::vector<const google::protobuf::Descriptor*> TypesOf(Follows<Others...>) {
    return {Others::descriptor()...};
  }
  template <typename... Others>
  static std::vector<AnyIntent> ReactToOneOf(const google::protobuf::Message& event,
                                             const events::Attributes& attributes,
                                             const Place& place, Follows<Others...>) {
    std::vector<AnyIntent> intents;
    [[maybe_unused]] const auto try_one = [&](auto* type) {
      using Other = std::remove_pointer_t<decltype(type)>;
      if (event.GetDescriptor() == Other::descriptor()) {
        intents = Erase(S::React(AcceptedOf<Other>(event, attributes, place)));
      }
    };
    (try_one(static_cast<Others*>(nullptr)), ...);
    return intents;
  }

  typename S::State state_;
};

}  // namespace concordat::runtime
