#include "services/cli/submit.h"

#include <absl/algorithm/container.h>
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include "services/cli/errors.h"
#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"

namespace concordat::cli {
namespace {

constexpr absl::Duration kWaitTimeout = absl::Seconds(60);
constexpr absl::Duration kPollInterval = absl::Milliseconds(100);

absl::Status PrintOutcome(Session& session, const type::v1::Outcome& outcome) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  std::ostream& out = session.console().out;
  if (IsDocument(*format)) {
    PrintMessage(out, *format, outcome);
  } else if (*format == Format::kName) {
    fmt::print(out, "{}\n", outcome.subject());
  } else {
    const std::string where = outcome.validated_only()
                                  ? "would be"
                                  : fmt::format("{}:{}", outcome.stream(), outcome.sequence());
    fmt::print(out, "{}  {}  {}{}\n", outcome.subject(),
               outcome.event_type().substr(outcome.event_type().rfind('.') + 1), where,
               outcome.repeated() ? "  (answered before)" : "");
  }
  return absl::OkStatus();
}

// The outcome as a document, with what was waited for in it.
void PrintDecided(Session& session, Format format, const type::v1::Outcome& outcome,
                  const google::protobuf::Message* resource) {
  std::string json(Strip(ToJsonText(outcome)));
  if (resource != nullptr) {
    json.pop_back();
    Append(&json, json == "{" ? "" : ",", " \"resource\": ", ToJsonText(*resource), "}");
  }
  PrintDocument(session.console().out, format, json + "\n");
}

// Follows what the outcome names until it is decided; `last` is what it was then.
// DEADLINE_EXCEEDED where it still is not.
absl::Status WaitFor(Session& session, const Site& site, const type::v1::Outcome& outcome,
                     bool table, Resource& last) {
  const auto timeout = session.Timeout(kWaitTimeout);
  if (!timeout.ok()) return timeout.status();
  const std::string& subject = outcome.subject();
  const Kind* kind = KindOfName(subject);
  if (kind == nullptr || outcome.validated_only()) return absl::OkStatus();
  const absl::Time deadline = absl::Now() + *timeout;
  const std::string next = fmt::format("explain {}", subject);
  std::string state;
  while (true) {
    auto resource =
        FetchResource(session, site, *kind, subject, nullptr, outcome.stream(), outcome.sequence());
    // A site that starts again, or folds slowly, may answer the next time.
    if (!resource.ok() && !absl::IsUnavailable(resource.status())) return resource.status();
    if (resource.ok() && FieldText(**resource, "state") != state) {
      state = FieldText(**resource, "state");
      if (ProgressOf(state) == Progress::kWaiting) {
        session.Say(fmt::format("{} is {}", subject, state));
      } else if (table) {
        fmt::print(session.console().out, "{}  {}\n", subject, state);
      }
    }
    if (resource.ok()) last = *std::move(resource);
    if (ProgressOf(state) == Progress::kReached) return absl::OkStatus();
    if (ProgressOf(state) == Progress::kMissed) {
      const std::string detail = FieldText(*last, "detail");
      return WithNext(absl::FailedPreconditionError(fmt::format(
                          "{} is {}{}{}", subject, state, detail.empty() ? "" : ": ", detail)),
                      next);
    }
    if (absl::Now() + kPollInterval >= deadline) {
      return WithNext(
          absl::DeadlineExceededError(fmt::format(
              "{} is still {} after {}, expected an answer; it goes on without this command",
              subject, state.empty() ? "unknown" : state, absl::FormatDuration(*timeout))),
          next);
    }
    absl::SleepFor(kPollInterval);
  }
}

absl::Status SendOne(Session& session, const Verb& verb, const Site& site,
                     google::protobuf::Message& request, bool wait) {
  const bool given = !session.globals.request_id.empty();
  const std::string request_id = given ? session.globals.request_id : RandomRequestId();
  type::v1::Submit& submit = SubmitOf(request);
  submit.Clear();
  submit.set_request_id(request_id);
  submit.set_validate_only(session.globals.validate_only);
  // Said before the command is sent: it is needed most where nothing comes back.
  if (!given) {
    session.Say(
        session.HasResolvedTimes()
            ? fmt::format("request id {}; to retry safely: concordat {}", request_id,
                          session.CommandLine(fmt::format("--request-id {}", request_id)))
            : fmt::format("request id {} (repeat with --request-id to retry safely)", request_id));
  }
  type::v1::Outcome outcome;
  std::optional<type::v1::Outcome> refusal;
  const absl::Status status =
      session.Call(site.AddressOf(verb.service), MethodPath(verb), request, outcome, &refusal);
  if (!status.ok()) {
    const auto format = session.OutputFormat();
    if (refusal && format.ok() && IsDocument(*format)) {
      PrintMessage(session.console().out, *format, *refusal);
    }
    return Explained(session, verb, status, refusal ? &*refusal : nullptr, request_id);
  }
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  // A document says all of it at once.
  const bool document = IsDocument(*format);
  const absl::Status printed = wait && document ? absl::OkStatus() : PrintOutcome(session, outcome);
  if (!printed.ok() || !wait) return printed;
  Resource last;
  const bool table = !document && *format != Format::kName;
  const absl::Status waited = WaitFor(session, site, outcome, table, last);
  if (document) PrintDecided(session, *format, outcome, last.get());
  return waited;
}

// The list in which one finds what was not found: that of the name with which the detail begins, or
// else of what the command is about.
std::string ListOf(const Verb& verb, std::string_view detail) {
  ConsumePrefix(&detail, "\"");
  const Kind* kind = KindOfName(detail.substr(0, detail.find_first_of(" \"")));
  return fmt::format("get {}", kind == nullptr ? verb.collection : kind->collection);
}

}  // namespace

