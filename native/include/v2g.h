/* v2g.h – the data sheet of the core.
 *
 * Everything the core knows about a site stands here, each field with its unit and range. The core is one pure function,
 *
 *     v2g_enforce(config, plan, state, image, now_ns, out)
 *
 * run by the cycle thread, the proofs, the fuzzers, the property tests and `edgectl explain` alike.
 *
 * Signs      charging positive, discharging negative, seen from the grid: import positive. A *magnitude* is never negative.
 * Units      W, mA, 0.1 V, mHz, 0.1 degC, SOC in 0.01 %, ns of CLOCK_MONOTONIC.
 * Rounding   towards 0 power, unless a field says otherwise.
 * Ages       now - acquired; a stamp in the future counts as infinitely old.
 *
 * This header is also the cdef of the Python binding: constants are enums, no macro decides a layout.
 */

/* The columns of a data sheet are set by hand. */
/* clang-format off */
#ifndef V2G_H
#define V2G_H

#ifndef V2G_CDEF
#include <stdbool.h>
#include <stdint.h>
#endif

enum {
    V2G_ABI = 3, /* raised with every change of a layout below */

    V2G_MAX_EVSES = 256,
    V2G_MAX_FEEDERS = 64,
    V2G_MAX_METERS = 64,
    V2G_MAX_DERATES = 64,
    V2G_MAX_DEPTH = 8, /* feeders between an EVSE and the grid connection, both ends included */

    V2G_LANES = 4,        /* what a fuse sees: phase 1, phase 2, phase 3, and the sum of all */
    V2G_LANE_TOTAL = 3,
    V2G_DERATE_STEPS = 16,
    V2G_SENSORS = 4,      /* temperatures that derate: connector, cable, charger, hottest cell */

    V2G_POWER_MAX_W = 4000000, /* no power in any table is larger; 256 of them still fit 31 bits */
    V2G_SOC_MAX = 10000,       /* 100 % */
    V2G_TEMP_MIN = -1000,      /* -100.0 degC, below any sensor's range */
    V2G_TEMP_MAX = 3000,       /* 300.0 degC */
    V2G_FRESH_TIMES = 3,       /* an input must have come this often before it is believed (start, after a loss) */
    V2G_WEIGHT_MAX = 65535,    /* of a share; 0 counts as V2G_WEIGHT_ONE */
    V2G_WEIGHT_ONE = 500,
    V2G_NONE = 0xFFFF          /* "no such feeder, meter or table" */
};

/* Why a setpoint is what it is; numbers as in edge/model/reason.py (a test compares them). Rows of architecture.md section 6. */
enum v2g_reason {
    V2G_REASON_NONE = 0,
    V2G_RATING = 1,
    V2G_ERR_BIDIRECTIONAL_UNSUPPORTED = 2,
    V2G_NOT_READY = 3,
    V2G_EVSE_FAULT = 4,
    V2G_E_STOP = 5,
    V2G_ERR_V2G_LIMIT_REACHED = 6,
    V2G_SOC_CEILING = 7,
    V2G_SOC_UNKNOWN = 8,
    V2G_THERMAL_DERATE = 9,
    V2G_THERMAL_STOP = 10,
    V2G_THERMAL_SENSOR = 11,
    V2G_GRID_FREQUENCY = 12,
    V2G_GRID_VOLTAGE = 13,
    V2G_ENTER_SERVICE = 14,
    V2G_FEEDER_LIMIT = 15,
    V2G_PHASE_LIMIT = 16,
    V2G_SITE_LIMIT = 17,
    V2G_PLAN_LIMIT = 18,
    V2G_ERR_SIG_TIMEOUT = 19,
    V2G_STALE_METER = 20,
    V2G_EVSE_LOST = 21,
    V2G_NOT_FOLLOWING = 22,
    V2G_LOCKOUT = 23,
    V2G_RAMP = 24,
    V2G_INIT = 25,
    V2G_CONFLICT = 26,
    V2G_DEVICE_MINIMUM = 27,
    V2G_OVERRUN = 28,
    V2G_INVARIANT = 29,
    V2G_NOT_REALTIME = 30,
    V2G_GUARD_LOST = 31,
    V2G_REASON_COUNT = 32
};

/* ---- What an EVSE tells ------------------------------------------------------------------------------------------------ */

