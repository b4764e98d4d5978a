// Deliberate errors, for the mutation check of the simulation: a simulation that does not find them
// would not find their like either. Law: outside builds for tests none of them exists.
#pragma once

namespace concordat::events {

#ifdef CONCORDAT_SIMULATION
inline constexpr bool kSimulation = true;
#else
inline constexpr bool kSimulation = false;
#endif

enum class Flaw {
  kNone,
  kAnswersBeforeAcceptance,  // a caller is answered when its event is decided
  kForgetsPosition,          // the head is not always in the batch with the rows it led to
  kNeverVoids,               // after an unknown outcome the writer goes on without WriterStarted
  kForgetsByWallClock,       // ids are forgotten where the wall clock lies before the log's time
  kForgetsVoidLinks,         // a void link ahead of the head is not remembered
  kLosesReactions,           // follow-up commands that are still rows are not issued at the start
  kTrustsAnyOffset,          // a report is believed whatever lies between it and the last
  kKeepsSpeculation,         // a lost race does not undo what was evolved
  kMovesPositionFirst,       // a feed's position is stored before its commands are decided
  kDecidesRepeatedAgain,     // a repeated command in flight is decided a second time
  kAnswersLostRaces,         // what was in flight is answered, whatever the log says
  kForgetsWaiting,           // who asked again while the first was in flight is never answered
  kStaleIndex,               // the index is not told of changes to rows that it knows
  kIgnoresGaps,              // a mirrored record without its ancestors raises no suspicion
  kSkipsHomeCheck,           // a writer starts without asking what others have seen
  kReadsPastUnknown,         // an event of a newer release is passed over
  kForgetsFeeds,             // what may be drawn from a power feed is not looked at
  kAmendsBeyondPower,        // whether there is power for an amendment is not looked at
  kDecidesForOthers,         // a release wave of another site is planned here
  kRevivesEnded,             // what has ended may be cancelled
  kKeepsDroppedTerms,        // the terms of an amendment stay when it is dropped
  kIgnoresWaves,             // servers that no wave has opened are given away
  kForgetsShortfalls,        // a lower envelope is never said to cut into what is promised
  kCount,
};

#ifdef CONCORDAT_SIMULATION
inline Flaw flaw = Flaw::kNone;
inline bool Has(Flaw one) { return flaw == one; }
#else
constexpr bool Has(Flaw) { return false; }
#endif

}  // namespace concordat::events
