/* Sharing at its very edges, without a site around it: the level, the order of the tree, rooms that are held, full lanes. */
#include "check.h"

#include "../core/site.h"

enum { ROOMY_W = 1000000, TOTAL = V2G_LANE_TOTAL };
#define SECOND_NS INT64_C(1000000000)

static struct v2g_config config;
static struct v2g_state state;
static struct v2g_site_state memory;
static struct v2g_shares shares;

/* ---- The level ------------------------------------------------------------------------------------------------------------- */

static void what_fits_exactly_is_not_lowered_and_one_watt_less_is(void) {
    const uint16_t weight[] = {1, 1};
    const uint8_t whole[] = {6, 6}, half[] = {3, 3};
    int32_t most_w[] = {4000, 5000};
    CHECK(!v2g_share_fill(2, most_w, weight, whole, 9000));
    CHECK(!v2g_share_fill(2, most_w, weight, half, 4500));
    CHECK_EQ(most_w[0] + most_w[1], 9000);
    CHECK(v2g_share_fill(2, most_w, weight, half, 4499));
    CHECK_EQ(most_w[0], 4000);
    CHECK_EQ(most_w[1], 4998);
}

static void whoever_needs_less_than_its_part_leaves_the_rest_to_the_others_by_weight(void) {
    const uint16_t weight[] = {2, 1, 1};
    const uint8_t size[] = {6, 6, 6};
    int32_t most_w[] = {9000, 1000, 5000};
    CHECK(v2g_share_fill(3, most_w, weight, size, 7000));
    CHECK_EQ(most_w[0], 4000);
    CHECK_EQ(most_w[1], 1000);
    CHECK_EQ(most_w[2], 2000);
    int32_t chain_w[] = {1000, 2000, 4000, 90000}; /* each one that leaves lets the next one leave */
    const uint16_t even[] = {1, 1, 1, 1};
    const uint8_t sizes[] = {6, 6, 6, 6};
    CHECK(v2g_share_fill(4, chain_w, even, sizes, 16000));
    CHECK_EQ(chain_w[2], 4000);
    CHECK_EQ(chain_w[3], 9000);
    int32_t back_w[] = {9000, 5000, 1000, 1000, 9000}; /* the same backwards; the last one is not asked */
    const uint16_t five[] = {1, 1, 1, 1, 1};
    const uint8_t five_sizes[] = {6, 6, 6, 6, 6};
    CHECK(v2g_share_fill(4, back_w, five, five_sizes, 13000));
    CHECK_EQ(back_w[0], 6000);
    CHECK_EQ(back_w[1], 5000);
    CHECK_EQ(back_w[4], 9000);
}

/* Each of them takes its watt, and a sixth of a watt that is left is left. */
static void the_smallest_powers_and_sizes_count(void) {
    int32_t most_w[101];
    uint16_t weight[101];
    uint8_t size[101];
    for (int i = 0; i < 101; i++)
        most_w[i] = i == 100 ? 9000 : 1, weight[i] = 1, size[i] = 6;
    CHECK(v2g_share_fill(101, most_w, weight, size, 5000));
    CHECK_EQ(most_w[0], 1);
    CHECK_EQ(most_w[100], 4900);
    int32_t uneven_w[] = {6000, 9000};
    const uint8_t sixth[] = {1, 6};
    CHECK(v2g_share_fill(2, uneven_w, weight, sixth, 5000));
    CHECK_EQ(uneven_w[0], 4285); /* 30000 sixths for seven */
    CHECK_EQ(uneven_w[1], 4285);
    int32_t last_w[] = {1, 9};
    const uint16_t kept[] = {0, 1};
    const uint8_t five_and_one[] = {5, 1}, six_and_one[] = {6, 1};
    CHECK(v2g_share_fill(2, last_w, kept, five_and_one, 1));
    CHECK_EQ(last_w[1], 1);
    int32_t nothing_w[] = {2, 9};
    CHECK(v2g_share_fill(2, nothing_w, kept, six_and_one, 1)); /* more is kept than there is */
    CHECK_EQ(nothing_w[0], 2);
    CHECK_EQ(nothing_w[1], 0);
}

