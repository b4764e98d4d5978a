#include "services/cli/client.h"

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>

#include <algorithm>

namespace concordat::cli {
namespace {

constexpr int kAttempts = 3;
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr char kOutcomeKey[] = "concordat-outcome-bin";

grpc::ByteBuffer ToBuffer(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

bool FromBuffer(const grpc::ByteBuffer& buffer, google::protobuf::Message& message) {
  grpc::Slice slice;
  if (!buffer.DumpToSingleSlice(&slice).ok()) return false;
  return message.ParseFromArray(slice.begin(), static_cast<int>(slice.size()));
}

// gRPC's codes are Abseil's codes.
absl::Status ToStatus(const grpc::Status& status, const std::string& address) {
  if (status.ok()) return absl::OkStatus();
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (code == absl::StatusCode::kUnavailable) {
    return absl::UnavailableError(
        fmt::format("no answer from {}: {}", address, status.error_message()));
  }
  return absl::Status(code, status.error_message());
}

void Prepare(grpc::ClientContext& context, const CallOptions& options, absl::Time deadline) {
  if (!options.actor.empty()) context.AddMetadata("concordat-actor", options.actor);
  if (deadline != absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
}

// One step of an asynchronous call, awaited at once.
bool Await(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  return queue.Next(&tag, &ok) && ok;
}

bool MayRetry(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable ||
         status.code() == absl::StatusCode::kResourceExhausted;
}

}  // namespace

const std::shared_ptr<grpc::Channel>& Client::ChannelTo(const std::string& address) {
  auto& channel = channels_[address];
  if (channel == nullptr)
    channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  return channel;
}

absl::Status Client::CallOnce(const std::string& address, const std::string& method,
                              const CallOptions& options, absl::Time deadline,
                              const grpc::ByteBuffer& request, google::protobuf::Message& response,
                              std::optional<type::v1::Outcome>* refusal) {
  grpc::GenericStub stub(ChannelTo(address));
  grpc::ClientContext context;
  Prepare(context, options, deadline);
  grpc::CompletionQueue queue;
  grpc::ByteBuffer answer;
  grpc::Status status;
  auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
  call->StartCall();
  call->Finish(&answer, &status, nullptr);
  Await(queue);
  if (status.ok() && !FromBuffer(answer, response)) {
    return absl::InternalError(
        fmt::format("{} answered what is no {}", address, response.GetTypeName()));
  }
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto found = trailers.find(kOutcomeKey);
  if (refusal != nullptr && found != trailers.end()) {
    type::v1::Outcome outcome;
    if (outcome.ParseFromArray(found->second.data(), static_cast<int>(found->second.size())))
      *refusal = outcome;
  }
  return ToStatus(status, address);
}

absl::Status Client::Call(const std::string& address, const std::string& method,
                          const CallOptions& options, const google::protobuf::Message& request,
                          google::protobuf::Message& response,
                          std::optional<type::v1::Outcome>* refusal) {
  const grpc::ByteBuffer bytes = ToBuffer(request);
  const absl::Time deadline = absl::Now() + options.timeout;
  absl::Duration pause = kFirstPause;
  absl::Status status;
  for (int attempt = 1; attempt <= kAttempts; ++attempt, pause *= 4) {
    status = CallOnce(address, method, options, deadline, bytes, response, refusal);
    if (!MayRetry(status) || attempt == kAttempts || absl::Now() + pause >= deadline) break;
    absl::SleepFor(pause);
  }
  return status;
}

absl::Status Client::Stream(const std::string& address, const std::string& method,
                            const CallOptions& options, const google::protobuf::Message& request,
                            google::protobuf::Message& response,
                            const std::function<bool()>& next) {
  grpc::GenericStub stub(ChannelTo(address));
  grpc::ClientContext context;
  Prepare(context, options, absl::Now() + options.timeout);
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  bool open = Await(queue);
  if (open) {
    call->WriteLast(ToBuffer(request), grpc::WriteOptions(), nullptr);
    open = Await(queue);
  }
  bool wanted = true;
  while (open && wanted) {
    grpc::ByteBuffer buffer;
    call->Read(&buffer, nullptr);
    open = Await(queue);
    if (open && !FromBuffer(buffer, response)) {
      return absl::InternalError(
          fmt::format("{} sent what is no {}", address, response.GetTypeName()));
    }
    wanted = open && next();
  }
  if (open) context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  Await(queue);
  // A stream that its reader has left is no error.
  if (open && !wanted) return absl::OkStatus();
  return ToStatus(status, address);
}

}  // namespace concordat::cli
