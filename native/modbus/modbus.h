/* What the parts of the Modbus engines share. The protocol side of a device (what to ask next, what an answer means) knows
 * nothing of sockets and lines, so that TCP and RTU use the same. */
#ifndef V2G_MODBUS_INTERNAL_H
#define V2G_MODBUS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "v2g_modbus.h"

#define MB_NEVER INT64_MAX
#define MB_MS    INT64_C(1000000)
#define MB_S     (1000 * MB_MS)

/* Registers that one request reads. */
struct mb_block {
    uint16_t address;
    uint16_t count; /* registers or bits */
    uint16_t every; /* read in every n-th poll */
    uint8_t function;
    uint8_t forced; /* 1: read as soon as possible, a write wants to see its effect */
    uint16_t first; /* registers[first … end) of the sorted config take their values from here */
    uint16_t end;
};

/* Bits, because the next request can be asked for by kind. A probe is a read whose answer only shows that the device follows. */
enum mb_kind { MB_POLL = 1, MB_READ_BACK = 2, MB_WRITE = 4, MB_PROBE = 8, MB_ALL = 7 };
enum mb_phase { MB_NOTHING = 0, MB_VALUE, MB_STOP, MB_START };

/* What an open request is for; stands beside its struct v2g_modbus_request. */
struct mb_open {
    uint8_t kind;   /* enum mb_kind */
    uint8_t phase;  /* enum mb_phase, of a write */
    uint16_t index; /* block or point */
    int64_t value;  /* written, core unit */
    int64_t sent_ns;
    int64_t deadline_ns;
};

/* What is known about a register that carries a setpoint. */
struct mb_point {
    uint8_t confirmed; /* enum mb_phase: what the device acknowledged last; MB_NOTHING: unknown */
    uint8_t started;   /* the start action was acknowledged since the last stop */
    uint8_t in_flight; /* a write of this point is open */
    uint8_t reserved;
    uint32_t beats;                         /* of a heartbeat: the number that was sent last */
    uint16_t words[V2G_MODBUS_WRITE_WORDS]; /* last acknowledged value */
    uint16_t read_back;                     /* block index or V2G_MODBUS_NONE */
    int64_t acked_ns;
    int64_t hold_ns;  /* no write of a value before */
    int64_t retry_ns; /* no stop or start before: one was refused */
};

struct mb_device {
    uint16_t block_first, block_end;
    uint16_t point_first, point_end;
    uint16_t poll_next; /* block that this poll asks for next */
    uint16_t poll_open; /* requests of this poll without an answer */
    uint16_t open_count;
    uint16_t forced; /* blocks waiting to be read back */
    bool poll_active;
    bool lost; /* its cells are marked */
    uint32_t poll_number;
    uint32_t failures; /* in a row */
    int64_t mute_ns;   /* nothing is written before */
    int64_t phase_ns;  /* polls are due at this offset of their period */
    int64_t poll_due_ns;
    struct v2g_modbus_request requests[V2G_MODBUS_MAX_WINDOW];
    struct mb_open open[V2G_MODBUS_MAX_WINDOW];
};

/* What another thread asks for a device: to be left alone. */
struct mb_silence {
    V2G_ATOMIC(int64_t) silence_ns; /* 0: nothing asked */
    V2G_ATOMIC(int64_t) look_ns;
};

/* A committed config: reads merged, writes sorted by device. */
struct mb_bus {
    int64_t retry_ns; /* a refused write is repeated after this, unless the register's own interval is longer */
    struct v2g_modbus_memory memory;
    struct mb_device devices[V2G_MODBUS_MAX_DEVICES];
    struct mb_block blocks[V2G_MODBUS_MAX_REGISTERS];
    struct mb_point points[V2G_MODBUS_MAX_WRITES];
    struct mb_silence silences[V2G_MODBUS_MAX_DEVICES];
    struct v2g_modbus_config config;
};

static inline uint16_t mb_get16(const uint8_t *at) {
    return (uint16_t)((uint32_t)at[0] << 8 | at[1]);
}

static inline void mb_put16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Statistics have one writer, so a load and a store make an addition. */
static inline void mb_count(V2G_ATOMIC(uint64_t) * counter, uint64_t more) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

int64_t mb_now(void); /* CLOCK_MONOTONIC */

/* modbus_frame.c */
size_t mb_build_pdu(const struct v2g_modbus_request *request, uint8_t *pdu);
uint32_t mb_read_length(const struct v2g_modbus_request *request);
uint32_t mb_check_answer(const struct v2g_modbus_request *request, const uint8_t *pdu, uint32_t length,
                         struct v2g_modbus_parsed *parsed);

/* modbus_plan.c */
void mb_plan(struct mb_bus *bus, const struct v2g_modbus_config *config);
void mb_sort_registers(const struct v2g_modbus_config *config, bool by_period, uint64_t *keys);
static inline uint32_t mb_key_index(uint64_t key) {
    return (uint32_t)(key & 0x3FFFU);
}
static inline uint32_t mb_register_width(const struct v2g_modbus_register *reg) {
    return v2g_modbus_words(reg->type); /* a coil is one wide too */
}

/* modbus_point.c */
bool mb_point_due(struct mb_bus *bus, uint32_t index, int64_t now_ns, struct v2g_modbus_request *request, struct mb_open *open);
void mb_point_sent(struct mb_bus *bus, const struct mb_open *open, int64_t now_ns);
void mb_point_acknowledged(struct mb_bus *bus, const struct v2g_modbus_request *request, const struct mb_open *open,
                           int64_t now_ns);
void mb_point_refused(struct mb_bus *bus, const struct mb_open *open, int64_t now_ns);
void mb_point_lost(struct mb_bus *bus, uint32_t index);

/* modbus_device.c */
void mb_poll_due(struct mb_bus *bus, uint32_t device, int64_t now_ns);
void mb_poll_align(struct mb_bus *bus, uint32_t device, int64_t now_ns);
int mb_next_request(struct mb_bus *bus, uint32_t device, uint32_t kinds, int64_t now_ns);
void mb_answered(struct mb_bus *bus, uint32_t device, const struct v2g_modbus_parsed *parsed, const uint8_t *bytes,
                 int64_t now_ns);
void mb_abandon(struct mb_bus *bus, uint32_t device);
void mb_drop_request(struct mb_bus *bus, uint32_t device, int slot);
int64_t mb_backoff_ns(const struct mb_bus *bus, uint32_t device);
int64_t mb_deadline_ns(const struct mb_bus *bus, uint32_t device);
int mb_ask_silence(struct mb_bus *bus, uint32_t device, int64_t silence_ns, int64_t look_ns);
int64_t mb_take_silence(struct mb_bus *bus, uint32_t device, int64_t now_ns);

#endif
