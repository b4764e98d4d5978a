#include "storage/rocksdb.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdio>
#include <string>
#include <string_view>

namespace concordat::storage {
namespace {

class Logger final : public rocksdb::Logger {
 public:
  Logger() : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    std::array<char, 500> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    std::string_view line(text.data());
    if (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    spdlog::warn("rocksdb: {}", line);
  }
};

}  // namespace

std::shared_ptr<rocksdb::Logger> RocksDbLogger() { return std::make_shared<Logger>(); }

absl::Status FromRocksDb(const rocksdb::Status& status, std::string_view doing) {
  if (status.ok()) return absl::OkStatus();
  const std::string found = status.ToString();
  if (status.IsNoSpace() || found.find("No space left") != std::string::npos) {
    return absl::ResourceExhaustedError(fmt::format(
        "{}: the disk is full ({}); free space on it, nothing acknowledged is lost", doing, found));
  }
  if (found.find("lock hold by") != std::string::npos ||
      found.find("While lock file") != std::string::npos) {
    return absl::FailedPreconditionError(fmt::format(
        "{}: another process holds this store ({}); stop that process, or give this one a "
        "data_dir of its own",
        doing, found));
  }
  if (status.IsCorruption()) {
    return absl::DataLossError(fmt::format("{}: {}", doing, found));
  }
  return absl::UnavailableError(fmt::format("{}: {}", doing, found));
}

}  // namespace concordat::storage
