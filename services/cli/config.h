// Where the sites are: the contexts of the configuration file.
//
//     current-context: local
//     contexts:
//       local:
//         site: paris                                  # asked unless --site says otherwise
//         sites:
//           paris: {address: "127.0.0.1:7101", services: {reservations: "127.0.0.1:7103"}}
//           borlange: {address: "127.0.0.1:7102"}
//
// `services` is for a service that has a process of its own. Law: the file holds no secrets.
#pragma once

#include <absl/status/statusor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::cli {

struct Site {
  std::string name;
  std::string address;
  std::map<std::string, std::string> services;  // service → its own address

  // Where a service of the site is asked.
  const std::string& AddressOf(std::string_view service) const;
  // Every address of the site, each once.
  std::vector<std::string> Addresses() const;
};

struct Context {
  std::string name;
  std::string site;  // the one that is asked
  std::vector<Site> sites;

  // nullptr where the context has no such site.
  const Site* Find(std::string_view site) const;
};

struct Config {
  std::string path;
  std::string current;
  std::vector<Context> contexts;

  const Context* Find(std::string_view name) const;
};

// ${CONCORDAT_CONFIG:-${XDG_CONFIG_HOME:-~/.config}/concordat/config.yaml}.
std::string DefaultConfigPath();

// INVALID_ARGUMENT where the text is not such a file; `path` is for the message.
absl::StatusOr<Config> ParseConfig(const std::string& text, const std::string& path);

// NOT_FOUND where there is no file.
absl::StatusOr<Config> ReadConfig(const std::string& path);

// Makes a context the current one, leaving the rest of the file as it is.
absl::Status UseContext(const Config& config, const std::string& name);

}  // namespace concordat::cli
