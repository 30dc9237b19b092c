/* One EVSE through enforce(), from any state, with any input and any estimate: P1 to P5, P10, P14.
 *
 * One property at a time (-DPROPERTY=n), each with the real code of the rows it speaks of. Every other row is replaced by its contract,
 * "lowers the band and touches only its own latches", which rows.c proves of the real one; tools/prove.py renames the real rows in its
 * copy of enforce.c to real_row_…, so that both exist here. The feeders' contract is proven in feeder.c. */
#include "assume.h"

#include "../core/chain.h"
#include "properties.h"

#ifndef PROPERTY
#error "PROPERTY"
#endif
enum {
    REAL_TRACK = PROPERTY == 1 || PROPERTY == 5 || PROPERTY == 14 || PROPERTY == 8,
    REAL_RATING = PROPERTY == 1 || PROPERTY == 5 || PROPERTY == 14,
    REAL_SOC = PROPERTY == 2,
    REAL_THERMAL = PROPERTY == 3,
    REAL_METER = PROPERTY == 105,
    REAL_LEASES = PROPERTY == 1 || PROPERTY == 5,
    REAL_LOCKOUT = PROPERTY == 1,
};

struct spoken;
static void track(const struct v2g_evse_config *config, uint32_t known, const struct v2g_plan *plan,
                  const struct v2g_evse_in *in, int64_t now_ns, struct v2g_evse_state *state);
static void row_rating(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_in *in,
                       const struct v2g_evse_state *state, struct v2g_band *band);
static void row_soc(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_plan *plan,
                    const struct v2g_evse_in *in, const struct v2g_estimate *estimate, struct v2g_evse_state *state,
                    struct v2g_band *band);
static void row_thermal(const struct v2g_config *site, const struct v2g_evse_config *config, uint32_t known,
                        const struct v2g_evse_in *in, const struct v2g_estimate *estimate, int64_t now_ns,
                        struct v2g_evse_state *state, struct v2g_band *band);
static void row_grid(const struct v2g_proposal *proposal, struct v2g_band *band);
static void row_meter(const struct v2g_feeder_work *feeder, struct v2g_band *band);
static void row_leases(const struct v2g_config *site, const struct v2g_evse_state *state, const struct spoken *spoken,
                       uint32_t health, struct v2g_band *band);
static void row_lockout(const struct v2g_evse_plan *plan, struct v2g_band *band);

#include "../core/enforce.c"

#include "rows.h"

struct v2g_evse_state nondet_evse_state(void);

static void track(const struct v2g_evse_config *config, uint32_t known, const struct v2g_plan *plan,
                  const struct v2g_evse_in *in, int64_t now_ns, struct v2g_evse_state *state) {
    if (REAL_TRACK) {
        real_track(config, known, plan, in, now_ns, state);
        return;
    }
    struct v2g_evse_state next = nondet_evse_state();
    assume(track_contract(state, &next));
    *state = next;
}

static void row_rating(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_in *in,
                       const struct v2g_evse_state *state, struct v2g_band *band) {
    if (REAL_RATING) {
        real_row_rating(config, known, in, state, band);
        return;
    }
    *band = (struct v2g_band){config->rating_charge_w, config->rating_discharge_w, V2G_RATING, V2G_RATING};
    lower(band);
}

static void row_soc(const struct v2g_evse_config *config, uint32_t known, const struct v2g_evse_plan *plan,
                    const struct v2g_evse_in *in, const struct v2g_estimate *estimate, struct v2g_evse_state *state,
                    struct v2g_band *band) {
    if (REAL_SOC) {
        real_row_soc(config, known, plan, in, estimate, state, band);
        return;
    }
    state->latch = (state->latch & ~(uint32_t)SOC_LATCHES) | (nondet_uint() & SOC_LATCHES);
    lower(band);
}

static void row_thermal(const struct v2g_config *site, const struct v2g_evse_config *config, uint32_t known,
                        const struct v2g_evse_in *in, const struct v2g_estimate *estimate, int64_t now_ns,
                        struct v2g_evse_state *state, struct v2g_band *band) {
    if (REAL_THERMAL) {
        real_row_thermal(site, config, known, in, estimate, now_ns, state, band);
        return;
    }
    struct v2g_evse_state next = nondet_evse_state();
    assume(thermal_contract(state, &next));
    *state = next;
    lower(band);
}

static void row_grid(const struct v2g_proposal *proposal, struct v2g_band *band) {
    (void)proposal;
    lower(band);
}

static void row_meter(const struct v2g_feeder_work *feeder, struct v2g_band *band) {
    if (REAL_METER) {
        real_row_meter(feeder, band);
        return;
    }
    lower(band);
}

