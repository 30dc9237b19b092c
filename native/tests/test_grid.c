/* What the grid's frequency and voltage forbid and ask for: a site under IEEE 1547 category III at 60 Hz, 240 V, and a Nordic one. */
#include "check.h"

#include "site.h"
#include "v2g_site.h"

enum { NOMINAL_DV = 2400 };

static struct site s;
static struct v2g_site_config control;
static struct v2g_site_plan wish;
static struct v2g_site_state memory;
static struct v2g_site_view view;
static int32_t frequency_mhz, voltage_dv[3];
static bool grid_meter_up;

static void watch(uint32_t at, uint8_t kind, uint8_t over, uint8_t cease, int32_t limit, int64_t delay_ms) {
    control.grid.watch[at] =
        (struct v2g_grid_watch){.kind = kind, .over = over, .cease = cease, .limit = limit, .delay_ns = delay_ms * SITE_MS};
}

static void open_grid(uint32_t evses) {
    site_init(&s, evses);
    memset(&control, 0, sizeof control);
    v2g_site_init(&memory);
    wish = (struct v2g_site_plan){0};
    struct v2g_grid_config *grid = &control.grid;
    *grid = (struct v2g_grid_config){.present = 1,
                                     .meters = 1,
                                     .age_ns = {300 * SITE_MS},
                                     .nominal_mhz = 60000,
                                     .nominal_dv = NOMINAL_DV,
                                     .phases = 7,
                                     .trips = 1,
                                     .enter_low_mhz = 59500,
                                     .enter_high_mhz = 60100,
                                     .enter_low_dv = 2201,
                                     .enter_high_dv = 2520,
                                     .enter_delay_ns = 5000 * SITE_MS,
                                     .enter_ramp_ns = 10000 * SITE_MS,
                                     .enter_step_q32 = 4294967};
    watch(0, V2G_WATCH_VOLTAGE, 1, 0, 2880, 160);
    watch(1, V2G_WATCH_VOLTAGE, 0, 0, 2112, 2000);
    watch(2, V2G_WATCH_VOLTAGE, 0, 1, 1200, 0);
    watch(3, V2G_WATCH_FREQUENCY, 1, 0, 62000, 160);
    watch(4, V2G_WATCH_FREQUENCY, 0, 0, 58500, 3000);
    for (uint32_t i = 0; i < evses; i++) {
        s.config.evse[i].ramp_frequency_q8 = 22000 * 2 * 256 / 100;
        control.response_ns[i] = 100 * SITE_MS;
    }
    v2g_config_seal(&s.config);
    CHECK_EQ(v2g_site_check(&control, &s.config), 0);
    frequency_mhz = 60000;
    voltage_dv[0] = voltage_dv[1] = voltage_dv[2] = NOMINAL_DV;
    grid_meter_up = true;
}

static void droop(void) { /* 36 mHz, 5 %: all of the rating at 3 Hz beyond the deadband */
    control.grid.answer[0] =
        (struct v2g_grid_answer){.scale_q16 = 65536, .from_mhz = {36, 36}, .slope_q24 = {(1 << 24) / 3000, (1 << 24) / 3000}};
}

static void tell_meter(uint32_t m) {
    struct v2g_meter_in *in = &s.image.meter[m];
    for (int phase = 0; phase < 3; phase++)
        in->value[V2G_M_U_L1 + phase] = voltage_dv[phase];
    in->value[V2G_M_FREQUENCY] = frequency_mhz;
    for (int field = V2G_M_U_L1; field <= V2G_M_FREQUENCY; field++)
        in->acquired_ns[field] = s.now_ns;
}

