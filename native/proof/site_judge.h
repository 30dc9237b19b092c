/* Sites that the adversary makes, and the rules that site control must keep in every step of them, judged from the rules alone, in plain
 * arithmetic; for random runs (site_run.c) and the fuzzer (fuzz_site.c):
 *
 *   21  a share lies inside the EVSE's interval, and nobody discharges while others charge for the site
 *   22  the shares together are min(target, headroom), to 1 W per EVSE
 *   23  what is shared out of a feeder fits its room, on every lane
 *   24  the order of the EVSEs does not matter
 *   25  more weight never means less power
 *   26  out of service, or without sight of the grid, nobody discharges
 *   27  the proposals cost nothing that enforce() forbids: its own check holds */
#ifndef V2G_SITE_JUDGE_H
#define V2G_SITE_JUDGE_H

#include "adversary.h"
#include "v2g_site.h"

struct run {
    struct v2g_config config, turned_config;
    struct v2g_site_config site;
    struct v2g_plan plan, turned_plan;
    struct v2g_site_plan wish;
    struct v2g_image image, turned_image;
    struct v2g_state state, turned_state;
    struct v2g_setpoints out, turned_out;
    struct v2g_site_state memory, before, turned_memory;
    struct v2g_site_view view, turned_view;
    int64_t now_ns;
    uint64_t steps, shared;
};

static int64_t s_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t s_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void some_grid(struct adversary *a, struct run *r) {
    struct v2g_grid_config *grid = &r->site.grid;
    memset(&r->site, 0, sizeof r->site);
    for (uint32_t i = 0; i < r->config.evses; i++) {
        r->site.response_ns[i] = some_ms(a, 0, 3000);
    }
    if (one_in(a, 3)) {
        return;
    }
    grid->present = 1;
    grid->trips = any(a) % 2;
    grid->meters = 1 + any(a) % (r->config.meters < 3 ? r->config.meters : 3);
    for (uint32_t m = 0; m < grid->meters; m++) {
        grid->meter[m] = (uint16_t)(any(a) % r->config.meters);
        grid->age_ns[m] = some_ms(a, 10, 500);
    }
    grid->nominal_mhz = one_in(a, 2) ? 50000 : 60000;
    grid->nominal_dv = 2300;
    grid->phases = any(a) % 8;
    for (uint32_t w = 0; w < V2G_GRID_WATCHES; w++) {
        bool voltage = one_in(a, 2);
        grid->watch[w] =
            (struct v2g_grid_watch){.kind = one_in(a, 3) ? V2G_WATCH_NONE : (voltage ? V2G_WATCH_VOLTAGE : V2G_WATCH_FREQUENCY),
                                    .over = any(a) % 2,
                                    .cease = one_in(a, 3),
                                    .limit = voltage ? between(a, 1800, 2800) : grid->nominal_mhz + between(a, -2000, 2000),
                                    .delay_ns = some_ms(a, 0, 1000)};
    }
    for (uint32_t k = 0; k < V2G_GRID_ANSWERS; k++) {
        bool step = one_in(a, 3);
        grid->answer[k] = (struct v2g_grid_answer){.scale_q16 = one_in(a, 2) ? 0 : between(a, 0, 65536),
                                                   .from_mhz = {between(a, 0, 50), between(a, 50, 300)},
                                                   .value_q16 = {0, between(a, 0, 20000)},
                                                   .slope_q24 = {between(a, 0, 20000), between(a, 0, 60000)},
                                                   .trigger_mhz = step ? grid->nominal_mhz - between(a, 50, 500) : 0,
                                                   .rearm_mhz = grid->nominal_mhz - 50,
                                                   .lag_q32 = one_in(a, 2) ? 0 : any(a),
                                                   .hold_ns = some_ms(a, 0, 2000),
                                                   .back_q32 = one_in(a, 2) ? 0 : any(a),
                                                   .rearm_ns = some_ms(a, 0, 1000)};
    }
    if (one_in(a, 2)) {
        grid->volt_watt_from_dv = 2400;
        grid->volt_watt_to_dv = 2500;
        grid->volt_watt_slope_q24 = 134218;
        grid->volt_watt_least_q16 = between(a, 0, 65536);
    }
    grid->enter_low_mhz = grid->nominal_mhz - 500;
    grid->enter_high_mhz = grid->nominal_mhz + 100;
    grid->enter_low_dv = 2100;
    grid->enter_high_dv = 2415;
    grid->enter_delay_ns = some_ms(a, 0, 2000);
    grid->enter_ramp_ns = one_in(a, 3) ? 0 : some_ms(a, 10, 2000);
    grid->enter_step_q32 = (uint32_t)between(a, 1000000, 400000000);
}

