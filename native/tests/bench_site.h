/* A site for the whole cycle: the EVSEs of site.h on one CAN bus that is a socket pair, with the frames of contracts.md
 * section 3 as tables. The far end of the pair plays the EVSEs and sees what they are told. */
#ifndef V2G_BENCH_SITE_H
#define V2G_BENCH_SITE_H

#include <linux/can.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "site.h"
#include "v2g_runtime.h"

enum { LAYOUT_A = 0, LAYOUT_B, LAYOUT_C, LAYOUT_LIMITS, LAYOUT_CMD, LAYOUTS };

struct bench_site {
    struct site site; /* config and plan to start from; what the EVSEs measure */
    struct v2g_arena *arena;
    int arena_fd;
    struct v2g_cycle *cycle;
    int far;                       /* the EVSEs' end of the bus */
    int near;                      /* the gateway's end */
    uint32_t counter;              /* of the EVSEs' frames */
    int32_t told_w[V2G_MAX_EVSES]; /* target in the last command */
    int32_t max_w[V2G_MAX_EVSES];
    uint8_t mode[V2G_MAX_EVSES];
    uint32_t first_id; /* identifier of the first command of the last cycle */
    uint32_t commands;
    struct v2g_site_plan wish; /* of the site, for EVSEs that follow it */
};

static const struct v2g_can_signal bench_signals[] = {
    /* StatusA */
    {.field = V2G_F_STATE, .start = 12, .bits = 4, .mul = 1, .maximum = 6},
    {.field = V2G_F_POWER, .start = 16, .bits = 16, .option = V2G_CAN_SIGNED, .mul = 10, .minimum = -327680, .maximum = 327670},
    {.field = V2G_F_SOC, .start = 32, .bits = 16, .option = V2G_CAN_HAS_INVALID, .mul = 1, .maximum = 10000, .invalid = 0xFFFF},
    {.field = V2G_F_T_CONNECTOR,
     .start = 48,
     .bits = 8,
     .option = V2G_CAN_HAS_INVALID,
     .mul = 10,
     .offset = -400,
     .minimum = -400,
     .maximum = 2140,
     .invalid = 0xFF},
    {.field = V2G_F_FLAGS, .start = 56, .bits = 8, .mul = 1, .maximum = 255},
    /* StatusB: 0.1 A as W at 230 V and as mA */
    {.field = V2G_F_P_L1, .start = 16, .bits = 16, .option = V2G_CAN_SIGNED | V2G_CAN_MAGNITUDE, .mul = 23, .maximum = 800000},
    {.field = V2G_F_P_L2, .start = 32, .bits = 16, .option = V2G_CAN_SIGNED | V2G_CAN_MAGNITUDE, .mul = 23, .maximum = 800000},
    {.field = V2G_F_P_L3, .start = 48, .bits = 16, .option = V2G_CAN_SIGNED | V2G_CAN_MAGNITUDE, .mul = 23, .maximum = 800000},
    /* StatusC */
    {.field = V2G_F_T_CABLE, .start = 16, .bits = 8, .mul = 10, .offset = -400, .minimum = -400, .maximum = 2140},
    {.field = V2G_F_T_CHARGER, .start = 24, .bits = 8, .mul = 10, .offset = -400, .minimum = -400, .maximum = 2140},
    {.field = V2G_F_T_CELL_MAX, .start = 32, .bits = 8, .mul = 10, .offset = -400, .minimum = -400, .maximum = 2140},
    {.field = V2G_F_T_CELL_MIN, .start = 40, .bits = 8, .mul = 10, .offset = -400, .minimum = -400, .maximum = 2140},
    /* Limits */
    {.field = V2G_F_MAX_CHARGE, .start = 16, .bits = 16, .mul = 10, .maximum = 655350},
    {.field = V2G_F_MAX_DISCHARGE, .start = 32, .bits = 16, .mul = 10, .maximum = 655350},
    {.field = V2G_F_CAPACITY, .start = 48, .bits = 16, .mul = 100, .maximum = 6553500},
    /* Cmd: 2^30 / 10 rounded up divides exactly by 10 up to V2G_POWER_MAX_W */
    {.field = V2G_CAN_MODE, .start = 12, .bits = 4, .mul = 1},
    {.field = V2G_CAN_TARGET, .start = 16, .bits = 16, .option = V2G_CAN_SIGNED, .shift = 30, .mul = 107374183},
    {.field = V2G_CAN_MAX, .start = 32, .bits = 16, .option = V2G_CAN_SIGNED, .shift = 30, .mul = 107374183},
    {.field = V2G_CAN_MIN, .start = 48, .bits = 16, .option = V2G_CAN_SIGNED, .shift = 30, .mul = 107374183},
};