static void grid_step(void) {
    s.now_ns += SITE_PERIOD_MS * SITE_MS;
    s.plan.epoch++;
    s.plan.made_ns = s.now_ns;
    s.plan.lease_ns = s.now_ns + 2000 * SITE_MS;
    for (uint32_t i = 0; i < s.config.evses; i++)
        s.plan.evse[i].until_ns = s.plan.lease_ns;
    s.plan.feeder[0].until_ns = s.plan.lease_ns;
    site_measure(&s);
    if (grid_meter_up)
        tell_meter(0);
    v2g_estimate(&s.config, &s.state, &s.image, s.now_ns);
    v2g_site_propose(&s.config, &control, &s.plan, &wish, &s.state, &s.out, s.now_ns, &memory, &s.image, &view);
    v2g_enforce(&s.config, &s.plan, &s.state, &s.image, s.now_ns, &s.out);
}

static void grid_run(int64_t ms) {
    for (int64_t t = 0; t < ms; t += SITE_PERIOD_MS)
        grid_step();
}

static void charging_site(void) {
    open_grid(1);
    site_wish(&s, 10000);
    grid_run(12000);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
}

/* ---- Trips ----------------------------------------------------------------------------------------------------------------- */

static void a_voltage_beyond_its_limit_for_its_delay_trips_and_service_is_entered_along_a_ramp(void) {
    charging_site();
    voltage_dv[1] = 2900; /* one phase is enough */
    grid_run(150);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
    grid_run(50); /* 160 ms and at most four periods */
    CHECK_EQ(s.out.evse[0].target_w, 0);
    CHECK_EQ(s.out.evse[0].reason, V2G_GRID_VOLTAGE);
    CHECK_EQ(view.service, V2G_GRID_OUT);
    voltage_dv[1] = NOMINAL_DV;
    grid_run(4900);
    CHECK_EQ(view.service, V2G_GRID_WAITING);
    CHECK_EQ(s.out.evse[0].reason, V2G_ENTER_SERVICE);
    CHECK_EQ(s.out.evse[0].target_w, 0);
    grid_run(2500); /* a good second into the ramp: two of ten seconds */
    CHECK_EQ(view.service, V2G_GRID_ENTERING);
    CHECK(s.out.evse[0].target_w > 4000 && s.out.evse[0].target_w < 6000);
    CHECK_EQ(s.out.evse[0].reason, V2G_ENTER_SERVICE);
    grid_run(10000);
    CHECK_EQ(view.service, V2G_GRID_IN);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
}

static void a_narrow_feeder_binds_below_the_ramp_of_entering_service(void) {
    charging_site();
    voltage_dv[1] = 2900;
    grid_run(200);
    CHECK_EQ(view.service, V2G_GRID_OUT);
    voltage_dv[1] = NOMINAL_DV;
    s.plan.feeder[0].import_w = 5000;
    grid_run(13000); /* 5 s of waiting, 8 of the ramp's 10: 17 kW */
    CHECK_EQ(view.service, V2G_GRID_ENTERING);
    CHECK(s.out.evse[0].target_w > 4500 && s.out.evse[0].target_w <= 5000);
    CHECK_EQ(s.out.evse[0].reason, V2G_SITE_LIMIT);
}

static void a_disturbance_while_waiting_begins_the_delay_anew(void) {
    charging_site();
    frequency_mhz = 62500;
    grid_run(300);
    CHECK_EQ(view.reason, V2G_GRID_FREQUENCY);
    frequency_mhz = 60000;
    grid_run(4000);
    frequency_mhz = 60200; /* inside the trips, outside the window of entering service */
    grid_run(20);
    CHECK_EQ(view.service, V2G_GRID_OUT);
    frequency_mhz = 60000;
    grid_run(4000);
    CHECK_EQ(view.service, V2G_GRID_WAITING);
    CHECK_EQ(s.out.evse[0].target_w, 0);
}

static void one_bad_sample_never_trips(void) {
    charging_site();
    watch(0, V2G_WATCH_VOLTAGE, 1, 0, 2880, 0);
    voltage_dv[0] = 9000;
    grid_step();
    grid_meter_up = false; /* the same sample, seen again and again */
    grid_run(200);
    CHECK_EQ(view.service, V2G_GRID_IN);
    grid_meter_up = true;
    voltage_dv[0] = NOMINAL_DV;
    grid_run(100);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
    voltage_dv[0] = 2900;
    grid_run(30); /* three samples that agree */
    CHECK_EQ(s.out.evse[0].target_w, 0);
}

