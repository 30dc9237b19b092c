/* Site control against a simulated site, in compressed time: does the grid connection show the site's target?
 *
 *   bench_track EVSES FAULTY_PERCENT BACKHAUL_MS [cost]
 *
 * The real steps 5 to 7 (estimate, site control, enforce) every 10 ms over a feeder tree of 4 levels. A quarter of the EVSEs is slow
 * (dead time 1 to 5 s, tells its power every second), the others are fast (20 ms dead time, 100 ms lag). Each takes up to 2 % more or
 * less than told. The meter renews every 200 ms. FAULTY: half of them refuse to take power, half fall silent at the second step.
 * BACKHAUL: an aggregator that sees telemetry late and corrects its command every 5 s by half of what is missing.
 * Prints one line of JSON: target and power at 10 Hz, and what step 6 took. `cost`: only runs, for valgrind. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../tests/site.h"
#include "v2g_site.h"

enum {
    FEEDERS = 32,
    LEAVES = 19,
    FIRST_LEAF = FEEDERS - LEAVES,
    HISTORY = 1024,
    REFRESH_MS = 200,
    STEPS = 3,
    STEP_S = 60,
    SETTLE_S = 60
};
enum { SERIES = (SETTLE_S + STEPS * STEP_S) * 10, CYCLES = SERIES * 10, LATE = 512 };

struct device {
    int dead_ms, lag_ms, tell_ms;
    double gain, power_w;
    int32_t past_w[HISTORY]; /* setpoints, one per period */
    bool refuses, falls_silent;
};

static struct site s;
static struct v2g_site_config control;
static struct v2g_site_plan wish;
static struct v2g_site_state memory;
static struct v2g_site_view view;
static struct device device[V2G_MAX_EVSES];
static double series_w[SERIES], wanted_w[SERIES];
static double late_measured_w[LATE], late_command_w[LATE];
static int64_t taken_ns[CYCLES]; /* by tracking and sharing */
static uint64_t seed = 88172645463325252u;

static uint32_t any(uint32_t n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed % n);
}

static uint16_t parent_of(uint32_t feeder) {
    if (feeder == 0)
        return V2G_NONE;
    if (feeder < 4)
        return 0;
    return (uint16_t)(feeder < FIRST_LEAF ? 1 + (feeder - 4) / 3 : 4 + (feeder - FIRST_LEAF) % 9);
}

static void make_device(uint32_t i, uint32_t evses, uint32_t faulty_percent) {
    struct device *d = &device[i];
    bool slow = i % 4 == 3;
    *d = (struct device){.dead_ms = slow ? 1000 + (int)any(4001) : 20, .lag_ms = slow ? 300 : 100, .tell_ms = slow ? 1000 : 10};
    d->gain = 0.98 + any(4001) / 100000.0;
    bool faulty = (i * 37 + 11) % 100 < faulty_percent;
    d->refuses = faulty && i % 2 == 0;
    d->falls_silent = faulty && i % 2 == 1;
    struct v2g_evse_config *e = &s.config.evse[i];
    e->feeder = (uint16_t)(FIRST_LEAF + i % LEAVES);
    e->ramp_q8 = e->ramp_return_q8 = 22000 * 256 / 10; /* 1000 %/s: the controller is judged, not the ramp */
    e->follow_tolerance_w = 1100;
    e->link_age_ns = (slow ? 3500 : 100) * SITE_MS;
    e->soc_age_ns = e->temp_age_ns = e->phase_age_ns = e->limits_age_ns = 3500 * SITE_MS;
    e->reaction_ns = (slow ? 8000 : 1000) * SITE_MS;
    e->soc_tolerance = 0;
    control.response_ns[i] = (d->dead_ms + 3 * d->lag_ms) * SITE_MS;
    (void)evses;
}

static void open_world(uint32_t evses, uint32_t faulty_percent) {
    site_init(&s, evses);
    v2g_site_init(&memory);
    s.config.feeders = FEEDERS;
    for (uint32_t f = 0; f < FEEDERS; f++) {
        site_feeder(&s.config.feeder[f], 1000 + f, parent_of(f), f == 0 ? 0 : V2G_NONE, 1300000);
        s.config.feeder[f].share_w = 100;
    }
    s.config.feeder[0].meter_age_ns = 1000 * SITE_MS;
    s.config.feeder[0].refresh_ns = REFRESH_MS * SITE_MS;
    for (uint32_t i = 0; i < evses; i++) {
        make_device(i, evses, faulty_percent);
        s.config.evse[i].min_charge_w = s.config.evse[i].min_discharge_w = 0;
        s.plan.evse[i].flag = V2G_PLAN_SITE_TARGET;
    }
    v2g_config_seal(&s.config);
    if (v2g_config_check(&s.config) != 0 || v2g_site_check(&control, &s.config) != 0)
        abort();
    s.base_w = 20000;
}

static void renew_plan(void) {
    s.plan.epoch++;
    s.plan.made_ns = s.now_ns;
    s.plan.lease_ns = s.now_ns + 2000 * SITE_MS;
    for (uint32_t i = 0; i < s.config.evses; i++)
        s.plan.evse[i].until_ns = s.plan.lease_ns;
    for (uint32_t f = 0; f < s.config.feeders; f++)
        s.plan.feeder[f].until_ns = s.plan.lease_ns;
}

