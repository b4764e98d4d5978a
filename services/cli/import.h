// Import of many assets from a CSV file. Law: a file that was imported in part, or twice, does
// nothing twice: what a server has reached is not asked for again, and a line becomes the same
// commands with the same request ids whenever it is read.
#pragma once

#include <absl/status/status.h>
#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "concordat/inventory/v1/api.pb.h"
#include "services/cli/csv.h"
#include "services/cli/session.h"

namespace concordat::cli {

// Something wrong with a line: what was found and what is expected, in one sentence.
struct BadLine {
  int number = 0;
  std::string detail;
  bool operator==(const BadLine&) const = default;
};

// One command of a line.
struct ImportStep {
  std::string method;                                  // `OrderServer`
  std::shared_ptr<google::protobuf::Message> request;  // with its request id
};
struct ImportLine {
  int number = 0;
  std::string name;
  std::vector<ImportStep> steps;
  size_t reached = 0;  // commands that are not among the steps, for the server is further already
};

// What is known at the site already.
struct ImportSite {
  std::string name;  // `paris`
  std::map<std::string, inventory::v1::Model> models;
  std::map<std::string, inventory::v1::Rack> racks;
  std::map<std::string, inventory::v1::Feed> feeds;
  std::map<std::string, inventory::v1::Server> servers;
};

struct ImportPlan {
  std::vector<ImportLine> lines;  // the good ones
  std::vector<BadLine> bad;       // by line
};

// The titles of servers.
const std::vector<std::string>& ImportTitles();

// Which commands the lines of servers come to, and which lines are bad: an unknown model or feed; a
// name twice in the file; a serial number or rack unit that another line or server has; a server
// that is there with another model, serial number or place; a place beyond its rack; something that
// is missing or not understood. Asks nobody.
ImportPlan PlanImport(const std::vector<CsvLine>& lines, const ImportSite& site);

struct ImportOptions {
  std::string file;
  bool dry_run = false;
};

// `import servers FILE`. OK where every line was good and is carried out, or would be;
// FAILED_PRECONDITION where one was not: the good ones are carried out all the same, unless the
// file itself cannot be read.
absl::Status RunImport(Session& session, const ImportOptions& options);

}  // namespace concordat::cli
