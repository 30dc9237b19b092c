/* Tracking at its very edges, one call at a time: EVSEs of 16 kW that tell what they take, a meter, a target. Times are in ns, short ones. */
#include "check.h"

#include "../core/site.h"

enum { RATING_W = 16000, STILL_W = 125, HEADROOM_W = 1000, TOLERANCE_W = 500, TOTAL = V2G_LANE_TOTAL };
enum { LINK_AGE_NS = 100, RESPONSE_NS = 1000, REFRESH_NS = 500 };
#define HALF (UINT32_C(1) << 31)

static struct v2g_config config;
static struct v2g_site_config site;
static struct v2g_plan plan;
static struct v2g_site_plan wish;
static struct v2g_state state;
static struct v2g_setpoints set;
static struct v2g_image image;
static struct v2g_site_state memory;
static struct v2g_site_view view;
static int32_t offset_w;
static int64_t now_ns;

static void base(int32_t low_w, int32_t high_w) {
    state.feeder[0].base_low_w[TOTAL] = low_w;
    state.feeder[0].base_high_w[TOTAL] = high_w;
}

static void tell(uint32_t evse, int32_t target_w, int32_t power_w) {
    set.evse[evse].target_w = target_w;
    image.evse[evse].value[V2G_F_POWER] = power_w;
}

static void measure(int32_t measured_w) {
    image.meter[0].value[V2G_M_P_TOTAL] = measured_w;
}

/* All tell and the meter has another sample. Returns W: what is asked. */
static int64_t track(int64_t ns) {
    now_ns += ns;
    for (uint32_t i = 0; i < config.evses; i++)
        image.evse[i].acquired_ns[V2G_F_POWER] = now_ns;
    image.meter[0].acquired_ns[V2G_M_P_TOTAL] = now_ns;
    const struct v2g_track_in in = {&config, &site, &plan, &wish, &state, &set, &image, offset_w, now_ns};
    return v2g_track(&in, &memory, &view);
}

/* Nothing new is told. */
static int64_t track_again(int64_t ns) {
    now_ns += ns;
    const struct v2g_track_in in = {&config, &site, &plan, &wish, &state, &set, &image, offset_w, now_ns};
    return v2g_track(&in, &memory, &view);
}

static void open_track(uint32_t evses, int32_t target_w) {
    memset(&config, 0, sizeof config);
    memset(&plan, 0, sizeof plan);
    memset(&set, 0, sizeof set);
    v2g_state_init(&state);
    v2g_image_init(&image);
    v2g_site_init(&memory);
    config.evses = evses;
    config.feeders = 1;
    config.feeder[0].refresh_ns = REFRESH_NS;
    config.feeder[0].base_w[TOTAL] = 700;
    config.feeder[1].meter = 3;       /* not the grid connection's */
    set.evse[evses].target_w = 12345; /* behind the last one stands nobody */
    state.feeder[0].lost = 0;
    for (uint32_t i = 0; i < evses; i++) {
        config.evse[i].rating_charge_w = RATING_W;
        config.evse[i].follow_tolerance_w = TOLERANCE_W;
        config.evse[i].link_age_ns = LINK_AGE_NS;
        plan.evse[i].flag = V2G_PLAN_SITE_TARGET;
        site.response_ns[i] = RESPONSE_NS;
        image.evse[i].valid = 1u << V2G_F_POWER;
    }
    wish = (struct v2g_site_plan){.target_w = target_w, .present = 1};
    view = (struct v2g_site_view){0};
    offset_w = 0;
    now_ns = 1000000;
    base(2000, 2000);
}

/* ---- What is asked --------------------------------------------------------------------------------------------------------- */

static void asked_is_the_target_less_what_others_take(void) {
    open_track(3, 10000);
    plan.evse[1].flag = V2G_PLAN_LOCKED;
    tell(1, 5000, 3000);
    tell(2, 1000, 1000);
    measure(6000);
    CHECK_EQ(track(10), 10000 - 2000 - 3000);
    CHECK_EQ(view.target_w, 10000);
    CHECK_EQ(view.base_w, 2000);
    CHECK_EQ(view.measured_w, 6000);
    CHECK_EQ(view.trim_w, 0);
    CHECK_EQ(view.present, 1);
    CHECK_EQ(memory.track.asked_w, 5000);
    offset_w = -700;
    CHECK_EQ(track(10), 4300);
    CHECK_EQ(view.target_w, 9300);
    wish.target_w = V2G_POWER_MAX_W + 9;
    offset_w = 0;
    CHECK_EQ(track(10), V2G_POWER_MAX_W - 5000);
    wish.target_w = -V2G_POWER_MAX_W - 9;
    CHECK_EQ(track(10), -V2G_POWER_MAX_W - 5000);
}

