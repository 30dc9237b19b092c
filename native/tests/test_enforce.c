/* Each row of the chain, told as a sentence about the site. */
#include "../core/chain.h" /* the last check is tested alone */
#include "check.h"
#include "site.h"

static struct site s;

static int32_t target(uint32_t evse) {
    return s.out.evse[evse].target_w;
}
static int reason(uint32_t evse) {
    return s.out.evse[evse].reason;
}

static void start(uint32_t evses, int32_t wish_w) {
    site_init(&s, evses);
    CHECK_EQ(v2g_config_check(&s.config), 0);
    site_wish(&s, wish_w);
    site_run(&s, 15000);
}

static void a_healthy_site_charges_as_asked(void) {
    start(2, 11000);
    CHECK_EQ(target(0), 11000);
    CHECK_EQ(reason(0), V2G_REASON_NONE);
    CHECK_EQ(s.out.evse[0].mode, V2G_MODE_BIDIRECTIONAL);
}

static void a_healthy_site_discharges_as_asked(void) {
    start(2, -11000);
    CHECK_EQ(target(1), -11000);
    CHECK_EQ(s.out.evse[1].min_w, -11000);
    CHECK_EQ(s.out.evse[1].max_w, 0);
}

static void nothing_flows_before_inputs_have_come_three_times(void) {
    site_init(&s, 1);
    site_wish(&s, 11000);
    site_run(&s, 20);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_INIT);
}

static void an_evse_whose_fallback_is_not_as_wanted_charges_and_never_discharges(void) {
    start(2, -11000);
    s.image.evse[0].value[V2G_F_FLAGS] |= V2G_FLAG_SILENCE_UNKNOWN;
    site_run(&s, 50);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(s.out.evse[0].reason_min, V2G_RATING);
    site_wish(&s, 5000);
    site_run(&s, 15000);
    CHECK_EQ(target(0), 5000);
}

static int32_t room_without_a_lost_evse(uint32_t flags) {
    start(2, 11000);
    s.image.evse[0].value[V2G_F_FLAGS] |= (int32_t)flags;
    site_run(&s, 50);
    s.link_up = false;
    site_run(&s, 5000);
    return s.state.feeder[0].room_import_w[V2G_LANE_TOTAL];
}

static void a_lost_evse_is_booked_at_its_rating_when_its_fallback_is_not_as_wanted(void) {
    CHECK(room_without_a_lost_evse(V2G_FLAG_SILENCE_UNKNOWN) < room_without_a_lost_evse(0));
}

static void a_vehicle_at_its_floor_is_not_discharged_until_the_hysteresis_is_over(void) {
    start(1, -11000);
    s.config.evse[0].soc_tolerance = 0; /* this test moves the SOC by hand */
    v2g_config_seal(&s.config);
    s.image.evse[0].value[V2G_F_SOC] = 3100; /* lower bound 30.00 % */
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_ERR_V2G_LIMIT_REACHED);
    s.image.evse[0].value[V2G_F_SOC] = 3299;
    site_run(&s, 1000);
    CHECK_EQ(target(0), 0);
    s.image.evse[0].value[V2G_F_SOC] = 3300;
    site_run(&s, 3000);
    CHECK_EQ(target(0), -11000);
}

static void a_vehicle_without_soc_charges_and_never_discharges(void) {
    start(1, -11000);
    s.image.evse[0].valid &= ~(1u << V2G_F_SOC);
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_SOC_UNKNOWN);
    site_wish(&s, 5000);
    site_run(&s, 3000);
    CHECK_EQ(target(0), 5000);
}

static void a_hot_connector_derates_then_stops_and_latches_until_cool_for_a_minute(void) {
    start(1, 22000);
    s.config.evse[0].rise_step_q32 = 0; /* this test moves the temperature by hand */
    v2g_config_seal(&s.config);
    s.image.evse[0].value[V2G_F_T_CONNECTOR] = 760;
    site_step(&s);
    CHECK(target(0) < 22000 && target(0) > 0);
    CHECK_EQ(reason(0), V2G_THERMAL_DERATE);
    s.image.evse[0].value[V2G_F_T_CONNECTOR] = 900;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_THERMAL_STOP);
    s.image.evse[0].value[V2G_F_T_CONNECTOR] = 640;
    site_run(&s, 59000);
    CHECK_EQ(target(0), 0);
    site_run(&s, 2000);
    CHECK(target(0) > 0);
}

static void a_lost_temperature_sensor_forbids_discharge_and_halves_charging(void) {
    start(1, 22000);
    s.image.evse[0].valid &= ~(1u << V2G_F_T_CABLE);
    site_step(&s);
    CHECK_EQ(target(0), 11000);
    CHECK_EQ(reason(0), V2G_THERMAL_SENSOR);
    site_wish(&s, -22000);
    site_run(&s, 5000);
    CHECK_EQ(target(0), 0);
}

static void bidirectional_capability_is_learnt_not_assumed(void) {
    start(1, -11000);
    s.image.evse[0].value[V2G_F_FLAGS] &= ~V2G_FLAG_BIDIRECTIONAL;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_ERR_BIDIRECTIONAL_UNSUPPORTED);
}

