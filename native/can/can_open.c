/* Opening a bus. Only here do SocketCAN and the hub differ; afterwards both are a descriptor that carries struct can_frame. */
#include <errno.h>
#include <fcntl.h>
#include <linux/can.h>
#include <linux/can/error.h>
#include <linux/can/raw.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "v2g_runtime.h"

enum { RECEIVE_BYTES = 4 << 20 }; /* some 5000 frames: a cycle that is late by a second loses none at 500 kbit/s */

static const char hub_prefix[] = "hub:";

static int closed(int fd, int error) {
    close(fd);
    return -error;
}

/* A kernel without one of these is no reason not to run: the cycle counts what it is told. */
static void set_common_options(int fd) {
    const int on = 1, bytes = RECEIVE_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    (void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
}

static int open_hub(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return closed(fd, errno);
    return fd;
}

static int open_interface(const char *name) {
    if (strlen(name) >= IF_NAMESIZE)
        return -ENAMETOOLONG;
    const int fd = socket(PF_CAN, SOCK_RAW | SOCK_CLOEXEC, CAN_RAW);
    if (fd < 0)
        return -errno;
    const struct sockaddr_can address = {.can_family = AF_CAN, .can_ifindex = (int)if_nametoindex(name)};
    if (address.can_ifindex == 0)
        return closed(fd, ENODEV);
    const int on = 1;
    const can_err_mask_t errors = CAN_ERR_BUSOFF | CAN_ERR_CRTL | CAN_ERR_RESTARTED;
    (void)setsockopt(fd, SOL_CAN_RAW, CAN_RAW_FD_FRAMES, &on, sizeof on);
    (void)setsockopt(fd, SOL_CAN_RAW, CAN_RAW_ERR_FILTER, &errors, sizeof errors);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return closed(fd, errno);
    return fd;
}

int32_t v2g_can_open(const char *channel) {
    const size_t prefix = sizeof hub_prefix - 1;
    const bool hub = strncmp(channel, hub_prefix, prefix) == 0;
    const int fd = hub ? open_hub(channel + prefix) : open_interface(channel);
    if (fd >= 0)
        set_common_options(fd);
    return fd;
}

int32_t v2g_can_reopen(const char *channel, int32_t fd) {
    const int fresh = v2g_can_open(channel);
    if (fresh < 0)
        return fresh;
    const int error = dup3(fresh, fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fresh);
    return error;
}

static int set_up(int control, struct ifreq *request, bool up) {
    request->ifr_flags = (short)(up ? request->ifr_flags | IFF_UP : request->ifr_flags & ~IFF_UP);
    return ioctl(control, SIOCSIFFLAGS, request) == 0 ? 0 : -errno;
}

static int bounce(const char *name) {
    struct ifreq request = {0};
    if (strlen(name) >= IF_NAMESIZE)
        return -ENAMETOOLONG;
    memcpy(request.ifr_name, name, strlen(name) + 1);
    const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0)
        return -errno;
    int error = ioctl(control, SIOCGIFFLAGS, &request) == 0 ? 0 : -errno;
    if (error == 0)
        error = set_up(control, &request, false);
    if (error == 0)
        error = set_up(control, &request, true);
    close(control);
    return error;
}

int32_t v2g_can_restart(const char *channel, int32_t fd) {
    const bool hub = strncmp(channel, hub_prefix, sizeof hub_prefix - 1) == 0;
    const int error = hub ? 0 : bounce(channel);
    return error != 0 ? error : v2g_can_reopen(channel, fd);
}

static bool is_can(int fd) {
    int domain = 0;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_CAN;
}

int32_t v2g_can_filter(int32_t fd, const struct v2g_can_config *can, uint32_t bus) {
    struct can_filter filter[CAN_RAW_FILTER_MAX];
    uint32_t n = 0;
    if (!is_can(fd))
        return 0;
    for (uint32_t i = 0; i < can->rxs && i < V2G_CAN_MAX_RX; i++) {
        if (can->rx[i].bus != bus)
            continue;
        if (n == CAN_RAW_FILTER_MAX)
            return 0; /* more than a socket takes: everything comes through, the table sorts it */
        const uint32_t id = can->rx[i].id;
        const uint32_t bits = (id & CAN_EFF_FLAG) ? CAN_EFF_MASK : CAN_SFF_MASK;
        filter[n++] = (struct can_filter){.can_id = id, .can_mask = bits | CAN_EFF_FLAG | CAN_RTR_FLAG};
    }
    return setsockopt(fd, SOL_CAN_RAW, CAN_RAW_FILTER, filter, (socklen_t)(n * sizeof filter[0])) == 0 ? 0 : -errno;
}