static void some_frequency(struct adversary *a, struct run *r) {
    for (uint32_t m = 0; m < r->config.meters; m++) {
        struct v2g_meter_in *in = &r->image.meter[m];
        bool calm = !one_in(a, 40);
        for (uint32_t phase = 0; phase < 3; phase++) {
            in->value[V2G_M_U_L1 + phase] = calm ? between(a, 2280, 2320) : between(a, 0, 3000);
        }
        in->value[V2G_M_FREQUENCY] = r->site.grid.nominal_mhz + (calm ? between(a, -60, 60) : between(a, -3000, 3000));
    }
}

static bool follows(const struct run *r, uint32_t i) {
    return (r->plan.evse[i].flag & V2G_PLAN_SITE_TARGET) != 0;
}

static int64_t magnitude(int64_t w) {
    return w < 0 ? -w : w;
}

/* What it may take at most for the site, as far as rows 1 to 7 and its own past say. */
static int64_t reach(const struct run *r, uint32_t i, bool discharge) {
    const struct v2g_setpoint *set = &r->out.evse[i];
    int64_t band_w = discharge ? -(int64_t)set->band_min_w : set->band_max_w;
    return s_min(s_max(band_w, 0), r->memory.evse[i].most_w);
}

static int64_t share(const struct run *r, uint32_t i, bool discharge) {
    const struct v2g_proposal *p = &r->image.proposal[i];
    return discharge ? p->share_discharge_w : p->share_charge_w;
}

static int inside(const struct run *r, int64_t goal_w) {
    for (uint32_t i = 0; i < r->config.evses; i++) {
        const struct v2g_proposal *p = &r->image.proposal[i];
        if (follows(r, i) && (magnitude(p->target_w) > reach(r, i, p->target_w < 0) || (goal_w >= 0 && p->target_w < 0) ||
                              (goal_w < 0 && p->target_w > 0))) {
            return 21;
        }
    }
    return 0;
}

static int together(const struct run *r, int64_t goal_w) {
    bool down = goal_w < 0;
    int64_t sum_w = 0, head_w = 0;
    if (r->view.parked != 0) {
        return 0; /* who waits takes nothing: judged by the tests of turns */
    }
    for (uint32_t i = 0; i < r->config.evses; i++) {
        const struct v2g_proposal *p = &r->image.proposal[i];
        uint8_t why = down ? p->why_discharge : p->why_charge;
        if (!follows(r, i)) {
            continue;
        }
        sum_w += magnitude(p->target_w);
        bool grid = why == V2G_ENTER_SERVICE || why == V2G_GRID_VOLTAGE;
        head_w += why != V2G_REASON_NONE && !grid ? magnitude(p->target_w) : reach(r, i, down);
    }
    bool grid_cuts = r->memory.grid.service != V2G_GRID_IN || r->site.grid.volt_watt_from_dv != 0;
    bool good =
        sum_w <= magnitude(goal_w) && (grid_cuts || sum_w >= s_min(magnitude(goal_w), head_w) - (int64_t)r->config.evses);
    return good ? 0 : 22;
}

