/* v2g_runtime.h – the data sheet of what runs round the core: the shared arena, the CAN tables, the cycle thread.
 *
 * One sealed memfd, the arena, holds everything that crosses a thread or process boundary. Each part has exactly one writer:
 *
 *     Python → cycle    commit, plan        wait-free triple buffers; the cycle copies privately, checks CRC and ranges
 *     cycle → Python    snapshot            seqlock
 *     cycle → Python    events, histograms  single-producer ring that counts what it drops; counters
 *     cycle → guard     heartbeat           advanced once the frames of a cycle were really sent
 *     cycle ↔ guard     sender              a lock: whoever holds it may send
 *     guard → cycle     guard               which config the guard knows, and when it last looked
 *     Modbus ↔ cycle    cell, write_cell    v2g_cell.h
 *
 * Signs, units and rounding as in v2g.h. This header is also the cdef of the Python binding: constants are enums, tables hold
 * integers and indices only.
 */

/* The columns of a data sheet are set by hand. */
/* clang-format off */
#ifndef V2G_RUNTIME_H
#define V2G_RUNTIME_H

#ifndef V2G_CDEF
#include <stddef.h>
#include <stdint.h>
#endif

#include "v2g.h"
#include "v2g_cell.h"
#include "v2g_modbus.h"
#include "v2g_rtu.h"
#include "v2g_site.h"

enum {
    V2G_RUNTIME_ABI = 2, /* raised with every change of a layout below */

    V2G_MAX_BUSES = 16,
    V2G_CAN_MAX_LAYOUTS = 64,
    V2G_CAN_MAX_SIGNALS = 512,
    V2G_CAN_MAX_RX = 2048,
    V2G_CAN_MAX_TX = 512,
    V2G_CAN_MAX_BYTES = 64,
    V2G_CAN_MAX_LISTS = 64, /* data identifier lists of E2E profile 2 */
    V2G_CAN_MAX_BITS = 32,  /* of one signal */
    V2G_CAN_MAX_SHIFT = 40,

    V2G_MAX_CELLS = 4096,   /* two banks: a reload fills the one that is not in use */
    V2G_MAX_WRITE_CELLS = 2048, /* two banks too */
    V2G_MAX_INPUTS = 2048,  /* cells that the cycle reads */
    V2G_MAX_OUTPUTS = 512,  /* write cells that the cycle fills */
    V2G_MAX_CODES = 512,    /* what the raw codes of devices mean */
    V2G_MAX_CODES_EACH = 32,

    V2G_EVENTS = 4096,      /* a power of two */
    V2G_EVENT_VALUES = 6,
    V2G_HISTOGRAM_BUCKETS = 1152, /* 32 per power of two (3 % wide), up to 2^40 ns */
    V2G_SNAPSHOT_NS = 50000000,   /* a snapshot at least this often, or in every cycle */
    V2G_USAGE_CYCLES = 64,        /* the thread's page faults and preemptions are looked at every so many cycles */
    V2G_OVERRUNS_LATE = 3,        /* this many overruns in a row: not on time */
    V2G_ON_TIME_AGAIN = 100,      /* this many cycles on time in a row: on time again */
    V2G_BUS_BLOCKED_NS = 100000000
};

/* ---- CAN tables: compiled from DBC files at commit, integers only ------------------------------------------------------ */

/* What a transmitted signal carries. */
enum v2g_can_source { V2G_CAN_TARGET = 0, V2G_CAN_MAX, V2G_CAN_MIN, V2G_CAN_MODE, V2G_CAN_SOURCES };

enum v2g_can_signal_option {
    V2G_CAN_SIGNED = 1,
    V2G_CAN_BIG_ENDIAN = 2,  /* Motorola; `start` is the most significant bit */
    V2G_CAN_MAGNITUDE = 4,   /* receive: the sign is dropped */
    V2G_CAN_HAS_INVALID = 8, /* receive: `invalid` is a code for "no value" */
    V2G_CAN_FLAG = 16,       /* receive: one bit of the field; flags of one field in one frame are put together */
    V2G_CAN_MULTIPLEXED = 32 /* receive: only there when the layout's multiplexor says `mux` */
};

