// Calls by name: any unary or streaming method of any service, with messages found by descriptor.
// Law: a command that was not answered in time is of unknown outcome, and only its request id makes
// it safe to send again.
#pragma once

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <google/protobuf/message.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "concordat/type/v1/command.pb.h"

namespace concordat::cli {

// What every call brings along.
struct CallOptions {
  std::string actor;       // metadata `concordat-actor`; empty: none
  absl::Duration timeout;  // over all attempts; infinite: none
};

// Not thread-safe: one command is one thread.
class Client {
 public:
  // Calls `/package.Service/Method`. UNAVAILABLE and RESOURCE_EXHAUSTED are tried three times in
  // all, which is safe: requests carry an id. `refusal` gets the outcome that came with an error,
  // if any did.
  absl::Status Call(const std::string& address, const std::string& method,
                    const CallOptions& options, const google::protobuf::Message& request,
                    google::protobuf::Message& response,
                    std::optional<type::v1::Outcome>* refusal = nullptr);

  // Calls a server-streaming method; `response` is overwritten for each message, and `next` says
  // whether to go on.
  absl::Status Stream(const std::string& address, const std::string& method,
                      const CallOptions& options, const google::protobuf::Message& request,
                      google::protobuf::Message& response, const std::function<bool()>& next);

 private:
  const std::shared_ptr<grpc::Channel>& ChannelTo(const std::string& address);
  absl::Status CallOnce(const std::string& address, const std::string& method,
                        const CallOptions& options, absl::Time deadline,
                        const grpc::ByteBuffer& request, google::protobuf::Message& response,
                        std::optional<type::v1::Outcome>* refusal);

  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

}  // namespace concordat::cli
