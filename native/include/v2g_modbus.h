/* v2g_modbus.h – the data sheet of the Modbus engines.
 *
 * One thread polls many devices. It reads registers into cells and writes the newest setpoints out of write cells
 * (v2g_cell.h); cells and statistics lie in memory of the caller, so that they can be part of a shared arena.
 *
 * A device that is silent, slow, refuses or talks nonsense costs only itself: every request has a deadline, a failed device
 * is left alone for 1 s … 30 s, and the engine never waits for any single one.
 *
 * Protocol: MODBUS Application Protocol Specification V1.1b3 and MODBUS Messaging on TCP/IP Implementation Guide V1.0b
 * (modbus.org). Function codes 1-6, 15, 16, 23.
 *
 * This header is also the cdef of the Python binding: constants are enums, no macro decides a layout, configs hold no
 * pointers. */
#ifndef V2G_MODBUS_H
#define V2G_MODBUS_H

#ifndef V2G_CDEF
#include <stddef.h>
#include <stdint.h>
#endif

#include "v2g_cell.h"

enum {
    V2G_MODBUS_MAX_DEVICES = 1024,
    V2G_MODBUS_MAX_REGISTERS = 8192,
    V2G_MODBUS_MAX_WRITES = 1024,
    V2G_MODBUS_MAX_WINDOW = 16,      /* requests that one device may have open at a time */
    V2G_MODBUS_MAX_READ_WORDS = 125, /* of one request; limit of the protocol */
    V2G_MODBUS_MAX_READ_BITS = 2000,
    V2G_MODBUS_WRITE_WORDS = 4, /* of one setpoint: 64 bits */
    V2G_MODBUS_NEVER = 4,
    V2G_MODBUS_FRAME = 260,  /* longest Modbus/TCP frame */
    V2G_MODBUS_NONE = 0xFFFF /* "no such register, line or cell" */
};

/* The four tables of a device. The numbers are the function codes that read them. */
enum v2g_modbus_table { V2G_MODBUS_COIL = 1, V2G_MODBUS_DISCRETE = 2, V2G_MODBUS_HOLDING = 3, V2G_MODBUS_INPUT = 4 };

enum v2g_modbus_type {
    V2G_MODBUS_U16 = 0,
    V2G_MODBUS_I16,
    V2G_MODBUS_U32,
    V2G_MODBUS_I32,
    V2G_MODBUS_U64,
    V2G_MODBUS_I64,
    V2G_MODBUS_F32, /* IEEE 754; NaN, infinities and values outside the core's range are "no value" */
    V2G_MODBUS_F64,
    V2G_MODBUS_BIT, /* a coil, a discrete input, or one bit of a register */
    V2G_MODBUS_TYPES
};

/* Order of the registers of one value. Inside a register the protocol's order holds (high byte first). */
enum v2g_modbus_order { V2G_MODBUS_BIG = 0, V2G_MODBUS_LITTLE = 1 };

enum v2g_modbus_register_flag {
    V2G_MODBUS_HAS_INVALID = 1, /* `invalid` is a code for "no value" */
    V2G_MODBUS_HAS_RANGE = 2    /* values outside minimum…maximum are implausible: "no value" */
};

/* One value to read. core unit = raw * multiplier / divisor, rounded to the nearest. */
struct v2g_modbus_register {
    uint16_t device;    /* index */
    uint8_t table;      /* enum v2g_modbus_table */
    uint8_t type;       /* enum v2g_modbus_type; coils and discrete inputs: V2G_MODBUS_BIT */
    uint16_t address;   /* 0…65535 as on the wire (register 40001 is holding address 0) */
    uint8_t order;      /* enum v2g_modbus_order */
    uint8_t bit;        /* 0…15: which bit of a register, for V2G_MODBUS_BIT */
    uint16_t every;     /* read in every n-th poll, 1…65535 */
    uint16_t cell;      /* index of the cell that receives the value; each cell belongs to one register */
    uint32_t flags;     /* bits of enum v2g_modbus_register_flag */
    int32_t multiplier; /* not 0; negative turns the sign round */
    int32_t divisor;    /* > 0 */
    uint64_t invalid;   /* raw code, as wide as the type */
    int64_t minimum;    /* core unit */
    int64_t maximum;    /* core unit */
};