static void of_two_meters_the_one_nearer_to_nominal_counts_and_of_three_the_middle_one(void) {
    charging_site();
    s.config.meters = control.grid.meters = 2;
    control.grid.meter[1] = 1;
    control.grid.age_ns[1] = control.grid.age_ns[0];
    s.image.meter[1].valid = s.image.meter[0].valid;
    for (int i = 0; i < 100; i++) {
        frequency_mhz = 60000;
        tell_meter(1);
        frequency_mhz = 63000;
        grid_step();
        tell_meter(1);
        s.image.meter[1].value[V2G_M_FREQUENCY] = 60000;
    }
    CHECK_EQ(view.service, V2G_GRID_IN);
    CHECK_EQ(view.frequency_mhz, 60000);
    tell_meter(1);
    s.image.meter[1].value[V2G_M_FREQUENCY] = 60000;
    frequency_mhz = 57000; /* now the nearer one is the higher one */
    grid_step();
    CHECK_EQ(view.frequency_mhz, 60000);
    frequency_mhz = 63000;
    control.grid.meters = 3;
    control.grid.meter[2] = 2;
    control.grid.age_ns[2] = control.grid.age_ns[0];
    s.image.meter[2] = s.image.meter[1];
    s.image.meter[2].value[V2G_M_FREQUENCY] = 59000;
    s.image.meter[1].value[V2G_M_FREQUENCY] = 59900;
    for (int field = V2G_M_U_L1; field <= V2G_M_FREQUENCY; field++)
        s.image.meter[1].acquired_ns[field] = s.image.meter[2].acquired_ns[field] = s.now_ns;
    grid_step();
    CHECK_EQ(view.frequency_mhz, 59900);
}

static void momentary_cessation_ends_with_its_cause(void) {
    charging_site();
    voltage_dv[2] = 1100;
    grid_run(40);
    CHECK_EQ(s.out.evse[0].target_w, 0);
    CHECK_EQ(s.out.evse[0].reason, V2G_GRID_VOLTAGE);
    CHECK_EQ(view.service, V2G_GRID_IN);
    voltage_dv[2] = NOMINAL_DV;
    grid_run(400);
    CHECK_EQ(view.reason, V2G_REASON_NONE);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
}

static void whoever_lost_the_grid_meter_does_not_discharge(void) {
    open_grid(1);
    site_wish(&s, -8000);
    grid_run(12000);
    CHECK_EQ(s.out.evse[0].target_w, -8000);
    grid_meter_up = false;
    grid_run(400);
    CHECK_EQ(s.out.evse[0].target_w, 0);
    CHECK_EQ(s.out.evse[0].reason, V2G_STALE_METER);
    CHECK_EQ(view.present & 2u, 0);
}

static void an_impossible_reading_is_no_reading(void) {
    charging_site();
    frequency_mhz = 39000;
    grid_run(30);
    CHECK_EQ(view.present & 2u, 0);
    frequency_mhz = 71000;
    grid_run(30);
    CHECK_EQ(view.present & 2u, 0);
    CHECK_EQ(view.service, V2G_GRID_IN); /* lost is not tripped */
    frequency_mhz = 60000;
    grid_run(30);
    CHECK_EQ(view.present & 2u, 2);
}

static void without_a_ramp_service_is_entered_whole(void) {
    open_grid(1);
    control.grid.enter_ramp_ns = 0;
    v2g_site_restore_out(&memory);
    grid_run(5020);
    CHECK_EQ(view.service, V2G_GRID_IN);
}

static void a_process_that_ended_out_of_service_enters_it_anew(void) {
    open_grid(1);
    v2g_site_restore_out(&memory);
    site_wish(&s, 10000);
    grid_run(4900);
    CHECK_EQ(s.out.evse[0].target_w, 0);
    CHECK_EQ(view.service, V2G_GRID_WAITING);
    CHECK(view.enter_ns > s.now_ns);
    grid_run(20000);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
}

