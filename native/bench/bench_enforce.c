/* Something for valgrind to count: `bench_enforce SITE CYCLES` brings 64 EVSEs into one state and keeps them there for CYCLES.
 *
 *   steady     all charge as they wish
 *   tree       the same under a tree of 4 levels with 32 metered feeders
 *   hot        every temperature in its derating table, two sensors latched and cooling
 *   narrow     the tree again, its feeders too narrow for what is wished: every EVSE is fitted and settled on each level
 *   silent     no EVSE is heard
 *   worst      narrow, hot, no phase currents, the plan over
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tests/site.h"

enum { EVSES = 64, FEEDERS = 32, FIRST_LEAF = 13, SETTLE_MS = 8000 };

static struct site s;

/* 1 grid connection, 3 sections of it, 9 of these, 19 of those. */
static uint16_t parent_of(uint32_t feeder) {
    if (feeder == 0)
        return V2G_NONE;
    if (feeder < 4)
        return 0;
    return (uint16_t)(feeder < FIRST_LEAF ? 1 + (feeder - 4) / 3 : 4 + (feeder - FIRST_LEAF) % 9);
}

static void make_tree(int32_t phase_w) {
    s.config.feeders = FEEDERS;
    for (uint32_t f = 0; f < FEEDERS; f++)
        site_feeder(&s.config.feeder[f], 1000 + f, parent_of(f), f == 0 ? 0 : V2G_NONE, phase_w);
    for (uint32_t i = 0; i < EVSES; i++)
        s.config.evse[i].feeder = (uint16_t)(FIRST_LEAF + i % (FEEDERS - FIRST_LEAF));
}

static void heat(void) {
    for (uint32_t i = 0; i < EVSES; i++) {
        s.state.evse[i].latch |= V2G_LATCH_THERMAL * 3; /* connector and cable were too hot, and are cool enough since */
        s.image.evse[i].value[V2G_F_T_CELL_MAX] = 500;
        s.image.evse[i].value[V2G_F_T_CELL_MIN] = 480;
    }
}

static int is(const char *what, const char *wanted) {
    return strcmp(what, wanted) == 0 || strcmp(what, "worst") == 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: bench_enforce steady|tree|hot|narrow|silent|worst CYCLES\n");
        return 64;
    }
    const char *what = argv[1];
    site_init(&s, EVSES);
    if (strcmp(what, "tree") == 0 || is(what, "narrow"))
        make_tree(is(what, "narrow") ? 4000 : 1000000);
    else
        site_feeder(&s.config.feeder[0], 1000, V2G_NONE, 0, 1000000);
    v2g_config_seal(&s.config);
    site_wish(&s, 11000);
    site_run(&s, SETTLE_MS);
    for (uint32_t i = 0; is(what, "narrow") && i < FEEDERS; i++) /* it is tight from now on, and nobody can follow at once */
        s.plan.feeder[i].import_w = 2000;
    s.follow = !is(what, "narrow");
    s.link_up = strcmp(what, "silent") != 0;
    s.python_up = strcmp(what, "worst") != 0;
    site_run(&s, strcmp(what, "worst") == 0 ? 3000 : 1000);
    if (is(what, "hot"))
        heat();
    for (uint32_t i = 0; strcmp(what, "worst") == 0 && i < EVSES; i++)
        s.image.evse[i].valid &= ~(1u << V2G_F_P_L1);
    site_run(&s, (int64_t)atoi(argv[2]) * SITE_PERIOD_MS);
    int64_t sum_w = 0;
    for (uint32_t i = 0; i < EVSES; i++)
        sum_w += s.out.evse[i].target_w;
    printf("{\"site\": \"%s\", \"evses\": %d, \"target_w\": %lld, \"safe\": %u, \"reason\": %u}\n", what, EVSES,
           (long long)sum_w / EVSES, s.out.safe, s.out.evse[0].reason);
    return 0;
}
