/* Site control, step 6: the grid's rules, the site's target, shares. Proposes only: enforce() takes nothing here on trust. */
#include "site.h"

#include <string.h>

enum { ALL_Q16 = 1 << 16, UNPARK_SHIFT = 3 };
#define ROTATE_NS INT64_C(600000000000) /* whoever waits below its minimum changes places after this */
#define STAY_NS   INT64_C(60000000000)  /* who had to stop stays stopped at least this long */
#define BACK_NS   INT64_C(1000000000)   /* after momentary cessation power comes back on the ramp of a frequency service */

void v2g_site_init(struct v2g_site_state *state) {
    (void)memset(state, 0, sizeof *state);
    state->grid.good_ns = V2G_NEVER;
    state->grid.ceased_ns = V2G_NEVER;
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        state->evse[i] = (struct v2g_site_evse_state){.most_w = V2G_POWER_MAX_W, .moved_ns = V2G_NEVER};
    }
}

void v2g_site_restore_out(struct v2g_site_state *state) {
    state->grid.service = V2G_GRID_OUT;
    state->grid.reason = V2G_ENTER_SERVICE;
    state->grid.good_ns = V2G_NEVER;
}

/* A new config: everything of the EVSEs begins anew; what the grid did and what the meter showed stays. */
static void adopt(const struct v2g_config *config, struct v2g_site_state *memory) {
    struct v2g_grid_state grid = memory->grid;
    struct v2g_track_state track = memory->track;
    v2g_site_init(memory);
    memory->grid = grid;
    memory->track = track;
    memory->config_epoch = config->epoch;
    for (uint32_t f = 0; f < config->feeders; f++) {
        memory->room[f].unmetered = 1;
    }
    for (uint32_t i = 0; i < config->evses; i++) {
        memory->turns++;
        memory->turn[i].turn = memory->turns;
    }
    v2g_share_order(config, memory);
}

/* ---- What everybody could take ----------------------------------------------------------------------------------------- */

struct run {
    const struct v2g_track_in *in;
    const struct v2g_grid_state *grid;
    int64_t goal_w; /* of all that follow together; the sign says which way */
    int way;        /* theirs */
    bool live;      /* the plan holds, not what it says for afterwards */
    uint8_t option; /* of every proposal */
};

static int32_t part_q16(int32_t power_w, int32_t share_q16) {
    return (int32_t)(((int64_t)power_w * share_q16) / ALL_Q16);
}

/* The plan's wish as it holds now: what enforce() will take. */
static int32_t own_wish_w(const struct run *run, const struct v2g_evse_plan *plan) {
    return run->live && run->in->now_ns <= plan->until_ns ? plan->target_w : plan->after_target_w;
}

static uint16_t weight_of(uint16_t weight) {
    return weight == 0 ? (uint16_t)V2G_WEIGHT_ONE : weight;
}

/* Sixths of its power on each lane, by the phases that it is connected to: loaded anyhow, or evenly. */
static void set_sizes(const struct v2g_evse_config *evse, bool even, uint8_t *size) {
    static const uint8_t anyhow[8][V2G_LANES] = {{0, 0, 0, 6}, {6, 0, 0, 6}, {0, 6, 0, 6}, {6, 6, 0, 6},
                                                 {0, 0, 6, 6}, {6, 0, 6, 6}, {0, 6, 6, 6}, {6, 6, 6, 6}};
    static const uint8_t evenly[8][V2G_LANES] = {{0, 0, 0, 6}, {6, 0, 0, 6}, {0, 6, 0, 6}, {3, 3, 0, 6},
                                                 {0, 0, 6, 6}, {3, 0, 3, 6}, {0, 3, 3, 6}, {2, 2, 2, 6}};
    (void)memcpy(size, even ? evenly[evse->phases & 7u] : anyhow[evse->phases & 7u], V2G_LANES);
}

