#include "services/cli/import.h"

#include <absl/strings/escaping.h>
#include <absl/time/clock.h>
#include <fmt/format.h>
#include <fmt/ostream.h>
#include <google/protobuf/struct.pb.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "events/link.h"
#include "services/cli/errors.h"
#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/submit.h"
#include "services/cli/text.h"
#include "services/cli/values.h"
#include "services/runtime/check.h"

namespace concordat::cli {
namespace {

using inventory::v1::DeliverServerRequest;
using inventory::v1::InstallServerRequest;
using inventory::v1::OrderServerRequest;
using inventory::v1::PlanServerRequest;

// One after the other from each; what they send is decided in groups.
constexpr size_t kSenders = 16;
constexpr absl::Duration kStepTimeout = absl::Seconds(30);
constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);
constexpr int kProgressWidth = 40;
constexpr int kHighestRack = 60;

std::string Field(const CsvLine& line, const std::string& title) {
  const auto field = line.fields.find(title);
  return field == line.fields.end() ? "" : field->second;
}

// The same for the same command, and for no other.
std::string RequestIdOf(const std::string& method, const google::protobuf::Message& request) {
  constexpr size_t kDigits = 32;
  return events::Sha256({"import/", method, "/", request.SerializeAsString()})
      .ToHex()
      .substr(0, kDigits);
}

template <typename Request>
void AddStep(const std::string& method, Request request, ImportLine& line) {
  const std::string id = RequestIdOf(method, request);
  request.mutable_submit()->set_request_id(id);
  line.steps.push_back({method, std::make_shared<Request>(std::move(request))});
}

std::string Unit(const std::string& room, const std::string& rack, int unit) {
  return fmt::format("room {}, rack {}, unit {}", room, rack, unit);
}

int HeightOf(const ImportSite& site, const std::string& model) {
  const auto known = site.models.find(model);
  return known == site.models.end() ? 1 : std::max(1, known->second.height_units());
}

// Reads one line. What it found wrong first is what it says.
class Reader {
 public:
  Reader(const CsvLine& line, const ImportSite& site) : line_(line), site_(site) {}

  ImportLine Read() {
    ImportLine out{
        line_.number, FullName(*KindOfCollection("servers"), Text("name", true), site_.name), {}};
    const std::string model = Text("model", true);
    const std::string model_name = FullName(*KindOfCollection("models"), model, site_.name);
    if (!model.empty() && !site_.models.contains(model_name))
      Bad("model", model, "a model that is registered");
    const auto there = site_.servers.find(out.name);
    if (there != site_.servers.end()) there_ = &there->second;
    if (there_ != nullptr && there_->model() != model_name)
      Bad("model", model, fmt::format("{}, which the server is", there_->model()));
    Plan(out, model_name);
    Order(out, model_name);
    Deliver(out);
    Install(out, HeightOf(site_, model_name));
    if (detail_.empty() && out.steps.empty() && out.reached == 0)
      Bad("planned_time and supplier", "", "at least one of them");
    return out;
  }
  const std::string& detail() const { return detail_; }
  // The rack units that the server is to take.
  const std::vector<std::string>& units() const { return units_; }

 private:
  void Bad(const std::string& field, const std::string& found, const std::string& expected) {
    if (!detail_.empty()) return;
    detail_ = fmt::format("{}: found {}, expected {}", field,
                          found.empty() ? "nothing" : fmt::format("'{}'", found), expected);
  }
  std::string Text(const std::string& field, bool required) {
    const std::string text = Field(line_, field);
    if (required && text.empty()) Bad(field, "", "a word");
    if (runtime::IsPrintable(text)) return text;
    Bad(field, absl::CHexEscape(text), "UTF-8 without control characters");
    return "";
  }
  // A time that is the same whenever the file is read.
  google::protobuf::Timestamp Time(const std::string& field) {
    const std::string text = Field(line_, field);
    const auto time = IsRelativeTime(text) || text.empty()
                          ? absl::StatusOr<absl::Time>(absl::InvalidArgumentError(""))
                          : ParseTime(text, [] { return absl::UnixEpoch(); });
    if (!time.ok()) Bad(field, text, "a time such as 2027-03-01 or 2027-03-01T09:00:00Z");
    return ToTimestamp(time.ok() ? *time : absl::UnixEpoch());
  }