/* receive:  value = raw * mul / 2^shift (towards 0) + offset, "no value" outside minimum…maximum
 * transmit: raw = value * mul / 2^shift (towards 0) + offset, cut to what the bits hold (never further from 0) */
struct v2g_can_signal {
    uint16_t field;   /* receive: enum v2g_field; transmit: enum v2g_can_source */
    uint16_t start;   /* bit number as in a DBC file: of the least significant bit, or see V2G_CAN_BIG_ENDIAN */
    uint8_t bits;     /* 1…32 */
    uint8_t option;   /* bits of enum v2g_can_signal_option */
    uint8_t shift;    /* 0…40 */
    uint8_t reserved;
    int32_t mul;      /* not 0; V2G_CAN_FLAG: the bit of the field */
    int32_t offset;
    int32_t minimum;  /* receive, core unit */
    int32_t maximum;
    uint32_t invalid; /* raw code, `bits` wide */
    uint32_t mux;     /* V2G_CAN_MULTIPLEXED: raw value of the multiplexor */
};

/* How a frame proves that it is intact and new. */
enum v2g_can_e2e {
    V2G_CAN_PLAIN = 0,
    V2G_CAN_PROTECTED = 1, /* byte 0: SAE J1850 CRC over id low, id high, bytes 1…; byte 1 low nibble: counter 0…14 */
    /* AUTOSAR_PRS_E2EProtocol; byte 0 CRC, byte 1 low nibble counter, as in variants 1A, 1B, 1C */
    V2G_CAN_E2E_P01 = 2,   /* CRC-8 0x1D from 0, over the data identifier as enum v2g_can_id_mode says, bytes 1…; counter 0…14 */
    V2G_CAN_E2E_P02 = 3,   /* CRC-8 0x2F from 0xFF, inverted, over bytes 1…, then the list's identifier; counter 0…15 */
    V2G_CAN_E2E_KINDS
};

/* Profile 1: how the 16-bit data identifier gets into the CRC. */
enum v2g_can_id_mode {
    V2G_CAN_ID_BOTH = 0, /* low byte, high byte */
    V2G_CAN_ID_ALT,      /* counter even: low byte, odd: high byte */
    V2G_CAN_ID_LOW,      /* low byte */
    V2G_CAN_ID_NIBBLE,   /* low byte, 0; bits 8…11 are sent in the high nibble of byte 1 */
    V2G_CAN_ID_MODES
};

/* The shape of a frame, shared by all EVSEs of one kind. */
struct v2g_can_layout {
    uint16_t first;   /* index of its first signal */
    uint16_t signals; /* number */
    uint8_t length;   /* bytes: received frames have at least these, transmitted exactly */
    uint8_t e2e;      /* enum v2g_can_e2e */
    uint8_t fd;       /* 1: CAN FD, with bit-rate switch */
    uint8_t id_mode;  /* V2G_CAN_E2E_P01: enum v2g_can_id_mode */
    uint16_t mux_start; /* receive: the multiplexor, unsigned; as `start` of a signal */
    uint8_t mux_bits;   /* 0: none */
    uint8_t mux_option; /* V2G_CAN_BIG_ENDIAN or 0 */
    uint32_t deadline_us; /* receive: after so long a silence a counter may have come round, so it proves nothing; 0: no deadline */
};

struct v2g_can_rx {
    uint32_t id;       /* with CAN_EFF_FLAG when 29 bits long */
    uint16_t bus;      /* index */
    uint16_t layout;   /* index */
    uint16_t evse;     /* index */
    uint8_t phase[3];  /* 0…2: the site's phase that the EVSE's phase 1, 2, 3 is connected to */
    uint8_t reserved;
    uint16_t data_id;  /* profile 1: the data identifier; profile 2: index of its list */
};

struct v2g_can_tx {
    uint32_t id;
    uint16_t bus;
    uint16_t layout;
    uint16_t evse;
    uint16_t data_id; /* as in v2g_can_rx */
};

/* Profile 2: the data identifier of each counter value. */
struct v2g_can_list {
    uint8_t id[16];
};

