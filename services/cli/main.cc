#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

#include "services/cli/cli.h"

int main(int argc, char** argv) {
  // https://no-color.org; a terminal alone gets colours.
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  const bool colour = isatty(STDOUT_FILENO) != 0 && isatty(STDERR_FILENO) != 0 && !dumb &&
                      (no_color == nullptr || *no_color == '\0');
  // Unset, gRPC's own lines would mix with the messages.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  concordat::cli::Console console{.in = std::cin,
                                  .out = std::cout,
                                  .err = std::cerr,
                                  .colour = colour,
                                  .terminal = isatty(STDERR_FILENO) != 0 && !dumb};
  return static_cast<int>(concordat::cli::Run(arguments, console));
}
