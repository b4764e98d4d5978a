#include "services/cli/cli.h"

#include <absl/algorithm/container.h>
#include <fmt/format.h>
#include <fmt/ostream.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <deque>
#include <map>
#include <set>

#include "services/cli/admin.h"
#include "services/cli/catalogue.h"
#include "services/cli/completion.h"
#include "services/cli/events.h"
#include "services/cli/explain.h"
#include "services/cli/help.h"
#include "services/cli/import.h"
#include "services/cli/kinds.h"
#include "services/cli/output.h"
#include "services/cli/request.h"
#include "services/cli/resources.h"
#include "services/cli/submit.h"
#include "services/cli/text.h"
#include "services/cli/verify.h"

namespace concordat::cli {
namespace {

using Action = std::function<absl::Status()>;

// The commands, what they were told, and which one it is.
struct CommandLine {
  explicit CommandLine(Session& s) : session(s) {}

  Session& session;
  CLI::App app{"Concordat: every server, who may use it, when, for what, under which law.",
               "concordat"};
  std::map<const CLI::App*, Action> actions;
  // Those that heed --validate-only and --request-id. The others refuse them: who tries what a
  // command would do must not have it done.
  std::set<const CLI::App*> validate_only;
  std::set<const CLI::App*> with_request_id;
  // What the flags write to; deques, because CLI11 keeps pointers to the elements.
  std::deque<std::vector<std::string>> lists;
  std::deque<std::string> words;
  std::deque<bool> switches;
  WatchOptions watch;
  ExplainOptions explain;
  VerifyOptions verify;
  GetOptions get;
  ImportOptions import;
  struct {
    std::string stream;
    int64_t sequence = -1;
    std::string reason;
  } allow;
  std::string snapshot_stream;
};

void AddGlobals(CLI::App& app, Globals& globals) {
  const char* user = std::getenv("USER");
  globals.actor = user == nullptr ? "" : user;
  const auto add = [&](const std::string& name, std::string& target, const std::string& type,
                       const std::string& text) {
    app.add_option(name, target, text)->type_name(type)->group("Global flags");
  };
  add("--config", globals.config_path, "FILE", "The configuration file.");
  add("--context", globals.context, "NAME", "The context; see config contexts.");
  add("--site", globals.site, "SITE", "The site that is asked.");
  add("--server", globals.server, "HOST:PORT", "The server that is asked, instead of a context's.");
  add("--as", globals.actor, "ACTOR", "Who asks; $USER unless given.");
  add("--request-id", globals.request_id, "ID",
      "The command's id; sent again it is not carried out twice.");
  add("--timeout", globals.timeout, "DURATION", "How long to wait for answers, such as 30s.");
  add("-o,--output", globals.output, "FORMAT", "table, json, yaml or name; text for events.");
  const auto flag = [&](const std::string& name, bool& target, const std::string& text) {
    app.add_flag(name, target, text)->group("Global flags");
  };
  flag("--validate-only", globals.validate_only, "Decide and answer, but append nothing.");
  flag("--no-headers", globals.no_headers, "Tables without titles.");
  flag("--no-color,--no-colour", globals.no_color, "No colours.");
  flag("-q,--quiet", globals.quiet, "No messages but errors.");
}

CLI::App* AddCommand(CLI::App& parent, const std::string& name, const std::string& sentence,
                     const std::vector<std::string_view>& examples) {
  CLI::App* sub = parent.add_subcommand(name, sentence);
  sub->fallthrough();
  sub->footer(ExamplesText(examples));
  return sub;
}

// A noun below a verb, which is made when its first noun is.
CLI::App* AddVerb(CLI::App& app, const std::string& verb) {
  for (CLI::App* sub : app.get_subcommands([](CLI::App*) { return true; })) {
    if (sub->get_name() == verb) return sub;
  }
  CLI::App* sub = app.add_subcommand(verb, "");
  sub->fallthrough();
  return sub;
}

// The flag of one field; `path` is its name, or `group.field`.
void AddFlag(CommandLine& line, CLI::App* sub, const google::protobuf::FieldDescriptor& field,
             const std::string& path,
             std::vector<std::pair<std::string, std::vector<std::string>*>>& fields) {
  fields.emplace_back(path, &line.lists.emplace_back());
  std::string names = "--" + FlagOf(field);
  if (field.is_repeated() && field.name() == "criteria") names += ",--criterion";
  if (field.name() == "figures" || field.name() == "certifications")
    names += ",--" + FlagOf(field).substr(0, FlagOf(field).size() - 1);
  if (field.name() == "data_classes") names += ",--data-class";
  if (field.name() == "prices") names += ",--price";
  if (field.name() == "notices") names += ",--notice";
  if (field.name() == "end_time") names += ",--until";
  auto* option = sub->add_option(names, *fields.back().second, CommentOf(field));
  option->type_name(Placeholder(field))->allow_extra_args(false);
  if (field.is_repeated()) {
    // Sentences have commas of their own: their flag is given once for each.
    if (field.name() != "work" && field.name() != "retest_work") option->delimiter(',');
  } else {
    option->expected(1);
  }
}

// The flags and positionals of a request's fields. Singular names of plural flags are understood
// too.
void AddFields(CommandLine& line, CLI::App* sub, const Verb& verb,
               std::vector<std::pair<std::string, std::vector<std::string>*>>& fields) {
  const auto* type = RequestOf(verb);
  for (std::string_view positional : verb.positionals) {
    const bool optional = ConsumeSuffix(&positional, "?");
    const auto* field = type->FindFieldByName(std::string(positional));
    fields.emplace_back(field->name(), &line.lists.emplace_back());
    auto* option = sub->add_option(field->name(), *fields.back().second, CommentOf(*field));
    // Not `required`: a file may say it, and the server refuses what lacks it.
    option->expected(1)->allow_extra_args(false)->type_name(optional ? "" : "TEXT");
  }
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    const bool positional = absl::c_any_of(verb.positionals, [&](std::string_view p) {
      ConsumeSuffix(&p, "?");
      return p == field->name();
    });
    if (positional || field->name() == "submit") continue;
    if (IsGroup(*field)) {
      for (int j = 0; j < field->message_type()->field_count(); ++j) {
        const auto& part = *field->message_type()->field(j);
        if (!IsFlag(part)) continue;
        AddFlag(line, sub, part, fmt::format("{}.{}", field->name(), part.name()), fields);
      }
    } else if (IsFlag(*field)) {
      AddFlag(line, sub, *field, field->name(), fields);
    }
  }
}

void AddVerbCommand(CommandLine& line, CLI::App& parent, const std::string& name,
                    const Verb& verb) {
  CLI::App* sub = AddCommand(parent, name, std::string(verb.sentence), verb.examples);
  std::vector<std::pair<std::string, std::vector<std::string>*>> fields;
  AddFields(line, sub, verb, fields);
  std::string& file = line.words.emplace_back();
  sub->add_option("-f,--file", file,
                  "The request as YAML or JSON: a file, a folder, or - for the input.")
      ->type_name("FILE");
  bool& wait = line.switches.emplace_back(false);
  if (verb.waits)
    sub->add_flag("--wait", wait, "Go on until it is decided, at most --timeout (60s).");
  line.validate_only.insert(sub);
  line.with_request_id.insert(sub);
  line.actions[sub] = [&line, &verb, fields, &file, &wait] {
    Typed typed{.fields = {}, .file = file};
    for (const auto& [field, values] : fields) typed.fields[field] = *values;
    return RunVerb(line.session, verb, typed, wait);
  };
}

void AddVerbs(CommandLine& line) {
  for (const Verb& verb : Verbs()) {
    if (verb.noun.empty()) {
      AddVerbCommand(line, line.app, std::string(verb.verb), verb);
    } else {
      AddVerbCommand(line, *AddVerb(line.app, std::string(verb.verb)), std::string(verb.noun),
                     verb);
    }
  }
  for (const Kind& kind : Kinds()) {
    const Verb* first = CreateVerb(kind.collection);
    if (first != nullptr)
      AddVerbCommand(line, *AddVerb(line.app, "create"), std::string(kind.singular), *first);
  }
}

void AddReading(CommandLine& line) {
  Session& session = line.session;
  CLI::App* get = AddCommand(
      line.app, "get", "Show resources of a type, one resource, or those whose names begin alike.",
      {"get servers", "get server a01-01 -o json", "get orders -A", "get contracts/hsbc/",
       "get reservations --where state=confirmed --where customer=hsbc", "get months", "get stages",
       "get energy"});
  get->add_option("what", line.get.words, "TYPE, TYPE NAME or TYPE/NAME.")->type_name("");
  get->add_flag("-A,--all-sites", line.get.all_sites, "Every site's, as the site asked has them.");
  get->add_option("--where", line.get.where,
                  "Only those of which a column, or a field such as terms.count, has this value.")
      ->type_name("COLUMN=VALUE");
  line.actions[get] = [&] { return RunGet(session, line.get); };

  const auto by_name = [&](const std::string& name, const std::string& sentence,
                           const std::vector<std::string_view>& examples,
                           absl::Status (*run)(Session&, const std::vector<std::string>&)) {
    CLI::App* sub = AddCommand(line.app, name, sentence, examples);
    std::vector<std::string>& words = line.lists.emplace_back();
    sub->add_option("what", words, "TYPE NAME, TYPE/NAME or a full name.")
        ->required()
        ->type_name("");
    line.actions[sub] = [&session, &words, run] { return run(session, words); };
  };
  by_name("describe", "Show everything of a resource, and its recent events.",
          {"describe server a01-01"}, RunDescribe);
  by_name("history", "Show the events of a resource.",
          {"history server a01-01", "history reservation r-7k2m9x4q1b -o text"}, RunHistory);

  CLI::App* explain = AddCommand(
      line.app, "explain",
      "Show why a resource is as it is: the chain of causes, with findings and citations.",
      {"explain reservation r-7k2m9x4q1b", "explain --request 5f0c… --full"});
  CLI::Option* words =
      explain->add_option("what", line.explain.words, "TYPE NAME, TYPE/NAME or a full name.")
          ->type_name("");
  CLI::Option* request =
      explain
          ->add_option("--request", line.explain.request,
                       "Explain the command with this id, such as a refused one.")
          ->type_name("ID")
          ->excludes(words);
  explain->add_option("--correlation", line.explain.correlation, "Explain this story.")
      ->type_name("ID")
      ->excludes(words)
      ->excludes(request);
  explain->add_flag(
      "--full", line.explain.full,
      "Of a refusal, what ruled out each server; folds the stream again up to there.");
  line.actions[explain] = [&] { return RunExplain(session, line.explain); };

  CLI::App* watch = AddCommand(
      line.app, "watch", "Follow events as they are accepted.",
      {"watch reservations", "watch paris.compliance.events --from 0 --until-head -o text"});
  watch
      ->add_option("stream", line.watch.stream,
                   "A stream or a service; all of the site's own unless given.")
      ->type_name("");
  CLI::Option* from = watch
                          ->add_option("--from", line.watch.from,
                                       "The first sequence wanted; the next event unless given.")
                          ->type_name("N");
  watch->add_flag("--until-head", line.watch.until_head,
                  "End at the head, from the start unless --from is given.");
  line.actions[watch] = [&, from] {
    line.watch.has_from = from->count() > 0;
    return RunWatch(session, line.watch);
  };
}

void AddOperating(CommandLine& line) {
  Session& session = line.session;
  CLI::App* status =
      AddCommand(line.app, "status", "Show how every site is: streams, heads, links, clocks.",
                 {"status", "status -o json"});
  line.actions[status] = [&] { return RunStatus(session); };

  CLI::App* verify = AddCommand(line.app, "verify", "Compare every site's history and state.",
                                {"verify", "verify --wait 30s", "verify --deep"});
  verify->add_option("--stream", line.verify.stream, "Only this stream.")->type_name("STREAM");
  verify->add_option("--wait", line.verify.wait, "Wait this long until nobody is behind.")
      ->type_name("DURATION");
  verify->add_flag("--deep", line.verify.deep,
                   "Fold every stream again from its log and compare; takes as long as a rebuild.");
  line.actions[verify] = [&] { return RunVerify(session, line.verify); };

  CLI::App* import =
      AddCommand(*AddVerb(line.app, "import"), "servers",
                 "Plan, order, deliver and install servers from a CSV file, a line each.",
                 {"import servers fleet.csv --dry-run", "import servers fleet.csv"});
  import->add_option("file", line.import.file, "The file, or - for the input.")
      ->required()
      ->type_name("");
  import->add_flag("--dry-run", line.import.dry_run, "Say which lines are bad, and do nothing.");
  line.validate_only.insert(import);
  line.actions[import] = [&] { return RunImport(session, line.import); };

  const auto with_word = [&](const std::string& verb, const std::string& noun,
                             const std::string& word, const std::string& sentence,
                             const std::string& example,
                             std::function<absl::Status(const std::string&)> run) {
    CLI::App* sub = AddCommand(*AddVerb(line.app, verb), noun, sentence, {example});
    std::string& target = line.words.emplace_back();
    if (!word.empty()) sub->add_option(word, target, "")->required()->type_name("");
    line.actions[sub] = [&target, run] { return run(target); };
  };
  with_word("link", "cut", "origin",
            "Cut the link from a site; with --site, only as that site receives it.",
            "link cut borlange --site paris",
            [&](const std::string& word) { return RunLink(session, true, word); });
  with_word("link", "heal", "origin", "Heal the link from a site.", "link heal borlange",
            [&](const std::string& word) { return RunLink(session, false, word); });
  CLI::App* allow =
      AddCommand(*AddVerb(line.app, "home"), "allow",
                 "Let a writer start that waits for its peers' answer, once.",
                 {"home allow paris.reservations.events 4711 --reason 'borlange is down'"});
  allow->add_option("stream", line.allow.stream, "The stream.")->required()->type_name("");
  allow
      ->add_option("sequence", line.allow.sequence,
                   "The sequence of its head, as concordat status shows it.")
      ->required()
      ->type_name("");
  allow->add_option("--reason", line.allow.reason, "Why; recorded in the stream.")
      ->required()
      ->type_name("TEXT");
  line.actions[allow] = [&] {
    return RunHomeAllow(session, line.allow.stream, line.allow.sequence, line.allow.reason);
  };
  CLI::App* snapshot =
      AddCommand(line.app, "snapshot", "Copy a site's projections while they go on.",
                 {"snapshot", "snapshot paris.reservations.events --site paris"});
  snapshot->add_option("stream", line.snapshot_stream, "Only this stream.")->type_name("STREAM");
  line.actions[snapshot] = [&] { return RunSnapshot(session, line.snapshot_stream); };
  with_word("clock", "show", "", "Show every site's clock.", "clock show",
            [&](const std::string&) { return RunClockShow(session); });
  with_word("clock", "set", "time", "Set the manual clock of every site; demo profile only.",
            "clock set 2027-02-01T08:00:00Z",
            [&](const std::string& word) { return RunClockSet(session, word); });
  with_word("clock", "advance", "duration",
            "Advance the manual clock of every site; demo profile only.", "clock advance 30d",
            [&](const std::string& word) { return RunClockAdvance(session, word); });
  with_word("config", "contexts", "", "Show the contexts.", "config contexts",
            [&](const std::string&) { return RunConfigContexts(session); });
  with_word("config", "use", "context", "Make a context the current one.", "config use local",
            [&](const std::string& word) { return RunConfigUse(session, word); });
  with_word("completion", "bash", "", "Print the script for bash.", "completion bash",
            [&](const std::string&) {
              session.console().out << *CompletionScript("bash");
              return absl::OkStatus();
            });
  with_word("completion", "zsh", "", "Print the script for zsh.", "completion zsh",
            [&](const std::string&) {
              session.console().out << *CompletionScript("zsh");
              return absl::OkStatus();
            });
  with_word("completion", "fish", "", "Print the script for fish.", "completion fish",
            [&](const std::string&) {
              session.console().out << *CompletionScript("fish");
              return absl::OkStatus();
            });
  line.app.set_version_flag("--version", "", "Print the release.")->group("Global flags");
  CLI::App* version = AddCommand(line.app, "version", "Print the release.", {"version"});
  line.actions[version] = [&] { return RunVersion(session); };
}

// The deepest command that was named.
CLI::App* Chosen(CLI::App& app) {
  CLI::App* chosen = &app;
  while (!chosen->get_subcommands().empty()) chosen = chosen->get_subcommands().front();
  return chosen;
}

// The first word, as typed, that fits nowhere; empty where every word does. Where a command's noun
// is still to come it is that noun, before any flag; behind a flag that is not known its value fits
// nowhere either.
std::string FirstExtra(const CLI::App& app, const CLI::App& chosen,
                       const std::vector<std::string>& arguments) {
  const std::vector<std::string> extras = app.remaining(true);
  const bool has_noun = chosen.get_subcommands([](const CLI::App*) { return true; }).empty();
  for (const bool flags : {has_noun, !has_noun}) {
    const auto found = absl::c_find_if(arguments, [&](const std::string& word) {
      return word.starts_with("-") == flags && absl::c_linear_search(extras, word);
    });
    if (found != arguments.end()) return found->substr(0, flags ? found->find('=') : found->npos);
  }
  return "";
}

Exit Report(Session& session, const absl::Status& status) {
  if (status.ok()) return Exit::kOk;
  fmt::print(session.console().err, "{} {}\ntry: concordat {}\n",
             Paint(session.console(), Hue::kBad, "error:"), MessageOf(status), NextOf(status));
  return ExitOf(status);
}

// INVALID_ARGUMENT where a flag was given that the command does not heed.
absl::Status CheckHeeded(const CommandLine& line, const CLI::App* chosen) {
  const Globals& globals = line.session.globals;
  if (globals.validate_only && !line.validate_only.contains(chosen))
    return UsageError(*chosen, "found --validate-only, expected it with a command of a service",
                      "");
  if (!globals.request_id.empty() && !line.with_request_id.contains(chosen))
    return UsageError(*chosen, "found --request-id, expected it with a command of a service", "");
  return absl::OkStatus();
}

bool AsksNobody(const CLI::App& chosen) {
  const std::string& verb = chosen.get_parent()->get_name();
  return chosen.get_name() == "version" || verb == "completion" || verb == "config";
}

// INVALID_ARGUMENT where a global flag was given without a value: an unset variable of a script.
absl::Status CheckGiven(const CommandLine& line) {
  for (const CLI::Option* option : line.app.get_options()) {
    if (option->count() == 0 || option->get_expected_max() == 0) continue;
    const std::vector<std::string>& values = option->results();
    if (absl::c_all_of(values, [](const std::string& value) { return !value.empty(); })) continue;
    return WithNext(absl::InvalidArgumentError(
                        fmt::format("found {} without a value, expected one", option->get_name())),
                    "--help");
  }
  return absl::OkStatus();
}

}  // namespace

