/* The grid's rules at their very edges, without a site around them: what a sample shows, and what one cycle makes of it. */
#include "check.h"

#include "site.h"
#include "v2g_site.h"

enum { ALL_Q16 = 1 << 16, HALF_Q16 = 1 << 15 };
#define DAY_NS  INT64_C(86400000000000)
#define HALF    (UINT32_C(1) << 31)
#define QUARTER (UINT32_C(1) << 30)

static struct v2g_grid_config grid;
static struct v2g_grid_state state;
static struct v2g_grid_seen seen;
static struct v2g_image image;
static int64_t now_ns;

static void open_edges(void) {
    grid = (struct v2g_grid_config){.present = 1,
                                    .meters = 1,
                                    .nominal_mhz = 50000,
                                    .nominal_dv = 2300,
                                    .trips = 1,
                                    .enter_low_mhz = 49500,
                                    .enter_high_mhz = 50100,
                                    .enter_low_dv = 2110,
                                    .enter_high_dv = 2530,
                                    .enter_delay_ns = 1000,
                                    .enter_ramp_ns = 1,
                                    .enter_step_q32 = HALF};
    for (uint16_t m = 0; m < V2G_GRID_METERS; m++) {
        grid.meter[m] = m;
        grid.age_ns[m] = 100;
    }
    state = (struct v2g_grid_state){.good_ns = V2G_NEVER, .ceased_ns = V2G_NEVER};
    seen = (struct v2g_grid_seen){.known = 1, .frequency_mhz = 50000, .low_dv = 2300, .high_dv = 2300};
    v2g_image_init(&image);
    now_ns = 1000000;
}

/* ---- Voting ---------------------------------------------------------------------------------------------------------------- */

static void tell(uint32_t meter, enum v2g_meter_field field, int32_t value, int64_t age_ns) {
    struct v2g_meter_in *in = &image.meter[meter];
    in->valid |= 1u << field;
    in->value[field] = value;
    in->acquired_ns[field] = now_ns - age_ns;
}

/* What is believed of the frequency when so many meters tell these. */
static int32_t voted(uint32_t count, const int32_t *frequency_mhz) {
    grid.meters = count;
    for (uint32_t m = 0; m < count; m++)
        tell(m, V2G_M_FREQUENCY, frequency_mhz[m], 0);
    struct v2g_grid_seen found = v2g_grid_look(&grid, &image, now_ns);
    CHECK_EQ(found.known, 1);
    return found.frequency_mhz;
}

static void the_middle_one_counts_and_of_two_in_the_middle_the_one_nearer_to_nominal(void) {
    open_edges();
    CHECK_EQ(voted(1, (int32_t[]){49321}), 49321);
    CHECK_EQ(voted(2, (int32_t[]){49900, 50200}), 49900);
    CHECK_EQ(voted(2, (int32_t[]){50200, 49900}), 49900);
    CHECK_EQ(voted(2, (int32_t[]){50100, 49800}), 50100);
    CHECK_EQ(voted(2, (int32_t[]){49900, 50100}), 49900); /* as near: the lower one */
    CHECK_EQ(voted(2, (int32_t[]){48000, 49000}), 49000);
    CHECK_EQ(voted(2, (int32_t[]){51000, 52000}), 51000);
    static const int32_t orders[6][3] = {{48000, 49700, 51000}, {48000, 51000, 49700}, {49700, 48000, 51000},
                                         {49700, 51000, 48000}, {51000, 48000, 49700}, {51000, 49700, 48000}};
    for (int k = 0; k < 6; k++)
        CHECK_EQ(voted(3, orders[k]), 49700);
    CHECK_EQ(voted(4, (int32_t[]){51000, 49800, 49000, 50300}), 49800);
    CHECK_EQ(voted(4, (int32_t[]){51000, 49700, 49000, 50200}), 50200);
    CHECK_EQ(voted(8, (int32_t[]){50008, 50007, 50006, 50005, 50004, 50003, 50002, 50001}), 50004);
}

