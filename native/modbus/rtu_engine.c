/* The Modbus RTU engine: one request at a time, silence between frames, what is due first goes first.
 *
 * An RTU answer carries no number, so a late answer could be taken for the answer to the next, equal request. After a time-out
 * the slave is left alone, whatever it still says is thrown away until the line is quiet, and it is believed again only after
 * it has answered a request that differs from the one it missed. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rtu.h"

enum { BAD_FRAMES_IN_A_ROW = 2 /* one disturbed frame is no reason for a pause */ };

static const int64_t ADAPTER_NS = 20 * MB_MS; /* USB adapters hand characters over up to 16 ms late (FTDI's latency timer) */
static const int64_t EARLY_NS = 60000;        /* what a timer oversleeps on an ordinary kernel */
static const int64_t RETRY_NS = MB_S;         /* of a refused write: the line is everybody's */

static struct v2g_modbus_stats *stats_of(struct v2g_rtu_engine *engine, uint32_t device) {
    return &engine->bus.memory.stats[device];
}

static void enter(struct v2g_rtu_engine *engine, uint32_t device, enum v2g_modbus_state state, int64_t now_ns) {
    struct v2g_modbus_stats *stats = stats_of(engine, device);
    atomic_store_explicit(&stats->state, (uint32_t)state, memory_order_relaxed);
    atomic_store_explicit(&stats->state_since_ns, now_ns, memory_order_relaxed);
}

/* The slave gets a pause. */
static void fail(struct v2g_rtu_engine *engine, uint32_t device, int64_t now_ns) {
    mb_abandon(&engine->bus, device);
    engine->bus.devices[device].failures++;
    engine->doubtful[device] = true;
    engine->until_ns[device] = now_ns + mb_backoff_ns(&engine->bus, device);
    enter(engine, device, V2G_MODBUS_STATE_BACKOFF, now_ns);
}

static void keep_silence(struct v2g_rtu_engine *engine, int64_t from_ns, int64_t gap_ns) {
    const int64_t silence = engine->schedule.silence_ns;
    engine->phase = RTU_SILENCE;
    engine->quiet_ns = from_ns + (gap_ns > silence ? gap_ns : silence);
    engine->length = 0;
}

/* ---- The port ------------------------------------------------------------------------------------------------------------ */

static void port_lost(struct v2g_rtu_engine *engine, int error, int64_t now_ns) {
    if (engine->fd >= 0) {
        (void)close(engine->fd);
        engine->fd = -1;
    }
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        atomic_store_explicit(&stats_of(engine, i)->last_errno, (uint32_t)error, memory_order_relaxed);
        mb_count(&stats_of(engine, i)->connect_failures, 1);
        mb_abandon(&engine->bus, i);
        enter(engine, i, V2G_MODBUS_STATE_CONNECTING, now_ns);
    }
    int64_t pause = engine->bus.config.backoff_min_ns;
    for (uint32_t i = 0; i < engine->open_failures && pause < engine->bus.config.backoff_max_ns; i++) {
        pause *= 2;
    }
    engine->open_failures++;
    engine->open_ns = now_ns + (pause < engine->bus.config.backoff_max_ns ? pause : engine->bus.config.backoff_max_ns);
}

static void device_up(struct v2g_rtu_engine *engine, uint32_t device, int64_t now_ns) {
    engine->until_ns[device] = 0;
    enter(engine, device, V2G_MODBUS_STATE_UP, now_ns);
    mb_poll_align(&engine->bus, device, now_ns);
}

static void open_port(struct v2g_rtu_engine *engine, int64_t now_ns) {
    const int fd = rtu_open(&engine->line);
    if (fd < 0) {
        port_lost(engine, -fd, now_ns);
        return;
    }
    engine->fd = fd;
    engine->open_failures = 0;
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        mb_count(&stats_of(engine, i)->connects, 1);
        engine->doubtful[i] = true; /* who knows what is still on the line */
        device_up(engine, i, now_ns);
    }
    keep_silence(engine, now_ns, 0);
}

