/* P15: what each step of guard.pml assumes of the guard's code, proven of native/guard/guard_watch.c and guard_peer.c: from any state of
 * the guard, with any message, any descriptors and any answer of the kernel.
 *
 *   it sends only while SENDING, and gets there only from FENCING by taking the sender's lock of the gateway that it fenced;
 *   it writes to that gateway's devices only when the process has ended; it says nothing but 0;
 *   it signals only the process that it watched, and only on its way from watching to FENCING;
 *   it leaves SENDING only for an accepted config; a message never makes it send, and who was fenced is never accepted. */
#define _GNU_SOURCE
#include "assume.h"

#include "v2g_runtime.h"

/* Sockets: can_send is what the proof watches. */
#define V2G_CAN_IO_H
#include <linux/can.h>
struct can_io {
    struct canfd_frame frame[V2G_CAN_MAX_TX];
};
int can_send(struct can_io *io, int fd, int count, const bool *fd_frame);
bool can_command(const struct v2g_can_config *can, const struct v2g_can_tx *tx, uint64_t count,
                 const struct v2g_setpoint *setpoint, struct canfd_frame *frame);

#include "../guard/guard.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- The kernel: any answer, and what the guard did ----------------------------------------------------------------------- */

static struct guard guard;
static struct v2g_arena arena;
static bool ended, lock_held, sent, signalled, sent_while_wrong;
static int signalled_fd;

static int kernel_poll(int fd) {
    prove(fd == guard.peer.pidfd, "P15 it looks at the process it watches");
    return ended ? 1 : 0;
}
static long kernel_signal(int fd, int number) {
    prove(number == SIGKILL, "P15 what is fenced must end");
    signalled = true;
    signalled_fd = fd;
    return 0;
}
static void *kernel_map(void) {
    return nondet_bool() ? (void *)&arena : MAP_FAILED;
}

#define poll(look, count, timeout)                     ((look)->revents = POLLIN, kernel_poll((look)->fd))
#define syscall(number, fd, signal_number, info, flag) kernel_signal(fd, signal_number)
#define close(fd)                                      ((void)(fd))
#define fcntl(fd, command)                             nondet_int()
#define fstat(fd, info)                                (*(info) = (struct stat){.st_size = nondet_long()}, nondet_int())
#define mmap(to, size, protection, flags, fd, from)    kernel_map()
#define munmap(at, size)                               ((void)(at))
#define memcpy(to, from, size)                         (*(to) = *(const __typeof__(*(to)) *)(from))
#define memset(to, zero, size)                         (*(to) = (__typeof__(*(to))){zero})

#include "../guard/guard_peer.c"
#include "../guard/guard_watch.c"

int can_send(struct can_io *io, int fd, int count, const bool *fd_frame) {
    (void)io, (void)fd, (void)fd_frame;
    sent = true;
    sent_while_wrong = sent_while_wrong || guard.state != GUARD_SENDING || !lock_held;
    return count;
}
uint32_t v2g_can_check(const struct v2g_can_config *can, const struct v2g_config *config) {
    (void)can, (void)config;
    return nondet_uint();
}
bool can_command(const struct v2g_can_config *can, const struct v2g_can_tx *tx, uint64_t count,
                 const struct v2g_setpoint *setpoint, struct canfd_frame *frame) {
    (void)can, (void)tx, (void)count, (void)frame;
    prove(setpoint->target_w == 0 && setpoint->min_w == 0 && setpoint->max_w == 0 && setpoint->mode == V2G_MODE_STOP,
          "P15 the guard only ever says 0");
    return nondet_bool();
}
bool sender_take(struct v2g_arena *of) {
    prove(of == guard.peer.arena && of != NULL, "P15 the lock is that of the gateway it watches");
    lock_held = nondet_bool();
    return lock_held;
}
void sender_leave(struct v2g_arena *of) {
    (void)of;
    lock_held = false;
}
bool guard_fallbacks_good(const struct v2g_guard_config *config) {
    (void)config;
    return nondet_bool();
}
void guard_devices_reset(struct guard *g, int64_t now_ns) {
    (void)g, (void)now_ns;
}
void guard_devices_close(struct guard *g) {
    (void)g;
}
void guard_devices_step(struct guard *g, int64_t now_ns) {
    (void)g, (void)now_ns;
    prove(ended && guard.state == GUARD_SENDING, "P15 it writes to the devices of a process that has ended");
}
bool guard_devices_busy(const struct guard *g) {
    (void)g;
    return false;
}
void guard_tell(const char *what, uint64_t boot_id, int64_t silent_ns) {
    (void)what, (void)boot_id, (void)silent_ns;
}

