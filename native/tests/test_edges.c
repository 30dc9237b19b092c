/* Where one thing ends and the next begins: each limit met exactly, the first and the last entry of every table, memory that was not
 * clean. Told apart from test_enforce.c because no site is ever so exact. */
#include "../core/chain.h" /* the last check is tested alone */
#include "check.h"
#include "site.h"

static struct site s;

static void start(uint32_t evses, int32_t wish_w) {
    site_init(&s, evses);
    site_wish(&s, wish_w);
    site_run(&s, 15000);
}

/* The same moment once more, with what was changed since. */
static void judge(void) {
    v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
}

static struct v2g_evse_in *in(uint32_t evse) {
    return &s.image.evse[evse];
}

static void forget_estimate(void) {
    for (int sensor = 0; sensor < V2G_SENSORS; sensor++) {
        s.image.estimate[0].predicted[sensor] = V2G_TEMP_MIN;
    }
    s.image.estimate[0].flag = 0;
}

static bool latched(uint32_t latch) {
    return (s.state.evse[0].latch & latch) != 0;
}

/* ---- Temperatures, SOC, time --------------------------------------------------------------------------------------------- */

static void a_table_begins_at_its_start(void) {
    start(1, 22000);
    forget_estimate();
    in(0)->value[V2G_F_T_CONNECTOR] = 699;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, 22000);
    in(0)->value[V2G_F_T_CONNECTOR] = 700;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, s.config.derate[0].limit_w[0]);
}

static void a_prediction_counts_from_the_start_of_its_table_and_where_every_sensor_has_one(void) {
    start(1, 22000);
    s.config.evse[0].derate[V2G_S_CHARGER] = 0;
    v2g_config_seal(&s.config);
    forget_estimate();
    for (int sensor = 0; sensor < V2G_SENSORS; sensor++) {
        s.image.estimate[0].predicted[sensor] = 700;
        judge();
        CHECK_EQ(s.out.evse[0].band_max_w, sensor < V2G_S_CELL ? s.config.derate[0].limit_w[0] : 0);
    }
}

static void sensors_that_all_read_colder_than_any_can_are_not_known(void) {
    start(1, 22000);
    forget_estimate();
    for (int sensor = 0; sensor < V2G_SENSORS; sensor++) {
        in(0)->value[V2G_F_T_CONNECTOR + sensor] = V2G_TEMP_MIN - 1;
    }
    judge();
    CHECK_EQ(s.out.evse[0].reason_max, V2G_THERMAL_SENSOR);
    CHECK_EQ(s.out.evse[0].band_min_w, 0);
}

static void a_cell_just_warm_enough_charges_beside_a_hot_connector(void) {
    start(1, 22000);
    forget_estimate();
    in(0)->value[V2G_F_T_CONNECTOR] = 700;
    in(0)->value[V2G_F_T_CELL_MIN] = s.config.evse[0].cell_cold;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, s.config.derate[0].limit_w[0]);
}

static void a_stop_below_the_table_stops_too(void) {
    start(1, 22000);
    s.config.derate[0].stop = 600;
    s.config.derate[0].resume = 550;
    v2g_config_seal(&s.config);
    forget_estimate();
    in(0)->value[V2G_F_T_CONNECTOR] = 599;
    judge();
    CHECK(!latched(V2G_LATCH_THERMAL));
    in(0)->value[V2G_F_T_CONNECTOR] = 600;
    judge();
    CHECK(latched(V2G_LATCH_THERMAL));
    CHECK_EQ(s.out.evse[0].target_w, 0);
}

static void a_sensor_at_its_resume_temperature_is_cool(void) {
    start(1, 0);
    in(0)->value[V2G_F_T_CONNECTOR] = 900;
    site_step(&s);
    CHECK(latched(V2G_LATCH_THERMAL));
    in(0)->value[V2G_F_T_CONNECTOR] = 650;
    site_run(&s, 60000);
    CHECK(latched(V2G_LATCH_THERMAL));
    site_run(&s, 20);
    CHECK(!latched(V2G_LATCH_THERMAL));
    site_step(&s);
    CHECK_EQ(s.state.evse[0].cool_ns[0], V2G_NEVER); /* the next stop begins its own hold */
}

static void a_connector_that_warms_up_again_or_is_not_heard_has_to_stay_cool_anew(void) {
    for (int heard = 0; heard < 2; heard++) {
        start(1, 0);
        in(0)->value[V2G_F_T_CONNECTOR] = 900;
        site_step(&s);
        in(0)->value[V2G_F_T_CONNECTOR] = 640;
        site_run(&s, 50000);
        if (heard != 0) {
            in(0)->value[V2G_F_T_CONNECTOR] = 651;
        } else {
            in(0)->valid &= ~(1u << V2G_F_T_CONNECTOR);
        }
        site_step(&s);
        in(0)->value[V2G_F_T_CONNECTOR] = 640;
        in(0)->valid |= 1u << V2G_F_T_CONNECTOR;
        site_run(&s, 60000);
        CHECK(latched(V2G_LATCH_THERMAL));
        site_run(&s, 20);
        CHECK(!latched(V2G_LATCH_THERMAL));
    }
}

static void a_full_vehicle_charges_again_below_the_hysteresis_only(void) {
    start(1, 11000);
    s.config.evse[0].soc_ceiling = 8000;
    s.config.evse[0].soc_tolerance = 0;
    v2g_config_seal(&s.config);
    forget_estimate();
    static const struct {
        int32_t soc;
        bool full;
    } way[] = {{7899, false}, {7900, true}, {7899, true}, {7701, true}, {7700, false}, {7899, false}};
    for (size_t k = 0; k < sizeof way / sizeof way[0]; k++) {
        in(0)->value[V2G_F_SOC] = way[k].soc;
        judge();
        CHECK_EQ(latched(V2G_LATCH_CEILING), way[k].full);
    }
}

static void a_doubted_soc_that_admits_to_the_floor_is_believed(void) {
    start(1, -11000);
    forget_estimate();
    s.image.estimate[0].flag = V2G_ESTIMATE_SOC_DOUBT;
    in(0)->value[V2G_F_SOC] = 3100; /* lower bound: the floor */
    judge();
    CHECK_EQ(s.out.evse[0].reason_min, V2G_ERR_V2G_LIMIT_REACHED);
    in(0)->value[V2G_F_SOC] = 3101;
    judge();
    CHECK_EQ(s.out.evse[0].reason_min, V2G_SOC_UNKNOWN);
}

