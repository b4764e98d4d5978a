#include "events/record.h"

#include <absl/container/inlined_vector.h>
#include <absl/strings/escaping.h>
#include <absl/time/civil_time.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace concordat::events {
namespace {

constexpr std::string_view kSchemaPrefix = "urn:concordat:schema:";
constexpr std::string_view kContentType = "application/protobuf";

// What a record says, for an alarm: a record may hold any bytes, an alarm is stored and shown as
// text.
std::string Shown(std::string_view value) {
  constexpr size_t kMost = 100;
  const std::string shown =
      absl::CHexEscape(absl::string_view(value.data(), std::min(value.size(), kMost)));
  return value.size() > kMost ? shown + "..." : shown;
}

// Four bytes, most significant first.
std::array<char, 4> SizeOf(std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  return {static_cast<char>(size >> 24), static_cast<char>(size >> 16),
          static_cast<char>(size >> 8), static_cast<char>(size)};
}

void AppendSized(std::string& out, std::string_view bytes) {
  const std::array<char, 4> size = SizeOf(bytes);
  out.append(size.data(), size.size());
  out.append(bytes);
}

// What AppendSized() appended; nothing where it is cut short.
std::optional<std::string_view> TakeSized(std::string_view& in) {
  if (in.size() < 4) return std::nullopt;
  uint32_t size = 0;
  for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<uint8_t>(in[i]);
  in.remove_prefix(4);
  if (in.size() < size) return std::nullopt;
  const std::string_view taken = in.substr(0, size);
  in.remove_prefix(size);
  return taken;
}

// A name ends at its first zero byte, because clients built on librdkafka see no more of it.
std::string_view Name(const Headers::Header& header) {
  return header.first.substr(0, header.first.find('\0'));
}

bool Covered(std::string_view name) {
  return name == "content-type" || (name.substr(0, 3) == "ce_" && name != "ce_id");
}

// The headers of an event, as Seal() lays them out: those that the link covers by name, and ce_id.
enum Known : size_t {
  kActor,
  kCausationId,
  kCommandDigest,
  kCommandId,
  kCorrelationId,
  kDataSchema,
  kParent,
  kSequence,
  kSource,
  kSpecVersion,
  kSubject,
  kTime,
  kTraceParent,
  kType,
  kWriter,
  kContent,
  kId,
  kUnknown,
};
constexpr std::array<std::string_view, kUnknown> kNames{
    "ce_actor",      "ce_causationid", "ce_commanddigest", "ce_commandid", "ce_correlationid",
    "ce_dataschema", "ce_parent",      "ce_sequence",      "ce_source",    "ce_specversion",
    "ce_subject",    "ce_time",        "ce_traceparent",   "ce_type",      "ce_writer",
    "content-type",  "ce_id"};
constexpr std::array<Known, 10> kRequired{kSpecVersion, kId,       kSource, kType,   kSubject,
                                          kTime,        kSequence, kParent, kWriter, kContent};

// Strict UTF-8 without U+FFFD, which some clients put in the place of what they could not read.
bool IsReadable(std::string_view name) {
  for (size_t i = 0; i < name.size();) {
    const auto byte = static_cast<uint8_t>(name[i]);
    if (byte < 0x80) {
      ++i;
      continue;
    }
    const size_t length = byte >= 0xC2 && byte <= 0xDF   ? 2
                          : byte >= 0xE0 && byte <= 0xEF ? 3
                          : byte >= 0xF0 && byte <= 0xF4 ? 4
                                                         : 0;
    if (length == 0 || i + length > name.size()) return false;
    uint32_t code = byte & (0xFF >> (length + 1));
    for (size_t j = 1; j < length; ++j) {
      const auto next = static_cast<uint8_t>(name[i + j]);
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3F);
    }
    const bool shortest =
        length == 2 || (length == 3 && code >= 0x800) || (length == 4 && code >= 0x10000);
    if (!shortest || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF || code == 0xFFFD)
      return false;
    i += length;
  }
  return true;
}

bool IsAttributeName(std::string_view name) {
  return name.size() > 3 && std::all_of(name.begin() + 3, name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
         });
}

