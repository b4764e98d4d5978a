// A real Kafka broker for tests, by deploy/kafka/kafka.py. Law: it ends with the object, and with
// the process, whatever became of the test.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace concordat::test {

// A child process with its standard input and output at our end of two pipes.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;

  // The next line of its output without the line end; empty once it has closed it.
  std::string ReadLine();
  void CloseInput();
  // SIGKILL.
  void Kill();
  // Waits for its end: its exit code, or 128 + the signal that ended it.
  int Wait();

 private:
  int pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  int code_ = -1;
  std::string unread_;
};

// A TCP port that nobody listens on, below those that the kernel lends to outgoing connections.
int FreePort();

// Not thread-safe. Whatever goes wrong here stops the process: no test could say anything after it.
class Broker {
 public:
  // Starts a broker with topics as an event log's home has them. With `advertised`, clients are
  // told that address.
  explicit Broker(const std::vector<std::string>& topics, const std::string& advertised = "");
  ~Broker();

  // `127.0.0.1:PORT`, where clients connect.
  const std::string& bootstrap() const { return bootstrap_; }
  // The same, past whatever `advertised` names.
  const std::string& direct() const { return direct_; }

  // kill -9.
  void Kill();
  // Serves the same data at the same address. REQUIRES: it was killed or stopped.
  void Restart();
  void Stop();

 private:
  void Start(const std::vector<std::string>& more);

  TempDir dir_;
  std::string advertised_;
  std::unique_ptr<Child> child_;
  std::string bootstrap_;
  std::string direct_;
  int jvm_ = -1;
};

// A topic with settings of the test's own.
void CreateTopic(const std::string& bootstrap, const std::string& topic, int partitions,
                 const std::map<std::string, std::string>& settings);

// Deletes the topic's records below `offset`, as retention would.
void DeleteRecords(const std::string& bootstrap, const std::string& topic, int64_t offset);

}  // namespace concordat::test
