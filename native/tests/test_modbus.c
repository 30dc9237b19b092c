/* The pure parts of the Modbus engine: values, frames, checks and the merging of reads. */
#include "../modbus/modbus.h"
#include "../modbus/modbus_timer.h"
#include "check.h"

static struct v2g_modbus_config config;
static struct mb_bus bus;
static struct v2g_cell cells[64];
static struct v2g_write_cell write_cells[4];
static struct v2g_modbus_stats stats[4];
static char error[256];

/* One meter with nothing to read. */
static void begin(void) {
    memset(&config, 0, sizeof config);
    config.device_count = 1;
    config.cell_count = 64;
    config.write_cell_count = 4;
    config.write_scan_ns = 10 * MB_MS;
    config.backoff_min_ns = MB_S;
    config.backoff_max_ns = 30 * MB_S;
    config.devices[0] = (struct v2g_modbus_device){.family = 4,
                                                   .unit = 1,
                                                   .port = 502,
                                                   .address = {127, 0, 0, 1},
                                                   .window = 1,
                                                   .max_words = 125,
                                                   .poll_ns = 100 * MB_MS,
                                                   .reply_timeout_ns = 50 * MB_MS,
                                                   .connect_timeout_ns = MB_S};
}

static struct v2g_modbus_register *add_register(uint16_t address, uint8_t type) {
    struct v2g_modbus_register *reg = &config.registers[config.register_count];
    *reg = (struct v2g_modbus_register){.table = V2G_MODBUS_HOLDING,
                                        .type = type,
                                        .address = address,
                                        .every = 1,
                                        .cell = (uint16_t)config.register_count,
                                        .multiplier = 1,
                                        .divisor = 1};
    config.register_count++;
    return reg;
}

/* An EVSE whose limit is register 300 in 0.1 A, whose stop is register 301, and that must never see a limit of 0. */
static struct v2g_modbus_write *add_write(void) {
    struct v2g_modbus_write *write = &config.writes[config.write_count++];
    *write = (struct v2g_modbus_write){.function = 6,
                                       .type = V2G_MODBUS_U16,
                                       .address = 300,
                                       .result = V2G_MODBUS_NONE,
                                       .read_back = V2G_MODBUS_NONE,
                                       .multiplier = 100,
                                       .divisor = 1,
                                       .never_count = 1,
                                       .never = {0},
                                       .maximum = 32000,
                                       .min_interval_ns = MB_S,
                                       .stop = {.function = 6, .count = 1, .address = 301, .words = {0}}};
    return write;
}

/* Puts the committed config into `bus`. */
static void commit(void) {
    CHECK_EQ(v2g_modbus_check(&config, error, sizeof error), 0);
    mb_plan(&bus, &config);
    memset(cells, 0, sizeof cells);
    memset(write_cells, 0, sizeof write_cells);
    bus.memory = (struct v2g_modbus_memory){.cells = cells, .write_cells = write_cells, .stats = stats};
}

static void refused_for(const char *reason) {
    CHECK_EQ(v2g_modbus_check(&config, error, sizeof error), -1);
    if (strstr(error, reason) == NULL)
        check_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", error, reason);
}

/* ---- Values ---- */

static int64_t decoded(uint8_t type, uint8_t order, int32_t multiplier, int32_t divisor, const uint8_t *bytes) {
    const struct v2g_modbus_register reg = {
        .table = V2G_MODBUS_INPUT, .type = type, .order = order, .multiplier = multiplier, .divisor = divisor};
    int64_t value = 0;
    CHECK_EQ(v2g_modbus_decode(&reg, bytes, &value), 1);
    return value;
}

static int is_no_value(uint8_t type, const uint8_t *bytes) {
    const struct v2g_modbus_register reg = {.table = V2G_MODBUS_INPUT, .type = type, .multiplier = 1000, .divisor = 1};
    int64_t value = 77;
    const int good = v2g_modbus_decode(&reg, bytes, &value);
    CHECK_EQ(value, 77);
    return !good;
}

