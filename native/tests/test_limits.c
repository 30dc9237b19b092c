/* What a config and a plan may say: each field at its bounds is taken, one step further is refused, and the answer names the place. */
#include "check.h"
#include "site.h"

#include <stddef.h>

enum { EVSE = 1, FEEDER = 1, TABLE = 2 }; /* the places at which every field is tried */

static struct site s;

/* Two EVSEs below two feeders, with the widest limits: so that each field can be tried alone. */
static void wide_site(void) {
    site_init(&s, 2);
    struct v2g_config *c = &s.config;
    c->feeders = 2;
    site_feeder(&c->feeder[FEEDER], 1001, 0, 0, 1000000);
    for (int lane = 0; lane < V2G_LANES; lane++) {
        c->feeder[FEEDER].import_w[lane] = V2G_POWER_MAX_W;
        c->feeder[FEEDER].fallback_w[lane] = 0;
    }
    c->feeder[FEEDER].share_w = 0;
    struct v2g_evse_config *e = &c->evse[EVSE];
    e->rating_charge_w = e->rating_discharge_w = V2G_POWER_MAX_W;
    e->fallback_charge_w = e->sensor_lost_charge_w = 0;
    e->contact_q44 = e->cable_q44 = 0;
    e->soc_floor = 0;
    for (int step = 0; step < V2G_DERATE_STEPS; step++) {
        c->derate[TABLE].limit_w[step] = 0;
    }
    v2g_config_seal(c);
    CHECK_EQ(v2g_config_check(c), 0);
}

static uint32_t at(enum v2g_fault fault, uint32_t index) {
    return (uint32_t)fault << 16 | index;
}

#define TAKEN(...)                                                                                                             \
    do {                                                                                                                       \
        wide_site();                                                                                                           \
        __VA_ARGS__;                                                                                                           \
        v2g_config_seal(&s.config);                                                                                            \
        CHECK_EQ(v2g_config_check(&s.config), 0);                                                                              \
    } while (0)
#define REFUSED(fault, index, ...)                                                                                             \
    do {                                                                                                                       \
        wide_site();                                                                                                           \
        __VA_ARGS__;                                                                                                           \
        v2g_config_seal(&s.config);                                                                                            \
        CHECK_EQ(v2g_config_check(&s.config), at(fault, index));                                                               \
    } while (0)
#define BETWEEN(fault, index, field, low, high)                                                                                \
    do {                                                                                                                       \
        TAKEN(field = (low));                                                                                                  \
        TAKEN(field = (high));                                                                                                 \
        REFUSED(fault, index, field = (low) - 1);                                                                              \
        REFUSED(fault, index, field = (high) + 1);                                                                             \
    } while (0)

#define HOUR_NS (INT64_C(3600) * 1000000000)

static void each_number_of_an_evse_has_its_range(void) {
    struct v2g_evse_config *e = &s.config.evse[EVSE];
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->rating_charge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->rating_discharge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->min_charge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->min_discharge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->fallback_charge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->fallback_discharge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->sensor_lost_charge_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_POWER, EVSE, e->follow_tolerance_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_EVSE_SOC, EVSE, e->soc_floor, 0, V2G_SOC_MAX);
    BETWEEN(V2G_FAULT_EVSE_SOC, EVSE, e->soc_ceiling, 0, V2G_SOC_MAX);
    BETWEEN(V2G_FAULT_EVSE_SOC, EVSE, e->soc_hysteresis, 0, V2G_SOC_MAX);
    BETWEEN(V2G_FAULT_EVSE_SOC, EVSE, e->soc_margin, 0, V2G_SOC_MAX);
    BETWEEN(V2G_FAULT_EVSE_DERATE, EVSE, e->cell_cold, V2G_TEMP_MIN, V2G_TEMP_MAX);
    BETWEEN(V2G_FAULT_EVSE_RAMP, EVSE, e->ramp_q8, 1, V2G_POWER_MAX_W * 256);
    BETWEEN(V2G_FAULT_EVSE_RAMP, EVSE, e->ramp_return_q8, 1, V2G_POWER_MAX_W * 256);
    BETWEEN(V2G_FAULT_EVSE_RAMP, EVSE, e->ramp_frequency_q8, 0, V2G_POWER_MAX_W * 256);
    BETWEEN(V2G_FAULT_EVSE_AGE, EVSE, e->link_age_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_EVSE_AGE, EVSE, e->soc_age_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_EVSE_AGE, EVSE, e->temp_age_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_EVSE_AGE, EVSE, e->phase_age_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_EVSE_AGE, EVSE, e->limits_age_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_EVSE_AGE, EVSE, e->reaction_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_EVSE_MODEL, EVSE, e->ambient, V2G_TEMP_MIN, V2G_TEMP_MAX);
    BETWEEN(V2G_FAULT_EVSE_MODEL, EVSE, e->contact_alarm, V2G_TEMP_MIN, V2G_TEMP_MAX);
    BETWEEN(V2G_FAULT_EVSE_MODEL, EVSE, e->soc_tolerance, 0, V2G_SOC_MAX);
}