/* In its direction, before any sharing: the band of the last cycle. */
static int32_t could_w(const struct v2g_setpoint *set, int way) {
    return max_i32(way == V2G_CHARGE ? set->band_max_w : -set->band_min_w, 0);
}

/* What it wants, charging positive: what it could take, less what it was seen to leave; for a wish of its own no more than that. */
static int32_t wanted_w(const struct run *run, const struct v2g_site_state *memory, uint32_t p, uint32_t i,
                        struct v2g_shares *shares) {
    const struct v2g_setpoint *set = &run->in->set->evse[i];
    const struct v2g_evse_plan *plan = &run->in->plan->evse[i];
    if ((plan->flag & V2G_PLAN_SITE_TARGET) != 0) {
        shares->follows[p] = V2G_SIXTHS;
        shares->stands_in[p] = false;
        int32_t most_w = min_i32(could_w(set, run->way), memory->evse[i].most_w);
        return run->way == V2G_CHARGE ? most_w : -most_w;
    }
    int32_t wish_w = own_wish_w(run, plan);
    shares->follows[p] = 0;
    shares->stands_in[p] = run->grid->offset_q16 != 0;
    if (shares->stands_in[p]) {
        wish_w += part_q16(run->in->config->evse[i].rating_charge_w, run->grid->offset_q16);
    }
    shares->wish_w[p] = wish_w;
    return clamp_i32(wish_w, -could_w(set, V2G_DISCHARGE), could_w(set, V2G_CHARGE));
}

/* Before any sharing. */
static void ask_all(const struct run *run, const struct v2g_site_state *memory, struct v2g_shares *shares) {
    const struct v2g_track_in *in = run->in;
    uint32_t all_w[2] = {0, 0};
    (void)memset(shares->asks, 0, sizeof shares->asks);
    for (uint32_t p = 0; p < in->config->evses; p++) {
        uint32_t i = memory->order[p];
        bool even = (in->state->evse[i].latch & V2G_LATCH_BALANCED) != 0;
        set_sizes(&in->config->evse[i], even, shares->size[p]);
        int32_t want_w = wanted_w(run, memory, p, i, shares);
        bool parked = memory->turn[i].parked != 0;
        int way = want_w < 0 ? V2G_DISCHARGE : V2G_CHARGE;
        int32_t most_w = parked ? 0 : (want_w < 0 ? -want_w : want_w);
        all_w[way] |= (uint32_t)most_w;
        const struct v2g_evse_plan *plan = &in->plan->evse[i];
        shares->asks[way].most_w[p] = most_w;
        shares->asks[way].weight[p] = weight_of(way == V2G_CHARGE ? plan->weight_charge : plan->weight_discharge);
        for (int each = 0; each < 2; each++) {
            shares->asks[each].why[p] = parked ? (uint8_t)V2G_DEVICE_MINIMUM : (uint8_t)V2G_REASON_NONE;
            shares->asks[each].by[p] = parked ? memory->turn[i].by : (uint16_t)V2G_NONE;
        }
    }
    shares->asked[V2G_CHARGE] = all_w[V2G_CHARGE] != 0;
    shares->asked[V2G_DISCHARGE] = all_w[V2G_DISCHARGE] != 0;
}

/* ---- The site's target ------------------------------------------------------------------------------------------------- */

/* Those that follow fill the goal. Returns whether that left room to others. */
static bool fill_goal(const struct run *run, struct v2g_asks *asks, const struct v2g_shares *shares) {
    int64_t goal_w = run->goal_w < 0 ? -run->goal_w : run->goal_w;
    return v2g_share_fill(run->in->config->evses, asks->most_w, asks->weight, shares->follows, goal_w);
}