static void only_what_counts_is_lowered_and_counted(void) {
    const uint16_t weight[] = {1, 1, 0, 1};
    const uint8_t size[] = {6, 0, 2, 6};
    int32_t most_w[] = {9000, 7000, 3000, 0};
    CHECK(v2g_share_fill(4, most_w, weight, size, 5000));
    CHECK_EQ(most_w[0], 4000); /* 5000 less a third of 3000, which is kept */
    CHECK_EQ(most_w[1], 7000);
    CHECK_EQ(most_w[2], 3000);
    CHECK_EQ(most_w[3], 0);
    int32_t kept_w[] = {4000, 900};
    const uint16_t none[] = {0, 1};
    const uint8_t sizes[] = {6, 6};
    CHECK(v2g_share_fill(2, kept_w, none, sizes, 4000)); /* nothing is left */
    CHECK_EQ(kept_w[0], 4000);
    CHECK_EQ(kept_w[1], 0);
    int32_t all_w[] = {V2G_POWER_MAX_W, V2G_POWER_MAX_W};
    const uint16_t most[] = {UINT16_MAX, 1};
    CHECK(v2g_share_fill(2, all_w, most, sizes, 2 * (int64_t)V2G_POWER_MAX_W - 1000)); /* a level far above every table */
    CHECK_EQ(all_w[0], V2G_POWER_MAX_W);
    CHECK_EQ(all_w[1], V2G_POWER_MAX_W - 1000);
}

/* ---- The tree -------------------------------------------------------------------------------------------------------------- */

static void open_tree(uint32_t evses, const uint16_t *evse_feeder, uint32_t feeders, const uint16_t *parent) {
    memset(&config, 0, sizeof config);
    memset(&memory, 0, sizeof memory);
    memset(&shares, 0, sizeof shares);
    v2g_state_init(&state);
    config.evses = evses;
    config.feeders = feeders;
    for (uint32_t f = 0; f < feeders; f++) {
        config.feeder[f].parent = parent[f];
        config.feeder[f].meter = V2G_NONE;
        for (int way = 0; way < 2; way++)
            for (int lane = 0; lane < V2G_LANES; lane++)
                memory.room[f].past_w[way][lane] = memory.room[f].run_w[way][lane] = ROOMY_W;
    }
    for (uint32_t i = 0; i < evses; i++)
        config.evse[i].feeder = evse_feeder[i];
    v2g_share_order(&config, &memory);
}

static void those_below_a_feeder_stand_together(void) {
    memset(memory.direct, 0xff, sizeof memory.direct);
    open_tree(6, (uint16_t[]){3, 0, 2, 1, 3, 0}, 4, (uint16_t[]){V2G_NONE, 0, 0, 1});
    memory.direct[3] = 99; /* of the config before */
    v2g_share_order(&config, &memory);
    static const uint16_t order[] = {1, 5, 3, 0, 4, 2}, first[] = {0, 2, 5, 3}, direct[] = {2, 1, 1, 2}, below[] = {6, 3, 1, 2};
    for (int p = 0; p < 6; p++)
        CHECK_EQ(memory.order[p], order[p]);
    for (int f = 0; f < 4; f++) {
        CHECK_EQ(memory.first[f], first[f]);
        CHECK_EQ(memory.direct[f], direct[f]);
        CHECK_EQ(memory.below[f], below[f]);
    }
}