static void an_empty_battery_is_at_its_floor_and_not_unknown(void) {
    start(1, -11000);
    forget_estimate();
    in(0)->value[V2G_F_SOC] = 0;
    judge();
    CHECK_EQ(s.out.evse[0].reason_min, V2G_ERR_V2G_LIMIT_REACHED);
    in(0)->value[V2G_F_SOC] = -1;
    judge();
    CHECK_EQ(s.out.evse[0].reason_min, V2G_SOC_UNKNOWN);
}

static void a_lease_holds_in_its_last_nanosecond(void) {
    start(1, 11000);
    s.plan.feeder[0].after_import_w = 9000;
    s.plan.lease_ns = s.plan.evse[0].until_ns = s.plan.feeder[0].until_ns = s.now_ns;
    judge();
    CHECK_EQ(s.out.evse[0].valid_until_ns, s.now_ns);
    CHECK_EQ(s.out.evse[0].band_max_w, 22000);
    CHECK_EQ(s.state.feeder[0].room_import_w[V2G_LANE_TOTAL], 69000);
    s.now_ns++;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, 4200);
    CHECK_EQ(s.state.feeder[0].room_import_w[V2G_LANE_TOTAL], 9000);
}

static void a_stamp_from_the_future_is_old_soon_after_the_machine_started(void) {
    site_init(&s, 1);
    s.now_ns = 0;
    s.config.evse[0].link_age_ns = 3600000 * SITE_MS;
    v2g_config_seal(&s.config);
    site_run(&s, 100);
    CHECK(!latched(V2G_LATCH_LOST));
    in(0)->acquired_ns[V2G_F_STATE] = s.now_ns + 1;
    judge();
    CHECK(latched(V2G_LATCH_LOST));
}

static void an_soc_has_its_own_age_also_while_the_link_is_half_lost(void) {
    start(1, -11000);
    s.config.evse[0].soc_age_ns = 20 * SITE_MS;
    v2g_config_seal(&s.config);
    in(0)->acquired_ns[V2G_F_POWER] = s.now_ns - 61 * SITE_MS;
    in(0)->acquired_ns[V2G_F_SOC] = s.now_ns - 30 * SITE_MS;
    judge();
    CHECK(latched(V2G_LATCH_FLOOR));
}

/* ---- Power --------------------------------------------------------------------------------------------------------------- */

static void the_slowest_ramp_of_a_plan_is_obeyed_and_a_trace_of_power_is_no_way_round_0(void) {
    start(1, 0);
    s.plan.evse[0].ramp_q8 = 1;
    site_wish(&s, 11000);
    site_step(&s);
    CHECK_EQ(s.state.evse[0].ramp_q8, 1);
    s.plan.evse[0].ramp_q8 = 0;
    site_wish(&s, -11000);
    site_step(&s);
    CHECK_EQ(s.state.evse[0].ramp_q8, 0);
}

static void a_frequency_service_has_a_ramp_of_its_own_but_not_on_the_way_back_from_a_fail_safe(void) {
    start(1, 1400);
    s.state.evse[0].ramp_q8 = 0;
    s.config.evse[0].ramp_frequency_q8 = 5000 * 256;
    v2g_config_seal(&s.config);
    s.image.proposal[0] = (struct v2g_proposal){.option = V2G_PROPOSE_TARGET | V2G_PROPOSE_FAST, .target_w = 11000};
    judge();
    CHECK_EQ(s.out.evse[0].target_w, 5000);
    s.state.evse[0].ramp_q8 = 0;
    s.state.evse[0].latch |= V2G_LATCH_RETURNING;
    judge();
    CHECK_EQ(s.state.evse[0].ramp_q8, s.config.evse[0].ramp_return_q8);
}

static void a_vehicle_that_gives_1_w_is_spoken_to_in_both_directions(void) {
    start(1, 11000);
    in(0)->value[V2G_F_MAX_DISCHARGE] = 1;
    judge();
    CHECK_EQ(s.out.evse[0].mode, V2G_MODE_BIDIRECTIONAL);
    in(0)->value[V2G_F_MAX_DISCHARGE] = 0;
    judge();
    CHECK_EQ(s.out.evse[0].mode, V2G_MODE_CHARGE);
}

static void a_feeder_that_gives_less_is_the_reason_of_that_direction_only(void) {
    start(1, -11000);
    s.plan.feeder[0].export_w = 5000;
    judge();
    CHECK_EQ(s.out.evse[0].target_w, -5000);
    CHECK_EQ(s.out.evse[0].reason_min, V2G_SITE_LIMIT);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_RATING);
    start(1, 11000);
    s.plan.feeder[0].import_w = 5000;
    judge();
    CHECK_EQ(s.out.evse[0].target_w, 5000);
    CHECK_EQ(s.out.evse[0].reason_min, V2G_RATING);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_SITE_LIMIT);
}

static void exactly_the_device_minimum_is_delivered(void) {
    start(1, 1400);
    CHECK_EQ(s.out.evse[0].target_w, 1400);
    start(1, -1400);
    CHECK_EQ(s.out.evse[0].target_w, -1400);
}

static void a_vehicle_that_allows_1_w_gets_nothing_where_nothing_is_allowed(void) {
    start(1, 11000);
    in(0)->value[V2G_F_MAX_CHARGE] = 1;
    s.image.proposal[0].grid_charge = V2G_ENTER_SERVICE;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, 0);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_ENTER_SERVICE);
}

static void a_load_is_even_up_to_its_tolerance(void) {
    for (int lane = 0; lane < V2G_LANE_TOTAL; lane++) {
        start(1, 11000);
        in(0)->value[V2G_F_P_L1 + lane] = 3667 + 500;
        judge();
        CHECK(latched(V2G_LATCH_BALANCED));
        in(0)->value[V2G_F_P_L1 + lane] = 3667 + 501;
        judge();
        CHECK(!latched(V2G_LATCH_BALANCED));
    }
}

