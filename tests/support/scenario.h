// Given/when/then over text-format events: a history copied from `concordat history -o text` is a
// test.
#pragma once

#include <absl/time/time.h>
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "events/record.h"
#include "services/runtime/service.h"
#include "storage/projection/rows.h"

namespace concordat::test {

inline absl::Time Time(const std::string& rfc3339) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, rfc3339, &time, &error)) << error;
  return time;
}

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// Equal to the text-format message.
MATCHER_P(EqualsText, text, "") {
  const auto expected = Parse<std::decay_t<decltype(arg)>>(text);
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  const bool equal = differencer.Compare(expected, arg);
  *result_listener << difference << "\nwhole: " << arg.ShortDebugString();
  return equal;
}

// Has at least the fields of the text-format message, with those values.
MATCHER_P(HasText, text, "") {
  const auto expected = Parse<std::decay_t<decltype(arg)>>(text);
  google::protobuf::util::MessageDifferencer differencer;
  differencer.set_scope(google::protobuf::util::MessageDifferencer::PARTIAL);
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  const bool equal = differencer.Compare(expected, arg);
  *result_listener << difference << "\nwhole: " << arg.ShortDebugString();
  return equal;
}

// One service at one site, without log, clock or threads.
template <typename S>
class Scenario {
 public:
  using Event = typename S::Event;
  using Command = typename S::Command;
  using Intents = std::vector<runtime::Intent<Command>>;

  explicit Scenario(std::string site = "paris")
      : site_(std::move(site)), journal_(base_), state_(journal_) {
    journal_.Observe([this](const storage::Change& change) { state_.index.Apply(change); });
  }

  // The time of whatever follows.
  Scenario& At(const std::string& rfc3339) {
    now_ = Time(rfc3339);
    return *this;
  }

  // An event that has happened.
  Scenario& Given(const std::string& event_text) {
    Fold(Parse<Event>(event_text), {});
    return *this;
  }

  // Decides a command, and folds what was decided.
  Event When(const std::string& command_text, const std::string& command_id = "c-1",
             const std::string& actor = "alice") {
    return When(Parse<Command>(command_text), command_id, actor);
  }
  Event When(const Command& command, const std::string& command_id = "c-1",
             const std::string& actor = "alice") {
    runtime::Facts facts{.now = now_,
                         .site = site_,
                         .command_id = command_id,
                         .subject = {},
                         .actor = actor,
                         .correlation_id = command_id,
                         .cause = std::nullopt};
    facts.subject = S::Subject(command, facts);
    const Event event = S::Decide(state_, command, facts);
    Fold(event, facts);
    return event;
  }

  // What follows from the event folded last.
  Intents Reactions() const { return S::React(state_.rows, Last()); }
  // What is due at a time.
  Intents DueAt(const std::string& rfc3339) const {
    return S::Due(state_.rows, Time(rfc3339), 100);
  }

  typename S::State& state() { return state_; }
  storage::Journal& journal() { return journal_; }

  // An event of another stream, as React(Accepted<Other>) sees it at this site.
  template <typename Other>
  Intents ReactionsTo(const Other& event, const std::string& from_site = "paris") const {
    const events::Link link{};
    const events::Attributes attributes{};
    return S::React(
        runtime::Accepted<Other>{event, "", from_site, site_, 0, now_, link, attributes});
  }

 private:
  runtime::Accepted<Event> Last() const {
    return {last_, stream_, site_, site_, sequence_, now_, link_, attributes_};
  }
  void Fold(const Event& event, const runtime::Facts& facts) {
    last_ = event;
    attributes_.subject = facts.subject;
    attributes_.actor = facts.actor;
    attributes_.command_id = facts.command_id;
    attributes_.correlation_id = facts.correlation_id;
    journal_.Begin(++sequence_);
    S::Evolve(state_.rows, Last());
  }

  std::string site_;
  std::string stream_;
  absl::Time now_ = absl::UnixEpoch();
  storage::MemoryRows base_;
  storage::Journal journal_;
  typename S::State state_;
  Event last_;
  uint64_t sequence_ = 0;
  events::Link link_;
  events::Attributes attributes_;
};

}  // namespace concordat::test
