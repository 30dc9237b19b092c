/* A small healthy site that tests, fuzzers and benchmarks start from: EVSEs of 22 kW under one metered grid connection of 100 A.
 * One `step` is one cycle of 10 ms in which every input is renewed and the EVSEs follow at once. */
#ifndef V2G_TEST_SITE_H
#define V2G_TEST_SITE_H

#include "v2g.h"

#include <string.h>

enum { SITE_PERIOD_MS = 10 };
#define SITE_MS INT64_C(1000000)

struct site {
    struct v2g_config config;
    struct v2g_plan plan;
    struct v2g_state state;
    struct v2g_image image;
    struct v2g_setpoints out;
    int64_t now_ns;
    int32_t base_w; /* other load, W, spread over the phases */
    bool link_up;   /* EVSE frames come */
    bool meter_up;  /* meter answers come */
    bool python_up; /* plans are renewed */
    bool follow;    /* the EVSEs do what they are told */
};

/* At 22 kW the contact settles 20 K over the cable with tau 8 min and the cable 25 K over 40 degC with tau 20 min. Looks a minute ahead. */
static inline void site_models(struct v2g_evse_config *e) {
    e->ambient = 400;
    e->contact_alarm = 150;
    e->soc_tolerance = 300;
    e->contact_q44 = (uint32_t)((INT64_C(200) << 44) / (INT64_C(22000) * 22000));
    e->cable_q44 = (uint32_t)((INT64_C(250) << 44) / (INT64_C(22000) * 22000));
    e->contact_step_q32 = 89478;      /* 1 - exp(-0.01 / 480) */
    e->cable_step_q32 = 35791;        /* 1 - exp(-0.01 / 1200) */
    e->contact_ahead_q32 = 504671961; /* 1 - exp(-60 / 480) */
    e->cable_ahead_q32 = 209468027;   /* 1 - exp(-60 / 1200) */
    e->rise_step_q32 = 715768;        /* 1 - exp(-0.01 / 60) */
}

static inline void site_evse(struct v2g_evse_config *e, uint64_t key, uint16_t feeder) {
    *e = (struct v2g_evse_config){
        .key = key,
        .option = V2G_EVSE_DISCHARGE | V2G_EVSE_SOC_SOURCE | V2G_EVSE_SILENCE_TESTED,
        .feeder = feeder,
        .phases = 7,
        .phase_count = 3,
        .rating_charge_w = 22000,
        .rating_discharge_w = 22000,
        .min_charge_w = 1400,
        .min_discharge_w = 1400,
        .fallback_charge_w = 4200,
        .sensor_lost_charge_w = 11000,
        .soc_floor = 3000,
        .soc_ceiling = 10000,
        .soc_hysteresis = 200,
        .soc_margin = 100,
        .cell_cold = 0,
        .derate = {0, 1, V2G_NONE, 2},
        .ramp_q8 = 22000 * 256 / 100,
        .ramp_return_q8 = 22000 * 256 / 1000,
        .follow_tolerance_w = 500,
        .link_age_ns = 60 * SITE_MS,
        .soc_age_ns = 60 * SITE_MS,
        .temp_age_ns = 600 * SITE_MS,
        .phase_age_ns = 150 * SITE_MS,
        .limits_age_ns = 1500 * SITE_MS,
        .reaction_ns = 500 * SITE_MS,
    };
    site_models(e);
}

static inline void site_feeder(struct v2g_feeder_config *f, uint64_t key, uint16_t parent, uint16_t meter, int32_t phase_w) {
    *f = (struct v2g_feeder_config){
        .key = key,
        .parent = parent,
        .meter = meter,
        .import_w = {phase_w, phase_w, phase_w, 3 * phase_w},
        .export_w = {phase_w, phase_w, phase_w, 3 * phase_w},
        .fallback_w = {phase_w, phase_w, phase_w, 3 * phase_w},
        .share_w = 4200,
        .slew_q8 = 0,
        .meter_age_ns = 400 * SITE_MS,
        .liveness_age_ns = 0,
        .refresh_ns = 100 * SITE_MS,
    };
}

static inline void site_derate(struct v2g_derate *d, int32_t start, int32_t shift, int32_t stop, int32_t resume) {
    *d = (struct v2g_derate){.start = start, .shift = shift, .stop = stop, .resume = resume, .resume_hold_ns = 60000 * SITE_MS};
    for (int step = 0; step < V2G_DERATE_STEPS; step++) {
        d->limit_w[step] = 22000 - 22000 * (step + 1) / V2G_DERATE_STEPS;
    }
}