struct v2g_can_config {
    uint32_t buses;
    uint32_t layouts;
    uint32_t signals;
    uint32_t rxs; /* sorted by bus, then id; no pair twice */
    uint32_t txs;
    uint32_t lists;
    int32_t fd[V2G_MAX_BUSES]; /* of this process, opened by v2g_can_open(); -1: the bus is down */
    struct v2g_can_layout layout[V2G_CAN_MAX_LAYOUTS];
    struct v2g_can_signal signal[V2G_CAN_MAX_SIGNALS];
    struct v2g_can_rx rx[V2G_CAN_MAX_RX];
    struct v2g_can_tx tx[V2G_CAN_MAX_TX];
    struct v2g_can_list list[V2G_CAN_MAX_LISTS];
};

/* One frame's values. */
struct v2g_can_values {
    int32_t value[V2G_FIELDS];
    uint32_t present; /* bit per enum v2g_field: the frame carries it */
    uint32_t valid;   /* bit per enum v2g_field: and it is a value */
};

/* Verdict of the counter automaton on one frame; see can_e2e.c for the table. */
enum v2g_can_counter {
    V2G_CAN_COUNTER_OK = 0,
    V2G_CAN_COUNTER_LOST,     /* accepted: one to three frames are missing before it */
    V2G_CAN_COUNTER_REPEATED, /* dropped: the same as the last one */
    V2G_CAN_COUNTER_JUMPED,   /* dropped: more is missing, or the deadline has passed; the next one in order is accepted again */
    V2G_CAN_COUNTER_INVALID   /* dropped: 15 is no counter (profile 2: it is) */
};

enum { V2G_CAN_UNSYNCED = 16 }; /* state of an automaton that has not seen a frame: accepts any counter */

/* One received, protected message: the counter automaton and its deadline. */
struct v2g_can_watch {
    int64_t seen_ns; /* the newest frame with a new counter */
    uint8_t counter; /* its counter, or V2G_CAN_UNSYNCED */
    uint8_t reserved[7];
};

/* ---- Cells: values from and to other buses ------------------------------------------------------------------------------- */

enum v2g_input_kind { V2G_INPUT_METER = 0, V2G_INPUT_EVSE = 1 };

/* What an input makes of its cell. */
enum v2g_input_use {
    V2G_USE_VALUE = 0, /* cell * mul / 2^shift, towards 0 */
    V2G_USE_MAGNITUDE, /* the same without its sign */
    V2G_USE_CODE,      /* a code of the device: state or flags as its entry in `code` says; one that is not there is no value */
    V2G_USE_BITS,      /* flags only: not 0 sets the bits `mul` */
    V2G_USE_EXPECTED   /* flags only: sets the bits `mul` unless the cell holds minimum…maximum; never read is not that */
};
enum { V2G_INPUT_USES = 5 };

/* The inputs of one EVSE's V2G_F_FLAGS stand side by side: their bits are put together, and are as old as the oldest of them. */
struct v2g_input {
    uint16_t cell;
    uint16_t index; /* of the meter or EVSE */
    uint8_t kind;   /* enum v2g_input_kind */
    uint8_t field;  /* enum v2g_meter_field or v2g_field */
    uint8_t shift;  /* 0…40 */
    uint8_t use;    /* enum v2g_input_use; meters: V2G_USE_VALUE */
    int32_t mul;    /* not 0 */
    uint16_t code;  /* V2G_USE_CODE: the first of its entries */
    uint16_t codes; /* their number, 1…V2G_MAX_CODES_EACH */
    int32_t minimum; /* V2G_USE_EXPECTED, the cell's unit */
    int32_t maximum;
};

struct v2g_code {
    int32_t raw;
    uint8_t state;  /* enum v2g_pilot */
    uint8_t flags;  /* bits of enum v2g_flag */
    uint16_t reserved;
};

/* write cell = setpoint of the EVSE */
struct v2g_output {
    uint16_t write_cell;
    uint16_t evse;
    uint16_t source; /* enum v2g_can_source */
    uint16_t reserved;
};