static const struct v2g_can_layout bench_layouts[LAYOUTS] = {
    [LAYOUT_A] = {.first = 0, .signals = 5, .length = 8, .e2e = V2G_CAN_PROTECTED},
    [LAYOUT_B] = {.first = 5, .signals = 3, .length = 8, .e2e = V2G_CAN_PROTECTED},
    [LAYOUT_C] = {.first = 8, .signals = 4, .length = 8, .e2e = V2G_CAN_PROTECTED},
    [LAYOUT_LIMITS] = {.first = 12, .signals = 3, .length = 8, .e2e = V2G_CAN_PROTECTED},
    [LAYOUT_CMD] = {.first = 15, .signals = 4, .length = 8, .e2e = V2G_CAN_PROTECTED},
};

static inline void bench_can_tables(struct v2g_can_config *can, uint32_t evses) {
    memset(can, 0, sizeof *can);
    for (int bus = 0; bus < V2G_MAX_BUSES; bus++)
        can->fd[bus] = -1;
    can->buses = 1;
    can->layouts = LAYOUTS;
    can->signals = sizeof bench_signals / sizeof bench_signals[0];
    memcpy(can->layout, bench_layouts, sizeof bench_layouts);
    memcpy(can->signal, bench_signals, sizeof bench_signals);
    for (uint32_t layout = LAYOUT_A; layout <= LAYOUT_LIMITS; layout++)
        for (uint32_t i = 0; i < evses; i++)
            can->rx[can->rxs++] = (struct v2g_can_rx){
                .id = 0x300 + 0x100 * layout + i, .layout = (uint16_t)layout, .evse = (uint16_t)i, .phase = {0, 1, 2}};
    for (uint32_t i = 0; i < evses; i++)
        can->tx[can->txs++] = (struct v2g_can_tx){.id = 0x200 + i, .layout = LAYOUT_CMD, .evse = (uint16_t)i};
}

/* Publishes the site's config and plan as one commit. */
static inline void bench_commit(struct bench_site *b) {
    struct v2g_commit *commit = v2g_commit_back(b->arena);
    memset(commit, 0, sizeof *commit);
    b->site.config.boot_id = b->arena->boot_id;
    v2g_config_seal(&b->site.config);
    commit->config = b->site.config;
    commit->snapshot_cycles = 1;
    bench_can_tables(&commit->can, b->site.config.evses);
    commit->can.fd[0] = b->near;
    for (uint32_t meter = 0; meter < b->site.config.meters; meter++)
        for (uint32_t lane = 0; lane < V2G_LANES; lane++)
            commit->cell.input[commit->cell.inputs++] = (struct v2g_input){.cell = (uint16_t)(meter * V2G_LANES + lane),
                                                                           .index = (uint16_t)meter,
                                                                           .kind = V2G_INPUT_METER,
                                                                           .field = (uint8_t)(V2G_M_P_L1 + lane),
                                                                           .mul = 1};
    commit->first.plan = b->site.plan;
    commit->first.plan.config_epoch = b->site.config.epoch;
    v2g_commit_publish(b->arena);
}