/* Everybody's share while nobody falls below a minimum. */
static void allot(const struct run *run, const struct v2g_site_state *memory, struct v2g_shares *shares) {
    const struct v2g_config *config = run->in->config;
    struct v2g_asks *asks = &shares->asks[run->way];
    ask_all(run, memory, shares);
    struct v2g_asks before = *asks;
    /* Mostly no feeder is full; then what fills the goal is the answer. */
    (void)fill_goal(run, asks, shares);
    if (!v2g_share_feeders(config, memory, V2G_CHARGE, false, shares) &&
        !v2g_share_feeders(config, memory, V2G_DISCHARGE, false, shares)) {
        return;
    }
    *asks = before;
    (void)v2g_share_feeders(config, memory, V2G_CHARGE, true, shares);
    (void)v2g_share_feeders(config, memory, V2G_DISCHARGE, true, shares);
    before = *asks;
    if (!fill_goal(run, asks, shares)) {
        return;
    }
    for (uint32_t p = 0; p < config->evses; p++) {
        if (asks->most_w[p] < before.most_w[p]) {
            asks->by[p] = V2G_NONE;
            asks->why[p] = V2G_REASON_NONE;
        }
    }
    /* What those that follow don't need of a full feeder goes to the others on it, in this cycle. Those that follow keep what they
     * have: asked anew, the others would also take what a phase further up refused one that follows, and the target would be missed. */
    bool short_of = false;
    for (uint32_t p = 0; p < config->evses; p++) {
        asks->weight[p] = shares->follows[p] == 0 ? asks->weight[p] : 0;
        if (shares->follows[p] == 0 && asks->by[p] != V2G_NONE && memory->turn[memory->order[p]].parked == 0) {
            int32_t wish_w = run->way == V2G_CHARGE ? shares->wish_w[p] : -shares->wish_w[p];
            asks->most_w[p] = min_i32(max_i32(wish_w, 0), could_w(&run->in->set->evse[memory->order[p]], run->way));
            asks->why[p] = V2G_REASON_NONE;
            asks->by[p] = V2G_NONE;
            short_of = true;
        }
    }
    if (short_of) {
        (void)v2g_share_feeders(config, memory, run->way, true, shares);
    }
}

/* ---- Device minimum: turns --------------------------------------------------------------------------------------------- */

static int32_t minimum_w(const struct v2g_evse_config *evse, int way) {
    return way == V2G_CHARGE ? evse->min_charge_w : evse->min_discharge_w;
}

/* Sharing gives it less than it can deliver, though it could take enough. */
static bool is_short(const struct run *run, const struct v2g_site_state *memory, const struct v2g_shares *shares, uint32_t p,
                     int way, int32_t spare_shift) {
    uint32_t i = memory->order[p];
    const struct v2g_setpoint *set = &run->in->set->evse[i];
    int32_t least_w = minimum_w(&run->in->config->evse[i], way);
    int32_t wanted_w = spare_shift == 0 ? least_w : least_w + (least_w >> spare_shift);
    if (shares->asks[way].most_w[p] >= wanted_w) {
        return false;
    }
    int32_t most_w = could_w(set, way);
    if (shares->follows[p] == 0) {
        most_w = min_i32(most_w, way == V2G_CHARGE ? shares->wish_w[p] : -shares->wish_w[p]);
    }
    bool wanted = memory->turn[i].parked == 0 && most_w >= least_w;
    return wanted && (shares->follows[p] == 0 || run->way == way);
}

/* The last in the queue of those that are short; V2G_NONE: nobody is, or too little is there for even one. */
static uint32_t last_short(const struct run *run, const struct v2g_site_state *memory, const struct v2g_shares *shares,
                           int way) {
    uint32_t last = V2G_NONE;
    for (uint32_t p = 0; shares->asked[way] && p < run->in->config->evses; p++) {
        uint32_t i = memory->order[p];
        if (shares->asks[way].most_w[p] < minimum_w(&run->in->config->evse[i], way) &&
            is_short(run, memory, shares, p, way, 0) &&
            (last == V2G_NONE || memory->turn[i].turn > memory->turn[memory->order[last]].turn)) {
            last = p;
        }
    }
    if (last == V2G_NONE) {
        return V2G_NONE;
    }
    uint16_t by = shares->asks[way].by[last];
    int64_t together_w = 0;
    for (uint32_t p = 0; p < run->in->config->evses; p++) {
        bool shares_it = shares->asks[way].by[p] == by && (by != V2G_NONE || shares->follows[p] != 0);
        together_w += shares_it ? shares->asks[way].most_w[p] : 0;
    }
    return together_w >= minimum_w(&run->in->config->evse[memory->order[last]], way) ? last : V2G_NONE;
}

