/* What the files of the safety core share: ages, caps, lanes. */
#ifndef V2G_CHAIN_H
#define V2G_CHAIN_H

#include "v2g.h"

/* Magnitudes an EVSE may charge and discharge, and who set each. Rows can only lower them. */
struct v2g_band {
    int32_t charge_w;
    int32_t discharge_w;
    uint8_t why_charge;
    uint8_t why_discharge;
};

/* What each lane of a feeder has to carry or may carry, W. */
struct v2g_lanes {
    int32_t w[V2G_LANES];
};

/* One EVSE during one cycle. */
struct v2g_work {
    uint32_t known; /* bits of enum v2g_field: values that are there and young enough */
    struct v2g_band band;
    int32_t wish_w;                 /* what was asked for, W */
    int32_t want_w;                 /* after every row but the feeders', W */
    uint8_t reason;                 /* why want is not the wish */
    uint8_t share_reason;           /* why its share is less than the wish; V2G_REASON_NONE: it is not */
    uint8_t feeder_reason;          /* why the feeders gave less than that */
    struct v2g_lanes booked_charge; /* what it may be drawing whatever we say now */
    struct v2g_lanes booked_discharge;
};

/* One feeder during one cycle. */
struct v2g_feeder_work {
    struct v2g_lanes now_min; /* lowest and highest sum of the EVSEs below, from what they say */
    struct v2g_lanes now_max;
    struct v2g_lanes import; /* room left for charging; negative: shed */
    struct v2g_lanes export; /* room left for discharging */
    int32_t share_w;         /* cap of each EVSE below while a meter on the way is lost */
    bool meter_lost;         /* here or upstream: no discharging below */
    bool tight;              /* here or upstream a lane is overbooked */
};

static inline int32_t min_i32(int32_t a, int32_t b) {
    return a < b ? a : b;
}
static inline int32_t max_i32(int32_t a, int32_t b) {
    return a > b ? a : b;
}
static inline int32_t clamp_i32(int32_t v, int32_t lo, int32_t hi) {
    bool inside = (uint32_t)v - (uint32_t)lo <= (uint32_t)hi - (uint32_t)lo;
    return inside ? v : (v < lo ? lo : hi);
}

/* Unsigned difference: a stamp in the future or V2G_NEVER counts as infinitely old, and nothing overflows. */
static inline bool is_old(int64_t now_ns, int64_t acquired_ns, int64_t limit_ns) {
    return (uint64_t)now_ns - (uint64_t)acquired_ns > (uint64_t)limit_ns;
}

/* a is a later epoch than b; epochs wrap. */
static inline bool is_newer(uint32_t a, uint32_t b) {
    return (int32_t)(a - b) > 0;
}

/* Bits of those of `count` fields from `first` on whose last value is younger than the limit. Mostly all of them are: the oldest
 * alone tells. */
static inline uint32_t fresh_fields(const struct v2g_evse_in *in, int64_t now_ns, uint32_t first, uint32_t count,
                                    int64_t limit_ns) {
    uint64_t oldest_ns = 0;
    uint32_t fresh = 0;
#pragma GCC unroll 8
    for (uint32_t field = first; field < first + count; field++) {
        uint64_t age_ns = (uint64_t)now_ns - (uint64_t)in->acquired_ns[field];
        oldest_ns = age_ns > oldest_ns ? age_ns : oldest_ns;
    }
    if (oldest_ns <= (uint64_t)limit_ns) {
        return ((1u << count) - 1u) << first;
    }
    for (uint32_t field = first; field < first + count; field++) {
        fresh |= (uint32_t)!is_old(now_ns, in->acquired_ns[field], limit_ns) << field;
    }
    return fresh;
}

enum {
    V2G_LINK = 1u << V2G_F_STATE | 1u << V2G_F_FLAGS | 1u << V2G_F_POWER, /* all three, or the EVSE is not heard */
    V2G_PHASES = 1u << V2G_F_P_L1 | 1u << V2G_F_P_L2 | 1u << V2G_F_P_L3,
};

/* Bits of the fields that have a value and are young enough to act on. */
static inline uint32_t known_fields(const struct v2g_evse_config *config, const struct v2g_evse_in *in, int64_t now_ns) {
    uint32_t fresh = fresh_fields(in, now_ns, V2G_F_STATE, 3, config->link_age_ns);
    fresh |= fresh_fields(in, now_ns, V2G_F_SOC, 1, config->soc_age_ns);
    fresh |= fresh_fields(in, now_ns, V2G_F_T_CONNECTOR, 5, config->temp_age_ns);
    fresh |= fresh_fields(in, now_ns, V2G_F_MAX_DISCHARGE, 1, config->limits_age_ns);
    fresh |= fresh_fields(in, now_ns, V2G_F_P_L1, 3, config->phase_age_ns);
    return fresh & in->valid;
}