static void a_share_bounds_the_wish_and_names_its_reason(void) {
    static const struct {
        int32_t wish_w, share_w, target_w;
        uint8_t why;
        int reason;
    } each[] = {
        {11000, 11000, 11000, V2G_SITE_LIMIT, V2G_REASON_NONE},
        {11000, 10999, 10999, V2G_SITE_LIMIT, V2G_SITE_LIMIT},
        {11000, 5000, 5000, V2G_REASON_COUNT, V2G_FEEDER_LIMIT},
        {11000, -1, 0, V2G_SITE_LIMIT, V2G_SITE_LIMIT},
        {-11000, 11000, -11000, V2G_PHASE_LIMIT, V2G_REASON_NONE},
        {-11000, 10999, -10999, V2G_PHASE_LIMIT, V2G_PHASE_LIMIT},
        {-11000, 5000, -5000, V2G_REASON_COUNT, V2G_FEEDER_LIMIT},
        {-11000, -1, 0, V2G_PHASE_LIMIT, V2G_PHASE_LIMIT},
        {1, 0, 0, V2G_SITE_LIMIT, V2G_SITE_LIMIT},
        {-1, 0, 0, V2G_PHASE_LIMIT, V2G_PHASE_LIMIT},
    };
    for (size_t k = 0; k < sizeof each / sizeof each[0]; k++) {
        bool charging = each[k].wish_w > 0;
        start(1, each[k].wish_w);
        s.image.proposal[0] = (struct v2g_proposal){.option = V2G_PROPOSE_SHARE,
                                                    .share_charge_w = charging ? each[k].share_w : 0,
                                                    .share_discharge_w = charging ? 0 : each[k].share_w,
                                                    .why_charge = charging ? each[k].why : V2G_E_STOP,
                                                    .why_discharge = charging ? V2G_E_STOP : each[k].why};
        judge();
        const struct v2g_setpoint *out = &s.out.evse[0];
        CHECK_EQ(out->target_w, each[k].target_w);
        CHECK_EQ(out->reason, each[k].reason);
        CHECK_EQ(charging ? out->reason_max : out->reason_min, each[k].reason == V2G_REASON_NONE ? V2G_RATING : each[k].reason);
        CHECK_EQ(charging ? out->reason_min : out->reason_max, V2G_RATING);
    }
}

static void what_the_grid_asks_for_stands_in_for_the_wish(void) {
    start(1, 11000);
    s.image.proposal[0] = (struct v2g_proposal){.option = V2G_PROPOSE_TARGET, .target_w = 3000, .why_target = V2G_GRID_VOLTAGE};
    judge();
    CHECK_EQ(s.out.evse[0].target_w, 3000);
    CHECK_EQ(s.out.evse[0].reason, V2G_GRID_VOLTAGE);
    s.image.proposal[0].why_target = V2G_REASON_COUNT;
    judge();
    CHECK_EQ(s.out.evse[0].reason, V2G_GRID_FREQUENCY);
}

static void without_the_required_guard_nothing_flows_in_either_direction(void) {
    for (int32_t wish_w = -11000; wish_w <= 11000; wish_w += 22000) {
        start(1, wish_w);
        s.image.health &= ~(uint32_t)V2G_HEALTH_GUARD;
        judge();
        CHECK_EQ(s.out.evse[0].target_w, wish_w);
        s.config.option = V2G_CONFIG_GUARD_REQUIRED;
        v2g_config_seal(&s.config);
        judge();
        CHECK_EQ(s.out.evse[0].target_w, 0);
        CHECK_EQ(s.out.evse[0].reason_min, V2G_GUARD_LOST);
        CHECK_EQ(s.out.evse[0].reason_max, V2G_GUARD_LOST);
        CHECK_EQ(s.out.evse[0].mode, V2G_MODE_STOP);
    }
}

static void a_fault_stops_both_directions(void) {
    static const struct {
        int32_t flags, pilot;
        int reason;
    } each[] = {{V2G_FLAG_FAULT, V2G_STATE_TRANSFER, V2G_EVSE_FAULT},
                {0, V2G_STATE_E, V2G_EVSE_FAULT},
                {0, V2G_STATE_F, V2G_EVSE_FAULT},
                {0, V2G_STATE_A, V2G_NOT_READY},
                {0, V2G_STATE_B, V2G_NOT_READY},
                {V2G_FLAG_E_STOP, V2G_STATE_TRANSFER, V2G_E_STOP}};
    for (size_t k = 0; k < sizeof each / sizeof each[0]; k++) {
        start(1, -11000);
        in(0)->value[V2G_F_FLAGS] |= each[k].flags;
        in(0)->value[V2G_F_STATE] = each[k].pilot;
        judge();
        CHECK_EQ(s.out.evse[0].target_w, 0);
        CHECK_EQ(s.out.evse[0].reason_min, each[k].reason);
        CHECK_EQ(s.out.evse[0].reason_max, each[k].reason);
        CHECK_EQ(s.out.evse[0].band_min_w, 0);
        CHECK_EQ(s.out.evse[0].band_max_w, 0);
    }
    for (int32_t pilot = V2G_STATE_C; pilot <= V2G_STATE_D; pilot++) {
        start(1, -11000);
        in(0)->value[V2G_F_STATE] = pilot;
        judge();
        CHECK_EQ(s.out.evse[0].target_w, -11000);
    }
}

static void the_next_vehicle_is_not_taken_to_load_its_phases_evenly(void) {
    start(1, 11000);
    CHECK(latched(V2G_LATCH_BALANCED));
    in(0)->value[V2G_F_POWER] = 0;
    in(0)->value[V2G_F_FLAGS] &= ~V2G_FLAG_EV_PRESENT;
    judge();
    in(0)->value[V2G_F_FLAGS] |= V2G_FLAG_EV_PRESENT;
    judge();
    CHECK(latched(V2G_LATCH_PLUGGED));
    CHECK(!latched(V2G_LATCH_BALANCED));
}

static void a_cold_cell_is_not_charged_and_not_forgotten_when_its_sensor_breaks(void) {
    start(1, 11000);
    forget_estimate();
    in(0)->value[V2G_F_T_CELL_MIN] = 0;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, 22000);
    in(0)->value[V2G_F_T_CELL_MIN] = -1;
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, 0);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_THERMAL_DERATE);
    in(0)->valid &= ~(1u << V2G_F_T_CELL_MIN);
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, 0);
}

