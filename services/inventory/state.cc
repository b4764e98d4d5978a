#include "services/inventory/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "services/inventory/windows.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

// Steps may be set to begin up to a day ago.
constexpr absl::Duration kPastSteps = absl::Hours(48);

google::protobuf::StringValue Text(const std::string& value) {
  google::protobuf::StringValue text;
  text.set_value(value);
  return text;
}

void OpenSite(Rows& rows, const v1::SiteOpened& opened) {
  v1::Site site = rows.sites.Get(opened.name()).value_or(v1::Site());
  site.set_name(opened.name());
  site.set_country(opened.country());
  site.set_time_zone(opened.time_zone());
  *site.mutable_certifications() = opened.certifications();
  if (opened.has_opening_time()) *site.mutable_opening_time() = opened.opening_time();
  rows.sites.Put(opened.name(), site);
}

// A step with the same beginning is replaced; by one that ends by itself all that begin within it,
// and at its end begins again what had held then. The steps stay ordered. What is past by more than
// two days is forgotten: nothing is decided by it, and the stream's events have it.
void PutStep(google::protobuf::RepeatedPtrField<v1::EnvelopeSet>& ordered,
             const v1::EnvelopeSet& step, bool of_feed, absl::Time time) {
  const auto begin = [](const v1::EnvelopeSet& one) {
    return runtime::ToTime(one.effective_from());
  };
  const absl::Time from = begin(step);
  const absl::Time last = step.has_until() ? runtime::ToTime(step.until()) : from;
  // Before its first step a site has nothing, and a feed no limit.
  std::optional<v1::EnvelopeSet> resumed;
  if (!of_feed) resumed.emplace().set_site(step.site());
  std::vector<v1::EnvelopeSet> steps;
  for (const v1::EnvelopeSet& one : ordered) {
    if (begin(one) <= last) resumed = one;
    if (begin(one) < from || begin(one) > last) steps.push_back(one);
  }
  const auto at = std::find_if(steps.begin(), steps.end(),
                               [&](const v1::EnvelopeSet& one) { return begin(one) > from; });
  const auto put = steps.insert(at, step);
  if (step.has_until() && resumed) {
    *resumed->mutable_effective_from() = step.until();
    steps.insert(std::next(put), *resumed);
  }
  auto kept = steps.begin();
  while (std::next(kept) != steps.end() && begin(*std::next(kept)) <= time - kPastSteps) ++kept;
  ordered.Assign(kept, steps.end());
}

void SetEnvelope(Rows& rows, const v1::EnvelopeSet& set, absl::Time time) {
  v1::Site site = rows.sites.Get(set.site()).value_or(v1::Site());
  site.set_name(set.site());
  v1::EnvelopeSet step = set;
  step.clear_also_from();
  PutStep(*site.mutable_envelope(), step, false, time);
  for (const google::protobuf::Timestamp& begin : set.also_from()) {
    *step.mutable_effective_from() = begin;
    PutStep(*site.mutable_envelope(), step, false, time);
  }
  rows.sites.Put(set.site(), site);
}

void SetEnvelope(Rows& rows, const v1::FeedEnvelopeSet& set, absl::Time time) {
  v1::Feed feed = rows.feeds.Get(set.feed()).value_or(v1::Feed());
  feed.set_name(set.feed());
  PutStep(*feed.mutable_envelope(), set.envelope(), true, time);
  rows.feeds.Put(set.feed(), feed);
}

void Report(Rows& rows, const v1::FacilityReported& reported) {
  v1::Site site = rows.sites.Get(reported.site()).value_or(v1::Site());
  site.set_name(reported.site());
  *site.mutable_facility() = reported;
  rows.sites.Put(reported.site(), site);
}

std::string ReadingEndKey(const v1::ReadingRecorded& reading) {
  return fmt::format("{}/{}", TimeKey(runtime::ToTime(reading.end_time())), reading.name());
}