static inline void site_init(struct site *s, uint32_t evses) {
    memset(s, 0, sizeof *s);
    s->config = (struct v2g_config){.abi = V2G_ABI,
                                    .epoch = 1,
                                    .boot_id = 7,
                                    .evses = evses,
                                    .feeders = 1,
                                    .meters = 1,
                                    .derates = 3,
                                    .period_ns = SITE_PERIOD_MS * SITE_MS};
    site_derate(&s->config.derate[0], 700, 3, 900, 650);
    site_derate(&s->config.derate[1], 700, 3, 900, 650);
    site_derate(&s->config.derate[2], 450, 3, 600, 430);
    site_feeder(&s->config.feeder[0], 1000, V2G_NONE, 0, 23000);
    for (uint32_t i = 0; i < evses; i++) {
        site_evse(&s->config.evse[i], i + 1, 0);
    }
    s->config.feeder[0].share_w = evses > 16 ? 69000 / (int32_t)evses : 4200;
    v2g_config_seal(&s->config);
    v2g_state_init(&s->state);
    v2g_image_init(&s->image);
    v2g_plan_safe(&s->plan, &s->config);
    s->now_ns = 1000 * SITE_MS;
    s->link_up = s->meter_up = s->python_up = s->follow = true;
    s->image.health = V2G_HEALTH_REALTIME | V2G_HEALTH_GUARD | V2G_HEALTH_ON_TIME;
    for (uint32_t i = 0; i < evses; i++) {
        s->plan.evse[i].min_w = -22000;
        s->plan.evse[i].max_w = 22000;
        s->plan.evse[i].after_min_w = 0;
        s->plan.evse[i].after_max_w = 4200;
        s->plan.evse[i].after_target_w = 4200;
    }
    for (int f = 0; f < V2G_MAX_FEEDERS; f++) {
        s->plan.feeder[f] = (struct v2g_feeder_plan){V2G_POWER_MAX_W, V2G_POWER_MAX_W, V2G_POWER_MAX_W, V2G_POWER_MAX_W, 0};
    }
    static const struct {
        enum v2g_field field;
        int32_t value;
    } start[] = {
        {V2G_F_STATE, V2G_STATE_TRANSFER},
        {V2G_F_FLAGS, V2G_FLAG_BIDIRECTIONAL | V2G_FLAG_CONTACTOR | V2G_FLAG_EV_PRESENT},
        {V2G_F_SOC, 6000},
        {V2G_F_T_CONNECTOR, 300},
        {V2G_F_T_CABLE, 300},
        {V2G_F_T_CHARGER, 300},
        {V2G_F_T_CELL_MAX, 250},
        {V2G_F_T_CELL_MIN, 240},
        {V2G_F_MAX_CHARGE, 22000},
        {V2G_F_MAX_DISCHARGE, 22000},
        {V2G_F_CAPACITY, 60000},
    };
    for (uint32_t i = 0; i < evses; i++) {
        for (size_t k = 0; k < sizeof start / sizeof start[0]; k++) {
            s->image.evse[i].value[start[k].field] = start[k].value;
        }
        s->image.evse[i].valid = (1u << V2G_FIELDS) - 1u;
    }
    s->image.meter[0].valid = (1u << V2G_METER_FIELDS) - 1u;
}

static inline void site_measure(struct site *s) {
    int32_t sum_w = 0;
    for (uint32_t i = 0; i < s->config.evses; i++) {
        struct v2g_evse_in *in = &s->image.evse[i];
        int32_t power_w = s->follow ? s->out.evse[i].target_w : in->value[V2G_F_POWER];
        sum_w += power_w;
        if (!s->link_up) {
            continue;
        }
        in->value[V2G_F_POWER] = power_w;
        for (int lane = 0; lane < V2G_LANE_TOTAL; lane++) {
            in->value[V2G_F_P_L1 + lane] = (power_w < 0 ? -power_w : power_w) / 3;
        }
        for (int field = 0; field < V2G_FIELDS; field++) {
            in->acquired_ns[field] = s->now_ns;
        }
    }
    if (s->meter_up) {
        struct v2g_meter_in *m = &s->image.meter[0];
        for (int lane = 0; lane < V2G_LANES; lane++) {
            int32_t w = lane == V2G_LANE_TOTAL ? s->base_w + sum_w : (s->base_w + sum_w) / 3;
            if (m->value[lane] != w) {
                m->changed_ns[lane] = s->now_ns;
            }
            m->value[lane] = w;
            m->acquired_ns[lane] = s->now_ns;
        }
    }
}

static inline void site_step(struct site *s) {
    s->now_ns += SITE_PERIOD_MS * SITE_MS;
    if (s->python_up) {
        s->plan.epoch++;
        s->plan.config_epoch = s->config.epoch;
        s->plan.made_ns = s->now_ns;
        s->plan.lease_ns = s->now_ns + 2000 * SITE_MS;
        for (uint32_t i = 0; i < s->config.evses; i++) {
            s->plan.evse[i].until_ns = s->plan.lease_ns;
        }
        for (uint32_t f = 0; f < s->config.feeders; f++) {
            s->plan.feeder[f].until_ns = s->plan.lease_ns;
        }
    }
    site_measure(s);
    v2g_estimate(&s->config, &s->state, &s->image, s->now_ns);
    v2g_enforce(&s->config, &s->plan, &s->state, &s->image, s->now_ns, &s->out);
}

static inline void site_run(struct site *s, int64_t ms) {
    for (int64_t t = 0; t < ms; t += SITE_PERIOD_MS) {
        site_step(s);
    }
}

/* Every EVSE wishes the same power. */
static inline void site_wish(struct site *s, int32_t target_w) {
    s->plan.limits_epoch++;
    for (uint32_t i = 0; i < s->config.evses; i++) {
        s->plan.evse[i].target_w = target_w;
    }
}

#endif
