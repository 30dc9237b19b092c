/* Random sites, plans and inputs that try to break the core: every field may be lost, frozen, wild or from the future, devices lie,
 * clocks jump, sites have 1 to 256 EVSEs. A gentle one does so less often, on sites with room, so that power flows and moves: much
 * that can go wrong does so only then. Deterministic from its seed. */
#ifndef V2G_ADVERSARY_H
#define V2G_ADVERSARY_H

#include "v2g.h"

#include <string.h>

struct adversary {
    uint64_t seed;
    bool gentle;
};

static inline uint32_t any(struct adversary *a) { /* xorshift64* */
    a->seed ^= a->seed >> 12;
    a->seed ^= a->seed << 25;
    a->seed ^= a->seed >> 27;
    return (uint32_t)(a->seed * UINT64_C(2685821657736338717) >> 32);
}

static inline int32_t between(struct adversary *a, int32_t low, int32_t high) {
    return low + (int32_t)(any(a) % (uint32_t)(high - low + 1));
}

static inline bool one_in(struct adversary *a, uint32_t n) {
    return any(a) % n == 0;
}

/* Mischief: a gentle adversary makes it twenty times more seldom. */
static inline bool rarely(struct adversary *a, uint32_t n) {
    return one_in(a, a->gentle ? 20 * n : n);
}

static inline int64_t some_ms(struct adversary *a, int32_t low, int32_t high) {
    return (int64_t)between(a, low, high) * 1000000;
}

static inline void adversary_evse(struct adversary *a, struct v2g_config *c, uint32_t i) {
    struct v2g_evse_config *e = &c->evse[i];
    static const uint8_t masks[] = {7, 7, 7, 1, 2, 4, 3, 6, 5};
    memset(e, 0, sizeof *e);
    e->key = i + 1;
    e->option = any(a) % 16 | (one_in(a, 4) ? 0 : V2G_EVSE_DISCHARGE | V2G_EVSE_SOC_SOURCE | V2G_EVSE_SILENCE_TESTED);
    e->feeder = (uint16_t)(any(a) % c->feeders);
    e->phases = masks[any(a) % sizeof masks];
    e->phase_count = (uint8_t)((e->phases & 1) + (e->phases >> 1 & 1) + (e->phases >> 2 & 1));
    e->rating_charge_w = between(a, a->gentle ? 10000 : 1000, 50000);
    e->rating_discharge_w = between(a, a->gentle ? 10000 : 0, 50000);
    e->min_charge_w = between(a, 0, 2000);
    e->min_discharge_w = between(a, 0, 2000);
    e->fallback_charge_w = between(a, 0, e->rating_charge_w);
    e->sensor_lost_charge_w = between(a, 0, e->rating_charge_w);
    e->soc_floor = between(a, 0, 6000);
    e->soc_ceiling = between(a, 6000, 10000);
    e->soc_hysteresis = between(a, 0, 500);
    e->soc_margin = between(a, 0, 300);
    e->cell_cold = between(a, -100, 100);
    for (int k = 0; k < V2G_SENSORS; k++) {
        e->derate[k] = one_in(a, 2) || (a->gentle && one_in(a, 2)) ? V2G_NONE : (uint16_t)(any(a) % c->derates);
    }
    e->ramp_q8 = between(a, a->gentle ? 100 * 256 : 1, a->gentle || one_in(a, 2) ? 60000 * 256 : 20000);
    e->ramp_return_q8 = between(a, a->gentle ? e->ramp_q8 / 4 : 1, e->ramp_q8);
    e->ramp_frequency_q8 = one_in(a, 2) ? 0 : between(a, 0, 60000 * 256);
    e->follow_tolerance_w = between(a, 0, 2000);
    int32_t least_ms = a->gentle ? 100 : 10;
    e->link_age_ns = some_ms(a, least_ms, 200);
    e->soc_age_ns = some_ms(a, least_ms, 5000);
    e->temp_age_ns = some_ms(a, least_ms, 2000);
    e->phase_age_ns = some_ms(a, least_ms, 500);
    e->limits_age_ns = some_ms(a, least_ms, 3000);
    e->reaction_ns = some_ms(a, least_ms, 2000);
    e->ambient = between(a, -300, 600);
    e->contact_alarm = between(a, 0, 300);
    e->soc_tolerance = between(a, 0, 1000);
    e->contact_q44 = one_in(a, 3) ? 0 : (uint32_t)between(a, 1, 4000000);
    e->cable_q44 = one_in(a, 3) ? 0 : (uint32_t)between(a, 1, 4000000);
    e->contact_step_q32 = any(a);
    e->cable_step_q32 = any(a);
    e->contact_ahead_q32 = any(a);
    e->cable_ahead_q32 = any(a);
    e->rise_step_q32 = one_in(a, 3) ? 0 : any(a);
}

