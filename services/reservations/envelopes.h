// The envelope of the site and of its feeds as reservations knows it: steps over time.
// Law: pure; a step holds until the next begins, and one that ends by itself gives way at its end
// to what had held then.
#pragma once

#include <absl/functional/function_ref.h>

#include <string>

#include "concordat/reservations/v1/api.pb.h"
#include "services/reservations/timeline.h"

namespace concordat::reservations {

using EnvelopeSteps = google::protobuf::RepeatedPtrField<v1::EnvelopeRecorded>;

// Enters a step into those of the site, or of a feed where one is named. One with the same
// beginning is replaced; by one with an end, all that begin within it. What is past by more than
// two days at `now` is forgotten: nothing is decided by it, and the stream's events have it.
void PutStep(v1::SiteRecord& site, const std::string& feed, const v1::EnvelopeRecorded& step,
             absl::Time now);

// The steps of the site, or of a feed where one is named; none where the feed is not known.
const EnvelopeSteps& StepsOf(const v1::SiteRecord& site, const std::string& feed);

// Calls `visit` with the parts of a span, in order, over which the same step holds, and with that
// step, nullptr before the first, until it returns false.
void ForEachStep(const EnvelopeSteps& steps, const Span& span,
                 absl::FunctionRef<bool(const Span& part, const v1::EnvelopeRecorded* step)> visit);

}  // namespace concordat::reservations
