/* How state, plan and image begin, and how they survive a new config. */
#include "chain.h"

#include <string.h>

static void evse_state_init(struct v2g_evse_state *state) {
    *state = (struct v2g_evse_state){
        .latch = V2G_LATCH_FLOOR | V2G_LATCH_LOST | V2G_LATCH_RETURNING | V2G_LATCH_START,
        .seen_ns = V2G_NEVER,
        .lowered_ns = V2G_NEVER,
        .outside_ns = V2G_NEVER,
        .plugged_ns = V2G_NEVER,
        .cool_ns = {V2G_NEVER, V2G_NEVER, V2G_NEVER, V2G_NEVER},
    };
}

static void estimate_state_init(struct v2g_estimate_state *state) {
    *state = (struct v2g_estimate_state){.anchor_soc = -1, .plugged_ns = V2G_NEVER};
}

static void feeder_state_init(struct v2g_feeder_state *state) {
    *state = (struct v2g_feeder_state){.lost = 1, .seen_ns = V2G_NEVER, .sample_ns = V2G_NEVER, .run_ns = V2G_NEVER};
}

static void evse_in_init(struct v2g_evse_in *in) {
    for (int field = 0; field < V2G_FIELDS; field++) {
        in->acquired_ns[field] = V2G_NEVER;
        in->changed_ns[field] = V2G_NEVER;
    }
}

static void meter_in_init(struct v2g_meter_in *in) {
    for (int field = 0; field < V2G_METER_FIELDS; field++) {
        in->acquired_ns[field] = V2G_NEVER;
        in->changed_ns[field] = V2G_NEVER;
    }
}

void v2g_state_init(struct v2g_state *state) {
    state->damaged = 0;
    state->reserved = 0;
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        evse_state_init(&state->evse[i]);
        estimate_state_init(&state->estimate[i]);
    }
    for (int f = 0; f < V2G_MAX_FEEDERS; f++) {
        feeder_state_init(&state->feeder[f]);
    }
}

void v2g_state_restore(struct v2g_state *state, uint32_t evse, uint32_t latch) {
    if (evse >= V2G_MAX_EVSES) {
        return;
    }
    struct v2g_evse_state *kept = &state->evse[evse];
    kept->latch |= latch & V2G_LATCHES_KEPT;
    kept->follow_epoch = 1; /* epochs begin anew: only what a source says after the first plan releases it */
}

void v2g_image_init(struct v2g_image *image) {
    (void)memset(image, 0, sizeof *image);
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        evse_in_init(&image->evse[i]);
    }
    for (int m = 0; m < V2G_MAX_METERS; m++) {
        meter_in_init(&image->meter[m]);
    }
}

void v2g_plan_safe(struct v2g_plan *plan, const struct v2g_config *config) {
    (void)memset(plan, 0, sizeof *plan);
    plan->abi = V2G_ABI;
    plan->boot_id = config->boot_id;
    plan->config_epoch = config->epoch;
    plan->made_ns = V2G_NEVER;
    plan->lease_ns = V2G_NEVER;
    for (int i = 0; i < V2G_MAX_EVSES; i++) {
        plan->evse[i].until_ns = V2G_NEVER;
    }
    for (int f = 0; f < V2G_MAX_FEEDERS; f++) {
        plan->feeder[f].until_ns = V2G_NEVER;
    }
}

static uint32_t find_evse(const struct v2g_config *config, uint64_t key) {
    for (uint32_t i = 0; i < config->evses; i++) {
        if (config->evse[i].key == key) {
            return i;
        }
    }
    return V2G_NONE;
}

static uint32_t find_feeder(const struct v2g_config *config, uint64_t key) {
    for (uint32_t f = 0; f < config->feeders; f++) {
        if (config->feeder[f].key == key) {
            return f;
        }
    }
    return V2G_NONE;
}

void v2g_state_migrate(const struct v2g_config *from, const struct v2g_state *old, const struct v2g_config *to,
                       struct v2g_state *state) {
    v2g_state_init(state);
    for (uint32_t i = 0; i < to->evses; i++) {
        uint32_t was = find_evse(from, to->evse[i].key);
        if (was != V2G_NONE) {
            state->evse[i] = old->evse[was];
            state->estimate[i] = old->estimate[was];
        }
    }
    for (uint32_t f = 0; f < to->feeders; f++) {
        uint32_t was = find_feeder(from, to->feeder[f].key);
        if (was != V2G_NONE) {
            state->feeder[f] = old->feeder[was];
        }
    }
}

void v2g_image_migrate(const struct v2g_config *from, const struct v2g_image *old, const struct v2g_config *to,
                       struct v2g_image *image) {
    v2g_image_init(image);
    image->health = old->health;
    image->cycle = old->cycle;
    for (uint32_t i = 0; i < to->evses; i++) {
        uint32_t was = find_evse(from, to->evse[i].key);
        if (was != V2G_NONE) {
            image->evse[i] = old->evse[was];
        }
    }
    for (uint32_t f = 0; f < to->feeders; f++) {
        uint32_t was = find_feeder(from, to->feeder[f].key);
        if (was != V2G_NONE && to->feeder[f].meter != V2G_NONE && from->feeder[was].meter != V2G_NONE) {
            image->meter[to->feeder[f].meter] = old->meter[from->feeder[was].meter];
        }
    }
}
