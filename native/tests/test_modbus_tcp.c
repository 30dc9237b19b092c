/* The Modbus/TCP engine and the cells with real threads and real sockets; run under the sanitizers too. */
#include "check.h"
#include "v2g_modbus.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEVICES = 8, MS = 1000000 };

static struct v2g_modbus_config config;
static struct v2g_cell cells[DEVICES];
static struct v2g_write_cell write_cells[1];
static struct v2g_modbus_stats stats[DEVICES];
static char error[256];

/* ---- Cells ---- */

static struct v2g_cell shared_cell;
static struct v2g_write_cell shared_write;
enum { VALUES = 200000 };

static void *write_cell_forever(void *unused) {
    (void)unused;
    for (int64_t i = 1; i <= VALUES; i++) {
        v2g_cell_write(&shared_cell, i, 3 * i);
        v2g_write_cell_write(&shared_write, i, 5 * i);
    }
    return NULL;
}

static void a_reader_never_sees_half_a_value(void) {
    pthread_t writer;
    CHECK_EQ(pthread_create(&writer, NULL, write_cell_forever, NULL), 0);
    int64_t last = 0;
    while (last < VALUES) {
        struct v2g_sample sample;
        struct v2g_write_sample request;
        if (v2g_cell_read(&shared_cell, &sample)) {
            CHECK_EQ(sample.acquired_ns, 3 * sample.value);
            CHECK_EQ(sample.changed_ns, 3 * sample.value);
            CHECK_EQ(sample.count, sample.value);
            CHECK(sample.value >= last);
            last = sample.value;
        }
        if (v2g_write_cell_read(&shared_write, &request))
            CHECK_EQ(request.valid_until_ns, 5 * request.value);
    }
    CHECK_EQ(pthread_join(writer, NULL), 0);
}

/* ---- Engine ---- */

struct server {
    int listener;
    uint16_t port;
    pthread_t thread;
};

/* Answers every read of one holding register with the number of the read; one connection. */
static void *serve(void *argument) {
    const struct server *server = argument;
    const int fd = accept(server->listener, NULL, NULL);
    uint8_t request[12];
    uint16_t reads = 0;
    while (fd >= 0 && recv(fd, request, sizeof request, MSG_WAITALL) == (ssize_t)sizeof request) {
        reads++;
        const uint8_t answer[] = {request[0], request[1], 0, 0, 0, 5, request[6], 3, 2, (uint8_t)(reads >> 8), (uint8_t)reads};
        CHECK_EQ(send(fd, answer, sizeof answer, MSG_NOSIGNAL), (int)sizeof answer);
    }
    close(fd);
    return NULL;
}

static void start_server(struct server *server) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(server->listener, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(listen(server->listener, 1), 0);
    CHECK_EQ(getsockname(server->listener, (struct sockaddr *)&address, &length), 0);
    server->port = ntohs(address.sin_port);
    CHECK_EQ(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void add_device(uint32_t index, uint16_t port) {
    config.devices[index] = (struct v2g_modbus_device){.family = 4,
                                                       .unit = 1,
                                                       .port = port,
                                                       .address = {127, 0, 0, 1},
                                                       .window = 1,
                                                       .max_words = 125,
                                                       .poll_ns = 5 * MS,
                                                       .reply_timeout_ns = INT64_C(10000) * MS,
                                                       .connect_timeout_ns = INT64_C(10000) * MS};
    config.registers[index] = (struct v2g_modbus_register){.device = (uint16_t)index,
                                                           .table = V2G_MODBUS_HOLDING,
                                                           .every = 1,
                                                           .cell = (uint16_t)index,
                                                           .multiplier = 1,
                                                           .divisor = 1};
}

static void wait_until_counted(uint32_t count) {
    for (uint32_t i = 0; i < DEVICES; i++) {
        struct v2g_sample sample = {0};
        while (!v2g_cell_read(&cells[i], &sample) || sample.count < count) {
            const struct timespec pause = {.tv_nsec = MS};
            nanosleep(&pause, NULL);
        }
        CHECK_EQ(sample.quality, V2G_QUALITY_GOOD);
        CHECK(sample.value > 0);
    }
}

static struct v2g_modbus_engine *make_engine(void) {
    const struct v2g_modbus_memory memory = {.cells = cells, .write_cells = write_cells, .stats = stats};
    const size_t size = (v2g_modbus_engine_size() + 63U) / 64U * 64U;
    struct v2g_modbus_engine *engine = aligned_alloc(64, size);
    CHECK(engine != NULL);
    CHECK_EQ(v2g_modbus_init(engine, &config, &memory, error, sizeof error), 0);
    return engine;
}

static void many_devices_are_polled_by_one_thread(void) {
    static struct server servers[DEVICES];
    const struct v2g_thread thread = {.policy = 0, .priority = 0, .cpu = -1};
    config.device_count = config.register_count = config.cell_count = DEVICES;
    config.write_scan_ns = 10 * MS;
    config.backoff_min_ns = config.backoff_max_ns = INT64_C(1000) * MS;
    for (uint32_t i = 0; i < DEVICES; i++) {
        start_server(&servers[i]);
        add_device(i, servers[i].port);
    }
    struct v2g_modbus_engine *engine = make_engine();
    CHECK_EQ(v2g_modbus_start(engine, &thread), 0);
    CHECK(v2g_modbus_start(engine, &thread) < 0);
    wait_until_counted(5);
    v2g_modbus_stop(engine);
    CHECK_EQ(v2g_modbus_start(engine, &thread), 0);
    wait_until_counted(10);
    v2g_modbus_stop(engine);
    v2g_modbus_close(engine);
    for (uint32_t i = 0; i < DEVICES; i++) {
        CHECK_EQ(stats[i].timeouts + stats[i].bad_frames, 0);
        CHECK_EQ(stats[i].state, V2G_MODBUS_STATE_IDLE);
        CHECK_EQ(pthread_join(servers[i].thread, NULL), 0);
        CHECK_EQ(close(servers[i].listener), 0);
    }
    free(engine);
}

static void a_refused_config_starts_nothing(void) {
    const struct v2g_modbus_memory memory = {.cells = cells, .write_cells = write_cells, .stats = stats};
    config.devices[0].poll_ns = 0;
    CHECK_EQ(v2g_modbus_init(NULL, &config, &memory, error, sizeof error), -1);
    CHECK(strstr(error, "modbus device 0: poll_ns 0") != NULL);
}

CHECK_MAIN(CASE(a_reader_never_sees_half_a_value), CASE(many_devices_are_polled_by_one_thread),
           CASE(a_refused_config_starts_nothing))
