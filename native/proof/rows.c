/* The contracts that chain.c assumes, proven of the real code, one part at a time (-DPART=n), with all checks for undefined behaviour:
 * a row lowers the band and never below 0, touches only its own latches, keeps the state's invariant, and hotter (P3) or one input less
 * (P7) never allows more. */
#include "assume.h"

#include "../core/enforce.c"

#include "rows.h"

uint32_t v2g_evse_seal(const struct v2g_evse_config *evse) {
    return evse->seal;
}
uint32_t v2g_feeder_seal(const struct v2g_feeder_config *feeder) {
    return feeder->seal;
}
uint32_t v2g_derate_seal(const struct v2g_derate *table) {
    return table->seal;
}
uint32_t v2g_head_seal(const struct v2g_config *config) {
    return config->seal;
}
/* The feeders give any part of what is wanted (feeder.c, PART 4). */
int32_t v2g_feeders_take(const struct v2g_config *config, const struct v2g_evse_config *evse, bool balanced,
                         struct v2g_work *work, struct v2g_feeder_work *feeders) {
    (void)config, (void)evse, (void)balanced, (void)feeders;
    return work->want_w >= 0 ? some(0, work->want_w) : some(work->want_w, 0);
}

struct v2g_config config;
struct v2g_plan plan;
struct v2g_evse_in in, less;
struct v2g_estimate estimate, hotter;
struct v2g_evse_state before, state, other;

struct v2g_config nondet_config(void);
struct v2g_plan nondet_plan(void);
struct v2g_evse_in nondet_evse_in(void);
struct v2g_estimate nondet_estimate(void);
struct v2g_evse_state nondet_evse_state(void);
struct v2g_proposal nondet_proposal(void);
struct v2g_feeder_work nondet_feeder_work(void);
struct v2g_work nondet_work(void);

static struct v2g_band some_band(void) {
    return (struct v2g_band){.charge_w = some(0, V2G_POWER_MAX_W), .discharge_w = some(0, V2G_POWER_MAX_W)};
}

static bool lowered(const struct v2g_band *was, const struct v2g_band *is) {
    return is->charge_w >= 0 && is->charge_w <= was->charge_w && is->discharge_w >= 0 && is->discharge_w <= was->discharge_w;
}

static bool latches_kept(uint32_t own) {
    return (state.latch & ~own) == (before.latch & ~own);
}

/* Row 3 sees one sensor here (the rest are absent, by symmetry of its loop over independent sensors: each lowers, none resets). */
static void only_sensor(int sensor) {
    for (int k = 0; k < V2G_SENSORS; k++) {
        config.evse[0].derate[k] = k == sensor ? 0 : V2G_NONE;
    }
}

