/* Any tables that pass their check, any frame: the decoder must stay inside both, and every value it gives inside the signal's range. */
#include "v2g_runtime.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct v2g_can_config can;
    static struct v2g_config config;
    enum { SIGNALS = 4, HEAD = sizeof(struct v2g_can_layout) + SIGNALS * sizeof(struct v2g_can_signal) };
    if (size < HEAD) {
        return 0;
    }
    can.buses = can.layouts = can.rxs = 1;
    can.signals = SIGNALS;
    can.lists = 1;
    config.evses = 1;
    memcpy(&can.layout[0], data, sizeof can.layout[0]);
    memcpy(can.signal, data + sizeof can.layout[0], SIGNALS * sizeof can.signal[0]);
    can.layout[0].first = 0;
    can.layout[0].signals = SIGNALS;
    if (v2g_can_check(&can, &config) != 0) {
        return 0;
    }
    size_t length = size - HEAD < V2G_CAN_MAX_BYTES ? size - HEAD : V2G_CAN_MAX_BYTES;
    uint8_t *frame = malloc(length + 1); /* of its own, so that the address sanitizer sees its end */
    memcpy(frame, data + HEAD, length);
    struct v2g_can_values values;
    v2g_can_decode(&can, 0, frame, (uint32_t)length, &values);
    if ((values.valid & ~values.present) != 0) {
        abort();
    }
    if (length >= can.layout[0].length && can.layout[0].e2e != V2G_CAN_PLAIN) {
        uint8_t made[V2G_CAN_MAX_BYTES];
        memcpy(made, frame, length);
        v2g_can_protect(&can, 0, 0x123, 0, frame[0], made);
        if (!v2g_can_intact(&can, 0, 0x123, 0, made)) {
            abort();
        }
        (void)v2g_can_intact(&can, 0, 0x123, 0, frame);
    }
    uint8_t last = length > 0 ? frame[0] : 0;
    if (v2g_can_counter_step(&last, (uint8_t)length) > V2G_CAN_COUNTER_INVALID) {
        abort();
    }
    free(frame);
    return 0;
}