static void a_meter_counts_that_is_there_young_and_possible(void) {
    open_edges();
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 0);
    tell(0, V2G_M_FREQUENCY, 50010, 100);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 1);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).frequency_mhz, 50010);
    tell(0, V2G_M_FREQUENCY, 50010, 101);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 0);
    static const struct {
        int32_t mhz;
        uint32_t known;
    } possible[] = {{39999, 0}, {40000, 1}, {70000, 1}, {70001, 0}};
    for (int k = 0; k < 4; k++) {
        tell(0, V2G_M_FREQUENCY, possible[k].mhz, 0);
        CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, possible[k].known);
    }
    tell(0, V2G_M_FREQUENCY, 50000, 0);
    image.meter[0].valid = 0;
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 0);
    grid.meters = 2; /* the second tells, too late for the first's age */
    grid.age_ns[1] = 200;
    tell(1, V2G_M_FREQUENCY, 50020, 150);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).frequency_mhz, 50020);
    grid.meter[1] = 0;
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 0);
}

static void the_newest_sample_of_all_dates_what_is_seen(void) {
    open_edges();
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).sample_ns, V2G_NEVER);
    grid.meters = 2;
    tell(0, V2G_M_FREQUENCY, 50000, 40);
    tell(1, V2G_M_FREQUENCY, 50000, 30);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).sample_ns, now_ns - 30);
    tell(1, V2G_M_FREQUENCY, 50000, 50);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).sample_ns, now_ns - 40);
    grid.phases = 1;
    tell(0, V2G_M_U_L1, 2300, 20);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).sample_ns, now_ns - 20);
    tell(0, V2G_M_U_L1, 2300, 60);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).sample_ns, now_ns - 40);
}

static void the_lowest_and_the_highest_judged_phase_are_seen_and_every_one_is_needed(void) {
    open_edges();
    tell(0, V2G_M_FREQUENCY, 50000, 0);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).low_dv, INT32_MAX); /* no phase is judged */
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).high_dv, 0);
    for (int high = 0; high < 3; high++) {
        grid.phases = 7;
        for (int phase = 0; phase < 3; phase++)
            tell(0, (enum v2g_meter_field)(V2G_M_U_L1 + phase), 2300 + (phase == high ? 90 : -10 * phase), 0);
        int low = high == 2 ? 1 : 2;
        struct v2g_grid_seen found = v2g_grid_look(&grid, &image, now_ns);
        CHECK_EQ(found.known, 1);
        CHECK_EQ(found.high_dv, 2390);
        CHECK_EQ(found.low_dv, 2300 - 10 * low);
        grid.phases = 1u << high; /* the others are not judged */
        found = v2g_grid_look(&grid, &image, now_ns);
        CHECK_EQ(found.high_dv, 2390);
        CHECK_EQ(found.low_dv, 2390);
    }
    grid.phases = 7;
    image.meter[0].valid &= ~(1u << V2G_M_U_L2);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 0);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).low_dv, 2300); /* L1; L3 is the highest */
    tell(0, V2G_M_U_L2, 2300, 0);
    image.meter[0].valid &= ~(1u << V2G_M_FREQUENCY);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, 0);
    static const struct {
        int32_t dv;
        uint32_t known;
    } possible[] = {{-1, 0}, {0, 1}, {1000000, 1}, {1000001, 0}};
    tell(0, V2G_M_FREQUENCY, 50000, 0);
    for (int k = 0; k < 4; k++) {
        tell(0, V2G_M_U_L2, possible[k].dv, 0);
        CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).known, possible[k].known);
    }
    grid.meters = 2; /* of two voltages the one nearer to nominal */
    tell(0, V2G_M_U_L2, 2900, 0);
    tell(1, V2G_M_U_L2, 2310, 0);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).low_dv, 2300);
    CHECK_EQ(v2g_grid_look(&grid, &image, now_ns).high_dv, 2390);
}

/* ---- Trips ----------------------------------------------------------------------------------------------------------------- */

static void watch(uint32_t at, enum v2g_watch_kind kind, uint8_t over, uint8_t cease, int32_t limit, int64_t delay_ns) {
    grid.watch[at] =
        (struct v2g_grid_watch){.kind = (uint8_t)kind, .over = over, .cease = cease, .limit = limit, .delay_ns = delay_ns};
}

