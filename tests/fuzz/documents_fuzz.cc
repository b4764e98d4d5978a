// What people write: rule files, manifests, the configuration of `concordat` and of `concordatd`,
// values as they are typed, and whole commands. Any text is refused with a message, or understood.
//
// The first byte says what the rest is.
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/util/json_util.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>

#include "concordat/compliance/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"
#include "services/cli/cli.h"
#include "services/cli/config.h"
#include "services/cli/request.h"
#include "services/cli/values.h"
#include "services/cli/yaml.h"
#include "services/compliance/service.h"
#include "services/node/config.h"
#include "services/runtime/yaml.h"
#include "tests/fuzz/expect.h"

namespace concordat {
namespace {

// What JsonOfYaml() takes is JSON, and JSON is YAML: it is taken again, and is the same then.
void ReadYaml(const std::string& text) {
  const auto json = runtime::JsonOfYaml(text);
  if (!json.ok()) {
    FUZZ_EXPECT(!json.status().message().empty());
    return;
  }
  const auto again = runtime::JsonOfYaml(*json);
  FUZZ_EXPECT(again.ok());
  FUZZ_EXPECT(*again == *json);
  cli::YamlOfJson(*json);
}

void ReadRule(const std::string& text) {
  for (const std::string& document : cli::Documents(text)) {
    compliance::v1::Command command;
    if (!cli::MergeDocument(document, *command.mutable_adopt_rule()).ok()) continue;
    compliance::Service::Validate(command).IgnoreError();
  }
}

void ReadManifest(const std::string& text) {
  for (const std::string& document : cli::Documents(text)) {
    reservations::v1::Command command;
    cli::MergeDocument(document, *command.mutable_reserve()).IgnoreError();
  }
}

void ReadValue(const std::string& text) {
  const cli::Clock clock = [] { return absl::FromUnixSeconds(1'800'000'000); };
  if (const auto time = cli::ParseTime(text, clock); time.ok()) {
    FUZZ_EXPECT(cli::ParseTime(cli::TimeText(*time), clock).ok());
  }
  if (const auto duration = cli::ParseDuration(text); duration.ok()) {
    FUZZ_EXPECT(*duration >= absl::ZeroDuration());
  }
  if (const auto watts = cli::ParseWatts(text); watts.ok()) {
    FUZZ_EXPECT(!cli::FormatWatts(*watts).empty());
  }
  cli::ParseFigure(text).IgnoreError();
  cli::ParseCriterion(text).IgnoreError();
  cli::ParseEnum(*google::protobuf::GetEnumDescriptor<reservations::v1::Purpose>(), text)
      .IgnoreError();
}

// Whether a word, or what stands behind `-f` or an equals sign in it, is a file of this machine.
bool NamesFile(const std::string& word) {
  std::error_code error;
  for (const size_t from : {size_t{0}, size_t{2}, word.find('=') + 1}) {
    if (from < word.size() && std::filesystem::exists(word.substr(from), error)) return true;
  }
  return false;
}

// A command as it is typed, one word a line, and after a line `<` what comes by its input. It goes
// from words to requests; the server that it would send them to is a port at which nobody listens.
void RunCommand(const std::string& text) {
  static const bool quiet = [] {
    // No configuration, and no lines of gRPC's own.
    setenv("CONCORDAT_CONFIG", "/nonexistent/config.yaml", 1);
    setenv("GRPC_VERBOSITY", "NONE", 1);
    return true;
  }();
  static_cast<void>(quiet);
  std::istringstream lines(text);
  std::vector<std::string> arguments;
  for (std::string word; std::getline(lines, word) && word != "<";) {
    // Files are no input of this target, and waiting is no work.
    if (word.starts_with("--config") || word.starts_with("--wait") || NamesFile(word)) continue;
    arguments.push_back(word);
  }
  std::string input(std::istreambuf_iterator<char>(lines), {});
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  if (arguments.empty() || arguments[0] != "__complete") {
    // Given a second time they are an error, so nobody else is ever asked.
    const std::vector<std::string> nobody = {"--server", "127.0.0.1:1", "--site",
                                             "paris",    "--timeout",   "1ms"};
    arguments.insert(arguments.begin(), nobody.begin(), nobody.end());
  }
  const cli::Exit exit = cli::Run(arguments, {.in = in, .out = out, .err = err});
  // Every failure ends with the command to try.
  if (exit != cli::Exit::kOk) FUZZ_EXPECT(err.str().find("\ntry: concordat ") != std::string::npos);
}

}  // namespace
}  // namespace concordat

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat;
  google::protobuf::SetLogHandler(nullptr);
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0]) {
    case 'y':
      ReadYaml(text);
      break;
    case 'r':
      ReadRule(text);
      break;
    case 'm':
      ReadManifest(text);
      break;
    case 'c':
      cli::ParseConfig(text, "config.yaml").IgnoreError();
      break;
    case 'n':
      node::ParseConfig(text).IgnoreError();
      break;
    case 'v':
      ReadValue(text);
      break;
    case 'a':
      RunCommand(text);
      break;
    default:
      break;
  }
  return 0;
}
