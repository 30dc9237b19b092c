/* v2g-guard: watches the gateway's cycle and takes its place with safe frames. A static program of its own: it shares no Python and
 * no allocator with what it watches. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "guard.h"

enum { GUARD_PRIORITY = 90, MAX_FDS = V2G_MAX_BUSES + 2, WATCHDOG_S = 10 };

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

void guard_tell(const char *what, uint64_t boot_id, int64_t silent_ns) {
    fprintf(stderr, "v2g-guard: %s (boot %016" PRIx64 ", %.1f ms since its last beat)\n", what, boot_id,
            (double)silent_ns / 1e6);
}

void guard_tell_device(const char *what, const struct v2g_guard_fallback *device, int error) {
    char host[INET6_ADDRSTRLEN] = "?";
    inet_ntop(device->family == 4 ? AF_INET : AF_INET6, device->address, host, sizeof host);
    fprintf(stderr, "v2g-guard: device %s port %u unit %u: %s%s%s\n", host, device->port, device->unit, what,
            error == 0 ? "" : ": ", error == 0 ? "" : strerror(error));
}

static int fail(const char *what, const char *subject, const char *remedy) {
    fprintf(stderr, "v2g-guard: %s %s: %s: %s\n", what, subject, strerror(errno), remedy);
    return 2;
}

static socklen_t unix_address(const char *path, struct sockaddr_un *address) {
    const size_t length = strlen(path);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (length >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return 0;
    }
    memcpy(address->sun_path, path, length);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static int listen_at(const char *path) {
    struct sockaddr_un address;
    if (unix_address(path, &address) == 0)
        return -1;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    const mode_t before = umask(0117); /* owner and group may connect */
    const bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 4) == 0;
    umask(before);
    return bound ? fd : -1;
}

/* What was refused is told, never passed over. */
static void go_real_time(void) {
    const struct sched_param param = {.sched_priority = GUARD_PRIORITY};
    prctl(PR_SET_TIMERSLACK, 1);
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) != 0)
        fprintf(stderr, "v2g-guard: not real-time: SCHED_FIFO %d refused: %s: grant CAP_SYS_NICE or LimitRTPRIO\n",
                GUARD_PRIORITY, strerror(errno));
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        fprintf(stderr, "v2g-guard: memory is not locked: %s: grant CAP_IPC_LOCK or LimitMEMLOCK\n", strerror(errno));
}

struct received {
    ssize_t size;
    int fd[MAX_FDS];
    int count;
    _Alignas(8) uint8_t packet[GUARD_MAX_PACKET];
};

static void receive(int connection, struct received *got) {
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof got->fd)];
    struct iovec part = {.iov_base = got->packet, .iov_len = sizeof got->packet};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    got->count = 0;
    got->size = recvmsg(connection, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    for (struct cmsghdr *c = got->size > 0 ? CMSG_FIRSTHDR(&header) : NULL; c != NULL; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            got->count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(got->fd, CMSG_DATA(c), (size_t)got->count * sizeof(int));
        }
    }
}

