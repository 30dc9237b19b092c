/* Proposals at their very edges, one cycle at a time: who wants what, who waits for its turn, what the grid lets through. No feeder has
 * a meter, and nothing else draws power: all that is asked of those that follow is the site's target. */
#include "check.h"

#include "../core/site.h"

enum { RATING_W = 16000, DISCHARGE_W = 8000, LEAST_W = 1400, ROOMY_W = 1000000, TOTAL = V2G_LANE_TOTAL, NONE = V2G_NONE };
enum { SHARES = V2G_PROPOSE_SHARE, QUICK = V2G_PROPOSE_SHARE | V2G_PROPOSE_FAST };
#define SECOND_NS INT64_C(1000000000)

static struct v2g_config config;
static struct v2g_site_config site;
static struct v2g_plan plan;
static struct v2g_site_plan wish;
static struct v2g_state state;
static struct v2g_setpoints set;
static struct v2g_image image;
static struct v2g_site_state memory;
static struct v2g_site_view view;
static int64_t now_ns;

static void room(uint32_t feeder, int lane, int32_t watts) {
    state.feeder[feeder].room_import_w[lane] = state.feeder[feeder].room_export_w[lane] = watts;
}

/* A level is rounded down: at most a watt less. */
#define ROUNDED(got, wanted) CHECK((got) <= (wanted) && (got) >= (wanted) - 1)

/* What is shared of a feeder's sum that so many EVSEs hang below. */
static int32_t shared(int32_t room_w, int32_t below) {
    return room_w - (room_w >> 7) - (room_w >> 9) - 3 * below;
}

/* All follow, in two feeders one below the other; the first cycle is over. */
static void open_site(uint32_t evses, int32_t target_w) {
    memset(&config, 0, sizeof config);
    memset(&site, 0, sizeof site);
    memset(&plan, 0, sizeof plan);
    memset(&set, 0, sizeof set);
    v2g_state_init(&state);
    v2g_image_init(&image);
    v2g_site_init(&memory);
    now_ns = 5000 * SECOND_NS;
    image.health = V2G_HEALTH_ON_TIME;
    config.epoch = 7;
    config.evses = evses;
    config.feeders = 2;
    config.feeder[0].parent = V2G_NONE;
    config.feeder[0].meter = config.feeder[1].meter = V2G_NONE;
    for (uint32_t f = 0; f < 2; f++)
        for (int lane = 0; lane < V2G_LANES; lane++)
            room(f, lane, ROOMY_W);
    for (uint32_t i = 0; i < evses; i++) {
        struct v2g_evse_config *evse = &config.evse[i];
        *evse = (struct v2g_evse_config){.feeder = 1,
                                         .phases = 7,
                                         .phase_count = 3,
                                         .rating_charge_w = RATING_W,
                                         .rating_discharge_w = DISCHARGE_W,
                                         .min_charge_w = LEAST_W,
                                         .min_discharge_w = LEAST_W,
                                         .follow_tolerance_w = 500,
                                         .link_age_ns = 1000};
        plan.evse[i] = (struct v2g_evse_plan){
            .until_ns = INT64_MAX, .flag = V2G_PLAN_SITE_TARGET, .weight_charge = 1, .weight_discharge = 1};
        set.evse[i].band_max_w = RATING_W;
        set.evse[i].band_min_w = -DISCHARGE_W;
    }
    if (evses < V2G_MAX_EVSES) { /* behind the last one stands nobody */
        set.evse[evses] = (struct v2g_setpoint){.band_max_w = 77, .band_min_w = -77};
        config.evse[evses].rating_charge_w = RATING_W;
    }
    plan.lease_ns = INT64_MAX;
    wish = (struct v2g_site_plan){.target_w = target_w, .present = 1};
}

static void propose(void) {
    v2g_site_propose(&config, &site, &plan, &wish, &state, &set, now_ns, &memory, &image, &view);
}

/* The first cycle, in which nobody waits yet. */
static void begin_site(uint32_t evses, int32_t target_w) {
    open_site(evses, 0);
    propose();
    wish.target_w = target_w;
}

static void own_wish(uint32_t evse, int32_t target_w) {
    plan.evse[evse].flag = 0;
    plan.evse[evse].target_w = target_w;
}

static int32_t target(uint32_t evse) {
    return image.proposal[evse].target_w;
}

static void park(uint32_t evse, uint16_t by, int64_t since_ns) {
    memory.turn[evse].parked = 1;
    memory.turn[evse].by = by;
    memory.turn[evse].parked_ns = now_ns - since_ns;
}

static uint32_t parked(void) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < config.evses; i++)
        bits |= (uint32_t)memory.turn[i].parked << i;
    return bits;
}

static uint32_t parked_at(uint32_t evse) {
    return memory.turn[evse].parked;
}

/* ---- Beginnings ------------------------------------------------------------------------------------------------------------ */