static void registers_become_core_units(void) {
    CHECK_EQ(decoded(V2G_MODBUS_U16, V2G_MODBUS_BIG, 1, 1, (const uint8_t[]){0xFF, 0xFE}), 65534);
    CHECK_EQ(decoded(V2G_MODBUS_I16, V2G_MODBUS_BIG, 10, 1, (const uint8_t[]){0xFF, 0xFE}), -20);
    CHECK_EQ(decoded(V2G_MODBUS_U32, V2G_MODBUS_BIG, 1, 1, (const uint8_t[]){0, 1, 0, 2}), 65538);
    CHECK_EQ(decoded(V2G_MODBUS_U32, V2G_MODBUS_LITTLE, 1, 1, (const uint8_t[]){0, 2, 0, 1}), 65538);
    CHECK_EQ(decoded(V2G_MODBUS_I32, V2G_MODBUS_BIG, 1, 10, (const uint8_t[]){0xFF, 0xFF, 0xFF, 0xF1}), -2); /* -1.5 */
    CHECK_EQ(decoded(V2G_MODBUS_I64, V2G_MODBUS_BIG, -1, 1, (const uint8_t[]){255, 255, 255, 255, 255, 255, 255, 255}), 1);
    CHECK_EQ(decoded(V2G_MODBUS_U64, V2G_MODBUS_LITTLE, 1, 1, (const uint8_t[]){0, 5, 0, 0, 0, 0, 0, 0}), 5);
}

static void floats_become_the_nearest_integer(void) {
    CHECK_EQ(decoded(V2G_MODBUS_F32, V2G_MODBUS_BIG, 10, 1, (const uint8_t[]){0x43, 0x65, 0xE6, 0x66}), 2299); /* 229.9 */
    CHECK_EQ(decoded(V2G_MODBUS_F32, V2G_MODBUS_LITTLE, 1, 1, (const uint8_t[]){0x80, 0, 0xC5, 0x1C}), -2504);
    CHECK_EQ(decoded(V2G_MODBUS_F64, V2G_MODBUS_BIG, 1000, 1, (const uint8_t[]){0x40, 0x49, 0, 0, 0, 0, 0, 0}), 50000);
}

static void a_float_that_is_no_measurement_is_no_value(void) {
    CHECK(is_no_value(V2G_MODBUS_F32, (const uint8_t[]){0x7F, 0xC0, 0, 0}));     /* NaN */
    CHECK(is_no_value(V2G_MODBUS_F32, (const uint8_t[]){0x7F, 0x80, 0, 0}));     /* infinity */
    CHECK(is_no_value(V2G_MODBUS_F32, (const uint8_t[]){0xFF, 0x7F, 255, 255})); /* -3.4e38 */
    CHECK(is_no_value(V2G_MODBUS_F64, (const uint8_t[]){0x7F, 0xEF, 255, 255, 255, 255, 255, 255}));
    CHECK(is_no_value(V2G_MODBUS_U64, (const uint8_t[]){255, 255, 255, 255, 255, 255, 255, 255}));
    CHECK(is_no_value(V2G_MODBUS_I64, (const uint8_t[]){0x80, 0, 0, 0, 0, 0, 0, 0}));
}

static void an_invalid_code_or_an_implausible_value_is_no_value(void) {
    struct v2g_modbus_register reg = {.table = V2G_MODBUS_HOLDING,
                                      .type = V2G_MODBUS_I16,
                                      .multiplier = 1,
                                      .divisor = 1,
                                      .flags = V2G_MODBUS_HAS_INVALID | V2G_MODBUS_HAS_RANGE,
                                      .invalid = 0x8000,
                                      .minimum = -400,
                                      .maximum = 1500};
    int64_t value = 0;
    CHECK_EQ(v2g_modbus_decode(&reg, (const uint8_t[]){0x80, 0}, &value), 0);
    CHECK_EQ(v2g_modbus_decode(&reg, (const uint8_t[]){0x7F, 0xFF}, &value), 0);
    CHECK_EQ(v2g_modbus_decode(&reg, (const uint8_t[]){0, 250}, &value), 1);
    CHECK_EQ(value, 250);
}

static void setpoints_round_towards_zero_and_must_fit(void) {
    struct v2g_modbus_write write = {
        .function = 16, .type = V2G_MODBUS_I16, .multiplier = 100, .divisor = 1, .minimum = -4000000, .maximum = 4000000};
    uint16_t words[V2G_MODBUS_WRITE_WORDS] = {0};
    CHECK_EQ(v2g_modbus_encode(&write, 15999, words), 1);
    CHECK_EQ(words[0], 159);
    CHECK_EQ(v2g_modbus_encode(&write, -15999, words), 1);
    CHECK_EQ((int16_t)words[0], -159);
    CHECK_EQ(v2g_modbus_encode(&write, 3276800, words), 0); /* 32768 does not fit int16 */
    CHECK_EQ(v2g_modbus_encode(&write, INT64_MIN, words), 0);
    write.type = V2G_MODBUS_F32;
    write.multiplier = 1000;
    CHECK_EQ(v2g_modbus_encode(&write, 16000, words), 2);
    CHECK_EQ(words[0], 0x4180);
    CHECK_EQ(words[1], 0);
    write.type = V2G_MODBUS_U32;
    write.multiplier = 1;
    write.order = V2G_MODBUS_LITTLE;
    CHECK_EQ(v2g_modbus_encode(&write, 0x12345, words), 2);
    CHECK_EQ(words[0], 0x2345);
    CHECK_EQ(words[1], 1);
}

