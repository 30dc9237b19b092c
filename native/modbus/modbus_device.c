/* The protocol side of a device: which request comes next, and what an answer does to the cells. */
#include <string.h>

#include "modbus.h"

static const int64_t SILENCE_MAX_NS = 3600 * MB_S;

/* The first grid point at or after `now`. */
static int64_t grid_after(int64_t grid_ns, int64_t period_ns, int64_t now_ns) {
    return grid_ns >= now_ns ? grid_ns : grid_ns + (now_ns - grid_ns + period_ns - 1) / period_ns * period_ns;
}

/* Puts the device's polls on their grid: before the first poll and after a pause. */
void mb_poll_align(struct mb_bus *bus, uint32_t device, int64_t now_ns) {
    struct mb_device *dev = &bus->devices[device];
    const int64_t period = bus->config.devices[device].poll_ns;
    if (dev->block_end == 0U) {
        dev->poll_due_ns = MB_NEVER;
        return;
    }
    dev->poll_due_ns = grid_after(dev->phase_ns, period, now_ns);
}

/* The time of a poll has come: it begins, or it is late because the one before is still under way. */
void mb_poll_due(struct mb_bus *bus, uint32_t device, int64_t now_ns) {
    struct mb_device *dev = &bus->devices[device];
    struct v2g_modbus_stats *stats = &bus->memory.stats[device];
    const int64_t period = bus->config.devices[device].poll_ns;
    const int64_t missed = (now_ns - dev->poll_due_ns) / period;
    dev->poll_due_ns += (missed + 1) * period;
    mb_count(&stats->late_polls, (uint64_t)missed + (dev->poll_active ? 1U : 0U));
    if (dev->poll_active) {
        return;
    }
    dev->poll_active = true;
    dev->poll_next = dev->block_first;
    dev->poll_number++;
    mb_count(&stats->polls, 1);
}

static int free_slot(const struct mb_bus *bus, uint32_t device) {
    const struct mb_device *dev = &bus->devices[device];
    const int window = bus->config.devices[device].window;
    for (int i = 0; i < window; i++) {
        if (dev->requests[i].function == 0U) {
            return i;
        }
    }
    return -1;
}

static void request_block(const struct mb_block *block, struct v2g_modbus_request *request) {
    memset(request, 0, sizeof *request);
    request->function = block->function;
    request->address = block->address;
    request->count = block->count;
}

static bool next_write(struct mb_bus *bus, uint32_t device, int64_t now_ns, int slot) {
    struct mb_device *dev = &bus->devices[device];
    for (uint32_t i = dev->point_first; i < dev->point_end; i++) {
        struct v2g_modbus_request request;
        if (mb_point_due(bus, i, now_ns, &request, &dev->open[slot])) {
            dev->requests[slot] = request;
            mb_point_sent(bus, &dev->open[slot], now_ns);
            return true;
        }
    }
    return false;
}

static bool next_read_back(struct mb_bus *bus, uint32_t device, int slot) {
    struct mb_device *dev = &bus->devices[device];
    for (uint32_t i = dev->block_first; dev->forced != 0U && i < dev->block_end; i++) {
        if (bus->blocks[i].forced != 0U) {
            bus->blocks[i].forced = 0;
            dev->forced--;
            request_block(&bus->blocks[i], &dev->requests[slot]);
            dev->open[slot] = (struct mb_open){.kind = MB_READ_BACK, .index = (uint16_t)i};
            return true;
        }
    }
    return false;
}

static void end_poll_when_done(struct mb_device *dev) {
    if (dev->poll_active && dev->poll_next == dev->block_end && dev->poll_open == 0U) {
        dev->poll_active = false;
        dev->failures = 0;
    }
}

static bool next_poll_block(struct mb_bus *bus, uint32_t device, int slot) {
    struct mb_device *dev = &bus->devices[device];
    while (dev->poll_active && dev->poll_next < dev->block_end) {
        const uint32_t i = dev->poll_next++;
        if (dev->poll_number % bus->blocks[i].every == 0U || dev->poll_number == 1U) {
            request_block(&bus->blocks[i], &dev->requests[slot]);
            dev->open[slot] = (struct mb_open){.kind = MB_POLL, .index = (uint16_t)i};
            dev->poll_open++;
            return true;
        }
    }
    end_poll_when_done(dev);
    return false;
}

static bool fill_slot(struct mb_bus *bus, uint32_t device, uint32_t kinds, int64_t now_ns, int slot) {
    const bool writes = (kinds & MB_WRITE) != 0U && now_ns >= bus->devices[device].mute_ns;
    return (writes && next_write(bus, device, now_ns, slot)) ||
           ((kinds & MB_READ_BACK) != 0U && next_read_back(bus, device, slot)) ||
           ((kinds & MB_POLL) != 0U && next_poll_block(bus, device, slot));
}

