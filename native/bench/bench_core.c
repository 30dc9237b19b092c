/* What a cycle costs, and whether it comes in time. One arm per call, one line of JSON per arm:
 *
 *   bench_core step EVSES CYCLES           the cycle's steps, one after the other, on a bus that is a socket pair
 *   bench_core enforce EVSES BATCHES       v2g_enforce alone on a site at work, per call
 *   bench_core run EVSES SECONDS CPU       the real thread at 10 ms (CPU -1: any), SCHED_FIFO when granted
 *
 * EVSES under a feeder tree of 4 levels with 32 meters; half of them follow the site's wish. The plan is renewed at 5 Hz. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../core/cycle.h"
#include "../tests/bench_site.h"

enum { FEEDERS = 32, LEAVES = 19, FIRST_LEAF = FEEDERS - LEAVES, PLAN_CYCLES = 20, WARM_UP = 700, PRIORITY = 80, BATCH = 20 };

static struct bench_site b;

static void die(const char *what) {
    fprintf(stderr, "bench_core: %s\n", what);
    exit(1);
}

/* 1 grid connection, 3 sections of it, 9 of these, 19 of those. */
static uint16_t parent_of(uint32_t feeder) {
    if (feeder == 0)
        return V2G_NONE;
    if (feeder < 4)
        return 0;
    return (uint16_t)(feeder < FIRST_LEAF ? 1 + (feeder - 4) / 3 : 4 + (feeder - FIRST_LEAF) % 9);
}

static void open_tree(uint32_t evses) {
    if (bench_prepare(&b, evses) != 0)
        die("no memory or no socket pair");
    struct v2g_config *config = &b.site.config;
    config->feeders = config->meters = FEEDERS;
    for (uint32_t f = 0; f < FEEDERS; f++)
        site_feeder(&config->feeder[f], 1000 + f, parent_of(f), (uint16_t)f, 1000000);
    for (uint32_t i = 0; i < evses; i++)
        config->evse[i].feeder = (uint16_t)(FIRST_LEAF + i % LEAVES);
    site_wish(&b.site, 11000);
    for (uint32_t i = 0; i < evses; i += 2)
        b.site.plan.evse[i].flag |= V2G_PLAN_SITE_TARGET;
    b.wish = (struct v2g_site_plan){.target_w = 8000 * (int32_t)evses, .present = 1};
    if (bench_begin(&b) != 0)
        die("the commit was refused");
}

/* Upper end of the bucket in which `per_mille` of all values lie, ns. */
static uint64_t percentile(const struct v2g_histogram *h, uint64_t per_mille) {
    const uint64_t wanted = (atomic_load(&h->count) * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < V2G_HISTOGRAM_BUCKETS; i++) {
        seen += atomic_load(&h->bucket[i]);
        if (seen >= wanted && seen > 0)
            return i < 32 ? i : ((uint64_t)(32 + i % 32 + 1) << (i / 32 - 1)) - 1;
    }
    return 0;
}

static void print_histogram(const char *name, enum v2g_histogram_kind kind) {
    const struct v2g_histogram *h = &b.arena->histogram[kind];
    printf(", \"%s_ns\": {\"p50\": %llu, \"p99\": %llu, \"p99_9\": %llu, \"max\": %llu}", name,
           (unsigned long long)percentile(h, 500), (unsigned long long)percentile(h, 990),
           (unsigned long long)percentile(h, 999), (unsigned long long)atomic_load(&h->max));
}

static void forget_histograms(void) {
    memset(b.arena->histogram, 0, sizeof b.arena->histogram);
}

static void step(uint32_t evses, uint32_t cycles) {
    open_tree(evses);
    for (uint32_t i = 0; i < WARM_UP + cycles; i++) {
        if (i == WARM_UP)
            forget_histograms();
        b.site.python_up = i % PLAN_CYCLES == 0;
        bench_step(&b);
    }
    printf("{\"evses\": %u, \"meters\": %d, \"feeders\": %d, \"cycles\": %u", evses, FEEDERS, FEEDERS, cycles);
    print_histogram("compute", V2G_HIST_COMPUTE);
    print_histogram("drain", V2G_HIST_DRAIN);
    print_histogram("send", V2G_HIST_SEND);
    printf("}\n");
}

