/* The constraint chain (architecture.md section 6). Each row is one function that can only lower what the rows before it allow;
 * what has to be remembered between cycles is done in `track`, before the rows. */
#include "chain.h"

#include <stddef.h>

/* ---- What is remembered ------------------------------------------------------------------------------------------------ */

static void track_link(uint32_t known, const struct v2g_plan *plan, const struct v2g_evse_in *in,
                       struct v2g_evse_state *state) {
    if (!has(known, V2G_LINK)) {
        if ((state->latch & V2G_LATCH_LOST) == 0) {
            state->lost_epoch = plan->epoch;
        }
        state->latch |= V2G_LATCH_LOST | V2G_LATCH_RETURNING;
        state->latch &=
            ~(uint32_t)(V2G_LATCH_PLUGGED | V2G_LATCH_BALANCED); /* nobody sees what happens to the plug meanwhile */
        state->fresh = 0;
        return;
    }
    if (in->acquired_ns[V2G_F_STATE] != state->seen_ns && state->fresh < V2G_FRESH_TIMES) {
        state->fresh++;
    }
    state->seen_ns = in->acquired_ns[V2G_F_STATE];
    if ((state->latch & V2G_LATCH_LOST) != 0 && state->fresh >= V2G_FRESH_TIMES && is_newer(plan->epoch, state->lost_epoch)) {
        state->latch &= ~(uint32_t)(V2G_LATCH_LOST | V2G_LATCH_START);
    }
}

/* Plugging in voids what was known of the vehicle before: SOC, capability, capacity, its way of loading phases, its target. */
static void track_session(const struct v2g_evse_config *config, const struct v2g_evse_in *in, struct v2g_evse_state *state) {
    if ((state->latch & V2G_LATCH_LOST) != 0) {
        return;
    }
    int32_t pilot = in->value[V2G_F_STATE];
    bool there = (in->value[V2G_F_FLAGS] & V2G_FLAG_EV_PRESENT) != 0 && pilot != V2G_STATE_A && pilot != V2G_STATE_E &&
                 pilot != V2G_STATE_F;
    if (!there) {
        state->latch &= ~(uint32_t)(V2G_LATCH_PLUGGED | V2G_LATCH_CEILING);
    } else if ((state->latch & V2G_LATCH_PLUGGED) == 0) {
        state->latch |= V2G_LATCH_PLUGGED | V2G_LATCH_FLOOR;
        state->latch &= ~(uint32_t)V2G_LATCH_BALANCED;
        state->plugged_ns = in->acquired_ns[V2G_F_STATE];
    }
    if ((config->option & V2G_EVSE_BALANCED) != 0) {
        state->latch |= V2G_LATCH_BALANCED;
    }
}

enum { BALANCE_FROM_W = 1000, BALANCE_TOLERANCE_W = 500 }; /* below the first no phase current says anything; 2 A of spread */

static void track_balance(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_in *in,
                          struct v2g_evse_state *state) {
    int32_t power_w = power_of(in);
    int32_t magnitude_w = power_w < 0 ? -power_w : power_w;
    if (magnitude_w < BALANCE_FROM_W || (state->latch & V2G_LATCH_LOST) != 0) {
        return;
    }
    int32_t most_w = phase_share(config, true, magnitude_w) + BALANCE_TOLERANCE_W;
    if (has(known, V2G_PHASES) && in->value[V2G_F_P_L1] <= most_w && in->value[V2G_F_P_L2] <= most_w &&
        in->value[V2G_F_P_L3] <= most_w) {
        state->latch |= V2G_LATCH_BALANCED;
    } else if ((config->option & V2G_EVSE_BALANCED) == 0) {
        state->latch &= ~(uint32_t)V2G_LATCH_BALANCED;
    }
}

/* An EVSE stays booked at its earlier, higher setpoint until a measurement confirms the lower one or its reaction time is over,
 * and never at less than was last measured.
 * If it then still lies outside its interval it is not following. */
