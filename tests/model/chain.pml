/* What all models share: records, and the acceptance rule as docs/subscribing.md numbers it.
   Law: a record is a number from 1 on; 0 is the beginning. A parent is made before its child, and a
   record's sequence is its parent's plus one. Sets of records are bits of a short. */

#ifndef RECORDS
#define RECORDS 8 /* at most 14, for a set has to fit */
#endif

#define NOBODY 255
#define bit(r) (1 << (r))
#define has(set, r) (((set) >> (r)) & 1)

byte parent[RECORDS + 1];
byte seq[RECORDS + 1];
byte made; /* so far; the latest record */

typedef Chain {
  byte head;
  short taken;   /* accepted */
  short ahead;   /* void, and not below the head */
  byte suspect;  /* a sequence the head has to reach; 0: none */
};

hidden byte i_;
hidden byte end_;
hidden byte took_;

/* CHECK(name, when, holds): where `when` is true the invariant must hold. How often it was asked is
   counted outside of the state and printed at the end, so that one that is never asked is seen. */
#define CHECK(name, when, holds)        \
  if                                    \
  :: (when) ->                          \
     c_code { asked_##name++; };        \
     if                                 \
     :: (holds)                         \
     :: else -> assert(name)            \
     fi                                 \
  :: else                               \
  fi

/* INVARIANT(name): declares one. The variable is never set: an assertion on it fails by its name. */
#define INVARIANT(name)                                                          \
  hidden byte name;                                                              \
  c_decl {                                                                       \
    static unsigned long asked_##name;                                           \
    static void __attribute__((destructor)) tell_##name(void) {                  \
      printf("asked " #name " %lu\n", asked_##name);                             \
    }                                                                            \
  }

inline make(p) {
  made++;
  parent[made] = p;
  seq[made] = seq[p] + 1
}

inline accept(whose, latest) {
  whose.head = latest;
  whose.taken = whose.taken | bit(latest);
  i_ = 1;
  do
  :: i_ <= made ->
     if
     :: has(whose.ahead, i_) && seq[i_] < seq[latest] -> whose.ahead = whose.ahead & ~bit(i_)
     :: else
     fi;
     i_++
  :: else -> break
  od;
  if
  :: seq[latest] >= whose.suspect -> whose.suspect = 0
  :: else
  fi
}

#ifdef NO_FIRST_OCCURRENCE
#define repeated(set, r) false
#else
#define repeated(set, r) has(set, r)
#endif

/* Judges record r; took_ says whether it was accepted. Corrupt records, steps 1 and 3, are left out. */
inline offer(reader, record) {
  took_ = false;
  if
  :: seq[record] <= seq[reader.head] -> /* 2 */
     if
     :: seq[record] == seq[reader.head] && record != reader.head -> reader.ahead = reader.ahead | bit(record)
     :: else
     fi
  :: else ->
     if
     :: repeated(reader.ahead, record) /* 4 */
     :: else ->
        if
        :: parent[record] == reader.head -> accept(reader, record); took_ = true /* 5 */
        :: else -> /* 6 */
           if
           :: !has(reader.ahead, parent[record]) && seq[record] > reader.suspect -> reader.suspect = seq[record]
           :: else
           fi;
           reader.ahead = reader.ahead | bit(record)
        fi
     fi
  fi
}
