/* From a frame to the image: find its table, check CRC and counter, decode, stamp. */
#include "can_io.h"

const struct v2g_can_rx *can_find(const struct v2g_can_config *can, uint32_t bus, uint32_t id) {
    uint32_t low = 0, high = can->rxs;
    while (low < high) { /* halves: at most 12 times */
        const uint32_t middle = (low + high) >> 1;
        const struct v2g_can_rx *r = &can->rx[middle];
        if (r->bus == bus && r->id == id)
            return r;
        if (r->bus < bus || (r->bus == bus && r->id < id))
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* False: the frame is damaged or not new; counted. */
static bool proven(const struct v2g_can_config *can, const struct v2g_can_rx *rx, const struct can_arrival *arrival,
                   struct v2g_can_watch *watch, struct v2g_bus_stats *stats) {
    const struct v2g_can_layout *layout = &can->layout[rx->layout];
    const struct canfd_frame *frame = arrival->frame;
    if (arrival->length < layout->length) {
        stats->bad_length++;
        return false;
    }
    if (layout->e2e == V2G_CAN_PLAIN)
        return true;
    if (!v2g_can_intact(can, rx->layout, frame->can_id & CAN_EFF_MASK, rx->data_id, frame->data)) {
        stats->bad_crc++;
        return false;
    }
    const uint32_t verdict = v2g_can_watch_step(watch, layout, frame->data[1] & 0x0FU, arrival->acquired_ns);
    stats->lost += verdict == V2G_CAN_COUNTER_LOST;
    stats->bad_counter += verdict > V2G_CAN_COUNTER_LOST;
    return verdict <= V2G_CAN_COUNTER_LOST;
}

/* The EVSE counts its own phases, the site's fuses see the site's. */
static uint32_t site_field(const struct v2g_can_rx *rx, uint32_t field) {
    if (field >= V2G_F_P_L1 && field <= V2G_F_P_L3)
        return V2G_F_P_L1 + rx->phase[field - V2G_F_P_L1];
    if (field >= V2G_F_I_L1 && field <= V2G_F_I_L3)
        return V2G_F_I_L1 + rx->phase[field - V2G_F_I_L1];
    return field;
}

static void put_value(struct v2g_evse_in *in, uint32_t field, int32_t value, bool valid, int64_t acquired_ns) {
    const uint32_t bit = 1U << field;
    if (!valid) {
        in->valid &= ~bit;
        return;
    }
    if ((in->valid & bit) == 0 || in->value[field] != value)
        in->changed_ns[field] = acquired_ns;
    in->value[field] = value;
    in->valid |= bit;
    in->acquired_ns[field] = acquired_ns;
}

int can_apply(const struct v2g_can_config *can, struct v2g_can_watch *watch, uint32_t bus, const struct can_arrival *arrival,
              struct v2g_image *image, struct v2g_bus_stats *stats, uint32_t *bad_frames) {
    const struct canfd_frame *frame = arrival->frame;
    const struct v2g_can_rx *rx = can_find(can, bus, frame->can_id);
    if (rx == NULL) {
        stats->unknown++;
        return -1;
    }
    if (!proven(can, rx, arrival, &watch[rx - can->rx], stats)) {
        bad_frames[rx->evse]++;
        return -1;
    }
    struct v2g_can_values values;
    v2g_can_decode(can, rx->layout, frame->data, arrival->length, &values);
    struct v2g_evse_in *in = &image->evse[rx->evse];
    for (uint32_t left = values.present; left != 0; left &= left - 1) { /* one round per field of the frame */
        const uint32_t field = (uint32_t)__builtin_ctz(left);
        put_value(in, site_field(rx, field), values.value[field], (values.valid >> field & 1U) != 0, arrival->acquired_ns);
    }
    in->frames++;
    stats->accepted++;
    return (int)rx->evse;
}