struct guard nondet_guard(void);
struct v2g_guard_hello nondet_hello(void);
struct v2g_guard_config nondet_guard_config(void);

int main(void) {
    guard = nondet_guard();
    ended = nondet_bool();
    arena.runtime_abi = nondet_uint(), arena.bytes = (uint64_t)nondet_long(), arena.boot_id = (uint64_t)nondet_long();
    /* What every state of the guard brings along: an arena for whoever is watched or was fenced, the lock while it sends. */
    assume(guard.state <= GUARD_SENDING);
    assume(guard.peer.config.can.buses <= V2G_MAX_BUSES && guard.peer.config.can.txs <= V2G_CAN_MAX_TX);
    assume(guard.peer.config.can.layouts <= V2G_CAN_MAX_LAYOUTS && guard.peer.config.can.tx[0].layout < V2G_CAN_MAX_LAYOUTS);
    guard.peer.arena = guard.state == GUARD_IDLE && nondet_bool() ? NULL : &arena;
    guard.next.arena = nondet_bool() ? NULL : &arena;
    lock_held = guard.state == GUARD_SENDING;
    assume(guard.state < GUARD_FENCING || guard.fenced_boot_id == guard.peer.boot_id); /* kept by every step below */
    int64_t now_ns = some_time();
    assume(guard.beat_seen_ns >= 0 && guard.beat_seen_ns <= now_ns);
    assume(guard.peer.config.period_ns >= 1000000 && guard.peer.config.period_ns <= 50000000);
    assume(guard.next_send_ns >= 0 && guard.next_send_ns <= now_ns + 50000000);
    const enum guard_state was = guard.state;
    const int pidfd = guard.peer.pidfd;
    const uint64_t boot_id = guard.peer.boot_id, fenced = guard.fenced_boot_id;
#if PART == 1
    guard_step(&guard, now_ns);
    prove(guard.state < GUARD_FENCING || guard.fenced_boot_id == guard.peer.boot_id, "P15 the fenced one is remembered");
    prove(guard.state != GUARD_SENDING || guard.fenced_boot_id == boot_id, "P15 it sends only for the one that it fenced");
    prove(!sent_while_wrong, "P15 it sends only while SENDING, and with the lock");
    prove(guard.state != GUARD_SENDING || lock_held, "P15 while SENDING the lock is its own");
    prove(!signalled || ((was == GUARD_ARMED || was == GUARD_WATCHING) && signalled_fd == pidfd),
          "P15 it ends whom it watched");
    prove(!signalled || guard.fenced_boot_id == boot_id, "P15 and remembers whom");
    prove((was != GUARD_ARMED && was != GUARD_WATCHING) || !ended || guard.state >= GUARD_FENCING,
          "P15 a process that has ended is fenced in the same look");
#else
    static const int fds[V2G_MAX_BUSES + 2];
    int count = some(0, 2);
    uint32_t error;
#if PART == 2
    struct v2g_guard_hello hello = nondet_hello();
    error = guard_hello(&guard, &hello, sizeof hello, fds, count);
    prove(error != V2G_GUARD_OK || (hello.boot_id != fenced && hello.boot_id != 0), "P15 who was fenced is not accepted");
    prove(guard.state == was || guard.state == GUARD_IDLE, "P15 a greeting never makes it watch or send");
    prove((was != GUARD_SENDING && was != GUARD_FENCING) || guard.state == was, "P15 a greeting does not end its sending");
#else
    static struct v2g_guard_config config;
    config = nondet_guard_config();
    error = guard_config(&guard, &config, sizeof config, fds, count, now_ns);
    prove(error == V2G_GUARD_OK || guard.state == was, "P15 a refused config changes nothing");
    prove(error != V2G_GUARD_OK || (guard.state != GUARD_SENDING && guard.state != GUARD_FENCING),
          "P15 when it says yes it sends no more");
    prove(was != GUARD_FENCING || error != V2G_GUARD_OK, "P15 while it fences it accepts nobody");
#endif
    (void)pidfd, (void)boot_id, (void)fenced;
    prove(!sent && !signalled, "P15 a message makes it neither send nor end anybody");
#endif
    return 0;
}
