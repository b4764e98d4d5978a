// Folds a stream again from its log, beside the projection, to compare the digests: what was
// changed by hand with its digest, and what an earlier release folded otherwise, shows only so.
#include <absl/time/clock.h>
#include <fmt/format.h>

#include <filesystem>

#include "services/node/site.h"
#include "services/runtime/fold.h"

namespace concordat::node {
namespace {

constexpr absl::Duration kReadPatience = absl::Seconds(10);

}  // namespace

absl::Status Site::FoldApart(const Folded& folded, int64_t last,
                             const std::function<bool()>& cancelled,
                             absl::FunctionRef<absl::Status(storage::Projection&)> use) const {
  const std::string dir = fmt::format("{}/{}/{}{}-{}", config_.data_dir, name_, kVerifying,
                                      folded.stream, absl::ToUnixNanos(absl::Now()));
  struct Folder {
    std::string path;
    ~Folder() {
      std::error_code error;
      std::filesystem::remove_all(path, error);
    }
  };
  const Folder folder{dir};  // outlives the database in it
  auto projection = storage::Projection::Open(
      dir, folded.stream,
      folded.home() ? events::Chain::Origin::kHome : events::Chain::Origin::kMirrored, kSchema);
  if (!projection.ok()) return projection.status();
  const auto engine = NewEngine(folded.service, (*projection)->journal());
  runtime::Fold fold(*engine, **projection, name_);
  const auto reader = log_.NewReader();
  absl::Status status = reader->Assign(folded.stream, 0);
  if (!status.ok()) return status;
  const events::Chain& chain = (*projection)->chain();
  runtime::Deliveries deliveries(*reader, storage::Machine::Real());
  for (absl::Time heard = absl::Now(); chain.head().sequence < last;) {
    if (cancelled()) return absl::CancelledError("the caller is gone");
    const auto read = deliveries.Next(absl::Milliseconds(100));
    if (!read.ok()) return read.status();
    for (const runtime::Delivery& delivery : *read) {
      if (chain.head().sequence == last) break;
      const auto outcome = fold.Offer(delivery);
      if (!outcome.ok()) return outcome.status();
      fold.TakePending();
    }
    status = fold.Commit();
    if (!status.ok()) return status;
    if (!read->empty()) heard = absl::Now();
    if (absl::Now() - heard > kReadPatience) {
      const auto end = log_.NewReader()->End(folded.stream);
      if (!end.ok()) return end.status();
      if (chain.next_offset() < *end) {
        return absl::UnavailableError(fmt::format(
            "{}: the log has given nothing for {} seconds, after {} of {} records; ask "
            "again later",
            folded.stream, absl::ToInt64Seconds(kReadPatience), chain.next_offset(), *end));
      }
      return absl::DataLossError(
          fmt::format("{}: folded again, the log ends at sequence {}, expected {}", folded.stream,
                      chain.head().sequence, last));
    }
  }
  return use(**projection);
}

absl::StatusOr<storage::Digests> Site::FoldAnew(const Folded& folded, const events::Head& head,
                                                const std::function<bool()>& cancelled) const {
  storage::Digests digests;
  const absl::Status folded_again =
      FoldApart(folded, head.sequence, cancelled, [&](storage::Projection& projection) {
        const events::Link& link = projection.chain().head().link;
        if (link != head.link) {
          return absl::DataLossError(
              fmt::format("{}: folded again, the log has the link {} at sequence {}, expected {}",
                          folded.stream, link.ToHex(), head.sequence, head.link.ToHex()));
        }
        digests = projection.digests();
        return absl::OkStatus();
      });
  if (!folded_again.ok()) return folded_again;
  return digests;
}

}  // namespace concordat::node
