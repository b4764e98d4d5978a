// The log on Apache Kafka, by librdkafka: a stream is partition 0 of the topic of its name.
// Idempotent producer, acks=all, no expiry, no transactions; docs/adr/0003 says why.
#pragma once

#include <memory>
#include <string>

#include "storage/log/log.h"

namespace concordat::storage {

struct KafkaOptions {
  std::string bootstrap_servers;        // `host:port,host:port`
  std::string client_id = "concordat";  // at most 32 characters
};

class KafkaLog final : public Log {
 public:
  explicit KafkaLog(KafkaOptions options);

  std::unique_ptr<LogReader> NewReader() override;
  std::unique_ptr<LogAppender> NewAppender(const std::string& stream) override;
  absl::Status Check(const std::string& stream, const LogDemands& demands) override;

 private:
  const KafkaOptions options_;
};

}  // namespace concordat::storage
