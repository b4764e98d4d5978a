// A TCP proxy on this machine that can lose what the server says. Law: it changes no byte; it
// delivers, drops a whole direction, or closes.
#pragma once

#include <absl/synchronization/mutex.h>

#include <atomic>
#include <list>
#include <string>
#include <thread>

namespace concordat::test {

class Proxy {
 public:
  // Listens on a free port.
  Proxy();
  ~Proxy();
  Proxy(const Proxy&) = delete;

  // `127.0.0.1:PORT`.
  std::string address() const;
  // Where connections go, as `127.0.0.1:PORT`; those that come before it is set are closed.
  void SetTarget(const std::string& address);

  // From now on nothing that the server says reaches a client, while the server hears everything.
  void DropAnswers();
  // Closes all connections and delivers again.
  void Heal();
  // Bytes of the server that were dropped.
  int64_t dropped() const { return dropped_; }

 private:
  struct Connection {
    int client = -1;
    int server = -1;
    std::thread up;
    std::thread down;
  };
  void Accept();
  void Pump(int from, int to, bool answers);

  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> target_ = 0;
  std::atomic<bool> dropping_ = false;
  std::atomic<int64_t> dropped_ = 0;
  std::thread thread_;
  absl::Mutex mutex_;
  std::list<Connection> connections_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace concordat::test