/* Another sample, `ns` later. */
static void cycle(int64_t ns) {
    now_ns += ns;
    seen.sample_ns = now_ns;
    v2g_grid_step(&grid, &seen, now_ns, &state);
}

static void a_limit_is_beyond_itself(void) {
    static const struct {
        enum v2g_watch_kind kind;
        uint8_t over;
        int32_t limit, inside;
    } limits[] = {{V2G_WATCH_FREQUENCY, 1, 50500, 50499},
                  {V2G_WATCH_FREQUENCY, 0, 49600, 49601},
                  {V2G_WATCH_VOLTAGE, 1, 2500, 2499},
                  {V2G_WATCH_VOLTAGE, 0, 2150, 2151}};
    for (int k = 0; k < 4; k++) {
        for (int beyond = 0; beyond < 2; beyond++) {
            open_edges();
            watch(V2G_GRID_WATCHES - 1, limits[k].kind, limits[k].over, 0, limits[k].limit, 0);
            int32_t value = beyond != 0 ? limits[k].limit : limits[k].inside;
            if (limits[k].kind == V2G_WATCH_FREQUENCY)
                seen.frequency_mhz = value;
            else if (limits[k].over != 0)
                seen.high_dv = value;
            else
                seen.low_dv = value;
            cycle(10), cycle(10);
            CHECK_EQ(state.service, V2G_GRID_IN);
            CHECK_EQ(state.watch[V2G_GRID_WATCHES - 1].samples, beyond != 0 ? 2 : 0);
            grid.enter_low_mhz = 50001; /* so that it stays out */
            grid.enter_high_mhz = 50001;
            cycle(10);
            CHECK_EQ(state.service, beyond != 0 ? V2G_GRID_OUT : V2G_GRID_IN);
            CHECK_EQ(state.reason, beyond == 0                             ? V2G_REASON_NONE
                                   : limits[k].kind == V2G_WATCH_FREQUENCY ? V2G_GRID_FREQUENCY
                                                                           : V2G_GRID_VOLTAGE);
        }
    }
}

static void three_samples_and_the_whole_delay_trip(void) {
    open_edges();
    watch(0, V2G_WATCH_FREQUENCY, 1, 0, 50500, 1000);
    seen.frequency_mhz = 51000;
    cycle(10);
    int64_t first_ns = now_ns;
    CHECK_EQ(state.watch[0].since_ns, first_ns);
    cycle(400), cycle(400), cycle(199);
    CHECK_EQ(now_ns - first_ns, 999);
    CHECK_EQ(state.service, V2G_GRID_IN);
    CHECK_EQ(state.watch[0].samples, V2G_GRID_CONFIRM); /* it counts no further */
    state.good_ns = 5;
    cycle(1);
    CHECK_EQ(state.service, V2G_GRID_OUT);
    CHECK_EQ(state.good_ns, V2G_NEVER);
    open_edges(); /* back for one sample: all anew */
    watch(0, V2G_WATCH_FREQUENCY, 1, 0, 50500, 20);
    seen.frequency_mhz = 51000;
    cycle(10), cycle(10);
    seen.frequency_mhz = 50499;
    cycle(10);
    seen.frequency_mhz = 51000;
    cycle(10), cycle(10);
    CHECK_EQ(state.service, V2G_GRID_IN);
    cycle(10);
    CHECK_EQ(state.service, V2G_GRID_OUT);
}

static void the_same_sample_counts_once(void) {
    open_edges();
    watch(0, V2G_WATCH_FREQUENCY, 1, 0, 50500, 0);
    seen.frequency_mhz = 51000;
    state.watch[0].seen_ns = now_ns + 10; /* the last one that was inside; now its limit lies below it */
    cycle(10);
    CHECK_EQ(state.watch[0].samples, 1);
    for (int k = 0; k < 5; k++)
        v2g_grid_step(&grid, &seen, now_ns + k, &state);
    CHECK_EQ(state.watch[0].samples, 1);
    cycle(10);
    CHECK_EQ(state.watch[0].samples, 2);
    CHECK_EQ(state.watch[0].seen_ns, now_ns);
}

