/* Sharing: weighted max-min fairness up the feeder and phase tree.
 *
 * One level for all who share something: each gets min(what it could take, weight * level), and the level is the highest that fits.
 * What one doesn't use raises the level for the others at once. Feeders are filled from the leaves to the root, each over all EVSEs
 * below it; a feeder higher up can only lower what those below have left, and for feeders (sums) the result is the one fair
 * allocation. A phase that is refused further up is not given back to another phase further down.
 *
 * Finding the level: whoever could take less than its part of the level is served in full and leaves; what it leaves over raises the
 * level of the rest. Fewer wait after each pass, or it was the last. With R the room and W the weights left, each pass at least
 * quarters R * W (Dinkelbach), an integer below 2^60: 31 passes at most, however many wait. */
#include "site.h"

#include <string.h>

enum { LEVEL_BITS = 24 };
#define LEVEL_MAX ((int64_t)V2G_POWER_MAX_W << LEVEL_BITS) /* weight 1 gets all that any table holds; times a weight: 62 bits */
#define HOLD_NS   INT64_C(1000000000)                      /* a room must have been there this long before it is shared out */

/* W per unit of weight, 2^-24, rounded down. `size`: one in `stride` counts. Whoever has the weight 0 keeps what it has. */
static int64_t find_level(uint32_t count, const int32_t *most_w, const uint16_t *weight, const uint8_t *size, uint32_t stride,
                          int64_t room_w) {
    uint16_t waiting[V2G_MAX_EVSES];
    uint32_t n = 0;
    int64_t left = room_w * V2G_SIXTHS;
    int64_t weights = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (weight[i] == 0) {
            left -= (int64_t)size[i * stride] * most_w[i];
        } else if (size[i * stride] != 0 && most_w[i] != 0) {
            waiting[n] = (uint16_t)i;
            n++;
            weights += (int64_t)size[i * stride] * weight[i];
        }
    }
    left = left > 0 ? left : 0;
    uint32_t were = n + 1u;
    while (n < were) {
        were = n;
        n = 0;
        for (uint32_t k = 0; k < were; k++) {
            uint32_t i = waiting[k];
            if (most_w[i] * weights <= weight[i] * left) { /* 22 + 27 bits, 16 + 35 bits */
                left -= (int64_t)size[i * stride] * most_w[i];
                weights -= (int64_t)size[i * stride] * weight[i];
            } else {
                waiting[n] = (uint16_t)i;
                n++;
            }
        }
    }
    if (n == 0) {
        return LEVEL_MAX;
    }
    /* The only division of a cycle, once for each feeder that is full. Below LEVEL_MAX: whoever still waits could take more. */
    return (left << LEVEL_BITS) / weights;
}

static int32_t at_level(uint16_t weight, int64_t level) {
    int64_t share_w = weight == 0 ? V2G_POWER_MAX_W : (weight * level) >> LEVEL_BITS;
    return share_w < V2G_POWER_MAX_W ? (int32_t)share_w : V2G_POWER_MAX_W;
}

bool v2g_share_fill(uint32_t count, int32_t *most_w, const uint16_t *weight, const uint8_t *size, int64_t room_w) {
    int64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += most_w[i] * size[i]; /* 25 bits */
    }
    if (sum <= room_w * V2G_SIXTHS) {
        return false;
    }
    int64_t level = find_level(count, most_w, weight, size, 1, room_w);
    for (uint32_t i = 0; i < count; i++) {
        if (size[i] != 0) {
            most_w[i] = min_i32(most_w[i], at_level(weight[i], level));
        }
    }
    return true;
}

/* ---- The tree ---------------------------------------------------------------------------------------------------------- */

/* Children stand behind their parents in the table. */
void v2g_share_order(const struct v2g_config *config, struct v2g_site_state *memory) {
    uint16_t next[V2G_MAX_FEEDERS]; /* next free place of a feeder's own EVSEs, then of its children */
    for (uint32_t f = 0; f < config->feeders; f++) {
        memory->direct[f] = 0;
    }
    for (uint32_t i = 0; i < config->evses; i++) {
        memory->direct[config->evse[i].feeder]++;
    }
    for (uint32_t f = config->feeders; f-- > 0;) {
        memory->below[f] = memory->direct[f];
        for (uint32_t child = f + 1; child < config->feeders; child++) {
            if (config->feeder[child].parent == f) {
                memory->below[f] = (uint16_t)(memory->below[f] + memory->below[child]);
            }
        }
    }
    for (uint32_t f = 0; f < config->feeders; f++) {
        uint16_t at = 0;
        if (f > 0) {
            at = next[config->feeder[f].parent];
            next[config->feeder[f].parent] = (uint16_t)(at + memory->below[f]);
        }
        memory->first[f] = at;
        next[f] = (uint16_t)(at + memory->direct[f]);
    }
    for (uint32_t f = 0; f < config->feeders; f++) {
        next[f] = memory->first[f];
    }
    for (uint32_t i = 0; i < config->evses; i++) {
        uint32_t f = config->evse[i].feeder;
        memory->order[next[f]] = (uint16_t)i;
        next[f]++;
    }
}

