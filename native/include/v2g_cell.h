/* Cells: how one thread hands its newest value to another. Every cell has exactly one writer.
 *
 * A measured value (struct v2g_cell) is written by a bus engine and read by the cycle; a write request (struct
 * v2g_write_cell) is written by the cycle and read by a bus engine. Both are sequence locks: the writer never waits, the
 * reader tries a bounded number of times and then keeps the copy it had (its age goes on growing, so that is safe).
 * Cells are 64 bytes, so that two of them never share a cache line when the array is aligned to 64.
 *
 * Nothing is ever re-stamped: acquired_ns and changed_ns belong to the value. A lost device changes the quality only. */
#ifndef V2G_CELL_H
#define V2G_CELL_H

#ifndef V2G_CDEF
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#endif

#ifndef V2G_ATOMIC
#ifdef V2G_CDEF
#define V2G_ATOMIC(type) type
#else
#define V2G_ATOMIC(type) _Atomic type
#endif
#endif

/* What is known about a cell's value. */
enum v2g_quality {
    V2G_QUALITY_NONE = 0,         /* no value was ever acquired */
    V2G_QUALITY_GOOD = 1,         /* the last answer brought this value */
    V2G_QUALITY_INVALID = 2,      /* the device answered "no value" or nonsense; the value is the last good one */
    V2G_QUALITY_STALE_DEVICE = 3, /* the device doesn't answer; the value is the last good one */
    V2G_QUALITY_EXCEPTION = 4,    /* the device refused the read; the value is the last good one */
};

struct v2g_cell {
    V2G_ATOMIC(uint32_t) seq;        /* odd while the writer is inside */
    V2G_ATOMIC(uint32_t) quality;    /* enum v2g_quality */
    V2G_ATOMIC(int64_t) value;       /* in the quantity's core unit: W, Wh, mA, dV (0.1 V), mHz, 0.1 degree C, 0.01 % */
    V2G_ATOMIC(int64_t) acquired_ns; /* CLOCK_MONOTONIC: when the answer that brought `value` was received */
    V2G_ATOMIC(int64_t) changed_ns;  /* CLOCK_MONOTONIC: when an answer last differed from the one before */
    V2G_ATOMIC(uint32_t) count;      /* good answers so far; wraps */
    uint8_t reserved[28];
};

/* A consistent copy of a cell. */
struct v2g_sample {
    int64_t value;
    int64_t acquired_ns;
    int64_t changed_ns;
    uint32_t quality;
    uint32_t count;
};

/* What the cycle wants a register to hold: only the newest value counts, an older one is overwritten, never queued. */
struct v2g_write_cell {
    V2G_ATOMIC(uint32_t) seq; /* odd while the writer is inside; 0: nothing was ever asked for */
    uint32_t reserved_0;
    V2G_ATOMIC(int64_t) value;          /* in the core unit of the register */
    V2G_ATOMIC(int64_t) valid_until_ns; /* CLOCK_MONOTONIC; from then on the profile's stop action holds instead */
    uint8_t reserved[40];
};

/* A consistent copy of a write request. */
struct v2g_write_sample {
    int64_t value;
    int64_t valid_until_ns;
    uint32_t seq; /* 0: nothing was ever asked for */
    uint32_t reserved;
};

#ifndef V2G_CDEF

_Static_assert(sizeof(struct v2g_cell) == 64, "one cache line");
_Static_assert(sizeof(struct v2g_write_cell) == 64, "one cache line");

/* A reader that meets the writer this often in a row (the writer stays inside for some 10 ns) was itself the one that
 * pre-empted it; waiting longer would never end. */
enum { V2G_CELL_TRIES = 8 };

/* The release stores keep the fields between the two stores of seq; the acquire loads in the readers pair with them. */
static inline uint32_t v2g_seq_enter(V2G_ATOMIC(uint32_t) * seq) {
    const uint32_t was = atomic_load_explicit(seq, memory_order_relaxed);
    atomic_store_explicit(seq, was + 1U, memory_order_relaxed);
    return was + 2U;
}

