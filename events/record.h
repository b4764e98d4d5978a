// A record is an event as it stands in the log: CloudEvents 1.0, Kafka binding, binary mode.
// Law: the bytes are never changed or serialised again; the link covers every attribute and the
// data. docs/subscribing.md is the specification; this is its implementation.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <endian.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "events/link.h"

namespace concordat::events {

// What a record says beside its data. Thread-compatible value.
struct Attributes {
  Link id;                     // ce_id: the event's link
  std::string source;          // ce_source: `/sites/paris/reservations`
  std::string type;            // ce_type: Protobuf full name of the event inside
  std::string subject;         // ce_subject: resource name
  absl::Time time;             // ce_time: microseconds, UTC
  std::string data_type;       // Protobuf full name of the value; ce_dataschema without its prefix
  uint64_t sequence = 0;       // ce_sequence: position in the stream, from 0
  Link parent;                 // ce_parent
  std::string writer;          // ce_writer: `<32 hex>.<recovery>`
  std::string command_id;      // ce_commandid
  std::string command_digest;  // ce_commanddigest: SHA-256 of the command, 64 hex; may be empty
  std::string causation_id;    // ce_causationid: `<stream>:<sequence>:<link>`; may be empty
  std::string correlation_id;  // ce_correlationid
  std::string actor;           // ce_actor
  std::string trace_parent;    // ce_traceparent; may be empty
};

// A record's headers: names and values, any bytes, in their order, in one piece of memory. Thread-
// compatible value; what it hands out are views into it.
class Headers {
 public:
  using Header = std::pair<std::string_view, std::string_view>;  // name, value

  class Iterator {
   public:
    explicit Iterator(const char* at) : at_(at) {}
    Header operator*() const { return {Part(at_), Part(Behind(at_))}; }
    Iterator& operator++() {
      at_ = Behind(Behind(at_));
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    friend class Headers;
    static uint32_t SizeAt(const char* at);
    static std::string_view Part(const char* at) { return {at + 4, SizeAt(at)}; }
    static const char* Behind(const char* at) { return at + 4 + SizeAt(at); }
    const char* at_;
  };

  Headers() = default;
  Headers(std::initializer_list<Header> headers);
  void Add(std::string_view name, std::string_view value);
  // Room for so many bytes in all, names, values and 8 more a header.
  void Reserve(size_t bytes) { bytes_.reserve(bytes); }
  size_t size() const;
  bool empty() const { return bytes_.empty(); }
  Iterator begin() const { return Iterator(bytes_.data()); }
  Iterator end() const { return Iterator(bytes_.data() + bytes_.size()); }

  // For each header u32be(len(name)) name u32be(len(value)) value: the form that is hashed.
  const std::string& bytes() const { return bytes_; }
  // Nothing where these are not such bytes.
  static std::optional<Headers> FromBytes(std::string_view bytes);

  friend bool operator==(const Headers&, const Headers&) = default;

 private:
  std::string bytes_;
};

inline uint32_t Headers::Iterator::SizeAt(const char* at) {
  uint32_t size = 0;
  std::memcpy(&size, at, sizeof(size));
  return be32toh(size);
}

// The record, byte for byte. Thread-compatible value.
struct Record {
  std::string key;
  Headers headers;
  std::string data;
};

// The record of an event: fills `attributes.id` with the link and lays out the headers.
Record Seal(Attributes& attributes, std::string data);

// The exact bytes whose SHA-256 is the link:
//     for content-type and every ce_* header except ce_id, sorted by name:
//         u32be(len(name)) name u32be(len(value)) value
//     then u32be(len(data)) data
std::string CanonicalBytes(const Record& record);

// What the acceptance rule needs of a record, whether or not it is well-formed.
struct Reading {
  // OK where the record is well-formed, of this source, and its content matches its id. Otherwise
  // INVALID_ARGUMENT, saying what was found and what was expected: the record is corrupt.
  absl::Status status;
  // Filled where status is OK, and to be ignored otherwise; a time that is none is the Unix epoch.
  Attributes attributes;
  std::optional<Link> parent;  // ce_parent, where it can be read
  std::vector<Link>
      claims;  // the ids that a corrupt record may have had: ce_id, the link computed anew
};
// `reuse` lends the memory of its strings to the attributes, for those who read many records.
Reading Read(const Record& record, std::string_view source, Attributes reuse = {});

// The header's value, or empty. The first, where it is there twice.
std::string_view HeaderValue(const Record& record, std::string_view name);

// `paris.reservations.events` → `/sites/paris/reservations`. Empty for anything else.
std::string SourceOf(std::string_view stream);

// A stream's topic name: `<site>.<service>.events`.
std::string StreamName(std::string_view site, std::string_view service);

// `paris` of `paris.reservations.events`; empty for anything else.
std::string SiteOf(std::string_view stream);

// `reservations` of `paris.reservations.events`; empty for anything else.
std::string ServiceOf(std::string_view stream);

// RFC 3339, UTC, six fractional digits.
std::string EventTime(absl::Time time);

// One record as one byte string, for stores that have no headers of their own.
std::string EncodeRecord(const Record& record);

// DATA_LOSS where the bytes are not what EncodeRecord() gives.
absl::StatusOr<Record> DecodeRecord(std::string_view bytes);

}  // namespace concordat::events
