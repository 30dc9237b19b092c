/* Is a config runnable? Everything is judged before anything of it is used. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "modbus.h"

/* A nonvolatile cell stands some 100 000 writes: at one in 15 min that is about three years of changes without a pause. */
static const int64_t NONVOLATILE_INTERVAL_MIN_NS = 900 * MB_S;

struct check {
    const struct v2g_modbus_config *config;
    char *error;
    size_t error_size;
    const char *part; /* "device", "register" or "write" */
    uint32_t index;
};

static bool wrong(const struct check *check, const char *what) {
    (void)snprintf(check->error, check->error_size, "modbus %s %" PRIu32 ": %s", check->part, check->index, what);
    return false;
}

static bool within(const struct check *check, const char *key, int64_t value, int64_t least, int64_t most) {
    if (value >= least && value <= most) {
        return true;
    }
    char text[128];
    (void)snprintf(text, sizeof text, "%s %" PRId64 " is outside %" PRId64 "..%" PRId64, key, value, least, most);
    return wrong(check, text);
}

static bool check_device(const struct check *check, const struct v2g_modbus_device *device) {
    const bool serial = device->family == 0U;
    if (!serial && device->family != 4U && device->family != 6U) {
        return wrong(check, "family must be 4, 6 or 0 (serial line)");
    }
    return (serial ? within(check, "unit", device->unit, 1, 247) : within(check, "port", device->port, 1, UINT16_MAX)) &&
           within(check, "window", device->window, 1, serial ? 1 : V2G_MODBUS_MAX_WINDOW) &&
           within(check, "max_words", device->max_words, 1, V2G_MODBUS_MAX_READ_WORDS) &&
           within(check, "merge_gap", device->merge_gap, 0, V2G_MODBUS_MAX_READ_WORDS - 1) &&
           within(check, "poll_ns", device->poll_ns, MB_MS, 3600 * MB_S) &&
           within(check, "reply_timeout_ns", device->reply_timeout_ns, MB_MS, 60 * MB_S) &&
           within(check, "connect_timeout_ns", device->connect_timeout_ns, MB_MS, 60 * MB_S) &&
           within(check, "gap_ns", device->gap_ns, 0, MB_S) && within(check, "turnaround_ns", device->turnaround_ns, 0, MB_S);
}

static bool check_register(const struct check *check, const struct v2g_modbus_register *reg) {
    const struct v2g_modbus_config *config = check->config;
    if (!(within(check, "device", reg->device, 0, (int64_t)config->device_count - 1) &&
          within(check, "table", reg->table, V2G_MODBUS_COIL, V2G_MODBUS_INPUT) &&
          within(check, "type", reg->type, 0, V2G_MODBUS_TYPES - 1) &&
          within(check, "order", reg->order, V2G_MODBUS_BIG, V2G_MODBUS_LITTLE) && within(check, "bit", reg->bit, 0, 15) &&
          within(check, "every", reg->every, 1, UINT16_MAX) &&
          within(check, "cell", reg->cell, 0, (int64_t)config->cell_count - 1) &&
          within(check, "divisor", reg->divisor, 1, INT32_MAX))) {
        return false;
    }
    const bool bits = reg->table <= V2G_MODBUS_DISCRETE;
    if (bits && (reg->type != V2G_MODBUS_BIT || reg->bit != 0U)) {
        return wrong(check, "a coil or discrete input has type BIT and bit 0");
    }
    if (reg->multiplier == 0) {
        return wrong(check, "multiplier is 0");
    }
    if ((reg->flags & V2G_MODBUS_HAS_RANGE) != 0U && reg->minimum > reg->maximum) {
        return wrong(check, "minimum is above maximum");
    }
    const uint32_t width = mb_register_width(reg);
    return within(check, "address", reg->address, 0, 65536 - (int64_t)width) &&
           within(check, "width in registers", width, 1, config->devices[reg->device].max_words);
}

static bool check_action(const struct check *check, const char *name, const struct v2g_modbus_action *action) {
    int64_t most = 0;
    switch (action->function) {
    case 5:
    case 6:
        most = 1;
        break;
    case 15:
        most = 16;
        break;
    case 16:
        most = V2G_MODBUS_WRITE_WORDS;
        break;
    default:
        return within(check, name, action->function, 5, 16);
    }
    return within(check, name, action->count, 1, most) &&
           within(check, name, action->address, 0, 65536 - (int64_t)action->count);
}