/* Stores a newly acquired value. Only the cell's one writer calls it. */
static inline void v2g_cell_write(struct v2g_cell *cell, int64_t value, int64_t acquired_ns) {
    const uint32_t count = atomic_load_explicit(&cell->count, memory_order_relaxed);
    const bool changed = count == 0U || atomic_load_explicit(&cell->value, memory_order_relaxed) != value;
    const uint32_t next = v2g_seq_enter(&cell->seq);
    atomic_store_explicit(&cell->value, value, memory_order_release);
    atomic_store_explicit(&cell->acquired_ns, acquired_ns, memory_order_release);
    if (changed) {
        atomic_store_explicit(&cell->changed_ns, acquired_ns, memory_order_release);
    }
    atomic_store_explicit(&cell->quality, (uint32_t)V2G_QUALITY_GOOD, memory_order_release);
    atomic_store_explicit(&cell->count, count == UINT32_MAX ? 1U : count + 1U, memory_order_release);
    atomic_store_explicit(&cell->seq, next, memory_order_release);
}

/* Changes the quality and leaves value and stamps alone. A cell that never had a value stays `none` when its device is
 * lost. Only the cell's one writer calls it. */
static inline void v2g_cell_mark(struct v2g_cell *cell, enum v2g_quality quality) {
    if (atomic_load_explicit(&cell->count, memory_order_relaxed) == 0U && quality == V2G_QUALITY_STALE_DEVICE) {
        return;
    }
    const uint32_t next = v2g_seq_enter(&cell->seq);
    atomic_store_explicit(&cell->quality, (uint32_t)quality, memory_order_release);
    atomic_store_explicit(&cell->seq, next, memory_order_release);
}

/* Copies the cell. False: the writer was inside every time; keep the copy you have. */
static inline bool v2g_cell_read(const struct v2g_cell *cell, struct v2g_sample *sample) {
    for (int i = 0; i < V2G_CELL_TRIES; i++) {
        const uint32_t before = atomic_load_explicit(&cell->seq, memory_order_acquire);
        struct v2g_sample copy;
        copy.value = atomic_load_explicit(&cell->value, memory_order_acquire);
        copy.acquired_ns = atomic_load_explicit(&cell->acquired_ns, memory_order_acquire);
        copy.changed_ns = atomic_load_explicit(&cell->changed_ns, memory_order_acquire);
        copy.quality = atomic_load_explicit(&cell->quality, memory_order_acquire);
        copy.count = atomic_load_explicit(&cell->count, memory_order_acquire);
        if ((before & 1U) == 0U && atomic_load_explicit(&cell->seq, memory_order_relaxed) == before) {
            *sample = copy;
            return true;
        }
    }
    return false;
}

/* Asks for `value` until `valid_until_ns`. Only the cell's one writer calls it. */
static inline void v2g_write_cell_write(struct v2g_write_cell *cell, int64_t value, int64_t valid_until_ns) {
    const uint32_t next = v2g_seq_enter(&cell->seq);
    atomic_store_explicit(&cell->value, value, memory_order_release);
    atomic_store_explicit(&cell->valid_until_ns, valid_until_ns, memory_order_release);
    atomic_store_explicit(&cell->seq, next == 0U ? 2U : next, memory_order_release);
}

/* Copies the request. False: the writer was inside every time; look again later. */
static inline bool v2g_write_cell_read(const struct v2g_write_cell *cell, struct v2g_write_sample *sample) {
    for (int i = 0; i < V2G_CELL_TRIES; i++) {
        const uint32_t before = atomic_load_explicit(&cell->seq, memory_order_acquire);
        struct v2g_write_sample copy = {.seq = before};
        copy.value = atomic_load_explicit(&cell->value, memory_order_acquire);
        copy.valid_until_ns = atomic_load_explicit(&cell->valid_until_ns, memory_order_acquire);
        if ((before & 1U) == 0U && atomic_load_explicit(&cell->seq, memory_order_relaxed) == before) {
            *sample = copy;
            return true;
        }
    }
    return false;
}

#endif /* V2G_CDEF */
#endif