static void an_emergency_stop_acts_in_the_same_cycle(void) {
    start(1, 22000);
    s.image.evse[0].value[V2G_F_FLAGS] |= V2G_FLAG_E_STOP;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_E_STOP);
    CHECK_EQ(s.out.evse[0].mode, V2G_MODE_STOP);
}

static void other_load_takes_room_from_charging_in_the_same_cycle(void) {
    start(3, 22000);
    CHECK_EQ(target(0) + target(1) + target(2), 66000);
    s.base_w = 30000;
    site_step(&s);
    int32_t sum_w = target(0) + target(1) + target(2);
    CHECK(sum_w <= 39000 && sum_w >= 38000);
    CHECK(reason(0) == V2G_SITE_LIMIT || reason(0) == V2G_PHASE_LIMIT);
}

static void a_constant_overload_does_not_spiral(void) {
    start(3, 22000);
    s.base_w = 30000;
    site_run(&s, 5000);
    int32_t sum_w = target(0) + target(1) + target(2);
    CHECK(sum_w > 37000 && sum_w <= 39000);
}

static void discharge_earns_no_room_for_charging(void) {
    site_init(&s, 4);
    s.base_w = 0;
    s.plan.evse[0].target_w = -22000;
    for (int i = 1; i < 4; i++) {
        s.plan.evse[i].target_w = 22000;
    }
    s.base_w = 20000;
    site_run(&s, 20000);
    CHECK_EQ(target(0), -22000);
    CHECK(target(1) + target(2) + target(3) <= 49000);
}

/* Base load of phase 1 while one EVSE draws 11 kW and tells nothing of its phases; the meter sees a third of it there. */
static int32_t base_of_phase_1(uint32_t option, uint8_t phases, uint8_t phase_count) {
    site_init(&s, 1);
    s.config.evse[0].option |= option;
    s.config.evse[0].phases = phases;
    s.config.evse[0].phase_count = phase_count;
    s.image.evse[0].valid &= ~(1u << V2G_F_P_L2);
    v2g_config_seal(&s.config);
    site_wish(&s, 11000);
    site_run(&s, 20000);
    CHECK_EQ(s.out.evse[0].target_w, 11000);
    return s.state.feeder[0].base_high_w[0];
}

static void a_load_whose_phases_are_unknown_may_be_base_load_unless_it_is_even(void) {
    CHECK_EQ(base_of_phase_1(0, 7, 3), 3666);
    CHECK_EQ(base_of_phase_1(V2G_EVSE_BALANCED, 7, 3), 3666 - 3667);
    CHECK_EQ(base_of_phase_1(0, 1, 1), 3666 - 11000);
}

static void a_single_phase_vehicle_is_booked_on_its_phase(void) {
    start(1, 22000);
    CHECK((s.state.evse[0].latch & V2G_LATCH_BALANCED) != 0);
    s.base_w = 3 * 20000; /* leaves 3 kW a phase */
    site_run(&s, 1000);
    int32_t even_w = target(0);
    CHECK(even_w > 8000 && even_w <= 9000);
    struct v2g_evse_config one = s.config.evse[0];
    one.phases = 1;
    one.phase_count = 1;
    s.config.evse[0] = one;
    v2g_config_seal(&s.config);
    site_run(&s, 1000);
    CHECK(target(0) <= 3000);
}

static void a_lost_meter_leaves_the_static_share_and_no_discharge(void) {
    start(2, 22000);
    s.meter_up = false;
    site_run(&s, 1000);
    CHECK_EQ(target(0), 4200);
    CHECK_EQ(reason(0), V2G_STALE_METER);
    site_wish(&s, -22000);
    site_run(&s, 1000);
    CHECK_EQ(target(0), 0);
    s.meter_up = true;
    site_run(&s, 15000);
    CHECK_EQ(target(0), -22000);
}

static void a_frozen_meter_is_lost_although_it_answers(void) {
    start(1, 22000);
    s.config.feeder[0].liveness_age_ns = 2000 * SITE_MS;
    v2g_config_seal(&s.config);
    s.image.meter[0].changed_ns[V2G_M_LIVENESS] = s.now_ns;
    site_run(&s, 1900);
    CHECK_EQ(target(0), 22000);
    site_run(&s, 200);
    CHECK_EQ(target(0), 4200);
    CHECK_EQ(reason(0), V2G_STALE_METER);
}

static void a_stalled_python_leaves_the_after_bounds(void) {
    start(1, -11000);
    s.python_up = false;
    site_run(&s, 1900);
    CHECK_EQ(target(0), -11000);
    site_run(&s, 200);
    CHECK_EQ(s.out.evse[0].band_min_w, 0);
    CHECK_EQ(s.out.evse[0].reason_min, V2G_ERR_SIG_TIMEOUT);
    site_run(&s, 5000);
    CHECK_EQ(target(0), 4200);
}