  void Plan(ImportLine& out, const std::string& model) {
    if (Field(line_, "planned_time").empty()) {
      if (!Field(line_, "planned_rack").empty()) Bad("planned_time", "", "a time for planned_rack");
      return;
    }
    if (there_ != nullptr) return void(++out.reached);
    PlanServerRequest request;
    request.set_name(out.name);
    request.set_model(model);
    *request.mutable_planned_time() = Time("planned_time");
    const std::string rack = Text("planned_rack", false);
    request.set_rack(rack.empty() ? "" : FullName(*KindOfCollection("racks"), rack, site_.name));
    if (!rack.empty() && !site_.racks.contains(request.rack()))
      Bad("planned_rack", rack, "a rack that is defined");
    AddStep("PlanServer", std::move(request), out);
  }
  void Order(ImportLine& out, const std::string& model) {
    if (Field(line_, "supplier").empty()) {
      for (const char* field : {"promised_time", "order_number", "serial", "room"}) {
        if (!Field(line_, field).empty())
          Bad("supplier", "", fmt::format("one, for there is {}", field));
      }
      return;
    }
    if (there_ != nullptr && there_->state() != inventory::v1::SERVER_STATE_PLANNED)
      return void(++out.reached);
    OrderServerRequest request;
    request.set_name(out.name);
    request.set_model(model);
    request.set_supplier(Text("supplier", true));
    *request.mutable_promised_time() = Time("promised_time");
    request.set_order_number(Text("order_number", false));
    AddStep("OrderServer", std::move(request), out);
  }
  void Deliver(ImportLine& out) {
    const std::string serial = Text("serial", false);
    if (serial.empty()) {
      if (!Field(line_, "room").empty()) Bad("serial", "", "one, for there is room");
      return;
    }
    if (there_ != nullptr && !there_->serial().empty()) {
      if (there_->serial() != serial)
        Bad("serial", serial, fmt::format("'{}', with which it was delivered", there_->serial()));
      return void(++out.reached);
    }
    DeliverServerRequest request;
    request.set_name(out.name);
    request.set_serial(serial);
    AddStep("DeliverServer", std::move(request), out);
  }
  void Install(ImportLine& out, int height) {
    const std::string room = Text("room", false);
    if (room.empty()) {
      for (const char* field : {"rack", "position", "nvlink_domain", "power_feed"}) {
        if (!Field(line_, field).empty())
          Bad("room", "", fmt::format("one, for there is {}", field));
      }
      return;
    }
    InstallServerRequest request;
    request.set_name(out.name);
    request.set_room(room);
    request.set_rack(Text("rack", true));
    request.set_position(Position(request, height));
    request.set_nvlink_domain(Text("nvlink_domain", false));
    request.set_power_feed(Feed());
    if (there_ != nullptr && there_->position() > 0) {
      const std::string stands = Unit(there_->room(), there_->rack(), there_->position());
      const std::string found = Unit(request.room(), request.rack(), request.position());
      if (found != stands) Bad("position", found, fmt::format("'{}', where it stands", stands));
      return void(++out.reached);
    }
    AddStep("InstallServer", std::move(request), out);
  }
  std::string Feed() {
    const std::string feed = Text("power_feed", false);
    const std::string name = FullName(*KindOfCollection("feeds"), feed, site_.name);
    if (!site_.feeds.empty() && !site_.feeds.contains(name))
      Bad("power_feed", feed, "a feed that is defined");
    return feed;
  }
  int Position(const InstallServerRequest& request, int height) {
    int highest = kHighestRack;
    for (const auto& [name, rack] : site_.racks) {
      if (rack.room() == request.room() && rack.rack() == request.rack())
        highest = rack.height_units();
    }
    const std::string text = Field(line_, "position");
    int64_t position = 0;
    if (!ParseNumber(text, &position) || position < 1 || position + height - 1 > highest) {
      Bad("position", text,
          fmt::format("a unit from 1 to {}, for the server takes {}", highest - height + 1,
                      height));
      return 0;
    }
    for (int unit = 0; unit < height; ++unit)
      units_.push_back(Unit(request.room(), request.rack(), static_cast<int>(position) + unit));
    return static_cast<int>(position);
  }

