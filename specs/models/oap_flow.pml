/*
 * Flow control of one OAP/1 connection: specs/oap-1.md section 4. How to run it, what it leaves out and
 * which line stands for which sentence: README.md beside it. [n] below is the row of the table there.
 *
 * Streams: A and B are uploads with windows, U is one without, D is a download with a window. The model
 * begins where the node has read their STARTs. One unit is one chunk, whatever its bytes.
 */

#ifndef ACK
#define ACK 2             /* ack_window, in units */
#endif
#ifndef CONN
#define CONN 3            /* conn_window */
#endif
#ifndef BUFFER
#define BUFFER 2          /* the buffer of a stream without windows */
#endif
#ifndef BODY
#define BODY 3            /* units of the body of A and of B: more than a window */
#endif
#ifndef PLAIN
#define PLAIN 3           /* of U: more than the buffer */
#endif
#ifndef ANSWER
#define ANSWER 3          /* of D: more than a window */
#endif
#ifndef WIRE
#define WIRE 1            /* frames that are under way in one direction; then writing blocks */
#endif
#define CONTROL 1         /* errors and echoes that may wait for a full transport */

#define A 0
#define B 1
#define U 2
#define D 3
#define ALL 4             /* corr_id 0, the connection */
#define windowed(s) (s < U)

mtype = { DATA, END, CANCEL, CREDIT, PING, DONE, PONG };                 /* frames; DONE is a terminal frame */
mtype = { SERVE, EARLY, STOPS };                                         /* what becomes of a stream */
mtype = { ASKING, ASKED, GIVEN_UP, OVER };                               /* a stream at the caller */
mtype = { OPEN, WHOLE, OWED, CLOSED };                                   /* and at the node */

chan up = [WIRE] of { mtype, byte, byte };                               /* caller to node: frame, stream, up_to */
chan down = [WIRE] of { mtype, byte, byte };                             /* node to caller */

typedef Outflow { byte sent; byte credited }
typedef Inflow { byte received; byte taken; byte credited }
typedef Answer { byte received; byte credited }

/* Chosen once: else a stream that is stuck could always be ended, and would never show. */
mtype fate[4];            /* SERVE: to its end. EARLY: the node ends it, any time. STOPS: nobody takes, from some time on */
bool cancels[4];          /* the caller gives it up, any time */

mtype caller[4];
Outflow out[3];           /* bodies of requests, as the caller counts them */
Outflow out_all;
Answer answer;            /* D */
bool all_answered;        /* D: all of it came */
bool asked_ping;

mtype node[4];
Inflow in[3];             /* of U: received and taken only */
Inflow in_all;
Outflow answered;         /* D */
bool stopped[4];          /* STOPS has begun: the owner of an upload, the consumer of D */
bool late[2];             /* ended before its request: remembered */
bool dropped;             /* dropped bytes wait to be credited */
bool pong_due;
bool paused;              /* the node does not read */
bool served[2];           /* the owner had all of it */
bool failed;              /* by a connection error */

hidden mtype kind;
hidden byte id;
hidden byte up_to;

#define half(window) ((window) < 2 -> 1 : (window) / 2)
#define held(s) (in[s].received - in[s].taken)
#define is_open(s) (node[s] == OPEN || node[s] == WHOLE)
#define room(flow, window) (flow.sent - flow.credited < window)

/* [8] What is due: what was taken, at the latest when half of the window is used. Asked anew after each
   event: what came for one stream may make due what another one's owner took before. */
#ifdef HALF_OF_TAKEN
#define due(flow, window) (flow.taken - flow.credited >= half(window))
#else
#define due(flow, window) (flow.taken > flow.credited && flow.received - flow.credited >= half(window))
#endif
#define due_all (in_all.taken > in_all.credited && (dropped || due(in_all, CONN)))
#define due_stream(s) (windowed(s) && node[s] == OPEN && due(in[s], ACK))

#define waiting ((node[A] == OWED) + (node[B] == OWED) + (node[U] == OWED) + (node[D] == OWED) + pong_due)
/* More may not wait: no further frame is handled (section 3). */
#define uncrowded (nfull(down) || waiting <= CONTROL)
/* What can be said is said before anything else happens; only a full transport makes it wait. */
#define said ((waiting == 0 && !due_all && !due_stream(A) && !due_stream(B)) || full(down) || failed)

