/* Who is watched: the arena, the process and the CAN sockets it handed over. Everything is checked before it replaces anything. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/sender.h"
#include "guard.h"

static void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

static void close_buses(struct guard_peer *peer) {
    for (uint32_t bus = 0; peer->has_config && bus < peer->config.can.buses; bus++)
        close(peer->fd[bus]);
    peer->has_config = false;
}

static void drop_process(struct v2g_arena *arena, int arena_fd, int pidfd) {
    if (arena != NULL)
        munmap(arena, sizeof *arena);
    if (arena_fd >= 0)
        close(arena_fd);
    if (pidfd >= 0)
        close(pidfd);
}

void guard_forget(struct guard *guard) {
    guard_devices_close(guard);
    if (guard->peer.may_send)
        sender_leave(guard->peer.arena);
    guard->peer.may_send = false;
    drop_process(guard->peer.arena, guard->peer.arena_fd, guard->peer.pidfd);
    close_buses(&guard->peer);
    guard->peer.arena = NULL;
    guard->peer.arena_fd = -1;
    guard->peer.pidfd = -1;
}

/* Only a memfd that nobody can shrink under the guard's feet is mapped. */
static struct v2g_arena *map_arena(int fd, uint64_t boot_id) {
    struct stat info;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(fd, &info) != 0 || (size_t)info.st_size != sizeof(struct v2g_arena))
        return NULL;
    struct v2g_arena *arena = mmap(NULL, sizeof *arena, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (arena == MAP_FAILED)
        return NULL;
    if (arena->runtime_abi == V2G_RUNTIME_ABI && arena->bytes == sizeof *arena && arena->boot_id == boot_id)
        return arena;
    munmap(arena, sizeof *arena);
    return NULL;
}

uint32_t guard_hello(struct guard *guard, const void *packet, size_t size, const int *fds, int count) {
    struct v2g_guard_hello hello = {0};
    uint32_t error = size == sizeof hello && count == 2 ? V2G_GUARD_OK : V2G_GUARD_BAD_MESSAGE;
    if (error == V2G_GUARD_OK)
        memcpy(&hello, packet, sizeof hello);
    if (error == V2G_GUARD_OK && hello.abi != V2G_GUARD_ABI)
        error = V2G_GUARD_BAD_MESSAGE;
    if (error == V2G_GUARD_OK && (hello.boot_id == guard->fenced_boot_id || hello.boot_id == 0))
        error = V2G_GUARD_SAME_BOOT;
    struct v2g_arena *arena = error == V2G_GUARD_OK ? map_arena(fds[0], hello.boot_id) : NULL;
    if (arena == NULL) {
        close_all(fds, count);
        return error != V2G_GUARD_OK ? error : V2G_GUARD_BAD_ARENA;
    }
    if (guard->state == GUARD_SENDING || guard->state == GUARD_FENCING) {
        /* The dead process's frames and sockets stay in use until the newcomer's config is accepted. */
        drop_process(guard->next.arena, guard->next.arena_fd, guard->next.pidfd);
        guard->next = (struct guard_next){arena, fds[0], fds[1], hello.boot_id};
        return V2G_GUARD_OK;
    }
    if (guard->peer.boot_id == hello.boot_id && guard->peer.arena != NULL) { /* the same process after a lost connection */
        drop_process(guard->peer.arena, guard->peer.arena_fd, guard->peer.pidfd);
    } else {
        guard_forget(guard);
        guard->state = GUARD_IDLE;
    }
    guard->peer.arena = arena;
    guard->peer.arena_fd = fds[0];
    guard->peer.pidfd = fds[1];
    guard->peer.boot_id = hello.boot_id;
    return V2G_GUARD_OK;
}

static bool plausible(const struct v2g_guard_config *config, int count) {
    return config->evses <= V2G_MAX_EVSES && config->can.buses <= V2G_MAX_BUSES && config->can.buses == (uint32_t)count &&
           config->epoch != 0 && config->period_ns >= 1000000 && config->period_ns <= 50000000 &&
           config->timeout_ns >= 20000000 && config->timeout_ns <= INT64_C(10000000000);
}

static uint32_t judge(struct guard *guard, const void *packet, size_t size, int count, uint64_t expected_boot_id) {
    if (size != sizeof guard->incoming)
        return V2G_GUARD_BAD_MESSAGE;
    memcpy(&guard->incoming, packet, sizeof guard->incoming);
    if (guard->incoming.boot_id != expected_boot_id || !plausible(&guard->incoming, count))
        return V2G_GUARD_BAD_MESSAGE;
    guard->counts.evses = guard->incoming.evses;
    const bool good = v2g_can_check(&guard->incoming.can, &guard->counts) == 0 && guard_fallbacks_good(&guard->incoming);
    return good ? V2G_GUARD_OK : V2G_GUARD_BAD_TABLES;
}

/* The core may use this config from now on; until it does, the one before counts as known too. */
static void acknowledge(const struct guard_peer *peer, int64_t now_ns) {
    struct v2g_guard_word *word = &peer->arena->guard;
    const uint32_t before = atomic_load_explicit(&word->config_epoch, memory_order_relaxed);
    atomic_store_explicit(&word->previous_epoch, before, memory_order_relaxed);
    atomic_store_explicit(&word->timeout_ns, peer->config.timeout_ns, memory_order_relaxed);
    atomic_store_explicit(&word->seen_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&word->config_epoch, peer->config.epoch, memory_order_release);
}

uint32_t guard_config(struct guard *guard, const void *packet, size_t size, const int *fds, int count, int64_t now_ns) {
    struct guard_peer *peer = &guard->peer;
    const bool sending = guard->state == GUARD_SENDING;
    const bool somebody = sending ? guard->next.arena != NULL : peer->arena != NULL && guard->state != GUARD_FENCING;
    const uint32_t error =
        somebody ? judge(guard, packet, size, count, sending ? guard->next.boot_id : peer->boot_id) : V2G_GUARD_BAD_MESSAGE;
    if (error != V2G_GUARD_OK) {
        close_all(fds, count);
        return error;
    }
    if (sending) { /* from here on this process sends nothing */
        guard_forget(guard);
        peer->arena = guard->next.arena;
        peer->arena_fd = guard->next.arena_fd;
        peer->pidfd = guard->next.pidfd;
        peer->boot_id = guard->next.boot_id;
        guard->next = (struct guard_next){NULL, -1, -1, 0};
        guard->state = GUARD_IDLE;
    }
    close_buses(peer);
    memcpy(&peer->config, &guard->incoming, sizeof guard->incoming);
    memcpy(peer->fd, fds, (size_t)count * sizeof fds[0]);
    peer->has_config = true;
    acknowledge(peer, now_ns);
    if (guard->state == GUARD_IDLE) {
        guard->beats = atomic_load_explicit(&peer->arena->heartbeat.beats, memory_order_acquire);
        guard->state = guard->beats > 0 ? GUARD_WATCHING : GUARD_ARMED;
        guard->beat_seen_ns = now_ns;
    }
    return V2G_GUARD_OK;
}
