/* Sockets in batches: recvmmsg and sendmmsg, kernel time stamps, overflow counts. The same code serves SocketCAN and the hub. */
#include <errno.h>
#include <linux/can/error.h>
#include <linux/sock_diag.h>
#include <stddef.h>
#include <string.h>

#include "can_io.h"

static int gone(int error) {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS ? 0 : -error;
}

int can_receive(struct can_io *io, int fd) {
    for (int i = 0; i < CAN_BATCH; i++) {
        io->part[i] = (struct iovec){.iov_base = &io->frame[i], .iov_len = sizeof io->frame[i]};
        io->message[i].msg_hdr = (struct msghdr){
            .msg_iov = &io->part[i], .msg_iovlen = 1, .msg_control = io->control[i], .msg_controllen = CAN_CONTROL};
    }
    const int n = recvmmsg(fd, io->message, CAN_BATCH, MSG_DONTWAIT, NULL);
    if (n < 0)
        return gone(errno);
    return n > 0 && io->message[n - 1].msg_len == 0 ? -ENOTCONN : n; /* the hub has closed */
}

static int64_t monotonic_of(const struct timespec *stamp, const struct can_clock *clock) {
    const int64_t real_ns = (int64_t)stamp->tv_sec * 1000000000 + stamp->tv_nsec;
    const int64_t acquired_ns = clock->now_ns - (clock->real_ns - real_ns);
    if (acquired_ns > clock->now_ns)
        return clock->now_ns;
    return acquired_ns < clock->oldest_ns ? clock->oldest_ns : acquired_ns;
}

/* What the frame says of its length counts only as far as the packet carries it. */
static uint32_t data_length(const struct canfd_frame *frame, size_t packet) {
    const uint32_t most = packet == CANFD_MTU ? CANFD_MAX_DLEN : packet == CAN_MTU ? CAN_MAX_DLEN : 0;
    return frame->len <= most ? frame->len : 0;
}

void can_arrival(const struct can_io *io, int index, const struct can_clock *clock, struct can_arrival *out) {
    const struct canfd_frame *frame = &io->frame[index];
    *out = (struct can_arrival){
        .frame = frame, .length = data_length(frame, io->message[index].msg_len), .acquired_ns = clock->now_ns};
    struct msghdr header = io->message[index].msg_hdr;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c != NULL; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            out->acquired_ns = monotonic_of(&stamp, clock);
        } else if (c->cmsg_type == SO_RXQ_OVFL) {
            memcpy(&out->overflow, CMSG_DATA(c), sizeof out->overflow);
            out->has_overflow = true;
        }
    }
}

int can_send(struct can_io *io, int fd, int count, const bool *fd_frame) {
    for (int i = 0; i < count; i++) {
        io->part[i] = (struct iovec){.iov_base = &io->frame[i], .iov_len = fd_frame[i] ? CANFD_MTU : CAN_MTU};
        io->message[i].msg_hdr = (struct msghdr){.msg_iov = &io->part[i], .msg_iovlen = 1};
    }
    const int n = sendmmsg(fd, io->message, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? gone(errno) : n;
}

bool can_queued(int fd) {
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof info;
    return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) == 0 && info[SK_MEMINFO_WMEM_ALLOC] > 0;
}

bool can_command(const struct v2g_can_config *can, const struct v2g_can_tx *tx, uint64_t count,
                 const struct v2g_setpoint *setpoint, struct canfd_frame *frame) {
    const bool fd_frame = can->layout[tx->layout].fd != 0;
    memset(frame, 0, offsetof(struct canfd_frame, data));
    frame->can_id = tx->id;
    frame->len = (uint8_t)v2g_can_encode(can, tx, count, setpoint, frame->data);
    frame->flags = fd_frame ? CANFD_BRS : 0;
    return fd_frame;
}

uint32_t can_error_state(const struct canfd_frame *frame, uint32_t state) {
    if (frame->can_id & CAN_ERR_BUSOFF)
        return V2G_BUS_OFF;
    if (frame->can_id & CAN_ERR_RESTARTED)
        return V2G_BUS_UP;
    if ((frame->can_id & CAN_ERR_CRTL) == 0)
        return state;
    if (frame->data[1] & (CAN_ERR_CRTL_RX_PASSIVE | CAN_ERR_CRTL_TX_PASSIVE))
        return V2G_BUS_PASSIVE;
    if (frame->data[1] & (CAN_ERR_CRTL_RX_WARNING | CAN_ERR_CRTL_TX_WARNING))
        return V2G_BUS_WARNING;
    return (frame->data[1] & CAN_ERR_CRTL_ACTIVE) ? (uint32_t)V2G_BUS_UP : state;
}
