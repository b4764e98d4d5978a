// The kinds of resources: how they are called, which collection of which service holds them, and
// how their names are built. Law: a full resource name is never changed, a short one is completed.
#pragma once

#include <absl/status/statusor.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace concordat::cli {

// A column of a table: the field's path within the resource, such as `terms.count`. Of messages
// that come several times it is the last one's, and with a condition, such as
// `findings[outcome=violated| satisfied].rule`, that of all that meet it.
struct Column {
  std::string_view title;
  std::string_view path;
};

// A kind of resource.
struct Kind {
  std::string_view collection;           // `servers`
  std::string_view singular;             // `server`
  std::vector<std::string_view> shorts;  // `srv`
  std::string_view service;              // `inventory`
  std::string_view pattern;              // `sites/{site}/servers/{}`
  std::vector<Column> columns;
};

std::span<const Kind> Kinds();

// By plural, singular or short name. INVALID_ARGUMENT, naming the nearest, where there is none.
absl::StatusOr<const Kind*> FindKind(std::string_view word);

// By collection; nullptr where there is none.
const Kind* KindOfCollection(std::string_view collection);

// By a full resource name, such as `sites/paris/servers/a01-01`; nullptr where there is none.
const Kind* KindOfName(std::string_view name);

// `a01-01` → `sites/paris/servers/a01-01`; `hsbc/frame` → `customers/hsbc/contracts/frame`. A full
// name and the empty string stay as they are.
std::string FullName(const Kind& kind, std::string_view name, std::string_view site);

// The last part of a name: `sites/paris/servers/a01-01` → `a01-01`.
std::string_view ShortName(std::string_view name);

// `paris` of `sites/paris/servers/a01-01`; empty for names without a site.
std::string_view SiteOfName(std::string_view name);

// The candidate nearest to `word` by edit distance; empty where none is near.
std::string Nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace concordat::cli
