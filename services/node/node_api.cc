#include "services/node/node_api.h"

#include <absl/time/clock.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "concordat/node/v1/api.pb.h"
#include "services/node/explain_refusal.h"
#include "services/node/peers.h"
#include "storage/projection/digest.h"
#include "storage/projection/snapshot.h"

namespace concordat::node {
namespace {

using google::protobuf::Message;
using runtime::Call;
using runtime::MessagePtr;
namespace v1 = ::concordat::node::v1;

constexpr int kDefaultPage = 100;
constexpr int kMaxPage = 1000;
// A page ends here, before it has more than gRPC's clients take.
constexpr size_t kPageBytes = 2 << 20;
constexpr absl::Duration kCallPatience = absl::Seconds(5);

void SetTime(absl::Time time, google::protobuf::Timestamp* to) {
  const int64_t micros = absl::ToUnixMicros(time);
  to->set_seconds(micros / 1000000 - (micros % 1000000 < 0 ? 1 : 0));
  to->set_nanos(static_cast<int32_t>((micros % 1000000 + 1000000) % 1000000 * 1000));
}

absl::Duration Patience(const Call& call) {
  return std::min(kCallPatience, call.deadline == absl::InfiniteFuture()
                                     ? kCallPatience
                                     : call.deadline - absl::Now());
}

// `paris` of `sites/paris/servers/a01`; empty where the name belongs to no site.
std::string SiteOfName(const std::string& name) {
  if (name.compare(0, 6, "sites/") != 0) return "";
  return name.substr(6, name.find('/', 6) == name.npos ? name.npos : name.find('/', 6) - 6);
}

struct Collection {
  std::vector<Folded*> folded;  // of each site, the own first
  const Message* prototype = nullptr;
};

absl::StatusOr<Collection> Find(const Site& site, const std::string& name) {
  Collection collection;
  std::string known;
  for (const auto& folded : site.folded()) {
    for (const runtime::TableInfo& table : folded->engine->tables()) {
      if (folded->home()) known += (known.empty() ? "" : ", ") + table.name;
      if (table.name != name) continue;
      collection.folded.push_back(folded.get());
      collection.prototype = table.prototype;
    }
  }
  if (collection.prototype == nullptr) {
    return absl::NotFoundError(
        fmt::format("there is no collection {} here; there are {}", name, known));
  }
  return collection;
}

absl::Status SetFreshness(const Folded& folded, const storage::ProjectionView& view,
                          v1::Freshness* freshness) {
  const auto chain = view.Chain(folded.stream);
  if (!chain.ok()) return chain.status();
  freshness->set_stream(folded.stream);
  freshness->set_sequence(chain->head().sequence);
  SetTime(chain->head().time, freshness->mutable_event_time());
  freshness->set_home(folded.home());
  return absl::OkStatus();
}

absl::Status Get(const NodeContext& node, const Call& call, const v1::GetResourceRequest& request,
                 v1::GetResourceResponse& response) {
  const auto collection = Find(*node.site, request.collection());
  if (!collection.ok()) return collection.status();
  const std::string site = SiteOfName(request.name());
  for (Folded* folded : collection->folded) {
    if (!site.empty() && folded->site != site) continue;
    if (request.min_stream() == folded->stream &&
        !folded->WaitFor(static_cast<int64_t>(request.min_sequence()), Patience(call))) {
      return absl::UnavailableError(fmt::format("{} is not folded up to sequence {} yet; ask again",
                                                folded->stream, request.min_sequence()));
    }
    const absl::Status shows = folded->Shows();
    if (!shows.ok()) return shows;
    const auto view = folded->projection->View();
    const auto value = view->Get(storage::RowKey(request.collection(), request.name()));
    if (!value) continue;
    const MessagePtr resource(collection->prototype->New());
    if (!resource->ParseFromString(*value))
      return absl::DataLossError(fmt::format("{} cannot be read", request.name()));
    response.mutable_resource()->PackFrom(*resource);
    return SetFreshness(*folded, *view, response.mutable_freshness());
  }
  return absl::NotFoundError(fmt::format("there is no {} in {} as this site knows it",
                                         request.name(), request.collection()));
}

absl::Status List(const NodeContext& node, const Call&, const v1::ListResourcesRequest& request,
                  v1::ListResourcesResponse& response) {
  const auto collection = Find(*node.site, request.collection());
  if (!collection.ok()) return collection.status();
  if (request.page_size() < 0 || request.page_size() > kMaxPage) {
    return absl::InvalidArgumentError(
        fmt::format("page_size is {}, expected 0 to {}", request.page_size(), kMaxPage));
  }
  const int page = request.page_size() == 0 ? kDefaultPage : request.page_size();
  // The token is the site and name to begin with.
  const size_t bar = request.page_token().find('|');
  std::string from_site = bar == std::string::npos ? "" : request.page_token().substr(0, bar);
  const std::string from_name =
      bar == std::string::npos ? "" : request.page_token().substr(bar + 1);
  bool skipping = !from_site.empty();
  size_t bytes = 0;
  for (Folded* folded : collection->folded) {
    if (!request.site().empty() && folded->site != request.site()) continue;
    if (skipping && folded->site != from_site) continue;
    const std::string from = skipping ? from_name : "";
    skipping = false;
    const absl::Status shows = folded->Shows();
    if (!shows.ok()) return shows;
    const auto view = folded->projection->View();
    const absl::Status fresh = SetFreshness(*folded, *view, response.add_freshness());
    if (!fresh.ok()) return fresh;
    const std::string prefix = storage::RowKey(request.collection(), request.prefix());
    const std::string begin = from.empty() ? prefix : storage::RowKey(request.collection(), from);
    view->Scan(begin, [&](std::string_view key, std::string_view value) {
      if (key.substr(0, prefix.size()) != prefix) return false;
      if (response.resources_size() == page || bytes >= kPageBytes) {
        response.set_next_page_token(fmt::format("{}|{}", folded->site, storage::KeyOf(key)));
        return false;
      }
      bytes += value.size();
      const MessagePtr resource(collection->prototype->New());
      if (resource->ParseFromArray(value.data(), static_cast<int>(value.size()))) {
        response.add_resources()->PackFrom(*resource);
      }
      return true;
    });
    if (!response.next_page_token().empty()) break;
  }
  return absl::OkStatus();
}

void SetLinkStatus(Mirror& mirror, v1::LinkStatus* link) {
  link->set_origin(mirror.origin());
  link->set_cut(mirror.cut());
  link->set_pending_records(mirror.Pending());
}

absl::Status GetStatus(const NodeContext& node, const Call&, const v1::GetStatusRequest&,
                       v1::GetStatusResponse& response) {
  response.set_site(node.site->name());
  response.set_release(CONCORDAT_VERSION);
  response.set_profile(node.config->demo ? "demo" : "production");
  response.set_log(node.config->kafka ? "kafka" : "embedded");
  SetTime(node.site->clock().Now(), response.mutable_now());
  for (const std::string& service : node.site->services()) response.add_services(service);
  for (const StreamState& state : node.site->States()) {
    v1::StreamStatus* stream = response.add_streams();
    stream->set_stream(state.stream);
    stream->set_home(state.home);
    stream->set_sequence(state.head.sequence);
    stream->set_link(state.head.link.ToHex());
    SetTime(state.head.time, stream->mutable_event_time());
    for (const auto& [outcome, count] : state.voids)
      (*stream->mutable_void_records())[std::string(Name(outcome))] = count;
    stream->set_lag_records(state.lag);
    stream->set_condition(state.condition);
    stream->set_writer_state(state.writer_state);
    stream->set_alarm(state.alarm);
    stream->set_home_check(state.home_check);
    stream->set_folded_records(state.folded_records);
    stream->set_records_to_fold(state.records_to_fold);
    stream->set_records_per_second(state.records_per_second);
  }
  for (Mirror* mirror : node.mirrors) SetLinkStatus(*mirror, response.add_links());
  if (node.mirrors.empty()) {
    for (const SiteConfig& site : node.config->sites) {
      if (site.name == node.site->name()) continue;
      v1::LinkStatus* link = response.add_links();
      link->set_origin(site.name);
      link->set_pending_records(-1);
    }
  }
  return absl::OkStatus();
}

absl::Status Verify(const NodeContext& node, const Call& call, const v1::VerifyRequest& request,
                    v1::VerifyResponse& response) {
  response.set_site(node.site->name());
  const std::vector<StreamState> states = node.site->States();
  for (size_t i = 0; i < node.site->folded().size(); ++i) {
    const Folded& folded = *node.site->folded()[i];
    if (!request.stream().empty() && folded.stream != request.stream()) continue;
    const auto view = folded.projection->View();
    const auto chain = view->Chain(folded.stream);
    const auto kept = view->FoldedDigests();
    if (!chain.ok()) return chain.status();
    if (!kept.ok()) return kept.status();
    const storage::Digests stored = storage::Digests::Of(*view);
    v1::StreamDigest* stream = response.add_streams();
    stream->set_stream(folded.stream);
    stream->set_sequence(chain->head().sequence);
    stream->set_link(chain->head().link.ToHex());
    stream->set_condition(states[i].condition);
    storage::Digests anew;
    if (request.deep()) {
      auto refolded = node.site->FoldAnew(folded, chain->head(), [&] {
        return absl::Now() > call.deadline || (call.cancelled && call.cancelled());
      });
      if (!refolded.ok()) return refolded.status();
      anew = *std::move(refolded);
    }
    storage::Digests::Tables tables = stored.tables();
    for (const auto& [name, digest] : anew.tables()) tables.try_emplace(name);
    for (const auto& [name, digest] : kept->tables()) tables.try_emplace(name);
    for (const auto& [name, unused] : tables) {
      v1::TableDigest* table = stream->add_tables();
      const auto now = stored.tables().find(name);
      const auto then = kept->tables().find(name);
      table->set_table(name);
      table->set_rows(now == stored.tables().end() ? 0 : now->second.rows);
      table->set_stored(now == stored.tables().end() ? storage::Digest().ToHex()
                                                     : now->second.ToHex());
      table->set_folded(then == kept->tables().end() ? storage::Digest().ToHex()
                                                     : then->second.ToHex());
      if (!request.deep()) continue;
      const auto again = anew.tables().find(name);
      table->set_refolded(again == anew.tables().end() ? storage::Digest().ToHex()
                                                       : again->second.ToHex());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<storage::Archive*> ArchiveOf(const NodeContext& node) {
  if (node.site->archive() != nullptr) return node.site->archive();
  return absl::FailedPreconditionError(
      "this process keeps no archive; ask the process that runs the compliance service");
}

absl::Status GetLink(const NodeContext& node, const Call& call, const v1::GetLinkRequest& request,
                     v1::GetLinkResponse& response) {
  const auto archive = ArchiveOf(node);
  if (!archive.ok()) return archive.status();
  (*archive)->WaitFor(request.stream(), request.sequence(),
                      std::min(Patience(call), absl::Seconds(2)));
  const auto event = (*archive)->At(request.stream(), request.sequence());
  if (!event.ok()) return event.status();
  if (!event->has_value()) {
    return absl::NotFoundError(
        fmt::format("{} has no event at sequence {} here", request.stream(), request.sequence()));
  }
  response.set_link((*event)->attributes.id.ToHex());
  return absl::OkStatus();
}

void SetEvent(const storage::ArchivedEvent& event, v1::EventRecord* to) {
  const events::Attributes& attributes = event.attributes;
  to->set_stream(event.stream);
  to->set_sequence(attributes.sequence);
  to->set_link(attributes.id.ToHex());
  to->set_type(attributes.type);
  to->set_subject(attributes.subject);
  SetTime(attributes.time, to->mutable_time());
  to->set_actor(attributes.actor);
  to->set_command_id(attributes.command_id);
  to->set_correlation_id(attributes.correlation_id);
  to->set_causation_id(attributes.causation_id);
  to->set_data(event.data);
  to->set_data_type(attributes.data_type);
}

absl::Status ListEvents(const NodeContext& node, const Call&, const v1::ListEventsRequest& request,
                        v1::ListEventsResponse& response) {
  const auto archive = ArchiveOf(node);
  if (!archive.ok()) return archive.status();
  if (request.limit() < 0 || request.limit() > kMaxPage) {
    return absl::InvalidArgumentError(
        fmt::format("limit is {}, expected 0 to {}", request.limit(), kMaxPage));
  }
  const size_t limit = request.limit() == 0 ? kDefaultPage : static_cast<size_t>(request.limit());
  absl::StatusOr<std::vector<storage::ArchivedEvent>> events;
  if (!request.subject().empty()) {
    events = (*archive)->BySubject(request.subject(), limit + 1);
  } else if (!request.correlation_id().empty()) {
    events = (*archive)->ByCorrelation(request.correlation_id(), limit + 1);
  } else if (!request.stream().empty()) {
    events = std::vector<storage::ArchivedEvent>();
    for (uint64_t sequence = request.from_sequence(); events->size() <= limit; ++sequence) {
      auto event = (*archive)->At(request.stream(), sequence);
      if (!event.ok()) return event.status();
      if (!event->has_value()) break;
      events->push_back(**std::move(event));
    }
  } else {
    return absl::InvalidArgumentError(
        "subject, correlation_id and stream are absent, expected one of them");
  }
  if (!events.ok()) return events.status();
  response.set_truncated(events->size() > limit);
  size_t bytes = 0;
  for (size_t i = 0; i < std::min(limit, events->size()); ++i) {
    const storage::ArchivedEvent& event = (*events)[i];
    if (bytes >= kPageBytes) {
      response.set_truncated(true);
      break;
    }
    bytes += event.data.size();
    const bool wanted = (request.stream().empty() || event.stream == request.stream()) &&
                        (request.correlation_id().empty() ||
                         event.attributes.correlation_id == request.correlation_id());
    if (wanted) SetEvent(event, response.add_events());
  }
  return absl::OkStatus();
}

absl::Status Watch(const NodeContext& node, const Call& call, const v1::WatchRequest& request,
                   const std::function<bool(const Message&)>& write) {
  const auto archive = ArchiveOf(node);
  if (!archive.ok()) return archive.status();
  int64_t head = -1;
  bool known = false;
  for (const StreamState& state : node.site->States()) {
    if (state.stream == request.stream()) head = state.head.sequence;
    known = known || state.stream == request.stream();
  }
  if (!known) return absl::NotFoundError(fmt::format("{} is not followed here", request.stream()));
  for (uint64_t sequence = request.from_sequence();
       !request.until_head() || static_cast<int64_t>(sequence) <= head;) {
    if (call.cancelled() || absl::Now() > call.deadline) return absl::OkStatus();
    if (!(*archive)->WaitFor(request.stream(), sequence, absl::Milliseconds(200))) continue;
    const auto event = (*archive)->At(request.stream(), sequence);
    if (!event.ok()) return event.status();
    v1::WatchResponse response;
    SetEvent(**event, response.mutable_event());
    if (!write(response)) return absl::OkStatus();
    ++sequence;
  }
  return absl::OkStatus();
}

absl::Status SetClock(const NodeContext& node, const Call&, const v1::SetClockRequest& request,
                      v1::SetClockResponse& response) {
  if (node.manual_clock == nullptr) {
    return absl::FailedPreconditionError(
        "the clock is the system's: only a process of profile demo with manual_clock_start "
        "has a clock that can be set");
  }
  const absl::Time time =
      absl::FromUnixSeconds(request.time().seconds()) + absl::Nanoseconds(request.time().nanos());
  if (!node.manual_clock->Set(time)) {
    return absl::FailedPreconditionError(
        fmt::format("the clock shows {}, and never goes back to {}",
                    events::EventTime(node.manual_clock->Now()), events::EventTime(time)));
  }
  SetTime(node.manual_clock->Now(), response.mutable_now());
  return absl::OkStatus();
}

absl::Status SetLink(const NodeContext& node, const Call&, const v1::SetLinkRequest& request,
                     v1::SetLinkResponse& response) {
  for (Mirror* mirror : node.mirrors) {
    if (mirror->origin() != request.origin()) continue;
    mirror->SetCut(request.cut());
    SetLinkStatus(*mirror, response.mutable_link());
    return absl::OkStatus();
  }
  if (node.config->kafka) {
    return absl::FailedPreconditionError(
        "with Kafka the link is MirrorMaker's, outside of this process: stop or start it "
        "there (`./dev kafka cut`, `./dev kafka heal`)");
  }
  return absl::NotFoundError(
      fmt::format("no link from {} ends at {}", request.origin(), node.site->name()));
}

// Any stream that is archived here, for a home that may have lost its end.
absl::Status ReadRecords(const NodeContext& node, const Call&,
                         const v1::ReadRecordsRequest& request, v1::ReadRecordsResponse& response) {
  const auto archive = ArchiveOf(node);
  if (!archive.ok()) return archive.status();
  if (request.limit() < 0 || request.limit() > kMaxPage) {
    return absl::InvalidArgumentError(
        fmt::format("limit is {}, expected 0 to {}", request.limit(), kMaxPage));
  }
  ArchivePeer held(node.site->name(), true, **archive, &node.site->log());
  const auto head = held.HeadOf(request.stream());
  if (!head.ok()) return head.status();
  response.set_head_sequence(head->sequence);
  response.set_head_link(head->link.ToHex());
  auto records =
      held.Records(request.stream(), request.from_sequence(), static_cast<size_t>(request.limit()));
  if (!records.ok()) return records.status();
  for (events::Record& record : *records) {
    v1::RawRecord* raw = response.add_records();
    raw->set_key(std::move(record.key));
    for (const auto& [name, value] : record.headers) {
      v1::RawHeader* header = raw->add_headers();
      header->set_name(std::string(name));
      header->set_value(std::string(value));
    }
    raw->set_data(std::move(record.data));
  }
  return absl::OkStatus();
}

absl::Status TakeSnapshots(const NodeContext& node, const Call&,
                           const v1::TakeSnapshotRequest& request,
                           v1::TakeSnapshotResponse& response) {
  for (const auto& folded : node.site->folded()) {
    if (!request.stream().empty() && folded->stream != request.stream()) continue;
    const absl::Status shows = folded->Shows();
    if (!shows.ok()) return shows;
    const auto taken =
        storage::TakeSnapshot(*folded->projection, node.site->SnapshotFolder(), kSchema);
    if (!taken.ok()) return taken.status();
    v1::SnapshotInfo* info = response.add_snapshots();
    info->set_stream(taken->stream);
    info->set_sequence(taken->head.sequence);
    info->set_link(taken->head.link.ToHex());
    info->set_digest(taken->digest);
    info->set_folder(taken->dir);
  }
  if (response.snapshots().empty()) {
    return absl::NotFoundError(
        fmt::format("{} is not followed at {}", request.stream(), node.site->name()));
  }
  return absl::OkStatus();
}

absl::Status AllowStart(const NodeContext& node, const Call& call,
                        const v1::AllowStartRequest& request, v1::AllowStartResponse&) {
  if (request.reason().empty()) {
    return absl::InvalidArgumentError("reason is empty, expected why the writer may start");
  }
  for (const auto& folded : node.site->folded()) {
    if (folded->stream != request.stream() || !folded->home()) continue;
    return folded->writer->AllowStart({request.sequence(), call.actor, request.reason()});
  }
  return absl::NotFoundError(fmt::format("{} is not written here, expected a stream of {}",
                                         request.stream(), node.site->name()));
}

absl::Status ExplainOne(const NodeContext& node, const Call& call,
                        const v1::ExplainRefusalRequest& request,
                        v1::ExplainRefusalResponse& response) {
  return ExplainRefusal(*node.site, call, request, response);
}

template <typename Request, typename Response>
void AddUnary(runtime::Server& server, const NodeContext& context, const char* method,
              absl::Status (*handle)(const NodeContext&, const Call&, const Request&, Response&)) {
  server.AddBlocking(fmt::format("/concordat.node.v1.NodeService/{}", method),
                     Request::descriptor(),
                     [context, handle](const Call& call, const Message& request) {
                       auto response = std::make_unique<Response>();
                       absl::Status status =
                           handle(context, call, static_cast<const Request&>(request), *response);
                       return runtime::Reply{std::move(status), std::move(response), {}};
                     });
}

}  // namespace

void AddNodeService(runtime::Server& server, const NodeContext& context) {
  AddUnary(server, context, "GetResource", &Get);
  AddUnary(server, context, "ListResources", &List);
  AddUnary(server, context, "GetStatus", &GetStatus);
  AddUnary(server, context, "Verify", &Verify);
  AddUnary(server, context, "GetLink", &GetLink);
  AddUnary(server, context, "ListEvents", &ListEvents);
  AddUnary(server, context, "SetClock", &SetClock);
  AddUnary(server, context, "SetLink", &SetLink);
  AddUnary(server, context, "ReadRecords", &ReadRecords);
  AddUnary(server, context, "AllowStart", &AllowStart);
  AddUnary(server, context, "ExplainRefusal", &ExplainOne);
  AddUnary(server, context, "TakeSnapshot", &TakeSnapshots);
  server.AddStream("/concordat.node.v1.NodeService/Watch", v1::WatchRequest::descriptor(),
                   [context](const Call& call, const Message& request,
                             const std::function<bool(const Message&)>& write) {
                     return Watch(context, call, static_cast<const v1::WatchRequest&>(request),
                                  write);
                   });
}

}  // namespace concordat::node
