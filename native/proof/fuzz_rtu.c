/* Any bytes as an RTU answer to any request, with their own CRC and with the right one: total, and never outside the frame. What is built
 * for a request is long enough for its unit, PDU and CRC, and intact. */
#include "v2g_rtu.h"

#include <stdlib.h>
#include <string.h>

static void judge(const uint8_t *bytes, size_t length, const struct v2g_modbus_request *request) {
    struct v2g_modbus_parsed parsed;
    v2g_rtu_parse(bytes, length, request, &parsed);
    bool inside = parsed.consumed <= length && (parsed.verdict != V2G_MODBUS_REPLY || parsed.length == 0 ||
                                                parsed.data + parsed.length + 2 <= parsed.consumed);
    if (parsed.verdict > V2G_MODBUS_BAD || !inside) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct v2g_modbus_request request;
    if (size < sizeof request) {
        return 0;
    }
    memcpy(&request, data, sizeof request);
    size_t length = size - sizeof request;
    uint8_t *bytes = malloc(length + 1); /* of its own, so that the address sanitizer sees its end */
    memcpy(bytes, data + sizeof request, length);
    judge(bytes, length, &request);
    uint8_t frame[V2G_RTU_FRAME];
    size_t built = v2g_rtu_build(&request, frame);
    if (built != 0 && (built < 4 || built > sizeof frame || v2g_rtu_crc(frame, built) != 0)) {
        abort();
    }
    uint32_t expected = length >= 2 && (bytes[1] & 0x80) != 0 ? 5 : v2g_rtu_answer_length(&request);
    if (length >= 2 && length >= expected) {
        bytes[0] = request.unit;
        uint16_t crc = v2g_rtu_crc(bytes, expected - 2);
        bytes[expected - 2] = (uint8_t)crc;
        bytes[expected - 1] = (uint8_t)(crc >> 8);
        judge(bytes, length, &request);
    }
    free(bytes);
    return 0;
}