/* Index of a value of an EVSE. Each has its own stamps, because each may come in a frame of its own. */
enum v2g_field {
    V2G_F_STATE = 0,       /* 0 A … 5 F of IEC 61851-1, 6 energy transfer */
    V2G_F_FLAGS,           /* enum v2g_flag */
    V2G_F_POWER,           /* W, charging positive */
    V2G_F_SOC,             /* 0.01 %, 0…10000 */
    V2G_F_T_CONNECTOR,     /* 0.1 degC; the four derating sensors stand in the order of enum v2g_sensor */
    V2G_F_T_CABLE,         /* 0.1 degC */
    V2G_F_T_CHARGER,       /* 0.1 degC */
    V2G_F_T_CELL_MAX,      /* 0.1 degC */
    V2G_F_T_CELL_MIN,      /* 0.1 degC: no charging of a frozen cell */
    V2G_F_MAX_CHARGE,      /* W, magnitude: what vehicle and EVSE allow now */
    V2G_F_MAX_DISCHARGE,   /* W, magnitude */
    V2G_F_CAPACITY,        /* Wh */
    V2G_F_P_L1,            /* W, magnitude: phase current times nominal voltage, what a fuse of that phase carries */
    V2G_F_P_L2,
    V2G_F_P_L3,
    V2G_F_I_L1,            /* mA, shown only */
    V2G_F_I_L2,
    V2G_F_I_L3,
    V2G_F_CP_DUTY,         /* %, Control Pilot, shown only */
    V2G_F_SOH,             /* %, state of health, shown only */
    V2G_FIELDS
};

enum v2g_sensor { V2G_S_CONNECTOR = 0, V2G_S_CABLE, V2G_S_CHARGER, V2G_S_CELL };

enum v2g_flag {
    V2G_FLAG_FAULT = 1,
    V2G_FLAG_BIDIRECTIONAL = 2,
    V2G_FLAG_CONTACTOR = 4,
    V2G_FLAG_EV_PRESENT = 8,
    V2G_FLAG_FOLLOWING = 16,
    V2G_FLAG_E_STOP = 32,
    V2G_FLAG_FAILSAFE = 64,
    V2G_FLAG_SILENCE_UNKNOWN = 128 /* its fallback registers don't hold, or were not seen to hold, what the config wants */
};

enum v2g_pilot { V2G_STATE_A = 0, V2G_STATE_B, V2G_STATE_C, V2G_STATE_D, V2G_STATE_E, V2G_STATE_F, V2G_STATE_TRANSFER };

struct v2g_evse_in {
    int32_t value[V2G_FIELDS];
    uint32_t valid;                    /* bit per enum v2g_field: 0 after an invalid code or before the first value */
    uint32_t frames;                   /* good frames so far, wraps */
    int64_t acquired_ns[V2G_FIELDS];   /* the frame that brought the value */
    int64_t changed_ns[V2G_FIELDS];    /* the frame in which it last differed */
};

/* ---- What a meter tells ------------------------------------------------------------------------------------------------ */

enum v2g_meter_field {
    V2G_M_P_L1 = 0, /* W, import positive; the first four stand in the order of the lanes */
    V2G_M_P_L2,
    V2G_M_P_L3,
    V2G_M_P_TOTAL,
    V2G_M_U_L1,     /* 0.1 V */
    V2G_M_U_L2,
    V2G_M_U_L3,
    V2G_M_FREQUENCY, /* mHz */
    V2G_M_LIVENESS,  /* the signal its profile names; only its changed_ns counts */
    V2G_METER_FIELDS
};

struct v2g_meter_in {
    int32_t value[V2G_METER_FIELDS];
    uint32_t valid;                          /* bit per enum v2g_meter_field */
    int64_t acquired_ns[V2G_METER_FIELDS];
    int64_t changed_ns[V2G_METER_FIELDS];
};

/* ---- Process image: every input as it stood at the start of the cycle ------------------------------------------------- */

enum v2g_health {
    V2G_HEALTH_REALTIME = 1, /* SCHED_FIFO was granted */
    V2G_HEALTH_GUARD = 2,    /* the guard is alive and has acknowledged this config */
    V2G_HEALTH_ON_TIME = 4   /* fewer than three overruns in a row */
};

enum v2g_propose {
    V2G_PROPOSE_TARGET = 1, /* target_w stands in for the plan's own wish: the grid's frequency asks for it */
    V2G_PROPOSE_SHARE = 2,  /* share_charge_w and share_discharge_w hold */
    V2G_PROPOSE_FAST = 4    /* a frequency service: the ramp may be ramp_frequency_q8 */
};

