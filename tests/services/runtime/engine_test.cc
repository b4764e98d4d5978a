#include "services/runtime/engine.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/type.pb.h>
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

TEST(Engine, WhatIsNotKnownIsFoundWhereverItStands) {
  const auto complaint = [](const google::protobuf::Message& message) {
    return std::string(CheckKnown(message).message());
  };
  const auto add_unknown = [](google::protobuf::Message& message) {
    message.GetReflection()->MutableUnknownFields(&message)->AddVarint(99, 1);
  };
  google::protobuf::Type type;
  type.set_syntax(google::protobuf::SYNTAX_PROTO3);
  for (const char* name : {"a", "b"}) type.add_fields()->set_name(name);
  google::protobuf::Any& any = *type.mutable_fields(1)->add_options()->mutable_value();
  EXPECT_EQ(complaint(type), "");
  add_unknown(any);
  EXPECT_THAT(complaint(type), HasSubstr("field 99 of google.protobuf.Any"));
  any.Clear();
  EXPECT_EQ(complaint(type), "");
  type.mutable_fields(1)->set_kind(static_cast<google::protobuf::Field::Kind>(77));
  EXPECT_THAT(complaint(type), HasSubstr("google.protobuf.Field.kind is 77"));
  type.mutable_fields(1)->clear_kind();
  type.set_syntax(static_cast<google::protobuf::Syntax>(78));
  EXPECT_THAT(complaint(type), HasSubstr("google.protobuf.Type.syntax is 78"));

  // A type within itself, by a case; an enum as a case, and a number as one.
  google::protobuf::ListValue root;
  google::protobuf::ListValue& list = *root.add_values()->mutable_list_value();
  list.add_values()->set_number_value(1);
  list.add_values()->set_null_value(google::protobuf::NULL_VALUE);
  EXPECT_EQ(complaint(root), "");
  list.mutable_values(1)->set_null_value(static_cast<google::protobuf::NullValue>(79));
  EXPECT_THAT(complaint(root), HasSubstr("null_value is 79"));
  list.mutable_values(1)->Clear();
  add_unknown(*list.mutable_values(1));
  EXPECT_THAT(complaint(root), HasSubstr("field 99 of google.protobuf.Value"));
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