static bool check_write_format(const struct check *check, const struct v2g_modbus_write *write) {
    const bool coils = write->function == 5U || write->function == 15U;
    const uint32_t words = v2g_modbus_words(write->type);
    if (write->function != 6U && write->function != 16U && write->function != 23U && !coils) {
        return wrong(check, "function must be 5, 6, 15, 16 or 23");
    }
    if (write->type >= V2G_MODBUS_F64) {
        return coils && write->type == V2G_MODBUS_BIT ? true : wrong(check, "this type can't be written to a register");
    }
    if (write->function == 5U || (coils && write->type != V2G_MODBUS_U16)) {
        return wrong(check, "function 5 takes type BIT, function 15 BIT or U16");
    }
    if (write->function == 6U && words != 1U) {
        return wrong(check, "function 6 writes one register, this type has more");
    }
    return within(check, "address", write->address, 0, 65536 - (int64_t)words);
}

/* A count of the engine's own: nothing of it is scaled, stopped, read back or kept. */
static bool check_heartbeat(const struct check *check, const struct v2g_modbus_write *write) {
    const bool counts = (write->function == 6U && write->type == V2G_MODBUS_U16) ||
                        (write->function == 16U && write->type <= V2G_MODBUS_U32 && write->type != V2G_MODBUS_I16);
    if (!counts || write->multiplier != 1 || write->divisor != 1 || write->minimum > 0 || write->maximum < UINT16_MAX ||
        write->never_count != 0U || write->stop.count != 0U || write->start.count != 0U || write->result != V2G_MODBUS_NONE ||
        write->read_back != V2G_MODBUS_NONE || (write->flags & V2G_MODBUS_NONVOLATILE) != 0U) {
        return wrong(check, "a heartbeat is a plain count in a U16 or U32, without stop, start, read-back and scale");
    }
    return within(check, "min_interval_ns of a heartbeat", write->min_interval_ns, MB_MS, 3600 * MB_S);
}

static bool check_write_policy(const struct check *check, const struct v2g_modbus_write *write) {
    if ((write->flags & V2G_MODBUS_HEARTBEAT) != 0U) {
        return check_heartbeat(check, write);
    }
    if (!(within(check, "min_interval_ns", write->min_interval_ns, 0, 86400 * MB_S) &&
          within(check, "refresh_ns", write->refresh_ns, 0, 86400 * MB_S) &&
          within(check, "never_count", write->never_count, 0, V2G_MODBUS_NEVER) &&
          check_action(check, "stop action", &write->stop))) {
        return false;
    }
    if (write->start.count != 0U && !check_action(check, "start action", &write->start)) {
        return false;
    }
    if (write->minimum > write->maximum) {
        return wrong(check, "minimum is above maximum");
    }
    if ((write->flags & V2G_MODBUS_NONVOLATILE) == 0U) {
        return true;
    }
    if (write->refresh_ns != 0) {
        return wrong(check, "a nonvolatile register is never refreshed: refresh_ns must be 0");
    }
    return within(check, "min_interval_ns of a nonvolatile register", write->min_interval_ns, NONVOLATILE_INTERVAL_MIN_NS,
                  86400 * MB_S);
}

static bool check_read_back(const struct check *check, const struct v2g_modbus_write *write) {
    const struct v2g_modbus_config *config = check->config;
    if (write->read_back == V2G_MODBUS_NONE) {
        return write->function == 23U ? wrong(check, "function 23 needs a read-back") : true;
    }
    if (!within(check, "read_back", write->read_back, 0, (int64_t)config->register_count - 1)) {
        return false;
    }
    const struct v2g_modbus_register *reg = &config->registers[write->read_back];
    if (reg->device != write->device) {
        return wrong(check, "read_back is a register of another device");
    }
    if (write->function == 23U && reg->table != V2G_MODBUS_HOLDING) {
        return wrong(check, "function 23 reads back holding registers only");
    }
    return true;
}

static bool check_write(const struct check *check, const struct v2g_modbus_write *write) {
    const struct v2g_modbus_config *config = check->config;
    if (!(within(check, "device", write->device, 0, (int64_t)config->device_count - 1) &&
          within(check, "write_cell", write->write_cell, 0, (int64_t)config->write_cell_count - 1) &&
          within(check, "order", write->order, V2G_MODBUS_BIG, V2G_MODBUS_LITTLE) &&
          within(check, "divisor", write->divisor, 1, INT32_MAX) &&
          within(check, "coils", write->coils, write->function == 15U ? 1 : 0, 16))) {
        return false;
    }
    if (write->result != V2G_MODBUS_NONE && !within(check, "result", write->result, 0, (int64_t)config->cell_count - 1)) {
        return false;
    }
    if (write->multiplier == 0) {
        return wrong(check, "multiplier is 0");
    }
    return check_write_format(check, write) && check_write_policy(check, write) && check_read_back(check, write);
}