static void expiry_never_loosens(void) {
    site_init(&s, 1);
    s.plan.evse[0].max_w = 2000;
    s.plan.evse[0].after_max_w = 22000;
    s.plan.evse[0].after_target_w = 22000;
    site_wish(&s, 22000);
    site_run(&s, 10000);
    CHECK_EQ(target(0), 2000);
    s.python_up = false;
    site_run(&s, 10000);
    CHECK_EQ(target(0), 2000);
}

static void a_silent_evse_is_safe_and_returns_slowly(void) {
    start(1, 22000);
    s.link_up = false;
    site_run(&s, 80);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_EVSE_LOST);
    s.link_up = true;
    site_run(&s, 200);
    CHECK(target(0) < 5000);
    site_run(&s, 12000);
    CHECK_EQ(target(0), 22000);
}

static void the_way_back_from_a_fail_safe_is_slow_from_its_first_step(void) {
    start(1, 22000);
    s.link_up = false;
    site_run(&s, 80);
    s.link_up = true;
    site_run(&s, 500);
    CHECK_EQ(reason(0), V2G_RAMP);
    CHECK(target(0) <= 22000 / 20); /* 10 % a second, not 100 */
    site_run(&s, 12000);
    site_wish(&s, 0);
    site_step(&s);
    site_wish(&s, 22000);
    site_run(&s, 500);
    CHECK(target(0) > 22000 / 20); /* the return is over: the normal ramp again */
}

static void an_evse_that_does_not_follow_is_stopped_and_booked_at_what_it_draws(void) {
    start(2, 11000);
    s.follow = false;
    site_wish(&s, 3000);
    s.image.evse[1].value[V2G_F_POWER] = 11000;
    site_run(&s, 1200);
    CHECK_EQ(target(1), 0);
    CHECK_EQ(reason(1), V2G_NOT_FOLLOWING);
}

static void unplugging_voids_soc_capability_and_target(void) {
    start(1, -11000);
    s.config.evse[0].soc_tolerance = 0; /* this test moves the SOC by hand */
    v2g_config_seal(&s.config);
    s.image.evse[0].value[V2G_F_FLAGS] &= ~V2G_FLAG_EV_PRESENT;
    s.image.evse[0].value[V2G_F_STATE] = V2G_STATE_A;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_NOT_READY);
    s.image.evse[0].value[V2G_F_FLAGS] |= V2G_FLAG_EV_PRESENT;
    s.image.evse[0].value[V2G_F_STATE] = V2G_STATE_TRANSFER;
    s.image.evse[0].value[V2G_F_SOC] = 3250; /* above the floor, inside the hysteresis: starts tight */
    site_run(&s, 1000);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_ERR_V2G_LIMIT_REACHED);
}

static void a_lock_out_stops_both_directions(void) {
    start(1, 11000);
    s.plan.evse[0].flag |= V2G_PLAN_LOCKED;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_LOCKOUT);
}

static void a_reversal_passes_zero(void) {
    start(1, 22000);
    site_wish(&s, -22000);
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_RAMP);
    site_run(&s, 3000);
    CHECK_EQ(target(0), -22000);
}

static void the_ramp_bounds_only_the_way_up(void) {
    start(1, 22000);
    site_wish(&s, 2000);
    site_step(&s);
    CHECK_EQ(target(0), 2000);
    site_wish(&s, 22000);
    site_step(&s);
    CHECK_EQ(target(0), 2220);
}

static void less_than_the_device_minimum_is_nothing(void) {
    start(1, 1000);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_DEVICE_MINIMUM);
}

static void without_real_time_there_is_no_discharge_except_in_a_lab(void) {
    start(1, -11000);
    s.image.health &= ~(uint32_t)V2G_HEALTH_REALTIME;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_NOT_REALTIME);
    s.config.option |= V2G_CONFIG_LAB;
    v2g_config_seal(&s.config);
    site_run(&s, 3000);
    CHECK_EQ(target(0), -11000);
}

static void a_flipped_bit_in_a_limit_makes_everything_safe(void) {
    start(2, 11000);
    s.config.evse[1].rating_charge_w ^= 1 << 14;
    site_step(&s);
    CHECK_EQ(s.out.safe, 1);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_INVARIANT);
}

static void a_plan_from_another_boot_or_with_an_endless_lease_is_refused(void) {
    start(1, 11000);
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), 0);
    s.plan.boot_id++;
    CHECK(v2g_plan_check(&s.plan, &s.config, s.now_ns) != 0);
    s.plan.boot_id--;
    s.plan.lease_ns = s.plan.made_ns + 3600000 * SITE_MS;
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns) >> 16, V2G_FAULT_LEASE);
}

