#include "storage/projection/snapshot.h"

#include <absl/cleanup/cleanup.h>
#include <fmt/format.h>
#include <rocksdb/env.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "events/record.h"
#include "storage/machine.h"
#include "storage/projection/digest.h"
#include "storage/projection/rocksdb_store.h"
#include "storage/rocksdb.h"

namespace concordat::storage {
namespace {

namespace fs = std::filesystem;

// What a snapshot says of itself, beside the database's files: one `name value` a line.
constexpr char kLabel[] = "SNAPSHOT";
// What a snapshot's folder is called before it has a name; a random number and one of the process
// follow.
constexpr std::string_view kTaking = ".taking-";

absl::Status Failed(const std::string& doing, const std::error_code& error) {
  return absl::UnavailableError(fmt::format("cannot {}: {}", doing, error.message()));
}

absl::Status WriteLabel(const std::string& dir, const Snapshot& snapshot) {
  const std::string path = fs::path(dir) / kLabel;
  const std::string text = fmt::format(
      "stream {}\nsequence {}\nlink {}\ndigest {}\nschema {}\n", snapshot.stream,
      snapshot.head.sequence, snapshot.head.link.ToHex(), snapshot.digest, snapshot.schema);
  // Synced, as the files beside it are.
  return FromRocksDb(rocksdb::WriteStringToFile(rocksdb::Env::Default(), text, path, true),
                     fmt::format("cannot write {}", path));
}

absl::StatusOr<Snapshot> ReadLabel(const std::string& dir) {
  std::ifstream label(fs::path(dir) / kLabel);
  if (!label) {
    return absl::NotFoundError(
        fmt::format("{} is no snapshot, expected a folder with a file {}", dir, kLabel));
  }
  Snapshot snapshot;
  snapshot.dir = dir;
  std::string link;
  for (std::string name, value; label >> name >> value;) {
    if (name == "stream") snapshot.stream = value;
    if (name == "sequence") snapshot.head.sequence = std::atoll(value.c_str());
    if (name == "link") link = value;
    if (name == "digest") snapshot.digest = value;
    if (name == "schema") snapshot.schema = value;
  }
  const auto parsed = events::Link::FromHex(link);
  const bool named =
      !events::SourceOf(snapshot.stream).empty() && snapshot.stream.find('/') == std::string::npos;
  if (!parsed || !named || snapshot.digest.empty())
    return absl::DataLossError(fmt::format("{}/{} cannot be read", dir, kLabel));
  snapshot.head.link = *parsed;
  return snapshot;
}

// The head and the digest of the rows in a folder, as they are stored. The database is closed
// again.
absl::StatusOr<Snapshot> Look(const std::string& dir, const std::string& stream,
                              const std::string& schema) {
  {
    // What cannot be read is a bad snapshot here, and no reason to end the process.
    const auto store = OpenRocksDbStore(dir, StoreUse::kRows);
    if (!store.ok()) return store.status();
    const absl::Status readable =
        (*store)->Scan("", [](std::string_view, std::string_view) { return true; });
    if (!readable.ok()) {
      return absl::DataLossError(fmt::format("{} cannot be read, do not use it: {}", dir,
                                             std::string(readable.message())));
    }
  }
  auto projection = Projection::Open(dir, stream, events::Chain::Origin::kHome, schema);
  if (!projection.ok()) return projection.status();
  const Digests rows = Digests::Of(**projection);
  if (!(rows == (*projection)->digests())) {
    return absl::DataLossError(fmt::format(
        "the rows in {} have the digest {}, expected {} as it was kept while folding: do not use "
        "it; delete the projection instead, it is folded anew from the log",
        dir, rows.Total().ToHex(), (*projection)->digests().Total().ToHex()));
  }
  Snapshot snapshot;
  snapshot.dir = dir;
  snapshot.stream = stream;
  snapshot.head = (*projection)->chain().head();
  snapshot.digest = rows.Total().ToHex();
  snapshot.schema = schema;
  return snapshot;
}

}  // namespace

absl::StatusOr<Snapshot> TakeSnapshot(const Projection& projection, const std::string& folder,
                                      const std::string& schema) {
  const std::string stream = projection.chain().stream();
  const fs::path place = fs::path(folder) / stream;
  std::error_code error;
  fs::create_directories(place, error);
  if (error) return Failed(fmt::format("create {}", place.string()), error);
  // Several may be taken at once; what a process that died had begun with goes.
  static std::atomic<uint64_t> begun = 0;
  // No process has this again; its number another one may.
  static const std::string mine = fmt::format("{}{:016x}-", kTaking, Machine::Real().Random());
  for (const fs::directory_entry& entry : fs::directory_iterator(place, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kTaking) && !name.starts_with(mine)) fs::remove_all(entry.path(), error);
  }
  const fs::path taking = place / fmt::format("{}{}", mine, ++begun);
  const absl::Cleanup unnamed = [&taking] {
    std::error_code ignored;
    fs::remove_all(taking, ignored);
  };
  const absl::Status copied = projection.Checkpoint(taking.string());
  if (!copied.ok()) return copied;
  auto snapshot = Look(taking.string(), stream, schema);
  if (!snapshot.ok()) return snapshot;
  const absl::Status labelled = WriteLabel(taking.string(), *snapshot);
  if (!labelled.ok()) return labelled;
  const fs::path dir = place / fmt::format("{:012d}-{}", snapshot->head.sequence,
                                           snapshot->head.link.ToHex().substr(0, 12));
  fs::rename(taking, dir, error);
  if (error && !fs::exists(dir))  // otherwise there is one of that head
    return Failed(fmt::format("name {}", dir.string()), error);
  snapshot->dir = dir.string();
  return snapshot;
}

absl::StatusOr<Snapshot> CheckSnapshot(const std::string& dir) {
  const auto label = ReadLabel(dir);
  if (!label.ok()) return label.status();
  auto found = Look(dir, label->stream, label->schema);
  if (!found.ok()) return found.status();
  if (found->digest != label->digest || found->head.link != label->head.link ||
      found->head.sequence != label->head.sequence) {
    return absl::DataLossError(fmt::format(
        "{} holds sequence {} with the digest {}, expected sequence {} with {}: do not use it", dir,
        found->head.sequence, found->digest, label->head.sequence, label->digest));
  }
  return found;
}

absl::StatusOr<Snapshot> RestoreSnapshot(const std::string& dir, const std::string& folder) {
  const auto label = ReadLabel(dir);
  if (!label.ok()) return label.status();
  const std::string to = (fs::path(folder) / label->stream).string();
  if (fs::exists(to)) {
    return absl::AlreadyExistsError(
        fmt::format("there is a projection in {}; stop the process and delete it first", to));
  }
  auto snapshot = CheckSnapshot(dir);
  if (!snapshot.ok()) return snapshot;
  std::error_code error;
  const std::string copying = to + ".restoring";
  fs::remove_all(copying, error);
  fs::create_directories(folder, error);
  fs::copy(dir, copying, fs::copy_options::recursive, error);
  if (!error) fs::remove(fs::path(copying) / kLabel, error);
  if (!error) fs::rename(copying, to, error);
  if (error) return Failed(fmt::format("copy {} to {}", dir, to), error);
  snapshot->dir = to;
  return snapshot;
}

}  // namespace concordat::storage
