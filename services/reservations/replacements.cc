#include "services/reservations/replacements.h"

#include <absl/algorithm/container.h>

#include <algorithm>
#include <string>

#include "services/reservations/amendments.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

// What there is to look at has changed, so that what was due before is not due again.
void CountOccasion(v1::Reservation& reservation) {
  reservation.set_heal_occasions(reservation.heal_occasions() + 1);
}

// What is ENDING or CLEANING is given back anyhow, though it may have a deadline.
bool IsGivenBack(const v1::Reservation& reservation) {
  return reservation.state() == v1::RESERVATION_STATE_ENDING ||
         reservation.state() == v1::RESERVATION_STATE_CLEANING;
}

// Those that it was moved away from are its own until they are clean; what is clean by now goes.
void LeaveServers(v1::Reservation& reservation, const v1::ServersReassigned& reassigned,
                  absl::Time time) {
  auto& left = *reservation.mutable_left_servers();
  left.erase(std::remove_if(left.begin(), left.end(),
                            [&](const v1::LeftServer& server) {
                              return runtime::ToTime(server.end_time()) <= time;
                            }),
             left.end());
  if (!reassigned.has_cleaning_until()) return;
  for (const std::string& server : reassigned.removed()) {
    if (IsLost(reservation, server)) continue;
    v1::LeftServer& one = *left.Add();
    one.set_server(server);
    *one.mutable_start_time() = runtime::ToTimestamp(time);
    *one.mutable_end_time() = reassigned.cleaning_until();
  }
}

}  // namespace

bool IsBookable(const v1::ServerRecorded& server) {
  return server.bookable() && !server.lost() && !server.untested();
}

void EndHealing(v1::Reservation& after) {
  const bool goes_on = after.state() == v1::RESERVATION_STATE_HELD ||
                       after.state() == v1::RESERVATION_STATE_CONFIRMED ||
                       after.state() == v1::RESERVATION_STATE_ACTIVE;
  if (goes_on && !after.lost_servers().empty()) return;
  after.clear_heal_time();
  after.clear_heals();
  after.clear_offered_servers();
}

bool ChangeServers(v1::Reservation& reservation, const v1::ServerRecorded& recorded,
                   absl::Time time) {
  if (IsGivenBack(reservation)) return false;
  const auto& servers = reservation.servers();
  if (!absl::c_linear_search(servers, recorded.name())) return false;
  auto& lost = *reservation.mutable_lost_servers();
  const auto marked = std::find(lost.begin(), lost.end(), recorded.name());
  const bool active = reservation.state() == v1::RESERVATION_STATE_ACTIVE;
  if (recorded.lost() && marked != lost.end()) return false;
  if (!recorded.lost() && marked == lost.end()) return false;
  if (recorded.lost()) {
    lost.Add(std::string(recorded.name()));
    if (active) {
      v1::Outage& outage = *reservation.add_outages();
      outage.set_server(recorded.name());
      *outage.mutable_start_time() = runtime::ToTimestamp(time);
    }
  } else if (!active) {
    lost.erase(marked);
  }
  *reservation.mutable_heal_time() = runtime::ToTimestamp(time);
  reservation.clear_heals();
  CountOccasion(reservation);
  return true;
}

void ChangeServers(v1::Reservation& reservation, const v1::ServersReassigned& reassigned,
                   absl::Time time) {
  const auto is_removed = [&](const std::string& server) {
    const auto& removed = reassigned.removed();
    return absl::c_linear_search(removed, server);
  };
  LeaveServers(reservation, reassigned, time);
  *reservation.mutable_servers() = reassigned.servers();
  reservation.set_it_power_watts(reassigned.it_power_watts());
  reservation.set_cooling_watts(reassigned.cooling_watts());
  auto& lost = *reservation.mutable_lost_servers();
  lost.erase(std::remove_if(lost.begin(), lost.end(), is_removed), lost.end());
  for (v1::Outage& outage : *reservation.mutable_outages()) {
    if (!outage.has_end_time() && is_removed(outage.server()))
      *outage.mutable_end_time() = runtime::ToTimestamp(time);
  }
  reservation.clear_offered_servers();
  reservation.clear_heals();
  reservation.clear_heal_time();
  if (reassigned.has_retry_time()) *reservation.mutable_heal_time() = reassigned.retry_time();
  CountOccasion(reservation);
  // Those that the start went without were not counted.
  if (reassigned.accelerators() > 0) reservation.set_accelerators(reassigned.accelerators());
  if (!reassigned.segments().empty()) *reservation.mutable_segments() = reassigned.segments();
}

void ChangeServers(v1::Reservation& reservation, const v1::ServersMissing& missing, absl::Time) {
  *reservation.mutable_heal_time() = missing.retry_time();
  reservation.set_heals(reservation.heals() + 1);
  reservation.clear_offered_servers();
  CountOccasion(reservation);
}

void ChangeServers(v1::Reservation& reservation, const v1::ReplacementOffered& offered,
                   absl::Time) {
  *reservation.mutable_heal_time() = offered.retry_time();
  reservation.set_heals(reservation.heals() + 1);
  *reservation.mutable_offered_servers() = offered.free_servers();
  CountOccasion(reservation);
}

}  // namespace concordat::reservations