static inline bool has(uint32_t known, uint32_t fields) {
    return (known & fields) == fields;
}

static inline void cap_charge(struct v2g_band *band, int32_t limit_w, enum v2g_reason why) {
    if (limit_w < band->charge_w && band->charge_w > 0) {
        band->charge_w = max_i32(limit_w, 0);
        band->why_charge = (uint8_t)why;
    }
}

static inline void cap_discharge(struct v2g_band *band, int32_t limit_w, enum v2g_reason why) {
    if (limit_w < band->discharge_w && band->discharge_w > 0) {
        band->discharge_w = max_i32(limit_w, 0);
        band->why_discharge = (uint8_t)why;
    }
}

static inline void cap_both(struct v2g_band *band, int32_t limit_w, enum v2g_reason why) {
    cap_charge(band, limit_w, why);
    cap_discharge(band, limit_w, why);
}

/* Is it known that this EVSE goes to 0 W by itself when it hears nothing? */
static inline bool silence_known(const struct v2g_evse_config *config, const struct v2g_evse_in *in) {
    return (config->option & V2G_EVSE_SILENCE_TESTED) != 0 && (in->value[V2G_F_FLAGS] & V2G_FLAG_SILENCE_UNKNOWN) == 0;
}

/* Power of an EVSE as its link tells it, kept inside the range every table is made for. */
static inline int32_t power_of(const struct v2g_evse_in *in) {
    return clamp_i32(in->value[V2G_F_POWER], -V2G_POWER_MAX_W, V2G_POWER_MAX_W);
}

/* What `magnitude_w` puts on each phase it uses. A vehicle that was not seen to be balanced may put all of it on one. Rounded up: a
 * fuse never carries more than is booked. The constant divisor compiles to a multiplication. */
static inline int32_t phase_share(const struct v2g_evse_config *config, bool balanced, int32_t magnitude_w) {
    if (balanced && config->phase_count == 3) {
        return (int32_t)(((uint32_t)magnitude_w + 2u) / 3u);
    }
    return balanced && config->phase_count == 2 ? (magnitude_w + 1) >> 1 : magnitude_w;
}

/* Load of each lane when `power_w` (magnitude) flows. */
static inline struct v2g_lanes v2g_load(const struct v2g_evse_config *config, bool balanced, int32_t power_w) {
    int32_t share_w = phase_share(config, balanced, power_w);
    if (config->phases == 7u) {
        return (struct v2g_lanes){{share_w, share_w, share_w, power_w}};
    }
    return (struct v2g_lanes){{(config->phases & 1u) != 0u ? share_w : 0, (config->phases & 2u) != 0u ? share_w : 0,
                               (config->phases & 4u) != 0u ? share_w : 0, power_w}};
}

/* seal.c – complement of the sum of all words before the seal: a flipped bit in a limit is found in the same cycle */
uint32_t v2g_evse_seal(const struct v2g_evse_config *evse);
uint32_t v2g_feeder_seal(const struct v2g_feeder_config *feeder);
uint32_t v2g_derate_seal(const struct v2g_derate *table);
uint32_t v2g_head_seal(const struct v2g_config *config);

/* enforce.c – everything the chain promises of its setpoints, checked once more by other means */
bool v2g_setpoints_hold(const struct v2g_config *config, const struct v2g_state *state, const struct v2g_setpoints *out);

/* feeder.c – row 5 */
void v2g_feeders_begin(const struct v2g_config *config, struct v2g_feeder_work *feeders);
void v2g_feeders_book(const struct v2g_evse_config *evse, const struct v2g_evse_state *state, const struct v2g_evse_in *in,
                      struct v2g_work *work, struct v2g_feeder_work *feeders);
void v2g_feeders_room(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                      const struct v2g_image *image, int64_t now_ns, struct v2g_feeder_work *feeders);
int32_t v2g_feeders_take(const struct v2g_config *config, const struct v2g_evse_config *evse, bool balanced,
                         struct v2g_work *work, struct v2g_feeder_work *feeders);
bool v2g_feeders_hold(const struct v2g_config *config, const struct v2g_state *state, const struct v2g_setpoints *out);

#endif
