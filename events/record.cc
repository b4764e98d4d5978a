#include "events/record.h"

#include <absl/container/inlined_vector.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace concordat::events {
namespace {

constexpr std::string_view kSchemaPrefix = "urn:concordat:schema:";
constexpr std::string_view kContentType = "application/protobuf";

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

bool Covered(std::string_view name) {
  return name == "content-type" || (name.substr(0, 3) == "ce_" && name != "ce_id");
}

absl::Status Bad(std::string_view what) {
  return absl::InvalidArgumentError(absl::string_view(what.data(), what.size()));
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
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", time, absl::UTCTimeZone());
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
  attributes.id = Sha256(CanonicalBytes(record));
  add("ce_id", attributes.id.ToHex());
  return record;
}

std::string CanonicalBytes(const Record& record) {
  absl::InlinedVector<const Header*, 20> covered;
  size_t size = 4 + record.data.size();
  for (const Header& header : record.headers) {
    if (!Covered(header.first)) continue;
    covered.push_back(&header);
    size += 8 + header.first.size() + header.second.size();
  }
  const auto by_name = [](const Header* a, const Header* b) { return a->first < b->first; };
  if (!std::is_sorted(covered.begin(), covered.end(), by_name)) {
    std::stable_sort(covered.begin(), covered.end(), by_name);
  }
  std::string bytes;
  bytes.reserve(size);
  for (const Header* header : covered) {
    AppendSized(bytes, header->first);
    AppendSized(bytes, header->second);
  }
  AppendSized(bytes, record.data);
  return bytes;
}

std::string_view HeaderValue(const Record& record, std::string_view name) {
  for (const Header& header : record.headers) {
    if (header.first == name) return header.second;
  }
  return {};
}

absl::StatusOr<Attributes> Open(const Record& record) {
  struct Field {
    std::string_view name;
    bool required;
    std::string_view value = {};
    bool seen = false;
  };
  enum { kActor, kCausation, kDigest, kCommand, kCorrelation, kSchema, kId, kParent, kSequence,
         kSource, kVersion, kSubject, kTime, kTrace, kType, kWriter, kContent };
  std::array<Field, 17> fields{{{"ce_actor", false}, {"ce_causationid", false},
      {"ce_commanddigest", false}, {"ce_commandid", false}, {"ce_correlationid", false},
      {"ce_dataschema", false}, {"ce_id", true}, {"ce_parent", true}, {"ce_sequence", true},
      {"ce_source", true}, {"ce_specversion", true}, {"ce_subject", true}, {"ce_time", true},
      {"ce_traceparent", false}, {"ce_type", true}, {"ce_writer", true}, {"content-type", true}}};
  for (size_t i = 0; i < record.headers.size(); ++i) {
    const auto& [name, value] = record.headers[i];
    if (!Covered(name) && name != "ce_id") continue;
    Field* known = nullptr;
    for (Field& field : fields) {
      if (field.name == name) known = &field;
    }
    bool twice = known != nullptr && known->seen;
    for (size_t j = 0; known == nullptr && j < i; ++j) twice = twice || record.headers[j].first == name;
    if (twice) return Bad(fmt::format("header {} is there twice, expected once", name));
    if (known == nullptr) continue;  // an extension that this release does not know; covered all the same
    known->seen = true;
    known->value = value;
  }
  for (const Field& field : fields) {
    if (field.required && !field.seen) return Bad(fmt::format("header {} is missing", field.name));
  }
  const auto text = [&](int field) { return std::string(fields[field].value); };

  Attributes attributes;
  const auto id = Link::FromHex(fields[kId].value);
  if (!id) return Bad("ce_id is not 64 lower-case hexadecimal digits");
  const auto parent = Link::FromHex(fields[kParent].value);
  if (!parent) return Bad("ce_parent is not 64 lower-case hexadecimal digits");
  const auto sequence = ParseSequence(fields[kSequence].value);
  if (!sequence) {
    return Bad(fmt::format("ce_sequence is \"{}\", expected a decimal number below 2^63 without "
                           "leading zeros", fields[kSequence].value));
  }
  const Link link = Sha256(CanonicalBytes(record));
  if (link != *id) {
    return Bad(fmt::format("ce_id is {}, but the content has the link {}", id->ToHex(), link.ToHex()));
  }
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, absl::string_view(fields[kTime].value.data(),
                       fields[kTime].value.size()), &attributes.time, &error)) {
    return Bad(fmt::format("ce_time is \"{}\", expected RFC 3339: {}", fields[kTime].value, error));
  }
  attributes.id = *id;
  attributes.parent = *parent;
  attributes.sequence = *sequence;
  attributes.source = text(kSource);
  attributes.type = text(kType);
  attributes.subject = text(kSubject);
  attributes.writer = text(kWriter);
  attributes.command_id = text(kCommand);
  attributes.command_digest = text(kDigest);
  attributes.causation_id = text(kCausation);
  attributes.correlation_id = text(kCorrelation);
  attributes.actor = text(kActor);
  attributes.trace_parent = text(kTrace);
  std::string_view schema = fields[kSchema].value;
  if (schema.substr(0, kSchemaPrefix.size()) == kSchemaPrefix) schema.remove_prefix(kSchemaPrefix.size());
  attributes.data_type = std::string(schema);
  return attributes;
}

std::string EncodeRecord(const Record& record) {
  size_t size = 8 + record.key.size() + record.data.size() + 4;
  for (const Header& header : record.headers) size += 8 + header.first.size() + header.second.size();
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
