/* CAN tables, CRC and counter. */
#include "check.h"

#include "../can/can_io.h"
#include "bench_site.h"

#include <netinet/in.h>
#include <unistd.h>

static void the_crc_is_sae_j1850(void) {
    /* AUTOSAR Specification of CRC Routines, check value of CRC8 over "123456789": 0x4B. Identifier and bytes 1… stand for it. */
    const uint8_t data[8] = {0, '3', '4', '5', '6', '7', '8', '9'};
    CHECK_EQ(v2g_can_crc('1' | '2' << 8, data, 8), 0x4B);
}

static void the_counter_automaton_equals_its_table(void) {
    for (uint8_t last = 0; last <= V2G_CAN_UNSYNCED; last++)
        for (uint8_t counter = 0; counter <= 15; counter++) {
            uint8_t state = last;
            const uint32_t verdict = v2g_can_counter_step(&state, counter);
            const int distance = (counter - last + 15) % 15;
            uint32_t wanted = distance == 0   ? V2G_CAN_COUNTER_REPEATED
                              : distance == 1 ? V2G_CAN_COUNTER_OK
                              : distance <= 4 ? V2G_CAN_COUNTER_LOST
                                              : V2G_CAN_COUNTER_JUMPED;
            if (counter == 15)
                wanted = V2G_CAN_COUNTER_INVALID;
            else if (last >= 15)
                wanted = V2G_CAN_COUNTER_OK;
            CHECK_EQ(verdict, wanted);
            CHECK_EQ(state, counter == 15 ? last : counter);
        }
}

static struct v2g_can_config can;
static const struct v2g_can_tx command = {.id = 0x201, .layout = LAYOUT_CMD};

static void a_command_carries_the_setpoint_rounded_towards_0(void) {
    const struct v2g_setpoint setpoint = {.target_w = -11009, .min_w = -22000, .max_w = 7, .mode = V2G_MODE_BIDIRECTIONAL};
    uint8_t data[V2G_CAN_MAX_BYTES];
    bench_can_tables(&can, 1);
    CHECK_EQ(v2g_can_encode(&can, &command, 9, &setpoint, data), 8);
    CHECK_EQ(data[0], v2g_can_crc(0x201, data, 8));
    CHECK_EQ(data[1], V2G_MODE_BIDIRECTIONAL << 4 | 9);
    CHECK_EQ(get16(&data[2]), -1100);
    CHECK_EQ(get16(&data[4]), 0);
    CHECK_EQ(get16(&data[6]), -2200);
}

static void every_power_is_divided_exactly(void) {
    bench_can_tables(&can, 1);
    uint8_t data[V2G_CAN_MAX_BYTES];
    for (int32_t w = -327680; w <= 327679; w++) {
        const struct v2g_setpoint setpoint = {.target_w = w};
        v2g_can_encode(&can, &command, 0, &setpoint, data);
        CHECK_EQ(get16(&data[2]), w / 10);
    }
}

static void a_power_beyond_the_field_is_cut_towards_0(void) {
    bench_can_tables(&can, 1);
    uint8_t data[V2G_CAN_MAX_BYTES];
    const struct v2g_setpoint setpoint = {.target_w = V2G_POWER_MAX_W, .min_w = -V2G_POWER_MAX_W};
    v2g_can_encode(&can, &command, 0, &setpoint, data);
    CHECK_EQ(get16(&data[2]), INT16_MAX);
    CHECK_EQ(get16(&data[6]), INT16_MIN);
}

static void invalid_codes_and_implausible_values_are_no_value(void) {
    struct v2g_can_values values;
    bench_can_tables(&can, 1);
    const uint8_t unknown[8] = {0, 0x90, 0, 0, 0xFF, 0xFF, 0xFF, 0};
    v2g_can_decode(&can, LAYOUT_A, unknown, 8, &values);
    const uint32_t none = 1U << V2G_F_STATE | 1U << V2G_F_SOC | 1U << V2G_F_T_CONNECTOR;
    CHECK_EQ(values.present & none, none);
    CHECK_EQ(values.valid & none, 0);
    CHECK(values.valid & 1U << V2G_F_POWER);
}