static void the_largest_tree_keeps_inside_its_tables(void) {
    uint16_t parent[V2G_MAX_FEEDERS], at[V2G_MAX_FEEDERS];
    for (uint16_t f = 0; f < V2G_MAX_FEEDERS; f++)
        parent[f] = f == 0 ? V2G_NONE : (uint16_t)((f - 1) / 2), at[f] = (uint16_t)(V2G_MAX_FEEDERS - 1 - f);
    open_tree(V2G_MAX_FEEDERS, at, V2G_MAX_FEEDERS, parent);
    CHECK_EQ(memory.below[0], V2G_MAX_FEEDERS);
    uint32_t met = 0;
    for (uint32_t p = 0; p < V2G_MAX_FEEDERS; p++)
        met += memory.order[p];
    CHECK_EQ(met, V2G_MAX_FEEDERS * (V2G_MAX_FEEDERS - 1) / 2);
    v2g_share_hold_rooms(&config, &state, SECOND_NS, &memory);
    CHECK_EQ(memory.room[V2G_MAX_FEEDERS - 1].unmetered, 1);
}

/* ---- Rooms ----------------------------------------------------------------------------------------------------------------- */

enum { METERED = 1 };
static int64_t now_ns;

/* Feeder 1 has a meter, with a base load of 1 to 3 kW; every lane has another room. */
static void open_rooms(void) {
    open_tree(1, (uint16_t[]){1}, 2, (uint16_t[]){V2G_NONE, 0});
    config.feeder[METERED].meter = 0;
    config.feeder[METERED].refresh_ns = 500;
    for (uint32_t f = 0; f < 2; f++) {
        struct v2g_feeder_state *fs = &state.feeder[f];
        fs->lost = 0;
        for (int lane = 0; lane < V2G_LANES; lane++) {
            fs->room_import_w[lane] = 10000 + lane;
            fs->room_export_w[lane] = 20000 + lane;
            fs->base_low_w[lane] = 1000 + 10 * lane;
            fs->base_high_w[lane] = 3000 + 10 * lane;
        }
        memory.room[f].unmetered = 1;
    }
    now_ns = SECOND_NS;
    v2g_share_hold_rooms(&config, &state, now_ns, &memory);
}

static void hold(int64_t ns, int32_t import_w) {
    now_ns += ns;
    for (int lane = 0; lane < V2G_LANES; lane++)
        state.feeder[METERED].room_import_w[lane] = state.feeder[0].room_import_w[lane] = import_w + lane;
    v2g_share_hold_rooms(&config, &state, now_ns, &memory);
}

static void the_base_load_is_believed_as_far_as_it_is_forced(void) {
    open_rooms();
    struct v2g_room_state *room = &memory.room[METERED];
    CHECK_EQ(room->unmetered, 0);
    CHECK_EQ(memory.room[0].unmetered, 1);
    for (int lane = 0; lane < V2G_LANES; lane++) {
        CHECK_EQ(room->base_w[lane], 1000 + 10 * lane);
        CHECK_EQ(room->run_w[0][lane], 10000 + lane + 2000); /* the lowest base load stands for the highest */
        CHECK_EQ(room->past_w[0][lane], 10000 + lane + 2000);
        CHECK_EQ(room->run_w[1][lane], 20000 + lane);
        CHECK_EQ(room->past_w[1][lane], 20000 + lane);
        CHECK_EQ(memory.room[0].run_w[0][lane], 10000 + lane); /* without a meter its room is a number */
        CHECK_EQ(memory.room[0].past_w[1][lane], 20000 + lane);
        room->base_w[lane] = 5000;
        state.feeder[METERED].room_export_w[lane] = 18000;
    }
    hold(1, 9000);
    for (int lane = 0; lane < V2G_LANES; lane++) {
        CHECK_EQ(room->base_w[lane], 3000 + 10 * lane);
        CHECK_EQ(room->run_w[0][lane], 9000 + lane);
        CHECK_EQ(room->run_w[1][lane], 20000); /* 18 kW and the 2 kW that it is believed to be more */
    }
}

