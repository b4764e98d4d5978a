// Commands about sites rather than resources: `status`, `link`, `clock`, `config`, `version`.
#pragma once

#include <absl/status/status.h>

#include <string>

#include "services/cli/session.h"

namespace concordat::cli {

// `cut`, `open`, with what waits to be carried; `carried elsewhere` where another program carries
// it, such as MirrorMaker, whose state this site cannot know.
std::string LinkText(const node::v1::LinkStatus& link);

// How every site of the context is. UNAVAILABLE where one does not answer, after the others were
// shown.
absl::Status RunStatus(Session& session);

// Cuts or heals the link that carries `origin`'s streams: to --site, or at every site in both
// directions.
absl::Status RunLink(Session& session, bool cut, const std::string& origin);

// Lets a writer of the site asked start without its peers' answer; `sequence` is its head's.
absl::Status RunHomeAllow(Session& session, const std::string& stream, int64_t sequence,
                          const std::string& reason);

// Copies the projections of the site asked, or one of them.
absl::Status RunSnapshot(Session& session, const std::string& stream);

absl::Status RunClockShow(Session& session);
// Sets the manual clock of every site of the context.
absl::Status RunClockSet(Session& session, const std::string& time);
absl::Status RunClockAdvance(Session& session, const std::string& duration);

absl::Status RunConfigContexts(Session& session);
absl::Status RunConfigUse(Session& session, const std::string& name);

absl::Status RunVersion(Session& session);

}  // namespace concordat::cli