static void track_following(const struct v2g_evse_config *config, uint32_t known, const struct v2g_plan *plan,
                            const struct v2g_evse_in *in, int64_t now_ns, struct v2g_evse_state *state) {
    int32_t charge_w = max_i32(state->target_w, 0);
    int32_t discharge_w = max_i32(-state->target_w, 0);
    bool heard = has(known, 1u << V2G_F_POWER);
    int32_t power_w = power_of(in);
    bool outside =
        heard && (power_w > charge_w + config->follow_tolerance_w || power_w < -discharge_w - config->follow_tolerance_w);
    bool reacted = is_old(now_ns, state->lowered_ns, config->reaction_ns);
    bool confirmed = heard && !outside && in->acquired_ns[V2G_F_POWER] > state->lowered_ns;
    if (confirmed || reacted) {
        state->book_charge_w = charge_w;
        state->book_discharge_w = discharge_w;
    }
    if (heard) {
        state->book_charge_w = max_i32(state->book_charge_w, power_w);
        state->book_discharge_w = max_i32(state->book_discharge_w, -power_w);
    }
    if (!outside) {
        state->outside_ns = V2G_NEVER;
        if (heard && is_newer(plan->limits_epoch, state->follow_epoch)) {
            state->latch &= ~(uint32_t)V2G_LATCH_NOT_FOLLOWING;
        }
    } else if (state->outside_ns == V2G_NEVER) {
        state->outside_ns = now_ns;
    } else if (reacted && is_old(now_ns, state->outside_ns, config->reaction_ns)) {
        if ((state->latch & V2G_LATCH_NOT_FOLLOWING) == 0) {
            state->follow_epoch = plan->limits_epoch;
        }
        state->latch |= V2G_LATCH_NOT_FOLLOWING | V2G_LATCH_RETURNING;
    }
}

static void track(const struct v2g_evse_config *config, uint32_t known, const struct v2g_plan *plan,
                  const struct v2g_evse_in *in, int64_t now_ns, struct v2g_evse_state *state) {
    track_link(known, plan, in, state);
    track_session(config, in, state);
    track_balance(config, known, in, state);
    track_following(config, known, plan, in, now_ns, state);
}

/* ---- The rows ---------------------------------------------------------------------------------------------------------- */

/* A value of this vehicle, not of the one before. */
static bool of_session(const struct v2g_evse_state *state, const struct v2g_evse_in *in, enum v2g_field field) {
    return in->acquired_ns[field] >= state->plugged_ns;
}

static void row_rating(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_in *in,
                       const struct v2g_evse_state *state, struct v2g_band *band) {
    *band = (struct v2g_band){config->rating_charge_w, config->rating_discharge_w, V2G_RATING, V2G_RATING};
    /* Row 6 answers first for an EVSE that is not heard: what it once said explains nothing any more. */
    if ((state->latch & V2G_LATCH_LOST) != 0) {
        cap_both(band, 0, (state->latch & V2G_LATCH_START) != 0 ? V2G_INIT : V2G_EVSE_LOST);
    }
    int32_t flags = in->value[V2G_F_FLAGS];
    int32_t pilot = in->value[V2G_F_STATE];
    if ((flags & V2G_FLAG_E_STOP) != 0) {
        cap_both(band, 0, V2G_E_STOP);
    }
    if ((flags & V2G_FLAG_FAULT) != 0 || pilot == V2G_STATE_E || pilot == V2G_STATE_F) {
        cap_both(band, 0, V2G_EVSE_FAULT);
    }
    if ((state->latch & V2G_LATCH_PLUGGED) == 0 ||
        (pilot != V2G_STATE_C && pilot != V2G_STATE_D && pilot != V2G_STATE_TRANSFER)) {
        cap_both(band, 0, V2G_NOT_READY);
    }
    /* A vehicle limit of this session holds on when its frames stop: losing an input never loosens. */
    if (of_session(state, in, V2G_F_MAX_CHARGE)) {
        cap_charge(band, in->value[V2G_F_MAX_CHARGE], V2G_RATING);
    }
    /* Bidirectional capability is learnt in this session, never assumed. */
    if ((flags & V2G_FLAG_BIDIRECTIONAL) == 0 || !of_session(state, in, V2G_F_MAX_DISCHARGE) ||
        !has(known, 1u << V2G_F_MAX_DISCHARGE)) {
        cap_discharge(band, 0, V2G_ERR_BIDIRECTIONAL_UNSUPPORTED);
    }
    cap_discharge(band, in->value[V2G_F_MAX_DISCHARGE], V2G_RATING);
    if ((config->option & V2G_EVSE_DISCHARGE) == 0 || !silence_known(config, in)) {
        cap_discharge(band, 0, V2G_RATING);
    }
}

