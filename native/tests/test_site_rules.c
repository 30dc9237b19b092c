/* Site control without a bus: turns below the device minimum, what is offered of unused power, discharging by weight, and the ranges that
 * v2g_site_check lets through. */
#include "check.h"

#include "site.h"
#include "v2g_site.h"

static struct site s;
static struct v2g_site_config control;
static struct v2g_site_plan wish;
static struct v2g_site_state memory;
static struct v2g_site_view view;
static int32_t refused_w[V2G_MAX_EVSES]; /* what an EVSE takes at most; V2G_POWER_MAX_W: all that it is told */

static void open_rules(uint32_t evses, int32_t target_w) {
    site_init(&s, evses);
    s.config.feeder[0].slew_q8 = 0;
    v2g_config_seal(&s.config);
    memset(&control, 0, sizeof control);
    v2g_site_init(&memory);
    wish = (struct v2g_site_plan){.target_w = target_w, .present = 1};
    for (uint32_t i = 0; i < evses; i++) {
        s.plan.evse[i].flag = V2G_PLAN_SITE_TARGET;
        control.response_ns[i] = 50 * SITE_MS;
        refused_w[i] = V2G_POWER_MAX_W;
    }
}

static void rules_step(void) {
    s.now_ns += SITE_PERIOD_MS * SITE_MS;
    s.plan.epoch++;
    s.plan.made_ns = s.now_ns;
    s.plan.lease_ns = s.now_ns + 2000 * SITE_MS;
    for (uint32_t i = 0; i < s.config.evses; i++)
        s.plan.evse[i].until_ns = s.plan.lease_ns;
    s.plan.feeder[0].until_ns = s.plan.lease_ns;
    struct v2g_setpoints told = s.out;
    for (uint32_t i = 0; i < s.config.evses; i++)
        s.out.evse[i].target_w = s.out.evse[i].target_w > refused_w[i] ? refused_w[i] : s.out.evse[i].target_w;
    site_measure(&s);
    s.out = told;
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    v2g_site_propose(&s.config, &control, &s.plan, &wish, &s.state, &s.out, s.now_ns, &memory, &s.image, &view);
    v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
}

static void rules_run(int64_t ms) {
    for (int64_t t = 0; t < ms; t += SITE_PERIOD_MS)
        rules_step();
}

static uint32_t served(void) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < s.config.evses; i++)
        bits |= (uint32_t)(s.out.evse[i].target_w != 0) << i;
    return bits;
}

/* ---- Turns ------------------------------------------------------------------------------------------------------------------- */

static void who_waits_changes_places_after_ten_minutes(void) {
    open_rules(3, 3000); /* 1400 W at least: two of three */
    rules_run(20000);
    CHECK_EQ(served(), 3); /* the last in the queue waits */
    CHECK_EQ(view.parked, 1);
    CHECK_EQ(s.out.evse[2].target_w, 0);
    rules_run(550000);
    CHECK_EQ(served(), 3);
    rules_run(40000);
    CHECK_EQ(served(), 6); /* the first was served the longest */
    rules_run(610000);
    CHECK_EQ(served(), 5);
    rules_run(610000);
    CHECK_EQ(served(), 3);
    open_rules(3, 1500); /* one of three: two wait, in the order in which they came */
    uint32_t seen = 0;
    for (int turn = 0; turn < 4; turn++) {
        rules_run(610000);
        CHECK(served() == 1 || served() == 2 || served() == 4);
        seen |= served();
    }
    CHECK_EQ(seen, 7);
}

static void who_needs_no_minimum_changes_places_with_nobody(void) {
    open_rules(2, 2000);
    s.config.evse[1].min_charge_w = 0;
    v2g_config_seal(&s.config);
    rules_run(20000);
    CHECK_EQ(served(), 2);
    rules_run(640000);
    CHECK_EQ(served(), 2);
}

/* Three on a narrow feeder that wish for themselves, two on the wide one that follow the site. */
static void who_waits_for_a_feeder_has_nothing_of_the_site_s_target(void) {
    open_rules(5, 20000);
    s.config.feeders = 2;
    site_feeder(&s.config.feeder[1], 1001, 0, V2G_NONE, 1100);
    s.config.feeder[1].share_w = 1000;
    for (uint32_t i = 0; i < 3; i++) {
        s.config.evse[i].feeder = 1;
        s.config.evse[i].option |= V2G_EVSE_BALANCED;
        s.plan.evse[i].flag = 0;
        s.plan.evse[i].target_w = 22000;
    }
    v2g_config_seal(&s.config);
    CHECK_EQ(v2g_config_check(&s.config), 0);
    rules_run(20000);
    CHECK_EQ(served(), 27);
    CHECK(view.measured_w > 19900 && view.measured_w < 20100);
    rules_run(640000);
    CHECK_EQ(served(), 30);
}

