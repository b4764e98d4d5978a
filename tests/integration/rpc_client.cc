// Calls of the services by name, with JSON in and out, for the integration tests.
//
//   rpc_client call ADDRESS METHOD JSON...
//   rpc_client load ADDRESS METHOD TEMPLATE FILE THREADS [NUMBER...]
//
// `call` writes a line of JSON for each answer, and ends with the first call that fails.
//
// `load` sends commands made from TEMPLATE, in which {n} is the command's number, with the request
// id `load-{n}`: the numbers 0, 1, … until SIGTERM, or those that are given. For each it writes a
// line to FILE: `NUMBER ok|refused|unknown SEQUENCE LINK REPEATED`. Law: a line is written only
// after its answer.
#include <absl/synchronization/mutex.h>
#include <absl/time/clock.h>
#include <google/protobuf/util/json_util.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "services/cli/catalogue.h"
#include "services/cli/client.h"
#include "services/cli/verify.h"

namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using google::protobuf::MethodDescriptor;

constexpr absl::Duration kTimeout = absl::Seconds(20);

volatile std::sig_atomic_t stopped = 0;

[[noreturn]] void Fail(const std::string& message) {
  std::fprintf(stderr, "rpc_client: %s\n", message.c_str());
  std::exit(2);
}

std::unique_ptr<Message> New(const google::protobuf::Descriptor* type) {
  return std::unique_ptr<Message>(MessageFactory::generated_factory()->GetPrototype(type)->New());
}

std::unique_ptr<Message> Parse(const google::protobuf::Descriptor* type, const std::string& json) {
  std::unique_ptr<Message> message = New(type);
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, message.get());
  if (!parsed.ok())
    Fail(json + " is no " + type->full_name() + ": " + std::string(parsed.message()));
  return message;
}

const MethodDescriptor* Find(std::string method) {
  concordat::node::v1::VerifyRequest::descriptor();  // keeps the messages of every service linked
                                                     // in
  concordat::cli::RequestOf(concordat::cli::Verbs().front());
  method[method.find('/')] = '.';
  const MethodDescriptor* found = DescriptorPool::generated_pool()->FindMethodByName(method);
  if (found == nullptr) Fail("found no method " + method);
  return found;
}

int Call(const std::string& address, const std::string& method,
         const std::vector<std::string>& requests) {
  const MethodDescriptor* found = Find(method);
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  concordat::cli::Client client;
  for (const std::string& json : requests) {
    const auto request = Parse(found->input_type(), json);
    const auto response = New(found->output_type());
    const absl::Status status = client.Call(
        address, "/" + method, {.actor = "tester", .timeout = kTimeout}, *request, *response);
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      return 1;
    }
    std::string text;
    if (!google::protobuf::util::MessageToJsonString(*response, &text, options).ok())
      Fail("the answer is no JSON");
    std::printf("%s\n", text.c_str());
  }
  return 0;
}

class Load {
 public:
  Load(std::string address, const std::string& method, std::string request, const std::string& file,
       std::vector<uint64_t> numbers)
      : address_(std::move(address)),
        path_("/" + method),
        template_(std::move(request)),
        type_(Find(method)->input_type()),
        numbers_(std::move(numbers)),
        file_(std::fopen(file.c_str(), "a")) {
    if (file_ == nullptr) Fail("cannot write " + file);
  }

  int Run(int threads) {
    std::vector<std::thread> running;
    for (int i = 0; i < threads; ++i) running.emplace_back([this] { Send(); });
    for (std::thread& thread : running) thread.join();
    return std::fclose(file_) == 0 ? 0 : 1;
  }

 private:
  void Send() {
    concordat::cli::Client client;
    while (!stopped) {
      const size_t turn = next_++;
      if (!numbers_.empty() && turn >= numbers_.size()) return;
      SendOne(client, numbers_.empty() ? turn : numbers_[turn]);
    }
  }

  void SendOne(concordat::cli::Client& client, uint64_t number) {
    const std::string digits = std::to_string(number);
    std::string json = template_;
    for (size_t at; (at = json.find("{n}")) != std::string::npos;) json.replace(at, 3, digits);
    const auto request = Parse(type_, json);
    concordat::type::v1::Submit submit;
    submit.set_request_id("load-" + digits);
    const auto* field = type_->FindFieldByName("submit");
    request->GetReflection()->MutableMessage(request.get(), field)->CopyFrom(submit);
    concordat::type::v1::Outcome outcome;
    std::optional<concordat::type::v1::Outcome> refusal;
    const absl::Status status = client.Call(
        address_, path_, {.actor = "tester", .timeout = kTimeout}, *request, outcome, &refusal);
    const char* what = status.ok() ? "ok" : refusal ? "refused" : "unknown";
    if (refusal) outcome = *refusal;
    absl::MutexLock lock(&mutex_);
    std::fprintf(file_, "%s %s %llu %s %d %s\n", digits.c_str(), what,
                 static_cast<unsigned long long>(outcome.sequence()),
                 outcome.link().empty() ? "-" : outcome.link().c_str(), outcome.repeated() ? 1 : 0,
                 status.ok() ? "" : absl::StatusCodeToString(status.code()).c_str());
    std::fflush(file_);
  }

  const std::string address_;
  const std::string path_;
  const std::string template_;
  const google::protobuf::Descriptor* type_;
  const std::vector<uint64_t> numbers_;
  std::atomic<size_t> next_ = 0;
  absl::Mutex mutex_;
  std::FILE* file_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "call" && argc >= 5) return Call(argv[2], argv[3], {argv + 4, argv + argc});
  if (mode == "load" && argc >= 7) {
    std::signal(SIGTERM, [](int) { stopped = 1; });
    std::vector<uint64_t> numbers;
    for (int i = 7; i < argc; ++i) numbers.push_back(std::strtoull(argv[i], nullptr, 10));
    return Load(argv[2], argv[3], argv[4], argv[5], std::move(numbers)).Run(std::atoi(argv[6]));
  }
  Fail(
      "usage: rpc_client call ADDRESS METHOD JSON | rpc_client load ADDRESS METHOD TEMPLATE FILE "
      "THREADS [NUMBER...]");
}
