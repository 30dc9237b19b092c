/* What the other proofs assume, established: a config or plan that passes its check is in the ranges of rows.h (PART 1, PART 2), and a
 * state begins inside its invariant, also after a new config (PART 3). Tables are one entry long: each entry is judged alone, and what a
 * check says of an entry does not depend on the others but for keys, parents and shares. */
#include "assume.h"

/* The thermal model's factors are judged by a division, which solvers can't do; nothing proven here depends on them. */
static bool is_model(uint32_t rise_q44, int32_t rating_w) {
    (void)rise_q44, (void)rating_w;
    return nondet_bool();
}

#include "../core/check.c"
#include "../core/state.c"

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

struct v2g_config nondet_config(void);
struct v2g_plan nondet_plan(void);
struct v2g_state nondet_state(void);

static struct v2g_config config, from;
static struct v2g_plan plan;
static struct v2g_state state, old;

static bool feeder_config_good(const struct v2g_feeder_config *d) {
    bool good = d->slew_q8 >= 0 && d->slew_q8 <= V2G_POWER_MAX_W * 256 && is_some_age(d->meter_age_ns) &&
                d->liveness_age_ns >= 0 && d->refresh_ns >= 0 && is_some_power(d->share_w);
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && is_some_power(d->import_w[lane]) && is_some_power(d->export_w[lane]) && is_some_power(d->base_w[lane]) &&
               is_some_power(d->fallback_w[lane]);
    }
    return good;
}

int main(void) {
    config = nondet_config();
    plan = nondet_plan();
#if PART == 1
    assume(v2g_config_check(&config) == 0);
    const struct v2g_evse_config *e = &config.evse[0];
    prove(config.evses <= V2G_MAX_EVSES && config.feeders >= 1 && config.feeders <= V2G_MAX_FEEDERS &&
              config.meters <= V2G_MAX_METERS && config.derates <= V2G_MAX_DERATES,
          "P8 no more entries than a table holds");
    prove(config.evses == 0 || evse_config_good(e), "P8 an EVSE's config is in range");
    prove(config.evses == 0 || (e->feeder < config.feeders && e->phases >= 1 && e->phases <= 7), "P8 it hangs on a feeder");
    prove(config.evses == 0 || e->derate[0] == V2G_NONE || e->derate[0] < config.derates, "P8 its tables are there");
    prove(config.derates == 0 || derate_good(&config.derate[0]), "P8 a derating table is in range and falls");
    prove(feeder_config_good(&config.feeder[0]), "P8 a feeder's config is in range");
    prove(config.feeder[0].meter == V2G_NONE || config.feeder[0].meter < config.meters, "P8 its meter is there");
#elif PART == 2
    config.evses = nondet_bool();
    config.feeders = 1;
    int64_t now_ns = some_time();
    assume(v2g_plan_check(&plan, &config, now_ns) == 0);
    const struct v2g_feeder_plan *p = &plan.feeder[0];
    prove(config.evses == 0 || evse_plan_good(&plan.evse[0]), "P8 an EVSE's plan is in range");
    prove(is_some_power(p->import_w) && is_some_power(p->export_w) && is_some_power(p->after_import_w) &&
              is_some_power(p->after_export_w),
          "P8 a feeder's plan is in range");
    prove(plan.made_ns <= now_ns && plan.lease_ns - plan.made_ns <= (int64_t)V2G_LEASE_MAX_MS * 1000000,
          "P10 no plan of tomorrow");
#else
    v2g_state_init(&state);
    prove(evse_state_good(&state.evse[0]) && state.damaged == 0, "P8 a state begins inside its invariant");
    prove(state.evse[0].target_w == 0 && state.evse[0].ramp_q8 == 0 && (state.evse[0].latch & V2G_LATCH_LOST) != 0,
          "P14 it begins at 0 W and as lost");
    from = nondet_config();
    old = nondet_state();
    config.evses = nondet_bool(), from.evses = nondet_bool(), config.feeders = 1, from.feeders = 1;
    assume(evse_state_good(&old.evse[0]));
    v2g_state_migrate(&from, &old, &config, &state);
    prove(evse_state_good(&state.evse[0]), "P8 a new config keeps the invariant");
    uint32_t latch = nondet_uint();
    v2g_state_restore(&state, 0, latch);
    prove(evse_state_good(&state.evse[0]), "P8 latches that outlived the process keep it too");
#endif
    return 0;
}
