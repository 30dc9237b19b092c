/* Range checks of configs and plans: what has passed here keeps every sum of the core inside 32 bits and every index in its table.
 * The first bad place is reported; nothing is changed. */
#include "chain.h"

static uint32_t fault(enum v2g_fault what, uint32_t index) {
    return (uint32_t)what << 16 | (index & 0xFFFFu);
}

static bool is_power(int32_t w) {
    return w >= 0 && w <= V2G_POWER_MAX_W;
}
static bool is_signed_power(int32_t w) {
    return w >= -V2G_POWER_MAX_W && w <= V2G_POWER_MAX_W;
}
static bool is_soc(int32_t soc) {
    return soc >= 0 && soc <= V2G_SOC_MAX;
}
static bool is_temperature(int32_t t) {
    return t >= V2G_TEMP_MIN && t <= V2G_TEMP_MAX;
}
static bool is_rate(int32_t q8) {
    return q8 > 0 && q8 <= V2G_POWER_MAX_W * 256;
}

/* No age limit or hold is longer than an hour. */
static bool is_age(int64_t ns) {
    return ns > 0 && ns <= (int64_t)3600 * 1000000000;
}

/* A node's steady rise at full rating stays inside the range of temperatures, and so inside 64 bits. */
static bool is_model(uint32_t rise_q44, int32_t rating_w) {
    int64_t squared = (int64_t)rating_w * rating_w;
    return squared == 0 || rise_q44 <= ((int64_t)V2G_TEMP_MAX << 44) / squared;
}

static uint32_t check_evse(const struct v2g_config *config, uint32_t i) {
    const struct v2g_evse_config *e = &config->evse[i];
    for (uint32_t j = 0; j < i; j++) {
        if (config->evse[j].key == e->key) {
            return fault(V2G_FAULT_EVSE_KEY, i);
        }
    }
    if (e->key == 0) {
        return fault(V2G_FAULT_EVSE_KEY, i);
    }
    if (e->feeder >= config->feeders) {
        return fault(V2G_FAULT_EVSE_FEEDER, i);
    }
    if (e->phases == 0 || e->phases > 7 || e->phase_count != (e->phases & 1) + (e->phases >> 1 & 1) + (e->phases >> 2 & 1)) {
        return fault(V2G_FAULT_EVSE_PHASES, i);
    }
    if (!is_power(e->rating_charge_w) || !is_power(e->rating_discharge_w) || !is_power(e->min_charge_w) ||
        !is_power(e->min_discharge_w) || !is_power(e->fallback_charge_w) || !is_power(e->fallback_discharge_w) ||
        !is_power(e->sensor_lost_charge_w) || !is_power(e->follow_tolerance_w) || e->fallback_charge_w > e->rating_charge_w ||
        e->fallback_discharge_w > e->rating_discharge_w || e->sensor_lost_charge_w > e->rating_charge_w) {
        return fault(V2G_FAULT_EVSE_POWER, i);
    }
    if (!is_soc(e->soc_floor) || !is_soc(e->soc_ceiling) || !is_soc(e->soc_hysteresis) || !is_soc(e->soc_margin) ||
        e->soc_floor > e->soc_ceiling) {
        return fault(V2G_FAULT_EVSE_SOC, i);
    }
    for (int s = 0; s < V2G_SENSORS; s++) {
        if (e->derate[s] != V2G_NONE && e->derate[s] >= config->derates) {
            return fault(V2G_FAULT_EVSE_DERATE, i);
        }
    }
    if (!is_temperature(e->cell_cold)) {
        return fault(V2G_FAULT_EVSE_DERATE, i);
    }
    if (!is_rate(e->ramp_q8) || !is_rate(e->ramp_return_q8) || e->ramp_frequency_q8 < 0 ||
        e->ramp_frequency_q8 > V2G_POWER_MAX_W * 256) {
        return fault(V2G_FAULT_EVSE_RAMP, i);
    }
    if (!is_age(e->link_age_ns) || !is_age(e->soc_age_ns) || !is_age(e->temp_age_ns) || !is_age(e->phase_age_ns) ||
        !is_age(e->limits_age_ns) || !is_age(e->reaction_ns)) {
        return fault(V2G_FAULT_EVSE_AGE, i);
    }
    if (!is_model(e->contact_q44, e->rating_charge_w) || !is_model(e->cable_q44, e->rating_charge_w) ||
        !is_temperature(e->ambient) || !is_temperature(e->contact_alarm) || !is_soc(e->soc_tolerance)) {
        return fault(V2G_FAULT_EVSE_MODEL, i);
    }
    return e->seal == v2g_evse_seal(e) ? 0 : fault(V2G_FAULT_SEAL, i);
}

