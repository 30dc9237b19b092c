/* v2g-hub: a stand-in for a CAN bus on AF_UNIX, for kernels without CAN and for impairments that vcan can't make.
 *
 * Each member is a SOCK_SEQPACKET connection; one packet is one struct can_frame or struct canfd_frame. What one member
 * sends, all others get. On a paced wire a member is one controller with a FIFO: the heads of the FIFOs compete by id. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/can/error.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "hub.h"

static const char help_text[] =
    "usage: v2g-hub [options] PATH\n"
    "A stand-in for a CAN bus on kernels without CAN, and for impairments that vcan can't make. It is not a CAN bus:\n"
    "on a kernel with CAN use vcan or a real interface.\n"
    "Members connect to PATH (AF_UNIX, SOCK_SEQPACKET) and exchange struct can_frame or struct canfd_frame, one a packet.\n"
    "\n"
    "  --bitrate BPS       pace frames like a wire of this bit rate, with arbitration by id (default: no pacing)\n"
    "  --data-bitrate BPS  bit rate of the CAN FD data phase (default: as --bitrate)\n"
    "  --stuffing KIND     worst (default) or actual: how many stuff bits a frame is taken to have\n"
    "  --fill              members are not read until `fill off`: their send buffers fill up (EAGAIN, as ENOBUFS on CAN)\n"
    "  --exit-when-empty   end when the last member has left\n"
    "  --help              this text\n"
    "\n"
    "Control: text datagrams to PATH.ctl, each answered by one JSON line to the sender's address.\n"
    "  stats | clear | drop ID COUNT | corrupt ID COUNT            (COUNT 0: until clear)\n"
    "  error active|warning|passive [WHO] | bus-off [WHO] | restart [WHO] | fill on|off [WHO]\n"
    "  WHO: all (default), a slot number of `stats`, or pid=N\n";

/* epoll tags below HUB_MEMBERS are member slots */
enum { TAG_LISTEN = HUB_MEMBERS, TAG_CTL, TAG_TIMER, TAG_SIGNAL };

static struct hub_frame tx_slots[HUB_MEMBERS][HUB_TX_FRAMES];
static struct hub_frame rx_slots[HUB_MEMBERS][HUB_RX_FRAMES];
static struct hub the_hub; /* used by main() only; everything else gets a pointer */

uint64_t hub_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static struct hub_frame *ring_at(const struct ring *r, uint32_t i) {
    return &r->slot[(r->first + i) % r->capacity];
}

static void ring_drop(struct ring *r, uint32_t n) {
    r->first = (r->first + n) % r->capacity;
    r->count -= n;
}

static void ring_push(struct ring *r, const struct hub_frame *f) {
    *ring_at(r, r->count) = *f;
    r->count++;
}

/* ---- towards the members ---- */

static void queue_for(struct member *m, const struct hub_frame *f) {
    if (m->rx.count == m->rx.capacity) {
        ring_drop(&m->rx, 1);
        m->dropped_oldest++;
    }
    ring_push(&m->rx, f);
}

static struct rule *rule_for(struct hub *hub, canid_t can_id) {
    for (size_t i = 0; i < HUB_RULES; i++)
        if (hub->rule[i].action != RULE_FREE && hub->rule[i].can_id == (can_id & CAN_EFF_MASK))
            return &hub->rule[i];
    return NULL;
}

/* Returns false when the frame is lost on the wire. */
static bool impair(struct hub *hub, struct hub_frame *f) {
    struct rule *rule = rule_for(hub, f->frame.can_id);
    if (rule == NULL)
        return true;
    const bool dropped = rule->action == RULE_DROP;
    if (dropped) {
        hub->rule_dropped++;
    } else {
        f->frame.data[f->frame.len > 2 ? 2 : 0] ^= 0x55;
        hub->rule_corrupted++;
    }
    if (rule->left > 0 && --rule->left == 0)
        rule->action = RULE_FREE;
    return !dropped;
}

static void broadcast(struct hub *hub, struct hub_frame *f, int sender) {
    hub->frames++;
    if (!impair(hub, f))
        return;
    for (int i = 0; i < HUB_MEMBERS; i++) {
        struct member *m = &hub->member[i];
        if (m->fd >= 0 && i != sender && !m->bus_off)
            queue_for(m, f);
    }
}

