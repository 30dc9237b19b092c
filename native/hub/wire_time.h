/* How long a frame occupies a CAN wire, and which of two frames wins arbitration. Pure functions, no state. */
#ifndef V2G_HUB_WIRE_TIME_H
#define V2G_HUB_WIRE_TIME_H

#include <linux/can.h>
#include <stdbool.h>
#include <stdint.h>

enum stuffing {
    STUFFING_WORST, /* the most stuff bits that any content of this length can need */
    STUFFING_ACTUAL /* classic frames: the stuff bits of this very content; CAN FD frames: as worst */
};

struct wire_rate {
    uint32_t nominal_bps; /* bit/s of arbitration and of classic frames; 0: the wire takes no time */
    uint32_t data_bps;    /* bit/s of the data phase of CAN FD frames with bit-rate switch */
    enum stuffing stuffing;
};

/* ns from start of frame to the end of the interframe space. `is_fd`: the frame came as a struct canfd_frame. */
uint64_t wire_time_ns(const struct wire_rate *rate, const struct canfd_frame *frame, bool is_fd);

/* The bits that compete on the wire, most significant first; the lower value wins (ISO 11898-1, arbitration field). */
uint32_t arbitration_key(canid_t can_id);

#endif
