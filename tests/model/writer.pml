/* Writers of one stream race, crash, and lose sight of what they appended.
   Law: a caller is answered from the log, never from speculation. After services/runtime/writer.h and
   recovery.cc; the steps have their names. Left out, for a broken variant:
     SPECULATIVE_ANSWERS  callers are answered when the command is decided
     STALE_REPORTS        the report of an append that a recovery disowned counts for the one in flight now
     ACKS_1               reports do not wait for the other brokers; with LEADERS
     READ_UNREPLICATED    readers are given what is not on all brokers yet; with LEADERS
     NO_CLAIM             no WriterStarted after an unknown outcome; with TIMEOUTS
     TRUST_ANY_REPORT     a good report counts, whatever its offset
     FORGET_REPORTED      a recovery reads to the end it is told, though reports were beyond; with STALE_ENDS
     NO_MEMORY            commands are decided again, though their event was accepted
     ANSWER_WITH_LATEST   a command that is asked again is answered with the latest event */

#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef COMMANDS
#define COMMANDS 2
#endif
#ifndef LOG
#define LOG 5 /* the log's length */
#endif
#define WINDOW 2 /* appends of one writer without a report */
/* How often each fault may happen. */
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef TIMEOUTS
#define TIMEOUTS 0 /* a report that is an error; the append may still take effect, at any time */
#endif
#ifndef UNKNOWNS
#define UNKNOWNS 0 /* a report without an offset */
#endif
#ifndef RESENDS
#define RESENDS 0 /* a producer sends an append again, and the first copy may come later */
#endif
#ifndef LEADERS
#define LEADERS 0 /* leader changes: what is not replicated yet is cut off */
#endif
#ifndef STALE_ENDS
#define STALE_ENDS 0 /* the log's end is told as it was a while ago */
#endif

#include "chain.pml"

INVARIANT(AcknowledgedIsAccepted)
INVARIANT(ExactlyOnce)
INVARIANT(OneAnswer)
INVARIANT(NothingAppendedIsTrue)
INVARIANT(OwnNameIsOwn)
INVARIANT(WritersAgree)

byte command[RECORDS + 1];  /* from 1 on; 0: WriterStarted */
short made_for[COMMANDS + 1];     /* the records of each command */
byte answer[COMMANDS + 1];  /* what callers were told */

byte log[LOG];
byte size;
byte replicated; /* offsets below are on all brokers */
Chain truth;     /* what the acceptance rule makes of the whole log */
short late;      /* appends that nobody waits for: each may come at any time, or never */
short disowned;  /* records of which some recovery found that they are not accepted */

mtype = { down, recovering, claiming, writing };

typedef Writer {
  mtype phase;
  Chain chain;
  byte pos;          /* the next offset to judge */
  byte spec;         /* the speculative head */
  byte n;            /* appends in flight, oldest first */
  byte next;         /* of these, held by the broker */
  byte settled;      /* of these, reported since the recovery began */
  byte rec[WINDOW];
  byte off[WINDOW];
  short mine;        /* all that this process made */
  short own;         /* what a recovery may find accepted in its own name */
  short unresolved;  /* in flight when the recovery began */
  bool claim;        /* some outcome is unknown */
  byte want;         /* offsets below were reported, so the log holds them */
};
Writer w[WRITERS];

byte crashes;
byte timeouts;
byte unknowns;
byte resends;
byte leaders;
byte stale_ends;

hidden byte r_;
hidden byte j_;
hidden byte k_;
hidden byte l_;

#define me w[id]
#define flying ((bit(me.rec[0]) | bit(me.rec[1])) & ~1)
#define known(c) (made_for[c] & me.chain.taken)

#ifdef READ_UNREPLICATED
#define readable size
#else
#define readable replicated
#endif

/* ---- the log */