static void an_entry_that_watches_nothing_never_trips(void) {
    open_edges();
    watch(0, V2G_WATCH_NONE, 1, 0, 0, 0);
    watch(1, V2G_WATCH_NONE, 0, 1, 99999, 0);
    for (int k = 0; k < 5; k++)
        cycle(10);
    CHECK_EQ(state.service, V2G_GRID_IN);
    CHECK_EQ(state.ceased, 0);
    CHECK_EQ(state.watch[0].samples, 0);
    open_edges(); /* nor does what stands behind the last one, here with the bytes of a watch: frequency, over, 100 mHz, at once */
    grid.answer[0] = (struct v2g_grid_answer){.scale_q16 = 0x101, .from_mhz = {100, 100}};
    for (int k = 0; k < 5; k++)
        cycle(10);
    CHECK_EQ(state.service, V2G_GRID_IN);
}

static void momentary_cessation_holds_while_its_cause_does(void) {
    open_edges();
    watch(0, V2G_WATCH_VOLTAGE, 0, 1, 1000, 0);
    seen.low_dv = 900;
    cycle(10), cycle(10), cycle(10);
    CHECK_EQ(state.ceased, 1);
    CHECK_EQ(state.ceased_ns, now_ns);
    CHECK_EQ(state.service, V2G_GRID_IN);
    CHECK_EQ(state.reason, V2G_GRID_VOLTAGE);
    seen.low_dv = 2300;
    cycle(10);
    CHECK_EQ(state.ceased, 0);
    CHECK_EQ(state.ceased_ns, now_ns - 10);
    CHECK_EQ(state.reason, V2G_REASON_NONE);
    state.service = V2G_GRID_OUT; /* whoever is out ceases, too, and keeps its reason */
    state.reason = V2G_GRID_FREQUENCY;
    seen.low_dv = 900;
    cycle(10), cycle(10), cycle(10);
    CHECK_EQ(state.ceased, 1);
    CHECK_EQ(state.reason, V2G_GRID_FREQUENCY);
    open_edges(); /* a watch of the frequency can cease, too */
    watch(0, V2G_WATCH_FREQUENCY, 0, 1, 49000, 0);
    seen.frequency_mhz = 48000;
    cycle(10), cycle(10), cycle(10);
    CHECK_EQ(state.reason, V2G_GRID_FREQUENCY);
}

static void nothing_trips_on_a_grid_that_is_not_seen_or_without_a_profile(void) {
    for (int profile = 0; profile < 2; profile++) {
        open_edges();
        watch(0, V2G_WATCH_FREQUENCY, 1, 0, 50500, 0);
        grid.trips = (uint32_t)profile;
        seen.known = profile != 0 ? 0 : 1;
        seen.frequency_mhz = 51000;
        for (int k = 0; k < 5; k++)
            cycle(10);
        CHECK_EQ(state.service, V2G_GRID_IN);
        CHECK_EQ(state.watch[0].samples, 0);
    }
}

/* ---- Entering service ------------------------------------------------------------------------------------------------------ */

static void wait_out(void) {
    open_edges();
    state.service = V2G_GRID_OUT;
    state.reason = V2G_GRID_VOLTAGE;
}

static void the_window_of_entering_service_holds_its_own_edges(void) {
    static const struct {
        int32_t mhz, low_dv, high_dv;
        uint32_t known, service;
    } shown[] = {{49500, 2110, 2530, 1, V2G_GRID_WAITING}, {50100, 2110, 2530, 1, V2G_GRID_WAITING},
                 {49499, 2300, 2300, 1, V2G_GRID_OUT},     {50101, 2300, 2300, 1, V2G_GRID_OUT},
                 {50000, 2109, 2300, 1, V2G_GRID_OUT},     {50000, 2300, 2531, 1, V2G_GRID_OUT},
                 {50000, 2300, 2300, 0, V2G_GRID_OUT}};
    for (int k = 0; k < 7; k++) {
        for (int was_waiting = 0; was_waiting < 2; was_waiting++) {
            wait_out();
            if (was_waiting != 0)
                cycle(10);
            seen = (struct v2g_grid_seen){
                .known = shown[k].known, .frequency_mhz = shown[k].mhz, .low_dv = shown[k].low_dv, .high_dv = shown[k].high_dv};
            cycle(10);
            CHECK_EQ(state.service, shown[k].service);
            bool waits = shown[k].service == V2G_GRID_WAITING;
            CHECK_EQ(state.good_ns, waits ? now_ns - (was_waiting != 0 ? 10 : 0) : V2G_NEVER);
            CHECK_EQ(state.reason, waits || was_waiting != 0 ? V2G_ENTER_SERVICE : V2G_GRID_VOLTAGE);
        }
    }
}

