#include "services/cli/help.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "services/cli/errors.h"
#include "services/cli/kinds.h"
#include "services/cli/text.h"

namespace concordat::cli {
namespace {

constexpr size_t kWidth = 100;

std::vector<const CLI::App*> Children(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App*) { return true; });
}

// `order server`, without the program's name.
std::string Path(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  if (parent == nullptr) return "";
  const std::string above = Path(*parent);
  return above.empty() ? command.get_name() : above + " " + command.get_name();
}

std::string Wrapped(const std::string& text, size_t indent) {
  std::string result;
  size_t column = indent;
  for (const std::string& word : Split(text, ' ')) {
    if (word.empty()) continue;
    if (column > indent && column + 1 + word.size() > kWidth) {
      Append(&result, "\n", std::string(indent, ' '));
      column = indent;
    } else if (column > indent) {
      result += ' ';
      ++column;
    }
    Append(&result, word);
    column += word.size();
  }
  return result;
}

std::string OptionsText(const CLI::App& command, bool positionals) {
  std::string text;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional() != positionals) continue;
    std::string title = positionals ? Upper(option->get_name()) : option->get_name(false, true);
    if (!positionals && option->get_type_size() != 0 && !option->get_type_name().empty()) {
      Append(&title, " ", option->get_type_name());
    }
    const bool long_title = title.size() > 30;
    Append(&text, "  ", fmt::format("{:<32}", title), long_title ? "\n" + std::string(34, ' ') : "",
           Wrapped(option->get_description(), 34), "\n");
  }
  return text;
}

std::string CommandsText(const CLI::App& command) {
  std::string text;
  for (const CLI::App* child : Children(command)) {
    std::string sentence = child->get_description();
    if (sentence.empty()) {
      std::vector<std::string> nouns;
      for (const CLI::App* noun : Children(*child)) nouns.push_back(noun->get_name());
      sentence = Join(nouns, ", ");
    }
    Append(&text, "  ", fmt::format("{:<14}", child->get_name()), Wrapped(sentence, 16), "\n");
  }
  return text;
}

std::vector<std::string> FlagsOf(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

}  // namespace

std::string ExamplesText(const std::vector<std::string_view>& examples) {
  std::string text;
  for (const std::string_view example : examples) Append(&text, "  concordat ", example, "\n");
  return text;
}

std::string HelpText(const CLI::App& command, const CLI::App& root) {
  std::string text;
  if (!command.get_description().empty())
    Append(&text, Wrapped(command.get_description(), 0), "\n\n");
  if (!command.get_footer().empty()) Append(&text, "Examples:\n", command.get_footer(), "\n");
  std::string usage = "concordat";
  if (!Path(command).empty()) Append(&usage, " ", Path(command));
  if (!Children(command).empty()) usage += " COMMAND";
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    const std::string word = Upper(option->get_name());
    // A service's command demands words that may stand in its file instead.
    const bool demanded = option->get_required() || option->get_type_name() == "TEXT";
    Append(&usage, " ", demanded ? word : "[" + word + "]");
  }
  Append(&text, "Usage:\n  ", usage, " [FLAGS]\n");
  const auto section = [&](std::string_view title, const std::string& body) {
    if (!body.empty()) Append(&text, "\n", title, ":\n", body);
  };
  section("Commands", CommandsText(command));
  section("Arguments", OptionsText(command, true));
  section(&command == &root ? "Global flags" : "Flags", OptionsText(command, false));
  if (&command != &root) Append(&text, "\nGlobal flags: concordat --help\n");
  return text;
}

absl::Status UsageError(const CLI::App& command, const std::string& found,
                        const std::string& extra) {
  const std::string path = Path(command);
  const std::string prefix = path.empty() ? "" : path + " ";
  if (extra.starts_with("-")) {
    const CLI::App* root = &command;
    while (root->get_parent() != nullptr) root = root->get_parent();
    std::vector<std::string> flags = FlagsOf(command);
    const std::vector<std::string> global = FlagsOf(*root);
    const std::string own = Join(flags, ", ");
    flags.insert(flags.end(), global.begin(), global.end());
    const std::string nearest = Nearest(extra, flags);
    return WithNext(
        absl::InvalidArgumentError(fmt::format("found '{}{}', expected {}", prefix, extra,
                                               nearest.empty() ? "one of " + own : nearest)),
        prefix + "--help");
  }
  std::vector<std::string> names;
  for (const CLI::App* child : Children(command)) names.push_back(child->get_name());
  if (!names.empty() && !extra.empty()) {
    const std::string nearest = Nearest(extra, names);
    return WithNext(
        absl::InvalidArgumentError(
            fmt::format("found '{}{}', expected {}{}", prefix, extra, prefix,
                        names.size() == 1 ? names[0] : "one of " + Join(names, ", "))),
        nearest.empty() ? prefix + "--help" : fmt::format("{}{} --help", prefix, nearest));
  }
  if (!names.empty()) {
    return WithNext(absl::InvalidArgumentError(fmt::format("{}, expected concordat {}and one of {}",
                                                           found, prefix, Join(names, ", "))),
                    prefix + "--help");
  }
  return WithNext(absl::InvalidArgumentError(found), prefix + "--help");
}

std::map<std::string, std::vector<std::string>> CommandTree(const CLI::App& root) {
  std::map<std::string, std::vector<std::string>> tree;
  const std::vector<std::string> global = FlagsOf(root);
  std::vector<const CLI::App*> open = {&root};
  while (!open.empty()) {
    const CLI::App* command = open.back();
    open.pop_back();
    auto& words = tree[Path(*command)];
    words = global;
    for (const std::string& flag : FlagsOf(*command)) words.push_back(flag);
    for (const CLI::App* child : Children(*command)) {
      words.push_back(child->get_name());
      open.push_back(child);
    }
    const std::string path = Path(*command);
    if (path == "get" || path == "describe" || path == "history" || path == "explain") {
      for (const Kind& kind : Kinds()) words.emplace_back(kind.collection);
    }
  }
  return tree;
}

}  // namespace concordat::cli