static inline void adversary_feeder(struct adversary *a, struct v2g_config *c, uint32_t f) {
    struct v2g_feeder_config *d = &c->feeder[f];
    memset(d, 0, sizeof *d);
    d->key = 1000 + f;
    d->parent = f == 0 ? V2G_NONE : (uint16_t)(f < 5 ? any(a) % f : any(a) % 5);
    d->meter = one_in(a, 3) ? V2G_NONE : (uint16_t)(any(a) % c->meters);
    uint32_t room = a->gentle ? 1 : any(a) % 3; /* 0: a narrow feeder, where shedding is the rule */
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t scale = lane == V2G_LANE_TOTAL ? 3 : 1;
        d->import_w[lane] = (room == 0 ? between(a, 0, 100000) : between(a, 300000, 900000)) * scale;
        d->export_w[lane] = (room == 0 ? between(a, 0, 100000) : between(a, 300000, 900000)) * scale;
        d->base_w[lane] = between(a, 0, d->import_w[lane] / 4);
        d->fallback_w[lane] = between(a, 0, d->import_w[lane] - d->base_w[lane]);
    }
    d->slew_q8 = between(a, 0, 5000);
    d->meter_age_ns = some_ms(a, 10, 2000);
    d->liveness_age_ns = one_in(a, 2) ? 0 : some_ms(a, 100, 5000);
    d->refresh_ns = one_in(a, 4) ? 0 : some_ms(a, 1, 1000);
}

/* A config that passes v2g_config_check. */
static inline void adversary_config(struct adversary *a, struct v2g_config *c, uint32_t evses) {
    memset(c, 0, sizeof *c);
    *c = (struct v2g_config){.abi = V2G_ABI, .epoch = 1, .boot_id = 7, .option = any(a) % 4, .evses = evses};
    c->feeders = 1 + any(a) % (evses < 16 ? 4 : 24);
    c->meters = 1 + any(a) % 4;
    c->derates = 1 + any(a) % 8;
    c->period_ns = 10000000;
    for (uint32_t d = 0; d < c->derates; d++) {
        struct v2g_derate *t = &c->derate[d];
        t->start = between(a, 350, 800);
        t->shift = between(a, 0, 6);
        int32_t limit_w = between(a, 5000, 60000);
        for (int k = 0; k < V2G_DERATE_STEPS; k++) {
            t->limit_w[k] = limit_w;
            limit_w -= between(a, 0, limit_w);
        }
        t->stop = between(a, a->gentle ? 600 : 450, 1000);
        t->resume = t->stop - between(a, 1, 200);
        t->resume_hold_ns = some_ms(a, 10, 3000);
    }
    for (uint32_t f = 0; f < c->feeders; f++) {
        adversary_feeder(a, c, f);
    }
    for (uint32_t i = 0; i < evses; i++) {
        adversary_evse(a, c, i);
    }
    uint32_t below[V2G_MAX_FEEDERS] = {0};
    for (uint32_t i = 0; i < evses; i++) {
        for (uint32_t f = c->evse[i].feeder; f != V2G_NONE; f = c->feeder[f].parent) {
            below[f]++;
        }
    }
    for (uint32_t f = 0; f < c->feeders; f++) {
        c->feeder[f].share_w = below[f] == 0 ? 0 : c->feeder[f].fallback_w[V2G_LANE_TOTAL] / (int32_t)below[f];
    }
    v2g_config_seal(c);
}