static void a_room_goes_down_at_once_and_up_once_it_was_there_for_a_second(void) {
    open_rooms();
    const struct v2g_room_state *room = &memory.room[METERED];
    int64_t began_ns = now_ns;
    hold(10, 6000);
    CHECK_EQ(room->run_w[0][TOTAL], 6003 + 2000);
    CHECK_EQ(room->past_w[0][TOTAL], 10003 + 2000);
    hold(SECOND_NS + 490, 8000); /* the whole second and the meter's refresh time */
    CHECK_EQ(now_ns - began_ns, SECOND_NS + 500);
    CHECK_EQ(room->run_w[0][TOTAL], 6003 + 2000);
    hold(1, 8000);
    CHECK_EQ(room->past_w[0][TOTAL], 6003 + 2000);
    CHECK_EQ(room->run_w[0][TOTAL], 8003 + 2000);
    hold(SECOND_NS + 500, 9000);
    CHECK_EQ(room->run_w[0][TOTAL], 8003 + 2000);
    hold(1, 9000);
    CHECK_EQ(room->past_w[0][TOTAL], 8003 + 2000);
    CHECK_EQ(memory.room[0].past_w[0][TOTAL], 9003); /* without a meter at once */
    CHECK_EQ(memory.room[0].run_w[0][TOTAL], 9003);
    state.feeder[METERED].lost = 1; /* the cycle that loses the meter takes the room as it stands, the next one holds nothing */
    hold(1, 4000);
    CHECK_EQ(room->unmetered, 1);
    CHECK_EQ(room->run_w[0][TOTAL], 4003);
    hold(1, 5000);
    CHECK_EQ(room->run_w[0][TOTAL], 5003);
    CHECK_EQ(room->past_w[0][TOTAL], 5003);
    state.feeder[METERED].lost = 0;
    hold(1, 7000);
    CHECK_EQ(room->unmetered, 0);
    CHECK_EQ(room->past_w[0][TOTAL], 7003 + 2000);
}

/* ---- Full lanes ------------------------------------------------------------------------------------------------------------ */

static void room(uint32_t feeder, int way, int lane, int32_t watts) {
    memory.room[feeder].past_w[way][lane] = memory.room[feeder].run_w[way][lane] = watts;
}

static void ask(uint32_t place, int way, int32_t watts, const uint8_t *size) {
    shares.asked[way] = true;
    shares.asks[way].most_w[place] = watts;
    shares.asks[way].weight[place] = 1;
    shares.asks[way].by[place] = V2G_NONE;
    memcpy(shares.size[place], size, V2G_LANES);
}

static const uint8_t on_l1[] = {6, 0, 0, 6}, on_l2[] = {0, 6, 0, 6}, on_l3[] = {0, 0, 6, 6}, on_all[] = {2, 2, 2, 6},
                     on_none[] = {0, 0, 0, 6};

static int32_t share(int way, uint32_t place) {
    return shares.asks[way].most_w[place];
}

static void a_room_is_shared_but_for_its_margins(void) {
    static const struct {
        int lane;
        int32_t room_w, shared_w;
    } rooms[] = {{TOTAL, 51200, 51200 - 400 - 100 - 6},
                 {0, 51200, 51200 - 400 - 2},
                 {1, 51200, 51200 - 400 - 2},
                 {2, 51200, 51200 - 400 - 2},
                 {TOTAL, 7, 1},
                 {TOTAL, 6, 0},
                 {TOTAL, 3, 0},
                 {0, 2, 0},
                 {TOTAL, -90000, 0}};
    for (int way = 0; way < 2; way++) {
        for (int k = 0; k < 9; k++) {
            for (int more = 0; more < 2; more++) {
                open_tree(2, (uint16_t[]){0, 0}, 1, (uint16_t[]){V2G_NONE});
                room(0, way, rooms[k].lane, rooms[k].room_w);
                ask(0, way, rooms[k].shared_w + more, (const uint8_t[]){6, 6, 6, 6});
                CHECK_EQ(v2g_share_feeders(&config, &memory, way, false, &shares), more != 0);
                CHECK_EQ(share(way, 0), rooms[k].shared_w + more); /* only asked */
                CHECK_EQ(v2g_share_feeders(&config, &memory, way, true, &shares), more != 0);
                CHECK_EQ(share(way, 0), rooms[k].shared_w);
                int reason = rooms[k].lane == TOTAL ? V2G_SITE_LIMIT : V2G_PHASE_LIMIT;
                CHECK_EQ(shares.asks[way].why[0], more == 0 ? V2G_REASON_NONE : reason);
                CHECK_EQ(shares.asks[way].by[0], more == 0 ? V2G_NONE : 0);
            }
        }
    }
}