Progress ProgressOf(const std::string& state) {
  constexpr std::string_view kWaiting[] = {"",          "held",     "pending",
                                           "requested", "prepared", "placing"};
  constexpr std::string_view kMissed[] = {"declined",   "lapsed",   "cancelled",
                                          "prohibited", "aborted",  "failed",
                                          "revoked",    "removing", "removed"};
  if (absl::c_linear_search(kWaiting, state)) return Progress::kWaiting;
  return absl::c_linear_search(kMissed, state) ? Progress::kMissed : Progress::kReached;
}

absl::Status Explained(const Session& session, const Verb& verb, const absl::Status& status,
                       const type::v1::Outcome* refusal, const std::string& request_id) {
  const std::string again = session.CommandLine(
      session.globals.request_id.empty() ? fmt::format("--request-id {}", request_id) : "");
  if (refusal != nullptr && !refusal->reason().empty()) {
    const std::string detail = refusal->detail().empty() ? MessageOf(status) : refusal->detail();
    const absl::Status refused(status.code(),
                               fmt::format("refused, {}: {}", refusal->reason(), detail));
    if (absl::IsNotFound(status)) return WithNext(refused, ListOf(verb, detail));
    // A refusal that was only tried out left no event to explain.
    if (refusal->validated_only()) return WithNext(refused, fmt::format("get {}", verb.collection));
    return WithNext(refused, fmt::format("explain --request {}", request_id));
  }
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      return WithNext(
          absl::DeadlineExceededError(
              "outcome unknown: no answer in time, the command may have been carried out; "
              "expected an answer; sent again with its request id it is not carried out twice"),
          again);
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
      return WithNext(
          absl::Status(status.code(),
                       fmt::format("{}; expected a server that takes commands; sent again "
                                   "with its request id it is not carried out twice",
                                   MessageOf(status))),
          again);
    case absl::StatusCode::kInvalidArgument:
      return WithNext(
          status, fmt::format("{}{}{} --help", verb.verb, verb.noun.empty() ? "" : " ", verb.noun));
    default:
      return WithNext(status, "status");
  }
}

type::v1::Submit& SubmitOf(google::protobuf::Message& request) {
  const auto* field = request.GetDescriptor()->FindFieldByName("submit");
  return static_cast<type::v1::Submit&>(*request.GetReflection()->MutableMessage(&request, field));
}

absl::Status RunVerb(Session& session, const Verb& verb, const Typed& typed, bool wait) {
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const std::string help =
      fmt::format("{}{}{} --help", verb.verb, verb.noun.empty() ? "" : " ", verb.noun);
  const auto requests = BuildRequests(session, verb, typed);
  if (!requests.ok()) {
    return absl::IsInvalidArgument(requests.status()) && NextOf(requests.status()) == "--help"
               ? WithNext(requests.status(), help)
               : requests.status();
  }
  if (requests->size() > 1 && !session.globals.request_id.empty()) {
    return WithNext(
        absl::InvalidArgumentError(fmt::format(
            "found --request-id with {} documents, expected one: every command has its own id",
            requests->size())),
        help);
  }
  // A document that is refused keeps no other back.
  absl::Status first_error;
  for (size_t i = 0; i < requests->size(); ++i) {
    const auto format = session.OutputFormat();
    if (i > 0 && format.ok() && *format == Format::kYaml)
      fmt::print(session.console().out, "---\n");
    const absl::Status sent = SendOne(session, verb, **site, *(*requests)[i], wait);
    if (sent.ok()) continue;
    if (requests->size() > 1) {
      fmt::print(session.console().err, "document {} of {}: {}\n", i + 1, requests->size(),
                 MessageOf(sent));
      // Whoever cannot be reached now is not asked for each of them.
      if (absl::IsUnavailable(sent) || absl::IsDeadlineExceeded(sent)) return sent;
    }
    first_error.Update(sent);
  }
  return first_error;
}

}  // namespace concordat::cli
