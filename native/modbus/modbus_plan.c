/* Commit of a config: registers are sorted and merged into blocks once, so that a poll only walks a list. */
#include <stdlib.h>
#include <string.h>

#include "modbus.h"

_Static_assert(V2G_MODBUS_MAX_REGISTERS <= 0x4000, "an index fits the low 14 bits of a key");

static int compare_keys(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Keys in the order device, table, address; with `by_period` those that are read equally often stand together. */
void mb_sort_registers(const struct v2g_modbus_config *config, bool by_period, uint64_t *keys) {
    for (uint32_t i = 0; i < config->register_count; i++) {
        const struct v2g_modbus_register *reg = &config->registers[i];
        const uint64_t every = by_period ? reg->every : 0U;
        keys[i] =
            (uint64_t)reg->device << 49 | (uint64_t)(reg->table - 1U) << 46 | every << 30 | (uint64_t)reg->address << 14 | i;
    }
    qsort(keys, config->register_count, sizeof *keys, compare_keys);
}

static bool joins(const struct mb_bus *bus, const struct mb_block *block, const struct v2g_modbus_register *first,
                  const struct v2g_modbus_register *reg) {
    const struct v2g_modbus_device *device = &bus->config.devices[reg->device];
    const bool bits = reg->table <= V2G_MODBUS_DISCRETE;
    const uint32_t most = bits ? V2G_MODBUS_MAX_READ_BITS : device->max_words;
    return first->device == reg->device && first->table == reg->table && first->every == reg->every &&
           reg->address <= (uint32_t)block->address + block->count + device->merge_gap &&
           reg->address + mb_register_width(reg) - block->address <= most;
}

static void extend(struct mb_block *block, const struct v2g_modbus_register *reg) {
    const uint32_t count = reg->address + mb_register_width(reg) - block->address;
    if (count > block->count) {
        block->count = (uint16_t)count;
    }
    block->end++;
}

static void add_block(struct mb_bus *bus, uint32_t blocks, uint32_t index) {
    const struct v2g_modbus_register *reg = &bus->config.registers[index];
    struct mb_device *device = &bus->devices[reg->device];
    bus->blocks[blocks] = (struct mb_block){.address = reg->address,
                                            .count = (uint16_t)mb_register_width(reg),
                                            .every = reg->every,
                                            .function = reg->table,
                                            .first = (uint16_t)index,
                                            .end = (uint16_t)(index + 1U)};
    if (device->block_end == 0U) {
        device->block_first = (uint16_t)blocks;
    }
    device->block_end = (uint16_t)(blocks + 1U);
}

/* Fills bus->config.registers sorted, bus->blocks, and the blocks of each device; block_of[i] is where register i went. */
static void plan_reads(struct mb_bus *bus, const struct v2g_modbus_config *config, uint16_t *block_of) {
    uint64_t keys[V2G_MODBUS_MAX_REGISTERS];
    uint32_t blocks = 0;
    mb_sort_registers(config, true, keys);
    for (uint32_t i = 0; i < config->register_count; i++) {
        const struct v2g_modbus_register *reg = &config->registers[mb_key_index(keys[i])];
        bus->config.registers[i] = *reg;
        struct mb_block *block = blocks == 0U ? NULL : &bus->blocks[blocks - 1U];
        if (block != NULL && joins(bus, block, &bus->config.registers[block->first], reg)) {
            extend(block, reg);
        } else {
            add_block(bus, blocks++, i);
        }
        block_of[mb_key_index(keys[i])] = (uint16_t)(blocks - 1U);
    }
}

/* Fills bus->config.writes sorted by device (their order within a device is kept) and the points. */
static void plan_writes(struct mb_bus *bus, const struct v2g_modbus_config *config, const uint16_t *block_of) {
    uint64_t keys[V2G_MODBUS_MAX_WRITES];
    for (uint32_t i = 0; i < config->write_count; i++) {
        keys[i] = (uint64_t)config->writes[i].device << 14 | i;
    }
    qsort(keys, config->write_count, sizeof *keys, compare_keys);
    for (uint32_t i = 0; i < config->write_count; i++) {
        const struct v2g_modbus_write *write = &config->writes[mb_key_index(keys[i])];
        struct mb_device *device = &bus->devices[write->device];
        bus->config.writes[i] = *write;
        const uint16_t block = write->read_back == V2G_MODBUS_NONE ? (uint16_t)V2G_MODBUS_NONE : block_of[write->read_back];
        bus->points[i] = (struct mb_point){.read_back = block, .hold_ns = INT64_MIN, .retry_ns = INT64_MIN};
        if (device->point_end == 0U) {
            device->point_first = (uint16_t)i;
        }
        device->point_end = (uint16_t)(i + 1U);
    }
}

/* A refused write is worth repeating soon, a setpoint may depend on it. */
static const int64_t RETRY_NS = 100 * MB_MS;

void mb_plan(struct mb_bus *bus, const struct v2g_modbus_config *config) {
    uint16_t block_of[V2G_MODBUS_MAX_REGISTERS];
    bus->retry_ns = RETRY_NS;
    memcpy(&bus->config, config, offsetof(struct v2g_modbus_config, devices));
    memcpy(bus->config.devices, config->devices, config->device_count * sizeof *config->devices);
    memset(bus->devices, 0, config->device_count * sizeof *bus->devices);
    memset(bus->silences, 0, config->device_count * sizeof *bus->silences);
    plan_reads(bus, config, block_of);
    plan_writes(bus, config, block_of);
}