std::optional<uint64_t> ParseSequence(std::string_view text) {
  if (text.empty() || text.size() > 19 || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return value;
}

// What headers say.
class Values {
 public:
  // The place of a name among the known ones, looked for behind the last one that was found.
  Known PlaceOf(std::string_view name) {
    for (size_t i = 0; i < kUnknown; ++i) {
      const size_t place = next_ + i < kUnknown ? next_ + i : next_ + i - kUnknown;
      if (kNames[place] != name) continue;
      next_ = place + 1 < kUnknown ? place + 1 : 0;
      return static_cast<Known>(place);
    }
    return kUnknown;
  }
  // False where there is one of that name already; then it has no value any more.
  bool Add(Known place, std::string_view name, std::string_view value) {
    if (place != kUnknown) {
      if (seen_[place]) {
        known_[place].reset();
        return false;
      }
      seen_[place] = true;
      known_[place] = value;
      return true;
    }
    if (std::find(others_.begin(), others_.end(), name) != others_.end()) return false;
    others_.push_back(name);
    return true;
  }
  const std::optional<std::string_view>& Find(Known place) const { return known_[place]; }
  std::string_view Text(Known place) const { return known_[place].value_or(""); }

 private:
  size_t next_ = 0;
  std::array<std::optional<std::string_view>, kUnknown> known_;
  std::array<bool, kUnknown> seen_{};
  absl::InlinedVector<std::string_view, 4> others_;
};

std::string_view WithoutPrefix(std::string_view schema) {
  if (schema.substr(0, kSchemaPrefix.size()) == kSchemaPrefix)
    schema.remove_prefix(kSchemaPrefix.size());
  return schema;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t start = 0;;) {
    const size_t end = text.find(separator, start);
    parts.push_back(text.substr(start, end == text.npos ? text.npos : end - start));
    if (end == text.npos) return parts;
    start = end + 1;
  }
}

// The stream's site and service; nothing where the name is not `<site>.<service>.events`.
std::optional<std::pair<std::string_view, std::string_view>> Parts(std::string_view stream) {
  const auto parts = Split(stream, '.');
  if (parts.size() != 3 || parts[2] != "events" || parts[0].empty() || parts[1].empty()) {
    return std::nullopt;
  }
  return std::pair{parts[0], parts[1]};
}

}  // namespace

namespace {

// Thousands of events share a second, and its calendar costs more than hashing one of them: each
// thread remembers the last one that it wrote, and the last one that it read.
struct Second {
  int64_t since_epoch = INT64_MIN;
  std::string calendar;  // `2027-01-04T08:00:00`
};

// The time of an event; the Unix epoch where the text is no time of RFC 3339.
absl::Time ParseEventTime(std::string_view text) {
  constexpr size_t kCalendar = 19;
  constexpr size_t kWhole = 27;  // six digits of a second and a Z behind it
  int64_t micros = 0;
  bool usual = text.size() == kWhole && text[kCalendar] == '.' && text.back() == 'Z';
  for (size_t i = kCalendar + 1; usual && i + 1 < kWhole; ++i) {
    usual = text[i] >= '0' && text[i] <= '9';
    micros = micros * 10 + (text[i] - '0');
  }
  thread_local Second last;
  if (usual && text.substr(0, kCalendar) == last.calendar)
    return absl::FromUnixMicros(last.since_epoch * 1000000 + micros);
  absl::Time time;
  if (!absl::ParseTime(absl::RFC3339_full, {text.data(), text.size()}, &time, nullptr))
    return absl::UnixEpoch();
  if (usual) last = {absl::ToUnixSeconds(time), std::string(text.substr(0, kCalendar))};
  return time;
}

}  // namespace

std::string EventTime(absl::Time time) {
  const int64_t micros = absl::ToUnixMicros(time);
  const int64_t second = micros / 1000000 - (micros % 1000000 < 0 ? 1 : 0);
  thread_local Second last;
  if (second != last.since_epoch) {
    const absl::CivilSecond civil =
        absl::ToCivilSecond(absl::FromUnixSeconds(second), absl::UTCTimeZone());
    last.calendar =
        fmt::format("{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}", civil.year(), civil.month(),
                    civil.day(), civil.hour(), civil.minute(), civil.second());
    last.since_epoch = second;
  }
  return fmt::format("{}.{:06d}Z", last.calendar, micros - second * 1000000);
}

std::string StreamName(std::string_view site, std::string_view service) {
  return fmt::format("{}.{}.events", site, service);
}

