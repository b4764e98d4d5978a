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

void AppendSized(std::string& out, std::string_view bytes) {
  const auto size = static_cast<uint32_t>(bytes.size());
  const char prefix[4] = {static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                          static_cast<char>(size >> 8), static_cast<char>(size)};
  out.append(prefix, 4);
  out.append(bytes);
}

bool TakeSized(std::string_view& in, std::string& out) {
  if (in.size() < 4) return false;
  uint32_t size = 0;
  for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<uint8_t>(in[i]);
  in.remove_prefix(4);
  if (in.size() < size) return false;
  out.assign(in.substr(0, size));
  in.remove_prefix(size);
  return true;
}

// A name ends at its first zero byte, because clients built on librdkafka see no more of it.
std::string_view Name(const Header& header) {
  return std::string_view(header.first).substr(0, header.first.find('\0'));
}

bool Covered(std::string_view name) {
  return name == "content-type" || (name.substr(0, 3) == "ce_" && name != "ce_id");
}

constexpr std::array<std::string_view, 10> kRequired{
    "ce_specversion", "ce_id",       "ce_source", "ce_type",   "ce_subject",
    "ce_time",        "ce_sequence", "ce_parent", "ce_writer", "content-type"};

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

std::string EventTime(absl::Time time) {
  const int64_t micros = absl::ToUnixMicros(time);
  const int64_t second = micros / 1000000 - (micros % 1000000 < 0 ? 1 : 0);
  // Thousands of events share a second, and its calendar costs more than hashing one of them.
  thread_local int64_t known_second = INT64_MIN;
  thread_local std::string calendar;
  if (second != known_second) {
    const absl::CivilSecond civil =
        absl::ToCivilSecond(absl::FromUnixSeconds(second), absl::UTCTimeZone());
    calendar = fmt::format("{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}", civil.year(), civil.month(),
                           civil.day(), civil.hour(), civil.minute(), civil.second());
    known_second = second;
  }
  return fmt::format("{}.{:06d}Z", calendar, micros - second * 1000000);
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

void AppendCanonicalBytes(const Record& record, std::string& bytes) {
  absl::InlinedVector<const Header*, 20> covered;
  for (const Header& header : record.headers) {
    if (Covered(Name(header))) covered.push_back(&header);
  }
  const auto by_name = [](const Header* a, const Header* b) { return Name(*a) < Name(*b); };
  if (!std::is_sorted(covered.begin(), covered.end(), by_name)) {
    std::stable_sort(covered.begin(), covered.end(), by_name);
  }
  for (const Header* header : covered) {
    AppendSized(bytes, Name(*header));
    AppendSized(bytes, header->second);
  }
  AppendSized(bytes, record.data);
}

Link LinkOf(const Record& record) {
  // Its memory is used again and again: a thread seals or reads many records.
  thread_local std::string bytes;
  bytes.clear();
  AppendCanonicalBytes(record, bytes);
  return Sha256(bytes);
}

}  // namespace

Record Seal(Attributes& attributes, std::string data) {
  Record record;
  record.key = attributes.subject;
  record.data = std::move(data);
  record.headers.reserve(17);
  const auto add = [&](const char* name, std::string value) {
    record.headers.emplace_back(name, std::move(value));
  };
  const auto add_unless_empty = [&](const char* name, const std::string& value) {
    if (!value.empty()) add(name, value);
  };
  // In the order of their names, so that the canonical bytes need no sorting.
  add_unless_empty("ce_actor", attributes.actor);
  add_unless_empty("ce_causationid", attributes.causation_id);
  add_unless_empty("ce_commanddigest", attributes.command_digest);
  add_unless_empty("ce_commandid", attributes.command_id);
  add_unless_empty("ce_correlationid", attributes.correlation_id);
  add("ce_dataschema", std::string(kSchemaPrefix) + attributes.data_type);
  add("ce_parent", attributes.parent.ToHex());
  add("ce_sequence", std::to_string(attributes.sequence));
  add("ce_source", attributes.source);
  add("ce_specversion", "1.0");
  add("ce_subject", attributes.subject);
  add("ce_time", EventTime(attributes.time));
  add_unless_empty("ce_traceparent", attributes.trace_parent);
  add("ce_type", attributes.type);
  add("ce_writer", attributes.writer);
  add("content-type", std::string(kContentType));
  attributes.id = LinkOf(record);
  add("ce_id", attributes.id.ToHex());
  return record;
}

std::string CanonicalBytes(const Record& record) {
  std::string bytes;
  AppendCanonicalBytes(record, bytes);
  return bytes;
}

std::string_view HeaderValue(const Record& record, std::string_view name) {
  for (const Header& header : record.headers) {
    if (header.first == name) return header.second;
  }
  return {};
}

