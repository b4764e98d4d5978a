// The published test vectors, which the followers in other languages pass too.
#include <absl/strings/escaping.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "events/chain.h"
#include "events/record.h"
#include "tests/support/source_dir.h"

namespace concordat::events {
namespace {

using Json = nlohmann::json;

Json Vectors() {
  std::ifstream file(SOURCE_DIR "/events/testdata/vectors.json");
  return Json::parse(file);
}

// Null counts as empty.
std::string Text(const Json& value) { return value.is_null() ? "" : value.get<std::string>(); }

std::string Bytes(const Json& base64) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(Text(base64), &bytes)) << base64;
  return bytes;
}

Record RecordOf(const Json& json) {
  Record record;
  if (json.contains("key")) record.key = Text(json["key"]);
  for (const Json& header : json["headers"]) {
    record.headers.Add(header[0].get<std::string>(), Text(header[1]));
  }
  record.data = Bytes(json["data_base64"]);
  return record;
}

std::string Expected(Outcome outcome) {
  const bool is_void = outcome != Outcome::kAccepted && outcome != Outcome::kDamaged;
  return (is_void ? "void:" : "") + std::string(Name(outcome));
}

Chain NewChain(const Json& log) {
  const auto origin = log["mirrored"].get<bool>() ? Chain::Origin::kMirrored : Chain::Origin::kHome;
  return Chain(log["stream"], origin, log.value("limit", Chain::kMaxVoidLinks));
}

void ExpectEnd(const Chain& chain, const Json& log) {
  EXPECT_EQ(chain.head().link.ToHex(), log["head"]["link"].get<std::string>());
  EXPECT_EQ(chain.head().sequence, log["head"]["sequence"].get<int64_t>());
  EXPECT_EQ(Name(chain.condition()), log["state"].get<std::string>());
}

Json AllLogs() {
  const Json vectors = Vectors();
  Json logs = vectors["logs"];
  for (const Json& log : vectors["settled"]) logs.push_back(log);
  return logs;
}

TEST(Vectors, TheFileHoldsWhatIsTestedHere) {
  const Json vectors = Vectors();
  EXPECT_EQ(vectors["format"], 1);
  EXPECT_GE(vectors["links"].size(), 22u);
  EXPECT_GE(vectors["logs"].size(), 46u);
  EXPECT_GE(vectors["settled"].size(), 25u);
}

TEST(Vectors, LinksAreComputedOverTheExactBytes) {
  const Json vectors = Vectors();
  for (const Json& vector : vectors["links"]) {
    SCOPED_TRACE(vector["name"].get<std::string>());
    const Record record = RecordOf(vector);
    EXPECT_EQ(absl::Base64Escape(CanonicalBytes(record)),
              vector["canonical_base64"].get<std::string>());
    EXPECT_EQ(Sha256(CanonicalBytes(record)).ToHex(), vector["link"].get<std::string>());
  }
}

TEST(Vectors, EveryRecordIsJudgedAsThePublishedRuleSays) {
  for (const Json& log : AllLogs()) {
    SCOPED_TRACE(log["name"].get<std::string>());
    EXPECT_EQ(SourceOf(log["stream"].get<std::string>()), log["source"].get<std::string>());
    Chain chain = NewChain(log);
    ASSERT_EQ(log["records"].size(), log["expect"].size());
    for (size_t i = 0; i < log["records"].size(); ++i) {
      Attributes attributes;
      const Outcome outcome =
          chain.Offer(RecordOf(log["records"][i]), static_cast<int64_t>(i), &attributes);
      EXPECT_EQ(Expected(outcome), log["expect"][i].get<std::string>()) << "record " << i;
    }
    ExpectEnd(chain, log);
  }
}

TEST(Vectors, AReaderThatIsStoppedBetweenAnyTwoRecordsComesToTheSameEnd) {
  for (const Json& log : AllLogs()) {
    // A limit other than the rule's own is for the vectors alone and is not stored.
    if (log.contains("limit")) continue;
    SCOPED_TRACE(log["name"].get<std::string>());
    Chain chain = NewChain(log);
    const auto origin =
        log["mirrored"].get<bool>() ? Chain::Origin::kMirrored : Chain::Origin::kHome;
    for (size_t i = 0; i < log["records"].size(); ++i) {
      const auto again = Chain::Decode(log["stream"], chain.Encode(), origin);
      ASSERT_TRUE(again.ok()) << again.status();
      chain = *again;
      Attributes attributes;
      const Outcome outcome =
          chain.Offer(RecordOf(log["records"][i]), static_cast<int64_t>(i), &attributes);
      EXPECT_EQ(Expected(outcome), log["expect"][i].get<std::string>()) << "record " << i;
    }
    const auto end = Chain::Decode(log["stream"], chain.Encode(), origin);
    ASSERT_TRUE(end.ok()) << end.status();
    ExpectEnd(*end, log);
    if (end->condition() == Condition::kDamaged || end->forked()) {
      EXPECT_EQ(end->alarm(), chain.alarm());
    }
    EXPECT_EQ(end->forked(), chain.forked());
    EXPECT_EQ(end->next_offset(), chain.next_offset());
  }
}

}  // namespace
}  // namespace concordat::events
