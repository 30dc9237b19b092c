/* CAN frames by table: bytes → values, setpoint → bytes. Pure, total on any bytes; the tables were checked at commit. */
#include <linux/can.h>
#include <string.h>

#include "v2g_runtime.h"

/* Number of the first bit in the order in which the signal's bits follow one another through the bytes. */
static uint32_t first_bit(const struct v2g_can_signal *s) {
    return (s->option & V2G_CAN_BIG_ENDIAN) ? (s->start & ~7U) + (7U - (s->start & 7U)) : s->start;
}

static uint32_t bit_mask(uint32_t bits) {
    return (uint32_t)((1ULL << bits) - 1U);
}

static uint32_t get_bits(const struct v2g_can_signal *s, const uint8_t *data) {
    const uint32_t bit = first_bit(s), first = bit >> 3, last = (bit + s->bits - 1U) >> 3; /* at most 5 bytes */
    uint64_t all = 0;
    if (s->option & V2G_CAN_BIG_ENDIAN) {
        for (uint32_t b = first; b <= last; b++)
            all = (all << 8) | data[b];
        all >>= (last + 1U) * 8U - (bit + s->bits);
    } else {
        for (uint32_t b = first; b <= last; b++)
            all |= (uint64_t)data[b] << ((b - first) * 8U);
        all >>= bit & 7U;
    }
    return (uint32_t)all & bit_mask(s->bits);
}

static void put_bits(const struct v2g_can_signal *s, uint8_t *data, uint32_t raw) {
    const uint32_t bit = first_bit(s), first = bit >> 3, last = (bit + s->bits - 1U) >> 3;
    uint64_t all = raw & bit_mask(s->bits);
    if (s->option & V2G_CAN_BIG_ENDIAN) {
        all <<= (last + 1U) * 8U - (bit + s->bits);
        for (uint32_t b = first; b <= last; b++)
            data[b] |= (uint8_t)(all >> ((last - b) * 8U));
    } else {
        all <<= bit & 7U;
        for (uint32_t b = first; b <= last; b++)
            data[b] |= (uint8_t)(all >> ((b - first) * 8U));
    }
}

/* value * mul / 2^shift towards 0: a division by a constant without dividing. */
static int64_t scaled(int64_t value, int32_t mul, uint32_t shift) {
    const int64_t product = value * mul;
    return product < 0 ? -(-product >> shift) : product >> shift;
}

static int64_t signed_value(const struct v2g_can_signal *s, uint32_t raw) {
    const bool negative = (s->option & V2G_CAN_SIGNED) && (raw >> (s->bits - 1U)) != 0;
    return negative ? (int64_t)raw - (int64_t)(1ULL << s->bits) : (int64_t)raw;
}

static void decode_signal(const struct v2g_can_signal *s, const uint8_t *data, struct v2g_can_values *out) {
    const uint32_t raw = get_bits(s, data), bit = 1U << s->field;
    const bool first = (out->present & bit) == 0;
    out->present |= bit;
    if (s->option & V2G_CAN_FLAG) {
        out->value[s->field] = (first ? 0 : out->value[s->field]) | (raw != 0 ? s->mul : 0);
        out->valid |= bit;
        return;
    }
    int64_t value = scaled(signed_value(s, raw), s->mul, s->shift) + s->offset;
    if ((s->option & V2G_CAN_MAGNITUDE) && value < 0)
        value = -value;
    const bool none = (s->option & V2G_CAN_HAS_INVALID) && raw == s->invalid;
    if (none || value < s->minimum || value > s->maximum)
        return;
    out->value[s->field] = (int32_t)value;
    out->valid |= bit;
}

static struct v2g_can_signal multiplexor(const struct v2g_can_layout *l) {
    return (struct v2g_can_signal){.start = l->mux_start, .bits = l->mux_bits, .option = l->mux_option};
}

