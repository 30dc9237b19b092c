/* Row 5: the fuse tree.
 *
 * Feeder law: base load = measured - sum of the EVSEs below at the sample's time; room = limit - base load - drift since then.
 * Every EVSE is booked at the most that may flow through it (its setpoint, its measured power, an earlier setpoint that is not
 * yet confirmed), so that the bookings, not the wishes, fit every lane of every feeder on the way to the grid. Charging and
 * discharging are booked apart: discharging earns no room for charging.
 *
 * Parents stand before their children in the table, so one pass up and one pass down the array walk the tree. */
#include "chain.h"

/* Most power whose load fits into a phase's room; the inverse of v2g_load, rounded down. */
static int32_t power_for_phase(const struct v2g_evse_config *config, bool balanced, int32_t room_w) {
    int32_t count = balanced ? config->phase_count : 1;
    if (room_w <= 0) {
        return 0;
    }
    if (room_w > V2G_POWER_MAX_W) {
        return V2G_POWER_MAX_W;
    }
    return count == 3 ? room_w + room_w + room_w : (count == 2 ? room_w + room_w : room_w);
}

void v2g_feeders_begin(const struct v2g_config *config, struct v2g_feeder_work *feeders) {
    for (uint32_t f = 0; f < config->feeders; f++) {
        feeders[f] = (struct v2g_feeder_work){.share_w = V2G_POWER_MAX_W};
    }
}

static void add_lanes(struct v2g_lanes *sum, struct v2g_lanes part) {
    for (int lane = 0; lane < V2G_LANES; lane++) {
        sum->w[lane] += part.w[lane];
    }
}

static void sub_lanes(struct v2g_lanes *sum, struct v2g_lanes part) {
    for (int lane = 0; lane < V2G_LANES; lane++) {
        sum->w[lane] -= part.w[lane];
    }
}

static void max_lanes(struct v2g_lanes *most, struct v2g_lanes other) {
    for (int lane = 0; lane < V2G_LANES; lane++) {
        most->w[lane] = max_i32(most->w[lane], other.w[lane]);
    }
}

/* What an EVSE that is not heard may be doing: nothing if its silence is known to mean 0 W, else anything up to its rating. */
static int32_t silent_w(const struct v2g_evse_config *evse, const struct v2g_evse_in *in, int32_t book_w, int32_t rating_w) {
    return silence_known(evse, in) ? book_w : max_i32(book_w, rating_w);
}

/* What flows now, as magnitudes: measured where the phase currents are known; else only the sum is known and the phases lie
 * anywhere between nothing and all of it, unless the load is known to be even. */
static void flow(const struct v2g_evse_config *evse, bool balanced, uint32_t known, const struct v2g_evse_in *in, int32_t sum_w,
                 struct v2g_lanes *low, struct v2g_lanes *high) {
    if (has(known, V2G_PHASES)) {
        for (int lane = 0; lane < V2G_LANE_TOTAL; lane++) {
            high->w[lane] = clamp_i32(in->value[V2G_F_P_L1 + lane], 0, V2G_POWER_MAX_W);
        }
        high->w[V2G_LANE_TOTAL] = sum_w;
        *low = *high;
        return;
    }
    *high = v2g_load(evse, balanced, sum_w);
    bool even = balanced || evse->phase_count == 1;
    *low = even ? *high : (struct v2g_lanes){{0, 0, 0, sum_w}};
}

static void book_heard(const struct v2g_evse_config *evse, bool balanced, const struct v2g_evse_in *in, struct v2g_work *work,
                       struct v2g_feeder_work *feeder) {
    int32_t power_w = power_of(in);
    struct v2g_lanes low, high;
    flow(evse, balanced, work->known, in, power_w < 0 ? -power_w : power_w, &low, &high);
    if (power_w >= 0) {
        max_lanes(&work->booked_charge, high);
        add_lanes(&feeder->now_min, low);
        add_lanes(&feeder->now_max, high);
    } else {
        max_lanes(&work->booked_discharge, high);
        sub_lanes(&feeder->now_min, high);
        sub_lanes(&feeder->now_max, low);
    }
}