static void row_soc(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_plan *plan,
                    const struct v2g_evse_in *in, const struct v2g_estimate *estimate, struct v2g_evse_state *state,
                    struct v2g_band *band) {
    int32_t soc = in->value[V2G_F_SOC];
    bool told = (config->option & V2G_EVSE_SOC_SOURCE) != 0 && has(known, 1u << V2G_F_SOC) &&
                of_session(state, in, V2G_F_SOC) && soc >= 0 && soc <= V2G_SOC_MAX;
    if (!told) {
        state->latch |= V2G_LATCH_FLOOR;
        cap_discharge(band, 0, V2G_SOC_UNKNOWN);
        if ((state->latch & V2G_LATCH_CEILING) != 0) {
            cap_charge(band, 0, V2G_SOC_CEILING);
        }
        return;
    }
    int32_t floor = max_i32(config->soc_floor, plan->soc_floor);
    int32_t lowest = soc - config->soc_margin;
    int32_t highest = soc + config->soc_margin;
    if (lowest <= floor) {
        state->latch |= V2G_LATCH_FLOOR;
    } else if (lowest >= floor + config->soc_hysteresis) {
        state->latch &= ~(uint32_t)V2G_LATCH_FLOOR;
    }
    if (highest >= config->soc_ceiling) {
        state->latch |= V2G_LATCH_CEILING;
    } else if (highest <= config->soc_ceiling - config->soc_hysteresis) {
        state->latch &= ~(uint32_t)V2G_LATCH_CEILING;
    }
    if ((estimate->flag & V2G_ESTIMATE_SOC_DOUBT) != 0 && lowest > floor) {
        state->latch |= V2G_LATCH_FLOOR; /* a lying SOC may be anywhere; one that admits to the floor is believed */
        cap_discharge(band, 0, V2G_SOC_UNKNOWN);
    }
    if ((state->latch & V2G_LATCH_FLOOR) != 0) {
        cap_discharge(band, 0, V2G_ERR_V2G_LIMIT_REACHED);
    }
    if ((state->latch & V2G_LATCH_CEILING) != 0) {
        cap_charge(band, 0, V2G_SOC_CEILING);
    }
}

/* Absolute limit at a temperature: a look-up, so that hotter can never give more than the falling table says. */
static int32_t derated_w(const struct v2g_derate *table, int32_t temp) {
    if (temp < table->start) {
        return V2G_POWER_MAX_W;
    }
    int32_t step = (min_i32(temp, V2G_TEMP_MAX) - table->start) >> table->shift;
    return step < V2G_DERATE_STEPS ? table->limit_w[step] : 0;
}

/* A hard stop latches until the sensor has stayed at or below resume for the hold time. */
static void track_heat(const struct v2g_derate *table, int sensor, int32_t temp, int64_t now_ns, struct v2g_evse_state *state) {
    uint32_t bit = (uint32_t)V2G_LATCH_THERMAL << sensor;
    if (temp >= table->stop) {
        state->latch |= bit | V2G_LATCH_RETURNING;
    }
    if ((state->latch & bit) == 0 || temp > table->resume) {
        state->cool_ns[sensor] = V2G_NEVER;
    } else if (state->cool_ns[sensor] == V2G_NEVER) {
        state->cool_ns[sensor] = now_ns;
    } else if (is_old(now_ns, state->cool_ns[sensor], table->resume_hold_ns)) {
        state->latch &= ~bit;
    }
}

/* Colder than any sensor reads is no value; hotter than any reads is hot. */
static bool temperature_known(uint32_t known, const struct v2g_evse_in *in, enum v2g_field field) {
    return has(known, 1u << field) && in->value[field] >= V2G_TEMP_MIN;
}

