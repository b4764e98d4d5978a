#include "services/runtime/fold.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "events/flaw.h"

namespace concordat::runtime {
namespace {

constexpr std::string_view kCommands = "commands";
constexpr std::string_view kIntentPrefix("\0intent\0", 8);
constexpr std::string_view kExpiryPrefix("\0expiry\0", 8);

// An event of a day with a million ids to forget must not take longer than others.
constexpr int kForgottenAtOnce = 64;

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

// Expiries are stored a commit at a time: one row of an ExpiryRow for each day in it.
std::string ExpiryKey(int64_t day, uint64_t sequence) {
  return fmt::format("{}{:010d}/{:020d}", kExpiryPrefix, day, sequence);
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
      here_(std::move(here)) {
  projection_.LeaveUncached(kCommands);
}

absl::StatusOr<events::Outcome> Fold::Offer(const Delivery& delivery) {
  events::Chain& chain = projection_.chain();
  if (here_ == site_ && delivery.offset() != chain.next_offset()) {
    return absl::DataLossError(
        fmt::format("{}: the record after offset {} is at offset {}: the log has lost records; see "
                    "docs/runbooks/ConcordatLogLost.md",
                    stream_, chain.next_offset() - 1, delivery.offset()));
  }
  if (!chain.Accepts(delivery.reading())) return chain.Offer(delivery.reading(), delivery.offset());
  const events::Attributes& attributes = delivery.attributes();
  const bool system = IsSystemType(attributes.data_type);
  absl::Status readable = delivery.event().status();
  if (readable.ok() && !system && attributes.data_type != engine_.event_type()->full_name()) {
    readable = absl::InvalidArgumentError(fmt::format("its data is a {}, expected a {}",
                                                      attributes.data_type,
                                                      engine_.event_type()->full_name()));
  }
  // Nothing may move past an accepted event that cannot be read.
  if (!readable.ok() && !events::Has(events::Flaw::kReadsPastUnknown)) {
    return absl::FailedPreconditionError(
        fmt::format("{}: the event at sequence {} (offset {}, {}) cannot be read by this "
                    "release: {}; install the release that wrote it",
                    stream_, attributes.sequence, delivery.offset(), attributes.type,
                    std::string(readable.message())));
  }
  const events::Outcome outcome = chain.Offer(delivery.reading(), delivery.offset());
  Evolve(readable.ok() && !system ? delivery.event()->get() : nullptr, attributes);
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
  row_.Clear();
  row_.set_sequence(attributes.sequence);
  row_.set_link(attributes.id.bytes.data(), attributes.id.bytes.size());
  row_.set_digest(attributes.command_digest);
  row_.set_event_type(attributes.type);
  row_.set_subject(attributes.subject);
  if (const auto refusal = RefusalOf(*event)) {
    row_.set_reason(refusal->reason);
    row_.set_detail(refusal->detail);
  }
  storage::Journal& journal = projection_.journal();
  std::string key = CommandKey(attributes.actor, attributes.command_id);
  // A command is decided only while no row remembers it, so there is none to look for.
  journal.WriteNew(key, row_.SerializeAsString());
  const bool service = attributes.actor.compare(0, kSystemActor.size(), kSystemActor) == 0;
  if (service) {
    if (here_ == site_) journal.Write(IntentKey(attributes.command_id), std::nullopt);
    return;
  }
  const int64_t day = DayOf(attributes.time);
  expiring_.push_back({attributes.sequence, day, std::move(key)});
  if (day == swept_day_) return;
  // Ids expire by the day of the log's time, so that every replica forgets the same ones at the
  // same event: those of callers on a new day, some at each.
  if (Forget(day - absl::ToInt64Hours(kCommandMemory) / 24)) swept_day_ = day;
}

bool Fold::Forget(int64_t day) {
  storage::Journal& journal = projection_.journal();
  int left = kForgottenAtOnce;
  // An id that was forgotten and used again is remembered by its later event. Only what is
  // forgotten counts: how ids lie in rows depends on when a process committed them.
  const auto forget = [&](const std::string& command_key, uint64_t sequence) {
    bool same = false;
    journal.Read(command_key, [&](std::string_view value) {
      same = row_.ParseFromArray(value.data(), static_cast<int>(value.size())) &&
             row_.sequence() == sequence;
    });
    if (same && left > 0) journal.Write(command_key, std::nullopt);
    return !same || left-- > 0;
  };
  const std::string end = ExpiryKey(day, 0);
  for (;;) {
    std::string key;
    ExpiryRow row;
    journal.Scan(std::max(forget_from_, std::string(kExpiryPrefix)),
                 [&](std::string_view found, std::string_view value) {
                   if (found >= end) return false;
                   key = found;
                   if (row.ParseFromArray(value.data(), static_cast<int>(value.size())))
                     return false;
                   std::fprintf(stderr,
                                "an expiry of %s cannot be read: delete the projection and start "
                                "again\n",
                                stream_.c_str());
                   std::abort();
                 });
    if (key.empty()) break;
    int gone = 0;
    while (gone < row.commands_size() &&
           forget(row.commands(gone).key(), row.commands(gone).sequence())) {
      ++gone;
    }
    if (gone < row.commands_size()) {
      row.mutable_commands()->DeleteSubrange(0, gone);
      journal.Write(std::move(key), row.SerializeAsString());
      return false;
    }
    forget_from_ = key;
    journal.Write(std::move(key), std::nullopt);
  }
  return std::all_of(expiring_.begin(), expiring_.end(), [&](const Expiring& expiring) {
    return expiring.day >= day || forget(expiring.command_key, expiring.sequence);
  });
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
    pending.row.set_cause_link(cause.link.ToBytes());
    projection_.journal().Write(IntentKey(pending.command_id), pending.row.SerializeAsString());
    pending_.push_back(std::move(pending));
  }
}

void Fold::Rollback() {
  if (events::Has(events::Flaw::kKeepsSpeculation)) return;
  const auto next = static_cast<uint64_t>(projection_.chain().head().sequence + 1);
  projection_.journal().Rollback(next);
  pending_.clear();
  while (!expiring_.empty() && expiring_.back().sequence >= next) expiring_.pop_back();
  swept_day_ = -1;
  forget_from_.clear();
}

absl::Status Fold::Commit(storage::Projection::Notes notes) {
  const auto head =
      static_cast<uint64_t>(std::max<int64_t>(projection_.chain().head().sequence, 0));
  while (!expiring_.empty() && expiring_.front().sequence <= head) {
    const int64_t day = expiring_.front().day;
    const uint64_t first = expiring_.front().sequence;
    ExpiryRow row;
    for (; !expiring_.empty() && expiring_.front().sequence <= head && expiring_.front().day == day;
         expiring_.pop_front()) {
      ExpiryRow::Command& command = *row.add_commands();
      command.set_key(std::move(expiring_.front().command_key));
      command.set_sequence(expiring_.front().sequence);
    }
    notes.emplace_back(ExpiryKey(day, first), row.SerializeAsString());
  }
  return projection_.Commit(head, notes);
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
  CommandRow row;
  bool known = false;
  projection_.journal().Read(CommandKey(actor, command_id), [&](std::string_view value) {
    known = row.ParseFromArray(value.data(), static_cast<int>(value.size()));
  });
  if (!known) return std::nullopt;
  Answered answered{.outcome = {}, .digest = row.digest()};
  answered.outcome.set_stream(stream_);
  answered.outcome.set_site(site_);
  answered.outcome.set_sequence(row.sequence());
  answered.outcome.set_link(events::Link::FromBytes(row.link()).ToHex());
  answered.outcome.set_request_id(command_id);
  answered.outcome.set_event_type(row.event_type());
  answered.outcome.set_subject(row.subject());
  answered.outcome.set_reason(row.reason());
  answered.outcome.set_detail(row.detail());
  return answered;
}

}  // namespace concordat::runtime
