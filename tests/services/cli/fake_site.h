// A site that answers what a test says, behind the same door as the real one.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include "concordat/node/v1/api.pb.h"
#include "services/cli/cli.h"
#include "services/runtime/server.h"

namespace concordat::cli {

// Answers NodeService/GetStatus by itself; everything else is added before Start().
class FakeSite {
 public:
  explicit FakeSite(std::string name = "paris") : name_(std::move(name)) {
    status.set_site(name_);
    status.mutable_now()->set_seconds(1798804800);  // 2027-01-01T12:00:00Z
    Answer<node::v1::GetStatusRequest, node::v1::GetStatusResponse>(
        "/concordat.node.v1.NodeService/GetStatus", [this](const auto&) { return status; });
  }

  // Answers a method with what `answer` makes of the request: a message or an error.
  template <typename Request, typename Response>
  void Answer(const std::string& method,
              std::function<absl::StatusOr<Response>(const Request&)> answer) {
    server_.AddUnary(method, Request::descriptor(),
                     [this, answer](const runtime::Call&, runtime::MessagePtr request,
                                    runtime::ReplyCallback reply) {
                       ++asked_;
                       auto response = answer(static_cast<const Request&>(*request));
                       runtime::Reply out;
                       out.status = response.status();
                       if (response.ok())
                         out.message = std::make_unique<Response>(*std::move(response));
                       reply(std::move(out));
                     });
  }

  // The same, where the test needs the whole call.
  runtime::Server& server() { return server_; }

  void Start() {
    const auto port = server_.Start("127.0.0.1:0");
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = fmt::format("127.0.0.1:{}", *port);
  }
  ~FakeSite() { server_.Stop(); }

  const std::string& name() const { return name_; }
  const std::string& address() const { return address_; }
  // How many calls came to what Answer() added, and to GetStatus.
  int asked() const { return asked_; }

  node::v1::GetStatusResponse status;

 private:
  const std::string name_;
  std::string address_;
  std::atomic<int> asked_ = 0;
  runtime::Server server_;
};

// What one run of `concordat` came to.
struct Ran {
  Exit exit;
  std::string out;
  std::string err;
};

inline Ran Concordat(const std::vector<std::string>& arguments, const std::string& input = "") {
  std::istringstream in(input);
  std::ostringstream out, err;
  const Exit exit = Run(arguments, Console{.in = in, .out = out, .err = err, .colour = false});
  return {exit, out.str(), err.str()};
}

// A configuration file that lasts as long as this does, with the first site as the one that is
// asked.
class FakeConfig {
 public:
  explicit FakeConfig(const std::vector<const FakeSite*>& sites,
                      const std::string& services = "{}") {
    path_ = testing::TempDir() + fmt::format("concordat-{}.yaml", static_cast<const void*>(this));
    std::string text =
        fmt::format("contexts:\n  test:\n    site: {}\n    sites:\n", sites[0]->name());
    for (const FakeSite* site : sites) {
      text += fmt::format("      {}: {{address: \"{}\", services: {}}}\n", site->name(),
                          site->address(), services);
    }
    std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path_.c_str(), "w"), &std::fclose);
    std::fputs(text.c_str(), file.get());
  }
  ~FakeConfig() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace concordat::cli