static void before_the_first_cycle_nothing_is_known(void) {
    static struct v2g_site_state nothing;
    memset(&memory, 0xff, sizeof memory);
    v2g_site_init(&memory);
    CHECK_EQ(memory.grid.good_ns, V2G_NEVER);
    CHECK_EQ(memory.grid.ceased_ns, V2G_NEVER);
    memory.grid.good_ns = memory.grid.ceased_ns = 0;
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        CHECK_EQ(memory.evse[i].most_w, V2G_POWER_MAX_W);
        CHECK_EQ(memory.evse[i].moved_ns, V2G_NEVER);
        memory.evse[i] = (struct v2g_site_evse_state){0};
    }
    CHECK_MEM_EQ(&memory, &nothing, sizeof memory);
    memory.grid.good_ns = 5;
    v2g_site_restore_out(&memory);
    CHECK_EQ(memory.grid.service, V2G_GRID_OUT);
    CHECK_EQ(memory.grid.reason, V2G_ENTER_SERVICE);
    CHECK_EQ(memory.grid.good_ns, V2G_NEVER);
}

static void a_new_config_begins_evses_and_rooms_anew_and_keeps_the_grid(void) {
    open_site(3, 9000);
    memory.grid.service = V2G_GRID_ENTERING;
    memory.grid.entered_q32 = 99;
    memory.track.trim_w = 30;
    memory.track.asked_w = 9000;
    memory.turn[1].parked = 1;
    memory.turns = 50;
    memory.room[2].unmetered = 0;
    propose();
    CHECK_EQ(memory.config_epoch, 7);
    CHECK_EQ(memory.grid.service, V2G_GRID_ENTERING);
    CHECK_EQ(memory.grid.entered_q32, 99);
    CHECK_EQ(view.trim_w, 30);
    CHECK_EQ(memory.turns, 3);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK_EQ(memory.turn[i].turn, i + 1);
        CHECK_EQ(memory.turn[i].parked, 0);
        CHECK_EQ(target(i), 3010); /* of rooms that were there at once */
    }
    CHECK_EQ(memory.turn[3].turn, 0);
    CHECK_EQ(memory.room[2].unmetered, 0); /* there is no such feeder */
    memory.turn[1].turn = 44;
    memory.evse[1].most_w = 2000; /* the same config: it stays */
    memory.evse[1].told_w = set.evse[1].target_w = 5000;
    memory.evse[1].moved_ns = now_ns;
    image.evse[1].valid = 1u << V2G_F_POWER;
    image.evse[1].value[V2G_F_POWER] = 1000;
    image.evse[1].acquired_ns[V2G_F_POWER] = now_ns;
    site.response_ns[1] = 1000;
    propose();
    CHECK_EQ(memory.turn[1].turn, 44);
    CHECK_EQ(target(1), 2000);
    config.epoch++;
    memory.room[0].unmetered = memory.room[1].unmetered = 0;
    config.feeder[0].meter = config.feeder[1].meter = 0;
    state.feeder[0].lost = state.feeder[1].lost = 0;
    propose();
    for (uint32_t f = 0; f < 2; f++)
        CHECK_EQ(memory.room[f].past_w[0][TOTAL], ROOMY_W);
    CHECK_EQ(memory.turn[1].turn, 2);
}

/* ---- What everybody wants -------------------------------------------------------------------------------------------------- */

static void those_that_follow_share_the_target_by_the_weight_of_its_direction(void) {
    begin_site(2, 9000);
    plan.evse[0].weight_charge = 0; /* is V2G_WEIGHT_ONE */
    plan.evse[1].weight_charge = 2 * V2G_WEIGHT_ONE;
    plan.evse[0].weight_discharge = 3 * V2G_WEIGHT_ONE;
    plan.evse[1].weight_discharge = 0;
    propose();
    CHECK_EQ(target(0), 3000);
    CHECK_EQ(target(1), 6000);
    CHECK_EQ(image.proposal[0].share_charge_w, V2G_POWER_MAX_W);
    CHECK_EQ(image.proposal[0].share_discharge_w, V2G_POWER_MAX_W);
    CHECK_EQ(image.proposal[0].option, SHARES);
    CHECK_EQ(image.proposal[0].why_target, V2G_REASON_NONE);
    CHECK_EQ(view.asked_w, 9000);
    wish.target_w = -8000;
    propose();
    CHECK_EQ(target(0), -6000);
    CHECK_EQ(target(1), -2000);
    wish.target_w = 0;
    propose();
    CHECK_EQ(target(0), 0);
}

static void nobody_is_asked_for_more_than_its_band_or_than_it_was_seen_to_take(void) {
    begin_site(2, 9000);
    set.evse[0].band_max_w = 2500;
    propose();
    CHECK_EQ(target(0), 2500);
    CHECK_EQ(target(1), 6500);
    set.evse[0].band_max_w = -1; /* no setpoint is like that */
    propose();
    CHECK_EQ(target(0), 0);
    set.evse[0].band_min_w = -2500;
    wish.target_w = -9000;
    propose();
    CHECK_EQ(target(0), -2500);
    CHECK_EQ(target(1), -6500);
    set.evse[0].band_min_w = 1;
    propose();
    CHECK_EQ(target(0), 0);
}

