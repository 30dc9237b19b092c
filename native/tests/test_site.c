/* Site control on the whole cycle: shares of full feeders, the site's target, the grid's frequency and voltage. */
#include "check.h"

#include "bench_site.h"

static struct bench_site b;
static struct v2g_snapshot seen;

static void open_site(uint32_t evses) {
    CHECK_EQ(bench_open(&b, evses), 0);
}

static const struct v2g_snapshot *snapshot(void) {
    CHECK_EQ(v2g_snapshot_read(b.arena, &seen), 0);
    return &seen;
}

static int32_t told_together(uint32_t first, uint32_t end) {
    int32_t sum_w = 0;
    for (uint32_t i = first; i < end; i++)
        sum_w += b.told_w[i];
    return sum_w;
}

/* ---- Sharing ----------------------------------------------------------------------------------------------------------------- */

static void a_full_site_is_shared_evenly_and_holds_still(void) {
    open_site(8); /* 8 wishes of 22 kW, 69 kW of fuse, 9 kW of other load that wobbles */
    site_wish(&b.site, 22000);
    b.site.base_w = 9000;
    bench_run(&b, 3000);
    int32_t first_w[8];
    memcpy(first_w, b.told_w, sizeof first_w);
    CHECK(told_together(0, 8) > 58500 && told_together(0, 8) <= 60000);
    int changes = 0;
    for (int cycle = 0; cycle < 1000; cycle++) {
        b.site.base_w = 9000 + cycle % 7 * 30;
        bench_step(&b);
        for (int i = 0; i < 8; i++) {
            changes += snapshot()->set.evse[i].reason != V2G_SITE_LIMIT && seen.set.evse[i].reason != V2G_PHASE_LIMIT;
            CHECK(b.told_w[i] > first_w[0] - 150 && b.told_w[i] < first_w[0] + 150);
        }
    }
    CHECK_EQ(changes, 0);
    bench_close(&b);
}

static void twice_the_weight_gets_twice_the_share(void) {
    open_site(8);
    site_wish(&b.site, 22000);
    b.site.plan.evse[3].weight_charge = 2 * V2G_WEIGHT_ONE;
    bench_run(&b, 3000);
    CHECK(b.told_w[3] > 2 * b.told_w[0] - 40 && b.told_w[3] < 2 * b.told_w[0] + 40);
    bench_close(&b);
}

static void what_one_cannot_use_goes_to_the_others_in_the_same_cycle(void) {
    open_site(8);
    site_wish(&b.site, 22000);
    bench_run(&b, 3000);
    const int32_t before_w = b.told_w[0];
    b.site.image.evse[7].value[V2G_F_MAX_CHARGE] = 2000;
    bench_run(&b, 3);
    CHECK_EQ(b.told_w[7], 2000);
    CHECK(snapshot()->image.proposal[0].share_charge_w > before_w + 500);
    bench_run(&b, 1000);
    CHECK(told_together(0, 8) > 67500);
    bench_close(&b);
}

static void whoever_would_fall_below_its_minimum_waits_and_the_others_have_its_share(void) {
    open_site(8);
    site_wish(&b.site, 0);
    for (int i = 0; i < 8; i++)
        b.site.plan.evse[i].flag = V2G_PLAN_SITE_TARGET;
    b.wish = (struct v2g_site_plan){.target_w = 5000, .present = 1}; /* 8 times 625 W; the minimum is 1400 W */
    bench_run(&b, 1500);
    int served = 0;
    for (int i = 0; i < 8; i++)
        served += b.told_w[i] >= 1400;
    CHECK_EQ(served, 3);
    CHECK_EQ(snapshot()->site.parked, 5);
    CHECK_EQ(snapshot()->set.evse[7].target_w, 0);
    CHECK(told_together(0, 8) >= 4970 && told_together(0, 8) <= 5030); /* a frame carries 10 W */
    bench_close(&b);
}

static void a_narrow_feeder_below_a_wide_one_is_shared_among_its_own(void) {
    CHECK_EQ(bench_prepare(&b, 6), 0);
    b.site.config.feeders = 2;
    site_feeder(&b.site.config.feeder[1], 1001, 0, V2G_NONE, 6667);
    for (int i = 4; i < 6; i++)
        b.site.config.evse[i].feeder = 1;
    CHECK_EQ(bench_begin(&b), 0);
    site_wish(&b.site, 22000);
    bench_run(&b, 3000);
    CHECK(b.told_w[4] > 9300 && b.told_w[4] <= 10000 && b.told_w[5] > 9300); /* 20 kW for two of them, evenly */
    CHECK(b.told_w[0] > 12000);                                              /* the rest of 69 kW over four */
    CHECK(snapshot()->image.proposal[4].why_charge == V2G_FEEDER_LIMIT || seen.image.proposal[4].why_charge == V2G_PHASE_LIMIT);
    bench_close(&b);
}

CHECK_MAIN(CASE(a_full_site_is_shared_evenly_and_holds_still), CASE(twice_the_weight_gets_twice_the_share),
           CASE(what_one_cannot_use_goes_to_the_others_in_the_same_cycle),
           CASE(whoever_would_fall_below_its_minimum_waits_and_the_others_have_its_share),
           CASE(a_narrow_feeder_below_a_wide_one_is_shared_among_its_own))
