/* What follows from an event: a command each for its reaction and its deadline, by a writer that crashes.
   Law: a follow-up is a row until its own event is accepted, so a crash neither loses nor doubles it. After
   services/runtime/fold.cc; rows are a fold of the accepted events, and are stored in one batch with the head.
   Broken:
     REACTIONS_IN_MEMORY  reactions are kept by the process and not as rows
     DEADLINES_STAY       a deadline's event neither closes it nor is its command remembered
     DEADLINES_IN_MEMORY  deadlines are kept by the process and not as rows
     HEAD_FIRST           head and rows are stored in two batches, and a crash may come between */

#ifndef CAUSES
#define CAUSES 2
#endif
#ifndef LOG
#define LOG 8
#endif
#ifndef RECORDS
#define RECORDS 9
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef REBUILDS
#define REBUILDS 0 /* crashes after which the projection is gone */
#endif
#define WINDOW 2

#include "chain.pml"

INVARIANT(NothingIsDoubled)
INVARIANT(NoReactionIsLost)
INVARIANT(NoDeadlineIsLost)

/* Commands: a caller's, its reaction, its timer. 0: WriterStarted. */
#define reaction(cause) (cause + CAUSES)
#define timer(cause) (cause + 2 * CAUSES)
#define COMMANDS (3 * CAUSES)

byte command[RECORDS + 1];
short made_for[COMMANDS + 1];

byte log[LOG];
byte size;
Chain truth;
short late;

mtype = { down, claiming, writing };
mtype phase = down;
Chain chain;       /* accepted, in memory */
byte pos;
byte spec;         /* the speculative head */
byte n;
byte next;
byte rec[WINDOW];
short queue;       /* commands to be decided */
short uncommitted; /* causes that are accepted; their reactions wait for the batch */
byte stored_pos;   /* the batch's: rows and head are those of the log below */
short lost;        /* causes whose reactions the rows do not hold */
#ifdef DEADLINES_IN_MEMORY
short forgotten;   /* causes whose deadlines no process knows any more */
#define known(cause) !has(forgotten, cause)
#else
#define known(cause) true
#endif
byte crashes;
byte rebuilds;
hidden byte j_;
hidden byte k_;
hidden byte r_;

#define flying ((bit(rec[0]) | bit(rec[1])) & ~1)
#define taken(order) ((made_for[order] & chain.taken) != 0)
#ifdef DEADLINES_STAY
#define remembered(order) (order <= 2 * CAUSES && taken(order))
#else
#define remembered(order) taken(order)
#endif
#define due(cause) ((taken(cause) || in_flight(cause)) && known(cause) && !remembered(timer(cause)) && \
                    !in_flight(timer(cause)) && !has(queue, timer(cause)))
#if CAUSES > 1
#define all_done (!(due(1)) && !(due(2)))
#else
#define all_done (!(due(1)))
#endif
#define in_flight(order) ((made_for[order] & flying) != 0)

inline store(record) {
  log[size] = record;
  size++;
  offer(truth, record);
  k_ = command[record];
  CHECK(NothingIsDoubled, took_ && k_ != 0, (made_for[k_] & truth.taken) == bit(record))
}

inline send(record) {
  rec[n] = record;
  n++
}

inline drop_flights() {
  n = 0;
  next = 0;
  rec[0] = 0;
  rec[1] = 0
}

inline read_to_end() {
  do
  :: pos < size ->
     offer(chain, log[pos]);
     pos++
  :: else -> break
  od
}

/* The rows: reactions whose cause is accepted, and whose own event is not. */
inline issue_rows() {
  j_ = 1;
  do
  :: j_ <= CAUSES ->
     if
     :: taken(j_) && !taken(reaction(j_)) && !has(lost, j_) -> queue = queue | bit(reaction(j_))
     :: else
     fi;
     j_++
  :: else -> break
  od
}

inline commit() {
  stored_pos = pos;
  j_ = 1;
  do
  :: j_ <= CAUSES ->
     if
     :: has(uncommitted, j_) ->
        queue = queue | bit(reaction(j_));
#ifdef REACTIONS_IN_MEMORY
        lost = lost | bit(j_)
#else
        lost = lost & ~bit(j_)
#endif
     :: else
     fi;
     j_++
  :: else -> break
  od;
  uncommitted = 0
}

inline decide(order) {
  queue = queue & ~bit(order);
  if
  :: remembered(order) || in_flight(order) /* answered from memory */
  :: else ->
     make(spec);
     command[made] = order;
     made_for[order] = made_for[order] | bit(made);
     spec = made;
     send(made)
  fi
}

inline start() {
  /* From what is stored: the fold of the log below. */
  pos = 0;
  do
  :: pos < stored_pos -> offer(chain, log[pos]); pos++
  :: else -> break
  od;
  read_to_end();
  make(chain.head);
  send(made);
  phase = claiming
}

