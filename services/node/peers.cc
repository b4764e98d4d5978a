#include "services/node/peers.h"

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "concordat/node/v1/api.pb.h"
#include "services/runtime/attest.h"

namespace concordat::node {
namespace {

namespace v1 = ::concordat::node::v1;

constexpr absl::Duration kPeerPatience = absl::Seconds(2);
constexpr absl::Duration kRemotePatience = absl::Seconds(5);
// A request's answer stays below gRPC's limit of 4 MiB.
constexpr size_t kMaxBytes = 2 << 20;

class RemotePeer final : public runtime::Peer {
 public:
  RemotePeer(std::string site, std::string address)
      : name_(fmt::format("{} at {}", site, address)),
        channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {}

  std::string name() const override { return name_; }
  bool required() const override { return true; }

  absl::StatusOr<events::Head> HeadOf(const std::string& stream) override {
    v1::ReadRecordsRequest request;
    request.set_stream(stream);
    const auto response = Ask(request);
    if (!response.ok()) return response.status();
    events::Head head;
    head.sequence = response->head_sequence();
    const auto link = events::Link::FromHex(response->head_link());
    if (!link) return absl::UnavailableError("its answer holds no link");
    head.link = *link;
    return head;
  }

  absl::StatusOr<std::vector<events::Record>> Records(const std::string& stream, uint64_t from,
                                                      size_t limit) override {
    v1::ReadRecordsRequest request;
    request.set_stream(stream);
    request.set_from_sequence(from);
    request.set_limit(static_cast<int32_t>(limit));
    const auto response = Ask(request);
    if (!response.ok()) return response.status();
    std::vector<events::Record> records;
    for (const v1::RawRecord& raw : response->records()) {
      events::Record& record = records.emplace_back();
      record.key = raw.key();
      for (const v1::RawHeader& header : raw.headers())
        record.headers.Add(header.name(), header.value());
      record.data = raw.data();
    }
    return records;
  }

 private:
  absl::StatusOr<v1::ReadRecordsResponse> Ask(const v1::ReadRecordsRequest& request) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kRemotePatience));
    grpc::CompletionQueue queue;
    const grpc::Slice slice(request.SerializeAsString());
    auto call = stub.PrepareUnaryCall(&context, "/concordat.node.v1.NodeService/ReadRecords",
                                      grpc::ByteBuffer(&slice, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool done = false;
    queue.Next(&tag, &done);
    if (!status.ok()) return absl::UnavailableError(status.error_message());
    grpc::Slice bytes;
    v1::ReadRecordsResponse response;
    if (!answer.DumpToSingleSlice(&bytes).ok() ||
        !response.ParseFromArray(bytes.begin(), static_cast<int>(bytes.size())))
      return absl::UnavailableError("its answer cannot be read");
    return response;
  }

  const std::string name_;
  const std::shared_ptr<grpc::Channel> channel_;
};

class AttestedPeer final : public runtime::Peer {
 public:
  AttestedPeer(const std::string& peers_stream, const storage::Projection& replica)
      : name_("an attestation in " + peers_stream), replica_(replica) {}

  std::string name() const override { return name_; }
  bool required() const override { return false; }
  absl::StatusOr<events::Head> HeadOf(const std::string& stream) override {
    return runtime::AttestedHead(*replica_.View(), stream).value_or(events::Head());
  }
  absl::StatusOr<std::vector<events::Record>> Records(const std::string&, uint64_t,
                                                      size_t) override {
    return absl::UnimplementedError("an attestation holds no records");
  }

 private:
  const std::string name_;
  const storage::Projection& replica_;
};

}  // namespace

absl::StatusOr<events::Head> ArchivePeer::HeadOf(const std::string& stream) {
  // Of a site that has just started, the archive may not have read yet what its log holds.
  int64_t end = 0;
  if (log_ != nullptr) {
    const auto found = log_->NewReader()->End(stream);
    if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
    if (found.ok()) end = *found;
  }
  for (const absl::Time deadline = absl::Now() + kPeerPatience;;) {
    const auto chain = archive_.ChainOf(stream, events::Chain::Origin::kMirrored);
    if (!chain.ok()) return chain.status();
    if (chain->next_offset() >= end) return chain->head();
    if (absl::Now() > deadline) {
      return absl::UnavailableError(fmt::format(
          "it has archived {} of {} records of its copy so far", chain->next_offset(), end));
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
}

absl::StatusOr<std::vector<events::Record>> ArchivePeer::Records(const std::string& stream,
                                                                 uint64_t from, size_t limit) {
  std::vector<events::Record> records;
  for (size_t bytes = 0; records.size() < limit && bytes < kMaxBytes; ++from) {
    auto record = archive_.RecordAt(stream, from);
    if (!record.ok()) return record.status();
    if (!record->has_value()) break;
    records.push_back(**std::move(record));
    bytes += records.back().data.size() + 1000;
  }
  return records;
}

std::unique_ptr<runtime::Peer> NewRemotePeer(std::string site, std::string address) {
  return std::make_unique<RemotePeer>(std::move(site), std::move(address));
}

std::unique_ptr<runtime::Peer> NewAttestedPeer(const std::string& peers_stream,
                                               const storage::Projection& replica) {
  return std::make_unique<AttestedPeer>(peers_stream, replica);
}

}  // namespace concordat::node
