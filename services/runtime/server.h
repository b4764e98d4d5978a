// The gRPC door. Methods are found by name and their messages by descriptor, so that a new command
// needs no code here.
#pragma once

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/time/time.h>
#include <google/protobuf/message.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "concordat/type/v1/command.pb.h"
#include "services/runtime/engine.h"

namespace grpc {
class CallbackGenericService;
class Server;
}  // namespace grpc

namespace concordat::runtime {

// Who calls, and until when.
struct Call {
  std::string actor;           // metadata `concordat-actor`; `anonymous` where it is absent
  std::string correlation_id;  // metadata `concordat-correlation-id`; may be empty
  absl::Time deadline = absl::InfiniteFuture();
  std::function<bool()> cancelled;  // the caller is gone
};

// An error status, and the outcome that explains it where the command was refused.
struct Reply {
  absl::Status status;
  MessagePtr message;
  type::v1::Outcome outcome;
};
using ReplyCallback = absl::AnyInvocable<void(Reply)>;

// Answers one call, now or later, on any thread; it is called on one of the few that serve all
// calls, so it must not wait.
using UnaryHandler = std::function<void(const Call&, MessagePtr request, ReplyCallback reply)>;
// Answers one call, on a thread of its own: it may read and wait for as long as the caller does.
using BlockingHandler = std::function<Reply(const Call&, const google::protobuf::Message& request)>;
// Writes any number of messages, on a thread of its own; `write` is false once the caller is gone.
using StreamHandler =
    std::function<absl::Status(const Call&, const google::protobuf::Message& request,
                               const std::function<bool(const google::protobuf::Message&)>& write)>;

// Serves on one address. Handlers are added before Start().
class Server {
 public:
  Server();
  ~Server();
  Server(const Server&) = delete;

  // `method` is `/concordat.node.v1.NodeService/GetStatus`; its request is of type `request`.
  void AddUnary(const std::string& method, const google::protobuf::Descriptor* request,
                UnaryHandler handler);
  void AddBlocking(const std::string& method, const google::protobuf::Descriptor* request,
                   BlockingHandler handler);
  void AddStream(const std::string& method, const google::protobuf::Descriptor* request,
                 StreamHandler handler);

  // Listens on `address`, `127.0.0.1:0` for any free port; the port. UNAVAILABLE where it is taken.
  absl::StatusOr<int> Start(const std::string& address);
  // Health of the whole server, as grpc.health.v1 answers it: SERVING or NOT_SERVING.
  void SetServing(bool serving);
  // Ends within a few seconds: calls that are open are cancelled then.
  void Stop();

  struct Method {
    const google::protobuf::Descriptor* request;
    UnaryHandler unary;
    BlockingHandler blocking;
    StreamHandler stream;
  };
  // Nothing where there is no such method.
  const Method* Find(const std::string& name) const;

 private:
  std::map<std::string, Method> methods_;
  std::unique_ptr<grpc::CallbackGenericService> service_;
  std::unique_ptr<grpc::Server> server_;
};

// The status that a refusal has at the door: NOT_FOUND, ALREADY_EXISTS or FAILED_PRECONDITION.
absl::Status StatusOfRefusal(const type::v1::Outcome& outcome);

}  // namespace concordat::runtime
