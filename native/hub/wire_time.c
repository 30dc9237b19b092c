/* Frame lengths in bits, from the frame formats of ISO 11898-1.
 * Classic: 34 stuffable bits with an 11-bit id, 54 with a 29-bit id, then 8 per data byte; 13 bits never stuffed
 * (CRC delimiter 1, ACK 2, end of frame 7, interframe space 3). 8 bytes at 500 kbit/s: 222 to 270 us. */
#include "wire_time.h"

#include <stddef.h>

enum {
    TAIL_BITS = 13, /* CRC delimiter, ACK slot and delimiter, end of frame, interframe space */
    CRC15_POLYNOMIAL = 0x4599,
    MAX_CLASSIC_BITS = 54 + 64,
    NS_PER_S = 1000000000
};

/* A classic frame as it leaves the controller, before stuffing. */
struct bit_stream {
    uint8_t bit[MAX_CLASSIC_BITS];
    uint32_t count;
    uint16_t crc;
};

static void push_bits(struct bit_stream *s, uint32_t value, uint32_t width) {
    for (uint32_t i = width; i > 0; i--) {
        const uint8_t bit = (uint8_t)((value >> (i - 1)) & 1U);
        const uint16_t feedback = (uint16_t)(((s->crc >> 14) & 1U) ^ bit);
        s->crc = (uint16_t)((s->crc << 1) & 0x7FFFU);
        if (feedback != 0)
            s->crc ^= CRC15_POLYNOMIAL;
        s->bit[s->count++] = bit;
    }
}

static void push_header(struct bit_stream *s, canid_t can_id, uint32_t dlc) {
    const uint32_t rtr = (can_id & CAN_RTR_FLAG) != 0 ? 1 : 0;
    push_bits(s, 0, 1); /* start of frame */
    if ((can_id & CAN_EFF_FLAG) != 0) {
        push_bits(s, (can_id & CAN_EFF_MASK) >> 18, 11);
        push_bits(s, 3, 2); /* SRR, IDE */
        push_bits(s, can_id & 0x3FFFF, 18);
        push_bits(s, rtr, 1);
        push_bits(s, 0, 2); /* r1, r0 */
    } else {
        push_bits(s, can_id & CAN_SFF_MASK, 11);
        push_bits(s, rtr, 1);
        push_bits(s, 0, 2); /* IDE, r0 */
    }
    push_bits(s, dlc, 4);
}

static uint32_t count_stuff_bits(const struct bit_stream *s) {
    uint32_t stuffed = 0;
    uint32_t run = 0;
    uint8_t last = 1; /* the idle wire before start of frame */
    for (uint32_t i = 0; i < s->count; i++) {
        run = s->bit[i] == last ? run + 1 : 1;
        last = s->bit[i];
        if (run == 5) { /* the stuff bit is the opposite one and begins the next run */
            stuffed++;
            last = (uint8_t)(1 - last);
            run = 1;
        }
    }
    return stuffed;
}

static uint32_t classic_bits(enum stuffing stuffing, const struct canfd_frame *frame) {
    const uint32_t bytes = frame->len <= CAN_MAX_DLEN ? frame->len : CAN_MAX_DLEN;
    const uint32_t sent = (frame->can_id & CAN_RTR_FLAG) != 0 ? 0 : bytes;
    const uint32_t stuffable = ((frame->can_id & CAN_EFF_FLAG) != 0 ? 54U : 34U) + 8U * sent;
    if (stuffing == STUFFING_WORST)
        return stuffable + (stuffable - 1) / 4 + TAIL_BITS;

    struct bit_stream s = {.count = 0, .crc = 0};
    push_header(&s, frame->can_id, bytes);
    for (size_t i = 0; i < sent; i++)
        push_bits(&s, frame->data[i], 8);
    push_bits(&s, s.crc, 15);
    return s.count + count_stuff_bits(&s) + TAIL_BITS;
}

/* CAN FD with worst stuffing: arbitration 17 bits (36 with a 29-bit id), then ESI, DLC, data, stuff count and CRC. */
static uint64_t fd_time_ns(const struct wire_rate *rate, const struct canfd_frame *frame) {
    const uint32_t bytes = frame->len <= CANFD_MAX_DLEN ? frame->len : CANFD_MAX_DLEN;
    const uint32_t arbitration = (frame->can_id & CAN_EFF_FLAG) != 0 ? 36 : 17;
    const uint32_t payload = 1 + 4 + 8 * bytes;
    const uint32_t check = bytes <= 16 ? 4 + 17 + 6 : 4 + 21 + 7; /* stuff count, CRC, fixed stuff bits */
    const uint64_t nominal = arbitration + arbitration / 4 + TAIL_BITS;
    const uint64_t data = payload + payload / 4 + check;
    const uint32_t data_bps = (frame->flags & CANFD_BRS) != 0 ? rate->data_bps : rate->nominal_bps;
    return nominal * NS_PER_S / rate->nominal_bps + data * NS_PER_S / data_bps;
}

uint64_t wire_time_ns(const struct wire_rate *rate, const struct canfd_frame *frame, bool is_fd) {
    if (rate->nominal_bps == 0)
        return 0;
    if (is_fd)
        return fd_time_ns(rate, frame);
    return (uint64_t)classic_bits(rate->stuffing, frame) * NS_PER_S / rate->nominal_bps;
}

uint32_t arbitration_key(canid_t can_id) {
    const uint32_t rtr = (can_id & CAN_RTR_FLAG) != 0 ? 1 : 0;
    if ((can_id & CAN_EFF_FLAG) == 0)
        return (can_id & CAN_SFF_MASK) << 21 | rtr << 20;
    const uint32_t id = can_id & CAN_EFF_MASK;
    return (id >> 18) << 21 | 3U << 19 | (id & 0x3FFFFU) << 1 | rtr;
}