static void a_float_setpoint_is_never_rounded_up(void) {
    const struct v2g_modbus_write write = {
        .function = 16, .type = V2G_MODBUS_F32, .multiplier = 3, .divisor = 1, .minimum = -4000000, .maximum = 4000000};
    for (int64_t value = -4000000; value <= 4000000; value += 9973) {
        uint16_t words[V2G_MODBUS_WRITE_WORDS] = {0};
        CHECK_EQ(v2g_modbus_encode(&write, value, words), 2);
        const uint32_t bits = (uint32_t)words[0] << 16 | words[1];
        float written;
        memcpy(&written, &bits, sizeof written);
        CHECK(value < 0 ? (double)written >= (double)value / 3.0 : (double)written <= (double)value / 3.0);
    }
}

static void a_value_that_rounds_to_a_forbidden_code_is_not_encoded(void) {
    begin();
    const struct v2g_modbus_write *write = add_write();
    uint16_t words[V2G_MODBUS_WRITE_WORDS];
    CHECK_EQ(v2g_modbus_encode(write, 99, words), 0); /* 99 mA would be 0 * 0.1 A */
    CHECK_EQ(v2g_modbus_encode(write, 100, words), 1);
    CHECK_EQ(v2g_modbus_encode(write, 32001, words), 0);
}

/* ---- Frames ---- */

static struct v2g_modbus_parsed parse(const uint8_t *bytes, size_t length, const struct v2g_modbus_request *requests,
                                      uint32_t count) {
    struct v2g_modbus_parsed parsed;
    v2g_modbus_parse(bytes, length, requests, count, &parsed);
    return parsed;
}

static const struct v2g_modbus_request READ_TWO = {.transaction = 7, .unit = 1, .function = 3, .address = 10, .count = 2};

static void requests_look_as_the_specification_says(void) {
    uint8_t frame[V2G_MODBUS_FRAME];
    CHECK_EQ(v2g_modbus_build(&READ_TWO, frame), 12);
    CHECK_MEM_EQ(frame, ((const uint8_t[]){0, 7, 0, 0, 0, 6, 1, 3, 0, 10, 0, 2}), 12);
    const struct v2g_modbus_request coil = {.function = 5, .address = 3, .count = 1, .words = {1}};
    CHECK_EQ(v2g_modbus_build(&coil, frame), 12);
    CHECK_MEM_EQ(frame + 7, ((const uint8_t[]){5, 0, 3, 0xFF, 0}), 5);
    const struct v2g_modbus_request coils = {.function = 15, .address = 0x13, .count = 10, .words = {0x01CD}};
    CHECK_EQ(v2g_modbus_build(&coils, frame), 15);
    CHECK_MEM_EQ(frame + 7, ((const uint8_t[]){15, 0, 0x13, 0, 10, 2, 0xCD, 1}), 8);
    const struct v2g_modbus_request words = {.function = 16, .address = 1, .count = 2, .words = {10, 0x0102}};
    CHECK_EQ(v2g_modbus_build(&words, frame), 17);
    CHECK_MEM_EQ(frame + 7, ((const uint8_t[]){16, 0, 1, 0, 2, 4, 0, 10, 1, 2}), 10);
    const struct v2g_modbus_request both = {
        .function = 23, .address = 3, .count = 6, .write_address = 14, .write_count = 3, .words = {255, 255, 255}};
    CHECK_EQ(v2g_modbus_build(&both, frame), 23);
    CHECK_MEM_EQ(frame + 7, ((const uint8_t[]){23, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 255, 0, 255, 0, 255}), 16);
    const struct v2g_modbus_request unknown = {.function = 8, .count = 1};
    CHECK_EQ(v2g_modbus_build(&unknown, frame), 0);
}

static void an_answer_is_taken_only_whole(void) {
    const uint8_t answer[] = {0, 7, 0, 0, 0, 7, 1, 3, 4, 0x12, 0x34, 0x56, 0x78};
    for (size_t length = 0; length < sizeof answer; length++)
        CHECK_EQ(parse(answer, length, &READ_TWO, 1).verdict, V2G_MODBUS_MORE);
    const struct v2g_modbus_parsed parsed = parse(answer, sizeof answer, &READ_TWO, 1);
    CHECK_EQ(parsed.verdict, V2G_MODBUS_REPLY);
    CHECK_EQ(parsed.consumed, 13);
    CHECK_EQ(parsed.data, 9);
    CHECK_EQ(parsed.length, 4);
}

