/* What a Modbus/TCP poll costs. One arm per call, so that a driver can take them in turns (A B A B):
 *
 *   bench_modbus serve CPU                               answers on a port that it prints, until its input closes
 *   bench_modbus engine|bare|libmodbus PORT CPU DEVICES PERIOD_MS SECONDS
 *
 * Every poll reads 20 holding registers, ten floats. An arm prints one line of JSON. `bare` only sends and receives the same
 * bytes: no deadlines, no epoll, no decoding; the other arms decode. `libmodbus` runs one thread per device. CPU time is user
 * and system time of the arm's process while it polls. */
#include "v2g_modbus.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef BENCH_LIBMODBUS
#include <modbus.h>
#endif

enum { REGISTERS = 20, FLOATS = 10, REQUEST = 12, ANSWER = 9 + 2 * REGISTERS, PRIORITY = 70, CONNECTIONS = 2048 };

static const int64_t MS = 1000000;
static const int64_t SECOND = 1000000000;

struct arm {
    uint16_t port;
    int cpu;
    uint32_t devices;
    int64_t period_ns;
    int64_t length_ns;
};

struct figures {
    uint64_t polls;
    uint64_t late;
    int64_t cpu_ns;
    int64_t wall_ns;
    int64_t trip_mean_ns;
    int64_t trip_max_ns;
};

static void die(const char *what) {
    fprintf(stderr, "bench_modbus: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t clock_ns(clockid_t clock) {
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static void sleep_until(int64_t time_ns) {
    const struct timespec until = {.tv_sec = time_ns / SECOND, .tv_nsec = time_ns % SECOND};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void pin(int cpu) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0)
        die("cpu");
}

/* SCHED_FIFO where it is granted, so that a busy machine disturbs all arms alike. */
static const char *scheduling(void) {
    const struct sched_param parameter = {.sched_priority = PRIORITY};
    return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &parameter) == 0 ? "fifo" : "other";
}

/* ---- The load generator --------------------------------------------------------------------------------------------- */

