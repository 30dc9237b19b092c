/* Tracking: how much the EVSEs that follow the site must take so that the grid connection shows the site's target.
 *
 *     asked = target - base - other EVSEs + unused + push + trim
 *
 * The known load is fed forward: the base load is what the meter shows less what the EVSEs draw. While powers move, a sample fits a
 * whole interval of base loads (nobody knows which moment it describes, and slow EVSEs tell late), so the estimate only moves as far as
 * it is forced to: it is clamped into the interval. What an EVSE was asked and is seen not to take is asked of the others. What is then still missing, EVSEs that take less or more than told, a PI
 * controller corrects. It looks once per response time of the slowest EVSE, when everything has settled: with the dead time inside
 * one look, a gain below 1 can't oscillate. It doesn't look while enforced setpoints aren't what was asked (anti-windup), and starts
 * from where the EVSEs stand (bumpless). */
#include "site.h"

enum {
    STARTED_BASE = 1,
    STARTED_TARGET = 2,
    FILTER_LOOKS = 16, /* samples in the error's filter */
    TRIM_SHIFT = 1,    /* integral part: half the error a look */
    PUSH_SHIFT = 3,    /* proportional part: an eighth */
    STILL_SHIFT = 7,   /* movement by less than 1/128 of the sum is no movement */
    HEADROOM_SHIFT = 4 /* an EVSE that takes less is offered that much of its rating more */
};

static bool follows(const struct v2g_plan *plan, uint32_t evse) {
    return (plan->evse[evse].flag & V2G_PLAN_SITE_TARGET) != 0;
}

static bool heard(const struct v2g_track_in *in, uint32_t evse) {
    const struct v2g_evse_in *told = &in->image->evse[evse];
    return (told->valid >> V2G_F_POWER & 1u) != 0 &&
           !is_old(in->now_ns, told->acquired_ns[V2G_F_POWER], in->config->evse[evse].link_age_ns);
}

/* Sums over the EVSEs in this cycle. */
struct sums {
    int32_t others_w;   /* power of those that don't follow */
    int32_t told_w;     /* last setpoints of those that follow */
    int32_t rating_w;   /* of those that follow */
    int32_t may_rise_w; /* what EVSEs may already draw beyond what they tell */
    int32_t may_fall_w;
    int32_t unused_w;    /* asked of those that follow, but seen not to be taken: asked of the others instead */
    int64_t response_ns; /* of the slowest that follows */
    bool moving;         /* a setpoint changed within its response time */
};

/* Remembers when a setpoint moved, and what an EVSE was seen to leave unused. */
static void watch_evse(const struct v2g_track_in *in, uint32_t i, struct v2g_site_evse_state *state, struct sums *sums) {
    const struct v2g_evse_config *evse = &in->config->evse[i];
    int32_t target_w = in->set->evse[i].target_w;
    int32_t power_w = heard(in, i) ? power_of(&in->image->evse[i]) : target_w;
    int32_t step_w = target_w - state->told_w;
    int32_t still_w = evse->rating_charge_w >> STILL_SHIFT;
    if (step_w > still_w || step_w < -still_w) {
        state->told_w = target_w;
        state->moved_ns = in->now_ns;
    }
    bool settled = is_old(in->now_ns, state->moved_ns, in->site->response_ns[i] + in->site->response_ns[i]);
    if (!settled) {
        sums->may_rise_w += clamp_i32(target_w - power_w, 0, V2G_POWER_MAX_W); /* with a base load of 256 EVSEs still 31 bits */
        sums->may_fall_w += clamp_i32(power_w - target_w, 0, V2G_POWER_MAX_W);
        sums->moving = true;
    }
    int32_t asked_w = target_w < 0 ? -target_w : target_w;
    int32_t taken_w = target_w < 0 ? max_i32(-power_w, 0) : max_i32(power_w, 0);
    if (asked_w - taken_w <= evse->follow_tolerance_w) {
        state->most_w = V2G_POWER_MAX_W;
    } else if (settled) {
        state->most_w = min_i32(taken_w + (evse->rating_charge_w >> HEADROOM_SHIFT), V2G_POWER_MAX_W);
    }
    if (!follows(in->plan, i)) {
        sums->others_w += power_w;
        return;
    }
    sums->told_w += target_w;
    if (settled && state->most_w < V2G_POWER_MAX_W) {
        sums->unused_w += target_w - power_w;
    }
    sums->rating_w += evse->rating_charge_w;
    sums->response_ns = sums->response_ns > in->site->response_ns[i] ? sums->response_ns : in->site->response_ns[i];
}

/* The grid connection's meter, as the feeder law believes it. */
static bool is_metered(const struct v2g_track_in *in) {
    return in->config->feeder[0].meter != V2G_NONE && in->state->feeder[0].lost == 0;
}

