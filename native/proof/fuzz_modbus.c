/* Any bytes as an answer to any open requests, any register type over the data: total, and never outside the frame. */
#include "v2g_modbus.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct v2g_modbus_request requests[2];
    struct v2g_modbus_register reg;
    if (size < sizeof requests + sizeof reg) {
        return 0;
    }
    memcpy(requests, data, sizeof requests);
    memcpy(&reg, data + sizeof requests, sizeof reg);
    size_t length = size - sizeof requests - sizeof reg;
    uint8_t *bytes = malloc(length + 1); /* of its own, so that the address sanitizer sees its end */
    memcpy(bytes, data + size - length, length);
    struct v2g_modbus_parsed parsed;
    v2g_modbus_parse(bytes, length, requests, 2, &parsed);
    if (parsed.verdict > V2G_MODBUS_BAD || parsed.consumed > length) {
        abort();
    }
    bool read = parsed.verdict == V2G_MODBUS_REPLY && parsed.length >= 2 * v2g_modbus_words(reg.type);
    if (read && parsed.data + parsed.length > length) {
        abort();
    }
    int64_t value = 0;
    if (read && v2g_modbus_decode(&reg, bytes + parsed.data, &value) != 0 && (reg.flags & V2G_MODBUS_HAS_RANGE) != 0 &&
        (value < reg.minimum || value > reg.maximum)) {
        abort();
    }
    free(bytes);
    return 0;
}