static void a_short_frame_has_no_values(void) {
    struct v2g_can_values values;
    bench_can_tables(&can, 1);
    v2g_can_decode(&can, LAYOUT_A, (const uint8_t[8]){0}, 7, &values);
    CHECK_EQ(values.present, 0);
}

static void flags_of_one_frame_are_put_together(void) {
    struct v2g_can_values values;
    bench_can_tables(&can, 1);
    can.signal[0] = (struct v2g_can_signal){.field = V2G_F_FLAGS, .start = 0, .bits = 1, .option = V2G_CAN_FLAG, .mul = 1};
    can.signal[1] = (struct v2g_can_signal){.field = V2G_F_FLAGS, .start = 9, .bits = 1, .option = V2G_CAN_FLAG, .mul = 32};
    can.layout[0] = (struct v2g_can_layout){.first = 0, .signals = 2, .length = 2};
    v2g_can_decode(&can, 0, (const uint8_t[2]){1, 2}, 2, &values);
    CHECK_EQ(values.value[V2G_F_FLAGS], 33);
    v2g_can_decode(&can, 0, (const uint8_t[2]){0, 2}, 2, &values);
    CHECK_EQ(values.value[V2G_F_FLAGS], 32);
}

static void a_motorola_signal_is_read_from_its_most_significant_bit(void) {
    struct v2g_can_values values;
    bench_can_tables(&can, 1);
    can.signal[0] = (struct v2g_can_signal){.field = V2G_F_POWER,
                                            .start = 3, /* low nibble of byte 0, then all of byte 1 */
                                            .bits = 12,
                                            .option = V2G_CAN_SIGNED | V2G_CAN_BIG_ENDIAN,
                                            .mul = 1,
                                            .minimum = -2048,
                                            .maximum = 2047};
    can.layout[0] = (struct v2g_can_layout){.first = 0, .signals = 1, .length = 2};
    v2g_can_decode(&can, 0, (const uint8_t[2]){0x51, 0x23}, 2, &values);
    CHECK_EQ(values.value[V2G_F_POWER], 0x123);
    v2g_can_decode(&can, 0, (const uint8_t[2]){0x5F, 0xFF}, 2, &values);
    CHECK_EQ(values.value[V2G_F_POWER], -1);
}

static uint32_t fault_of(void) {
    static struct site s;
    site_init(&s, 2);
    return v2g_can_check(&can, &s.config);
}

static void tables_that_lead_out_of_a_frame_or_a_site_are_refused(void) {
    bench_can_tables(&can, 2);
    CHECK_EQ(fault_of(), 0);
    can.signal[1].start = 50; /* + 16 bits: beyond 8 bytes */
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_SIGNAL + 2);
    bench_can_tables(&can, 2);
    can.rx[1].id = can.rx[0].id;
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_RX + 2);
    bench_can_tables(&can, 2);
    can.tx[0].evse = 2;
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_TX + 1);
    bench_can_tables(&can, 2);
    can.layout[LAYOUT_CMD].signals = 40;
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_LAYOUT + 1 + LAYOUT_CMD);
    bench_can_tables(&can, 2);
    can.signal[15].start = 8; /* over the counter */
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_SIGNAL + 16);
}

static void a_factor_whose_product_has_no_magnitude_is_refused(void) {
    bench_can_tables(&can, 2);
    can.signal[0].mul = INT32_MIN; /* found by the proof can_signal: with 32 bits and an offset the product reaches -2^63 */
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_SIGNAL + 1);
    can.signal[0].mul = -INT32_MAX;
    CHECK_EQ(fault_of(), 0);
}

/* AUTOSAR_SWS_CRCLibrary, CRC8H2F: "123456789" gives 0xDF. Bytes 1… and the list's identifier stand for it. */
static void the_crc_of_profile_2_is_crc8h2f(void) {
    bench_can_tables(&can, 1);
    can.layout[0] = (struct v2g_can_layout){.length = 9, .e2e = V2G_CAN_E2E_P02};
    can.lists = 1;
    const uint8_t data[9] = {0, '1', '2', '3', '4', '5', '6', '7', '8'};
    can.list[0].id['1' & 0x0F] = '9';
    uint8_t good[9];
    memcpy(good, data, sizeof good);
    good[0] = 0xDF;
    CHECK(v2g_can_intact(&can, 0, 0x123, 0, good));
    good[0] ^= 1;
    CHECK(!v2g_can_intact(&can, 0, 0x123, 0, good));
}