/* Room for all EVSEs below on a lane, with the base load `base_w` in place of the highest reading of it. While powers move, a sample
 * fits a whole interval of base loads: the EVSEs' own ramp would look like a base load, and shares would chase it. */
static int32_t room_w(const struct v2g_feeder_state *feeder, int way, int lane, int32_t base_w) {
    return way == 0 ? feeder->room_import_w[lane] + feeder->base_high_w[lane] - base_w
                    : feeder->room_export_w[lane] - feeder->base_low_w[lane] + base_w;
}

static void believe_base(const struct v2g_feeder_state *feeder, struct v2g_room_state *room) {
    for (int lane = 0; lane < V2G_LANES; lane++) {
        room->base_w[lane] = clamp_i32(room->base_w[lane], feeder->base_low_w[lane], feeder->base_high_w[lane]);
    }
}

/* A room moves with every sample and shrinks between them. What is shared out of it is its lowest of the last one to two seconds, so
 * that shares hold still: down at once, up slowly. */
void v2g_share_hold_rooms(const struct v2g_config *config, const struct v2g_state *state, int64_t now_ns,
                          struct v2g_site_state *memory) {
    for (uint32_t f = 0; f < config->feeders; f++) {
        struct v2g_room_state *room = &memory->room[f];
        const struct v2g_feeder_state *fs = &state->feeder[f];
        bool anew = room->unmetered != 0;
        bool next = anew || is_old(now_ns, room->run_ns, HOLD_NS + config->feeder[f].refresh_ns);
        if (next) {
            room->run_ns = now_ns;
        }
        room->unmetered = config->feeder[f].meter == V2G_NONE || fs->lost != 0 ? 1u : 0u;
        if (room->unmetered == 0) {
            believe_base(fs, room);
        }
        for (int way = 0; way < 2; way++) {
            for (int lane = 0; lane < V2G_LANES; lane++) {
                int32_t run_w = room->run_w[way][lane];
                int32_t now_w = way == 0 ? fs->room_import_w[lane] : fs->room_export_w[lane];
                if (room->unmetered == 0) {
                    now_w = room_w(fs, way, lane, room->base_w[lane]);
                }
                if (next) {
                    room->past_w[way][lane] = anew ? now_w : run_w;
                }
                room->run_w[way][lane] = next ? now_w : min_i32(run_w, now_w);
            }
        }
    }
}

/* What may be shared out: a little less than the room, so that the meters' noise doesn't make the feeders take turns in cutting; of the
 * sum a little less again, so that it binds before its phases where these are loaded evenly. */
static int64_t shared_room_w(const struct v2g_site_state *memory, uint32_t feeder, int way, int lane) {
    const struct v2g_room_state *room = &memory->room[feeder];
    int32_t held_w = max_i32(min_i32(room->past_w[way][lane], room->run_w[way][lane]), 0);
    int32_t margin_w = (held_w >> 7) + memory->below[feeder];
    if (lane == V2G_LANE_TOTAL) {
        margin_w += (held_w >> 9) + memory->below[feeder] + memory->below[feeder];
    }
    return max_i32(held_w - margin_w, 0);
}

static uint8_t reason_of_lane(uint32_t feeder, int lane) {
    if (lane != V2G_LANE_TOTAL) {
        return V2G_PHASE_LIMIT;
    }
    return feeder == 0 ? V2G_SITE_LIMIT : V2G_FEEDER_LIMIT;
}

struct tight {
    int lane; /* V2G_LANES: none */
    int64_t level;
};

/* Sixths of what the EVSEs of a range ask on each lane. */
struct sixths {
    int64_t lane[V2G_LANES];
};

