#include "services/cli/config.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "services/cli/errors.h"
#include "services/cli/text.h"
#include "services/runtime/check.h"

namespace concordat::cli {
namespace {

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::Status CheckKeys(const YAML::Node& node, const std::string& where,
                       const std::vector<std::string>& known) {
  if (!node.IsMap()) return absl::OkStatus();  // what is missing is told of by its own name
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const auto key = entry.first.as<std::string>();
    if (!seen.insert(key).second)
      return absl::InvalidArgumentError(
          fmt::format("{}: found '{}' twice, expected it once", where, key));
    if (absl::c_linear_search(known, key)) continue;
    return absl::InvalidArgumentError(
        fmt::format("{}: found '{}', expected only {}", where, key, Join(known, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<Context> ParseContext(const std::string& name, const YAML::Node& node) {
  if (absl::Status keys = CheckKeys(node, "context " + name, {"site", "sites"}); !keys.ok())
    return keys;
  Context context{.name = name, .site = node["site"].as<std::string>(""), .sites = {}};
  for (const auto& entry : node["sites"]) {
    if (absl::Status keys = CheckKeys(
            entry.second, fmt::format("context {}, site {}", name, entry.first.as<std::string>()),
            {"address", "services"});
        !keys.ok())
      return keys;
    Site site{.name = entry.first.as<std::string>(),
              .address = entry.second["address"].as<std::string>(""),
              .services = {}};
    for (const auto& service : entry.second["services"]) {
      site.services[service.first.as<std::string>()] = service.second.as<std::string>();
    }
    if (site.address.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("context {}: site {} has no address", name, site.name));
    }
    for (const std::string& address : site.Addresses()) {
      if (runtime::IsAddress(address)) continue;
      return absl::InvalidArgumentError(fmt::format(
          "context {}: site {} has the address '{}', expected HOST:PORT with a port of 0 "
          "to 65535",
          name, site.name, address));
    }
    context.sites.push_back(std::move(site));
  }
  if (context.sites.empty())
    return absl::InvalidArgumentError(fmt::format("context {} has no sites", name));
  if (context.site.empty()) context.site = context.sites.front().name;
  if (context.Find(context.site) == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("context {}: its site {} is not among its sites", name, context.site));
  }
  return context;
}

}  // namespace

const std::string& Site::AddressOf(std::string_view service) const {
  const auto found = services.find(std::string(service));
  return found == services.end() ? address : found->second;
}

std::vector<std::string> Site::Addresses() const {
  std::vector<std::string> addresses = {address};
  for (const auto& [service, own] : services) {
    if (!absl::c_linear_search(addresses, own)) addresses.push_back(own);
  }
  return addresses;
}

const Site* Context::Find(std::string_view site) const {
  const auto found = absl::c_find_if(sites, [&](const Site& s) { return s.name == site; });
  return found == sites.end() ? nullptr : &*found;
}

const Context* Config::Find(std::string_view name) const {
  const auto found = absl::c_find_if(contexts, [&](const Context& c) { return c.name == name; });
  return found == contexts.end() ? nullptr : &*found;
}

std::string DefaultConfigPath() {
  if (const std::string path = Environment("CONCORDAT_CONFIG"); !path.empty()) return path;
  std::string base = Environment("XDG_CONFIG_HOME");
  if (base.empty()) base = Environment("HOME") + "/.config";
  return base + "/concordat/config.yaml";
}

absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& path) {
  Config config{.path = path, .current = {}, .contexts = {}};
  // yaml-cpp speaks in exceptions; they end here.
  try {
    const YAML::Node root = YAML::Load(text);
    if (absl::Status keys = CheckKeys(root, path, {"current-context", "contexts"}); !keys.ok())
      return keys;
    config.current = root["current-context"].as<std::string>("");
    for (const auto& entry : root["contexts"]) {
      auto context = ParseContext(entry.first.as<std::string>(), entry.second);
      if (!context.ok())
        return absl::InvalidArgumentError(fmt::format("{}: {}", path, MessageOf(context.status())));
      config.contexts.push_back(*std::move(context));
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}; expected a mapping with contexts", path, e.what()));
  }
  if (config.contexts.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: found no contexts, expected at least one", path));
  }
  if (config.current.empty()) config.current = config.contexts.front().name;
  return config;
}

absl::StatusOr<Config> ReadConfig(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return WithNext(
        absl::InvalidArgumentError(fmt::format(
            "found no configuration at {}, expected one with the addresses of the sites", path)),
        "--server 127.0.0.1:7101 status");
  }
  std::stringstream text;
  text << file.rdbuf();
  return ParseConfig(text.str(), path);
}

absl::Status UseContext(const Config& config, const std::string& name) {
  if (config.Find(name) == nullptr) {
    std::vector<std::string> names;
    for (const Context& context : config.contexts) names.push_back(context.name);
    return WithNext(
        absl::InvalidArgumentError(fmt::format("found no context '{}' in {}, expected one of {}",
                                               name, config.path, Join(names, ", "))),
        "config contexts");
  }
  std::ifstream in(config.path);
  std::vector<std::string> lines;
  bool there = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("current-context:")) {
      line = fmt::format("current-context: {}", name);
      there = true;
    }
    lines.push_back(line);
  }
  if (!there) lines.insert(lines.begin(), fmt::format("current-context: {}", name));
  in.close();
  std::ofstream out(config.path, std::ios::trunc);
  out << Join(lines, "\n") << "\n";
  out.flush();
  return out ? absl::OkStatus()
             : absl::PermissionDeniedError(fmt::format("cannot write {}", config.path));
}

}  // namespace concordat::cli
