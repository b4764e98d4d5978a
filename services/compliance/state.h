// What compliance keeps: rules with their versions, judgements, and what it knows of its site.
// Law: a fold of its own stream and of nothing else.
#pragma once

#include "concordat/compliance/v1/api.pb.h"
#include "services/runtime/service.h"
#include "storage/projection/table.h"

namespace concordat::compliance {

struct Rows {
  explicit Rows(storage::Journal& journal)
      : rules("rules", journal, &journal),
        judgements("judgements", journal, &journal),
        compliance_sites("compliance_sites", journal, &journal) {}
  explicit Rows(const storage::RowSource& source)
      : rules("rules", source),
        judgements("judgements", source),
        compliance_sites("compliance_sites", source) {}

  storage::Table<v1::RuleHistory> rules;            // by rule
  storage::Table<v1::Judgement> judgements;         // by reservation or deployment
  storage::Table<v1::SiteRecord> compliance_sites;  // by site
};

using Index = runtime::NoIndex;
using State = runtime::StateOf<Rows, Index>;

// The only way that rows change.
void Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted);

}  // namespace concordat::compliance