/* Two wishes beside each other on a feeder that is too narrow for them: the smaller one shows in what the other one gets. */
static void a_wish_of_its_own_holds_while_plan_and_lease_do(void) {
    static const struct {
        int64_t until, lease;
        uint32_t health;
        int32_t wish_w;
    } plans[] = {{0, 0, V2G_HEALTH_ON_TIME, 1500},
                 {-1, 0, V2G_HEALTH_ON_TIME, 2500},
                 {0, -1, V2G_HEALTH_ON_TIME, 2500},
                 {0, 0, V2G_HEALTH_GUARD, 2500}};
    for (int k = 0; k < 4; k++) {
        begin_site(2, 0);
        own_wish(0, 9000), own_wish(1, 1500);
        plan.evse[0].after_target_w = 9000;
        plan.evse[1].after_target_w = 2500;
        plan.evse[1].until_ns = now_ns + plans[k].until;
        plan.lease_ns = now_ns + plans[k].lease;
        image.health = plans[k].health;
        room(1, TOTAL, 10240);
        propose();
        ROUNDED(image.proposal[0].share_charge_w, shared(10240, 2) - plans[k].wish_w);
        CHECK_EQ(image.proposal[0].why_charge, V2G_FEEDER_LIMIT);
        CHECK_EQ(image.proposal[1].share_charge_w, V2G_POWER_MAX_W);
        CHECK_EQ(target(0), 0); /* its wish is the plan's */
    }
    begin_site(2, 0); /* its band counts too, either way */
    own_wish(0, 9000), own_wish(1, 9000);
    set.evse[1].band_max_w = 1600;
    room(1, TOTAL, 10240);
    propose();
    ROUNDED(image.proposal[0].share_charge_w, shared(10240, 2) - 1600);
    own_wish(0, -7000), own_wish(1, -7000);
    set.evse[1].band_min_w = -1700;
    room(1, TOTAL, 7680);
    propose();
    ROUNDED(image.proposal[0].share_discharge_w, shared(7680, 2) - 1700);
    CHECK_EQ(image.proposal[0].why_discharge, V2G_FEEDER_LIMIT);
    CHECK_EQ(image.proposal[0].share_charge_w, V2G_POWER_MAX_W);
}

static void a_three_phase_vehicle_counts_a_third_on_each_once_it_was_seen_to(void) {
    for (int even = 0; even < 2; even++) {
        begin_site(1, 0);
        own_wish(0, 15000);
        state.evse[0].latch = even != 0 ? V2G_LATCH_BALANCED : 0;
        room(1, 1, 3072);
        propose();
        ROUNDED(image.proposal[0].share_charge_w, (3072 - 24 - 1) * (even != 0 ? 3 : 1));
        CHECK_EQ(image.proposal[0].why_charge, V2G_PHASE_LIMIT);
    }
    begin_site(1, 0); /* a phase that it is not connected to is no business of its */
    own_wish(0, 15000);
    config.evse[0].phases = 5;
    room(1, 1, 0);
    propose();
    CHECK_EQ(image.proposal[0].share_charge_w, V2G_POWER_MAX_W);
    begin_site(1, 0); /* on two phases */
    own_wish(0, 15000);
    config.evse[0].phases = 5;
    state.evse[0].latch = V2G_LATCH_BALANCED;
    room(1, 1, 0), room(1, 2, 3072);
    propose();
    ROUNDED(image.proposal[0].share_charge_w, (3072 - 24 - 1) * 2);
}

static void the_frequency_stands_in_for_a_wish_and_moves_the_target(void) {
    begin_site(3, 6000);
    memory.grid.offset_q16 = -16384; /* a quarter of all ratings less */
    own_wish(0, 5000);
    propose();
    CHECK_EQ(target(0), 5000 - RATING_W / 4);
    CHECK_EQ(image.proposal[0].option, QUICK | V2G_PROPOSE_TARGET);
    CHECK_EQ(image.proposal[0].why_target, V2G_GRID_FREQUENCY);
    CHECK_EQ(image.proposal[1].option, QUICK);
    CHECK_EQ(view.target_w, 6000 - 3 * RATING_W / 4);
    CHECK_EQ(view.offset_q16, -16384);
    set.evse[2].band_min_w = -1000; /* no more than it could move */
    set.evse[2].band_max_w = 500;
    propose();
    CHECK_EQ(view.target_w, 6000 - 2 * RATING_W / 4 - 1500);
    memory.grid.offset_q16 = 16384;
    propose();
    CHECK_EQ(view.target_w, 6000 + 2 * RATING_W / 4 + 1500);
    CHECK_EQ(target(0), 9000);
    config.evse[0].rating_charge_w = 80000; /* a watt for the smallest answer */
    set.evse[0].band_max_w = 80000;
    memory.grid.offset_q16 = 1;
    propose();
    CHECK_EQ(view.target_w, 6001);
}

static void power_comes_back_fast_for_a_second_after_a_cessation(void) {
    begin_site(1, 6000);
    memory.grid.ceased_ns = now_ns - SECOND_NS;
    propose();
    CHECK_EQ(image.proposal[0].option, QUICK);
    memory.grid.ceased_ns--;
    propose();
    CHECK_EQ(image.proposal[0].option, SHARES);
}

/* ---- Full feeders and the target ------------------------------------------------------------------------------------------- */