/* A write with a fixed content: a device's stop, for instance. count 0: none. */
struct v2g_modbus_action {
    uint8_t function; /* 5, 6, 15 or 16 */
    uint8_t count;    /* coils (15: up to 16) or registers (16: up to 4) */
    uint16_t address;
    uint16_t words[V2G_MODBUS_WRITE_WORDS]; /* 5, 15: bit 0 of words[0] is the first coil */
    uint32_t reserved;
};

enum v2g_modbus_write_flag {
    V2G_MODBUS_NONVOLATILE = 1, /* the register wears out: written only when the value changed, and rarely */
    /* A sign of life: every min_interval_ns a number that is one higher, as long as the request in its write cell (that of the
     * setpoint) has not expired; then nothing, so that the device falls back. U16 or U32; it has neither stop nor start. */
    V2G_MODBUS_HEARTBEAT = 2
};

/* One register that carries a setpoint. raw = core unit * divisor / multiplier, rounded towards 0. A value outside
 * minimum…maximum, one that does not fit the register, one whose raw code is forbidden and one that expired are never
 * written: the stop action holds instead. A stop is sent at once, even inside min_interval. */
struct v2g_modbus_write {
    uint16_t device;  /* index */
    uint8_t function; /* 5, 6, 15 or 16; 23: writes and reads back in one transaction, needs a read-back */
    uint8_t type;     /* enum v2g_modbus_type, not F64; function 5, 15: BIT, U16 */
    uint16_t address;
    uint8_t order;       /* enum v2g_modbus_order */
    uint8_t coils;       /* function 15: 1…16, low bits of the value, first coil = bit 0 */
    uint16_t write_cell; /* index of the request */
    uint16_t result;     /* index of the cell that receives the last acknowledged value (0 after a stop) or V2G_MODBUS_NONE */
    uint16_t read_back;  /* index of the register that is read at once after each write, or V2G_MODBUS_NONE */
    uint16_t never_count;
    uint32_t flags;     /* bits of enum v2g_modbus_write_flag */
    int32_t multiplier; /* not 0 */
    int32_t divisor;    /* > 0 */
    uint32_t reserved;
    uint64_t never[V2G_MODBUS_NEVER]; /* raw codes that must not be written, as wide as the type */
    int64_t minimum;                  /* core unit */
    int64_t maximum;                  /* core unit */
    int64_t min_interval_ns;          /* between two writes of setpoints; nonvolatile: at least 15 min */
    int64_t refresh_ns;               /* an unchanged value or stop is written again after this; 0: never; nonvolatile: 0 */
    struct v2g_modbus_action stop;    /* must not be empty; of a heartbeat it is */
    struct v2g_modbus_action start;   /* after the first value that follows a stop; may be empty */
};

struct v2g_modbus_device {
    uint8_t family;      /* 4 or 6: IP version; 0: on a serial line (v2g_rtu.h), then port and address mean nothing */
    uint8_t unit;        /* unit identifier, 0…255 */
    uint16_t port;       /* 1…65535 */
    uint32_t scope_id;   /* interface index of a link-local IPv6 address */
    uint8_t address[16]; /* network byte order; IPv4 in the first four */
    uint16_t window;     /* 1…16 open requests; more than 1 only after a probe */
    uint16_t max_words;  /* 1…125 registers in one read */
    uint16_t merge_gap;  /* 0…124: registers in between that may be read along to save a request */
    uint16_t reserved;
    int64_t poll_ns;            /* 1 ms…1 h */
    int64_t reply_timeout_ns;   /* 1 ms…60 s, from sending a request to its whole answer (serial line: to its first byte) */
    int64_t connect_timeout_ns; /* 1 ms…60 s */
    int64_t gap_ns;             /* 0…1 s of silence after an answer before the next request */
    int64_t turnaround_ns; /* serial line: 0…1 s between a request and its answer, for the schedule; at least 3.5 characters */
};

struct v2g_modbus_config {
    uint32_t device_count;
    uint32_t register_count;
    uint32_t write_count;
    uint32_t cell_count;       /* cells that the caller provides */
    uint32_t write_cell_count; /* write cells that the caller provides */
    uint32_t reserved;
    int64_t write_scan_ns;  /* 1 ms…1 s: how often write cells are looked at */
    int64_t backoff_min_ns; /* 1 ms…: first pause after a failure; default 1 s */
    int64_t backoff_max_ns; /* …10 min: the pause doubles up to this; default 30 s */
    struct v2g_modbus_device devices[V2G_MODBUS_MAX_DEVICES];
    struct v2g_modbus_register registers[V2G_MODBUS_MAX_REGISTERS];
    struct v2g_modbus_write writes[V2G_MODBUS_MAX_WRITES];
};