/* ---- Asking --------------------------------------------------------------------------------------------------------------- */

/* A read that cannot be mistaken for the one that was missed: its answer has another length. */
static int make_probe(struct v2g_rtu_engine *engine, uint32_t device, int64_t now_ns) {
    struct mb_device *dev = &engine->bus.devices[device];
    const struct mb_block *block = &engine->bus.blocks[dev->block_first];
    const bool bits = block->function <= V2G_MODBUS_DISCRETE;
    const uint16_t step = bits ? 8 : 1;
    dev->requests[0] = (struct v2g_modbus_request){
        .unit = engine->bus.config.devices[device].unit,
        .function = block->function,
        .address = block->address,
        .count = (uint16_t)(block->count > step ? block->count - step : block->count + step),
    };
    dev->open[0] = (struct mb_open){.kind = MB_PROBE, .sent_ns = now_ns};
    dev->open_count = 1;
    mb_count(&stats_of(engine, device)->requests, 1);
    return 0;
}

/* The active device whose poll must end first. */
static bool choose_poll(struct v2g_rtu_engine *engine, uint32_t *device) {
    int64_t first = MB_NEVER;
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        const struct mb_device *dev = &engine->bus.devices[i];
        if (engine->until_ns[i] == 0 && dev->poll_active && dev->poll_due_ns < first) {
            first = dev->poll_due_ns;
            *device = i;
        }
    }
    return first != MB_NEVER;
}

static bool choose_write(struct v2g_rtu_engine *engine, int64_t now_ns) {
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        const bool has_writes = engine->bus.devices[i].point_end != 0U;
        engine->slot =
            has_writes && engine->until_ns[i] == 0 ? mb_next_request(&engine->bus, i, MB_WRITE | MB_READ_BACK, now_ns) : -1;
        if (engine->slot >= 0) {
            engine->device = i;
            return true;
        }
    }
    return false;
}

static bool choose(struct v2g_rtu_engine *engine, int64_t now_ns) {
    if (choose_write(engine, now_ns)) {
        return true;
    }
    while (choose_poll(engine, &engine->device)) {
        engine->slot = engine->doubtful[engine->device] ? make_probe(engine, engine->device, now_ns)
                                                        : mb_next_request(&engine->bus, engine->device, MB_POLL, now_ns);
        if (engine->slot >= 0) {
            return true;
        }
    }
    return false;
}

static void ask(struct v2g_rtu_engine *engine, int64_t now_ns) {
    const struct v2g_modbus_request *request = &engine->bus.devices[engine->device].requests[engine->slot];
    const int64_t reply_timeout_ns = engine->bus.config.devices[engine->device].reply_timeout_ns;
    const int64_t char_ns = engine->schedule.char_ns;
    uint8_t frame[V2G_RTU_FRAME];
    const size_t length = v2g_rtu_build(request, frame);
    rtu_drain(engine->fd);
    engine->length = 0;
    engine->skip_ns = now_ns;
    engine->phase = RTU_ANSWER;
    /* The line is quiet: the request leaves now and takes exactly its characters. */
    engine->deadline_ns = now_ns + (int64_t)length * char_ns + reply_timeout_ns;
    engine->latest_ns = engine->deadline_ns + v2g_rtu_answer_length(request) * char_ns + ADAPTER_NS;
    const ssize_t sent = rtu_send(&engine->line, engine->fd, frame, length);
    if (sent != (ssize_t)length) {
        port_lost(engine, sent < 0 ? errno : EIO, now_ns);
    }
}

/* ---- Answers -------------------------------------------------------------------------------------------------------------- */