static void who_gets_less_by_the_target_than_by_its_feeder_has_no_reason_but_the_target(void) {
    begin_site(2, 20000);
    config.evse[0].feeder = 0;
    config.epoch++;
    room(1, TOTAL, 5120);
    propose();
    ROUNDED(target(1), shared(5120, 1));
    CHECK_EQ(image.proposal[1].why_charge, V2G_FEEDER_LIMIT);
    ROUNDED(image.proposal[1].share_charge_w, shared(5120, 1));
    ROUNDED(target(0), 20000 - shared(5120, 1));
    CHECK_EQ(image.proposal[0].why_charge, V2G_REASON_NONE);
    wish.target_w = 6000;
    propose();
    CHECK_EQ(target(0), 3000);
    CHECK_EQ(target(1), 3000);
    CHECK_EQ(image.proposal[1].why_charge, V2G_REASON_NONE);
    wish.target_w = -12000; /* and the other way */
    room(1, TOTAL, 2048);
    propose();
    ROUNDED(-target(1), shared(2048, 1));
    CHECK_EQ(image.proposal[1].why_discharge, V2G_FEEDER_LIMIT);
    CHECK_EQ(target(0), -8000);
}

static void what_those_that_follow_do_not_need_of_a_full_feeder_goes_to_the_others_on_it(void) {
    for (int sign = -1; sign <= 1; sign += 2) {
        begin_site(3, sign * 1500);
        own_wish(0, sign * 7000), own_wish(1, sign * 1600);
        set.evse[0].band_max_w = 6500;
        set.evse[0].band_min_w = -6500;
        room(1, TOTAL, 9216);
        propose();
        int32_t left_w = shared(9216, 3) - 1500 - 1600;
        CHECK_EQ(target(2), sign * 1500);
        CHECK_EQ(image.proposal[2].why_charge, V2G_REASON_NONE);
        CHECK_EQ(image.proposal[2].why_discharge, V2G_REASON_NONE);
        const struct v2g_proposal *first = &image.proposal[0];
        ROUNDED(sign > 0 ? first->share_charge_w : first->share_discharge_w, left_w);
        CHECK_EQ(sign > 0 ? first->why_charge : first->why_discharge, V2G_FEEDER_LIMIT);
        room(1, TOTAL, 9728); /* enough for all once the target is met: nobody is bound */
        propose();
        CHECK_EQ(first->share_charge_w, V2G_POWER_MAX_W);
        CHECK_EQ(first->share_discharge_w, V2G_POWER_MAX_W);
        CHECK_EQ(target(2), sign * 1500);
    }
}

/* The same wherever the one that follows stands, and while a phase elsewhere is full and lets one of two wait. */
static void whoever_is_no_longer_bound_has_no_reason(void) {
    for (uint32_t follows = 0; follows < 3; follows++) {
        uint32_t wishes = (follows + 1) % 3, little = (follows + 2) % 3;
        begin_site(5, 1500);
        own_wish(wishes, 7000), own_wish(little, 1600), own_wish(3, 9000), own_wish(4, 9000);
        set.evse[wishes].band_max_w = 6500;
        for (uint32_t i = 0; i < 3; i++)
            config.evse[i].phases = 1;
        for (uint32_t i = 3; i < 5; i++)
            config.evse[i].phases = 4, config.evse[i].feeder = 0;
        config.epoch++;
        room(0, 2, 2560);
        room(1, TOTAL, 9728);
        propose();
        CHECK_EQ(target(follows), 1500);
        for (uint32_t i = 0; i < 3; i++) {
            CHECK_EQ(image.proposal[i].why_charge, V2G_REASON_NONE);
            CHECK_EQ(image.proposal[i].share_charge_w, V2G_POWER_MAX_W);
            CHECK_EQ(memory.turn[i].by, NONE);
        }
        CHECK_EQ(parked(), 16);
        ROUNDED(image.proposal[3].share_charge_w, 2560 - 20 - 5);
        CHECK_EQ(image.proposal[3].why_charge, V2G_PHASE_LIMIT);
    }
    begin_site(2, 1500); /* first of all in the tree */
    own_wish(1, 9000);
    room(1, TOTAL, 9216);
    propose();
    CHECK_EQ(target(0), 1500);
    CHECK_EQ(image.proposal[0].why_charge, V2G_REASON_NONE);
    ROUNDED(image.proposal[1].share_charge_w, shared(9216, 2) - 1500);
}

/* One on L1 has a wish of its own beside one on L2 that follows; the third, on L1 of the grid connection, follows too. L2 of the grid
 * connection is narrow, so the first two don't fill their feeder: what is left there is on L1, which all of L1 shares. */
static void what_others_ask_anew_is_not_taken_from_the_site_s_target(void) {
    begin_site(3, 8500);
    config.evse[2].feeder = 0;
    config.epoch++;
    config.evse[0].phases = config.evse[2].phases = 1;
    config.evse[1].phases = 2;
    own_wish(0, 15000);
    room(1, TOTAL, 10000), room(0, 0, 12000), room(0, 1, 2000);
    propose();
    ROUNDED(target(1) + target(2), 8500);
    CHECK(image.proposal[0].share_charge_w > 5300 && image.proposal[0].share_charge_w < 5500);
    CHECK_EQ(image.proposal[0].why_charge, V2G_PHASE_LIMIT);
}

/* A known limit: docs/site-control.md. */
static void what_a_phase_further_up_refuses_one_is_not_given_to_its_neighbours(void) {
    begin_site(2, 30000);
    config.evse[0].phases = 1, config.evse[1].phases = 2;
    own_wish(1, 9000);
    room(1, TOTAL, 10240), room(0, 0, 2048);
    propose();
    ROUNDED(target(0), 2048 - 16 - 2);
    ROUNDED(image.proposal[1].share_charge_w, shared(10240, 2) / 2);
}

