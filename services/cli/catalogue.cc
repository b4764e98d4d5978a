#include "services/cli/catalogue.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.pb.h>

#include <cctype>
#include <memory>

#include "concordat/compliance/v1/api.pb.h"
#include "concordat/deployment/v1/api.pb.h"
#include "concordat/inventory/v1/api.pb.h"
#include "concordat/reservations/v1/api.pb.h"
#include "concordat/system/v1/events.pb.h"
#include "services/cli/text.h"
#include "services/cli/values.h"

namespace concordat::cli {

// Every proto with its comments, as protoc describes it; made by the build.
extern const unsigned char kDescriptorSet[];
extern const size_t kDescriptorSetSize;

namespace {

// A static library's object that nobody names is left out, and its messages with it.
void LinkProtos() {
  inventory::v1::Command::descriptor();
  reservations::v1::Command::descriptor();
  compliance::v1::Command::descriptor();
  deployment::v1::Command::descriptor();
  system::v1::StreamOpened::descriptor();
}

const google::protobuf::DescriptorPool& CommentedPool() {
  static const auto& pool = *[] {
    auto* result = new google::protobuf::DescriptorPool();
    google::protobuf::FileDescriptorSet set;
    set.ParseFromArray(kDescriptorSet, static_cast<int>(kDescriptorSetSize));
    for (const auto& file : set.file()) result->BuildFile(file);
    return result;
  }();
  return pool;
}

}  // namespace

std::span<const Verb> Verbs() {
  static const auto& verbs = *new std::vector<Verb>{
      {"open",
       "site",
       "inventory",
       "OpenSite",
       {"name"},
       "sites",
       "Open a site, so that its inventory may begin.",
       {"open site paris --country FR --time-zone Europe/Paris --certifications HDS,ISO27001"}},
      {"set",
       "envelope",
       "inventory",
       "SetEnvelope",
       {"site?"},
       "sites",
       "Set what a site may draw and cool from a time on.",
       {"set envelope paris --effective-from now --it-power-watts 40MW --cooling-watts 40MW",
        "set envelope paris --effective-from +2h --until +8h --it-power-watts 40MW --cooling-watts "
        "30MW --cause equipment --detail 'chiller 2 failed'"}},
      {"set",
       "feed",
       "inventory",
       "SetFeedEnvelope",
       {"name"},
       "feeds",
       "Set what may be drawn from a power feed from a time on; with an end and a cause, derate "
       "it.",
       {"set feed a --effective-from +7d --until +8d --it-power-watts 10MW --cause planned-work "
        "--detail 'busbar 3'"}},
      {"report",
       "facility",
       "inventory",
       "ReportFacility",
       {"site?"},
       "sites",
       "Report what the site's plant can give from now on; the envelope follows until then.",
       {"report facility paris --it-power-watts 23MW --cooling-watts 18MW --until +1h --cause "
        "equipment --detail 'chiller 2 failed'"}},
      {"record",
       "reading",
       "inventory",
       "RecordReading",
       {"name"},
       "readings",
       "Record what the site's meters say of a span of time; get energy makes a report of it.",
       {"record reading 2027-03 --start-time 2027-03-01 --end-time 2027-04-01 --total-watt-hours "
        "12.1GWh --it-watt-hours 10.4GWh --renewable-watt-hours 11GWh --reused-watt-hours 2.2GWh "
        "--water-litres 900000 --source 'meters A1 and A2'"}},
      {"set",
       "stage-limit",
       "inventory",
       "SetStageLimit",
       {"site?"},
       "sites",
       "Say how long a server ought to be in a state at most.",
       {"set stage-limit paris --state delivered --most 14d"}},
      {"register",
       "model",
       "inventory",
       "RegisterModel",
       {"name"},
       "models",
       "Add a hardware model to the catalogue, with what its burn-in must reach.",
       {"register model vera-rubin-nvl144 --vendor nvidia --accelerators 144 --it-power-watts "
        "190kW "
        "--cooling-watts 190kW --criteria gpu_gemm_tflops=2400..:tflops --criteria "
        "ecc_errors=0..0:count"}},
      {"register",
       "plan",
       "inventory",
       "RegisterPlan",
       {"name"},
       "plans",
       "Register a version of a burn-in plan; it holds for every burn-in that begins from then on.",
       {"register plan vera-rubin-nvl144 --version 2 --criteria ecc_errors=0..0:count --validity "
        "90d --retest-after-tenant true --retest-margin 4h"}},
      {"define",
       "rack",
       "inventory",
       "DefineRack",
       {"name"},
       "racks",
       "Say where a rack stands and how high it is.",
       {"define rack a-01 --room a --rack 01 --height-units 48"}},
      {"define",
       "feed",
       "inventory",
       "DefineFeed",
       {"name"},
       "feeds",
       "Define a power feed; from the first one on, servers hang on feeds that are known.",
       {"define feed a --it-power-watts 20MW --redundancy 2n"}},
      {"plan",
       "server",
       "inventory",
       "PlanServer",
       {"name"},
       "servers",
       "Plan a server.",
       {"plan server a01-01 --model vera-rubin-nvl144 --planned-time +90d"}},
      {"order",
       "server",
       "inventory",
       "OrderServer",
       {"name"},
       "servers",
       "Order a server from its supplier.",
       {"order server a01-01 --model vera-rubin-nvl144 --supplier nvidia --promised-time +30d"}},
      {"slip",
       "server",
       "inventory",
       "SlipDelivery",
       {"name"},
       "servers",
       "Record that a supplier promises another time.",
       {"slip server a01-01 --promised-time +60d --cause customs --detail 'licence is missing'"}},
      {"record",
       "manifest",
       "inventory",
       "RecordManifest",
       {"name"},
       "manifests",
       "Record which serial numbers a supplier says are on their way.",
       {"record manifest po-4711-1 --order-number po-4711 --supplier nvidia --serials "
        "SN-0001,SN-0002"}},
      {"deliver",
       "server",
       "inventory",
       "DeliverServer",
       {"name"},
       "servers",
       "Record that an ordered server arrived.",
       {"deliver server a01-01 --serial SN-0001"}},
      {"install",
       "server",
       "inventory",
       "InstallServer",
       {"name"},
       "servers",
       "Record where a delivered server was installed.",
       {"install server a01-01 --room a --rack 01 --position 1 --nvlink-domain a01 --power-feed "
        "feed-a"}},
      {"begin",
       "test",
       "inventory",
       "StartTest",
       {"name"},
       "servers",
       "Record that a burn-in has begun.",
       {"begin test a01-01"}},
      {"test",
       "server",
       "inventory",
       "TestServer",
       {"name"},
       "servers",
       "Record a burn-in; the plan's criteria decide whether it passed.",
       {"test server a01-01 --figures gpu_gemm_tflops=2510:tflops,ecc_errors=0:count"}},
      {"commission",
       "server",
       "inventory",
       "EnterService",
       {"name"},
       "servers",
       "Put a server that passed its burn-in into service.",
       {"commission server a01-01"}},
      {"cordon",
       "server",
       "inventory",
       "CordonServer",
       {"name"},
       "servers",
       "Stop new reservations of a server; what runs on it goes on.",
       {"cordon server a01-01 --reason 'fan tray replacement'"}},
      {"uncordon",
       "server",
       "inventory",
       "UncordonServer",
       {"name"},
       "servers",
       "Allow new reservations of a server again.",
       {"uncordon server a01-01"}},
      {"decommission",
       "server",
       "inventory",
       "LeaveService",
       {"name"},
       "servers",
       "Take a server out of service; it must pass its burn-in again.",
       {"decommission server a01-01 --reason 'NVLink fault'"}},
      {"quarantine",
       "server",
       "inventory",
       "QuarantineServer",
       {"name"},
       "servers",
       "Set a server aside because something is wrong with it.",
       {"quarantine server a01-01 --reason 'ECC errors'"}},
      {"repair",
       "server",
       "inventory",
       "RepairServer",
       {"name"},
       "servers",
       "Record a repair; the server must pass its burn-in again.",
       {"repair server a01-01 --detail 'pump replaced'"}},
      {"replace",
       "part",
       "inventory",
       "ReplacePart",
       {"name"},
       "servers",
       "Record that a part of a server was replaced, or is named for the first time.",
       {"replace part a01-01 --slot gpu-3 --part sites/paris/parts/p-00042 --kind gpu --serial "
        "G-77 --reason 'ECC errors'"}},
      {"change",
       "firmware",
       "inventory",
       "ChangeFirmware",
       {"name"},
       "servers",
       "Record that firmware of a server changed; its burn-in is stale.",
       {"change firmware a01-01 --component bmc --version 2.4.1"}},
      {"withdraw",
       "server",
       "inventory",
       "WithdrawServer",
       {"name"},
       "servers",
       "Decide that a server is to go, for good; what runs on it goes on.",
       {"withdraw server a01-01 --reason 'end of life'"}},
      {"retire",
       "server",
       "inventory",
       "RetireServer",
       {"name"},
       "servers",
       "Begin the way out of a server that is not in service.",
       {"retire server a01-01 --reason 'end of life'"}},
      {"sanitise",
       "server",
       "inventory",
       "SanitiseServer",
       {"name"},
       "servers",
       "Record that a retiring server holds no data any more.",
       {"sanitise server a01-01 --method destroyed"}},
      {"remove",
       "server",
       "inventory",
       "RemoveServer",
       {"name"},
       "servers",
       "Record that a sanitised server is gone; terminal.",
       {"remove server a01-01"}},
      {"propose",
       "window",
       "inventory",
       "ProposeWindow",
       {"name"},
       "windows",
       "Propose a maintenance window: servers that are worked on for a time, with the list of the "
       "work.",
       {"propose window w-2027-07 --servers a01-01,a01-02 --start-time 2027-07-01T22:00:00Z "
        "--end-time 2027-07-02T04:00:00Z --window-class planned --notice-days 14 "
        "--work 'inspect the manifold' --retest-work 'replace NVLink tray 3' --overrun finish",
        "propose window w-leak --servers a01-01 --start-time now --end-time +4h --window-class "
        "emergency --basis-kind operational --basis 'coolant leak in rack 01' "
        "--work 'stop the leak' --overrun finish"}},
      {"add",
       "work",
       "inventory",
       "AddWork",
       {"name"},
       "windows",
       "Add work to a maintenance window that has not opened; consent has to be given again.",
       {"add work w-2027-07 --text 'new firmware of the BMC' --retest true"}},
      {"announce",
       "window",
       "inventory",
       "AnnounceWindow",
       {"name"},
       "windows",
       "Tell the customers of a maintenance window; its servers take no new reservations over it.",
       {"announce window w-2027-07"}},
      {"consent",
       "window",
       "inventory",
       "ConsentToWindow",
       {"name"},
       "windows",
       "Record that a customer consents to a maintenance window with its whole work list.",
       {"consent window w-2027-07 --customer hsbc",
        "consent window w-2027-07 --customer hsbc --relocation true"}},
      {"refuse",
       "window",
       "inventory",
       "RefuseWindow",
       {"name"},
       "windows",
       "Record that a customer does not consent to a maintenance window.",
       {"refuse window w-2027-07 --customer hsbc --reason 'quarter end'"}},
      {"open",
       "window",
       "inventory",
       "OpenWindow",
       {"name"},
       "windows",
       "Begin a maintenance window before its timer does; what runs on its servers is removed.",
       {"open window w-2027-07"}},
      {"close",
       "window",
       "inventory",
       "CloseWindow",
       {"name"},
       "windows",
       "End a maintenance window whose work is over; its servers are given back.",
       {"close window w-2027-07", "close window w-2027-07 --done 1,3"}},
      {"abort",
       "window",
       "inventory",
       "AbortWindow",
       {"name"},
       "windows",
       "Break a maintenance window off; its servers are given back.",
       {"abort window w-2027-07 --reason 'the part does not fit' --done 1"}},
      {"cancel",
       "window",
       "inventory",
       "CancelWindow",
       {"name"},
       "windows",
       "Call off a maintenance window that has not opened.",
       {"cancel window w-2027-07 --reason 'the parts come later'"}},
      {"register",
       "customer",
       "reservations",
       "RegisterCustomer",
       {"name"},
       "customers",
       "Register a customer.",
       {"register customer hsbc --display-name HSBC --country GB --sector FINANCE"}},
      {"sign",
       "contract",
       "reservations",
       "SignContract",
       {"name"},
       "contracts",
       "Sign a contract; it may be reserved under at every site that it names.",
       {"sign contract hsbc/2027-days --sites paris --max-servers-per-site 4 "
        "--start-time 2027-01-01 --end-time 2028-01-01 --data-classes PUBLIC "
        "--repeat 'FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR' --zone Europe/Paris "
        "--repeat-from 2027-01-04T08:00:00 --for 10h",
        "sign contract hsbc/2027-frame --sites paris,borlange --max-servers-per-site 8 "
        "--start-time 2027-01-01 --end-time 2028-01-01 --data-classes FINANCIAL,PUBLIC",
        "sign contract hsbc/2027-quota --sites paris,borlange --accelerators 576 "
        "--accelerator-hours 400000 --notices 30d,7d,24h,60m,10m --prices 2027-01-01=250:EUR "
        "--maintenance consent --maintenance-consent-by hsbc-operations "
        "--maintenance-notice-days 14 --relocation never --priority 10 "
        "--start-time 2027-01-01 --end-time 2028-01-01 --data-classes PUBLIC"}},
      {"register",
       "project",
       "reservations",
       "RegisterProject",
       {"name"},
       "projects",
       "Register a customer's project; contracts may demand one of every reservation.",
       {"register project hsbc/fraud-models --display-name 'Fraud models'"}},
      {"plan",
       "wave",
       "reservations",
       "PlanWave",
       {"name"},
       "waves",
       "Plan from when on which customers may reserve how many of a model's servers.",
       {"plan wave 2027-first --model vera-rubin-nvl144 --customers hsbc,sap --start-time +30d "
        "--share-percent 20",
        "plan wave 2027-general --model vera-rubin-nvl144 --start-time +90d"}},
      {"deliver",
       "notice",
       "reservations",
       "RecordNoticeDelivery",
       {"name"},
       "reservations",
       "Record that the customer was told of a reservation's end, with what shows it.",
       {"deliver notice r-7k2m9x4q1b --before-end 24h --delivered-time now --channel e-mail "
        "--evidence message-4711"}},
      {"request",
       "quota",
       "reservations",
       "RequestQuota",
       {"contract"},
       "quotas",
       "Ask the contract's home site for more of its quota; at the home, ask the other sites.",
       {"request quota hsbc/2027-frame --accelerators 8 --accelerator-seconds 100h"}},
      {"return",
       "quota",
       "reservations",
       "ReturnQuota",
       {"contract"},
       "quotas",
       "Give back to the contract's home what this site does not use of its quota.",
       {"return quota hsbc/2027-frame --site borlange",
        "return quota hsbc/2027-frame --site borlange --accelerators 8"}},
      {"reserve",
       "",
       "reservations",
       "Reserve",
       {},
       "reservations",
       "Ask for servers, here or at another site. The answer is a hold, or an order where --at is "
       "another site.",
       {"reserve --contract hsbc/2027-frame --model vera-rubin-nvl144 --count 2 --start-time +1d "
        "--end-time +31d "
        "--purpose inference --data-classes PUBLIC --project risk --wait",
        "reserve --contract hsbc/2027-frame --model vera-rubin-nvl144 --count 2 --start-time +1d "
        "--until +90d --purpose inference --data-classes PUBLIC "
        "--repeat 'FREQ=WEEKLY;BYDAY=MO,TU' --zone Europe/Paris --repeat-from 2027-01-04T08:00:00 "
        "--for 10h",
        "reserve --contract hsbc/2027-frame --model vera-rubin-nvl144 --count 2 --start-time +1d "
        "--end-time +31d --purpose inference --data-classes PUBLIC --placement spread-racks "
        "--validate-only",
        "reserve --at borlange -f request.yaml --wait --timeout 5m"},
       true},
      {"cancel",
       "reservation",
       "reservations",
       "CancelReservation",
       {"name"},
       "reservations",
       "Give a reservation back that has not started.",
       {"cancel reservation r-7k2m9x4q1b --reason 'project postponed'"}},
      {"bundle",
       "",
       "reservations",
       "ReserveBundle",
       {},
       "bundles",
       "Ask for reservations at several sites that take place together or not at all; from a file "
       "such as {parts: [{site: sites/paris, contract: hsbc/frame, model: m, count: 2, startTime: "
       "..., endTime: ...}, {site: sites/borlange, ...}]}.",
       {"bundle -f train-and-serve.yaml --wait"},
       true},
      {"break",
       "promise",
       "reservations",
       "BreakPromise",
       {"name"},
       "reservations",
       "Break the promise of a bundle's part whose coordinator does not decide.",
       {"break promise r-7k2m9x4q1bp2 --reason 'paris is lost'"}},
      {"separate",
       "parties",
       "reservations",
       "SeparateParties",
       {"name"},
       "separations",
       "Keep two customers, or two reservations, out of each other's racks and NVLink domains.",
       {"separate parties hsbc-sap --parties customers/hsbc,customers/sap --reason 'contract "
        "7.2'"}},
      {"end",
       "separation",
       "reservations",
       "EndSeparation",
       {"name"},
       "separations",
       "Let two parties share racks and NVLink domains again.",
       {"end separation hsbc-sap --reason 'contract 7.2 was lifted'"}},
      {"release",
       "reservation",
       "reservations",
       "ReleaseReservation",
       {"name"},
       "reservations",
       "Give back a reservation that is in use, before its end.",
       {"release reservation r-7k2m9x4q1b --reason 'training has converged'"}},
      {"accept",
       "replacement",
       "reservations",
       "AcceptReplacement",
       {"name"},
       "reservations",
       "Accept other servers for those that a reservation in use has lost.",
       {"accept replacement r-7k2m9x4q1b"}},
      {"revoke",
       "reservation",
       "reservations",
       "RevokeReservation",
       {"name"},
       "reservations",
       "Take a reservation away, for a cause and on a legal basis; what runs on it is removed.",
       {"revoke reservation r-7k2m9x4q1b --cause 'an asset freeze' --instrument "
        "'Regulation (EU) 269/2014' --article 2"}},
      {"extend",
       "reservation",
       "reservations",
       "ExtendReservation",
       {"name"},
       "reservations",
       "Move the end of a reservation, on the same servers, once compliance has cleared it.",
       {"extend reservation r-7k2m9x4q1b --end-time 2027-04-01T00:00:00Z"}},
      {"amend",
       "reservation",
       "reservations",
       "AmendReservation",
       {"name"},
       "reservations",
       "Propose new terms; those that are confirmed hold until compliance has cleared the new "
       "ones.",
       {"amend reservation r-7k2m9x4q1b --count 4 --end-time 2027-04-01T00:00:00Z"}},
      {"withdraw",
       "amendment",
       "reservations",
       "WithdrawAmendment",
       {"name"},
       "reservations",
       "Withdraw the amendment of a reservation that is being judged.",
       {"withdraw amendment r-7k2m9x4q1b --reason 'not needed any more'"}},
      {"set",
       "margins",
       "reservations",
       "SetMargins",
       {"site?"},
       "site_records",
       "Set for how long servers of a model are nobody's before and after each use.",
       {"set margins paris --model vera-rubin-nvl144 --before 1h --after 2h"}},
      {"adopt",
       "rule",
       "compliance",
       "AdoptRule",
       {},
       "rules",
       "Adopt a rule, or a new version of it, from a file.",
       {"adopt rule -f hds-hosting.yaml", "adopt rule -f rules/"}},
      {"repeal",
       "rule",
       "compliance",
       "RepealRule",
       {"name"},
       "rules",
       "Repeal a rule.",
       {"repeal rule hds-hosting --reason 'superseded'"}},
      {"register",
       "artefact",
       "deployment",
       "RegisterArtefact",
       {"name"},
       "artefacts",
       "Register a model artefact.",
       {"register artefact open-70b --digest 9f86…0a08 --licence Apache-2.0 --trained-in FR "
        "--provenance 'published by the lab, signature checked'"}},
      {"deploy",
       "",
       "deployment",
       "Deploy",
       {"artefact", "reservation"},
       "deployments",
       "Put an artefact on an active reservation's servers, once compliance has cleared it.",
       {"deploy open-70b r-7k2m9x4q1b --wait"},
       true},
  };
  return verbs;
}

const Verb* CreateVerb(std::string_view collection) {
  // What a thing's life begins with; every other verb of its kind needs it to exist.
  constexpr std::pair<std::string_view, std::string_view> kFirst[] = {
      {"sites", "OpenSite"},
      {"models", "RegisterModel"},
      {"plans", "RegisterPlan"},
      {"racks", "DefineRack"},
      {"feeds", "DefineFeed"},
      {"manifests", "RecordManifest"},
      {"servers", "OrderServer"},
      {"windows", "ProposeWindow"},
      {"customers", "RegisterCustomer"},
      {"contracts", "SignContract"},
      {"projects", "RegisterProject"},
      {"waves", "PlanWave"},
      {"reservations", "Reserve"},
      {"separations", "SeparateParties"},
      {"bundles", "ReserveBundle"},
      {"rules", "AdoptRule"},
      {"artefacts", "RegisterArtefact"},
      {"deployments", "Deploy"}};
  for (const auto& [first, method] : kFirst) {
    if (first != collection) continue;
    for (const Verb& verb : Verbs()) {
      if (verb.method == method) return &verb;
    }
  }
  return nullptr;
}

std::string MethodPath(const Verb& verb) {
  std::string service(verb.service);
  service[0] = static_cast<char>(std::toupper(service[0]));
  return fmt::format("/concordat.{}.v1.{}Service/{}", verb.service, service, verb.method);
}

const google::protobuf::Descriptor* RequestOf(const Verb& verb) {
  LinkProtos();
  std::string name = MethodPath(verb).substr(1);
  name[name.find('/')] = '.';
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name);
  return method == nullptr ? nullptr : method->input_type();
}

std::string FlagOf(const google::protobuf::FieldDescriptor& field) {
  if (field.containing_type()->full_name() == "concordat.reservations.v1.AccessSchedule") {
    // What a person says who means that something recurs.
    constexpr std::pair<std::string_view, std::string_view> kNames[] = {
        {"rule", "repeat"},  {"time_zone", "zone"},    {"start", "repeat-from"},
        {"duration", "for"}, {"exceptions", "except"}, {"additions", "also"}};
    for (const auto& [name, flag] : kNames) {
      if (field.name() == name) return std::string(flag);
    }
  }
  if (field.full_name() == "concordat.reservations.v1.Placement.policy") return "placement";
  return field.name() == "site" ? "at" : FlagName(field.name());
}

std::string CommentOf(const google::protobuf::FieldDescriptor& field) {
  const auto* commented = CommentedPool().FindFieldByName(field.full_name());
  google::protobuf::SourceLocation location;
  if (commented == nullptr || !commented->GetSourceLocation(&location)) return "";
  return std::string(
      Strip(ReplaceAll(ReplaceAll(location.leading_comments, "\n", " "), "  ", " ")));
}

}  // namespace concordat::cli