static void who_had_to_stop_stays_so_for_a_minute_and_returns_when_there_is_enough(void) {
    open_rules(3, 3000);
    rules_run(5000);
    CHECK_EQ(served(), 3);
    wish.target_w = 4300; /* three minima, but not an eighth more */
    rules_run(70000);
    CHECK_EQ(served(), 3);
    wish.target_w = 9000;
    rules_run(5000);
    CHECK_EQ(served(), 7);
    CHECK_EQ(view.parked, 0);
    wish.target_w = 3000;
    rules_run(5000);
    CHECK_EQ(served(), 3);
    wish.target_w = 9000;
    rules_run(40000);
    CHECK_EQ(served(), 3);
    rules_run(40000);
    CHECK_EQ(served(), 7);
}

static void turns_hold_for_discharging_too(void) {
    open_rules(3, -3000);
    rules_run(20000);
    CHECK_EQ(served(), 3);
    CHECK(s.out.evse[0].target_w < -1400);
    wish.target_w = -4300;
    rules_run(70000);
    CHECK_EQ(served(), 3);
    wish.target_w = -9000;
    rules_run(5000);
    CHECK_EQ(served(), 7);
}

static void nobody_waits_when_there_is_not_enough_for_even_one(void) {
    open_rules(3, 1000);
    rules_run(20000);
    CHECK_EQ(served(), 0);
    CHECK_EQ(view.parked, 0);
    wish.target_w = 2000;
    rules_run(5000);
    CHECK_EQ(served(), 1);
}

/* ---- Tracking ---------------------------------------------------------------------------------------------------------------- */

static void a_slow_meter_and_slow_vehicles_are_looked_at_once_they_have_settled(void) {
    open_rules(2, 10000);
    s.config.feeder[0].refresh_ns = 50 * SITE_MS;
    v2g_config_seal(&s.config);
    control.response_ns[0] = 2000 * SITE_MS;
    for (int i = 0; i < 6000; i++) {
        s.meter_up = i % 5 == 0;
        rules_step();
    }
    CHECK(view.measured_w > 9990 && view.measured_w < 10010);
}

static void what_one_refuses_is_asked_of_the_others(void) {
    open_rules(3, 12000);
    refused_w[1] = 1500;
    rules_run(30000);
    CHECK(s.out.evse[1].target_w <= 1500 + 22000 / 16);
    CHECK(view.measured_w > 11940 && view.measured_w < 12060);
    CHECK(view.trim_w > -100 && view.trim_w < 100); /* asked of them, not found by correcting */
    refused_w[1] = V2G_POWER_MAX_W;                 /* it takes power again */
    rules_run(30000);
    CHECK(s.out.evse[1].target_w > 3900);
}

static void a_target_over_a_slow_backhaul_is_taken_over_gradually(void) {
    open_rules(2, 4000);
    rules_run(10000);
    wish = (struct v2g_site_plan){.target_w = 14000, .present = 1, .damp_q32 = 42949673}; /* a hundredth a cycle: 1 s */
    rules_run(1000);
    CHECK(view.target_w > 10000 && view.target_w < 10700);
    wish.target_w = -4000;
    rules_run(8000);
    CHECK(view.target_w >= -4000 && view.target_w < -3950);
}

static void what_those_that_follow_could_take_is_shown(void) {
    open_rules(3, 8000);
    s.plan.evse[2].flag = 0;
    rules_run(10000);
    struct v2g_setpoints before = s.out;
    rules_step();
    CHECK(before.evse[0].band_max_w > 0 && before.evse[1].band_min_w < 0);
    CHECK_EQ(view.room_charge_w, before.evse[0].band_max_w + before.evse[1].band_max_w);
    CHECK_EQ(view.room_discharge_w, -before.evse[0].band_min_w - before.evse[1].band_min_w);
}

static void without_a_target_whoever_follows_stands_still(void) {
    open_rules(2, 8000);
    rules_run(10000);
    wish.present = 0;
    rules_run(20);
    CHECK_EQ(served(), 0);
    CHECK_EQ(view.present & 1u, 0);
}

static void a_site_without_a_meter_follows_by_its_declared_load(void) {
    open_rules(2, 9000);
    s.config.feeder[0].meter = V2G_NONE;
    s.config.feeder[0].base_w[V2G_LANE_TOTAL] = 3000;
    s.config.epoch++;
    v2g_config_seal(&s.config);
    rules_run(15000);
    CHECK_EQ(s.out.evse[0].target_w + s.out.evse[1].target_w, 6000);
    CHECK_EQ(view.measured_w, 3000);
}

/* ---- Ranges ------------------------------------------------------------------------------------------------------------------ */

static void open_ranges(void) {
    open_rules(2, 0);
    struct v2g_grid_config *grid = &control.grid;
    grid->present = 1;
    grid->meters = 1;
    grid->age_ns[0] = 1;
    grid->nominal_mhz = 50000;
    grid->nominal_dv = 2300;
    CHECK_EQ(v2g_site_check(&control, &s.config), 0);
}

#define REFUSED(field, value, fault)                                                                                           \
    do {                                                                                                                       \
        open_ranges();                                                                                                         \
        control.field = (value);                                                                                               \
        CHECK_EQ(v2g_site_check(&control, &s.config), (fault));                                                                \
    } while (0)
#define TAKEN(field, value) REFUSED(field, value, 0)
#define DAY_NS              INT64_C(86400000000000)