Exit Run(const std::vector<std::string>& arguments, Console console) {
  Session session(arguments, console);
  CommandLine line(session);
  line.app.set_help_flag("-h,--help", "Show help.");
  // After a command a word is a word, even where it is also a command's name: `get order
  // r-7k2m9x4q1b`.
  line.app.require_subcommand(0, 1);
  AddGlobals(line.app, session.globals);
  AddVerbs(line);
  AddReading(line);
  AddOperating(line);
  if (!arguments.empty() && arguments[0] == "__complete") {
    std::vector<std::string> words(arguments.begin() + 1, arguments.end());
    if (!words.empty() && words[0] == "--") words.erase(words.begin());
    for (const std::string& word : Complete(session, CommandTree(line.app), words))
      console.out << word << "\n";
    return Exit::kOk;
  }
  // The parser would take the next word for its value.
  for (const std::string& word : arguments) {
    if (word == "--") break;
    if (!word.starts_with("--") || word.find('=') != word.size() - 1) continue;
    return Report(session, WithNext(absl::InvalidArgumentError(fmt::format(
                                        "found {} without a value, expected one", word)),
                                    "--help"));
  }
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    line.app.parse(reversed);
  } catch (const CLI::CallForVersion&) {
    if (Chosen(line.app) != &line.app)
      return Report(session, UsageError(*Chosen(line.app), "found --version behind a command", ""));
    return Report(session, RunVersion(session));
  } catch (const CLI::CallForHelp&) {
    console.out << HelpText(*Chosen(line.app), line.app);
    return Exit::kOk;
  } catch (const CLI::ParseError& e) {
    return Report(session, UsageError(*Chosen(line.app), e.what(),
                                      FirstExtra(line.app, *Chosen(line.app), arguments)));
  }
  if (session.globals.no_color) session.console().colour = false;
  CLI::App* chosen = Chosen(line.app);
  const auto action = line.actions.find(chosen);
  if (action == line.actions.end()) {
    if (chosen == &line.app && arguments.empty()) {
      console.out << HelpText(line.app, line.app);
      return Exit::kUsage;
    }
    return Report(session, UsageError(*chosen, "found no command", ""));
  }
  for (const absl::Status& usable :
       {CheckHeeded(line, chosen), CheckGiven(line), session.OutputFormat().status(),
        session.Timeout(absl::ZeroDuration()).status(),
        AsksNobody(*chosen) ? absl::OkStatus() : session.CheckActor()}) {
    if (!usable.ok()) return Report(session, usable);
  }
  return Report(session, action->second());
}

}  // namespace concordat::cli
