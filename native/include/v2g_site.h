/* v2g_site.h – the data sheet of site control (step 6 of a cycle).
 *
 * Three parts, one after the other, each bounded and free of allocation:
 *
 *     grid.c       what the grid's frequency and voltage forbid (row 4) and ask for (droop, frequency services)
 *     track.c      how much all EVSEs that follow the site must take so that the grid connection shows the site's target
 *     share_out.c  who takes how much of it, and of every full feeder, by weight
 *
 * All of it only fills struct v2g_proposal: enforce() takes nothing here on trust. Signs and units as in v2g.h.
 */

/* The columns of a data sheet are set by hand. */
/* clang-format off */
#ifndef V2G_SITE_H
#define V2G_SITE_H

#include "v2g.h"

enum {
    V2G_GRID_METERS = 8,   /* that tell frequency and voltage */
    V2G_GRID_WATCHES = 12,
    V2G_GRID_ANSWERS = 4,  /* droop and frequency services that hold at the same time */
    V2G_CURVE_POINTS = 2,
    V2G_GRID_CONFIRM = 3,  /* samples that must agree before anything trips: one bad sample never does */
    V2G_GRID_REACH_MHZ = 5000 /* no grid runs that far from its nominal frequency: the config has the wrong one (50 for 60 Hz) */
};

/* ---- Config ------------------------------------------------------------------------------------------------------------ */

enum v2g_watch_kind {
    V2G_WATCH_NONE = 0,
    V2G_WATCH_FREQUENCY, /* limit in mHz */
    V2G_WATCH_VOLTAGE    /* limit in 0.1 V, each phase */
};

/* One stage of a trip table: beyond the limit for the delay ends the service. */
struct v2g_grid_watch {
    uint8_t kind;     /* enum v2g_watch_kind */
    uint8_t over;     /* 1: at or above the limit, 0: at or below */
    uint8_t cease;    /* 1: momentary cessation, over when the value is back; 0: trip, over when service is entered anew */
    uint8_t reserved;
    int32_t limit;
    int64_t delay_ns;
};

/* How power answers the frequency. The answer is a share of rated power, 2^16 is all of it; below nominal it discharges.
 * Curve: from point k on value[k] + slope[k] for each mHz beyond it, up to scale. Step: trigger, hold, give back, re-arm. */
struct v2g_grid_answer {
    int32_t scale_q16;                      /* most that it answers with; 0: this entry is none */
    int32_t from_mhz[V2G_CURVE_POINTS];     /* deviation, rising */
    int32_t value_q16[V2G_CURVE_POINTS];
    int32_t slope_q24[V2G_CURVE_POINTS];    /* 2^-24 of rated power per mHz, before scale */
    int32_t trigger_mhz;                    /* step: at or below this frequency; 0: a curve */
    int32_t rearm_mhz;                      /* step: at or above this for rearm_ns before it can answer again */
    uint32_t lag_q32;                       /* part of the way to its answer in one cycle; 0: at once */
    uint32_t back_q32;                      /* the same for its way back to nothing; 0: as lag_q32 */
    uint32_t reserved;
    int64_t hold_ns;
    int64_t rearm_ns;
};

struct v2g_grid_config {
    uint32_t present;     /* 1: a grid profile or service is configured */
    uint32_t meters;      /* number */
    uint16_t meter[V2G_GRID_METERS];
    int64_t age_ns[V2G_GRID_METERS];
    int32_t nominal_mhz;
    int32_t nominal_dv;   /* 0.1 V, phase to neutral */
    uint32_t phases;      /* bits 0…2: those that are judged */
    uint32_t trips;       /* 1: a profile with watches and entering service; 0: services only */
    struct v2g_grid_watch watch[V2G_GRID_WATCHES];
    struct v2g_grid_answer answer[V2G_GRID_ANSWERS];
    int32_t volt_watt_from_dv;   /* discharge is limited from here on; 0: not at all */
    int32_t volt_watt_to_dv;     /* … down to volt_watt_least_q16 of the rating */
    int32_t volt_watt_slope_q24; /* 2^-24 of the rating per 0.1 V */
    int32_t volt_watt_least_q16;
    int32_t enter_low_mhz, enter_high_mhz;
    int32_t enter_low_dv, enter_high_dv;
    int64_t enter_delay_ns;      /* the site's random part included */
    int64_t enter_ramp_ns;       /* 0: no ramp */
    uint32_t enter_step_q32;     /* share of the whole ramp in one cycle */
    uint32_t reserved;
};