static void a_single_watt_needs_room_as_well(void) {
    for (int sign = -1; sign <= 1; sign += 2) {
        begin_site(1, 0);
        own_wish(0, sign);
        room(1, TOTAL, 0);
        propose();
        CHECK_EQ(sign > 0 ? image.proposal[0].share_charge_w : image.proposal[0].share_discharge_w, 0);
    }
}

static void the_largest_site_keeps_inside_its_tables(void) {
    begin_site(V2G_MAX_EVSES, 100000);
    memory.grid.offset_q16 = 1;
    own_wish(7, 9000); /* alone on a narrow phase */
    for (uint32_t i = 0; i < V2G_MAX_EVSES; i++)
        config.evse[i].phases = i == 7 ? 4 : 1;
    room(0, 2, 4096);
    propose();
    CHECK_EQ(view.parked, 1);
    CHECK_EQ(parked_at(V2G_MAX_EVSES - 1), 1);
    park(3, NONE, 600 * SECOND_NS);
    propose();
    CHECK_EQ(parked_at(3), 0);
}

/* ---- Turns ----------------------------------------------------------------------------------------------------------------- */

static void who_waits_knows_for_what_and_so_do_those_that_are_served(void) {
    begin_site(3, 500); /* two wishes that fill a feeder beside a little of the site's target */
    own_wish(0, 9000), own_wish(1, 9000);
    config.evse[2].min_charge_w = 0;
    room(1, TOTAL, 2560);
    for (uint32_t i = 0; i < 3; i++)
        memory.turn[i].by = 0;
    propose();
    CHECK_EQ(parked(), 2);
    CHECK_EQ(memory.turn[0].by, 1);
    CHECK_EQ(memory.turn[1].by, 1);
    CHECK_EQ(memory.turn[2].by, NONE); /* the target gives it less than the feeder would */
    CHECK_EQ(target(2), 500);
    ROUNDED(image.proposal[0].share_charge_w, shared(2560, 3) - 500);
}

static void one_begins_to_wait_in_a_cycle_though_both_directions_are_short(void) {
    begin_site(4, 0);
    own_wish(0, 9000), own_wish(1, 9000), own_wish(2, -7000), own_wish(3, -7000);
    room(1, TOTAL, 2048);
    propose();
    CHECK_EQ(parked(), 2);
    propose();
    CHECK_EQ(parked(), 10);
}

static void what_others_take_is_not_there_for_those_that_follow(void) {
    begin_site(2, 1000); /* less than one needs: it stands still, but need not wait when there is more */
    own_wish(1, 5000);
    propose();
    CHECK_EQ(parked(), 0);
    wish.target_w = 5000;
    propose();
    CHECK_EQ(target(0), 5000);
    begin_site(2, 0); /* nor is another feeder's */
    config.evse[0].feeder = 0;
    config.epoch++;
    own_wish(0, 5000), own_wish(1, 9000);
    room(1, TOTAL, 1415);
    propose();
    CHECK_EQ(image.proposal[1].share_charge_w, LEAST_W - 1);
    CHECK_EQ(parked(), 0);
    begin_site(1, LEAST_W - 1);
    propose();
    CHECK_EQ(parked(), 0);
    begin_site(2, 6000); /* what a feeder lets another one have of the target can't be had instead */
    config.evse[0].feeder = 0;
    config.epoch++;
    room(1, TOTAL, 5120);
    plan.evse[1].weight_charge = 10;
    wish.target_w = shared(5120, 1) + 1000;
    propose();
    ROUNDED(target(1), shared(5120, 1));
    CHECK_EQ(parked(), 0);
}

static void the_last_in_the_queue_waits_one_in_a_cycle(void) {
    for (int sign = -1; sign <= 1; sign += 2) {
        for (uint32_t last = 0; last < 4; last++) {
            begin_site(4, sign * 2900);
            for (uint32_t i = 0; i < 4; i++)
                memory.turn[i].turn = 10 - (4 + i - last) % 4;
            propose();
            CHECK_EQ(parked(), 1u << last);
            CHECK_EQ(view.parked, 1);
            CHECK_EQ(memory.turn[last].by, NONE);
            CHECK_EQ(memory.turn[last].parked_ns, now_ns);
            CHECK_EQ(target(last), 0);
            const struct v2g_proposal *waits = &image.proposal[last];
            CHECK_EQ(waits->share_charge_w, 0);
            CHECK_EQ(waits->share_discharge_w, 0);
            CHECK_EQ(waits->why_charge, V2G_DEVICE_MINIMUM);
            CHECK_EQ(waits->why_discharge, V2G_DEVICE_MINIMUM);
            CHECK_EQ(target((last + 1) % 4), sign * 966);
            propose();
            CHECK_EQ(view.parked, 2);
            propose();
            CHECK_EQ(view.parked, 2); /* 1450 each */
        }
    }
}

