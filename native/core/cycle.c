/* The loop: steps 1 to 9 of one cycle, on an absolute grid. System calls: clock_nanosleep, clock_gettime, recvmmsg, getsockopt
 * (does a queue still hold frames?), sendmmsg, and getrusage now and then (native/tests/test_quiet.c holds it to these). */
#include "cycle.h"
#include "sender.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

static int64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t v2g_now_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

struct v2g_cycle *v2g_cycle_new(struct v2g_arena *arena) {
    struct v2g_cycle *cycle = mmap(NULL, sizeof *cycle, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (cycle == MAP_FAILED)
        return NULL;
    memset(cycle, 0, sizeof *cycle); /* touched here, not in the cycle */
    cycle->arena = arena;
    cycle->live.boot_id = arena->boot_id;
    v2g_image_init(&cycle->live.image);
    v2g_state_init(&cycle->live.state);
    v2g_site_init(&cycle->site_state);
    return cycle;
}

void v2g_cycle_free(struct v2g_cycle *cycle) {
    munmap(cycle, sizeof *cycle);
}

/* ---- Step 2 ---------------------------------------------------------------------------------------------------------------- */

static void take_frame(struct v2g_cycle *cycle, uint32_t bus, const struct can_arrival *arrival) {
    struct v2g_bus_stats *stats = &cycle->live.bus[bus];
    if (arrival->has_overflow) {
        stats->overflow += arrival->overflow - cycle->overflow_seen[bus];
        cycle->overflow_seen[bus] = arrival->overflow;
    }
    if (arrival->frame->can_id & CAN_ERR_FLAG) {
        stats->error_frames++;
        cycle->bus[bus].controller = can_error_state(arrival->frame, cycle->bus[bus].controller);
        return;
    }
    stats->received++;
    if (cycle->bus[bus].controller == V2G_BUS_OFF) /* it hears again, whether or not the restart was announced */
        cycle->bus[bus].controller = V2G_BUS_UP;
    const int evse =
        can_apply(&cycle->active.commit.can, cycle->watch, bus, arrival, &cycle->live.image, stats, cycle->live.bad_frames);
    if (evse >= 0)
        cycle->newest_ns[evse] = arrival->acquired_ns;
}

static void drain_bus(struct v2g_cycle *cycle, uint32_t bus, const struct can_clock *clock) {
    const int fd = cycle->active.commit.can.fd[bus];
    for (int round = 0; fd >= 0 && round < CAN_ROUNDS; round++) {
        const int n = can_receive(&cycle->io, fd);
        if (n != 0)
            cycle->bus[bus].down = n < 0;
        for (int i = 0; i < n; i++) {
            struct can_arrival arrival;
            can_arrival(&cycle->io, i, clock, &arrival);
            take_frame(cycle, bus, &arrival);
        }
        if (n < CAN_BATCH)
            return;
    }
}

void cycle_drain(struct v2g_cycle *cycle, int64_t now_ns) {
    const struct can_clock clock = {.now_ns = now_ns, .real_ns = read_clock(CLOCK_REALTIME), .oldest_ns = cycle->drained_ns};
    memset(cycle->newest_ns, 0, sizeof cycle->newest_ns);
    for (uint32_t bus = 0; bus < cycle->active.commit.can.buses; bus++)
        drain_bus(cycle, bus, &clock);
    cycle->drained_ns = now_ns;
}

/* ---- Step 3 ---------------------------------------------------------------------------------------------------------------- */

static int32_t scaled(int64_t value, const struct v2g_input *input) {
    const int64_t limit = (int64_t)1 << 31; /* times mul: 62 bits */
    if (value >= limit || value <= -limit)
        return value < 0 ? -INT32_MAX : INT32_MAX;
    const int64_t product = value * input->mul;
    const int64_t result = product < 0 ? -(-product >> input->shift) : product >> input->shift;
    return result > INT32_MAX ? INT32_MAX : result < -INT32_MAX ? -INT32_MAX : (int32_t)result;
}

/* What a device's code means; NULL: its profile doesn't say. */
static const struct v2g_code *meaning(const struct v2g_cell_config *cells, const struct v2g_input *input, int64_t raw) {
    for (uint32_t i = 0; i < input->codes; i++)
        if (cells->code[input->code + i].raw == raw)
            return &cells->code[input->code + i];
    return NULL;
}

static void take_meter(struct v2g_image *image, const struct v2g_input *input, const struct v2g_sample *sample) {
    struct v2g_meter_in *in = &image->meter[input->index];
    const uint32_t bit = 1U << input->field;
    in->value[input->field] = scaled(sample->value, input);
    in->acquired_ns[input->field] = sample->acquired_ns;
    in->changed_ns[input->field] = sample->changed_ns;
    in->valid = sample->quality != V2G_QUALITY_INVALID ? in->valid | bit : in->valid & ~bit;
}

static void take_evse(const struct v2g_cell_config *cells, struct v2g_image *image, const struct v2g_input *input,
                      const struct v2g_sample *sample) {
    struct v2g_evse_in *in = &image->evse[input->index];
    const uint32_t bit = 1U << input->field;
    const struct v2g_code *code = input->use == V2G_USE_CODE ? meaning(cells, input, sample->value) : NULL;
    if (sample->quality == V2G_QUALITY_INVALID || (input->use == V2G_USE_CODE && code == NULL)) {
        in->valid &= ~bit;
        return;
    }
    const int32_t value = code != NULL ? code->state : scaled(sample->value, input);
    in->value[input->field] = input->use == V2G_USE_MAGNITUDE && value < 0 ? -value : value;
    in->acquired_ns[input->field] = sample->acquired_ns;
    in->changed_ns[input->field] = sample->changed_ns;
    in->valid |= bit;
    if (input->field == V2G_F_STATE)
        in->frames = sample->count;
}

/* The image shows every input as it stood at the start of the cycle. What an engine on another core brought since then belongs to
 * the next cycle: here it would come from the future, and so count as infinitely old. False: keep what was. */
static bool read_cell(const struct v2g_cycle *cycle, const struct v2g_input *input, struct v2g_sample *sample) {
    return v2g_cell_read(&cycle->arena->cell[input->cell], sample) && sample->acquired_ns <= cycle->live.now_ns;
}

static void take_cell(struct v2g_cycle *cycle, const struct v2g_input *input) {
    struct v2g_sample sample;
    if (!read_cell(cycle, input, &sample) || sample.count == 0)
        return;
    if (input->kind == V2G_INPUT_METER)
        take_meter(&cycle->live.image, input, &sample);
    else
        take_evse(&cycle->active.commit.cell, &cycle->live.image, input, &sample);
}

/* Flags on their way: what is known of them, and since when. */
struct flags {
    uint32_t bits;
    int64_t acquired_ns; /* of the oldest */
    bool known;
};

/* The last answer of a lost device stays what is relied on: it was read back for the time of silence. A refused or senseless
 * answer takes it away. */
static bool expected(const struct v2g_input *input, const struct v2g_sample *sample) {
    return sample->count != 0 && sample->quality != V2G_QUALITY_INVALID && sample->quality != V2G_QUALITY_EXCEPTION &&
           sample->value >= input->minimum && sample->value <= input->maximum;
}

static void add_flags(const struct v2g_cell_config *cells, const struct v2g_input *input, const struct v2g_sample *sample,
                      struct flags *flags) {
    if (input->use == V2G_USE_EXPECTED) { /* says nothing of whether the device is heard */
        flags->bits |= expected(input, sample) ? 0U : (uint32_t)input->mul;
        return;
    }
    const struct v2g_code *code = input->use == V2G_USE_CODE ? meaning(cells, input, sample->value) : NULL;
    if (sample->count == 0 || sample->quality == V2G_QUALITY_INVALID || (input->use == V2G_USE_CODE && code == NULL)) {
        flags->known = false;
        return;
    }
    if (code != NULL)
        flags->bits |= code->flags;
    else if (sample->value != 0)
        flags->bits |= (uint32_t)input->mul;
    flags->acquired_ns = sample->acquired_ns < flags->acquired_ns ? sample->acquired_ns : flags->acquired_ns;
}

static void put_flags(struct v2g_evse_in *in, const struct flags *flags) {
    const uint32_t bit = 1U << V2G_F_FLAGS;
    const bool known = flags->known && flags->acquired_ns != INT64_MAX;
    if (known) {
        if ((in->valid & bit) == 0 || in->value[V2G_F_FLAGS] != (int32_t)flags->bits)
            in->changed_ns[V2G_F_FLAGS] = flags->acquired_ns;
        in->acquired_ns[V2G_F_FLAGS] = flags->acquired_ns;
    }
    in->value[V2G_F_FLAGS] = (int32_t)flags->bits;
    in->valid = known ? in->valid | bit : in->valid & ~bit;
}

static bool is_flags(const struct v2g_input *input) {
    return input->kind == V2G_INPUT_EVSE && input->field == V2G_F_FLAGS;
}

/* All flag inputs of one EVSE from `first` on. Returns the index after them. */
static uint32_t take_flags(struct v2g_cycle *cycle, uint32_t first) {
    const struct v2g_cell_config *cells = &cycle->active.commit.cell;
    const uint16_t evse = cells->input[first].index;
    struct flags flags = {.acquired_ns = INT64_MAX, .known = true};
    bool read = true;
    uint32_t i = first;
    for (; i < cells->inputs && is_flags(&cells->input[i]) && cells->input[i].index == evse; i++) {
        struct v2g_sample sample;
        read = read_cell(cycle, &cells->input[i], &sample) && read;
        if (read)
            add_flags(cells, &cells->input[i], &sample, &flags);
    }
    if (read) /* else the writer was inside, or a part is newer than this cycle: keep what was */
        put_flags(&cycle->live.image.evse[evse], &flags);
    return i;
}

static void build_image(struct v2g_cycle *cycle) {
    const struct v2g_cell_config *cells = &cycle->active.commit.cell;
    uint32_t i = 0;
    while (i < cells->inputs) { /* every round goes on by at least one */
        if (is_flags(&cells->input[i]))
            i = take_flags(cycle, i);
        else
            take_cell(cycle, &cells->input[i++]);
    }
}

static uint32_t guard_health(const struct v2g_cycle *cycle, int64_t now_ns) {
    const struct v2g_guard_word *guard = &cycle->arena->guard;
    const uint32_t epoch = atomic_load_explicit(&guard->config_epoch, memory_order_acquire);
    const uint32_t previous = atomic_load_explicit(&guard->previous_epoch, memory_order_relaxed);
    const bool knows = epoch != 0 && (epoch == cycle->live.config_epoch || previous == cycle->live.config_epoch);
    const int64_t seen_ns = atomic_load_explicit(&guard->seen_ns, memory_order_relaxed);
    const uint64_t timeout_ns = (uint64_t)atomic_load_explicit(&guard->timeout_ns, memory_order_relaxed);
    /* A guard on another core may have looked since this cycle began: then it is a moment younger than the cycle. */
    const bool alive = knows && (uint64_t)now_ns - (uint64_t)seen_ns + timeout_ns <= 2 * timeout_ns;
    return alive ? V2G_HEALTH_GUARD : 0;
}

/* ---- Steps 5 to 7 ---------------------------------------------------------------------------------------------------------- */

static bool tightens(const struct v2g_setpoint *from, const struct v2g_setpoint *to) {
    const int32_t was_w = from->target_w < 0 ? -from->target_w : from->target_w;
    const int32_t is_w = to->target_w < 0 ? -to->target_w : to->target_w;
    return is_w < was_w || to->max_w < from->max_w || to->min_w > from->min_w;
}

static void decide(struct v2g_cycle *cycle, int64_t now_ns) {
    const struct v2g_config *config = &cycle->active.commit.config;
    struct v2g_snapshot *live = &cycle->live;
    v2g_estimate(config, &live->state, &live->image, now_ns);
    v2g_site_propose(config, &cycle->active.commit.site, &live->plan, &cycle->site, &live->state, &live->set, now_ns,
                     &cycle->site_state, &live->image, &live->site);
    memcpy(cycle->before.evse, live->set.evse, config->evses * sizeof live->set.evse[0]);
    v2g_enforce(config, &live->plan, &live->state, &live->image, now_ns, &live->set);
    for (uint32_t i = 0; i < config->evses; i++)
        cycle->tighter[i] = tightens(&cycle->before.evse[i], &live->set.evse[i]);
}

/* ---- Step 8 ---------------------------------------------------------------------------------------------------------------- */

static void fill_write_cells(struct v2g_cycle *cycle) {
    const struct v2g_cell_config *cells = &cycle->active.commit.cell;
    for (uint32_t i = 0; i < cells->outputs; i++) {
        const struct v2g_output *output = &cells->output[i];
        const struct v2g_setpoint *s = &cycle->live.set.evse[output->evse];
        const int32_t value[V2G_CAN_SOURCES] = {s->target_w, s->max_w, s->min_w, s->mode};
        v2g_write_cell_write(&cycle->arena->write_cell[output->write_cell], value[output->source], s->valid_until_ns);
    }
}

/* 0: tightens, 1: was left over from the last cycle, 2: the others. */
static int rank(const struct v2g_cycle *cycle, uint32_t tx) {
    if (cycle->tighter[cycle->active.commit.can.tx[tx].evse])
        return 0;
    return cycle->unsent[tx] ? 1 : 2;
}

static void order_frames(struct v2g_cycle *cycle) {
    uint32_t n = 0;
    for (int wanted = 0; wanted < 3; wanted++)
        for (uint32_t tx = 0; tx < cycle->active.commit.can.txs; tx++)
            if (rank(cycle, tx) == wanted)
                cycle->order[n++] = (uint16_t)tx;
}

/* The counter of every frame is the cycle's: nothing to remember, and the guard can go on with it. */
static void build_frame(struct v2g_cycle *cycle, uint32_t tx, int place) {
    const struct v2g_can_config *can = &cycle->active.commit.can;
    const struct v2g_can_tx *t = &can->tx[tx];
    cycle->fd_frame[place] =
        can_command(can, t, cycle->live.stats.cycles, &cycle->live.set.evse[t->evse], &cycle->io.frame[place]);
}

/* Nothing is put behind older setpoints that still wait: as soon as they have left, the newest follows. Nor is anything handed
 * to a controller that is off: it would come out at its restart, however long that takes. */
static bool may_send(struct v2g_cycle *cycle, uint32_t bus) {
    struct bus_watch *watch = &cycle->bus[bus];
    const int fd = cycle->active.commit.can.fd[bus];
    const bool waiting = fd >= 0 && can_queued(fd);
    if (!waiting)
        watch->waiting_since_ns = 0;
    else if (watch->waiting_since_ns == 0)
        watch->waiting_since_ns = cycle->live.now_ns;
    return !waiting && watch->controller != V2G_BUS_OFF;
}

static int hand_over(struct v2g_cycle *cycle, uint32_t bus, int count) {
    const int fd = cycle->active.commit.can.fd[bus];
    const int sent = fd < 0 ? -ENODEV : can_send(&cycle->io, fd, count, cycle->fd_frame);
    cycle->bus[bus].down = sent < 0 || (sent == 0 && cycle->bus[bus].down);
    return sent > 0 ? sent : 0;
}

static enum v2g_bus_state bus_state(const struct bus_watch *watch, int64_t now_ns) {
    if (watch->down)
        return V2G_BUS_DOWN;
    if (watch->controller == V2G_BUS_OFF)
        return V2G_BUS_OFF;
    if (watch->waiting_since_ns != 0 && now_ns - watch->waiting_since_ns >= V2G_BUS_BLOCKED_NS)
        return V2G_BUS_BLOCKED;
    return (enum v2g_bus_state)watch->controller;
}

static void send_bus(struct v2g_cycle *cycle, uint32_t bus) {
    const struct v2g_can_config *can = &cycle->active.commit.can;
    struct v2g_bus_stats *stats = &cycle->live.bus[bus];
    int count = 0;
    for (uint32_t i = 0; i < can->txs; i++)
        if (can->tx[cycle->order[i]].bus == bus)
            build_frame(cycle, cycle->order[i], count++);
    const int taken = count > 0 && may_send(cycle, bus) ? hand_over(cycle, bus, count) : 0;
    stats->state = bus_state(&cycle->bus[bus], cycle->live.now_ns);
    stats->sent += (uint64_t)taken;
    stats->unsent += (uint64_t)(count - taken);
    int place = 0;
    for (uint32_t i = 0; i < can->txs; i++)
        if (can->tx[cycle->order[i]].bus == bus)
            cycle->unsent[cycle->order[i]] = place++ >= taken;
}

void cycle_send(struct v2g_cycle *cycle) {
    fill_write_cells(cycle);
    order_frames(cycle);
    for (uint32_t bus = 0; bus < cycle->active.commit.can.buses; bus++)
        send_bus(cycle, bus);
}

/* ---- Step 9 ---------------------------------------------------------------------------------------------------------------- */

static void beat(struct v2g_cycle *cycle, int64_t sent_ns) {
    struct v2g_heartbeat *heart = &cycle->arena->heartbeat;
    atomic_store_explicit(&heart->beat_ns, sent_ns, memory_order_relaxed);
    atomic_store_explicit(&heart->beats, atomic_load_explicit(&heart->beats, memory_order_relaxed) + 1, memory_order_release);
}

/* Only a setpoint that rows 1 to 3 bound answers something that the EVSE itself reported. */
static bool answers_evse(const struct v2g_setpoint *s) {
    return s->reason >= V2G_RATING && s->reason <= V2G_THERMAL_SENSOR;
}

static void measure(struct v2g_cycle *cycle, int64_t now_ns, int64_t sent_ns) {
    struct v2g_histogram *histogram = cycle->arena->histogram;
    const struct v2g_snapshot *live = &cycle->live;
    for (uint32_t i = 0; i < live->meters; i++)
        if (live->image.meter[i].valid & (1U << V2G_M_P_TOTAL))
            v2g_histogram_add(&histogram[V2G_HIST_METER_AGE], now_ns - live->image.meter[i].acquired_ns[V2G_M_P_TOTAL]);
    for (uint32_t i = 0; i < live->evses; i++)
        if (cycle->tighter[i] && cycle->newest_ns[i] != 0 && answers_evse(&live->set.evse[i]))
            v2g_histogram_add(&histogram[V2G_HIST_REACTION], sent_ns - cycle->newest_ns[i]);
}

void v2g_cycle_step(struct v2g_cycle *cycle, int64_t now_ns, uint32_t health) {
    struct v2g_histogram *histogram = cycle->arena->histogram;
    struct v2g_snapshot *live = &cycle->live;
    live->now_ns = now_ns;
    live->image.cycle++;
    live->stats.cycles++;
    const int64_t begin_ns = v2g_now_ns();
    cycle_drain(cycle, now_ns);
    const int64_t drained_ns = v2g_now_ns();
    cycle_adopt_commit(cycle, now_ns); /* before the image, so that the image is the new config's as a whole */
    cycle_adopt_plan(cycle, now_ns);
    build_image(cycle);
    live->image.health = (health & V2G_HEALTH_REALTIME) | guard_health(cycle, now_ns) | (cycle->late ? 0 : V2G_HEALTH_ON_TIME);
    decide(cycle, now_ns);
    const int64_t decided_ns = v2g_now_ns();
    cycle_send(cycle);
    const int64_t sent_ns = v2g_now_ns();
    beat(cycle, sent_ns);
    v2g_histogram_add(&histogram[V2G_HIST_DRAIN], drained_ns - begin_ns);
    v2g_histogram_add(&histogram[V2G_HIST_COMPUTE], decided_ns - drained_ns);
    v2g_histogram_add(&histogram[V2G_HIST_SEND], sent_ns - decided_ns);
    v2g_histogram_add(&histogram[V2G_HIST_WORK], sent_ns - begin_ns);
    measure(cycle, now_ns, sent_ns);
    cycle_tell(cycle, now_ns);
}

/* ---- Step 1: the grid ------------------------------------------------------------------------------------------------------ */

int64_t cycle_next_point(struct v2g_cycle *cycle, int64_t point_ns, int64_t end_ns) {
    const int64_t period_ns = cycle->active.commit.config.period_ns;
    struct v2g_cycle_stats *stats = &cycle->live.stats;
    int64_t next_ns = point_ns + period_ns;
    const bool overrun = end_ns >= next_ns;
    if (overrun) { /* off the normal path, so it may divide */
        const int64_t missed = (end_ns - next_ns) / period_ns + 1;
        stats->missed += (uint64_t)missed;
        stats->overruns++;
        next_ns += missed * period_ns;
    }
    cycle->late_in_row = overrun ? cycle->late_in_row + 1 : 0;
    cycle->good_in_row = overrun ? 0 : cycle->good_in_row + 1;
    if (cycle->late_in_row >= V2G_OVERRUNS_LATE)
        cycle->late = true;
    if (cycle->good_in_row >= V2G_ON_TIME_AGAIN)
        cycle->late = false;
    v2g_histogram_add(&cycle->arena->histogram[V2G_HIST_SLACK], overrun ? 0 : next_ns - end_ns);
    return next_ns;
}

static void sleep_until(int64_t point_ns) {
    const struct timespec t = {.tv_sec = point_ns / 1000000000, .tv_nsec = point_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* Nothing in a cycle may fault; whether it did is asked of the kernel once in a while, after the work. */
static void count_usage(struct v2g_cycle *cycle) {
    struct rusage usage;
    cycle->usage_in = V2G_USAGE_CYCLES;
    if (getrusage(RUSAGE_THREAD, &usage) != 0)
        return;
    struct v2g_cycle_stats *stats = &cycle->live.stats;
    stats->page_faults = (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt - cycle->first_faults;
    stats->preemptions = (uint64_t)usage.ru_nivcsw - cycle->first_preemptions;
}

void cycle_run(void *context) {
    struct v2g_cycle *cycle = context;
    if (!sender_take(cycle->arena)) /* the guard sends: this process has been given up */
        return;
    const uint32_t health = cycle->thread.report.policy == SCHED_FIFO ? V2G_HEALTH_REALTIME : 0;
    cycle->live.stats.started_ns = v2g_now_ns();
    cycle_event(cycle, cycle->live.stats.started_ns, V2G_EVENT_START, 0, cycle->active.commit.config.period_ns, health);
    int64_t point_ns = cycle->live.stats.started_ns + cycle->active.commit.config.period_ns;
    count_usage(cycle);
    cycle->first_faults = cycle->live.stats.page_faults;
    cycle->first_preemptions = cycle->live.stats.preemptions;
    cycle->live.stats.page_faults = cycle->live.stats.preemptions = 0;
    while (!atomic_load_explicit(&cycle->stop, memory_order_relaxed)) {
        sleep_until(point_ns);
        const int64_t now_ns = v2g_now_ns();
        v2g_histogram_add(&cycle->arena->histogram[V2G_HIST_LATENESS], now_ns - point_ns);
        v2g_cycle_step(cycle, now_ns, health);
        if (--cycle->usage_in == 0)
            count_usage(cycle);
        point_ns = cycle_next_point(cycle, point_ns, v2g_now_ns());
    }
    cycle_event(cycle, v2g_now_ns(), V2G_EVENT_STOP, 0, 0, 0);
    sender_leave(cycle->arena);
}

uint64_t v2g_cycle_prepare(struct v2g_cycle *cycle, int64_t now_ns) {
    cycle->drained_ns = now_ns;
    return cycle_adopt_commit(cycle, now_ns);
}

void v2g_cycle_restore(struct v2g_cycle *cycle, uint32_t evse, uint32_t latch) {
    v2g_state_restore(&cycle->live.state, evse, latch);
}

void v2g_cycle_restore_grid(struct v2g_cycle *cycle) {
    v2g_site_restore_out(&cycle->site_state);
}

void v2g_cycle_restore_damaged(struct v2g_cycle *cycle) {
    cycle->live.state.damaged = 1;
}

int32_t v2g_cycle_start(struct v2g_cycle *cycle, const struct v2g_rt_request *request, struct v2g_rt_report *report) {
    atomic_store_explicit(&cycle->stop, false, memory_order_relaxed);
    const int error = rt_start(&cycle->thread, request, cycle_run, cycle);
    *report = cycle->thread.report;
    return error;
}

void v2g_cycle_stop(struct v2g_cycle *cycle) {
    atomic_store_explicit(&cycle->stop, true, memory_order_relaxed);
    rt_join(&cycle->thread);
}