void v2g_feeders_book(const struct v2g_evse_config *evse, const struct v2g_evse_state *state, const struct v2g_evse_in *in,
                      struct v2g_work *work, struct v2g_feeder_work *feeders) {
    bool balanced = (state->latch & V2G_LATCH_BALANCED) != 0;
    bool heard = has(work->known, 1u << V2G_F_POWER);
    struct v2g_feeder_work *feeder = &feeders[evse->feeder];
    int32_t charge_w = heard ? state->book_charge_w : silent_w(evse, in, state->book_charge_w, evse->rating_charge_w);
    int32_t discharge_w =
        heard ? state->book_discharge_w : silent_w(evse, in, state->book_discharge_w, evse->rating_discharge_w);
    work->booked_charge = v2g_load(evse, balanced, charge_w);
    work->booked_discharge = v2g_load(evse, balanced, discharge_w);
    if (heard) {
        book_heard(evse, balanced, in, work, feeder);
    } else {
        sub_lanes(&feeder->now_min, work->booked_discharge);
        add_lanes(&feeder->now_max, work->booked_charge);
    }
    /* Bookings are subtracted from the room when it is known; until then they gather here, negative. */
    sub_lanes(&feeder->import, work->booked_charge);
    sub_lanes(&feeder->export, work->booked_discharge);
}

/* A meter is believed while its last sample is young, its liveness signal moves, and it has come back three times with a plan
 * made since its loss. */
static void watch_meter(const struct v2g_feeder_config *feeder, const struct v2g_plan *plan, const struct v2g_meter_in *in,
                        int64_t now_ns, struct v2g_feeder_state *state) {
    const uint32_t lanes = 1u << V2G_M_P_L1 | 1u << V2G_M_P_L2 | 1u << V2G_M_P_L3 | 1u << V2G_M_P_TOTAL;
    bool good = (in->valid & lanes) == lanes;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && !is_old(now_ns, in->acquired_ns[V2G_M_P_L1 + lane], feeder->meter_age_ns);
    }
    if (feeder->liveness_age_ns != 0) {
        good = good && !is_old(now_ns, in->changed_ns[V2G_M_LIVENESS], feeder->liveness_age_ns);
    }
    if (!good) {
        state->fresh = 0;
        if (state->lost == 0) {
            state->lost = 1;
            state->lost_epoch = plan->epoch;
        }
        return;
    }
    if (in->acquired_ns[V2G_M_P_TOTAL] != state->seen_ns && state->fresh < V2G_FRESH_TIMES) {
        state->fresh++;
    }
    state->seen_ns = in->acquired_ns[V2G_M_P_TOTAL];
    if (state->lost != 0 && state->fresh >= V2G_FRESH_TIMES && is_newer(plan->epoch, state->lost_epoch)) {
        state->lost = 0;
        state->sample_ns = V2G_NEVER; /* the next sample is taken at once */
    }
}

/* The lowest and highest sum of the EVSEs below during the last one to two refresh times of the meter: a sample describes some
 * moment in there. */
static void watch_sum(const struct v2g_feeder_config *feeder, const struct v2g_feeder_work *work, int64_t now_ns,
                      struct v2g_feeder_state *state) {
    bool next = is_old(now_ns, state->run_ns, feeder->refresh_ns);
    if (next) {
        state->run_ns = now_ns;
    }
    for (int lane = 0; lane < V2G_LANES; lane++) {
        if (next) {
            state->past_min_w[lane] = state->run_min_w[lane];
            state->past_max_w[lane] = state->run_max_w[lane];
            state->run_min_w[lane] = work->now_min.w[lane];
            state->run_max_w[lane] = work->now_max.w[lane];
        } else {
            state->run_min_w[lane] = min_i32(state->run_min_w[lane], work->now_min.w[lane]);
            state->run_max_w[lane] = max_i32(state->run_max_w[lane], work->now_max.w[lane]);
        }
    }
}

/* A sample is used once: when its value changed, or when the meter must have renewed it since. Using it twice would count our
 * own reaction to it as base load. */
static void take_sample(const struct v2g_feeder_config *feeder, const struct v2g_meter_in *in, struct v2g_feeder_state *state) {
    int64_t acquired_ns = in->acquired_ns[V2G_M_P_TOTAL];
    bool renewed = state->sample_ns == V2G_NEVER || is_old(acquired_ns, state->sample_ns, feeder->refresh_ns) ||
                   in->changed_ns[V2G_M_P_TOTAL] > state->sample_ns;
    if (acquired_ns == state->sample_ns || !renewed) {
        state->drift_q8 = min_i32(state->drift_q8 + feeder->slew_q8, V2G_POWER_MAX_W * 256);
        return;
    }
    state->sample_ns = acquired_ns;
    state->drift_q8 = 0;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t measured_w = clamp_i32(in->value[V2G_M_P_L1 + lane], -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
        state->base_high_w[lane] = measured_w - min_i32(state->past_min_w[lane], state->run_min_w[lane]);
        state->base_low_w[lane] = measured_w - max_i32(state->past_max_w[lane], state->run_max_w[lane]);
    }
}