static void limits_of_an_evse_fit_each_other(void) {
    struct v2g_evse_config *e = &s.config.evse[EVSE];
    TAKEN(e->rating_charge_w = e->fallback_charge_w = e->sensor_lost_charge_w = 5000);
    REFUSED(V2G_FAULT_EVSE_POWER, EVSE, e->rating_charge_w = 4999; e->fallback_charge_w = 5000);
    REFUSED(V2G_FAULT_EVSE_POWER, EVSE, e->rating_charge_w = 4999; e->sensor_lost_charge_w = 5000);
    TAKEN(e->rating_discharge_w = e->fallback_discharge_w = 5000);
    REFUSED(V2G_FAULT_EVSE_POWER, EVSE, e->rating_discharge_w = 4999; e->fallback_discharge_w = 5000);
    TAKEN(e->soc_floor = e->soc_ceiling = 5000);
    REFUSED(V2G_FAULT_EVSE_SOC, EVSE, e->soc_floor = 5001; e->soc_ceiling = 5000);
}

static void a_steady_rise_at_full_rating_stays_a_temperature(void) {
    struct v2g_evse_config *e = &s.config.evse[EVSE];
    /* (300 K << 44) / 10000^2 is 527765581.3. */
    TAKEN(e->rating_charge_w = 10000; e->contact_q44 = 527765581);
    TAKEN(e->rating_charge_w = 10000; e->cable_q44 = 527765581);
    REFUSED(V2G_FAULT_EVSE_MODEL, EVSE, e->rating_charge_w = 10000; e->contact_q44 = 527765582);
    REFUSED(V2G_FAULT_EVSE_MODEL, EVSE, e->rating_charge_w = 10000; e->cable_q44 = 527765582);
    TAKEN(e->rating_charge_w = 0; e->contact_q44 = UINT32_MAX);
}

static void an_evse_has_an_identity_a_feeder_phases_and_tables(void) {
    struct v2g_evse_config *e = &s.config.evse[EVSE];
    REFUSED(V2G_FAULT_EVSE_KEY, EVSE, e->key = 0);
    REFUSED(V2G_FAULT_EVSE_KEY, EVSE, e->key = s.config.evse[0].key);
    TAKEN(e->feeder = 1);
    REFUSED(V2G_FAULT_EVSE_FEEDER, EVSE, e->feeder = 2);
    static const struct {
        uint8_t phases, count;
    } sets[] = {{1, 1}, {2, 1}, {4, 1}, {3, 2}, {5, 2}, {6, 2}, {7, 3}};
    for (size_t k = 0; k < sizeof sets / sizeof sets[0]; k++) {
        TAKEN(e->phases = sets[k].phases; e->phase_count = sets[k].count);
        REFUSED(V2G_FAULT_EVSE_PHASES, EVSE, e->phases = sets[k].phases; e->phase_count = (uint8_t)(sets[k].count + 1));
        REFUSED(V2G_FAULT_EVSE_PHASES, EVSE, e->phases = sets[k].phases; e->phase_count = (uint8_t)(sets[k].count - 1));
    }
    REFUSED(V2G_FAULT_EVSE_PHASES, EVSE, e->phases = 0; e->phase_count = 0);
    REFUSED(V2G_FAULT_EVSE_PHASES, EVSE, e->phases = 8; e->phase_count = 0);
    REFUSED(V2G_FAULT_EVSE_PHASES, EVSE, e->phases = 15; e->phase_count = 3);
    for (int sensor = 0; sensor < V2G_SENSORS; sensor++) {
        TAKEN(e->derate[sensor] = TABLE);
        REFUSED(V2G_FAULT_EVSE_DERATE, EVSE, e->derate[sensor] = TABLE + 1);
        TAKEN(e->derate[sensor] = V2G_NONE);
    }
}