struct v2g_cell_config {
    uint32_t inputs;
    uint32_t outputs;
    uint32_t codes;
    uint32_t reserved;
    struct v2g_input input[V2G_MAX_INPUTS];
    struct v2g_output output[V2G_MAX_OUTPUTS];
    struct v2g_code code[V2G_MAX_CODES];
};

/* ---- What Python commits ------------------------------------------------------------------------------------------------- */

struct v2g_plan_message {
    struct v2g_plan plan;
    struct v2g_site_plan site;
};

/* Everything that changes together. The plan is made for this config, so that nothing drops to 0 in between; its epoch 0: there
 * is none, everything is at 0 W until one comes. */
struct v2g_commit {
    struct v2g_config config;
    struct v2g_can_config can;
    struct v2g_cell_config cell;
    struct v2g_site_config site;
    struct v2g_plan_message first;
    uint32_t snapshot_cycles; /* publish in every n-th cycle: 1, or n periods are at most V2G_SNAPSHOT_NS */
    uint32_t reserved;
};

struct v2g_commit_slot {
    uint32_t crc; /* CRC-32C over the rest of the slot */
    uint32_t reserved;
    uint64_t boot_id;
    struct v2g_commit commit;
};

struct v2g_plan_slot {
    uint32_t crc;
    uint32_t reserved;
    uint64_t boot_id;
    struct v2g_plan_message message;
};

/* Three slots, three owners: the writer's back, the reader's front, and the one in between that either swaps against its own. */
struct v2g_triple {
    V2G_ATOMIC(uint32_t) middle; /* index of the slot in between; V2G_TRIPLE_NEW: the reader hasn't seen it */
    uint32_t back;               /* the writer's alone */
    uint32_t front;              /* the reader's alone */
    uint32_t reserved[13];
};

enum { V2G_TRIPLE_SLOTS = 3, V2G_TRIPLE_NEW = 4 };

/* ---- What the cycle publishes --------------------------------------------------------------------------------------------- */

/* BLOCKED: what was sent has not left the queue for V2G_BUS_BLOCKED_NS (nobody acknowledges, or the wire is full). */
enum v2g_bus_state { V2G_BUS_UP = 0, V2G_BUS_WARNING, V2G_BUS_PASSIVE, V2G_BUS_OFF, V2G_BUS_DOWN, V2G_BUS_BLOCKED };

struct v2g_bus_stats {
    uint32_t state;        /* enum v2g_bus_state */
    uint32_t error_frames;
    uint64_t received;     /* frames taken off the socket, error frames excluded */
    uint64_t accepted;     /* frames whose values reached the image */
    uint64_t unknown;      /* frames no table names */
    uint64_t bad_length;
    uint64_t bad_crc;
    uint64_t bad_counter;  /* repeated, jumped or invalid */
    uint64_t lost;         /* gaps in counters that were accepted */
    uint64_t overflow;     /* frames the kernel dropped because the socket was full */
    uint64_t sent;
    uint64_t unsent;       /* older frames still wait or the bus is off: not handed over, the next cycle sends the newest */
};

struct v2g_cycle_stats {
    uint64_t cycles;
    uint64_t missed;        /* grid points without a cycle */
    uint64_t overruns;      /* cycles that did not end before the next grid point */
    uint64_t plans;         /* adopted */
    uint64_t plans_refused;
    uint64_t commits;
    uint64_t commits_refused;
    uint64_t events_dropped;
    int64_t started_ns;
    uint64_t page_faults;   /* of the cycle's thread since its first cycle; 0 is what it should be */
    uint64_t preemptions;   /* times something else took the core from it */
};

/* A consistent picture of one cycle. Only the used entries of each array are copied. */
struct v2g_snapshot {
    uint64_t boot_id;
    int64_t now_ns;          /* start of the cycle */
    uint32_t config_epoch;
    uint32_t evses;
    uint32_t feeders;
    uint32_t meters;
    uint32_t buses;
    uint32_t reserved;
    struct v2g_cycle_stats stats;
    struct v2g_bus_stats bus[V2G_MAX_BUSES];
    struct v2g_site_view site;
    uint32_t bad_frames[V2G_MAX_EVSES]; /* of this EVSE: too short, wrong CRC or counter; wraps */
    struct v2g_plan plan;
    struct v2g_image image;
    struct v2g_state state;
    struct v2g_setpoints set;
};