/* ---- Answers --------------------------------------------------------------------------------------------------------------- */

static void droop_moves_the_setpoint_in_the_cycle_in_which_the_frequency_shows(void) {
    charging_site();
    droop();
    frequency_mhz = 59664; /* 300 mHz below the deadband: a tenth of 22 kW less */
    grid_step();
    CHECK(s.out.evse[0].target_w >= 7790 && s.out.evse[0].target_w <= 7810);
    CHECK_EQ(s.out.evse[0].reason, V2G_GRID_FREQUENCY);
    CHECK_EQ(view.offset_q16, -6553);
    frequency_mhz = 60336;
    grid_run(200);
    CHECK(s.out.evse[0].target_w >= 12190 && s.out.evse[0].target_w <= 12210);
    frequency_mhz = 59970; /* inside the deadband */
    grid_step();
    CHECK_EQ(s.out.evse[0].target_w, 10000);
    CHECK_EQ(s.out.evse[0].reason, V2G_REASON_NONE);
}

static void nothing_answers_a_frequency_that_shows_a_wrong_nominal_one(void) {
    charging_site();
    droop();
    control.grid.trips = 0;
    frequency_mhz = 60000 - V2G_GRID_REACH_MHZ;
    grid_step();
    CHECK_EQ(view.offset_q16, -65536);
    frequency_mhz = 50000; /* nominal_hz: 60 at a 50 Hz grid */
    grid_run(1000);
    CHECK_EQ(view.offset_q16, 0);
    CHECK_EQ(s.out.evse[0].target_w, 10000);
}

static void droop_turns_a_charging_vehicle_round_and_stays_inside_its_limits(void) {
    charging_site();
    droop();
    frequency_mhz = 58600; /* 1364 mHz below the deadband: 10 kW less, so 0.0 kW; still no trip */
    grid_run(1000);
    CHECK(s.out.evse[0].target_w <= 0 && s.out.evse[0].target_w > -100);
    s.plan.evse[0].target_w = -20000;
    grid_run(1500);
    CHECK_EQ(s.out.evse[0].target_w, -22000);
}

static void an_open_loop_response_goes_nine_tenths_of_its_way_in_its_time(void) {
    charging_site();
    droop();
    control.grid.answer[0].lag_q32 = 19735086; /* 1 - exp(-0.01 / (5 s / ln 10)) */
    frequency_mhz = 60336;
    grid_run(5000);
    CHECK(s.out.evse[0].target_w > 11960 && s.out.evse[0].target_w < 12000); /* 90 % of 2.2 kW */
    grid_run(40000);
    CHECK(s.out.evse[0].target_w >= 12190);
}

static void a_frequency_service_holds_and_answers_again_only_when_armed(void) {
    open_grid(1);
    control.grid.trips = 0;
    control.grid.nominal_mhz = 50000;
    control.grid.phases = 0;
    control.grid.answer[0] = (struct v2g_grid_answer){
        .scale_q16 = 32768, .trigger_mhz = 49700, .rearm_mhz = 49900, .hold_ns = 1000 * SITE_MS, .rearm_ns = 500 * SITE_MS};
    frequency_mhz = 50000;
    site_wish(&s, 15000);
    grid_run(12000);
    frequency_mhz = 49690;
    grid_step();
    CHECK_EQ(s.out.evse[0].target_w, 4000); /* 11 kW less at once: towards 0 there is no ramp */
    frequency_mhz = 50000;
    grid_run(980);
    CHECK_EQ(s.out.evse[0].target_w, 4000);
    grid_run(40);
    CHECK(s.out.evse[0].target_w > 4000);
    frequency_mhz = 49690; /* not armed again yet */
    grid_run(100);
    CHECK_EQ(view.offset_q16, 0);
    frequency_mhz = 50000;
    grid_run(600);
    frequency_mhz = 49690;
    grid_step();
    CHECK_EQ(view.offset_q16, -32768);
}

