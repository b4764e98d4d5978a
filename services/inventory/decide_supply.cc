#include <fmt/format.h>

#include <algorithm>

#include "services/inventory/decider.h"
#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

v1::Event NoModel(const google::protobuf::Message& command, const std::string& model,
                  const runtime::Facts& facts) {
  return Refused(
      command, v1::REASON_NOT_FOUND,
      fmt::format("{} is not known at {}; expected RegisterModel first.", model, Here(facts)));
}

v1::Event Exists(const google::protobuf::Message& command, const v1::Server& server) {
  const bool retired = server.state() == v1::SERVER_STATE_RETIRED;
  return Refused(command, v1::REASON_ALREADY_EXISTS,
                 fmt::format("{} is {} already, expected a new name{}.", server.name(),
                             v1::ServerState_Name(server.state()),
                             retired ? ": names of retired servers are never used again" : ""));
}

std::optional<v1::Event> SerialTaken(const State& state, const google::protobuf::Message& command,
                                     const std::string& serial) {
  const auto owner = state.rows.serials.Get(serial);
  if (!owner) return std::nullopt;
  return Refused(command, v1::REASON_SERIAL_TAKEN,
                 fmt::format("serial {} belongs to {}, expected one of no other server or part.",
                             serial, owner->value()));
}

// Nothing where the server has no order number, or its serial was announced for that order.
std::optional<v1::Event> NotInManifest(const State& state, const v1::DeliverServerRequest& request,
                                       const v1::Server& server) {
  if (server.order_number().empty()) return std::nullopt;
  const auto order = state.rows.expected_serials.Get(request.serial());
  if (order && order->value() == server.order_number()) return std::nullopt;
  return Refused(
      request, v1::REASON_NOT_IN_MANIFEST,
      fmt::format("serial {} is {}, expected one of a manifest of order {}.", request.serial(),
                  order ? fmt::format("announced for order {}", order->value()) : "in no manifest",
                  server.order_number()));
}

// The units that the model takes from a position on.
int HeightOf(const v1::Model& model) { return std::max(1, model.height_units()); }

std::optional<v1::Event> BeyondRack(const State& state, const v1::InstallServerRequest& request,
                                    int height) {
  constexpr int kHighestRack = 60;
  const auto name = state.rows.rack_places.Get(RackKey(request.room(), request.rack()));
  const v1::Rack rack =
      name ? state.rows.racks.Get(name->value()).value_or(v1::Rack()) : v1::Rack();
  const int units = name ? rack.height_units() : kHighestRack;
  const int top = request.position() + height - 1;
  if (top <= units) return std::nullopt;
  return Refused(request, v1::REASON_BEYOND_RACK,
                 fmt::format("The server would take units {} to {} of room {}, rack {}; expected "
                             "at most unit {}.",
                             request.position(), top, request.room(), request.rack(), units));
}

// A site that has defined no feed takes any name, or none.
std::optional<v1::Event> UnknownFeed(const State& state, const v1::InstallServerRequest& request,
                                     const runtime::Facts& facts) {
  if (state.rows.feeds.Contains(fmt::format("{}/feeds/{}", Here(facts), request.power_feed())))
    return std::nullopt;
  std::vector<std::string> known;
  state.rows.feeds.Scan("", [&](std::string_view name, const v1::Feed&) {
    known.emplace_back(name);
    return true;
  });
  if (known.empty()) return std::nullopt;
  return Refused(request, v1::REASON_UNKNOWN_FEED,
                 fmt::format("power_feed is \"{}\", expected one of {}.", request.power_feed(),
                             fmt::join(known, ", ")));
}

