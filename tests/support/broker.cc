#include "tests/support/broker.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/support/source_dir.h"

extern char** environ;

namespace concordat::test {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "the test's broker: %s\n", what.c_str());
  std::abort();
}

}  // namespace

Child::Child(const std::vector<std::string>& command) {
  int in[2];
  int out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) Fail(std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int error = ::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  if (error != 0) Fail("cannot start " + command[0] + ": " + std::strerror(error));
  input_ = in[1];
  output_ = out[0];
}

Child::~Child() {
  CloseInput();
  if (code_ < 0) {
    Kill();
    Wait();
  }
  ::close(output_);
}

std::string Child::ReadLine() {
  for (;;) {
    const size_t end = unread_.find('\n');
    if (end != unread_.npos) {
      const std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    char bytes[4096];
    const ssize_t count = ::read(output_, bytes, sizeof(bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return "";
    unread_.append(bytes, static_cast<size_t>(count));
  }
}

void Child::CloseInput() {
  if (input_ >= 0) ::close(input_);
  input_ = -1;
}

void Child::Kill() { ::kill(pid_, SIGKILL); }

int Child::Wait() {
  while (code_ < 0) {
    int status = 0;
    if (::waitpid(pid_, &status, 0) < 0) {
      if (errno == EINTR) continue;
      Fail(std::strerror(errno));
    }
    code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return code_;
}

int FreePort() {
  int first = 20000, last = 29999;
  const char* named = std::getenv("CONCORDAT_PORTS");
  if (named != nullptr && std::sscanf(named, "%d-%d", &first, &last) != 2)
    Fail(std::string("CONCORDAT_PORTS: found ") + named + ", expected such as 10300-10599");
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const int port = first + std::rand() % (last - first + 1);
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool free = ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
    ::close(socket);
    if (free) return port;
  }
  Fail("no free port");
}

Broker::Broker(const std::vector<std::string>& topics, const std::string& advertised)
    : advertised_(advertised) {
  std::string names;
  for (const std::string& topic : topics) names += (names.empty() ? "" : ",") + topic;
  Start(names.empty() ? std::vector<std::string>() : std::vector<std::string>{"--topics", names});
}

Broker::~Broker() { Stop(); }

void Broker::Start(const std::vector<std::string>& more) {
  std::vector<std::string> command{"/usr/bin/python3", SOURCE_DIR "/deploy/kafka/kafka.py",
                                   "broker",           "--dir",
                                   dir_.path(),        "--until-stdin-closes"};
  if (!advertised_.empty()) command.insert(command.end(), {"--advertised", advertised_});
  command.insert(command.end(), more.begin(), more.end());
  child_ = std::make_unique<Child>(command);
  for (;;) {
    const std::string line = child_->ReadLine();
    if (line.empty()) Fail("it did not start; its log is in " + dir_.path());
    if (line.rfind("READY ", 0) != 0) continue;
    const auto ready = nlohmann::json::parse(line.substr(6));
    bootstrap_ = ready["bootstrap"];
    direct_ = ready["direct"];
    jvm_ = ready["pid"];
    return;
  }
}

void Broker::Kill() {
  ::kill(jvm_, SIGKILL);
  child_->Wait();  // its supervisor sees it and ends too
  child_.reset();
}

void Broker::Restart() {
  if (child_ != nullptr) Fail("it runs already");
  Start({});
}

void Broker::Stop() {
  if (child_ == nullptr) return;
  child_->CloseInput();
  child_->Wait();
  child_.reset();
}

namespace {

// An administrator's client, with the queue that its answers come on.
struct Admin {
  explicit Admin(const std::string& bootstrap) {
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char error[512];
    rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap.c_str(), error, sizeof(error));
    client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof(error));
    if (client == nullptr) Fail(error);
    queue = rd_kafka_queue_new(client);
  }
  ~Admin() {
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(client);
  }
  rd_kafka_event_t* Answer() {
    rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 30'000);
    if (event == nullptr) Fail("it did not answer");
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
      Fail(rd_kafka_event_error_string(event));
    return event;
  }
  rd_kafka_t* client;
  rd_kafka_queue_t* queue;
};

}  // namespace

void CreateTopic(const std::string& bootstrap, const std::string& topic, int partitions,
                 const std::map<std::string, std::string>& settings) {
  Admin admin(bootstrap);
  char error[512];
  rd_kafka_NewTopic_t* wanted =
      rd_kafka_NewTopic_new(topic.c_str(), partitions, 1, error, sizeof(error));
  for (const auto& [name, value] : settings)
    rd_kafka_NewTopic_set_config(wanted, name.c_str(), value.c_str());
  rd_kafka_CreateTopics(admin.client, &wanted, 1, nullptr, admin.queue);
  rd_kafka_NewTopic_destroy(wanted);
  rd_kafka_event_t* event = admin.Answer();
  size_t count = 0;
  const auto** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
  for (size_t i = 0; i < count; ++i) {
    if (rd_kafka_topic_result_error(results[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
      Fail(rd_kafka_topic_result_error_string(results[i]));
    }
  }
  rd_kafka_event_destroy(event);
}

void DeleteRecords(const std::string& bootstrap, const std::string& topic, int64_t offset) {
  Admin admin(bootstrap);
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, topic.c_str(), 0)->offset = offset;
  rd_kafka_DeleteRecords_t* wanted = rd_kafka_DeleteRecords_new(list);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_DeleteRecords(admin.client, &wanted, 1, nullptr, admin.queue);
  rd_kafka_DeleteRecords_destroy(wanted);
  rd_kafka_event_destroy(admin.Answer());
}

}  // namespace concordat::test
