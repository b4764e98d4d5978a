#include "services/runtime/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/runtime/writer.h"
#include "tests/services/runtime/ledger.pb.h"

namespace concordat::runtime {
namespace {

using test::v1::Command;
using test::v1::Event;
using testing::HasSubstr;

TEST(Engine, AnEventThatThisReleaseKnowsIsParsed) {
  Event event;
  event.mutable_item_put()->set_name("a");
  event.mutable_item_put()->mutable_expire_time()->set_seconds(5);
  const auto parsed = ParseEvent(Event::descriptor(), event.SerializeAsString());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ((*parsed)->SerializeAsString(), event.SerializeAsString());
  EXPECT_EQ(EventTypeOf(**parsed), "concordat.test.v1.ItemPut");
}

TEST(Engine, WhatANewerReleaseWroteIsRefusedByName) {
  test::v1::NewerEvent newer;
  newer.mutable_item_renamed()->set_name("a");
  const auto unknown_case = ParseEvent(Event::descriptor(), newer.SerializeAsString());
  EXPECT_TRUE(absl::IsInvalidArgument(unknown_case.status()));
  EXPECT_THAT(std::string(unknown_case.status().message()),
              HasSubstr("field 77 of concordat.test.v1.Event"));

  // ItemPut{name: "a", 15: 1} as the wire has it.
  const auto unknown_field =
      ParseEvent(Event::descriptor(), std::string("\x0a\x05\x0a\x01\x61\x78\x01"));
  EXPECT_THAT(std::string(unknown_field.status().message()),
              HasSubstr("field 15 of concordat.test.v1.ItemPut"));

  Event value;
  value.mutable_command_refused()->set_reason(static_cast<test::v1::Reason>(99));
  value.mutable_command_refused()->set_detail("detail");
  const auto unknown_value = ParseEvent(Event::descriptor(), value.SerializeAsString());
  EXPECT_THAT(std::string(unknown_value.status().message()), HasSubstr("reason is 99"));
}

TEST(Engine, BytesThatAreNoEventAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ParseEvent(Event::descriptor(), "\xff\xff").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseEvent(Event::descriptor(), "").status()))
      << "no event inside";
}

TEST(Engine, OnlyARefusalHasAReason) {
  Event event;
  event.mutable_item_put();
  EXPECT_FALSE(RefusalOf(event).has_value());
  event.mutable_command_refused()->set_reason(test::v1::REASON_EXISTS);
  event.mutable_command_refused()->set_detail("why");
  EXPECT_EQ(RefusalOf(event)->reason, "REASON_EXISTS");
  EXPECT_EQ(RefusalOf(event)->detail, "why");
}

TEST(Engine, TheDigestOfACommandLeavesOutHowItIsSubmitted) {
  Command command;
  command.mutable_put_item()->set_name("a");
  const std::string digest = CommandDigest(command);
  EXPECT_EQ(digest.size(), 64u);
  Command submitted = command;
  submitted.mutable_put_item()->mutable_submit()->set_request_id("r");
  ClearSubmit(submitted);
  EXPECT_EQ(CommandDigest(submitted), digest);
  Command other = command;
  other.mutable_put_item()->set_amount(1);
  EXPECT_NE(CommandDigest(other), digest);
  Command another_case;
  another_case.mutable_confirm_item()->set_name("a");
  EXPECT_NE(CommandDigest(another_case), digest);
}

}  // namespace
}  // namespace concordat::runtime