static void probe_answered(struct v2g_rtu_engine *engine, int64_t now_ns) {
    struct mb_device *dev = &engine->bus.devices[engine->device];
    struct v2g_modbus_stats *stats = stats_of(engine, engine->device);
    dev->requests[0].function = 0;
    dev->open_count = 0;
    engine->doubtful[engine->device] = false;
    mb_count(&stats->replies, 1);
    atomic_store_explicit(&stats->last_reply_ns, now_ns, memory_order_relaxed);
}

static void answered(struct v2g_rtu_engine *engine, const struct v2g_modbus_parsed *parsed, int64_t now_ns) {
    struct v2g_modbus_parsed here = *parsed;
    here.request = (uint32_t)engine->slot;
    if (engine->bus.devices[engine->device].open[engine->slot].kind == MB_PROBE) {
        probe_answered(engine, now_ns);
    } else {
        mb_answered(&engine->bus, engine->device, &here, engine->bytes, now_ns);
    }
    keep_silence(engine, now_ns, engine->bus.config.devices[engine->device].gap_ns);
}

/* A disturbed frame costs this poll; two in a row cost a pause. */
static void disturbed(struct v2g_rtu_engine *engine, int64_t now_ns) {
    struct mb_device *dev = &engine->bus.devices[engine->device];
    mb_count(&stats_of(engine, engine->device)->bad_frames, 1);
    if (dev->failures + 1U >= BAD_FRAMES_IN_A_ROW) {
        fail(engine, engine->device, now_ns);
    } else {
        dev->failures++;
        mb_drop_request(&engine->bus, engine->device, engine->slot);
        engine->doubtful[engine->device] = true;
    }
    keep_silence(engine, now_ns, 0);
}

static void take(struct v2g_rtu_engine *engine, int64_t now_ns) {
    struct v2g_modbus_parsed parsed;
    const struct v2g_modbus_request *request = &engine->bus.devices[engine->device].requests[engine->slot];
    v2g_rtu_parse(engine->bytes, engine->length, request, &parsed);
    switch (parsed.verdict) {
    case V2G_MODBUS_MORE:
        if (engine->length != 0U) { /* it has begun: now its characters count */
            const int64_t rest = (int64_t)v2g_rtu_answer_length(request) - engine->length;
            const int64_t end_ns = now_ns + rest * engine->schedule.char_ns + ADAPTER_NS;
            engine->deadline_ns = end_ns < engine->latest_ns ? end_ns : engine->latest_ns;
        }
        return;
    case V2G_MODBUS_UNSOLICITED: /* another slave is late: its frame is thrown away, the answer may still come */
        mb_count(&stats_of(engine, engine->device)->unsolicited, 1);
        engine->length = 0;
        engine->skip_ns = now_ns + engine->schedule.silence_ns;
        return;
    case V2G_MODBUS_BAD:
        disturbed(engine, now_ns);
        return;
    default:
        answered(engine, &parsed, now_ns);
    }
}

static void receive(struct v2g_rtu_engine *engine) {
    const ssize_t got = read(engine->fd, engine->bytes + engine->length, sizeof engine->bytes - engine->length);
    const int64_t now_ns = mb_now();
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        port_lost(engine, got < 0 ? errno : EIO, now_ns);
        return;
    }
    if (engine->phase == RTU_SILENCE) { /* nobody was asked: wait until it is quiet again */
        mb_count(&stats_of(engine, engine->device)->unsolicited, 1);
        keep_silence(engine, now_ns, 0);
        return;
    }
    if (now_ns < engine->skip_ns) {
        engine->skip_ns = now_ns + engine->schedule.silence_ns;
        return;
    }
    engine->length += (uint32_t)got;
    take(engine, now_ns);
}

/* ---- The pass -------------------------------------------------------------------------------------------------------------- */