static void what_is_out_of_range_is_refused_by_name(void) {
    REFUSED(response_ns[1], -1, V2G_SITE_FAULT_EVSE + 2);
    REFUSED(response_ns[0], INT64_C(3600000000001), V2G_SITE_FAULT_EVSE + 1);
    TAKEN(response_ns[0], INT64_C(3600000000000));
    REFUSED(grid.meters, V2G_GRID_METERS + 1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.phases, 8, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.nominal_mhz, 39999, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.nominal_mhz, 70001, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.nominal_dv, 0, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.nominal_dv, 1000001, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.enter_delay_ns, -1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.enter_delay_ns, DAY_NS + 1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.enter_ramp_ns, -1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.volt_watt_least_q16, 65537, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.volt_watt_least_q16, -1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.volt_watt_from_dv, -1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.volt_watt_slope_q24, -1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.meter[0], 1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.age_ns[0], 0, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.age_ns[0], DAY_NS + 1, V2G_SITE_FAULT_GRID + 1);
    REFUSED(grid.watch[3].kind, V2G_WATCH_VOLTAGE + 1, V2G_SITE_FAULT_WATCH + 4);
    REFUSED(grid.watch[0].over, 2, V2G_SITE_FAULT_WATCH + 1);
    REFUSED(grid.watch[0].cease, 2, V2G_SITE_FAULT_WATCH + 1);
    REFUSED(grid.watch[0].limit, -1, V2G_SITE_FAULT_WATCH + 1);
    REFUSED(grid.watch[0].limit, 1000001, V2G_SITE_FAULT_WATCH + 1);
    REFUSED(grid.watch[0].delay_ns, -1, V2G_SITE_FAULT_WATCH + 1);
    REFUSED(grid.answer[1].scale_q16, 65537, V2G_SITE_FAULT_ANSWER + 2);
    REFUSED(grid.answer[0].scale_q16, -1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].hold_ns, -1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].rearm_ns, DAY_NS + 1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].trigger_mhz, -1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].trigger_mhz, 70001, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].rearm_mhz, -1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].rearm_mhz, 70001, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].value_q16[1], 65537, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].slope_q24[0], -1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].from_mhz[0], -1, V2G_SITE_FAULT_ANSWER + 1);
    REFUSED(grid.answer[0].from_mhz[1], 70001, V2G_SITE_FAULT_ANSWER + 1);
    open_ranges();
    control.grid.phases = 99;
    control.grid.present = 0; /* nobody reads the rest */
    CHECK_EQ(v2g_site_check(&control, &s.config), 0);
}

/* ---- Sharing ------------------------------------------------------------------------------------------------------------------ */

static void where_less_than_nothing_is_left_who_takes_nothing_still_takes_nothing(void) {
    int32_t most_w[] = {0, 0};
    const uint16_t weight[] = {V2G_WEIGHT_ONE, V2G_WEIGHT_ONE};
    const uint8_t size[] = {6, 6};
    (void)v2g_share_fill(2, most_w, weight, size, -1);
    CHECK_EQ(most_w[0], 0);
    CHECK_EQ(most_w[1], 0);
}

static void who_has_no_weight_keeps_what_it_has(void) {
    int32_t most_w[] = {3000, 9000, 9000};
    const uint16_t weight[] = {0, 2 * V2G_WEIGHT_ONE, V2G_WEIGHT_ONE};
    const uint8_t size[] = {6, 6, 6};
    CHECK(v2g_share_fill(3, most_w, weight, size, 12000));
    CHECK_EQ(most_w[0], 3000);
    CHECK_EQ(most_w[1], 6000);
    CHECK_EQ(most_w[2], 3000);
    CHECK(v2g_share_fill(3, most_w, weight, size, 2000)); /* less than it keeps */
    CHECK_EQ(most_w[0], 3000);
    CHECK_EQ(most_w[1], 0);
    CHECK_EQ(most_w[2], 0);
}

/* Fast to slow: whoever mutates the code waits for the first that fails. */
CHECK_MAIN(CASE(what_is_out_of_range_is_refused_by_name),
           CASE(where_less_than_nothing_is_left_who_takes_nothing_still_takes_nothing),
           CASE(who_has_no_weight_keeps_what_it_has), CASE(a_slow_meter_and_slow_vehicles_are_looked_at_once_they_have_settled),
           CASE(nobody_waits_when_there_is_not_enough_for_even_one), CASE(what_one_refuses_is_asked_of_the_others),
           CASE(a_target_over_a_slow_backhaul_is_taken_over_gradually), CASE(what_those_that_follow_could_take_is_shown),
           CASE(without_a_target_whoever_follows_stands_still), CASE(a_site_without_a_meter_follows_by_its_declared_load),
           CASE(turns_hold_for_discharging_too), CASE(who_had_to_stop_stays_so_for_a_minute_and_returns_when_there_is_enough),
           CASE(who_needs_no_minimum_changes_places_with_nobody), CASE(who_waits_for_a_feeder_has_nothing_of_the_site_s_target),
           CASE(who_waits_changes_places_after_ten_minutes))