static void every_protection_finds_its_own_frames_intact_and_no_changed_bit(void) {
    bench_can_tables(&can, 1);
    can.lists = 1;
    for (uint32_t i = 0; i < 16; i++)
        can.list[0].id[i] = (uint8_t)(0x35 + 7 * i);
    for (uint32_t e2e = V2G_CAN_PROTECTED; e2e < V2G_CAN_E2E_KINDS; e2e++)
        for (uint32_t mode = 0; mode < V2G_CAN_ID_MODES; mode++)
            for (uint64_t count = 0; count < 40; count++) {
                can.layout[0] = (struct v2g_can_layout){.length = 8, .e2e = (uint8_t)e2e, .id_mode = (uint8_t)mode};
                const uint32_t data_id = e2e == V2G_CAN_E2E_P02 ? 0 : 0xA5C;
                uint8_t data[8] = {0, 0, 0x12, (uint8_t)count, 0xFF, 0x5A, 0, 0x80};
                v2g_can_protect(&can, 0, 0x123, data_id, count, data);
                CHECK_EQ(data[1] & 0x0F, count % (e2e == V2G_CAN_E2E_P02 ? 16 : 15));
                CHECK(v2g_can_intact(&can, 0, 0x123, data_id, data));
                for (uint32_t bit = 0; bit < 64; bit++) {
                    data[bit >> 3] ^= (uint8_t)(1U << (bit & 7U));
                    CHECK(!v2g_can_intact(&can, 0, 0x123, data_id, data));
                    data[bit >> 3] ^= (uint8_t)(1U << (bit & 7U));
                }
                CHECK(e2e == V2G_CAN_E2E_P02 || !v2g_can_intact(&can, 0, 0x124, data_id ^ 0x101, data));
            }
}

static void profile_2_counts_to_15(void) {
    const struct v2g_can_layout p02 = {.e2e = V2G_CAN_E2E_P02}, p01 = {.e2e = V2G_CAN_E2E_P01};
    struct v2g_can_watch watch = {.counter = 14};
    CHECK_EQ(v2g_can_watch_step(&watch, &p02, 15, 0), V2G_CAN_COUNTER_OK);
    CHECK_EQ(v2g_can_watch_step(&watch, &p02, 0, 0), V2G_CAN_COUNTER_OK);
    CHECK_EQ(v2g_can_watch_step(&watch, &p01, 15, 0), V2G_CAN_COUNTER_INVALID);
    watch.counter = 14;
    CHECK_EQ(v2g_can_watch_step(&watch, &p01, 0, 0), V2G_CAN_COUNTER_OK);
}

static void after_the_deadline_the_first_frame_only_says_where_the_counter_stands(void) {
    const struct v2g_can_layout layout = {.e2e = V2G_CAN_PROTECTED, .deadline_us = 110000};
    struct v2g_can_watch watch = {.counter = V2G_CAN_UNSYNCED};
    int64_t now_ns = 1000000000;
    CHECK_EQ(v2g_can_watch_step(&watch, &layout, 3, now_ns), V2G_CAN_COUNTER_OK);
    CHECK_EQ(v2g_can_watch_step(&watch, &layout, 4, now_ns += 110000000), V2G_CAN_COUNTER_OK);      /* at the deadline */
    CHECK_EQ(v2g_can_watch_step(&watch, &layout, 4, now_ns += 10000000), V2G_CAN_COUNTER_REPEATED); /* keeps nothing alive */
    CHECK_EQ(v2g_can_watch_step(&watch, &layout, 5, now_ns += 101000000), V2G_CAN_COUNTER_JUMPED);  /* 16 frames on, or 1? */
    CHECK_EQ(v2g_can_watch_step(&watch, &layout, 6, now_ns += 10000000), V2G_CAN_COUNTER_OK);
}