static void an_answer_must_match_its_request(void) {
    const uint8_t good[] = {0, 7, 0, 0, 0, 7, 1, 3, 4, 1, 2, 3, 4};
    static const struct {
        size_t at;
        uint8_t byte;
        uint32_t verdict;
    } wrong[] = {
        {1, 8, V2G_MODBUS_UNSOLICITED}, /* transaction */
        {2, 1, V2G_MODBUS_BAD},         /* protocol */
        {5, 2, V2G_MODBUS_BAD},         /* length: shorter than any answer */
        {5, 6, V2G_MODBUS_BAD},         /* length: one byte of the data is missing */
        {4, 1, V2G_MODBUS_BAD},         /* length: longer than any frame */
        {6, 2, V2G_MODBUS_BAD},         /* unit */
        {7, 4, V2G_MODBUS_BAD},         /* function */
        {8, 3, V2G_MODBUS_BAD},         /* byte count */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint8_t answer[sizeof good];
        memcpy(answer, good, sizeof good);
        answer[wrong[i].at] = wrong[i].byte;
        CHECK_EQ(parse(answer, sizeof answer, &READ_TWO, 1).verdict, wrong[i].verdict);
    }
}

static void an_exception_names_its_code(void) {
    const uint8_t answer[] = {0, 7, 0, 0, 0, 3, 1, 0x83, 2};
    const struct v2g_modbus_parsed parsed = parse(answer, sizeof answer, &READ_TWO, 1);
    CHECK_EQ(parsed.verdict, V2G_MODBUS_EXCEPTION);
    CHECK_EQ(parsed.exception, 2);
}

static void a_write_is_acknowledged_by_its_echo_only(void) {
    const struct v2g_modbus_request write = {
        .transaction = 9, .unit = 1, .function = 6, .address = 300, .count = 1, .words = {160}};
    uint8_t answer[] = {0, 9, 0, 0, 0, 6, 1, 6, 1, 44, 0, 160};
    CHECK_EQ(parse(answer, sizeof answer, &write, 1).verdict, V2G_MODBUS_REPLY);
    answer[11] = 161;
    CHECK_EQ(parse(answer, sizeof answer, &write, 1).verdict, V2G_MODBUS_BAD);
}

static void any_bytes_are_judged_without_harm(void) {
    struct v2g_modbus_request requests[V2G_MODBUS_MAX_WINDOW] = {{0}};
    requests[3] = READ_TWO;
    requests[9] = (struct v2g_modbus_request){.transaction = 1, .function = 1, .count = 2000};
    uint32_t noise = 1;
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[300];
        for (size_t i = 0; i < 12; i++) {
            noise = noise * 1664525U + 1013904223U;
            bytes[i] = (uint8_t)(i < 5 ? (noise >> 30) & 1U : noise >> 24);
        }
        const size_t length = (noise >> 8) % sizeof bytes;
        memset(bytes + 12, (int)(noise & 255U), sizeof bytes - 12);
        const struct v2g_modbus_parsed parsed = parse(bytes, length, requests, V2G_MODBUS_MAX_WINDOW);
        CHECK(parsed.consumed <= length);
        if (parsed.verdict == V2G_MODBUS_REPLY)
            CHECK(parsed.data + parsed.length <= parsed.consumed);
    }
}

/* ---- Checks and merging ---- */

static void neighbours_are_read_in_one_request(void) {
    begin();
    (void)add_register(104, V2G_MODBUS_F32);
    (void)add_register(100, V2G_MODBUS_F32);
    (void)add_register(102, V2G_MODBUS_F32);
    (void)add_register(110, V2G_MODBUS_U16);
    commit();
    CHECK_EQ(bus.devices[0].block_end, 2);
    CHECK_EQ(bus.blocks[0].address, 100);
    CHECK_EQ(bus.blocks[0].count, 6);
    CHECK_EQ(bus.blocks[1].address, 110);
}

static void holes_are_read_along_only_when_the_device_allows_it(void) {
    begin();
    config.devices[0].merge_gap = 8;
    (void)add_register(100, V2G_MODBUS_F32);
    (void)add_register(110, V2G_MODBUS_U16);
    (void)add_register(120, V2G_MODBUS_U16);
    commit();
    CHECK_EQ(bus.devices[0].block_end, 2);
    CHECK_EQ(bus.blocks[0].count, 11);
}

