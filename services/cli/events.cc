#include "services/cli/events.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <thread>

#include "events/record.h"
#include "services/cli/errors.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"
#include "services/cli/values.h"
#include "services/cli/yaml.h"

namespace concordat::cli {
namespace {

constexpr int kPage = 1000;

std::vector<std::string> EventRow(const node::v1::EventRecord& record) {
  return {TimeText(record.time()), Position(record), ShortType(record),
          record.subject(),        record.actor(),   Gist(record)};
}

// The decoded fact in place of its bytes: what a program wants of an event.
std::string EventJson(const node::v1::EventRecord& record) {
  node::v1::EventRecord head = record;
  head.clear_data();
  std::string json = ToJsonText(head);
  const Fact fact = OpenFact(record);
  if (fact.fact == nullptr) return ToJsonText(record);
  json.resize(json.rfind('}'));
  json.resize(json.find_last_not_of(" \n") + 1);
  return json + ",\n \"event\": " + ToJsonText(*fact.fact) + "}\n";
}

void PrintEvent(std::ostream& out, Format format, const node::v1::EventRecord& record) {
  switch (format) {
    case Format::kJson:
      out << EventJson(record);
      return;
    case Format::kYaml:
      out << "---\n" << YamlOfJson(EventJson(record));
      return;
    case Format::kName:
      out << Position(record) << "\n";
      return;
    case Format::kText:
      out << EventText(record);
      return;
    case Format::kDefault:
    case Format::kTable:
      out << Join(EventRow(record), "  ") << "\n";
      return;
  }
}

}  // namespace

Fact OpenFact(const node::v1::EventRecord& record) {
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  const auto* type = pool->FindMessageTypeByName(record.data_type());
  if (type == nullptr) return {};
  Fact result;
  result.value.reset(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (!result.value->ParseFromString(record.data())) return {};
  result.fact = result.value.get();
  const auto* which = type->oneof_decl_count() == 0
                          ? nullptr
                          : result.value->GetReflection()->GetOneofFieldDescriptor(
                                *result.value, type->oneof_decl(0));
  if (which != nullptr && which->message_type() != nullptr) {
    result.fact = &result.value->GetReflection()->GetMessage(*result.value, which);
  }
  return result;
}

std::string Position(const node::v1::EventRecord& record) {
  return fmt::format("{}:{}", record.stream(), record.sequence());
}

std::string ShortType(const node::v1::EventRecord& record) {
  return record.type().substr(record.type().rfind('.') + 1);
}

namespace {

// In the order in which one would say them; a fact has few of these.
constexpr std::string_view kFirst[] = {"model",
                                       "supplier",
                                       "serial",
                                       "rack",
                                       "country",
                                       "terms.customer",
                                       "terms.count",
                                       "site",
                                       "it_power_watts",
                                       "cooling_watts",
                                       "step.it_power_watts",
                                       "effective_from",
                                       "terms.start_time",
                                       "terms.end_time",
                                       "amendment.terms.count",
                                       "amendment.terms.start_time",
                                       "amendment.terms.end_time",
                                       "servers",
                                       "hold_expires_at",
                                       "state",
                                       "verdict",
                                       "figures",
                                       "shortfalls",
                                       "reason",
                                       "detail",
                                       "rule.title",
                                       "artefact.name",
                                       "attempt"};
// Said by themselves, without their fields' names.
constexpr std::string_view kPlain[] = {"state",   "verdict",    "detail",     "reason",
                                       "figures", "shortfalls", "rule.title", "cause"};
// What a reservation was judged by is told by its judgement.
constexpr std::string_view kUnsaid[] = {"name",
                                        "site_country",
                                        "site_certifications",
                                        "customer_country",
                                        "customer_sector",
                                        "zone_data_version"};
constexpr size_t kMostSaid = 6;

}  // namespace

std::string Gist(const node::v1::EventRecord& record) {
  const Fact opened = OpenFact(record);
  if (opened.fact == nullptr) return "";
  std::vector<std::string> parts;
  const auto say = [&](std::string_view path) {
    const std::string text = FieldText(*opened.fact, path);
    if (text.empty() || text == "0" || text == "0 W" || text == "no") return;
    parts.push_back(absl::c_linear_search(kPlain, path)
                        ? text
                        : fmt::format("{}={}", path.substr(path.rfind('.') + 1), text));
  };
  for (const std::string_view path : kFirst) say(path);
  // Whatever else it says, as far as there is room.
  const auto* type = opened.fact->GetDescriptor();
  for (int i = 0; i < type->field_count() && parts.size() < kMostSaid; ++i) {
    const auto& field = *type->field(i);
    const std::string_view name = field.name();
    if (IsScalar(field) && field.type() != google::protobuf::FieldDescriptor::TYPE_BYTES &&
        !absl::c_linear_search(kFirst, name) && !absl::c_linear_search(kUnsaid, name)) {
      say(name);
    }
  }
  return Join(parts, " ");
}

const std::string& EventAddress(const Site& site) { return site.AddressOf("compliance"); }

void AwaitEvents(Session& session, const Site& site) {
  for (const std::string& address : site.Addresses()) {
    node::v1::GetStatusResponse status;
    if (!session.Node(address, "GetStatus", node::v1::GetStatusRequest(), status).ok()) continue;
    for (const auto& stream : status.streams()) {
      if (stream.sequence() < 0) continue;
      // A link is answered once its event is among those that can be asked for.
      node::v1::GetLinkRequest request;
      request.set_stream(stream.stream());
      request.set_sequence(static_cast<uint64_t>(stream.sequence()));
      node::v1::GetLinkResponse response;
      session.Node(EventAddress(site), "GetLink", request, response).IgnoreError();
    }
  }
}

absl::StatusOr<Events> FetchEvents(Session& session, const Site& site,
                                   node::v1::ListEventsRequest request) {
  request.set_limit(kPage);
  Events all;
  while (true) {
    node::v1::ListEventsResponse page;
    const absl::Status status = session.Node(EventAddress(site), "ListEvents", request, page);
    if (!status.ok()) return status;
    all.insert(all.end(), page.events().begin(), page.events().end());
    if (!page.truncated() || page.events_size() == 0) return all;
    if (request.stream().empty()) {
      session.Say(fmt::format(
          "only the first {} events; the rest: concordat watch STREAM --from 0 --until-head",
          all.size()));
      return all;
    }
    request.set_from_sequence(all.back().sequence() + 1);
  }
}

void PrintEvents(std::ostream& out, const Events& events, bool headers) {
  Table table({"TIME", "POSITION", "EVENT", "SUBJECT", "ACTOR", "WHAT"});
  for (const auto& record : events) table.Add(EventRow(record));
  table.Print(out, headers);
}

std::string EventText(const node::v1::EventRecord& record) {
  std::string text =
      fmt::format("# {} {} by {}\n", Position(record), TimeText(record.time()), record.actor());
  const Fact opened = OpenFact(record);
  if (opened.value == nullptr) return text + "# unknown type " + record.data_type() + "\n";
  google::protobuf::TextFormat::Printer printer;
  std::string value;
  printer.SetUseUtf8StringEscaping(true);
  printer.PrintToString(*opened.value, &value);
  return text + value + "\n";
}

absl::Status RunHistory(Session& session, const std::vector<std::string>& words) {
  const auto name = ParseName(session, words);
  if (!name.ok()) return name.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  node::v1::ListEventsRequest request;
  request.set_subject(*name);
  AwaitEvents(session, **site);
  const auto events = FetchEvents(session, **site, request);
  if (!events.ok()) return events.status();
  if (events->empty()) {
    return WithNext(
        absl::NotFoundError(fmt::format("found no events of '{}' at {}, expected at least one",
                                        *name, (*site)->name)),
        "watch --until-head");
  }
  if (*format == Format::kDefault || *format == Format::kTable) {
    PrintEvents(session.console().out, *events, !session.globals.no_headers);
  } else {
    for (const auto& record : *events) PrintEvent(session.console().out, *format, record);
  }
  return absl::OkStatus();
}

namespace {

// The streams that a word means, and the head of each, which is where watching begins.
absl::StatusOr<std::map<std::string, int64_t>> StreamsOf(Session& session, const Site& site,
                                                         const std::string& word) {
  std::map<std::string, int64_t> found;
  std::vector<std::string> all;
  for (const std::string& address : site.Addresses()) {
    node::v1::GetStatusResponse status;
    const absl::Status asked =
        session.Node(address, "GetStatus", node::v1::GetStatusRequest(), status);
    if (!asked.ok()) return asked;
    for (const auto& stream : status.streams()) {
      all.push_back(stream.stream());
      const bool meant = word.empty()
                             ? stream.home()
                             : stream.stream() == word ||
                                   (stream.home() && events::ServiceOf(stream.stream()) == word);
      if (meant) found[stream.stream()] = stream.sequence();
    }
  }
  if (!found.empty()) return found;
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return WithNext(absl::NotFoundError(fmt::format("found no stream '{}' at {}, expected one of {}",
                                                  word, site.name, Join(all, ", "))),
                  "status");
}

}  // namespace

absl::Status RunWatch(Session& session, const WatchOptions& options) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  if (options.from < 0) {
    return WithNext(absl::InvalidArgumentError(
                        fmt::format("--from: found {}, expected 0 or more", options.from)),
                    "watch --help");
  }
  const auto streams = StreamsOf(session, **site, options.stream);
  if (!streams.ok()) return streams.status();
  std::mutex mutex;  // guards the output and `first_error`
  absl::Status first_error;
  const auto follow = [&](Session& own, const std::string& stream, int64_t head) {
    node::v1::WatchRequest request;
    request.set_stream(stream);
    request.set_until_head(options.until_head);
    const bool from_start = options.has_from || options.until_head;
    request.set_from_sequence(static_cast<uint64_t>(from_start ? options.from : head + 1));
    const absl::Status status =
        own.Watch(EventAddress(**site), request, [&](const node::v1::EventRecord& record) {
          const std::lock_guard lock(mutex);
          PrintEvent(session.console().out, *format, record);
          session.console().out.flush();
          return true;
        });
    const std::lock_guard lock(mutex);
    first_error.Update(status);
  };
  // A stream a thread: their number is that of the services, and each blocks on its own call.
  std::vector<std::thread> threads;
  for (const auto& [stream, head] : *streams) {
    threads.emplace_back([&, stream = stream, head = head] {
      Session own({}, session.console());
      own.globals = session.globals;
      follow(own, stream, head);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return first_error;
}

}  // namespace concordat::cli