static void a_multiplexed_value_comes_only_with_its_page(void) {
    struct v2g_can_values values;
    bench_can_tables(&can, 1);
    const struct v2g_can_signal power = {.field = V2G_F_POWER,
                                         .start = 8,
                                         .bits = 16,
                                         .option = V2G_CAN_SIGNED | V2G_CAN_MULTIPLEXED,
                                         .mul = 1,
                                         .minimum = -32768,
                                         .maximum = 32767,
                                         .mux = 2};
    can.signal[0] = power;
    can.signal[1] = power;
    can.signal[1].field = V2G_F_CAPACITY;
    can.signal[1].mux = 3;
    can.layout[0] = (struct v2g_can_layout){.first = 0, .signals = 2, .length = 3, .mux_start = 4, .mux_bits = 4};
    v2g_can_decode(&can, 0, (const uint8_t[3]){0x2F, 0xE8, 0x03}, 3, &values);
    CHECK_EQ(values.present, 1U << V2G_F_POWER);
    CHECK_EQ(values.value[V2G_F_POWER], 1000);
    v2g_can_decode(&can, 0, (const uint8_t[3]){0x30, 0xE8, 0x03}, 3, &values);
    CHECK_EQ(values.present, 1U << V2G_F_CAPACITY);
    v2g_can_decode(&can, 0, (const uint8_t[3]){0x40, 0xE8, 0x03}, 3, &values);
    CHECK_EQ(values.present, 0);
}

static void a_can_fd_frame_carries_values_in_its_last_byte(void) {
    struct v2g_can_values values;
    bench_can_tables(&can, 1);
    can.signal[0] = (struct v2g_can_signal){.field = V2G_F_POWER,
                                            .start = 496,
                                            .bits = 16,
                                            .option = V2G_CAN_SIGNED,
                                            .mul = 1,
                                            .minimum = -32768,
                                            .maximum = 32767};
    can.layout[0] = (struct v2g_can_layout){.first = 0, .signals = 1, .length = 64, .fd = 1};
    uint8_t data[64] = {[62] = 0x18, [63] = 0xFC};
    v2g_can_decode(&can, 0, data, 64, &values);
    CHECK_EQ(values.value[V2G_F_POWER], -1000);
}

static void lengths_pages_and_lists_that_do_not_exist_are_refused(void) {
    bench_can_tables(&can, 2);
    can.layout[LAYOUT_A].length = 9;
    can.layout[LAYOUT_A].fd = 1; /* CAN FD knows 8 and 12 */
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_LAYOUT + 1 + LAYOUT_A);
    can.layout[LAYOUT_A].length = 12;
    CHECK_EQ(fault_of(), 0);
    can.layout[LAYOUT_A].mux_bits = 8;
    can.layout[LAYOUT_A].mux_start = 90;
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_LAYOUT + 1 + LAYOUT_A);
    bench_can_tables(&can, 2);
    can.signal[0].option |= V2G_CAN_MULTIPLEXED; /* without a multiplexor */
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_SIGNAL + 1);
    bench_can_tables(&can, 2);
    can.layout[LAYOUT_CMD].e2e = V2G_CAN_E2E_P02;
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_TX + 1);
    can.lists = 1;
    CHECK_EQ(fault_of(), 0);
    can.layout[LAYOUT_CMD].e2e = V2G_CAN_E2E_P01; /* its nibble lies where the mode is */
    can.layout[LAYOUT_CMD].id_mode = V2G_CAN_ID_NIBBLE;
    CHECK_EQ(fault_of(), V2G_CAN_FAULT_SIGNAL + 16);
}

/* ---- Sockets ---- */