static void no_request_reads_more_than_the_device_gives(void) {
    begin();
    config.devices[0].max_words = 5;
    for (uint16_t i = 0; i < 6; i++)
        (void)add_register((uint16_t)(2 * i), V2G_MODBUS_U32);
    commit();
    CHECK_EQ(bus.devices[0].block_end, 3);
    for (uint32_t i = 0; i < 3; i++)
        CHECK_EQ(bus.blocks[i].count, 4);
}

static void rarely_read_registers_have_requests_of_their_own(void) {
    begin();
    (void)add_register(100, V2G_MODBUS_U16);
    add_register(101, V2G_MODBUS_U16)->every = 10;
    commit();
    CHECK_EQ(bus.devices[0].block_end, 2);
    CHECK_EQ(bus.blocks[1].every, 10);
}

static void a_config_that_cannot_run_is_refused_with_the_place(void) {
    begin();
    config.devices[0].port = 0;
    refused_for("modbus device 0: port 0 is outside 1..65535");
    begin();
    config.devices[0].window = 17;
    refused_for("device 0: window 17");
    begin();
    add_register(0, V2G_MODBUS_U16)->device = 1;
    refused_for("register 0: device 1 is outside 0..0");
    begin();
    (void)add_register(65535, V2G_MODBUS_U32);
    refused_for("register 0: address 65535 is outside 0..65534");
    begin();
    add_register(0, V2G_MODBUS_U16)->divisor = 0;
    refused_for("divisor 0");
    begin();
    (void)add_register(0, V2G_MODBUS_U16);
    add_register(5, V2G_MODBUS_U16)->cell = 0;
    refused_for("register 1: cell 0 already has another source");
    begin();
    (void)add_register(10, V2G_MODBUS_U32);
    (void)add_register(11, V2G_MODBUS_U32);
    refused_for("register 1: address 11 cuts into register 0 at address 10");
}

static void a_write_that_could_do_harm_is_refused(void) {
    begin();
    add_write()->stop.count = 0;
    refused_for("write 0: stop action 0");
    begin();
    add_write()->flags = V2G_MODBUS_NONVOLATILE;
    refused_for("min_interval_ns of a nonvolatile register");
    begin();
    struct v2g_modbus_write *write = add_write();
    write->flags = V2G_MODBUS_NONVOLATILE;
    write->refresh_ns = MB_S;
    refused_for("never refreshed");
    begin();
    add_write()->type = V2G_MODBUS_U32;
    refused_for("function 6 writes one register");
    begin();
    add_write()->function = 23;
    refused_for("function 23 needs a read-back");
}

/* ---- Writes ---- */

/* What is written at `now_ms`, as address << 16 | first word; 0: nothing. The device acknowledges it. */
static uint32_t written(int64_t now_ms) {
    struct v2g_modbus_request request;
    struct mb_open open;
    if (!mb_point_due(&bus, 0, now_ms * MB_MS, &request, &open))
        return 0;
    mb_point_sent(&bus, &open, now_ms * MB_MS);
    mb_point_acknowledged(&bus, &request, &open, now_ms * MB_MS);
    return (uint32_t)request.address << 16 | request.words[0];
}

static void ask(int64_t value, int64_t until_ms) {
    v2g_write_cell_write(&write_cells[0], value, until_ms * MB_MS);
}

enum { STOP = 301U << 16, LIMIT = 300U << 16 };

static void nothing_is_written_before_it_is_asked_for(void) {
    begin();
    (void)add_write();
    commit();
    CHECK_EQ(written(0), 0);
}

static void only_the_newest_setpoint_is_written_and_not_too_often(void) {
    begin();
    (void)add_write();
    commit();
    ask(16000, 10000);
    CHECK_EQ(written(0), LIMIT | 160);
    CHECK_EQ(written(10), 0); /* unchanged */
    ask(20000, 10000);
    ask(25000, 10000);
    CHECK_EQ(written(500), 0); /* inside min_interval */
    ask(12000, 10000);
    CHECK_EQ(written(1000), LIMIT | 120);
}

static void a_stop_does_not_wait_for_the_interval(void) {
    begin();
    (void)add_write();
    commit();
    ask(16000, 10000);
    CHECK_EQ(written(0), LIMIT | 160);
    ask(0, 10000); /* 0 is forbidden: the stop action holds */
    CHECK_EQ(written(10), STOP);
    CHECK_EQ(written(20), 0);
    ask(16000, 10000);
    CHECK_EQ(written(30), 0); /* but release waits */
    CHECK_EQ(written(1010), LIMIT | 160);
}

