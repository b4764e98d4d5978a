// One run of `concordat`: what the global flags said, where the sites are, and where text goes.
// Law: data goes to `out`, messages go to `err`, and nothing else is written.
#pragma once

#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <google/protobuf/message.h>

#include <functional>
#include <istream>
#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "concordat/node/v1/api.pb.h"
#include "services/cli/client.h"
#include "services/cli/config.h"
#include "services/cli/values.h"

namespace concordat::cli {

// How data is printed.
enum class Format { kDefault, kTable, kJson, kYaml, kName, kText };
// Whether it is one document, for a program; nothing else is written to `out` then.
constexpr bool IsDocument(Format format) {
  return format == Format::kJson || format == Format::kYaml;
}

// The flags that every command takes.
struct Globals {
  std::string config_path;
  std::string context;
  std::string site;
  std::string server;
  std::string actor;
  std::string request_id;
  std::string timeout;
  std::string output;
  bool validate_only = false;
  bool no_headers = false;
  bool no_color = false;
  bool quiet = false;
};

// Where text comes from and goes to.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool colour = false;
  bool terminal = false;  // somebody looks at `err`
};

class Session {
 public:
  Session(std::vector<std::string> arguments, Console console)
      : arguments_(std::move(arguments)), console_(console) {}

  Globals globals;

  Console& console() { return console_; }
  // Says something to the person, unless --quiet.
  void Say(std::string_view message);

  // The format of --output; `kDefault` where there is none.
  absl::StatusOr<Format> OutputFormat() const;
  // INVALID_ARGUMENT where who asks cannot be said in a call's metadata.
  absl::Status CheckActor() const;
  // The time that --timeout gives, or `otherwise`.
  absl::StatusOr<absl::Duration> Timeout(absl::Duration otherwise) const;

  // The configuration file.
  absl::StatusOr<Config> LoadConfig() const;
  // The context asked, with every site of it. With --server, that server's site alone.
  absl::StatusOr<const Context*> context();
  // The site asked: --site, or the context's.
  absl::StatusOr<const Site*> site();
  // A site of the context by name.
  absl::StatusOr<const Site*> site(std::string_view name);

  // Calls NodeService/`method` at an address; errors name the site that `address` belongs to.
  absl::Status Node(const std::string& address, std::string_view method,
                    const google::protobuf::Message& request, google::protobuf::Message& response);
  // Calls any method; see Client::Call().
  absl::Status Call(const std::string& address, const std::string& method,
                    const google::protobuf::Message& request, google::protobuf::Message& response,
                    std::optional<type::v1::Outcome>* refusal);
  // Follows NodeService/Watch until the server ends it, or `next` does.
  absl::Status Watch(const std::string& address, const node::v1::WatchRequest& request,
                     const std::function<bool(const node::v1::EventRecord&)>& next);

  // The clock of the site asked; asked once.
  Clock clock();
  // Reads a time, remembering what a relative one came to, so that CommandLine() says the same
  // again.
  absl::StatusOr<absl::Time> TimeOf(const std::string& text);
  // Whether one was read, so that the command as it was typed would be another one next time.
  bool HasResolvedTimes() const { return !resolved_times_.empty(); }
  // The command as it was typed, with relative times resolved and `extra` added.
  std::string CommandLine(std::string_view extra) const;

 private:
  absl::StatusOr<Context> AskServer();

  const std::vector<std::string> arguments_;
  Console console_;
  Client client_;
  std::optional<Context> context_;
  std::optional<absl::Time> now_;
  std::map<std::string, std::string> resolved_times_;
};

}  // namespace concordat::cli