/* A site, an arena and a bus; whoever wants another site changes it before bench_begin(). */
static inline int bench_prepare(struct bench_site *b, uint32_t evses) {
    memset(b, 0, sizeof *b);
    site_init(&b->site, evses);
    int pair[2];
    b->arena_fd = v2g_arena_create(7, &b->arena);
    if (b->arena_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    const int bytes = 4 << 20;
    for (int end = 0; end < 2; end++)
        if (setsockopt(pair[end], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0)
            (void)setsockopt(pair[end], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    b->near = pair[0];
    b->far = pair[1];
    b->cycle = v2g_cycle_new(b->arena);
    b->site.plan.epoch = 0;
    return b->cycle != NULL ? 0 : -1;
}

static inline int bench_begin(struct bench_site *b) {
    bench_commit(b);
    return v2g_cycle_prepare(b->cycle, b->site.now_ns) == 0 ? 0 : -1;
}

static inline int bench_open(struct bench_site *b, uint32_t evses) {
    return bench_prepare(b, evses) == 0 ? bench_begin(b) : -1;
}

static inline void bench_close(struct bench_site *b) {
    v2g_cycle_free(b->cycle);
    v2g_arena_destroy(b->arena, b->arena_fd);
    close(b->near);
    close(b->far);
}

static inline void put16(uint8_t *bytes, int32_t value) {
    bytes[0] = (uint8_t)((uint32_t)value & 0xFFU);
    bytes[1] = (uint8_t)(((uint32_t)value >> 8) & 0xFFU);
}

static inline int32_t get16(const uint8_t *bytes) {
    return (int16_t)(uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline void bench_send(struct bench_site *b, uint32_t id, const uint8_t data[8]) {
    struct can_frame frame = {.can_id = id, .len = 8};
    memcpy(frame.data, data, 8);
    frame.data[1] = (uint8_t)((frame.data[1] & 0xF0U) | b->counter);
    frame.data[0] = v2g_can_crc(id, frame.data, 8);
    if (send(b->far, &frame, sizeof frame, MSG_DONTWAIT) != (ssize_t)sizeof frame)
        abort();
}

static inline void bench_status(struct bench_site *b, uint32_t i) {
    const int32_t *v = b->site.image.evse[i].value;
    uint8_t a[8] = {
        0, (uint8_t)(v[V2G_F_STATE] << 4), 0, 0, 0, 0, (uint8_t)(v[V2G_F_T_CONNECTOR] / 10 + 40), (uint8_t)v[V2G_F_FLAGS]};
    put16(&a[2], v[V2G_F_POWER] / 10);
    put16(&a[4], v[V2G_F_SOC]);
    uint8_t phase[8] = {0}, limits[8] = {0};
    for (int lane = 0; lane < 3; lane++)
        put16(&phase[2 + 2 * lane], v[V2G_F_P_L1 + lane] / 23);
    const uint8_t c[8] = {0,
                          0,
                          (uint8_t)(v[V2G_F_T_CABLE] / 10 + 40),
                          (uint8_t)(v[V2G_F_T_CHARGER] / 10 + 40),
                          (uint8_t)(v[V2G_F_T_CELL_MAX] / 10 + 40),
                          (uint8_t)(v[V2G_F_T_CELL_MIN] / 10 + 40),
                          0,
                          100};
    put16(&limits[2], v[V2G_F_MAX_CHARGE] / 10);
    put16(&limits[4], v[V2G_F_MAX_DISCHARGE] / 10);
    put16(&limits[6], v[V2G_F_CAPACITY] / 100);
    bench_send(b, 0x300 + i, a);
    bench_send(b, 0x400 + i, phase);
    bench_send(b, 0x500 + i, c);
    bench_send(b, 0x600 + i, limits);
}

static inline void bench_read_commands(struct bench_site *b) {
    struct can_frame frame;
    b->commands = 0;
    while (recv(b->far, &frame, sizeof frame, MSG_DONTWAIT) == (ssize_t)sizeof frame) {
        const uint32_t i = frame.can_id - 0x200;
        if (b->commands++ == 0)
            b->first_id = frame.can_id;
        b->told_w[i] = get16(&frame.data[2]) * 10;
        b->max_w[i] = get16(&frame.data[4]) * 10;
        b->mode[i] = frame.data[1] >> 4;
    }
}

/* The EVSEs do what they were told and say so; the meters show it. */
static inline void bench_measure(struct bench_site *b) {
    struct site *s = &b->site;
    int32_t sum_w[V2G_MAX_FEEDERS] = {0};
    for (uint32_t i = 0; i < s->config.evses; i++) {
        int32_t *value = s->image.evse[i].value;
        value[V2G_F_POWER] = b->told_w[i];
        for (int lane = 0; lane < 3; lane++)
            value[V2G_F_P_L1 + lane] = (b->told_w[i] < 0 ? -b->told_w[i] : b->told_w[i]) / 3;
        for (uint32_t f = s->config.evse[i].feeder; f != V2G_NONE; f = s->config.feeder[f].parent)
            sum_w[f] += b->told_w[i];
        if (s->link_up)
            bench_status(b, i);
    }
    b->counter = (b->counter + 1) % 15;
    sum_w[0] += s->base_w;
    for (uint32_t cell = 0; s->meter_up && cell < s->config.meters * V2G_LANES; cell++) {
        const int32_t w = sum_w[cell / V2G_LANES]; /* meter n measures feeder n */
        v2g_cell_write(&b->arena->cell[cell], cell % V2G_LANES == V2G_LANE_TOTAL ? w : w / 3, s->now_ns);
    }
}

static inline void bench_plan(struct bench_site *b) {
    struct site *s = &b->site;
    s->plan.epoch++;
    s->plan.config_epoch = s->config.epoch;
    s->plan.made_ns = s->now_ns;
    s->plan.lease_ns = s->now_ns + 2000 * SITE_MS;
    for (uint32_t i = 0; i < s->config.evses; i++)
        s->plan.evse[i].until_ns = s->plan.lease_ns;
    for (uint32_t f = 0; f < s->config.feeders; f++)
        s->plan.feeder[f].until_ns = s->plan.lease_ns;
    struct v2g_plan_message *message = v2g_plan_back(b->arena);
    *message = (struct v2g_plan_message){.plan = s->plan, .site = b->wish};
    v2g_plan_publish(b->arena);
}

/* One cycle: EVSEs, meters and plan are renewed, the gateway steps. */
static inline void bench_step(struct bench_site *b) {
    b->site.now_ns += SITE_PERIOD_MS * SITE_MS;
    bench_measure(b);
    if (b->site.python_up)
        bench_plan(b);
    v2g_cycle_step(b->cycle, b->site.now_ns, V2G_HEALTH_REALTIME);
    bench_read_commands(b);
}

static inline void bench_run(struct bench_site *b, int cycles) {
    for (int i = 0; i < cycles; i++)
        bench_step(b);
}

#endif
