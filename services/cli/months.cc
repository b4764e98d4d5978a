#include "services/cli/months.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"

namespace concordat::cli {
namespace {

using inventory::v1::Model;
using inventory::v1::Server;
using inventory::v1::ServerState;

constexpr size_t kMostMonths = 240;

absl::CivilMonth MonthOf(absl::Time time) {
  return absl::CivilMonth(absl::ToCivilSecond(time, absl::UTCTimeZone()));
}
absl::Time BeginOf(absl::CivilMonth month) { return absl::FromCivil(month, absl::UTCTimeZone()); }

// When it was to be in service; nothing where nobody has said.
std::optional<absl::Time> PlannedTimeOf(const Server& server) {
  if (server.has_planned_time()) return FromTimestamp(server.planned_time());
  if (server.has_first_promised_time()) return FromTimestamp(server.first_promised_time());
  return std::nullopt;
}

bool IsInService(const Server& server, absl::Time at) {
  return std::any_of(server.service().begin(), server.service().end(), [&](const auto& span) {
    return FromTimestamp(span.start_time()) <= at &&
           (!span.has_end_time() || at < FromTimestamp(span.end_time()));
  });
}

bool WasInService(const Server& server, absl::Time at) {
  return server.service_size() > 0 && FromTimestamp(server.service(0).start_time()) <= at;
}

// The cause of the latest slip that was known at a time.
std::string CauseOf(const Server& server, absl::Time at) {
  std::string cause = "none recorded";
  for (const auto& slip : server.slip_list()) {
    if (FromTimestamp(slip.recorded_time()) > at) break;
    cause = ShortEnum(*inventory::v1::SlipCause_descriptor()->FindValueByNumber(slip.cause()));
  }
  return cause;
}

// Adds up servers and what their model brings.
struct Sum {
  const std::map<std::string, const Model*>& models;
  Capacity capacity;
  std::set<std::string> racks;

  void Add(const Server& server, const std::string& rack) {
    ++capacity.servers;
    if (!rack.empty()) racks.insert(rack);
    capacity.racks = static_cast<int64_t>(racks.size());
    const auto model = models.find(server.model());
    if (model == models.end()) return;
    capacity.it_power_watts += model->second->it_power_watts();
    capacity.accelerators += model->second->accelerators();
  }
};

std::string StateText(ServerState state) {
  return ShortEnum(*inventory::v1::ServerState_descriptor()->FindValueByNumber(state));
}

// The order of a server's life, which is not that of the numbers.
constexpr ServerState kLife[] = {
    inventory::v1::SERVER_STATE_PLANNED,        inventory::v1::SERVER_STATE_ORDERED,
    inventory::v1::SERVER_STATE_DELIVERED,      inventory::v1::SERVER_STATE_INSTALLED,
    inventory::v1::SERVER_STATE_UNDER_TEST,     inventory::v1::SERVER_STATE_TEST_FAILED,
    inventory::v1::SERVER_STATE_QUALIFIED,      inventory::v1::SERVER_STATE_IN_SERVICE,
    inventory::v1::SERVER_STATE_OUT_OF_SERVICE, inventory::v1::SERVER_STATE_QUARANTINED,
    inventory::v1::SERVER_STATE_REPAIRED,       inventory::v1::SERVER_STATE_RETIRING,
    inventory::v1::SERVER_STATE_SANITISED,      inventory::v1::SERVER_STATE_RETIRED,
};

std::string CausesText(const std::map<std::string, int64_t>& causes) {
  std::string text;
  for (const auto& [cause, count] : causes)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, cause);
  return text;
}

std::string Days(absl::Duration duration) {
  return fmt::format("{:.1f} d", absl::ToDoubleHours(duration) / 24);
}

std::string JsonOf(const Capacity& capacity) {
  return fmt::format(R"({{"servers": {}, "itPowerWatts": {}, "racks": {}, "accelerators": {}}})",
                     capacity.servers, capacity.it_power_watts, capacity.racks,
                     capacity.accelerators);
}

std::string JsonOf(const Month& month) {
  std::string causes;
  for (const auto& [cause, count] : month.causes)
    causes += fmt::format(R"({}"{}": {})", causes.empty() ? "" : ", ", cause, count);
  return fmt::format(R"({{"month": "{}", "planned": {}{}, "late": {}, "causes": {{{}}}}})",
                     month.month, JsonOf(month.planned),
                     month.actual ? fmt::format(R"(, "actual": {})", JsonOf(*month.actual)) : "",
                     month.late, causes);
}

std::string JsonOf(const Stage& stage) {
  const auto seconds = [](absl::Duration duration) { return absl::ToInt64Seconds(duration); };
  return fmt::format(
      R"({{"state": "{}", "servers": {}{}, "over": {}, "longestSeconds": {}, "oldest": "{}"{}}})",
      stage.state, stage.servers,
      stage.limit ? fmt::format(R"(, "limitSeconds": {})", seconds(*stage.limit)) : "", stage.over,
      seconds(stage.longest), stage.oldest,
      stage.average ? fmt::format(R"(, "averageSeconds": {})", seconds(*stage.average)) : "");
}

// As JSON or YAML where that is asked for.
template <typename Rows>
absl::StatusOr<bool> PrintedDocument(Session& session, const std::string& name, const Rows& rows) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  if (!IsDocument(*format)) return false;
  std::string json;
  for (const auto& row : rows) json += fmt::format("{}{}", json.empty() ? "" : ", ", JsonOf(row));
  PrintDocument(session.console().out, *format, fmt::format(R"({{"{}": [{}]}})", name, json));
  return true;
}

}  // namespace

