#include <fmt/format.h>

#include <algorithm>

#include "events/flaw.h"
#include "services/reservations/decider.h"
#include "services/reservations/notices.h"
#include "services/runtime/check.h"

namespace concordat::reservations {
namespace {

v1::Event Unknown(const google::protobuf::Message& command, const std::string& name,
                  const runtime::Facts& facts) {
  return Refused(command, v1::REASON_NOT_FOUND,
                 fmt::format("{} is not known, expected a reservation of {}.", name, Here(facts)));
}

}  // namespace

v1::Event GiveNotice(const State& state, const v1::GiveNotice& command,
                     const runtime::Facts& facts) {
  const auto reservation = state.rows.reservations.Get(command.name());
  if (!reservation) return Unknown(command, command.name(), facts);
  const auto due = NoticeDue(*reservation, facts.now);
  if (!due) {
    return Refused(command, v1::REASON_TIME,
                   fmt::format("No notice of the end of {} is due, expected one.", command.name()));
  }
  v1::Event event;
  v1::NoticeGiven& given = *event.mutable_notice_given();
  given.set_name(command.name());
  given.set_customer(reservation->terms().customer());
  given.mutable_before_end()->set_seconds(absl::ToInt64Seconds(*due));
  *given.mutable_end_time() = reservation->terms().end_time();
  if (reservation->given_notices().empty()) return event;
  const v1::Notice& last = *reservation->given_notices().rbegin();
  if (runtime::ToTime(last.end_time()) != runtime::ToTime(given.end_time()))
    *given.mutable_replaced_end_time() = last.end_time();
  return event;
}

v1::Event RecordNoticeDelivery(const State& state, const v1::RecordNoticeDeliveryRequest& request,
                               const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.name()) != facts.site)
    return NotHome(request, request.name(), facts);
  const auto reservation = state.rows.reservations.Get(request.name());
  if (!reservation) return Unknown(request, request.name(), facts);
  const auto& given = reservation->given_notices();
  const auto notice = std::find_if(given.rbegin(), given.rend(), [&](const v1::Notice& one) {
    return one.before_end().seconds() == request.before_end().seconds();
  });
  if (notice == given.rend()) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("No notice was given {} before the end of {}, expected one of those "
                               "that were.",
                               absl::FormatDuration(absl::Seconds(request.before_end().seconds())),
                               request.name()));
  }
  if (notice->has_delivered_time()) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("It was delivered at {} already.",
                               runtime::ToText(runtime::ToTime(notice->delivered_time()))));
  }
  const absl::Time delivered = runtime::ToTime(request.delivered_time());
  if (delivered > facts.now + kClockSkew ||
      delivered < runtime::ToTime(notice->given_time()) - kClockSkew) {
    return Refused(
        request, v1::REASON_TIME,
        fmt::format("delivered_time is {}, expected from {} to {}.", runtime::ToText(delivered),
                    runtime::ToText(runtime::ToTime(notice->given_time())),
                    runtime::ToText(facts.now)));
  }
  v1::Event event;
  v1::NoticeDelivered& recorded = *event.mutable_notice_delivered();
  recorded.set_name(request.name());
  *recorded.mutable_before_end() = request.before_end();
  *recorded.mutable_end_time() = notice->end_time();
  *recorded.mutable_delivered_time() = request.delivered_time();
  recorded.set_channel(request.channel());
  recorded.set_evidence(request.evidence());
  return event;
}

v1::Event PlanWave(const State& state, const v1::PlanWaveRequest& request,
                   const runtime::Facts& facts) {
  if (runtime::SiteOfName(request.name()) != facts.site &&
      !events::Has(events::Flaw::kDecidesForOthers))
    return NotHome(request, request.name(), facts);
  const absl::Time start = runtime::ToTime(request.start_time());
  const auto known = state.rows.waves.Get(request.name());
  if (known && runtime::ToTime(known->plan().start_time()) <= facts.now) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is open since {}; expected another name.", request.name(),
                               runtime::ToText(runtime::ToTime(known->plan().start_time()))));
  }
  if (start < facts.now - kClockSkew) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("start_time is {}, expected {} or later.", runtime::ToText(start),
                               runtime::ToText(facts.now)));
  }
  for (const std::string& server : request.servers()) {
    const auto record = state.rows.server_records.Get(server);
    if (record && record->server().model() == request.model()) continue;
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is no server of {} in service at {}.", server, request.model(),
                               Here(facts)));
  }
  v1::Event event;
  v1::WavePlanned& planned = *event.mutable_wave_planned();
  planned.set_name(request.name());
  planned.set_model(request.model());
  *planned.mutable_servers() = request.servers();
  *planned.mutable_customers() = request.customers();
  *planned.mutable_start_time() = request.start_time();
  planned.set_share_percent(request.share_percent());
  planned.set_share_servers(request.share_servers());
  return event;
}

}  // namespace concordat::reservations