/* What site control proposes for one EVSE (step 6). Trusted for nothing: any value here is safe. */
struct v2g_proposal {
    int32_t target_w;          /* wish, W; taken when the plan says V2G_PLAN_SITE_TARGET, or with V2G_PROPOSE_TARGET */
    int32_t share_charge_w;    /* W, magnitude: its share of what its feeders, or the grid, leave to all */
    int32_t share_discharge_w;
    uint16_t grid_charge;      /* row 4: 0 permits charging, else the reason (enum v2g_reason) that forbids it */
    uint16_t grid_discharge;   /* the same for discharging */
    uint8_t why_charge;        /* enum v2g_reason: why the share is what it is */
    uint8_t why_discharge;
    uint8_t why_target;        /* with V2G_PROPOSE_TARGET */
    uint8_t option;            /* bits of enum v2g_propose */
    uint32_t reserved;
};

/* What step 5 estimates of one EVSE. Trusted for nothing but tightening: any value here is safe. */
enum v2g_estimate_flag {
    V2G_ESTIMATE_SOC_DOUBT = 1, /* reported SOC and counted energy disagree: frozen, jumping or lying */
    V2G_ESTIMATE_CONTACT = 2    /* the connector is hotter than its model: growing contact resistance, call for maintenance */
};
struct v2g_estimate {
    int32_t predicted[V2G_SENSORS]; /* 0.1 degC: where a temperature is heading; derates like a measured one */
    int32_t model_contact;          /* 0.1 degC, shown */
    int32_t model_cable;            /* 0.1 degC, shown */
    uint32_t flag;                  /* bits of enum v2g_estimate_flag */
    uint32_t reserved;
};

struct v2g_image {
    uint32_t health; /* bits of enum v2g_health */
    uint32_t cycle;  /* counts cycles, wraps */
    struct v2g_evse_in evse[V2G_MAX_EVSES];
    struct v2g_meter_in meter[V2G_MAX_METERS];
    struct v2g_estimate estimate[V2G_MAX_EVSES];
    struct v2g_proposal proposal[V2G_MAX_EVSES];
};

/* ---- Config: what the site is. Committed whole or not at all; all arithmetic is done before it gets here. ------------- */

/* Absolute limits over temperature. Below `start` none; step k holds from start + k * 2^shift; after the last step 0 W. */
struct v2g_derate {
    int32_t start;                       /* 0.1 degC */
    int32_t shift;                       /* width of a step: 2^shift times 0.1 degC, 0…8 */
    int32_t limit_w[V2G_DERATE_STEPS];   /* W, magnitude for either direction, falling, taken at the hotter end of each step */
    int32_t stop;                        /* 0.1 degC: at or above, 0 W and a latch */
    int32_t resume;                      /* 0.1 degC, < stop: the latch falls after `resume_hold` at or below */
    int64_t resume_hold_ns;
    uint32_t seal;                       /* as an EVSE's */
    uint32_t reserved;
};

enum v2g_evse_option {
    V2G_EVSE_DISCHARGE = 1,       /* the operator lets this one discharge */
    V2G_EVSE_SOC_SOURCE = 2,      /* something tells the SOC */
    V2G_EVSE_SILENCE_TESTED = 4,  /* its own time-out and fallback are known: silent means 0 W, unless V2G_FLAG_SILENCE_UNKNOWN */
    V2G_EVSE_BALANCED = 8         /* loads its phases evenly by construction (a DC charger) */
};

