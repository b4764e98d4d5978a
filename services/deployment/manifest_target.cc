#include "services/deployment/manifest_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>

#include "events/link.h"
#include "services/runtime/check.h"

namespace concordat::deployment {
namespace {

absl::Status Failed(std::string_view what, const std::string& path) {
  return absl::ErrnoToStatus(errno, fmt::format("{} {}", what, path));
}

// An open file or folder; closing it gives its lock back.
class File {
 public:
  static absl::StatusOr<File> Open(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
    if (fd < 0) return Failed("cannot open", path);
    return File(fd, path);
  }
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }

  absl::Status Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return Failed("cannot write", path_);
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }
  absl::Status Sync() {
    return fsync(fd_) == 0 ? absl::OkStatus() : Failed("cannot make durable", path_);
  }
  absl::Status Lock() {
    if (flock(fd_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
    if (errno != EWOULDBLOCK) return Failed("cannot lock", path_);
    return absl::UnavailableError(fmt::format("{} is locked by another executor", path_));
  }

 private:
  File(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

// Where one deployment's files are, and the locked folder that they are in.
struct Location {
  File folder;
  std::string manifest;
  std::string removed;
};

absl::StatusOr<Location> Locate(const std::string& dir, const v1::Deployment& deployment) {
  const std::string& name = deployment.name();
  // The name becomes a path, so it must be one that cannot leave the folder.
  if (!runtime::MatchesName(name, "sites/*/deployments/*")) {
    return absl::InvalidArgumentError(
        "name: found none of a deployment, expected sites/*/deployments/*");
  }
  std::ifstream told(dir + "/FAIL");
  if (told) {
    std::string line;
    std::getline(told, line);
    return absl::UnavailableError(line.empty() ? "told to fail" : line);
  }
  const std::string site = fmt::format("{}/{}", dir, runtime::SiteOfName(name));
  std::error_code error;
  std::filesystem::create_directories(site, error);
  if (error) {
    return absl::UnavailableError(fmt::format("cannot make {}: {}", site, error.message()));
  }
  absl::StatusOr<File> folder = File::Open(site, O_RDONLY | O_DIRECTORY);
  if (!folder.ok()) return folder.status();
  if (absl::Status locked = folder->Lock(); !locked.ok()) return locked;
  const std::string stem = fmt::format("{}/{}", site, name.substr(name.rfind('/') + 1));
  return Location{*std::move(folder), stem + ".json", stem + ".removed"};
}

absl::Status WriteDurably(const std::string& path, std::string_view bytes) {
  absl::StatusOr<File> file = File::Open(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file.ok()) return file.status();
  if (absl::Status written = file->Write(bytes); !written.ok()) return written;
  return file->Sync();
}

// An error where it cannot be told.
absl::StatusOr<bool> Exists(const std::string& path) {
  if (access(path.c_str(), F_OK) == 0) return true;
  if (errno == ENOENT) return false;
  return Failed("cannot look for", path);
}

absl::Status Unlink(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return Failed("cannot remove", path);
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      quoted += fmt::format("\\u{:04x}", static_cast<int>(c));
      continue;
    }
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace

std::string ManifestOf(const v1::Deployment& deployment) {
  std::string servers;
  for (const std::string& server : deployment.servers()) {
    servers += fmt::format("{}\n    {}", servers.empty() ? "" : ",", Quoted(server));
  }
  return fmt::format(
      "{{\n  \"deployment\": {},\n  \"artefact\": {},\n  \"digest\": {},\n  \"reservation\": {},\n"
      "  \"servers\": [{}{}]\n}}\n",
      Quoted(deployment.name()), Quoted(deployment.artefact()), Quoted(deployment.digest()),
      Quoted(deployment.reservation()), servers, servers.empty() ? "" : "\n  ");
}

ManifestTarget::ManifestTarget(std::string dir) : dir_(std::move(dir)) {}

absl::StatusOr<std::string> ManifestTarget::Place(const v1::Deployment& deployment) {
  absl::StatusOr<Location> location = Locate(dir_, deployment);
  if (!location.ok()) return location.status();
  const absl::StatusOr<bool> removed = Exists(location->removed);
  if (!removed.ok()) return removed.status();
  if (*removed) {
    return absl::FailedPreconditionError(
        fmt::format("{} was removed, and is not placed again", deployment.name()));
  }
  const std::string manifest = ManifestOf(deployment);
  const std::string unfinished = location->manifest + ".tmp";
  if (absl::Status written = WriteDurably(unfinished, manifest); !written.ok()) return written;
  if (rename(unfinished.c_str(), location->manifest.c_str()) != 0) {
    return Failed("cannot write", location->manifest);
  }
  if (absl::Status synced = location->folder.Sync(); !synced.ok()) return synced;
  return events::Sha256(manifest).ToHex();
}

absl::Status ManifestTarget::Remove(const v1::Deployment& deployment) {
  absl::StatusOr<Location> location = Locate(dir_, deployment);
  if (!location.ok()) return location.status();
  // First the mark, for a Place() that is still under way elsewhere must find it once the lock is
  // free.
  if (absl::Status marked = WriteDurably(location->removed, ""); !marked.ok()) return marked;
  if (absl::Status gone = Unlink(location->manifest + ".tmp"); !gone.ok()) return gone;
  if (absl::Status gone = Unlink(location->manifest); !gone.ok()) return gone;
  return location->folder.Sync();
}

}  // namespace concordat::deployment
