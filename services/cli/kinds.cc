#include "services/cli/kinds.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "services/cli/errors.h"
#include "services/cli/text.h"

namespace concordat::cli {

std::span<const Kind> Kinds() {
  static const auto& kinds = *new std::vector<Kind>{
      {"sites",
       "site",
       {},
       "inventory",
       "sites/{}",
       {{"NAME", "name"},
        {"COUNTRY", "country"},
        {"TIME ZONE", "time_zone"},
        {"CERTIFICATIONS", "certifications"},
        {"ENVELOPE", "envelope.it_power_watts"}}},
      {"models",
       "model",
       {},
       "inventory",
       "models/{}",
       {{"NAME", "name"},
        {"VENDOR", "vendor"},
        {"ACCELERATORS", "accelerators"},
        {"POWER", "it_power_watts"},
        {"COOLING", "cooling_watts"},
        {"PLAN", "plan"},
        {"NOT PUBLISHED", "not_published"}}},
      {"plans",
       "plan",
       {},
       "inventory",
       "plans/{}",
       {{"NAME", "name"},
        {"VERSIONS", "versions.version"},
        {"VALIDITY", "versions.validity"},
        {"RETEST", "versions.retest_after_tenant"}}},
      {"racks",
       "rack",
       {},
       "inventory",
       "sites/{site}/racks/{}",
       {{"NAME", "name"}, {"ROOM", "room"}, {"RACK", "rack"}, {"HEIGHT", "height_units"}}},
      {"feeds",
       "feed",
       {},
       "inventory",
       "sites/{site}/feeds/{}",
       {{"NAME", "name"},
        {"POWER", "it_power_watts"},
        {"REDUNDANCY", "redundancy"},
        {"ENVELOPE", "envelope.it_power_watts"}}},
      {"readings",
       "reading",
       {},
       "inventory",
       "sites/{site}/readings/{}",
       {{"NAME", "name"},
        {"START", "reading.start_time"},
        {"END", "reading.end_time"},
        {"TOTAL", "reading.total_watt_hours"},
        {"IT", "reading.it_watt_hours"},
        {"WATER", "reading.water_litres"},
        {"CORRECTIONS", "corrections"}}},
      {"manifests",
       "manifest",
       {},
       "inventory",
       "sites/{site}/manifests/{}",
       {{"NAME", "name"},
        {"ORDER", "order_number"},
        {"SUPPLIER", "supplier"},
        {"SERIALS", "serials"}}},
      {"parts",
       "part",
       {},
       "inventory",
       "sites/{site}/parts/{}",
       {{"NAME", "name"},
        {"KIND", "kind"},
        {"SERIAL", "serial"},
        {"SERVER", "server"},
        {"SLOT", "slot"}}},
      {"servers",
       "server",
       {"srv"},
       "inventory",
       "sites/{site}/servers/{}",
       {{"NAME", "name"},
        {"STATE", "state"},
        {"INTENT", "intent"},
        {"MODEL", "model"},
        {"SERIAL", "serial"},
        {"RACK", "rack"},
        {"DOMAIN", "nvlink_domain"},
        {"FEED", "power_feed"},
        {"REASON", "reason"}}},
      {"windows",
       "window",
       {"win"},
       "inventory",
       "sites/{site}/windows/{}",
       {{"NAME", "name"},
        {"STATE", "state"},
        {"CLASS", "plan.window_class"},
        {"START", "plan.start_time"},
        {"END", "plan.end_time"},
        {"SERVERS", "plan.servers"},
        {"CONSENT BY", "plan.consent_by"},
        {"CONSENT MISSING", "missing_consents"}}},
      {"customers",
       "customer",
       {"cust"},
       "reservations",
       "customers/{}",
       {{"NAME", "name"},
        {"DISPLAY NAME", "display_name"},
        {"COUNTRY", "country"},
        {"SECTOR", "sector"}}},
      {"contracts",
       "contract",
       {},
       "reservations",
       "customers/{}/contracts/{}",
       {{"NAME", "name"},
        {"SITES", "terms.sites"},
        {"MAX SERVERS", "terms.max_servers_per_site"},
        {"ACCELERATORS", "terms.quota.accelerators"},
        {"ACCELERATOR-HOURS", "terms.quota.accelerator_hours"},
        {"START", "terms.start_time"},
        {"END", "terms.end_time"},
        {"DATA", "terms.data_classes"},
        {"SIGNED AT", "home_site"}}},
      {"separations",
       "separation",
       {},
       "reservations",
       "sites/{site}/separations/{}",
       {{"NAME", "name"}, {"PARTIES", "parties"}, {"ENDED", "ended"}, {"REASON", "reason"}}},
      {"reservations",
       "reservation",
       {"res"},
       "reservations",
       "sites/{site}/reservations/{}",
       {{"NAME", "name"},
        {"STATE", "state"},
        {"CUSTOMER", "terms.customer"},
        {"MODEL", "terms.model"},
        {"COUNT", "terms.count"},
        {"START", "terms.start_time"},
        {"END", "terms.end_time"},
        {"PURPOSE", "terms.purpose"},
        {"LOST", "lost_servers"}}},
      {"shortfalls",
       "shortfall",
       {},
       "reservations",
       "sites/{site}/shortfalls/{}",
       {{"NAME", "name"},
        {"FEED", "found.feed"},
        {"FROM", "found.start_time"},
        {"UNTIL", "found.end_time"},
        {"POWER", "found.missing_it_power_watts"},
        {"COOLING", "found.missing_cooling_watts"},
        {"RESERVATIONS", "found.reservation_count"},
        {"CAUSE", "found.cause"}}},
      {"bundles",
       "bundle",
       {},
       "reservations",
       "sites/{site}/bundles/{}",
       {{"NAME", "name"}, {"STATE", "state"}, {"EXPIRES", "expires_at"}, {"DETAIL", "detail"}}},
      {"promises",
       "promise",
       {},
       "reservations",
       "sites/{site}/reservations/{}",
       {{"NAME", "name"}, {"BUNDLE", "bundle"}, {"SINCE", "promised_time"}}},
      {"schedules",
       "schedule",
       {},
       "reservations",
       "customers/{}/contracts/{}",
       {{"NAME", "name"},
        {"RULE", "access.rule"},
        {"ZONE", "access.time_zone"},
        {"FROM", "access.start"},
        {"KNOWN UP TO", "occurrences_until"},
        {"ZONE DATA", "zone_data_version"}}},
      {"orders",
       "order",
       {},
       "reservations",
       "sites/{site}/orders/{}",
       {{"NAME", "name"},
        {"STATE", "state"},
        {"SITE", "site"},
        {"CUSTOMER", "terms.customer"},
        {"MODEL", "terms.model"},
        {"COUNT", "terms.count"},
        {"REASON", "reason"}}},
      {"quotas",
       "quota",
       {},
       "reservations",
       "sites/{site}/quotas/{}/{}",
       {{"NAME", "name"},
        {"CONTRACT", "contract"},
        {"HOME", "home_site"},
        {"ACCELERATORS", "levels.accelerators"},
        {"ALLOTTED", "accelerator_seconds"},
        {"USED", "used_accelerator_seconds"},
        {"OPEN REQUEST", "open_request"}}},
      {"projects",
       "project",
       {},
       "reservations",
       "customers/{}/projects/{}",
       {{"NAME", "name"}, {"DISPLAY NAME", "display_name"}, {"REGISTERED AT", "home_site"}}},
      {"waves",
       "wave",
       {},
       "reservations",
       "sites/{site}/waves/{}",
       {{"NAME", "name"},
        {"MODEL", "plan.model"},
        {"CUSTOMERS", "plan.customers"},
        {"FROM", "plan.start_time"},
        {"PERCENT", "plan.share_percent"},
        {"COUNT", "plan.share_servers"},
        {"SERVERS", "plan.servers"}}},
      {"rules",
       "rule",
       {},
       "compliance",
       "rules/{}",
       {{"NAME", "name"},
        {"VERSION", "versions.version"},
        {"TITLE", "versions.title"},
        {"COUNTRIES", "versions.countries"},
        {"EFFECT", "versions.effect"},
        {"REPEALED", "repealed_time"}}},
      {"judgements",
       "judgement",
       {},
       "compliance",
       "sites/{site}/reservations/{}",
       {{"SUBJECT", "name"},
        {"VERDICT", "verdict"},
        {"RULES", "findings[outcome=satisfied|violated|unevaluable].rule"}}},
      {"artefacts",
       "artefact",
       {"art"},
       "deployment",
       "artefacts/{}",
       {{"NAME", "name"},
        {"LICENCE", "artefact.licence"},
        {"TRAINED IN", "artefact.trained_in"},
        {"DIGEST", "artefact.digest"}}},
      {"deployments",
       "deployment",
       {"dep"},
       "deployment",
       "sites/{site}/deployments/{}",
       {{"NAME", "name"},
        {"STATE", "state"},
        {"ARTEFACT", "artefact"},
        {"RESERVATION", "reservation"},
        {"SERVERS", "servers"},
        {"DETAIL", "detail"}}},
      // What a service has noted of another's resources; for those who look into the machine.
      {"site_records",
       "site_record",
       {},
       "reservations",
       "sites/{}",
       {{"NAME", "name"}, {"COUNTRY", "country"}, {"CERTIFICATIONS", "certifications"}}},
      {"compliance_sites",
       "compliance_site",
       {},
       "compliance",
       "sites/{}",
       {{"NAME", "name"}, {"COUNTRY", "country"}, {"CERTIFICATIONS", "certifications"}}},
      {"server_records",
       "server_record",
       {},
       "reservations",
       "sites/{site}/servers/{}",
       {{"NAME", "name"},
        {"MODEL", "server.model"},
        {"BOOKABLE", "server.bookable"},
        {"LOST", "server.lost"}}},
      {"window_records",
       "window_record",
       {},
       "reservations",
       "sites/{site}/windows/{}",
       {{"NAME", "name"},
        {"SERVERS", "window.servers"},
        {"START", "window.start_time"},
        {"END", "window.end_time"},
        {"AFFECTED", "window.affected.reservation"}}},
      {"drains",
       "drain",
       {},
       "deployment",
       "sites/{site}/windows/{}",
       {{"NAME", "name"},
        {"SERVERS", "servers"},
        {"DRAINED", "drained"},
        {"RETURNED", "returned"},
        {"DEPLOYMENTS", "deployments"}}},
      {"deployment_reservations",
       "deployment_reservation",
       {},
       "deployment",
       "sites/{site}/reservations/{}",
       {{"NAME", "name"},
        {"CUSTOMER", "customer"},
        {"SERVERS", "servers"},
        {"VACATING", "vacating"},
        {"VACATED", "vacated"}}},
  };
  return kinds;
}

absl::StatusOr<const Kind*> FindKind(std::string_view word) {
  std::vector<std::string> words;
  const std::string wanted = ReplaceAll(word, "-", "_");
  for (const Kind& kind : Kinds()) {
    if (wanted == kind.collection || wanted == kind.singular ||
        absl::c_linear_search(kind.shorts, wanted)) {
      return &kind;
    }
    words.emplace_back(kind.collection);
    words.emplace_back(kind.singular);
  }
  const std::string nearest = Nearest(wanted, words);
  std::vector<std::string_view> names;
  for (const Kind& kind : Kinds()) names.push_back(kind.collection);
  return WithNext(absl::InvalidArgumentError(fmt::format("found the type '{}', expected one of {}",
                                                         word, Join(names, ", "))),
                  fmt::format("get {}", nearest.empty() ? "servers" : nearest));
}

const Kind* KindOfCollection(std::string_view collection) {
  for (const Kind& kind : Kinds()) {
    if (kind.collection == collection) return &kind;
  }
  return nullptr;
}

const Kind* KindOfName(std::string_view name) {
  const std::vector<std::string> parts = Split(name, '/');
  for (const Kind& kind : Kinds()) {
    const std::vector<std::string> pattern = Split(kind.pattern, '/');
    bool same = parts.size() == pattern.size();
    for (size_t i = 0; same && i < parts.size(); ++i) {
      same = pattern[i][0] == '{' || parts[i] == pattern[i];
    }
    if (same) return &kind;
  }
  return nullptr;
}

std::string FullName(const Kind& kind, std::string_view name, std::string_view site) {
  const std::string_view root = kind.pattern.substr(0, kind.pattern.find('/') + 1);
  if (name.empty() || name.starts_with(root)) return std::string(name);
  const std::string pattern = ReplaceAll(kind.pattern, "{site}", site);
  const std::vector<std::string> fixed = Split(ReplaceAll(pattern, "{}", "\n"), '\n');
  if (fixed.size() == 2) {
    // `servers/a01-01` is as good as `a01-01`.
    if (name.starts_with(fmt::format("{}/", kind.collection)))
      name.remove_prefix(kind.collection.size() + 1);
    return fixed[0] + std::string(name);
  }
  const std::vector<std::string> parts = Split(name, '/');
  if (parts.size() != fixed.size() - 1) return std::string(name);
  std::string full = fixed[0];
  for (size_t i = 0; i < parts.size(); ++i) full += parts[i] + fixed[i + 1];
  return full;
}

std::string_view ShortName(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? name : name.substr(slash + 1);
}

std::string_view SiteOfName(std::string_view name) {
  if (!name.starts_with("sites/")) return {};
  name.remove_prefix(6);
  return name.substr(0, name.find('/'));
}

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    // Levenshtein's distance, one row at a time.
    std::vector<size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= candidate.size(); ++j) {
        const size_t above = row[j];
        row[j] =
            std::min({row[j] + 1, row[j - 1] + 1, diagonal + (word[i - 1] != candidate[j - 1])});
        diagonal = above;
      }
    }
    if (row.back() < best) {
      best = row.back();
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace concordat::cli