struct v2g_evse_config {
    uint64_t key;                 /* hash of the id: runtime state follows it when the config changes; never 0 */
    uint32_t option;              /* bits of enum v2g_evse_option */
    uint16_t feeder;              /* index, < feeders */
    uint8_t phases;               /* bits 0…2: the phases it is connected to, at least one */
    uint8_t phase_count;          /* number of those bits */
    int32_t rating_charge_w;      /* W, magnitude: the least of EVSE, cable and configured rating */
    int32_t rating_discharge_w;   /* W, magnitude; 0: cannot */
    int32_t min_charge_w;         /* W: a setpoint is 0 or at least this */
    int32_t min_discharge_w;
    int32_t fallback_charge_w;    /* W: holds when nobody commands any more */
    int32_t fallback_discharge_w;
    int32_t sensor_lost_charge_w; /* W: at most this while a temperature is unknown */
    int32_t soc_floor;            /* 0.01 %: max of threshold and absolute floor */
    int32_t soc_ceiling;          /* 0.01 % */
    int32_t soc_hysteresis;       /* 0.01 % */
    int32_t soc_margin;           /* 0.01 %: error of the source + drift at full power over the SOC's age limit, rounded up */
    int32_t cell_cold;            /* 0.1 degC: no charging when the coldest cell is below */
    uint16_t derate[V2G_SENSORS]; /* index of the table, V2G_NONE: this sensor does not exist */
    int32_t ramp_q8;              /* W/256 per cycle away from 0, > 0 */
    int32_t ramp_return_q8;       /* the same after start and fail-safe, until a target other than 0 is first met */
    int32_t follow_tolerance_w;   /* W: further outside its interval than this is "not following" */
    int32_t ramp_frequency_q8;    /* W/256 per cycle while a frequency service asks for power; 0: as always */
    int32_t ambient;              /* 0.1 degC around connector and cable, the highest expected */
    int32_t contact_alarm;        /* 0.1 degC: this much hotter than its model calls for maintenance; 0: no alarm */
    int32_t soc_tolerance;        /* 0.01 %: SOC may differ this much (and a quarter of the counted change) from counted energy; 0: not compared */
    uint32_t contact_q44;         /* steady rise of the contact over the cable: 0.1 degC / 2^44 per W^2; 0: no model */
    uint32_t cable_q44;           /* steady rise of the cable over ambient */
    uint32_t contact_step_q32;    /* 1 - e^(-period / tau) of the contact, 2^-32 */
    uint32_t cable_step_q32;
    uint32_t contact_ahead_q32;   /* 1 - e^(-horizon / tau): how much of the way to its steady state it goes within the horizon */
    uint32_t cable_ahead_q32;
    uint32_t rise_step_q32;       /* 1 - e^(-period / horizon): a sensor's rate of rise is judged against its own past; 0: not judged */
    int64_t link_age_ns;          /* age limits: state, flags, power */
    int64_t soc_age_ns;
    int64_t temp_age_ns;
    int64_t phase_age_ns;         /* phase currents */
    int64_t limits_age_ns;        /* max charge, max discharge, capacity */
    int64_t reaction_ns;          /* the EVSE has followed a command after this time, or is not following */
    uint32_t seal;                /* folded complement of the sum of all above; checked every cycle */
    uint32_t reserved3;
};

struct v2g_feeder_config {
    uint64_t key;                       /* hash of feeder id and meter id: runtime state follows it; never 0 */
    uint16_t parent;                    /* index, < own index; V2G_NONE: this is the grid connection, and only feeder 0 is */
    uint16_t meter;                     /* index; V2G_NONE: base load is the declared one */
    int32_t import_w[V2G_LANES];        /* W: fuse per phase at nominal voltage; sum: site limit or three times the fuse */
    int32_t export_w[V2G_LANES];        /* W, magnitude */
    int32_t base_w[V2G_LANES];          /* W, declared base load; counts without a meter */
    int32_t fallback_w[V2G_LANES];      /* W: what all EVSEs below may charge together while the meter is lost */
    int32_t share_w;                    /* W: what each EVSE below may charge while the meter is lost */
    int32_t slew_q8;                    /* W/256 per cycle: how fast the base load may grow between samples */
    int32_t reserved2;
    int64_t meter_age_ns;               /* age limit: 3 polls + the meter's refresh time */
    int64_t liveness_age_ns;            /* 0: the profile names no liveness signal */
    int64_t refresh_ns;                 /* a sample may be this old inside the meter */
    uint32_t seal;
    uint32_t reserved;
};

enum v2g_config_option {
    V2G_CONFIG_LAB = 1,            /* a bench, not a site: discharging without real-time scheduling or guard is accepted */
    V2G_CONFIG_GUARD_REQUIRED = 2  /* no guard, no power */
};

struct v2g_config {
    uint32_t abi;       /* V2G_ABI */
    uint32_t epoch;     /* > 0, rises with every commit */
    uint64_t boot_id;   /* of the process that wrote it */
    uint32_t option;    /* bits of enum v2g_config_option */
    uint32_t evses;     /* 0…V2G_MAX_EVSES */
    uint32_t feeders;   /* 1…V2G_MAX_FEEDERS */
    uint32_t meters;
    uint32_t derates;
    uint32_t reserved;
    int64_t period_ns;  /* 1 ms…50 ms */
    uint32_t seal;      /* as an EVSE's: of what stands above */
    uint32_t reserved2;
    struct v2g_evse_config evse[V2G_MAX_EVSES];
    struct v2g_feeder_config feeder[V2G_MAX_FEEDERS];
    struct v2g_derate derate[V2G_MAX_DERATES];
};

