// Random logs with stale writers, duplicates, delays and mirrors, against an oracle that remembers
// every link it has ever seen.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>
#include <string>
#include <vector>

#include "events/chain.h"
#include "tests/support/records.h"

namespace concordat::events {
namespace {

using test::kStream;

// One step of a history, and numbers to do it with.
struct Step {
  int what;
  int a;
  int b;
};
void showValue(const Step& step, std::ostream& out) {
  out << step.what << "/" << step.a << "/" << step.b;
}

rc::Gen<std::vector<Step>> Steps() {
  return rc::gen::container<std::vector<Step>>(rc::gen::construct<Step>(
      rc::gen::inRange(0, 10), rc::gen::inRange(0, 3), rc::gen::inRange(0, 1000)));
}

// The rule in its simplest words: the first occurrence of a link whose parent is the last accepted.
class Oracle {
 public:
  bool Offer(const Record& record) {
    const Reading reading = Read(record, SourceOf(kStream));
    const Attributes& attributes = reading.attributes;
    const bool first = seen_.insert(attributes.id).second;
    const bool child = attributes.parent == head_.link &&
                       static_cast<int64_t>(attributes.sequence) == head_.sequence + 1;
    if (!first || !child) return false;
    head_ = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};
    return true;
  }
  const Head& head() const { return head_; }

 private:
  std::set<Link> seen_;
  Head head_;
};

// Three writers, each going on from what it last knew, over a log that delays and repeats.
std::vector<Record> LogOf(const std::vector<Step>& steps) {
  std::vector<Record> log;
  std::vector<Record> delayed;
  Oracle truth;
  std::vector<Head> knows(3);
  int number = 0;
  const auto append = [&](const Record& record) {
    truth.Offer(record);
    log.push_back(record);
  };
  for (const Step& step : steps) {
    Head& head = knows[static_cast<size_t>(step.a)];
    const std::string data = std::to_string(number++);
    const std::string writer = std::string(32, static_cast<char>('a' + step.a)) + ".0";
    switch (step.what) {
      case 0:
      case 1:
      case 2:
      case 3:
        append(test::Next(head, data, kStream, writer));
        break;
      case 4:
      case 5:
        head = truth.head();
        break;  // it reads the log to its end
      case 6:
        delayed.push_back(test::Next(head, data, kStream, writer));
        break;
      case 7:
        if (!delayed.empty()) {
          const auto at = delayed.begin() + step.b % static_cast<int>(delayed.size());
          append(*at);
          delayed.erase(at);
        }
        break;
      case 8:
        if (!log.empty()) append(Record(log[static_cast<size_t>(step.b) % log.size()]));
        break;
      case 9: {  // a group that is torn: its second record arrives first
        const Record first = test::Next(head, data, kStream, writer);
        append(test::Next(head, data + "+", kStream, writer));
        append(first);
        break;
      }
    }
  }
  for (const Record& record : delayed) append(record);
  return log;
}

std::vector<Link> AcceptedIn(const std::vector<Record>& log, Chain::Origin origin) {
  Chain chain(kStream, origin);
  std::vector<Link> accepted;
  for (size_t i = 0; i < log.size(); ++i) {
    Attributes attributes;
    if (chain.Offer(log[i], static_cast<int64_t>(i), &attributes) == Outcome::kAccepted)
      accepted.push_back(attributes.id);
  }
  return accepted;
}

TEST(ChainProperties, ExactlyTheFirstOccurrencesThatFollowTheHeadAreAccepted) {
  EXPECT_TRUE(rc::check([] {
    const std::vector<Record> log = LogOf(*Steps());
    Chain chain(kStream);
    Oracle oracle;
    Link last = kNoLink;
    uint64_t next = 0;
    for (size_t i = 0; i < log.size(); ++i) {
      if (*rc::gen::inRange(0, 4) == 0) chain = *Chain::Decode(kStream, chain.Encode());
      const Reading reading = Read(log[i], SourceOf(kStream));
      const Attributes& attributes = reading.attributes;
      const bool accepts = chain.Accepts(reading);
      const Outcome outcome = chain.Offer(reading, static_cast<int64_t>(i));
      RC_ASSERT((outcome == Outcome::kAccepted) == accepts);
      RC_ASSERT((outcome == Outcome::kAccepted) == oracle.Offer(log[i]));
      RC_ASSERT(chain.head().link == oracle.head().link);
      RC_ASSERT(chain.head().sequence == oracle.head().sequence);
      if (outcome != Outcome::kAccepted) continue;
      // One chain: no event is missing, none is there twice.
      RC_ASSERT(attributes.parent == last);
      RC_ASSERT(attributes.sequence == next++);
      RC_ASSERT(chain.head().offset == static_cast<int64_t>(i));
      last = attributes.id;
    }
    RC_ASSERT(chain.condition() == Condition::kOk);
    RC_TAG(next > 3 ? "more than three accepted" : "few accepted");
  }));
}

TEST(ChainProperties, AMirrorThatStartsAgainFurtherBackAcceptsTheSameHistory) {
  EXPECT_TRUE(rc::check([] {
    const std::vector<Record> log = LogOf(*Steps());
    std::vector<Record> mirrored;
    for (size_t at = 0; at < log.size();) {
      mirrored.push_back(log[at++]);
      // Like a mirror after a crash: what came since its last stored position comes again.
      if (*rc::gen::inRange(0, 5) == 3)
        at -= *rc::gen::inRange<size_t>(0, std::min<size_t>(at, 6) + 1);
    }
    RC_ASSERT(AcceptedIn(mirrored, Chain::Origin::kMirrored) ==
              AcceptedIn(log, Chain::Origin::kHome));
  }));
}

TEST(ChainProperties, AMirrorThatLeavesRecordsOutAcceptsAPrefixAndIsNotTrustedBeyondIt) {
  EXPECT_TRUE(rc::check([] {
    Head head;
    std::vector<Record> log;
    for (int i = *rc::gen::inRange(3, 20); i > 0; --i) log.push_back(test::Next(head));
    const auto from = *rc::gen::inRange<size_t>(0, log.size() - 1);
    const auto until = *rc::gen::inRange<size_t>(from + 1, log.size());
    std::vector<Record> mirrored(log.begin(), log.begin() + static_cast<int64_t>(from));
    mirrored.insert(mirrored.end(), log.begin() + static_cast<int64_t>(until), log.end());
    Chain chain(kStream, Chain::Origin::kMirrored);
    Attributes attributes;
    for (size_t i = 0; i < mirrored.size(); ++i)
      chain.Offer(mirrored[i], static_cast<int64_t>(i), &attributes);
    RC_ASSERT(chain.head().sequence == static_cast<int64_t>(from) - 1);
    RC_ASSERT(chain.condition() == Condition::kSuspect);
    RC_ASSERT(Chain::Decode(kStream, chain.Encode(), Chain::Origin::kMirrored)->condition() ==
              Condition::kSuspect);
  }));
}

}  // namespace
}  // namespace concordat::events