static int listen_anywhere(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, CONNECTIONS) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void answer(int epoll, int fd) {
    static const uint8_t value[4] = {0x43, 0x66, 0x28, 0xF6}; /* 230.16 */
    uint8_t request[REQUEST];
    uint8_t frame[ANSWER] = {0};
    const ssize_t got = recv(fd, request, sizeof request, MSG_DONTWAIT);
    if (got != REQUEST) {
        (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
        (void)close(fd);
        return;
    }
    memcpy(frame, request, 8);
    frame[5] = ANSWER - 6;
    frame[8] = 2 * REGISTERS;
    for (size_t i = 0; i < FLOATS; i++)
        memcpy(frame + 9 + 4 * i, value, sizeof value);
    (void)!send(fd, frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void welcome(int epoll, int listener) {
    const int on = 1;
    const int fd = accept(listener, NULL, NULL);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void serve(int cpu) {
    struct epoll_event events[256];
    pin(cpu);
    (void)scheduling();
    const int listener = listen_anywhere();
    const int epoll = epoll_create1(0);
    const int watched[] = {listener, STDIN_FILENO};
    for (size_t i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, watched[i], &event) != 0)
            die("epoll");
    }
    for (;;) {
        const int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            const int fd = events[i].data.fd;
            if (fd == STDIN_FILENO)
                return;
            if (fd == listener)
                welcome(epoll, fd);
            else
                answer(epoll, fd);
        }
    }
}

/* ---- Arm: the engine ------------------------------------------------------------------------------------------------- */

static struct v2g_modbus_config config;
static struct v2g_cell cells[V2G_MODBUS_MAX_DEVICES * FLOATS];
static struct v2g_write_cell write_cells[1];
static struct v2g_modbus_stats stats[V2G_MODBUS_MAX_DEVICES];

static void configure_device(const struct arm *arm, uint32_t index) {
    config.devices[index] = (struct v2g_modbus_device){.family = 4,
                                                       .unit = 1,
                                                       .port = arm->port,
                                                       .address = {127, 0, 0, 1},
                                                       .window = 1,
                                                       .max_words = 125,
                                                       .poll_ns = arm->period_ns,
                                                       .reply_timeout_ns = SECOND,
                                                       .connect_timeout_ns = 5 * SECOND};
    /* More than 819 devices have eight values each, so that they fit the table; their block is 20 registers long all the same. */
    static const uint16_t addresses[FLOATS] = {0, 2, 4, 6, 8, 12, 14, 18, 10, 16};
    const uint32_t values = arm->devices * FLOATS <= V2G_MODBUS_MAX_REGISTERS ? FLOATS : 8U;
    for (uint32_t i = 0; i < values; i++) {
        const uint32_t at = config.register_count++;
        config.registers[at] = (struct v2g_modbus_register){.device = (uint16_t)index,
                                                            .table = V2G_MODBUS_HOLDING,
                                                            .type = V2G_MODBUS_F32,
                                                            .address = addresses[i],
                                                            .every = 1,
                                                            .cell = (uint16_t)at,
                                                            .multiplier = 10,
                                                            .divisor = 1};
    }
    config.devices[index].merge_gap = 2;
}

static void add_stats(struct figures *figures, uint32_t devices, int sign) {
    for (uint32_t i = 0; i < devices; i++) {
        figures->polls += (uint64_t)sign * stats[i].polls;
        figures->late += (uint64_t)sign * (stats[i].late_polls + stats[i].timeouts);
        figures->trip_mean_ns += stats[i].rtt_sum_ns / (int64_t)(stats[i].replies + 1U) / (int64_t)devices * (sign > 0);
        figures->trip_max_ns = figures->trip_max_ns > stats[i].rtt_max_ns ? figures->trip_max_ns : stats[i].rtt_max_ns;
    }
}

static void wait_for_polls(uint32_t devices, uint64_t polls) {
    for (uint32_t i = 0; i < devices; i++)
        while (stats[i].polls < polls)
            sleep_until(clock_ns(CLOCK_MONOTONIC) + MS);
}

static struct figures run_engine(const struct arm *arm) {
    const struct v2g_modbus_memory memory = {.cells = cells, .write_cells = write_cells, .stats = stats};
    const struct v2g_thread fifo = {.policy = SCHED_FIFO, .priority = PRIORITY, .cpu = arm->cpu};
    struct v2g_modbus_engine *engine = aligned_alloc(64, (v2g_modbus_engine_size() + 63U) / 64U * 64U);
    struct figures figures = {0};
    char error[256];
    config.device_count = arm->devices;
    config.cell_count = FLOATS * arm->devices;
    config.write_cell_count = 1;
    config.write_scan_ns = 10 * MS;
    config.backoff_min_ns = SECOND;
    config.backoff_max_ns = 30 * SECOND;
    for (uint32_t i = 0; i < arm->devices; i++)
        configure_device(arm, i);
    if (engine == NULL || v2g_modbus_init(engine, &config, &memory, error, sizeof error) != 0) {
        fprintf(stderr, "bench_modbus: %s\n", error);
        exit(1);
    }
    if (v2g_modbus_start(engine, &fifo) < 0)
        die("thread");
    wait_for_polls(arm->devices, 20);
    add_stats(&figures, arm->devices, -1);
    figures.wall_ns = -clock_ns(CLOCK_MONOTONIC);
    figures.cpu_ns = -clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    sleep_until(clock_ns(CLOCK_MONOTONIC) + arm->length_ns);
    figures.cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    figures.wall_ns += clock_ns(CLOCK_MONOTONIC);
    add_stats(&figures, arm->devices, 1);
    v2g_modbus_stop(engine);
    v2g_modbus_close(engine);
    free(engine);
    return figures;
}

/* ---- Arm: bare send and receive -------------------------------------------------------------------------------------- */

static int connect_to(uint16_t port) {
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static struct figures run_bare(const struct arm *arm) {
    static const uint8_t request[REQUEST] = {0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, REGISTERS};
    static int fds[CONNECTIONS];
    uint8_t bytes[256];
    struct figures figures = {0};
    pin(arm->cpu);
    (void)scheduling();
    for (uint32_t i = 0; i < arm->devices; i++)
        fds[i] = connect_to(arm->port);
    int64_t due = clock_ns(CLOCK_MONOTONIC);
    const int64_t end = due + arm->length_ns;
    figures.wall_ns = -due;
    figures.cpu_ns = -clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (due < end) {
        sleep_until(due);
        for (uint32_t i = 0; i < arm->devices; i++)
            (void)!send(fds[i], request, sizeof request, MSG_NOSIGNAL);
        for (uint32_t i = 0; i < arm->devices; i++)
            (void)!recv(fds[i], bytes, sizeof bytes, 0);
        figures.polls += arm->devices;
        due += arm->period_ns;
        figures.late += clock_ns(CLOCK_MONOTONIC) > due ? arm->devices : 0U;
    }
    figures.cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    figures.wall_ns += clock_ns(CLOCK_MONOTONIC);
    return figures;
}

/* ---- Arm: libmodbus, a thread per device ------------------------------------------------------------------------------- */

#ifdef BENCH_LIBMODBUS
struct poller {
    const struct arm *arm;
    pthread_t thread;
    modbus_t *context;
    uint64_t polls;
    uint64_t late;
    int64_t begin_ns;
    float values[FLOATS];
};

static void *poll_device(void *argument) {
    struct poller *poller = argument;
    uint16_t registers[REGISTERS];
    int64_t due = poller->begin_ns;
    const int64_t end = due + poller->arm->length_ns;
    while (due < end) {
        sleep_until(due);
        if (modbus_read_registers(poller->context, 0, REGISTERS, registers) != REGISTERS)
            die("libmodbus");
        for (size_t i = 0; i < FLOATS; i++)
            poller->values[i] = modbus_get_float_abcd(registers + 2 * i);
        poller->polls++;
        due += poller->arm->period_ns;
        poller->late += clock_ns(CLOCK_MONOTONIC) > due ? 1U : 0U;
    }
    return NULL;
}

static struct figures run_libmodbus(const struct arm *arm) {
    struct poller *pollers = calloc(arm->devices, sizeof *pollers);
    struct figures figures = {0};
    pin(arm->cpu);
    (void)scheduling();
    for (uint32_t i = 0; pollers != NULL && i < arm->devices; i++) {
        pollers[i].arm = arm;
        pollers[i].context = modbus_new_tcp("127.0.0.1", arm->port);
        if (pollers[i].context == NULL || modbus_connect(pollers[i].context) != 0)
            die("libmodbus");
    }
    figures.wall_ns = -clock_ns(CLOCK_MONOTONIC);
    figures.cpu_ns = -clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; pollers != NULL && i < arm->devices; i++) {
        pollers[i].begin_ns = -figures.wall_ns + (int64_t)(i % 10U) * MS;
        if (pthread_create(&pollers[i].thread, NULL, poll_device, &pollers[i]) != 0)
            die("thread");
    }
    for (uint32_t i = 0; pollers != NULL && i < arm->devices; i++) {
        (void)pthread_join(pollers[i].thread, NULL);
        figures.polls += pollers[i].polls;
        figures.late += pollers[i].late;
    }
    figures.cpu_ns += clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    figures.wall_ns += clock_ns(CLOCK_MONOTONIC);
    free(pollers);
    return figures;
}
#endif

/* ---- Command line -------------------------------------------------------------------------------------------------------- */

static struct figures run(const char *name, const struct arm *arm) {
    if (strcmp(name, "engine") == 0)
        return run_engine(arm);
#ifdef BENCH_LIBMODBUS
    if (strcmp(name, "libmodbus") == 0)
        return run_libmodbus(arm);
#endif
    if (strcmp(name, "bare") == 0)
        return run_bare(arm);
    fprintf(stderr, "bench_modbus: unknown arm %s\n", name);
    exit(64);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "serve") == 0) {
        serve(atoi(argv[2]));
        return 0;
    }
    if (argc != 7) {
        fprintf(stderr, "usage: bench_modbus serve CPU | engine|bare|libmodbus PORT CPU DEVICES PERIOD_MS SECONDS\n");
        return 64;
    }
    const struct arm arm = {.port = (uint16_t)atoi(argv[2]),
                            .cpu = atoi(argv[3]),
                            .devices = (uint32_t)atoi(argv[4]),
                            .period_ns = atoi(argv[5]) * MS,
                            .length_ns = atoi(argv[6]) * SECOND};
    if (arm.devices == 0U || arm.devices > V2G_MODBUS_MAX_DEVICES)
        die("DEVICES");
    const struct figures f = run(argv[1], &arm);
    printf("{\"arm\": \"%s\", \"devices\": %" PRIu32 ", \"period_ms\": %s, \"polls\": %" PRIu64 ", \"late\": %" PRIu64
           ", \"cpu_ns_per_poll\": %" PRId64 ", \"core_load\": %.4f, \"trip_mean_ns\": %" PRId64 ", \"trip_max_ns\": %" PRId64
           "}\n",
           argv[1], arm.devices, argv[5], f.polls, f.late, f.cpu_ns / (int64_t)(f.polls == 0U ? 1U : f.polls),
           (double)f.cpu_ns / (double)f.wall_ns, f.trip_mean_ns, f.trip_max_ns);
    return 0;
}
