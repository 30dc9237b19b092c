/* P6 for any number of EVSEs, by induction over them: what serving one EVSE does to any lane of any feeder on its way to the grid.
 *
 * For a lane let `room` be what all EVSEs below may draw, `served` the load of the setpoints already given, `waiting` the bookings of
 * the EVSEs not yet served, and `left` what feeder.c keeps. Before the first EVSE left = room - waiting and served = 0. Invariant:
 *
 *     left + served + waiting <= room,  and  (left >= 0 or served == 0)
 *
 * PART 1 proves that fit and settle, which is all that v2g_feeders_take does, feeder by feeder, never raise the first sum and never
 * bring left below 0 while serving. (Its short way, when nothing is short and nothing new is taken, gives at most what is booked.) After the last EVSE waiting = 0, so served <= room or served == 0: the sum of all
 * setpoints fits max(room, 0). PART 2 proves what PART 1 assumes of a booking, PART 3 what a room is, with any meter and any past. */
#include "assume.h"

#include "../core/feeder.c"

struct v2g_config config;
struct v2g_evse_state evse_state;
struct v2g_evse_in in;
struct v2g_work work;
struct v2g_feeder_work feeders[V2G_MAX_FEEDERS];

struct v2g_evse_config nondet_evse_config(void);
struct v2g_feeder_config nondet_feeder_config(void);
struct v2g_evse_state nondet_evse_state(void);
struct v2g_evse_in nondet_evse_in(void);
struct v2g_meter_in nondet_meter_in(void);
struct v2g_work nondet_work(void);
struct v2g_feeder_work nondet_feeder_work(void);
struct v2g_feeder_state nondet_feeder_state(void);
struct v2g_plan nondet_plan(void);

enum {
    SUM_MAX = 256 * V2G_POWER_MAX_W,           /* all EVSEs of the largest site */
    BASE_MAX = SUM_MAX + V2G_POWER_MAX_W,      /* a measurement minus such a sum */
    ROOM_MAX = BASE_MAX + 2 * V2G_POWER_MAX_W, /* a limit, base load and drift */
    LEFT_MIN = -ROOM_MAX - SUM_MAX,            /* such a room minus all bookings: still 31 bits */
};

static bool is_phases(const struct v2g_evse_config *e) {
    return e->phases >= 1 && e->phases <= 7 && e->phase_count == (e->phases & 1) + (e->phases >> 1 & 1) + (e->phases >> 2 & 1);
}

static bool is_room(const int32_t *w) {
    bool good = true;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && w[lane] >= -ROOM_MAX && w[lane] <= ROOM_MAX;
    }
    return good;
}

static bool is_sum(const int32_t *w) {
    bool good = true;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && w[lane] >= -SUM_MAX && w[lane] <= SUM_MAX;
    }
    return good;
}

static inline bool is_left(const struct v2g_lanes *left) {
    bool good = true;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && left->w[lane] >= LEFT_MIN && left->w[lane] <= ROOM_MAX;
    }
    return good;
}

/* Every lane of a booking covers the load of its sum. */
static bool covers(const struct v2g_evse_config *evse, bool balanced, const struct v2g_lanes *booked) {
    bool good = is_some_power(booked->w[V2G_LANE_TOTAL]);
    struct v2g_lanes load = v2g_load(evse, balanced, booked->w[V2G_LANE_TOTAL]);
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && is_some_power(booked->w[lane]) && booked->w[lane] >= load.w[lane];
    }
    return good;
}

