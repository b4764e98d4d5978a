#include "services/runtime/fold.h"

#include <fmt/format.h>

#include <utility>

#include "concordat/system/v1/events.pb.h"
#include "events/flaw.h"

namespace concordat::runtime {
namespace {

constexpr std::string_view kCommands = "commands";
constexpr std::string_view kIntentPrefix("\0intent\0", 8);
constexpr std::string_view kExpiryPrefix("\0expiry\0", 8);

std::string CommandKey(std::string_view actor, std::string_view command_id) {
  std::string key = storage::RowKey(kCommands, actor);
  key.push_back('\0');
  key.append(command_id);
  return key;
}

std::string IntentKey(std::string_view command_id) {
  std::string key(kIntentPrefix);
  key.append(command_id);
  return key;
}

int64_t DayOf(absl::Time time) { return absl::ToUnixSeconds(time) / 86400; }

std::string ExpiryKey(int64_t day, std::string_view command_key) {
  std::string key(kExpiryPrefix);
  key += fmt::format("{:010d}", day);
  key.append(command_key);
  return key;
}

bool IsSystemEvent(std::string_view type) { return type.substr(0, 20) == "concordat.system.v1."; }

events::Link LinkOf(const std::string& bytes) {
  events::Link link;
  if (bytes.size() == 32) std::copy(bytes.begin(), bytes.end(), link.bytes.begin());
  return link;
}

std::string BytesOf(const events::Link& link) { return {link.bytes.begin(), link.bytes.end()}; }

// The event of a record, or nothing for a system event.
absl::StatusOr<MessagePtr> EventOf(const events::Record& record, const Engine& engine) {
  const std::string schema = events::DataType(record);
  if (schema == engine.event_type()->full_name())
    return ParseEvent(engine.event_type(), record.data);
  const auto* type =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(schema);
  if (type == nullptr || !IsSystemEvent(schema)) {
    return absl::InvalidArgumentError(
        fmt::format("its data is a {}, which this release does not know", schema));
  }
  const MessagePtr event(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (!event->ParseFromString(record.data)) {
    return absl::InvalidArgumentError(fmt::format("its data is not a {}", schema));
  }
  const absl::Status status = CheckKnown(*event);
  if (!status.ok()) return status;
  return nullptr;
}

}  // namespace

std::string ReactionId(const Cause& cause, const std::string& kind, const std::string& subject) {
  return fmt::format("{}:{}/{}/{}", cause.stream, cause.sequence, kind, subject);
}

Fold::Fold(Engine& engine, storage::Projection& projection, std::string here)
    : engine_(engine),
      projection_(projection),
      stream_(projection.chain().stream()),
      site_(events::SiteOf(stream_)),
      here_(std::move(here)) {}

absl::StatusOr<events::Outcome> Fold::Offer(const events::Record& record, int64_t offset,
                                            events::Attributes* attributes) {
  events::Chain& chain = projection_.chain();
  if (here_ == site_ && offset != chain.next_offset()) {
    return absl::DataLossError(
        fmt::format("{}: the record after offset {} is at offset {}: the log has lost records; see "
                    "docs/runbooks/ConcordatLogLost.md",
                    stream_, chain.next_offset() - 1, offset));
  }
  const absl::StatusOr<MessagePtr> event = EventOf(record, engine_);
  if (!event.ok()) {
    // Nothing may move past an accepted event that cannot be read, so it is tried on a copy first.
    events::Chain trial = chain;
    if (trial.Offer(record, offset, attributes) == events::Outcome::kAccepted) {
      return absl::FailedPreconditionError(
          fmt::format("{}: the event at sequence {} (offset {}, {}) cannot be read by this "
                      "release: {}; install the release "
                      "that wrote it",
                      stream_, attributes->sequence, offset, attributes->type,
                      std::string(event.status().message())));
    }
  }
  const events::Outcome outcome = chain.Offer(record, offset, attributes);
  if (outcome == events::Outcome::kAccepted) Evolve(event->get(), *attributes);
  return outcome;
}

void Fold::Evolve(const google::protobuf::Message* event, const events::Attributes& attributes) {
  projection_.journal().Begin(attributes.sequence);
  if (event != nullptr) engine_.Evolve(*event, attributes, {stream_, site_, here_});
  Remember(event, attributes);
  if (here_ == site_ && event != nullptr) KeepReactions(*event, attributes);
}

void Fold::Remember(const google::protobuf::Message* event, const events::Attributes& attributes) {
  if (event == nullptr) return;
  CommandRow row;
  row.set_sequence(attributes.sequence);
  row.set_link(BytesOf(attributes.id));
  row.set_digest(attributes.command_digest);
  row.set_event_type(attributes.type);
  row.set_subject(attributes.subject);
  if (const auto refusal = RefusalOf(*event)) {
    row.set_reason(refusal->reason);
    row.set_detail(refusal->detail);
  }
  storage::Journal& journal = projection_.journal();
  const std::string key = CommandKey(attributes.actor, attributes.command_id);
  journal.Write(key, row.SerializeAsString());
  const bool service = attributes.actor.compare(0, kSystemActor.size(), kSystemActor) == 0;
  if (service) {
    if (here_ == site_) journal.Write(IntentKey(attributes.command_id), std::nullopt);
    return;
  }
  const int64_t day = DayOf(attributes.time);
  journal.WriteNew(ExpiryKey(day, key), std::string());
  if (day == swept_day_) return;
  swept_day_ = day;
  // Ids expire by the day of the log's time, so that every replica forgets the same ones at the
  // same event: the first of a caller on a new day.
  const int64_t oldest = day - absl::ToInt64Hours(kCommandMemory) / 24;
  std::vector<std::string> expired;
  journal.Scan(kExpiryPrefix, [&](std::string_view expiry, std::string_view) {
    if (expiry >= ExpiryKey(oldest, "")) return false;
    expired.emplace_back(expiry);
    return true;
  });
  for (const std::string& expiry : expired) {
    journal.Write(expiry.substr(kExpiryPrefix.size() + 10), std::nullopt);
    journal.Write(expiry, std::nullopt);
  }
}

void Fold::KeepReactions(const google::protobuf::Message& event,
                         const events::Attributes& attributes) {
  const Cause cause{stream_, attributes.sequence, attributes.id};
  for (AnyIntent& intent : engine_.React(event, attributes, {stream_, site_, here_})) {
    Pending pending{.command_id = ReactionId(cause, intent.kind, intent.subject), .row = {}};
    pending.row.set_kind(intent.kind);
    pending.row.set_subject(intent.subject);
    pending.row.set_command(intent.command->SerializeAsString());
    pending.row.set_correlation_id(intent.correlation_id.empty() ? attributes.correlation_id
                                                                 : intent.correlation_id);
    pending.row.set_cause_stream(cause.stream);
    pending.row.set_cause_sequence(cause.sequence);
    pending.row.set_cause_link(BytesOf(cause.link));
    projection_.journal().Write(IntentKey(pending.command_id), pending.row.SerializeAsString());
    pending_.push_back(std::move(pending));
  }
}

void Fold::Rollback() {
  if (events::Has(events::Flaw::kKeepsSpeculation)) return;
  projection_.journal().Rollback(static_cast<uint64_t>(projection_.chain().head().sequence + 1));
  pending_.clear();
  swept_day_ = -1;
}

std::vector<Pending> Fold::TakePending() { return std::exchange(pending_, {}); }

std::vector<Pending> Fold::StoredPending() const {
  std::vector<Pending> stored;
  projection_.journal().Scan(kIntentPrefix, [&](std::string_view key, std::string_view value) {
    if (key.substr(0, kIntentPrefix.size()) != kIntentPrefix) return false;
    Pending pending{.command_id = std::string(key.substr(kIntentPrefix.size())), .row = {}};
    if (pending.row.ParseFromArray(value.data(), static_cast<int>(value.size())))
      stored.push_back(std::move(pending));
    return true;
  });
  return stored;
}

std::optional<Answered> Fold::Find(const std::string& actor, const std::string& command_id) const {
  const auto value = projection_.journal().Get(CommandKey(actor, command_id));
  CommandRow row;
  if (!value || !row.ParseFromString(*value)) return std::nullopt;
  Answered answered{.outcome = {}, .digest = row.digest()};
  answered.outcome.set_stream(stream_);
  answered.outcome.set_site(site_);
  answered.outcome.set_sequence(row.sequence());
  answered.outcome.set_link(LinkOf(row.link()).ToHex());
  answered.outcome.set_request_id(command_id);
  answered.outcome.set_event_type(row.event_type());
  answered.outcome.set_subject(row.subject());
  answered.outcome.set_reason(row.reason());
  answered.outcome.set_detail(row.detail());
  return answered;
}

}  // namespace concordat::runtime
