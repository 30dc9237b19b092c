/* The Modbus/TCP engine: one epoll set for all devices. Nothing here waits for a single device. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "modbus_socket.h"
#include "modbus_tcp.h"

enum { WAKE_TOKEN = V2G_MODBUS_MAX_DEVICES };

/* Polls begin in slots of this width and as many devices share a slot: enough that one wake-up serves many answers (a wake-up
 * costs about as much as a poll), and few enough that the last of them waits for about a slot. */
static const int64_t SLOT_NS = MB_MS;
enum { SLOT_DEVICES = 128 };

int64_t mb_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MB_S + now.tv_nsec;
}

static struct v2g_modbus_stats *stats_of(struct v2g_modbus_engine *engine, uint32_t device) {
    return &engine->bus.memory.stats[device];
}

static void enter(struct v2g_modbus_engine *engine, uint32_t device, enum v2g_modbus_state state, int64_t now_ns) {
    struct v2g_modbus_stats *stats = stats_of(engine, device);
    engine->conns[device].state = state;
    atomic_store_explicit(&stats->state, (uint32_t)state, memory_order_relaxed);
    atomic_store_explicit(&stats->state_since_ns, now_ns, memory_order_relaxed);
}

static void watch(const struct v2g_modbus_engine *engine, uint32_t device, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = device};
    (void)epoll_ctl(engine->epoll_fd, operation, engine->conns[device].fd, &event);
}

/* Sets the wake-up of a device from its state. */
static void arm(struct v2g_modbus_engine *engine, uint32_t device) {
    const struct mb_conn *conn = &engine->conns[device];
    const struct mb_device *dev = &engine->bus.devices[device];
    int64_t wake = conn->until_ns; /* end of the pause, or the connect deadline */
    if (conn->state == V2G_MODBUS_STATE_UP) {
        wake = mb_deadline_ns(&engine->bus, device);
        wake = dev->poll_due_ns < wake ? dev->poll_due_ns : wake;
        const bool waits_for_gap = dev->open_count == 0U && dev->poll_active;
        wake = waits_for_gap && conn->gap_end_ns < wake ? conn->gap_end_ns : wake;
    }
    mb_timers_set(&engine->timers, device, wake);
}

static void disconnect(struct mb_conn *conn) {
    if (conn->fd >= 0) {
        (void)close(conn->fd);
    }
    conn->fd = -1;
    conn->partial = 0;
    conn->unsent = 0;
    conn->answered = false;
}

/* The device gets a pause. The first time-out keeps the connection: the late answer is known by its transaction. */
static void fail(struct v2g_modbus_engine *engine, uint32_t device, bool keep, int error, int64_t now_ns) {
    struct mb_conn *conn = &engine->conns[device];
    struct mb_device *dev = &engine->bus.devices[device];
    if (error != 0) {
        atomic_store_explicit(&stats_of(engine, device)->last_errno, (uint32_t)error, memory_order_relaxed);
    }
    mb_abandon(&engine->bus, device);
    if (!(keep && dev->failures == 0U && conn->partial == 0U && conn->unsent == 0U)) {
        disconnect(conn);
    }
    dev->failures++;
    conn->until_ns = now_ns + mb_backoff_ns(&engine->bus, device);
    enter(engine, device, V2G_MODBUS_STATE_BACKOFF, now_ns);
    arm(engine, device);
}

/* ---- Sending ------------------------------------------------------------------------------------------------------------ */

