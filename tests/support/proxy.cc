#include "tests/support/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "tests/support/broker.h"

namespace concordat::test {
namespace {

sockaddr_in Local(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

bool SendAll(int socket, const char* bytes, ssize_t count) {
  while (count > 0) {
    const ssize_t sent = ::send(socket, bytes, static_cast<size_t>(count), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes += sent;
    count -= sent;
  }
  return true;
}

}  // namespace

Proxy::Proxy() : port_(FreePort()) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address = Local(port_);
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener_, 64) != 0) {
    std::perror("the test's proxy cannot listen");
    std::abort();
  }
  thread_ = std::thread([this] { Accept(); });
}

Proxy::~Proxy() {
  ::shutdown(listener_, SHUT_RDWR);
  thread_.join();
  ::close(listener_);
  absl::MutexLock lock(&mutex_);
  for (Connection& connection : connections_) {
    ::shutdown(connection.client, SHUT_RDWR);
    ::shutdown(connection.server, SHUT_RDWR);
    connection.up.join();
    connection.down.join();
    ::close(connection.client);
    ::close(connection.server);
  }
}

std::string Proxy::address() const { return "127.0.0.1:" + std::to_string(port_); }

void Proxy::SetTarget(const std::string& address) {
  target_ = std::stoi(address.substr(address.rfind(':') + 1));
}

void Proxy::DropAnswers() { dropping_ = true; }

void Proxy::Heal() {
  absl::MutexLock lock(&mutex_);
  for (Connection& connection : connections_) {
    ::shutdown(connection.client, SHUT_RDWR);
    ::shutdown(connection.server, SHUT_RDWR);
  }
  dropping_ = false;
}

void Proxy::Accept() {
  for (;;) {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return;
    }
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Local(target_);
    if (target_ == 0 ||
        ::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      ::close(server);
      ::close(client);
      continue;
    }
    const int yes = 1;
    ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    absl::MutexLock lock(&mutex_);
    Connection& connection = connections_.emplace_back();
    connection.client = client;
    connection.server = server;
    connection.up = std::thread([this, client, server] { Pump(client, server, false); });
    connection.down = std::thread([this, client, server] { Pump(server, client, true); });
  }
}

void Proxy::Pump(int from, int to, bool answers) {
  char bytes[1 << 16];
  // Once an answer was dropped, what follows it on this connection would be out of step.
  bool silent = false;
  for (;;) {
    const ssize_t count = ::recv(from, bytes, sizeof(bytes), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    silent = silent || (answers && dropping_);
    if (silent) {
      dropped_ += count;
    } else if (!SendAll(to, bytes, count)) {
      break;
    }
  }
  ::shutdown(from, SHUT_RDWR);
  ::shutdown(to, SHUT_RDWR);
}

}  // namespace concordat::test