/* Two ends of a local socket that, as a CAN socket does, stamps what comes and counts what finds it full. */
static void open_pair(int *from, int *to) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int on = 1, little = 4096;
    *from = socket(AF_INET, SOCK_DGRAM, 0);
    *to = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQ(bind(*to, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(getsockname(*to, (struct sockaddr *)&address, &length), 0);
    CHECK_EQ(connect(*from, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(setsockopt(*to, SOL_SOCKET, SO_RCVBUF, &little, sizeof little), 0);
    CHECK_EQ(setsockopt(*to, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on), 0);
    CHECK_EQ(setsockopt(*to, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on), 0);
}

static int64_t read_clock(clockid_t clock) {
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The kernel begins to stamp a moment after it was asked to (a work queue flips its switch); until then it fills in the time of
 * reading. Waits until a frame that lay for a while is as old as that. */
static bool wait_for_stamps(struct can_io *io, int from, int to) {
    enum { TRIES = 1000 };
    const struct timespec lies = {.tv_nsec = 2000000};
    const struct can_frame frame = {.can_id = 0x300, .len = 8};
    struct can_arrival arrival = {0};
    for (int i = 0; i < TRIES; i++) {
        CHECK_EQ(send(from, &frame, sizeof frame, 0), CAN_MTU);
        (void)nanosleep(&lies, NULL);
        const struct can_clock clock = {.now_ns = read_clock(CLOCK_MONOTONIC), .real_ns = read_clock(CLOCK_REALTIME)};
        CHECK_EQ(can_receive(io, to), 1);
        can_arrival(io, 0, &clock, &arrival);
        if (clock.now_ns - arrival.acquired_ns >= lies.tv_nsec)
            return true;
    }
    return false;
}

static void a_frame_is_as_old_as_its_kernel_stamp_and_lost_frames_are_counted(void) {
    enum { SENT = 1000, WAIT_MS = 50 };
    static struct can_io io;
    const struct can_frame frame = {.can_id = 0x301, .len = 8};
    int from, to, received = 0;
    open_pair(&from, &to);
    CHECK(wait_for_stamps(&io, from, to));
    for (int i = 0; i < SENT; i++)
        CHECK_EQ(send(from, &frame, sizeof frame, 0), CAN_MTU);
    const struct timespec pause = {.tv_nsec = WAIT_MS * 1000000};
    (void)nanosleep(&pause, NULL);
    const struct can_clock clock = {.now_ns = read_clock(CLOCK_MONOTONIC), .real_ns = read_clock(CLOCK_REALTIME)};
    struct can_arrival arrival = {0};
    for (int n = can_receive(&io, to); n > 0; n = can_receive(&io, to)) {
        can_arrival(&io, 0, &clock, &arrival);
        CHECK_EQ(arrival.length, 8);
        CHECK(clock.now_ns - arrival.acquired_ns >= WAIT_MS * INT64_C(1000000));
        received += n;
    }
    CHECK(received < SENT);
    CHECK_EQ(send(from, &frame, sizeof frame, 0), CAN_MTU); /* the next frame brings the count */
    CHECK_EQ(can_receive(&io, to), 1);
    can_arrival(&io, 0, &clock, &arrival);
    CHECK(arrival.has_overflow);
    CHECK_EQ(arrival.overflow, SENT - received);
    CHECK_EQ(close(from) + close(to), 0);
}

CHECK_MAIN(CASE(a_frame_is_as_old_as_its_kernel_stamp_and_lost_frames_are_counted), CASE(the_crc_of_profile_2_is_crc8h2f),
           CASE(every_protection_finds_its_own_frames_intact_and_no_changed_bit), CASE(profile_2_counts_to_15),
           CASE(after_the_deadline_the_first_frame_only_says_where_the_counter_stands),
           CASE(a_multiplexed_value_comes_only_with_its_page), CASE(a_can_fd_frame_carries_values_in_its_last_byte),
           CASE(lengths_pages_and_lists_that_do_not_exist_are_refused), CASE(the_crc_is_sae_j1850),
           CASE(the_counter_automaton_equals_its_table), CASE(a_command_carries_the_setpoint_rounded_towards_0),
           CASE(every_power_is_divided_exactly), CASE(a_power_beyond_the_field_is_cut_towards_0),
           CASE(invalid_codes_and_implausible_values_are_no_value), CASE(a_short_frame_has_no_values),
           CASE(flags_of_one_frame_are_put_together), CASE(a_motorola_signal_is_read_from_its_most_significant_bit),
           CASE(tables_that_lead_out_of_a_frame_or_a_site_are_refused),
           CASE(a_factor_whose_product_has_no_magnitude_is_refused))