/* Sends what stands in `bytes`; what the socket does not take now waits for EPOLLOUT. */
static bool send_bytes(struct v2g_modbus_engine *engine, uint32_t device, const uint8_t *bytes, size_t length) {
    struct mb_conn *conn = &engine->conns[device];
    const ssize_t sent = send(conn->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        return false;
    }
    const size_t done = sent < 0 ? 0U : (size_t)sent;
    const bool was_waiting = conn->unsent != 0U;
    conn->unsent = (uint16_t)(length - done);
    if (conn->unsent != 0U) {
        memmove(conn->out, bytes + done, conn->unsent);
    }
    if (was_waiting != (conn->unsent != 0U)) {
        watch(engine, device, EPOLL_CTL_MOD, conn->unsent != 0U ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
    return true;
}

static size_t append_request(struct v2g_modbus_engine *engine, uint32_t device, int slot, uint8_t *frames) {
    struct mb_conn *conn = &engine->conns[device];
    struct v2g_modbus_request *request = &engine->bus.devices[device].requests[slot];
    request->transaction = ++conn->transaction;
    conn->issued = conn->issued < UINT16_MAX ? (uint16_t)(conn->issued + 1U) : conn->issued;
    return v2g_modbus_build(request, frames);
}

/* Sends what is due and fits the window. */
static void pump(struct v2g_modbus_engine *engine, uint32_t device, int64_t now_ns) {
    struct mb_conn *conn = &engine->conns[device];
    uint8_t frames[MB_OUT + V2G_MODBUS_FRAME];
    size_t length = 0;
    if (conn->state == V2G_MODBUS_STATE_UP && conn->unsent == 0U && now_ns >= conn->gap_end_ns) {
        int slot = mb_next_request(&engine->bus, device, MB_ALL, now_ns);
        while (slot >= 0) {
            length += append_request(engine, device, slot, frames + length);
            slot = mb_next_request(&engine->bus, device, MB_ALL, now_ns);
        }
    }
    if (length != 0U && !send_bytes(engine, device, frames, length)) {
        fail(engine, device, false, errno, now_ns);
        return;
    }
    arm(engine, device);
}

/* ---- Connecting --------------------------------------------------------------------------------------------------------- */

static void connect_failed(struct v2g_modbus_engine *engine, uint32_t device, int error, int64_t now_ns) {
    mb_count(&stats_of(engine, device)->connect_failures, 1);
    fail(engine, device, false, error, now_ns);
}

static void begin_connect(struct v2g_modbus_engine *engine, uint32_t device, int64_t now_ns) {
    const struct v2g_modbus_device *config = &engine->bus.config.devices[device];
    struct mb_conn *conn = &engine->conns[device];
    const int fd = mb_connect(config->family, config->address, config->port, config->scope_id);
    if (fd < 0) {
        connect_failed(engine, device, -fd, now_ns);
        return;
    }
    conn->fd = fd;
    conn->issued = 0;
    conn->strays = 0;
    conn->until_ns = now_ns + config->connect_timeout_ns;
    watch(engine, device, EPOLL_CTL_ADD, EPOLLOUT);
    enter(engine, device, V2G_MODBUS_STATE_CONNECTING, now_ns);
    arm(engine, device);
}

static void up(struct v2g_modbus_engine *engine, uint32_t device, int64_t now_ns) {
    engine->conns[device].gap_end_ns = now_ns;
    enter(engine, device, V2G_MODBUS_STATE_UP, now_ns);
    if (!engine->bus.devices[device].poll_active) {
        mb_poll_align(&engine->bus, device, now_ns);
    }
    pump(engine, device, now_ns);
}

static void finish_connect(struct v2g_modbus_engine *engine, uint32_t device, int64_t now_ns) {
    const int error = mb_connect_result(engine->conns[device].fd);
    if (error != 0) {
        connect_failed(engine, device, error, now_ns);
        return;
    }
    mb_count(&stats_of(engine, device)->connects, 1);
    watch(engine, device, EPOLL_CTL_MOD, EPOLLIN);
    up(engine, device, now_ns);
}

/* ---- Receiving ---------------------------------------------------------------------------------------------------------- */

/* A connection that ends while nothing is open and that had answered is simply made anew; anything else is a failure. */
static void ended_by_device(struct v2g_modbus_engine *engine, uint32_t device, int error, int64_t now_ns) {
    struct mb_conn *conn = &engine->conns[device];
    const struct mb_device *dev = &engine->bus.devices[device];
    mb_count(&stats_of(engine, device)->disconnects, 1);
    if (conn->state != V2G_MODBUS_STATE_UP) { /* already in its pause */
        disconnect(conn);
    } else if (dev->open_count == 0U && conn->answered && error == 0) {
        disconnect(conn);
        for (uint32_t i = dev->point_first; i < dev->point_end; i++) {
            mb_point_lost(&engine->bus, i);
        }
        begin_connect(engine, device, now_ns);
    } else {
        fail(engine, device, false, error, now_ns);
    }
}

/* An answer that nobody waits for any more is normal after a time-out; one that was never asked for is nonsense. */
static bool is_late_answer(struct mb_conn *conn, uint32_t transaction) {
    const uint16_t age = (uint16_t)(conn->transaction - (uint16_t)transaction);
    return age < conn->issued && ++conn->strays <= MB_STRAYS;
}

/* Takes one frame. False: the connection is of no more use. */
static bool take_frame(struct v2g_modbus_engine *engine, uint32_t device, const uint8_t *bytes,
                       const struct v2g_modbus_parsed *parsed, int64_t now_ns) {
    struct mb_conn *conn = &engine->conns[device];
    switch (parsed->verdict) {
    case V2G_MODBUS_REPLY:
    case V2G_MODBUS_EXCEPTION:
        conn->answered = true;
        conn->strays = 0;
        conn->gap_end_ns = now_ns + engine->bus.config.devices[device].gap_ns;
        mb_answered(&engine->bus, device, parsed, bytes, now_ns);
        return true;
    case V2G_MODBUS_UNSOLICITED:
        mb_count(&stats_of(engine, device)->unsolicited, 1);
        return is_late_answer(conn, parsed->transaction);
    default:
        return false;
    }
}

/* Takes all whole frames out of bytes[0…length); the rest is kept for the next time. */
static bool take_frames(struct v2g_modbus_engine *engine, uint32_t device, const uint8_t *bytes, size_t length,
                        int64_t now_ns) {
    struct mb_conn *conn = &engine->conns[device];
    const uint32_t window = engine->bus.config.devices[device].window;
    size_t at = 0;
    struct v2g_modbus_parsed parsed;
    v2g_modbus_parse(bytes, length, engine->bus.devices[device].requests, window, &parsed);
    while (parsed.verdict != V2G_MODBUS_MORE) {
        if (!take_frame(engine, device, bytes + at, &parsed, now_ns)) {
            return false;
        }
        at += parsed.consumed;
        v2g_modbus_parse(bytes + at, length - at, engine->bus.devices[device].requests, window, &parsed);
    }
    conn->partial = (uint16_t)(length - at); /* less than a frame */
    memcpy(conn->in, bytes + at, conn->partial);
    return true;
}

static void receive(struct v2g_modbus_engine *engine, uint32_t device) {
    struct mb_conn *conn = &engine->conns[device];
    const size_t kept = conn->partial;
    memcpy(engine->scratch, conn->in, kept);
    const ssize_t got = recv(conn->fd, engine->scratch + kept, sizeof engine->scratch - kept, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    const int64_t now_ns = mb_now();
    if (got <= 0) {
        ended_by_device(engine, device, got < 0 ? errno : 0, now_ns);
        return;
    }
    if (!take_frames(engine, device, engine->scratch, kept + (size_t)got, now_ns)) {
        mb_count(&stats_of(engine, device)->bad_frames, 1);
        if (conn->state == V2G_MODBUS_STATE_UP) {
            fail(engine, device, false, 0, now_ns);
        } else {
            disconnect(conn);
        }
        return;
    }
    pump(engine, device, now_ns);
}

/* ---- The pass ----------------------------------------------------------------------------------------------------------- */

static void serve(struct v2g_modbus_engine *engine, uint32_t device, uint32_t events) {
    struct mb_conn *conn = &engine->conns[device];
    if (conn->fd < 0) {
        return;
    }
    if (conn->state == V2G_MODBUS_STATE_CONNECTING) {
        finish_connect(engine, device, mb_now());
        return;
    }
    if ((events & EPOLLOUT) != 0U && conn->unsent != 0U) {
        uint8_t rest[MB_OUT];
        const size_t length = conn->unsent;
        memcpy(rest, conn->out, length);
        if (!send_bytes(engine, device, rest, length)) {
            fail(engine, device, false, errno, mb_now());
            return;
        }
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0U) {
        receive(engine, device);
    }
}

/* The wake-up time of a device has come. */
static void wake(struct v2g_modbus_engine *engine, uint32_t device, int64_t now_ns) {
    struct mb_conn *conn = &engine->conns[device];
    if (conn->state == V2G_MODBUS_STATE_CONNECTING) {
        connect_failed(engine, device, ETIMEDOUT, now_ns);
    } else if (conn->state != V2G_MODBUS_STATE_UP) {
        if (conn->fd < 0) {
            begin_connect(engine, device, now_ns);
        } else {
            up(engine, device, now_ns);
        }
    } else if (mb_deadline_ns(&engine->bus, device) <= now_ns) {
        mb_count(&stats_of(engine, device)->timeouts, engine->bus.devices[device].open_count);
        fail(engine, device, true, 0, now_ns);
    } else {
        if (engine->bus.devices[device].poll_due_ns <= now_ns) {
            mb_poll_due(&engine->bus, device, now_ns);
        }
        pump(engine, device, now_ns);
    }
}

static void wake_due(struct v2g_modbus_engine *engine, int64_t now_ns) {
    /* Every wake moves the device's time past now_ns, so each device comes up at most a few times. */
    while (mb_timers_next(&engine->timers) <= now_ns) {
        wake(engine, engine->timers.heap[0], now_ns);
    }
}

/* Looks at the write cells: a new setpoint goes out without waiting for the device's next poll. */
static void scan_writes(struct v2g_modbus_engine *engine, int64_t now_ns) {
    for (uint32_t i = 0; i < engine->writer_count; i++) {
        pump(engine, engine->writers[i], now_ns);
    }
    engine->scan_ns = now_ns + engine->bus.config.write_scan_ns;
}

static int wait_events(struct v2g_modbus_engine *engine, int64_t timeout_ns) {
    const int64_t now_ns = mb_now();
    int64_t until = mb_timers_next(&engine->timers);
    until = engine->writer_count != 0U && engine->scan_ns < until ? engine->scan_ns : until;
    int64_t wait = until <= now_ns ? 0 : until - now_ns;
    wait = wait < timeout_ns ? wait : timeout_ns;
    const struct timespec span = {.tv_sec = wait / MB_S, .tv_nsec = wait % MB_S};
    return epoll_pwait2(engine->epoll_fd, engine->events, MB_EVENTS, &span, NULL);
}

/* Somebody wants a device to be left alone: its connection ends, and the pause is as long as was asked. */
static void begin_silences(struct v2g_modbus_engine *engine, int64_t now_ns) {
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        const int64_t end_ns = mb_take_silence(&engine->bus, i, now_ns);
        if (end_ns != 0) {
            disconnect(&engine->conns[i]);
            engine->conns[i].until_ns = end_ns;
            enter(engine, i, V2G_MODBUS_STATE_BACKOFF, now_ns);
            arm(engine, i);
        }
    }
}

/* Another thread ends the wait: it wants the thread to end, or a device to be left alone. */
static void take_wake(struct v2g_modbus_engine *engine, int64_t now_ns) {
    uint64_t count = 0;
    (void)!read(engine->thread.wake_fd, &count, sizeof count);
    begin_silences(engine, now_ns);
}

/* Answers are taken before deadlines are judged: when the engine itself was late, nobody else is blamed. */
int v2g_modbus_run_once(struct v2g_modbus_engine *engine, int64_t timeout_ns) {
    const int count = wait_events(engine, timeout_ns);
    const int64_t now_ns = mb_now();
    for (int i = 0; i < count; i++) {
        const uint32_t token = engine->events[i].data.u32;
        if (token == WAKE_TOKEN) {
            take_wake(engine, now_ns);
        } else {
            serve(engine, token, engine->events[i].events);
        }
    }
    wake_due(engine, now_ns);
    if (engine->writer_count != 0U && now_ns >= engine->scan_ns) {
        scan_writes(engine, now_ns);
    }
    return count < 0 ? 0 : count;
}

static void run_passes(void *context) {
    struct v2g_modbus_engine *engine = context;
    while (mb_thread_goes_on(&engine->thread)) {
        (void)v2g_modbus_run_once(engine, MB_S);
    }
}

int v2g_modbus_start(struct v2g_modbus_engine *engine, const struct v2g_thread *thread) {
    return mb_thread_start(&engine->thread, thread, "modbus-tcp", run_passes, engine);
}

void v2g_modbus_stop(struct v2g_modbus_engine *engine) {
    mb_thread_stop(&engine->thread);
}

int v2g_modbus_silence(struct v2g_modbus_engine *engine, uint32_t device, int64_t silence_ns, int64_t look_ns) {
    const int refused = mb_ask_silence(&engine->bus, device, silence_ns, look_ns);
    mb_thread_wake(&engine->thread);
    return refused;
}

/* ---- Life --------------------------------------------------------------------------------------------------------------- */

size_t v2g_modbus_engine_size(void) {
    return sizeof(struct v2g_modbus_engine);
}

static int open_descriptors(struct v2g_modbus_engine *engine, char *error, size_t error_size) {
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    const int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = WAKE_TOKEN};
    if (epoll_fd < 0 || wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0) {
        (void)snprintf(error, error_size, "modbus engine: no epoll descriptor: %s", strerror(errno));
        (void)close(epoll_fd);
        (void)close(wake_fd);
        return -1;
    }
    engine->epoll_fd = epoll_fd;
    engine->thread.wake_fd = wake_fd;
    return 0;
}

static bool all_on_network(const struct v2g_modbus_config *config, char *error, size_t error_size) {
    for (uint32_t i = 0; i < config->device_count; i++) {
        if (config->devices[i].family == 0U) {
            (void)snprintf(error, error_size, "modbus device %u: is on a serial line, this engine is for TCP", i);
            return false;
        }
    }
    return true;
}

int v2g_modbus_init(struct v2g_modbus_engine *engine, const struct v2g_modbus_config *config,
                    const struct v2g_modbus_memory *memory, char *error, size_t error_size) {
    if (v2g_modbus_check(config, error, error_size) != 0 || !all_on_network(config, error, error_size) ||
        open_descriptors(engine, error, error_size) != 0) {
        return -1;
    }
    const int64_t now_ns = mb_now();
    mb_plan(&engine->bus, config);
    engine->bus.memory = *memory;
    engine->writer_count = 0;
    engine->scan_ns = now_ns;
    engine->thread.running = false;
    memset(engine->events, 0, sizeof engine->events); /* touched now, not in the thread */
    memset(engine->scratch, 0, sizeof engine->scratch);
    memset(memory->stats, 0, config->device_count * sizeof *memory->stats);
    mb_timers_init(&engine->timers, config->device_count, MB_NEVER);
    for (uint32_t i = 0; i < config->device_count; i++) {
        memset(&engine->conns[i], 0, sizeof engine->conns[i]);
        engine->conns[i].fd = -1;
        enter(engine, i, V2G_MODBUS_STATE_BACKOFF, now_ns);
        mb_timers_set(&engine->timers, i, now_ns);
        engine->bus.devices[i].phase_ns = (int64_t)(i / SLOT_DEVICES) * SLOT_NS % config->devices[i].poll_ns;
        if (engine->bus.devices[i].point_end != 0U) {
            engine->writers[engine->writer_count++] = (uint16_t)i;
        }
    }
    return 0;
}

void v2g_modbus_close(struct v2g_modbus_engine *engine) {
    const int64_t now_ns = mb_now();
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        mb_abandon(&engine->bus, i);
        disconnect(&engine->conns[i]);
        enter(engine, i, V2G_MODBUS_STATE_IDLE, now_ns);
    }
    engine->bus.config.device_count = 0;
    engine->timers.count = 0;
    engine->writer_count = 0;
    (void)close(engine->epoll_fd);
    (void)close(engine->thread.wake_fd);
}