static void answer(int connection, uint32_t epoch, uint32_t error) {
    const struct v2g_guard_answer message = {V2G_GUARD_ANSWER, epoch, error, 0};
    send(connection, &message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void goodbye(struct guard *guard, struct manager *manager) {
    if (guard->state == GUARD_SENDING || guard->state == GUARD_FENCING)
        return;
    guard_tell("the gateway said goodbye", guard->peer.boot_id, v2g_now_ns() - guard->beat_seen_ns);
    guard_forget(guard);
    guard->state = GUARD_IDLE;
    systemd_forget(manager);
}

/* Returns false when the connection is over. That alone changes nothing: the heartbeat tells whether the gateway lives. */
static bool serve(struct guard *guard, int connection, struct received *got, struct manager *manager) {
    receive(connection, got);
    if (got->size <= 0)
        return got->size < 0 && (errno == EAGAIN || errno == EINTR);
    uint32_t head[2] = {0, 0}; /* kind, epoch */
    memcpy(head, got->packet, (size_t)got->size < sizeof head ? (size_t)got->size : sizeof head);
    if (head[0] == V2G_GUARD_HELLO) {
        answer(connection, 0, guard_hello(guard, got->packet, (size_t)got->size, got->fd, got->count));
        return true;
    }
    if (head[0] == V2G_GUARD_CONFIG) {
        const uint32_t error = guard_config(guard, got->packet, (size_t)got->size, got->fd, got->count, v2g_now_ns());
        answer(connection, head[1], error);
        if (error == V2G_GUARD_OK)
            systemd_keep(manager, &guard->peer);
        return true;
    }
    for (int i = 0; i < got->count; i++)
        close(got->fd[i]);
    if (head[0] != V2G_GUARD_BYE)
        return false;
    goodbye(guard, manager);
    return true;
}

/* Whoever watches the guard: the service manager, and the machine's own watchdog. */
static void sign_of_life(const struct guard *guard, struct manager *manager, int watchdog, int64_t now_ns, int64_t *given_ns) {
    if (now_ns - *given_ns < INT64_C(1000000000))
        return;
    *given_ns = now_ns;
    if (systemd_tell(manager, "WATCHDOG=1") && manager->stale) {
        if (guard->state == GUARD_IDLE)
            systemd_forget(manager);
        else
            systemd_keep(manager, &guard->peer);
    }
    if (watchdog >= 0 && write(watchdog, "1", 1) != 1)
        fprintf(stderr, "v2g-guard: the watchdog does not take its sign of life: %s\n", strerror(errno));
}

static void run(struct guard *guard, struct received *got, int listener, int watchdog, struct manager *manager) {
    int connection = -1;
    int64_t given_ns = 0;
    while (!stopping) {
        const int64_t now_ns = v2g_now_ns();
        const int64_t due_ns = guard_next_ns(guard, now_ns);
        const int64_t wait_ns = due_ns > now_ns ? due_ns - now_ns : 0;
        const struct timespec timeout = {wait_ns / 1000000000, wait_ns % 1000000000};
        struct pollfd look[3] = {{.fd = listener, .events = POLLIN},
                                 {.fd = connection, .events = POLLIN},
                                 {.fd = guard->state == GUARD_SENDING ? -1 : guard->peer.pidfd, .events = POLLIN}};
        ppoll(look, 3, &timeout, NULL);
        if (look[1].revents != 0 && !serve(guard, connection, got, manager)) {
            close(connection);
            connection = -1;
        }
        if (look[0].revents & POLLIN) { /* a newer process or connection replaces the older one */
            const int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (accepted >= 0 && connection >= 0)
                close(connection);
            connection = accepted >= 0 ? accepted : connection;
        }
        guard_step(guard, v2g_now_ns());
        sign_of_life(guard, manager, watchdog, now_ns, &given_ns);
    }
}

/* -1: this machine has none; -2: it has one that can't be used. */
static int open_watchdog(const char *device) {
    if (device == NULL)
        return -1;
    const int fd = open(device, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return -2;
    int seconds = WATCHDOG_S;
    if (fd < 0)
        fprintf(stderr, "v2g-guard: no watchdog at %s: nothing resets this machine when it hangs\n", device);
    else if (ioctl(fd, WDIOC_SETTIMEOUT, &seconds) != 0)
        fprintf(stderr, "v2g-guard: watchdog %s keeps its own time-out: %s\n", device, strerror(errno));
    return fd;
}

int main(int argc, char **argv) {
    const char *path = "/run/v2g-edge/guard.sock", *device = NULL;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--socket") == 0) {
            path = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--watchdog") == 0) {
            device = argv[i + 1];
        } else {
            fprintf(stderr, "usage: v2g-guard [--socket /run/v2g-edge/guard.sock] [--watchdog /dev/watchdog]\n");
            return 64;
        }
    }
    static struct guard guard = {.peer = {.arena_fd = -1, .pidfd = -1}, .next = {.arena_fd = -1, .pidfd = -1}};
    static struct received got;
    const struct sigaction stop = {.sa_handler = on_signal};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    const int listener = listen_at(path);
    if (listener < 0)
        return fail("socket", path, "make its folder, or give another --socket");
    const int watchdog = open_watchdog(device);
    if (watchdog < -1)
        return fail("watchdog", device,
                    "give the service's group the right to write, and leave out systemd's RuntimeWatchdogSec");
    go_real_time();
    struct manager manager;
    systemd_open(&manager);
    guard_devices_close(&guard); /* none is open, and each knows it */
    systemd_take_back(&guard, path, v2g_now_ns());
    systemd_tell(&manager, "READY=1");
    fprintf(stderr, "v2g-guard: ready at %s\n", path);
    run(&guard, &got, listener, watchdog, &manager);
    systemd_tell(&manager, "STOPPING=1");
    if (watchdog >= 0 && write(watchdog, "V", 1) == 1) /* a clean stop disarms it */
        close(watchdog);
    unlink(path);
    fprintf(stderr, "v2g-guard: stopped\n");
    return 0;
}