static void each_number_of_a_feeder_has_its_range(void) {
    struct v2g_feeder_config *d = &s.config.feeder[FEEDER];
    for (int lane = 0; lane < V2G_LANES; lane++) {
        BETWEEN(V2G_FAULT_FEEDER_POWER, FEEDER, d->import_w[lane], 0, V2G_POWER_MAX_W);
        BETWEEN(V2G_FAULT_FEEDER_POWER, FEEDER, d->export_w[lane], 0, V2G_POWER_MAX_W);
        BETWEEN(V2G_FAULT_FEEDER_POWER, FEEDER, d->base_w[lane], 0, V2G_POWER_MAX_W);
        BETWEEN(V2G_FAULT_FEEDER_POWER, FEEDER, d->fallback_w[lane], 0, V2G_POWER_MAX_W);
    }
    BETWEEN(V2G_FAULT_FEEDER_POWER, FEEDER, d->share_w, 0, V2G_POWER_MAX_W);
    BETWEEN(V2G_FAULT_FEEDER_POWER, FEEDER, d->slew_q8, 0, V2G_POWER_MAX_W * 256);
    BETWEEN(V2G_FAULT_FEEDER_AGE, FEEDER, d->meter_age_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_FEEDER_AGE, FEEDER, d->liveness_age_ns, 0, HOUR_NS);
    BETWEEN(V2G_FAULT_FEEDER_AGE, FEEDER, d->refresh_ns, 0, HOUR_NS);
    TAKEN(d->meter = V2G_NONE);
    REFUSED(V2G_FAULT_FEEDER_METER, FEEDER, d->meter = 1);
}

static void a_fallback_fits_beside_the_declared_base_load(void) {
    struct v2g_feeder_config *d = &s.config.feeder[FEEDER];
    for (int lane = 0; lane < V2G_LANES; lane++) {
        TAKEN(d->import_w[lane] = 9000; d->base_w[lane] = 2000; d->fallback_w[lane] = 7000);
        REFUSED(V2G_FAULT_FEEDER_FALLBACK, FEEDER, d->import_w[lane] = 9000; d->base_w[lane] = 2000;
                d->fallback_w[lane] = 7001);
        TAKEN(d->import_w[lane] = 1000; d->base_w[lane] = 2000; d->fallback_w[lane] = 0); /* nothing is always possible */
    }
}

static void the_shares_of_all_evses_below_fit_the_fallback(void) {
    struct v2g_feeder_config *top = &s.config.feeder[0], *row = &s.config.feeder[FEEDER];
    TAKEN(top->fallback_w[V2G_LANE_TOTAL] = 8000; top->share_w = 4000);
    REFUSED(V2G_FAULT_FEEDER_FALLBACK, 0, top->fallback_w[V2G_LANE_TOTAL] = 7999; top->share_w = 4000);
    /* An EVSE counts on its own feeder and on each above it. */
    TAKEN(s.config.evse[EVSE].feeder = FEEDER; row->fallback_w[V2G_LANE_TOTAL] = 4000; row->share_w = 4000);
    REFUSED(V2G_FAULT_FEEDER_FALLBACK, FEEDER, s.config.evse[EVSE].feeder = FEEDER; row->share_w = 1);
    REFUSED(V2G_FAULT_FEEDER_FALLBACK, 0, s.config.evse[EVSE].feeder = FEEDER; top->fallback_w[V2G_LANE_TOTAL] = 7999;
            top->share_w = 4000);
}