/* What already lies in the port is taken before the deadline is judged: when the engine was late, no slave is blamed. */
static void deadline(struct v2g_rtu_engine *engine, int64_t now_ns) {
    receive(engine);
    if (engine->fd < 0 || engine->phase != RTU_ANSWER || now_ns < engine->deadline_ns) {
        return;
    }
    mb_count(&stats_of(engine, engine->device)->timeouts, 1);
    fail(engine, engine->device, now_ns);
    keep_silence(engine, now_ns, 0);
}

/* Somebody wants a slave to be left alone. What it may still answer is thrown away. */
static void begin_silences(struct v2g_rtu_engine *engine, int64_t now_ns) {
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        const int64_t end_ns = mb_take_silence(&engine->bus, i, now_ns);
        if (end_ns == 0) {
            continue;
        }
        if (engine->phase == RTU_ANSWER && engine->device == i) {
            keep_silence(engine, now_ns, engine->bus.config.devices[i].reply_timeout_ns);
        }
        engine->doubtful[i] = true;
        engine->until_ns[i] = end_ns;
        enter(engine, i, V2G_MODBUS_STATE_BACKOFF, now_ns);
    }
}

static void begin_polls(struct v2g_rtu_engine *engine, int64_t now_ns) {
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        if (engine->until_ns[i] != 0 && now_ns >= engine->until_ns[i]) {
            device_up(engine, i, now_ns);
        }
        if (engine->until_ns[i] == 0 && now_ns >= engine->bus.devices[i].poll_due_ns) {
            mb_poll_due(&engine->bus, i, now_ns);
        }
    }
}

/* A timer wakes late by more than a character takes at 115200 baud. So the thread wakes a little early, and when there is
 * something to send it watches the clock for the rest of the silence. */
static void begin_request(struct v2g_rtu_engine *engine, int64_t now_ns) {
    const int64_t begin_ns = now_ns > engine->quiet_ns ? now_ns : engine->quiet_ns;
    if (!choose(engine, begin_ns)) {
        return;
    }
    while (now_ns < begin_ns) {
        now_ns = mb_now();
    }
    ask(engine, now_ns);
}

/* Does what is due at `now_ns` and returns when to look again. */
static int64_t step(struct v2g_rtu_engine *engine, int64_t now_ns) {
    if (engine->fd < 0 && now_ns >= engine->open_ns) {
        open_port(engine, now_ns);
    }
    if (engine->fd < 0) {
        return engine->open_ns;
    }
    begin_polls(engine, now_ns);
    if (engine->phase == RTU_ANSWER && now_ns >= engine->deadline_ns) {
        deadline(engine, now_ns);
    }
    if (engine->fd >= 0 && engine->phase == RTU_SILENCE && now_ns >= engine->quiet_ns - EARLY_NS) {
        begin_request(engine, now_ns);
    }
    if (engine->fd < 0) {
        return engine->open_ns;
    }
    return engine->phase == RTU_ANSWER ? engine->deadline_ns : MB_NEVER;
}

/* When something falls due on a line that has nothing to do. */
static int64_t next_due(const struct v2g_rtu_engine *engine, int64_t now_ns) {
    int64_t next = engine->bus.config.write_count != 0U ? now_ns + engine->bus.config.write_scan_ns : MB_NEVER;
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        const int64_t due = engine->until_ns[i] != 0 ? engine->until_ns[i] : engine->bus.devices[i].poll_due_ns;
        next = due < next ? due : next;
    }
    const int64_t quiet_ns = engine->quiet_ns - EARLY_NS;
    return quiet_ns > now_ns && quiet_ns < next ? quiet_ns : next;
}