static void service_is_entered_after_the_whole_delay_along_the_whole_ramp(void) {
    wait_out();
    cycle(10), cycle(999);
    CHECK_EQ(state.service, V2G_GRID_WAITING);
    state.entered_q32 = 12345; /* of the time before */
    cycle(1);
    CHECK_EQ(state.service, V2G_GRID_ENTERING);
    CHECK_EQ(state.entered_q32, HALF);
    CHECK_EQ(state.reason, V2G_ENTER_SERVICE);
    cycle(10);
    CHECK_EQ(state.service, V2G_GRID_IN);
    CHECK_EQ(state.reason, V2G_REASON_NONE);
    wait_out();
    grid.enter_step_q32 = HALF - 1; /* 2^32 less 2 after two */
    cycle(10), cycle(1000), cycle(10);
    CHECK_EQ(state.service, V2G_GRID_ENTERING);
    cycle(10);
    CHECK_EQ(state.service, V2G_GRID_IN);
    wait_out();
    grid.enter_ramp_ns = grid.enter_delay_ns = 0;
    cycle(10);
    CHECK_EQ(state.service, V2G_GRID_IN); /* without delay and ramp at once */
}

/* ---- Answers --------------------------------------------------------------------------------------------------------------- */

static int32_t answered(int32_t frequency_mhz) {
    seen.frequency_mhz = frequency_mhz;
    cycle(10);
    return state.offset_q16;
}

static void a_curve_begins_beyond_its_points_and_ends_at_its_scale(void) {
    open_edges();
    grid.answer[3] = (struct v2g_grid_answer){
        .scale_q16 = ALL_Q16, .from_mhz = {100, 400}, .value_q16 = {1000, 20000}, .slope_q24 = {5 << 8, 50 << 8}};
    CHECK_EQ(answered(50100), 0);
    CHECK_EQ(answered(49900), 0);
    CHECK_EQ(answered(50101), 1005);
    CHECK_EQ(answered(49899), -1005);
    CHECK_EQ(answered(50400), 2500);
    CHECK_EQ(answered(50401), 20050);
    CHECK_EQ(answered(49599), -20050);
    CHECK_EQ(answered(54000), ALL_Q16);
    CHECK_EQ(answered(46000), -ALL_Q16);
    grid.answer[3].scale_q16 = HALF_Q16;
    CHECK_EQ(answered(50401), 10025);
    CHECK_EQ(answered(46000), -HALF_Q16);
}

static void a_step_holds_is_given_back_and_armed_anew(void) {
    open_edges();
    grid.trips = 0;
    grid.answer[0] = (struct v2g_grid_answer){
        .scale_q16 = HALF_Q16, .trigger_mhz = 49700, .rearm_mhz = 49900, .hold_ns = 100, .rearm_ns = 50};
    CHECK_EQ(answered(49701), 0);
    for (int again = 0; again < 2; again++) {
        CHECK_EQ(answered(49700), -HALF_Q16);
        cycle(89);
        CHECK_EQ(state.offset_q16, -HALF_Q16);
        cycle(10);
        CHECK_EQ(state.offset_q16, -HALF_Q16); /* 99 */
        cycle(1);
        CHECK_EQ(state.offset_q16, 0);
        CHECK_EQ(state.answer[0].spent, 1);
        CHECK_EQ(answered(49899), 0);
        CHECK_EQ(answered(49900), 0); /* from here it is back */
        seen.frequency_mhz = 49899;
        cycle(20); /* and not yet */
        CHECK_EQ(answered(49900), 0);
        cycle(49);
        CHECK_EQ(state.answer[0].spent, 1);
        CHECK_EQ(answered(49699), 0); /* not armed, and not back */
        CHECK_EQ(answered(49900), 0);
        cycle(50);
        CHECK_EQ(state.answer[0].spent, 0);
    }
}

