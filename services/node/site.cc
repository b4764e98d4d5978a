#include "services/node/site.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

#include "services/compliance/service.h"
#include "services/deployment/executor.h"
#include "services/deployment/manifest_target.h"
#include "services/deployment/service.h"
#include "services/inventory/service.h"
#include "services/node/peers.h"
#include "services/reservations/service.h"
#include "services/runtime/engine.h"
#include "storage/projection/rocksdb_store.h"

namespace concordat::node {
namespace {

constexpr absl::Duration kArchiveFlushInterval = absl::Seconds(10);

// `inventory` of `concordat.inventory.v1.Event`.
std::string ServiceOfEvent(const google::protobuf::Descriptor* event) {
  const std::string& package = event->file()->package();
  const size_t begin = package.find('.') + 1;
  return package.substr(begin, package.find('.', begin) - begin);
}

}  // namespace

std::unique_ptr<runtime::Engine> NewEngine(const std::string& service, storage::Journal& journal) {
  if (service == inventory::Service::kName)
    return std::make_unique<runtime::EngineOf<inventory::Service>>(journal);
  if (service == reservations::Service::kName)
    return std::make_unique<runtime::EngineOf<reservations::Service>>(journal);
  if (service == compliance::Service::kName)
    return std::make_unique<runtime::EngineOf<compliance::Service>>(journal);
  return std::make_unique<runtime::EngineOf<deployment::Service>>(journal);
}

Release Release::This() { return {CONCORDAT_VERSION, kSchema}; }

std::string Site::SnapshotFolder() const {
  return fmt::format("{}/{}/snapshots", config_.data_dir, name_);
}

bool Folded::WaitFor(int64_t sequence, absl::Duration wait) const {
  return writer != nullptr ? writer->WaitFor(sequence, wait) : replica->WaitFor(sequence, wait);
}

absl::Status Folded::Shows() const {
  const bool diverged = home() ? writer->View().diverged : replica->View().diverged;
  if (!diverged) return absl::OkStatus();
  return absl::DataLossError(home() ? writer->View().alarm : replica->View().alarm);
}

// Keeps one stream's accepted records in the archive.
class Site::ArchiveSink final : public runtime::Sink {
 public:
  ArchiveSink(storage::Archive& archive, events::Chain chain, storage::Machine& machine)
      : archive_(archive),
        chain_(std::move(chain)),
        machine_(machine),
        next_flush_(machine.Now() + kArchiveFlushInterval) {
    chain_.Rewind();
    Publish();
  }

  const std::string& stream() const override { return chain_.stream(); }
  int64_t next_offset() const override { return chain_.next_offset(); }
  absl::Status Offer(const runtime::Delivery& delivery) override {
    changed_ = true;
    if (chain_.Offer(delivery.reading(), delivery.offset()) == events::Outcome::kAccepted) {
      archive_.Add(chain_.stream(), delivery.attributes(), delivery.record());
    }
    return absl::OkStatus();
  }
  absl::Status EndBatch(const std::atomic<bool>& stopping) override {
    if (!changed_) return absl::OkStatus();
    changed_ = false;
    absl::Status status = archive_.Commit(chain_);
    while (!status.ok()) {
      {
        absl::MutexLock lock(&mutex_);
        view_.alarm = std::string(status.message());
      }
      if (stopping) return status;
      machine_.Sleep(absl::Milliseconds(200));
      status = archive_.Commit(chain_);
    }
    if (machine_.Now() >= next_flush_) {
      archive_.Flush();
      next_flush_ = machine_.Now() + kArchiveFlushInterval;
    }
    Publish();
    return absl::OkStatus();
  }
  void Stopped(const absl::Status& status) override {
    if (status.ok()) return Publish();
    absl::MutexLock lock(&mutex_);
    view_.alarm = std::string(status.message());
  }
  runtime::FollowedView View() const override {
    absl::MutexLock lock(&mutex_);
    return view_;
  }