static void feeders_form_one_tree_of_at_most_eight_levels(void) {
    struct v2g_feeder_config *d = s.config.feeder;
    REFUSED(V2G_FAULT_FEEDER_PARENT, 0, d[0].parent = 0);
    REFUSED(V2G_FAULT_FEEDER_PARENT, FEEDER, d[FEEDER].parent = FEEDER);
    REFUSED(V2G_FAULT_FEEDER_PARENT, FEEDER, d[FEEDER].parent = V2G_NONE);
    REFUSED(V2G_FAULT_FEEDER_PARENT, FEEDER, d[FEEDER].key = 0);
    for (uint32_t levels = V2G_MAX_DEPTH; levels <= V2G_MAX_DEPTH + 1; levels++) {
        wide_site();
        s.config.feeders = levels;
        for (uint32_t f = 2; f < levels; f++) {
            d[f] = d[FEEDER];
            d[f].key = 1000 + f;
            d[f].parent = (uint16_t)(f - 1);
        }
        v2g_config_seal(&s.config);
        CHECK_EQ(v2g_config_check(&s.config), levels <= V2G_MAX_DEPTH ? 0 : at(V2G_FAULT_FEEDER_PARENT, V2G_MAX_DEPTH));
    }
}

static void a_derate_table_falls_and_its_stop_lies_above_its_resume(void) {
    struct v2g_derate *t = &s.config.derate[TABLE];
    BETWEEN(V2G_FAULT_DERATE_TABLE, TABLE, t->start, V2G_TEMP_MIN, V2G_TEMP_MAX);
    TAKEN(t->stop = V2G_TEMP_MAX);
    REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->stop = V2G_TEMP_MAX + 1);
    TAKEN(t->stop = V2G_TEMP_MIN + 1; t->resume = V2G_TEMP_MIN);
    REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->resume = V2G_TEMP_MIN - 1);
    TAKEN(t->resume = t->stop - 1);
    REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->resume = t->stop);
    REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->stop = V2G_TEMP_MIN - 1; t->resume = V2G_TEMP_MIN - 2);
    REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->stop = V2G_TEMP_MAX; t->resume = V2G_TEMP_MAX + 1);
    BETWEEN(V2G_FAULT_DERATE_TABLE, TABLE, t->shift, 0, 8);
    BETWEEN(V2G_FAULT_DERATE_TABLE, TABLE, t->resume_hold_ns, 1, HOUR_NS);
    BETWEEN(V2G_FAULT_DERATE_TABLE, TABLE, t->limit_w[0], 0, V2G_POWER_MAX_W);
    for (int step = 1; step < V2G_DERATE_STEPS; step++) {
        REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->limit_w[step] = 1);
    }
    REFUSED(V2G_FAULT_DERATE_TABLE, TABLE, t->limit_w[V2G_DERATE_STEPS - 1] = -1);
    TAKEN(for (int step = 0; step < V2G_DERATE_STEPS; step++) t->limit_w[step] = 5000);
}

static void a_config_has_a_header_counts_and_a_period(void) {
    struct v2g_config *c = &s.config;
    REFUSED(V2G_FAULT_HEADER, 0, c->abi = V2G_ABI + 1);
    REFUSED(V2G_FAULT_HEADER, 0, c->epoch = 0);
    TAKEN(c->evses = 0; c->feeder[0].share_w = 0);
    REFUSED(V2G_FAULT_COUNT, 0, c->evses = V2G_MAX_EVSES + 1);
    REFUSED(V2G_FAULT_COUNT, 0, c->feeders = 0);
    REFUSED(V2G_FAULT_COUNT, 0, c->feeders = V2G_MAX_FEEDERS + 1);
    TAKEN(c->meters = V2G_MAX_METERS);
    REFUSED(V2G_FAULT_COUNT, 0, c->meters = V2G_MAX_METERS + 1);
    REFUSED(V2G_FAULT_COUNT, 0, c->derates = V2G_MAX_DERATES + 1);
    BETWEEN(V2G_FAULT_PERIOD, 0, c->period_ns, 1000000, 50000000);
}

