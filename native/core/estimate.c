/* Step 5: what no sensor says. Where each temperature is heading, what connector and cable should have warmed up to, and whether the
 * reported SOC agrees with the energy that flowed. enforce() lets these only tighten: a wrong estimate costs comfort, not safety.
 *
 * Thermal nodes (contact on cable on ambient): C dT/dt = I^2 R - (T - T_below) / R_th, so T goes to T_below + rise * P^2 with time
 * constant tau; over one period exactly T += (T_steady - T) * (1 - e^(-period / tau)). The factors are made at commit. */
#include "chain.h"

enum { MODEL_STARTED = 1 << 8 };

/* difference * factor / 2^32, towards 0. |difference| < 2^46 (a temperature of four ranges with 32 fraction bits), factor < 2^32. */
static int64_t part_of(int64_t difference, uint32_t factor_q32) {
    int64_t magnitude = difference < 0 ? -difference : difference;
    int64_t part = ((magnitude >> 16) * (int64_t)factor_q32) >> 16;
    return difference < 0 ? -part : part;
}

static int64_t degrees_q32(int32_t temp) {
    return (int64_t)temp * ((int64_t)1 << 32);
}

static int32_t to_temp(int64_t temp_q32) {
    return clamp_i32((int32_t)(temp_q32 >> 32), V2G_TEMP_MIN, V2G_TEMP_MAX);
}

/* Steady rise of a node at a power: no more than twice the rating is believed. */
static int64_t rise_q32(uint32_t rise_q44, int32_t power_w, int32_t rating_w) {
    int64_t magnitude_w = min_i32(power_w < 0 ? -power_w : power_w, rating_w + rating_w);
    return (magnitude_w * magnitude_w * (int64_t)rise_q44) >> 12;
}

static void model_heat(const struct v2g_evse_config *config, const struct v2g_evse_in *in, uint32_t known,
                       struct v2g_estimate_state *state, struct v2g_estimate *out) {
    if (config->contact_q44 == 0 && config->cable_q44 == 0) {
        return;
    }
    if ((state->started & MODEL_STARTED) == 0) {
        state->started |= MODEL_STARTED;
        state->contact_q32 = degrees_q32(config->ambient);
        state->cable_q32 = degrees_q32(config->ambient);
    }
    /* An EVSE that is not heard is taken to carry its rating. */
    int32_t power_w = has(known, 1u << V2G_F_POWER) ? power_of(in) : config->rating_charge_w;
    int64_t cable_steady = degrees_q32(config->ambient) + rise_q32(config->cable_q44, power_w, config->rating_charge_w);
    int64_t contact_steady = state->cable_q32 + rise_q32(config->contact_q44, power_w, config->rating_charge_w);
    state->cable_q32 += part_of(cable_steady - state->cable_q32, config->cable_step_q32);
    state->contact_q32 += part_of(contact_steady - state->contact_q32, config->contact_step_q32);
    int64_t cable_ahead = state->cable_q32 + part_of(cable_steady - state->cable_q32, config->cable_ahead_q32);
    int64_t contact_ahead = state->contact_q32 + part_of(contact_steady - state->contact_q32, config->contact_ahead_q32);
    out->model_cable = to_temp(state->cable_q32);
    out->model_contact = to_temp(state->contact_q32);
    out->predicted[V2G_S_CABLE] = to_temp(cable_ahead);
    out->predicted[V2G_S_CONNECTOR] = to_temp(contact_ahead);
    if (config->contact_alarm > 0 && has(known, 1u << V2G_F_T_CONNECTOR) &&
        in->value[V2G_F_T_CONNECTOR] > out->model_contact + config->contact_alarm) {
        out->flag |= V2G_ESTIMATE_CONTACT;
    }
}

/* A sensor is as hot as it reads plus what it rose within the last horizon. */
static void judge_rise(const struct v2g_evse_config *config, const struct v2g_evse_in *in, uint32_t known,
                       struct v2g_estimate_state *state, struct v2g_estimate *out) {
    for (int sensor = 0; sensor < V2G_SENSORS && config->rise_step_q32 != 0; sensor++) {
        if (!has(known, 1u << (V2G_F_T_CONNECTOR + sensor))) {
            continue;
        }
        int32_t temp = clamp_i32(in->value[V2G_F_T_CONNECTOR + sensor], V2G_TEMP_MIN, V2G_TEMP_MAX);
        if ((state->started >> sensor & 1u) == 0) {
            state->started |= 1u << sensor;
            state->past_q32[sensor] = degrees_q32(temp);
        }
        state->past_q32[sensor] += part_of(degrees_q32(temp) - state->past_q32[sensor], config->rise_step_q32);
        int32_t rising = temp + temp - to_temp(state->past_q32[sensor]);
        out->predicted[sensor] = max_i32(out->predicted[sensor], min_i32(rising, V2G_TEMP_MAX));
    }
}

