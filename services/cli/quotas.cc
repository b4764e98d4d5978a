#include "services/cli/quotas.h"

#include <algorithm>

#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"
#include "services/cli/values.h"

namespace concordat::cli {

void PrintQuotas(Session& session, const Site& site, const reservations::v1::Contract& contract) {
  const auto& quota = contract.terms().quota();
  if (quota.accelerators() == 0 && quota.accelerator_hours() == 0) return;
  std::vector<std::string> sites(contract.terms().sites().begin(), contract.terms().sites().end());
  if (std::find(sites.begin(), sites.end(), contract.home_site()) == sites.end())
    sites.push_back(contract.home_site());
  Table table({"QUOTA AT", "ACCELERATORS", "ALLOTTED", "USED", "LEFT", "AS OF"});
  const Kind& kind = *KindOfCollection("quotas");
  for (const std::string& name : sites) {
    const std::vector<std::string> parts = Split(contract.name(), '/');
    if (parts.size() != 4) return;
    node::v1::Freshness freshness;
    const auto found = FetchResource(session, site, kind,
                                     name + "/quotas/" + parts[1] + "/" + parts[3], &freshness);
    if (!found.ok()) {
      table.Add({std::string(ShortName(name)), "", "", "", "", "not known here"});
      continue;
    }
    const auto& row = static_cast<const reservations::v1::Quota&>(**found);
    const int64_t levels = row.levels().empty() ? 0 : row.levels().rbegin()->accelerators();
    const auto hours = [&](int64_t seconds) {
      return quota.accelerator_hours() == 0 ? "any" : FormatAcceleratorSeconds(seconds);
    };
    table.Add(
        {std::string(ShortName(name)), quota.accelerators() == 0 ? "any" : std::to_string(levels),
         hours(row.accelerator_seconds()), FormatAcceleratorSeconds(row.used_accelerator_seconds()),
         hours(row.accelerator_seconds() - row.used_accelerator_seconds()),
         freshness.home() ? "now" : TimeText(freshness.event_time())});
  }
  session.console().out << "\n";
  table.Print(session.console().out, !session.globals.no_headers);
}

}  // namespace concordat::cli