static void cells_whose_coldest_is_not_known_charge_as_without_a_sensor(void) {
    start(1, 22000);
    forget_estimate();
    in(0)->valid &= ~(1u << V2G_F_T_CELL_MIN);
    judge();
    CHECK_EQ(s.out.evse[0].band_max_w, s.config.evse[0].sensor_lost_charge_w);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_THERMAL_SENSOR);
    CHECK_EQ(s.out.evse[0].band_min_w, 0);
}

static void an_evse_at_0_may_draw_or_give_its_tolerance_and_not_a_watt_more(void) {
    for (int32_t sign = -1; sign <= 1; sign += 2) {
        start(1, 0);
        in(0)->value[V2G_F_POWER] = sign * 500;
        judge();
        CHECK_EQ(s.state.evse[0].outside_ns, V2G_NEVER);
        in(0)->value[V2G_F_POWER] = sign * 501;
        judge();
        CHECK_EQ(s.state.evse[0].outside_ns, s.now_ns);
    }
}

static void an_evse_that_is_not_heard_is_not_forgiven_for_not_following(void) {
    start(1, 0);
    s.state.evse[0].latch |= V2G_LATCH_NOT_FOLLOWING;
    s.state.evse[0].follow_epoch = s.plan.limits_epoch - 1;
    in(0)->valid &= ~(1u << V2G_F_POWER);
    judge();
    CHECK(latched(V2G_LATCH_NOT_FOLLOWING));
    in(0)->valid |= 1u << V2G_F_POWER;
    judge();
    CHECK(!latched(V2G_LATCH_NOT_FOLLOWING));
}

static void damage_leaves_nothing_to_ramp_from(void) {
    start(2, 11000);
    s.config.evse[1].rating_charge_w ^= 1;
    judge();
    CHECK_EQ(s.out.safe, 1);
    CHECK_EQ(s.state.damaged, 1);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(s.state.evse[i].target_w, 0);
        CHECK_EQ(s.state.evse[i].ramp_q8, 0);
    }
}

/* ---- Feeders -------------------------------------------------------------------------------------------------------------- */

/* Two even loads under one fuse without a meter: 15 kW a phase for both directions. */
static void start_without_meter(int32_t wish_w) {
    site_init(&s, 2);
    struct v2g_feeder_config *d = &s.config.feeder[0];
    d->meter = V2G_NONE;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        d->base_w[lane] = d->import_w[lane] - (lane == V2G_LANE_TOTAL ? 45000 : 15000);
        d->fallback_w[lane] = 0;
        d->export_w[lane] = lane == V2G_LANE_TOTAL ? 45000 : 15000;
    }
    d->share_w = 0;
    s.config.evse[0].option |= V2G_EVSE_BALANCED;
    s.config.evse[1].option |= V2G_EVSE_BALANCED;
    v2g_config_seal(&s.config);
    s.plan.evse[0].target_w = wish_w;
    site_run(&s, 15000);
    CHECK_EQ(s.out.evse[0].target_w, wish_w);
}

/* What the second may do at once while the first loads phase 1 alone with all it was told. */
static int32_t beside_a_load_on_phase_1(int32_t wish_w) {
    start_without_meter(wish_w);
    for (int lane = 0; lane < V2G_LANE_TOTAL; lane++) {
        in(0)->value[V2G_F_P_L1 + lane] = lane == 0 ? 11000 : 0;
    }
    s.plan.evse[1].target_w = 2 * wish_w;
    s.state.evse[1].ramp_q8 = 2 * wish_w * 256;
    judge();
    return s.out.evse[1].target_w;
}

static void what_a_phase_really_carries_is_booked_in_both_directions(void) {
    CHECK_EQ(beside_a_load_on_phase_1(11000), 3 * (15000 - 11000));
    CHECK_EQ(beside_a_load_on_phase_1(-11000), -3 * (15000 - 11000));
}

/* The second charges 9 kW; the first is told 0 W and yet draws a little on phase 1, which is then full. */
static void one_that_was_told_to_give_keeps_that_room_until_it_has_confirmed_less(void) {
    start_without_meter(-11000);
    s.plan.feeder[0].export_w = 15000;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        in(0)->value[lane == V2G_LANE_TOTAL ? V2G_F_POWER : V2G_F_P_L1 + lane] = 0;
    }
    s.plan.evse[0].target_w = 0;
    s.plan.evse[1].target_w = -11000;
    s.state.evse[1].ramp_q8 = -11000 * 256;
    judge();
    CHECK_EQ(s.out.evse[1].target_w, -4000);
}

static void one_whose_power_is_not_heard_keeps_its_room_in_both_directions(void) {
    start_without_meter(-11000);
    s.plan.feeder[0].export_w = 15000;
    in(0)->valid &= ~(1u << V2G_F_POWER);
    s.plan.evse[1].target_w = -11000;
    s.state.evse[1].ramp_q8 = -11000 * 256;
    judge();
    CHECK_EQ(s.out.evse[1].target_w, -4000);
    start_without_meter(0);
    s.config.evse[0].option &= ~(uint32_t)V2G_EVSE_SILENCE_TESTED; /* it may draw its rating, all of it on one phase */
    for (int lane = 0; lane < V2G_LANES; lane++) {
        s.config.feeder[0].base_w[lane] = 0;
    }
    v2g_config_seal(&s.config);
    in(0)->valid &= ~(1u << V2G_F_POWER);
    s.plan.evse[1].target_w = 11000;
    s.state.evse[1].ramp_q8 = 11000 * 256;
    judge();
    CHECK_EQ(s.out.evse[1].target_w, 3 * (23000 - 22000));
}

static void what_is_freed_beside_an_overloaded_phase_is_nobody_s_before_it_is_confirmed(void) {
    start_without_meter(11000);
    for (int i = 0; i < 2; i++) {
        s.config.evse[i].phases = 1;
        s.config.evse[i].phase_count = 1;
    }
    s.config.feeder[0].base_w[1] = s.config.feeder[0].import_w[1] + 1;
    v2g_config_seal(&s.config);
    s.plan.evse[0].target_w = 0;
    s.plan.evse[1].target_w = 11000;
    s.state.evse[1].ramp_q8 = 11000 * 256;
    judge();
    CHECK_EQ(s.out.evse[0].target_w, 0);
    CHECK_EQ(s.out.evse[1].target_w, 15000 - 11000);
}

