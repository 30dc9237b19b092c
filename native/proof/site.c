/* Site control: what the grid's rules forbid and ask for, whoever measures what; what tracking may add.
 * One PART at a time, with all checks for undefined behaviour. The copies of tools/prove.py make the tables short. */
#include "assume.h"

#include "../core/grid.c"
#define ALL_Q16 SITE_ALL_Q16 /* each file has its own */
#include "../core/site.c"
#undef ALL_Q16
#include "../core/track.c"

struct v2g_site_config nondet_site_config(void);
struct v2g_site_state nondet_site_state(void);
struct v2g_grid_seen nondet_grid_seen(void);
struct v2g_config nondet_config(void);
struct v2g_plan nondet_plan(void);
struct v2g_state nondet_state(void);
struct v2g_setpoints nondet_setpoints(void);
struct v2g_image nondet_image(void);
struct v2g_site_plan nondet_site_plan(void);

struct v2g_config config;
struct v2g_site_config site;
struct v2g_site_state memory;

/* Times of the past, as stamps of values that are not too old are. */
static bool is_past(int64_t stamp_ns, int64_t now_ns) {
    return stamp_ns == V2G_NEVER || (stamp_ns >= -((int64_t)1 << 61) && stamp_ns <= now_ns);
}

/* The grid's invariant, in two halves, assumed before a step. That a step keeps the first is part 5; for the second, which only the
 * answers to the frequency read, ESBMC found no answer within six minutes (products of 64 bits). */
static bool service_good(const struct v2g_grid_state *s, int64_t now_ns) {
    bool stopped = s->service != V2G_GRID_IN || s->ceased != 0;
    bool good = s->service <= V2G_GRID_ENTERING && s->ceased <= 1 && s->reason <= UINT8_MAX &&
                (!stopped || s->reason != V2G_REASON_NONE) && s->entered_q32 < (uint64_t)1 << 33 &&
                (s->service != V2G_GRID_ENTERING || s->entered_q32 < ENTERED_Q32) && is_past(s->ceased_ns, now_ns) &&
                (s->service != V2G_GRID_WAITING || is_past(s->good_ns, now_ns)) &&
                (s->service != V2G_GRID_WAITING || s->good_ns != V2G_NEVER);
    for (int w = 0; w < V2G_GRID_WATCHES; w++) {
        good = good && s->watch[w].samples <= V2G_GRID_CONFIRM &&
               (s->watch[w].samples == 0 || (is_past(s->watch[w].since_ns, now_ns) && s->watch[w].since_ns != V2G_NEVER));
    }
    return good;
}

static bool answers_good(const struct v2g_grid_state *s, int64_t now_ns) {
    bool good = s->offset_q16 >= -65536 && s->offset_q16 <= 65536;
    for (int a = 0; a < V2G_GRID_ANSWERS; a++) {
        const struct v2g_answer_state *answer = &s->answer[a];
        good = good && answer->value_q48 >= -((int64_t)1 << 48) && answer->value_q48 <= (int64_t)1 << 48 &&
               answer->spent <= 1 && is_past(answer->good_ns, now_ns);
    }
    return good;
}

static bool grid_state_good(const struct v2g_grid_state *s, int64_t now_ns) {
    return service_good(s, now_ns) && answers_good(s, now_ns);
}

static bool is_out(const struct v2g_grid_state *s) {
    return s->service == V2G_GRID_OUT || s->service == V2G_GRID_WAITING;
}

