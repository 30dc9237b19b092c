/* CAN as the cycle uses it: sockets in batches, frames into the image. */
#ifndef V2G_CAN_IO_H
#define V2G_CAN_IO_H

#include <linux/can.h>
#include <sys/socket.h>
#include <time.h>

#include "v2g_runtime.h"

enum {
    CAN_BATCH = 64,  /* frames per recvmmsg */
    CAN_ROUNDS = 32, /* batches per bus and cycle: a flood can't keep the cycle for itself */
    CAN_CONTROL = 64 /* bytes of ancillary data: a time stamp and an overflow count */
};

/* Memory of one recvmmsg or sendmmsg call; nothing in it outlives the call. */
struct can_io {
    struct mmsghdr message[V2G_CAN_MAX_TX];
    struct iovec part[V2G_CAN_MAX_TX];
    struct canfd_frame frame[V2G_CAN_MAX_TX];
    _Alignas(8) uint8_t control[CAN_BATCH][CAN_CONTROL];
};

/* One received frame with what the kernel said about it. */
struct can_arrival {
    const struct canfd_frame *frame; /* a struct can_frame lies at the same offsets */
    uint32_t length;                 /* data bytes that really came, 0…64 */
    int64_t acquired_ns;             /* CLOCK_MONOTONIC */
    bool has_overflow;
    uint32_t overflow; /* frames this socket lost so far, wraps */
};

/* Two clocks read at the same time turn a kernel stamp into CLOCK_MONOTONIC. `oldest_ns`: when the socket was last empty; no
 * frame is older, whatever the wall clock did meanwhile. */
struct can_clock {
    int64_t now_ns;
    int64_t real_ns;
    int64_t oldest_ns;
};

/* Up to CAN_BATCH frames without waiting: their number, 0 when there is none, -errno when the bus is gone. */
int can_receive(struct can_io *io, int fd);
void can_arrival(const struct can_io *io, int index, const struct can_clock *clock, struct can_arrival *out);

/* Sends the first `count` frames of io->frame without waiting. Returns how many the kernel took, or -errno when the bus is
 * gone; a full queue is no error. `fd_frame[i]`: frame i is CAN FD. */
int can_send(struct can_io *io, int fd, int count, const bool *fd_frame);

/* True: something that was sent before has not left the socket's queue yet. */
bool can_queued(int fd);

/* One command frame. True: it is CAN FD. */
bool can_command(const struct v2g_can_config *can, const struct v2g_can_tx *tx, uint64_t count,
                 const struct v2g_setpoint *setpoint, struct canfd_frame *frame);

/* What an error frame says about the controller, or the state it was in. */
uint32_t can_error_state(const struct canfd_frame *frame, uint32_t state);

/* The receive table's entry of this identifier or NULL. */
const struct v2g_can_rx *can_find(const struct v2g_can_config *can, uint32_t bus, uint32_t id);

/* Checks one data frame, decodes it and puts its values into the image. Returns the EVSE or -1 when the frame was dropped.
 * `watch` holds the counter automata, one per receive entry; `bad_frames` counts by EVSE. */
int can_apply(const struct v2g_can_config *can, struct v2g_can_watch *watch, uint32_t bus, const struct can_arrival *arrival,
              struct v2g_image *image, struct v2g_bus_stats *stats, uint32_t *bad_frames);

#endif