Reading Read(const Record& record, std::string_view source) {
  Reading reading;
  const auto corrupt = [&](std::string what) {
    if (reading.status.ok()) reading.status = absl::InvalidArgumentError(std::move(what));
  };
  // A header that is there twice has no value: readers that take the first one and readers that
  // take the last one must not disagree.
  struct Field {
    std::string_view name;
    std::string_view value;
    bool twice = false;
  };
  absl::InlinedVector<Field, 20> fields;
  bool has_link = true;
  for (const Header& header : record.headers) {
    const std::string_view name = Name(header);
    if (!IsReadable(name)) {
      // Clients disagree about such a record's headers, so nothing in it is looked at.
      corrupt("a header's name is not UTF-8");
      return reading;
    }
    if (name.substr(0, 3) == "ce_" && !IsAttributeName(name)) {
      corrupt(fmt::format("the header name {} is not ce_ and lower-case letters and digits",
                          Shown(name)));
      has_link = false;
    }
    const auto known =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
    if (known == fields.end()) {
      fields.push_back({name, header.second});
      continue;
    }
    known->twice = true;
    if (Covered(name) || name == "ce_id")
      corrupt(fmt::format("header {} is there twice, expected once", Shown(name)));
    if (Covered(name)) has_link = false;
  }
  const auto value = [&](std::string_view name) -> std::optional<std::string_view> {
    for (const Field& field : fields) {
      if (field.name == name && !field.twice) return field.value;
    }
    return std::nullopt;
  };
  const auto text = [&](std::string_view name) { return std::string(value(name).value_or("")); };
  for (const std::string_view name : kRequired) {
    if (!value(name)) corrupt(fmt::format("header {} is missing", name));
  }
  const auto id = Link::FromHex(value("ce_id").value_or(""));
  reading.parent = Link::FromHex(value("ce_parent").value_or(""));
  const auto sequence = ParseSequence(value("ce_sequence").value_or(""));
  if (!id) corrupt("ce_id is not 64 lower-case hexadecimal digits");
  if (!reading.parent) corrupt("ce_parent is not 64 lower-case hexadecimal digits");
  if (!sequence) {
    corrupt(fmt::format(
        "ce_sequence is \"{}\", expected a decimal number below 2^63 without leading zeros",
        Shown(text("ce_sequence"))));
  }
  if (text("ce_source") != source)
    corrupt(fmt::format("ce_source is {}, expected {}", Shown(text("ce_source")), source));
  std::optional<Link> link;
  if (has_link) link = LinkOf(record);
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
  const std::string time = text("ce_time");
  if (!absl::ParseTime(absl::RFC3339_full, time, &attributes.time, nullptr))
    attributes.time = absl::UnixEpoch();
  attributes.source = text("ce_source");
  attributes.type = text("ce_type");
  attributes.subject = text("ce_subject");
  attributes.writer = text("ce_writer");
  attributes.command_id = text("ce_commandid");
  attributes.command_digest = text("ce_commanddigest");
  attributes.causation_id = text("ce_causationid");
  attributes.correlation_id = text("ce_correlationid");
  attributes.actor = text("ce_actor");
  attributes.trace_parent = text("ce_traceparent");
  attributes.data_type = DataType(record);
  return reading;
}

std::string DataType(const Record& record) {
  std::string_view schema = HeaderValue(record, "ce_dataschema");
  if (schema.substr(0, kSchemaPrefix.size()) == kSchemaPrefix)
    schema.remove_prefix(kSchemaPrefix.size());
  return std::string(schema);
}

std::string EncodeRecord(const Record& record) {
  size_t size = 8 + record.key.size() + record.data.size() + 4;
  for (const Header& header : record.headers)
    size += 8 + header.first.size() + header.second.size();
  std::string bytes;
  bytes.reserve(size);
  AppendSized(bytes, record.key);
  AppendSized(bytes, record.data);
  for (const Header& header : record.headers) {
    AppendSized(bytes, header.first);
    AppendSized(bytes, header.second);
  }
  return bytes;
}

absl::StatusOr<Record> DecodeRecord(std::string_view bytes) {
  Record record;
  if (!TakeSized(bytes, record.key) || !TakeSized(bytes, record.data)) {
    return absl::DataLossError("a stored record is cut short");
  }
  while (!bytes.empty()) {
    Header header;
    if (!TakeSized(bytes, header.first) || !TakeSized(bytes, header.second)) {
      return absl::DataLossError("a stored record's headers are cut short");
    }
    record.headers.push_back(std::move(header));
  }
  return record;
}

}  // namespace concordat::events