struct v2g_site_config {
    struct v2g_grid_config grid;
    int64_t response_ns[V2G_MAX_EVSES]; /* from a setpoint to the power that a meter shows: dead time and lag of EVSE and bus */
};

/* ---- Plan -------------------------------------------------------------------------------------------------------------- */

/* The site's wish at the grid connection, for the EVSEs whose plan says V2G_PLAN_SITE_TARGET. */
struct v2g_site_plan {
    int32_t target_w;  /* W, import positive */
    uint32_t present;  /* 1: there is one; 0: those EVSEs stay at 0 */
    uint32_t damp_q32; /* part of the way to a new target in one cycle, while the backhaul is slow; 0: at once */
    uint32_t reserved;
};

/* ---- State ------------------------------------------------------------------------------------------------------------- */

enum v2g_grid_service {
    V2G_GRID_IN = 0,   /* in service */
    V2G_GRID_OUT,      /* tripped: waits until frequency and voltage are good */
    V2G_GRID_WAITING,  /* they are: the delay runs */
    V2G_GRID_ENTERING  /* the ramp of entering service runs */
};

struct v2g_watch_state {
    int64_t since_ns;  /* first sample beyond the limit */
    int64_t seen_ns;   /* newest sample counted */
    uint32_t samples;  /* beyond the limit in a row, up to V2G_GRID_CONFIRM */
    uint32_t reserved;
};

struct v2g_answer_state {
    int32_t value_q16;  /* what is answered now, signed */
    uint32_t spent;     /* step: answered, not yet armed again */
    int64_t value_q48;  /* the same with 32 more fraction bits: the lag */
    int64_t until_ns;   /* step: end of the hold */
    int64_t good_ns;    /* step: since when the frequency is back */
};

struct v2g_grid_state {
    uint32_t service;        /* enum v2g_grid_service */
    uint32_t reason;         /* enum v2g_reason: why it is not in service, or ceases; V2G_REASON_NONE: it is */
    int64_t good_ns;         /* since when frequency and voltage are good enough to enter service; V2G_NEVER: they are not */
    uint64_t entered_q32;    /* how far the ramp of entering service is; 2^32: done */
    int32_t offset_q16;      /* sum of all answers, share of rated power, signed */
    uint32_t ceased;         /* 1: momentary cessation */
    int64_t ceased_ns;       /* when that last was so */
    struct v2g_watch_state watch[V2G_GRID_WATCHES];
    struct v2g_answer_state answer[V2G_GRID_ANSWERS];
};

/* Voted and judged: what the grid shows in this cycle. */
struct v2g_grid_seen {
    uint32_t known;       /* 1: frequency and every judged phase are there */
    int32_t frequency_mhz;
    int32_t low_dv;       /* the lowest and the highest judged phase */
    int32_t high_dv;
    int64_t sample_ns;    /* newest of the samples */
};

/* Room of a feeder, held at its lowest of the last one to two seconds: down at once, up slowly. */
struct v2g_room_state {
    int32_t past_w[2][V2G_LANES]; /* import, export */
    int32_t run_w[2][V2G_LANES];
    int32_t base_w[V2G_LANES];    /* base load as far as measurements force it to be believed */
    int64_t run_ns;
    uint32_t unmetered; /* 1: the meter is lost or none: the room is a number that stands still */
    uint32_t reserved;
};

struct v2g_turn_state {
    uint32_t turn;      /* the lowest is served first */
    uint16_t by;        /* the feeder whose room it waits for; V2G_NONE: the site's target */
    uint16_t parked;    /* 1: its share would be below its minimum, others have it */
    int64_t parked_ns;
};

struct v2g_track_state {
    int64_t target_q32;   /* damped target, W */
    int32_t base_w;       /* load other than EVSEs, as far as measurements force it to be believed */
    int32_t trim_w;       /* integral part */
    int32_t push_w;       /* proportional part */
    int32_t reserved;
    int64_t asked_w;      /* sum last asked of those that follow */
    int64_t settled_ns;   /* since when nothing has moved */
    int64_t sample_ns;    /* meter sample last looked at */
    int64_t error_q8;     /* filtered, W/256 */
    uint32_t looks;       /* samples in the filter, up to 16 */
    uint32_t started;     /* bit 0: base, bit 1: target */
};