static void nobody_waits_for_what_is_enough_or_not_enough_for_even_one(void) {
    static const struct {
        int32_t target_w;
        uint32_t waits;
    } targets[] = {{2800, 0}, {2799, 2}, {1400, 2}, {1399, 0}, {-2800, 0}, {-2799, 2}, {-1400, 2}, {-1399, 0}};
    for (int k = 0; k < 8; k++) {
        begin_site(2, targets[k].target_w);
        propose();
        CHECK_EQ(parked(), targets[k].waits);
    }
}

static void who_could_not_take_its_minimum_does_not_wait_for_it(void) {
    for (int32_t band_w = LEAST_W - 1; band_w <= LEAST_W; band_w++) {
        begin_site(2, 1500);
        set.evse[1].band_max_w = band_w;
        propose();
        CHECK_EQ(parked(), band_w < LEAST_W ? 1 : 2);
        begin_site(2, 0); /* of its own wish, on a full feeder */
        own_wish(0, 9000), own_wish(1, band_w);
        room(1, TOTAL, 2048);
        propose();
        CHECK_EQ(parked(), band_w < LEAST_W ? 1 : 2);
        CHECK_EQ(memory.turn[band_w < LEAST_W ? 0 : 1].by, 1);
        begin_site(2, 0);
        own_wish(0, -7000), own_wish(1, -band_w);
        room(1, TOTAL, 2048);
        propose();
        CHECK_EQ(parked(), band_w < LEAST_W ? 1 : 2);
    }
    begin_site(2, 3000); /* who follows is short only in the direction of all that follow */
    own_wish(0, -7000);
    config.evse[1].min_discharge_w = 9000;
    propose();
    CHECK_EQ(parked(), 0);
}

static void who_waits_returns_when_nobody_falls_short_by_it(void) {
    static const struct {
        int32_t target_w;
        int64_t waited_ns;
        uint32_t waits;
    } tries[] = {
        {3150, 60 * SECOND_NS, 0}, {3149, 60 * SECOND_NS, 2}, {3150, 60 * SECOND_NS - 1, 2}, {-3150, 60 * SECOND_NS, 0}};
    for (int k = 0; k < 4; k++) {
        begin_site(2, tries[k].target_w);
        park(1, NONE, tries[k].waited_ns);
        propose();
        CHECK_EQ(parked(), tries[k].waits);
        CHECK_EQ(target(1), tries[k].waits != 0 ? 0 : tries[k].target_w / 2);
        CHECK_EQ(image.proposal[1].why_charge, tries[k].waits != 0 ? V2G_DEVICE_MINIMUM : V2G_REASON_NONE);
    }
    begin_site(3, 3200); /* the first in the queue of those that wait; one more would be one too many */
    park(1, NONE, 100 * SECOND_NS), park(2, NONE, 100 * SECOND_NS);
    memory.turn[1].turn = 9, memory.turn[2].turn = 8;
    propose();
    CHECK_EQ(parked(), 2);
    propose();
    CHECK_EQ(parked(), 2);
    begin_site(2, 3149); /* the others need no eighth more */
    config.evse[1].min_charge_w = 1300;
    park(1, NONE, 100 * SECOND_NS);
    propose();
    CHECK_EQ(parked(), 0);
    begin_site(2, 2900); /* it would do, but its neighbour would not */
    config.evse[1].min_charge_w = 1000;
    config.evse[0].min_charge_w = 1500;
    park(1, NONE, 100 * SECOND_NS);
    propose();
    CHECK_EQ(parked(), 2);
    begin_site(2, -3000); /* the same while discharging */
    config.evse[1].min_discharge_w = 1000;
    config.evse[0].min_discharge_w = 1501;
    park(1, NONE, 100 * SECOND_NS);
    propose();
    CHECK_EQ(parked(), 2);
}

static void whoever_has_waited_for_ten_minutes_changes_places_with_the_one_served_the_longest(void) {
    for (int64_t waited_ns = 600 * SECOND_NS - 1; waited_ns <= 600 * SECOND_NS; waited_ns++) {
        begin_site(4, 4300);
        memory.turns = 20;
        memory.turn[0].turn = 7, memory.turn[1].turn = 5, memory.turn[2].turn = 6, memory.turn[3].turn = 9;
        for (uint32_t i = 0; i < 4; i++)
            memory.turn[i].by = V2G_NONE;
        park(3, NONE, waited_ns);
        propose();
        bool changed = waited_ns == 600 * SECOND_NS;
        CHECK_EQ(parked(), changed ? 2 : 8);
        CHECK_EQ(memory.turns, changed ? 21 : 20);
        CHECK_EQ(memory.turn[1].turn, changed ? 21 : 5);
        CHECK_EQ(memory.turn[1].parked_ns, changed ? now_ns : 0);
        CHECK_EQ(memory.turn[1].by, NONE);
        CHECK_EQ(target(1), changed ? 0 : 1433);
        CHECK_EQ(target(3), changed ? 1433 : 0);
    }
    begin_site(2, 1500); /* the first in the table, either way */
    memory.turn[0].turn = 1, memory.turn[1].turn = 2;
    memory.turn[0].by = NONE;
    park(1, NONE, 600 * SECOND_NS);
    propose();
    CHECK_EQ(parked(), 1);
    now_ns += 600 * SECOND_NS;
    propose();
    CHECK_EQ(parked(), 2);
    begin_site(3, 3000); /* of those that wait for the same, and have a minimum */
    park(2, 1, 600 * SECOND_NS);
    memory.turn[0].by = NONE, memory.turn[1].by = 1;
    config.evse[1].min_charge_w = 0;
    propose();
    CHECK_EQ(parked(), 4);
    config.evse[1].min_charge_w = 1;
    propose();
    CHECK_EQ(parked(), 2);
    CHECK_EQ(memory.turn[1].by, 1);
}

