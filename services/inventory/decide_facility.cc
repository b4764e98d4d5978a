#include <fmt/format.h>

#include "services/inventory/decider.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

// Another reading about part of the span, by name; empty where there is none.
std::string Overlapping(const Rows& rows, const v1::RecordReadingRequest& request) {
  std::string found;
  // Ordered by their ends, and none overlaps: the first that ends after the start is the only one.
  rows.reading_ends.Scan(
      "",
      [&](std::string_view, const google::protobuf::StringValue& name) {
        if (name.value() == request.name()) return true;
        const auto other = rows.readings.Get(name.value());
        const bool begins_before = other && runtime::ToTime(other->reading().start_time()) <
                                                runtime::ToTime(request.end_time());
        if (begins_before) found = name.value();
        return false;
      },
      TimeKey(runtime::ToTime(request.start_time()) + absl::Microseconds(1)));
  return found;
}

}  // namespace

v1::Event ReportFacility(const State& state, const v1::ReportFacilityRequest& request,
                         const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.site(), facts)) return *refusal;
  if (auto refusal = OverAlready(request, request.until(), facts)) return *refusal;
  v1::Event event;
  v1::FacilityReported& reported = *event.mutable_facility_reported();
  reported.set_site(request.site());
  reported.set_it_power_watts(request.it_power_watts());
  reported.set_cooling_watts(request.cooling_watts());
  *reported.mutable_until() = request.until();
  reported.set_cause(request.cause());
  reported.set_detail(request.detail());
  return event;
}

v1::Event RecordReading(const State& state, const v1::RecordReadingRequest& request,
                        const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  const bool known = state.rows.readings.Contains(request.name());
  if (known && request.correction().empty()) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is recorded already, expected a new name, or a correction that "
                               "says why it is replaced.",
                               request.name()));
  }
  if (!known && !request.correction().empty()) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not recorded, expected a reading that is corrected, or no "
                               "correction.",
                               request.name()));
  }
  if (runtime::ToTime(request.end_time()) > facts.now) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("end_time is {}, expected {} or before: meters tell what was.",
                               runtime::ToText(runtime::ToTime(request.end_time())),
                               runtime::ToText(facts.now)));
  }
  if (const std::string other = Overlapping(state.rows, request); !other.empty()) {
    return Refused(request, v1::REASON_READING_OVERLAP,
                   fmt::format("{} is about part of the span already, expected a span that no "
                               "reading is about, or a correction of that one.",
                               other));
  }
  v1::Event event;
  v1::ReadingRecorded& recorded = *event.mutable_reading_recorded();
  recorded.set_name(request.name());
  *recorded.mutable_start_time() = request.start_time();
  *recorded.mutable_end_time() = request.end_time();
  recorded.set_total_watt_hours(request.total_watt_hours());
  recorded.set_it_watt_hours(request.it_watt_hours());
  recorded.set_renewable_watt_hours(request.renewable_watt_hours());
  recorded.set_reused_watt_hours(request.reused_watt_hours());
  recorded.set_water_litres(request.water_litres());
  recorded.set_source(request.source());
  recorded.set_correction(request.correction());
  return event;
}

}  // namespace concordat::inventory
