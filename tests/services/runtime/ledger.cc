#include "tests/services/runtime/ledger.h"

#include "services/runtime/check.h"

namespace concordat::ledger {
namespace {

v1::Event Refused(v1::Reason reason, const std::string& detail) {
  v1::Event event;
  event.mutable_command_refused()->set_reason(reason);
  event.mutable_command_refused()->set_detail(detail);
  return event;
}

const std::string& NameOf(const v1::Command& command) {
  switch (command.command_case()) {
    case v1::Command::kConfirmItem:
      return command.confirm_item().name();
    case v1::Command::kExpireItem:
      return command.expire_item().name();
    case v1::Command::kRecordOrder:
      return command.record_order().name();
    case v1::Command::kPutItem:
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return command.put_item().name();
}

}  // namespace

void Index::Apply(const storage::Change& change) {
  const auto count = [&](const std::optional<std::string_view>& value, int by) {
    if (!value) return;
    const int64_t amount = storage::Table<v1::Item>::Parse(change.key, *value).amount();
    if ((amounts[amount] += by) == 0) amounts.erase(amount);
  };
  if (storage::TableOf(change.key) != "items") return;
  count(change.before, -1);
  count(change.after, 1);
}

v1::Event Service::Decide(const State& state, const v1::Command& command, const runtime::Facts&) {
  const std::string& name = NameOf(command);
  const auto item = state.rows.items.Get(name);
  v1::Event event;
  switch (command.command_case()) {
    case v1::Command::kPutItem: {
      const v1::PutItem& put = command.put_item();
      if (item) return Refused(v1::REASON_EXISTS, name + " is there already");
      v1::ItemPut* fact = event.mutable_item_put();
      fact->set_name(name);
      fact->set_amount(put.amount());
      fact->set_confirm(put.confirm());
      if (put.has_expire_time()) *fact->mutable_expire_time() = put.expire_time();
      fact->set_order_to(put.order_to());
      fact->set_ballast(put.ballast());
      return event;
    }
    case v1::Command::kConfirmItem:
      if (!item) return Refused(v1::REASON_UNKNOWN_ITEM, name);
      event.mutable_item_confirmed()->set_name(name);
      return event;
    case v1::Command::kExpireItem:
      if (!item) return Refused(v1::REASON_UNKNOWN_ITEM, name);
      event.mutable_item_expired()->set_name(name);
      return event;
    case v1::Command::kRecordOrder:
      event.mutable_order_recorded()->set_name(name);
      event.mutable_order_recorded()->set_from_site(command.record_order().from_site());
      return event;
    case v1::Command::COMMAND_NOT_SET:
      break;
  }
  return Refused(v1::REASON_UNKNOWN_ITEM, "no command");
}

void Service::Evolve(Rows& rows, const runtime::Accepted<v1::Event>& accepted) {
  const v1::Event& event = accepted.event;
  switch (event.event_case()) {
    case v1::Event::kItemPut: {
      v1::Item item;
      item.set_name(event.item_put().name());
      item.set_amount(event.item_put().amount());
      if (event.item_put().has_expire_time())
        *item.mutable_expire_time() = event.item_put().expire_time();
      rows.items.Put(item.name(), item);
      return;
    }
    case v1::Event::kItemConfirmed: {
      auto item = *rows.items.Get(event.item_confirmed().name());
      item.set_confirmed(item.confirmed() + 1);
      rows.items.Put(item.name(), item);
      return;
    }
    case v1::Event::kItemExpired: {
      auto item = *rows.items.Get(event.item_expired().name());
      item.set_expired(item.expired() + 1);
      item.clear_expire_time();
      rows.items.Put(item.name(), item);
      return;
    }
    case v1::Event::kOrderRecorded: {
      auto item = rows.items.Get(event.order_recorded().name()).value_or(v1::Item());
      item.set_name(event.order_recorded().name());
      item.set_orders(item.orders() + 1);
      rows.items.Put(item.name(), item);
      return;
    }
    case v1::Event::kCommandRefused:
    case v1::Event::EVENT_NOT_SET:
      return;
  }
}

Service::Intents Service::React(const Rows&, const runtime::Accepted<v1::Event>& accepted) {
  Intents intents;
  if (!accepted.event.item_put().confirm()) return intents;
  v1::Command command;
  command.mutable_confirm_item()->set_name(accepted.event.item_put().name());
  intents.push_back({"confirm", accepted.event.item_put().name(), command, {}, {}});
  return intents;
}

Service::Intents Service::React(const runtime::Accepted<v1::Event>& accepted) {
  Intents intents;
  if (accepted.event.item_put().order_to() != accepted.here) return intents;
  v1::Command command;
  command.mutable_record_order()->set_name(accepted.event.item_put().name());
  command.mutable_record_order()->set_from_site(std::string(accepted.site));
  intents.push_back({"record", accepted.event.item_put().name(), command, {}, {}});
  return intents;
}

Service::Intents Service::Due(const Rows& rows, absl::Time now, size_t limit) {
  Intents intents;
  rows.items.Scan("", [&](std::string_view, const v1::Item& item) {
    if (item.has_expire_time() && runtime::ToTime(item.expire_time()) <= now) {
      v1::Command command;
      command.mutable_expire_item()->set_name(item.name());
      intents.push_back({"expire",
                         item.name(),
                         command,
                         runtime::ToText(runtime::ToTime(item.expire_time())),
                         {}});
    }
    return intents.size() < limit;
  });
  return intents;
}

absl::Status Service::Validate(const v1::Command&) { return absl::OkStatus(); }

std::string Service::Subject(const v1::Command& command, const runtime::Facts&) {
  return "items/" + NameOf(command);
}

std::vector<runtime::TableInfo> Service::Tables() {
  return {{"items", &v1::Item::default_instance()}};
}

}  // namespace concordat::ledger