static void park(struct v2g_turn_state *turn, uint16_t by, int64_t now_ns) {
    turn->parked = 1;
    turn->by = by;
    turn->parked_ns = now_ns;
}

/* Who has waited for its time changes places with the one that was served the longest. */
static void rotate(const struct v2g_config *config, int64_t now_ns, uint32_t waits, struct v2g_site_state *memory) {
    uint32_t served = V2G_NONE;
    for (uint32_t i = 0; i < config->evses; i++) {
        bool rival =
            memory->turn[i].parked == 0 && memory->turn[i].by == memory->turn[waits].by && config->evse[i].min_charge_w > 0;
        if (rival && (served == V2G_NONE || memory->turn[i].turn < memory->turn[served].turn)) {
            served = i;
        }
    }
    if (served == V2G_NONE) {
        return;
    }
    memory->turn[waits].parked = 0;
    memory->turns++;
    memory->turn[served].turn = memory->turns;
    park(&memory->turn[served], memory->turn[waits].by, now_ns);
}

/* First in the queue of those that wait; V2G_NONE: nobody does. */
static uint32_t first_parked(const struct v2g_config *config, const struct v2g_site_state *memory) {
    uint32_t first = V2G_NONE;
    for (uint32_t i = 0; i < config->evses; i++) {
        if (memory->turn[i].parked != 0 && (first == V2G_NONE || memory->turn[i].turn < memory->turn[first].turn)) {
            first = i;
        }
    }
    return first;
}

/* Lets the first that waits in if nobody falls short by it. */
static void try_first(const struct run *run, uint32_t first, struct v2g_site_state *memory, struct v2g_shares *shares) {
    struct v2g_shares trial;
    memory->turn[first].parked = 0;
    allot(run, memory, &trial);
    bool fits = true;
    for (uint32_t p = 0; p < run->in->config->evses && fits; p++) {
        int32_t spare_shift = memory->order[p] == first ? UNPARK_SHIFT : 0;
        fits = !is_short(run, memory, &trial, p, V2G_CHARGE, spare_shift) &&
               !is_short(run, memory, &trial, p, V2G_DISCHARGE, spare_shift);
    }
    if (fits) {
        *shares = trial;
    } else {
        memory->turn[first].parked = 1;
    }
}

/* At most one EVSE a cycle starts or ends waiting. */
static void take_turns(const struct run *run, struct v2g_site_state *memory, struct v2g_shares *shares) {
    const struct v2g_config *config = run->in->config;
    int64_t now_ns = run->in->now_ns;
    uint32_t first = first_parked(config, memory);
    if (first != V2G_NONE && now_ns - memory->turn[first].parked_ns >= ROTATE_NS) {
        rotate(config, now_ns, first, memory);
        first = V2G_NONE;
    }
    allot(run, memory, shares);
    for (int way = 0; way < 2; way++) {
        uint32_t last = last_short(run, memory, shares, way);
        if (last != V2G_NONE) {
            uint16_t by = shares->asks[way].by[last];
            for (uint32_t p = 0; p < config->evses; p++) {
                memory->turn[memory->order[p]].by = shares->asks[way].by[p];
            }
            park(&memory->turn[memory->order[last]], by, now_ns);
            allot(run, memory, shares);
            return;
        }
    }
    if (first != V2G_NONE && now_ns - memory->turn[first].parked_ns >= STAY_NS) {
        try_first(run, first, memory, shares);
    }
}