static void a_new_config_carries_the_sessions_over_by_key(void) {
    start(2, -11000);
    static struct v2g_config next;
    static struct v2g_state state;
    static struct v2g_image image;
    next = s.config;
    next.epoch++;
    next.evse[0] = s.config.evse[1];
    next.evse[1] = s.config.evse[0];
    v2g_config_seal(&next);
    CHECK_EQ(v2g_config_check(&next), 0);
    s.image.evse[1].value[V2G_F_SOC] = 5000;
    v2g_state_migrate(&s.config, &s.state, &next, &state);
    v2g_image_migrate(&s.config, &s.image, &next, &image);
    CHECK_EQ(state.evse[0].target_w, -11000);
    CHECK_EQ(image.evse[0].value[V2G_F_SOC], 5000);
    CHECK_EQ(state.feeder[0].lost, 0);
}

static void explain_shows_the_row_that_binds_and_changes_nothing(void) {
    start(1, -11000);
    s.image.evse[0].value[V2G_F_SOC] = 3000;
    struct v2g_trace trace;
    struct v2g_state before = s.state;
    v2g_explain(&s.config, &s.plan, &s.state, &s.image, s.now_ns, 0, &trace);
    CHECK_MEM_EQ(&before, &s.state, sizeof before);
    CHECK_EQ(trace.discharge_w[0], 22000);
    CHECK_EQ(trace.discharge_w[1], 0);
    CHECK_EQ(trace.reason_discharge[1], V2G_ERR_V2G_LIMIT_REACHED);
    CHECK_EQ(trace.wish_w, -11000);
}

static void the_thermal_model_warms_up_like_its_equation(void) {
    start(1, 22000);
    s.image.evse[0].value[V2G_F_SOC] = 0;
    s.config.evse[0].soc_tolerance = 0;
    v2g_config_seal(&s.config);
    site_run(&s, 1200 * 1000);
    /* Cable after one time constant at 22 kW: 40 + 25 * (1 - 1/e) = 55.8 degC. */
    CHECK(s.image.estimate[0].model_cable >= 553 && s.image.estimate[0].model_cable <= 561);
    CHECK(s.image.estimate[0].model_contact > s.image.estimate[0].model_cable + 130);
    CHECK(s.image.estimate[0].predicted[V2G_S_CONNECTOR] > s.image.estimate[0].model_contact);
}

static void a_connector_that_heats_up_fast_is_derated_before_it_is_hot(void) {
    start(1, 22000);
    for (int32_t temp = 300; temp < 560; temp++) { /* 60 K a minute */
        s.image.evse[0].value[V2G_F_T_CONNECTOR] = temp;
        site_run(&s, 100);
    }
    CHECK(target(0) < 22000);
    CHECK_EQ(reason(0), V2G_THERMAL_DERATE);
}

static void a_connector_hotter_than_its_model_calls_for_maintenance(void) {
    start(1, 11000);
    CHECK_EQ(s.image.estimate[0].flag & V2G_ESTIMATE_CONTACT, 0);
    s.image.evse[0].value[V2G_F_T_CONNECTOR] = 600;
    site_step(&s);
    CHECK(s.image.estimate[0].flag & V2G_ESTIMATE_CONTACT);
}

static void a_frozen_soc_is_doubted_once_enough_energy_has_flowed(void) {
    start(1, -20000);
    CHECK_EQ(target(0), -20000);
    s.image.evse[0].value[V2G_F_CAPACITY] = 1000; /* 20 kW move 0.56 % a second */
    site_run(&s, 20000);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_SOC_UNKNOWN);
}

static void a_jumping_soc_is_doubted_at_once(void) {
    start(1, -11000);
    s.image.evse[0].value[V2G_F_SOC] = 9000;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_SOC_UNKNOWN);
}

static void an_soc_that_follows_the_energy_is_believed(void) {
    start(1, -18000);
    s.image.evse[0].value[V2G_F_CAPACITY] = 10000; /* 5 Wh a second: 0.05 % a second */
    for (int second = 0; second < 400; second++) {
        s.image.evse[0].value[V2G_F_SOC] -= 5;
        site_run(&s, 1000);
    }
    CHECK_EQ(target(0), -18000);
}

static void a_hot_connector_stays_latched_over_a_restart_until_it_was_cool_for_a_minute(void) {
    start(1, 11000);
    v2g_state_init(&s.state);
    v2g_state_restore(&s.state, 0, V2G_LATCH_THERMAL << V2G_S_CONNECTOR | V2G_LATCH_PLUGGED);
    v2g_state_restore(&s.state, V2G_MAX_EVSES, V2G_LATCHES_KEPT); /* nobody */
    CHECK_EQ(s.state.evse[0].latch & V2G_LATCH_PLUGGED, 0);
    site_run(&s, 59000);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_THERMAL_STOP);
    site_run(&s, 5000);
    CHECK(target(0) > 0);
}

static void an_evse_that_did_not_follow_needs_a_new_word_even_after_a_restart(void) {
    start(1, 11000);
    v2g_state_init(&s.state);
    v2g_state_restore(&s.state, 0, V2G_LATCH_NOT_FOLLOWING);
    s.plan.limits_epoch = 1;
    site_run(&s, 5000);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_NOT_FOLLOWING);
    s.plan.limits_epoch = 2;
    site_run(&s, 20000);
    CHECK_EQ(target(0), 11000);
}