std::vector<Month> MonthsOf(const std::vector<Server>& servers, const std::vector<Model>& models,
                            absl::Time now) {
  std::map<std::string, const Model*> by_name;
  for (const Model& model : models) by_name[model.name()] = &model;
  std::optional<absl::CivilMonth> first;
  absl::CivilMonth last = MonthOf(now);
  const auto note = [&](absl::Time time) {
    const absl::CivilMonth month = MonthOf(time);
    first = first ? std::min(*first, month) : month;
    last = std::max(last, month);
  };
  for (const Server& server : servers) {
    if (const auto planned = PlannedTimeOf(server)) note(*planned);
    for (const auto& span : server.service()) note(FromTimestamp(span.start_time()));
  }
  std::vector<Month> months;
  if (!first) return months;
  for (absl::CivilMonth at = *first; at <= last && months.size() < kMostMonths; ++at) {
    Month& month = months.emplace_back();
    month.month = fmt::format("{:04}-{:02}", at.year(), at.month());
    const absl::Time end = BeginOf(at + 1);
    // The last instant that is known of it.
    const absl::Time known = std::min(end - absl::Nanoseconds(1), now);
    const bool begun = BeginOf(at) <= now;
    Sum planned{by_name, {}, {}}, actual{by_name, {}, {}};
    for (const Server& server : servers) {
      const auto time = PlannedTimeOf(server);
      if (time && *time < end) planned.Add(server, server.planned_rack());
      if (!begun) continue;
      if (IsInService(server, known)) {
        actual.Add(server, server.rack().empty()
                               ? ""
                               : fmt::format("{}\x1f{}", server.room(), server.rack()));
      }
      if (!time || *time > known || WasInService(server, known)) continue;
      ++month.late;
      ++month.causes[CauseOf(server, known)];
    }
    month.planned = planned.capacity;
    if (begun) month.actual = actual.capacity;
  }
  return months;
}

std::vector<Stage> StagesOf(const inventory::v1::Site& site, const std::vector<Server>& servers,
                            absl::Time now) {
  std::vector<Stage> stages;
  for (const ServerState state : kLife) {
    Stage stage;
    stage.state = StateText(state);
    for (const auto& limit : site.stage_limits()) {
      if (limit.state() == state) stage.limit = absl::Seconds(limit.most().seconds());
    }
    absl::Duration left;
    int64_t leavers = 0;
    for (const Server& server : servers) {
      for (const auto& time : server.stages()) {
        if (time.state() != state) continue;
        left += absl::Seconds(time.seconds());
        ++leavers;
      }
      if (server.state() != state) continue;
      ++stage.servers;
      const absl::Duration stays =
          server.has_state_time() ? now - FromTimestamp(server.state_time()) : absl::ZeroDuration();
      if (stage.limit && stays > *stage.limit) ++stage.over;
      if (stage.oldest.empty() || stays > stage.longest) {
        stage.longest = stays;
        stage.oldest = std::string(ShortName(server.name()));
      }
    }
    if (leavers > 0) stage.average = left / leavers;
    if (stage.servers > 0 || leavers > 0) stages.push_back(std::move(stage));
  }
  return stages;
}

absl::Status RunMonths(Session& session) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto servers = FetchAll<Server>(session, **site, "servers");
  if (!servers.ok()) return servers.status();
  const auto models = FetchAll<Model>(session, **site, "models");
  if (!models.ok()) return models.status();
  const auto now = session.clock()();
  if (!now.ok()) return now.status();
  const std::vector<Month> months = MonthsOf(*servers, *models, *now);
  const auto printed = PrintedDocument(session, "months", months);
  if (!printed.ok() || *printed) return printed.status();
  if (months.empty()) {
    session.Say("no months: nothing is planned or in service");
    return absl::OkStatus();
  }
  Table table({"MONTH", "SERVERS", "PLANNED", "POWER", "PLANNED", "RACKS", "PLANNED",
               "ACCELERATORS", "PLANNED", "LATE", "CAUSES"});
  for (const Month& month : months) {
    const auto number = [&](int64_t Capacity::*field) {
      return month.actual ? std::to_string((*month.actual).*field) : "";
    };
    table.Add({month.month, number(&Capacity::servers), std::to_string(month.planned.servers),
               month.actual ? FormatWatts(month.actual->it_power_watts) : "",
               FormatWatts(month.planned.it_power_watts), number(&Capacity::racks),
               std::to_string(month.planned.racks), number(&Capacity::accelerators),
               std::to_string(month.planned.accelerators), std::to_string(month.late),
               CausesText(month.causes)});
  }
  table.Print(session.console().out, !session.globals.no_headers);
  return absl::OkStatus();
}

absl::Status RunStages(Session& session) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto row = FetchResource(session, **site, *KindOfCollection("sites"),
                                 fmt::format("sites/{}", (*site)->name));
  if (!row.ok()) return row.status();
  const auto servers = FetchAll<Server>(session, **site, "servers");
  if (!servers.ok()) return servers.status();
  const auto now = session.clock()();
  if (!now.ok()) return now.status();
  const std::vector<Stage> stages =
      StagesOf(dynamic_cast<const inventory::v1::Site&>(**row), *servers, *now);
  const auto printed = PrintedDocument(session, "stages", stages);
  if (!printed.ok() || *printed) return printed.status();
  Table table({"STATE", "SERVERS", "LIMIT", "OVER", "LONGEST", "OLDEST", "AVERAGE BEFORE"});
  for (const Stage& stage : stages) {
    table.Add({stage.state, std::to_string(stage.servers), stage.limit ? Days(*stage.limit) : "",
               std::to_string(stage.over), stage.servers > 0 ? Days(stage.longest) : "",
               stage.oldest, stage.average ? Days(*stage.average) : ""});
  }
  table.Print(session.console().out, !session.globals.no_headers);
  return absl::OkStatus();
}

}  // namespace concordat::cli