static void row_thermal(const struct v2g_config *site, const struct v2g_evse_config *config, uint32_t known,
                        const struct v2g_evse_in *in, const struct v2g_estimate *estimate, int64_t now_ns,
                        struct v2g_evse_state *state, struct v2g_band *band) {
    int32_t limit_w = V2G_POWER_MAX_W;
    bool all_known = true;
#pragma GCC unroll 8
    for (int sensor = 0; sensor < V2G_SENSORS; sensor++) {
        if (config->derate[sensor] == V2G_NONE) {
            continue;
        }
        const struct v2g_derate *table = &site->derate[config->derate[sensor]];
        enum v2g_field field = (enum v2g_field)(V2G_F_T_CONNECTOR + sensor);
        uint32_t bit = (uint32_t)V2G_LATCH_THERMAL << sensor;
        if (temperature_known(known, in, field)) {
            int32_t hottest = max_i32(in->value[field], estimate->predicted[sensor]);
            if ((state->latch & bit) == 0 && hottest < table->start && hottest < table->stop) {
                state->cool_ns[sensor] = V2G_NEVER;
                continue; /* neither table nor latch has anything to say */
            }
            track_heat(table, sensor, in->value[field], now_ns, state);
            limit_w = min_i32(limit_w, derated_w(table, hottest));
        } else {
            all_known = false;
            state->cool_ns[sensor] = V2G_NEVER; /* nobody saw it stay cool */
        }
        if ((state->latch & bit) != 0) {
            cap_both(band, 0, V2G_THERMAL_STOP);
        }
    }
    cap_both(band, limit_w, V2G_THERMAL_DERATE);
    int32_t charge_w = limit_w;
    if (config->derate[V2G_S_CELL] != V2G_NONE) {
        if (!temperature_known(known, in, V2G_F_T_CELL_MIN)) {
            all_known = false;
        } else if (in->value[V2G_F_T_CELL_MIN] < config->cell_cold) {
            charge_w = 0;
            cap_charge(band, 0, V2G_THERMAL_DERATE);
        }
    }
    state->thermal_w = all_known ? charge_w : min_i32(state->thermal_w, charge_w); /* what is not known can only tighten */
    if (!all_known) {
        cap_discharge(band, 0, V2G_THERMAL_SENSOR);
        cap_charge(band, min_i32(state->thermal_w, config->sensor_lost_charge_w), V2G_THERMAL_SENSOR);
    }
}

static enum v2g_reason known_reason(uint16_t reason, enum v2g_reason otherwise) {
    return reason < V2G_REASON_COUNT ? (enum v2g_reason)reason : otherwise;
}

static void row_grid(const struct v2g_proposal *proposal, struct v2g_band *band) {
    if (proposal->grid_charge != 0) {
        cap_charge(band, 0, known_reason(proposal->grid_charge, V2G_GRID_FREQUENCY));
    }
    if (proposal->grid_discharge != 0) {
        cap_discharge(band, 0, known_reason(proposal->grid_discharge, V2G_GRID_FREQUENCY));
    }
}

/* The part of row 5 that needs no sums: a lost meter leaves each EVSE its static share, and no discharging. */
static void row_meter(const struct v2g_feeder_work *feeder, struct v2g_band *band) {
    if (feeder->meter_lost) {
        cap_charge(band, feeder->share_w, V2G_STALE_METER);
        cap_discharge(band, 0, V2G_STALE_METER);
    }
}

/* The plan's bounds and wish as they hold now. */
struct spoken {
    int32_t min_w, max_w, target_w;
    enum v2g_reason why;
};

static struct spoken spoken(const struct v2g_plan *plan, const struct v2g_evse_plan *evse, uint32_t health, int64_t now_ns) {
    if (now_ns <= evse->until_ns && now_ns <= plan->lease_ns && (health & V2G_HEALTH_ON_TIME) != 0) {
        return (struct spoken){evse->min_w, evse->max_w, evse->target_w, V2G_PLAN_LIMIT};
    }
    return (struct spoken){max_i32(evse->min_w, evse->after_min_w), min_i32(evse->max_w, evse->after_max_w),
                           evse->after_target_w, (health & V2G_HEALTH_ON_TIME) != 0 ? V2G_ERR_SIG_TIMEOUT : V2G_OVERRUN};
}

