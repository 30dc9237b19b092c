/* What the grid's frequency and voltage forbid and ask for.
 *
 * Forbid (row 4): a value beyond a limit of the trip table for its delay, in at least three samples, ends the service of the whole site;
 * momentary cessation ends when the value is back. Service is entered again after frequency and voltage were good for the whole delay,
 * and then along a ramp. Grid meters that are lost forbid discharging: nobody sees the grid any more.
 *
 * Ask: droop and frequency services, from this cycle's voted frequency, unfiltered. */
#include "site.h"

enum { FREQUENCY_LOW_MHZ = 40000, FREQUENCY_HIGH_MHZ = 70000, ALL_Q16 = 1 << 16, VOLTAGE_MAX_DV = 1000000 };
#define ENTERED_Q32 ((uint64_t)1 << 32)
#define HOUR_NS     INT64_C(3600000000000)
#define DAY_NS      INT64_C(86400000000000)

/* ---- Voting ------------------------------------------------------------------------------------------------------------ */

static int32_t off(int32_t value, int32_t nominal) {
    return value > nominal ? value - nominal : nominal - value;
}

static void sort(int32_t *value, uint32_t count) {
    for (uint32_t i = 1; i < count; i++) {
        int32_t moving = value[i];
        uint32_t at = i;
        while (at > 0 && value[at - 1] > moving) {
            value[at] = value[at - 1];
            at--;
        }
        value[at] = moving;
    }
}

/* The middle one; of two in the middle the one nearer to nominal, so that no single meter can trip a site that has two. */
static int32_t vote(int32_t *value, uint32_t count, int32_t nominal) {
    sort(value, count);
    int32_t upper = value[count >> 1];
    if ((count & 1u) != 0) {
        return upper;
    }
    int32_t lower = value[(count >> 1) - 1];
    return off(lower, nominal) <= off(upper, nominal) ? lower : upper;
}

struct ballot {
    int32_t value[V2G_GRID_METERS];
    uint32_t count;
    int64_t newest_ns;
};

/* Every meter whose value is there, young and possible. */
static struct ballot collect(const struct v2g_grid_config *grid, const struct v2g_image *image, int64_t now_ns,
                             enum v2g_meter_field field, int32_t low, int32_t high) {
    struct ballot ballot = {.newest_ns = V2G_NEVER};
    for (uint32_t m = 0; m < grid->meters; m++) {
        const struct v2g_meter_in *in = &image->meter[grid->meter[m]];
        bool told = (in->valid >> field & 1u) != 0 && !is_old(now_ns, in->acquired_ns[field], grid->age_ns[m]);
        if (told && in->value[field] >= low && in->value[field] <= high) {
            ballot.value[ballot.count] = in->value[field];
            ballot.count++;
            ballot.newest_ns = in->acquired_ns[field] > ballot.newest_ns ? in->acquired_ns[field] : ballot.newest_ns;
        }
    }
    return ballot;
}

struct v2g_grid_seen v2g_grid_look(const struct v2g_grid_config *grid, const struct v2g_image *image, int64_t now_ns) {
    struct v2g_grid_seen seen = {.sample_ns = V2G_NEVER, .low_dv = INT32_MAX};
    struct ballot ballot = collect(grid, image, now_ns, V2G_M_FREQUENCY, FREQUENCY_LOW_MHZ, FREQUENCY_HIGH_MHZ);
    bool whole = ballot.count > 0;
    if (whole) {
        seen.frequency_mhz = vote(ballot.value, ballot.count, grid->nominal_mhz);
        seen.sample_ns = ballot.newest_ns;
    }
    for (uint32_t phase = 0; phase < V2G_LANE_TOTAL; phase++) {
        if ((grid->phases >> phase & 1u) == 0) {
            continue;
        }
        ballot = collect(grid, image, now_ns, (enum v2g_meter_field)(V2G_M_U_L1 + (int)phase), 0, VOLTAGE_MAX_DV);
        whole = whole && ballot.count > 0;
        if (ballot.count > 0) {
            int32_t dv = vote(ballot.value, ballot.count, grid->nominal_dv);
            seen.low_dv = min_i32(seen.low_dv, dv);
            seen.high_dv = max_i32(seen.high_dv, dv);
            seen.sample_ns = ballot.newest_ns > seen.sample_ns ? ballot.newest_ns : seen.sample_ns;
        }
    }
    seen.known = whole ? 1u : 0u;
    return seen;
}

