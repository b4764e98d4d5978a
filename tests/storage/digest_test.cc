#include "storage/projection/digest.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <string>
#include <vector>

#include "events/link.h"

namespace concordat::storage {
namespace {

using Pairs = std::map<std::string, std::string>;

Pairs AnyRows() {
  return *rc::gen::container<Pairs>(rc::gen::arbitrary<std::string>(),
                                    rc::gen::arbitrary<std::string>());
}

TEST(Digest, DoesNotDependOnTheOrderAndRemovingUndoesAdding) {
  EXPECT_TRUE(rc::check([] {
    const Pairs rows = AnyRows();
    Digest forward;
    for (const auto& [key, value] : rows) forward.Add(key, value);
    Digest backward;
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) backward.Add(row->first, row->second);
    RC_ASSERT(forward == backward);
    RC_ASSERT(forward.rows == rows.size());
    for (const auto& [key, value] : rows) forward.Remove(key, value);
    RC_ASSERT(forward == Digest());
    RC_ASSERT(forward.ToHex() == std::string(64, '0'));
  }));
}

TEST(Digest, AnyOtherSetOfRowsHasAnotherOne) {
  EXPECT_TRUE(rc::check([] {
    const Pairs one = AnyRows();
    const Pairs two = AnyRows();
    Digest first;
    Digest second;
    for (const auto& [key, value] : one) first.Add(key, value);
    for (const auto& [key, value] : two) second.Add(key, value);
    RC_ASSERT((first == second) == (one == two));
  }));
  // Where a key ends and its value begins counts too.
  Digest ab_c;
  ab_c.Add("ab", "c");
  Digest a_bc;
  a_bc.Add("a", "bc");
  EXPECT_NE(ab_c.ToHex(), a_bc.ToHex());
}

TEST(Digest, IsTheSumOfTheRowsHashes) {
  // SHA-256 of the key's length in 8 bytes, the key and the value; computed apart.
  Digest digest;
  digest.Add("key", "value");
  const std::string bytes = std::string(7, '\0') + "\x03keyvalue";
  EXPECT_EQ(digest.ToHex(),
            events::ToHex({reinterpret_cast<const char*>(events::Sha256(bytes).bytes.data()), 32}));
}

TEST(Digests, KeptUpByChangesTheyEqualThoseOfTheRowsReadAnew) {
  EXPECT_TRUE(rc::check([] {
    MemoryRows rows;
    Digests kept;
    for (const int number : *rc::gen::container<std::vector<int>>(rc::gen::inRange(0, 60))) {
      const std::string key = number % 5 == 0
                                  ? std::string("\0own", 4)
                                  : RowKey(number % 2 == 0 ? "a" : "b", std::to_string(number % 7));
      const auto value = number % 3 == 0 ? std::nullopt : std::optional(std::to_string(number));
      kept.Apply({key, rows.Get(key), value});
      rows.Set(key, value);
      RC_ASSERT(kept == Digests::Of(rows));
    }
    const auto decoded = Digests::Decode(kept.Encode());
    RC_ASSERT(decoded.ok());
    RC_ASSERT(*decoded == kept);
    RC_ASSERT(decoded->Total() == kept.Total());
    RC_ASSERT(!kept.tables().contains(""));
  }));
}

TEST(Digests, TheTotalTellsInWhichTableARowIs) {
  Digests a;
  a.Apply({RowKey("a", "1"), std::nullopt, "v"});
  Digests b;
  b.Apply({RowKey("b", "1"), std::nullopt, "v"});
  EXPECT_NE(a.Total().ToHex(), b.Total().ToHex());
  EXPECT_EQ(a.tables().size(), 1u);
  a.Apply({RowKey("a", "1"), "v", std::nullopt});
  EXPECT_TRUE(a.tables().empty()) << "a table without rows is no table";
}

TEST(Digests, CutShortTheyAreNotDecoded) {
  Digests digests;
  digests.Apply({RowKey("items", "1"), std::nullopt, "v"});
  const std::string bytes = digests.Encode();
  for (size_t size = 1; size < bytes.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(Digests::Decode(bytes.substr(0, size)).status())) << size;
  }
}

}  // namespace
}  // namespace concordat::storage