/* Allowance of all EVSEs below, before bookings. */
static void find_room(const struct v2g_feeder_config *feeder, const struct v2g_feeder_plan *plan, bool fresh_plan,
                      int64_t now_ns, struct v2g_feeder_state *state) {
    bool over = !fresh_plan || now_ns > plan->until_ns;
    int32_t drift_w = state->drift_q8 >> 8;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t import_w = feeder->import_w[lane];
        int32_t export_w = feeder->export_w[lane];
        if (lane == V2G_LANE_TOTAL) {
            import_w = min_i32(import_w, over ? min_i32(plan->import_w, plan->after_import_w) : plan->import_w);
            export_w = min_i32(export_w, over ? min_i32(plan->export_w, plan->after_export_w) : plan->export_w);
        }
        if (feeder->meter == V2G_NONE) {
            state->room_import_w[lane] = import_w - feeder->base_w[lane];
            state->room_export_w[lane] = export_w;
        } else if (state->lost != 0) {
            int32_t fallback_w = min_i32(feeder->fallback_w[lane], import_w - feeder->base_w[lane]);
            state->room_import_w[lane] = min_i32(state->room_import_w[lane], fallback_w);
            state->room_export_w[lane] = 0;
        } else {
            state->room_import_w[lane] = import_w - state->base_high_w[lane] - drift_w;
            state->room_export_w[lane] = export_w + state->base_low_w[lane] - drift_w;
        }
    }
}

static bool overbooked(const struct v2g_feeder_work *work) {
    uint32_t signs = 0;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        signs |= (uint32_t)work->import.w[lane] | (uint32_t)work->export.w[lane];
    }
    return signs >> 31 != 0u;
}

void v2g_feeders_room(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                      const struct v2g_image *image, int64_t now_ns, struct v2g_feeder_work *feeders) {
    bool fresh_plan = now_ns <= plan->lease_ns;
    for (uint32_t f = config->feeders; f-- > 1;) { /* children before parents */
        struct v2g_feeder_work *parent = &feeders[config->feeder[f].parent];
        add_lanes(&parent->now_min, feeders[f].now_min);
        add_lanes(&parent->now_max, feeders[f].now_max);
        add_lanes(&parent->import, feeders[f].import);
        add_lanes(&parent->export, feeders[f].export);
    }
    for (uint32_t f = 0; f < config->feeders; f++) { /* parents before children */
        const struct v2g_feeder_config *feeder = &config->feeder[f];
        struct v2g_feeder_state *fs = &state->feeder[f];
        struct v2g_feeder_work *work = &feeders[f];
        if (feeder->meter != V2G_NONE) {
            watch_meter(feeder, plan, &image->meter[feeder->meter], now_ns, fs);
            watch_sum(feeder, work, now_ns, fs);
            if (fs->lost == 0) {
                take_sample(feeder, &image->meter[feeder->meter], fs);
            }
        }
        find_room(feeder, &plan->feeder[f], fresh_plan, now_ns, fs);
        for (int lane = 0; lane < V2G_LANES; lane++) {
            work->import.w[lane] += fs->room_import_w[lane];
            work->export.w[lane] += fs->room_export_w[lane];
        }
        work->meter_lost = feeder->meter != V2G_NONE && fs->lost != 0;
        work->share_w = work->meter_lost ? feeder->share_w : V2G_POWER_MAX_W;
        work->tight = overbooked(work);
        if (f > 0) {
            const struct v2g_feeder_work *parent = &feeders[feeder->parent];
            work->meter_lost = work->meter_lost || parent->meter_lost;
            work->share_w = min_i32(work->share_w, parent->share_w);
            work->tight = work->tight || parent->tight;
        }
    }
}

static uint8_t lane_reason(uint32_t feeder, int lane) {
    if (lane != V2G_LANE_TOTAL) {
        return V2G_PHASE_LIMIT;
    }
    return feeder == 0 ? V2G_SITE_LIMIT : V2G_FEEDER_LIMIT;
}

/* Room for one EVSE on one feeder: what is left, plus what it has booked itself. */
static int32_t fit(const struct v2g_evse_config *evse, bool balanced, uint32_t feeder, const struct v2g_lanes *left,
                   const struct v2g_lanes *booked, int32_t wanted_w, uint8_t *reason) {
    int32_t magnitude_w = wanted_w;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        if (lane != V2G_LANE_TOTAL && (evse->phases >> lane & 1) == 0) {
            continue;
        }
        int32_t room_w = left->w[lane] + booked->w[lane];
        int32_t most_w = lane == V2G_LANE_TOTAL ? max_i32(room_w, 0) : power_for_phase(evse, balanced, room_w);
        if (most_w < magnitude_w) {
            magnitude_w = most_w;
            *reason = lane_reason(feeder, lane);
        }
    }
    return magnitude_w;
}