#if PART == 1
int main(void) {
    int32_t value[V2G_GRID_METERS], before[V2G_GRID_METERS];
    int32_t nominal = some(1, VOLTAGE_MAX_DV);
    uint32_t count = (uint32_t)some(1, V2G_GRID_METERS);
    for (uint32_t i = 0; i < count; i++) {
        value[i] = before[i] = some(0, VOLTAGE_MAX_DV);
    }
    int32_t voted = vote(value, count, nominal);
    bool told = false;
    for (uint32_t i = 0; i < count; i++) {
        told = told || voted == before[i];
        prove(count != 2 || off(voted, nominal) <= off(before[i], nominal), "of two the one nearer to nominal");
    }
    prove(told, "somebody measured it");
    prove(count != 3 || (voted >= min_i32(before[0], before[1]) && voted <= max_i32(before[0], before[1])),
          "of three no single one decides"); /* which of them is the third doesn't matter: they are any values */
    return 0;
}
#elif PART == 2 || PART == 3 || PART == 5
int main(void) {
    int64_t now_ns = some_time();
    site = nondet_site_config();
    memory = nondet_site_state();
    struct v2g_grid_seen seen = nondet_grid_seen();
    struct v2g_grid_state *state = &memory.grid;
    assume(site.grid.present == 1 && site.grid.trips == 1 && v2g_site_check(&site, &config) == 0);
    assume(seen.known <= 1 && seen.frequency_mhz >= FREQUENCY_LOW_MHZ && seen.frequency_mhz <= FREQUENCY_HIGH_MHZ);
    assume(seen.low_dv >= 0 && seen.high_dv >= 0 && seen.sample_ns >= 0 && seen.sample_ns <= now_ns);
    assume(grid_state_good(state, now_ns));
#if PART == 5
    if (seen.known != 0) {
        run_watches(&site.grid, &seen, now_ns, state);
    }
    enter_service(&site.grid, &seen, now_ns, state);
    prove(service_good(state, now_ns), "watches and service keep the grid's invariant");
    return 0;
#else
    struct v2g_grid_state before = *state;
    v2g_grid_step(&site.grid, &seen, now_ns, state);
#endif
#if PART == 2
    bool fresh = before.ceased == 0;
    for (int w = 0; w < V2G_GRID_WATCHES; w++) {
        fresh = fresh && before.watch[w].samples == 0;
    }
    prove(!fresh || before.service != V2G_GRID_IN || (state->service == V2G_GRID_IN && state->ceased == 0),
          "one bad sample never trips and never ceases");
    const struct v2g_grid_watch *watch = &site.grid.watch[V2G_GRID_WATCHES - 1];
    const struct v2g_watch_state *was = &before.watch[V2G_GRID_WATCHES - 1];
    bool third = was->samples >= V2G_GRID_CONFIRM - 1 && seen.sample_ns != was->seen_ns;
    bool due = watch->kind != V2G_WATCH_NONE && watch->cease == 0 && seen.known != 0 && is_beyond(watch, &seen) && third &&
               now_ns - was->since_ns >= watch->delay_ns;
    prove(!due || site.grid.enter_delay_ns == 0 || is_out(state), "three samples beyond a limit for its delay trip");
#elif PART == 3
    bool entered = is_out(&before) && !is_out(state);
    prove(!entered || is_good(&site.grid, &seen), "service is entered while the grid is good");
    prove(!entered || site.grid.enter_delay_ns == 0 ||
              (before.service == V2G_GRID_WAITING && now_ns - before.good_ns >= site.grid.enter_delay_ns),
          "and was so for the whole delay");
    struct v2g_proposal out = {0};
    forbid_by_grid(state, &seen, &out);
    bool stopped = is_out(state) || state->ceased != 0;
    prove(!stopped || (out.grid_charge != 0 && out.grid_discharge != 0), "out of service nobody gets power");
    prove(seen.known != 0 || out.grid_discharge != 0, "who doesn't see the grid doesn't feed it");
#endif
    return 0;
}
#elif PART == 4 /* tracking, one EVSE */
int main(void) {
    int64_t now_ns = some_time();
    config = nondet_config();
    site = nondet_site_config();
    memory = nondet_site_state();
    struct v2g_plan plan = nondet_plan();
    struct v2g_state state = nondet_state();
    struct v2g_setpoints set = nondet_setpoints();
    struct v2g_image image = nondet_image();
    struct v2g_site_plan wish = nondet_site_plan();
    struct v2g_site_view view = {0};
    struct v2g_track_state *track = &memory.track;
    const int32_t base_max_w = 257 * V2G_POWER_MAX_W;
    assume(config.evses == 1 && config.feeders == 1 && config.meters == 1);
    assume(config.feeder[0].meter == 0 || config.feeder[0].meter == V2G_NONE);
    assume(is_some_power(config.evse[0].rating_charge_w) && is_some_age(config.evse[0].link_age_ns));
    assume(is_some_power(config.evse[0].follow_tolerance_w));
    assume(is_some_age(config.feeder[0].refresh_ns) && is_some_age(site.response_ns[0]));
    assume(is_some_signed_power(set.evse[0].target_w) && is_some_signed_power(memory.evse[0].told_w));
    assume(is_some_power(memory.evse[0].most_w) && is_past(memory.evse[0].moved_ns, now_ns));
    for (int lane = 0; lane < V2G_LANES; lane++) {
        assume(state.feeder[0].base_low_w[lane] <= state.feeder[0].base_high_w[lane]);
        assume(state.feeder[0].base_low_w[lane] >= -base_max_w && state.feeder[0].base_high_w[lane] <= base_max_w);
        assume(is_some_signed_power(config.feeder[0].base_w[lane]));
    }
    assume(track->target_q32 >= -((int64_t)V2G_POWER_MAX_W << 32) && track->target_q32 <= (int64_t)V2G_POWER_MAX_W << 32);
    assume(track->error_q8 >= -((int64_t)1 << 40) && track->error_q8 <= (int64_t)1 << 40 && track->looks < FILTER_LOOKS);
    assume(is_some_signed_power(track->trim_w) && is_some_signed_power(track->push_w));
    assume(track->asked_w >= -((int64_t)1 << 40) && track->asked_w <= (int64_t)1 << 40 && is_past(track->settled_ns, now_ns));
    struct v2g_track_in in = {&config, &site, &plan, &wish, &state, &set, &image, 0, now_ns};
    int32_t trim_w = track->trim_w, push_w = track->push_w;
    int64_t asked_before_w = track->asked_w;
    int64_t asked_w = v2g_track(&in, &memory, &view);
    int32_t quarter_w = config.evse[0].rating_charge_w >> 2;
    bool moved = track->trim_w != 0 && track->trim_w != trim_w;
    prove(wish.present != 0 || (asked_w == 0 && track->trim_w == 0 && track->push_w == 0),
          "without a wish nothing is corrected");
    prove(!moved || (track->trim_w >= -quarter_w && track->trim_w <= quarter_w),
          "a correction is at most a quarter of the rating");
    int64_t cut_w = asked_before_w - set.evse[0].target_w;
    bool cut = cut_w > config.evse[0].rating_charge_w || cut_w < -config.evse[0].rating_charge_w;
    prove(!cut || !moved, "what enforce() cut is not integrated");
    prove(track->push_w == 0 || track->push_w == push_w || track->looks == 0, "a look begins anew after it has corrected");
    return 0;
}
#endif
