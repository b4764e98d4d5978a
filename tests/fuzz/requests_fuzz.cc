// What a caller may ask a whole process beside its commands: any bytes as requests of NodeService.
// They are answered, with a status that says why; and nothing stops the process.
//
// The first byte says whether the rest is one request in bytes, `N`, or several in text format,
// divided by lines of `---`. Each has its method's name in a line before it.
#include <absl/synchronization/notification.h>
#include <absl/time/clock.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "concordat/inventory/v1/api.pb.h"
#include "concordat/node/v1/api.pb.h"
#include "services/node/node_api.h"
#include "services/node/site.h"
#include "services/runtime/command_api.h"
#include "services/runtime/engine.h"
#include "services/runtime/server.h"
#include "storage/log/embedded.h"
#include "tests/fuzz/expect.h"
#include "tests/support/temp_dir.h"

namespace concordat {
namespace {

// A text with faults is no request; nobody has to hear of it.
class Silent final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

// Calls `part` with each part of a text.
template <typename F>
void EachPart(std::string_view bytes, F part) {
  constexpr std::string_view kDivider = "\n---\n";
  while (!bytes.empty()) {
    const size_t end = bytes.find(kDivider);
    part(std::string(bytes.substr(0, end)));
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + kDivider.size());
  }
}

bool ParseText(const std::string& text, google::protobuf::Message& message) {
  google::protobuf::TextFormat::Parser parser;
  Silent silent;
  parser.RecordErrorsTo(&silent);
  parser.SetRecursionLimit(50);
  // A text may hold strings that are not UTF-8; no request that comes by wire does.
  return parser.ParseFromString(text, &message) &&
         message.ParseFromString(message.SerializeAsString());
}

// A process with one site, as `concordatd` puts it together, but for its ports: the door's handlers
// are called as the server calls them. It goes on from one input to the next.
class Process {
 public:
  static Process& Only() {
    static Process process;
    return process;
  }

  // One request of the NodeService, in bytes or in text.
  void Ask(const std::string& method, const std::string& request, bool text) {
    const auto* known = server_.Find("/concordat.node.v1.NodeService/" + method);
    if (known == nullptr) return;
    runtime::MessagePtr message = New(known->request);
    if (!(text ? ParseText(request, *message) : message->ParseFromString(request))) return;
    if (!runtime::CheckKnown(*message).ok()) return;
    runtime::Call call{.actor = "alice", .correlation_id = "", .deadline = {}, .cancelled = {}};
    call.deadline = absl::Now() + absl::Milliseconds(2);
    call.cancelled = [&call] { return absl::Now() > call.deadline; };
    if (known->stream) {
      const absl::Status status = known->stream(
          call, *message, [](const google::protobuf::Message& m) { return m.IsInitialized(); });
      FUZZ_EXPECT(status.ok() || !status.message().empty());
    } else {
      Answer(*known, call, std::move(message));
    }
  }

 private:
  Process() {
    auto config = node::ParseConfig(
        "{profile: demo, log: embedded, data_dir: /nonexistent, sites: [{name: paris}]}");
    FUZZ_EXPECT(config.ok());
    config_ = *std::move(config);
    config_.data_dir = folder_ / "data";
    auto log = storage::EmbeddedLog::Open(folder_ / "log");
    FUZZ_EXPECT(log.ok());
    log_ = *std::move(log);
    auto site = node::Site::Open(config_, "paris", *log_, clock_);
    FUZZ_EXPECT(site.ok());
    site_ = *std::move(site);
    site_->Run();
    FUZZ_EXPECT(site_->WaitUntilWriting(absl::Seconds(60)).ok());
    node::AddNodeService(server_, {&config_, site_.get(), {}, &clock_});
    // Something to ask for.
    node::Folded& inventory = *site_->Home("inventory");
    runtime::Server commands;
    runtime::AddCommands(commands, *inventory.engine, *inventory.writer,
                         [](const std::string&, const std::string&, absl::Duration) {});
    const auto* open = commands.Find("/concordat.inventory.v1.InventoryService/OpenSite");
    FUZZ_EXPECT(open != nullptr);
    runtime::MessagePtr request = New(open->request);
    FUZZ_EXPECT(ParseText(
        R"(submit { request_id: "1" } name: "sites/paris" country: "FR" time_zone: "Europe/Paris")",
        *request));
    const runtime::Call call{
        .actor = "alice", .correlation_id = "", .cancelled = [] { return false; }};
    FUZZ_EXPECT(Answer(*open, call, std::move(request)));
  }
  ~Process() { site_->Stop(); }

  static runtime::MessagePtr New(const google::protobuf::Descriptor* type) {
    return runtime::MessagePtr(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  }

  // Waits for the answer; whether it is no error.
  static bool Answer(const runtime::Server::Method& method, const runtime::Call& call,
                     runtime::MessagePtr request) {
    std::optional<runtime::Reply> answer;
    if (method.blocking) {
      answer = method.blocking(call, *request);
    } else {
      absl::Notification answered;
      method.unary(call, std::move(request), [&](runtime::Reply reply) {
        answer = std::move(reply);
        answered.Notify();
      });
      answered.WaitForNotification();
    }
    const absl::Status& status = answer->status;
    FUZZ_EXPECT(status.ok() || !status.message().empty());
    FUZZ_EXPECT(!absl::IsInternal(status) && !absl::IsUnknown(status));
    if (status.ok())
      FUZZ_EXPECT(New(answer->message->GetDescriptor())
                      ->ParseFromString(answer->message->SerializeAsString()));
    return status.ok();
  }

  test::TempDir folder_;
  node::Config config_;
  runtime::ManualClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  std::unique_ptr<storage::Log> log_;
  std::unique_ptr<node::Site> site_;
  runtime::Server server_;
};

}  // namespace
}  // namespace concordat

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat;
  google::protobuf::SetLogHandler(nullptr);
  spdlog::set_level(spdlog::level::off);
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool text = data[0] != 'N';
  const auto ask = [text](const std::string& part) {
    const size_t line = std::min(part.find('\n'), part.size());
    Process::Only().Ask(part.substr(0, line), part.substr(std::min(line + 1, part.size())), text);
  };
  text ? EachPart(bytes, ask) : ask(std::string(bytes));
  return 0;
}