/* ---- What can only happen when something is broken ---- */

static void safe_stays_until_a_new_config(void) {
    start(2, 11000);
    s.config.feeder[0].import_w[0] ^= 1;
    site_step(&s);
    CHECK_EQ(s.out.safe, 1);
    s.config.feeder[0].import_w[0] ^= 1;
    site_step(&s);
    CHECK_EQ(s.out.safe, 1);
    CHECK_EQ(s.out.evse[1].valid_until_ns, s.now_ns + 1000 * SITE_MS);
    CHECK_EQ(s.out.evse[1].mode, V2G_MODE_STOP);
    v2g_state_init(&s.state);
    site_run(&s, 15000);
    CHECK_EQ(s.out.safe, 0);
    CHECK_EQ(target(1), 11000);
}

static void each_broken_seal_is_found(void) {
    for (int place = 0; place < 7; place++) {
        start(2, 11000);
        s.config.feeders = 2;
        site_feeder(&s.config.feeder[1], 1001, 0, V2G_NONE, 23000);
        v2g_config_seal(&s.config);
        site_step(&s);
        CHECK_EQ(s.out.safe, 0);
        if (place < 2) {
            s.config.evse[place].soc_floor ^= 1;
        } else if (place < 4) {
            s.config.feeder[place - 2].export_w[3] ^= 1;
        } else if (place < 6) {
            s.config.derate[place == 4 ? 0 : s.config.derates - 1].limit_w[V2G_DERATE_STEPS - 1] ^= 1;
        } else {
            s.config.option ^= V2G_CONFIG_LAB; /* discharging without real-time scheduling */
        }
        site_step(&s);
        CHECK_EQ(s.out.safe, 1);
        CHECK_EQ(s.out.count, 2);
        CHECK_EQ(target(0), 0);
        CHECK_EQ(target(1), 0);
    }
}

static void a_table_of_zeros_does_not_fit_a_seal_of_zero(void) {
    static const struct v2g_evse_config evse;
    static const struct v2g_feeder_config feeder;
    static const struct v2g_derate table;
    static const struct v2g_config head;
    CHECK(v2g_evse_seal(&evse) != 0);
    CHECK(v2g_feeder_seal(&feeder) != 0);
    CHECK(v2g_derate_seal(&table) != 0);
    CHECK(v2g_head_seal(&head) != 0);
}

static void a_sealed_limit_that_makes_no_sense_stops_everything(void) {
    start(1, 11000);
    s.config.evse[0].rating_charge_w = -5; /* no check would have let it pass */
    v2g_config_seal(&s.config);
    site_step(&s);
    CHECK_EQ(s.out.safe, 1);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(s.state.evse[0].ramp_q8, 0);
}

static void tables_that_claim_more_than_they_hold_are_not_read_beyond_their_end(void) {
    start(1, 11000);
    s.config.evses = V2G_MAX_EVSES + 1;
    s.config.feeders = 1;
    v2g_config_seal(&s.config);
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
    CHECK_EQ(s.out.safe, 1);
    CHECK_EQ(s.out.count, V2G_MAX_EVSES);
    CHECK_EQ(s.out.evse[V2G_MAX_EVSES - 1].reason, V2G_INVARIANT);
    start(1, 11000);
    s.config.feeders = V2G_MAX_FEEDERS + 1;
    v2g_config_seal(&s.config);
    v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
    CHECK_EQ(s.out.safe, 1);
    for (uint32_t derates = V2G_MAX_DERATES; derates <= V2G_MAX_DERATES + 1; derates++) {
        start(1, 11000);
        s.config.derates = derates;
        v2g_config_seal(&s.config);
        v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
        CHECK_EQ(s.out.safe, derates > V2G_MAX_DERATES);
    }
}

/* The promises themselves, on setpoints that the chain would never make. */
static bool promised(struct v2g_setpoint forged) {
    start(2, 11000);
    CHECK(v2g_setpoints_hold(&s.config, &s.state, &s.out));
    s.out.evse[0] = forged;
    return v2g_setpoints_hold(&s.config, &s.state, &s.out);
}

static void the_last_check_knows_every_promise(void) {
    const struct v2g_setpoint charging = {
        .target_w = 22000, .min_w = 0, .max_w = 22000, .band_min_w = -22000, .band_max_w = 22000};
    const struct v2g_setpoint discharging = {
        .target_w = -22000, .min_w = -22000, .max_w = 0, .band_min_w = -22000, .band_max_w = 22000};
    CHECK(promised(charging));
    CHECK(promised(discharging));
    struct v2g_setpoint forged = charging;
    forged.min_w = 22001;
    CHECK(!promised(forged)); /* below its own minimum */
    forged = charging;
    forged.max_w = 21999;
    CHECK(!promised(forged)); /* above its own maximum */
    forged = charging;
    forged.band_max_w = 21999;
    CHECK(!promised(forged)); /* more than the chain allowed */
    forged = discharging;
    forged.band_min_w = -21999;
    CHECK(!promised(forged));
    forged = charging;
    forged.max_w = forged.band_max_w = 22001;
    CHECK(!promised(forged)); /* more than the rating */
    forged = discharging;
    forged.min_w = forged.band_min_w = -22001;
    CHECK(!promised(forged));
}

