/* How a protected frame proves that it is intact (CRC) and new (alive counter, deadline). */
#include "v2g_runtime.h"

/* SAE J1850 CRC-8, polynomial 0x1D, init 0xFF, final XOR 0xFF (AUTOSAR Specification of CRC Routines, CRC8): two nibbles a byte. */
static const uint8_t crc_nibble[16] = {0x00, 0x1D, 0x3A, 0x27, 0x74, 0x69, 0x4E, 0x53,
                                       0xE8, 0xF5, 0xD2, 0xCF, 0x9C, 0x81, 0xA6, 0xBB};

/* The same for polynomial 0x2F (CRC8H2F there). */
static const uint8_t crc_h2f_nibble[16] = {0x00, 0x2F, 0x5E, 0x71, 0xBC, 0x93, 0xE2, 0xCD,
                                           0x57, 0x78, 0x09, 0x26, 0xEB, 0xC4, 0xB5, 0x9A};

static uint8_t crc_step(const uint8_t nibble[16], uint8_t crc, uint32_t byte) {
    crc = (uint8_t)(crc ^ byte);
    crc = (uint8_t)((uint32_t)(crc << 4) ^ nibble[crc >> 4]);
    return (uint8_t)((uint32_t)(crc << 4) ^ nibble[crc >> 4]);
}

static uint8_t crc_byte(uint8_t crc, uint32_t byte) {
    return crc_step(crc_nibble, crc, byte);
}

uint8_t v2g_can_crc(uint32_t id, const uint8_t *data, uint32_t length) {
    uint8_t crc = crc_byte(0xFF, id & 0xFFU);
    crc = crc_byte(crc, (id >> 8) & 0xFFU);
    for (uint32_t i = 1; i < length; i++)
        crc = crc_byte(crc, data[i]);
    return (uint8_t)(crc ^ 0xFFU);
}

/* AUTOSAR_PRS_E2EProtocol, profile 1. The CRC library's start and end values cancel out: it starts from 0 and is not inverted. */
static uint8_t crc_p01(uint32_t id_mode, uint32_t data_id, const uint8_t *data, uint32_t length) {
    const uint32_t low = data_id & 0xFFU, high = (data_id >> 8) & 0xFFU;
    uint8_t crc = crc_byte(0, id_mode == V2G_CAN_ID_ALT && (data[1] & 1U) != 0 ? high : low);
    if (id_mode == V2G_CAN_ID_BOTH || id_mode == V2G_CAN_ID_NIBBLE)
        crc = crc_byte(crc, id_mode == V2G_CAN_ID_BOTH ? high : 0);
    for (uint32_t i = 1; i < length; i++)
        crc = crc_byte(crc, data[i]);
    return crc;
}

static uint8_t crc_p02(const uint8_t list[16], const uint8_t *data, uint32_t length) {
    uint8_t crc = 0xFF;
    for (uint32_t i = 1; i < length; i++)
        crc = crc_step(crc_h2f_nibble, crc, data[i]);
    return (uint8_t)(crc_step(crc_h2f_nibble, crc, list[data[1] & 0x0FU]) ^ 0xFFU);
}

static uint8_t frame_crc(const struct v2g_can_config *can, const struct v2g_can_layout *l, uint32_t id, uint32_t data_id,
                         const uint8_t *data) {
    if (l->e2e == V2G_CAN_E2E_P01)
        return crc_p01(l->id_mode, data_id, data, l->length);
    return l->e2e == V2G_CAN_E2E_P02 ? crc_p02(can->list[data_id].id, data, l->length) : v2g_can_crc(id, data, l->length);
}

static bool has_nibble(const struct v2g_can_layout *l) {
    return l->e2e == V2G_CAN_E2E_P01 && l->id_mode == V2G_CAN_ID_NIBBLE;
}

void v2g_can_protect(const struct v2g_can_config *can, uint32_t layout, uint32_t id, uint32_t data_id, uint64_t count,
                     uint8_t *data) {
    const struct v2g_can_layout *l = &can->layout[layout];
    if (l->e2e == V2G_CAN_PLAIN)
        return;
    const uint32_t counter = (uint32_t)(l->e2e == V2G_CAN_E2E_P02 ? count % 16U : count % 15U);
    const uint32_t upper = has_nibble(l) ? (data_id >> 4) & 0xF0U : data[1] & 0xF0U;
    data[1] = (uint8_t)(upper | counter);
    data[0] = frame_crc(can, l, id, data_id, data);
}

bool v2g_can_intact(const struct v2g_can_config *can, uint32_t layout, uint32_t id, uint32_t data_id, const uint8_t *data) {
    const struct v2g_can_layout *l = &can->layout[layout];
    if (l->e2e == V2G_CAN_PLAIN)
        return true;
    const bool nibble = !has_nibble(l) || (data[1] & 0xF0U) == ((data_id >> 4) & 0xF0U);
    return nibble && data[0] == frame_crc(can, l, id, data_id, data);
}

enum { COUNTERS = 15, COUNTERS_P02 = 16 };

/* Verdict by the distance (counter - last) mod 15 or 16. After a jump the automaton follows, so that the next in order is good. */
static const uint8_t verdict[COUNTERS_P02] = {
    V2G_CAN_COUNTER_REPEATED, V2G_CAN_COUNTER_OK,     V2G_CAN_COUNTER_LOST,   V2G_CAN_COUNTER_LOST,
    V2G_CAN_COUNTER_LOST,     V2G_CAN_COUNTER_JUMPED, V2G_CAN_COUNTER_JUMPED, V2G_CAN_COUNTER_JUMPED,
    V2G_CAN_COUNTER_JUMPED,   V2G_CAN_COUNTER_JUMPED, V2G_CAN_COUNTER_JUMPED, V2G_CAN_COUNTER_JUMPED,
    V2G_CAN_COUNTER_JUMPED,   V2G_CAN_COUNTER_JUMPED, V2G_CAN_COUNTER_JUMPED, V2G_CAN_COUNTER_JUMPED,
};

static uint32_t counter_step(uint8_t *last, uint8_t counter, uint8_t counters) {
    const uint8_t was = *last;
    if (counter >= counters)
        return V2G_CAN_COUNTER_INVALID;
    *last = counter;
    if (was >= counters)
        return V2G_CAN_COUNTER_OK;
    return verdict[counter >= was ? counter - was : counter + counters - was];
}

uint32_t v2g_can_counter_step(uint8_t *last, uint8_t counter) {
    return counter_step(last, counter, COUNTERS);
}

/* After the deadline the counter has had time to come round: a frame that lay in a queue all the while would look new. The
 * first frame after it only says where the counter stands; the next one in order counts. */
uint32_t v2g_can_watch_step(struct v2g_can_watch *watch, const struct v2g_can_layout *layout, uint8_t counter,
                            int64_t acquired_ns) {
    const int64_t deadline_ns = (int64_t)layout->deadline_us * 1000;
    const bool silent = deadline_ns != 0 && watch->counter != V2G_CAN_UNSYNCED && acquired_ns - watch->seen_ns > deadline_ns;
    const uint32_t step =
        counter_step(&watch->counter, counter, layout->e2e == V2G_CAN_E2E_P02 ? (uint8_t)COUNTERS_P02 : (uint8_t)COUNTERS);
    if (step == V2G_CAN_COUNTER_REPEATED || step == V2G_CAN_COUNTER_INVALID)
        return step;
    watch->seen_ns = acquired_ns;
    return silent ? (uint32_t)V2G_CAN_COUNTER_JUMPED : step;
}