/* What it takes of its feeders by what is proposed: its part of the site's target, or its wish as far as the share goes. */
static int64_t taken(const struct run *r, uint32_t i, bool discharge) {
    const struct v2g_proposal *p = &r->image.proposal[i];
    const struct v2g_evse_plan *e = &r->plan.evse[i];
    const struct v2g_setpoint *set = &r->out.evse[i];
    bool live = r->now_ns <= e->until_ns && r->now_ns <= r->plan.lease_ns && (r->image.health & V2G_HEALTH_ON_TIME) != 0;
    int64_t wish_w = live ? e->target_w : e->after_target_w;
    if (follows(r, i) || (p->option & V2G_PROPOSE_TARGET) != 0) {
        wish_w = p->target_w;
    }
    int64_t band_w = discharge ? -(int64_t)set->band_min_w : set->band_max_w;
    return s_min(s_min(s_max(discharge ? -wish_w : wish_w, 0), s_max(band_w, 0)), share(r, i, discharge));
}

static int fits(const struct run *r) {
    for (uint32_t f = 0; f < r->config.feeders; f++) {
        for (int way = 0; way < 2; way++) {
            for (uint32_t lane = 0; lane < V2G_LANES; lane++) {
                int64_t sixths = 0;
                for (uint32_t i = 0; i < r->config.evses; i++) {
                    const struct v2g_evse_config *e = &r->config.evse[i];
                    bool below = false;
                    for (uint32_t up = e->feeder; up != V2G_NONE; up = r->config.feeder[up].parent) {
                        below = below || up == f;
                    }
                    bool even = (r->state.evse[i].latch & V2G_LATCH_BALANCED) != 0;
                    int64_t size =
                        lane == V2G_LANE_TOTAL ? 6 : ((e->phases >> lane & 1) == 0 ? 0 : (even ? 6 / e->phase_count : 6));
                    sixths += below ? size * taken(r, i, way == 1) : 0;
                }
                const struct v2g_room_state *room = &r->memory.room[f];
                int64_t held_w = s_max(s_min(room->past_w[way][lane], room->run_w[way][lane]), 0);
                if (sixths > 6 * held_w) {
                    return 23;
                }
            }
        }
    }
    return 0;
}

static int without_grid(const struct run *r) {
    bool out = r->memory.grid.service == V2G_GRID_OUT || r->memory.grid.service == V2G_GRID_WAITING;
    bool blind = r->site.grid.present != 0 && (r->view.present & 2u) == 0;
    for (uint32_t i = 0; i < r->config.evses; i++) {
        const struct v2g_proposal *p = &r->image.proposal[i];
        if ((out && (p->grid_charge == 0 || p->grid_discharge == 0)) || (blind && p->grid_discharge == 0)) {
            return 26;
        }
    }
    return 0;
}

/* The same site with its EVSEs in another order, both looked at for the first time; EVSEs without a minimum, so that no turn decides. */
static int turned(struct run *r, struct adversary *a, bool heavier) {
    uint32_t n = r->config.evses, who = any(a) % n;
    r->turned_config = r->config;
    r->turned_plan = r->plan;
    r->turned_image = r->image;
    r->turned_state = r->state;
    r->turned_out = r->out;
    struct v2g_site_config site = r->site;
    for (uint32_t i = 0; i < n && !heavier; i++) {
        r->turned_config.evse[i] = r->config.evse[n - 1 - i];
        r->turned_plan.evse[i] = r->plan.evse[n - 1 - i];
        r->turned_image.evse[i] = r->image.evse[n - 1 - i];
        r->turned_state.evse[i] = r->state.evse[n - 1 - i];
        r->turned_out.evse[i] = r->out.evse[n - 1 - i];
        site.response_ns[i] = r->site.response_ns[n - 1 - i];
    }
    if (heavier) {
        struct v2g_evse_plan *e = &r->turned_plan.evse[who];
        e->weight_charge = e->weight_discharge =
            (uint16_t)s_min(2 * s_max(s_max(e->weight_charge, e->weight_discharge), 500), 65535);
    }
    v2g_site_init(&r->before);
    v2g_site_init(&r->turned_memory);
    v2g_site_propose(&r->config, &r->site, &r->plan, &r->wish, &r->state, &r->out, r->now_ns, &r->before, &r->image, &r->view);
    v2g_site_propose(&r->turned_config, &site, &r->turned_plan, &r->wish, &r->turned_state, &r->turned_out, r->now_ns,
                     &r->turned_memory, &r->turned_image, &r->turned_view);
    if (heavier) {
        const struct v2g_proposal *was = &r->image.proposal[who], *is = &r->turned_image.proposal[who];
        bool less = magnitude(is->target_w) < magnitude(was->target_w) - 1 || is->share_charge_w < was->share_charge_w - 1 ||
                    is->share_discharge_w < was->share_discharge_w - 1;
        return less && r->config.feeders == 1 ? 25 : 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct v2g_proposal *p = &r->image.proposal[i], *q = &r->turned_image.proposal[n - 1 - i];
        if (p->target_w != q->target_w || p->share_charge_w != q->share_charge_w ||
            p->share_discharge_w != q->share_discharge_w) {
            return 24;
        }
    }
    return 0;
}

