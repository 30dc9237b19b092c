/* Modbus frames: requests out, answers in. Pure and total: any bytes, any length. */
#include <string.h>

#include "modbus.h"

enum {
    HEADER = 7,       /* transaction, protocol, length, unit */
    LENGTH_MIN = 3,   /* unit, function and one byte: the shortest answer is an exception */
    LENGTH_MAX = 254, /* unit and a 253-byte PDU */
    EXCEPTION_BIT = 0x80
};

static size_t put_words(const struct v2g_modbus_request *request, uint32_t count, uint8_t *at) {
    for (uint32_t i = 0; i < count; i++) {
        mb_put16(at + 2U * i, request->words[i]);
    }
    return 2U * (size_t)count;
}

size_t mb_build_pdu(const struct v2g_modbus_request *request, uint8_t *pdu) {
    pdu[0] = request->function;
    mb_put16(pdu + 1, request->address);
    mb_put16(pdu + 3, request->count);
    switch (request->function) {
    case 1:
    case 2:
    case 3:
    case 4:
        return 5;
    case 5:
        mb_put16(pdu + 3, (request->words[0] & 1U) != 0U ? 0xFF00U : 0U);
        return 5;
    case 6:
        mb_put16(pdu + 3, request->words[0]);
        return 5;
    case 15:
        if (request->count == 0U || request->count > 16U) {
            return 0;
        }
        pdu[5] = request->count > 8U ? 2U : 1U;
        pdu[6] = (uint8_t)request->words[0];
        pdu[7] = (uint8_t)(request->words[0] >> 8);
        return 6U + (size_t)pdu[5];
    case 16:
        if (request->count == 0U || request->count > V2G_MODBUS_WRITE_WORDS) {
            return 0;
        }
        pdu[5] = (uint8_t)(2U * request->count);
        return 6U + put_words(request, request->count, pdu + 6);
    case 23:
        if (request->write_count == 0U || request->write_count > V2G_MODBUS_WRITE_WORDS) {
            return 0;
        }
        mb_put16(pdu + 5, request->write_address);
        mb_put16(pdu + 7, request->write_count);
        pdu[9] = (uint8_t)(2U * request->write_count);
        return 10U + put_words(request, request->write_count, pdu + 10);
    default:
        return 0;
    }
}

size_t v2g_modbus_build(const struct v2g_modbus_request *request, uint8_t frame[V2G_MODBUS_FRAME]) {
    const size_t pdu = mb_build_pdu(request, frame + HEADER);
    if (pdu == 0U) {
        return 0;
    }
    mb_put16(frame, request->transaction);
    mb_put16(frame + 2, 0);
    mb_put16(frame + 4, (uint16_t)(pdu + 1U));
    frame[6] = request->unit;
    return HEADER + pdu;
}

/* Bytes of data that a read must bring. */
uint32_t mb_read_length(const struct v2g_modbus_request *request) {
    const bool bits = request->function == V2G_MODBUS_COIL || request->function == V2G_MODBUS_DISCRETE;
    return bits ? (request->count + 7U) / 8U : 2U * (uint32_t)request->count;
}

/* The answer to a write repeats the first five bytes of the request. */
static bool is_echo(const struct v2g_modbus_request *request, const uint8_t *pdu, uint32_t length) {
    uint8_t expected[V2G_MODBUS_FRAME];
    return length == 5U && mb_build_pdu(request, expected) != 0U && memcmp(pdu, expected, 5) == 0;
}

uint32_t mb_check_answer(const struct v2g_modbus_request *request, const uint8_t *pdu, uint32_t length,
                         struct v2g_modbus_parsed *parsed) {
    if (length == 2U && pdu[0] == (request->function | EXCEPTION_BIT) && pdu[1] != 0U) {
        parsed->exception = pdu[1];
        return V2G_MODBUS_EXCEPTION;
    }
    if (length < 2U || pdu[0] != request->function) {
        return V2G_MODBUS_BAD;
    }
    switch (request->function) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 23:
        parsed->length = mb_read_length(request);
        return length == 2U + parsed->length && pdu[1] == parsed->length ? V2G_MODBUS_REPLY : V2G_MODBUS_BAD;
    default:
        return is_echo(request, pdu, length) ? V2G_MODBUS_REPLY : V2G_MODBUS_BAD;
    }
}

static uint32_t find_request(const struct v2g_modbus_request *requests, uint32_t count, uint32_t transaction) {
    uint32_t i = 0;
    while (i < count && (requests[i].function == 0U || requests[i].transaction != transaction)) {
        i++;
    }
    return i;
}

void v2g_modbus_parse(const uint8_t *bytes, size_t length, const struct v2g_modbus_request *requests, uint32_t request_count,
                      struct v2g_modbus_parsed *parsed) {
    memset(parsed, 0, sizeof *parsed);
    parsed->verdict = V2G_MODBUS_MORE;
    if (length < 6U) {
        return;
    }
    const uint32_t rest = mb_get16(bytes + 4);
    if (mb_get16(bytes + 2) != 0U || rest < LENGTH_MIN || rest > LENGTH_MAX) {
        parsed->verdict = V2G_MODBUS_BAD;
        return;
    }
    if (length < 6U + (size_t)rest) {
        return;
    }
    parsed->consumed = 6U + rest;
    parsed->transaction = mb_get16(bytes);
    parsed->request = find_request(requests, request_count, parsed->transaction);
    if (parsed->request == request_count) {
        parsed->verdict = V2G_MODBUS_UNSOLICITED;
        return;
    }
    const struct v2g_modbus_request *request = &requests[parsed->request];
    parsed->data = HEADER + 2U;
    parsed->verdict = bytes[6] == request->unit ? mb_check_answer(request, bytes + HEADER, rest - 1U, parsed) : V2G_MODBUS_BAD;
    if (parsed->verdict == V2G_MODBUS_BAD) {
        parsed->consumed = 0;
    }
}
