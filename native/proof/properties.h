/* The safety properties P1–P7 of one step of enforce(), written once: the random runs, the fuzzer, the hypothesis tests (judge.c) and
 * the provers all include this file. Written from the rules of architecture.md section 6, not from the core: plain 64-bit arithmetic,
 * no function of the core is called. Each property returns true when it holds. */
#ifndef V2G_PROPERTIES_H
#define V2G_PROPERTIES_H

#include "v2g.h"

/* One step: everything that went in and came out. */
struct v2g_step {
    const struct v2g_config *config;
    const struct v2g_plan *plan;
    const struct v2g_image *image;
    const struct v2g_state *before;
    const struct v2g_state *after;
    const struct v2g_setpoints *out;
    int64_t now_ns;
};

static inline int64_t p_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t p_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Older than the limit; a stamp from the future counts as old. */
static inline bool p_old(int64_t now_ns, int64_t stamp_ns, int64_t limit_ns) {
    return stamp_ns > now_ns || stamp_ns < now_ns - limit_ns;
}

static inline bool p_known(const struct v2g_step *s, uint32_t i, uint32_t field, int64_t limit_ns) {
    const struct v2g_evse_in *in = &s->image->evse[i];
    return (in->valid >> field & 1u) != 0 && !p_old(s->now_ns, in->acquired_ns[field], limit_ns);
}

static inline bool p_linked(const struct v2g_step *s, uint32_t i) {
    int64_t limit_ns = s->config->evse[i].link_age_ns;
    return p_known(s, i, V2G_F_STATE, limit_ns) && p_known(s, i, V2G_F_FLAGS, limit_ns) && p_known(s, i, V2G_F_POWER, limit_ns);
}

static inline bool p_plan_live(const struct v2g_step *s, uint32_t i) {
    return s->now_ns <= s->plan->evse[i].until_ns && s->now_ns <= s->plan->lease_ns &&
           (s->image->health & V2G_HEALTH_ON_TIME) != 0;
}

/* P1: the setpoint is inside its own interval, the ratings, the plan's bounds and the device's reach, for all inputs. */
static inline bool p1_inside(const struct v2g_step *s, uint32_t i) {
    const struct v2g_evse_config *c = &s->config->evse[i];
    const struct v2g_evse_plan *p = &s->plan->evse[i];
    const struct v2g_setpoint *o = &s->out->evse[i];
    int64_t most = p_plan_live(s, i) ? p->max_w : p_min(p->max_w, p->after_max_w);
    int64_t least = p_plan_live(s, i) ? p->min_w : p_max(p->min_w, p->after_min_w);
    bool inside = o->min_w <= 0 && o->max_w >= 0 && o->min_w <= o->target_w && o->target_w <= o->max_w;
    bool rated = o->target_w <= c->rating_charge_w && o->target_w >= -(int64_t)c->rating_discharge_w;
    bool planned = o->target_w <= p_max(most, 0) && o->target_w >= p_min(least, 0);
    bool deliverable = o->target_w == 0 || o->target_w >= c->min_charge_w || o->target_w <= -(int64_t)c->min_discharge_w;
    bool locked = (p->flag & V2G_PLAN_LOCKED) == 0 || o->target_w == 0;
    return inside && rated && planned && deliverable && locked;
}

/* P1, row 1: nothing flows against an emergency stop, a fault or an EVSE without a vehicle ready for energy. */
static inline bool p1_ready(const struct v2g_step *s, uint32_t i) {
    int32_t flags = s->image->evse[i].value[V2G_F_FLAGS];
    int32_t pilot = s->image->evse[i].value[V2G_F_STATE];
    bool ready = (flags & (V2G_FLAG_E_STOP | V2G_FLAG_FAULT)) == 0 && (flags & V2G_FLAG_EV_PRESENT) != 0 &&
                 (pilot == V2G_STATE_C || pilot == V2G_STATE_D || pilot == V2G_STATE_TRANSFER);
    bool bidirectional = (flags & V2G_FLAG_BIDIRECTIONAL) != 0 && (s->config->evse[i].option & V2G_EVSE_DISCHARGE) != 0 &&
                         p_known(s, i, V2G_F_MAX_DISCHARGE, s->config->evse[i].limits_age_ns) &&
                         -(int64_t)s->out->evse[i].target_w <= p_max(s->image->evse[i].value[V2G_F_MAX_DISCHARGE], 0);
    return (ready || s->out->evse[i].target_w == 0) && (bidirectional || s->out->evse[i].target_w >= 0);
}

/* P2: no discharge while the lower bound of the SOC is at or below the floor or nobody knows it; no charge at the ceiling. */
static inline bool p2_soc(const struct v2g_step *s, uint32_t i) {
    const struct v2g_evse_config *c = &s->config->evse[i];
    int32_t target_w = s->out->evse[i].target_w;
    int64_t soc = s->image->evse[i].value[V2G_F_SOC];
    bool known = (c->option & V2G_EVSE_SOC_SOURCE) != 0 && p_known(s, i, V2G_F_SOC, c->soc_age_ns) && soc >= 0 &&
                 soc <= V2G_SOC_MAX && s->image->evse[i].acquired_ns[V2G_F_SOC] >= s->after->evse[i].plugged_ns;
    bool above = known && soc - c->soc_margin > p_max(c->soc_floor, s->plan->evse[i].soc_floor);
    bool below = !known || soc + c->soc_margin < c->soc_ceiling;
    return (target_w >= 0 || above) && (target_w <= 0 || below);
}