void Record(Rows& rows, const v1::ReadingRecorded& recorded) {
  const std::optional<v1::Reading> before = rows.readings.Get(recorded.name());
  if (before) rows.reading_ends.Delete(ReadingEndKey(before->reading()));
  v1::Reading reading;
  reading.set_name(recorded.name());
  *reading.mutable_reading() = recorded;
  reading.set_corrections(before ? before->corrections() + 1 : 0);
  rows.readings.Put(recorded.name(), reading);
  google::protobuf::StringValue name;
  name.set_value(recorded.name());
  rows.reading_ends.Put(ReadingEndKey(recorded), name);
}

void SetStageLimit(Rows& rows, const v1::StageLimitSet& set) {
  v1::Site site = rows.sites.Get(set.site()).value_or(v1::Site());
  site.set_name(set.site());
  std::vector<v1::StageLimitSet> limits(site.stage_limits().begin(), site.stage_limits().end());
  std::erase_if(limits, [&](const v1::StageLimitSet& one) { return one.state() == set.state(); });
  const auto at = std::find_if(limits.begin(), limits.end(), [&](const v1::StageLimitSet& one) {
    return one.state() > set.state();
  });
  if (set.has_most()) limits.insert(at, set);
  site.mutable_stage_limits()->Assign(limits.begin(), limits.end());
  rows.sites.Put(set.site(), site);
}

void PutPlan(Rows& rows, const v1::PlanRegistered& registered) {
  v1::Plan plan = rows.plans.Get(registered.name()).value_or(v1::Plan());
  plan.set_name(registered.name());
  *plan.add_versions() = registered;
  rows.plans.Put(registered.name(), plan);
}

void RegisterModel(Rows& rows, const v1::ModelRegistered& registered) {
  v1::Model model;
  model.set_name(registered.name());
  model.set_vendor(registered.vendor());
  model.set_accelerators(registered.accelerators());
  model.set_it_power_watts(registered.it_power_watts());
  model.set_cooling_watts(registered.cooling_watts());
  *model.mutable_criteria() = registered.criteria();
  model.set_plan(registered.plan());
  model.set_height_units(registered.height_units());
  model.set_memory_gigabytes(registered.memory_gigabytes());
  model.set_idle_power_watts(registered.idle_power_watts());
  model.set_cooling(registered.cooling());
  *model.mutable_links() = registered.links();
  *model.mutable_sources() = registered.sources();
  *model.mutable_not_published() = registered.not_published();
  if (registered.plan().empty() || !registered.criteria().empty()) {
    model.set_plan(PlanOfModel(registered.name()));
    v1::PlanRegistered plan;
    plan.set_name(model.plan());
    plan.set_version(1);
    *plan.mutable_criteria() = registered.criteria();
    if (!rows.plans.Contains(model.plan())) PutPlan(rows, plan);
  }
  rows.models.Put(registered.name(), model);
}

void Define(Rows& rows, const v1::RackDefined& defined) {
  v1::Rack rack;
  rack.set_name(defined.name());
  rack.set_room(defined.room());
  rack.set_rack(defined.rack());
  rack.set_height_units(defined.height_units());
  rows.racks.Put(defined.name(), rack);
  rows.rack_places.Put(RackKey(defined.room(), defined.rack()), Text(defined.name()));
}

void Define(Rows& rows, const v1::FeedDefined& defined) {
  v1::Feed feed;
  feed.set_name(defined.name());
  feed.set_it_power_watts(defined.it_power_watts());
  feed.set_redundancy(defined.redundancy());
  v1::EnvelopeSet& first = *feed.add_envelope();
  first.set_site(fmt::format("sites/{}", runtime::SiteOfName(defined.name())));
  first.set_it_power_watts(defined.it_power_watts());
  rows.feeds.Put(defined.name(), feed);
}