static void send_error_frame(struct member *m, canid_t class, uint8_t controller, uint8_t counters) {
    struct hub_frame f = {.size = CAN_MTU};
    f.frame.can_id = CAN_ERR_FLAG | class;
    f.frame.len = CAN_ERR_DLC;
    f.frame.data[1] = controller;
    f.frame.data[6] = counters; /* transmit error counter */
    f.frame.data[7] = counters; /* receive error counter */
    queue_for(m, &f);
}

/* The counters lie where ISO 11898-1 has the state: warning from 96, passive from 128. */
void hub_controller_state(struct hub *hub, struct member *m, enum hub_error state) {
    (void)hub;
    if (state == HUB_ERROR_WARNING)
        send_error_frame(m, CAN_ERR_CRTL, CAN_ERR_CRTL_RX_WARNING | CAN_ERR_CRTL_TX_WARNING, 96);
    else if (state == HUB_ERROR_PASSIVE)
        send_error_frame(m, CAN_ERR_CRTL, CAN_ERR_CRTL_RX_PASSIVE | CAN_ERR_CRTL_TX_PASSIVE, 128);
    else
        send_error_frame(m, CAN_ERR_CRTL, CAN_ERR_CRTL_ACTIVE, 0);
}

void hub_bus_off(struct hub *hub, struct member *m) {
    (void)hub;
    m->discarded_bus_off += m->tx.count;
    ring_drop(&m->tx, m->tx.count);
    m->bus_off = true;
    send_error_frame(m, CAN_ERR_BUSOFF, 0, 0);
}

void hub_restart(struct hub *hub, struct member *m) {
    (void)hub;
    m->bus_off = false;
    send_error_frame(m, CAN_ERR_RESTARTED, 0, 0);
}

void hub_set_fill(struct hub *hub, struct member *m, bool on) {
    (void)hub;
    m->fill = on;
}

/* ---- the wire ---- */

