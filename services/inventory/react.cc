#include "services/inventory/react.h"

namespace concordat::inventory {

Intents React(const Rows&, const runtime::Accepted<v1::Event>&) { return {}; }

Intents Due(const Rows&, absl::Time, size_t) { return {}; }

}  // namespace concordat::inventory