static void the_reason_is_the_feeder_that_gave_less_not_one_that_gives_as_much(void) {
    site_init(&s, 1);
    s.config.feeders = 2;
    site_feeder(&s.config.feeder[1], 1001, 0, V2G_NONE, 23000);
    s.config.feeder[1].import_w[V2G_LANE_TOTAL] = 3000;
    s.config.feeder[0].meter = V2G_NONE;
    s.config.feeder[0].import_w[0] = 3000;
    s.config.feeder[0].base_w[1] = s.config.feeder[0].import_w[1] + 1; /* a phase that it doesn't use is overloaded */
    s.config.evse[0].feeder = 1;
    s.config.evse[0].phases = 1;
    s.config.evse[0].phase_count = 1;
    v2g_config_seal(&s.config);
    site_wish(&s, 11000);
    s.follow = false;
    site_run(&s, 15000);
    CHECK_EQ(s.out.evse[0].target_w, 3000);
    CHECK_EQ(s.out.evse[0].reason, V2G_FEEDER_LIMIT);
}

static void a_stopped_evse_relieves_the_phase_it_still_loads(void) {
    static const int32_t drawn_w[] = {5000, 1};
    for (int k = 0; k < 2; k++) {
        start_without_meter(0);
        s.plan.evse[1].target_w = 9000;
        site_run(&s, 15000);
        CHECK_EQ(s.out.evse[1].target_w, 9000);
        in(0)->value[V2G_F_P_L1] = drawn_w[k];
        s.config.feeder[0].base_w[0] = s.config.feeder[0].import_w[0] - 3000; /* room for the second alone */
        v2g_config_seal(&s.config);
        judge();
        CHECK_EQ(s.out.safe, 0);
        CHECK_EQ(s.out.evse[1].target_w, 9000);
    }
}

static void a_full_grid_connection_is_shared_from_eight_levels_below(void) {
    start(2, 5000);
    s.config.feeders = V2G_MAX_DEPTH;
    for (uint32_t f = 1; f < V2G_MAX_DEPTH; f++) {
        site_feeder(&s.config.feeder[f], 1000 + f, (uint16_t)(f - 1), V2G_NONE, 23000);
    }
    s.config.feeder[0].import_w[V2G_LANE_TOTAL] = 7000;
    s.config.evse[0].feeder = s.config.evse[1].feeder = V2G_MAX_DEPTH - 1;
    v2g_config_seal(&s.config);
    judge();
    CHECK_EQ(s.out.safe, 0);
    CHECK_EQ(s.out.evse[0].target_w + s.out.evse[1].target_w, 7000);
}

static void a_meter_whose_first_phase_alone_is_old_is_lost(void) {
    start(1, 0);
    CHECK_EQ(s.state.feeder[0].lost, 0);
    s.image.meter[0].acquired_ns[V2G_M_P_L1] = s.now_ns - 401 * SITE_MS;
    judge();
    CHECK_EQ(s.state.feeder[0].lost, 1);
}

static void a_meter_without_one_of_its_four_values_is_lost(void) {
    for (int lane = 0; lane < V2G_LANES; lane++) {
        start(1, 0);
        CHECK_EQ(s.state.feeder[0].lost, 0);
        s.image.meter[0].valid &= ~(1u << (V2G_M_P_L1 + lane));
        judge();
        CHECK_EQ(s.state.feeder[0].lost, 1);
    }
}

static void base_load_drifts_up_to_the_largest_power_there_is(void) {
    start(1, 0);
    s.config.feeder[0].slew_q8 = V2G_POWER_MAX_W * 100;
    v2g_config_seal(&s.config);
    s.meter_up = false;
    site_run(&s, 100);
    CHECK_EQ(s.state.feeder[0].lost, 0);
    CHECK_EQ(s.state.feeder[0].drift_q8, V2G_POWER_MAX_W * 256);
}

static void without_its_meter_a_feeder_keeps_its_declared_load_below_the_plan(void) {
    start(1, 0);
    s.config.feeder[0].base_w[V2G_LANE_TOTAL] = 15000;
    s.config.feeder[0].fallback_w[V2G_LANE_TOTAL] = 54000;
    v2g_config_seal(&s.config);
    s.plan.feeder[0].import_w = 20000;
    s.meter_up = false;
    site_run(&s, 1000);
    CHECK_EQ(s.state.feeder[0].room_import_w[V2G_LANE_TOTAL], 20000 - 15000);
}

static void the_last_check_finds_a_single_watt_and_an_uneven_load(void) {
    start(1, 11000);
    struct v2g_feeder_state *room = &s.state.feeder[0];
    for (int lane = 0; lane < V2G_LANES; lane++) {
        room->room_import_w[lane] = room->room_export_w[lane] = lane == V2G_LANE_TOTAL ? 11000 : 10999;
    }
    CHECK(v2g_setpoints_hold(&s.config, &s.state, &s.out));
    s.state.evse[0].latch &= ~(uint32_t)V2G_LATCH_BALANCED;
    CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
    memset(room, 0, sizeof *room);
    s.out.evse[0] = (struct v2g_setpoint){.target_w = 1, .max_w = 1, .band_max_w = 1};
    CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
    s.out.evse[0] = (struct v2g_setpoint){.target_w = -1, .min_w = -1, .band_min_w = -1};
    CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
}

static void the_last_check_adds_up_those_on_one_phase_on_every_feeder_of_the_way(void) {
    for (int top = 0; top < 2; top++) {
        for (int32_t sign = -1; sign <= 1; sign += 2) {
            start(2, sign * 11000);
            s.config.feeders = 2;
            s.config.feeder[1] = s.config.feeder[0];
            s.config.feeder[1].parent = 0;
            s.state.feeder[1] = s.state.feeder[0];
            for (int i = 0; i < 2; i++) {
                s.config.evse[i].feeder = 1;
                s.config.evse[i].phases = 2;
                s.config.evse[i].phase_count = 1;
            }
            struct v2g_feeder_state *room = &s.state.feeder[top];
            room->room_import_w[1] = room->room_export_w[1] = 22000;
            CHECK(v2g_setpoints_hold(&s.config, &s.state, &s.out));
            room->room_import_w[1] = room->room_export_w[1] = 21999;
            CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
        }
    }
}