int v2g_rtu_run_once(struct v2g_rtu_engine *engine, int64_t timeout_ns) {
    int64_t now_ns = mb_now();
    int64_t until = step(engine, now_ns);
    until = until == MB_NEVER ? next_due(engine, now_ns) : until;
    int64_t wait = until > now_ns ? until - now_ns : 0;
    wait = wait < timeout_ns ? wait : timeout_ns;
    const struct timespec span = {.tv_sec = wait / MB_S, .tv_nsec = wait % MB_S};
    struct pollfd watched[2] = {{.fd = engine->thread.wake_fd, .events = POLLIN}, {.fd = engine->fd, .events = POLLIN}};
    const int ready = ppoll(watched, 2, &span, NULL);
    if (watched[0].revents != 0) {
        uint64_t count;
        (void)!read(engine->thread.wake_fd, &count, sizeof count);
        begin_silences(engine, mb_now());
    }
    if (ready > 0 && watched[1].revents != 0) {
        receive(engine);
    }
    return ready > 0 ? ready : 0;
}

/* ---- Life ------------------------------------------------------------------------------------------------------------------ */

static void run_passes(void *context) {
    struct v2g_rtu_engine *engine = context;
    while (mb_thread_goes_on(&engine->thread)) {
        (void)v2g_rtu_run_once(engine, MB_S);
    }
}

int v2g_rtu_start(struct v2g_rtu_engine *engine, const struct v2g_thread *thread) {
    return mb_thread_start(&engine->thread, thread, "modbus-rtu", run_passes, engine);
}

void v2g_rtu_stop(struct v2g_rtu_engine *engine) {
    mb_thread_stop(&engine->thread);
}

int v2g_rtu_silence(struct v2g_rtu_engine *engine, uint32_t device, int64_t silence_ns, int64_t look_ns) {
    const int refused = mb_ask_silence(&engine->bus, device, silence_ns, look_ns);
    mb_thread_wake(&engine->thread);
    return refused;
}

size_t v2g_rtu_engine_size(void) {
    return sizeof(struct v2g_rtu_engine);
}

/* The schedule counts on it that a setpoint is not written more often than its device is polled. */
static void slow_writes(struct mb_bus *bus) {
    bus->retry_ns = RETRY_NS;
    for (uint32_t i = 0; i < bus->config.write_count; i++) {
        struct v2g_modbus_write *write = &bus->config.writes[i];
        const int64_t poll_ns = bus->config.devices[write->device].poll_ns;
        write->min_interval_ns = write->min_interval_ns > poll_ns ? write->min_interval_ns : poll_ns;
    }
}

int v2g_rtu_init(struct v2g_rtu_engine *engine, const struct v2g_modbus_config *config, const struct v2g_rtu_line *line,
                 const struct v2g_modbus_memory *memory, char *error, size_t error_size) {
    struct v2g_rtu_schedule schedule;
    if (v2g_rtu_check(config, line, &schedule, error, error_size) != 0) {
        return -1;
    }
    const int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd < 0) {
        (void)snprintf(error, error_size, "rtu line %s: no event descriptor: %s", line->path, strerror(errno));
        return -1;
    }
    memset(engine, 0, offsetof(struct v2g_rtu_engine, bus));
    engine->fd = -1;
    engine->line = *line;
    engine->schedule = schedule;
    engine->thread.wake_fd = wake_fd;
    mb_plan(&engine->bus, config);
    slow_writes(&engine->bus);
    rtu_phases(&engine->bus, &schedule);
    engine->bus.memory = *memory;
    memset(memory->stats, 0, config->device_count * sizeof *memory->stats);
    engine->open_ns = mb_now();
    for (uint32_t i = 0; i < config->device_count; i++) {
        enter(engine, i, V2G_MODBUS_STATE_CONNECTING, engine->open_ns);
    }
    return 0;
}

void v2g_rtu_close(struct v2g_rtu_engine *engine) {
    const int64_t now_ns = mb_now();
    for (uint32_t i = 0; i < engine->bus.config.device_count; i++) {
        mb_abandon(&engine->bus, i);
        enter(engine, i, V2G_MODBUS_STATE_IDLE, now_ns);
    }
    if (engine->fd >= 0) {
        (void)close(engine->fd);
    }
    engine->fd = -1;
    engine->bus.config.device_count = 0;
    (void)close(engine->thread.wake_fd);
}
