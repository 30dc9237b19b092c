/* One wake-up time per device: a binary heap, earliest first. */
#ifndef V2G_MODBUS_TIMER_H
#define V2G_MODBUS_TIMER_H

#include "modbus.h"

struct mb_timers {
    uint32_t count;
    uint16_t heap[V2G_MODBUS_MAX_DEVICES];   /* device indices */
    uint16_t place[V2G_MODBUS_MAX_DEVICES];  /* of each device in the heap */
    int64_t wake_ns[V2G_MODBUS_MAX_DEVICES]; /* of each device */
};

void mb_timers_init(struct mb_timers *timers, uint32_t count, int64_t wake_ns);
void mb_timers_set(struct mb_timers *timers, uint32_t device, int64_t wake_ns);

static inline int64_t mb_timers_next(const struct mb_timers *timers) {
    return timers->count == 0U ? MB_NEVER : timers->wake_ns[timers->heap[0]];
}

#endif