void Receive(Rows& rows, const v1::ManifestReceived& received) {
  v1::Manifest manifest;
  manifest.set_name(received.name());
  manifest.set_order_number(received.order_number());
  manifest.set_supplier(received.supplier());
  *manifest.mutable_serials() = received.serials();
  rows.manifests.Put(received.name(), manifest);
  for (const std::string& serial : received.serials())
    rows.expected_serials.Put(serial, Text(received.order_number()));
}

// The only writer of the `servers` table: it keeps the deadlines in step.
void Put(Rows& rows, const v1::Server& after) {
  const std::string& name = after.name();
  if (const auto before = rows.servers.Get(name)) {
    if (const auto due = ExpiryOf(*before))
      rows.deadlines.Delete(DeadlineKey(*due, "expire", name));
    if (const auto due = CordonEndOf(*before))
      rows.deadlines.Delete(DeadlineKey(*due, "uncordon", name));
  }
  if (const auto due = ExpiryOf(after))
    rows.deadlines.Put(DeadlineKey(*due, "expire", name), Text(name));
  if (const auto due = CordonEndOf(after))
    rows.deadlines.Put(DeadlineKey(*due, "uncordon", name), Text(name));
  rows.servers.Put(name, after);
}

// The server with `change` applied; a server that is not known gets a row.
template <typename Change>
void ChangeServer(Rows& rows, const std::string& name, Change change) {
  v1::Server server = rows.servers.Get(name).value_or(v1::Server());
  server.set_name(name);
  if (server.intent() == v1::SERVER_INTENT_UNSPECIFIED)
    server.set_intent(v1::SERVER_INTENT_PROVISIONABLE);
  change(server);
  Put(rows, server);
}

// How long it was in the state that it leaves, and when it was in service.
void NoteStage(v1::Server& server, v1::ServerState next, absl::Time time) {
  using v1::SERVER_STATE_IN_SERVICE;
  if (server.has_state_time()) {
    std::vector<v1::StageTime> stages(server.stages().begin(), server.stages().end());
    auto at = std::find_if(stages.begin(), stages.end(),
                           [&](const v1::StageTime& one) { return one.state() >= server.state(); });
    if (at == stages.end() || at->state() != server.state())
      at = stages.insert(at, v1::StageTime());
    at->set_state(server.state());
    const absl::Duration stayed = time - runtime::ToTime(server.state_time());
    at->set_seconds(at->seconds() + std::max<int64_t>(0, absl::ToInt64Seconds(stayed)));
    server.mutable_stages()->Assign(stages.begin(), stages.end());
  }
  if (next == SERVER_STATE_IN_SERVICE)
    *server.add_service()->mutable_start_time() = runtime::ToTimestamp(time);
  if (server.state() == SERVER_STATE_IN_SERVICE && server.service_size() > 0)
    *server.mutable_service()->rbegin()->mutable_end_time() = runtime::ToTimestamp(time);
}

// Every change of the state remembers since when it holds.
void Set(v1::Server& server, v1::ServerState state, absl::Time time) {
  if (server.state() == state) return;
  NoteStage(server, state, time);
  server.set_state(state);
  *server.mutable_state_time() = runtime::ToTimestamp(time);
  if (state != v1::SERVER_STATE_UNDER_TEST) {
    server.clear_test_plan();
    server.clear_test_plan_version();
  }
}

void Set(Rows& rows, const std::string& name, v1::ServerState state, absl::Time time,
         const std::string& reason = {}) {
  ChangeServer(rows, name, [&](v1::Server& server) {
    Set(server, state, time);
    server.set_reason(reason);
  });
}

// A burn-in of before is no evidence of what the server is since.
void NoteChange(Rows& rows, const std::string& name, absl::Time time) {
  ChangeServer(rows, name, [&](v1::Server& server) {
    *server.mutable_changed_time() = runtime::ToTimestamp(time);
  });
}

void Plan(Rows& rows, const v1::ServerPlanned& planned, absl::Time time) {
  ChangeServer(rows, planned.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_PLANNED, time);
    server.set_model(planned.model());
    *server.mutable_planned_time() = planned.planned_time();
    server.set_planned_rack(planned.rack());
  });
}