/* ---- Trips and cessation ----------------------------------------------------------------------------------------------- */

static bool is_beyond(const struct v2g_grid_watch *watch, const struct v2g_grid_seen *seen) {
    int32_t value = seen->frequency_mhz;
    if (watch->kind == V2G_WATCH_VOLTAGE) {
        value = watch->over != 0 ? seen->high_dv : seen->low_dv;
    }
    return watch->over != 0 ? value >= watch->limit : value <= watch->limit;
}

/* Beyond its limit in enough samples and for its whole delay. */
static bool has_tripped(const struct v2g_grid_watch *watch, const struct v2g_grid_seen *seen, int64_t now_ns,
                        struct v2g_watch_state *state) {
    if (!is_beyond(watch, seen)) {
        state->samples = 0;
        return false;
    }
    if (state->samples == 0) {
        state->since_ns = seen->sample_ns;
    }
    if ((state->samples == 0 || seen->sample_ns != state->seen_ns) && state->samples < V2G_GRID_CONFIRM) {
        state->samples++;
    }
    state->seen_ns = seen->sample_ns;
    return state->samples >= V2G_GRID_CONFIRM && now_ns - state->since_ns >= watch->delay_ns;
}

static void run_watches(const struct v2g_grid_config *grid, const struct v2g_grid_seen *seen, int64_t now_ns,
                        struct v2g_grid_state *state) {
    state->ceased = 0;
    for (int w = 0; w < V2G_GRID_WATCHES; w++) {
        const struct v2g_grid_watch *watch = &grid->watch[w];
        if (watch->kind == V2G_WATCH_NONE || !has_tripped(watch, seen, now_ns, &state->watch[w])) {
            continue;
        }
        enum v2g_reason reason = watch->kind == V2G_WATCH_FREQUENCY ? V2G_GRID_FREQUENCY : V2G_GRID_VOLTAGE;
        if (watch->cease != 0) {
            state->ceased = 1;
            state->ceased_ns = now_ns;
            state->reason = state->service == V2G_GRID_IN ? (uint32_t)reason : state->reason;
        } else {
            state->service = V2G_GRID_OUT;
            state->reason = (uint32_t)reason;
            state->good_ns = V2G_NEVER;
        }
    }
}

/* ---- Entering service -------------------------------------------------------------------------------------------------- */

static bool is_good(const struct v2g_grid_config *grid, const struct v2g_grid_seen *seen) {
    return seen->known != 0 && seen->frequency_mhz >= grid->enter_low_mhz && seen->frequency_mhz <= grid->enter_high_mhz &&
           seen->low_dv >= grid->enter_low_dv && seen->high_dv <= grid->enter_high_dv;
}

static void enter_service(const struct v2g_grid_config *grid, const struct v2g_grid_seen *seen, int64_t now_ns,
                          struct v2g_grid_state *state) {
    bool good = is_good(grid, seen);
    if (state->service == V2G_GRID_WAITING && !good) {
        state->service = V2G_GRID_OUT;
        state->good_ns = V2G_NEVER;
    }
    if (state->service == V2G_GRID_OUT && good) {
        state->service = V2G_GRID_WAITING;
        state->reason = V2G_ENTER_SERVICE;
        state->good_ns = now_ns;
    }
    if (state->service == V2G_GRID_WAITING && now_ns - state->good_ns >= grid->enter_delay_ns) {
        state->service = V2G_GRID_ENTERING;
        state->entered_q32 = 0;
    }
    if (state->service == V2G_GRID_ENTERING) {
        state->entered_q32 += grid->enter_ramp_ns > 0 ? grid->enter_step_q32 : ENTERED_Q32;
        if (state->entered_q32 >= ENTERED_Q32) {
            state->service = V2G_GRID_IN;
        }
    }
    if (state->service == V2G_GRID_IN && state->ceased == 0) {
        state->reason = V2G_REASON_NONE;
    }
}