inline judge(record) {
  offer(truth, record);
  if
  :: took_ ->
     CHECK(NothingAppendedIsTrue, disowned != 0, !has(disowned, record));
     r_ = command[record];
     CHECK(ExactlyOnce, r_ != 0, (made_for[r_] & truth.taken) == bit(record))
  :: else
  fi
}

inline store(record) {
  log[size] = record;
  size++;
  judge(record);
  if
  :: leaders == LEADERS -> replicated = size
  :: else
  fi
}

/* A new leader without the last offsets. A living producer appends them again. */
inline cut_last() {
  size--;
  r_ = log[size];
  log[size] = 0;
  i_ = 0;
  do
  :: i_ < WRITERS ->
     j_ = 0;
     do
     :: j_ < w[i_].n ->
        if
        :: w[i_].rec[j_] == r_ && w[i_].off[j_] == size && j_ >= w[i_].settled ->
           w[i_].off[j_] = NOBODY;
           w[i_].next = j_
        :: else
        fi;
        j_++
     :: else -> break
     od;
     i_++
  :: else -> break
  od
}

inline judge_again() {
  truth.head = 0;
  truth.taken = 0;
  truth.ahead = 0;
  truth.suspect = 0;
  k_ = 0;
  do
  :: k_ < size -> judge(log[k_]); k_++
  :: else -> break
  od;
  k_ = 1;
  do
  :: k_ <= COMMANDS ->
     CHECK(AcknowledgedIsAccepted, answer[k_] != 0, has(truth.taken, answer[k_]));
     k_++
  :: else -> break
  od
}

/* ---- a writer */

inline tell_of(order, record) { /* a caller gets its answer */
  if
  :: order != 0 ->
     CHECK(AcknowledgedIsAccepted, true, has(truth.taken, record));
     CHECK(OneAnswer, answer[order] != 0, answer[order] == record);
     answer[order] = record
  :: else
  fi
}

inline tell(record) {
  tell_of(command[record], record)
}

inline send(record) {
  me.rec[me.n] = record;
  me.off[me.n] = NOBODY;
  me.n++;
  me.mine = me.mine | bit(record)
}

inline drop_flights() {
  me.n = 0;
  me.next = 0;
  me.settled = 0;
  me.rec[0] = 0;
  me.rec[1] = 0;
  me.off[0] = 0;
  me.off[1] = 0
}

/* LogAppender::Reset. What the broker does not hold yet may come late, or never. */
inline reset() {
  j_ = me.next;
  do
  :: j_ < me.n -> late = late | bit(me.rec[j_]); j_++
  :: else -> break
  od;
  drop_flights()
}

inline read_to(end) {
  do
  :: me.pos < end ->
     r_ = log[me.pos];
     offer(me.chain, r_);
     CHECK(OwnNameIsOwn, took_ && has(me.mine, r_), has(me.own, r_));
     me.pos++
  :: else -> break
  od;
  CHECK(WritersAgree, me.chain.head != 0, has(truth.taken, me.chain.head))
}

inline read_to_end() {
  end_ = readable;
  if
  :: stale_ends < STALE_ENDS && me.pos < end_ -> stale_ends++; end_ = me.pos
  :: true
  fi;
#ifndef FORGET_REPORTED
  if
  :: me.want > end_ -> end_ = me.want
  :: else
  fi;
#endif
  read_to(end_);
  me.want = 0
}

inline claim_stream() {
  make(me.chain.head);
  me.own = me.own | bit(made);
  send(made);
  me.phase = claiming
}

/* Answers what was accepted. The rest is decided again, or its callers hear that nothing was appended. */
inline resolve() {
  k_ = 1;
  do
  :: k_ <= made ->
     if
     :: has(me.unresolved, k_) && has(me.chain.taken, k_) -> tell(k_)
     :: has(me.unresolved, k_) && !has(me.chain.taken, k_) -> disowned = disowned | bit(k_)
     :: else
     fi;
     k_++
  :: else -> break
  od;
  me.unresolved = 0;
  me.own = 0;
  me.claim = false;
  me.spec = me.chain.head;
  me.phase = writing
}