void v2g_can_decode(const struct v2g_can_config *can, uint32_t layout, const uint8_t *data, uint32_t length,
                    struct v2g_can_values *out) {
    memset(out, 0, sizeof *out);
    const struct v2g_can_layout *l = &can->layout[layout];
    if (length < l->length)
        return;
    const struct v2g_can_signal mux = multiplexor(l);
    const uint32_t page = l->mux_bits == 0 ? 0 : get_bits(&mux, data);
    for (uint32_t i = 0; i < l->signals; i++) {
        const struct v2g_can_signal *s = &can->signal[l->first + i];
        if ((s->option & V2G_CAN_MULTIPLEXED) == 0 || s->mux == page)
            decode_signal(s, data, out);
    }
}

static int32_t source_value(const struct v2g_setpoint *setpoint, uint32_t source) {
    switch (source) {
    case V2G_CAN_TARGET:
        return setpoint->target_w;
    case V2G_CAN_MAX:
        return setpoint->max_w;
    case V2G_CAN_MIN:
        return setpoint->min_w;
    default:
        return setpoint->mode;
    }
}

static uint32_t encode_signal(const struct v2g_can_signal *s, int32_t value) {
    const int64_t span = (int64_t)1 << s->bits;
    const int64_t low = (s->option & V2G_CAN_SIGNED) ? -(span >> 1) : 0;
    const int64_t high = low + span - 1;
    int64_t raw = scaled(value, s->mul, s->shift) + s->offset;
    if (raw < low)
        raw = low;
    if (raw > high)
        raw = high;
    return (uint32_t)((uint64_t)raw & (uint64_t)(span - 1));
}

uint32_t v2g_can_encode(const struct v2g_can_config *can, const struct v2g_can_tx *tx, uint64_t count,
                        const struct v2g_setpoint *setpoint, uint8_t data[V2G_CAN_MAX_BYTES]) {
    const struct v2g_can_layout *l = &can->layout[tx->layout];
    memset(data, 0, V2G_CAN_MAX_BYTES);
    for (uint32_t i = 0; i < l->signals; i++) {
        const struct v2g_can_signal *s = &can->signal[l->first + i];
        put_bits(s, data, encode_signal(s, source_value(setpoint, s->field)));
    }
    v2g_can_protect(can, tx->layout, tx->id & CAN_EFF_MASK, tx->data_id, count, data);
    return l->length;
}

/* ---- Checks --------------------------------------------------------------------------------------------------------------- */

/* Bits of a protected frame that hold CRC and counter (and, in profile 1 with its nibble, a part of the identifier). */
static uint32_t reserved_bits(const struct v2g_can_layout *l) {
    if (l->e2e == V2G_CAN_PLAIN)
        return 0;
    return l->e2e == V2G_CAN_E2E_P01 && l->id_mode == V2G_CAN_ID_NIBBLE ? 16 : 12;
}

/* ISO 11898-1: a CAN FD frame has one of these lengths. */
static bool length_good(uint32_t length, bool fd) {
    static const uint8_t longer[] = {12, 16, 20, 24, 32, 48, 64};
    if (length >= 1 && length <= 8)
        return true;
    for (uint32_t i = 0; fd && i < sizeof longer; i++)
        if (longer[i] == length)
            return true;
    return false;
}

static bool inside(uint32_t first, uint32_t bits, const struct v2g_can_layout *l) {
    return first + bits <= (uint32_t)l->length * 8U;
}

static bool signal_good(const struct v2g_can_signal *s, const struct v2g_can_layout *l, bool transmit) {
    if (s->bits < 1 || s->bits > V2G_CAN_MAX_BITS || s->shift > V2G_CAN_MAX_SHIFT || s->mul == 0 ||
        s->mul == INT32_MIN) /* times 32 bits, plus an offset, its magnitude would not fit 64 bits */
        return false;
    if (s->field >= (transmit ? (uint32_t)V2G_CAN_SOURCES : (uint32_t)V2G_FIELDS))
        return false;
    const uint32_t bit = first_bit(s), size = (uint32_t)l->length * 8U;
    if (s->start >= size || bit + s->bits > size)
        return false;
    if (transmit && (bit < reserved_bits(l) || (s->option & V2G_CAN_MULTIPLEXED) != 0))
        return false;
    if ((s->option & V2G_CAN_MULTIPLEXED) != 0 && l->mux_bits == 0)
        return false;
    return (s->option & V2G_CAN_FLAG) == 0 || (s->bits == 1 && s->mul > 0);
}