inline end_process() {
#ifdef DEADLINES_IN_MEMORY
  k_ = 1;
  do
  :: k_ <= CAUSES ->
     if
     :: taken(k_) -> forgotten = forgotten | bit(k_)
     :: else
     fi;
     k_++
  :: else -> break
  od;
#endif
  k_ = next;
  do
  :: k_ < n -> late = late | bit(rec[k_]); k_++
  :: else -> break
  od;
  drop_flights();
  phase = down;
  chain.head = 0;
  chain.taken = 0;
  chain.ahead = 0;
  chain.suspect = 0;
  pos = 0;
  spec = 0;
  queue = 0;
  uncommitted = 0
}

/* A jump, or the claim's report: what is in flight is on the log, and read back. */
inline recover() {
  k_ = 0;
  do
  :: k_ < WINDOW ->
     if
     :: rec[k_] != 0 && command[rec[k_]] != 0 -> queue = queue | bit(command[rec[k_]])
     :: else
     fi;
     k_++
  :: else -> break
  od;
  drop_flights();
  read_to_end();
  issue_rows();
  stored_pos = pos;
  uncommitted = 0;
  spec = chain.head
}

#define idle (phase == writing && queue == 0 && n == 0 && pos == size && late == 0 && uncommitted == 0)

inline check_idle() {
  j_ = 1;
  do
  :: j_ <= CAUSES ->
     CHECK(NoReactionIsLost, taken(j_), taken(reaction(j_)));
     CHECK(NoDeadlineIsLost, taken(j_), taken(timer(j_)));
     j_++
  :: else -> break
  od
}

#define CAUSE(c)                                                                              \
  :: d_step { phase == writing && !taken(c) && !in_flight(c) && n < WINDOW && made < RECORDS -> \
       printf("a caller's command %d is decided as record %d\n", c, made + 1);                \
       decide(c); skip }                                                                      \
  :: d_step { phase == writing && due(c) ->                                                   \
       printf("the deadline of %d is due\n", c);                                              \
       queue = queue | bit(timer(c)) }
#define QUEUED(order)                                                                         \
  :: d_step { phase == writing && has(queue, order) && n < WINDOW && made < RECORDS ->        \
       printf("the follow-up %d is decided\n", order);                                        \
       decide(order); skip }
#define LATE(record)                                                     \
  :: d_step { has(late, record) && size < LOG ->                         \
       printf("the log takes record %d, late, at offset %d\n", record, size); \
       late = late & ~bit(record); store(record) }

active proctype Process() {
end:
  do
  :: d_step { phase == down && made < RECORDS && size < LOG -> printf("it starts\n"); start() }
  CAUSE(1)
  QUEUED(reaction(1))
  QUEUED(timer(1))
#if CAUSES > 1
  CAUSE(2)
  QUEUED(reaction(2))
  QUEUED(timer(2))
#endif
  :: d_step { phase == writing && next > 0 && log[pos] == rec[0] -> /* its report: nobody else wrote */
       printf("record %d is accepted\n", rec[0]);
       r_ = rec[0];
       offer(chain, r_);
       pos++;
       n--;
       next--;
       rec[0] = rec[1];
       rec[1] = 0;
       if
       :: command[r_] != 0 && command[r_] <= CAUSES -> uncommitted = uncommitted | bit(command[r_])
       :: else
       fi }
  :: d_step { phase == writing && uncommitted != 0 -> printf("rows and head are stored\n"); commit() }
#ifdef HEAD_FIRST
  :: d_step { phase == writing && uncommitted != 0 && stored_pos != pos ->
       printf("the head is stored, its rows are not\n");
       stored_pos = pos; lost = lost | uncommitted }
#endif
  :: d_step { phase == writing && n == next && n > 0 && log[pos] != rec[0] ->
       printf("somebody else wrote at offset %d\n", pos);
       recover() }
  :: d_step { phase == claiming && next == n ->
       r_ = rec[0];
       recover();
       if
       :: has(chain.taken, r_) -> printf("it has claimed the stream\n"); phase = writing
       :: else -> printf("its claim is void\n"); phase = down; end_process()
       fi }
  :: d_step { phase != down && crashes < CRASHES ->
       printf("it crashes\n");
       crashes++; end_process() }
#if REBUILDS > 0
  :: d_step { phase != down && rebuilds < REBUILDS ->
       printf("it crashes, and its projection is deleted\n");
       rebuilds++; end_process(); stored_pos = 0; lost = 0 }
#endif
  :: d_step { idle && all_done -> check_idle(); skip }
  od
}

active proctype Broker() {
end:
  do
  :: d_step { next < n && size < LOG ->
       printf("the log takes record %d at offset %d\n", rec[next], size);
       next++; store(rec[next - 1]) }
  LATE(1)
  LATE(2)
  LATE(3)
  LATE(4)
  LATE(5)
  LATE(6)
  LATE(7)
  LATE(8)
  LATE(9)
  od
}
