/* How much of a serial line the RTU engine uses: bench_rtu [SECONDS [tcp]], one line of JSON. `tcp`: the line stands behind a
 * serial server; on a pseudo-terminal a worker of the kernel that has no priority carries every byte, over TCP nobody does.
 *
 * A pseudo-terminal has no baud rate, so a slave in a thread of its own paces itself: it takes the time of every character,
 * hears 3.5 characters of silence before it answers, and counts requests that come before the line was silent for as long.
 * The engine reads two registers at a time as fast as the line allows. The line's limit is what the schedule computes; its
 * use is that limit divided by the time between the beginnings of two requests of the same poll. A wire neither oversleeps
 * nor waits to be scheduled, so the slave watches the clock and the line for the last 100 us of every wait; what is left of its
 * own lateness is part of the figure, and model_late_ns tells how much it was. */
#include "v2g_rtu.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS = 20, REQUEST = 8, ANSWER = 9, PRIORITY = 70 };

static const int64_t MS = 1000000;
static const int64_t SECOND = 1000000000;
static const int64_t EARLY_NS = 100000;

struct slave {
    int master;   /* the line's other end; -1: not connected yet */
    int listener; /* of a line over TCP; else -1 */
    atomic_bool ending;
    struct v2g_rtu_schedule schedule;
    uint64_t requests;
    uint64_t pairs; /* requests that followed another one of the same poll */
    int64_t pairs_ns;
    uint64_t too_soon;
    int64_t model_late_ns; /* how much later than on a wire the answers came, all together */
};