/* ---- Proposals --------------------------------------------------------------------------------------------------------- */

static void lower(int32_t *most_w, uint8_t *why, int32_t limit_w, enum v2g_reason reason) {
    if (limit_w < *most_w) {
        *most_w = limit_w;
        *why = (uint8_t)reason;
    }
}

/* The ramp of entering service and volt-watt lower a share like a full feeder does. */
static void limit_by_grid(const struct v2g_grid_config *grid, const struct v2g_grid_state *state,
                          const struct v2g_grid_seen *seen, const struct v2g_evse_config *evse, struct v2g_proposal *out) {
    if (state->service == V2G_GRID_ENTERING) {
        int32_t entered_q16 = (int32_t)(state->entered_q32 >> 16);
        lower(&out->share_charge_w, &out->why_charge, part_q16(evse->rating_charge_w, entered_q16), V2G_ENTER_SERVICE);
        lower(&out->share_discharge_w, &out->why_discharge, part_q16(evse->rating_discharge_w, entered_q16), V2G_ENTER_SERVICE);
    }
    if (grid->volt_watt_from_dv > 0 && seen->known != 0 && seen->high_dv > grid->volt_watt_from_dv) {
        int64_t beyond_dv = seen->high_dv - grid->volt_watt_from_dv;
        int64_t cut_q16 = (beyond_dv * grid->volt_watt_slope_q24) >> 8;
        int32_t left_q16 = cut_q16 < ALL_Q16 ? ALL_Q16 - (int32_t)cut_q16 : 0;
        left_q16 = max_i32(left_q16, grid->volt_watt_least_q16);
        lower(&out->share_discharge_w, &out->why_discharge, part_q16(evse->rating_discharge_w, left_q16), V2G_GRID_VOLTAGE);
    }
}

static void forbid_by_grid(const struct v2g_grid_state *state, const struct v2g_grid_seen *seen, struct v2g_proposal *out) {
    bool out_of_service = state->service == V2G_GRID_OUT || state->service == V2G_GRID_WAITING;
    if (out_of_service || state->ceased != 0) {
        out->grid_charge = (uint16_t)state->reason;
        out->grid_discharge = (uint16_t)state->reason;
    } else if (seen->known == 0) {
        out->grid_discharge = V2G_STALE_METER;
    }
}

static struct v2g_proposal propose(const struct run *run, const struct v2g_shares *shares, uint32_t p) {
    const struct v2g_asks *charge = &shares->asks[V2G_CHARGE];
    const struct v2g_asks *discharge = &shares->asks[V2G_DISCHARGE];
    struct v2g_proposal out = {.share_charge_w = V2G_POWER_MAX_W, .share_discharge_w = V2G_POWER_MAX_W, .option = run->option};
    if (charge->why[p] != V2G_REASON_NONE) {
        out.share_charge_w = charge->most_w[p];
        out.why_charge = charge->why[p];
    }
    if (discharge->why[p] != V2G_REASON_NONE) {
        out.share_discharge_w = discharge->most_w[p];
        out.why_discharge = discharge->why[p];
    }
    if (shares->follows[p] != 0) {
        out.target_w = run->goal_w < 0 ? -discharge->most_w[p] : charge->most_w[p];
    } else if (shares->stands_in[p]) {
        out.target_w = shares->wish_w[p];
        out.why_target = V2G_GRID_FREQUENCY;
        out.option |= V2G_PROPOSE_TARGET;
    }
    return out;
}

/* ---- Step 6 ------------------------------------------------------------------------------------------------------------ */

