#include "services/runtime/home_check.h"

#include <absl/time/clock.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "services/runtime/writer.h"

namespace concordat::runtime {
namespace {

constexpr size_t kFetched = 500;  // records asked of a peer at once
constexpr absl::Duration kPeerPatience = absl::Seconds(30);
constexpr size_t kMarkBytes = 20 + 1 + 64 + 1;
// Void records among those that are looked back over, and the longest stretch read at once.
constexpr int64_t kLookBack = 256;
constexpr int64_t kStretch = 1 << 16;

// `12 3f9a…`: a head for messages.
std::string HeadText(const events::Head& head) {
  return fmt::format("sequence {} (link {})", head.sequence, head.link.ToHex().substr(0, 12));
}

absl::Status StandsElsewhere(const std::string& stream, const events::Head& head,
                             const std::string& projection) {
  return absl::FailedPreconditionError(fmt::format(
      "{}: the log had lost events and was filled again, up to {}; they stand at other offsets now "
      "than the projection counts. Stop the process, delete {} and the site's archive, and start "
      "again: both are filled anew from the log (docs/operations/rebuild.md)",
      stream, HeadText(head), projection));
}

absl::Status CannotBeFilled(const std::string& stream, const events::Head& head) {
  return absl::FailedPreconditionError(fmt::format(
      "{}: what was fetched from a peer is void in this log after {}, because the log holds some "
      "of it, or what follows it, without what comes before. Keep a copy of the log, make the "
      "stream anew and start again: "
      "it is filled from the peer (docs/runbooks/ConcordatHomeForked.md)",
      stream, HeadText(head)));
}

events::Link ParentOf(const events::Record& record) {
  return events::Link::FromHex(events::HeaderValue(record, "ce_parent")).value_or(events::Link());
}

}  // namespace

HomeCheck::HomeCheck(std::string stream, std::string mark_path)
    : stream_(std::move(stream)), mark_path_(std::move(mark_path)) {}

HomeCheck::~HomeCheck() {
  if (mark_file_ >= 0) close(mark_file_);
}

std::optional<events::Head> HomeCheck::ReadMark() const {
  std::ifstream file(mark_path_);
  events::Head head;
  std::string link;
  if (!(file >> head.sequence >> link) || head.sequence < 0) return std::nullopt;
  const auto parsed = events::Link::FromHex(link);
  if (!parsed) return std::nullopt;
  head.link = *parsed;
  return head;
}

void HomeCheck::Mark(const events::Head& head) {
  if (mark_path_.empty() || head.sequence < 0) return;
  if (mark_file_ < 0) {
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(mark_path_).parent_path(), error);
    mark_file_ = open(mark_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  }
  // A mark that is missing costs a question to the peers at the next start, and nothing else; one
  // that could be too low would, so what cannot be written is removed.
  const std::string text = fmt::format("{:020d} {}\n", head.sequence, head.link.ToHex());
  if (mark_file_ >= 0 &&
      pwrite(mark_file_, text.data(), kMarkBytes, 0) != static_cast<ssize_t>(kMarkBytes)) {
    unlink(mark_path_.c_str());
  }
}

Standing HomeCheck::Compare(const events::Head& head, LinkAt link_at) {
  struct Seen {
    std::string by;
    events::Head head;
    Peer* peer = nullptr;
  };
  std::vector<Seen> seen;
  Standing standing;
  const std::optional<events::Head> mark = mark_path_.empty() ? std::nullopt : ReadMark();
  if (mark) seen.push_back({"the mark in " + mark_path_, *mark, nullptr});
  for (const auto& peer : peers_) {
    auto held = peer->HeadOf(stream_);
    if (held.ok()) {
      if (held->sequence >= 0) seen.push_back({peer->name(), *held, peer.get()});
    } else if (peer->required()) {
      standing.unanswered.push_back(
          fmt::format("{} ({})", peer->name(), std::string(held.status().message())));
    }
  }
  const auto forked = [&](const Seen& other, const std::string& at) {
    standing.kind = Standing::Kind::kForked;
    standing.detail = fmt::format(
        "{}: the history has split: the log's head is {}, and {} has accepted another event {}. "
        "Nothing is written; the branch that others saw wins: see "
        "docs/runbooks/ConcordatHomeForked.md",
        stream_, HeadText(head), other.by, at);
    return standing;
  };
  const Seen* ahead = nullptr;
  for (const Seen& other : seen) {
    if (other.head.sequence > head.sequence) {
      std::string at = fmt::format("after sequence {}", head.sequence);
      bool can_give = false;
      if (other.peer != nullptr) {
        // Its history has to contain the log's head.
        const auto record =
            other.peer->Records(stream_, static_cast<uint64_t>(head.sequence + 1), 1);
        if (record.ok() && !record->empty()) {
          if (ParentOf(record->front()) != head.link) return forked(other, at);
          can_give = true;
        } else if (IsPassing(record.status())) {
          standing.unanswered.push_back(
              fmt::format("{} ({})", other.peer->name(), std::string(record.status().message())));
        }
      }
      const bool gives_more =
          can_give && (standing.source == nullptr || other.head.sequence > ahead->head.sequence);
      if (ahead == nullptr || gives_more ||
          (standing.source == nullptr && other.head.sequence > ahead->head.sequence)) {
        ahead = &other;
        standing.source = can_give ? other.peer : nullptr;
      }
      continue;
    }
    const auto link = link_at(other.head.sequence);
    if (!link.ok()) {
      standing.kind = Standing::Kind::kUnknown;
      standing.detail = std::string(link.status().message());
      return standing;
    }
    if (*link != other.head.link)
      return forked(other, fmt::format("at sequence {}", other.head.sequence));
  }
  if (ahead != nullptr) {
    standing.kind = Standing::Kind::kBehind;
    standing.detail = fmt::format(
        "{}: the log ends at {}, and {} has seen {}: acknowledged events are missing here. {}",
        stream_, HeadText(head), ahead->by, HeadText(ahead->head),
        standing.source != nullptr
            ? "They are fetched from there"
            : "Nothing is written until a site that holds them can be asked: see "
              "docs/runbooks/ConcordatHomeCheckRefused.md");
    return standing;
  }
  // With a mark that the log holds, nothing was lost since the process wrote last.
  if (standing.unanswered.empty() || mark) return standing;
  standing.kind = Standing::Kind::kUnknown;
  standing.detail = fmt::format(
      "{}: whether the log, which ends at {}, is whole is not known, because no answer came from "
      "{}. "
      "Nothing is written until it comes; if it cannot, and nobody restored this log from a "
      "backup: "
      "concordat home allow {} {} --reason WHY (docs/runbooks/ConcordatHomeCheckRefused.md)",
      stream_, HeadText(head), fmt::join(standing.unanswered, ", "), stream_, head.sequence);
  return standing;
}

// The log's link at a sequence, by walking back from the head: whoever is not an ancestor of the
// head is not part of the history, so no chain is needed.
absl::StatusOr<events::Link> Writer::LinkAt(const events::Head& head, int64_t sequence) {
  int64_t steps = head.sequence - sequence;
  events::Link link = head.link;
  // A stretch of the log after the other, so that no more than one is in memory: a parent stands
  // before its child.
  int64_t length = std::min<int64_t>(steps + kLookBack, kStretch);
  for (int64_t end = head.offset + 1; steps > 0 && end > 0; length = kStretch) {
    const int64_t from = std::max<int64_t>(end - length, 0);
    absl::flat_hash_map<events::Link, events::Link> parents;
    const absl::Status assigned = reader_->Assign(stream_, from);
    if (!assigned.ok()) return assigned;
    absl::Time deadline = machine_.Now() + kPeerPatience;
    for (int64_t next = from; next < end;) {
      if (stopping_ || machine_.Now() > deadline)
        return absl::UnavailableError(fmt::format("{}: the log does not answer", stream_));
      const auto records = reader_->Read(1000, absl::Milliseconds(100));
      if (!records.ok()) return records.status();
      // Much to read takes its time; only silence is none.
      if (!records->empty()) deadline = machine_.Now() + kPeerPatience;
      for (const storage::StoredRecord& stored : *records) {
        next = stored.offset + 1;
        const events::Reading reading = events::Read(stored.record, source_);
        if (reading.status.ok()) parents[reading.attributes.id] = reading.attributes.parent;
      }
    }
    for (auto found = parents.find(link); steps > 0 && found != parents.end();
         found = parents.find(link)) {
      link = found->second;
      --steps;
    }
    end = from;
  }
  if (steps == 0) return link;
  return absl::DataLossError(
      fmt::format("{}: the log does not hold the ancestors of its head down to sequence {}",
                  stream_, sequence));
}

bool Writer::AppendVerbatim(const std::vector<events::Record>& records) {
  const uint64_t first = next_cookie_;
  for (const events::Record& record : records) appender_->Append(record, next_cookie_++);
  size_t taken = 0;
  const absl::Time deadline = machine_.Now() + kPeerPatience;
  while (taken < records.size() && !stopping_ && machine_.Now() < deadline) {
    for (const storage::AppendReport& report : appender_->Poll(absl::Milliseconds(100))) {
      if (report.cookie < first) continue;
      if (!report.status.ok()) {
        Alarm(std::string(report.status.message()));
        appender_->Reset();
        return false;
      }
      ++taken;
    }
  }
  if (taken == records.size()) return true;
  appender_->Reset();
  return false;
}

// Appends what the log lacks. Interrupted anywhere it is simply done again: a record that stands in
// the log already is void the second time. FAILED_PRECONDITION where the log cannot be filled;
// UNAVAILABLE, with an alarm, where it may be later.
absl::Status Writer::FetchFrom(Peer& source, const events::Chain& log) {
  const events::Head head = log.head();
  const auto not_now = [this](const std::string& why) {
    Alarm(why);
    return absl::UnavailableError(why);
  };
  const auto records = source.Records(stream_, static_cast<uint64_t>(head.sequence + 1), kFetched);
  if (!records.ok()) {
    return not_now(fmt::format("{}: {} does not give what is missing: {}", stream_, source.name(),
                               std::string(records.status().message())));
  }
  // Only what continues the history is appended; a peer's word is not taken for it.
  events::Link parent = head.link;
  std::vector<events::Record> valid;
  for (const events::Record& record : *records) {
    const events::Reading reading = events::Read(record, source_);
    if (!reading.status.ok() || reading.attributes.parent != parent) {
      return not_now(
          fmt::format("{}: {} gave a record that does not follow {}; ask its operators to run "
                      "concordat verify",
                      stream_, source.name(), parent.ToHex()));
    }
    parent = reading.attributes.id;
    valid.push_back(record);
  }
  if (valid.empty())
    return not_now(fmt::format("{}: {} does not give what is missing", stream_, source.name()));
  // A writer that lived on may have appended to what was lost. Behind such a record the log would
  // be filled in vain: here it is void, and a copy that never lost anything takes it from this very
  // log.
  const auto last = static_cast<uint64_t>(head.sequence) + valid.size();
  if (log.HoldsVoid(static_cast<uint64_t>(head.sequence + 1), last + 1))
    return CannotBeFilled(stream_, head);
  if (!AppendVerbatim(valid))
    return not_now(fmt::format("{}: the log does not take what is missing", stream_));
  counters_.repaired += valid.size();
  spdlog::warn(
      "{}: {} events that the log had lost were fetched from {} and appended again, from "
      "sequence {} on",
      stream_, valid.size(), source.name(), head.sequence + 1);
  return absl::OkStatus();
}

void Writer::Alarm(const std::string& text) {
  absl::MutexLock lock(&mutex_);
  view_.alarm = text;
}

void Writer::ShowHomeCheck(std::string_view state, const std::string& detail) {
  absl::MutexLock lock(&mutex_);
  if (view_.home_check != state && !detail.empty()) spdlog::warn("{}", detail);
  view_.home_check = state;
  if (!detail.empty()) view_.alarm = detail;
}

// From where the chain stands to the end of the log. UNAVAILABLE where the log does not answer;
// DATA_LOSS and OUT_OF_RANGE where it holds what cannot be read, or less.
absl::Status Writer::ReadInto(events::Chain& chain) {
  const absl::Status assigned = reader_->Assign(stream_, chain.next_offset());
  if (!assigned.ok()) return assigned;
  const auto end = reader_->End(stream_);
  if (!end.ok()) return end.status();
  for (absl::Time heard = machine_.Now(); chain.next_offset() < *end;) {
    if (stopping_ || machine_.Now() > heard + kPeerPatience)
      return absl::UnavailableError(fmt::format("{}: the log does not answer", stream_));
    const auto records = reader_->Read(1000, absl::Milliseconds(100));
    if (!records.ok()) return records.status();
    if (!records->empty()) heard = machine_.Now();
    events::Attributes attributes;
    for (const storage::StoredRecord& stored : *records)
      chain.Offer(stored.record, stored.offset, &attributes);
  }
  if (chain.condition() == events::Condition::kOk) return absl::OkStatus();
  return absl::DataLossError(chain.alarm());
}

bool Writer::CheckHome(const events::Chain& log, const std::function<bool()>& read_to_end) {
  unchecked_.reset();
  std::optional<int64_t> filled_at;  // a fetch that was appended in full began here
  // Of every record of the log, read where something is to be fetched: this writer may have gone on
  // behind what is void, because an earlier fill has put its head where it stood.
  events::Chain whole(stream_);
  while (!stopping_) {
    const events::Head at = log.head();
    if (filled_at && *filled_at == at.sequence) {
      StopWith(CannotBeFilled(stream_, at));
      return false;
    }
    filled_at.reset();
    const Standing standing =
        options_.home_check->Compare(at, [&](int64_t sequence) { return LinkAt(at, sequence); });
    bool filled = false;
    switch (standing.kind) {
      case Standing::Kind::kWhole:
        ShowHomeCheck("whole", "");
        return true;
      case Standing::Kind::kForked:
        ShowHomeCheck("forked", standing.detail);
        StopWith(absl::DataLossError(standing.detail));
        return false;
      case Standing::Kind::kBehind:
        ShowHomeCheck("behind", standing.detail);
        if (standing.source != nullptr) {
          if (!ReadInto(whole).ok()) break;
          if (whole.head().sequence > at.sequence) {
            // Either more has come since, or the projection takes for void what is history.
            if (whole.next_offset() > log.next_offset()) break;
            StopWith(StandsElsewhere(stream_, whole.head(), projection_.dir()));
            return false;
          }
          const absl::Status fetched = whole.head().link == at.link
                                           ? FetchFrom(*standing.source, whole)
                                           : CannotBeFilled(stream_, at);
          if (absl::IsFailedPrecondition(fetched)) {
            StopWith(fetched);
            return false;
          }
          filled = fetched.ok();
          if (filled) filled_at = at.sequence;
        }
        break;
      case Standing::Kind::kUnknown: {
        ShowHomeCheck("unknown", standing.detail);
        absl::MutexLock lock(&mutex_);
        if (allowed_start_ && allowed_start_->sequence == at.sequence) {
          view_.home_check = "allowed";
          unchecked_.emplace();
          unchecked_->set_actor(allowed_start_->actor);
          unchecked_->set_reason(allowed_start_->reason);
          for (const std::string& peer : standing.unanswered) unchecked_->add_unanswered(peer);
          return true;
        }
        break;
      }
    }
    if (!filled) {
      // Asked again at the next step.
      const auto go_on = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stopping_ || (allowed_start_ && allowed_start_->sequence == at.sequence);
      };
      absl::MutexLock lock(&mutex_);
      machine_.Await(mutex_, absl::Condition(&go_on), options_.home_check_interval);
      return false;
    }
    if (!read_to_end()) return false;
  }
  return false;
}