void Order(Rows& rows, const v1::ServerOrdered& ordered, absl::Time time) {
  ChangeServer(rows, ordered.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_ORDERED, time);
    server.set_model(ordered.model());
    server.set_supplier(ordered.supplier());
    *server.mutable_promised_time() = ordered.promised_time();
    *server.mutable_first_promised_time() = ordered.promised_time();
    server.set_order_number(ordered.order_number());
  });
}

void Slip(Rows& rows, const v1::DeliverySlipped& slipped, absl::Time time) {
  ChangeServer(rows, slipped.name(), [&](v1::Server& server) {
    *server.mutable_promised_time() = slipped.promised_time();
    server.set_slips(server.slips() + 1);
    v1::Slip& slip = *server.add_slip_list();
    *slip.mutable_before() = slipped.before();
    *slip.mutable_promised_time() = slipped.promised_time();
    slip.set_cause(slipped.cause());
    slip.set_detail(slipped.detail());
    *slip.mutable_recorded_time() = runtime::ToTimestamp(time);
  });
}

void Deliver(Rows& rows, const v1::ServerDelivered& delivered, absl::Time time) {
  ChangeServer(rows, delivered.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_DELIVERED, time);
    server.set_serial(delivered.serial());
  });
  rows.serials.Put(delivered.serial(), Text(delivered.name()));
}

// Each rack unit that the server takes.
template <typename Unit>
void ForEachUnit(const Rows& rows, const v1::Server& server, Unit unit) {
  const v1::Model model = rows.models.Get(server.model()).value_or(v1::Model());
  for (int i = 0; i < std::max(1, model.height_units()); ++i)
    unit(PositionKey(server.room(), server.rack(), server.position() + i));
}

void Install(Rows& rows, const v1::ServerInstalled& installed, absl::Time time) {
  ChangeServer(rows, installed.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_INSTALLED, time);
    server.set_room(installed.room());
    server.set_rack(installed.rack());
    server.set_position(installed.position());
    server.set_nvlink_domain(installed.nvlink_domain());
    server.set_power_feed(installed.power_feed());
    ForEachUnit(rows, server,
                [&](const std::string& unit) { rows.positions.Put(unit, Text(installed.name())); });
  });
}

void StartTest(Rows& rows, const v1::TestStarted& started, absl::Time time) {
  ChangeServer(rows, started.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_UNDER_TEST, time);
    server.set_reason("");
    server.set_test_plan(started.plan());
    server.set_test_plan_version(started.plan_version());
  });
}

void Pass(Rows& rows, const v1::BurnInPassed& passed, absl::Time time) {
  ChangeServer(rows, passed.name(), [&](v1::Server& server) {
    if (!passed.in_service()) {
      Set(server, v1::SERVER_STATE_QUALIFIED, time);
      server.set_reason("");
    }
    *server.mutable_figures() = passed.figures();
    server.clear_shortfalls();
    v1::Evidence& evidence = *server.mutable_evidence();
    evidence.Clear();
    evidence.set_plan(passed.plan());
    evidence.set_plan_version(passed.plan_version());
    evidence.set_tool_digest(passed.tool_digest());
    evidence.set_operator_(passed.operator_());
    if (passed.has_started_time()) *evidence.mutable_started_time() = passed.started_time();
    if (passed.has_ended_time()) *evidence.mutable_ended_time() = passed.ended_time();
    if (passed.has_valid_until()) *evidence.mutable_valid_until() = passed.valid_until();
    evidence.set_retest_after_tenant(passed.retest_after_tenant());
    if (passed.has_retest_margin()) *evidence.mutable_retest_margin() = passed.retest_margin();
  });
}

