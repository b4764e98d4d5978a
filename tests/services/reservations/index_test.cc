#include "services/reservations/index.h"

#include "tests/services/reservations/paris.h"

namespace concordat::reservations {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

absl::Time At(int hour) { return absl::UnixEpoch() + absl::Hours(hour); }

// A change that keeps what it says.
struct Kept {
  std::string key;
  std::optional<std::string> before;
  std::optional<std::string> after;
  operator storage::Change() const { return {key, before, after}; }  // NOLINT: as good as one
};

Kept Put(const std::string& name, const std::string& text, std::optional<std::string> before = {}) {
  return {storage::RowKey("reservations", name), std::move(before),
          test::Parse<v1::Reservation>(text).SerializeAsString()};
}
Kept PutServer(const std::string& name, const std::string& text) {
  return {storage::RowKey("server_records", name),
          {},
          test::Parse<v1::ServerRecord>(text).SerializeAsString()};
}

constexpr char kServer[] = R"(server { model: "m" bookable: true it_power_watts: 5 })";
std::string Reserved(const char* state, int start_hour, int end_hour, const char* server = "s1") {
  return fmt::format(
      R"(name: "r" state: RESERVATION_STATE_{} servers: "{}" it_power_watts: 5 cooling_watts: 4
    terms {{ contract: "c" count: 1 start_time {{ seconds: {} }} end_time {{ seconds: {} }} }})",
      state, server, start_hour * 3600, end_hour * 3600);
}

TEST(Index, IsTheSameInWhateverOrderRowsCome) {
  Index a, b;
  a.Apply(PutServer("s1", kServer));
  a.Apply(Put("r", Reserved("HELD", 1, 2)));
  b.Apply(Put("r", Reserved("HELD", 1, 2)));
  b.Apply(PutServer("s1", kServer));
  EXPECT_TRUE(a == b);
  b.Apply(Put("q", Reserved("HELD", 3, 4)));
  EXPECT_FALSE(a == b) << "equality would prove nothing";
}

TEST(Index, ForgetsWhatIsUndone) {
  Index index, empty;
  Kept server = PutServer("s1", R"(server { bookable: true })");
  Kept held = Put("r", Reserved("ENDING", 1, 2));
  index.Apply(held);
  index.Apply(server);
  std::swap(server.before, server.after);
  std::swap(held.before, held.after);
  index.Apply(server);
  index.Apply(held);
  EXPECT_TRUE(index == empty);
}

TEST(Index, TakesALateReservationAsWithoutEnd) {
  Index index;
  index.Apply(PutServer("s1", kServer));
  index.Apply(Put("r", Reserved("ACTIVE", 1, 2)));
  EXPECT_THAT(index.FindFree("m", {At(2), At(3)}, At(1), 9), ElementsAre("s1"));
  EXPECT_THAT(index.FindFree("m", {At(2), At(3)}, At(2), 9), IsEmpty()) << "its end has passed";
  EXPECT_EQ(index.Peak({At(2), At(3)}, At(1)), (Watts{0, 0}));
  EXPECT_EQ(index.Peak({At(2), At(3)}, At(2)), (Watts{5, 4}));
  EXPECT_EQ(index.running(), (Watts{5, 4}));
  EXPECT_EQ(index.ContractPeak("c", {At(2), At(3)}), 0)
      << "that a removal is late is not the customer's";
}

TEST(Index, TakesAnEndingReservationAsWithoutEndEvenBeforeItsEnd) {
  Index index;
  index.Apply(PutServer("s1", kServer));
  index.Apply(Put("r", Reserved("ENDING", 1, 2)));
  EXPECT_THAT(index.FindFree("m", {At(2), At(3)}, At(1), 9), IsEmpty());
  EXPECT_EQ(index.Peak({At(2), At(3)}, At(1)), (Watts{5, 4}));
}

TEST(Index, IgnoresRowsOfOtherTables) {
  Index index, empty;
  index.Apply({storage::RowKey("deadlines", "x"), {}, "not a message \xff"});
  index.Apply({storage::RowKey("orders", "x"), {}, ""});
  EXPECT_TRUE(index == empty);
}

TEST(Timeline, CountsWhatOverlapsAndNotWhatTouches) {
  Timeline<int64_t> timeline;
  timeline.Add({At(1), At(2)}, 5);
  timeline.Add({At(2), At(3)}, 7);
  EXPECT_EQ(timeline.Peak({At(1), At(2)}), 5);
  EXPECT_EQ(timeline.Peak({At(2), At(3)}), 7);
  EXPECT_EQ(timeline.Peak({At(1), At(3)}), 7);
  EXPECT_EQ(timeline.Peak({At(0), At(1)}), 0);
  EXPECT_EQ(timeline.Peak({At(3), At(9)}), 0);
  timeline.Add({At(2), absl::InfiniteFuture()}, 1);
  EXPECT_EQ(timeline.Peak({At(8), At(9)}), 1);
  timeline.Add({At(2), absl::InfiniteFuture()}, -1);
  timeline.Add({At(1), At(2)}, -5);
  timeline.Add({At(2), At(3)}, -7);
  EXPECT_TRUE(timeline.empty());
}

}  // namespace
}  // namespace concordat::reservations