enum v2g_modbus_state {
    V2G_MODBUS_STATE_IDLE = 0, /* not in the config, or the engine is closed */
    V2G_MODBUS_STATE_CONNECTING = 1,
    V2G_MODBUS_STATE_UP = 2,
    V2G_MODBUS_STATE_BACKOFF = 3 /* left alone after a failure */
};

/* What happened with one device since the engine was made. Written by the engine, readable at any time. */
struct v2g_modbus_stats {
    V2G_ATOMIC(uint32_t) state;          /* enum v2g_modbus_state */
    V2G_ATOMIC(uint32_t) last_exception; /* Modbus exception code, 0: none yet */
    V2G_ATOMIC(uint32_t) last_errno;     /* of the last failed connect, send or receive; 0: none yet */
    V2G_ATOMIC(uint32_t) reserved;
    V2G_ATOMIC(uint64_t) polls;      /* polls begun */
    V2G_ATOMIC(uint64_t) late_polls; /* polls that were still unfinished, or not begun, when the next was due */
    V2G_ATOMIC(uint64_t) requests;
    V2G_ATOMIC(uint64_t) replies;  /* good answers, exceptions included */
    V2G_ATOMIC(uint64_t) timeouts; /* requests without an answer in time */
    V2G_ATOMIC(uint64_t) exceptions;
    V2G_ATOMIC(uint64_t) bad_frames;     /* not Modbus, or not what was asked for; the connection is closed */
    V2G_ATOMIC(uint64_t) unsolicited;    /* frames nobody waited for any more, discarded */
    V2G_ATOMIC(uint64_t) invalid_values; /* answers that brought "no value" in a register */
    V2G_ATOMIC(uint64_t) connects;       /* connections made */
    V2G_ATOMIC(uint64_t) connect_failures;
    V2G_ATOMIC(uint64_t) disconnects;   /* connections that the device ended */
    V2G_ATOMIC(uint64_t) writes;        /* acknowledged writes, stops included */
    V2G_ATOMIC(uint64_t) stops;         /* acknowledged stops */
    V2G_ATOMIC(int64_t) state_since_ns; /* CLOCK_MONOTONIC */
    V2G_ATOMIC(int64_t) last_reply_ns;  /* CLOCK_MONOTONIC */
    V2G_ATOMIC(int64_t) rtt_min_ns;     /* round trip of good answers; 0: none yet */
    V2G_ATOMIC(int64_t) rtt_sum_ns;     /* mean = sum / replies */
    V2G_ATOMIC(int64_t) rtt_max_ns;
    int64_t reserved_1[3];
};

/* Where the engine reads and writes. The arrays are as long as the config says and outlive the engine. */
struct v2g_modbus_memory {
    struct v2g_cell *cells;
    const struct v2g_write_cell *write_cells;
    struct v2g_modbus_stats *stats; /* one per device */
};

struct v2g_thread {
    int32_t policy;   /* SCHED_OTHER (0) or SCHED_FIFO (1) */
    int32_t priority; /* SCHED_FIFO: 1…99; SCHED_OTHER: 0 */
    int32_t cpu;      /* core to run on; -1: any */
};

struct v2g_modbus_engine;

/* 0: the config can run. -1: it cannot, and `error` says in one line what is wrong where. */
int v2g_modbus_check(const struct v2g_modbus_config *config, char *error, size_t error_size);

/* Bytes that an engine needs, aligned to 64. */
size_t v2g_modbus_engine_size(void);

/* Makes an engine in `engine` (v2g_modbus_engine_size() bytes): checks and copies the config, merges the reads. Connects to
 * nobody yet, leaves cells alone: the caller clears those that change their meaning. 0 or -1 with one line in `error`; then
 * nothing has changed. Every device needs a file descriptor. */
int v2g_modbus_init(struct v2g_modbus_engine *engine, const struct v2g_modbus_config *config,
                    const struct v2g_modbus_memory *memory, char *error, size_t error_size);

/* One pass: does what is due, then waits for answers for at most `timeout_ns`. Returns the number of sockets served. */
int v2g_modbus_run_once(struct v2g_modbus_engine *engine, int64_t timeout_ns);