static void row_leases(const struct v2g_config *site, const struct v2g_evse_state *state, const struct spoken *spoken,
                       uint32_t health, struct v2g_band *band) {
    bool lab = (site->option & V2G_CONFIG_LAB) != 0;
    cap_charge(band, spoken->max_w, spoken->why);
    cap_discharge(band, -spoken->min_w, spoken->why);
    if ((state->latch & V2G_LATCH_NOT_FOLLOWING) != 0) {
        cap_both(band, 0, V2G_NOT_FOLLOWING);
    }
    if ((site->option & V2G_CONFIG_GUARD_REQUIRED) != 0 && (health & V2G_HEALTH_GUARD) == 0 && !lab) {
        cap_both(band, 0, V2G_GUARD_LOST);
    }
    if ((health & V2G_HEALTH_REALTIME) == 0 && !lab) {
        cap_discharge(band, 0, V2G_NOT_REALTIME);
    }
}

static void row_lockout(const struct v2g_evse_plan *plan, struct v2g_band *band) {
    /* The lock is the reason to show even where another row also says 0: only who set it can lift it. */
    if ((plan->flag & V2G_PLAN_LOCKED) != 0) {
        *band = (struct v2g_band){.why_charge = V2G_LOCKOUT, .why_discharge = V2G_LOCKOUT};
    }
}

/* Movement away from 0 is limited, towards 0 it is free; a reversal stops at 0 for a cycle. */
static int32_t row_ramp(const struct v2g_evse_config *config, const struct v2g_evse_plan *plan,
                        const struct v2g_proposal *proposal, int32_t target_w, const struct v2g_evse_state *state) {
    bool returning = (state->latch & V2G_LATCH_RETURNING) != 0;
    int32_t step_q8 = returning ? config->ramp_return_q8 : config->ramp_q8;
    if (plan->ramp_q8 > 0) {
        step_q8 = min_i32(step_q8, plan->ramp_q8);
    }
    if ((proposal->option & V2G_PROPOSE_FAST) != 0 && !returning) {
        step_q8 = max_i32(step_q8, config->ramp_frequency_q8);
    }
    int32_t from_q8 = state->ramp_q8;
    int32_t to_q8 = target_w * 256;
    if (to_q8 == 0 || (from_q8 > 0 && to_q8 < 0) || (from_q8 < 0 && to_q8 > 0)) {
        return 0;
    }
    return to_q8 > 0 ? min_i32(to_q8, from_q8 + step_q8) : max_i32(to_q8, from_q8 - step_q8);
}

/* ---- One EVSE ---------------------------------------------------------------------------------------------------------- */

static void note(struct v2g_trace *trace, int row, const struct v2g_band *band) {
    if (trace != NULL) {
        trace->charge_w[row - 1] = band->charge_w;
        trace->discharge_w[row - 1] = band->discharge_w;
        trace->reason_charge[row - 1] = band->why_charge;
        trace->reason_discharge[row - 1] = band->why_discharge;
    }
}

/* Its share of what all have in common. The feeders are asked all the same: a share that is wrong costs fairness, never a fuse. */
static void take_share(const struct v2g_proposal *proposal, struct v2g_work *work) {
    work->share_reason = V2G_REASON_NONE;
    if ((proposal->option & V2G_PROPOSE_SHARE) == 0) {
        return;
    }
    int32_t charge_w = max_i32(proposal->share_charge_w, 0);
    int32_t discharge_w = min_i32(max_i32(proposal->share_discharge_w, 0), V2G_POWER_MAX_W);
    if (work->want_w > charge_w) {
        work->want_w = charge_w;
        work->share_reason = (uint8_t)known_reason(proposal->why_charge, V2G_FEEDER_LIMIT);
        work->reason = work->share_reason;
    } else if (work->want_w < -discharge_w) {
        work->want_w = -discharge_w;
        work->share_reason = (uint8_t)known_reason(proposal->why_discharge, V2G_FEEDER_LIMIT);
        work->reason = work->share_reason;
    }
}

