/* The pure parts of the RTU engine: frames and the schedule of a line. */
#include "../modbus/rtu.h"
#include "check.h"

static struct v2g_modbus_config config;
static struct v2g_rtu_line line;
static struct v2g_rtu_schedule schedule;
static char error[256];

/* Two registers of each of `devices` meters, 9600 baud, even parity. */
static void begin(uint32_t devices, int64_t poll_ns) {
    memset(&config, 0, sizeof config);
    config.device_count = config.register_count = config.cell_count = devices;
    config.write_scan_ns = 10 * MB_MS;
    config.backoff_min_ns = MB_S;
    config.backoff_max_ns = 30 * MB_S;
    for (uint32_t i = 0; i < devices; i++) {
        config.devices[i] = (struct v2g_modbus_device){.unit = (uint8_t)(i + 1U),
                                                       .window = 1,
                                                       .max_words = 125,
                                                       .poll_ns = poll_ns,
                                                       .reply_timeout_ns = 100 * MB_MS,
                                                       .connect_timeout_ns = MB_S};
        config.registers[i] = (struct v2g_modbus_register){.device = (uint16_t)i,
                                                           .table = V2G_MODBUS_INPUT,
                                                           .type = V2G_MODBUS_F32,
                                                           .every = 1,
                                                           .cell = (uint16_t)i,
                                                           .multiplier = 1,
                                                           .divisor = 1};
    }
    line = (struct v2g_rtu_line){.baud = 9600, .parity = V2G_RTU_EVEN, .stop_bits = 1, .path = "/dev/ttyS0"};
}

static int fits(void) {
    return v2g_rtu_check(&config, &line, &schedule, error, sizeof error) == 0;
}

static void refused_for(const char *reason) {
    CHECK(!fits());
    if (strstr(error, reason) == NULL)
        check_fail(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", error, reason);
}

/* ---- Frames ---- */

static const struct v2g_modbus_request READ_TWO = {.unit = 1, .function = 4, .address = 52, .count = 2};

static void the_crc_is_that_of_the_specification(void) {
    CHECK_EQ(v2g_rtu_crc((const uint8_t[]){2, 7}, 2), 0x1241); /* the specification's example */
    CHECK_EQ(v2g_rtu_crc((const uint8_t *)"123456789", 9), 0x4B37);
}

static void a_request_carries_unit_and_crc(void) {
    uint8_t frame[V2G_RTU_FRAME];
    CHECK_EQ(v2g_rtu_build(&READ_TWO, frame), 8);
    CHECK_MEM_EQ(frame, ((const uint8_t[]){1, 4, 0, 52, 0, 2}), 6);
    CHECK_EQ(v2g_rtu_crc(frame, 8), 0); /* over frame and CRC it is 0 */
}

static uint32_t verdict(const uint8_t *bytes, size_t length) {
    struct v2g_modbus_parsed parsed;
    v2g_rtu_parse(bytes, length, &READ_TWO, &parsed);
    return parsed.verdict;
}

static void sealed(uint8_t *frame, size_t length) {
    const uint16_t crc = v2g_rtu_crc(frame, length - 2U);
    frame[length - 2U] = (uint8_t)crc;
    frame[length - 1U] = (uint8_t)(crc >> 8);
}

static void an_answer_is_taken_whole_and_undisturbed_only(void) {
    uint8_t answer[9] = {1, 4, 4, 0x43, 0x66, 0x28, 0xF6};
    sealed(answer, sizeof answer);
    for (size_t length = 0; length < sizeof answer; length++)
        CHECK_EQ(verdict(answer, length), V2G_MODBUS_MORE);
    CHECK_EQ(verdict(answer, sizeof answer), V2G_MODBUS_REPLY);
    for (size_t bit = 8; bit < 8 * sizeof answer; bit++) {
        answer[bit / 8U] = (uint8_t)(answer[bit / 8U] ^ 1U << bit % 8U);
        CHECK(verdict(answer, sizeof answer) != V2G_MODBUS_REPLY);
        answer[bit / 8U] = (uint8_t)(answer[bit / 8U] ^ 1U << bit % 8U);
    }
}

static void another_slaves_answer_is_not_ours(void) {
    uint8_t answer[9] = {2, 4, 4, 0x43, 0x66, 0x28, 0xF6};
    sealed(answer, sizeof answer);
    CHECK_EQ(verdict(answer, sizeof answer), V2G_MODBUS_UNSOLICITED);
}

static void an_answer_of_another_length_is_not_ours(void) {
    uint8_t answer[7] = {1, 4, 2, 0x43, 0x66};
    sealed(answer, sizeof answer);
    CHECK(verdict(answer, sizeof answer) != V2G_MODBUS_REPLY);
    uint8_t longer[9] = {1, 4, 2, 0x43, 0x66, 0, 0};
    sealed(longer, sizeof longer);
    CHECK_EQ(verdict(longer, sizeof longer), V2G_MODBUS_BAD);
}

static void any_bytes_are_judged_without_harm(void) {
    uint32_t noise = 7;
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[V2G_RTU_FRAME];
        for (size_t i = 0; i < 12; i++) {
            noise = noise * 1664525U + 1013904223U;
            bytes[i] = (uint8_t)(i == 0 ? 1U : noise >> 24);
        }
        memset(bytes + 12, (int)(noise & 255U), sizeof bytes - 12);
        struct v2g_modbus_parsed parsed;
        const size_t length = (noise >> 8) % sizeof bytes;
        v2g_rtu_parse(bytes, length, &READ_TWO, &parsed);
        CHECK(parsed.consumed <= length);
        CHECK(parsed.verdict != V2G_MODBUS_REPLY || parsed.data + parsed.length + 2U == parsed.consumed);
    }
}

