// What reservations keeps: customers, contracts, reservations and orders, and what it knows of its
// site and the site's servers. Law: a fold of its own stream and of nothing else.
#pragma once

#include <google/protobuf/wrappers.pb.h>

#include <optional>
#include <set>
#include <string>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/index.h"
#include "services/runtime/service.h"
#include "storage/projection/table.h"

namespace concordat::reservations {

struct Rows {
  explicit Rows(storage::Journal& journal)
      : customers("customers", journal, &journal),
        contracts("contracts", journal, &journal),
        reservations("reservations", journal, &journal),
        schedules("schedules", journal, &journal),
        orders("orders", journal, &journal),
        quotas("quotas", journal, &journal),
        projects("projects", journal, &journal),
        waves("waves", journal, &journal),
        notice_times("notice_times", journal, &journal),
        site_records("site_records", journal, &journal),
        server_records("server_records", journal, &journal),
        deadlines("deadlines", journal, &journal),
        horizons("horizons", journal, &journal),
        zone_versions("zone_versions", journal, &journal),
        delayed("delayed", journal, &journal),
        declined_orders("declined_orders", journal, &journal),
        separations("separations", journal, &journal),
        bundles("bundles", journal, &journal),
        promises("promises", journal, &journal),
        bundle_deadlines("bundle_deadlines", journal, &journal),
        window_records("window_records", journal, &journal),
        shortfalls("shortfalls", journal, &journal) {}
  explicit Rows(const storage::RowSource& source)
      : customers("customers", source),
        contracts("contracts", source),
        reservations("reservations", source),
        schedules("schedules", source),
        orders("orders", source),
        quotas("quotas", source),
        projects("projects", source),
        waves("waves", source),
        notice_times("notice_times", source),
        site_records("site_records", source),
        server_records("server_records", source),
        deadlines("deadlines", source),
        horizons("horizons", source),
        zone_versions("zone_versions", source),
        delayed("delayed", source),
        declined_orders("declined_orders", source),
        separations("separations", source),
        bundles("bundles", source),
        promises("promises", source),
        bundle_deadlines("bundle_deadlines", source),
        window_records("window_records", source),
        shortfalls("shortfalls", source) {}

  storage::Table<v1::Customer> customers;
  storage::Table<v1::Contract> contracts;
  storage::Table<v1::Reservation> reservations;
  // Of contracts and reservations that have one and are not over, by their names.
  storage::Table<v1::Schedule> schedules;
  storage::Table<v1::Order> orders;  // this site's
  // This site's parts in contracts' quotas, by QuotaName().
  storage::Table<v1::Quota> quotas;
  storage::Table<v1::Project> projects;
  storage::Table<v1::Wave> waves;
  // Every reservation of whose end a notice is to be given, by DeadlineKey(); the value is its
  // name.
  storage::Table<google::protobuf::StringValue> notice_times;
  storage::Table<v1::SiteRecord> site_records;
  storage::Table<v1::ServerRecord> server_records;
  // Every reservation that has a deadline, by DeadlineKey(); the value is its name.
  storage::Table<google::protobuf::StringValue> deadlines;
  // Every schedule whose horizon has to move on, by DeadlineKey(); the value is its name.
  storage::Table<google::protobuf::StringValue> horizons;
  // Every schedule by the version of the zones' data, a slash and its name; the value is its name.
  storage::Table<google::protobuf::StringValue> zone_versions;
  // Reservations whose start is delayed, by name, with what each waits for.
  storage::Table<v1::ReservationDelayed> delayed;
  // Other sites' orders that were declined here: asked again, they are not decided again.
  storage::Table<v1::OrderDeclined> declined_orders;
  storage::Table<v1::Separation> separations;
  storage::Table<v1::Bundle> bundles;  // this site's
  // Parts here that are promised and whose coordinator has not decided, by reservation.
  storage::Table<v1::Promise> promises;
  // Bundles that are not decided, by DeadlineKey(); the value is the name.
  storage::Table<google::protobuf::StringValue> bundle_deadlines;
  // Maintenance windows that were announced and are not over.
  storage::Table<v1::WindowRecord> window_records;
  // What is reserved beyond what there is; few.
  storage::Table<v1::Shortfall> shortfalls;
};

using State = runtime::StateOf<Rows, Index>;

// The only way that rows change.
void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted);

// The names of this site's reservations that are not over: those that have a deadline, are
// promised, or are occurrences of a series that is held. Costs a look at each.
std::set<std::string> UnfinishedOf(const Rows& rows);

// When a timer has to act on the reservation; nothing where it waits for no time.
std::optional<absl::Time> DeadlineOf(const v1::Reservation& reservation);

// Whether what it waits for is that others are looked for its lost servers.
bool IsToHeal(const v1::Reservation& reservation);

// The time in microseconds, 20 digits, rounded up so that nothing is due early.
std::string TimeKey(absl::Time time);
// Orders by time: TimeKey() and name. A moved deadline has another key.
std::string DeadlineKey(absl::Time time, const std::string& reservation);

}  // namespace concordat::reservations
