// A request from flags, positionals and files: one message for each command that is to be sent.
// Law: what the request's descriptor does not have cannot be said, and flags win over files.
#pragma once

#include <absl/status/statusor.h>
#include <google/protobuf/message.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/cli/catalogue.h"
#include "services/cli/session.h"

namespace concordat::cli {

// What was typed for one command.
struct Typed {
  // Field name, or `group.field`, → values as typed.
  std::map<std::string, std::vector<std::string>> fields;
  std::string file;  // a file, a folder, or `-`
};

// Whether a field can be given as a flag: everything but messages that have no short form.
bool IsFlag(const google::protobuf::FieldDescriptor& field);

// Whether a field is a message whose fields are flags themselves: a schedule.
bool IsGroup(const google::protobuf::FieldDescriptor& field);

// How a flag's value looks, for the help: `TIME`, `NAME=VALUE:UNIT`, `training|inference|rental`.
std::string Placeholder(const google::protobuf::FieldDescriptor& field);

// Sets a field from what was typed; adds to it where it is repeated. INVALID_ARGUMENT, naming the
// flag.
absl::Status SetField(Session& session, const Verb& verb,
                      const google::protobuf::FieldDescriptor& field, const std::string& text,
                      google::protobuf::Message& request);

// The requests to send, in order: one, or one for each document of the file. Names are completed
// with the asked site. INVALID_ARGUMENT where a file or a value is not understood.
absl::StatusOr<std::vector<std::unique_ptr<google::protobuf::Message>>> BuildRequests(
    Session& session, const Verb& verb, const Typed& typed);

// Merges a document, YAML or JSON, into a request. A document that is one of the request's message
// fields, such as a rule, is taken as that field.
absl::Status MergeDocument(const std::string& document, google::protobuf::Message& request);

// The documents of a YAML text, divided at lines of `---`; empty ones are left out.
std::vector<std::string> Documents(const std::string& text);

}  // namespace concordat::cli
