/* Small parts, whole: ages and epochs (P10), the exact third, seals, the counter automaton (P13), the CAN decoder and the Modbus parser
 * on any bytes (P12). One PART at a time, with all checks for undefined behaviour. */
#include "assume.h"

#include "../core/chain.h"

#if PART == 1
int main(void) {
    struct v2g_evse_config three = {.phases = 7, .phase_count = 3};
    int32_t magnitude_w = some(0, V2G_POWER_MAX_W);
    int32_t share_w = phase_share(&three, true, magnitude_w);
    prove(3 * share_w >= magnitude_w && 3 * share_w <= magnitude_w + 2, "a third, rounded up");
    return 0;
}
#elif PART == 2
int main(void) {
    int32_t v = nondet_int(), lo = nondet_int(), hi = nondet_int();
    assume(lo <= hi);
    int32_t clamped = clamp_i32(v, lo, hi);
    prove(clamped == (v < lo ? lo : (v > hi ? hi : v)), "the nearest value of the range");
    return 0;
}
#elif PART == 10
int main(void) {
    int64_t now_ns = some_time(), stamp_ns = nondet_long(), limit_ns = nondet_long(), by_ns = nondet_long();
    assume(limit_ns >= 0);
    bool old = is_old(now_ns, stamp_ns, limit_ns);
    prove(old == (stamp_ns > now_ns || now_ns - limit_ns > stamp_ns), "P10 an age limit, and the future is old");
    prove(is_old((int64_t)((uint64_t)now_ns + (uint64_t)by_ns), (int64_t)((uint64_t)stamp_ns + (uint64_t)by_ns), limit_ns) ==
              old,
          "P10 only differences of time count, through any wrap");
    prove(is_old(now_ns, V2G_NEVER, limit_ns) || limit_ns == INT64_MAX, "P10 never is old");
    int64_t later_ns = some_time();
    assume(later_ns >= now_ns && stamp_ns <= now_ns);
    prove(!old || is_old(later_ns, stamp_ns, limit_ns), "P10 what is old stays old");
    uint32_t epoch = nondet_uint(), ahead = nondet_uint();
    prove(is_newer(epoch + ahead, epoch) == (ahead != 0 && ahead < UINT32_C(1) << 31), "P10 epochs wrap");
    return 0;
}
#elif PART == 12 /* CAN */
#include "../can/can_table.c"
uint8_t v2g_can_crc(uint32_t id, const uint8_t *data, uint32_t length) {
    (void)id, (void)data, (void)length;
    return (uint8_t)nondet_uint();
}
struct v2g_can_signal nondet_signal(void);
int main(void) {
    struct v2g_can_signal s = nondet_signal();
    struct v2g_can_layout layout = {.length = (uint8_t)some(1, 8), .e2e = (uint8_t)some(0, 1), .fd = 0};
    uint8_t data[8];
    struct v2g_can_values out = {.present = nondet_uint(), .valid = nondet_uint()};
    for (int i = 0; i < 8; i++) {
        data[i] = (uint8_t)nondet_uint();
    }
    for (int i = 0; i < V2G_FIELDS; i++) {
        out.value[i] = nondet_int();
    }
    assume(signal_good(&s, &layout, false));
    decode_signal(&s, data, &out);
    prove((out.present >> s.field & 1) != 0, "P12 what a frame carries is noted");
    return 0;
}
#elif PART == 13
#include "../can/can_e2e.c"
/* The table of AUTOSAR-like counters 0…14, said again in words: the same: repeated; 1 on: good; 2 to 4 on: good, some lost; more: jumped. */
static uint32_t expected(uint32_t last, uint32_t counter) {
    if (counter > 14) {
        return V2G_CAN_COUNTER_INVALID;
    }
    if (last > 14) {
        return V2G_CAN_COUNTER_OK;
    }
    for (uint32_t ahead = 0; ahead < 15; ahead++) {
        if ((last + ahead) % 15 == counter) {
            return ahead == 0
                       ? V2G_CAN_COUNTER_REPEATED
                       : (ahead == 1 ? V2G_CAN_COUNTER_OK : (ahead <= 4 ? V2G_CAN_COUNTER_LOST : V2G_CAN_COUNTER_JUMPED));
        }
    }
    return 99;
}
int main(void) {
    uint8_t was = (uint8_t)nondet_uint(), counter = (uint8_t)nondet_uint(), last = was;
    uint32_t verdict = v2g_can_counter_step(&last, counter);
    prove(verdict == expected(was, counter), "P13 the automaton equals its table");
    prove(last == (counter <= 14 ? counter : was), "P13 it follows every valid counter");
    return 0;
}
#elif PART == 120 /* Modbus */
#include "../modbus/modbus_frame.c"
struct v2g_modbus_request nondet_request(void);
int main(void) {
    uint8_t bytes[V2G_MODBUS_FRAME];
    struct v2g_modbus_request requests[2] = {nondet_request(), nondet_request()};
    struct v2g_modbus_parsed parsed;
    uint32_t length = nondet_uint();
    assume(length <= sizeof bytes);
    v2g_modbus_parse(bytes, length, requests, 2, &parsed);
    prove(parsed.verdict <= V2G_MODBUS_BAD, "P12 every frame has a verdict");
    prove(parsed.consumed <= length, "P12 no more is consumed than came");
    prove(parsed.verdict != V2G_MODBUS_REPLY || parsed.request < 2, "P12 an answer belongs to a request");
    prove(parsed.verdict != V2G_MODBUS_REPLY || parsed.length == 0 || parsed.data + parsed.length <= parsed.consumed,
          "P12 its data lie inside the frame");
    return 0;
}
#endif
