#include "chain.h"

#include <stddef.h>
#include <string.h>

/* 64 bits at a time, folded at the end: every single flipped bit changes the result. */
static inline uint32_t complement_sum(const void *words, size_t bytes) {
    const uint8_t *at = words;
    uint64_t sum = 0;
#pragma GCC unroll 64
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word;
        (void)memcpy(&word, &at[i], sizeof word);
        sum += word;
    }
    return ~((uint32_t)sum + (uint32_t)(sum >> 32));
}

uint32_t v2g_evse_seal(const struct v2g_evse_config *evse) {
    return complement_sum(evse, offsetof(struct v2g_evse_config, seal));
}

uint32_t v2g_feeder_seal(const struct v2g_feeder_config *feeder) {
    return complement_sum(feeder, offsetof(struct v2g_feeder_config, seal));
}

uint32_t v2g_derate_seal(const struct v2g_derate *table) {
    return complement_sum(table, offsetof(struct v2g_derate, seal));
}

uint32_t v2g_head_seal(const struct v2g_config *config) {
    return complement_sum(config, offsetof(struct v2g_config, seal));
}

void v2g_config_seal(struct v2g_config *config) {
    for (uint32_t i = 0; i < config->evses && i < V2G_MAX_EVSES; i++) {
        config->evse[i].seal = v2g_evse_seal(&config->evse[i]);
    }
    for (uint32_t f = 0; f < config->feeders && f < V2G_MAX_FEEDERS; f++) {
        config->feeder[f].seal = v2g_feeder_seal(&config->feeder[f]);
    }
    for (uint32_t d = 0; d < config->derates && d < V2G_MAX_DERATES; d++) {
        config->derate[d].seal = v2g_derate_seal(&config->derate[d]);
    }
    config->seal = v2g_head_seal(config);
}

_Static_assert(offsetof(struct v2g_evse_config, seal) % 8 == 0 && offsetof(struct v2g_feeder_config, seal) % 8 == 0 &&
                   offsetof(struct v2g_derate, seal) % 8 == 0 && offsetof(struct v2g_config, seal) % 8 == 0,
               "seals cover whole 64-bit words");