/* Another plan, and another wish for the site. */
static void say(struct adversary *a, struct run *r) {
    adversary_plan(a, &r->config, &r->plan, r->now_ns);
    for (uint32_t i = 0; i < r->config.evses; i++) {
        r->plan.evse[i].weight_charge = (uint16_t)(one_in(a, 3) ? 0 : any(a));
        r->plan.evse[i].weight_discharge = (uint16_t)(one_in(a, 3) ? 0 : any(a));
    }
    r->wish =
        (struct v2g_site_plan){.target_w = one_in(a, 20) ? (int32_t)any(a) % V2G_POWER_MAX_W : between(a, -200000, 400000),
                               .present = !one_in(a, 6),
                               .damp_q32 = one_in(a, 2) ? 0 : any(a)};
}

/* One cycle of site control and the safety core. Returns the rule that it broke; 0: none. */
static int judged_cycle(struct run *r, struct adversary *a) {
    v2g_site_propose(&r->config, &r->site, &r->plan, &r->wish, &r->state, &r->out, r->now_ns, &r->memory, &r->image, &r->view);
    int64_t goal_w = (r->view.present & 1u) != 0 ? r->view.asked_w : 0;
    int violated = inside(r, goal_w);
    violated = violated != 0 ? violated : together(r, goal_w);
    violated = violated != 0 ? violated : fits(r);
    violated = violated != 0 ? violated : without_grid(r);
    r->steps += r->config.evses;
    r->shared += goal_w != 0;
    if (violated == 0 && one_in(a, 16) && r->config.evse[0].min_charge_w == 0) {
        violated = turned(r, a, one_in(a, 2));
    }
    v2g_enforce(&r->config, &r->plan, &r->state, &r->image, r->now_ns, &r->out);
    return violated == 0 && r->out.safe != 0 ? 27 : violated;
}

/* A site of so many EVSEs before its first cycle. Returns whether its checks let it through, as they must. */
static bool open_run(struct run *r, struct adversary *a, uint32_t evses) {
    adversary_config(a, &r->config, evses);
    bool no_minimum = one_in(a, 2);
    for (uint32_t i = 0; i < r->config.evses && no_minimum; i++) {
        r->config.evse[i].min_charge_w = r->config.evse[i].min_discharge_w = 0;
    }
    v2g_config_seal(&r->config);
    some_grid(a, r);
    if (v2g_config_check(&r->config) != 0 || v2g_site_check(&r->site, &r->config) != 0) {
        return false;
    }
    v2g_state_init(&r->state);
    v2g_image_init(&r->image);
    v2g_plan_safe(&r->plan, &r->config);
    v2g_site_init(&r->memory);
    memset(&r->out, 0, sizeof r->out);
    r->now_ns = some_ms(a, 1, 1000000);
    return true;
}

#endif
