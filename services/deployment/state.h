// What deployment keeps: artefacts, the reservations it may use, deployments, and which of them
// wait for the executor. Law: a fold of its own stream and of nothing else.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>

#include "concordat/deployment/v1/api.pb.h"
#include "services/runtime/service.h"
#include "storage/projection/table.h"

namespace concordat::deployment {

struct Rows {
  explicit Rows(storage::Journal& journal)
      : artefacts("artefacts", journal, &journal),
        deployment_reservations("deployment_reservations", journal, &journal),
        deployments("deployments", journal, &journal),
        deployment_work("deployment_work", journal, &journal),
        drains("drains", journal, &journal) {}
  explicit Rows(const storage::RowSource& source)
      : artefacts("artefacts", source),
        deployment_reservations("deployment_reservations", source),
        deployments("deployments", source),
        deployment_work("deployment_work", source),
        drains("drains", source) {}

  storage::Table<v1::Artefact> artefacts;                         // by artefact
  storage::Table<v1::ReservationRecord> deployment_reservations;  // by reservation
  storage::Table<v1::Deployment> deployments;                     // by deployment
  // By deployment, when its next attempt may be made: those PLACING or REMOVING and no others, so
  // that the executor need not read all that ever ran.
  storage::Table<google::protobuf::Timestamp> deployment_work;
  storage::Table<v1::Drain> drains;  // by maintenance window
};

using Index = runtime::NoIndex;
using State = runtime::StateOf<Rows, Index>;

// The only way that rows change.
void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted);

// How long to wait after this many failed attempts: 1 s, doubling up to 60 s.
absl::Duration RetryDelay(int failed_attempts);

// Compliance judges it, it is being put on servers, runs, or is being removed: its reservation's
// servers cannot be freed.
bool IsLive(const v1::Deployment& deployment);

// The two have a server in common.
bool Share(const google::protobuf::RepeatedPtrField<std::string>& a,
           const google::protobuf::RepeatedPtrField<std::string>& b);
// A drain that is not over and has one of the servers; nothing where none is worked on.
std::optional<v1::Drain> DrainOf(const Rows& rows,
                                 const google::protobuf::RepeatedPtrField<std::string>& servers);
// A window that is not over removed it, or is removing it, and is to put it back.
bool IsDrained(const Rows& rows, const v1::Deployment& deployment);
// Another deployment goes on with what it was.
bool IsContinued(const Rows& rows, const v1::Deployment& deployment);
// No live deployment has one of the servers.
bool IsFree(const Rows& rows, const google::protobuf::RepeatedPtrField<std::string>& servers);

// No deployment of the reservation is live.
bool IsEmpty(const Rows& rows, const v1::ReservationRecord& reservation);

}  // namespace concordat::deployment
