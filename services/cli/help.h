// Help and usage errors: examples first, then the flags; a slip of the finger is answered with the
// word that was meant.
#pragma once

#include <absl/status/status.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace concordat::cli {

// `  concordat get servers`, a line each.
std::string ExamplesText(const std::vector<std::string_view>& examples);

// A command's help. `root` has the global flags, which are shown in the root's help alone.
std::string HelpText(const CLI::App& command, const CLI::App& root);

// INVALID_ARGUMENT for words that were not understood, naming the nearest command or flag where
// there is one. `extra` is the first word that fits nowhere; empty where it is not about a word.
absl::Status UsageError(const CLI::App& command, const std::string& found,
                        const std::string& extra);

// For each path of words, such as `order server`, the commands and flags that may follow.
std::map<std::string, std::vector<std::string>> CommandTree(const CLI::App& root);

}  // namespace concordat::cli