static bool layout_good(const struct v2g_can_config *can, uint32_t index) {
    const struct v2g_can_layout *l = &can->layout[index];
    if (l->fd > 1 || !length_good(l->length, l->fd != 0) || l->e2e >= V2G_CAN_E2E_KINDS || l->id_mode >= V2G_CAN_ID_MODES)
        return false;
    if (l->e2e != V2G_CAN_PLAIN && l->length < 3)
        return false;
    const struct v2g_can_signal mux = multiplexor(l);
    if (l->mux_bits > 16 ||
        (l->mux_bits != 0 && (l->mux_start >= 8U * V2G_CAN_MAX_BYTES || !inside(first_bit(&mux), mux.bits, l))))
        return false;
    return (uint32_t)l->first + l->signals <= can->signals;
}

/* The list that this message needs is there. */
static bool list_good(const struct v2g_can_config *can, uint32_t layout, uint32_t data_id) {
    return can->layout[layout].e2e != V2G_CAN_E2E_P02 || data_id < can->lists;
}

/* Returns 0 or 1 + the index of the first bad signal of this layout. */
static uint32_t signals_check(const struct v2g_can_config *can, uint32_t layout, bool transmit) {
    const struct v2g_can_layout *l = &can->layout[layout];
    for (uint32_t i = l->first; i < (uint32_t)l->first + l->signals; i++)
        if (!signal_good(&can->signal[i], l, transmit))
            return V2G_CAN_FAULT_SIGNAL + 1 + i;
    return 0;
}

static bool after(const struct v2g_can_rx *a, const struct v2g_can_rx *b) {
    return a->bus > b->bus || (a->bus == b->bus && a->id > b->id);
}

static bool rx_good(const struct v2g_can_config *can, uint32_t index, uint32_t evses) {
    const struct v2g_can_rx *r = &can->rx[index];
    const bool phases = r->phase[0] < 3 && r->phase[1] < 3 && r->phase[2] < 3;
    return r->bus < can->buses && r->layout < can->layouts && r->evse < evses && phases &&
           list_good(can, r->layout, r->data_id) && (index == 0 || after(r, &can->rx[index - 1]));
}

uint32_t v2g_can_check(const struct v2g_can_config *can, const struct v2g_config *config) {
    if (can->buses > V2G_MAX_BUSES || can->layouts > V2G_CAN_MAX_LAYOUTS || can->signals > V2G_CAN_MAX_SIGNALS ||
        can->rxs > V2G_CAN_MAX_RX || can->txs > V2G_CAN_MAX_TX || can->lists > V2G_CAN_MAX_LISTS)
        return V2G_CAN_FAULT_COUNT + 1;
    for (uint32_t i = 0; i < can->layouts; i++)
        if (!layout_good(can, i))
            return V2G_CAN_FAULT_LAYOUT + 1 + i;
    for (uint32_t i = 0; i < can->rxs; i++) {
        if (!rx_good(can, i, config->evses))
            return V2G_CAN_FAULT_RX + 1 + i;
        const uint32_t bad = signals_check(can, can->rx[i].layout, false);
        if (bad != 0)
            return bad;
    }
    for (uint32_t i = 0; i < can->txs; i++) {
        const struct v2g_can_tx *t = &can->tx[i];
        if (t->bus >= can->buses || t->layout >= can->layouts || t->evse >= config->evses ||
            !list_good(can, t->layout, t->data_id))
            return V2G_CAN_FAULT_TX + 1 + i;
        const uint32_t bad = signals_check(can, t->layout, true);
        if (bad != 0)
            return bad;
    }
    return 0;
}