/* The wish inside the band; a vehicle's target dies with its session. */
static void choose(const struct v2g_plan *plan, const struct v2g_evse_plan *evse, const struct v2g_proposal *proposal,
                   const struct spoken *spoken, const struct v2g_evse_state *state, struct v2g_work *work) {
    const struct v2g_band *band = &work->band;
    bool asked = (proposal->option & V2G_PROPOSE_TARGET) != 0;
    int32_t wish_w = asked || (evse->flag & V2G_PLAN_SITE_TARGET) != 0 ? proposal->target_w : spoken->target_w;
    work->wish_w = plan->made_ns >= state->plugged_ns ? clamp_i32(wish_w, -V2G_POWER_MAX_W, V2G_POWER_MAX_W) : 0;
    work->want_w = clamp_i32(work->wish_w, -band->discharge_w, band->charge_w);
    work->reason = asked ? (uint8_t)known_reason(proposal->why_target, V2G_GRID_FREQUENCY) : (uint8_t)V2G_REASON_NONE;
    if (work->want_w < work->wish_w) {
        work->reason = band->why_charge;
    } else if (work->want_w > work->wish_w) {
        work->reason = band->why_discharge;
    }
    take_share(proposal, work);
    /* Empty intersection: the value nearest 0 that rows 1 to 5 allow is 0 itself. Row 6 has put the plan's bounds into the band, so
     * bounds that contradict each other are found by the same two comparisons. */
    if (spoken->min_w > band->charge_w || spoken->max_w < -band->discharge_w) {
        work->want_w = 0;
        work->reason = V2G_CONFLICT;
    }
}

static void chain(const struct v2g_config *site, const struct v2g_plan *plan, uint32_t index, const struct v2g_image *image,
                  int64_t now_ns, const struct v2g_feeder_work *feeders, struct v2g_evse_state *state, struct v2g_work *work,
                  struct v2g_trace *trace) {
    const struct v2g_evse_config *config = &site->evse[index];
    const struct v2g_evse_plan *evse = &plan->evse[index];
    const struct v2g_evse_in *in = &image->evse[index];
    struct v2g_band *band = &work->band;
    struct spoken said = spoken(plan, evse, image->health, now_ns);

    row_rating(config, work->known, in, state, band);
    note(trace, 1, band);
    row_soc(config, work->known, evse, in, &image->estimate[index], state, band);
    note(trace, 2, band);
    row_thermal(site, config, work->known, in, &image->estimate[index], now_ns, state, band);
    note(trace, 3, band);
    row_grid(&image->proposal[index], band);
    note(trace, 4, band);
    row_meter(&feeders[config->feeder], band);
    note(trace, 5, band);
    row_leases(site, state, &said, image->health, band);
    note(trace, 6, band);
    row_lockout(evse, band);
    note(trace, 7, band);

    choose(plan, evse, &image->proposal[index], &said, state, work);
    int32_t ramp_q8 = row_ramp(config, evse, &image->proposal[index], work->want_w, state);
    int32_t ramped_w = ramp_q8 >= 0 ? ramp_q8 >> 8 : -(-ramp_q8 >> 8);
    if (ramped_w != work->want_w) {
        work->want_w = ramped_w;
        work->reason = V2G_RAMP;
    } else if (work->want_w != 0) { /* 0 is met at once and says nothing: a fail-safe itself asks for it */
        state->latch &= ~(uint32_t)V2G_LATCH_RETURNING;
    }
    state->ramp_q8 = ramp_q8;
    if (trace != NULL) {
        trace->wish_w = work->wish_w;
    }
}

/* A setpoint is 0 or at least the device's minimum in its direction. */
static int32_t deliverable_w(const struct v2g_evse_config *config, int32_t power_w) {
    if (power_w > 0) {
        return power_w >= config->min_charge_w ? power_w : 0;
    }
    return -power_w >= config->min_discharge_w ? power_w : 0;
}