/* The setpoint of `add_write`, and after it a heartbeat in register 400. */
static struct v2g_modbus_write *add_heartbeat(void) {
    struct v2g_modbus_write *beat = add_write();
    *beat = (struct v2g_modbus_write){.function = 16,
                                      .type = V2G_MODBUS_U32,
                                      .address = 400,
                                      .result = V2G_MODBUS_NONE,
                                      .read_back = V2G_MODBUS_NONE,
                                      .flags = V2G_MODBUS_HEARTBEAT,
                                      .multiplier = 1,
                                      .divisor = 1,
                                      .maximum = UINT32_MAX,
                                      .min_interval_ns = MB_S};
    return beat;
}

static void a_heart_beats_as_long_as_a_setpoint_holds(void) {
    enum { BEAT = 400U << 16 };
    begin();
    (void)add_heartbeat();
    commit();
    CHECK_EQ(written(0), 0); /* nobody has asked for anything */
    ask(16000, 2500);
    CHECK_EQ(written(0), BEAT); /* high word of 1 */
    CHECK_EQ(bus.points[0].words[1], 1);
    CHECK_EQ(written(999), 0);
    CHECK_EQ(written(1000), BEAT);
    CHECK_EQ(written(2000), BEAT);
    CHECK_EQ(bus.points[0].words[1], 3);
    CHECK_EQ(written(3000), 0); /* the setpoint has expired: the device falls back */
    ask(16000, 9000);
    bus.points[0].beats = UINT32_MAX;
    CHECK_EQ(written(4000), BEAT);
    CHECK_EQ(bus.points[0].words[1], 0);
}

static void a_heartbeat_with_a_stop_is_refused(void) {
    begin();
    add_heartbeat()->stop = (struct v2g_modbus_action){.function = 6, .count = 1};
    refused_for("write 0: a heartbeat is a plain count");
    begin();
    add_heartbeat()->min_interval_ns = 0;
    refused_for("min_interval_ns of a heartbeat 0");
}

static void a_device_that_is_left_alone_is_read_before_it_is_written(void) {
    begin();
    (void)add_register(0, V2G_MODBUS_U16);
    (void)add_write();
    commit();
    ask(16000, 100000);
    CHECK_EQ(mb_ask_silence(&bus, 1, MB_S, MB_S), -1);
    CHECK_EQ(mb_ask_silence(&bus, 0, 0, MB_S), -1);
    CHECK_EQ(mb_take_silence(&bus, 0, 0), 0);
    v2g_cell_write(&cells[0], 7, 0);
    CHECK_EQ(mb_ask_silence(&bus, 0, 5 * MB_S, 2 * MB_S), 0);
    CHECK_EQ(mb_take_silence(&bus, 0, MB_S), 6 * MB_S);
    CHECK_EQ(mb_take_silence(&bus, 0, MB_S), 0);
    CHECK_EQ(cells[0].quality, V2G_QUALITY_STALE_DEVICE);
    mb_poll_align(&bus, 0, 6 * MB_S);
    mb_poll_due(&bus, 0, bus.devices[0].poll_due_ns);
    CHECK_EQ(mb_next_request(&bus, 0, MB_ALL, 6 * MB_S), 0);
    CHECK_EQ(bus.devices[0].open[0].kind, MB_POLL);
    mb_abandon(&bus, 0);
    CHECK_EQ(mb_next_request(&bus, 0, MB_ALL, 7 * MB_S), -1);
    CHECK_EQ(mb_next_request(&bus, 0, MB_ALL, 8 * MB_S), 0);
    CHECK_EQ(bus.devices[0].open[0].kind, MB_WRITE);
}

static void an_expired_setpoint_becomes_a_stop(void) {
    begin();
    (void)add_write();
    commit();
    ask(16000, 100);
    CHECK_EQ(written(0), LIMIT | 160);
    CHECK_EQ(written(99), 0);
    CHECK_EQ(written(100), STOP);
}

static void the_stop_is_sent_on_and_on(void) {
    begin();
    add_write()->refresh_ns = 5 * MB_S;
    commit();
    ask(0, 0);
    CHECK_EQ(written(0), STOP);
    CHECK_EQ(written(4999), 0);
    CHECK_EQ(written(5000), STOP);
}