/* ---- Plan: what Python last said. --------------------------------------------------------------------------------------- */

enum v2g_plan_flag {
    V2G_PLAN_LOCKED = 1,      /* row 7 */
    V2G_PLAN_SITE_TARGET = 2  /* the wish is what site control proposes, not target_w */
};

struct v2g_evse_plan {
    int32_t min_w, max_w, target_w;                    /* W, signed; min <= max; the target may lie outside */
    int32_t after_min_w, after_max_w, after_target_w;  /* hold once until_ns is over, intersected with the first (never loosens) */
    int64_t until_ns;                                  /* CLOCK_MONOTONIC */
    int32_t soc_floor;                                 /* 0.01 %: departure reserve; can only raise the floor */
    int32_t ramp_q8;                                   /* W/256 per cycle; 0: the config's; can only be slower than the config's */
    uint32_t flag;                                     /* bits of enum v2g_plan_flag */
    uint16_t weight_charge;                            /* share in what all have in common; 0: V2G_WEIGHT_ONE */
    uint16_t weight_discharge;
};

struct v2g_feeder_plan {
    int32_t import_w, export_w;              /* W, magnitudes: bounds of the feeder's whole power, base load included */
    int32_t after_import_w, after_export_w;
    int64_t until_ns;
};

struct v2g_plan {
    uint32_t abi;
    uint32_t epoch;          /* > 0, rises with every renewal */
    uint64_t boot_id;
    uint32_t config_epoch;   /* made for this config; a plan for another is not adopted */
    uint32_t limits_epoch;   /* rises when a source said something new */
    int64_t made_ns;
    int64_t lease_ns;        /* until when the whole plan holds, at most made + V2G_LEASE_MAX_NS */
    struct v2g_evse_plan evse[V2G_MAX_EVSES];
    struct v2g_feeder_plan feeder[V2G_MAX_FEEDERS];
};

enum { V2G_LEASE_MAX_MS = 5000 };

/* ---- State: what the core remembers from cycle to cycle ----------------------------------------------------------------- */

enum v2g_latch {
    V2G_LATCH_FLOOR = 1,           /* SOC was at the floor; falls at floor + hysteresis */
    V2G_LATCH_CEILING = 2,
    V2G_LATCH_THERMAL = 4,         /* four bits from here, one per sensor */
    V2G_LATCH_LOST = 64,           /* EVSE link lost; falls on fresh data and a newer plan */
    V2G_LATCH_NOT_FOLLOWING = 128, /* falls when inside its interval again and a source said something new */
    V2G_LATCH_RETURNING = 256,     /* slow ramp after start and fail-safe; falls when a target other than 0 is met */
    V2G_LATCH_PLUGGED = 512,       /* a vehicle is there */
    V2G_LATCH_BALANCED = 1024,     /* this vehicle was last seen to load its phases evenly: from 1 kW on, no phase above its
                                    * even share + 500 W */
    V2G_LATCH_START = 2048         /* not yet heard since the process started */
};

struct v2g_evse_state {
    int32_t ramp_q8;            /* W/256, signed: where the ramp stands */
    int32_t target_w;           /* W, signed: last setpoint */
    int32_t book_charge_w;      /* W, magnitude: what may still flow because of an earlier, higher setpoint */
    int32_t book_discharge_w;
    int32_t thermal_w;          /* W, magnitude: thermal limit of charging when last every sensor was known, or tighter */
    uint32_t latch;             /* bits of enum v2g_latch */
    uint32_t fresh;             /* new link values since start or loss, up to V2G_FRESH_TIMES */
    uint32_t lost_epoch;        /* plan epoch at the loss: a newer one is needed to return */
    uint32_t follow_epoch;      /* limits_epoch when it stopped following */
    uint32_t reserved;
    int64_t seen_ns;            /* acquired stamp last counted in `fresh` */
    int64_t lowered_ns;         /* when the setpoint last moved towards 0 */
    int64_t outside_ns;         /* since when the power lies outside the interval; V2G_NEVER: inside */
    int64_t plugged_ns;         /* values acquired before this belong to another vehicle */
    int64_t cool_ns[V2G_SENSORS]; /* since when a latched sensor is at or below resume; V2G_NEVER: it is not */
};

