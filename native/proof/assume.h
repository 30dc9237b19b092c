/* What an ESBMC harness starts from: any config and plan that pass their checks, any inputs at all, any state between cycles.
 *
 * One EVSE is proven: `tools/prove.py` makes the tables of its copy of v2g.h one entry long. That covers any number, because the chain
 * of an EVSE reads and writes that EVSE's entries only; what they share, the feeders, is any value here and proven in feeder.c. */
#ifndef V2G_PROOF_ASSUME_H
#define V2G_PROOF_ASSUME_H

/* ESBMC's own offsetof is no constant expression. */
#undef __builtin_offsetof

#include "v2g.h"

void __ESBMC_assume(_Bool);
void __ESBMC_assert(_Bool, const char *);
#define assume(condition)      __ESBMC_assume(condition)
#define prove(condition, text) __ESBMC_assert(condition, text)

bool nondet_bool(void);
int32_t nondet_int(void);
uint32_t nondet_uint(void);
int64_t nondet_long(void);

/* Any value from low to high. */
static inline int32_t some(int32_t low, int32_t high) {
    int32_t value = nondet_int();
    assume(value >= low && value <= high);
    return value;
}

/* Any clock from the start of the machine on; 2^61 ns are 73 years. */
static inline int64_t some_time(void) {
    int64_t now_ns = nondet_long();
    assume(now_ns >= 0 && now_ns < (int64_t)1 << 61);
    return now_ns;
}

/* A third, rounded up, by what it means instead of by dividing: solvers can't divide. tools/prove.py puts it into its copy of chain.h;
 * small.c (PART 1) proves that the real division says the same. */
static inline int32_t third(int32_t magnitude_w) {
    int32_t share_w = some(0, V2G_POWER_MAX_W + 1000);
    assume(3 * share_w >= magnitude_w && 3 * share_w <= magnitude_w + 2);
    return share_w;
}

static inline bool is_some_power(int32_t w) {
    return w >= 0 && w <= V2G_POWER_MAX_W;
}

static inline bool is_some_signed_power(int32_t w) {
    return w >= -V2G_POWER_MAX_W && w <= V2G_POWER_MAX_W;
}

static inline bool is_some_soc(int32_t soc) {
    return soc >= 0 && soc <= V2G_SOC_MAX;
}

static inline bool is_some_rate(int32_t q8) {
    return q8 > 0 && q8 <= V2G_POWER_MAX_W * 256;
}

static inline bool is_some_age(int64_t ns) {
    return ns > 0 && ns <= (int64_t)3600 * 1000000000;
}

/* The invariant of an EVSE's state: v2g_state_init makes it true (check.c) and every step keeps it (chain.c). */
static inline bool evse_state_good(const struct v2g_evse_state *s) {
    return s->ramp_q8 >= -V2G_POWER_MAX_W * 256 && s->ramp_q8 <= V2G_POWER_MAX_W * 256 && s->target_w >= -V2G_POWER_MAX_W &&
           s->target_w <= V2G_POWER_MAX_W && is_some_power(s->book_charge_w) && is_some_power(s->book_discharge_w) &&
           is_some_power(s->thermal_w) && s->fresh <= V2G_FRESH_TIMES;
}

#endif