/* Enter the decision: a higher setpoint takes room now; a lower one relieves an overbooked lane, but what it frees is given to
 * nobody before the EVSE has confirmed it. */
static void settle(struct v2g_lanes *left, const struct v2g_lanes *booked, const struct v2g_lanes *load) {
    for (int lane = 0; lane < V2G_LANES; lane++) {
        int32_t left_w = left->w[lane];
        int32_t freed_w = booked->w[lane] - load->w[lane];
        int32_t relieved_w = left_w < 0 ? min_i32(left_w + freed_w, 0) : left_w;
        left->w[lane] = freed_w < 0 ? left_w + freed_w : relieved_w;
    }
}

static bool is_nothing(const struct v2g_lanes *lanes) {
    uint32_t bits = 0;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        bits |= (uint32_t)lanes->w[lane];
    }
    return bits == 0u;
}

/* What one direction gets on the way to the grid connection, entered on every feeder of it. */
static int32_t take(const struct v2g_config *config, const struct v2g_evse_config *evse, bool balanced, bool charging,
                    const struct v2g_lanes *booked, int32_t wanted_w, struct v2g_feeder_work *feeders, uint8_t *reason) {
    int32_t given_w = wanted_w;
    if (wanted_w == 0 && is_nothing(booked)) {
        return 0;
    }
    uint32_t f = evse->feeder;
    for (int depth = 0; depth < V2G_MAX_DEPTH && f != V2G_NONE; depth++, f = config->feeder[f].parent) {
        given_w = fit(evse, balanced, f, charging ? &feeders[f].import : &feeders[f].export, booked, given_w, reason);
    }
    struct v2g_lanes load = v2g_load(evse, balanced, given_w);
    f = evse->feeder;
    for (int depth = 0; depth < V2G_MAX_DEPTH && f != V2G_NONE; depth++, f = config->feeder[f].parent) {
        settle(charging ? &feeders[f].import : &feeders[f].export, booked, &load);
    }
    return given_w;
}

int32_t v2g_feeders_take(const struct v2g_config *config, const struct v2g_evse_config *evse, bool balanced,
                         struct v2g_work *work, struct v2g_feeder_work *feeders) {
    int32_t charge_w = max_i32(work->want_w, 0);
    int32_t discharge_w = max_i32(-work->want_w, 0);
    /* Nothing is short and nothing new is taken: every lane of a booking covers at least the load of its sum. */
    if (!feeders[evse->feeder].tight && charge_w <= work->booked_charge.w[V2G_LANE_TOTAL] &&
        discharge_w <= work->booked_discharge.w[V2G_LANE_TOTAL]) {
        return work->want_w;
    }
    return take(config, evse, balanced, true, &work->booked_charge, charge_w, feeders, &work->feeder_reason) -
           take(config, evse, balanced, false, &work->booked_discharge, discharge_w, feeders, &work->feeder_reason);
}

bool v2g_feeders_hold(const struct v2g_config *config, const struct v2g_state *state, const struct v2g_setpoints *out) {
    struct v2g_lanes charge[V2G_MAX_FEEDERS];
    struct v2g_lanes discharge[V2G_MAX_FEEDERS];
    struct v2g_lanes zero = {{0}};
    uint32_t excess = 0;
    for (uint32_t f = 0; f < config->feeders; f++) {
        charge[f] = zero;
        discharge[f] = zero;
    }
    for (uint32_t i = 0; i < config->evses; i++) {
        const struct v2g_evse_config *evse = &config->evse[i];
        bool balanced = (state->evse[i].latch & V2G_LATCH_BALANCED) != 0;
        int32_t target_w = out->evse[i].target_w;
        struct v2g_lanes load = v2g_load(evse, balanced, target_w < 0 ? -target_w : target_w);
        add_lanes(target_w < 0 ? &discharge[evse->feeder] : &charge[evse->feeder], load);
    }
    for (uint32_t f = config->feeders; f-- > 0;) {
        for (int lane = 0; lane < V2G_LANES; lane++) {
            excess |= (uint32_t)(charge[f].w[lane] > max_i32(state->feeder[f].room_import_w[lane], 0));
            excess |= (uint32_t)(discharge[f].w[lane] > max_i32(state->feeder[f].room_export_w[lane], 0));
        }
        if (f > 0) {
            add_lanes(&charge[config->feeder[f].parent], charge[f]);
            add_lanes(&discharge[config->feeder[f].parent], discharge[f]);
        }
    }
    return excess == 0u;
}
