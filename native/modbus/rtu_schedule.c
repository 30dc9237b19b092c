/* Does everything that a line is asked to do fit on it? Worked out when the config is committed.
 *
 * A transaction, once begun, is not interrupted; what is due first goes first. So every demand (a block that is read every T, a
 * setpoint that is written at most every T) of length C with deadline D is met when for each time t after everything fell due
 * at once: the demands with deadlines up to t, and the longest transaction that may have been begun just before and could have
 * waited, fit into t. (Processor demand analysis, Baruah, Rosier and Howell 1990, with one blocking transaction.) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rtu.h"

enum { READ_REQUEST = 8, PPM = 1000000, DEMANDS = 2048 };

struct demand {
    int64_t length_ns;
    int64_t every_ns;
    int64_t deadline_ns;
    uint32_t device;
};

struct plan {
    struct v2g_rtu_schedule *schedule;
    uint32_t count;
    int64_t sum_ns; /* of all lengths */
    struct demand demands[DEMANDS];
    struct mb_bus bus;
};

static int64_t later(int64_t a, int64_t b) {
    return a > b ? a : b;
}

void rtu_timing(const struct v2g_rtu_line *line, struct v2g_rtu_schedule *schedule) {
    const int64_t baud = line->baud;
    const int64_t bits = 1 + 8 + (line->parity != V2G_RTU_NONE ? 1 : 0) + line->stop_bits;
    memset(schedule, 0, sizeof *schedule);
    schedule->char_ns = (bits * MB_S + baud - 1) / baud;
    schedule->silence_ns = baud > 19200 ? 7 * MB_MS / 4 : (7 * bits * MB_S + 2 * baud - 1) / (2 * baud);
}

/* Time on the line of a transaction: request, turnaround, answer, silence. */
static int64_t transaction_ns(const struct mb_bus *bus, const struct v2g_rtu_schedule *schedule, uint32_t device,
                              uint32_t characters) {
    const struct v2g_modbus_device *config = &bus->config.devices[device];
    return characters * schedule->char_ns + later(schedule->silence_ns, config->turnaround_ns) +
           later(schedule->silence_ns, config->gap_ns);
}

static int64_t block_ns(const struct mb_bus *bus, const struct v2g_rtu_schedule *schedule, uint32_t device,
                        const struct mb_block *block) {
    const struct v2g_modbus_request request = {.function = block->function, .count = block->count};
    return transaction_ns(bus, schedule, device, READ_REQUEST + v2g_rtu_answer_length(&request));
}

/* Time of one write: the answer repeats the begin of the request, but function 23 answers with the block it reads. */
static int64_t one_write_ns(const struct mb_bus *bus, const struct v2g_rtu_schedule *schedule, uint32_t device,
                            struct v2g_modbus_request request) {
    uint8_t frame[V2G_RTU_FRAME];
    const uint32_t asked = (uint32_t)v2g_rtu_build(&request, frame);
    return transaction_ns(bus, schedule, device, asked + v2g_rtu_answer_length(&request));
}

static struct v2g_modbus_request action_request(const struct v2g_modbus_action *action) {
    return (struct v2g_modbus_request){.function = action->function, .count = action->count};
}

/* The longest of a setpoint's writes, its read-back included. */
static int64_t write_ns(const struct mb_bus *bus, const struct v2g_rtu_schedule *schedule, uint32_t index) {
    const struct v2g_modbus_write *write = &bus->config.writes[index];
    const uint16_t back = bus->points[index].read_back;
    const uint16_t words = (uint16_t)v2g_modbus_words(write->type);
    struct v2g_modbus_request value = {.function = write->function, .count = write->function == 15U ? write->coils : words};
    if (write->function == 23U) {
        value.count = bus->blocks[back].count;
        value.write_count = words;
    }
    int64_t longest = one_write_ns(bus, schedule, write->device, value);
    if (back != V2G_MODBUS_NONE && write->function != 23U) {
        longest += block_ns(bus, schedule, write->device, &bus->blocks[back]);
    }
    longest = later(longest, one_write_ns(bus, schedule, write->device, action_request(&write->stop)));
    return write->start.count == 0U ? longest
                                    : later(longest, one_write_ns(bus, schedule, write->device, action_request(&write->start)));
}

/* Devices begin their polls one after the other, not all at once. */
void rtu_phases(struct mb_bus *bus, const struct v2g_rtu_schedule *schedule) {
    int64_t phase = 0;
    for (uint32_t i = 0; i < bus->config.device_count; i++) {
        struct mb_device *dev = &bus->devices[i];
        dev->phase_ns = phase % bus->config.devices[i].poll_ns;
        for (uint32_t b = dev->block_first; b < dev->block_end; b++) {
            phase += block_ns(bus, schedule, i, &bus->blocks[b]);
        }
    }
}

static void add_demand(struct plan *plan, uint32_t device, int64_t length_ns, int64_t every_ns, int64_t deadline_ns) {
    struct v2g_rtu_schedule *schedule = plan->schedule;
    plan->demands[plan->count++] =
        (struct demand){.length_ns = length_ns, .every_ns = every_ns, .deadline_ns = deadline_ns, .device = device};
    plan->sum_ns += length_ns;
    schedule->longest_ns = later(schedule->longest_ns, length_ns);
    schedule->use_ppm += (length_ns * PPM + every_ns - 1) / every_ns;
}