enum v2g_event_kind {
    V2G_EVENT_NONE = 0,
    V2G_EVENT_START,           /* value: period ns, 1 if FIFO was granted */
    V2G_EVENT_STOP,
    V2G_EVENT_COMMIT,          /* value: config epoch */
    V2G_EVENT_COMMIT_REFUSED,  /* value: enum v2g_refusal, fault */
    V2G_EVENT_PLAN_REFUSED,    /* value: enum v2g_refusal, fault; once, then counted */
    V2G_EVENT_PLAN_TAKEN,      /* value: limits epoch, made ns; only when a source said something new */
    V2G_EVENT_REASON,          /* index: EVSE; value: reason before, reason, of min, of max, target W, measured W */
    V2G_EVENT_LATCH,           /* index: EVSE; value: latches before, latches now */
    V2G_EVENT_FEEDER_LOST,     /* index: feeder */
    V2G_EVENT_FEEDER_BACK,
    V2G_EVENT_LATE,            /* value: overruns so far */
    V2G_EVENT_ON_TIME,
    V2G_EVENT_BUS,             /* index: bus; value: enum v2g_bus_state before, now */
    V2G_EVENT_OVERFLOW,        /* index: bus; value: frames lost so far; once a second at most */
    V2G_EVENT_GUARD,           /* value: 1 there, 0 gone */
    V2G_EVENT_DAMAGED,         /* an invariant of the core failed: SAFE until a new config */
    V2G_EVENT_GRID,            /* value: enum v2g_grid_service before, now, enum v2g_reason, frequency mHz, lowest, highest voltage 0.1 V */
    V2G_EVENT_KINDS
};

/* Why a commit or plan was not adopted. */
enum v2g_refusal {
    V2G_REFUSED_NOT = 0,
    V2G_REFUSED_CRC,    /* torn or damaged */
    V2G_REFUSED_BOOT,   /* of another process */
    V2G_REFUSED_EPOCH,  /* not newer */
    V2G_REFUSED_CONFIG, /* v2g_config_check; the fault says where */
    V2G_REFUSED_CAN,    /* v2g_can_check */
    V2G_REFUSED_CELL,   /* v2g_cell_check */
    V2G_REFUSED_PLAN,   /* v2g_plan_check */
    V2G_REFUSED_SITE    /* v2g_site_check */
};

struct v2g_event {
    int64_t time_ns;                 /* CLOCK_MONOTONIC, start of the cycle */
    uint32_t number;                 /* counts events, those dropped included; wraps */
    uint16_t kind;                   /* enum v2g_event_kind */
    uint16_t index;
    int64_t value[V2G_EVENT_VALUES]; /* see enum v2g_event_kind */
};

struct v2g_ring {
    V2G_ATOMIC(uint32_t) head; /* events written, wraps; the cycle's alone */
    uint32_t number;
    V2G_ATOMIC(uint64_t) dropped;
    uint32_t reserved_0[12];
    V2G_ATOMIC(uint32_t) tail; /* events read, wraps; the reader's alone */
    uint32_t reserved_1[15];
    struct v2g_event event[V2G_EVENTS];
};

enum v2g_histogram_kind {
    V2G_HIST_LATENESS = 0, /* wake-up after the grid point, ns */
    V2G_HIST_COMPUTE,      /* steps 3 to 7, ns */
    V2G_HIST_DRAIN,        /* step 2 */
    V2G_HIST_SEND,         /* step 8 */
    V2G_HIST_SLACK,        /* from the end of a cycle to the next grid point; 0: overrun */
    V2G_HIST_METER_AGE,    /* age of a total power at use */
    V2G_HIST_COMMAND_AGE,  /* from making a plan with something new to adopting it */
    V2G_HIST_REACTION,     /* from the newest frame of an EVSE to the tighter setpoint that went out in answer */
    V2G_HIST_WORK,         /* from the wake-up to the frames sent */
    V2G_HISTOGRAMS
};