  const CsvLine& line_;
  const ImportSite& site_;
  const inventory::v1::Server* there_ = nullptr;  // what is known of the line's server
  std::string detail_;
  std::vector<std::string> units_;
};

// What belongs to one server alone.
class Owners {
 public:
  explicit Owners(const ImportSite& site) {
    for (const auto& [name, server] : site.servers) {
      if (!server.serial().empty()) owners_["serial" + server.serial()] = {name, 0};
      // A retired server has left its place.
      if (server.position() == 0 || server.state() == inventory::v1::SERVER_STATE_RETIRED) continue;
      for (int unit = 0; unit < HeightOf(site, server.model()); ++unit)
        owners_["position" + Unit(server.room(), server.rack(), server.position() + unit)] = {name,
                                                                                              0};
    }
  }
  // Who has it already; empty where that is nobody else.
  std::string Take(const std::string& what, const std::string& value, const ImportLine& line) {
    if (value.empty()) return "";
    const auto [at, is_new] = owners_.try_emplace(what + value, Owner{line.name, line.number});
    Owner& owner = at->second;
    if (is_new || (owner.line == 0 && owner.server == line.name)) {
      owner.line = line.number;
      return "";
    }
    if (owner.line == 0)
      return fmt::format("{}: found '{}', which {} has, expected another", what, value,
                         owner.server);
    return fmt::format("{}: found '{}' of line {} again, expected another", what, value,
                       owner.line);
  }

