// Carries a site's own streams to another site's log, between embedded logs of one process: what
// MirrorMaker does between Kafka clusters. Law: it copies records byte for byte and judges none.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "storage/log/embedded.h"

namespace concordat::node {

class Mirror {
 public:
  // Neither log is owned. `streams` are the origin's own. `is_home` tells whether the origin's log
  // of a stream was found to hold its history: before that nothing of it is carried, for what
  // others receive cannot be taken back.
  Mirror(std::string origin, storage::EmbeddedLog& from, storage::EmbeddedLog& to,
         std::vector<std::string> streams, std::function<bool(const std::string&)> is_home);
  ~Mirror();
  Mirror(const Mirror&) = delete;

  void Run();
  void Stop();
  // Any thread. A cut link carries nothing; healed, it goes on where it was.
  void SetCut(bool cut) { cut_ = cut; }
  bool cut() const { return cut_; }
  const std::string& origin() const { return origin_; }
  // Records at the origin that were not carried yet.
  int64_t Pending();
  // Delivers the last `records` of a stream again, as a mirror does that was killed; for tests.
  void Redeliver(const std::string& stream, int64_t records);

 private:
  int64_t Position(const std::string& stream);
  bool MayCarry(const std::string& stream);
  bool HasWork();
  // Whether the origin still holds the record that was carried last, where it was.
  bool Continues(const std::string& stream, int64_t position);
  bool CarrySome();
  void Fails(const std::string& stream, const std::string& failure);

  const std::string origin_;
  storage::EmbeddedLog& from_;
  storage::EmbeddedLog& to_;
  const std::vector<std::string> streams_;
  const std::function<bool(const std::string&)> is_home_;
  std::set<std::string> homes_;      // the mirror's thread: streams for which is_home_ was true
  std::set<std::string> continued_;  // the mirror's thread: streams that were looked at
  std::map<std::string, std::string>
      failures_;  // the mirror's thread: what cannot be carried, and why
  std::atomic<bool> cut_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace concordat::node
