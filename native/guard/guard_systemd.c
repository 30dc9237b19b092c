/* systemd's protocol without its library. What is watched lies in the service manager's descriptor store as well, so that a guard
 * that was killed takes it back when it is started again, whether the gateway still lives or not. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard.h"

enum { FIRST_FD = 3, /* sd_listen_fds(3) */ NAME_BYTES = 16, TELL_TIMEOUT_US = 10000 };

void systemd_open(struct manager *manager) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = path == NULL ? 0 : strlen(path);
    *manager = (struct manager){.fd = -1};
    if (length == 0 || length >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = 0;
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    /* A manager that doesn't read must not keep the guard from watching. */
    const struct timeval patience = {.tv_usec = TELL_TIMEOUT_US};
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (fd >= 0 &&
        connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) != 0) {
        close(fd);
        return;
    }
    manager->fd = fd;
}

static bool say(struct manager *manager, const struct msghdr *message) {
    if (manager->fd < 0)
        return true;
    const bool deaf = sendmsg(manager->fd, message, MSG_NOSIGNAL) < 0;
    if (deaf && !manager->deaf)
        fprintf(stderr,
                "v2g-guard: the service manager does not listen: %s: it is told again every second; if this stays so, see "
                "systemctl status: a restart of the guard would begin without what it watched\n",
                strerror(errno));
    if (!deaf && manager->deaf)
        fprintf(stderr, "v2g-guard: the service manager listens again\n");
    manager->deaf = deaf;
    return !deaf;
}

bool systemd_tell(struct manager *manager, const char *state) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)state, .iov_len = strlen(state)}; /* sendmsg only reads */
    return say(manager, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1});
}

static bool forget_one(struct manager *manager, const char *name) {
    char text[64];
    snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
    return systemd_tell(manager, text);
}

/* FDPOLL=0: a gateway that has ended hangs up its pidfd, and that is when it is needed. */
static bool keep_one(struct manager *manager, const char *name, int kept) {
    char text[64];
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof kept)] = {0};
    if (!forget_one(manager, name))
        return false;
    const int length = snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
    struct iovec part = {.iov_base = text, .iov_len = (size_t)length};
    const struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof kept);
    memcpy(CMSG_DATA(rights), &kept, sizeof kept);
    return say(manager, &message);
}

static void bus_name(char name[NAME_BYTES], uint32_t bus) {
    snprintf(name, NAME_BYTES, "bus%u", bus);
}

/* Each bus of the config is kept; what was kept under the name of another is forgotten. */
static bool keep_buses(struct manager *manager, const struct guard_peer *peer) {
    bool told = true;
    for (uint32_t bus = 0; told && bus < V2G_MAX_BUSES; bus++) {
        char name[NAME_BYTES];
        bus_name(name, bus);
        told = bus < peer->config.can.buses ? keep_one(manager, name, peer->fd[bus]) : forget_one(manager, name);
    }
    return told;
}

/* The config goes first and comes last: without it nothing is taken back. The first thing that isn't taken ends it, for each may
 * cost TELL_TIMEOUT_US in which nobody watches. */
void systemd_keep(struct manager *manager, const struct guard_peer *peer) {
    if (manager->fd < 0)
        return;
    const int config = memfd_create("guard-config", MFD_CLOEXEC);
    if (config < 0 || write(config, &peer->config, sizeof peer->config) != (ssize_t)sizeof peer->config) {
        fprintf(stderr, "v2g-guard: no memory for what a restart would need\n");
    } else {
        manager->stale =
            !(forget_one(manager, "config") && keep_one(manager, "arena", peer->arena_fd) &&
              keep_one(manager, "pidfd", peer->pidfd) && keep_buses(manager, peer) && keep_one(manager, "config", config));
    }
    if (config >= 0)
        close(config);
}

void systemd_forget(struct manager *manager) {
    bool told = forget_one(manager, "config") && forget_one(manager, "arena") && forget_one(manager, "pidfd");
    for (uint32_t bus = 0; told && bus < V2G_MAX_BUSES; bus++) {
        char name[NAME_BYTES];
        bus_name(name, bus);
        told = forget_one(manager, name);
    }
    manager->stale = !told;
}

/* The descriptor that was kept under this name, or -1. */
static int find(const char *names, int count, const char *wanted) {
    const size_t length = strlen(wanted);
    for (int i = 0; i < count && names != NULL; i++) {
        const char *end = strchrnul(names, ':');
        if ((size_t)(end - names) == length && memcmp(names, wanted, length) == 0)
            return FIRST_FD + i;
        names = *end == ':' ? end + 1 : NULL;
    }
    return -1;
}

/* Gateways hold the lock of the socket from before they ask for a guard (edge/core/guard.py). Held although the kept one has ended:
 * another was started while there was no guard, and nothing may be sent beside it (P15). */
static bool another_runs(const char *socket, int pidfd) {
    char path[NAME_BYTES + sizeof(struct sockaddr_un)];
    snprintf(path, sizeof path, "%s.lock", socket);
    struct pollfd look = {.fd = pidfd, .events = POLLIN};
    const bool ended = poll(&look, 1, 0) == 1;
    const int lock = open(path, O_RDWR | O_CLOEXEC);
    const bool held = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0;
    if (lock >= 0)
        close(lock);
    return ended && held;
}

void systemd_take_back(struct guard *guard, const char *socket, int64_t now_ns) {
    static struct v2g_guard_config kept;
    const char *pid = getenv("LISTEN_PID"), *number = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
    const int count = pid != NULL && number != NULL && atol(pid) == getpid() ? atoi(number) : 0;
    const int process[2] = {find(names, count, "arena"), find(names, count, "pidfd")};
    const int config = find(names, count, "config");
    if (process[0] < 0 || process[1] < 0 || config < 0)
        return;
    if (another_runs(socket, process[1])) {
        guard_tell("another gateway was started meanwhile", 0, 0);
        for (int fd = FIRST_FD; fd < FIRST_FD + count; fd++)
            close(fd);
        return;
    }
    const bool whole = pread(config, &kept, sizeof kept, 0) == (ssize_t)sizeof kept;
    close(config);
    const uint32_t buses = whole && kept.can.buses <= V2G_MAX_BUSES ? kept.can.buses : 0;
    int bus[V2G_MAX_BUSES];
    for (uint32_t i = 0; i < buses; i++) {
        char name[NAME_BYTES];
        bus_name(name, i);
        bus[i] = find(names, count, name);
    }
    const struct v2g_guard_hello hello = {.kind = V2G_GUARD_HELLO, .abi = V2G_GUARD_ABI, .boot_id = kept.boot_id};
    const bool back = whole && guard_hello(guard, &hello, sizeof hello, process, 2) == V2G_GUARD_OK &&
                      guard_config(guard, &kept, sizeof kept, bus, (int)buses, now_ns) == V2G_GUARD_OK;
    guard_tell(back ? "took back what it watched" : "what the service manager kept can't be used", kept.boot_id, 0);
}