/* Energies in W * ms; one 0.01 % of a capacity in Wh is capacity * 360 of them. Compared by multiplying, not dividing. */
static bool disagrees(int64_t changed_soc, int64_t counted_w_ms, int64_t capacity_wh, int64_t tolerance_soc) {
    int64_t unit_w_ms = capacity_wh * 360;
    int64_t gap_w_ms = changed_soc * unit_w_ms - counted_w_ms;
    int64_t counted_size = counted_w_ms < 0 ? -counted_w_ms : counted_w_ms;
    int64_t gap_size = gap_w_ms < 0 ? -gap_w_ms : gap_w_ms;
    return gap_size > tolerance_soc * unit_w_ms + (counted_size >> 2);
}

enum { CAPACITY_MAX_WH = 2000000 };
#define COUNTED_MAX_W_MS ((int64_t)1 << 56) /* 20 GWh: far beyond any vehicle, far inside 64 bits */

static void count_energy(const struct v2g_evse_config *config, const struct v2g_evse_in *in, uint32_t known, int64_t plugged_ns,
                         int64_t period_ns, struct v2g_estimate_state *state, struct v2g_estimate *out) {
    int32_t soc = in->value[V2G_F_SOC];
    bool told = has(known, 1u << V2G_F_SOC) && soc >= 0 && soc <= V2G_SOC_MAX;
    if (config->soc_tolerance == 0 || (config->option & V2G_EVSE_SOC_SOURCE) == 0) {
        return;
    }
    if (state->plugged_ns != plugged_ns) {
        state->plugged_ns = plugged_ns;
        state->anchor_soc = -1;
    }
    if (state->anchor_soc < 0) {
        state->anchor_soc = told ? soc : -1;
        state->counted_w_ms = 0;
        return;
    }
    if (has(known, 1u << V2G_F_POWER)) {
        int64_t ms_q20 =
            period_ns + (period_ns >> 5) + (period_ns >> 6) + (period_ns >> 9); /* ns * 1.048828 = ms * 2^20 + 0.02 % */
        int64_t counted = state->counted_w_ms + ((power_of(in) * ms_q20) >> 20);
        state->counted_w_ms =
            counted > COUNTED_MAX_W_MS ? COUNTED_MAX_W_MS : (counted < -COUNTED_MAX_W_MS ? -COUNTED_MAX_W_MS : counted);
    }
    int64_t capacity_wh = clamp_i32(in->value[V2G_F_CAPACITY], 0, CAPACITY_MAX_WH);
    if (told && capacity_wh > 0 &&
        disagrees(soc - state->anchor_soc, state->counted_w_ms, capacity_wh, config->soc_tolerance)) {
        out->flag |= V2G_ESTIMATE_SOC_DOUBT;
    }
}

void v2g_estimate(const struct v2g_config *config, struct v2g_state *state, struct v2g_image *image, int64_t now_ns) {
    for (uint32_t i = 0; i < config->evses && i < V2G_MAX_EVSES; i++) {
        const struct v2g_evse_config *evse = &config->evse[i];
        const struct v2g_evse_in *in = &image->evse[i];
        uint32_t known = known_fields(evse, in, now_ns);
        struct v2g_estimate *out = &image->estimate[i];
        *out = (struct v2g_estimate){.predicted = {V2G_TEMP_MIN, V2G_TEMP_MIN, V2G_TEMP_MIN, V2G_TEMP_MIN},
                                     .model_contact = V2G_TEMP_MIN,
                                     .model_cable = V2G_TEMP_MIN};
        model_heat(evse, in, known, &state->estimate[i], out);
        judge_rise(evse, in, known, &state->estimate[i], out);
        count_energy(evse, in, known, state->evse[i].plugged_ns, config->period_ns, &state->estimate[i], out);
    }
}