struct v2g_estimate_state {
    int64_t contact_q32;          /* 0.1 degC * 2^32: the thermal model, never corrected by a sensor */
    int64_t cable_q32;
    int64_t past_q32[V2G_SENSORS]; /* each sensor's past: a lag of one horizon */
    int64_t counted_w_ms;         /* W * ms into the vehicle since the anchor */
    int64_t plugged_ns;           /* session of the anchor */
    int32_t anchor_soc;           /* 0.01 %: first SOC of this session; -1: none yet */
    uint32_t started;             /* bits 0…3: past_q32 of that sensor is set; bit 8: the model is */
};

struct v2g_feeder_state {
    int32_t base_high_w[V2G_LANES];   /* base load at the last sample, highest reading of it (for import) */
    int32_t base_low_w[V2G_LANES];    /* lowest reading (for export) */
    int32_t past_min_w[V2G_LANES];    /* lowest and highest sum of the EVSEs below, in the meter's refresh time before this one */
    int32_t past_max_w[V2G_LANES];
    int32_t run_min_w[V2G_LANES];     /* the same in this refresh time */
    int32_t run_max_w[V2G_LANES];
    int32_t room_import_w[V2G_LANES]; /* last allowance for all EVSEs below, W; negative: overloaded without them */
    int32_t room_export_w[V2G_LANES];
    int32_t drift_q8;                 /* W/256: age of the sample times slew */
    uint32_t fresh;                   /* new samples since start or loss */
    uint32_t lost;                    /* 1: fallback */
    uint32_t lost_epoch;
    int64_t seen_ns;                  /* acquired stamp last counted in `fresh` */
    int64_t sample_ns;                /* acquired stamp of the sample the base load comes from */
    int64_t run_ns;                   /* when this refresh time began */
};

struct v2g_state {
    uint32_t damaged;   /* 1: an invariant failed; SAFE until a new config */
    uint32_t reserved;
    struct v2g_evse_state evse[V2G_MAX_EVSES];
    struct v2g_estimate_state estimate[V2G_MAX_EVSES];
    struct v2g_feeder_state feeder[V2G_MAX_FEEDERS];
};

/* ---- Setpoint: the only thing an EVSE is ever told ------------------------------------------------------------------------ */

enum v2g_mode { V2G_MODE_STOP = 0, V2G_MODE_CHARGE = 1, V2G_MODE_BIDIRECTIONAL = 2 };

struct v2g_setpoint {
    int32_t target_w;        /* W, in [min_w, max_w]; 0 or at least the device minimum of its direction */
    int32_t min_w;           /* W, <= 0: the EVSE must not discharge more */
    int32_t max_w;           /* W, >= 0: the EVSE must not charge more */
    int32_t band_min_w;      /* W, <= 0: what the chain would have allowed (shown; min_w is what is booked) */
    int32_t band_max_w;      /* W, >= 0 */
    uint8_t reason;          /* enum v2g_reason: why the target is not the wish */
    uint8_t reason_min;      /* what bounds the discharge side */
    uint8_t reason_max;      /* what bounds the charge side */
    uint8_t mode;            /* enum v2g_mode */
    int64_t valid_until_ns;  /* a slow transport drops it after this: the end of the lease, or now + 1 s when none is alive */
};

struct v2g_setpoints {
    uint32_t count;
    uint32_t safe;           /* 1: an invariant failed, everything is 0 */
    struct v2g_setpoint evse[V2G_MAX_EVSES];
};

/* One row of the chain as `explain` shows it: the magnitudes it allows and its reason. */
enum { V2G_ROWS = 8 };
struct v2g_trace {
    int32_t charge_w[V2G_ROWS];      /* index 0 is row 1 of the chain */
    int32_t discharge_w[V2G_ROWS];
    uint8_t reason_charge[V2G_ROWS];
    uint8_t reason_discharge[V2G_ROWS];
    int32_t wish_w;                  /* what was asked for, before any row */
};

/* ---- Functions --------------------------------------------------------------------------------------------------------- */

/* Step 5, before enforce: predicts temperatures and doubts SOCs, into image->estimate. Bounded, integers only, no division.
 * A temperature is rounded down to 0.1 degC; a step of a node is cut towards 0, its lowest 16 of 32 fraction bits before the
 * multiplication; energy is counted down. */