static void the_lower_of_past_and_present_room_counts(void) {
    for (int past = 0; past < 2; past++) {
        open_tree(1, (uint16_t[]){0}, 1, (uint16_t[]){V2G_NONE});
        ask(0, 0, 9000, on_l1);
        memory.room[0].past_w[0][TOTAL] = past != 0 ? 5120 : 6000;
        memory.room[0].run_w[0][TOTAL] = past != 0 ? 6000 : 5120;
        CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
        CHECK_EQ(share(0, 0), 5120 - 40 - 10 - 3);
    }
}

static void where_nobody_asks_no_feeder_is_full(void) {
    open_tree(1, (uint16_t[]){0}, 1, (uint16_t[]){V2G_NONE});
    ask(0, 0, 9000, on_l1);
    room(0, 0, TOTAL, 0);
    shares.asked[0] = false;
    CHECK(!v2g_share_feeders(&config, &memory, 0, true, &shares));
    CHECK_EQ(share(0, 0), 9000);
}

static void a_full_phase_lowers_those_on_it_and_nobody_else(void) {
    const uint8_t *sizes[] = {on_l1, on_l2, on_l3};
    for (int lane = 0; lane < 3; lane++) {
        open_tree(4, (uint16_t[]){0, 0, 0, 0}, 1, (uint16_t[]){V2G_NONE});
        for (uint32_t p = 0; p < 3; p++)
            ask(p, 0, 9000, sizes[p]);
        ask(3, 0, 3000, on_all);
        room(0, 0, lane, 5120);
        CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
        for (int p = 0; p < 3; p++) {
            CHECK_EQ(share(0, (uint32_t)p), p == lane ? 5120 - 40 - 4 - 1000 : 9000);
            CHECK_EQ(shares.asks[0].why[p], p == lane ? V2G_PHASE_LIMIT : V2G_REASON_NONE);
        }
        CHECK_EQ(share(0, 3), 3000); /* a third of it is on each phase */
    }
}

static void a_phase_is_full_of_those_on_it_alone(void) {
    const uint8_t *sizes[] = {on_l1, on_l2, on_l3};
    for (int lane = 0; lane < 3; lane++) {
        for (int narrow = 0; narrow < 3; narrow++) {
            open_tree(1, (uint16_t[]){0}, 1, (uint16_t[]){V2G_NONE});
            ask(0, 0, 9000, sizes[lane]);
            room(0, 0, narrow, 0);
            CHECK_EQ(v2g_share_feeders(&config, &memory, 0, true, &shares), lane == narrow);
            CHECK_EQ(share(0, 0), lane == narrow ? 0 : 9000);
        }
    }
}

/* One on L1 and L2, one on each of them. L2 is the narrower one: settled first, it leaves L1 to the one that is on L1 alone. */
static void the_fullest_lane_is_settled_first(void) {
    for (int narrow = 0; narrow < 2; narrow++) {
        open_tree(3, (uint16_t[]){0, 0, 0}, 1, (uint16_t[]){V2G_NONE});
        ask(0, 0, 9000, (const uint8_t[]){6, 6, 0, 6}), ask(1, 0, 9000, on_l1), ask(2, 0, 9000, on_l2);
        room(0, 0, narrow, 2048), room(0, 0, 1 - narrow, 9216);
        CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
        int32_t shared_w = (2048 - 16 - 3) / 2;
        CHECK_EQ(share(0, 0), shared_w);
        CHECK_EQ(share(0, narrow == 0 ? 1 : 2), shared_w);
        CHECK_EQ(share(0, narrow == 0 ? 2 : 1), 9216 - 72 - 3 - shared_w);
    }
}