static void arm_timer(const struct hub *hub) {
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(hub->wire.end_ns / 1000000000U), .tv_nsec = (long)(hub->wire.end_ns % 1000000000U)}};
    timerfd_settime(hub->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* The wire was free from end_ns on: the next frame starts when the earliest head was there; all heads there by then compete. */
static int arbitrate(const struct hub *hub, uint64_t *start_ns) {
    uint64_t earliest = UINT64_MAX;
    for (int i = 0; i < HUB_MEMBERS; i++) {
        const struct member *m = &hub->member[i];
        if (m->fd >= 0 && m->tx.count > 0 && ring_at(&m->tx, 0)->queued_ns < earliest)
            earliest = ring_at(&m->tx, 0)->queued_ns;
    }
    if (earliest == UINT64_MAX)
        return -1;
    *start_ns = earliest > hub->wire.end_ns ? earliest : hub->wire.end_ns;
    int winner = -1;
    uint32_t best = UINT32_MAX;
    for (int i = 0; i < HUB_MEMBERS; i++) {
        const struct member *m = &hub->member[i];
        if (m->fd < 0 || m->tx.count == 0 || ring_at(&m->tx, 0)->queued_ns > *start_ns)
            continue;
        const uint32_t key = arbitration_key(ring_at(&m->tx, 0)->frame.can_id);
        if (winner < 0 || key < best) {
            winner = i;
            best = key;
        }
    }
    return winner;
}

static void start_frame(struct hub *hub) {
    struct wire *w = &hub->wire;
    uint64_t start_ns = 0;
    const int winner = arbitrate(hub, &start_ns);
    if (winner < 0)
        return;
    struct ring *tx = &hub->member[winner].tx;
    w->current = *ring_at(tx, 0);
    ring_drop(tx, 1);
    w->sender = winner;
    const uint64_t time_ns = wire_time_ns(&w->rate, &w->current.frame, w->current.size == CANFD_MTU);
    w->end_ns = start_ns + time_ns;
    w->busy_ns += time_ns;
    w->busy = true;
}

/* Delivers every frame whose time has come; a hub that woke late catches up, so the mean rate is that of the wire. */
static void run_wire(struct hub *hub) {
    struct wire *w = &hub->wire;
    const uint64_t now_ns = hub_now_ns();
    if (!w->busy)
        start_frame(hub);
    while (w->busy && w->end_ns <= now_ns) {
        broadcast(hub, &w->current, w->sender);
        w->busy = false;
        start_frame(hub);
    }
    if (w->busy)
        arm_timer(hub);
}

/* ---- members ---- */

static void watch(const struct hub *hub, int fd, int operation, uint32_t events, uint32_t tag) {
    struct epoll_event e = {.events = events, .data.u32 = tag};
    epoll_ctl(hub->epoll_fd, operation, fd, &e);
}

static bool paced(const struct hub *hub) {
    return hub->wire.rate.nominal_bps > 0;
}

static void update_interest(struct hub *hub, size_t slot) {
    struct member *m = &hub->member[slot];
    const bool read = !m->fill && (!paced(hub) || m->tx.count < m->tx.capacity);
    const uint32_t wanted = (read ? (uint32_t)EPOLLIN : 0U) | (m->rx.count > 0 ? (uint32_t)EPOLLOUT : 0U);
    if (wanted == m->interest)
        return;
    m->interest = wanted;
    watch(hub, m->fd, EPOLL_CTL_MOD, wanted, (uint32_t)slot);
}

static void add_member(struct hub *hub, int fd) {
    struct ucred peer = {.pid = 0};
    socklen_t size = sizeof peer;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
    for (size_t i = 0; i < HUB_MEMBERS; i++) {
        struct member *m = &hub->member[i];
        if (m->fd >= 0)
            continue;
        *m = (struct member){.fd = fd, .pid = peer.pid, .fill = hub->fill};
        m->tx = (struct ring){.slot = tx_slots[i], .capacity = HUB_TX_FRAMES};
        m->rx = (struct ring){.slot = rx_slots[i], .capacity = HUB_RX_FRAMES};
        watch(hub, fd, EPOLL_CTL_ADD, 0, (uint32_t)i);
        update_interest(hub, i);
        return;
    }
    hub->refused_members++;
    close(fd);
}

static void accept_members(struct hub *hub) {
    for (int fd = accept4(hub->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); fd >= 0;
         fd = accept4(hub->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC))
        add_member(hub, fd);
}

static void remove_member(struct hub *hub, size_t slot) {
    close(hub->member[slot].fd);
    hub->member[slot].fd = -1;
    if (hub->wire.sender == (int)slot)
        hub->wire.sender = -1;
    if (!hub->exit_when_empty)
        return;
    accept_members(hub);
    hub->running = false;
    for (size_t i = 0; i < HUB_MEMBERS; i++)
        if (hub->member[i].fd >= 0)
            hub->running = true;
}

static void take_frame(struct hub *hub, size_t slot, struct hub_frame *f, size_t size) {
    struct member *m = &hub->member[slot];
    if (size != CAN_MTU && size != CANFD_MTU) {
        m->malformed++;
        return;
    }
    f->size = size;
    if (f->frame.len > (size == CAN_MTU ? CAN_MAX_DLEN : CANFD_MAX_DLEN)) {
        m->malformed++;
    } else if (m->bus_off) {
        m->discarded_bus_off++;
    } else {
        m->sent++;
        if (paced(hub))
            ring_push(&m->tx, f);
        else
            broadcast(hub, f, (int)slot);
    }
}

static void read_member(struct hub *hub, size_t slot) {
    struct member *m = &hub->member[slot];
    struct hub_frame frame[HUB_BATCH];
    struct iovec part[HUB_BATCH];
    struct mmsghdr packet[HUB_BATCH];
    const uint32_t room = paced(hub) ? m->tx.capacity - m->tx.count : HUB_BATCH;
    const uint32_t wanted = room < HUB_BATCH ? room : HUB_BATCH;
    for (size_t i = 0; i < wanted; i++) {
        part[i] = (struct iovec){.iov_base = &frame[i].frame, .iov_len = sizeof frame[i].frame};
        packet[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &part[i], .msg_iovlen = 1}};
    }
    const int got = recvmmsg(m->fd, packet, wanted, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    accept_members(hub); /* whoever connected before these frames were sent gets them */
    const uint64_t now_ns = hub_now_ns();
    for (int i = 0; i < got; i++) {
        if (packet[i].msg_len == 0) { /* end of file: the member has left */
            remove_member(hub, slot);
            return;
        }
        frame[i].queued_ns = now_ns;
        take_frame(hub, slot, &frame[i], packet[i].msg_len);
    }
    if (got <= 0)
        remove_member(hub, slot);
}

/* Hands over what the member's socket takes now; the rest waits for EPOLLOUT. */
static void flush_member(struct hub *hub, size_t slot) {
    struct member *m = &hub->member[slot];
    struct iovec part[HUB_BATCH];
    struct mmsghdr packet[HUB_BATCH];
    while (m->rx.count > 0) {
        const uint32_t n = m->rx.count < HUB_BATCH ? m->rx.count : HUB_BATCH;
        for (uint32_t i = 0; i < n; i++) {
            struct hub_frame *f = ring_at(&m->rx, i);
            part[i] = (struct iovec){.iov_base = &f->frame, .iov_len = f->size};
            packet[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &part[i], .msg_iovlen = 1}};
        }
        const int sent = sendmmsg(m->fd, packet, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            remove_member(hub, slot);
            return;
        }
        if (sent <= 0)
            break;
        ring_drop(&m->rx, (uint32_t)sent);
        m->delivered += (uint64_t)sent;
    }
}