void Fail(Rows& rows, const v1::BurnInFailed& failed, absl::Time time) {
  ChangeServer(rows, failed.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_TEST_FAILED, time);
    // Who reports it may have a clock that is a little fast, and be late.
    *server.mutable_changed_time() =
        runtime::ToTimestamp(std::max(runtime::ToTime(server.changed_time()),
                                      std::min(time, runtime::ToTime(failed.ended_time()))));
    server.set_reason("");
    *server.mutable_figures() = failed.figures();
    *server.mutable_shortfalls() = failed.shortfalls();
    server.clear_evidence();
  });
}

// What passed is no evidence any more; who is qualified by it is only installed. What changed the
// server makes no evidence of what ended before it either.
void MakeStale(v1::Server& server, v1::StaleCause cause, absl::Time time) {
  if (cause != v1::STALE_CAUSE_AGE) *server.mutable_changed_time() = runtime::ToTimestamp(time);
  if (server.has_evidence()) server.mutable_evidence()->set_stale(cause);
  if (server.state() == v1::SERVER_STATE_QUALIFIED) Set(server, v1::SERVER_STATE_INSTALLED, time);
}

void Expire(Rows& rows, const v1::EvidenceExpired& expired, absl::Time time) {
  ChangeServer(rows, expired.name(),
               [&](v1::Server& server) { MakeStale(server, v1::STALE_CAUSE_AGE, time); });
}

void EndTenancy(Rows& rows, const v1::TenancyEnded& ended, absl::Time time) {
  for (const std::string& name : ended.servers()) {
    ChangeServer(rows, name,
                 [&](v1::Server& server) { MakeStale(server, v1::STALE_CAUSE_TENANT, time); });
  }
}

// Where the work that was done asks for it.
template <typename Over>
void EndWork(Rows& rows, const Over& over, absl::Time time) {
  for (const std::string& name : over.servers()) {
    if (!over.retest()) return;
    ChangeServer(rows, name,
                 [&](v1::Server& server) { MakeStale(server, v1::STALE_CAUSE_WORK, time); });
  }
}

void Replace(Rows& rows, const v1::PartReplaced& replaced, absl::Time time) {
  ChangeServer(rows, replaced.name(),
               [&](v1::Server& server) { MakeStale(server, v1::STALE_CAUSE_PART, time); });
  if (auto removed = rows.parts.Get(replaced.removed_part())) {
    removed->clear_server();
    removed->clear_slot();
    rows.parts.Put(replaced.removed_part(), *removed);
  }
  v1::Part part;
  part.set_name(replaced.part());
  part.set_kind(replaced.kind());
  part.set_serial(replaced.serial());
  part.set_server(replaced.name());
  part.set_slot(replaced.slot());
  rows.parts.Put(replaced.part(), part);
  rows.serials.Put(replaced.serial(), Text(replaced.part()));
  rows.slots.Put(SlotKey(replaced.name(), replaced.slot()), Text(replaced.part()));
}

void Change(Rows& rows, const v1::FirmwareChanged& changed, absl::Time time) {
  ChangeServer(rows, changed.name(), [&](v1::Server& server) {
    MakeStale(server, v1::STALE_CAUSE_FIRMWARE, time);
    for (v1::Firmware& firmware : *server.mutable_firmware()) {
      if (firmware.component() != changed.component()) continue;
      firmware.set_version(changed.version());
      return;
    }
    v1::Firmware& firmware = *server.add_firmware();
    firmware.set_component(changed.component());
    firmware.set_version(changed.version());
  });
}

void SetIntent(Rows& rows, const std::string& name, v1::ServerIntent intent,
               const std::string& reason, const google::protobuf::Timestamp* until = nullptr) {
  ChangeServer(rows, name, [&](v1::Server& server) {
    server.set_intent(intent);
    server.set_cordoned(intent == v1::SERVER_INTENT_NON_PROVISIONABLE);
    server.set_intent_reason(reason);
    server.clear_intent_until();
    if (until != nullptr) *server.mutable_intent_until() = *until;
  });
}