static void who_is_not_heard_is_taken_to_do_what_it_was_told(void) {
    open_track(2, 10000);
    plan.evse[1].flag = 0;
    tell(1, 5000, 3000);
    CHECK_EQ(track(10), 5000);
    CHECK_EQ(track_again(LINK_AGE_NS), 5000);
    CHECK_EQ(track_again(1), 3000);
    CHECK_EQ(track(10), 5000);
    image.evse[1].valid = 0;
    CHECK_EQ(track(10), 3000);
}

static void without_a_target_nothing_is_asked_and_nothing_is_remembered(void) {
    open_track(2, 10000);
    tell(0, 4000, 4000), tell(1, 3000, 3000);
    CHECK_EQ(track(10), 8000);
    memory.track.trim_w = 30, memory.track.push_w = 40, memory.track.looks = 5, memory.track.error_q8 = 6;
    view = (struct v2g_site_view){0};
    wish.present = 0;
    CHECK_EQ(track(10), 0);
    CHECK_EQ(view.present, 0);
    CHECK_EQ(view.base_w, 2000);
    CHECK_EQ(memory.track.trim_w, 0);
    CHECK_EQ(memory.track.push_w, 0);
    CHECK_EQ(memory.track.asked_w, 7000);
    CHECK_EQ(memory.track.settled_ns, now_ns);
    CHECK_EQ(memory.track.looks, 0);
    CHECK_EQ(memory.track.error_q8, 0);
    wish = (struct v2g_site_plan){.target_w = 6000, .present = 1, .damp_q32 = HALF};
    CHECK_EQ(track(10), 4000); /* a new target begins whole, however slow the backhaul */
}

static void a_correction_dies_where_the_sign_turns(void) {
    static const struct {
        int32_t target_w;
        int64_t before_w;
        bool kept;
    } turns[] = {{2000, 5, true}, {2000, -1, false}, {1999, 0, false}, {1999, -5, true}, {2001, 0, true}};
    for (int k = 0; k < 5; k++) {
        open_track(1, turns[k].target_w);
        memory.track.asked_w = turns[k].before_w;
        memory.track.trim_w = 100, memory.track.push_w = 20;
        int64_t known_w = turns[k].target_w - 2000;
        CHECK_EQ(track(10), known_w + (turns[k].kept ? 120 : 0));
        CHECK_EQ(view.trim_w, turns[k].kept ? 120 : 0);
    }
}

/* ---- Damping --------------------------------------------------------------------------------------------------------------- */

static void a_damped_target_goes_its_part_of_the_way(void) {
    open_track(1, 1000);
    wish.damp_q32 = HALF;
    (void)track(10);
    CHECK_EQ(view.target_w, 1000); /* the first one is taken whole */
    wish.target_w = 2000;
    (void)track(10);
    CHECK_EQ(view.target_w, 1500);
    (void)track(10);
    CHECK_EQ(view.target_w, 1750);
    wish.target_w = -250;
    (void)track(10);
    CHECK_EQ(view.target_w, 750);
    (void)track(10), (void)track(10);
    CHECK_EQ(view.target_w, 0);
    wish.target_w = 1;
    (void)track(10);
    CHECK_EQ(memory.track.target_q32, INT64_C(1) << 31);
    CHECK_EQ(view.target_w, 1); /* half a watt is a watt */
    wish.target_w = 5000;
    wish.damp_q32 = 0;
    (void)track(10);
    CHECK_EQ(view.target_w, 5000);
    wish.target_w = 4000;
    wish.damp_q32 = 1 << 24; /* a 256th */
    (void)track(10);
    CHECK_EQ(memory.track.target_q32, INT64_C(5000) * (INT64_C(1) << 32) - INT64_C(1000) * (INT64_C(1) << 24));
}

/* ---- The base load --------------------------------------------------------------------------------------------------------- */