static void the_largest_site_is_taken(void) {
    site_init(&s, V2G_MAX_EVSES);
    s.config.feeders = V2G_MAX_FEEDERS;
    for (uint32_t f = 1; f < V2G_MAX_FEEDERS; f++) {
        site_feeder(&s.config.feeder[f], 1000 + f, (uint16_t)((f - 1) / 2), 0, 23000);
    }
    s.config.derates = V2G_MAX_DERATES;
    for (uint32_t d = 0; d < V2G_MAX_DERATES; d++) {
        s.config.derate[d] = s.config.derate[0];
    }
    v2g_config_seal(&s.config);
    CHECK_EQ(v2g_config_check(&s.config), 0);
}

static void the_first_bad_place_is_named(void) {
    REFUSED(V2G_FAULT_DERATE_TABLE, 0, s.config.derate[0].shift = 9; s.config.derate[1].shift = 9; s.config.feeder[0].key = 0);
    REFUSED(V2G_FAULT_FEEDER_PARENT, 0, s.config.feeder[0].key = s.config.feeder[1].key = 0; s.config.evse[0].key = 0);
    REFUSED(V2G_FAULT_EVSE_KEY, 0, s.config.evse[0].key = 0; s.config.evse[1].key = 0; s.config.feeder[0].share_w = 60000);
}

static void a_limit_that_does_not_fit_its_seal_is_refused(void) {
    wide_site();
    s.config.evse[EVSE].soc_floor++;
    CHECK_EQ(v2g_config_check(&s.config), at(V2G_FAULT_SEAL, EVSE));
    wide_site();
    s.config.feeder[FEEDER].slew_q8++;
    CHECK_EQ(v2g_config_check(&s.config), at(V2G_FAULT_SEAL, FEEDER));
    wide_site();
    s.config.derate[TABLE].resume--;
    CHECK_EQ(v2g_config_check(&s.config), at(V2G_FAULT_SEAL, TABLE));
    wide_site();
    s.config.option ^= V2G_CONFIG_GUARD_REQUIRED;
    CHECK_EQ(v2g_config_check(&s.config), at(V2G_FAULT_SEAL, 0));
}

/* ---- Plans ---- */

static void fresh_plan(void) {
    wide_site();
    s.plan.config_epoch = s.config.epoch;
    s.plan.epoch = 1;
    s.plan.made_ns = 0;
    s.plan.lease_ns = V2G_LEASE_MAX_MS * SITE_MS;
    s.plan.evse[EVSE] = (struct v2g_evse_plan){
        .min_w = -V2G_POWER_MAX_W, .max_w = V2G_POWER_MAX_W, .after_min_w = -V2G_POWER_MAX_W, .after_max_w = V2G_POWER_MAX_W};
    CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), 0);
}

#define PLAN_TAKEN(...)                                                                                                        \
    do {                                                                                                                       \
        fresh_plan();                                                                                                          \
        __VA_ARGS__;                                                                                                           \
        CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), 0);                                                             \
    } while (0)
#define PLAN_REFUSED(fault, index, ...)                                                                                        \
    do {                                                                                                                       \
        fresh_plan();                                                                                                          \
        __VA_ARGS__;                                                                                                           \
        CHECK_EQ(v2g_plan_check(&s.plan, &s.config, s.now_ns), at(fault, index));                                              \
    } while (0)
#define PLAN_BETWEEN(fault, index, field, low, high)                                                                           \
    do {                                                                                                                       \
        PLAN_TAKEN(field = (low));                                                                                             \
        PLAN_TAKEN(field = (high));                                                                                            \
        PLAN_REFUSED(fault, index, field = (low) - 1);                                                                         \
        PLAN_REFUSED(fault, index, field = (high) + 1);                                                                        \
    } while (0)