/* ---- events ---- */

static void answer_control(struct hub *hub) {
    static char reply[HUB_REPLY_BYTES];
    char line[256];
    struct sockaddr_un from;
    socklen_t size = sizeof from;
    const ssize_t got = recvfrom(hub->ctl_fd, line, sizeof line - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &size);
    if (got < 0)
        return;
    accept_members(hub); /* whoever connected before this command was sent is meant too */
    line[got] = '\0';
    hub_command(hub, line, reply);
    if (size > sizeof(sa_family_t)) /* the sender has an address of its own */
        sendto(hub->ctl_fd, reply, strlen(reply), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&from, size);
}

static void handle_event(struct hub *hub, const struct epoll_event *e) {
    uint64_t expirations = 0;
    switch (e->data.u32) {
    case TAG_LISTEN:
        accept_members(hub);
        break;
    case TAG_CTL:
        answer_control(hub);
        break;
    case TAG_TIMER:
        (void)!read(hub->timer_fd, &expirations, sizeof expirations);
        break;
    case TAG_SIGNAL:
        hub->running = false;
        break;
    default: { /* a member removed earlier in this round has fd -1 */
        const size_t slot = e->data.u32;
        const struct member *m = &hub->member[slot];
        if (m->fd >= 0 && (e->events & EPOLLIN) != 0)
            read_member(hub, slot);
        else if (m->fd >= 0 && (e->events & (EPOLLHUP | EPOLLERR)) != 0)
            remove_member(hub, slot);
    }
    }
}

static void run(struct hub *hub) {
    struct epoll_event event[HUB_MEMBERS];
    while (hub->running) {
        const int n = epoll_wait(hub->epoll_fd, event, HUB_MEMBERS, -1);
        for (int i = 0; i < n; i++)
            handle_event(hub, &event[i]);
        if (paced(hub))
            run_wire(hub);
        for (size_t i = 0; i < HUB_MEMBERS; i++) {
            if (hub->member[i].fd < 0)
                continue;
            if (hub->member[i].rx.count > 0)
                flush_member(hub, i);
            if (hub->member[i].fd >= 0)
                update_interest(hub, i);
        }
    }
}

/* ---- start ---- */

