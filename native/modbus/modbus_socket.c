#include "modbus_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static socklen_t fill_address(struct sockaddr_storage *storage, uint8_t family, const uint8_t *address, uint16_t port,
                              uint32_t scope_id) {
    memset(storage, 0, sizeof *storage);
    if (family == 4U) {
        struct sockaddr_in *in = (struct sockaddr_in *)storage;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, address, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_scope_id = scope_id;
    memcpy(&in6->sin6_addr, address, 16);
    return sizeof *in6;
}

int mb_connect(uint8_t family, const uint8_t *address, uint16_t port, uint32_t scope_id) {
    struct sockaddr_storage storage;
    const socklen_t length = fill_address(&storage, family, address, port, scope_id);
    const int on = 1;
    const int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&storage, length) != 0 && errno != EINPROGRESS) {
        const int error = errno;
        (void)close(fd);
        return -error;
    }
    return fd;
}

int mb_connect_result(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}