static void die(const char *what) {
    fprintf(stderr, "bench_rtu: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static void sleep_until(int64_t time_ns) {
    const struct timespec until = {.tv_sec = time_ns / SECOND, .tv_nsec = time_ns % SECOND};
    (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* A timer wakes late; the clock is right. */
static void wait_until(int64_t time_ns) {
    sleep_until(time_ns - EARLY_NS);
    while (now_ns() < time_ns)
        continue;
}

/* The engine connects when it begins. */
static void welcome(struct slave *slave) {
    const int on = 1;
    struct pollfd watched = {.fd = slave->listener, .events = POLLIN};
    if (slave->master >= 0 || poll(&watched, 1, 50) <= 0)
        return;
    slave->master = accept4(slave->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    (void)setsockopt(slave->master, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* The next request, watched for from shortly before the line may carry it. False: none came. */
static bool next_request(const struct slave *slave, int64_t soonest_ns, uint8_t *request, size_t size) {
    if (slave->master < 0)
        return false;
    sleep_until(soonest_ns - EARLY_NS);
    for (const int64_t end = now_ns() + 2 * EARLY_NS; now_ns() < end;)
        if (read(slave->master, request, size) == REQUEST)
            return true;
    struct pollfd watched = {.fd = slave->master, .events = POLLIN};
    return poll(&watched, 1, 50) > 0 && read(slave->master, request, size) == REQUEST;
}

/* One or two registers, as asked. */
static size_t make_answer(const uint8_t *request, uint8_t *answer) {
    const size_t length = request[5] == 1U ? ANSWER - 2U : ANSWER;
    memset(answer, 0, ANSWER);
    answer[0] = request[0];
    answer[1] = request[1];
    answer[2] = (uint8_t)(length - 5U);
    const uint16_t crc = v2g_rtu_crc(answer, length - 2U);
    answer[length - 2U] = (uint8_t)crc;
    answer[length - 1U] = (uint8_t)(crc >> 8);
    return length;
}

static void *answer_requests(void *argument) {
    struct slave *slave = argument;
    const int64_t burst_ns = slave->schedule.longest_ns * 3 / 2;
    const struct sched_param parameter = {.sched_priority = PRIORITY};
    int64_t last_begin = 0;
    int64_t quiet_since = 0;
    (void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameter);
    while (!atomic_load(&slave->ending)) {
        uint8_t request[64];
        welcome(slave);
        if (!next_request(slave, quiet_since + slave->schedule.silence_ns, request, sizeof request))
            continue;
        const int64_t begin = now_ns();
        if (begin - last_begin < burst_ns) {
            slave->pairs++;
            slave->pairs_ns += begin - last_begin;
        }
        slave->too_soon += begin - quiet_since < slave->schedule.silence_ns ? 1U : 0U;
        slave->requests++;
        last_begin = begin;
        uint8_t answer[ANSWER];
        const size_t length = make_answer(request, answer);
        const int64_t end = begin + (int64_t)(REQUEST + length) * slave->schedule.char_ns + slave->schedule.silence_ns;
        wait_until(end);
        slave->model_late_ns += now_ns() - end;
        quiet_since = now_ns();
        (void)!write(slave->master, answer, length);
    }
    return NULL;
}

static struct v2g_modbus_config config;
static struct v2g_cell cells[BLOCKS];
static struct v2g_modbus_stats stats[1];

static void configure(int64_t poll_ns) {
    memset(&config, 0, sizeof config);
    config.device_count = 1;
    config.register_count = config.cell_count = BLOCKS;
    config.write_scan_ns = 10 * MS;
    config.backoff_min_ns = config.backoff_max_ns = SECOND;
    config.devices[0] = (struct v2g_modbus_device){
        .unit = 1, .window = 1, .max_words = 2, .poll_ns = poll_ns, .reply_timeout_ns = SECOND, .connect_timeout_ns = SECOND};
    for (uint16_t i = 0; i < BLOCKS; i++)
        config.registers[i] = (struct v2g_modbus_register){.table = V2G_MODBUS_HOLDING,
                                                           .type = V2G_MODBUS_U32,
                                                           .address = (uint16_t)(2U * i),
                                                           .every = 1,
                                                           .cell = i,
                                                           .multiplier = 1,
                                                           .divisor = 1};
}

static int open_line(struct v2g_rtu_line *line, uint32_t baud) {
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    struct termios raw;
    *line = (struct v2g_rtu_line){.baud = baud, .parity = V2G_RTU_EVEN, .stop_bits = 1};
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || ptsname_r(master, line->path, sizeof line->path) != 0 ||
        tcgetattr(master, &raw) != 0)
        die("pseudo-terminal");
    cfmakeraw(&raw);
    if (tcsetattr(master, TCSANOW, &raw) != 0)
        die("pseudo-terminal");
    return master;
}

static int listen_for_line(struct v2g_rtu_line *line, uint32_t baud) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *line = (struct v2g_rtu_line){.baud = baud, .parity = V2G_RTU_EVEN, .stop_bits = 1, .family = 4, .path = "server"};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        die("listen");
    line->port = ntohs(address.sin_port);
    memcpy(line->address, &address.sin_addr, 4);
    return fd;
}

static void measure(uint32_t baud, int64_t length_ns, bool tcp, const char *separator) {
    const struct v2g_modbus_memory memory = {.cells = cells, .stats = stats};
    const struct v2g_thread thread = {.policy = SCHED_FIFO, .priority = PRIORITY, .cpu = -1};
    struct v2g_rtu_engine *engine = aligned_alloc(64, (v2g_rtu_engine_size() + 63U) / 64U * 64U);
    struct slave slave = {0};
    struct v2g_rtu_line line;
    pthread_t id;
    char error[256] = "no memory";
    slave.listener = tcp ? listen_for_line(&line, baud) : -1;
    slave.master = tcp ? -1 : open_line(&line, baud);
    configure(60 * SECOND);
    (void)v2g_rtu_check(&config, &line, &slave.schedule, error, sizeof error);
    configure(slave.schedule.longest_ns * BLOCKS * 11 / 10);
    if (engine == NULL || v2g_rtu_init(engine, &config, &line, &memory, error, sizeof error) != 0) {
        fprintf(stderr, "bench_rtu: %s\n", error);
        exit(1);
    }
    if (pthread_create(&id, NULL, answer_requests, &slave) != 0 || v2g_rtu_start(engine, &thread) < 0)
        die("thread");
    sleep_until(now_ns() + length_ns);
    v2g_rtu_stop(engine);
    v2g_rtu_close(engine);
    atomic_store(&slave.ending, true);
    (void)pthread_join(id, NULL);
    if (slave.pairs == 0U)
        die("no requests");
    const int64_t mean_ns = slave.pairs_ns / (int64_t)slave.pairs;
    const int64_t model_ns = slave.model_late_ns / (int64_t)slave.requests;
    printf("\"%" PRIu32 "\": {\"requests\": %" PRIu64 ", \"limit_ns\": %" PRId64 ", \"mean_ns\": %" PRId64
           ", \"model_late_ns\": %" PRId64 ", \"use_of_limit\": %.4f, \"too_soon\": %" PRIu64 ", \"timeouts\": %" PRIu64
           ", \"late_polls\": %" PRIu64 "}%s",
           baud, slave.requests, slave.schedule.longest_ns, mean_ns, model_ns,
           (double)slave.schedule.longest_ns / (double)mean_ns, slave.too_soon, (uint64_t)stats[0].timeouts,
           (uint64_t)stats[0].late_polls, separator);
    (void)close(slave.master);
    (void)close(slave.listener);
    free(engine);
}

int main(int argc, char **argv) {
    const int64_t length_ns = (argc > 1 ? atoi(argv[1]) : 5) * SECOND;
    const bool tcp = argc > 2 && strcmp(argv[2], "tcp") == 0;
    printf("{");
    measure(9600, length_ns, tcp, ", ");
    measure(19200, length_ns, tcp, ", ");
    measure(115200, length_ns, tcp, "}\n");
    return 0;
}