static void who_has_just_the_level_is_not_lowered_and_has_no_reason(void) {
    open_tree(2, (uint16_t[]){0, 0}, 1, (uint16_t[]){V2G_NONE});
    ask(0, 0, 1000, on_l1), ask(1, 0, 5000, on_l2);
    room(0, 0, TOTAL, 2000 + 15 + 3 + 6); /* 2024 >> 7 and >> 9 */
    CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
    CHECK_EQ(share(0, 0), 1000);
    CHECK_EQ(share(0, 1), 1000);
    CHECK_EQ(shares.asks[0].why[0], V2G_REASON_NONE);
    CHECK_EQ(shares.asks[0].why[1], V2G_SITE_LIMIT);
}

static void every_lane_may_be_full_at_another_level(void) {
    open_tree(4, (uint16_t[]){0, 0, 0, 0}, 1, (uint16_t[]){V2G_NONE});
    ask(0, 0, 9000, on_l1), ask(1, 0, 9000, on_l2), ask(2, 0, 9000, on_l3), ask(3, 0, 9000, on_none);
    room(0, 0, 0, 1024), room(0, 0, 1, 2048), room(0, 0, 2, 3072), room(0, 0, TOTAL, 10240);
    CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
    int32_t first_w = 1024 - 8 - 4, second_w = 2048 - 16 - 4, third_w = 3072 - 24 - 4;
    CHECK_EQ(share(0, 0), first_w);
    CHECK_EQ(share(0, 1), second_w);
    CHECK_EQ(share(0, 2), third_w);
    CHECK_EQ(share(0, 3), 10240 - 80 - 20 - 12 - first_w - second_w - third_w);
    CHECK_EQ(shares.asks[0].why[2], V2G_PHASE_LIMIT);
    CHECK_EQ(shares.asks[0].why[3], V2G_SITE_LIMIT);
}

static void where_phase_and_sum_are_as_full_it_is_the_sum(void) {
    open_tree(1, (uint16_t[]){0}, 1, (uint16_t[]){V2G_NONE});
    ask(0, 0, 9000, on_l1);
    room(0, 0, TOTAL, 5120), room(0, 0, 0, 5107); /* less 5107 >> 7, which is 39, and 1 */
    CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
    CHECK_EQ(share(0, 0), 5120 - 40 - 10 - 3);
    CHECK_EQ(shares.asks[0].why[0], V2G_SITE_LIMIT);
}

/* What lies on the stack is not what the feeders carry. */
static __attribute__((noinline)) void soil_the_stack(void) {
    volatile uint8_t soil[16384];
    for (size_t i = 0; i < sizeof soil; i++)
        soil[i] = 0x55;
}

static void a_full_feeder_is_no_business_of_its_neighbour(void) {
    const uint16_t parent[] = {V2G_NONE, 0, 0}, at[] = {1, 2};
    for (int narrow = 0; narrow < 3; narrow++) {
        open_tree(2, at, 3, parent);
        ask(0, 0, 3000, on_l1), ask(1, 0, 3000, on_l1);
        for (uint32_t f = 1; f < 3; f++)
            room(f, 0, TOTAL, f == (uint32_t)narrow ? 2048 : 5120);
        soil_the_stack();
        CHECK_EQ(v2g_share_feeders(&config, &memory, 0, true, &shares), narrow != 0);
        CHECK_EQ(share(0, 0), narrow == 1 ? 2048 - 16 - 4 - 3 : 3000);
        CHECK_EQ(share(0, 1), narrow == 2 ? 2048 - 16 - 4 - 3 : 3000);
    }
}