static void an_answer_with_a_lag_goes_its_part_of_the_way_in_a_cycle_and_arrives(void) {
    for (int32_t sign = -1; sign <= 1; sign += 2) {
        open_edges();
        grid.answer[1] =
            (struct v2g_grid_answer){.scale_q16 = ALL_Q16, .from_mhz = {0, 0}, .slope_q24 = {0, 0}, .lag_q32 = HALF};
        grid.answer[1].value_q16[1] = ALL_Q16;
        CHECK_EQ(answered(50000 + sign), sign * HALF_Q16);
        CHECK_EQ(answered(50000 + sign), sign * (HALF_Q16 + HALF_Q16 / 2));
        CHECK_EQ(answered(50000), sign * (HALF_Q16 + HALF_Q16 / 2) / 2);
        grid.answer[1].back_q32 = QUARTER; /* slower back than forth */
        CHECK_EQ(answered(50000 + sign), sign * (ALL_Q16 - (ALL_Q16 - (HALF_Q16 + HALF_Q16 / 2) / 2) / 2));
        int32_t before_q16 = state.offset_q16;
        CHECK_EQ(answered(50000), before_q16 - before_q16 / 4);
        state.answer[1].value_q48 = ((int64_t)sign * ALL_Q16) * ((int64_t)1 << 32) - sign * 1000;
        CHECK_EQ(answered(50000 + sign), sign * ALL_Q16); /* the rest is less than a part of it can be */
        CHECK_EQ(state.answer[1].value_q48, ((int64_t)sign * ALL_Q16) * ((int64_t)1 << 32));
        state.answer[1].value_q48 = 0;
        grid.answer[1].lag_q32 = 1; /* the slowest */
        CHECK_EQ(answered(50000 + sign), sign > 0 ? 0 : -1);
        CHECK_EQ(state.answer[1].value_q48, sign * ALL_Q16);
        grid.answer[1].lag_q32 = 0;
        grid.answer[1].back_q32 = 0;
        CHECK_EQ(answered(50000), 0); /* without any it is there at once */
        CHECK_EQ(state.answer[1].value_q48, 0);
        CHECK_EQ(answered(50000 - sign), -sign * ALL_Q16);
    }
}

static void answers_add_up_to_no_more_than_all_and_hold_only_in_service(void) {
    open_edges();
    for (int a = 0; a < 2; a++)
        grid.answer[a] = (struct v2g_grid_answer){.scale_q16 = ALL_Q16, .value_q16 = {24000 + a, 24000 + a}};
    grid.answer[2].value_q16[0] = ALL_Q16; /* of scale 0: none */
    state.answer[2].value_q16 = 77;
    CHECK_EQ(answered(50001), 48001);
    CHECK_EQ(state.answer[0].value_q16, 24000);
    CHECK_EQ(state.answer[2].value_q16, 77);
    grid.answer[0].value_q16[1] = ALL_Q16;
    CHECK_EQ(answered(50001), ALL_Q16);
    CHECK_EQ(answered(49999), -ALL_Q16);
    static const uint32_t answers[] = {[V2G_GRID_IN] = 1, [V2G_GRID_OUT] = 0, [V2G_GRID_WAITING] = 0, [V2G_GRID_ENTERING] = 1};
    grid.trips = 0;
    for (uint32_t service = V2G_GRID_IN; service <= V2G_GRID_ENTERING; service++) {
        state.service = service;
        CHECK_EQ(answered(50001), answers[service] != 0 ? ALL_Q16 : 0);
    }
    open_edges(); /* what stands behind the last one answers nothing, here with the bytes of a step below 60 Hz */
    grid.trips = 0;
    grid.volt_watt_from_dv = 2544;
    grid.enter_high_dv = 60000;
    CHECK_EQ(answered(50001), 0);
}