/* ---- What the grid lets through -------------------------------------------------------------------------------------------- */

static void see_grid(int32_t voltage_dv) {
    site.grid.present = site.grid.meters = site.grid.phases = 1;
    site.grid.age_ns[0] = 1000;
    site.grid.nominal_mhz = 50000;
    site.grid.nominal_dv = 2300;
    image.meter[0].valid = 1u << V2G_M_FREQUENCY | 1u << V2G_M_U_L1;
    image.meter[0].value[V2G_M_FREQUENCY] = 50010;
    image.meter[0].value[V2G_M_U_L1] = voltage_dv;
    image.meter[0].acquired_ns[V2G_M_FREQUENCY] = image.meter[0].acquired_ns[V2G_M_U_L1] = now_ns;
}

static void the_ramp_of_entering_service_lowers_every_share(void) {
    begin_site(1, 6000);
    see_grid(2300);
    memory.grid.service = V2G_GRID_ENTERING;
    memory.grid.entered_q32 = UINT64_C(1) << 30; /* a quarter */
    propose();
    CHECK_EQ(image.proposal[0].share_charge_w, RATING_W / 4);
    CHECK_EQ(image.proposal[0].why_charge, V2G_ENTER_SERVICE);
    CHECK_EQ(image.proposal[0].share_discharge_w, DISCHARGE_W / 4);
    CHECK_EQ(image.proposal[0].why_discharge, V2G_ENTER_SERVICE);
    CHECK_EQ(image.proposal[0].grid_charge, 0);
    CHECK_EQ(image.proposal[0].grid_discharge, 0);
    own_wish(0, 9000);
    for (int32_t room_w = RATING_W / 4 - 1; room_w <= RATING_W / 4; room_w++) { /* what is narrower stays the reason */
        room(1, TOTAL, room_w + 31 + 7 + 3);
        CHECK_EQ(shared(room_w + 31 + 7 + 3, 1), room_w);
        propose();
        CHECK_EQ(image.proposal[0].share_charge_w, room_w);
        CHECK_EQ(image.proposal[0].why_charge, V2G_FEEDER_LIMIT);
    }
    memory.grid.service = V2G_GRID_IN;
    room(1, TOTAL, ROOMY_W);
    propose();
    CHECK_EQ(image.proposal[0].share_charge_w, V2G_POWER_MAX_W);
    CHECK_EQ(image.proposal[0].share_discharge_w, V2G_POWER_MAX_W);
}

static void volt_watt_lowers_discharging_beyond_its_voltage_down_to_its_least(void) {
    static const struct {
        int32_t dv, from_dv, share_w;
    } shown[] = {{2540, 2540, V2G_POWER_MAX_W},       {2541, 2540, DISCHARGE_W - DISCHARGE_W / 64},
                 {2560, 2540, DISCHARGE_W * 44 / 64}, {2588, 2540, DISCHARGE_W / 4},
                 {2589, 2540, DISCHARGE_W / 4},       {2700, 2540, DISCHARGE_W / 4},
                 {2541, 0, V2G_POWER_MAX_W},          {2540, 1, DISCHARGE_W / 4}};
    for (int k = 0; k < 8; k++) {
        begin_site(1, 6000);
        see_grid(shown[k].dv);
        site.grid.volt_watt_from_dv = shown[k].from_dv;
        site.grid.volt_watt_slope_q24 = 1 << 18; /* a 64th for each 0.1 V */
        site.grid.volt_watt_least_q16 = 1 << 14;
        propose();
        CHECK_EQ(image.proposal[0].share_discharge_w, shown[k].share_w);
        CHECK_EQ(image.proposal[0].why_discharge, shown[k].share_w == V2G_POWER_MAX_W ? V2G_REASON_NONE : V2G_GRID_VOLTAGE);
        CHECK_EQ(image.proposal[0].share_charge_w, V2G_POWER_MAX_W);
        site.grid.volt_watt_least_q16 = 0;
        propose();
        CHECK_EQ(image.proposal[0].share_discharge_w, shown[k].dv == 2700 || shown[k].from_dv == 1 ? 0
                                                      : shown[k].dv == 2588 || shown[k].dv == 2589
                                                          ? DISCHARGE_W * (64 - (shown[k].dv - 2540)) / 64
                                                          : shown[k].share_w);
        config.evse[0].rating_discharge_w = 80000; /* beyond, not even a watt */
        propose();
        CHECK(shown[k].dv != 2700 || image.proposal[0].share_discharge_w == 0);
        image.meter[0].valid = 1u << V2G_M_U_L1; /* without the frequency the grid is not seen */
        propose();
        CHECK_EQ(image.proposal[0].share_discharge_w, V2G_POWER_MAX_W);
    }
}

