/* v2g_guard.h – what the gateway and its guard say to each other, over an AF_UNIX SOCK_SEQPACKET socket.
 *
 *     gateway → guard   HELLO   with the arena's memfd and a pidfd of the gateway (SCM_RIGHTS)
 *     gateway → guard   CONFIG  before the core uses it: the CAN tables with the CAN sockets in the order of the buses, and what
 *                               stops each Modbus/TCP device
 *     guard → gateway   ANSWER  the guard holds a private copy and does not send (any more)
 *     gateway → guard   BYE     a clean stop: everything was ramped to 0, nobody needs to take over
 *
 * The guard watches the arena's heartbeat. Silent for the time-out, or the cycle gone: it fences the process (SIGKILL through the
 * pidfd) and takes the arena's right to send from the dead cycle (native/core/sender.h); then it sends safe frames every period and,
 * once the process has ended, stops every Modbus device over a connection of its own. It hands back only to another boot_id. */

/* The columns of a data sheet are set by hand. */
/* clang-format off */
#ifndef V2G_GUARD_H
#define V2G_GUARD_H

#include "v2g_runtime.h"

enum {
    V2G_GUARD_ABI = 2,
    V2G_GUARD_MAX_FALLBACKS = 256
};

enum v2g_guard_kind { V2G_GUARD_HELLO = 1, V2G_GUARD_CONFIG, V2G_GUARD_ANSWER, V2G_GUARD_BYE };

struct v2g_guard_hello {
    uint32_t kind;       /* V2G_GUARD_HELLO */
    uint32_t abi;        /* V2G_GUARD_ABI */
    uint64_t boot_id;
};

/* One write that stops a Modbus/TCP device. The fenced process's own connections are closed by then, so a device that takes only
 * one connection takes the guard's. A device on a serial line has none: its own time-out and fallback must have been verified. */
struct v2g_guard_fallback {
    uint8_t family;      /* 4 or 6: IP version */
    uint8_t unit;        /* unit identifier, 0…255 */
    uint16_t port;       /* 1…65535 */
    uint32_t scope_id;   /* interface index of a link-local IPv6 address */
    uint8_t address[16]; /* network byte order; IPv4 in the first four */
    struct v2g_modbus_action stop; /* function 5, 6, 15 or 16 */
};

struct v2g_guard_config {
    uint32_t kind;       /* V2G_GUARD_CONFIG */
    uint32_t epoch;      /* of the config these tables belong to */
    uint64_t boot_id;
    int64_t period_ns;   /* the guard sends this often, 1 ms…50 ms */
    int64_t timeout_ns;  /* silence of the heartbeat before it takes over, 20 ms…10 s */
    uint32_t evses;
    uint32_t fallbacks;
    struct v2g_can_config can;
    struct v2g_guard_fallback fallback[V2G_GUARD_MAX_FALLBACKS];
};

/* error: 0, or why the guard refuses; then it goes on with what it had. */
enum v2g_guard_error {
    V2G_GUARD_OK = 0,
    V2G_GUARD_BAD_MESSAGE,    /* length, kind, abi or number of descriptors */
    V2G_GUARD_BAD_ARENA,      /* not sealed, wrong size or another boot_id */
    V2G_GUARD_BAD_TABLES,     /* v2g_can_check or the check of the fallbacks refuses them */
    V2G_GUARD_SAME_BOOT       /* this process was fenced: only another one may take over */
};

struct v2g_guard_answer {
    uint32_t kind;       /* V2G_GUARD_ANSWER */
    uint32_t epoch;      /* 0 for HELLO */
    uint32_t error;      /* enum v2g_guard_error */
    uint32_t reserved;
};

#endif
