// Random writes, commits and rollbacks against a model that copies everything.
#include "storage/projection/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <map>
#include <string>
#include <vector>

#include "storage/projection/digest.h"

namespace concordat::storage {
namespace {

using Rows = std::map<std::string, std::string>;

Rows RowsOf(const RowSource& source, std::string_view from = {}) {
  Rows rows;
  std::string last;
  source.Scan(from, [&](std::string_view key, std::string_view value) {
    EXPECT_TRUE(rows.empty() || last < key) << "rows come in the order of their keys";
    last = key;
    rows.emplace(key, value);
    return true;
  });
  return rows;
}

// Few keys, so that they meet: two tables and the runtime's own rows.
std::string KeyNumber(int number) {
  switch (number % 3) {
    case 0:
      return RowKey("items", std::string(static_cast<size_t>(number), 'k'));
    case 1:
      return RowKey("notes", std::to_string(number));
    default:
      return std::string("\0own", 4) + std::to_string(number);
  }
}

struct Step {
  int what;
  int key;
  int number;
};
void showValue(const Step& step, std::ostream& out) {
  out << step.what << "/" << step.key << "/" << step.number;
}

std::vector<Step> Steps() {
  return *rc::gen::container<std::vector<Step>>(rc::gen::construct<Step>(
      rc::gen::inRange(0, 12), rc::gen::inRange(0, 12), rc::gen::inRange(0, 100)));
}

TEST(Journal, EqualsAModelOverRandomWritesCommitsAndRollbacks) {
  EXPECT_TRUE(rc::check([] {
    MemoryRows base;
    Rows index;  // kept by the observer alone
    Digests digests;
    Journal journal(base, [&](const Change& change) {
      const auto found = index.find(std::string(change.key));
      RC_ASSERT(change.before ==
                (found == index.end() ? std::nullopt : std::optional(found->second)));
      if (change.after) {
        index[std::string(change.key)] = *change.after;
      } else {
        index.erase(std::string(change.key));
      }
    });
    std::map<uint64_t, Rows> after;  // the rows after each open sequence
    Rows committed;
    uint64_t sequence = 0;
    const auto now = [&]() -> const Rows& {
      return after.empty() ? committed : after.rbegin()->second;
    };
    const auto write = [&](const std::string& key, const std::optional<std::string>& value) {
      Rows rows = now();
      if (value) {
        rows[key] = *value;
      } else {
        rows.erase(key);
      }
      after[sequence] = std::move(rows);
    };
    for (const Step& step : Steps()) {
      const std::string key = KeyNumber(step.key);
      if (step.what < 6) {
        if (step.number % 3 == 0) ++sequence;
        journal.Begin(sequence);
        const auto value =
            step.what == 0 ? std::nullopt : std::optional(std::to_string(step.number));
        if (step.what == 5 && !now().contains(key)) {
          journal.WriteNew(key, *value);
        } else {
          journal.Write(key, value);
        }
        write(key, value);
      } else if (step.what < 8) {
        const uint64_t upto = step.number % 4 == 0
                                  ? sequence
                                  : sequence - std::min<uint64_t>(sequence, step.number % 4);
        journal.Commit(upto, [&](const Change& change) {
          RC_ASSERT(base.Get(change.key) == change.before);
          base.Set(change.key, change.after);
          digests.Apply(change);
        });
        while (!after.empty() && after.begin()->first <= upto) {
          committed = std::move(after.begin()->second);
          after.erase(after.begin());
        }
        RC_ASSERT(RowsOf(base) == committed);
        RC_ASSERT(digests == Digests::Of(base));
      } else if (step.what < 10) {
        // What is committed cannot be undone.
        const uint64_t from =
            sequence - std::min<uint64_t>(sequence, static_cast<uint64_t>(step.number % 4));
        journal.Rollback(from);
        after.erase(after.lower_bound(from), after.end());
      } else {
        const std::string from = KeyNumber(step.number);
        Rows expected(now().lower_bound(from), now().end());
        RC_ASSERT(RowsOf(journal, from) == expected);
      }
      RC_ASSERT(RowsOf(journal) == now());
      RC_ASSERT(index == now());
      const auto found = now().find(key);
      RC_ASSERT(journal.Get(key) ==
                (found == now().end() ? std::nullopt : std::optional(found->second)));
      RC_ASSERT(RowsOf(base) == committed);
      RC_ASSERT(journal.empty() || !after.empty());
    }
    journal.Rollback(0);
    RC_ASSERT(index == committed);
    RC_ASSERT(journal.empty());
  }));
}

TEST(Journal, AScanStopsWhereItIsToldTo) {
  MemoryRows base;
  for (const char* key : {"a", "c", "e"}) base.Set(key, "base");
  Journal journal(base);
  journal.Begin(1);
  journal.Write("b", "journal");
  journal.Write("d", "journal");
  journal.Write("e", std::nullopt);
  for (size_t limit = 1; limit <= 4; ++limit) {
    std::string keys;
    journal.Scan("", [&](std::string_view key, std::string_view) {
      keys += key;
      return keys.size() < limit;
    });
    EXPECT_EQ(keys, std::string("abcd").substr(0, limit));
  }
}

TEST(Journal, ACommitHoldsOneChangeForEachRow) {
  MemoryRows base;
  base.Set("row", "0");
  Journal journal(base);
  for (uint64_t sequence = 1; sequence <= 4; ++sequence) {
    journal.Begin(sequence);
    journal.Write("row", std::to_string(sequence));
  }
  int changes = 0;
  journal.Commit(3, [&](const Change& change) {
    ++changes;
    EXPECT_EQ(change.before, "0");
    EXPECT_EQ(change.after, "3");
    base.Set(change.key, change.after);
  });
  EXPECT_EQ(changes, 1);
  EXPECT_EQ(journal.Get("row"), "4");
  journal.Rollback(4);
  EXPECT_EQ(journal.Get("row"), "3");
}

TEST(JournalDeathTest, SequencesDoNotGoDown) {
  MemoryRows base;
  Journal journal(base);
  journal.Begin(2);
  journal.Write("row", "2");
  EXPECT_DEATH(journal.Begin(1), "sequence 1 after 2");
}

TEST(Rows, KeysSayTheirTableAndTheRuntimesOwnHaveNone) {
  EXPECT_EQ(TableOf(RowKey("items", "a\0b")), "items");
  EXPECT_EQ(KeyOf(RowKey("items", "ab")), "ab");
  EXPECT_EQ(TableOf(std::string("\0head", 5)), "");
}

}  // namespace
}  // namespace concordat::storage