#if PART == 1
/* One feeder on the way; a feeder further up may lower the power again. */
static void serving_keeps(void) {
    const struct v2g_evse_config *evse = &config.evse[0];
    bool balanced = nondet_bool();
    struct v2g_lanes left, booked;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        left.w[lane] = some(LEFT_MIN, ROOM_MAX);
        booked.w[lane] = some(0, V2G_POWER_MAX_W);
    }
    int32_t before_w = left.w[LANE], booked_w = booked.w[LANE], wanted_w = some(0, V2G_POWER_MAX_W);
    uint8_t reason = 0;
    int32_t fits_w = fit(evse, balanced, 0, &left, &booked, wanted_w, &reason);
    prove(fits_w >= 0 && fits_w <= wanted_w, "a feeder only lowers");
    int32_t given_w = some(0, fits_w);
    struct v2g_lanes load = v2g_load(evse, balanced, given_w);
    settle(&left, &booked, &load);
    prove(left.w[LANE] + load.w[LANE] <= before_w + booked_w, "P6 left + served + waiting never rises");
    prove(left.w[LANE] >= 0 || (before_w < 0 && load.w[LANE] == 0), "P6 an overloaded lane gives nothing");
}
#elif PART == 4
/* The contract that chain.c assumes. */
static void take_lowers(void) {
    config.feeders = V2G_MAX_FEEDERS;
    for (uint32_t f = 0; f < V2G_MAX_FEEDERS; f++) {
        config.feeder[f].parent = (uint16_t)(f == 0 ? V2G_NONE : f - 1);
        feeders[f] = nondet_feeder_work();
        assume(is_left(&feeders[f].import) && is_left(&feeders[f].export));
    }
    config.evse[0].feeder = V2G_MAX_FEEDERS - 1;
    work = nondet_work();
    assume(is_some_signed_power(work.want_w));
    for (int lane = 0; lane < V2G_LANES; lane++) {
        assume(is_some_power(work.booked_charge.w[lane]) && is_some_power(work.booked_discharge.w[lane]));
    }
    int32_t given_w = v2g_feeders_take(&config, &config.evse[0], nondet_bool(), &work, feeders);
    prove(work.want_w >= 0 ? given_w >= 0 && given_w <= work.want_w : given_w <= 0 && given_w >= work.want_w,
          "P1 take gives between nothing and what is wanted");
}
#elif PART == 2
static void booking_covers(void) {
    struct v2g_evse_config *evse = &config.evse[0];
    evse->feeder = 0;
    feeders[0] = nondet_feeder_work();
    assume(is_sum(feeders[0].now_min.w) && is_sum(feeders[0].now_max.w) && is_sum(feeders[0].import.w) &&
           is_sum(feeders[0].export.w));
    for (int lane = 0; lane < V2G_LANES; lane++) { /* room for one more EVSE in sums of at most 256 */
        assume(feeders[0].now_min.w[lane] >= -SUM_MAX + V2G_POWER_MAX_W &&
               feeders[0].now_max.w[lane] <= SUM_MAX - V2G_POWER_MAX_W);
    }
    assume(is_some_power(evse->rating_charge_w) && is_some_power(evse->rating_discharge_w));
    evse_state = nondet_evse_state();
    assume(evse_state_good(&evse_state));
    in = nondet_evse_in();
    work = nondet_work();
    /* track_following books at least what was measured (rows.c, PART 0) */
    bool heard = has(work.known, 1u << V2G_F_POWER);
    assume(!heard || (evse_state.book_charge_w >= power_of(&in) && evse_state.book_discharge_w >= -power_of(&in)));
    v2g_feeders_book(evse, &evse_state, &in, &work, feeders);
    bool balanced = (evse_state.latch & V2G_LATCH_BALANCED) != 0;
    prove(covers(evse, balanced, &work.booked_charge), "P6 a booking covers the load of its sum");
    prove(covers(evse, balanced, &work.booked_discharge), "P6 a booking covers the load of its sum, discharging");
    prove(work.booked_charge.w[V2G_LANE_TOTAL] >= evse_state.book_charge_w, "P6 what may still flow is booked");
    prove(!heard || work.booked_charge.w[V2G_LANE_TOTAL] >= power_of(&in), "P6 what is measured is booked");
    prove(silence_known(evse, &in) || heard || work.booked_charge.w[V2G_LANE_TOTAL] >= evse->rating_charge_w,
          "P6 an EVSE whose silence was not tested is booked at its rating");
}
#elif PART == 3
static bool feeder_state_good(const struct v2g_feeder_state *s) {
    bool good = s->drift_q8 >= 0 && s->drift_q8 <= V2G_POWER_MAX_W * 256 && s->lost <= 1 && s->fresh <= V2G_FRESH_TIMES;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        good = good && s->base_high_w[lane] >= -BASE_MAX && s->base_high_w[lane] <= BASE_MAX &&
               s->base_low_w[lane] >= -BASE_MAX && s->base_low_w[lane] <= BASE_MAX;
    }
    return good && is_sum(s->past_min_w) && is_sum(s->past_max_w) && is_sum(s->run_min_w) && is_sum(s->run_max_w) &&
           is_room(s->room_import_w) && is_room(s->room_export_w);
}