static void die(const char *what, const char *path) {
    fprintf(stderr, "v2g-hub: %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

/* The lock decides who owns PATH, so a socket left behind by a dead hub can be replaced without a race. */
static void take_lock(const char *path) {
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    snprintf(name, sizeof name, "%s.lock", path);
    const int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0660);
    if (fd < 0)
        die("can't create", name);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return; /* held until the process ends */
    fprintf(stderr, "v2g-hub: another hub serves %s\n", path);
    exit(2);
}

static int bind_socket(const char *path, int type) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        die("can't use", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    const int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("can't bind", path);
    return fd;
}

static int termination_fd(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void open_hub(struct hub *hub, const char *path, const char *ctl_path) {
    for (size_t i = 0; i < HUB_MEMBERS; i++)
        hub->member[i].fd = -1;
    hub->wire.sender = -1;
    hub->running = true;
    hub->start_ns = hub_now_ns();
    take_lock(path);
    hub->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    hub->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    hub->signal_fd = termination_fd();
    hub->ctl_fd = bind_socket(ctl_path, SOCK_DGRAM);
    hub->listen_fd = bind_socket(path, SOCK_SEQPACKET);
    if (hub->epoll_fd < 0 || hub->timer_fd < 0 || hub->signal_fd < 0)
        die("can't open event sources for", path);
    if (listen(hub->listen_fd, HUB_MEMBERS) != 0)
        die("can't listen on", path);
    watch(hub, hub->listen_fd, EPOLL_CTL_ADD, EPOLLIN, TAG_LISTEN);
    watch(hub, hub->ctl_fd, EPOLL_CTL_ADD, EPOLLIN, TAG_CTL);
    watch(hub, hub->timer_fd, EPOLL_CTL_ADD, EPOLLIN, TAG_TIMER);
    watch(hub, hub->signal_fd, EPOLL_CTL_ADD, EPOLLIN, TAG_SIGNAL);
}

static uint32_t parse_bitrate(const char *option, const char *text) {
    char *end = NULL;
    const unsigned long value = strtoul(text, &end, 10);
    if (*text != '\0' && *end == '\0' && value >= 5000 && value <= 8000000)
        return (uint32_t)value;
    fprintf(stderr, "v2g-hub: --%s %s: give 5000 to 8000000 bit/s\n", option, text);
    exit(64);
}

static enum stuffing parse_stuffing(const char *text) {
    if (strcmp(text, "worst") == 0)
        return STUFFING_WORST;
    if (strcmp(text, "actual") == 0)
        return STUFFING_ACTUAL;
    fprintf(stderr, "v2g-hub: --stuffing %s: give worst or actual\n", text);
    exit(64);
}

static const char *parse_options(struct hub *hub, int argc, char **argv) {
    static const struct option options[] = {{"bitrate", required_argument, NULL, 'b'},
                                            {"data-bitrate", required_argument, NULL, 'd'},
                                            {"stuffing", required_argument, NULL, 's'},
                                            {"fill", no_argument, NULL, 'f'},
                                            {"exit-when-empty", no_argument, NULL, 'e'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int c = getopt_long(argc, argv, "h", options, NULL); c != -1; c = getopt_long(argc, argv, "h", options, NULL)) {
        switch (c) {
        case 'b':
            hub->wire.rate.nominal_bps = parse_bitrate("bitrate", optarg);
            break;
        case 'd':
            hub->wire.rate.data_bps = parse_bitrate("data-bitrate", optarg);
            break;
        case 's':
            hub->wire.rate.stuffing = parse_stuffing(optarg);
            break;
        case 'f':
            hub->fill = true;
            break;
        case 'e':
            hub->exit_when_empty = true;
            break;
        case 'h':
            fputs(help_text, stdout);
            exit(0);
        default:
            exit(64);
        }
    }
    if (hub->wire.rate.data_bps == 0)
        hub->wire.rate.data_bps = hub->wire.rate.nominal_bps;
    if (optind + 1 == argc)
        return argv[optind];
    fputs(help_text, stderr);
    exit(64);
}

int main(int argc, char **argv) {
    struct hub *hub = &the_hub;
    const char *path = parse_options(hub, argc, argv);
    char ctl_path[sizeof((struct sockaddr_un *)0)->sun_path + 8];
    snprintf(ctl_path, sizeof ctl_path, "%s.ctl", path);
    open_hub(hub, path, ctl_path);
    run(hub);
    unlink(path);
    unlink(ctl_path);
    return 0;
}
