/* Watching, fencing, sending. The order is the safety argument: nothing is sent before the killed cycle has lost its right to send to
 * the guard (P15, native/core/sender.h). */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../core/sender.h"
#include "guard.h"

static bool has_ended(int pidfd) {
    struct pollfd look = {.fd = pidfd, .events = POLLIN};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLIN) != 0;
}

static void fence(struct guard *guard, bool ended, int64_t now_ns) {
    struct guard_peer *peer = &guard->peer;
    guard_tell(ended ? "the gateway's process has ended" : "the gateway's cycle is silent: ending its process", peer->boot_id,
               now_ns - guard->beat_seen_ns);
    syscall(SYS_pidfd_send_signal, peer->pidfd, SIGKILL, NULL, 0); /* an ended process doesn't mind */
    guard->fenced_boot_id = peer->boot_id;
    guard->state = GUARD_FENCING;
}

/* When the heart beat, as the cycle says; what it says can't be believed when it lies outside what the guard knows. */
static int64_t beat_time(const struct guard *guard, int64_t now_ns) {
    const int64_t said_ns = atomic_load_explicit(&guard->peer.arena->heartbeat.beat_ns, memory_order_relaxed);
    return said_ns >= guard->beat_seen_ns && said_ns <= now_ns ? said_ns : now_ns;
}

static int64_t patience_ns(const struct guard *guard) {
    return guard->state == GUARD_ARMED ? GUARD_START_NS : guard->peer.config.timeout_ns;
}

/* The kernel marks the lock of a dead thread long before its process has ended. */
static bool cycle_has_ended(const struct guard *guard) {
    if (guard->state != GUARD_WATCHING || !sender_take(guard->peer.arena))
        return false;
    sender_leave(guard->peer.arena);
    return true;
}

static void watch(struct guard *guard, int64_t now_ns) {
    struct guard_peer *peer = &guard->peer;
    atomic_store_explicit(&peer->arena->guard.seen_ns, now_ns, memory_order_relaxed);
    const uint64_t beats = atomic_load_explicit(&peer->arena->heartbeat.beats, memory_order_acquire);
    if (beats != guard->beats) {
        guard->beats = beats;
        guard->beat_seen_ns = beat_time(guard, now_ns);
        if (guard->state == GUARD_ARMED)
            guard_tell("watching", peer->boot_id, 0);
        guard->state = GUARD_WATCHING;
    }
    const bool ended = has_ended(peer->pidfd) || cycle_has_ended(guard);
    if (ended || now_ns - guard->beat_seen_ns >= patience_ns(guard))
        fence(guard, ended, now_ns);
}

static int build_frames(struct guard *guard, uint32_t bus, bool *fd_frame) {
    const struct v2g_can_config *can = &guard->peer.config.can;
    const struct v2g_setpoint safe = {.mode = V2G_MODE_STOP};
    int count = 0;
    for (uint32_t i = 0; i < can->txs; i++) {
        const struct v2g_can_tx *tx = &can->tx[i];
        if (tx->bus != bus)
            continue;
        fd_frame[count] = can_command(can, tx, guard->beats, &safe, &guard->io.frame[count]);
        count++;
    }
    return count;
}

static void send_safe(struct guard *guard, int64_t now_ns) {
    bool fd_frame[V2G_CAN_MAX_TX];
    if (now_ns < guard->next_send_ns)
        return;
    guard->beats++;
    for (uint32_t bus = 0; bus < guard->peer.config.can.buses; bus++) {
        const int count = build_frames(guard, bus, fd_frame);
        if (count > 0)
            can_send(&guard->io, guard->peer.fd[bus], count, fd_frame); /* a full queue is tried again in a period */
    }
    guard->next_send_ns += guard->peer.config.period_ns;
    if (guard->next_send_ns <= now_ns)
        guard->next_send_ns = now_ns + guard->peer.config.period_ns;
}

void guard_step(struct guard *guard, int64_t now_ns) {
    if (guard->state == GUARD_ARMED || guard->state == GUARD_WATCHING)
        watch(guard, now_ns);
    if (guard->state == GUARD_FENCING && sender_take(guard->peer.arena)) {
        guard->state = GUARD_SENDING;
        guard->peer.may_send = true;
        guard->next_send_ns = now_ns;
        guard_devices_reset(guard, now_ns);
        /* The counter goes on from the cycle's: one that was cut off may have sent the next one already, so it is skipped. */
        guard->beats = atomic_load_explicit(&guard->peer.arena->heartbeat.beats, memory_order_acquire) + 1;
        guard_tell("sending safe frames", guard->peer.boot_id, now_ns - guard->beat_seen_ns);
    }
    if (guard->state == GUARD_SENDING) {
        send_safe(guard, now_ns);
        if (has_ended(guard->peer.pidfd)) /* then its own connections are closed */
            guard_devices_step(guard, now_ns);
    }
}

static int64_t look_period_ns(const struct guard *guard) {
    const int64_t share_ns = guard->peer.config.timeout_ns / 50;
    return share_ns < GUARD_LOOK_NS ? GUARD_LOOK_NS : share_ns > GUARD_LATEST_NS ? GUARD_LATEST_NS : share_ns;
}

int64_t guard_next_ns(const struct guard *guard, int64_t now_ns) {
    switch (guard->state) {
    case GUARD_IDLE:
        return now_ns + INT64_C(1000000000);
    case GUARD_SENDING: {
        const int64_t look_ns = now_ns + GUARD_LOOK_NS;
        return guard_devices_busy(guard) && look_ns < guard->next_send_ns ? look_ns : guard->next_send_ns;
    }
    case GUARD_FENCING:
        return now_ns + GUARD_LOOK_NS / 4;
    default: {
        const int64_t look_ns = now_ns + look_period_ns(guard), end_ns = guard->beat_seen_ns + patience_ns(guard);
        return end_ns < look_ns ? end_ns : look_ns;
    }
    }
}
