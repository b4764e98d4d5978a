// A site as one process runs it: its services' writers, replicas of other sites, feeds between
// them, the archive, and what the doors need to answer.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/deployment/target.h"
#include "services/node/config.h"
#include "services/runtime/clock.h"
#include "services/runtime/follower.h"
#include "services/runtime/home_check.h"
#include "services/runtime/writer.h"
#include "storage/archive/archive.h"
#include "storage/log/log.h"
#include "storage/machine.h"
#include "storage/projection/projection.h"
#include "storage/projection/store.h"

namespace concordat::node {

// Changes with the layout of any row; a projection of another layout is folded anew.
inline constexpr char kSchema[] = "3";
// What the folders of deep verifications begin with; the stream and a number follow.
inline constexpr char kVerifying[] = "verify-";

// A service's engine over a journal.
std::unique_ptr<runtime::Engine> NewEngine(const std::string& service, storage::Journal& journal);

// A stream that this process folds: its own, or a replica of another site's.
struct Folded {
  std::string stream;
  std::string site;
  std::string service;
  std::unique_ptr<storage::Projection> projection;
  std::unique_ptr<runtime::Engine> engine;
  std::unique_ptr<runtime::HomeCheck> home_check;  // at home
  std::unique_ptr<runtime::Writer> writer;         // at home
  std::unique_ptr<runtime::Replica> replica;       // of another site

  bool home() const { return writer != nullptr; }
  // Waits until the events up to `sequence` are folded.
  bool WaitFor(int64_t sequence, absl::Duration wait) const;
  // OK, or DATA_LOSS where its rows must not be shown: another state was attested. Any thread.
  absl::Status Shows() const;
};

// The engine of a service, one of AllServices(), over a journal that must outlive it.
std::unique_ptr<runtime::Engine> NewEngine(const std::string& service, storage::Journal& journal);

// A stream's state, the same for writers, replicas, feeds and the archive.
struct StreamState {
  std::string stream;
  bool home = false;
  events::Head head;
  std::string condition;
  std::string writer_state;  // empty but for writers
  std::string home_check;    // the same
  int64_t folded_records = 0;
  int64_t records_to_fold = 0;
  double records_per_second = 0;
  std::string alarm;
  absl::flat_hash_map<events::Outcome, uint64_t> voids;
  int64_t lag = 0;
};

// Which release runs: its name, and the layout of its rows. Only digests of one release and one
// layout may be compared.
struct Release {
  std::string name;
  std::string schema;
  static Release This();
  std::string code() const { return name + "/" + schema; }
};

// What a site is put together from. As it is: the real machine, RocksDB, manifests on disk, this
// release.
struct SiteParts {
  storage::Machine* machine = &storage::Machine::Real();  // not owned; must outlive the site
  // Opens the store of a folder.
  std::function<absl::StatusOr<std::unique_ptr<storage::Store>>(const std::string& dir,
                                                                storage::StoreUse use)>
      open_store;
  // Where models are put; not owned, must outlive the site. Nothing: manifests below the data.
  deployment::Target* target = nullptr;
  // How long a thread with nothing to do waits before it looks again.
  absl::Duration idle = absl::Milliseconds(100);
  Release release = Release::This();
};

class Site {
 public:
  // Opens everything under `<data_dir>/<site>`; nothing runs yet. Log and clock are not owned.
  static absl::StatusOr<std::unique_ptr<Site>> Open(const Config& config, const std::string& name,
                                                    storage::Log& log, runtime::Clock& clock,
                                                    SiteParts parts = {});
  ~Site();
  Site(const Site&) = delete;

  // Before Run(): this site's writers ask another site of this process before they start.
  void AddPeer(Site& other);

  void Run();
  void Stop();
  // Waits until every writer writes; the first one's alarm where one stopped.
  absl::Status WaitUntilWriting(absl::Duration wait) const;
  // Every writer writes, at this moment.
  bool Ready() const;

  const std::string& name() const { return name_; }
  const std::vector<std::string>& services() const { return services_; }
  runtime::Clock& clock() const { return clock_; }
  // The site's own stream of a service; nothing where this process does not run it.
  Folded* Home(const std::string& service) const;
  // Own streams first, then the others by site.
  const std::vector<std::unique_ptr<Folded>>& folded() const { return folded_; }
  // What turns other streams' events into commands of own ones.
  const std::vector<std::unique_ptr<runtime::Feed>>& feeds() const { return feeds_; }
  // The archive, where this process runs the compliance service; otherwise nothing.
  storage::Archive* archive() const { return archive_.get(); }
  storage::Log& log() const { return log_; }
  // Where snapshots are kept.
  std::string SnapshotFolder() const;
  // Folds a stream again from the log up to and including `last`, beside its projection, and hands
  // that fold over. Any thread; takes as long as a rebuild up to there. DATA_LOSS where the log
  // does not reach so far, CANCELLED where the caller is gone; else what `use` returns.
  absl::Status FoldApart(const Folded& folded, int64_t last, const std::function<bool()>& cancelled,
                         absl::FunctionRef<absl::Status(storage::Projection&)> use) const;
  // The digests of a stream folded again from the log up to `head`, beside its projection. Any
  // thread; takes as long as a rebuild. DATA_LOSS where the log does not lead to that head.
  absl::StatusOr<storage::Digests> FoldAnew(const Folded& folded, const events::Head& head,
                                            const std::function<bool()>& cancelled) const;
  // Every stream that is folded here, in the order of folded(), with whatever alarm any of its
  // consumers has.
  std::vector<StreamState> States() const;

 private:
  class ArchiveSink;

  Site(const Config& config, std::string name, storage::Log& log, runtime::Clock& clock,
       SiteParts parts);
  void RemoveVerifications(const std::string& stream) const;
  absl::Status OpenStream(const std::string& site, const std::string& service);
  // What this service's replicas have accepted of other sites' streams.
  runtime::AcceptedHeads AcceptedOf(const std::string& service) const;
  void AddSources();
  void OpenFeeds();
  absl::Status OpenArchive();
  void ExecuteDeployments();

  const Config& config_;
  const std::string name_;
  const std::vector<std::string> services_;
  storage::Log& log_;
  runtime::Clock& clock_;
  const SiteParts parts_;
  storage::Machine& machine_;
  std::vector<std::unique_ptr<Folded>> folded_;
  std::vector<std::unique_ptr<runtime::Feed>> feeds_;
  std::unique_ptr<storage::Archive> archive_;
  std::vector<std::unique_ptr<ArchiveSink>> archive_sinks_;
  // Feeds wait for their commands to be decided, so replicas have a thread of their own.
  std::vector<std::unique_ptr<runtime::Follower>> feed_followers_;  // one a home service
  std::unique_ptr<runtime::Follower> replica_follower_;
  std::unique_ptr<storage::Thread> executor_;
  std::atomic<bool> stopping_ = false;
};

}  // namespace concordat::node