void Cordon(Rows& rows, const v1::ServerCordoned& cordoned) {
  SetIntent(rows, cordoned.name(), v1::SERVER_INTENT_NON_PROVISIONABLE, cordoned.reason(),
            cordoned.has_until() ? &cordoned.until() : nullptr);
}

void Retire(Rows& rows, const v1::ServerRetiring& retiring, absl::Time time) {
  SetIntent(rows, retiring.name(), v1::SERVER_INTENT_WITHDRAWN, retiring.reason());
  Set(rows, retiring.name(), v1::SERVER_STATE_RETIRING, time, retiring.reason());
}

// The place is free again; name and serial number stay taken.
void Remove(Rows& rows, const v1::ServerRetired& retired, absl::Time time) {
  ChangeServer(rows, retired.name(), [&](v1::Server& server) {
    Set(server, v1::SERVER_STATE_RETIRED, time);
    if (server.rack().empty()) return;
    ForEachUnit(rows, server, [&](const std::string& unit) { rows.positions.Delete(unit); });
    server.clear_room();
    server.clear_rack();
    server.clear_position();
    server.clear_nvlink_domain();
    server.clear_power_feed();
  });
}

}  // namespace

std::string RackKey(const std::string& room, const std::string& rack) {
  return fmt::format("{}\x1f{}", room, rack);
}

std::string SlotKey(const std::string& server, const std::string& slot) {
  return fmt::format("{}\x1f{}", server, slot);
}

std::string PlanOfModel(const std::string& model) {
  return fmt::format("plans/{}", model.substr(model.find('/') + 1));
}

std::optional<absl::Time> ExpiryOf(const v1::Server& server) {
  const v1::Evidence& evidence = server.evidence();
  if (!evidence.has_valid_until() || evidence.stale() != v1::STALE_CAUSE_UNSPECIFIED)
    return std::nullopt;
  if (server.state() != v1::SERVER_STATE_QUALIFIED && server.state() != v1::SERVER_STATE_IN_SERVICE)
    return std::nullopt;
  return runtime::ToTime(evidence.valid_until());
}

std::optional<absl::Time> CordonEndOf(const v1::Server& server) {
  if (!server.cordoned() || !server.has_intent_until()) return std::nullopt;
  return runtime::ToTime(server.intent_until());
}

std::string TimeKey(absl::Time time) {
  const absl::Time clamped = std::max(time, absl::UnixEpoch());
  const int64_t micros = absl::ToUnixMicros(clamped);
  return fmt::format("{:020}", micros + (absl::FromUnixMicros(micros) < clamped ? 1 : 0));
}

std::string DeadlineKey(absl::Time time, const std::string& kind, const std::string& server) {
  return fmt::format("{}/{}/{}", TimeKey(time), kind, server);
}

std::string PositionKey(const std::string& room, const std::string& rack, int position) {
  return fmt::format("{}\x1f{}\x1f{}", room, rack, position);
}