static inline void adversary_plan(struct adversary *a, const struct v2g_config *c, struct v2g_plan *p, int64_t now_ns) {
    p->abi = V2G_ABI;
    p->epoch++;
    p->boot_id = c->boot_id;
    p->config_epoch = c->epoch;
    p->limits_epoch += one_in(a, 8);
    p->made_ns = now_ns;
    p->lease_ns = now_ns + some_ms(a, a->gentle ? 1000 : 0, 3000);
    for (uint32_t i = 0; i < c->evses; i++) {
        struct v2g_evse_plan *e = &p->evse[i];
        if (one_in(a, 3)) {
            e->min_w = rarely(a, 16) ? between(a, -60000, 60000) : between(a, -60000, 0);
            e->max_w = rarely(a, 16) ? between(a, e->min_w, e->min_w + 60000) : between(a, e->min_w > 0 ? e->min_w : 0, 120000);
            e->target_w = between(a, -60000, 60000);
            e->after_min_w = between(a, -60000, 0);
            e->after_max_w = between(a, 0, 60000);
            e->after_target_w = between(a, -60000, 60000);
            e->soc_floor = rarely(a, 4) ? between(a, 0, 8000) : 0;
            e->ramp_q8 = one_in(a, 4) ? between(a, 0, 1000000) : 0;
            e->flag = any(a) % 4 & (rarely(a, 8) ? ~0u : ~(uint32_t)V2G_PLAN_LOCKED);
        }
        e->until_ns = rarely(a, 8) ? now_ns + some_ms(a, -100, 3000) : p->lease_ns;
    }
    for (uint32_t f = 0; f < c->feeders; f++) {
        bool wide = a->gentle || one_in(a, 2);
        p->feeder[f] = (struct v2g_feeder_plan){.import_w = wide ? V2G_POWER_MAX_W : between(a, 0, 200000),
                                                .export_w = wide ? V2G_POWER_MAX_W : between(a, 0, 200000),
                                                .after_import_w = between(a, 0, 200000),
                                                .after_export_w = between(a, 0, 200000),
                                                .until_ns = p->lease_ns};
    }
}

static inline int32_t adversary_value(struct adversary *a, uint32_t field, int32_t target_w, int32_t last) {
    switch (field) {
    case V2G_F_STATE:
        return rarely(a, 400) ? between(a, -1, 9) : V2G_STATE_TRANSFER;
    case V2G_F_FLAGS:
        return rarely(a, 400) ? (int32_t)(any(a) % 256)
                              : V2G_FLAG_BIDIRECTIONAL | V2G_FLAG_CONTACTOR | V2G_FLAG_EV_PRESENT | V2G_FLAG_FOLLOWING;
    case V2G_F_POWER:
        return rarely(a, 300) ? between(a, -100000, 100000) : (one_in(a, 30) ? last : target_w + between(a, -300, 300));
    case V2G_F_SOC:
        return rarely(a, 500) ? between(a, -5, 70000) : (last < 2000 || last > 9500 ? 6000 : last + between(a, -20, 20));
    case V2G_F_T_CONNECTOR:
    case V2G_F_T_CABLE:
    case V2G_F_T_CHARGER:
    case V2G_F_T_CELL_MAX:
    case V2G_F_T_CELL_MIN:
        return rarely(a, 2000)
                   ? between(a, -2000, 4000)
                   : (last > 450 || last < 100 ? last + (int32_t)((INT64_C(300) - last) / 4) : last + between(a, -15, 16));
    case V2G_F_MAX_CHARGE:
    case V2G_F_MAX_DISCHARGE:
        return rarely(a, 100) || last == 0 ? between(a, -10, 70000) : last;
    default:
        return rarely(a, 1000) ? (int32_t)any(a) : (target_w < 0 ? -target_w : target_w) / (one_in(a, 4) ? 1 : 3);
    }
}