/* Runs passes in a thread of its own that has its scheduling before it begins. 0; 1 when SCHED_FIFO was refused and the thread
 * runs without it; -errno when nothing runs. */
int v2g_modbus_start(struct v2g_modbus_engine *engine, const struct v2g_thread *thread);

/* Ends the thread and waits for it. Does nothing when none runs. */
void v2g_modbus_stop(struct v2g_modbus_engine *engine);

/* Closes all connections. The thread must not run. */
void v2g_modbus_close(struct v2g_modbus_engine *engine);

/* For commissioning: nothing is said to this device for `silence_ns`, then it is only read for `look_ns` before setpoints are
 * written again, so that its values show what it does when nobody speaks. Any thread may ask while the engine's runs. 0, or
 * -1: no such device, or a time outside 1 ms…1 h. */
int v2g_modbus_silence(struct v2g_modbus_engine *engine, uint32_t device, int64_t silence_ns, int64_t look_ns);

/* ---- The pure parts, for tests, fuzzers and proofs ---------------------------------------------------------------------- */

/* An open request: what its answer must look like. */
struct v2g_modbus_request {
    uint16_t transaction;
    uint8_t unit;
    uint8_t function;                       /* 0: this entry is free */
    uint16_t address;                       /* of the read (1-4, 23) or the write (5, 6, 15, 16) */
    uint16_t count;                         /* coils or registers read (1-4, 23) or written (5, 6: 1; 15, 16) */
    uint16_t write_address;                 /* 23 */
    uint16_t write_count;                   /* 23 */
    uint16_t words[V2G_MODBUS_WRITE_WORDS]; /* what is written; 5, 15: bits of words[0] */
};

enum v2g_modbus_verdict {
    V2G_MODBUS_MORE = 0,        /* the frame is not complete yet */
    V2G_MODBUS_REPLY = 1,       /* the answer to requests[request]; a read's data: bytes[data] and `length` on */
    V2G_MODBUS_EXCEPTION = 2,   /* requests[request] was refused with `exception` */
    V2G_MODBUS_UNSOLICITED = 3, /* a frame, but with a transaction identifier nobody waits for */
    V2G_MODBUS_BAD = 4          /* not Modbus, or not an answer to what was asked: nothing after it can be trusted */
};

struct v2g_modbus_parsed {
    uint32_t verdict;     /* enum v2g_modbus_verdict */
    uint32_t consumed;    /* bytes of this frame; 0 with MORE and BAD */
    uint32_t request;     /* index */
    uint32_t transaction; /* identifier in the frame */
    uint32_t data;        /* offset of a read's data */
    uint32_t length;      /* bytes of a read's data, always what the request asked for */
    uint32_t exception;   /* 1…255 */
};

/* Looks at the first frame in bytes[0…length). Total: any bytes, any length. */
void v2g_modbus_parse(const uint8_t *bytes, size_t length, const struct v2g_modbus_request *requests, uint32_t request_count,
                      struct v2g_modbus_parsed *parsed);

/* Writes the request as a Modbus/TCP frame; returns its length, 0 when the request is not one of the known kinds. */
size_t v2g_modbus_build(const struct v2g_modbus_request *request, uint8_t frame[V2G_MODBUS_FRAME]);

/* Registers that one value takes: 1, 2 or 4. */
uint32_t v2g_modbus_words(uint32_t type);

/* The value of a register from its bytes on the wire (2 * words; BIT in coils: 1 byte, already 0 or 1). Total.
 * 1: *value is good; 0: "no value" (invalid code, NaN, out of range). */
int v2g_modbus_decode(const struct v2g_modbus_register *reg, const uint8_t *bytes, int64_t *value);

/* The registers for a value, first on the wire first. Returns their number, 0 when the value must not be written. Total. */
uint32_t v2g_modbus_encode(const struct v2g_modbus_write *write, int64_t value, uint16_t words[V2G_MODBUS_WRITE_WORDS]);

#ifndef V2G_CDEF
_Static_assert(sizeof(struct v2g_modbus_register) == 48, "no hidden padding");
_Static_assert(sizeof(struct v2g_modbus_stats) % 64 == 0, "devices do not share cache lines");
_Static_assert(sizeof(struct v2g_modbus_device) == 72, "no hidden padding");
_Static_assert(sizeof(struct v2g_modbus_write) % 8 == 0, "no hidden padding at the end");
#endif
#endif