/* Log-linear; edge.core.histogram has the bounds of a bucket. One writer. */
struct v2g_histogram {
    V2G_ATOMIC(uint64_t) count;
    V2G_ATOMIC(uint64_t) sum;
    V2G_ATOMIC(uint64_t) max;
    uint64_t reserved[5];
    V2G_ATOMIC(uint64_t) bucket[V2G_HISTOGRAM_BUCKETS];
};

struct v2g_heartbeat {
    V2G_ATOMIC(uint64_t) beats;   /* cycles whose frames were sent */
    V2G_ATOMIC(int64_t) beat_ns;  /* CLOCK_MONOTONIC */
    uint64_t reserved[6];
};

/* The guard's answer: it holds a private copy of this config's safe frames and was alive then. */
struct v2g_guard_word {
    V2G_ATOMIC(uint32_t) config_epoch;   /* 0: none */
    V2G_ATOMIC(uint32_t) previous_epoch; /* the one before: known too until the core has adopted the new one */
    V2G_ATOMIC(int64_t) seen_ns;       /* CLOCK_MONOTONIC */
    V2G_ATOMIC(int64_t) timeout_ns;    /* older than this: gone */
    uint64_t reserved_1[5];
};

struct v2g_arena {
    uint32_t abi;
    uint32_t runtime_abi;
    uint64_t bytes;
    uint64_t boot_id;
    uint64_t reserved[5];
    struct v2g_heartbeat heartbeat;
    struct v2g_guard_word guard;
    uint64_t sender[8];  /* a robust lock: whoever holds it may send (native/core/sender.h) */
    struct v2g_triple commit_index;
    struct v2g_triple plan_index;
    V2G_ATOMIC(uint64_t) snapshot_seq; /* odd while the cycle is inside; 0: none yet */
    uint64_t reserved_2[7];
    struct v2g_ring ring;
    struct v2g_histogram histogram[V2G_HISTOGRAMS];
    struct v2g_cell cell[V2G_MAX_CELLS];
    struct v2g_write_cell write_cell[V2G_MAX_WRITE_CELLS];
    struct v2g_modbus_stats modbus[V2G_MODBUS_MAX_DEVICES];
    struct v2g_snapshot snapshot;
    struct v2g_commit_slot commit[V2G_TRIPLE_SLOTS];
    struct v2g_plan_slot plan[V2G_TRIPLE_SLOTS];
};

/* ---- Real time: what was asked for and what was granted ------------------------------------------------------------------- */

struct v2g_rt_request {
    struct v2g_thread thread; /* policy, priority, core */
    uint32_t lock_memory;     /* 1: mlockall */
    uint32_t hold_latency;    /* 1: no core sleeps so deeply that waking up takes time (/dev/cpu_dma_latency) */
    uint32_t reserved;
};

/* Probed by the thread itself; nothing here repeats what was asked for. */
struct v2g_rt_report {
    int32_t policy;            /* as sched_getscheduler() says, without SCHED_RESET_ON_FORK */
    int32_t priority;
    int32_t fifo_errno;        /* why SCHED_FIFO was refused; 0: granted or not asked for */
    int32_t cpu;               /* the only core it may run on; -1: several */
    int32_t cpu_isolated;      /* 1: /sys/devices/system/cpu/isolated names that core */
    int32_t preempt_rt;        /* 1: /sys/kernel/realtime says 1 */
    int32_t memory_locked;     /* 1: mlockall succeeded */
    int32_t lock_errno;
    int32_t timer_slack_ns;
    int32_t stack_bytes;       /* pre-touched */
    int32_t rtprio_limit;      /* RLIMIT_RTPRIO: the highest priority that needs no capability */
    int32_t latency_errno;     /* why /dev/cpu_dma_latency isn't held; 0: it is, or wasn't asked for */
    int32_t throttle_us;       /* real-time threads run for at most this long in each throttle_period_us; -1: as long as they like */
    int32_t throttle_period_us;
    int32_t user_mode_linux;   /* 1: this kernel is a process; it grants SCHED_FIFO and does not preempt for it */
    int32_t reset_on_fork;     /* 1: children of this thread don't inherit its priority */
    int64_t clock_resolution_ns;
};