static void room_is_right(void) {
    struct v2g_feeder_config *d = &config.feeder[0];
    *d = nondet_feeder_config();
    struct v2g_plan plan = nondet_plan();
    struct v2g_meter_in meter = nondet_meter_in();
    struct v2g_feeder_state s = nondet_feeder_state();
    const struct v2g_feeder_plan *p = &plan.feeder[0];
    int64_t now_ns = some_time();
    feeders[0] = nondet_feeder_work();
    assume(is_sum(feeders[0].now_min.w) && is_sum(feeders[0].now_max.w) && feeder_state_good(&s));
    assume(is_some_power(p->import_w) && is_some_power(p->export_w) && is_some_power(p->after_import_w) &&
           is_some_power(p->after_export_w));
    assume(d->slew_q8 >= 0 && d->slew_q8 <= V2G_POWER_MAX_W * 256 && is_some_age(d->meter_age_ns));
    assume(d->liveness_age_ns >= 0 && d->refresh_ns >= 0);
    for (int lane = 0; lane < V2G_LANES; lane++) {
        assume(is_some_power(d->import_w[lane]) && is_some_power(d->export_w[lane]) && is_some_power(d->base_w[lane]) &&
               is_some_power(d->fallback_w[lane]));
    }
    uint32_t was_lost = s.lost, lost_epoch = s.lost_epoch;
    bool metered = d->meter != V2G_NONE;
    if (metered) {
        watch_meter(d, &plan, &meter, now_ns, &s);
        watch_sum(d, &feeders[0], now_ns, &s);
        if (s.lost == 0) {
            take_sample(d, &meter, &s);
        }
    }
    find_room(d, p, now_ns <= plan.lease_ns, now_ns, &s);
    prove(feeder_state_good(&s), "P8 the feeder's invariant is kept");
    for (int lane = 0; lane < V2G_LANES; lane++) {
        bool lost = metered && s.lost != 0;
        int64_t base_w = !metered || lost ? d->base_w[lane] : s.base_high_w[lane] + (int64_t)(s.drift_q8 >> 8);
        prove(s.room_import_w[lane] <= d->import_w[lane] - base_w, "P6 the room fits the fuse beside the base load");
        prove(!lost || (s.room_import_w[lane] <= d->fallback_w[lane] && s.room_export_w[lane] == 0),
              "P5 a lost meter: fallback");
    }
    bool stale = metered && is_old(now_ns, meter.acquired_ns[V2G_M_P_TOTAL], d->meter_age_ns);
    prove(!stale || s.lost == 1, "P5 a stale meter is lost in this cycle");
    prove(!metered || was_lost == 0 || s.lost == 1 || is_newer(plan.epoch, lost_epoch),
          "P5 a meter returns only with a newer plan");
}
#endif

int main(void) {
    config.evse[0] = nondet_evse_config();
    assume(is_phases(&config.evse[0]));
#if PART == 1
    serving_keeps();
#elif PART == 2
    booking_covers();
#elif PART == 3
    room_is_right();
#elif PART == 4
    take_lowers();
#endif
    return 0;
}