/* ---- Answers to the frequency ------------------------------------------------------------------------------------------ */

static int32_t on_curve(const struct v2g_grid_answer *answer, int32_t deviation_mhz) {
    int32_t beyond_mhz = deviation_mhz < 0 ? -deviation_mhz : deviation_mhz;
    int64_t value = 0;
    for (int k = 0; k < V2G_CURVE_POINTS; k++) {
        if (beyond_mhz > answer->from_mhz[k]) {
            value = answer->value_q16[k] + (((int64_t)(beyond_mhz - answer->from_mhz[k]) * answer->slope_q24[k]) >> 8);
        }
    }
    int64_t scaled = ((value < ALL_Q16 ? value : ALL_Q16) * answer->scale_q16) >> 16;
    return deviation_mhz < 0 ? -(int32_t)scaled : (int32_t)scaled;
}

/* Once triggered it holds for its time whatever the frequency does, and answers again only after that was back for a while. */
static int32_t on_step(const struct v2g_grid_answer *answer, int32_t frequency_mhz, int64_t now_ns,
                       struct v2g_answer_state *state) {
    if (state->spent == 0 && frequency_mhz <= answer->trigger_mhz) {
        state->spent = 1;
        state->until_ns = now_ns + answer->hold_ns;
        state->good_ns = V2G_NEVER;
    }
    if (state->spent == 0) {
        return 0;
    }
    if (now_ns < state->until_ns) {
        return -answer->scale_q16;
    }
    if (frequency_mhz < answer->rearm_mhz) {
        state->good_ns = V2G_NEVER;
    } else if (state->good_ns == V2G_NEVER) {
        state->good_ns = now_ns;
    } else if (now_ns - state->good_ns >= answer->rearm_ns) {
        state->spent = 0;
    }
    return 0;
}

/* First-order response, maybe a slower one where it is given back; its last 2^-16 is taken whole, so that it arrives. */
static int32_t lagged(const struct v2g_grid_answer *answer, int32_t wanted_q16, struct v2g_answer_state *state) {
    uint32_t lag_q32 = wanted_q16 == 0 && answer->back_q32 != 0 ? answer->back_q32 : answer->lag_q32;
    if (lag_q32 == 0) {
        state->value_q48 = (int64_t)wanted_q16 * ((int64_t)1 << 32);
        return wanted_q16;
    }
    int64_t way = (int64_t)wanted_q16 * ((int64_t)1 << 32) - state->value_q48; /* 50 bits */
    int64_t size = way < 0 ? -way : way;
    int64_t part = ((size >> 20) * (int64_t)lag_q32) >> 12;
    part = part == 0 ? size : part;
    state->value_q48 += way < 0 ? -part : part;
    return (int32_t)(state->value_q48 >> 32);
}

static void run_answers(const struct v2g_grid_config *grid, const struct v2g_grid_seen *seen, int64_t now_ns,
                        struct v2g_grid_state *state) {
    int32_t sum_q16 = 0;
    bool usable = seen->known != 0 && off(seen->frequency_mhz, grid->nominal_mhz) <= V2G_GRID_REACH_MHZ;
    for (int a = 0; a < V2G_GRID_ANSWERS; a++) {
        const struct v2g_grid_answer *answer = &grid->answer[a];
        struct v2g_answer_state *as = &state->answer[a];
        if (answer->scale_q16 == 0) {
            continue;
        }
        int32_t wanted_q16 = 0;
        if (usable && answer->trigger_mhz == 0) {
            wanted_q16 = on_curve(answer, seen->frequency_mhz - grid->nominal_mhz);
        } else if (usable) {
            wanted_q16 = on_step(answer, seen->frequency_mhz, now_ns, as);
        }
        as->value_q16 = lagged(answer, wanted_q16, as);
        sum_q16 += as->value_q16;
    }
    bool in_service = state->service == V2G_GRID_IN || state->service == V2G_GRID_ENTERING;
    state->offset_q16 = in_service ? clamp_i32(sum_q16, -ALL_Q16, ALL_Q16) : 0;
}

