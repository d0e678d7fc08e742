/*
 * Calls in line for permits, reloads that change how many there are, and a drain with its deadlines:
 * micronode/concurrency/backpressure.py, calls/dispatcher.py and concurrency/shutdown.py. How to run it, what
 * it leaves out and which line stands for which code: README.md beside it. [n] below is the row of the table
 * there.
 *
 * Callers 0 and 1 call facet F, caller 2 facet G (or all F: ONE_FACET); both gates are within the node's. The
 * node is one thread: whatever it does in one turn is one d_step.
 */

#ifndef NODE
#define NODE 2            /* permits of the node */
#endif
#ifndef QUEUE
#define QUEUE 1           /* how many may wait for a facet */
#endif
#ifndef RELOADS
#define RELOADS 2         /* how often the limit of F changes: between 1 and 2 */
#endif
#define CALLERS 3
#define G_LIMIT 1

#ifdef ONE_FACET
#define facet(c) 0        /* all call F */
#else
#define facet(c) (c / 2)  /* 0: F, 1: G */
#endif

mtype = { AWAY, WAITING, AT_WORK, LETTING_GO, OVER };
mtype = { SERVING, GRACE, CLOSING, FINISHING, ABORTING, RELEASING, STOPPED };

mtype call[CALLERS];      /* AWAY: not asked yet. LETTING_GO: cancelled, and its owner still holds it */
mtype phase = SERVING;
bool gone[CALLERS];       /* the caller has left */
bool told[CALLERS];       /* the caller has its answer, whichever */
bool slow[CALLERS];       /* the owner answers only when it is cancelled */
bool stays[CALLERS];      /* the caller never leaves */
bool drain_comes = true;
bool stubborn[CALLERS];   /* and not even then before the node has stopped */
byte came[CALLERS];       /* the number of its arrival in the line */
byte arrivals = 0;
byte limit[2];
byte in_use[2];           /* permits of F and G that are out; of the node as many as both */
byte waiting[2];
byte reloads = 0;
bool refusing = false;    /* no call is taken any more */
bool hurried = false;
byte ended[CALLERS];       /* how often it ended: for the assertions alone */
byte c, first, best;      /* of d_steps; 0 in between, so that they are no state */

#define all_in_use (in_use[0] + in_use[1])
#define room(f) (in_use[f] < limit[f] && all_in_use < NODE)
#define at_work(x) (call[x] == AT_WORK || call[x] == LETTING_GO)
#define left (at_work(0) || at_work(1) || at_work(2) || call[0] == WAITING || call[1] == WAITING || call[2] == WAITING)
#define draining (phase != SERVING)

/* The call is over: its permit is given back, and its caller knows. */
inline finish(x) {
    assert(!ended[x]);                                                                   /* [1] */
    ended[x]++;
    assert(gone[x] || told[x]);                                                         /* [2] */
    call[x] = OVER
}

/* Let in who came first of those for whom there is room, as long as there is any. */
inline pass_on() {
    do
    :: true ->                                                                          /* [3] */
        best = CALLERS;
        c = 0;
        do
        :: c < CALLERS && call[c] == WAITING && room(facet(c)) && (best == CALLERS || came[c] < came[best]) ->
            best = c; c++
        :: c < CALLERS && !(call[c] == WAITING && room(facet(c)) && (best == CALLERS || came[c] < came[best])) ->
            c++
        :: c == CALLERS -> break
        od;
        if
        :: best == CALLERS -> break
        :: else ->
            assert(!refusing);                                                          /* [4] */
            in_use[facet(best)]++;
            waiting[facet(best)]--;
            call[best] = AT_WORK
        fi
    od;
    c = 0; best = 0
}

inline release(x) {
#ifdef DOUBLE_RELEASE
    /* Who left gives his permit back, and so does the end of his call. */
    if
    :: gone[x] && in_use[facet(x)] > 1 -> in_use[facet(x)] = in_use[facet(x)] - 2
    :: else -> in_use[facet(x)]--
    fi;
#else
#ifdef SHRINK_LOSES
    /* A permit beyond the limit is not given back. */
    if
    :: in_use[facet(x)] > limit[facet(x)] -> skip
    :: else -> in_use[facet(x)]--
    fi;
#else
    in_use[facet(x)]--;                                                                 /* [5] */
#endif
#endif
#ifndef RELEASE_FORGETS
    pass_on()
#else
    skip
#endif
}

/* The owner of a call is let go of: at once, or when it pleases. */
inline cancel(x) {
    if
    :: stubborn[x] -> call[x] = LETTING_GO
    :: else -> finish(x); release(x)                                                       /* [6] */
    fi
}

inline leave_line(x) {
    waiting[facet(x)]--;
    finish(x)
}

/* What has to hold after each turn. */
#define works(x, f) (facet(x) == f && at_work(x))
#define waits(x, f) (facet(x) == f && call[x] == WAITING)
#define conserved(f) (in_use[f] == works(0, f) + works(1, f) + works(2, f))             /* [7] */
#define counted(f) (waiting[f] == waits(0, f) + waits(1, f) + waits(2, f))
#define served_in_time (!(waiting[0] && room(0)) && !(waiting[1] && room(1)))           /* [8] */

inline check() {
    assert(conserved(0) && conserved(1));
    assert(counted(0) && counted(1));
    assert(served_in_time)
}

/* ---- a caller, and its owner ---- */