void v2g_estimate(const struct v2g_config *config, struct v2g_state *state, struct v2g_image *image, int64_t now_ns);

/* One pass of the chain. `config` and `plan` have passed their checks; `image` may hold anything. Total, bounded, pure but for
 * `state`. Never allocates, locks, logs or calls the system. */
void v2g_enforce(const struct v2g_config *config, const struct v2g_plan *plan, struct v2g_state *state,
                 const struct v2g_image *image, int64_t now_ns, struct v2g_setpoints *out);

/* The chain of one EVSE, row by row, as the next cycle would see it; changes nothing. */
void v2g_explain(const struct v2g_config *config, const struct v2g_plan *plan, const struct v2g_state *state,
                 const struct v2g_image *image, int64_t now_ns, uint32_t evse, struct v2g_trace *trace);

/* State of a process that has just started: everything tight. */
void v2g_state_init(struct v2g_state *state);

/* Latches that outlive the process: hard thermal stops and "not following". `latch`: bits of enum v2g_latch, others don't count. */
enum { V2G_LATCHES_KEPT = 15 * V2G_LATCH_THERMAL + V2G_LATCH_NOT_FOLLOWING };
void v2g_state_restore(struct v2g_state *state, uint32_t evse, uint32_t latch);

/* Carry the state of every EVSE and feeder that is in both configs over to its new index (by key); newcomers start tight. */
void v2g_state_migrate(const struct v2g_config *from, const struct v2g_state *old, const struct v2g_config *to,
                       struct v2g_state *state);

/* The same for the process image; meters are found through the feeders that they measure. */
void v2g_image_migrate(const struct v2g_config *from, const struct v2g_image *old, const struct v2g_config *to,
                       struct v2g_image *image);

/* A plan under which every EVSE is at 0 W: what the core starts with. */
void v2g_plan_safe(struct v2g_plan *plan, const struct v2g_config *config);

/* No value at all has come yet. */
void v2g_image_init(struct v2g_image *image);

/* Range checks before anything is adopted. 0: good. Else the number of the first bad place: enum v2g_fault in the high 16 bits,
 * the index of the EVSE, feeder or table in the low. */
enum v2g_fault {
    V2G_FAULT_NONE = 0,
    V2G_FAULT_HEADER,
    V2G_FAULT_COUNT,
    V2G_FAULT_PERIOD,
    V2G_FAULT_EVSE_KEY,
    V2G_FAULT_EVSE_FEEDER,
    V2G_FAULT_EVSE_PHASES,
    V2G_FAULT_EVSE_POWER,
    V2G_FAULT_EVSE_SOC,
    V2G_FAULT_EVSE_DERATE,
    V2G_FAULT_EVSE_RAMP,
    V2G_FAULT_EVSE_AGE,
    V2G_FAULT_EVSE_MODEL,
    V2G_FAULT_SEAL,
    V2G_FAULT_FEEDER_PARENT,
    V2G_FAULT_FEEDER_METER,
    V2G_FAULT_FEEDER_POWER,
    V2G_FAULT_FEEDER_AGE,
    V2G_FAULT_FEEDER_FALLBACK, /* the shares of all EVSEs below exceed fallback_w, or that exceeds rating - declared base load */
    V2G_FAULT_DERATE_TABLE,
    V2G_FAULT_LEASE,
    V2G_FAULT_PLAN_EVSE,
    V2G_FAULT_PLAN_FEEDER
};
uint32_t v2g_config_check(const struct v2g_config *config);
uint32_t v2g_plan_check(const struct v2g_plan *plan, const struct v2g_config *config, int64_t now_ns);

/* Fill in every seal of a config that is otherwise complete. */
void v2g_config_seal(struct v2g_config *config);

#ifndef V2G_CDEF
#define V2G_NEVER INT64_MIN /* a stamp that is always too old */

_Static_assert(sizeof(struct v2g_evse_config) % 8 == 0, "no hidden padding at the end");
_Static_assert((int64_t)V2G_POWER_MAX_W * V2G_MAX_EVSES < INT32_MAX, "a sum of powers fits 31 bits");
_Static_assert((int64_t)V2G_POWER_MAX_W * 256 < INT32_MAX, "a power with 8 fraction bits fits 31 bits");
#endif

#endif