std::optional<v1::Event> PositionTaken(const State& state, const v1::InstallServerRequest& request,
                                       int height) {
  for (int unit = request.position(); unit < request.position() + height; ++unit) {
    const auto owner = state.rows.positions.Get(PositionKey(request.room(), request.rack(), unit));
    if (!owner) continue;
    return Refused(request, v1::REASON_POSITION_TAKEN,
                   fmt::format("room {}, rack {}, position {} holds {}, expected a free one.",
                               request.room(), request.rack(), unit, owner->value()));
  }
  return std::nullopt;
}

}  // namespace

v1::Event PlanServer(const State& state, const v1::PlanServerRequest& request,
                     const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (!state.rows.models.Contains(request.model())) return NoModel(request, request.model(), facts);
  if (const auto known = state.rows.servers.Get(request.name())) return Exists(request, *known);
  const absl::Time planned = runtime::ToTime(request.planned_time());
  if (auto refusal = NotInFuture(request, "planned_time", planned, facts)) return *refusal;
  if (auto refusal = BeforeOpening(state, request, "planned_time", planned, facts)) return *refusal;
  if (!request.rack().empty() && !state.rows.racks.Contains(request.rack())) {
    return Refused(request, v1::REASON_NOT_FOUND,
                   fmt::format("{} is not known; expected DefineRack first.", request.rack()));
  }
  v1::Event event;
  v1::ServerPlanned& server = *event.mutable_server_planned();
  server.set_name(request.name());
  server.set_model(request.model());
  *server.mutable_planned_time() = request.planned_time();
  server.set_rack(request.rack());
  return event;
}

v1::Event OrderServer(const State& state, const v1::OrderServerRequest& request,
                      const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (!state.rows.models.Contains(request.model())) return NoModel(request, request.model(), facts);
  const auto known = state.rows.servers.Get(request.name());
  if (known && !After(known->state(), Step::kOrder)) return Exists(request, *known);
  if (known && known->intent() == v1::SERVER_INTENT_WITHDRAWN) {
    return Refused(
        request, v1::REASON_WITHDRAWN,
        fmt::format("{} is withdrawn, expected a server that is to come.", request.name()));
  }
  const absl::Time promised = runtime::ToTime(request.promised_time());
  if (auto refusal = NotInFuture(request, "promised_time", promised, facts)) return *refusal;
  if (auto refusal = BeforeOpening(state, request, "promised_time", promised, facts))
    return *refusal;
  v1::Event event;
  v1::ServerOrdered& ordered = *event.mutable_server_ordered();
  ordered.set_name(request.name());
  ordered.set_model(request.model());
  ordered.set_supplier(request.supplier());
  *ordered.mutable_promised_time() = request.promised_time();
  ordered.set_order_number(request.order_number());
  return event;
}

v1::Event SlipDelivery(const State& state, const v1::SlipDeliveryRequest& request,
                       const v1::Server& server, const runtime::Facts& facts) {
  if (!After(server.state(), Step::kSlip)) return WrongState(request, server, Step::kSlip);
  const absl::Time promised = runtime::ToTime(request.promised_time());
  if (auto refusal = NotInFuture(request, "promised_time", promised, facts)) return *refusal;
  if (auto refusal = BeforeOpening(state, request, "promised_time", promised, facts))
    return *refusal;
  if (promised == runtime::ToTime(server.promised_time())) {
    return Refused(request, v1::REASON_TIME,
                   fmt::format("promised_time is {} already, expected another time.",
                               runtime::ToText(promised)));
  }
  v1::Event event;
  v1::DeliverySlipped& slipped = *event.mutable_delivery_slipped();
  slipped.set_name(request.name());
  *slipped.mutable_before() = server.promised_time();
  *slipped.mutable_promised_time() = request.promised_time();
  slipped.set_cause(request.cause());
  slipped.set_detail(request.detail());
  return event;
}