static void each_number_of_a_plan_has_its_range(void) {
    struct v2g_evse_plan *e = &s.plan.evse[EVSE];
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->min_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->max_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->target_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->after_min_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->after_max_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->after_target_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->soc_floor, 0, V2G_SOC_MAX);
    PLAN_BETWEEN(V2G_FAULT_PLAN_EVSE, EVSE, e->ramp_q8, 0, V2G_POWER_MAX_W * 256);
    PLAN_TAKEN(e->min_w = e->max_w = 5);
    PLAN_REFUSED(V2G_FAULT_PLAN_EVSE, EVSE, e->min_w = 6; e->max_w = 5);
    PLAN_TAKEN(e->after_min_w = e->after_max_w = 5);
    PLAN_REFUSED(V2G_FAULT_PLAN_EVSE, EVSE, e->after_min_w = 6; e->after_max_w = 5);
    struct v2g_feeder_plan *d = &s.plan.feeder[FEEDER];
    PLAN_BETWEEN(V2G_FAULT_PLAN_FEEDER, FEEDER, d->import_w, 0, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_FEEDER, FEEDER, d->export_w, 0, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_FEEDER, FEEDER, d->after_import_w, 0, V2G_POWER_MAX_W);
    PLAN_BETWEEN(V2G_FAULT_PLAN_FEEDER, FEEDER, d->after_export_w, 0, V2G_POWER_MAX_W);
}

static void a_plan_is_of_this_process_and_for_this_config(void) {
    PLAN_REFUSED(V2G_FAULT_HEADER, 0, s.plan.abi = V2G_ABI + 1);
    PLAN_REFUSED(V2G_FAULT_HEADER, 0, s.plan.epoch = 0);
    PLAN_REFUSED(V2G_FAULT_HEADER, 0, s.plan.boot_id = s.config.boot_id + 1);
    PLAN_REFUSED(V2G_FAULT_HEADER, 0, s.plan.config_epoch = s.config.epoch + 1);
}

static void a_plan_is_neither_from_the_future_nor_outlives_its_maker(void) {
    PLAN_TAKEN(s.plan.made_ns = s.plan.lease_ns = s.now_ns);
    PLAN_REFUSED(V2G_FAULT_LEASE, 0, s.plan.made_ns = -1; s.plan.lease_ns = 1);
    PLAN_REFUSED(V2G_FAULT_LEASE, 0, s.plan.made_ns = s.now_ns + 1; s.plan.lease_ns = s.now_ns + 2);
    PLAN_REFUSED(V2G_FAULT_LEASE, 0, s.plan.made_ns = s.now_ns; s.plan.lease_ns = s.now_ns - 1);
    PLAN_REFUSED(V2G_FAULT_LEASE, 0, s.plan.lease_ns = V2G_LEASE_MAX_MS * SITE_MS + 1);
}

CHECK_MAIN(CASE(each_number_of_an_evse_has_its_range), CASE(limits_of_an_evse_fit_each_other),
           CASE(a_steady_rise_at_full_rating_stays_a_temperature), CASE(an_evse_has_an_identity_a_feeder_phases_and_tables),
           CASE(each_number_of_a_feeder_has_its_range), CASE(a_fallback_fits_beside_the_declared_base_load),
           CASE(the_shares_of_all_evses_below_fit_the_fallback), CASE(feeders_form_one_tree_of_at_most_eight_levels),
           CASE(a_derate_table_falls_and_its_stop_lies_above_its_resume), CASE(a_config_has_a_header_counts_and_a_period),
           CASE(the_largest_site_is_taken), CASE(the_first_bad_place_is_named),
           CASE(a_limit_that_does_not_fit_its_seal_is_refused), CASE(each_number_of_a_plan_has_its_range),
           CASE(a_plan_is_of_this_process_and_for_this_config), CASE(a_plan_is_neither_from_the_future_nor_outlives_its_maker))
