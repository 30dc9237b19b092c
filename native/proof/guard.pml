/* P15: at most one process sends. Gateways, guard and their two locks, every interleaving.
 *
 * `state`, `peer`, `next`, `fenced` are the fields of struct guard; each step of the guard here is one function of native/guard
 * (guard_hello, guard_config, goodbye, guard_step with watch, fence and has_ended, systemd_take_back), each step of a gateway one of
 * edge/core/guard.py and core.py; guard.c proves of the C functions what the steps here do. `sender` is the lock in each gateway's
 * arena (core/sender.h): its cycle holds it while it runs, the guard while it sends for it; the kernel takes it from the dead. `lock` is
 * the file's that a gateway holds from its start to its end (GuardLink._hold, guard_systemd.c).
 *
 * Time is left out: a guard may find any gateway silent whenever it looks, and any answer may come too late. Three gateways are started
 * whenever anybody likes, also at the same time; all are frozen (SIGSTOP) and killed at any moment, a kill takes effect later, the
 * cycle's thread dies before its process; the guard is frozen, killed and started again, with what systemd kept for it or without. */
#define GATEWAYS 3
#define GUARD    4
#define NOBODY   0

mtype = { idle, armed, watching, fencing, sending, hello, config, bye, good, refused }

mtype state = idle;
byte peer = NOBODY, next = NOBODY, fenced = NOBODY; /* boot_ids: gateways are numbered from 1 */
byte kept = NOBODY;                                 /* systemd's descriptor store */
byte lock = NOBODY, sender[5];
bool up = true, guard_frozen = false;

bool born[5], alive[5], frozen[5];
bool cycle[5];              /* its cycle thread runs: frames go out */
bool dying[5];              /* its threads have ended, the process has not */
bool connected[5];          /* its line to the guard */
mtype request[5], answer[5]; /* one message each way; 0: none */

#define SENDS(b) (alive[b] && cycle[b])
#define CHECK    assert((up && state == sending) + SENDS(1) + SENDS(2) + SENDS(3) <= 1)
#define RUNS     (alive[b] && !dying[b] && !frozen[b])
#define ENDED(b) (!alive[b])

inline leave(b) {
    cycle[b] = false;
    sender[b] = (sender[b] == b -> NOBODY : sender[b])
}

inline end(b) {
    leave(b); alive[b] = false; dying[b] = false; frozen[b] = false; connected[b] = false; request[b] = 0; answer[b] = 0;
    lock = (lock == b -> NOBODY : lock)
}

/* v2g_cycle_start; the cycle's thread takes the sender's lock or ends (run in cycle.c). */
inline begin(b) {
    if
    :: cycle[b] -> skip
    :: !cycle[b] && sender[b] == NOBODY -> sender[b] = b; cycle[b] = true; CHECK
    :: !cycle[b] && sender[b] != NOBODY -> end(b)
    fi
}

proctype gateway(byte b) {
    bool greeted = false;
    do
    :: atomic { RUNS && lock == NOBODY -> lock = b }                      /* _hold */
    :: atomic { RUNS && lock != NOBODY && lock != b -> end(b) }           /* CoreError: another gateway is running */
    :: atomic { RUNS && lock == b && !connected[b] && !up -> begin(b) } /* _connect: nobody listens */
    :: atomic { RUNS && lock == b && !connected[b] && up -> /* _connect; keep_guard connects again when the line was lost */
           connected[b] = true; greeted = false; answer[b] = 0; request[b] = hello }
    :: atomic { RUNS && answer[b] == good && !greeted -> greeted = true; answer[b] = 0; request[b] = config }
    :: atomic { RUNS && answer[b] == good && greeted -> answer[b] = 0; begin(b) } /* acknowledge: True */
    :: atomic { RUNS && (answer[b] == refused || request[b] != 0) -> /* refused, or no answer in time */
           if
           :: !cycle[b] -> end(b)                                         /* CoreError: it does not start */
           :: cycle[b] -> connected[b] = false; request[b] = 0; answer[b] = 0 /* keep: tried again later */
           fi }
    :: atomic { RUNS && connected[b] && cycle[b] && request[b] == 0 -> request[b] = bye } /* Core.stop: goodbye, */
    :: atomic { RUNS && cycle[b] -> end(b) }                                            /* then the cycle ends */
    :: atomic { ENDED(b) -> break }
    od
}