/* The bytes of a stream that is over are dropped, and credited to the connection at once. [10] */
inline drop(size) {
#ifdef DROPPED_NOT_CREDITED
    skip
#else
#ifdef DROPPED_CREDITED_TWICE
    in_all.taken = in_all.taken + size;
#endif
    in_all.taken = in_all.taken + size;
    dropped = dropped || size > 0
#endif
}

/* The node ends a stream; its terminal frame is owed. Its request may still come: remember. [11] */
inline end_stream(s, asking) {
    if
    :: s == D -> answered.sent = 0; answered.credited = 0
    :: s == U ->
        in[U].received = 0; in[U].taken = 0;
        paused = false
    :: else ->
        drop(held(s));
#ifndef ENDED_NOT_REMEMBERED
        late[s] = asking;
#endif
        in[s].received = 0; in[s].taken = 0; in[s].credited = 0
    fi;
    node[s] = OWED
}

/* A conforming caller never comes here: see the assertion. [7] */
inline violated() {
#ifndef ROGUE
    assert(false)
#else
    skip
#endif
}

inline fail_connection() {
    violated();
    failed = true;
    paused = false;
    dropped = false;
    in[A].received = 0; in[A].taken = 0;
    in[B].received = 0; in[B].taken = 0;
    in[U].received = 0; in[U].taken = 0
}

/* ---- the caller ---- */

#ifdef ROGUE
#define may_send(s) true
#else
#define may_send(s) (!windowed(s) || (room(out[s], ACK) && room(out_all, CONN)))       /* [6] */
#endif
#define length(s) (s == U -> PLAIN : BODY)

/* Writes the request of one upload. */
proctype asks(byte s) {
end:
    do
    :: d_step { said && caller[s] == ASKING && out[s].sent < length(s) && may_send(s) && nfull(up) ->
        out[s].sent++;
        if :: windowed(s) -> out_all.sent++ :: else fi;
        up!DATA, s, 0 }
    :: d_step { said && caller[s] == ASKING && out[s].sent == length(s) && nfull(up) ->
        caller[s] = ASKED;
        up!END, s, 0 }
    :: d_step { said && cancels[s] && (caller[s] == ASKING || caller[s] == ASKED) && nfull(up) ->
        caller[s] = GIVEN_UP;
        up!CANCEL, s, 0 }
    od
}

/* Takes the answer of D, and gives credit for it. It takes all that came, when it takes. */
active proctype takes() {
end:
    do
    :: d_step { said && caller[D] == ASKED && !stopped[D] && answer.received - answer.credited >= half(ACK) && nfull(up) ->
        answer.credited = answer.received;
        up!CREDIT, D, answer.received }
    :: d_step { said && caller[D] == ASKED && !stopped[D] && fate[D] == STOPS -> stopped[D] = true }
    :: d_step { said && caller[D] == ASKED && cancels[D] && nfull(up) ->
        caller[D] = GIVEN_UP;
        up!CANCEL, D, 0 }
    od
}

#ifdef PINGS
active proctype pings() {
end:
    if
    :: d_step { said && nfull(up) -> asked_ping = true; up!PING, ALL, 0 }
    fi
}
#endif

/* Reads, whatever becomes of its writing. */
active proctype hears() {
end:
    do
    :: d_step { said && nempty(down) ->
        down?kind, id, up_to;
        if
        :: kind == DATA ->
            assert(caller[D] != OVER);
            answer.received++;
            assert(answer.received - answer.credited <= ACK)                            /* [5] */
        :: kind == CREDIT && id == ALL ->
            assert(out_all.credited <= up_to && up_to <= out_all.sent);                 /* [3] */
            out_all.credited = up_to
        :: kind == CREDIT && id != ALL ->
            if
            :: caller[id] == OVER                                                       /* [4] */
            :: else ->
                assert(out[id].credited <= up_to && up_to <= out[id].sent);             /* [3] */
                out[id].credited = up_to
            fi
        :: kind == DONE ->
            assert(caller[id] != OVER);
            caller[id] = OVER;
            if
            :: id == D -> all_answered = answer.received == ANSWER; answer.received = 0; answer.credited = 0
            :: else -> out[id].sent = 0; out[id].credited = 0
            fi
        :: kind == PONG -> asked_ping = false
        fi;
        kind = 0; id = 0; up_to = 0 }
    od
}

/* ---- the node ---- */

