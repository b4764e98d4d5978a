// What a process reads back of its own, and what a peer gives it: any bytes. They may be refused,
// and nothing else may happen; what is taken can be stored and read once more.
//
// The first byte says what the rest is.
#include <google/protobuf/any.pb.h>
#include <google/protobuf/stubs/logging.h>
#include <spdlog/spdlog.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "concordat/node/v1/api.pb.h"
#include "events/chain.h"
#include "services/compliance/service.h"
#include "services/deployment/service.h"
#include "services/inventory/service.h"
#include "services/node/peers.h"
#include "services/reservations/service.h"
#include "services/runtime/attest.h"
#include "services/runtime/fold.h"
#include "services/runtime/home_check.h"
#include "services/runtime/server.h"
#include "storage/archive/archive.h"
#include "storage/projection/digest.h"
#include "storage/projection/memory_store.h"
#include "storage/projection/snapshot.h"
#include "tests/fuzz/expect.h"
#include "tests/support/temp_dir.h"

namespace concordat {
namespace {

constexpr char kStream[] = "paris.reservations.events";
constexpr char kName[] = "sites/paris/reservations/r1";

// The record that follows a chain's head.
events::Record NextOf(const events::Chain& chain) {
  events::Attributes attributes;
  attributes.source = events::SourceOf(kStream);
  attributes.type = "t";
  attributes.time = absl::UnixEpoch();
  attributes.writer = "0123456789abcdef0123456789abcdef.0";
  attributes.parent = chain.head().link;
  attributes.sequence = static_cast<uint64_t>(chain.head().sequence) + 1;
  return Seal(attributes, "");
}

void ReadChain(std::string_view bytes) {
  auto chain = events::Chain::Decode(kStream, bytes, events::Chain::Origin::kMirrored);
  if (!chain.ok()) return;
  const auto again =
      events::Chain::Decode(kStream, chain->Encode(), events::Chain::Origin::kMirrored);
  FUZZ_EXPECT(again.ok());
  FUZZ_EXPECT(again->head().link == chain->head().link);
  FUZZ_EXPECT(again->head().sequence == chain->head().sequence);
  FUZZ_EXPECT(again->next_offset() == chain->next_offset());
  FUZZ_EXPECT(again->condition() == chain->condition());
  // Whatever it says, a record can be judged.
  events::Attributes attributes;
  chain->Offer(NextOf(*chain), chain->next_offset(), &attributes);
}

void ReadDigests(std::string_view bytes) {
  const auto digests = storage::Digests::Decode(bytes);
  if (!digests.ok()) return;
  const auto again = storage::Digests::Decode(digests->Encode());
  FUZZ_EXPECT(again.ok() && *again == *digests);
  digests->Total().ToHex();
}

// A store of its own that holds these rows.
std::unique_ptr<storage::Store> Holding(storage::MemoryDisk& disk,
                                        const storage::Projection::Notes& rows) {
  auto store = disk.Open("here");
  const auto batch = (*store)->NewBatch();
  for (const auto& [key, value] : rows) batch->Put(key, value);
  FUZZ_EXPECT((*store)->Write(*batch).ok());
  return *std::move(store);
}

// A projection whose head, digests or layout are these bytes.
void OpenProjection(std::string_view bytes) {
  for (const std::string_view key :
       {std::string_view("\0head", 5), std::string_view("\0digests", 8),
        std::string_view("\0schema", 7)}) {
    storage::MemoryDisk disk;
    const auto projection =
        storage::Projection::Open(Holding(disk, {{std::string(key), std::string(bytes)}}), kStream,
                                  events::Chain::Origin::kHome, "1");
    FUZZ_EXPECT(projection.ok() || !projection.status().message().empty());
  }
}

// One row, read as the decider and as the door for queries read it. A row that is no such message
// stops the process by design, see storage/projection/table.h.
template <typename Message>
void ReadRow(storage::Journal& journal, const storage::Table<Message>& table,
             const std::string& bytes) {
  Message message;
  if (!message.ParseFromString(bytes)) return;
  journal.Write(storage::RowKey(table.name(), kName), bytes);
  const auto row = table.Get(kName);
  FUZZ_EXPECT(row && row->SerializeAsString() == message.SerializeAsString());
  google::protobuf::Any answer;
  answer.PackFrom(*row);
  Message answered;
  FUZZ_EXPECT(answer.UnpackTo(&answered));
  size_t rows = 0;
  table.Scan("sites/", [&](std::string_view key, const Message&) {
    FUZZ_EXPECT(key == kName);
    return ++rows < 2;
  });
  FUZZ_EXPECT(rows == 1);
}

// Every table of each service: one that is added does not compile here until it is named.
template <typename F>
void EachTable(inventory::Rows& rows, F read) {
  auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r] = rows;
  const auto all = [&](auto&... table) { (read(table), ...); };
  all(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r);
}
template <typename F>
void EachTable(reservations::Rows& rows, F read) {
  auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v] = rows;
  const auto all = [&](auto&... table) { (read(table), ...); };
  all(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v);
}
template <typename F>
void EachTable(compliance::Rows& rows, F read) {
  auto& [a, b, c] = rows;
  const auto all = [&](auto&... table) { (read(table), ...); };
  all(a, b, c);
}
template <typename F>
void EachTable(deployment::Rows& rows, F read) {
  auto& [a, b, c, d, e] = rows;
  const auto all = [&](auto&... table) { (read(table), ...); };
  all(a, b, c, d, e);
}

