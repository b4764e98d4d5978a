/* A home is restored from an older state, while peers hold more of its log.
   Law: before a writer starts it compares its head with those that its peers have: behind, it fetches the
   tail from a peer and appends it verbatim; forked, or without its peers, it refuses.
   Switches:
     ATTESTED_HEADS  peers' heads are those that they attested, which may be late; otherwise those of their copies
     MIRROR_HOLDS    the mirror may hold a record it has read while the home is restored
     OVERRIDES       how often an operator starts the writer without its peers
     MIRROR_GOES_ON  broken: a mirror goes on at its old offset in a log that was cut, so it leaves records out
     NO_HOME_CHECK   broken: the writer starts as it is
     ONE_PEER        broken: it starts when one of its peers can be asked
     LIVES_ON        broken: a writer that lives while its log is restored goes on without looking */

#ifndef LOG
#define LOG 6
#endif
#ifndef RESTORES
#define RESTORES 2
#endif
#ifndef OVERRIDES
#define OVERRIDES 0
#endif
#ifndef RESETS
#define RESETS 1 /* how often a mirror begins again, beside those that a log cut short makes necessary */
#endif
#define PEERS 2

#include "chain.pml"

INVARIANT(PeersAreKept)
INVARIANT(HomeNeverForks)
INVARIANT(ForkIsSeen)

byte log[LOG];
byte size;
Chain home;    /* what the log makes */
short starts;  /* records that are a WriterStarted */

mtype = { down, writing, refusing };
mtype phase = down;

typedef Peer {
  Chain copy;
  byte pos;        /* its mirror's */
  byte held;       /* a record its mirror has read and not written yet; 0: none */
  byte attested;   /* the head that the home has heard of */
  short void_starts;
  bool forked;
};
Peer peer[PEERS];

byte restores;
byte overrides;
byte resets;
hidden byte j_;
hidden byte k_;
hidden byte p_;
hidden byte known_;
hidden byte l_;

inline store(record) {
  log[size] = record;
  size++;
  offer(home, record)
}

inline restore_to(keep) {
  do
  :: size > keep -> size--; log[size] = 0
  :: else -> break
  od;
  home.head = 0;
  home.taken = 0;
  home.ahead = 0;
  home.suspect = 0;
  k_ = 0;
  do
  :: k_ < size -> offer(home, log[k_]); k_++
  :: else -> break
  od;
#ifndef MIRROR_GOES_ON
  if
  :: peer[0].pos > size -> peer[0].pos = 0
  :: else
  fi;
  if
  :: peer[1].pos > size -> peer[1].pos = 0
  :: else
  fi;
#endif
#ifndef LIVES_ON
  phase = down
#endif
}

/* j_: whether record x descends from the home's head, or is it. */
inline descends(older, newer) {
  j_ = newer;
  do
  :: j_ != older && j_ != 0 -> j_ = parent[j_]
  :: else -> break
  od;
  j_ = (j_ == older)
}

#ifdef ATTESTED_HEADS
#define head_of(p) peer[p].attested
#else
#define head_of(p) peer[p].copy.head
#endif

/* The records of a peer's copy after the home's head, oldest first: parents are made before children. */
inline fetch_tail(to) {
  k_ = 1;
  do
  :: k_ <= made && size < LOG ->
     if
     :: has(peer[p_].copy.taken, k_) && seq[k_] > seq[home.head] && seq[k_] <= seq[to] ->
        printf("the home fetches record %d from peer %d\n", k_, p_);
        store(k_)
     :: else
     fi;
     k_++
  :: else -> break
  od
}

inline ask(number) {
  p_ = number;
  known_ = head_of(number);
  if
  :: phase == refusing || has(home.taken, known_) || known_ == 0
  :: else ->
     descends(home.head, known_);
     if
     :: j_ -> fetch_tail(known_)
     :: else -> printf("the home has forked from peer %d\n", number); phase = refusing
     fi
  fi
}

