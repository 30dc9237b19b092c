/* State of the hub: members, the wire, impairments. All of it is one static object; nothing is allocated after start. */
#ifndef V2G_HUB_H
#define V2G_HUB_H

#include <linux/can.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire_time.h"

enum {
    HUB_MEMBERS = 64,     /* connections at a time; one more is refused */
    HUB_TX_FRAMES = 16,   /* a member's transmit queue on a paced wire, as in a controller; full: the member is not read */
    HUB_RX_FRAMES = 1024, /* frames kept for a member that reads slowly; the oldest is dropped for a newer one */
    HUB_RULES = 16,       /* drop and corrupt rules at a time */
    HUB_BATCH = 32,       /* frames per system call */
    HUB_REPLY_BYTES = 32768
};

struct hub_frame {
    struct canfd_frame frame; /* a struct can_frame lies at the same offsets */
    size_t size;              /* bytes of the packet: CAN_MTU or CANFD_MTU */
    uint64_t queued_ns;       /* CLOCK_MONOTONIC when the hub read it */
};

struct ring {
    struct hub_frame *slot;
    uint32_t capacity;
    uint32_t first;
    uint32_t count;
};

struct member {
    int fd; /* -1: slot is free */
    pid_t pid;
    bool bus_off;               /* neither sends nor receives until restarted */
    bool fill;                  /* not read, so that its send buffer fills up */
    uint32_t interest;          /* epoll events asked for at present */
    struct ring tx;             /* from the member to the wire */
    struct ring rx;             /* from the wire to the member */
    uint64_t sent;              /* frames accepted from the member */
    uint64_t delivered;         /* frames handed to the member */
    uint64_t dropped_oldest;    /* frames lost because the member read too slowly */
    uint64_t discarded_bus_off; /* frames it sent while bus-off */
    uint64_t malformed;         /* packets that are no frame */
};

enum rule_action { RULE_FREE, RULE_DROP, RULE_CORRUPT };

struct rule {
    enum rule_action action;
    canid_t can_id;
    uint32_t left; /* frames still to be hit; 0: until cleared */
};

struct wire {
    struct wire_rate rate;
    bool busy;
    struct hub_frame current; /* on the wire while busy */
    int sender;               /* slot that sent it; -1: it has left */
    uint64_t end_ns;          /* end of the current or last frame */
    uint64_t busy_ns;         /* sum of frame times */
};

struct hub {
    int epoll_fd, listen_fd, ctl_fd, timer_fd, signal_fd;
    bool exit_when_empty;
    bool fill; /* new members start unread */
    bool running;
    uint64_t start_ns;
    struct wire wire;
    struct member member[HUB_MEMBERS];
    struct rule rule[HUB_RULES];
    uint64_t frames; /* frames that reached the end of the wire */
    uint64_t rule_dropped;
    uint64_t rule_corrupted;
    uint64_t refused_members;
};

enum hub_error { HUB_ERROR_ACTIVE, HUB_ERROR_WARNING, HUB_ERROR_PASSIVE };

uint64_t hub_now_ns(void);

/* What the control commands do; each acts on one member and counts. */
void hub_controller_state(struct hub *hub, struct member *m, enum hub_error state);
void hub_bus_off(struct hub *hub, struct member *m);
void hub_restart(struct hub *hub, struct member *m);
void hub_set_fill(struct hub *hub, struct member *m, bool on);

/* Executes one control line and writes one JSON line (NUL-terminated, at most HUB_REPLY_BYTES) to `reply`. */
void hub_command(struct hub *hub, char *line, char *reply);

#endif
