/* RTU frames: unit, PDU, CRC. Pure and total. */
#include <string.h>

#include "rtu.h"

enum { EXCEPTION_LENGTH = 5, WRITE_ANSWER_LENGTH = 8, OVERHEAD = 3 /* unit and CRC */ };

/* CRC of each half byte: polynomial 0xA001. */
static const uint16_t CRC[16] = {0x0000, 0xCC01, 0xD801, 0x1400, 0xF001, 0x3C00, 0x2800, 0xE401,
                                 0xA001, 0x6C00, 0x7800, 0xB401, 0x5000, 0x9C01, 0x8801, 0x4400};

uint16_t v2g_rtu_crc(const uint8_t *bytes, size_t length) {
    uint32_t crc = 0xFFFF;
    for (size_t i = 0; i < length; i++) {
        crc = crc >> 4 ^ CRC[(crc ^ bytes[i]) & 15U];
        crc = crc >> 4 ^ CRC[(crc ^ (uint32_t)bytes[i] >> 4) & 15U];
    }
    return (uint16_t)crc;
}

size_t v2g_rtu_build(const struct v2g_modbus_request *request, uint8_t frame[V2G_RTU_FRAME]) {
    const size_t pdu = mb_build_pdu(request, frame + 1);
    if (pdu == 0U) {
        return 0;
    }
    frame[0] = request->unit;
    const uint16_t crc = v2g_rtu_crc(frame, pdu + 1U);
    frame[pdu + 1U] = (uint8_t)crc;
    frame[pdu + 2U] = (uint8_t)(crc >> 8);
    return pdu + OVERHEAD;
}

uint32_t v2g_rtu_answer_length(const struct v2g_modbus_request *request) {
    switch (request->function) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 23:
        return 2U + OVERHEAD + mb_read_length(request);
    default:
        return WRITE_ANSWER_LENGTH;
    }
}

void v2g_rtu_parse(const uint8_t *bytes, size_t length, const struct v2g_modbus_request *request,
                   struct v2g_modbus_parsed *parsed) {
    memset(parsed, 0, sizeof *parsed);
    parsed->verdict = V2G_MODBUS_MORE;
    if (length >= 1U && bytes[0] != request->unit) {
        parsed->verdict = V2G_MODBUS_UNSOLICITED;
        return;
    }
    if (length < 2U) {
        return;
    }
    const uint32_t expected = (bytes[1] & 0x80U) != 0U ? EXCEPTION_LENGTH : v2g_rtu_answer_length(request);
    const bool stranger = (bytes[1] & 0x7FU) != request->function;
    if (stranger || expected > V2G_RTU_FRAME) {
        parsed->verdict = V2G_MODBUS_BAD;
        return;
    }
    if (length < expected) {
        return;
    }
    const uint32_t crc = (uint32_t)bytes[expected - 2U] | (uint32_t)bytes[expected - 1U] << 8;
    parsed->data = 3;
    parsed->verdict = crc == v2g_rtu_crc(bytes, expected - 2U)
                          ? mb_check_answer(request, bytes + 1, expected - OVERHEAD, parsed)
                          : (uint32_t)V2G_MODBUS_BAD;
    parsed->consumed = parsed->verdict == V2G_MODBUS_BAD ? 0U : expected;
}