static void add_range(uint32_t first, uint32_t count, const struct v2g_shares *shares, const int32_t *most_w,
                      struct sixths *sum) {
    struct sixths own = *sum; /* in registers: written out, the lanes cost a third of a loop over them */
    for (uint32_t p = first; p < first + count; p++) {
        int64_t w = most_w[p]; /* 22 bits, the products 25 */
        own.lane[0] += w * shares->size[p][0];
        own.lane[1] += w * shares->size[p][1];
        own.lane[2] += w * shares->size[p][2];
        own.lane[V2G_LANE_TOTAL] += w * shares->size[p][V2G_LANE_TOTAL];
    }
    *sum = own;
}

/* The lane on which the level is lowest, of those that are full; where they are equal, the sum. */
static struct tight fullest(const struct v2g_site_state *memory, uint32_t feeder, int way, const struct v2g_shares *shares) {
    uint32_t first = memory->first[feeder];
    uint32_t count = memory->below[feeder];
    const struct v2g_asks *asks = &shares->asks[way];
    struct tight found = {V2G_LANES, LEVEL_MAX};
    struct sixths sum = {{0}};
    add_range(first, count, shares, asks->most_w, &sum);
    for (int lane = V2G_LANE_TOTAL; lane >= 0; lane--) {
        int64_t room_w = shared_room_w(memory, feeder, way, lane);
        if (sum.lane[lane] > room_w * V2G_SIXTHS) {
            const uint8_t *size = &shares->size[first][lane];
            int64_t level = find_level(count, &asks->most_w[first], &asks->weight[first], size, V2G_LANES, room_w);
            if (found.lane == V2G_LANES || level < found.level) {
                found = (struct tight){lane, level};
            }
        }
    }
    return found;
}

static void lower_to(const struct v2g_site_state *memory, uint32_t feeder, int way, struct tight tight,
                     struct v2g_shares *shares) {
    struct v2g_asks *asks = &shares->asks[way];
    uint32_t end = (uint32_t)memory->first[feeder] + memory->below[feeder];
    for (uint32_t p = memory->first[feeder]; p < end; p++) {
        int32_t share_w = at_level(asks->weight[p], tight.level);
        if (shares->size[p][tight.lane] != 0 && asks->most_w[p] > share_w) {
            asks->most_w[p] = share_w;
            asks->why[p] = reason_of_lane(feeder, tight.lane);
            asks->by[p] = (uint16_t)feeder;
        }
    }
}

static bool is_over(const struct v2g_site_state *memory, uint32_t feeder, int way, const struct sixths *sum) {
    bool over = false;
    for (int lane = 0; lane < V2G_LANES; lane++) {
        over = over || sum->lane[lane] > shared_room_w(memory, feeder, way, lane) * V2G_SIXTHS;
    }
    return over;
}

/* Each round settles one lane. */
static void settle_lanes(const struct v2g_site_state *memory, uint32_t feeder, int way, struct v2g_shares *shares) {
    bool more = true;
    for (int round = 0; round < V2G_LANES && more; round++) {
        struct tight tight = fullest(memory, feeder, way, shares);
        more = tight.lane < V2G_LANES;
        if (more) {
            lower_to(memory, feeder, way, tight, shares);
        }
    }
}

/* Goes from the leaves to the root. `lower` false: only says whether some feeder is full. */
bool v2g_share_feeders(const struct v2g_config *config, const struct v2g_site_state *memory, int direction, bool lower,
                       struct v2g_shares *shares) {
    struct sixths sum[V2G_MAX_FEEDERS];
    const int32_t *most_w = shares->asks[direction].most_w;
    bool tight = false;
    if (!shares->asked[direction]) {
        return false;
    }
    (void)memset(sum, 0, config->feeders * sizeof sum[0]);
    for (uint32_t f = config->feeders; f-- > 0;) {
        add_range(memory->first[f], memory->direct[f], shares, most_w, &sum[f]);
        if (is_over(memory, f, direction, &sum[f])) {
            tight = true;
            if (!lower) {
                return true;
            }
            settle_lanes(memory, f, direction, shares);
            sum[f] = (struct sixths){{0}};
            add_range(memory->first[f], memory->below[f], shares, most_w, &sum[f]);
        }
        if (f > 0) {
            for (int lane = 0; lane < V2G_LANES; lane++) {
                sum[config->feeder[f].parent].lane[lane] += sum[f].lane[lane];
            }
        }
    }
    return tight;
}