// The bytes as a row of every table of a service.
template <typename S>
void ReadTables(const std::string& bytes) {
  storage::MemoryRows base;
  storage::Journal journal(base);
  typename S::State state(journal);
  journal.Begin(1);
  EachTable(state.rows, [&](auto& table) { ReadRow(journal, table, bytes); });
}

// What the runtime keeps beside the rows: commands that were answered, those that are pending, ids
// that are to be forgotten.
void ReadFold(const std::string& bytes) {
  constexpr std::string_view kIntent("\0intent\0", 8);
  // In 2001, so that it is forgotten at the first event.
  constexpr std::string_view kExpiry(
      "\0expiry\0"
      "0000011323/00000000000000000007",
      39);
  storage::Projection::Notes rows = {
      {std::string(kIntent) + "id", bytes},
      {storage::RowKey("commands", std::string_view("alice\0old", 9)), bytes}};
  // One that cannot be read stops the process, as a row does.
  runtime::ExpiryRow expiry;
  if (expiry.ParseFromString(bytes)) rows.emplace_back(kExpiry, bytes);
  storage::MemoryDisk disk;
  auto projection =
      storage::Projection::Open(Holding(disk, rows), kStream, events::Chain::Origin::kHome, "1");
  FUZZ_EXPECT(projection.ok());
  runtime::EngineOf<reservations::Service> engine((*projection)->journal());
  runtime::Fold fold(engine, **projection, "paris");
  for (const runtime::Pending& pending : fold.StoredPending()) {
    reservations::v1::Command command;
    if (command.ParseFromString(pending.row.command()))
      reservations::Service::Validate(command).IgnoreError();
    events::Link::FromBytes(pending.row.cause_link());
  }
  if (const auto answered = fold.Find("alice", "old"))
    FUZZ_EXPECT(answered->outcome.link().size() == 64);
  reservations::v1::Event event;
  event.mutable_command_refused()->set_reason(reservations::v1::REASON_TIME);
  events::Attributes attributes;
  attributes.actor = "alice";
  attributes.command_id = "new";
  attributes.type = runtime::EventTypeOf(event);
  attributes.time = absl::FromUnixSeconds(1'800'000'000);
  fold.Evolve(&event, attributes);
  FUZZ_EXPECT(fold.Find("alice", "new"));
  FUZZ_EXPECT((*projection)->Commit(0).ok());
}

// What was attested here, what others attested, and that a state diverged.
void ReadAttested(const std::string& bytes) {
  storage::MemoryRows rows;
  rows.Set(std::string_view("\0attested", 9), bytes);
  rows.Set(std::string_view("\0diverged", 9), bytes);
  rows.Set(std::string("\0seen\0", 6) + kStream, bytes);
  const runtime::AttestOptions options{.every_events = 10, .every = absl::Hours(1), .code = "1"};
  runtime::AttestSchedule schedule(options);
  schedule.Load(rows);
  schedule.Row();
  FUZZ_EXPECT(absl::IsDataLoss(runtime::Diverged(rows)));
  runtime::AttestedHead(rows, kStream);
  events::Attributes attributes;
  attributes.type = runtime::StateAttestedType();
  const auto attested = runtime::AttestationIn(attributes, bytes);
  if (!attested) return;
  runtime::CompareState(*attested, storage::Digests(), "1").IgnoreError();
  for (const auto& [key, value] : runtime::AttestedHeadRows(*attested)) rows.Set(key, value);
  for (const auto& accepted : attested->accepted()) {
    const auto head = runtime::AttestedHead(rows, accepted.stream());
    FUZZ_EXPECT(!head || head->link.ToBytes().size() == 32);
  }
}

void ReadMark(const std::string& bytes) {
  static const test::TempDir folder;
  const std::string path = folder / "mark";
  std::ofstream(path, std::ios::trunc) << bytes;
  events::Head head;
  head.sequence = 7;
  const auto link_at = [&](int64_t) -> absl::StatusOr<events::Link> { return head.link; };
  runtime::HomeCheck check(kStream, path);
  const runtime::Standing standing = check.Compare(head, link_at);
  FUZZ_EXPECT((standing.kind == runtime::Standing::Kind::kWhole) == standing.detail.empty());
  // What is marked now holds, whatever was there.
  check.Mark(head);
  FUZZ_EXPECT(runtime::HomeCheck(kStream, path).Compare(head, link_at).kind ==
              runtime::Standing::Kind::kWhole);
}

void ReadLabel(const std::string& bytes) {
  static const test::TempDir folder;
  const std::string snapshot = folder / "snapshot";
  std::filesystem::create_directories(snapshot);
  std::ofstream(snapshot + "/SNAPSHOT", std::ios::trunc) << bytes;
  const auto found = storage::CheckSnapshot(snapshot);
  FUZZ_EXPECT(found.ok() || !found.status().message().empty());
  std::filesystem::remove_all(snapshot);
}

void ReadArchive(const std::string& bytes) {
  const std::string event = std::string("e") + kStream + std::string(9, '\0');
  storage::MemoryDisk disk;
  const auto archive = storage::Archive::Open(
      Holding(disk, {{event, bytes},
                     {std::string("h") + kStream + std::string(1, '\0'), bytes},
                     {std::string("sgood\0", 6) + "1", event},
                     {std::string("cany\0", 5) + "1", bytes},
                     {"n", bytes}}));
  FUZZ_EXPECT(archive.ok());
  (*archive)->ChainOf(kStream, events::Chain::Origin::kHome).IgnoreError();
  const auto record = (*archive)->RecordAt(kStream, 0);
  if (record.ok()) FUZZ_EXPECT(events::EncodeRecord(**record) == bytes);
  const auto found = (*archive)->At(kStream, 0);
  const auto listed = (*archive)->BySubject("good", 2);
  FUZZ_EXPECT(found.ok() == (listed.ok() && listed->size() == 1));
  (*archive)->ByCorrelation("any", 2).IgnoreError();
}

// A peer over the network, which answers with whatever it was told.
class AnsweringPeer {
 public:
  AnsweringPeer() {
    server_.AddUnary(
        "/concordat.node.v1.NodeService/ReadRecords", node::v1::ReadRecordsRequest::descriptor(),
        [this](const runtime::Call&, runtime::MessagePtr, runtime::ReplyCallback reply) {
          reply({.status = absl::OkStatus(),
                 .message = std::make_unique<node::v1::ReadRecordsResponse>(answer_),
                 .outcome = {}});
        });
    const auto port = server_.Start("127.0.0.1:0");
    FUZZ_EXPECT(port.ok());
    address_ = "127.0.0.1:" + std::to_string(*port);
  }

  const std::string& address() const { return address_; }
  void Answer(node::v1::ReadRecordsResponse answer) { answer_ = std::move(answer); }

 private:
  node::v1::ReadRecordsResponse answer_;
  std::string address_;
  runtime::Server server_;  // stopped before the answer goes
};

void ReadAnswer(const std::string& bytes) {
  node::v1::ReadRecordsResponse answer;
  // What is no such message is refused by the same parser there.
  if (!answer.ParseFromString(bytes)) return;
  static AnsweringPeer answering;
  answering.Answer(answer);
  events::Head head;
  head.sequence = 7;
  const auto link_at = [&](int64_t) -> absl::StatusOr<events::Link> { return head.link; };
  runtime::HomeCheck check(kStream, "");
  check.Add(node::NewRemotePeer("borlange", answering.address()));
  const runtime::Standing standing = check.Compare(head, link_at);
  FUZZ_EXPECT((standing.kind == runtime::Standing::Kind::kWhole) == standing.detail.empty());
  const auto records =
      node::NewRemotePeer("borlange", answering.address())->Records(kStream, 0, 100);
  if (!records.ok()) return;
  FUZZ_EXPECT(records->size() == static_cast<size_t>(answer.records_size()));
  events::Chain chain(kStream);
  for (const events::Record& record : *records) {
    const auto again = events::DecodeRecord(events::EncodeRecord(record));
    FUZZ_EXPECT(again.ok() && again->headers == record.headers && again->data == record.data);
    events::Attributes attributes;
    chain.Offer(record, chain.next_offset(), &attributes);
  }
}

}  // namespace
}  // namespace concordat

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat;
  google::protobuf::SetLogHandler(nullptr);
  spdlog::set_level(spdlog::level::off);
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'c':
      ReadChain(bytes);
      ReadDigests(bytes);
      OpenProjection(bytes);
      break;
    case 'r':
      ReadTables<inventory::Service>(bytes);
      ReadTables<reservations::Service>(bytes);
      ReadTables<compliance::Service>(bytes);
      ReadTables<deployment::Service>(bytes);
      break;
    case 'p':
      ReadFold(bytes);
      break;
    case 'a':
      ReadAttested(bytes);
      break;
    case 'm':
      ReadMark(bytes);
      break;
    case 'l':
      ReadLabel(bytes);
      break;
    case 'e':
      ReadArchive(bytes);
      break;
    case 'h':
      ReadAnswer(bytes);
      break;
    default:
      break;
  }
  return 0;
}