std::string SourceOf(std::string_view stream) {
  const auto parts = Parts(stream);
  return parts ? fmt::format("/sites/{}/{}", parts->first, parts->second) : std::string();
}

std::string SiteOf(std::string_view stream) {
  const auto parts = Parts(stream);
  return parts ? std::string(parts->first) : std::string();
}

std::string ServiceOf(std::string_view stream) {
  const auto parts = Parts(stream);
  return parts ? std::string(parts->second) : std::string();
}

namespace {

void AppendCovered(const Headers& headers, std::string& bytes) {
  absl::InlinedVector<Headers::Header, 20> covered;
  for (const Headers::Header& header : headers) {
    if (Covered(Name(header))) covered.emplace_back(Name(header), header.second);
  }
  std::stable_sort(
      covered.begin(), covered.end(),
      [](const Headers::Header& a, const Headers::Header& b) { return a.first < b.first; });
  for (const auto& [name, value] : covered) {
    AppendSized(bytes, name);
    AppendSized(bytes, value);
  }
}

// `covered`: the headers that the link covers, as they are hashed.
Link LinkOf(std::string_view covered, std::string_view data) {
  const std::array<char, 4> size = SizeOf(data);
  return Sha256({covered, std::string_view(size.data(), size.size()), data});
}

Link LinkOf(const Record& record) {
  std::string covered;
  AppendCovered(record.headers, covered);
  return LinkOf(covered, record.data);
}

}  // namespace

Record Seal(Attributes& attributes, std::string data) {
  Record record;
  record.key = attributes.subject;
  record.data = std::move(data);
  Headers& headers = record.headers;
  constexpr size_t kUsual = 1024;  // what most records need
  headers.Reserve(kUsual);
  const auto add_unless_empty = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) headers.Add(name, value);
  };
  // In the order of their names, so that these are the canonical bytes.
  add_unless_empty("ce_actor", attributes.actor);
  add_unless_empty("ce_causationid", attributes.causation_id);
  add_unless_empty("ce_commanddigest", attributes.command_digest);
  add_unless_empty("ce_commandid", attributes.command_id);
  add_unless_empty("ce_correlationid", attributes.correlation_id);
  headers.Add("ce_dataschema", std::string(kSchemaPrefix) + attributes.data_type);
  headers.Add("ce_parent", attributes.parent.ToHex());
  headers.Add("ce_sequence", fmt::format_int(attributes.sequence).c_str());
  headers.Add("ce_source", attributes.source);
  headers.Add("ce_specversion", "1.0");
  headers.Add("ce_subject", attributes.subject);
  headers.Add("ce_time", EventTime(attributes.time));
  add_unless_empty("ce_traceparent", attributes.trace_parent);
  headers.Add("ce_type", attributes.type);
  headers.Add("ce_writer", attributes.writer);
  headers.Add("content-type", kContentType);
  attributes.id = LinkOf(headers.bytes(), record.data);
  headers.Add("ce_id", attributes.id.ToHex());
  return record;
}

std::string CanonicalBytes(const Record& record) {
  std::string bytes;
  AppendCovered(record.headers, bytes);
  AppendSized(bytes, record.data);
  return bytes;
}

std::string_view HeaderValue(const Record& record, std::string_view name) {
  for (const auto& [found, value] : record.headers) {
    if (found == name) return value;
  }
  return {};
}