/* What the frequency asks of all EVSEs that can answer, W. */
static int32_t offset_w(const struct v2g_track_in *in, int32_t offset_q16) {
    int32_t sum_w = 0;
    for (uint32_t i = 0; i < in->config->evses && offset_q16 != 0; i++) {
        const struct v2g_setpoint *set = &in->set->evse[i];
        int32_t wanted_w = part_q16(in->config->evse[i].rating_charge_w, offset_q16);
        sum_w += clamp_i32(wanted_w, set->band_min_w - set->band_max_w, set->band_max_w - set->band_min_w);
    }
    return sum_w;
}

static struct run begin(const struct v2g_track_in *in, const struct v2g_grid_state *grid, int64_t goal_w) {
    bool back = !is_old(in->now_ns, grid->ceased_ns, BACK_NS);
    bool fast = grid->offset_q16 != 0 || back;
    return (struct run){.in = in,
                        .grid = grid,
                        .goal_w = goal_w,
                        .way = goal_w < 0 ? V2G_DISCHARGE : V2G_CHARGE,
                        .live = in->now_ns <= in->plan->lease_ns && (in->image->health & V2G_HEALTH_ON_TIME) != 0,
                        .option = fast ? V2G_PROPOSE_SHARE | V2G_PROPOSE_FAST : V2G_PROPOSE_SHARE};
}

static void show(const struct run *run, const struct v2g_site_state *memory, const struct v2g_shares *shares,
                 const struct v2g_grid_seen *seen, struct v2g_site_view *view) {
    view->asked_w = memory->track.asked_w;
    for (uint32_t p = 0; p < run->in->config->evses; p++) {
        const struct v2g_setpoint *set = &run->in->set->evse[memory->order[p]];
        view->room_charge_w += shares->follows[p] != 0 ? set->band_max_w : 0;
        view->room_discharge_w += shares->follows[p] != 0 ? -set->band_min_w : 0;
        view->parked += memory->turn[memory->order[p]].parked;
    }
    view->present |= seen->known << 1;
    view->frequency_mhz = seen->frequency_mhz;
    view->low_dv = seen->known != 0 ? seen->low_dv : 0;
    view->high_dv = seen->high_dv;
    view->offset_q16 = run->grid->offset_q16;
    view->service = run->grid->service;
    view->reason = run->grid->reason;
    view->enter_ns =
        run->grid->service == V2G_GRID_WAITING ? run->grid->good_ns + run->in->site->grid.enter_delay_ns : V2G_NEVER;
}

void v2g_site_propose(const struct v2g_config *config, const struct v2g_site_config *site, const struct v2g_plan *plan,
                      const struct v2g_site_plan *wish, const struct v2g_state *state, const struct v2g_setpoints *set,
                      int64_t now_ns, struct v2g_site_state *memory, struct v2g_image *image, struct v2g_site_view *view) {
    struct v2g_shares shares;
    struct v2g_grid_seen seen = {.sample_ns = V2G_NEVER};
    *view = (struct v2g_site_view){.enter_ns = V2G_NEVER};
    if (memory->config_epoch != config->epoch) {
        adopt(config, memory);
    }
    if (site->grid.present != 0) {
        seen = v2g_grid_look(&site->grid, image, now_ns);
        v2g_grid_step(&site->grid, &seen, now_ns, &memory->grid);
    }
    struct v2g_track_in in = {config, site, plan, wish, state, set, image, 0, now_ns};
    in.offset_w = offset_w(&in, memory->grid.offset_q16);
    struct run run = begin(&in, &memory->grid, v2g_track(&in, memory, view));
    v2g_share_hold_rooms(config, state, now_ns, memory);
    take_turns(&run, memory, &shares);
    for (uint32_t p = 0; p < config->evses; p++) {
        uint32_t i = memory->order[p];
        struct v2g_proposal *out = &image->proposal[i];
        *out = propose(&run, &shares, p);
        if (site->grid.present != 0) {
            limit_by_grid(&site->grid, &memory->grid, &seen, &config->evse[i], out);
            forbid_by_grid(&memory->grid, &seen, out);
        }
    }
    show(&run, memory, &shares, &seen, view);
}