/* Writes go before reads. Returns the slot of the transaction table that now holds the next request of one of the `kinds`, or
 * -1: none is due or the window is full. */
int mb_next_request(struct mb_bus *bus, uint32_t device, uint32_t kinds, int64_t now_ns) {
    struct mb_device *dev = &bus->devices[device];
    const int slot = free_slot(bus, device);
    if (slot < 0 || !fill_slot(bus, device, kinds, now_ns, slot)) {
        return -1;
    }
    dev->requests[slot].unit = bus->config.devices[device].unit;
    dev->open[slot].sent_ns = now_ns;
    dev->open[slot].deadline_ns = now_ns + bus->config.devices[device].reply_timeout_ns;
    dev->open_count++;
    mb_count(&bus->memory.stats[device].requests, 1);
    return slot;
}

/* The earliest deadline of the open requests. */
int64_t mb_deadline_ns(const struct mb_bus *bus, uint32_t device) {
    const struct mb_device *dev = &bus->devices[device];
    int64_t earliest = MB_NEVER;
    uint32_t left = dev->open_count;
    for (uint32_t i = 0; left != 0U && i < V2G_MODBUS_MAX_WINDOW; i++) {
        if (dev->requests[i].function != 0U) {
            left--;
            earliest = dev->open[i].deadline_ns < earliest ? dev->open[i].deadline_ns : earliest;
        }
    }
    return earliest;
}

static void store_register(struct mb_bus *bus, const struct v2g_modbus_register *reg, const struct mb_block *block,
                           const uint8_t *data, int64_t now_ns) {
    const uint32_t offset = (uint32_t)reg->address - block->address;
    const bool bits = reg->table <= V2G_MODBUS_DISCRETE;
    const uint8_t coil = (uint8_t)(bits ? data[offset / 8U] >> (offset % 8U) & 1 : 0);
    struct v2g_cell *cell = &bus->memory.cells[reg->cell];
    int64_t value = 0;
    if (v2g_modbus_decode(reg, bits ? &coil : data + 2U * (size_t)offset, &value) != 0) {
        v2g_cell_write(cell, value, now_ns);
    } else {
        v2g_cell_mark(cell, V2G_QUALITY_INVALID);
        mb_count(&bus->memory.stats[reg->device].invalid_values, 1);
    }
}

static void store_block(struct mb_bus *bus, const struct mb_block *block, const uint8_t *data, int64_t now_ns) {
    for (uint32_t i = block->first; i < block->end; i++) {
        store_register(bus, &bus->config.registers[i], block, data, now_ns);
    }
}

static void mark_block(struct mb_bus *bus, const struct mb_block *block, enum v2g_quality quality) {
    for (uint32_t i = block->first; i < block->end; i++) {
        v2g_cell_mark(&bus->memory.cells[bus->config.registers[i].cell], quality);
    }
}

static void count_answer(struct v2g_modbus_stats *stats, int64_t sent_ns, int64_t now_ns) {
    const int64_t trip = now_ns > sent_ns ? now_ns - sent_ns : 1;
    const int64_t least = atomic_load_explicit(&stats->rtt_min_ns, memory_order_relaxed);
    const int64_t most = atomic_load_explicit(&stats->rtt_max_ns, memory_order_relaxed);
    const int64_t sum = atomic_load_explicit(&stats->rtt_sum_ns, memory_order_relaxed);
    mb_count(&stats->replies, 1);
    atomic_store_explicit(&stats->last_reply_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&stats->rtt_sum_ns, sum + trip, memory_order_relaxed);
    if (least == 0 || trip < least) {
        atomic_store_explicit(&stats->rtt_min_ns, trip, memory_order_relaxed);
    }
    if (trip > most) {
        atomic_store_explicit(&stats->rtt_max_ns, trip, memory_order_relaxed);
    }
}

static void write_acknowledged(struct mb_bus *bus, uint32_t device, const struct v2g_modbus_request *request,
                               const struct mb_open *open, const uint8_t *data, int64_t now_ns) {
    struct v2g_modbus_stats *stats = &bus->memory.stats[device];
    const uint16_t read_back = bus->points[open->index].read_back;
    mb_point_acknowledged(bus, request, open, now_ns);
    mb_count(&stats->writes, 1);
    mb_count(&stats->stops, open->phase == MB_STOP ? 1U : 0U);
    bus->devices[device].failures = 0;
    if (read_back == V2G_MODBUS_NONE) {
        return;
    }
    if (request->function == 23U) {
        store_block(bus, &bus->blocks[read_back], data, now_ns);
    } else if (bus->blocks[read_back].forced == 0U) {
        bus->blocks[read_back].forced = 1;
        bus->devices[device].forced++;
    }
}