static void a_frequency_service_is_given_back_slowly_and_taken_at_once(void) {
    open_grid(1);
    control.grid.trips = 0;
    control.grid.nominal_mhz = 50000;
    control.grid.phases = 0;
    control.grid.answer[0] = (struct v2g_grid_answer){.scale_q16 = 65536,
                                                      .trigger_mhz = 49700,
                                                      .rearm_mhz = 49900,
                                                      .back_q32 = 7152319, /* 1 - exp(-0.01 / 6): 6 s */
                                                      .hold_ns = 1000 * SITE_MS,
                                                      .rearm_ns = 2000 * SITE_MS};
    frequency_mhz = 49690;
    grid_step();
    CHECK_EQ(view.offset_q16, -65536);
    frequency_mhz = 50000; /* it comes back long before: neither the hold nor the way back is shorter for it */
    grid_run(990);
    CHECK_EQ(view.offset_q16, -65536);
    for (int second = 0; second < 6; second++) {
        int32_t before_q16 = view.offset_q16;
        grid_run(1000);
        CHECK(view.offset_q16 > before_q16 && view.offset_q16 - before_q16 <= 65536 / 5); /* at most 20 % a second */
    }
    CHECK(view.offset_q16 > -24700 && view.offset_q16 < -23500); /* 1/e is left after 6 s */
    frequency_mhz = 49690;
    grid_step();
    CHECK_EQ(view.offset_q16, -65536);
    frequency_mhz = 50000;
    grid_run(130000);
    CHECK_EQ(view.offset_q16, 0);
}

static void volt_watt_limits_discharging_at_high_voltage(void) {
    open_grid(1);
    control.grid.volt_watt_from_dv = 2544;
    control.grid.volt_watt_to_dv = 2640;
    control.grid.volt_watt_slope_q24 = (int32_t)(0.8 / 96 * (1 << 24));
    control.grid.volt_watt_least_q16 = 13107;
    site_wish(&s, -20000);
    grid_run(14000);
    CHECK_EQ(s.out.evse[0].target_w, -20000);
    voltage_dv[0] = 2592; /* half-way: 60 % of 22 kW */
    grid_step();
    CHECK(s.out.evse[0].target_w >= -13210 && s.out.evse[0].target_w <= -13190);
    CHECK_EQ(s.out.evse[0].reason_min, V2G_GRID_VOLTAGE);
    voltage_dv[0] = 2800;
    grid_step();
    CHECK(s.out.evse[0].target_w >= -4400 && s.out.evse[0].target_w <= -4390);
}

CHECK_MAIN(CASE(a_voltage_beyond_its_limit_for_its_delay_trips_and_service_is_entered_along_a_ramp),
           CASE(a_narrow_feeder_binds_below_the_ramp_of_entering_service),
           CASE(a_disturbance_while_waiting_begins_the_delay_anew), CASE(one_bad_sample_never_trips),
           CASE(of_two_meters_the_one_nearer_to_nominal_counts_and_of_three_the_middle_one),
           CASE(momentary_cessation_ends_with_its_cause), CASE(whoever_lost_the_grid_meter_does_not_discharge),
           CASE(an_impossible_reading_is_no_reading), CASE(without_a_ramp_service_is_entered_whole),
           CASE(a_process_that_ended_out_of_service_enters_it_anew),
           CASE(droop_moves_the_setpoint_in_the_cycle_in_which_the_frequency_shows),
           CASE(nothing_answers_a_frequency_that_shows_a_wrong_nominal_one),
           CASE(droop_turns_a_charging_vehicle_round_and_stays_inside_its_limits),
           CASE(an_open_loop_response_goes_nine_tenths_of_its_way_in_its_time),
           CASE(a_frequency_service_holds_and_answers_again_only_when_armed),
           CASE(a_frequency_service_is_given_back_slowly_and_taken_at_once), CASE(volt_watt_limits_discharging_at_high_voltage))