static void estimate_base(const struct v2g_track_in *in, const struct sums *sums, struct v2g_track_state *track) {
    const struct v2g_feeder_state *root = &in->state->feeder[0];
    if (!is_metered(in)) {
        track->base_w = in->config->feeder[0].base_w[V2G_LANE_TOTAL];
        track->started &= ~(uint32_t)STARTED_BASE;
        return;
    }
    int32_t low_w = root->base_low_w[V2G_LANE_TOTAL];
    int32_t high_w = root->base_high_w[V2G_LANE_TOTAL];
    if ((track->started & STARTED_BASE) == 0) {
        track->base_w = low_w + ((high_w - low_w) >> 1);
        track->started |= STARTED_BASE;
    }
    track->base_w = clamp_i32(track->base_w, low_w - sums->may_rise_w, high_w + sums->may_fall_w);
}

/* A new target is taken at once, or in part while the backhaul is slow. Returns W. */
static int32_t damped_target_w(const struct v2g_site_plan *wish, struct v2g_track_state *track) {
    int32_t target_w = clamp_i32(wish->target_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    int64_t target_q32 = (int64_t)target_w * ((int64_t)1 << 32);
    if (wish->damp_q32 == 0 || (track->started & STARTED_TARGET) == 0) {
        track->target_q32 = target_q32;
        track->started |= STARTED_TARGET;
        return target_w;
    }
    int64_t way = target_q32 - track->target_q32; /* 56 bits */
    int64_t size = way < 0 ? -way : way;
    int64_t part = ((size >> 24) * (int64_t)wish->damp_q32) >> 8;
    track->target_q32 += way < 0 ? -part : part;
    int64_t half = (int64_t)1 << 31;
    return (int32_t)((track->target_q32 + half) >> 32);
}

static void restart_look(int64_t now_ns, struct v2g_track_state *track) {
    track->settled_ns = now_ns;
    track->looks = 0;
    track->error_q8 = 0;
}

/* One look at what is missing, after everything has settled for a response time and was seen in enough samples. */
static void look(const struct v2g_track_in *in, int32_t target_w, const struct sums *sums, struct v2g_track_state *track) {
    const struct v2g_meter_in *meter = &in->image->meter[in->config->feeder[0].meter];
    int32_t still_w = sums->rating_w >> STILL_SHIFT;
    int64_t cut_w = track->asked_w - sums->told_w;
    bool enforced = cut_w <= still_w && cut_w >= -still_w; /* else: anti-windup */
    if (sums->moving || !enforced || sums->rating_w == 0) {
        restart_look(in->now_ns, track);
        return;
    }
    if (meter->acquired_ns[V2G_M_P_TOTAL] == track->sample_ns) {
        return;
    }
    track->sample_ns = meter->acquired_ns[V2G_M_P_TOTAL];
    int32_t measured_w = clamp_i32(meter->value[V2G_M_P_TOTAL], -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
    int64_t error_q8 = ((int64_t)target_w - measured_w) * 256;
    track->error_q8 += track->looks == 0 ? error_q8 - track->error_q8 : (error_q8 - track->error_q8) >> 2;
    track->looks++;
    if (track->looks < FILTER_LOOKS ||
        !is_old(in->now_ns, track->settled_ns, sums->response_ns + in->config->feeder[0].refresh_ns)) {
        return;
    }
    int32_t error_w = clamp_i32((int32_t)(track->error_q8 >> 8), -sums->rating_w, sums->rating_w);
    int32_t bound_w = sums->rating_w >> 2; /* what corrects a quarter of all EVSEs is no correction any more */
    track->trim_w = clamp_i32(track->trim_w + (error_w >> TRIM_SHIFT), -bound_w, bound_w);
    track->push_w = clamp_i32(error_w >> PUSH_SHIFT, -bound_w, bound_w);
    restart_look(in->now_ns, track);
}

int64_t v2g_track(const struct v2g_track_in *in, struct v2g_site_state *memory, struct v2g_site_view *view) {
    struct v2g_track_state *track = &memory->track;
    struct sums sums = {0};
    for (uint32_t i = 0; i < in->config->evses; i++) {
        watch_evse(in, i, &memory->evse[i], &sums);
    }
    estimate_base(in, &sums, track);
    view->base_w = track->base_w;
    view->measured_w = track->base_w;
    if (is_metered(in)) {
        view->measured_w = in->image->meter[in->config->feeder[0].meter].value[V2G_M_P_TOTAL];
    }
    if (in->wish->present == 0) { /* bumpless: a later target begins without a correction from before */
        track->started &= ~(uint32_t)STARTED_TARGET;
        track->trim_w = 0;
        track->push_w = 0;
        track->asked_w = sums.told_w;
        restart_look(in->now_ns, track);
        return 0;
    }
    int32_t target_w = damped_target_w(in->wish, track) + in->offset_w;
    if (is_metered(in)) {
        look(in, target_w, &sums, track);
    } else {
        restart_look(in->now_ns, track);
    }
    int64_t known_w = (int64_t)target_w - track->base_w - sums.others_w + sums.unused_w;
    if ((known_w < 0) != (track->asked_w < 0)) { /* EVSEs that take too little charging discharge too little: the sign turns */
        track->push_w = 0;
        track->trim_w = 0;
    }
    int64_t asked_w = known_w + track->push_w + track->trim_w;
    track->asked_w = asked_w;
    view->target_w = target_w;
    view->trim_w = track->trim_w + track->push_w;
    view->present |= 1u;
    return asked_w;
}