 private:
  void Publish() {
    absl::MutexLock lock(&mutex_);
    view_ = {chain_.head(),  chain_.condition(), chain_.forked(),
             chain_.alarm(), chain_.voids(),     chain_.next_offset()};
  }
  storage::Archive& archive_;
  events::Chain chain_;
  storage::Machine& machine_;
  absl::Time next_flush_;
  bool changed_ = false;
  mutable absl::Mutex mutex_;
  runtime::FollowedView view_ ABSL_GUARDED_BY(mutex_);
};

Site::Site(const Config& config, std::string name, storage::Log& log, runtime::Clock& clock,
           SiteParts parts)
    : config_(config),
      name_(std::move(name)),
      services_(config.services),
      log_(log),
      clock_(clock),
      parts_(std::move(parts)),
      machine_(*parts_.machine) {}

Site::~Site() { Stop(); }

absl::StatusOr<std::unique_ptr<Site>> Site::Open(const Config& config, const std::string& name,
                                                 storage::Log& log, runtime::Clock& clock,
                                                 SiteParts parts) {
  if (!parts.open_store) {
    parts.open_store = [](const std::string& dir, storage::StoreUse use) {
      return storage::OpenRocksDbStore(dir, use);
    };
  }
  std::unique_ptr<Site> site(new Site(config, name, log, clock, std::move(parts)));
  for (const std::string& service : site->services_) {
    const absl::Status status = site->OpenStream(name, service);
    if (!status.ok()) return status;
  }
  for (const SiteConfig& other : config.sites) {
    if (other.name == name) continue;
    for (const std::string& service : site->services_) {
      const absl::Status status = site->OpenStream(other.name, service);
      if (!status.ok()) return status;
    }
  }
  site->OpenFeeds();
  // The archive and the peers are there before any writer runs.
  const absl::Status archive = site->OpenArchive();
  if (!archive.ok()) return archive;
  site->AddSources();

  std::vector<runtime::Sink*> replicas;
  for (const auto& folded : site->folded_) {
    if (folded->replica != nullptr) replicas.push_back(folded->replica.get());
  }
  for (const auto& sink : site->archive_sinks_) replicas.push_back(sink.get());
  site->replica_follower_ =
      std::make_unique<runtime::Follower>(log, std::move(replicas), site->machine_);
  return site;
}

// What verifications of a process that died have left.
void Site::RemoveVerifications(const std::string& stream) const {
  namespace fs = std::filesystem;
  const std::string begin = fmt::format("{}{}-", kVerifying, stream);
  std::error_code ignored;
  std::vector<fs::path> left;
  for (const auto& entry :
       fs::directory_iterator(fmt::format("{}/{}", config_.data_dir, name_), ignored)) {
    if (entry.path().filename().string().starts_with(begin)) left.push_back(entry.path());
  }
  for (const fs::path& folder : left) fs::remove_all(folder, ignored);
}

absl::Status Site::OpenStream(const std::string& site, const std::string& service) {
  auto folded = std::make_unique<Folded>();
  folded->stream = events::StreamName(site, service);
  folded->site = site;
  folded->service = service;
  const bool home = site == name_;
  auto store = parts_.open_store(fmt::format("{}/{}/{}", config_.data_dir, name_, folded->stream),
                                 storage::StoreUse::kRows);
  if (!store.ok()) return store.status();
  RemoveVerifications(folded->stream);  // the store is this process's, so they are too
  auto projection = storage::Projection::Open(
      *std::move(store), folded->stream,
      home ? events::Chain::Origin::kHome : events::Chain::Origin::kMirrored,
      parts_.release.schema);
  if (!projection.ok()) return projection.status();
  folded->projection = *std::move(projection);
  folded->engine = NewEngine(service, folded->projection->journal());
  if (home) {
    runtime::WriterOptions options;
    options.site = name_;
    options.release = parts_.release.name;
    options.attest = {.every_events = config_.attest_every_events,
                      .every = config_.attest_every,
                      .code = parts_.release.code(),
                      .accepted = [this, service] { return AcceptedOf(service); }};
    folded->home_check = std::make_unique<runtime::HomeCheck>(
        folded->stream, config_.run_dir.empty()
                            ? ""
                            : fmt::format("{}/{}/{}", config_.run_dir, name_, folded->stream));
    options.home_check = folded->home_check.get();
    options.demands = {config_.replication, config_.min_insync_replicas, true};
    options.timer_interval = parts_.idle;
    options.machine = &machine_;
    folded->writer = std::make_unique<runtime::Writer>(*folded->engine, *folded->projection, log_,
                                                       clock_, options);
  } else {
    folded->replica = std::make_unique<runtime::Replica>(*folded->engine, *folded->projection,
                                                         name_, machine_, parts_.release.code());
  }
  folded_.push_back(std::move(folded));
  return absl::OkStatus();
}

runtime::AcceptedHeads Site::AcceptedOf(const std::string& service) const {
  runtime::AcceptedHeads accepted;
  for (const auto& folded : folded_) {
    if (folded->home() || folded->service != service) continue;
    const runtime::FollowedView view = folded->replica->View();
    if (view.diverged || view.condition == events::Condition::kDamaged) continue;
    accepted.heads.push_back({folded->stream, view.head});
    accepted.facts += static_cast<uint64_t>(view.last_fact + 1);
  }
  return accepted;
}

// Where the lost end of a stream may still be found. The sites of this process are added by it.
void Site::AddSources() {
  for (const auto& home : folded_) {
    if (!home->home()) continue;
    if (archive_ != nullptr) {
      home->home_check->Add(
          std::make_unique<ArchivePeer>(name_ + "'s own archive", false, *archive_, nullptr));
    }
    for (const auto& other : folded_) {
      if (other->home() || other->service != home->service) continue;
      home->home_check->Add(NewAttestedPeer(other->stream, *other->projection));
    }
    for (const SiteConfig& other : config_.sites) {
      const bool here =
          std::find(config_.here.begin(), config_.here.end(), other.name) != config_.here.end();
      if (!here && !other.grpc.empty())
        home->home_check->Add(NewRemotePeer(other.name, other.grpc));
    }
  }
}

void Site::AddPeer(Site& other) {
  if (other.archive() == nullptr) return;
  for (const auto& home : folded_) {
    if (!home->home()) continue;
    home->home_check->Add(
        std::make_unique<ArchivePeer>(other.name(), true, *other.archive(), &other.log()));
  }
}

void Site::OpenFeeds() {
  for (const auto& folded : folded_) {
    if (!folded->home()) continue;
    // A follower a writer: one that does not write makes those wait that wait for it, and no other.
    std::vector<runtime::Sink*> sinks;
    for (const google::protobuf::Descriptor* event : folded->engine->followed()) {
      const std::string service = ServiceOfEvent(event);
      const bool peers = service == folded->service;
      for (const SiteConfig& site : config_.sites) {
        if (peers == (site.name == name_))
          continue;  // peers: every other site; other services: this site
        feeds_.push_back(std::make_unique<runtime::Feed>(
            *folded->engine, *folded->writer, *folded->projection,
            events::StreamName(site.name, service), event, name_, machine_));
        sinks.push_back(feeds_.back().get());
      }
    }
    feed_followers_.push_back(
        std::make_unique<runtime::Follower>(log_, std::move(sinks), machine_));
  }
}

absl::Status Site::OpenArchive() {
  if (Home("compliance") == nullptr) return absl::OkStatus();
  auto store = parts_.open_store(fmt::format("{}/{}/archive", config_.data_dir, name_),
                                 storage::StoreUse::kRecords);
  if (!store.ok()) return store.status();
  auto archive = storage::Archive::Open(*std::move(store));
  if (!archive.ok()) return archive.status();
  archive_ = *std::move(archive);
  for (const SiteConfig& site : config_.sites) {
    for (const std::string& service : AllServices()) {
      auto chain = archive_->ChainOf(
          events::StreamName(site.name, service),
          site.name == name_ ? events::Chain::Origin::kHome : events::Chain::Origin::kMirrored);
      if (!chain.ok()) return chain.status();
      archive_sinks_.push_back(
          std::make_unique<ArchiveSink>(*archive_, *std::move(chain), machine_));
    }
  }
  return absl::OkStatus();
}

void Site::Run() {
  for (const auto& folded : folded_) {
    if (folded->home()) folded->writer->Run();
  }
  for (const auto& follower : feed_followers_) follower->Run(parts_.idle);
  replica_follower_->Run(parts_.idle);
  if (Home("deployment") != nullptr)
    executor_ = machine_.Start("executor", [this] { ExecuteDeployments(); });
}

void Site::Stop() {
  if (stopping_.exchange(true)) return;
  if (executor_ != nullptr) executor_->Join();
  for (const auto& follower : feed_followers_) follower->BeginToStop();
  if (replica_follower_ != nullptr) replica_follower_->BeginToStop();
  for (const auto& follower : feed_followers_) follower->Stop();
  if (replica_follower_ != nullptr) replica_follower_->Stop();
  for (const auto& folded : folded_) {
    if (folded->home()) folded->writer->Stop();
  }
}

// What was decided about models is carried out here, and what came of it goes back as commands.
void Site::ExecuteDeployments() {
  Folded& home = *Home("deployment");
  deployment::ManifestTarget manifests(fmt::format("{}/{}/manifests", config_.data_dir, name_));
  deployment::Target& target = parts_.target == nullptr ? manifests : *parts_.target;
  while (!stopping_) {
    // A writer that does not write may have been replaced: what its rows ask for may be done
    // already.
    if (home.writer->View().state != runtime::WriterState::kWriting) {
      machine_.Sleep(parts_.idle / 5);
      continue;
    }
    const auto steps =
        deployment::Work(deployment::Rows(*home.projection->View()), clock_.Now(), 100);
    for (const deployment::Step& step : steps) {
      if (stopping_) return;
      runtime::Submission submission;
      submission.command =
          std::make_unique<deployment::v1::Command>(deployment::Execute(target, step.deployment));
      submission.command_id = step.command_id;
      submission.actor = fmt::format("{}deployment", runtime::kSystemActor);
      submission.correlation_id = step.deployment.correlation_id();
      struct Answer {
        absl::Mutex mutex;
        bool given ABSL_GUARDED_BY(mutex) = false;
        bool recorded ABSL_GUARDED_BY(mutex) = false;
      };
      const auto answer = std::make_shared<Answer>();
      submission.done = [answer](const absl::StatusOr<type::v1::Outcome>& outcome) {
        absl::MutexLock lock(&answer->mutex);
        answer->given = true;
        answer->recorded = outcome.ok();
      };
      home.writer->Submit(std::move(submission));
      bool recorded = false;
      {
        absl::MutexLock lock(&answer->mutex);
        // A writer whose log does not answer says nothing until it stops, and it stops after this.
        // A step that was not recorded is made again.
        const auto over = [&] { return answer->given || stopping_.load(); };
        while (!machine_.Await(answer->mutex, absl::Condition(&over), absl::Milliseconds(100))) {
        }
        recorded = answer->recorded;
      }
      if (recorded) continue;
      machine_.Sleep(parts_.idle / 5);
      break;
    }
    for (int i = 0; i < 5 && !stopping_ && steps.empty(); ++i) machine_.Sleep(parts_.idle / 5);
  }
}

absl::Status Site::WaitUntilWriting(absl::Duration wait) const {
  const absl::Time deadline = machine_.Now() + wait;
  for (const auto& folded : folded_) {
    if (!folded->home()) continue;
    const absl::Status status = folded->writer->WaitUntilWriting(deadline - machine_.Now());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Site::Ready() const {
  return !stopping_ && std::all_of(folded_.begin(), folded_.end(), [](const auto& folded) {
    return !folded->home() || folded->writer->View().state == runtime::WriterState::kWriting;
  });
}

Folded* Site::Home(const std::string& service) const {
  for (const auto& folded : folded_) {
    if (folded->home() && folded->service == service) return folded.get();
  }
  return nullptr;
}

std::vector<StreamState> Site::States() const {
  std::vector<StreamState> states;
  const auto lag = replica_follower_->Lag();
  const auto add_alarm = [](StreamState& state, const std::string& alarm) {
    if (!alarm.empty() && state.alarm.empty()) state.alarm = alarm;
  };
  for (const auto& folded : folded_) {
    StreamState state{.stream = folded->stream,
                      .home = folded->home(),
                      .head = {},
                      .condition = {},
                      .writer_state = {},
                      .home_check = {},
                      .alarm = {},
                      .voids = {},
                      .lag = 0};
    if (folded->home()) {
      const runtime::StreamView view = folded->writer->View();
      state.head = view.head;
      state.condition = view.diverged ? "diverged" : Name(view.condition);
      state.writer_state = Name(view.state);
      state.home_check = view.home_check;
      state.folded_records = view.folded_records;
      state.records_to_fold = view.records_to_fold;
      state.records_per_second = view.records_per_second;
      state.voids = view.voids;
      add_alarm(state, view.alarm);
    } else {
      const runtime::FollowedView view = folded->replica->View();
      state.head = view.head;
      state.condition = view.diverged ? "diverged" : view.forked ? "forked" : Name(view.condition);
      state.voids = view.voids;
      add_alarm(state, view.alarm);
      const auto found = lag.find(folded->stream);
      if (found != lag.end()) state.lag = found->second;
    }
    for (const auto& feed : feeds_) {
      if (feed->stream() == folded->stream) add_alarm(state, feed->View().alarm);
    }
    for (const auto& sink : archive_sinks_) {
      if (sink->stream() == folded->stream) add_alarm(state, sink->View().alarm);
    }
    if (folded->home()) add_alarm(state, clock_.Alarm());
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace concordat::node
