/* Contracts of the parts of the chain: what each may change. chain.c assumes them, rows.c proves them of the real code. Include after
 * core/enforce.c. */
#ifndef V2G_PROOF_ROWS_H
#define V2G_PROOF_ROWS_H

enum {
    SOC_LATCHES = V2G_LATCH_FLOOR | V2G_LATCH_CEILING,
    THERMAL_LATCHES = 15 * V2G_LATCH_THERMAL,
};

/* Any band that is not wider. */
static inline void lower(struct v2g_band *band) {
    band->charge_w = some(0, band->charge_w);
    band->discharge_w = some(0, band->discharge_w);
}

/* `track` leaves the ramp, the setpoint and all that row 3 remembers alone, and never ends a slow return. */
static inline bool track_contract(const struct v2g_evse_state *was, const struct v2g_evse_state *is) {
    bool same = is->ramp_q8 == was->ramp_q8 && is->target_w == was->target_w && is->thermal_w == was->thermal_w &&
                (is->latch & THERMAL_LATCHES) == (was->latch & THERMAL_LATCHES) &&
                (is->latch & V2G_LATCH_RETURNING) >= (was->latch & V2G_LATCH_RETURNING);
    for (int k = 0; k < V2G_SENSORS; k++) {
        same = same && is->cool_ns[k] == was->cool_ns[k];
    }
    return same && evse_state_good(is);
}

/* Row 3 touches its own latches, `cool_ns` and `thermal_w`, and may begin a slow return. */
static inline bool thermal_contract(const struct v2g_evse_state *was, const struct v2g_evse_state *is) {
    const uint32_t others = ~(uint32_t)(THERMAL_LATCHES | V2G_LATCH_RETURNING);
    return is->ramp_q8 == was->ramp_q8 && is->target_w == was->target_w && is->book_charge_w == was->book_charge_w &&
           is->book_discharge_w == was->book_discharge_w && (is->latch & others) == (was->latch & others) &&
           (is->latch & V2G_LATCH_RETURNING) >= (was->latch & V2G_LATCH_RETURNING) && is->fresh == was->fresh &&
           is->lost_epoch == was->lost_epoch && is->follow_epoch == was->follow_epoch && is->seen_ns == was->seen_ns &&
           is->lowered_ns == was->lowered_ns && is->outside_ns == was->outside_ns && is->plugged_ns == was->plugged_ns &&
           is_some_power(is->thermal_w);
}

/* What the chain needs of a config and a plan. v2g_config_check and v2g_plan_check establish it (check.c). */
static inline bool evse_config_good(const struct v2g_evse_config *e) {
    return e->phase_count >= 1 && e->phase_count <= 3 && is_some_power(e->rating_charge_w) &&
           is_some_power(e->rating_discharge_w) && is_some_power(e->min_charge_w) && is_some_power(e->min_discharge_w) &&
           is_some_power(e->sensor_lost_charge_w) && is_some_power(e->follow_tolerance_w) && is_some_soc(e->soc_floor) &&
           is_some_soc(e->soc_ceiling) && is_some_soc(e->soc_hysteresis) && is_some_soc(e->soc_margin) &&
           is_some_rate(e->ramp_q8) && is_some_rate(e->ramp_return_q8) && e->ramp_frequency_q8 >= 0 &&
           e->ramp_frequency_q8 <= V2G_POWER_MAX_W * 256 && is_some_age(e->link_age_ns) && is_some_age(e->soc_age_ns) &&
           is_some_age(e->temp_age_ns) && is_some_age(e->phase_age_ns) && is_some_age(e->limits_age_ns) &&
           is_some_age(e->reaction_ns);
}

static inline bool derate_good(const struct v2g_derate *t) {
    bool good = t->start >= V2G_TEMP_MIN && t->start <= V2G_TEMP_MAX && t->shift >= 0 && t->shift <= 8 &&
                t->resume >= V2G_TEMP_MIN && t->resume < t->stop && t->stop <= V2G_TEMP_MAX && is_some_age(t->resume_hold_ns);
    for (int k = 0; k < V2G_DERATE_STEPS; k++) {
        good = good && is_some_power(t->limit_w[k]) && (k == 0 || t->limit_w[k] <= t->limit_w[k - 1]);
    }
    return good;
}

/* Every table is good, and every sensor has one of them or none. */
static inline bool derates_good(const struct v2g_config *config) {
    bool good = true;
    for (int d = 0; d < V2G_MAX_DERATES; d++) {
        good = good && derate_good(&config->derate[d]);
    }
    for (int k = 0; k < V2G_SENSORS; k++) {
        good = good && (config->evse[0].derate[k] < V2G_MAX_DERATES || config->evse[0].derate[k] == V2G_NONE);
    }
    return good;
}

static inline bool evse_plan_good(const struct v2g_evse_plan *e) {
    return is_some_signed_power(e->min_w) && is_some_signed_power(e->max_w) && is_some_signed_power(e->after_min_w) &&
           is_some_signed_power(e->after_max_w) && e->min_w <= e->max_w && is_some_soc(e->soc_floor) && e->ramp_q8 >= 0 &&
           e->ramp_q8 <= V2G_POWER_MAX_W * 256;
}

#endif