/* The estimate counts as any value. */
static inline void adversary_estimate(struct adversary *a, struct v2g_estimate *e) {
    for (int k = 0; k < V2G_SENSORS; k++) {
        e->predicted[k] = rarely(a, 500) ? (int32_t)any(a) : V2G_TEMP_MIN;
    }
    e->flag = rarely(a, 500) ? any(a) : 0;
}

/* The next inputs: most are renewed and plausible, some are lost, wild, or stamped in the future. */
static inline void adversary_image(struct adversary *a, const struct v2g_config *c, const struct v2g_setpoints *out,
                                   struct v2g_image *image, int64_t now_ns) {
    image->cycle++;
    if (rarely(a, 200)) {
        image->health = any(a) % 8;
    } else if (one_in(a, 4)) {
        image->health = 7;
    }
    for (uint32_t i = 0; i < c->evses; i++) {
        struct v2g_evse_in *in = &image->evse[i];
        bool silent = rarely(a, 60);
        for (uint32_t field = 0; field < V2G_FIELDS && !silent; field++) {
            if (rarely(a, 12)) {
                continue;
            }
            int32_t value = adversary_value(a, field, out->evse[i].target_w, in->value[field]);
            if (value != in->value[field]) {
                in->changed_ns[field] = now_ns;
            }
            in->value[field] = value;
            in->acquired_ns[field] = rarely(a, 5000) ? now_ns + some_ms(a, 1, 5000) : now_ns;
            in->valid = rarely(a, 2000) ? in->valid & ~(1u << field) : in->valid | 1u << field;
        }
        adversary_estimate(a, &image->estimate[i]);
        image->proposal[i].target_w = (int32_t)any(a);
        image->proposal[i].option = one_in(a, 2) ? 0 : (uint8_t)any(a);
        image->proposal[i].share_charge_w = rarely(a, 50) ? (int32_t)any(a) : between(a, 0, 60000);
        image->proposal[i].share_discharge_w = rarely(a, 50) ? (int32_t)any(a) : between(a, 0, 60000);
        image->proposal[i].why_charge = (uint8_t)any(a);
        image->proposal[i].why_discharge = (uint8_t)any(a);
        image->proposal[i].why_target = (uint8_t)any(a);
        image->proposal[i].grid_charge = rarely(a, 500) ? (uint16_t)any(a) : 0;
        image->proposal[i].grid_discharge = rarely(a, 500) ? (uint16_t)any(a) : 0;
    }
    for (uint32_t m = 0; m < c->meters; m++) {
        struct v2g_meter_in *in = &image->meter[m];
        if (one_in(a, 3)) {
            continue;
        }
        for (uint32_t field = 0; field < V2G_METER_FIELDS; field++) {
            int32_t value = one_in(a, 4) ? in->value[field] : (rarely(a, 1000) ? (int32_t)any(a) : between(a, -20000, 60000));
            if (value != in->value[field]) {
                in->changed_ns[field] = now_ns;
            }
            in->value[field] = value;
            in->acquired_ns[field] = now_ns;
            in->valid = rarely(a, 500) ? in->valid & ~(1u << field) : in->valid | 1u << field;
        }
    }
}

/* Time goes on, sometimes in leaps. */
static inline int64_t adversary_time(struct adversary *a, int64_t now_ns) {
    return now_ns + (rarely(a, 400) ? some_ms(a, 0, 5000) : 10000000);
}

#endif