Reading Read(const Record& record, std::string_view source, Attributes reuse) {
  Reading reading;
  reading.attributes = std::move(reuse);
  const auto corrupt = [&](std::string what) {
    if (reading.status.ok()) reading.status = absl::InvalidArgumentError(std::move(what));
  };
  // A header that is there twice has no value: readers that take the first one and readers that
  // take the last one must not disagree.
  Values values;
  bool has_link = true;
  // As Seal() lays them out, and so as they are hashed, but for ce_id, which is the last one.
  bool sealed = true;
  size_t covered = 0;
  Known last = kUnknown;
  for (const Headers::Header& header : record.headers) {
    const std::string_view name = Name(header);
    const Known place = values.PlaceOf(name);
    if (place == kUnknown && !IsReadable(name)) {
      // Clients disagree about such a record's headers, so nothing in it is looked at.
      corrupt("a header's name is not UTF-8");
      return reading;
    }
    if (place == kUnknown && name.substr(0, 3) == "ce_" && !IsAttributeName(name)) {
      corrupt(fmt::format("the header name {} is not ce_ and lower-case letters and digits",
                          Shown(name)));
      has_link = false;
    }
    sealed = sealed && place != kUnknown && name.size() == header.first.size() &&
             (last == kUnknown || last < place);
    last = place;
    if (place == kId)
      covered = static_cast<size_t>(name.data() - record.headers.bytes().data()) - 4;
    if (values.Add(place, name, header.second)) continue;
    if (Covered(name) || name == "ce_id")
      corrupt(fmt::format("header {} is there twice, expected once", Shown(name)));
    if (Covered(name)) has_link = false;
  }
  for (const Known place : kRequired) {
    if (!values.Find(place)) corrupt(fmt::format("header {} is missing", kNames[place]));
  }
  const auto id = Link::FromHex(values.Text(kId));
  reading.parent = Link::FromHex(values.Text(kParent));
  const auto sequence = ParseSequence(values.Text(kSequence));
  if (!id) corrupt("ce_id is not 64 lower-case hexadecimal digits");
  if (!reading.parent) corrupt("ce_parent is not 64 lower-case hexadecimal digits");
  if (!sequence) {
    corrupt(fmt::format(
        "ce_sequence is \"{}\", expected a decimal number below 2^63 without leading zeros",
        Shown(values.Text(kSequence))));
  }
  if (values.Text(kSource) != source) {
    corrupt(fmt::format("ce_source is {}, expected {}", Shown(values.Text(kSource)), source));
  }
  std::optional<Link> link;
  if (has_link) {
    link = sealed && last == kId
               ? LinkOf(std::string_view(record.headers.bytes()).substr(0, covered), record.data)
               : LinkOf(record);
  }
  if (id && link && *id != *link) {
    corrupt(
        fmt::format("ce_id is {}, but the content has the link {}", id->ToHex(), link->ToHex()));
  }
  if (!reading.status.ok()) {
    if (id) reading.claims.push_back(*id);
    if (link) reading.claims.push_back(*link);
    return reading;
  }
  Attributes& attributes = reading.attributes;
  attributes.id = *id;
  attributes.parent = *reading.parent;
  attributes.sequence = *sequence;
  attributes.time = ParseEventTime(values.Text(kTime));
  attributes.source = values.Text(kSource);
  attributes.type = values.Text(kType);
  attributes.subject = values.Text(kSubject);
  attributes.writer = values.Text(kWriter);
  attributes.command_id = values.Text(kCommandId);
  attributes.command_digest = values.Text(kCommandDigest);
  attributes.causation_id = values.Text(kCausationId);
  attributes.correlation_id = values.Text(kCorrelationId);
  attributes.actor = values.Text(kActor);
  attributes.trace_parent = values.Text(kTraceParent);
  attributes.data_type = WithoutPrefix(values.Text(kDataSchema));
  return reading;
}

Headers::Headers(std::initializer_list<Header> headers) {
  for (const auto& [name, value] : headers) Add(name, value);
}

void Headers::Add(std::string_view name, std::string_view value) {
  AppendSized(bytes_, name);
  AppendSized(bytes_, value);
}

size_t Headers::size() const {
  size_t count = 0;
  for (auto at = begin(); at != end(); ++at) ++count;
  return count;
}

std::optional<Headers> Headers::FromBytes(std::string_view bytes) {
  Headers headers;
  headers.bytes_ = bytes;
  while (!bytes.empty()) {
    if (!TakeSized(bytes) || !TakeSized(bytes)) return std::nullopt;
  }
  return headers;
}

std::string EncodeRecord(const Record& record) {
  std::string bytes;
  bytes.reserve(8 + record.key.size() + record.data.size() + record.headers.bytes().size());
  AppendSized(bytes, record.key);
  AppendSized(bytes, record.data);
  bytes.append(record.headers.bytes());
  return bytes;
}

absl::StatusOr<Record> DecodeRecord(std::string_view bytes) {
  const auto key = TakeSized(bytes);
  const auto data = key ? TakeSized(bytes) : std::nullopt;
  if (!data) return absl::DataLossError("a stored record is cut short");
  auto headers = Headers::FromBytes(bytes);
  if (!headers) return absl::DataLossError("a stored record's headers are cut short");
  return Record{std::string(*key), *std::move(headers), std::string(*data)};
}

}  // namespace concordat::events