// The projection knows of more than the log holds. Where somebody has what is missing, the log is
// filled again; the projection fits it only if the events come to stand where they stood.
absl::Status Writer::RepairLog(const absl::Status& lost) {
  events::Chain chain(stream_);
  absl::Status read = ReadInto(chain);
  if (!read.ok()) return IsPassing(read) ? read : lost;
  const events::Head& known = projection_.chain().head();
  const auto head = [&] { return chain.head(); };
  bool fetched = false;
  for (;;) {
    const Standing standing = options_.home_check->Compare(
        head(), [&](int64_t sequence) { return LinkAt(head(), sequence); });
    if (standing.kind != Standing::Kind::kBehind || standing.source == nullptr) {
      const bool may_be_had =
          standing.kind == Standing::Kind::kUnknown ||
          (standing.kind != Standing::Kind::kForked && !standing.unanswered.empty());
      if (!may_be_had || head().sequence >= known.sequence) break;
      const std::string why = fmt::format(
          "{} Asked again: {}", std::string(lost.message()),
          standing.unanswered.empty() ? standing.detail
                                      : fmt::format("{}", fmt::join(standing.unanswered, ", ")));
      // No start can be allowed: the projection is ahead of the log.
      ShowHomeCheck("lost", why);
      return absl::UnavailableError(why);
    }
    ShowHomeCheck("behind", standing.detail);
    const events::Head before = head();
    const absl::Status filled = FetchFrom(*standing.source, chain);
    if (absl::IsFailedPrecondition(filled)) return filled;
    if (!filled.ok()) return IsPassing(filled) ? filled : lost;
    read = ReadInto(chain);
    if (!read.ok()) return IsPassing(read) ? read : lost;
    if (head().sequence == before.sequence) return CannotBeFilled(stream_, before);
    fetched = true;
  }
  const absl::Status again = fetched ? CheckHead() : lost;
  if (!absl::IsDataLoss(again)) return again;
  if (chain.head().sequence < known.sequence) return lost;
  // Filled just now, or before by another process.
  const auto link = LinkAt(chain.head(), known.sequence);
  if (!link.ok() && !absl::IsDataLoss(link.status())) return link.status();
  if (!link.ok() || *link != known.link) return lost;
  return StandsElsewhere(stream_, chain.head(), projection_.dir());
}

absl::Status Writer::AllowStart(AllowedStart allowed) {
  absl::MutexLock lock(&mutex_);
  if (view_.home_check != "unknown") {
    return absl::FailedPreconditionError(fmt::format(
        "{} is {}{}: only a writer that waits for its peers' answer can be allowed to start "
        "without",
        stream_, Name(view_.state),
        view_.home_check.empty() ? "" : fmt::format(", its log is {}", view_.home_check)));
  }
  if (allowed.sequence != view_.head.sequence) {
    return absl::FailedPreconditionError(
        fmt::format("the head of {} is at sequence {}, found {}; look at concordat status first",
                    stream_, view_.head.sequence, allowed.sequence));
  }
  allowed_start_ = std::move(allowed);
  return absl::OkStatus();
}

}  // namespace concordat::runtime