/* P3, absolute part: at or above its stop temperature, and until it has cooled down long enough, a sensor allows nothing. The
 * relative part (hotter never gives more) compares two steps: p3_not_more. */
static inline bool p3_stop(const struct v2g_step *s, uint32_t i) {
    const struct v2g_evse_config *c = &s->config->evse[i];
    bool hold = true;
    for (uint32_t k = 0; k < V2G_SENSORS; k++) {
        if (c->derate[k] == V2G_NONE) {
            continue;
        }
        uint32_t field = (uint32_t)V2G_F_T_CONNECTOR + k;
        bool known = p_known(s, i, field, c->temp_age_ns);
        bool hot = known && s->image->evse[i].value[field] >= s->config->derate[c->derate[k]].stop;
        bool latched = (s->after->evse[i].latch & (uint32_t)V2G_LATCH_THERMAL << k) != 0;
        bool was = (s->before->evse[i].latch & (uint32_t)V2G_LATCH_THERMAL << k) != 0;
        bool cool = known && s->image->evse[i].value[field] <= s->config->derate[c->derate[k]].resume;
        hold = hold && (!hot || s->out->evse[i].target_w == 0) && (!latched || s->out->evse[i].target_w == 0) &&
               (!was || latched || cool);
        hold = hold && (known || s->out->evse[i].target_w >= 0);
    }
    return hold;
}

static inline bool p3_not_more(const struct v2g_setpoints *cool, const struct v2g_setpoints *hot, uint32_t i) {
    return hot->evse[i].band_max_w <= cool->evse[i].band_max_w && hot->evse[i].band_min_w >= cool->evse[i].band_min_w;
}

/* P4: away from 0 at most one ramp step from where the ramp stood; never through 0 in one cycle. */
static inline bool p4_ramp(const struct v2g_step *s, uint32_t i) {
    const struct v2g_evse_config *c = &s->config->evse[i];
    int64_t target_q8 = (int64_t)s->out->evse[i].target_w * 256;
    int64_t from_q8 = s->before->evse[i].ramp_q8;
    int64_t step_q8 = (s->before->evse[i].latch & s->after->evse[i].latch & V2G_LATCH_RETURNING) != 0
                          ? c->ramp_return_q8
                          : p_max(c->ramp_q8, c->ramp_return_q8);
    bool fast = (s->image->proposal[i].option & V2G_PROPOSE_FAST) != 0 && (s->after->evse[i].latch & V2G_LATCH_RETURNING) == 0;
    step_q8 = fast ? p_max(step_q8, c->ramp_frequency_q8) : step_q8;
    return target_q8 <= p_max(from_q8, 0) + step_q8 && target_q8 >= p_min(from_q8, 0) - step_q8 &&
           (target_q8 <= 0 || from_q8 >= 0) && (target_q8 >= 0 || from_q8 <= 0);
}

/* P5: an EVSE that is not heard gets nothing, and returns only on fresh data and a newer plan; the same for one that does not follow. */
static inline bool p5_lost(const struct v2g_step *s, uint32_t i) {
    uint32_t was = s->before->evse[i].latch, is = s->after->evse[i].latch;
    bool linked = p_linked(s, i);
    bool silent = linked || ((is & V2G_LATCH_LOST) != 0 && s->out->evse[i].target_w == 0);
    bool held =
        (was & V2G_LATCH_LOST) == 0 || (is & V2G_LATCH_LOST) != 0 ||
        (linked && s->after->evse[i].fresh >= V2G_FRESH_TIMES && (int32_t)(s->plan->epoch - s->before->evse[i].lost_epoch) > 0);
    bool latched = (is & (V2G_LATCH_LOST | V2G_LATCH_NOT_FOLLOWING)) == 0 || s->out->evse[i].target_w == 0;
    bool follows = (was & V2G_LATCH_NOT_FOLLOWING) == 0 || (is & V2G_LATCH_NOT_FOLLOWING) != 0 ||
                   (int32_t)(s->plan->limits_epoch - s->before->evse[i].follow_epoch) > 0;
    return silent && held && latched && follows;
}

static inline bool p_failed(const struct v2g_evse_state *state) {
    uint32_t hot = (((uint32_t)1 << V2G_SENSORS) - 1) * (uint32_t)V2G_LATCH_THERMAL;
    return (state->latch & (V2G_LATCH_LOST | V2G_LATCH_NOT_FOLLOWING | hot)) != 0;
}