inline receive_data(s) {
    if
    :: s == U && is_open(U) ->
        in[U].received++;
        assert(held(U) <= BUFFER);                                                      /* [1] */
        paused = held(U) == BUFFER
    :: s == U && !is_open(U) -> skip                                                    /* [2] */
    :: windowed(s) && is_open(s) && in_all.received - in_all.credited >= CONN ->
#ifdef UNCHECKED
        in_all.received++; in[s].received++
#else
        fail_connection()
#endif
    :: windowed(s) && is_open(s) && in_all.received - in_all.credited < CONN ->
        in_all.received++;
        in[s].received++;
        if
#ifndef UNCHECKED
        :: in[s].received - in[s].credited > ACK ->
            violated();
            end_stream(s, true)
#endif
        :: else ->
#ifdef WINDOWED_PAUSES
            paused = held(s) == ACK
#else
            skip                                                                        /* [9] */
#endif
        fi
    :: windowed(s) && !is_open(s) && late[s] ->
        if
        :: in_all.received - in_all.credited >= CONN -> fail_connection()
        :: else ->
            in_all.received++;
            drop(1)                                                                     /* [10] */
        fi
    :: windowed(s) && !is_open(s) && !late[s] ->
#ifdef ENDED_NOT_REMEMBERED
        skip
#else
        assert(false)                                                                   /* [11] */
#endif
    fi;
    assert(held(A) <= ACK && held(B) <= ACK && held(A) + held(B) <= CONN)               /* [7] */
}

active proctype reads() {
end:
    do
    :: d_step { said && !paused && uncrowded && !failed && nempty(up) ->                         /* [14] */
        up?kind, id, up_to;
        if
        :: kind == DATA -> receive_data(id)
        :: kind == END ->
            if
            :: node[id] == OPEN -> node[id] = WHOLE
            :: else -> if :: windowed(id) -> late[id] = false :: else fi
            fi
        :: kind == CANCEL ->
            if
            :: is_open(id) -> end_stream(id, false)
            :: else -> if :: windowed(id) -> late[id] = false :: else fi
            fi
        :: kind == CREDIT ->
            if
            :: is_open(D) ->
                assert(answered.credited <= up_to && up_to <= answered.sent);           /* [3] */
                answered.credited = up_to
            :: else                                                                     /* [4] */
            fi
        :: kind == PING -> pong_due = true
        fi;
        kind = 0; id = 0; up_to = 0 }
    od
}

/* The owner of an upload: takes unit by unit, and answers when it has all. */
proctype owns(byte s) {
end:
    do
    :: d_step { said && is_open(s) && !failed && !stopped[s] && held(s) > 0 ->
        in[s].taken++;
        if
        :: windowed(s) -> in_all.taken++
#ifdef WINDOWED_PAUSES
            ; paused = false
#endif
        :: else -> paused = false
        fi }
    :: d_step { said && node[s] == WHOLE && !failed && !stopped[s] && held(s) == 0 ->
        if :: windowed(s) -> served[s] = in[s].taken == BODY :: else fi;
        end_stream(s, false) }
    :: d_step { said && fate[s] == EARLY && is_open(s) && !failed -> end_stream(s, node[s] == OPEN) }    /* [12] */
    :: d_step { said && fate[s] == STOPS && is_open(s) && !stopped[s] && held(s) > 0 -> stopped[s] = true }
    :: d_step { said && node[s] == WHOLE && !failed && stopped[s] -> end_stream(s, false) }              /* owner_timeout */
    od
}

/* Writes what is owed about one stream: its terminal frame, and CREDIT. */
proctype says(byte s) {
end:
    do
    :: d_step { node[s] == OWED && !failed && nfull(down) -> node[s] = CLOSED; down!DONE, s, 0 }
    :: d_step { s != D && due_stream(s) && !failed && nfull(down) ->
        in[s].credited = in[s].taken;
        down!CREDIT, s, in[s].taken }
    od
}

active proctype says_all() {
end:
    do
    :: d_step { due_all && !failed && nfull(down) ->
        in_all.credited = in_all.taken;
        dropped = false;
        down!CREDIT, ALL, in_all.taken }
    :: d_step { pong_due && !failed && nfull(down) -> pong_due = false; down!PONG, ALL, 0 }
    od
}

/* The answer of D. */
active proctype answers() {
end:
    do
    :: d_step { said && is_open(D) && !failed && answered.sent < ANSWER && room(answered, ACK) && nfull(down) ->
        answered.sent++;                                                                         /* [5] */
        down!DATA, D, 0 }
    :: d_step { said && is_open(D) && !failed && answered.sent == ANSWER -> end_stream(D, false) }
    :: d_step { said && is_open(D) && !failed && fate[D] == EARLY -> end_stream(D, false) }
    od
}