inline stand_down() {
    sender[peer] = (sender[peer] == GUARD -> NOBODY : sender[peer]);
    state = idle; peer = NOBODY; next = NOBODY
}

/* run() of v2g_guard.c: one message or one step at a time. */
active proctype guard() {
    byte b;
    do
    :: atomic { up && !guard_frozen && (request[1] != 0 || request[2] != 0 || request[3] != 0) ->
           if
           :: request[1] != 0 -> b = 1
           :: request[2] != 0 -> b = 2
           :: request[3] != 0 -> b = 3
           fi;
           if
           :: request[b] == hello -> /* guard_hello */
                  if
                  :: b == fenced -> answer[b] = refused
                  :: b != fenced && (state == sending || state == fencing) -> next = b; answer[b] = good
                  :: b != fenced && state != sending && state != fencing ->
                         if
                         :: peer != b -> state = idle; peer = b
                         :: else -> skip
                         fi;
                         answer[b] = good
                  fi
           :: request[b] == config -> /* guard_config; then systemd_keep */
                  if
                  :: state == sending && next == b ->
                         sender[peer] = (sender[peer] == GUARD -> NOBODY : sender[peer]);
                         peer = b; next = NOBODY; state = armed; kept = b; answer[b] = good
                  :: state != sending && state != fencing && peer == b ->
                         state = (state == idle -> armed : state); kept = b; answer[b] = good
                  :: else -> answer[b] = refused
                  fi
           :: request[b] == bye && (state == sending || state == fencing) -> skip
           :: request[b] == bye && state != sending && state != fencing -> state = idle; peer = NOBODY; kept = NOBODY /* goodbye */
           fi;
           request[b] = 0; b = 0 }
    :: atomic { up && !guard_frozen && state == armed -> state = watching } /* watch: it beats */
    :: atomic { up && !guard_frozen && (state == armed || state == watching) -> /* watch: silent or gone; fence */
           fenced = peer; state = fencing } /* the kill takes effect when the world ends it */
    :: atomic { up && !guard_frozen && state == fencing && sender[peer] == NOBODY -> /* guard_step: sender_take */
           sender[peer] = GUARD; state = sending; CHECK }
    od
}

/* Signals, ends, the service manager. */
active proctype world() {
    byte b;
    do
    :: atomic { !born[1] -> born[1] = true; alive[1] = true; run gateway(1) }
    :: atomic { born[1] && !born[2] -> born[2] = true; alive[2] = true; run gateway(2) }
    :: atomic { born[2] && !born[3] -> born[3] = true; alive[3] = true; run gateway(3) }
    :: atomic { select (b : 1 .. GATEWAYS); /* somebody ends it, or it ends */
           if
           :: alive[b] -> end(b)
           :: alive[b] && !dying[b] -> dying[b] = true; leave(b)
           :: alive[b] && !dying[b] -> frozen[b] = !frozen[b]
           :: else -> skip
           fi;
           b = 0 }
    :: guard_frozen = !guard_frozen
    :: atomic { up -> up = false; stand_down(); fenced = NOBODY; guard_frozen = false; /* killed: its lines are cut */
           for (b : 1 .. GATEWAYS) { connected[b] = false; request[b] = 0; answer[b] = 0 }
           b = 0 }
    :: atomic { !up -> up = true; /* systemd_take_back: hello and config of what was kept */
           if
           :: kept != NOBODY && !(ENDED(kept) && lock != NOBODY) -> peer = kept; state = armed /* another_runs: not */
           :: true -> skip
           fi }
    od
}