static void a_device_is_started_after_its_limit_is_set(void) {
    begin();
    add_write()->start = (struct v2g_modbus_action){.function = 6, .count = 1, .address = 302, .words = {1}};
    commit();
    ask(16000, 100);
    CHECK_EQ(written(0), LIMIT | 160);
    CHECK_EQ(written(1), 302U << 16 | 1);
    CHECK_EQ(written(2), 0);
    CHECK_EQ(written(100), STOP);
    ask(16000, 9000);
    CHECK_EQ(written(1100), LIMIT | 160);
    CHECK_EQ(written(1101), 302U << 16 | 1);
}

static void a_lost_connection_makes_the_setpoint_unknown(void) {
    begin();
    (void)add_write();
    commit();
    ask(16000, 10000);
    CHECK_EQ(written(0), LIMIT | 160);
    mb_point_lost(&bus, 0);
    CHECK_EQ(written(1000), LIMIT | 160);
}

static void a_nonvolatile_register_is_written_only_when_the_value_changed(void) {
    begin();
    struct v2g_modbus_write *write = add_write();
    write->flags = V2G_MODBUS_NONVOLATILE;
    write->min_interval_ns = 900 * MB_S;
    commit();
    ask(16000, 10000000);
    CHECK_EQ(written(0), LIMIT | 160);
    mb_point_lost(&bus, 0);
    CHECK_EQ(written(1000000), 0);
    ask(20000, 10000000);
    CHECK_EQ(written(1000000), LIMIT | 200);
}

static void a_refused_stop_is_tried_again_soon(void) {
    begin();
    (void)add_write();
    commit();
    ask(0, 0);
    struct v2g_modbus_request request;
    struct mb_open open;
    CHECK(mb_point_due(&bus, 0, 0, &request, &open));
    mb_point_sent(&bus, &open, 0);
    CHECK_EQ(written(1), 0); /* one at a time */
    mb_point_refused(&bus, &open, MB_MS);
    CHECK_EQ(written(50), 0);
    CHECK_EQ(written(101), STOP);
}

/* ---- Polls and time ---- */

/* Asks for what is due and gets a good answer with zeros at once; returns the address that was read, -1: nothing was due. */
static int32_t polled(int64_t now_ms) {
    static const uint8_t zeros[256];
    const int slot = mb_next_request(&bus, 0, MB_ALL, now_ms * MB_MS);
    if (slot < 0)
        return -1;
    const int32_t address = bus.devices[0].requests[slot].address;
    const struct v2g_modbus_parsed parsed = {.verdict = V2G_MODBUS_REPLY, .request = (uint32_t)slot};
    mb_answered(&bus, 0, &parsed, zeros, now_ms * MB_MS);
    return address;
}

static void a_poll_that_is_not_done_when_the_next_is_due_is_late_and_keeps_the_grid(void) {
    begin();
    (void)add_register(100, V2G_MODBUS_U16);
    (void)add_register(200, V2G_MODBUS_U16);
    commit();
    memset(stats, 0, sizeof stats);
    mb_poll_align(&bus, 0, 1 * MB_MS);
    CHECK_EQ(bus.devices[0].poll_due_ns, 100 * MB_MS);
    mb_poll_due(&bus, 0, 103 * MB_MS);
    CHECK_EQ(bus.devices[0].poll_due_ns, 200 * MB_MS);
    CHECK_EQ(polled(103), 100);
    mb_poll_due(&bus, 0, 200 * MB_MS); /* the second block was not read yet */
    CHECK_EQ(stats[0].polls, 1);
    CHECK_EQ(stats[0].late_polls, 1);
    CHECK_EQ(polled(210), 200);
    CHECK_EQ(polled(211), -1);
    mb_poll_due(&bus, 0, 555 * MB_MS); /* the engine itself slept: 300, 400 and 500 were due */
    CHECK_EQ(stats[0].polls, 2);
    CHECK_EQ(stats[0].late_polls, 3);
    CHECK_EQ(bus.devices[0].poll_due_ns, 600 * MB_MS);
}

static void rare_registers_are_read_in_their_turn_and_first_after_a_loss(void) {
    begin();
    (void)add_register(100, V2G_MODBUS_U16);
    add_register(200, V2G_MODBUS_U16)->every = 3;
    commit();
    static const int32_t second[] = {200, -1, 200, -1, -1, 200};
    for (uint32_t i = 0; i < 6; i++) {
        mb_poll_align(&bus, 0, 100 * (int64_t)i * MB_MS);
        mb_poll_due(&bus, 0, 100 * (int64_t)i * MB_MS);
        CHECK_EQ(polled(100 * (int64_t)i), 100);
        CHECK_EQ(polled(100 * (int64_t)i), second[i]);
    }
    mb_abandon(&bus, 0);
    mb_poll_due(&bus, 0, 600 * MB_MS);
    CHECK_EQ(polled(600), 100);
    CHECK_EQ(polled(600), 200);
}