/* ---- Estimate ------------------------------------------------------------------------------------------------------------- */

static uint32_t estimated(void) {
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    return s.image.estimate[0].flag;
}

static void a_connector_as_warm_as_its_alarm_allows_raises_none(void) {
    start(1, 0);
    int32_t model = s.image.estimate[0].model_contact;
    in(0)->value[V2G_F_T_CONNECTOR] = model + 150;
    CHECK_EQ(estimated() & V2G_ESTIMATE_CONTACT, 0);
    in(0)->value[V2G_F_T_CONNECTOR] = model + 151;
    CHECK_EQ(estimated() & V2G_ESTIMATE_CONTACT, V2G_ESTIMATE_CONTACT);
    CHECK_EQ(s.image.estimate[0].model_contact, model);
    s.config.evse[0].contact_alarm = 1;
    CHECK_EQ(estimated() & V2G_ESTIMATE_CONTACT, V2G_ESTIMATE_CONTACT);
    s.config.evse[0].contact_alarm = 0; /* none wanted */
    CHECK_EQ(estimated() & V2G_ESTIMATE_CONTACT, 0);
}

/* Doubt when the SOC changed by `soc`, `counted_w_ms` flowed, and the capacity is 1 kWh; 0.01 % of it are 360 000 W ms. */
static bool doubted(int32_t soc, int64_t counted_w_ms) {
    start(1, 0);
    in(0)->value[V2G_F_CAPACITY] = 1000;
    s.state.estimate[0].counted_w_ms = counted_w_ms;
    in(0)->value[V2G_F_SOC] = s.state.estimate[0].anchor_soc + soc;
    return (estimated() & V2G_ESTIMATE_SOC_DOUBT) != 0;
}

static void an_soc_may_differ_by_its_tolerance_and_a_quarter_of_what_flowed(void) {
    CHECK(!doubted(300, 0));
    CHECK(doubted(301, 0));
    CHECK(!doubted(0, 400 * 360000)); /* three quarters of it are 3 % of the battery */
    CHECK(doubted(0, 400 * 360000 + 4));
    CHECK(!doubted(0, -400 * 360000));
    CHECK(doubted(0, -400 * 360000 - 4));
}

static void energy_is_counted_from_the_first_soc_that_was_told_even_from_0(void) {
    site_init(&s, 1);
    in(0)->valid &= ~(1u << V2G_F_SOC);
    site_wish(&s, 11000);
    site_run(&s, 5000);
    CHECK_EQ(s.state.estimate[0].anchor_soc, -1);
    CHECK_EQ(s.state.estimate[0].counted_w_ms, 0);
    in(0)->valid |= 1u << V2G_F_SOC;
    in(0)->value[V2G_F_SOC] = 0;
    site_run(&s, 1000);
    CHECK_EQ(s.state.estimate[0].anchor_soc, 0);
    CHECK(s.state.estimate[0].counted_w_ms > 0);
}

static void energy_is_counted_from_a_full_battery_too(void) {
    start(1, 0);
    s.state.estimate[0].anchor_soc = -1;
    in(0)->value[V2G_F_SOC] = V2G_SOC_MAX;
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    CHECK_EQ(s.state.estimate[0].anchor_soc, V2G_SOC_MAX);
}

static void beyond_twice_the_rating_a_discharge_warms_like_a_charge(void) {
    start(1, 0);
    struct v2g_state before = s.state;
    in(0)->value[V2G_F_POWER] = 100000;
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    int64_t charged_q32 = s.state.estimate[0].cable_q32;
    s.state = before;
    in(0)->value[V2G_F_POWER] = -100000;
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    CHECK(charged_q32 > before.estimate[0].cable_q32);
    CHECK_EQ(s.state.estimate[0].cable_q32, charged_q32);
}

static void without_a_capacity_no_soc_is_doubted(void) {
    start(1, 11000);
    in(0)->value[V2G_F_CAPACITY] = 0;
    CHECK_EQ(estimated() & V2G_ESTIMATE_SOC_DOUBT, 0);
    in(0)->value[V2G_F_CAPACITY] = 1; /* Wh: less than has flowed */
    CHECK_EQ(estimated() & V2G_ESTIMATE_SOC_DOUBT, V2G_ESTIMATE_SOC_DOUBT);
}

/* ---- Explain -------------------------------------------------------------------------------------------------------------- */

static struct v2g_trace explained(void) {
    struct v2g_trace trace;
    memset(&trace, 0x55, sizeof trace);
    v2g_explain(&s.config, &s.plan, &s.state, &s.image, s.now_ns, 0, &trace);
    return trace;
}

/* Row `row` is the first that allows less than the rating, for `why`. */
static void binds_charging(int row, int32_t most_w, enum v2g_reason why) {
    struct v2g_trace trace = explained();
    for (int k = 0; k < V2G_ROWS - 1; k++) {
        CHECK_EQ(trace.charge_w[k], k < row - 1 ? 22000 : most_w);
        CHECK_EQ(trace.reason_charge[k], k < row - 1 ? V2G_RATING : why);
        CHECK_EQ(trace.discharge_w[k], 22000);
    }
}

static void each_row_shows_at_its_own_place(void) {
    start(1, 0);
    forget_estimate();
    in(0)->value[V2G_F_T_CELL_MIN] = -1;
    binds_charging(3, 0, V2G_THERMAL_DERATE);
    start(1, 0);
    s.image.proposal[0].grid_charge = V2G_GRID_VOLTAGE;
    binds_charging(4, 0, V2G_GRID_VOLTAGE);
    start(1, 0);
    s.plan.evse[0].max_w = 5000;
    binds_charging(6, 5000, V2G_PLAN_LIMIT);
}

static void a_wish_of_1_w_ends_at_the_device_minimum_of_charging(void) {
    start(1, 1);
    struct v2g_trace trace = explained();
    CHECK_EQ(trace.charge_w[4], 0);
    CHECK_EQ(trace.reason_charge[4], V2G_DEVICE_MINIMUM);
    CHECK_EQ(trace.discharge_w[4], 22000);
}

