// The commands that change something: one row each. Everything else about them (flags, help, how a
// request is built, where it goes) follows from the row and the request's descriptor.
// Law: a new command is a new row here, and no code.
#pragma once

#include <google/protobuf/descriptor.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::cli {

// What a reader of the shell calls a command, and what it sends.
struct Verb {
  std::string_view verb;     // `order`
  std::string_view noun;     // `server`; empty: the verb stands alone
  std::string_view service;  // `inventory`
  std::string_view method;   // `OrderServer`
  // The request's fields that are given by position, in order; a `?` at the end makes one optional.
  std::vector<std::string_view> positionals;
  std::string_view collection;  // what the field `name` names
  std::string_view sentence;    // the help's first line
  std::vector<std::string_view> examples;
  // What is polled by --wait is what the answer's subject names.
  bool waits = false;
};

// The commands, in the order of the story that they tell.
std::span<const Verb> Verbs();

// `create TYPE` is the first step of a kind's life: the verb behind it; nullptr where there is
// none.
const Verb* CreateVerb(std::string_view collection);

// `/concordat.inventory.v1.InventoryService/OrderServer`.
std::string MethodPath(const Verb& verb);

// The request message.
const google::protobuf::Descriptor* RequestOf(const Verb& verb);

// The flag of a field, without dashes: `it-power-watts`. `site` is `at`, for --site says who is
// asked.
std::string FlagOf(const google::protobuf::FieldDescriptor& field);

// The proto's comment on a field, as one line.
std::string CommentOf(const google::protobuf::FieldDescriptor& field);

}  // namespace concordat::cli
