#include "services/runtime/attest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "services/runtime/writer.h"

namespace concordat::runtime {
namespace {

constexpr std::string_view kAttestedKey("\0attested", 9);
constexpr std::string_view kDivergedKey("\0diverged", 9);
constexpr std::string_view kSeenPrefix("\0seen\0", 6);

}  // namespace

const std::string& StateAttestedType() {
  static const std::string type(system::v1::StateAttested::descriptor()->full_name());
  return type;
}

void AttestSchedule::Load(const storage::RowSource& rows) {
  const auto row = rows.Get(kAttestedKey);
  if (!row) return;
  char* rest = nullptr;
  attested_ = std::strtoll(row->c_str(), &rest, 10);
  at_ = absl::FromUnixMicros(std::strtoll(rest, nullptr, 10));
}

void AttestSchedule::Saw(std::string_view type, int64_t sequence, absl::Time time) {
  if (!IsSystemType(type)) {
    last_fact_ = sequence;
  } else if (type == StateAttestedType()) {
    attested_ = sequence;
    at_ = time;
  }
}

bool AttestSchedule::Due(const events::Head& head, absl::Time now) {
  if (options_.every_events == 0 || head.sequence < 0) return false;
  if (at_ == absl::InfinitePast()) at_ = now;
  if (head.sequence - attested_ >= static_cast<int64_t>(options_.every_events)) return true;
  if (now - at_ < options_.every) return false;
  const uint64_t others = options_.accepted ? options_.accepted().facts : 0;
  if (!others_) others_ = others;
  if (last_fact_ > attested_ || others != *others_) return true;
  at_ = now;  // nothing to tell: asked again after another while
  return false;
}

void AttestSchedule::Begun(const events::Head& head, absl::Time now) {
  attested_ = head.sequence + 1;
  at_ = now;
  others_ = options_.accepted ? options_.accepted().facts : 0;
}

std::pair<std::string, std::string> AttestSchedule::Row() const {
  return {std::string(kAttestedKey), fmt::format("{} {}", attested_, absl::ToUnixMicros(at_))};
}

system::v1::StateAttested Attestation(const std::string& stream, const events::Head& head,
                                      const storage::Digests& digests,
                                      const AttestOptions& options) {
  system::v1::StateAttested attested;
  attested.set_stream(stream);
  attested.set_sequence(static_cast<uint64_t>(head.sequence));
  attested.set_link(head.link.ToBytes());
  attested.set_digest(digests.Total().ToBytes());
  attested.set_code(options.code);
  if (!options.accepted) return attested;
  for (const AcceptedHeads::One& one : options.accepted().heads) {
    if (one.head.sequence < 0) continue;
    system::v1::StateAttested::Accepted* accepted = attested.add_accepted();
    accepted->set_stream(one.stream);
    accepted->set_sequence(static_cast<uint64_t>(one.head.sequence));
    accepted->set_link(one.head.link.ToBytes());
  }
  return attested;
}

absl::Status CompareState(const system::v1::StateAttested& attested,
                          const storage::Digests& digests, const std::string& code) {
  if (attested.code() != code) return absl::OkStatus();
  const storage::Digest here = digests.Total();
  if (attested.digest() == here.ToBytes()) return absl::OkStatus();
  return absl::DataLossError(fmt::format(
      "{}: at sequence {} the stream's writer attested the state digest {}, here the same events "
      "were folded to {} by the same code ({}): one of the two is wrong, and nothing is answered "
      "from this one; see docs/runbooks/ConcordatStateDiverged.md",
      attested.stream(), attested.sequence(), events::ToHex(attested.digest()), here.ToHex(),
      code));
}

std::optional<system::v1::StateAttested> AttestationIn(const events::Attributes& attributes,
                                                       std::string_view data) {
  if (attributes.type != StateAttestedType()) return std::nullopt;
  system::v1::StateAttested attested;
  if (!attested.ParseFromArray(data.data(), static_cast<int>(data.size()))) return std::nullopt;
  return attested;
}

std::pair<std::string, std::string> DivergedRow(const absl::Status& status) {
  return {std::string(kDivergedKey), std::string(status.message())};
}

absl::Status Diverged(const storage::RowSource& rows) {
  const auto row = rows.Get(kDivergedKey);
  return row ? absl::DataLossError(*row) : absl::OkStatus();
}

storage::Projection::Notes AttestedHeadRows(const system::v1::StateAttested& attested) {
  storage::Projection::Notes rows;
  for (const system::v1::StateAttested::Accepted& head : attested.accepted()) {
    rows.emplace_back(std::string(kSeenPrefix) + head.stream(), head.SerializeAsString());
  }
  return rows;
}

std::optional<events::Head> AttestedHead(const storage::RowSource& rows,
                                         const std::string& stream) {
  const auto row = rows.Get(std::string(kSeenPrefix) + stream);
  system::v1::StateAttested::Accepted accepted;
  if (!row || !accepted.ParseFromString(*row) || accepted.link().size() != 32) return std::nullopt;
  events::Head head;
  head.sequence = static_cast<int64_t>(accepted.sequence());
  head.link = events::Link::FromBytes(accepted.link());
  return head;
}

bool Writer::AttestWhenDue() {
  if (!attest_.Due(projection_.chain().head(), now_)) return false;
  // The digest is that of the committed rows, so nothing may be on its way.
  if (!in_flight_.empty() || !accepted_.empty()) return true;
  const events::Head head = projection_.chain().head();
  const system::v1::StateAttested attested =
      Attestation(stream_, head, projection_.digests(), options_.attest);
  events::Attributes attributes;
  events::Record record = SealSystem(attested, now_, &attributes);
  fold_.Evolve(nullptr, attributes);
  speculative_ = {attributes.id, head.sequence + 1, -1, attributes.time};
  InFlight& in_flight = in_flight_.emplace_back();
  in_flight.cookie = next_cookie_++;
  in_flight.appended = machine_.Now();
  in_flight.link = attributes.id;
  in_flight.parent = attributes.parent;
  in_flight.sequence = speculative_.sequence;
  in_flight.time = attributes.time;
  in_flight.event_type = attributes.type;
  appender_->Append(std::move(record), in_flight.cookie);
  attest_.Begun(head, now_);
  auto [key, value] = attest_.Row();
  Note(std::move(key), std::move(value));
  return false;
}

bool Writer::CheckAttested(const events::Attributes& attributes, std::string_view data) {
  attest_.Saw(attributes.type, static_cast<int64_t>(attributes.sequence), attributes.time);
  const auto attested = AttestationIn(attributes, data);
  if (!attested) return true;
  auto [key, value] = attest_.Row();
  Note(std::move(key), std::move(value));
  if (!Commit()) return false;
  const absl::Status status = CompareState(*attested, projection_.digests(), options_.attest.code);
  if (status.ok()) return true;
  std::tie(key, value) = DivergedRow(status);
  Note(std::move(key), std::move(value));
  if (Commit()) {
    absl::MutexLock lock(&mutex_);
    view_.diverged = true;
  }
  StopWith(status);
  return false;
}

}  // namespace concordat::runtime