 private:
  struct Owner {
    std::string server;
    int line = 0;  // none: it is so at the site
  };
  std::map<std::string, Owner> owners_;
};

template <typename Message>
absl::Status Fetch(Session& session, const Site& site, std::string_view collection,
                   std::map<std::string, Message>& messages) {
  const auto all = FetchResources(session, site, *KindOfCollection(collection), site.name, "");
  if (!all.ok()) return all.status();
  for (const auto& any : all->resources()) {
    Message message;
    if (any.UnpackTo(&message)) messages[message.name()] = message;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(Session& session, const std::string& file) {
  std::ostringstream text;
  if (file == "-") {
    text << session.console().in.rdbuf();
    return text.str();
  }
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file)) {
    return WithNext(
        absl::NotFoundError(fmt::format("cannot read '{}', expected a CSV file with the titles {}",
                                        file, Join(ImportTitles(), ","))),
        "import servers --help");
  }
  text << in.rdbuf();
  return text.str();
}

// What became of each line.
struct ImportProgress {
  std::atomic<size_t> next = 0;  // the line that a sender takes next
  std::atomic<size_t> done = 0;
  std::atomic<size_t> commands = 0;
  std::atomic<size_t> repeated = 0;  // answered before
  size_t reached = 0;                // not sent, for their servers are further already
};

// Whether a refusal comes of nothing but that the steps before were only tried out.
bool IsOfDryRun(const absl::Status& status, size_t step) {
  return step > 0 && (absl::IsNotFound(status) || absl::IsFailedPrecondition(status));
}

// Sends a line's commands in order, up to the first that is refused; what is wrong, or empty.
std::string Send(Client& client, const std::string& address, const CallOptions& options,
                 const ImportLine& line, bool dry_run, ImportProgress& progress) {
  for (size_t step = 0; step < line.steps.size(); ++step) {
    const auto& [method, request] = line.steps[step];
    std::unique_ptr<google::protobuf::Message> sent(request->New());
    sent->CopyFrom(*request);
    if (dry_run) SubmitOf(*sent).set_validate_only(true);
    type::v1::Outcome outcome;
    std::optional<type::v1::Outcome> refusal;
    const std::string path = "/concordat.inventory.v1.InventoryService/" + method;
    absl::Status status = client.Call(address, path, options, *sent, outcome, &refusal);
    ++progress.commands;
    // The answer of an earlier import: what was in its way may be gone, and it has done nothing.
    if (refusal && refusal->repeated()) {
      SubmitOf(*sent).set_request_id(RandomRequestId());
      refusal.reset();
      status = client.Call(address, path, options, *sent, outcome, &refusal);
    }
    if (status.ok()) {
      if (outcome.repeated()) ++progress.repeated;
      continue;
    }
    if (dry_run && IsOfDryRun(status, step)) return "";
    const std::string why = refusal && !refusal->detail().empty()
                                ? fmt::format("{}: {}", refusal->reason(), refusal->detail())
                                : std::string(status.message());
    return fmt::format("{}: {}", method, why);
  }
  return "";
}

void PrintProgress(std::ostream& err, size_t done, size_t all) {
  const size_t bar = all == 0 ? kProgressWidth : done * kProgressWidth / all;
  fmt::print(err, "\r[{}{}] {}/{} lines", std::string(bar, '='),
             std::string(kProgressWidth - bar, ' '), done, all);
  err.flush();
}

// Carries all lines out, several at a time; what was wrong with which.
std::vector<BadLine> SendAll(Session& session, const std::string& address,
                             const std::vector<ImportLine>& lines, bool dry_run,
                             const CallOptions& options, ImportProgress& progress) {
  std::vector<std::string> wrong(lines.size());
  std::vector<std::thread> senders;
  for (size_t sender = 0; sender < std::min(kSenders, lines.size()); ++sender) {
    senders.emplace_back([&] {
      Client client;
      for (size_t i = progress.next++; i < lines.size(); i = progress.next++) {
        wrong[i] = Send(client, address, options, lines[i], dry_run, progress);
        ++progress.done;
      }
    });
  }
  const bool shown = session.console().terminal && !session.globals.quiet;
  while (shown && progress.done < lines.size()) {
    PrintProgress(session.console().err, progress.done, lines.size());
    absl::SleepFor(kProgressInterval);
  }
  for (std::thread& sender : senders) sender.join();
  if (shown) {
    PrintProgress(session.console().err, lines.size(), lines.size());
    fmt::print(session.console().err, "\n");
  }
  std::vector<BadLine> bad;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!wrong[i].empty()) bad.push_back({lines[i].number, wrong[i]});
  }
  return bad;
}

// What became of a file.
struct Report {
  bool dry_run = false;
  size_t lines = 0;
  const std::vector<BadLine>& bad;
  size_t commands = 0;
  size_t before = 0;  // commands that were carried out before
};

void PrintReport(Session& session, Format format, const Report& report) {
  const size_t good = report.lines - report.bad.size();
  if (IsDocument(format)) {
    google::protobuf::Struct document;
    auto& fields = *document.mutable_fields();
    fields["dryRun"].set_bool_value(report.dry_run);
    fields["lines"].set_number_value(static_cast<double>(report.lines));
    fields["good"].set_number_value(static_cast<double>(good));
    fields["commands"].set_number_value(static_cast<double>(report.commands));
    fields["carriedOutBefore"].set_number_value(static_cast<double>(report.before));
    google::protobuf::ListValue& bad = *fields["bad"].mutable_list_value();
    for (const BadLine& one : report.bad) {
      auto& line = *bad.add_values()->mutable_struct_value()->mutable_fields();
      line["line"].set_number_value(one.number);
      line["detail"].set_string_value(one.detail);
    }
    PrintMessage(session.console().out, format, document);
    return;
  }
  std::ostream& out = session.console().out;
  for (const BadLine& one : report.bad) fmt::print(out, "line {}: {}\n", one.number, one.detail);
  fmt::print(out, "{} lines: {} {}, {} bad; {} commands, {} of them carried out before\n",
             report.lines, good, report.dry_run ? "good" : "imported", report.bad.size(),
             report.commands, report.before);
}

}  // namespace

