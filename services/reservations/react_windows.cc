#include <absl/algorithm/container.h>
#include <absl/strings/match.h>

#include <algorithm>
#include <utility>

#include "services/reservations/replacements.h"
#include "services/reservations/windows.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

Intents Record(const inventory::v1::WindowAnnounced& announced, absl::Time time) {
  v1::Command command;
  v1::WindowAffects& window = *command.mutable_record_window()->mutable_window();
  window.set_window(announced.name());
  *window.mutable_servers() = announced.servers();
  *window.mutable_start_time() = announced.start_time();
  *window.mutable_end_time() = announced.end_time();
  *window.mutable_announced_time() = runtime::ToTimestamp(time);
  window.set_emergency(announced.window_class() == inventory::v1::WINDOW_CLASS_EMERGENCY);
  return {Intent{.kind = "window", .subject = announced.name(), .command = std::move(command)}};
}

Intents Release(const std::string& window) {
  v1::Command command;
  command.mutable_release_window()->set_window(window);
  return {Intent{.kind = "release", .subject = window, .command = std::move(command)}};
}

Intent Review(const std::string& window) {
  v1::Command command;
  command.mutable_review_window()->set_window(window);
  return {.kind = "review", .subject = window, .command = std::move(command)};
}

Intents RecordRelocation(const std::string& window,
                         const google::protobuf::RepeatedPtrField<std::string>& customers,
                         bool given) {
  if (customers.empty()) return {};
  v1::Command command;
  v1::RecordRelocationConsent& consent = *command.mutable_record_relocation_consent();
  consent.set_window(window);
  *consent.mutable_customers() = customers;
  consent.set_given(given);
  return {Intent{.kind = "relocation", .subject = window, .command = std::move(command)}};
}

Intents RecordRelocation(const std::string& window, const std::string& customer, bool given) {
  google::protobuf::RepeatedPtrField<std::string> customers;
  *customers.Add() = customer;
  return RecordRelocation(window, customers, given);
}

Intents RecordDrained(const std::string& window) {
  v1::Command command;
  command.mutable_record_window_drained()->set_window(window);
  return {Intent{.kind = "drained", .subject = window, .command = std::move(command)}};
}

// Windows but `besides` that keep one of the servers for somebody.
template <typename Servers>
Intents ReviewKeepersOf(const Rows& rows, const Servers& servers, const std::string& besides) {
  const auto keeps = [&](const v1::AffectedReservation& affected) {
    return affected.has_kept_from() &&
           absl::c_any_of(affected.free_servers(), [&](const std::string& server) {
             return absl::c_linear_search(servers, server);
           });
  };
  Intents intents;
  rows.window_records.Scan("", [&](std::string_view name, const v1::WindowRecord& record) {
    if (name != besides && absl::c_any_of(record.window().affected(), keeps))
      intents.push_back(Review(std::string(name)));
    return true;
  });
  return intents;
}

// What was worked on must pass its burn-in again where the work asks for it.
template <typename Over>
Intents End(const Over& over) {
  Intents intents = Release(over.name());
  for (const std::string& name : over.servers()) {
    if (!over.retest()) break;
    intents.push_back(RecordUntested(name));
  }
  return intents;
}

}  // namespace

namespace {
Intent RecordTest(v1::ServerRecorded server) {
  std::string name = server.name();
  v1::Command command;
  *command.mutable_record_server()->mutable_server() = std::move(server);
  command.mutable_record_server()->set_test_only(true);
  return {.kind = "test", .subject = std::move(name), .command = std::move(command)};
}
}  // namespace

Intent RecordUntested(const std::string& server) {
  v1::ServerRecorded recorded;
  recorded.set_name(server);
  recorded.set_untested(true);
  return RecordTest(std::move(recorded));
}

Intent RecordPassed(const inventory::v1::BurnInPassed& passed) {
  v1::ServerRecorded recorded;
  recorded.set_name(passed.name());
  recorded.set_retest_after_tenant(passed.retest_after_tenant());
  if (passed.has_retest_margin()) *recorded.mutable_retest_margin() = passed.retest_margin();
  return RecordTest(std::move(recorded));
}

Intents FollowWindow(const inventory::v1::Event& event, absl::Time time) {
  if (event.has_window_announced()) return Record(event.window_announced(), time);
  if (event.has_window_overrunning()) {
    const std::string& window = event.window_overrunning().name();
    v1::Command command;
    command.mutable_prolong_window()->set_window(window);
    return {Intent{.kind = "prolong", .subject = window, .command = std::move(command)}};
  }
  if (event.has_window_work_added()) {
    const auto& added = event.window_work_added();
    return RecordRelocation(added.name(), added.voided_relocations(), false);
  }
  if (event.has_window_consent_given()) {
    const auto& given = event.window_consent_given();
    if (!given.relocation() && !given.relocation_withdrawn()) return {};
    return RecordRelocation(given.name(), given.customer(), given.relocation());
  }
  if (event.has_window_consent_refused()) {
    const auto& refused = event.window_consent_refused();
    if (!refused.relocation_withdrawn()) return {};
    return RecordRelocation(refused.name(), refused.customer(), false);
  }
  if (event.has_window_drained()) return RecordDrained(event.window_drained().name());
  if (event.has_window_closed()) return End(event.window_closed());
  if (event.has_window_aborted()) return End(event.window_aborted());
  if (event.has_window_cancelled()) return Release(event.window_cancelled().name());
  if (event.has_window_consent_lapsed()) return Release(event.window_consent_lapsed().name());
  return {};
}

Intents FollowAffects(const Rows& rows, const v1::WindowAffects& affects) {
  Intents intents = ReviewKeepersOf(rows, affects.servers(), affects.window());
  for (const v1::AffectedReservation& affected : affects.affected()) {
    const bool moves = affected.active() && affects.drained() && affected.has_kept_from();
    const bool planned =
        !affected.active() && affected.free_servers_size() >= affected.servers_size();
    if (!moves && !planned) continue;
    v1::Command command;
    command.mutable_reassign_servers()->set_reservation(affected.reservation());
    command.mutable_reassign_servers()->set_window(affects.window());
    intents.push_back(Intent{
        .kind = "reassign", .subject = affected.reservation(), .command = std::move(command)});
  }
  return intents;
}

Intents ReviewWindowsFor(const Rows& rows, const v1::ServerRecorded& server) {
  if (IsBookable(server)) return {};
  return ReviewKeepersOf(rows, std::vector<std::string>{server.name()}, "");
}

Intents ReviewWindowsOf(const Rows& rows, const std::string& reservation) {
  // Occurrences are named after their series. What a window affects may be thousands of
  // reservations, so that names are compared before rows are read.
  const auto is_it = [&](const v1::AffectedReservation& affected) {
    if (affected.reservation() == reservation) return true;
    if (!absl::StartsWith(affected.reservation(), reservation + "-")) return false;
    const auto row = rows.reservations.Get(affected.reservation());
    return row && row->series() == reservation;
  };
  Intents intents;
  rows.window_records.Scan("", [&](std::string_view name, const v1::WindowRecord& record) {
    if (absl::c_any_of(record.window().affected(), is_it))
      intents.push_back(Review(std::string(name)));
    return true;
  });
  return intents;
}

}  // namespace concordat::reservations
