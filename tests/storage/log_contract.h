// One contract for all logs: each test binary says which log it is about. Law: what the runtime
// relies on is tested here, and nothing that only one log does.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "storage/log/log.h"

namespace concordat::storage {

// A log as the contract's tests see it.
class LogUnderTest {
 public:
  virtual ~LogUnderTest() = default;
  virtual Log& log() = 0;
  // The name of a stream that no test has used.
  virtual std::string FreshStream() = 0;
  // Leaves nothing but what is durable. Readers and appenders must be gone.
  virtual void Restart() = 0;
};

using MakeLog = std::unique_ptr<LogUnderTest> (*)();

class LogContract : public testing::TestWithParam<MakeLog> {
 protected:
  LogContract() : under_test_(GetParam()()), stream_(under_test_->FreshStream()) {}
  Log& log() { return under_test_->log(); }

  std::unique_ptr<LogUnderTest> under_test_;
  std::string stream_;
};

// Appends and waits for all reports, which must be OK and in order; the offset of each.
std::vector<int64_t> AppendAll(LogAppender& appender, const std::vector<events::Record>& records);
// Polls until `count` reports came.
std::vector<AppendReport> AwaitReports(LogAppender& appender, size_t count);
// Reads until `count` records came.
std::vector<StoredRecord> AwaitRecords(LogReader& reader, size_t count);
// The first error that assigning and reading come to; OK where none came before a record did.
absl::Status AwaitError(LogReader& reader, const std::string& stream, int64_t offset);
// A record that says which one it is.
events::Record Numbered(int number, const std::string& of = "");

}  // namespace concordat::storage