static void the_last_check_adds_up_each_feeder_on_the_way(void) {
    start(3, 11000);
    s.config.feeders = 2;
    site_feeder(&s.config.feeder[1], 1001, 0, V2G_NONE, 23000);
    s.config.evse[1].feeder = s.config.evse[2].feeder = 1;
    v2g_config_seal(&s.config);
    site_step(&s);
    struct v2g_feeder_state *root = &s.state.feeder[0], *row = &s.state.feeder[1];
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t one_w = lane == V2G_LANE_TOTAL ? 11000 : 3667;
        root->room_import_w[lane] = 3 * one_w;
        row->room_import_w[lane] = 2 * one_w;
        CHECK(v2g_setpoints_hold(&s.config, &s.state, &s.out));
        root->room_import_w[lane] = 3 * one_w - 1;
        CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
        root->room_import_w[lane] = 3 * one_w;
        row->room_import_w[lane] = 2 * one_w - 1;
        CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
        row->room_import_w[lane] = 2 * one_w;
    }
    for (int i = 0; i < 3; i++) {
        s.out.evse[i].target_w = s.out.evse[i].min_w = -11000;
        s.out.evse[i].max_w = 0;
    }
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t one_w = lane == V2G_LANE_TOTAL ? 11000 : 3667;
        root->room_export_w[lane] = 3 * one_w;
        row->room_export_w[lane] = 2 * one_w;
        CHECK(v2g_setpoints_hold(&s.config, &s.state, &s.out));
        root->room_export_w[lane] = 3 * one_w - 1;
        CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
        root->room_export_w[lane] = 3 * one_w;
        row->room_export_w[lane] = -1; /* no room is none, not less */
        CHECK(!v2g_setpoints_hold(&s.config, &s.state, &s.out));
        row->room_export_w[lane] = 2 * one_w;
    }
}

/* ---- Details of the rows ---- */

static void an_soc_below_zero_is_no_soc(void) {
    start(1, -11000);
    s.image.evse[0].value[V2G_F_SOC] = -1;
    site_step(&s);
    CHECK_EQ(reason(0), V2G_SOC_UNKNOWN);
    s.image.evse[0].value[V2G_F_SOC] = V2G_SOC_MAX + 1;
    site_step(&s);
    CHECK_EQ(reason(0), V2G_SOC_UNKNOWN);
}

static void the_grid_forbids_a_direction_by_its_reason(void) {
    start(1, 11000);
    s.image.proposal[0].grid_charge = V2G_ENTER_SERVICE;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_ENTER_SERVICE);
    CHECK_EQ(s.out.evse[0].band_min_w, -22000);
    s.image.proposal[0].grid_charge = V2G_REASON_COUNT; /* no reason at all forbids too */
    site_step(&s);
    CHECK_EQ(reason(0), V2G_GRID_FREQUENCY);
    s.image.proposal[0].grid_charge = 0;
    s.image.proposal[0].grid_discharge = V2G_GRID_VOLTAGE;
    site_run(&s, 15000);
    CHECK_EQ(target(0), 11000);
    CHECK_EQ(s.out.evse[0].reason_min, V2G_GRID_VOLTAGE);
}

static void bounds_that_contradict_each_other_give_nothing(void) {
    start(1, 11000);
    s.plan.evse[0].min_w = 5000;       /* must charge at least this, */
    s.plan.evse[0].after_max_w = 4999; /* and at most that once the lease is over */
    s.python_up = false;
    site_run(&s, 1900);
    CHECK_EQ(target(0), 11000);
    site_run(&s, 200);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(reason(0), V2G_CONFLICT);
}

static void a_feeder_limit_that_is_over_leaves_its_after_bounds(void) {
    start(2, 11000);
    s.python_up = false;
    s.plan.feeder[0].import_w = 20000;
    s.plan.feeder[0].after_import_w = 9000;
    s.plan.feeder[0].until_ns = s.now_ns + 20 * SITE_MS;
    site_run(&s, 20);
    CHECK_EQ(target(0) + target(1), 20000);
    site_run(&s, 10);
    CHECK_EQ(target(0) + target(1), 9000);
    CHECK_EQ(reason(1), V2G_SITE_LIMIT);
}

static void the_smallest_fuse_of_eight_levels_binds(void) {
    start(1, 11000);
    s.config.feeders = V2G_MAX_DEPTH;
    for (uint32_t f = 1; f < V2G_MAX_DEPTH; f++) {
        site_feeder(&s.config.feeder[f], 1000 + f, (uint16_t)(f - 1), V2G_NONE, 23000);
        s.config.feeder[f].share_w = 0;
    }
    s.config.feeder[1].import_w[V2G_LANE_TOTAL] = 7000;
    s.config.feeder[1].fallback_w[V2G_LANE_TOTAL] = 7000;
    s.config.evse[0].feeder = V2G_MAX_DEPTH - 1;
    v2g_config_seal(&s.config);
    CHECK_EQ(v2g_config_check(&s.config), 0);
    site_step(&s);
    CHECK_EQ(target(0), 7000);
    CHECK_EQ(reason(0), V2G_FEEDER_LIMIT);
}