/* ---- Tables from end to end ------------------------------------------------------------------------------------------------ */

static void the_largest_site_works_to_its_last_entry(void) {
    static struct v2g_state carried;
    static struct v2g_image image;
    site_init(&s, V2G_MAX_EVSES);
    s.config.feeders = V2G_MAX_FEEDERS;
    for (uint32_t f = 0; f < V2G_MAX_FEEDERS; f++) {
        site_feeder(&s.config.feeder[f], 1000 + f, f == 0 ? V2G_NONE : 0, V2G_NONE, 1000000);
        s.config.feeder[f].share_w = 0;
    }
    for (uint32_t i = 0; i < V2G_MAX_EVSES; i++) {
        s.config.evse[i].feeder = (uint16_t)(i % V2G_MAX_FEEDERS);
    }
    v2g_config_seal(&s.config);
    CHECK_EQ(v2g_config_check(&s.config), 0);
    site_wish(&s, 1400);
    site_run(&s, 1500);
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), 0);
    for (uint32_t i = 0; i < V2G_MAX_EVSES; i++) {
        CHECK_EQ(s.out.evse[i].target_w, 1400);
        CHECK_MEM_EQ(&s.state.estimate[i], &s.state.estimate[0], sizeof s.state.estimate[0]);
        CHECK_MEM_EQ(&s.image.estimate[i], &s.image.estimate[0], sizeof s.image.estimate[0]);
    }
    for (uint32_t f = 1; f < V2G_MAX_FEEDERS; f++) {
        CHECK_MEM_EQ(&s.state.feeder[f], &s.state.feeder[1], sizeof s.state.feeder[1]);
    }
    v2g_state_migrate(&s.config, &s.state, &s.config, &carried);
    CHECK_MEM_EQ(&carried, &s.state, sizeof carried);
    v2g_image_migrate(&s.config, &s.image, &s.config, &image);
    CHECK_MEM_EQ(image.evse, s.image.evse, sizeof image.evse);
}

static void an_image_begins_empty_whatever_was_there(void) {
    static struct v2g_image image, empty;
    memset(&image, 0xA5, sizeof image);
    v2g_image_init(&image);
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        for (int field = 0; field < V2G_FIELDS; field++) {
            CHECK_EQ(image.evse[i].acquired_ns[field], V2G_NEVER);
            CHECK_EQ(image.evse[i].changed_ns[field], V2G_NEVER);
            image.evse[i].acquired_ns[field] = image.evse[i].changed_ns[field] = 0;
        }
    }
    for (int m = 0; m < V2G_MAX_METERS; m++) {
        for (int field = 0; field < V2G_METER_FIELDS; field++) {
            CHECK_EQ(image.meter[m].acquired_ns[field], V2G_NEVER);
            CHECK_EQ(image.meter[m].changed_ns[field], V2G_NEVER);
            image.meter[m].acquired_ns[field] = image.meter[m].changed_ns[field] = 0;
        }
    }
    CHECK_MEM_EQ(&image, &empty, sizeof image);
}

static void a_safe_plan_allows_nothing_whatever_was_there(void) {
    static struct v2g_plan plan, nothing;
    site_init(&s, 1);
    memset(&plan, 0xA5, sizeof plan);
    v2g_plan_safe(&plan, &s.config);
    CHECK_EQ(plan.made_ns, V2G_NEVER);
    CHECK_EQ(plan.lease_ns, V2G_NEVER);
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        CHECK_EQ(plan.evse[i].until_ns, V2G_NEVER);
        plan.evse[i].until_ns = 0;
    }
    for (int f = 0; f < V2G_MAX_FEEDERS; f++) {
        CHECK_EQ(plan.feeder[f].until_ns, V2G_NEVER);
        plan.feeder[f].until_ns = 0;
    }
    CHECK_MEM_EQ(plan.evse, nothing.evse, sizeof plan.evse);
    CHECK_MEM_EQ(plan.feeder, nothing.feeder, sizeof plan.feeder);
    CHECK_EQ(plan.epoch, 0);
    CHECK_EQ(plan.limits_epoch, 0);
}

static void a_state_begins_tight_whatever_was_there(void) {
    static struct v2g_state state;
    memset(&state, 0xA5, sizeof state);
    v2g_state_init(&state);
    CHECK_EQ(state.damaged, 0);
    CHECK_EQ(state.reserved, 0);
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        CHECK_MEM_EQ(&state.evse[i], &state.evse[0], sizeof state.evse[0]);
        CHECK_MEM_EQ(&state.estimate[i], &state.estimate[0], sizeof state.estimate[0]);
    }
    for (int f = 0; f < V2G_MAX_FEEDERS; f++) {
        CHECK_MEM_EQ(&state.feeder[f], &state.feeder[0], sizeof state.feeder[0]);
    }
    struct v2g_state before = state;
    v2g_state_restore(&state, V2G_MAX_EVSES, V2G_LATCHES_KEPT); /* nobody */
    CHECK_MEM_EQ(&state, &before, sizeof state);
}

static void what_stands_beyond_the_count_is_nobody(void) {
    static struct v2g_config from, to;
    static struct v2g_state state, tight;
    static struct v2g_image image, empty;
    start(2, 11000);
    from = to = s.config;
    v2g_state_init(&tight);
    v2g_image_init(&empty);
    from.evses = 1; /* the second and its feeder were removed, but their keys still stand in memory */
    from.feeder[1] = from.feeder[0];
    from.feeder[1].key = 2000;
    to.feeders = 2;
    to.feeder[1] = from.feeder[1];
    to.feeder[1].meter = 1;
    v2g_state_migrate(&from, &s.state, &to, &state);
    CHECK_MEM_EQ(&state.evse[0], &s.state.evse[0], sizeof state.evse[0]);
    CHECK_MEM_EQ(&state.evse[1], &tight.evse[1], sizeof state.evse[1]);
    CHECK_MEM_EQ(&state.feeder[0], &s.state.feeder[0], sizeof state.feeder[0]);
    CHECK_MEM_EQ(&state.feeder[1], &tight.feeder[1], sizeof state.feeder[1]);
    v2g_image_migrate(&from, &s.image, &to, &image);
    CHECK_MEM_EQ(&image.meter[0], &s.image.meter[0], sizeof image.meter[0]);
    CHECK_MEM_EQ(&image.evse[1], &empty.evse[1], sizeof image.evse[1]);
    CHECK_MEM_EQ(&image.meter[1], &empty.meter[1], sizeof image.meter[1]);
    from.evses = 2;
    from.feeders = 2;
    to.evses = to.feeders = 1; /* the other way round */
    v2g_state_migrate(&from, &s.state, &to, &state);
    CHECK_MEM_EQ(&state.evse[1], &tight.evse[1], sizeof state.evse[1]);
    CHECK_MEM_EQ(&state.feeder[1], &tight.feeder[1], sizeof state.feeder[1]);
    s.image.meter[1] = s.image.meter[0];
    from.feeder[1].meter = 1;
    v2g_image_migrate(&from, &s.image, &to, &image);
    CHECK_MEM_EQ(&image.evse[1], &empty.evse[1], sizeof image.evse[1]);
    CHECK_MEM_EQ(&image.meter[1], &empty.meter[1], sizeof image.meter[1]);
}

