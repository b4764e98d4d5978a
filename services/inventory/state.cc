#include "services/inventory/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "services/runtime/check.h"

namespace concordat::inventory {
namespace {

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
  rows.sites.Put(opened.name(), site);
}

// A step with the same beginning is replaced; the steps stay ordered.
void SetEnvelope(Rows& rows, const v1::EnvelopeSet& set) {
  v1::Site site = rows.sites.Get(set.site()).value_or(v1::Site());
  site.set_name(set.site());
  const auto begins = [](const v1::EnvelopeSet& step) {
    return runtime::ToTime(step.effective_from());
  };
  std::vector<v1::EnvelopeSet> steps(site.envelope().begin(), site.envelope().end());
  const auto at = std::find_if(steps.begin(), steps.end(), [&](const v1::EnvelopeSet& step) {
    return begins(step) >= begins(set);
  });
  if (at != steps.end() && begins(*at) == begins(set)) {
    *at = set;
  } else {
    steps.insert(at, set);
  }
  site.mutable_envelope()->Assign(steps.begin(), steps.end());
  rows.sites.Put(set.site(), site);
}

void RegisterModel(Rows& rows, const v1::ModelRegistered& registered) {
  v1::Model model;
  model.set_name(registered.name());
  model.set_vendor(registered.vendor());
  model.set_accelerators(registered.accelerators());
  model.set_it_power_watts(registered.it_power_watts());
  model.set_cooling_watts(registered.cooling_watts());
  *model.mutable_criteria() = registered.criteria();
  rows.models.Put(registered.name(), model);
}

// The server with `change` applied; a server that is not known gets a row.
template <typename Change>
void ChangeServer(Rows& rows, const std::string& name, Change change) {
  v1::Server server = rows.servers.Get(name).value_or(v1::Server());
  server.set_name(name);
  change(server);
  rows.servers.Put(name, server);
}

void Order(Rows& rows, const v1::ServerOrdered& ordered) {
  ChangeServer(rows, ordered.name(), [&](v1::Server& server) {
    server.set_state(v1::SERVER_STATE_ORDERED);
    server.set_model(ordered.model());
    server.set_supplier(ordered.supplier());
    *server.mutable_promised_time() = ordered.promised_time();
  });
}

void Deliver(Rows& rows, const v1::ServerDelivered& delivered) {
  ChangeServer(rows, delivered.name(), [&](v1::Server& server) {
    server.set_state(v1::SERVER_STATE_DELIVERED);
    server.set_serial(delivered.serial());
  });
  rows.serials.Put(delivered.serial(), Text(delivered.name()));
}

void Install(Rows& rows, const v1::ServerInstalled& installed) {
  ChangeServer(rows, installed.name(), [&](v1::Server& server) {
    server.set_state(v1::SERVER_STATE_INSTALLED);
    server.set_room(installed.room());
    server.set_rack(installed.rack());
    server.set_position(installed.position());
    server.set_nvlink_domain(installed.nvlink_domain());
    server.set_power_feed(installed.power_feed());
  });
  rows.positions.Put(PositionKey(installed.room(), installed.rack(), installed.position()),
                     Text(installed.name()));
}

void Pass(Rows& rows, const v1::BurnInPassed& passed) {
  ChangeServer(rows, passed.name(), [&](v1::Server& server) {
    server.set_state(v1::SERVER_STATE_QUALIFIED);
    *server.mutable_figures() = passed.figures();
    server.clear_shortfalls();
  });
}

void Fail(Rows& rows, const v1::BurnInFailed& failed) {
  ChangeServer(rows, failed.name(), [&](v1::Server& server) {
    server.set_state(v1::SERVER_STATE_TEST_FAILED);
    *server.mutable_figures() = failed.figures();
    *server.mutable_shortfalls() = failed.shortfalls();
  });
}

void SetService(Rows& rows, const std::string& name, v1::ServerState state, bool cordoned,
                const std::string& reason) {
  ChangeServer(rows, name, [&](v1::Server& server) {
    server.set_state(state);
    server.set_cordoned(cordoned);
    server.set_reason(reason);
  });
}

}  // namespace

std::string PositionKey(const std::string& room, const std::string& rack, int position) {
  return fmt::format("{}\x1f{}\x1f{}", room, rack, position);
}

void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kSiteOpened:
      return OpenSite(rows, event.site_opened());
    case v1::Event::kEnvelopeSet:
      return SetEnvelope(rows, event.envelope_set());
    case v1::Event::kModelRegistered:
      return RegisterModel(rows, event.model_registered());
    case v1::Event::kServerOrdered:
      return Order(rows, event.server_ordered());
    case v1::Event::kServerDelivered:
      return Deliver(rows, event.server_delivered());
    case v1::Event::kServerInstalled:
      return Install(rows, event.server_installed());
    case v1::Event::kBurnInPassed:
      return Pass(rows, event.burn_in_passed());
    case v1::Event::kBurnInFailed:
      return Fail(rows, event.burn_in_failed());
    case v1::Event::kServerEnteredService:
      return SetService(rows, event.server_entered_service().name(), v1::SERVER_STATE_IN_SERVICE,
                        false, "");
    case v1::Event::kServerCordoned:
      return SetService(rows, event.server_cordoned().name(), v1::SERVER_STATE_IN_SERVICE, true,
                        event.server_cordoned().reason());
    case v1::Event::kServerUncordoned:
      return SetService(rows, event.server_uncordoned().name(), v1::SERVER_STATE_IN_SERVICE, false,
                        "");
    case v1::Event::kServerLeftService:
      return SetService(rows, event.server_left_service().name(), v1::SERVER_STATE_OUT_OF_SERVICE,
                        false, event.server_left_service().reason());
    case v1::Event::kCommandRefused:
      return;
    case v1::Event::EVENT_NOT_SET:
      return;
  }
}

}  // namespace concordat::inventory