static void the_base_load_begins_in_the_middle_and_moves_as_far_as_it_is_forced(void) {
    open_track(1, 10000);
    base(1000, 3001);
    (void)track(10);
    CHECK_EQ(view.base_w, 2000);
    base(1500, 2500);
    (void)track(10);
    CHECK_EQ(view.base_w, 2000);
    base(2100, 2500);
    (void)track(10);
    CHECK_EQ(view.base_w, 2100);
    base(900, 1000);
    (void)track(10);
    CHECK_EQ(view.base_w, 1000);
    state.feeder[0].lost = 1; /* without the meter it is the declared one */
    measure(9999);
    CHECK_EQ(track(10), 9300);
    CHECK_EQ(view.base_w, 700);
    CHECK_EQ(view.measured_w, 700);
    CHECK_EQ(memory.track.settled_ns, now_ns);
    state.feeder[0].lost = 0;
    base(4000, 6000); /* anew */
    (void)track(10);
    CHECK_EQ(view.base_w, 5000);
    config.feeder[0].meter = V2G_NONE;
    (void)track(10);
    CHECK_EQ(view.base_w, 700);
}

/* While setpoints move, the EVSEs may already take what they don't tell yet: the base load then need not be what it seems. */
static void what_may_already_flow_is_no_base_load(void) {
    static const struct {
        int32_t target_w, power_w, seen_w, base_w;
    } seen[] = {{4000, 3600, 3000, 2600}, {4000, 4000, 3000, 3000}, {3600, 4000, 3000, 3000},  {3600, 4000, 1000, 1400},
                {4000, 4000, 1000, 1000}, {4000, 3600, 1000, 1000}, {-4000, -3600, 1000, 1400}};
    for (int k = 0; k < 7; k++) {
        open_track(2, 10000);
        (void)track(10);
        CHECK_EQ(view.base_w, 2000);
        tell(1, seen[k].target_w, seen[k].power_w);
        base(seen[k].seen_w, seen[k].seen_w);
        (void)track(10);
        CHECK_EQ(view.base_w, seen[k].base_w);
    }
    open_track(2, 10000); /* of both together */
    (void)track(10);
    tell(0, 4000, 3900), tell(1, 4000, 3800);
    base(3000, 3000);
    (void)track(10);
    CHECK_EQ(view.base_w, 2700);
    tell(0, 4000, 4100), tell(1, 4000, 4200);
    base(1000, 1000);
    (void)track(10);
    CHECK_EQ(view.base_w, 1300);
    open_track(1, 10000); /* no more than any table holds */
    (void)track(10);
    tell(0, V2G_POWER_MAX_W, -V2G_POWER_MAX_W);
    base(V2G_POWER_MAX_W + 3000, V2G_POWER_MAX_W + 3000);
    (void)track(10);
    CHECK_EQ(view.base_w, 3000);
    tell(0, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    base(-V2G_POWER_MAX_W, -V2G_POWER_MAX_W);
    (void)track(10);
    CHECK_EQ(view.base_w, 0);
}

static void an_evse_has_settled_after_twice_its_response_time(void) {
    for (int32_t sign = -1; sign <= 1; sign += 2) {
        open_track(1, 10000);
        (void)track(10);
        tell(0, sign * STILL_W, 0); /* too little to be a movement */
        (void)track(10);
        CHECK_EQ(memory.evse[0].told_w, 0);
        CHECK_EQ(memory.evse[0].moved_ns, V2G_NEVER);
        tell(0, sign * (STILL_W + 1), 0);
        (void)track(10);
        CHECK_EQ(memory.evse[0].told_w, sign * (STILL_W + 1));
        CHECK_EQ(memory.evse[0].moved_ns, now_ns);
        int32_t apart_w = STILL_W + 1;
        base(2000 + sign * 1000, 2000 + sign * 1000);
        (void)track(2 * RESPONSE_NS);
        CHECK_EQ(view.base_w, 2000 + sign * (1000 - apart_w));
        (void)track(1);
        CHECK_EQ(view.base_w, 2000 + sign * 1000);
    }
}

/* ---- What one leaves ------------------------------------------------------------------------------------------------------- */

static void what_an_evse_is_seen_to_leave_is_asked_of_the_others(void) {
    static const struct {
        int32_t target_w, power_w, most_w, unused_w;
    } seen[] = {{4000, 3500, V2G_POWER_MAX_W, 0},
                {4000, 3499, 3499 + HEADROOM_W, 501},
                {4000, -300, HEADROOM_W, 4300},
                {4000, 0, HEADROOM_W, 4000},
                {4000, 5000, V2G_POWER_MAX_W, 0},
                {-4000, -3500, V2G_POWER_MAX_W, 0},
                {-4000, -3499, 3499 + HEADROOM_W, -501},
                {-4000, 300, HEADROOM_W, -4300},
                {0, 900, V2G_POWER_MAX_W, 0},
                {V2G_POWER_MAX_W, V2G_POWER_MAX_W - 999, V2G_POWER_MAX_W, 0}};
    for (int k = 0; k < 10; k++) {
        open_track(2, 10000);
        tell(1, seen[k].target_w, seen[k].power_w);
        int64_t unsettled_w = track(10);
        CHECK_EQ(memory.evse[1].most_w, V2G_POWER_MAX_W);
        int64_t settled_w = track(2 * RESPONSE_NS + 1);
        CHECK_EQ(memory.evse[1].most_w, seen[k].most_w);
        CHECK_EQ(settled_w - unsettled_w, seen[k].unused_w);
        plan.evse[1].flag = 0; /* of one that has a wish of its own nothing is asked elsewhere */
        CHECK_EQ(track(10), 8000 - seen[k].power_w);
    }
    open_track(2, 10000);
    tell(1, 4000, 1000);
    (void)track(10), (void)track(2 * RESPONSE_NS + 1);
    CHECK_EQ(memory.evse[1].most_w, 1000 + HEADROOM_W);
    tell(1, 5000, 1000); /* until it has settled again it is known to take less, and nothing more */
    CHECK_EQ(track(10), 8000);
    CHECK_EQ(memory.evse[1].most_w, 1000 + HEADROOM_W);
    tell(1, 5000, 4500);
    CHECK_EQ(track(10), 8000);
    CHECK_EQ(memory.evse[1].most_w, V2G_POWER_MAX_W);
}

/* ---- Looking --------------------------------------------------------------------------------------------------------------- */

/* One EVSE stands at the 8 kW that it is asked and the meter shows `missing_w` less than the target: from now on everything is still. */
static void open_look(int32_t missing_w) {
    open_track(1, 10000);
    tell(0, 8000, 8000);
    (void)track(10);
    now_ns += 2 * RESPONSE_NS;
    measure(10000 - missing_w);
    (void)track(1); /* settled: the first sample is seen */
    memory.track.looks = 0;
    memory.track.error_q8 = 0;
    memory.track.settled_ns = now_ns;
}

static void a_look_takes_sixteen_samples_and_the_time_of_the_slowest(void) {
    open_look(400);
    for (int k = 1; k < 16; k++) {
        CHECK_EQ(track(200), 8000);
        CHECK_EQ(memory.track.looks, k);
        CHECK_EQ(memory.track.error_q8, 400 * 256);
    }
    CHECK_EQ(track(200), 8000 + 200 + 50); /* half of it stays, an eighth does not */
    CHECK_EQ(memory.track.trim_w, 200);
    CHECK_EQ(memory.track.push_w, 50);
    CHECK_EQ(view.trim_w, 250);
    CHECK_EQ(memory.track.looks, 0);
    CHECK_EQ(memory.track.error_q8, 0);
    CHECK_EQ(memory.track.settled_ns, now_ns);
    open_look(-400);
    for (int k = 0; k < 20; k++)
        CHECK_EQ(track((RESPONSE_NS + REFRESH_NS) / 20), 8000);
    CHECK_EQ(track(1), 8000 - 250);
    open_look(400); /* the slowest of those that follow, wherever it stands */
    for (int slow = 0; slow < 2; slow++) {
        open_track(3, 18000);
        site.response_ns[slow] = 5000;
        site.response_ns[2] = 9000; /* has a wish of its own */
        plan.evse[2].flag = 0;
        for (uint32_t i = 0; i < 2; i++)
            tell(i, 8000, 8000);
        (void)track(10);
        now_ns += 20000;
        measure(17600);
        (void)track(1);
        memory.track.looks = 0, memory.track.settled_ns = now_ns;
        for (int k = 0; k < 20; k++)
            CHECK_EQ(track((5000 + REFRESH_NS) / 20), 16000);
        CHECK_EQ(track(1), 16250);
    }
}

static void samples_are_filtered_and_counted_once(void) {
    open_look(400);
    (void)track(200);
    CHECK_EQ(memory.track.error_q8, 400 * 256);
    CHECK_EQ(memory.track.sample_ns, now_ns);
    measure(10000 - 800);
    (void)track(200);
    CHECK_EQ(memory.track.error_q8, 500 * 256);
    (void)track_again(10);
    CHECK_EQ(memory.track.looks, 2);
    CHECK_EQ(memory.track.error_q8, 500 * 256);
    measure(V2G_POWER_MAX_W + 999); /* no more than any table holds */
    memory.track.looks = 0;
    (void)track(10);
    CHECK_EQ(memory.track.error_q8, (10000 - V2G_POWER_MAX_W) * INT64_C(256));
    measure(-V2G_POWER_MAX_W - 999);
    memory.track.looks = 0;
    (void)track(10);
    CHECK_EQ(memory.track.error_q8, (10000 + V2G_POWER_MAX_W) * INT64_C(256));
}

static void a_correction_is_a_quarter_of_the_evses_at_most(void) {
    for (int32_t sign = -1; sign <= 1; sign += 2) {
        open_look(sign * 10000);
        for (int k = 0; k < 16; k++)
            (void)track(200);
        CHECK_EQ(memory.track.trim_w, sign * RATING_W / 4);
        CHECK_EQ(memory.track.push_w, sign * 1250);
        open_look(sign * 40000); /* an error of more than the rating counts as the rating */
        memory.track.trim_w = -sign * 4000;
        memory.track.asked_w -= sign * 4000;
        tell(0, 8000 - sign * 4000, 8000 - sign * 4000);
        memory.evse[0].told_w = 8000 - sign * 4000;
        for (int k = 0; k < 16; k++)
            (void)track(200);
        CHECK_EQ(memory.track.trim_w, sign * (-4000 + RATING_W / 2));
        CHECK_EQ(memory.track.push_w, sign * RATING_W / 8);
    }
}

/* Anti-windup: while what was asked is not what is told, something else binds. */
static void nobody_looks_while_setpoints_are_cut_or_move(void) {
    static const struct {
        int32_t apart_w;
        uint32_t looks;
    } cuts[] = {{STILL_W, 1}, {STILL_W + 1, 0}, {-STILL_W, 1}, {-STILL_W - 1, 0}};
    for (int k = 0; k < 4; k++) {
        open_look(400);
        memory.track.asked_w = 8000 + cuts[k].apart_w;
        (void)track(10);
        CHECK_EQ(memory.track.looks, cuts[k].looks);
        CHECK_EQ(memory.track.settled_ns, cuts[k].looks != 0 ? now_ns - 10 : now_ns);
    }
    open_look(400);
    memory.evse[0].moved_ns = now_ns;
    (void)track(10);
    CHECK_EQ(memory.track.looks, 0);
    open_look(400); /* nobody follows */
    plan.evse[0].flag = 0;
    memory.track.asked_w = 0;
    (void)track(10);
    CHECK_EQ(memory.track.looks, 0);
    open_look(400); /* the meter is lost */
    memory.track.looks = 3;
    state.feeder[0].lost = 1;
    (void)track(10);
    CHECK_EQ(memory.track.looks, 0);
}

CHECK_MAIN(CASE(asked_is_the_target_less_what_others_take), CASE(who_is_not_heard_is_taken_to_do_what_it_was_told),
           CASE(without_a_target_nothing_is_asked_and_nothing_is_remembered), CASE(a_correction_dies_where_the_sign_turns),
           CASE(a_damped_target_goes_its_part_of_the_way),
           CASE(the_base_load_begins_in_the_middle_and_moves_as_far_as_it_is_forced),
           CASE(what_may_already_flow_is_no_base_load), CASE(an_evse_has_settled_after_twice_its_response_time),
           CASE(what_an_evse_is_seen_to_leave_is_asked_of_the_others),
           CASE(a_look_takes_sixteen_samples_and_the_time_of_the_slowest), CASE(samples_are_filtered_and_counted_once),
           CASE(a_correction_is_a_quarter_of_the_evses_at_most), CASE(nobody_looks_while_setpoints_are_cut_or_move))