inline recover() {
  if
  :: me.claim -> reset()
  :: else -> drop_flights()
  fi;
  read_to_end();
  if
#ifndef NO_CLAIM
  :: me.claim -> claim_stream()
  :: else -> resolve()
#else
  :: me.claim && me.chain.head == 0 -> claim_stream()
  :: else -> resolve()
#endif
  fi
}

inline accept_front() {
  r_ = me.rec[0];
  accept(me.chain, r_);
  me.pos++;
  me.n--;
  if
  :: me.next > 0 -> me.next--
  :: else
  fi;
  me.rec[0] = me.rec[1];
  me.off[0] = me.off[1];
  me.rec[1] = 0;
  me.off[1] = 0;
  tell(r_)
}

inline take_report(good, offset) { /* of the oldest append without one */
  if
  :: me.phase == claiming ->
     k_ = me.rec[0];
     if
     :: good -> drop_flights()
     :: else -> reset()
     fi;
     if
     :: offset != NOBODY -> me.want = offset + 1
     :: else
     fi;
     if
     :: good ->
        read_to_end();
        if
        :: has(me.chain.taken, k_) -> resolve()
        :: else -> me.phase = recovering
        fi
     :: else -> me.phase = recovering
     fi
#ifndef TRUST_ANY_REPORT
  :: me.phase == writing && good && offset == me.pos -> accept_front()
  :: me.phase == recovering || (me.phase == writing && !(good && offset == me.pos)) ->
#else
  :: me.phase == writing && good -> accept_front()
  :: me.phase == recovering || (me.phase == writing && !good) ->
#endif
     if
     :: me.phase == writing ->
        me.phase = recovering;
        me.unresolved = flying;
        me.own = flying
     :: else
     fi;
     me.settled++;
     if
     :: offset == NOBODY -> me.claim = true
     :: offset != NOBODY && offset + 1 > me.want -> me.want = offset + 1
     :: else
     fi
  fi
}

inline decide(order) {
  make(me.spec);
  command[made] = order;
  made_for[order] = made_for[order] | bit(made);
  me.spec = made;
  send(made);
#ifdef SPECULATIVE_ANSWERS
  tell(made)
#endif
}

inline answer_from_memory(order) {
#ifdef ANSWER_WITH_LATEST
  tell_of(order, me.chain.head)
#else
  k_ = 1;
  do
  :: k_ <= made ->
     if
     :: has(known(order), k_) -> tell(k_); break
     :: else -> k_++
     fi
  :: else -> break
  od
#endif
}

inline end_process() {
  reset();
  me.phase = down;
  me.chain.head = 0;
  me.chain.taken = 0;
  me.chain.ahead = 0;
  me.chain.suspect = 0;
  me.pos = 0;
  me.spec = 0;
  me.mine = 0;
  me.own = 0;
  me.unresolved = 0;
  me.claim = false;
  me.want = 0
}

#ifdef ACKS_1
#define acknowledged(i) (me.off[i] != NOBODY)
#else
#define acknowledged(i) (me.off[i] < replicated)
#endif

/* Steps are deterministic, but where a stale end may be told. */
#if STALE_ENDS > 0
#define step atomic
#else
#define step d_step
#endif

#ifdef NO_MEMORY
#define remembered(c) false
#else
#define remembered(c) known(c) != 0
#endif

#ifdef ANSWER_WITH_LATEST
#define told(c) (answer[c] == me.chain.head)
#else
#define told(c) (known(c) & bit(answer[c]))
#endif

#define COMMAND(c)                                                                       \
  :: step { me.phase == writing && me.n < WINDOW && made < RECORDS && !(remembered(c)) && \
            (made_for[c] & flying) == 0 ->                                                     \
       printf("%d decides command %d as record %d\n", id, c, made + 1);                  \
       decide(c); skip }                                                                       \
  :: step { me.phase == writing && known(c) != 0 && !(told(c)) ->                       \
       printf("%d answers command %d from memory\n", id, c);                             \
       answer_from_memory(c); skip }