static void out_of_service_or_unseen_the_grid_forbids(void) {
    static const struct {
        uint32_t service, ceased, seen;
        int charge, discharge;
    } shown[] = {{V2G_GRID_IN, 0, 1, 0, 0},
                 {V2G_GRID_OUT, 0, 1, V2G_GRID_VOLTAGE, V2G_GRID_VOLTAGE},
                 {V2G_GRID_WAITING, 0, 1, V2G_GRID_VOLTAGE, V2G_GRID_VOLTAGE},
                 {V2G_GRID_ENTERING, 0, 1, 0, 0},
                 {V2G_GRID_IN, 1, 1, V2G_GRID_VOLTAGE, V2G_GRID_VOLTAGE},
                 {V2G_GRID_IN, 0, 0, 0, V2G_STALE_METER},
                 {V2G_GRID_OUT, 0, 0, V2G_GRID_VOLTAGE, V2G_GRID_VOLTAGE}};
    for (int k = 0; k < 7; k++) {
        begin_site(1, 6000);
        see_grid(2300);
        image.meter[0].valid *= shown[k].seen;
        memory.grid.service = shown[k].service;
        memory.grid.ceased = shown[k].ceased;
        memory.grid.reason = V2G_GRID_VOLTAGE;
        propose();
        CHECK_EQ(image.proposal[0].grid_charge, shown[k].charge);
        CHECK_EQ(image.proposal[0].grid_discharge, shown[k].discharge);
        site.grid.present = 0; /* without a profile it forbids nothing */
        propose();
        CHECK_EQ(image.proposal[0].grid_charge, 0);
        CHECK_EQ(image.proposal[0].grid_discharge, 0);
    }
}

/* ---- What is shown --------------------------------------------------------------------------------------------------------- */

static void the_view_shows_the_site_as_it_is(void) {
    begin_site(3, 6000);
    see_grid(2311);
    own_wish(1, 1000);
    set.evse[1].band_max_w = 4321;
    set.evse[2].band_max_w = 5000;
    set.evse[2].band_min_w = -3000;
    site.grid.enter_delay_ns = 500;
    memory.grid.service = V2G_GRID_WAITING;
    memory.grid.reason = V2G_ENTER_SERVICE;
    memory.grid.good_ns = now_ns - 100;
    view.parked = 9;
    propose();
    CHECK_EQ(view.room_charge_w, RATING_W + 5000);
    CHECK_EQ(view.room_discharge_w, DISCHARGE_W + 3000);
    CHECK_EQ(view.parked, 0);
    CHECK_EQ(view.present, 3);
    CHECK_EQ(view.frequency_mhz, 50010);
    CHECK_EQ(view.low_dv, 2311);
    CHECK_EQ(view.high_dv, 2311);
    CHECK_EQ(view.service, V2G_GRID_WAITING);
    CHECK_EQ(view.reason, V2G_ENTER_SERVICE);
    CHECK_EQ(view.enter_ns, now_ns + 400);
    CHECK_EQ(view.asked_w, 6000);
    image.meter[0].valid = 0;
    memory.grid.service = V2G_GRID_OUT;
    wish.present = 0;
    propose();
    CHECK_EQ(view.present, 0);
    CHECK_EQ(view.low_dv, 0);
    CHECK_EQ(view.enter_ns, V2G_NEVER);
}

CHECK_MAIN(CASE(before_the_first_cycle_nothing_is_known), CASE(a_new_config_begins_evses_and_rooms_anew_and_keeps_the_grid),
           CASE(those_that_follow_share_the_target_by_the_weight_of_its_direction),
           CASE(nobody_is_asked_for_more_than_its_band_or_than_it_was_seen_to_take),
           CASE(a_wish_of_its_own_holds_while_plan_and_lease_do),
           CASE(a_three_phase_vehicle_counts_a_third_on_each_once_it_was_seen_to),
           CASE(the_frequency_stands_in_for_a_wish_and_moves_the_target),
           CASE(power_comes_back_fast_for_a_second_after_a_cessation),
           CASE(who_gets_less_by_the_target_than_by_its_feeder_has_no_reason_but_the_target),
           CASE(what_those_that_follow_do_not_need_of_a_full_feeder_goes_to_the_others_on_it),
           CASE(whoever_is_no_longer_bound_has_no_reason), CASE(what_others_ask_anew_is_not_taken_from_the_site_s_target),
           CASE(what_a_phase_further_up_refuses_one_is_not_given_to_its_neighbours), CASE(a_single_watt_needs_room_as_well),
           CASE(the_largest_site_keeps_inside_its_tables), CASE(who_waits_knows_for_what_and_so_do_those_that_are_served),
           CASE(one_begins_to_wait_in_a_cycle_though_both_directions_are_short),
           CASE(what_others_take_is_not_there_for_those_that_follow), CASE(the_last_in_the_queue_waits_one_in_a_cycle),
           CASE(nobody_waits_for_what_is_enough_or_not_enough_for_even_one),
           CASE(who_could_not_take_its_minimum_does_not_wait_for_it), CASE(who_waits_returns_when_nobody_falls_short_by_it),
           CASE(whoever_has_waited_for_ten_minutes_changes_places_with_the_one_served_the_longest),
           CASE(the_ramp_of_entering_service_lowers_every_share),
           CASE(volt_watt_lowers_discharging_beyond_its_voltage_down_to_its_least),
           CASE(out_of_service_or_unseen_the_grid_forbids), CASE(the_view_shows_the_site_as_it_is))