static uint32_t check_feeder(const struct v2g_config *config, uint32_t f) {
    const struct v2g_feeder_config *d = &config->feeder[f];
    uint32_t depth = 1;
    for (uint32_t up = f; up != 0; up = config->feeder[up].parent) {
        depth++;
        if (config->feeder[up].parent >= up || depth > V2G_MAX_DEPTH) {
            return fault(V2G_FAULT_FEEDER_PARENT, f);
        }
    }
    if (config->feeder[0].parent != V2G_NONE || d->key == 0) {
        return fault(V2G_FAULT_FEEDER_PARENT, f);
    }
    if (d->meter != V2G_NONE && d->meter >= config->meters) {
        return fault(V2G_FAULT_FEEDER_METER, f);
    }
    for (int lane = 0; lane < V2G_LANES; lane++) {
        if (!is_power(d->import_w[lane]) || !is_power(d->export_w[lane]) || !is_power(d->base_w[lane]) ||
            !is_power(d->fallback_w[lane])) {
            return fault(V2G_FAULT_FEEDER_POWER, f);
        }
        if (d->fallback_w[lane] > d->import_w[lane] - d->base_w[lane] && d->fallback_w[lane] != 0) {
            return fault(V2G_FAULT_FEEDER_FALLBACK, f);
        }
    }
    if (!is_power(d->share_w) || d->slew_q8 < 0 || d->slew_q8 > V2G_POWER_MAX_W * 256) {
        return fault(V2G_FAULT_FEEDER_POWER, f);
    }
    if (!is_age(d->meter_age_ns) || d->refresh_ns < 0 || (d->refresh_ns != 0 && !is_age(d->refresh_ns)) ||
        d->liveness_age_ns < 0 || (d->liveness_age_ns != 0 && !is_age(d->liveness_age_ns))) {
        return fault(V2G_FAULT_FEEDER_AGE, f);
    }
    return d->seal == v2g_feeder_seal(d) ? 0 : fault(V2G_FAULT_SEAL, f);
}

/* While its meter is lost, every EVSE below a feeder may charge its share: together they must fit the fallback. */
static uint32_t check_shares(const struct v2g_config *config) {
    uint32_t below[V2G_MAX_FEEDERS] = {0};
    for (uint32_t i = 0; i < config->evses; i++) {
        below[config->evse[i].feeder]++;
    }
    for (uint32_t f = config->feeders; f-- > 0;) {
        if ((int64_t)below[f] * config->feeder[f].share_w > config->feeder[f].fallback_w[V2G_LANE_TOTAL]) {
            return fault(V2G_FAULT_FEEDER_FALLBACK, f);
        }
        if (f > 0) {
            below[config->feeder[f].parent] += below[f];
        }
    }
    return 0;
}

static uint32_t check_derate(const struct v2g_derate *table, uint32_t index) {
    bool good = is_temperature(table->start) && is_temperature(table->stop) && is_temperature(table->resume) &&
                table->resume < table->stop && table->shift >= 0 && table->shift <= 8 && is_age(table->resume_hold_ns);
    for (int step = 0; step < V2G_DERATE_STEPS; step++) {
        good = good && is_power(table->limit_w[step]) && (step == 0 || table->limit_w[step] <= table->limit_w[step - 1]);
    }
    if (!good) {
        return fault(V2G_FAULT_DERATE_TABLE, index);
    }
    return table->seal == v2g_derate_seal(table) ? 0 : fault(V2G_FAULT_SEAL, index);
}

uint32_t v2g_config_check(const struct v2g_config *config) {
    if (config->abi != V2G_ABI || config->epoch == 0) {
        return fault(V2G_FAULT_HEADER, 0);
    }
    if (config->evses > V2G_MAX_EVSES || config->feeders == 0 || config->feeders > V2G_MAX_FEEDERS ||
        config->meters > V2G_MAX_METERS || config->derates > V2G_MAX_DERATES) {
        return fault(V2G_FAULT_COUNT, 0);
    }
    if (config->period_ns < 1000000 || config->period_ns > 50000000) {
        return fault(V2G_FAULT_PERIOD, 0);
    }
    uint32_t found = config->seal == v2g_head_seal(config) ? 0 : fault(V2G_FAULT_SEAL, 0);
    for (uint32_t d = 0; d < config->derates && found == 0; d++) {
        found = check_derate(&config->derate[d], d);
    }
    for (uint32_t f = 0; f < config->feeders && found == 0; f++) {
        found = check_feeder(config, f);
    }
    for (uint32_t i = 0; i < config->evses && found == 0; i++) {
        found = check_evse(config, i);
    }
    return found != 0 ? found : check_shares(config);
}

uint32_t v2g_plan_check(const struct v2g_plan *plan, const struct v2g_config *config, int64_t now_ns) {
    if (plan->abi != V2G_ABI || plan->epoch == 0 || plan->boot_id != config->boot_id || plan->config_epoch != config->epoch) {
        return fault(V2G_FAULT_HEADER, 0);
    }
    /* Neither from the future nor with a lease that outlives its maker's silence. */
    if (plan->made_ns < 0 || plan->made_ns > now_ns || plan->lease_ns < plan->made_ns ||
        plan->lease_ns - plan->made_ns > (int64_t)V2G_LEASE_MAX_MS * 1000000) {
        return fault(V2G_FAULT_LEASE, 0);
    }
    for (uint32_t i = 0; i < config->evses; i++) {
        const struct v2g_evse_plan *e = &plan->evse[i];
        if (!is_signed_power(e->min_w) || !is_signed_power(e->max_w) || !is_signed_power(e->target_w) ||
            !is_signed_power(e->after_min_w) || !is_signed_power(e->after_max_w) || !is_signed_power(e->after_target_w) ||
            e->min_w > e->max_w || e->after_min_w > e->after_max_w || !is_soc(e->soc_floor) || e->ramp_q8 < 0 ||
            e->ramp_q8 > V2G_POWER_MAX_W * 256) {
            return fault(V2G_FAULT_PLAN_EVSE, i);
        }
    }
    for (uint32_t f = 0; f < config->feeders; f++) {
        const struct v2g_feeder_plan *d = &plan->feeder[f];
        if (!is_power(d->import_w) || !is_power(d->export_w) || !is_power(d->after_import_w) || !is_power(d->after_export_w)) {
            return fault(V2G_FAULT_PLAN_FEEDER, f);
        }
    }
    return 0;
}