static enum v2g_mode mode_of(const struct v2g_band *band) {
    if (band->charge_w == 0 && band->discharge_w == 0) {
        return V2G_MODE_STOP;
    }
    return band->discharge_w > 0 ? V2G_MODE_BIDIRECTIONAL : V2G_MODE_CHARGE;
}

enum { UNLEASED_MS = 1000 }; /* a fallback setpoint is renewed every cycle and dies on a slow transport after this */

static void decide(const struct v2g_config *site, const struct v2g_plan *plan, uint32_t index, int64_t now_ns,
                   struct v2g_feeder_work *feeders, struct v2g_work *work, struct v2g_evse_state *state,
                   struct v2g_setpoint *out) {
    const struct v2g_evse_config *config = &site->evse[index];
    int32_t given_w = v2g_feeders_take(site, config, (state->latch & V2G_LATCH_BALANCED) != 0, work, feeders);
    uint8_t reason = work->reason;
    if (given_w != work->want_w) {
        reason = work->feeder_reason;
        state->ramp_q8 = given_w * 256;
    }
    int32_t target_w = deliverable_w(config, given_w);
    if (target_w != given_w && reason != V2G_RAMP) {
        reason = V2G_DEVICE_MINIMUM;
    }
    bool lowered = (state->target_w > 0 && target_w < state->target_w) || (state->target_w < 0 && target_w > state->target_w);
    if (lowered) {
        state->lowered_ns = now_ns;
    }
    state->target_w = target_w;
    state->book_charge_w = max_i32(state->book_charge_w, target_w);
    state->book_discharge_w = max_i32(state->book_discharge_w, -target_w);

    int64_t until_ns = plan->evse[index].until_ns < plan->lease_ns ? plan->evse[index].until_ns : plan->lease_ns;
    bool given_less = given_w != work->want_w;
    bool shared = work->share_reason != V2G_REASON_NONE;
    uint8_t bound_min = shared && work->wish_w < 0 ? work->share_reason : work->band.why_discharge;
    uint8_t bound_max = shared && work->wish_w > 0 ? work->share_reason : work->band.why_charge;
    *out = (struct v2g_setpoint){
        .target_w = target_w,
        .min_w = min_i32(target_w, 0),
        .max_w = max_i32(target_w, 0),
        .band_min_w = -work->band.discharge_w,
        .band_max_w = work->band.charge_w,
        .reason = reason,
        .reason_min = given_less && work->want_w < 0 ? work->feeder_reason : bound_min,
        .reason_max = given_less && work->want_w > 0 ? work->feeder_reason : bound_max,
        .mode = (uint8_t)mode_of(&work->band),
        .valid_until_ns = now_ns <= until_ns ? until_ns : now_ns + (int64_t)UNLEASED_MS * 1000000,
    };
}

/* ---- The site ---------------------------------------------------------------------------------------------------------- */

bool v2g_setpoints_hold(const struct v2g_config *config, const struct v2g_state *state, const struct v2g_setpoints *out) {
    bool hold = v2g_feeders_hold(config, state, out);
    for (uint32_t i = 0; i < config->evses; i++) {
        const struct v2g_setpoint *sp = &out->evse[i];
        hold = hold && sp->min_w <= sp->target_w && sp->target_w <= sp->max_w;
        hold = hold && sp->band_min_w <= sp->min_w && sp->max_w <= sp->band_max_w;
        hold = hold && sp->max_w <= config->evse[i].rating_charge_w && -sp->min_w <= config->evse[i].rating_discharge_w;
    }
    return hold;
}

static bool sealed(const struct v2g_config *config) {
    bool intact = config->seal == v2g_head_seal(config);
    for (uint32_t d = 0; d < config->derates; d++) {
        intact = intact && config->derate[d].seal == v2g_derate_seal(&config->derate[d]);
    }
    for (uint32_t i = 0; i < config->evses; i++) {
        intact = intact && config->evse[i].seal == v2g_evse_seal(&config->evse[i]);
    }
    for (uint32_t f = 0; f < config->feeders; f++) {
        intact = intact && config->feeder[f].seal == v2g_feeder_seal(&config->feeder[f]);
    }
    return intact;
}