int main(void) {
    config = nondet_config();
    plan = nondet_plan();
    in = nondet_evse_in();
    estimate = nondet_estimate();
    before = nondet_evse_state();
    int64_t now_ns = some_time();
    config.evses = 1;
    config.feeders = 1;
    config.evse[0].feeder = 0;
    assume(evse_config_good(&config.evse[0]));
    assume(evse_plan_good(&plan.evse[0]));
#if PART == 31
    const struct v2g_derate *t = &config.derate[0];
    assume(t->start >= V2G_TEMP_MIN && t->start <= V2G_TEMP_MAX && t->shift >= 0 && t->shift <= 8);
#elif PART != 8
    assume(derates_good(&config));
#endif
    assume(evse_state_good(&before));
    const struct v2g_evse_config *evse = &config.evse[0];
    uint32_t known = known_fields(evse, &in, now_ns);
    struct v2g_band was = some_band(), band = was;
    state = before;

#if PART == 0 /* track */
    track(evse, known, &plan, &in, now_ns, &state);
    prove(track_contract(&before, &state), "track keeps its contract");
#elif PART == 1
    row_rating(evse, known, &in, &state, &band);
    was = (struct v2g_band){evse->rating_charge_w, evse->rating_discharge_w, 0, 0};
    prove(lowered(&was, &band), "row 1 starts from the ratings");
#elif PART == 2
    row_soc(evse, known, &plan.evse[0], &in, &estimate, &state, &band);
    prove(lowered(&was, &band), "row 2 lowers");
    prove(latches_kept(SOC_LATCHES), "row 2 touches its own latches");
    state.latch = before.latch;
    prove(state.thermal_w == before.thermal_w && state.ramp_q8 == before.ramp_q8, "row 2 touches nothing else");
#elif PART == 3
    row_thermal(&config, evse, known, &in, &estimate, now_ns, &state, &band);
    prove(lowered(&was, &band), "row 3 lowers");
    prove(thermal_contract(&before, &state), "row 3 keeps its contract");
#elif PART == 4
    struct v2g_proposal proposal = nondet_proposal();
    row_grid(&proposal, &band);
    prove(lowered(&was, &band), "row 4 lowers");
    was = band;
    struct v2g_feeder_work feeder = nondet_feeder_work();
    row_meter(&feeder, &band);
    prove(lowered(&was, &band), "row 5 lowers");
    prove(!feeder.meter_lost || (band.discharge_w == 0 && band.charge_w <= max_i32(feeder.share_w, 0)), "P5 a lost meter");
#elif PART == 6
    struct spoken said = spoken(&plan, &plan.evse[0], nondet_uint(), now_ns);
    row_leases(&config, &state, &said, nondet_uint(), &band);
    prove(lowered(&was, &band), "row 6 lowers");
    was = band;
    row_lockout(&plan.evse[0], &band);
    prove(lowered(&was, &band), "row 7 lowers");
#elif PART == 8  /* wish, ramp and setpoint */
    struct v2g_proposal proposal = nondet_proposal();
    struct v2g_feeder_work feeder = nondet_feeder_work();
    struct v2g_work work = nondet_work();
    struct v2g_setpoint out;
    struct spoken said = spoken(&plan, &plan.evse[0], nondet_uint(), now_ns);
    work.band = was;
    choose(&plan, &plan.evse[0], &proposal, &said, &state, &work);
    prove(work.want_w <= was.charge_w && work.want_w >= -was.discharge_w, "the wish is cut to the band");
    int32_t ramp_q8 = row_ramp(evse, &plan.evse[0], &proposal, work.want_w, &state);
    prove(ramp_q8 <= max_i32(work.want_w, 0) * 256 && ramp_q8 >= min_i32(work.want_w, 0) * 256,
          "the ramp stays inside the wish");
    decide(&config, &plan, 0, now_ns, &feeder, &work, &state, &out);
    prove(out.target_w <= was.charge_w && out.target_w >= -was.discharge_w, "the setpoint stays inside the band");
    prove(out.min_w <= 0 && out.max_w >= 0, "0 is always allowed");
#elif PART == 31 /* the table and the latch of one sensor, whatever the table's limits are */
    struct v2g_derate *table = &config.derate[0];
    (void)derated_w(table, nondet_int()); /* the bounds checks judge it */
    track_heat(table, some(0, V2G_SENSORS - 1), nondet_int(), now_ns, &state);
    prove(latches_kept(THERMAL_LATCHES | V2G_LATCH_RETURNING), "row 3 touches its own latches");
#elif PART == 30 /* P3: hotter never gives more */
    only_sensor(SENSOR);
    uint32_t field = (uint32_t)V2G_F_T_CONNECTOR + SENSOR;
    struct v2g_band hot_band = was;
    less = in;
    less.value[field] = some(in.value[field], INT32_MAX);
    hotter = estimate;
    hotter.predicted[SENSOR] = some(estimate.predicted[SENSOR], INT32_MAX);
    assume(in.value[field] >= V2G_TEMP_MIN);
    other = before;
    row_thermal(&config, evse, known, &in, &estimate, now_ns, &state, &band);
    row_thermal(&config, evse, known, &less, &hotter, now_ns, &other, &hot_band);
    prove(hot_band.charge_w <= band.charge_w && hot_band.discharge_w <= band.discharge_w, "P3 hotter never gives more");
#elif PART == 70 /* P7: one temperature less, from where the same inputs led to */
    only_sensor(SENSOR);
    row_thermal(&config, evse, known, &in, &estimate, now_ns, &state, &band);
    other = state;
    struct v2g_band with = was, without = was;
    row_thermal(&config, evse, known, &in, &estimate, now_ns, &state, &with);
    row_thermal(&config, evse, known & nondet_uint(), &in, &estimate, now_ns, &other, &without);
    prove(without.charge_w <= with.charge_w && without.discharge_w <= with.discharge_w, "P7 a lost temperature");
#elif PART == 71 /* P7: any other value less */
    track(evse, known, &plan, &in, now_ns, &state);
    row_rating(evse, known, &in, &state, &band);
    row_soc(evse, known, &plan.evse[0], &in, &estimate, &state, &band);
    other = state;
    struct v2g_band with, without;
    uint32_t health = nondet_uint(), less_known = known & nondet_uint();
    struct spoken said = spoken(&plan, &plan.evse[0], health, now_ns);
    track(evse, known, &plan, &in, now_ns, &state);
    row_rating(evse, known, &in, &state, &with);
    row_soc(evse, known, &plan.evse[0], &in, &estimate, &state, &with);
    row_leases(&config, &state, &said, health, &with);
    track(evse, less_known, &plan, &in, now_ns, &other);
    row_rating(evse, less_known, &in, &other, &without);
    row_soc(evse, less_known, &plan.evse[0], &in, &estimate, &other, &without);
    row_leases(&config, &other, &said, health, &without);
    prove(without.charge_w <= with.charge_w && without.discharge_w <= with.discharge_w, "P7 a lost value");
#endif
    return 0;
}