struct v2g_site_evse_state {
    int32_t told_w;      /* last setpoint */
    int32_t most_w;      /* it was seen to take no more than this, magnitude; V2G_POWER_MAX_W: not seen so */
    int64_t moved_ns;    /* when its setpoint last moved by more than a little */
};

struct v2g_site_state {
    uint32_t config_epoch; /* for which order and below are made */
    uint32_t turns;        /* last number given out */
    struct v2g_grid_state grid;
    struct v2g_track_state track;
    struct v2g_room_state room[V2G_MAX_FEEDERS];
    struct v2g_turn_state turn[V2G_MAX_EVSES];
    struct v2g_site_evse_state evse[V2G_MAX_EVSES];
    uint16_t order[V2G_MAX_EVSES];        /* EVSEs in the order of the tree: those below a feeder stand together */
    uint16_t first[V2G_MAX_FEEDERS];      /* of the feeder's EVSEs in `order` */
    uint16_t direct[V2G_MAX_FEEDERS];     /* how many of them are its own */
    uint16_t below[V2G_MAX_FEEDERS];      /* and how many those of its children too */
};

/* What is shown of site control. */
struct v2g_site_view {
    int32_t target_w;       /* W: the site's target as it is followed now, damping and frequency included */
    int32_t measured_w;     /* W: at the grid connection */
    int32_t base_w;         /* W: estimated load other than EVSEs */
    int32_t trim_w;         /* W: what the controller adds */
    int64_t asked_w;        /* W: of all EVSEs that follow */
    int32_t room_charge_w;  /* W: what those could take at most */
    int32_t room_discharge_w;
    uint32_t present;       /* bit 0: a site target is followed; bit 1: the grid is known */
    int32_t frequency_mhz;
    int32_t low_dv;
    int32_t high_dv;
    int32_t offset_q16;     /* share of rated power that the frequency asks for */
    uint32_t service;       /* enum v2g_grid_service */
    uint32_t reason;        /* enum v2g_reason */
    uint32_t parked;        /* EVSEs that wait for their turn */
    int64_t enter_ns;       /* when service is entered, if all stays good; V2G_NEVER: not waiting */
};

/* ---- Functions --------------------------------------------------------------------------------------------------------- */

/* 0: good; else 1 + the index of the first bad entry, with V2G_SITE_FAULT_* added. */
enum { V2G_SITE_FAULT_GRID = 0x10000, V2G_SITE_FAULT_WATCH = 0x20000, V2G_SITE_FAULT_ANSWER = 0x30000, V2G_SITE_FAULT_EVSE = 0x40000 };
uint32_t v2g_site_check(const struct v2g_site_config *site, const struct v2g_config *config);

/* Before the first cycle: nothing known, in service. */
void v2g_site_init(struct v2g_site_state *state);

/* The process before ended out of service: conditions and delay of entering service begin anew. */
void v2g_site_restore_out(struct v2g_site_state *state);

/* What the meters show, voted: of two the one nearer to nominal, of more the middle one. */
struct v2g_grid_seen v2g_grid_look(const struct v2g_grid_config *grid, const struct v2g_image *image, int64_t now_ns);

/* One cycle of the grid's rules. */
void v2g_grid_step(const struct v2g_grid_config *grid, const struct v2g_grid_seen *seen, int64_t now_ns,
                   struct v2g_grid_state *state);

/* Weighted, bounded filling: lowers magnitudes `most_w` to min(most, weight * level), the level being the highest at which the sum of
 * size * most / 6 fits `room_w`. Exact to 1 W + 2^-8 W per entry. `size`: sixths of a power that count, 0…6; `weight` 0: it
 * keeps what it has. Returns whether that lowered anything. */
bool v2g_share_fill(uint32_t count, int32_t *most_w, const uint16_t *weight, const uint8_t *size, int64_t room_w);

/* Step 6. */
void v2g_site_propose(const struct v2g_config *config, const struct v2g_site_config *site, const struct v2g_plan *plan,
                      const struct v2g_site_plan *wish, const struct v2g_state *state, const struct v2g_setpoints *set,
                      int64_t now_ns, struct v2g_site_state *memory, struct v2g_image *image, struct v2g_site_view *view);

#endif