static void nothing_answers_a_grid_that_is_not_seen_or_not_of_this_frequency(void) {
    open_edges();
    grid.trips = 0;
    grid.answer[0] = (struct v2g_grid_answer){.scale_q16 = ALL_Q16, .value_q16 = {5000, 5000}};
    CHECK_EQ(answered(50000 + V2G_GRID_REACH_MHZ), 5000);
    CHECK_EQ(answered(50000 + V2G_GRID_REACH_MHZ + 1), 0);
    CHECK_EQ(answered(50000 - V2G_GRID_REACH_MHZ), -5000);
    CHECK_EQ(answered(50000 - V2G_GRID_REACH_MHZ - 1), 0);
    seen.known = 0;
    CHECK_EQ(answered(50100), 0);
    seen.known = 1;
    grid.answer[0].trigger_mhz = 49700; /* a step is triggered by nothing else either */
    grid.answer[0].hold_ns = 1000;
    CHECK_EQ(answered(50000 - V2G_GRID_REACH_MHZ - 1), 0);
    CHECK_EQ(answered(49000), -ALL_Q16);
}

/* ---- Ranges ---------------------------------------------------------------------------------------------------------------- */

static struct site s;
static struct v2g_site_config control;

static uint32_t fault_of(void) {
    return v2g_site_check(&control, &s.config);
}

static void open_ranges(void) {
    site_init(&s, 2);
    s.config.meters = 2;
    memset(&control, 0, sizeof control);
    control.grid.present = 1;
    control.grid.meters = 2;
    control.grid.age_ns[0] = control.grid.age_ns[1] = 1;
    control.grid.nominal_mhz = 50000;
    control.grid.nominal_dv = 2300;
    CHECK_EQ(fault_of(), 0);
}

/* Both ends are taken, one beyond either is refused by name. */
#define BETWEEN(field, low, high, fault)                                                                                       \
    do {                                                                                                                       \
        open_ranges();                                                                                                         \
        control.field = (low);                                                                                                 \
        CHECK_EQ(fault_of(), 0);                                                                                               \
        control.field = (high);                                                                                                \
        CHECK_EQ(fault_of(), 0);                                                                                               \
        control.field = (high) + 1;                                                                                            \
        CHECK_EQ(fault_of(), (fault));                                                                                         \
        control.field = (low) - 1;                                                                                             \
        CHECK_EQ(fault_of(), (fault));                                                                                         \
    } while (0)
/* The same of a field whose low end is 0 and that has no sign. */
#define UP_TO(field, high, fault)                                                                                              \
    do {                                                                                                                       \
        open_ranges();                                                                                                         \
        control.field = (high);                                                                                                \
        CHECK_EQ(fault_of(), 0);                                                                                               \
        control.field = (high) + 1;                                                                                            \
        CHECK_EQ(fault_of(), (fault));                                                                                         \
    } while (0)
#define FROM_0(field, fault)                                                                                                   \
    do {                                                                                                                       \
        open_ranges();                                                                                                         \
        control.field = INT32_MAX;                                                                                             \
        CHECK_EQ(fault_of(), 0);                                                                                               \
        control.field = -1;                                                                                                    \
        CHECK_EQ(fault_of(), (fault));                                                                                         \
    } while (0)

static void where_no_grid_is_configured_nothing_of_it_is_refused(void) {
    open_ranges();
    control.grid.phases = 99;
    control.grid.present = 0;
    CHECK_EQ(fault_of(), 0);
}

