#include "modbus_timer.h"

static bool earlier(const struct mb_timers *timers, uint32_t a, uint32_t b) {
    return timers->wake_ns[timers->heap[a]] < timers->wake_ns[timers->heap[b]];
}

static void swap(struct mb_timers *timers, uint32_t a, uint32_t b) {
    const uint16_t first = timers->heap[a];
    timers->heap[a] = timers->heap[b];
    timers->heap[b] = first;
    timers->place[timers->heap[a]] = (uint16_t)a;
    timers->place[timers->heap[b]] = (uint16_t)b;
}

static void rise(struct mb_timers *timers, uint32_t at) {
    while (at > 0U && earlier(timers, at, (at - 1U) / 2U)) {
        swap(timers, at, (at - 1U) / 2U);
        at = (at - 1U) / 2U;
    }
}

static void sink(struct mb_timers *timers, uint32_t at) {
    uint32_t child = 2U * at + 1U;
    while (child < timers->count) {
        if (child + 1U < timers->count && earlier(timers, child + 1U, child)) {
            child++;
        }
        if (!earlier(timers, child, at)) {
            return;
        }
        swap(timers, at, child);
        at = child;
        child = 2U * at + 1U;
    }
}

void mb_timers_init(struct mb_timers *timers, uint32_t count, int64_t wake_ns) {
    timers->count = count;
    for (uint32_t i = 0; i < count; i++) {
        timers->heap[i] = (uint16_t)i;
        timers->place[i] = (uint16_t)i;
        timers->wake_ns[i] = wake_ns;
    }
}

void mb_timers_set(struct mb_timers *timers, uint32_t device, int64_t wake_ns) {
    const int64_t was = timers->wake_ns[device];
    timers->wake_ns[device] = wake_ns;
    if (wake_ns < was) {
        rise(timers, timers->place[device]);
    } else if (wake_ns > was) {
        sink(timers, timers->place[device]);
    }
}