/* ---- Functions --------------------------------------------------------------------------------------------------------------- */

/* Makes a sealed, pre-touched arena. Returns its file descriptor or -errno. */
int32_t v2g_arena_create(uint64_t boot_id, struct v2g_arena **arena);
void v2g_arena_destroy(struct v2g_arena *arena, int32_t fd);

/* The writer's own slot: fill in, then publish. What was in it is old. */
struct v2g_commit *v2g_commit_back(struct v2g_arena *arena);
struct v2g_plan_message *v2g_plan_back(struct v2g_arena *arena);

/* Runs every check that the cycle will run. 0: good; else enum v2g_refusal in the high 32 bits, the fault in the low. */
uint64_t v2g_commit_check(const struct v2g_commit *commit, int64_t now_ns);

/* Seals the slot with its CRC and hands it over; the cycle takes it at its next boundary. */
void v2g_commit_publish(struct v2g_arena *arena);
void v2g_plan_publish(struct v2g_arena *arena);

/* Copies the newest slot if there is one the reader hasn't seen. 1: copied and its CRC is right; 0: nothing new; -1: damaged.
 * Only the cycle calls it. */
int32_t v2g_commit_take(struct v2g_arena *arena, struct v2g_commit_slot *copy);
int32_t v2g_plan_take(struct v2g_arena *arena, struct v2g_plan_slot *copy);

/* The newest snapshot. 0: copied; -1: none was published yet; -2: the cycle was inside at every try (look again). */
int32_t v2g_snapshot_read(const struct v2g_arena *arena, struct v2g_snapshot *copy);

/* Up to `max` events, oldest first. Returns their number. One reader. */
uint32_t v2g_events_read(struct v2g_arena *arena, struct v2g_event *events, uint32_t max);

/* Forget what the cells say, before a bus engine gets them anew; the cycle must not be using them. */
void v2g_cells_clear(struct v2g_arena *arena, uint32_t first, uint32_t count);
void v2g_write_cells_clear(struct v2g_arena *arena, uint32_t first, uint32_t count);

/* What a register is to hold that no cycle writes. */
void v2g_write_cell_put(struct v2g_arena *arena, uint32_t write_cell, int64_t value, int64_t valid_until_ns);

uint32_t v2g_crc32c(uint32_t crc, const void *bytes, size_t length);
void v2g_histogram_add(struct v2g_histogram *histogram, int64_t value_ns);

/* Opens a CAN bus: an interface's name, or `hub:` and the path of a hub's socket. Non-blocking, with time stamps, overflow
 * counts and error frames where the kernel has them. Returns the descriptor or -errno. */
int32_t v2g_can_open(const char *channel);

/* Puts a new connection behind the same descriptor (after a bus was down). 0 or -errno. */
int32_t v2g_can_reopen(const char *channel, int32_t fd);

/* Restarts a bus: an interface is taken down and up again, which empties its queue and ends bus-off (CAP_NET_ADMIN); a hub is left,
 * which drops what it had not read. Then reopens it. 0 or -errno. */
int32_t v2g_can_restart(const char *channel, int32_t fd);

/* Let the kernel pass on only what the tables name for this bus (a hub has no filter). 0 or -errno. */
int32_t v2g_can_filter(int32_t fd, const struct v2g_can_config *can, uint32_t bus);

/* Range checks. 0: good; else 1 + the index of the first bad entry, with V2G_CAN_FAULT_* added to say where. */
enum {
    V2G_CAN_FAULT_COUNT = 0x10000,
    V2G_CAN_FAULT_LAYOUT = 0x20000,
    V2G_CAN_FAULT_SIGNAL = 0x30000,
    V2G_CAN_FAULT_RX = 0x40000,
    V2G_CAN_FAULT_TX = 0x50000,
    V2G_CELL_FAULT_COUNT = 0x60000,
    V2G_CELL_FAULT_INPUT = 0x70000,
    V2G_CELL_FAULT_OUTPUT = 0x80000,
    V2G_CELL_FAULT_CODE = 0x90000
};
uint32_t v2g_can_check(const struct v2g_can_config *can, const struct v2g_config *config);
uint32_t v2g_cell_check(const struct v2g_cell_config *cell, const struct v2g_config *config);

