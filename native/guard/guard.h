/* The guard's own parts: what it knows, and the steps of its loop. */
#ifndef V2G_GUARD_INTERNAL_H
#define V2G_GUARD_INTERNAL_H

#include "../can/can_io.h"
#include "v2g_guard.h"

#include <poll.h>

/*   state      leaves when                                        to
 *   IDLE       a config was accepted                              ARMED, or WATCHING if the heart beats already
 *   ARMED      the heart beats                                    WATCHING
 *   ARMED      no beat for GUARD_START_NS, or the process is gone FENCING
 *   WATCHING   no beat for the time-out, or the process is gone   FENCING
 *   FENCING    the guard has the right to send                    SENDING
 *   SENDING    a process with another boot_id was accepted        ARMED (nothing is sent any more)
 *   any        BYE, unless FENCING or SENDING                     IDLE                                                        */
enum guard_state { GUARD_IDLE, GUARD_ARMED, GUARD_WATCHING, GUARD_FENCING, GUARD_SENDING };

#define GUARD_START_NS   INT64_C(5000000000) /* a process that was accepted has its first cycle by then */
#define GUARD_LOOK_NS    INT64_C(2000000)    /* the heartbeat is looked at this often, or 50 times in the time-out, but then */
#define GUARD_LATEST_NS  INT64_C(10000000)   /* at least this often: each look costs a small machine its time */
#define GUARD_MAX_PACKET (sizeof(struct v2g_guard_config) + 64)

/* What holds for one gateway process. */
struct guard_peer {
    struct v2g_arena *arena; /* NULL: none */
    int arena_fd;            /* -1: none */
    int pidfd;               /* -1: none */
    uint64_t boot_id;
    bool has_config;
    bool may_send; /* the guard holds the arena's right to send, and gives it back before it lets go of the arena */
    struct v2g_guard_config config; /* the guard's private copy */
    int fd[V2G_MAX_BUSES];
};

/* Who said hello while the guard is sending for a dead process. */
struct guard_next {
    struct v2g_arena *arena; /* NULL: nobody */
    int arena_fd;
    int pidfd;
    uint64_t boot_id;
};

/*   phase       leaves when                                              to
 *   CLOSED      it is time to try                                        CONNECTING
 *   CONNECTING  the connection stands: the write is sent                 WAITING
 *   WAITING     the device confirmed the write                           IDLE, and confirmed
 *   IDLE        it is time to write again: what was stopped stays so     WAITING
 *   any         an error, a refusal or no answer in time                 CLOSED                                                */
enum device_phase { DEVICE_CLOSED, DEVICE_CONNECTING, DEVICE_WAITING, DEVICE_IDLE };

/* A Modbus device that the guard stops. */
struct guard_device {
    enum device_phase phase;
    int fd;         /* -1: none */
    int64_t due_ns; /* CLOSED, IDLE: the next try; else: the deadline */
    uint16_t transaction;
    uint16_t received;                /* bytes of the answer so far */
    bool confirmed;                   /* told once */
    bool refused;                     /* told once */
    uint8_t answer[V2G_MODBUS_FRAME]; /* one answer, piece by piece */
};

struct guard {
    enum guard_state state;
    struct guard_peer peer; /* who is watched, or who was fenced */
    struct guard_next next;
    uint64_t fenced_boot_id;
    uint64_t beats;
    int64_t beat_seen_ns; /* when the heartbeat last advanced */
    int64_t next_send_ns;
    struct v2g_guard_config incoming; /* one packet at a time, checked before it replaces anything */
    struct v2g_config counts;         /* what v2g_can_check wants to know of the config: the number of EVSEs */
    struct can_io io;
    struct guard_device device[V2G_GUARD_MAX_FALLBACKS]; /* as in peer.config.fallback */
    struct pollfd look[V2G_GUARD_MAX_FALLBACKS];
};

/* guard_peer.c: messages and descriptors. The descriptors belong to the callee. Return enum v2g_guard_error. */
uint32_t guard_hello(struct guard *guard, const void *packet, size_t size, const int *fds, int count);
uint32_t guard_config(struct guard *guard, const void *packet, size_t size, const int *fds, int count, int64_t now_ns);
void guard_forget(struct guard *guard);

/* guard_watch.c: one look, one step; and when the next is due. */
void guard_step(struct guard *guard, int64_t now_ns);
int64_t guard_next_ns(const struct guard *guard, int64_t now_ns);

/* guard_modbus.c: the devices' stops, while SENDING. Never waits. */
void guard_devices_reset(struct guard *guard, int64_t now_ns);
void guard_devices_close(struct guard *guard);
void guard_devices_step(struct guard *guard, int64_t now_ns);
bool guard_devices_busy(const struct guard *guard);
bool guard_fallbacks_good(const struct v2g_guard_config *config);

/* guard_systemd.c: readiness, signs of life, and descriptors that outlive this process (sd_notify(3), FDSTORE). */
struct manager {
    int fd;     /* the open line to the service manager; -1: there is none */
    bool deaf;  /* the last thing told was not taken: it has not read for long (a reload of all units) */
    bool stale; /* its descriptor store is not what it shall be: systemd_keep or systemd_forget once more */
};
void systemd_open(struct manager *manager);
bool systemd_tell(struct manager *manager, const char *state);
void systemd_keep(struct manager *manager, const struct guard_peer *peer);
void systemd_forget(struct manager *manager);
void systemd_take_back(struct guard *guard, const char *socket, int64_t now_ns);

/* State changes are told once, on stderr. */
void guard_tell(const char *what, uint64_t boot_id, int64_t silent_ns);
void guard_tell_device(const char *what, const struct v2g_guard_fallback *device, int error);

#endif
