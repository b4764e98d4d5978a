#include "services/deployment/state.h"

#include <absl/algorithm/container.h>
#include <algorithm>

#include "services/runtime/check.h"

namespace concordat::deployment {
namespace {

using Accepted = runtime::Accepted<v1::Event>;

void Put(Rows& rows, const v1::Deployment& deployment) {
  rows.deployments.Put(deployment.name(), deployment);
  const bool waits = deployment.state() == v1::DEPLOYMENT_STATE_PLACING ||
                     deployment.state() == v1::DEPLOYMENT_STATE_REMOVING;
  if (waits) {
    rows.deployment_work.Put(deployment.name(), deployment.retry_time());
  } else if (rows.deployment_work.Contains(deployment.name())) {
    rows.deployment_work.Delete(deployment.name());
  }
}

// A step begins: no attempt of it has failed yet, and the first may be made at once. A removal may
// begin while another is under way: a window drains the servers, and then the reservation ends.
void Begin(Rows& rows, v1::Deployment deployment, v1::DeploymentState step, absl::Time time) {
  deployment.set_state(step);
  deployment.set_steps(deployment.steps() + 1);
  deployment.set_failed_attempts(0);
  *deployment.mutable_retry_time() = runtime::ToTimestamp(time);
  Put(rows, deployment);
}

// No step follows by itself.
void End(Rows& rows, v1::Deployment deployment, v1::DeploymentState state) {
  deployment.set_state(state);
  deployment.clear_retry_time();
  Put(rows, deployment);
}

void Fail(Rows& rows, v1::Deployment& deployment, int attempt, const std::string& detail,
          absl::Time time) {
  deployment.set_failed_attempts(attempt);
  deployment.set_detail(detail);
  *deployment.mutable_retry_time() = runtime::ToTimestamp(time + RetryDelay(attempt));
  Put(rows, deployment);
}

v1::ReservationRecord ReservationOf(const Rows& rows, const std::string& name) {
  v1::ReservationRecord record =
      rows.deployment_reservations.Get(name).value_or(v1::ReservationRecord());
  record.set_name(name);
  return record;
}

void Register(Rows& rows, const v1::ArtefactRegistered& registered) {
  v1::Artefact artefact;
  artefact.set_name(registered.name());
  *artefact.mutable_artefact() = registered;
  rows.artefacts.Put(artefact.name(), artefact);
}

void Record(Rows& rows, const v1::ReservationRecorded& recorded) {
  v1::ReservationRecord record = ReservationOf(rows, recorded.reservation());
  record.set_customer(recorded.customer());
  *record.mutable_servers() = recorded.servers();
  rows.deployment_reservations.Put(record.name(), record);
}

// The servers without those that are replaced.
void Replace(google::protobuf::RepeatedPtrField<std::string>& servers,
             const google::protobuf::RepeatedPtrField<std::string>& replaced) {
  servers.erase(std::remove_if(servers.begin(), servers.end(),
                               [&](const std::string& server) {
                                 return absl::c_linear_search(replaced, server);
                               }),
                servers.end());
}

// What is given up belongs to the next one: what runs elsewhere is not on it. What is being removed
// has to be removed there still.
void Join(Rows& rows, const v1::ServersJoined& joined) {
  v1::ReservationRecord record = ReservationOf(rows, joined.reservation());
  Replace(*record.mutable_servers(), joined.replaced_servers());
  record.mutable_servers()->MergeFrom(joined.servers());
  rows.deployment_reservations.Put(record.name(), record);
  for (const std::string& name : record.deployments()) {
    std::optional<v1::Deployment> deployment = rows.deployments.Get(name);
    if (!deployment || !Share(deployment->servers(), joined.replaced_servers()) ||
        (deployment->state() != v1::DEPLOYMENT_STATE_REQUESTED &&
         deployment->state() != v1::DEPLOYMENT_STATE_PLACING &&
         deployment->state() != v1::DEPLOYMENT_STATE_RUNNING))
      continue;
    Replace(*deployment->mutable_servers(), joined.replaced_servers());
    Put(rows, *deployment);
  }
}

void Request(Rows& rows, const v1::DeploymentRequested& requested, const Accepted& accepted) {
  v1::Deployment deployment;
  deployment.set_name(requested.name());
  deployment.set_state(v1::DEPLOYMENT_STATE_REQUESTED);
  deployment.set_artefact(requested.artefact().name());
  deployment.set_digest(requested.artefact().digest());
  deployment.set_reservation(requested.reservation());
  *deployment.mutable_servers() = requested.servers();
  deployment.set_correlation_id(accepted.attributes.correlation_id);
  deployment.set_continues(requested.continues());
  Put(rows, deployment);
  v1::ReservationRecord record = ReservationOf(rows, requested.reservation());
  record.add_deployments(requested.name());
  rows.deployment_reservations.Put(record.name(), record);
}

void Vacate(Rows& rows, const v1::ReservationVacating& vacating, absl::Time time) {
  v1::ReservationRecord record = ReservationOf(rows, vacating.reservation());
  record.set_vacating(true);
  rows.deployment_reservations.Put(record.name(), record);
  for (const std::string& name : vacating.deployments()) {
    if (std::optional<v1::Deployment> deployment = rows.deployments.Get(name)) {
      Begin(rows, *std::move(deployment), v1::DEPLOYMENT_STATE_REMOVING, time);
    }
  }
}

void Drain(Rows& rows, const v1::ServersDraining& draining, absl::Time time) {
  v1::Drain drain;
  drain.set_name(draining.window());
  *drain.mutable_servers() = draining.servers();
  *drain.mutable_deployments() = draining.deployments();
  rows.drains.Put(drain.name(), drain);
  for (const auto* names : {&draining.deployments(), &draining.remnants()}) {
    for (const std::string& name : *names) {
      std::optional<v1::Deployment> deployment = rows.deployments.Get(name);
      if (!deployment) continue;
      deployment->set_drained_by(draining.window());
      Begin(rows, *std::move(deployment), v1::DEPLOYMENT_STATE_REMOVING, time);
    }
  }
}

// The drain with `change` applied; one that is not known is ignored.
template <typename Change>
void ChangeDrain(Rows& rows, const std::string& window, Change change) {
  std::optional<v1::Drain> drain = rows.drains.Get(window);
  if (!drain) return;
  change(*drain);
  rows.drains.Put(window, *drain);
}

void EndReservation(Rows& rows, const std::string& name) {
  v1::ReservationRecord record = ReservationOf(rows, name);
  record.set_vacating(true);
  record.set_vacated(true);
  rows.deployment_reservations.Put(name, record);
}

}  // namespace

absl::Duration RetryDelay(int failed_attempts) {
  constexpr int kDoublings = 6;  // 64 s, above the bound
  const int doublings = std::clamp(failed_attempts - 1, 0, kDoublings);
  return std::min(absl::Seconds(int64_t{1} << doublings), absl::Seconds(60));
}

bool IsLive(const v1::Deployment& deployment) {
  return deployment.state() == v1::DEPLOYMENT_STATE_REQUESTED ||
         deployment.state() == v1::DEPLOYMENT_STATE_PLACING ||
         deployment.state() == v1::DEPLOYMENT_STATE_RUNNING ||
         deployment.state() == v1::DEPLOYMENT_STATE_REMOVING;
}

bool Share(const google::protobuf::RepeatedPtrField<std::string>& a,
           const google::protobuf::RepeatedPtrField<std::string>& b) {
  return std::any_of(a.begin(), a.end(),
                     [&](const std::string& server) { return absl::c_linear_search(b, server); });
}

std::optional<v1::Drain> DrainOf(const Rows& rows,
                                 const google::protobuf::RepeatedPtrField<std::string>& servers) {
  std::optional<v1::Drain> found;
  rows.drains.Scan("", [&](std::string_view, const v1::Drain& drain) {
    if (!drain.returned() && Share(drain.servers(), servers)) found = drain;
    return !found;
  });
  return found;
}

bool IsDrained(const Rows& rows, const v1::Deployment& deployment) {
  const std::optional<v1::Drain> drain = rows.drains.Get(deployment.drained_by());
  return drain && !drain->returned() &&
         absl::c_linear_search(drain->deployments(), deployment.name());
}

bool IsContinued(const Rows& rows, const v1::Deployment& deployment) {
  const v1::ReservationRecord reservation = ReservationOf(rows, deployment.reservation());
  return absl::c_any_of(reservation.deployments(), [&](const std::string& name) {
    const std::optional<v1::Deployment> other = rows.deployments.Get(name);
    return other && other->continues() == deployment.name();
  });
}

bool IsFree(const Rows& rows, const google::protobuf::RepeatedPtrField<std::string>& servers) {
  bool free = true;
  rows.deployments.Scan("", [&](std::string_view, const v1::Deployment& deployment) {
    free = !IsLive(deployment) || !Share(deployment.servers(), servers);
    return free;
  });
  return free;
}

bool IsEmpty(const Rows& rows, const v1::ReservationRecord& reservation) {
  return std::none_of(reservation.deployments().begin(), reservation.deployments().end(),
                      [&](const auto& name) {
                        const std::optional<v1::Deployment> deployment = rows.deployments.Get(name);
                        return deployment && IsLive(*deployment);
                      });
}

void Evolve(Rows& rows, const Accepted& accepted) {
  const v1::Event& event = accepted.event;
  // A deployment that is not known is left alone.
  const auto change = [&](const std::string& name, auto&& how) {
    if (std::optional<v1::Deployment> deployment = rows.deployments.Get(name)) {
      how(*std::move(deployment));
    }
  };
  switch (event.event_case()) {
    case v1::Event::kArtefactRegistered:
      return Register(rows, event.artefact_registered());
    case v1::Event::kReservationRecorded:
      return Record(rows, event.reservation_recorded());
    case v1::Event::kServersJoined:
      return Join(rows, event.servers_joined());
    case v1::Event::kDeploymentRequested:
      return Request(rows, event.deployment_requested(), accepted);
    case v1::Event::kDeploymentCleared:
      return change(event.deployment_cleared().name(), [&](v1::Deployment deployment) {
        Begin(rows, std::move(deployment), v1::DEPLOYMENT_STATE_PLACING, accepted.time);
      });
    case v1::Event::kDeploymentProhibited:
      return change(event.deployment_prohibited().name(), [&](v1::Deployment deployment) {
        deployment.set_detail(event.deployment_prohibited().detail());
        End(rows, std::move(deployment), v1::DEPLOYMENT_STATE_PROHIBITED);
      });
    case v1::Event::kModelPlaced:
      return change(event.model_placed().name(), [&](v1::Deployment deployment) {
        deployment.set_manifest_digest(event.model_placed().manifest_digest());
        deployment.set_failed_attempts(0);
        deployment.clear_detail();
        End(rows, std::move(deployment), v1::DEPLOYMENT_STATE_RUNNING);
      });
    case v1::Event::kPlacementFailed:
      return change(event.placement_failed().name(), [&](v1::Deployment deployment) {
        const v1::PlacementFailed& failed = event.placement_failed();
        Fail(rows, deployment, failed.attempt(), failed.detail(), accepted.time);
        if (failed.given_up()) End(rows, std::move(deployment), v1::DEPLOYMENT_STATE_FAILED);
      });
    case v1::Event::kReservationVacating:
      return Vacate(rows, event.reservation_vacating(), accepted.time);
    case v1::Event::kModelRemoved:
      return change(event.model_removed().name(), [&](v1::Deployment deployment) {
        End(rows, std::move(deployment), v1::DEPLOYMENT_STATE_REMOVED);
      });
    case v1::Event::kRemovalFailed:
      return change(event.removal_failed().name(), [&](v1::Deployment deployment) {
        Fail(rows, deployment, event.removal_failed().attempt(), event.removal_failed().detail(),
             accepted.time);
      });
    case v1::Event::kReservationVacated:
      return EndReservation(rows, event.reservation_vacated().reservation());
    case v1::Event::kServersDraining:
      return Drain(rows, event.servers_draining(), accepted.time);
    case v1::Event::kServersDrained:
      return ChangeDrain(rows, event.servers_drained().window(),
                         [](v1::Drain& drain) { drain.set_drained(true); });
    case v1::Event::kServersReturned:
      return ChangeDrain(rows, event.servers_returned().window(), [&](v1::Drain& drain) {
        drain.set_returned(true);
        *drain.mutable_deployments() = event.servers_returned().deployments();
      });
    case v1::Event::kCommandRefused:
    case v1::Event::EVENT_NOT_SET:
      return;
  }
}

}  // namespace concordat::deployment