void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  const absl::Time time = accepted.time;
  switch (event.event_case()) {
    case v1::Event::kSiteOpened:
      return OpenSite(rows, event.site_opened());
    case v1::Event::kEnvelopeSet:
      return SetEnvelope(rows, event.envelope_set(), time);
    case v1::Event::kFeedEnvelopeSet:
      return SetEnvelope(rows, event.feed_envelope_set(), time);
    case v1::Event::kStageLimitSet:
      return SetStageLimit(rows, event.stage_limit_set());
    case v1::Event::kFacilityReported:
      return Report(rows, event.facility_reported());
    case v1::Event::kReadingRecorded:
      return Record(rows, event.reading_recorded());
    case v1::Event::kModelRegistered:
      return RegisterModel(rows, event.model_registered());
    case v1::Event::kPlanRegistered:
      return PutPlan(rows, event.plan_registered());
    case v1::Event::kRackDefined:
      return Define(rows, event.rack_defined());
    case v1::Event::kFeedDefined:
      return Define(rows, event.feed_defined());
    case v1::Event::kServerPlanned:
      return Plan(rows, event.server_planned(), time);
    case v1::Event::kServerOrdered:
      return Order(rows, event.server_ordered(), time);
    case v1::Event::kDeliverySlipped:
      return Slip(rows, event.delivery_slipped(), time);
    case v1::Event::kManifestReceived:
      return Receive(rows, event.manifest_received());
    case v1::Event::kServerDelivered:
      return Deliver(rows, event.server_delivered(), time);
    case v1::Event::kServerInstalled:
      return Install(rows, event.server_installed(), time);
    case v1::Event::kTestStarted:
      return StartTest(rows, event.test_started(), time);
    case v1::Event::kBurnInPassed:
      return Pass(rows, event.burn_in_passed(), time);
    case v1::Event::kBurnInFailed:
      return Fail(rows, event.burn_in_failed(), time);
    case v1::Event::kEvidenceExpired:
      return Expire(rows, event.evidence_expired(), time);
    case v1::Event::kTenancyEnded:
      return EndTenancy(rows, event.tenancy_ended(), time);
    case v1::Event::kServerEnteredService:
      return Set(rows, event.server_entered_service().name(), v1::SERVER_STATE_IN_SERVICE, time);
    case v1::Event::kServerCordoned:
      return Cordon(rows, event.server_cordoned());
    case v1::Event::kServerUncordoned:
      return SetIntent(rows, event.server_uncordoned().name(), v1::SERVER_INTENT_PROVISIONABLE, "");
    case v1::Event::kServerWithdrawn:
      return SetIntent(rows, event.server_withdrawn().name(), v1::SERVER_INTENT_WITHDRAWN,
                       event.server_withdrawn().reason());
    case v1::Event::kServerLeftService:
      return Set(rows, event.server_left_service().name(), v1::SERVER_STATE_OUT_OF_SERVICE, time,
                 event.server_left_service().reason());
    case v1::Event::kServerQuarantined:
      Set(rows, event.server_quarantined().name(), v1::SERVER_STATE_QUARANTINED, time,
          event.server_quarantined().reason());
      return NoteChange(rows, event.server_quarantined().name(), time);
    case v1::Event::kServerRepaired:
      Set(rows, event.server_repaired().name(), v1::SERVER_STATE_REPAIRED, time);
      return NoteChange(rows, event.server_repaired().name(), time);
    case v1::Event::kPartReplaced:
      return Replace(rows, event.part_replaced(), time);
    case v1::Event::kFirmwareChanged:
      return Change(rows, event.firmware_changed(), time);
    case v1::Event::kServerRetiring:
      return Retire(rows, event.server_retiring(), time);
    case v1::Event::kServerSanitised:
      return Set(rows, event.server_sanitised().name(), v1::SERVER_STATE_SANITISED, time);
    case v1::Event::kServerRetired:
      return Remove(rows, event.server_retired(), time);
    case v1::Event::kWindowProposed:
    case v1::Event::kWindowWorkAdded:
    case v1::Event::kWindowAnnounced:
    case v1::Event::kWindowAffectedRecorded:
    case v1::Event::kWindowConsentGiven:
    case v1::Event::kWindowConsentRefused:
    case v1::Event::kWindowConsentLapsed:
    case v1::Event::kWindowOpened:
    case v1::Event::kWindowDrained:
    case v1::Event::kWindowOverrunning:
    case v1::Event::kWindowCancelled:
      return EvolveWindow(rows, accepted);
    case v1::Event::kWindowClosed:
      EvolveWindow(rows, accepted);
      return EndWork(rows, event.window_closed(), time);
    case v1::Event::kWindowAborted:
      EvolveWindow(rows, accepted);
      return EndWork(rows, event.window_aborted(), time);
    case v1::Event::kCommandRefused:
      return;
    case v1::Event::EVENT_NOT_SET:
      return;
  }
}

}  // namespace concordat::inventory