/* Something is wrong with the core's own memory or logic: nobody gets power until a new config is committed. */
static void all_safe(uint32_t count, int64_t now_ns, struct v2g_state *state, struct v2g_setpoints *out) {
    state->damaged = 1;
    out->safe = 1;
    out->count = count;
    for (uint32_t i = 0; i < count; i++) {
        state->evse[i].target_w = 0;
        state->evse[i].ramp_q8 = 0;
        out->evse[i] = (struct v2g_setpoint){.reason = V2G_INVARIANT,
                                             .reason_min = V2G_INVARIANT,
                                             .reason_max = V2G_INVARIANT,
                                             .mode = V2G_MODE_STOP,
                                             .valid_until_ns = now_ns + (int64_t)UNLEASED_MS * 1000000};
    }
}

/* What row 5 and row 8 made of it, for explain. */
static void note_result(struct v2g_trace *trace, const struct v2g_work *work, const struct v2g_setpoint *sp) {
    if (trace == NULL) {
        return;
    }
    if (sp->target_w != work->want_w && work->want_w > 0) {
        trace->charge_w[4] = sp->max_w;
        trace->reason_charge[4] = sp->reason;
    } else if (sp->target_w != work->want_w) {
        trace->discharge_w[4] = -sp->min_w;
        trace->reason_discharge[4] = sp->reason;
    }
    trace->charge_w[V2G_ROWS - 1] = sp->max_w;
    trace->discharge_w[V2G_ROWS - 1] = -sp->min_w;
    trace->reason_charge[V2G_ROWS - 1] = sp->reason_max;
    trace->reason_discharge[V2G_ROWS - 1] = sp->reason_min;
}

static inline void enforce(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                           const struct v2g_image *image, int64_t now_ns, struct v2g_setpoints *out, uint32_t traced,
                           struct v2g_trace *trace) {
    struct v2g_feeder_work feeders[V2G_MAX_FEEDERS];
    struct v2g_work work[V2G_MAX_EVSES];
    uint32_t count = config->evses <= V2G_MAX_EVSES ? config->evses : V2G_MAX_EVSES;

    if (state->damaged != 0 || config->evses > V2G_MAX_EVSES || config->feeders > V2G_MAX_FEEDERS ||
        config->derates > V2G_MAX_DERATES || !sealed(config)) {
        all_safe(count, now_ns, state, out);
        return;
    }
    out->safe = 0;
    out->count = count;
    v2g_feeders_begin(config, feeders);
    for (uint32_t i = 0; i < count; i++) {
        work[i].known = known_fields(&config->evse[i], &image->evse[i], now_ns);
        track(&config->evse[i], work[i].known, plan, &image->evse[i], now_ns, &state->evse[i]);
        v2g_feeders_book(&config->evse[i], &state->evse[i], &image->evse[i], &work[i], feeders);
    }
    v2g_feeders_room(config, plan, state, image, now_ns, feeders);
    for (uint32_t i = 0; i < count; i++) {
        struct v2g_trace *here = trace != NULL && i == traced ? trace : NULL;
        chain(config, plan, i, image, now_ns, feeders, &state->evse[i], &work[i], here);
        decide(config, plan, i, now_ns, feeders, &work[i], &state->evse[i], &out->evse[i]);
        note_result(here, &work[i], &out->evse[i]);
    }
    if (!v2g_setpoints_hold(config, state, out)) {
        all_safe(count, now_ns, state, out);
    }
}

void v2g_enforce(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                 const struct v2g_image *image, int64_t now_ns, struct v2g_setpoints *out) {
    enforce(config, plan, state, image, now_ns, out, 0, NULL);
}

void v2g_explain(const struct v2g_config *config, const struct v2g_plan *plan, const struct v2g_state *state,
                 const struct v2g_image *image, int64_t now_ns, uint32_t evse, struct v2g_trace *trace) {
    struct v2g_state copy = *state;
    struct v2g_setpoints out;
    enforce(config, plan, &copy, image, now_ns, &out, evse, trace);
}