inline start_writer() {
  if
  :: phase != refusing && size < LOG && made < RECORDS ->
     make(home.head);
     starts = starts | bit(made);
     printf("the writer starts with record %d, a child of %d\n", made, home.head);
     store(made);
     phase = writing
  :: else
  fi
}

#define kept(p) (head_of(p) == 0 || has(home.taken, head_of(p)))

inline check_start() {
  CHECK(PeersAreKept, phase == writing && overrides == 0, kept(0) && kept(1))
}

inline check_peer(number) {
  p_ = number;
#if !defined(ATTESTED_HEADS) && !defined(MIRROR_HOLDS)
  CHECK(HomeNeverForks, phase == writing && overrides == 0 && peer[p_].copy.head != 0,
        has(home.taken, peer[p_].copy.head));
#endif
  CHECK(ForkIsSeen, phase == writing && !has(starts, home.head) && peer[p_].pos == size && peer[p_].held == 0 && peer[p_].copy.head != 0 &&
        !has(home.taken, peer[p_].copy.head) && seq[home.head] > seq[peer[p_].copy.head],
        peer[p_].forked || peer[p_].copy.suspect != 0)
}

inline bring(number, record) {
  p_ = number;
  if
  :: has(peer[p_].void_starts, parent[record]) -> peer[p_].forked = true
  :: else
  fi;
  offer(peer[p_].copy, record);
  if
  :: has(starts, record) && !has(peer[p_].copy.taken, record) ->
     peer[p_].void_starts = peer[p_].void_starts | bit(record)
  :: else
  fi
}

active proctype Home() {
end:
  do
#ifdef NO_HOME_CHECK
  :: d_step { phase == down && size < LOG && made < RECORDS -> start_writer(); check_start() }
#elif defined(ONE_PEER)
  :: d_step { phase == down && size < LOG && made < RECORDS -> ask(0); start_writer(); check_start() }
  :: d_step { phase == down && size < LOG && made < RECORDS -> ask(1); start_writer(); check_start() }
#else
  :: d_step { phase == down && size < LOG && made < RECORDS ->
       ask(0); ask(1); ask(0); start_writer(); check_start() }
#endif
#if OVERRIDES > 0
  :: d_step { phase == down && overrides < OVERRIDES && size < LOG && made < RECORDS ->
       printf("an operator starts the writer without its peers\n");
       overrides++; start_writer() }
#endif
  :: d_step { phase == writing && size < LOG && made < RECORDS ->
       make(home.head);
       printf("the home appends record %d\n", made);
       store(made) }
  :: atomic { restores < RESTORES && size > 0 ->
       restores++;
       k_ = size;
       do
       :: k_ > 0 -> k_--
       :: break
       od;
       printf("the home is restored with %d of %d records\n", k_, size);
       l_ = k_;
       restore_to(l_) }
  od
}


proctype Mirror(byte id) {
end:
  do
#ifdef MIRROR_HOLDS
  :: d_step { peer[id].held == 0 && peer[id].pos < size ->
       peer[id].held = log[peer[id].pos]; peer[id].pos++ }
  :: d_step { peer[id].held != 0 ->
       printf("peer %d gets record %d\n", id, peer[id].held);
       l_ = peer[id].held;
       bring(id, l_);
       peer[id].held = 0;
       check_peer(id) }
#else
  :: d_step { peer[id].pos < size ->
       printf("peer %d gets record %d\n", id, log[peer[id].pos]);
       l_ = log[peer[id].pos];
       bring(id, l_);
       peer[id].pos++;
       check_peer(id) }
#endif
  :: d_step { peer[id].pos > size || (peer[id].pos > 0 && resets < RESETS) ->
       if
       :: peer[id].pos > size
       :: else -> resets++
       fi;
       printf("the mirror to peer %d begins again\n", id);
       peer[id].pos = 0 }
#ifdef ATTESTED_HEADS
  :: d_step { peer[id].attested != peer[id].copy.head ->
       printf("peer %d attests record %d\n", id, peer[id].copy.head);
       peer[id].attested = peer[id].copy.head }
#endif
  od
}

init {
  atomic {
    run Mirror(0);
    run Mirror(1)
  }
}
