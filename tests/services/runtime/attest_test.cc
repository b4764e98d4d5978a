// What a writer attests, and what becomes of a state that is not the one attested.
#include "services/runtime/attest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/runtime/follower.h"
#include "tests/services/runtime/home.h"
#include "tests/support/records.h"
#include "tests/support/scripted_log.h"

namespace concordat::test {
namespace {

using runtime::WriterState;
using testing::HasSubstr;

constexpr char kCode[] = "test/1";

std::vector<system::v1::StateAttested> Attestations(const std::vector<Fact>& history) {
  std::vector<system::v1::StateAttested> found;
  for (const Fact& fact : history) {
    auto attested = runtime::AttestationIn(fact.attributes, fact.record.data);
    if (attested) found.push_back(*std::move(attested));
  }
  return found;
}

// A replica at borlange of the home's stream, over the home's own log as a faithful mirror has it.
struct Copy {
  Copy(ScriptedLog& log, std::string dir, const std::string& code = kCode) {
    projection = *storage::Projection::Open(dir, kStream, events::Chain::Origin::kMirrored, "test");
    engine = std::make_unique<runtime::EngineOf<ledger::Service>>(projection->journal());
    replica = std::make_unique<runtime::Replica>(*engine, *projection, "borlange",
                                                 storage::Machine::Real(), code);
    follower = std::make_unique<runtime::Follower>(log, std::vector<runtime::Sink*>{replica.get()});
  }
  void Read() {
    for (int quiet = 0; quiet < 2;)
      quiet = follower->Step(absl::ZeroDuration()) == 0 ? quiet + 1 : 0;
  }
  // Changes a row as a defect in the code would: through the journal, digest and all.
  void Corrupt() {
    const uint64_t head = static_cast<uint64_t>(projection->chain().head().sequence);
    projection->journal().Begin(head);
    v1::Item item;
    item.set_name("zzz");
    projection->journal().Write(storage::RowKey("items", "zzz"), item.SerializeAsString());
    ASSERT_TRUE(projection->Commit(head).ok());
  }

  std::unique_ptr<storage::Projection> projection;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::Replica> replica;
  std::unique_ptr<runtime::Follower> follower;
};

class AttestTest : public testing::Test {
 protected:
  AttestTest() {
    home_.options.attest = {.every_events = 10, .every = absl::Hours(1), .code = kCode};
  }
  void Work(int count) {
    std::vector<Asked> asked;
    for (int i = 0; i < count; ++i, ++worked_) {
      const std::string id = std::to_string(worked_);
      asked.push_back(home_.Ask(worked_ % 3 == 0 ? PutConfirmed(id) : Put(id), "c-" + id));
      if (i % 7 == 0) home_.Step(1);
    }
    for (const Asked& one : asked) ASSERT_TRUE(home_.Answer(one).ok());
  }
  std::vector<Fact> TheHistory() { return History(log_.Records(kStream), kStream); }

