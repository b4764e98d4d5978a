#include "services/cli/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/cli/catalogue.h"
#include "services/cli/output.h"
#include "services/cli/resources.h"
#include "services/cli/text.h"

namespace concordat::cli {
namespace {

constexpr char kBash[] = R"sh(# bash: source <(concordat completion bash)
_concordat() {
  local IFS=$'\n'
  COMPREPLY=($(concordat __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _concordat concordat
)sh";

constexpr char kZsh[] = R"zsh(#compdef concordat
# zsh: source <(concordat completion zsh)
_concordat() {
  local -a found
  found=(${(f)"$(concordat __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  compadd -a found
}
compdef _concordat concordat
)zsh";

constexpr char kFish[] = R"sh(# fish: concordat completion fish | source
function __concordat_complete
  set -l words (commandline -opc)[2..-1]
  concordat __complete -- $words (commandline -ct) 2>/dev/null
end
complete -c concordat -f -a '(__concordat_complete)'
)sh";

// The kind whose names may stand after these words; nullptr where none may.
const Kind* KindAfter(const std::vector<std::string>& path) {
  if (path.empty()) return nullptr;
  const bool reads =
      path[0] == "get" || path[0] == "describe" || path[0] == "history" || path[0] == "explain";
  if (reads && path.size() == 2) {
    const auto kind = FindKind(path[1]);
    return kind.ok() ? *kind : nullptr;
  }
  for (const Verb& verb : Verbs()) {
    const size_t own = verb.noun.empty() ? 1 : 2;
    if (path.size() != own || path[0] != verb.verb || (own == 2 && path[1] != verb.noun)) continue;
    // What does not exist yet cannot be completed.
    if (CreateVerb(verb.collection) == &verb && verb.verb != "deploy") return nullptr;
    return KindOfCollection(verb.verb == "deploy" ? "artefacts" : verb.collection);
  }
  if (path.size() == 2 && path[0] == "deploy") return KindOfCollection("reservations");
  return nullptr;
}

std::vector<std::string> Names(Session& session, const Kind& kind) {
  session.globals.timeout = "2s";  // Whoever pressed the tabulator is waiting.
  const auto site = session.site();
  if (!site.ok()) return {};
  const auto all = FetchResources(session, **site, kind, "", "");
  if (!all.ok()) return {};
  std::vector<std::string> names;
  for (const auto& any : all->resources()) {
    const Resource resource = Unpack(any);
    if (resource == nullptr) continue;
    const std::string name = NameOf(*resource);
    names.push_back(name);
    const std::string brief(ShortName(name));
    if (FullName(kind, brief, (*site)->name) == name) names.push_back(brief);
  }
  return names;
}

}  // namespace

absl::StatusOr<std::string> CompletionScript(const std::string& shell) {
  if (shell == "bash") return kBash;
  if (shell == "zsh") return kZsh;
  if (shell == "fish") return kFish;
  return absl::InvalidArgumentError(
      fmt::format("found the shell '{}', expected bash, zsh or fish", shell));
}

std::vector<std::string> Complete(Session& session,
                                  const std::map<std::string, std::vector<std::string>>& tree,
                                  std::vector<std::string> words) {
  const std::string begun = words.empty() ? "" : words.back();
  if (!words.empty()) words.pop_back();
  std::vector<std::string> path;
  for (const std::string& word : words) {
    if (!word.starts_with("-")) path.push_back(word);
  }
  std::vector<std::string> candidates;
  for (size_t size = path.size() + 1; size-- > 0;) {
    std::string key;
    for (size_t i = 0; i < size; ++i) Append(&key, i == 0 ? "" : " ", path[i]);
    const auto found = tree.find(key);
    if (found == tree.end()) continue;
    candidates = found->second;
    if (size == path.size()) break;
    // Beyond the command itself only its flags still fit.
    std::erase_if(candidates, [](const std::string& word) { return !word.starts_with("-"); });
    break;
  }
  if (!begun.starts_with("-")) {
    if (const Kind* kind = KindAfter(path); kind != nullptr) {
      for (std::string& name : Names(session, *kind)) candidates.push_back(std::move(name));
    }
    std::erase_if(candidates, [](const std::string& word) { return word.starts_with("-"); });
  }
  std::erase_if(candidates, [&](const std::string& word) { return !word.starts_with(begun); });
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  return candidates;
}

}  // namespace concordat::cli