static void the_pause_doubles_up_to_its_limit(void) {
    begin();
    commit();
    static const int64_t seconds[] = {1, 2, 4, 8, 16, 30, 30};
    for (uint32_t i = 0; i < 7; i++) {
        bus.devices[0].failures = i + 1U;
        CHECK_EQ(mb_backoff_ns(&bus, 0), seconds[i] * MB_S);
    }
}

static void the_device_that_is_due_first_wakes_first(void) {
    static struct mb_timers timers;
    enum { DEVICES = 100 };
    uint32_t noise = 3;
    mb_timers_init(&timers, DEVICES, 0);
    for (int round = 0; round < 20000; round++) {
        noise = noise * 1664525U + 1013904223U;
        mb_timers_set(&timers, (noise >> 8) % DEVICES, noise >> 16);
        int64_t earliest = INT64_MAX;
        for (uint32_t i = 0; i < DEVICES; i++)
            earliest = timers.wake_ns[i] < earliest ? timers.wake_ns[i] : earliest;
        CHECK_EQ(mb_timers_next(&timers), earliest);
    }
}

/* ---- Cells ---- */

static void a_lost_device_does_not_touch_the_stamps(void) {
    struct v2g_cell cell = {0};
    struct v2g_sample sample;
    v2g_cell_mark(&cell, V2G_QUALITY_STALE_DEVICE);
    CHECK(v2g_cell_read(&cell, &sample));
    CHECK_EQ(sample.quality, V2G_QUALITY_NONE);
    v2g_cell_write(&cell, 5, 100);
    v2g_cell_write(&cell, 5, 200);
    v2g_cell_mark(&cell, V2G_QUALITY_STALE_DEVICE);
    CHECK(v2g_cell_read(&cell, &sample));
    CHECK_EQ(sample.quality, V2G_QUALITY_STALE_DEVICE);
    CHECK_EQ(sample.value, 5);
    CHECK_EQ(sample.acquired_ns, 200);
    CHECK_EQ(sample.changed_ns, 100);
    CHECK_EQ(sample.count, 2);
}

CHECK_MAIN(CASE(registers_become_core_units), CASE(floats_become_the_nearest_integer),
           CASE(a_float_that_is_no_measurement_is_no_value), CASE(an_invalid_code_or_an_implausible_value_is_no_value),
           CASE(setpoints_round_towards_zero_and_must_fit), CASE(a_float_setpoint_is_never_rounded_up),
           CASE(a_value_that_rounds_to_a_forbidden_code_is_not_encoded), CASE(requests_look_as_the_specification_says),
           CASE(an_answer_is_taken_only_whole), CASE(an_answer_must_match_its_request), CASE(an_exception_names_its_code),
           CASE(a_write_is_acknowledged_by_its_echo_only), CASE(any_bytes_are_judged_without_harm),
           CASE(neighbours_are_read_in_one_request), CASE(holes_are_read_along_only_when_the_device_allows_it),
           CASE(no_request_reads_more_than_the_device_gives), CASE(rarely_read_registers_have_requests_of_their_own),
           CASE(a_config_that_cannot_run_is_refused_with_the_place), CASE(a_write_that_could_do_harm_is_refused),
           CASE(nothing_is_written_before_it_is_asked_for), CASE(only_the_newest_setpoint_is_written_and_not_too_often),
           CASE(a_heart_beats_as_long_as_a_setpoint_holds), CASE(a_heartbeat_with_a_stop_is_refused),
           CASE(a_device_that_is_left_alone_is_read_before_it_is_written), CASE(a_stop_does_not_wait_for_the_interval),
           CASE(an_expired_setpoint_becomes_a_stop), CASE(the_stop_is_sent_on_and_on),
           CASE(a_device_is_started_after_its_limit_is_set), CASE(a_lost_connection_makes_the_setpoint_unknown),
           CASE(a_nonvolatile_register_is_written_only_when_the_value_changed), CASE(a_refused_stop_is_tried_again_soon),
           CASE(a_poll_that_is_not_done_when_the_next_is_due_is_late_and_keeps_the_grid),
           CASE(rare_registers_are_read_in_their_turn_and_first_after_a_loss), CASE(the_pause_doubles_up_to_its_limit),
           CASE(the_device_that_is_due_first_wakes_first), CASE(a_lost_device_does_not_touch_the_stamps))
