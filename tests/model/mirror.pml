/* A mirror carries any log to another site: late, again and again from earlier offsets, with a hole.
   Law: a follower accepts what the home accepts. The log is arbitrary, so whatever writers do is in it.
   Switches:
     NO_FIRST_OCCURRENCE  broken: a link that was void before may be accepted
     ONE_WRITER           the home's log holds no void record; for gaps
     NO_COMPARISON        broken: heads are not compared with those that the home attests; with GAPS
     POSITION_ALONE       broken: where the mirror goes back the follower starts with its place in the log and
                          without its head; with ONE_WRITER */

#ifndef LOG
#define LOG 6
#endif
#ifndef REDELIVERIES
#define REDELIVERIES 2 /* how often the mirror goes back, by any number of records */
#endif
#ifndef GAPS
#define GAPS 0 /* records that the mirror leaves out */
#endif

#include "chain.pml"

INVARIANT(FollowersAgree)
INVARIANT(FollowersCatchUp)
INVARIANT(GapIsSeen)

byte log[LOG];
byte size;
Chain home;
Chain copy;
bool written; /* the log is complete */
bool carried; /* the mirror has been at its end */
byte pos;     /* the mirror's */
byte redeliveries;
byte gaps;
hidden byte j_;
hidden byte k_;

inline store(record) {
  log[size] = record;
  size++;
  offer(home, record)
}

#define strange (copy.taken & ~home.taken)

/* Whether the follower and the home accepted different records at one sequence. */
inline compare() {
  j_ = false;
  k_ = 1;
  do
  :: k_ <= made ->
     if
     :: has(strange, k_) && seq[k_] <= seq[home.head] -> j_ = true
     :: else
     fi;
     k_++
  :: else -> break
  od
}

inline check_follower() {
  CHECK(FollowersAgree, gaps == 0, strange == 0);
  CHECK(FollowersCatchUp, gaps == 0 && carried, copy.head == home.head);
#ifdef NO_COMPARISON
  j_ = false;
#else
  compare();
#endif
  CHECK(GapIsSeen, gaps > 0 && carried && copy.head != home.head, copy.suspect != 0 || j_)
}

/* Records are made before they are appended: a child may come to the log before its parent. */
#define MAKE(p)                                                                          \
  :: d_step { !written && !honest && size < LOG - 1 && made < RECORDS - 1 && p <= made -> \
       make(p); printf("record %d is made, a child of %d\n", made, p) }
#define APPEND(r)                                                                        \
  :: d_step { !written && !honest && size < LOG - 1 && r <= made ->                      \
       printf("the log takes record %d\n", r); store(r) }
#ifdef ONE_WRITER
#define honest true
#else
#define honest false
#endif

active proctype Home() {
end:
  do
  MAKE(0)
  MAKE(1)
  MAKE(2)
  MAKE(3)
  APPEND(1)
  APPEND(2)
  APPEND(3)
  APPEND(4)
  APPEND(5)
  :: d_step { !written && honest && size < LOG - 1 && made < RECORDS - 1 ->
       make(home.head);
       printf("the log takes record %d, a child of %d\n", made, home.head);
       store(made) }
  :: d_step { !written -> /* the home goes on: its last event is accepted */
       make(home.head);
       printf("the log ends with record %d, a child of %d\n", made, home.head);
       store(made);
       written = true }
  od
}

active proctype Mirror() {
end:
  do
  :: d_step { written && pos < size ->
       printf("the mirror brings offset %d: record %d\n", pos, log[pos]);
       offer(copy, log[pos]);
       pos++;
       if
       :: pos == size -> carried = true
       :: else
       fi;
       check_follower() }
  :: d_step { written && pos < size - 1 && gaps < GAPS ->
       printf("the mirror leaves out offset %d\n", pos);
       gaps++; pos++ }
  :: atomic { written && pos > 0 && redeliveries < REDELIVERIES ->
       redeliveries++;
       do
       :: pos > 0 -> pos--
       :: break
       od;
       printf("the mirror begins again at offset %d\n", pos);
#ifdef POSITION_ALONE
       copy.head = 0;
       copy.taken = 0;
       copy.ahead = 0;
       copy.suspect = 0;
       carried = false
#endif
       }
  od
}
