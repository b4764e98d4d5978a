// What people write: rule files, manifests, the configuration of `concordat` and of `concordatd`,
// and values as they are typed. Any text is refused with a message, or understood.
//
// The first byte says what the rest is.
#include <google/protobuf/util/json_util.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "concordat/compliance/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"
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

}  // namespace
}  // namespace concordat

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat;
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
    default:
      break;
  }
  return 0;
}
