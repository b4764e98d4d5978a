#include "services/cli/resources.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <set>

#include "services/cli/energy.h"
#include "services/cli/errors.h"
#include "services/cli/events.h"
#include "services/cli/months.h"
#include "services/cli/output.h"
#include "services/cli/quotas.h"
#include "services/cli/text.h"
#include "services/cli/values.h"

namespace concordat::cli {
namespace {

constexpr int kPageSize = 1000;
constexpr int kRecentEvents = 10;

absl::StatusOr<Resource> Known(const google::protobuf::Any& any) {
  Resource resource = Unpack(any);
  if (resource != nullptr) return resource;
  return absl::InternalError(
      fmt::format("found a resource of type {}, which this release of concordat does not know",
                  any.type_url()));
}

// A replica's answer may be old; its home's is the truth.
void SayFreshness(Session& session, const node::v1::Freshness& freshness) {
  if (freshness.home() || freshness.stream().empty()) return;
  session.Say(fmt::format("as of {}:{}, {}", freshness.stream(), freshness.sequence(),
                          TimeText(freshness.event_time())));
}

absl::Status PrintList(Session& session, const Kind& kind,
                       const node::v1::ListResourcesResponse& response) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  std::ostream& out = session.console().out;
  if (IsDocument(*format)) {
    // An empty list is a list too, for programs that go through it.
    if (response.resources().empty()) {
      std::string json(Strip(ToJsonText(response)));
      json.pop_back();
      Append(&json, json == "{" ? "" : ", ", "\"resources\": []}\n");
      PrintDocument(out, *format, json);
    } else {
      PrintMessage(out, *format, response);
    }
    return absl::OkStatus();
  }
  std::vector<Resource> resources;
  for (const auto& any : response.resources()) {
    auto resource = Known(any);
    if (!resource.ok()) return resource.status();
    resources.push_back(*std::move(resource));
  }
  if (*format == Format::kName) {
    for (const Resource& resource : resources) fmt::print(out, "{}\n", NameOf(*resource));
  } else if (resources.empty()) {
    session.Say(fmt::format("no {}", kind.collection));
  } else {
    PrintTable(out, kind, resources, !session.globals.no_headers);
  }
  return absl::OkStatus();
}

absl::Status PrintOne(Session& session, const Kind& kind, Resource resource) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  std::ostream& out = session.console().out;
  if (IsDocument(*format)) {
    PrintMessage(out, *format, *resource);
  } else if (*format == Format::kName) {
    fmt::print(out, "{}\n", NameOf(*resource));
  } else {
    std::vector<Resource> resources;
    resources.push_back(std::move(resource));
    PrintTable(out, kind, resources, !session.globals.no_headers);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Resource> FetchResource(Session& session, const Site& site, const Kind& kind,
                                       const std::string& name, node::v1::Freshness* freshness,
                                       const std::string& min_stream, uint64_t min_sequence) {
  node::v1::GetResourceRequest request;
  request.set_collection(std::string(kind.collection));
  request.set_name(name);
  request.set_min_stream(min_stream);
  request.set_min_sequence(min_sequence);
  node::v1::GetResourceResponse response;
  const absl::Status status =
      session.Node(site.AddressOf(kind.service), "GetResource", request, response);
  if (absl::IsNotFound(status)) {
    return WithNext(
        absl::NotFoundError(fmt::format("found no {} '{}' at {}, expected the name of one",
                                        kind.singular, name, site.name)),
        fmt::format("get {}", kind.collection));
  }
  if (!status.ok()) return status;
  if (freshness != nullptr) *freshness = response.freshness();
  return Known(response.resource());
}

absl::StatusOr<node::v1::ListResourcesResponse> FetchResources(Session& session, const Site& site,
                                                               const Kind& kind,
                                                               const std::string& home,
                                                               const std::string& prefix) {
  node::v1::ListResourcesRequest request;
  request.set_collection(std::string(kind.collection));
  request.set_site(home);
  request.set_prefix(prefix);
  request.set_page_size(kPageSize);
  node::v1::ListResourcesResponse all;
  do {
    node::v1::ListResourcesResponse page;
    const absl::Status status =
        session.Node(site.AddressOf(kind.service), "ListResources", request, page);
    if (!status.ok()) return status;
    if (!page.next_page_token().empty() && page.next_page_token() == request.page_token()) {
      return absl::InternalError(fmt::format("{} gave the same page twice", site.name));
    }
    request.set_page_token(page.next_page_token());
    all.mutable_resources()->MergeFrom(page.resources());
    *all.mutable_freshness() = page.freshness();
  } while (!request.page_token().empty());
  return all;
}

absl::StatusOr<Target> ParseTarget(const std::vector<std::string>& words) {
  if (words.empty()) {
    return WithNext(
        absl::InvalidArgumentError("found no type, expected TYPE, TYPE NAME or TYPE/NAME"),
        "get servers");
  }
  if (words.size() == 1) {
    // A full name says its own kind; `servers/a01-01` says it first.
    if (const Kind* kind = KindOfName(words[0]);
        kind != nullptr && words[0].find('/') != std::string::npos) {
      return Target{kind, words[0]};
    }
    const size_t slash = words[0].find('/');
    const auto kind = FindKind(words[0].substr(0, slash));
    if (!kind.ok()) return kind.status();
    return Target{*kind, slash == std::string::npos ? "" : words[0].substr(slash + 1)};
  }
  const auto kind = FindKind(words[0]);
  if (!kind.ok()) return kind.status();
  if (words.size() > 2) {
    return absl::InvalidArgumentError(
        fmt::format("found '{}' after the name, expected TYPE NAME", words[2]));
  }
  return Target{*kind, words[1]};
}

absl::StatusOr<std::string> ParseName(Session& session, const std::vector<std::string>& words) {
  const bool alone = words.size() == 1 && words[0].find('/') == std::string::npos;
  if (words.empty() || alone) {
    return WithNext(absl::InvalidArgumentError(
                        fmt::format("found {}, expected TYPE NAME, TYPE/NAME or a full name "
                                    "such as sites/paris/servers/a01-01",
                                    alone ? fmt::format("'{}'", words[0]) : "no name")),
                    "get reservations -o name");
  }
  const auto target = ParseTarget(words);
  if (!target.ok()) return target.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  return FullName(*target->kind, target->name, (*site)->name);
}

namespace {

// The field that a condition names: a column by its title, in any case, or any field by its path.
std::string PathOf(const Kind& kind, const std::string& name) {
  for (const Column& column : kind.columns) {
    if (Lower(column.title) == Lower(ReplaceAll(name, "-", " "))) return std::string(column.path);
  }
  return name;
}

// The field at the end of a path; nullptr where there is none.
const google::protobuf::FieldDescriptor* FieldAt(const google::protobuf::Descriptor& type,
                                                 std::string_view path) {
  const size_t dot = path.find('.');
  const auto* field =
      type.FindFieldByName(std::string(path.substr(0, std::min(dot, path.find('[')))));
  if (field == nullptr || dot == path.npos) return field;
  return field->message_type() == nullptr ? nullptr
                                          : FieldAt(*field->message_type(), path.substr(dot + 1));
}

struct Condition {
  std::string path;
  std::string value;
};

absl::StatusOr<std::vector<Condition>> ParseConditions(const Kind& kind,
                                                       const std::vector<std::string>& where) {
  std::vector<Condition> conditions;
  for (const std::string& text : where) {
    const size_t equals = text.find('=');
    if (equals == 0 || equals == text.npos) {
      return WithNext(
          absl::InvalidArgumentError(fmt::format(
              "--where: found '{}', expected COLUMN=VALUE such as state=confirmed", text)),
          "get --help");
    }
    conditions.push_back({PathOf(kind, text.substr(0, equals)), text.substr(equals + 1)});
  }
  return conditions;
}

// Leaves only what meets all conditions, and for people, of what several sites say alike, one.
absl::Status Narrow(Session& session, const Kind& kind, const std::vector<std::string>& where,
                    node::v1::ListResourcesResponse& all) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const bool document = IsDocument(*format);
  const auto conditions = ParseConditions(kind, where);
  if (!conditions.ok()) return conditions.status();
  std::set<std::string> seen;
  node::v1::ListResourcesResponse left;
  for (google::protobuf::Any& any : *all.mutable_resources()) {
    const auto resource = Known(any);
    if (!resource.ok()) return resource.status();
    bool meets = true;
    for (const auto& [path, value] : *conditions) {
      const auto* field = FieldAt(*(*resource)->GetDescriptor(), path);
      if (field == nullptr) {
        std::vector<std::string> titles;
        for (const Column& column : kind.columns) titles.push_back(Lower(column.title));
        return WithNext(
            absl::InvalidArgumentError(fmt::format(
                "--where: found '{}', expected a column of {} ({}), or a field as -o json shows it",
                path, kind.collection, Join(titles, ", "))),
            fmt::format("get {} -o json", kind.collection));
      }
      const std::string found = Lower(FieldText(**resource, path));
      std::string wanted = value;
      if (field->enum_type() != nullptr && !field->is_repeated() && !value.empty()) {
        const auto known = ParseEnum(*field->enum_type(), value);
        if (!known.ok()) {
          return WithNext(absl::InvalidArgumentError(fmt::format(
                              "--where: {}: {}", path, std::string(known.status().message()))),
                          fmt::format("get {} -o json", kind.collection));
        }
        wanted = ShortEnum(**known);
      }
      meets = meets && (found == Lower(wanted) || found == Lower(ShortName(wanted)));
    }
    if (meets && (document || seen.insert(any.SerializeAsString()).second))
      left.add_resources()->Swap(&any);
  }
  all.mutable_resources()->Swap(left.mutable_resources());
  return absl::OkStatus();
}

}  // namespace

absl::Status RunGet(Session& session, const GetOptions& options) {
  // What is computed of many resources, and is none itself.
  const std::string computed = options.words.empty() ? "" : options.words[0];
  if (computed == "months" || computed == "stages" || computed == "energy") {
    if (options.words.size() > 1) {
      return WithNext(absl::InvalidArgumentError(fmt::format("found '{}', expected get {} alone",
                                                             options.words[1], computed)),
                      "get --help");
    }
    if (!options.where.empty() || options.all_sites) {
      return WithNext(absl::InvalidArgumentError(fmt::format(
                          "found {} with {}, expected neither conditions nor other sites",
                          options.all_sites ? "-A" : "--where", computed)),
                      fmt::format("get {}", computed));
    }
    if (computed == "energy") return RunEnergy(session);
    return computed == "months" ? RunMonths(session) : RunStages(session);
  }
  const auto target = ParseTarget(options.words);
  if (!target.ok()) return target.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const Kind& kind = *target->kind;
  std::string home = options.all_sites ? "" : (*site)->name;
  if (target->name.empty()) {
    auto all = FetchResources(session, **site, kind, home, "");
    if (!all.ok()) return all.status();
    const absl::Status narrowed = Narrow(session, kind, options.where, *all);
    return narrowed.ok() ? PrintList(session, kind, *all) : narrowed;
  }
  std::string_view typed = target->name;
  const bool is_prefix = ConsumeSuffix(&typed, "*") || typed.ends_with("/");
  const std::string name = FullName(kind, typed, (*site)->name);
  if (!is_prefix && !options.where.empty()) {
    return WithNext(absl::InvalidArgumentError(fmt::format(
                        "found --where with '{}', expected it with all {}, or with those whose "
                        "name begins so: '{}*'",
                        typed, kind.collection, typed)),
                    fmt::format("get {} '{}*' --where ...", kind.collection, typed));
  }
  if (!is_prefix) {
    node::v1::Freshness freshness;
    auto resource = FetchResource(session, **site, kind, name, &freshness);
    if (resource.ok()) {
      SayFreshness(session, freshness);
      return PrintOne(session, kind, *std::move(resource));
    }
    if (!absl::IsNotFound(resource.status())) return resource.status();
  }
  // A prefix may name another site.
  if (!SiteOfName(name).empty() && SiteOfName(name) != (*site)->name) home.clear();
  auto all = FetchResources(session, **site, kind, home, name);
  if (!all.ok()) return all.status();
  const absl::Status narrowed = Narrow(session, kind, options.where, *all);
  if (!narrowed.ok()) return narrowed;
  if (all->resources_size() == 0 && !is_prefix) {
    return WithNext(absl::NotFoundError(fmt::format(
                        "found no {} '{}' at {}, expected a name or the beginning of one",
                        kind.singular, name, (*site)->name)),
                    fmt::format("get {}", kind.collection));
  }
  return PrintList(session, kind, *all);
}

absl::Status RunDescribe(Session& session, const std::vector<std::string>& words) {
  const auto target = ParseTarget(words);
  if (!target.ok()) return target.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  if (target->name.empty()) {
    return WithNext(absl::InvalidArgumentError(fmt::format(
                        "found no name, expected describe {} NAME", target->kind->singular)),
                    fmt::format("get {}", target->kind->collection));
  }
  const std::string name = FullName(*target->kind, target->name, (*site)->name);
  node::v1::Freshness freshness;
  const auto resource = FetchResource(session, **site, *target->kind, name, &freshness);
  if (!resource.ok()) return resource.status();
  SayFreshness(session, freshness);
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  std::ostream& out = session.console().out;
  if (IsDocument(*format)) {
    PrintMessage(out, *format, **resource);
    return absl::OkStatus();
  }
  out << DescribeText(**resource);
  if (const auto* contract = dynamic_cast<const reservations::v1::Contract*>(resource->get()))
    PrintQuotas(session, **site, *contract);
  node::v1::ListEventsRequest request;
  request.set_subject(name);
  AwaitEvents(session, **site);
  const auto events = FetchEvents(session, **site, request);
  if (!events.ok()) return events.status();
  out << "\n";
  const size_t skip = events->size() > kRecentEvents ? events->size() - kRecentEvents : 0;
  PrintEvents(out, {events->begin() + static_cast<ptrdiff_t>(skip), events->end()},
              !session.globals.no_headers);
  if (skip > 0)
    session.Say(fmt::format("{} earlier events; all of them: concordat history {}", skip, name));
  return absl::OkStatus();
}

}  // namespace concordat::cli