static void explain_shows_what_the_feeders_left(void) {
    start(2, 11000);
    struct v2g_trace trace;
    s.plan.feeder[0].import_w = 14000;
    v2g_explain(&s.config, &s.plan, &s.state, &s.image, s.now_ns, 0, &trace);
    CHECK_EQ(trace.charge_w[4], 3000);
    CHECK_EQ(trace.reason_charge[4], V2G_SITE_LIMIT);
    CHECK_EQ(trace.discharge_w[4], 22000);
    CHECK_EQ(trace.charge_w[6], 22000);
    CHECK_EQ(trace.charge_w[7], 3000);
    CHECK_EQ(trace.reason_charge[7], V2G_SITE_LIMIT);
    CHECK_EQ(trace.discharge_w[7], 0);
    CHECK_EQ(trace.reason_discharge[7], s.out.evse[0].reason_min);
    CHECK_EQ(trace.wish_w, 11000);
    start(2, -11000);
    s.plan.feeder[0].export_w = 14000;
    v2g_explain(&s.config, &s.plan, &s.state, &s.image, s.now_ns, 0, &trace);
    CHECK_EQ(trace.discharge_w[4], 3000);
    CHECK_EQ(trace.reason_discharge[4], V2G_SITE_LIMIT);
    CHECK_EQ(trace.discharge_w[7], 3000);
    CHECK_EQ(trace.charge_w[7], 0);
}

static void counted_energy_saturates(void) {
    start(1, 20000);
    const int64_t most = INT64_C(1) << 56;
    s.state.estimate[0].counted_w_ms = most - 1;
    site_step(&s);
    CHECK_EQ(s.state.estimate[0].counted_w_ms, most);
    start(1, -20000);
    s.state.estimate[0].counted_w_ms = 1 - most;
    site_step(&s);
    CHECK_EQ(s.state.estimate[0].counted_w_ms, -most);
}

static void what_a_new_config_does_not_know_starts_tight(void) {
    start(2, -11000);
    static struct v2g_config next;
    static struct v2g_state state;
    static struct v2g_image image;
    next = s.config;
    next.feeders = 4;
    site_feeder(&next.feeder[1], 1001, 0, 1, 23000);        /* a new one */
    site_feeder(&next.feeder[2], 1000, 0, 2, 23000);        /* the old one at a new place */
    site_feeder(&next.feeder[3], 1003, 0, V2G_NONE, 23000); /* without a meter */
    next.feeder[0].key = 1004;
    next.meters = 3;
    next.evse[1].key = 77;
    s.image.health = 5;
    s.image.cycle = 99;
    v2g_state_migrate(&s.config, &s.state, &next, &state);
    v2g_image_migrate(&s.config, &s.image, &next, &image);
    CHECK_EQ(state.damaged, 0);
    CHECK_EQ(state.evse[0].target_w, -11000);
    CHECK_EQ(state.estimate[0].anchor_soc, 6000);
    CHECK_EQ(state.evse[1].target_w, 0);
    CHECK((state.evse[1].latch & V2G_LATCH_START) != 0);
    CHECK_EQ(state.estimate[1].anchor_soc, -1);
    CHECK_EQ(state.feeder[0].lost, 1);
    CHECK_EQ(state.feeder[1].lost, 1);
    CHECK_EQ(state.feeder[2].lost, 0);
    CHECK_EQ(image.health, 5);
    CHECK_EQ(image.cycle, 99);
    CHECK_MEM_EQ(&image.evse[0], &s.image.evse[0], sizeof image.evse[0]);
    CHECK_EQ(image.evse[1].valid, 0);
    CHECK_EQ(image.evse[1].acquired_ns[V2G_F_SOC], V2G_NEVER);
    CHECK_EQ(image.evse[1].changed_ns[V2G_F_SOC], V2G_NEVER);
    CHECK_EQ(image.meter[0].acquired_ns[V2G_M_P_TOTAL], V2G_NEVER);
    CHECK_EQ(image.meter[1].changed_ns[V2G_M_P_TOTAL], V2G_NEVER);
    CHECK_MEM_EQ(&image.meter[2], &s.image.meter[0], sizeof image.meter[2]);
    /* A feeder that had no meter brings none, and one that loses its meter takes none. */
    s.config.feeder[0].meter = V2G_NONE;
    v2g_image_migrate(&s.config, &s.image, &next, &image);
    CHECK_EQ(image.meter[2].valid, 0);
    s.config.feeder[0].meter = 0;
    next.feeder[2].meter = V2G_NONE;
    v2g_image_migrate(&s.config, &s.image, &next, &image);
    CHECK_EQ(image.meter[2].valid, 0);
}

