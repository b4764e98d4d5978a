#include "services/cli/session.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include "services/cli/errors.h"
#include "services/cli/text.h"
#include "services/runtime/check.h"

namespace concordat::cli {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr std::string_view kNodeService = "/concordat.node.v1.NodeService/";

// As a shell takes it.
std::string Quoted(const std::string& word) {
  if (!word.empty() &&
      word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "-_./:=,+@%") == std::string::npos) {
    return word;
  }
  std::string quoted = "'";
  for (const char c : word) Append(&quoted, c == '\'' ? std::string("'\\''") : std::string(1, c));
  return quoted + "'";
}

}  // namespace

void Session::Say(std::string_view message) {
  if (!globals.quiet) fmt::print(console_.err, "{}\n", message);
}

absl::StatusOr<Format> Session::OutputFormat() const {
  static const std::map<std::string, Format> formats = {
      {"", Format::kDefault},  {"table", Format::kTable}, {"json", Format::kJson},
      {"yaml", Format::kYaml}, {"name", Format::kName},   {"text", Format::kText}};
  const auto found = formats.find(globals.output);
  if (found != formats.end()) return found->second;
  return absl::InvalidArgumentError(
      fmt::format("found --output '{}', expected table, json, yaml, name or (for events) text",
                  globals.output));
}

absl::Status Session::CheckActor() const {
  constexpr size_t kMostBytes = 200;
  const std::string& actor = globals.actor;
  const bool sendable = absl::c_all_of(actor, [](char c) { return c >= ' ' && c <= '~'; });
  if (sendable && actor.size() <= kMostBytes) return absl::OkStatus();
  return WithNext(
      absl::InvalidArgumentError(fmt::format(
          "found who asks (--as, or $USER) with {}, expected at most {} printable "
          "characters of ASCII",
          sendable ? fmt::format("{} bytes", actor.size()) : "other characters", kMostBytes)),
      "--as NAME status");
}

absl::StatusOr<absl::Duration> Session::Timeout(absl::Duration otherwise) const {
  if (globals.timeout.empty()) return otherwise;
  auto timeout = ParseDuration(globals.timeout);
  if (timeout.ok()) return timeout;
  return absl::InvalidArgumentError(
      fmt::format("--timeout: {}", std::string(timeout.status().message())));
}

absl::StatusOr<Config> Session::LoadConfig() const {
  return ReadConfig(globals.config_path.empty() ? DefaultConfigPath() : globals.config_path);
}

absl::StatusOr<Context> Session::AskServer() {
  Context context{.name = globals.server, .site = globals.site, .sites = {}};
  if (context.site.empty()) {
    node::v1::GetStatusResponse status;
    const absl::Status asked =
        Node(globals.server, "GetStatus", node::v1::GetStatusRequest(), status);
    if (!asked.ok()) return asked;
    context.site = status.site();
  }
  context.sites.push_back(Site{.name = context.site, .address = globals.server, .services = {}});
  return context;
}

absl::StatusOr<const Context*> Session::context() {
  if (context_) return &*context_;
  if (!globals.server.empty()) {
    if (!runtime::IsAddress(globals.server)) {
      return absl::InvalidArgumentError(fmt::format(
          "found --server '{}', expected HOST:PORT with a port of 0 to 65535", globals.server));
    }
    auto context = AskServer();
    if (!context.ok()) return context.status();
    context_ = *std::move(context);
    return &*context_;
  }
  const auto config = LoadConfig();
  if (!config.ok()) return config.status();
  const std::string& name = globals.context.empty() ? config->current : globals.context;
  const Context* found = config->Find(name);
  if (found == nullptr) {
    std::vector<std::string> names;
    for (const Context& context : config->contexts) names.push_back(context.name);
    return WithNext(
        absl::InvalidArgumentError(fmt::format("found no context '{}' in {}, expected one of {}",
                                               name, config->path, Join(names, ", "))),
        "config contexts");
  }
  context_ = *found;
  return &*context_;
}

absl::StatusOr<const Site*> Session::site() {
  const auto all = context();
  if (!all.ok()) return all.status();
  return site(globals.site.empty() ? (*all)->site : globals.site);
}

absl::StatusOr<const Site*> Session::site(std::string_view name) {
  const auto all = context();
  if (!all.ok()) return all.status();
  ConsumePrefix(&name, "sites/");
  if (const Site* found = (*all)->Find(name); found != nullptr) return found;
  std::vector<std::string> names;
  for (const Site& site : (*all)->sites) names.push_back(site.name);
  return WithNext(
      absl::InvalidArgumentError(fmt::format("found no site '{}' in context {}, expected one of {}",
                                             name, (*all)->name, Join(names, ", "))),
      "config contexts");
}

absl::Status Session::Call(const std::string& address, const std::string& method,
                           const google::protobuf::Message& request,
                           google::protobuf::Message& response,
                           std::optional<type::v1::Outcome>* refusal) {
  const auto timeout = Timeout(kCallTimeout);
  if (!timeout.ok()) return timeout.status();
  return client_.Call(address, method, {.actor = globals.actor, .timeout = *timeout}, request,
                      response, refusal);
}

absl::Status Session::Node(const std::string& address, std::string_view method,
                           const google::protobuf::Message& request,
                           google::protobuf::Message& response) {
  absl::Status status =
      Call(address, fmt::format("{}{}", kNodeService, method), request, response, nullptr);
  if (status.ok()) return status;
  if (absl::IsDeadlineExceeded(status)) {
    status = absl::DeadlineExceededError(fmt::format("no answer from {} in time", address));
  }
  return WithNext(status, absl::IsUnavailable(status) ? "config contexts" : "status");
}

absl::Status Session::Watch(const std::string& address, const node::v1::WatchRequest& request,
                            const std::function<bool(const node::v1::EventRecord&)>& next) {
  const auto timeout = Timeout(absl::InfiniteDuration());
  if (!timeout.ok()) return timeout.status();
  node::v1::WatchResponse response;
  return client_.Stream(address, fmt::format("{}Watch", kNodeService),
                        {.actor = globals.actor, .timeout = *timeout}, request, response,
                        [&] { return next(response.event()); });
}

Clock Session::clock() {
  return [this]() -> absl::StatusOr<absl::Time> {
    if (now_) return *now_;
    const auto asked = site();
    if (!asked.ok()) return asked.status();
    node::v1::GetStatusResponse status;
    const absl::Status answer =
        Node((*asked)->address, "GetStatus", node::v1::GetStatusRequest(), status);
    if (!answer.ok()) return answer;
    now_ = FromTimestamp(status.now());
    return *now_;
  };
}

absl::StatusOr<absl::Time> Session::TimeOf(const std::string& text) {
  const auto time = ParseTime(text, clock());
  if (time.ok() && IsRelativeTime(text)) resolved_times_[text] = cli::TimeText(*time);
  return time;
}

std::string Session::CommandLine(std::string_view extra) const {
  std::string line;
  for (const std::string& argument : arguments_) {
    std::string word = argument;
    for (const auto& [relative, absolute] : resolved_times_) {
      if (word == relative) word = absolute;
      if (word.ends_with("=" + relative))
        word = word.substr(0, word.size() - relative.size()) + absolute;
    }
    Append(&line, line.empty() ? "" : " ", Quoted(word));
  }
  if (!extra.empty()) Append(&line, " ", extra);
  return line;
}

}  // namespace concordat::cli