proctype calls(byte x) {
end:
    do
    :: d_step { call[x] == AWAY && phase != STOPPED ->                                  /* it asks */
        if
        :: room(facet(x)) && !waiting[facet(x)] && !refusing ->
            in_use[facet(x)]++; call[x] = AT_WORK                                       /* [9] */
#ifdef ADMITS_LATE
        :: room(facet(x)) && !waiting[facet(x)] && refusing ->
            assert(!refusing);                                                          /* [4] */
            in_use[facet(x)]++; call[x] = AT_WORK
#endif
        :: !(room(facet(x)) && !waiting[facet(x)]) && waiting[facet(x)] < QUEUE && !refusing ->
            came[x] = arrivals; arrivals++; waiting[facet(x)]++; call[x] = WAITING      /* [10] */
        :: else -> told[x] = true; finish(x)                                               /* [11] */
        fi;
        check() }
    :: d_step { (call[x] == WAITING || call[x] == AT_WORK) && !gone[x] && !stays[x] ->               /* it leaves */
        gone[x] = true;
        if
        :: call[x] == WAITING -> leave_line(x)                                          /* [12] */
        :: call[x] == AT_WORK -> cancel(x)
        fi;
        check() }
    :: d_step { call[x] == AT_WORK && !slow[x] ->                                       /* its owner answers */
        told[x] = true; finish(x); release(x); check() }
    :: d_step { call[x] == LETTING_GO && phase == STOPPED -> finish(x); release(x); check() }
    od
}

/* Nobody waits longer than his deadline, and who works has one of his own. */
active proctype deadlines() {
end:
    do
#ifndef NO_DEADLINE
    :: d_step { call[0] == WAITING -> told[0] = true; leave_line(0); check() }          /* [13] */
    :: d_step { call[1] == WAITING -> told[1] = true; leave_line(1); check() }
    :: d_step { call[2] == WAITING -> told[2] = true; leave_line(2); check() }
#else
    :: false -> skip
#endif
    od
}

/* ---- a reload: another limit for F, at any time before the drain ---- */

active proctype reloader() {
end:
    do
    :: d_step { reloads < RELOADS && !draining ->                                       /* [14] */
        reloads++;
        limit[0] = 3 - limit[0];                                                        /* [15] */
#ifndef RELOAD_FORGETS
        pass_on();
#endif
        check() }
    od
}

/* ---- the drain ---- */



active proctype drains() {
end:
    d_step { drain_comes -> phase = GRACE };
    d_step { phase == GRACE -> phase = CLOSING };                                       /* [16] time passed, or haste */
    d_step { phase == CLOSING -> phase = FINISHING };
    if
    :: d_step { !left -> refusing = true; phase = RELEASING }                           /* [17] nothing left */
#ifndef NO_DRAIN_DEADLINE
    :: d_step { true ->                                                                 /* [18] time passed, or haste */
        phase = ABORTING;
        refusing = true;                                                                /* [19] */
#ifndef DRAIN_FORGETS_LINE
        c = 0;
        first = 0;
        do
        :: first < CALLERS ->
            if
            :: call[first] == WAITING -> told[first] = true; leave_line(first)          /* [20] */
            :: else -> skip
            fi;
            first++
        :: first == CALLERS -> break
        od;
#endif
#ifndef DRAIN_FORGETS_CALLS
        first = 0;
        do
        :: first < CALLERS ->
            if
            :: call[first] == AT_WORK ->
                if :: gone[first] -> skip :: else -> told[first] = true fi;
                cancel(first)                                                           /* [21] */
            :: else -> skip
            fi;
            first++
        :: first == CALLERS -> break
        od;
#endif
        first = 0;
        check() };
        d_step { phase == ABORTING -> phase = RELEASING }
#endif
    fi;
    d_step { phase == RELEASING ->                                                      /* [22] */
        phase = STOPPED;
        /* What is left now are owners that do not let go. */
        assert(call[0] != AT_WORK && call[1] != AT_WORK && call[2] != AT_WORK);
        assert(call[0] != WAITING && call[1] != WAITING && call[2] != WAITING) }
}

/* ---- what has to hold in the end ---- */

/* An answer may go on for as long as its caller stays and no drain comes; nothing else may. */
#define goes_on(x) (call[x] == AT_WORK && slow[x] && stays[x] && !drain_comes)
#define held(x) (call[x] == LETTING_GO && stubborn[x] && !drain_comes)
#define over(x) (call[x] == OVER || call[x] == AWAY || goes_on(x) || held(x))

/* Whoever is stuck leaves this one waiting: an invalid end state. */
active proctype judge() {
    d_step { (phase == STOPPED || !drain_comes) && over(0) && over(1) && over(2) ->
        assert(!waiting[0] && !waiting[1]);
        assert(!drain_comes || all_in_use == 0);
        assert(ended[0] == (call[0] == OVER) && ended[1] == (call[1] == OVER) && ended[2] == (call[2] == OVER)) }
}

init {
    atomic {
        call[0] = AWAY; call[1] = AWAY; call[2] = AWAY;
        limit[0] = 1; limit[1] = G_LIMIT;
#ifdef TROUBLE
        /* Owners may never answer, some not even when they are cancelled; callers may stay whatever happens. */
        if :: slow[0] = true :: slow[0] = true; stubborn[0] = true :: skip fi;
        if :: slow[1] = true :: skip fi;
        if :: slow[2] = true :: skip fi;
        if :: stays[0] = true :: skip fi;
        if :: stays[1] = true :: skip fi;
        if :: stays[2] = true :: skip fi;
        if :: drain_comes = false :: skip fi;
#endif
        run calls(0); run calls(1); run calls(2)
    }
}

#ifdef LTL
ltl stops { [] (draining -> <> (phase == STOPPED)) }
ltl decided { [] (call[1] == WAITING -> <> (call[1] != WAITING)) }
ltl ends { [] (call[0] == AT_WORK && !slow[0] -> <> (call[0] == OVER)) }
#endif
