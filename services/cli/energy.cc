#include "services/cli/energy.h"

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>

#include <map>

#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"

namespace concordat::cli {
namespace {

double Ratio(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

std::string RatioText(const std::optional<double>& ratio) {
  return ratio ? fmt::format("{:.3f}", *ratio) : "-";
}

std::string GigawattHours(int64_t watt_hours) {
  return fmt::format("{:.3f}", static_cast<double>(watt_hours) / 1e9);
}

void AddTo(Energy& energy, const inventory::v1::ReadingRecorded& reading, absl::Duration span) {
  energy.covered += (FromTimestamp(reading.end_time()) - FromTimestamp(reading.start_time())) /
                    absl::Seconds(1) / absl::ToDoubleSeconds(span);
  energy.total_watt_hours += reading.total_watt_hours();
  energy.it_watt_hours += reading.it_watt_hours();
  energy.renewable_watt_hours += reading.renewable_watt_hours();
  energy.reused_watt_hours += reading.reused_watt_hours();
  energy.water_litres += reading.water_litres();
}

google::protobuf::Struct DocumentOf(const std::vector<Energy>& rows) {
  google::protobuf::Struct document;
  google::protobuf::ListValue& list = *(*document.mutable_fields())["energy"].mutable_list_value();
  for (const Energy& row : rows) {
    auto& fields = *list.add_values()->mutable_struct_value()->mutable_fields();
    fields["period"].set_string_value(row.period);
    const auto set = [&](const char* name, double value) { fields[name].set_number_value(value); };
    set("covered", row.covered);
    set("totalWattHours", static_cast<double>(row.total_watt_hours));
    set("itWattHours", static_cast<double>(row.it_watt_hours));
    set("renewableWattHours", static_cast<double>(row.renewable_watt_hours));
    set("reusedWattHours", static_cast<double>(row.reused_watt_hours));
    set("waterLitres", static_cast<double>(row.water_litres));
    if (row.pue()) set("pue", *row.pue());
    if (row.wue()) set("wue", *row.wue());
    set("erf", row.erf());
    set("ref", row.ref());
  }
  return document;
}

}  // namespace

std::optional<double> Energy::pue() const {
  if (it_watt_hours == 0) return std::nullopt;
  return Ratio(total_watt_hours, it_watt_hours);
}

std::optional<double> Energy::wue() const {
  if (it_watt_hours == 0) return std::nullopt;
  return Ratio(water_litres, it_watt_hours) * 1000;
}

double Energy::erf() const {
  return total_watt_hours == 0 ? 0 : Ratio(reused_watt_hours, total_watt_hours);
}

double Energy::ref() const {
  return total_watt_hours == 0 ? 0 : Ratio(renewable_watt_hours, total_watt_hours);
}

std::vector<Energy> EnergyOf(const std::vector<inventory::v1::Reading>& readings,
                             absl::TimeZone zone) {
  // `2027-13` stands behind the months of 2027.
  std::map<std::string, Energy> by_period;
  const auto add = [&](const std::string& order, const std::string& period, absl::Time begin,
                       absl::Time end, const inventory::v1::ReadingRecorded& reading) {
    if (FromTimestamp(reading.start_time()) < begin || FromTimestamp(reading.end_time()) > end)
      return;
    Energy& energy = by_period[order];
    energy.period = period;
    AddTo(energy, reading, end - begin);
  };
  for (const inventory::v1::Reading& row : readings) {
    const inventory::v1::ReadingRecorded& reading = row.reading();
    const absl::CivilMonth month(absl::ToCivilSecond(FromTimestamp(reading.start_time()), zone));
    const absl::CivilYear year(month);
    const std::string name = fmt::format("{:04}-{:02}", month.year(), month.month());
    add(name, name, absl::FromCivil(month, zone), absl::FromCivil(month + 1, zone), reading);
    add(fmt::format("{:04}-13", year.year()), fmt::format("{:04}", year.year()),
        absl::FromCivil(year, zone), absl::FromCivil(year + 1, zone), reading);
  }
  std::vector<Energy> rows;
  for (auto& [order, energy] : by_period) rows.push_back(std::move(energy));
  return rows;
}

absl::Status RunEnergy(Session& session) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto row = FetchResource(session, **site, *KindOfCollection("sites"),
                                 fmt::format("sites/{}", (*site)->name));
  if (!row.ok()) return row.status();
  const auto readings = FetchAll<inventory::v1::Reading>(session, **site, "readings");
  if (!readings.ok()) return readings.status();
  const std::string& zone_name = dynamic_cast<const inventory::v1::Site&>(**row).time_zone();
  absl::TimeZone zone = absl::UTCTimeZone();
  if (!absl::LoadTimeZone(zone_name, &zone)) {
    return absl::FailedPreconditionError(
        fmt::format("found no data of the time zone {} on this machine, expected them (Debian: "
                    "tzdata)",
                    zone_name));
  }
  const std::vector<Energy> rows = EnergyOf(*readings, zone);
  if (IsDocument(*format)) {
    PrintMessage(session.console().out, *format, DocumentOf(rows));
    return absl::OkStatus();
  }
  if (rows.empty()) {
    session.Say("no energy: no reading is recorded within a month or a year");
    return absl::OkStatus();
  }
  Table table(
      {"PERIOD", "COVERED", "TOTAL GWH", "IT GWH", "WATER M3", "PUE", "WUE L/KWH", "ERF", "REF"});
  for (const Energy& energy : rows) {
    table.Add({energy.period, fmt::format("{:.0f} %", energy.covered * 100),
               GigawattHours(energy.total_watt_hours), GigawattHours(energy.it_watt_hours),
               fmt::format("{}", energy.water_litres / 1000), RatioText(energy.pue()),
               RatioText(energy.wue()), RatioText(energy.erf()), RatioText(energy.ref())});
  }
  table.Print(session.console().out, !session.globals.no_headers);
  return absl::OkStatus();
}

}  // namespace concordat::cli