/* ---- Schedule ---- */

static void the_time_of_a_transaction_is_that_of_its_characters(void) {
    begin(1, MB_S);
    CHECK(fits()); /* 17 characters and two silences of 3.5: 24 characters of 11 bits */
    CHECK_EQ(schedule.longest_ns / 100000, 275);
    line.baud = 19200;
    CHECK(fits());
    CHECK_EQ(schedule.longest_ns / 100000, 137);
    line.baud = 115200;
    CHECK(fits()); /* silences of 1.75 ms */
    CHECK_EQ(schedule.longest_ns / 100000, 51);
}

static void a_line_that_is_asked_too_much_is_refused_with_figures(void) {
    begin(4, 100 * MB_MS);
    refused_for("rtu line /dev/ttyS0: polls and writes need 110.0 % of the line at 9600 baud, 97.0 % is there");
    line.baud = 19200;
    CHECK(fits());
    CHECK(schedule.use_ppm > 540000 && schedule.use_ppm < 560000);
}

static void a_fast_device_beside_a_long_transaction_is_refused_with_figures(void) {
    begin(2, MB_S);
    config.devices[0].poll_ns = 60 * MB_MS;
    config.registers[1].type = V2G_MODBUS_U16;
    config.register_count = config.cell_count = 41; /* device 1: 40 registers in one answer, 115 ms */
    for (uint16_t i = 1; i < 41; i++) {
        config.registers[i] = config.registers[1];
        config.registers[i].address = i;
        config.registers[i].cell = i;
    }
    refused_for("device 0 wants an answer within 60.0 ms, it may take 142.1 ms");
    config.devices[1].max_words = 2; /* the same registers in short requests, at leisure */
    config.devices[1].poll_ns = 5 * MB_S;
    CHECK(fits());
    CHECK(schedule.slack_ns >= 0);
}

static void a_slow_slaves_turnaround_counts(void) {
    begin(4, 100 * MB_MS);
    line.baud = 19200;
    for (uint32_t i = 0; i < 4; i++)
        config.devices[i].turnaround_ns = 20 * MB_MS;
    refused_for("% of the line");
}

static void setpoints_need_their_share_of_the_line(void) {
    begin(3, 100 * MB_MS);
    CHECK(fits());
    config.write_count = config.write_cell_count = 1;
    config.writes[0] = (struct v2g_modbus_write){.function = 6,
                                                 .result = V2G_MODBUS_NONE,
                                                 .read_back = V2G_MODBUS_NONE,
                                                 .multiplier = 1,
                                                 .divisor = 1,
                                                 .min_interval_ns = 100 * MB_MS,
                                                 .stop = {.function = 6, .count = 1}};
    refused_for("% of the line");
    config.writes[0].min_interval_ns = 5 * MB_S;
    refused_for("device 0 wants an answer within 100.0 ms, it may take 108.9 ms"); /* when a setpoint goes first */
    config.device_count = config.register_count = config.cell_count = 2;
    CHECK(fits());
}

static void a_line_that_is_none_is_refused(void) {
    begin(1, MB_S);
    line.baud = 9601;
    refused_for("baud is not");
    begin(1, MB_S);
    line.path[0] = 0;
    refused_for("path is empty");
    begin(1, MB_S);
    config.devices[0].unit = 0;
    refused_for("modbus device 0: unit 0 is outside 1..247");
    begin(1, MB_S);
    config.devices[0].family = 4;
    config.devices[0].port = 502;
    refused_for("not on a serial line");
}

CHECK_MAIN(CASE(the_crc_is_that_of_the_specification), CASE(a_request_carries_unit_and_crc),
           CASE(an_answer_is_taken_whole_and_undisturbed_only), CASE(another_slaves_answer_is_not_ours),
           CASE(an_answer_of_another_length_is_not_ours), CASE(any_bytes_are_judged_without_harm),
           CASE(the_time_of_a_transaction_is_that_of_its_characters),
           CASE(a_line_that_is_asked_too_much_is_refused_with_figures),
           CASE(a_fast_device_beside_a_long_transaction_is_refused_with_figures), CASE(a_slow_slaves_turnaround_counts),
           CASE(setpoints_need_their_share_of_the_line), CASE(a_line_that_is_none_is_refused))