static void feeders_are_filled_from_the_leaves_to_the_root(void) {
    const uint16_t parent[] = {V2G_NONE, 0, 1},
                   at[] = {0, 1, 2, 2}; /* places: 0 at the root, 1 above the leaf, 2 and 3 in it */
    for (int narrow = 0; narrow < 4; narrow++) {
        open_tree(4, at, 3, parent);
        for (uint32_t p = 0; p < 4; p++)
            ask(p, 0, 9000, on_l1);
        if (narrow < 3)
            room((uint32_t)narrow, 0, TOTAL, 5120);
        bool full = v2g_share_feeders(&config, &memory, 0, true, &shares);
        CHECK_EQ(full, narrow < 3);
        int32_t below = narrow == 0 ? 4 : (narrow == 1 ? 3 : 2);
        int32_t each_w = (5120 - 40 - 10 - 3 * below) / below;
        for (int p = 0; p < 4; p++) {
            bool lowered = narrow < 3 && p >= narrow;
            CHECK_EQ(share(0, (uint32_t)p), lowered ? each_w : 9000);
            CHECK_EQ(shares.asks[0].by[p], lowered ? narrow : V2G_NONE);
            CHECK_EQ(shares.asks[0].why[p], !lowered ? V2G_REASON_NONE : (narrow == 0 ? V2G_SITE_LIMIT : V2G_FEEDER_LIMIT));
        }
    }
    open_tree(4, at, 3,
              parent); /* the leaf leaves so much that nothing above is full: every lane of what it has counts there */
    for (uint32_t p = 0; p < 4; p++)
        ask(p, 0, p < 2 ? 1000 : 9000, on_all);
    room(2, 0, TOTAL, 5120);
    for (uint32_t f = 0; f < 2; f++) {
        room(f, 0, TOTAL, 7300);
        for (int lane = 0; lane < 3; lane++)
            room(f, 0, lane, 2400);
    }
    CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
    CHECK_EQ(share(0, 2), (5120 - 40 - 10 - 6) / 2);
    CHECK_EQ(share(0, 1), 1000);
    CHECK_EQ(share(0, 0), 1000);
    open_tree(4, at, 3, parent); /* still too much for the root */
    for (uint32_t p = 0; p < 4; p++)
        ask(p, 0, p < 2 ? 0 : 9000, on_all);
    room(2, 0, TOTAL, 5120), room(0, 0, TOTAL, 2048);
    CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
    CHECK_EQ(share(0, 2), (2048 - 16 - 4 - 12) / 2);
    CHECK_EQ(shares.asks[0].by[2], 0);
    for (int lane = 0; lane < 3; lane++) { /* a phase of the root is full of what comes from below */
        open_tree(4, at, 3, parent);
        for (uint32_t p = 0; p < 4; p++)
            ask(p, 0, p < 2 ? 0 : 9000, on_all);
        room(0, 0, lane, 5120);
        CHECK(v2g_share_feeders(&config, &memory, 0, true, &shares));
        CHECK_EQ(share(0, 2), (5120 - 40 - 4) * 3 / 2);
        CHECK_EQ(shares.asks[0].by[2], 0);
    }
}

CHECK_MAIN(CASE(what_fits_exactly_is_not_lowered_and_one_watt_less_is),
           CASE(whoever_needs_less_than_its_part_leaves_the_rest_to_the_others_by_weight),
           CASE(the_smallest_powers_and_sizes_count), CASE(the_largest_tree_keeps_inside_its_tables),
           CASE(a_phase_is_full_of_those_on_it_alone), CASE(the_fullest_lane_is_settled_first),
           CASE(who_has_just_the_level_is_not_lowered_and_has_no_reason), CASE(a_full_feeder_is_no_business_of_its_neighbour),
           CASE(only_what_counts_is_lowered_and_counted), CASE(those_below_a_feeder_stand_together),
           CASE(the_base_load_is_believed_as_far_as_it_is_forced),
           CASE(a_room_goes_down_at_once_and_up_once_it_was_there_for_a_second), CASE(a_room_is_shared_but_for_its_margins),
           CASE(the_lower_of_past_and_present_room_counts), CASE(where_nobody_asks_no_feeder_is_full),
           CASE(a_full_phase_lowers_those_on_it_and_nobody_else), CASE(every_lane_may_be_full_at_another_level),
           CASE(where_phase_and_sum_are_as_full_it_is_the_sum), CASE(feeders_are_filled_from_the_leaves_to_the_root))