/* Deadlines: as soon as their time could have come they may pass, and if nothing else happens they do. */
active proctype deadlines() {
end:
    do
#ifndef NO_STALL
    :: d_step { said && paused && is_open(U) && held(U) == BUFFER -> end_stream(U, node[U] == OPEN) }    /* [2] */
#endif
#ifndef NO_WRITE_STALL
    /* write_stall: only where the caller is to blame, so that it does not hide credit that got lost. [13] */
    :: d_step { said && is_open(D) && stopped[D] && !paused && !failed && answered.sent < ANSWER && !room(answered, ACK) ->
        end_stream(D, false) }
#endif
#ifdef OWNER_STALL
    /* Without it, an owner that takes nothing keeps its stream open for ever: the worst for the others. */
    :: d_step { said && node[A] == OPEN && stopped[A] && !failed -> end_stream(A, true) }
    :: d_step { said && node[B] == OPEN && stopped[B] && !failed -> end_stream(B, true) }
#endif
    od
}

/* ---- what has to hold in the end ---- */

#ifdef OWNER_STALL
#define settled(s) (caller[s] == OVER && node[s] == CLOSED)
#else
#define settled(s) ((caller[s] == OVER && node[s] == CLOSED) || (windowed(s) && stopped[s] && node[s] == OPEN))
#endif
#define all_settled (settled(A) && settled(B) && settled(U) && settled(D))
#define at_rest (empty(up) && empty(down) && !due_all && !due_stream(A) && !due_stream(B) && !paused && !asked_ping)

/* Whoever is stuck leaves this one waiting: an invalid end state. */
active proctype judge() {
    if
    :: d_step { failed -> skip }
    :: d_step { all_settled && at_rest && !failed ->
        /* No credit is lost: what is not free is held for an owner that stopped, or not due yet. */
        assert(in_all.received == out_all.sent && in_all.credited == out_all.credited);
        assert(in_all.received - in_all.taken == held(A) + held(B));
#ifndef HALF_OF_TAKEN
        assert(in_all.taken == in_all.credited || in_all.received - in_all.credited < half(CONN));
#endif
        assert(held(U) == 0);
#ifndef ROGUE
        /* Nobody else is harmed: whoever is served gets all. */
        assert(fate[B] != SERVE || cancels[B] || served[B]);
#ifndef NO_A
        assert(fate[A] != SERVE || cancels[A] || served[A]);
#endif
#endif
#ifndef NO_D
        assert(fate[D] != SERVE || cancels[D] || all_answered);
#endif
        skip }
    fi
}

inline choose(s) {
    if
    :: fate[s] = SERVE
    :: fate[s] = SERVE; cancels[s] = true
    :: fate[s] = EARLY
    :: fate[s] = STOPS
    :: fate[s] = STOPS; cancels[s] = true
    fi
}

init {
    atomic {
        caller[A] = ASKING; caller[B] = ASKING; caller[U] = ASKING; caller[D] = ASKED;
        node[A] = OPEN; node[B] = OPEN; node[U] = OPEN; node[D] = WHOLE;
        fate[A] = SERVE; fate[B] = SERVE; fate[U] = SERVE; fate[D] = SERVE;
#ifdef TROUBLE_A
        choose(A);
#endif
#ifdef STUCK_A
        fate[A] = STOPS; stopped[A] = true;
#endif
#ifdef TROUBLE_B
        choose(B);
#endif
#ifdef TROUBLE_U
        choose(U);
#endif
#ifdef TROUBLE_D
        choose(D);
#endif
#ifdef NO_A
        caller[A] = OVER; node[A] = CLOSED;
#endif
#ifdef NO_U
        caller[U] = OVER; node[U] = CLOSED;
#endif
#ifdef NO_D
        caller[D] = OVER; node[D] = CLOSED;
#endif
        run asks(A); run asks(B); run asks(U);
        run owns(A); run owns(B); run owns(U);
        run says(A); run says(B); run says(U); run says(D)
    }
}

#ifdef LTL
ltl pause_ends { [] (paused -> <> !paused) }
ltl heard { [] (asked_ping -> <> !asked_ping) }
ltl ends { <> all_settled }
#endif