void v2g_grid_step(const struct v2g_grid_config *grid, const struct v2g_grid_seen *seen, int64_t now_ns,
                   struct v2g_grid_state *state) {
    if (grid->trips != 0) {
        if (seen->known != 0) {
            run_watches(grid, seen, now_ns, state);
        }
        enter_service(grid, seen, now_ns, state);
    }
    run_answers(grid, seen, now_ns, state);
}

/* ---- Checks ------------------------------------------------------------------------------------------------------------ */

static bool is_time(int64_t ns) {
    return ns >= 0 && ns <= DAY_NS;
}

static bool is_share(int32_t q16) {
    return q16 >= 0 && q16 <= ALL_Q16;
}

static bool is_watch(const struct v2g_grid_watch *watch) {
    return watch->kind <= V2G_WATCH_VOLTAGE && watch->over <= 1 && watch->cease <= 1 && watch->limit >= 0 &&
           watch->limit <= VOLTAGE_MAX_DV && is_time(watch->delay_ns);
}

static bool is_answer(const struct v2g_grid_answer *answer) {
    bool good = is_share(answer->scale_q16) && is_time(answer->hold_ns) && is_time(answer->rearm_ns) &&
                answer->trigger_mhz >= 0 && answer->trigger_mhz <= FREQUENCY_HIGH_MHZ && answer->rearm_mhz >= 0 &&
                answer->rearm_mhz <= FREQUENCY_HIGH_MHZ;
    for (int k = 0; k < V2G_CURVE_POINTS; k++) {
        good = good && is_share(answer->value_q16[k]) && answer->slope_q24[k] >= 0 && answer->from_mhz[k] >= 0 &&
               answer->from_mhz[k] <= FREQUENCY_HIGH_MHZ;
    }
    return good;
}

uint32_t v2g_site_check(const struct v2g_site_config *site, const struct v2g_config *config) {
    const struct v2g_grid_config *grid = &site->grid;
    for (uint32_t i = 0; i < config->evses; i++) {
        if (site->response_ns[i] < 0 || site->response_ns[i] > HOUR_NS) {
            return V2G_SITE_FAULT_EVSE + 1 + i;
        }
    }
    if (grid->present == 0) {
        return 0;
    }
    bool good = grid->meters <= V2G_GRID_METERS && grid->phases <= 7 && grid->nominal_mhz >= FREQUENCY_LOW_MHZ &&
                grid->nominal_mhz <= FREQUENCY_HIGH_MHZ && grid->nominal_dv > 0 && grid->nominal_dv <= VOLTAGE_MAX_DV &&
                is_time(grid->enter_delay_ns) && is_time(grid->enter_ramp_ns) && is_share(grid->volt_watt_least_q16) &&
                grid->volt_watt_from_dv >= 0 && grid->volt_watt_slope_q24 >= 0;
    for (uint32_t m = 0; good && m < grid->meters; m++) {
        good = grid->meter[m] < config->meters && grid->age_ns[m] > 0 && is_time(grid->age_ns[m]);
    }
    if (!good) {
        return V2G_SITE_FAULT_GRID + 1;
    }
    for (uint32_t w = 0; w < V2G_GRID_WATCHES; w++) {
        if (!is_watch(&grid->watch[w])) {
            return V2G_SITE_FAULT_WATCH + 1 + w;
        }
    }
    for (uint32_t a = 0; a < V2G_GRID_ANSWERS; a++) {
        if (!is_answer(&grid->answer[a])) {
            return V2G_SITE_FAULT_ANSWER + 1 + a;
        }
    }
    return 0;
}