static void refused(struct mb_bus *bus, uint32_t device, const struct mb_open *open, uint32_t exception, int64_t now_ns) {
    struct v2g_modbus_stats *stats = &bus->memory.stats[device];
    mb_count(&stats->exceptions, 1);
    atomic_store_explicit(&stats->last_exception, exception, memory_order_relaxed);
    if (open->kind == MB_WRITE) {
        mb_point_refused(bus, open, now_ns);
    } else {
        mark_block(bus, &bus->blocks[open->index], V2G_QUALITY_EXCEPTION);
    }
}

/* A good answer (REPLY or EXCEPTION) to the open request parsed->request. */
void mb_answered(struct mb_bus *bus, uint32_t device, const struct v2g_modbus_parsed *parsed, const uint8_t *bytes,
                 int64_t now_ns) {
    struct mb_device *dev = &bus->devices[device];
    const struct v2g_modbus_request request = dev->requests[parsed->request];
    const struct mb_open open = dev->open[parsed->request];
    dev->requests[parsed->request].function = 0;
    dev->open_count--;
    dev->lost = false;
    count_answer(&bus->memory.stats[device], open.sent_ns, now_ns);
    if (parsed->verdict == V2G_MODBUS_EXCEPTION) {
        refused(bus, device, &open, parsed->exception, now_ns);
    } else if (open.kind == MB_WRITE) {
        write_acknowledged(bus, device, &request, &open, bytes + parsed->data, now_ns);
    } else {
        store_block(bus, &bus->blocks[open.index], bytes + parsed->data, now_ns);
    }
    if (open.kind == MB_POLL) {
        dev->poll_open--;
        end_poll_when_done(dev);
    }
}

/* One request gets no answer, the device itself is not given up: its poll ends here, the next one asks again. */
void mb_drop_request(struct mb_bus *bus, uint32_t device, int slot) {
    struct mb_device *dev = &bus->devices[device];
    dev->requests[slot].function = 0;
    dev->open_count--;
    if (dev->open[slot].kind == MB_WRITE) {
        mb_point_lost(bus, dev->open[slot].index);
    }
    dev->poll_open = 0;
    dev->poll_active = false;
}

/* The device failed: nothing that was asked will be answered, nothing that it told is renewed. */
void mb_abandon(struct mb_bus *bus, uint32_t device) {
    struct mb_device *dev = &bus->devices[device];
    for (uint32_t i = 0; i < V2G_MODBUS_MAX_WINDOW; i++) {
        dev->requests[i].function = 0;
    }
    dev->open_count = 0;
    dev->poll_open = 0;
    dev->poll_active = false;
    dev->poll_number = 0; /* the first poll after the loss reads everything */
    for (uint32_t i = dev->point_first; i < dev->point_end; i++) {
        mb_point_lost(bus, i);
    }
    for (uint32_t i = dev->block_first; !dev->lost && i < dev->block_end; i++) {
        mark_block(bus, &bus->blocks[i], V2G_QUALITY_STALE_DEVICE);
    }
    dev->lost = true;
}

/* Asked by another thread; the engine's takes it at its next pass. */
int mb_ask_silence(struct mb_bus *bus, uint32_t device, int64_t silence_ns, int64_t look_ns) {
    if (device >= bus->config.device_count || silence_ns < MB_MS || silence_ns > SILENCE_MAX_NS || look_ns < MB_MS ||
        look_ns > SILENCE_MAX_NS) {
        return -1;
    }
    atomic_store_explicit(&bus->silences[device].look_ns, look_ns, memory_order_relaxed);
    atomic_store_explicit(&bus->silences[device].silence_ns, silence_ns, memory_order_release);
    return 0;
}

/* When the silence that was asked for this device ends; 0: none was. The device counts as lost until then. */
int64_t mb_take_silence(struct mb_bus *bus, uint32_t device, int64_t now_ns) {
    struct mb_silence *asked = &bus->silences[device];
    if (atomic_load_explicit(&asked->silence_ns, memory_order_relaxed) == 0) {
        return 0;
    }
    const int64_t end_ns = now_ns + atomic_exchange_explicit(&asked->silence_ns, 0, memory_order_acquire);
    mb_abandon(bus, device);
    bus->devices[device].mute_ns = end_ns + atomic_load_explicit(&asked->look_ns, memory_order_relaxed);
    return end_ns;
}

/* The pause after the failures so far: it doubles with each. */
int64_t mb_backoff_ns(const struct mb_bus *bus, uint32_t device) {
    int64_t pause = bus->config.backoff_min_ns;
    for (uint32_t i = 1; i < bus->devices[device].failures && pause < bus->config.backoff_max_ns; i++) {
        pause *= 2;
    }
    return pause < bus->config.backoff_max_ns ? pause : bus->config.backoff_max_ns;
}