static void under_the_safe_plan_nothing_flows_and_no_lease_lives(void) {
    start(2, 11000);
    v2g_plan_safe(&s.plan, &s.config);
    CHECK_EQ(s.plan.abi, V2G_ABI);
    CHECK_EQ(s.plan.boot_id, s.config.boot_id);
    CHECK_EQ(s.plan.config_epoch, s.config.epoch);
    CHECK_EQ(s.plan.made_ns, V2G_NEVER);
    CHECK_EQ(s.plan.evse[V2G_MAX_EVSES - 1].until_ns, V2G_NEVER);
    CHECK_EQ(s.plan.feeder[V2G_MAX_FEEDERS - 1].until_ns, V2G_NEVER);
    s.python_up = false;
    site_step(&s);
    CHECK_EQ(target(0), 0);
    CHECK_EQ(s.out.evse[0].reason_max, V2G_ERR_SIG_TIMEOUT);
    CHECK_EQ(s.out.evse[0].valid_until_ns, s.now_ns + 1000 * SITE_MS);
}

CHECK_MAIN(CASE(a_healthy_site_charges_as_asked), CASE(a_healthy_site_discharges_as_asked),
           CASE(nothing_flows_before_inputs_have_come_three_times),
           CASE(an_evse_whose_fallback_is_not_as_wanted_charges_and_never_discharges),
           CASE(a_lost_evse_is_booked_at_its_rating_when_its_fallback_is_not_as_wanted),
           CASE(a_vehicle_at_its_floor_is_not_discharged_until_the_hysteresis_is_over),
           CASE(a_vehicle_without_soc_charges_and_never_discharges),
           CASE(a_hot_connector_derates_then_stops_and_latches_until_cool_for_a_minute),
           CASE(a_lost_temperature_sensor_forbids_discharge_and_halves_charging),
           CASE(bidirectional_capability_is_learnt_not_assumed), CASE(an_emergency_stop_acts_in_the_same_cycle),
           CASE(other_load_takes_room_from_charging_in_the_same_cycle), CASE(a_constant_overload_does_not_spiral),
           CASE(discharge_earns_no_room_for_charging), CASE(a_load_whose_phases_are_unknown_may_be_base_load_unless_it_is_even),
           CASE(a_single_phase_vehicle_is_booked_on_its_phase), CASE(a_lost_meter_leaves_the_static_share_and_no_discharge),
           CASE(a_frozen_meter_is_lost_although_it_answers), CASE(a_stalled_python_leaves_the_after_bounds),
           CASE(expiry_never_loosens), CASE(a_silent_evse_is_safe_and_returns_slowly),
           CASE(the_way_back_from_a_fail_safe_is_slow_from_its_first_step),
           CASE(an_evse_that_does_not_follow_is_stopped_and_booked_at_what_it_draws),
           CASE(unplugging_voids_soc_capability_and_target), CASE(a_lock_out_stops_both_directions),
           CASE(a_reversal_passes_zero), CASE(the_ramp_bounds_only_the_way_up), CASE(less_than_the_device_minimum_is_nothing),
           CASE(without_real_time_there_is_no_discharge_except_in_a_lab), CASE(a_flipped_bit_in_a_limit_makes_everything_safe),
           CASE(a_plan_from_another_boot_or_with_an_endless_lease_is_refused),
           CASE(a_new_config_carries_the_sessions_over_by_key), CASE(explain_shows_the_row_that_binds_and_changes_nothing),
           CASE(the_thermal_model_warms_up_like_its_equation), CASE(a_connector_that_heats_up_fast_is_derated_before_it_is_hot),
           CASE(a_connector_hotter_than_its_model_calls_for_maintenance),
           CASE(a_frozen_soc_is_doubted_once_enough_energy_has_flowed), CASE(a_jumping_soc_is_doubted_at_once),
           CASE(an_soc_that_follows_the_energy_is_believed),
           CASE(a_hot_connector_stays_latched_over_a_restart_until_it_was_cool_for_a_minute),
           CASE(an_evse_that_did_not_follow_needs_a_new_word_even_after_a_restart), CASE(safe_stays_until_a_new_config),
           CASE(each_broken_seal_is_found), CASE(a_table_of_zeros_does_not_fit_a_seal_of_zero),
           CASE(a_sealed_limit_that_makes_no_sense_stops_everything),
           CASE(tables_that_claim_more_than_they_hold_are_not_read_beyond_their_end), CASE(the_last_check_knows_every_promise),
           CASE(the_last_check_adds_up_each_feeder_on_the_way), CASE(an_soc_below_zero_is_no_soc),
           CASE(the_grid_forbids_a_direction_by_its_reason), CASE(bounds_that_contradict_each_other_give_nothing),
           CASE(a_feeder_limit_that_is_over_leaves_its_after_bounds), CASE(the_smallest_fuse_of_eight_levels_binds),
           CASE(explain_shows_what_the_feeders_left), CASE(counted_energy_saturates),
           CASE(what_a_new_config_does_not_know_starts_tight), CASE(under_the_safe_plan_nothing_flows_and_no_lease_lives))