static bool collect(struct plan *plan) {
    const struct mb_bus *bus = &plan->bus;
    for (uint32_t i = 0; i < bus->config.device_count; i++) {
        const struct mb_device *dev = &bus->devices[i];
        const int64_t poll_ns = bus->config.devices[i].poll_ns;
        for (uint32_t b = dev->block_first; b < dev->block_end; b++) {
            if (plan->count == DEMANDS) {
                return false;
            }
            add_demand(plan, i, block_ns(bus, plan->schedule, i, &bus->blocks[b]), poll_ns * bus->blocks[b].every, poll_ns);
        }
    }
    for (uint32_t i = 0; i < bus->config.write_count; i++) {
        const struct v2g_modbus_write *write = &bus->config.writes[i];
        const int64_t every_ns = later(write->min_interval_ns, bus->config.devices[write->device].poll_ns);
        if (plan->count == DEMANDS) {
            return false;
        }
        add_demand(plan, write->device, write_ns(bus, plan->schedule, i), every_ns, every_ns);
    }
    return true;
}

/* Line time that must have passed by `time_ns`. */
static int64_t needed_ns(const struct plan *plan, int64_t time_ns) {
    int64_t needed = 0;
    int64_t blocking = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct demand *demand = &plan->demands[i];
        if (demand->deadline_ns <= time_ns) {
            needed += ((time_ns - demand->deadline_ns) / demand->every_ns + 1) * demand->length_ns;
        } else {
            blocking = later(blocking, demand->length_ns);
        }
    }
    return needed + blocking;
}

/* The demand whose deadline is missed; plan->count: none. Fills slack_ns. */
static uint32_t find_miss(struct plan *plan) {
    struct v2g_rtu_schedule *schedule = plan->schedule;
    /* From here on the share of the line that is free outweighs all that can fall due at once. */
    const int64_t free_ppm = PPM - schedule->use_ppm;
    const int64_t horizon = (plan->sum_ns + schedule->longest_ns) / free_ppm * PPM + PPM;
    schedule->slack_ns = INT64_MAX;
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct demand *demand = &plan->demands[i];
        for (int64_t at = demand->deadline_ns; at <= later(horizon, demand->deadline_ns); at += demand->every_ns) {
            const int64_t slack = at - needed_ns(plan, at);
            schedule->slack_ns = slack < schedule->slack_ns ? slack : schedule->slack_ns;
            if (slack < 0) {
                return i;
            }
        }
    }
    return plan->count;
}

static int judge(struct plan *plan, const struct v2g_rtu_line *line, char *error, size_t error_size) {
    struct v2g_rtu_schedule *schedule = plan->schedule;
    if (!collect(plan)) {
        (void)snprintf(error, error_size, "rtu line %s: more than %d requests on one line", line->path, (int)DEMANDS);
        return -1;
    }
    if (schedule->use_ppm > V2G_RTU_USE_MAX_PPM) {
        (void)snprintf(error, error_size,
                       "rtu line %s: polls and writes need %.1f %% of the line at %" PRIu32 " baud, %.1f %% is there",
                       line->path, (double)schedule->use_ppm / 1e4, line->baud, V2G_RTU_USE_MAX_PPM / 1e4);
        return -1;
    }
    const uint32_t miss = find_miss(plan);
    if (miss < plan->count) {
        const struct demand *demand = &plan->demands[miss];
        (void)snprintf(error, error_size, "rtu line %s: device %" PRIu32 " wants an answer within %.1f ms, it may take %.1f ms",
                       line->path, demand->device, (double)demand->deadline_ns / 1e6,
                       (double)(demand->deadline_ns - schedule->slack_ns) / 1e6);
        return -1;
    }
    return 0;
}

static int check_line(const struct v2g_modbus_config *config, const struct v2g_rtu_line *line, char *error, size_t error_size) {
    const char *what = NULL;
    if (memchr(line->path, 0, sizeof line->path) == NULL || line->path[0] == 0) {
        what = "path is empty or too long";
    } else if (!rtu_known_baud(line->baud)) {
        what = "baud is not 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200 or 230400";
    } else if (line->family != 0U && ((line->family != 4U && line->family != 6U) || line->port == 0U)) {
        what = "family must be 0, 4 or 6, and over TCP port must not be 0";
    } else if (line->parity > V2G_RTU_ODD || line->stop_bits < 1U || line->stop_bits > 2U ||
               line->rs485 > V2G_RTU_RS485_REQUIRED) {
        what = "parity, stop_bits or rs485 is out of range";
    }
    for (uint32_t i = 0; what == NULL && i < config->device_count; i++) {
        what = config->devices[i].family != 0U ? "a device is not on a serial line (family must be 0)" : NULL;
    }
    if (what != NULL) {
        (void)snprintf(error, error_size, "rtu line %.*s: %s", (int)sizeof line->path - 1, line->path, what);
        return -1;
    }
    return 0;
}

int v2g_rtu_check(const struct v2g_modbus_config *config, const struct v2g_rtu_line *line, struct v2g_rtu_schedule *schedule,
                  char *error, size_t error_size) {
    if (v2g_modbus_check(config, error, error_size) != 0 || check_line(config, line, error, error_size) != 0) {
        return -1;
    }
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL) {
        (void)snprintf(error, error_size, "rtu line %s: no memory", line->path);
        return -1;
    }
    rtu_timing(line, schedule);
    plan->schedule = schedule;
    mb_plan(&plan->bus, config);
    const int result = judge(plan, line, error, error_size);
    free(plan);
    return result;
}
