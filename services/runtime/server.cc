#include "services/runtime/server.h"

#include <absl/time/clock.h>
#include <fmt/format.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <system_error>
#include <thread>
#include <utility>

namespace concordat::runtime {
namespace {

using google::protobuf::Message;

grpc::Status ToGrpc(const absl::Status& status) {
  // Abseil's codes are gRPC's.
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

// What tells of an error travels in trailers, of which clients take 8 KiB; a byte of it may take
// three there, and the event has all of it.
std::string Shortened(std::string text) {
  constexpr size_t kMost = 1000;
  if (text.size() <= kMost) return text;
  size_t end = kMost;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "... (the event has the rest)";
}

grpc::ByteBuffer BufferOf(const Message& message) {
  const std::string bytes = message.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

absl::StatusOr<MessagePtr> MessageOf(const grpc::ByteBuffer& buffer,
                                     const google::protobuf::Descriptor* type) {
  std::vector<grpc::Slice> slices;
  MessagePtr message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return absl::InvalidArgumentError("the request cannot be read");
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  if (!message->ParseFromString(bytes)) {
    return absl::InvalidArgumentError(fmt::format("the request is not a {}", type->full_name()));
  }
  const absl::Status known = CheckKnown(*message);
  if (!known.ok()) return known;
  return message;
}

std::string Metadata(const grpc::GenericCallbackServerContext& context, const char* name) {
  const auto found = context.client_metadata().find(name);
  return found == context.client_metadata().end()
             ? std::string()
             : std::string(found->second.data(), found->second.size());
}

// One call: reads one request, then answers once or streams.
class Reactor final : public grpc::ServerGenericBidiReactor {
 public:
  Reactor(grpc::GenericCallbackServerContext* context, const Server* server)
      : context_(context), server_(server) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    const Server::Method* method = server_->Find(context_->method());
    if (method == nullptr) {
      Finish({grpc::StatusCode::UNIMPLEMENTED,
              fmt::format("this process has no method {}; ask the process that runs its service",
                          context_->method())});
      return;
    }
    absl::StatusOr<MessagePtr> request =
        ok ? MessageOf(request_, method->request)
           : absl::InvalidArgumentError("the call holds no request");
    if (!request.ok()) {
      Finish(ToGrpc(request.status()));
      return;
    }
    call_.actor = Metadata(*context_, "concordat-actor");
    if (call_.actor.empty()) call_.actor = "anonymous";
    call_.correlation_id = Metadata(*context_, "concordat-correlation-id");
    const auto deadline = context_->deadline();
    if (deadline != std::chrono::system_clock::time_point::max())
      call_.deadline = absl::FromChrono(deadline);
    call_.cancelled = [this] { return cancelled_.load(); };
    if (method->unary) {
      method->unary(call_, *std::move(request), [this](Reply reply) { Answer(std::move(reply)); });
    } else if (method->blocking) {
      OnThread([this, method, request = *std::move(request)] {
        Answer(method->blocking(call_, *request));
      });
    } else {
      // Nothing of this object is touched after Finish(), for gRPC deletes it then.
      OnThread([this, method, request = *std::move(request)] {
        const absl::Status status =
            method->stream(call_, *request, [this](const Message& m) { return WriteAndWait(m); });
        Finish(ToGrpc(status));
      });
    }
  }

  void OnWriteDone(bool ok) override {
    if (answered_) return;
    absl::MutexLock lock(&mutex_);
    written_ = true;
    write_ok_ = ok;
  }

  void OnCancel() override { cancelled_ = true; }

  void OnDone() override { delete this; }

 private:
  // A call that were never finished would hang, and the server could not stop.
  template <typename Body>
  void OnThread(Body body) {
    try {
      std::thread(std::move(body)).detach();
    } catch (const std::system_error& error) {
      Finish({grpc::StatusCode::RESOURCE_EXHAUSTED,
              fmt::format("the machine gives no thread for this question ({}); ask again later",
                          error.what())});
    }
  }

  void Answer(Reply reply) {
    if (!reply.status.ok()) {
      if (!reply.outcome.reason().empty()) {
        reply.outcome.set_detail(Shortened(reply.outcome.detail()));
        context_->AddTrailingMetadata("concordat-outcome-bin", reply.outcome.SerializeAsString());
      }
      Finish(ToGrpc(
          absl::Status(reply.status.code(), Shortened(std::string(reply.status.message())))));
      return;
    }
    answered_ = true;
    response_ = BufferOf(*reply.message);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  bool WriteAndWait(const Message& message) {
    if (cancelled_) return false;
    response_ = BufferOf(message);
    {
      absl::MutexLock lock(&mutex_);
      written_ = false;
    }
    StartWrite(&response_);
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&written_));
    return write_ok_ && !cancelled_;
  }

  grpc::GenericCallbackServerContext* context_;
  const Server* server_;
  Call call_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<bool> answered_ = false;
  absl::Mutex mutex_;
  bool written_ ABSL_GUARDED_BY(mutex_) = false;
  bool write_ok_ ABSL_GUARDED_BY(mutex_) = false;
};

class GenericService final : public grpc::CallbackGenericService {
 public:
  explicit GenericService(const Server* server) : server_(server) {}
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new Reactor(context, server_);
  }

 private:
  const Server* server_;
};

}  // namespace

Server::Server() : service_(std::make_unique<GenericService>(this)) {}

Server::~Server() { Stop(); }

void Server::AddUnary(const std::string& method, const google::protobuf::Descriptor* request,
                      UnaryHandler handler) {
  methods_[method] = {request, std::move(handler), nullptr, nullptr};
}

void Server::AddBlocking(const std::string& method, const google::protobuf::Descriptor* request,
                         BlockingHandler handler) {
  methods_[method] = {request, nullptr, std::move(handler), nullptr};
}

void Server::AddStream(const std::string& method, const google::protobuf::Descriptor* request,
                       StreamHandler handler) {
  methods_[method] = {request, nullptr, nullptr, std::move(handler)};
}

const Server::Method* Server::Find(const std::string& name) const {
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : &found->second;
}

absl::StatusOr<int> Server::Start(const std::string& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  // Two processes must not share an address by accident.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(service_.get());
  builder.SetMaxReceiveMessageSize(4 << 20);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(
        fmt::format("cannot listen on {}: is another process there? Choose another grpc "
                    "address in the configuration",
                    address));
  }
  return port;
}

void Server::SetServing(bool serving) {
  if (server_ != nullptr && server_->GetHealthCheckService() != nullptr) {
    server_->GetHealthCheckService()->SetServingStatus(serving);
  }
}

void Server::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(3));
  server_->Wait();
  server_.reset();
}

absl::Status StatusOfRefusal(const type::v1::Outcome& outcome) {
  const std::string text = fmt::format("{}: {}", outcome.reason(), outcome.detail());
  if (outcome.reason() == "REASON_NOT_FOUND") return absl::NotFoundError(text);
  if (outcome.reason() == "REASON_ALREADY_EXISTS") return absl::AlreadyExistsError(text);
  return absl::FailedPreconditionError(text);
}

}  // namespace concordat::runtime
