// Records for tests. Law: each is well-formed and sealed, so that what is wrong with one is what
// the test made wrong.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "events/chain.h"
#include "events/record.h"

namespace concordat::test {

inline constexpr char kStream[] = "paris.ledger.events";

// What the event after `head` says, in a stream.
inline events::Attributes AttributesAfter(const events::Head& head,
                                          const std::string& stream = kStream,
                                          const std::string& writer = std::string(32, 'a') + ".0") {
  events::Attributes attributes;
  attributes.source = events::SourceOf(stream);
  attributes.type = "concordat.test.v1.ItemPut";
  attributes.subject = "items/1";
  attributes.time = absl::FromUnixSeconds(1'800'000'000) + absl::Microseconds(head.sequence + 1);
  attributes.data_type = "concordat.test.v1.Event";
  attributes.sequence = static_cast<uint64_t>(head.sequence + 1);
  attributes.parent = head.link;
  attributes.writer = writer;
  attributes.command_id = "c-" + std::to_string(head.sequence + 1);
  attributes.correlation_id = attributes.command_id;
  attributes.actor = "alice";
  return attributes;
}

// Accepts the event of these attributes as one that this process appended itself.
inline void Advance(events::Chain& chain, const events::Attributes& attributes, int64_t offset) {
  chain.Advance(attributes.parent, {attributes.id, static_cast<int64_t>(attributes.sequence),
                                    offset, attributes.time});
}

// The next event of a history; `head` moves on to it.
inline events::Record Next(events::Head& head, std::string data = "data",
                           const std::string& stream = kStream,
                           const std::string& writer = std::string(32, 'a') + ".0") {
  events::Attributes attributes = AttributesAfter(head, stream, writer);
  events::Record record = events::Seal(attributes, std::move(data));
  head = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};
  return record;
}

// Names and values of a record's headers, to be changed and put back.
using HeaderList = std::vector<std::pair<std::string, std::string>>;

inline HeaderList HeadersOf(const events::Record& record) {
  HeaderList headers;
  for (const auto& [name, value] : record.headers) headers.emplace_back(name, value);
  return headers;
}

inline events::Record WithHeaders(events::Record record, const HeaderList& headers) {
  record.headers = {};
  for (const auto& [name, value] : headers) record.headers.Add(name, value);
  return record;
}

inline bool SameBytes(const events::Record& a, const events::Record& b) {
  return a.key == b.key && a.headers == b.headers && a.data == b.data;
}

}  // namespace concordat::test