  ScriptedLog log_;
  TempDir dir_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  Home home_{log_, clock_};
  int worked_ = 0;
};

TEST_F(AttestTest, AWriterAttestsItsHeadAndAReplicaOfTheSameCodeAgrees) {
  home_.Start();
  Work(200);
  const std::vector<Fact> history = TheHistory();
  const auto attestations = Attestations(history);
  ASSERT_GE(attestations.size(), 3u);
  for (const auto& attested : attestations) {
    EXPECT_EQ(attested.stream(), kStream);
    EXPECT_EQ(attested.code(), kCode);
    const events::Attributes& head = history[attested.sequence()].attributes;
    EXPECT_EQ(attested.link(), std::string(head.id.bytes.begin(), head.id.bytes.end()));
  }
  Copy copy(log_, dir_ / "copy");
  copy.Read();
  EXPECT_EQ(copy.replica->View().alarm, "");
  EXPECT_EQ(copy.replica->View().head.sequence, static_cast<int64_t>(history.size()) - 1);
  EXPECT_EQ(copy.projection->digests().Total().ToHex(), home_.Digest());
  home_.Wipe();
  home_.Restart();
  EXPECT_EQ(home_.state(), WriterState::kWriting) << "a rebuild agrees too";
}

TEST_F(AttestTest, AReplicaThatComputedAnotherStateStopsAndStaysStopped) {
  home_.Start();
  Work(5);
  {
    Copy copy(log_, dir_ / "copy");
    copy.Read();
    copy.Corrupt();
    Work(40);
    copy.Read();
    EXPECT_TRUE(copy.replica->View().diverged);
    EXPECT_THAT(copy.replica->View().alarm, HasSubstr("ConcordatStateDiverged"));
    EXPECT_LT(copy.replica->View().head.sequence, static_cast<int64_t>(TheHistory().size()) - 1)
        << "nothing is folded after it";
  }
  Copy again(log_, dir_ / "copy");
  EXPECT_TRUE(again.replica->View().diverged) << "before a record is read";
  const int64_t head = again.replica->View().head.sequence;
  again.Read();
  EXPECT_TRUE(again.replica->View().diverged);
  EXPECT_EQ(again.replica->View().head.sequence, head);
  Copy anew(log_, dir_ / "anew");
  anew.Read();
  EXPECT_FALSE(anew.replica->View().diverged) << "deleted and folded again it agrees";
}

TEST_F(AttestTest, StatesOfDifferentCodeAreNotCompared) {
  home_.Start();
  Work(5);
  Copy copy(log_, dir_ / "copy", "test/2");
  copy.Read();
  copy.Corrupt();
  Work(40);
  copy.Read();
  EXPECT_FALSE(copy.replica->View().diverged);
  EXPECT_EQ(copy.replica->View().head.sequence, static_cast<int64_t>(TheHistory().size()) - 1);
}

TEST_F(AttestTest, AWriterThatFoldsItsOwnAttestationToAnotherStateDoesNotWrite) {
  home_.Start();
  Work(5);
  events::Head head = HeadOf(TheHistory());
  events::Attributes attributes = AttributesAfter(head, kStream, std::string(32, 'f') + ".1");
  system::v1::StateAttested wrong;
  wrong.set_stream(kStream);
  wrong.set_sequence(static_cast<uint64_t>(head.sequence));
  wrong.set_digest(std::string(32, 'x'));
  wrong.set_code(kCode);
  attributes.type = attributes.data_type = runtime::StateAttestedType();
  attributes.time = head.time;
  log_.Put(kStream, events::Seal(attributes, wrong.SerializeAsString()));
  EXPECT_TRUE(absl::IsUnavailable(home_.Answer(Put("x"), "c-x").status()));
  EXPECT_EQ(home_.state(), WriterState::kStopped);
  EXPECT_TRUE(home_.writer().View().diverged);
  const int64_t end = log_.End(kStream);
  home_.Restart();
  EXPECT_EQ(home_.state(), WriterState::kStopped) << "it is remembered";
  EXPECT_THAT(home_.alarm(), HasSubstr("ConcordatStateDiverged"));
  EXPECT_EQ(log_.End(kStream), end);
}

TEST_F(AttestTest, AnAttestationThatIsLostOrOfUnknownOutcomeHarmsNobody) {
  int attempts = 0;
  log_.fate = [&](const std::string&, const events::Record& record) {
    if (events::HeaderValue(record, "ce_type") != runtime::StateAttestedType()) return Fate::kLand;
    constexpr Fate kFates[] = {Fate::kFail, Fate::kLandWithError, Fate::kLandUnknown, Fate::kLand};
    return kFates[attempts++ % 4];
  };
  home_.Start();
  Work(200);
  EXPECT_GE(attempts, 4);
  const std::vector<Fact> history = TheHistory();
  EXPECT_EQ(CountOf(history, "ItemPut"), 200);
  EXPECT_GE(Attestations(history).size(), 3u);
  Copy copy(log_, dir_ / "copy");
  copy.Read();
  EXPECT_EQ(copy.replica->View().alarm, "");
}

TEST_F(AttestTest, WhatWasAcceptedOfOthersIsAttestedAndFoundByThem) {
  events::Head seen{events::Sha256("theirs"), 41, 50, absl::UnixEpoch()};
  home_.options.attest.accepted = [&] {
    return runtime::AcceptedHeads{.heads = {{"borlange.ledger.events", seen}}, .facts = 7};
  };
  home_.Start();
  Work(20);
  Copy copy(log_, dir_ / "copy");
  copy.Read();
  const auto found = runtime::AttestedHead(*copy.projection->View(), "borlange.ledger.events");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->sequence, 41);
  EXPECT_EQ(found->link, seen.link);
  EXPECT_FALSE(runtime::AttestedHead(*copy.projection->View(), "lyon.ledger.events").has_value());
}

TEST_F(AttestTest, TimeAloneLeadsToAnAttestationOnlyWhereSomethingHappened) {
  uint64_t facts = 3;
  home_.options.attest.every_events = 1'000'000;
  home_.options.attest.accepted = [&] {
    return runtime::AcceptedHeads{.heads = {}, .facts = facts};
  };
  home_.Start();
  const auto after_an_hour = [&] {
    clock_.Set(clock_.Now() + absl::Hours(2));
    home_.Step(10);
    return Attestations(TheHistory()).size();
  };
  Work(3);
  EXPECT_EQ(Attestations(TheHistory()).size(), 0u);
  EXPECT_EQ(after_an_hour(), 1u);
  EXPECT_EQ(after_an_hour(), 1u) << "an attestation is nothing to attest";
  EXPECT_EQ(after_an_hour(), 1u);
  ++facts;
  EXPECT_EQ(after_an_hour(), 2u) << "another site's event is";
  home_.Restart();
  EXPECT_EQ(after_an_hour(), 2u) << "a start is not";
}

}  // namespace
}  // namespace concordat::test
