/* When and what is written to a register that carries a setpoint. */
#include <string.h>

#include "modbus.h"

/* What the register should hold now. */
struct wish {
    enum mb_phase phase; /* MB_NOTHING, MB_VALUE or MB_STOP */
    uint32_t count;
    int64_t value;
    uint16_t words[V2G_MODBUS_WRITE_WORDS];
};

/* The next number, while there is a setpoint that holds. */
static struct wish beat_of(const struct v2g_modbus_write *write, const struct mb_point *point,
                           const struct v2g_write_sample *sample, int64_t now_ns) {
    struct wish wish = {.phase = MB_NOTHING};
    if (now_ns < sample->valid_until_ns) {
        const uint32_t most = write->type == V2G_MODBUS_U16 ? UINT16_MAX : UINT32_MAX;
        wish.value = (int64_t)((point->beats + 1U) & most);
        wish.count = v2g_modbus_encode(write, wish.value, wish.words);
        wish.phase = MB_VALUE;
    }
    return wish;
}

static struct wish wish_of(const struct v2g_modbus_write *write, const struct mb_point *point,
                           const struct v2g_write_cell *cell, int64_t now_ns) {
    struct wish wish = {.phase = MB_NOTHING};
    struct v2g_write_sample sample;
    if (!v2g_write_cell_read(cell, &sample) || sample.seq == 0U) {
        return wish;
    }
    if ((write->flags & V2G_MODBUS_HEARTBEAT) != 0U) {
        return beat_of(write, point, &sample, now_ns);
    }
    wish.phase = MB_STOP;
    if (now_ns < sample.valid_until_ns) {
        wish.count = v2g_modbus_encode(write, sample.value, wish.words);
        if (wish.count != 0U) {
            wish.phase = MB_VALUE;
            wish.value = sample.value;
        }
    }
    return wish;
}

static bool refresh_due(const struct v2g_modbus_write *write, const struct mb_point *point, int64_t now_ns) {
    return write->refresh_ns > 0 && now_ns - point->acked_ns >= write->refresh_ns && now_ns >= point->hold_ns;
}

/* A stop waits for nothing but the pause after one that was refused. */
static bool stop_due(const struct v2g_modbus_write *write, const struct mb_point *point, int64_t now_ns) {
    return point->confirmed == MB_STOP ? refresh_due(write, point, now_ns) : now_ns >= point->retry_ns;
}

static enum mb_phase phase_due(const struct v2g_modbus_write *write, const struct mb_point *point, const struct wish *wish,
                               int64_t now_ns) {
    if (wish->phase == MB_STOP) {
        return stop_due(write, point, now_ns) ? MB_STOP : MB_NOTHING;
    }
    const bool holds = point->confirmed == MB_VALUE && memcmp(point->words, wish->words, 2U * wish->count) == 0;
    if (holds && write->start.count != 0U && !point->started) {
        return now_ns >= point->retry_ns ? MB_START : MB_NOTHING;
    }
    if (holds) {
        return refresh_due(write, point, now_ns) ? MB_VALUE : MB_NOTHING;
    }
    return now_ns >= point->hold_ns ? MB_VALUE : MB_NOTHING;
}

static void request_action(const struct v2g_modbus_action *action, struct v2g_modbus_request *request) {
    request->function = action->function;
    request->address = action->address;
    request->count = action->count;
    memcpy(request->words, action->words, sizeof request->words);
}

static void request_value(const struct mb_bus *bus, uint32_t index, const struct wish *wish,
                          struct v2g_modbus_request *request) {
    const struct v2g_modbus_write *write = &bus->config.writes[index];
    request->function = write->function;
    request->address = write->address;
    request->count = write->function == 15U ? write->coils : (uint16_t)wish->count;
    memcpy(request->words, wish->words, sizeof request->words);
    if (write->function == 23U) {
        const struct mb_block *block = &bus->blocks[bus->points[index].read_back];
        request->write_address = write->address;
        request->write_count = (uint16_t)wish->count;
        request->address = block->address;
        request->count = block->count;
    }
}

/* Is a write of this point due? Then `request` and `open` describe it. */
bool mb_point_due(struct mb_bus *bus, uint32_t index, int64_t now_ns, struct v2g_modbus_request *request,
                  struct mb_open *open) {
    const struct v2g_modbus_write *write = &bus->config.writes[index];
    const struct mb_point *point = &bus->points[index];
    if (point->in_flight != 0U) {
        return false;
    }
    const struct wish wish = wish_of(write, point, &bus->memory.write_cells[write->write_cell], now_ns);
    const enum mb_phase phase = wish.phase == MB_NOTHING ? MB_NOTHING : phase_due(write, point, &wish, now_ns);
    if (phase == MB_NOTHING) {
        return false;
    }
    memset(request, 0, sizeof *request);
    if (phase == MB_VALUE) {
        request_value(bus, index, &wish, request);
    } else {
        request_action(phase == MB_STOP ? &write->stop : &write->start, request);
    }
    *open = (struct mb_open){.kind = MB_WRITE, .phase = (uint8_t)phase, .index = (uint16_t)index, .value = wish.value};
    return true;
}

void mb_point_sent(struct mb_bus *bus, const struct mb_open *open, int64_t now_ns) {
    struct mb_point *point = &bus->points[open->index];
    point->in_flight = 1;
    point->beats = (uint32_t)open->value;
    point->hold_ns = now_ns + bus->config.writes[open->index].min_interval_ns;
}

void mb_point_acknowledged(struct mb_bus *bus, const struct v2g_modbus_request *request, const struct mb_open *open,
                           int64_t now_ns) {
    const struct v2g_modbus_write *write = &bus->config.writes[open->index];
    struct mb_point *point = &bus->points[open->index];
    point->in_flight = 0;
    point->acked_ns = now_ns;
    if (open->phase == MB_START) {
        point->started = 1;
        return;
    }
    point->confirmed = open->phase;
    if (open->phase == MB_VALUE) {
        memcpy(point->words, request->words, sizeof point->words);
    } else {
        point->started = 0;
    }
    if (write->result != V2G_MODBUS_NONE) {
        v2g_cell_write(&bus->memory.cells[write->result], open->phase == MB_VALUE ? open->value : 0, now_ns);
    }
}

void mb_point_refused(struct mb_bus *bus, const struct mb_open *open, int64_t now_ns) {
    const struct v2g_modbus_write *write = &bus->config.writes[open->index];
    struct mb_point *point = &bus->points[open->index];
    point->in_flight = 0;
    point->retry_ns = now_ns + bus->retry_ns;
    if (open->phase == MB_VALUE && point->hold_ns < point->retry_ns) {
        point->hold_ns = point->retry_ns;
    }
    if (write->result != V2G_MODBUS_NONE) {
        v2g_cell_mark(&bus->memory.cells[write->result], V2G_QUALITY_EXCEPTION);
    }
}

/* The connection ended. What the device holds now is unknown, but a nonvolatile register keeps what it acknowledged. */
void mb_point_lost(struct mb_bus *bus, uint32_t index) {
    const struct v2g_modbus_write *write = &bus->config.writes[index];
    struct mb_point *point = &bus->points[index];
    if (point->in_flight != 0U || (write->flags & V2G_MODBUS_NONVOLATILE) == 0U) {
        point->confirmed = MB_NOTHING;
        point->started = 0;
    }
    point->in_flight = 0;
    if (write->result != V2G_MODBUS_NONE) {
        v2g_cell_mark(&bus->memory.cells[write->result], V2G_QUALITY_STALE_DEVICE);
    }
}