proctype Process(byte id) {
end:
  do
  :: step { me.phase == down ->
       printf("%d starts\n", id);
       me.claim = true; me.phase = recovering }
  :: step { me.phase == recovering && (me.claim || me.settled == me.n) && made < RECORDS ->
       printf("%d recovers, claim %d\n", id, me.claim);
       recover() }
#if TIMEOUTS > 0
  :: step { me.phase == recovering && !me.claim && me.settled < me.n && timeouts < TIMEOUTS ->
       printf("%d waits for reports no longer\n", id);
       timeouts++; me.claim = true }
  :: step { me.phase != down && me.settled < me.n && timeouts < TIMEOUTS ->
       printf("%d is reported an error for record %d\n", id, me.rec[me.settled]);
       timeouts++;
       if /* the producer goes on with the next */
       :: me.next == me.settled -> late = late | bit(me.rec[me.next]); me.next++
       :: else
       fi;
       take_report(false, NOBODY) }
#endif
  :: step { me.phase != down && me.settled < me.next && acknowledged(me.settled) ->
       end_ = me.off[me.settled];
       printf("%d is reported record %d at offset %d\n", id, me.rec[me.settled], end_);
       l_ = end_;
       take_report(true, l_) }
#if UNKNOWNS > 0
  :: step { me.phase != down && me.settled < me.next && acknowledged(me.settled) && unknowns < UNKNOWNS ->
       printf("%d is reported record %d without an offset\n", id, me.rec[me.settled]);
       unknowns++;
       take_report(true, NOBODY) }
#endif
  COMMAND(1)
  COMMAND(2)
#if CRASHES > 0
  :: step { me.phase != down && crashes < CRASHES ->
       printf("%d crashes\n", id);
       crashes++; end_process() }
#endif
#ifdef STALE_REPORTS
  :: step { me.phase == writing && me.n > 0 && me.pos < size && has(me.mine & ~flying, log[me.pos]) ->
       printf("%d takes the report of record %d for its own\n", id, log[me.pos]);
       accept_front() }
#endif
  od
}

#define RESEND(i)                                                                        \
  :: d_step { me.n > i && me.settled <= i && !has(late, me.rec[i]) && resends < RESENDS -> \
       printf("the producer of %d sends record %d again\n", id, me.rec[i]);              \
       resends++; late = late | bit(me.rec[i]) }

proctype Producer(byte id) {
end:
  do
  :: d_step { me.next < me.n && size < LOG ->
       printf("the log takes record %d of %d at offset %d\n", me.rec[me.next], id, size);
       me.off[me.next] = size; me.next++; store(me.rec[me.next - 1]) }
#if RESENDS > 0
  RESEND(0)
  RESEND(1)
#endif
  od
}

#define LATE(r)                                                          \
  :: d_step { has(late, r) && size < LOG ->                               \
       printf("the log takes record %d, late, at offset %d\n", r, size);  \
       late = late & ~bit(r); store(r) }

proctype Brokers() {
end:
  do
  LATE(1)
  LATE(2)
  LATE(3)
  LATE(4)
  LATE(5)
  LATE(6)
  LATE(7)
  LATE(8)
#if LEADERS > 0
  :: d_step { replicated < size ->
       printf("offset %d is on all brokers\n", replicated);
       replicated++ }
  :: atomic { leaders < LEADERS && replicated < size ->
       do
       :: size > replicated -> printf("a new leader lacks offset %d\n", size - 1); cut_last()
       :: break
       od;
       leaders++;
       if
       :: leaders == LEADERS -> replicated = size
       :: else
       fi;
       judge_again() }
#endif
  od
}

init {
  atomic {
    i_ = 0;
    do
    :: i_ < WRITERS -> w[i_].phase = down; run Process(i_); run Producer(i_); i_++
    :: else -> break
    od;
    run Brokers()
  }
}
