/* The cycle's own memory. One block, touched before the thread starts; the cycle never asks for more. */
#ifndef V2G_CYCLE_H
#define V2G_CYCLE_H

#include "../can/can_io.h"
#include "rt.h"
#include "share.h"

/* What was last told about an EVSE, so that an event is a change. */
struct told_evse {
    uint32_t latch;
    uint8_t reason;
    uint8_t reserved[3];
    int64_t told_ns;
    int64_t hold_ns; /* the next change between ordinary reasons is told after this */
};

struct told {
    struct told_evse evse[V2G_MAX_EVSES];
    bool feeder_lost[V2G_MAX_FEEDERS];
    uint32_t bus_state[V2G_MAX_BUSES];
    int64_t overflow_ns[V2G_MAX_BUSES];
    uint64_t overflow[V2G_MAX_BUSES];
    uint32_t health;
    uint32_t damaged;
    uint32_t limits_epoch;
    bool plan_refused;
    uint32_t grid_service; /* enum v2g_grid_service */
    uint32_t grid_reason;
};

/* What the state of a bus is put together from. */
struct bus_watch {
    uint32_t controller;      /* UP, WARNING, PASSIVE or OFF, as its error frames say */
    bool down;                /* the socket has failed */
    int64_t waiting_since_ns; /* frames have been waiting in the queue since; 0: none */
};

struct v2g_cycle {
    struct v2g_arena *arena;
    struct v2g_commit_slot active;   /* the commit in force */
    struct v2g_commit_slot incoming; /* private copy, until its checks are passed */
    struct v2g_plan_slot incoming_plan;
    struct v2g_site_plan site;
    struct v2g_site_state site_state;
    struct v2g_snapshot live; /* plan, image, state, setpoints of this cycle: what a snapshot copies */
    struct v2g_setpoints before;
    struct v2g_state migrated_state;
    struct v2g_image migrated_image;

    struct v2g_can_watch watch[V2G_CAN_MAX_RX]; /* automata of received counters */
    struct bus_watch bus[V2G_MAX_BUSES];
    uint32_t overflow_seen[V2G_MAX_BUSES]; /* the kernel's count at the last look */
    int64_t drained_ns;                    /* when the sockets were last empty */
    int64_t newest_ns[V2G_MAX_EVSES];      /* newest frame taken in this cycle; 0: none */
    bool tighter[V2G_MAX_EVSES];           /* the new setpoint allows or asks less than the one before */
    bool unsent[V2G_CAN_MAX_TX];           /* the queue was full at the last try */
    uint16_t order[V2G_CAN_MAX_TX];        /* in which frames are sent */
    bool fd_frame[V2G_CAN_MAX_TX];
    struct can_io io;

    struct told told;
    uint32_t publish_in; /* cycles until the next snapshot */
    uint32_t late_in_row;
    uint32_t good_in_row;
    bool late;             /* health says so until V2G_ON_TIME_AGAIN */
    uint32_t usage_in;     /* cycles until the thread's page faults and preemptions are looked at */
    uint64_t first_faults; /* before the first cycle */
    uint64_t first_preemptions;
    _Atomic bool stop;
    struct rt_thread thread;
};

/* The loop itself, until cycle->stop. */
void cycle_run(void *cycle);

/* Step 1: the next grid point after `end_ns`, when the cycle of `point_ns` ended. Counts those that went by, judges lateness. */
int64_t cycle_next_point(struct v2g_cycle *cycle, int64_t point_ns, int64_t end_ns);

/* Step 2: take every frame off every bus. */
void cycle_drain(struct v2g_cycle *cycle, int64_t now_ns);

/* Step 4: a newer commit, a newer plan. Returns v2g_commit_check() for a refused commit, else 0. */
uint64_t cycle_adopt_commit(struct v2g_cycle *cycle, int64_t now_ns);
void cycle_adopt_plan(struct v2g_cycle *cycle, int64_t now_ns);

/* Step 8: write cells, then frames, those that tighten first. */
void cycle_send(struct v2g_cycle *cycle);

/* Step 9: what changed, as events; the snapshot, when it is its turn. */
void cycle_tell(struct v2g_cycle *cycle, int64_t now_ns);
void cycle_event(struct v2g_cycle *cycle, int64_t now_ns, enum v2g_event_kind kind, uint32_t index, int64_t a, int64_t b);

#endif