/* One period of every device. Returns what they draw together. */
static double run_devices(int cycle, bool silence) {
    double sum_w = 0;
    for (uint32_t i = 0; i < s.config.evses; i++) {
        struct device *d = &device[i];
        struct v2g_evse_in *in = &s.image.evse[i];
        d->past_w[cycle % HISTORY] = s.out.evse[i].target_w;
        int then = cycle - d->dead_ms / SITE_PERIOD_MS;
        double told_w = then < 0 || d->refuses ? 0 : d->past_w[then % HISTORY] * d->gain;
        if (silence && d->falls_silent)
            told_w = 0;
        d->power_w += (told_w - d->power_w) * (1 - exp(-(double)SITE_PERIOD_MS / d->lag_ms));
        sum_w += d->power_w;
        if (cycle * SITE_PERIOD_MS % d->tell_ms != 0 || (silence && d->falls_silent))
            continue;
        in->value[V2G_F_POWER] = (int32_t)d->power_w;
        for (int lane = 0; lane < V2G_LANE_TOTAL; lane++)
            in->value[V2G_F_P_L1 + lane] = (int32_t)fabs(d->power_w / 3);
        for (int field = 0; field < V2G_FIELDS; field++)
            in->acquired_ns[field] = s.now_ns;
    }
    return sum_w;
}

static void run_meter(int cycle, double pcc_w) {
    struct v2g_meter_in *m = &s.image.meter[0];
    bool renews = cycle * SITE_PERIOD_MS % REFRESH_MS == 0;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t w = (int32_t)(lane == V2G_LANE_TOTAL ? pcc_w : pcc_w / 3);
        if (renews && m->value[lane] != w) {
            m->value[lane] = w;
            m->changed_ns[lane] = s.now_ns;
        }
        if (renews)
            m->acquired_ns[lane] = s.now_ns;
    }
}

/* What the aggregator wants, and what arrives of its corrections. */
static double command_w(int cycle, double want_w, double pcc_w, int backhaul_ms) {
    static double bias_w, last_want_w;
    int way = backhaul_ms / 2 / SITE_PERIOD_MS;
    late_measured_w[cycle % LATE] = pcc_w;
    if (want_w < last_want_w || want_w > last_want_w)
        bias_w = 0;
    last_want_w = want_w;
    if (cycle % 500 == 0 && cycle > way)
        bias_w += (want_w - late_measured_w[(cycle - way) % LATE]) / 2;
    bias_w = fmax(-0.05 * fabs(want_w), fmin(bias_w, 0.05 * fabs(want_w)));
    late_command_w[cycle % LATE] = want_w + bias_w;
    return cycle > way ? late_command_w[(cycle - way) % LATE] : want_w;
}

static void print_series(const char *name, const double *value) {
    printf(", \"%s\": [", name);
    for (int i = 0; i < SERIES; i++)
        printf("%s%.0f", i == 0 ? "" : ",", value[i]);
    printf("]");
}

static int64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_size(const void *left, const void *right) {
    const int64_t a = *(const int64_t *)left, c = *(const int64_t *)right;
    return (a > c) - (a < c);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 64;
    uint32_t evses = (uint32_t)atoi(argv[1]);
    int backhaul_ms = atoi(argv[3]);
    open_world(evses, (uint32_t)atoi(argv[2]));
    const double targets[STEPS + 1] = {4000.0 * evses, 9000.0 * evses, 3000.0 * evses, -5000.0 * evses};
    double pcc_w = s.base_w;
    int cycles = argc > 4 ? 1000 : CYCLES;
    for (int cycle = 0; cycle < cycles; cycle++) {
        int step = cycle < SETTLE_S * 100 ? 0 : 1 + (cycle / 100 - SETTLE_S) / STEP_S;
        s.now_ns += SITE_PERIOD_MS * SITE_MS;
        if (cycle % 20 == 0)
            renew_plan();
        wish.present = 1;
        wish.target_w = (int32_t)(backhaul_ms > 0 ? command_w(cycle, targets[step], pcc_w, backhaul_ms) : targets[step]);
        wish.damp_q32 = backhaul_ms > 1000 ? (uint32_t)(4294967296.0 * SITE_PERIOD_MS / backhaul_ms) : 0;
        pcc_w = s.base_w + run_devices(cycle, step >= 2);
        run_meter(cycle, pcc_w);
        v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
        const int64_t begin_ns = clock_ns();
        v2g_site_propose(&s.config, &control, &s.plan, &wish, &s.state, &s.out, s.now_ns, &memory, &s.image, &view);
        taken_ns[cycle] = clock_ns() - begin_ns;
        v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
        if (cycle % 10 == 0 && cycle / 10 < SERIES) {
            series_w[cycle / 10] = pcc_w;
            wanted_w[cycle / 10] = targets[step];
        }
    }
    if (argc > 4)
        return 0;
    int slowest_ms = 0;
    for (uint32_t i = 0; i < evses; i++)
        slowest_ms = device[i].dead_ms + device[i].lag_ms > slowest_ms ? device[i].dead_ms + device[i].lag_ms : slowest_ms;
    qsort(taken_ns, CYCLES, sizeof taken_ns[0], by_size);
    printf("{\"evses\": %u, \"faulty_percent\": %s, \"backhaul_ms\": %d, \"slowest_s\": %.2f, \"propose_us\": %.2f", evses,
           argv[2], backhaul_ms, slowest_ms / 1000.0, (double)taken_ns[CYCLES / 2] / 1000);
    print_series("measured_w", series_w);
    print_series("target_w", wanted_w);
    printf("}\n");
    return 0;
}