static void row_leases(const struct v2g_config *site, const struct v2g_evse_state *state, const struct spoken *spoken,
                       uint32_t health, struct v2g_band *band) {
    if (REAL_LEASES) {
        real_row_leases(site, state, spoken, health, band);
        return;
    }
    lower(band);
}

static void row_lockout(const struct v2g_evse_plan *plan, struct v2g_band *band) {
    if (REAL_LOCKOUT) {
        real_row_lockout(plan, band);
        return;
    }
    lower(band);
}

/* ---- What is not this file's: seals intact, feeders any value ---------------------------------------------------------- */

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

struct v2g_feeder_work nondet_feeder_work(void);

void v2g_feeders_begin(const struct v2g_config *config, struct v2g_feeder_work *feeders) {
    (void)config;
    feeders[0] = nondet_feeder_work();
}
void v2g_feeders_book(const struct v2g_evse_config *evse, const struct v2g_evse_state *state, const struct v2g_evse_in *in,
                      struct v2g_work *work, struct v2g_feeder_work *feeders) {
    (void)evse, (void)state, (void)in, (void)work, (void)feeders;
}
void v2g_feeders_room(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                      const struct v2g_image *image, int64_t now_ns, struct v2g_feeder_work *feeders) {
    (void)config, (void)plan, (void)state, (void)image, (void)now_ns, (void)feeders;
}
int32_t v2g_feeders_take(const struct v2g_config *config, const struct v2g_evse_config *evse, bool balanced,
                         struct v2g_work *work, struct v2g_feeder_work *feeders) {
    (void)config, (void)evse, (void)balanced, (void)feeders;
    return work->want_w >= 0 ? some(0, work->want_w) : some(work->want_w, 0);
}
bool v2g_feeders_hold(const struct v2g_config *config, const struct v2g_state *state, const struct v2g_setpoints *out) {
    (void)config, (void)state, (void)out;
    return true;
}

/* ---- The proof --------------------------------------------------------------------------------------------------------- */

struct v2g_config config;
struct v2g_plan plan;
struct v2g_image image;
struct v2g_state before, after;
struct v2g_setpoints out;

struct v2g_config nondet_config(void);
struct v2g_plan nondet_plan(void);
struct v2g_image nondet_image(void);
struct v2g_state nondet_state(void);

int main(void) {
    config = nondet_config();
    plan = nondet_plan();
    image = nondet_image();
    after = nondet_state();
    int64_t now_ns = some_time();
    config.evses = 1;
    config.feeders = 1;
    config.derates = V2G_MAX_DERATES; /* one; the check passed it */
    config.evse[0].feeder = 0;
    assume(evse_config_good(&config.evse[0]));
    assume(evse_plan_good(&plan.evse[0]));
    assume(derates_good(&config));
    assume(evse_state_good(&after.evse[0]));
    after.damaged = 0;
    /* What the properties read of the state before; copying all of it makes the formula a hundred times larger. */
    before.evse[0].latch = after.evse[0].latch;
    before.evse[0].ramp_q8 = after.evse[0].ramp_q8;
    before.evse[0].lost_epoch = after.evse[0].lost_epoch;
    before.evse[0].follow_epoch = after.evse[0].follow_epoch;
#if PROPERTY == 14
    /* Nothing has come for longer than the link's age limit. */
    int64_t silent_since_ns = some_time();
    assume(image.evse[0].acquired_ns[V2G_F_STATE] <= silent_since_ns);
    assume(now_ns - silent_since_ns > config.evse[0].link_age_ns);
#endif
    v2g_enforce(&config, &plan, &after, &image, now_ns, &out);

    struct v2g_step step = {&config, &plan, &image, &before, &after, &out, now_ns};
    (void)step;
#if PROPERTY == 1
    prove(p1_inside(&step, 0), "P1 setpoint inside ratings, plan and device range");
    prove(p1_ready(&step, 0), "P1 nothing flows unless the EVSE is ready for it");
#elif PROPERTY == 2
    prove(p2_soc(&step, 0), "P2 no discharge at the floor, no charge at the ceiling");
#elif PROPERTY == 3
    prove(p3_stop(&step, 0), "P3 nothing flows while hot or latched");
#elif PROPERTY == 4
    prove(p4_ramp(&step, 0), "P4 at most one ramp step away from 0");
#elif PROPERTY == 5
    prove(p5_lost(&step, 0), "P5 lost or not following: 0, and the latch holds");
#elif PROPERTY == 14
    prove(out.evse[0].target_w == 0 && out.evse[0].min_w == 0 && out.evse[0].max_w == 0, "P14 silence makes SAFE");
#elif PROPERTY == 8
    prove(out.safe == 0, "P8 the chain never meets its own alarm");
    prove(evse_state_good(&after.evse[0]), "P8 the state's invariant is kept");
#endif
    return 0;
}
