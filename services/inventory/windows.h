// Maintenance windows: what each waits for, and whose consent it still lacks.
// Law: consent is given to one work list; more work needs it again, and nothing uses it up but the
// window itself.
#pragma once

#include <absl/time/time.h>

#include <optional>
#include <string>
#include <vector>

#include "services/inventory/state.h"

namespace concordat::inventory {

// The events of windows; any other is left alone.
void EvolveWindow(Rows& rows, const runtime::Accepted<v1::Event>& accepted);

// When a timer has to act on the window: its start, the end of the time for consent, or its end.
// Nothing where it waits for no time.
std::optional<absl::Time> DeadlineOf(const v1::Window& window);
// Orders by time, in microseconds and rounded up so that nothing is due early, then by name.
std::string WindowDeadlineKey(absl::Time time, const std::string& window);

// The customers whose consent to the present work list is needed and not there, by name, each once.
// None of an emergency.
std::vector<std::string> MissingConsents(const v1::Window& window);
// It is known whom the window affects, and all of them that are asked have consented.
bool IsConsented(const v1::Window& window);
bool IsEmergency(const v1::Window& window);
// The customers that consented to the present work list.
std::vector<std::string> ConsentedCustomers(const v1::Window& window);

// Its servers are being worked on.
bool IsOpen(const v1::Window& window);
// Its customers were told, and it is not over.
bool IsAnnounced(const v1::Window& window);

}  // namespace concordat::inventory