/* P5: after a fail-safe the first step back is the slow one. */
static inline bool p5_slow_return(const struct v2g_step *s, uint32_t i) {
    bool over = p_failed(&s->before->evse[i]) && !p_failed(&s->after->evse[i]);
    int64_t target_q8 = (int64_t)s->out->evse[i].target_w * 256;
    return !over || p_max(target_q8, -target_q8) <= s->config->evse[i].ramp_return_q8;
}

/* Load of a lane by the architecture's rule, in plain arithmetic. */
static inline int64_t p_load(const struct v2g_evse_config *c, bool balanced, int64_t magnitude_w, uint32_t lane) {
    int64_t count = (c->phases & 1) + (c->phases >> 1 & 1) + (c->phases >> 2 & 1);
    if (lane == V2G_LANE_TOTAL) {
        return magnitude_w;
    }
    if ((c->phases >> lane & 1) == 0) {
        return 0;
    }
    return balanced ? (magnitude_w + count - 1) / count : magnitude_w;
}

static inline bool p_below(const struct v2g_config *config, uint32_t feeder, uint32_t top) {
    for (uint32_t depth = 0; depth < V2G_MAX_DEPTH && feeder != V2G_NONE; depth++) {
        if (feeder == top) {
            return true;
        }
        feeder = config->feeder[feeder].parent;
    }
    return false;
}

/* P6: on each lane of a feeder, the setpoints below fit the room, and the room fits fuse, site limit, plan and what is measured. */
static inline bool p6_fits(const struct v2g_step *s, uint32_t f) {
    const struct v2g_feeder_config *d = &s->config->feeder[f];
    const struct v2g_feeder_state *fs = &s->after->feeder[f];
    bool fits = true;
    for (uint32_t lane = 0; lane < V2G_LANES; lane++) {
        int64_t charge_w = 0, discharge_w = 0;
        for (uint32_t i = 0; i < s->config->evses; i++) {
            int64_t target_w = s->out->evse[i].target_w;
            bool balanced = (s->after->evse[i].latch & V2G_LATCH_BALANCED) != 0;
            if (p_below(s->config, s->config->evse[i].feeder, f)) {
                charge_w += target_w > 0 ? p_load(&s->config->evse[i], balanced, target_w, lane) : 0;
                discharge_w += target_w < 0 ? p_load(&s->config->evse[i], balanced, -target_w, lane) : 0;
            }
        }
        fits = fits && charge_w <= p_max(fs->room_import_w[lane], 0) && discharge_w <= p_max(fs->room_export_w[lane], 0);
        bool lost = d->meter != V2G_NONE && fs->lost != 0;
        int64_t base_high = d->meter == V2G_NONE || lost ? d->base_w[lane] : fs->base_high_w[lane];
        fits = fits && fs->room_import_w[lane] <= (int64_t)d->import_w[lane] - base_high;
        fits = fits && (!lost || (fs->room_import_w[lane] <= d->fallback_w[lane] && fs->room_export_w[lane] <= 0));
    }
    return fits;
}

/* P5 for meters: a lost meter leaves each EVSE below its share and no discharge. */
static inline bool p5_meter(const struct v2g_step *s, uint32_t i) {
    bool hold = true;
    uint32_t f = s->config->evse[i].feeder;
    for (uint32_t depth = 0; depth < V2G_MAX_DEPTH && f != V2G_NONE; depth++) {
        const struct v2g_feeder_config *d = &s->config->feeder[f];
        bool lost = d->meter != V2G_NONE && s->after->feeder[f].lost != 0;
        bool stale =
            d->meter != V2G_NONE && p_old(s->now_ns, s->image->meter[d->meter].acquired_ns[V2G_M_P_TOTAL], d->meter_age_ns);
        hold = hold && (!stale || lost);
        hold = hold && (!lost || (s->out->evse[i].target_w >= 0 && s->out->evse[i].target_w <= p_max(d->share_w, 0)));
        f = d->parent;
    }
    return hold;
}

/* P7: the step without one of its inputs allows no more than the step with it. */
static inline bool p7_not_looser(const struct v2g_setpoints *with, const struct v2g_setpoints *without, uint32_t i) {
    return without->evse[i].band_max_w <= with->evse[i].band_max_w && without->evse[i].band_min_w >= with->evse[i].band_min_w;
}

/* Everything that can be judged from one step. 0: all hold; else the number of the property (P5 for meters: 105, for the way back: 205; readiness: 101). */
static inline int v2g_step_violates(const struct v2g_step *s) {
    for (uint32_t i = 0; i < s->config->evses; i++) {
        if (!p1_inside(s, i)) {
            return 1;
        }
        if (!p1_ready(s, i)) {
            return 101;
        }
        if (!p2_soc(s, i)) {
            return 2;
        }
        if (!p3_stop(s, i)) {
            return 3;
        }
        if (!p4_ramp(s, i)) {
            return 4;
        }
        if (!p5_lost(s, i)) {
            return 5;
        }
        if (!p5_meter(s, i)) {
            return 105;
        }
        if (!p5_slow_return(s, i)) {
            return 205;
        }
    }
    for (uint32_t f = 0; f < s->config->feeders; f++) {
        if (!p6_fits(s, f)) {
            return 6;
        }
    }
    return 0;
}

#endif