static void every_range_holds_its_ends(void) {
    const uint32_t whole = V2G_SITE_FAULT_GRID + 1, last_watch = V2G_SITE_FAULT_WATCH + V2G_GRID_WATCHES,
                   last_answer = V2G_SITE_FAULT_ANSWER + V2G_GRID_ANSWERS;
    BETWEEN(response_ns[0], 0, INT64_C(3600000000000), V2G_SITE_FAULT_EVSE + 1);
    BETWEEN(response_ns[1], 0, INT64_C(3600000000000), V2G_SITE_FAULT_EVSE + 2);
    open_ranges();
    control.response_ns[2] = -1; /* there are two */
    CHECK_EQ(fault_of(), 0);
    UP_TO(grid.phases, 7, whole);
    BETWEEN(grid.nominal_mhz, 40000, 70000, whole);
    BETWEEN(grid.nominal_dv, 1, 1000000, whole);
    BETWEEN(grid.enter_delay_ns, 0, DAY_NS, whole);
    BETWEEN(grid.enter_ramp_ns, 0, DAY_NS, whole);
    BETWEEN(grid.volt_watt_least_q16, 0, ALL_Q16, whole);
    FROM_0(grid.volt_watt_from_dv, whole);
    FROM_0(grid.volt_watt_slope_q24, whole);
    UP_TO(grid.meter[0], 1, whole);
    UP_TO(grid.meter[1], 1, whole);
    BETWEEN(grid.age_ns[0], 1, DAY_NS, whole);
    BETWEEN(grid.age_ns[1], 1, DAY_NS, whole);
    open_ranges();
    s.config.meters = V2G_GRID_METERS;
    control.grid.meters = V2G_GRID_METERS;
    for (int m = 0; m < V2G_GRID_METERS; m++)
        control.grid.age_ns[m] = 1;
    CHECK_EQ(fault_of(), 0);
    control.grid.meters++;
    CHECK_EQ(fault_of(), whole);
    UP_TO(grid.watch[V2G_GRID_WATCHES - 1].kind, V2G_WATCH_VOLTAGE, last_watch);
    UP_TO(grid.watch[V2G_GRID_WATCHES - 1].over, 1, last_watch);
    UP_TO(grid.watch[V2G_GRID_WATCHES - 1].cease, 1, last_watch);
    BETWEEN(grid.watch[V2G_GRID_WATCHES - 1].limit, 0, 1000000, last_watch);
    BETWEEN(grid.watch[0].delay_ns, 0, DAY_NS, V2G_SITE_FAULT_WATCH + 1);
    BETWEEN(grid.answer[V2G_GRID_ANSWERS - 1].scale_q16, 0, ALL_Q16, last_answer);
    BETWEEN(grid.answer[0].hold_ns, 0, DAY_NS, V2G_SITE_FAULT_ANSWER + 1);
    BETWEEN(grid.answer[0].rearm_ns, 0, DAY_NS, V2G_SITE_FAULT_ANSWER + 1);
    BETWEEN(grid.answer[0].trigger_mhz, 0, 70000, V2G_SITE_FAULT_ANSWER + 1);
    BETWEEN(grid.answer[0].rearm_mhz, 0, 70000, V2G_SITE_FAULT_ANSWER + 1);
    for (int k = 0; k < V2G_CURVE_POINTS; k++) {
        BETWEEN(grid.answer[0].value_q16[k], 0, ALL_Q16, V2G_SITE_FAULT_ANSWER + 1);
        BETWEEN(grid.answer[0].from_mhz[k], 0, 70000, V2G_SITE_FAULT_ANSWER + 1);
        FROM_0(grid.answer[0].slope_q24[k], V2G_SITE_FAULT_ANSWER + 1);
    }
}

CHECK_MAIN(CASE(the_middle_one_counts_and_of_two_in_the_middle_the_one_nearer_to_nominal),
           CASE(a_meter_counts_that_is_there_young_and_possible), CASE(the_newest_sample_of_all_dates_what_is_seen),
           CASE(the_lowest_and_the_highest_judged_phase_are_seen_and_every_one_is_needed), CASE(a_limit_is_beyond_itself),
           CASE(three_samples_and_the_whole_delay_trip), CASE(the_same_sample_counts_once),
           CASE(an_entry_that_watches_nothing_never_trips), CASE(momentary_cessation_holds_while_its_cause_does),
           CASE(nothing_trips_on_a_grid_that_is_not_seen_or_without_a_profile),
           CASE(the_window_of_entering_service_holds_its_own_edges),
           CASE(service_is_entered_after_the_whole_delay_along_the_whole_ramp),
           CASE(a_curve_begins_beyond_its_points_and_ends_at_its_scale), CASE(a_step_holds_is_given_back_and_armed_anew),
           CASE(an_answer_with_a_lag_goes_its_part_of_the_way_in_a_cycle_and_arrives),
           CASE(answers_add_up_to_no_more_than_all_and_hold_only_in_service),
           CASE(nothing_answers_a_grid_that_is_not_seen_or_not_of_this_frequency), CASE(every_range_holds_its_ends),
           CASE(where_no_grid_is_configured_nothing_of_it_is_refused))
