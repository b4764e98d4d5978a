#include "services/node/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include "services/runtime/check.h"

namespace concordat::node {
namespace {

absl::Status Bad(std::string_view key, std::string_view found, std::string_view expected) {
  return absl::InvalidArgumentError(fmt::format("configuration: {} is {}, expected {}", key,
                                                found.empty() ? "absent" : found, expected));
}

absl::Status CheckKeys(const YAML::Node& node, const std::string& where,
                       const std::set<std::string>& known) {
  if (!node.IsMap()) return Bad(where, "not a map", "a map of settings");
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    if (!seen.insert(key).second) return Bad(key, "there twice", "it once");
    if (known.count(key) == 0) {
      return absl::InvalidArgumentError(
          fmt::format("configuration: {} has the unknown key {}, expected only {}", where, key,
                      fmt::join(known, ", ")));
    }
  }
  return absl::OkStatus();
}

// A value of the type that is expected. yaml-cpp throws where it is of another one; what is thrown
// here names the key.
struct Wrong {
  absl::Status status;
};

std::string ShownAs(const YAML::Node& node) {
  if (node.IsScalar()) return node.Scalar();
  return node.IsSequence() ? "a list" : node.IsMap() ? "a map" : "empty";
}

template <typename T>
T As(const YAML::Node& node, const char* key, const T& otherwise, std::string_view expected) {
  const YAML::Node value = node[key];
  if (!value) return otherwise;
  if (value.IsNull()) throw Wrong{Bad(key, "empty", expected)};
  try {
    return value.as<T>();
  } catch (const YAML::Exception&) {
    throw Wrong{Bad(key, ShownAs(value), expected)};
  }
}

std::string Text(const YAML::Node& node, const char* key, const std::string& otherwise = "") {
  return As<std::string>(node, key, otherwise, "a text");
}

// A whole number within bounds.
int64_t Number(const YAML::Node& node, const char* key, int64_t otherwise, int64_t least,
               int64_t most) {
  const std::string expected = fmt::format("a whole number from {} to {}", least, most);
  const auto number = As<int64_t>(node, key, otherwise, expected);
  if (number < least || number > most) throw Wrong{Bad(key, fmt::format("{}", number), expected)};
  return number;
}

std::vector<std::string> Names(const YAML::Node& node, const char* key,
                               const std::vector<std::string>& otherwise) {
  return As<std::vector<std::string>>(node, key, otherwise, "a list of names, such as [paris]");
}

absl::StatusOr<std::vector<SiteConfig>> Sites(const YAML::Node& list, bool kafka) {
  std::vector<SiteConfig> sites;
  std::set<std::string> names;
  if (!list || !list.IsSequence() || list.size() == 0)
    return Bad("sites", "", "a list of at least one site");
  for (const YAML::Node& node : list) {
    const absl::Status keys = CheckKeys(node, "sites", {"name", "grpc", "http", "kafka"});
    if (!keys.ok()) return keys;
    SiteConfig site{Text(node, "name"), Text(node, "grpc"), Text(node, "http", "127.0.0.1:0"),
                    Text(node, "kafka")};
    if (!runtime::MatchesName(site.name, "*"))
      return Bad("sites.name", site.name, "letters, digits and hyphens, such as paris");
    if (!names.insert(site.name).second)
      return Bad("sites.name", site.name + " twice", "each site once");
    for (const auto& [key, address] : {std::pair("grpc", site.grpc), {"http", site.http}}) {
      if (!address.empty() && !runtime::IsAddress(address))
        return Bad(fmt::format("sites.{}.{}", site.name, key), address,
                   "HOST:PORT with a port of 0 to 65535, such as 127.0.0.1:7101");
    }
    if (kafka && site.kafka.empty())
      return Bad(fmt::format("sites.{}.kafka", site.name), "",
                 "its brokers, such as 127.0.0.1:9092, for log is kafka");
    sites.push_back(std::move(site));
  }
  return sites;
}

absl::StatusOr<Config> Parse(const YAML::Node& root) {
  const absl::Status keys = CheckKeys(
      root, "the file",
      {"profile", "log", "data_dir", "manual_clock_start", "sites", "here", "services",
       "replication", "min_insync_replicas", "run_dir", "attest_every_events", "attest_every"});
  if (!keys.ok()) return keys;
  Config config;
  const std::string profile = Text(root, "profile", "production");
  if (profile != "production" && profile != "demo")
    return Bad("profile", profile, "production or demo");
  config.demo = profile == "demo";
  const std::string log = Text(root, "log", "embedded");
  if (log != "embedded" && log != "kafka") return Bad("log", log, "embedded or kafka");
  config.kafka = log == "kafka";
  config.data_dir = Text(root, "data_dir");
  if (config.data_dir.empty()) return Bad("data_dir", "", "a directory for logs and projections");
  if (root["manual_clock_start"]) {
    absl::Time time;
    std::string error;
    const std::string text = Text(root, "manual_clock_start");
    if (!config.demo)
      return Bad("manual_clock_start", text, "absent: only profile demo may set the clock");
    if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error))
      return Bad("manual_clock_start", text, "RFC 3339");
    config.manual_clock_start = time;
  }
  auto sites = Sites(root["sites"], config.kafka);
  if (!sites.ok()) return sites.status();
  config.sites = *std::move(sites);
  for (const SiteConfig& site : config.sites) {
    if (!root["here"]) config.here.push_back(site.name);
  }
  config.here = Names(root, "here", config.here);
  if (config.here.empty()) return Bad("here", "an empty list", "at least one of the sites");
  for (SiteConfig& site : config.sites) {
    const bool here =
        std::find(config.here.begin(), config.here.end(), site.name) != config.here.end();
    if (here && site.grpc.empty()) site.grpc = "127.0.0.1:0";
  }
  for (const std::string& name : config.here) {
    if (std::none_of(config.sites.begin(), config.sites.end(),
                     [&](const SiteConfig& s) { return s.name == name; })) {
      return Bad("here", name, "the name of one of the sites");
    }
  }
  if (!config.kafka && config.here.size() != config.sites.size()) {
    return Bad("here", fmt::format("{}", fmt::join(config.here, ", ")),
               "every site, for the embedded log lives in one process; sites in several processes "
               "need log: kafka");
  }
  config.services = Names(root, "services", AllServices());
  for (const std::string& service : config.services) {
    if (std::find(AllServices().begin(), AllServices().end(), service) == AllServices().end()) {
      return Bad("services", service, fmt::format("one of {}", fmt::join(AllServices(), ", ")));
    }
  }
  if (!config.kafka && config.services.size() != AllServices().size()) {
    return Bad("services", fmt::format("{}", fmt::join(config.services, ", ")),
               "all of them, for the embedded log lives in one process; one service a process "
               "needs log: kafka");
  }
  constexpr int64_t kMostReplicas = 1000;
  config.replication = static_cast<int>(Number(root, "replication", 1, 1, kMostReplicas));
  config.min_insync_replicas =
      static_cast<int>(Number(root, "min_insync_replicas", 1, 1, config.replication));
  config.run_dir = Text(root, "run_dir");
  constexpr int64_t kMostEvents = 1'000'000'000'000'000;
  config.attest_every_events = static_cast<uint64_t>(
      Number(root, "attest_every_events", static_cast<int64_t>(config.attest_every_events), 0,
             kMostEvents));
  const std::string every = Text(root, "attest_every", "1h");
  if (!absl::ParseDuration(every, &config.attest_every) ||
      config.attest_every <= absl::ZeroDuration()) {
    return Bad("attest_every", every, "a duration above zero, such as 1h or 90s");
  }
  return config;
}

}  // namespace

const std::vector<std::string>& AllServices() {
  static const std::vector<std::string> services{"inventory", "reservations", "compliance",
                                                 "deployment"};
  return services;
}

absl::StatusOr<Config> ParseConfig(const std::string& yaml) {
  try {
    return Parse(YAML::Load(yaml));
  } catch (const Wrong& wrong) {
    return wrong.status;
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(fmt::format("configuration: {}", error.what()));
  }
}

absl::StatusOr<Config> ReadConfig(const std::string& path) {
  std::ifstream file(path);
  if (!file)
    return absl::NotFoundError(
        fmt::format("there is no configuration at {}; give its path with --config", path));
  std::stringstream text;
  text << file.rdbuf();
  return ParseConfig(text.str());
}

}  // namespace concordat::node