const std::vector<std::string>& ImportTitles() {
  static const auto& titles = *new std::vector<std::string>{
      "name",          "model",         "planned_time", "planned_rack", "supplier",
      "promised_time", "order_number",  "serial",       "room",         "rack",
      "position",      "nvlink_domain", "power_feed"};
  return titles;
}

ImportPlan PlanImport(const std::vector<CsvLine>& lines, const ImportSite& site) {
  ImportPlan plan;
  Owners owners(site);
  for (const CsvLine& line : lines) {
    if (!line.wrong.empty()) {
      plan.bad.push_back({line.number, line.wrong});
      continue;
    }
    Reader reader(line, site);
    ImportLine read = reader.Read();
    std::string detail = reader.detail();
    if (detail.empty()) detail = owners.Take("name", read.name, read);
    if (detail.empty()) detail = owners.Take("serial", Field(line, "serial"), read);
    for (const std::string& unit : reader.units()) {
      if (detail.empty()) detail = owners.Take("position", unit, read);
    }
    if (detail.empty()) {
      plan.lines.push_back(std::move(read));
    } else {
      plan.bad.push_back({line.number, detail});
    }
  }
  return plan;
}

absl::Status RunImport(Session& session, const ImportOptions& options) {
  const auto format = session.OutputFormat();
  if (!format.ok()) return format.status();
  const auto site = session.site();
  if (!site.ok()) return site.status();
  const auto text = ReadFile(session, options.file);
  if (!text.ok()) return text.status();
  const auto lines = ParseCsv(*text, ImportTitles());
  if (!lines.ok()) return WithNext(lines.status(), "import servers --help");
  if (lines->empty()) {
    return WithNext(absl::InvalidArgumentError(fmt::format(
                        "found no server in '{}', expected a line of titles and a line for each",
                        options.file)),
                    "import servers --help");
  }
  ImportSite known{.name = (*site)->name, .models = {}, .racks = {}, .feeds = {}, .servers = {}};
  absl::Status fetched = Fetch(session, **site, "models", known.models);
  if (fetched.ok()) fetched = Fetch(session, **site, "racks", known.racks);
  if (fetched.ok()) fetched = Fetch(session, **site, "feeds", known.feeds);
  if (fetched.ok()) fetched = Fetch(session, **site, "servers", known.servers);
  if (!fetched.ok()) return fetched;
  ImportPlan plan = PlanImport(*lines, known);
  const auto timeout = session.Timeout(kStepTimeout);
  if (!timeout.ok()) return timeout.status();
  const bool dry_run = options.dry_run || session.globals.validate_only;
  ImportProgress progress;
  for (const ImportLine& line : plan.lines) progress.reached += line.reached;
  const std::vector<BadLine> refused =
      SendAll(session, (*site)->AddressOf("inventory"), plan.lines, dry_run,
              {.actor = session.globals.actor, .timeout = *timeout}, progress);
  std::vector<BadLine> bad = plan.bad;
  bad.insert(bad.end(), refused.begin(), refused.end());
  std::sort(bad.begin(), bad.end(),
            [](const BadLine& a, const BadLine& b) { return a.number < b.number; });
  PrintReport(session, *format,
              {.dry_run = dry_run,
               .lines = lines->size(),
               .bad = bad,
               .commands = progress.commands + progress.reached,
               .before = progress.repeated + progress.reached});
  if (bad.empty()) return absl::OkStatus();
  return WithNext(absl::FailedPreconditionError(
                      fmt::format("{} of {} lines are bad, expected none; mend them and send the "
                                  "file again, the others are not carried out twice",
                                  bad.size(), lines->size())),
                  fmt::format("import servers {} --dry-run", options.file));
}

}  // namespace concordat::cli