v1::Event RecordManifest(const State& state, const v1::RecordManifestRequest& request,
                         const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (state.rows.manifests.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} was recorded already, expected a new name.", request.name()));
  }
  for (const std::string& serial : request.serials()) {
    if (auto refusal = SerialTaken(state, request, serial)) return *refusal;
    const auto order = state.rows.expected_serials.Get(serial);
    if (!order) continue;
    return Refused(request, v1::REASON_SERIAL_TAKEN,
                   fmt::format("serial {} is announced for order {} already, expected each in one "
                               "manifest.",
                               serial, order->value()));
  }
  v1::Event event;
  v1::ManifestReceived& manifest = *event.mutable_manifest_received();
  manifest.set_name(request.name());
  manifest.set_order_number(request.order_number());
  manifest.set_supplier(request.supplier());
  *manifest.mutable_serials() = request.serials();
  return event;
}

v1::Event DeliverServer(const State& state, const v1::DeliverServerRequest& request,
                        const v1::Server& server) {
  if (!After(server.state(), Step::kDeliver)) return WrongState(request, server, Step::kDeliver);
  if (auto refusal = SerialTaken(state, request, request.serial())) return *refusal;
  if (auto refusal = NotInManifest(state, request, server)) return *refusal;
  v1::Event event;
  event.mutable_server_delivered()->set_name(request.name());
  event.mutable_server_delivered()->set_serial(request.serial());
  return event;
}

v1::Event DefineRack(const State& state, const v1::DefineRackRequest& request,
                     const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  const auto there = state.rows.rack_places.Get(RackKey(request.room(), request.rack()));
  if (there || state.rows.racks.Contains(request.name())) {
    return Refused(
        request, v1::REASON_ALREADY_EXISTS,
        fmt::format("Room {}, rack {} is {}, and {} is {}; expected a new rack.", request.room(),
                    request.rack(), there ? there->value() : "free", request.name(),
                    state.rows.racks.Contains(request.name()) ? "known" : "new"));
  }
  v1::Event event;
  v1::RackDefined& rack = *event.mutable_rack_defined();
  rack.set_name(request.name());
  rack.set_room(request.room());
  rack.set_rack(request.rack());
  rack.set_height_units(request.height_units());
  return event;
}

v1::Event DefineFeed(const State& state, const v1::DefineFeedRequest& request,
                     const runtime::Facts& facts) {
  if (auto refusal = NotHere(state, request, request.name(), facts)) return *refusal;
  if (state.rows.feeds.Contains(request.name())) {
    return Refused(request, v1::REASON_ALREADY_EXISTS,
                   fmt::format("{} is defined already, expected a new feed.", request.name()));
  }
  v1::Event event;
  v1::FeedDefined& feed = *event.mutable_feed_defined();
  feed.set_name(request.name());
  feed.set_it_power_watts(request.it_power_watts());
  feed.set_redundancy(request.redundancy());
  return event;
}

v1::Event InstallServer(const State& state, const v1::InstallServerRequest& request,
                        const v1::Server& server, const runtime::Facts& facts) {
  if (!server.rack().empty() && server.state() != v1::SERVER_STATE_RETIRED) {
    return Refused(request, v1::REASON_ALREADY_PLACED,
                   fmt::format("{} stands in room {}, rack {}, position {} already; expected one "
                               "place for each server.",
                               server.name(), server.room(), server.rack(), server.position()));
  }
  if (!After(server.state(), Step::kInstall)) return WrongState(request, server, Step::kInstall);
  const int height = HeightOf(ModelOf(state, server));
  if (auto refusal = BeyondRack(state, request, height)) return *refusal;
  if (auto refusal = PositionTaken(state, request, height)) return *refusal;
  if (auto refusal = UnknownFeed(state, request, facts)) return *refusal;
  v1::Event event;
  v1::ServerInstalled& installed = *event.mutable_server_installed();
  installed.set_name(request.name());
  installed.set_room(request.room());
  installed.set_rack(request.rack());
  installed.set_position(request.position());
  installed.set_nvlink_domain(request.nvlink_domain());
  installed.set_power_feed(request.power_feed());
  return event;
}

}  // namespace concordat::inventory