static int by_size(const void *left, const void *right) {
    const int64_t a = *(const int64_t *)left, c = *(const int64_t *)right;
    return (a > c) - (a < c);
}

static void enforce(uint32_t evses, uint32_t batches) {
    open_tree(evses);
    for (uint32_t i = 0; i < WARM_UP; i++) {
        b.site.python_up = i % PLAN_CYCLES == 0;
        bench_step(&b);
    }
    const struct v2g_config *config = &b.cycle->active.commit.config;
    struct v2g_snapshot *live = &b.cycle->live;
    int64_t *taken_ns = calloc(batches, sizeof *taken_ns);
    if (taken_ns == NULL)
        die("no memory");
    for (uint32_t batch = 0; batch < batches; batch++) {
        const int64_t begin_ns = v2g_now_ns();
        for (int call = 0; call < BATCH; call++)
            v2g_enforce(config, &live->plan, &live->state, &live->image, b.site.now_ns, &live->set);
        taken_ns[batch] = v2g_now_ns() - begin_ns;
    }
    qsort(taken_ns, batches, sizeof *taken_ns, by_size);
    printf("{\"evses\": %u, \"calls\": %u, \"enforce_ns\": {\"min\": %lld, \"p50\": %lld}}\n", evses, batches * BATCH,
           (long long)(taken_ns[0] / BATCH), (long long)(taken_ns[batches / 2] / BATCH));
    free(taken_ns);
}

static void sleep_until(int64_t point_ns) {
    const struct timespec t = {.tv_sec = point_ns / 1000000000, .tv_nsec = point_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

static void run(uint32_t evses, int64_t seconds, int cpu) {
    open_tree(evses);
    const struct v2g_rt_request request = {.thread = {.policy = SCHED_FIFO, .priority = PRIORITY, .cpu = cpu},
                                           .lock_memory = 1};
    struct v2g_rt_report report;
    if (v2g_cycle_start(b.cycle, &request, &report) != 0)
        die("the thread can't start");
    const int64_t start_ns = v2g_now_ns(), period_ns = SITE_PERIOD_MS * SITE_MS;
    int64_t point_ns = start_ns;
    for (uint32_t i = 0; point_ns < start_ns + seconds * 1000000000; i++, point_ns += period_ns) {
        b.site.now_ns = v2g_now_ns();
        bench_measure(&b);
        if (i % PLAN_CYCLES == 0)
            bench_plan(&b);
        sleep_until(point_ns + period_ns);
        bench_read_commands(&b);
    }
    v2g_cycle_stop(b.cycle);
    static struct v2g_snapshot last;
    if (v2g_snapshot_read(b.arena, &last) != 0)
        die("no snapshot");
    printf("{\"evses\": %u, \"meters\": %d, \"period_us\": %lld, \"scheduling\": \"%s\", \"cycles\": %llu, \"missed_cycles\": "
           "%llu, \"page_faults\": %llu, \"preemptions\": %llu",
           evses, FEEDERS, (long long)(period_ns / 1000), report.policy == SCHED_FIFO ? "fifo" : "other",
           (unsigned long long)last.stats.cycles, (unsigned long long)last.stats.missed,
           (unsigned long long)last.stats.page_faults, (unsigned long long)last.stats.preemptions);
    print_histogram("lateness", V2G_HIST_LATENESS);
    print_histogram("compute", V2G_HIST_COMPUTE);
    print_histogram("work", V2G_HIST_WORK);
    printf("}\n");
}

int main(int argc, char **argv) {
    const uint32_t evses = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    if (evses < 1 || evses > V2G_MAX_EVSES)
        die("usage: bench_core step EVSES CYCLES | enforce EVSES BATCHES | run EVSES SECONDS CPU");
    if (argc == 4 && strcmp(argv[1], "step") == 0)
        step(evses, (uint32_t)atoi(argv[3]));
    else if (argc == 4 && strcmp(argv[1], "enforce") == 0)
        enforce(evses, (uint32_t)atoi(argv[3]));
    else if (argc == 5 && strcmp(argv[1], "run") == 0)
        run(evses, atoi(argv[3]), atoi(argv[4]));
    else
        die("usage: bench_core step EVSES CYCLES | enforce EVSES BATCHES | run EVSES SECONDS CPU");
    bench_close(&b);
    return 0;
}