/* The values of a frame. Total: any bytes, any length; a frame shorter than its layout has none. Pure. */
void v2g_can_decode(const struct v2g_can_config *can, uint32_t layout, const uint8_t *data, uint32_t length,
                    struct v2g_can_values *out);

/* The bytes of a command that carries this setpoint; `count` counts the commands. Returns the length of the layout. Pure. */
uint32_t v2g_can_encode(const struct v2g_can_config *can, const struct v2g_can_tx *tx, uint64_t count,
                        const struct v2g_setpoint *setpoint, uint8_t data[V2G_CAN_MAX_BYTES]);

/* SAE J1850 CRC of a protected frame. */
uint8_t v2g_can_crc(uint32_t id, const uint8_t *data, uint32_t length);

/* Counter, CRC and, in profile 1 with its nibble, data identifier into the first two bytes of a frame of any protection. */
void v2g_can_protect(const struct v2g_can_config *can, uint32_t layout, uint32_t id, uint32_t data_id, uint64_t count,
                     uint8_t *data);

/* True: CRC (and nibble) of a received frame are right, or its layout has none. */
bool v2g_can_intact(const struct v2g_can_config *can, uint32_t layout, uint32_t id, uint32_t data_id, const uint8_t *data);

/* Counter and deadline of one received frame that is intact. Returns enum v2g_can_counter; above V2G_CAN_COUNTER_LOST: drop it. */
uint32_t v2g_can_watch_step(struct v2g_can_watch *watch, const struct v2g_can_layout *layout, uint8_t counter,
                            int64_t acquired_ns);

/* One step of the counter automaton: `last` is 0…14 or V2G_CAN_UNSYNCED, updated. Returns enum v2g_can_counter. */
uint32_t v2g_can_counter_step(uint8_t *last, uint8_t counter);

/* The cycle. Made and ended by one thread, at leisure; a commit must have been published before the start. */
struct v2g_cycle;
struct v2g_cycle *v2g_cycle_new(struct v2g_arena *arena);
void v2g_cycle_free(struct v2g_cycle *cycle);

/* Adopts the first commit. 0; or as v2g_commit_check(), and nothing runs. */
uint64_t v2g_cycle_prepare(struct v2g_cycle *cycle, int64_t now_ns);

/* After v2g_cycle_prepare, before the start: what was latched when the process before ended. `damaged`: an invariant had failed, and
 * everything stays SAFE until another config is committed. */
void v2g_cycle_restore(struct v2g_cycle *cycle, uint32_t evse, uint32_t latch);
void v2g_cycle_restore_damaged(struct v2g_cycle *cycle);

/* The site was out of service for the grid's sake: service is entered anew, delay and all. */
void v2g_cycle_restore_grid(struct v2g_cycle *cycle);

/* Starts the thread. When SCHED_FIFO is refused it runs without and the report says so. 0 or -errno. */
int32_t v2g_cycle_start(struct v2g_cycle *cycle, const struct v2g_rt_request *request, struct v2g_rt_report *report);

/* Ends the thread after the cycle it is in. */
void v2g_cycle_stop(struct v2g_cycle *cycle);

/* One pass at `now_ns`, for tests and benchmarks; the thread must not run. `health`: bits of enum v2g_health as granted. */
void v2g_cycle_step(struct v2g_cycle *cycle, int64_t now_ns, uint32_t health);

/* CLOCK_MONOTONIC, ns. */
int64_t v2g_now_ns(void);

#ifndef V2G_CDEF
_Static_assert(sizeof(struct v2g_event) == 64, "one cache line");
_Static_assert(sizeof(struct v2g_triple) == 64, "one cache line");
_Static_assert(sizeof(struct v2g_heartbeat) == 64, "one cache line");
_Static_assert(sizeof(struct v2g_guard_word) == 64, "one cache line");
_Static_assert(sizeof(struct v2g_snapshot) % 8 == 0, "copied in words");
_Static_assert(offsetof(struct v2g_arena, cell) % 64 == 0, "cells do not share cache lines");
#endif

#endif