static void a_plan_is_judged_from_its_first_entry_to_its_last(void) {
    start(2, 11000);
    s.plan.evse[2].min_w = 1; /* beyond the count: nobody */
    s.plan.evse[2].max_w = -1;
    s.plan.feeder[1].import_w = -1;
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), 0);
    s.plan.feeder[0].import_w = -1;
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), (uint32_t)V2G_FAULT_PLAN_FEEDER << 16);
    s.plan.evse[0].soc_floor = -1;
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), (uint32_t)V2G_FAULT_PLAN_EVSE << 16);
}

CHECK_MAIN(
    CASE(a_table_begins_at_its_start), CASE(a_prediction_counts_from_the_start_of_its_table_and_where_every_sensor_has_one),
    CASE(sensors_that_all_read_colder_than_any_can_are_not_known), CASE(a_cell_just_warm_enough_charges_beside_a_hot_connector),
    CASE(a_stop_below_the_table_stops_too), CASE(a_sensor_at_its_resume_temperature_is_cool),
    CASE(a_connector_that_warms_up_again_or_is_not_heard_has_to_stay_cool_anew),
    CASE(an_empty_battery_is_at_its_floor_and_not_unknown),
    CASE(a_frequency_service_has_a_ramp_of_its_own_but_not_on_the_way_back_from_a_fail_safe),
    CASE(a_vehicle_that_gives_1_w_is_spoken_to_in_both_directions), CASE(energy_is_counted_from_a_full_battery_too),
    CASE(beyond_twice_the_rating_a_discharge_warms_like_a_charge), CASE(a_full_vehicle_charges_again_below_the_hysteresis_only),
    CASE(a_doubted_soc_that_admits_to_the_floor_is_believed), CASE(a_lease_holds_in_its_last_nanosecond),
    CASE(a_stamp_from_the_future_is_old_soon_after_the_machine_started),
    CASE(an_soc_has_its_own_age_also_while_the_link_is_half_lost),
    CASE(the_slowest_ramp_of_a_plan_is_obeyed_and_a_trace_of_power_is_no_way_round_0),
    CASE(a_feeder_that_gives_less_is_the_reason_of_that_direction_only), CASE(exactly_the_device_minimum_is_delivered),
    CASE(a_vehicle_that_allows_1_w_gets_nothing_where_nothing_is_allowed), CASE(a_load_is_even_up_to_its_tolerance),
    CASE(a_share_bounds_the_wish_and_names_its_reason), CASE(what_the_grid_asks_for_stands_in_for_the_wish),
    CASE(without_the_required_guard_nothing_flows_in_either_direction), CASE(a_fault_stops_both_directions),
    CASE(the_next_vehicle_is_not_taken_to_load_its_phases_evenly),
    CASE(a_cold_cell_is_not_charged_and_not_forgotten_when_its_sensor_breaks),
    CASE(a_meter_without_one_of_its_four_values_is_lost), CASE(damage_leaves_nothing_to_ramp_from),
    CASE(cells_whose_coldest_is_not_known_charge_as_without_a_sensor),
    CASE(an_evse_at_0_may_draw_or_give_its_tolerance_and_not_a_watt_more),
    CASE(an_evse_that_is_not_heard_is_not_forgiven_for_not_following),
    CASE(what_a_phase_really_carries_is_booked_in_both_directions),
    CASE(one_that_was_told_to_give_keeps_that_room_until_it_has_confirmed_less),
    CASE(one_whose_power_is_not_heard_keeps_its_room_in_both_directions),
    CASE(what_is_freed_beside_an_overloaded_phase_is_nobody_s_before_it_is_confirmed),
    CASE(the_reason_is_the_feeder_that_gave_less_not_one_that_gives_as_much),
    CASE(a_stopped_evse_relieves_the_phase_it_still_loads), CASE(a_full_grid_connection_is_shared_from_eight_levels_below),
    CASE(a_meter_whose_first_phase_alone_is_old_is_lost), CASE(base_load_drifts_up_to_the_largest_power_there_is),
    CASE(without_its_meter_a_feeder_keeps_its_declared_load_below_the_plan),
    CASE(the_last_check_finds_a_single_watt_and_an_uneven_load),
    CASE(the_last_check_adds_up_those_on_one_phase_on_every_feeder_of_the_way),
    CASE(a_connector_as_warm_as_its_alarm_allows_raises_none),
    CASE(an_soc_may_differ_by_its_tolerance_and_a_quarter_of_what_flowed),
    CASE(energy_is_counted_from_the_first_soc_that_was_told_even_from_0), CASE(without_a_capacity_no_soc_is_doubted),
    CASE(each_row_shows_at_its_own_place), CASE(a_wish_of_1_w_ends_at_the_device_minimum_of_charging),
    CASE(the_largest_site_works_to_its_last_entry), CASE(an_image_begins_empty_whatever_was_there),
    CASE(a_safe_plan_allows_nothing_whatever_was_there), CASE(a_state_begins_tight_whatever_was_there),
    CASE(what_stands_beyond_the_count_is_nobody), CASE(a_plan_is_judged_from_its_first_entry_to_its_last))
