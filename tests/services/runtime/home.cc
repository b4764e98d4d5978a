#include "tests/services/runtime/home.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <utility>

#include "events/chain.h"
#include "tests/support/records.h"

namespace concordat::test {

bool Asked::answered() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->outcome.has_value();
}
absl::StatusOr<type::v1::Outcome> Asked::outcome() const {
  absl::MutexLock lock(&state_->mutex);
  return *state_->outcome;
}
int Asked::answers() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->answers;
}
runtime::AnswerCallback Asked::Callback() const {
  return [state = state_](absl::StatusOr<type::v1::Outcome> outcome) {
    absl::MutexLock lock(&state->mutex);
    state->outcome = std::move(outcome);
    ++state->answers;
  };
}

v1::Command Put(const std::string& name, int64_t amount) {
  v1::Command command;
  command.mutable_put_item()->set_name(name);
  command.mutable_put_item()->set_amount(amount);
  return command;
}
v1::Command PutConfirmed(const std::string& name) {
  v1::Command command = Put(name);
  command.mutable_put_item()->set_confirm(true);
  return command;
}

Home::Home(storage::Log& log, runtime::Clock& clock, const std::string& site)
    : log_(log), clock_(clock), stream_(events::StreamName(site, "ledger")) {
  options.site = site;
  options.release = "test";
  options.timer_interval = absl::Milliseconds(1);
  options.report_timeout = absl::Milliseconds(200);
  options.home_check_interval = absl::Milliseconds(1);
}

Home::~Home() { Stop(); }

void Home::Open() {
  auto projection =
      storage::Projection::Open(dir_ / "projection", stream_, events::Chain::Origin::kHome, "test");
  ASSERT_TRUE(projection.ok()) << projection.status();
  projection_ = *std::move(projection);
  engine_ = std::make_unique<runtime::EngineOf<ledger::Service>>(projection_->journal());
  writer_ = std::make_unique<runtime::Writer>(*engine_, *projection_, log_, clock_, options);
}

void Home::Start() {
  Open();
  ASSERT_TRUE(StepUntil([&] {
    return state() == runtime::WriterState::kWriting || state() == runtime::WriterState::kStopped;
  })) << alarm();
}

void Home::Run() {
  Open();
  running_ = true;
  writer_->Run();
  const absl::Status status = writer_->WaitUntilWriting(kPatience);
  ASSERT_TRUE(status.ok()) << status;
}

void Home::Stop() {
  if (writer_ != nullptr) writer_->Stop();
  writer_.reset();
  engine_.reset();
  projection_.reset();
  running_ = false;
}

void Home::Wipe() { std::filesystem::remove_all(dir_ / "projection"); }

void Home::Keep() {
  std::filesystem::remove_all(dir_ / "kept");
  std::filesystem::copy(dir_ / "projection", dir_ / "kept",
                        std::filesystem::copy_options::recursive);
}

void Home::PutBack() {
  Wipe();
  std::filesystem::copy(dir_ / "kept", dir_ / "projection",
                        std::filesystem::copy_options::recursive);
}

Asked Home::Ask(const v1::Command& command, const std::string& id, const std::string& actor,
                const std::function<void(runtime::Submission&)>& change) {
  Asked asked;
  runtime::Submission submission;
  submission.command = std::make_unique<v1::Command>(command);
  submission.command_id = id;
  submission.actor = actor;
  submission.done = asked.Callback();
  if (change) change(submission);
  writer_->Submit(std::move(submission));
  return asked;
}

absl::StatusOr<type::v1::Outcome> Home::Answer(const Asked& asked) {
  if (!StepUntil([&] { return asked.answered(); })) {
    return absl::InternalError("the test waited for an answer in vain; alarm: " + alarm());
  }
  return asked.outcome();
}

absl::StatusOr<type::v1::Outcome> Home::Answer(
    const v1::Command& command, const std::string& id, const std::string& actor,
    const std::function<void(runtime::Submission&)>& change) {
  return Answer(Ask(command, id, actor, change));
}

bool Home::StepUntil(const std::function<bool()>& done) {
  return WaitUntil([&] {
    if (!running_ && !done()) writer_->Step(absl::Milliseconds(1));
    return done();
  });
}

void Home::Step(int count) {
  for (int i = 0; i < count; ++i) writer_->Step(absl::Milliseconds(1));
}

std::optional<v1::Item> Home::Item(const std::string& name) {
  return storage::Table<v1::Item>("items", *projection_).Get(name);
}

std::string Home::Digest() {
  const auto view = projection_->View();
  const std::string digest = storage::Digests::Of(*view).Total().ToHex();
  EXPECT_EQ(view->FoldedDigests()->Total().ToHex(), digest)
      << "the digest kept up equals the rows read anew";
  return digest;
}

std::vector<Fact> History(const std::vector<events::Record>& records, const std::string& stream) {
  events::Chain chain(stream);
  std::vector<Fact> history;
  for (size_t i = 0; i < records.size(); ++i) {
    Fact fact;
    if (chain.Offer(records[i], static_cast<int64_t>(i), &fact.attributes) !=
        events::Outcome::kAccepted)
      continue;
    fact.record = records[i];
    fact.offset = static_cast<int64_t>(i);
    if (fact.attributes.data_type == v1::Event::descriptor()->full_name()) {
      v1::Event event;
      if (event.ParseFromString(records[i].data)) fact.event = event;
    }
    history.push_back(std::move(fact));
  }
  return history;
}

int CountOf(const std::vector<Fact>& history, const std::string& type) {
  int count = 0;
  for (const Fact& fact : history) {
    const std::string& name = fact.attributes.type;
    count += name.size() > type.size() &&
             name.compare(name.size() - type.size() - 1, name.npos, "." + type) == 0;
  }
  return count;
}

int CountOfCommand(const std::vector<Fact>& history, const std::string& id,
                   const std::string& actor) {
  int count = 0;
  for (const Fact& fact : history)
    count += fact.attributes.command_id == id && fact.attributes.actor == actor;
  return count;
}

events::Head HeadOf(const std::vector<Fact>& history) {
  if (history.empty()) return {};
  const events::Attributes& last = history.back().attributes;
  return {last.id, static_cast<int64_t>(last.sequence), history.back().offset, last.time};
}

events::Record Foreign(events::Head& head, const std::string& type, const std::string& data,
                       const std::string& writer, const std::string& stream) {
  events::Attributes attributes = AttributesAfter(head, stream, writer);
  attributes.type = "concordat.test.v1." + type;
  attributes.time = head.time;
  attributes.actor = "mallory";
  attributes.command_id = "foreign-" + std::to_string(attributes.sequence) + "-" + writer;
  events::Record record = events::Seal(attributes, data);
  head = {attributes.id, static_cast<int64_t>(attributes.sequence), -1, attributes.time};
  return record;
}

events::Record ForeignPut(events::Head& head, const std::string& name, const std::string& stream) {
  v1::Event event;
  event.mutable_item_put()->set_name(name);
  event.mutable_item_put()->set_amount(7);
  return Foreign(head, "ItemPut", event.SerializeAsString(), std::string(32, 'f') + ".1", stream);
}

}  // namespace concordat::test
