// What a caller may send: any bytes as commands of one service. They are refused by Validate, or
// decided, folded and reacted to; and nothing stops the process.
//
// The first byte says which service, and whether the rest is one command in bytes, or several in
// text format, divided by lines of `---`.
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "services/compliance/service.h"
#include "services/deployment/service.h"
#include "services/inventory/service.h"
#include "services/reservations/service.h"
#include "storage/projection/rows.h"
#include "tests/fuzz/expect.h"

namespace concordat {
namespace {

// A text with faults is no command; nobody has to hear of it.
class Silent final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int, int, const std::string&) override {}
};

// One service over rows in memory.
template <typename S>
class Site {
 public:
  Site() : journal_(base_), state_(journal_) {
    journal_.Observe([this](const storage::Change& change) { state_.index.Apply(change); });
  }

  void Submit(const typename S::Command& command) {
    if (!S::Validate(command).ok()) return;
    runtime::Facts facts{.now = now_,
                         .site = "paris",
                         .command_id = std::to_string(sequence_),
                         .subject = {},
                         .actor = "alice",
                         .correlation_id = "c",
                         .cause = std::nullopt};
    facts.subject = S::Subject(command, facts);
    const typename S::Event event = S::Decide(state_, command, facts);
    FUZZ_EXPECT(event.event_case() != S::Event::EVENT_NOT_SET);
    typename S::Event again;
    FUZZ_EXPECT(again.ParseFromString(event.SerializeAsString()));
    attributes_.subject = facts.subject;
    attributes_.actor = facts.actor;
    attributes_.command_id = facts.command_id;
    journal_.Begin(++sequence_);
    const runtime::Accepted<typename S::Event> accepted{
        event, "paris.x.events", "paris", "paris", sequence_, now_, link_, attributes_};
    S::Evolve(state_.rows, accepted);
    // What a service asks of itself is a command that it takes.
    for (const auto& intent : S::React(state_.rows, accepted)) {
      FUZZ_EXPECT(intent.command.command_case() != S::Command::COMMAND_NOT_SET);
    }
    S::Due(state_.rows, now_ + absl::Hours(24 * 365), 16);
    now_ += absl::Hours(1);
  }

 private:
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  storage::MemoryRows base_;
  storage::Journal journal_;
  typename S::State state_;
  uint64_t sequence_ = 0;
  events::Link link_;
  events::Attributes attributes_;
};

template <typename S>
void Feed(bool text, std::string_view bytes) {
  Site<S> site;
  typename S::Command command;
  if (!text) {
    if (command.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) site.Submit(command);
    return;
  }
  constexpr std::string_view kDivider = "\n---\n";
  google::protobuf::TextFormat::Parser parser;
  Silent silent;
  parser.RecordErrorsTo(&silent);
  parser.SetRecursionLimit(50);
  while (!bytes.empty()) {
    const size_t end = bytes.find(kDivider);
    // A text may hold strings that are not UTF-8; no request that comes by wire does.
    if (parser.ParseFromString(std::string(bytes.substr(0, end)), &command) &&
        command.ParseFromString(command.SerializeAsString())) {
      site.Submit(command);
    }
    bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + kDivider.size());
  }
}

}  // namespace
}  // namespace concordat

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace concordat;
  google::protobuf::SetLogHandler(nullptr);
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  // Letters, so that an input in text is text: `a` to `d` are commands in text.
  const bool text = data[0] >= 'a' && data[0] <= 'd';
  const unsigned service = (text ? data[0] - 'a' : data[0]) % 4;
  if (service == 0) Feed<inventory::Service>(text, bytes);
  if (service == 1) Feed<reservations::Service>(text, bytes);
  if (service == 2) Feed<compliance::Service>(text, bytes);
  if (service == 3) Feed<deployment::Service>(text, bytes);
  return 0;
}