/* Registers of one device and table must not cut into each other: equal places are fine (bits), partial overlap is not. */
static bool check_overlaps(struct check *check) {
    const struct v2g_modbus_config *config = check->config;
    uint64_t keys[V2G_MODBUS_MAX_REGISTERS];
    mb_sort_registers(config, false, keys);
    for (uint32_t i = 1; i < config->register_count; i++) {
        const struct v2g_modbus_register *a = &config->registers[mb_key_index(keys[i - 1U])];
        const struct v2g_modbus_register *b = &config->registers[mb_key_index(keys[i])];
        if (a->device != b->device || a->table != b->table || a->address + mb_register_width(a) <= b->address) {
            continue;
        }
        if (a->address != b->address || mb_register_width(a) != mb_register_width(b)) {
            char text[96];
            (void)snprintf(text, sizeof text, "address %u cuts into register %" PRIu32 " at address %u", b->address,
                           mb_key_index(keys[i - 1U]), a->address);
            check->index = mb_key_index(keys[i]);
            return wrong(check, text);
        }
    }
    return true;
}

/* Every cell has one source. */
static bool claim_cell(const struct check *check, uint8_t *claimed, uint16_t cell) {
    if ((claimed[cell / 8U] & (1U << (cell % 8U))) != 0U) {
        char text[64];
        (void)snprintf(text, sizeof text, "cell %u already has another source", cell);
        return wrong(check, text);
    }
    claimed[cell / 8U] = (uint8_t)(claimed[cell / 8U] | 1U << (cell % 8U));
    return true;
}

static bool check_cells(struct check *check) {
    const struct v2g_modbus_config *config = check->config;
    uint8_t claimed[(UINT16_MAX + 1) / 8] = {0};
    check->part = "register";
    for (check->index = 0; check->index < config->register_count; check->index++) {
        if (!claim_cell(check, claimed, config->registers[check->index].cell)) {
            return false;
        }
    }
    check->part = "write";
    for (check->index = 0; check->index < config->write_count; check->index++) {
        const uint16_t cell = config->writes[check->index].result;
        if (cell != V2G_MODBUS_NONE && !claim_cell(check, claimed, cell)) {
            return false;
        }
    }
    return true;
}

static bool check_header(struct check *check) {
    const struct v2g_modbus_config *config = check->config;
    check->part = "config";
    return within(check, "device_count", config->device_count, 0, V2G_MODBUS_MAX_DEVICES) &&
           within(check, "register_count", config->register_count, 0, V2G_MODBUS_MAX_REGISTERS) &&
           within(check, "write_count", config->write_count, 0, V2G_MODBUS_MAX_WRITES) &&
           within(check, "cell_count", config->cell_count, 0, V2G_MODBUS_NONE) &&
           within(check, "write_cell_count", config->write_cell_count, 0, V2G_MODBUS_NONE) &&
           within(check, "write_scan_ns", config->write_scan_ns, MB_MS, MB_S) &&
           within(check, "backoff_min_ns", config->backoff_min_ns, MB_MS, 600 * MB_S) &&
           within(check, "backoff_max_ns", config->backoff_max_ns, config->backoff_min_ns, 600 * MB_S);
}

static bool check_parts(struct check *check) {
    const struct v2g_modbus_config *config = check->config;
    bool good = true;
    check->part = "device";
    for (check->index = 0; good && check->index < config->device_count; check->index++) {
        good = check_device(check, &config->devices[check->index]);
    }
    check->part = "register";
    for (check->index = 0; good && check->index < config->register_count; check->index++) {
        good = check_register(check, &config->registers[check->index]);
    }
    good = good && check_overlaps(check);
    check->part = "write";
    for (check->index = 0; good && check->index < config->write_count; check->index++) {
        good = check_write(check, &config->writes[check->index]);
    }
    return good;
}

int v2g_modbus_check(const struct v2g_modbus_config *config, char *error, size_t error_size) {
    struct check check = {.config = config, .error = error, .error_size = error_size};
    return check_header(&check) && check_parts(&check) && check_cells(&check) ? 0 : -1;
}
